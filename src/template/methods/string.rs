//! The methods of Python's `str`.

use super::{format_fields, no_method};
use crate::template::args::Args;
use crate::template::value::{Pending, fail, is_string, items, list, pairs, text, tuple};
use minijinja::{Error, Value};

const KNOWN: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "decode",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// Calls a method of the string `this`.
pub fn call(this: &str, method: &str, mut args: Args) -> Result<Value, Error> {
    let result: Value = match method {
        "capitalize" => capitalize(this).into(),
        "casefold" | "lower" => this.to_lowercase().into(),
        "upper" => this.to_uppercase().into(),
        "swapcase" => this.chars().map(swap_case).collect::<String>().into(),
        "title" => title(this).into(),
        "center" | "ljust" | "rjust" => {
            let width = args.int("width", 0)?;
            let fill = args.text_or("fillchar", " ")?;
            let side = match method {
                "ljust" => Side::Left,
                "rjust" => Side::Right,
                _ => Side::Center,
            };
            justify(this, width, fill.chars().next().unwrap_or(' '), side)?.into()
        }
        "zfill" => zfill(this, args.int("width", 0)?)?.into(),
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.text_or_none("chars")?;
            strip(this, chars.as_deref(), method != "rstrip", method != "lstrip").into()
        }
        "removeprefix" => {
            let prefix = args.text("prefix")?;
            this.strip_prefix(prefix.as_str()).unwrap_or(this).into()
        }
        "removesuffix" => {
            let suffix = args.text("suffix")?;
            this.strip_suffix(suffix.as_str()).unwrap_or(this).into()
        }
        "split" | "rsplit" => {
            let separator = args.text_or_none("sep")?;
            let most = args.int("maxsplit", -1)?;
            strings(split(this, separator.as_deref(), most, method == "rsplit")?)
        }
        "splitlines" => {
            let keep_ends = args.flag("keepends", false)?;
            strings(split_lines(this, keep_ends))
        }
        "partition" | "rpartition" => {
            let separator = args.text("sep")?;
            let found = if method == "partition" {
                this.find(&separator)
            } else {
                this.rfind(&separator)
            };
            let parts = match found {
                Some(at) => [&this[..at], &separator, &this[at + separator.len()..]],
                None if method == "partition" => [this, "", ""],
                None => ["", "", this],
            };
            tuple(parts.iter().map(|part| Value::from(*part)).collect())
        }
        "join" => join(this, &args.need("iterable")?)?,
        "replace" => {
            let (old, new) = (args.text("old")?, args.text("new")?);
            let count = args.int("count", -1)?;
            match usize::try_from(count) {
                Ok(count) => this.replacen(&old, &new, count),
                Err(_) => this.replace(&old, &new),
            }
            .into()
        }
        "startswith" | "endswith" => {
            let wanted = args.need("prefix")?;
            let within = range(this, &mut args)?;
            let wanted = if is_string(&wanted) { vec![wanted] } else { items(&wanted)? };
            let matches = |part: &Value| {
                let part = part.as_str().unwrap_or_default();
                if method == "startswith" {
                    within.starts_with(part)
                } else {
                    within.ends_with(part)
                }
            };
            Value::from(wanted.iter().any(matches))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let wanted = args.text("sub")?;
            let start = args.int_or_none("start")?;
            let end = args.int_or_none("end")?;
            let (from, within) = window(this, start, end);
            let found = if method.starts_with('r') {
                within.rfind(&wanted)
            } else {
                within.find(&wanted)
            };
            match found {
                Some(at) => Value::from(from + within[..at].chars().count()),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(fail(format!("`{method}`: {wanted:?} is not in the string"))),
            }
        }
        "count" => {
            let wanted = args.text("sub")?;
            let within = range(this, &mut args)?;
            match wanted.is_empty() {
                true => Value::from(within.chars().count() + 1),
                false => Value::from(within.matches(&wanted).count()),
            }
        }
        "format" => {
            let positional = args.rest();
            let named = args.keywords();
            format_fields(this, &positional, &named)?.into()
        }
        "format_map" => {
            let mapping = args.need("mapping")?;
            let named = pairs(&mapping)
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (text(&key), value))
                .collect::<Vec<_>>();
            format_fields(this, &[], &named)?.into()
        }
        "encode" => {
            args.text_or("encoding", "utf-8")?;
            args.text_or("errors", "strict")?;
            Value::from_bytes(this.as_bytes().to_vec())
        }
        "decode" => {
            // Python 2's templates; the text is text already.
            args.text_or("encoding", "utf-8")?;
            this.into()
        }
        "expandtabs" => expand_tabs(this, args.int("tabsize", 8)?).into(),
        "translate" => {
            let table = pairs(&args.need("table")?).unwrap_or_default();
            translate(this, &table).into()
        }
        "isalnum" => all(this, char::is_alphanumeric),
        "isalpha" => all(this, char::is_alphabetic),
        "isascii" => Value::from(this.is_ascii()),
        "isdecimal" | "isdigit" | "isnumeric" => all(this, char::is_numeric),
        "isspace" => all(this, char::is_whitespace),
        "isprintable" => Value::from(!this.chars().any(char::is_control)),
        "islower" => Value::from(this.chars().any(char::is_lowercase) && !this.chars().any(char::is_uppercase)),
        "isupper" => Value::from(this.chars().any(char::is_uppercase) && !this.chars().any(char::is_lowercase)),
        "istitle" => Value::from(this.chars().any(char::is_alphabetic) && title(this) == this),
        "isidentifier" => Value::from(
            this.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic())
                && this.chars().all(|c| c == '_' || c.is_alphanumeric()),
        ),
        // Python 2's strings were not told from lists of characters by their users.
        _ => return Err(no_method(&Value::from(this), method, KNOWN)),
    };
    args.done()?;
    Ok(result)
}

