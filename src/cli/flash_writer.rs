//! `picloud flash-writer`: the small process that is elevated to write to one disk. picloud starts it; nobody else has a use for it.

use super::app::App;
use crate::error::{Error, Result};
use crate::flash::write::elevate;
use std::fs::File;
use std::os::fd::AsFd;

/// Write to a disk for a picloud that may not. It is started by `picloud flash`.
#[derive(clap::Args, Debug)]
pub struct Args {}

pub fn run(app: &App, _: Args) -> Result<u8> {
    let failed = |e: std::io::Error| Error::usage(format!("the flash writer is started by picloud itself: {e}"));
    // Ctrl-C at the terminal reaches all its processes. This one ends when its input does: the one that started it finishes the request
    // under way and says how the card was left.
    app.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        // Once asked for, a signal does not end the process, whether or not anybody waits for it.
        signal(SignalKind::interrupt()).map(drop)
    })?
    .map_err(failed)?;
    // Without the buffer of the standard library's own, which looks for ends of lines.
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let output = File::from(std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    elevate::serve_device(input, output)?;
    Ok(0)
}
