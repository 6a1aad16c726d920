//! What a state decides, and what its steps came to.

use super::{Context, StateFunction, Step};
use crate::error::Result;
use crate::probe::{Fact, Observed, Resource};
use crate::shell::Answer;
use serde_json::Value as Json;

/// The outcome of looking at what was observed.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The state holds; the comment says so in a sentence.
    Holds(String),
    /// The state does not hold; here is how to make it.
    Change(Change),
    /// The state cannot be brought about (or is a check that did not pass): result False, without trying.
    Fails(String),
}

/// A change that has been decided on, not made.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Salt's comment of a dry run: "The file /etc/motd is set to be changed".
    pub would: String,
    /// Salt's comment of the real run: "File /etc/motd updated".
    pub did: String,
    /// Salt's `changes` dictionary, as far as it is known before the act.
    pub changes: serde_json::Map<String, Json>,
    /// Text before and after, for the report to draw.
    pub diffs: Vec<TextDiff>,
    /// Done in order; the first that fails ends the state.
    pub steps: Vec<Step>,
    /// What would be observed after the change: the world in which a dry run judges later states.
    pub predicts: Vec<Fact>,
    /// What the change makes stale, where it is less or more than [`StateFunction::writes`] says.
    pub writes: Option<Vec<Resource>>,
    /// Nothing is done on the minion (`test.*`): what `conclude` says is true of a dry run as well, which reports it instead of `would`.
    pub only_said: bool,
    /// The changes and the steps' output hold secrets and must not be shown.
    pub secret: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct TextDiff {
    /// What is compared: a path.
    pub name: String,
    pub old: String,
    pub new: String,
}

/// What the act came to.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// Whether the state is now as declared, as far as it could be seen.
    pub ok: bool,
    pub comment: String,
    /// Salt's `changes` dictionary as it really came about.
    pub changes: serde_json::Map<String, Json>,
}

impl Change {
    /// A change with its two comments.
    pub fn new(would: impl Into<String>, did: impl Into<String>) -> Change {
        Change {
            would: would.into(),
            did: did.into(),
            ..Change::default()
        }
    }

    pub fn change(mut self, key: impl Into<String>, value: impl Into<Json>) -> Change {
        self.changes.insert(key.into(), value.into());
        self
    }

    /// The usual `{old: ..., new: ...}` under `key`.
    pub fn from_to(self, key: impl Into<String>, old: impl Into<Json>, new: impl Into<Json>) -> Change {
        self.change(key, serde_json::json!({"old": old.into(), "new": new.into()}))
    }

    pub fn step(mut self, step: impl Into<Step>) -> Change {
        self.steps.push(step.into());
        self
    }

    pub fn predict(mut self, fact: Fact) -> Change {
        self.predicts.push(fact);
        self
    }
}

impl From<Change> for Decision {
    fn from(change: Change) -> Decision {
        Decision::Change(change)
    }
}

/// The first step that failed, as a comment: which, its status, and the end of what it printed.
pub fn failed_step(change: &Change, acted: &[Answer]) -> Option<String> {
    let (n, answer) = acted.iter().enumerate().find(|(_, answer)| !answer.ok())?;
    let label = change.steps.get(n).map_or("a step", Step::label);
    let mut comment = format!("{label} failed with exit status {}", answer.status);
    // Where the changes are secret, what our own script for a file says is shown, and nothing that others print.
    let most = match change.steps.get(n) {
        _ if !change.secret => 20,
        Some(Step::Put(put)) if put.check.is_none() && put.fetch.is_none() => 20,
        Some(Step::Put(_)) => 1,
        _ => 0,
    };
    let error = answer.error_text();
    let text = if error.trim().is_empty() { answer.text() } else { error };
    let lines: Vec<&str> = text.trim_end().lines().collect();
    for line in &lines[lines.len().saturating_sub(most)..] {
        comment.push_str("\n  ");
        comment.push_str(line);
    }
    Some(comment)
}

pub(super) fn conclude<S: StateFunction + ?Sized>(
    state: &S,
    change: &Change,
    acted: &[Answer],
    after: &Observed,
    context: &Context,
) -> Result<Conclusion> {
    let conclusion = |ok, comment| {
        Ok(Conclusion {
            ok,
            comment,
            changes: change.changes.clone(),
        })
    };
    if let Some(comment) = failed_step(change, acted) {
        return conclusion(false, comment);
    }
    match state.decide(after, context)? {
        Decision::Holds(_) => conclusion(true, change.did.clone()),
        Decision::Change(still) => {
            let left = serde_json::to_string(&still.changes).unwrap_or_default();
            let left = if still.secret || change.secret {
                "***".to_owned()
            } else {
                left
            };
            conclusion(
                false,
                format!(
                    "every step succeeded, yet the state still does not hold: {} (left to change: {left})",
                    still.would
                ),
            )
        }
        Decision::Fails(why) => conclusion(false, format!("every step succeeded, yet the state does not hold: {why}")),
    }
}
