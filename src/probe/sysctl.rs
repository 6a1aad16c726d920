//! Kernel settings: one `grep` over the files in `/proc/sys`.

use super::{Fact, Probe};
use crate::shell::words;

/// Where a key's value is. Either separator may be written; the one that comes first is the separator, and the other then stands
/// for a dot in a name: `net.ipv4.conf.eth0/1.forwarding` is `net/ipv4/conf/eth0.1/forwarding`. `None`: no key can look so.
pub(super) fn file(key: &str) -> Option<String> {
    let path: String = match key.find(['.', '/']).map(|at| &key[at..=at]) {
        Some(".") => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    };
    let valid = !path.contains(['\0', '\n']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    valid.then(|| format!("/proc/sys/{path}"))
}

/// Prints `+` or `-` for each key, then the values' lines, each behind its file's name. (The `read` of dash would see one byte.)
pub(super) fn script(keys: &[String]) -> String {
    let files: Vec<String> = keys.iter().filter_map(|key| file(key)).collect();
    format!(
        "set -- {}\nfor p; do if [ -e \"$p\" ]; then printf +; else printf -; fi; done\necho\ngrep -s '' \"$@\" /dev/null\n",
        words(files.iter().map(String::as_str))
    )
}

pub(super) fn parse(keys: &[String], text: &str) -> Vec<(Probe, Fact)> {
    let (there, lines) = text.split_once('\n').unwrap_or((text, ""));
    let mut there = there.chars();
    keys.iter()
        .map(|key| {
            let file = file(key);
            let exists = file.is_some() && there.next() == Some('+');
            let value = file.filter(|_| exists).map(|file| {
                let own = lines.lines().filter_map(|line| line.strip_prefix(&file)?.strip_prefix(':'));
                own.collect::<Vec<_>>().join("\n")
            });
            (Probe::Sysctl { key: key.clone() }, Fact::Sysctl(key.clone(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_files() {
        for (key, path) in [
            ("vm.swappiness", Some("/proc/sys/vm/swappiness")),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                Some("/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                Some("/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ),
            ("../../etc/shadow", None),
            ("/etc/shadow", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(file(key).as_deref(), path, "{key}");
        }
    }

    #[test]
    fn values_are_read_by_their_files() {
        let keys = [
            "vm.swappiness",
            "../x",
            "no.such",
            "net.ipv4.tcp_rmem",
            "net.ipv4.route.flush",
            "dev.cdrom.info",
        ]
        .map(String::from);
        let text = "+-+++\n/proc/sys/vm/swappiness:60\n/proc/sys/net/ipv4/tcp_rmem:4096\t131072\t6291456\n\
                    /proc/sys/dev/cdrom/info:CD-ROM information\n/proc/sys/dev/cdrom/info:\n/proc/sys/dev/cdrom/info:drive name:\tsr0";
        let expected = [
            Some("60"),
            None,
            None,
            Some("4096\t131072\t6291456"),
            Some(""),
            Some("CD-ROM information\n\ndrive name:\tsr0"),
        ];
        let facts: Vec<Fact> = parse(&keys, text).into_iter().map(|(_, fact)| fact).collect();
        let expected: Vec<Fact> = keys
            .iter()
            .zip(expected)
            .map(|(key, value)| Fact::Sysctl(key.clone(), value.map(String::from)))
            .collect();
        assert_eq!(facts, expected);
    }
}
