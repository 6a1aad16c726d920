//! `picloud ping`: who can be reached, as whom, and how fast.

use super::app::App;
use super::each::{each, errors};
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::Result;
use crate::inventory::{Minion, Sudo};
use crate::report::{Table, error_json};
use crate::run::{self, Pinged};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// Try every minion: reachable, as whom, how fast; or exactly why not.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, inventory, minions) = land::minions(app, &args.targets, args.target.as_deref(), false)?;
    let reach = land::reach(app, &project, &inventory, false)?;
    let work = |minion: Minion, reach: Arc<dyn run::Reach>| -> futures::future::BoxFuture<'static, Result<Pinged>> {
        Box::pin(async move { run::ping(&*reach, &minion).await })
    };
    let results = each(app, &minions, reach, work, |_, _| {})?;
    app.result(|| json(&minions, &results), || text(app, &minions, &results));
    errors(&results).map_or(Ok(0), Err)
}

fn json(minions: &[Minion], results: &[Result<Pinged>]) -> Json {
    let one = |result: &Result<Pinged>| match result {
        Ok(pinged) => json!({
            "reachable": true,
            "user": pinged.user,
            "hostname": pinged.hostname,
            "os": pinged.os,
            "connect_ms": pinged.connect_ms.round(),
            "round_trip_ms": (pinged.round_trip_ms * 10.0).round() / 10.0,
        }),
        Err(error) => json!({"reachable": false, "__error__": error_json(error)}),
    };
    Json::Object(
        minions
            .iter()
            .zip(results)
            .map(|(minion, result)| (minion.id.to_string(), one(result)))
            .collect(),
    )
}

fn text(app: &App, minions: &[Minion], results: &[Result<Pinged>]) -> String {
    let mut table = Table::new(&["minion", "as", "host name", "connect", "round trip", "system"], &[3, 4]);
    for (minion, result) in minions.iter().zip(results) {
        let id = minion.id.to_string();
        match result {
            Ok(pinged) => table.row([
                id,
                match minion.sudo {
                    Sudo::No => pinged.user.clone(),
                    Sudo::Yes | Sudo::Password => format!("{} by sudo", pinged.user),
                },
                pinged.hostname.clone(),
                format!("{:.0} ms", pinged.connect_ms),
                format!("{:.1} ms", pinged.round_trip_ms),
                pinged.os.clone(),
            ]),
            Err(error) => table.row([
                id,
                format!(
                    "not reached: {}",
                    error.diagnostics()[0].message.lines().next().unwrap_or_default()
                ),
            ]),
        };
    }
    table.draw(app.paper())
}
