//! `firstrun.sh`: Raspberry Pi OS until the end of 2025 runs a script that the kernel's command line names, and reboots.

use super::files::{Volumes, text};
use super::script::{Parts, script};
use super::{Edits, Identity, boot};
use crate::error::{Error, Result};
use crate::flash::change::Change;

/// Where the boot partition will be mounted: `/boot/firmware` since bookworm (October 2023).
fn mounted_at(volumes: Volumes) -> &'static str {
    if let Some(table) = text(volumes.root, "/etc/fstab") {
        let mounted = |at: &str| {
            table
                .lines()
                .any(|line| !line.trim_start().starts_with('#') && line.split_ascii_whitespace().nth(1) == Some(at))
        };
        if mounted("/boot/firmware") {
            return "/boot/firmware";
        }
        if mounted("/boot") {
            return "/boot";
        }
    }
    match super::detect::reference(volumes.boot) {
        Some(date) if date.as_str() < "2023-10" => "/boot",
        _ => "/boot/firmware",
    }
}

/// Words of the kernel's command line that are there for one boot.
fn for_one_boot(word: &str) -> bool {
    word.starts_with("systemd.run=")
        || word.starts_with("systemd.run_success_action=")
        || word == "systemd.unit=kernel-command-line.target"
}

pub(super) fn edits(identity: &Identity, volumes: Volumes) -> Result<Edits> {
    if boot::cmdline_file(volumes.boot).is_none() {
        return Err(Error::usage(
            "the image has no cmdline.txt on its boot partition, which is to name firstrun.sh",
        ));
    }
    let at = mounted_at(volumes);
    let last = format!(
        "sed -i 's/ systemd\\.run=[^ ]*//; s/ systemd\\.run_success_action=[^ ]*//; s/ systemd\\.unit=kernel-command-line\\.target//' {at}/cmdline.txt || failed cmdline.txt\n\
         wipe {at}/firstrun.sh\nsync\n"
    );
    let parts = Parts {
        system: true,
        made: false,
    };
    let mut words = identity.regulatory_domain();
    words.extend([
        format!("systemd.run={at}/firstrun.sh"),
        "systemd.run_success_action=reboot".to_owned(),
        "systemd.unit=kernel-command-line.target".to_owned(),
    ]);
    let mut changes = vec![Change::write("/firstrun.sh", script(identity, parts, &last), 0o755)];
    // Last: a command line without its script would not boot.
    changes.extend(boot::changes(volumes.boot, &identity.boot, for_one_boot, &words)?);
    Ok(Edits {
        boot: changes,
        ..Edits::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::files::Nothing;
    use super::super::files::table::files;
    use super::*;

    #[test]
    fn the_boot_partition_is_found_where_it_will_be_mounted() {
        let at = |boot: &[(&str, &str)], root: &[(&str, &str)]| {
            let (boot, root) = (files(boot.iter().copied()), files(root.iter().copied()));
            mounted_at(Volumes {
                boot: &boot,
                root: &root,
            })
        };
        assert_eq!(
            at(
                &[],
                &[("/etc/fstab", "PARTUUID=1-01  /boot/firmware  vfat  defaults  0  2\n")]
            ),
            "/boot/firmware"
        );
        assert_eq!(
            at(&[], &[("/etc/fstab", "PARTUUID=1-01  /boot  vfat  defaults  0  2\n")]),
            "/boot"
        );
        assert_eq!(at(&[("/issue.txt", "Raspberry Pi reference 2023-05-03\n")], &[]), "/boot");
        assert_eq!(
            at(&[("/issue.txt", "Raspberry Pi reference 2024-11-19\n")], &[]),
            "/boot/firmware"
        );
        assert_eq!(
            mounted_at(Volumes {
                boot: &Nothing,
                root: &Nothing
            }),
            "/boot/firmware"
        );
    }
}
