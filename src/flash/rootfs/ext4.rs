//! An ext4 of a folder by `mke2fs -d`, and by `debugfs` what the folder could not hold.

use super::staging::{Kind, Staging};
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Named one by one, so that neither the version of the e2fsprogs nor this machine's `mke2fs.conf` decides: newer ones have features
/// that a board's boot loader cannot read (`metadata_csum_seed`, `orphan_file`).
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Folders that hold the tools but are not in a user's PATH.
const FOLDERS: [&str; 5] = [
    "/usr/sbin",
    "/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/e2fsprogs/sbin",
    "/usr/local/opt/e2fsprogs/sbin",
];

pub(super) struct Tools {
    mke2fs: PathBuf,
    debugfs: PathBuf,
    e2fsck: PathBuf,
}

/// Where the ext4 goes in the image, in bytes, and what it is.
pub(super) struct Plan {
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) inodes: u64,
    pub(super) uuid: [u8; 16],
}

fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    let mut found = folders.map(|folder| folder.join(name)).filter(|file| file.is_file());
    found.next().ok_or_else(|| {
        Error::usage(format!("`{name}` is missing, which makes an image of a root file system"))
            .hint("install e2fsprogs (with Homebrew on macOS)")
    })
}

impl Tools {
    pub(super) fn find() -> Result<Tools> {
        Ok(Tools {
            mke2fs: tool("mke2fs")?,
            debugfs: tool("debugfs")?,
            e2fsck: tool("e2fsck")?,
        })
    }

    /// Makes the ext4 in `image`, and looks whether it is sound.
    pub(super) fn make(&self, image: &Path, plan: &Plan, staging: &Staging) -> Result<()> {
        let hex: String = plan.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        );
        let mut command = Command::new(&self.mke2fs);
        command
            .env("MKE2FS_CONFIG", "/dev/null")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1", "-L", "root"])
            .args(["-O", FEATURES])
            // Not in proportion to the card: all of the journal is written, though there is nothing in it.
            .args(["-J", "size=64"])
            .args(["-U", &uuid])
            .args(["-N", &plan.inodes.to_string()])
            .arg("-E")
            .arg(format!(
                "offset={},root_owner=0:0,hash_seed={uuid},nodiscard,lazy_itable_init=1",
                plan.at
            ))
            .arg("-d")
            .arg(staging.root_folder())
            .arg(image)
            .arg((plan.size / 4096).to_string());
        let output = run(&mut command)?;
        if !output.status.success() {
            return Err(failed("mke2fs", &output));
        }

        let script = script(staging)?;
        let inside = format!("{}?offset={}", image.display(), plan.at);
        if !script.is_empty() {
            let cannot = |e: std::io::Error| Error::state(format!("cannot write a script for debugfs: {e}"));
            let mut file = tempfile::NamedTempFile::new().map_err(cannot)?;
            file.write_all(&script).map_err(cannot)?;
            let output = run(Command::new(&self.debugfs).args(["-w", "-f"]).arg(file.path()).arg(&inside))?;
            // It goes on behind a command that failed, and is content in the end: what it complains of is all there is.
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complains = complaint
                .lines()
                .any(|line| !line.starts_with("debugfs ") && !line.trim().is_empty());
            if !output.status.success() || complains {
                return Err(failed("debugfs", &output));
            }
        }
        let output = run(Command::new(&self.e2fsck).args(["-f", "-n"]).arg(&inside))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed("e2fsck", &output)),
        }
    }
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| Error::state(format!("cannot run {name}: {e}")))
}

fn failed(name: &str, output: &Output) -> Error {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join("; ");
    Error::state(format!("{name} could not make the root file system: {last}"))
}

/// A path as an argument of `debugfs`: in double quotes, of which those inside are doubled.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut out = b"\"/".to_vec();
    for byte in path {
        match byte {
            b'"' => out.extend(b"\"\""),
            other => out.push(*other),
        }
    }
    out.push(b'"');
    out
}

/// The commands that set what `staging`'s folder does not have.
fn script(staging: &Staging) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    for (path, node) in &staging.root {
        let disk = staging
            .root_folder()
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
        let name = quoted(path);
        // The bits of `st_mode` that say what it is.
        let kind = match node.kind {
            Kind::Folder => 0o040_000,
            Kind::File => 0o100_000,
            Kind::Symlink => 0o120_000,
            Kind::Fifo => 0o010_000,
            Kind::Device('c', ..) => 0o020_000,
            Kind::Device(..) => 0o060_000,
        };
        let made = match node.kind {
            Kind::Fifo | Kind::Device(..) => {
                let mut how = String::new();
                let _ = match node.kind {
                    Kind::Device(kind, major, minor) => write!(how, "{kind} {major} {minor}"),
                    _ => write!(how, "p"),
                };
                let at = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
                let last = quoted(&path[at..]);
                script.extend(b"cd ");
                script.extend(quoted(&path[..at.saturating_sub(1)]));
                script.extend(b"\nmknod \"");
                // Without the slash that a path begins with.
                script.extend(&last[2..]);
                script.extend(format!(" {how}\ncd /\n").bytes());
                None
            }
            // The root of an ext4 is mke2fs's own.
            _ if path.is_empty() => None,
            _ => {
                let metadata = disk.symlink_metadata();
                let metadata = metadata.map_err(|e| Error::state(format!("cannot read {}: {e}", disk.display())))?;
                Some((metadata.mode(), metadata.uid(), metadata.gid()))
            }
        };
        let mut set = |field: &str, value: String| {
            script.extend(b"sif ");
            script.extend(&name);
            script.extend(format!(" {field} {value}\n").bytes());
        };
        let mode = if node.kind == Kind::Symlink { 0o777 } else { node.mode };
        if made.is_none_or(|(before, ..)| before != kind | mode) {
            set("mode", format!("0{:o}", kind | mode));
        }
        if made.is_none_or(|(_, uid, _)| uid != node.uid) {
            set("uid", node.uid.to_string());
        }
        if made.is_none_or(|(_, _, gid)| gid != node.gid) {
            set("gid", node.gid.to_string());
        }
    }
    Ok(script)
}
