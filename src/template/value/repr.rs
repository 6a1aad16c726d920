//! Python's `str` and `repr`.

use super::{Dict, Pending, View, ViewKind, items, pairs};
use crate::yaml::python_float;
use minijinja::Value;
use minijinja::value::{Tuple, ValueKind};

/// Python's `str(value)`: what `{{ value }}` prints.
pub fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) if value.kind() == ValueKind::String => text.to_owned(),
        _ if value.is_undefined() => String::new(),
        _ => repr(value),
    }
}

/// Python's `repr(value)`: as it stands in a list.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out, 0);
    out
}

fn write(value: &Value, out: &mut String, depth: usize) {
    if depth > super::DEEPEST + 8 {
        return out.push_str("...");
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() => out.push_str(&python_float(float)),
            _ => out.push_str(&format!("{value}")),
        },
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Bytes => bytes(value.as_bytes().unwrap_or_default(), out),
        // A module prints what its file printed, and knows that itself.
        ValueKind::Map if value.downcast_object_ref::<Dict>().is_none() => out.push_str(&format!("{value}")),
        ValueKind::Map => {
            out.push('{');
            for (n, (key, value)) in pairs(value).unwrap_or_default().iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write(key, out, depth + 1);
                out.push_str(": ");
                write(value, out, depth + 1);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => sequence(value, out, depth),
        _ if value.downcast_object_ref::<Pending>().is_some() => out.push(Pending::MARK),
        _ => out.push_str(&format!("{value}")),
    }
}

fn sequence(value: &Value, out: &mut String, depth: usize) {
    let view = value.downcast_object_ref::<View>().map(|view| view.kind);
    let items = items(value).unwrap_or_default();
    let (open, close) = match view {
        Some(ViewKind::Range(start, stop, step)) => {
            let step = if step == 1 { String::new() } else { format!(", {step}") };
            return out.push_str(&format!("range({start}, {stop}{step})"));
        }
        Some(ViewKind::Set) if items.is_empty() => return out.push_str("set()"),
        Some(ViewKind::Set) => ("{", "}"),
        Some(ViewKind::Keys) => ("dict_keys([", "])"),
        Some(ViewKind::Values) => ("dict_values([", "])"),
        Some(ViewKind::Items) => ("dict_items([", "])"),
        _ if value.downcast_object_ref::<Tuple>().is_some() => ("(", if items.len() == 1 { ",)" } else { ")" }),
        _ => ("[", "]"),
    };
    out.push_str(open);
    for (n, item) in items.iter().enumerate() {
        out.push_str(if n > 0 { ", " } else { "" });
        write(item, out, depth + 1);
    }
    out.push_str(close);
}

/// A string in Python's quotes: single ones unless there is a single and no double quote in it.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if unprintable(c) => {
                let code = c as u32;
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// What Python's `repr` escapes: controls, separators other than the space, what is unassigned or private.
fn unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{f0000}'..)
}

fn bytes(bytes: &[u8], out: &mut String) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    out.push('b');
    out.push(quote);
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            byte if char::from(*byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::super::{dict, list, tuple};
    use super::*;

    #[test]
    fn values_print_as_python_prints_them() {
        let table = [
            (Value::from("it's"), r#""it's""#),
            (Value::from(r#"it's "so""#), r#"'it\'s "so"'"#),
            (Value::from("a\n\t\u{7f}é\u{200b}"), r"'a\n\t\x7fé\u200b'"),
            (Value::from(1.0), "1.0"),
            (Value::from(1e16), "1e+16"),
            (Value::from(-3), "-3"),
            (Value::from(true), "True"),
            (Value::from(()), "None"),
            (list(vec![1.into(), Value::from(()), "x".into()]), "[1, None, 'x']"),
            (tuple(vec![1.into()]), "(1,)"),
            (
                dict([("a".into(), true.into()), ("b".into(), list(vec![]))]),
                "{'a': True, 'b': []}",
            ),
            (Value::from_bytes(b"a'\x00".to_vec()), r#"b"a'\x00""#),
            (View::set(["a".into(), "a".into()]), "{'a'}"),
            (View::of(ViewKind::Keys, vec!["a".into()]), "dict_keys(['a'])"),
            (View::of(ViewKind::Range(0, 3, 1), vec![]), "range(0, 3)"),
        ];
        for (value, expected) in table {
            assert_eq!(repr(&value), expected);
        }
    }
}
