//! `picloud trust`: makes host keys known, after they were shown.

use super::app::App;
use super::land;
use super::prompt::Terminal;
use super::target::TargetArgs;
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::ssh::{self, Endpoint};

/// Show the host keys of minions, and accept those that are not known yet.
///
/// Compare a fingerprint with what the minion's own console says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which minions, as for other commands; all is not the default here.
    target: String,
    #[command(flatten)]
    targets: TargetArgs,
    /// Accept without asking.
    #[arg(short, long)]
    yes: bool,
}
