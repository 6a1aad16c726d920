//! Disks as Linux tells of them: sysfs, mountinfo and swaps, below folders that a test can choose.
//!
//! `/sys/class/block` names disks and partitions alike; a partition has a file `partition` and lies in its disk's folder. Layers
//! (device-mapper, RAID, bcache) have `slaves`, which are what they are made of. `Documentation/ABI/stable/sysfs-block`,
//! `Documentation/driver-api/mmc/mmc-dev-attrs.rst`.

use super::mounts::{Mount, is_system, mount_of, mounts, overlay_folders, swaps};
use super::{Bus, Device, Use, clean};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Layers upon layers are followed so far; the kernel itself allows fewer.
const DEEPEST: usize = 32;

/// Where `/sys` and `/proc` are.
#[derive(Clone, Debug)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots {
            sys: "/sys".into(),
            proc: "/proc".into(),
        }
    }
}

/// A disk or a partition.
#[derive(Clone, Debug)]
struct Node {
    /// Its folder, links resolved.
    folder: PathBuf,
    number: (u32, u32),
    /// The disk that this is a partition of.
    disk: Option<String>,
    slaves: Vec<String>,
    holders: Vec<String>,
    /// The name under `/dev/mapper`.
    mapped: Option<String>,
    /// The file behind a loop device.
    backing: Option<PathBuf>,
}

/// All block devices and what they are used for.
struct Tree {
    nodes: BTreeMap<String, Node>,
    mounts: Vec<Mount>,
    swaps: Vec<String>,
    /// The members of each btrfs, whose mounts have no device number.
    btrfs: Vec<Vec<String>>,
}

impl Roots {
    /// All whole disks that could be written, but those that never are cards: CD drives, zram, RAM disks, and the boot and replay
    /// areas of an eMMC.
    ///
    /// # Errors
    /// There is no sysfs, or no mountinfo: then nothing is known to be safe.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let tree = self.tree()?;
        let uses = tree.uses();
        let whole = tree
            .nodes
            .iter()
            .filter(|(name, node)| node.disk.is_none() && !is_never(name, node));
        Ok(whole.map(|(name, node)| device(name, node, &tree, &uses)).collect())
    }

    fn tree(&self) -> Result<Tree> {
        let class = self.sys.join("class/block");
        let cannot = |what: &Path, e: std::io::Error| {
            Error::usage(format!("cannot read {}: {e}", what.display())).hint("without it nobody knows what is safe to overwrite")
        };
        let mut nodes = BTreeMap::new();
        for entry in std::fs::read_dir(&class).map_err(|e| cannot(&class, e))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Between listing and reading a disk may go.
            if let Some(node) = node(&entry.path()) {
                nodes.insert(name, node);
            }
        }
        let mountinfo = self.proc.join("self/mountinfo");
        let text = std::fs::read(&mountinfo).map_err(|e| cannot(&mountinfo, e))?;
        // A kernel without swap has no such file.
        let swap_text = std::fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        let btrfs = names(&self.sys.join("fs/btrfs")).into_iter();
        Ok(Tree {
            nodes,
            mounts: mounts(&String::from_utf8_lossy(&text)),
            swaps: swaps(&swap_text),
            btrfs: btrfs
                .map(|id| names(&self.sys.join("fs/btrfs").join(id).join("devices")))
                .collect(),
        })
    }
}

fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The entries of a folder; none where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn node(link: &Path) -> Option<Node> {
    let folder = std::fs::canonicalize(link).ok()?;
    let dev = text(&folder.join("dev"))?;
    let (major, minor) = dev.split_once(':')?;
    let disk = folder.join("partition").exists().then(|| folder.parent()?.file_name());
    Some(Node {
        number: (major.parse().ok()?, minor.parse().ok()?),
        disk: disk.flatten().map(|name| name.to_string_lossy().into_owned()),
        slaves: names(&folder.join("slaves")),
        holders: names(&folder.join("holders")),
        mapped: text(&folder.join("dm/name")),
        backing: text(&folder.join("loop/backing_file")).map(PathBuf::from),
        folder,
    })
}

