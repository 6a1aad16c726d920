//! What all edits of a text file share: finding the text, making one change of the new one, and telling whether it came about.
//!
//! An edit is a function from the old text to the new one; it runs on the master, on what was observed.

use super::owner::Owner;
use super::place::{Parents, absolute};
use super::put::{Comments, Put, Wanted};
use super::text::{Found, Text, backup_suffix, found};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, Probe, Resource};
use crate::shell::{Answer, Content};
use crate::states::{Change, Conclusion, Context, Decision, Need, SourceFile, SourceSpec, decision};
use crate::yaml::{OneOrMany, Value};

/// What came of editing a text.
pub(in crate::states) enum Edit {
    /// Nothing is to be done; the comment says why.
    Holds(String),
    /// The new text, and the comments before and after.
    New {
        text: String,
        would: String,
        did: String,
    },
    Fails(String),
}

/// The file that is edited, and the arguments that all edits have.
pub(in crate::states) struct Target<'a> {
    pub name: &'a str,
    pub backup: Option<&'a Value>,
    pub show: bool,
    /// Make a missing file, with the folders above it where `Some(true)`; `None`: a missing file is an error.
    pub create: Option<bool>,
    pub owner: Owner,
    pub mode: Option<u32>,
}

impl Target<'_> {
    pub fn probes(&self) -> Vec<Probe> {
        let Ok(path) = absolute(self.name) else { return Vec::new() };
        let mut probes = vec![Probe::text(path)];
        if self.create.is_some() {
            probes.extend(self.parents(path).probes());
        }
        probes.extend(self.owner.probes());
        probes
    }

    /// The file `name` that must be there.
    pub fn existing<'a>(name: &'a str, backup: Option<&'a Value>, show: bool) -> Target<'a> {
        Target {
            name,
            backup,
            show,
            create: None,
            owner: Owner::default(),
            mode: None,
        }
    }

    fn parents<'a>(&'a self, path: &'a str) -> Parents<'a> {
        Parents {
            path,
            make: self.create == Some(true),
            owner: &self.owner,
            mode: None,
        }
    }

    /// What `edit` makes of the text that was seen; of none, where the file is missing and to be made.
    pub fn decide(&self, seen: &Observed, edit: impl FnOnce(&str) -> Result<Edit>) -> Result<Decision> {
        let path = match absolute(self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let old = match found(path, seen.entry(path)?)? {
            Found::Text(text) => Some(text),
            Found::Missing if self.create.is_some() => None,
            Found::Missing => return Ok(Decision::Fails(format!("{path}: file not found"))),
            Found::No(why) => return Ok(Decision::Fails(why)),
        };
        let mut comments = Comments::managed(path);
        let text = match edit(old.as_ref().map_or("", |old| &old.text))? {
            Edit::Fails(why) => return Ok(Decision::Fails(why)),
            Edit::New { text, would, did } => {
                (comments.would, comments.did) = (would, did);
                Some(text)
            }
            Edit::Holds(comment) => {
                comments.holds = comment;
                None
            }
        };
        let wanted = match (&old, text) {
            (_, None) => Wanted::Any,
            (Some(old), Some(text)) => Wanted::Bytes(old.encode(&text)?.into()),
            (None, Some(text)) => Wanted::Bytes(text.into_bytes().into()),
        };
        let put = Put {
            path,
            wanted,
            owner: &self.owner,
            mode: self.mode,
            parents: self.parents(path),
            follow: true,
            check: None,
            tmp_dir: None,
            tmp_ext: None,
            show: self.show,
            compare: true,
            suffix: backup_suffix(self.backup),
            comments,
        };
        put.decide(seen)
    }

    pub fn writes(&self) -> Vec<Resource> {
        absolute(self.name).map(super::place::touched).unwrap_or_default()
    }

    pub fn keeps(&self) -> Vec<Resource> {
        absolute(self.name)
            .map(|path| vec![Resource::Path(path.to_owned())])
            .unwrap_or_default()
    }
}

/// The methods of [`StateFunction`](crate::states::StateFunction) that are the same for every edit of its `target()`.
macro_rules! edits {
    () => {
        fn writes(&self, _: &$crate::states::Context) -> Vec<$crate::probe::Resource> {
            self.target().writes()
        }

        fn keeps(&self, _: &$crate::states::Context) -> Vec<$crate::probe::Resource> {
            self.target().keeps()
        }

        fn conclude(
            &self,
            change: &$crate::states::Change,
            acted: &[$crate::shell::Answer],
            after: &$crate::probe::Observed,
            _: &$crate::states::Context,
        ) -> $crate::error::Result<$crate::states::Conclusion> {
            $crate::states::file::edit::conclude(change, acted, after)
        }
    };
}
pub(in crate::states) use edits;

