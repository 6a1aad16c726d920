//! Lines put into `known_hosts` files. All others stay as they are, comments and what cannot be read among them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use russh::keys::PublicKey;
use rustix::fs::{FlockOperation, flock};

use super::{HostName, Hosts, Marker, hmac, parse_line};
use crate::error::{Error, Pos, Result};

/// Adds the line that makes `key` known for `name` to `file`; `hashed` hides the name in it, as `HashKnownHosts` does.
///
/// The file is replaced as a whole, keeps its mode, and is made with mode 0600 where there is none (and its folder with 0700).
///
/// # Errors
/// The file cannot be read or written; the system gives no random numbers for the hash.
pub fn append(file: &Path, name: &HostName, key: &PublicKey, hashed: bool) -> Result<()> {
    let host = match hashed {
        false => name.text(),
        true => {
            let mut salt = [0; 20];
            getrandom::fill(&mut salt).map_err(|e| failed(file, &e))?;
            let hash = BASE64_STANDARD.encode(hmac(&salt, &name.text()));
            format!("|1|{}|{hash}", BASE64_STANDARD.encode(salt))
        }
    };
    let line = format!("{host} {}\n", encoded(file, key)?);
    rewrite(file, |text| put(text, None, &line))
}

/// Makes `key` the only one that `file` has under `name`, plain or hashed: old keys of just that name go, the other names of
/// their lines stay. Patterns that mean more than this host, authorities and revoked keys are left alone.
///
/// # Errors
/// As [`append`]; `name` has characters that no line can hold.
pub fn pin(file: &Path, name: &HostName, key: &PublicKey, comment: &str) -> Result<()> {
    if !is_plain(name) {
        return Err(Error::usage(format!("`{}` cannot stand in a known_hosts file", name.text()))
            .hint("give the minion an address without `*`, `?`, `!`, `,` and spaces in it, or a `host_key_alias`"));
    }
    let name = name.text();
    let line = format!("{name} {} {comment}\n", encoded(file, key)?);
    rewrite(file, |text| {
        let mut place = None;
        let mut kept = Vec::with_capacity(text.len());
        for old in text.split_inclusive(|b| *b == b'\n') {
            match std::str::from_utf8(old).ok().and_then(|old| without(old, &name)) {
                None => kept.extend_from_slice(old),
                Some(rest) => {
                    kept.extend_from_slice(rest.as_bytes());
                    place.get_or_insert(kept.len());
                }
            }
        }
        *text = kept;
        put(text, place, &line);
    })
}

/// Makes `key` an authority for the hosts `names` and no others: the line for it that has the same `comment` is replaced, and
/// goes where there is no name. Lines with other comments are the user's.
///
/// # Errors
/// As [`append`].
pub fn set_authority(file: &Path, names: &[HostName], key: &PublicKey, comment: &str) -> Result<()> {
    let mut hosts: Vec<String> = names.iter().filter(|name| is_plain(name)).map(HostName::text).collect();
    hosts.sort();
    hosts.dedup();
    let key_text = encoded(file, key)?;
    let line = match hosts.is_empty() {
        true => String::new(),
        false => format!("@cert-authority {} {key_text} {comment}\n", hosts.join(",")),
    };
    let is_ours = |old: &str| {
        parse_line(old, Pos::default()).is_some_and(|line| line.marker == Marker::Authority)
            && old.trim_end().ends_with(&format!("{key_text} {comment}"))
    };
    rewrite(file, |text| {
        let mut place = None;
        let mut kept = Vec::with_capacity(text.len());
        for old in text.split_inclusive(|b| *b == b'\n') {
            match std::str::from_utf8(old).is_ok_and(is_ours) {
                true => {
                    place.get_or_insert(kept.len());
                }
                false => kept.extend_from_slice(old),
            }
        }
        *text = kept;
        put(text, place, &line);
    })
}

/// What is left of a line with a key of `name` when that name is taken out of it, with the end of the line; `None` where it has
/// none.
fn without(line: &str, name: &str) -> Option<String> {
    let parsed = parse_line(line, Pos::default()).filter(|line| line.marker == Marker::None)?;
    let patterns = match parsed.hosts {
        Hosts::Hashed { salt, hash } => return (hmac(&salt, name) == hash).then(String::new),
        Hosts::Patterns(patterns) => patterns,
    };
    if !patterns.iter().any(|(not, pattern)| !not && pattern == name) {
        return None;
    }
    let column = line.split_ascii_whitespace().next()?;
    let others: Vec<&str> = column
        .split(',')
        .filter(|pattern| !pattern.is_empty() && pattern.to_lowercase() != name)
        .collect();
    // Exceptions alone match nothing.
    match others.iter().any(|pattern| !pattern.starts_with('!')) {
        true => Some(line.replacen(column, &others.join(","), 1)),
        false => Some(String::new()),
    }
}

