//! What stands after `is`: Jinja2's and Salt's tests.

use super::args::Args;
use super::filters::pattern;
use super::ops;
use super::value::{Pending, as_int, compare, equal, fail, is_list, is_mapping, is_string, text, undefined};
use crate::error::nearest;
use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::cmp::Ordering;

type Test = fn(&mut State, &Value, &mut Args) -> Result<bool, Error>;

/// Tests that look at undefined values themselves.
const LENIENT: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "sameas",
    "string",
    "mapping",
    "number",
    "integer",
    "float",
    "boolean",
    "true",
    "false",
    "sequence",
    "list",
];

const TESTS: &[(&str, Test)] = &[
    ("defined", |_, value, _| Ok(!value.is_undefined())),
    ("undefined", |_, value, _| Ok(value.is_undefined())),
    ("none", |_, value, _| Ok(value.is_none())),
    ("boolean", |_, value, _| Ok(value.kind() == ValueKind::Bool)),
    ("true", |_, value, _| Ok(value.kind() == ValueKind::Bool && value.is_true())),
    ("false", |_, value, _| Ok(value.kind() == ValueKind::Bool && !value.is_true())),
    ("integer", |_, value, _| Ok(value.is_integer())),
    ("float", |_, value, _| Ok(value.is_number() && !value.is_integer())),
    // Python's booleans are numbers.
    ("number", |_, value, _| {
        Ok(value.is_number() || value.kind() == ValueKind::Bool)
    }),
    ("string", |_, value, _| Ok(is_string(value))),
    ("mapping", |_, value, _| Ok(is_mapping(value))),
    ("sequence", |_, value, _| {
        Ok(matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Bytes
        ))
    }),
    ("iterable", |_, value, _| {
        Ok(matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Bytes | ValueKind::Iterable
        ))
    }),
    ("list", |_, value, _| Ok(is_list(value))),
    ("callable", |_, value, _| {
        Ok(value.kind() == ValueKind::Plain || (value.kind() == ValueKind::Map && super::macros::is_macro(value)))
    }),
    ("escaped", |_, _, _| Ok(false)),
    ("odd", |_, value, _| Ok(integer(value)? % 2 != 0)),
    ("even", |_, value, _| Ok(integer(value)? % 2 == 0)),
    ("divisibleby", |_, value, args| {
        let by = args.int("num", 0)?;
        match by {
            0 => Err(fail("nothing is divisible by 0")),
            by => Ok(integer(value)? % by == 0),
        }
    }),
    ("lower", |_, value, _| {
        let text = text(value);
        Ok(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
    }),
    ("upper", |_, value, _| {
        let text = text(value);
        Ok(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
    }),
    ("in", |_, value, args| ops::contains(&args.need("seq")?, value)),
    ("sameas", |_, value, args| {
        let other = args.take("other").unwrap_or_default();
        Ok(same(value, &other))
    }),
    ("filter", |_, value, _| {
        Ok(super::filters::names().any(|name| Some(name) == value.as_str()))
    }),
    ("test", |_, value, _| Ok(names().any(|name| Some(name) == value.as_str()))),
    ("match", |_, value, args| pattern::matches(&text(value), args, true)),
    ("search", |_, value, args| pattern::matches(&text(value), args, false)),
    ("eq", |_, value, args| Ok(equal(value, &args.need("other")?))),
    ("==", |_, value, args| Ok(equal(value, &args.need("other")?))),
    ("equalto", |_, value, args| Ok(equal(value, &args.need("other")?))),
    ("ne", |_, value, args| Ok(!equal(value, &args.need("other")?))),
    ("!=", |_, value, args| Ok(!equal(value, &args.need("other")?))),
    ("lt", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Less)
    }),
    ("<", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Less)
    }),
    ("lessthan", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Less)
    }),
    ("le", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? != Ordering::Greater)
    }),
    ("<=", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? != Ordering::Greater)
    }),
    ("gt", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Greater)
    }),
    (">", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Greater)
    }),
    ("greaterthan", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? == Ordering::Greater)
    }),
    ("ge", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? != Ordering::Less)
    }),
    (">=", |_, value, args| {
        Ok(compare(value, &args.need("other")?)? != Ordering::Less)
    }),
];

/// The names of all tests.
pub fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(name, _)| *name)
}

pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// # Errors
/// There is no test called `name`.
pub fn known(name: &str) -> Result<(), Error> {
    if is_known(name) {
        return Ok(());
    }
    let near = nearest(name, names()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(fail(format!("there is no test `{name}`{near}")))
}

/// Gives `environment` all tests, in place of minijinja's own.
pub fn install(environment: &mut Environment<'static>) {
    for (name, test) in TESTS {
        environment.add_test(*name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            apply(name, *test, state, &args.into_values())
        });
    }
}

fn apply(name: &'static str, test: Test, state: &mut State, values: &[Value]) -> Result<bool, Error> {
    let (value, args) = values
        .split_first()
        .ok_or_else(|| fail(format!("the test `{name}` was given nothing")))?;
    if let Some(pending) = Pending::among(values) {
        // What is pending will be defined; any other test is a decision.
        return Ok(name == "defined" || (name != "undefined" && pending.is_true()));
    }
    if value.is_undefined() && !LENIENT.contains(&name) {
        return Err(undefined(value));
    }
    let mut args = Args::new(format!("is {name}"), args);
    let holds = test(state, value, &mut args)?;
    args.done()?;
    Ok(holds)
}

fn integer(value: &Value) -> Result<i64, Error> {
    as_int(value).ok_or_else(|| fail(format!("{} is no integer", super::args::shown(value))))
}

/// Python's `is`: the same object. Small values are the same when they are equal and of one type.
fn same(value: &Value, other: &Value) -> bool {
    match (value.as_object(), other.as_object()) {
        (Some(_), Some(_)) => match (
            value.downcast_object::<super::value::Dict>(),
            other.downcast_object::<super::value::Dict>(),
        ) {
            (Some(a), Some(b)) => std::sync::Arc::ptr_eq(&a, &b),
            _ => match (
                value.downcast_object::<super::value::List>(),
                other.downcast_object::<super::value::List>(),
            ) {
                (Some(a), Some(b)) => std::sync::Arc::ptr_eq(&a, &b),
                _ => equal(value, other),
            },
        },
        (None, None) => value.kind() == other.kind() && value.is_integer() == other.is_integer() && equal(value, other),
        _ => false,
    }
}
