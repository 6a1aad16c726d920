//! Cards that would not boot, made from one that would.

use super::*;
use crate::flash::change::Change;
use crate::flash::testing::{Tool, run, tool};
use crate::flash::{ext4, fat};
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const DISK: &str = "5452574f";

/// A card such as Raspberry Pi OS has: FAT with the firmware, ext4 with the root.
fn card() -> Option<(Vec<u8>, Table)> {
    for (name, package) in [
        ("mkfs.fat", "dosfstools"),
        ("sfdisk", "fdisk"),
        ("mke2fs", "e2fsprogs"),
        ("debugfs", "e2fsprogs"),
    ] {
        let Tool::There = tool(name, package) else { return None };
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, boot, root, source) = (
        folder.path().join("disk"),
        folder.path().join("boot"),
        folder.path().join("root"),
        folder.path().join("source"),
    );
    std::fs::File::create(&disk).unwrap().set_len(40 << 20).unwrap();
    let script = format!(
        "label: dos\nlabel-id: 0x{DISK}\nunit: sectors\nstart=8192, size=32768, type=c\nstart=40960, size=40960, type=83\n"
    );
    run("sfdisk", &["--quiet", text(&disk)], &script);
    std::fs::File::create(&boot).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.fat", &["-F", "16", "-i", "1234ABCD", text(&boot)], "");
    std::fs::create_dir_all(source.join("usr/sbin")).unwrap();
    std::fs::write(source.join("usr/sbin/init"), "init").unwrap();
    std::os::unix::fs::symlink("usr/sbin", source.join("sbin")).unwrap();
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    run(
        "mke2fs",
        &[
            "-t",
            "ext4",
            "-q",
            "-F",
            "-b",
            "4096",
            "-U",
            uuid,
            "-L",
            "rootfs",
            "-d",
            text(&source),
            text(&root),
            "20M",
        ],
        "",
    );
    let mut card = std::fs::read(disk).unwrap();
    card[8192 * 512..][..16 << 20].copy_from_slice(&std::fs::read(boot).unwrap());
    card[40960 * 512..][..20 << 20].copy_from_slice(&std::fs::read(root).unwrap());
    let table = Table::read(&mut card).unwrap().unwrap();
    let files = [
        "bootcode.bin",
        "start.elf",
        "start4.elf",
        "kernel8.img",
        "bcm2710-rpi-3-b.dtb",
        "bcm2711-rpi-4-b.dtb",
    ];
    let mut changes: Vec<Change> = files.iter().map(|name| Change::write(format!("/{name}"), *name, 0)).collect();
    changes.push(Change::write(
        "/config.txt",
        "# x\narm_64bit=1\n[pi5]\nkernel=five.img\n[all]\n",
        0,
    ));
    changes.push(Change::write(
        "/cmdline.txt",
        format!("console=tty1 root=PARTUUID={DISK}-02 rootwait\n"),
        0,
    ));
    fat::apply(&mut card, &table.partitions[0], &changes).unwrap();
    Some((card, table))
}

