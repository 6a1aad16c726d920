//! `top.sls`: which SLS a minion gets.

use super::render::Locals;
use super::source::Sources;
use crate::error::{Error, Pos, Result};
use crate::yaml::{Data, Map, Value};
use std::collections::HashSet;

/// The matchers that a top file can name, as Salt spells them.
const MATCHERS: [&str; 13] = [
    "compound",
    "glob",
    "pcre",
    "grain",
    "grain_pcre",
    "list",
    "pillar",
    "pillar_pcre",
    "pillar_exact",
    "ipcidr",
    "data",
    "range",
    "nodegroup",
];

/// An SLS that a top file assigns to the minion.
pub(crate) struct Assigned {
    pub sls: String,
    pub at: Pos,
    /// `ignore_missing: true` of pillar tops: it need not exist.
    pub may_be_missing: bool,
}

/// A top file's target with what it assigns.
struct Block {
    target: String,
    at: Pos,
    items: Value,
    /// Pillar tops can put blocks in order.
    order: i64,
}

/// What the top file assigns to the minion, in its order; an SLS can be there twice. `None` while its template waits for answers.
///
/// # Errors
/// There is no top file, or it is not one.
pub(crate) fn assigned(
    sources: &Sources,
    matches: &dyn Fn(&str, &str) -> Result<bool>,
    warnings: &mut Vec<Error>,
) -> Result<Option<Vec<Assigned>>> {
    let mut reader = Top {
        sources,
        matches,
        blocks: Vec::new(),
        errors: Vec::new(),
        warnings,
        read: HashSet::new(),
    };
    let Some(()) = reader.file("top", Pos::default())? else {
        return Ok(None);
    };
    let mut blocks = std::mem::take(&mut reader.blocks);
    blocks.sort_by_key(|block| block.order);
    let mut assigned = Vec::new();
    for block in &blocks {
        reader.block(&block.target, block.at, &block.items, &mut assigned);
    }
    match Error::all(reader.errors) {
        Some(errors) => Err(errors),
        None => Ok(Some(assigned)),
    }
}

struct Top<'a> {
    sources: &'a Sources<'a>,
    matches: &'a dyn Fn(&str, &str) -> Result<bool>,
    blocks: Vec<Block>,
    errors: Vec<Error>,
    warnings: &'a mut Vec<Error>,
    read: HashSet<String>,
}

