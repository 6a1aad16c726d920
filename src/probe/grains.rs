//! Grains: what a minion is, under Salt's names, from one section of few processes.
//!
//! The section prints raw lines, `what:text`; everything else is worked out here, purely, so that each distribution can be tested by
//! its files alone. What Salt 3006 makes of the same files is the model.

#[cfg(test)]
mod distributions;
mod hardware;
mod network;
mod raw;
mod system;

use crate::error::{Error, Result};
use crate::shell::{Answer, Section};
use crate::yaml::{Data, Key, Map, Value};
use raw::Raw;
use sha2::{Digest, Sha256};

/// Most of it is one `awk` over all files that are there (each line behind its file's name), which leaves out what is long and not
/// wanted. The name service is asked for the host's name only if `/etc/hosts` does not know it, and not for longer than two seconds.
const SCRIPT: &str = r#"LF='
'
say() { printf '%s:%s\n' "$1" "$2"; }
lines() {
IFS=$LF
set -f
for l in $2; do say "$1" "$l"; done
set +f
unset IFS
}
set --
for f in /proc/self/status /proc/sys/kernel/hostname /proc/sys/kernel/osrelease /proc/sys/kernel/version /proc/sys/kernel/ostype \
/proc/cpuinfo /proc/meminfo /proc/cmdline /proc/1/comm /proc/1/cgroup /proc/net/route /proc/net/ipv6_route \
/etc/os-release /etc/lsb-release /etc/apk/arch /etc/passwd /etc/group /etc/hosts /etc/machine-id /var/lib/dbus/machine-id \
/etc/resolv.conf /run/systemd/resolve/resolv.conf /etc/default/locale /etc/locale.conf /run/systemd/container \
/sys/fs/selinux/enforce /sys/class/dmi/id/bios_version /sys/class/dmi/id/bios_vendor /sys/class/dmi/id/bios_date \
/sys/class/dmi/id/board_name /sys/class/dmi/id/product_name /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_uuid \
/sys/class/dmi/id/product_serial /sys/class/net/*/address /sys/block/*/queue/rotational; do
case $f in
/etc/os-release) [ -r "$f" ] || f=/usr/lib/os-release ;;
/sys/block/*) d=${f%/queue/*}; [ ! -e "/sys/devices/virtual/block/${d##*/}" ] || continue ;;
esac
if [ -f "$f" ] && [ -r "$f" ]; then set -- "$@" "$f"; fi
done
if ! command -v ip >/dev/null && [ -r /proc/net/if_inet6 ]; then set -- "$@" /proc/net/if_inet6; fi
r=$(awk '
FILENAME == "/proc/cpuinfo" { k = $0; sub(/[ \t]*:.*/, "", k); if (k != "processor" && k in seen) next; seen[k] = 1 }
FILENAME == "/proc/meminfo" && !/^(Mem|Swap)Total:/ { next }
FILENAME == "/proc/net/route" && $2 != "00000000" { next }
FILENAME == "/proc/net/ipv6_route" && !/^0+ 00 / { next }
FILENAME == "/proc/self/status" { if ($1 == "Uid:") uid = $2; else if ($1 == "Gid:") gid = $2; else next }
FILENAME == "/etc/passwd" { split($0, p, ":"); if (p[3] != uid) next }
FILENAME == "/etc/group" { split($0, p, ":"); if (p[3] != gid) next; sub(/:[^:]*$/, "") }
FILENAME == "/proc/sys/kernel/hostname" { host = tolower($0) }
FILENAME == "/etc/hosts" { t = tolower($0); sub(/#.*/, "", t); n = split(t, p, " "); for (i = 2; i <= n; i++) if (p[i] == host) known = 1 }
{ print FILENAME ":" $0 }
END { if (!known && host != "") print "unknown:" host }' "$@")
printf '%s\n' "$r"
say machine "$(uname -m)"
say zone "$(date +%Z)"
say path "$PATH"
say shell "${SHELL-}"
for f in /run/systemd/system /run/openrc /.dockerenv /run/.containerenv /sys/firmware/efi /sys/module/zfs /etc/rpi-issue /proc/vz/version \
/proc/vz/veinfo /proc/xen/xsd_kva /sys/bus/xen/drivers/xenconsole /sys/fs/selinux; do
[ ! -e "$f" ] || say there "$f"
done
if [ -e /proc/1/root/. ] && ! [ / -ef /proc/1/root/. ]; then say there chroot; fi
command -v selinuxenabled >/dev/null && say there selinuxenabled
for f in model serial-number system-id; do
x=
[ ! -r "/proc/device-tree/$f" ] || read -r x </proc/device-tree/$f
[ -z "$x" ] || say "$f" "$x"
done
if [ -s /var/lib/dpkg/status ]; then
x=
if [ -s /var/lib/dpkg/arch ]; then read -r x </var/lib/dpkg/arch; else x=$(dpkg --print-architecture 2>/dev/null); fi
say dpkg "$x"
fi
if command -v systemctl >/dev/null && command -v localectl >/dev/null; then lines systemd "$(systemctl --version 2>/dev/null)"; fi
if [ ! -d /run/systemd/system ] && [ ! -d /run/openrc ]; then
for x in sysvinit upstart; do if grep -q $x /sbin/init 2>/dev/null; then say init $x; break; fi; done
fi
for f in /sys/class/dmi/id /run/systemd/container /.dockerenv /proc/xen /proc/device-tree/hypervisor /proc/device-tree/fw-cfg*; do
if [ -e "$f" ]; then
if command -v systemd-detect-virt >/dev/null; then lines virt "$(systemd-detect-virt 2>/dev/null)"; fi
break
fi
done
if command -v ip >/dev/null; then lines ip "$(ip -o addr 2>/dev/null)"; else lines ifconfig "$(ifconfig -a 2>/dev/null)"; fi
case "$LF$r" in
*"${LF}unknown:"*)
h=${r##*"${LF}unknown:"}
if command -v getent >/dev/null; then lines host "$(timeout 2 getent ahosts "$h" 2>/dev/null)"
else say name "$(timeout 2 hostname -f 2>/dev/null)"; fi
;;
esac
exit 0
"#;

/// The section that asks for all grains.
pub fn grains_section() -> Section {
    Section::own(SCRIPT)
}

/// The grains of the minion `id`, from what [`grains_section`] answered: a mapping.
///
/// # Errors
/// The answer has not even the kernel's name in it: the minion has no `/proc`, or its shell failed.
pub fn parse_grains(answer: &Answer, id: &str) -> Result<Value> {
    let text = answer.text();
    let raw = Raw::read(&text);
    if raw.first("machine").is_none_or(str::is_empty) {
        let error = Error::state("the minion did not say what it is: its grains cannot be read");
        let said = answer.error_text();
        return Err(match said.trim().lines().last() {
            Some(line) => error.hint(format!("its shell said: {line}")),
            None => error.hint("is this a Linux system, with /proc mounted?"),
        });
    }
    let mut grains = Grains::default();
    general(&mut grains, id);
    system::add(&mut grains, &raw);
    hardware::add(&mut grains, &raw);
    network::add(&mut grains, &raw);
    grains.0.sort_by(|a, _, b, _| a.text().cmp(&b.text()));
    Ok(grains.0.into())
}

/// What does not depend on the minion: what formulas ask of Salt itself.
fn general(grains: &mut Grains, id: &str) {
    grains.set("id", id);
    grains.set("master", "salt");
    // Salt: the digest of the id, modulo 2^31.
    let digest = Sha256::digest(id.as_bytes());
    let last: [u8; 4] = digest.as_slice()[28..].try_into().unwrap_or_default();
    grains.set("server_id", i64::from(u32::from_be_bytes(last) & 0x7fff_ffff));
    grains.set("saltversion", "3006.9");
    grains.set("saltversioninfo", vec![Value::from(3006), Value::from(9)]);
    grains.set("picloudversion", env!("CARGO_PKG_VERSION"));
    grains.set("pythonexecutable", "/usr/bin/python3");
    let python = [
        Value::from(3),
        Value::from(10),
        Value::from(14),
        Value::from("final"),
        Value::from(0),
    ];
    grains.set("pythonversion", python.to_vec());
    grains.set("ps", "ps -efHww");
    grains.set("transactional", false);
    grains.set("zfs_feature_flags", false);
    grains.set("gpus", Vec::new());
    grains.set("num_gpus", 0);
}

/// The grains whose values have interfaces for keys.
const BY_INTERFACE: [&str; 4] = ["ip_interfaces", "ip4_interfaces", "ip6_interfaces", "hwaddr_interfaces"];

/// Whether two minions' grains (those of the last run and of this one) are the same to any template: interfaces that come and go with
/// containers do not count, nor do link-local addresses (which are those interfaces' too).
pub fn same_grains(a: &Value, b: &Value) -> bool {
    let (Some(one), Some(other)) = (a.as_map(), b.as_map()) else {
        return a == b;
    };
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, value)| other.get(name).is_some_and(|known| same(name, value, known)))
}

/// The same for one of them.
fn same(name: &Key, a: &Value, b: &Value) -> bool {
    match (&a.data, &b.data) {
        (Data::Map(a), Data::Map(b)) if name.as_str().is_some_and(|name| BY_INTERFACE.contains(&name)) => {
            let lasting = |interface: &Key| !interface.as_str().is_some_and(is_passing);
            let count = |map: &Map| map.keys().filter(|interface| lasting(interface)).count();
            let mut all = a.iter().filter(|(interface, _)| lasting(interface));
            count(a) == count(b) && all.all(|(interface, value)| b.get(interface) == Some(value))
        }
        (Data::List(a), Data::List(b)) if name.as_str() == Some("ipv6") => {
            let lasting = |address: &&Value| !address.as_str().is_some_and(|text| text.starts_with("fe80:"));
            a.iter().filter(lasting).eq(b.iter().filter(lasting))
        }
        _ => a == b,
    }
}

/// Whether an interface is one of a container's.
fn is_passing(interface: &str) -> bool {
    ["veth", "cali", "lxc", "tap"]
        .iter()
        .any(|prefix| interface.starts_with(prefix))
}

/// A mapping in the making.
#[derive(Default)]
struct Grains(Map);

impl Grains {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(Key::from(name), value.into());
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A list of texts.
fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect::<Vec<_>>().into()
}

/// Text, or nothing.
fn optional(text: Option<&str>) -> Value {
    text.map_or_else(Value::default, Value::from)
}

#[cfg(test)]
mod testing {
    use super::*;

    /// The grains of a minion that has just these files and answers.
    pub(super) fn grains(files: &[(&str, &str)]) -> Value {
        let lines = files
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .flat_map(|(what, text)| text.split('\n').map(move |line| format!("{what}:{line}\n")));
        let answer = Answer {
            stdout: lines.collect::<String>().into_bytes(),
            ..Answer::default()
        };
        parse_grains(&answer, "pi0").unwrap()
    }

    /// Those of `names` that there are.
    pub(super) fn shown(grains: &Value, names: &[&str]) -> String {
        let there = names
            .iter()
            .filter_map(|name| Some(format!("{name}={:?}", grains.get(name)?)));
        there.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{grains, shown};
    use super::*;

    #[test]
    fn the_shells_ask_alike() {
        let mut first: Option<Value> = None;
        for minion in super::super::real::minions() {
            let answer = &super::super::real::answers(&minion, &[grains_section()])[0];
            assert_eq!(answer.status, 0, "{minion:?} {}", answer.error_text());
            let mut seen = parse_grains(answer, "pi0").unwrap();
            assert_eq!(seen.get("kernel").and_then(Value::as_str), Some("Linux"), "{minion:?}");
            assert!(
                seen.get("num_cpus").and_then(Value::as_int).is_some_and(|n| n > 0),
                "{minion:?}"
            );
            assert!(
                seen.get("mem_total").and_then(Value::as_int).is_some_and(|n| n > 0),
                "{minion:?}"
            );
            assert!(
                seen.get("ipv4").and_then(Value::as_list).is_some_and(|all| !all.is_empty()),
                "{minion:?}"
            );
            // What the tools at hand make different, and what other tests change meanwhile: their containers' interfaces
            // come and go, and so do their swap files. `network.rs` reads addresses in every form.
            if let Some(map) = seen.as_map_mut() {
                let tools = ["path", "systempath", "systemd", "osarch", "docker_arch", "virtual"];
                let network = ["ipv4", "ipv6", "fqdn_ip4", "fqdn_ip6", "fqdns"];
                for name in tools.into_iter().chain(network).chain(["swap_total"]) {
                    map.shift_remove(name);
                }
                for name in ["ip_interfaces", "ip4_interfaces", "ip6_interfaces", "hwaddr_interfaces"] {
                    if let Some(interfaces) = map.get_mut(name).and_then(Value::as_map_mut) {
                        interfaces.retain(|interface, _| interface.as_str() == Some("lo"));
                    }
                }
            }
            match &first {
                None => first = Some(seen),
                Some(first) => assert!(same_grains(first, &seen), "{minion:?}\n{first:?}\n{seen:?}"),
            }
        }
    }

    #[test]
    fn salt_is_answered_for() {
        let seen = grains(&[("machine", "x86_64")]);
        let names = ["id", "server_id", "saltversion", "saltversioninfo", "kernel", "os"];
        assert_eq!(
            shown(
                &parse_grains(
                    &Answer {
                        stdout: b"machine:x86_64\n".to_vec(),
                        ..Answer::default()
                    },
                    "testid"
                )
                .unwrap(),
                &names
            ),
            "id=\"testid\"; server_id=357659642; saltversion=\"3006.9\"; saltversioninfo=[3006, 9]; kernel=\"Linux\"; os=\"Linux\""
        );
        assert_eq!(
            seen.get("picloudversion").and_then(Value::as_str),
            Some(env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn a_minion_that_says_nothing_is_an_error() {
        let answer = Answer {
            stderr: b"sh: awk: not found\n".to_vec(),
            ..Answer::default()
        };
        let error = parse_grains(&answer, "pi0").unwrap_err();
        assert_eq!(error.diagnostics()[0].hints, ["its shell said: sh: awk: not found"]);
    }

    #[test]
    fn interfaces_of_containers_make_no_difference() {
        let with = |interfaces: &str| {
            let addresses = interfaces
                .split(' ')
                .enumerate()
                .map(|(n, name)| format!("{n}: {name} inet6 fe80::{n}/64 scope link"));
            let addresses = addresses.collect::<Vec<_>>().join("\n");
            grains(&[("machine", "x86_64"), ("ip", &addresses)])
        };
        assert!(same_grains(&with("eth0 veth12ab"), &with("eth0 veth34cd vethff")));
        assert!(!same_grains(&with("eth0"), &with("eth0 eth1")));
        assert!(!same_grains(&with("eth0 eth1"), &with("eth0 veth1")));
        let mut fewer = with("eth0");
        fewer.as_map_mut().unwrap().shift_remove("kernel");
        assert!(!same_grains(&fewer, &with("eth0")) && !same_grains(&with("eth0"), &fewer));
    }
}
