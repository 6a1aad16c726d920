//! Whose card it is: everything that makes a fresh system a certain minion at its first boot.
//!
//! [`detect`] looks at an image and says how its system is told; [`Identity::edits`] makes of an identity, and of what the image's
//! files say now, the changes to its file systems. Nothing here opens a device, asks the user, or writes a file on the master.

mod accounts;
mod arch;
mod armbian;
mod boot;
pub mod ca;
mod cloud_init;
pub mod detect;
mod dietpi;
pub mod files;
mod firstrun;
mod host_key;
mod hypriot;
mod keys;
mod network;
pub mod pin;
mod preseed;
mod root;
mod script;
mod sshd;

#[cfg(test)]
mod testing;
#[cfg(test)]
pub(in crate::flash) mod tests;

pub use detect::{Dialect, Method, Place};
pub use host_key::HostKey;

use crate::error::{Error, Result};
use crate::flash::change::Change;
use crate::inventory::card::{Boot, CardPassword, Network, Psk, host_name, psk, user_name};
use crate::inventory::{Minion, MinionId, Secret};
use files::Volumes;
use std::path::{Path, PathBuf};

/// All that is put on a card for one minion, checked: no text in it can break out of a file of any format.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: MinionId,
    pub hostname: String,
    pub account: Account,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub keyboard: Option<String>,
    pub wifi: Option<Wireless>,
    pub network: Network,
    pub boot: Boot,
    pub host_key: HostKey,
    /// New for each flash: by it cloud-init knows that it has not been here.
    pub instance: String,
    /// A password that nobody knows, where a system wants one.
    throwaway: Secret,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    /// Supplementary groups; `None`: those of the system's first user.
    pub groups: Option<Vec<String>>,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// A hash; `None`: no password.
    pub password: Option<Secret>,
    /// Becomes root without a password.
    pub sudo: bool,
}

/// A wireless network, its key derived from the passphrase.
#[derive(Clone, Debug)]
pub struct Wireless {
    pub ssid: String,
    /// 64 hexadecimal digits; `None`: open.
    pub key: Option<Secret>,
    pub country: Option<String>,
    pub hidden: bool,
}

/// What an identity needs beside the inventory.
pub struct Given<'a> {
    /// The user's home folder, for `~` and their public keys.
    pub home: &'a Path,
    /// What other paths are relative to: the project's folder.
    pub project: &'a Path,
    /// The hash of the account's password, where the card says `password: ask` ([`Identity::asks_password`], [`hash_password`]).
    pub password: Option<Secret>,
    pub host_key: HostKey,
}

/// The changes that make a card a minion's.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// On the FAT partition that is booted from.
    pub boot: Vec<Change>,
    /// On the ext4 root file system.
    pub root: Vec<Change>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Identity {
    /// # Errors
    /// Everything that the card says and cannot be: each with its place and what it should be.
    pub fn new(minion: &Minion, given: Given) -> Result<Identity> {
        let card = &minion.card;
        let mut errors = Vec::new();
        let at = if card.at.is_known() { card.at } else { minion.at };
        let hostname = card.hostname.clone().unwrap_or_else(|| {
            let label = minion.id.as_str().split('.').next().unwrap_or_default();
            label.to_lowercase()
        });
        if let Err(expected) = host_name(&hostname) {
            let error = Error::usage(format!(
                "`{hostname}`, of the id `{}`, cannot be a host name: it must be {expected}",
                minion.id
            ));
            errors.push(error.at(at).hint("`card: {hostname: ...}` names another"));
        }
        let name = card.user.clone().or_else(|| minion.user.clone()).unwrap_or_default();
        if name.is_empty() {
            let error = Error::usage(format!("there is no account for {} to be made with", minion.id));
            errors.push(
                error
                    .at(at)
                    .hint("`user:` names the account that picloud logs in to, `card: {user: ...}` another"),
            );
        } else if let Err(expected) = user_name(&name) {
            errors.push(Error::usage(format!("the user `{name}` cannot be made: it must be {expected}")).at(at));
        }
        let password = match &card.password {
            None => None,
            Some(CardPassword::Hash(hash)) => Some(hash.clone()),
            Some(CardPassword::Ask) => {
                if given.password.is_none() {
                    errors.push(Error::usage(format!("the password of {name}@{hostname} was not given")).at(at));
                }
                given.password.clone()
            }
        };
        let keys = keys::authorized(minion, given.home, given.project).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        if errors.is_empty() && keys.is_empty() && password.is_none() {
            let error = Error::usage(format!(
                "nobody could log in to {}: there is no public key for it and no password",
                minion.id
            ));
            errors.push(
                error
                    .at(at)
                    .hint("`ssh-keygen -t ed25519` makes a key; `card: {authorized_keys: ...}` names others"),
            );
        }
        let wifi = match &card.wifi {
            None => None,
            Some(wifi) => {
                let key = wifi
                    .psk
                    .as_ref()
                    .map(|psk| wireless_key(&wifi.ssid, psk, given.home, given.project));
                Some(Wireless {
                    ssid: wifi.ssid.clone(),
                    key: key.transpose().unwrap_or_else(|error| {
                        errors.push(error);
                        None
                    }),
                    country: wifi.country.clone(),
                    hidden: wifi.hidden,
                })
            }
        };
        Error::all(errors).map_or(Ok(()), |error| Err(error.minion(minion.id.as_str())))?;
        let hex = |bytes: [u8; 16]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        Ok(Identity {
            id: minion.id.clone(),
            account: Account {
                sudo: card.sudo.unwrap_or(minion.sudo == crate::inventory::Sudo::Yes),
                groups: card.groups.clone(),
                name,
                keys,
                password,
            },
            timezone: card.timezone.clone(),
            locale: card.locale.clone(),
            keyboard: card.keyboard.clone(),
            wifi,
            network: card.network.clone(),
            boot: card.boot.clone(),
            host_key: given.host_key,
            instance: format!("picloud-{hostname}-{}", &hex(host_key::random()?)[..16]),
            throwaway: Secret::new(hex(host_key::random()?)),
            hostname,
        })
    }

    /// Whether the user is to be asked for the password of the account that `minion`'s card makes.
    pub fn asks_password(minion: &Minion) -> bool {
        minion.card.password == Some(CardPassword::Ask)
    }

    /// The changes by which a system that is told by `method` becomes this minion, from what its files say now.
    ///
    /// # Errors
    /// A setting that such a system has no place for, or an image that lacks what the method stands on.
    pub fn edits(&self, method: Method, volumes: Volumes) -> Result<Edits> {
        let edits = match method {
            Method::CloudInit {
                place,
                dialect: Dialect::Hypriot,
            } => hypriot::edits(self, place, volumes),
            Method::CloudInit { place, dialect } => cloud_init::edits(self, place, dialect, volumes),
            Method::Firstrun => firstrun::edits(self, volumes),
            Method::RpiPreseed => preseed::edits(self, volumes),
            Method::Dietpi { place } => dietpi::edits(self, place, volumes),
            Method::Armbian => armbian::edits(self, volumes),
            Method::Arch => arch::edits(self, volumes),
            Method::None => Ok(Edits {
                notes: vec![format!(
                    "nothing is put on the card of {}: its host key will not be known",
                    self.id
                )],
                ..Edits::default()
            }),
        };
        edits.map_err(|error| error.minion(self.id.as_str()))
    }

    /// Words of the kernel's command line that the radio's country needs where nothing else tells it.
    fn regulatory_domain(&self) -> Vec<String> {
        let country = self.wifi.as_ref().and_then(|wifi| wifi.country.as_ref());
        country
            .map(|country| format!("cfg80211.ieee80211_regdom={country}"))
            .into_iter()
            .collect()
    }
}

