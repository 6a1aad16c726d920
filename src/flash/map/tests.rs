//! The mapper against what the file systems' own tools say.

use super::*;
use crate::flash::testing::{Tool, attempt, run, tool};
use proptest::prelude::*;
use std::path::Path;

/// Streams an image through a mapper in pieces of `piece` bytes and asks after each for its parts of `grain` bytes: which are needed?
fn ask(image: &[u8], size: Option<u64>, piece: usize, grain: usize) -> Vec<bool> {
    let mut mapper = Mapper::new(size);
    let mut needed = Vec::new();
    for (number, bytes) in image.chunks(piece).enumerate() {
        let start = (number * piece) as u64;
        mapper.feed(start, bytes);
        needed.extend((0..bytes.len()).step_by(grain).map(|at| {
            let length = grain.min(bytes.len() - at);
            mapper.needed(start + at as u64, length as u64)
        }));
    }
    needed
}

/// What a card full of noise holds after only the needed parts were written.
fn copied(image: &[u8], needed: &[bool], grain: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let noise: Vec<u8> = (0..8209)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    let mut card = noise.repeat(image.len() / noise.len() + 1);
    card.truncate(image.len());
    for ((from, to), needed) in image.chunks(grain).zip(card.chunks_mut(grain)).zip(needed) {
        if *needed {
            to.copy_from_slice(from);
        }
    }
    card
}

/// Files of all sizes, reproducible.
fn fill(folder: &Path, files: usize, seed: u64) {
    let mut state = seed | 1;
    for number in 0..files {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 33) as usize % if number % 7 == 0 { 900_000 } else { 9_000 };
        let place = folder.join(format!("folder {}", number % 5));
        std::fs::create_dir_all(&place).unwrap();
        let contents: Vec<u8> = (0..length).map(|at| ((at as u64).wrapping_mul(state) >> 21) as u8).collect();
        std::fs::write(place.join(format!("file with a long name {number}")), contents).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image that mke2fs made with these options, with files of which every third is deleted again.
fn ext4(options: &[&str], mib: usize, files: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (image, source) = (folder.path().join("image"), folder.path().join("source"));
    std::fs::create_dir(&source).unwrap();
    fill(&source, files, (mib * files) as u64);
    let size = format!("{mib}M");
    let arguments = [options, &["-q", "-F", "-d", text(&source), text(&image), &size]].concat();
    run("mke2fs", &arguments, "");
    let removals: Vec<String> = (0..files)
        .step_by(3)
        .map(|number| format!("rm \"/folder {}/file with a long name {number}\"\n", number % 5))
        .collect();
    run("debugfs", &["-w", "-f", "-", text(&image)], &removals.concat());
    std::fs::read(image).unwrap()
}

/// What dumpe2fs says of an image: the size of a block, and which blocks are free.
fn dumped(image: &[u8]) -> (usize, Vec<bool>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    let text = run("dumpe2fs", &[text(file.path())], "");
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<usize>().unwrap()
    };
    let mut free = vec![false; number("Block count:")];
    for ranges in text.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for range in ranges.split(", ").filter(|range| !range.trim().is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            free[first.trim().parse().unwrap()..=last.trim().parse().unwrap()].fill(true);
        }
    }
    (number("Block size:"), free)
}

/// Compares the map with dumpe2fs, block by block; returns how many of the free blocks are skipped.
fn compare(image: &[u8], name: &str) -> f64 {
    let (block, free) = dumped(image);
    let needed = ask(image, Some(image.len() as u64), 1 << 20, block);
    for (number, free) in free.iter().enumerate() {
        assert!(
            *free || needed[number],
            "{name}: block {number} is in use and would not be written"
        );
    }
    // What is behind the file system's end is needed.
    assert!(needed[free.len()..].iter().all(|needed| *needed), "{name}");
    let skipped = needed.iter().filter(|needed| !**needed).count();
    skipped as f64 / free.iter().filter(|free| **free).count().max(1) as f64
}

