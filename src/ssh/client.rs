//! Our side of the SSH protocol: the verdict on the server's key, the algorithms in order of preference, and why it ended.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use russh::client::{Config, DisconnectReason, Handler};
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, cipher, compression, kex};

use super::known_hosts::{HostName, KnownHosts, Verdict, fingerprint};
use crate::error::{Error, Result};

/// Who judges a server's key.
pub(super) struct HostCheck {
    pub(super) known: Arc<KnownHosts>,
    pub(super) host: HostName,
    /// What messages call it, and whether `picloud trust` knows it by that name.
    pub(super) name: String,
    pub(super) minion: bool,
    /// A key that is not known yet is taken.
    pub(super) accept_new: bool,
    /// The key is only looked at, and nothing is said to the server after that.
    pub(super) only_look: bool,
}

/// What a connection has learnt, shared with its owner.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    pub(super) host_key: Option<PublicKey>,
    /// It was not known, and was taken all the same.
    pub(super) is_new: bool,
    /// Why the connection ended.
    pub(super) end: Option<String>,
    /// What the server wanted to be said before the login.
    pub(super) banner: Option<String>,
    pub(super) cipher: &'static str,
    pub(super) kex: &'static str,
}

pub(super) type State = Arc<Mutex<Learnt>>;

pub(super) fn lock(state: &State) -> std::sync::MutexGuard<'_, Learnt> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

