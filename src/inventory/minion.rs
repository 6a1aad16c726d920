//! A minion as the inventory describes it.

use super::card::Card;
use crate::error::{Error, Pos, Result};
use crate::yaml::Value;
use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

/// A minion's name: letters, digits, `.`, `-` and `_`, beginning with a letter or digit, at most 253 of them. So it can stand in
/// file names, host names and reports without being quoted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MinionId(String);

impl MinionId {
    /// # Errors
    /// `id` has other characters in it, is empty or is too long.
    pub fn new(id: impl Into<String>) -> Result<MinionId> {
        let id = id.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let wrong = match id.chars().next() {
            None => "a minion's id must not be empty".to_owned(),
            Some(first) if !first.is_ascii_alphanumeric() && plain(first) => {
                format!("the minion id `{id}` must begin with a letter or a digit")
            }
            Some(_) if id.len() > 253 => format!(
                "the minion id `{}...` is longer than 253 characters",
                &id.chars().take(20).collect::<String>()
            ),
            Some(_) => match id.chars().find(|c| !plain(*c)) {
                Some(c) => format!("the minion id `{id}` has a {c:?} in it"),
                None => return Ok(MinionId(id)),
            },
        };
        Err(Error::usage(wrong).hint("ids are made of letters, digits, `.`, `-` and `_`"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MinionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for MinionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Borrow<str> for MinionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for MinionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A machine that picloud manages. `None` leaves a choice to `~/.ssh/config` and the defaults of SSH.
#[derive(Clone, Debug)]
pub struct Minion {
    pub id: MinionId,
    /// Where the inventory names it.
    pub at: Pos,
    /// A host name, an IP address, or a `Host` of `~/.ssh/config`; the id where nothing else was said.
    pub address: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// Private keys to try, in this order, as written (`~` is not resolved).
    pub keys: Vec<String>,
    pub password: Option<Password>,
    pub sudo: Sudo,
    /// Who to become by sudo; root where not said.
    pub sudo_user: Option<String>,
    /// Hosts to go through, the first one first.
    pub jump: Vec<Jump>,
    /// How long connecting may take.
    pub timeout: Option<Duration>,
    /// The name under which its host key is kept in `known_hosts`.
    pub host_key_alias: Option<String>,
    /// The POSIX shell to start on it; `sh` where not said.
    pub shell: Option<String>,
    /// Laid over what is observed. Always a mapping.
    pub grains: Value,
    /// Laid over its pillar. Always a mapping.
    pub pillar: Value,
    /// The OS image that is written to its card: a name in `images/`.
    pub image: Option<String>,
    /// Who the system on it is to be at its first boot.
    pub card: Card,
}

impl Minion {
    /// A minion of which nothing but its id and address is known.
    pub fn new(id: MinionId, address: impl Into<String>) -> Minion {
        Minion {
            id,
            at: Pos::default(),
            address: address.into(),
            port: None,
            user: None,
            keys: Vec::new(),
            password: None,
            sudo: Sudo::No,
            sudo_user: None,
            jump: Vec::new(),
            timeout: None,
            host_key_alias: None,
            shell: None,
            grains: Value::map(),
            pillar: Value::map(),
            image: None,
            card: Card::default(),
        }
    }
}

/// Whether and how a session becomes root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sudo {
    #[default]
    No,
    /// `sudo -n`: never asks.
    Yes,
    /// `sudo -S`: a password is asked for once per run and never stored.
    Password,
}

/// An SSH password.
#[derive(Clone, Debug)]
pub enum Password {
    /// Asked for once per run and never stored.
    Ask,
    /// Written in the inventory.
    Given(Secret),
}

/// A string that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A host on the way to a minion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Jump {
    /// Another minion of the inventory, reached as it says there.
    Minion(MinionId),
    Host {
        user: Option<String>,
        /// A host name, an IP address, or a `Host` of `~/.ssh/config`.
        host: String,
        port: Option<u16>,
    },
}

impl Jump {
    /// Reads `user@host:port`, `[2001:db8::1]:22`, `host`. Whether a bare name is a minion is for the inventory to say.
    ///
    /// # Errors
    /// No host, or a port that is none.
    pub fn parse(text: &str) -> Result<Jump> {
        let wrong = |why: &str| {
            Error::usage(format!("`{text}`: {why}")).hint("a jump host is written `user@host:port` or named by its minion id")
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some(("", _)) => return Err(wrong("there is no user before the `@`")),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (
                host,
                Some(
                    port.strip_prefix(':')
                        .ok_or_else(|| wrong("a `:` and a port must follow the `]`"))?,
                ),
            ),
            None => match rest.split_once(':') {
                // More than one colon: an IPv6 address without brackets.
                Some((_, more)) if more.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) || host.starts_with('-') {
            return Err(wrong("there is no host in it"));
        }
        let port = match port {
            Some(port) => Some(
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?,
            ),
            None => None,
        };
        Ok(Jump::Host {
            user,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Jump::Minion(id) => id.fmt(f),
            Jump::Host { user, host, port } => {
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match port {
                    Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
                    Some(port) => write!(f, "{host}:{port}"),
                    None => f.write_str(host),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_words() {
        for good in ["pi0", "web-1.example.org", "9", "a_b"] {
            assert!(MinionId::new(good).is_ok(), "{good}");
        }
        for (id, expected) in [
            ("", "a minion's id must not be empty"),
            ("-x", "the minion id `-x` must begin with a letter or a digit"),
            ("../etc", "the minion id `../etc` must begin with a letter or a digit"),
            ("a b", "the minion id `a b` has a ' ' in it"),
            ("a/b", "the minion id `a/b` has a '/' in it"),
            ("pië", "the minion id `pië` has a 'ë' in it"),
        ] {
            assert_eq!(MinionId::new(id).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn jump_hosts_are_read() {
        let host = |user: Option<&str>, host: &str, port| Jump::Host {
            user: user.map(str::to_owned),
            host: host.into(),
            port,
        };
        for (text, expected) in [
            ("bastion", host(None, "bastion", None)),
            (
                "pi@bastion.example.org:2222",
                host(Some("pi"), "bastion.example.org", Some(2222)),
            ),
            ("pi@[2001:db8::1]:22", host(Some("pi"), "2001:db8::1", Some(22))),
            ("2001:db8::1", host(None, "2001:db8::1", None)),
        ] {
            let jump = Jump::parse(text).unwrap();
            assert_eq!(jump, expected);
            assert_eq!(jump.to_string(), text);
        }
        for text in ["", "@host", "user@", "host:0", "host:ssh", "[::1]22", "-oProxyCommand=x"] {
            assert!(Jump::parse(text).is_err(), "{text}");
        }
    }
}
