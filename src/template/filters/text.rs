//! Filters that make text of text.

use super::Filter;
use crate::template::args::{Args, shown};
use crate::template::methods::percent;
use crate::template::value::{
    as_int, dict, fail, is_mapping, is_sequence_like, is_string, items, pairs, repr, text, tuple, undefined,
};
use minijinja::{Error, State, Value};

pub const FILTERS: &[(&str, Filter)] = &[
    ("lower", |_, value, _| Ok(text(&value).to_lowercase().into())),
    ("upper", |_, value, _| Ok(text(&value).to_uppercase().into())),
    ("capitalize", |_, value, _| {
        Ok(super::super::methods::capitalize(&text(&value)).into())
    }),
    ("title", |_, value, _| Ok(title(&text(&value)).into())),
    ("string", |_, value, _| Ok(text(&value).into())),
    ("safe", |_, value, _| Ok(value)),
    ("skip", |_, _, _| Ok("".into())),
    ("trim", |_, value, args| {
        let chars = args.text_or_none("chars")?;
        Ok(super::super::methods::strip(&text(&value), chars.as_deref(), true, true).into())
    }),
    ("replace", replace),
    ("join", join),
    ("indent", indent),
    ("center", |_, value, args| {
        let width = args.int("width", 80)?;
        super::super::methods::centered(&text(&value), width).map(Value::from)
    }),
    ("truncate", truncate),
    ("wordwrap", wordwrap),
    ("wordcount", |_, value, _| {
        let text = text(&value);
        let words = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty());
        Ok(words.count().into())
    }),
    ("format", format),
    ("escape", |_, value, _| Ok(escape(&text(&value)).into())),
    ("e", |_, value, _| Ok(escape(&text(&value)).into())),
    ("forceescape", |_, value, _| Ok(escape(&text(&value)).into())),
    ("striptags", |_, value, _| Ok(strip_tags(&text(&value)).into())),
    ("urlencode", |_, value, _| urlencode(&value)),
    ("xmlattr", xmlattr),
    ("filesizeformat", filesize),
    ("pprint", |_, value, _| Ok(pretty(&value, 0).into())),
    ("python", |_, value, _| Ok(pretty(&value, 0).into())),
    ("quote", |_, value, _| Ok(shell_quote(&text(&value)).into())),
    ("contains_whitespace", |_, value, _| {
        Ok(text(&value).contains(char::is_whitespace).into())
    }),
    ("to_snake_case", |_, value, _| Ok(snake_case(&text(&value)).into())),
    ("to_camelcase", |_, value, args| {
        let upper = args.flag("uppercamel", false)?;
        Ok(camel_case(&text(&value), upper).into())
    }),
    ("to_bytes", |_, value, args| {
        args.text_or("encoding", "utf-8")?;
        args.text_or("errors", "strict")?;
        Ok(Value::from_bytes(text(&value).into_bytes()))
    }),
    ("to_unicode", |_, value, _| Ok(text(&value).into())),
    ("to_str", |_, value, _| Ok(text(&value).into())),
];

/// Jinja2's `title`: words begin after blanks and opening brackets, not after apostrophes.
fn title(this: &str) -> String {
    let mut out = String::with_capacity(this.len());
    let mut begins = true;
    for c in this.chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        begins = c.is_whitespace() || "-({[<".contains(c);
    }
    out
}

fn replace(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let (old, new) = (args.text("old")?, args.text("new")?);
    let this = text(&value);
    Ok(
        match args.int_or_none("count")?.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => this.replacen(&old, &new, count),
            None => this.replace(&old, &new),
        }
        .into(),
    )
}

fn join(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let separator = args.text_or("d", "")?;
    let attribute = args.text_or_none("attribute")?;
    let mut out = String::new();
    for (n, item) in items(&value)?.iter().enumerate() {
        let item = match &attribute {
            Some(attribute) => super::sequence::attribute(item, attribute),
            None => item.clone(),
        };
        if item.is_undefined() {
            return Err(undefined(&item));
        }
        out.push_str(if n > 0 { &separator } else { "" });
        out.push_str(&text(&item));
    }
    Ok(match super::super::value::Pending::among([&Value::from(out.as_str())]) {
        Some(pending) => pending,
        None => out.into(),
    })
}

