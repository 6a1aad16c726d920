//! Types of arguments that Salt's users write in several ways: one or many, modes, pairs.

use super::de::special;
use super::value::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// One `T`, or a list of them: `unless: test -e /x` and `unless: [test -e /x, test -e /y]`.
#[derive(Clone, PartialEq, Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> IntoIterator for OneOrMany<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Asks<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Asks<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("one value or a list")
            }

            fn visit_some<D: Deserializer<'de>>(self, one: D) -> Result<Self::Value, D::Error> {
                T::deserialize(one).map(|one| OneOrMany(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::with_capacity(items.size_hint().unwrap_or(0));
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany(many))
            }

            // Another deserializer than ours, or ours behind a `flatten`: it does not know the special name.
            fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Self::Value, D::Error> {
                let value = Value::deserialize(any)?;
                super::from_value(&value).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_newtype_struct(special::ONE_OR_MANY, Asks(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// Names and values in order, from a mapping or from a list of mappings: `env: {A: b}` and `env: [{A: b}]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Pairs<T>(pub Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Pairs(Vec::new())
    }
}

impl<T> std::ops::Deref for Pairs<T> {
    type Target = Vec<(String, T)>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Asks<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Asks<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping, or a list of mappings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::with_capacity(entries.size_hint().unwrap_or(0));
                while let Some((name, value)) = entries.next_entry::<String, T>()? {
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Self::Value, D::Error> {
                let value = Value::deserialize(any)?;
                super::from_value(&value).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_newtype_struct(special::PAIRS, Asks(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Pairs<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Pairs_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let map = json_schema!({"type": "object", "additionalProperties": one});
        json_schema!({"anyOf": [map, {"type": "array", "items": map}]})
    }
}

/// A file mode: `0644`, `'0644'` and `644` all mean the octal number 644, as in `chmod`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mode(pub u32);

impl Mode {
    /// The mode that `text` writes in octal, up to 7777; `0o644` is understood too.
    pub fn parse(text: &str) -> Option<Mode> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o7777)?;
        Some(Mode(bits))
    }
}

impl fmt::Display for Mode {
    /// Four digits, as Salt's comments have it: `0644`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn mode<E: de::Error>(value: &Value) -> Result<Mode, E> {
    let text = value.scalar_text();
    let mode = text.as_deref().filter(|_| !value.is_null()).and_then(Mode::parse);
    mode.ok_or_else(|| {
        let found = match text {
            Some(text) => format!("`{text}`"),
            None => value.kind().to_owned(),
        };
        E::custom(format!("expected a file mode in octal such as `0644`, found {found}"))
    })
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        mode(&Value::deserialize(deserializer)?)
    }
}

fn mode_schema(pattern: &str) -> Schema {
    json_schema!({
        "type": ["string", "integer"],
        "pattern": pattern,
        "examples": ["0644"],
    })
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        mode_schema("^(0o)?[0-7]{1,5}$")
    }
}

/// A file mode, or `keep`: that of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModeOrKeep {
    Keep,
    Mode(Mode),
}

impl<'de> Deserialize<'de> for ModeOrKeep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.as_str() {
            Some("keep") => Ok(ModeOrKeep::Keep),
            _ => mode(&value).map(ModeOrKeep::Mode),
        }
    }
}

impl JsonSchema for ModeOrKeep {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ModeOrKeep".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        mode_schema("^((0o)?[0-7]{1,5}|keep)$")
    }
}
