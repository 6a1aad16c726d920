//! Are the files there that a board's firmware, boot loader and kernel look for?

use super::{Board, Problem, Volume};
use crate::flash::blocks::Blocks;
use crate::flash::layout::Found;
use crate::flash::partition::{Kind, Partition};
use crate::flash::{ext4, fat};

pub(super) fn check(blocks: &mut dyn Blocks, volumes: &[Volume], board: Board, problems: &mut Vec<Problem>) {
    match board {
        Board::Unknown => {}
        Board::RaspberryPi(generation) => raspberry_pi(blocks, volumes, generation, problems),
        Board::Pc => uefi(blocks, volumes, "BOOTX64.EFI", problems),
        Board::ArmUefi => uefi(blocks, volumes, "BOOTAA64.EFI", problems),
        Board::Allwinner => allwinner(blocks, volumes, problems),
    }
}

fn uefi(blocks: &mut dyn Blocks, volumes: &[Volume], file: &str, problems: &mut Vec<Problem>) {
    let path = format!("/EFI/BOOT/{file}");
    if volumes.iter().any(|volume| volume.is_fat() && holds(blocks, volume, &path)) {
        return;
    }
    // Or as a BIOS does it: code in the first sector.
    let mut code = [0; 440];
    let bios = file == "BOOTX64.EFI"
        && blocks.read_at(0, &mut code).is_ok()
        && code.iter().any(|byte| *byte != 0)
        && volumes
            .iter()
            .any(|volume| volume.partition.bootable || volume.partition.kind == Kind::BiosBoot);
    if !bios {
        problems.push(Problem(format!("no FAT partition has {path}, which UEFI starts")));
    }
}

fn allwinner(blocks: &mut dyn Blocks, volumes: &[Volume], problems: &mut Vec<Problem>) {
    // The boot ROM looks at 8 KiB, newer ones at 128 KiB as well (linux-sunxi.org, "Bootable SD card").
    let mut magic = [0; 8];
    let loader = [8 << 10, 128 << 10]
        .iter()
        .any(|at| blocks.read_at(at + 4, &mut magic).is_ok() && &magic == b"eGON.BT0");
    if !loader {
        problems.push(Problem(
            "there is no boot loader for an Allwinner processor (eGON.BT0) at 8 or 128 KiB".into(),
        ));
    }
    let files = [
        "/boot/extlinux/extlinux.conf",
        "/boot/boot.scr",
        "/extlinux/extlinux.conf",
        "/boot.scr",
    ];
    let found = volumes
        .iter()
        .any(|volume| files.iter().any(|file| holds(blocks, volume, file)));
    if !found && !volumes.iter().any(|volume| matches!(volume.found, Found::Other(_))) {
        problems.push(Problem(format!(
            "no partition has what U-Boot starts: one of {}",
            files.join(", ")
        )));
    }
}

fn holds(blocks: &mut dyn Blocks, volume: &Volume, path: &str) -> bool {
    match &volume.found {
        Found::Fat(_) => fat::read(blocks, &volume.partition, path).is_ok_and(|file| file.is_some_and(|bytes| !bytes.is_empty())),
        Found::Ext4(_) => ext4::stat(blocks, &volume.partition, path).is_ok_and(|stat| stat.is_some_and(|stat| stat.size > 0)),
        _ => false,
    }
}

/// What a generation of the Raspberry Pi looks for: kernels where `config.txt` names none, and beginnings of device trees' names (as the
/// Pi's own kernel calls them and as mainline does).
fn pi_files(generation: u8) -> (&'static [&'static str], &'static [&'static str]) {
    match generation {
        1 => (&["kernel.img"], &["bcm2708", "bcm2835"]),
        2 => (
            &["kernel7.img", "kernel8.img", "kernel.img"],
            &["bcm2709", "bcm2710", "bcm2836", "bcm2837"],
        ),
        3 => (&["kernel8.img", "kernel7.img", "kernel.img"], &["bcm2710", "bcm2837"]),
        4 => (&["kernel8.img", "kernel7l.img", "kernel7.img", "kernel.img"], &["bcm2711"]),
        _ => (&["kernel_2712.img", "kernel8.img"], &["bcm2712"]),
    }
}