/// The hash of a password as systems keep it: SHA-512 crypt.
///
/// # Errors
/// The system gives no random numbers.
pub fn hash_password(password: &Secret) -> Result<Secret> {
    use sha_crypt::PasswordHasher as _;
    let salt: [u8; 12] = host_key::random()?;
    let hasher = sha_crypt::ShaCrypt::default();
    let hash = hasher.hash_password_with_salt(password.reveal().as_bytes(), &salt);
    hash.map(|hash| Secret::new(hash.to_string()))
        .map_err(|e| Error::usage(format!("the password cannot be hashed: {e}")))
}

/// `path` with `~` resolved, relative to `project`.
fn resolved(path: &str, home: &Path, project: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => project.join(path),
    }
}

/// The key of a wireless network: 256 bits of the passphrase and the network's name (IEEE 802.11i, H.4.1). So the passphrase is
/// not on the card, and the key needs no quoting.
fn wireless_key(ssid: &str, given: &Psk, home: &Path, project: &Path) -> Result<Secret> {
    let text = match given {
        Psk::Given(secret) => secret.clone(),
        Psk::File(path, at) => {
            let text = std::fs::read_to_string(resolved(path, home, project))
                .map_err(|e| Error::usage(format!("cannot read the `psk_file` {path}: {e}")).at(*at))?;
            let text = Secret::new(text.trim_end_matches(['\r', '\n']));
            if let Err(expected) = psk(text.reveal()) {
                return Err(Error::usage(format!("the key in {path} must be {expected}")).at(*at));
            }
            text
        }
    };
    Ok(match text.reveal().len() {
        64 => Secret::new(text.reveal().to_lowercase()),
        _ => {
            let key = pbkdf2_sha1(text.reveal().as_bytes(), ssid.as_bytes(), 4096);
            Secret::new(key.iter().map(|b| format!("{b:02x}")).collect::<String>())
        }
    })
}

/// PBKDF2 (RFC 8018, 5.2) with HMAC-SHA-1, 32 bytes.
fn pbkdf2_sha1(password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mac = |data: &[&[u8]]| {
        // A key of any length will do for HMAC.
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(password).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        data.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().to_vec()
    };
    let mut out = Vec::new();
    for block in 1..=2u32 {
        let mut round = mac(&[salt, &block.to_be_bytes()]);
        let mut sum = round.clone();
        for _ in 1..rounds {
            round = mac(&[&round]);
            sum.iter_mut().zip(&round).for_each(|(sum, byte)| *sum ^= byte);
        }
        out.extend(sum);
    }
    out.truncate(32);
    out
}

/// Supplementary groups that a first user usually has; those that a system lacks are passed over.
const USUAL_GROUPS: [&str; 15] = [
    "adm", "audio", "cdrom", "dialout", "games", "gpio", "i2c", "input", "netdev", "plugdev", "render", "spi", "sudo", "users",
    "video",
];

/// A line of sudoers(5).
fn sudoers(name: &str) -> String {
    format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
}

/// `/etc/default/keyboard` of Debian and its kin, keyboard(5).
fn keyboard(layout: &str) -> String {
    format!("XKBMODEL=\"pc105\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"\"\nXKBOPTIONS=\"\"\n\nBACKSPACE=\"guess\"\n")
}
