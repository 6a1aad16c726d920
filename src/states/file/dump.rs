//! Data as text and back, in the formats of `file.serialize`: as Python's modules write them, so that a file that Salt wrote is not
//! written anew.

use crate::error::{Error, FileId, Result};
use crate::yaml::{Data, Key, Map, Scalar, Style, Value, python_float};

/// A format of `file.serialize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Json,
    Yaml,
    Toml,
    ConfigParser,
}

/// The names of the formats.
const NAMES: [(&str, Format); 4] = [
    ("configparser", Format::ConfigParser),
    ("json", Format::Json),
    ("toml", Format::Toml),
    ("yaml", Format::Yaml),
];

impl Format {
    /// # Errors
    /// No such format.
    pub fn named(name: &str) -> Result<Format> {
        let name = name.to_lowercase();
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, format)| *format)
            .ok_or_else(|| {
                let known = NAMES.map(|(name, _)| name);
                Error::usage(format!("the {name} serializer is not known"))
                    .did_you_mean(&name, known)
                    .hint(format!("known are {}", known.join(", ")))
            })
    }
}

/// How data is written: the keyword arguments of Python's `dumps` that are known here.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Options {
    /// Spaces for each level; `None` for everything on one line.
    pub indent: Option<usize>,
    pub sort_keys: bool,
    /// JSON: characters beyond ASCII as `\uXXXX`.
    pub ensure_ascii: bool,
    /// JSON: between items, and between key and value.
    pub separators: (String, String),
    /// YAML: everything on one line.
    pub flow: bool,
    /// YAML: the column after which text is folded.
    pub width: usize,
}

impl Options {
    /// Salt's own for `format`; `encoding` says that the state names one.
    pub fn new(format: Format, encoding: bool) -> Options {
        Options {
            indent: Some(2),
            sort_keys: true,
            ensure_ascii: format == Format::Json && !encoding,
            separators: (",".to_owned(), ": ".to_owned()),
            flow: false,
            width: 80,
        }
    }

    /// Sets the option called `name`.
    ///
    /// # Errors
    /// An option that is not known for `format`, or a value that it does not take.
    pub fn set(&mut self, format: Format, name: &str, value: &Value) -> Result<()> {
        let wrong =
            |what: &str| Error::usage(format!("the serializer option `{name}` is {what}, not {}", value.kind())).at(value.at);
        let number = |value: &Value| value.as_int().and_then(|n| usize::try_from(n).ok());
        let boolean = || value.as_bool().ok_or_else(|| wrong("`True` or `False`"));
        match (format, name) {
            (Format::Json, "indent") if value.is_null() => self.indent = None,
            (Format::Json | Format::Yaml, "indent") => self.indent = Some(number(value).ok_or_else(|| wrong("a number"))?),
            (Format::Json | Format::Yaml, "sort_keys") => self.sort_keys = boolean()?,
            (Format::Json, "ensure_ascii") => self.ensure_ascii = boolean()?,
            (Format::Json, "separators") => match value.as_list() {
                Some([items, keys]) => {
                    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("two strings"));
                    self.separators = (text(items)?, text(keys)?);
                }
                _ => return Err(wrong("two strings")),
            },
            (Format::Yaml, "default_flow_style") => self.flow = boolean()?,
            (Format::Yaml, "allow_unicode") => drop(boolean()?),
            (Format::Yaml, "width") => self.width = number(value).ok_or_else(|| wrong("a number"))?,
            (format, name) => {
                let known: &[&str] = match format {
                    Format::Json => &["indent", "sort_keys", "ensure_ascii", "separators"],
                    Format::Yaml => &["indent", "sort_keys", "default_flow_style", "allow_unicode", "width"],
                    Format::Toml | Format::ConfigParser => &[],
                };
                let error = Error::usage(format!("unknown serializer option `{name}`")).did_you_mean(name, known.iter().copied());
                return Err(if known.is_empty() {
                    error.hint("this serializer has no options here")
                } else {
                    error.hint(format!("known are {}", known.join(", ")))
                });
            }
        }
        Ok(())
    }
}

/// `data` as text, without the newline that `file.serialize` puts behind it.
///
/// # Errors
/// The format has no words for it: a list as TOML, a scalar as an INI file.
pub(super) fn dump(format: Format, data: &Value, options: &Options) -> Result<String> {
    match format {
        Format::Json => {
            let mut text = String::new();
            json(data, options, 0, &mut text);
            Ok(text)
        }
        Format::Yaml => {
            let style = Style {
                flow: options.flow,
                sort_keys: options.sort_keys,
                indent: options.indent.unwrap_or(2),
                width: options.width,
                ..Style::BLOCK
            };
            let text = crate::yaml::emit_with(data, style);
            Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
        }
        Format::Toml => {
            let table = toml_value(data).ok_or_else(|| Error::state("TOML has no word for `null`"))?;
            toml::to_string(&table).map_err(|why| Error::state(format!("the data cannot be written as TOML: {why}")))
        }
        Format::ConfigParser => ini(data),
    }
}

