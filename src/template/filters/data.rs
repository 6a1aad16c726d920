//! Filters between data and its texts: YAML, JSON; and those that look into data.

use super::Filter;
use crate::error::FileId;
use crate::template::args::{Args, shown};
use crate::template::context;
use crate::template::failures::from_error;
use crate::template::value::{
    self, Dict, Pending, as_int, dict, fail, from_template, is_list, is_mapping, is_sequence_like, is_string, items, length,
    list, lookup, pairs, text, to_template, undefined,
};
use crate::yaml::{self, Style, python_float};
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

pub const FILTERS: &[(&str, Filter)] = &[
    ("default", default),
    ("d", default),
    ("yaml", |state, value, args| {
        let flow = args.flag("flow_style", true)?;
        // What goes into an SLS is read as YAML again: there a line that PyYAML would have folded may stand too far to the left.
        let in_sls = context::is_read_again(state);
        let flow = match flow {
            true if in_sls => Flow::OneLine,
            true => Flow::All,
            false => Flow::None,
        };
        Ok(to_yaml(&value, flow)?.into())
    }),
    ("json", |_, value, args| {
        let sort = args.flag("sort_keys", true)?;
        let indent = args.optional("indent")?;
        Ok(to_json(&value, sort, indent.as_ref(), false)?.into())
    }),
    ("tojson", |_, value, args| {
        let indent = args.optional("indent")?;
        let sort = args.keyword("sort_keys").is_some_and(|sort| sort.is_true());
        let ascii = args.keyword("ensure_ascii").is_none_or(|ascii| ascii.is_true());
        let json = to_json(&value, sort, indent.as_ref(), ascii)?;
        // As Salt does, so that the text is safe within HTML.
        Ok(json
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\'', "\\u0027")
            .into())
    }),
    ("load_yaml", |_, value, _| load_yaml(&text(&value), None, None)),
    ("load_json", |_, value, _| load_json(&text(&value), None)),
    ("load_text", |_, value, _| Ok(text(&value).into())),
    ("_load", load),
    ("_captured", |_, value, _| Ok(value)),
    ("yaml_encode", |_, value, _| yaml_encode(&value)),
    ("yaml_dquote", |_, value, _| Ok(yaml_dquote(&text(&value)).into())),
    ("yaml_squote", |_, value, _| {
        Ok(format!("'{}'", text(&value).replace('\'', "''")).into())
    }),
    ("dict_to_sls_yaml_params", |_, value, args| {
        let flow = args.flag("flow_style", false)?;
        let pairs = pairs(&value).ok_or_else(|| fail(format!("this needs a dictionary, not {}", shown(&value))))?;
        let entries = pairs.into_iter().map(|pair| dict([pair])).collect();
        Ok(to_yaml(&list(entries), if flow { Flow::All } else { Flow::None })?.into())
    }),
    ("traverse", |_, value, args| {
        let path = args.need("key")?;
        let default = args.take("default").unwrap_or(Value::from(()));
        let delimiter = args.text_or("delimiter", ":")?;
        Ok(traverse(&value, &path, &delimiter)?.unwrap_or(default))
    }),
    ("attr", |_, value, args| {
        let name = args.text("name")?;
        value.get_attr(&name)
    }),
    ("method_call", |state, value, args| {
        let name = args.text("f_name")?;
        let mut all = args.rest();
        let named = args.keywords();
        if !named.is_empty() {
            all.push(named.into_iter().collect::<minijinja::value::Kwargs>().into());
        }
        value.call_method(state, &name, &all)
    }),
    ("to_bool", |_, value, _| Ok(to_bool(&value).into())),
    ("is_list", |_, value, _| Ok(is_list(&value).into())),
    ("is_iter", |_, value, _| {
        Ok((is_sequence_like(&value) || is_mapping(&value)).into())
    }),
    ("path_join", |_, value, args| {
        let mut parts = vec![text(&value)];
        parts.extend(args.rest().iter().map(text));
        args.keyword("use_posixpath");
        Ok(crate::template::salt::join(&parts).into())
    }),
    ("check_whitelist_blacklist", |_, value, args| {
        let name = text(&value);
        let mut listed = |key| -> Result<Option<bool>, Error> {
            let Some(globs) = args.optional(key)?.filter(Value::is_true) else {
                return Ok(None);
            };
            let globs = if is_string(&globs) { vec![globs] } else { items(&globs)? };
            let matches = |glob: &Value| crate::inventory::Glob::fnmatch(&text(glob)).matches(&name);
            Ok(Some(globs.iter().any(matches)))
        };
        let (white, black) = (listed("whitelist")?, listed("blacklist")?);
        Ok((black != Some(true) && white != Some(false)).into())
    }),
    ("set_dict_key_value", |_, value, args| deep_change(&value, args, Change::Set)),
    ("append_dict_key_value", |_, value, args| {
        deep_change(&value, args, Change::Append)
    }),
    ("extend_dict_key_value", |_, value, args| {
        deep_change(&value, args, Change::Extend)
    }),
    ("update_dict_key_value", |_, value, args| {
        deep_change(&value, args, Change::Update)
    }),
    ("json_decode_dict", |_, value, _| Ok(value)),
    ("json_decode_list", |_, value, _| Ok(value)),
    ("json_encode_dict", |_, value, _| Ok(value)),
    ("json_encode_list", |_, value, _| Ok(value)),
    ("json_query", |_, _, args| {
        refused(args, "`|traverse`, `|map` and `|selectattr` do most of what it does")
    }),
    ("http_query", |_, _, args| {
        refused(args, "rendering does not reach for the network; put the data into pillar")
    }),
    ("dns_check", |_, _, args| {
        refused(args, "rendering does not reach for the network; put the address into pillar")
    }),
    ("xml", |_, _, args| refused(args, "write the elements in the template")),
    ("mysql_to_dict", |_, _, args| refused(args, "`.split` takes lines apart")),
    ("file_hashsum", |_, _, args| {
        refused(args, "ask the minion with `salt['file.get_hash'](path)`")
    }),
    ("get_uid", |_, _, args| {
        refused(args, "ask the minion with `salt['user.info'](name).uid`")
    }),
    ("which", |_, _, args| {
        refused(args, "ask the minion with `salt['cmd.which'](name)`")
    }),
    ("list_files", |_, _, args| {
        refused(args, "ask the minion with `salt['file.find'](path)`")
    }),
    ("is_empty", |_, _, args| {
        refused(args, "ask the minion with `salt['file.stats'](path).size`")
    }),
    ("is_bin_file", |_, _, args| refused(args, "there is nothing like it")),
    ("is_text_file", |_, _, args| refused(args, "there is nothing like it")),
];

