//! `swap.*`: swap files, ours and not Salt's: on the storage that they belong on, without holes, and there again after that storage
//! was wiped.

use super::fstab::{self, Line};
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Mount, Observed, Probe, Resource};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<File>("swap.file", false),
    Function::of::<Absent>("swap.absent", false),
];

const FSTAB: &str = "/etc/fstab";

/// Ensures that a swap file exists, is in use, and is used again after a boot.
///
/// ```yaml
/// /mnt/swapfile:
///   swap.file:
///     - size: 2GiB
///     - storage: /mnt
/// ```
/// The file is allocated without holes, which swapon(8) refuses. Its line in `/etc/fstab` has `nofail`, so that a minion whose
/// ephemeral disk came back empty still boots; the next run makes the file anew.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file.
    name: String,
    /// Its size: bytes, or a number with KiB, MiB, GiB (or K, M, G, which mean the same).
    size: String,
    /// Among several, the one with the highest is used first (-1 to 32767).
    priority: Option<i32>,
    /// The mount point that the file must be on; nothing is done while something else is, or nothing, is mounted there.
    storage: Option<String>,
    /// Use it at boot.
    #[serde(default = "yes")]
    persist: bool,
}

/// Ensures that a swap file is neither in use nor there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// The file.
    name: String,
}

fn yes() -> bool {
    true
}

/// A size in bytes.
fn bytes(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => 0,
    };
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|size| *size >= 40 << 10);
    // mkswap(8) wants at least ten pages; a whole number of pages keeps size and swap in step.
    size.map(|size| size.next_multiple_of(64 << 10)).ok_or_else(|| {
        Error::usage(format!("`size: {text}` is not the size of a swap file"))
            .hint("write it as `2GiB` or `512MiB`; at least 40KiB")
    })
}

/// The mount that `path` is on: the one whose mount point is its longest folder.
fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let holds = |target: &str| target == "/" || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'));
    mounts
        .iter()
        .rev()
        .filter(|mount| holds(&mount.target))
        .max_by_key(|mount| mount.target.len())
}

impl File {
    fn line(&self) -> Line {
        let priority = self.priority.map(|priority| format!(",pri={priority}")).unwrap_or_default();
        Line {
            source: self.name.clone(),
            target: "none".to_owned(),
            fstype: "swap".to_owned(),
            options: format!("sw,nofail{priority}"),
            dump: 0,
            pass: 0,
        }
    }

    /// Makes the file and uses it. fallocate(1) is tried first and is instant; where the file system makes holes of it, or swapon
    /// refuses the file for another reason, zeros are written.
    fn make(&self, size: u64) -> String {
        let file = quote(&self.name);
        let on = match self.priority {
            Some(priority) => format!("swapon -p {priority} {file}"),
            None => format!("swapon {file}"),
        };
        let mib = size / (1 << 20);
        let (block, count) = if size.is_multiple_of(1 << 20) {
            (1 << 20, mib)
        } else {
            (64 << 10, size / (64 << 10))
        };
        format!(
            "umask 077\n\
             [ ! -e {file} ] || rm {file} || exit 1\n\
             folder=$(dirname {file}); [ -d \"$folder\" ] || mkdir -p \"$folder\" || exit 1\n\
             free=$(df -Pk \"$folder\" | awk 'NR==2 {{print $4}}')\n\
             if [ \"${{free:-0}}\" -lt {need} ]; then echo \"$folder has $free KiB free, {need} are needed\" >&2; exit 1; fi\n\
             fill() {{ rm -f {file}; : >{file} || return 1; chattr +C {file} 2>/dev/null; dd if=/dev/zero of={file} bs={block} count={count} 2>&1 | tail -n 1 >&2; [ \"$(wc -c <{file})\" = {size} ]; }}\n\
             use() {{ mkswap {file} >/dev/null && {on}; }}\n\
             : >{file}; chattr +C {file} 2>/dev/null\n\
             if fallocate -l {size} {file} 2>/dev/null && use 2>/dev/null; then exit 0; fi\n\
             if fill && use; then exit 0; fi\n\
             rm -f {file}; exit 1",
            need = size >> 10,
        )
    }
}

