//! Typed arguments made of values, with errors that say which argument, what was expected, what was found, and where.
//!
//! Lenient where Salt's users rely on it: a number or boolean where text is wanted is the text as it was written; text where a
//! number or boolean is wanted is read as one. An argument without a value (`- user:`) counts as left out.

use super::mistake::Mistake;
use super::value::{Data, Key, Scalar, Value};
use crate::error::Result;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use std::cell::RefCell;

/// `value` as a `T`; what does not fit is an error at the place of the key or value that does not.
///
/// # Errors
/// An unknown argument (with the nearest known name), a missing one, one of the wrong type.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(De(value)).map_err(|e| e.at(value.at).into())
}

/// As [`from_value`], of a mapping's entry: mistakes say that they are about `key`.
///
/// # Errors
/// As [`from_value`].
pub fn from_entry<T: DeserializeOwned>(key: &Key, value: &Value) -> Result<T> {
    T::deserialize(De(value)).map_err(|e| e.at(value.at).at(key.at).named(key).into())
}

/// The names of newtypes that stand for what serde cannot ask for by itself.
pub(super) mod special {
    /// A [`Value`](super::Value) as it is.
    pub const VALUE: &str = "$picloud::Value";
    /// One or several: a list is visited as a sequence, everything else as `Some`.
    pub const ONE_OR_MANY: &str = "$picloud::OneOrMany";
    /// A mapping, or a list of mappings, visited as one map.
    pub const PAIRS: &str = "$picloud::Pairs";
}

thread_local! {
    /// The value on its way from [`De`] through serde's model, which has no word for it, to the visitor that asked for it.
    static IN_TRANSIT: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// What [`De`] has just handed over to a visitor that asked for [`special::VALUE`].
pub(super) fn take_in_transit() -> Option<Value> {
    IN_TRANSIT.take()
}

/// A value that serde reads.
#[derive(Clone, Copy)]
struct De<'a>(&'a Value);

