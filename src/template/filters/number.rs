//! Filters that make numbers, or tell of them.

use super::Filter;
use crate::template::args::{Args, shown};
use crate::template::value::{as_float, as_int, fail, is_string, text};
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

pub const FILTERS: &[(&str, Filter)] = &[
    ("abs", abs),
    ("int", int),
    ("float", float),
    ("round", round),
    ("to_num", |_, value, _| Ok(to_num(&value))),
    ("str_to_num", |_, value, _| Ok(to_num(&value))),
    ("is_hex", |_, value, _| Ok(parse_int(&text(&value), 16).is_some().into())),
    ("human_to_bytes", human_to_bytes),
];

fn abs(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    match (as_int(&value), as_float(&value)) {
        (Some(int), _) => Ok(int.saturating_abs().into()),
        (None, Some(float)) => Ok(float.abs().into()),
        _ => Err(fail(format!("`|abs` needs a number, not {}", shown(&value)))),
    }
}

/// Python's `int(text, base)`: blanks around, a sign, `_` between digits; base 0 reads a prefix.
pub fn parse_int(text: &str, base: i64) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match (base, lower.get(..2)) {
        (0 | 16, Some("0x")) => (16, &lower[2..]),
        (0 | 8, Some("0o")) => (8, &lower[2..]),
        (0 | 2, Some("0b")) => (2, &lower[2..]),
        (0, _) => (10, &lower[..]),
        (base, _) => (u32::try_from(base).ok().filter(|base| (2..=36).contains(base))?, &lower[..]),
    };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.starts_with(['-', '+']) {
        return None;
    }
    let size = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    i64::try_from(if negative { -size } else { size }).ok()
}

/// Python's `float(text)`.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    match text.to_ascii_lowercase().trim_start_matches(['+', '-']) {
        "inf" | "infinity" | "nan" => text.to_ascii_lowercase().parse().ok(),
        _ if text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E') => None,
        _ => text.parse().ok(),
    }
}

/// A number, or text that is one.
pub fn to_float(value: &Value) -> Option<f64> {
    as_float(value).or_else(|| parse_float(value.as_str()?))
}

fn int(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let default = args.take("default").unwrap_or(Value::from(0));
    let base = args.int("base", 10)?;
    let whole = |float: f64| (float.is_finite() && float.abs() < 9.2e18).then_some(float as i64);
    let found = match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            parse_int(text, base).or_else(|| whole(parse_float(text)?.trunc()))
        }
        _ => as_int(&value).or_else(|| whole(as_float(&value)?.trunc())),
    };
    Ok(found.map_or(default, Value::from))
}

fn float(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let default = args.take("default").unwrap_or(Value::from(0.0));
    Ok(to_float(&value).map_or(default, Value::from))
}

fn round(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let precision = args.int("precision", 0)?.clamp(-300, 300) as i32;
    let method = args.text_or("method", "common")?;
    let number = as_float(&value).ok_or_else(|| fail(format!("`|round` needs a number, not {}", shown(&value))))?;
    let scale = 10_f64.powi(precision);
    Ok(match method.as_str() {
        "common" if as_int(&value).is_some() => {
            let int = as_int(&value).unwrap_or_default();
            let scale = 10_i64.checked_pow(precision.min(0).unsigned_abs()).unwrap_or(i64::MAX);
            return Ok(((int as f64 / scale as f64).round_ties_even() as i64)
                .saturating_mul(scale)
                .into());
        }
        // Rounding by the decimal digits themselves, half to even, is what Python does.
        "common" if precision >= 0 => format!("{number:.*}", precision as usize).parse().unwrap_or(number),
        "common" => (number * scale).round_ties_even() / scale,
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        other => {
            return Err(fail(format!(
                "`|round`: the method is `common`, `ceil` or `floor`, not `{other}`"
            )));
        }
    }
    .into())
}

fn to_num(value: &Value) -> Value {
    if !is_string(value) {
        return as_int(value).map_or_else(|| value.clone(), Value::from);
    }
    let text = value.as_str().unwrap_or_default();
    match (parse_int(text, 10), parse_float(text)) {
        (Some(int), _) => int.into(),
        (None, Some(float)) => float.into(),
        _ => value.clone(),
    }
}

fn human_to_bytes(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let default_unit = args.text_or("default_unit", "B")?;
    let metric = args.flag("handle_metric", false)?;
    let written = text(&value);
    let written = written.trim();
    let end = written
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(written.len());
    let Ok(number) = written[..end].parse::<f64>() else {
        return Ok(0.into());
    };
    let unit = match written[end..].trim() {
        "" => default_unit.to_lowercase(),
        unit => unit.to_lowercase(),
    };
    let Some(power) = unit.chars().next().and_then(|first| "bkmgtpezy".find(first)) else {
        return Ok(0.into());
    };
    let base: f64 = match &unit[1..] {
        "b" if power > 0 && metric => 1000.0,
        "b" if power > 0 => 1024.0,
        "" => 1024.0,
        "ib" if power > 0 => 1024.0,
        _ => return Ok(0.into()),
    };
    Ok(((number * base.powi(power as i32)) as i64).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_python_reads_them() {
        let table = [
            (" 42 ", 10, Some(42)),
            ("-1_000", 10, Some(-1000)),
            ("0x1f", 16, Some(31)),
            ("0x1f", 10, None),
            ("0b11", 0, Some(3)),
            ("4.5", 10, None),
            ("", 10, None),
            ("_1", 10, None),
        ];
        for (text, base, expected) in table {
            assert_eq!(parse_int(text, base), expected, "{text}");
        }
    }
}
