//! The network as each system wants it: netplan (and cloud-init's form of it), NetworkManager, systemd-networkd, dhcpcd,
//! wpa_supplicant. Pure text.

use super::Identity;
use crate::inventory::card::Network;
use crate::yaml::{Key, Map, Value};
use std::net::IpAddr;

/// A mapping in the order in which it is written.
pub(super) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::from(
        entries
            .into_iter()
            .map(|(key, value)| (Key::from(key), value))
            .collect::<Map>(),
    )
}

pub(super) fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::from(items.into_iter().map(Into::into).collect::<Vec<Value>>())
}

impl Identity {
    /// Whether the address, or whatever else `network` says, is the wireless interface's.
    pub(super) fn addresses_wifi(&self) -> bool {
        match &self.network.interface {
            Some(name) => name.starts_with("wl"),
            None => self.wifi.is_some(),
        }
    }

    /// Whether the wired interface is to have anything but DHCP.
    pub(super) fn addresses_wired(&self) -> bool {
        !self.network.is_default() && !self.addresses_wifi()
    }

    /// The wireless interface.
    pub(super) fn wifi_interface(&self) -> &str {
        match &self.network.interface {
            Some(name) if self.addresses_wifi() => name,
            _ => "wlan0",
        }
    }

    /// The wired interface, where one was named.
    pub(super) fn wired_interface(&self) -> Option<&str> {
        self.network.interface.as_deref().filter(|_| !self.addresses_wifi())
    }

    /// Whether a system that uses DHCP on its wired interface needs to be told anything.
    pub(super) fn has_network(&self) -> bool {
        self.wifi.is_some() || !self.network.is_default()
    }

    /// Version 2 of cloud-init's network configuration, which is netplan's without its outer key. `wired` is the usual name of the
    /// wired interface; none: whatever begins with `e`. `regulatory`: its netplan knows the country of the radio.
    pub(super) fn netplan(&self, wired: Option<&str>, regulatory: bool) -> Value {
        let mut sections = vec![("version", Value::from(2))];
        let nothing = Network::default();
        let of = |wireless: bool| {
            if self.addresses_wifi() == wireless {
                &self.network
            } else {
                &nothing
            }
        };
        let mut ethernet = Vec::new();
        let name = match self.wired_interface().or(wired) {
            Some(name) => name,
            None => {
                ethernet.push(("match", map([("name", "e*".into())])));
                "wired"
            }
        };
        ethernet.extend(netplan_addresses(of(false)));
        sections.push(("ethernets", map([(name, map(ethernet))])));
        if let Some(wifi) = &self.wifi {
            let mut point = Vec::new();
            if let Some(key) = &wifi.key {
                point.push(("password", key.reveal().into()));
            }
            if wifi.hidden {
                point.push(("hidden", true.into()));
            }
            let mut device = netplan_addresses(of(true));
            if let (true, Some(country)) = (regulatory, &wifi.country) {
                device.push(("regulatory-domain", country.as_str().into()));
            }
            device.push(("access-points", map([(wifi.ssid.as_str(), map(point))])));
            sections.push(("wifis", map([(self.wifi_interface(), map(device))])));
        }
        map(sections)
    }

    /// NetworkManager's keyfiles, by name.
    pub(super) fn keyfiles(&self) -> Vec<(&'static str, String)> {
        let mut files = Vec::new();
        if let Some(wifi) = &self.wifi {
            let mut out = String::from("[connection]\nid=picloud-wifi\ntype=wifi\n");
            if self.addresses_wifi()
                && let Some(interface) = &self.network.interface
            {
                out += &format!("interface-name={interface}\n");
            }
            out += &format!("\n[wifi]\nmode=infrastructure\nssid={}\n", keyfile_bytes(&wifi.ssid));
            if wifi.hidden {
                out += "hidden=true\n";
            }
            if let Some(key) = &wifi.key {
                out += &format!("\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={}\n", key.reveal());
            }
            let network = if self.addresses_wifi() {
                self.network.clone()
            } else {
                Network::default()
            };
            files.push(("picloud-wifi", out + &keyfile_addresses(&network)));
        }
        if self.addresses_wired() {
            let mut out = String::from("[connection]\nid=picloud-wired\ntype=ethernet\nautoconnect-priority=10\n");
            if let Some(interface) = self.wired_interface() {
                out += &format!("interface-name={interface}\n");
            }
            files.push(("picloud-wired", out + &keyfile_addresses(&self.network)));
        }
        files
    }

