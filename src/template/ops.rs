//! Python's operators, as the filters that the rewritten template calls (`a % b` is `(a|_mod(b))`).

use super::args::{Args, shown};
use super::methods::percent;
use super::value::{
    Dict, Pending, View, ViewKind, as_float, as_int, compare, equal, fail, is_list, is_mapping, is_sequence_like, is_string,
    items, list, lookup, text, tuple, type_name, undefined,
};
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};
use std::cmp::Ordering;

/// The longest string or list that an operator may make, in bytes or items.
const LONGEST: usize = 16 << 20;

type Binary = fn(&Value, &Value) -> Result<Value, Error>;

/// The operators by the names that the rewritten template has for them.
pub const BINARY: &[(&str, Binary)] = &[
    ("_add", add),
    ("_sub", subtract),
    ("_mul", multiply),
    ("_div", divide),
    ("_floordiv", floor_divide),
    ("_mod", modulo),
    ("_pow", power),
    ("_cat", concatenate),
    ("_eq", |a, b| Ok(Value::from(equal(a, b)))),
    ("_ne", |a, b| Ok(Value::from(!equal(a, b)))),
    ("_lt", |a, b| Ok(Value::from(compare(a, b)? == Ordering::Less))),
    ("_le", |a, b| Ok(Value::from(compare(a, b)? != Ordering::Greater))),
    ("_gt", |a, b| Ok(Value::from(compare(a, b)? == Ordering::Greater))),
    ("_ge", |a, b| Ok(Value::from(compare(a, b)? != Ordering::Less))),
    ("_in", |a, b| Ok(Value::from(contains(b, a)?))),
    ("_not_in", |a, b| Ok(Value::from(!contains(b, a)?))),
];

fn refused(op: &str, left: &Value, right: &Value) -> Error {
    fail(format!(
        "`{op}` does not work between {} ({}) and {} ({})",
        shown(left),
        type_name(left),
        shown(right),
        type_name(right)
    ))
}

/// Two integers, or two floats where one of them is no integer.
enum Numbers {
    Ints(i128, i128),
    Floats(f64, f64),
}

fn numbers(left: &Value, right: &Value) -> Option<Numbers> {
    let int = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    match (int(left), int(right)) {
        (Some(a), Some(b)) => Some(Numbers::Ints(a, b)),
        _ => Some(Numbers::Floats(as_float(left)?, as_float(right)?)),
    }
}

fn integer(int: i128) -> Value {
    i64::try_from(int).map_or_else(|_| Value::from(int), Value::from)
}

fn arithmetic(
    op: &str,
    left: &Value,
    right: &Value,
    ints: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    match numbers(left, right) {
        Some(Numbers::Ints(a, b)) => ints(a, b)
            .map(integer)
            .ok_or_else(|| fail(format!("{a} {op} {b} is too large or has no result"))),
        Some(Numbers::Floats(a, b)) => Ok(Value::from(floats(a, b))),
        None => Err(refused(op, left, right)),
    }
}

pub fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    if is_string(left) && is_string(right) {
        return Ok(Value::from(text(left) + &text(right)));
    }
    if is_sequence_like(left) && is_sequence_like(right) && left.is_tuple() == right.is_tuple() {
        let mut all = items(left)?;
        all.extend(items(right)?);
        bounded(all.len())?;
        return Ok(if left.is_tuple() { tuple(all) } else { list(all) });
    }
    arithmetic("+", left, right, i128::checked_add, |a, b| a + b).map_err(|error| {
        let hint = if is_string(left) || is_string(right) {
            "; `~` joins anything to a string"
        } else {
            ""
        };
        fail(format!("{}{hint}", error.detail().unwrap_or_default()))
    })
}

fn subtract(left: &Value, right: &Value) -> Result<Value, Error> {
    let is_set = |value: &Value| {
        value
            .downcast_object_ref::<View>()
            .is_some_and(|view| matches!(view.kind, ViewKind::Set | ViewKind::Keys | ViewKind::Items))
    };
    if is_set(left) && is_set(right) {
        let right = items(right)?;
        return Ok(View::set(items(left)?.into_iter().filter(|item| !right.contains(item))));
    }
    arithmetic("-", left, right, i128::checked_sub, |a, b| a - b)
}

