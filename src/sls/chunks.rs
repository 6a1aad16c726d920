//! High state to chunks: `names` taken apart, arguments told from what means something for every state, chunks put in order.

use super::declare::{Body, Declaration};
use super::high::High;
use super::low::{Check, Chunk, Condition, Retry};
use super::requisites::{DIRECT, REVERSE};
use crate::error::{Error, Pos};
use crate::yaml::{Data, Key, Map, Mode, OneOrMany, Value, from_entry, from_value};
use indexmap::map::MutableKeys;
use serde::Deserialize;
use std::sync::Arc;

/// Arguments that mean something for every state. They are not handed to the function, unless it has one of that name itself.
pub(crate) const GLOBAL: [&str; 19] = [
    "check_cmd",
    "cmd_opts_exclude",
    "failhard",
    "onlyif",
    "unless",
    "creates",
    "retry",
    "parallel",
    "aggregate",
    "reload_modules",
    "reload_grains",
    "reload_pillar",
    "runas",
    "runas_password",
    "fire_event",
    "saltenv",
    "umask",
    "no_log",
    "onfail_stop",
];

/// What is never an argument of a function.
const STRUCTURE: [&str; 7] = ["state", "fun", "order", "name_order", "__id__", "__sls__", "__env__"];

/// Makes chunks and collects what is wrong with them.
pub(super) struct Compiler<'a> {
    pub saltenv: &'a str,
    pub takes: &'a dyn Fn(&str, &str) -> bool,
    pub errors: &'a mut Vec<Error>,
    pub warnings: &'a mut Vec<Error>,
}