fn clean_ext4(image: &[u8], name: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    let (status, said) = attempt("e2fsck", &["-fn", text(file.path())], "");
    assert_eq!(status, 0, "{name}: {said}");
}

fn has_e2fsprogs() -> bool {
    matches!(tool("mke2fs", "e2fsprogs"), Tool::There)
}

#[test]
fn what_dumpe2fs_calls_used_is_needed() {
    if !has_e2fsprogs() {
        return;
    }
    // (options, MiB, files, the least share of free blocks that is skipped: 0 where the map is not trusted)
    let cases: &[(&[&str], usize, usize, f64)] = &[
        (&["-t", "ext4", "-b", "4096"], 40, 60, 0.95),
        (&["-t", "ext4", "-b", "1024"], 40, 60, 0.9),
        (&["-t", "ext4", "-b", "2048", "-O", "^64bit"], 40, 60, 0.9),
        (&["-t", "ext3"], 24, 30, 0.9),
        (&["-t", "ext2", "-b", "1024"], 24, 30, 0.8),
        (&["-t", "ext2", "-O", "^sparse_super,^resize_inode"], 24, 30, 0.8),
        (&["-t", "ext4", "-b", "1024", "-O", "^flex_bg"], 40, 60, 0.8),
        (&["-t", "ext4", "-O", "^metadata_csum,uninit_bg"], 40, 30, 0.9),
        (
            &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^uninit_bg", "-g", "1024"],
            24,
            30,
            0.9,
        ),
        (
            &["-t", "ext4", "-b", "1024", "-g", "2048", "-G", "4", "-O", "^resize_inode"],
            24,
            30,
            0.8,
        ),
        (&["-t", "ext4", "-O", "metadata_csum_seed,inline_data,project"], 24, 30, 0.9),
        (&["-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"], 40, 30, 0.9),
        (&["-t", "ext4", "-O", "bigalloc"], 40, 30, 0.0),
        (&["-t", "ext4", "-O", "^resize_inode,meta_bg"], 40, 30, 0.0),
        (&["-t", "ext4", "-O", "^resize_inode,sparse_super2"], 24, 30, 0.0),
    ];
    for (options, mib, files, least) in cases {
        let name = options.join(" ");
        let image = ext4(options, *mib, *files);
        let share = compare(&image, &name);
        match least {
            0.0 => assert_eq!(share, 0.0, "{name}"),
            least => assert!(share >= *least, "{name}: only {share} of what is free is skipped"),
        }
        let grain = 64 << 10;
        let needed = ask(&image, None, 4 << 20, grain);
        clean_ext4(&copied(&image, &needed, grain), &name);
    }
}

#[test]
fn an_unclean_or_damaged_ext4_is_needed() {
    if !has_e2fsprogs() {
        return;
    }
    let image = ext4(&["-t", "ext4", "-b", "4096"], 24, 20);
    assert!(compare(&image, "as it was") > 0.9);
    let all = |image: &[u8]| ask(image, None, 1 << 20, 4096).iter().all(|needed| *needed);
    let file = tempfile::NamedTempFile::new().unwrap();
    for command in ["feature needs_recovery", "ssv state 0", "ssv state 2", "ssv state 3"] {
        std::fs::write(file.path(), &image).unwrap();
        run("debugfs", &["-w", "-R", command, text(file.path())], "");
        assert!(all(&std::fs::read(file.path()).unwrap()), "{command}");
    }
    // A bit in the superblock, a descriptor, the bitmap; a journal's superblock beside it; what another system left.
    for at in [1024 + 12, 4096 + 12] {
        let mut damaged = image.clone();
        damaged[at] ^= 1;
        assert!(all(&damaged), "{at}");
    }
    let superblock = layout::ext4::Superblock::parse(&image[1024..]).unwrap();
    let descriptor = &image[superblock.descriptors().start as usize..][..superblock.descriptor as usize];
    let group = layout::ext4::Group::parse(&superblock, 0, descriptor);
    let mut damaged = image.clone();
    damaged[(group.block_bitmap * 4096) as usize + 100] ^= 1;
    assert!(all(&damaged));
    let mut lvm = image.clone();
    lvm[512..520].copy_from_slice(b"LABELONE");
    lvm[512 + 0x18..512 + 0x20].copy_from_slice(b"LVM2 001");
    assert!(all(&lvm));
}

