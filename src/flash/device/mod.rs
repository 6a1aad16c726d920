//! Disks: what they are, what they are used for, and whether they may be written.
//!
//! [`list`] and [`find`] look at this machine ([`linux`] or [`macos`]), [`rules`] decides purely, [`open`] opens what was confirmed
//! and nothing else, [`wait`] notices a card that is put in. Nothing here writes to a disk.

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(any(target_os = "macos", test))]
pub mod macos;
pub mod mounts;
pub mod open;
pub mod rules;
pub mod wait;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// How a disk is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bus {
    /// A card in a native SD slot.
    Sd,
    /// Flash memory that is soldered in.
    Emmc,
    Usb,
    Nvme,
    Sata,
    Virtio,
    /// A file that looks like a disk.
    Loop,
    /// Made of other disks or of memory: device-mapper, RAID, zram.
    Virtual,
    Other,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bus::Sd => "SD slot",
            Bus::Emmc => "eMMC",
            Bus::Usb => "USB",
            Bus::Nvme => "NVMe",
            Bus::Sata => "SATA",
            Bus::Virtio => "virtio",
            Bus::Loop => "loop",
            Bus::Virtual => "virtual",
            Bus::Other => "internal",
        })
    }
}

/// What a disk, or something that lies on it through any number of layers, is used for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "use", rename_all = "snake_case")]
pub enum Use {
    /// Mounted there. `system`: the machine itself lives there.
    Mount { at: PathBuf, system: bool },
    /// The machine's memory is swapped to it, or to a file on it.
    Swap { file: String },
    /// LVM, LUKS, RAID or the like has taken it.
    Holder { name: String },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mount { at, .. } => write!(f, "mounted at {}", at.display()),
            Use::Swap { file } => write!(f, "swap: {file}"),
            Use::Holder { name } => write!(f, "held by {name}"),
        }
    }
}

/// A whole disk.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// `/dev/sdb`.
    pub path: PathBuf,
    /// The kernel's number for it: major and minor.
    pub number: (u32, u32),
    pub vendor: String,
    pub model: String,
    pub serial: Option<String>,
    /// What the card itself says that it is (SD and eMMC in a native slot): 32 hexadecimal digits.
    pub cid: Option<String>,
    /// Bytes. 0: there is no card in the reader.
    pub size: u64,
    pub bus: Bus,
    /// What the device says; internal card readers say no, and some SSDs in USB cases yes.
    pub removable: bool,
    pub read_only: bool,
    pub rotational: bool,
    /// The partitions' names: `sdb1`.
    pub partitions: Vec<String>,
    pub uses: Vec<Use>,
    /// The largest request that the kernel sends to it, in KiB.
    pub max_sectors_kb: Option<u64>,
    /// How many requests its queue holds.
    pub nr_requests: Option<u64>,
    /// Bytes: the card's allocation unit. Only native slots tell it.
    pub preferred_erase_size: Option<u64>,
    /// Bytes.
    pub optimal_io_size: Option<u64>,
    /// The unit of addresses, in bytes.
    pub logical_block_size: u32,
    /// A number that the kernel gives to each medium once: another card in the same reader has another one.
    pub diskseq: Option<u64>,
}

impl Device {
    /// Whether it is of a kind that is put in and taken out.
    pub fn is_removable(&self) -> bool {
        match self.bus {
            Bus::Sd | Bus::Usb => true,
            Bus::Emmc | Bus::Virtual | Bus::Loop => false,
            Bus::Nvme | Bus::Sata | Bus::Virtio | Bus::Other => self.removable,
        }
    }

    /// What people call it: `Generic MassStorageClass`, without doubled words; its bus where it has no name.
    pub fn name(&self) -> String {
        let name = match self.model.starts_with(&self.vendor) {
            true => self.model.clone(),
            false => format!("{} {}", self.vendor, self.model),
        };
        match name.trim() {
            "" => format!("{} disk", self.bus),
            name => name.to_owned(),
        }
    }

    /// What tells this very card from others over the years: its CID, else its serial number with its size (a card reader has a
    /// serial number too, and other cards in it may differ in size only).
    pub fn identity(&self) -> Option<String> {
        match (&self.cid, &self.serial) {
            (Some(cid), _) => Some(format!("cid-{cid}")),
            (None, Some(serial)) => Some(format!("serial-{serial}-{}", self.size)),
            (None, None) => None,
        }
    }