impl StateFunction for File {
    fn check(&self) -> Result<()> {
        bytes(&self.size)?;
        if !self.name.starts_with('/') {
            return Err(Error::usage(format!(
                "a swap file is named by its whole path, not {:?}",
                self.name
            )));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Mounts, Probe::meta(&self.name), Probe::text(FSTAB)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (size, mounts) = (bytes(&self.size)?, seen.mounts()?);
        if let Some(on) = &self.storage {
            let on = if on == "/" { on.as_str() } else { on.trim_end_matches('/') };
            match mount_of(&mounts.mounts, &self.name) {
                Some(mount) if mount.target == on => {}
                Some(mount) => {
                    return Ok(Decision::Fails(format!(
                        "{} would be on {} (mounted at {}), not on the storage mounted at {on}: is that disk missing?",
                        self.name, mount.source, mount.target
                    )));
                }
                None => {
                    return Ok(Decision::Fails(format!(
                        "nothing is mounted at {on}, where {} belongs",
                        self.name
                    )));
                }
            }
        }
        let entry = seen.entry(&self.name)?;
        let used = mounts.swaps.iter().find(|swap| swap.path == self.name);
        // The first page of the file is a header that the kernel does not count; pages are 4 to 64 KiB.
        let right_size = |swap: &crate::probe::Swap| swap.size <= size && size - swap.size <= 64 << 10;
        let right_priority = |swap: &crate::probe::Swap| self.priority.is_none_or(|wanted| wanted == swap.priority);
        let mut change = Change::new(
            format!("Swap file {} of {} would be made and used", self.name, self.size),
            format!("Swap file {} of {} is in use", self.name, self.size),
        );
        match used {
            Some(swap) if entry.is_some() && right_size(swap) => {
                if !right_priority(swap) {
                    let script = format!(
                        "swapoff {0} && swapon -p {1} {0}",
                        quote(&self.name),
                        self.priority.unwrap_or(-1)
                    );
                    change = change
                        .from_to("priority", swap.priority, self.priority.unwrap_or(-1))
                        .step(Step::shell("swapon", script));
                }
            }
            Some(swap) => {
                change = change
                    .from_to("size", swap.size, size)
                    .step(Step::shell("swapoff", format!("swapoff {}", quote(&self.name))))
                    .step(Step::shell("making the swap file", self.make(size)));
            }
            None => {
                let old = entry.map_or(0, |entry| entry.size);
                change = change
                    .from_to("size", old, size)
                    .step(Step::shell("making the swap file", self.make(size)));
            }
        }
        if let (Some(entry), true) = (entry, change.steps.is_empty())
            && entry.mode != 0o600
        {
            change = change
                .from_to("mode", format!("{:04o}", entry.mode), "0600")
                .step(Step::shell(
                    "chmod",
                    format!("chmod 0600 {0} && chown 0:0 {0}", quote(&self.name)),
                ));
        }
        if self.persist
            && let Some(text) = fstab::with(&etc::text(seen, FSTAB)?, &self.line(), |old| old.source == self.name)
        {
            change = etc::put(change, seen, FSTAB, text)?.change("fstab", self.line().text());
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("Swap file {} of {} is in use", self.name, self.size)));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![
            Resource::Mounts,
            Resource::Path(self.name.clone()),
            Resource::Path(FSTAB.to_owned()),
        ]
    }
}

impl StateFunction for Absent {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Mounts, Probe::meta(&self.name), Probe::text(FSTAB)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let mut change = Change::new(
            format!("Swap file {} would be removed", self.name),
            format!("Swap file {} removed", self.name),
        );
        if seen.mounts()?.swaps.iter().any(|swap| swap.path == self.name) {
            change = change
                .change("swap", "off")
                .step(Step::shell("swapoff", format!("swapoff {}", quote(&self.name))));
        }
        if seen.entry(&self.name)?.is_some() {
            change = change
                .change("removed", self.name.clone())
                .step(Step::shell("rm", format!("rm {}", quote(&self.name))));
        }
        if let Some(text) = fstab::without(&etc::text(seen, FSTAB)?, |line| line.source == self.name) {
            change = etc::put(change, seen, FSTAB, text)?.change("fstab", "removed");
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("There is no swap file {}", self.name)));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![
            Resource::Mounts,
            Resource::Path(self.name.clone()),
            Resource::Path(FSTAB.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::probe::{Fact, MountsSeen, Swap};

    fn world(disk: bool, swap: Option<u64>) -> Fact {
        let mount = |source: &str, target: &str| Mount {
            source: source.into(),
            target: target.into(),
            fstype: "ext4".into(),
            options: Vec::new(),
        };
        let mut mounts = vec![mount("/dev/mmcblk0p2", "/")];
        mounts.extend(disk.then(|| mount("/dev/sda1", "/mnt")));
        let swaps = swap
            .map(|size| Swap {
                path: "/mnt/swapfile".into(),
                size,
                used: 0,
                priority: -2,
            })
            .into_iter()
            .collect();
        Fact::Mounts(MountsSeen {
            mounts,
            swaps,
            fstab: String::new(),
        })
    }

    const FILE: &str = "{name: /mnt/swapfile, size: 2GiB, storage: /mnt}";

    #[test]
    fn it_is_made_on_its_storage_and_nowhere_else() {
        let change = state("swap.file", FILE).sees([world(true, None)]).change();
        assert_eq!(
            change.steps.iter().map(Step::label).collect::<Vec<_>>(),
            ["making the swap file", "/etc/fstab"]
        );
        assert_eq!(change.diffs[0].new, "/mnt/swapfile\tnone\tswap\tsw,nofail\t0 0\n");
        let Ok(Decision::Fails(why)) = state("swap.file", FILE).sees([world(false, None)]).decide() else {
            panic!()
        };
        assert_eq!(
            why,
            "/mnt/swapfile would be on /dev/mmcblk0p2 (mounted at /), not on the storage mounted at /mnt: is that disk missing?"
        );
    }

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("2GiB", 2 << 30),
            ("512M", 512 << 20),
            ("1048576", 1 << 20),
            ("100 KiB", 128 << 10),
        ] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        assert!(refusal("swap.file", "{name: /s, size: much}").contains("`size: much` is not the size of a swap file"));
        assert!(bytes("2 TiBs").is_err() && bytes("1").is_err());
    }
}
