//! `rpi-preseed.toml` of Raspberry Pi's rpi-preseed (schema 1.1). What it has no keys for is done by a script that it runs before
//! the network is up; that also adds the authorized keys, which version 0.1 loses on their way to `imager_custom`.

use super::files::Volumes;
use super::network::joined;
use super::script::{Parts, script};
use super::{Edits, Identity, boot};
use crate::error::Result;
use crate::flash::change::Change;

const SCRIPT: &str = "picloud-first-boot.sh";

/// A basic string with the two escapes that rpi-preseed's own parser knows. Control characters are in no value.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", items.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn toml(identity: &Identity) -> String {
    let account = &identity.account;
    let mut out = format!(
        "config_version = \"1.1\"\n\n[system]\nhostname = {}\n",
        quoted(&identity.hostname)
    );
    // A hash that no password has: without one the account would have the empty password.
    let password = account.password.as_ref().map_or("!", |hash| hash.reveal());
    out += &format!(
        "\n[user]\nname = {}\npassword = {}\npassword_encrypted = true\npasswordless_sudo = {}\n",
        quoted(&account.name),
        quoted(password),
        account.sudo
    );
    if let Some(groups) = &account.groups {
        out += &format!("groups = {}\n", array(groups.iter().map(String::as_str)));
    }
    out += &format!(
        "\n[ssh]\nenabled = true\npassword_authentication = {}\nauthorized_keys = {}\n",
        account.password.is_some(),
        array(account.keys.iter().map(String::as_str))
    );
    if let Some(wifi) = &identity.wifi {
        out += &format!("\n[wlan]\nssid = {}\n", quoted(&wifi.ssid));
        if let Some(key) = &wifi.key {
            out += &format!("password = {}\npassword_encrypted = true\n", quoted(key.reveal()));
        }
        out += &format!("hidden = {}\n", wifi.hidden);
        if let Some(country) = &wifi.country {
            out += &format!("country = {}\n", quoted(country));
        }
    }
    if let (true, Some(address)) = (identity.addresses_wired(), identity.network.address) {
        out += &format!(
            "\n[ethernet]\nmethod = \"static\"\naddress = {}\n",
            quoted(&address.to_string())
        );
        if let Some(gateway) = identity.network.gateway {
            out += &format!("gateway = {}\n", quoted(&gateway.to_string()));
        }
        if !identity.network.dns.is_empty() {
            out += &format!("dns = {}\n", array(joined(&identity.network.dns, " ").split(' ')));
        }
        if let Some(interface) = identity.wired_interface() {
            out += &format!("interface = {}\n", quoted(interface));
        }
    }
    if identity.timezone.is_some() || identity.locale.is_some() || identity.keyboard.is_some() {
        out += "\n[locale]\n";
        for (key, value) in [("keymap", &identity.keyboard), ("timezone", &identity.timezone)] {
            if let Some(value) = value {
                out += &format!("{key} = {}\n", quoted(value));
            }
        }
        if let Some(locale) = &identity.locale {
            out += &format!("locales = {}\nlang = {}\n", array([locale.as_str()]), quoted(locale));
        }
    }
    out + &format!(
        "\n[runcmd]\nearly = {}\nearly_cmd_timeout = 60\nlate = {}\nlate_require_time_sync = false\n",
        array([format!("sh /boot/firmware/{SCRIPT}").as_str()]),
        // The script takes itself away. One that ran out of time is run again, as the host's private key is in it. No brackets: version
        // 0.1.0 takes them for the end of the array.
        array([format!("if test -f /boot/firmware/{SCRIPT}; then sh /boot/firmware/{SCRIPT}; fi").as_str()])
    )
}

pub(super) fn edits(identity: &Identity, volumes: Volumes) -> Result<Edits> {
    let parts = Parts {
        system: false,
        made: true,
    };
    let last = format!("wipe /boot/firmware/{SCRIPT}\n");
    let mut edits = Edits {
        boot: boot::changes(volumes.boot, &identity.boot, |_| false, &[])?,
        ..Edits::default()
    };
    if identity.addresses_wifi() && !identity.network.is_default() {
        edits
            .notes
            .push("rpi-preseed sets up a wireless network by DHCP only: the fixed address is not put on the card".to_owned());
    }
    edits
        .boot
        .push(Change::write(format!("/{SCRIPT}"), script(identity, parts, &last), 0o755));
    edits.boot.push(Change::write("/rpi-preseed.toml", toml(identity), 0o600));
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{everything, fixed, plain};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_minion() {
        assert_eq!(
            toml(&plain()),
            "config_version = \"1.1\"\n\n[system]\nhostname = \"pi3\"\n\n\
             [user]\nname = \"pi\"\npassword = \"!\"\npassword_encrypted = true\npasswordless_sudo = true\n\n\
             [ssh]\nenabled = true\npassword_authentication = false\nauthorized_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c ana@laptop\"]\n\n\
             [runcmd]\nearly = [\"sh /boot/firmware/picloud-first-boot.sh\"]\nearly_cmd_timeout = 60\n\
             late = [\"if test -f /boot/firmware/picloud-first-boot.sh; then sh /boot/firmware/picloud-first-boot.sh; fi\"]\nlate_require_time_sync = false\n"
        );
    }

    #[test]
    fn everything_is_read_back() {
        let read: toml::Table = toml(&everything()).parse().unwrap();
        assert_eq!(read["wlan"]["ssid"].as_str(), Some("it's \"home\" \\o/"));
        assert_eq!(read["locale"]["lang"].as_str(), Some("de_DE.UTF-8"));
        let read: toml::Table = toml(&fixed()).parse().unwrap();
        assert_eq!(read["ethernet"]["address"].as_str(), Some("192.168.1.13/24"));
        assert_eq!(read["ethernet"]["dns"].as_array().unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn strings_come_back(text in "[^\\x00-\\x1f\\x7f-\\x9f]*") {
            let read: toml::Table = format!("a = {}\n", quoted(&text)).parse().unwrap();
            prop_assert_eq!(read["a"].as_str(), Some(text.as_str()));
        }
    }
}
