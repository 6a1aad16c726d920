//! Functions that every template can call.

use super::args::{Args, shown};
use super::context::Root;
use super::value::{View, ViewKind, as_int, dict, fail, text};
use crate::template::methods::pairs_to_update;
use minijinja::value::{Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

type Function = fn(&mut State, &mut Args) -> Result<Value, Error>;

/// All of them.
pub const NAMES: &[&str] = &[
    "range",
    "dict",
    "odict",
    "cycler",
    "joiner",
    "namespace",
    "raise",
    "show_full_context",
    "ifelse",
];

const FUNCTIONS: &[(&str, Function)] = &[
    ("range", range),
    ("dict", new_dict),
    ("odict", new_dict),
    ("cycler", |_, args| {
        let items = args.rest();
        match items.is_empty() {
            true => Err(fail("`cycler` needs at least one item")),
            false => Ok(Value::from_object(Cycler {
                items,
                at: AtomicUsize::new(0),
            })),
        }
    }),
    ("joiner", |_, args| {
        let separator = args.text_or("sep", ", ")?;
        Ok(Value::from_object(Joiner {
            separator,
            used: AtomicBool::new(false),
        }))
    }),
    ("raise", |_, args| Err(fail(args.text("message")?))),
    ("show_full_context", |state, _| {
        let mut shown = Vec::new();
        for name in state.known_variables() {
            let value = state.lookup(&name).unwrap_or_default();
            let simple = value.is_number()
                || value.is_none()
                || value.len().is_some()
                || value.kind() == minijinja::value::ValueKind::Bool;
            if simple && !name.starts_with('_') && !NAMES.contains(&name.as_ref()) && name != "salt" {
                shown.push((Value::from(name.as_ref()), value));
            }
        }
        Ok(dict(shown))
    }),
    ("ifelse", |state, args| {
        // Compound targets and what they give: the first that the minion matches.
        let mut all = args.rest();
        let default = if all.len() % 2 == 1 { all.pop() } else { None };
        for pair in all.chunks(2) {
            if let [target, value] = pair
                && super::salt::matches(state, &text(target), "compound")?
            {
                return Ok(value.clone());
            }
        }
        Ok(default.unwrap_or(Value::from(())))
    }),
];

/// The most numbers that `range` gives.
const MOST: i64 = 1 << 20;

/// Gives `environment` the functions, in place of minijinja's own.
pub fn install(environment: &mut Environment<'static>) {
    for (name, function) in FUNCTIONS {
        environment.add_function(*name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let mut args = Args::new(*name, &args.into_values());
            let result = function(state, &mut args)?;
            args.done()?;
            Ok(result)
        });
    }
    debug_assert!(Root::COMMON.iter().all(|name| !NAMES.contains(name)));
}

fn range(_: &mut State, args: &mut Args) -> Result<Value, Error> {
    let numbers = args.rest();
    let ints: Vec<i64> = numbers
        .iter()
        .map(|number| as_int(number).ok_or_else(|| fail(format!("`range` needs integers, not {}", shown(number)))))
        .collect::<Result<_, _>>()?;
    let (start, stop, step) = match ints.as_slice() {
        [stop] => (0, *stop, 1),
        [start, stop] => (*start, *stop, 1),
        [start, stop, step] => (*start, *stop, *step),
        _ => return Err(fail("`range` takes one to three integers")),
    };
    if step == 0 {
        return Err(fail("`range`: the step cannot be 0"));
    }
    let distance = if step > 0 {
        stop.saturating_sub(start)
    } else {
        start.saturating_sub(stop)
    };
    let count = if distance <= 0 {
        0
    } else {
        (distance - 1) / step.saturating_abs() + 1
    };
    if count > MOST {
        return Err(fail(format!("a range of {count} numbers is too large")));
    }
    let items = (0..count).map(|n| Value::from(start + n * step)).collect();
    Ok(View::of(ViewKind::Range(start, stop, step), items))
}

fn new_dict(_: &mut State, args: &mut Args) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for other in args.rest() {
        pairs.extend(pairs_to_update(&other)?);
    }
    pairs.extend(args.keywords().into_iter().map(|(name, value)| (name.into(), value)));
    for (key, _) in &pairs {
        super::value::hashable(key)?;
    }
    Ok(dict(pairs))
}

#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.items[self.at.load(Ordering::Relaxed) % self.items.len()].clone())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        match method {
            "next" => {
                let at = self.at.fetch_add(1, Ordering::Relaxed);
                Ok(self.items[at % self.items.len()].clone())
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(fail(format!("a cycler has no method `{method}`; it has `next` and `reset`"))),
        }
    }
}

#[derive(Debug)]
struct Joiner {
    separator: String,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Ok(if self.used.swap(true, Ordering::Relaxed) {
            self.separator.as_str()
        } else {
            ""
        }
        .into())
    }
}
