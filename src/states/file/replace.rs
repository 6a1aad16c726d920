//! `file.replace`: Python's `re.sub` over a file.

use super::edit::{Edit, Target, edits};
use super::pattern::{Flags, Pattern, Replacement, escape};
use super::place::absolute;
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, StateFunction};
use crate::yaml::{Data, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Replaces what a regular expression matches in a file.
///
/// The pattern and the replacement are Python's: `^` and `$` match at every line unless `flags` says otherwise, the replacement may
/// name groups as `\1` or `\g<name>`. The file is edited as a whole, so that a pattern can span lines.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// The file's absolute path.
    name: String,
    /// What is looked for: a regular expression in Python's syntax.
    pattern: String,
    /// What each match is replaced by.
    repl: String,
    /// At most so many matches are replaced; 0 means all.
    #[serde(default)]
    count: usize,
    /// Python's flags: names (`[IGNORECASE, DOTALL]`) or their sum as a number. `MULTILINE` (8) where nothing is given.
    flags: Option<Value>,
    /// Accepted as Salt has it: the file is always read as a whole.
    #[expect(dead_code, reason = "the file is always read as a whole")]
    bufsize: Option<Value>,
    /// Where neither the pattern nor the replacement is found, add the replacement (or `not_found_content`) as the last line.
    #[serde(default)]
    append_if_not_found: bool,
    /// Where neither the pattern nor the replacement is found, add the replacement (or `not_found_content`) as the first line.
    #[serde(default)]
    prepend_if_not_found: bool,
    /// What is added then, where it is not the replacement; needed when that names groups.
    not_found_content: Option<String>,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end. Without it nothing is left beside
    /// the file; it is kept for `picloud undo` all the same.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// With `True`, a file that does not exist is as good as one without a match.
    #[serde(default)]
    ignore_if_missing: bool,
    /// With `True`, backslashes in the replacement mean themselves.
    #[serde(default)]
    backslash_literal: bool,
}

fn yes() -> bool {
    true
}

impl Replace {
    fn flags(&self) -> Result<Flags> {
        let Some(given) = self.flags.as_ref().filter(|given| !given.is_null()) else {
            return Ok(Flags::MULTILINE);
        };
        let mut flags = Flags::default();
        match &given.data {
            Data::Int(number) => flags.number(*number),
            Data::Str(name) => flags.named(name).map_err(|e| e.at(given.at))?,
            Data::List(items) => {
                for item in items {
                    let name = item.as_str().ok_or_else(|| {
                        Error::usage(format!("a flag is a name such as `MULTILINE`, not {}", item.kind())).at(item.at)
                    })?;
                    flags.named(name).map_err(|e| e.at(item.at))?;
                }
            }
            _ => {
                let message = format!("`flags` are names or a number, not {}", given.kind());
                return Err(Error::usage(message).at(given.at).hint("write `flags: [MULTILINE, IGNORECASE]`"));
            }
        }
        Ok(flags)
    }

    fn compiled(&self) -> Result<(Pattern, Replacement)> {
        let pattern = Pattern::new(&self.pattern, self.flags()?)?;
        let replacement = if self.backslash_literal {
            Replacement::literal(&self.repl)
        } else {
            Replacement::new(&self.repl, &pattern)?
        };
        Ok((pattern, replacement))
    }

    fn target(&self) -> Target<'_> {
        Target::existing(&self.name, self.backup.as_ref(), self.show_changes)
    }

    fn edited(&self, text: &str) -> Result<Edit> {
        let (pattern, replacement) = self.compiled()?;
        let (made, count) = pattern.replace(text, &replacement, self.count)?;
        let mut made = made.into_owned();
        if count == 0 && (self.append_if_not_found || self.prepend_if_not_found) {
            let line = self.not_found_content.as_ref().unwrap_or(&self.repl);
            let there = Pattern::new(&format!("^{}($|(?=\\r\\n))", escape(line)), self.flags()?)?;
            if !there.found(text)? {
                if self.prepend_if_not_found {
                    made.insert_str(0, &format!("{line}\n"));
                } else {
                    if !made.is_empty() && !made.ends_with('\n') {
                        made.push('\n');
                    }
                    made.push_str(line);
                    made.push('\n');
                }
            }
        }
        Ok(if made == text {
            Edit::Holds("No changes needed to be made".to_owned())
        } else {
            Edit::New {
                text: made,
                would: "Changes would have been made".to_owned(),
                did: "Changes were made".to_owned(),
            }
        })
    }
}

impl StateFunction for Replace {
    fn check(&self) -> Result<()> {
        if self.append_if_not_found && self.prepend_if_not_found {
            return Err(Error::usage("only one of `append_if_not_found` and `prepend_if_not_found` is permitted"));
        }
        self.compiled().map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        if self.ignore_if_missing
            && let Ok(path) = absolute(&self.name)
            && seen.entry(path)?.is_none()
        {
            return Ok(Decision::Holds("No changes needed to be made".to_owned()));
        }
        self.target().decide(seen, |text| self.edited(text))
    }

    edits!();
}
