//! Requisites: the references of chunks resolved to the chunks that they mean.
//!
//! `X` in `- module: X` is compared with the ID and the name of each chunk of the module and may be a pattern; in `- sls: X` with the
//! SLS that a chunk comes from. A chunk's reference to the SLS that it stands in does not include itself.

use super::input::Unresolved;
use super::low::{Chunk, Reference, Requisite, RequisiteKind};
use super::source::is_pattern;
use crate::error::{Error, Pos};
use crate::inventory::Glob;
use crate::yaml::{Data, Key, Map, Value};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Requisites that are appended to when a state is extended; each a list of references.
pub(crate) const DIRECT: [&str; 13] = [
    "require",
    "require_any",
    "watch",
    "watch_any",
    "prereq",
    "prerequired",
    "onfail",
    "onfail_any",
    "onfail_all",
    "onchanges",
    "onchanges_any",
    "listen",
    "listen_any",
];

/// Requisites that say something of another state, and `use`.
pub(crate) const REVERSE: [&str; 8] = [
    "require_in",
    "watch_in",
    "prereq_in",
    "onfail_in",
    "onchanges_in",
    "listen_in",
    "use_in",
    "use",
];

/// The kinds in the order in which Salt looks at them.
const KINDS: [(&str, RequisiteKind); 11] = [
    ("require", RequisiteKind::Require),
    ("require_any", RequisiteKind::RequireAny),
    ("watch", RequisiteKind::Watch),
    ("watch_any", RequisiteKind::WatchAny),
    ("prereq", RequisiteKind::Prereq),
    ("onfail", RequisiteKind::Onfail),
    ("onfail_any", RequisiteKind::OnfailAny),
    ("onfail_all", RequisiteKind::OnfailAll),
    ("onchanges", RequisiteKind::Onchanges),
    ("onchanges_any", RequisiteKind::OnchangesAny),
    ("listen", RequisiteKind::Listen),
];

/// Looking for near names takes time; more mistakes than this are told without.
pub(super) const SUGGESTED: usize = 20;

/// Finds chunks by what references say.
pub(super) struct Resolver<'c> {
    chunks: &'c [Chunk],
    by_id_or_name: HashMap<&'c str, Vec<usize>>,
    by_sls: IndexMap<&'c str, Vec<usize>>,
    patterns: HashMap<(String, String), Vec<usize>>,
}

