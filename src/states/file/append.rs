//! `file.append` and `file.prepend`: text at the end or the start of a file, if it is not in it yet.

use super::edit::{Edit, Sources, Target, edits};
use super::owner::Owner;
use super::text::{bare_lines, lines};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Context, Decision, Need, StateFunction};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;

fn yes() -> bool {
    true
}

fn jinja() -> Option<String> {
    Some("jinja".to_owned())
}

/// Ensures that text stands in a file, adding it at the end.
///
/// Text of several lines counts as one piece: it is added as a whole unless the whole of it is there. A file that does not exist
/// is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// The file's absolute path.
    name: String,
    /// The text, or several of them.
    text: Option<OneOrMany<String>>,
    /// Make the folders that lead to the file.
    #[serde(default)]
    makedirs: bool,
    /// A file of the state tree whose text is taken instead: `salt://...`.
    source: Option<String>,
    /// The digest of a `source` that is fetched from the network.
    source_hash: Option<String>,
    /// Several such files.
    sources: Option<OneOrMany<String>>,
    /// The digests of `sources`, in the same order.
    source_hashes: Option<OneOrMany<String>>,
    /// Take what a URL gives without a digest.
    #[serde(default)]
    skip_verify: bool,
    /// The kind of template that the sources are: `jinja` by default.
    #[serde(default = "jinja")]
    template: Option<String>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// Whether text that differs from the file's in white space alone counts as there.
    #[serde(default = "yes")]
    ignore_whitespace: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// Ensures that text stands in a file, adding it at the start.
///
/// Text of several lines counts as one piece: it is added as a whole unless the whole of it is there. A file that does not exist
/// is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prepend {
    /// The file's absolute path.
    name: String,
    /// The text, or several of them.
    text: Option<OneOrMany<String>>,
    /// Make the folders that lead to the file.
    #[serde(default)]
    makedirs: bool,
    /// A file of the state tree whose text is taken instead: `salt://...`.
    source: Option<String>,
    /// The digest of a `source` that is fetched from the network.
    source_hash: Option<String>,
    /// Several such files.
    sources: Option<OneOrMany<String>>,
    /// The digests of `sources`, in the same order.
    source_hashes: Option<OneOrMany<String>>,
    /// Take what a URL gives without a digest.
    #[serde(default)]
    skip_verify: bool,
    /// The kind of template that the sources are: `jinja` by default.
    #[serde(default = "jinja")]
    template: Option<String>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// Whether the text must be the very first lines of the file; else it may stand anywhere in it.
    #[serde(default)]
    header: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// Whether `piece` stands in `text` in lines of its own.
fn stands(piece: &str, text: &str, ignore_whitespace: bool) -> Result<bool> {
    if !ignore_whitespace {
        // Salt takes the piece for a pattern here; the plain text counts as well.
        let as_pattern = || super::pattern::Pattern::new(piece, super::pattern::Flags::MULTILINE)?.found(text);
        return Ok(text.contains(piece) || as_pattern().unwrap_or(false));
    }
    // What mostly is so needs no pattern.
    if text.lines().any(|line| line == piece) {
        return Ok(true);
    }
    let mut pattern = String::from("(?m)^");
    for line in bare_lines(piece) {
        let words: Vec<String> = line.split_whitespace().map(regex::escape).collect();
        pattern += &format!("\\s*{}\\s*", words.join("\\s*"));
    }
    pattern.push('$');
    let found = regex::RegexBuilder::new(&pattern).size_limit(64 << 20).build();
    let found = found.map_err(|_| Error::state("the text is too long to be looked for"))?;
    Ok(found.is_match(text))
}

impl Append {
    fn edited(&self, text: &str, pieces: &[String]) -> Result<Edit> {
        let mut added = Vec::new();
        for piece in pieces {
            if !stands(piece, text, self.ignore_whitespace)? {
                added.extend(bare_lines(piece));
            }
        }
        if added.is_empty() {
            return Ok(Edit::Holds(format!("File {} is in correct state", self.name)));
        }
        let mut made = text.to_owned();
        if !made.is_empty() && !made.ends_with('\n') {
            made.push('\n');
        }
        for line in &added {
            made.push_str(line);
            made.push('\n');
        }
        Ok(Edit::New {
            text: made,
            would: format!("File {} is set to be updated", self.name),
            did: format!("Appended {} lines", added.len()),
        })
    }
}

/// The texts, from the state or from its sources.
fn pieces(text: &Option<OneOrMany<String>>, sources: &Sources, context: &Context) -> Result<Vec<String>> {
    if sources.source.is_some() || sources.sources.is_some() {
        return sources.texts(context);
    }
    Ok(text.iter().flat_map(|text| text.iter()).cloned().collect())
}