/// Whether the name means itself alone in a line.
fn is_plain(name: &HostName) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "*?!,|#@".contains(c);
    !name.host().is_empty() && !name.host().contains(odd)
}

/// Puts `line` at `place`, or at the end.
fn put(text: &mut Vec<u8>, place: Option<usize>, line: &str) {
    let place = place.unwrap_or(text.len());
    let before = place.checked_sub(1).and_then(|before| text.get(before));
    let new_line = if before.is_some_and(|b| *b != b'\n') && !line.is_empty() {
        "\n"
    } else {
        ""
    };
    text.splice(place..place, format!("{new_line}{line}").into_bytes());
}

fn encoded(file: &Path, key: &PublicKey) -> Result<String> {
    let mut plain = key.clone();
    plain.set_comment("");
    let text = plain.to_openssh().map_err(|e| failed(file, &e))?;
    Ok(text.trim_end().to_owned())
}

fn failed(file: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("failed to write host keys to {}: {e}", file.display()))
}

/// Replaces `file` as a whole by what `change` makes of it: its readers see the old text or the new one.
fn rewrite(file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    // A link is kept, and what it points to replaced.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let failed = |e: &dyn std::fmt::Display| failed(&file, e);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&folder).map_err(|e| failed(&e))?;
    }
    // Cards that are flashed at once have their keys pinned at once: none may write what another has not seen. The lock ends
    // with the descriptor. Where folders cannot be locked, the last one wins, as ever.
    let lock = std::fs::File::open(&folder).map_err(|e| failed(&e))?;
    let _ = flock(&lock, FlockOperation::LockExclusive);
    let (old, mode) = match std::fs::File::open(&file) {
        Ok(mut old) => {
            let mut text = Vec::new();
            old.read_to_end(&mut text).map_err(|e| failed(&e))?;
            (text, old.metadata().map_err(|e| failed(&e))?.permissions().mode() & 0o7777)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => (Vec::new(), 0o600),
        Err(e) => return Err(failed(&e)),
    };
    let mut text = old.clone();
    change(&mut text);
    if text == old {
        return Ok(());
    }
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(".known_hosts.")
        .permissions(std::fs::Permissions::from_mode(0o600));
    let mut new = builder.tempfile_in(&folder).map_err(|e| failed(&e))?;
    new.write_all(&text).map_err(|e| failed(&e))?;
    new.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(|e| failed(&e))?;
    new.as_file().sync_all().map_err(|e| failed(&e))?;
    new.persist(&file).map_err(|e| failed(&e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::{KnownHosts, Verdict};

    const A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn key(base64: &str) -> PublicKey {
        PublicKey::from_openssh(&format!("ssh-ed25519 {base64} a comment")).unwrap()
    }

    fn mode(file: &Path) -> u32 {
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_line_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/known_hosts");
        append(&file, &HostName::new("pi0", 22), &key(A), false).unwrap();
        assert_eq!(
            (std::fs::read_to_string(&file).unwrap(), mode(&file)),
            (format!("pi0 ssh-ed25519 {A}\n"), 0o600)
        );

        std::fs::write(&file, "# mine").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        append(&file, &HostName::new("pi0", 2222), &key(A), false).unwrap();
        append(&file, &HostName::new("pi1", 22), &key(B), true).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with(&format!("# mine\n[pi0]:2222 ssh-ed25519 {A}\n|1|")),
            "{text}"
        );
        assert_eq!((text.contains("pi1"), mode(&file)), (false, 0o644));
        let known = KnownHosts::read(None, [file.as_path()]).unwrap();
        assert_eq!(known.check(&HostName::new("pi1", 22), &key(B).into(), 0), Verdict::Known);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_pinned_key_replaces_those_of_its_name_and_no_others() {
        let hash = |name: &str| {
            let salt = [9; 20];
            format!(
                "|1|{}|{}",
                BASE64_STANDARD.encode(salt),
                BASE64_STANDARD.encode(hmac(&salt, name))
            )
        };
        // NEW is the new line, A an ed25519 key.
        for (old, host, port, expected) in [
            ("", "pi0", 22, "NEW"),
            ("# mine", "pi0", 22, "# mine\nNEW"),
            ("# mine\n\npi1 A\n", "PI0", 22, "# mine\n\npi1 A\nNEW"),
            ("pi1 A\npi0 A an old one\npi2 A\n", "pi0", 22, "pi1 A\nNEWpi2 A\n"),
            ("pi0 A\n# x\npi0 ecdsa-sha2-nistp256 AAAA\nPi0 A", "pi0", 22, "NEW# x\n"),
            // Other names of the line keep their key.
            ("a,pi0,10.0.0.7 A x  y\npi2 A\n", "pi0", 22, "a,10.0.0.7 A x  y\nNEWpi2 A\n"),
            (" pi0,a A", "pi0", 22, " a A\nNEW"),
            ("pi0,!pi1 A\n", "pi0", 22, "NEW"),
            // What means more than this host is the user's business.
            (
                "pi* A\n*,!pi0 A\n!pi0,a A\n@revoked pi0 A\n@cert-authority pi0 A\n",
                "pi0",
                22,
                "pi* A\n*,!pi0 A\n!pi0,a A\n@revoked pi0 A\n@cert-authority pi0 A\nNEW",
            ),
            // So is what cannot be read.
            (
                "pi0\npi0 ssh-ed25519 !!!\n@other pi0 A\n",
                "pi0",
                22,
                "pi0\npi0 ssh-ed25519 !!!\n@other pi0 A\nNEW",
            ),
            // Ports make other names.
            ("pi0 A\n[pi0]:2222 A\n[pi0]:22 A\n", "pi0", 2222, "pi0 A\nNEW[pi0]:22 A\n"),
            ("pi0 A\n[pi0]:2222 A\n", "pi0", 22, "NEW[pi0]:2222 A\n"),
            (
                "2001:db8::1 A\n[2001:db8::1]:2222 A\n",
                "2001:DB8::1",
                22,
                "NEW[2001:db8::1]:2222 A\n",
            ),
            ("HASH(pi1) A\nHASH(pi0) A\n", "pi0", 22, "HASH(pi1) A\nNEW"),
            ("HASH([pi0]:2222) A\nHASH(pi0) A\n", "pi0", 2222, "NEWHASH(pi0) A\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("known_hosts");
            let name = HostName::new(host, port);
            let full = |text: &str| {
                let words = text.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
                    "A" => word.replace('A', &format!("ssh-ed25519 {A}")),
                    _ => word.to_owned(),
                });
                let mut text: String = words.collect();
                for name in ["pi0", "pi1", "[pi0]:2222"] {
                    text = text.replace(&format!("HASH({name})"), &hash(name));
                }
                text.replace("NEW", &format!("{} ssh-ed25519 {B} pi0\n", name.text()))
            };
            std::fs::write(&file, full(old)).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
            pin(&file, &name, &key(B), "pi0").unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), full(expected), "{old:?}");
            assert_eq!(mode(&file), 0o644);
            // Once more changes nothing but the place.
            pin(&file, &name, &key(B), "pi0").unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text.matches(&full("NEW")).count(), 1, "{text}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn names_that_would_mean_more_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        for host in ["", "*", "pi?", "a,b", "!a", "a b", "a\nb", "|1|a|b", "#a", "@revoked"] {
            let error = pin(&file, &HostName::new(host, 22), &key(A), "pi0").unwrap_err();
            assert!(error.to_string().contains("cannot stand in a known_hosts file"), "{error}");
        }
        assert!(!file.exists());
    }

    #[test]
    fn bytes_of_others_are_kept_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let [file, real] = ["known_hosts", "real"].map(|name| folder.path().join(name));
        let odd = b"\xff\xfe pi0\r\n".to_vec();
        std::fs::write(&real, &odd).unwrap();
        std::os::unix::fs::symlink("real", &file).unwrap();
        pin(&file, &HostName::new("pi0", 22), &key(A), "pi0").unwrap();
        let text = std::fs::read(&real).unwrap();
        assert!(text.starts_with(&odd) && text.ends_with(b" pi0\n"));
        assert!(file.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn keys_that_are_pinned_at_once_all_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let file = &file;
                scope.spawn(move || pin(file, &HostName::new(&format!("pi{number}"), 22), &key(A), "x").unwrap());
            }
        });
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 16);
    }

    #[test]
    fn the_line_of_an_authority_is_kept_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(
            &file,
            format!("pi9 ssh-ed25519 {B}\n@cert-authority *.lan ssh-ed25519 {A} mine\n"),
        )
        .unwrap();
        let before = std::fs::read_to_string(&file).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| HostName::new(name, 22)).collect::<Vec<_>>();
        let set = |hosts: &[&str]| {
            set_authority(&file, &names(hosts), &key(A), "picloud").unwrap();
            std::fs::read_to_string(&file)
                .unwrap()
                .strip_prefix(&before)
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            set(&["pi1", "pi0", "pi*", "pi1"]),
            format!("@cert-authority pi0,pi1 ssh-ed25519 {A} picloud\n")
        );
        append(&file, &HostName::new("pi7", 22), &key(B), false).unwrap();
        assert_eq!(
            set(&["pi2"]),
            format!("@cert-authority pi2 ssh-ed25519 {A} picloud\npi7 ssh-ed25519 {B}\n")
        );
        assert_eq!(set(&[]), format!("pi7 ssh-ed25519 {B}\n"));
    }
}