fn bounded(length: usize) -> Result<usize, Error> {
    if length > LONGEST {
        Err(fail(format!("a string or list of {length} is too large")))
    } else {
        Ok(length)
    }
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    for (one, other) in [(left, right), (right, left)] {
        let Some(count) = as_int(other) else { continue };
        let count = usize::try_from(count).unwrap_or(0);
        if is_string(one) {
            let text = text(one);
            bounded(text.len().saturating_mul(count))?;
            return Ok(Value::from(text.repeat(count)));
        }
        if is_list(one) || one.is_tuple() {
            let part = items(one)?;
            bounded(part.len().saturating_mul(count))?;
            let all = std::iter::repeat_n(part, count).flatten().collect();
            return Ok(if one.is_tuple() { tuple(all) } else { list(all) });
        }
    }
    arithmetic("*", left, right, i128::checked_mul, |a, b| a * b)
}

fn divide(left: &Value, right: &Value) -> Result<Value, Error> {
    match (as_float(left), as_float(right)) {
        (Some(_), Some(0.0)) => Err(fail("division by zero")),
        (Some(a), Some(b)) => Ok(Value::from(a / b)),
        _ => Err(refused("/", left, right)),
    }
}

fn not_zero(op: &str, left: &Value, right: &Value) -> Result<(), Error> {
    match (as_float(left), as_float(right)) {
        (Some(_), Some(0.0)) => Err(fail("division by zero")),
        (Some(_), Some(_)) => Ok(()),
        _ => Err(refused(op, left, right)),
    }
}

fn floor_divide(left: &Value, right: &Value) -> Result<Value, Error> {
    not_zero("//", left, right)?;
    let floor = |a: i128, b: i128| {
        let quotient = a.checked_div(b)?;
        Some(if a % b != 0 && (a < 0) != (b < 0) {
            quotient - 1
        } else {
            quotient
        })
    };
    arithmetic("//", left, right, floor, |a, b| (a / b).floor())
}

fn modulo(left: &Value, right: &Value) -> Result<Value, Error> {
    if is_string(left) {
        return percent(left.as_str().unwrap_or_default(), right).map(Value::from);
    }
    not_zero("%", left, right)?;
    let ints = |a: i128, b: i128| {
        let rest = a.checked_rem(b)?;
        Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    };
    arithmetic("%", left, right, ints, |a, b| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
            rest + b
        } else {
            rest
        }
    })
}

fn power(left: &Value, right: &Value) -> Result<Value, Error> {
    match numbers(left, right) {
        Some(Numbers::Ints(a, b)) if b >= 0 => u32::try_from(b)
            .ok()
            .and_then(|b| a.checked_pow(b))
            .map(integer)
            .ok_or_else(|| fail(format!("{a} ** {b} is too large"))),
        Some(Numbers::Ints(0, _) | Numbers::Floats(0.0, f64::NEG_INFINITY..0.0)) => {
            Err(fail("0 cannot be raised to a negative power"))
        }
        Some(Numbers::Ints(a, b)) => Ok(Value::from((a as f64).powf(b as f64))),
        Some(Numbers::Floats(a, b)) => Ok(Value::from(a.powf(b))),
        None => Err(refused("**", left, right)),
    }
}

fn concatenate(left: &Value, right: &Value) -> Result<Value, Error> {
    let mut all = text(left);
    all.push_str(&text(right));
    bounded(all.len())?;
    Ok(Value::from(all))
}

/// Python's `item in container`.
pub fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    if let Some(dict) = container.downcast_object_ref::<Dict>() {
        return Ok(dict.get(item).is_some());
    }
    match container.kind() {
        ValueKind::String => match item.as_str() {
            Some(part) if is_string(item) => Ok(container.as_str().unwrap_or_default().contains(part)),
            _ => Err(refused("in", item, container)),
        },
        ValueKind::Map | ValueKind::Plain => Ok(lookup(container, item).is_some()),
        ValueKind::Seq | ValueKind::Iterable => Ok(items(container)?.iter().any(|other| equal(other, item))),
        _ => Err(refused("in", item, container)),
    }
}

/// Registers nothing itself: the operator `name` on operands that may be pending or undefined.
pub fn binary(operator: Binary, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(pending) = Pending::among([left, right]) {
        return Ok(pending);
    }
    for value in [left, right] {
        if value.is_undefined() {
            return Err(undefined(value));
        }
    }
    operator(left, right)
}