fn strings(parts: Vec<&str>) -> Value {
    list(parts.into_iter().map(Value::from).collect())
}

fn all(this: &str, test: fn(char) -> bool) -> Value {
    Value::from(!this.is_empty() && this.chars().all(test))
}

/// `separator.join(iterable)`.
pub fn join(separator: &str, iterable: &Value) -> Result<Value, Error> {
    let items = items(iterable)?;
    if let Some(pending) = Pending::among(&items) {
        return Ok(pending);
    }
    let mut out = String::new();
    for (n, item) in items.iter().enumerate() {
        if !is_string(item) {
            return Err(fail(format!(
                "`join`: item {n} is {}, not a string; `|map('string')` or `|join` make strings of them",
                crate::template::args::shown(item)
            )));
        }
        out.push_str(if n > 0 { separator } else { "" });
        out.push_str(item.as_str().unwrap_or_default());
    }
    Ok(Value::from(out))
}

pub fn capitalize(this: &str) -> String {
    let mut chars = this.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

fn swap_case(c: char) -> char {
    if c.is_uppercase() {
        c.to_lowercase().next().unwrap_or(c)
    } else {
        c.to_uppercase().next().unwrap_or(c)
    }
}

/// Python's `str.title`: every run of letters begins with a capital.
fn title(this: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(this.len());
    for c in this.chars() {
        match (c.is_alphabetic(), inside) {
            (true, false) => out.extend(c.to_uppercase()),
            (true, true) => out.extend(c.to_lowercase()),
            (false, _) => out.push(c),
        }
        inside = c.is_alphabetic();
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
    Center,
}

/// As wide as a line may be made: more is a mistake.
const WIDEST: i64 = 1 << 20;

/// `this` filled up to `width` characters.
pub fn justify(this: &str, width: i64, fill: char, side: Side) -> Result<String, Error> {
    if width > WIDEST {
        return Err(fail(format!("a width of {width} is too large")));
    }
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(this.chars().count());
    let (before, after) = match side {
        Side::Left => (0, missing),
        Side::Right => (missing, 0),
        // Python's choice of where the odd one goes depends on whether the width is odd.
        Side::Center => {
            let before = missing / 2 + (missing & width.unsigned_abs() as usize & 1);
            (before, missing - before)
        }
    };
    let run = |count: usize| std::iter::repeat_n(fill, count);
    Ok(run(before).chain(this.chars()).chain(run(after)).collect())
}

fn zfill(this: &str, width: i64) -> Result<String, Error> {
    let (sign, digits) = match this.strip_prefix(['-', '+']) {
        Some(digits) => (&this[..1], digits),
        None => ("", this),
    };
    Ok(format!(
        "{sign}{}",
        justify(digits, width - sign.len() as i64, '0', Side::Right)?
    ))
}

pub fn strip<'t>(this: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let drop = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => c.is_whitespace(),
    };
    let this = if left { this.trim_start_matches(drop) } else { this };
    if right { this.trim_end_matches(drop) } else { this }
}

fn split<'t>(this: &'t str, separator: Option<&str>, most: i64, from_right: bool) -> Result<Vec<&'t str>, Error> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let Some(separator) = separator else {
        return Ok(split_whitespace(this, most, from_right));
    };
    if separator.is_empty() {
        return Err(fail("`split` needs a separator that is not empty"));
    }
    let parts = most.saturating_add(1);
    Ok(if from_right {
        let mut parts: Vec<&str> = this.rsplitn(parts, separator).collect();
        parts.reverse();
        parts
    } else {
        this.splitn(parts, separator).collect()
    })
}

fn split_whitespace(this: &str, most: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_right { this.trim_end() } else { this.trim_start() };
    while !rest.is_empty() {
        let found = if from_right {
            rest.rfind(char::is_whitespace)
        } else {
            rest.find(char::is_whitespace)
        };
        match found {
            Some(at) if parts.len() < most => {
                let space = rest[at..].chars().next().map_or(1, char::len_utf8);
                let (before, after) = (&rest[..at], &rest[at + space..]);
                parts.push(if from_right { after } else { before });
                rest = if from_right { before.trim_end() } else { after.trim_start() };
            }
            _ => {
                parts.push(if from_right { rest.trim_start() } else { rest.trim_end() });
                // What is left after the last split keeps its outer blanks in Python on the far side only.
                if parts.len() > most {
                    let last = parts.len() - 1;
                    parts[last] = rest;
                }
                break;
            }
        }
    }
    if from_right {
        parts.reverse();
    }
    parts
}

