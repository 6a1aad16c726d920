//! The catalogue of images: `images/*.yaml` of the project, and those that picloud ships.
//!
//! A file holds images by name. Where two have the same name, the project's own counts. Nothing is downloaded here.

use super::decode::{Compression, Format};
use super::fetch::{Expected, Location, Sum, Wanted};
use crate::error::{Error, Pos, Result};
use crate::inventory::FirstBoot;
use crate::project::Project;
use crate::tree::{Root, Tree};
use crate::yaml::{Data, Key, OneOrMany, Value};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What an image's file is: `img.xz`, `root.tar.gz`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageFormat {
    pub format: Format,
    pub compression: Compression,
}

const KINDS: [(&str, Format); 2] = [("img", Format::Raw), ("root.tar", Format::RootTar)];
const COMPRESSIONS: [Compression; 6] = [
    Compression::None,
    Compression::Xz,
    Compression::Gzip,
    Compression::Zstd,
    Compression::Bzip2,
    Compression::Zip,
];

impl ImageFormat {
    fn all() -> impl Iterator<Item = ImageFormat> {
        KINDS
            .into_iter()
            .flat_map(|(_, format)| COMPRESSIONS.map(|compression| ImageFormat { format, compression }))
    }

    fn parse(text: &str) -> Option<ImageFormat> {
        ImageFormat::all().find(|format| format.to_string() == text)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            KINDS
                .iter()
                .find(|(_, format)| *format == self.format)
                .map_or("img", |(kind, _)| kind),
        )?;
        self.compression
            .extension()
            .map_or(Ok(()), |extension| write!(f, ".{extension}"))
    }
}

/// An image as a file of the catalogue has it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The operating system's name.
    os: String,
    /// Its version, for people.
    version: Option<String>,
    /// `https://...`, `file:///...`, or a path relative to this file.
    url: String,
    /// The SHA-256 of what is at the URL.
    sha256: Option<String>,
    /// The vendor's checksum file (SHA256SUMS, SHA512SUMS, `.sha256` ...), which is asked at each download.
    checksums: Option<String>,
    /// The size of what is at the URL, in bytes.
    size: Option<u64>,
    /// `img` or `root.tar`, and behind it `.xz`, `.gz`, `.zst`, `.bz2`, `.zip` or nothing.
    format: String,
    /// The processors that it runs on, as Debian names them.
    architectures: OneOrMany<String>,
    /// The boards that it boots.
    boards: Option<OneOrMany<String>>,
    /// What makes it a minion's own at its first boot; told from its contents where not said.
    first_boot: Option<FirstBoot>,
    /// The image's published block map, as `url`.
    bmap: Option<String>,
    /// What of this was checked, and where the rest comes from; begins with `unverified` where something is not.
    checked: Option<String>,
}

/// An image of the catalogue.
#[derive(Clone, Debug)]
pub struct Image {
    pub name: String,
    /// Where the catalogue names it.
    pub at: Pos,
    pub os: String,
    pub version: Option<String>,
    pub location: Location,
    pub expected: Expected,
    /// Of its file, in bytes.
    pub size: Option<u64>,
    /// As it is written; what the file is, its contents say.
    pub format: ImageFormat,
    pub architectures: Vec<String>,
    pub boards: Vec<String>,
    /// What makes it a minion's own at its first boot; `None`: to be told from its contents.
    pub first_boot: Option<FirstBoot>,
    pub bmap: Option<Location>,
    pub checked: Option<String>,
    /// It comes with picloud.
    pub shipped: bool,
}

impl Image {
    /// What is to be fetched.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            name: self.name.clone(),
            location: self.location.clone(),
            expected: self.expected.clone(),
        }
    }

    /// Whether it is made for the card that it goes to, as far as can be told before it is read.
    pub fn fits_card(&self) -> bool {
        self.format.format == Format::RootTar
    }

    /// Whether somebody says that its entry was checked.
    pub fn is_checked(&self) -> bool {
        self.checked
            .as_ref()
            .is_some_and(|checked| !checked.trim_start().to_ascii_lowercase().starts_with("unverified"))
    }
}

/// All images that are known.
#[derive(Clone, Default, Debug)]
pub struct Catalogue {
    images: IndexMap<String, Image>,
}

impl Catalogue {
    /// Reads the catalogue of `project`.
    ///
    /// # Errors
    /// Everything that is wrong in any of its files.
    pub fn load(project: &Project) -> Result<Catalogue> {
        Catalogue::read(&project.images())
    }

