//! Which disks may be written. Pure: what was seen goes in, a verdict comes out.

use super::{Bus, Device, Use, human};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Above this many bytes it is more likely somebody's data than a card: a card sold as 256 GB is below.
pub const LARGE: u64 = 256 << 30;

/// What was said explicitly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// A disk that is not removable by its bus.
    pub fixed: bool,
    /// A disk over [`LARGE`].
    pub large: bool,
    /// What is mounted of it is unmounted.
    pub unmount: bool,
    /// The disk was named, not chosen from those that were found: a loop device is only taken so. It is a file that somebody made a
    /// disk on purpose and no hardware, so that naming it is enough.
    pub named: bool,
}

/// What has to be done before `device` can be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    pub unmount: Vec<PathBuf>,
}

/// Whether `device` may be overwritten with an image of `image` bytes (0 where that is not known yet).
///
/// # Errors
/// It may not; all the reasons.
pub fn judge(device: &Device, image: u64, allow: Allow) -> Result<Verdict> {
    let path = device.path.display();
    let mut errors = Vec::new();
    let mut refuse = |error: Error| errors.push(error);
    for used in &device.uses {
        match used {
            Use::Mount { at, system: true } => refuse(
                Error::usage(format!("{path} holds {}: this machine runs from it", at.display()))
                    .hint("disks under /, /boot, /usr, /var, /home and swap are never written"),
            ),
            Use::Swap { file } => refuse(
                Error::usage(format!("{path} holds active swap ({file})")).hint(format!("`swapoff {file}` first, if it may go")),
            ),
            Use::Holder { name } => refuse(
                Error::usage(format!("{path} is held by {name} (LVM, LUKS, RAID or the like)"))
                    .hint("take that apart first, if its data may go"),
            ),
            Use::Mount { system: false, .. } => {}
        }
    }
    if device.size == 0 {
        refuse(Error::usage(format!("there is no card in {path}")).hint("put one in; a reader without a card has size 0"));
    } else if device.size < image {
        refuse(
            Error::usage(format!(
                "{path} is smaller than the image: {} of {} bytes",
                device.size, image
            ))
            .hint(format!("a card of at least {} is needed", human(image))),
        );
    }
    if device.read_only {
        refuse(Error::usage(format!("{path} is read-only")).hint("a full-size SD card and its adapters have a lock at the side"));
    }
    match device.bus {
        Bus::Loop if allow.named || allow.fixed => {}
        Bus::Loop => refuse(Error::usage(format!("{path} is a loop device")).hint("name it with `--device`")),
        _ if device.is_removable() || allow.fixed => {}
        bus => refuse(
            Error::usage(format!("{path} is not removable ({bus}): {}", device.name()))
                .hint("if this disk really is to be overwritten, say `--fixed`"),
        ),
    }
    if device.size > LARGE && !allow.large {
        refuse(
            Error::usage(format!("{path} has {}, more than cards usually have", human(device.size)))
                .hint("if this disk really is to be overwritten, say `--large`"),
        );
    }
    let mounted = device.uses.iter().filter_map(|used| match used {
        Use::Mount { at, system: false } => Some(at.clone()),
        _ => None,
    });
    let unmount: Vec<PathBuf> = mounted.collect();
    if !unmount.is_empty() && !allow.unmount {
        let places: Vec<String> = unmount.iter().map(|at| at.display().to_string()).collect();
        refuse(
            Error::usage(format!("{path} is mounted at {}", places.join(", ")))
                .hint("`--unmount` lets picloud unmount it, once you have looked that nothing there is needed"),
        );
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(Verdict { unmount }),
    }
}

