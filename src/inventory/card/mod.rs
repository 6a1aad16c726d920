//! What the inventory says of a minion's card (`card:`): who the system on it is to be at its first boot. Knows no image, no format
//! and no file system: `flash/` puts it on cards.

mod check;
mod read;

pub use check::{host_name, interface, psk, user_name};
pub(super) use read::card;

use super::minion::Secret;
use crate::error::Pos;
use std::fmt;
use std::net::IpAddr;

/// A minion's `card:`. `None` and the empty list leave a choice to what stands behind the field's name.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// Where it is written.
    pub at: Pos,
    /// The host name; else the first label of the minion's id.
    pub hostname: Option<String>,
    /// The account to make; else the minion's `user`.
    pub user: Option<String>,
    /// Its supplementary groups; else those that the system gives its first user.
    pub groups: Option<Vec<String>>,
    /// Public keys that log in, as text or as the path of a `.pub` file; else the public halves of the minion's `key`, and of
    /// `~/.ssh/id_*`.
    pub authorized_keys: Option<Vec<(String, Pos)>>,
    /// Else the account has none, and nobody logs in with one.
    pub password: Option<CardPassword>,
    /// Whether it becomes root by sudo without a password; else as the minion's `sudo` needs it.
    pub sudo: Option<bool>,
    /// `Europe/Berlin`.
    pub timezone: Option<String>,
    /// `de_DE.UTF-8`.
    pub locale: Option<String>,
    /// The keyboard's layout: `de`.
    pub keyboard: Option<String>,
    pub wifi: Option<Wifi>,
    pub network: Network,
    pub boot: Boot,
    /// How the system is told all this; else what the image itself shows that it understands.
    pub first_boot: Option<FirstBoot>,
}

/// An account's password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CardPassword {
    /// Asked for when the card is written; its hash alone is put there.
    Ask,
    /// A hash of crypt(5): `$6$...`, `$y$...`.
    Hash(Secret),
}

/// A wireless network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wifi {
    /// 1 to 32 bytes without control characters.
    pub ssid: String,
    /// None: an open network.
    pub psk: Option<Psk>,
    /// Two capital letters of ISO 3166-1, for the radio's rules.
    pub country: Option<String>,
    /// The network does not tell its name.
    pub hidden: bool,
}

/// A wireless network's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Psk {
    /// A passphrase of 8 to 63 printable ASCII characters, or a key of 64 hexadecimal digits.
    Given(Secret),
    /// The file that has it, as written, and where that is said.
    File(String, Pos),
}

/// How the system gets its address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Network {
    /// The interface that this is about; else the wireless one if there is a `wifi`, else the first wired one.
    pub interface: Option<String>,
    /// Else by DHCP.
    pub address: Option<Address>,
    pub gateway: Option<IpAddr>,
    pub dns: Vec<IpAddr>,
}

impl Network {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Network::default()
    }
}

/// An address and the length of its network's prefix: `192.168.1.10/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub ip: IpAddr,
    /// Bits.
    pub prefix: u8,
}

impl Address {
    /// `None` where `text` is not an address with a prefix that could be an interface's own.
    pub fn parse(text: &str) -> Option<Address> {
        let (ip, prefix) = text.split_once('/')?;
        let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let usable = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
        (usable && (1..=most).contains(&prefix)).then_some(Address { ip, prefix })
    }

    /// The netmask of an IPv4 address: `255.255.255.0`.
    pub fn netmask(&self) -> String {
        let bits = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        std::net::Ipv4Addr::from(bits).to_string()
    }

    /// Whether `other` is in the same network.
    pub fn reaches(&self, other: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| (a ^ b).checked_shr(width - u32::from(self.prefix)).unwrap_or(0) == 0;
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            // The usual gateway of IPv6 is link-local.
            (IpAddr::V6(a), IpAddr::V6(b)) => b.is_unicast_link_local() || same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Settings of a Raspberry Pi's firmware and of the kernel's command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Boot {
    /// Keys of `config.txt` with their values: more than one for keys that may be repeated (`dtoverlay`).
    pub config: Vec<(String, Vec<String>)>,
    /// Words of the kernel's command line.
    pub cmdline: Vec<String>,
    /// Where it is written.
    pub at: Pos,
}

impl Boot {
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.cmdline.is_empty()
    }
}

/// How a system is told at its first boot who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FirstBoot {
    /// cloud-init's NoCloud: Raspberry Pi OS since the end of 2025, Ubuntu, Debian's cloud images, HypriotOS.
    CloudInit,
    /// `firstrun.sh` and the kernel's command line: Raspberry Pi OS before that.
    Firstrun,
    /// `rpi-preseed.toml`.
    RpiPreseed,
    /// `dietpi.txt`.
    Dietpi,
    /// Into Armbian's root file system.
    Armbian,
    /// Into the root file system of Arch Linux ARM.
    Arch,
    /// Nothing is put on the card: it boots as the image is.
    None,
}

impl FirstBoot {
    pub const ALL: [FirstBoot; 7] = [
        FirstBoot::CloudInit,
        FirstBoot::Firstrun,
        FirstBoot::RpiPreseed,
        FirstBoot::Dietpi,
        FirstBoot::Armbian,
        FirstBoot::Arch,
        FirstBoot::None,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FirstBoot::CloudInit => "cloud-init",
            FirstBoot::Firstrun => "firstrun",
            FirstBoot::RpiPreseed => "rpi-preseed",
            FirstBoot::Dietpi => "dietpi",
            FirstBoot::Armbian => "armbian",
            FirstBoot::Arch => "arch",
            FirstBoot::None => "none",
        }
    }

    /// The method called `name`.
    pub fn parse(name: &str) -> Option<FirstBoot> {
        FirstBoot::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for FirstBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_prefix() {
        for (text, mask) in [
            ("192.168.1.10/24", "255.255.255.0"),
            ("10.0.0.1/8", "255.0.0.0"),
            ("10.1.2.3/32", "255.255.255.255"),
            ("10.1.2.3/1", "128.0.0.0"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.to_string().as_str(), address.netmask().as_str()), (text, mask));
        }
        for text in [
            "192.168.1.10",
            "192.168.1.10/0",
            "192.168.1.10/33",
            "0.0.0.0/8",
            "127.0.0.1/8",
            "fe80::1/129",
            "a/8",
            "1.2.3.4/x",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
        let address = Address::parse("192.168.1.10/24").unwrap();
        assert!(address.reaches("192.168.1.1".parse().unwrap()));
        assert!(!address.reaches("192.168.2.1".parse().unwrap()));
        assert!(!address.reaches("2001:db8::1".parse().unwrap()));
        let six = Address::parse("2001:db8::10/64").unwrap();
        assert!(six.reaches("2001:db8::1".parse().unwrap()) && six.reaches("fe80::1".parse().unwrap()));
        assert!(!six.reaches("2001:db9::1".parse().unwrap()));
    }

    #[test]
    fn methods_go_by_their_names() {
        for method in FirstBoot::ALL {
            assert_eq!(FirstBoot::parse(method.name()), Some(method));
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
    }
}
