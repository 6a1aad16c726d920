//! A minion's host key: made when its card is, put there, and kept nowhere else.

use super::ca::Ca;
use crate::error::{Error, Result};
use crate::inventory::Secret;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use russh::keys::{PrivateKey, PublicKey};

/// An ed25519 key pair of a host, and the certificate of the project's authority where there is one.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// In OpenSSH's format, with its final newline.
    pub(super) private: Secret,
    pub public: PublicKey,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA... pi3`, without a newline.
    pub(super) certificate: Option<String>,
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::state(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes)
}

impl HostKey {
    /// A new key; `comment` says whose it is.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(comment: &str) -> Result<HostKey> {
        HostKey::of_seed(&random()?, comment)
    }

    /// The key that `seed` decides: for tests.
    pub(super) fn of_seed(seed: &[u8; Ed25519PrivateKey::BYTE_SIZE], comment: &str) -> Result<HostKey> {
        let failed = |e| Error::state(format!("failed to make a host key: {e}"));
        let pair = Ed25519Keypair::from_seed(seed);
        let private = PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(failed)?;
        Ok(HostKey {
            private: Secret::new(private.to_openssh(LineEnding::LF).map_err(failed)?.as_str()),
            public: private.public_key().clone(),
            certificate: None,
        })
    }

    /// The same with a certificate of `ca` for these names, from `now` on (seconds since 1970).
    ///
    /// # Errors
    /// There is no name, or a name is empty.
    pub fn certified(mut self, ca: &Ca, id: &str, names: &[String], now: u64) -> Result<HostKey> {
        let certificate = ca.sign(&self.public, id, names, now)?;
        let failed = |e| Error::state(format!("failed to write a host certificate: {e}"));
        self.certificate = Some(certificate.to_openssh().map_err(failed)?.trim_end().to_owned());
        Ok(self)
    }

    /// `ssh-ed25519 AAAA... comment`, without a newline.
    pub(super) fn public_line(&self) -> String {
        // A key that was just made can be written.
        self.public.to_openssh().unwrap_or_default().trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_new_and_whole() {
        let (a, b) = (HostKey::generate("pi3").unwrap(), HostKey::generate("pi3").unwrap());
        assert_ne!(a.public, b.public);
        let read = PrivateKey::from_openssh(a.private.reveal()).unwrap();
        assert_eq!(read.public_key(), &a.public);
        assert!(a.public_line().starts_with("ssh-ed25519 AAAA") && a.public_line().ends_with(" pi3"));
        assert!(a.private.reveal().ends_with("-----END OPENSSH PRIVATE KEY-----\n"));
        assert!(!format!("{a:?}").contains("OPENSSH PRIVATE"));
    }
}
