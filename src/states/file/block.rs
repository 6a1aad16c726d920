//! `file.blockreplace`: what stands between two marker lines.

use super::edit::{Edit, Sources, Target, edits};
use super::pattern::{Flags, Pattern};
use super::text::lines;
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, Need, StateFunction};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures what stands between two marker lines of a file.
///
/// Everything between the line that contains `marker_start` and the one that contains `marker_end` is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockReplace {
    /// The file's absolute path.
    name: String,
    /// What the line before the block contains.
    #[serde(default = "marker_start")]
    marker_start: String,
    /// What the line behind the block contains.
    #[serde(default = "marker_end")]
    marker_end: String,
    /// The block.
    #[serde(default)]
    content: String,
    /// A file of the state tree whose text is put behind `content`: `salt://...`.
    source: Option<String>,
    /// The digest of a `source` that is fetched from the network.
    source_hash: Option<String>,
    /// Several such files.
    sources: Option<OneOrMany<String>>,
    /// The digests of `sources`, in the same order.
    source_hashes: Option<OneOrMany<String>>,
    /// The kind of template that the sources are: `jinja` by default.
    #[serde(default = "jinja")]
    template: Option<String>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// Add markers and block at the end where the markers are not there.
    #[serde(default)]
    append_if_not_found: bool,
    /// Add markers and block at the start where the markers are not there.
    #[serde(default)]
    prepend_if_not_found: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// Whether a newline is put behind the block; by default, where it does not end with one.
    append_newline: Option<bool>,
    /// Add markers and block before the first line that this regular expression matches, where the markers are not there.
    insert_before_match: Option<String>,
    /// Add markers and block behind the first line that this regular expression matches, where the markers are not there.
    insert_after_match: Option<String>,
}

fn yes() -> bool {
    true
}

fn jinja() -> Option<String> {
    Some("jinja".to_owned())
}

fn marker_start() -> String {
    "#-- start managed zone --".to_owned()
}

fn marker_end() -> String {
    "#-- end managed zone --".to_owned()
}

impl BlockReplace {
    fn target(&self) -> Target<'_> {
        Target::existing(&self.name, self.backup.as_ref(), self.show_changes)
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            source: &self.source,
            source_hash: &self.source_hash,
            sources: &self.sources,
            source_hashes: &self.source_hashes,
            template: &self.template,
            defaults: &self.defaults,
            context: &self.context,
            skip_verify: false,
        }
    }

    /// The block with the line that ends it, in lines that end with `end`.
    fn block(&self, content: &str, end: &str, last: &str) -> Vec<String> {
        let newline = self.append_newline.unwrap_or(!content.ends_with('\n'));
        let last = format!("{}{end}", last.trim_end_matches(['\r', '\n']));
        let pieces: Vec<&str> = content
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .collect();
        let mut block = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            if n + 1 < pieces.len() {
                block.push(format!("{piece}{end}"));
            } else if newline {
                block.push(format!("{piece}{end}"));
                block.push(last.clone());
            } else {
                block.push(format!("{piece}{last}"));
            }
        }
        block
    }

    fn edit(&self, text: &str, content: &str) -> Result<Edit> {
        let old = lines(text);
        let end = if old.first().is_some_and(|line| line.ends_with("\r\n")) {
            "\r\n"
        } else {
            "\n"
        };
        let mut made: Vec<String> = Vec::new();
        let (mut inside, mut found) = (false, false);
        for line in &old {
            if line.contains(&self.marker_start) {
                inside = true;
                made.push((*line).to_owned());
            } else if !inside {
                made.push((*line).to_owned());
            } else if let Some(at) = line.find(&self.marker_end) {
                (inside, found) = (false, true);
                made.extend(self.block(content, end, &line[at..]));
            }
        }
        if inside {
            return Ok(Edit::Fails(
                "Unterminated marked block. End of file reached before marker_end.".to_owned(),
            ));
        }
        if !found {
            let mut block = vec![format!("{}{end}", self.marker_start)];
            block.extend(self.block(content, end, &self.marker_end));
            let matched = self.insert_before_match.as_ref().or(self.insert_after_match.as_ref());
            if self.prepend_if_not_found {
                made.splice(0..0, block);
            } else if self.append_if_not_found {
                if let Some(last) = made.last_mut().filter(|last| !last.ends_with(end)) {
                    last.push_str(end);
                }
                made.extend(block);
            } else if let Some(matched) = matched {
                let pattern = Pattern::new(matched, Flags::default())?;
                let mut at = None;
                for (n, line) in old.iter().enumerate() {
                    if pattern.found(line)? {
                        at = Some(if self.insert_before_match.is_some() { n } else { n + 1 });
                        break;
                    }
                }
                let Some(at) = at else {
                    return Ok(Edit::Fails(
                        "Cannot edit marked block. Markers were not found in file.".to_owned(),
                    ));
                };
                if let Some(last) = at
                    .checked_sub(1)
                    .and_then(|at| made.get_mut(at))
                    .filter(|last| !last.ends_with('\n'))
                {
                    last.push_str(end);
                }
                made.splice(at..at, block);
            } else {
                return Ok(Edit::Fails(
                    "Cannot edit marked block. Markers were not found in file.\nhint: add `append_if_not_found: True`".to_owned(),
                ));
            }
        }
        let made = made.concat();
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
}

