//! Sockets that listen, from the kernel's tables in `/proc/net`, by one `grep`.

use super::{Fact, Listener, Probe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prints the lines of TCP sockets that listen (state 0A) and of UDP sockets without a peer (07), each behind its file's name.
pub(super) const SCRIPT: &str = "grep -s -E '^ *[0-9]+: [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ 0[7A] ' /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6\n";

pub(super) fn parse(text: &str) -> Vec<(Probe, Fact)> {
    let mut listeners: Vec<Listener> = Vec::new();
    for listener in text.lines().filter_map(listener) {
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }
    vec![(Probe::Listeners, Fact::Listeners(listeners))]
}

/// `/proc/net/tcp:   0: 0100007F:0016 00000000:0000 0A ...`
fn listener(line: &str) -> Option<Listener> {
    let (file, entry) = line.split_once(':')?;
    let mut fields = entry.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let protocol = match (file.rsplit('/').next()?, state) {
        ("tcp" | "tcp6", "0A") => "tcp",
        ("udp" | "udp6", "07") => "udp",
        _ => return None,
    };
    Some(Listener {
        protocol,
        address: self::address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

/// Words of 32 bits in the minion's byte order; all that picloud manages are little-endian.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_le_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read() {
        let text = "/proc/net/tcp:   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
                    /proc/net/tcp:   1: 0200000A:8000 0300000A:0016 07 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
                    /proc/net/tcp6:   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0\n\
                    /proc/net/tcp6:   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0\n\
                    /proc/net/udp:  57: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 0 2 2\n\
                    /proc/net/udp:  57: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0 0 2 2";
        let listener = |protocol, address: &str, port| Listener {
            protocol,
            address: address.parse().unwrap(),
            port,
        };
        let expected = vec![
            listener("tcp", "127.0.0.1", 22),
            listener("tcp", "::", 8080),
            listener("tcp", "2001:db8::1", 80),
            listener("udp", "0.0.0.0", 68),
        ];
        assert_eq!(parse(text), vec![(Probe::Listeners, Fact::Listeners(expected))]);
    }
}