#[test]
fn what_is_missing_is_named() {
    let Some((good, table)) = card() else { return };
    let pi = |generation: u8| Board::RaspberryPi(Some(generation));
    let put = |path: &str, text: &str| vec![Change::write(path, text, 0)];
    let gone = |path: &str| vec![Change::Remove { path: path.into() }];
    let cases: &[(Board, Vec<Change>, &str)] = &[
        (pi(3), vec![], ""),
        (pi(4), vec![], ""),
        (Board::RaspberryPi(None), vec![], ""),
        (Board::Unknown, gone("/start.elf"), ""),
        (
            pi(3),
            gone("/start.elf"),
            "partition 1 has no bootcode.bin and start.elf, which a Raspberry Pi's firmware needs",
        ),
        (
            pi(4),
            gone("/start4.elf"),
            "partition 1 has no start4.elf, which a Raspberry Pi's firmware needs",
        ),
        (
            pi(5),
            vec![],
            "partition 1 has no five.img, which config.txt names as the kernel; partition 1 has no device tree for this board (bcm2712*.dtb)",
        ),
        (
            pi(3),
            gone("/kernel8.img"),
            "partition 1 has no kernel: none of kernel8.img, kernel7.img, kernel.img, and config.txt names no other",
        ),
        (
            pi(3),
            put("/kernel8.img", ""),
            "partition 1 has no kernel: none of kernel8.img, kernel7.img, kernel.img, and config.txt names no other",
        ),
        (
            pi(3),
            put("/config.txt", "kernel=vmlinuz\nos_prefix=current/\n"),
            "partition 1 has no current/vmlinuz, which config.txt names as the kernel",
        ),
        (
            pi(3),
            [
                put("/config.txt", "kernel=vmlinuz\nos_prefix=current/\n"),
                put("/current/vmlinuz", "x"),
            ]
            .concat(),
            "",
        ),
        (
            pi(3),
            [
                put("/config.txt", "kernel=u-boot.bin\n"),
                put("/u-boot.bin", "x"),
                gone("/cmdline.txt"),
            ]
            .concat(),
            "",
        ),
        (
            pi(3),
            gone("/bcm2710-rpi-3-b.dtb"),
            "partition 1 has no device tree for this board (bcm2710*.dtb, bcm2837*.dtb)",
        ),
        (
            pi(3),
            gone("/cmdline.txt"),
            "partition 1 has no cmdline.txt, which tells the kernel where its root is",
        ),
        (
            pi(3),
            put("/cmdline.txt", "root=UUID=01234567-89AB-cdef-0123-456789abcdef"),
            "",
        ),
        (pi(3), put("/cmdline.txt", "root=LABEL=rootfs"), ""),
        (pi(3), put("/cmdline.txt", "root=/dev/mmcblk0p2"), ""),
        (pi(3), put("/cmdline.txt", "root=/dev/nfs nfsroot=10.0.0.1:/x"), ""),
        (
            pi(3),
            put("/cmdline.txt", "root=PARTUUID=deadbeef-02\nquiet"),
            "cmdline.txt on partition 1 has 2 lines, and only the first counts; \
             cmdline.txt on partition 1 says root=PARTUUID=deadbeef-02, and no partition is that: 1 is PARTUUID=5452574f-01 UUID=1234-ABCD, \
             2 is PARTUUID=5452574f-02 UUID=01234567-89ab-cdef-0123-456789abcdef LABEL=rootfs",
        ),
        (
            pi(3),
            put("/cmdline.txt", "quiet"),
            "cmdline.txt on partition 1 has no root=, which tells the kernel where its root is",
        ),
        (
            Board::ArmUefi,
            vec![],
            "no FAT partition has /EFI/BOOT/BOOTAA64.EFI, which UEFI starts",
        ),
        (Board::ArmUefi, put("/efi/boot/bootaa64.efi", "x"), ""),
        (
            Board::Pc,
            vec![],
            "no FAT partition has /EFI/BOOT/BOOTX64.EFI, which UEFI starts",
        ),
        (
            Board::Allwinner,
            vec![],
            "there is no boot loader for an Allwinner processor (eGON.BT0) at 8 or 128 KiB; no partition has what U-Boot starts: one of \
             /boot/extlinux/extlinux.conf, /boot/boot.scr, /extlinux/extlinux.conf, /boot.scr",
        ),
    ];
    for (board, changes, expected) in cases {
        let mut card = good.clone();
        fat::apply(&mut card, &table.partitions[0], changes).unwrap();
        assert_eq!(told(&mut card, *board), *expected, "{board:?} {changes:?}");
    }
    let mut pine = good.clone();
    pine[8196..8204].copy_from_slice(b"eGON.BT0");
    ext4::apply(
        &mut pine,
        &table.partitions[1],
        &[Change::write("/boot/boot.scr", "x", 0o644)],
    )
    .unwrap();
    assert_eq!(told(&mut pine, Board::Allwinner), "");
    let mut empty = good.clone();
    ext4::apply(
        &mut empty,
        &table.partitions[1],
        &[Change::Remove {
            path: "/usr/sbin/init".into(),
        }],
    )
    .unwrap();
    assert_eq!(told(&mut empty, pi(3)), "partition 2, the root, has no /sbin/init");
}

