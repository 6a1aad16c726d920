//! A card from the vendor's server to a minion that answers: downloaded over a line that breaks twice, written to two cards at once,
//! verified, booted in emulated machines, and reached with strict host-key checking and no question asked.
//!
//! Needs root (loop devices) and the tools that `tests/bed/card packages` names. `PICLOUD_CARD_ARCH=arm64 cargo test --test flash_boot`
//! does the same with arm64 cards (`tests/bed/card packages arm64`): half an hour the first time, as their image is made under emulation.

mod program;

use program::Program;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a machine under emulation may take to its first login, on a machine that is busy.
const BOOT: Duration = Duration::from_secs(900);

/// Debian's name for what the cards are for.
fn architecture() -> String {
    std::env::var("PICLOUD_CARD_ARCH").unwrap_or_else(|_| "amd64".to_owned())
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for loop devices".to_owned());
    }
    let own: &[&str] = match architecture().as_str() {
        "arm64" => &["qemu-system-aarch64", "arch-test", "update-binfmts"],
        _ => &["qemu-system-x86_64", "syslinux"],
    };
    let common = ["mmdebstrap", "mcopy", "mkfs.vfat", "mke2fs", "debugfs", "xz", "losetup"];
    let there = |tool: &&str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).output();
        found.is_ok_and(|found| found.status.success())
    };
    let tools = common.iter().chain(own).copied();
    let lacking: Vec<&str> = tools.filter(|tool| !there(tool)).collect();
    (!lacking.is_empty()).then(|| format!("there is no {}", lacking.join(", ")))
}

/// Runs a tool, which must succeed; what it prints.
#[track_caller]
fn tool(name: &str, arguments: &[&str]) -> String {
    let done = Command::new(name)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{name} {arguments:?}: {}\n{text}{complaint}",
        done.status
    );
    text
}

fn card_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/card")
}

/// Serves one file, with ranges; the first two answers break off after a third of what they should have given.
fn serve(file: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broken = Arc::new(AtomicUsize::new(0));
    let counter = broken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &file, &counter);
        }
    });
    (port, broken)
}

fn answer(mut stream: TcpStream, file: &[u8], broken: &AtomicUsize) -> std::io::Result<()> {
    let mut range = 0;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let head = lines.next().transpose()?.unwrap_or_default().starts_with("HEAD");
    for line in lines.by_ref() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(from) = line.strip_prefix("range: bytes=") {
            range = from.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    let body = &file[range.min(file.len())..];
    let status = match range {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {range}-{}/{}",
            file.len() - 1,
            file.len()
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"one\"\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if head {
        return Ok(());
    }
    let part = match broken.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => &body[..body.len() / 3],
        _ => body,
    };
    stream.write_all(part)
}

/// A loop device over a file; detached when it is dropped.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    fn new(file: &Path, bytes: u64) -> Loop {
        std::fs::File::create(file).unwrap().set_len(bytes).unwrap();
        Loop {
            device: tool("losetup", &["--find", "--show", file.to_str().unwrap()])
                .trim()
                .to_owned(),
            file: file.to_owned(),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// An emulated machine; ended when it is dropped.
struct Machine {
    pid: String,
    log: PathBuf,
}

impl Machine {
    fn boot(card: &Path, port: u16, log: PathBuf) -> Machine {
        let (port, architecture) = (port.to_string(), architecture());
        let arguments = ["boot", card.to_str().unwrap(), &port, log.to_str().unwrap(), &architecture];
        let pid = tool(card_script().to_str().unwrap(), &arguments).trim().to_owned();
        Machine { pid, log }
    }

    fn console(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut log| log.read_to_string(&mut text));
        read.map_or_else(
            |e| e.to_string(),
            |_| text.chars().rev().take(4000).collect::<String>().chars().rev().collect(),
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.pid]).status();
    }
}

