//! The minions of the inventory that a target means.

use super::matching::{Known, MinionFacts};
use super::minion::{Minion, MinionId};
use super::target::Target;
use super::{Glob, Inventory};
use crate::error::{Error, Result};
use crate::yaml::Value;
use std::net::IpAddr;

/// What is known of a minion without asking it; `None`: nothing is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The cached grains.
    pub grains: Option<Value>,
    pub pillar: Option<Value>,
}

/// Who was meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// In the inventory's order; never empty.
    pub minions: Vec<MinionId>,
    /// Those that may be meant: the target asks for grains or pillar that are not known yet.
    pub unknown: Vec<MinionId>,
}

impl Inventory {
    /// The minions that `target` means. `facts` is asked only if the target looks at grains or pillar.
    ///
    /// # Errors
    /// No minion is meant, or one is named that does not exist; near names are given.
    pub fn select(&self, target: &Target, mut facts: impl FnMut(&Minion) -> Result<Facts>) -> Result<Selection> {
        let missing = target.literal_ids().into_iter().filter(|id| self.get(id).is_none());
        let missing = Error::all(missing.map(|id| self.no_such_target(id)));
        missing.map_or(Ok(()), Err)?;

        let asks = target.uses_grains() || target.uses_pillar();
        let mut selection = Selection::default();
        for minion in self.minions() {
            let facts = if asks { facts(minion)? } else { Facts::default() };
            match target.matches(&self.known(minion, &facts).known(minion, self))? {
                Some(true) => selection.minions.push(minion.id.clone()),
                Some(false) => {}
                None => selection.unknown.push(minion.id.clone()),
            }
        }
        match selection.minions.is_empty() {
            true => Err(self.nothing(target, &selection.unknown)),
            false => Ok(selection),
        }
    }

    fn known(&self, minion: &Minion, facts: &Facts) -> Laid {
        let grains = laid_over(facts.grains.as_ref(), &minion.grains);
        let pillar = laid_over(facts.pillar.as_ref(), &minion.pillar);
        Laid {
            grains,
            pillar,
            complete: (facts.grains.is_some(), facts.pillar.is_some()),
            addresses: minion.address.parse().into_iter().collect(),
        }
    }

    fn no_such_target(&self, id: &str) -> Error {
        let error = self.no_such(id);
        match self.groups().names().find(|group| *group == id) {
            Some(group) => error.hint(format!("there is a nodegroup of that name: `N@{group}`")),
            None => error,
        }
    }

    fn nothing(&self, target: &Target, unknown: &[MinionId]) -> Error {
        let text = &target.text;
        if !unknown.is_empty() {
            let names: Vec<&str> = unknown.iter().take(8).map(MinionId::as_str).collect();
            let more = if unknown.len() > names.len() {
                format!(" and {} more", unknown.len() - names.len())
            } else {
                String::new()
            };
            return Error::usage(format!("no minion is known to match `{text}`")).hint(format!(
                "no grains are cached of {}{more}: `picloud grains` collects them",
                names.join(", ")
            ));
        }
        let error = Error::usage(format!("no minion matches `{text}`"));
        // A pattern one character off: `pu*` for `pi*`, `PI*` for `pi*`.
        let stem = text.trim_end_matches(['*', '?']);
        let near = self.minions().map(|minion| minion.id.as_str()).find(|id| {
            let start: String = id.chars().take(stem.chars().count()).collect();
            !stem.is_empty() && crate::error::nearest(stem, [start.as_str()]).is_some()
        });
        let plain = !text.contains(['@', ' ']) && Glob::ids(text).matches(text);
        match near.filter(|_| plain) {
            Some(near) => error.hint(format!("near: `{near}`")).hint(self.listed()),
            None => error.hint(self.listed()),
        }
    }
}

/// A minion's facts with the inventory's own laid over them.
struct Laid {
    grains: Value,
    pillar: Value,
    complete: (bool, bool),
    addresses: Vec<IpAddr>,
}

impl Laid {
    fn known<'a>(&'a self, minion: &'a Minion, inventory: &'a Inventory) -> Known<'a> {
        let facts = MinionFacts {
            id: minion.id.as_str(),
            grains: &self.grains,
            pillar: &self.pillar,
            addresses: &self.addresses,
            groups: inventory.groups(),
        };
        Known {
            facts,
            grains: self.complete.0,
            pillar: self.complete.1,
        }
    }
}

/// `above`, a mapping, over `below`, key by key at the top.
fn laid_over(below: Option<&Value>, above: &Value) -> Value {
    let mut merged = below.and_then(Value::as_map).cloned().unwrap_or_default();
    merged.extend(
        above
            .as_map()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    merged.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;
    use crate::inventory::TargetKind;

    fn inventory() -> Inventory {
        let text = "minions: {'pi[0-3]': {grains: {rack: a}}, web1: {address: 10.0.0.9}}\nnodegroups: {workers: 'pi[1-3]'}\n";
        Inventory::parse(&[(FileId::of("inventory.yaml"), text.into())]).unwrap()
    }

    fn select(target: &str) -> Result<Selection> {
        let inventory = inventory();
        let target = Target::parse(TargetKind::Compound, target, inventory.groups())?;
        inventory.select(&target, |minion| {
            let grains = (minion.id.as_str() < "pi2").then(|| Value::from(&serde_json::json!({"os": "Debian"})));
            Ok(Facts { grains, pillar: None })
        })
    }

    #[test]
    fn targets_select_minions() {
        for (target, minions, unknown) in [
            ("*", "pi0 pi1 pi2 pi3 web1", ""),
            ("N@workers and not pi2", "pi1 pi3", ""),
            ("G@os:Debian", "pi0 pi1", "pi2 pi3 web1"),
            ("G@rack:a", "pi0 pi1 pi2 pi3", "web1"),
            ("S@10.0.0.0/24", "web1", "pi2 pi3"),
        ] {
            let selection = select(target).unwrap();
            let names = |ids: &[MinionId]| ids.iter().map(MinionId::as_str).collect::<Vec<_>>().join(" ");
            assert_eq!(
                (names(&selection.minions), names(&selection.unknown)),
                (minions.to_owned(), unknown.to_owned()),
                "{target}"
            );
        }
    }

    #[test]
    fn a_target_that_means_nobody_has_near_names() {
        for (target, expected) in [
            (
                "pi9",
                "no minion is called `pi9`; did you mean `pi0`?; the inventory has pi0, pi1, pi2, pi3, web1",
            ),
            (
                "pu*",
                "no minion matches `pu*`; near: `pi0`; the inventory has pi0, pi1, pi2, pi3, web1",
            ),
            (
                "pi[7-9]",
                "no minion matches `pi[7-9]`; the inventory has pi0, pi1, pi2, pi3, web1",
            ),
            (
                "workers",
                "no minion is called `workers`; the inventory has pi0, pi1, pi2, pi3, web1; there is a nodegroup of that name: `N@workers`",
            ),
            (
                "G@os:Arch",
                "no minion is known to match `G@os:Arch`; no grains are cached of pi2, pi3, web1: `picloud grains` collects them",
            ),
        ] {
            let error = select(target).unwrap_err();
            let hints = &error.diagnostics()[0].hints;
            assert_eq!(format!("{error}; {}", hints.join("; ")), expected);
        }
    }
}
