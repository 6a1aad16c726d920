//! `test.*`: states that only say something; they let requisites be tried without changing anything.

use super::{Change, Conclusion, Context, Decision, Function, Functions, StateFunction};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::shell::Answer;
use crate::yaml::{Data, OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub static FUNCTIONS: Functions = &[
    Function::of::<CheckPillar>("test.check_pillar", true),
    Function::of::<ConfigurableTestState>("test.configurable_test_state", true),
    Function::of::<FailWithChanges>("test.fail_with_changes", true),
    Function::of::<FailWithoutChanges>("test.fail_without_changes", true),
    Function::of::<Nop>("test.nop", true),
    Function::of::<ShowNotification>("test.show_notification", true),
    Function::of::<SucceedWithChanges>("test.succeed_with_changes", true),
    Function::of::<SucceedWithoutChanges>("test.succeed_without_changes", true),
];

/// Does nothing and succeeds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nop {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// The comment to give when a state that it watches has changed.
    comment: Option<String>,
}

/// Succeeds and changes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SucceedWithoutChanges {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

/// Succeeds and says that it changed something.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SucceedWithChanges {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

/// Fails and changes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailWithoutChanges {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

/// Fails and says that it changed something.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailWithChanges {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

/// Does what its arguments say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurableTestState {
    /// Any text.
    name: String,
    /// Whether it says that it changed something: `True`, `False`, or `Random`.
    #[serde(default = "always")]
    changes: Value,
    /// Whether it succeeds: `True`, `False`, or `Random`.
    #[serde(default = "always")]
    result: Value,
    /// The comment to give.
    #[serde(default)]
    comment: String,
    /// Warnings to give, behind the comment.
    warnings: Option<OneOrMany<String>>,
}

/// Says something.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowNotification {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// What it says.
    text: String,
}

/// Checks that pillar keys are there and are of a kind.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPillar {
    /// Any text.
    #[expect(dead_code, reason = "it is the state's name and no more")]
    name: String,
    /// Keys (`a:b:c` descends) that must be there.
    present: Option<OneOrMany<String>>,
    /// Keys that must be there and be booleans.
    boolean: Option<OneOrMany<String>>,
    /// Keys that must be there and be integers.
    integer: Option<OneOrMany<String>>,
    /// Keys that must be there and be strings.
    string: Option<OneOrMany<String>>,
    /// Keys that must be there and be lists.
    listing: Option<OneOrMany<String>>,
    /// Keys that must be there and be mappings.
    dictionary: Option<OneOrMany<String>>,
    /// Also names the keys that are as they should be.
    #[serde(default)]
    verbose: bool,
}

fn always() -> Value {
    Value::from(true)
}

fn or(comment: &Option<String>, otherwise: &str) -> String {
    comment.clone().unwrap_or_else(|| otherwise.to_owned())
}

/// A change that is only said, with Salt's words for it.
fn pretended(would: &str, did: String) -> Change {
    Change::new(would, did).from_to("testing", "Unchanged", "Something pretended to change")
}

/// What a state of this module says when one that it watches has changed.
fn fired(comment: &Option<String>) -> Result<Option<Decision>> {
    let comment = or(comment, "Watch statement fired.");
    let mut change = Change::new(comment.clone(), comment).change("Requisites with changes", json!([]));
    change.only_said = true;
    Ok(Some(change.into()))
}

fn said(ok: bool, change: &Change) -> Result<Conclusion> {
    Ok(Conclusion {
        ok,
        comment: change.did.clone(),
        changes: change.changes.clone(),
    })
}

impl StateFunction for Nop {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds("Success!".to_owned()))
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        said(true, change)
    }

    fn watched(&self, _: &Observed, _: &Context) -> Result<Option<Decision>> {
        fired(&self.comment)
    }
}

impl StateFunction for SucceedWithoutChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds(or(&self.comment, "Success!")))
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        said(true, change)
    }

    fn watched(&self, _: &Observed, _: &Context) -> Result<Option<Decision>> {
        fired(&self.comment)
    }
}

impl StateFunction for SucceedWithChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        let would = "If we weren't testing, this would be successful with changes";
        Ok(pretended(would, or(&self.comment, "Success!")).into())
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        said(true, change)
    }

    fn watched(&self, _: &Observed, _: &Context) -> Result<Option<Decision>> {
        fired(&self.comment)
    }
}

