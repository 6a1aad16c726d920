//! cloud-init's NoCloud: `user-data`, `meta-data` and `network-config`, on the boot partition (Raspberry Pi OS, Ubuntu) or in the
//! seed folder of the root file system (Debian's cloud images). Checked against cloud-init's own schema in the tests.
//!
//! `user-data` holds the host's private key, and a boot partition is readable by everyone. So each file that has a secret is put
//! there twice: as it is, and beside it (`.picloud`) as it is to be kept. The last thing that the first boot does is to overwrite the
//! former and to rename the latter. What modules do at every boot (host name, `/etc/hosts`) is in both.

use super::detect::{Dialect, Place};
use super::files::{Files, Volumes};
use super::network::{list, map};
use super::{Edits, Identity, boot, root, sshd};
use crate::error::{Error, Result};
use crate::flash::change::Change;
use crate::yaml::{Style, Value, emit_with};

/// Where cloud-init looks without being told: DataSourceNoCloud's `seed_dir`.
pub(super) const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Takes the secrets away; runs as a script of its own. Power may go at any time: each file is there in one form or the other. The seed's
/// partition may be mounted elsewhere or nowhere: cloud-init has noted which one it read.
const SCRUB: &str = r#"dirs='/boot/firmware /boot /var/lib/cloud/seed/nocloud' own=
seed=$(sed -n 's/.*\[seed=\([^],]*\).*/\1/p' /var/lib/cloud/instance/datasource 2>/dev/null | head -n 1)
case $seed in
  /dev/*)
    at=$(findmnt -n -o TARGET "$seed" | head -n 1)
    if [ -z "$at" ]; then own=$(mktemp -d) && at=$own && mount "$seed" "$own" || at=; fi
    dirs="$dirs $at"
    ;;
esac
for dir in $dirs; do
  for name in user-data network-config; do
    [ -f "$dir/$name.picloud" ] || continue
    mv -f "$dir/$name" "$dir/$name.old" && mv -f "$dir/$name.picloud" "$dir/$name" && sync
    head -c "$(wc -c <"$dir/$name.old")" /dev/zero | dd of="$dir/$name.old" conv=notrunc 2>/dev/null
    sync
    rm -f "$dir/$name.old"
  done
done
[ -z "$own" ] || { umount "$own"; rmdir "$own"; }
"#;

/// `#cloud-config` and a mapping.
pub(super) fn cloud_config(entries: Vec<(&str, Value)>) -> String {
    format!("#cloud-config\n{}", emit_with(&map(entries), Style::READABLE))
}

/// Commands of `runcmd`, the last of which takes the secrets away.
pub(super) fn commands(before: Vec<Value>) -> Value {
    list(before.into_iter().chain([list(["sh", "-c", SCRUB])]))
}

/// What modules look at in every boot.
pub(super) fn kept(identity: &Identity) -> Vec<(&'static str, Value)> {
    vec![
        ("hostname", identity.hostname.as_str().into()),
        // The line of 127.0.1.1 alone: the rest of the file is for states to manage.
        ("manage_etc_hosts", "localhost".into()),
    ]
}

/// The keys of a `user` that all dialects have.
pub(super) fn user(identity: &Identity) -> Vec<(&'static str, Value)> {
    let account = &identity.account;
    let mut user = vec![("name", account.name.as_str().into())];
    if account.name != "root" {
        user.push(("shell", "/bin/bash".into()));
    }
    if let Some(groups) = &account.groups {
        user.push(("groups", list(groups.iter().map(String::as_str))));
    }
    match &account.password {
        Some(hash) => {
            user.push(("lock_passwd", false.into()));
            user.push(("passwd", hash.reveal().into()));
        }
        None => user.push(("lock_passwd", true.into())),
    }
    if account.name != "root" {
        // Said in any case: the distribution's default user has it.
        let rule = if account.sudo {
            Value::from("ALL=(ALL) NOPASSWD:ALL")
        } else {
            Value::from(crate::yaml::Data::Null)
        };
        user.push(("sudo", rule));
    }
    user.push(("ssh_authorized_keys", list(account.keys.iter().map(String::as_str))));
    user
}

/// `ssh_keys` of cc_ssh.
pub(super) fn host_keys(identity: &Identity, certificate: bool) -> Value {
    let key = &identity.host_key;
    let mut keys = vec![
        ("ed25519_private", key.private.reveal().into()),
        ("ed25519_public", (key.public.clone() + "\n").into()),
    ];
    if let (true, Some(certificate)) = (certificate, &key.certificate) {
        keys.push(("ed25519_certificate", format!("{certificate}\n").into()));
    }
    map(keys)
}

/// A file of cc_write_files.
pub(super) fn file(path: &str, mode: u16, text: &str) -> Value {
    map([
        ("path", path.into()),
        ("permissions", format!("{mode:04o}").into()),
        ("content", text.into()),
    ])
}

pub(super) fn meta_data(identity: &Identity) -> String {
    emit_with(
        &map([
            ("instance-id", identity.instance.as_str().into()),
            ("local-hostname", identity.hostname.as_str().into()),
        ]),
        Style::READABLE,
    )
}

fn user_data(identity: &Identity, dialect: Dialect) -> String {
    let mut entries = kept(identity);
    // Singular: laid over the default user of the distribution, whose groups it keeps. An entry of `users` would have none.
    entries.push(("user", map(user(identity))));
    if identity.account.name == "root" {
        entries.push(("disable_root", false.into()));
    }
    entries.push(("ssh_pwauth", identity.account.password.is_some().into()));
    for (key, value) in [("timezone", &identity.timezone), ("locale", &identity.locale)] {
        if let Some(value) = value {
            entries.push((key, value.as_str().into()));
        }
    }
    if let Some(layout) = &identity.keyboard {
        entries.push(("keyboard", map([("layout", layout.as_str().into())])));
    }
    let mut before = Vec::new();
    match dialect {
        Dialect::RaspberryPi => {
            // Its own service deletes the usual host keys after cc_ssh has written them.
            let mut files: Vec<Value> = sshd::key_files(identity)
                .iter()
                .map(|(path, mode, text)| file(path, *mode, text))
                .collect();
            files.push(file(sshd::DROP_IN, 0o644, &sshd::settings(identity)));
            entries.push(("write_files", list(files)));
            before.push(list(["systemctl", "enable", "--now", "ssh"]));
            if identity.wifi.is_some() {
                let unblock = "rfkill unblock wifi; for file in /var/lib/systemd/rfkill/*:wlan; do [ ! -e \"$file\" ] || echo 0 >\"$file\"; done";
                before.push(list(["sh", "-c", unblock]));
            }
        }
        Dialect::Standard | Dialect::Hypriot => entries.push(("ssh_keys", host_keys(identity, true))),
    }
    entries.push(("runcmd", commands(before)));
    cloud_config(entries)
}

/// What is kept of `user-data`.
pub(super) fn kept_user_data(identity: &Identity) -> String {
    cloud_config(kept(identity)).replacen(
        '\n',
        "\n# What it told this system at its first boot is done, and was taken away.\n",
        1,
    )
}

/// How the network that the inventory asks for is set up.
enum By<'a> {
    /// The image's own will do, which is DHCP.
    Nothing,
    /// By cloud-init's network configuration; the wired interface has this name, or any that begins with `e`.
    CloudInit(Option<&'a str>),
    /// By files for what sets up the image's network, in its root file system.
    Files,
}

fn has_netplan(root: &dyn Files) -> bool {
    ["/usr/sbin/netplan", "/usr/bin/netplan"].iter().any(|path| root.exists(path))
}

/// By netplan where it is there: of all that cloud-init writes for, it alone knows names with an asterisk. Without it cloud-init (24.4,
/// `net/network_state.py`) takes the entry's own name for the interface's, and no interface has that: no network at all.
fn network_by(identity: &Identity, dialect: Dialect, volumes: Volumes) -> Result<By<'static>> {
    let root = volumes.root;
    let has = |paths: &[&str]| paths.iter().any(|path| root.exists(path));
    // Boards have one wired interface, whose name is known; that of a PC has many.
    let board = dialect != Dialect::Standard || volumes.boot.exists("/config.txt");
    let readable = root.exists("/etc");
    match () {
        () if !identity.has_network() => Ok(By::Nothing),
        () if board => Ok(By::CloudInit(Some("eth0"))),
        () if !readable || has_netplan(root) => Ok(By::CloudInit(None)),
        () if has(&["/usr/sbin/NetworkManager", "/etc/NetworkManager/system-connections"])
            || root
                .list("/etc/systemd/system/multi-user.target.wants")
                .iter()
                .any(|unit| unit == "systemd-networkd.service") =>
        {
            Ok(By::Files)
        }
        () if identity.addresses_wired() && identity.wired_interface().is_none() => Err(Error::usage(
            "the image's network is set up by interface names, and the inventory does not say which one the address is for",
        )
        .at(identity.boot.at)
        .hint("`card: {network: {interface: ens3, ...}}` names it; with netplan, NetworkManager or systemd-networkd in the image it need not be")),
        () => Ok(By::CloudInit(None)),
    }
}

/// Network configuration as it is written, and as it is kept.
fn network_config(identity: &Identity, wired: Option<&str>, dialect: Dialect) -> (String, Option<String>) {
    let regulatory = dialect == Dialect::RaspberryPi;
    let full = emit_with(&identity.netplan(wired, regulatory), Style::READABLE);
    let secret = identity.wifi.as_ref().is_some_and(|wifi| wifi.key.is_some());
    let kept = secret.then(|| {
        let mut open = identity.clone();
        open.wifi = None;
        if identity.addresses_wifi() {
            open.network = Default::default();
        }
        format!(
            "# The wireless network is in /etc/netplan now; its key was taken away here.\n{}",
            emit_with(&open.netplan(wired, regulatory), Style::READABLE)
        )
    });
    (full, kept)
}

pub(super) fn edits(identity: &Identity, place: Place, dialect: Dialect, volumes: Volumes) -> Result<Edits> {
    let folder = match place {
        Place::Boot => "",
        Place::Root => SEED,
    };
    let mut files = vec![
        Change::write(format!("{folder}/user-data"), user_data(identity, dialect), 0o600),
        Change::write(format!("{folder}/user-data.picloud"), kept_user_data(identity), 0o600),
        Change::write(format!("{folder}/meta-data"), meta_data(identity), 0o644),
    ];
    let mut edits = Edits::default();
    match network_by(identity, dialect, volumes)? {
        By::Nothing => {}
        By::CloudInit(wired) => {
            let (full, kept) = network_config(identity, wired, dialect);
            files.push(Change::write(format!("{folder}/network-config"), full, 0o600));
            files.extend(kept.map(|kept| Change::write(format!("{folder}/network-config.picloud"), kept, 0o600)));
            if identity.wifi.is_some() && volumes.root.exists("/etc") && !has_netplan(volumes.root) {
                let note = "the image has no netplan, without which cloud-init may not set up a wireless network";
                edits.notes.push(note.to_owned());
            }
        }
        By::Files => {
            root::network(identity, volumes.root, &mut edits);
            let off = "# Written by picloud with the card: the network is set up by the files beside which these are.\nnetwork: {config: disabled}\n";
            edits
                .root
                .push(Change::write("/etc/cloud/cloud.cfg.d/99-picloud-network.cfg", off, 0o644));
        }
    }
    let mut words = identity.regulatory_domain();
    if dialect == Dialect::RaspberryPi {
        // By this word cloud-init knows at each boot that it has been here, without reading the seed again.
        words.push(format!("ds=nocloud;i={}", identity.instance));
    }
    edits.boot = boot::changes(volumes.boot, &identity.boot, |word| word.starts_with("ds=nocloud"), &words)?;
    match place {
        Place::Boot => edits.boot.extend(files),
        Place::Root => {
            edits.root.push(Change::Mkdir {
                path: SEED.to_owned(),
                mode: 0o700,
                uid: 0,
                gid: 0,
            });
            edits.root.extend(files);
        }
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::super::files::table::{files, written};
    use super::super::tests::{fixed, plain, wifi};
    use super::*;

    /// What an address takes to reach the interface, by what the image has.
    #[test]
    fn an_address_reaches_the_interface() {
        const NETPLAN: &str = "/usr/sbin/netplan";
        const NETWORKD: &str = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service";
        let mut named = fixed();
        named.network.interface = Some("ens3".into());
        for (identity, boot, root, expected) in [
            (plain(), "", &["/etc/x"][..], "nothing"),
            (fixed(), "/config.txt", &["/etc/x"], "network-config: eth0"),
            (fixed(), "", &["/etc/x", NETPLAN], "network-config: wired"),
            // Nothing can be said of it: as Debian's and Ubuntu's are.
            (fixed(), "", &[], "network-config: wired"),
            (
                fixed(),
                "",
                &["/etc/x", NETWORKD],
                "/etc/systemd/network/05-picloud-wired.network",
            ),
            (
                fixed(),
                "",
                &["/etc/x", "/usr/sbin/NetworkManager"],
                "/etc/NetworkManager/system-connections/picloud-wired.nmconnection",
            ),
            (
                fixed(),
                "",
                &["/etc/x"],
                "error: the image's network is set up by interface names, and the inventory does not say which one the address is for",
            ),
            (named.clone(), "", &["/etc/x"], "network-config: ens3"),
            (wifi("net", None), "", &["/etc/x"], "network-config: wired"),
        ] {
            let boot = files([(boot, "")]);
            let root = files(root.iter().map(|path| (*path, "")));
            let volumes = Volumes {
                boot: &boot,
                root: &root,
            };
            let found = match edits(&identity, Place::Root, Dialect::Standard, volumes) {
                Err(error) => format!("error: {error}"),
                Ok(edits) => {
                    let config = written(&edits.root, &format!("{SEED}/network-config"));
                    let off = written(&edits.root, "/etc/cloud/cloud.cfg.d/99-picloud-network.cfg").is_some();
                    let own = edits
                        .root
                        .iter()
                        .map(Change::path)
                        .find(|path| path.contains("/picloud-wired") || path.contains("-wired.network"));
                    match (config, own) {
                        (None, None) => "nothing".to_owned(),
                        (None, Some(path)) if off => path.to_owned(),
                        (Some(text), None) if !off => {
                            let mut lines = text.lines().skip_while(|line| *line != "ethernets:");
                            format!(
                                "network-config: {}",
                                lines.nth(1).unwrap_or_default().trim().trim_end_matches(':')
                            )
                        }
                        both => panic!("{both:?}"),
                    }
                }
            };
            assert_eq!(found, expected);
        }
    }

    /// The scrubbing itself, on a seed that is mounted and on one that is not, with the system's paths put into a folder.
    #[test]
    fn secrets_are_scrubbed_wherever_the_seed_is() {
        for (seed, mounted) in [
            ("/dev/vda1", true),
            ("/dev/vda1", false),
            ("/var/lib/cloud/seed/nocloud", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().to_str().unwrap();
            let at = match (seed.starts_with("/dev"), mounted) {
                (true, _) => "elsewhere",
                (false, _) => "var/lib/cloud/seed/nocloud",
            };
            for sub in [at, "bin", "var/lib/cloud/instance"] {
                std::fs::create_dir_all(folder.path().join(sub)).unwrap();
            }
            let put = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).unwrap();
            for name in ["user-data", "network-config"] {
                put(&format!("{at}/{name}"), "secret");
                put(&format!("{at}/{name}.picloud"), "kept");
            }
            put(
                "var/lib/cloud/instance/datasource",
                &format!("DataSourceNoCloud: DataSourceNoCloud [seed={seed},/x][dsmode=net]\n"),
            );
            // A link stands for the mount.
            let target = if mounted {
                format!("echo {root}/{at}")
            } else {
                "false".to_owned()
            };
            put("bin/findmnt", &format!("#!/bin/sh\n{target}\n"));
            put(
                "bin/mount",
                &format!("#!/bin/sh\n[ \"$1\" = {seed} ] && rmdir \"$2\" && ln -s {root}/{at} \"$2\"\n"),
            );
            put("bin/umount", "#!/bin/sh\nrm \"$1\" && mkdir \"$1\"\n");
            for name in ["findmnt", "mount", "umount"] {
                use std::os::unix::fs::PermissionsExt;
                let path = folder.path().join("bin").join(name);
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            let script = SCRUB
                .replace("/boot", &format!("{root}/boot"))
                .replace("/var/lib", &format!("{root}/var/lib"));
            let path = format!("{root}/bin:{}", std::env::var("PATH").unwrap());
            let done = std::process::Command::new("sh")
                .args(["-eu", "-c", &script])
                .env("PATH", path)
                .output();
            let done = done.unwrap();
            assert!(done.status.success(), "{done:?}");
            for name in ["user-data", "network-config"] {
                let text = std::fs::read_to_string(folder.path().join(at).join(name)).unwrap();
                assert_eq!(text, "kept", "{seed} {mounted}");
            }
            assert_eq!(std::fs::read_dir(folder.path().join(at)).unwrap().count(), 2);
        }
    }
}
