//! Names, addresses, gateways and name servers.

use super::raw::Raw;
use super::{Grains, list};
use crate::yaml::{Map, Value};
use indexmap::IndexMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) fn add(grains: &mut Grains, raw: &Raw) {
    names(grains, raw);
    addresses(grains, raw);
    gateways(grains, raw);
    name_servers(grains, raw);
    let hardware = raw.each("/sys/class/net/", "/address");
    let hardware = hardware.into_iter().filter(|(_, address)| is_mac(address));
    grains.set(
        "hwaddr_interfaces",
        hardware.map(|(name, address)| (name.into(), address.into())).collect::<Map>(),
    );
}

fn is_mac(address: &str) -> bool {
    let parts: Vec<&str> = address.split(':').collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `fqdn`, `host`, `domain`: as `hostname -f` finds them, in `/etc/hosts` first.
fn names(grains: &mut Grains, raw: &Raw) {
    let nodename = raw.first("/proc/sys/kernel/hostname").unwrap_or("localhost");
    let hosts: Vec<(IpAddr, Vec<&str>)> = raw
        .lines("/etc/hosts")
        .iter()
        .filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next()?.parse().ok()?;
            Some((address, words.collect()))
        })
        .collect();
    let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
    let known = hosts.iter().find(|(_, names)| names.iter().any(|name| is(name, nodename)));
    // `192.0.2.7      STREAM pi0.example.com`
    let asked: Vec<Vec<&str>> = raw
        .lines("host")
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let canonical = asked.iter().find_map(|words| words.get(2).copied());
    let fqdn = known
        .and_then(|(_, names)| names.first().copied())
        .or(canonical)
        .or(raw.first("name").filter(|name| !name.is_empty()))
        .unwrap_or(nodename);
    let (host, domain) = fqdn.split_once('.').unwrap_or((fqdn, ""));
    grains.set("nodename", nodename);
    grains.set("localhost", nodename);
    grains.set("fqdn", fqdn);
    grains.set("host", host);
    grains.set("domain", domain);
    grains.set("fqdns", Vec::new());
    let mut own: Vec<IpAddr> = hosts
        .iter()
        .filter(|(_, names)| names.iter().any(|name| is(name, fqdn)))
        .map(|(address, _)| *address)
        .collect();
    if known.is_none() {
        own.extend(asked.iter().filter_map(|words| words.first()?.parse::<IpAddr>().ok()));
    }
    own.sort();
    own.dedup();
    let of = |four: bool| {
        own.iter()
            .filter(move |address| address.is_ipv4() == four)
            .map(|a| Value::from(a.to_string()))
    };
    grains.set("fqdn_ip4", of(true).collect::<Vec<_>>());
    grains.set("fqdn_ip6", of(false).collect::<Vec<_>>());
}

/// Every interface with its addresses.
fn addresses(grains: &mut Grains, raw: &Raw) {
    let mut found: IndexMap<&str, Vec<IpAddr>> = raw
        .each("/sys/class/net/", "/address")
        .iter()
        .map(|(name, _)| (*name, Vec::new()))
        .collect();
    for (name, address) in ip(raw).chain(ifconfig(raw)).chain(if_inet6(raw)) {
        let addresses = found.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let texts = |addresses: &[IpAddr], which: &dyn Fn(&IpAddr) -> bool| -> Value {
        let wanted = addresses.iter().filter(|address| which(address));
        wanted
            .map(|address| Value::from(address.to_string()))
            .collect::<Vec<_>>()
            .into()
    };
    let by_interface = |which: &dyn Fn(&IpAddr) -> bool| -> Map {
        let interfaces = found.iter().map(|(name, addresses)| {
            // IPv4 first, as Salt has them.
            let mut addresses = addresses.clone();
            addresses.sort_by_key(IpAddr::is_ipv6);
            ((*name).into(), texts(&addresses, which))
        });
        interfaces.collect()
    };
    grains.set("ip_interfaces", by_interface(&|_| true));
    grains.set("ip4_interfaces", by_interface(&IpAddr::is_ipv4));
    grains.set("ip6_interfaces", by_interface(&IpAddr::is_ipv6));
    let mut all: Vec<IpAddr> = found.into_values().flatten().collect();
    all.sort();
    all.dedup();
    grains.set("ipv4", texts(&all, &IpAddr::is_ipv4));
    grains.set("ipv6", texts(&all, &IpAddr::is_ipv6));
}

/// `2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0`
fn ip<'a>(raw: &Raw<'a>) -> impl Iterator<Item = (&'a str, IpAddr)> {
    raw.lines("ip").to_vec().into_iter().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next()?.trim_end_matches(':');
        let address = words.by_ref().skip_while(|word| !matches!(*word, "inet" | "inet6")).nth(1)?;
        let address = address.split('/').next()?.parse().ok()?;
        Some((name.split('@').next()?, address))
    })
}

