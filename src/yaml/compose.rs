//! Values made of a YAML parser's events: positions, anchors, merge keys, duplicate keys, and limits against bombs.
//!
//! The events come from `saphyr-parser`; what a plain scalar stands for is `scalar.rs`'s to say.

use super::repair::{Place, Repairs};
use super::scalar;
use super::value::{Data, Key, Map, Scalar, Value};
use crate::error::{Error, FileId, Pos, Result};
use indexmap::map::Entry;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// The largest document that is read, in bytes. A value takes many times the room of its text.
const MAX_BYTES: usize = 32 << 20;
/// The most nodes (scalars, lists, mappings) of a document, what its aliases repeat included.
const MAX_NODES: usize = 2_000_000;
/// The deepest nesting, aliases followed.
const MAX_DEPTH: usize = 128;

/// The value of the only document in `text`; nothing at all is null.
///
/// # Errors
/// What is not YAML, or not Salt's YAML, at its place; several duplicate keys are told at once.
pub fn parse(file: FileId, text: &str) -> Result<Value> {
    let start = Pos::new(file, 1, 1);
    if text.len() > MAX_BYTES {
        return Err(too_large(file, text.len() as u64));
    }
    // Some editors begin a file with a byte-order mark; it means nothing here.
    let mut text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut repairs = Repairs::default();
    for _ in 0..MAX_REPAIRS {
        let (error, repaired) = match Composer::new(file, &text, &repairs).document() {
            Ok((root, errors)) => return Error::all(errors).map_or(Ok(root), Err),
            Err(Stop { error, repair: None }) => return Err(error),
            Err(Stop {
                error,
                repair: Some(Repair::TabBehindColon(at)),
            }) => (error, repairs.space_behind_colon(&text, at)),
            Err(Stop {
                error,
                repair: Some(Repair::Indentation { flow, read, wrong }),
            }) => (error, repairs.indent(&text, flow, read, wrong)),
        };
        text = Cow::Owned(repaired.ok_or(error)?);
    }
    Err(Error::usage(format!(
        "more than {MAX_REPAIRS} places that not every reader of YAML understands"
    ))
    .at(start)
    .hint("write a space behind each `:`, and indent the lines of `[...]`, `{...}` and quotes"))
}

/// Each repair costs one more reading, so their number is bounded.
const MAX_REPAIRS: usize = 200;

/// Why reading stopped.
struct Stop {
    error: Error,
    repair: Option<Repair>,
}

/// What PyYAML would have read.
enum Repair {
    /// Before this place.
    TabBehindColon(Place),
    Indentation {
        /// Where the outermost flow collection under way begins.
        flow: Option<Place>,
        /// How far the text has been read.
        read: Place,
        /// Where indentation is missing.
        wrong: Place,
    },
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop { error, repair: None }
    }
}

/// As [`parse`], from the bytes of a file.
///
/// # Errors
/// Also bytes that are not UTF-8, at the first of them.
pub fn parse_bytes(file: FileId, bytes: &[u8]) -> Result<Value> {
    parse(file, utf8(file, bytes)?)
}

/// The bytes of a file that is YAML, or a template of it.
///
/// # Errors
/// It cannot be read, is larger than what [`parse`] takes, or is no file: a pipe would be waited for.
pub fn read(file: FileId, path: &Path) -> Result<Vec<u8>> {
    let failed = |why: &dyn std::fmt::Display| Error::usage(format!("cannot read {}: {why}", file.name()));
    let found = std::fs::metadata(path).map_err(|e| failed(&e))?;
    if !found.is_file() {
        return Err(failed(&"it is not a file"));
    }
    if found.len() > MAX_BYTES as u64 {
        return Err(too_large(file, found.len()));
    }
    std::fs::read(path).map_err(|e| failed(&e))
}

fn too_large(file: FileId, bytes: u64) -> Error {
    Error::usage(format!(
        "the file is too large: {} MiB, where at most {} MiB of YAML are read",
        bytes >> 20,
        MAX_BYTES >> 20
    ))
    .at(Pos::new(file, 1, 1))
    .hint("let a state fetch large data as a file instead of writing it into YAML")
}

