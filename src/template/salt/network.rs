//! `network.*`: from the grains.

use super::{Call, Function};
use crate::template::filters::network::Interface;
use crate::template::value::{dict, fail, list};
use crate::yaml::Value as Yaml;
use minijinja::{Error, Value};
use std::net::IpAddr;

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("network.ip_addrs", |call| addresses(call, "ip4_interfaces")),
    ("network.ipaddrs", |call| addresses(call, "ip4_interfaces")),
    ("network.ip_addrs6", |call| addresses(call, "ip6_interfaces")),
    ("network.ipaddrs6", |call| addresses(call, "ip6_interfaces")),
    ("network.interfaces", |call| {
        Ok(dict(
            names(call).iter().map(|name| (name.as_str().into(), interface(call, name))),
        ))
    }),
    ("network.interface", |call| {
        let name = call.args.text("iface")?;
        let all = addresses_of(call, &name, "ip4_interfaces").into_iter();
        Ok(list(
            all.map(|address| dict([("address".into(), address.into()), ("label".into(), name.as_str().into())]))
                .collect(),
        ))
    }),
    ("network.interface_ip", |call| {
        let name = call.args.text("iface")?;
        let first = addresses_of(call, &name, "ip4_interfaces").into_iter().next();
        Ok(first.unwrap_or_default().into())
    }),
    ("network.hw_addr", |call| {
        let name = call.args.text("iface")?;
        Ok(call
            .shared
            .grain("hwaddr_interfaces")
            .and_then(|all| all.get(&name))
            .and_then(Yaml::as_str)
            .unwrap_or_default()
            .into())
    }),
    ("network.hwaddr", |call| {
        let name = call.args.text("iface")?;
        Ok(call
            .shared
            .grain("hwaddr_interfaces")
            .and_then(|all| all.get(&name))
            .and_then(Yaml::as_str)
            .unwrap_or_default()
            .into())
    }),
    ("network.get_hostname", |call| Ok(call.shared.grain_text("nodename").into())),
    ("network.get_fqdn", |call| Ok(call.shared.grain_text("fqdn").into())),
    ("network.default_route", |call| {
        let family = call.args.text_or_none("family")?;
        let mut routes = Vec::new();
        for (name, grain, any) in [("inet", "ip4_gw", "0.0.0.0"), ("inet6", "ip6_gw", "::")] {
            let gateway = call.shared.grain_text(grain);
            if !gateway.is_empty() && family.as_ref().is_none_or(|family| family == name) {
                routes.push(dict([
                    ("addr_family".into(), name.into()),
                    ("destination".into(), any.into()),
                    ("gateway".into(), gateway.into()),
                    ("netmask".into(), if name == "inet" { any } else { "" }.into()),
                    ("flags".into(), "UG".into()),
                    ("interface".into(), "".into()),
                ]));
            }
        }
        Ok(list(routes))
    }),
    ("network.in_subnet", |call| {
        let network = call.args.text("cidr")?;
        let network = Interface::parse(&network).ok_or_else(|| fail(format!("{network:?} is no network")))?;
        let all = names(call);
        let mut own = all.iter().flat_map(|name| addresses_of(call, name, "ip4_interfaces"));
        Ok(own
            .any(|address| address.parse().is_ok_and(|address| network.holds(address)))
            .into())
    }),
    ("network.ip_in_subnet", |call| {
        let address = call.args.text("ip_addr")?;
        let network = call.args.text("cidr")?;
        let network = Interface::parse(&network).ok_or_else(|| fail(format!("{network:?} is no network")))?;
        let address: IpAddr = address.parse().map_err(|_| fail(format!("{address:?} is no address")))?;
        Ok(network.holds(address).into())
    }),
    ("network.is_loopback", |call| {
        let address = call.args.text("ip_addr")?;
        Ok(address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()).into())
    }),
    ("network.is_private", |call| {
        let address = call.args.text("ip_addr")?;
        Ok(matches!(address.parse::<IpAddr>(), Ok(IpAddr::V4(address)) if address.is_private() || address.is_loopback() || address.is_link_local()).into())
    }),
];

fn names(call: &Call) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for grain in ["ip4_interfaces", "ip6_interfaces", "hwaddr_interfaces"] {
        let Some(map) = call.shared.grain(grain).and_then(Yaml::as_map) else {
            continue;
        };
        for name in map.keys().map(crate::yaml::Key::text) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn addresses_of(call: &Call, interface: &str, grain: &str) -> Vec<String> {
    let listed = call
        .shared
        .grain(grain)
        .and_then(|all| all.get(interface))
        .and_then(Yaml::as_list);
    listed
        .into_iter()
        .flatten()
        .filter_map(Yaml::as_str)
        .map(str::to_owned)
        .collect()
}

fn interface(call: &Call, name: &str) -> Value {
    let listed = |grain: &str| {
        let all = addresses_of(call, name, grain).into_iter();
        list(
            all.map(|address| dict([("address".into(), address.into()), ("label".into(), name.into())]))
                .collect(),
        )
    };
    let hwaddr = call
        .shared
        .grain("hwaddr_interfaces")
        .and_then(|all| all.get(name))
        .and_then(Yaml::as_str);
    dict([
        ("up".into(), true.into()),
        ("hwaddr".into(), hwaddr.unwrap_or_default().into()),
        ("inet".into(), listed("ip4_interfaces")),
        ("inet6".into(), listed("ip6_interfaces")),
    ])
}

/// The minion's own addresses, sorted as Salt sorts them.
fn addresses(call: &mut Call, grain: &str) -> Result<Value, Error> {
    let only = call.args.text_or_none("interface")?;
    let loopback = call.args.flag("include_loopback", false)?;
    let network = call.args.text_or_none("cidr")?;
    let kind = call.args.text_or_none("type")?;
    let network = match network {
        None => None,
        Some(text) => Some(Interface::parse(&text).ok_or_else(|| fail(format!("{text:?} is no network")))?),
    };
    let mut found: Vec<String> = Vec::new();
    for name in names(call) {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        for written in addresses_of(call, &name, grain) {
            let Ok(address) = written.parse::<IpAddr>() else { continue };
            let private = match address {
                IpAddr::V4(address) => address.is_private(),
                IpAddr::V6(address) => address.segments()[0] & 0xfe00 == 0xfc00,
            };
            let kept = (loopback || !address.is_loopback())
                && network.is_none_or(|network| network.holds(address))
                && match kind.as_deref() {
                    Some("public") => !private,
                    Some("private") => private,
                    _ => true,
                };
            if kept && !found.contains(&written) {
                found.push(written);
            }
        }
    }
    found.sort();
    Ok(list(found.into_iter().map(Value::from).collect()))
}
