//! Packages: what is installed, from dpkg, pacman, apk or rpm, whichever keeps this minion's packages.

use super::{Fact, PackageSeen, Probe};
use crate::shell::words;
use std::collections::BTreeMap;

/// The first line names who answers (dpkg with the native architecture, where there are several). Then a line for each installed
/// package that was asked for; lines that begin with a tab tell the rest: `P` a provider, `H` something held.
/// Providers are looked for only where a name is not installed itself.
const SCRIPT: &str = r#"LF='
'
any() { for n; do printf ' -e %s' "${n%%:*}"; done; }
dpkg_() {
r=$(dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\n' "$@" 2>/dev/null)
s=$?
a=
[ ! -r /var/lib/dpkg/arch ] || read -r a </var/lib/dpkg/arch
printf 'dpkg %s\n%s\n' "$a" "$r"
case "$LF$r" in *"$LF"?[nc]*) s=1 ;; esac
[ $s = 0 ] || dpkg-query -W -f '\tP\t${db:Status-Abbrev}\t${Package}\t${Provides}\n' 2>/dev/null | grep -F -w $(any "$@")
}
pacman_() {
r=$(pacman -Q -- "$@" 2>/dev/null)
printf 'pacman\n%s\n' "$r"
for n; do
case "$LF$r" in
*"$LF$n "*) ;;
*) x=$(pacman -Q -- "$n" 2>/dev/null) && printf '\tP\t%s\t%s\n' "$n" "$x" ;;
esac
done
for n in $(pacman-conf IgnorePkg 2>/dev/null); do printf '\tH\t%s\n' "$n"; done
}
apk_() {
echo apk
N=" $* " awk '
function tell() {
if (p == "") return
if (index(ENVIRON["N"], " " p " ")) print p "\t" v
k = split(q, a, " ")
for (i = 1; i <= k; i++) { t = a[i]; sub(/[=<>~].*/, "", t); if (index(ENVIRON["N"], " " t " ")) print "\tP\t" t "\t" p }
p = q = ""
}
/^P:/ { tell(); p = substr($0, 3) }
/^V:/ { v = substr($0, 3) }
/^p:/ { q = substr($0, 3) }
END { tell() }' "$1"
for n in $(cat /etc/apk/world 2>/dev/null); do case $n in *[=~]*) printf '\tH\t%s\n' "$n" ;; esac; done
}
rpm_() {
r=$(rpm -q --qf '%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n' -- "$@" 2>/dev/null)
s=$?
printf 'rpm\n%s\n' "$r"
[ $s = 0 ] || rpm -q --whatprovides --qf '\tP\t%{NAME}\t[%{PROVIDENAME} ]\n' -- "$@" 2>/dev/null
grep -s -h -v '^#' /etc/dnf/plugins/versionlock.list /etc/dnf/versionlock.toml /etc/yum/pluginconf.d/versionlock.list /etc/zypp/locks |
while read -r x; do printf '\tH\t%s\n' "$x"; done
}
packages() {
if [ -s /var/lib/dpkg/status ]; then dpkg_ "$@"
elif [ -d /var/lib/pacman/local ]; then pacman_ "$@"
elif [ -s /lib/apk/db/installed ]; then set -- /lib/apk/db/installed "$@"; apk_ "$@"
elif [ -s /usr/lib/apk/db/installed ]; then set -- /usr/lib/apk/db/installed "$@"; apk_ "$@"
elif command -v rpm >/dev/null; then rpm_ "$@"
else echo none
fi
}
"#;