/// The text of a file.
///
/// # Errors
/// Bytes that are not UTF-8, at the first of them.
pub fn utf8(file: FileId, bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let error = Error::usage("the text is not UTF-8").at(Pos::new(file, line as u32, column as u32));
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => error.hint("it looks like UTF-16: save it as UTF-8"),
            _ => error.hint("save it as UTF-8; binary data belongs into a file of its own"),
        }
    })
}

struct Composer<'t> {
    file: FileId,
    text: &'t str,
    repairs: &'t Repairs,
    /// The end of the last event.
    read: Place,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Value>,
    nodes: usize,
    /// Mistakes after which reading can go on.
    errors: Vec<Error>,
}

/// A collection that is still being read.
struct Frame {
    at: Pos,
    /// The same as the parser counts.
    place: Place,
    anchor: usize,
    /// How many nodes there were before it.
    nodes_before: usize,
    /// How deep its children go below it.
    depth: usize,
    into: Collection,
}

enum Collection {
    List(Vec<Value>),
    Map {
        map: Map,
        key: Option<Awaited>,
        merges: Vec<Value>,
    },
}

/// What the next value of a mapping is for.
enum Awaited {
    Key(Key),
    Merge,
}

#[derive(Clone)]
struct Anchored {
    value: Value,
    nodes: usize,
    depth: usize,
}

