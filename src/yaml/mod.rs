//! YAML under Salt's rules, with the position of every key and value, and limits against bombs.
//!
//! [`parse`] makes [`Value`]s; [`from_value`] makes typed arguments of them, with errors that point into the file; [`emit`]
//! writes them. This room knows neither states nor templates.

mod compose;
mod convert;
mod de;
mod emit;
mod json;
mod mistake;
mod repair;
mod scalar;
mod types;
mod value;

pub use compose::{parse, parse_bytes, read, utf8};
pub use de::{from_entry, from_value};
pub use emit::{Style, emit, emit_flow, emit_with};
pub use types::{Mode, ModeOrKeep, OneOrMany, Pairs};
pub use value::{Data, Key, Map, Scalar, Value, python_float};
