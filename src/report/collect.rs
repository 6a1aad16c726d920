//! A run's events gathered into what the reports are made of.

use crate::error::{Error, Kind};
use crate::run::{Event, Listener, MinionDone, RunDone, RunStarted, StateOutcome};
use indexmap::IndexMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A run, as far as it has been heard of.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub started: RunStarted,
    /// In the order in which the run named them.
    pub minions: IndexMap<String, MinionReport>,
    /// Each with the minion that it is about.
    pub warnings: Vec<(Option<String>, String)>,
    /// `None`: it has not ended, or its end was never recorded.
    pub done: Option<RunDone>,
}

/// One minion's part of a run.
#[derive(Clone, Debug, Default)]
pub struct MinionReport {
    pub outcomes: Vec<StateOutcome>,
    /// `None`: not ended.
    pub done: Option<MinionDone>,
}

/// How many states came to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub ok: usize,
    /// Changed, or in a dry run would change.
    pub changed: usize,
    /// In a dry run: depends on a change that was not made.
    pub may_change: usize,
    pub failed: usize,
    /// Not run, by requisites or conditions.
    pub skipped: usize,
}

impl Listener for Report {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted(started) => {
                self.minions = started
                    .minions
                    .iter()
                    .map(|id| (id.clone(), MinionReport::default()))
                    .collect();
                self.started = started.clone();
            }
            Event::Phase { .. } => {}
            Event::Warning { minion, text } => {
                let warning = (minion.clone(), text.clone());
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
            Event::StateDone { minion, outcome } => self.minion(minion).outcomes.push((**outcome).clone()),
            Event::MinionDone(done) => self.minion(&done.minion).done = Some((**done).clone()),
            Event::RunDone(done) => self.done = Some(done.clone()),
        }
    }
}

impl Report {
    fn minion(&mut self, id: &str) -> &mut MinionReport {
        self.minions.entry(id.to_owned()).or_default()
    }

    /// A report, and a listener that fills it.
    pub fn listening() -> (Arc<Mutex<Report>>, Box<dyn Listener>) {
        let report = Arc::new(Mutex::new(Report::default()));
        (report.clone(), Box::new(Shared(report)))
    }

    /// 0: all holds; 1: a minion's states could not be compiled; 2: a state failed, or had no turn; 3: a minion was not reached or was
    /// lost. Of several the highest; what had no turn because of another minion's mishap does not count beside that.
    pub fn exit_code(&self) -> u8 {
        let worst = self.minions.values().map(MinionReport::exit_code).max().unwrap_or(0);
        let stopped = self.done.as_ref().is_none_or(|done| done.stopped.is_some());
        let waiting = worst == 0 && self.minions.values().any(|minion| !minion.ended());
        worst.max(if stopped || waiting { Kind::State.exit_code() } else { 0 })
    }

    /// The errors of all minions, each naming its own.
    pub fn errors(&self) -> Option<Error> {
        Error::all(self.minions.iter().filter_map(|(id, minion)| {
            let error = minion.error()?.clone();
            Some(if error.diagnostics().iter().any(|d| d.minion.is_none()) {
                error.minion(id)
            } else {
                error
            })
        }))
    }
}

impl MinionReport {
    pub fn error(&self) -> Option<&Error> {
        self.done.as_ref()?.error.as_ref()
    }

    /// Why not all of its states had their turn, where they had not.
    pub fn stopped(&self) -> Option<&str> {
        self.done.as_ref()?.stopped.as_deref()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            let count = match outcome.result {
                Some(false) => &mut counts.failed,
                None if outcome.may_change => &mut counts.may_change,
                _ if outcome.changed() => &mut counts.changed,
                _ if !outcome.ran => &mut counts.skipped,
                _ => &mut counts.ok,
            };
            *count += 1;
        }
        counts
    }

    /// See [`Report::exit_code`]; whether it was stopped is left to that.
    pub fn exit_code(&self) -> u8 {
        let error = self.error().map_or(0, exit_code);
        let failed = self.outcomes.iter().any(|outcome| outcome.result == Some(false));
        error.max(if failed { Kind::State.exit_code() } else { 0 })
    }

    /// All of its states have had their turn.
    fn ended(&self) -> bool {
        self.done.as_ref().is_some_and(|done| done.stopped.is_none())
    }
}

/// The exit code for `error`: of its diagnostics' the highest.
pub fn exit_code(error: &Error) -> u8 {
    error.diagnostics().iter().map(|d| d.kind.exit_code()).max().unwrap_or(1)
}

struct Shared(Arc<Mutex<Report>>);

impl Listener for Shared {
    fn hear(&mut self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
    }
}
