//! A tar unpacked into a folder, without root, and without leaving the folder: what the folder cannot hold is remembered beside it.

use crate::error::{Error, Result};
use crate::flash::decode::told;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tar::EntryType;

/// The most entries that a tar may have: an Arch Linux ARM has 60 thousand.
const ENTRIES: usize = 4_000_000;

/// A path below the root, without slashes at its ends.
pub(super) type Below = Vec<u8>;

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Folder,
    File,
    Symlink,
    Fifo,
    /// `b` or `c`, major, minor.
    Device(char, u32, u32),
}

/// What the tar says of a path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Permissions, with set-uid and the like.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    mtime: i64,
}

pub(super) struct Staging {
    folder: PathBuf,
    /// The root file system, without what is in `/boot`, by path; `""` is the root itself.
    pub(super) root: BTreeMap<Below, Node>,
    boot: BTreeMap<Below, Node>,
    /// Bytes of the root file system, in blocks of 4 KiB.
    pub(super) root_bytes: u64,
    pub(super) boot_bytes: u64,
    xattrs: usize,
    /// Links in `/boot`, which a FAT cannot hold.
    links: Vec<String>,
    odd: Vec<String>,
}

/// A path of the tar as components; `None` for the root.
///
/// # Errors
/// It leaves the root.
fn below(path: &[u8]) -> Result<Below> {
    let shown = || String::from_utf8_lossy(path).into_owned();
    if path.starts_with(b"/") {
        return Err(Error::state(format!("the tar names an absolute path: `{}`", shown())).hint("it is no root file system"));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(
                    Error::state(format!("the tar leaves its root: `{}`", shown())).hint("do not trust where it comes from")
                );
            }
            part => parts.push(part),
        }
    }
    if path.iter().any(|b| matches!(b, 0 | b'\n' | b'\r')) {
        return Err(Error::state(format!(
            "a name in the tar has a line break in it: {:?}",
            shown()
        )));
    }
    Ok(parts.join(&b'/'))
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |at| &path[..at])
}

impl Staging {
    /// Unpacks `tar` into `folder`, which is empty.
    pub(super) fn unpack(tar: &mut dyn Read, folder: &Path, stop: &AtomicBool) -> Result<Staging> {
        let top = |mode| Node {
            kind: Kind::Folder,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        let mut staging = Staging {
            folder: folder.to_owned(),
            root: BTreeMap::from([(Vec::new(), top(0o755))]),
            boot: BTreeMap::from([(Vec::new(), top(0o755))]),
            root_bytes: 0,
            boot_bytes: 0,
            xattrs: 0,
            links: Vec::new(),
            odd: Vec::new(),
        };
        for name in ["root", "boot"] {
            std::fs::create_dir(folder.join(name)).map_err(|e| staging.failed(&e))?;
        }
        let damaged = |e| told(e, "the tar cannot be read to its end");
        let mut archive = tar::Archive::new(tar);
        for (n, entry) in archive.entries().map_err(damaged)?.enumerate() {
            if n > ENTRIES {
                return Err(Error::state("the tar has too many files in it"));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::state("stopped"));
            }
            staging.add(&mut entry.map_err(damaged)?, stop)?;
        }
        // What follows the tar's end is padding; reading it lets a decoder come to its own end, and to its checksums.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
        if staging.root.len() < 2 {
            return Err(Error::state("the tar is empty"));
        }
        staging.settle()?;
        Ok(staging)
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::state(format!("cannot unpack into {}: {error}", self.folder.display()))
    }