/// A FAT that mkfs.fat made with these options, with files.
fn fat(options: &[&str], mib: usize, files: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (image, source) = (folder.path().join("image"), folder.path().join("source"));
    std::fs::File::create(&image).unwrap().set_len((mib << 20) as u64).unwrap();
    run("mkfs.fat", &[options, &[text(&image)]].concat(), "");
    fill(&source, files, (mib * files) as u64);
    for number in 0..5 {
        let place = source.join(format!("folder {number}"));
        std::fs::create_dir_all(&place).unwrap();
        run("mcopy", &["-s", "-i", text(&image), text(&place), "::"], "");
    }
    run("mdeltree", &["-i", text(&image), "::folder 3"], "");
    std::fs::read(image).unwrap()
}

#[test]
fn what_a_fat_needs_is_needed() {
    let (Tool::There, Tool::There) = (tool("mkfs.fat", "dosfstools"), tool("mcopy", "mtools")) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    for (options, mib, files) in [
        (&["-F", "12", "-s", "8"][..], 12, 20),
        (&["-F", "12", "-s", "1", "-f", "1"], 1, 3),
        (&["-F", "16"], 20, 30),
        (&["-F", "16", "-S", "1024", "-R", "7"], 20, 30),
        (&["-F", "32", "-s", "1"], 40, 40),
        (&["-F", "32"], 34, 40),
        (&["-F", "32", "-f", "1", "-a"], 40, 30),
    ] {
        let image = fat(options, mib, files);
        let geometry = layout::fat::Geometry::parse(&image).unwrap();
        let table = &image[geometry.fat as usize..(geometry.fat + geometry.fat_size) as usize];
        let entries = geometry.entries(table);
        let free = entries[2..geometry.clusters as usize + 2]
            .iter()
            .filter(|entry| **entry == 0)
            .count();
        for (piece, grain) in [(4 << 20, 4096), (100_000, 100_000), (4 << 20, 512)] {
            let needed = ask(&image, Some(image.len() as u64), piece, grain);
            let skipped = needed.iter().filter(|needed| !**needed).count() * grain;
            if grain == 512 {
                assert_eq!(skipped, free * geometry.cluster as usize, "{options:?}");
            }
            assert!(
                skipped as f64 > 0.2 * (free as f64 * f64::from(geometry.cluster)),
                "{options:?}"
            );
            std::fs::write(file.path(), copied(&image, &needed, grain)).unwrap();
            let (status, said) = attempt("fsck.fat", &["-n", text(file.path())], "");
            assert_eq!(status, 0, "{options:?}: {said}");
            let all = attempt("mtype", &["-i", text(file.path()), "::folder 1/*"], "");
            std::fs::write(file.path(), &image).unwrap();
            assert!(
                all == attempt("mtype", &["-i", text(file.path()), "::folder 1/*"], ""),
                "{options:?}"
            );
        }
        // Marked as not unmounted, or with tables that differ.
        let state = if geometry.width == layout::fat::Width::Fat32 {
            0x41
        } else {
            0x25
        };
        for at in [state, (geometry.fat + geometry.fat_size) as usize + 40] {
            let mut odd = image.clone();
            odd[at] ^= 1;
            let one = geometry.fats == 1 && at != state;
            assert_eq!(
                ask(&odd, None, 1 << 20, 4096).iter().all(|needed| *needed),
                !one,
                "{options:?}: {at}"
            );
        }
    }
}

