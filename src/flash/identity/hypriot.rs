//! HypriotOS: cloud-init 0.7.9, which knows neither network configuration of version 2 nor keyboards, and an sshd without drop-ins.

use super::cloud_init::{cloud_config, commands, file, host_keys, kept, kept_user_data, meta_data, user};
use super::detect::Place;
use super::files::Volumes;
use super::network::{list, map};
use super::{Edits, Identity, boot};
use crate::error::Result;
use crate::flash::change::Change;
use crate::yaml::Value;

/// The groups of its own user `pirate`.
const GROUPS: &str = "users,docker,video,input";

fn user_data(identity: &Identity) -> String {
    let mut entries = kept(identity);
    let mut account = user(identity);
    match &identity.account.groups {
        // One text: lists came later.
        Some(groups) => account.retain_mut(|(key, value)| {
            if *key == "groups" {
                *value = groups.join(",").into();
            }
            *key != "groups" || !groups.is_empty()
        }),
        None => account.push(("groups", GROUPS.into())),
    }
    if !identity.account.sudo {
        account.retain(|(key, _)| *key != "sudo");
    }
    entries.push(("users", list([map(account)])));
    if identity.account.name == "root" {
        entries.push(("disable_root", false.into()));
    }
    entries.push(("ssh_pwauth", identity.account.password.is_some().into()));
    for (key, value) in [("timezone", &identity.timezone), ("locale", &identity.locale)] {
        if let Some(value) = value {
            entries.push((key, value.as_str().into()));
        }
    }
    entries.push(("ssh_keys", host_keys(identity, false)));
    let mut files: Vec<Value> = Vec::new();
    let mut before = vec![list(["systemctl", "restart", "ssh"])];
    if let Some(layout) = &identity.keyboard {
        files.push(file("/etc/default/keyboard", 0o644, &super::keyboard(layout)));
    }
    if let Some(text) = identity.wpa_supplicant() {
        files.push(file("/etc/wpa_supplicant/wpa_supplicant.conf", 0o600, &text));
        let interface = identity.wifi_interface();
        files.push(file(
            &format!("/etc/network/interfaces.d/{interface}"),
            0o644,
            &format!(
                "allow-hotplug {interface}\niface {interface} inet dhcp\nwpa-conf /etc/wpa_supplicant/wpa_supplicant.conf\n"
            ),
        ));
        before.push(list(["ifup", interface]));
    }
    if let Some(text) = identity.dhcpcd() {
        // The whole file, as the system's own samples replace it.
        files.push(file("/etc/dhcpcd.conf", 0o644, &format!("persistent\nslaac private\n{text}")));
        before.push(list(["systemctl", "restart", "dhcpcd"]));
    }
    if !files.is_empty() {
        entries.push(("write_files", list(files)));
    }
    before.push(list(["systemctl", "restart", "avahi-daemon"]));
    entries.push(("runcmd", commands(before)));
    cloud_config(entries)
}

pub(super) fn edits(identity: &Identity, place: Place, volumes: Volumes) -> Result<Edits> {
    let folder = match place {
        Place::Boot => "",
        Place::Root => super::cloud_init::SEED,
    };
    let mut edits = Edits {
        boot: boot::changes(volumes.boot, &identity.boot, |_| false, &identity.regulatory_domain())?,
        ..Edits::default()
    };
    if identity.host_key.certificate.is_some() {
        edits
            .notes
            .push("HypriotOS is too old for a host certificate: it shows its plain key".to_owned());
    }
    let files = [
        Change::write(format!("{folder}/user-data"), user_data(identity), 0o600),
        Change::write(format!("{folder}/user-data.picloud"), kept_user_data(identity), 0o600),
        Change::write(format!("{folder}/meta-data"), meta_data(identity), 0o644),
    ];
    match place {
        Place::Boot => edits.boot.extend(files),
        Place::Root => edits.root.extend(files),
    }
    Ok(edits)
}
