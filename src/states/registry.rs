//! The state functions by name, each with its documentation, its schema and its maker.

use super::StateFunction;
use crate::error::{Error, Result};
use crate::yaml::{Map, Value};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A state function as it is registered.
pub struct Function {
    /// `file.managed`.
    pub name: &'static str,
    /// The JSON schema of its arguments; the struct's and the fields' documentation is in it.
    pub schema: fn() -> Schema,
    /// Makes the state of its arguments (with `name`, without the global ones such as `require`).
    pub make: fn(&Map) -> Result<Box<dyn StateFunction>>,
    /// Whether its module has a `mod_watch` in Salt: else `watch` means `require`.
    pub watches: bool,
}

/// The functions of one module.
pub type Functions = &'static [Function];

impl Function {
    /// The registration of `S` under `name`.
    pub const fn of<S>(name: &'static str, watches: bool) -> Function
    where
        S: StateFunction + DeserializeOwned + JsonSchema + 'static,
    {
        Function {
            name,
            schema: || schemars::schema_for!(S),
            make: make::<S>,
            watches,
        }
    }
}

fn make<S>(arguments: &Map) -> Result<Box<dyn StateFunction>>
where
    S: StateFunction + DeserializeOwned + 'static,
{
    let state: S = crate::yaml::from_value(&Value::from(arguments.clone()))?;
    state.check()?;
    Ok(Box::new(state))
}

/// The names of the arguments that a schema describes.
pub(crate) fn arguments(schema: &Schema) -> Vec<String> {
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    properties.map(|known| known.keys().cloned().collect()).unwrap_or_default()
}

/// Whether the function called `name` has an argument of its own by this name.
pub fn takes(name: &str, argument: &str) -> bool {
    type Known = HashMap<&'static str, Arc<[String]>>;
    // Making a schema takes far longer than looking into it, and every minion asks.
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let Ok(function) = function(name) else { return false };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known
        .entry(function.name)
        .or_insert_with(|| arguments(&(function.schema)()).into());
    known.iter().any(|known| known == argument)
}

/// All registered functions, module by module.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    super::MODULES.iter().copied().flatten()
}

/// The function called `name`.
///
/// # Errors
/// No such function: names the nearest.
pub fn function(name: &str) -> Result<&'static Function> {
    functions().find(|f| f.name == name).ok_or_else(|| {
        Error::usage(format!("unknown state function `{name}`"))
            .did_you_mean(name, functions().map(|f| f.name))
            .hint("`picloud doc` lists the state functions that picloud knows")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_known_by_name() {
        for (name, argument, taken) in [
            ("file.managed", "source", true),
            ("file.managed", "require", false),
            ("cmd.run", "runas", true),
            ("file.manged", "source", false),
        ] {
            // The second time from what is remembered.
            assert_eq!(
                [takes(name, argument), takes(name, argument)],
                [taken; 2],
                "{name} {argument}"
            );
        }
    }
}
