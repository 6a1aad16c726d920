//! What can be observed on a minion without changing it.
//!
//! States name [`Probe`]s; [`fuse`] makes of all of them, whatever their number, a few [`Section`]s of one batch (one `stat` for
//! all paths, one `dpkg-query` for all packages, ...), and [`Fused::parse`] reads the answers back as [`Fact`]s, which are
//! collected in an [`Observed`]. This room knows neither states nor connections.

mod accounts;
mod candidates;
mod crontab;
mod fuse;
mod grains;
mod listeners;
mod modules;
mod mounts;
mod packages;
mod paths;
mod read;
mod resource;
mod seen;
mod shell;
mod sysctl;
mod tree;
mod units;

#[cfg(test)]
pub(crate) mod real;

pub use fuse::{Fused, fuse};
pub use grains::{grains_section, parse_grains, same_grains};
pub use resource::Resource;
pub use seen::*;

/// A question. Questions of one kind about one thing are asked once; the greater [`Want`] wins.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Probe {
    /// The path itself (a symlink is not followed, and its target is told).
    Path {
        path: String,
        want: Want,
    },
    /// Everything below a folder: kind, owner, mode, size, and a SHA-256 of each regular file where `hashes`.
    Tree {
        path: String,
        hashes: bool,
    },
    /// One package: installed version, hold, and whether it is known at all.
    Package {
        name: String,
    },
    /// The version that the indexes offer (`apt-cache policy`, ...), and the age of the indexes.
    Candidate {
        name: String,
    },
    /// A service: under systemd, OpenRC or sysvinit.
    Unit {
        name: String,
    },
    /// An account by name, with its groups, its hashed password and its expiry.
    User {
        name: String,
    },
    Group {
        name: String,
    },
    /// A kernel setting's live value.
    Sysctl {
        key: String,
    },
    /// A kernel module: loaded, built in, known.
    Module {
        name: String,
    },
    /// `/proc/self/mountinfo`, `/proc/swaps`, as tables.
    Mounts,
    /// A user's crontab as text.
    Crontab {
        user: String,
    },
    /// The TCP and UDP sockets that listen.
    Listeners,
    /// Free-form shell: conditions, and what the other kinds do not cover.
    Shell(ShellProbe),
}

/// How much of a path is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Want {
    /// Kind, owner, mode, size, times, link target.
    Meta,
    /// A digest of the contents too, whichever the minion makes fastest: BLAKE2b where it has `b2sum` (coreutils has, busybox has
    /// not; it takes a third of the time), else SHA-256. For large files.
    Digest,
    /// The SHA-256 of the contents too.
    Sha256,
    /// The contents too (and the SHA-256), up to [`TEXT_LIMIT`].
    Text,
}

/// The largest contents that [`Want::Text`] brings, in bytes.
pub const TEXT_LIMIT: u64 = 1 << 20;

/// A command whose status and output are wanted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ShellProbe {
    /// The command as the user wrote it, or a script of our own.
    pub script: String,
    /// Runs as this user (by `su`/`setpriv`/`sudo -u`, whatever the minion has).
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub env: Vec<(String, String)>,
    /// The shell to run it with; `/bin/sh` where not said.
    pub shell: Option<String>,
    pub umask: Option<String>,
    /// Seconds after which the command is ended (status 124).
    pub timeout: Option<u64>,
    /// What the script looks at, where that is known; empty means everything.
    pub reads: Vec<Resource>,
}

impl Probe {
    pub fn meta(path: impl Into<String>) -> Probe {
        Probe::Path {
            path: path.into(),
            want: Want::Meta,
        }
    }

    pub fn sha256(path: impl Into<String>) -> Probe {
        Probe::Path {
            path: path.into(),
            want: Want::Sha256,
        }
    }

    pub fn text(path: impl Into<String>) -> Probe {
        Probe::Path {
            path: path.into(),
            want: Want::Text,
        }
    }

    /// A script of our own that reads just `reads`.
    pub fn script(script: impl Into<String>, reads: Vec<Resource>) -> Probe {
        Probe::Shell(ShellProbe {
            script: script.into(),
            reads,
            ..ShellProbe::default()
        })
    }

    /// What a change must touch to make this observation stale.
    pub fn reads(&self) -> Vec<Resource> {
        match self {
            Probe::Path { path, .. } => vec![Resource::Path(path.clone())],
            Probe::Tree { path, .. } => vec![Resource::Tree(path.clone())],
            Probe::Package { .. } | Probe::Candidate { .. } => vec![Resource::Packages],
            Probe::Unit { name } => vec![Resource::Unit(name.clone())],
            Probe::User { .. } | Probe::Group { .. } => vec![Resource::Accounts],
            Probe::Sysctl { key } => vec![Resource::Sysctl(key.clone())],
            Probe::Module { .. } => vec![Resource::Modules],
            Probe::Mounts => vec![Resource::Mounts],
            Probe::Crontab { user } => vec![Resource::Crontab(user.clone())],
            Probe::Listeners => vec![Resource::Listeners],
            Probe::Shell(shell) if shell.reads.is_empty() => vec![Resource::Everything],
            Probe::Shell(shell) => shell.reads.clone(),
        }
    }
}
