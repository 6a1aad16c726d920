//! A root file system that comes as a tar, made into the image of a disk: MBR, a FAT with what is in its `/boot`, and ext4.
//!
//! Arch Linux ARM is published so. Nothing is mounted and root is not needed: the tar is unpacked into a folder, `mke2fs -d` makes the
//! ext4 of it, and what the folder could not hold (owners, modes, devices) is set in the ext4 by `debugfs`. As root it is done in the
//! same way. The same tar and options give the same identifiers, and the image is kept.

mod dots;
mod ext4;
mod staging;

use super::blocks::Part;
use super::event::{Event, Listener};
use crate::error::{Error, Result};
use fatfs::{FatType, FormatVolumeOptions};
use sha2::{Digest, Sha256};
use staging::Staging;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Partitions begin and end at multiples of this, in bytes: the allocation unit of most cards.
const ALIGNMENT: u64 = 4 << 20;

/// The least that a FAT32 is made with, in bytes; smaller ones would be FAT16 by their number of clusters.
const BOOT_AT_LEAST: u64 = 256 << 20;

/// What is left free in the root file system at least, in bytes.
const SLACK: u64 = 512 << 20;

/// Counted up when the same tar would give another image.
const VERSION: u32 = 2;

/// How to lay out the image.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// The image's size in bytes: the card's, as nothing grows the file system at first boot; it is a little less, for whole units of
    /// allocation. Without it there is room for what is in the tar, a quarter more, and 512 MiB.
    pub size: Option<u64>,
    /// The boot partition's, in bytes; 256 MiB or twice what is in it where not said.
    pub boot: Option<u64>,
}

impl Options {
    /// The image's name in the cache; the first half is the same for all images of a tar.
    fn name(&self, sha256: &str) -> String {
        let key = format!("{VERSION} {:?} {:?}", self.size, self.boot);
        format!("{}{}.img", prefix(sha256), short(&format!("{sha256} {key}")))
    }
}

fn prefix(sha256: &str) -> String {
    format!("root-{}-", short(sha256))
}

