//! Filters over lists and dictionaries.

use super::Filter;
use crate::template::args::{Args, shown};
use crate::template::ops;
use crate::template::value::{
    self, View, ViewKind, as_float, as_int, compare, equal, fail, is_mapping, is_sequence_like, is_string, items, length, list,
    lookup, pairs, text, tuple, undefined,
};
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use std::cmp::Ordering;
use std::sync::Arc;

pub const FILTERS: &[(&str, Filter)] = &[
    ("first", |_, value, _| {
        Ok(items(&value)?.into_iter().next().unwrap_or_default())
    }),
    ("last", |_, value, _| Ok(items(&value)?.pop().unwrap_or_default())),
    ("length", |_, value, _| Ok(length(&value)?.into())),
    ("count", |_, value, _| Ok(length(&value)?.into())),
    ("list", |_, value, _| Ok(list(items(&value)?))),
    ("reverse", reverse),
    ("sort", sort),
    ("sorted_ignorecase", |_, value, _| {
        let mut all = items(&value)?;
        value::sort(&mut all, |item| Ok(text(item).to_lowercase().into()), false)?;
        Ok(list(all))
    }),
    ("unique", unique),
    ("min", |_, value, args| extreme(&value, args, Ordering::Less)),
    ("max", |_, value, args| extreme(&value, args, Ordering::Greater)),
    ("sum", sum),
    ("avg", |_, value, _| {
        let all = match as_float(&value) {
            Some(number) => return Ok(number.into()),
            None => items(&value)?,
        };
        let numbers: Option<Vec<f64>> = all.iter().map(as_float).collect();
        match numbers {
            Some(numbers) if !numbers.is_empty() => Ok((numbers.iter().sum::<f64>() / numbers.len() as f64).into()),
            _ => Err(fail(format!("`|avg` needs numbers, not {}", shown(&value)))),
        }
    }),
    ("map", map),
    ("select", |state, value, args| filtered(state, &value, args, false, true)),
    ("reject", |state, value, args| filtered(state, &value, args, false, false)),
    ("selectattr", |state, value, args| filtered(state, &value, args, true, true)),
    ("rejectattr", |state, value, args| filtered(state, &value, args, true, false)),
    ("groupby", groupby),
    ("batch", batch),
    ("slice", slice),
    ("dictsort", dictsort),
    ("items", |_, value, _| match pairs(&value) {
        _ if value.is_undefined() => Ok(list(Vec::new())),
        Some(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| tuple(vec![key, value]));
            Ok(View::of(ViewKind::Generator, pairs.collect()))
        }
        None => Err(fail(format!("`|items` needs a dictionary, not {}", shown(&value)))),
    }),
    ("union", |_, value, args| set(&value, args, Set::Union)),
    ("intersect", |_, value, args| set(&value, args, Set::Intersection)),
    ("difference", |_, value, args| set(&value, args, Set::Difference)),
    ("symmetric_difference", |_, value, args| set(&value, args, Set::Symmetric)),
    ("sequence", |_, value, _| {
        let is = is_sequence_like(&value) || is_mapping(&value);
        Ok(if is { value } else { list(vec![value]) })
    }),
    ("flatten", |_, value, args| {
        let levels = args.int_or_none("levels")?;
        let nulls = args.flag("preserve_nulls", false)?;
        let mut flat = Vec::new();
        flatten(&value, levels.unwrap_or(i64::MAX), nulls, &mut flat, 0)?;
        Ok(list(flat))
    }),
    ("zip", |_, value, args| zip(&value, args, false)),
    ("zip_longest", |_, value, args| zip(&value, args, true)),
    ("compress", |_, value, args| {
        let keep = items(&args.need("selectors")?)?;
        let kept = items(&value)?.into_iter().zip(keep).filter(|(_, keep)| keep.is_true());
        Ok(View::of(ViewKind::Generator, kept.map(|(item, _)| item).collect()))
    }),
    ("combinations", |_, value, args| chosen(&value, args, Choice::Combinations)),
    ("combinations_with_replacement", |_, value, args| {
        chosen(&value, args, Choice::WithReplacement)
    }),
    ("permutations", |_, value, args| chosen(&value, args, Choice::Permutations)),
    ("product", product),
    ("exactly_n_true", |_, value, args| {
        let wanted = args.int("amount", 1)?;
        let found = items(&value)?.iter().filter(|item| item.is_true()).count();
        Ok((found as i64 == wanted).into())
    }),
    ("exactly_one_true", |_, value, _| {
        Ok((items(&value)?.iter().filter(|item| item.is_true()).count() == 1).into())
    }),
    ("substring_in_list", |_, value, args| {
        let wanted = text(&value);
        let all = items(&args.need("list_to_search")?)?;
        Ok(all.iter().any(|item| text(item).contains(&wanted)).into())
    }),
    ("compare_lists", compare_lists),
    ("compare_dicts", compare_dicts),
];