impl Top<'_> {
    /// Reads a top file and those that it includes.
    fn file(&mut self, sls: &str, at: Pos) -> Result<Option<()>> {
        if !self.read.insert(sls.to_owned()) {
            return Ok(Some(()));
        }
        let found = self.sources.get(sls).map_err(|e| {
            let error = e.at(at);
            if sls == "top" {
                error.hint("the top file says which minion gets what; name SLS on the command line to do without")
            } else {
                error
            }
        })?;
        let locals = Locals::of("", self.sources.saltenv(), &found.file);
        let Some(value) = self.sources.read(&found.file, &locals)? else {
            return Ok(None);
        };
        let map = match value.data {
            Data::Null => return Ok(Some(())),
            Data::Map(map) => map,
            _ => {
                let error = Error::usage(format!("the top file is {}, not a mapping of environments", value.kind()));
                return Err(error.at(value.at));
            }
        };
        let mut answered = Some(());
        for (key, value) in map {
            let name = key.text();
            if name == "include" {
                for item in value.as_list().into_iter().flatten() {
                    if let Some(sls) = item.scalar_text() {
                        answered = answered.and(self.file(&sls, item.at)?);
                    }
                }
            } else if name == self.sources.saltenv() {
                self.environment(value);
            } else {
                self.warnings.push(
                    Error::usage(format!(
                        "the section `{name}` is left out: this run is for `{}`",
                        self.sources.saltenv()
                    ))
                    .at(key.at)
                    .did_you_mean(&name, [self.sources.saltenv()]),
                );
            }
        }
        Ok(answered)
    }

    fn environment(&mut self, value: Value) {
        let kind = value.kind();
        let Data::Map(targets) = value.data else {
            if !matches!(value.data, Data::Null) {
                let error = Error::usage(format!("the targets of an environment are {kind}, not a mapping"));
                self.errors.push(error.at(value.at));
            }
            return;
        };
        for (key, items) in targets {
            let target = key.text();
            let order = items
                .as_list()
                .into_iter()
                .flatten()
                .find_map(|item| item.get("order"))
                .and_then(|order| order.scalar_text()?.parse().ok())
                .unwrap_or(0);
            let block = Block {
                at: key.at,
                items,
                order,
                target,
            };
            // As in Salt, a target that another top file names too is taken from the later one, at the place of the first.
            match self.blocks.iter_mut().find(|known| known.target == block.target) {
                Some(known) => *known = block,
                None => self.blocks.push(block),
            }
        }
    }

    fn block(&mut self, target: &str, at: Pos, items: &Value, assigned: &mut Vec<Assigned>) {
        let items = match &items.data {
            Data::List(items) => items.as_slice(),
            Data::Str(_) => std::slice::from_ref(items),
            _ => {
                self.errors.push(
                    Error::usage(format!("what `{target}` gets is {}, not a list", items.kind()))
                        .at(if items.at.is_known() { items.at } else { at })
                        .hint("write `- name` for each SLS"),
                );
                return;
            }
        };
        let options = |name: &str| items.iter().rev().find_map(|item| item.get(name).map(|value| (item, value)));
        let matcher = match options("match").map(|(_, value)| value) {
            None => "compound".to_owned(),
            Some(value) => {
                let matcher = value.scalar_text().unwrap_or_default();
                if !MATCHERS.contains(&&*matcher) {
                    self.errors.push(
                        Error::usage(format!("`{matcher}` is not a matcher"))
                            .at(value.at)
                            .did_you_mean(&matcher, MATCHERS)
                            .hint(format!("possible are {}", MATCHERS.join(", "))),
                    );
                    return;
                }
                matcher
            }
        };
        match (self.matches)(target, &matcher) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                self.errors.push(error.within(at));
                return;
            }
        }
        let may_be_missing = options("ignore_missing").is_some_and(|(_, value)| value.as_bool() == Some(true));
        for item in items {
            self.item(item, may_be_missing, assigned);
        }
    }

    fn item(&mut self, item: &Value, may_be_missing: bool, assigned: &mut Vec<Assigned>) {
        let mut assign = |sls: String, at: Pos| {
            assigned.push(Assigned { sls, at, may_be_missing });
        };
        match &item.data {
            Data::Str(sls) if !sls.is_empty() => assign(sls.to_string(), item.at),
            Data::Int(_) => assign(item.scalar_text().unwrap_or_default(), item.at),
            Data::Map(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        Some("match" | "order" | "ignore_missing") => {}
                        Some("subfilter") => self.subfilter(value.as_map(), assigned),
                        Some(env) if env == self.sources.saltenv() => {
                            assigned.push(Assigned {
                                sls: value.scalar_text().unwrap_or_default(),
                                at: value.at,
                                may_be_missing,
                            });
                        }
                        _ => self.warnings.push(
                            Error::usage(format!(
                                "`{}` is neither an option of a target nor this run's environment",
                                key.text()
                            ))
                            .at(key.at),
                        ),
                    }
                }
            }
            _ => {
                let error = Error::usage(format!("expected the name of an SLS, found {}", item.kind()));
                self.errors.push(error.at(item.at));
            }
        }
    }

    /// Targets below a target: both have to match.
    fn subfilter(&mut self, targets: Option<&Map>, assigned: &mut Vec<Assigned>) {
        for (key, items) in targets.into_iter().flatten() {
            self.block(&key.text(), key.at, items, assigned);
        }
    }
}
