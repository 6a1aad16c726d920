//! `file.line`: one line at a place that patterns describe. The rules, odd ones included, are Salt's.

use super::edit::{Edit, Target, edits};
use super::owner::Owner;
use super::pattern::{Flags, Pattern};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, StateFunction};
use crate::yaml::{Mode, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Edits a file by one line: puts it at a place, replaces or deletes it.
///
/// `after`, `before` and `match` are regular expressions, each looked for in one line at a time; a line that contains their very
/// text matches too.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The file's absolute path.
    name: String,
    /// The line. Not needed to delete.
    content: Option<String>,
    /// The line that is replaced or deleted; `content` where not said.
    r#match: Option<String>,
    /// What is done. `ensure`: the line stands after `after` and/or before `before`. `replace`: the first line that matches becomes
    /// it. `delete`: the line that matches goes. `insert`: it is added at `location`, `after` or `before`, by every run unless it
    /// stands there already.
    mode: How,
    /// Where `insert` puts the line.
    location: Option<Location>,
    /// The line that it stands before.
    before: Option<String>,
    /// The line that it stands after.
    after: Option<String>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// Accepted as Salt has it; the old file is kept for `picloud undo`. A suffix such as `.bak` copies it beside the file.
    backup: Option<Value>,
    /// Accepted as Salt has it; a missing file is an error unless `create`.
    #[serde(default)]
    #[expect(dead_code, reason = "Salt's state fails for a missing file before it comes to this")]
    quiet: bool,
    /// Whether the line is indented as the one that it replaces or stands beside.
    #[serde(default = "yes")]
    indent: bool,
    /// Make a file that does not exist.
    #[serde(default)]
    create: bool,
    /// The file's owner, by name or number.
    user: Option<String>,
    /// The file's group, by name or number.
    group: Option<String>,
    /// The file's mode, as octal digits.
    file_mode: Option<Mode>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    #[serde(alias = "Ensure", alias = "ENSURE")]
    Ensure,
    #[serde(alias = "Replace", alias = "REPLACE")]
    Replace,
    #[serde(alias = "Delete", alias = "DELETE")]
    Delete,
    #[serde(alias = "Insert", alias = "INSERT")]
    Insert,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Location {
    Start,
    End,
}

/// `\n`, `\r\n` or `\r` at the end of `line`, or nothing.
fn end(line: &str) -> &str {
    ["\r\n", "\n", "\r"].into_iter().find(|end| line.ends_with(end)).unwrap_or("")
}

/// `line` with the end that `model` has.
fn ended_as(model: &str, line: &str) -> String {
    let end = Some(end(model)).filter(|end| !end.is_empty()).unwrap_or("\n");
    format!("{}{end}", line.trim_end())
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Those of `lines` that the pattern is found in, or that contain its text; `None` where there is no pattern or no line.
fn matching<'a>(lines: &'a [String], pattern: Option<&str>) -> Result<Option<Vec<&'a String>>> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty() && !lines.is_empty()) else {
        return Ok(None);
    };
    let flags = Flags {
        dot_all: true,
        ..Flags::default()
    };
    let compiled = Pattern::new(pattern, flags)?;
    let mut found = Vec::new();
    for line in lines {
        if compiled.found(line)? || line.contains(pattern) {
            found.push(line);
        }
    }
    Ok(Some(found))
}

/// The place of the one line that was found.
fn only(lines: &[String], found: &[&String], what: &str) -> Result<usize, String> {
    match found {
        [one] => Ok(lines.iter().position(|line| line == *one).unwrap_or(0)),
        [] => Err(format!("Found less than expected occurrences in \"{what}\" expression")),
        _ => Err(format!("Found more than expected occurrences in \"{what}\" expression")),
    }
}

impl Line {
    fn content(&self) -> &str {
        self.content.as_deref().unwrap_or("")
    }

    /// The line, indented as `model` is.
    fn indented(&self, model: &str) -> String {
        if !self.indent {
            return self.content().to_owned();
        }
        let indent: String = model.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
        format!("{indent}{}", self.content().trim_start())
    }

