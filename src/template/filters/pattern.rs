//! Filters of Python's regular expressions.

use super::Filter;
use crate::pattern::{Flags, Pattern, Replacement};
use crate::template::args::Args;
use crate::template::failures::from_error;
use crate::template::value::{text, tuple};
use minijinja::{Error, State, Value};

pub const FILTERS: &[(&str, Filter)] = &[
    ("regex_search", |_, value, args| groups(&text(&value), args, false)),
    ("regex_match", |_, value, args| groups(&text(&value), args, true)),
    ("regex_replace", replace),
    ("regex_escape", |_, value, _| Ok(escape(&text(&value)).into())),
];

/// The last two arguments of every such filter, after what goes before them.
fn flags(args: &mut Args) -> Result<Flags, Error> {
    Ok(Flags {
        ignore_case: args.flag("ignorecase", false)?,
        multiline: args.flag("multiline", false)?,
        ..Flags::default()
    })
}

fn groups(this: &str, args: &mut Args, at_start: bool) -> Result<Value, Error> {
    let pattern = args.text("rgx")?;
    let flags = flags(args)?;
    let pattern = Pattern::new(&pattern, flags).map_err(from_error)?;
    let groups = pattern.groups_in(this, at_start).map_err(from_error)?;
    Ok(match groups {
        Some(groups) => tuple(
            groups
                .into_iter()
                .map(|group| group.map_or(Value::from(()), Value::from))
                .collect(),
        ),
        None => Value::from(()),
    })
}

fn replace(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let (pattern, replacement) = (args.text("rgx")?, args.text("val")?);
    let flags = flags(args)?;
    let pattern = Pattern::new(&pattern, flags).map_err(from_error)?;
    let replacement = Replacement::new(&replacement, &pattern).map_err(from_error)?;
    let this = text(&value);
    let (replaced, _) = pattern.replace(&this, &replacement, 0).map_err(from_error)?;
    Ok(replaced.into_owned().into())
}

/// Whether `pattern` matches at the start of `this`: the test `match`.
pub fn matches(this: &str, args: &mut Args, at_start: bool) -> Result<bool, Error> {
    let pattern = args.text("rgx")?;
    let flags = flags(args)?;
    let pattern = Pattern::new(&pattern, flags).map_err(from_error)?;
    if at_start { pattern.starts(this) } else { pattern.found(this) }.map_err(from_error)
}

/// As Python's `re.escape`.
fn escape(this: &str) -> String {
    let mut out = String::with_capacity(this.len() + 8);
    for c in this.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
