//! `picloud run`: a command on many minions.

use super::app::{App, Out};
use super::each::{each_watched, errors};
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::Result;
use crate::inventory::Minion;
use crate::report::{CommandText, error_json, exit_code};
use crate::run::{self, News, Reach, Watch};
use crate::shell::{Answer, Section, words};
use futures::future::BoxFuture;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Run a command on minions, and show what each of them says.
///
/// Lines are shown as they come, those of several minions with their names. What a single minion prints goes into a file or a pipe
/// byte for byte; elsewhere control characters are made visible.
///
/// One argument behind the -- is a line of shell; several are a command and its arguments, passed on as they are.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  picloud run '*' -- uptime
  picloud run 'G@osarch:arm64' -- 'df -h / | tail -1'")]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, inventory, minions) = land::minions(app, &args.targets, args.target.as_deref(), false)?;
    let script = match args.command.as_slice() {
        [line] => line.clone(),
        several => words(several.iter().map(String::as_str)),
    };
    let mut text = (app.global.out == Out::Text).then(|| {
        let ids = minions.iter().map(|minion| minion.id.as_str());
        CommandText::new(ids, Some(app.multi()))
    });
    let watched = text.is_some();
    // A user's text goes in as a word of its own: an unbalanced quote of theirs breaks nothing but their command.
    let section = Section {
        // What is shown as it comes need not be kept.
        keep: if watched { 0 } else { 64 << 20 },
        ..Section::new(format!("sh -c {}", crate::shell::quote(&script)))
    };
    let reach = land::reach(app, &project, &inventory, false)?;
    let work = move |minion: Minion, reach: Arc<dyn Reach>, watch: Watch| -> BoxFuture<'static, Result<Answer>> {
        let (section, watch) = (section.clone(), watched.then_some(watch));
        Box::pin(async move { run::command(&*reach, &minion, section, watch).await })
    };
    let results = each_watched(app, &minions, reach, work, |minion, news| {
        let (Some(text), id) = (&mut text, minion.id.as_str()) else {
            return;
        };
        match news {
            News::Said(said) => text.said(id, said),
            News::Done(Ok(answer)) => text.done(id, Some(answer.status)),
            // The reasons are drawn at the end.
            News::Done(Err(_)) => text.done(id, None),
        }
    })?;
    if app.global.out != Out::Text {
        app.result(|| json(&minions, &results), String::new);
    }
    let failed = results.iter().flatten().any(|answer| !answer.ok());
    match errors(&results) {
        Some(error) => {
            app.complain(&error);
            Ok(exit_code(&error).max(if failed { 2 } else { 0 }))
        }
        None => Ok(if failed { 2 } else { 0 }),
    }
}

fn json(minions: &[Minion], results: &[Result<Answer>]) -> Json {
    let one = |result: &Result<Answer>| match result {
        Ok(answer) => json!({"stdout": answer.text(), "stderr": answer.error_text(), "retcode": answer.status}),
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
