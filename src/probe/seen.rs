//! What was seen: one type for each kind of probe, and [`Observed`], the collection that a state decides on.

use super::{Probe, ShellProbe, Want};
use crate::error::{Error, Result};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FileKind {
    #[default]
    File,
    Directory,
    Symlink,
    BlockDevice,
    CharDevice,
    Fifo,
    Socket,
}

/// A path as `lstat` and the wanted reads told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathSeen {
    /// `None`: nothing is there.
    pub entry: Option<Entry>,
    /// The session's user may not look at it, or may not read the contents that were wanted: [`Observed::path`] answers an
    /// error instead, so that no state mistakes it for an absent path.
    pub denied: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    pub kind: FileKind,
    /// The permission bits with setuid, setgid and sticky: `0o644`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The owner's name, or the number as text where it has none.
    pub user: String,
    pub group: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// A symlink's target as written in it.
    pub target: Option<String>,
    /// What a symlink leads to in the end; `None` for other kinds, for a dangling link, and in a tree.
    pub leads_to: Option<Box<Target>>,
    /// Lower-case hexadecimal; of a regular file (a symlink's are in `leads_to`); where it was wanted.
    pub sha256: Option<String>,
    /// The 512-bit BLAKE2b, likewise; only where no certain digest was wanted ([`Want::Digest`](super::Want::Digest)), and then it
    /// is there instead of the SHA-256.
    pub blake2: Option<String>,
    /// The contents, where they were wanted and are at most [`TEXT_LIMIT`](super::TEXT_LIMIT) bytes.
    pub contents: Option<Arc<[u8]>>,
}

/// The end of a chain of symlinks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The path without any symlink in it.
    pub path: String,
    pub entry: Entry,
}