/// A port that nobody uses just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn two_cards_boot_and_are_known() {
    if let Some(why) = missing() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
        println!("skipped: {why}");
        return;
    }
    let program = Program::new();
    let at = |name: &str| program.folder().join(name);
    let path = |name: &str| at(name).to_str().unwrap().to_owned();

    let architecture = architecture();
    // An arm64 machine is given its kernel from outside: the card needs nothing that a board's firmware looks for.
    let board = if architecture == "amd64" { "pc" } else { "virt" };
    tool(
        card_script().to_str().unwrap(),
        &["image", &path("card.img.xz"), &architecture],
    );
    let image = std::fs::read(at("card.img.xz")).unwrap();
    let sum = tool("sha256sum", &[&path("card.img.xz")]);
    let sum = sum.split_whitespace().next().unwrap();
    let (server, answers) = serve(image);
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path("key")]);
    let ports = [free_port(), free_port()];

    program
        .file("picloud.yaml", "name: bench\n")
        .file(
            "inventory/minions.yaml",
            &format!(
                "defaults: {{address: 127.0.0.1, user: pi, sudo: true, key: {key}, image: card, card: {{timezone: Europe/Berlin}}}}\n\
                 minions:\n  pi0: {{port: {}}}\n  pi1: {{port: {}}}\n",
                ports[0],
                ports[1],
                key = path("key"),
            ),
        )
        .file(
            "images/card.yaml",
            &format!(
                "card:\n  os: Debian\n  url: http://127.0.0.1:{server}/card.img.xz\n  sha256: {sum}\n  format: img.xz\n  \
                 architectures: [{architecture}]\n  boards: [{board}]\n  first_boot: cloud-init\n"
            ),
        );

    let cards = [Loop::new(&at("card0"), 2 << 30), Loop::new(&at("card1"), 2 << 30)];
    // What a used card is full of: a file system that needs a zero here does not find one.
    let noise: Vec<u8> = (0..1u32 << 20)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes())
        .collect();
    for card in &cards {
        let mut device = std::fs::File::options().write(true).open(&card.device).unwrap();
        (0..320).for_each(|_| device.write_all(&noise).unwrap());
        device.sync_all().unwrap();
    }
    let devices = ["--device", &cards[0].device, "--device", &cards[1].device];
    let said = program.run(&[&["flash", "pi0", "pi1", "--yes"][..], &devices].concat());
    assert_eq!(said.code, 0, "{}", said.text);
    assert!(answers.load(Ordering::Relaxed) >= 3, "the line broke twice: {}", said.text);

    // Both file systems are clean.
    let files: Vec<PathBuf> = cards.iter().map(|card| card.file.clone()).collect();
    drop(cards);
    for card in &files {
        let table = tool("sfdisk", &["--dump", card.to_str().unwrap()]);
        let starts: Vec<(u64, u64)> = table.lines().filter_map(sectors).collect();
        let [(fat, fat_size), (root, _)] = starts[..] else {
            panic!("{table}");
        };
        let inside = format!("{}?offset={}", card.display(), root * 512);
        let copy = path("fat.img");
        let skip = format!("skip={}", fat / 2048);
        let count = format!("count={}", fat_size / 2048);
        let from = format!("if={}", card.display());
        tool("dd", &[&from, &format!("of={copy}"), "bs=1M", &skip, &count, "status=none"]);
        tool("fsck.fat", &["-n", &copy]);
        tool("e2fsck", &["-fn", &inside]);
        // There are systems that do not mount what they boot from: the second one is such.
        if card == &files[1] {
            program
                .file("fstab", "LABEL=writable / ext4 defaults 0 1\n")
                .file("commands", &format!("cd /etc\nrm fstab\nwrite {} fstab\n", path("fstab")));
            tool("debugfs", &["-w", "-f", &path("commands"), &inside]);
            assert!(!tool("debugfs", &["-R", "cat /etc/fstab", &inside]).contains("system-boot"));
        }
    }

    let machines: Vec<Machine> = (0..2)
        .map(|n| Machine::boot(&files[n], ports[n], at(&format!("console{n}"))))
        .collect();
    let end = Instant::now() + BOOT;
    let said = loop {
        let said = program.run(&["ping"]);
        if said.code == 0 || Instant::now() > end {
            break said;
        }
        // An emulated machine has two processors to share with this loop.
        std::thread::sleep(Duration::from_secs(2));
    };
    let consoles = || machines.iter().map(Machine::console).collect::<Vec<_>>().join("\n=====\n");
    assert_eq!(said.code, 0, "{}\n{}", said.text, consoles());

    // They are who they should be, the time zone is set, and no private key lies in clear on the boot partition.
    let check = "for i in $(seq 300); do case $(systemctl is-active cloud-final) in active | failed) break ;; esac; sleep 1; done; \
                 hostname; readlink /etc/localtime; at=$(findmnt -n -o TARGET /dev/vda1) || { mount /dev/vda1 /mnt && at=/mnt; }; \
                 test -s $at/user-data && echo kept at $at; grep -rl 'PRIVATE KEY' $at || echo no key";
    let said = program.run(&["run", "*", "--", check]);
    for expected in [
        "pi0",
        "pi1",
        "Europe/Berlin",
        "kept at /boot/firmware",
        "kept at /mnt",
        "no key",
    ] {
        assert!(said.text.contains(expected), "{expected}: {}\n{}", said.text, consoles());
    }
    assert!(!said.text.contains("/user-data"), "{}", said.text);
    assert_eq!(said.code, 0, "{}", said.text);
}

/// Start and size, in sectors, of a partition in `sfdisk --dump`.
fn sectors(line: &str) -> Option<(u64, u64)> {
    let number = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split(',').next()?.trim().parse::<u64>().ok()
    };
    Some((number("start=")?, number("size=")?))
}