/// What is no disk for anybody's image. `hidden`: one path of a multipath NVMe.
fn is_never(name: &str, node: &Node) -> bool {
    let emmc_area = name.starts_with("mmcblk") && ["boot", "rpmb", "gp"].iter().any(|area| name.contains(area));
    let kinds = ["sr", "zram", "ram", "fd", "mtdblock"];
    let kind = kinds.iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    // The eight loop devices that exist without a file.
    let idle = name.starts_with("loop") && node.backing.is_none() && number(&node.folder.join("size")) == Some(0);
    emmc_area || kind || idle || number(&node.folder.join("hidden")) == Some(1)
}

impl Tree {
    /// The disks that `name` lies on, through partitions, slaves and the files behind loop devices; `name` itself where it is a disk.
    fn disks_under(&self, name: &str, depth: usize, found: &mut BTreeSet<String>) {
        let Some(node) = self.nodes.get(name).filter(|_| depth < DEEPEST) else {
            return;
        };
        match &node.disk {
            Some(disk) => self.disks_under(disk, depth + 1, found),
            None => {
                // A layer counts as a disk as well: what is mounted from it must keep it from being written, too.
                found.insert(name.to_owned());
            }
        }
        for slave in &node.slaves {
            self.disks_under(slave, depth + 1, found);
        }
        if let Some(mount) = node.backing.as_deref().and_then(|file| mount_of(&self.mounts, file)) {
            self.disks_of_mount(mount, depth + 1, found);
        }
    }

    fn by_number(&self, number: (u32, u32)) -> Option<&str> {
        let node = self.nodes.iter().find(|(_, node)| node.number == number);
        node.map(|(name, _)| name.as_str())
    }

    /// The block device that `/dev/...` names, by its kernel name or its name under `/dev/mapper`.
    fn by_path(&self, path: &str) -> Option<&str> {
        let name = path.strip_prefix("/dev/")?;
        if let Some((name, _)) = self.nodes.get_key_value(name) {
            return Some(name);
        }
        let mapped = name.strip_prefix("mapper/")?;
        let node = self.nodes.iter().find(|(_, node)| node.mapped.as_deref() == Some(mapped));
        node.map(|(name, _)| name.as_str())
    }

    fn disks_of_mount(&self, mount: &Mount, depth: usize, found: &mut BTreeSet<String>) {
        if depth >= DEEPEST {
            return;
        }
        if let Some(name) = self.by_number(mount.number).or_else(|| self.by_path(&mount.source)) {
            let team = self
                .btrfs
                .iter()
                .find(|members| mount.kind == "btrfs" && members.iter().any(|m| m == name));
            match team {
                Some(members) => members.iter().for_each(|member| self.disks_under(member, depth + 1, found)),
                None => self.disks_under(name, depth + 1, found),
            }
        }
        // A root that is kept read-only below an overlay.
        for folder in overlay_folders(mount) {
            let over = mount_of(&self.mounts, &folder).filter(|below| below.at != mount.at);
            if let Some(below) = over {
                self.disks_of_mount(below, depth + 1, found);
            }
        }
    }

    /// What each disk is used for.
    fn uses(&self) -> BTreeMap<String, BTreeSet<Use>> {
        let mut uses: BTreeMap<String, BTreeSet<Use>> = BTreeMap::new();
        let mut add = |disks: BTreeSet<String>, used: Use| {
            for disk in disks {
                uses.entry(disk).or_default().insert(used.clone());
            }
        };
        for mount in &self.mounts {
            let mut disks = BTreeSet::new();
            self.disks_of_mount(mount, 0, &mut disks);
            let used = Use::Mount {
                at: mount.at.clone(),
                system: is_system(&mount.at),
            };
            add(disks, used);
        }
        for file in &self.swaps {
            let mut disks = BTreeSet::new();
            match self.by_path(file) {
                Some(name) => self.disks_under(name, 0, &mut disks),
                None => {
                    if let Some(mount) = mount_of(&self.mounts, Path::new(file)) {
                        self.disks_of_mount(mount, 0, &mut disks);
                    }
                }
            }
            add(disks, Use::Swap { file: file.clone() });
        }
        for (name, node) in &self.nodes {
            for holder in &node.holders {
                let mapped = self.nodes.get(holder).and_then(|node| node.mapped.clone());
                let disk = node.disk.clone().unwrap_or_else(|| name.clone());
                let holder = mapped.unwrap_or_else(|| holder.clone());
                add([disk].into(), Use::Holder { name: clean(&holder) });
            }
            // The file behind a loop device keeps the disk that it lies on in use.
            if let Some(mount) = node.backing.as_deref().and_then(|file| mount_of(&self.mounts, file)) {
                let mut disks = BTreeSet::new();
                self.disks_of_mount(mount, 0, &mut disks);
                add(disks, Use::Holder { name: name.clone() });
            }
        }
        uses
    }
}

