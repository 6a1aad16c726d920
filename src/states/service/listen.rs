//! Where a service is expected to listen: `8080`, `127.0.0.1:8080`, `[::1]:53/udp`.

use crate::probe::Listener;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A port, on any address or on one, of TCP or UDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Socket {
    pub address: Option<IpAddr>,
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

impl Socket {
    /// `8080`, `:8080`, `127.0.0.1:8080`, `[::1]:8080`, each with `/udp` or `/tcp` behind it if wanted.
    pub fn parse(text: &str) -> Option<Socket> {
        let (place, protocol) = match text.trim().split_once('/') {
            None => (text.trim(), "tcp"),
            Some((place, "tcp")) => (place, "tcp"),
            Some((place, "udp")) => (place, "udp"),
            Some(_) => return None,
        };
        let (address, port) = place.rsplit_once(':').unwrap_or(("", place));
        let address = match address.trim_start_matches('[').trim_end_matches(']') {
            "" | "*" => None,
            address => Some(address.parse().ok()?),
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Socket { address, port, protocol })
    }

    /// Whether one of `listeners` answers there: on the address itself or on all addresses.
    pub fn is_served(&self, listeners: &[Listener]) -> bool {
        listeners.iter().any(|listener| {
            let there = self.address.is_none_or(|address| {
                // The IPv6 socket of all addresses takes IPv4 connections too, unless it was told not to.
                let all = listener.address.is_unspecified() && (listener.address.is_ipv6() || address.is_ipv4());
                listener.address == address || all
            });
            listener.protocol == self.protocol && listener.port == self.port && there
        })
    }

    /// The listener that would satisfy it.
    pub fn listener(&self) -> Listener {
        Listener {
            protocol: self.protocol,
            address: self.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            port: self.port,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => f.write_str("port ")?,
        }
        write!(f, "{}", self.port)?;
        if self.protocol == "udp" { f.write_str("/udp") } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Socket::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "expected a port or an address with a port, such as `8080` or `127.0.0.1:8080`, found `{text}`"
            ))
        })
    }
}

impl JsonSchema for Socket {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Socket".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "integer"], "examples": [8080, "127.0.0.1:8080", "53/udp"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_written_in_many_ways() {
        for (text, expected) in [
            ("8080", Some("port 8080")),
            (":8080", Some("port 8080")),
            ("*:80", Some("port 80")),
            ("53/udp", Some("port 53/udp")),
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80/tcp", Some("[::1]:80")),
            ("::1:80", Some("[::1]:80")),
            ("0", None),
            ("70000", None),
            ("http", None),
            ("localhost:80", None),
            ("80/sctp", None),
        ] {
            assert_eq!(Socket::parse(text).map(|s| s.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn all_addresses_serve_each() {
        for (wanted, address, expected) in [
            ("80", "127.0.0.1", true),
            ("127.0.0.1:80", "127.0.0.1", true),
            ("127.0.0.1:80", "0.0.0.0", true),
            ("127.0.0.1:80", "::", true),
            ("127.0.0.1:80", "10.0.0.1", false),
            ("[::1]:80", "0.0.0.0", false),
            ("81", "0.0.0.0", false),
            ("80/udp", "0.0.0.0", false),
        ] {
            let listener = Listener {
                protocol: "tcp",
                address: address.parse().unwrap(),
                port: 80,
            };
            assert_eq!(
                Socket::parse(wanted).unwrap().is_served(&[listener]),
                expected,
                "{wanted} {address}"
            );
        }
    }
}
