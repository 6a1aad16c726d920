//! What a plain (unquoted) scalar stands for: YAML 1.1 as PyYAML resolves it, with Salt's changes.
//!
//! Salt reads integers with leading zeros as decimal (`0644` is 644) and leaves timestamps as text; all else is PyYAML's:
//! `yes`, `no`, `on`, `off` are booleans but `y` and `n` are not, `12:30` is 750, and `1e3` is text for want of a dot and a sign.

use super::value::{Data, Value, python_float};
use std::sync::Arc;

/// The value of the plain scalar `text`, with the text kept where the value does not print as it.
pub(super) fn plain(text: &str) -> Value {
    let Some(data) = resolve(text) else {
        return text.into();
    };
    let printed = match &data {
        Data::Int(n) => n.to_string(),
        Data::Float(f) => python_float(*f),
        Data::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
        // An absent value was not written in any way.
        _ if text.is_empty() => String::new(),
        _ => "None".to_owned(),
    };
    let mut value = Value::from(data);
    value.raw = (printed != text).then(|| Arc::from(text));
    value
}

/// What a plain scalar is, when it is not a string.
pub(super) fn resolve(text: &str) -> Option<Data> {
    match text.as_bytes().first() {
        None => Some(Data::Null),
        Some(b'~' | b'n' | b'N' | b'y' | b'Y' | b't' | b'T' | b'f' | b'F' | b'o' | b'O') => match text {
            "~" | "null" | "Null" | "NULL" => Some(Data::Null),
            _ => boolean(text).map(Data::Bool),
        },
        Some(b'-' | b'+' | b'.' | b'0'..=b'9') => int(text).map(Data::Int).or_else(|| float(text).map(Data::Float)),
        _ => None,
    }
}

/// Whether PyYAML would read the plain scalar `text` as a string; if not, a string must be quoted.
pub(super) fn is_plain_string(text: &str) -> bool {
    // Integers too great for us are text here, but not to others.
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'_') && text.starts_with(|c| ('1'..='9').contains(&c));
    resolve(text).is_none() && !matches!(text, "=" | "<<") && !timestamp(text) && !digits
}

/// `yes`, `No`, `TRUE`, `on`, ... in lower, upper or title case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn without_underscores(text: &str) -> String {
    text.replace('_', "")
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

/// One sign, if any, and the rest.
fn signed(text: &str) -> (bool, bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, true, &text[1..]),
        Some(b'+') => (true, false, &text[1..]),
        _ => (false, false, text),
    }
}

pub(super) fn int(text: &str) -> Option<i64> {
    let (has_sign, negative, rest) = signed(text);
    let radix = |digits: &str, radix: u32| i64::from_str_radix(&without_underscores(digits), radix).ok();
    let magnitude = if let Some(bits) = rest.strip_prefix("0b") {
        all(bits, |b| matches!(b, b'0' | b'1' | b'_')).then(|| radix(bits, 2))?
    } else if let Some(digits) = rest.strip_prefix("0x") {
        all(digits, |b| b.is_ascii_hexdigit() || b == b'_').then(|| radix(digits, 16))?
    } else if rest == "0" {
        Some(0)
    } else if let Some(octal) = rest.strip_prefix('0') {
        if !all(octal, |b| matches!(b, b'0'..=b'7' | b'_')) {
            return None;
        }
        // Salt takes the zeros away and reads the rest as decimal, but it only looks at the very start: a sign hides them.
        match octal.trim_start_matches('0') {
            "" => Some(0),
            digits => radix(digits, if has_sign { 8 } else { 10 }),
        }
    } else {
        let mut parts = rest.split(':');
        let first = parts.next()?;
        if !first.starts_with(|c: char| c.is_ascii_digit()) || !all(first, |b| b.is_ascii_digit() || b == b'_') {
            return None;
        }
        parts.try_fold(radix(first, 10)?, |total, part| {
            total.checked_mul(60)?.checked_add(sexagesimal(part)?)
        })
    }?;
    Some(if negative { -magnitude } else { magnitude })
}

