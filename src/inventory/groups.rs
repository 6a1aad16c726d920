//! Nodegroups: named targets, which may refer to each other.

use super::target::{Expr, Source, TargetKind};
use crate::error::{Error, Pos, Result};
use crate::yaml::{Data, Key, Value};
use indexmap::IndexMap;
use std::cell::RefCell;
use std::sync::Arc;

/// The groups of an inventory, by name.
#[derive(Clone, Debug, Default)]
pub struct Nodegroups(IndexMap<String, Group>);

#[derive(Clone, Debug)]
struct Group {
    expr: Arc<Expr>,
    at: Pos,
}

impl Nodegroups {
    /// Reads groups as the inventory has them: a compound expression, or a list. A list in which `and`, `or`, `not` or a parenthesis
    /// stands is the words of one expression, as in Salt; else it is the members.
    ///
    /// # Errors
    /// Everything that is wrong in them: a group that is named twice, one that refers to itself, expressions that cannot be read.
    pub(crate) fn parse(written: &[(Key, Value)]) -> Result<Nodegroups> {
        let mut texts: IndexMap<String, (&Key, Vec<String>, Pos)> = IndexMap::new();
        let mut errors = Vec::new();
        for (key, value) in written {
            let name = key.text();
            if let Some((first, ..)) = texts.get(&name) {
                errors.push(
                    Error::usage(format!("nodegroup `{name}` is defined twice"))
                        .at(key.at)
                        .trail("first defined", first.at),
                );
                continue;
            }
            match alternatives(value) {
                Some(alternatives) => drop(texts.insert(name, (key, alternatives, value.at))),
                None => errors.push(
                    Error::usage(format!(
                        "nodegroup `{name}` must be a target or a list of minions, not {}",
                        value.kind()
                    ))
                    .at(value.at)
                    .hint("write `workers: pi[1-3]`, `workers: [pi1, pi2]` or `workers: G@role:worker and not pi0`"),
                ),
            }
        }
        let resolver = Resolver {
            texts: &texts,
            done: RefCell::default(),
            open: RefCell::default(),
        };
        let mut groups = IndexMap::new();
        for (name, (key, ..)) in &texts {
            match resolver.find(name) {
                Ok(expr) => drop(groups.insert(name.clone(), Group { expr, at: key.at })),
                // A group that fails because of another has the same error: it is told once.
                Err(error) if errors.iter().any(|known| known.to_string() == error.to_string()) => {}
                Err(error) => errors.push(error),
            }
        }
        Error::all(errors).map_or(Ok(Nodegroups(groups)), Err)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Expr>> {
        self.0
            .get(name)
            .map(|group| group.expr.clone())
            .ok_or_else(|| no_such(name, self.names()))
    }

    /// The ids that groups name in full, with the group's place.
    pub(super) fn literal_ids(&self) -> Vec<(String, Pos)> {
        let mut found = Vec::new();
        for group in self.0.values() {
            let mut ids = Vec::new();
            group.expr.literal_ids(&mut ids);
            found.extend(ids.into_iter().map(|id| (id.to_owned(), group.at)));
        }
        found
    }
}

fn no_such<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    let error = Error::usage(format!("no nodegroup is called `{name}`")).did_you_mean(name, known.iter().copied());
    match known.is_empty() {
        true => error.hint("the inventory has no nodegroups"),
        false => error.hint(format!("the nodegroups are {}", known.join(", "))),
    }
}

/// The expressions of which any may hold.
fn alternatives(value: &Value) -> Option<Vec<String>> {
    match &value.data {
        Data::Str(text) => Some(vec![text.to_string()]),
        Data::List(items) => {
            let words: Vec<String> = items.iter().map(super::fields::text).collect::<Option<_>>()?;
            let operator = |word: &String| matches!(word.as_str(), "and" | "or" | "not" | "(" | ")");
            Some(if words.iter().any(operator) {
                vec![words.join(" ")]
            } else {
                words
            })
        }
        _ => None,
    }
}

struct Resolver<'a> {
    texts: &'a IndexMap<String, (&'a Key, Vec<String>, Pos)>,
    done: RefCell<IndexMap<String, Arc<Expr>>>,
    /// The groups that are being read, outermost first.
    open: RefCell<Vec<String>>,
}

impl Resolver<'_> {
    fn find(&self, name: &str) -> Result<Arc<Expr>> {
        if let Some(done) = self.done.borrow().get(name) {
            return Ok(done.clone());
        }
        let (key, alternatives, at) = self
            .texts
            .get(name)
            .ok_or_else(|| no_such(name, self.texts.keys().map(String::as_str)))?;
        if let Some(start) = self.open.borrow().iter().position(|open| open == name) {
            let open = self.open.borrow();
            // The same circle, wherever it was entered, is told the same way.
            let circle = &open[start..];
            let first = circle
                .iter()
                .enumerate()
                .min_by_key(|(_, name)| name.as_str())
                .map_or(0, |(n, _)| n);
            let mut path: Vec<&str> = circle[first..].iter().chain(&circle[..first]).map(String::as_str).collect();
            path.push(path[0]);
            let at = self.texts.get(path[0]).map_or(key.at, |(key, ..)| key.at);
            return Err(Error::usage(format!("nodegroups refer to each other in a circle: {}", path.join(" -> "))).at(at));
        }
        self.open.borrow_mut().push(name.to_owned());
        let find = |name: &str| self.find(name);
        let exprs: Result<Vec<Expr>> = alternatives
            .iter()
            .map(|text| Source { text, at: *at }.parse(TargetKind::Compound, &find))
            .collect();
        self.open.borrow_mut().pop();
        let mut exprs = exprs?;
        let expr = Arc::new(if exprs.len() == 1 { exprs.remove(0) } else { Expr::Any(exprs) });
        self.done.borrow_mut().insert(name.to_owned(), expr.clone());
        Ok(expr)
    }
}
