//! The `_in` requisites and `use`: brought to the states that they are meant for, as if those had been extended.

use super::declare::Body;
use super::high::{Addition, ByArgument, High, argument, argument_name};
use super::input::Unresolved;
use super::requisites::{REVERSE, SUGGESTED};
use crate::error::{Error, Pos};
use crate::yaml::{Data, Key, Map, Value};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::sync::Arc;

/// What `use` does not copy, beside what the state has itself.
const NOT_USED: [&str; 15] = [
    "name",
    "names",
    "require",
    "watch",
    "prereq",
    "onfail",
    "onfail_stop",
    "onchanges",
    "require_in",
    "watch_in",
    "prereq_in",
    "onfail_in",
    "onchanges_in",
    "use",
    "use_in",
];

/// Salt goes through a list of `_in` references from the start again for each further one, and so notes the first ones several times.
/// The low state shows it; past this length of a list it is not repeated, as the notes grow with its square.
const REPEATED: usize = 100;

/// A module and an ID.
type Hinge = (Arc<str>, Arc<str>);

/// Collects what the `_in` requisites and `use` of all states come to, and adds it to the states that they are meant for.
pub(super) fn apply_reverse(high: &mut High, unresolved: Unresolved, errors: &mut Vec<Error>, warnings: &mut Vec<Error>) {
    let mut collector = Collector {
        high,
        by_sls: None,
        by_name: None,
        by_argument: None,
        additions: IndexMap::new(),
        errors,
        warnings,
        unresolved,
    };
    for (id, declaration) in &high.ids {
        for (module, body) in &declaration.modules {
            for arg in &body.args {
                let Some((key, value)) = arg.as_map().and_then(Map::first) else {
                    continue;
                };
                let Some(key) = key.as_str() else { continue };
                if REVERSE.contains(&key) && key != "listen_in" {
                    collector.argument(id, module, key, value);
                }
            }
        }
    }
    let additions = collector.finish();
    high.add_requisites(additions, errors);
}

struct Collector<'a> {
    high: &'a High,
    by_sls: Option<HashMap<Arc<str>, Vec<Hinge>>>,
    by_name: Option<HashMap<Arc<str>, Hinge>>,
    by_argument: Option<ByArgument>,
    /// For each ID and module, what is to be added.
    additions: IndexMap<Arc<str>, IndexMap<Arc<str>, Body>>,
    errors: &'a mut Vec<Error>,
    warnings: &'a mut Vec<Error>,
    unresolved: Unresolved,
}