/// The most items that a filter may make.
const MOST: usize = 1 << 20;

/// The value at a dotted path (`a.b.0`); undefined where there is none.
pub fn attribute(item: &Value, path: &str) -> Value {
    let mut found = item.clone();
    for part in path.split('.') {
        let index = part.parse::<i64>().ok().map(Value::from);
        let next = index
            .and_then(|index| lookup(&found, &index))
            .or_else(|| lookup(&found, &Value::from(part)));
        found = next.unwrap_or_default();
    }
    found
}

/// As [`attribute`], for an attribute that may be given as a number too.
fn by_attribute(item: &Value, path: &Value) -> Value {
    match as_int(path) {
        Some(_) => lookup(item, path).unwrap_or_default(),
        None => attribute(item, &text(path)),
    }
}

fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(text) if !case_sensitive && is_string(&value) => text.to_lowercase().into(),
        _ => value,
    }
}

fn reverse(_: &mut State, value: Value, _: &mut Args) -> Result<Value, Error> {
    if is_string(&value) {
        return Ok(text(&value).chars().rev().collect::<String>().into());
    }
    let mut all = items(&value)?;
    all.reverse();
    Ok(View::of(ViewKind::Generator, all))
}

fn sort(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let reverse = args.flag("reverse", false)?;
    let case_sensitive = args.flag("case_sensitive", false)?;
    let attributes = args.optional("attribute")?;
    let mut all = items(&value)?;
    let key = |item: &Value| -> Result<Value, Error> {
        let Some(attributes) = &attributes else {
            return Ok(folded(item.clone(), case_sensitive));
        };
        let parts: Vec<Value> = match as_int(attributes) {
            Some(_) => vec![attributes.clone()],
            None => text(attributes).split(',').map(Value::from).collect(),
        };
        let keys = parts.iter().map(|part| {
            let key = by_attribute(item, part);
            if key.is_undefined() {
                return Err(fail(format!("`|sort`: {} has no attribute {}", shown(item), text(part))));
            }
            Ok(folded(key, case_sensitive))
        });
        Ok(list(keys.collect::<Result<_, _>>()?))
    };
    value::sort(&mut all, key, reverse)?;
    Ok(list(all))
}

/// Salt's `unique`: a list stays one, anything else becomes a set.
fn unique(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let case_sensitive = args.flag("case_sensitive", true)?;
    let path = args.optional("attribute")?;
    let mut seen: Vec<Value> = Vec::new();
    let mut kept = Vec::new();
    for item in items(&value)? {
        let key = path.as_ref().map_or_else(|| item.clone(), |path| by_attribute(&item, path));
        let key = folded(key, case_sensitive);
        if !seen.contains(&key) {
            seen.push(key);
            kept.push(item);
        }
    }
    Ok(if value::is_list(&value) {
        list(kept)
    } else {
        View::of(ViewKind::Set, kept)
    })
}

