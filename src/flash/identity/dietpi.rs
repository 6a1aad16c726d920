//! DietPi: keys of `dietpi.txt`, `dietpi-wifi.txt`, and a script that runs before the network is up.
//!
//! At its first boot DietPi copies these files from the boot partition to `/boot`, those alone that are newer than what it has
//! there: who writes them must set their time. It starts with Dropbear and replaces it by OpenSSH when it has the network.

use super::detect::Place;
use super::files::{Volumes, text};
use super::script::{Parts, script};
use super::{Edits, Identity, boot};
use crate::error::{Error, Result};
use crate::flash::change::Change;
use crate::shell::quote;

const PRE: &str = "Automation_Custom_PreScript.sh";
const POST: &str = "Automation_Custom_Script.sh";

/// `now` with `settings`: each key's first line replaced, as DietPi reads the first, and other lines of it dropped. Lines behind a
/// `#` count as not there; a key that is nowhere is added at the end.
fn set(now: &str, settings: &[(&str, Vec<String>)]) -> String {
    let key_of = |line: &str| {
        settings
            .iter()
            .position(|(key, _)| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))
    };
    let mut done = vec![false; settings.len()];
    let mut lines: Vec<String> = Vec::new();
    let all = |index: usize| {
        settings[index]
            .1
            .iter()
            .map(move |value| format!("{}={value}", settings[index].0))
    };
    for line in now.lines() {
        match key_of(line) {
            Some(index) if done[index] => {}
            Some(index) => {
                done[index] = true;
                lines.extend(all(index));
            }
            None => lines.push(line.to_owned()),
        }
    }
    for (index, _) in done.iter().enumerate().filter(|(_, done)| !**done) {
        lines.extend(all(index));
    }
    lines.join("\n") + "\n"
}

fn settings(identity: &Identity) -> Vec<(&'static str, Vec<String>)> {
    let one = |text: &str| vec![text.to_owned()];
    let flag = |yes: bool| vec![if yes { "1" } else { "0" }.to_owned()];
    let wifi = identity.wifi.is_some();
    let mut out = vec![
        ("AUTO_SETUP_NET_HOSTNAME", one(&identity.hostname)),
        ("AUTO_SETUP_GLOBAL_PASSWORD", one(identity.throwaway.reveal())),
        ("AUTO_SETUP_AUTOMATED", flag(true)),
        ("AUTO_SETUP_SSH_SERVER_INDEX", one("-2")),
        ("AUTO_SETUP_SSH_PUBKEY", identity.account.keys.clone()),
        (
            "SOFTWARE_DISABLE_SSH_PASSWORD_LOGINS",
            one(if identity.account.password.is_some() { "root" } else { "1" }),
        ),
        ("SURVEY_OPTED_IN", flag(false)),
        ("AUTO_SETUP_NET_ETHERNET_ENABLED", flag(!wifi)),
        ("AUTO_SETUP_NET_WIFI_ENABLED", flag(wifi)),
    ];
    if let Some(country) = identity.wifi.as_ref().and_then(|wifi| wifi.country.as_deref()) {
        out.push(("AUTO_SETUP_NET_WIFI_COUNTRY_CODE", one(country)));
    }
    for (key, value) in [
        ("AUTO_SETUP_TIMEZONE", &identity.timezone),
        ("AUTO_SETUP_LOCALE", &identity.locale),
        ("AUTO_SETUP_KEYBOARD_LAYOUT", &identity.keyboard),
    ] {
        if let Some(value) = value {
            out.push((key, one(value)));
        }
    }
    if let Some(address) = identity.network.address {
        out.push(("AUTO_SETUP_NET_USESTATIC", flag(true)));
        out.push(("AUTO_SETUP_NET_STATIC_IP", one(&address.ip.to_string())));
        out.push(("AUTO_SETUP_NET_STATIC_MASK", one(&address.netmask())));
        if let Some(gateway) = identity.network.gateway {
            out.push(("AUTO_SETUP_NET_STATIC_GATEWAY", one(&gateway.to_string())));
        }
        if !identity.network.dns.is_empty() {
            out.push((
                "AUTO_SETUP_NET_STATIC_DNS",
                one(&super::network::joined(&identity.network.dns, " ")),
            ));
        }
    }
    out
}

