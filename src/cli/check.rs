//! `picloud check`: everything that can be wrong without a connection.

use super::app::App;
use super::land::{self, Where};
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::{Error, FileId, Result};
use crate::inventory::Minion;
use crate::probe::{Fact, Observed};
use crate::report::{error_json, plural};
use crate::run::{Land, Prepared};
use crate::sls::Which;
use crate::yaml::Value;
use futures::StreamExt;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Find everything that is wrong without connecting to anything.
///
/// Reads the project and the inventory, renders pillar and states for each minion, and checks every state function, its arguments and
/// its sources. Grains are those of the last run; a minion that was never seen is taken for a Debian 12, on which nothing is installed.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// The SLS to check, separated by commas; what top.sls assigns where they are left out.
    #[arg(value_delimiter = ',')]
    sls: Vec<String>,
    /// Take the states from this folder alone.
    #[arg(long, value_name = "TREE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    targets: TargetArgs,
}

/// What came of one minion.
struct Checked {
    id: String,
    /// How many states it has.
    states: Option<usize>,
    guessed: bool,
    warnings: Vec<Error>,
    error: Option<Error>,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let place = Where {
        root: args.root,
        ..Where::default()
    };
    let which = if args.sls.is_empty() {
        Which::Top
    } else {
        Which::Sls(args.sls)
    };
    let (mut land, minions) = land::open(app, &place, which, false, &args.targets, args.target.as_deref())?;
    land.sources = land.sources.offline();
    let keys = Error::all(minions.iter().filter_map(missing_keys));
    let land = Arc::new(land);
    let side_by_side = std::thread::available_parallelism().map_or(4, |n| n.get() * 2);
    let checked: Vec<Checked> = app.block_on(async {
        let tasks = minions.iter().cloned().map(|minion| {
            let land = land.clone();
            tokio::spawn(async move { check(&land, &minion).await })
        });
        futures::stream::iter(tasks)
            .buffered(side_by_side)
            .filter_map(async |done| done.ok())
            .collect()
            .await
    })?;
    if checked.len() < minions.len() {
        return Err(Error::state(
            "internal: the check of a minion broke off; please report what is said above",
        ));
    }
    let errors = Error::all(checked.iter().filter_map(|checked| checked.error.clone()).chain(keys));
    let warnings = Error::all(checked.iter().flat_map(|checked| checked.warnings.clone()));
    if let Some(warnings) = &warnings {
        app.warn(warnings);
    }
    app.result(
        || {
            let minions: serde_json::Map<_, _> = checked.iter().map(|checked| (checked.id.clone(), checked.json())).collect();
            json!({"ok": errors.is_none(), "minions": minions, "error": errors.as_ref().map(error_json)})
        },
        || text(app, &checked, errors.is_none()),
    );
    match errors {
        Some(errors) => Err(errors),
        None => Ok(0),
    }
}

fn text(app: &App, checked: &[Checked], ok: bool) -> String {
    let mut out = String::new();
    if app.global.verbose > 0 {
        for minion in checked {
            let states = minion
                .states
                .map_or("did not compile".to_owned(), |states| plural(states, "state"));
            out += &format!(
                "{}: {states}{}\n",
                minion.id,
                if minion.guessed { ", with guessed grains" } else { "" }
            );
        }
    }
    let guessed: Vec<&str> = checked
        .iter()
        .filter(|minion| minion.guessed)
        .map(|minion| minion.id.as_str())
        .collect();
    if !guessed.is_empty() {
        app.note(&format!(
            "no grains are cached of {}, taken for a Debian 12; `picloud grains` collects them",
            match guessed.as_slice() {
                few if few.len() <= 4 => few.join(", "),
                [first, ..] => format!("{first} and {} others", guessed.len() - 1),
                [] => String::new(),
            }
        ));
    }
    if ok {
        let states: usize = checked.iter().filter_map(|minion| minion.states).sum();
        out += &format!(
            "no mistakes: {}, {}\n",
            plural(checked.len(), "minion"),
            plural(states, "state")
        );
    }
    out
}

impl Checked {
    fn json(&self) -> serde_json::Value {
        json!({
            "ok": self.error.is_none(),
            "states": self.states,
            "grains": if self.guessed { "guessed" } else { "cached" },
            "warnings": self.warnings.iter().map(|warning| warning.to_string()).collect::<Vec<_>>(),
        })
    }
}

async fn check(land: &Land, minion: &Minion) -> Checked {
    let id = minion.id.as_str();
    let cached = land.cached_grains(minion);
    let guessed = cached.is_none();
    let grains = cached.unwrap_or_else(|| guess(id));
    let mut checked = Checked {
        id: id.to_owned(),
        states: None,
        guessed,
        warnings: Vec::new(),
        error: None,
    };
    let mut observed = Observed::default();
    let mut asked = false;
    let mut compiled = Err(Error::usage("its templates ask the minion something new each time"));
    for _ in 0..land::ROUNDS {
        compiled = match land.compile(minion, &grains, &observed, "check").await {
            Ok(Prepared::Asks(probes)) => {
                asked = true;
                probes.iter().for_each(|probe| observed.answer(probe, Fact::nothing(probe)));
                continue;
            }
            Ok(Prepared::Ready(compiled)) => Ok(compiled),
            Err(error) => Err(error),
        };
        break;
    }
    match compiled {
        Ok(compiled) => {
            checked.states = Some(compiled.low.chunks.len());
            checked.warnings = compiled.warnings;
            if compiled.low.chunks.is_empty() {
                checked
                    .warnings
                    .push(Error::usage("no states are assigned to it").hint("`states/top.sls` says who gets what"));
            }
        }
        // What the minion would have answered may make the difference.
        Err(error) if asked => {
            checked.warnings.push(error.hint(
                "its templates ask the minion something, and it was taken to have nothing: `picloud apply --test` asks it",
            ));
        }
        Err(error) => checked.error = Some(error.minion(id)),
    }
    checked.warnings = checked.warnings.into_iter().map(|warning| warning.minion(id)).collect();
    checked
}

/// The grains of a minion that nobody has seen: of the commonest kind.
pub fn guess(id: &str) -> Value {
    let mut grains = crate::yaml::parse(FileId::default(), include_str!("guessed-grains.yaml")).unwrap_or_else(|_| Value::map());
    if let Some(map) = grains.as_map_mut() {
        let host = id.split('.').next().unwrap_or_default();
        for (name, value) in [("host", host), ("nodename", host), ("localhost", host), ("fqdn", id)] {
            map.insert(name.into(), value.into());
        }
    }
    grains
}

/// Key files that the inventory names and that are not there.
fn missing_keys(minion: &Minion) -> Option<Error> {
    let home = std::env::home_dir().unwrap_or_default();
    let missing = minion.keys.iter().filter(|key| {
        let path = key
            .strip_prefix("~/")
            .map_or_else(|| PathBuf::from(key), |below| home.join(below));
        // `%h` and its like are filled in when connecting.
        !key.contains('%') && path.is_absolute() && !path.exists()
    });
    Error::all(missing.map(|key| {
        Error::usage(format!("the key file {key} does not exist"))
            .at(minion.at)
            .minion(minion.id.as_str())
    }))
}
