//! The public keys that log in: those that the card names, or the public halves of the keys that connections use.

use super::resolved;
use crate::error::{Error, Pos, Result};
use crate::inventory::Minion;
use russh::keys::{Algorithm, PublicKey};
use std::path::Path;

/// The files of `~/.ssh` that `ssh-keygen` writes, the best first.
const USUAL: [&str; 5] = [
    "id_ed25519.pub",
    "id_ecdsa.pub",
    "id_ed25519_sk.pub",
    "id_ecdsa_sk.pub",
    "id_rsa.pub",
];

/// Lines for `authorized_keys`, each key once.
///
/// # Errors
/// A key or a file that the card names and that is no public key. A key of the minion's whose public half is nowhere.
pub(super) fn authorized(minion: &Minion, home: &Path, project: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    match &minion.card.authorized_keys {
        Some(named) => {
            for (text, at) in named {
                match one(text, *at, home, project) {
                    Ok(found) => lines.extend(found),
                    Err(error) => errors.push(error),
                }
            }
        }
        None => {
            for key in &minion.keys {
                match public_half(&resolved(key, home, project)) {
                    Some(line) => lines.push(line),
                    None => errors.push(
                        Error::usage(format!("the public half of the key {key} is not to be found"))
                            .at(minion.at)
                            .hint(format!(
                                "`ssh-keygen -y -f {key} >{key}.pub` makes it; `card: {{authorized_keys: ...}}` names others"
                            )),
                    ),
                }
            }
            for name in USUAL {
                let text = std::fs::read_to_string(home.join(".ssh").join(name)).unwrap_or_default();
                lines.extend(text.lines().filter_map(|line| plain(line).ok()));
            }
        }
    }
    Error::all(errors).map_or(Ok(()), Err)?;
    let mut seen: Vec<String> = Vec::new();
    lines.retain(|line| {
        let key: String = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    Ok(lines)
}

/// What the card names: a key, or a file of them.
fn one(text: &str, at: Pos, home: &Path, project: &Path) -> Result<Vec<String>> {
    let is_key = text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-");
    let lines = if is_key {
        text.trim().to_owned()
    } else {
        let path = resolved(text, home, project);
        std::fs::read_to_string(&path).map_err(|e| {
            Error::usage(format!("cannot read the public key {text}: {e}"))
                .at(at)
                .hint("write a key as it stands in a `.pub` file, or the path of one")
        })?
    };
    let mut keys = Vec::new();
    for line in lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        keys.push(plain(line).map_err(|why| {
            match is_key {
                true => Error::usage(format!("this is not a public key: {why}")).at(at),
                false => Error::usage(format!("{text} is not a public key: {why}"))
                    .at(at)
                    .hint("name the `.pub` file; the private key never leaves this machine"),
            }
        })?);
    }
    match keys.is_empty() {
        true => Err(Error::usage(format!("there is no public key in {text}")).at(at)),
        false => Ok(keys),
    }
}

/// A key as it is written, its comment without what could be taken for more than a comment.
fn plain(line: &str) -> Result<String, String> {
    if line.contains("PRIVATE KEY") {
        return Err("it is a private key".to_owned());
    }
    let key = PublicKey::from_openssh(line).map_err(|e| e.to_string())?;
    if matches!(key.algorithm(), Algorithm::Dsa) {
        return Err("no server takes DSA any more".to_owned());
    }
    let mut bare = key.clone();
    bare.set_comment("");
    let text = bare.to_openssh().map_err(|e| e.to_string())?;
    let safe = |c: &char| c.is_ascii_alphanumeric() || "@._+:/=-".contains(*c);
    let comment: String = key
        .comment()
        .as_str_lossy()
        .chars()
        .map(|c| if c.is_whitespace() { '-' } else { c })
        .filter(safe)
        .take(100)
        .collect();
    Ok(format!("{} {comment}", text.trim_end()).trim_end().to_owned())
}

/// The public half of the private key at `path`: what stands beside it, or in it.
fn public_half(path: &Path) -> Option<String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let text = std::fs::read_to_string(beside).ok().or_else(|| {
        let text = std::fs::read_to_string(path).ok()?;
        // OpenSSH's format has it in clear, whatever the passphrase; the file may be a public key itself.
        match russh::keys::PrivateKey::from_openssh(&text) {
            Ok(key) => key.public_key().to_openssh().ok(),
            Err(_) => Some(text),
        }
    })?;
    plain(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;
    use crate::inventory::MinionId;
    use russh::keys::ssh_key::LineEnding;

    fn key(seed: u8) -> russh::keys::PrivateKey {
        let host = super::super::HostKey::of_seed(&[seed; 32], "ana@laptop").unwrap();
        russh::keys::PrivateKey::from_openssh(host.private.reveal()).unwrap()
    }

    #[test]
    fn keys_are_those_that_connections_use() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let line = |seed| key(seed).public_key().to_openssh().unwrap();
        std::fs::write(home.path().join(".ssh/id_ed25519.pub"), line(1) + "\n").unwrap();
        std::fs::write(home.path().join("lab"), key(2).to_openssh(LineEnding::LF).unwrap().as_str()).unwrap();
        let mut minion = Minion::new(MinionId::new("pi3").unwrap(), "pi3");
        let keys = |minion: &Minion| authorized(minion, home.path(), home.path());
        assert_eq!(keys(&minion).unwrap(), [line(1)]);
        minion.keys = vec!["~/lab".into()];
        assert_eq!(keys(&minion).unwrap(), [line(2), line(1)]);
        minion.keys = vec!["~/gone".into()];
        assert_eq!(
            keys(&minion).unwrap_err().to_string(),
            "the public half of the key ~/gone is not to be found"
        );

        let at = Pos::new(FileId::of("minions.yaml"), 3, 5);
        for (named, expected) in [
            (line(3), Ok(vec![line(3)])),
            (".ssh/id_ed25519.pub".to_owned(), Ok(vec![line(1)])),
            (
                "lab".to_owned(),
                Err("minions.yaml:3:5: lab is not a public key: it is a private key"),
            ),
            (
                "ssh-ed25519 AAAA".to_owned(),
                Err("minions.yaml:3:5: this is not a public key: length invalid"),
            ),
            (
                "nowhere.pub".to_owned(),
                Err("minions.yaml:3:5: cannot read the public key nowhere.pub: No such file or directory (os error 2)"),
            ),
        ] {
            minion.card.authorized_keys = Some(vec![(named, at)]);
            let found = keys(&minion).map_err(|e| e.to_string());
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected)),
                Err(start) => assert!(
                    found
                        .as_ref()
                        .is_err_and(|e| e.starts_with(start.split("length").next().unwrap())),
                    "{found:?}"
                ),
            }
        }
    }

    #[test]
    fn comments_are_only_comments() {
        let mut public = key(1).public_key().clone();
        public.set_comment("it's $(me) \"at\" `home`");
        let line = plain(&public.to_openssh().unwrap()).unwrap();
        assert!(line.ends_with(" its-me-at-home"), "{line}");
    }
}
