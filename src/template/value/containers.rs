//! Lists, dictionaries and the views of them.

use super::{DEEPEST, fail, repr};
use crate::template::methods;
use indexmap::{Equivalent, IndexMap};
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

/// Python's list.
#[derive(Debug, Default)]
pub struct List {
    items: Mutex<Vec<Value>>,
}

/// Python's dict, in insertion order.
#[derive(Debug, Default)]
pub struct Dict {
    items: Mutex<IndexMap<Value, Value>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl List {
    pub fn new(items: Vec<Value>) -> List {
        List {
            items: Mutex::new(items),
        }
    }

    /// A snapshot: what follows may change the list.
    pub fn items(&self) -> Vec<Value> {
        held(&self.items).clone()
    }

    pub fn len(&self) -> usize {
        held(&self.items).len()
    }

    /// For changes that put nothing new into the list; see [`List::splice`].
    pub fn change<T>(&self, change: impl FnOnce(&mut Vec<Value>) -> T) -> T {
        change(&mut held(&self.items))
    }

    /// Puts `values` in place of `range`.
    ///
    /// # Errors
    /// The list would contain itself, or be nested too deep.
    pub fn splice(&self, range: std::ops::Range<usize>, values: Vec<Value>) -> Result<(), Error> {
        let own = std::ptr::from_ref(self).cast();
        for value in &values {
            holds_not(value, own, 0)?;
        }
        let mut items = held(&self.items);
        let end = range.end.min(items.len());
        items.splice(range.start.min(end)..end, values);
        Ok(())
    }
}

/// A string as a key that is looked up, without making a [`Value`] of it.
struct Text<'a>(&'a str);

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As minijinja hashes its string values; asserted by a test.
        self.0.hash(state);
    }
}

impl Equivalent<Value> for Text<'_> {
    fn equivalent(&self, key: &Value) -> bool {
        super::is_string(key) && key.as_str() == Some(self.0)
    }
}

impl Dict {
    pub fn new(pairs: impl IntoIterator<Item = (Value, Value)>) -> Dict {
        Dict {
            items: Mutex::new(pairs.into_iter().collect()),
        }
    }

    /// A snapshot: what follows may change the dictionary.
    pub fn pairs(&self) -> Vec<(Value, Value)> {
        held(&self.items)
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub fn keys(&self) -> Vec<Value> {
        held(&self.items).keys().cloned().collect()
    }

    pub fn get(&self, key: &Value) -> Option<Value> {
        held(&self.items).get(key).cloned()
    }

    pub fn get_str(&self, key: &str) -> Option<Value> {
        held(&self.items).get(&Text(key)).cloned()
    }

    /// # Errors
    /// The key cannot be one, or the dictionary would contain itself or be nested too deep.
    pub fn insert(&self, key: Value, value: Value) -> Result<(), Error> {
        hashable(&key)?;
        holds_not(&value, std::ptr::from_ref(self).cast(), 0)?;
        held(&self.items).insert(key, value);
        Ok(())
    }

    pub fn remove(&self, key: &Value) -> Option<Value> {
        held(&self.items).shift_remove(key)
    }

    pub fn pop_last(&self) -> Option<(Value, Value)> {
        held(&self.items).pop()
    }

    pub fn clear(&self) {
        held(&self.items).clear();
    }
}

/// # Errors
/// Lists and dictionaries cannot be keys.
pub fn hashable(key: &Value) -> Result<(), Error> {
    if super::is_mapping(key) || super::is_list(key) {
        return Err(fail(format!("a value of type {} cannot be a key", super::type_name(key))));
    }
    Ok(())
}

/// # Errors
/// `value` is, or holds, the container at `own`; or it is nested too deep.
fn holds_not(value: &Value, own: *const (), depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(fail(format!("a value nested deeper than {DEEPEST} levels")));
    }
    let inner = if let Some(list) = value.downcast_object_ref::<List>() {
        if std::ptr::from_ref(list).cast() == own {
            return Err(fail("a list cannot contain itself"));
        }
        list.items()
    } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
        if std::ptr::from_ref(dict).cast() == own {
            return Err(fail("a dictionary cannot contain itself"));
        }
        held(&dict.items).values().cloned().collect()
    } else {
        return Ok(());
    };
    inner.iter().try_for_each(|value| holds_not(value, own, depth + 1))
}