/// How the disk `name` is connected: by its own name, or by the buses in its folder's path.
fn bus(name: &str, folder: &Path) -> Bus {
    let path = folder.to_string_lossy();
    if name.starts_with("mmcblk") {
        return match text(&folder.join("device/type")).as_deref() {
            Some("SD") => Bus::Sd,
            _ => Bus::Emmc,
        };
    }
    if name.starts_with("loop") {
        return Bus::Loop;
    }
    if path.contains("/devices/virtual/") {
        // NVMe with multipath hangs its disks below a virtual subsystem.
        return if name.starts_with("nvme") { Bus::Nvme } else { Bus::Virtual };
    }
    for (part, bus) in [
        ("/usb", Bus::Usb),
        ("/nvme", Bus::Nvme),
        ("/virtio", Bus::Virtio),
        ("/ata", Bus::Sata),
    ] {
        if path.contains(part) {
            return bus;
        }
    }
    Bus::Other
}

fn device(name: &str, node: &Node, tree: &Tree, uses: &BTreeMap<String, BTreeSet<Use>>) -> Device {
    let folder = &node.folder;
    let said = |file: &str| {
        text(&folder.join(file))
            .map(|text| clean(&text))
            .filter(|text| !text.is_empty())
    };
    let flag = |file: &str| number(&folder.join(file)).is_some_and(|n| n != 0);
    let partitions = tree.nodes.iter().filter(|(_, part)| part.disk.as_deref() == Some(name));
    Device {
        // The kernel writes `!` where the name has a slash.
        path: Path::new("/dev").join(name.replace('!', "/")),
        number: node.number,
        vendor: said("device/vendor")
            .filter(|vendor| !vendor.starts_with("0x"))
            .unwrap_or_default(),
        model: said("device/model").or_else(|| said("device/name")).unwrap_or_default(),
        serial: said("device/serial")
            .or_else(|| said("serial"))
            .or_else(|| usb_serial(folder)),
        cid: said("device/cid"),
        size: number(&folder.join("size")).unwrap_or_default().saturating_mul(512),
        bus: bus(name, folder),
        removable: flag("removable"),
        read_only: flag("ro"),
        rotational: flag("queue/rotational"),
        partitions: partitions.map(|(name, _)| name.clone()).collect(),
        uses: uses.get(name).into_iter().flatten().cloned().collect(),
        max_sectors_kb: number(&folder.join("queue/max_sectors_kb")),
        nr_requests: number(&folder.join("queue/nr_requests")),
        preferred_erase_size: number(&folder.join("device/preferred_erase_size")).filter(|size| *size > 0),
        optimal_io_size: number(&folder.join("queue/optimal_io_size")).filter(|size| *size > 0),
        logical_block_size: number(&folder.join("queue/logical_block_size")).unwrap_or(512) as u32,
        diskseq: number(&folder.join("diskseq")),
    }
}