    pub(super) fn root_folder(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(super) fn boot_folder(&self) -> PathBuf {
        self.folder.join("boot")
    }

    pub(super) fn nodes(&self) -> usize {
        self.root.len()
    }

    fn add(&mut self, entry: &mut tar::Entry<'_, &mut dyn Read>, stop: &AtomicBool) -> Result<()> {
        let damaged = |e| told(e, "the tar cannot be read to its end");
        let whole = below(&entry.path_bytes())?;
        if let Some(extensions) = entry.pax_extensions().map_err(damaged)? {
            let xattr = |key: &[u8]| key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.");
            self.xattrs += extensions.flatten().filter(|e| xattr(e.key_bytes())).count();
        }
        let header = entry.header();
        let number = |n: io::Result<u64>| {
            n.map_err(damaged)
                .and_then(|n| u32::try_from(n).map_err(|_| Error::state("an owner in the tar is out of range")))
        };
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => return self.link(whole, entry),
            EntryType::Symlink => Kind::Symlink,
            EntryType::Directory => Kind::Folder,
            EntryType::Fifo => Kind::Fifo,
            kind @ (EntryType::Char | EntryType::Block) => Kind::Device(
                if kind == EntryType::Char { 'c' } else { 'b' },
                header.device_major().map_err(damaged)?.unwrap_or(0),
                header.device_minor().map_err(damaged)?.unwrap_or(0),
            ),
            EntryType::XGlobalHeader => return Ok(()),
            _ => {
                self.odd.push(String::from_utf8_lossy(&whole).into_owned());
                return Ok(());
            }
        };
        let node = Node {
            kind,
            mode: header.mode().map_err(damaged)? & 0o7777,
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            mtime: header.mtime().map_err(damaged)?.cast_signed(),
        };
        let (boot, path) = split(whole);
        if boot && kind == Kind::Symlink {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            self.links.push(format!(
                "/boot/{} -> {}",
                String::from_utf8_lossy(&path),
                String::from_utf8_lossy(&target)
            ));
            return Ok(());
        }
        let disk = self.place(boot, &path, &node)?;
        match kind {
            Kind::Folder => match std::fs::create_dir(&disk) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(|e| self.failed(&e))?,
            },
            Kind::File => {
                let mut file = File::create_new(&disk).map_err(|e| self.failed(&e))?;
                let bytes = self.fill(entry, &mut file, stop)?;
                self.count(boot, bytes);
            }
            Kind::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                std::os::unix::fs::symlink(OsStr::from_bytes(&target), &disk).map_err(|e| self.failed(&e))?;
            }
            // Made in the ext4 itself: here it would need root.
            Kind::Fifo | Kind::Device(..) => {}
        }
        self.tree(boot).insert(path, node);
        Ok(())
    }

    fn tree(&mut self, boot: bool) -> &mut BTreeMap<Below, Node> {
        if boot { &mut self.boot } else { &mut self.root }
    }

    fn count(&mut self, boot: bool, bytes: u64) {
        let blocks = bytes.next_multiple_of(4096);
        *(if boot { &mut self.boot_bytes } else { &mut self.root_bytes }) += blocks;
    }

    fn disk(&self, boot: bool, path: &[u8]) -> PathBuf {
        self.folder
            .join(if boot { "boot" } else { "root" })
            .join(OsStr::from_bytes(path))
    }

    /// Where `path` is to be made: its folders are there, are folders of ours, and nothing is in its way.
    fn place(&mut self, boot: bool, path: &[u8], node: &Node) -> Result<PathBuf> {
        let mut missing = Vec::new();
        let mut at = parent(path);
        loop {
            match self.tree(boot).get(at) {
                Some(Node { kind: Kind::Folder, .. }) => break,
                Some(_) => {
                    return Err(Error::state(format!(
                        "the tar puts `{}` below `{}`, which is no folder",
                        String::from_utf8_lossy(path),
                        String::from_utf8_lossy(at)
                    ))
                    .hint("do not trust where it comes from"));
                }
                None => missing.push(at.to_owned()),
            }
            at = parent(at);
        }
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(self.disk(boot, &folder)).map_err(|e| self.failed(&e))?;
            let made = Node {
                kind: Kind::Folder,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime: node.mtime,
            };
            self.tree(boot).insert(folder, made);
        }
        let disk = self.disk(boot, path);
        match self.tree(boot).get(path).map(|before| before.kind) {
            None => {}
            Some(Kind::Folder) if node.kind == Kind::Folder => {}
            Some(Kind::Folder) => {
                return Err(Error::state(format!(
                    "`{}` is in the tar twice: as a folder, and as something else",
                    String::from_utf8_lossy(path)
                )));
            }
            // The later one counts, as when a tar is unpacked.
            Some(Kind::File | Kind::Symlink) => std::fs::remove_file(&disk).map_err(|e| self.failed(&e))?,
            Some(Kind::Fifo | Kind::Device(..)) => {}
        }
        Ok(disk)
    }

    fn fill(&self, from: &mut dyn Read, file: &mut File, stop: &AtomicBool) -> Result<u64> {
        let mut piece = vec![0; 256 << 10];
        let mut bytes = 0;
        loop {
            let read = from
                .read(&mut piece)
                .map_err(|e| told(e, "the tar cannot be read to its end"))?;
            if read == 0 {
                return Ok(bytes);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::state("stopped"));
            }
            file.write_all(&piece[..read]).map_err(|e| self.failed(&e))?;
            bytes += read as u64;
        }
    }

    fn link(&mut self, whole: Below, entry: &tar::Entry<'_, &mut dyn Read>) -> Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let (target_boot, target) = split(below(&target)?);
        let (boot, path) = split(whole);
        let Some(node) = self
            .tree(target_boot)
            .get(&target)
            .cloned()
            .filter(|node| matches!(node.kind, Kind::File | Kind::Symlink))
        else {
            return Err(Error::state(format!(
                "the tar has a link `{}` to `{}`, which is no file before it",
                String::from_utf8_lossy(&path),
                String::from_utf8_lossy(&target)
            )));
        };
        if (boot, &path) == (target_boot, &target) {
            return Ok(());
        }
        let disk = self.place(boot, &path, &node)?;
        let from = self.disk(target_boot, &target);
        if boot || target_boot {
            // A FAT has no hard links, and none goes from one file system to another.
            let bytes = std::fs::copy(&from, &disk).map_err(|e| self.failed(&e))?;
            self.count(boot, bytes);
        } else {
            std::fs::hard_link(&from, &disk).map_err(|e| self.failed(&e))?;
        }
        self.tree(boot).insert(path, node);
        Ok(())
    }

    /// Gives files and folders the modes and times that the user may give them; folders last, as their times change with what is in them.
    fn settle(&mut self) -> Result<()> {
        if self.boot.len() > 1 && !self.root.contains_key(&b"boot"[..]) {
            // Where the boot partition will be mounted.
            std::fs::create_dir(self.disk(false, b"boot")).map_err(|e| self.failed(&e))?;
            let node = self.boot[&b""[..]].clone();
            self.root.insert(b"boot".to_vec(), node);
        }
        self.root_bytes += self.root.values().filter(|node| node.kind == Kind::Folder).count() as u64 * 4096;
        for (path, node) in self.root.iter().rev() {
            let disk = self.disk(false, path);
            let readable = match node.kind {
                Kind::File => 0o400,
                Kind::Folder => 0o700,
                Kind::Symlink => 0,
                Kind::Fifo | Kind::Device(..) => continue,
            };
            if node.kind != Kind::Symlink {
                let mode = node.mode & 0o777 | readable;
                std::fs::set_permissions(&disk, Permissions::from_mode(mode)).map_err(|e| self.failed(&e))?;
            }
            let time = Timespec {
                tv_sec: node.mtime,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, &disk, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.failed(&e.into()))?;
        }
        Ok(())
    }

    /// Changes a text file of the root file system, if it is there.
    pub(super) fn edit_root(&mut self, path: &str, change: impl Fn(&str) -> String) -> Result<()> {
        match self.root.get(path.as_bytes()) {
            Some(Node { kind: Kind::File, .. }) => self.edit(&self.disk(false, path.as_bytes()), change),
            _ => Ok(()),
        }
    }

    /// Changes a text file of the boot partition, if it is there.
    pub(super) fn edit_boot(&mut self, path: &str, change: impl Fn(&str) -> String) -> Result<()> {
        match self.boot.get(path.as_bytes()) {
            Some(Node { kind: Kind::File, .. }) => self.edit(&self.disk(true, path.as_bytes()), change),
            _ => Ok(()),
        }
    }

    fn edit(&self, disk: &Path, change: impl Fn(&str) -> String) -> Result<()> {
        let edit = || -> io::Result<()> {
            let mode = std::fs::metadata(disk)?.permissions();
            let text = std::fs::read(disk)?;
            std::fs::set_permissions(disk, Permissions::from_mode(0o600))?;
            std::fs::write(disk, change(&String::from_utf8_lossy(&text)))?;
            std::fs::set_permissions(disk, mode)
        };
        edit().map_err(|e| self.failed(&e))
    }

    /// What the image has not, for the user.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.xattrs > 0 {
            let n = self.xattrs;
            notes.push(format!(
                "{n} extended attributes of the tar are not in the image, such as capabilities of programs"
            ));
        }
        let some = |all: &[String]| all.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        if !self.links.is_empty() {
            notes.push(format!("a FAT cannot hold these links: {}", some(&self.links)));
        }
        if !self.odd.is_empty() {
            notes.push(format!("of an unknown kind, and not in the image: {}", some(&self.odd)));
        }
        notes
    }
}

/// Whether `path` is in `/boot`, and its place there or in the root.
fn split(path: Below) -> (bool, Below) {
    match path.strip_prefix(b"boot/") {
        Some(inside) => (true, inside.to_vec()),
        None => (false, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for (path, expected) in [
            ("./", Some("")),
            ("./etc/passwd", Some("etc/passwd")),
            ("usr//lib/", Some("usr/lib")),
            ("/etc", None),
            ("a/../b", None),
            ("..", None),
            ("a\nb", None),
        ] {
            let found = below(path.as_bytes()).ok();
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
