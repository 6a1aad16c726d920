//! `picloud pillar`: what minions are told.

use super::app::{App, yaml};
use super::check::guess;
use super::land;
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::{Error, Result};
use crate::run::Land;
use crate::sls::Which;
use crate::yaml::Value;
use serde_json::{Map, Value as Json};

/// Show the pillar of minions, connecting to nothing.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// Only these keys, as docker:version
    keys: Vec<String>,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, inventory, minions) = land::minions(app, &args.targets, args.target.as_deref(), false)?;
    let land = Land::new(project, inventory, Which::Top, false);
    let mut shown = Map::new();
    let mut errors = Vec::new();
    for minion in &minions {
        let id = minion.id.to_string();
        let grains = land.cached_grains(minion).unwrap_or_else(|| {
            app.note(&format!(
                "no grains are cached of {id}, taken for a Debian 12; `picloud grains` collects them"
            ));
            guess(minion.id.as_str())
        });
        match land::unasked(app, minion, |observed| land.pillar_of(minion, &grains, observed)) {
            Ok(pillar) => drop(shown.insert(id, pick(&pillar, &args.keys))),
            Err(error) => errors.push(error.minion(&id)),
        }
    }
    if !shown.is_empty() {
        app.result(|| Json::Object(shown.clone()), || yaml(&Json::Object(shown.clone())));
    }
    Error::all(errors).map_or(Ok(0), Err)
}

fn pick(pillar: &Value, keys: &[String]) -> Json {
    if keys.is_empty() {
        return Json::from(pillar);
    }
    let named = keys
        .iter()
        .map(|key| (key.clone(), pillar.traverse(key, ":").map_or(Json::Null, Json::from)));
    Json::Object(named.collect())
}
