//! The methods of Python's values.

mod container;
mod format;
mod string;

pub use container::{dict, list, of_dict, pairs_to_update, view};
pub use format::percent;
pub use string::{capitalize, split_lines, strip};

use format::format_fields;

use super::args::Args;
use super::value::{Pending, fail, items, type_name, undefined};
use crate::error::nearest;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Methods of values that are minijinja's own: strings, numbers, tuples, bytes.
pub fn unknown(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(pending) = Pending::among(args.iter().chain([value])) {
        return Ok(pending);
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        ValueKind::String => string::call(value.as_str().unwrap_or_default(), method, Args::new(method, args)),
        ValueKind::Bytes => {
            let text = String::from_utf8_lossy(value.as_bytes().unwrap_or_default());
            match method {
                "decode" => Ok(Value::from(text.into_owned())),
                _ => string::call(&text, method, Args::new(method, args)),
            }
        }
        ValueKind::Seq => container::sequence(&items(value)?, method, Args::new(method, args)),
        ValueKind::Number => number(value, method),
        // minijinja looks for a callable under that name itself.
        ValueKind::Map | ValueKind::Plain => {
            let _ = state;
            Err(Error::from(ErrorKind::UnknownMethod))
        }
        _ => Err(no_method(value, method, &[])),
    }
}

/// `text` in the middle of `width` columns.
pub fn centered(text: &str, width: i64) -> Result<String, Error> {
    string::justify(text, width, ' ', string::Side::Center)
}

fn number(value: &Value, method: &str) -> Result<Value, Error> {
    match method {
        "bit_length" if value.is_integer() => {
            let int = value.as_i64().unwrap_or_default().unsigned_abs();
            Ok(Value::from(u64::BITS - int.leading_zeros()))
        }
        "is_integer" => Ok(Value::from(
            super::value::as_float(value).is_some_and(|float| float.fract() == 0.0),
        )),
        _ => Err(no_method(value, method, &["bit_length", "is_integer"])),
    }
}

/// The error for a method that the value does not have.
pub fn no_method(value: &Value, method: &str, known: &[&str]) -> Error {
    let near = nearest(method, known.iter().copied()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    fail(format!("a value of type {} has no method `{method}`{near}", type_name(value)))
}