/// Whether the file now contains what was to be written into it. An edit need not hold after itself: `s/a/aa/` never does.
pub(in crate::states) fn conclude(change: &Change, acted: &[Answer], after: &Observed) -> Result<Conclusion> {
    let conclusion = |ok, comment| Conclusion {
        ok,
        comment,
        changes: change.changes.clone(),
    };
    if let Some(comment) = decision::failed_step(change, acted) {
        return Ok(conclusion(false, comment));
    }
    for fact in &change.predicts {
        let Fact::Path(path, predicted) = fact else { continue };
        let sum = |entry: &crate::probe::PathSeen| {
            let entry = entry.entry.as_ref().and_then(super::place::followed);
            entry.map(|entry| entry.sha256.clone())
        };
        // Only what the probes show again can be compared.
        let Ok(now) = after.path(path) else { continue };
        let (wanted, is) = (sum(predicted), sum(now));
        if wanted.is_some() != is.is_some() || (wanted.flatten() != is.clone().flatten() && is.flatten().is_some()) {
            return Ok(conclusion(
                false,
                format!("every step succeeded, yet {path} does not contain what was written into it"),
            ));
        }
    }
    Ok(conclusion(true, change.did.clone()))
}

/// The sources of `append`, `prepend` and `blockreplace`: files of the state tree, rendered.
pub(in crate::states) struct Sources<'a> {
    pub source: &'a Option<String>,
    pub source_hash: &'a Option<String>,
    pub sources: &'a Option<OneOrMany<String>>,
    pub source_hashes: &'a Option<OneOrMany<String>>,
    pub template: &'a Option<String>,
    pub defaults: &'a Option<Value>,
    pub context: &'a Option<Value>,
    pub skip_verify: bool,
}

impl Sources<'_> {
    /// Arguments that contradict each other.
    pub fn check(&self) -> Result<()> {
        if self.source.is_some() && self.sources.is_some() {
            return Err(Error::usage("`source` and `sources` are mutually exclusive"));
        }
        if self.source_hash.is_some() && self.source_hashes.is_some() {
            return Err(Error::usage("`source_hash` and `source_hashes` are mutually exclusive"));
        }
        mapping("defaults", self.defaults)?;
        mapping("context", self.context)
    }

    fn specs(&self) -> Vec<SourceSpec> {
        let one = self.source.iter().map(|source| (source, self.source_hash.clone()));
        let hashes: Vec<&String> = self.source_hashes.iter().flat_map(|hashes| hashes.iter()).collect();
        let many = self.sources.iter().flat_map(|sources| sources.iter()).enumerate();
        let many = many.map(|(n, source)| (source, hashes.get(n).map(|hash| (*hash).clone())));
        one.chain(many)
            .map(|(source, source_hash)| {
                SourceSpec {
                    sources: vec![source.clone()],
                    source_hash,
                    skip_verify: self.skip_verify,
                    template: self.template.clone().filter(|template| !template.is_empty()),
                    ..SourceSpec::default()
                }
                .with_context(self.defaults.as_ref(), self.context.as_ref())
            })
            .collect()
    }

    pub fn needs(&self) -> Vec<Need> {
        self.specs().into_iter().map(Need::File).collect()
    }

    /// The text of every source.
    ///
    /// # Errors
    /// A source that was not found, could not be rendered, is no text, or is on the minion.
    pub fn texts(&self, context: &Context) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for spec in self.specs() {
            texts.push(source_text(&spec, context)?);
        }
        Ok(texts)
    }
}

/// The text that `spec` was found to be.
pub(in crate::states) fn source_text(spec: &SourceSpec, context: &Context) -> Result<String> {
    let shown = spec.sources.first().map_or("the source", String::as_str);
    match context.resolved.file(spec)? {
        SourceFile::Here {
            content: Content::Bytes(bytes),
            ..
        } => Text::of(bytes)
            .map(|text| text.text)
            .ok_or_else(|| Error::state(format!("{shown} is binary, not text"))),
        SourceFile::Here { .. } => Err(Error::state(format!("{shown} is too large to be text in another file"))),
        SourceFile::OnMinion { .. } => Err(Error::state(format!("{shown} is on the minion, not on the master"))
            .hint("put the text into the state tree, and name it as `salt://...`")),
    }
}

/// An argument that must be a mapping where it is given.
pub(in crate::states) fn mapping(name: &str, value: &Option<Value>) -> Result<()> {
    match value {
        Some(value) if !value.is_null() && value.as_map().is_none() => {
            Err(Error::usage(format!("`{name}` must be a mapping, not {}", value.kind()))
                .at(value.at)
                .hint("indent its keys by four spaces below `- NAME:`"))
        }
        _ => Ok(()),
    }
}
