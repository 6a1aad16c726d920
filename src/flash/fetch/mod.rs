//! An image's file: from the disk, from the cache, or downloaded into it while it is being read.
//!
//! What is read has been compared with its checksum when the reader says that it is at its end; a file that is wrong is an error there,
//! and is kept aside. Two runs that want the same share one download: one appends, both read. Knows nothing of what is in the file.

mod cache;
mod download;
mod follow;
mod sums;

pub use sums::Sum;

use self::cache::{Known, Place};
use self::sums::Hasher;
use super::decode::{Whole, carried};
use super::event::{Event, Listener};
use crate::error::{Error, Kind, Result};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// `http:` or `https:`.
    Url(String),
    File(PathBuf),
}

impl Location {
    /// Reads `https://...`, `file:///...` or a path.
    ///
    /// # Errors
    /// A URL of another kind, or one that is none.
    pub fn parse(text: &str) -> Result<Location> {
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) else {
            return Ok(Location::File(text.into()));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => match reqwest::Url::parse(text) {
                Ok(url) => Ok(Location::Url(url.into())),
                Err(error) => Err(Error::usage(format!("`{text}` is no URL: {error}"))),
            },
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                match path.starts_with('/') {
                    true => Ok(Location::File(unescaped(path))),
                    false => Err(Error::usage(format!("`{text}` names a file of another machine"))
                        .hint("a file of this one is written `file:///path`, or simply `/path`")),
                }
            }
            other => Err(Error::usage(format!("`{other}:` is not understood")).hint("images come from https, http, or a file")),
        }
    }

    /// The last part of its path.
    pub fn file_name(&self) -> String {
        let name = match self {
            Location::Url(url) => reqwest::Url::parse(url)
                .ok()
                .and_then(|url| Some(url.path_segments()?.next_back()?.to_owned())),
            Location::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        };
        let name = name.unwrap_or_default();
        unescaped(&name).to_string_lossy().into_owned()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Url(url) => f.write_str(url),
            Location::File(path) => path.display().fmt(f),
        }
    }
}

/// `text` with its `%41` resolved.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let escaped = match (first, more) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        (bytes, rest) = match escaped {
            Some((high, low)) => ([&bytes[..], &[high << 4 | low]].concat(), &more[2..]),
            None => ([&bytes[..], &[*first]].concat(), more),
        };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// What a file is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nobody says what it should be.
    Nothing,
    Sum(Sum),
    /// What the vendor's checksum file says.
    Listed(Location),
}

/// A file that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What events and messages call it.
    pub name: String,
    pub location: Location,
    pub expected: Expected,
}

/// A file that can be read.
pub struct Fetched {
    /// Its bytes from the first on; the call waits for those that are not here yet. An error may carry an [`Error`] (see
    /// [`told`](super::decode::told)).
    pub reader: Box<dyn Read + Send>,
    /// Its length in bytes, where that is known by now.
    pub size: Option<u64>,
    /// Its SHA-256, where that is known before it was read.
    pub sha256: Option<String>,
    /// For `decode`: the file behind the reader.
    pub whole: Whole,
    /// Whether nothing had to be downloaded.
    pub local: bool,
}

/// When to give up on a server.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Attempts in a row that brought nothing new.
    pub attempts: u32,
    /// The pause after the first of them; each is twice as long as the one before.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long a connection may be silent.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempts: 8,
            pause: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            silence: Duration::from_secs(30),
        }
    }
}

/// Fetches files.
#[derive(Clone)]
pub struct Fetcher {
    folder: PathBuf,
    listener: Arc<dyn Listener>,
    stop: Arc<AtomicBool>,
    patience: Patience,
}

/// The folder that downloaded images are kept in.
pub fn cache_folder() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("picloud/images")
}

/// Makes `folder`, which is [`cache_folder`], where it is not there yet.
///
/// # Errors
/// It cannot be made.
pub fn make_cache_folder(folder: &Path) -> Result<()> {
    cache::folder(folder)
}

impl Fetcher {
    /// One that keeps what it downloads in `folder`, and that ends with an error soon after `stop` is set.
    pub fn new(folder: impl Into<PathBuf>, listener: Arc<dyn Listener>, stop: Arc<AtomicBool>) -> Fetcher {
        Fetcher {
            folder: folder.into(),
            listener,
            stop,
            patience: Patience::default(),
        }
    }

    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Fetcher {
        Fetcher { patience, ..self }
    }

