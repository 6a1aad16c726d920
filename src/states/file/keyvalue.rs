//! `file.keyvalue`: `key = value` lines of a file without sections.

use super::edit::{Edit, Target, edits};
use super::place::absolute;
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, StateFunction};
use crate::yaml::{Pairs, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that keys have values in a file of `key=value` lines.
///
/// A line counts as the key's when it begins with the key, directly followed by the separator. Values are written as the SLS has
/// them: `yes` stays `yes`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    /// The file's absolute path.
    name: String,
    /// One key; with `value`.
    key: Option<String>,
    /// Its value.
    value: Option<String>,
    /// Keys and their values, instead of `key` and `value`.
    key_values: Option<Pairs<String>>,
    /// What stands between key and value, white space included: `=`, `' '`, `' = '`.
    #[serde(default = "equals")]
    separator: String,
    /// Add a key that is not there at the end.
    #[serde(default)]
    append_if_not_found: bool,
    /// Add a key that is not there at the start.
    #[serde(default)]
    prepend_if_not_found: bool,
    /// Accepted as Salt has it, where it does nothing either; use `picloud apply --test`.
    #[serde(default)]
    #[expect(dead_code, reason = "Salt does nothing with it either")]
    search_only: bool,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// With `True`, a file that does not exist is left at that.
    #[serde(default)]
    ignore_if_missing: bool,
    /// How many lines of each key are set; further ones are deleted. -1: all of them are set.
    #[serde(default = "one")]
    count: i64,
    /// Characters by which lines are commented out, such as `#`: a commented line of the key is put to use.
    uncomment: Option<String>,
    /// Whether the case of keys does not matter.
    #[serde(default)]
    key_ignore_case: bool,
    /// Whether the case of values does not matter.
    #[serde(default)]
    value_ignore_case: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
}

fn yes() -> bool {
    true
}

fn one() -> i64 {
    1
}

fn equals() -> String {
    "=".to_owned()
}

impl KeyValue {
    fn pairs(&self) -> Vec<(String, String)> {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => vec![(key.clone(), value.clone())],
            _ => self.key_values.iter().flat_map(|pairs| pairs.iter()).cloned().collect(),
        }
    }

    /// `line` without what comments it out; without leading white space where nothing does.
    fn bare<'a>(&self, line: &'a str) -> &'a str {
        match &self.uncomment {
            Some(characters) => line.trim_start_matches(|c| characters.contains(c)),
            None => line.trim_start(),
        }
    }

    fn edit(&self, text: &str) -> Edit {
        let pairs = self.pairs();
        let fold = |text: &str, ignore_case: bool| if ignore_case { text.to_lowercase() } else { text.to_owned() };
        let mut left: Vec<i64> = vec![self.count; pairs.len()];
        let mut changes = 0;
        let mut made: Vec<String> = Vec::new();
        for line in super::text::lines(text) {
            let bare = self.bare(line);
            let commented = bare.len() < line.len();
            let mut line = line.to_owned();
            for ((key, value), left) in pairs.iter().zip(&mut left) {
                let bare = self.bare(&line).to_owned();
                if !fold(&bare, self.key_ignore_case).starts_with(&fold(key, self.key_ignore_case)) {
                    continue;
                }
                let whole = if commented { bare.as_str() } else { line.as_str() };
                let Some((written, rest)) = whole.split_once(self.separator.as_str()) else {
                    continue;
                };
                if fold(written, self.key_ignore_case) != fold(key, self.key_ignore_case) {
                    continue;
                }
                let same = fold(rest.trim(), self.value_ignore_case) == fold(value.trim(), self.value_ignore_case);
                // A commented line is put to use while the key lacks lines; one in use beyond the count goes.
                let (same, needs) = match (commented, *left > 0) {
                    (true, true) => (same, true),
                    (true, false) => (true, false),
                    (false, _) => (same, *left == 0),
                };
                if !same || needs {
                    changes += 1;
                    line = if *left == 0 {
                        String::new()
                    } else {
                        let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
                        format!("{written}{}{value}{end}", self.separator)
                    };
                }
                if *left > 0 {
                    *left -= 1;
                }
            }
            made.push(line);
        }
        let lacking = pairs.iter().zip(&left).filter(|(_, left)| **left > 0);
        let lacking: Vec<String> = lacking
            .map(|((key, value), _)| format!("{key}{}{value}\n", self.separator))
            .collect();
        if self.append_if_not_found {
            changes += lacking.len();
            if let Some(last) = made
                .last_mut()
                .filter(|last| !last.is_empty() && !last.ends_with('\n') && !lacking.is_empty())
            {
                last.push('\n');
            }
            made.extend(lacking);
        } else if self.prepend_if_not_found {
            changes += lacking.len();
            // Each before the one before it, as Salt does.
            lacking.into_iter().for_each(|line| made.insert(0, line));
        }
        let made = made.concat();
        if changes == 0 || made == text {
            return Edit::Holds(format!("The file {} is in the correct state", self.name));
        }
        Edit::New {
            text: made,
            would: format!("File {} is set to be changed ({changes} lines)", self.name),
            did: format!("Changed {changes} lines"),
        }
    }

    fn target(&self) -> Target<'_> {
        Target::existing(&self.name, self.backup.as_ref(), self.show_changes)
    }
}