impl<'a> De<'a> {
    /// What serde is told when the value is not of the type that it wants.
    fn unexpected(&self) -> Unexpected<'a> {
        match &self.0.data {
            Data::Null => Unexpected::Unit,
            Data::Bool(b) => Unexpected::Bool(*b),
            Data::Int(n) => Unexpected::Signed(*n),
            Data::Float(f) => Unexpected::Float(*f),
            Data::Str(text) => Unexpected::Str(text),
            Data::List(_) => Unexpected::Seq,
            Data::Map(_) => Unexpected::Map,
        }
    }

    fn mismatch<T>(&self, expected: &dyn Expected) -> Result<T, Mistake> {
        Err(de::Error::invalid_type(self.unexpected(), expected))
    }

    /// The value as a whole number, if that is what it is meant to be.
    fn whole(&self) -> Option<i64> {
        match &self.0.data {
            Data::Int(n) => Some(*n),
            // Exact as long as the float is: 2^53.
            Data::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(*f as i64),
            Data::Str(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

fn placed<T>(value: &Value, result: Result<T, Mistake>) -> Result<T, Mistake> {
    result.map_err(|e| e.at(value.at))
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
            placed(self.0, match self.whole() {
                Some(n) if n < 0 => visitor.visit_i64(n),
                Some(n) => visitor.visit_u64(n.unsigned_abs()),
                None => self.mismatch(&visitor),
            })
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
            placed(self.0, match &self.0.data {
                Data::Str(text) => visitor.visit_str(text),
                Data::Bool(_) | Data::Int(_) | Data::Float(_) => {
                    visitor.visit_string(self.0.scalar_text().unwrap_or_default())
                }
                Data::Null | Data::List(_) | Data::Map(_) => self.mismatch(&visitor),
            })
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        placed(
            self.0,
            match &self.0.data {
                Data::Null => visitor.visit_unit(),
                Data::Bool(b) => visitor.visit_bool(*b),
                Data::Int(n) => visitor.visit_i64(*n),
                Data::Float(f) => visitor.visit_f64(*f),
                Data::Str(text) => visitor.visit_str(text),
                Data::List(items) => visitor.visit_seq(Items(items.iter())),
                Data::Map(map) => visitor.visit_map(Entries::new(map.iter(), None)),
            },
        )
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let found = match &self.0.data {
            Data::Bool(b) => Some(*b),
            Data::Int(n @ 0..=1) => Some(*n == 1),
            Data::Str(text) => match &*text.trim().to_ascii_lowercase() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        placed(
            self.0,
            match found {
                Some(b) => visitor.visit_bool(b),
                None => self.mismatch(&visitor),
            },
        )
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let found = match &self.0.data {
            Data::Float(f) => Some(*f),
            Data::Int(n) => Some(*n as f64),
            Data::Str(text) => text.trim().parse().ok(),
            _ => None,
        };
        placed(
            self.0,
            match found {
                Some(f) => visitor.visit_f64(f),
                None => self.mismatch(&visitor),
            },
        )
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_f64(visitor)
    }

    texts! { deserialize_str deserialize_string deserialize_char deserialize_bytes deserialize_byte_buf deserialize_identifier }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if self.0.is_null() {
            visitor.visit_unit()
        } else {
            placed(self.0, self.mismatch(&visitor))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        let result = match (name, &self.0.data) {
            (special::VALUE, _) => {
                IN_TRANSIT.set(Some(self.0.clone()));
                visitor.visit_unit()
            }
            (special::ONE_OR_MANY, Data::List(items)) => visitor.visit_seq(Items(items.iter())),
            (special::ONE_OR_MANY, _) => visitor.visit_some(self),
            (special::PAIRS, Data::Map(map)) => visitor.visit_map(Entries::new(map.iter(), None)),
            (special::PAIRS, Data::List(items)) => match items.iter().find(|item| item.as_map().is_none()) {
                Some(other) => placed(other, De(other).mismatch(&"a mapping, or a list of mappings")),
                None => visitor.visit_map(Entries::new(items.iter().filter_map(Value::as_map).flatten(), None)),
            },
            (special::PAIRS, _) => self.mismatch(&"a mapping, or a list of mappings"),
            _ => visitor.visit_newtype_struct(self),
        };
        placed(self.0, result)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        placed(
            self.0,
            match &self.0.data {
                Data::List(items) => visitor.visit_seq(Items(items.iter())),
                _ => self.mismatch(&visitor),
            },
        )
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        placed(
            self.0,
            match &self.0.data {
                Data::Map(map) => visitor.visit_map(Entries::new(map.iter(), None)),
                _ => self.mismatch(&visitor),
            },
        )
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        placed(
            self.0,
            match &self.0.data {
                Data::Map(map) => visitor.visit_map(Entries::new(map.iter(), Some(fields))),
                _ => self.mismatch(&visitor),
            },
        )
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let result = match &self.0.data {
            Data::Map(map) if map.len() == 1 => match map.first() {
                Some((key, value)) => visitor.visit_enum(Variant { key, value }),
                None => self.mismatch(&visitor),
            },
            Data::Str(text) => visitor.visit_enum(StrDeserializer::<Mistake>::new(text)),
            Data::Bool(_) | Data::Int(_) | Data::Float(_) => {
                let text = match self.0.data {
                    // `True` and `true` are the same word.
                    Data::Bool(b) if self.0.raw.is_none() => b.to_string(),
                    _ => self.0.scalar_text().unwrap_or_default(),
                };
                visitor.visit_enum(text.into_deserializer())
            }
            Data::Null | Data::List(_) | Data::Map(_) => self.mismatch(&visitor),
        };
        placed(self.0, result)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_unit()
    }
}

struct Items<'a>(std::slice::Iter<'a, Value>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        match self.0.next() {
            Some(value) => placed(value, seed.deserialize(De(value))).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'a, I> {
    entries: I,
    /// The names of a struct's fields, where it is one.
    fields: Option<&'static [&'static str]>,
    current: Option<(&'a Key, &'a Value)>,
}

impl<'a, I: Iterator<Item = (&'a Key, &'a Value)>> Entries<'a, I> {
    fn new(entries: I, fields: Option<&'static [&'static str]>) -> Self {
        Entries {
            entries,
            fields,
            current: None,
        }
    }
}

impl<'de, 'a, I: Iterator<Item = (&'a Key, &'a Value)>> de::MapAccess<'de> for Entries<'a, I> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let fields = self.fields;
        // An argument without a value is one that was left out; but an unknown one is still told.
        let left_out = |key: &Key, value: &Value| {
            value.is_null() && fields.is_some_and(|fields| key.as_str().is_some_and(|key| fields.contains(&key)))
        };
        self.current = self.entries.find(|(key, value)| !left_out(key, value));
        match self.current {
            Some((key, _)) => seed.deserialize(KeyDe(key)).map_err(|e| e.at(key.at)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mistake> {
        let Some((key, value)) = self.current.take() else {
            return Err(Mistake::new("internal: a value was asked for before its key"));
        };
        placed(value, seed.deserialize(De(value))).map_err(|e| e.at(key.at).named(key))
    }
}

/// A mapping's key that serde reads.
struct KeyDe<'a>(&'a Key);

impl<'de> Deserializer<'de> for KeyDe<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.scalar {
            Scalar::Null => visitor.visit_unit(),
            Scalar::Bool(b) => visitor.visit_bool(*b),
            Scalar::Int(n) => visitor.visit_i64(*n),
            Scalar::Float(bits) => visitor.visit_f64(f64::from_bits(*bits)),
            Scalar::Str(text) => visitor.visit_str(text),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_str(&self.0.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_enum(self.0.text().into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}

/// `{variant: value}`.
struct Variant<'a> {
    key: &'a Key,
    value: &'a Value,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Mistake;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mistake> {
        let variant = seed.deserialize(KeyDe(self.key)).map_err(|e| e.at(self.key.at))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        de::Deserialize::deserialize(De(self.value))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mistake> {
        placed(self.value, seed.deserialize(De(self.value)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Mistake> {
        De(self.value).deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Mistake> {
        De(self.value).deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::FileId;
    use crate::yaml::{Mode, ModeOrKeep, OneOrMany, Pairs, Value, from_value, parse};
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Managed {
        name: String,
        user: Option<String>,
        mode: Option<Mode>,
        file_mode: Option<ModeOrKeep>,
        port: u16,
        ratio: f64,
        makedirs: bool,
        unless: OneOrMany<String>,
        pkgs: Vec<String>,
        env: Pairs<String>,
        labels: BTreeMap<String, String>,
        kind: Kind,
        data: Value,
        inner: Option<Inner>,
    }

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Plain,
        Yes,
        Other(u8),
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        attempts: u32,
    }

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> crate::error::Result<T> {
        from_value(&parse(FileId::of("t.sls"), text)?)
    }

    #[test]
    fn arguments_are_read_as_they_are_meant() {
        let with = |change: fn(&mut Managed)| {
            let mut managed = Managed::default();
            change(&mut managed);
            managed
        };
        let cases: [(&str, Managed); 18] = [
            ("name: 0644", with(|m| m.name = "0644".into())),
            ("name: yes", with(|m| m.name = "yes".into())),
            ("name: 1.10", with(|m| m.name = "1.10".into())),
            ("name:", with(|_| ())),
            ("user: 1000", with(|m| m.user = Some("1000".into()))),
            ("mode: 0644", with(|m| m.mode = Some(Mode(0o644)))),
            ("mode: '0644'", with(|m| m.mode = Some(Mode(0o644)))),
            ("mode: 2755", with(|m| m.mode = Some(Mode(0o2755)))),
            (
                "{mode: 0o600, file_mode: keep}",
                with(|m| (m.mode, m.file_mode) = (Some(Mode(0o600)), Some(ModeOrKeep::Keep))),
            ),
            (
                "{port: '80', ratio: 1, makedirs: 'True'}",
                with(|m| (m.port, m.ratio, m.makedirs) = (80, 1.0, true)),
            ),
            (
                "{port: 80.0, ratio: '0.5', makedirs: 1}",
                with(|m| (m.port, m.ratio, m.makedirs) = (80, 0.5, true)),
            ),
            (
                "unless: test -e /x",
                with(|m| m.unless = OneOrMany(vec!["test -e /x".into()])),
            ),
            ("unless: [1, b]", with(|m| m.unless = OneOrMany(vec!["1".into(), "b".into()]))),
            ("pkgs: [vim, 3.10]", with(|m| m.pkgs = vec!["vim".into(), "3.10".into()])),
            (
                "env: [{A: 1}, {B: x, C: y}]",
                with(|m| {
                    m.env = Pairs(vec![
                        ("A".into(), "1".into()),
                        ("B".into(), "x".into()),
                        ("C".into(), "y".into()),
                    ])
                }),
            ),
            (
                "{env: {A: 1}, labels: {80: yes}}",
                with(|m| {
                    m.env = Pairs(vec![("A".into(), "1".into())]);
                    m.labels = [("80".into(), "yes".into())].into();
                }),
            ),
            ("kind: yes", with(|m| m.kind = Kind::Yes)),
            (
                "{kind: {other: 5}, inner: {attempts: 3}}",
                with(|m| (m.kind, m.inner) = (Kind::Other(5), Some(Inner { attempts: 3 }))),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                read::<Managed>(text).unwrap_or_else(|e| panic!("{text}: {e}")),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_value_keeps_its_place_and_its_text() {
        let managed: Managed = read("data:\n  mode: 0644\n").unwrap();
        let mode = managed.data.get("mode").unwrap();
        assert_eq!((mode.at.line, mode.at.column, mode.raw.as_deref()), (2, 9, Some("0644")));
        let json: Value = serde_json::from_str(r#"{"a": [1, null, "x"]}"#).unwrap();
        assert_eq!(json, read::<Value>("a: [1, ~, x]").unwrap());
    }

    #[test]
    fn mistakes_say_which_argument_and_where() {
        let cases = [
            ("name: x\nusr: y\n", "t.sls:2:1: unknown argument `usr`"),
            ("name: [x]\n", "t.sls:1:7: `name`: expected a string, found a list"),
            (
                "mode: 0689\n",
                "t.sls:1:7: `mode`: expected a file mode in octal such as `0644`, found `0689`",
            ),
            (
                "mode: {}\n",
                "t.sls:1:7: `mode`: expected a file mode in octal such as `0644`, found a mapping",
            ),
            (
                "port: 70000\n",
                "t.sls:1:7: `port`: expected a whole number from 0 to 65535, found the number 70000",
            ),
            (
                "port: http\n",
                "t.sls:1:7: `port`: expected a whole number from 0 to 65535, found `http`",
            ),
            (
                "makedirs: maybe\n",
                "t.sls:1:11: `makedirs`: expected a boolean, found `maybe`",
            ),
            ("pkgs: vim\n", "t.sls:1:7: `pkgs`: expected a list, found `vim`"),
            (
                "pkgs: [a, {b: c}]\n",
                "t.sls:1:11: `pkgs`: expected a string, found a mapping",
            ),
            (
                "env: [a]\n",
                "t.sls:1:7: `env`: expected a mapping, or a list of mappings, found `a`",
            ),
            ("labels: [a]\n", "t.sls:1:9: `labels`: expected a mapping, found a list"),
            ("kind: plan\n", "t.sls:1:7: `kind`: `plan` is not possible here"),
            ("inner: {}\n", "t.sls:1:8: `inner`: the argument `attempts` is missing"),
            ("inner: {attemts: 1}\n", "t.sls:1:9: unknown argument `attemts`"),
            (
                "inner: {attempts: x}\n",
                "t.sls:1:19: `attempts`: expected a whole number from 0 to 4294967295, found `x`",
            ),
            ("- a\n", "t.sls:1:1: expected a mapping, found a list"),
        ];
        for (text, expected) in cases {
            assert_eq!(read::<Managed>(text).unwrap_err().to_string(), expected, "{text}");
        }
        let error = read::<Managed>("kind: plan").unwrap_err();
        assert_eq!(
            error.diagnostics()[0].hints,
            ["did you mean `plain`?", "possible are `plain`, `yes` and `other`"]
        );
        let error = read::<Inner>("atempts: 1").unwrap_err();
        assert_eq!(
            error.diagnostics()[0].hints,
            ["did you mean `attempts`?", "known are `attempts`"]
        );
    }

    #[test]
    fn schemas_say_what_is_taken() {
        let schema = |schema: schemars::Schema| {
            let mut schema = serde_json::to_value(schema).unwrap();
            schema
                .as_object_mut()
                .unwrap()
                .retain(|key, _| key != "$schema" && key != "title");
            schema.to_string()
        };
        assert_eq!(
            schema(schemars::schema_for!(OneOrMany<String>)),
            r#"{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]}"#
        );
        assert_eq!(
            schema(schemars::schema_for!(Mode)),
            r#"{"type":["string","integer"],"pattern":"^(0o)?[0-7]{1,5}$","examples":["0644"]}"#
        );
    }
}
