//! `picloud show`: what a minion's SLS come to, without connecting to anything.

use super::app::{App, yaml};
use super::check::guess;
use super::land::{self, Where};
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::run::{Land, Shown};
use crate::sls::{LowState, Ready, Which};
use crate::yaml::Value;
use serde_json::Value as Json;
use std::path::PathBuf;

/// Show what a minion's SLS come to, connecting to nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  picloud show top                 which SLS each minion gets
  picloud show low pi0             its states in the order of the run
  picloud show high pi0 docker     one SLS as pi0 would have it
  picloud show low web --root TREE --grains-file G --pillar-file P --id pi0
                                   an SLS of any tree, without a project")]
pub struct Args {
    #[arg(
        help = "What: top (SLS by minion), sls or high (merged data), low (ordered states)",
        hide_possible_values = true
    )]
    what: What,
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// The SLS; what top.sls assigns where they are left out.
    #[arg(value_delimiter = ',')]
    sls: Vec<String>,
    /// Take the states from this folder alone.
    #[arg(long, value_name = "TREE")]
    root: Option<PathBuf>,
    /// Compile for a minion of this id, which need not exist; then there is no target, and all arguments are SLS.
    #[arg(long)]
    id: Option<String>,
    /// Take the grains from this YAML or JSON file.
    #[arg(long, value_name = "FILE")]
    grains_file: Option<PathBuf>,
    /// Take the pillar from this YAML or JSON file.
    #[arg(long, value_name = "FILE")]
    pillar_file: Option<PathBuf>,
    #[command(flatten)]
    targets: TargetArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum What {
    Top,
    Sls,
    High,
    Low,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let offline = args.id.is_some() || args.grains_file.is_some() || args.pillar_file.is_some();
    let place = Where {
        local: false,
        root: args.root.clone(),
        pillar_file: args.pillar_file.clone(),
    };
    let mut sls = args.sls.clone();
    if offline {
        let first = args.target.iter().flat_map(|word| word.split(',')).map(str::to_owned);
        sls.splice(0..0, first);
    }
    let which = if sls.is_empty() { Which::Top } else { Which::Sls(sls) };
    let (land, minions) = match offline {
        true => {
            let (land, minion) = land::open_for(app, &place, which, args.id.as_deref().unwrap_or("minion"))?;
            (land, vec![minion])
        }
        false => land::open(app, &place, which, false, &args.targets, args.target.as_deref())?,
    };
    let given = args.grains_file.as_deref().map(land::mapping).transpose()?;
    let mut shown: Vec<(&Minion, Json)> = Vec::new();
    let mut errors = Vec::new();
    for minion in &minions {
        match compile(app, &land, minion, given.as_ref()) {
            Ok(ready) => shown.push((minion, pick(args.what, &ready))),
            Err(error) => errors.push(error.minion(minion.id.as_str())),
        }
    }
    // One minion's states stand alone: that is what other programs compare.
    let json = || match shown.as_slice() {
        [(_, only)] if minions.len() == 1 => only.clone(),
        all => Json::Object(
            all.iter()
                .map(|(minion, json)| (minion.id.to_string(), json.clone()))
                .collect(),
        ),
    };
    if !shown.is_empty() {
        app.result(json, || yaml(&json()));
    }
    Error::all(errors).map_or(Ok(0), Err)
}

fn compile(app: &App, land: &Land, minion: &Minion, given: Option<&Value>) -> Result<Ready> {
    let grains = given.cloned().or_else(|| land.cached_grains(minion)).unwrap_or_else(|| {
        app.note(&format!(
            "no grains are cached of {}, taken for a Debian 12; `picloud grains` collects them",
            minion.id
        ));
        guess(minion.id.as_str())
    });
    let ready = land::unasked(app, minion, |observed| {
        Ok(match land.show(minion, &grains, observed)? {
            Shown::Ready { ready, .. } => Ok(*ready),
            Shown::Asks(asks) => Err(asks),
        })
    })?;
    ready.warnings.iter().for_each(|warning| app.warn(warning));
    Ok(ready)
}

fn pick(what: What, ready: &Ready) -> Json {
    match what {
        What::Top => Json::from(&ready.top),
        What::Sls | What::High => Json::from(&ready.high.to_value()),
        What::Low => low(&ready.low),
    }
}

/// Salt's chunks, in the order of the sort.
fn low(low: &LowState) -> Json {
    low.chunks
        .iter()
        .map(|chunk| Json::from(&Value::from(chunk.all.clone())))
        .collect()
}