    /// What `match` is, where the line itself is looked for; text that is no pattern is taken as it is.
    fn looked_for(&self) -> Option<String> {
        match &self.r#match {
            Some(given) if !given.is_empty() => Some(given.clone()),
            _ if self.before.is_some() || self.after.is_some() => None,
            _ => self.content.as_ref().map(|content| {
                if Pattern::new(content, Flags::default()).is_ok() {
                    content.clone()
                } else {
                    super::pattern::escape(content)
                }
            }),
        }
    }

    /// The lines after the edit, or why it cannot be done.
    fn edited(&self, mut lines: Vec<String>) -> Result<Result<Vec<String>, String>> {
        let snapshot = lines.clone();
        let after = matching(&snapshot, self.after.as_deref())?.unwrap_or_default();
        let before = matching(&snapshot, self.before.as_deref())?.unwrap_or_default();
        let looked_for = self.looked_for();
        let found = matching(&snapshot, looked_for.as_deref())?.unwrap_or_default();
        let content = self.content();
        macro_rules! only {
            ($found:expr, $what:literal) => {
                match only(&snapshot, &$found, $what) {
                    Ok(at) => at,
                    Err(why) => return Ok(Err(why)),
                }
            };
        }
        // Salt does not know a line again that it has indented itself, and adds another one with every run.
        let stands = |line: Option<&String>, model: &str| {
            line.is_some_and(|line| {
                let line = without_end(line);
                line == without_end(content) || line == without_end(&self.indented(model))
            })
        };
        match self.mode {
            How::Delete => {
                if let Some(first) = found.first() {
                    lines.retain(|line| line != *first);
                }
            }
            How::Replace => {
                if let Some(first) = found.first() {
                    let at = only(&snapshot, &[first], "match").unwrap_or(0);
                    lines[at] = self.indented(&snapshot[at]);
                }
            }
            How::Insert => match self.location {
                Some(Location::End) => match lines.last() {
                    Some(last) => lines.push(self.indented(last)),
                    None => lines.push(content.to_owned()),
                },
                Some(Location::Start) => match lines.first() {
                    Some(first) => lines.insert(0, ended_as(first, content)),
                    None => lines.push(format!("{content}\n")),
                },
                None if !before.is_empty() && !after.is_empty() => {
                    let at = only!(before, "before");
                    only!(after, "after");
                    lines.insert(at, self.indented(&snapshot[at]));
                }
                None if !after.is_empty() => {
                    let at = only!(after, "after");
                    if !stands(snapshot.get(at + 1), &snapshot[at]) {
                        lines.insert(at + 1, self.indented(&snapshot[at]));
                    }
                }
                None if !before.is_empty() => {
                    let at = only!(before, "before");
                    let previous = if at == 0 { snapshot.last() } else { snapshot.get(at - 1) };
                    if !stands(previous, &snapshot[at]) {
                        lines.insert(at, self.indented(&snapshot[at]));
                    }
                }
                None => return Ok(Err("Neither before or after was found in file".to_owned())),
            },
            How::Ensure if !before.is_empty() && !after.is_empty() => {
                let first = only!(after, "after");
                let last = only!(before, "before");
                // As in Salt, only a last line without an end is found to be there already.
                if snapshot.iter().any(|line| line.trim_start() == content) {
                } else if first + 1 == last {
                    lines.insert(last, self.indented(&snapshot[first]));
                } else if first + 2 == last {
                    lines[first + 1] = self.indented(&snapshot[first]);
                } else {
                    return Ok(Err(
                        "Found more than one line between boundaries \"before\" and \"after\".".to_owned()
                    ));
                }
            }
            How::Ensure if !before.is_empty() => {
                let at = only!(before, "before");
                if at == 0 || !stands(snapshot.get(at - 1), &snapshot[at - 1]) {
                    let model = if at == 0 { snapshot.last() } else { snapshot.get(at - 1) };
                    lines.insert(at, self.indented(model.map_or("", String::as_str)));
                }
            }
            How::Ensure if !after.is_empty() => {
                let at = only!(after, "after");
                if !stands(snapshot.get(at + 1), &snapshot[at]) {
                    lines.insert(at + 1, self.indented(&snapshot[at]));
                }
            }
            How::Ensure => {
                return Ok(Err(
                    "Wrong conditions? Unable to ensure line without knowing where to put it before and/or after.".to_owned(),
                ));
            }
        }
        Ok(Ok(lines))
    }

    fn edit(&self, text: &str) -> Result<Edit> {
        let mut lines: Vec<String> = super::text::lines(text).into_iter().map(str::to_owned).collect();
        if lines.last().is_some_and(|last| !end(last).is_empty()) {
            lines.push(String::new());
        }
        let mut lines = match self.edited(lines)? {
            Ok(lines) => lines,
            Err(why) => return Ok(Edit::Fails(why)),
        };
        for at in 0..lines.len() {
            if end(&lines[at]).is_empty() && at + 1 < lines.len() {
                // The end is that of the line before, or of the second for the first.
                let model = if at > 0 { at - 1 } else { 1 };
                lines[at] = ended_as(&lines[model], &lines[at]);
            }
        }
        let made = lines.concat();
        Ok(if made == text {
            Edit::Holds("No changes needed to be made".to_owned())
        } else {
            Edit::New {
                text: made,
                would: "Changes would be made".to_owned(),
                did: "Changes were made".to_owned(),
            }
        })
    }

    fn target(&self) -> Target<'_> {
        Target {
            name: &self.name,
            backup: self.backup.as_ref(),
            show: self.show_changes,
            create: self.create.then_some(false),
            owner: Owner::new(&self.user, &self.group),
            mode: self.file_mode.map(|mode| mode.0),
        }
    }
}