/// The data that `text` stands for.
///
/// # Errors
/// It is not in the format.
pub(super) fn load(format: Format, path: &str, text: &str) -> Result<Value> {
    match format {
        Format::Json if text.trim().is_empty() => Ok(Value::default()),
        Format::Json => {
            let json: serde_json::Value = serde_json::from_str(text).map_err(|why| Error::state(why.to_string()))?;
            Ok(Value::from(&json))
        }
        Format::Yaml => crate::yaml::parse(FileId::of(path), text),
        Format::Toml => {
            let table: toml::Table = text.parse().map_err(|why: toml::de::Error| Error::state(why.to_string()))?;
            let json = serde_json::to_value(table).map_err(|why| Error::state(why.to_string()))?;
            Ok(Value::from(&json))
        }
        Format::ConfigParser => Ok(read_ini(text)),
    }
}

/// `over` laid over `under`, mappings recursively, everything else replaced: Salt's `merge_recurse`.
pub(super) fn merged(under: &Value, over: &Value) -> Value {
    let (Some(old), Some(new)) = (under.as_map(), over.as_map()) else {
        return over.clone();
    };
    let mut map = old.clone();
    for (key, value) in new {
        let value = match old.get(key) {
            Some(under) => merged(under, value),
            None => value.clone(),
        };
        map.insert(key.clone(), value);
    }
    map.into()
}

fn json(value: &Value, options: &Options, level: usize, out: &mut String) {
    let newline = |level: usize, out: &mut String| {
        if let Some(indent) = options.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    match &value.data {
        Data::Null => out.push_str("null"),
        Data::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Data::Int(n) => out.push_str(&n.to_string()),
        Data::Float(f) => out.push_str(&match *f {
            f if f.is_nan() => "NaN".to_owned(),
            f if f.is_infinite() => if f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            f => python_float(f),
        }),
        Data::Str(text) => json_string(text, options.ensure_ascii, out),
        Data::List(items) if items.is_empty() => out.push_str("[]"),
        Data::Map(map) if map.is_empty() => out.push_str("{}"),
        Data::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push_str(&options.separators.0);
                }
                newline(level + 1, out);
                json(item, options, level + 1, out);
            }
            newline(level, out);
            out.push(']');
        }
        Data::Map(map) => {
            let mut entries: Vec<(String, &Value)> = map.iter().map(|(key, value)| (json_key(key), value)).collect();
            if options.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push_str(&options.separators.0);
                }
                newline(level + 1, out);
                json_string(&key, options.ensure_ascii, out);
                out.push_str(&options.separators.1);
                json(value, options, level + 1, out);
            }
            newline(level, out);
            out.push('}');
        }
    }
}

fn json_key(key: &Key) -> String {
    match &key.scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(b) => b.to_string(),
        _ => key.text(),
    }
}

pub(in crate::states) fn json_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn toml_value(value: &Value) -> Option<toml::Value> {
    Some(match &value.data {
        Data::Null => return None,
        Data::Bool(b) => toml::Value::Boolean(*b),
        Data::Int(n) => toml::Value::Integer(*n),
        Data::Float(f) => toml::Value::Float(*f),
        Data::Str(text) => toml::Value::String(text.to_string()),
        Data::List(items) => toml::Value::Array(items.iter().map(toml_value).collect::<Option<_>>()?),
        Data::Map(map) => {
            let mut table = toml::Table::new();
            for (key, value) in map {
                // As Python's module does it, a key without a value is left out.
                if !value.is_null() {
                    table.insert(key.text(), toml_value(value)?);
                }
            }
            toml::Value::Table(table)
        }
    })
}

