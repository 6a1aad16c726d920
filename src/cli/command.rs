//! `picloud run`: a command on many minions.

use super::app::{App, Out};
use super::each::{each, errors};
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::Result;
use crate::inventory::Minion;
use crate::report::{CommandText, error_json, exit_code};
use crate::run::{self, Event, Listener, MinionDone, RunStarted};
use crate::shell::{Answer, Section, words};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Run a command on minions, and show what each of them says.
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
    // A user's text goes in as a word of its own: an unbalanced quote of theirs breaks nothing but their command.
    let section = Section {
        keep: 64 << 20,
        ..Section::new(format!("sh -c {}", crate::shell::quote(&script)))
    };
    let mut text = (app.global.out == Out::Text).then(|| CommandText::new(Some(app.multi())));
    if let Some(text) = &mut text {
        let ids = minions.iter().map(|minion| minion.id.to_string()).collect();
        text.hear(&Event::RunStarted(RunStarted {
            minions: ids,
            ..RunStarted::default()
        }));
    }
    let reach = land::reach(app, &project, &inventory, false)?;
    let work = move |minion: Minion, reach: Arc<dyn run::Reach>| -> futures::future::BoxFuture<'static, Result<Answer>> {
        let section = section.clone();
        Box::pin(async move { run::command(&*reach, &minion, section).await })
    };
    let results = each(app, &minions, reach, work, |minion, result| {
        text.iter_mut().for_each(|text| show(text, minion, result));
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

fn show(text: &mut CommandText, minion: &Minion, result: &Result<Answer>) {
    let id = minion.id.to_string();
    if let Ok(answer) = result {
        let dropped = (answer.dropped > 0).then(|| format!("[{} bytes in the middle were dropped]\n", answer.dropped));
        let outputs = [
            (false, answer.text()),
            (true, answer.error_text()),
            (true, dropped.unwrap_or_default().into()),
        ];
        for (stderr, output) in outputs.into_iter().filter(|(_, output)| !output.is_empty()) {
            text.hear(&Event::Output {
                minion: id.clone(),
                stderr,
                text: output.into_owned(),
            });
        }
    }
    let (error, status) = match result {
        Ok(answer) => (None, Some(answer.status)),
        Err(error) => (Some(error.clone()), None),
    };
    text.hear(&Event::MinionDone(Box::new(MinionDone {
        minion: id,
        error,
        status,
        ..MinionDone::default()
    })));
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
