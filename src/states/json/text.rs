//! JSON text that is edited in place: what is not named keeps its order, its indentation and the way it is written.

use crate::error::{Error, Result};
use serde_json::{Map, Value as Json};
use std::ops::Range;

/// A JSON text and how its author indents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Text {
    pub text: String,
    /// One level of indentation, where none can be seen.
    unit: String,
}

/// A value in the text.
struct Node {
    span: Range<usize>,
    inside: Inside,
}

enum Inside {
    Scalar,
    List(Vec<Node>),
    Object(Vec<Member>),
}

struct Member {
    key: String,
    /// From the key's quote on.
    start: usize,
    value: Node,
}

/// Where in a text something is added, and how it is set.
struct Layout {
    /// `None`: on one line.
    indent: Option<String>,
    colon: String,
    comma: String,
}

impl Text {
    /// `text`, where an empty one stands for an empty object. `indent`: spaces for each level where the text has none of its own.
    ///
    /// # Errors
    /// It is no JSON: says where and why.
    pub fn new(text: &str, indent: usize) -> Result<Text> {
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        serde_json::from_str::<Json>(text).map_err(|why| Error::state(why.to_string()))?;
        Ok(Text {
            text: text.to_owned(),
            unit: " ".repeat(indent),
        })
    }

    fn root(&self) -> Node {
        let mut reader = Reader {
            text: self.text.as_bytes(),
            at: 0,
        };
        reader.value()
    }

    /// The value at `path`, each step a key.
    pub fn get(&self, path: &[String]) -> Option<Json> {
        let span = find(&self.root(), path)?.span.clone();
        serde_json::from_str(&self.text[span]).ok()
    }

    /// One level of indentation as the text has it.
    fn unit(&self, root: &Node) -> String {
        match &root.inside {
            Inside::Object(members) => {
                let indent = members
                    .first()
                    .and_then(|first| self.indent_before(root.span.start + 1..first.start));
                indent
                    .filter(|indent| !indent.is_empty())
                    .unwrap_or_else(|| self.unit.clone())
            }
            _ => self.unit.clone(),
        }
    }

    /// The indentation that ends `span`, where that begins a line.
    fn indent_before(&self, span: Range<usize>) -> Option<String> {
        let before = &self.text[span];
        before.rfind('\n').map(|at| before[at + 1..].to_owned())
    }

    /// The indentation of the line that `at` is in.
    fn line_indent(&self, at: usize) -> String {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        self.text[start..].chars().take_while(|c| matches!(c, ' ' | '\t')).collect()
    }

    /// How the entries of a list or object are set, seen from `starts` and `ends` of the ones that it has.
    fn layout(&self, node: &Node, entries: &[(usize, usize)], root: &Node) -> Layout {
        let colon = first_colon(root, &self.text).unwrap_or_else(|| ": ".to_owned());
        let Some(first) = entries.first() else {
            // An empty one is set as the text as a whole is.
            let many_lines = self.text.trim_end().contains('\n') || node.span == root.span;
            let indent = many_lines.then(|| self.line_indent(node.span.start) + &self.unit(root));
            return Layout {
                indent,
                colon,
                comma: ", ".to_owned(),
            };
        };
        let comma = entries.get(1).map(|second| self.text[first.1..second.0].to_owned());
        Layout {
            indent: self.indent_before(node.span.start + 1..first.0),
            colon,
            comma: comma.filter(|comma| !comma.contains('\n')).unwrap_or_else(|| ", ".to_owned()),
        }
    }

