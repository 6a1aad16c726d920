//! Values as JSON and back: caches, `--out json`, grains and pillar files.

use super::value::{Data, Map, Value};
use serde_json::Value as Json;

impl From<&Value> for Json {
    /// Keys become their text; numbers that JSON has not (`nan`, `inf`) become strings.
    fn from(value: &Value) -> Json {
        match &value.data {
            Data::Null => Json::Null,
            Data::Bool(b) => Json::Bool(*b),
            Data::Int(n) => Json::from(*n),
            Data::Float(f) => {
                serde_json::Number::from_f64(*f).map_or_else(|| Json::String(super::value::python_float(*f)), Json::Number)
            }
            Data::Str(s) => Json::String(s.to_string()),
            Data::List(items) => Json::Array(items.iter().map(Json::from).collect()),
            Data::Map(map) => Json::Object(map.iter().map(|(key, value)| (key.text(), Json::from(value))).collect()),
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Data::Null,
            Json::Bool(b) => Data::Bool(*b),
            Json::Number(n) => n
                .as_i64()
                .map_or_else(|| Data::Float(n.as_f64().unwrap_or_default()), Data::Int),
            Json::String(s) => Data::Str(s.as_str().into()),
            Json::Array(items) => Data::List(items.iter().map(Value::from).collect()),
            Json::Object(map) => Data::Map(
                map.iter()
                    .map(|(key, value)| (key.as_str().into(), Value::from(value)))
                    .collect::<Map>(),
            ),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_as_it_went() {
        let json = serde_json::json!({"a": [1, 2.5, null, true, "x"], "b": {"c": {}}, "n": -3});
        assert_eq!(Json::from(&Value::from(&json)), json);
    }
}