/// A filter of Salt's that reads what is not at hand while rendering.
fn refused(args: &mut Args, instead: &str) -> Result<Value, Error> {
    args.rest();
    args.keywords();
    Err(fail(format!("`{}` is not supported; {instead}", args.what())))
}

fn default(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let default = args.take("default_value").unwrap_or_else(|| "".into());
    let boolean = args.take("boolean").is_some_and(|boolean| boolean.is_true());
    Ok(if value.is_undefined() || (boolean && !value.is_true()) {
        default
    } else {
        value
    })
}

/// How much of a text is in YAML's flow style.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    None,
    /// Collections of scalars.
    Leaves,
    All,
    /// Everything, and never folded.
    OneLine,
}

/// As PyYAML's `safe_dump`: keys sorted, folded at 80 columns; without the line end.
///
/// # Errors
/// What is no data.
pub fn to_yaml(value: &Value, flow: Flow) -> Result<String, Error> {
    let data = from_template(value)?;
    let written = yaml::emit_with(
        &data,
        Style {
            sort_keys: true,
            flow: matches!(flow, Flow::All | Flow::OneLine),
            flow_leaves: flow == Flow::Leaves,
            ..if flow == Flow::OneLine { Style::FLOW } else { Style::BLOCK }
        },
    );
    let written = written.trim_end();
    Ok(written.strip_suffix("\n...").unwrap_or(written).to_owned())
}

/// As Python's `json.dumps`.
///
/// # Errors
/// What is no data.
pub fn to_json(value: &Value, sort: bool, indent: Option<&Value>, ascii: bool) -> Result<String, Error> {
    let indent = indent.map(|indent| match as_int(indent) {
        Some(width) => " ".repeat(usize::try_from(width).unwrap_or(0).min(64)),
        None => text(indent),
    });
    let data = from_template(value)?;
    let data = if sort { value::sorted(&data) } else { data };
    let mut out = String::new();
    write_json(&data, indent.as_deref(), ascii, 0, &mut out);
    Ok(out)
}