fn raspberry_pi(blocks: &mut dyn Blocks, volumes: &[Volume], generation: Option<u8>, problems: &mut Vec<Problem>) {
    let mut problem = |why: String| problems.push(Problem(why));
    let Some(boot) = volumes.iter().find(|volume| volume.is_fat()) else {
        return problem("a Raspberry Pi starts from a FAT partition, and there is none".into());
    };
    let name = boot.name();
    let files: Vec<fat::Entry> = fat::list(blocks, &boot.partition, "/").ok().flatten().unwrap_or_default();
    let is_there = |name: &str| {
        files
            .iter()
            .any(|file| !file.folder && file.size > 0 && file.name.eq_ignore_ascii_case(name))
    };
    let any = |start: &str, end: &str| {
        files.iter().any(|file| {
            let name = file.name.to_lowercase();
            !file.folder && file.size > 0 && name.starts_with(start) && name.ends_with(end)
        })
    };
    let old = is_there("bootcode.bin") && (is_there("start.elf") || is_there("start_cd.elf") || is_there("start_x.elf"));
    let four = any("start4", ".elf");
    let firmware = match generation {
        Some(1..=3) if !old => Some("bootcode.bin and start.elf"),
        Some(4) if !four => Some("start4.elf"),
        Some(5) if !is_there("config.txt") => Some("config.txt"),
        None if !old && !four && !is_there("config.txt") => Some("bootcode.bin and start.elf, or start4.elf, or config.txt"),
        _ => None,
    };
    if let Some(missing) = firmware {
        problem(format!("{name} has no {missing}, which a Raspberry Pi's firmware needs"));
    }

    let mut text = |path: &str| {
        let bytes = fat::read(blocks, &boot.partition, path).ok().flatten();
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let config = Config::parse(&text("/config.txt").unwrap_or_default(), generation);
    let prefix = config.value("os_prefix").unwrap_or_default().to_owned();
    let mut somewhere = |file: &str| is_there(file) || text(&format!("/{prefix}{file}")).is_some_and(|text| !text.is_empty());
    let uses_uboot = config
        .value("kernel")
        .is_some_and(|kernel| kernel.contains("u-boot") || kernel.contains("uboot"));
    if let Some(kernel) = config.value("kernel") {
        if !somewhere(kernel) {
            problem(format!(
                "{name} has no {prefix}{kernel}, which config.txt names as the kernel"
            ));
        }
    } else if !config.is_conditional("kernel") {
        let kernels = generation.map_or(
            &["kernel8.img", "kernel7.img", "kernel7l.img", "kernel_2712.img", "kernel.img"][..],
            |generation| pi_files(generation).0,
        );
        if !kernels.iter().any(|kernel| somewhere(kernel)) {
            problem(format!(
                "{name} has no kernel: none of {}, and config.txt names no other",
                kernels.join(", ")
            ));
        }
    }
    if let Some(trees) = generation.map(|generation| pi_files(generation).1)
        && config.value("device_tree").is_none()
        && prefix.is_empty()
        && !uses_uboot
        && !trees.iter().any(|tree| any(tree, ".dtb"))
    {
        problem(format!(
            "{name} has no device tree for this board ({}*.dtb)",
            trees.join("*.dtb, ")
        ));
    }
    let file = config.value("cmdline").unwrap_or("cmdline.txt");
    let arguments = text(&format!("/{prefix}{file}")).or_else(|| text(&format!("/{file}")));
    match arguments {
        Some(arguments) => cmdline(blocks, volumes, &arguments, &format!("{file} on {name}"), problems),
        None if uses_uboot || is_there("boot.scr") => {}
        None => problem(format!("{name} has no {file}, which tells the kernel where its root is")),
    }
}

/// The settings of a `config.txt` that apply to a board.
struct Config {
    /// (key, value, whether it surely applies)
    settings: Vec<(String, String, bool)>,
}

impl Config {
    fn parse(text: &str, generation: Option<u8>) -> Config {
        let mut applies = Some(true);
        let mut settings = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(filter) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                applies = match (filter.trim().to_lowercase().as_str(), generation) {
                    ("all", _) => Some(true),
                    ("none", _) => Some(false),
                    // Zero and Zero 2 have filters of their own, and belong to generations 1 and 3.
                    (filter, Some(generation)) if filter.len() == 3 && filter.starts_with("pi") => match &filter[2..] {
                        "0" => (generation != 1).then_some(false),
                        digit => Some(digit.parse() == Ok(generation)),
                    },
                    _ => None,
                };
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#'))
                && applies != Some(false)
            {
                settings.push((key.trim().to_lowercase(), value.trim().to_owned(), applies.is_some()));
            }
        }
        Config { settings }
    }

    /// What a setting surely is: the last word counts.
    fn value(&self, key: &str) -> Option<&str> {
        let last = self.settings.iter().rfind(|(known, ..)| known == key);
        last.filter(|(_, value, surely)| *surely && !value.is_empty())
            .map(|(_, value, _)| value.as_str())
    }

    /// Whether it may be set, under a condition that is not known here.
    fn is_conditional(&self, key: &str) -> bool {
        self.settings.iter().any(|(known, ..)| known == key)
    }
}

