//! `mount.*`: file systems and swap devices, mounted now and by `/etc/fstab` at boot.

use super::fstab::{self, Line};
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{FileKind, Mount, Observed, Probe, Resource, ShellProbe};
use crate::shell::quote;
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Mounted>("mount.mounted", true),
    Function::of::<Unmounted>("mount.unmounted", true),
    Function::of::<SwapDevice>("mount.swap", true),
    Function::of::<FstabPresent>("mount.fstab_present", true),
    Function::of::<FstabAbsent>("mount.fstab_absent", true),
];

const FSTAB: &str = "/etc/fstab";

fn fstab_file() -> String {
    FSTAB.to_owned()
}

fn yes() -> bool {
    true
}

fn defaults() -> Value {
    "defaults".into()
}

/// Options as one text: a list, or text with commas.
fn options(value: &Value) -> String {
    let list = value
        .as_list()
        .map(|items| items.iter().filter_map(Value::scalar_text).collect::<Vec<_>>().join(","));
    list.or_else(|| value.scalar_text())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "defaults".to_owned())
}

/// Ensures that a file system is mounted, and is mounted at boot.
///
/// ```yaml
/// /mnt/data:
///   mount.mounted:
///     - device: UUID=9f86d081-...
///     - fstype: ext4
///     - opts: [noatime, nofail]
///     - mkmnt: True
/// ```
/// A disk that may be missing wants `nofail` among its options, or the next boot waits for it in vain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mounted {
    /// The mount point.
    name: String,
    /// A device, `UUID=...`, `LABEL=...`, `PARTUUID=...`, `host:/path`.
    device: String,
    fstype: String,
    /// Make the mount point where it is missing.
    #[serde(default)]
    mkmnt: bool,
    /// Options: a list, or text with commas.
    #[serde(default = "defaults")]
    opts: Value,
    /// For dump(8).
    #[serde(default)]
    dump: u32,
    /// The order of fsck(8) at boot; 0 for never.
    #[serde(default)]
    pass_num: u32,
    #[serde(default = "fstab_file")]
    config: String,
    /// Write the line into the configuration.
    #[serde(default = "yes")]
    persist: bool,
    /// Mount it now.
    #[serde(default = "yes")]
    mount: bool,
    /// Mount as this user.
    user: Option<String>,
    /// Salt's: by what a line of the configuration is recognised; `auto` and `name` mean the mount point, `device` the device.
    match_on: Option<Value>,
    /// Options that are given to mount(8) only, not written.
    #[serde(default)]
    hidden_opts: Option<Value>,
}

/// What a device is behind its names: `UUID=`, `LABEL=` and links resolved.
fn resolve(device: &str) -> ShellProbe {
    let script = match device.split_once('=') {
        Some((kind, value)) => {
            let folder = format!("/dev/disk/by-{}", kind.to_lowercase());
            let link = format!("{folder}/{}", value.trim_matches('"'));
            format!(
                "readlink -f {0} 2>/dev/null || blkid -l -o device -t {1} 2>/dev/null || printf '%s\\n' {1}",
                quote(&link),
                quote(device)
            )
        }
        None if device.starts_with("/dev/") => format!("readlink -f {0} || printf '%s\\n' {0}", quote(device)),
        None => format!("printf '%s\\n' {}", quote(device)),
    };
    ShellProbe {
        script,
        reads: vec![Resource::Path(device.to_owned())],
        ..ShellProbe::default()
    }
}

impl Mounted {
    fn line(&self) -> Line {
        Line {
            source: self.device.clone(),
            target: self.name.clone(),
            fstype: self.fstype.clone(),
            options: options(&self.opts),
            dump: self.dump,
            pass: self.pass_num,
        }
    }

    fn same(&self, old: &Line) -> bool {
        let by_device = self.match_on.as_ref().and_then(Value::as_str) == Some("device");
        if by_device {
            old.source == self.device
        } else {
            old.target == self.name
        }
    }
}