    /// Files for `/etc/systemd/network`, by name. They come before those that systems have.
    pub(super) fn networkd(&self) -> Vec<(&'static str, String)> {
        let mut files = Vec::new();
        if self.addresses_wired() {
            let name = self.wired_interface().unwrap_or("en* eth*");
            files.push(("05-picloud-wired.network", networkd_unit(name, &self.network)));
        }
        if self.wifi.is_some() {
            let network = if self.addresses_wifi() {
                self.network.clone()
            } else {
                Network::default()
            };
            files.push(("05-picloud-wifi.network", networkd_unit(self.wifi_interface(), &network)));
        }
        files
    }

    /// Lines of `dhcpcd.conf` for a fixed address.
    pub(super) fn dhcpcd(&self) -> Option<String> {
        if self.network.address.is_none() && self.network.dns.is_empty() {
            return None;
        }
        let interface = match self.addresses_wifi() {
            true => self.wifi_interface(),
            false => self.wired_interface().unwrap_or("eth0"),
        };
        let mut out = format!("# picloud\ninterface {interface}\n");
        if let Some(address) = self.network.address {
            let six = if address.ip.is_ipv6() { "6" } else { "" };
            out += &format!("static ip{six}_address={address}\n");
            if let Some(gateway) = self.network.gateway {
                out += &format!(
                    "static {}={gateway}\n",
                    if six.is_empty() { "routers" } else { "ip6_routers" }
                );
            }
        }
        if !self.network.dns.is_empty() {
            out += &format!("static domain_name_servers={}\n", joined(&self.network.dns, " "));
        }
        Some(out)
    }

    /// `wpa_supplicant.conf`. The name goes in as hexadecimal digits, which need no quotes.
    pub(super) fn wpa_supplicant(&self) -> Option<String> {
        let wifi = self.wifi.as_ref()?;
        let mut out = String::from(
            "# Written by picloud with the card.\nctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\nupdate_config=1\n",
        );
        if let Some(country) = &wifi.country {
            out += &format!("country={country}\n");
        }
        let ssid: String = wifi.ssid.bytes().map(|b| format!("{b:02x}")).collect();
        out += &format!("network={{\n\tssid={ssid}\n");
        if wifi.hidden {
            out += "\tscan_ssid=1\n";
        }
        match &wifi.key {
            Some(key) => out += &format!("\tkey_mgmt=WPA-PSK\n\tpsk={}\n}}\n", key.reveal()),
            None => out += "\tkey_mgmt=NONE\n}\n",
        }
        Some(out)
    }
}

pub(super) fn joined(addresses: &[IpAddr], separator: &str) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(separator)
}

/// `to: 0.0.0.0/0` rather than `default`, which netplan before 0.103 and cloud-init's own renderers do not know.
fn netplan_addresses(network: &Network) -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    match network.address {
        Some(address) => {
            out.push(("dhcp4", address.ip.is_ipv6().into()));
            out.push(("addresses", list([address.to_string()])));
            if let Some(gateway) = network.gateway {
                let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                out.push((
                    "routes",
                    list([map([("to", all.into()), ("via", gateway.to_string().into())])]),
                ));
            }
        }
        None => out.push(("dhcp4", true.into())),
    }
    if !network.dns.is_empty() {
        let servers = list(network.dns.iter().map(IpAddr::to_string));
        out.push(("nameservers", map([("addresses", servers)])));
    }
    // A boot does not wait for a cable.
    out.push(("optional", true.into()));
    out
}

/// A name of a network: as it is where nothing in it has a meaning in a keyfile, else as the numbers of its bytes
/// (NetworkManager's nm-settings-keyfile(5), "ssid").
fn keyfile_bytes(ssid: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match ssid.chars().all(plain) && ssid.contains(|c: char| !c.is_ascii_digit()) {
        true => ssid.to_owned(),
        false => ssid.bytes().map(|b| format!("{b};")).collect(),
    }
}

fn keyfile_addresses(network: &Network) -> String {
    let section = |six: bool| {
        let mut out = format!("\n[ipv{}]\n", if six { 6 } else { 4 });
        match network.address.filter(|address| address.ip.is_ipv6() == six) {
            Some(address) => {
                out += &format!("method=manual\naddress1={address}");
                if let Some(gateway) = network.gateway {
                    out += &format!(",{gateway}");
                }
                out.push('\n');
            }
            None => out += "method=auto\n",
        }
        let servers: Vec<IpAddr> = network.dns.iter().copied().filter(|ip| ip.is_ipv6() == six).collect();
        if !servers.is_empty() {
            out += &format!("dns={};\n", joined(&servers, ";"));
        }
        out
    };
    section(false) + &section(true)
}

