//! An image taken into the catalogue: downloaded once, looked at, and written down with its checksum.

use super::blocks::Blocks;
use super::catalogue::{ImageFormat, is_name};
use super::decode::{self, Decoded, Format, Whole, told};
use super::fetch::{Expected, Fetcher, Location, Wanted};
use crate::error::{Error, Result};
use crate::inventory::FirstBoot;
use crate::yaml::{Style, Value, emit_with};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Zeros in pieces of this many bytes are left out of the decoded image.
const HOLE: usize = 64 << 10;

/// Finds out how an image is made a minion's own, from what is in it.
pub type Detect<'a> = &'a mut dyn FnMut(&mut dyn Blocks) -> Result<FirstBoot>;

/// What was found out of an image.
#[derive(Clone, Debug)]
pub struct Found {
    pub name: String,
    /// Of its file, in hexadecimal digits.
    pub sha256: String,
    /// Of its file, in bytes.
    pub size: u64,
    /// Of the disk or the tar in it, in bytes.
    pub decoded: u64,
    pub format: ImageFormat,
    /// `None`: not known.
    pub first_boot: Option<FirstBoot>,
    /// Why the first-boot method is not known, where it was looked for.
    pub undetected: Option<Error>,
}

/// A name for what is at `location`: its file's, without what says how it is packed.
pub fn name_of(location: &Location) -> String {
    let file = location.file_name().to_ascii_lowercase();
    let mut name = file.as_str();
    while let Some((stem, extension)) = name.rsplit_once('.') {
        if !["xz", "gz", "zst", "bz2", "zip", "img", "raw", "tar", "tgz", "wic", "bin"].contains(&extension) {
            break;
        }
        name = stem;
    }
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    name.chars().take(80).collect()
}

/// Fetches what is at `location`, and looks at all of it. The decoded image is put into `work` for `detect`, as a sparse file, and removed.
///
/// # Errors
/// It cannot be fetched or decoded; `name` cannot be an image's.
pub fn look(fetcher: &Fetcher, location: &Location, name: &str, work: &Path, detect: Detect<'_>) -> Result<Found> {
    if !is_name(name) {
        return Err(Error::usage(format!("`{name}` cannot be an image's name"))
            .hint("names are made of letters, digits, `.`, `-` and `_`; `--name` gives one"));
    }
    let fetched = fetcher.fetch(&Wanted {
        name: name.to_owned(),
        location: location.clone(),
        expected: Expected::Nothing,
    })?;
    let hashed = Hashed::default();
    // A zip is read through its list: then the hash is taken of the file itself.
    let here = fetched.whole.here.as_ref().and_then(|file| file.try_clone().ok());
    let whole = fetched.whole;
    let reader = hashed.clone().over(fetched.reader);
    let options = decode::Options {
        threads: 0,
        whole: Whole {
            here,
            verified: whole.verified,
        },
    };
    let decoded = decode::open(Box::new(reader), options)?;
    let format = ImageFormat {
        format: decoded.format,
        compression: decoded.compression,
    };
    let (mut disk, length) = spooled(decoded, work)?;
    let (sha256, size) = match hashed.take() {
        Some(found) if format.compression != decode::Compression::Zip => found,
        _ => rehashed(fetcher, location, name)?,
    };
    let (first_boot, undetected) = match format.format {
        // Only Arch Linux ARM is published so.
        Format::RootTar => (Some(FirstBoot::Arch), None),
        Format::Raw => match detect(&mut disk) {
            Ok(method) => (Some(method), None),
            Err(error) => (None, Some(error)),
        },
    };
    Ok(Found {
        name: name.to_owned(),
        sha256,
        size,
        decoded: length,
        format,
        first_boot,
        undetected,
    })
}

/// All of the decoded image in a file that is gone when it is closed.
fn spooled(mut decoded: Decoded, work: &Path) -> Result<(File, u64)> {
    let failed = |e: io::Error| Error::state(format!("cannot write into {}: {e}", work.display()));
    let mut file = tempfile::tempfile_in(work).map_err(failed)?;
    let mut piece = vec![0; HOLE];
    let mut length = 0u64;
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match decoded.reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(told(e, "cannot read the image")),
            }
        }
        if filled == 0 {
            break;
        }
        // A tar is not looked into.
        if decoded.format == Format::Raw && piece[..filled].iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(length)).map_err(failed)?;
            file.write_all(&piece[..filled]).map_err(failed)?;
        }
        length += filled as u64;
    }
    file.set_len(length).map_err(failed)?;
    Ok((file, length))
}

/// Reads the file once more, for its hash.
fn rehashed(fetcher: &Fetcher, location: &Location, name: &str) -> Result<(String, u64)> {
    let mut fetched = fetcher.fetch(&Wanted {
        name: name.to_owned(),
        location: location.clone(),
        expected: Expected::Nothing,
    })?;
    let hashed = Hashed::default();
    let mut reader = hashed
        .clone()
        .over(std::mem::replace(&mut fetched.reader, Box::new(io::empty())));
    io::copy(&mut reader, &mut io::sink()).map_err(|e| told(e, "cannot read the image"))?;
    hashed
        .take()
        .ok_or_else(|| Error::state("internal: the image was not read to its end"))
}

