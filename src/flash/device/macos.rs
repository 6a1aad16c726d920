//! Disks as macOS tells of them: `diskutil`, whose property lists are XML.
//!
//! `/dev/diskN` goes through the cache; `/dev/rdiskN` is the same disk without it, and by far the faster for large requests. A disk is
//! opened exclusively only when nothing of it is mounted, which `diskutil unmountDisk` sees to.

use super::{Bus, Device, Use, clean};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
#[cfg(target_os = "macos")]
use std::path::Path;
use std::path::PathBuf;

/// A value of a property list, as far as `diskutil` uses them.
#[derive(Clone, PartialEq, Debug)]
enum Plist {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Plist>),
    Map(BTreeMap<String, Plist>),
    /// Dates, data, reals.
    Other,
}

impl Plist {
    fn parse(xml: &str) -> Result<Plist> {
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            nodes_limit: 100_000,
            ..Default::default()
        };
        let wrong = |e: &dyn std::fmt::Display| Error::usage(format!("cannot read what diskutil says: {e}"));
        let document = roxmltree::Document::parse_with_options(xml, options).map_err(|e| wrong(&e))?;
        let top = document.root_element().first_element_child();
        top.map(|node| Plist::of(node, 0)).ok_or_else(|| wrong(&"it is empty"))
    }

    fn of(node: roxmltree::Node<'_, '_>, depth: usize) -> Plist {
        let text = || node.text().unwrap_or_default().to_owned();
        let below = node.children().filter(|child| child.is_element());
        match node.tag_name().name() {
            "string" => Plist::Text(text()),
            "integer" => text().trim().parse().map_or(Plist::Other, Plist::Number),
            "true" => Plist::Flag(true),
            "false" => Plist::Flag(false),
            "array" if depth < 16 => Plist::List(below.map(|child| Plist::of(child, depth + 1)).collect()),
            "dict" if depth < 16 => {
                let all: Vec<_> = below.collect();
                let pairs = all.chunks_exact(2).map(|pair| {
                    let key = pair[0].text().unwrap_or_default().to_owned();
                    (key, Plist::of(pair[1], depth + 1))
                });
                Plist::Map(pairs.collect())
            }
            _ => Plist::Other,
        }
    }

    fn get(&self, key: &str) -> Option<&Plist> {
        match self {
            Plist::Map(map) => map.get(key),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Plist::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Plist::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key) == Some(&Plist::Flag(true))
    }

    fn list(&self, key: &str) -> &[Plist] {
        match self.get(key) {
            Some(Plist::List(list)) => list,
            _ => &[],
        }
    }
}

/// The whole disks of `diskutil list -plist`, with the names of their partitions and where those are mounted.
fn listed(list: &Plist) -> Vec<(String, Vec<String>, Vec<PathBuf>)> {
    let disks = list.list("AllDisksAndPartitions").iter();
    disks
        .filter_map(|disk| {
            let parts = disk.list("Partitions").iter().chain(disk.list("APFSVolumes"));
            let parts: Vec<&Plist> = parts.collect();
            let names = parts.iter().filter_map(|part| part.text("DeviceIdentifier"));
            let mounts = parts.iter().copied().chain([disk]).filter_map(|part| part.text("MountPoint"));
            Some((
                disk.text("DeviceIdentifier")?.to_owned(),
                names.map(str::to_owned).collect(),
                mounts.filter(|at| !at.is_empty()).map(PathBuf::from).collect(),
            ))
        })
        .collect()
}

/// An APFS container is a disk of its own that lies on partitions of another: what is mounted of it counts for those, too.
fn stores(list: &Plist) -> Vec<(String, Vec<String>)> {
    let disks = list.list("AllDisksAndPartitions").iter();
    disks
        .filter_map(|disk| {
            let stores = disk
                .list("APFSPhysicalStores")
                .iter()
                .filter_map(|store| store.text("DeviceIdentifier"));
            Some((disk.text("DeviceIdentifier")?.to_owned(), stores.map(str::to_owned).collect()))
        })
        .collect()
}

fn is_system(at: &std::path::Path) -> bool {
    let top = ["/System", "/private", "/usr", "/Users", "/Library", "/Applications"];
    at == std::path::Path::new("/") || top.iter().any(|top| at.starts_with(top))
}

fn device(name: &str, partitions: Vec<String>, mounts: Vec<PathBuf>, info: &Plist) -> Device {
    let bus = match info.text("BusProtocol").unwrap_or_default() {
        "Secure Digital" => Bus::Sd,
        "USB" => Bus::Usb,
        "PCI-Express" | "Apple Fabric" => Bus::Nvme,
        "SATA" => Bus::Sata,
        "Disk Image" => Bus::Loop,
        _ if info.text("VirtualOrPhysical") == Some("Virtual") => Bus::Virtual,
        _ => Bus::Other,
    };
    let uses = mounts.into_iter().map(|at| Use::Mount {
        system: is_system(&at),
        at,
    });
    let number = name.trim_start_matches("disk").parse().unwrap_or_default();
    Device {
        path: PathBuf::from(format!("/dev/{name}")),
        number: (0, number),
        vendor: String::new(),
        model: clean(info.text("MediaName").unwrap_or_default()),
        serial: None,
        cid: None,
        size: info.number("TotalSize").or_else(|| info.number("Size")).unwrap_or_default(),
        bus,
        removable: info.flag("RemovableMedia") || info.flag("Ejectable"),
        read_only: !info.flag("WritableMedia") && info.get("WritableMedia").is_some(),
        rotational: info.flag("SolidState") != info.get("SolidState").is_some(),
        partitions,
        uses: uses.collect(),
        max_sectors_kb: None,
        nr_requests: None,
        preferred_erase_size: None,
        optimal_io_size: None,
        logical_block_size: info.number("DeviceBlockSize").unwrap_or(512) as u32,
        diskseq: None,
    }
}

