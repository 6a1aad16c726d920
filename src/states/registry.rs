//! The state functions by name, each with its documentation, its schema and its maker.

use super::StateFunction;
use crate::error::{Error, Result};
use crate::yaml::{Map, Value};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

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