impl StateFunction for FailWithoutChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Fails(or(&self.comment, "Failure!")))
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

impl StateFunction for FailWithChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        let would = "If we weren't testing, this would be failed with changes";
        Ok(pretended(would, or(&self.comment, "Failure!")).into())
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        said(false, change)
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

impl ConfigurableTestState {
    /// An argument that is `True`, `False` or `Random`; `which` tells the two arguments apart. Chance is the run's, so that a
    /// state decides the same however often it is asked.
    fn chosen(&self, value: &Value, which: &str, context: &Context) -> Result<bool> {
        match &value.data {
            Data::Bool(chosen) => Ok(*chosen),
            Data::Str(text) if text.eq_ignore_ascii_case("random") => {
                let dice = super::file::put::hex(format!("{}\0{}\0{which}", context.run, self.name).as_bytes());
                Ok(dice.starts_with(|c: char| c < '8'))
            }
            _ => Err(Error::usage(format!("`{which}` must be either True, False, or 'Random'")).at(value.at)),
        }
    }

    fn succeeds(&self, context: &Context) -> Result<bool> {
        self.chosen(&self.result, "result", context)
    }

    fn comment(&self) -> String {
        let mut comment = self.comment.clone();
        for warning in self.warnings.iter().flat_map(|warnings| warnings.iter()) {
            if !comment.is_empty() {
                comment.push('\n');
            }
            comment += &format!("warning: {warning}");
        }
        comment
    }
}

impl StateFunction for ConfigurableTestState {
    fn check(&self) -> Result<()> {
        for (value, which) in [(&self.changes, "changes"), (&self.result, "result")] {
            let random = value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("random"));
            if value.as_bool().is_none() && !random {
                return Err(Error::usage(format!("`{which}` must be either True, False, or 'Random'")).at(value.at));
            }
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, context: &Context) -> Result<Decision> {
        let comment = self.comment();
        if self.chosen(&self.changes, "changes", context)? {
            let would = if comment.is_empty() { "This is a test" } else { &comment };
            return Ok(pretended(would, comment.clone()).into());
        }
        Ok(if self.succeeds(context)? {
            Decision::Holds(comment)
        } else {
            Decision::Fails(comment)
        })
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, context: &Context) -> Result<Conclusion> {
        said(self.succeeds(context)?, change)
    }

    fn watched(&self, _: &Observed, _: &Context) -> Result<Option<Decision>> {
        fired(&Some(self.comment()).filter(|comment| !comment.is_empty()))
    }
}

impl StateFunction for ShowNotification {
    fn check(&self) -> Result<()> {
        if self.text.is_empty() {
            return Err(Error::usage("`text` is empty: what is to be said"));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds(self.text.clone()))
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        said(true, change)
    }

    fn watched(&self, _: &Observed, _: &Context) -> Result<Option<Decision>> {
        fired(&None)
    }
}