fn extreme(value: &Value, args: &mut Args, wanted: Ordering) -> Result<Value, Error> {
    let case_sensitive = args.flag("case_sensitive", true)?;
    let path = args.optional("attribute")?;
    let mut best: Option<(Value, Value)> = None;
    for item in items(value)? {
        let key = path.as_ref().map_or_else(|| item.clone(), |path| by_attribute(&item, path));
        let key = folded(key, case_sensitive);
        let better = match &best {
            Some((than, _)) => compare(&key, than)? == wanted,
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    best.map(|(_, item)| item)
        .ok_or_else(|| fail(format!("`{}` of an empty list", args.what())))
}

fn sum(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let path = args.optional("attribute")?;
    let mut total = args.take("start").unwrap_or(Value::from(0));
    for item in items(&value)? {
        let item = path.as_ref().map_or_else(|| item.clone(), |path| by_attribute(&item, path));
        if item.is_undefined() {
            return Err(undefined(&item));
        }
        total = ops::add(&total, &item)?;
    }
    Ok(total)
}

/// `item` with further arguments, as a call of a filter or test takes them.
fn call_args(item: Value, args: &[Value], named: &[(String, Value)]) -> Vec<Value> {
    let mut all = vec![item];
    all.extend(args.iter().cloned());
    if !named.is_empty() {
        let kwargs: Kwargs = named.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        all.push(kwargs.into());
    }
    all
}

fn map(state: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let path = args.keyword("attribute");
    let default = args.keyword("default");
    let mut positional = args.rest();
    let named = args.keywords();
    let all = items(&value)?;
    let mapped = match path {
        Some(path) => all
            .iter()
            .map(|item| match by_attribute(item, &path) {
                found if found.is_undefined() => Ok(default.clone().unwrap_or(found)),
                found => Ok(found),
            })
            .collect::<Result<Vec<_>, Error>>()?,
        None if positional.is_empty() => return Err(fail("`|map` needs a filter's name, or `attribute=`")),
        None => {
            let filter = text(&positional.remove(0));
            known_filter(&filter)?;
            all.into_iter()
                .map(|item| state.apply_filter(&filter, &call_args(item, &positional, &named)))
                .collect::<Result<_, _>>()?
        }
    };
    Ok(View::of(ViewKind::Generator, mapped))
}

fn known_filter(name: &str) -> Result<(), Error> {
    if super::is_known(name) {
        return Ok(());
    }
    let near = crate::error::nearest(name, super::names()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(fail(format!("there is no filter `{name}`{near}")))
}

fn filtered(state: &mut State, value: &Value, args: &mut Args, with_attribute: bool, keep: bool) -> Result<Value, Error> {
    let path = if with_attribute { Some(args.need("attribute")?) } else { None };
    let mut positional = args.rest();
    let named = args.keywords();
    let test = (!positional.is_empty()).then(|| text(&positional.remove(0)));
    if let Some(test) = &test {
        super::super::checks::known(test)?;
    }
    let mut kept = Vec::new();
    for item in items(value)? {
        let looked_at = path.as_ref().map_or_else(|| item.clone(), |path| by_attribute(&item, path));
        let holds = match &test {
            Some(test) => state.perform_test(test, &call_args(looked_at, &positional, &named))?,
            None => looked_at.is_true(),
        };
        if holds == keep {
            kept.push(item);
        }
    }
    Ok(View::of(ViewKind::Generator, kept))
}

/// What `groupby` gives: a pair that also has names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    list: Value,
}

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), _) | (_, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), _) | (_, Some("list")) => Some(self.list.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(vec![self.grouper.clone(), self.list.clone()])
    }
}

fn groupby(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let path = args.need("attribute")?;
    let default = args.take("default");
    let case_sensitive = args.flag("case_sensitive", false)?;
    let key = |item: &Value| {
        let key = by_attribute(item, &path);
        if key.is_undefined() {
            default.clone().unwrap_or(key)
        } else {
            key
        }
    };
    let mut all = items(&value)?;
    value::sort(&mut all, |item| Ok(folded(key(item), case_sensitive)), false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in all {
        let found = key(&item);
        match groups.last_mut() {
            Some((last, list)) if equal(&folded(last.clone(), case_sensitive), &folded(found.clone(), case_sensitive)) => {
                list.push(item)
            }
            _ => groups.push((found, vec![item])),
        }
    }
    let groups = groups.into_iter().map(|(grouper, members)| {
        Value::from_object(Group {
            grouper,
            list: list(members),
        })
    });
    Ok(list(groups.collect()))
}

fn batch(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let size = usize::try_from(args.int("linecount", 0)?).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| fail("`|batch` needs the number of items in each batch"))?;
    let fill = args.take("fill_with").filter(|fill| !fill.is_none());
    let all = items(&value)?;
    let batches = all.chunks(size).map(|chunk| {
        let mut chunk = chunk.to_vec();
        if let Some(fill) = &fill {
            chunk.resize(size, fill.clone());
        }
        list(chunk)
    });
    Ok(View::of(ViewKind::Generator, batches.collect::<Vec<_>>()))
}

