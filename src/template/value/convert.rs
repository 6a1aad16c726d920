//! The data of the other rooms as template values, and back.

use super::{DEEPEST, dict, fail, is_mapping, is_sequence_like, items, list, pairs, text};
use crate::yaml::{Data, Key, Map, Scalar, Value as Yaml};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// `value` for templates; lists and mappings become changeable ones that share nothing with `value`. Positions are lost.
pub fn to_template(value: &Yaml) -> Value {
    match &value.data {
        Data::Null => Value::from(()),
        Data::Bool(b) => Value::from(*b),
        Data::Int(n) => Value::from(*n),
        Data::Float(f) => Value::from(*f),
        Data::Str(s) => Value::from(s.clone()),
        Data::List(items) => list(items.iter().map(to_template).collect()),
        Data::Map(map) => dict(map.iter().map(|(key, value)| (key_to_template(key), to_template(value)))),
    }
}

fn key_to_template(key: &Key) -> Value {
    match &key.scalar {
        Scalar::Null => Value::from(()),
        Scalar::Bool(b) => Value::from(*b),
        Scalar::Int(n) => Value::from(*n),
        Scalar::Float(bits) => Value::from(f64::from_bits(*bits)),
        Scalar::Str(s) => Value::from(s.clone()),
    }
}

/// `value` as data.
///
/// # Errors
/// An undefined value in it, a function, a key that is a list, or a nesting that is too deep.
pub fn from_template(value: &Value) -> Result<Yaml, Error> {
    below(value, 0)
}

fn below(value: &Value, depth: usize) -> Result<Yaml, Error> {
    if depth > DEEPEST + 8 {
        return Err(fail("the value is nested too deep"));
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(super::undefined(value)),
        ValueKind::None => Data::Null.into(),
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match value.as_i64() {
            Some(int) if value.is_integer() => int.into(),
            _ => f64::try_from(value.clone())?.into(),
        },
        ValueKind::String => value.as_str().unwrap_or_default().into(),
        ValueKind::Bytes => String::from_utf8_lossy(value.as_bytes().unwrap_or_default())
            .into_owned()
            .into(),
        _ if is_mapping(value) => {
            let mut map = Map::new();
            for (key, value) in pairs(value).unwrap_or_default() {
                map.insert(key_from_template(&key)?, below(&value, depth + 1)?);
            }
            map.into()
        }
        _ if is_sequence_like(value) => items(value)?
            .iter()
            .map(|item| below(item, depth + 1))
            .collect::<Result<Vec<Yaml>, Error>>()?
            .into(),
        // What else there is prints itself: a module, a macro.
        _ => text(value).into(),
    })
}

fn key_from_template(key: &Value) -> Result<Key, Error> {
    Ok(match key.kind() {
        ValueKind::None => Scalar::Null.into(),
        ValueKind::Bool => Scalar::Bool(key.is_true()).into(),
        ValueKind::Number => match key.as_i64() {
            Some(int) if key.is_integer() => Scalar::Int(int).into(),
            _ => Scalar::Float(f64::try_from(key.clone())?.to_bits()).into(),
        },
        ValueKind::String => key.as_str().unwrap_or_default().into(),
        _ => return Err(fail(format!("{} cannot be a key in YAML or JSON", super::repr(key)))),
    })
}

/// `value` with all mappings sorted by key, as Salt's serializers print them; lists and views become plain lists.
pub fn sorted(value: &Yaml) -> Yaml {
    match &value.data {
        Data::List(items) => items.iter().map(sorted).collect::<Vec<_>>().into(),
        Data::Map(map) => {
            let mut pairs: Vec<(&Key, Yaml)> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            // Python refuses to sort keys of different types, and then leaves them as they are.
            let all_text = pairs.iter().all(|(key, _)| key.as_str().is_some());
            let all_numbers = pairs
                .iter()
                .all(|(key, _)| matches!(key.scalar, Scalar::Int(_) | Scalar::Float(_) | Scalar::Bool(_)));
            if all_text {
                pairs.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
            } else if all_numbers {
                pairs.sort_by(|(a, _), (b, _)| number(a).total_cmp(&number(b)));
            }
            pairs
                .into_iter()
                .map(|(key, value)| (key.clone(), value))
                .collect::<Map>()
                .into()
        }
        _ => value.clone(),
    }
}

fn number(key: &Key) -> f64 {
    match key.scalar {
        Scalar::Int(n) => n as f64,
        Scalar::Float(bits) => f64::from_bits(bits),
        Scalar::Bool(b) => f64::from(u8::from(b)),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_survives_the_way_there_and_back() {
        let mut map = Map::new();
        map.insert(
            "a".into(),
            vec![Yaml::from(1_i64), 2.5.into(), true.into(), Data::Null.into()].into(),
        );
        map.insert(Key::from(Scalar::Int(3)), "text".into());
        let value = Yaml::from(map);
        assert_eq!(from_template(&to_template(&value)).unwrap(), value);
        assert_eq!(
            super::super::repr(&to_template(&value)),
            "{'a': [1, 2.5, True, None], 3: 'text'}"
        );
    }
}