/// The mount that is seen at `target`: the last one made there.
fn at<'a>(mounts: &'a [Mount], target: &str) -> Option<&'a Mount> {
    mounts
        .iter()
        .rev()
        .find(|mount| mount.target == target.trim_end_matches('/') || mount.target == target)
}

impl StateFunction for Mounted {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![
            Probe::Mounts,
            Probe::meta(&self.name),
            Probe::text(&self.config),
            Probe::Shell(resolve(&self.device)),
        ])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let real = seen.shell(&resolve(&self.device))?.text().trim().to_owned();
        let mounted = at(&seen.mounts()?.mounts, &self.name);
        let right = |mount: &Mount| {
            let virtual_fs = matches!(self.fstype.as_str(), "tmpfs" | "proc" | "sysfs" | "overlay");
            virtual_fs && mount.fstype == self.fstype || mount.source == real || mount.source == self.device
        };
        let mut change = Change::new(
            format!("{} would be mounted", self.name),
            "Target was successfully mounted".to_owned(),
        );
        if self.mount && !mounted.is_some_and(right) {
            match seen.entry(&self.name)?.map(|entry| entry.kind) {
                Some(FileKind::Directory | FileKind::Symlink) => {}
                Some(_) if self.fstype != "none" => return Err(Error::state(format!("{} is not a folder", self.name))),
                Some(_) => {}
                None if self.mkmnt => {
                    change = change.step(Step::shell("mkdir", format!("mkdir -p {}", quote(&self.name))));
                }
                None => {
                    return Err(
                        Error::state(format!("the mount point {} does not exist", self.name)).hint("`mkmnt: True` makes it")
                    );
                }
            }
            if let Some(other) = mounted {
                let label = format!("unmounting {} from {}", other.source, self.name);
                change = change.step(Step::shell(label, format!("umount {}", quote(&self.name))));
            }
            let mut given = options(&self.opts);
            if let Some(hidden) = &self.hidden_opts {
                given = format!("{given},{}", options(hidden));
            }
            let for_mount: Vec<&str> = given
                .split(',')
                .filter(|option| !matches!(*option, "noauto" | "nofail") && !option.starts_with("x-"))
                .collect();
            let mut script = format!(
                "mount -t {} -o {} {} {}",
                quote(&self.fstype),
                quote(&for_mount.join(",")),
                quote(&self.device),
                quote(&self.name)
            );
            if let Some(user) = &self.user {
                script = format!("su {} -s /bin/sh -c {}", quote(user), quote(&script));
            }
            change = change.step(Step::shell("mount", script)).change("mount", true);
        }
        if self.persist
            && let Some(text) = fstab::with(&etc::text(seen, &self.config)?, &self.line(), |old| self.same(old))
        {
            change = etc::put(change, seen, &self.config, text)?.change("persist", "updated");
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds("Target was already mounted".to_owned()));
        }
        Ok(change.into())
    }

    fn watched(&self, seen: &Observed, _: &Context) -> Result<Option<Decision>> {
        if !self.mount || at(&seen.mounts()?.mounts, &self.name).is_none() {
            return Ok(None);
        }
        let script = format!("mount -o remount,{} {}", quote(&options(&self.opts)), quote(&self.name));
        let change = Change::new(
            format!("{} would be remounted", self.name),
            format!("{} remounted", self.name),
        );
        Ok(Some(
            change
                .change(self.name.clone(), "remounted")
                .step(Step::shell("remount", script))
                .into(),
        ))
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![
            Resource::Mounts,
            Resource::Tree(self.name.clone()),
            Resource::Path(self.config.clone()),
        ]
    }
}

/// Ensures that nothing is mounted there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unmounted {
    /// The mount point.
    name: String,
    /// Only if this device is mounted there.
    device: Option<String>,
    #[serde(default = "fstab_file")]
    config: String,
    /// Take its line out of the configuration too.
    #[serde(default)]
    persist: bool,
    /// Unmount as this user.
    user: Option<String>,
}