fn slice(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let slices = usize::try_from(args.int("slices", 0)?).ok().filter(|slices| *slices > 0);
    let slices = slices.ok_or_else(|| fail("`|slice` needs the number of slices"))?.min(MOST);
    let fill = args.take("fill_with").filter(|fill| !fill.is_none());
    let all = items(&value)?;
    let (per_slice, longer) = (all.len() / slices, all.len() % slices);
    let mut offset = 0;
    let mut made = Vec::new();
    for number in 0..slices {
        let count = per_slice + usize::from(number < longer);
        let mut part = all[offset..offset + count].to_vec();
        offset += count;
        if let Some(fill) = &fill
            && number >= longer
            && longer > 0
        {
            part.push(fill.clone());
        }
        made.push(list(part));
    }
    Ok(View::of(ViewKind::Generator, made))
}

fn dictsort(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let case_sensitive = args.flag("case_sensitive", false)?;
    let by = args.text_or("by", "key")?;
    let reverse = args.flag("reverse", false)?;
    let at = match by.as_str() {
        "key" => 0,
        "value" => 1,
        other => return Err(fail(format!("`|dictsort` sorts by `key` or `value`, not by `{other}`"))),
    };
    let pairs = pairs(&value).ok_or_else(|| fail(format!("`|dictsort` needs a dictionary, not {}", shown(&value))))?;
    let mut all: Vec<Value> = pairs.into_iter().map(|(key, value)| tuple(vec![key, value])).collect();
    let key = |pair: &Value| Ok(folded(lookup(pair, &Value::from(at)).unwrap_or_default(), case_sensitive));
    value::sort(&mut all, key, reverse)?;
    Ok(list(all))
}

#[derive(Clone, Copy)]
enum Set {
    Union,
    Intersection,
    Difference,
    Symmetric,
}

/// Salt's set filters: lists in and a list out; strings and tuples in and a set out.
fn set(value: &Value, args: &mut Args, kind: Set) -> Result<Value, Error> {
    let other = args.need("lst2")?;
    let (a, b) = (items(value)?, items(&other)?);
    let only_in = |some: &[Value], not: &[Value]| some.iter().filter(|item| !not.contains(item)).cloned().collect::<Vec<_>>();
    let all = match kind {
        Set::Union => [a, b].concat(),
        Set::Intersection => a.into_iter().filter(|item| b.contains(item)).collect(),
        Set::Difference => only_in(&a, &b),
        Set::Symmetric => [only_in(&a, &b), only_in(&b, &a)].concat(),
    };
    let unique = View::set(all);
    Ok(if value::is_list(value) || value::is_list(&other) {
        list(items(&unique)?)
    } else {
        unique
    })
}

fn flatten(value: &Value, levels: i64, nulls: bool, flat: &mut Vec<Value>, depth: usize) -> Result<(), Error> {
    if depth > 200 {
        return Err(fail("`|flatten`: the lists are nested too deep"));
    }
    for item in items(value)? {
        let null = item.is_none() || matches!(item.as_str(), Some("None" | "null"));
        if null && !nulls {
            continue;
        }
        if (is_sequence_like(&item) || is_mapping(&item)) && levels >= 1 {
            flatten(&item, levels - 1, nulls, flat, depth + 1)?;
        } else {
            flat.push(item);
        }
    }
    Ok(())
}

