//! A user without privileges writes a card: by real `sudo` and `doas`, which ask for no password for this one command. The image is a
//! root file system that comes as a tar, and fills the card.
//!
//! All of it happens in a mount namespace with an `/etc` of its own, in which there are that user and the rules: nothing is left on the
//! machine. Needs root, loop devices, sudo and opendoas.

mod program;

use program::Program;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the user `card` does, and what they may. `$1`: the folder with the project, `$2`: picloud, `$3`...: the command.
///
/// `use_pty` is Debian's default: sudo hands on what is written through it then.
const AS_A_USER: &str = r#"
dir=$1 picloud=$2
shift 2
cp -a /etc "$dir/etc"
echo 'card:x:54321:54321::/nowhere:/bin/sh' >>"$dir/etc/passwd"
echo 'card:*:19000:0:99999:7:::' >>"$dir/etc/shadow"
echo 'card:x:54321:' >>"$dir/etc/group"
printf 'Defaults use_pty\ncard ALL=(root) NOPASSWD: %s flash-writer\n' "$dir/picloud" >"$dir/etc/sudoers"
printf 'permit nopass card as root cmd %s args flash-writer\n' "$dir/picloud" >"$dir/etc/doas.conf"
chmod 0440 "$dir/etc/sudoers"
chmod 0400 "$dir/etc/doas.conf"
mount --bind "$dir/etc" /etc
mount -t tmpfs tmpfs /run
: >"$dir/picloud"
mount --bind "$picloud" "$dir/picloud"
chown card:card "$dir" "$dir/project" "$dir/project/inventory"
cd "$dir/project"
exec setpriv --reuid card --regid card --clear-groups \
    env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME="$dir/project" "$dir/picloud" "$@"
"#;

struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    fn new(file: PathBuf, bytes: u64) -> Option<Loop> {
        std::fs::File::create(&file).ok()?.set_len(bytes).ok()?;
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().ok()?;
        let device = String::from_utf8(made.stdout).ok()?.trim().to_owned();
        made.status.success().then_some(Loop { device, file })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

fn there(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).output();
    found.is_ok_and(|found| found.status.success())
}

/// Runs a tool, which must succeed; what it prints.
#[track_caller]
fn output(name: &str, arguments: &[&str]) -> String {
    let done = Command::new(name).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "{name} {arguments:?}\n{text}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    text
}

/// A root file system as Arch Linux ARM's is, without its programs.
fn root_tar(folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    for (path, text) in [
        ("etc/arch-release", ""),
        ("etc/os-release", "ID=archarm\n"),
        ("etc/fstab", ""),
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/bash\nalarm:x:1000:1000::/home/alarm:/bin/bash\n",
        ),
        ("etc/shadow", "root:x:17000::::::\nalarm:x:17000:0:99999:7:::\n"),
        ("etc/group", "root:x:0:root\nwheel:x:998:alarm\nalarm:x:1000:\n"),
        ("etc/ssh/sshd_config", "PermitRootLogin prohibit-password\n"),
        ("usr/bin/bash", "bash"),
        ("usr/lib/systemd/systemd", "init"),
        ("boot/cmdline.txt", "root=/dev/mmcblk0p2 rw rootwait\n"),
        ("boot/config.txt", "arm_64bit=1\n"),
        ("boot/kernel8.img", "kernel"),
    ] {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for (name, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("usr/bin/init", "../lib/systemd/systemd"),
    ] {
        std::os::unix::fs::symlink(target, tree.join(name)).unwrap();
    }
    let tar = folder.join("root.tar.gz");
    output(
        "tar",
        &[
            "-C",
            tree.to_str().unwrap(),
            "--owner=0",
            "--group=0",
            "-czf",
            tar.to_str().unwrap(),
            ".",
        ],
    );
    tar
}

#[test]
fn a_user_writes_a_card_through_sudo_and_doas() {
    let tools = ["sudo", "doas", "unshare", "setpriv", "losetup", "mke2fs", "debugfs", "sfdisk"];
    let lacking: Vec<&str> = tools.into_iter().filter(|tool| !there(tool)).collect();
    if !rustix::process::geteuid().is_root() || !lacking.is_empty() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this must run, as root; missing: {lacking:?}"
        );
        println!("skipped: it needs root, and {}", lacking.join(", "));
        return;
    }
    let program = Program::new();
    std::fs::set_permissions(program.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c ana@laptop";
    program.file("project/picloud.yaml", "name: bench\n").file(
        "project/inventory/minions.yaml",
        &format!("minions: {{pi0: {{address: 127.0.0.1, user: root, card: {{authorized_keys: {key}}}}}}}\n"),
    );
    let tar = root_tar(program.folder());
    let script = program.folder().join("as-a-user");
    std::fs::write(&script, AS_A_USER).unwrap();
    let as_user = |more: &[&str]| {
        // Each time as new.
        let _ = std::fs::remove_dir_all(program.folder().join("etc"));
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-eu"])
            .args([&script, program.folder(), Path::new(env!("CARGO_BIN_EXE_picloud"))])
            .args(["flash", "pi0", "--yes", "--image", tar.to_str().unwrap()])
            .args(more)
            .stdin(std::process::Stdio::null());
        program.said(&mut command)
    };

    for (tool, bytes) in [("sudo", 2_u64 << 30), ("doas", 3 << 30)] {
        let Some(card) = Loop::new(program.folder().join(tool), bytes) else {
            assert!(std::env::var_os("CI").is_none(), "in CI there are loop devices");
            println!("skipped: no loop devices");
            return;
        };
        let refused = as_user(&["--device", &card.device, "--elevate", "never"]);
        assert_eq!(refused.code, 1, "{}", refused.text);
        assert!(
            refused.text.contains("this user may not write to the device"),
            "{}",
            refused.text
        );

        let said = as_user(&["--device", &card.device, "--elevate", tool]);
        assert_eq!(said.code, 0, "{tool}: {}", said.text);
        // The root file system reaches to the end of the card, and is sound.
        let file = card.file.to_str().unwrap();
        let table = output("sfdisk", &["--dump", file]);
        let number = |line: &str, name: &str| -> u64 {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split(',').next().unwrap().trim().parse().unwrap()
        };
        let root = table.lines().rfind(|line| line.contains("start=")).unwrap();
        let (start, size) = (number(root, "start=") * 512, number(root, "size=") * 512);
        assert_eq!(start + size, bytes, "{table}");
        let root = format!("{file}?offset={start}");
        output("e2fsck", &["-fn", &root]);
        let header = output("dumpe2fs", &["-h", &root]);
        let blocks = header.lines().find_map(|line| line.strip_prefix("Block count:")).unwrap();
        assert_eq!(blocks.trim().parse::<u64>().unwrap() * 4096, size, "{header}");
        assert_eq!(output("debugfs", &["-R", "cat /etc/hostname", &root]), "pi0\n");
    }

    // Who may not is told so, and the card is as it was.
    let card = Loop::new(program.folder().join("refused"), 2 << 30).unwrap();
    let rules = AS_A_USER.replace("NOPASSWD: %s flash-writer", "NOPASSWD: %s ping");
    std::fs::write(&script, rules).unwrap();
    let said = as_user(&["--device", &card.device, "--elevate", "sudo"]);
    assert_eq!(said.code, 1, "{}", said.text);
    assert!(said.text.contains("the elevated writer did not start"), "{}", said.text);
    assert_eq!(card.file.metadata().unwrap().blocks(), 0);
}
