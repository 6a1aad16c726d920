//! SLS files to high state to low state: includes, extends, excludes, requisites, order, as Salt 3006 does it.
//!
//! Pure but for reading the tree: [`compile`] asks for what only the minion can tell ([`Compiled::Asks`]) and is called again with
//! the answers. Knows neither state functions' arguments nor connections.

mod chunks;
mod compile;
mod cycles;
mod declare;
mod high;
mod input;
mod load;
mod low;
mod render;
mod requisites;
mod reverse;
mod source;
#[cfg(test)]
mod tests;
mod top;

pub(crate) use chunks::GLOBAL;
pub use compile::compile;
pub use high::HighState;
pub use input::{Compiled, Input, Ready, Unresolved, Which};
pub(crate) use load::trail;
pub use low::{Check, Chunk, Condition, LowState, Reference, Requisite, RequisiteKind, Retry};
pub use render::{Locals, Render, Rendered};
pub(crate) use requisites::{DIRECT, REVERSE};
pub use source::RenderedTexts;
pub(crate) use source::{Found, Sources, absolute};
pub(crate) use top::assigned;
