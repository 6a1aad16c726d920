//! ext4 against e2fsprogs: what is written must be as said, and `e2fsck` must find nothing.

use super::*;
use crate::flash::partition::Kind;
use crate::flash::testing::{Tool, attempt, run as run_tool, tool};
use proptest::prelude::*;
use std::fs::File;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file system in a partition that begins at 1 MiB, on a disk that is full of noise elsewhere.
struct Disk {
    folder: tempfile::TempDir,
    file: File,
    part: Partition,
}

const START: u64 = 1 << 20;

impl Disk {
    /// With a folder of many files, links and a home.
    fn new(options: &[&str], mib: u64) -> Option<Disk> {
        let (Tool::There, Tool::There) = (tool("mke2fs", "e2fsprogs"), tool("debugfs", "e2fsprogs")) else {
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (image, source) = (folder.path().join("fs"), folder.path().join("source"));
        for name in ["etc/ssh", "home/pi", "usr/lib", "many", "root"] {
            std::fs::create_dir_all(source.join(name)).unwrap();
        }
        for number in 0..700 {
            std::fs::write(
                source.join(format!("many/a file with quite a long name, number {number}")),
                "x",
            )
            .unwrap();
        }
        std::fs::write(source.join("etc/hostname"), "raspberrypi\n").unwrap();
        std::fs::write(source.join("etc/large"), vec![b'l'; 3_000_000]).unwrap();
        std::fs::write(source.join("etc/hosts"), "127.0.0.1 localhost\n".repeat(400)).unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("etc/localtime", "../usr/zone"),
            ("etc/far", &*format!("/{}", "x".repeat(200))),
            ("etc/hosts.link", "hosts"),
        ] {
            std::os::unix::fs::symlink(target, source.join(link)).unwrap();
        }
        let size = format!("{mib}M");
        run_tool(
            "mke2fs",
            &[options, &["-q", "-F", "-d", text(&source), text(&image), &size]].concat(),
            "",
        );
        // Makes the large folder a hashed one, as it would be after use: mke2fs -d does not.
        let (status, said) = attempt("e2fsck", &["-fyD", text(&image)], "");
        assert!(status <= 1, "{said}");
        let disk = folder.path().join("disk");
        let mut bytes = b"noise and more noise".repeat((START as usize) / 20 + 1);
        bytes.truncate(START as usize);
        bytes.extend(std::fs::read(&image).unwrap());
        bytes.extend(vec![0xAA; 1 << 20]);
        std::fs::write(&disk, bytes).unwrap();
        std::fs::remove_file(image).unwrap();
        let file = File::options().read(true).write(true).open(disk).unwrap();
        let part = Partition {
            number: 2,
            start: START,
            size: mib << 20,
            kind: Kind::Linux,
            bootable: false,
            uuid: String::new(),
            label: String::new(),
        };
        Some(Disk { folder, file, part })
    }

    /// The free blocks are filled with noise, as on a card to which only what is needed was written.
    fn fill_free_blocks(&mut self) {
        let image = self.extract();
        let said = run_tool("dumpe2fs", &[text(&image)], "");
        let block: u64 = said
            .lines()
            .find_map(|line| line.strip_prefix("Block size:"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let mut noise = vec![0x5A; block as usize];
        for ranges in said.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
            for range in ranges.split(", ").filter(|range| !range.trim().is_empty()) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                for number in first.trim().parse::<u64>().unwrap()..=last.trim().parse().unwrap() {
                    noise[7] = number as u8;
                    self.file.write_at(START + number * block, &noise).unwrap();
                }
            }
        }
    }

    fn extract(&mut self) -> PathBuf {
        let image = self.folder.path().join("extracted");
        let mut bytes = vec![0; self.part.size as usize];
        self.file.read_at(START, &mut bytes).unwrap();
        std::fs::write(&image, bytes).unwrap();
        image
    }

