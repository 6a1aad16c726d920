//! What kind of system a minion is, as far as states must know: its package manager and what starts its services.
//!
//! Read from the grains alone. Whether the tools are really there is for the probes and the steps to find out.

use crate::error::{Error, Result};
use crate::yaml::Value;

/// What installs packages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PackageManager {
    /// dpkg and apt-get: Debian, Raspberry Pi OS, Ubuntu.
    Apt,
    /// pacman: Arch Linux, Arch Linux ARM.
    Pacman,
    /// apk: Alpine.
    Apk,
    /// rpm with dnf, or yum where there is no dnf: Fedora, Rocky, CentOS.
    Dnf,
}

/// What starts services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Init {
    Systemd,
    OpenRc,
    /// Init scripts and run levels.
    SysV,
}

/// The grains of a minion that decide how things are done on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// The grain `os_family`: `Debian`, `Arch`, `Alpine`, `RedHat`, ...; empty where it is not known.
    pub family: String,
    /// The grain `os`: `Debian`, `Raspbian`, `Ubuntu`, `Fedora`, ...
    pub os: String,
    /// The grain `osmajorrelease`; 0 where it is not known (Arch has none).
    pub major: u32,
    /// The grain `oscodename`: `bookworm`; empty where it has none.
    pub codename: String,
    /// The package manager's own name for the processor, the grain `osarch`: `arm64`, `armhf`, `x86_64`, ...
    pub arch: String,
    pub init: Init,
    /// `None` for a family that picloud does not know.
    packages: Option<PackageManager>,
}

impl Platform {
    pub fn of(grains: &Value) -> Platform {
        let text = |key: &str| grains.get(key).and_then(Value::scalar_text).unwrap_or_default();
        let family = text("os_family");
        let packages = match family.as_str() {
            "Debian" => Some(PackageManager::Apt),
            "Arch" => Some(PackageManager::Pacman),
            "Alpine" => Some(PackageManager::Apk),
            "RedHat" => Some(PackageManager::Dnf),
            _ => None,
        };
        let init = match (text("init").as_str(), family.as_str()) {
            ("systemd", _) => Init::Systemd,
            ("openrc" | "openrc-init", _) | (_, "Alpine" | "Gentoo") => Init::OpenRc,
            _ => Init::SysV,
        };
        Platform {
            os: text("os"),
            major: text("osmajorrelease").parse().unwrap_or(0),
            codename: text("oscodename"),
            arch: text("osarch"),
            init,
            packages,
            family,
        }
    }

    /// The package manager.
    ///
    /// # Errors
    /// A family of systems that picloud does not know.
    pub fn packages(&self) -> Result<PackageManager> {
        self.packages.ok_or_else(|| {
            let family = if self.family.is_empty() { "unknown" } else { &self.family };
            Error::state(format!(
                "picloud does not know the package manager of this minion (os_family: {family})"
            ))
            .hint("it knows apt (Debian), pacman (Arch), apk (Alpine) and dnf (RedHat)")
        })
    }

    pub fn is_debian(&self) -> bool {
        self.packages == Some(PackageManager::Apt)
    }

    pub fn is_redhat(&self) -> bool {
        self.packages == Some(PackageManager::Dnf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Key, Map};

    fn platform(grains: &[(&str, &str)]) -> Platform {
        let map: Map = grains.iter().map(|(k, v)| (Key::from(*k), Value::from(*v))).collect();
        Platform::of(&Value::from(map))
    }

    #[test]
    fn families_are_told_apart() {
        use Init::*;
        use PackageManager::*;
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<PackageManager>, Init);
        let table: &[Row] = &[
            (&[("os_family", "Debian"), ("init", "systemd")], Some(Apt), Systemd),
            (&[("os_family", "Debian"), ("init", "sysvinit")], Some(Apt), SysV),
            (&[("os_family", "Arch"), ("init", "systemd")], Some(Pacman), Systemd),
            (&[("os_family", "Alpine"), ("init", "unknown")], Some(Apk), OpenRc),
            (&[("os_family", "RedHat"), ("init", "systemd")], Some(Dnf), Systemd),
            (&[("os_family", "Suse"), ("init", "systemd")], None, Systemd),
            (&[], None, SysV),
        ];
        for (grains, packages, init) in table {
            let platform = platform(grains);
            assert_eq!((platform.packages().ok(), platform.init), (*packages, *init), "{grains:?}");
        }
    }

    #[test]
    fn releases_are_numbers_where_there_are_any() {
        let platform = platform(&[("osmajorrelease", "12"), ("oscodename", "bookworm"), ("osarch", "arm64")]);
        assert_eq!(
            (platform.major, platform.codename.as_str(), platform.arch.as_str()),
            (12, "bookworm", "arm64")
        );
        assert_eq!(
            platform.packages().unwrap_err().to_string(),
            "picloud does not know the package manager of this minion (os_family: unknown)"
        );
    }
}