/// One of the parts after the first in `12:30:45`.
fn sexagesimal(part: &str) -> Option<i64> {
    match part.as_bytes() {
        [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'] => part.parse().ok(),
        _ => None,
    }
}

pub(super) fn float(text: &str) -> Option<f64> {
    let (has_sign, negative, rest) = signed(text);
    let sign = if negative { -1.0 } else { 1.0 };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if !has_sign => return Some(f64::NAN),
        _ => {}
    }
    if let Some((sixties, last)) = rest.split_once(':') {
        // `1:30.5`: the last part may have a fraction.
        let (whole, fraction) = last.split_once('.')?;
        if !sixties.starts_with(|c: char| c.is_ascii_digit())
            || !all(sixties, |b| b.is_ascii_digit() || b == b'_')
            || !fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        {
            return None;
        }
        let mut total: f64 = without_underscores(sixties).parse().ok()?;
        let mut parts = whole.split(':').peekable();
        while let Some(part) = parts.next() {
            sexagesimal(part)?;
            let digits = match parts.peek() {
                None => format!("{part}.{}", without_underscores(fraction)),
                Some(_) => part.to_owned(),
            };
            total = total * 60.0 + digits.parse::<f64>().ok()?;
        }
        return Some(sign * total);
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let whole_ok = if whole.is_empty() {
        !has_sign && fraction.starts_with(|c: char| c.is_ascii_digit())
    } else {
        whole.starts_with(|c: char| c.is_ascii_digit()) && all(whole, |b| b.is_ascii_digit() || b == b'_')
    };
    let exponent_ok = exponent.is_none_or(|e| e.starts_with(['+', '-']) && all(&e[1..], |b| b.is_ascii_digit()));
    if !whole_ok || !exponent_ok || !fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return None;
    }
    without_underscores(rest).parse::<f64>().ok().map(|f| sign * f)
}

/// `2024-01-31`, and the longer forms with a time of day.
fn timestamp(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    if digits(text) != 4 {
        return false;
    }
    let Some((month, rest)) = text[4..].strip_prefix('-').and_then(|date| date.split_once('-')) else {
        return false;
    };
    let (months, days) = (digits(month), digits(rest));
    if months != month.len() || !(1..=2).contains(&months) || !(1..=2).contains(&days) {
        return false;
    }
    let time = &rest[days..];
    // Whatever begins a time of day is taken for one: quoting a string too many does no harm.
    match time.trim_start_matches(['T', 't', ' ', '\t']) {
        "" => time.is_empty() && months == 2 && days == 2,
        clock => clock.len() < time.len() && digits(clock) > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_salt_takes_them_for() {
        let int = |n: i64| Data::Int(n);
        let float = |f: f64| Data::Float(f);
        let string = |s: &str| Data::Str(s.into());
        let cases = [
            ("", Data::Null),
            ("~", Data::Null),
            ("null", Data::Null),
            ("NULL", Data::Null),
            ("None", string("None")),
            ("nULL", string("nULL")),
            ("yes", Data::Bool(true)),
            ("Off", Data::Bool(false)),
            ("TRUE", Data::Bool(true)),
            ("tRUE", string("tRUE")),
            ("y", string("y")),
            ("n", string("n")),
            ("0", int(0)),
            ("-0", int(0)),
            ("00", int(0)),
            ("0644", int(644)),
            ("010", int(10)),
            ("-010", int(-8)),
            ("08", string("08")),
            ("0o644", string("0o644")),
            ("0b101", int(5)),
            ("0xFf", int(255)),
            ("0x", string("0x")),
            ("0_", string("0_")),
            ("1_000", int(1000)),
            ("+12", int(12)),
            ("12:30", int(750)),
            ("12:30:45", int(45045)),
            ("12:60", string("12:60")),
            ("0:30", string("0:30")),
            ("08:30", string("08:30")),
            ("1:30.5", float(90.5)),
            ("1.10", float(1.1)),
            ("1.", float(1.0)),
            (".5", float(0.5)),
            ("-.5", string("-.5")),
            ("1e3", string("1e3")),
            ("1.0e3", string("1.0e3")),
            ("1.0e+3", float(1000.0)),
            ("1.2.3", string("1.2.3")),
            (".inf", float(f64::INFINITY)),
            ("-.INF", float(f64::NEG_INFINITY)),
            ("2024-01-31", string("2024-01-31")),
            ("2024-01-31 10:11:12", string("2024-01-31 10:11:12")),
            ("99999999999999999999", string("99999999999999999999")),
            ("-", string("-")),
            ("+", string("+")),
            (".", string(".")),
            ("1:", string("1:")),
            ("é", string("é")),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text).data, expected, "{text:?}");
        }
        assert!(matches!(plain(".nan").data, Data::Float(f) if f.is_nan()));
    }

    #[test]
    fn the_text_is_kept_where_the_value_prints_otherwise() {
        let cases = [
            ("0644", Some("0644")),
            ("644", None),
            ("yes", Some("yes")),
            ("True", None),
            ("1.10", Some("1.10")),
            ("1.5", None),
            ("~", Some("~")),
            ("", None),
            ("text", None),
            ("12:30", Some("12:30")),
        ];
        for (text, raw) in cases {
            assert_eq!(plain(text).raw.as_deref(), raw, "{text:?}");
        }
    }

    #[test]
    fn what_others_would_not_read_as_a_string() {
        for text in [
            "2024-01-31",
            "2024-1-3 10:11:12Z",
            "=",
            "<<",
            "yes",
            "",
            "0644",
            "12345678901234567890",
        ] {
            assert!(!is_plain_string(text), "{text:?}");
        }
        for text in ["2024-1-3", "08", "y", "1e3", "a b", "1.2.3"] {
            assert!(is_plain_string(text), "{text:?}");
        }
    }
}
