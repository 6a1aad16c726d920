//! The high state: the declarations of all SLS together, and how `extend`, the `_in` requisites, `use` and `exclude` change it.

use super::declare::{Body, Declaration, Exclusion, Extension, Modules};
use super::requisites::DIRECT;
use crate::error::{Error, Pos};
use crate::inventory::Glob;
use crate::yaml::{Data, Key, Map, Value};
use indexmap::IndexMap;
use indexmap::map::Entry;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct High {
    /// In the order in which Salt goes through them: an SLS before those that it includes.
    pub ids: IndexMap<Arc<str>, Declaration>,
    pub extensions: Vec<Extension>,
    pub exclusions: Vec<Exclusion>,
}

/// Where the value of any argument of a module is looked for, as Salt finds states by name.
pub(super) struct ByArgument(HashMap<ModuleAndText, Vec<Arc<str>>>);

type ModuleAndText = (Arc<str>, Arc<str>);

impl ByArgument {
    pub fn of(ids: &IndexMap<Arc<str>, Declaration>) -> ByArgument {
        let mut index: HashMap<_, Vec<Arc<str>>> = HashMap::new();
        for (id, declaration) in ids {
            for (module, body) in &declaration.modules {
                for arg in &body.args {
                    let Some((_, value)) = arg.as_map().filter(|map| map.len() == 1).and_then(Map::first) else {
                        continue;
                    };
                    if let Data::Str(text) = &value.data {
                        let found = index.entry((module.clone(), text.clone())).or_default();
                        if found.last() != Some(id) {
                            found.push(id.clone());
                        }
                    }
                }
            }
        }
        ByArgument(index)
    }

    pub fn find(&self, module: &Arc<str>, name: &Arc<str>) -> &[Arc<str>] {
        self.0
            .get(&(module.clone(), name.clone()))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// An argument's name; `None` for the function.
pub(super) fn argument_name(arg: &Value) -> Option<&str> {
    arg.as_map()?.first()?.0.as_str()
}

impl High {
    /// Adds an SLS's declarations. Two of one ID are an error, wherever they come from.
    pub fn merge(&mut self, other: High, errors: &mut Vec<Error>) {
        self.extensions.extend(other.extensions);
        self.exclusions.extend(other.exclusions);
        for (id, declaration) in other.ids {
            match self.ids.entry(id) {
                Entry::Vacant(entry) => {
                    entry.insert(declaration);
                }
                Entry::Occupied(entry) => errors.push(
                    Error::usage(format!(
                        "the ID `{}` is declared twice: in `{}` ({}) and in `{}`",
                        entry.key(),
                        entry.get().sls,
                        entry.get().at,
                        declaration.sls
                    ))
                    .at(declaration.at)
                    .hint("IDs are unique over all SLS of a run: rename one, and give the old one as `- name: ...`"),
                ),
            }
        }
    }

    /// Carries out what `extend` says.
    pub fn extend(&mut self, errors: &mut Vec<Error>) {
        let extensions = std::mem::take(&mut self.extensions);
        let excluded: Vec<String> = self
            .exclusions
            .iter()
            .filter_map(|exclusion| match exclusion {
                Exclusion::Sls(sls, _) => Some(sls.clone()),
                Exclusion::Id(..) => None,
            })
            .collect();
        let mut index = None;
        for extension in extensions {
            // An SLS that is excluded extends nothing.
            if excluded.iter().any(|sls| **sls == *extension.sls) {
                continue;
            }
            let Some(first) = extension.modules.keys().next().cloned() else {
                continue;
            };
            let id = if self.ids.contains_key(&extension.id) {
                extension.id.clone()
            } else {
                let index = index.get_or_insert_with(|| ByArgument::of(&self.ids));
                match index.find(&first, &extension.id) {
                    [one] => one.clone(),
                    found => {
                        let found = found.len();
                        errors.push(self.cannot_extend(&extension.id, &first, found).at(extension.at));
                        continue;
                    }
                }
            };
            if let Some(declaration) = self.ids.get_mut(&id) {
                extend_declaration(declaration, extension.modules);
            }
        }
    }

    /// Carries out what `_in` requisites and `use` have collected: `module` must already be there under the ID, or be the only one with
    /// an argument of that value.
    pub fn add_requisites(&mut self, additions: Vec<Addition>, errors: &mut Vec<Error>) {
        let mut index = None;
        for Addition { id, module, body } in additions {
            let direct = self.ids.get(&id).is_some_and(|d| d.modules.contains_key(&module));
            let id = if direct {
                id
            } else {
                let index = index.get_or_insert_with(|| ByArgument::of(&self.ids));
                match index.find(&module, &id) {
                    [one] => one.clone(),
                    found => {
                        let found = found.len();
                        errors.push(self.cannot_extend(&id, &module, found).at(body.at));
                        continue;
                    }
                }
            };
            if let Some(declaration) = self.ids.get_mut(&id) {
                extend_declaration(declaration, Modules::from_iter([(module, body)]));
            }
        }
    }

    fn cannot_extend(&self, id: &str, module: &str, found: usize) -> Error {
        if found > 1 {
            return Error::usage(format!(
                "`{module}: {id}` means {found} states: it is the ID of none and the name of several"
            ))
            .hint("refer to one of them by its ID");
        }
        let error = Error::usage(format!(
            "there is no state with the ID or the name `{id}` of the module `{module}`"
        ));
        match self.ids.get(id) {
            Some(declaration) => {
                let modules: Vec<&str> = declaration.modules.keys().map(|m| &**m).collect();
                error.hint(format!("the ID `{id}` has states of `{}`", modules.join("`, `")))
            }
            None => error
                .did_you_mean(id, self.ids.keys().map(|id| &**id))
                .hint("is an `include` missing?"),
        }
    }

    /// Takes out what `exclude` names.
    pub fn exclude(&mut self, warnings: &mut Vec<Error>) {
        for exclusion in std::mem::take(&mut self.exclusions) {
            let before = self.ids.len();
            let (what, at) = match &exclusion {
                Exclusion::Id(id, at) => {
                    self.ids.shift_remove(id.as_str());
                    (id, *at)
                }
                Exclusion::Sls(sls, at) => {
                    let glob = Glob::fnmatch(sls);
                    self.ids.retain(|_, declaration| !glob.matches(&declaration.sls));
                    (sls, *at)
                }
            };
            if self.ids.len() == before {
                warnings.push(Error::usage(format!("`exclude` of `{what}` excludes nothing")).at(at));
            }
        }
    }

    /// That each module of each ID has one function.
    pub fn check_functions(&self, errors: &mut Vec<Error>) {
        for (id, declaration) in &self.ids {
            for (module, body) in &declaration.modules {
                let functions: Vec<&str> = body.args.iter().filter_map(Value::as_str).collect();
                match &functions[..] {
                    [_] => {}
                    [] => errors.push(
                        Error::usage(format!("the ID `{id}` names no function of the module `{module}`"))
                            .at(body.at)
                            .hint(format!("write `{module}.function:`")),
                    ),
                    several => errors.push(
                        Error::usage(format!(
                            "the ID `{id}` names several functions of the module `{module}`: {}",
                            several.join(", ")
                        ))
                        .at(body.at)
                        .hint("is the `:` of an argument missing?"),
                    ),
                }
            }
        }
    }

    /// As Salt's `show_highstate` has it.
    fn to_value(&self, env: &str) -> Value {
        let entries = self.ids.iter().map(|(id, declaration)| {
            let mut map: Map = declaration
                .modules
                .iter()
                .map(|(module, body)| (Key::from(&**module), Value::from(body.args.clone())))
                .collect();
            map.insert("__sls__".into(), (&*declaration.sls).into());
            map.insert("__env__".into(), env.into());
            (Key::from(&**id), Value::from(map))
        });
        entries.collect::<Map>().into()
    }
}

/// A high state that was compiled. It is made a value only where it is to be shown.
#[derive(Clone)]
pub struct HighState {
    high: Arc<High>,
    env: Arc<str>,
}

impl HighState {
    pub(super) fn new(high: High, env: &str) -> HighState {
        HighState {
            high: Arc::new(high),
            env: env.into(),
        }
    }

    /// The high state as Salt's `show_highstate` prints it.
    pub fn to_value(&self) -> Value {
        self.high.to_value(&self.env)
    }
}

impl std::fmt::Debug for HighState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_value().fmt(f)
    }
}