impl StateFunction for Unmounted {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Mounts, Probe::text(&self.config)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let mounted = at(&seen.mounts()?.mounts, &self.name);
        let meant = mounted.is_some_and(|mount| self.device.as_ref().is_none_or(|device| *device == mount.source));
        let mut change = Change::new(
            format!("{} would be unmounted", self.name),
            "Target was successfully unmounted".to_owned(),
        );
        if meant {
            let mut script = format!("umount {}", quote(&self.name));
            if let Some(user) = &self.user {
                script = format!("su {} -s /bin/sh -c {}", quote(user), quote(&script));
            }
            change = change.step(Step::shell("umount", script)).change("umount", true);
        }
        let gone = |line: &Line| line.target == self.name && self.device.as_ref().is_none_or(|device| *device == line.source);
        if self.persist
            && let Some(text) = fstab::without(&etc::text(seen, &self.config)?, gone)
        {
            change = etc::put(change, seen, &self.config, text)?.change("persist", "purged");
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds("Target was already unmounted".to_owned()));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![
            Resource::Mounts,
            Resource::Tree(self.name.clone()),
            Resource::Path(self.config.clone()),
        ]
    }
}

/// Ensures that a swap device is in use. For a swap *file*, see `swap.file`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapDevice {
    /// The device.
    name: String,
    /// Use it at boot too.
    #[serde(default = "yes")]
    persist: bool,
    #[serde(default = "fstab_file")]
    config: String,
}

impl StateFunction for SwapDevice {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![
            Probe::Mounts,
            Probe::text(&self.config),
            Probe::Shell(resolve(&self.name)),
        ])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let real = seen.shell(&resolve(&self.name))?.text().trim().to_owned();
        let used = seen
            .mounts()?
            .swaps
            .iter()
            .any(|swap| swap.path == real || swap.path == self.name);
        let mut change = Change::new(
            format!("Swap {} would be activated", self.name),
            format!("Swap {} activated", self.name),
        );
        if !used {
            change = change
                .step(Step::shell("swapon", format!("swapon {}", quote(&self.name))))
                .change("swap", self.name.clone());
        }
        let (source, fstype) = (self.name.clone(), "swap".to_owned());
        let line = Line {
            source,
            target: "none".into(),
            fstype,
            options: "defaults,nofail".into(),
            dump: 0,
            pass: 0,
        };
        if self.persist
            && !etc::text(seen, &self.config)?
                .lines()
                .filter_map(Line::parse)
                .any(|old| old.source == self.name && old.fstype == "swap")
            && let Some(text) = fstab::with(&etc::text(seen, &self.config)?, &line, |old| old.source == self.name)
        {
            change = etc::put(change, seen, &self.config, text)?.change("persist", "new");
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("Swap {} already active", self.name)));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Mounts, Resource::Path(self.config.clone())]
    }
}

/// Ensures that the configuration has a line; mounts nothing by itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FstabPresent {
    /// The device, `UUID=...`, ...
    name: String,
    /// The mount point.
    fs_file: String,
    /// The kind of file system.
    fs_vfstype: String,
    /// Options: a list, or text with commas.
    #[serde(default = "defaults")]
    fs_mntops: Value,
    /// For dump(8).
    #[serde(default)]
    fs_freq: u32,
    /// The order of fsck(8) at boot; 0 for never.
    #[serde(default)]
    fs_passno: u32,
    #[serde(default = "fstab_file")]
    config: String,
    /// Mount it too, when its line is new.
    #[serde(default)]
    mount: bool,
    /// Salt's: by what a line is recognised; the mount point where not said, or `name` (the device).
    match_on: Option<Value>,
}

