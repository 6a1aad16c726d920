//! Values written as YAML, as PyYAML's `safe_dump` writes them: other programs' files change as little as can be.

use super::scalar::is_plain_string;
use super::value::{Data, Key, Map, Scalar, Value, python_float};

/// How YAML is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// `{a: [1, 2]}` on one line, instead of a line for each key and item.
    pub flow: bool,
    /// Collections that hold nothing but scalars are of flow style (PyYAML's `default_flow_style=None`).
    pub flow_leaves: bool,
    /// Keys sorted, as PyYAML does unless told otherwise, instead of in the order that they have.
    pub sort_keys: bool,
    /// Spaces by which each level is indented.
    pub indent: usize,
    /// Lists are indented below their key.
    pub indent_lists: bool,
    /// The column after which long text is folded at a space; `usize::MAX` for never.
    pub width: usize,
    /// Text of several lines stands as it is, behind a `|`, where that is possible; PyYAML never does that unasked.
    pub literal: bool,
}

impl Style {
    /// `default_flow_style=False`.
    pub const BLOCK: Style = Style {
        flow: false,
        flow_leaves: false,
        sort_keys: false,
        indent: 2,
        indent_lists: false,
        width: 80,
        literal: false,
    };
    /// For people to read: lines are as long as they are, and text of several lines stands as it is.
    pub const READABLE: Style = Style {
        width: usize::MAX,
        literal: true,
        ..Style::BLOCK
    };
    /// `default_flow_style=True`, never folded.
    pub const FLOW: Style = Style {
        flow: true,
        flow_leaves: false,
        sort_keys: false,
        indent: 2,
        indent_lists: false,
        width: usize::MAX,
        literal: false,
    };
}

/// `value` in block style, a final newline included.
pub fn emit(value: &Value) -> String {
    emit_with(value, Style::BLOCK)
}

/// `value` on one line, without a newline.
pub fn emit_flow(value: &Value) -> String {
    emit_with(value, Style::FLOW)
}

/// `value` as `style` says. Block style ends with a newline; flow style does not.
pub fn emit_with(value: &Value, style: Style) -> String {
    let mut writer = Writer {
        style,
        text: String::new(),
        column: 0,
        indent: None,
        flow_level: 0,
        whitespace: true,
        indention: true,
    };
    writer.node(value, Place::Root);
    if !style.flow {
        writer.text.push('\n');
    }
    writer.text
}

/// Keys as long as this stand behind a `?`: 128 characters, of which PyYAML counts five for a tag that it does not write.
const SIMPLE_KEY: usize = 123;

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Item,
    Value,
    /// A key that fits before a `:` on its line.
    SimpleKey,
    /// A key behind a `?`.
    LongKey,
}

