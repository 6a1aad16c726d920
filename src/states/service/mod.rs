//! `service.*`: services under systemd, OpenRC or init scripts.
//!
//! The probes tell which of them manages a service; [`script`] makes the shell text for each, and has a started service watched on
//! the minion until it has settled.

mod dead;
mod enabled;
mod listen;
mod running;
mod script;
mod unknown;

use super::{Function, Functions};

pub static FUNCTIONS: Functions = &[
    Function::of::<running::Running>("service.running", true),
    Function::of::<dead::Dead>("service.dead", true),
    Function::of::<enabled::Enabled>("service.enabled", true),
    Function::of::<enabled::Disabled>("service.disabled", true),
    Function::of::<enabled::Masked>("service.masked", true),
    Function::of::<enabled::Unmasked>("service.unmasked", true),
];
