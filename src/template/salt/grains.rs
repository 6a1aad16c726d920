//! `grains.*`, `match.*`.

use super::{Call, Function, matches, merge};
use crate::inventory::Glob;
use crate::template::args::shown;
use crate::template::filters::data::traverse;
use crate::template::value::{deep_copy, dict, fail, is_list, is_mapping, items, list, lookup, pairs, text};
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("grains.get", |call| {
        let path = call.args.need("key")?;
        let default = call.args.take("default").unwrap_or_else(|| "".into());
        let delimiter = call.args.text_or("delimiter", ":")?;
        call.args.flag("ordered", true)?;
        Ok(traverse(&call.shared.grains.value(), &path, &delimiter)?.unwrap_or(default))
    }),
    ("grains.item", |call| {
        let grains = call.shared.grains.value();
        call.args.keyword("sanitize");
        let default = call.args.keyword("default").unwrap_or_else(|| "".into());
        let found = call.args.rest().into_iter().map(|path| {
            let value = traverse(&grains, &path, ":")?.unwrap_or_else(|| default.clone());
            Ok((path, value))
        });
        Ok(dict(found.collect::<Result<Vec<_>, Error>>()?))
    }),
    ("grains.items", |call| {
        call.args.flag("sanitize", false)?;
        Ok(call.shared.grains.value())
    }),
    ("grains.ls", |call| {
        let mut names: Vec<String> = pairs(&call.shared.grains.value())
            .unwrap_or_default()
            .iter()
            .map(|(name, _)| text(name))
            .collect();
        names.sort();
        Ok(list(names.into_iter().map(Value::from).collect()))
    }),
    ("grains.has_value", |call| {
        let path = call.args.need("key")?;
        Ok(traverse(&call.shared.grains.value(), &path, ":")?.is_some().into())
    }),
    ("grains.equals", |call| {
        let path = call.args.need("key")?;
        let value = call.args.need("value")?;
        let found = traverse(&call.shared.grains.value(), &path, ":")?.unwrap_or_default();
        Ok((text(&found) == text(&value)).into())
    }),
    ("grains.filter_by", |call| {
        let lookup = call.args.need("lookup_dict")?;
        let grain = call.args.text_or("grain", "os_family")?;
        let merge = call.args.optional("merge")?;
        let default = call.args.text_or("default", "default")?;
        let base = call.args.text_or_none("base")?;
        filter_by(&call.shared.grains.value(), &lookup, &grain, merge, &default, base)
    }),
    ("match.compound", |call| matching(call, "compound")),
    ("match.glob", |call| matching(call, "glob")),
    ("match.list", |call| matching(call, "list")),
    ("match.pcre", |call| matching(call, "pcre")),
    ("match.grain", |call| matching(call, "grain")),
    ("match.grain_pcre", |call| matching(call, "grain_pcre")),
    ("match.pillar", |call| matching(call, "pillar")),
    ("match.pillar_pcre", |call| matching(call, "pillar_pcre")),
    ("match.ipcidr", |call| matching(call, "ipcidr")),
    ("match.data", |call| matching(call, "data")),
    ("match.filter_by", |call| {
        let lookup = call.args.need("lookup")?;
        let kind = call.args.text_or("tgt_type", "compound")?;
        call.args.text_or_none("minion_id")?;
        let merging = call.args.optional("merge")?;
        let merge_lists = call.args.flag("merge_lists", false)?;
        let default = call.args.text_or("default", "default")?;
        for (target, value) in table(&lookup)? {
            if matches(call.state, &text(&target), &kind)? {
                if let Some(merging) = merging {
                    merge::update(&value, &deep_copy(&merging), true, merge_lists)?;
                }
                return Ok(value);
            }
        }
        Ok(lookup_or_none(&lookup, &default))
    }),
    ("match.search_by", |call| {
        let lookup = call.args.need("lookup")?;
        let kind = call.args.text_or("tgt_type", "compound")?;
        call.args.text_or_none("minion_id")?;
        let mut found = Vec::new();
        for (name, targets) in table(&lookup)? {
            for target in if is_list(&targets) { items(&targets)? } else { vec![targets] } {
                if matches(call.state, &text(&target), &kind)? {
                    found.push(name);
                    break;
                }
            }
        }
        Ok(if found.is_empty() { Value::from(()) } else { list(found) })
    }),
];

fn table(lookup: &Value) -> Result<Vec<(Value, Value)>, Error> {
    pairs(lookup).ok_or_else(|| fail(format!("a dictionary to look up in was expected, not {}", shown(lookup))))
}

fn lookup_or_none(table: &Value, key: &str) -> Value {
    lookup(table, &key.into()).unwrap_or(Value::from(()))
}

fn matching(call: &mut Call, matcher: &str) -> Result<Value, Error> {
    let target = call.args.need("tgt")?;
    for name in ["minion_id", "delimiter"] {
        call.args.text_or_none(name)?;
    }
    let target = match is_list(&target) {
        true => items(&target)?.iter().map(text).collect::<Vec<_>>().join(","),
        false => text(&target),
    };
    Ok(matches(call.state, &target, matcher)?.into())
}

/// The entry of `lookup` whose key, a glob, matches the grain (or the first element of it that any key matches); else the default.
/// It is merged over `base` and under `merge`, in place as in Salt: `lookup` itself changes.
///
/// # Errors
/// What is to be merged and is no dictionary.
pub fn filter_by(
    data: &Value,
    table_of: &Value,
    path: &str,
    merging: Option<Value>,
    default: &str,
    base: Option<String>,
) -> Result<Value, Error> {
    let entries = table(table_of)?;
    let value = traverse(data, &path.into(), ":")?.unwrap_or_else(|| list(Vec::new()));
    let values = if is_list(&value) { items(&value)? } else { vec![value] };
    let matched = values.iter().find_map(|value| {
        let value = text(value);
        let found = entries.iter().find(|(key, _)| Glob::fnmatch(&text(key)).matches(&value))?;
        // An entry of `null` is passed over, and the next element tried.
        (!found.1.is_none()).then(|| found.1.clone())
    });
    let mut result = matched.unwrap_or_else(|| lookup_or_none(table_of, default));
    if let Some(base) = base.and_then(|base| lookup(table_of, &base.into())) {
        if result.is_none() {
            result = base;
        } else if is_mapping(&base) {
            if !is_mapping(&result) {
                return Err(fail(
                    "`filter_by`: the default and the looked-up value must both be dictionaries",
                ));
            }
            let merged = deep_copy(&base);
            merge::update(&merged, &result, true, false)?;
            result = merged;
        }
    }
    if let Some(merging) = merging.filter(Value::is_true) {
        if !is_mapping(&merging) {
            return Err(fail(format!(
                "`filter_by`: `merge` must be a dictionary, not {}",
                shown(&merging)
            )));
        }
        if result.is_none() {
            result = merging;
        } else {
            merge::update(&result, &deep_copy(&merging), true, false)?;
        }
    }
    Ok(result)
}
