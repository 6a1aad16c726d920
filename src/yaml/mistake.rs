//! What is wrong with a typed argument, in words: what was expected, what was found, which names there are.

use super::value::Key;
use crate::error::{Error, Pos, nearest};
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// A mistake on its way up to where its place and its argument are known.
#[derive(Debug)]
pub(super) struct Mistake {
    message: String,
    at: Pos,
    hints: Vec<String>,
    /// The message says which argument it is about.
    named: bool,
}

impl Mistake {
    pub fn new(message: impl Into<String>) -> Mistake {
        Mistake {
            message: message.into(),
            at: Pos::default(),
            hints: Vec::new(),
            named: false,
        }
    }

    pub fn at(mut self, at: Pos) -> Mistake {
        if !self.at.is_known() {
            self.at = at;
        }
        self
    }

    /// Says which argument it is about, the innermost only.
    pub fn named(mut self, key: &Key) -> Mistake {
        if !self.named {
            self.message = format!("`{}`: {}", key.text(), self.message);
            self.named = true;
        }
        self
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Error {
        let error = Error::usage(mistake.message).at(mistake.at);
        mistake.hints.into_iter().fold(error, Error::hint)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// `a`, `b` and `c`.
fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match &quoted[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// At most this many known names are told in full.
const FEW: usize = 12;

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Mistake {
        let message = message.to_string();
        if message.starts_with("data did not match any variant") {
            return Mistake::new("this is none of the forms that are possible here");
        }
        Mistake::new(message)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Mistake {
        let mut mistake = Mistake::new(format!("unknown argument `{field}`"));
        mistake.named = true;
        if let Some(name) = nearest(field, known.iter().copied()) {
            mistake.hints.push(format!("did you mean `{name}`?"));
        }
        if known.is_empty() {
            mistake.hints.push("no arguments are known here".to_owned());
        } else if known.len() <= FEW {
            mistake.hints.push(format!("known are {}", listed(known)));
        }
        mistake
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Mistake {
        let mut mistake = Mistake::new(format!("`{variant}` is not possible here"));
        if let Some(name) = nearest(variant, known.iter().copied()) {
            mistake.hints.push(format!("did you mean `{name}`?"));
        }
        mistake.hints.push(format!("possible are {}", listed(known)));
        mistake
    }

    fn missing_field(field: &'static str) -> Mistake {
        Mistake::new(format!("the argument `{field}` is missing"))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Mistake {
        Mistake::new(format!("expected {}, found {}", wanted(&expected.to_string()), shown(&found)))
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Mistake {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Mistake {
        Mistake::new(format!("expected {expected}, found {length} items"))
    }
}

/// What serde expects, in our words.
fn wanted(expected: &str) -> String {
    let range = |low: i64, high: u64| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "unit" => "nothing".to_owned(),
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged") => "a mapping".to_owned(),
        _ if expected.starts_with("enum ") || expected.contains("variant of enum") => "one of the possible words".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What was found, in our words.
fn shown(found: &Unexpected) -> String {
    match found {
        Unexpected::Bool(b) => format!("the boolean {b}"),
        Unexpected::Unsigned(n) => format!("the number {n}"),
        Unexpected::Signed(n) => format!("the number {n}"),
        Unexpected::Float(f) => format!("the number {f}"),
        Unexpected::Char(c) => format!("`{c}`"),
        Unexpected::Str(text) => {
            let line = text.lines().next().unwrap_or_default();
            let short: String = line.chars().take(40).collect();
            let more = if short.len() < text.len() { "..." } else { "" };
            format!("`{short}{more}`")
        }
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "a mapping".to_owned(),
        other => other.to_string(),
    }
}