/// Whether a value is of the kind that a key must be of.
type Kind = fn(&Data) -> bool;
type Named = (&'static str, Kind);

impl CheckPillar {
    /// The keys, with what they must be and the word for it; `None`: anything.
    fn keys(&self) -> Vec<(&str, Option<Named>)> {
        let kinds: [(&Option<OneOrMany<String>>, Option<Named>); 6] = [
            (&self.present, None),
            (&self.boolean, Some(("a boolean", |data| matches!(data, Data::Bool(_))))),
            (&self.integer, Some(("an integer", |data| matches!(data, Data::Int(_))))),
            (&self.string, Some(("a string", |data| matches!(data, Data::Str(_))))),
            (&self.listing, Some(("a list", |data| matches!(data, Data::List(_))))),
            (&self.dictionary, Some(("a mapping", |data| matches!(data, Data::Map(_))))),
        ];
        let keys = kinds
            .into_iter()
            .flat_map(|(keys, kind)| keys.iter().flat_map(|keys| keys.iter()).map(move |key| (key.as_str(), kind)));
        keys.collect()
    }
}

impl StateFunction for CheckPillar {
    fn check(&self) -> Result<()> {
        if self.keys().is_empty() {
            let hint = "name them under `present`, `boolean`, `integer`, `string`, `listing` or `dictionary`";
            return Err(Error::usage("no key is named").hint(hint));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, context: &Context) -> Result<Decision> {
        let (mut wrong, mut fine) = (Vec::new(), Vec::new());
        for (key, kind) in self.keys() {
            match (context.pillar.traverse(key, ":").filter(|value| !value.is_null()), kind) {
                (None, _) => wrong.push(format!("Pillar key \"{key}\" is missing.")),
                (Some(value), Some((word, is))) if !is(&value.data) => {
                    wrong.push(format!("Pillar key \"{key}\" is not {word}, but {}.", value.kind()));
                }
                (Some(_), kind) => fine.push(format!("- {key} ({})", kind.map_or("present", |(word, _)| word))),
            }
        }
        let mut comment = wrong.clone();
        if self.verbose && !fine.is_empty() {
            comment.push("Those keys passed the check:".to_owned());
            comment.extend(fine);
        }
        let comment = comment.join("\n");
        Ok(if wrong.is_empty() {
            Decision::Holds(comment)
        } else {
            Decision::Fails(comment)
        })
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn states_say_what_salt_says() {
        assert_snapshot!(state("test.nop", "{name: x}").shows(), @"holds: Success!");
        assert_snapshot!(state("test.succeed_without_changes", "{name: x, comment: fine}").shows(), @"holds: fine");
        assert_snapshot!(state("test.fail_without_changes", "{name: x}").shows(), @"fails: Failure!");
        assert_snapshot!(state("test.show_notification", "{name: x, text: hello}").shows(), @"holds: hello");
        assert_snapshot!(state("test.succeed_with_changes", "{name: x}").shows(), @r#"
        would: If we weren't testing, this would be successful with changes
        did: Success!
        changes: {"testing":{"old":"Unchanged","new":"Something pretended to change"}}
        "#);
        assert_snapshot!(state("test.fail_with_changes", "{name: x}").shows(), @r#"
        would: If we weren't testing, this would be failed with changes
        did: Failure!
        changes: {"testing":{"old":"Unchanged","new":"Something pretended to change"}}
        "#);
        assert!(!state("test.fail_with_changes", "{name: x}").concludes(&[], []).ok);
        assert_snapshot!(state("test.nop", "{name: x}").watched(), @r#"
        would: Watch statement fired.
        did: Watch statement fired.
        changes: {"Requisites with changes":[]}
        "#);
    }

    #[test]
    fn a_configurable_state() {
        assert_snapshot!(state("test.configurable_test_state", "{name: x}").shows(), @r#"
        would: This is a test
        did: 
        changes: {"testing":{"old":"Unchanged","new":"Something pretended to change"}}
        "#);
        assert_snapshot!(state("test.configurable_test_state", "{name: x, changes: false, comment: c}").shows(), @"holds: c");
        let case = state(
            "test.configurable_test_state",
            "{name: x, changes: false, result: false, warnings: w}",
        );
        assert_snapshot!(case.shows(), @"fails: warning: w");
        let case = state("test.configurable_test_state", "{name: x, changes: Random, result: random}");
        assert_eq!(case.shows(), case.shows());
        assert_snapshot!(refusal("test.configurable_test_state", "{name: x, changes: maybe}"), @"test.sls:1:20: `changes` must be either True, False, or 'Random'");
    }

    #[test]
    fn pillar_keys_are_checked() {
        let arguments = "{name: x, present: a, integer: [b, 'c:d'], listing: e, verbose: true}";
        let case = state("test.check_pillar", arguments).pillar("{a: x, b: 1, c: {d: y}}");
        assert_snapshot!(case.shows(), @r#"
        fails: Pillar key "c:d" is not an integer, but a string.
        Pillar key "e" is missing.
        Those keys passed the check:
        - a (present)
        - b (an integer)
        "#);
        assert_snapshot!(state("test.check_pillar", "{name: x, string: a}").pillar("{a: x}").shows(), @"holds:");
        assert_snapshot!(refusal("test.check_pillar", "{name: x}"), @r"
        no key is named
        hint: name them under `present`, `boolean`, `integer`, `string`, `listing` or `dictionary`
        ");
    }
}
