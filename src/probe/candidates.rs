//! Packages: what the indexes offer, from apt, pacman, apk, dnf or zypper, and how old the indexes are.

use super::packages::valid;
use super::{CandidateSeen, Fact, Probe};
use crate::shell::words;
use std::cmp::Ordering;

/// The first line names who answers, the time now, and the times of what a refresh of the indexes touches; nothing else on it where
/// they have never been fetched. The rest is as each tool prints it.
const SCRIPT: &str = r#"stamps() { stat -c '%Y
%Z' "$@" 2>/dev/null; }
said() {
t=
for x in $2; do [ "${t:-0}" -ge "$x" ] || t=$x; done
printf '%s %s %s\n' "$1" "$(date +%s)" "$t"
}
candidates() {
if [ -s /var/lib/dpkg/status ]; then
t=
for f in /var/lib/apt/lists/*Release; do
[ ! -e "$f" ] || t=$(stat -c %Y /var/lib/apt/lists /var/lib/apt/lists/partial /var/lib/apt/periodic/update-success-stamp 2>/dev/null)
break
done
said apt "$t"
apt-cache policy "$@" 2>/dev/null
elif [ -d /var/lib/pacman/local ]; then
t=
for f in /var/lib/pacman/sync/*.db; do [ ! -e "$f" ] || t=$(stamps /var/lib/pacman/sync/*.db /var/lib/pacman/sync); break; done
said pacman "$t"
pacman -Si -- "$@" 2>/dev/null
elif [ -s /lib/apk/db/installed ] || [ -s /usr/lib/apk/db/installed ]; then
t=
for f in /etc/apk/cache/APKINDEX.* /var/cache/apk/APKINDEX.*; do [ ! -e "$f" ] || t="$t $(stamps "$f")"; done
said apk "$t"
apk policy "$@" 2>/dev/null
elif command -v dnf >/dev/null; then
said dnf "$(stamps /var/cache/dnf/last_makecache /var/cache/dnf/*/repodata/repomd.xml /var/cache/libdnf5/*/repodata/repomd.xml)"
dnf -q -C repoquery --qf '%{name}|%{arch}|%{evr}\n' --showduplicates -- "$@" 2>/dev/null
elif command -v zypper >/dev/null; then
said zypper "$(stamps /var/cache/zypp/raw/*/cookie /var/cache/zypp/raw/*/repodata/repomd.xml)"
zypper -q --no-refresh --xmlout search -s --match-exact -- "$@" 2>/dev/null
else
echo none
fi
}
"#;

pub(super) fn script(names: &[String]) -> String {
    let names = words(names.iter().map(String::as_str).filter(|name| valid(name)));
    if names.is_empty() {
        "echo none\n".to_owned()
    } else {
        format!("{SCRIPT}candidates {names}\n")
    }
}

pub(super) fn parse(names: &[String], text: &str) -> Vec<(Probe, Fact)> {
    let (first, text) = text.split_once('\n').unwrap_or((text, ""));
    let mut first = first.split(' ');
    let who = first.next().unwrap_or_default();
    let mut time = || first.next().and_then(|time| time.parse::<u64>().ok());
    let index_age = match (time(), time()) {
        // A minion without a clock may have indexes of the future.
        (Some(now), Some(then)) => Some(now.saturating_sub(then)),
        _ => None,
    };
    names
        .iter()
        .map(|name| {
            let (version, versions) = match who {
                "apt" => apt(name, text),
                "pacman" => pacman(name, text),
                "apk" => apk(name, text),
                "dnf" => dnf(name, text),
                "zypper" => zypper(name, text),
                _ => (None, Vec::new()),
            };
            let seen = CandidateSeen {
                version,
                versions,
                index_age,
            };
            (Probe::Candidate { name: name.clone() }, Fact::Candidate(name.clone(), seen))
        })
        .collect()
}

type Offer = (Option<String>, Vec<String>);

/// `apt-cache policy`: a heading `name:`, `  Candidate: 1.2`, and below `  Version table:` each version at column 5 with the places that
/// have it at column 7 or more; the place of what is only installed is `/var/lib/dpkg/status`.
fn apt(name: &str, text: &str) -> Offer {
    // The native architecture is left out of a heading.
    let headings = [format!("{name}:"), format!("{}:", name.split(':').next().unwrap_or(name))];
    let Some(heading) = headings.iter().find(|heading| text.lines().any(|line| line == *heading)) else {
        return (None, Vec::new());
    };
    let lines = text
        .lines()
        .skip_while(|line| line != heading)
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let (mut candidate, mut versions) = (None, Vec::new());
    let mut current = None;
    for line in lines {
        let column = line.len() - line.trim_start().len();
        if let Some(version) = line.strip_prefix("  Candidate: ") {
            candidate = Some(version.to_owned()).filter(|version| version != "(none)");
        } else if column >= 7 {
            if !line.contains("/var/lib/dpkg/status")
                && let Some(version) = current.take()
            {
                versions.push(version);
            }
        } else if column == 5 || line.starts_with(" *** ") {
            current = line[5..].split(' ').next().map(String::from);
        }
    }
    // What is installed and nowhere on offer is no candidate.
    (candidate.filter(|candidate| versions.contains(candidate)), versions)
}

/// `pacman -Si`: blocks of `Name : x`, `Version : y`; the first repository that has it wins.
fn pacman(name: &str, text: &str) -> Offer {
    let mut versions = Vec::new();
    let mut here = false;
    for line in text.lines() {
        match line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("Name", value)) => here = value == name,
            Some(("Version", value)) if here => versions.push(value.to_owned()),
            _ => {}
        }
    }
    (versions.first().cloned(), versions)
}

/// `apk policy`: `name policy:`, versions at column 2 (`  1.2-r0:`), the places that have each at column 4.
fn apk(name: &str, text: &str) -> Offer {
    let heading = format!("{name} policy:");
    let lines = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let mut versions = Vec::new();
    let mut current = None;
    for line in lines {
        if line.starts_with("    ") {
            if !line.trim().ends_with("apk/db/installed")
                && let Some(version) = current.take()
            {
                versions.push(version);
            }
        } else {
            current = Some(line.trim().trim_end_matches(':').to_owned());
        }
    }
    newest_first(versions)
}

/// `name|architecture|version`; a name may carry its architecture.
fn dnf(name: &str, text: &str) -> Offer {
    let mut versions = Vec::new();
    for line in text.lines() {
        let [package, arch, version] = line.split('|').collect::<Vec<_>>()[..] else {
            continue;
        };
        if package == name || name.strip_suffix(arch).and_then(|n| n.strip_suffix('.')) == Some(package) {
            versions.push(version.to_owned());
        }
    }
    newest_first(versions)
}

/// `<solvable status="not-installed" name="x" kind="package" edition="1.2-3" arch="aarch64" repository="main"/>`
fn zypper(name: &str, text: &str) -> Offer {
    let attribute = |line: &str, key: &str| {
        let (_, rest) = line.split_once(&format!(" {key}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let lines = text.lines().filter(|line| line.trim_start().starts_with("<solvable "));
    let named = lines.filter(|line| attribute(line, "name").as_deref() == Some(name));
    let offered = named.filter(|line| attribute(line, "repository").is_none_or(|place| !place.starts_with("(System")));
    newest_first(offered.filter_map(|line| attribute(line, "edition")).collect())
}

fn newest_first(mut versions: Vec<String>) -> Offer {
    versions.sort_by(|a, b| compare(b, a));
    versions.dedup();
    (versions.first().cloned(), versions)
}

/// Which version is newer, as rpm and apk agree on it: numbers as numbers, words as words, an epoch first, and suffixes that come
/// before the release itself (`_rc1`, `~beta`).
fn compare(a: &str, b: &str) -> Ordering {
    let epoch = |version: &str| match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse::<u64>().unwrap_or(0), rest.to_owned()),
        None => (0, version.to_owned()),
    };
    let ((epoch_a, a), (epoch_b, b)) = (epoch(a), epoch(b));
    epoch_a.cmp(&epoch_b).then_with(|| {
        let (a, b) = (parts(&a), parts(&b));
        for n in 0..a.len().max(b.len()) {
            let order = rank(a.get(n)).cmp(&rank(b.get(n)));
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    })
}

/// Runs of digits, runs of letters, and `~`, `_` and `-`.
fn parts(version: &str) -> Vec<String> {
    let class = |c: char| match c {
        '0'..='9' => 0,
        'a'..='z' | 'A'..='Z' => 1,
        '~' => 2,
        '-' => 3,
        _ => 4,
    };
    let mut parts: Vec<String> = Vec::new();
    let mut last = 4;
    for c in version.chars() {
        if class(c) == 4 {
            last = 4;
            continue;
        }
        match parts.last_mut() {
            Some(part) if class(c) == last && last < 2 => part.push(c),
            _ => parts.push(c.to_string()),
        }
        last = class(c);
    }
    parts
}

/// The order of one part: what comes before the end of a version, the end, the release, words, numbers.
fn rank(part: Option<&String>) -> (u8, usize, String) {
    match part.map(String::as_str) {
        Some("~" | "alpha" | "beta" | "pre" | "rc") => (0, 0, part.cloned().unwrap_or_default()),
        None => (1, 0, String::new()),
        Some("-") => (2, 0, String::new()),
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            let digits = text.trim_start_matches('0');
            (4, digits.len(), digits.to_owned())
        }
        Some(text) => (3, 0, text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&str], text: &str) -> Vec<CandidateSeen> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let candidates = parse(&names, text).into_iter().map(|(_, fact)| match fact {
            Fact::Candidate(_, seen) => seen,
            other => panic!("{other:?}"),
        });
        candidates.collect()
    }

    fn offer(version: &str, versions: &[&str], index_age: Option<u64>) -> CandidateSeen {
        CandidateSeen {
            version: Some(version.to_owned()).filter(|version| !version.is_empty()),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            index_age,
        }
    }

    #[test]
    fn apt_tells_of_candidates() {
        let text = "apt 1700000100 1700000000\n\
docker.io:
  Installed: 20.10.24+dfsg1-1
  Candidate: 20.10.24+dfsg1-1+deb12u1
  Version table:
     20.10.24+dfsg1-1+deb12u1 500
        500 http://deb.debian.org/debian bookworm/main arm64 Packages
       1001 http://security.debian.org/ bookworm-security/main arm64 Packages
 *** 20.10.24+dfsg1-1 100
        100 /var/lib/dpkg/status
     20.10.5 500 (phased 10%)
        -10 http://old.example.com/debian bullseye/main arm64 Packages
local:
  Installed: 1.0
  Candidate: 1.0
  Version table:
 *** 1.0 100
        100 /var/lib/dpkg/status
awk:
  Installed: (none)
  Candidate: (none)
  Version table:
dpkg:
  Installed: 1.21
  Candidate: 1.21
  Package pin: 1.21
  Version table:
 *** 1.21 500
        500 http://deb.debian.org/debian bookworm/main arm64 Packages
        100 /var/lib/dpkg/status";
        let expected = vec![
            offer(
                "20.10.24+dfsg1-1+deb12u1",
                &["20.10.24+dfsg1-1+deb12u1", "20.10.5"],
                Some(100),
            ),
            offer("", &[], Some(100)),
            offer("", &[], Some(100)),
            offer("1.21", &["1.21"], Some(100)),
            offer("", &[], Some(100)),
        ];
        assert_eq!(seen(&["docker.io", "local", "awk", "dpkg:arm64", "none"], text), expected);
        assert_eq!(seen(&["curl"], "apt 1700000100 "), [offer("", &[], None)]);
    }

    #[test]
    fn pacman_tells_of_candidates() {
        let text = "pacman 1700000100 1700000200\nRepository      : extra\nName            : docker\nVersion         : 1:24.0.7-1\n\
                    Description     : Pack: ship\n\nRepository      : core\nName            : bash\nVersion         : 5.2.021-1\n";
        let expected = vec![offer("1:24.0.7-1", &["1:24.0.7-1"], Some(0)), offer("", &[], Some(0))];
        assert_eq!(seen(&["docker", "nano"], text), expected);
    }

    #[test]
    fn apk_tells_of_candidates() {
        let text = "apk 50 20\nnano policy:\n  7.2-r1:\n    lib/apk/db/installed\n    http://dl-cdn.alpinelinux.org/alpine/v3.18/main\n  \
                    7.10-r0:\n    @edge http://dl-cdn.alpinelinux.org/alpine/edge/main\nown policy:\n  1.0-r0:\n    usr/lib/apk/db/installed\n";
        let expected = vec![offer("7.10-r0", &["7.10-r0", "7.2-r1"], Some(30)), offer("", &[], Some(30))];
        assert_eq!(seen(&["nano", "own"], text), expected);
    }

    #[test]
    fn dnf_and_zypper_tell_of_candidates() {
        let text =
            "dnf 50 20\n\ndocker-ce|aarch64|3:24.0.6-1.fc39\n\ndocker-ce|aarch64|3:24.0.7-1.fc39\nglibc|i686|2.38-7.fc39\n";
        let expected = vec![
            offer("3:24.0.7-1.fc39", &["3:24.0.7-1.fc39", "3:24.0.6-1.fc39"], Some(30)),
            offer("2.38-7.fc39", &["2.38-7.fc39"], Some(30)),
        ];
        assert_eq!(seen(&["docker-ce", "glibc.i686"], text), expected);
        let text = "zypper 50 20\n<?xml version='1.0'?>\n<stream>\n<search-result version=\"0.0\">\n<solvable-list>\n\
            <solvable status=\"installed\" name=\"nano\" kind=\"package\" edition=\"7.2-1.3\" arch=\"aarch64\" repository=\"main\"/>\n\
            <solvable status=\"installed\" name=\"nano\" kind=\"package\" edition=\"9.9-1\" arch=\"aarch64\" repository=\"(System Packages)\"/>\n";
        assert_eq!(seen(&["nano"], text), [offer("7.2-1.3", &["7.2-1.3"], Some(30))]);
        assert_eq!(seen(&["nano"], "none"), [offer("", &[], None)]);
    }

    #[test]
    fn versions_have_an_order() {
        let ascending = [
            "1.0~rc1",
            "1.0_beta2",
            "1.0_rc1",
            "1.0",
            "1.0-r0",
            "1.0-r2",
            "1.0-r10",
            "1.0a",
            "1.0.1",
            "1.2",
            "1.10",
            "1:0.1",
        ];
        for (n, older) in ascending.iter().enumerate().skip(1) {
            for newer in &ascending[n + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            }
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }
}