    fn check(&mut self, name: &str) -> PathBuf {
        let image = self.extract();
        let (status, said) = attempt("e2fsck", &["-fn", text(&image)], "");
        assert_eq!(status, 0, "{name}: {said}");
        // Nothing beside the partition was touched.
        let (mut before, mut after) = ([0; 20], [0; 4]);
        self.file.read_at(0, &mut before).unwrap();
        self.file.read_at(START + self.part.size, &mut after).unwrap();
        assert_eq!((&before, after), (b"noise and more noise", [0xAA; 4]));
        image
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        apply(&mut self.file, &self.part, changes)
    }
}

fn write(path: &str, bytes: impl Into<Vec<u8>>, mode: u16, uid: u32, gid: u32) -> Change {
    Change::Write {
        path: path.into(),
        bytes: bytes.into(),
        mode,
        uid,
        gid,
    }
}

/// As Debian 12 and 13 make them, and older and odder ones.
const KINDS: &[(&[&str], u64)] = &[
    (&["-t", "ext4", "-b", "4096"], 40),
    (&["-t", "ext4", "-b", "1024"], 40),
    (&["-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed,orphan_file"], 24),
    (
        &[
            "-t",
            "ext4",
            "-b",
            "2048",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
            "-I",
            "128",
        ],
        24,
    ),
    (&["-t", "ext4", "-b", "1024", "-O", "^flex_bg", "-g", "2048"], 24),
    (&["-t", "ext3", "-b", "1024"], 24),
    (&["-t", "ext2", "-b", "4096"], 24),
];

#[test]
fn files_are_put_into_every_kind() {
    let blob: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
    for (options, mib) in KINDS {
        let Some(mut disk) = Disk::new(options, *mib) else { return };
        let name = options.join(" ");
        disk.fill_free_blocks();
        let changes = [
            write("/etc/hostname", "pi3\n", 0o644, 0, 0),
            write("/etc/ssh/ssh_host_ed25519_key", "secret", 0o600, 0, 0),
            write("/home/pi/.ssh/authorized_keys", "ssh-ed25519 AAAA a b\n", 0o600, 1000, 70_000),
            Change::Mkdir {
                path: "/home/pi/.ssh".into(),
                mode: 0o700,
                uid: 1000,
                gid: 70_000,
            },
            write("/many/a new file", "", 0o4755, 1, 2),
            write("/many/a file with quite a long name, number 17", blob.clone(), 0o644, 0, 0),
            write("/lib/deep/er/zeros", vec![0; 50_000], 0o644, 0, 0),
            write("/etc/localtime", "no link now", 0o644, 0, 0),
            Change::Symlink {
                path: "/etc/far".into(),
                target: "/usr/share/zoneinfo/Europe/Berlin".into(),
            },
            Change::Symlink {
                path: "/usr/lib/long".into(),
                target: "/y".repeat(150),
            },
            Change::Append {
                path: "/etc/hosts.link".into(),
                bytes: b"127.0.1.1 pi3\n".to_vec(),
            },
            Change::Append {
                path: "/etc/new".into(),
                bytes: b"a\n".to_vec(),
            },
            Change::Append {
                path: "/etc/new".into(),
                bytes: b"b\n".to_vec(),
            },
            Change::Remove {
                path: "/etc/large".into(),
            },
            Change::Remove { path: "/root".into() },
            Change::Remove {
                path: "/no/such/thing".into(),
            },
        ];
        disk.apply(&changes).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let image = disk.check(&name);
        for (path, expected) in [
            ("/etc/hostname", &b"pi3\n"[..]),
            ("/home/pi/.ssh/authorized_keys", b"ssh-ed25519 AAAA a b\n"),
            ("/many/a new file", b""),
            ("/many/a file with quite a long name, number 17", &blob),
            ("/etc/localtime", b"no link now"),
            ("/etc/new", b"a\nb\n"),
        ] {
            assert!(
                read(&mut disk.file, &disk.part, path).unwrap().as_deref() == Some(expected),
                "{name}: {path}"
            );
        }
        if name.contains("ext4") {
            assert!(read(&mut disk.file, &disk.part, "/lib/deep/er/zeros").unwrap().unwrap() == [0; 50_000]);
        }
        let hosts = read(&mut disk.file, &disk.part, "/etc/hosts").unwrap().unwrap();
        assert!(hosts.ends_with(b"localhost\n127.0.1.1 pi3\n"));
        assert_eq!(read(&mut disk.file, &disk.part, "/etc/large").unwrap(), None);
        let shown = |path: &str| {
            let said = run_tool("debugfs", &["-R", &format!("stat \"{path}\""), text(&image)], "");
            let word = |key: &str| said.split_once(key).unwrap().1.split_whitespace().next().unwrap().to_owned();
            [word("Type:"), word("Mode:"), word("User:"), word("Group:"), word("Size:")].join(" ")
        };
        for (path, expected) in [
            ("/etc/ssh/ssh_host_ed25519_key", "regular 0600 0 0 6"),
            ("/home/pi/.ssh/authorized_keys", "regular 0600 1000 70000 21"),
            ("/many/a new file", "regular 04755 1 2 0"),
            ("/usr/lib/deep/er/zeros", "regular 0644 0 0 50000"),
            ("/etc/far", "symlink 0777 0 0 33"),
            ("/usr/lib/long", "symlink 0777 0 0 300"),
        ] {
            assert_eq!(shown(path), expected, "{name}: {path}");
        }
        assert!(shown("/home/pi/.ssh").starts_with("directory 0700 1000 70000"), "{name}");
        assert_eq!(
            stat(&mut disk.file, &disk.part, "/lib/deep").unwrap(),
            Some(Stat {
                folder: true,
                size: shown("/usr/lib/deep").rsplit_once(' ').unwrap().1.parse().unwrap(),
                mode: 0o755,
                uid: 0,
                gid: 0
            })
        );
        assert_eq!(
            list(&mut disk.file, &disk.part, "/home").unwrap(),
            Some(vec!["pi".to_owned()])
        );
        assert_eq!(list(&mut disk.file, &disk.part, "/root").unwrap(), None);
        // Once more: all is there already, and is replaced. (ext4-view does not read the hole that the zeros have on ext2 and ext3.)
        let again: Vec<Change> = changes
            .iter()
            .filter(|c| name.contains("ext4") || !c.path().ends_with("zeros"))
            .cloned()
            .collect();
        disk.apply(&again).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        disk.check(&name);
    }
}

