//! Arch Linux ARM: straight into its root file system, which has sshd and systemd-networkd, and the accounts `root` and `alarm` with
//! passwords that everybody knows.

use super::files::Volumes;
use super::{Edits, Identity, boot, root};
use crate::error::Result;
use crate::flash::change::Change;

pub(super) fn edits(identity: &Identity, volumes: Volumes) -> Result<Edits> {
    let mut edits = Edits {
        boot: boot::changes(volumes.boot, &identity.boot, |_| false, &identity.regulatory_domain())?,
        ..Edits::default()
    };
    let mut own = identity.clone();
    // The group of those who may become root.
    let groups = || ["wheel", "audio", "video", "input", "users"].map(str::to_owned).to_vec();
    own.account.groups.get_or_insert_with(groups);
    root::account(&own, volumes.root, &["root", "alarm"], &mut edits)?;
    root::system(identity, volumes.root, &mut edits);
    root::locale(identity, volumes.root, "/etc/locale.conf", &mut edits);
    if let Some(layout) = &identity.keyboard {
        edits
            .root
            .push(Change::write("/etc/vconsole.conf", format!("KEYMAP={layout}\n"), 0o644));
    }
    if identity.has_network() {
        root::networkd(identity, volumes.root, &mut edits);
    }
    Ok(edits)
}