fn ini(data: &Value) -> Result<String> {
    let wrong = || Error::state("an INI file is written of a mapping of sections, each a mapping of keys");
    let sections = data.as_map().ok_or_else(wrong)?;
    let mut text = String::new();
    let is_default = |key: &Key| key.text() == "DEFAULT";
    let ordered = sections
        .iter()
        .filter(|(key, _)| is_default(key))
        .chain(sections.iter().filter(|(key, _)| !is_default(key)));
    for (name, keys) in ordered {
        text += &format!("[{}]\n", name.text());
        for (key, value) in keys.as_map().ok_or_else(wrong)? {
            let key = key.text().to_lowercase();
            match value.is_null() {
                true => text += &format!("{key}\n"),
                false => {
                    let value = python_text(value).replace('\n', "\n\t");
                    text += &format!("{key} = {value}\n");
                }
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// A value as Python's `str` prints it, whatever it was written as.
fn python_text(value: &Value) -> String {
    match &value.data {
        Data::List(_) | Data::Map(_) => crate::yaml::emit_flow(value).trim_end().to_owned(),
        data => Value::from(data.clone()).scalar_text().unwrap_or_default(),
    }
}

/// What Python's `configparser` reads: sections of `key = value` or `key: value`, longer values on indented lines.
fn read_ini(text: &str) -> Value {
    let mut sections = Map::new();
    let mut section: Option<String> = None;
    let mut last: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.entry(name.into()).or_insert_with(Value::map);
            section = Some(name.to_owned());
            last = None;
            continue;
        }
        let Some(keys) = section
            .as_ref()
            .and_then(|name| sections.get_mut(name.as_str()))
            .and_then(Value::as_map_mut)
        else {
            continue;
        };
        if line.starts_with([' ', '\t'])
            && let Some(value) = last.as_ref().and_then(|key| keys.get_mut(key.as_str()))
        {
            *value = format!("{}\n{trimmed}", value.as_str().unwrap_or_default()).into();
            continue;
        }
        let (key, value) = match trimmed.find(['=', ':']) {
            Some(at) => (trimmed[..at].trim().to_lowercase(), Value::from(trimmed[at + 1..].trim())),
            None => (trimmed.to_lowercase(), Value::default()),
        };
        keys.insert(key.as_str().into(), value);
        last = Some(key);
    }
    sections.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Value {
        crate::yaml::parse(FileId::of("x"), text).unwrap()
    }

    #[test]
    fn data_is_written_as_python_writes_it() {
        let data = yaml("{b: [1, 2.0, null, true, 'é\"'], a: {}, c: {x: 0644, 1: []}}");
        let dumped = |format, change: &dyn Fn(&mut Options)| {
            let mut options = Options::new(format, false);
            change(&mut options);
            dump(format, &data, &options).unwrap()
        };
        assert_eq!(
            dumped(Format::Json, &|_| {}),
            r#"{
  "a": {},
  "b": [
    1,
    2.0,
    null,
    true,
    "\u00e9\""
  ],
  "c": {
    "1": [],
    "x": 644
  }
}"#
        );
        assert_eq!(
            dumped(Format::Json, &|options| {
                options.indent = None;
                options.sort_keys = false;
                options.ensure_ascii = false;
            }),
            r#"{"b": [1,2.0,null,true,"é\""],"a": {},"c": {"x": 644,"1": []}}"#
        );
        let ini = yaml("{main: {Key: 1, other: \"a\\nb\", flag: true}, DEFAULT: {x: y}}");
        let text = "[DEFAULT]\nx = y\n\n[main]\nkey = 1\nother = a\n\tb\nflag = True\n\n";
        assert_eq!(
            dump(Format::ConfigParser, &ini, &Options::new(Format::ConfigParser, false)).unwrap(),
            text
        );
        assert_eq!(
            read_ini(text),
            yaml("{DEFAULT: {x: y}, main: {key: '1', other: \"a\\nb\", flag: 'True'}}")
        );
        let table = yaml("{title: x, owner: {n: 1, none: null}}");
        let text = dump(Format::Toml, &table, &Options::new(Format::Toml, false)).unwrap();
        assert_eq!(load(Format::Toml, "x", &text).unwrap(), yaml("{title: x, owner: {n: 1}}"));
        assert!(dump(Format::Toml, &yaml("[1]"), &Options::new(Format::Toml, false)).is_err());
    }

    #[test]
    fn mappings_are_merged_and_lists_replaced() {
        let (under, over) = (yaml("{a: {b: 1, c: [1]}, d: 2}"), yaml("{a: {c: [2], e: 3}}"));
        assert_eq!(merged(&under, &over), yaml("{a: {b: 1, c: [2], e: 3}, d: 2}"));
    }

    #[test]
    fn options_have_names() {
        let mut options = Options::new(Format::Json, false);
        options.set(Format::Json, "indent", &Value::from(4)).unwrap();
        assert_eq!(options.indent, Some(4));
        let error = options.set(Format::Json, "indnt", &Value::from(4)).unwrap_err();
        assert_eq!(error.diagnostics()[0].hints[0], "did you mean `indent`?");
        assert!(Format::named("yml").unwrap_err().diagnostics()[0].hints[0].contains("yaml"));
    }
}
