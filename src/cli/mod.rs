//! The command line: one file for each command, which reads its arguments, calls the library and prints through `report/`.

mod app;
mod apply;
mod ca;
mod card;
mod check;
mod command;
mod completions;
mod demo;
mod doc;
mod each;
mod flash;
mod flash_writer;
mod grains;
mod image;
mod init;
mod land;
mod pillar;
mod ping;
mod prompt;
mod runs;
mod schema;
mod screen;
mod show;
mod target;
mod trust;
mod undo;

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
    Demo(demo::Args),
    Init(init::Args),
    Ping(ping::Args),
    Check(check::Args),
    Apply(apply::Args),
    Run(command::Args),
    Grains(grains::Args),
    Pillar(pillar::Args),
    Show(show::Args),
    Image(image::Args),
    Flash(flash::Args),
    Card(card::Args),
    Doc(doc::Args),
    Schema(schema::Args),
    Trust(trust::Args),
    Runs(runs::Args),
    Undo(undo::Args),
    Ca(ca::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    FlashWriter(flash_writer::Args),
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
        Command::Demo(args) => demo::run(&app, args),
        Command::Init(args) => init::run(&app, args),
        Command::Check(args) => check::run(&app, args),
        Command::Apply(args) => apply::run(&app, args),
        Command::Pillar(args) => pillar::run(&app, args),
        Command::Show(args) => show::run(&app, args),
        Command::Ping(args) => ping::run(&app, args),
        Command::Run(args) => command::run(&app, args),
        Command::Grains(args) => grains::run(&app, args),
        Command::Image(args) => image::run(&app, args),
        Command::Flash(args) => flash::run(&app, args),
        Command::Trust(args) => trust::run(&app, args),
        Command::Undo(args) => undo::run(&app, args),
        Command::Doc(args) => doc::run(&app, args),
        Command::Schema(args) => schema::run(&app, args),
        Command::Runs(args) => runs::run(&app, args),
        Command::Card(args) => card::run(&app, args),
        Command::Ca(args) => ca::run(&app, args),
        Command::Completions(args) => completions::run(&app, args),
        Command::FlashWriter(args) => flash_writer::run(&app, args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            app.complain(&error);
            ExitCode::from(crate::report::exit_code(&error))
        }
    }
}

/// The references that `docs/` holds, by file name: generated from what the program itself prints as help.
pub fn references() -> [(&'static str, String); 2] {
    [("cli.md", reference()), ("states.md", doc::markdown())]
}

fn reference() -> String {
    let mut out = String::from("# The command line\n\nGenerated from `picloud help`.\n");
    let mut program = command().term_width(80);
    program.build();
    let mut open: Vec<(String, clap::Command)> = vec![("picloud".to_owned(), program)];
    while let Some((name, mut command)) = open.pop() {
        let help = command.render_long_help().to_string();
        // The global options are the program's own: once is enough.
        let help = match help.split_once("\nGlobal options:\n") {
            Some((before, _)) if name.contains(' ') => before,
            _ => &help,
        };
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        out += &format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim());
        let below = command
            .get_subcommands()
            .filter(|below| below.get_name() != "help" && !below.is_hide_set());
        let below: Vec<_> = below
            .map(|below| (format!("{name} {}", below.get_name()), below.clone()))
            .collect();
        open.extend(below.into_iter().rev());
    }
    out
}

/// The command line as `clap` knows it.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