fn indent(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let width = args.optional("width")?.unwrap_or(Value::from(4));
    let first = args.flag("first", false)?;
    let blank = args.flag("blank", false)?;
    // Jinja2 before 3.0 called it so.
    let first = first || args.keyword("indentfirst").is_some_and(|flag| flag.is_true());
    let indention = match as_int(&width) {
        Some(width) => " ".repeat(usize::try_from(width).unwrap_or(0).min(1 << 16)),
        None => text(&width),
    };
    let this = text(&value) + "\n";
    let mut out = String::new();
    for (n, line) in super::super::methods::split_lines(&this, false).into_iter().enumerate() {
        out.push_str(if n > 0 { "\n" } else { "" });
        if (n > 0 && (blank || !line.is_empty())) || (n == 0 && first) {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out.into())
}

fn truncate(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let length = usize::try_from(args.int("length", 255)?).unwrap_or(0);
    let kill_words = args.flag("killwords", false)?;
    let end = args.text_or("end", "...")?;
    let leeway = usize::try_from(args.int("leeway", 5)?).unwrap_or(0);
    let this = text(&value);
    if this.chars().count() <= length + leeway {
        return Ok(this.into());
    }
    let room = length
        .checked_sub(end.chars().count())
        .ok_or_else(|| fail(format!("`|truncate`: {length} characters leave no room for {end:?}")))?;
    let cut: String = this.chars().take(room).collect();
    let cut = match cut.rfind(' ') {
        Some(at) if !kill_words => &cut[..at],
        _ => &cut,
    };
    Ok(format!("{cut}{end}").into())
}

/// Words of more than a line's width are broken where `break_long`.
fn wordwrap(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let width = usize::try_from(args.int("width", 79)?).unwrap_or(0).max(1);
    let break_long = args.flag("break_long_words", true)?;
    let wrap = args.text_or("wrapstring", "\n")?;
    let on_hyphens = args.flag("break_on_hyphens", true)?;
    let lines: Vec<String> = text(&value)
        .lines()
        .map(|line| wrapped(line, width, break_long, on_hyphens).join(&wrap))
        .collect();
    Ok(lines.join(&wrap).into())
}

fn wrapped(line: &str, width: usize, break_long: bool, on_hyphens: bool) -> Vec<String> {
    // Chunks: words, blanks between them, and the parts of words at hyphens.
    let mut chunks: Vec<String> = Vec::new();
    let mut previous = None;
    for c in line.chars() {
        let joins = chunks.last().is_some_and(|chunk| {
            let blank = chunk.ends_with(char::is_whitespace);
            let hyphen = on_hyphens && chunk.len() > 1 && chunk.ends_with('-') && c.is_alphabetic() && previous != Some('-');
            blank == c.is_whitespace() && !hyphen
        });
        match chunks.last_mut() {
            Some(chunk) if joins => chunk.push(c),
            _ => chunks.push(c.to_string()),
        }
        previous = chunks.last().and_then(|chunk| chunk.chars().rev().nth(1));
    }
    let len = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut rest: std::collections::VecDeque<String> = chunks.into();
    while let Some(mut chunk) = rest.pop_front() {
        if current.is_empty() && !lines.is_empty() && chunk.trim().is_empty() {
            continue;
        }
        if len(&current) + len(&chunk) <= width {
            current.push_str(&chunk);
        } else if len(&chunk) > width && break_long {
            let room = width - len(&current);
            let tail: String = chunk.chars().skip(room).collect();
            chunk = chunk.chars().take(room).collect();
            current.push_str(&chunk);
            lines.push(std::mem::take(&mut current).trim_end().to_owned());
            rest.push_front(tail);
        } else if current.is_empty() {
            lines.push(chunk);
        } else {
            lines.push(std::mem::take(&mut current).trim_end().to_owned());
            rest.push_front(chunk);
        }
    }
    let last = current.trim_end();
    if !last.is_empty() || lines.is_empty() {
        lines.push(last.to_owned());
    }
    lines
}

fn format(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let positional = args.rest();
    let named = args.keywords();
    let values = match (positional.is_empty(), named.is_empty()) {
        (false, false) => return Err(fail("`|format` takes values by position or by name, not both")),
        (true, false) => dict(named.into_iter().map(|(name, value)| (Value::from(name), value))),
        _ => tuple(positional),
    };
    percent(&text(&value), &values).map(Value::from)
}

fn escape(this: &str) -> String {
    let mut out = String::with_capacity(this.len());
    for c in this.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn strip_tags(this: &str) -> String {
    let mut out = String::new();
    let mut rest = this;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = match rest[at..].find('>') {
            Some(end) => &rest[at + end + 1..],
            None => "",
        };
    }
    out.push_str(rest);
    let plain = out
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn percent_encoded(this: &str, safe: &str, plus: bool) -> String {
    let mut out = String::new();
    for byte in this.bytes() {
        match byte {
            b' ' if plus => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || safe.as_bytes().contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn urlencode(value: &Value) -> Result<Value, Error> {
    let list = match pairs(value) {
        Some(pairs) => pairs,
        None if is_sequence_like(value) => super::super::methods::pairs_to_update(value)?,
        None => return Ok(percent_encoded(&text(value), "/", false).into()),
    };
    let parts = list.iter().map(|(key, value)| {
        format!(
            "{}={}",
            percent_encoded(&text(key), "", true),
            percent_encoded(&text(value), "", true)
        )
    });
    Ok(parts.collect::<Vec<_>>().join("&").into())
}

fn xmlattr(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let space = args.flag("autospace", true)?;
    let pairs = pairs(&value).ok_or_else(|| fail(format!("`|xmlattr` needs a dictionary, not {}", shown(&value))))?;
    let mut out = String::new();
    for (key, value) in pairs {
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let key = text(&key);
        if key.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
            return Err(fail(format!("{key:?} cannot be the name of an attribute")));
        }
        out.push_str(if space || !out.is_empty() { " " } else { "" });
        out.push_str(&format!("{}=\"{}\"", escape(&key), escape(&text(&value))));
    }
    Ok(out.into())
}

fn filesize(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let binary = args.flag("binary", false)?;
    let bytes = super::number::to_float(&value)
        .ok_or_else(|| fail(format!("`|filesizeformat` needs a number, not {}", shown(&value))))?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes as i64).into());
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut unit = base;
    for (n, prefix) in prefixes.iter().enumerate() {
        unit *= base;
        if bytes < unit || n + 1 == prefixes.len() {
            let suffix = if binary {
                format!("{}iB", prefix.to_uppercase())
            } else {
                format!("{prefix}B")
            };
            return Ok(format!("{:.1} {suffix}", base * bytes / unit).into());
        }
    }
    Ok(value)
}

/// As Python's `pprint.pformat`: on one line if that has at most 80 characters, keys sorted.
fn pretty(value: &Value, indent: usize) -> String {
    let sorted = |value: &Value| -> Option<Vec<(Value, Value)>> {
        let mut pairs = pairs(value)?;
        if pairs.iter().all(|(key, _)| is_string(key)) {
            pairs.sort_by_key(|(key, _)| text(key));
        }
        Some(pairs)
    };
    let whole = match sorted(value) {
        Some(pairs) => repr(&dict(pairs)),
        None => repr(value),
    };
    if whole.chars().count() + indent <= 80 {
        return whole;
    }
    let pad = " ".repeat(indent + 1);
    if is_mapping(value) {
        let lines = sorted(value).unwrap_or_default().into_iter().map(|(key, value)| {
            let key = repr(&key);
            let below = indent + key.chars().count() + 3;
            format!("{key}: {}", pretty(&value, below))
        });
        return format!("{{{}}}", lines.collect::<Vec<_>>().join(&format!(",\n{pad}")));
    }
    if is_sequence_like(value) {
        let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
        let lines = items(value)
            .unwrap_or_default()
            .into_iter()
            .map(|item| pretty(&item, indent + 1));
        return format!("{open}{}{close}", lines.collect::<Vec<_>>().join(&format!(",\n{pad}")));
    }
    whole
}

/// As Python's `shlex.quote`.
pub fn shell_quote(this: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !this.is_empty() && this.chars().all(plain) {
        return this.to_owned();
    }
    format!("'{}'", this.replace('\'', "'\"'\"'"))
}

fn snake_case(this: &str) -> String {
    let chars: Vec<char> = this.chars().collect();
    let mut out = String::new();
    for (n, c) in chars.iter().enumerate() {
        let after_lower = n > 0 && chars[n - 1].is_lowercase();
        let before_lower = chars.get(n + 1).is_some_and(|next| next.is_lowercase());
        if n > 0 && c.is_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn camel_case(this: &str, upper: bool) -> String {
    let capitalize = super::super::methods::capitalize;
    this.split('_')
        .enumerate()
        .map(|(n, word)| if n > 0 || upper { capitalize(word) } else { word.to_owned() })
        .collect()
}
