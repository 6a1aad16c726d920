//! The host key of a minion: made before the card is written, so that it is known before the minion has ever been up.

use crate::error::{Error, Result};
use crate::inventory::Secret;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Certificate, PrivateKey, PublicKey};
use std::time::{SystemTime, UNIX_EPOCH};

use super::ca::Ca;

/// How long before its making a certificate holds: the clocks of those who check it differ.
const BEFORE: u64 = 24 * 60 * 60;

/// How long a certificate holds: ten years, which a card hardly lives.
const FOR: u64 = 3652 * 24 * 60 * 60;

/// An SSH host key (ed25519) as sshd's files hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostKey {
    /// `/etc/ssh/ssh_host_ed25519_key`: PEM in OpenSSH's format, without a passphrase, with a line feed at its end.
    pub private: Secret,
    /// `ssh-ed25519 AAAA...`, without a comment and without a line feed.
    pub public: String,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`, as `public`, where the project has an authority.
    pub certificate: Option<String>,
}

impl HostKey {
    /// A new key, of the system's random numbers. `comment` stands in the private key only.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn make(comment: &str) -> Result<HostKey> {
        HostKey::of(&random_key(comment)?)
    }

    /// The key that `seed` decides.
    #[cfg(test)]
    pub(super) fn of_seed(seed: &[u8; 32], comment: &str) -> Result<HostKey> {
        HostKey::of(&key_of(seed, comment)?)
    }

    fn of(key: &PrivateKey) -> Result<HostKey> {
        let private = key.to_openssh(LineEnding::LF).map_err(|e| failed("write", &e))?;
        Ok(HostKey {
            private: Secret::new(private.as_str()),
            public: line(key.public_key())?,
            certificate: None,
        })
    }

    /// Has `ca` certify that the key is that of the hosts `principals`: every name and address by which the minion is called,
    /// without ports. `id` names the certificate in logs.
    ///
    /// It holds from a day before now, for ten years. A Pi has no clock and starts in the past, which does not matter: sshd does
    /// not look at the time of its certificate, the master who connects does.
    ///
    /// # Errors
    /// There is no principal, or one that would mean more than one host; the key is malformed; no random numbers.
    pub fn certify(&mut self, ca: &Ca, id: &str, principals: &[String]) -> Result<()> {
        // A certificate without names would be one for every host.
        if principals.is_empty() {
            return Err(Error::usage(format!("the host certificate of {id} would be for no host")));
        }
        if let Some(odd) = principals
            .iter()
            .find(|name| name.is_empty() || name.contains(['*', '?', '!', ',']))
        {
            return Err(Error::usage(format!("the host certificate of {id} cannot be for `{odd}`")));
        }
        let key = PublicKey::from_openssh(&self.public).map_err(|e| failed("read", &e))?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let nonce: [u8; Builder::RECOMMENDED_NONCE_SIZE] = random()?;
        let serial: [u8; 8] = random()?;
        let build = || {
            let mut builder = Builder::new(
                nonce,
                key.key_data().clone(),
                now.saturating_sub(BEFORE),
                now.saturating_add(FOR),
            )?;
            builder
                .cert_type(CertType::Host)?
                .key_id(id)?
                .serial(u64::from_be_bytes(serial))?;
            for name in principals {
                builder.valid_principal(name.to_lowercase())?;
            }
            builder.sign(ca.key())?.to_openssh()
        };
        let certificate = build().map_err(|e: russh::keys::ssh_key::Error| failed("certify", &e))?;
        self.certificate = Some(certificate.trim_end().to_owned());
        Ok(())
    }

    /// `SHA256:...` and the kind of key.
    ///
    /// # Errors
    /// The key is malformed.
    pub fn fingerprint(&self) -> Result<String> {
        let key = PublicKey::from_openssh(&self.public).map_err(|e| failed("read", &e))?;
        Ok(crate::ssh::known_hosts::fingerprint(&key))
    }

    /// The certificate, if there is one.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parsed_certificate(&self) -> Result<Option<Certificate>> {
        let certificate = self.certificate.as_deref().map(Certificate::from_openssh);
        certificate.transpose().map_err(|e| failed("read the certificate of", &e))
    }
}

/// A new ed25519 key.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn random_key(comment: &str) -> Result<PrivateKey> {
    key_of(&random()?, comment)
}

/// The key that `seed` decides.
fn key_of(seed: &[u8; 32], comment: &str) -> Result<PrivateKey> {
    let pair = Ed25519Keypair::from_seed(seed);
    PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(|e| failed("make", &e))
}

/// A public key as a line without a comment.
pub(super) fn line(key: &PublicKey) -> Result<String> {
    let mut plain = key.clone();
    plain.set_comment("");
    let text = plain.to_openssh().map_err(|e| failed("write", &e))?;
    Ok(text.trim_end().to_owned())
}

/// Random bytes of the system.
///
/// # Errors
/// It gives none.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| failed("make", &e))?;
    Ok(bytes)
}

fn failed(what: &str, e: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("failed to {what} a host key: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::identity::testing::{keygen, project};

    #[test]
    fn keys_are_those_of_ssh_keygen() {
        let key = HostKey::make("root@pi0").unwrap();
        assert_ne!(key, HostKey::make("root@pi0").unwrap());
        assert!(key.public.starts_with("ssh-ed25519 AAAA") && !key.public.contains("pi0"));
        assert!(!format!("{key:?}").contains("PRIVATE"), "{key:?}");
        assert!(key.private.reveal().ends_with("-----END OPENSSH PRIVATE KEY-----\n"));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        super::super::ca::write_new(&file, key.private.reveal(), 0o600).unwrap();
        let Some(public) = keygen(&["-y", "-f"], &file) else { return };
        assert_eq!(public.trim_end(), format!("{} root@pi0", key.public));
        let listed = keygen(&["-l", "-f"], &file).unwrap();
        let print = key.fingerprint().unwrap();
        assert!(listed.contains(print.split(' ').next().unwrap()), "{listed}: {print}");
    }

    #[test]
    fn certificates_are_those_of_ssh_keygen() {
        let (folder, project) = project("minions: {pi0: 10.0.0.1}\n");
        let ca = Ca::init(&project).unwrap();
        let mut key = HostKey::make("root@pi0").unwrap();
        let names = ["PI0", "10.0.0.1", "2001:db8::1"].map(str::to_owned);
        key.certify(&ca, "pi0", &names).unwrap();
        let certificate = key.parsed_certificate().unwrap().unwrap();
        assert_eq!(certificate.valid_principals(), ["pi0", "10.0.0.1", "2001:db8::1"]);
        assert_eq!(certificate.valid_before() - certificate.valid_after(), BEFORE + FOR);

        let file = folder.path().join("key-cert.pub");
        std::fs::write(&file, key.certificate.as_ref().unwrap()).unwrap();
        let Some(text) = keygen(&["-L", "-f"], &file) else { return };
        for part in [
            "ssh-ed25519-cert-v01@openssh.com host certificate",
            "Key ID: \"pi0\"",
            "10.0.0.1",
            "Critical Options: (none)",
            "Extensions: (none)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let print = crate::ssh::known_hosts::fingerprint(ca.public());
        assert!(text.contains(print.split(' ').next().unwrap()), "{text}: {print}");
    }

    #[test]
    fn no_certificate_is_for_every_host() {
        let (_folder, project) = project("minions: {pi0: 10.0.0.1}\n");
        let ca = Ca::init(&project).unwrap();
        let mut key = HostKey::make("").unwrap();
        for names in [
            &[][..],
            &["*".to_owned()],
            &["pi0".to_owned(), String::new()],
            &["a,b".to_owned()],
        ] {
            assert!(key.certify(&ca, "pi0", names).is_err(), "{names:?}");
            assert_eq!(key.certificate, None);
        }
    }
}
