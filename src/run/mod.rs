//! Runs: the engine for one minion and the fan-out over minions; what happens is told as a stream of [`Event`]s.

mod act;
mod ask;
mod compile;
mod digests;
mod engine;
mod event;
mod fleet;
mod gate;
mod item;
mod mask;
mod minion;
mod plan;
mod query;
mod reach;
mod record;
mod sources;
mod wave;
mod world;

pub use crate::ssh::{Said, Watch};
pub use ask::{News, Pinged, command, each, grains, ping, undo};
pub use compile::{Compiled, Land, Prepared, Shown};
pub use engine::Manner;
pub use event::{Event, Listener, MinionDone, Phase, RunDone, RunStarted, StateOutcome};
pub use fleet::apply;
pub use gate::Gate;
pub use mask::{Mask, STARS};
pub use minion::Shared;
pub use reach::{Here, OverSsh, Reach};
pub use record::{Recorded, Recorder, events, new_run, runs};
