//! What is to be changed in a file system on a card, as data: who decides ([`super::identity`]) knows no file system, and who
//! writes (`fat.rs`, `ext4.rs`) knows no minion.

use crate::error::{Error, Result};
use std::fmt;

/// One change. Paths are absolute within the file system, with `/` between their parts: `/etc/hostname`, and `/config.txt` on a
/// boot partition. Mode and owner mean nothing to FAT.
///
/// Changes are made in their order. Missing folders above a path are made with mode 0755, of root.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// A regular file with just these contents, whatever was there before. A link there is replaced, not followed.
    Write {
        path: String,
        bytes: Vec<u8>,
        /// Permissions: the lower twelve bits.
        mode: u16,
        uid: u32,
        gid: u32,
    },
    /// These bytes behind those of a file, whose mode and owner stay; where there is none, it is made (0644, of root).
    Append { path: String, bytes: Vec<u8> },
    /// A folder; one that is there is given this mode and owner.
    Mkdir { path: String, mode: u16, uid: u32, gid: u32 },
    /// A symbolic link at `path` to `target`, whatever was there before. FAT has none: an error there.
    Symlink { path: String, target: String },
    /// A file, a link or an empty folder that is gone afterwards. One that is not there is nothing to be done.
    Remove { path: String },
}

impl Change {
    /// A file of root's.
    pub fn write(path: impl Into<String>, bytes: impl Into<Vec<u8>>, mode: u16) -> Change {
        Change::Write {
            path: path.into(),
            bytes: bytes.into(),
            mode,
            uid: 0,
            gid: 0,
        }
    }

    /// A folder of root's.
    pub fn mkdir(path: impl Into<String>, mode: u16) -> Change {
        Change::Mkdir {
            path: path.into(),
            mode,
            uid: 0,
            gid: 0,
        }
    }

    pub fn symlink(path: impl Into<String>, target: impl Into<String>) -> Change {
        Change::Symlink {
            path: path.into(),
            target: target.into(),
        }
    }

    pub fn remove(path: impl Into<String>) -> Change {
        Change::Remove { path: path.into() }
    }

    /// Where it is.
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

/// Contents may be private keys: only their size is shown.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Write {
                path,
                bytes,
                mode,
                uid,
                gid,
            } => write!(f, "write {path} ({} bytes, {mode:04o} {uid}:{gid})", bytes.len()),
            Change::Append { path, bytes } => write!(f, "append to {path} ({} bytes)", bytes.len()),
            Change::Mkdir { path, mode, uid, gid } => write!(f, "mkdir {path} ({mode:04o} {uid}:{gid})"),
            Change::Symlink { path, target } => write!(f, "symlink {path} -> {target}"),
            Change::Remove { path } => write!(f, "remove {path}"),
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
