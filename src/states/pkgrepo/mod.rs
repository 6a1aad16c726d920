//! `pkgrepo.*`: where packages come from: apt's sources, dnf's and pacman's sections, apk's lines.

mod absent;
mod apt;
mod files;
mod ini;
mod key;
mod managed;
mod others;

use super::{Change, Conclusion, Context, Function, Functions, StateFunction, Step, decision, pkg};
use crate::error::Result;
use crate::probe::Observed;
use crate::shell::Answer;
use crate::yaml::{Data, Value};

pub static FUNCTIONS: Functions = &[
    Function::of::<managed::Managed>("pkgrepo.managed", false),
    Function::of::<absent::Absent>("pkgrepo.absent", false),
];

/// A value as a setting of dnf's: booleans as 1 and 0, lists with a line for each item.
fn setting(value: &Value) -> Option<String> {
    match &value.data {
        Data::Null => None,
        Data::Bool(yes) => Some(u8::from(*yes).to_string()),
        Data::List(items) => {
            let items: Vec<String> = items.iter().filter_map(Value::scalar_text).collect();
            Some(items.join("\n"))
        }
        Data::Map(_) => None,
        _ => value.scalar_text(),
    }
}

/// Whether a value says yes, as Salt understands it.
fn is_true(value: &Value) -> bool {
    match &value.data {
        Data::Bool(yes) => *yes,
        Data::Int(n) => *n != 0,
        _ => matches!(
            value.scalar_text().unwrap_or_default().to_ascii_lowercase().as_str(),
            "1" | "true" | "yes" | "on"
        ),
    }
}

/// Words from a list or from text with commas.
fn words(value: &Value) -> Vec<String> {
    let texts: Vec<String> = match &value.data {
        Data::List(items) => items.iter().filter_map(Value::scalar_text).collect(),
        Data::Null => Vec::new(),
        _ => value.scalar_text().into_iter().collect(),
    };
    let words = texts.iter().flat_map(|text| text.split([',', ' ']));
    words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `user/name` of Launchpad's PPAs; the name is `ppa` where it is left out.
fn ppa(text: &str) -> Option<(String, String)> {
    let text = text.trim_start_matches("ppa:").trim_start_matches('~');
    let (owner, name) = text.split_once('/').unwrap_or((text, "ppa"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    (plain(owner) && plain(name)).then(|| (owner.to_owned(), name.to_owned()))
}

/// As by default, with the package manager's complaints explained. A file that did not pass its check was not changed.
fn conclude<S: StateFunction>(
    state: &S,
    change: &Change,
    acted: &[Answer],
    after: &Observed,
    context: &Context,
) -> Result<Conclusion> {
    let mut conclusion = decision::conclude(state, change, acted, after, context)?;
    if let Some(comment) = pkg::failure(change, acted) {
        conclusion.comment = comment;
        let mut puts = change
            .steps
            .iter()
            .zip(acted)
            .filter(|(step, _)| matches!(step, Step::Put(_)));
        if puts.any(|(_, answer)| !answer.ok()) {
            conclusion.changes.retain(|what, _| what == "key");
        }
    }
    Ok(conclusion)
}