impl Compiler<'_> {
    /// The chunks of a high state, in low-state order, without their requisites.
    pub fn chunks(&mut self, high: &High) -> Vec<Chunk> {
        let mut drafts = Vec::new();
        for (id, declaration) in &high.ids {
            for (module, body) in &declaration.modules {
                self.drafts(id, declaration, module, body, &mut drafts);
            }
        }
        order(&mut drafts);
        drafts.into_iter().map(|draft| self.chunk(draft)).collect()
    }

    fn drafts(&mut self, id: &Arc<str>, declaration: &Declaration, module: &Arc<str>, body: &Body, drafts: &mut Vec<Draft>) {
        let id_at = |value: Value| value.at(declaration.at);
        let mut all = Map::from_iter([
            ("state".into(), (&**module).into()),
            ("name".into(), id_at((&**id).into())),
            ("__sls__".into(), (&*declaration.sls).into()),
            ("__env__".into(), self.saltenv.into()),
            ("__id__".into(), id_at((&**id).into())),
        ]);
        let mut function = None;
        let mut names: Vec<&Value> = Vec::new();
        for arg in &body.args {
            match &arg.data {
                Data::Str(name) => function = Some(name.clone()),
                Data::Map(map) => {
                    for (key, value) in map {
                        match key.as_str() {
                            Some("names") => {
                                for name in value.as_list().into_iter().flatten() {
                                    if !names.contains(&name) {
                                        names.push(name);
                                    }
                                }
                            }
                            // Salt does not let the module be overridden.
                            Some("state") => {}
                            Some("name") if value.as_str().is_none() => {
                                if !value.is_null() {
                                    self.warnings.push(
                                        Error::usage(format!("`name` is {}, not a string: the ID is used instead", value.kind()))
                                            .at(value.at)
                                            .hint("put quotes around it"),
                                    );
                                }
                                all.insert("name".into(), id_at((&**id).into()));
                            }
                            _ => put(&mut all, key, value),
                        }
                    }
                }
                _ => {}
            }
        }
        let Some(function) = function else { return };
        let draft = |all: Map, name_order| Draft {
            id: id.clone(),
            at: body.at,
            module: module.clone(),
            function: function.clone(),
            all,
            name_order,
            order: 0.0,
        };
        if names.is_empty() {
            all.insert("fun".into(), (&*function).into());
            drafts.push(draft(all, 0));
            return;
        }
        for (n, entry) in names.into_iter().enumerate() {
            let mut live = all.clone();
            let name = match entry.as_map() {
                Some(map) => {
                    let Some((key, overrides)) = map.first().filter(|_| map.len() == 1) else {
                        self.errors.push(
                            Error::usage("an entry of `names` is a name, or one name with a list of arguments").at(entry.at),
                        );
                        continue;
                    };
                    for arg in overrides
                        .as_list()
                        .into_iter()
                        .flatten()
                        .chain(overrides.as_map().map(|_| overrides))
                    {
                        for (key, value) in arg.as_map().into_iter().flatten() {
                            put(&mut live, key, value);
                        }
                    }
                    Value::from(key.text()).at(key.at)
                }
                None => match entry.scalar_text() {
                    Some(name) => Value::from(name).at(entry.at),
                    None => {
                        self.errors
                            .push(Error::usage(format!("expected a name in `names`, found {}", entry.kind())).at(entry.at));
                        continue;
                    }
                },
            };
            live.insert("name".into(), name);
            live.insert("fun".into(), (&*function).into());
            drafts.push(draft(live, n + 1));
        }
    }

    fn chunk(&mut self, draft: Draft) -> Chunk {
        let Draft {
            id,
            at,
            module,
            function,
            mut all,
            order,
            ..
        } = draft;
        let name = all.get("name").and_then(Value::as_str).unwrap_or(&id).to_owned();
        let order_value = if order.fract() == 0.0 && order.abs() < 9e15 {
            Value::from(order as i64)
        } else {
            Value::from(order)
        };
        all.insert("order".into(), order_value);
        let full = format!("{module}.{function}");
        let mut chunk = Chunk {
            state: module.to_string(),
            fun: function.to_string(),
            id: id.to_string(),
            name,
            sls: all.get("__sls__").and_then(Value::as_str).unwrap_or_default().to_owned(),
            env: self.saltenv.to_owned(),
            order,
            arguments: Map::new(),
            all: Map::new(),
            at,
            requisites: Vec::new(),
            conditions: Vec::new(),
            check_cmd: Vec::new(),
            retry: None,
            failhard: false,
            parallel: false,
            aggregate: false,
            runas: None,
            umask: None,
            no_log: false,
        };
        for (key, value) in &all {
            let Some(argument) = key.as_str() else { continue };
            let own = if STRUCTURE.contains(&argument) {
                false
            } else if DIRECT.contains(&argument) || REVERSE.contains(&argument) {
                value.as_list().is_none() && (self.takes)(&full, argument)
            } else if GLOBAL.contains(&argument) {
                let own = (self.takes)(&full, argument);
                if let Err(error) = self.global(&mut chunk, key, value, own) {
                    self.errors.push(error);
                }
                own
            } else {
                true
            };
            if own {
                chunk.arguments.insert(key.clone(), value.clone());
            }
        }
        chunk.all = all;
        chunk
    }

    /// Reads an argument that means something for every state. `own`: the function has it too.
    fn global(&mut self, chunk: &mut Chunk, key: &Key, value: &Value, own: bool) -> Result<(), Error> {
        let name = key.as_str().unwrap_or_default();
        match name {
            "onlyif" => {
                let checks = self.checks(name, value);
                push(&mut chunk.conditions, checks, Condition::Onlyif);
            }
            "unless" => {
                let checks = self.checks(name, value);
                push(&mut chunk.conditions, checks, Condition::Unless);
            }
            "creates" => {
                let OneOrMany(paths) = from_entry(key, value)?;
                push(&mut chunk.conditions, paths, Condition::Creates);
            }
            "check_cmd" if !own => chunk.check_cmd = from_entry::<OneOrMany<String>>(key, value)?.0,
            "retry" => chunk.retry = retry(key, value)?,
            "failhard" => chunk.failhard = from_entry(key, value)?,
            "parallel" => chunk.parallel = from_entry(key, value)?,
            "no_log" => chunk.no_log = from_entry(key, value)?,
            "aggregate" => {
                chunk.aggregate = match value.as_list() {
                    Some(modules) => modules.iter().any(|module| module.as_str() == Some(&chunk.state)),
                    None => from_entry(key, value)?,
                };
            }
            "runas" => chunk.runas = from_entry(key, value)?,
            "umask" => {
                let mode: Option<Mode> = from_entry(key, value)?;
                chunk.umask = mode.map(|mode| mode.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// The checks of `onlyif` and `unless`.
    fn checks(&mut self, name: &str, value: &Value) -> Vec<Check> {
        let items = match &value.data {
            Data::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut checks = Vec::new();
        for item in items {
            match &item.data {
                Data::Str(command) => checks.push(Check::Command(command.to_string())),
                Data::Map(map) => match call(name, map, item.at) {
                    Ok(check) => checks.push(check),
                    Err(error) => self.errors.push(error),
                },
                _ => self.warnings.push(
                    Error::usage(format!(
                        "`{name}` wants a command, but this is {}: it is left out, as Salt does",
                        item.kind()
                    ))
                    .at(item.at)
                    .hint("put quotes around it to run it as a command"),
                ),
            }
        }
        checks
    }
}

fn push<T>(conditions: &mut Vec<Condition>, items: Vec<T>, condition: impl FnOnce(Vec<T>) -> Condition) {
    if !items.is_empty() {
        conditions.push(condition(items));
    }
}

/// Sets `key`, with the position of the latest.
fn put(all: &mut Map, key: &Key, value: &Value) {
    match all.get_full_mut2(key) {
        Some((_, known, old)) => {
            known.at = key.at;
            *old = value.clone();
        }
        None => {
            all.insert(key.clone(), value.clone());
        }
    }
}

/// `{fun: file.file_exists, args: [...], ...}`.
fn call(name: &str, map: &Map, at: Pos) -> Result<Check, Error> {
    let Some(fun) = map.get("fun") else {
        return Err(
            Error::usage(format!("a mapping in `{name}` calls a function, but names none"))
                .at(at)
                .hint("write `fun: module.function`, and `args:` or its arguments by name beside it"),
        );
    };
    let args = match map.get("args") {
        None => Vec::new(),
        Some(args) => from_value::<OneOrMany<Value>>(args)?.0,
    };
    let kwargs = map
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), Some("fun" | "args" | "get_return")))
        .map(|(key, value)| (key.clone(), value.clone()));
    Ok(Check::Call {
        fun: from_value(fun)?,
        args,
        kwargs: kwargs.collect(),
        get_return: map.get("get_return").map(from_value).transpose()?,
        at,
    })
}

/// `retry: true`, or the four settings.
fn retry(key: &Key, value: &Value) -> Result<Option<Retry>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        attempts: u32,
        until: bool,
        interval: f64,
        splay: f64,
    }

    impl Default for Settings {
        /// Salt's.
        fn default() -> Settings {
            Settings {
                attempts: 2,
                until: true,
                interval: 30.0,
                splay: 0.0,
            }
        }
    }

    let settings = match &value.data {
        Data::Map(_) => from_entry(key, value)?,
        // A list of settings is a common slip that Salt's own documents have.
        Data::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
            let merged: Map = items
                .iter()
                .filter_map(Value::as_map)
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            from_entry(key, &Value::from(merged).at(value.at))?
        }
        _ => match from_entry(key, value)? {
            true => Settings::default(),
            false => return Ok(None),
        },
    };
    Ok(Some(Retry {
        attempts: settings.attempts.max(1),
        until: settings.until,
        interval: settings.interval.max(0.0),
        splay: settings.splay.max(0.0),
    }))
}