/// Names that no package can have are not asked for.
pub(super) fn valid(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._:@".contains(&b);
    name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

pub(super) fn script(names: &[String]) -> String {
    let names = words(names.iter().map(String::as_str).filter(|name| valid(name)));
    if names.is_empty() {
        "echo none\n".to_owned()
    } else {
        format!("{SCRIPT}packages {names}\n")
    }
}

pub(super) fn parse(names: &[String], text: &str) -> Vec<(Probe, Fact)> {
    let (who, lines) = text.split_once('\n').unwrap_or((text, ""));
    let (who, native) = who.split_once(' ').unwrap_or((who, ""));
    let lines: Vec<Vec<&str>> = lines.lines().map(|line| line.split('\t').collect()).collect();
    names
        .iter()
        .map(|name| {
            let seen = match who {
                "dpkg" => dpkg(name, native, &lines),
                "pacman" => pacman(name, &lines),
                "apk" => apk(name, &lines),
                "rpm" => rpm(name, &lines),
                _ => PackageSeen::default(),
            };
            (Probe::Package { name: name.clone() }, Fact::Package(name.clone(), seen))
        })
        .collect()
}

fn dpkg(name: &str, native: &str, lines: &[Vec<&str>]) -> PackageSeen {
    let (package, wanted) = name
        .split_once(':')
        .map_or((name, None), |(package, arch)| (package, Some(arch)));
    let mut best: Option<(u32, PackageSeen)> = None;
    let mut provided_by = None;
    for line in lines {
        match line[..] {
            [status, named, arch, version] if named == package => {
                let native = arch == native || arch == "all";
                let matches = match wanted {
                    None | Some("any") => true,
                    Some("native") => native,
                    Some(wanted) => arch == wanted || arch == "all",
                };
                if matches {
                    let seen = dpkg_status(status, version);
                    let rank = u32::from(seen.version.is_some()) * 2 + u32::from(native);
                    if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                        best = Some((rank, seen));
                    }
                }
            }
            ["", "P", status, provider, provides] if status.as_bytes().get(1) == Some(&b'i') && provider != package => {
                let mut provides = provides.split(',').filter_map(|one| one.split_whitespace().next());
                if provides.any(|one| one == package) {
                    provided_by.get_or_insert_with(|| provider.to_owned());
                }
            }
            _ => {}
        }
    }
    let seen = best.map(|(_, seen)| seen).unwrap_or_default();
    PackageSeen {
        provided_by: provided_by.filter(|_| seen.version.is_none()),
        ..seen
    }
}

/// dpkg's `db:Status-Abbrev`: what is wanted (`i`, `h`, `r`, `p`, `u`), what is (`n`, `c`, `H`, `U`, `F`, `W`, `t`, `i`), and `R` where
/// it must be installed anew.
fn dpkg_status(status: &str, version: &str) -> PackageSeen {
    let mut letters = status.chars();
    let (want, is, error) = (letters.next(), letters.next(), letters.next());
    PackageSeen {
        version: matches!(is, Some('i' | 'U' | 'F' | 'W' | 't')).then(|| version.to_owned()),
        config_files: is == Some('c'),
        held: want == Some('h'),
        broken: matches!(is, Some('H' | 'U' | 'F')) || error == Some('R'),
        provided_by: None,
    }
}

/// The installed version of `name` and its provider, from lines `name version` and `P name provider version`.
fn pacman(name: &str, lines: &[Vec<&str>]) -> PackageSeen {
    let mut seen = PackageSeen::default();
    for line in lines {
        match line[..] {
            [one] => {
                if let Some((package, version)) = one.split_once(' ')
                    && package == name
                {
                    seen.version = Some(version.to_owned());
                }
            }
            ["", "P", asked, provider] if asked == name => seen.provided_by = provider.split(' ').next().map(String::from),
            ["", "H", held] if held == name => seen.held = true,
            _ => {}
        }
    }
    seen
}

fn apk(name: &str, lines: &[Vec<&str>]) -> PackageSeen {
    let mut seen = PackageSeen::default();
    for line in lines {
        match line[..] {
            [package, version] if package == name => seen.version = Some(version.to_owned()),
            ["", "P", asked, provider] if asked == name && provider != name => {
                seen.provided_by.get_or_insert_with(|| provider.to_owned());
            }
            ["", "H", pinned] if pinned.split(['=', '~', '<', '>', '@']).next() == Some(name) => seen.held = true,
            _ => {}
        }
    }
    seen.provided_by = seen.provided_by.filter(|_| seen.version.is_none());
    seen
}

fn rpm(name: &str, lines: &[Vec<&str>]) -> PackageSeen {
    let mut seen = PackageSeen::default();
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines {
        match line[..] {
            // Of several (kernels) the last that was installed is told last.
            [package, arch, version]
                if package == name || name.strip_suffix(arch).and_then(|n| n.strip_suffix('.')) == Some(package) =>
            {
                found.insert(arch, version);
            }
            ["", "P", provider, provides] if provider != name && provides.split(' ').any(|one| one == name) => {
                seen.provided_by.get_or_insert_with(|| provider.to_owned());
            }
            ["", "H", locked] => seen.held |= is_lock(locked, name),
            _ => {}
        }
    }
    // A foreign architecture counts only where there is no other.
    let version = found.iter().find(|(arch, _)| **arch != "i686").or(found.iter().next());
    seen.version = version.map(|(_, version)| (*version).to_owned());
    seen.provided_by = seen.provided_by.filter(|_| seen.version.is_none());
    seen
}

/// `docker-ce-3:24.0.7-1.el9.*` (dnf), `name = "docker-ce"` (dnf 5), `solvable_name: docker-ce` (zypper).
fn is_lock(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix(name).unwrap_or_default();
    let listed = rest.starts_with("-*")
        || rest
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    listed || line == format!("name = \"{name}\"") || line == format!("solvable_name: {name}")
}
