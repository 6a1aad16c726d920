//! The pillar's top file: which SLS a minion's pillar is made of.

use super::Reader;
use crate::error::{Error, Pos, Result};
use crate::sls::Locals;
use crate::yaml::{Map, Value};

/// An SLS that the top file names.
pub struct Named {
    pub sls: String,
    pub at: Pos,
    pub ignore_missing: bool,
}

/// The SLS that are meant for the minion, in order; `None` where there is no top file, or where it asks the minion something.
pub fn names(reader: &mut Reader) -> Result<Option<Vec<Named>>> {
    let Some(file) = reader.input.tree.find("top.sls") else {
        return Ok(None);
    };
    let locals = Locals::of("", reader.input.saltenv, &file);
    let Some(top) = reader.read(&file, &locals)? else {
        return Ok(None);
    };
    if top.is_null() {
        return Ok(Some(Vec::new()));
    }
    let envs = mapping(&top, "the top file maps an environment (`base`) to targets")?;
    let mut ordered: Vec<(f64, Named)> = Vec::new();
    let mut errors = Vec::new();
    for (env, targets) in envs {
        if env.as_str() != Some(reader.input.saltenv) {
            continue;
        }
        for (target, wanted) in mapping(targets, "an environment maps targets to lists of SLS")? {
            match matched(reader, &target.text(), target.at, wanted) {
                Ok(named) => ordered.extend(named),
                Err(error) => errors.push(error),
            }
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    // Stable: those without an `order` stay as they are written.
    ordered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    Ok(Some(ordered.into_iter().map(|(_, named)| named).collect()))
}

fn mapping<'a>(value: &'a Value, expected: &str) -> Result<&'a Map> {
    value
        .as_map()
        .ok_or_else(|| Error::usage(format!("{expected}; this is {}", value.kind())).at(value.at))
}

/// What one target's list names, if the minion is meant.
fn matched(reader: &Reader, target: &str, at: Pos, wanted: &Value) -> Result<Vec<(f64, Named)>> {
    let (mut kind, mut order, mut ignore_missing) = ("compound".to_owned(), 0.0, false);
    let mut named: Vec<(String, Pos)> = Vec::new();
    let single = std::slice::from_ref(wanted);
    for item in wanted.as_list().unwrap_or(single) {
        if let Some(sls) = item.as_str() {
            named.push((sls.to_owned(), item.at));
            continue;
        }
        let options = item
            .as_map()
            .ok_or_else(|| Error::usage(format!("expected the name of an SLS, not {}", item.kind())).at(item.at))?;
        for (key, value) in options {
            match key.text().as_str() {
                "match" => kind = value.scalar_text().unwrap_or_default(),
                "order" => order = value.scalar_text().and_then(|text| text.parse().ok()).unwrap_or(0.0),
                "ignore_missing" => ignore_missing = value.as_bool().unwrap_or(false),
                other => {
                    return Err(Error::usage(format!("a target of a top file has no option `{other}`"))
                        .at(key.at)
                        .did_you_mean(other, ["match", "order", "ignore_missing"]));
                }
            }
        }
    }
    if !(reader.input.matches)(target, &kind).map_err(|e| e.at(at))? {
        return Ok(Vec::new());
    }
    Ok(named
        .into_iter()
        .map(|(sls, at)| (order, Named { sls, at, ignore_missing }))
        .collect())
}
