//! What a person or a program reads: errors, diffs, progress, the results of a run.
//!
//! Everything here is drawn as text with ANSI colours in it; the streams that print it ([`anstream`]) take them out where nobody would
//! see them, so every text must be understood without them. Knows no connections and asks nothing.

mod bars;
mod changes;
mod collect;
mod command;
mod diagnostic;
mod diff;
mod flash;
mod json;
mod paint;
mod plain;
mod text;

pub use bars::Bars;
pub use collect::{MinionReport, Report, exit_code};
pub use command::CommandText;
pub use diagnostic::{Severity, draw, draw_as};
pub use diff::{Shown, unified};
pub use flash::{FlashBars, FlashJson, FlashLines};
pub use json::{error as error_json, report as report_json, state as state_json};
pub use paint::{Paper, Table, bold, duration, plural, safe, wrap};
pub use plain::Plain;
pub use text::text;
