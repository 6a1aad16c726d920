//! `picloud grains`: what minions are.

use super::app::{App, yaml};
use super::each::{each, errors};
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::Result;
use crate::inventory::Minion;
use crate::report::error_json;
use crate::run;
use crate::yaml::Value;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Collect the grains of minions and show them.
///
/// They are remembered: targets by grain, and states before the connection stands, use them.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// Only these, as os or ip4_interfaces:eth0
    names: Vec<String>,
    /// Connect to nothing: show what is remembered of the last run.
    #[arg(long)]
    cached: bool,
    /// This machine, without SSH; then there is no target, and all arguments are names.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, mut args: Args) -> Result<u8> {
    if args.local {
        args.names.splice(0..0, args.target.take());
    }
    let (project, inventory, minions) = land::minions(app, &args.targets, args.target.as_deref(), args.local)?;
    let results: Vec<Result<Value>> = if args.cached {
        minions
            .iter()
            .map(|minion| project.cache.grains(&minion.id).ok_or_else(|| unknown(minion)))
            .collect()
    } else {
        let reach = land::reach(app, &project, &inventory, args.local)?;
        let work = |minion: Minion, reach: Arc<dyn run::Reach>| -> futures::future::BoxFuture<'static, Result<Value>> {
            Box::pin(async move { run::grains(&*reach, &minion).await })
        };
        let results = each(app, &minions, reach, work, |_, _| {})?;
        for (minion, grains) in minions.iter().zip(&results) {
            if let Ok(grains) = grains {
                project.cache.set_grains(&minion.id, grains)?;
            }
        }
        results
    };
    let shown = |minion: &Minion, grains: &Value| {
        let grains = with_own(minion, grains);
        if args.names.is_empty() {
            return Json::from(&grains);
        }
        let named = args
            .names
            .iter()
            .map(|name| (name.clone(), grains.traverse(name, ":").map_or(Json::Null, Json::from)));
        Json::Object(named.collect())
    };
    let json: Map<String, Json> = minions
        .iter()
        .zip(&results)
        .map(|(minion, result)| {
            let json = match result {
                Ok(grains) => shown(minion, grains),
                Err(error) => json!({"__error__": error_json(error)}),
            };
            (minion.id.to_string(), json)
        })
        .collect();
    app.result(
        || Json::Object(json.clone()),
        || {
            yaml(&Json::Object(
                json.iter()
                    .filter(|(_, json)| json.get("__error__").is_none())
                    .map(|(id, json)| (id.clone(), json.clone()))
                    .collect(),
            ))
        },
    );
    errors(&results).map_or(Ok(0), Err)
}

/// `grains` with the id and what the inventory lays over them.
fn with_own(minion: &Minion, grains: &Value) -> Value {
    let mut map = grains.as_map().cloned().unwrap_or_default();
    map.insert("id".into(), minion.id.as_str().into());
    map.extend(
        minion
            .grains
            .as_map()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    map.into()
}

fn unknown(minion: &Minion) -> crate::error::Error {
    crate::error::Error::usage("no grains are cached")
        .minion(minion.id.as_str())
        .hint("without --cached they are collected")
}