impl StateFunction for BlockReplace {
    fn check(&self) -> Result<()> {
        self.sources().check()?;
        let where_to = [
            self.append_if_not_found,
            self.prepend_if_not_found,
            self.insert_before_match.is_some(),
            self.insert_after_match.is_some(),
        ];
        if where_to.iter().filter(|given| **given).count() > 1 {
            return Err(Error::usage(
                "only one of `append_if_not_found`, `prepend_if_not_found`, `insert_before_match` and `insert_after_match` is permitted",
            ));
        }
        if self.marker_start.is_empty() || self.marker_end.is_empty() {
            return Err(Error::usage("`marker_start` and `marker_end` must not be empty"));
        }
        for pattern in [&self.insert_before_match, &self.insert_after_match].into_iter().flatten() {
            Pattern::new(pattern, Flags::default())?;
        }
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        self.sources().needs()
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let mut content = self.content.clone();
        for text in self.sources().texts(context)? {
            content.push_str(&text);
        }
        self.target().decide(seen, |text| self.edit(text, &content))
    }

    edits!();
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;

    #[test]
    fn blocks_stand_between_their_markers() {
        // Each as Salt 3006.9 does it.
        let table = [
            ("{content: n}", "a\n# S\nold\n# E\nb\n", "a\n# S\nn\nE\nb\n"),
            ("{content: \"n\\nm\\n\"}", "S\nE\n", "S\nn\nm\nE\n"),
            ("{content: n}", "S\nn\nE\n", "(No changes needed to be made)"),
            ("{content: n, append_newline: false}", "S\nE\n", "S\nnE\n"),
            ("{content: n, append_if_not_found: true}", "a", "a\nS\nn\nE\n"),
            ("{content: n, prepend_if_not_found: true}", "a\n", "S\nn\nE\na\n"),
            ("{content: n, insert_before_match: ^b}", "a\nb\n", "a\nS\nn\nE\nb\n"),
            ("{content: n, insert_after_match: ^a}", "a\nb\n", "a\nS\nn\nE\nb\n"),
            (
                "{content: n, insert_after_match: ^q}",
                "a\n",
                "(Cannot edit marked block. Markers were not found in file.)",
            ),
            (
                "{content: n}",
                "S\n",
                "(Unterminated marked block. End of file reached before marker_end.)",
            ),
            ("{content: n}", "S\r\nE\r\n", "S\r\nn\r\nE\r\n"),
        ];
        for (arguments, text, expected) in table {
            let arguments = format!("{{marker_start: S, marker_end: E, {}", &arguments[1..]);
            assert_eq!(
                edited("file.blockreplace", &arguments, text),
                expected,
                "{arguments} {text:?}"
            );
        }
    }
}
