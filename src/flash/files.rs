//! What is put on a card's file systems: the same words for FAT and ext4.

use crate::error::{Error, Result};

/// One change of a file system's files. Paths are absolute, with `/` between names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A file with these contents, new or instead of the one that is there. Missing folders are made (0755, root).
    Write {
        path: String,
        bytes: Vec<u8>,
        mode: u16,
        uid: u32,
        gid: u32,
    },
    /// These bytes behind those of a file, whose mode and owner stay; where there is none, it is made (0644, root).
    Append { path: String, bytes: Vec<u8> },
    /// A folder with this mode and owner, new or already there. Missing ones above it are made (0755, root).
    Mkdir { path: String, mode: u16, uid: u32, gid: u32 },
    /// A symbolic link, instead of what is there unless that is a folder. Not on FAT.
    Symlink { path: String, target: String },
    /// No file, link or empty folder there; it may be missing already.
    Remove { path: String },
}

impl Change {
    /// A file of root's, in whose mode FAT takes no interest.
    pub fn write(path: impl Into<String>, bytes: impl Into<Vec<u8>>, mode: u16) -> Change {
        Change::Write {
            path: path.into(),
            bytes: bytes.into(),
            mode,
            uid: 0,
            gid: 0,
        }
    }

    pub fn path(&self) -> &str {
        match self {
            Change::Write { path, .. }
            | Change::Append { path, .. }
            | Change::Mkdir { path, .. }
            | Change::Symlink { path, .. }
            | Change::Remove { path } => path,
        }
    }
}

/// The names in an absolute path.
///
/// # Errors
/// It is not absolute, leads nowhere or up, or has a name that `debugfs` or FAT would not take as it stands.
pub(super) fn names(path: &str) -> Result<Vec<&str>> {
    let wrong = |why: &str| Error::usage(format!("the path {path:?} on a card {why}"));
    let Some(rest) = path.strip_prefix('/') else {
        return Err(wrong("is not absolute"));
    };
    let names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
    for name in &names {
        if matches!(*name, "." | "..") {
            return Err(wrong("has . or .. in it"));
        }
        if name.len() > 255 || name.starts_with('<') || name.contains(|letter: char| letter.is_control() || letter == '"') {
            return Err(wrong(
                "has a name that is too long, begins with <, or has quotes or control characters in it",
            ));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_are_checked() {
        assert_eq!(super::names("/a//b c/").unwrap(), ["a", "b c"]);
        assert!(super::names("/").unwrap().is_empty());
        for path in ["", "a", "/a/../b", "/<7>", "/a\"b", "/a\nb"] {
            assert!(super::names(path).is_err(), "{path}");
        }
    }
}