fn networkd_unit(name: &str, network: &Network) -> String {
    let mut out = format!("# Written by picloud with the card.\n[Match]\nName={name}\n\n[Network]\n");
    match network.address {
        Some(address) => {
            out += &format!("Address={address}\n");
            if let Some(gateway) = network.gateway {
                out += &format!("Gateway={gateway}\n");
            }
        }
        None => out += "DHCP=yes\n",
    }
    for server in &network.dns {
        out += &format!("DNS={server}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fixed, wifi};
    use crate::yaml::{Style, emit_with};

    const PMK: &str = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e";

    #[test]
    fn a_fixed_address_in_every_form() {
        let identity = fixed();
        assert_eq!(
            emit_with(&identity.netplan(Some("eth0"), false), Style::READABLE),
            "version: 2\nethernets:\n  eth0:\n    dhcp4: false\n    addresses:\n    - 192.168.1.13/24\n    routes:\n    - to: 0.0.0.0/0\n      via: 192.168.1.1\n    nameservers:\n      addresses:\n      - 9.9.9.9\n      - 2620:fe::fe\n    optional: true\n"
        );
        assert_eq!(
            identity.keyfiles(),
            [(
                "picloud-wired",
                "[connection]\nid=picloud-wired\ntype=ethernet\nautoconnect-priority=10\n\n\
                 [ipv4]\nmethod=manual\naddress1=192.168.1.13/24,192.168.1.1\ndns=9.9.9.9;\n\n\
                 [ipv6]\nmethod=auto\ndns=2620:fe::fe;\n"
                    .to_owned()
            )]
        );
        assert_eq!(
            identity.networkd(),
            [(
                "05-picloud-wired.network",
                "# Written by picloud with the card.\n[Match]\nName=en* eth*\n\n[Network]\nAddress=192.168.1.13/24\n\
                 Gateway=192.168.1.1\nDNS=9.9.9.9\nDNS=2620:fe::fe\n"
                    .to_owned()
            )]
        );
        assert_eq!(
            identity.dhcpcd().unwrap(),
            "# picloud\ninterface eth0\nstatic ip_address=192.168.1.13/24\nstatic routers=192.168.1.1\n\
             static domain_name_servers=9.9.9.9 2620:fe::fe\n"
        );
        assert_eq!(identity.wpa_supplicant(), None);
    }

    #[test]
    fn a_wireless_network_in_every_form() {
        // The key of IEEE 802.11i's test vector: "password" and "IEEE".
        let identity = wifi("IEEE", Some("password"));
        assert_eq!(
            emit_with(&identity.netplan(None, true), Style::READABLE),
            format!(
                "version: 2\nethernets:\n  wired:\n    match:\n      name: e*\n    dhcp4: true\n    optional: true\nwifis:\n  wlan0:\n    dhcp4: true\n    optional: true\n    regulatory-domain: DE\n    access-points:\n      IEEE:\n        password: {PMK}\n        hidden: true\n"
            )
        );
        assert_eq!(
            identity.keyfiles()[0].1,
            format!(
                "[connection]\nid=picloud-wifi\ntype=wifi\n\n[wifi]\nmode=infrastructure\nssid=IEEE\nhidden=true\n\n\
                 [wifi-security]\nkey-mgmt=wpa-psk\npsk={PMK}\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
            )
        );
        assert_eq!(
            identity.wpa_supplicant().unwrap(),
            format!(
                "# Written by picloud with the card.\nctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\nupdate_config=1\ncountry=DE\n\
                 network={{\n\tssid=49454545\n\tscan_ssid=1\n\tkey_mgmt=WPA-PSK\n\tpsk={PMK}\n}}\n"
            )
        );
        assert_eq!(identity.networkd().len(), 1);
        assert_eq!(identity.dhcpcd(), None);
    }

    #[test]
    fn names_of_networks_cannot_break_out() {
        for (ssid, keyfile) in [
            ("Café", "67;97;102;195;169;"),
            ("a b", "97;32;98;"),
            ("123", "49;50;51;"),
            ("x\"; y", "120;34;59;32;121;"),
        ] {
            let identity = wifi(ssid, None);
            assert!(identity.keyfiles()[0].1.contains(&format!("\nssid={keyfile}\n")), "{ssid}");
            assert!(identity.wpa_supplicant().unwrap().contains("\tkey_mgmt=NONE\n"));
        }
    }
}