/// net-tools' old and new form, and busybox's (which is the old).
fn ifconfig<'a>(raw: &Raw<'a>) -> impl Iterator<Item = (&'a str, IpAddr)> {
    let mut name = "";
    raw.lines("ifconfig").to_vec().into_iter().filter_map(move |line| {
        if !line.starts_with([' ', '\t']) {
            name = line.split_whitespace().next()?.trim_end_matches(':');
        }
        let mut words = line.split_whitespace().skip_while(|word| *word != "inet");
        let address = words.nth(1)?;
        let address = address.strip_prefix("addr:").unwrap_or(address).parse().ok()?;
        Some((name, address))
    })
}

/// `fe80000000000000ba27ebfffe000001 02 40 20 80     eth0`
fn if_inet6<'a>(raw: &Raw<'a>) -> impl Iterator<Item = (&'a str, IpAddr)> {
    raw.lines("/proc/net/if_inet6").to_vec().into_iter().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(words.first()?, 16).ok()?;
        Some((*words.get(5)?, Ipv6Addr::from(bits).into()))
    })
}

/// The default routes of least metric: the gateway's address, `true` where there is none to name, `false` without a route.
fn gateways(grains: &mut Grains, raw: &Raw) {
    let four = raw.lines("/proc/net/route").iter().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let gateway = u32::from_str_radix(words.get(2)?, 16).ok()?;
        let metric: u32 = words.get(6)?.parse().ok()?;
        Some((metric, IpAddr::from(Ipv4Addr::from(gateway.to_le_bytes()))))
    });
    let six = raw.lines("/proc/net/ipv6_route").iter().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let gateway = u128::from_str_radix(words.get(4)?, 16).ok()?;
        let metric = u32::from_str_radix(words.get(5)?, 16).ok()?;
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        // The kernel's own route that rejects (RTF_REJECT).
        let rejects = flags & 0x200 != 0 || words.get(9) == Some(&"lo");
        (!rejects).then_some((metric, IpAddr::from(Ipv6Addr::from(gateway))))
    });
    let four = least(four);
    let six = least(six);
    let value = |gateway: Option<IpAddr>| match gateway {
        None => Value::from(false),
        Some(address) if address.is_unspecified() => Value::from(true),
        Some(address) => Value::from(address.to_string()),
    };
    grains.set("ip_gw", four.is_some() || six.is_some());
    grains.set("ip4_gw", value(four));
    grains.set("ip6_gw", value(six));
}

