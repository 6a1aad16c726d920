//! The engine on real block devices: loop devices that the tests make themselves, where they may.

use super::fake::noise;
use super::*;
use crate::flash::device::open::Confirmed;
use crate::flash::device::rules::Allow;
use crate::flash::device::{Device, Use, find};
use crate::flash::event::Event;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: usize = 1 << 20;

/// Runs a command; what it prints, where it succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let out = Command::new(program).args(arguments).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A loop device over a file, detached when it is dropped.
struct Loop {
    path: PathBuf,
    /// The file's.
    folder: Option<tempfile::TempDir>,
}

impl Loop {
    fn over(file: &Path, options: &[&str]) -> Option<Loop> {
        let mut arguments = vec!["--find", "--show"];
        arguments.extend_from_slice(options);
        arguments.push(file.to_str()?);
        let path = PathBuf::from(run("losetup", &arguments)?);
        Some(Loop { path, folder: None })
    }

    /// A device of `size` bytes; `None`, with the reason printed, where there can be none.
    fn new(size: usize) -> Option<Loop> {
        let folder = tempfile::tempdir().ok()?;
        let file = folder.path().join("card");
        std::fs::File::create(&file).ok()?.set_len(size as u64).ok()?;
        let device = Loop::over(&file, &[]);
        if device.is_none() {
            println!("skipped: no loop devices here (they need root and losetup)");
            assert!(std::env::var_os("CI").is_none(), "the tests on loop devices must run in CI");
        }
        let mut device = device?;
        device.folder = Some(folder);
        Some(device)
    }

    fn device(&self) -> Device {
        find(&self.path).unwrap().0
    }

    fn confirmed(&self, allow: Allow) -> Confirmed {
        Confirmed::of(&self.device(), 0, allow)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", self.path.to_str().unwrap_or_default()]);
    }
}

const NAMED: Allow = Allow {
    fixed: false,
    large: false,
    unmount: false,
    named: true,
};

fn written(bytes: &[u8], target: Box<dyn Target>) -> Result<Done> {
    let card = Card {
        name: "card".to_owned(),
        target,
        block_size: CHUNK,
        personalize: Some(Box::new(|blocks: &mut dyn Blocks| {
            blocks.write_at(5_000_001, b"pi3").map_err(|e| Error::state(e.to_string()))
        })),
        inspect: None,
    };
    let image = Image {
        reader: Box::new(bytes),
        size: Some(bytes.len() as u64),
        identity: "sha256:0123".to_owned(),
        map: Box::new(Everything),
        starved: None,
    };
    let listener = |_: &Event| {};
    flash(image, vec![card], &Options::default(), &listener, &AtomicBool::new(false))
        .remove(0)
        .result
}

fn refusal(confirmed: &Confirmed) -> String {
    match open(confirmed, &Elevate::Never) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_card_is_written_past_the_cache() {
    let Some(card) = Loop::new(40 * MIB) else { return };
    let bytes = noise(18 * MIB + 512);
    let done = written(&bytes, open(&card.confirmed(NAMED), &Elevate::Never).unwrap()).unwrap();
    assert!(done.direct);
    let mut expected = bytes;
    expected[5_000_001..5_000_004].copy_from_slice(b"pi3");
    assert!(std::fs::read(&card.path).unwrap()[..expected.len()] == expected);
}

#[test]
fn only_what_was_confirmed_is_opened() {
    let Some(mut card) = Loop::new(40 * MIB) else { return };
    let right = card.confirmed(NAMED);
    for (wrong, says) in [
        (
            Confirmed {
                size: right.size + 512,
                ..right.clone()
            },
            "its size has changed",
        ),
        (
            Confirmed {
                number: (7, 255),
                ..right.clone()
            },
            "its device number has changed",
        ),
        (
            Confirmed {
                diskseq: Some(1),
                ..right.clone()
            },
            "its medium has changed",
        ),
        (
            Confirmed {
                image: right.size + 1,
                ..right.clone()
            },
            "smaller than the image",
        ),
        (
            Confirmed {
                allow: Allow::default(),
                ..right.clone()
            },
            "is a loop device",
        ),
    ] {
        assert!(refusal(&wrong).contains(says), "{}", refusal(&wrong));
    }
    let held = open(&right, &Elevate::Never).unwrap();
    assert!(refusal(&right).contains("busy"), "{}", refusal(&right));
    drop(held);
    // Another medium under the same name.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other");
    std::fs::File::create(&file).unwrap().set_len(40 * MIB as u64).unwrap();
    let path = card.path.to_str().unwrap().to_owned();
    run("losetup", &["--detach", &path]);
    match run("losetup", &[&path, file.to_str().unwrap()]) {
        Some(_) => assert!(refusal(&right).contains("its medium has changed"), "{}", refusal(&right)),
        // Another test was quicker: the device is its own now.
        None => card.path = PathBuf::new(),
    }
}

#[test]
fn links_and_read_only_devices() {
    let Some(card) = Loop::new(MIB * 8) else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("card");
    std::os::unix::fs::symlink(&card.path, &link).unwrap();
    let (device, note) = find(&link).unwrap();
    assert_eq!(device.path, card.path);
    assert!(note.unwrap().contains("is a link to /dev/loop"));
    let file = folder.path().join("ro");
    std::fs::write(&file, vec![0; 4 * MIB]).unwrap();
    let locked = Loop::over(&file, &["--read-only"]).unwrap();
    assert!(refusal(&locked.confirmed(NAMED)).contains("read-only"));
}

#[test]
fn a_mounted_card_is_refused_or_unmounted() {
    let Some(card) = Loop::new(8 * MIB) else { return };
    let path = card.path.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("stick");
    std::fs::create_dir(&at).unwrap();
    let made = run("mkfs.ext4", &["-q", path]).and_then(|_| run("mount", &[path, at.to_str().unwrap()]));
    if made.is_none() {
        println!("skipped: mkfs.ext4 and mount are needed");
        return;
    }
    let device = card.device();
    let mounted = Use::Mount {
        at: at.canonicalize().unwrap(),
        system: false,
    };
    assert!(device.uses.contains(&mounted), "{device:?}");
    assert!(refusal(&card.confirmed(NAMED)).contains("is mounted at"));
    let unmount = card.confirmed(Allow { unmount: true, ..NAMED });
    // In use, it stays.
    let busy = std::fs::File::open(&at).unwrap();
    assert!(refusal(&unmount).contains("cannot unmount"), "{}", refusal(&unmount));
    drop(busy);
    assert_eq!(refusal(&unmount), "opened");
    assert!(card.device().uses.is_empty());
}

#[test]
fn a_device_that_is_full_names_the_range() {
    let Some(_probe) = Loop::new(MIB) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    if run("mount", &["-t", "tmpfs", "-o", "size=12m", "tmpfs", at]).is_none() {
        println!("skipped: a tmpfs cannot be mounted");
        return;
    }
    let file = folder.path().join("card");
    std::fs::File::create(&file).unwrap().set_len(40 * MIB as u64).unwrap();
    let card = Loop::over(&file, &[]).unwrap();
    let result = written(&noise(20 * MIB), open(&card.confirmed(NAMED), &Elevate::Never).unwrap());
    let head = std::fs::read(&card.path).unwrap_or_default();
    drop(card);
    run("umount", &[at]);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("bad range"), "{error}");
    assert!(marker::is_of(&head, "sha256:0123"));
}