/// The hash of a stream, for one who no longer has the stream.
#[derive(Clone, Default)]
struct Hashed(std::sync::Arc<std::sync::Mutex<Option<(String, u64)>>>);

impl Hashed {
    fn over<R: Read>(self, inner: R) -> Hashing<R> {
        Hashing {
            inner,
            hasher: Some(<sha2::Sha256 as sha2::Digest>::new()),
            bytes: 0,
            to: self,
        }
    }

    fn take(&self) -> Option<(String, u64)> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Option<sha2::Sha256>,
    bytes: u64,
    to: Hashed,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use sha2::Digest;
        let read = self.inner.read(into)?;
        self.bytes += read as u64;
        if read > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&into[..read]);
            }
        } else if !into.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            *self.to.0.lock().unwrap_or_else(|e| e.into_inner()) = Some((hex, self.bytes));
        }
        Ok(read)
    }
}

/// Writes what was found into `folder`, as a file of its own.
///
/// # Errors
/// There is such a file already; it cannot be written.
pub fn write(folder: &Path, found: &Found, location: &Location) -> Result<PathBuf> {
    let path = folder.join(format!("{}.yaml", found.name));
    let url = match location {
        Location::Url(url) => url.clone(),
        Location::File(file) => {
            let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            // Moved along with the project where it is in it.
            file.strip_prefix(std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()))
                .unwrap_or(&file)
                .display()
                .to_string()
        }
    };
    let mut entry = json!({
        &found.name: {
            "os": found.name,
            "url": url,
            "sha256": found.sha256,
            "size": found.size,
            "format": found.format.to_string(),
            "architectures": ["unknown"],
            "boards": [],
            "first_boot": found.first_boot,
            "checked": format!(
                "unverified: the checksum is that of what was downloaded on {}; compare it with the vendor's",
                jiff::Zoned::now().strftime("%Y-%m-%d")
            ),
        }
    });
    // Not known yet: told from the image each time.
    if found.first_boot.is_none()
        && let Some(image) = entry[&found.name].as_object_mut()
    {
        image.remove("first_boot");
    }
    let text =
        "# Say here which processors and boards it is for.\n".to_owned() + &emit_with(&Value::from(&entry), Style::READABLE);
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::usage(format!("{} exists already", path.display())).hint("`--name` gives another name")
        }
        _ => Error::usage(format!("cannot write {}: {e}", path.display())),
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    File::create_new(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Catalogue;
    use super::super::event::Event;
    use super::*;
    use crate::tree::Tree;
    use std::sync::Arc;

    #[test]
    fn names_are_made_of_files() {
        for (text, expected) in [
            (
                "https://a/2026-06-18-raspios-trixie-arm64-lite.img.xz",
                "2026-06-18-raspios-trixie-arm64-lite",
            ),
            (
                "https://a/ubuntu-26.04-preinstalled-server-arm64+raspi.img.xz",
                "ubuntu-26.04-preinstalled-server-arm64-raspi",
            ),
            ("/a/ArchLinuxARM-rpi-aarch64-latest.tar.gz", "archlinuxarm-rpi-aarch64-latest"),
            ("/a/_x.img", "x"),
        ] {
            assert_eq!(name_of(&Location::parse(text).unwrap()), expected);
        }
    }

    #[test]
    fn an_image_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        let mut disk = vec![0; 1 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[700_000] = 7;
        let file = folder.path().join("pi.img.zst");
        std::fs::write(&file, zstd::encode_all(&disk[..], 1).unwrap()).unwrap();
        let fetcher = Fetcher::new(folder.path().join("cache"), Arc::new(|_: &Event| {}), Arc::default());
        let location = Location::File(file.clone());
        let mut seen = Vec::new();
        let found = look(&fetcher, &location, "pi", folder.path(), &mut |blocks| {
            seen = vec![0; blocks.size() as usize];
            blocks.read_at(0, &mut seen).unwrap();
            Ok(FirstBoot::CloudInit)
        })
        .unwrap();
        assert!(seen == disk);
        assert_eq!((found.decoded, found.size), (1 << 20, file.metadata().unwrap().len()));
        let path = write(&images, &found, &location).unwrap();
        assert!(
            write(&images, &found, &location)
                .unwrap_err()
                .to_string()
                .ends_with("pi.yaml exists already")
        );
        let catalogue = Catalogue::read(&Tree::folder(&images)).unwrap();
        let image = catalogue.get("pi").unwrap();
        assert_eq!(
            (image.format.to_string().as_str(), image.first_boot),
            ("img.zst", Some(FirstBoot::CloudInit))
        );
        let mut bytes = Vec::new();
        fetcher
            .fetch(&image.wanted())
            .unwrap()
            .reader
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, std::fs::read(&file).unwrap(), "{}", path.display());

        let error = look(&fetcher, &location, "a b", folder.path(), &mut |_| Ok(FirstBoot::None)).unwrap_err();
        assert_eq!(error.to_string(), "`a b` cannot be an image's name");
    }
}
