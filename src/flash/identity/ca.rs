//! The project's host authority: one key that signs those of all hosts, so that one line of `known_hosts` knows them.

use super::host_key::{HostKey, random};
use crate::error::{Error, Result};
use crate::ssh::known_hosts;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Certificate, PrivateKey, PublicKey};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file in the project's folder that has the authority's private key.
pub const FILE: &str = "host_ca";

/// How long a host's certificate holds, in seconds: ten years, longer than the cards will. It is made anew with each flash.
pub const VALIDITY: u64 = 10 * 365 * 86_400;

/// Before now, in seconds: clocks differ.
const SKEW: u64 = 3600;

/// An authority for host keys.
pub struct Ca {
    key: PrivateKey,
    pub file: PathBuf,
}

impl Ca {
    /// The authority of the project in `folder`; `None` where it has none.
    ///
    /// # Errors
    /// Its file cannot be read, is no key, or others may read it.
    pub fn load(folder: &Path) -> Result<Option<Ca>> {
        let file = folder.join(FILE);
        let shown = file.display();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::usage(format!("cannot read {shown}: {e}"))),
        };
        let mode = std::fs::metadata(&file).map_or(0, |meta| meta.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            return Err(Error::usage(format!("{shown} has the mode {mode:04o}: others may read the key of the project's authority"))
                .hint(format!("chmod 600 {shown}")));
        }
        let key = PrivateKey::from_openssh(&text).map_err(|e| Error::usage(format!("{shown} is not a private key: {e}")))?;
        if key.is_encrypted() {
            return Err(Error::usage(format!("{shown} has a passphrase, which cannot be asked for here")));
        }
        Ok(Some(Ca { key, file }))
    }

    /// Makes an authority for the project in `folder`: its key with mode 0600, and the public half beside it.
    ///
    /// # Errors
    /// There is one already, or the files cannot be written.
    pub fn create(folder: &Path, comment: &str) -> Result<Ca> {
        let file = folder.join(FILE);
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::usage(format!("{} exists already", file.display()))
                .hint("hosts that it has signed are known by it: to begin anew, take it and its line in known_hosts away first"),
            _ => Error::usage(format!("cannot write {}: {e}", file.display())),
        };
        let pair = HostKey::generate(comment)?;
        let mut options = std::fs::OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
        out.write_all(pair.private.reveal().as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
        let public = folder.join(format!("{FILE}.pub"));
        std::fs::write(&public, pair.public_line() + "\n").map_err(failed)?;
        Ca::load(folder)?.ok_or_else(|| Error::state(format!("{} is gone", file.display())))
    }

    pub fn public(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// Makes the authority known in `file` for all hosts that are looked up there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn make_known(&self, file: &Path) -> Result<()> {
        known_hosts::pin_authority(file, "*", self.public())
    }

    /// A certificate for the host with this key, known by `names`.
    ///
    /// # Errors
    /// There is no name, or one that a certificate cannot have.
    pub fn sign(&self, host: &PublicKey, id: &str, names: &[String], now: u64) -> Result<Certificate> {
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(Error::state(format!("a host certificate for {id} needs names")));
        }
        let sign = || {
            let after = now.saturating_sub(SKEW);
            let nonce: [u8; 16] = random().map_err(|_| russh::keys::ssh_key::Error::Crypto)?;
            let mut builder = Builder::new(nonce, host.key_data().clone(), after, now + VALIDITY)?;
            builder.serial(now)?.cert_type(CertType::Host)?.key_id(id)?.comment(id)?;
            for name in names {
                builder.valid_principal(name)?;
            }
            builder.sign(&self.key)
        };
        sign().map_err(|e| Error::state(format!("failed to sign the host key of {id}: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;
    use crate::ssh::known_hosts::{HostName, KnownHosts, Verdict};

    #[test]
    fn an_authority_is_made_once_and_its_certificates_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Ca::load(folder.path()).unwrap().is_none());
        let ca = Ca::create(folder.path(), "lab").unwrap();
        assert!(Ca::create(folder.path(), "lab").err().unwrap().to_string().ends_with("host_ca exists already"));
        assert_eq!(std::fs::metadata(&ca.file).unwrap().permissions().mode() & 0o777, 0o600);

        let known_hosts = folder.path().join("known_hosts");
        std::fs::write(&known_hosts, "# mine\npi9 ssh-ed25519 AAAA\n").unwrap();
        ca.make_known(&known_hosts).unwrap();
        ca.make_known(&known_hosts).unwrap();
        let text = std::fs::read_to_string(&known_hosts).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("# mine\npi9 ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA"), "{text}");

        let names = ["pi3".to_owned(), "192.168.1.13".to_owned()];
        let host = HostKey::generate("pi3").unwrap().certified(&ca, "pi3", &names, 2_000_000_000).unwrap();
        let certificate = Certificate::from_openssh(host.certificate.as_ref().unwrap()).unwrap();
        assert_eq!(certificate.key_id(), "pi3");
        let mut known = KnownHosts::default();
        known.parse(FileId::of("known_hosts"), text.as_bytes());
        let check = |host: &str, port, now| known.check(&HostName::new(host, port), &certificate.clone().into(), now);
        assert_eq!(check("pi3", 22, 2_000_000_000), Verdict::Known);
        assert_eq!(check("192.168.1.13", 2222, 2_000_000_000 + VALIDITY - 1), Verdict::Known);
        assert!(matches!(check("pi4", 22, 2_000_000_000), Verdict::Invalid { .. }));
        assert!(matches!(check("pi3", 22, 2_000_000_000 + VALIDITY), Verdict::Invalid { .. }));
        assert!(ca.sign(&host.public, "pi3", &[], 0).is_err());

        std::fs::set_permissions(&ca.file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Ca::load(folder.path()).err().unwrap().to_string().contains("has the mode 0644"));
    }
}