/// One entry below a [`Probe::Tree`]'s root; `path` is relative to the root, `""` the root itself (followed where it is a symlink
/// to a folder).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeEntry {
    pub path: String,
    pub entry: Entry,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeSeen {
    /// Sorted by path; empty when the root does not exist.
    pub entries: Vec<TreeEntry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PackageSeen {
    /// `None`: not installed (configuration files that were left behind do not count).
    pub version: Option<String>,
    /// Removed but its configuration is still there (dpkg's `rc`).
    pub config_files: bool,
    /// Held back from upgrades.
    pub held: bool,
    /// A half-done installation that `dpkg --configure -a` would have to finish.
    pub broken: bool,
    /// The installed package that provides this name where none is installed under the name itself (a virtual package).
    pub provided_by: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CandidateSeen {
    /// `None`: the indexes do not know the package.
    pub version: Option<String>,
    /// All versions that the indexes offer, newest first.
    pub versions: Vec<String>,
    /// Seconds since the indexes were refreshed; `None`: never.
    pub index_age: Option<u64>,
}

/// What manages the services of a minion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manager {
    #[default]
    Systemd,
    /// systemd's files without systemd as process 1 (a chroot, a container): services can be enabled, not started.
    SystemdOffline,
    OpenRc,
    /// Init scripts and `/etc/rc?.d`.
    SysV,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnitSeen {
    /// Who answered: what is asked to start and stop it.
    pub manager: Manager,
    /// Whether such a service is known at all.
    pub exists: bool,
    /// The unit's own name where `name` is an alias of it (`ssh.service` for `sshd`); empty when it is not known.
    pub id: String,
    /// What `systemctl is-enabled` says (`enabled`, `static`, `generated`, `masked-runtime`, ...); for the others `enabled` or
    /// `disabled`.
    pub file_state: String,
    /// Enabled at boot; `None` where that has no meaning (`static`, `generated`, `indirect`).
    pub enabled: Option<bool>,
    pub masked: bool,
    /// systemd's ActiveState (`active`, `activating`, `failed`, `inactive`, ...); for the others `active` or `inactive`.
    pub active: String,
    /// systemd's SubState (`running`, `exited`, `dead`, `auto-restart`, ...).
    pub sub: String,
    /// systemd's Type (`simple`, `oneshot`, `forking`, ...); empty elsewhere.
    pub kind: String,
    /// 0 where there is none.
    pub main_pid: u32,
    /// systemd's Result (`success`, `exit-code`, ...).
    pub result: String,
    /// How many times systemd restarted it by itself.
    pub restarts: u32,
    pub can_reload: bool,
    /// RemainAfterExit: a unit of type oneshot that is meant to be `active (exited)`.
    pub remain_after_exit: bool,
    /// The unit file changed on disk since the manager read it.
    pub need_daemon_reload: bool,
    /// The unit was made from an init script (systemd-sysv-generator), or is one.
    pub from_init_script: bool,
    /// The last lines of its journal, only where it failed or is restarting.
    pub journal: String,
}

impl UnitSeen {
    /// Running in the sense of a service that has been started and has not failed.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserSeen {
    /// `None`: no such user.
    pub account: Option<Account>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// The primary group's name.
    pub group: String,
    pub gecos: String,
    pub home: String,
    pub shell: String,
    /// Supplementary groups, sorted; without the primary one unless it is listed too.
    pub groups: Vec<String>,
    /// The second field of `/etc/shadow`; `None` where it could not be read. Secret: never printed.
    pub password: Option<String>,
    /// The fields of `/etc/shadow` from the third on (last change, minimum, maximum, warning, inactive, expiry), as days.
    pub shadow: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupSeen {
    /// `None`: no such group.
    pub gid: Option<u32>,
    /// Sorted.
    pub members: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModuleSeen {
    pub loaded: bool,
    /// Built into the kernel.
    pub builtin: bool,
    /// Whether the minion has the module at all.
    pub available: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    pub source: String,
    pub target: String,
    pub fstype: String,
    /// The mount's own and the file system's options, joined.
    pub options: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swap {
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub used: u64,
    pub priority: i32,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MountsSeen {
    pub mounts: Vec<Mount>,
    pub swaps: Vec<Swap>,
    /// `/etc/fstab` as text.
    pub fstab: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    pub address: std::net::IpAddr,
    pub port: u16,
}

/// What a [`ShellProbe`] answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShellSeen {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl ShellSeen {
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// One observation, or one prediction of what would be observed after a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    Path(String, PathSeen),
    Tree(String, TreeSeen),
    Package(String, PackageSeen),
    Candidate(String, CandidateSeen),
    Unit(String, UnitSeen),
    User(String, UserSeen),
    Group(String, GroupSeen),
    /// `None`: no such key.
    Sysctl(String, Option<String>),
    Module(String, ModuleSeen),
    Mounts(MountsSeen),
    /// `None`: the user has no crontab.
    Crontab(String, Option<String>),
    Listeners(Vec<Listener>),
    Shell(ShellProbe, ShellSeen),
}

impl Fact {
    /// The answer to `probe` where there is nothing of what it asks for; commands succeed and say nothing. For looks at what would be,
    /// without a minion.
    pub fn nothing(probe: &Probe) -> Fact {
        match probe {
            Probe::Path { path, .. } => Fact::Path(path.clone(), PathSeen::default()),
            Probe::Tree { path, .. } => Fact::Tree(path.clone(), TreeSeen::default()),
            Probe::Package { name } => Fact::Package(name.clone(), PackageSeen::default()),
            Probe::Candidate { name } => Fact::Candidate(name.clone(), CandidateSeen::default()),
            Probe::Unit { name } => Fact::Unit(name.clone(), UnitSeen::default()),
            Probe::User { name } => Fact::User(name.clone(), UserSeen::default()),
            Probe::Group { name } => Fact::Group(name.clone(), GroupSeen::default()),
            Probe::Sysctl { key } => Fact::Sysctl(key.clone(), None),
            Probe::Module { name } => Fact::Module(name.clone(), ModuleSeen::default()),
            Probe::Mounts => Fact::Mounts(MountsSeen::default()),
            Probe::Crontab { user } => Fact::Crontab(user.clone(), None),
            Probe::Listeners => Fact::Listeners(Vec::new()),
            Probe::Shell(probe) => Fact::Shell(probe.clone(), ShellSeen::default()),
        }
    }
}

/// All that is known of a minion during a run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    paths: HashMap<String, (Want, PathSeen)>,
    /// Whether the digests were asked for, and what was seen.
    trees: HashMap<String, (bool, TreeSeen)>,
    packages: HashMap<String, PackageSeen>,
    candidates: HashMap<String, CandidateSeen>,
    units: HashMap<String, UnitSeen>,
    users: HashMap<String, UserSeen>,
    groups: HashMap<String, GroupSeen>,
    sysctls: HashMap<String, Option<String>>,
    modules: HashMap<String, ModuleSeen>,
    mounts: Option<MountsSeen>,
    crontabs: HashMap<String, Option<String>>,
    listeners: Option<Vec<Listener>>,
    shells: HashMap<ShellProbe, ShellSeen>,
}

macro_rules! getters {
    ($($name:ident: $field:ident -> $seen:ty, $what:literal;)*) => {$(
        /// What was seen of it. An error when it was never asked: a state must name what it looks at in `probes`.
        pub fn $name(&self, key: &str) -> Result<&$seen> {
            self.$field.get(key).ok_or_else(|| unasked($what, key))
        }
    )*};
}

impl Observed {
    getters! {
        package: packages -> PackageSeen, "package";
        candidate: candidates -> CandidateSeen, "package candidate";
        unit: units -> UnitSeen, "service";
        user: users -> UserSeen, "user";
        group: groups -> GroupSeen, "group";
        module: modules -> ModuleSeen, "kernel module";
    }

    /// What was seen of a path.
    ///
    /// # Errors
    /// It was never asked for, or the session's user may not look at it.
    pub fn path(&self, path: &str) -> Result<&PathSeen> {
        match self.paths.get(path) {
            None => Err(unasked("path", path)),
            Some((_, seen)) if seen.denied => Err(Error::state(format!("no permission to look at {path}"))
                .hint("let picloud become root on this minion: `sudo: true` in the inventory")),
            Some((_, seen)) => Ok(seen),
        }
    }

    /// What was seen of a tree. An error when it was never asked.
    pub fn tree(&self, path: &str) -> Result<&TreeSeen> {
        self.trees
            .get(path)
            .map(|(_, seen)| seen)
            .ok_or_else(|| unasked("tree", path))
    }

    /// What is at `path`, or `None`.
    pub fn entry(&self, path: &str) -> Result<Option<&Entry>> {
        Ok(self.path(path)?.entry.as_ref())
    }

    pub fn sysctl(&self, key: &str) -> Result<Option<&str>> {
        self.sysctls
            .get(key)
            .map(|v| v.as_deref())
            .ok_or_else(|| unasked("sysctl", key))
    }

    pub fn crontab(&self, user: &str) -> Result<Option<&str>> {
        self.crontabs
            .get(user)
            .map(|v| v.as_deref())
            .ok_or_else(|| unasked("crontab", user))
    }

    pub fn mounts(&self) -> Result<&MountsSeen> {
        self.mounts.as_ref().ok_or_else(|| unasked("mounts", ""))
    }

    pub fn listeners(&self) -> Result<&[Listener]> {
        self.listeners.as_deref().ok_or_else(|| unasked("listeners", ""))
    }

    pub fn shell(&self, probe: &ShellProbe) -> Result<&ShellSeen> {
        self.shells.get(probe).ok_or_else(|| unasked("command", &probe.script))
    }

    /// Whether `probe` has been answered, as fully as it asks.
    pub fn has(&self, probe: &Probe) -> bool {
        match probe {
            Probe::Path { path, want } => self.paths.get(path).is_some_and(|(had, _)| had >= want),
            Probe::Tree { path, hashes } => self.trees.get(path).is_some_and(|(had, _)| had >= hashes),
            Probe::Package { name } => self.packages.contains_key(name),
            Probe::Candidate { name } => self.candidates.contains_key(name),
            Probe::Unit { name } => self.units.contains_key(name),
            Probe::User { name } => self.users.contains_key(name),
            Probe::Group { name } => self.groups.contains_key(name),
            Probe::Sysctl { key } => self.sysctls.contains_key(key),
            Probe::Module { name } => self.modules.contains_key(name),
            Probe::Mounts => self.mounts.is_some(),
            Probe::Crontab { user } => self.crontabs.contains_key(user),
            Probe::Listeners => self.listeners.is_some(),
            Probe::Shell(shell) => self.shells.contains_key(shell),
        }
    }

    /// Takes in what `probe` was answered.
    pub fn answer(&mut self, probe: &Probe, fact: Fact) {
        match (probe, fact) {
            (Probe::Path { want, .. }, Fact::Path(path, seen)) => drop(self.paths.insert(path, (*want, seen))),
            (Probe::Tree { hashes, .. }, Fact::Tree(path, seen)) => drop(self.trees.insert(path, (*hashes, seen))),
            (_, fact) => self.insert(fact),
        }
    }

    /// Takes in a prediction, or an observation that was made in full.
    pub fn insert(&mut self, fact: Fact) {
        match fact {
            Fact::Path(path, seen) => drop(self.paths.insert(path, (Want::Text, seen))),
            Fact::Tree(path, seen) => drop(self.trees.insert(path, (true, seen))),
            Fact::Package(name, seen) => drop(self.packages.insert(name, seen)),
            Fact::Candidate(name, seen) => drop(self.candidates.insert(name, seen)),
            Fact::Unit(name, seen) => drop(self.units.insert(name, seen)),
            Fact::User(name, seen) => drop(self.users.insert(name, seen)),
            Fact::Group(name, seen) => drop(self.groups.insert(name, seen)),
            Fact::Sysctl(key, seen) => drop(self.sysctls.insert(key, seen)),
            Fact::Module(name, seen) => drop(self.modules.insert(name, seen)),
            Fact::Mounts(seen) => self.mounts = Some(seen),
            Fact::Crontab(user, seen) => drop(self.crontabs.insert(user, seen)),
            Fact::Listeners(seen) => self.listeners = Some(seen),
            Fact::Shell(probe, seen) => drop(self.shells.insert(probe, seen)),
        }
    }

    /// What is known of what `probes` ask.
    pub fn of(&self, probes: &[Probe]) -> Observed {
        fn copy<K: Clone + Eq + Hash + Borrow<Q>, Q: Eq + Hash + ?Sized, V: Clone>(
            to: &mut HashMap<K, V>,
            from: &HashMap<K, V>,
            key: &Q,
        ) {
            to.extend(from.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())));
        }
        let mut some = Observed::default();
        for probe in probes {
            match probe {
                Probe::Path { path, .. } => copy(&mut some.paths, &self.paths, path.as_str()),
                Probe::Tree { path, .. } => copy(&mut some.trees, &self.trees, path.as_str()),
                Probe::Package { name } => copy(&mut some.packages, &self.packages, name.as_str()),
                Probe::Candidate { name } => copy(&mut some.candidates, &self.candidates, name.as_str()),
                Probe::Unit { name } => copy(&mut some.units, &self.units, name.as_str()),
                Probe::User { name } => copy(&mut some.users, &self.users, name.as_str()),
                Probe::Group { name } => copy(&mut some.groups, &self.groups, name.as_str()),
                Probe::Sysctl { key } => copy(&mut some.sysctls, &self.sysctls, key.as_str()),
                Probe::Module { name } => copy(&mut some.modules, &self.modules, name.as_str()),
                Probe::Mounts => some.mounts.clone_from(&self.mounts),
                Probe::Crontab { user } => copy(&mut some.crontabs, &self.crontabs, user.as_str()),
                Probe::Listeners => some.listeners.clone_from(&self.listeners),
                Probe::Shell(shell) => copy(&mut some.shells, &self.shells, shell),
            }
        }
        some
    }

    /// `self` with `facts` added.
    pub fn with(mut self, facts: impl IntoIterator<Item = Fact>) -> Observed {
        facts.into_iter().for_each(|fact| self.insert(fact));
        self
    }
}

fn unasked(what: &str, key: &str) -> Error {
    Error::state(format!("internal: the {what} {key:?} was decided on but never observed"))
}