/// `dietpi-wifi.txt` is a piece of bash, and its values go into wpa_supplicant.conf between double quotes: a name that could end
/// those is refused before.
fn wifi_file(ssid: &str, key: Option<&str>) -> String {
    let mut out = format!("aWIFI_SSID[0]={}\n", quote(ssid));
    match key {
        Some(key) => out += &format!("aWIFI_KEY[0]='{key}'\naWIFI_KEYMGR[0]='WPA-PSK'\n"),
        None => out += "aWIFI_KEYMGR[0]='NONE'\n",
    }
    out
}

/// What the script does beyond the account and the server: Dropbear shows the same key until OpenSSH is there, and the files that
/// stay on the boot partition lose their secrets.
fn last() -> String {
    format!(
        "if command -v dropbearconvert >/dev/null && dropbearconvert openssh dropbear {key} /etc/dropbear/picloud_host_key 2>/dev/null; then\n    \
         chmod 0600 /etc/dropbear/picloud_host_key\n    \
         echo 'DROPBEAR_EXTRA_ARGS=\"-r /etc/dropbear/picloud_host_key\"' >>/etc/default/dropbear\nfi\n\
         if [ -f /boot/firmware/dietpi.txt ]; then\n    \
         sed -i 's/^AUTO_SETUP_GLOBAL_PASSWORD=.*/AUTO_SETUP_GLOBAL_PASSWORD=/' /boot/firmware/dietpi.txt\nfi\n\
         wipe /boot/firmware/dietpi-wifi.txt\nwipe /boot/firmware/{POST}\nwipe /boot/firmware/{PRE}\nwipe /boot/{PRE}\n",
        key = super::sshd::KEY
    )
}

/// DietPi gives root and dietpi its own password after the first script; one that was chosen comes after that.
fn post(identity: &Identity) -> Option<String> {
    let account = &identity.account;
    let hash = account
        .password
        .as_ref()
        .filter(|_| matches!(account.name.as_str(), "root" | "dietpi"))?;
    Some(format!(
        "#!/bin/sh\n# Written by picloud with the card.\nprintf '%s\\n' {} | chpasswd -e\nrm -f /boot/{POST}; exit 0\n",
        quote(&format!("{}:{}", account.name, hash.reveal()))
    ))
}

pub(super) fn edits(identity: &Identity, place: Place, volumes: Volumes) -> Result<Edits> {
    let (files, folder) = match place {
        Place::Boot => (volumes.boot, ""),
        Place::Root => (volumes.root, "/boot"),
    };
    let now = text(files, &format!("{folder}/dietpi.txt"))
        .ok_or_else(|| Error::usage("the image has no dietpi.txt on its boot partition, nor in /boot of its root file system"))?;
    if identity.network.address.is_some_and(|address| address.ip.is_ipv6()) {
        return Err(Error::usage("DietPi takes a fixed address of IPv4 only").at(identity.boot.at));
    }
    let mut changes = vec![Change::write(
        format!("{folder}/dietpi.txt"),
        set(&now, &settings(identity)),
        0o600,
    )];
    if let Some(wifi) = &identity.wifi {
        if wifi.ssid.contains(['"', '\\', '$', '`']) {
            return Err(Error::usage(format!(
                "DietPi cannot be told of the network `{}`: its name has quotes, `$` or `\\` in it",
                wifi.ssid
            )));
        }
        let key = wifi.key.as_ref().map(|key| key.reveal());
        changes.push(Change::write(
            format!("{folder}/dietpi-wifi.txt"),
            wifi_file(&wifi.ssid, key),
            0o600,
        ));
    }
    let parts = Parts {
        system: false,
        made: false,
    };
    changes.push(Change::write(
        format!("{folder}/{PRE}"),
        script(identity, parts, &last()),
        0o755,
    ));
    changes.extend(post(identity).map(|text| Change::write(format!("{folder}/{POST}"), text, 0o755)));
    let mut edits = Edits {
        boot: boot::changes(volumes.boot, &identity.boot, |_| false, &[])?,
        ..Edits::default()
    };
    match place {
        Place::Boot => edits.boot.extend(changes),
        Place::Root => edits.root.extend(changes),
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_where_they_stand() {
        assert_eq!(
            set(
                "# A=0\nA=1\n#B=1\n A=2\nAA=1\n",
                &[
                    ("A", vec!["x".into()]),
                    ("B", vec!["1".into(), "2".into()]),
                    ("C", vec!["a b".into()])
                ]
            ),
            "# A=0\nA=x\n#B=1\nAA=1\nB=1\nB=2\nC=a b\n"
        );
    }
}
