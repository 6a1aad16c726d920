//! Filters of IP addresses and networks.

use super::Filter;
use crate::template::args::{Args, shown};
use crate::template::value::{dict, fail, is_sequence_like, items, list, pairs, text};
use minijinja::{Error, State, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const FILTERS: &[(&str, Filter)] = &[
    ("is_ip", |_, value, args| {
        let options = args.text_or_none("options")?;
        Ok(matching(&value, None, options.as_deref())?.is_some().into())
    }),
    ("is_ipv4", |_, value, args| {
        let options = args.text_or_none("options")?;
        Ok(matching(&value, Some(4), options.as_deref())?.is_some().into())
    }),
    ("is_ipv6", |_, value, args| {
        let options = args.text_or_none("options")?;
        Ok(matching(&value, Some(6), options.as_deref())?.is_some().into())
    }),
    ("ipaddr", |_, value, args| kept(&value, args, None)),
    ("ipv4", |_, value, args| kept(&value, args, Some(4))),
    ("ipv6", |_, value, args| kept(&value, args, Some(6))),
    ("ip_host", |_, value, args| {
        each(&value, args, |interface| {
            Ok(Value::from(format!("{}/{}", interface.address, interface.prefix)))
        })
    }),
    ("network_hosts", |_, value, args| {
        each(&value, args, |interface| Ok(list(interface.hosts()?)))
    }),
    ("network_size", |_, value, args| {
        each(&value, args, |interface| {
            let bits = interface.bits() - interface.prefix;
            Ok(1_i64
                .checked_shl(bits)
                .filter(|_| bits < 63)
                .map_or_else(|| 2_f64.powi(bits as i32).into(), Value::from))
        })
    }),
    ("filter_by_networks", filter_by_networks),
    ("ipwrap", |_, value, _| {
        if is_sequence_like(&value) {
            return Ok(list(items(&value)?.iter().map(wrapped).collect()));
        }
        Ok(wrapped(&value))
    }),
    ("gen_mac", |state, value, _| {
        let random = crate::template::context::shared(state)?.random.bytes(3);
        let tail: Vec<String> = random.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(format!("{}:{}", text(&value).trim_end_matches(':'), tail.join(":")).into())
    }),
    ("mac_str_to_bytes", |_, value, _| {
        let digits: String = text(&value).chars().filter(char::is_ascii_hexdigit).collect();
        let bytes = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).ok());
        match bytes.collect::<Option<Vec<u8>>>() {
            Some(bytes) if bytes.len() == 6 => Ok(Value::from_bytes(bytes)),
            _ => Err(fail(format!("{} is no MAC address", shown(&value)))),
        }
    }),
];

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    pub address: IpAddr,
    pub prefix: u32,
}

impl Interface {
    /// `10.0.0.1`, `10.0.0.1/8`, `10.0.0.1/255.0.0.0`, and the same of IPv6.
    pub fn parse(text: &str) -> Option<Interface> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match (prefix, prefix.parse::<Ipv4Addr>()) {
            ("", _) => bits,
            (_, Ok(mask)) if bits == 32 => {
                let mask = u32::from(mask);
                (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0).then_some(mask.leading_ones())?
            }
            (prefix, _) => prefix.parse().ok().filter(|prefix| *prefix <= bits)?,
        };
        Some(Interface { address, prefix })
    }

    fn bits(self) -> u32 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        }
    }

    fn network(self) -> u128 {
        let host_bits = self.bits() - self.prefix;
        Interface::number(self.address)
            .checked_shr(host_bits)
            .unwrap_or(0)
            .checked_shl(host_bits)
            .unwrap_or(0)
    }

    /// Whether `address` lies in the network.
    pub fn holds(self, address: IpAddr) -> bool {
        let other = Interface { address, ..self };
        address.is_ipv4() == self.address.is_ipv4() && other.network() == self.network()
    }

    /// The addresses that hosts of the network may have.
    fn hosts(self) -> Result<Vec<Value>, Error> {
        let host_bits = self.bits() - self.prefix;
        if host_bits > 16 {
            return Err(fail(format!(
                "a network of {host_bits} host bits has too many hosts to be listed"
            )));
        }
        let count = 1_u128 << host_bits;
        let (first, last) = match (host_bits, self.address.is_ipv4()) {
            (0 | 1, _) => (0, count),
            (_, true) => (1, count - 1),
            (_, false) => (1, count),
        };
        Ok((first..last)
            .map(|host| {
                let number = self.network() + host;
                Value::from(match self.address {
                    IpAddr::V4(_) => Ipv4Addr::from(number as u32).to_string(),
                    IpAddr::V6(_) => Ipv6Addr::from(number).to_string(),
                })
            })
            .collect())
    }
}