struct Writer {
    style: Style,
    text: String,
    column: usize,
    /// The column of the collection under way; `None` outside of any.
    indent: Option<usize>,
    flow_level: usize,
    /// The last thing written was white space (or an indicator that counts as such).
    whitespace: bool,
    /// Only indentation and block indicators stand on this line so far.
    indention: bool,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self) {
        self.text.push('\n');
        self.column = 0;
        self.whitespace = true;
        self.indention = true;
    }

    /// Goes to the column of the collection under way, on a fresh line unless this one is still fresh.
    fn go_to_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.newline();
        }
        if self.column < indent {
            self.whitespace = true;
            self.put(&" ".repeat(indent - self.column));
        }
    }

    /// Writes `- `, `:`, `{` and the like, set off by a space where `apart`.
    fn indicator(&mut self, sign: &str, apart: bool, block: bool, opens: bool) {
        if apart && !self.whitespace {
            self.put(" ");
        }
        self.put(sign);
        self.whitespace = opens;
        self.indention = self.indention && block;
    }

    /// Runs `inner` one level deeper.
    fn deeper(&mut self, flow: bool, indentless: bool, inner: impl FnOnce(&mut Writer)) {
        let before = self.indent;
        self.indent = match before {
            None => Some(if flow { self.style.indent } else { 0 }),
            Some(indent) if indentless => Some(indent),
            Some(indent) => Some(indent + self.style.indent),
        };
        inner(self);
        self.indent = before;
    }

    fn node(&mut self, value: &Value, place: Place) {
        match &value.data {
            Data::List(items) if self.in_flow() || self.is_leaf(items.iter()) => self.flow_list(items),
            Data::List(items) => self.block_list(items, place),
            Data::Map(map) if self.in_flow() || self.is_leaf(map.values()) => self.flow_map(map),
            Data::Map(map) => self.block_map(map),
            Data::Null => self.scalar("null", false, place),
            Data::Bool(b) => self.scalar(if *b { "true" } else { "false" }, false, place),
            Data::Int(n) => self.scalar(&n.to_string(), false, place),
            Data::Float(f) => self.scalar(&float(*f), false, place),
            Data::Str(text) => self.scalar(text, true, place),
        }
    }

    /// Whether a collection of these values is written in flow style whatever surrounds it.
    fn is_leaf<'v>(&self, mut values: impl ExactSizeIterator<Item = &'v Value>) -> bool {
        let scalar = |value: &Value| !matches!(value.data, Data::List(_) | Data::Map(_));
        values.len() == 0 || (self.style.flow_leaves && values.all(scalar))
    }

    fn in_flow(&self) -> bool {
        self.style.flow || self.flow_level > 0
    }

    fn block_list(&mut self, items: &[Value], place: Place) {
        let indentless = place == Place::Value && !self.indention && !self.style.indent_lists;
        self.deeper(false, indentless, |w| {
            for item in items {
                w.go_to_indent();
                w.indicator("-", true, true, false);
                w.node(item, Place::Item);
            }
        });
    }

    fn block_map(&mut self, map: &Map) {
        let entries = self.entries(map);
        self.deeper(false, false, |w| {
            for (key, value) in entries {
                w.go_to_indent();
                if w.is_simple(key) {
                    w.key(key, Place::SimpleKey);
                    w.indicator(":", false, false, false);
                } else {
                    w.indicator("?", true, true, false);
                    w.key(key, Place::LongKey);
                    w.go_to_indent();
                    w.indicator(":", true, true, false);
                }
                w.node(value, Place::Value);
            }
        });
    }

    fn flow_list(&mut self, items: &[Value]) {
        self.indicator("[", true, false, true);
        self.flow_level += 1;
        self.deeper(true, false, |w| {
            for (n, item) in items.iter().enumerate() {
                w.separate(n);
                w.node(item, Place::Item);
            }
        });
        self.flow_level -= 1;
        self.indicator("]", false, false, false);
    }

    fn flow_map(&mut self, map: &Map) {
        let entries = self.entries(map);
        self.indicator("{", true, false, true);
        self.flow_level += 1;
        self.deeper(true, false, |w| {
            for (n, (key, value)) in entries.into_iter().enumerate() {
                w.separate(n);
                if w.is_simple(key) {
                    w.key(key, Place::SimpleKey);
                    w.indicator(":", false, false, false);
                } else {
                    w.indicator("?", true, false, false);
                    w.key(key, Place::LongKey);
                    w.indicator(":", true, false, false);
                }
                w.node(value, Place::Value);
            }
        });
        self.flow_level -= 1;
        self.indicator("}", false, false, false);
    }

    /// The comma before the `n`th item of a flow collection, and a fresh line where this one is full.
    fn separate(&mut self, n: usize) {
        if n > 0 {
            self.indicator(",", false, false, false);
        }
        if self.column > self.style.width {
            self.go_to_indent();
        }
    }

    fn entries<'m>(&self, map: &'m Map) -> Vec<(&'m Key, &'m Value)> {
        let mut entries: Vec<_> = map.iter().collect();
        // Python cannot compare keys of different types, and PyYAML then leaves them as they are.
        let strings = map.keys().all(|key| key.as_str().is_some());
        let numbers = map
            .keys()
            .all(|key| matches!(key.scalar, Scalar::Int(_) | Scalar::Bool(_) | Scalar::Float(_)));
        if self.style.sort_keys && strings {
            entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
        } else if self.style.sort_keys && numbers {
            entries.sort_by(|(a, _), (b, _)| number(a).total_cmp(&number(b)));
        }
        entries
    }

    fn key(&mut self, key: &Key, place: Place) {
        let (text, is_string) = key_text(key);
        self.scalar(&text, is_string, place);
    }

    /// Whether a key can stand before a `:` on one line.
    fn is_simple(&self, key: &Key) -> bool {
        let (text, _) = key_text(key);
        text.chars().count() < SIMPLE_KEY && !text.is_empty() && !text.contains('\n')
    }

    fn scalar(&mut self, text: &str, is_string: bool, place: Place) {
        let looks = Looks::of(text);
        // A scalar alone is in no flow, whatever style collections would have.
        let in_flow = self.flow_level > 0;
        let key = place == Place::SimpleKey;
        let plain_possible = if in_flow { looks.flow_plain } else { looks.block_plain };
        // On one line means on one line: line breaks are escaped there.
        let one_line = self.style.flow && self.style.width == usize::MAX && looks.breaks;
        self.deeper(true, false, |w| {
            if w.style.literal && is_string && !in_flow && !key && looks.literal {
                w.literal(text);
            } else if !is_string || (plain_possible && is_plain_string(text) && !text.is_empty()) {
                w.plain(text, !key);
            } else if looks.single_quoted && !(key && looks.breaks) && !one_line {
                w.single_quoted(text, !key);
            } else {
                w.double_quoted(text, !key);
            }
        });
    }

    fn plain(&mut self, text: &str, fold: bool) {
        if !self.whitespace {
            self.put(" ");
        }
        self.whitespace = false;
        self.indention = false;
        self.lines(text, fold);
    }

    fn single_quoted(&mut self, text: &str, fold: bool) {
        self.indicator("'", true, false, false);
        self.lines(&text.replace('\'', "''"), fold);
        self.indicator("'", false, false, false);
    }

    /// The lines as they are, indented; how many line breaks end them is told by the sign.
    fn literal(&mut self, text: &str) {
        let (text, sign) = match text.strip_suffix('\n') {
            None => (text, "|-"),
            Some(rest) if rest.ends_with('\n') => (rest, "|+"),
            Some(rest) => (rest, "|"),
        };
        self.indicator(sign, true, false, false);
        let indent = " ".repeat(self.indent.unwrap_or(0));
        for line in text.split('\n') {
            self.newline();
            if !line.is_empty() {
                self.put(&indent);
                self.put(line);
            }
        }
        self.whitespace = false;
        self.indention = false;
    }

    /// Text whose line breaks are doubled, as readers fold single ones; past the width a lone space becomes a line break.
    fn lines(&mut self, text: &str, fold: bool) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let kind = |c: char| (c == ' ', c == '\n');
            let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            let at_an_end = rest.len() == text.len() || after.is_empty();
            match first {
                '\n' => {
                    (0..=run.len()).for_each(|_| self.newline());
                    self.go_to_indent();
                }
                ' ' if run.len() == 1 && fold && !at_an_end && self.column > self.style.width => self.fold(),
                _ => self.put(run),
            }
            rest = after;
        }
    }

    /// Goes on with the same scalar on the next line.
    fn fold(&mut self) {
        self.go_to_indent();
        self.whitespace = false;
        self.indention = false;
    }

    /// As libyaml folds them, which is what PyYAML uses where it can: at a lone space, which the line break then stands for.
    fn double_quoted(&mut self, text: &str, fold: bool) {
        self.indicator("\"", true, false, false);
        let mut chars = text.chars().peekable();
        // Never at the first or the last character: nothing would be gained.
        let mut may_fold = false;
        while let Some(c) = chars.next() {
            match escape(c) {
                Some(escaped) => self.put(&escaped),
                None if c == ' ' && fold && may_fold && chars.peek().is_some() && self.column > self.style.width => {
                    self.fold();
                    if chars.peek() == Some(&' ') {
                        self.put("\\");
                    }
                }
                None => self.put(c.encode_utf8(&mut [0; 4])),
            }
            may_fold = c != ' ';
        }
        self.indicator("\"", false, false, false);
    }
}

