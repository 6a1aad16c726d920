//! Mounts, swaps and `/etc/fstab`, by one `grep`.

use super::{Fact, Mount, MountsSeen, Probe, Swap};

/// Prints every line behind its file's name.
pub(super) const SCRIPT: &str = "grep -s '' /proc/self/mountinfo /proc/swaps /etc/fstab\n";

pub(super) fn parse(text: &str) -> Vec<(Probe, Fact)> {
    let mut seen = MountsSeen::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("/proc/self/mountinfo", line)) => seen.mounts.extend(mount(line)),
            Some(("/proc/swaps", line)) => seen.swaps.extend(swap(line)),
            Some(("/etc/fstab", line)) => {
                seen.fstab.push_str(line);
                seen.fstab.push('\n');
            }
            _ => {}
        }
    }
    vec![(Probe::Mounts, Fact::Mounts(seen))]
}

/// `36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue` (proc(5)).
fn mount(line: &str) -> Option<Mount> {
    let (own, file_system) = line.split_once(" - ")?;
    let mut own = own.split(' ').skip(4);
    let (target, mine) = (own.next()?, own.next()?);
    let mut file_system = file_system.split(' ');
    let (fstype, source) = (file_system.next()?, file_system.next()?);
    let mut options: Vec<String> = Vec::new();
    for option in mine.split(',').chain(file_system.next().unwrap_or_default().split(',')) {
        // A mount may be read-only on a file system that is not: what the mount says counts.
        let other = matches!(option, "rw" | "ro") && options.iter().any(|o| o == "ro" || o == "rw");
        if !option.is_empty() && !other && !options.iter().any(|known| known == option) {
            options.push(unescaped(option));
        }
    }
    Some(Mount {
        source: unescaped(source),
        target: unescaped(target),
        fstype: fstype.to_owned(),
        options,
    })
}

/// `/dev/sda2  partition  524284  0  -2`; the heading has no numbers.
fn swap(line: &str) -> Option<Swap> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [path, _, size, used, priority] = fields[..] else {
        return None;
    };
    let kib = |text: &str| text.parse::<u64>().ok().map(|n| n * 1024);
    Some(Swap {
        path: unescaped(path),
        size: kib(size)?,
        used: kib(used)?,
        priority: priority.parse().ok()?,
    })
}

/// The kernel writes space, tab, newline and backslash as `\040` and so on.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_tables_are_read() {
        let text = "/proc/self/mountinfo:26 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw\n\
             /proc/self/mountinfo:40 26 0:35 / /mnt/a\\040b ro,relatime - tmpfs tmp:fs rw,size=4k,mode=755\n\
             /proc/self/mountinfo:broken\n\
             /proc/swaps:Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
             /proc/swaps:/mnt/swap\\040file                      file\t\t2097148\t\t12\t\t-2\n\
             /etc/fstab:# a: comment\n\
             /etc/fstab:proc /proc proc defaults 0 0";
        let expected = MountsSeen {
            mounts: vec![
                Mount {
                    source: "/dev/root".into(),
                    target: "/".into(),
                    fstype: "ext4".into(),
                    options: ["rw", "noatime"].map(String::from).into(),
                },
                Mount {
                    source: "tmp:fs".into(),
                    target: "/mnt/a b".into(),
                    fstype: "tmpfs".into(),
                    options: ["ro", "relatime", "size=4k", "mode=755"].map(String::from).into(),
                },
            ],
            swaps: vec![Swap {
                path: "/mnt/swap file".into(),
                size: 2_097_148 * 1024,
                used: 12 * 1024,
                priority: -2,
            }],
            fstab: "# a: comment\nproc /proc proc defaults 0 0\n".into(),
        };
        assert_eq!(parse(text), vec![(Probe::Mounts, Fact::Mounts(expected))]);
    }
}
