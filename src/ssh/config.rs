//! `~/.ssh/config` and `/etc/ssh/ssh_config`: what they say of one host. Knows no connection.
//!
//! Plain files (`Host`, `Include`) are read here. A file with `Match` or canonical names is left to `ssh -G`, which costs a
//! process of some 10 ms for each host, and is asked only then.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::known_hosts::wild;
use crate::error::{Error, FileId, Pos, Result};

/// What the configuration says of a host. `None` and empty lists leave the choice to the defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostConfig {
    pub host_name: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_files: Vec<PathBuf>,
    pub certificate_files: Vec<PathBuf>,
    pub identities_only: bool,
    /// A socket, `none`, or the name of an environment variable behind a `$`.
    pub identity_agent: Option<String>,
    /// As written: `user@host:port,host2`, or `none`.
    pub proxy_jump: Option<String>,
    /// With its tokens expanded; `none` is left out.
    pub proxy_command: Option<String>,
    pub user_known_hosts: Option<Vec<PathBuf>>,
    pub global_known_hosts: Option<Vec<PathBuf>>,
    pub hash_known_hosts: bool,
    pub connect_timeout: Option<Duration>,
    pub host_key_alias: Option<String>,
    /// `accept-new`, `no`: a host key that is not known yet is taken and remembered.
    pub accept_new: bool,
    pub ipv4_only: bool,
    pub ipv6_only: bool,
}

/// The files of one user, read once; hosts are looked up in them as they come.
#[derive(Debug, Default)]
pub struct ConfigFiles {
    blocks: Vec<Block>,
    /// Only `ssh -G` understands them.
    beyond_us: bool,
    home: PathBuf,
    user: String,
    hosts: Mutex<HashMap<Asked, HostConfig>>,
}

/// A host, and the user and port that the inventory or the command line say.
type Asked = (String, Option<String>, Option<u16>);

/// What stands under one `Host` line (or before the first, which goes for all).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Block {
    /// Each block of an included file holds only where the including one does.
    patterns: Vec<Vec<(bool, String)>>,
    settings: Vec<(String, String, Pos)>,
}

impl ConfigFiles {
    /// No configuration at all: defaults for every host.
    pub fn none() -> ConfigFiles {
        ConfigFiles::default()
    }

    /// The files of the user who runs this.
    ///
    /// # Errors
    /// A file that is there cannot be read, or a line in it is malformed.
    pub fn of_user() -> Result<ConfigFiles> {
        let home = home();
        let user = std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_else(|_| "root".into());
        ConfigFiles::read(&[home.join(".ssh/config"), PathBuf::from("/etc/ssh/ssh_config")], home, user)
    }

    /// `files`, of which the first to say something wins.
    ///
    /// # Errors
    /// As [`ConfigFiles::of_user`].
    pub fn read(files: &[PathBuf], home: PathBuf, user: String) -> Result<ConfigFiles> {
        let mut config = ConfigFiles {
            home,
            user,
            ..ConfigFiles::default()
        };
        for file in files {
            config.file(file, &[], 0)?;
        }
        Ok(config)
    }