/// The first of those with the least metric.
fn least(routes: impl Iterator<Item = (u32, IpAddr)>) -> Option<IpAddr> {
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// resolv.conf(5); where systemd-resolved answers locally, the servers that it asks.
fn name_servers(grains: &mut Grains, raw: &Raw) {
    let resolved = raw.lines("/run/systemd/resolve/resolv.conf");
    let lines = if resolved.is_empty() {
        raw.lines("/etc/resolv.conf")
    } else {
        resolved
    };
    let (mut servers, mut search, mut domain) = (Vec::<IpAddr>::new(), Vec::new(), "");
    let (mut options, mut sortlist) = (Vec::<&str>::new(), Vec::new());
    for line in lines {
        let mut words = line.split_whitespace();
        let directive = words.next().unwrap_or_default().to_lowercase();
        let words: Vec<&str> = words.take_while(|word| !word.starts_with(['#', ';'])).collect();
        let Some(first) = words.first() else { continue };
        match directive.as_str() {
            "nameserver" => {
                let address = first.split('%').next().and_then(|text| text.parse().ok());
                servers.extend(address.filter(|address| !servers.contains(address)));
            }
            "domain" => domain = first,
            "search" => search = words,
            "sortlist" => sortlist = words,
            "options" if !options.contains(first) => options.push(first),
            _ => {}
        }
    }
    let of = |which: &dyn Fn(&IpAddr) -> bool| -> Value {
        let wanted = servers.iter().filter(|address| which(address));
        wanted
            .map(|address| Value::from(address.to_string()))
            .collect::<Vec<_>>()
            .into()
    };
    let mut dns = Map::new();
    dns.insert("nameservers".into(), of(&|_| true));
    dns.insert("ip4_nameservers".into(), of(&IpAddr::is_ipv4));
    dns.insert("ip6_nameservers".into(), of(&IpAddr::is_ipv6));
    dns.insert("sortlist".into(), list(sortlist));
    dns.insert("domain".into(), domain.into());
    dns.insert("search".into(), list(search));
    dns.insert("options".into(), list(options));
    grains.set("dns", dns);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{grains, shown};

    #[test]
    fn the_network_is_described() {
        let files = [
            ("machine", "aarch64"),
            ("/proc/sys/kernel/hostname", "pi0"),
            (
                "/etc/hosts",
                "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n127.0.1.1 pi0.example.com pi0 # me\n192.0.2.7 pi0.example.com",
            ),
            ("/sys/class/net/eth0/address", "dc:a6:32:00:00:01"),
            ("/sys/class/net/lo/address", "00:00:00:00:00:00"),
            ("/sys/class/net/tun0/address", ""),
            ("/sys/class/net/wlan0/address", "dc:a6:32:00:00:02"),
            (
                "ip",
                "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n\
                 1: lo    inet6 ::1/128 scope host \\       valid_lft forever\n\
                 2: eth0    inet6 fe80::1/64 scope link\n\
                 2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global dynamic eth0\n\
                 4: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0",
            ),
            (
                "/proc/net/route",
                "wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\neth0\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0",
            ),
            (
                "/proc/net/ipv6_route",
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo",
            ),
            (
                "/etc/resolv.conf",
                "# x\ndomain example.com\nnameserver 192.0.2.1 # y\nnameserver fe80::1%eth0\nsearch a b\noptions edns0 trust-ad",
            ),
        ];
        let names = [
            "nodename",
            "fqdn",
            "host",
            "domain",
            "fqdn_ip4",
            "fqdn_ip6",
            "ipv4",
            "ipv6",
            "ip4_interfaces",
            "ip6_interfaces",
            "ip_interfaces",
            "hwaddr_interfaces",
            "ip_gw",
            "ip4_gw",
            "ip6_gw",
            "dns",
        ];
        let expected = "nodename=\"pi0\"; fqdn=\"pi0.example.com\"; host=\"pi0\"; domain=\"example.com\"; \
            fqdn_ip4=[\"127.0.1.1\", \"192.0.2.7\"]; fqdn_ip6=[]; \
            ipv4=[\"10.8.0.2\", \"127.0.0.1\", \"192.0.2.7\"]; ipv6=[\"::1\", \"fe80::1\"]; \
            ip4_interfaces={\"eth0\": [\"192.0.2.7\"], \"lo\": [\"127.0.0.1\"], \"wlan0\": [], \"tun0\": [\"10.8.0.2\"]}; \
            ip6_interfaces={\"eth0\": [\"fe80::1\"], \"lo\": [\"::1\"], \"wlan0\": [], \"tun0\": []}; \
            ip_interfaces={\"eth0\": [\"192.0.2.7\", \"fe80::1\"], \"lo\": [\"127.0.0.1\", \"::1\"], \"wlan0\": [], \"tun0\": [\"10.8.0.2\"]}; \
            hwaddr_interfaces={\"eth0\": \"dc:a6:32:00:00:01\", \"lo\": \"00:00:00:00:00:00\", \"wlan0\": \"dc:a6:32:00:00:02\"}; \
            ip_gw=true; ip4_gw=\"192.0.2.254\"; ip6_gw=false; \
            dns={\"nameservers\": [\"192.0.2.1\", \"fe80::1\"], \"ip4_nameservers\": [\"192.0.2.1\"], \"ip6_nameservers\": [\"fe80::1\"], \
            \"sortlist\": [], \"domain\": \"example.com\", \"search\": [\"a\", \"b\"], \"options\": [\"edns0\"]}";
        assert_eq!(shown(&grains(&files), &names), expected);
    }

    #[test]
    fn without_ip_there_is_ifconfig() {
        let files = [
            ("machine", "armv7l"),
            ("/proc/sys/kernel/hostname", "alpine"),
            ("host", "192.0.2.9       STREAM alpine.lan\n192.0.2.9       DGRAM"),
            (
                "ifconfig",
                "eth0      Link encap:Ethernet  HWaddr B8:27:EB:00:00:01\n          inet addr:192.0.2.9  Bcast:192.0.2.255  Mask:255.255.255.0\n\n\
                 lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n        inet 127.0.0.1  netmask 255.0.0.0",
            ),
            ("/proc/net/if_inet6", "fe80000000000000ba27ebfffe000001 02 40 20 80     eth0"),
        ];
        let expected = "fqdn=\"alpine.lan\"; domain=\"lan\"; fqdn_ip4=[\"192.0.2.9\"]; ipv4=[\"127.0.0.1\", \"192.0.2.9\"]; \
            ip6_interfaces={\"eth0\": [\"fe80::ba27:ebff:fe00:1\"], \"lo\": []}; ip4_gw=false";
        let names = ["fqdn", "domain", "fqdn_ip4", "ipv4", "ip6_interfaces", "ip4_gw"];
        assert_eq!(shown(&grains(&files), &names), expected);
    }
}
