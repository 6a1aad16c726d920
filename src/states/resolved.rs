//! Files of the master that states refer to, found (and rendered) by the engine before anything is decided.

use crate::error::{Error, Result};
use crate::shell::Content;
use crate::yaml::{Map, Value};
use std::collections::HashMap;

/// What a state needs from the master.
#[derive(Clone, PartialEq, Debug)]
pub enum Need {
    File(SourceSpec),
    /// A folder of the state tree, for `file.recurse`.
    Tree(SourceTreeSpec),
}

/// One file: the first of `sources` that exists.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SourceSpec {
    /// `salt://`, an absolute path of the minion, `file://` (the master), `http://`, `https://`.
    pub sources: Vec<String>,
    /// Salt's `source_hash`: `sha256=...`, a bare digest, or the URL of a checksum file.
    pub source_hash: Option<String>,
    pub source_hash_name: Option<String>,
    pub skip_verify: bool,
    /// `jinja`, or not a template.
    pub template: Option<String>,
    /// `defaults` overlaid by `context`.
    pub context: Map,
    /// Text given in the state (`contents`) that is to be rendered as a template instead of a source.
    pub text: Option<String>,
    pub saltenv: Option<String>,
}

/// A folder of the state tree.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SourceTreeSpec {
    /// `salt://folder`; the first that exists.
    pub sources: Vec<String>,
    pub template: Option<String>,
    pub context: Map,
}

/// A file that was found.
#[derive(Clone, Debug)]
pub enum SourceFile {
    /// It is here, with its digest.
    Here {
        content: Content,
        sha256: String,
        size: u64,
        mode: Option<u32>,
    },
    /// The minion fetches it itself: an `http(s)` URL (checked against the digest there) or a path of its own.
    OnMinion {
        url: String,
        sha256: Option<String>,
        hash: Option<(String, String)>,
    },
}

/// A folder that was found: every file below it, by relative path; and its folders, for `include_empty`.
#[derive(Clone, Debug, Default)]
pub struct SourceTree {
    pub files: Vec<(String, SourceFile)>,
    pub folders: Vec<String>,
    /// Symlinks in the tree: relative path and target.
    pub symlinks: Vec<(String, String)>,
}

/// What was found, by what was asked.
#[derive(Default)]
pub struct Resolved {
    files: HashMap<String, Result<SourceFile>>,
    trees: HashMap<String, Result<SourceTree>>,
}

impl Resolved {
    pub fn insert_file(&mut self, spec: &SourceSpec, found: Result<SourceFile>) {
        self.files.insert(key(spec), found);
    }

    pub fn insert_tree(&mut self, spec: &SourceTreeSpec, found: Result<SourceTree>) {
        self.trees.insert(key(spec), found);
    }

    /// The file that `spec` asked for.
    ///
    /// # Errors
    /// What went wrong when it was looked for: no such file (with near names), a template error.
    pub fn file(&self, spec: &SourceSpec) -> Result<&SourceFile> {
        let found = self
            .files
            .get(&key(spec))
            .ok_or_else(|| Error::state("internal: a source that was never asked for"))?;
        found.as_ref().map_err(Clone::clone)
    }

    pub fn tree(&self, spec: &SourceTreeSpec) -> Result<&SourceTree> {
        let found = self
            .trees
            .get(&key(spec))
            .ok_or_else(|| Error::state("internal: a tree that was never asked for"))?;
        found.as_ref().map_err(Clone::clone)
    }
}

fn key(spec: &impl std::fmt::Debug) -> String {
    format!("{spec:?}")
}

impl SourceSpec {
    /// `context` laid over `defaults`.
    pub fn with_context(mut self, defaults: Option<&Value>, context: Option<&Value>) -> SourceSpec {
        for values in [defaults, context].into_iter().flatten().filter_map(Value::as_map) {
            self.context.extend(values.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        self
    }
}
