//! cloud-init's NoCloud: `user-data`, `meta-data` and `network-config`, on the boot partition (Raspberry Pi OS, Ubuntu) or in the
//! seed folder of the root file system (Debian's cloud images). Checked against cloud-init's own schema in the tests.
//!
//! `user-data` holds the host's private key, and a boot partition is readable by everyone. So each file that has a secret is put
//! there twice: as it is, and beside it (`.picloud`) as it is to be kept. The last thing that the first boot does is to overwrite the
//! former and to rename the latter. What modules do at every boot (host name, `/etc/hosts`) is in both.

use super::detect::{Dialect, Place};
use super::files::Volumes;
use super::network::{list, map};
use super::{Edits, Identity, boot, sshd};
use crate::error::Result;
use crate::flash::change::Change;
use crate::yaml::{Style, Value, emit_with};

/// Where cloud-init looks without being told: DataSourceNoCloud's `seed_dir`.
pub(super) const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Takes the secrets away; runs as a script of its own. Power may go at any time: each file is there in one form or the other.
const SCRUB: &str = r#"for dir in /boot/firmware /boot /var/lib/cloud/seed/nocloud; do
  for name in user-data network-config; do
    [ -f "$dir/$name.picloud" ] || continue
    mv -f "$dir/$name" "$dir/$name.old" && mv -f "$dir/$name.picloud" "$dir/$name" && sync
    head -c "$(wc -c <"$dir/$name.old")" /dev/zero | dd of="$dir/$name.old" conv=notrunc 2>/dev/null
    sync
    rm -f "$dir/$name.old"
  done
done
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

/// Network configuration as it is written, and as it is kept; `None`: the image's own will do, which is DHCP.
fn network(identity: &Identity, place: Place, dialect: Dialect) -> Option<(String, Option<String>)> {
    if !identity.has_network() {
        return None;
    }
    // Of boards the wired interface is known; of a PC it has many names.
    let wired = match place {
        Place::Boot => Some("eth0"),
        Place::Root => None,
    };
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
    Some((full, kept))
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
    if let Some((full, kept)) = network(identity, place, dialect) {
        files.push(Change::write(format!("{folder}/network-config"), full, 0o600));
        files.extend(kept.map(|kept| Change::write(format!("{folder}/network-config.picloud"), kept, 0o600)));
    }
    let mut edits = Edits::default();
    if identity.wifi.is_some()
        && volumes.root.exists("/etc")
        && !["/usr/sbin/netplan", "/usr/bin/netplan"]
            .iter()
            .any(|path| volumes.root.exists(path))
    {
        edits
            .notes
            .push("the image has no netplan, without which cloud-init may not set up a wireless network".to_owned());
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
