//! Many probes into a few sections, and their answers back into facts.
//!
//! All kinds but free-form shell go into one section: the scripts of the textual kinds one after another, each answer ended by NUL
//! (which no shell variable can hold, so nothing that a minion's files say can be mistaken for it), then the binary ones, trees and paths,
//! which frame themselves. Every further chunk of paths and every free-form command is a section of its own.

use super::read::Reader;
use super::{CandidateSeen, GroupSeen, ModuleSeen, MountsSeen, PackageSeen, PathSeen, ShellSeen, TreeSeen, UnitSeen, UserSeen};
use super::{
    Fact, Probe, ShellProbe, accounts, candidates, crontab, listeners, modules, mounts, packages, paths, shell, sysctl, tree,
    units,
};
use crate::error::{Error, Result};
use crate::shell::{Answer, Section};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Probes as they were fused, kept to read the answers by.
#[derive(Clone, Debug)]
pub struct Fused {
    probes: Vec<Probe>,
    parts: Parts,
    pub sections: Vec<Section>,
}

/// The probes by kind, each asked about once.
#[derive(Clone, Debug, Default)]
struct Parts {
    paths: Vec<paths::Chunk>,
    trees: Vec<tree::Root>,
    packages: Vec<String>,
    candidates: Vec<String>,
    units: Vec<String>,
    users: Vec<String>,
    groups: Vec<String>,
    sysctls: Vec<String>,
    modules: Vec<String>,
    mounts: bool,
    crontabs: Vec<String>,
    listeners: bool,
    shells: Vec<ShellProbe>,
}

/// Fuses `probes` by kind. Duplicates are asked once, and of two wants of one path the greater.
pub fn fuse(probes: impl IntoIterator<Item = Probe>) -> Fused {
    // What is asked about, in the order in which it was first named, and the greatest question about it.
    let mut asked: IndexMap<Probe, Probe> = IndexMap::new();
    for probe in probes {
        let greatest = asked.entry(about(&probe)).or_insert_with(|| probe.clone());
        if probe > *greatest {
            *greatest = probe;
        }
    }
    let probes: Vec<Probe> = asked.into_values().collect();
    let parts = Parts::of(&probes);
    let sections = parts.sections();
    Fused { probes, parts, sections }
}

/// The least question about the same thing.
fn about(probe: &Probe) -> Probe {
    match probe {
        Probe::Path { path, .. } => Probe::meta(path.as_str()),
        Probe::Tree { path, .. } => Probe::Tree {
            path: path.clone(),
            hashes: false,
        },
        other => other.clone(),
    }
}

/// Reads one kind's answer.
type Parse<'a> = &'a dyn Fn(&str) -> Result<Vec<(Probe, Fact)>>;

impl Parts {
    fn of(probes: &[Probe]) -> Parts {
        let mut parts = Parts::default();
        let mut wanted = Vec::new();
        for probe in probes {
            match probe {
                Probe::Path { path, want } => wanted.push((path.clone(), *want)),
                Probe::Tree { path, hashes } => parts.trees.push((path.clone(), *hashes)),
                Probe::Package { name } => parts.packages.push(name.clone()),
                Probe::Candidate { name } => parts.candidates.push(name.clone()),
                Probe::Unit { name } => parts.units.push(name.clone()),
                Probe::User { name } => parts.users.push(name.clone()),
                Probe::Group { name } => parts.groups.push(name.clone()),
                Probe::Sysctl { key } => parts.sysctls.push(key.clone()),
                Probe::Module { name } => parts.modules.push(name.clone()),
                Probe::Mounts => parts.mounts = true,
                Probe::Crontab { user } => parts.crontabs.push(user.clone()),
                Probe::Listeners => parts.listeners = true,
                Probe::Shell(shell) => parts.shells.push(shell.clone()),
            }
        }
        parts.paths = paths::chunks(wanted);
        parts
    }

    fn sections(&self) -> Vec<Section> {
        let mut script = String::new();
        let mut text = |wanted: bool, kind: &str| {
            if wanted {
                script.push_str(&format!("o=$(\n{kind})\nprintf '%s\\0' \"$o\"\n"));
            }
        };
        text(!self.packages.is_empty(), &packages::script(&self.packages));
        text(!self.candidates.is_empty(), &candidates::script(&self.candidates));
        text(!self.units.is_empty(), &units::script(&self.units));
        text(self.has_accounts(), &accounts::script(&self.users, &self.groups));
        text(!self.sysctls.is_empty(), &sysctl::script(&self.sysctls));
        text(!self.modules.is_empty(), &modules::script(&self.modules));
        text(self.mounts, mounts::SCRIPT);
        text(self.listeners, listeners::SCRIPT);
        if !self.crontabs.is_empty() {
            script.push_str(&crontab::script(&self.crontabs));
        }
        let mut keep = 8 << 20;
        if !self.trees.is_empty() {
            script.push_str(&tree::script(&self.trees));
            keep += 64 << 20;
        }
        let mut chunks = self.paths.iter();
        if let Some(first) = chunks.next() {
            script.push_str(&paths::script(first));
            keep += paths::keep(first);
        }
        let mut sections = Vec::new();
        if !script.is_empty() {
            // A section's status is its last command's, and a probe that finds nothing has not failed.
            script.push_str("exit 0\n");
            sections.push(Section {
                keep,
                ..Section::own(script)
            });
        }
        sections.extend(chunks.map(|chunk| Section {
            keep: paths::keep(chunk),
            ..Section::own(paths::script(chunk) + "exit 0\n")
        }));
        sections.extend(self.shells.iter().map(shell::section));
        sections
    }

