//! `test.*`: states that only say something; they let requisites be tried without changing anything.

use super::{Change, Conclusion, Context, Decision, Function, Functions, StateFunction};
use crate::error::Result;
use crate::probe::{Observed, Probe};
use crate::shell::Answer;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Nop>("test.nop", true),
    Function::of::<SucceedWithoutChanges>("test.succeed_without_changes", true),
    Function::of::<SucceedWithChanges>("test.succeed_with_changes", true),
];

/// Does nothing and succeeds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nop {
    /// Any text.
    #[allow(dead_code)]
    name: String,
}

impl StateFunction for Nop {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds("Success!".to_owned()))
    }
}

/// Succeeds and changes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SucceedWithoutChanges {
    /// Any text.
    #[allow(dead_code)]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

impl StateFunction for SucceedWithoutChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds(self.comment.clone().unwrap_or_else(|| "Success!".to_owned())))
    }
}

/// Succeeds and says that it changed something.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SucceedWithChanges {
    /// Any text.
    #[allow(dead_code)]
    name: String,
    /// The comment to give.
    comment: Option<String>,
}

impl StateFunction for SucceedWithChanges {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        let did = self.comment.clone().unwrap_or_else(|| "Success!".to_owned());
        Ok(Change::new(did.clone(), did)
            .from_to("testing", "Unchanged", "Something pretended to change")
            .into())
    }

    fn conclude(&self, change: &Change, _: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        Ok(Conclusion {
            ok: true,
            comment: change.did.clone(),
            changes: change.changes.clone(),
        })
    }
}
