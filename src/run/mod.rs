//! Runs: the engine for one minion and the fan-out over minions; what happens is told as a stream of [`Event`]s.

mod act;
mod ask;
mod engine;
mod event;
mod gate;
mod item;
mod mask;
mod plan;
mod reach;
mod record;
mod sources;
mod wave;
mod world;

pub use ask::{Pinged, command, each, grains, ping, undo};
pub use event::{Event, Listener, MinionDone, Phase, RunDone, RunStarted, StateOutcome};
pub use mask::{Mask, STARS};
pub use reach::{Here, OverSsh, Reach};
pub use record::{Recorded, events, runs};