    /// The file that `wanted` is in the cache, or on the disk; asks nobody.
    pub fn here(&self, wanted: &Wanted) -> Option<PathBuf> {
        let url = match &wanted.location {
            Location::File(path) => return path.is_file().then(|| path.clone()),
            Location::Url(url) => url,
        };
        let path = match &wanted.expected {
            Expected::Sum(sum @ Sum::Sha256(_)) => cache::whole(&self.folder, &sum.to_string()),
            expected => {
                let known = Place::of(&self.folder, url).known()?;
                let same = match expected {
                    Expected::Sum(sum) => known.compared == Some(sum.to_string()),
                    Expected::Listed(_) | Expected::Nothing => true,
                };
                same.then(|| cache::whole(&self.folder, &known.sha256))?
            }
        };
        path.is_file().then_some(path)
    }

    /// Begins to fetch `wanted`, and waits until a server has answered.
    ///
    /// # Errors
    /// The file is not there; its server cannot be reached, or will not give it; the disk is too full for it.
    pub fn fetch(&self, wanted: &Wanted) -> Result<Fetched> {
        let url = match &wanted.location {
            Location::File(path) => return self.local(wanted, path),
            Location::Url(url) => url,
        };
        cache::folder(&self.folder)?;
        let place = Place::of(&self.folder, url);
        let known = place.known().filter(|known| place.whole(&known.sha256).is_file());
        let sum = match self.expected(wanted) {
            Ok(sum) => sum,
            Err(error) => match known {
                // What was compared once may be used again, though nobody can say whether there is something newer.
                Some(known) if known.compared.is_some() && error.kind() == Kind::Unreachable => {
                    self.listener.hear(&Event::Warning {
                        card: None,
                        message: format!(
                            "{}: its checksum file was not reached, the file in the cache is used: {error}",
                            wanted.name
                        ),
                    });
                    return self.cached(wanted, &place, &known.sha256);
                }
                _ => return Err(error),
            },
        };
        let cached = match &sum {
            Some(sum @ Sum::Sha256(_)) => Some(sum.to_string()),
            Some(sum) => known
                .as_ref()
                .filter(|known| known.compared == Some(sum.to_string()))
                .map(|known| known.sha256.clone()),
            None => None,
        };
        if let Some(sha256) = cached.filter(|sha256| place.whole(sha256).is_file()) {
            return self.cached(wanted, &place, &sha256);
        }
        let job = download::Job {
            name: wanted.name.clone(),
            url: url.clone(),
            place,
            sum,
            known: known.filter(|_| wanted.expected == Expected::Nothing),
            listener: self.listener.clone(),
            stop: self.stop.clone(),
            patience: self.patience.clone(),
        };
        follow::follow(job)
    }

