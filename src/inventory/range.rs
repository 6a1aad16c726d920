//! One entry of the inventory for many minions: `pi[0-13]`, and the `{n}` in its fields.

use super::glob::Numbers;
use crate::error::{Error, Result};
use crate::yaml::{Data, Map, Value};

/// The most minions that one entry may stand for.
const MOST: usize = 10_000;

/// One of the names that a key with ranges stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Expanded {
    pub(super) id: String,
    /// The number of each bracket, as text with its zeros.
    pub(super) numbers: Vec<String>,
}

/// The names that `key` stands for: itself if it has no brackets.
///
/// # Errors
/// Brackets in which there is something else than numbers, or which are not closed; a range that runs backwards; too many names.
pub(super) fn expand(key: &str) -> Result<Vec<Expanded>> {
    let mut names = vec![Expanded::default()];
    let mut rest = key;
    while let Some((before, after)) = rest.split_once('[') {
        names.iter_mut().for_each(|name| name.id.push_str(before));
        let (inside, after) = after
            .split_once(']')
            .ok_or_else(|| Error::usage(format!("`{key}`: the bracket is not closed")).hint("a range is written `pi[0-13]`"))?;
        let ranges = Numbers::parse(inside).ok_or_else(|| {
            Error::usage(format!("`{key}`: `[{inside}]` is not a range of numbers"))
                .hint("ranges are written `pi[0-13]`, `pi[00-13]`, `node[1,3,5-7]`")
        })?;
        if let Some(backwards) = ranges.iter().find(|range| range.first > range.last) {
            let Numbers { first, last, .. } = *backwards;
            return Err(
                Error::usage(format!("`{key}`: the range {first}-{last} runs backwards")).hint(format!("write [{last}-{first}]"))
            );
        }
        let count: u64 = ranges.iter().map(|range| u64::from(range.last - range.first) + 1).sum();
        if count * names.len() as u64 > MOST as u64 {
            return Err(Error::usage(format!("`{key}` stands for more than {MOST} minions")));
        }
        let numbers: Vec<String> = ranges
            .iter()
            .flat_map(|range| (range.first..=range.last).map(|n| range.text(n)))
            .collect();
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(|number| name.with(number)))
            .collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.id.push_str(rest));
    Ok(names)
}

impl Expanded {
    fn with(&self, number: &str) -> Expanded {
        let mut name = self.clone();
        name.id.push_str(number);
        name.numbers.push(number.to_owned());
        name
    }

    /// `value` with `{n}`, `{n+10}`, `{n-1}`, `{n1}`, `{n2}` and `{id}` filled in, in every string below it.
    ///
    /// # Errors
    /// A number that becomes negative, and `{n}` where the key has no range.
    pub(super) fn fill(&self, value: &Value) -> Result<Value> {
        let data = match &value.data {
            Data::Str(text) if text.contains('{') => Data::Str(self.fill_text(text).map_err(|e| e.at(value.at))?.into()),
            Data::List(items) => Data::List(items.iter().map(|item| self.fill(item)).collect::<Result<_>>()?),
            Data::Map(map) => {
                let filled = map.iter().map(|(key, value)| Ok((key.clone(), self.fill(value)?)));
                Data::Map(filled.collect::<Result<Map>>()?)
            }
            _ => return Ok(value.clone()),
        };
        Ok(Value {
            data,
            at: value.at,
            raw: None,
        })
    }

