//! Armbian: straight into its root file system.
//!
//! `/root/.not_logged_in_yet` makes the first login a dialogue (`armbian-firstlogin`), and until then consoles log root in by
//! themselves; both end here. `armbian-firstrun` deletes `/etc/ssh/ssh_host*`, which is why the host key has another name.

use super::files::{Volumes, text};
use super::{Edits, Identity, boot, root};
use crate::error::{Error, Result};
use crate::flash::change::Change;

/// Drop-ins that log root in on consoles.
const CONSOLES: [&str; 2] = [
    "/etc/systemd/system/getty@.service.d/override.conf",
    "/etc/systemd/system/serial-getty@.service.d/override.conf",
];

/// `armbianEnv.txt` of the boot partition or of `/boot`, with words added to its `extraargs`.
fn environment(identity: &Identity, volumes: Volumes, edits: &mut Edits) -> Result<()> {
    let mut words = identity.boot.cmdline.clone();
    words.extend(identity.regulatory_domain());
    if words.is_empty() {
        return Ok(());
    }
    let on_boot = text(volumes.boot, "/armbianEnv.txt");
    let in_root = text(volumes.root, "/boot/armbianEnv.txt");
    let (now, path, changes) = match (on_boot, in_root) {
        (Some(now), _) => (now, "/armbianEnv.txt", &mut edits.boot),
        (None, Some(now)) => (now, "/boot/armbianEnv.txt", &mut edits.root),
        (None, None) if identity.boot.cmdline.is_empty() => return Ok(()),
        (None, None) => {
            return Err(Error::usage("`boot: {cmdline: ...}` is set, and this image has no armbianEnv.txt").at(identity.boot.at));
        }
    };
    let mut lines: Vec<String> = now.lines().map(str::to_owned).collect();
    let old = lines.iter().position(|line| line.starts_with("extraargs="));
    let before = old
        .and_then(|at| lines[at].strip_prefix("extraargs="))
        .unwrap_or_default()
        .to_owned();
    let new = format!("extraargs={}", boot::cmdline(&before, |_| false, &words).trim());
    match old {
        Some(at) => lines[at] = new,
        None => lines.push(new),
    }
    changes.push(Change::write(path, lines.join("\n") + "\n", 0o644));
    Ok(())
}

pub(super) fn edits(identity: &Identity, volumes: Volumes) -> Result<Edits> {
    let mut edits = Edits::default();
    root::account(identity, volumes.root, &["root"], &mut edits)?;
    root::system(identity, volumes.root, &mut edits);
    root::locale(identity, volumes.root, "/etc/default/locale", &mut edits);
    root::console(identity, &mut edits);
    root::network(identity, volumes.root, &mut edits);
    for path in ["/root/.not_logged_in_yet", "/root/provisioning.sh"] {
        if volumes.root.exists(path) {
            edits.root.push(Change::Remove { path: path.to_owned() });
        }
    }
    for path in CONSOLES {
        if text(volumes.root, path).is_some_and(|text| text.contains("--autologin")) {
            edits.root.push(Change::Remove { path: path.to_owned() });
        }
    }
    match boot::cmdline_file(volumes.boot) {
        // A Raspberry Pi's.
        Some(_) => edits.boot = boot::changes(volumes.boot, &identity.boot, |_| false, &identity.regulatory_domain())?,
        None => {
            let config = crate::inventory::card::Boot {
                cmdline: Vec::new(),
                ..identity.boot.clone()
            };
            edits.boot = boot::changes(volumes.boot, &config, |_| false, &[])?;
            environment(identity, volumes, &mut edits)?;
        }
    }
    Ok(edits)
}