fn write_json(value: &yaml::Value, indent: Option<&str>, ascii: bool, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match &value.data {
        yaml::Data::Null => out.push_str("null"),
        yaml::Data::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        yaml::Data::Int(n) => out.push_str(&format!("{n}")),
        yaml::Data::Float(f) => out.push_str(&match f {
            f if f.is_nan() => "NaN".to_owned(),
            f if f.is_infinite() => if *f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            f => python_float(*f),
        }),
        yaml::Data::Str(s) => json_string(s, ascii, out),
        yaml::Data::List(items) if items.is_empty() => out.push_str("[]"),
        yaml::Data::Map(map) if map.is_empty() => out.push_str("{}"),
        yaml::Data::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { comma } else { "" });
                line(out, depth + 1);
                write_json(item, indent, ascii, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        yaml::Data::Map(map) => {
            out.push('{');
            for (n, (key, item)) in map.iter().enumerate() {
                out.push_str(if n > 0 { comma } else { "" });
                line(out, depth + 1);
                let key = match &key.scalar {
                    yaml::Scalar::Null => "null".to_owned(),
                    yaml::Scalar::Bool(b) => b.to_string(),
                    _ => key.text(),
                };
                json_string(&key, ascii, out);
                out.push_str(": ");
                write_json(item, indent, ascii, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

fn json_string(text: &str, ascii: bool, out: &mut String) {
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
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The data that YAML text stands for. `file` is what the text was read from, where it was read from a file of its own; `line` is
/// where the text begins in the template.
///
/// # Errors
/// What is not YAML.
pub fn load_yaml(text: &str, file: Option<&str>, line: Option<u32>) -> Result<Value, Error> {
    let error = match yaml::parse(FileId::default(), text) {
        Ok(data) => return Ok(to_template(&data)),
        Err(error) => error,
    };
    let what = file.unwrap_or("this");
    let Some(first) = error.diagnostics().first() else {
        return Err(from_error(error));
    };
    let mut told = crate::error::Error::usage(format!("{what} is not YAML: {}", first.message));
    // The places are those of the rendered text, which begins where the tag stands.
    if let Some(shown) = (first.at.line as usize)
        .checked_sub(1)
        .and_then(|line| text.lines().nth(line))
    {
        let number = first.at.line + line.unwrap_or(1) - 1;
        told = told.hint(format!("in line {number}: `{}`", shown.trim()));
    }
    for hint in &first.hints {
        told = told.hint(hint.clone());
    }
    Err(from_error(told))
}

/// # Errors
/// What is not JSON.
pub fn load_json(text: &str, file: Option<&str>) -> Result<Value, Error> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => Ok(to_template(&yaml::Value::from(&json))),
        Err(why) => Err(fail(format!("{} is not JSON: {why}", file.unwrap_or("this")))),
    }
}

/// What `import_yaml` and `load_yaml` read: `value|_load(format, file, line)`.
fn load(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let format = args.text("format")?;
    let file = args.text_or_none("file")?;
    let line = args.int_or_none("line")?.and_then(|line| u32::try_from(line).ok());
    let written = text(&value);
    if let Some(pending) = Pending::among([&Value::from(written.as_str())]) {
        return Ok(pending);
    }
    match format.as_str() {
        "yaml" => load_yaml(&written, file.as_deref(), line),
        "json" => load_json(&written, file.as_deref()),
        _ => Ok(written.into()),
    }
}

fn yaml_encode(value: &Value) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::String => yaml_dquote(&text(value)),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => to_yaml(value, Flow::All)?,
        _ => {
            return Err(fail(format!(
                "`|yaml_encode` works with scalars only, not with {}",
                shown(value)
            )));
        }
    }
    .into())
}

/// YAML's double quotes, as PyYAML's emitter writes them.
fn yaml_dquote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{a0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            ' '..='~' => out.push(c),
            c => out.push_str(&match c as u32 {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
    }
    out.push('"');
    out
}

/// Salt's way through data by `a:b:0`: mappings by key, lists by index or by what the mappings in them have.
///
/// # Errors
/// A path that is neither text, a number nor a list.
pub fn traverse(value: &Value, path: &Value, delimiter: &str) -> Result<Option<Value>, Error> {
    let steps: Vec<Value> = match path.kind() {
        ValueKind::String => match delimiter {
            "" => return Err(fail("the delimiter of a path cannot be empty")),
            _ => text(path).split(delimiter).map(Value::from).collect(),
        },
        ValueKind::Number | ValueKind::Bool => vec![path.clone()],
        ValueKind::Undefined => return Err(undefined(path)),
        _ => items(path)?,
    };
    let mut found = value.clone();
    for step in steps {
        let Some(next) = one_step(&found, &step) else {
            return Ok(None);
        };
        found = next;
    }
    Ok(Some(found))
}

fn one_step(value: &Value, step: &Value) -> Option<Value> {
    // A key that reads as another scalar in YAML is looked for as such too: `ports:80`.
    let number = match step.as_str() {
        Some(text) => super::number::parse_int(text, 10).map(Value::from),
        None => Some(step.clone()),
    };
    if is_list(value) {
        let all = items(value).ok()?;
        let key = number.clone().unwrap_or_else(|| step.clone());
        let embedded = all.iter().filter(|item| is_mapping(item)).find_map(|item| get(item, &key));
        return embedded.or_else(|| lookup(value, &number?));
    }
    if !is_mapping(value) {
        return None;
    }
    get(value, step).or_else(|| {
        let read = match step.as_str()? {
            "true" | "True" | "yes" | "on" => Value::from(true),
            "false" | "False" | "no" | "off" => Value::from(false),
            "null" | "~" => Value::from(()),
            text => number.or_else(|| super::number::parse_float(text).map(Value::from))?,
        };
        get(value, &read)
    })
}

/// A key of a mapping, without a note of the miss.
fn get(mapping: &Value, key: &Value) -> Option<Value> {
    match mapping.downcast_object_ref::<Dict>() {
        Some(dict) => dict.get(key),
        None => lookup(mapping, key),
    }
}

fn to_bool(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Bool => value.is_true(),
        ValueKind::String => matches!(text(value).to_lowercase().as_str(), "yes" | "1" | "true"),
        ValueKind::Number => as_int(value).is_some_and(|int| int > 0),
        ValueKind::Seq | ValueKind::Map => length(value).is_ok_and(|length| length > 0),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Set,
    Append,
    Extend,
    Update,
}

/// Salt's `*_dict_key_value` filters: changes what lies at a path below `value`, making mappings on the way.
fn deep_change(value: &Value, args: &mut Args, change: Change) -> Result<Value, Error> {
    let keys = args.text("keys")?;
    let new = args.need("value")?;
    let delimiter = args.text_or("delimiter", ":")?;
    args.flag("ordered_dict", false)?;
    let mut steps: Vec<&str> = keys.split(delimiter.as_str()).collect();
    let last = Value::from(steps.pop().unwrap_or_default());
    let mut at = value.clone();
    let mapping = |value: &Value| {
        value
            .downcast_object::<Dict>()
            .ok_or_else(|| fail(format!("`{keys}` leads through {}, which is no dictionary", shown(value))))
    };
    for step in steps {
        let here = mapping(&at)?;
        let key = Value::from(step);
        at = match here.get(&key) {
            Some(next) => next,
            None => {
                let next = dict([]);
                here.insert(key, next.clone())?;
                next
            }
        };
    }
    let here = mapping(&at)?;
    let old = here.get(&last);
    let changed = match change {
        Change::Set => new,
        Change::Append | Change::Extend => {
            let mut all = match &old {
                Some(old) if is_list(old) => items(old)?,
                Some(old) => return Err(fail(format!("`{keys}` holds {}, which is no list", shown(old)))),
                None => Vec::new(),
            };
            match change {
                Change::Append => all.push(new),
                _ if is_string(&new) => all.extend(text(&new).chars().map(Value::from)),
                _ => all.extend(items(&new)?),
            }
            list(all)
        }
        Change::Update => {
            let mut all = match &old {
                Some(old) => pairs(old).ok_or_else(|| fail(format!("`{keys}` holds {}, which is no dictionary", shown(old))))?,
                None => Vec::new(),
            };
            all.extend(crate::template::methods::pairs_to_update(&new)?);
            dict(all)
        }
    };
    here.insert(last, changed)?;
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_written_as_python_writes_it() {
        let data = dict([
            ("b".into(), list(vec![1.into(), true.into(), Value::from(()), 1.0.into()])),
            ("a".into(), "x: é \"".into()),
        ]);
        assert_eq!(
            to_json(&data, true, None, false).unwrap(),
            r#"{"a": "x: é \"", "b": [1, true, null, 1.0]}"#
        );
        assert_eq!(
            to_json(&data, false, None, true).unwrap(),
            r#"{"b": [1, true, null, 1.0], "a": "x: \u00e9 \""}"#
        );
        assert_eq!(
            to_json(&dict([("a".into(), list(vec![1.into()]))]), true, Some(&2.into()), false).unwrap(),
            "{\n  \"a\": [\n    1\n  ]\n}"
        );
        assert_eq!(yaml_dquote("a\"b\\\n\té\u{1f600}"), r#""a\"b\\\n\t\xE9\U0001F600""#);
    }

    #[test]
    fn paths_lead_through_lists_and_numbers() {
        let data = dict([
            ("a".into(), list(vec![dict([("x".into(), 1.into())]), "second".into()])),
            ("n".into(), dict([(80.into(), "web".into())])),
        ]);
        let table = [
            ("a:1", "'second'"),
            ("a:x", "1"),
            ("n:80", "'web'"),
            ("a:7", "none"),
            ("n:x", "none"),
            ("a:1:z", "none"),
        ];
        for (path, expected) in table {
            let found = traverse(&data, &path.into(), ":").unwrap();
            assert_eq!(
                found.map_or("none".to_owned(), |value| value::repr(&value)),
                expected,
                "{path}"
            );
        }
    }
}
