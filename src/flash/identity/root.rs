//! What the methods have in common that write into the root file system: account, keys, SSH server, names, time, network.

use super::accounts::Accounts;
use super::files::{Files, text};
use super::{Edits, Identity, keyboard, sshd, sudoers};
use crate::error::{Error, Result};
use crate::flash::change::Change;

/// Files of a new home folder are copied from here, if they are small.
const SKELETON: &str = "/etc/skel";

/// The account, its keys, and that root has no other password than one that was chosen. `defaults` are accounts of the image
/// whose passwords everybody knows.
pub(super) fn account(identity: &Identity, root: &dyn Files, defaults: &[&str], edits: &mut Edits) -> Result<()> {
    let mut accounts = Accounts::read(root).ok_or_else(|| {
        Error::usage("the image's root file system has no /etc/passwd, /etc/shadow and /etc/group that can be read")
    })?;
    for name in defaults {
        if accounts.has(name) {
            accounts.set_password(name, "*");
        }
    }
    let shell = if root.exists("/bin/bash") || root.exists("/usr/bin/bash") {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let account = &identity.account;
    let who = accounts.ensure(account, shell);
    edits.root.extend(accounts.changes());
    let own = |path: String, bytes: Vec<u8>, mode| Change::Write {
        path,
        bytes,
        mode,
        uid: who.uid,
        gid: who.gid,
    };
    let folder = |path: String, mode| Change::Mkdir {
        path,
        mode,
        uid: who.uid,
        gid: who.gid,
    };
    if who.new {
        edits.root.push(folder(who.home.clone(), 0o750));
        for name in root.list(SKELETON) {
            if let Some(bytes) = root
                .read(&format!("{SKELETON}/{name}"))
                .filter(|bytes| bytes.len() < 64 << 10)
            {
                edits.root.push(own(format!("{}/{name}", who.home), bytes, 0o644));
            }
        }
    }
    if !account.keys.is_empty() {
        let ssh = format!("{}/.ssh", who.home.trim_end_matches('/'));
        edits.root.push(folder(ssh.clone(), 0o700));
        let keys: String = account.keys.iter().map(|key| format!("{key}\n")).collect();
        edits
            .root
            .push(own(format!("{ssh}/authorized_keys"), keys.into_bytes(), 0o600));
    }
    if account.sudo && account.name != "root" {
        match root.exists("/usr/bin/sudo") {
            true => edits
                .root
                .push(Change::write("/etc/sudoers.d/010-picloud", sudoers(&account.name), 0o440)),
            false => edits.notes.push(format!(
                "the image has no sudo, so {} cannot become root: `user: root` for this minion logs in as root by key",
                account.name
            )),
        }
    }
    Ok(())
}

/// Host name, SSH server, time zone.
pub(super) fn system(identity: &Identity, root: &dyn Files, edits: &mut Edits) {
    let name = &identity.hostname;
    edits.root.push(Change::write("/etc/hostname", format!("{name}\n"), 0o644));
    let hosts = text(root, "/etc/hosts").unwrap_or_else(|| "127.0.0.1 localhost\n::1 localhost\n".to_owned());
    let mut lines: Vec<String> = hosts
        .lines()
        .filter(|line| line.split_ascii_whitespace().next() != Some("127.0.1.1"))
        .map(str::to_owned)
        .collect();
    let behind = lines
        .iter()
        .position(|line| line.starts_with("127.0.0.1"))
        .map_or(0, |at| at + 1);
    lines.insert(behind, format!("127.0.1.1 {name}"));
    edits.root.push(Change::write("/etc/hosts", lines.join("\n") + "\n", 0o644));
    edits.root.extend(sshd::into_root(identity, root));
    if let Some(zone) = &identity.timezone {
        let path = format!("/usr/share/zoneinfo/{zone}");
        if root.exists("/usr/share/zoneinfo") && !root.exists(&path) {
            edits.notes.push(format!("the image does not know the time zone {zone}"));
        } else {
            edits.root.push(Change::Symlink {
                path: "/etc/localtime".to_owned(),
                target: path,
            });
            if root.exists("/etc/timezone") {
                edits.root.push(Change::write("/etc/timezone", format!("{zone}\n"), 0o644));
            }
        }
    }
}

/// A locale: chosen now, and made at the first boot, as that takes programs of the system's own. A unit that takes itself away.
pub(super) fn locale(identity: &Identity, root: &dyn Files, file: &str, edits: &mut Edits) {
    let Some(locale) = &identity.locale else { return };
    edits.root.push(Change::write(file, format!("LANG={locale}\n"), 0o644));
    let built_in = matches!(locale.as_str(), "C" | "POSIX" | "C.UTF-8" | "C.utf8");
    let Some(known) = text(root, "/etc/locale.gen").filter(|_| !built_in) else {
        return;
    };
    let wanted = |line: &str| line.trim_start_matches(['#', ' ']).split(' ').next() == Some(locale.as_str());
    let mut lines: Vec<String> = known
        .lines()
        .map(|line| {
            if wanted(line) {
                line.trim_start_matches(['#', ' ']).to_owned()
            } else {
                line.to_owned()
            }
        })
        .collect();
    if !known.lines().any(wanted) {
        lines.push(format!("{locale} UTF-8"));
    }
    let unit = "picloud-locale.service";
    let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
    edits
        .root
        .push(Change::write("/etc/locale.gen", lines.join("\n") + "\n", 0o644));
    edits.root.push(Change::write(
        format!("/etc/systemd/system/{unit}"),
        format!(
            "# Written by picloud with the card.\n[Unit]\nDescription=Make the locale {locale}\n\n[Service]\nType=oneshot\n\
             ExecStart=/bin/sh -c 'locale-gen && rm -f {link} /etc/systemd/system/{unit}'\n\n[Install]\nWantedBy=multi-user.target\n"
        ),
        0o644,
    ));
    edits.root.push(Change::Symlink {
        path: link,
        target: format!("/etc/systemd/system/{unit}"),
    });
}

/// The keyboard of Debian and its kin.
pub(super) fn console(identity: &Identity, edits: &mut Edits) {
    if let Some(layout) = &identity.keyboard {
        edits
            .root
            .push(Change::write("/etc/default/keyboard", keyboard(layout), 0o644));
    }
}

/// The network by what the image has: netplan, NetworkManager or systemd-networkd.
pub(super) fn network(identity: &Identity, root: &dyn Files, edits: &mut Edits) {
    if !identity.has_network() {
        return;
    }
    if root.exists("/etc/netplan") {
        // Images have a file that gives DHCP to whatever begins with `e`: it would stay beside ours.
        if identity.addresses_wired() {
            for name in root.list("/etc/netplan") {
                let path = format!("/etc/netplan/{name}");
                let of_ethernet = text(root, &path).is_some_and(|text| text.contains("ethernets:"));
                if of_ethernet {
                    edits.root.push(Change::Remove { path });
                }
            }
        }
        let text = crate::yaml::emit_with(
            &super::network::map([("network", identity.netplan(None, false))]),
            crate::yaml::Style::READABLE,
        );
        edits.root.push(Change::write("/etc/netplan/60-picloud.yaml", text, 0o600));
    } else if root.exists("/etc/NetworkManager/system-connections") || root.exists("/usr/sbin/NetworkManager") {
        for (name, text) in identity.keyfiles() {
            let path = format!("/etc/NetworkManager/system-connections/{name}.nmconnection");
            edits.root.push(Change::write(path, text, 0o600));
        }
    } else {
        networkd(identity, root, edits);
    }
}

/// systemd-networkd, with wpa_supplicant for a wireless network.
pub(super) fn networkd(identity: &Identity, root: &dyn Files, edits: &mut Edits) {
    for (name, text) in identity.networkd() {
        edits
            .root
            .push(Change::write(format!("/etc/systemd/network/{name}"), text, 0o644));
    }
    if let Some(text) = identity.wpa_supplicant() {
        if !["/usr/bin/wpa_supplicant", "/usr/sbin/wpa_supplicant", "/sbin/wpa_supplicant"]
            .iter()
            .any(|path| root.exists(path))
        {
            edits
                .notes
                .push("the image has no wpa_supplicant: its wireless network will not come up by itself".to_owned());
        }
        let interface = identity.wifi_interface();
        edits.root.push(Change::write(
            format!("/etc/wpa_supplicant/wpa_supplicant-{interface}.conf"),
            text,
            0o600,
        ));
        edits.root.push(Change::Symlink {
            path: format!("/etc/systemd/system/multi-user.target.wants/wpa_supplicant@{interface}.service"),
            target: "/usr/lib/systemd/system/wpa_supplicant@.service".to_owned(),
        });
    }
}
