//! From the arguments of a command to the minions it means and the files it works with.

use super::app::App;
use super::prompt::Terminal;
use super::target::TargetArgs;
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Minion, MinionId};
use crate::probe::{Fact, Observed, Probe};
use crate::project::{Project, shipped};
use crate::run::{Here, Land, OverSsh, Reach};
use crate::sls::Which;
use crate::ssh::Defaults;
use crate::tree::{Tree, shown};
use crate::yaml::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where states and their data come from.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// This machine, without SSH.
    pub local: bool,
    /// A state tree that takes the place of the project's.
    pub root: Option<PathBuf>,
    /// A pillar that takes the place of the project's.
    pub pillar_file: Option<PathBuf>,
}

impl Where {
    /// The project, or what stands for it.
    ///
    /// # Errors
    /// There is none, and it is needed.
    pub fn project(&self, app: &App) -> Result<Project> {
        let found = app.project_if_any()?;
        let Some(root) = &self.root else {
            return match found {
                Some(project) => Ok(project),
                // What picloud ships can be applied anywhere.
                None if self.local => Ok(Project::without(Tree { roots: vec![shipped()] })),
                None => app.project(),
            };
        };
        if !root.is_dir() {
            return Err(Error::usage(format!("{} is not a folder of states", root.display())));
        }
        let tree = Tree::folder(root);
        Ok(match found {
            Some(project) => Project { states: tree, ..project },
            None => Project::without(tree),
        })
    }
}

/// The project, its inventory and the minions that `target` means; with `local` this machine alone.
///
/// # Errors
/// Whatever is wrong with project, inventory or target.
pub fn minions(
    app: &App,
    targets: &TargetArgs,
    target: Option<&str>,
    local: bool,
) -> Result<(Project, Arc<Inventory>, Vec<Minion>)> {
    let place = Where {
        local,
        ..Where::default()
    };
    let project = place.project(app)?;
    let inventory = Arc::new(app.inventory(&project)?);
    let minions = match (local, target) {
        (false, target) => select(app, &project, &inventory, targets, target)?,
        (true, None) => vec![this_machine(&inventory)?],
        (true, Some(target)) => return Err(Error::usage(format!("`{target}`: with --local there is no target"))),
    };
    Ok((project, inventory, minions))
}

fn select(
    app: &App,
    project: &Project,
    inventory: &Arc<Inventory>,
    targets: &TargetArgs,
    target: Option<&str>,
) -> Result<Vec<Minion>> {
    // Made only if the target looks at pillars.
    let mut land: Option<Land> = None;
    let pillar = |minion: &Minion| {
        let Some(grains) = project.cache.grains(&minion.id) else {
            return Ok(None);
        };
        let land = land.get_or_insert_with(|| Land::new(project.clone(), inventory.clone(), Which::Top, false));
        Ok(land.pillar_of(minion, &grains, &Arc::default())?.ok())
    };
    let selected = targets.select(app, project, inventory, target, pillar);
    selected.map_err(|error| match target {
        // `picloud apply docker`: the word that is no minion may be an SLS.
        Some(word) if is_sls(project, word) => error.hint(format!("`{word}` is an SLS: write `'*' {word}` for all minions")),
        _ => error,
    })
}

/// The land, and the minions of it that are meant.
///
/// # Errors
/// Whatever is wrong with project, inventory or target.
pub fn open(
    app: &App,
    place: &Where,
    which: Which,
    through_master: bool,
    targets: &TargetArgs,
    target: Option<&str>,
) -> Result<(Land, Vec<Minion>)> {
    let project = place.project(app)?;
    let through_master = through_master || project.config.through_master;
    let inventory = Arc::new(app.inventory(&project)?);
    let minions = match place.local {
        true => vec![this_machine(&inventory)?],
        false => select(app, &project, &inventory, targets, target)?,
    };
    let mut land = Land::new(project, inventory, which, through_master);
    land.pillar = place.pillar_file.as_deref().map(mapping).transpose()?;
    Ok((land, minions))
}

