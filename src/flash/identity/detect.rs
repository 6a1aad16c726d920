//! How the system of an image is told who it is: seen in the image itself, rather than believed of its name. Most nodes that never
//! come up after a flash were told in a way that their system does not listen to.

use super::files::{Files, Volumes, text};
use crate::error::{Error, Result};
use crate::inventory::FirstBoot;
use std::fmt;

/// Where a method's files are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The FAT partition that is booted from.
    Boot,
    /// The root file system.
    Root,
}

/// Whose cloud-init.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// As upstream describes it: Ubuntu, Debian.
    Standard,
    /// Raspberry Pi OS: sshd is off, and a service of its own makes host keys.
    RaspberryPi,
    /// HypriotOS: 0.7.9 of 2016.
    Hypriot,
}

/// How one image is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    CloudInit { place: Place, dialect: Dialect },
    Firstrun,
    RpiPreseed,
    Dietpi { place: Place },
    Armbian,
    Arch,
    None,
}

impl Method {
    /// The name by which the inventory and the catalogue know it.
    pub fn first_boot(self) -> FirstBoot {
        match self {
            Method::CloudInit { .. } => FirstBoot::CloudInit,
            Method::Firstrun => FirstBoot::Firstrun,
            Method::RpiPreseed => FirstBoot::RpiPreseed,
            Method::Dietpi { .. } => FirstBoot::Dietpi,
            Method::Armbian => FirstBoot::Armbian,
            Method::Arch => FirstBoot::Arch,
            Method::None => FirstBoot::None,
        }
    }

    /// Whether changes go into the ext4 root file system.
    pub fn needs_root(self) -> bool {
        match self {
            Method::CloudInit { place, .. } | Method::Dietpi { place } => place == Place::Root,
            Method::Armbian | Method::Arch => true,
            Method::Firstrun | Method::RpiPreseed | Method::None => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = match self {
            Method::CloudInit { place: Place::Root, .. } => " (seed in the root file system)",
            Method::CloudInit {
                dialect: Dialect::RaspberryPi,
                ..
            } => " (Raspberry Pi OS)",
            Method::CloudInit {
                dialect: Dialect::Hypriot,
                ..
            } => " (HypriotOS)",
            _ => "",
        };
        write!(f, "{}{more}", self.first_boot())
    }
}

/// A method and what was seen that speaks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detected {
    pub method: Method,
    pub seen: String,
}

/// Who says which method it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// The user: on the command line or in the inventory. Holds, if what it needs is there.
    User(FirstBoot),
    /// The catalogue of images. What the image shows counts more.
    Catalogue(FirstBoot),
}

/// What is looked at, for the message that nothing was found.
const LOOKED_FOR: &str = "on the boot partition: dietpi.txt, rpi-preseed.toml, user-data, issue.txt of Raspberry Pi OS; \
in the root file system: /boot/dietpi.txt, /usr/bin/rpi-preseed, /etc/armbian-release, /usr/bin/cloud-init with /etc/cloud, \
/usr/lib/raspberrypi-sys-mods/imager_custom, /etc/arch-release";

/// The release of an image of Raspberry Pi's own builds: `issue.txt` says "Raspberry Pi reference 2024-11-19".
pub(super) fn reference(boot: &dyn Files) -> Option<String> {
    let issue = text(boot, "/issue.txt")?;
    let date = issue
        .lines()
        .find_map(|line| line.trim().strip_prefix("Raspberry Pi reference "))?
        .trim()
        .to_owned();
    (date.len() == 10 && date.chars().all(|c| c.is_ascii_digit() || c == '-')).then_some(date)
}

fn has_cloud_init(root: &dyn Files) -> bool {
    root.exists("/usr/bin/cloud-init") && root.exists("/etc/cloud")
}

fn os_release(volumes: Volumes) -> String {
    let release = text(volumes.root, "/etc/os-release").or_else(|| text(volumes.root, "/usr/lib/os-release"));
    // HypriotOS keeps a copy on its boot partition.
    release.or_else(|| text(volumes.boot, "/os-release")).unwrap_or_default()
}

fn is_arch(volumes: Volumes) -> bool {
    let release = os_release(volumes);
    let says = |line: &str| matches!(line.replace('"', "").as_str(), "ID=archarm" | "ID=arch" | "ID_LIKE=arch");
    volumes.root.exists("/etc/arch-release") || release.lines().any(says)
}

fn dialect(volumes: Volumes) -> Dialect {
    let hypriot = os_release(volumes).contains("HYPRIOT")
        || text(volumes.boot, "/user-data").is_some_and(|text| text.to_lowercase().contains("hypriot"));
    let root = volumes.root;
    let of_pi = reference(volumes.boot).is_some()
        || root.exists("/etc/rpi-issue")
        || root.exists("/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg")
        || root.exists("/usr/lib/raspberrypi-sys-mods/regenerate_ssh_host_keys");
    match (hypriot, of_pi) {
        (true, _) => Dialect::Hypriot,
        (false, true) => Dialect::RaspberryPi,
        (false, false) => Dialect::Standard,
    }
}

