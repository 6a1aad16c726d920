//! The cache of images: whole files by their SHA-256, what is known of URLs, and downloads under way.
//!
//! A download's bytes are only ever appended to its `.part`; who starts anew makes a new file, so that one who reads the old one does
//! not get half of each. The lock says who appends. `.known` is written before the whole file gets its name, so that a `.part` that is
//! gone was either renamed to what `.known` says, or found wrong.

use super::sums::Sum;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a server said of a file, to recognise it by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Bytes.
    pub(super) total: Option<u64>,
}

impl Validators {
    /// What goes into `If-Range`: a strong entity tag, or else a date (RFC 9110, 13.1.5).
    pub(super) fn if_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// A file that was downloaded whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) url: String,
    pub(super) sha256: String,
    /// The checksum that it was compared with, in hexadecimal digits.
    pub(super) compared: Option<String>,
    pub(super) validators: Validators,
}

/// The places of one URL in the cache.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    key: String,
}

/// Makes `folder`, for the user alone.
pub(super) fn folder(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::state(format!("cannot make the cache folder {}: {e}", folder.display())))
}

/// The whole file with this checksum, which may not be there.
pub(super) fn whole(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(sha256)
}

impl Place {
    pub(super) fn of(folder: &Path, url: &str) -> Place {
        let key = Sum::Sha256(Sha256::digest(url).into()).to_string();
        Place {
            folder: folder.to_owned(),
            key: key[..32].to_owned(),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("url-{}.{extension}", self.key))
    }

    /// The file that grows.
    pub(super) fn part(&self) -> PathBuf {
        self.path("part")
    }

    pub(super) fn whole(&self, sha256: &str) -> PathBuf {
        whole(&self.folder, sha256)
    }

    pub(super) fn bad(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}.bad"))
    }

    /// The right to append; `None` while another has it. Given up when the file is closed, however its process ends.
    pub(super) fn lock(&self) -> Result<Option<File>> {
        let path = self.path("lock");
        let failed = |e: std::io::Error| Error::state(format!("cannot lock {}: {e}", path.display()));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// What the server said of the file that is being downloaded.
    pub(super) fn validators(&self) -> Validators {
        read(&self.path("json")).unwrap_or_default()
    }

    pub(super) fn set_validators(&self, validators: &Validators) -> Result<()> {
        write(&self.path("json"), validators)
    }

    pub(super) fn known(&self) -> Option<Known> {
        read(&self.path("known")).filter(|known: &Known| matches!(Sum::parse(&known.sha256), Ok(Sum::Sha256(_))))
    }

    pub(super) fn set_known(&self, known: &Known) -> Result<()> {
        write(&self.path("known"), known)
    }

    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(self.path("known"));
    }

    /// The download is over.
    pub(super) fn clear(&self) {
        let _ = std::fs::remove_file(self.path("json"));
    }
}

/// What cannot be read is as good as not there.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::state(format!("internal: {e}")))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, &text)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| Error::state(format!("cannot write {}: {e}", path.display())))
}

/// Opens the file that grows for appending; made anew where it is missing, or where `anew`.
pub(super) fn part(path: &Path, anew: bool) -> Result<File> {
    let failed = |e: std::io::Error| Error::state(format!("cannot write {}: {e}", path.display()));
    if anew {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    }
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)
}
