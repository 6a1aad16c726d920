//! `picloud runs`: what was done when, and what came of it.

use super::app::{App, Out};
use crate::error::{Error, Result};
use crate::project::{Project, StateOutput};
use crate::report::{Paper, Report, Table, duration, report_json, text};
use crate::run::{Listener, Recorded};
use crate::tree::Tree;
use serde_json::json;

/// List the runs that were recorded, or show one again.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Runs>,
    /// List at most this many, the newest last.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    last: usize,
}

#[derive(clap::Subcommand, Debug)]
enum Runs {
    /// Show the report of a run again.
    Show {
        /// The run's number; the newest where it is left out.
        number: Option<u64>,
        /// How much of each state.
        #[arg(
            long,
            value_name = "HOW",
            hide_possible_values = true,
            help = "How much of each state: full, changes or terse"
        )]
        state_output: Option<StateOutput>,
    },
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    // Without a project there are the runs of `apply --local`.
    let project = app.project_if_any()?.unwrap_or_else(|| Project::without(Tree::default()));
    match args.command {
        None => list(app, &project, args.last),
        Some(Runs::Show { number, state_output }) => show(app, &project, number, state_output),
    }
}

fn list(app: &App, project: &Project, last: usize) -> Result<u8> {
    let runs = crate::run::runs(&project.cache)?;
    let runs = &runs[runs.len().saturating_sub(last)..];
    if runs.is_empty() && app.global.out == Out::Text {
        app.note("no run has been recorded yet");
    } else {
        app.result(|| runs.iter().map(as_json).collect(), || table(runs, app.paper()));
    }
    Ok(0)
}

fn as_json(run: &Recorded) -> serde_json::Value {
    json!({
        "number": run.number,
        "run": run.started.run,
        "what": run.started.what,
        "test": run.started.test,
        "minions": run.started.minions,
        "at": local(run.started.at_ms).map(|at| at.to_string()),
        "elapsed_ms": run.done.as_ref().map(|done| done.elapsed_ms),
        "stopped": run.done.as_ref().and_then(|done| done.stopped.clone()),
        "changed": run.changed,
        "failed_minions": run.failed,
    })
}

fn table(runs: &[Recorded], paper: Paper) -> String {
    let mut table = Table::new(
        &["run", "when", "minions", "changed", "failed", "time", "what"],
        &[0, 2, 3, 4, 5],
    );
    for run in runs {
        let test = if run.started.test { " --test" } else { "" };
        let stopped = match &run.done {
            Some(done) if done.stopped.is_some() => " (stopped)",
            _ => "",
        };
        table.row([
            run.number.to_string(),
            local(run.started.at_ms).map_or(String::new(), |at| at.strftime("%Y-%m-%d %H:%M").to_string()),
            run.started.minions.len().to_string(),
            run.changed.to_string(),
            run.failed.to_string(),
            run.done
                .as_ref()
                .map_or("cut off".to_owned(), |done| duration(done.elapsed_ms)),
            format!("{}{test}{stopped}", run.started.what.trim_end_matches(" --test")),
        ]);
    }
    table.draw(paper)
}

fn show(app: &App, project: &Project, number: Option<u64>, how: Option<StateOutput>) -> Result<u8> {
    let number = match number {
        Some(number) => number,
        None => match crate::run::runs(&project.cache)?.last() {
            Some(run) => run.number,
            None => return Err(Error::usage("no run has been recorded yet")),
        },
    };
    let mut report = Report::default();
    crate::run::events(&project.cache, number)?
        .iter()
        .for_each(|event| report.hear(event));
    let how = how.unwrap_or(project.config.state_output);
    app.result(|| report_json(&report), || text(&report, how, app.paper()));
    Ok(0)
}

fn local(ms: u64) -> Option<jiff::Zoned> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::system()))
}