    fn fill_text(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            // Other braces (a template's, a shell's) are left as they are.
            match after.split_once('}') {
                Some(("id", behind)) => {
                    out.push_str(&self.id);
                    rest = behind;
                }
                Some((inside, behind)) if Placeholder::parse(inside).is_some() => {
                    let placeholder = Placeholder::parse(inside).unwrap_or_default();
                    out.push_str(&self.number(&placeholder, inside)?);
                    rest = behind;
                }
                _ => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn number(&self, placeholder: &Placeholder, written: &str) -> Result<String> {
        let index = match placeholder.bracket {
            0 => self.numbers.len().wrapping_sub(1),
            n => n - 1,
        };
        let number = self.numbers.get(index).ok_or_else(|| {
            let why = match self.numbers.len() {
                0 => format!(
                    "`{{{written}}}` stands for a minion's number, but `{}` was not made by a range",
                    self.id
                ),
                n => format!("`{{{written}}}`: the name has {n} range{}", if n == 1 { "" } else { "s" }),
            };
            Error::usage(why).hint("a range is written `pi[0-13]: {address: \"192.168.1.{n+10}\"}`")
        })?;
        if placeholder.plus == 0 && !placeholder.arithmetic {
            return Ok(number.clone());
        }
        let n = number.parse::<i64>().unwrap_or_default() + placeholder.plus;
        if n < 0 {
            return Err(Error::usage(format!("`{{{written}}}` is {n} for `{}`", self.id)));
        }
        Ok(n.to_string())
    }
}

/// `n`, `n2`, `n+10`.
#[derive(Default)]
struct Placeholder {
    /// Which bracket, from 1; 0: the last.
    bracket: usize,
    plus: i64,
    /// A sign was written: the result is a plain number, without the zeros of the name.
    arithmetic: bool,
}

impl Placeholder {
    fn parse(inside: &str) -> Option<Placeholder> {
        let rest = inside.strip_prefix('n')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (bracket, sum) = rest.split_at(digits);
        let bracket = if bracket.is_empty() {
            0
        } else {
            bracket.parse().ok().filter(|n| (1..=9).contains(n))?
        };
        let sum = sum.trim();
        let plus = match (sum.strip_prefix('+'), sum.strip_prefix('-')) {
            (Some(n), _) => i64::from(n.trim().parse::<u32>().ok()?),
            (_, Some(n)) => -i64::from(n.trim().parse::<u32>().ok()?),
            _ if sum.is_empty() => 0,
            _ => return None,
        };
        Some(Placeholder {
            bracket,
            plus,
            arithmetic: !sum.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(key: &str) -> Vec<String> {
        expand(key).unwrap().into_iter().map(|name| name.id).collect()
    }

    #[test]
    fn names_are_expanded() {
        assert_eq!(ids("pi0"), ["pi0"]);
        assert_eq!(ids("pi[0-2]"), ["pi0", "pi1", "pi2"]);
        assert_eq!(ids("pi[08-10].lan"), ["pi08.lan", "pi09.lan", "pi10.lan"]);
        assert_eq!(ids("n[1,3,5-6]"), ["n1", "n3", "n5", "n6"]);
        assert_eq!(ids("r[1-2]n[3-4]"), ["r1n3", "r1n4", "r2n3", "r2n4"]);
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        for (key, expected) in [
            ("pi[0-", "`pi[0-`: the bracket is not closed"),
            ("pi[a-c]", "`pi[a-c]`: `[a-c]` is not a range of numbers"),
            ("pi[]", "`pi[]`: `[]` is not a range of numbers"),
            ("pi[5-2]", "`pi[5-2]`: the range 5-2 runs backwards"),
            ("pi[0-99999]", "`pi[0-99999]` stands for more than 10000 minions"),
            ("a[0-999]b[0-999]", "`a[0-999]b[0-999]` stands for more than 10000 minions"),
        ] {
            assert_eq!(expand(key).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn numbers_are_filled_in() {
        let name = Expanded {
            id: "r1n07".into(),
            numbers: vec!["1".into(), "07".into()],
        };
        for (text, expected) in [
            ("192.168.1.{n}", "192.168.1.07"),
            ("192.168.1.{n+10}", "192.168.1.17"),
            ("192.168.{n1}.{n2 - 7}", "192.168.1.0"),
            ("{n+0}", "7"),
            ("{id}.lan", "r1n07.lan"),
            ("{{ grains.id }} ${name} {", "{{ grains.id }} ${name} {"),
            ("{n+x}", "{n+x}"),
        ] {
            assert_eq!(name.fill_text(text).unwrap(), expected);
        }
        assert_eq!(name.fill_text("{n-8}").unwrap_err().to_string(), "`{n-8}` is -1 for `r1n07`");
        assert_eq!(
            name.fill_text("{n3}").unwrap_err().to_string(),
            "`{n3}`: the name has 2 ranges"
        );
        let single = Expanded {
            id: "web".into(),
            numbers: vec![],
        };
        assert_eq!(
            single.fill_text("10.0.0.{n}").unwrap_err().to_string(),
            "`{n}` stands for a minion's number, but `web` was not made by a range"
        );
    }
}