/// The serial number of the USB device that the disk is part of: SCSI over USB has none of its own in sysfs.
fn usb_serial(folder: &Path) -> Option<String> {
    let above = folder.ancestors().take_while(|at| at.to_string_lossy().contains("/usb"));
    let mut devices = above.filter(|at| at.join("idVendor").exists());
    let serial = clean(&text(&devices.next()?.join("serial"))?);
    (!serial.is_empty()).then_some(serial)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::rules::{Allow, judge};
    use super::*;
    use std::os::unix::fs::symlink;

    /// A sysfs and a procfs in a folder.
    pub(crate) struct Fixture {
        pub(crate) folder: tempfile::TempDir,
        mounts: String,
        swaps: String,
    }

    impl Fixture {
        pub(crate) fn new() -> Fixture {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("sys/class/block")).unwrap();
            std::fs::create_dir_all(folder.path().join("proc/self")).unwrap();
            Fixture {
                folder,
                mounts: String::new(),
                swaps: "Filename Type\n".to_owned(),
            }
        }

        fn block(&self, path: &str, number: &str, files: &[(&str, &str)]) -> PathBuf {
            let folder = self.folder.path().join("sys/devices").join(path);
            std::fs::create_dir_all(folder.join("slaves")).unwrap();
            std::fs::create_dir_all(folder.join("holders")).unwrap();
            for (file, text) in [("dev", number), ("size", "62333952"), ("ro", "0"), ("removable", "0")]
                .iter()
                .chain(files)
            {
                let file = folder.join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, format!("{text}\n")).unwrap();
            }
            symlink(
                &folder,
                self.folder.path().join("sys/class/block").join(folder.file_name().unwrap()),
            )
            .unwrap();
            folder
        }

        pub(crate) fn disk(&self, path: &str, number: &str, files: &[(&str, &str)]) -> &Fixture {
            self.block(path, number, files);
            self
        }

        fn part(&self, path: &str, number: &str) -> &Fixture {
            self.block(path, number, &[("partition", "1")]);
            self
        }

        /// `layer` is made of `under`.
        fn layer(&self, layer: &str, number: &str, files: &[(&str, &str)], under: &[&str]) -> &Fixture {
            let folder = self.block(&format!("virtual/block/{layer}"), number, files);
            for name in under {
                let real = std::fs::canonicalize(self.folder.path().join("sys/class/block").join(name)).unwrap();
                symlink(&real, folder.join("slaves").join(name)).unwrap();
                symlink(&folder, real.join("holders").join(layer)).unwrap();
            }
            self
        }

        fn mounted(&mut self, number: &str, at: &str, kind: &str, source: &str, options: &str) -> &mut Fixture {
            self.mounts += &format!("20 1 {number} / {at} rw shared:1 - {kind} {source} {options}\n");
            self
        }

        pub(crate) fn roots(&self) -> Roots {
            let roots = Roots {
                sys: self.folder.path().join("sys"),
                proc: self.folder.path().join("proc"),
            };
            std::fs::write(roots.proc.join("self/mountinfo"), &self.mounts).unwrap();
            std::fs::write(roots.proc.join("swaps"), &self.swaps).unwrap();
            roots
        }

        fn named(&self, name: &str) -> Device {
            let devices = self.roots().devices().unwrap();
            devices
                .into_iter()
                .find(|device| device.path == Path::new("/dev").join(name))
                .unwrap()
        }
    }

    const ALL: Allow = Allow {
        fixed: true,
        large: true,
        unmount: true,
        named: true,
    };

    #[test]
    fn a_card_in_a_usb_reader() {
        let fixture = Fixture::new();
        let usb = "pci0000:00/0000:00:14.0/usb1/1-2";
        fixture
            .disk(
                &format!("{usb}/1-2:1.0/host4/target4:0:0/4:0:0:0/block/sdb"),
                "8:16",
                &[
                    ("device/vendor", "Generic "),
                    ("device/model", "SD\u{202e}Reader  "),
                    ("removable", "1"),
                    ("queue/max_sectors_kb", "120"),
                    ("queue/nr_requests", "2"),
                    ("diskseq", "12"),
                ],
            )
            .part(&format!("{usb}/1-2:1.0/host4/target4:0:0/4:0:0:0/block/sdb/sdb1"), "8:17");
        let above = fixture.folder.path().join("sys/devices").join(usb);
        std::fs::write(above.join("idVendor"), "058f\n").unwrap();
        std::fs::write(above.join("serial"), "000000264001\n").unwrap();
        let card = fixture.named("sdb");
        assert_eq!((card.bus, card.removable, card.is_removable()), (Bus::Usb, true, true));
        assert_eq!(card.name(), "Generic SDReader");
        assert_eq!(card.serial.as_deref(), Some("000000264001"));
        assert_eq!(card.identity().unwrap(), "serial-000000264001-31914983424");
        assert_eq!(
            (card.size, card.nr_requests, card.diskseq),
            (31_914_983_424, Some(2), Some(12))
        );
        assert_eq!(card.partitions, ["sdb1"]);
        assert!(judge(&card, 3 << 30, Allow::default()).is_ok());
    }

    #[test]
    fn a_card_in_a_native_slot_and_soldered_flash() {
        let fixture = Fixture::new();
        let host = "platform/emmc2/mmc_host";
        let sd = [
            ("device/type", "SD"),
            ("device/name", "SC32G"),
            ("device/cid", "035344534333324780e1a5d0f4010ac1"),
            ("device/serial", "0xe1a5d0f4"),
            ("device/preferred_erase_size", "4194304"),
        ];
        fixture.disk(&format!("{host}/mmc0/mmc0:aaaa/block/mmcblk0"), "179:0", &sd);
        fixture.disk(
            &format!("{host}/mmc1/mmc1:0001/block/mmcblk1"),
            "179:32",
            &[("device/type", "MMC")],
        );
        fixture.disk(
            &format!("{host}/mmc1/mmc1:0001/block/mmcblk1boot0"),
            "179:64",
            &[("device/type", "MMC")],
        );
        fixture.disk("virtual/block/zram0", "253:0", &[]);
        fixture.disk("pci0/ata2/host1/block/sr0", "11:0", &[("removable", "1")]);
        fixture.disk("virtual/block/loop3", "7:3", &[("size", "0")]);
        let names: Vec<PathBuf> = fixture.roots().devices().unwrap().into_iter().map(|d| d.path).collect();
        assert_eq!(names, ["/dev/mmcblk0", "/dev/mmcblk1"].map(PathBuf::from));
        let card = fixture.named("mmcblk0");
        assert_eq!(
            (card.bus, card.is_removable(), card.preferred_erase_size),
            (Bus::Sd, true, Some(4 << 20))
        );
        assert_eq!(card.identity().unwrap(), "cid-035344534333324780e1a5d0f4010ac1");
        assert!(!fixture.named("mmcblk1").is_removable());
    }

    #[test]
    fn the_disks_under_the_system_are_found_through_all_layers() {
        let sda = "pci0/ata1/host0/block/sda";
        let sdb = "pci0/usb2/2-1/host1/block/sdb";
        type Build = fn(&mut Fixture);
        type Refused = &'static [(&'static str, &'static str)];
        // What is built; the disks that are refused though all is allowed, with what is said.
        let table: &[(&str, Build, Refused)] = &[
            (
                "a plain root",
                |f| {
                    f.mounted("8:1", "/", "ext4", "/dev/root", "rw");
                },
                &[("sda", "holds /:")],
            ),
            (
                "LVM on LUKS",
                |f| {
                    f.layer("dm-0", "252:0", &[("dm/name", "crypt")], &["sda1"]);
                    f.layer("dm-1", "252:1", &[("dm/name", "vg-root")], &["dm-0"]);
                    f.mounted("252:1", "/", "ext4", "/dev/mapper/vg-root", "rw");
                },
                &[("sda", "holds /:"), ("dm-0", "holds /:"), ("dm-1", "holds /:")],
            ),
            (
                "RAID over two disks",
                |f| {
                    f.layer("md0", "9:0", &[], &["sda1", "sdb1"]);
                    f.mounted("9:0", "/home", "ext4", "/dev/md0", "rw");
                },
                &[("sda", "holds /home"), ("sdb", "holds /home")],
            ),
            (
                "btrfs over two disks, which has no device number of its own",
                |f| {
                    let devices = f.folder.path().join("sys/fs/btrfs/6af2/devices");
                    std::fs::create_dir_all(&devices).unwrap();
                    for name in ["sda1", "sdb1"] {
                        std::fs::write(devices.join(name), "").unwrap();
                    }
                    f.mounted("0:31", "/var", "btrfs", "/dev/sda1", "rw,subvol=/@var");
                },
                &[("sda", "holds /var"), ("sdb", "holds /var")],
            ),
            (
                "an overlay over a read-only root",
                |f| {
                    f.mounted(
                        "0:40",
                        "/",
                        "overlay",
                        "overlay",
                        "rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/up",
                    );
                    f.mounted("8:17", "/media/root-ro", "ext4", "/dev/sdb1", "ro");
                },
                &[("sdb", "holds /:")],
            ),
            (
                "swap on a partition, and in a file",
                |f| {
                    f.layer("dm-0", "252:0", &[("dm/name", "swap")], &["sda1"]);
                    f.mounted("8:17", "/mnt/data", "ext4", "/dev/sdb1", "rw");
                    f.swaps += "/dev/mapper/swap partition 1 0 -2\n/mnt/data/swapfile file 1 0 -3\n";
                },
                &[
                    ("sda", "active swap (/dev/mapper/swap)"),
                    ("sdb", "active swap (/mnt/data/swapfile)"),
                ],
            ),
            (
                "a root in a file on a stick",
                |f| {
                    f.disk("virtual/block/loop0", "7:0", &[("loop/backing_file", "/mnt/stick/root.img")]);
                    f.mounted("8:17", "/mnt/stick", "vfat", "/dev/sdb1", "rw");
                    f.mounted("7:0", "/", "ext4", "/dev/loop0", "rw");
                },
                &[("sdb", "holds /:"), ("loop0", "holds /:")],
            ),
            (
                "held, but not mounted",
                |f| {
                    f.layer("dm-0", "252:0", &[("dm/name", "vg-old")], &["sdb1"]);
                },
                &[("sdb", "held by vg-old")],
            ),
        ];
        for (what, build, refused) in table {
            let mut fixture = Fixture::new();
            fixture.disk(sda, "8:0", &[]).part(&format!("{sda}/sda1"), "8:1");
            fixture.disk(sdb, "8:16", &[]).part(&format!("{sdb}/sdb1"), "8:17");
            build(&mut fixture);
            for (name, says) in *refused {
                let error = judge(&fixture.named(name), 0, ALL).expect_err(what);
                assert!(error.to_string().contains(says), "{what}: {error}");
            }
            for name in ["sda", "sdb"]
                .iter()
                .filter(|name| refused.iter().all(|(other, _)| other != *name))
            {
                assert!(judge(&fixture.named(name), 0, ALL).is_ok(), "{what}: {name}");
            }
        }
    }

    #[test]
    fn a_stick_that_a_desktop_mounted_can_be_unmounted() {
        let mut fixture = Fixture::new();
        let sdb = "pci0/usb2/2-1/host1/block/sdb";
        fixture.disk(sdb, "8:16", &[]).part(&format!("{sdb}/sdb1"), "8:17");
        fixture.mounted("8:17", "/media/me/two\\040words", "vfat", "/dev/sdb1", "rw");
        let verdict = judge(&fixture.named("sdb"), 0, ALL).unwrap();
        assert_eq!(verdict.unmount, [PathBuf::from("/media/me/two words")]);
        assert!(judge(&fixture.named("sdb"), 0, Allow::default()).is_err());
    }

    #[test]
    fn layers_in_a_circle_end() {
        let fixture = Fixture::new();
        fixture.layer("dm-0", "252:0", &[], &[]);
        fixture.layer("dm-1", "252:1", &[], &["dm-0"]);
        let block = fixture.folder.path().join("sys/class/block");
        symlink(block.join("dm-1"), block.join("dm-0/slaves/dm-1")).unwrap();
        assert_eq!(fixture.roots().devices().unwrap().len(), 2);
    }

    #[test]
    fn without_mountinfo_nothing_is_safe() {
        let fixture = Fixture::new();
        let roots = fixture.roots();
        std::fs::remove_file(roots.proc.join("self/mountinfo")).unwrap();
        assert!(roots.devices().unwrap_err().to_string().contains("mountinfo"));
    }

    #[test]
    fn this_machine_is_not_offered() {
        let Ok(devices) = Roots::default().devices() else { return };
        let root = devices.iter().find(|device| {
            device
                .uses
                .iter()
                .any(|used| matches!(used, Use::Mount { at, .. } if at == Path::new("/")))
        });
        match root {
            Some(device) => assert!(judge(device, 0, ALL).is_err()),
            None => println!("skipped: the root file system is on no disk here"),
        }
    }
}