impl<'c> Resolver<'c> {
    pub fn new(chunks: &'c [Chunk]) -> Resolver<'c> {
        let mut by_id_or_name: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut by_sls: IndexMap<&str, Vec<usize>> = IndexMap::new();
        for (n, chunk) in chunks.iter().enumerate() {
            by_id_or_name.entry(&chunk.id).or_default().push(n);
            if chunk.name != chunk.id {
                by_id_or_name.entry(&chunk.name).or_default().push(n);
            }
            by_sls.entry(&chunk.sls).or_default().push(n);
        }
        Resolver {
            chunks,
            by_id_or_name,
            by_sls,
            patterns: HashMap::new(),
        }
    }

    /// The chunks that `module: pattern` means, in low-state order.
    fn resolve(&mut self, module: &str, pattern: &str) -> Vec<usize> {
        if module == "sls" {
            let glob = Glob::fnmatch(pattern);
            let mut found: Vec<usize> = self
                .by_sls
                .iter()
                .filter(|(sls, _)| **sls == pattern || (is_pattern(pattern) && glob.matches(sls)))
                .flat_map(|(_, chunks)| chunks.iter().copied())
                .collect();
            found.sort_unstable();
            return found;
        }
        let fits = |n: &usize| module == "id" || self.chunks[*n].state == module;
        let literal = self.by_id_or_name.get(pattern).into_iter().flatten().copied().filter(fits);
        if !is_pattern(pattern) {
            return literal.collect();
        }
        let key = (module.to_owned(), pattern.to_owned());
        if let Some(found) = self.patterns.get(&key) {
            return found.clone();
        }
        let glob = Glob::fnmatch(pattern);
        let mut found: Vec<usize> = (0..self.chunks.len())
            .filter(fits)
            .filter(|n| glob.matches(&self.chunks[*n].name) || glob.matches(&self.chunks[*n].id))
            .chain(literal)
            .collect();
        found.sort_unstable();
        found.dedup();
        self.patterns.insert(key, found.clone());
        found
    }

    fn unresolved(&self, kind: &str, module: &str, pattern: &str, at: Pos) -> Error {
        let error = nowhere(kind, module, pattern, at);
        if module == "sls" {
            return error
                .did_you_mean(pattern, self.by_sls.keys().copied())
                .hint(format!("is an `include` of `{pattern}` missing?"));
        }
        let others: Vec<String> = self
            .by_id_or_name
            .get(pattern)
            .into_iter()
            .flatten()
            .map(|n| format!("`{}: {pattern}`", self.chunks[*n].state))
            .collect();
        if !others.is_empty() {
            return error.hint(format!("there is {}", others.join(" and ")));
        }
        let known = self
            .chunks
            .iter()
            .filter(|chunk| module == "id" || chunk.state == module)
            .flat_map(|chunk| [&*chunk.id, &*chunk.name]);
        error
            .did_you_mean(pattern, known)
            .hint("a reference is compared with IDs and names; is an `include` missing?")
    }

    /// The requisites of chunk `n`, resolved. What refers to nothing goes to `problems`.
    pub fn requisites(&mut self, n: usize, watches: bool, problems: &mut Problems) -> Vec<Requisite> {
        let chunk = &self.chunks[n];
        let mut requisites: Vec<Requisite> = Vec::new();
        for (name, kind) in KINDS {
            let Some(items) = chunk.all.get(name).and_then(Value::as_list) else {
                continue;
            };
            let kind = match kind {
                RequisiteKind::Watch if !watches => RequisiteKind::Require,
                RequisiteKind::WatchAny if !watches => RequisiteKind::RequireAny,
                kind => kind,
            };
            let references: Vec<Reference> = items
                .iter()
                .filter_map(|item| self.reference(n, name, item, problems))
                .collect();
            match requisites.iter_mut().find(|requisite| requisite.kind == kind) {
                Some(requisite) => requisite.references.extend(references),
                None => requisites.push(Requisite { kind, references }),
            }
        }
        requisites
    }

    fn reference(&mut self, n: usize, kind: &str, item: &Value, problems: &mut Problems) -> Option<Reference> {
        let (module, pattern, at) = match item.as_map().and_then(Map::first) {
            Some((module, pattern)) => (module.text(), pattern.scalar_text()?, pattern.at),
            None => ("id".to_owned(), item.scalar_text()?, item.at),
        };
        let mut targets = self.resolve(&module, &pattern);
        let found = !targets.is_empty();
        targets.retain(|target| *target != n);
        if !found {
            let error = if problems.errors.len() + problems.warnings.len() < SUGGESTED {
                self.unresolved(kind, &module, &pattern, at)
            } else {
                nowhere(kind, &module, &pattern, at)
            };
            problems.unresolved(kind, error);
        } else if targets.is_empty() {
            if module != "sls" && !is_pattern(&pattern) {
                let id = &self.chunks[n].id;
                problems
                    .errors
                    .push(Error::usage(format!("`{kind}` of `{id}` refers to itself")).at(at));
            }
            return None;
        }
        Some(Reference {
            module,
            pattern,
            at,
            targets,
        })
    }

    /// The targets of a `listen_in`, each with the place of the reference.
    pub fn listeners(&mut self, n: usize, problems: &mut Problems) -> Vec<(usize, Pos)> {
        let chunk = &self.chunks[n];
        let mut listeners = Vec::new();
        let Some(value) = chunk.all.get("listen_in") else {
            return listeners;
        };
        let one = |key: &Key, target: &Value| Value::from(Map::from_iter([(key.clone(), target.clone())])).at(target.at);
        let items: Vec<Value> = match &value.data {
            Data::List(items) => items.clone(),
            Data::Map(map) => map.iter().map(|(key, target)| one(key, target)).collect(),
            _ => Vec::new(),
        };
        for item in &items {
            let reference = self.reference(n, "listen_in", item, problems);
            if let Some(Reference { targets, at, .. }) = reference {
                listeners.extend(targets.into_iter().map(|target| (target, at)));
            }
        }
        listeners
    }
}

fn nowhere(kind: &str, module: &str, pattern: &str, at: Pos) -> Error {
    let what = if module == "id" {
        pattern.to_owned()
    } else {
        format!("{module}: {pattern}")
    };
    Error::usage(format!("`{kind}` refers to `{what}`, which no state declares")).at(at)
}

/// What is wrong with references.
pub(super) struct Problems<'a> {
    pub unresolved: Unresolved,
    pub errors: &'a mut Vec<Error>,
    pub warnings: &'a mut Vec<Error>,
}

impl Problems<'_> {
    /// Salt finds out about `listen` only when all is done, so that it is never more than a warning.
    fn unresolved(&mut self, kind: &str, error: Error) {
        if self.unresolved == Unresolved::Error && !kind.starts_with("listen") {
            self.errors.push(error);
        } else {
            self.warnings.push(error);
        }
    }
}
