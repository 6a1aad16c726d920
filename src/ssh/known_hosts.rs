//! `known_hosts` files: which keys a host is known by, and (in [`edit`]) lines put into them. Knows no connection.
//!
//! The format is that of `sshd(8)`, "SSH_KNOWN_HOSTS FILE FORMAT", and the verdicts are OpenSSH's. Keys are compared by their
//! encoding alone: comments do not matter, and a key of a kind that this program cannot use can still be known or revoked.

pub mod edit;

use std::borrow::Cow;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::error::{Error, FileId, Pos, Result};

/// A host as `known_hosts` files name it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostName {
    /// Lower case: host names have no case, and OpenSSH folds both sides.
    host: String,
    port: u16,
}

impl HostName {
    /// `host` as the user named it (not the address that it stands for). A `HostKeyAlias` is a host without a port: give 22.
    pub fn new(host: &str, port: u16) -> HostName {
        HostName {
            host: host.to_lowercase(),
            port,
        }
    }

    /// The host without the port: what a certificate must be for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name in a line: `host`, or `[host]:port` where the port is not 22.
    pub fn text(&self) -> String {
        match self.port {
            22 => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marker {
    None,
    Authority,
    Revoked,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Hosts {
    /// Patterns with `*` and `?`, in lower case; `true` for those behind a `!`.
    Patterns(Vec<(bool, String)>),
    Hashed {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
}

impl Hosts {
    /// One column of a line; `None` where it is malformed.
    fn parse(column: &str) -> Option<Hosts> {
        let Some(hashed) = column.strip_prefix("|1|") else {
            let patterns =
                column
                    .split(',')
                    .filter(|pattern| !pattern.is_empty())
                    .map(|pattern| match pattern.strip_prefix('!') {
                        Some(not) => (true, not.to_lowercase()),
                        None => (false, pattern.to_lowercase()),
                    });
            return Some(Hosts::Patterns(patterns.collect()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        Some(Hosts::Hashed {
            salt: BASE64_STANDARD.decode(salt).ok()?,
            hash: BASE64_STANDARD.decode(hash).ok()?,
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Hosts::Patterns(patterns) => {
                let mut hits = patterns
                    .iter()
                    .filter(|(_, pattern)| wild(pattern.as_bytes(), name.as_bytes()))
                    .peekable();
                hits.peek().is_some() && hits.all(|(not, _)| !not)
            }
            Hosts::Hashed { salt, hash } => hmac(salt, name) == *hash,
        }
    }
}

fn hmac(salt: &[u8], name: &str) -> Vec<u8> {
    // A key of any length will do for HMAC.
    match Hmac::<sha1::Sha1>::new_from_slice(salt) {
        Ok(mut mac) => {
            mac.update(name.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        Err(_) => Vec::new(),
    }
}

/// Whether `pattern` with `*` and `?` matches all of `text`, in time of the order of their product at worst.
pub(super) fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit: the star takes one more.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    p = after;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    at: Pos,
    marker: Marker,
    hosts: Hosts,
    algorithm: String,
    key: Vec<u8>,
}

/// What the files say of a host's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Known,
    /// No line is about this host.
    Unknown,
    /// The host is known by other keys: the first line that says so.
    Changed {
        at: Pos,
    },
    Revoked {
        at: Pos,
    },
    /// A certificate of a trusted authority that does not hold for this host or this time: why.
    Invalid {
        at: Pos,
        why: String,
    },
}

/// The lines of all files that count, in their order.
///
/// Those of the project come before the user's: a host that the project's file has a key for is known by that alone, whatever
/// else the user's files have of it. So a minion that was set up anew is not taken for an impostor because of its past, and what
/// a team shares holds for all of it. A revoked key is revoked, wherever that stands.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
    /// How many of them, from the first, are the project's.
    of_project: usize,
}

impl KnownHosts {
    /// Reads the project's file and the user's; one that is not there is empty.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn read<'a>(project: Option<&'a Path>, files: impl IntoIterator<Item = &'a Path>) -> Result<KnownHosts> {
        let mut known = KnownHosts::default();
        if let Some(project) = project {
            known.file(project)?;
            known.of_project = known.lines.len();
        }
        for path in files.into_iter().filter(|path| Some(*path) != project) {
            known.file(path)?;
        }
        Ok(known)
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        match std::fs::read(path) {
            Ok(bytes) => self.parse(FileId::of(&path.display().to_string()), &bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::usage(format!("failed to read {}: {e}", path.display()))),
        }
        Ok(())
    }

    /// Adds the lines of one file. Those that are malformed are passed over, as OpenSSH does.
    pub fn parse(&mut self, file: FileId, bytes: &[u8]) {
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let at = Pos::new(file, number as u32 + 1, 0);
            if let Some(line) = std::str::from_utf8(line).ok().and_then(|line| parse_line(line, at)) {
                self.lines.push(line);
            }
        }
    }

    fn matching(&self, name: &HostName) -> impl Iterator<Item = &Line> {
        let name = name.text();
        self.lines.iter().filter(move |line| line.hosts.matches(&name))
    }

    /// The lines with keys of `name` itself: the project's alone, if it has any.
    fn plain(&self, name: &HostName) -> Vec<&Line> {
        let name = name.text();
        let is_plain = |line: &&Line| line.marker == Marker::None && line.hosts.matches(&name);
        let pinned: Vec<&Line> = self.lines[..self.of_project].iter().filter(is_plain).collect();
        match pinned.is_empty() {
            true => self.lines.iter().filter(is_plain).collect(),
            false => pinned,
        }
    }

    /// The names of the algorithms of the keys that the host is known by: a server is asked for one of these first, as any
    /// other key of it would count as changed.
    pub fn algorithms(&self, name: &HostName) -> Vec<&str> {
        self.plain(name).into_iter().map(|line| line.algorithm.as_str()).collect()
    }

    /// Whether certificates count for this host: there is an authority for it.
    pub fn has_authority(&self, name: &HostName) -> bool {
        self.matching(name).any(|line| line.marker == Marker::Authority)
    }

    /// What is known of `key`, which `name` has shown, at the time `now` (seconds since 1970).
    pub fn check(&self, name: &HostName, key: &PublicKeyOrCertificate, now: u64) -> Verdict {
        let Ok(plain) = key.public_key().to_bytes() else {
            return Verdict::Unknown;
        };
        let certificate = key.certificate();
        let authority = certificate.and_then(|c| PublicKey::new(c.signature_key().clone(), "").to_bytes().ok());
        if let Some(line) = self.matching(name).find(|line| {
            line.marker == Marker::Revoked && (line.key == plain || authority.as_ref().is_some_and(|key| line.key == *key))
        }) {
            return Verdict::Revoked { at: line.at };
        }
        if let (Some(certificate), Some(authority)) = (certificate, authority) {
            let trusted = self
                .matching(name)
                .find(|line| line.marker == Marker::Authority && line.key == authority);
            if let Some(line) = trusted {
                return match check_certificate(certificate, &name.host, now) {
                    Ok(()) => Verdict::Known,
                    Err(why) => Verdict::Invalid {
                        at: line.at,
                        why: why.into_owned(),
                    },
                };
            }
            // Of an authority that nobody trusts: its key may still be known as such.
        }
        match self.check_plain(name, &plain) {
            // OpenSSH takes a key that is known for the host's port 22 too.
            Verdict::Unknown if name.port != 22 => match self.check_plain(&HostName::new(&name.host, 22), &plain) {
                Verdict::Known => Verdict::Known,
                _ => Verdict::Unknown,
            },
            verdict => verdict,
        }
    }

    fn check_plain(&self, name: &HostName, key: &[u8]) -> Verdict {
        let lines = self.plain(name);
        match lines.first() {
            None => Verdict::Unknown,
            Some(_) if lines.iter().any(|line| line.key == key) => Verdict::Known,
            Some(line) => Verdict::Changed { at: line.at },
        }
    }
}

fn parse_line(line: &str, at: Pos) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let mut word = words.next()?;
    if word.starts_with('#') {
        return None;
    }
    let marker = match word {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        _ if word.starts_with('@') => return None,
        _ => Marker::None,
    };
    if marker != Marker::None {
        word = words.next()?;
    }
    let hosts = Hosts::parse(word)?;
    let algorithm = words.next()?.to_owned();
    let key = BASE64_STANDARD.decode(words.next()?).ok()?;
    Some(Line {
        at,
        marker,
        hosts,
        algorithm,
        key,
    })
}

/// The rules of OpenSSH's PROTOCOL.certkeys for a host's certificate of an authority that is trusted.
fn check_certificate(certificate: &Certificate, host: &str, now: u64) -> Result<(), Cow<'static, str>> {
    if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
        return Err("it is signed with SHA-1".into());
    }
    certificate.verify_signature().map_err(|_| "its signature is wrong")?;
    if certificate.cert_type() != CertType::Host {
        return Err("it is not a host certificate".into());
    }
    if now < certificate.valid_after() {
        return Err("it is not valid yet (is this machine's clock right?)".into());
    }
    if now >= certificate.valid_before() {
        return Err("it has expired".into());
    }
    if certificate.critical_options().iter().next().is_some() {
        return Err("it has a critical option, and none is known for hosts".into());
    }
    let principals = certificate.valid_principals();
    match principals.iter().any(|p| wild(p.to_lowercase().as_bytes(), host.as_bytes())) {
        true => Ok(()),
        false => Err(format!("it is for {}, not for {host}", principals.join(", ")).into()),
    }
}

/// A key as users compare it: `SHA256:...` and the kind of key.
pub fn fingerprint(key: &PublicKey) -> String {
    format!("{} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    const A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn key(base64: &str) -> PublicKey {
        PublicKey::from_openssh(&format!("ssh-ed25519 {base64} a comment")).unwrap()
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.parse(FileId::of("known_hosts"), text.as_bytes());
        known
    }

    fn verdict(file: &str, host: &str, port: u16, key: &PublicKey) -> String {
        match known(file).check(&HostName::new(host, port), &key.clone().into(), 0) {
            Verdict::Known => "known".into(),
            Verdict::Unknown => "unknown".into(),
            Verdict::Changed { at } => format!("changed {at}"),
            Verdict::Revoked { at } => format!("revoked {at}"),
            Verdict::Invalid { at, why } => format!("invalid {at}: {why}"),
        }
    }

    #[test]
    fn lines_are_matched_as_openssh_does() {
        for (line, host, port, expected) in [
            ("pi0 ssh-ed25519 A", "pi0", 22, "known"),
            ("pi0 ssh-ed25519 A with a comment", "PI0", 22, "known"),
            ("PI0 ssh-ed25519 A", "pi0", 22, "known"),
            ("pi0 ssh-ed25519 A", "pi1", 22, "unknown"),
            ("pi0 ssh-ed25519 B", "pi0", 22, "changed known_hosts:1"),
            ("# x\n\npi0 ssh-ed25519 B\npi0 ssh-ed25519 A", "pi0", 22, "known"),
            (
                "pi1 ssh-ed25519 A\npi0 ecdsa-sha2-nistp256 AAAA",
                "pi0",
                22,
                "changed known_hosts:2",
            ),
            ("a,pi0,10.0.0.7 ssh-ed25519 A", "10.0.0.7", 22, "known"),
            ("pi* ssh-ed25519 A", "pi17", 22, "known"),
            ("pi? ssh-ed25519 A", "pi17", 22, "unknown"),
            ("*,!pi0 ssh-ed25519 A", "pi0", 22, "unknown"),
            ("!pi0,* ssh-ed25519 A", "pi0", 22, "unknown"),
            ("!pi0 ssh-ed25519 A", "pi1", 22, "unknown"),
            ("[pi0]:2222 ssh-ed25519 A", "pi0", 2222, "known"),
            ("[pi0]:2222 ssh-ed25519 A", "pi0", 22, "unknown"),
            ("[pi*]:2222 ssh-ed25519 A", "pi0", 2222, "known"),
            // A key that is known at port 22 is good at any other, but none is called changed for that.
            ("pi0 ssh-ed25519 A", "pi0", 2222, "known"),
            ("pi0 ssh-ed25519 B", "pi0", 2222, "unknown"),
            ("@revoked * ssh-ed25519 A", "pi0", 22, "revoked known_hosts:1"),
            (
                "pi0 ssh-ed25519 A\n@revoked pi* ssh-ed25519 A",
                "pi0",
                22,
                "revoked known_hosts:2",
            ),
            ("@revoked pi1 ssh-ed25519 A", "pi0", 22, "unknown"),
            ("@revoked * ssh-ed25519 B\npi0 ssh-ed25519 A", "pi0", 22, "known"),
            // An authority is not a host's key, nor is a marker of another kind.
            ("@cert-authority * ssh-ed25519 A", "pi0", 22, "unknown"),
            ("@other pi0 ssh-ed25519 A", "pi0", 22, "unknown"),
            ("|1|AQIDBAUGBwgJCgsMDQ4PEBESExQ=|HASH ssh-ed25519 A", "pi0", 22, "known"),
            ("|1|AQIDBAUGBwgJCgsMDQ4PEBESExQ=|HASH ssh-ed25519 A", "pi1", 22, "unknown"),
            ("|1|%%|HASH ssh-ed25519 A", "pi0", 22, "unknown"),
            ("pi0 ssh-ed25519", "pi0", 22, "unknown"),
            ("pi0 ssh-ed25519 !!!", "pi0", 22, "unknown"),
            ("pi0", "pi0", 22, "unknown"),
            ("@revoked", "pi0", 22, "unknown"),
        ] {
            let hash = BASE64_STANDARD.encode(hmac(&(1..=20).collect::<Vec<u8>>(), "pi0"));
            let line: Vec<String> = line
                .split(' ')
                .map(|word| match word.split_once('\n') {
                    Some(("A", rest)) => format!("{A}\n{rest}"),
                    Some(("B", rest)) => format!("{B}\n{rest}"),
                    _ if word == "A" => A.into(),
                    _ if word == "B" => B.into(),
                    _ => word.replace("HASH", &hash),
                })
                .collect();
            let line = line.join(" ");
            assert_eq!(verdict(&line, host, port, &key(A)), expected, "{line}");
        }
    }

    #[test]
    fn what_the_project_says_of_a_host_decides() {
        let folder = tempfile::tempdir().unwrap();
        let [project, user] = ["project", "user"].map(|name| folder.path().join(name));
        let hashed = format!(
            "|1|{}|{}",
            BASE64_STANDARD.encode([7; 20]),
            BASE64_STANDARD.encode(hmac(&[7; 20], "pi0"))
        );
        for (of_project, of_user, port, expected) in [
            // The minion was set up anew: its old key, which the user knows, does not count.
            ("pi0 ssh-ed25519 A", "pi0 ssh-ed25519 B", 22, "known"),
            ("pi0 ssh-ed25519 A", "pi0 ecdsa-sha2-nistp256 AAAA", 22, "known"),
            ("HASHED ssh-ed25519 A", "pi0 ssh-ed25519 B", 22, "known"),
            ("pi* ssh-ed25519 A", "pi0 ssh-ed25519 B", 22, "known"),
            // Nor does it open the door to what showed the old one, or any other that only the user knows.
            ("pi0 ssh-ed25519 B", "pi0 ssh-ed25519 A", 22, "changed project:1"),
            ("# x\npi0 ssh-ed25519 B", "", 22, "changed project:2"),
            // A project that says nothing of it leaves it to the user's files.
            ("pi1 ssh-ed25519 B", "pi0 ssh-ed25519 A", 22, "known"),
            ("pi1 ssh-ed25519 B", "pi0 ssh-ed25519 B", 22, "changed user:1"),
            ("pi1 ssh-ed25519 A", "", 22, "unknown"),
            ("@cert-authority pi0 ssh-ed25519 B", "pi0 ssh-ed25519 A", 22, "known"),
            ("", "pi0 ssh-ed25519 A", 22, "known"),
            // Ports: a name with its port is a name of its own.
            ("[pi0]:2222 ssh-ed25519 A", "[pi0]:2222 ssh-ed25519 B", 2222, "known"),
            ("[pi0]:2222 ssh-ed25519 A", "pi0 ssh-ed25519 B", 22, "changed user:1"),
            ("[pi0]:2222 ssh-ed25519 B", "pi0 ssh-ed25519 A", 2222, "changed project:1"),
            ("pi0 ssh-ed25519 A", "pi0 ssh-ed25519 B", 2222, "known"),
            // Revoked is revoked, wherever it stands.
            ("pi0 ssh-ed25519 A", "@revoked * ssh-ed25519 A", 22, "revoked user:1"),
            ("@revoked * ssh-ed25519 A", "pi0 ssh-ed25519 A", 22, "revoked project:1"),
        ] {
            let text = |text: &str| {
                let words = text.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
                    "A" => word.replace('A', A),
                    "B" => word.replace('B', B),
                    "HASHED" => word.replace("HASHED", &hashed),
                    _ => word.to_owned(),
                });
                words.collect::<String>()
            };
            std::fs::write(&project, text(of_project)).unwrap();
            std::fs::write(&user, text(of_user)).unwrap();
            // The project's file may be among the others too.
            for files in [vec![user.as_path()], vec![&project, &user]] {
                let known = KnownHosts::read(Some(&project), files).unwrap();
                let shown = match known.check(&HostName::new("pi0", port), &key(A).into(), 0) {
                    Verdict::Known => "known".to_owned(),
                    Verdict::Unknown => "unknown".to_owned(),
                    Verdict::Changed { at } => format!("changed {at}"),
                    Verdict::Revoked { at } => format!("revoked {at}"),
                    Verdict::Invalid { at, why } => format!("invalid {at}: {why}"),
                };
                let shown = shown.replace(&format!("{}/", folder.path().display()), "");
                assert_eq!(shown, expected, "{of_project} | {of_user} | {port}");
            }
        }
        let both = |of_project: &str| {
            std::fs::write(&project, of_project).unwrap();
            std::fs::write(&user, "pi0 ecdsa-sha2-nistp256 AAAA\n").unwrap();
            let known = KnownHosts::read(Some(&project), [user.as_path()]).unwrap();
            known.algorithms(&HostName::new("pi0", 22)).join(" ")
        };
        assert_eq!(both("pi0 ssh-ed25519 AAAA\n"), "ssh-ed25519");
        assert_eq!(both(""), "ecdsa-sha2-nistp256");
    }

    #[test]
    fn a_line_that_ssh_keygen_hashed_is_read() {
        // Made by `ssh-keygen -H` of OpenSSH 9.2.
        let key_text = "AAAAC3NzaC1lZDI1NTE5AAAAIBq72lRA/nK7PkqKoEKM6jajMDS/HbvurqmdkzPtfy+Q";
        let line = format!("|1|4HQF1N2XgccP0/MBj+NSaldaBOQ=|UxueGQgeZUPpE78QD7Axcgsiw7s= ssh-ed25519 {key_text}");
        assert_eq!(verdict(&line, "pi0", 22, &key(key_text)), "known");
        assert_eq!(verdict(&line, "pi0", 22, &key(A)), "changed known_hosts:1");
    }

    fn certificate(subject: &PrivateKey, authority: &PrivateKey, change: impl Fn(&mut Builder)) -> PublicKeyOrCertificate {
        let mut builder = Builder::new([7; 16], subject.public_key().key_data().clone(), 1000, 2000).unwrap();
        builder.valid_principal("pi0.example.org").unwrap();
        builder.valid_principal("*.lan").unwrap();
        change(&mut builder);
        builder.sign(authority).unwrap().into()
    }

    #[test]
    fn certificates_count_by_their_authority() {
        let mut random = rand::rng();
        let mut make = || PrivateKey::random(&mut random, Algorithm::Ed25519).unwrap();
        let (host, authority, stranger) = (make(), make(), make());
        let line = |key: &PrivateKey| key.public_key().to_openssh().unwrap();
        let trusted = format!("@cert-authority *.org,*.lan,pi9 {}", line(&authority));
        let of_host = |builder: &mut Builder| {
            builder.cert_type(CertType::Host).unwrap();
        };
        let good = certificate(&host, &authority, of_host);
        for (file, name, shown, now, expected) in [
            (&trusted, "pi0.example.org", &good, 1500, Verdict::Known),
            (&trusted, "pi7.lan", &good, 1000, Verdict::Known),
            (&trusted, "pi0.net", &good, 1500, Verdict::Unknown),
            (
                &trusted,
                "pi0.lan",
                &certificate(&host, &stranger, of_host),
                1500,
                Verdict::Unknown,
            ),
            (&format!("pi0.lan {}", line(&host)), "pi0.lan", &good, 1500, Verdict::Known),
            (
                &format!("pi0.lan {}", line(&stranger)),
                "pi0.lan",
                &good,
                1500,
                Verdict::Changed {
                    at: Pos::new(FileId::of("known_hosts"), 1, 0),
                },
            ),
            (
                &format!("{trusted}\n@revoked * {}", line(&authority)),
                "pi0.lan",
                &good,
                1500,
                Verdict::Revoked {
                    at: Pos::new(FileId::of("known_hosts"), 2, 0),
                },
            ),
            (
                &format!("{trusted}\n@revoked * {}", line(&host)),
                "pi0.lan",
                &good,
                1500,
                Verdict::Revoked {
                    at: Pos::new(FileId::of("known_hosts"), 2, 0),
                },
            ),
        ] {
            assert_eq!(
                known(file).check(&HostName::new(name, 22), shown, now),
                expected,
                "{file} {name}"
            );
        }
        let user = certificate(&host, &authority, |builder| {
            builder.cert_type(CertType::User).unwrap();
        });
        let critical = certificate(&host, &authority, |builder| {
            builder.cert_type(CertType::Host).unwrap().critical_option("x", "y").unwrap();
        });
        for (shown, name, now, expected) in [
            (&good, "pi0.lan", 999, "it is not valid yet (is this machine's clock right?)"),
            (&good, "pi0.lan", 2000, "it has expired"),
            (&good, "pi9", 1500, "it is for pi0.example.org, *.lan, not for pi9"),
            (&user, "pi0.lan", 1500, "it is not a host certificate"),
            (
                &critical,
                "pi0.lan",
                1500,
                "it has a critical option, and none is known for hosts",
            ),
        ] {
            match known(&trusted).check(&HostName::new(name, 22), shown, now) {
                Verdict::Invalid { why, .. } => assert_eq!(why, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        assert!(known(&trusted).has_authority(&HostName::new("pi0.lan", 22)));
        assert!(!known(&trusted).has_authority(&HostName::new("pi0.net", 22)));
    }

    #[test]
    fn stars_do_not_explode() {
        let pattern = "*a".repeat(5000);
        assert!(!wild(pattern.as_bytes(), "a".repeat(4000).as_bytes()));
        assert!(wild(b"**a*?", b"bab"));
        assert!(!wild(b"a?", b"a"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_file_is_read(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b' '), Just(b'|'), Just(b'1'), Just(b'@'), Just(b'*')], 0..200)) {
            let mut known = KnownHosts::default();
            known.parse(FileId::of("known_hosts"), &bytes);
            let name = HostName::new("pi0", 22);
            let _ = (known.check(&name, &key(A).into(), 0), known.algorithms(&name), known.has_authority(&name));
        }
    }
}