    /// Reads the catalogue in `tree`; of two images with the same name, that of the first root counts.
    ///
    /// # Errors
    /// Everything that is wrong in any of its files.
    pub fn read(tree: &Tree) -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        let mut errors = Vec::new();
        for root in &tree.roots {
            let tree = Tree {
                roots: vec![root.clone()],
            };
            let mut own: IndexMap<String, Image> = IndexMap::new();
            for path in tree.list("") {
                if !(path.ends_with(".yaml") || path.ends_with(".yml")) {
                    continue;
                }
                let Some(file) = tree.find(&path) else { continue };
                let folder = match root {
                    Root::Folder(folder) => folder.join(&path).parent().map(Path::to_owned),
                    Root::Embedded { .. } => None,
                };
                let read = file.read().and_then(|bytes| crate::yaml::parse_bytes(file.id, &bytes));
                let read = read.and_then(|value| add(&value, folder, &mut own));
                errors.extend(read.err());
            }
            for (name, image) in own {
                catalogue.images.entry(name).or_insert(image);
            }
        }
        catalogue.images.sort_keys();
        Error::all(errors).map_or(Ok(catalogue), Err)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// The image that a user names: one of the catalogue, a file or a URL.
    ///
    /// # Errors
    /// It is none of them.
    pub fn named(&self, text: &str) -> Result<Image> {
        if self.images.contains_key(text) || !(text.contains('/') || Path::new(text).is_file()) {
            return self.get(text).cloned();
        }
        let location = Location::parse(text)?;
        if let Location::File(path) = &location
            && !path.is_file()
        {
            return Err(Error::usage(format!("there is no image file {text}")));
        }
        let name = location.file_name();
        let tar = name.ends_with(".tar") || name.contains(".tar.") || name.ends_with(".tgz");
        Ok(Image {
            name,
            at: Pos::default(),
            os: String::new(),
            version: None,
            location,
            expected: Expected::Nothing,
            size: None,
            format: ImageFormat {
                format: if tar { Format::RootTar } else { Format::Raw },
                compression: Compression::None,
            },
            architectures: Vec::new(),
            boards: Vec::new(),
            first_boot: None,
            bmap: None,
            checked: None,
            shipped: false,
        })
    }

    /// The image of this name.
    ///
    /// # Errors
    /// There is none, with the nearest name.
    pub fn get(&self, name: &str) -> Result<&Image> {
        self.images.get(name).ok_or_else(|| {
            Error::usage(format!("there is no image `{name}` in the catalogue"))
                .did_you_mean(name, self.images.keys().map(String::as_str))
                .hint("`picloud image list` shows what there is, `picloud image add` adds one")
        })
    }
}