fn zip(value: &Value, args: &mut Args, longest: bool) -> Result<Value, Error> {
    let fill = args.keyword("fillvalue").unwrap_or(Value::from(()));
    let mut columns = vec![items(value)?];
    for other in args.rest() {
        columns.push(items(&other)?);
    }
    let lengths = columns.iter().map(Vec::len);
    let rows = if longest { lengths.max() } else { lengths.min() }.unwrap_or(0);
    let row = |at: usize| tuple(columns.iter().map(|column| column.get(at).unwrap_or(&fill).clone()).collect());
    Ok(View::of(ViewKind::Generator, (0..rows).map(row).collect()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Combinations,
    WithReplacement,
    Permutations,
}

fn chosen(value: &Value, args: &mut Args, choice: Choice) -> Result<Value, Error> {
    let all = items(value)?;
    let size = match args.int_or_none("r")? {
        Some(size) => usize::try_from(size).unwrap_or(0),
        None if choice == Choice::Permutations => all.len(),
        None => return Err(fail(format!("`{}` needs the number of items to choose", args.what()))),
    };
    let mut made: Vec<Value> = Vec::new();
    let mut picked: Vec<usize> = Vec::new();
    choose(&all, size, choice, &mut picked, &mut made)?;
    Ok(View::of(ViewKind::Generator, made))
}

fn choose(all: &[Value], size: usize, choice: Choice, picked: &mut Vec<usize>, made: &mut Vec<Value>) -> Result<(), Error> {
    if made.len() >= MOST || size > 64 {
        return Err(fail("this many combinations are too large"));
    }
    if picked.len() == size {
        made.push(tuple(picked.iter().map(|at| all[*at].clone()).collect()));
        return Ok(());
    }
    let from = match (choice, picked.last()) {
        (Choice::Combinations, Some(last)) => last + 1,
        (Choice::WithReplacement, Some(last)) => *last,
        _ => 0,
    };
    for at in from..all.len() {
        if choice == Choice::Permutations && picked.contains(&at) {
            continue;
        }
        picked.push(at);
        choose(all, size, choice, picked, made)?;
        picked.pop();
    }
    Ok(())
}

fn product(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let repeat = usize::try_from(args.keyword("repeat").as_ref().and_then(as_int).unwrap_or(1)).unwrap_or(0);
    let mut columns = vec![items(&value)?];
    for other in args.rest() {
        columns.push(items(&other)?);
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for column in columns.iter().cycle().take(columns.len() * repeat.min(64)) {
        if rows.len().saturating_mul(column.len()) > MOST {
            return Err(fail("this product is too large"));
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                column.iter().map(move |item| {
                    let mut row = row.clone();
                    row.push(item.clone());
                    row
                })
            })
            .collect();
    }
    Ok(View::of(ViewKind::Generator, rows.into_iter().map(tuple).collect()))
}

fn compare_lists(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let (old, new) = (items(&value)?, items(&args.need("new")?)?);
    let only_in = |some: &[Value], not: &[Value]| some.iter().filter(|item| !not.contains(item)).cloned().collect::<Vec<_>>();
    let parts = [("new", only_in(&new, &old)), ("old", only_in(&old, &new))];
    Ok(value::dict(
        parts
            .into_iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(name, items)| (name.into(), list(items))),
    ))
}

fn compare_dicts(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let other = args.need("new")?;
    let (Some(old), Some(new)) = (pairs(&value), pairs(&other)) else {
        return Err(fail("`|compare_dicts` needs two dictionaries"));
    };
    let keys = View::set(old.iter().chain(&new).map(|(key, _)| key.clone()));
    let side = |side: &Value, key: &Value| lookup(side, key).unwrap_or_else(|| "".into());
    let mut changes = Vec::new();
    for key in items(&keys)? {
        let (before, after) = (side(&value, &key), side(&other, &key));
        if !equal(&before, &after) || lookup(&value, &key).is_some() != lookup(&other, &key).is_some() {
            changes.push((key, value::dict([("old".into(), before), ("new".into(), after)])));
        }
    }
    Ok(value::dict(changes))
}
