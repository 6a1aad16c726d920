//! What happens in a run, as a typed stream that can be recorded and replayed.
//!
//! The engine sends; bars, text, JSON and the run's record listen. Nothing here knows how it is drawn. Secrets are masked before
//! an event is heard (`Mask`), so no listener has to think of them.

use crate::error::Error;
use crate::states::TextDiff;
use serde::{Deserialize, Serialize};

/// Something that happened. Events of one minion are in order; those of different minions interleave.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted(RunStarted),
    /// A minion has entered a phase, or gone on in one.
    Phase {
        minion: String,
        phase: Phase,
    },
    /// Something that the user should know and that stops nothing.
    Warning {
        minion: Option<String>,
        text: String,
    },
    StateDone {
        minion: String,
        outcome: Box<StateOutcome>,
    },
    /// The last event of a minion; every minion of the run has exactly one.
    MinionDone(Box<MinionDone>),
    /// The last event.
    RunDone(RunDone),
}

/// The first event.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's number and random part, as in `picloud runs`.
    pub run: String,
    /// What was asked for, in the words of the command line: `apply docker,swap`.
    pub what: String,
    /// A dry run.
    pub test: bool,
    /// The ids of all minions that were named, in the order of the report.
    pub minions: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// Where a minion stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For its turn (`--batch`, `--forks`).
    Waiting,
    Connecting,
    /// Not reached yet; waits before it is tried again.
    Retrying {
        attempt: u32,
        why: String,
    },
    Grains,
    /// Pillar, SLS, arguments, sources.
    Compiling,
    /// Compiled and connected; waits until every other minion has compiled too.
    Ready,
    /// The fused probe.
    Probing,
    /// Going through the low state.
    Running {
        done: usize,
        total: usize,
        /// The state under way, as the user knows it: `pkg.installed docker.io`. Empty between states.
        current: String,
    },
    /// A command of `picloud run` is under way.
    Command,
    /// The last step is under way; nothing further will be begun.
    Stopping,
}

/// What became of one state.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StateOutcome {
    /// Salt's tag: `file_|-motd_|-/etc/motd_|-managed`.
    pub tag: String,
    pub id: String,
    pub name: String,
    /// `file.managed`.
    pub function: String,
    pub sls: String,
    /// Where it was declared: `states/web.sls:3:5`; empty where that is not known.
    pub at: String,
    /// Salt's `__run_num__`: its place in the order of the run, from 0.
    pub run_num: usize,
    /// `None`: a dry run found that it would change.
    pub result: Option<bool>,
    /// A dry run could not know, as it depends on a change that was not made; `result` is `None`.
    pub may_change: bool,
    /// False where requisites or conditions kept it from being run.
    pub ran: bool,
    /// Salt's `changes`.
    pub changes: serde_json::Map<String, serde_json::Value>,
    pub comment: String,
    pub diffs: Vec<TextDiff>,
    pub warnings: Vec<String>,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub duration_ms: f64,
    /// The changes hold secrets: `changes` and `diffs` are already without them.
    pub secret: bool,
}

impl StateOutcome {
    /// It changed something, or would.
    pub fn changed(&self) -> bool {
        !self.changes.is_empty() || self.result.is_none()
    }

    /// `file.managed /etc/motd`.
    pub fn title(&self) -> String {
        format!("{} {}", self.function, self.name)
    }
}

/// How a minion ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MinionDone {
    pub minion: String,
    /// Why it was not brought to its end: it did not compile, was not reached, or was lost. States that failed are not errors here.
    pub error: Option<Error>,
    /// How many states it had; 0 where that was never known.
    pub states: usize,
    /// It was stopped (Ctrl-C, failhard, a batch that was called off) before all states had their turn: why.
    pub stopped: Option<String>,
    /// How many commands were started on it, and how many round trips the session's shell was asked something in.
    pub execs: u32,
    pub batches: u32,
    pub elapsed_ms: u64,
}

/// The end of the run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunDone {
    pub elapsed_ms: u64,
    /// Ctrl-C, or a batch that failed: why not all was done.
    pub stopped: Option<String>,
}

/// Hears the events of a run, one after another, from one task.
pub trait Listener: Send {
    fn hear(&mut self, event: &Event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was_recorded() {
        let event = Event::MinionDone(Box::new(MinionDone {
            minion: "pi0".into(),
            error: Some(Error::unreachable("connection refused").hint("is sshd running?")),
            ..MinionDone::default()
        }));
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{line}");
    }
}