impl StateFunction for FstabPresent {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Mounts, Probe::text(&self.config)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let line = Line {
            source: self.name.clone(),
            target: self.fs_file.clone(),
            fstype: self.fs_vfstype.clone(),
            options: options(&self.fs_mntops),
            dump: self.fs_freq,
            pass: self.fs_passno,
        };
        let by_device = self.match_on.as_ref().and_then(Value::as_str) == Some("name") || self.fs_vfstype == "swap";
        let same = |old: &Line| {
            if by_device {
                old.source == self.name
            } else {
                old.target == self.fs_file
            }
        };
        let Some(text) = fstab::with(&etc::text(seen, &self.config)?, &line, same) else {
            return Ok(Decision::Holds(format!(
                "{} entry was already in {}.",
                self.fs_file, self.config
            )));
        };
        let (would, did) = (
            format!("{} entry will be written in {}.", self.fs_file, self.config),
            format!("{} entry added in {}.", self.fs_file, self.config),
        );
        let mut change = etc::put(Change::new(would, did).change("persist", "new"), seen, &self.config, text)?;
        if self.mount && at(&seen.mounts()?.mounts, &self.fs_file).is_none() {
            change = change.step(Step::shell("mount", format!("mount {}", quote(&self.fs_file))));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Mounts, Resource::Path(self.config.clone())]
    }
}

/// Ensures that the configuration has no such line.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FstabAbsent {
    /// The device, `UUID=...`, ...
    name: String,
    /// The mount point.
    fs_file: String,
    #[serde(default = "fstab_file")]
    config: String,
}

impl StateFunction for FstabAbsent {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::text(&self.config)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let gone = |line: &Line| line.source == self.name && line.target == self.fs_file;
        let Some(text) = fstab::without(&etc::text(seen, &self.config)?, gone) else {
            return Ok(Decision::Holds(format!(
                "{} entry is already missing in {}.",
                self.fs_file, self.config
            )));
        };
        let would = format!("{} entry will be removed from {}.", self.fs_file, self.config);
        let did = format!("{} entry removed from {}.", self.fs_file, self.config);
        Ok(etc::put(Change::new(would, did).change("persist", "removed"), seen, &self.config, text)?.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Mounts, Resource::Path(self.config.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::probe::{Fact, MountsSeen};

    fn mounts(source: &str, target: &str) -> Fact {
        let mount = Mount {
            source: source.into(),
            target: target.into(),
            fstype: "ext4".into(),
            options: Vec::new(),
        };
        Fact::Mounts(MountsSeen {
            mounts: vec![mount],
            ..MountsSeen::default()
        })
    }

    #[test]
    fn a_disk_is_mounted_and_kept() {
        let arguments = "{name: /mnt/data, device: LABEL=data, fstype: ext4, opts: [noatime, nofail], mkmnt: true}";
        let fresh = state("mount.mounted", arguments)
            .sees([mounts("/dev/sda1", "/")])
            .answers("by-label", 0, "/dev/sdb1\n");
        let change = fresh.change();
        assert_eq!(
            change.steps.iter().map(Step::label).collect::<Vec<_>>(),
            ["mkdir", "mount", "/etc/fstab"]
        );
        assert_eq!(change.diffs[0].new, "LABEL=data\t/mnt/data\text4\tnoatime,nofail\t0 0\n");
        let done = state("mount.mounted", arguments)
            .sees([
                mounts("/dev/sdb1", "/mnt/data"),
                dir("/mnt/data"),
                file("/etc/fstab", &change.diffs[0].new),
            ])
            .answers("by-label", 0, "/dev/sdb1\n");
        assert!(matches!(done.decide(), Ok(Decision::Holds(_))));
    }

    #[test]
    fn a_mount_point_that_is_missing_is_named() {
        let case = state("mount.mounted", "{name: /mnt/x, device: /dev/sdb1, fstype: ext4}").sees([mounts("/dev/sda1", "/")]);
        assert_eq!(
            case.decide().unwrap_err().to_string(),
            "the mount point /mnt/x does not exist"
        );
    }
}
