//! Files in an ext4 partition of a card or an image: read by `ext4-view`, written by `debugfs`; no mount, no root, no device given away.
//!
//! `debugfs` works on a sparse file that holds just what it needs of the file system: superblock, descriptors, bitmaps, the folders on
//! the paths and the parts of inode tables that come into play ([`sparse`]). What differs afterwards, and the blocks that were newly
//! allocated, are copied back: data first, the superblock last. Then the files are read from the card again.

mod plan;
mod sparse;
mod view;

use super::blocks::{Blocks, Part};
use super::change::{Change, names};
use super::layout::ext4::{AT, SIZE, Superblock, incompat, ro_compat};
use super::partition::Partition;
use crate::error::{Error, Result};
use ext4_view::{Ext4, Ext4Error, FileType};
use plan::{Plan, Thing};
use sparse::Sparse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use view::view;

/// The largest file that is read or replaced: 64 MiB. What is read and written here are settings and keys.
const LARGEST: u64 = 64 << 20;

/// What is known of a file without reading it. Links are followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    pub folder: bool,
    /// Bytes.
    pub size: u64,
    /// Permissions, without the type.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
}

/// Reads a file, through symbolic links; `None` where there is none.
///
/// # Errors
/// The file system cannot be read, the path is no file, or it is larger than 64 MiB.
pub fn read(blocks: &mut dyn Blocks, part: &Partition, path: &str) -> Result<Option<Vec<u8>>> {
    names(path)?;
    let mut part = Part::new(blocks, part.start, part.size);
    view(&mut part, |_, _| Ok(()), |fs| there(contents(fs, path))).map_err(|e| failed("read", path, e))
}

/// What a path leads to; `None` where there is nothing.
///
/// # Errors
/// The file system cannot be read.
pub fn stat(blocks: &mut dyn Blocks, part: &Partition, path: &str) -> Result<Option<Stat>> {
    names(path)?;
    let mut part = Part::new(blocks, part.start, part.size);
    view(&mut part, |_, _| Ok(()), |fs| there(fs.metadata(path)))
        .map(|metadata| {
            metadata.map(|metadata| Stat {
                folder: metadata.is_dir(),
                size: metadata.len(),
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
            })
        })
        .map_err(|e| failed("read", path, e))
}

/// The names in a folder, sorted; `None` where there is none.
///
/// # Errors
/// The file system cannot be read, or the path is no folder.
pub fn list(blocks: &mut dyn Blocks, part: &Partition, path: &str) -> Result<Option<Vec<String>>> {
    names(path)?;
    let mut part = Part::new(blocks, part.start, part.size);
    view(&mut part, |_, _| Ok(()), |fs| there(listed(fs, path))).map_err(|e| failed("list", path, e))
}

/// Makes all of the changes, or, when something is wrong with one of them, none. Afterwards they are read back.
///
/// # Errors
/// `debugfs` (of e2fsprogs) is missing; the file system needs its journal replayed, has errors, or features that are not known; a path
/// leads through what is no folder; it is full; the card cannot be written.
pub fn apply(blocks: &mut dyn Blocks, part: &Partition, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let debugfs = find_debugfs().ok_or_else(|| {
        Error::usage("debugfs, which puts files into ext4, was not found")
            .hint("install the package e2fsprogs (macOS: `brew install e2fsprogs`)")
    })?;
    let number = part.number;
    let told = |e: Trouble| failed("change files on", &format!("partition {number}"), e);
    let mut part = Part::new(blocks, part.start, part.size);
    let superblock = writable(&mut part)?;
    let folder = tempfile::Builder::new()
        .prefix("picloud-ext4-")
        .tempdir()
        .map_err(|e| told(e.into()))?;

    // What is planned reads what debugfs will: each block that is looked at is put into the sparse file.
    let mut sparse = Sparse::new(&superblock, folder.path()).map_err(told)?;
    let plan = view(
        &mut part,
        |offset, bytes| sparse.keep(offset, bytes),
        |fs| Ok(Plan::make(fs, changes, folder.path())),
    )
    .map_err(told)??;
    sparse.copy_metadata(&mut part, plan.inodes).map_err(told)?;
    refuse_large_attributes(&debugfs, &sparse, &plan)?;
    run(&debugfs, &sparse, &plan)?;
    sparse.copy_back(&mut part).map_err(told)?;
    verify(&mut part, &plan, superblock.incompat & incompat::EXTENTS != 0)
}

