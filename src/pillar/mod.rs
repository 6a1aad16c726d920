//! Pillar: the data that a minion is given, from `pillar/top.sls` and the files that it names, merged as Salt merges them.
//!
//! Its templates see no pillar but the inventory's, as they make it. Reads the tree and renders; knows neither states nor connections.

mod compile;
mod merge;
mod secrets;

pub use compile::{Compiled, Input, compile};
pub use merge::merge;
pub use secrets::{is_secret, secrets};