#[test]
fn what_cannot_be_is_told_and_nothing_is_changed() {
    let Some(mut disk) = Disk::new(&["-t", "ext4", "-b", "4096"], 24) else {
        return;
    };
    let before = std::fs::read(disk.folder.path().join("disk")).unwrap();
    for (change, expected) in [
        (
            write("/etc/hostname/x", "", 0o644, 0, 0),
            "/etc/hostname on the ext4 partition: it is no folder",
        ),
        (write("/etc", "", 0o644, 0, 0), "there is a folder of that name"),
        (write("/", "", 0o644, 0, 0), "the root folder is not changed"),
        (
            write("/etc/localtime/x", "", 0o644, 0, 0),
            "/etc/localtime on the ext4 partition: it is no folder",
        ),
        (
            write("/big", vec![1; 30 << 20], 0o644, 0, 0),
            "debugfs failed to put files into the ext4 file system",
        ),
        (
            Change::Remove { path: "/etc".into() },
            "debugfs failed to put files into the ext4 file system",
        ),
        (
            Change::Symlink {
                path: "/a".into(),
                target: "\n".into(),
            },
            "a link cannot lead to",
        ),
    ] {
        let changes = [write("/first", "1", 0o644, 0, 0), change];
        let error = disk.apply(&changes).unwrap_err();
        assert!(error.diagnostics()[0].message.contains(expected), "{expected}: {error:?}");
        assert!(
            before == std::fs::read(disk.folder.path().join("disk")).unwrap(),
            "{expected}"
        );
    }
    // Attributes in a block of their own would be lost.
    let image = disk.extract();
    let value = disk.folder.path().join("value");
    std::fs::write(&value, "v".repeat(3000)).unwrap();
    run_tool(
        "debugfs",
        &[
            "-w",
            "-R",
            &format!("ea_set -f {} /etc/hosts user.x", text(&value)),
            text(&image),
        ],
        "",
    );
    let put = |disk: &mut Disk, image: &Path| disk.file.write_at(START, &std::fs::read(image).unwrap()).unwrap();
    put(&mut disk, &image);
    let error = disk.apply(&[write("/etc/hosts", "", 0o644, 0, 0)]).unwrap_err();
    assert!(
        error.diagnostics()[0]
            .message
            .starts_with("/etc/hosts has extended attributes"),
        "{error:?}"
    );
    for (command, expected) in [
        ("feature needs_recovery", "its journal holds what has not been written yet"),
        ("ssv state 3", "it was not unmounted cleanly or has errors"),
    ] {
        run_tool("debugfs", &["-w", "-R", "feature -needs_recovery", text(&image)], "");
        run_tool("debugfs", &["-w", "-R", command, text(&image)], "");
        put(&mut disk, &image);
        let error = disk.apply(&[write("/a", "", 0o644, 0, 0)]).unwrap_err();
        assert!(error.diagnostics()[0].message.contains(expected), "{error:?}");
    }
    let error = apply(&mut vec![0; 4 << 20], &disk.part, &[write("/a", "", 0o644, 0, 0)]).unwrap_err();
    assert!(
        error.diagnostics()[0].message.contains("there is no ext4 superblock"),
        "{error:?}"
    );
}