/// Which styles a text can be written in.
struct Looks {
    block_plain: bool,
    flow_plain: bool,
    single_quoted: bool,
    /// It has line breaks.
    breaks: bool,
    /// It has, and its first line tells the indentation of all.
    literal: bool,
}

impl Looks {
    fn of(text: &str) -> Looks {
        // Signs that mean something in block style, and those that do in flow style only.
        let mut block_sign = text.starts_with("---") || text.starts_with("...");
        let mut flow_sign = false;
        let mut odd = false;
        let mut before = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let first = before.is_none();
            let space_after = chars.peek().is_none_or(|next| is_space(*next));
            match c {
                ':' | '?' => {
                    flow_sign = true;
                    block_sign |= space_after && (c == ':' || first);
                }
                ',' | '[' | ']' | '{' | '}' => {
                    flow_sign = true;
                    block_sign |= first;
                }
                '-' => block_sign |= first && space_after,
                '#' => block_sign |= before.is_none_or(is_space),
                '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => block_sign |= first,
                '\n' | ' '..='~' => {}
                _ => odd |= escape(c).is_some(),
            }
            before = Some(c);
        }
        let breaks = text.contains('\n');
        let edge = |c: char| c == ' ' || c == '\n';
        let plain = !(text.starts_with(edge) || text.ends_with(edge) || breaks || odd || block_sign);
        Looks {
            block_plain: plain,
            flow_plain: plain && !flow_sign,
            single_quoted: !odd && !text.contains("\n ") && !text.contains(" \n"),
            breaks,
            literal: breaks && !text.starts_with(edge) && !text.contains(|c| c != '\n' && c != '\t' && escape_needed(c)),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\0' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A character that only double quotes can hold.
fn escape_needed(c: char) -> bool {
    !matches!(c, '"' | '\\') && escape(c).is_some()
}

/// A character as double quotes need it, if they do not take it as it is.
fn escape(c: char) -> Option<String> {
    let letter = match c {
        '\0' => '0',
        '\x07' => 'a',
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' => return None,
        '\u{10000}'..='\u{10fffe}' => return None,
        _ if (c as u32) <= 0xff => return Some(format!("\\x{:02X}", c as u32)),
        _ if (c as u32) <= 0xffff => return Some(format!("\\u{:04X}", c as u32)),
        _ => return Some(format!("\\U{:08X}", c as u32)),
    };
    Some(format!("\\{letter}"))
}

/// A float as PyYAML writes it: its own readers want a dot before the exponent.
fn float(f: f64) -> String {
    if f.is_nan() {
        return ".nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = python_float(f);
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}

fn number(key: &Key) -> f64 {
    match key.scalar {
        Scalar::Int(n) => n as f64,
        Scalar::Bool(b) => f64::from(u8::from(b)),
        Scalar::Float(bits) => f64::from_bits(bits),
        Scalar::Null | Scalar::Str(_) => 0.0,
    }
}

/// A key's text, and whether it is a string, which may have to be quoted.
fn key_text(key: &Key) -> (String, bool) {
    match &key.scalar {
        Scalar::Null => ("null".to_owned(), false),
        Scalar::Bool(b) => (b.to_string(), false),
        Scalar::Int(n) => (n.to_string(), false),
        Scalar::Float(bits) => (float(f64::from_bits(*bits)), false),
        Scalar::Str(text) => (text.to_string(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compose::parse;
    use super::*;
    use crate::error::FileId;
    use proptest::prelude::*;

    fn read(text: &str) -> Value {
        parse(FileId::default(), text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    /// What PyYAML 6.0.3 makes of the same values.
    #[test]
    fn block_style_is_pyyamls() {
        let same = [
            "a: 1\nb:\n- x\n- - y\n  - z\n- k: v\n  l: w\nc:\n  d: {}\n  e: []\n",
            "- null\n- true\n- 1.5\n- .inf\n- 1.0e+16\n- 'yes'\n- '12'\n- '0644'\n- 08\n- y\n- 1e3\n- '2024-01-31'\n",
            "- ''\n- ' a'\n- 'a '\n- 'a: b'\n- a:b\n- '#x'\n- x#y\n- '- a'\n- -a\n- '*a'\n- '{}'\n- a,b\n- it's\n- '''q'\n- '@x'\n",
            "- 'two\n\n  lines'\n- 'ends with a break\n\n  '\n- \"a\\tb\"\n- \"a \\n b\"\n- é\n- \"\\e\"\n",
            "? ''\n: 1\n? 'two\n\n  lines'\n: 2\n1: 3\ntrue: 4\n'true': 5\n",
            "a: word word word word word word word word word word word word word word word word\n  word word word\n",
            "- '# word word word word word word word word word word word word word word word word\n  word word word'\n",
            "- \"\\tword word word word word word word word word word word word word word word word\n  word word word\"\n",
        ];
        for text in same {
            assert_eq!(emit(&read(text)), *text);
        }
    }

    #[test]
    fn flow_style_stays_on_one_line() {
        let cases = [
            ("a: [1, x, 'y: z']\nb: {c: null}\n", "{a: [1, x, 'y: z'], b: {c: null}}"),
            ("- \"a\\nb\"\n- a,b\n- a:b\n- []\n", "[\"a\\nb\", 'a,b', 'a:b', []]"),
            ("word", "word"),
        ];
        for (text, expected) in cases {
            assert_eq!(emit_flow(&read(text)), expected);
        }
    }

    #[test]
    fn keys_and_lists_can_be_laid_out_otherwise() {
        let value = read("b: [1, 2]\na: 1\n");
        let style = Style {
            sort_keys: true,
            indent_lists: true,
            ..Style::BLOCK
        };
        assert_eq!(emit_with(&value, style), "a: 1\nb:\n  - 1\n  - 2\n");
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,12}",
            "[a-z:#'\"\\\\ \n\t{}\\[\\],?!&*|>%@`~=<.0-9-]{0,10}",
            "([a-z'#]{0,9} {1,2}){0,20}",
            proptest::collection::vec(any::<char>(), 0..6).prop_map(|chars| chars.into_iter().collect::<String>()),
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::default()),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("equal to itself", |f| !f.is_nan())
                .prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        let key = prop_oneof![4 => text().prop_map(Key::from), 1 => any::<i64>().prop_map(|n| Key::from(Scalar::Int(n)))];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|entries| Value::from(entries.into_iter().collect::<Map>())),
            ]
        })
    }

    #[test]
    fn readable_text_keeps_its_lines() {
        let text = "a: |\n  one\n    two\nb:\n- |-\n  x\n\n  y: #\n- |+\n  z\n\n- ' first is\n\n  indented'\nc: word word word word word word word word word word word word word word word word word word\n";
        assert_eq!(emit_with(&read(text), Style::READABLE), text);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn what_is_written_is_read_back(value in any_value(), flow: bool, indent_lists: bool, literal: bool) {
            let base = if flow { Style::FLOW } else { Style::BLOCK };
            let text = emit_with(&value, Style { indent_lists, literal, ..base });
            let back = parse(FileId::default(), &text);
            prop_assert_eq!(back.as_ref().ok(), Some(&value), "{}\n{:?}", text, back);
            prop_assert!(!flow || !text.contains('\n'));
        }
    }
}