/// Makes devices of `diskutil list -plist`, asking `info` for `diskutil info -plist NAME`.
fn from_lists(list: &str, mut info: impl FnMut(&str) -> Result<String>) -> Result<Vec<Device>> {
    let list = Plist::parse(list)?;
    let stores = stores(&list);
    let mut devices = Vec::new();
    for (name, partitions, mounts) in listed(&list) {
        let info = Plist::parse(&info(&name)?)?;
        devices.push(device(&name, partitions, mounts, &info));
    }
    for (container, under) in stores {
        let path = PathBuf::from(format!("/dev/{container}"));
        let uses = devices
            .iter()
            .find(|device| device.path == path)
            .map(|device| device.uses.clone());
        for device in &mut devices {
            if device.partitions.iter().any(|part| under.contains(part)) {
                device.uses.extend(uses.iter().flatten().cloned());
            }
        }
    }
    Ok(devices)
}

#[cfg(target_os = "macos")]
fn diskutil(arguments: &[&str]) -> Result<String> {
    let cannot = |e: String| Error::usage(format!("diskutil {}: {e}", arguments.join(" ")));
    let ran = std::process::Command::new("/usr/sbin/diskutil").args(arguments).output();
    let out = ran.map_err(|e| cannot(e.to_string()))?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(cannot(clean(&String::from_utf8_lossy(&out.stderr)))),
    }
}

/// All whole disks.
///
/// # Errors
/// `diskutil` cannot be run or understood.
#[cfg(target_os = "macos")]
pub fn devices() -> Result<Vec<Device>> {
    from_lists(&diskutil(&["list", "-plist"])?, |name| diskutil(&["info", "-plist", name]))
}

/// Unmounts all of `device`.
///
/// # Errors
/// Something of it is in use.
#[cfg(target_os = "macos")]
pub fn unmount(device: &Device) -> Result<()> {
    diskutil(&["unmountDisk", &device.path.to_string_lossy()]).map(|_| ())
}

/// Gives the medium back.
///
/// # Errors
/// Something of it is in use.
#[cfg(target_os = "macos")]
pub fn eject(path: &Path) -> Result<()> {
    diskutil(&["eject", &path.to_string_lossy()]).map(|_| ())
}

/// The disk without the cache: `/dev/rdisk4` for `/dev/disk4`.
#[cfg(target_os = "macos")]
pub fn raw(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().replace("/dev/disk", "/dev/rdisk"))
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Allow, judge};
    use super::*;

    const LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>AllDisksAndPartitions</key><array>
  <dict><key>DeviceIdentifier</key><string>disk0</string><key>Size</key><integer>500277790720</integer>
    <key>Partitions</key><array><dict><key>DeviceIdentifier</key><string>disk0s2</string></dict></array></dict>
  <dict><key>DeviceIdentifier</key><string>disk3</string>
    <key>APFSPhysicalStores</key><array><dict><key>DeviceIdentifier</key><string>disk0s2</string></dict></array>
    <key>APFSVolumes</key><array><dict><key>DeviceIdentifier</key><string>disk3s1</string><key>MountPoint</key><string>/</string></dict></array></dict>
  <dict><key>DeviceIdentifier</key><string>disk4</string>
    <key>Partitions</key><array><dict><key>DeviceIdentifier</key><string>disk4s1</string><key>MountPoint</key><string>/Volumes/bootfs</string></dict></array></dict>
</array></dict></plist>"#;

    fn info(name: &str) -> Result<String> {
        let keys = match name {
            "disk4" => {
                "<key>BusProtocol</key><string>Secure Digital</string><key>TotalSize</key><integer>31914983424</integer>\
                 <key>MediaName</key><string>Built In SDXC Reader</string><key>RemovableMedia</key><true/><key>WritableMedia</key><true/>"
            }
            _ => {
                "<key>BusProtocol</key><string>Apple Fabric</string><key>TotalSize</key><integer>500277790720</integer>\
                 <key>RemovableMedia</key><false/><key>WritableMedia</key><true/><key>SolidState</key><true/>"
            }
        };
        Ok(format!("<plist><dict>{keys}</dict></plist>"))
    }

    #[test]
    fn disks_are_read_and_the_systems_own_refused() {
        let devices = from_lists(LIST, info).unwrap();
        let [disk0, disk3, card] = &devices[..] else {
            panic!("{devices:?}")
        };
        assert_eq!(
            (card.bus, card.size, card.name().as_str()),
            (Bus::Sd, 31_914_983_424, "Built In SDXC Reader")
        );
        assert_eq!(card.partitions, ["disk4s1"]);
        let all = Allow {
            fixed: true,
            large: true,
            unmount: true,
            named: true,
        };
        assert_eq!(judge(card, 0, all).unwrap().unmount, [PathBuf::from("/Volumes/bootfs")]);
        for system in [disk0, disk3] {
            assert!(judge(system, 0, all).is_err(), "{system:?}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "<plist/>", "<plist><dict></plist>", "diskutil: no"] {
            assert!(from_lists(text, info).is_err(), "{text}");
        }
    }
}
