//! `pillar.*`, `config.*`, `mine.*`.

use super::{Call, Function, merge};
use crate::inventory::Glob;
use crate::pattern::{Flags, Pattern};
use crate::template::args::shown;
use crate::template::failures::from_error;
use crate::template::filters::data::traverse;
use crate::template::value::{deep_copy, dict, equal, fail, is_list, is_mapping, items, list, lookup, pairs, text};
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("pillar.get", get),
    ("pillar.fetch", get),
    ("pillar.item", |call| {
        let default = call.args.keyword("default").unwrap_or_else(|| "".into());
        let delimiter = call
            .args
            .keyword("delimiter")
            .map_or(":".to_owned(), |delimiter| text(&delimiter));
        let pillar = call.shared.pillar.value();
        let paths = call.args.rest();
        let found = paths.into_iter().map(|path| {
            let value = traverse(&pillar, &path, &delimiter)?.unwrap_or_else(|| default.clone());
            Ok((path, value))
        });
        Ok(dict(found.collect::<Result<Vec<_>, Error>>()?))
    }),
    ("pillar.items", all),
    ("pillar.data", all),
    ("pillar.raw", |call| {
        let pillar = call.shared.pillar.value();
        match call.args.text_or_none("key")? {
            Some(key) => Ok(lookup(&pillar, &key.into()).unwrap_or_else(|| dict([]))),
            None => Ok(pillar),
        }
    }),
    ("pillar.ls", |call| {
        let names = pairs(&call.shared.pillar.value()).unwrap_or_default();
        Ok(list(names.into_iter().map(|(name, _)| name).collect()))
    }),
    ("pillar.keys", |call| {
        let path = call.args.need("key")?;
        let delimiter = call.args.text_or("delimiter", ":")?;
        let found = traverse(&call.shared.pillar.value(), &path, &delimiter)?;
        match found.as_ref().and_then(pairs) {
            Some(pairs) => Ok(list(pairs.into_iter().map(|(key, _)| key).collect())),
            None => Err(fail(format!("the pillar has no dictionary at {}", shown(&path)))),
        }
    }),
    ("pillar.filter_by", |call| {
        let lookup = call.args.need("lookup_dict")?;
        let path = call.args.text("pillar")?;
        let merge = call.args.optional("merge")?;
        let default = call.args.text_or("default", "default")?;
        let base = call.args.text_or_none("base")?;
        super::grains::filter_by(&call.shared.pillar.value(), &lookup, &path, merge, &default, base)
    }),
    ("config.get", config_get),
    ("config.option", |call| {
        let name = call.args.need("value")?;
        let default = call.args.take("default").unwrap_or_else(|| "".into());
        let sources = Sources::taken(call)?;
        call.args.flag("wildcard", false)?;
        Ok(sources.first(&name, ":")?.unwrap_or(default))
    }),
    ("mine.get", mine),
];

/// Where `config.get` looks, in order.
struct Sources(Vec<Value>);

impl Sources {
    fn taken(call: &mut Call) -> Result<Sources, Error> {
        let mut left_out = |name| call.args.flag(name, false);
        let (opts, grains, pillar, master) = (
            left_out("omit_opts")?,
            left_out("omit_grains")?,
            left_out("omit_pillar")?,
            left_out("omit_master")?,
        );
        let pillar_value = call.shared.pillar.value();
        let mut sources = Vec::new();
        if !opts {
            sources.push(call.shared.opts.value());
        }
        if !grains {
            sources.push(call.shared.grains.value());
        }
        if !pillar {
            sources.push(pillar_value.clone());
        }
        if !master && let Some(master) = lookup(&pillar_value, &"master".into()) {
            sources.push(master);
        }
        Ok(Sources(sources))
    }

