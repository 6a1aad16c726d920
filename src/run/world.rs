//! What is known of a minion during a run, and what of it may still be relied on. Pure.

use crate::probe::{Fact, Observed, Probe, Resource};
use std::collections::HashSet;

/// Observations, and which of them no change has made stale.
#[derive(Default)]
pub struct World {
    pub observed: Observed,
    fresh: HashSet<Probe>,
    /// Dry run: what changes that were not made would have touched, without saying what would be seen then.
    uncertain: Vec<Resource>,
    /// Dry run: what such changes said would be seen.
    predicted: Vec<Resource>,
}

/// How far a dry run can trust what was seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trust {
    /// No change that was not made touches it, or its effect is known.
    Known,
    /// Something broad (an installation, a command) may have touched it.
    Doubtful,
    /// Something that was named touches it, and what would be seen is not known.
    Unknown,
}

impl World {
    /// Takes in the answers to probes.
    pub fn answer(&mut self, facts: Vec<(Probe, Fact)>) {
        for (probe, fact) in facts {
            self.observed.answer(&probe, fact);
            self.fresh.insert(probe);
        }
    }

    /// Whether `probe` needs no asking.
    pub fn is_fresh(&self, probe: &Probe) -> bool {
        self.fresh.contains(probe)
            || (!matches!(probe, Probe::Shell(_))
                && self.fresh.iter().any(|known| covers(known, probe))
                && self.observed.has(probe))
    }

    /// Forgets what a change of `writes` has made stale.
    pub fn wrote(&mut self, writes: &[Resource]) {
        self.fresh.retain(|probe| {
            !probe
                .reads()
                .iter()
                .any(|read| writes.iter().any(|written| written.meets(read)))
        });
    }

    /// Dry run: takes a change as made, as far as its effect was predicted.
    pub fn pretend(&mut self, writes: &[Resource], predicts: &[Fact]) {
        for fact in predicts {
            self.predicted.extend(resource(fact));
            self.observed.insert(fact.clone());
        }
        let unpredicted = writes.iter().filter(|written| !self.predicted.contains(written));
        self.uncertain.extend(unpredicted.cloned().collect::<Vec<_>>());
    }

    /// Dry run: how far what `probes` showed can be trusted.
    pub fn trust(&self, probes: &[Probe]) -> Trust {
        let reads = probes
            .iter()
            .flat_map(Probe::reads)
            .filter(|read| !self.predicted.contains(read));
        reads.map(|read| self.trust_of(&read)).max().unwrap_or(Trust::Known)
    }

    fn trust_of(&self, read: &Resource) -> Trust {
        let broad = |resource: &Resource| matches!(resource, Resource::Everything | Resource::Packages);
        let met = self.uncertain.iter().filter(|uncertain| uncertain.meets(read));
        met.map(|uncertain| {
            if broad(uncertain) || broad(read) {
                Trust::Doubtful
            } else {
                Trust::Unknown
            }
        })
        .max()
        .unwrap_or(Trust::Known)
    }
}

/// Whether an answer to `known` also answers `probe`: a path that was asked for with more.
fn covers(known: &Probe, probe: &Probe) -> bool {
    match (known, probe) {
        (Probe::Path { path: a, want: had }, Probe::Path { path: b, want }) => a == b && had >= want,
        _ => false,
    }
}

/// What a prediction is about.
fn resource(fact: &Fact) -> Option<Resource> {
    Some(match fact {
        Fact::Path(path, _) => Resource::Path(path.clone()),
        Fact::Tree(path, _) => Resource::Tree(path.clone()),
        Fact::Unit(name, _) => Resource::Unit(name.clone()),
        Fact::Sysctl(key, _) => Resource::Sysctl(key.clone()),
        Fact::Mounts(_) => Resource::Mounts,
        Fact::Crontab(user, _) => Resource::Crontab(user.clone()),
        Fact::Listeners(_) => Resource::Listeners,
        Fact::Module(..) => Resource::Modules,
        // One package or account that was predicted says nothing of the others.
        Fact::Package(..) | Fact::Candidate(..) | Fact::User(..) | Fact::Group(..) | Fact::Shell(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{PathSeen, UnitSeen};

    fn seen(probe: Probe) -> (Probe, Fact) {
        let Probe::Path { path, .. } = &probe else { unreachable!() };
        let fact = Fact::Path(path.clone(), PathSeen::default());
        (probe, fact)
    }

    #[test]
    fn a_change_makes_stale_what_it_meets() {
        let mut world = World::default();
        world.answer(vec![seen(Probe::text("/a")), seen(Probe::meta("/b/c"))]);
        assert!(world.is_fresh(&Probe::meta("/a")), "less than what was asked");
        world.wrote(&[Resource::Tree("/b".into())]);
        assert!(world.is_fresh(&Probe::text("/a")) && !world.is_fresh(&Probe::meta("/b/c")));
        world.wrote(&[Resource::Packages]);
        assert!(!world.is_fresh(&Probe::text("/a")));
    }

    #[test]
    fn a_dry_run_trusts_what_was_predicted() {
        let mut world = World::default();
        world.pretend(
            &[Resource::Path("/a".into())],
            &[Fact::Path("/a".into(), PathSeen::default())],
        );
        assert_eq!(world.trust(&[Probe::text("/a")]), Trust::Known);
        world.pretend(&[Resource::Path("/b".into())], &[]);
        assert_eq!(world.trust(&[Probe::text("/a"), Probe::text("/b")]), Trust::Unknown);
        world.pretend(&[Resource::Packages], &[]);
        assert_eq!(world.trust(&[Probe::Unit { name: "x".into() }]), Trust::Doubtful);
        world.pretend(&[Resource::Unit("x".into())], &[Fact::Unit("x".into(), UnitSeen::default())]);
        assert_eq!(world.trust(&[Probe::Unit { name: "x".into() }]), Trust::Known);
    }
}
