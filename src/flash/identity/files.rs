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