#[test]
fn partitions_are_mapped_each() {
    if !has_e2fsprogs()
        || !matches!(tool("sfdisk", "fdisk"), Tool::There)
        || !matches!(tool("mkfs.fat", "dosfstools"), Tool::There)
    {
        return;
    }
    let boot = fat(&["-F", "32", "-s", "1"], 40, 20);
    let root = ext4(&["-t", "ext4", "-b", "4096"], 40, 40);
    let data = ext4(&["-t", "ext4", "-b", "1024"], 24, 20);
    let mbr = "label: dos\nunit: sectors\nstart=8192, size=81920, type=c\nstart=90112, size=81920, type=83\nstart=172032, type=f\n\
        start=174080, size=49152, type=83\nstart=225280, size=2048, type=83\n";
    let gpt = "label: gpt\nunit: sectors\nstart=8192, size=81920\nstart=90112, size=81920\nstart=174080, size=49152\n";
    for script in [mbr, gpt] {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(120 << 20).unwrap();
        run("sfdisk", &["--quiet", text(file.path())], script);
        let mut image = std::fs::read(file.path()).unwrap();
        let places = [(8192 * 512, &boot), (90112 * 512, &root), (174080 * 512, &data)];
        for (start, part) in places {
            image[start..start + part.len()].copy_from_slice(part);
        }
        for (piece, grain) in [(4 << 20, 512), (777_777, 777_777)] {
            let needed = ask(&image, Some(image.len() as u64), piece, grain);
            if grain == 512 {
                for (start, part) in places {
                    let alone = ask(part, None, 4 << 20, 512);
                    let here = &needed[start / 512..][..alone.len()];
                    let count = |needed: &[bool]| needed.iter().filter(|needed| !**needed).count();
                    assert!(count(here) >= count(&alone) * 9 / 10 && count(here) > 0, "{start}");
                    assert!(here.iter().zip(&alone).all(|(here, alone)| *here || !alone), "{start}");
                }
                // Tables, gaps and the end.
                let between = [0..8192, 172_032..174_080, 223_232..245_760];
                assert!(between.into_iter().all(|range| needed[range].iter().all(|needed| *needed)));
            }
            let card = copied(&image, &needed, grain);
            clean_ext4(&card[places[1].0..][..root.len()], script);
            clean_ext4(&card[places[2].0..][..data.len()], script);
            std::fs::write(file.path(), &card[places[0].0..][..boot.len()]).unwrap();
            run("fsck.fat", &["-n", text(file.path())], "");
        }
        let mut mapper = Mapper::new(Some(image.len() as u64));
        mapper.feed(0, &image[..90 << 20]);
        let map = Map::FileSystems(Box::new(mapper));
        let estimate = map.estimate(Some(image.len() as u64)).unwrap();
        assert!(estimate < 100 << 20, "{estimate}");
        // What an odd table says counts for nothing: here the second partition is in the first.
        let mut mapper = Mapper::new(Some(image.len() as u64));
        image[446 + 16 + 8..446 + 16 + 12].copy_from_slice(&9000u32.to_le_bytes());
        image[512..520].fill(0);
        mapper.feed(0, &image);
        assert_eq!(mapper.free(), 0);
    }
}

