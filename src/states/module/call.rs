//! A call of an execution function, in the two forms that `module.run` takes.

use super::functions::{Done, Execution, find};
use crate::error::{Error, Result};
use crate::states::Context;
use crate::yaml::{Data, Map, Value};

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// The function as it was written, `:1` included where it is called several times.
    pub shown: String,
    pub execution: &'static Execution,
    pub given: Given,
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The arguments of a call by the names of its parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Map);

impl Call {
    /// `fun` with what stands below it in the new form: nothing, a mapping, or a list of values and mappings.
    ///
    /// # Errors
    /// A function or an argument that is not known, one that is missing.
    pub fn new(fun: &str, arguments: &Value) -> Result<Call> {
        let mut values = Vec::new();
        let mut named = Map::new();
        match &arguments.data {
            Data::Null => {}
            Data::Map(map) => named.extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
            Data::List(items) => {
                for item in items {
                    match item.as_map() {
                        Some(map) => named.extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
                        None => values.push(item.clone()),
                    }
                }
            }
            _ => values.push(arguments.clone()),
        }
        Call::of(fun, values, named)
    }

    /// The former form: the function is `name`, what is its own `name` is `m_name`, and the rest are its arguments.
    pub fn legacy(fun: &str, arguments: Map) -> Result<Call> {
        let mut named = Map::new();
        let mut values = Vec::new();
        for (key, value) in arguments {
            let name = key.text();
            match (name.as_str(), &value.data) {
                ("kwargs", Data::Map(map)) => named.extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
                ("kwargs", Data::List(items)) => {
                    for map in items.iter().filter_map(Value::as_map) {
                        named.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
                    }
                }
                ("args", Data::List(items)) if !takes(find(fun)?, "args") => values.extend(items.iter().cloned()),
                ("m_name" | "m_fun" | "m_names" | "m_state" | "m_saltenv", _) => {
                    named.insert(name.trim_start_matches("m_").into(), value);
                }
                _ => {
                    named.insert(key, value);
                }
            }
        }
        Call::of(fun, values, named)
    }

    fn of(fun: &str, values: Vec<Value>, named: Map) -> Result<Call> {
        let execution = find(fun.split(':').next().unwrap_or(fun))?;
        let parameters = parameters(execution);
        let known: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
        let mut given = Map::new();
        let mut rest = Vec::new();
        for (n, value) in values.into_iter().enumerate() {
            match known.get(n) {
                Some(&"args") | None => rest.push(value),
                Some(name) => drop(given.insert((*name).into(), value)),
            }
        }
        if !rest.is_empty() {
            if !known.contains(&"args") {
                let message = format!("`{}` takes at most {} arguments", execution.name, known.len());
                return Err(Error::usage(message).at(rest[0].at));
            }
            given.insert("args".into(), Value::from(rest));
        }
        for (key, value) in named {
            let name = key.text();
            if !known.contains(&name.as_str()) {
                return Err(Error::usage(format!("`{}` has no argument `{name}`", execution.name))
                    .at(key.at)
                    .did_you_mean(&name, known.iter().copied())
                    .hint(format!("its arguments are {}", known.join(", "))));
            }
            given.insert(key, value);
        }
        for (name, needed) in parameters {
            if needed && given.get(name).is_none_or(Value::is_null) {
                return Err(Error::usage(format!("`{}` lacks the argument `{name}`", execution.name)));
            }
        }
        Ok(Call {
            shown: fun.to_owned(),
            execution,
            given: Given(given),
        })
    }

    /// What carries it out.
    pub fn done(&self, context: &Context) -> Result<Done> {
        (self.execution.make)(&self.given, context)
    }
}

/// A function's parameters, and whether each is needed.
fn parameters(execution: &Execution) -> Vec<(&'static str, bool)> {
    let (needed, others) = execution.parameters.split_once('|').unwrap_or((execution.parameters, ""));
    let needed = needed.split_whitespace().map(|name| (name, true));
    needed.chain(others.split_whitespace().map(|name| (name, false))).collect()
}

fn takes(execution: &Execution, name: &str) -> bool {
    parameters(execution).iter().any(|(known, _)| *known == name)
}

impl Given {
    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_null()).and_then(Value::scalar_text)
    }

    pub fn text(&self, name: &str) -> Result<String> {
        self.optional(name)
            .ok_or_else(|| Error::usage(format!("`{name}` must be text")))
    }

    /// One word of a shell.
    pub fn word(&self, name: &str) -> Result<String> {
        Ok(crate::shell::quote(&self.text(name)?).into_owned())
    }

    /// An absolute path, as one word of a shell.
    pub fn path(&self, name: &str) -> Result<String> {
        let path = self.text(name)?;
        if !path.starts_with('/') {
            return Err(Error::usage(format!("`{name}` must be an absolute path, not {path:?}")));
        }
        Ok(crate::shell::quote(&path).into_owned())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Texts, from a list or from one.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name).map(|value| &value.data) {
            None | Some(Data::Null) => Vec::new(),
            Some(Data::List(items)) => items.iter().filter_map(Value::scalar_text).collect(),
            Some(data) => Value::from(data.clone()).scalar_text().into_iter().collect(),
        }
    }

    /// Names and values, from a mapping or a list of them.
    pub fn pairs(&self, name: &str) -> Result<Vec<(String, String)>> {
        crate::states::cmd::environment(&self.0.get(name).cloned())
    }
}
