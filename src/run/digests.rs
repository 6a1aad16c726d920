//! The digests of this machine's large files, remembered from run to run: to reckon that of 200 MB takes longer than to send them.

use super::sources::hex;
use crate::project::{Cache, write_whole};
use blake2::Blake2b512;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many are remembered.
const KEPT: usize = 1000;

/// A file that was changed so short a time ago, in seconds, may change again without showing another time.
const SETTLED: i64 = 2;

/// What is remembered of one file. Nobody can set the time of the last change of an inode, so what has the same one is the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of the contents, and of the inode.
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The digests of a file's contents, in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Sums {
    pub sha256: String,
    /// The 512-bit BLAKE2b, as `b2sum` makes it.
    pub blake2: String,
}

impl Sums {
    /// Those of a file of any size.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn reckon(path: &Path) -> io::Result<Sums> {
        let mut file = std::fs::File::open(path)?;
        let (mut sha256, mut blake2) = (Sha256::new(), Blake2b512::new());
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                let (sha256, blake2) = (hex(&sha256.finalize()), hex(&blake2.finalize()));
                return Ok(Sums { sha256, blake2 });
            }
            sha256.update(&buffer[..n]);
            blake2.update(&buffer[..n]);
        }
    }
}

type Known = BTreeMap<String, (Stamp, Sums)>;

/// The digests of a project's sources.
pub(super) struct Digests {
    cache: Cache,
    /// `None`: not read yet.
    known: Mutex<Option<Known>>,
}

impl Digests {
    pub(super) fn new(cache: Cache) -> Digests {
        Digests {
            cache,
            known: Mutex::default(),
        }
    }

    /// The digests of the file at `path`: remembered, or else what `reckon` makes of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of(&self, path: &Path, reckon: impl FnOnce() -> io::Result<Sums>) -> io::Result<Sums> {
        let stamp = Stamp::of(&std::fs::metadata(path)?);
        let Some(name) = path.to_str() else { return reckon() };
        if let Some(sums) = self.remembered(name, &stamp) {
            return Ok(sums);
        }
        let sums = reckon()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        if stamp.ctime.0 + SETTLED <= now && Stamp::of(&std::fs::metadata(path)?) == stamp {
            self.remember(name, stamp, &sums);
        }
        Ok(sums)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, name: &str, stamp: &Stamp) -> Option<Sums> {
        let mut known = self.known();
        let known = known.get_or_insert_with(|| {
            // What cannot be read is not known.
            let text = std::fs::read(self.cache.path("digests").join("files.json")).unwrap_or_default();
            serde_json::from_slice(&text).unwrap_or_default()
        });
        known
            .get(name)
            .filter(|(known, _)| known == stamp)
            .map(|(_, sums)| sums.clone())
    }

    fn remember(&self, name: &str, stamp: Stamp, sums: &Sums) {
        let mut known = self.known();
        let known = known.get_or_insert_default();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(name.to_owned(), (stamp, sums.clone()));
        // Only an economy of the next run: not being able to remember it is no failure of this one.
        if let (Ok(folder), Ok(text)) = (self.cache.folder("digests"), serde_json::to_vec(known)) {
            let _ = write_whole(&folder.join("files.json"), &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_reckoned_again_when_the_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        let sums = |sha256: &str| Sums {
            sha256: sha256.to_owned(),
            blake2: String::new(),
        };
        let of = |sha256: &str| {
            let digests = Digests::new(Cache::at(folder.path().join("cache")));
            digests.of(&path, || Ok(sums(sha256))).unwrap().sha256
        };
        std::fs::write(&path, "one").unwrap();
        // Too young to be remembered.
        assert_eq!([of("a"), of("b")], ["a", "b"]);
        let digests = Digests::new(Cache::at(folder.path().join("cache")));
        digests.remember(
            path.to_str().unwrap(),
            Stamp::of(&std::fs::metadata(&path).unwrap()),
            &sums("c"),
        );
        assert_eq!([of("d"), of("e")], ["c", "c"]);
        std::fs::write(&path, "another").unwrap();
        assert_eq!(of("f"), "f");
        assert_eq!(
            Sums::reckon(&path).unwrap().blake2.get(..32),
            // `printf another | b2sum`
            Some("5f1ad30b8e82a82b62d6f86ac9b7d412")
        );
        // Nor does a broken cache do harm.
        std::fs::write(folder.path().join("cache/digests/files.json"), "{").unwrap();
        assert_eq!(of("g"), "g");
    }
}