    /// A file of this machine. It is not copied.
    fn local(&self, wanted: &Wanted, path: &Path) -> Result<Fetched> {
        let failed = |e: io::Error| Error::usage(format!("cannot read the image {}: {e}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::usage(format!("the image {} is not a regular file", path.display())));
        }
        let sum = self.expected(wanted)?;
        self.opened(file, sum, format!("{} is not what it should be", path.display()), None)
    }

    /// A file of the cache.
    fn cached(&self, wanted: &Wanted, place: &Place, sha256: &str) -> Result<Fetched> {
        let path = place.whole(sha256);
        let file = File::open(&path).map_err(|e| Error::state(format!("cannot read {}: {e}", path.display())))?;
        let text = format!(
            "{}: the copy in the cache is damaged and was kept aside; the next run downloads it again",
            wanted.name
        );
        let fetched = self.opened(file, Some(Sum::parse(sha256)?), text, Some((path, place.bad(sha256))))?;
        self.listener.hear(&Event::Fetched {
            name: wanted.name.clone(),
            bytes: fetched.size.unwrap_or(0),
            of: fetched.size,
        });
        Ok(fetched)
    }

    /// `file`, which is here, compared with `sum` while it is read. If it is wrong, the message is `wrong`, and it is renamed from
    /// the first to the second of `aside`.
    fn opened(&self, file: File, sum: Option<Sum>, wrong: String, aside: Option<(PathBuf, PathBuf)>) -> Result<Fetched> {
        let failed = |e: io::Error| Error::state(format!("cannot read the image: {e}"));
        let size = file.metadata().map_err(failed)?.len();
        let again = file.try_clone().map_err(failed)?;
        let sha256 = match &sum {
            Some(sum @ Sum::Sha256(_)) => Some(sum.to_string()),
            _ => None,
        };
        let compared = |file: File, sum: Sum| Compared {
            hasher: Some(Hasher::of(Some(&sum))),
            file,
            at: 0,
            sum,
            wrong: wrong.clone(),
            aside: aside.clone(),
            stop: self.stop.clone(),
        };
        let (reader, verified): (Box<dyn Read + Send>, _) = match sum {
            None => (Box::new(file), None),
            Some(sum) => {
                let mut check = compared(again.try_clone().map_err(failed)?, sum.clone());
                let wait = move || {
                    io::copy(&mut check, &mut io::sink())?;
                    Ok(check.file)
                };
                let wait: Box<dyn FnOnce() -> io::Result<File> + Send> = Box::new(wait);
                (Box::new(compared(file, sum)), Some(wait))
            }
        };
        Ok(Fetched {
            reader,
            size: Some(size),
            sha256,
            whole: Whole {
                here: Some(again),
                verified,
            },
            local: true,
        })
    }

    /// The checksum that `wanted` must have; `None` where nobody says.
    fn expected(&self, wanted: &Wanted) -> Result<Option<Sum>> {
        let listed = match &wanted.expected {
            Expected::Nothing => return Ok(None),
            Expected::Sum(sum) => return Ok(Some(sum.clone())),
            Expected::Listed(listed) => listed,
        };
        let (text, beside) = match listed {
            Location::File(path) => {
                let text = std::fs::read(path).map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
                (text, None)
            }
            Location::Url(url) => {
                let got = download::text(url, &*self.listener, &self.stop, &self.patience)?;
                (got.text, Some(got.url))
            }
        };
        let shown = listed.to_string();
        // `latest.img.xz.sha256` may lead to `2026-06-18.img.xz.sha256`, whose line is about `2026-06-18.img.xz`.
        let name = wanted.location.file_name();
        let target = beside.map(|url| Location::Url(url).file_name()).unwrap_or_default();
        let target = target.rsplit_once('.').map_or("", |(stem, _)| stem);
        sums::find(&String::from_utf8_lossy(&text), &[&name, target], &shown).map(Some)
    }
}

/// A file that is compared with its checksum while it is read.
struct Compared {
    file: File,
    /// Its own place: its file may be shared.
    at: u64,
    /// Gone when it has been compared.
    hasher: Option<Hasher>,
    sum: Sum,
    wrong: String,
    aside: Option<(PathBuf, PathBuf)>,
    stop: Arc<AtomicBool>,
}

impl Read for Compared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(carried(stopped()));
        }
        if into.is_empty() {
            return Ok(0);
        }
        let read = std::os::unix::fs::FileExt::read_at(&self.file, into, self.at)?;
        self.at += read as u64;
        if read > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&into[..read]);
            }
            return Ok(read);
        }
        let Some((_, got)) = self.hasher.take().map(Hasher::finish) else {
            return Ok(0);
        };
        if got == self.sum {
            return Ok(0);
        }
        if let Some((from, to)) = &self.aside {
            let _ = std::fs::rename(from, to);
        }
        let error = mismatch(&self.wrong, &self.sum, &got);
        Err(carried(match &self.aside {
            Some((_, to)) => error.hint(format!("it is now {}", to.display())),
            None => error,
        }))
    }
}

/// What is said of a file whose checksum is not the one that it should be.
fn mismatch(wrong: &str, expected: &Sum, got: &Sum) -> Error {
    let algorithm = expected.algorithm();
    Error::state(format!("{wrong}: its {algorithm} is {got}, and should be {expected}"))
}

/// What is said when the user has had enough.
fn stopped() -> Error {
    Error::state("stopped").hint("the next run goes on where this one stopped")
}

#[cfg(test)]
mod tests;
