//! What templates ask of the minion, and the answers that are there.

use crate::probe::{Observed, Probe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The questions of one minion's templates.
#[derive(Debug, Default)]
pub struct Questions {
    observed: Arc<Observed>,
    wanted: Mutex<Vec<Probe>>,
    /// A decision was taken on a value that is not known yet.
    decided: AtomicBool,
    /// The rendering under way has met a question without an answer.
    met: AtomicBool,
}

/// What asking a question can do to the minion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Risk {
    /// It only looks.
    None,
    /// It runs a command of the template's author, who meant it to be run on this path through the template and no other.
    Command,
}

impl Questions {
    pub fn new(observed: Arc<Observed>) -> Questions {
        Questions {
            observed,
            ..Questions::default()
        }
    }

    /// What was observed, if all of `probes` have been answered; else they are noted.
    pub fn ask(&self, probes: &[Probe], risk: Risk) -> Option<&Observed> {
        let missing: Vec<&Probe> = probes.iter().filter(|probe| !self.observed.has(probe)).collect();
        if missing.is_empty() {
            return Some(&self.observed);
        }
        self.met.store(true, Ordering::Relaxed);
        if risk == Risk::None || !self.decided.load(Ordering::Relaxed) {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            for probe in missing {
                if !wanted.contains(probe) {
                    wanted.push(probe.clone());
                }
            }
        }
        None
    }

    /// What follows may depend on an answer that is not there: no further command is to be run for it.
    pub fn decided(&self) {
        self.decided.store(true, Ordering::Relaxed);
    }

    /// To be called before each rendering.
    pub fn begin(&self) {
        self.decided.store(false, Ordering::Relaxed);
        self.met.store(false, Ordering::Relaxed);
    }

    /// Whether the rendering since [`Questions::begin`] depends on answers that are not there.
    pub fn met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// Hands over the questions that have no answer.
    pub fn take(&self) -> Vec<Probe> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_behind_a_decision_are_not_asked() {
        let questions = Questions::default();
        let shell = |script: &str| Probe::script(script, Vec::new());
        assert!(questions.ask(&[shell("a")], Risk::Command).is_none());
        questions.decided();
        assert!(questions.ask(&[shell("b")], Risk::Command).is_none());
        assert!(questions.ask(&[Probe::meta("/c")], Risk::None).is_none());
        assert_eq!(questions.take(), [shell("a"), Probe::meta("/c")]);
        assert!(questions.met());
    }
}
