//! `cmd.*`: commands and scripts of the user's own.
//!
//! How a command is run stands in [`crate::shell::Command`]; here is what its outcome means.

mod outcome;
mod run;
mod script;

pub(in crate::states) use outcome::environment;

use super::{Function, Functions};

pub static FUNCTIONS: Functions = &[
    Function::of::<run::Run>("cmd.run", true),
    Function::of::<script::Script>("cmd.script", true),
    Function::of::<run::Wait>("cmd.wait", true),
    Function::of::<script::WaitScript>("cmd.wait_script", true),
];