thread_local! {
    /// The last keys that were looked up in vain, for the hint of the error that may come of it.
    static MISSES: RefCell<VecDeque<(String, Arc<Dict>)>> = const { RefCell::new(VecDeque::new()) };
}

/// The keys of the dictionary in which `key` was last looked up in vain by this thread.
pub fn missed(key: &str) -> Option<Vec<String>> {
    MISSES.with_borrow(|misses| {
        let (_, dict) = misses.iter().rev().find(|(missed, _)| missed == key)?;
        Some(dict.keys().iter().filter_map(|key| key.as_str().map(str::to_owned)).collect())
    })
}

/// Lets go of what [`missed`] remembers.
pub fn forget_misses() {
    MISSES.with_borrow_mut(VecDeque::clear);
}

fn miss(key: &str, dict: &Arc<Dict>) {
    MISSES.with_borrow_mut(|misses| {
        if misses.len() == 8 {
            misses.pop_front();
        }
        misses.push_back((key.to_owned(), dict.clone()));
    });
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        held(&self.items).get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.len())
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        methods::list(self, state, method, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&Value::from_dyn_object(self.clone())))
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.get(key);
        if found.is_none()
            && let Some(key) = key.as_str()
        {
            miss(key, self);
            // Jinja2 takes a subscript that is no key for an attribute: `d['get']('x')`.
            return methods::of_dict(self, key);
        }
        found
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.get_str(key);
        if found.is_none() {
            miss(key, self);
        }
        found
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::KeyValueIter(Box::new(self.pairs().into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(held(&self.items).len())
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        methods::dict(self, state, method, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&Value::from_dyn_object(self.clone())))
    }
}

/// What Python has beside lists and tuples that can be iterated over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewKind {
    Keys,
    Values,
    Items,
    Set,
    /// Start, stop, step.
    Range(i64, i64, i64),
    /// What `map`, `select` and their like give.
    Generator,
}

impl ViewKind {
    pub fn type_name(self) -> &'static str {
        match self {
            ViewKind::Keys => "dict_keys",
            ViewKind::Values => "dict_values",
            ViewKind::Items => "dict_items",
            ViewKind::Set => "set",
            ViewKind::Range(..) => "range",
            ViewKind::Generator => "generator",
        }
    }
}

/// Items that are not a list.
#[derive(Debug)]
pub struct View {
    pub kind: ViewKind,
    pub items: Vec<Value>,
}

impl View {
    pub fn of(kind: ViewKind, items: Vec<Value>) -> Value {
        Value::from_object(View { kind, items })
    }

    /// Python's set: each item once, in the order in which it was first seen.
    pub fn set(values: impl IntoIterator<Item = Value>) -> Value {
        let mut items: Vec<Value> = Vec::new();
        for value in values {
            if !items.contains(&value) {
                items.push(value);
            }
        }
        View::of(ViewKind::Set, items)
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.kind {
            ViewKind::Range(..) => ObjectRepr::Seq,
            _ => ObjectRepr::Iterable,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        // A generator is true to Python even where nothing will come of it.
        self.kind == ViewKind::Generator || !self.items.is_empty()
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        methods::view(self, method, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&Value::from_dyn_object(self.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{dict, list};
    use super::*;

    #[test]
    fn a_text_key_finds_what_a_value_key_stored() {
        for key in ["a", "a key that is longer than a small string of minijinja"] {
            let dict = Dict::new([(Value::from(key), Value::from(1))]);
            assert_eq!(dict.get_str(key), Some(Value::from(1)));
            assert_eq!(dict.get_str("other"), None);
        }
    }

    #[test]
    fn containers_do_not_contain_themselves() {
        let outer = dict([]);
        let inner = list(vec![outer.clone()]);
        let refused = outer.downcast_object_ref::<Dict>().unwrap().insert("x".into(), inner);
        assert_eq!(refused.unwrap_err().detail(), Some("a dictionary cannot contain itself"));
    }

    #[test]
    fn the_dictionary_of_a_missing_key_is_remembered() {
        forget_misses();
        let value = dict([(Value::from("port"), Value::from(1))]);
        assert!(value.get_attr("prot").unwrap().is_undefined());
        assert_eq!(missed("prot"), Some(vec!["port".to_owned()]));
        forget_misses();
        assert_eq!(missed("prot"), None);
    }
}
