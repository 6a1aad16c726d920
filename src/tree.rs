//! A file tree as Salt's `file_roots`: several roots, the first that has a path wins. States, pillar and shipped states are read through it.
//!
//! Part of the kernel; it knows nothing of what the files mean.

use crate::error::{Error, FileId, Result};
use include_dir::Dir;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How deep folders are followed: a symlink to a parent folder would never end.
const DEPTH: usize = 32;

/// One root of a [`Tree`].
#[derive(Clone, Debug)]
pub enum Root {
    Folder(PathBuf),
    /// Files built into the program; `shown` stands for the root in messages.
    Embedded {
        dir: &'static Dir<'static>,
        shown: &'static str,
    },
}

/// Roots in order of precedence.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub roots: Vec<Root>,
}

/// A file of a tree.
#[derive(Clone, Debug)]
pub struct TreeFile {
    /// Below its root, with `/`: `web/init.sls`.
    pub path: String,
    /// As messages show it.
    pub id: FileId,
    pub place: Place,
}

/// Where a file's contents are.
#[derive(Clone, Debug)]
pub enum Place {
    Disk(PathBuf),
    Embedded(&'static [u8]),
}

impl Tree {
    pub fn folder(path: impl Into<PathBuf>) -> Tree {
        Tree {
            roots: vec![Root::Folder(path.into())],
        }
    }

    /// The file at `path` in the first root that has it. A path that leaves the root (`..`) is not found.
    pub fn find(&self, path: &str) -> Option<TreeFile> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|part| part == ".." || part.is_empty()) {
            return None;
        }
        self.roots.iter().find_map(|root| match root {
            Root::Folder(folder) => {
                let disk = folder.join(path);
                disk.is_file().then(|| TreeFile {
                    path: path.to_owned(),
                    id: shown(&disk),
                    place: Place::Disk(disk),
                })
            }
            Root::Embedded { dir, shown } => dir.get_file(path).map(|file| TreeFile {
                path: path.to_owned(),
                id: FileId::of(&format!("{shown}/{path}")),
                place: Place::Embedded(file.contents()),
            }),
        })
    }

    pub fn is_folder(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        self.roots.iter().any(|root| match root {
            Root::Folder(folder) => folder.join(path).is_dir(),
            Root::Embedded { dir, .. } => path.is_empty() || dir.get_dir(path).is_some(),
        })
    }

    /// The paths of all files below `folder` (`""` for all), sorted, without hidden ones, each once.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let folder = folder.trim_matches('/');
        let mut found = BTreeSet::new();
        for root in &self.roots {
            match root {
                Root::Folder(root) => walk(&root.join(folder), root, &mut found, 0),
                Root::Embedded { dir, .. } => {
                    let below = if folder.is_empty() { Some(*dir) } else { dir.get_dir(folder) };
                    below.into_iter().for_each(|below| embedded(below, &mut found));
                }
            }
        }
        found.into_iter().collect()
    }

    /// The folders below `folder`, relative to it, sorted, without hidden ones.
    pub fn folders(&self, folder: &str) -> Vec<String> {
        let folder = folder.trim_matches('/');
        let mut found = BTreeSet::new();
        for root in &self.roots {
            match root {
                Root::Folder(root) => below(&root.join(folder), &root.join(folder), &mut found, 0),
                // A folder without files cannot be embedded: those of the files are all there are.
                Root::Embedded { .. } => {}
            }
        }
        for file in self.list(folder) {
            let relative = file.strip_prefix(folder).unwrap_or(&file).trim_start_matches('/');
            let mut end = relative.len();
            while let Some(at) = relative[..end].rfind('/') {
                found.insert(relative[..at].to_owned());
                end = at;
            }
        }
        found.into_iter().collect()
    }
}

/// Collects the folders below `folder`, relative to `root`.
fn below(folder: &Path, root: &Path, found: &mut BTreeSet<String>, depth: usize) {
    if depth > DEPTH {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            if let Ok(relative) = path.strip_prefix(root) {
                found.insert(relative.to_string_lossy().into_owned());
            }
            below(&path, root, found, depth + 1);
        }
    }
}

impl TreeFile {
    /// The whole contents.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Cow<'static, [u8]>> {
        match &self.place {
            Place::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
            Place::Disk(path) => std::fs::read(path)
                .map(Cow::Owned)
                .map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display()))),
        }
    }
}

/// The path as messages show it: relative to the current folder where it lies below it.
pub fn shown(path: &Path) -> FileId {
    let relative = std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    FileId::of(&relative.as_deref().unwrap_or(path).to_string_lossy())
}

fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>, depth: usize) {
    if depth > DEPTH {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            walk(&path, root, found, depth + 1);
        } else if let Ok(below) = path.strip_prefix(root) {
            found.insert(below.to_string_lossy().into_owned());
        }
    }
}

fn embedded(dir: &Dir<'static>, found: &mut BTreeSet<String>) {
    found.extend(dir.files().map(|file| file.path().to_string_lossy().into_owned()));
    dir.dirs().for_each(|dir| embedded(dir, found));
}