    fn has_accounts(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// What the first section said of everything but the further chunks of paths.
    fn first(&self, answer: &mut Reader) -> Result<Vec<(Probe, Fact)>> {
        let mut facts = Vec::new();
        let mut text = |wanted: bool, what, parse: Parse| -> Result<()> {
            if wanted {
                answer.now(what);
                facts.extend(parse(&answer.text()?)?);
            }
            Ok(())
        };
        text(!self.packages.is_empty(), "packages", &|text| {
            Ok(packages::parse(&self.packages, text))
        })?;
        text(!self.candidates.is_empty(), "package candidates", &|text| {
            Ok(candidates::parse(&self.candidates, text))
        })?;
        text(!self.units.is_empty(), "services", &|text| units::parse(&self.units, text))?;
        text(self.has_accounts(), "accounts", &|text| {
            Ok(accounts::parse(&self.users, &self.groups, text))
        })?;
        text(!self.sysctls.is_empty(), "kernel settings", &|text| {
            Ok(sysctl::parse(&self.sysctls, text))
        })?;
        text(!self.modules.is_empty(), "kernel modules", &|text| {
            Ok(modules::parse(&self.modules, text))
        })?;
        text(self.mounts, "mounts", &|text| Ok(mounts::parse(text)))?;
        text(self.listeners, "listeners", &|text| Ok(listeners::parse(text)))?;
        facts.extend(crontab::parse(&self.crontabs, answer)?);
        if !self.trees.is_empty() {
            facts.extend(tree::parse(&self.trees, answer)?);
        }
        if let Some(chunk) = self.paths.first() {
            facts.extend(paths::parse(chunk, answer)?);
        }
        Ok(facts)
    }
}

impl Fused {
    /// The facts in `answers`, one for each probe, in the order of `sections`.
    ///
    /// # Errors
    /// An answer that is not in the form that the section's script prints.
    pub fn parse(&self, answers: &[Answer]) -> Result<Vec<(Probe, Fact)>> {
        let mut facts: HashMap<Probe, Fact> = HashMap::new();
        let mut answers = answers.iter();
        let mut next = || answers.next().ok_or_else(|| Error::state("a probe was not answered"));
        let (shells, rest) = (self.parts.shells.len(), self.parts.paths.iter().skip(1));
        if self.sections.len() > shells {
            let answer = next()?;
            let mut reader = Reader::new("the minion", &answer.stdout);
            facts.extend(self.parts.first(&mut reader).map_err(|error| explained(error, answer))?);
        }
        for chunk in rest {
            let answer = next()?;
            let mut reader = Reader::new("paths", &answer.stdout);
            facts.extend(paths::parse(chunk, &mut reader).map_err(|error| explained(error, answer))?);
        }
        for shell in &self.parts.shells {
            facts.extend([shell::fact(shell, next()?)]);
        }
        let fact = |probe: &Probe| (probe.clone(), facts.remove(probe).unwrap_or_else(|| nothing(probe)));
        Ok(self.probes.iter().map(fact).collect())
    }
}

/// The error with what the minion had to say about it.
fn explained(error: Error, answer: &Answer) -> Error {
    let said = answer.error_text();
    let last: Vec<&str> = said.trim_end().lines().rev().take(3).collect();
    let error = match answer.dropped {
        0 => error,
        dropped => error.hint(format!("{dropped} bytes of the answer were too many to keep")),
    };
    match (answer.status, last.is_empty()) {
        (0, true) => error,
        (status, true) => error.hint(format!("the minion's shell ended with status {status}")),
        _ => error.hint(format!(
            "the minion's shell said: {}",
            last.into_iter().rev().collect::<Vec<_>>().join(" / ")
        )),
    }
}

/// What is seen of something that cannot be: a relative path, a name that no package can have.
fn nothing(probe: &Probe) -> Fact {
    match probe.clone() {
        Probe::Path { path, .. } => Fact::Path(path, PathSeen::default()),
        Probe::Tree { path, .. } => Fact::Tree(path, TreeSeen::default()),
        Probe::Package { name } => Fact::Package(name, PackageSeen::default()),
        Probe::Candidate { name } => Fact::Candidate(name, CandidateSeen::default()),
        Probe::Unit { name } => Fact::Unit(name, UnitSeen::default()),
        Probe::User { name } => Fact::User(name, UserSeen::default()),
        Probe::Group { name } => Fact::Group(name, GroupSeen::default()),
        Probe::Sysctl { key } => Fact::Sysctl(key, None),
        Probe::Module { name } => Fact::Module(name, ModuleSeen::default()),
        Probe::Mounts => Fact::Mounts(MountsSeen::default()),
        Probe::Crontab { user } => Fact::Crontab(user, None),
        Probe::Listeners => Fact::Listeners(Vec::new()),
        Probe::Shell(shell) => Fact::Shell(shell, ShellSeen::default()),
    }
}
