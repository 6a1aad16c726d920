//! The elevated writer and `card test`, as processes, on loop devices.

use picloud::flash::device::find;
use picloud::flash::device::open::Confirmed;
use picloud::flash::device::rules::Allow;
use picloud::flash::write::buffer::Buffer;
use picloud::flash::write::elevate::start;
use std::path::Path;
use std::process::Command;

const PICLOUD: &str = env!("CARGO_BIN_EXE_picloud");
const NAMED: Allow = Allow {
    fixed: false,
    large: false,
    unmount: false,
    named: true,
};

/// A loop device over a new file, detached when it is dropped.
struct Loop(String, #[expect(dead_code, reason = "it holds the file")] tempfile::TempDir);

impl Loop {
    fn new(size: u64) -> Option<Loop> {
        let folder = tempfile::tempdir().ok()?;
        let file = folder.path().join("card");
        std::fs::File::create(&file).ok()?.set_len(size).ok()?;
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        match made {
            Ok(out) if out.status.success() => Some(Loop(String::from_utf8(out.stdout).ok()?.trim().to_owned(), folder)),
            _ => {
                println!("skipped: no loop devices here (they need root and losetup)");
                assert!(std::env::var_os("CI").is_none(), "the tests on loop devices must run in CI");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

fn writer() -> Command {
    let mut command = Command::new(PICLOUD);
    command.arg("flash-writer");
    command
}

#[test]
fn the_elevated_writer_writes_to_what_was_confirmed() {
    use picloud::flash::write::Target;
    let Some(card) = Loop::new(32 << 20) else { return };
    let (device, _) = find(Path::new(&card.0)).unwrap();
    let confirmed = Confirmed::of(&device, 0, NAMED);
    let mut target = start(writer(), &confirmed).unwrap();
    assert!(target.capacity() == Some(32 << 20) && target.is_direct());
    let chunk = Buffer::of(&[7; 4 << 20]);
    for n in 0..8 {
        target.write(n * (4 << 20), &[&chunk]).unwrap();
    }
    target.sync().unwrap();
    let mut read = Buffer::new(4096);
    target.read((32 << 20) - 4096, &mut read).unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
    target.reread_table().unwrap();
    Box::new(target).close().unwrap();
    assert!(std::fs::read(&card.0).unwrap().iter().all(|byte| *byte == 7));

    // It looks itself.
    for (wrong, says) in [
        (
            Confirmed {
                path: "/etc/passwd".into(),
                ..confirmed.clone()
            },
            "is not a path below /dev",
        ),
        (
            Confirmed {
                path: "/dev/../etc/passwd".into(),
                ..confirmed.clone()
            },
            "is not a path below /dev",
        ),
        (
            Confirmed {
                path: "/dev/null".into(),
                ..confirmed.clone()
            },
            "no block device",
        ),
        (
            Confirmed {
                size: 1,
                ..confirmed.clone()
            },
            "its size has changed",
        ),
        (
            Confirmed {
                allow: Allow::default(),
                ..confirmed.clone()
            },
            "is a loop device",
        ),
    ] {
        let error = start(writer(), &wrong).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn by_hand_it_does_nothing() {
    let out = writer().stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("started by picloud itself"), "{said}");
}

#[test]
fn a_card_is_tested_and_left_as_it_was() {
    let Some(card) = Loop::new(64 << 20) else { return };
    let before: Vec<u8> = (0..64_usize << 20).map(|n| (n / 4096 * 31 + n) as u8).collect();
    std::fs::write(&card.0, &before).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let test = |more: &[&str]| {
        let mut command = Command::new(PICLOUD);
        command.args(["card", "test", &card.0, "--out", "json"]).args(more);
        command.env("XDG_CACHE_HOME", cache.path()).output().unwrap()
    };
    let out = test(&[]);
    assert!(out.status.success(), "{out:?}");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["claimed"], 64 << 20);
    assert!(said["speeds"]["write"].as_f64().unwrap() > 0.0, "{said}");
    assert!(said["verdict"][0].as_str().unwrap().starts_with("it seems to have"), "{said}");
    assert!(std::fs::read(&card.0).unwrap() == before);
    let out = test(&["--full", "--yes"]);
    assert!(out.status.success(), "{out:?}");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["filled"]["good"], 64 << 20);
}