/// What is to be added to a state because another asked for it.
pub(super) struct Addition {
    pub id: Arc<str>,
    pub module: Arc<str>,
    /// Its place is that of the reference which asked.
    pub body: Body,
}

fn extend_declaration(declaration: &mut Declaration, modules: Modules) {
    for (module, body) in modules {
        match declaration.modules.entry(module) {
            Entry::Vacant(entry) => {
                entry.insert(body);
            }
            Entry::Occupied(mut entry) => body.args.into_iter().for_each(|arg| extend_arguments(entry.get_mut(), arg)),
        }
    }
}

/// Direct requisites are appended, everything else is replaced, and what is not there is added.
fn extend_arguments(body: &mut Body, arg: Value) {
    if arg.as_str().is_some() {
        let mut replaced = false;
        for own in body.args.iter_mut().filter(|own| own.as_str().is_some()) {
            *own = arg.clone();
            replaced = true;
        }
        if !replaced {
            body.args.push(arg);
        }
        return;
    }
    let Some(name) = argument_name(&arg) else {
        body.args.push(arg);
        return;
    };
    let mut there = false;
    for own in &mut body.args {
        let same = argument_name(own) == Some(name);
        there |= same;
        if same && DIRECT.contains(&name) {
            append_references(own, name, &arg);
        } else if same || (name == "name" && argument_name(own) == Some("names")) {
            // A name takes the place of several, too.
            *own = arg.clone();
        }
    }
    if !there {
        body.args.push(arg);
    }
}

fn append_references(own: &mut Value, name: &str, arg: &Value) {
    let (Some(more), Some(map)) = (arg.get(name).and_then(Value::as_list), own.as_map_mut()) else {
        return;
    };
    if let Some(Data::List(references)) = map.get_mut(name).map(|value| &mut value.data) {
        references.extend(more.iter().cloned());
    }
}

/// `{name: value}` as an argument of a state.
pub(super) fn argument(name: &str, value: Value, at: Pos) -> Value {
    let key = Key { at, ..Key::from(name) };
    Value::from(Map::from_iter([(key, value)])).at(at)
}