    fn first(&self, path: &Value, delimiter: &str) -> Result<Option<Value>, Error> {
        for source in &self.0 {
            if let Some(found) = traverse(source, path, delimiter)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn get(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.need("key")?;
    let default = call.args.take("default").unwrap_or_else(|| "".into());
    let merging = call.args.flag("merge", false)?;
    let merge_lists = call.args.flag("merge_nested_lists", false)?;
    let delimiter = call.args.text_or("delimiter", ":")?;
    for name in ["pillarenv", "saltenv"] {
        call.args.text_or_none(name)?;
    }
    let pillar = call.shared.pillar.value();
    let found = traverse(&pillar, &path, &delimiter)?;
    if merging {
        if is_mapping(&default) {
            let new = found.clone().unwrap_or_else(|| dict([]));
            if is_mapping(&new) {
                let merged = deep_copy(&default);
                merge::update(&merged, &new, true, merge_lists)?;
                return Ok(merged);
            }
        } else if is_list(&default) {
            let new = found.clone().unwrap_or_else(|| list(Vec::new()));
            if is_list(&new) {
                let mut all = items(&deep_copy(&default))?;
                for item in items(&new)? {
                    if !all.iter().any(|known| equal(known, &item)) {
                        all.push(item);
                    }
                }
                return Ok(list(all));
            }
        }
        call.shared.note(
            "error",
            format!(
                "pillar.get: {} cannot be merged with the default; it was taken as it is",
                shown(&path)
            ),
        );
    }
    Ok(found.unwrap_or(default))
}

fn all(call: &mut Call) -> Result<Value, Error> {
    let pillar = call.shared.pillar.value();
    let wanted = call.args.rest();
    if wanted.is_empty() {
        return Ok(pillar);
    }
    Ok(dict(wanted.into_iter().map(|key| {
        let value = lookup(&pillar, &key).unwrap_or_else(|| "".into());
        (key, value)
    })))
}

fn config_get(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.need("key")?;
    let default = call.args.take("default").unwrap_or_else(|| "".into());
    let delimiter = call.args.text_or("delimiter", ":")?;
    let merging = call.args.text_or_none("merge")?;
    let sources = Sources::taken(call)?;
    let found = match merging {
        None => sources.first(&path, &delimiter)?,
        Some(strategy) => {
            let strategy = if strategy == "overwrite" { "overwrite" } else { "recurse" };
            let mut whole = dict([]);
            for source in sources.0.iter().rev() {
                whole = merge::merge(&whole, source, strategy, false)?;
            }
            traverse(&whole, &path, &delimiter)?
        }
    };
    Ok(found.unwrap_or(default))
}

/// What other minions have published.
fn mine(call: &mut Call) -> Result<Value, Error> {
    let target = call.args.need("tgt")?;
    let functions = call.args.need("fun")?;
    let kind = call.args.text_or("tgt_type", "glob")?;
    let without_self = call.args.flag("exclude_minion", false)?;
    let me = call.shared.minion.clone();
    let mine = call.shared.mine.value();
    let ids = match is_list(&target) {
        true => items(&target)?.iter().map(text).collect::<Vec<_>>(),
        false => vec![text(&target)],
    };
    let pattern = match kind.as_str() {
        "pcre" => Some(Pattern::new(&ids[0], Flags::default()).map_err(from_error)?),
        _ => None,
    };
    let matches = |id: &str| -> Result<bool, Error> {
        Ok(match (kind.as_str(), &pattern) {
            (_, Some(pattern)) => pattern.starts(id).map_err(from_error)?,
            ("list", _) => ids.iter().flat_map(|ids| ids.split(',')).any(|one| one.trim() == id),
            ("glob" | "compound", _) => ids.iter().any(|one| Glob::fnmatch(one).matches(id)),
            (other, _) => {
                return Err(fail(format!(
                    "`mine.get` cannot match by `{other}` here; `glob`, `list` and `pcre` work"
                )));
            }
        })
    };
    let of = |function: &str| -> Result<Value, Error> {
        let published = lookup(&mine, &function.into())
            .and_then(|published| pairs(&published))
            .unwrap_or_default();
        let mut kept = Vec::new();
        for (minion, value) in published {
            let id = text(&minion);
            if matches(&id)? && !(without_self && id == me) {
                kept.push((minion, value));
            }
        }
        Ok(dict(kept))
    };
    if is_list(&functions) {
        let all = items(&functions)?
            .into_iter()
            .map(|function| Ok((function.clone(), of(&text(&function))?)))
            .collect::<Result<Vec<_>, Error>>()?;
        return Ok(dict(all));
    }
    of(&text(&functions))
}
