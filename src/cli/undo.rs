//! `picloud undo`: brings back the files that a run replaced.

use super::app::App;
use super::each::{each, errors};
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::report::{error_json, safe};
use crate::run;
use crate::shell::Answer;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Bring back the files that a run replaced or removed, on the minions where it did.
///
/// Packages, services and what commands did are not undone.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run's number, as `picloud runs` lists it.
    run: u64,
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// Change nothing: list what would be brought back.
    #[arg(short, long)]
    test: bool,
    /// Undo a run on this machine (`apply --local`), without SSH.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, inventory, mut minions) = land::minions(app, &args.targets, args.target.as_deref(), args.local)?;
    let recorded = run::runs(&project.cache)?
        .into_iter()
        .find(|recorded| recorded.number == args.run);
    let Some(recorded) = recorded else {
        run::events(&project.cache, args.run)?;
        return Err(Error::usage(format!("the record of run {} cannot be read", args.run)));
    };
    let started = recorded.started;
    if started.test {
        return Err(Error::usage(format!("run {} was a dry run: it changed nothing", args.run)));
    }
    minions.retain(|minion| started.minions.iter().any(|id| id == minion.id.as_str()));
    if minions.is_empty() {
        return Err(Error::usage(format!("run {} was on none of these minions", args.run))
            .hint(format!("it was on {}", started.minions.join(", "))));
    }
    let reach = land::reach(app, &project, &inventory, args.local)?;
    let (name, who, test) = (started.run.clone(), land::who(), args.test);
    let work = move |minion: Minion, reach: Arc<dyn run::Reach>| -> futures::future::BoxFuture<'static, Result<Option<Answer>>> {
        let (name, who) = (name.clone(), who.clone());
        Box::pin(async move { run::undo(&*reach, &minion, &name, &who, test).await })
    };
    let results = each(app, &minions, reach, work, |_, _| {})?;
    app.result(|| as_json(&minions, &results), || text(&minions, &results));
    let failed = results.iter().flatten().flatten().any(|answer| !answer.ok());
    match errors(&results) {
        Some(error) => Err(error),
        None => Ok(if failed { 2 } else { 0 }),
    }
}

fn text(minions: &[Minion], results: &[Result<Option<Answer>>]) -> String {
    let mut out = String::new();
    for (minion, result) in minions.iter().zip(results) {
        match result {
            Ok(Some(answer)) => {
                let said = format!("{}{}", answer.text(), answer.error_text());
                out += &format!("{}\n", minion.id);
                said.lines().for_each(|line| out += &format!("  {}\n", safe(line)));
            }
            Ok(None) => out += &format!("{}\n  nothing of this run is kept here\n", minion.id),
            Err(_) => out += &format!("{}\n  not reached\n", minion.id),
        }
    }
    out
}

fn as_json(minions: &[Minion], results: &[Result<Option<Answer>>]) -> Json {
    let one = |result: &Result<Option<Answer>>| match result {
        Ok(Some(answer)) => {
            json!({"undone": answer.text().lines().collect::<Vec<_>>(), "ok": answer.ok(), "stderr": answer.error_text()})
        }
        Ok(None) => json!({"undone": [], "ok": true}),
        Err(error) => json!({"__error__": error_json(error)}),
    };
    Json::Object(
        minions
            .iter()
            .zip(results)
            .map(|(minion, result)| (minion.id.to_string(), one(result)))
            .collect::<Map<_, _>>(),
    )
}
