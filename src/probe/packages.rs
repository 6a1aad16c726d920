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
set -f
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
            // A pattern, as pacman.conf(5) allows: at most one `*` is understood here.
            ["", "H", held] => {
                let ends = held.split_once('*');
                seen.held |= held == name || ends.is_some_and(|(start, end)| name.starts_with(start) && name.ends_with(end));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&str], text: &str) -> Vec<PackageSeen> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let packages = parse(&names, text).into_iter().map(|(_, fact)| match fact {
            Fact::Package(_, seen) => seen,
            other => panic!("{other:?}"),
        });
        packages.collect()
    }

    fn installed(version: &str) -> PackageSeen {
        PackageSeen {
            version: Some(version.to_owned()),
            ..PackageSeen::default()
        }
    }

    fn provided(by: &str) -> PackageSeen {
        PackageSeen {
            provided_by: Some(by.to_owned()),
            ..PackageSeen::default()
        }
    }

    #[test]
    fn dpkg_tells_of_packages() {
        let text = "dpkg armhf\n\
            ii \tcurl\tarmhf\t7.88.1-10+deb12u5\n\
            hi \tdocker-ce\tarmhf\t5:24.0.7-1\n\
            rc \tntp\tarmhf\t1:4.2.8p15\n\
            iU \tnginx\tarmhf\t1.22.1-9\n\
            ii \tlibc6\tarm64\t2.36-8\n\
            ii \tlibc6\tarmhf\t2.36-9\n\
            un \teditor\t\t\n\
            iHR\tfoo\tall\t1.0\n\
            \tP\tii \tmawk\tawk\n\
            \tP\trc \tpostfix\tmail-transport-agent\n\
            \tP\tii \texim4-daemon-light\tdefault-mta (= 1), mail-transport-agent\n\
            \tP\tii \tcurl\tcurl";
        let names = [
            "curl",
            "docker-ce",
            "ntp",
            "nginx",
            "libc6",
            "libc6:arm64",
            "editor",
            "foo",
            "awk",
            "mail-transport-agent",
            "wget",
        ];
        let expected = vec![
            installed("7.88.1-10+deb12u5"),
            PackageSeen {
                held: true,
                ..installed("5:24.0.7-1")
            },
            PackageSeen {
                config_files: true,
                ..PackageSeen::default()
            },
            PackageSeen {
                broken: true,
                ..installed("1.22.1-9")
            },
            installed("2.36-9"),
            installed("2.36-8"),
            PackageSeen::default(),
            PackageSeen {
                broken: true,
                ..PackageSeen::default()
            },
            provided("mawk"),
            provided("exim4-daemon-light"),
            PackageSeen::default(),
        ];
        assert_eq!(seen(&names, text), expected);
    }

    #[test]
    fn pacman_tells_of_packages() {
        let text = "pacman\nbash 5.2.021-1\ndocker 1:24.0.7-1\n\tP\tsh\tbash 5.2.021-1\n\tH\tdoc*r";
        let expected = vec![
            installed("5.2.021-1"),
            PackageSeen {
                held: true,
                ..installed("1:24.0.7-1")
            },
            provided("bash"),
            PackageSeen::default(),
        ];
        assert_eq!(seen(&["bash", "docker", "sh", "nano"], text), expected);
    }

    #[test]
    fn apk_tells_of_packages() {
        let text = "apk\nbusybox\t1.36.1-r5\nnano\t7.2-r1\n\tP\t/bin/sh\tbusybox-binsh\n\tP\tcmd:ash\tbusybox\n\tH\tnano=7.2-r1";
        let expected = vec![
            installed("1.36.1-r5"),
            PackageSeen {
                held: true,
                ..installed("7.2-r1")
            },
            provided("busybox"),
            PackageSeen::default(),
        ];
        assert_eq!(seen(&["busybox", "nano", "cmd:ash", "vim"], text), expected);
    }

    #[test]
    fn apks_database_is_read_by_every_awk() {
        let database = "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:aarch64\np:so:libc.musl-aarch64.so.1=1\nF:lib\nR:ld.so\n\n\
            C:Q1y=\nP:busybox\nV:1.36.1-r5\nD:so:libc.musl-aarch64.so.1\np:cmd:busybox=1.36.1-r5 /bin/sh\n\nP:last\nV:1.0-r0";
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, database.as_bytes()).unwrap();
        let names = ["busybox", "musl", "last", "cmd:busybox", "none"];
        let section = crate::shell::Section::new(format!("{SCRIPT}apk_ {} {}", file.path().display(), names.join(" ")));
        for minion in super::super::real::minions() {
            let answer = &super::super::real::answers(&minion, std::slice::from_ref(&section))[0];
            let expected = vec![
                installed("1.36.1-r5"),
                installed("1.2.4-r2"),
                installed("1.0-r0"),
                provided("busybox"),
                PackageSeen::default(),
            ];
            assert_eq!(seen(&names, &answer.text()), expected, "{minion:?} {}", answer.error_text());
        }
    }

    #[test]
    fn rpm_tells_of_packages() {
        let text = "rpm\n\
            bash\taarch64\t5.2.15-5.fc39\n\
            glibc\ti686\t2.38-7.fc39\nglibc\tx86_64\t2.38-7.fc39\n\
            docker-ce\taarch64\t3:24.0.7-1.fc39\n\
            package webserver is not installed\npackage vim is not installed\n\
            \tP\thttpd\tconfig(httpd) httpd webserver httpd(aarch-64) \n\
            no package provides vim\n\
            \tH\tdocker-ce-3:24.0.7-1.fc39.*\n\tH\tname = \"bash\"";
        let held = |version| PackageSeen {
            held: true,
            ..installed(version)
        };
        let expected = vec![
            held("5.2.15-5.fc39"),
            installed("2.38-7.fc39"),
            installed("2.38-7.fc39"),
            held("3:24.0.7-1.fc39"),
            provided("httpd"),
            PackageSeen::default(),
        ];
        assert_eq!(
            seen(&["bash", "glibc", "glibc.i686", "docker-ce", "webserver", "vim"], text),
            expected
        );
    }
}
