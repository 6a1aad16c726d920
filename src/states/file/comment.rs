//! `file.comment` and `file.uncomment`: lines taken out of use, and back into it.

use super::edit::{Edit, Target, edits};
use super::pattern::{Flags, Pattern, escape};
use crate::error::Result;
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, StateFunction};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;

fn yes() -> bool {
    true
}

fn hash() -> String {
    "#".to_owned()
}

/// Comments out the lines that a regular expression matches.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comment {
    /// The file's absolute path.
    name: String,
    /// What the lines begin with, or all of them (`^...$`): a regular expression in Python's syntax, matched at the line's start.
    regex: String,
    /// What is put before a line to comment it out.
    #[serde(default = "hash")]
    char: String,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `True`, it is no failure when no line matches.
    #[serde(default)]
    ignore_missing: bool,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// Puts lines that are commented out back into use.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uncomment {
    /// The file's absolute path.
    name: String,
    /// What the lines begin with behind the comment character: a regular expression in Python's syntax.
    regex: String,
    /// What comments a line out; all that stand before it are removed.
    #[serde(default = "hash")]
    char: String,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// `regex` without its anchors: the flags and `^` before it, `$` behind it.
fn unanchored(regex: &str) -> &str {
    let regex = match regex.strip_prefix("(?").and_then(|rest| rest.split_once(')')) {
        Some((flags, rest)) if flags.len() == 1 && "iLmsux".contains(flags) => rest,
        _ => regex,
    };
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    regex.strip_suffix('$').unwrap_or(regex)
}

/// `regex` between `^` and `$` of its own, as far as it has them, with `before` in front.
fn anchored(before: &str, regex: &str, start: &str) -> String {
    let inside = regex.trim_start_matches('^').trim_end_matches('$');
    let end = if regex.ends_with('$') { "$" } else { "" };
    format!("{start}{before}({inside}){end}")
}

impl Comment {
    fn edit(&self, text: &str) -> Result<Edit> {
        let bare = unanchored(&self.regex);
        let char = escape(&self.char);
        let in_use = Pattern::new(&format!("^(?!\\s*{char})\\s*{bare}"), Flags::MULTILINE)?;
        let commented = Pattern::new(&format!("{char}{bare}"), Flags::MULTILINE)?;
        if !in_use.found(text)? {
            return Ok(if commented.found(text)? {
                Edit::Holds("Pattern already commented".to_owned())
            } else if self.ignore_missing {
                Edit::Holds("Pattern not found and ignore_missing set to True".to_owned())
            } else {
                Edit::Fails(format!("{bare}: Pattern not found"))
            });
        }
        let start = if self.regex.starts_with('^') { "^" } else { "" };
        let line = Pattern::new(&anchored("", &self.regex, start), Flags::default())?;
        let mut made = String::with_capacity(text.len() + 64);
        for each in super::text::lines(text) {
            if line.starts(each)? {
                made.push_str(&self.char);
            }
            made.push_str(each);
        }
        if !commented.found(&made)? {
            return Ok(Edit::Fails(format!(
                "Expected commented lines not found\nhint: the pattern is matched at the start of a line; begin it with `\\s*` for indented ones: {bare}"
            )));
        }
        if made == text {
            return Ok(Edit::Holds("Pattern already commented".to_owned()));
        }
        Ok(Edit::New {
            text: made,
            would: format!("File {} is set to be updated", self.name),
            did: "Commented lines successfully".to_owned(),
        })
    }
}

impl Uncomment {
    fn edit(&self, text: &str) -> Result<Edit> {
        let bare = self.regex.trim_start_matches('^');
        let char = escape(&self.char);
        let commented = Pattern::new(&format!("{char}[ \\t]*{bare}"), Flags::MULTILINE)?;
        let in_use = Pattern::new(&format!("^[ \\t]*{bare}"), Flags::MULTILINE)?;
        if !commented.found(text)? {
            return Ok(if in_use.found(text)? {
                Edit::Holds("Pattern already uncommented".to_owned())
            } else {
                Edit::Fails(format!("{}: Pattern not found", self.regex))
            });
        }
        let line = Pattern::new(&anchored(&format!("{char}\\s*"), &self.regex, "^"), Flags::default())?;
        let mut made = String::with_capacity(text.len());
        for each in super::text::lines(text) {
            made.push_str(if line.starts(each)? {
                each.trim_start_matches(|c| self.char.contains(c))
            } else {
                each
            });
        }
        if made == text && in_use.found(text)? {
            // The pattern is found behind a comment character in the middle of some line as well.
            return Ok(Edit::Holds("Pattern already uncommented".to_owned()));
        }
        if !in_use.found(&made)? {
            return Ok(Edit::Fails("Expected uncommented lines not found".to_owned()));
        }
        Ok(Edit::New {
            text: made,
            would: format!("File {} is set to be updated", self.name),
            did: "Uncommented lines successfully".to_owned(),
        })
    }
}

/// What both have in common: the file, and when the pattern is tried.
macro_rules! commented {
    ($($function:ty)*) => {$(
        impl $function {
            fn target(&self) -> Target<'_> {
                Target::existing(&self.name, self.backup.as_ref(), self.show_changes)
            }
        }

        impl StateFunction for $function {
            fn check(&self) -> Result<()> {
                Pattern::new(&self.regex, Flags::MULTILINE)?;
                self.edit("").map(drop)
            }

            fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
                Ok(self.target().probes())
            }

            fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
                self.target().decide(seen, |text| self.edit(text))
            }

            edits!();
        }
    )*};
}

commented!(Comment Uncomment);

#[cfg(test)]
mod tests {
    use crate::states::testing::*;

    #[test]
    fn lines_are_commented_and_uncommented() {
        // Each as Salt 3006.9 does it.
        let table = [
            ("comment", "{regex: ^a}", "a=1\nb\nab\n", "#a=1\nb\n#ab\n"),
            ("comment", "{regex: ^a$}", "a\nab\n", "#a\nab\n"),
            ("comment", "{regex: a}", "#a\n", "(Pattern already commented)"),
            ("comment", "{regex: q}", "a\n", "(q: Pattern not found)"),
            (
                "comment",
                "{regex: q, ignore_missing: true}",
                "a\n",
                "(Pattern not found and ignore_missing set to True)",
            ),
            ("comment", "{regex: '^a', char: '//'}", "a\n", "//a\n"),
            ("comment", "{regex: '\\s*a'}", "  a\n", "#  a\n"),
            ("uncomment", "{regex: ^a}", "#a=1\n# a\n#b\n", "a=1\n a\n#b\n"),
            ("uncomment", "{regex: a}", "a\n", "(Pattern already uncommented)"),
            ("uncomment", "{regex: q}", "a\n", "(q: Pattern not found)"),
            (
                "uncomment",
                "{regex: a, char: ';'}",
                ";;a\n",
                "(Expected uncommented lines not found)",
            ),
            (
                "uncomment",
                "{regex: '^en_US.UTF-8 UTF-8$'}",
                "# de\n# en_US.UTF-8 UTF-8\n",
                "# de\n en_US.UTF-8 UTF-8\n",
            ),
        ];
        for (function, arguments, text, expected) in table {
            assert_eq!(
                edited(&format!("file.{function}"), arguments, text),
                expected,
                "{function} {arguments} {text:?}"
            );
        }
        assert_ne!(refusal("file.comment", "{name: /x, regex: '('}"), "(accepted)");
    }
}