/// The land for one minion that need not exist.
///
/// # Errors
/// Whatever is wrong with project or files.
pub fn open_for(app: &App, place: &Where, which: Which, id: &str) -> Result<(Land, Minion)> {
    let project = place.project(app)?;
    let inventory = Arc::new(app.inventory(&project)?);
    let minion = match inventory.get(id) {
        Some(minion) => minion.clone(),
        None => Minion::new(MinionId::new(id)?, id),
    };
    let mut land = Land::new(project, inventory, which, false);
    land.pillar = place.pillar_file.as_deref().map(mapping).transpose()?;
    Ok((land, minion))
}

/// How often templates may ask the minion for more, where nobody answers.
pub const ROUNDS: usize = 8;

/// Compiles without a minion: what its templates ask is answered with "nothing there", and the user is told so. `compile` is given the
/// answers, and tells the questions that it still has.
///
/// # Errors
/// What `compile` found wrong.
pub fn unasked<T>(
    app: &App,
    minion: &Minion,
    mut compile: impl FnMut(&Arc<Observed>) -> Result<Result<T, Vec<Probe>>>,
) -> Result<T> {
    let mut observed = Arc::new(Observed::default());
    for round in 0..ROUNDS {
        match compile(&observed)? {
            Ok(compiled) => return Ok(compiled),
            Err(asks) => {
                if round == 0 {
                    app.note(&format!(
                        "the templates of {} ask it something: it is taken to have nothing of that",
                        minion.id
                    ));
                }
                let seen = Arc::make_mut(&mut observed);
                asks.iter().for_each(|probe| seen.answer(probe, Fact::nothing(probe)));
            }
        }
    }
    Err(Error::usage("its templates ask the minion something new each time").minion(minion.id.as_str()))
}

/// How minions are reached: over SSH, or as this machine itself.
///
/// # Errors
/// `~/.ssh/config` cannot be read.
pub fn reach(app: &App, project: &Project, inventory: &Arc<Inventory>, local: bool) -> Result<Arc<dyn Reach>> {
    Ok(match local {
        true => Arc::new(Here),
        false => Arc::new(over_ssh(app, project, inventory)?),
    })
}

/// The same, over SSH.
///
/// # Errors
/// `~/.ssh/config` cannot be read.
pub fn over_ssh(app: &App, project: &Project, inventory: &Arc<Inventory>) -> Result<OverSsh> {
    let defaults = Defaults {
        known_hosts: project.known_hosts(),
        pinned: project.own_known_hosts(),
        ..Defaults::of_user()?
    };
    let prompt = Arc::new(Terminal { bars: app.multi() });
    Ok(OverSsh {
        shared: crate::ssh::Shared::new(defaults, project.config.forks, prompt),
        inventory: inventory.clone(),
        cache: project.cache.clone(),
    })
}

/// Who is at work, for the lock on a minion: `ana@laptop`.
pub fn who() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "root".to_owned());
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

fn is_sls(project: &Project, word: &str) -> bool {
    word.split(',').all(|name| {
        let path = name.replace('.', "/");
        !path.is_empty()
            && [format!("{path}.sls"), format!("{path}/init.sls")]
                .iter()
                .any(|path| project.states.find(path).is_some())
    })
}

/// This machine as the inventory knows it by its host name, or else as a minion of that name.
fn this_machine(inventory: &Inventory) -> Result<Minion> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let short = plain.split('.').next().unwrap_or_default();
    let known = inventory.get(&plain).or_else(|| inventory.get(short));
    match known {
        Some(minion) => Ok(minion.clone()),
        None => Ok(Minion::new(
            MinionId::new(&plain).or_else(|_| MinionId::new("localhost"))?,
            "localhost",
        )),
    }
}

/// A mapping out of a YAML or JSON file.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn mapping(path: &Path) -> Result<Value> {
    let id = shown(path);
    let bytes = std::fs::read(path).map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
    let value = crate::yaml::parse_bytes(id, &bytes)?;
    match value.as_map() {
        Some(_) => Ok(value),
        None if value.is_null() => Ok(Value::map()),
        None => Err(Error::usage(format!("{} must hold a mapping, not {}", path.display(), value.kind())).at(value.at)),
    }
}
