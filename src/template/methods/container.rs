//! Methods of lists, dictionaries, tuples and views.

use super::no_method;
use crate::template::args::Args;
use crate::template::value::{self, Dict, List, Pending, View, ViewKind, fail, items, repr, tuple};
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt;
use std::sync::Arc;

const LIST: &[&str] = &[
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
];
const DICT: &[&str] = &[
    "clear",
    "copy",
    "fromkeys",
    "get",
    "has_key",
    "items",
    "iteritems",
    "iterkeys",
    "itervalues",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

/// The place that a Python index means in `len` items.
fn place(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

pub fn list(this: &Arc<List>, state: &mut State, method: &str, args: &[Value]) -> Result<Value, Error> {
    if matches!(method, "index" | "count") {
        return sequence(&this.items(), method, Args::new(method, args));
    }
    let mut args = Args::new(method, args);
    let none = Value::from(());
    let result = match method {
        "append" => {
            let item = args.need("object")?;
            this.splice(usize::MAX - 1..usize::MAX, vec![item])?;
            none
        }
        "extend" => {
            let more = args.need("iterable")?;
            this.splice(usize::MAX - 1..usize::MAX, items(&more)?)?;
            none
        }
        "insert" => {
            let at = args.int("index", 0)?;
            let item = args.need("object")?;
            let len = this.len() as i64;
            let at = if at < 0 { (at + len).max(0) } else { at.min(len) } as usize;
            this.splice(at..at, vec![item])?;
            none
        }
        "pop" => {
            let index = args.int("index", -1)?;
            let len = this.len();
            match place(index, len) {
                Some(at) => this.change(|items| items.remove(at)),
                None if len == 0 => return Err(fail("`pop` of an empty list")),
                None => return Err(fail(format!("`pop({index})` of a list of {len} items"))),
            }
        }
        "remove" => {
            let item = args.need("value")?;
            let found = this.items().iter().position(|other| *other == item);
            match found {
                Some(at) => drop(this.change(|items| items.remove(at))),
                None => return Err(fail(format!("`remove`: {} is not in the list", repr(&item)))),
            }
            none
        }
        "clear" => {
            this.change(Vec::clear);
            none
        }
        "copy" => value::list(this.items()),
        "reverse" => {
            this.change(|items| items.reverse());
            none
        }
        "sort" => {
            let key = args.keyword("key").filter(|key| !key.is_none());
            let reverse = args.keyword("reverse").is_some_and(|reverse| reverse.is_true());
            let mut sorted = this.items();
            let keys = match &key {
                Some(function) => sorted
                    .iter()
                    .map(|item| function.call(state, std::slice::from_ref(item)))
                    .collect::<Result<Vec<_>, _>>()?,
                None => sorted.clone(),
            };
            let mut order: Vec<Value> = (0..sorted.len()).map(Value::from).collect();
            value::sort(
                &mut order,
                |at| Ok(at.as_usize().and_then(|at| keys.get(at)).cloned().unwrap_or_default()),
                reverse,
            )?;
            let items = std::mem::take(&mut sorted);
            let ordered = order.iter().filter_map(|at| items.get(at.as_usize()?).cloned()).collect();
            this.change(|items| *items = ordered);
            none
        }
        _ => return Err(no_method(&Value::from_dyn_object(this.clone()), method, LIST)),
    };
    args.done()?;
    Ok(result)
}

/// What tuples and lists share.
pub fn sequence(all: &[Value], method: &str, mut args: Args) -> Result<Value, Error> {
    let result = match method {
        "index" => {
            let item = args.need("value")?;
            match all.iter().position(|other| *other == item) {
                Some(at) => Value::from(at),
                None => return Err(fail(format!("`index`: {} is not in the list", repr(&item)))),
            }
        }
        "count" => {
            let item = args.need("value")?;
            Value::from(all.iter().filter(|other| **other == item).count())
        }
        _ => return Err(no_method(&tuple(Vec::new()), method, &["count", "index"])),
    };
    args.done()?;
    Ok(result)
}

pub fn dict(this: &Arc<Dict>, _: &mut State, method: &str, args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new(method, args);
    let none = Value::from(());
    let result = match method {
        "get" => {
            let key = args.need("key")?;
            let default = args.take("default").unwrap_or(none);
            if let Some(pending) = Pending::among([&key]) {
                return Ok(pending);
            }
            this.get(&key).unwrap_or(default)
        }
        "items" | "iteritems" | "viewitems" => {
            let pairs = this.pairs().into_iter().map(|(key, value)| tuple(vec![key, value]));
            View::of(ViewKind::Items, pairs.collect())
        }
        "keys" | "iterkeys" | "viewkeys" => View::of(ViewKind::Keys, this.keys()),
        "values" | "itervalues" | "viewvalues" => {
            View::of(ViewKind::Values, this.pairs().into_iter().map(|(_, value)| value).collect())
        }
        "has_key" => Value::from(this.get(&args.need("key")?).is_some()),
        "update" => {
            for other in args.rest() {
                for (key, value) in pairs_to_update(&other)? {
                    this.insert(key, value)?;
                }
            }
            for (key, value) in args.keywords() {
                this.insert(Value::from(key), value)?;
            }
            none
        }
        "pop" => {
            let key = args.need("key")?;
            let default = args.take("default");
            match (this.remove(&key), default) {
                (Some(value), _) | (None, Some(value)) => value,
                (None, None) => {
                    return Err(fail(format!("`pop`: there is no key {}", repr(&key))));
                }
            }
        }
        "popitem" => match this.pop_last() {
            Some((key, value)) => tuple(vec![key, value]),
            None => return Err(fail("`popitem` of an empty dictionary")),
        },
        "setdefault" => {
            let key = args.need("key")?;
            let default = args.take("default").unwrap_or(none);
            match this.get(&key) {
                Some(value) => value,
                None => {
                    this.insert(key, default.clone())?;
                    default
                }
            }
        }
        "clear" => {
            this.clear();
            none
        }
        "copy" => value::dict(this.pairs()),
        "fromkeys" => {
            let keys = items(&args.need("iterable")?)?;
            let default = args.take("value").unwrap_or(none);
            value::dict(keys.into_iter().map(|key| (key, default.clone())))
        }
        // Not a method of a dict: perhaps a callable that is stored in it, which minijinja looks for.
        _ if this.get_str(method).is_some() => return Err(Error::from(ErrorKind::UnknownMethod)),
        _ => return Err(no_method(&Value::from_dyn_object(this.clone()), method, DICT)),
    };
    args.done()?;
    Ok(result)
}

/// A method of a dictionary that is not called at once.
#[derive(Debug)]
struct Bound {
    dict: Arc<Dict>,
    method: &'static str,
}

impl Object for Bound {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        dict(&self.dict, state, self.method, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<method {} of a dictionary>", self.method)
    }
}

/// The method `name` of `this` as a value; `None` if there is none.
pub fn of_dict(this: &Arc<Dict>, name: &str) -> Option<Value> {
    let method = DICT.iter().find(|method| **method == name)?;
    Some(Value::from_object(Bound {
        dict: this.clone(),
        method,
    }))
}

/// What `dict.update` accepts: a mapping, or an iterable of pairs.
pub fn pairs_to_update(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if let Some(pairs) = value::pairs(value) {
        return Ok(pairs);
    }
    items(value)?
        .iter()
        .map(|pair| match items(pair)?.as_slice() {
            [key, value] => Ok((key.clone(), value.clone())),
            other => Err(fail(format!(
                "a pair of key and value was expected, not {} items",
                other.len()
            ))),
        })
        .collect()
}

pub fn view(this: &Arc<View>, method: &str, args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new(method, args);
    if matches!(this.kind, ViewKind::Range(..)) {
        return sequence(&this.items, method, args);
    }
    if this.kind != ViewKind::Set {
        return Err(no_method(&Value::from_dyn_object(this.clone()), method, &[]));
    }
    let others = args.rest().iter().map(items).collect::<Result<Vec<_>, _>>()?;
    let in_all = |item: &Value| others.iter().all(|other| other.contains(item));
    let in_any = |item: &Value| others.iter().any(|other| other.contains(item));
    let kept = |keep: &dyn Fn(&Value) -> bool| View::set(this.items.iter().filter(|item| keep(item)).cloned());
    Ok(match method {
        "union" => View::set(this.items.iter().cloned().chain(others.into_iter().flatten())),
        "intersection" => kept(&in_all),
        "difference" => kept(&|item| !in_any(item)),
        "issubset" => Value::from(this.items.iter().all(in_all)),
        "issuperset" => Value::from(others.iter().flatten().all(|item| this.items.contains(item))),
        "copy" => View::set(this.items.iter().cloned()),
        _ => {
            let known = ["union", "intersection", "difference", "issubset", "issuperset"];
            return Err(no_method(&Value::from_dyn_object(this.clone()), method, &known));
        }
    })
}