/// The superblock of a file system that may be written.
fn writable(part: &mut Part) -> Result<Superblock> {
    let cannot = |why: String| Error::state(format!("the ext4 file system cannot be changed: {why}"));
    let mut bytes = [0; SIZE];
    part.read_at(AT as u64, &mut bytes)
        .map_err(|e| cannot(format!("its superblock cannot be read: {e}")))?;
    let superblock = Superblock::parse(&bytes).map_err(&cannot)?;
    if let Some(why) = superblock.distrust() {
        let error = cannot(why);
        return Err(match superblock.incompat & incompat::RECOVER {
            0 => error.hint("run `e2fsck -f` on it, or take another image"),
            _ => error.hint("it was in use when the image was taken: mount it once, or run `e2fsck -f` on it"),
        });
    }
    // debugfs keeps neither the quota's counts nor the word with other hosts.
    if superblock.ro_compat & ro_compat::QUOTA != 0 || superblock.incompat & incompat::MMP != 0 {
        return Err(cannot("it has quotas or multiple mount protection".into()));
    }
    match superblock.size() <= part.size() {
        true => Ok(superblock),
        false => Err(cannot(format!(
            "it has {} bytes and its partition only {}",
            superblock.size(),
            part.size()
        ))),
    }
}

/// What went wrong below.
#[derive(Debug)]
enum Trouble {
    Io(std::io::Error),
    View(Ext4Error),
}

impl From<std::io::Error> for Trouble {
    fn from(e: std::io::Error) -> Trouble {
        Trouble::Io(e)
    }
}

impl From<Ext4Error> for Trouble {
    fn from(e: Ext4Error) -> Trouble {
        Trouble::View(e)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Io(e) => e.fmt(f),
            Trouble::View(e) => e.fmt(f),
        }
    }
}

fn failed(what: &str, path: &str, e: Trouble) -> Error {
    Error::state(format!("failed to {what} {path} (ext4): {e}"))
}

/// `None` for what is not there.
fn there<T>(result: Result<T, Ext4Error>) -> Result<Option<T>, Ext4Error> {
    match result {
        Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
        result => result.map(Some),
    }
}

fn contents(fs: &Ext4, path: &str) -> Result<Vec<u8>, Ext4Error> {
    match fs.metadata(path)?.len() > LARGEST {
        true => Err(Ext4Error::FileTooLarge),
        false => fs.read(path),
    }
}

/// The names in a folder, without `.` and `..`.
fn listed(fs: &Ext4, path: &str) -> Result<Vec<String>, Ext4Error> {
    let mut names = Vec::new();
    for entry in fs.read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().display().to_string();
        if !matches!(name.as_str(), "." | "..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Where debugfs is: also where it stands on Debian for root only, and where Homebrew puts it.
fn find_debugfs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [
        "/usr/sbin",
        "/sbin",
        "/opt/homebrew/opt/e2fsprogs/sbin",
        "/usr/local/opt/e2fsprogs/sbin",
    ];
    std::env::split_paths(&path)
        .chain(more.map(PathBuf::from))
        .map(|folder| folder.join("debugfs"))
        .find(|file| file.is_file())
}

/// Runs debugfs on the sparse file with commands from a file; what it printed, and its complaints.
fn debugfs(debugfs: &Path, sparse: &Sparse, write: bool, commands: &str) -> Result<(String, String)> {
    let failed = |e: &dyn std::fmt::Display| Error::state(format!("failed to run {}: {e}", debugfs.display()));
    let file = sparse.path.with_file_name("commands");
    std::fs::write(&file, commands).map_err(|e| failed(&e))?;
    let output = Command::new(debugfs)
        .args(write.then_some("-w"))
        .arg("-f")
        .arg(&file)
        .arg(&sparse.path)
        .env("LC_ALL", "C")
        .env("DEBUGFS_PAGER", "cat")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(&e))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // It exits with 0 whatever happens to a command; what is on its standard error is a complaint, but for the line with its version.
    let complaints = text(&output.stderr);
    let mut complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("debugfs ") && !line.is_empty())
        .collect();
    let status = output.status.to_string();
    if !output.status.success() && complaints.is_empty() {
        complaints.push(&status);
    }
    Ok((text(&output.stdout), complaints.join("; ")))
}

