//! Progress without a terminal: a line for each thing that a log should have.

use super::paint::{duration, plural, safe};
use crate::run::{Event, Listener, Phase};
use std::io::Write;

/// Writes lines to standard error.
pub struct Plain<W: Write + Send = std::io::Stderr> {
    out: W,
    /// Every phase and every state, rather than what changed, failed or took its time.
    verbose: bool,
}

impl Plain {
    pub fn new(verbose: bool) -> Plain {
        Plain {
            out: std::io::stderr(),
            verbose,
        }
    }
}

impl<W: Write + Send> Plain<W> {
    fn line(&mut self, minion: &str, text: &str) {
        // A log that cannot be written must not stop a run.
        let _ = writeln!(self.out, "{minion}: {}", safe(text));
    }
}

impl<W: Write + Send> Listener for Plain<W> {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted(started) => {
                let dry = if started.test { ", a dry run" } else { "" };
                let run = if started.run.is_empty() {
                    String::new()
                } else {
                    format!("run {}: ", started.run)
                };
                let _ = writeln!(
                    self.out,
                    "{run}{} on {}{dry}",
                    started.what,
                    plural(started.minions.len(), "minion")
                );
            }
            Event::Phase { minion, phase } => {
                let text = match phase {
                    Phase::Retrying { attempt, why } => format!("tries again ({attempt}): {why}"),
                    Phase::Stopping => "finishes the step under way".to_owned(),
                    Phase::Connecting if self.verbose => "connects".to_owned(),
                    Phase::Grains if self.verbose => "collects grains".to_owned(),
                    Phase::Compiling if self.verbose => "compiles".to_owned(),
                    Phase::Ready if self.verbose => "has compiled".to_owned(),
                    Phase::Probing if self.verbose => "looks".to_owned(),
                    _ => return,
                };
                self.line(minion, &text);
            }
            Event::Warning { minion, text } => match minion {
                Some(minion) => self.line(minion, &format!("warning: {text}")),
                None => drop(writeln!(self.out, "warning: {}", safe(text))),
            },
            Event::StateDone { minion, outcome } => {
                let word = match outcome.result {
                    Some(false) => "failed",
                    None if outcome.may_change => "may change",
                    None => "would change",
                    Some(true) if outcome.changed() => "changed",
                    Some(true) if !self.verbose => return,
                    Some(true) if outcome.ran => "ok",
                    Some(true) => "skipped",
                };
                let time = match outcome.duration_ms.round() as u64 {
                    ms @ 1000.. => format!(" ({})", duration(ms)),
                    _ => String::new(),
                };
                self.line(minion, &format!("{word} {}{time}", outcome.title()));
            }
            Event::MinionDone(done) => {
                let text = match (&done.error, &done.stopped) {
                    (Some(error), _) => format!("error: {}", error.diagnostics()[0].message.lines().next().unwrap_or_default()),
                    (None, Some(why)) => format!("stopped: {why}"),
                    (None, None) if self.verbose && done.execs > 0 => format!(
                        "done in {} ({}, {})",
                        duration(done.elapsed_ms),
                        plural(done.execs as usize, "exec"),
                        match done.batches {
                            1 => "1 batch".to_owned(),
                            n => format!("{n} batches"),
                        }
                    ),
                    (None, None) => format!("done in {}", duration(done.elapsed_ms)),
                };
                self.line(&done.minion, &text);
            }
            Event::RunDone(done) => {
                if let Some(why) = &done.stopped {
                    let _ = writeln!(self.out, "stopped: {}", safe(why));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::run::{MinionDone, RunStarted, StateOutcome};

    #[test]
    fn a_log_has_what_matters() {
        let mut plain = Plain {
            out: Vec::new(),
            verbose: false,
        };
        let state = |name: &str, result, ms| Event::StateDone {
            minion: "pi0".into(),
            outcome: Box::new(StateOutcome {
                function: "test.nop".into(),
                name: name.into(),
                result,
                duration_ms: ms,
                ran: true,
                ..StateOutcome::default()
            }),
        };
        let done = |minion: &str, error| {
            Event::MinionDone(Box::new(MinionDone {
                minion: minion.into(),
                error,
                elapsed_ms: 40,
                ..MinionDone::default()
            }))
        };
        for event in [
            Event::RunStarted(RunStarted {
                run: "7".into(),
                what: "apply".into(),
                minions: vec!["pi0".into(), "pi1".into()],
                ..RunStarted::default()
            }),
            Event::Phase {
                minion: "pi0".into(),
                phase: Phase::Connecting,
            },
            Event::Phase {
                minion: "pi1".into(),
                phase: Phase::Retrying {
                    attempt: 2,
                    why: "connection refused".into(),
                },
            },
            state("a", Some(true), 1.0),
            state("b", Some(false), 2500.0),
            state("c", None, 1.0),
            done("pi0", None),
            done("pi1", Some(Error::unreachable("connection refused"))),
        ] {
            plain.hear(&event);
        }
        let expected = "\
run 7: apply on 2 minions
pi1: tries again (2): connection refused
pi0: failed test.nop b (2.5 s)
pi0: would change test.nop c
pi0: done in 40 ms
pi1: error: connection refused
";
        assert_eq!(String::from_utf8(plain.out).unwrap(), expected);
    }
}
