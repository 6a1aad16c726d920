//! Values in serde's model and in JSON Schema's.

use super::de::{special, take_in_transit};
use super::value::{Data, Key, Map, Scalar, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::fmt;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.data {
            Data::Null => serializer.serialize_unit(),
            Data::Bool(b) => serializer.serialize_bool(*b),
            Data::Int(n) => serializer.serialize_i64(*n),
            Data::Float(f) => serializer.serialize_f64(*f),
            Data::Str(text) => serializer.serialize_str(text),
            Data::List(items) => serializer.collect_seq(items),
            Data::Map(map) => {
                let mut entries = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    entries.serialize_entry(&key.text(), value)?;
                }
                entries.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    /// Through [`from_value`](super::from_value) the value comes as it is, with positions and raw text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Asks;

        impl<'de> Visitor<'de> for Asks {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(take_in_transit().unwrap_or_default())
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::default())
            }

            fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Value, D::Error> {
                some.deserialize_any(Asks)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, other: D) -> Result<Value, D::Error> {
                other.deserialize_any(Asks)
            }

            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(b.into())
            }

            fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
                Ok(n.into())
            }

            fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
                Ok(whole(n))
            }

            fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
                Ok(f.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(text.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Value>()? {
                    list.push(item);
                }
                Ok(list.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = entries.next_entry::<Value, Value>()? {
                    map.insert(as_key(key), value);
                }
                Ok(map.into())
            }
        }

        deserializer.deserialize_newtype_struct(special::VALUE, Asks)
    }
}

/// A key made of a value; what cannot be one becomes its text.
fn as_key(value: Value) -> Key {
    let scalar = match value.data {
        Data::Null => Scalar::Null,
        Data::Bool(b) => Scalar::Bool(b),
        Data::Int(n) => Scalar::Int(n),
        Data::Float(f) => Scalar::Float(f.to_bits()),
        Data::Str(text) => Scalar::Str(text),
        other @ (Data::List(_) | Data::Map(_)) => Scalar::Str(format!("{other:?}").into()),
    };
    Key { scalar, at: value.at }
}

/// Integers too great for us are kept exactly, as text.
fn whole(n: u64) -> Value {
    match i64::try_from(n) {
        Ok(n) => n.into(),
        Err(_) => n.to_string().into(),
    }
}

impl JsonSchema for Value {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}