impl<'t> Composer<'t> {
    fn new(file: FileId, text: &'t str, repairs: &'t Repairs) -> Composer<'t> {
        Composer {
            file,
            text,
            repairs,
            read: (1, 0),
            parser: Parser::new_from_str(text),
            stack: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            nodes: 0,
            errors: Vec::new(),
        }
    }

    /// The document's value, and the mistakes after which reading could go on.
    fn document(mut self) -> Result<(Value, Vec<Error>), Stop> {
        let mut documents = 0;
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event.map_err(|e| self.stop(&e))?;
            let place = (span.start.line(), span.start.col());
            self.read = (span.end.line(), span.end.col());
            let at = self.pos(place);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Error::usage("a second document begins here, where one is expected")
                            .at(at)
                            .hint("take the `---` away, or make it a file of its own")
                            .into());
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    // The parser gives a block scalar a line end that the document, ending with it, does not have.
                    let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                    let added = block && !self.text.ends_with('\n') && span.end.index() >= self.text.chars().count();
                    let text = if added {
                        text.strip_suffix('\n').unwrap_or(&text)
                    } else {
                        &text
                    };
                    self.scalar(text, style, anchor, tag.as_deref(), at)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.check_tag(tag, "seq", at)?;
                    self.open(Collection::List(Vec::new()), anchor, place)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.check_tag(tag, "map", at)?;
                    let into = Collection::Map {
                        map: Map::new(),
                        key: None,
                        merges: Vec::new(),
                    };
                    self.open(into, anchor, place)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => self.alias(anchor, at)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        let nothing = || Value::default().at(Pos::new(self.file, 1, 1));
        Ok((self.root.take().unwrap_or_else(nothing), self.errors))
    }

    fn count(&mut self, nodes: usize, at: Pos) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Error::usage(format!("the document holds more than {MAX_NODES} values"))
                .at(at)
                .hint("an alias (`*name`) repeats all that its anchor holds; aliases of aliases multiply"));
        }
        Ok(())
    }

    fn pos(&self, place: Place) -> Pos {
        Pos::new(self.file, place.0 as u32, self.repairs.column(place) as u32 + 1)
    }

    fn open(&mut self, into: Collection, anchor: usize, place: Place) -> Result<()> {
        let at = self.pos(place);
        self.count(1, at)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.stack.push(Frame {
            at,
            place,
            anchor,
            nodes_before: self.nodes - 1,
            depth: 0,
            into,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let data = match frame.into {
            Collection::List(items) => Data::List(items),
            Collection::Map { map, merges, .. } => Data::Map(merged(map, merges)),
        };
        let value = Value::from(data).at(frame.at);
        let anchored = Anchored {
            value,
            nodes: self.nodes - frame.nodes_before,
            depth: frame.depth + 1,
        };
        self.node(anchored, frame.anchor, false)
    }

    fn alias(&mut self, anchor: usize, at: Pos) -> Result<()> {
        let Some(mut anchored) = self.anchors.get(&anchor).cloned() else {
            return Err(Error::usage("this alias stands inside of what it repeats").at(at));
        };
        self.count(anchored.nodes, at)?;
        if self.stack.len() + anchored.depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        // What an alias repeats keeps the positions of where it was written, so that errors lead there.
        if !matches!(anchored.value.data, Data::List(_) | Data::Map(_)) {
            anchored.value.at = at;
        }
        self.node(anchored, 0, false)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, at: Pos) -> Result<()> {
        self.count(1, at)?;
        let plain = style == ScalarStyle::Plain;
        let mut value = match tag {
            Some(tag) => tagged(tag, text, at)?,
            None if plain => scalar::plain(text),
            None => text.into(),
        };
        value.at = at;
        if plain && text.is_empty() {
            // The parser puts an absent value behind its key, or even on the next line.
            if let Some(Frame {
                into: Collection::Map {
                    key: Some(Awaited::Key(key)),
                    ..
                },
                ..
            }) = self.stack.last()
            {
                value.at = key.at;
            }
        }
        let merges = plain && tag.is_none() && text == "<<";
        let anchored = Anchored {
            value,
            nodes: 1,
            depth: 0,
        };
        self.node(anchored, anchor, merges)
    }

    /// Puts a finished node where it belongs. `merges`: it is a plain `<<`.
    fn node(&mut self, node: Anchored, anchor: usize, merges: bool) -> Result<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Anchored { value, depth, .. } = node;
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        frame.depth = frame.depth.max(depth);
        match &mut frame.into {
            Collection::List(items) => items.push(value),
            Collection::Map { map, key, merges: into } => match key.take() {
                None if merges => *key = Some(Awaited::Merge),
                None => *key = Some(Awaited::Key(as_key(&value)?)),
                Some(Awaited::Merge) => match &value.data {
                    Data::Map(_) => into.push(value),
                    Data::List(items) => {
                        if let Some(other) = items.iter().find(|item| item.as_map().is_none()) {
                            return Err(not_mergeable(other));
                        }
                        into.extend(items.iter().cloned());
                    }
                    _ => return Err(not_mergeable(&value)),
                },
                Some(Awaited::Key(key)) => match map.entry(key.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(value);
                    }
                    Entry::Occupied(entry) => {
                        let first = entry.key().at;
                        self.errors.push(
                            Error::usage(format!("found conflicting ID '{}'", key.text()))
                                .at(key.at)
                                .trail("it stands first here", first)
                                .hint("a mapping has each key once: rename one, or make one of the two"),
                        );
                    }
                },
            },
        }
        Ok(())
    }

    fn check_tag(&self, tag: Option<Cow<'_, Tag>>, expected: &str, at: Pos) -> Result<()> {
        match tag {
            Some(tag) if !(is_core(&tag) && tag.suffix == expected || is_unspecific(&tag)) => Err(unknown_tag(&tag, at)),
            _ => Ok(()),
        }
    }

    /// The character at a place.
    fn begins(&self, (line, column): Place) -> Option<char> {
        self.text.lines().nth(line.checked_sub(1)?)?.chars().nth(column)
    }

    /// Why the parser stopped, and whether PyYAML would not have.
    fn stop(&self, error: &ScanError) -> Stop {
        let wrong = (error.marker().line(), error.marker().col());
        let repair = if error.info().starts_with("':' must be followed") {
            Some(Repair::TabBehindColon(wrong))
        } else if error.info().starts_with("invalid indentation") {
            let is_flow = |place: Place| matches!(self.begins(place), Some('[' | '{'));
            Some(Repair::Indentation {
                flow: self.stack.iter().map(|frame| frame.place).find(|place| is_flow(*place)),
                read: self.read,
                wrong,
            })
        } else {
            None
        };
        Stop {
            error: self.explain(error),
            repair,
        }
    }

    /// A parser's error in our words, with what is likely meant.
    fn explain(&self, error: &ScanError) -> Error {
        let mark = error.marker();
        let line = self.text.lines().nth(mark.line().saturating_sub(1)).unwrap_or_default();
        let at = self.pos((mark.line(), mark.col()));
        let indentation: &str = &line[..line.len() - line.trim_start().len()];
        if error.info() == "recursion limit exceeded" {
            return too_deep(at);
        }
        let rest = self.text.lines().skip(mark.line().saturating_sub(1));
        let ends = rest.enumerate().all(|(n, line)| {
            let line = if n == 0 {
                line.chars().skip(mark.col()).collect()
            } else {
                line.to_owned()
            };
            line.trim_start().is_empty() || line.trim_start().starts_with('#')
        });
        let open = self.stack.iter().rev().find_map(|frame| match self.begins(frame.place)? {
            '[' => Some((frame, '[', ']')),
            '{' => Some((frame, '{', '}')),
            _ => None,
        });
        if let (true, Some((frame, open, close))) = (ends, open) {
            return Error::usage(format!("this `{open}` is never closed by a `{close}`")).at(frame.at);
        }
        let told = Error::usage(error.info().to_owned()).at(at);
        let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start();
        if indentation.contains('\t') {
            told.hint("YAML is not indented with tabs: use spaces")
        } else if line.contains("{{") || line.contains("{%") {
            told.hint("this line holds a template's braces: the file was not rendered, or they want quotes around them")
        } else if error.info().contains("mapping values are not allowed") {
            told.hint(
                "a value that holds `: ` wants quotes, and a key stands on a line of its own, no deeper than its neighbours",
            )
        } else if error.info().contains("escape") {
            told.hint("a backslash in double quotes begins an escape: write `\\\\`, or use single quotes")
        } else if error.info().contains("unknown anchor") {
            told.hint("a value that begins with `*` repeats an anchor: to mean the character, put it in quotes")
        } else if value.starts_with(['@', '`', '%', '&', '*', '!', '|', '>', '[', '{', ']', '}', ',']) {
            told.hint("a value that begins with a sign of YAML's wants quotes")
        } else if error.info().contains("did not find expected") || error.info().contains("simple key expect") {
            told.hint("look at the indentation of this line and the one before, and for a missing `:` or quote")
        } else {
            told
        }
    }
}