/// Blocks that count what is read.
struct Counting<'a>(&'a mut File, u64);

impl Blocks for Counting<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.1 += into.len() as u64;
        self.0.read_at(offset, into)
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, from)
    }
}

#[test]
fn only_a_small_part_of_a_large_file_system_is_read() {
    let (Tool::There, Tool::There) = (tool("mke2fs", "e2fsprogs"), tool("debugfs", "e2fsprogs")) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    run_tool("mke2fs", &["-t", "ext4", "-q", "-F", text(file.path()), "16G"], "");
    let mut file = file.into_file();
    let part = Partition {
        number: 1,
        start: 0,
        size: 16 << 30,
        kind: Kind::Linux,
        bootable: false,
        uuid: String::new(),
        label: String::new(),
    };
    let mut counting = Counting(&mut file, 0);
    apply(&mut counting, &part, &[write("/etc/hostname", "pi", 0o644, 0, 0)]).unwrap();
    assert!(counting.1 < 8 << 20, "{}", counting.1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("CI").is_some() { 12 } else { 4 }))]

    #[test]
    fn files_of_any_size_are_put_anywhere(
        kind in 0..KINDS.len(),
        files in prop::collection::vec((0usize..40, prop_oneof![0usize..200_000, 0usize..5_000, Just(0)], any::<bool>()), 1..40),
    ) {
        let Some(mut disk) = Disk::new(KINDS[kind].0, KINDS[kind].1) else { return Ok(()) };
        disk.fill_free_blocks();
        let folders = ["/etc", "/many", "/new/folder", "/lib/x", "/home/pi"];
        let changes: Vec<Change> = files
            .iter()
            .map(|(number, size, remove)| {
                // Not zeros: ext4-view does not read the holes that debugfs makes of them on ext2 and ext3.
                let path = format!("{}/file {number}", folders[number % folders.len()]);
                match remove {
                    true => Change::Remove { path },
                    false => write(&path, vec![(*number + size) as u8 | 1; *size], 0o600 + *number as u16, *number as u32, 7),
                }
            })
            .collect();
        for part in changes.chunks(15) {
            disk.apply(part).unwrap();
            disk.check(KINDS[kind].0.join(" ").as_str());
        }
        // What apply said of itself, asked of another: the last word about each path.
        let image = disk.extract();
        for (number, change) in changes.iter().enumerate() {
            if changes[number + 1..].iter().any(|later| later.path() == change.path()) {
                continue;
            }
            let path = change.path().replace("/lib/", "/usr/lib/");
            let target = disk.folder.path().join("dumped");
            let _ = std::fs::remove_file(&target);
            run_tool("debugfs", &["-R", &format!("dump \"{path}\" {}", text(&target)), text(&image)], "");
            match change {
                Change::Write { bytes, .. } => assert!(std::fs::read(&target).unwrap() == *bytes, "{path}"),
                _ => assert!(std::fs::read(&target).unwrap_or_default().is_empty(), "{path}"),
            }
        }
    }
}
