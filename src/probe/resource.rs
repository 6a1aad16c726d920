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
    /// Whether a change of one can make an observation of the other stale. Symmetric.
    pub fn meets(&self, other: &Resource) -> bool {
        use Resource::*;
        match (self, other) {
            (Everything, _) | (_, Everything) => true,
            (Path(a), Path(b)) => a == b,
            (Path(a), Tree(b)) | (Tree(b), Path(a)) => below(a, b),
            (Tree(a), Tree(b)) => below(a, b) || below(b, a),
            // An installation brings files, units, accounts and listeners; it does not change sysctls, mounts or crontabs.
            (Packages, Packages | Path(_) | Tree(_) | Unit(_) | Units | Accounts | Listeners) => true,
            (Path(_) | Tree(_) | Unit(_) | Units | Accounts | Listeners, Packages) => true,
            (Units, Unit(_) | Units) | (Unit(_), Units) => true,
            (Unit(a), Unit(b)) => a.trim_end_matches(".service") == b.trim_end_matches(".service"),
            (Unit(_) | Units, Listeners) | (Listeners, Unit(_) | Units) => true,
            (Sysctl(a), Sysctl(b)) | (Crontab(a), Crontab(b)) => a == b,
            (a, b) => a == b,
        }
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
            (Accounts, path("/etc/passwd"), false),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.meets(b), *expected, "{a:?} {b:?}");
            assert_eq!(b.meets(a), *expected, "{b:?} {a:?}");
        }
    }
}
