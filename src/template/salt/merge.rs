//! Salt's ways to merge data: `dictupdate`.

use crate::template::value::{Dict, deep_copy, dict, equal, fail, is_list, is_mapping, items, list, pairs, type_name};
use minijinja::{Error, Value};
use std::sync::Arc;

fn mapping(value: &Value) -> Result<Arc<Dict>, Error> {
    value.downcast_object::<Dict>().ok_or_else(|| {
        fail(format!(
            "only dictionaries can be merged, not a value of type {}",
            type_name(value)
        ))
    })
}

/// Merges `upd` into `dest` itself, mapping by mapping; lists are replaced, or joined without doubles where `merge_lists`.
///
/// # Errors
/// One of them is no dictionary.
pub fn update(dest: &Value, upd: &Value, recursive: bool, merge_lists: bool) -> Result<(), Error> {
    let into = mapping(dest)?;
    let Some(new) = pairs(upd) else {
        return Err(fail(format!(
            "only dictionaries can be merged, not a value of type {}",
            type_name(upd)
        )));
    };
    for (key, value) in new {
        let merged = match into.get(&key) {
            Some(old) if recursive && is_mapping(&old) && is_mapping(&value) => {
                update(&old, &value, true, merge_lists)?;
                old
            }
            Some(old) if recursive && merge_lists && is_list(&old) && is_list(&value) => {
                let mut all = items(&old)?;
                for item in items(&value)? {
                    if !all.iter().any(|known| equal(known, &item)) {
                        all.push(item);
                    }
                }
                list(all)
            }
            _ => value,
        };
        into.insert(key, merged)?;
    }
    Ok(())
}

/// A new value of `a` and `b` merged by one of Salt's strategies.
///
/// # Errors
/// Values that the strategy cannot merge.
pub fn merge(a: &Value, b: &Value, strategy: &str, merge_lists: bool) -> Result<Value, Error> {
    match strategy {
        "list" => {
            let (Some(first), Some(second)) = (pairs(a), pairs(b)) else {
                return Err(fail("only dictionaries can be merged"));
            };
            let other = dict(second);
            let other = mapping(&other)?;
            Ok(dict(first.into_iter().map(|(key, value)| {
                let value = match other.get(&key) {
                    Some(also) => list(vec![value, also]),
                    None => value,
                };
                (key, value)
            })))
        }
        "overwrite" => {
            let (copy, new) = (deep_copy(a), pairs(b).unwrap_or_default());
            let into = mapping(&copy)?;
            for (key, value) in new {
                into.insert(key, value)?;
            }
            Ok(copy)
        }
        "aggregate" => Ok(aggregated(a, b)),
        "smart" | "recurse" | "none" => {
            let copy = deep_copy(a);
            update(&copy, b, true, merge_lists)?;
            Ok(copy)
        }
        other => Err(fail(format!(
            "unknown strategy `{other}`; there are smart, recurse, overwrite, list, aggregate and none"
        ))),
    }
}

/// Mappings by key, lists one after the other, anything else replaced.
fn aggregated(a: &Value, b: &Value) -> Value {
    if let (Some(first), Some(second)) = (pairs(a), pairs(b)) {
        let made = Dict::new(first.clone());
        let mut all = first;
        for (key, value) in second {
            let value = match made.get(&key) {
                Some(old) => aggregated(&old, &value),
                None => value,
            };
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => all.push((key, value)),
            }
        }
        return dict(all);
    }
    match (is_list(a), is_list(b), items(a), items(b)) {
        (true, true, Ok(first), Ok(second)) => list([first, second].concat()),
        _ => deep_copy(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::value::{repr, to_template};
    use crate::yaml;

    fn value(text: &str) -> Value {
        to_template(&yaml::parse(crate::error::FileId::default(), text).unwrap())
    }

    #[test]
    fn data_is_merged_as_salt_merges_it() {
        let table = [
            (
                "recurse",
                false,
                "{a: {x: 1, y: 2}, l: [1]}",
                "{a: {y: 3}, l: [2]}",
                "{'a': {'x': 1, 'y': 3}, 'l': [2]}",
            ),
            ("recurse", true, "{l: [1, 2]}", "{l: [2, 3]}", "{'l': [1, 2, 3]}"),
            (
                "overwrite",
                false,
                "{a: {x: 1}, b: 1}",
                "{a: {y: 3}}",
                "{'a': {'y': 3}, 'b': 1}",
            ),
            ("list", false, "{a: 1, b: 2}", "{a: 3}", "{'a': [1, 3], 'b': 2}"),
            (
                "aggregate",
                false,
                "{a: [1], b: {c: 1}}",
                "{a: [2], b: {d: 2}}",
                "{'a': [1, 2], 'b': {'c': 1, 'd': 2}}",
            ),
        ];
        for (strategy, lists, a, b, expected) in table {
            assert_eq!(
                repr(&merge(&value(a), &value(b), strategy, lists).unwrap()),
                expected,
                "{strategy}"
            );
        }
    }

    #[test]
    fn update_changes_what_others_see() {
        let dest = value("{a: {x: 1}}");
        let inner = dest.get_attr("a").unwrap();
        update(&dest, &value("{a: {y: 2}}"), true, false).unwrap();
        assert_eq!(repr(&inner), "{'x': 1, 'y': 2}");
    }
}
