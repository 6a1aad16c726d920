//! One SLS file's contents, in all the forms that Salt takes: ID declarations, `include`, `extend`, `exclude`.
//!
//! What comes out has one form: for each ID its modules, for each module a list of arguments and the function's name.

use super::requisites::{DIRECT, REVERSE};
use crate::error::{Error, Pos};
use crate::yaml::{Data, Key, Map, Value};
use indexmap::IndexMap;
use std::sync::Arc;

/// The states of one ID.
#[derive(Clone, Debug)]
pub(super) struct Declaration {
    /// Where the ID stands.
    pub at: Pos,
    pub sls: Arc<str>,
    /// Module by module, in the order in which Salt goes through them.
    pub modules: Modules,
}

pub(super) type Modules = IndexMap<Arc<str>, Body>;

/// One module's part of a declaration.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Where the module stands.
    pub at: Pos,
    /// The function's name as a string, arguments as mappings: Salt's own form.
    pub args: Vec<Value>,
}

/// One ID of an `extend`, or what an `_in` requisite comes to.
#[derive(Clone, Debug)]
pub(super) struct Extension {
    pub id: Arc<str>,
    pub at: Pos,
    pub sls: Arc<str>,
    pub modules: Modules,
}

#[derive(Clone, Debug)]
pub(super) enum Exclusion {
    /// A pattern of SLS names.
    Sls(String, Pos),
    Id(String, Pos),
}

/// What one SLS says.
#[derive(Default)]
pub(super) struct Contents {
    pub includes: Vec<Include>,
    pub ids: IndexMap<Arc<str>, Declaration>,
    pub extensions: Vec<Extension>,
    pub exclusions: Vec<Exclusion>,
}

pub(super) struct Include {
    pub name: String,
    /// The environment, where one is named; `_xenv` stands for any.
    pub env: Option<String>,
    pub at: Pos,
}

/// Reads the parts of an SLS and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub sls: Arc<str>,
    pub errors: &'a mut Vec<Error>,
    pub warnings: &'a mut Vec<Error>,
    /// Whether a function has an argument of its own by a requisite's name, such as `listen: 8080`.
    pub takes: &'a dyn Fn(&str, &str) -> bool,
}