/// The kernel's command line: one line, and a root that is on this card.
fn cmdline(blocks: &mut dyn Blocks, volumes: &[Volume], text: &str, name: &str, problems: &mut Vec<Problem>) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > 1 {
        problems.push(Problem(format!(
            "{name} has {} lines, and only the first counts",
            lines.len()
        )));
    }
    let words = lines.first().map_or("", |line| line).split_whitespace();
    let Some(root) = words.filter_map(|word| word.strip_prefix("root=")).next_back() else {
        problems.push(Problem(format!(
            "{name} has no root=, which tells the kernel where its root is"
        )));
        return;
    };
    let Some(matches) = root_match(root) else { return };
    let Some(volume) = volumes.iter().find(|volume| matches(volume)) else {
        let partitions: Vec<String> = volumes.iter().map(identity).collect();
        problems.push(Problem(format!(
            "{name} says root={root}, and no partition is that: {}",
            partitions.join(", ")
        )));
        return;
    };
    if matches!(volume.found, Found::Ext4(_)) {
        let partition = &volume.partition;
        let inits = [
            "/sbin/init",
            "/usr/sbin/init",
            "/lib/systemd/systemd",
            "/usr/lib/systemd/systemd",
            "/init",
            "/bin/sh",
        ];
        if !inits
            .iter()
            .any(|path| ext4::stat(blocks, partition, path).is_ok_and(|stat| stat.is_some()))
        {
            problems.push(Problem(format!("{}, the root, has no /sbin/init", volume.name())));
        }
    }
}

/// How a partition is told in a problem.
fn identity(volume: &Volume) -> String {
    let Partition { number, uuid, .. } = &volume.partition;
    match &volume.found {
        Found::Ext4(superblock) => format!(
            "{number} is PARTUUID={uuid} UUID={} LABEL={}",
            dashed(&superblock.uuid),
            superblock.label
        ),
        Found::Fat(fat) => format!(
            "{number} is PARTUUID={uuid} UUID={:04X}-{:04X}",
            fat.serial >> 16,
            fat.serial & 0xFFFF
        ),
        _ => format!("{number} is PARTUUID={uuid}"),
    }
}

fn dashed(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Whether a partition is the one that is asked for.
type Matches<'a> = Box<dyn Fn(&Volume) -> bool + 'a>;

/// What a `root=` asks of a partition; `None` where it is none on this card that is asked for, or that cannot be told.
fn root_match(root: &str) -> Option<Matches<'_>> {
    if let Some((key, value)) = root.split_once('=') {
        let value = value.trim_matches('"');
        return match key {
            "PARTUUID" if value.contains('/') => None,
            "PARTUUID" => Some(Box::new(move |volume| volume.partition.uuid.eq_ignore_ascii_case(value))),
            "PARTLABEL" => Some(Box::new(move |volume| volume.partition.label == value)),
            "UUID" => Some(Box::new(move |volume| match &volume.found {
                Found::Ext4(superblock) => dashed(&superblock.uuid).eq_ignore_ascii_case(value),
                Found::Fat(fat) => format!("{:04X}-{:04X}", fat.serial >> 16, fat.serial & 0xFFFF).eq_ignore_ascii_case(value),
                // Another file system may have it.
                found => matches!(found, Found::Other(_)),
            })),
            "LABEL" => Some(Box::new(move |volume| match &volume.found {
                Found::Ext4(superblock) => superblock.label == value,
                found => matches!(found, Found::Other(_)),
            })),
            _ => None,
        };
    }
    // The card's own device: the first of its kind.
    let number = ["/dev/mmcblk0p", "/dev/sda", "/dev/vda"]
        .iter()
        .find_map(|device| root.strip_prefix(device))?;
    let number: u32 = number.parse().ok()?;
    Some(Box::new(move |volume| volume.partition.number == number))
}