/// Keys that were merged in come first, as PyYAML has it; what the mapping itself says wins, then the earlier of several merges.
fn merged(own: Map, merges: Vec<Value>) -> Map {
    if merges.is_empty() {
        return own;
    }
    let mut map = Map::new();
    for merge in merges.iter().rev().filter_map(Value::as_map) {
        for (key, value) in merge.iter().filter(|(key, _)| !own.contains_key(*key)) {
            map.insert(key.clone(), value.clone());
        }
    }
    map.extend(own);
    map
}

fn as_key(value: &Value) -> Result<Key> {
    let scalar = match &value.data {
        Data::Null => Scalar::Null,
        Data::Bool(b) => Scalar::Bool(*b),
        Data::Int(n) => Scalar::Int(*n),
        Data::Float(f) => Scalar::Float(f.to_bits()),
        Data::Str(s) => Scalar::Str(s.clone()),
        Data::List(_) | Data::Map(_) => {
            return Err(Error::usage(format!("{} stands where a key is expected", value.kind()))
                .at(value.at)
                .hint("unrendered `{{ }}`? Put quotes around it"));
        }
    };
    Ok(Key { scalar, at: value.at })
}

fn not_mergeable(value: &Value) -> Error {
    Error::usage(format!(
        "`<<` merges a mapping or a list of mappings, but this is {}",
        value.kind()
    ))
    .at(value.at)
}

fn too_deep(at: Pos) -> Error {
    Error::usage(format!("nested deeper than {MAX_DEPTH} levels")).at(at)
}

fn is_core(tag: &Tag) -> bool {
    tag.is_yaml_core_schema()
}

/// `!` alone: "not what it looks like".
fn is_unspecific(tag: &Tag) -> bool {
    (tag.handle.is_empty() && tag.suffix == "!") || (tag.handle == "!" && tag.suffix.is_empty())
}

fn unknown_tag(tag: &Tag, at: Pos) -> Error {
    let shown = if is_core(tag) {
        format!("!!{}", tag.suffix)
    } else {
        tag.to_string()
    };
    Error::usage(format!("the tag `{shown}` is not known here"))
        .at(at)
        .hint("known are !!str, !!int, !!float, !!bool, !!null, !!seq and !!map; a text that begins with `!` wants quotes")
}

