//! Where a user's `authorized_keys` is, and what stands in it: asked of the minion, which knows the user's home.

use super::key::Key;
use crate::error::{Error, Result};
use crate::probe::{Observed, Resource, ShellProbe, ShellSeen};
use crate::shell::quote;
use crate::states::{Change, Context, Platform, PutFile, Step, TextDiff};

/// A user's file of keys.
pub struct Place<'a> {
    pub user: &'a str,
    /// Relative to the home folder, or absolute; `%h`, `%u` and `%%` as in sshd_config.
    pub config: &'a str,
}

/// The file as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    pub home: String,
    pub group: String,
    pub path: String,
    pub has_home: bool,
    pub has_folder: bool,
    /// `None`: there is no such file.
    pub text: Option<String>,
}

impl Place<'_> {
    /// The path as a shell word in which `$h` and `$u` are set.
    fn word(&self) -> String {
        let mut word = if self.config.starts_with(['/', '%']) {
            String::new()
        } else {
            "\"$h\"/".to_owned()
        };
        let mut rest = self.config;
        while let Some(at) = rest.find('%') {
            let (plain, token) = rest.split_at(at);
            if !plain.is_empty() {
                word += &quote(plain);
            }
            let (add, length) = match token.get(..2) {
                Some("%h") => ("\"$h\"", 2),
                Some("%u") => ("\"$u\"", 2),
                Some("%%") => ("%", 2),
                _ => ("%", 1),
            };
            word += add;
            rest = &token[length..];
        }
        if !rest.is_empty() {
            word += &quote(rest);
        }
        word
    }

    /// A path that stands for the file before its place is known: states about one file must know of each other.
    fn token(&self) -> Resource {
        Resource::Path(format!("~{}/{}", self.user, self.config))
    }

    pub fn probe(&self) -> ShellProbe {
        let home = if self.user == "root" {
            "/root".to_owned()
        } else {
            format!("/home/{}", self.user)
        };
        let mut reads = vec![Resource::Accounts, self.token(), Resource::Tree(home)];
        if self.config.starts_with('/') && !self.config.contains("%h") {
            reads.push(Resource::Path(self.config.replace("%u", self.user).replace("%%", "%")));
        }
        ShellProbe {
            script: format!(
                r#"u={}
g=$(id -gn "$u" 2>/dev/null) || exit 3
eval "h=~$u"
f={}
[ ! -L "$f" ] || f=$(readlink -f "$f")
printf '%s\n' "$h" "$g" "$f"
if [ -d "$h" ]; then echo home; else echo no; fi
if [ -d "${{f%/*}}" ]; then echo folder; else echo no; fi
if [ -e "$f" ]; then echo file; cat "$f"; else echo no; fi"#,
                quote(self.user),
                self.word()
            ),
            reads,
            ..ShellProbe::default()
        }
    }

    /// What was seen; the inner error says why no key can be put there.
    pub fn seen(&self, seen: &Observed) -> Result<Result<KeyFile, String>> {
        let answer = seen.shell(&self.probe())?;
        match answer.status {
            0 => {}
            3 => return Ok(Err(format!("user {} does not exist on this minion", self.user))),
            _ => {
                return Err(Error::state(format!(
                    "cannot read the keys of user {}: {}",
                    self.user,
                    String::from_utf8_lossy(&answer.stderr).trim()
                ))
                .hint("let picloud become root on this minion: `sudo: true` in the inventory"));
            }
        }
        let text = answer.text();
        let mut parts = text.splitn(7, '\n');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (home, group, path) = (next(), next(), next());
        let (has_home, has_folder, has_file) = (next() == "home", next() == "folder", next() == "file");
        let rest = next();
        Ok(Ok(KeyFile {
            home,
            group,
            path,
            has_home,
            has_folder,
            text: has_file.then_some(rest),
        }))
    }

    /// `change` with the steps that write `new` in place of what was seen.
    pub fn write(&self, mut change: Change, file: &KeyFile, new: String, context: &Context) -> Change {
        let folder = file.path.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned();
        if !file.has_folder {
            let owner = quote(&format!("{}:{}", self.user, file.group)).into_owned();
            let folder = quote(&folder).into_owned();
            change = change.step(Step::shell(
                "making the folder",
                format!("mkdir -m 0700 -p {folder} && chown {owner} {folder}"),
            ));
        }
        let fresh = file.text.is_none();
        change = change.step(PutFile {
            path: file.path.clone(),
            content: new.as_str().into(),
            user: fresh.then(|| self.user.to_owned()),
            group: fresh.then(|| file.group.clone()),
            mode: fresh.then(|| "0600".to_owned()),
            keep: true,
            ..PutFile::default()
        });
        if Platform::of(context.grains).is_redhat() {
            let script = format!("! command -v restorecon >/dev/null || restorecon -R {}", quote(&folder));
            change = change.step(Step::shell("restorecon", script));
        }
        let after = KeyFile {
            has_folder: true,
            text: Some(new.clone()),
            ..file.clone()
        };
        change.predicts.push(crate::probe::Fact::Shell(self.probe(), after.answer()));
        change.diffs.push(TextDiff {
            name: file.path.clone(),
            old: file.text.clone().unwrap_or_default(),
            new,
        });
        change.writes = Some(vec![self.token(), Resource::Path(file.path.clone()), Resource::Path(folder)]);
        change
    }
}