impl Collector<'_> {
    fn finish(self) -> Vec<Addition> {
        self.additions
            .into_iter()
            .flat_map(|(id, modules)| {
                modules.into_iter().map(move |(module, body)| Addition {
                    id: id.clone(),
                    module,
                    body,
                })
            })
            .collect()
    }

    /// One `_in` requisite, or `use`, of the state `module` of `id`.
    fn argument(&mut self, id: &Arc<str>, module: &Arc<str>, key: &str, value: &Value) {
        match &value.data {
            Data::Map(map) if key.starts_with("use") => self.warnings.push(
                Error::usage(format!(
                    "`{key}` of `{id}` does nothing: it is a mapping, and Salt looks only at lists"
                ))
                .at(value.at)
                .hint(format!(
                    "write `- {}: ...` below it",
                    map.keys().next().map(Key::text).unwrap_or_default()
                )),
            ),
            Data::Map(map) => {
                for (target_module, target) in map {
                    let hinge = (target_module.text().into(), target.scalar_text().unwrap_or_default().into());
                    self.add_reference(&hinge, id, module, key, target.at);
                }
            }
            Data::List(items) => {
                let mut hinges: Vec<Hinge> = Vec::new();
                let repeated = items.len() <= REPEATED;
                for item in items {
                    if !repeated {
                        hinges.clear();
                    }
                    match self.hinge(item) {
                        Some(Found::One(hinge)) => hinges.push(hinge),
                        Some(Found::OfSls(all)) => hinges = all,
                        None => {
                            self.not_found(key, item);
                            continue;
                        }
                    }
                    for hinge in &hinges {
                        match key {
                            "use" => self.copy_arguments(hinge, (module.clone(), id.clone()), item),
                            "use_in" => self.copy_arguments(&(module.clone(), id.clone()), hinge.clone(), item),
                            _ => self.add_reference(hinge, id, module, key, item.at),
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn not_found(&mut self, key: &str, item: &Value) {
        let what = match item.as_map().and_then(Map::first) {
            Some((module, target)) => format!("{}: {}", module.text(), target.scalar_text().unwrap_or_default()),
            None => item.scalar_text().unwrap_or_default(),
        };
        let error = Error::usage(format!("`{key}` refers to `{what}`, which no state declares")).at(item.at);
        let few = self.errors.len() + self.warnings.len() < SUGGESTED;
        let error = if few {
            error.did_you_mean(&what, self.high.ids.keys().map(|id| &**id))
        } else {
            error
        };
        match self.unresolved {
            Unresolved::Error => self.errors.push(error),
            Unresolved::Warn => self.warnings.push(error),
        }
    }

    /// What a reference inside of an `_in` requisite means.
    fn hinge(&mut self, item: &Value) -> Option<Found> {
        if let Some((module, target)) = item.as_map().and_then(Map::first) {
            let (module, target) = (module.text(), target.scalar_text()?);
            if module != "sls" {
                return Some(Found::One((module.into(), target.into())));
            }
            let high = self.high;
            let by_sls = self.by_sls.get_or_insert_with(|| {
                let mut by_sls: HashMap<Arc<str>, Vec<Hinge>> = HashMap::new();
                for (id, declaration) in &high.ids {
                    let hinges = declaration.modules.keys().map(|module| (module.clone(), id.clone()));
                    by_sls.entry(declaration.sls.clone()).or_default().extend(hinges);
                }
                by_sls
            });
            return by_sls.get(&*target).cloned().map(Found::OfSls);
        }
        let target: Arc<str> = item.scalar_text()?.into();
        if let Some(declaration) = self.high.ids.get(&target) {
            let module = declaration.modules.keys().next()?.clone();
            return Some(Found::One((module, target)));
        }
        let high = self.high;
        let by_name = self.by_name.get_or_insert_with(|| {
            let mut by_name = HashMap::new();
            for (id, declaration) in &high.ids {
                for (module, body) in &declaration.modules {
                    for name in body.args.iter().filter_map(|arg| arg.get("name")?.scalar_text()) {
                        by_name.entry(name.into()).or_insert_with(|| (module.clone(), id.clone()));
                    }
                }
            }
            by_name
        });
        by_name.get(&target).cloned().map(Found::One)
    }

    fn body(&mut self, (module, id): &Hinge, at: Pos) -> &mut Body {
        let modules = self.additions.entry(id.clone()).or_default();
        modules.entry(module.clone()).or_insert_with(|| Body { at, args: Vec::new() })
    }

    /// Adds `{require: [{module: id}]}` to the target of a `require_in`.
    fn add_reference(&mut self, target: &Hinge, id: &Arc<str>, module: &Arc<str>, key: &str, at: Pos) {
        let direct = key.strip_suffix("_in").unwrap_or(key);
        let reference = argument(module, Value::from(&**id).at(at), at);
        let body = self.body(target, at);
        for arg in &mut body.args {
            if argument_name(arg) == Some(direct)
                && let Some(map) = arg.as_map_mut()
                && let Some(Data::List(references)) = map.get_mut(direct).map(|value| &mut value.data)
            {
                references.push(reference);
                return;
            }
        }
        body.args.push(argument(direct, Value::from(vec![reference]).at(at), at));
    }

    /// Copies the arguments of one state to another, as `use` does; the other's own win.
    fn copy_arguments(&mut self, from: &Hinge, to: Hinge, item: &Value) {
        let (Some(from), Some(to)) = (self.there(from), self.there(&to)) else {
            self.not_found("use", item);
            return;
        };
        let (source, own) = (self.args(&from), self.args(&to));
        let own: Vec<&str> = own.iter().filter_map(argument_name).collect();
        let copied: Vec<Value> = source
            .iter()
            .filter(|arg| arg.as_map().is_some_and(|map| map.len() == 1))
            .filter(|arg| argument_name(arg).is_some_and(|name| !NOT_USED.contains(&name) && !own.contains(&name)))
            .cloned()
            .collect();
        self.body(&to, item.at).args.extend(copied);
    }

    /// The state that a reference means: by ID, else by the value of any argument, as Salt finds states by name.
    fn there(&mut self, (module, id): &Hinge) -> Option<Hinge> {
        let high = self.high;
        let ids = &high.ids;
        if ids
            .get(id)
            .is_some_and(|declaration| declaration.modules.contains_key(module))
        {
            return Some((module.clone(), id.clone()));
        }
        let by_argument = self.by_argument.get_or_insert_with(|| ByArgument::of(ids));
        let id = by_argument.find(module, id).first()?;
        Some((module.clone(), id.clone()))
    }

    fn args(&self, (module, id): &Hinge) -> &[Value] {
        let declaration = self.high.ids.get(id);
        declaration
            .and_then(|declaration| declaration.modules.get(module))
            .map_or(&[], |body| &body.args)
    }
}

enum Found {
    One(Hinge),
    OfSls(Vec<Hinge>),
}