/// Python's line ends.
pub fn split_lines(this: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}' | '\u{1d}' | '\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = this;
    while let Some(at) = rest.find(is_end) {
        let length = match &rest[at..] {
            end if end.starts_with("\r\n") => 2,
            end => end.chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The part of `this` between two of Python's indexes, and the index at which it starts.
fn window(this: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    if start.is_none() && end.is_none() {
        return (0, this);
    }
    let len = this.chars().count() as i64;
    let clamp = |at: i64| (if at < 0 { at + len } else { at }).clamp(0, len) as usize;
    let (start, end) = (clamp(start.unwrap_or(0)), clamp(end.unwrap_or(len)));
    let offset = |at: usize| this.char_indices().nth(at).map_or(this.len(), |(at, _)| at);
    (start, if start < end { &this[offset(start)..offset(end)] } else { "" })
}

fn range<'t>(this: &'t str, args: &mut Args) -> Result<&'t str, Error> {
    let (start, end) = (args.int_or_none("start")?, args.int_or_none("end")?);
    Ok(window(this, start, end).1)
}

fn expand_tabs(this: &str, size: i64) -> String {
    let size = usize::try_from(size).unwrap_or(0).min(64);
    let mut column = 0;
    let mut out = String::new();
    for c in this.chars() {
        match c {
            '\t' if size > 0 => {
                let count = size - column % size;
                out.extend(std::iter::repeat_n(' ', count));
                column += count;
            }
            '\t' => {}
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

fn translate(this: &str, table: &[(Value, Value)]) -> String {
    let mut out = String::new();
    for c in this.chars() {
        let found = table.iter().find(|(key, _)| {
            key.as_usize() == Some(c as usize) || key.as_str().is_some_and(|key| key.chars().eq(std::iter::once(c)))
        });
        match found {
            None => out.push(c),
            Some((_, value)) if value.is_none() => {}
            Some((_, value)) => match value.as_usize().and_then(|code| char::from_u32(code as u32)) {
                Some(c) => out.push(c),
                None => out.push_str(&text(value)),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::value::repr;

    fn called(this: &str, method: &str, args: &[Value]) -> String {
        match call(this, method, Args::new(method, args)) {
            Ok(value) => repr(&value),
            Err(error) => error.detail().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn strings_have_pythons_methods() {
        let none = Value::from(());
        let table: &[(&str, &str, &[Value], &str)] = &[
            ("a,b,c", "split", &[",".into()], "['a', 'b', 'c']"),
            ("a,b,c", "split", &[",".into(), 1.into()], "['a', 'b,c']"),
            ("a,b,c", "rsplit", &[",".into(), 1.into()], "['a,b', 'c']"),
            (" a  b c ", "split", &[], "['a', 'b', 'c']"),
            (" a  b c ", "split", &[none.clone(), 1.into()], "['a', 'b c ']"),
            (" a  b c ", "rsplit", &[none, 1.into()], "[' a  b', 'c']"),
            ("", "split", &[], "[]"),
            ("", "split", &[",".into()], "['']"),
            ("a\nb\r\nc\n", "splitlines", &[], "['a', 'b', 'c']"),
            ("a=b=c", "partition", &["=".into()], "('a', '=', 'b=c')"),
            ("a=b=c", "rpartition", &["=".into()], "('a=b', '=', 'c')"),
            ("abc", "rpartition", &["=".into()], "('', '', 'abc')"),
            ("xxaxx", "strip", &["x".into()], "'a'"),
            ("  a ", "lstrip", &[], "'a '"),
            ("-5", "zfill", &[4.into()], "'-005'"),
            ("ab", "center", &[5.into()], "'  ab '"),
            ("abc", "center", &[6.into(), "*".into()], "'*abc**'"),
            ("ab", "ljust", &[4.into(), ".".into()], "'ab..'"),
            ("they're bill's", "title", &[], "\"They'Re Bill'S\""),
            ("aBC", "capitalize", &[], "'Abc'"),
            ("abcabc", "rfind", &["b".into()], "4"),
            ("abc", "find", &["x".into()], "-1"),
            ("abc", "index", &["x".into()], "`index`: \"x\" is not in the string"),
            ("banana", "count", &["an".into()], "2"),
            ("abc", "startswith", &[tuple(vec!["x".into(), "a".into()])], "True"),
            ("abc", "endswith", &["c".into()], "True"),
            ("123", "isdigit", &[], "True"),
            ("", "isdigit", &[], "False"),
            ("a.b", "replace", &[".".into(), "-".into()], "'a-b'"),
            ("-", "join", &[list(vec!["a".into(), "b".into()])], "'a-b'"),
            (
                "a",
                "stirp",
                &[],
                "a value of type str has no method `stirp`; did you mean `strip`?",
            ),
            ("a", "upper", &[1.into()], "`upper` takes at most 0 arguments, 1 were given"),
        ];
        for (this, method, args, expected) in table {
            assert_eq!(called(this, method, args), *expected, "{this:?}.{method}");
        }
    }
}