fn told(card: &mut Vec<u8>, board: Board) -> String {
    let problems: Vec<String> = inspect(card, &Expectations { board })
        .iter()
        .map(Problem::to_string)
        .collect();
    problems.join("; ")
}

#[test]
fn damage_is_seen() {
    let Some((good, _)) = card() else { return };
    let (boot, root) = (8192 * 512, 40960 * 512);
    for (damage, expected) in [
        (
            (|card, _, _| card[510] = 0) as fn(&mut Vec<u8>, usize, usize),
            "there is neither a partition table nor a file system that is known",
        ),
        (
            |card, _, _| card[462 + 9] = 0x50,
            "the partition table makes no sense: partition 2",
        ),
        (
            |card, boot, _| card[boot + 510] = 0,
            "partition 1 is marked as FAT and holds no file system: no FAT boot sector was found",
        ),
        (
            |card, boot, _| card[boot + 11] = 7,
            "partition 1 is marked as FAT and holds no file system: no FAT boot sector was found",
        ),
        (
            |card, _, root| card[root + 1024 + 0x38] = 0,
            "partition 2 is marked as Linux and holds no file system that is known",
        ),
        (
            |card, _, root| card[root + 1024 + 4] ^= 1,
            "partition 2 is damaged: the ext4 superblock's checksum is wrong",
        ),
        (
            |card, _, root| card[root + 4096 + 12] ^= 1,
            "partition 2 is damaged: the checksum of the descriptor of its ext4's group 0 is wrong",
        ),
        (
            |card, _, _| card[462 + 13] = 0x10,
            "partition 2 is damaged: its ext4 has 20971520 bytes, and there are only",
        ),
        (
            |card, _, _| card.truncate(30 << 20),
            "the partition table makes no sense: partition 2",
        ),
        (
            |card, _, _| card[446..510].fill(0),
            "there is neither a partition table nor a file system that is known",
        ),
    ] {
        let mut card = good.clone();
        damage(&mut card, boot, root);
        let told = told(&mut card, Board::RaspberryPi(Some(3)));
        assert!(told.starts_with(expected), "{expected}: {told}");
    }
    // The tables of the FAT differ.
    let geometry = layout::fat::Geometry::parse(&good[boot..]).unwrap();
    let mut card = good.clone();
    card[boot + geometry.fat as usize + 3] ^= 1;
    assert!(told(&mut card, Board::Unknown).starts_with("partition 1 is damaged: its FAT's two allocation tables differ"));
    // File systems without a table.
    assert_eq!(told(&mut good[root..].to_vec(), Board::Unknown), "");
    assert_eq!(told(&mut good[boot..root].to_vec(), Board::Unknown), "");
    assert!(!told(&mut vec![0; 1000], Board::Unknown).is_empty());
}

#[test]
fn boards_are_known_by_name() {
    let pi = |generation| Board::RaspberryPi(Some(generation));
    for (name, expected) in [
        ("pi3", pi(3)),
        ("Raspberry Pi 4", pi(4)),
        ("rpi-zero-2", pi(3)),
        ("pi02w", pi(3)),
        ("pi-zero", pi(1)),
        ("raspberry-pi-5", pi(5)),
        ("cm4", Board::Unknown),
        ("rpi-cm4", pi(4)),
        ("raspberrypi", Board::RaspberryPi(None)),
        ("pine64", Board::Allwinner),
        ("Pine64+", Board::Allwinner),
        ("pc", Board::Pc),
        ("vm-arm64", Board::ArmUefi),
        ("toaster", Board::Unknown),
    ] {
        assert_eq!(Board::named(name), expected, "{name}");
    }
}
