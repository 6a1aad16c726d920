//! Filters: Jinja2's and Salt's.
//!
//! One file per subject, each with a table of its filters. All are called through [`apply`], which deals with what is common:
//! undefined and pending values, and arguments that the filter does not know.

pub mod data;
pub mod hash;
pub mod network;
pub mod number;
pub mod pattern;
pub mod sequence;
mod text;
mod time;

use super::args::Args;
use super::ops;
use super::value::{Pending, fail, undefined};
use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::collections::HashSet;
use std::sync::OnceLock;

/// The value that is filtered, and the arguments.
pub type Filter = fn(&mut State, Value, &mut Args) -> Result<Value, Error>;

/// Filters that look at undefined values themselves.
const LENIENT: &[&str] = &["default", "d", "items"];

/// Filters that take pending values as they are.
const BLIND: &[&str] = &["_iter", "_list", "_dict", "default", "d"];

fn tables() -> impl Iterator<Item = &'static (&'static str, Filter)> {
    let operators: &'static [(&'static str, Filter)] = &[
        ("_slice", ops::slice),
        ("_pos", ops::plus),
        ("_iter", ops::iterate),
        ("_list", ops::list_literal),
        ("_dict", ops::dict_literal),
    ];
    [
        operators,
        data::FILTERS,
        hash::FILTERS,
        network::FILTERS,
        number::FILTERS,
        pattern::FILTERS,
        sequence::FILTERS,
        text::FILTERS,
        time::FILTERS,
    ]
    .into_iter()
    .flatten()
}

/// The names of all filters that a template may use.
pub fn names() -> impl Iterator<Item = &'static str> {
    tables().map(|(name, _)| *name).filter(|name| !name.starts_with('_'))
}

pub fn is_known(name: &str) -> bool {
    static KNOWN: OnceLock<HashSet<&'static str>> = OnceLock::new();
    KNOWN.get_or_init(|| names().collect()).contains(name)
}

/// Gives `environment` all filters, in place of minijinja's own.
pub fn install(environment: &mut Environment<'static>) {
    for (name, filter) in tables() {
        environment.add_filter(*name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            apply(name, *filter, state, &args.into_values())
        });
    }
    for (name, operator) in ops::BINARY {
        let joins = matches!(*name, "_cat" | "_eq" | "_ne" | "_in" | "_not_in");
        environment.add_filter(*name, move |state: &mut State, mut left: Value, mut right: Value| {
            for value in [&mut left, &mut right] {
                if joins && value.is_undefined() && is_silent(state, value) {
                    *value = "".into();
                }
            }
            ops::binary(*operator, &left, &right)
        });
    }
}

/// Whether an undefined value is the one of `x if y` without an `else`, which may be used as if it were empty. minijinja tells it
/// from others by printing it without an error.
fn is_silent(state: &mut State, value: &Value) -> bool {
    state.format(value.clone()).is_ok()
}

fn apply(name: &'static str, filter: Filter, state: &mut State, values: &[Value]) -> Result<Value, Error> {
    let (value, args) = values
        .split_first()
        .ok_or_else(|| fail(format!("the filter `{name}` was given nothing to filter")))?;
    if !BLIND.contains(&name)
        && let Some(pending) = Pending::among(values)
    {
        return Ok(pending);
    }
    let mut value = value.clone();
    if value.is_undefined() && !LENIENT.contains(&name) {
        if !is_silent(state, &value) {
            return Err(undefined(&value));
        }
        value = "".into();
    }
    let mut args = Args::new(format!("|{name}"), args);
    let result = filter(state, value, &mut args)?;
    args.done()?;
    Ok(result)
}