    /// Reads one file, if it is there; `under` are the conditions of those that include it.
    fn file(&mut self, path: &Path, under: &[Vec<(bool, String)>], depth: u8) -> Result<()> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::usage(format!("failed to read {}: {e}", path.display()))),
        };
        let file = FileId::of(&path.display().to_string());
        let mut patterns = under.to_vec();
        self.blocks.push(Block {
            patterns: patterns.clone(),
            settings: Vec::new(),
        });
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let at = Pos::new(file, number as u32 + 1, 0);
            let Some((keyword, arguments)) = split_line(line) else {
                continue;
            };
            match keyword.as_str() {
                "host" => {
                    let list = words(&arguments).into_iter().map(|word| match word.strip_prefix('!') {
                        Some(not) => (true, not.to_owned()),
                        None => (false, word),
                    });
                    patterns = under.to_vec();
                    patterns.push(list.collect());
                    self.blocks.push(Block {
                        patterns: patterns.clone(),
                        settings: Vec::new(),
                    });
                }
                "match" if arguments.trim().eq_ignore_ascii_case("all") => {
                    patterns = under.to_vec();
                    self.blocks.push(Block {
                        patterns: patterns.clone(),
                        settings: Vec::new(),
                    });
                }
                "match" => {
                    self.beyond_us = true;
                    // If there is no ssh to ask: what stands under it holds for nobody.
                    patterns = vec![Vec::new()];
                    self.blocks.push(Block {
                        patterns: patterns.clone(),
                        settings: Vec::new(),
                    });
                }
                "canonicalizehostname" => self.beyond_us |= !arguments.trim().eq_ignore_ascii_case("no"),
                "include" if depth >= 16 => {
                    return Err(Error::usage("too many files include each other").at(at));
                }
                "include" => {
                    for word in words(&arguments) {
                        for path in self.included(path, &word) {
                            self.file(&path, &patterns, depth + 1)?;
                        }
                    }
                    self.blocks.push(Block {
                        patterns: patterns.clone(),
                        settings: Vec::new(),
                    });
                }
                _ => {
                    if let Some(block) = self.blocks.last_mut() {
                        block.settings.push((keyword, arguments, at));
                    }
                }
            }
        }
        Ok(())
    }

    /// The files that `Include word` in `from` means, sorted: `*` and `?` in the last part of a path are expanded.
    fn included(&self, from: &Path, word: &str) -> Vec<PathBuf> {
        let path = match word.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if word.starts_with('/') => PathBuf::from(word),
            None if from.starts_with("/etc") => Path::new("/etc/ssh").join(word),
            None => self.home.join(".ssh").join(word),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return vec![path];
        };
        let pattern = name.as_encoded_bytes();
        if !pattern.iter().any(|b| b"*?".contains(b)) {
            return vec![path];
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let hidden = |name: &[u8]| name.starts_with(b".") && !pattern.starts_with(b".");
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| wild(pattern, entry.file_name().as_encoded_bytes()) && !hidden(entry.file_name().as_encoded_bytes()))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }

    /// What is said of `host`, the name by which the user calls it; `user` and `port` are what the inventory or the command line
    /// say, which wins.
    ///
    /// # Errors
    /// A setting that has no such value; `ssh -G` failed.
    pub async fn host(&self, host: &str, user: Option<&str>, port: Option<u16>) -> Result<HostConfig> {
        if self.blocks.iter().all(|block| block.settings.is_empty()) && !self.beyond_us {
            return Ok(HostConfig::default());
        }
        let key = (host.to_owned(), user.map(str::to_owned), port);
        if let Some(known) = self.hosts().get(&key) {
            return Ok(known.clone());
        }
        let config = match self.beyond_us {
            true => match ask_ssh(host, user, port).await? {
                Some(text) => self.answer_of_ssh(&text, host)?,
                None => self.lookup(host, user, port)?,
            },
            false => self.lookup(host, user, port)?,
        };
        self.hosts().insert(key, config.clone());
        Ok(config)
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, HashMap<Asked, HostConfig>> {
        self.hosts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// [`ConfigFiles::host`] by our own reading.
    fn lookup(&self, host: &str, user: Option<&str>, port: Option<u16>) -> Result<HostConfig> {
        let settings = self
            .blocks
            .iter()
            .filter(|block| block.patterns.iter().all(|list| holds(list, host)));
        self.settings(settings.flat_map(|block| &block.settings), (host, user, port))
    }

    /// What `ssh -G` printed. Unlike a file it names every default too; those that differ from ours only in being said are
    /// dropped.
    fn answer_of_ssh(&self, text: &str, host: &str) -> Result<HostConfig> {
        let at = Pos::new(FileId::of("the answer of `ssh -G`"), 0, 0);
        let defaults = [
            "~/.ssh/id_rsa",
            "~/.ssh/id_ecdsa",
            "~/.ssh/id_ecdsa_sk",
            "~/.ssh/id_ed25519",
            "~/.ssh/id_ed25519_sk",
            "~/.ssh/id_xmss",
            "~/.ssh/id_dsa",
        ];
        let settings: Vec<_> = text
            .lines()
            .filter_map(split_line)
            .filter(|(key, value)| !(key == "identityfile" && defaults.contains(&value.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key, value, at))
            .collect();
        self.settings(settings.iter(), (host, None, None))
    }

    fn settings<'a>(
        &self,
        settings: impl Iterator<Item = &'a (String, String, Pos)>,
        (host, user, said_port): (&str, Option<&str>, Option<u16>),
    ) -> Result<HostConfig> {
        let mut config = HostConfig::default();
        // The first to say something wins; files of keys add up.
        let mut first: HashMap<&str, (&str, Pos)> = HashMap::new();
        let (mut identities, mut certificates) = (Vec::new(), Vec::new());
        for (key, value, at) in settings {
            match key.as_str() {
                "identityfile" => identities.push((value, *at)),
                "certificatefile" => certificates.push((value, *at)),
                key => {
                    first.entry(key).or_insert((value, *at));
                }
            }
        }
        let text = |key: &str| first.get(key).map(|(value, _)| words(value).join(" "));
        let number = |key: &str| match (text(key), first.get(key)) {
            (Some(value), Some((_, at))) => value.parse::<u32>().map(Some).map_err(|_| bad(key, &value, *at)),
            _ => Ok(None),
        };
        let yes = |key: &str| text(key).is_some_and(|value| ["yes", "true"].contains(&value.to_lowercase().as_str()));
        config.user = user.map(str::to_owned).or(text("user"));
        config.port = match number("port")? {
            Some(port) => Some(
                u16::try_from(port)
                    .ok()
                    .filter(|p| *p != 0)
                    .ok_or_else(|| bad("port", &port.to_string(), Pos::default()))?,
            ),
            None => None,
        };
        config.port = said_port.or(config.port);
        let mut tokens = Tokens {
            host: host.to_owned(),
            original: host.to_owned(),
            port: config.port.unwrap_or(22),
            remote_user: config.user.clone().unwrap_or_else(|| self.user.clone()),
            user: self.user.clone(),
            home: self.home.display().to_string(),
        };
        config.host_name = text("hostname").map(|name| tokens.expand(&name));
        if let Some(name) = &config.host_name {
            tokens.host = name.clone();
        }
        let path = |value: &str| {
            let value = tokens.expand(value);
            match value.strip_prefix("~/") {
                Some(rest) => self.home.join(rest),
                None => PathBuf::from(value),
            }
        };
        let files = |list: Vec<(&String, Pos)>| {
            let values = list.into_iter().map(|(value, _)| words(value).join(" "));
            values.filter(|value| value != "none").map(|value| path(&value)).collect()
        };
        config.identity_files = files(identities);
        config.certificate_files = files(certificates);
        config.identities_only = yes("identitiesonly");
        config.identity_agent = text("identityagent").map(|agent| match agent.starts_with('$') || agent == "none" {
            true => agent,
            false if agent == "SSH_AUTH_SOCK" => "$SSH_AUTH_SOCK".into(),
            false => path(&agent).display().to_string(),
        });
        config.proxy_jump = text("proxyjump");
        // The shell gets the command as it was written.
        config.proxy_command = first
            .get("proxycommand")
            .map(|(value, _)| value.trim())
            .filter(|value| *value != "none")
            .map(|value| tokens.expand(value));
        let paths = |key: &str| {
            first.get(key).map(|(value, _)| {
                words(value)
                    .iter()
                    .filter(|word| *word != "none")
                    .map(|word| path(word))
                    .collect()
            })
        };
        config.user_known_hosts = paths("userknownhostsfile");
        config.global_known_hosts = paths("globalknownhostsfile");
        config.hash_known_hosts = yes("hashknownhosts");
        config.connect_timeout = match text("connecttimeout").as_deref() {
            Some("none") | None => None,
            Some(_) => number("connecttimeout")?
                .filter(|s| *s > 0)
                .map(|s| Duration::from_secs(s.into())),
        };
        config.host_key_alias = text("hostkeyalias");
        config.accept_new = text("stricthostkeychecking")
            .is_some_and(|value| ["no", "off", "false", "accept-new"].contains(&value.to_lowercase().as_str()));
        let family = text("addressfamily").unwrap_or_default().to_lowercase();
        config.ipv4_only = family == "inet";
        config.ipv6_only = family == "inet6";
        Ok(config)
    }
}

/// The home of the user who runs this.
pub(crate) fn home() -> PathBuf {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

fn bad(key: &str, value: &str, at: Pos) -> Error {
    Error::usage(format!("`{value}` is no value for the SSH setting `{key}`")).at(at)
}

fn holds(patterns: &[(bool, String)], host: &str) -> bool {
    let mut hits = patterns
        .iter()
        .filter(|(_, pattern)| wild(pattern.as_bytes(), host.as_bytes()))
        .peekable();
    hits.peek().is_some() && hits.all(|(not, _)| !not)
}

/// `Keyword value` or `Keyword=value`: the keyword in lower case; nothing for empty lines and comments.
fn split_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    Some((keyword.to_lowercase(), rest.to_owned()))
}

/// Words as `ssh_config(5)` splits them: `"` and `'` hold words together, and a `#` that starts a word starts a comment.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') if chars.peek().is_some_and(|next| ['"', '\'', '\\'].contains(next)) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What the tokens of `ssh_config(5)`, TOKENS, stand for.
struct Tokens {
    host: String,
    original: String,
    port: u16,
    remote_user: String,
    user: String,
    home: String,
}

impl Tokens {
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('%') => out.push('%'),
                Some('h') => out.push_str(&self.host),
                Some('n' | 'k') => out.push_str(&self.original),
                Some('p') => out.push_str(&self.port.to_string()),
                Some('r') => out.push_str(&self.remote_user),
                Some('u') => out.push_str(&self.user),
                Some('d') => out.push_str(&self.home),
                Some('i') => out.push_str(&rustix::process::getuid().as_raw().to_string()),
                Some('l') => out.push_str(rustix::system::uname().nodename().to_str().unwrap_or("localhost")),
                Some('L') => {
                    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                    out.push_str(name.split('.').next().unwrap_or(&name));
                }
                // Not one that is known here: left as it stands, and an error will name it.
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            }
        }
        out
    }
}

