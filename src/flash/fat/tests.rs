//! FAT against dosfstools and mtools.

use super::*;
use crate::flash::testing::{Tool, attempt, run, tool};
use proptest::prelude::*;
use std::path::Path;

fn whole(blocks: &dyn Blocks) -> Partition {
    Partition {
        number: 1,
        start: 0,
        size: blocks.size(),
        kind: crate::flash::partition::Kind::Fat,
        bootable: false,
        uuid: String::new(),
        label: String::new(),
    }
}

/// A FAT that mkfs.fat made, with the files of a boot partition put there by mtools.
fn made(options: &[&str], mib: u64) -> Option<(tempfile::TempDir, std::fs::File)> {
    let (Tool::There, Tool::There) = (tool("mkfs.fat", "dosfstools"), tool("mcopy", "mtools")) else {
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&image)
        .unwrap();
    file.set_len(mib << 20).unwrap();
    let image = image.to_str().unwrap();
    run("mkfs.fat", &[options, &["-n", "BOOTFS", image]].concat(), "");
    for (name, length) in [
        ("cmdline.txt", 150),
        ("config.txt", 2000),
        ("Long Name.With.dots.dtb", 20_000),
        ("kernel8.img", 300_000),
    ] {
        let source = folder.path().join(name);
        std::fs::write(&source, name.repeat(length / name.len() + 1)).unwrap();
        run("mcopy", &["-i", image, source.to_str().unwrap(), "::"], "");
    }
    run("mmd", &["-i", image, "::overlays"], "");
    Some((folder, file))
}

fn fsck(image: &Path, name: &str) {
    let (status, said) = attempt("fsck.fat", &["-n", "-v", image.to_str().unwrap()], "");
    assert_eq!(status, 0, "{name}: {said}");
}

const KINDS: &[(&[&str], u64)] = &[
    (&["-F", "12"], 4),
    (&["-F", "16"], 20),
    (&["-F", "32", "-s", "1"], 40),
    (&["-F", "32", "-s", "1", "-f", "1"], 40),
    (&["-F", "16", "-S", "1024"], 20),
];

#[test]
fn files_are_written_replaced_and_removed() {
    for (options, mib) in KINDS {
        let Some((folder, mut file)) = made(options, *mib) else {
            return;
        };
        let (image, name) = (folder.path().join("image"), options.join(" "));
        let part = whole(&file);
        assert_eq!(label(&mut file, &part).unwrap(), "BOOTFS", "{name}");
        let blob: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let changes = [
            Change::write("/user-data", "#cloud-config\n", 0o600),
            Change::write("/CMDLINE.TXT", "console=tty1 root=PARTUUID=5452574f-02", 0o644),
            Change::Append {
                path: "/config.txt".into(),
                bytes: b"\ngpu_mem=16\n".to_vec(),
            },
            Change::write(
                "/a folder/with/another/A rather long file name of fifty-two letters ü.txt",
                blob.clone(),
                0o644,
            ),
            Change::write("/overlays/empty.dtbo", "", 0o644),
            Change::Remove {
                path: "/kernel8.img".into(),
            },
            Change::Remove {
                path: "/not/there".into(),
            },
            Change::Mkdir {
                path: "/overlays".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            },
            Change::Mkdir {
                path: "/new".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            },
        ];
        apply(&mut file, &part, &changes).unwrap();
        fsck(&image, &name);
        // Twice is as good as once, and frees what it replaces.
        let free = || {
            run("minfo", &["-i", image.to_str().unwrap(), "::"], "")
                .lines()
                .find(|l| l.starts_with("free clusters="))
                .map(str::to_owned)
        };
        let again = |file: &mut std::fs::File| {
            apply(file, &part, &changes[..2]).unwrap();
            apply(file, &part, &changes[3..]).unwrap();
            free()
        };
        // A folder may grow once, by the names under which files wait.
        let (_, before) = (again(&mut file), again(&mut file));
        assert_eq!((again(&mut file), again(&mut file)), (before.clone(), before), "{name}");
        fsck(&image, &name);

        let mut see = |path: &str| read(&mut file, &part, path).unwrap();
        assert_eq!(see("/User-Data").unwrap(), b"#cloud-config\n");
        assert_eq!(see("/cmdline.txt").unwrap(), b"console=tty1 root=PARTUUID=5452574f-02");
        assert!(see("/CONFIG.txt").unwrap().ends_with(b"\ngpu_mem=16\n"));
        assert!(see("/a folder/WITH/another/a rather long file name of fifty-two letters ü.txt").unwrap() == blob);
        assert_eq!(see("/overlays/empty.dtbo").unwrap(), b"");
        assert_eq!((see("/kernel8.img"), see("/no/such/file")), (None, None));
        let listed = list(&mut file, &part, "/").unwrap().unwrap();
        let names: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "CMDLINE.TXT",
                "Long Name.With.dots.dtb",
                "a folder",
                "config.txt",
                "new",
                "overlays",
                "user-data"
            ],
            "{name}"
        );
        assert_eq!(list(&mut file, &part, "/nowhere").unwrap(), None);

        // mtools sees the same, and the short names that boot loaders look for.
        let image = image.to_str().unwrap();
        assert_eq!(
            run("mtype", &["-i", image, "::cmdline.txt"], ""),
            "console=tty1 root=PARTUUID=5452574f-02"
        );
        let shown = run("mdir", &["-a", "-i", image, "::"], "");
        assert!(shown.contains("CMDLINE  TXT"), "{shown}");
    }
}

