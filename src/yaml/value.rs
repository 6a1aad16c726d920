//! The value that all rooms share: pillar, grains, arguments, results.

use crate::error::Pos;
use indexmap::map::MutableKeys;
use indexmap::{Equivalent, IndexMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A YAML value. Equality looks at the data alone, not at the position or the raw text.
#[derive(Clone, Default)]
pub struct Value {
    pub data: Data,
    /// Where it was written; unknown for values that were computed.
    pub at: Pos,
    /// A plain (unquoted) scalar's text as written, where it differs from how `data` prints: `0644` is the number 644 to Salt,
    /// and only the argument that it is given to knows that it means a mode.
    pub raw: Option<Arc<str>>,
}

#[derive(Clone, PartialEq, Default)]
pub enum Data {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Vec<Value>),
    Map(Map),
}

/// A mapping in the order in which it was written.
pub type Map = IndexMap<Key, Value>;

/// A mapping's key with its position; `map.get("name")` finds a string key.
#[derive(Clone)]
pub struct Key {
    pub scalar: Scalar,
    pub at: Pos,
}

/// What may be a mapping's key.
#[derive(Clone, PartialEq, Eq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// A float's bits, as keys are compared exactly.
    Float(u64),
    Str(Arc<str>),
}

impl Value {
    pub fn map() -> Value {
        Data::Map(Map::new()).into()
    }

    pub fn at(mut self, at: Pos) -> Value {
        self.at = at;
        self
    }

    /// Moves the place of every key and value in it.
    pub fn move_places(&mut self, to: &mut impl FnMut(Pos) -> Pos) {
        self.at = to(self.at);
        match &mut self.data {
            Data::List(items) => items.iter_mut().for_each(|item| item.move_places(to)),
            Data::Map(map) => {
                for (key, value) in map.iter_mut2() {
                    key.at = to(key.at);
                    value.move_places(to);
                }
            }
            _ => {}
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Str(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self.data {
            Data::Int(n) => Some(n),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.data {
            Data::Bool(b) => Some(b),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match &self.data {
            Data::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The value under a string key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// Walks `a:b:c` as Salt does: mappings by key (string, else integer), lists by index.
    pub fn traverse(&self, path: &str, delimiter: &str) -> Option<&Value> {
        path.split(delimiter).try_fold(self, |value, step| match &value.data {
            Data::Map(map) => map.get(step).or_else(|| map.get(&Key::from(Scalar::Int(step.parse().ok()?)))),
            Data::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// What kind of value it is, in the words of an error message.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Str(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// A scalar's text: the raw text where it was kept, else as Python's `str` prints it. `None` for lists and mappings.
    pub fn scalar_text(&self) -> Option<String> {
        if let Some(raw) = &self.raw {
            return Some(raw.to_string());
        }
        Some(match &self.data {
            Data::Null => "None".to_owned(),
            Data::Bool(true) => "True".to_owned(),
            Data::Bool(false) => "False".to_owned(),
            Data::Int(n) => n.to_string(),
            Data::Float(f) => python_float(*f),
            Data::Str(s) => s.to_string(),
            Data::List(_) | Data::Map(_) => return None,
        })
    }
}

/// A float as Python's `repr` prints it: `1.0`, `1e+16`.
pub fn python_float(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{f:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let text = f.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.data == other.data
    }
}

impl Key {
    /// The key's text, as it is shown and as JSON has it.
    pub fn text(&self) -> String {
        match &self.scalar {
            Scalar::Null => "None".to_owned(),
            Scalar::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
            Scalar::Int(n) => n.to_string(),
            Scalar::Float(bits) => python_float(f64::from_bits(*bits)),
            Scalar::Str(s) => s.to_string(),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.scalar {
            Scalar::Str(s) => Some(s),
            _ => None,
        }
    }
}

impl From<Scalar> for Key {
    fn from(scalar: Scalar) -> Key {
        Key {
            scalar,
            at: Pos::default(),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Scalar::Str(text.into()).into()
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Scalar::Str(text.into()).into()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.scalar == other.scalar
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A string key must hash as its text does, or `map.get("name")` would not find it.
        match &self.scalar {
            Scalar::Str(s) => s.hash(state),
            Scalar::Null => 0u8.hash(state),
            Scalar::Bool(b) => b.hash(state),
            Scalar::Int(n) => n.hash(state),
            Scalar::Float(bits) => bits.hash(state),
        }
    }
}

impl Equivalent<Key> for str {
    fn equivalent(&self, key: &Key) -> bool {
        key.as_str() == Some(self)
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Value {
        Value {
            data,
            at: Pos::default(),
            raw: None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $data:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Value {
                $data.into()
            }
        }
    )*};
}

value_from! {
    bool => |b| Data::Bool(b);
    i64 => |n| Data::Int(n);
    i32 => |n| Data::Int(n.into());
    u32 => |n| Data::Int(n.into());
    f64 => |f| Data::Float(f);
    &str => |s| Data::Str(s.into());
    String => |s| Data::Str(s.into());
    Vec<Value> => |items| Data::List(items);
    Map => |map| Data::Map(map);
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.data {
            Data::Null => f.write_str("null"),
            Data::Bool(b) => b.fmt(f),
            Data::Int(n) => n.fmt(f),
            Data::Float(x) => x.fmt(f),
            Data::Str(s) => s.fmt(f),
            Data::List(items) => f.debug_list().entries(items).finish(),
            Data::Map(map) => f.debug_map().entries(map.iter().map(|(k, v)| (k.text(), v))).finish(),
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Value::from(self.clone()).fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}