/// debugfs forgets the block of extended attributes of a file that it removes.
fn refuse_large_attributes(program: &Path, sparse: &Sparse, plan: &Plan) -> Result<()> {
    if plan.removed.is_empty() {
        return Ok(());
    }
    let commands: String = plan.removed.iter().map(|path| format!("stat \"{path}\"\n")).collect();
    let (said, complaints) = debugfs(program, sparse, false, &commands)?;
    let acls: Vec<&str> = said
        .lines()
        .filter_map(|line| Some(line.split_once("File ACL: ")?.1.split_whitespace().next().unwrap_or_default()))
        .collect();
    if !complaints.is_empty() || acls.len() != plan.removed.len() {
        return Err(Error::state(format!(
            "debugfs does not see the files to be replaced: {complaints}"
        )));
    }
    match acls.iter().zip(&plan.removed).find(|(acl, _)| **acl != "0") {
        None => Ok(()),
        Some((_, path)) => Err(Error::state(format!(
            "{path} has extended attributes in a block of their own, and cannot be replaced or removed"
        ))),
    }
}

fn run(program: &Path, sparse: &Sparse, plan: &Plan) -> Result<()> {
    let (_, complaints) = debugfs(program, sparse, true, &plan.commands)?;
    match complaints.as_str() {
        "" => Ok(()),
        _ => Err(
            Error::state(format!("debugfs failed to put files into the ext4 file system: {complaints}"))
                .hint("nothing was changed on the card"),
        ),
    }
}

/// Looks at the card: is all there that should be?
fn verify(part: &mut Part, plan: &Plan, extents: bool) -> Result<()> {
    let wrong = view(
        part,
        |_, _| Ok(()),
        |fs| {
            let mut wrong = BTreeSet::new();
            for (path, thing) in &plan.things {
                let metadata = there(fs.symlink_metadata(path.as_str()))?;
                let kind = metadata.as_ref().map(ext4_view::Metadata::file_type);
                let owned = |mode: u16, uid: u32, gid: u32| {
                    metadata
                        .as_ref()
                        .is_some_and(|m| (m.mode(), m.uid(), m.gid()) == (mode, uid, gid))
                };
                let right = match thing {
                    Thing::Nothing => kind.is_none(),
                    Thing::Folder { owner: None } => kind == Some(FileType::Directory),
                    Thing::Folder {
                        owner: Some((mode, uid, gid)),
                    } => kind == Some(FileType::Directory) && owned(*mode, *uid, *gid),
                    Thing::Link { target } => {
                        kind == Some(FileType::Symlink) && fs.read_link(path.as_str())?.as_path() == ext4_view::Path::new(target)
                    }
                    Thing::File { bytes, mode, uid, gid } => {
                        let length = metadata.as_ref().map_or(0, ext4_view::Metadata::len);
                        let same = match fs.read(path.as_str()) {
                            // ext4-view 1.0 cannot read a file of ext2 or ext3 with a hole, which debugfs makes of zeros.
                            Err(Ext4Error::Corrupt(_)) if !extents => length == bytes.len() as u64,
                            found => found? == *bytes,
                        };
                        kind == Some(FileType::Regular) && owned(*mode, *uid, *gid) && same
                    }
                };
                if !right {
                    wrong.insert(path.clone());
                }
            }
            Ok(wrong)
        },
    )
    .map_err(|e| failed("read back", "what was written", e))?;
    match wrong.first() {
        None => Ok(()),
        Some(path) => Err(Error::state(format!("{path} is not what was written when it is read back"))),
    }
}

#[cfg(test)]
mod tests;
