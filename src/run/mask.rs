//! Secrets, and the stars that stand for them in whatever is printed or recorded.

use super::event::{Event, StateOutcome};
use crate::error::Error;
use serde_json::Value as Json;
use std::borrow::Cow;

/// What is shown in a secret's place.
pub const STARS: &str = "***";

/// Strings that must not be shown.
#[derive(Clone, Default)]
pub struct Mask {
    /// The longest first, so that a secret that contains another is covered whole.
    secrets: Vec<String>,
}

impl Mask {
    /// A mask for `secrets` and for each of their lines, as a multi-line secret is often printed in pieces.
    ///
    /// What is shorter than four characters is left out: it would cover half of every report and hide nothing.
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<str>>) -> Mask {
        let mut mask = Mask::default();
        secrets.into_iter().for_each(|secret| mask.add(secret.as_ref()));
        mask
    }

    pub fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim).filter(|line| line.len() < secret.len());
        for piece in std::iter::once(secret.trim()).chain(lines) {
            if piece.chars().count() >= 4 && !self.secrets.iter().any(|known| known == piece) {
                self.secrets.push(piece.to_owned());
            }
        }
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// `text` with stars for every secret in it.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), STARS));
            }
        }
        text
    }

    fn string(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Masks every string and key in `json`.
    pub fn json(&self, json: &mut Json) {
        match json {
            Json::String(text) => self.string(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Json::Object(map) => self.map(map),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn map(&self, map: &mut serde_json::Map<String, Json>) {
        if map.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
            let masked = std::mem::take(map).into_iter();
            map.extend(masked.map(|(key, value)| (self.text(&key).into_owned(), value)));
        }
        map.values_mut().for_each(|value| self.json(value));
    }

    fn error(&self, error: &mut Error) {
        error.for_each_text(|text| self.string(text));
    }

    fn outcome(&self, outcome: &mut StateOutcome) {
        let StateOutcome {
            tag,
            id,
            name,
            comment,
            changes,
            diffs,
            warnings,
            ..
        } = outcome;
        [tag, id, name, comment].into_iter().for_each(|text| self.string(text));
        warnings.iter_mut().for_each(|text| self.string(text));
        self.map(changes);
        for diff in diffs {
            [&mut diff.name, &mut diff.old, &mut diff.new]
                .into_iter()
                .for_each(|text| self.string(text));
        }
    }

    /// Masks all that an event tells.
    pub fn event(&self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        match event {
            Event::RunStarted(_) | Event::RunDone(_) => {}
            Event::Phase {
                phase: super::Phase::Running { current, .. },
                ..
            } => self.string(current),
            Event::Phase {
                phase: super::Phase::Retrying { why, .. },
                ..
            } => self.string(why),
            Event::Phase { .. } => {}
            Event::Warning { text, .. } => self.string(text),
            Event::StateDone { outcome, .. } => self.outcome(outcome),
            Event::MinionDone(done) => done.error.iter_mut().for_each(|error| self.error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_become_stars() {
        let mask = Mask::new(["hunter2", "hunter22", "abc", "-----BEGIN-----\n  bGluZQ==\n"]);
        for (text, expected) in [
            ("password is hunter2!", "password is ***!"),
            ("hunter22 is longer", "*** is longer"),
            ("abc is too short to be one", "abc is too short to be one"),
            ("a line of it: bGluZQ==", "a line of it: ***"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(mask.text(text), expected);
        }
    }

    #[test]
    fn changes_are_masked_with_their_keys() {
        let mut json = serde_json::json!({"hunter2": ["x", {"y": "hunter2 z"}], "n": 1});
        Mask::new(["hunter2"]).json(&mut json);
        assert_eq!(json, serde_json::json!({"***": ["x", {"y": "*** z"}], "n": 1}));
    }
}
