//! What a state reads and what it writes: the currency in which staleness is reckoned.

/// A part of a minion's world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Resource {
    /// One path.
    Path(String),
    /// A path and everything below it.
    Tree(String),
    /// What is installed, and all that an installation may bring: files, units, accounts.
    Packages,
    /// A service.
    Unit(String),
    /// All services' states (`systemctl daemon-reload`, a changed unit file).
    Units,
    /// Users, groups, memberships.
    Accounts,
    Sysctl(String),
    Modules,
    Mounts,
    Crontab(String),
    Listeners,
    /// Anything at all: free-form shell.
    Everything,
}

impl Resource {
    /// Whether a change of `self` can make an observation of `read` stale.
    pub fn meets(&self, read: &Resource) -> bool {
        use Resource::*;
        match (self, read) {
            (Everything, _) | (_, Everything) => true,
            (Path(a), Path(b)) => a == b,
            (Path(a), Tree(b)) => below(a, b),
            (Tree(a), Path(b)) => below(b, a),
            (Tree(a), Tree(b)) => below(a, b) || below(b, a),
            // An installation brings files, units, accounts and listeners; it does not change sysctls, mounts or crontabs.
            (Packages, Packages | Path(_) | Tree(_) | Unit(_) | Units | Accounts | Listeners) => true,
            (Units, Unit(_) | Units) | (Unit(_), Units) => true,
            (Unit(a), Unit(b)) => a.trim_end_matches(".service") == b.trim_end_matches(".service"),
            // What a service does when it starts or stops: listen, and leave a socket or a process id behind.
            (Unit(_) | Units, Listeners) => true,
            (Unit(_) | Units, Path(path) | Tree(path)) => below(path, "/run") || below(path, "/var/run"),
            // Files that are what another kind of probe looks at.
            (Path(path) | Tree(path), other) => configures(path, other),
            (a, b) => a == b,
        }
    }
}

/// Whether the file at `path` decides what an observation of `other` shows.
fn configures(path: &str, other: &Resource) -> bool {
    let any = |folders: &[&str]| folders.iter().any(|folder| below(path, folder) || below(folder, path));
    match other {
        Resource::Unit(_) | Resource::Units => any(&[
            "/etc/systemd",
            "/lib/systemd",
            "/usr/lib/systemd",
            "/run/systemd",
            "/etc/init.d",
        ]),
        Resource::Packages => any(&[
            "/etc/apt",
            "/etc/yum.repos.d",
            "/etc/apk",
            "/etc/pacman.conf",
            "/etc/pacman.d",
        ]),
        Resource::Accounts => any(&["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"]),
        Resource::Mounts => any(&["/etc/fstab"]),
        Resource::Crontab(_) => any(&["/var/spool/cron"]),
        _ => false,
    }
}

/// Whether `path` is `folder` or lies below it.
fn below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::Resource::{self, *};

    #[test]
    fn resources_meet() {
        let path = |p: &str| Path(p.to_owned());
        let tree = |p: &str| Tree(p.to_owned());
        let table: &[(Resource, Resource, bool)] = &[
            (path("/a"), path("/a"), true),
            (path("/a"), path("/ab"), false),
            (path("/a/b"), tree("/a"), true),
            (path("/ab"), tree("/a"), false),
            (tree("/a/b"), tree("/a"), true),
            (path("/etc"), tree("/"), true),
            (Packages, path("/etc/x"), true),
            (Packages, Sysctl("vm.swappiness".into()), false),
            (Unit("cron.service".into()), Unit("cron".into()), true),
            (Everything, Mounts, true),
            (path("/etc/motd"), Packages, false),
            (path("/etc/apt/sources.list"), Packages, true),
            (Accounts, path("/etc/passwd"), false),
            (path("/etc/passwd"), Accounts, true),
            (path("/etc/systemd/system/x.service"), Unit("x".into()), true),
            (tree("/etc"), Mounts, true),
        ];
        for (written, read, expected) in table {
            assert_eq!(written.meets(read), *expected, "{written:?} {read:?}");
        }
    }
}