/// Whether `device` should be offered for an image of `image` bytes when the user has named none.
pub fn offer(device: &Device, image: u64) -> bool {
    // What is mounted only because a desktop did so is offered, and unmounted when it is confirmed.
    let allow = Allow {
        unmount: true,
        ..Allow::default()
    };
    judge(device, image, allow).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn card() -> Device {
        Device {
            path: "/dev/sdb".into(),
            number: (8, 16),
            vendor: "Generic".into(),
            model: "Reader".into(),
            serial: Some("0815".into()),
            cid: None,
            size: 31_914_983_424,
            bus: Bus::Usb,
            removable: true,
            read_only: false,
            rotational: false,
            partitions: vec!["sdb1".into()],
            uses: Vec::new(),
            max_sectors_kb: Some(120),
            nr_requests: Some(2),
            preferred_erase_size: None,
            optimal_io_size: None,
            logical_block_size: 512,
            diskseq: Some(7),
        }
    }

    #[test]
    fn what_is_refused_and_what_lets_it_pass() {
        let plain = Allow::default();
        let all = Allow {
            fixed: true,
            large: true,
            unmount: true,
            named: true,
        };
        let root = Use::Mount {
            at: "/".into(),
            system: true,
        };
        let stick = Use::Mount {
            at: "/media/me/stick".into(),
            system: false,
        };
        let swap = Use::Swap {
            file: "/dev/sdb2".into(),
        };
        let holder = Use::Holder { name: "dm-0".into() };
        let with = |change: &dyn Fn(&mut Device)| {
            let mut device = card();
            change(&mut device);
            device
        };
        // device, image, what is said, without and with everything allowed ("": may be written)
        let table: &[(Device, u64, &str, &str)] = &[
            (card(), 3 << 30, "", ""),
            (card(), 31_914_983_424, "", ""),
            (card(), 31_914_983_425, "smaller than the image", "smaller than the image"),
            (
                with(&|d| d.uses = vec![root.clone()]),
                0,
                "this machine runs from it",
                "this machine runs from it",
            ),
            (with(&|d| d.uses = vec![swap.clone()]), 0, "active swap", "active swap"),
            (with(&|d| d.uses = vec![holder.clone()]), 0, "held by dm-0", "held by dm-0"),
            (
                with(&|d| d.uses = vec![stick.clone()]),
                0,
                "is mounted at /media/me/stick",
                "",
            ),
            (with(&|d| d.read_only = true), 0, "read-only", "read-only"),
            (with(&|d| d.size = 0), 0, "no card in", "no card in"),
            (with(&|d| d.size = 256_060_514_304), 0, "", ""),
            (with(&|d| d.size = 500_107_862_016), 0, "more than cards usually have", ""),
            (
                with(&|d| (d.bus, d.removable) = (Bus::Sata, false)),
                0,
                "not removable (SATA)",
                "",
            ),
            (with(&|d| (d.bus, d.removable) = (Bus::Other, true)), 0, "", ""),
            (
                with(&|d| (d.bus, d.removable) = (Bus::Emmc, false)),
                0,
                "not removable (eMMC)",
                "",
            ),
            (with(&|d| (d.bus, d.removable) = (Bus::Sd, false)), 0, "", ""),
            (with(&|d| d.bus = Bus::Loop), 0, "is a loop device", ""),
            (with(&|d| d.bus = Bus::Virtual), 0, "not removable (virtual)", ""),
        ];
        for (device, image, without, allowed) in table {
            for (allow, says) in [(plain, without), (all, allowed)] {
                match judge(device, *image, allow) {
                    Ok(_) => assert_eq!(*says, "", "{device:?}"),
                    Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}: {says}"),
                }
            }
        }
        let named = Allow { named: true, ..plain };
        assert!(judge(&with(&|d| d.bus = Bus::Loop), 0, named).is_ok());
        let verdict = judge(&with(&|d| d.uses = vec![stick.clone()]), 0, all).unwrap();
        assert_eq!(verdict.unmount, [PathBuf::from("/media/me/stick")]);
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let mut device = card();
        device.read_only = true;
        device.size = 600 << 30;
        device.bus = Bus::Sata;
        device.removable = false;
        let error = judge(&device, 0, Allow::default()).unwrap_err();
        assert_eq!(error.diagnostics().len(), 3, "{error}");
    }
}
