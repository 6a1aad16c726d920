//! The files of an image or a card, looked at: real file systems (`fat.rs`, `ext4.rs`) or tables in tests.

use std::collections::BTreeMap;

/// A file system that is read. Paths are absolute, as in [`crate::flash::change::Change`]; links are followed.
///
/// What cannot be read counts as not there: who needs it says that it is missing, by name.
pub trait Files {
    /// The contents of a regular file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// Whether there is anything at `path`.
    fn exists(&self, path: &str) -> bool {
        self.read(path).is_some() || !self.list(path).is_empty()
    }

    /// The names in the folder `path`, without `.` and `..`; nothing where it is none.
    fn list(&self, path: &str) -> Vec<String>;
}

/// Files in memory: path to contents. Folders are there where there is something in them.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.get(path).cloned()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let below = self.keys().filter_map(|key| key.strip_prefix(&folder));
        let mut names: Vec<String> = below.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.dedup();
        names
    }
}

/// A file system that is not there.
pub struct Nothing;

impl Files for Nothing {
    fn read(&self, _path: &str) -> Option<Vec<u8>> {
        None
    }

    fn list(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }
}

/// The file systems of a card that matter: [`Nothing`] where it has none, or where it cannot be read.
#[derive(Clone, Copy)]
pub struct Volumes<'a> {
    /// The FAT partition that is booted from: mounted at `/boot`, `/boot/firmware` or nowhere.
    pub boot: &'a dyn Files,
    /// The root file system.
    pub root: &'a dyn Files,
}

/// `path` as text; bytes that are no UTF-8 are replaced.
pub(super) fn text(files: &dyn Files, path: &str) -> Option<String> {
    files.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(super) mod table {
    use super::*;
    use crate::flash::change::Change;

    /// Files in memory, as `path` and contents.
    pub(in super::super) fn files<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Vec<u8>> {
        entries
            .into_iter()
            .map(|(path, text)| (path.to_owned(), text.into()))
            .collect()
    }

    /// Changes as a reader checks them: each file's path, mode, owner and contents.
    pub(in super::super) fn shown(changes: &[Change]) -> String {
        let mut out = String::new();
        for change in changes {
            match change {
                Change::Write {
                    path,
                    bytes,
                    mode,
                    uid,
                    gid,
                } => {
                    out += &format!("== {path} {mode:04o} {uid}:{gid}\n{}", String::from_utf8_lossy(bytes));
                    if bytes.last().is_some_and(|b| *b != b'\n') {
                        out += "\n";
                    }
                }
                Change::Append { path, bytes } => out += &format!(">> {path}\n{}", String::from_utf8_lossy(bytes)),
                Change::Mkdir { path, mode, uid, gid } => out += &format!("== {path}/ {mode:04o} {uid}:{gid}\n"),
                Change::Symlink { path, target } => out += &format!("== {path} -> {target}\n"),
                Change::Remove { path } => out += &format!("== {path} removed\n"),
            }
        }
        out
    }

    /// The contents that `path` gets.
    pub(in super::super) fn written(changes: &[Change], wanted: &str) -> Option<String> {
        changes.iter().rev().find_map(|change| match change {
            Change::Write { path, bytes, .. } if path == wanted => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }
}