#[test]
fn what_cannot_be_is_told_and_nothing_is_changed() {
    let Some((folder, mut file)) = made(&["-F", "12"], 4) else {
        return;
    };
    let part = whole(&file);
    let image = folder.path().join("image");
    let before = std::fs::read(&image).unwrap();
    for (change, expected) in [
        (
            Change::write("/big", vec![7; 5 << 20], 0o644),
            "failed to change /big on the FAT partition",
        ),
        (
            Change::write("/config.txt/x", "", 0o644),
            "failed to change /config.txt/x on the FAT partition",
        ),
        (Change::write("/overlays", "", 0o644), "there is a folder of that name"),
        (Change::write("/what?", "", 0o644), "names on FAT cannot end with a dot"),
        (Change::write("/dot.", "", 0o644), "names on FAT cannot end with a dot"),
        (
            Change::Symlink {
                path: "/a".into(),
                target: "b".into(),
            },
            "there are no symbolic links on FAT",
        ),
    ] {
        let error = apply(&mut file, &part, &[change]).unwrap_err();
        assert!(error.diagnostics()[0].message.contains(expected), "{error:?}");
        assert!(before == std::fs::read(&image).unwrap(), "{expected}");
    }
    let error = read(&mut vec![0; 1 << 20], &part, "/a").unwrap_err();
    assert_eq!(
        error.diagnostics()[0].message,
        "partition 1 is no FAT that can be used: there is no FAT boot sector"
    );
}

/// Blocks that fail after so many writes.
struct Failing<'a> {
    file: &'a mut std::fs::File,
    writes: usize,
}

impl Blocks for Failing<'_> {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, into)
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.writes = self.writes.checked_sub(1).ok_or_else(|| io::Error::other("pulled out"))?;
        self.file.write_at(offset, from)
    }
}

#[test]
fn a_file_is_old_or_new_whenever_the_card_is_pulled_out() {
    let Some((folder, mut file)) = made(&["-F", "16"], 20) else {
        return;
    };
    let image = folder.path().join("image");
    let start = std::fs::read(&image).unwrap();
    let part = whole(&file);
    let old = read(&mut file, &part, "/config.txt").unwrap();
    let new = vec![b'x'; 5000];
    let change = [Change::write("/config.txt", new.clone(), 0o644)];
    let (mut writes, mut done) = (0, false);
    while !done {
        std::fs::write(&image, &start).unwrap();
        let mut failing = Failing { file: &mut file, writes };
        done = apply(&mut failing, &part, &change).is_ok();
        // Under its own name, or under the other one while it changes places.
        let now = read(&mut file, &part, "/config.txt").unwrap();
        let waiting = read(&mut file, &part, "/PICLOUD.NEW").unwrap();
        assert!(
            now == old || now.as_ref() == Some(&new) || (now.is_none() && waiting.as_ref() == Some(&new)),
            "after {writes} writes"
        );
        // No cluster belongs to two files; lost ones there may be.
        let (_, said) = attempt("fsck.fat", &["-n", image.to_str().unwrap()], "");
        assert!(!said.contains("share"), "{said}");
        // The next try puts it right.
        apply(&mut file, &part, &change).unwrap();
        assert_eq!(read(&mut file, &part, "/config.txt").unwrap().as_ref(), Some(&new));
        assert_eq!(read(&mut file, &part, "/PICLOUD.NEW").unwrap(), None);
        writes += 1;
    }
    assert!(writes > 10, "{writes}");
}

#[test]
fn any_damage_is_borne() {
    let mut disk = vec![0; 1 << 20];
    let format = fatfs::FormatVolumeOptions::new().fat_type(fatfs::FatType::Fat12);
    fatfs::format_volume(io::Cursor::new(&mut disk[..]), format).unwrap();
    let part = whole(&disk);
    let file = |name: &str, length: usize| Change::write(name, vec![1; length], 0);
    apply(
        &mut disk,
        &part,
        &[
            file("/a", 10),
            file("/folder/long name of a file", 9000),
            file("/folder/b", 0),
        ],
    )
    .unwrap();
    let geometry = Geometry::parse(&disk).unwrap();
    let (table, data) = (geometry.fat as usize, geometry.data as usize);
    let root = data - geometry.sector as usize * 4..data;
    let places = prop_oneof![
        0..data,
        11usize..64,
        table..table + 40,
        root.start..root.start + 256,
        data..data + 4096
    ];
    let bytes = prop_oneof![any::<u8>(), Just(0), Just(1), Just(2), Just(0xF7), Just(0xFF)];
    let damage = prop::collection::vec((places, bytes), 1..8);
    proptest!(ProptestConfig::with_cases(if std::env::var_os("CI").is_some() { 1000 } else { 300 }), |(damage in damage)| {
        let mut disk = disk.clone();
        for (at, byte) in damage {
            disk[at] = byte;
        }
        let _ = list(&mut disk, &part, "/");
        let _ = list(&mut disk, &part, "/folder");
        let _ = read(&mut disk, &part, "/folder/long name of a file");
        let _ = apply(&mut disk, &part, &[file("/folder/b", 3000), Change::Remove { path: "/a".into() }]);
    });
}
