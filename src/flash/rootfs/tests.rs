use super::*;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Mutex;

/// One file of a tar.
struct Entry<'a> {
    path: &'a str,
    kind: tar::EntryType,
    text: &'a str,
    mode: u32,
    owner: (u64, u64),
}

const fn file<'a>(path: &'a str, text: &'a str, mode: u32, owner: (u64, u64)) -> Entry<'a> {
    Entry {
        path,
        kind: tar::EntryType::Regular,
        text,
        mode,
        owner,
    }
}

const fn other<'a>(path: &'a str, kind: tar::EntryType, text: &'a str, mode: u32) -> Entry<'a> {
    Entry {
        path,
        kind,
        text,
        mode,
        owner: (0, 0),
    }
}

/// Of links, `text` is where they lead.
fn tarred(entries: &[Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(1_700_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        match entry.kind {
            tar::EntryType::Link | tar::EntryType::Symlink => {
                header.set_size(0);
                tar.append_link(&mut header, entry.path, entry.text).unwrap();
            }
            _ => {
                header.set_size(entry.text.len() as u64);
                // As it stands: the crate itself would refuse the worse ones.
                if entry.path.len() < 100 {
                    header.as_gnu_mut().unwrap().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
                    header.set_cksum();
                    tar.append(&header, entry.text.as_bytes()).unwrap();
                } else {
                    tar.append_data(&mut header, entry.path, entry.text.as_bytes()).unwrap();
                }
            }
        }
    }
    tar.into_inner().unwrap()
}

/// Whether `tool` is here; in CI it must be.
fn has(tool: &str) -> bool {
    let found = Command::new("/usr/bin/env")
        .args(["PATH=/usr/sbin:/sbin:/usr/bin:/bin", "which", tool])
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is missing");
    if !found {
        println!("skipped: {tool} is missing");
    }
    found
}

fn output(tool: &str, args: &[&str]) -> String {
    let output = Command::new("/usr/bin/env")
        .arg("PATH=/usr/sbin:/sbin:/usr/bin:/bin")
        .arg(tool)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{tool}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn unpack(entries: &[Entry]) -> Result<(tempfile::TempDir, Staging)> {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::unpack(&mut &tarred(entries)[..], folder.path(), &AtomicBool::new(false))?;
    Ok((folder, staging))
}

#[test]
fn a_tar_cannot_write_outside() {
    use tar::EntryType as T;
    for (entries, expected) in [
        (vec![file("../x", "", 0o644, (0, 0))], "the tar leaves its root: `../x`"),
        (
            vec![file("a/../../x", "", 0o644, (0, 0))],
            "the tar leaves its root: `a/../../x`",
        ),
        (
            vec![file("/etc/x", "", 0o644, (0, 0))],
            "the tar names an absolute path: `/etc/x`",
        ),
        (
            vec![other("tmp", T::Symlink, "/tmp", 0o777), file("tmp/x", "", 0o644, (0, 0))],
            "the tar puts `tmp/x` below `tmp`, which is no folder",
        ),
        (
            vec![other("x", T::Link, "/etc/passwd", 0o644)],
            "the tar names an absolute path: `/etc/passwd`",
        ),
        (
            vec![other("x", T::Link, "etc/passwd", 0o644)],
            "the tar has a link `x` to `etc/passwd`, which is no file before it",
        ),
        (
            vec![other("d", T::Directory, "", 0o755), file("d", "", 0o644, (0, 0))],
            "`d` is in the tar twice: as a folder, and as something else",
        ),
        (vec![], "the tar is empty"),
    ] {
        assert_eq!(unpack(&entries).err().unwrap().to_string(), expected);
    }
    // A symlink that leads out is harmless as long as nobody follows it; a file that comes in its place replaces it.
    let (folder, staging) = unpack(&[other("x", T::Symlink, "/etc/shadow", 0o777), file("x", "mine", 0o644, (0, 0))]).unwrap();
    assert_eq!(std::fs::read(staging.root_folder().join("x")).unwrap(), b"mine");
    drop(folder);
}

#[test]
fn a_tar_that_is_cut_off_is_an_error() {
    let tar = tarred(&[file("a", &"x".repeat(5000), 0o644, (0, 0))]);
    let folder = tempfile::tempdir().unwrap();
    let error = Staging::unpack(&mut &tar[..3000], folder.path(), &AtomicBool::new(false))
        .err()
        .unwrap();
    assert!(error.to_string().starts_with("the tar cannot be read to its end"), "{error}");
}

#[test]
fn what_names_partitions_is_fitted() {
    assert_eq!(
        fstab(
            "# static\n/dev/mmcblk0p1  /boot   vfat    defaults        0       0\ntmpfs /tmp tmpfs defaults 0 0\n",
            "B",
            "R"
        ),
        "# static\ntmpfs /tmp tmpfs defaults 0 0\nR  /      ext4  defaults,noatime  0  1\nB  /boot  vfat  defaults          0  2\n"
    );
    assert_eq!(
        cmdline("root=/dev/mmcblk0p2 rw rootwait console=tty1\n", "PARTUUID=1-02"),
        "root=PARTUUID=1-02 rw rootwait console=tty1\n"
    );
}

#[test]
fn an_image_is_built() {
    use tar::EntryType as T;
    if !["mke2fs", "debugfs", "e2fsck", "fsck.fat", "dd"].into_iter().all(has) {
        return;
    }
    let long = format!("usr/share/{}/{}", "l".repeat(120), "ö".repeat(60));
    let tar = tarred(&[
        other("./", T::Directory, "", 0o755),
        other("./boot/", T::Directory, "", 0o755),
        file("./boot/config.txt", "arm_64bit=1\n", 0o644, (0, 0)),
        file("./boot/cmdline.txt", "root=/dev/mmcblk0p2 rw\n", 0o644, (0, 0)),
        file(
            "./boot/overlays/a long name of a file.dtbo",
            &"d".repeat(70_000),
            0o644,
            (0, 0),
        ),
        file("./boot/overlays/deep/er/README.TXT", "deep", 0o644, (0, 0)),
        other("./boot/current", T::Symlink, "config.txt", 0o777),
        file("./etc/fstab", "/dev/mmcblk0p1 /boot vfat defaults 0 0\n", 0o644, (0, 0)),
        file("./etc/shadow", "root:!\n", 0o000, (0, 42)),
        file("./usr/bin/sudo", "#!", 0o4755, (0, 0)),
        other("./usr/bin/su", T::Link, "./usr/bin/sudo", 0o4755),
        other("./bin", T::Symlink, "usr/bin", 0o777),
        file("./home/alarm/a \"quoted\" name", "x", 0o600, (1000, 100_000)),
        other("./home/alarm", T::Directory, "", 0o700),
        other("./dev/null", T::Char, "", 0o666),
        other("./run/pipe", T::Fifo, "", 0o620),
        file(&long, "long", 0o644, (0, 0)),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let notes = Mutex::new(Vec::new());
    let listener = |event: &Event| {
        if let Event::Warning { message, .. } = event {
            notes.lock().unwrap().push(message.clone());
        }
    };
    let options = Options::default();
    let sha256 = "0".repeat(64);
    assert_eq!(cached(folder.path(), &sha256, &options), None);
    let image = build(
        folder.path(),
        &mut &tar[..],
        &sha256,
        &options,
        &listener,
        &AtomicBool::new(false),
    )
    .unwrap();
    assert_eq!(cached(folder.path(), &sha256, &options).as_ref(), Some(&image));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left behind"
    );
    assert_eq!(
        *notes.lock().unwrap(),
        ["a FAT cannot hold these links: /boot/current -> config.txt"]
    );

    // The table says where they are.
    let mbr = std::fs::read(&image).unwrap()[..512].to_vec();
    assert_eq!(mbr[510..], [0x55, 0xaa]);
    let field = |at: usize| u64::from(u32::from_le_bytes(mbr[at..at + 4].try_into().unwrap())) * 512;
    let ((boot_at, boot_size), (root_at, root_size)) = ((field(454), field(458)), (field(470), field(474)));
    assert_eq!((mbr[450], boot_at, mbr[466]), (0x0c, ALIGNMENT, 0x83));
    assert_eq!(
        (root_at, root_at + root_size),
        (boot_at + boot_size, image.metadata().unwrap().len())
    );
    let id = u32::from_le_bytes(mbr[440..444].try_into().unwrap());
    assert!(image.metadata().unwrap().blocks() * 512 < 200 << 20, "it is sparse");

    // Both file systems are sound, for their own tools.
    let shown = image.display().to_string();
    let fat = folder.path().join("fat.img");
    output(
        "dd",
        &[
            &format!("if={shown}"),
            &format!("of={}", fat.display()),
            "bs=4M",
            "skip=1",
            &format!("count={}", boot_size / ALIGNMENT),
            "conv=sparse",
            "status=none",
        ],
    );
    output("fsck.fat", &["-n", "-v", &fat.display().to_string()]);
    let root = format!("{shown}?offset={root_at}");
    output("e2fsck", &["-f", "-n", &root]);

    let mut image = File::options().read(true).write(true).open(&image).unwrap();
    let mut part = Part::new(&mut image, boot_at, boot_size);
    let fat = fatfs::FileSystem::new(&mut part, fatfs::FsOptions::new()).unwrap();
    assert_eq!((fat.volume_label_as_bytes(), fat.fat_type()), (&b"BOOT"[..], FatType::Fat32));
    let text = |path: &str| {
        let mut text = String::new();
        let mut file = fat.root_dir().open_file(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        file.read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(text("cmdline.txt"), format!("root=PARTUUID={id:08x}-02 rw\n"));
    assert_eq!(text("overlays/a long name of a file.dtbo").len(), 70_000);
    assert_eq!(text("overlays/deep/er/README.TXT"), "deep");
    let overlays = fat.root_dir().open_dir("overlays").unwrap();
    let names: Vec<String> = overlays.iter().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.contains(&"a long name of a file.dtbo".to_owned()), "{names:?}");

    let stat = |path: &str| output("debugfs", &["-R", &format!("stat \"{}\"", path.replace('"', "\"\"")), &root]);
    for (path, expected) in [
        ("/", "Type: directory    Mode:  0755   Flags"),
        ("/boot", "Type: directory    Mode:  0755   Flags"),
        ("/etc/shadow", "Type: regular    Mode:  0000   Flags"),
        ("/etc/shadow", "User:     0   Group:    42"),
        ("/usr/bin/sudo", "Type: regular    Mode:  04755   Flags"),
        ("/usr/bin/su", "Links: 2"),
        ("/bin", "Fast link dest: \"usr/bin\""),
        ("/home/alarm", "Type: directory    Mode:  0700   Flags"),
        ("/home/alarm/a \"quoted\" name", "User:  1000   Group: 100000"),
        ("/home/alarm/a \"quoted\" name", "mtime: 0x6553f100"),
        ("/dev/null", "Type: character special    Mode:  0666   Flags"),
        ("/dev/null", "Device major/minor number: 01:03"),
        ("/run/pipe", "Type: FIFO    Mode:  0620   Flags"),
    ] {
        let found = stat(path);
        assert!(found.contains(expected), "{path}: {expected}\n{found}");
    }
    let cat = |path: &str| output("debugfs", &["-R", &format!("cat \"/{path}\""), &root]);
    assert_eq!(cat(&long), "long");
    assert!(cat("etc/fstab").contains(&format!("PARTUUID={id:08x}-01  /boot  vfat")));

    let made = |options: &Options| {
        build(
            folder.path(),
            &mut &tar[..],
            &sha256,
            options,
            &listener,
            &AtomicBool::new(false),
        )
    };
    let large = Options {
        size: Some(8_000_000_000),
        ..Options::default()
    };
    let image = made(&large).unwrap();
    let size = image.metadata().unwrap().len();
    assert!(size <= 8_000_000_000 && size > 8_000_000_000 - 2 * ALIGNMENT, "{size}");
    // A card of 64 GB takes no more to write than one of 8, and only the last of them is kept.
    let larger = Options {
        size: Some(64_000_000_000),
        ..Options::default()
    };
    let image = made(&larger).unwrap();
    output("e2fsck", &["-f", "-n", &format!("{}?offset={root_at}", image.display())]);
    let header = output("dumpe2fs", &["-h", &format!("{}?offset={root_at}", image.display())]);
    assert!(header.contains("Total journal size:       64M"), "{header}");
    let images = || {
        let names = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("root-")).count()
    };
    assert_eq!(images(), 1);
    let small = Options {
        size: Some(300 << 20),
        ..Options::default()
    };
    let error = made(&small).unwrap_err();
    assert!(error.to_string().starts_with("the root file system does not fit"), "{error}");
}
