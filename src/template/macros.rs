//! Macros as Jinja2 has them: with `varargs` and `kwargs`, and with the way back to the call in their errors.

use super::args::Args;
use super::failures::in_macro;
use super::value::{Pending, as_int, dict, fail, tuple};
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::fmt;
use std::sync::Arc;

/// minijinja's macro with what the rewritten template says of it.
#[derive(Debug)]
struct Macro {
    inner: Value,
    name: String,
    /// How many parameters it was written with.
    parameters: usize,
    varargs: bool,
    kwargs: bool,
}

/// Gives `environment` the filter that the rewritten template calls after every `endmacro`.
pub fn install(environment: &mut Environment<'static>) {
    environment.add_filter("_macro", |_: &mut State, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        let [inner, parameters, varargs, kwargs] = args.as_slice() else {
            return Err(fail("internal: `_macro`"));
        };
        Ok(Value::from_object(Macro {
            name: inner.get_attr("name")?.to_string(),
            inner: inner.clone(),
            parameters: as_int(parameters).and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
            varargs: varargs.is_true(),
            kwargs: kwargs.is_true(),
        }))
    });
}

pub fn is_macro(value: &Value) -> bool {
    value.downcast_object_ref::<Macro>().is_some()
}

impl Macro {
    fn parameter_names(&self) -> Vec<String> {
        let names = self.inner.get_attr("arguments").ok().and_then(|names| names.try_iter().ok());
        names
            .into_iter()
            .flatten()
            .take(self.parameters)
            .map(|name| name.to_string())
            .collect()
    }

    fn distribute(&self, args: &[Value]) -> Result<Vec<Value>, Error> {
        let mut args = Args::new(&self.name, args);
        let mut positional = args.rest();
        let further = positional.split_off(positional.len().min(self.parameters));
        let names = self.parameter_names();
        let mut named = args.keywords();
        if !further.is_empty() && !self.varargs {
            return Err(fail(format!(
                "the macro `{}` takes at most {} arguments ({}), {} were given",
                self.name,
                self.parameters,
                names.join(", "),
                self.parameters + further.len()
            )));
        }
        let unknown = |name: &str| name != "caller" && !names.iter().any(|known| known == name);
        let mut pass = Vec::new();
        let mut rest = Vec::new();
        for (name, value) in named.drain(..) {
            if unknown(&name) {
                rest.push((name, value))
            } else {
                pass.push((name, value))
            }
        }
        if let Some((name, _)) = rest.first()
            && !self.kwargs
        {
            let near = crate::error::nearest(name, names.iter().map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(fail(format!("the macro `{}` has no argument `{name}`{near}", self.name)));
        }
        for (name, value) in &mut pass {
            if name == "caller" {
                *value = Value::from_object(Macro {
                    inner: value.clone(),
                    name: "caller".to_owned(),
                    parameters: usize::MAX,
                    varargs: false,
                    kwargs: true,
                });
            }
        }
        if self.varargs && self.parameters != usize::MAX {
            pass.push(("varargs".to_owned(), tuple(further)));
        }
        if self.kwargs && self.parameters != usize::MAX {
            pass.push((
                "kwargs".to_owned(),
                dict(rest.into_iter().map(|(name, value)| (name.into(), value))),
            ));
        } else {
            pass.extend(rest);
        }
        if !pass.is_empty() {
            positional.push(pass.into_iter().collect::<Kwargs>().into());
        }
        Ok(positional)
    }
}

impl Object for Macro {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "name" => self.name.as_str().into(),
            "arguments" => tuple(self.parameter_names().into_iter().map(Value::from).collect()),
            "catch_varargs" => self.varargs.into(),
            "catch_kwargs" => self.kwargs.into(),
            "caller" => self.inner.get_attr("caller").ok()?,
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let args = self.distribute(args)?;
        let text = self.inner.call(state, &args).map_err(|error| in_macro(&self.name, error))?;
        // Text that holds a pending value is pending as a whole: it may be compared.
        Ok(Pending::among([&text]).unwrap_or(text))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Macro '{}'>", self.name)
    }
}