/// Reads the images of one file.
fn add(file: &Value, folder: Option<PathBuf>, images: &mut IndexMap<String, Image>) -> Result<()> {
    let map = match &file.data {
        Data::Null => return Ok(()),
        Data::Map(map) => map,
        _ => {
            return Err(
                Error::usage(format!("a file of images must be a mapping, not {}", file.kind()))
                    .at(file.at)
                    .hint("write each image as `name: {os: ..., url: ..., ...}`"),
            );
        }
    };
    let mut errors = Vec::new();
    for (key, value) in map {
        match image(key, value, folder.as_deref()) {
            Ok(image) => {
                if let Some(first) = images.get(&image.name) {
                    let error = Error::usage(format!("the image `{}` is in the catalogue twice", image.name));
                    errors.push(error.at(key.at).trail("first named", first.at));
                } else {
                    images.insert(image.name.clone(), image);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Whether `name` can be an image's: what can stand in file names and on command lines without being quoted.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 100 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

fn image(key: &Key, value: &Value, folder: Option<&Path>) -> Result<Image> {
    let name = key.text();
    if !is_name(&name) {
        return Err(Error::usage(format!("`{name}` cannot be an image's name"))
            .at(key.at)
            .hint("names are made of letters, digits, `.`, `-` and `_`"));
    }
    if value.as_map().is_none() {
        return Err(Error::usage(format!("the image `{name}` must be a mapping, not {}", value.kind())).at(value.at));
    }
    let written: Written = crate::yaml::from_value(value).map_err(|e| e.at(key.at))?;
    let at = |field: &str| value.get(field).map_or(key.at, |value| value.at);
    let location = |field: &str, text: &str| -> Result<Location> {
        let location = Location::parse(text).map_err(|e| e.at(at(field)))?;
        Ok(match (location, folder) {
            (Location::File(path), Some(folder)) => Location::File(folder.join(path)),
            (location, _) => location,
        })
    };
    let expected = match (&written.sha256, &written.checksums) {
        (Some(sum), None) => match Sum::parse(sum) {
            Ok(sum @ Sum::Sha256(_)) => Expected::Sum(sum),
            _ => {
                return Err(Error::usage(format!("`{sum}` is no SHA-256"))
                    .at(at("sha256"))
                    .hint("it has 64 hexadecimal digits; a checksum file is named by `checksums`"));
            }
        },
        (None, Some(file)) => Expected::Listed(location("checksums", file)?),
        (None, None) => Expected::Nothing,
        (Some(_), Some(_)) => {
            return Err(Error::usage("`sha256` and `checksums` exclude each other").at(at("checksums")));
        }
    };
    let format = ImageFormat::parse(&written.format).ok_or_else(|| {
        let known: Vec<String> = ImageFormat::all().map(|format| format.to_string()).collect();
        Error::usage(format!("`{}` is no format of images", written.format))
            .at(at("format"))
            .hint(format!("the formats are {}", known.join(", ")))
    })?;
    Ok(Image {
        at: key.at,
        location: location("url", &written.url)?,
        bmap: written.bmap.as_deref().map(|bmap| location("bmap", bmap)).transpose()?,
        expected,
        name,
        os: written.os,
        version: written.version,
        size: written.size,
        format,
        architectures: written.architectures.0,
        boards: written.boards.unwrap_or_default().0,
        first_boot: written.first_boot,
        checked: written.checked,
        shipped: folder.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(text: &str) -> Result<Catalogue> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("own.yaml"), text).unwrap();
        Catalogue::read(&Tree::folder(folder.path()))
    }

    #[test]
    fn an_image_is_read() {
        let catalogue = catalogue(
            "pi: {os: X, url: pi.img.xz, format: img.xz, architectures: arm64, boards: [pi3], first_boot: cloud-init}\n\
             arch: {os: A, url: 'https://a/b.tar.gz', checksums: 'https://a/b.md5', format: root.tar.gz, architectures: [arm64]}\n",
        )
        .unwrap();
        let pi = catalogue.get("pi").unwrap();
        assert!(matches!(&pi.location, Location::File(path) if path.is_absolute() && path.ends_with("pi.img.xz")));
        assert_eq!(
            (pi.first_boot, &pi.expected),
            (Some(FirstBoot::CloudInit), &Expected::Nothing)
        );
        let arch = catalogue.get("arch").unwrap();
        assert_eq!(arch.format.format, Format::RootTar);
        assert_eq!(arch.first_boot, None);
        let error = catalogue.get("arhc").unwrap_err();
        assert_eq!(error.diagnostics()[0].hints[0], "did you mean `arch`?");
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let rest = "format: img, architectures: a";
        for (text, expected) in [
            (format!("pi: {{os: X, urll: x, {rest}}}"), "own.yaml:1:13: "),
            (
                format!("a b: {{os: X, url: x, {rest}}}"),
                "own.yaml:1:1: `a b` cannot be an image's name",
            ),
            (
                format!("pi: {{os: X, url: 'ftp://x', {rest}}}"),
                "own.yaml:1:18: `ftp:` is not understood",
            ),
            (
                format!("pi: {{os: X, url: x, sha256: abc, {rest}}}"),
                "own.yaml:1:29: `abc` is no SHA-256",
            ),
            (
                "pi: {os: X, url: x, format: img.7z, architectures: a}".to_owned(),
                "own.yaml:1:29: `img.7z` is no format of images",
            ),
            (
                "pi: {os: X, url: x, first_boot: magic, format: img, architectures: a}".to_owned(),
                "own.yaml:1:33: ",
            ),
            ("[a]".to_owned(), "own.yaml:1:1: a file of images must be a mapping"),
            ("pi: x".to_owned(), "own.yaml:1:5: the image `pi` must be a mapping"),
        ] {
            let error = catalogue(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_shipped_is_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        let catalogue = Catalogue::read(&Tree::folder(folder)).unwrap();
        assert!(catalogue.iter().count() >= 20);
        for image in catalogue.iter() {
            assert!(image.checked.is_some(), "{}: says what was checked", image.name);
            assert!(image.expected != Expected::Nothing, "{}: has a checksum", image.name);
            assert!(!image.boards.is_empty(), "{}", image.name);
            assert!(matches!(image.location, Location::Url(_)), "{}", image.name);
        }
    }
}
