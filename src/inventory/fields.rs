//! A mapping read field by field, with every mistake in it collected rather than the first.

use crate::error::{Error, Pos, Result};
use crate::yaml::{Data, Key, Map, Value};
use std::time::Duration;

/// The fields of one mapping. Each is taken by name; what is left over at the end is unknown.
pub(super) struct Fields<'a> {
    map: &'a Map,
    known: Vec<&'static str>,
    errors: Vec<Error>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(map: &'a Map) -> Fields<'a> {
        Fields {
            map,
            known: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The value of `name`; nothing where it is missing or null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// `name` as `read` makes it; `expected` says what it should be.
    fn read<T>(&mut self, name: &'static str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(name, value, expected);
        }
        read
    }

    fn wrong(&mut self, name: &str, value: &Value, expected: &str) {
        let found = match value.scalar_text() {
            Some(text) => format!("`{text}`"),
            None => value.kind().to_owned(),
        };
        self.error(Error::usage(format!("`{name}` must be {expected}, not {found}")).at(value.at));
    }

    pub(super) fn error(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// A string that is not empty; a number's text will do, as `user: 1000` is meant as it stands.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "a string", text)
    }

    /// One string or a list of them.
    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let read = |value: &Value| match value.as_list() {
            Some(items) => items.iter().map(text).collect(),
            None => text(value).map(|one| vec![one]),
        };
        self.read(name, "a string or a list of strings", read).unwrap_or_default()
    }

    pub(super) fn port(&mut self, name: &'static str) -> Option<u16> {
        let read = |value: &Value| text(value)?.parse().ok().filter(|port| *port != 0);
        self.read(name, "a number from 1 to 65535", read)
    }

    /// A time in seconds, up to a day.
    pub(super) fn seconds(&mut self, name: &'static str) -> Option<Duration> {
        let read = |value: &Value| {
            let text = text(value)?;
            let number = text.strip_suffix('s').unwrap_or(&text).trim().parse::<f64>().ok()?;
            (number > 0.0 && number <= 86_400.0).then(|| Duration::from_secs_f64(number))
        };
        self.read(name, "a time in seconds, from just above 0 to 86400", read)
    }

    pub(super) fn map(&mut self, name: &'static str) -> Value {
        let read = |value: &Value| value.as_map().is_some().then(|| value.clone());
        self.read(name, "a mapping", read).unwrap_or_else(Value::map)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        self.read(name, expected, read)
    }

    /// All that was wrong, with the fields that nobody took; `what` names the thing they stand in.
    pub(super) fn finish(mut self, what: &str) -> Result<()> {
        for (key, _) in self.map {
            let name = key.text();
            if !self.known.contains(&name.as_str()) {
                let error = Error::usage(format!("unknown field `{name}` in {what}"))
                    .at(key.at)
                    .did_you_mean(&name, self.known.iter().copied());
                self.errors.push(match error.diagnostics()[0].hints.is_empty() {
                    true => error.hint(format!("the fields are {}", self.known.join(", "))),
                    false => error,
                });
            }
        }
        Error::all(self.errors).map_or(Ok(()), Err)
    }
}

/// A scalar's text as it was written; nothing for the empty string, booleans and everything that is no scalar.
pub(super) fn text(value: &Value) -> Option<String> {
    match &value.data {
        Data::Str(_) | Data::Int(_) | Data::Float(_) => value.scalar_text().filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// `map` with its keys renamed by `aliases`.
///
/// # Errors
/// A field given under two names, with both places.
pub(super) fn rename(map: &Map, aliases: &[(&str, &str)]) -> Result<Map> {
    let mut renamed: indexmap::IndexMap<Key, (Pos, String, Value)> = indexmap::IndexMap::new();
    for (key, value) in map {
        let written = key.text();
        let name = aliases
            .iter()
            .find(|(alias, _)| *alias == written)
            .map_or(written.as_str(), |(_, name)| name);
        let canonical = Key {
            at: key.at,
            ..Key::from(name)
        };
        if let Some((first, other, _)) = renamed.get(&canonical) {
            return Err(Error::usage(format!("`{written}` and `{other}` are the same field"))
                .at(key.at)
                .trail("first given", *first));
        }
        renamed.insert(canonical, (key.at, written, value.clone()));
    }
    Ok(renamed.into_iter().map(|(key, (_, _, value))| (key, value)).collect())
}
