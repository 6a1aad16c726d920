//! SLS files gathered with all that they include, in Salt's order: what an SLS includes comes before its own states.

use super::declare::{Include, Reader};
use super::high::{High, argument, argument_name};
use super::render::Locals;
use super::source::{Found, Sources, absolute};
use crate::error::{Error, Pos};
use crate::yaml::Value;
use std::collections::HashSet;

/// The longest chain of includes.
const MAX_CHAIN: usize = 200;

/// The first number that states get whose `order` is not given: those that give one come first.
const FIRST_ORDER: i64 = 10_000;

pub(super) struct Loader<'a> {
    sources: &'a Sources<'a>,
    takes: &'a dyn Fn(&str, &str) -> bool,
    /// What has been loaded, or is being loaded.
    loaded: HashSet<String>,
    next_order: i64,
    chain: usize,
    pub errors: Vec<Error>,
    pub warnings: Vec<Error>,
}

impl<'a> Loader<'a> {
    pub fn new(sources: &'a Sources<'a>, takes: &'a dyn Fn(&str, &str) -> bool) -> Loader<'a> {
        Loader {
            sources,
            takes,
            loaded: HashSet::new(),
            next_order: FIRST_ORDER,
            chain: 0,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds the SLS that `pattern` means, and all that they include. `at`: where it is asked for.
    pub fn add(&mut self, high: &mut High, pattern: &str, at: Pos) {
        for sls in self.sources.expand(pattern) {
            if let Some(more) = self.sls(&sls, at) {
                high.merge(more, &mut self.errors);
            }
        }
    }

    /// The states of `sls` and of what it includes; `None` if it was loaded before, or cannot be.
    fn sls(&mut self, sls: &str, at: Pos) -> Option<High> {
        if !self.loaded.insert(sls.to_owned()) {
            return None;
        }
        let found = match self.sources.get(sls) {
            Ok(found) => found,
            Err(error) => {
                self.errors.push(error.at(at));
                return None;
            }
        };
        let locals = Locals::of(sls, self.sources.saltenv(), &found.file);
        let value = match self.sources.read(&found.file, &locals) {
            Ok(value) => value?,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        let mut reader = Reader {
            sls: sls.into(),
            errors: &mut self.errors,
            warnings: &mut self.warnings,
            takes: self.takes,
        };
        let contents = reader.contents(value);
        let mut high = High {
            ids: contents.ids,
            extensions: contents.extensions,
            exclusions: contents.exclusions,
        };
        let own = high.ids.len();
        let duplicates = self.errors.len();
        for include in contents.includes {
            self.include(&mut high, &include, &found);
        }
        if self.errors.len() == duplicates {
            self.number(&mut high, own);
        }
        Some(high)
    }

    fn include(&mut self, high: &mut High, include: &Include, from: &Found) {
        let saltenv = self.sources.saltenv();
        if let Some(env) = include.env.as_deref().filter(|env| *env != saltenv && *env != "_xenv") {
            let error = Error::usage(format!("the include of `{}` names the environment `{env}`", include.name));
            self.errors
                .push(error.at(include.at).hint(format!("this run knows only `{saltenv}`")));
            return;
        }
        let name = match absolute(&include.name, from) {
            Ok(name) => name,
            Err(error) => {
                self.errors.push(error.at(include.at));
                return;
            }
        };
        if self.chain >= MAX_CHAIN {
            self.errors
                .push(Error::usage(format!("a chain of more than {MAX_CHAIN} includes")).at(include.at));
            return;
        }
        self.chain += 1;
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        self.add(high, &name, include.at);
        self.chain -= 1;
        trail(&mut self.errors, errors, &from.sls, include.at);
        trail(&mut self.warnings, warnings, &from.sls, include.at);
    }

    /// Numbers the states that are not numbered yet: the first `own` IDs are the SLS's own.
    fn number(&mut self, high: &mut High, own: usize) {
        for declaration in high.ids.values_mut().take(own) {
            for body in declaration.modules.values_mut() {
                let ordered = body.args.iter().any(|arg| argument_name(arg) == Some("order"));
                if !ordered {
                    body.args
                        .push(argument("order", Value::from(self.next_order), Pos::default()));
                    self.next_order += 1;
                }
            }
        }
    }
}

/// Adds, to what was told about an included SLS since there were `since` messages, that `sls` includes it at `at`.
pub(crate) fn trail(told: &mut [Error], since: usize, sls: &str, at: Pos) {
    for error in &mut told[since..] {
        // Not where the include itself is what is wrong.
        if error.diagnostics().iter().all(|d| d.at != at) {
            *error = error.clone().trail(&format!("included by `{sls}`"), at);
        }
    }
}

/// The names of SLS as they are given on a command line: `a,b` is two.
pub(super) fn names(given: &[String]) -> impl Iterator<Item = &str> {
    given
        .iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}
