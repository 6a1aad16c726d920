//! The minions of a project: who they are, how they are reached, which groups they form, and which of them a target means.
//!
//! Pure but for reading the files. Knows neither connections nor states; grains and pillar reach it as values.

pub mod card;
mod compound;
mod fields;
mod glob;
mod groups;
mod matching;
mod minion;
mod range;
mod read;
mod select;
mod target;

pub use card::{Card, FirstBoot};
pub use glob::Glob;
pub use groups::Nodegroups;
pub use matching::{MinionFacts, match_minion, subdict_match};
pub use minion::{Jump, Minion, MinionId, Password, Secret, Sudo};
pub use select::{Facts, Selection};
pub use target::{Target, TargetKind};

use crate::error::{Error, Result};
use indexmap::IndexMap;

/// All minions, in the order in which they were written, and the groups of them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    minions: IndexMap<MinionId, Minion>,
    groups: Nodegroups,
    /// What the user should know, and what stops nothing: a password in clear text.
    pub warnings: Vec<Error>,
}

impl Inventory {
    /// An inventory of just these minions, without groups: `--local`, and minions that were made rather than written.
    pub fn of(minions: impl IntoIterator<Item = Minion>) -> Inventory {
        Inventory {
            minions: minions.into_iter().map(|minion| (minion.id.clone(), minion)).collect(),
            ..Inventory::default()
        }
    }

    pub fn minions(&self) -> impl Iterator<Item = &Minion> {
        self.minions.values()
    }

    pub fn get(&self, id: &str) -> Option<&Minion> {
        self.minions.get(id)
    }

    /// The minion called `id`.
    ///
    /// # Errors
    /// There is none: names the nearest.
    pub fn minion(&self, id: &str) -> Result<&Minion> {
        self.get(id).ok_or_else(|| self.no_such(id))
    }

    pub fn groups(&self) -> &Nodegroups {
        &self.groups
    }

    pub fn len(&self) -> usize {
        self.minions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.minions.is_empty()
    }

    fn no_such(&self, id: &str) -> Error {
        Error::usage(format!("no minion is called `{id}`"))
            .did_you_mean(id, self.minions.keys().map(MinionId::as_str))
            .hint(self.listed())
    }

    /// "the inventory has pi0, pi1, pi2 and 11 more".
    fn listed(&self) -> String {
        const SHOWN: usize = 8;
        let names: Vec<&str> = self.minions.keys().map(MinionId::as_str).collect();
        match names.len() {
            0 => "the inventory is empty: name minions in `inventory/`".to_owned(),
            n if n <= SHOWN + 1 => format!("the inventory has {}", names.join(", ")),
            n => format!("the inventory has {} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        }
    }
}
