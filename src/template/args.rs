//! The arguments of a filter, a method or a function, taken by position or by name as Python does.

use crate::error::nearest;
use crate::template::value::{as_float, as_int, fail, text, undefined};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Taken one by one; [`Args::done`] refuses what was not taken.
#[derive(Debug)]
pub struct Args {
    /// What is called, for messages.
    what: String,
    positional: Vec<Value>,
    keywords: Vec<(String, Value)>,
    /// The parameters that were asked for, in order.
    known: Vec<&'static str>,
}

impl Args {
    pub fn new(what: impl Into<String>, args: &[Value]) -> Args {
        let (positional, keywords) = match args.split_last() {
            Some((last, before)) if last.is_kwargs() => {
                let kwargs = Kwargs::try_from(last.clone()).ok();
                let pairs = kwargs.iter().flat_map(|kwargs| {
                    kwargs
                        .args()
                        .map(|name| (name.to_owned(), kwargs.peek::<Value>(name).unwrap_or_default()))
                });
                (before, pairs.collect())
            }
            _ => (args, Vec::new()),
        };
        Args {
            what: what.into(),
            positional: positional.to_vec(),
            keywords,
            known: Vec::new(),
        }
    }

    pub fn what(&self) -> &str {
        &self.what
    }

    /// All values, to be looked at before any is taken.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.positional.iter().chain(self.keywords.iter().map(|(_, value)| value))
    }

    /// The next parameter, called `name`; `None` where it was not given.
    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        let at = self.known.len();
        self.known.push(name);
        if let Some(value) = self.positional.get(at) {
            return Some(value.clone());
        }
        self.keyword(name)
    }

    /// A parameter that can only be given by name.
    pub fn keyword(&mut self, name: &'static str) -> Option<Value> {
        let at = self.keywords.iter().position(|(keyword, _)| keyword == name)?;
        Some(self.keywords.remove(at).1)
    }

    /// The next parameter, which must be given and defined.
    pub fn need(&mut self, name: &'static str) -> Result<Value, Error> {
        match self.take(name) {
            Some(value) if value.is_undefined() => Err(undefined(&value)),
            Some(value) => Ok(value),
            None => Err(Error::new(
                ErrorKind::MissingArgument,
                format!("`{}` needs the argument `{name}`", self.what),
            )),
        }
    }

    /// As [`Args::take`]; `None` for Python's `None` too.
    pub fn optional(&mut self, name: &'static str) -> Result<Option<Value>, Error> {
        match self.take(name) {
            Some(value) if value.is_undefined() => Err(undefined(&value)),
            Some(value) if value.is_none() => Ok(None),
            other => Ok(other),
        }
    }

    pub fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, Error> {
        Ok(self.optional(name)?.map_or(default, |value| value.is_true()))
    }

    pub fn int(&mut self, name: &'static str, default: i64) -> Result<i64, Error> {
        Ok(self.int_or_none(name)?.unwrap_or(default))
    }

    pub fn int_or_none(&mut self, name: &'static str) -> Result<Option<i64>, Error> {
        match self.optional(name)? {
            None => Ok(None),
            Some(value) => match as_int(&value).or_else(|| as_float(&value).map(|f| f as i64)) {
                Some(int) => Ok(Some(int)),
                None => Err(self.wrong(name, "an integer", &value)),
            },
        }
    }

    /// A string; other scalars are turned into one.
    pub fn text(&mut self, name: &'static str) -> Result<String, Error> {
        let value = self.need(name)?;
        self.scalar(name, &value)
    }

    pub fn text_or(&mut self, name: &'static str, default: &str) -> Result<String, Error> {
        Ok(self.text_or_none(name)?.unwrap_or_else(|| default.to_owned()))
    }

    pub fn text_or_none(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        match self.optional(name)? {
            None => Ok(None),
            Some(value) => self.scalar(name, &value).map(Some),
        }
    }

    fn scalar(&self, name: &str, value: &Value) -> Result<String, Error> {
        match value.kind() {
            ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::Plain => Ok(text(value)),
            ValueKind::Bytes => Ok(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()),
            _ => Err(self.wrong(name, "a string", value)),
        }
    }

    /// An argument that is not what it must be.
    pub fn wrong(&self, name: &str, expected: &str, value: &Value) -> Error {
        fail(format!(
            "`{}`: the argument `{name}` must be {expected}, not {}",
            self.what,
            shown(value)
        ))
    }

    /// All positional arguments that have not been asked for.
    pub fn rest(&mut self) -> Vec<Value> {
        self.positional.split_off(self.known.len().min(self.positional.len()))
    }

    /// All arguments by name that have not been asked for.
    pub fn keywords(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.keywords)
    }

    /// # Errors
    /// Arguments that nobody asked for.
    pub fn done(&self) -> Result<(), Error> {
        if let Some((name, _)) = self.keywords.first() {
            let known = self.known.join(", ");
            let near =
                nearest(name, self.known.iter().copied()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(Error::new(
                ErrorKind::TooManyArguments,
                format!("`{}` has no argument `{name}` (it has: {known}){near}", self.what),
            ));
        }
        if self.positional.len() > self.known.len() {
            return Err(Error::new(
                ErrorKind::TooManyArguments,
                format!(
                    "`{}` takes at most {} arguments, {} were given",
                    self.what,
                    self.known.len(),
                    self.positional.len()
                ),
            ));
        }
        Ok(())
    }
}

/// A value in a message: short.
pub fn shown(value: &Value) -> String {
    let text = crate::template::value::repr(value);
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