impl StateFunction for KeyValue {
    fn check(&self) -> Result<()> {
        match (&self.key, &self.value, &self.key_values) {
            (Some(_), Some(_), Some(_)) => Err(Error::usage("`key_values` cannot be combined with `key` and `value`")),
            (Some(_), Some(_), None) => Ok(()),
            (None, None, Some(pairs)) if !pairs.is_empty() => Ok(()),
            (Some(_), None, _) => Err(Error::usage("`key` without `value`")),
            (None, Some(_), _) => Err(Error::usage("`value` without `key`")),
            _ => Err(Error::usage("`key` and `value`, or `key_values`, are needed")),
        }?;
        if self.separator.is_empty() {
            return Err(Error::usage("`separator` must not be empty"));
        }
        if self.append_if_not_found && self.prepend_if_not_found {
            return Err(Error::usage(
                "only one of `append_if_not_found` and `prepend_if_not_found` is permitted",
            ));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        if let Ok(path) = absolute(&self.name)
            && seen.entry(path)?.is_none()
        {
            let comment = format!("unable to open {path}");
            return Ok(if self.ignore_if_missing {
                Decision::Holds(comment)
            } else {
                Decision::Fails(comment)
            });
        }
        self.target().decide(seen, |text| Ok(self.edit(text)))
    }

    edits!();
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn keys_get_their_values() {
        // Each as Salt 3006.9 does it.
        let table = [
            ("{key: a, value: 2}", "a=1\nb=1\n", "a=2\nb=1\n"),
            ("{key: a, value: 1}", "a=1 \n", "(The file /x is in the correct state)"),
            (
                "{key: PermitRootLogin, value: no, separator: ' '}",
                "PermitRootLogin yes\n",
                "PermitRootLogin no\n",
            ),
            ("{key: a, value: 2}", "ab=1\n", "(The file /x is in the correct state)"),
            ("{key: a, value: 2, append_if_not_found: true}", "ab=1\n", "ab=1\na=2\n"),
            (
                "{key_values: {a: 1, b: 2}, prepend_if_not_found: true}",
                "c=1\n",
                "b=2\na=1\nc=1\n",
            ),
            ("{key: a, value: 2, uncomment: '# '}", "# a=1\n", "a=2\n"),
            ("{key: a, value: 1, uncomment: '#'}", "#a=1\n#a=1\n", "a=1\n#a=1\n"),
            ("{key: a, value: 1}", "#a=1\n", "(The file /x is in the correct state)"),
            ("{key: a, value: 2}", "a=1\na=1\n", "a=2\n"),
            ("{key: a, value: 2, count: -1}", "a=1\na=1\n", "a=2\na=2\n"),
            (
                "{key: a, value: X, key_ignore_case: true, value_ignore_case: true}",
                "A=x\n",
                "(The file /x is in the correct state)",
            ),
            // Here Salt would join the two lines.
            ("{key: a, value: 2, append_if_not_found: true}", "b=1", "b=1\na=2\n"),
        ];
        for (arguments, text, expected) in table {
            assert_eq!(edited("file.keyvalue", arguments, text), expected, "{arguments} {text:?}");
        }
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(state("file.keyvalue", "{name: /x, key: a, value: b}").shows(), @"fails: unable to open /x");
        assert_snapshot!(state("file.keyvalue", "{name: /x, key: a, value: b, ignore_if_missing: true}").shows(), @"holds: unable to open /x");
        assert_snapshot!(refusal("file.keyvalue", "{name: /x, key: a}"), @"`key` without `value`");
        assert_snapshot!(refusal("file.keyvalue", "{name: /x, key_values: {}}"), @"`key` and `value`, or `key_values`, are needed");
    }
}