/// Text is needed from somewhere.
fn check(text: &Option<OneOrMany<String>>, sources: &Sources) -> Result<()> {
    sources.check()?;
    if text.is_none() && sources.source.is_none() && sources.sources.is_none() {
        return Err(Error::usage("one of `text`, `source` and `sources` is needed"));
    }
    Ok(())
}

/// What adding at the end and at the start have in common: the file, where the text comes from, and when it is looked at.
macro_rules! adds {
    ($($function:ty)*) => {$(
        impl $function {
            fn target(&self) -> Target<'_> {
                Target {
                    name: &self.name,
                    backup: self.backup.as_ref(),
                    show: self.show_changes,
                    create: Some(self.makedirs),
                    owner: Owner::default(),
                    mode: None,
                }
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
                    skip_verify: self.skip_verify,
                }
            }
        }

        impl StateFunction for $function {
            fn check(&self) -> Result<()> {
                check(&self.text, &self.sources())
            }

            fn needs(&self, _: &Context) -> Vec<Need> {
                self.sources().needs()
            }

            fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
                Ok(self.target().probes())
            }

            fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
                let pieces = pieces(&self.text, &self.sources(), context)?;
                self.target().decide(seen, |text| self.edited(text, &pieces))
            }

            edits!();
        }
    )*};
}

adds!(Append Prepend);

impl Prepend {
    fn edited(&self, text: &str, pieces: &[String]) -> Result<Edit> {
        let mut added = Vec::new();
        for piece in pieces {
            if self.header || !stands(piece, text, true)? {
                added.extend(bare_lines(piece));
            }
        }
        let head: Vec<&str> = lines(text)
            .into_iter()
            .take(added.len())
            .map(|line| line.trim_end_matches(['\r', '\n']))
            .collect();
        if added.is_empty() || (self.header && head == added) {
            return Ok(Edit::Holds(format!("File {} is in correct state", self.name)));
        }
        let mut made = String::new();
        for line in &added {
            made.push_str(line);
            made.push('\n');
        }
        made.push_str(text);
        Ok(Edit::New {
            text: made,
            would: format!("File {} is set to be updated", self.name),
            did: format!("Prepended {} lines", added.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn text_is_added_once() {
        // Each as Salt 3006.9 does it.
        let table = [
            ("append", "{text: b}", "a\n", "a\nb\n"),
            ("append", "{text: b}", "a", "a\nb\n"),
            ("append", "{text: 'b  c'}", "a\n  b c\n", "(File /x is in correct state)"),
            ("append", "{text: 'b  c', ignore_whitespace: false}", "b c\n", "b c\nb  c\n"),
            ("append", "{text: [a, b, c]}", "b\n", "b\na\nc\n"),
            ("append", "{text: \"a\\nb\"}", "a\n", "a\na\nb\n"),
            ("append", "{text: b}", "bb\n", "bb\nb\n"),
            ("prepend", "{text: [a, b]}", "c\n", "a\nb\nc\n"),
            ("prepend", "{text: a}", "c\na\n", "(File /x is in correct state)"),
            ("prepend", "{text: a, header: true}", "c\na\n", "a\nc\na\n"),
            (
                "prepend",
                "{text: a, header: true}",
                "a\nc\n",
                "(File /x is in correct state)",
            ),
        ];
        for (function, arguments, text, expected) in table {
            assert_eq!(
                edited(&format!("file.{function}"), arguments, text),
                expected,
                "{function} {arguments} {text:?}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_made() {
        let case = state("file.append", "{name: /srv/a/x, text: [a, b], makedirs: true}").sees([dir("/srv")]);
        assert_snapshot!(case.shows(), @r#"
        would: File /srv/a/x is set to be updated
        did: Appended 2 lines
        changes: {"diff":"New file"}
        sh mkdir /srv/a
          umask 022
          [ -d /srv/a ] || { mkdir /srv/a; } || exit 1
        put /srv/a/x keep
          a
          b
        "#);
        assert_snapshot!(state("file.append", "{name: /srv/a/x, text: a}").sees([dir("/srv")]).shows(), @r"
        fails: Parent directory not present: /srv/a
        hint: add `makedirs: True`, or require the state that makes it
        ");
    }

    #[test]
    fn text_comes_from_sources() {
        let case = state("file.append", "{name: /x, sources: ['salt://a', 'salt://b']}").source("one\ntwo\n");
        assert_snapshot!(case.sees([file("/x", "")]).shows(), @r"
        would: File /x is set to be updated
        did: Appended 4 lines
          @@ -0,0 +1,4 @@
          +one
          +two
          +one
          +two
        put /x keep
          one
          two
          one
          two
        ");
        assert_snapshot!(refusal("file.append", "{name: /x}"), @"one of `text`, `source` and `sources` is needed");
        assert_snapshot!(refusal("file.append", "{name: /x, text: a, context: [a]}"), @r"
        test.sls:1:30: `context` must be a mapping, not a list
        hint: indent its keys by four spaces below `- NAME:`
        ");
    }
}