/// The text of `value` if it is an address or interface of that version with all of the options.
fn matching(value: &Value, version: Option<u8>, options: Option<&str>) -> Result<Option<String>, Error> {
    let written = text(value);
    let Some(interface) = Interface::parse(written.trim()) else {
        return Ok(None);
    };
    let address = interface.address;
    if version.is_some_and(|version| (version == 4) != address.is_ipv4()) {
        return Ok(None);
    }
    for option in options
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|option| !option.is_empty())
    {
        let holds = match option {
            "global" | "public" => !private(address),
            "private" => private(address),
            "link-local" | "linklocal" | "ll" | "link_local" => match address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            },
            "loopback" | "lo" => address.is_loopback(),
            "multicast" => address.is_multicast(),
            "reserved" => matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240),
            "site-local" | "sl" | "site_local" => {
                matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfec0)
            }
            "unspecified" => address.is_unspecified(),
            other => return Err(fail(format!("unknown kind of address `{other}`"))),
        };
        if !holds {
            return Ok(None);
        }
    }
    let shown = if written.contains('/') {
        format!("{address}/{}", interface.prefix)
    } else {
        address.to_string()
    };
    Ok(Some(shown))
}

/// As Python's `is_private`.
fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || address.is_broadcast()
                || a == 0
                || a >= 240
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b & 0xfe) == 18)
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            address.is_loopback()
                || address.is_unspecified()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || (first == 0x2001 && address.segments()[1] == 0xdb8)
        }
    }
}

fn kept(value: &Value, args: &mut Args, version: Option<u8>) -> Result<Value, Error> {
    let options = args.text_or_none("options")?;
    if is_sequence_like(value) {
        let mut found = Vec::new();
        for item in items(value)? {
            found.extend(matching(&item, version, options.as_deref())?.map(Value::from));
        }
        return Ok(list(found));
    }
    Ok(matching(value, version, options.as_deref())?.map_or(Value::from(()), Value::from))
}

/// Applies `make` to an address, or to each of a list.
fn each(value: &Value, args: &mut Args, make: impl Fn(Interface) -> Result<Value, Error>) -> Result<Value, Error> {
    let options = args.text_or_none("options")?;
    let version = args.int_or_none("version")?.and_then(|version| u8::try_from(version).ok());
    let one = |value: &Value| -> Result<Option<Value>, Error> {
        let found = matching(value, version, options.as_deref())?;
        found.and_then(|text| Interface::parse(&text)).map(&make).transpose()
    };
    if is_sequence_like(value) {
        let mut found = Vec::new();
        for item in items(value)? {
            found.extend(one(&item)?);
        }
        return Ok(list(found));
    }
    Ok(one(value)?.unwrap_or(Value::from(())))
}

fn filter_by_networks(_: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let Some(networks) = args.optional("networks")? else {
        return Ok(value);
    };
    let networks: Vec<Interface> = items(&networks)?
        .iter()
        .map(|network| Interface::parse(&text(network)).ok_or_else(|| fail(format!("{} is no network", shown(network)))))
        .collect::<Result<_, _>>()?;
    let keep = |list_of: &Value| -> Result<Value, Error> {
        let kept = items(list_of)?.into_iter().filter(|item| {
            let address = text(item).parse::<IpAddr>();
            address.is_ok_and(|address| networks.iter().any(|network| network.holds(address)))
        });
        Ok(list(kept.collect()))
    };
    match pairs(&value) {
        Some(pairs) => Ok(dict(
            pairs
                .into_iter()
                .map(|(key, addresses)| Ok((key, keep(&addresses)?)))
                .collect::<Result<Vec<_>, Error>>()?,
        )),
        None => keep(&value),
    }
}

/// An IPv6 address in brackets, anything else as it is.
fn wrapped(value: &Value) -> Value {
    let written = text(value);
    match Interface::parse(&written) {
        Some(Interface {
            address: IpAddr::V6(address),
            ..
        }) if !written.contains('/') => format!("[{address}]").into(),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let table = [
            ("10.0.0.1", Some(4), None, Some("10.0.0.1")),
            ("10.0.0.1/8", None, None, Some("10.0.0.1/8")),
            ("10.0.0.1", Some(6), None, None),
            ("::1", Some(6), Some("loopback"), Some("::1")),
            ("8.8.8.8", None, Some("private"), None),
            ("192.168.1.1", None, Some("private"), Some("192.168.1.1")),
            ("10.0.0.300", None, None, None),
        ];
        for (written, version, options, expected) in table {
            let found = matching(&Value::from(written), version, options).unwrap();
            assert_eq!(found.as_deref(), expected, "{written}");
        }
        let network = Interface::parse("10.1.0.0/255.255.0.0").unwrap();
        assert!(network.holds("10.1.2.3".parse().unwrap()));
        assert!(!network.holds("10.2.2.3".parse().unwrap()));
        assert_eq!(Interface::parse("192.168.0.0/30").unwrap().hosts().unwrap().len(), 2);
    }
}