fn short(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Removes what was made of the same tar for cards of other sizes: there are as many as vendors of cards. Who reads one goes on.
fn tidy(folder: &Path, sha256: &str, kept: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix(sha256)) && name.contains(".img") && entry.path() != kept {
            // A cache: what cannot be removed stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The image that was made of the tar with this SHA-256 before.
pub fn cached(folder: &Path, sha256: &str, options: &Options) -> Option<PathBuf> {
    let path = folder.join(options.name(sha256));
    path.is_file().then_some(path)
}

/// Makes an image of `tar`, and keeps it in `folder`. `sha256` is that of the file that `tar` comes out of: the image is known by it.
///
/// # Errors
/// The tar is damaged, or would write outside of its root; the e2fsprogs are missing; the disk or `options.size` is too small.
pub fn build(
    folder: &Path,
    tar: &mut dyn Read,
    sha256: &str,
    options: &Options,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<PathBuf> {
    let cannot = |e: io::Error| Error::state(format!("cannot build an image in {}: {e}", folder.display()));
    let tools = ext4::Tools::find()?;
    let work = tempfile::Builder::new().prefix(".root-").tempdir_in(folder).map_err(cannot)?;
    let mut staging = Staging::unpack(tar, work.path(), stop)?;
    let disk = Disk::plan(&staging, sha256, options)?;
    disk.fit(&mut staging)?;
    if let Some(free) = super::free_space(folder)
        && free < staging.root_bytes + staging.boot_bytes
    {
        return Err(Error::state(format!(
            "the image takes {} MiB, and the disk of {} has {} MiB free",
            (staging.root_bytes + staging.boot_bytes) >> 20,
            folder.display(),
            free >> 20
        )));
    }
    let path = work.path().join("disk.img");
    let mut image = File::create_new(&path).map_err(cannot)?;
    image.set_len(disk.size).map_err(cannot)?;
    image.write_all(&disk.mbr()).map_err(cannot)?;
    drop(image);
    let mut image = File::options().read(true).write(true).open(&path).map_err(cannot)?;
    disk.boot(&mut image, &staging.boot_folder())
        .map_err(|e| Error::state(format!("cannot make the boot partition: {e}")))?;
    image.sync_data().map_err(cannot)?;
    drop(image);
    if stop.load(Ordering::Relaxed) {
        return Err(Error::state("stopped"));
    }
    tools.make(&path, &disk.root(), &staging)?;
    for note in staging.notes() {
        listener.hear(&Event::Warning {
            card: None,
            message: note,
        });
    }
    let to = folder.join(options.name(sha256));
    std::fs::rename(&path, &to).map_err(cannot)?;
    tidy(folder, sha256, &to);
    Ok(to)
}

/// Where what goes, in bytes, and what it is called.
struct Disk {
    size: u64,
    /// The MBR's.
    id: u32,
    boot_size: u64,
    root_at: u64,
    root_size: u64,
    inodes: u64,
    uuid: [u8; 16],
}

impl Disk {
    fn plan(staging: &Staging, sha256: &str, options: &Options) -> Result<Disk> {
        let up = |bytes: u64| bytes.next_multiple_of(ALIGNMENT);
        let boot_size = up(options.boot.unwrap_or(staging.boot_bytes * 2).max(BOOT_AT_LEAST));
        let root_at = ALIGNMENT + boot_size;
        let least = up(staging.root_bytes + staging.root_bytes / 4 + SLACK);
        let root_size = match options.size {
            None => least,
            Some(size) => size.saturating_sub(root_at) / ALIGNMENT * ALIGNMENT,
        };
        // A MBR counts sectors in 32 bits; what is behind stays unused.
        let root_size = root_size.min((u64::from(u32::MAX) * 512 - root_at) / ALIGNMENT * ALIGNMENT);
        let needed = staging.root_bytes + staging.root_bytes / 10 + (64 << 20);
        if staging.boot_bytes + (8 << 20) > boot_size || root_size < needed {
            return Err(Error::usage(format!(
                "the root file system does not fit: it takes {} MiB, and {} MiB for booting",
                needed >> 20,
                staging.boot_bytes >> 20
            ))
            .hint("take a larger card"));
        }
        let digest = Sha256::digest(format!("picloud {sha256}"));
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        // A UUID of version 8, RFC 9562: made of whatever its maker likes.
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let id = u32::from_le_bytes([digest[16], digest[17], digest[18], digest[19] | 1]);
        let nodes = staging.nodes() as u64;
        Ok(Disk {
            size: root_at + root_size,
            id,
            boot_size,
            root_at,
            root_size,
            inodes: (root_size / 16384).max(nodes + nodes / 4 + 8192),
            uuid,
        })
    }

    /// The name of a partition that the kernel and udev know.
    fn partuuid(&self, number: u32) -> String {
        format!("PARTUUID={:08x}-{number:02}", self.id)
    }

    /// Fits what names partitions: `/etc/fstab`, and `root=` in `cmdline.txt`.
    fn fit(&self, staging: &mut Staging) -> Result<()> {
        let (boot, root) = (self.partuuid(1), self.partuuid(2));
        staging.edit_root("etc/fstab", |text| fstab(text, &boot, &root))?;
        staging.edit_boot("cmdline.txt", |text| cmdline(text, &root))
    }

    fn mbr(&self) -> [u8; 512] {
        let mut mbr = [0; 512];
        mbr[440..444].copy_from_slice(&self.id.to_le_bytes());
        // 0x0c: FAT32 by sector number; 0x83: Linux.
        let partitions = [
            (0x80, 0x0c, ALIGNMENT, self.boot_size),
            (0, 0x83, self.root_at, self.root_size),
        ];
        for (n, (active, kind, start, size)) in partitions.into_iter().enumerate() {
            let entry = &mut mbr[446 + 16 * n..462 + 16 * n];
            entry[0] = active;
            // Cylinders and heads that say "look at the sector number".
            entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
            entry[4] = kind;
            entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
            entry[8..12].copy_from_slice(&((start / 512) as u32).to_le_bytes());
            entry[12..16].copy_from_slice(&((size / 512) as u32).to_le_bytes());
        }
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        mbr
    }

    /// The FAT, with what is in `folder`.
    fn boot(&self, image: &mut File, folder: &Path) -> io::Result<()> {
        let mut part = Part::new(image, ALIGNMENT, self.boot_size);
        let cluster = if self.boot_size < 512 << 20 { 2048 } else { 4096 };
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(cluster)
            .volume_id(self.id)
            .volume_label(*b"BOOT       ");
        fatfs::format_volume(&mut part, options)?;
        part.seek(SeekFrom::Start(0))?;
        let fat = fatfs::FileSystem::new(&mut part, fatfs::FsOptions::new())?;
        copy(folder, &fat.root_dir(), 0)?;
        // Counts the free clusters, so that they are written down when it is closed.
        fat.stats()?;
        fat.unmount()?;
        dots::correct(&mut part)
    }

    fn root(&self) -> ext4::Plan {
        ext4::Plan {
            at: self.root_at,
            size: self.root_size,
            inodes: self.inodes,
            uuid: self.uuid,
        }
    }
}

fn copy<T: fatfs::ReadWriteSeek>(from: &Path, to: &fatfs::Dir<'_, T>, depth: usize) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| io::Error::other(format!("{name:?} cannot be a name on a FAT")))?;
        let explained = |e: io::Error| io::Error::new(e.kind(), format!("{name}: {e}"));
        if entry.file_type()?.is_dir() && depth < 32 {
            copy(&entry.path(), &to.create_dir(name).map_err(explained)?, depth + 1)?;
        } else if entry.file_type()?.is_file() {
            let mut file = to.create_file(name).map_err(explained)?;
            file.truncate()?;
            // Pieces that are a multiple of the cluster.
            let mut writer = io::BufWriter::with_capacity(1 << 20, file);
            io::copy(&mut File::open(entry.path())?, &mut writer).map_err(explained)?;
            writer.flush()?;
        }
    }
    Ok(())
}

/// `text` with lines for `/` and `/boot` that name these partitions.
fn fstab(text: &str, boot: &str, root: &str) -> String {
    let kept = text.lines().filter(|line| {
        let mut fields = line.split_whitespace();
        let comment = line.trim_start().starts_with('#');
        comment
            || !matches!(
                (fields.next(), fields.next()),
                (Some(_), Some("/" | "/boot" | "/boot/firmware"))
            )
    });
    let mut out: String = kept.flat_map(|line| [line, "\n"]).collect();
    out += &format!("{root}  /      ext4  defaults,noatime  0  1\n{boot}  /boot  vfat  defaults          0  2\n");
    out
}

/// The kernel's line with `root=` as it should be.
fn cmdline(text: &str, root: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| match word.starts_with("root=") {
            true => format!("root={root}"),
            false => word.to_owned(),
        })
        .collect();
    words.join(" ") + "\n"
}

#[cfg(test)]
mod tests;