pub(super) struct Client {
    pub(super) check: HostCheck,
    pub(super) state: State,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(super) enum Failure {
    Ssh(russh::Error),
    /// The server's key was refused.
    Key(Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Failure {
        Failure::Ssh(error)
    }
}

impl Handler for Client {
    type Error = Failure;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        lock(&self.state).host_key = Some(key.public_key());
        if self.check.only_look {
            return Ok(true);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let verdict = self.check.known.check(&self.check.host, key, now.as_secs());
        if verdict == Verdict::Unknown && self.check.accept_new {
            lock(&self.state).is_new = true;
            return Ok(true);
        }
        match self.check.refusal(&verdict, &key.public_key()) {
            Some(error) => Err(Failure::Key(error)),
            None => Ok(true),
        }
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut russh::client::Session,
    ) -> Result<(), Failure> {
        let mut learnt = lock(&self.state);
        learnt.cipher = cipher_name(&names.cipher);
        learnt.kex = kex_name(&names.kex);
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut russh::client::Session) -> Result<(), Failure> {
        lock(&self.state).banner = Some(banner.chars().take(2000).collect());
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        let end = match &reason {
            DisconnectReason::ReceivedDisconnect(said) => format!("the server ended it: {}", said.message.trim()),
            DisconnectReason::Error(Failure::Ssh(error)) => explain(error),
            DisconnectReason::Error(Failure::Key(error)) => error.to_string(),
        };
        lock(&self.state).end.get_or_insert(end);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

fn cipher_name(name: &cipher::Name) -> &'static str {
    let all = [
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    let texts = ["aes128-gcm", "aes256-gcm", "chacha20-poly1305", "aes256-ctr", "aes128-ctr"];
    all.iter()
        .zip(texts)
        .find(|(known, _)| *known == name)
        .map_or("another", |(_, text)| text)
}

fn kex_name(name: &kex::Name) -> &'static str {
    match *name {
        kex::MLKEM768X25519_SHA256 => "mlkem768x25519",
        kex::CURVE25519 | kex::CURVE25519_PRE_RFC_8731 => "curve25519",
        _ => "another",
    }
}

/// An error of the protocol in words for the user.
pub(super) fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout => "the minion does not answer any more".into(),
        russh::Error::HUP | russh::Error::Disconnect => "the other side hung up".into(),
        russh::Error::IO(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "the other side hung up".into(),
        russh::Error::IO(e) => e.to_string(),
        russh::Error::Version => "there is something else than an SSH server".into(),
        russh::Error::NoCommonAlgo { kind, ours, theirs } => format!(
            "there is no {kind:?} algorithm in common: we have {}; it has {}",
            ours.join(", "),
            theirs.join(", ")
        ),
        error => error.to_string(),
    }
}

impl HostCheck {
    /// The error that a verdict means, if any.
    pub(super) fn refusal(&self, verdict: &Verdict, key: &PublicKey) -> Option<Error> {
        let (name, shown) = (&self.name, fingerprint(key));
        let host = self.host.text();
        let called = if *name == host {
            name.clone()
        } else {
            format!("{name} ({host})")
        };
        Some(match verdict {
            Verdict::Known => return None,
            Verdict::Unknown => {
                let error = Error::unreachable(format!("the host key of {called} is not known: {shown}"));
                match self.minion {
                    true => error.hint(format!("compare the fingerprint, then `picloud trust {name}` accepts it")),
                    false => error.hint(format!("compare the fingerprint, then accept it with `ssh {name}`")),
                }
            }
            Verdict::Changed { at } => Error::unreachable(format!(
                "the host key of {called} has changed: it shows {shown}, which is not the one that is known"
            ))
            .at(*at)
            .hint("if the machine was installed anew, remove that line and run `picloud trust` again")
            .hint("if it was not, another machine answers in its place: do not connect"),
            Verdict::Revoked { at } => Error::unreachable(format!("the host key of {called} was revoked: {shown}"))
                .at(*at)
                .hint("never connect to a host that shows it"),
            Verdict::Invalid { at, why } => {
                Error::unreachable(format!("the host certificate of {called} does not hold: {why}")).at(*at)
            }
        })
    }
}

/// The algorithms for a host, in the order in which we want them.
///
/// `aes`: both processors have AES instructions. With them AES-GCM takes half the time of ChaCha20 at 128 bits; without them
/// (Raspberry Pi 1 to 4) ChaCha20 is several times faster.
///
/// `compressed`: what is sent is compressed, once the login is through.
pub(super) fn preferred(known: &KnownHosts, host: &HostName, aes: bool, compressed: bool) -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::ECDH_SHA2_NISTP256,
        kex::DH_GEX_SHA256,
        kex::DH_G16_SHA512,
        kex::DH_G14_SHA256,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];
    const AES: &[cipher::Name] = &[
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    const CHACHA: &[cipher::Name] = &[
        cipher::CHACHA20_POLY1305,
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    const COMPRESSION: &[compression::Name] = &[compression::ZLIB_LEGACY, compression::NONE];
    const NO_COMPRESSION: &[compression::Name] = &[compression::NONE];
    // SHA-1 signatures of RSA host keys are not taken.
    let mut keys: Vec<Algorithm> = Preferred::DEFAULT
        .key
        .iter()
        .filter(|a| **a != Algorithm::Rsa { hash: None })
        .cloned()
        .collect();
    let algorithms = known.algorithms(host);
    let is_known = |algorithm: &Algorithm| match algorithm {
        Algorithm::Rsa { .. } => algorithms.contains(&"ssh-rsa"),
        other => algorithms.contains(&other.as_str()),
    };
    keys.sort_by_key(|algorithm| !is_known(algorithm));
    Preferred {
        kex: Cow::Borrowed(KEX),
        host_key_certificates: if known.has_authority(host) {
            Cow::Owned(keys.clone())
        } else {
            Cow::Borrowed(&[])
        },
        key: Cow::Owned(keys),
        cipher: Cow::Borrowed(if aes { AES } else { CHACHA }),
        compression: Cow::Borrowed(if compressed { COMPRESSION } else { NO_COMPRESSION }),
        ..Preferred::DEFAULT
    }
}

/// The settings of a connection. A peer that is silent for a minute is taken for dead.
pub(super) fn settings(preferred: Preferred) -> Arc<Config> {
    Arc::new(Config {
        client_id: russh::SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-picloud_", env!("CARGO_PKG_VERSION")))),
        preferred,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    })
}

/// Whether this machine's processor has AES instructions.
pub(super) fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
