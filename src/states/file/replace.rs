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
                return Err(Error::usage(message)
                    .at(given.at)
                    .hint("write `flags: [MULTILINE, IGNORECASE]`"));
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
            return Err(Error::usage(
                "only one of `append_if_not_found` and `prepend_if_not_found` is permitted",
            ));
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

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn matches_are_replaced() {
        // Each as Salt 3006.9 does it.
        let table = [
            (
                "{pattern: '^#?Port .*', repl: Port 22}",
                "#Port 7\nPort 8\n",
                "Port 22\nPort 22\n",
            ),
            (
                "{pattern: '^#?Port .*', repl: Port 22, count: 1}",
                "#Port 7\nPort 8\n",
                "Port 22\nPort 8\n",
            ),
            ("{pattern: '(a)(b)?', repl: '\\2\\1'}", "ab a\n", "ba a\n"),
            ("{pattern: A, repl: b, flags: [IGNORECASE]}", "a\n", "b\n"),
            ("{pattern: 'a.b', repl: x, flags: 16}", "a\nb\n", "x\n"),
            ("{pattern: q, repl: x, append_if_not_found: true}", "a", "a\nx\n"),
            (
                "{pattern: q, repl: x, append_if_not_found: true}",
                "x\n",
                "(No changes needed to be made)",
            ),
            (
                "{pattern: q, repl: x, prepend_if_not_found: true, not_found_content: y}",
                "a\n",
                "y\na\n",
            ),
            ("{pattern: a, repl: '\\d', backslash_literal: true}", "a\n", "\\d\n"),
            ("{pattern: a, repl: 5}", "a\n", "5\n"),
        ];
        for (arguments, text, expected) in table {
            assert_eq!(edited("file.replace", arguments, text), expected, "{arguments} {text:?}");
        }
    }

    #[test]
    fn a_replacement_need_not_hold_after_itself() {
        let case =
            state("file.replace", "{name: /x, pattern: a, repl: aa, backup: .bak}").sees([file_of("/x", "a\n", 0o600, "pi")]);
        assert_snapshot!(show(case.decide()), @r"
        would: Changes would have been made
        did: Changes were made
          @@ -1 +1 @@
          -a
          +aa
        sh cp /x /x.bak
          cp -p /x /x.bak
        put /x keep
          aa
        ");
        let after = [file_of("/x", "aa\n", 0o600, "pi")];
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(0, "", ""), answer(0, "", "")], after)), @r#"Conclusion { ok: true, comment: "Changes were made", changes: {"diff": String("--- \n+++ \n@@ -1 +1 @@\n-a\n+aa\n")} }"#);
        let after = [file_of("/x", "other\n", 0o600, "pi")];
        assert_snapshot!(case.concludes(&[answer(0, "", ""), answer(0, "", "")], after).comment, @"every step succeeded, yet /x does not contain what was written into it");
        assert_snapshot!(case.concludes(&[answer(1, "", "No space left on device")], []).comment, @r"
        cp /x /x.bak failed with exit status 1
          No space left on device
        ");
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(state("file.replace", "{name: /x, pattern: a, repl: b}").shows(), @"fails: /x: file not found");
        assert_snapshot!(state("file.replace", "{name: /x, pattern: a, repl: b, ignore_if_missing: true}").shows(), @"holds: No changes needed to be made");
        assert_snapshot!(edited("file.replace", "{pattern: a, repl: b}", "a\0"), @"(Cannot perform string replacements on a binary file: /x)");
        assert_snapshot!(refusal("file.replace", "{name: /x, pattern: '(', repl: b}"), @r#"
        "(" is no regular expression: Parsing error at position 5: Opening parenthesis without closing parenthesis
        hint: patterns are Python's; a `\`, `.`, `*`, `[` or `(` that means itself is written with a `\` before it
        "#);
        assert_snapshot!(refusal("file.replace", "{name: /x, pattern: a, repl: '\\1'}"), @r#"
        invalid group reference 1 in the replacement "\\1"
        hint: the pattern has 0 groups; a group is written with `(` and `)`
        "#);
        assert_snapshot!(refusal("file.replace", "{name: /x, pattern: a, repl: b, flags: [MULTLINE]}"), @r"
        test.sls:1:41: invalid re flag given: MULTLINE
        hint: did you mean `MULTILINE`?
        hint: the flags are IGNORECASE, MULTILINE, DOTALL, VERBOSE, ASCII, UNICODE, LOCALE
        ");
    }
}
