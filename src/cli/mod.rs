//! The command line: one file for each command, which reads its arguments, calls the library and prints through `report/`.

mod app;
mod completions;
mod doc;
mod init;
mod runs;
mod schema;
mod target;

use app::{App, Global};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// From blank SD cards to a verified, running cluster.
///
/// Brings machines to the states that a project declares in Salt's language, over nothing but SSH and sh.
#[derive(Parser, Debug)]
#[command(
    name = "picloud",
    version,
    max_term_width = 80,
    propagate_version = false,
    arg_required_else_help = true
)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    /// Work in this project, as if started there.
    #[arg(short = 'C', value_name = "DIR", help_heading = "Global options")]
    folder: Option<std::path::PathBuf>,
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes (of several, the highest):
  0  all holds; with --test: it was found out what would change
  1  the command line, the project, an SLS, a pillar or a template is wrong
  2  a state or a command failed, or had no turn
  3  a minion was not reached, or was lost";

#[derive(Subcommand, Debug)]
enum Command {
    Init(init::Args),
    Doc(doc::Args),
    Schema(schema::Args),
    Runs(runs::Args),
    Completions(completions::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let app = App::new(cli.global, cli.folder);
    let done = match cli.command {
        Command::Init(args) => init::run(&app, args),
        Command::Doc(args) => doc::run(&app, args),
        Command::Schema(args) => schema::run(&app, args),
        Command::Runs(args) => runs::run(&app, args),
        Command::Completions(args) => completions::run(&app, args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            app.complain(&error);
            ExitCode::from(crate::report::exit_code(&error))
        }
    }
}

/// The command line as `clap` knows it: for completions and for the reference that is generated from it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