    /// Adds `entry` (a value, or a key with its value) behind the last of a list or object.
    fn add(&mut self, node: &Node, root: &Node, key: Option<&str>, value: &Json) {
        let entries: Vec<(usize, usize)> = match &node.inside {
            Inside::List(items) => items.iter().map(|item| (item.span.start, item.span.end)).collect(),
            Inside::Object(members) => members.iter().map(|member| (member.start, member.value.span.end)).collect(),
            Inside::Scalar => return,
        };
        let layout = self.layout(node, &entries, root);
        let unit = self.unit(root);
        let mut entry = String::new();
        if let Some(key) = key {
            entry += &Json::from(key).to_string();
            entry += &layout.colon;
        }
        entry += &rendered(value, layout.indent.as_deref(), &unit, &layout.colon, &layout.comma);
        let newline = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        match (entries.last(), &layout.indent) {
            (Some((_, end)), Some(indent)) => self.text.insert_str(*end, &format!(",{newline}{indent}{entry}")),
            (Some((_, end)), None) => self.text.insert_str(*end, &format!("{}{entry}", layout.comma)),
            (None, Some(indent)) => {
                let outer = self.line_indent(node.span.start);
                let inside = node.span.start + 1..node.span.end - 1;
                self.text
                    .replace_range(inside, &format!("{newline}{indent}{entry}{newline}{outer}"));
            }
            (None, None) => self.text.replace_range(node.span.start + 1..node.span.end - 1, &entry),
        }
    }

    /// Ensures that the value at `path` is `value`; objects on the way are made, and replace what is none.
    pub fn set(&mut self, path: &[String], value: &Json) {
        let root = self.root();
        if let Some(node) = find(&root, path) {
            let indent =
                self.text[node.span.clone()].contains('\n') || !matches!(node.inside, Inside::List(_) | Inside::Object(_));
            let indent = (indent && self.text.trim_end().contains('\n')).then(|| self.line_indent(node.span.start));
            // A list on one line stays on one line, as far as it is one.
            let unit = self.unit(&root);
            let inner = indent.map(|indent| indent + &unit);
            let colon = first_colon(&root, &self.text).unwrap_or_else(|| ": ".to_owned());
            let text = rendered_at(value, inner.as_deref(), &unit, &colon, ", ");
            self.text.replace_range(node.span.clone(), &text);
            return;
        }
        let (last, folders) = match path.split_last() {
            Some(split) => split,
            None => return,
        };
        match find(&root, folders) {
            Some(node) if matches!(node.inside, Inside::Object(_)) => self.add(node, &root, Some(last), value),
            Some(_) => self.set(folders, &Json::Object(Map::from_iter([(last.clone(), value.clone())]))),
            None => self.set(folders, &Json::Object(Map::from_iter([(last.clone(), value.clone())]))),
        }
    }

    /// Adds `value` to the list at `path`, which is made where there is nothing.
    pub fn append(&mut self, path: &[String], value: &Json) {
        let root = self.root();
        match find(&root, path) {
            Some(node) if matches!(node.inside, Inside::List(_)) => self.add(node, &root, None, value),
            _ => self.set(path, &Json::Array(vec![value.clone()])),
        }
    }

    /// Takes the key at `path` away.
    pub fn remove(&mut self, path: &[String]) {
        let root = self.root();
        let Some((last, folders)) = path.split_last() else { return };
        let Some(Inside::Object(members)) = find(&root, folders).map(|node| &node.inside) else {
            return;
        };
        if let Some(n) = members.iter().rposition(|member| member.key == *last) {
            let entries: Vec<(usize, usize)> = members.iter().map(|member| (member.start, member.value.span.end)).collect();
            let span = find(&root, folders).map(|node| node.span.clone()).unwrap_or_default();
            self.cut(&span, &entries, n);
        }
    }

    /// Takes item `n` of the list at `path` away.
    pub fn remove_item(&mut self, path: &[String], n: usize) {
        let root = self.root();
        let Some(node) = find(&root, path) else { return };
        let Inside::List(items) = &node.inside else { return };
        let entries: Vec<(usize, usize)> = items.iter().map(|item| (item.span.start, item.span.end)).collect();
        if n < entries.len() {
            self.cut(&node.span, &entries, n);
        }
    }

    /// Takes an entry away with the comma that goes with it.
    fn cut(&mut self, around: &Range<usize>, entries: &[(usize, usize)], n: usize) {
        let cut = if entries.len() == 1 {
            around.start + 1..around.end - 1
        } else if n == 0 {
            entries[0].0..entries[1].0
        } else {
            entries[n - 1].1..entries[n].1
        };
        self.text.replace_range(cut, "");
    }
}

/// The node at `path`. Of several members of one name the last counts, as it does to most who read it.
fn find<'a>(node: &'a Node, path: &[String]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, step| match &node.inside {
        Inside::Object(members) => members
            .iter()
            .rev()
            .find(|member| member.key == *step)
            .map(|member| &member.value),
        _ => None,
    })
}

