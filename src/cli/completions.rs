//! `picloud completions`.

use super::app::App;
use crate::error::Result;
use clap_complete::Shell;

/// Print completions for a shell.
///
/// For bash, put this into ~/.bashrc: source <(picloud completions bash)
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "picloud", &mut text);
    app.print(&String::from_utf8_lossy(&text));
    Ok(0)
}