fn cloud_init(volumes: Volumes) -> Option<(Method, String)> {
    let dialect = dialect(volumes);
    let seed = text(volumes.root, "/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg").is_some_and(|text| text.contains("seedfrom"));
    let on_boot = ["/user-data", "/meta-data"]
        .into_iter()
        .find(|path| volumes.boot.exists(path));
    match (on_boot, seed, has_cloud_init(volumes.root)) {
        (Some(path), ..) => Some((
            Method::CloudInit {
                place: Place::Boot,
                dialect,
            },
            format!("{} on the boot partition", &path[1..]),
        )),
        (None, true, _) => Some((
            Method::CloudInit {
                place: Place::Boot,
                dialect: Dialect::RaspberryPi,
            },
            "/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg".to_owned(),
        )),
        (None, false, true) => Some((
            Method::CloudInit {
                place: Place::Root,
                dialect,
            },
            "/usr/bin/cloud-init".to_owned(),
        )),
        (None, false, false) => None,
    }
}

/// What the image shows of `method`; nothing where its system does not know it.
fn shows(method: FirstBoot, volumes: Volumes) -> Option<(Method, String)> {
    let Volumes { boot, root } = volumes;
    let seen = |files: &dyn Files, paths: &[&'static str]| paths.iter().copied().find(|path| files.exists(path));
    match method {
        FirstBoot::Dietpi => match (boot.exists("/dietpi.txt"), root.exists("/boot/dietpi.txt")) {
            (true, _) => Some((
                Method::Dietpi { place: Place::Boot },
                "dietpi.txt on the boot partition".to_owned(),
            )),
            (false, true) => Some((Method::Dietpi { place: Place::Root }, "/boot/dietpi.txt".to_owned())),
            (false, false) => None,
        },
        FirstBoot::RpiPreseed => {
            let on_boot = seen(boot, &["/rpi-preseed.toml"]).map(|path| format!("{} on the boot partition", &path[1..]));
            let found = on_boot.or_else(|| {
                seen(
                    root,
                    &["/usr/bin/rpi-preseed", "/usr/sbin/rpi-preseed", "/usr/lib/rpi-preseed"],
                )
                .map(str::to_owned)
            });
            found.map(|seen| (Method::RpiPreseed, seen))
        }
        FirstBoot::Armbian => {
            seen(root, &["/etc/armbian-release", "/usr/lib/armbian"]).map(|path| (Method::Armbian, path.to_owned()))
        }
        FirstBoot::CloudInit => cloud_init(volumes),
        FirstBoot::Firstrun => {
            let found = seen(root, &["/usr/lib/raspberrypi-sys-mods/imager_custom"]).map(str::to_owned);
            found
                .or_else(|| reference(boot).map(|date| format!("issue.txt of {date} on the boot partition")))
                .filter(|_| super::boot::cmdline_file(boot).is_some())
                .map(|seen| (Method::Firstrun, seen))
        }
        FirstBoot::Arch => is_arch(volumes).then(|| (Method::Arch, "the os-release of Arch Linux".to_owned())),
        FirstBoot::None => None,
    }
}

/// In this order: what is more particular stands before what it is built on. DietPi and Armbian have parts of others in them, and
/// Raspberry Pi OS with cloud-init still has the scripts of before.
const ORDER: [FirstBoot; 6] = [
    FirstBoot::Dietpi,
    FirstBoot::RpiPreseed,
    FirstBoot::Armbian,
    FirstBoot::CloudInit,
    FirstBoot::Firstrun,
    FirstBoot::Arch,
];

/// How the image is told, by what is in it.
///
/// # Errors
/// Nothing was recognised: says what was looked for.
pub fn detect(volumes: Volumes) -> Result<Detected> {
    let found = ORDER.into_iter().find_map(|method| shows(method, volumes));
    found.map(|(method, seen)| Detected { method, seen }).ok_or_else(|| {
        Error::usage("the image shows no way in which its system could be told at its first boot which minion it is")
            .hint(format!("looked for: {LOOKED_FOR}"))
            .hint("`first_boot:` or `--first-boot` names a method; `none` writes the image as it is")
    })
}

/// What can be done with `method` where the image shows no sign of it: the files that it needs are there all the same.
fn possible(method: FirstBoot, volumes: Volumes) -> Result<Method, &'static str> {
    let Volumes { boot, root } = volumes;
    let has_boot = !boot.list("/").is_empty();
    let has_accounts = root.exists("/etc/passwd") && root.exists("/etc/shadow");
    let or = |good: bool, method, missing| if good { Ok(method) } else { Err(missing) };
    match method {
        FirstBoot::CloudInit if has_boot => Ok(Method::CloudInit {
            place: Place::Boot,
            dialect: dialect(volumes),
        }),
        FirstBoot::CloudInit => or(
            root.exists("/etc"),
            Method::CloudInit {
                place: Place::Root,
                dialect: dialect(volumes),
            },
            "neither a FAT partition to boot from nor a root file system that can be read",
        ),
        FirstBoot::Firstrun => or(
            super::boot::cmdline_file(boot).is_some(),
            Method::Firstrun,
            "no cmdline.txt on a boot partition",
        ),
        FirstBoot::RpiPreseed => or(has_boot, Method::RpiPreseed, "no FAT partition to boot from"),
        FirstBoot::Dietpi => Err("no dietpi.txt"),
        FirstBoot::Armbian => or(
            has_accounts,
            Method::Armbian,
            "no root file system with /etc/passwd and /etc/shadow",
        ),
        FirstBoot::Arch => or(
            has_accounts,
            Method::Arch,
            "no root file system with /etc/passwd and /etc/shadow",
        ),
        FirstBoot::None => Ok(Method::None),
    }
}