/// What stands between the first key and its value.
fn first_colon(root: &Node, text: &str) -> Option<String> {
    let Inside::Object(members) = &root.inside else { return None };
    let first = members.first()?;
    let mut reader = Reader {
        text: text.as_bytes(),
        at: first.start,
    };
    reader.string();
    Some(text[reader.at..first.value.span.start].to_owned()).filter(|colon| !colon.contains('\n'))
}

/// `value` as an entry that stands at `indent`.
fn rendered(value: &Json, indent: Option<&str>, unit: &str, colon: &str, comma: &str) -> String {
    rendered_at(
        value,
        indent.map(|indent| format!("{indent}{unit}")).as_deref(),
        unit,
        colon,
        comma,
    )
}

/// `value`, what is inside it at `inner`.
fn rendered_at(value: &Json, inner: Option<&str>, unit: &str, colon: &str, comma: &str) -> String {
    let entries: Vec<String> = match value {
        Json::Array(items) => items.iter().map(|item| rendered(item, inner, unit, colon, comma)).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| {
                format!(
                    "{}{colon}{}",
                    Json::from(key.as_str()),
                    rendered(value, inner, unit, colon, comma)
                )
            })
            .collect(),
        scalar => return scalar.to_string(),
    };
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    match inner {
        _ if entries.is_empty() => format!("{open}{close}"),
        None => format!("{open}{}{close}", entries.join(comma)),
        Some(inner) => {
            let outer = inner.strip_suffix(unit).unwrap_or_default();
            let lines: Vec<String> = entries.iter().map(|entry| format!("{inner}{entry}")).collect();
            format!("{open}\n{}\n{outer}{close}", lines.join(",\n"))
        }
    }
}