impl StateFunction for Line {
    fn check(&self) -> Result<()> {
        if self.mode != How::Delete && self.content.is_none() {
            return Err(Error::usage("`content` can only be left out with `mode: delete`"));
        }
        if self.mode == How::Delete && self.content.is_none() && self.r#match.is_none() {
            return Err(Error::usage("`mode: delete` needs `match` or `content`: the line that goes"));
        }
        if self.mode == How::Insert && self.location.is_none() && self.before.is_none() && self.after.is_none() {
            return Err(Error::usage(
                "`mode: insert` needs `location`, `before` or `after`: where the line goes",
            ));
        }
        if self.mode == How::Ensure && self.before.is_none() && self.after.is_none() {
            return Err(Error::usage(
                "`mode: ensure` needs `before` or `after`: where the line stands",
            ));
        }
        for pattern in [&self.before, &self.after, &self.r#match].into_iter().flatten() {
            Pattern::new(pattern, Flags::default())?;
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        self.target().decide(seen, |text| self.edit(text))
    }

    edits!();
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn lines_go_where_salt_puts_them() {
        // Each as Salt 3006.9 does it.
        let table = [
            ("{mode: ensure, content: b, after: a}", "  a\nc\n", "  a\n  b\nc\n"),
            (
                "{mode: ensure, content: b, after: ^a, indent: false}",
                "  a\n",
                "(Wrong conditions? Unable to ensure line without knowing where to put it before and/or after.)",
            ),
            (
                "{mode: ensure, content: b, after: a}",
                "a\nb\n",
                "(No changes needed to be made)",
            ),
            ("{mode: ensure, content: b, before: c}", "a\nc", "a\nb\nc"),
            ("{mode: ensure, content: b, after: a, before: c}", "a\nc\n", "a\nb\nc\n"),
            ("{mode: ensure, content: b, after: a, before: c}", "a\nx\nc\n", "a\nb\nc\n"),
            (
                "{mode: ensure, content: b, after: a, before: c}",
                "a\nx\ny\nc\n",
                "(Found more than one line between boundaries \"before\" and \"after\".)",
            ),
            (
                "{mode: ensure, content: b, after: a}",
                "a\na1\n",
                "(Found more than expected occurrences in \"after\" expression)",
            ),
            (
                "{mode: replace, match: ^b.*, content: B=1}",
                "a\n  b=0\nb\n",
                "a\n  b=0\nB=1\n",
            ),
            ("{mode: replace, match: b, content: B}", "a\n\tb\r\n", "a\n\tB\n"),
            (
                "{mode: replace, match: q, content: B}",
                "a\n",
                "(No changes needed to be made)",
            ),
            ("{mode: delete, content: b}", "a\nb\nb\n", "a\n"),
            ("{mode: delete, match: '(b', content: x}", "a\n", "refused"),
            ("{mode: delete, content: 'f(b'}", "a\nf(b\n", "a\n"),
            ("{mode: insert, content: b, location: start}", "a\n", "b\na\n"),
            ("{mode: insert, content: b, location: end}", "a\n", "a\n\nb"),
            ("{mode: insert, content: b, location: end}", "", "b"),
            ("{mode: insert, content: b, after: a}", "a\nc\n", "a\nb\nc\n"),
            (
                "{mode: insert, content: b, after: a}",
                "a\nb\n",
                "(No changes needed to be made)",
            ),
            ("{mode: insert, content: b, before: c}", "a\nc\n", "a\nb\nc\n"),
        ];
        for (arguments, text, expected) in table {
            assert_eq!(edited("file.line", arguments, text), expected, "{arguments} {text:?}");
        }
    }

    #[test]
    fn a_file_is_made_on_demand() {
        let case = state(
            "file.line",
            "{name: /x, mode: insert, location: end, content: a, create: true, user: pi, file_mode: 600}",
        );
        assert_snapshot!(show(case.sees([user("pi", 1000)]).decide()), @r#"
        would: Changes would be made
        did: Changes were made
        changes: {"diff":"New file"}
        put /x user=pi mode=0600 keep
          a
        "#);
        assert_eq!(
            edited("file.line", "{mode: delete, content: a, user: root, file_mode: 644}", "b\n"),
            "(No changes needed to be made)"
        );
    }

    #[test]
    fn what_cannot_be() {
        for arguments in [
            "{mode: ensure, content: a}",
            "{mode: insert, content: a}",
            "{mode: delete}",
            "{mode: replace, match: a}",
            "{mode: remove, content: a}",
        ] {
            assert!(
                refusal("file.line", &format!("{{name: /x, {}", &arguments[1..])) != "(accepted)",
                "{arguments}"
            );
        }
    }
}
