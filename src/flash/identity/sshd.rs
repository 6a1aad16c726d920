//! The SSH server's part: the host key, and what says that it is the one to show.
//!
//! Systems make host keys of their own at their first boot, some after ours are in place: Raspberry Pi OS
//! (`regenerate_ssh_host_keys`) and Armbian (`armbian-firstrun`) delete `/etc/ssh/ssh_host*` first. So ours has a name of its
//! own, and a drop-in that names it: a server with a `HostKey` shows no other.

use super::Identity;
use super::files::{Files, text};
use crate::flash::change::Change;

/// The private key's file; `.pub` and `-cert.pub` stand beside it.
pub(super) const KEY: &str = "/etc/ssh/picloud_host_ed25519_key";

/// Read by the `Include` with which Debian's, Ubuntu's and Arch's sshd_config begins; the first word on a matter counts.
pub(super) const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-picloud.conf";

/// The lines of the server's configuration.
pub(super) fn settings(identity: &Identity) -> String {
    let mut out = String::from("# Written by picloud with the card: the host key that the project knows.\n");
    out += &format!("HostKey {KEY}\n");
    if identity.host_key.certificate.is_some() {
        out += &format!("HostCertificate {KEY}-cert.pub\n");
    }
    let passwords = if identity.account.password.is_some() { "yes" } else { "no" };
    out + &format!("PasswordAuthentication {passwords}\n")
}

/// The key's files: path, mode, contents.
pub(super) fn key_files(identity: &Identity) -> Vec<(String, u16, String)> {
    let key = &identity.host_key;
    let mut files = vec![
        (KEY.to_owned(), 0o600, key.private.reveal().to_owned()),
        (format!("{KEY}.pub"), 0o644, key.public.clone() + "\n"),
    ];
    if let Some(certificate) = &key.certificate {
        files.push((format!("{KEY}-cert.pub"), 0o644, format!("{certificate}\n")));
    }
    files
}

/// Whether an sshd_config reads drop-ins.
pub(super) fn reads_drop_ins(config: &str) -> bool {
    config.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"))
            && words.any(|word| word.starts_with("/etc/ssh/sshd_config.d/"))
    })
}

/// All of it, into a root file system.
pub(super) fn into_root(identity: &Identity, root: &dyn Files) -> Vec<Change> {
    let mut changes: Vec<Change> = key_files(identity)
        .into_iter()
        .map(|(path, mode, text)| Change::write(path, text, mode))
        .collect();
    changes.push(match text(root, "/etc/ssh/sshd_config") {
        Some(config) if !reads_drop_ins(&config) => Change::write("/etc/ssh/sshd_config", settings(identity) + &config, 0o644),
        _ => Change::write(DROP_IN, settings(identity), 0o644),
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_read_where_the_configuration_says_so() {
        for (config, expected) in [
            ("Include /etc/ssh/sshd_config.d/*.conf\n", true),
            ("#x\n  include /a /etc/ssh/sshd_config.d/*.conf\n", true),
            ("#Include /etc/ssh/sshd_config.d/*.conf\n", false),
            ("Port 22\n", false),
        ] {
            assert_eq!(reads_drop_ins(config), expected, "{config}");
        }
    }
}