/// Goes through a text that is known to be JSON.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or_default()
    }

    fn skip(&mut self) {
        while self.peek().is_ascii_whitespace() {
            self.at += 1;
        }
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.at < self.text.len() && self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let end = self.at.min(self.text.len());
        serde_json::from_slice(&self.text[start..end]).unwrap_or_default()
    }

    fn value(&mut self) -> Node {
        self.skip();
        let start = self.at;
        let inside = match self.peek() {
            b'{' => {
                let mut members = Vec::new();
                self.at += 1;
                loop {
                    self.skip();
                    match self.peek() {
                        b'"' => {
                            let start = self.at;
                            let key = self.string();
                            self.skip();
                            // The colon.
                            self.at += 1;
                            let value = self.value();
                            members.push(Member { key, start, value });
                        }
                        b',' => self.at += 1,
                        _ => break,
                    }
                }
                self.at += 1;
                Inside::Object(members)
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                loop {
                    self.skip();
                    match self.peek() {
                        b']' | 0 => break,
                        b',' => self.at += 1,
                        _ => items.push(self.value()),
                    }
                }
                self.at += 1;
                Inside::List(items)
            }
            b'"' => {
                self.string();
                Inside::Scalar
            }
            _ => {
                while !matches!(self.peek(), b',' | b']' | b'}' | 0) && !self.peek().is_ascii_whitespace() {
                    self.at += 1;
                }
                Inside::Scalar
            }
        };
        Node {
            span: start..self.at.min(self.text.len()),
            inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        text.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn keys_are_set_in_the_text_as_it_is_written() {
        let table = [
            ("{}\n", "a", json!(1), "{\n  \"a\": 1\n}\n"),
            ("{\"a\":1}", "b", json!([1, {"c": 2}]), "{\"a\":1, \"b\":[1, {\"c\":2}]}"),
            ("{\"a\": 1,\"b\": 2}", "c", json!(3), "{\"a\": 1,\"b\": 2,\"c\": 3}"),
            (
                "{\n\t\"a\": [1, 2]\n}\n",
                "b",
                json!({"c": [true]}),
                "{\n\t\"a\": [1, 2],\n\t\"b\": {\n\t\t\"c\": [\n\t\t\ttrue\n\t\t]\n\t}\n}\n",
            ),
            (
                "{\n    \"a\": {\n        \"b\": 1\n    }\n}",
                "a.c",
                json!("x"),
                "{\n    \"a\": {\n        \"b\": 1,\n        \"c\": \"x\"\n    }\n}",
            ),
            ("{\n  \"a\": {}\n}", "a.b", json!(1), "{\n  \"a\": {\n    \"b\": 1\n  }\n}"),
            (
                "{\n  \"a\" : 1, \"z\": [ ]\n}",
                "a",
                json!(2),
                "{\n  \"a\" : 2, \"z\": [ ]\n}",
            ),
            ("{\n  \"a\": [1,\n 2]\n}", "a", json!([3]), "{\n  \"a\": [\n    3\n  ]\n}"),
            ("{\n  \"a\": [1, 2]\n}", "a", json!([3, 4]), "{\n  \"a\": [3, 4]\n}"),
            ("{\n  \"a\": 1\n}", "a.b", json!(2), "{\n  \"a\": {\n    \"b\": 2\n  }\n}"),
            (
                "{\n  \"a\": 1\n}",
                "x.y",
                json!(2),
                "{\n  \"a\": 1,\n  \"x\": {\n    \"y\": 2\n  }\n}",
            ),
            (
                "{\"k\\\"}\": 1, \"k\": 1, \"k\": 2}",
                "k",
                json!(3),
                "{\"k\\\"}\": 1, \"k\": 1, \"k\": 3}",
            ),
        ];
        for (text, at, value, expected) in table {
            let mut edited = Text::new(text, 2).unwrap();
            edited.set(&path(at), &value);
            assert_eq!(edited.text, expected, "{text} {at}");
        }
    }

    #[test]
    fn lists_grow_and_entries_go() {
        let mut text = Text::new("{\n  \"a\": [\n    1\n  ],\n  \"b\": [1, 2], \"c\": []\n}\n", 2).unwrap();
        text.append(&path("a"), &json!("x"));
        text.append(&path("b"), &json!(3));
        text.append(&path("c"), &json!(4));
        text.append(&path("d"), &json!(5));
        let expected =
            "{\n  \"a\": [\n    1,\n    \"x\"\n  ],\n  \"b\": [1, 2, 3], \"c\": [\n    4\n  ],\n  \"d\": [\n    5\n  ]\n}\n";
        assert_eq!(text.text, expected);
        text.remove_item(&path("b"), 0);
        text.remove_item(&path("c"), 0);
        text.remove(&path("a"));
        text.remove(&path("d"));
        text.remove(&path("nothing"));
        assert_eq!(text.text, "{\n  \"b\": [2, 3], \"c\": []\n}\n");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert_eq!(
            Text::new("{\"a\": 1,}", 2).unwrap_err().to_string(),
            "trailing comma at line 1 column 9"
        );
        assert_eq!(Text::new(" \n", 2).unwrap().text, "{}\n");
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Json::from),
            any::<i32>().prop_map(Json::from),
            "[a\"\\\\\n}]{0,4}".prop_map(Json::from)
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                proptest::collection::vec(("[a-c]", inner), 0..3).prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn an_edit_means_what_it_says(before in any_json(), key in "[a-d]", inner in "[a-d]", value in any_json(), pretty in any::<bool>()) {
            let before = if before.is_object() { before } else { json!({"a": before}) };
            let text = if pretty { serde_json::to_string_pretty(&before).unwrap() } else { before.to_string() };
            let mut edited = Text::new(&text, 2).unwrap();
            edited.set(std::slice::from_ref(&key), &value);
            let mut expected = before.clone();
            expected[&key] = value.clone();
            prop_assert_eq!(serde_json::from_str::<Json>(&edited.text).unwrap(), expected.clone());
            edited.set(&[key.clone(), inner.clone()], &value);
            if !expected[&key].is_object() {
                expected[&key] = json!({});
            }
            expected[&key][&inner] = value;
            prop_assert_eq!(serde_json::from_str::<Json>(&edited.text).unwrap(), expected.clone());
            edited.remove(&[key.clone(), inner.clone()]);
            expected[&key].as_object_mut().unwrap().shift_remove(&inner);
            prop_assert_eq!(serde_json::from_str::<Json>(&edited.text).unwrap(), expected);
        }
    }
}