impl Reader<'_> {
    pub fn contents(&mut self, value: Value) -> Contents {
        let mut contents = Contents::default();
        let at = value.at;
        let map = match value.data {
            Data::Map(map) => map,
            // Salt takes whatever is empty for an SLS without states.
            Data::Null | Data::Bool(false) => return contents,
            Data::List(items) if items.is_empty() => return contents,
            _ => {
                let kind = value.kind();
                self.error(
                    at,
                    format!("the SLS `{}` is {kind}, not a mapping of IDs to states", self.sls),
                );
                return contents;
            }
        };
        for (key, value) in map {
            match key.as_str() {
                Some("include") => contents.includes = self.includes(value),
                Some("extend") => self.extend(value, &mut contents.extensions),
                Some("exclude") => self.exclude(value, &mut contents.exclusions),
                Some(id) if id.starts_with("__") => self
                    .warnings
                    .push(Error::usage(format!("`{id}` is left out: names that begin with `__` are Salt's own")).at(key.at)),
                Some(id) => {
                    if let Some(modules) = self.declaration(id, value, key.at) {
                        let declaration = Declaration {
                            at: key.at,
                            sls: self.sls.clone(),
                            modules,
                        };
                        contents.ids.insert(id.into(), declaration);
                    }
                }
                None => self.errors.push(
                    Error::usage(format!("the ID `{}` is not a string", key.text()))
                        .at(key.at)
                        .hint("put quotes around it"),
                ),
            }
        }
        contents
    }

    fn error(&mut self, at: Pos, message: impl Into<String>) {
        self.errors.push(Error::usage(message).at(at));
    }

    fn includes(&mut self, value: Value) -> Vec<Include> {
        let Data::List(items) = value.data else {
            self.errors.push(
                Error::usage(format!("`include` is {}, not a list", value.kind()))
                    .at(value.at)
                    .hint("write `- name` for each SLS"),
            );
            return Vec::new();
        };
        let mut includes = Vec::new();
        for item in items {
            let (env, name) = match item.as_map().filter(|map| map.len() == 1).and_then(Map::first) {
                Some((env, name)) => (Some(env.text()), name),
                None => (None, &item),
            };
            match name.scalar_text().filter(|name| !item.is_null() && !name.is_empty()) {
                Some(name) => includes.push(Include { name, env, at: item.at }),
                None => self.error(item.at, format!("expected the name of an SLS, found {}", item.kind())),
            }
        }
        includes
    }

    fn exclude(&mut self, value: Value, exclusions: &mut Vec<Exclusion>) {
        let Data::List(items) = &value.data else {
            self.error(value.at, format!("`exclude` is {}, not a list", value.kind()));
            return;
        };
        for item in items {
            match &item.data {
                Data::Str(sls) => exclusions.push(Exclusion::Sls(sls.to_string(), item.at)),
                Data::Map(map) if map.len() == 1 => {
                    for (key, what) in map {
                        let text = what.scalar_text().unwrap_or_default();
                        match key.as_str() {
                            Some("sls") => exclusions.push(Exclusion::Sls(text, what.at)),
                            Some("id") => exclusions.push(Exclusion::Id(text, what.at)),
                            _ => self.error(key.at, format!("expected `sls` or `id`, found `{}`", key.text())),
                        }
                    }
                }
                _ => self.error(
                    item.at,
                    format!(
                        "expected the name of an SLS, `sls: pattern` or `id: name`, found {}",
                        item.kind()
                    ),
                ),
            }
        }
    }

    fn extend(&mut self, value: Value, extensions: &mut Vec<Extension>) {
        let Data::Map(map) = value.data else {
            self.error(value.at, format!("`extend` is {}, not a mapping of IDs", value.kind()));
            return;
        };
        for (key, value) in map {
            let id = key.text();
            if value.as_map().is_none() {
                self.error(
                    value.at,
                    format!("the extension of `{id}` is {}, not a mapping of modules", value.kind()),
                );
                continue;
            }
            if let Some(modules) = self.declaration(&id, value, key.at) {
                extensions.push(Extension {
                    id: id.into(),
                    at: key.at,
                    sls: self.sls.clone(),
                    modules,
                });
            }
        }
    }

    /// The modules of one ID. `None`: there is none, which has been told.
    fn declaration(&mut self, id: &str, value: Value, at: Pos) -> Option<Modules> {
        let mut modules = Modules::new();
        match value.data {
            Data::Map(map) if map.is_empty() => {
                self.warnings
                    .push(Error::usage(format!("the ID `{id}` holds no states")).at(at));
            }
            Data::Map(map) => {
                // Salt takes dotted names out and puts them back at the end: the others come first.
                let mut dotted = Modules::new();
                for (key, value) in map {
                    let Some((module, body)) = self.module(id, &key, value) else {
                        continue;
                    };
                    if let Some(first) = modules.get(&module).or_else(|| dotted.get(&module)) {
                        self.errors.push(
                            Error::usage(format!(
                                "the ID `{id}` has several states of the module `{module}`: another is at {}:{}",
                                first.at.line, first.at.column
                            ))
                            .at(key.at)
                            .hint("give each an ID of its own, and the common name as `- name: ...`"),
                        );
                        continue;
                    }
                    let is_dotted = key.as_str().is_some_and(|name| name.contains('.'));
                    (if is_dotted { &mut dotted } else { &mut modules }).insert(module, body);
                }
                modules.extend(dotted);
            }
            Data::Str(function) => {
                let (module, function) = self.split(&function, value.at)?;
                let function = Value::from(function).at(value.at);
                let body = Body {
                    at: value.at,
                    args: vec![function],
                };
                modules.insert(module.into(), body);
            }
            _ => {
                self.errors.push(
                    Error::usage(format!("the ID `{id}` holds {}, not states", value.kind()))
                        .at(at)
                        .hint("an ID holds `module.function:` with a list of arguments below it"),
                );
                return None;
            }
        }
        (!modules.is_empty()).then_some(modules)
    }

    /// `file.managed` in its two parts.
    fn split<'n>(&mut self, name: &'n str, at: Pos) -> Option<(&'n str, &'n str)> {
        match name.split_once('.') {
            Some((module, function)) if !module.is_empty() && !function.is_empty() && !function.contains('.') => {
                Some((module, function))
            }
            _ => {
                self.errors.push(
                    Error::usage(format!("`{name}` does not name a state function"))
                        .at(at)
                        .hint("a state function is written `module.function`: `file.managed`"),
                );
                None
            }
        }
    }

    fn module(&mut self, id: &str, key: &Key, value: Value) -> Option<(Arc<str>, Body)> {
        let Some(name) = key.as_str() else {
            self.error(key.at, format!("`{}` does not name a state module", key.text()));
            return None;
        };
        if name.starts_with("__") {
            return None;
        }
        let kind = value.kind();
        let mut args = match value.data {
            Data::List(items) => items,
            Data::Null => {
                self.errors.push(
                    Error::usage(format!("`{name}` of the ID `{id}` ends with a colon, but nothing follows"))
                        .at(key.at)
                        .hint(format!("without arguments, write `{name}: []` or leave the colon out")),
                );
                return None;
            }
            data => {
                let glued = matches!(&data, Data::Map(map) if map.keys().any(|key| key.text().starts_with('-')));
                self.errors.push(
                    Error::usage(format!("the arguments of `{name}` are {kind}, not a list"))
                        .at(value.at)
                        .hint(if glued {
                            "a space is missing behind a `-`"
                        } else {
                            "write each as `- name: value`"
                        }),
                );
                return None;
            }
        };
        let (module, at) = if name.contains('.') {
            let (module, function) = self.split(name, key.at)?;
            args.push(Value::from(function).at(key.at));
            (module, key.at)
        } else {
            let function = args.iter().find(|arg| arg.as_str().is_some());
            (name, function.map_or(key.at, |function| function.at))
        };
        let function = args.iter().rev().find_map(Value::as_str).unwrap_or_default();
        let function = format!("{module}.{function}");
        self.check_arguments(id, &function, &mut args);
        Some((module.into(), Body { at, args }))
    }

    fn check_arguments(&mut self, id: &str, function: &str, args: &mut Vec<Value>) {
        args.retain(|arg| {
            if arg.is_null() {
                self.warnings
                    .push(Error::usage("an empty list item is left out, as Salt does").at(arg.at));
            }
            !arg.is_null()
        });
        for arg in args.iter() {
            match &arg.data {
                Data::Str(text) if text.trim().contains(' ') => self.errors.push(
                    Error::usage(format!("`{text}` is neither a function nor an argument of `{function}`"))
                        .at(arg.at)
                        .hint("an argument is `- name: value`: is the `:` missing?"),
                ),
                Data::Str(_) => {}
                Data::Map(map) => {
                    for (key, value) in map {
                        self.check_argument(id, function, key, value);
                    }
                }
                _ => self.error(
                    arg.at,
                    format!("expected an argument (`name: value`) of `{function}`, found {}", arg.kind()),
                ),
            }
        }
    }

    fn check_argument(&mut self, id: &str, function: &str, key: &Key, value: &Value) {
        let Some(name) = key.as_str() else {
            self.error(
                key.at,
                format!("`{}` is not the name of an argument: it is not a string", key.text()),
            );
            return;
        };
        if name == "names" {
            if value.as_list().is_none() {
                self.error(value.at, format!("`names` of the ID `{id}` is {}, not a list", value.kind()));
            }
        } else if DIRECT.contains(&name) && !(value.as_list().is_none() && (self.takes)(function, name)) {
            self.check_requisite(id, name, value, false);
        } else if REVERSE.contains(&name) {
            self.check_requisite(id, name, value, true);
        }
        if let Data::Str(text) = &value.data
            && text.starts_with("__slot__:")
        {
            self.error(value.at, "slots (`__slot__:`) are not supported");
        }
    }

    /// `mapping_too`: a mapping in place of the list of references is fine.
    fn check_requisite(&mut self, id: &str, name: &str, value: &Value, mapping_too: bool) {
        match &value.data {
            Data::List(items) => items.iter().for_each(|item| self.check_reference(name, item)),
            Data::Map(map) if mapping_too || name == "use" => {
                map.iter().for_each(|(key, what)| self.check_target(name, key, what));
            }
            Data::Null if mapping_too => {}
            _ => self.errors.push(
                Error::usage(format!("`{name}` of the ID `{id}` is {}, not a list", value.kind()))
                    .at(value.at)
                    .hint("write each reference as `- module: ID`"),
            ),
        }
    }

    fn check_reference(&mut self, name: &str, item: &Value) {
        match &item.data {
            Data::Map(map) => {
                if map.len() != 1 {
                    self.errors.push(
                        Error::usage(format!(
                            "a reference of `{name}` is one `module: ID`, but here are {}",
                            map.len()
                        ))
                        .at(item.at)
                        .hint("give each a `-` of its own"),
                    );
                }
                map.iter().for_each(|(key, what)| self.check_target(name, key, what));
            }
            Data::List(_) | Data::Null => {
                self.error(item.at, format!("expected `module: ID` in `{name}`, found {}", item.kind()))
            }
            _ => {}
        }
    }

    fn check_target(&mut self, name: &str, key: &Key, what: &Value) {
        let module = key.text();
        if let Some((first, _)) = module.split_once('.') {
            self.errors.push(
                Error::usage(format!(
                    "`{module}` in `{name}` names a function; references name only the module"
                ))
                .at(key.at)
                .hint(format!("did you mean `{first}`?")),
            );
        }
        match &what.data {
            Data::List(_) | Data::Map(_) | Data::Null => self.error(
                what.at,
                format!("expected an ID or a name for `{module}` in `{name}`, found {}", what.kind()),
            ),
            _ => {}
        }
    }
}
