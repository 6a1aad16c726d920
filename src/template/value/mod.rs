//! Python's values over minijinja's: lists and dictionaries that can be changed, and what `str`, `repr`, `==` and `<` make of them.
//!
//! minijinja's own sequences and maps are immutable; the templates that people have call `update` and `append`, and see the change
//! through every other name of the same value. [`List`] and [`Dict`] are such values. Numbers, strings, `None` and tuples are
//! minijinja's own.

mod containers;
mod convert;
mod pending;
mod repr;

pub use containers::{Dict, List, View, ViewKind, forget_misses, hashable, missed};
pub use convert::{from_template, sorted, to_template};
pub use pending::Pending;
pub use repr::{repr, text};

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use std::cmp::Ordering;

/// An error in what the template's author wrote.
pub fn fail(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The error for an undefined value that is used; it carries where the value came from.
pub fn undefined(value: &Value) -> Error {
    // minijinja attaches the origin in a function of its own, which only an attribute access on the value reaches.
    match value.get_attr("") {
        Err(error) => error,
        Ok(_) => Error::from(ErrorKind::UndefinedError),
    }
}

/// A change beyond this depth is refused: values are walked and dropped recursively.
const DEEPEST: usize = 100;

pub fn list(items: Vec<Value>) -> Value {
    Value::from_object(List::new(items))
}

pub fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Value {
    Value::from_object(Dict::new(pairs))
}

pub fn tuple(items: Vec<Value>) -> Value {
    Value::from(Tuple::from(items))
}

pub fn is_mapping(value: &Value) -> bool {
    value.kind() == ValueKind::Map && !value.is_kwargs()
}

/// Python's `isinstance(value, list)`.
pub fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq && !value.is_tuple() && value.downcast_object_ref::<View>().is_none()
}

/// Python's `isinstance(value, str)`.
pub fn is_string(value: &Value) -> bool {
    value.kind() == ValueKind::String
}

/// A list, a tuple, a view: what Python iterates over, but neither strings nor dictionaries.
pub fn is_sequence_like(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// The name of the value's type as Python's messages have it.
pub fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => value
            .downcast_object_ref::<View>()
            .map_or("list", |view| view.kind.type_name()),
        ValueKind::Map => "dict",
        _ => "object",
    }
}

/// What Python's `for` sees: items, keys, characters.
///
/// # Errors
/// A value that Python does not iterate over.
pub fn items(value: &Value) -> Result<Vec<Value>, Error> {
    if let Some(list) = value.downcast_object_ref::<List>() {
        return Ok(list.items());
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => value.try_iter()?.checked().collect(),
        ValueKind::Bytes => Ok(value
            .as_bytes()
            .unwrap_or_default()
            .iter()
            .map(|byte| Value::from(*byte))
            .collect()),
        _ => Err(fail(format!("a value of type {} is not iterable", type_name(value)))),
    }
}

/// The keys and values of a mapping; `None` for anything else.
pub fn pairs(value: &Value) -> Option<Vec<(Value, Value)>> {
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return Some(dict.pairs());
    }
    if value.kind() != ValueKind::Map {
        return None;
    }
    Some(value.as_object()?.try_iter_pairs()?.collect())
}

/// The value under `key` in a mapping, or at an index of a sequence; `None` where there is none.
pub fn lookup(value: &Value, key: &Value) -> Option<Value> {
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return dict.get(key);
    }
    value.get_item(key).ok().filter(|found| !found.is_undefined())
}

/// The number of items, as Python's `len`.
pub fn length(value: &Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        _ => value.len().map_or_else(
            || match value.kind() {
                ValueKind::Iterable => Ok(items(value)?.len()),
                _ => Err(fail(format!("a value of type {} has no length", type_name(value)))),
            },
            Ok,
        ),
    }
}

/// Python's `==`.
pub fn equal(left: &Value, right: &Value) -> bool {
    left == right
}

/// Python's `<`, `==`, `>` in one.
///
/// # Errors
/// Values that Python refuses to compare, such as a string and a number.
pub fn compare(left: &Value, right: &Value) -> Result<Ordering, Error> {
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if number(left) && number(right) {
        return Ok(match (as_float(left), as_float(right)) {
            (Some(a), Some(b)) if !left.is_integer() || !right.is_integer() => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            _ => left.cmp(right),
        });
    }
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        return Ok(a.cmp(b));
    }
    if is_sequence_like(left) && is_sequence_like(right) && left.is_tuple() == right.is_tuple() {
        let (a, b) = (items(left)?, items(right)?);
        for (x, y) in a.iter().zip(&b) {
            match compare(x, y)? {
                Ordering::Equal => {}
                unequal => return Ok(unequal),
            }
        }
        return Ok(a.len().cmp(&b.len()));
    }
    for value in [left, right] {
        if value.is_undefined() {
            return Err(undefined(value));
        }
    }
    Err(fail(format!(
        "values of type {} and {} have no order between them",
        type_name(left),
        type_name(right)
    )))
}

/// A number or a boolean as a float.
pub fn as_float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// An integer or a boolean as an integer.
pub fn as_int(value: &Value) -> Option<i64> {
    match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.as_i64(),
        _ => None,
    }
}

/// Sorted by Python's order, stable.
pub fn sort(values: &mut [Value], key: impl Fn(&Value) -> Result<Value, Error>, reverse: bool) -> Result<(), Error> {
    let mut keyed: Vec<(Value, Value)> = values
        .iter()
        .map(|value| Ok((key(value)?, value.clone())))
        .collect::<Result<_, Error>>()?;
    let mut failed = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    for (place, (_, value)) in values.iter_mut().zip(keyed) {
        *place = value;
    }
    Ok(())
}

/// A copy all the way down, as `copy.deepcopy`.
pub fn deep_copy(value: &Value) -> Value {
    copy_below(value, 0)
}

fn copy_below(value: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return value.clone();
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return self::dict(
            dict.pairs()
                .into_iter()
                .map(|(key, value)| (key, copy_below(&value, depth + 1))),
        );
    }
    if is_list(value)
        && let Ok(items) = items(value)
    {
        return list(items.iter().map(|item| copy_below(item, depth + 1)).collect());
    }
    value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_orders_and_refuses() {
        let table = [
            (Value::from(1), Value::from(2.5), Some(Ordering::Less)),
            (Value::from(true), Value::from(1), Some(Ordering::Equal)),
            (Value::from("a"), Value::from("b"), Some(Ordering::Less)),
            (Value::from("a"), Value::from(1), None),
            (Value::from(()), Value::from(1), None),
            (list(vec![1.into(), 2.into()]), list(vec![1.into()]), Some(Ordering::Greater)),
        ];
        for (left, right, expected) in table {
            assert_eq!(compare(&left, &right).ok(), expected, "{left:?} {right:?}");
        }
    }

    #[test]
    fn copies_are_deep() {
        let inner = list(vec![1.into()]);
        let outer = dict([(Value::from("a"), inner.clone())]);
        let copy = deep_copy(&outer);
        inner
            .downcast_object_ref::<List>()
            .unwrap()
            .splice(1..1, vec![2.into()])
            .unwrap();
        assert_eq!(repr(&outer), "{'a': [1, 2]}");
        assert_eq!(repr(&copy), "{'a': [1]}");
    }
}