/// A chunk before its arguments were looked at.
struct Draft {
    id: Arc<str>,
    at: Pos,
    module: Arc<str>,
    function: Arc<str>,
    all: Map,
    /// From 1 for the entries of `names`; 0: there are none.
    name_order: usize,
    order: f64,
}

/// Salt's `order_chunks`: explicit orders, then the rest; equal ones by module, name and function written together.
fn order(drafts: &mut [Draft]) {
    let mut cap: f64 = 1.0;
    for draft in drafts.iter() {
        if let Some(Data::Int(order)) = draft.all.get("order").map(|order| &order.data) {
            let order = *order as f64;
            if order > cap - 1.0 && order > 0.0 {
                cap = order + 100.0;
            }
        }
    }
    for draft in drafts.iter_mut() {
        let order = draft.all.get("order").map(|order| &order.data);
        if order.is_none() {
            draft.order = cap;
            continue;
        }
        draft.order = match order {
            Some(Data::Int(order)) => *order as f64,
            Some(Data::Float(order)) if !order.is_nan() => *order,
            Some(Data::Bool(order)) => f64::from(u8::from(*order)),
            Some(Data::Str(order)) => match &**order {
                "last" => cap + 1_000_000.0,
                "first" => 0.0,
                _ => cap,
            },
            _ => cap,
        };
        if draft.name_order > 0 {
            draft.order += draft.name_order as f64 / 10_000.0;
        }
        if draft.order < 0.0 {
            draft.order += cap + 1_000_000.0;
        }
    }
    drafts.sort_by_cached_key(|draft| {
        let name = draft.all.get("name").and_then(Value::as_str).unwrap_or(&draft.id);
        (Ordered(draft.order), format!("{}{name}{}", draft.module, draft.function))
    });
}

/// Floats without NaN, in order.
struct Ordered(f64);

impl PartialEq for Ordered {
    fn eq(&self, other: &Ordered) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Ordered) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Ordered) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