impl KeyFile {
    /// As the probe would answer.
    pub fn answer(&self) -> ShellSeen {
        let word = |yes: bool, word: &'static str| if yes { word } else { "no" };
        let stdout = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n{}",
            self.home,
            self.group,
            self.path,
            word(self.has_home, "home"),
            word(self.has_folder, "folder"),
            word(self.text.is_some(), "file"),
            self.text.as_deref().unwrap_or_default()
        );
        ShellSeen {
            status: 0,
            stdout: stdout.into_bytes(),
            stderr: Vec::new(),
        }
    }

    /// The lines, each with the key on it.
    pub fn lines(&self) -> Vec<(String, Option<Key>)> {
        let text = self.text.as_deref().unwrap_or_default();
        text.lines().map(|line| (line.to_owned(), Key::parse(line))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::pkg::shells;
    use std::process::Command;

    #[test]
    fn the_minion_finds_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let file = root.join("keys %root it's");
        std::fs::write(&file, "ssh-rsa AAAA x\n").unwrap();
        let config = format!("{}/keys %%%u it's", root.display());
        let me = Command::new("id").arg("-un").output().unwrap().stdout;
        if me != b"root\n" {
            return;
        }
        for shell in shells() {
            let ask = |user: &str, config: &str| {
                let place = Place { user, config };
                let out = Command::new(shell[0])
                    .args(&shell[1..])
                    .args(["-c", &place.probe().script])
                    .output()
                    .unwrap();
                let answer = ShellSeen {
                    status: out.status.code().unwrap(),
                    stdout: out.stdout,
                    stderr: out.stderr,
                };
                let seen = Observed::default().with([crate::probe::Fact::Shell(place.probe(), answer)]);
                place.seen(&seen).unwrap()
            };
            let found = ask("root", &config).unwrap();
            assert_eq!(
                found,
                KeyFile {
                    home: "/root".into(),
                    group: "root".into(),
                    path: file.to_string_lossy().into_owned(),
                    has_home: true,
                    has_folder: true,
                    text: Some("ssh-rsa AAAA x\n".into()),
                },
                "{shell:?}"
            );
            let found = ask("root", "%h/.none/%u").unwrap();
            assert_eq!(
                (found.path.as_str(), found.has_folder, found.text),
                ("/root/.none/root", false, None),
                "{shell:?}"
            );
            assert_eq!(
                ask("nobody-there", "x").unwrap_err(),
                "user nobody-there does not exist on this minion"
            );
        }
    }
}