/// What `ssh -G host` prints; `None` where there is no ssh. At most four run at once.
async fn ask_ssh(host: &str, user: Option<&str>, port: Option<u16>) -> Result<Option<String>> {
    static AT_ONCE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
    let _permit = AT_ONCE.acquire().await;
    let mut command = tokio::process::Command::new("ssh");
    command.arg("-G");
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    command
        .arg("--")
        .arg(host)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) if output.status.success() => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        Ok(output) => Err(Error::usage(format!(
            "`ssh -G {host}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::usage(format!("failed to start `ssh -G {host}`: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# first
Host pi0 pi1 !pi9
    HostName 10.0.0.%h
    User=pi
    IdentityFile "~/my keys/id"   # mine
    ConnectTimeout 7

Host pi*
    User nobody
    IdentityFile %d/.ssh/pi_%r
    CertificateFile ~/c-cert.pub
    ProxyJump admin@gate:2222
    IdentitiesOnly yes
Include more/*.conf
Host odd
    ProxyCommand nc "%h" %p
    Port 2022
    HostName odd.example.org
    StrictHostKeyChecking accept-new
    UserKnownHostsFile ~/a ~/b
    HostKeyAlias other
    AddressFamily inet
Host *
    HashKnownHosts yes
"#;

    fn files(text: &str) -> (tempfile::TempDir, ConfigFiles) {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        std::fs::create_dir_all(home.join(".ssh/more")).unwrap();
        std::fs::write(home.join(".ssh/config"), text).unwrap();
        std::fs::write(home.join(".ssh/more/a.conf"), "Port 1\nHost pi1\nPort 2\n").unwrap();
        std::fs::write(home.join(".ssh/more/b.txt"), "Port 3\n").unwrap();
        let config = ConfigFiles::read(&[home.join(".ssh/config"), home.join("none")], home.clone(), "ana".into()).unwrap();
        (folder, config)
    }

    #[test]
    fn the_first_to_say_something_wins_and_keys_add_up() {
        let (folder, config) = files(FILE);
        let home = folder.path();
        let pi0 = HostConfig {
            host_name: Some("10.0.0.pi0".into()),
            user: Some("pi".into()),
            // Included under `Host pi*`.
            port: Some(1),
            identity_files: vec![home.join("my keys/id"), home.join(".ssh/pi_pi")],
            certificate_files: vec![home.join("c-cert.pub")],
            identities_only: true,
            proxy_jump: Some("admin@gate:2222".into()),
            hash_known_hosts: true,
            connect_timeout: Some(Duration::from_secs(7)),
            ..HostConfig::default()
        };
        assert_eq!(config.lookup("pi0", None, None).unwrap(), pi0);
        let pi2 = config.lookup("pi2", Some("eve"), None).unwrap();
        assert_eq!(
            (pi2.user.as_deref(), pi2.host_name.as_deref(), pi2.port),
            (Some("eve"), None, Some(1))
        );
        assert_eq!(pi2.identity_files, vec![home.join(".ssh/pi_eve")]);
        let odd = HostConfig {
            host_name: Some("odd.example.org".into()),
            port: Some(2022),
            proxy_command: Some("nc \"odd.example.org\" 2022".into()),
            user_known_hosts: Some(vec![home.join("a"), home.join("b")]),
            hash_known_hosts: true,
            host_key_alias: Some("other".into()),
            accept_new: true,
            ipv4_only: true,
            ..HostConfig::default()
        };
        assert_eq!(config.lookup("odd", None, None).unwrap(), odd);
    }

    #[test]
    fn only_what_is_beyond_us_is_asked_of_ssh() {
        for (text, beyond) in [
            ("Host a\nPort 3", false),
            ("Match all\nPort 3", false),
            ("Match host a\nPort 3", true),
            ("Match exec true\nPort 3", true),
            ("CanonicalizeHostname no", false),
            ("CanonicalizeHostname yes", true),
        ] {
            assert_eq!(files(text).1.beyond_us, beyond, "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_shown_with_its_place() {
        let (_folder, config) = files("\nHost x\nPort 22x\n");
        let error = config.lookup("x", None, None).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with(".ssh/config:3: `22x` is no value for the SSH setting `port`"),
            "{error}"
        );
    }

    /// The same questions to `ssh -G` itself, where there is one.
    #[test]
    fn ssh_reads_the_same() {
        let (folder, config) = files(FILE);
        let path = folder.path().join(".ssh/config");
        // `~` and relative includes are the real user's to ssh: absolute ones in its copy.
        let absolute = FILE
            .replace("~/", &format!("{}/", folder.path().display()))
            .replace("%d/", &format!("{}/", folder.path().display()));
        let absolute = absolute.replace("Include more", &format!("Include {}/.ssh/more", folder.path().display()));
        std::fs::write(&path, absolute).unwrap();
        for host in ["pi0", "pi1", "pi9", "odd", "else"] {
            let Ok(output) = std::process::Command::new("ssh")
                .arg("-F")
                .arg(&path)
                .args(["-G", host])
                .stdin(std::process::Stdio::null())
                .output()
            else {
                println!("there is no ssh, so not tested");
                return;
            };
            assert!(output.status.success(), "{output:?}");
            let theirs = config
                .answer_of_ssh(&String::from_utf8(output.stdout).unwrap(), host)
                .unwrap();
            let ours = config.lookup(host, None, None).unwrap();
            assert_eq!(
                (theirs.host_name, theirs.port),
                (Some(ours.host_name.unwrap_or(host.into())), Some(ours.port.unwrap_or(22))),
                "{host}"
            );
            assert_eq!(theirs.identity_files, ours.identity_files, "{host}");
            assert_eq!(theirs.certificate_files, ours.certificate_files, "{host}");
            assert_eq!(
                (theirs.identities_only, theirs.proxy_jump, theirs.connect_timeout),
                (ours.identities_only, ours.proxy_jump, ours.connect_timeout),
                "{host}"
            );
            assert_eq!(
                (theirs.host_key_alias, theirs.accept_new, theirs.hash_known_hosts),
                (ours.host_key_alias, ours.accept_new, ours.hash_known_hosts),
                "{host}"
            );
            assert_eq!(
                (theirs.ipv4_only, theirs.proxy_command.is_some()),
                (ours.ipv4_only, ours.proxy_command.is_some()),
                "{host}"
            );
        }
    }
}