/// The method for an image, and what the user should know about the choice.
///
/// # Errors
/// None was named and none recognised; the named one cannot be, for want of the files that it needs.
pub fn choose(named: Option<Named>, volumes: Volumes) -> Result<(Detected, Option<String>)> {
    let detected = detect(volumes);
    let (name, by_user) = match named {
        None => return Ok((detected?, None)),
        Some(Named::User(FirstBoot::None)) => {
            let seen = "named by the user".to_owned();
            return Ok((
                Detected {
                    method: Method::None,
                    seen,
                },
                None,
            ));
        }
        Some(Named::User(name)) => (name, true),
        Some(Named::Catalogue(name)) => (name, false),
    };
    if let Some((method, seen)) = shows(name, volumes) {
        let found = Detected { method, seen };
        let note = match &detected {
            Ok(other) if other.method != method => Some(format!(
                "the image is told by {method}, as was said; it shows {} too ({})",
                other.method, other.seen
            )),
            _ => None,
        };
        return Ok((found, note));
    }
    match (detected, by_user) {
        (Ok(other), false) => {
            let note = format!(
                "the catalogue says {name}, but the image shows {} ({}), which is used",
                other.method, other.seen
            );
            Ok((other, Some(note)))
        }
        (Err(error), false) => Err(error.hint(format!("the catalogue says {name}"))),
        (detected, true) => match possible(name, volumes) {
            Ok(method) => {
                let other = detected.map_or_else(
                    |_| "nothing that is known".to_owned(),
                    |other| format!("{} ({})", other.method, other.seen),
                );
                let found = Detected {
                    method,
                    seen: "named by the user".to_owned(),
                };
                Ok((found, Some(format!("{name} was named, but the image shows {other}"))))
            }
            Err(missing) => Err(
                Error::usage(format!("the image cannot be told by {name}: it has {missing}")).hint(match detected {
                    Ok(other) => format!("it shows {} ({})", other.method, other.seen),
                    Err(_) => format!("looked for: {LOOKED_FOR}"),
                }),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::table::files;
    use super::*;

    type Table<'a> = &'a [(&'a str, &'a str)];

    const BOOKWORM: Table = &[
        ("/cmdline.txt", "x\n"),
        ("/issue.txt", "Raspberry Pi reference 2024-11-19\nGenerated using pi-gen\n"),
    ];
    const PI: Table = &[("/usr/lib/raspberrypi-sys-mods/imager_custom", ""), ("/etc/rpi-issue", "")];
    const CLOUD: Table = &[("/usr/bin/cloud-init", ""), ("/etc/cloud/cloud.cfg", "")];
    const ACCOUNTS: Table = &[("/etc/passwd", ""), ("/etc/shadow", "")];

    fn with(tables: &[Table]) -> std::collections::BTreeMap<String, Vec<u8>> {
        files(tables.iter().flat_map(|table| table.iter().copied()))
    }

    #[test]
    fn images_are_recognised_by_what_is_in_them() {
        let hypriot: Table = &[
            ("/user-data", "#cloud-config\n# HypriotOS\n"),
            ("/meta-data", ""),
            ("/cmdline.txt", ""),
        ];
        for (boot, root, expected) in [
            (
                &[BOOKWORM][..],
                &[PI][..],
                "firstrun: /usr/lib/raspberrypi-sys-mods/imager_custom",
            ),
            (&[BOOKWORM], &[], "firstrun: issue.txt of 2024-11-19 on the boot partition"),
            (
                &[BOOKWORM, &[("/user-data", ""), ("/meta-data", "")]],
                &[PI, CLOUD],
                "cloud-init (Raspberry Pi OS): user-data on the boot partition",
            ),
            (
                &[&[("/cmdline.txt", "")]],
                &[
                    PI,
                    CLOUD,
                    &[(
                        "/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg",
                        "seedfrom: file:///boot/firmware",
                    )],
                ],
                "cloud-init (Raspberry Pi OS): /etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg",
            ),
            (
                &[&[("/user-data", ""), ("/meta-data", "")]],
                &[CLOUD],
                "cloud-init: user-data on the boot partition",
            ),
            (&[hypriot], &[], "cloud-init (HypriotOS): user-data on the boot partition"),
            (
                &[],
                &[CLOUD],
                "cloud-init (seed in the root file system): /usr/bin/cloud-init",
            ),
            (
                &[BOOKWORM, &[("/rpi-preseed.toml", "")]],
                &[PI],
                "rpi-preseed: rpi-preseed.toml on the boot partition",
            ),
            (
                &[BOOKWORM],
                &[PI, &[("/usr/bin/rpi-preseed", "")]],
                "rpi-preseed: /usr/bin/rpi-preseed",
            ),
            (
                &[BOOKWORM, &[("/dietpi.txt", "")]],
                &[],
                "dietpi: dietpi.txt on the boot partition",
            ),
            (&[], &[&[("/boot/dietpi.txt", "")]], "dietpi: /boot/dietpi.txt"),
            (
                &[],
                &[&[("/etc/armbian-release", "")], CLOUD],
                "armbian: /etc/armbian-release",
            ),
            (
                &[&[("/cmdline.txt", "")]],
                &[&[("/etc/os-release", "NAME=x\nID=archarm\nID_LIKE=arch\n")]],
                "arch: the os-release of Arch Linux",
            ),
            // Debian's image for PCs without cloud-init, and a boot partition that says nothing.
            (
                &[&[("/EFI/BOOT/BOOTX64.EFI", "")]],
                &[&[("/etc/os-release", "ID=debian\n")], ACCOUNTS],
                "-",
            ),
            (&[&[("/issue.txt", "something else\n")]], &[], "-"),
        ] {
            let (boot, root) = (with(boot), with(root));
            let found = detect(Volumes {
                boot: &boot,
                root: &root,
            });
            let found = found.map_or_else(|_| "-".to_owned(), |found| format!("{}: {}", found.method, found.seen));
            assert_eq!(found, expected);
        }
        let error = detect(Volumes {
            boot: &files([]),
            root: &files([]),
        })
        .unwrap_err();
        assert!(error.diagnostics()[0].hints[0].starts_with("looked for: on the boot partition: dietpi.txt, "));
    }

    #[test]
    fn who_names_a_method_is_told_of_what_is_there() {
        for (named, boot, root, expected) in [
            (
                Some(Named::Catalogue(FirstBoot::Firstrun)),
                &[BOOKWORM][..],
                &[PI][..],
                "firstrun",
            ),
            (
                Some(Named::Catalogue(FirstBoot::Firstrun)),
                &[&[("/user-data", "")]],
                &[CLOUD],
                "cloud-init; the catalogue says firstrun, but the image shows cloud-init (user-data on the boot partition), which is used",
            ),
            (
                Some(Named::User(FirstBoot::Firstrun)),
                &[BOOKWORM, &[("/user-data", "")]],
                &[PI, CLOUD],
                "firstrun; the image is told by firstrun, as was said; it shows cloud-init (Raspberry Pi OS) too (user-data on the boot partition)",
            ),
            (
                Some(Named::User(FirstBoot::CloudInit)),
                &[BOOKWORM],
                &[PI],
                "cloud-init (Raspberry Pi OS); cloud-init was named, but the image shows firstrun (/usr/lib/raspberrypi-sys-mods/imager_custom)",
            ),
            (
                Some(Named::User(FirstBoot::Dietpi)),
                &[BOOKWORM],
                &[PI],
                "error: the image cannot be told by dietpi: it has no dietpi.txt",
            ),
            (
                Some(Named::User(FirstBoot::Armbian)),
                &[],
                &[ACCOUNTS],
                "armbian; armbian was named, but the image shows nothing that is known",
            ),
            (
                Some(Named::Catalogue(FirstBoot::Armbian)),
                &[],
                &[ACCOUNTS],
                "error: the image shows no way in which its system could be told at its first boot which minion it is",
            ),
            (Some(Named::User(FirstBoot::None)), &[], &[], "none"),
        ] {
            let (boot, root) = (with(boot), with(root));
            let found = match choose(
                named,
                Volumes {
                    boot: &boot,
                    root: &root,
                },
            ) {
                Ok((found, None)) => found.method.to_string(),
                Ok((found, Some(note))) => format!("{}; {note}", found.method),
                Err(error) => format!("error: {error}"),
            };
            assert_eq!(found, expected);
        }
    }
}