fn tagged(tag: &Tag, text: &str, at: Pos) -> Result<Value> {
    if is_unspecific(tag) {
        return Ok(text.into());
    }
    if !is_core(tag) {
        return Err(unknown_tag(tag, at));
    }
    let found = match &*tag.suffix {
        "str" | "timestamp" | "python/unicode" => Some(Value::from(text)),
        "int" => scalar::int(text).map(Value::from),
        "float" => scalar::float(text).or_else(|| text.parse().ok()).map(Value::from),
        "bool" => scalar::boolean(text).map(Value::from),
        "null" => Some(Value::default()),
        _ => return Err(unknown_tag(tag, at)),
    };
    found.ok_or_else(|| Error::usage(format!("`{text}` is not what `!!{}` asks for", tag.suffix)).at(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value> {
        parse(FileId::of("t.sls"), text)
    }

    #[test]
    fn documents_are_what_salt_takes_them_for() {
        let cases = [
            ("", json!(null)),
            ("# nothing\n\n", json!(null)),
            ("---\na: 1\n...\n", json!({"a": 1})),
            ("\u{feff}a: 1\n", json!({"a": 1})),
            ("a:\tb\nc:\t-d\ne: \tf\t\n", json!({"a": "b", "c": "-d", "e": "f"})),
            ("a: 'yes'\nb: yes\nc: \"08\"\n", json!({"a": "yes", "b": true, "c": "08"})),
            ("a: !!str 5\nb: !!int '010'\nc: ! 5\n", json!({"a": "5", "b": 10, "c": "5"})),
            ("a: |\n  x\n   y\nb: >-\n  x\n  y\n", json!({"a": "x\n y\n", "b": "x y"})),
            ("a: |\n  x\n   y", json!({"a": "x\n y"})),
            ("a: >\n  x\n  y", json!({"a": "x y"})),
            ("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("&k key: 1\nb: {*k : 2}\n", json!({"key": 1, "b": {"key": 2}})),
            // Merged keys come first and do not override.
            (
                "base: &b {x: 1, y: 2}\nd:\n  y: 3\n  <<: *b\n",
                json!({"base": {"x": 1, "y": 2}, "d": {"x": 1, "y": 3}}),
            ),
            (
                "d:\n  <<: [{x: 1}, {x: 2, z: 3}]\n  w: 4\n",
                json!({"d": {"x": 1, "z": 3, "w": 4}}),
            ),
            ("'<<': {x: 1}\n", json!({"<<": {"x": 1}})),
            (
                "1: a\nyes: b\n~: c\n1.5: d\n",
                json!({"1": "a", "True": "b", "None": "c", "1.5": "d"}),
            ),
            // Lines that are not indented as they should be, as PyYAML writes them.
            (
                "a:\n    b: {c: d,\n  e: [f,\ng], 'h\n  i': j}\n    k: l\n",
                json!({"a": {"b": {"c": "d", "e": ["f", "g"], "h i": "j"}, "k": "l"}}),
            ),
            ("a: {\n  b: c\n}\nd: [\n]\n", json!({"a": {"b": "c"}, "d": []})),
            ("a:\n  - b: 'c\n\n  d'\n  - \"e\nf\"\n", json!({"a": [{"b": "c\nd"}, "e f"]})),
            ("[a, b: c, {d}]\n", json!(["a", {"b": "c"}, {"d": null}])),
            ("? a\n? b\n: 1\n", json!({"a": null, "b": 1})),
        ];
        for (text, expected) in cases {
            let value = read(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
            let (got, expected) = (serde_json::Value::from(&value).to_string(), expected.to_string());
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let value = read("/etc/motd:\n  file.managed:\n    - mode: 0644\n    - user:\n    - x: {a: 'b'}\n").unwrap();
        let at = |value: &Value| format!("{}:{}", value.at.line, value.at.column);
        let (key, state) = value.as_map().unwrap().first().unwrap();
        assert_eq!((key.at.line, key.at.column), (1, 1));
        let arguments = state.get("file.managed").unwrap().as_list().unwrap();
        let mode = arguments[0].get("mode").unwrap();
        assert_eq!(
            (at(mode), mode.as_int(), mode.raw.as_deref()),
            ("3:13".to_owned(), Some(644), Some("0644"))
        );
        assert_eq!(at(&arguments[0]), "3:7");
        let value_of_flow = read("a:\n    b: {c: d,\n  e: f}\n").unwrap();
        assert_eq!(at(value_of_flow.get("a").unwrap().get("b").unwrap().get("e").unwrap()), "3:6");
        // What is not there stands where its key does.
        assert_eq!(at(arguments[1].get("user").unwrap()), "4:7");
        assert_eq!(at(arguments[2].get("x").unwrap().get("a").unwrap()), "5:14");
    }

    #[test]
    fn mistakes_say_where_and_what_to_do() {
        let cases = [
            ("a: 1\nb: 2\na: 3\n", "t.sls:3:1: found conflicting ID 'a'"),
            (
                "a: 1\na: 2\nb: 1\nb: 2\n",
                "t.sls:2:1: found conflicting ID 'a'\nt.sls:4:1: found conflicting ID 'b'",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "t.sls:2:1: a second document begins here, where one is expected",
            ),
            ("a: {{ b }}\n", "t.sls:1:5: a mapping stands where a key is expected"),
            ("a: !foo 1\n", "t.sls:1:4: the tag `!foo` is not known here"),
            ("a: !!binary aGk=\n", "t.sls:1:4: the tag `!!binary` is not known here"),
            ("a: !!int x\n", "t.sls:1:4: `x` is not what `!!int` asks for"),
            ("a: &a [*a]\n", "t.sls:1:8: this alias stands inside of what it repeats"),
            (
                "a:\n  <<: 5\n",
                "t.sls:2:7: `<<` merges a mapping or a list of mappings, but this is a number",
            ),
            ("a: b: c\n", "t.sls:1:5: mapping values are not allowed in this context"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn the_hint_tells_what_was_likely_meant() {
        let cases = [
            ("a:\n\t- b\n", "tabs"),
            ("a: {{ b }}\n", "unrendered"),
            ("a: {% b %}\n", "braces"),
            ("a: \"C:\\path\"\n", "single quotes"),
            ("a: *.log\n", "quotes"),
            ("a: @x\n", "quotes"),
            ("a: b: c\n", "quotes"),
        ];
        for (text, word) in cases {
            let error = read(text).unwrap_err();
            let hints = error.diagnostics()[0].hints.join(" ");
            assert!(hints.contains(word), "{text}: {error}: {hints}");
            assert!(error.diagnostics()[0].at.line > 0);
        }
    }

    #[test]
    fn bombs_and_monsters_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let repeated = format!("*a{}, ", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{repeated}]\n"));
        }
        let error = read(&bomb).unwrap_err().to_string();
        assert!(error.contains("more than 2000000 values"), "{error}");

        let mut chain = "a0: &a0 [x]\n".to_owned();
        for n in 1..300 {
            chain.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
        }
        let error = read(&chain).unwrap_err().to_string();
        assert!(error.contains("nested deeper"), "{error}");

        for deep in ["[".repeat(5000), "- ".repeat(5000), "{a: ".repeat(5000), "? ".repeat(5000)] {
            let error = read(&deep).unwrap_err().to_string();
            assert!(error.contains("nested deeper"), "{error}");
        }
        let large = format!("a: '{}'\n", "x".repeat(40 << 20));
        let error = read(&large).unwrap_err().to_string();
        assert_eq!(
            error,
            "t.sls:1:1: the file is too large: 40 MiB, where at most 32 MiB of YAML are read"
        );
    }

    #[test]
    fn bytes_must_be_utf8() {
        let error = parse_bytes(FileId::of("t.sls"), b"a: 1\nb: \xe9\n").unwrap_err();
        assert_eq!(error.to_string(), "t.sls:2:4: the text is not UTF-8");
        assert!(parse_bytes(FileId::default(), "a: é".as_bytes()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_text_is_too_odd(text in "[a-c:#'\"\\\\ \n\t{}\\[\\],?!&*|>%@`~=<.0-9-]{0,24}") {
            let _ = read(&text);
        }

        #[test]
        fn no_text_at_all_is_too_odd(chars in proptest::collection::vec(any::<char>(), 0..16)) {
            let _ = read(&chars.into_iter().collect::<String>());
        }
    }
}