/// `value[start:stop:step]`.
pub fn slice(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let (start, stop) = (args.int_or_none("start")?, args.int_or_none("stop")?);
    let step = args.int("step", 1)?;
    if step == 0 {
        return Err(fail("a slice's step cannot be 0"));
    }
    let picked = |len: usize| {
        let len = len as i64;
        let clamp = |at: i64, low: i64, high: i64| (if at < 0 { at + len } else { at }).clamp(low, high);
        let (start, stop) = if step > 0 {
            (clamp(start.unwrap_or(0), 0, len), clamp(stop.unwrap_or(len), 0, len))
        } else {
            (
                start.map_or(len - 1, |at| clamp(at, -1, len - 1)),
                stop.map_or(-1, |at| clamp(at, -1, len - 1)),
            )
        };
        let mut at = start;
        std::iter::from_fn(move || {
            let inside = if step > 0 { at < stop } else { at > stop };
            let here = at;
            at = at.saturating_add(step);
            inside.then_some(here as usize)
        })
    };
    if is_string(&value) {
        let text = value.as_str().unwrap_or_default();
        if text.is_ascii() && step == 1 {
            let mut range = picked(text.len());
            let from = range.next();
            return Ok(Value::from(from.map_or("", |from| {
                let count = range.count() + 1;
                &text[from..from + count]
            })));
        }
        let chars: Vec<char> = text.chars().collect();
        return Ok(Value::from(picked(chars.len()).map(|at| chars[at]).collect::<String>()));
    }
    if !is_sequence_like(&value) {
        return Err(fail(format!("{} ({}) cannot be sliced", shown(&value), type_name(&value))));
    }
    let all = items(&value)?;
    let part = picked(all.len()).map(|at| all[at].clone()).collect();
    Ok(if value.is_tuple() { tuple(part) } else { list(part) })
}

/// `+value`.
pub fn plus(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    match as_float(&value) {
        Some(_) => Ok(value),
        None => Err(fail(format!("`+` needs a number, not {}", shown(&value)))),
    }
}

/// What `for` iterates over: a snapshot, as the loop's body may change the list.
pub fn iterate(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    if let Some(pending) = value.downcast_object_ref::<Pending>() {
        pending.decided();
        return Ok(Value::from(Vec::<Value>::new()));
    }
    Ok(Value::from(items(&value)?))
}

/// A list literal.
pub fn list_literal(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    Ok(list(items(&value)?))
}

/// A dictionary literal.
pub fn dict_literal(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    let pairs = super::value::pairs(&value).unwrap_or_default();
    for (key, _) in &pairs {
        super::value::hashable(key)?;
    }
    debug_assert!(is_mapping(&value));
    Ok(super::value::dict(pairs))
}

#[cfg(test)]
mod tests {
    use super::super::value::{dict, repr};
    use super::*;

    fn calculated(name: &str, left: Value, right: Value) -> String {
        let operator = BINARY.iter().find(|(known, _)| *known == name).unwrap().1;
        match binary(operator, &left, &right) {
            Ok(value) => repr(&value),
            Err(error) => error.detail().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn operators_do_what_pythons_do() {
        let l = |items: &[i64]| list(items.iter().map(|n| Value::from(*n)).collect());
        let table = [
            ("_add", 1.into(), 2.5.into(), "3.5"),
            ("_add", true.into(), 1.into(), "2"),
            ("_add", "a".into(), "b".into(), "'ab'"),
            ("_add", l(&[1]), l(&[2]), "[1, 2]"),
            (
                "_add",
                "a".into(),
                1.into(),
                "`+` does not work between 'a' (str) and 1 (int); `~` joins anything to a string",
            ),
            ("_cat", "a".into(), 1.0.into(), "'a1.0'"),
            ("_mul", "ab".into(), 2.into(), "'abab'"),
            ("_mul", 2.into(), l(&[1]), "[1, 1]"),
            ("_mod", (-7).into(), 3.into(), "2"),
            ("_mod", "%s".into(), 3.into(), "'3'"),
            ("_floordiv", (-7).into(), 2.into(), "-4"),
            ("_div", 7.into(), 2.into(), "3.5"),
            ("_div", 7.into(), 0.into(), "division by zero"),
            ("_pow", 2.into(), 10.into(), "1024"),
            ("_eq", 1.into(), true.into(), "True"),
            ("_eq", l(&[1]), l(&[1]), "True"),
            ("_eq", l(&[1]), tuple(vec![1.into()]), "False"),
            (
                "_lt",
                "a".into(),
                1.into(),
                "values of type str and int have no order between them",
            ),
            ("_in", "b".into(), "abc".into(), "True"),
            ("_in", "a".into(), dict([("a".into(), 1.into())]), "True"),
            ("_not_in", 3.into(), l(&[1]), "True"),
            (
                "_in",
                1.into(),
                Value::from(()),
                "`in` does not work between 1 (int) and None (NoneType)",
            ),
        ];
        for (name, left, right, expected) in table {
            assert_eq!(calculated(name, left, right), expected, "{name}");
        }
    }
}