    /// `/dev/sdb  SanDisk Ultra  32.0 GB  USB`.
    pub fn line(&self) -> String {
        let mut line = format!("{}  {}  {}  {}", self.path.display(), self.name(), human(self.size), self.bus);
        if let Some(serial) = &self.serial {
            line += &format!("  serial {serial}");
        }
        line
    }
}

/// `bytes` as it is printed on cards: decimal, three digits.
pub fn human(bytes: u64) -> String {
    let (unit, by) = match bytes {
        1_000_000_000_000.. => ("TB", 1e12),
        1_000_000_000.. => ("GB", 1e9),
        1_000_000.. => ("MB", 1e6),
        1_000.. => ("kB", 1e3),
        _ => return format!("{bytes} bytes"),
    };
    let value = bytes as f64 / by;
    match value {
        100.0.. => format!("{value:.0} {unit}"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// Text that a device says about itself, without what would move the cursor, turn the direction of writing round, or hide:
/// it is chosen by whoever made the device, and shown where a person decides what is to be overwritten.
pub fn clean(text: &str) -> String {
    let shown = text.chars().filter(|c| {
        !matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    });
    let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).take(256).collect();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The disks of this machine, with and without a card in them.
///
/// # Errors
/// The kernel does not tell.
pub fn list() -> Result<Vec<Device>> {
    #[cfg(target_os = "linux")]
    return linux::Roots::default().devices();
    #[cfg(target_os = "macos")]
    return macos::devices();
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    Err(Error::usage("devices are known on Linux and macOS only").hint("`--to FILE` writes an image file anywhere"))
}

/// The disk that `path` names, and what was found on the way to it: that `path` is a link, say.
///
/// # Errors
/// It names none: a partition, a file, nothing.
pub fn find(path: &Path) -> Result<(Device, Option<String>)> {
    let shown = path.display();
    let real = std::fs::canonicalize(path).map_err(|e| {
        Error::usage(format!("no such device: {shown} ({e})")).hint("`picloud card list` shows the disks that are there")
    })?;
    let kind = std::fs::metadata(&real)
        .map_err(|e| Error::usage(format!("cannot look at {shown}: {e}")))?
        .file_type();
    let note = (real != path).then(|| format!("{shown} is a link to {}", real.display()));
    // On macOS the raw disk is a character device.
    if kind.is_file() {
        return Err(
            Error::usage(format!("{shown} is a regular file, not a device")).hint(format!("`--to {shown}` writes an image file"))
        );
    }
    let disk = kind.is_block_device() || (cfg!(target_os = "macos") && kind.is_char_device());
    if !disk {
        let what = if kind.is_dir() { "a folder" } else { "no block device" };
        return Err(Error::usage(format!("{shown} is {what}")).hint("name a whole disk such as /dev/sdb or /dev/mmcblk0"));
    }
    let name = real.to_string_lossy().replace("/dev/rdisk", "/dev/disk");
    let devices = list()?;
    if let Some(device) = devices.iter().find(|device| device.path == Path::new(&name)) {
        return Ok((device.clone(), note));
    }
    let base = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let whole = devices.iter().find(|device| device.partitions.contains(&base));
    Err(match whole {
        Some(disk) => Error::usage(format!("{shown} is a partition of {}", disk.path.display()))
            .hint("an image holds the partition table: name the whole disk"),
        None => Error::usage(format!("{shown} is no disk that could be written")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        for (said, shown) in [
            ("SanDisk  ", "SanDisk"),
            ("Ultra\u{202e}BDS\u{202c} Fit", "UltraBDS Fit"),
            ("a\x1b[2Jb", "a [2Jb"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("two\nlines\r\tand  more", "two lines and more"),
            ("\u{2066}\u{2069}", ""),
            ("Größe", "Größe"),
        ] {
            assert_eq!(clean(said), shown, "{said:?}");
        }
    }

    #[test]
    fn sizes_read_as_on_the_card() {
        for (bytes, text) in [
            (512, "512 bytes"),
            (31_914_983_424, "31.9 GB"),
            (256_060_514_304, "256 GB"),
            (2_000_398_934_016, "2.0 TB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn what_is_no_device_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pi3.img");
        std::fs::write(&file, "x").unwrap();
        let link = folder.path().join("card");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (path, says) in [
            (file.clone(), "is a regular file"),
            (link, "is a regular file"),
            (folder.path().to_owned(), "is a folder"),
            (PathBuf::from("/dev/null"), "is no block device"),
            (folder.path().join("none"), "no such device"),
        ] {
            let error = find(&path).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let error = find(&file).unwrap_err();
        assert!(error.diagnostics()[0].hints[0].contains("--to"), "{error:?}");
    }
}