#[test]
fn what_was_not_fed_in_order_is_needed() {
    if !has_e2fsprogs() {
        return;
    }
    let image = ext4(&["-t", "ext4"], 24, 5);
    let mut mapper = Mapper::new(None);
    mapper.feed(0, &image[..16 << 20]);
    let free = |mapper: &Mapper| (0..16 << 20).step_by(4096).find(|at| !mapper.needed(*at, 4096));
    let at = free(&mapper).unwrap();
    assert!(!mapper.needed(at, 0) && mapper.needed(16 << 20, 4096) && mapper.needed(at, u64::MAX));
    mapper.feed(20 << 20, &image[20 << 20..]);
    assert_eq!(free(&mapper), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("CI").is_some() { 24 } else { 8 }))]

    #[test]
    fn any_ext4_is_mapped_as_dumpe2fs_says(
        block in prop_oneof![Just("1024"), Just("2048"), Just("4096")],
        kind in prop_oneof![Just("ext2"), Just("ext3"), Just("ext4")],
        features in prop::sample::subsequence(vec!["^flex_bg", "^64bit", "^metadata_csum", "uninit_bg", "^resize_inode", "^sparse_super", "^has_journal",
            "^extent", "inline_data", "^dir_index", "metadata_csum_seed", "orphan_file", "ea_inode"], 0..5),
        group in prop_oneof![Just(""), Just("1024"), Just("4096"), Just("5000")],
        flex in prop_oneof![Just("1"), Just("8"), Just("16")],
        mib in 8usize..32,
        files in 0usize..50,
    ) {
        if has_e2fsprogs() {
            let features = features.join(",");
            let mut options = vec!["-t", kind, "-b", block];
            if !features.is_empty() {
                options.extend(["-O", &features]);
            }
            if kind == "ext4" && !features.contains("flex_bg") {
                options.extend(["-G", flex]);
            }
            if !group.is_empty() {
                options.extend(["-g", group]);
            }
            // Not every mixture is one: mke2fs refuses some, and cannot fill others.
            let (trial, empty) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempdir().unwrap());
            let made = ["-q", "-F", "-d", text(empty.path()), text(trial.path()), &format!("{mib}M")];
            let refused = attempt("mke2fs", &[&options[..], &made].concat(), "").0 != 0;
            if !refused {
                let image = ext4(&options, mib, files);
                compare(&image, &options.join(" "));
                let needed = ask(&image, None, 4 << 20, 16 << 10);
                clean_ext4(&copied(&image, &needed, 16 << 10), &options.join(" "));
            }
        }
    }
}

/// What a mapper says in the end does not depend on the pieces in which it was fed.
fn same_in_any_pieces(image: &[u8], piece: usize) {
    let says = |piece: usize| {
        let mut mapper = Mapper::new(Some(image.len() as u64));
        for (number, bytes) in image.chunks(piece).enumerate() {
            mapper.feed((number * piece) as u64, bytes);
        }
        let needed: Vec<bool> = (0..image.len() as u64)
            .step_by(512)
            .map(|at| mapper.needed(at, 512))
            .collect();
        (needed, mapper.free())
    };
    assert!(says(image.len()) == says(piece));
}

#[test]
fn any_damage_to_an_ext4_is_borne() {
    if !has_e2fsprogs() {
        return;
    }
    let image = ext4(
        &["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "^metadata_csum,^uninit_bg"],
        3,
        5,
    );
    let damage = prop::collection::vec((0usize..(80 << 10), any::<u8>()), 1..8);
    proptest!(ProptestConfig::with_cases(64), |(damage in damage, sectors in 1usize..300)| {
        let mut image = image.clone();
        for (at, byte) in damage {
            image[1024 + at / 8] = byte;
        }
        same_in_any_pieces(&image, sectors * 512);
    });
}

proptest! {
    #[test]
    fn any_bytes_are_mapped(seed in any::<[u8; 32]>(), changes in prop::collection::vec((0usize..0x3000, any::<u8>()), 0..20), table in any::<bool>(), piece in 1usize..9000) {
        // Enough of an ext4 or a table to be looked at further, and noise.
        let mut image = copied(&vec![0; 80 << 10], &[], 1);
        for (at, byte) in seed.iter().enumerate() {
            image[1024 + at] = *byte;
        }
        image[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        image[1024 + 0x18..1024 + 0x1C].copy_from_slice(&[u8::from(table) * 2, 0, 0, 0]);
        image[1024 + 0x64..1024 + 0x68].fill(0);
        if table {
            image[446..510].fill(0);
            image[450] = 0x83;
            image[454] = seed[0] | 1;
            image[458] = 0xFF;
            image[510..512].copy_from_slice(&[0x55, 0xAA]);
        }
        for (at, byte) in changes {
            image[at] = byte;
        }
        let _ = ask(&image, None, piece, 512);
        same_in_any_pieces(&image, piece.div_ceil(512) * 512);
    }
}
