//! `ssh_auth.*`: keys with which users may log in.

mod key;
mod place;

use self::key::Key;
use self::place::{KeyFile, Place};
use super::{Change, Context, Decision, Function, Functions, Need, SourceFile, SourceSpec, StateFunction};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::Content;
use crate::yaml::OneOrMany;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("ssh_auth.present", false),
    Function::of::<Absent>("ssh_auth.absent", false),
    Function::of::<Manage>("ssh_auth.manage", false),
];

/// Ensures that keys are in a user's `authorized_keys`.
///
/// The folder is made with mode 0700 and the file with 0600, both the user's own. A key that is there with other options or another
/// comment is replaced; all other lines are left as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Present {
    /// The key, alone or as a whole line: `OPTIONS TYPE KEY COMMENT`. With `source`: any text.
    name: String,
    /// Whose key it is.
    user: String,
    /// The type, where the line does not say it: `ssh-ed25519`. By default what the key itself says.
    enc: String,
    /// The comment, where the line has none.
    comment: String,
    /// A file with keys, one on each line, instead of `name`: `salt://keys/bob.pub`.
    source: String,
    /// The options, where the line has none: `no-pty`, `from="10.0.0.*"`.
    options: Option<OneOrMany<String>>,
    /// The file, below the user's home folder or absolute; `%h` is the home folder, `%u` the user.
    config: String,
    /// Accepted, without effect: picloud compares keys, not fingerprints.
    fingerprint_hash_type: Option<String>,
}

/// Ensures that keys are not in a user's `authorized_keys`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Absent {
    /// The key, alone or as a whole line. With `source`: any text.
    name: String,
    /// Whose key it is.
    user: String,
    /// Accepted, without effect: a key is known by itself.
    enc: Option<String>,
    /// Accepted, without effect: a key is known by itself.
    comment: Option<String>,
    /// A file with keys, one on each line, instead of `name`: `salt://keys/bob.pub`.
    source: String,
    /// Accepted, without effect: a key is known by itself.
    options: Option<OneOrMany<String>>,
    /// The file, below the user's home folder or absolute; `%h` is the home folder, `%u` the user.
    config: String,
    /// Accepted, without effect: picloud compares keys, not fingerprints.
    fingerprint_hash_type: Option<String>,
}

/// Ensures that just these keys are in a user's `authorized_keys`: all others are removed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Manage {
    /// Any text.
    name: String,
    /// Whose keys they are.
    user: String,
    /// The keys, each alone or as a whole line.
    ssh_keys: OneOrMany<String>,
    /// The type, where a line does not say it. By default what the key itself says.
    enc: String,
    /// The comment, where a line has none.
    comment: String,
    /// The options, where a line has none.
    options: Option<OneOrMany<String>>,
    /// The file, below the user's home folder or absolute; `%h` is the home folder, `%u` the user.
    config: String,
    /// Accepted, without effect: picloud compares keys, not fingerprints.
    fingerprint_hash_type: Option<String>,
}

/// Where keys are by default.
const CONFIG: &str = ".ssh/authorized_keys";

macro_rules! with_defaults {
    ($($state:ident { $($field:ident: $value:expr),* };)*) => {$(
        impl Default for $state {
            fn default() -> $state {
                $state { $($field: $value),*, config: CONFIG.to_owned(), fingerprint_hash_type: None }
            }
        }
    )*};
}

with_defaults! {
    Present {
        name: String::new(), user: String::new(), enc: String::new(), comment: String::new(), source: String::new(), options: None
    };
    Absent {
        name: String::new(), user: String::new(), enc: None, comment: None, source: String::new(), options: None
    };
    Manage {
        name: String::new(), user: String::new(), ssh_keys: OneOrMany::default(), enc: String::new(), comment: String::new(), options: None
    };
}

/// Users whose home the shell can be asked for by `~user`.
fn check_user(user: &str) -> Result<()> {
    if user.is_empty() {
        return Err(Error::usage("the argument `user` is missing"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if !user.bytes().all(plain) || user.starts_with(['-', '.']) {
        return Err(Error::usage(format!("`{user}` cannot be a user's name")));
    }
    Ok(())
}

fn check_key(key: &Key) -> Result<()> {
    match key.fault() {
        None => Ok(()),
        Some(fault) => {
            let short: String = key.key.chars().take(40).collect();
            Err(Error::usage(format!("the key {short}... is damaged: {fault}")))
        }
    }
}

fn spec(source: &str) -> SourceSpec {
    SourceSpec {
        sources: vec![source.to_owned()],
        skip_verify: true,
        ..SourceSpec::default()
    }
}

/// The lines of a source.
fn lines(source: &str, context: &Context) -> Result<Vec<String>> {
    match context.resolved.file(&spec(source))? {
        SourceFile::Here {
            content: Content::Bytes(bytes),
            ..
        } => Ok(String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()),
        _ => Err(Error::state(format!("the keys in {source} cannot be read on the master"))
            .hint("put the file into the state tree: `salt://...`")),
    }
}

/// `text` as a key, with `comment` and `options` where it has none.
fn key(text: &str, kind: &str, comment: &str, options: Option<&OneOrMany<String>>) -> Key {
    let mut key = Key::given(text, kind);
    if key.options.is_empty() {
        key.options = options.map(|options| options.join(",")).unwrap_or_default();
    }
    if key.comment.is_empty() {
        key.comment = comment.trim().to_owned();
    }
    key
}

/// What is to be done about one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Exists,
    Update,
    Add,
}

/// Puts `wanted` into `lines`. A comment that nobody speaks of stays.
fn place(wanted: &Key, lines: &mut Vec<(String, Option<Key>)>) -> Status {
    let found = lines
        .iter_mut()
        .find(|(_, key)| key.as_ref().is_some_and(|key| key.key == wanted.key));
    let Some((line, now)) = found else {
        lines.push((wanted.line(), Some(wanted.clone())));
        return Status::Add;
    };
    let comment = now.as_ref().map(|now| now.comment.clone()).unwrap_or_default();
    let mut new = wanted.clone();
    if new.comment.is_empty() {
        new.comment = comment;
    }
    if now.as_ref() == Some(&new) {
        return Status::Exists;
    }
    (*line, *now) = (new.line(), Some(new));
    Status::Update
}

fn text(lines: &[(String, Option<Key>)]) -> String {
    lines.iter().map(|(line, _)| format!("{line}\n")).collect()
}

/// The file, unless no key can be put there.
fn writable(place: &Place, seen: &Observed) -> Result<Result<KeyFile, String>> {
    Ok(place.seen(seen)?.and_then(|file| {
        if file.has_home || place.config.starts_with('/') {
            Ok(file)
        } else {
            Err(format!("the home folder {} of user {} does not exist", file.home, place.user))
        }
    }))
}

impl Present {
    fn place(&self) -> Place<'_> {
        Place {
            user: &self.user,
            config: &self.config,
        }
    }

    fn keys(&self, context: &Context) -> Result<Vec<Key>> {
        if self.source.is_empty() {
            return Ok(vec![key(&self.name, &self.enc, &self.comment, self.options.as_ref())]);
        }
        let keys: Vec<Key> = lines(&self.source, context)?
            .iter()
            .filter_map(|line| Key::parse(line))
            .map(|key| Key {
                options: if key.options.is_empty() {
                    self.options.as_ref().map(|options| options.join(",")).unwrap_or_default()
                } else {
                    key.options.clone()
                },
                ..key
            })
            .collect();
        if keys.is_empty() {
            return Err(Error::state(format!("there is no key in {}", self.source)).hint("each line must be `TYPE KEY COMMENT`"));
        }
        keys.iter().try_for_each(check_key)?;
        Ok(keys)
    }
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        check_user(&self.user)?;
        if self.source.is_empty() {
            check_key(&key(&self.name, &self.enc, "", None))?;
        }
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        let source = Some(&self.source).filter(|source| !source.is_empty());
        source.map(|source| Need::File(spec(source))).into_iter().collect()
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(self.place().probe())])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let user = &self.user;
        let keys = self.keys(context)?;
        let file = match writable(&self.place(), seen)? {
            Ok(file) => file,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let mut lines = file.lines();
        let mut change = Change::default();
        let (mut would, mut did) = (Vec::new(), Vec::new());
        for key in &keys {
            let (word, past, said) = match place(key, &mut lines) {
                Status::Exists => continue,
                Status::Update => ("updated", "updated", "Updated"),
                Status::Add => ("added", "added", "New"),
            };
            would.push(format!("Key {} for user {user} is set to be {word}", key.key));
            did.push(format!("The authorized host key {} for user {user} was {past}", key.key));
            change = change.change(key.key.as_str(), said);
        }
        if would.is_empty() {
            return Ok(Decision::Holds(match keys.as_slice() {
                [key] if self.source.is_empty() => {
                    format!("The authorized host key {} is already present for user {user}", key.key)
                }
                _ => format!("All host keys in file {} are already present", self.source),
            }));
        }
        (change.would, change.did) = (would.join("\n"), did.join("\n"));
        Ok(self.place().write(change, &file, text(&lines), context).into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        writes(&self.place())
    }
}

impl Absent {
    fn place(&self) -> Place<'_> {
        Place {
            user: &self.user,
            config: &self.config,
        }
    }
}

impl StateFunction for Absent {
    fn check(&self) -> Result<()> {
        check_user(&self.user)
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        let source = Some(&self.source).filter(|source| !source.is_empty());
        source.map(|source| Need::File(spec(source))).into_iter().collect()
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(self.place().probe())])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let user = &self.user;
        let unwanted: Vec<Key> = if self.source.is_empty() {
            vec![key(&self.name, "", "", None)]
        } else {
            lines(&self.source, context)?
                .iter()
                .filter_map(|line| Key::parse(line))
                .collect()
        };
        // Who is not there has no keys.
        let Ok(file) = self.place().seen(seen)? else {
            return Ok(Decision::Holds("Key is already absent".to_owned()));
        };
        let mut lines = file.lines();
        let mut change = Change::default();
        let mut would = Vec::new();
        for key in &unwanted {
            let before = lines.len();
            lines.retain(|(_, now)| now.as_ref().is_none_or(|now| now.key != key.key));
            if lines.len() < before {
                would.push(format!("Key {} for user {user} is set for removal", key.key));
                change = change.change(key.key.as_str(), "Removed");
            }
        }
        if would.is_empty() {
            return Ok(Decision::Holds("Key is already absent".to_owned()));
        }
        change.did = if would.len() == 1 { "Key removed" } else { "Keys removed" }.to_owned();
        change.would = would.join("\n");
        Ok(self.place().write(change, &file, text(&lines), context).into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        writes(&self.place())
    }
}

impl Manage {
    fn place(&self) -> Place<'_> {
        Place {
            user: &self.user,
            config: &self.config,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.ssh_keys
            .iter()
            .map(|text| key(text, &self.enc, &self.comment, self.options.as_ref()))
            .collect()
    }
}

impl StateFunction for Manage {
    fn check(&self) -> Result<()> {
        check_user(&self.user)?;
        self.keys().iter().try_for_each(check_key)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(self.place().probe())])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let user = &self.user;
        let file = match writable(&self.place(), seen)? {
            Ok(file) => file,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let wanted = self.keys();
        let mut lines = file.lines();
        let mut change = Change::default();
        let is_wanted = |key: &Key| wanted.iter().any(|wanted| wanted.key == key.key);
        let mut would = Vec::new();
        for (_, key) in &lines {
            if let Some(key) = key.as_ref().filter(|key| !is_wanted(key)) {
                would.push(format!("Key {} for user {user} is set for removal", key.key));
                change.changes.insert(key.key.clone(), "Removed".into());
            }
        }
        lines.retain(|(_, key)| key.as_ref().is_none_or(is_wanted));
        for key in &wanted {
            let (word, said) = match place(key, &mut lines) {
                Status::Exists => continue,
                Status::Update => ("updated", "Updated"),
                Status::Add => ("added", "New"),
            };
            would.push(format!("Key {} for user {user} is set to be {word}", key.key));
            change.changes.insert(key.key.clone(), said.into());
        }
        if would.is_empty() {
            return Ok(Decision::Holds(format!(
                "The authorized keys of user {user} are as they should be"
            )));
        }
        change.would = would.join("\n");
        change.did = format!("The authorized keys of user {user} were changed");
        Ok(self.place().write(change, &file, text(&lines), context).into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        writes(&self.place())
    }
}

/// What a change makes stale: all that is read but the accounts.
fn writes(place: &Place) -> Vec<Resource> {
    let mut reads = place.probe().reads;
    reads.retain(|read| *read != Resource::Accounts);
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::{Case, refusal, state};

    const ED: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIDaCAKpQV4JGoKqCmzDgXVxxUp5LxDxU0xrHqkwpWPVp";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn case(function: &str, arguments: &str, text: Option<&str>) -> Case {
        let file = KeyFile {
            home: "/home/bob".into(),
            group: "bob".into(),
            path: "/home/bob/.ssh/authorized_keys".into(),
            has_home: true,
            has_folder: text.is_some(),
            text: text.map(str::to_owned),
        };
        let arguments = arguments.replace("ED", ED).replace("OTHER", OTHER);
        let answer = String::from_utf8(file.answer().stdout).unwrap();
        state(function, &arguments).answers("id -gn", 0, &answer)
    }

    #[test]
    fn keys_come_and_go() {
        let now = format!("# mine\nno-pty ssh-ed25519 {ED} bob@x\n\nssh-ed25519 {OTHER}");
        for (function, arguments, expected) in [
            (
                "ssh_auth.present",
                "{name: 'no-pty ssh-ed25519 ED bob@x', user: bob}",
                Err("holds: The authorized host key ED is already present for user bob".to_owned()),
            ),
            (
                "ssh_auth.present",
                "{name: OTHER, user: bob, enc: rsa}",
                Err("holds: The authorized host key OTHER is already present for user bob".to_owned()),
            ),
            (
                "ssh_auth.present",
                "{name: ED, user: bob, options: [no-pty]}",
                Err("holds: The authorized host key ED is already present for user bob".to_owned()),
            ),
            (
                "ssh_auth.absent",
                "{name: AAAA, user: bob}",
                Err("holds: Key is already absent".to_owned()),
            ),
            (
                "ssh_auth.manage",
                "{user: bob, ssh_keys: ['no-pty ssh-ed25519 ED', OTHER]}",
                Err("holds: The authorized keys of user bob are as they should be".to_owned()),
            ),
            (
                "ssh_auth.present",
                "{name: ssh-ed25519 ED new, user: bob}",
                Ok((
                    "The authorized host key ED for user bob was updated",
                    now.replace("no-pty ", "").replace("bob@x", "new") + "\n",
                )),
            ),
            (
                "ssh_auth.absent",
                "{name: OTHER, user: bob}",
                Ok(("Key removed", format!("# mine\nno-pty ssh-ed25519 {ED} bob@x\n\n"))),
            ),
            (
                "ssh_auth.manage",
                "{user: bob, ssh_keys: OTHER}",
                Ok((
                    "The authorized keys of user bob were changed",
                    format!("# mine\n\nssh-ed25519 {OTHER}\n"),
                )),
            ),
        ] {
            let case = case(function, arguments, Some(&now));
            let shown = case.shows();
            let full = |text: &str| text.replace("ED", ED).replace("OTHER", OTHER);
            match expected {
                Err(comment) => assert_eq!(shown, full(&comment), "{arguments}"),
                Ok((did, text)) => {
                    let change = case.change();
                    assert_eq!((change.did, change.diffs[0].new.clone()), (full(did), text), "{arguments}");
                }
            }
        }
    }

    #[test]
    fn the_first_key_makes_folder_and_file() {
        assert_eq!(
            case(
                "ssh_auth.present",
                "{name: ED, user: bob, comment: laptop, options: ['from=\"10.0.0.*\"', no-pty]}",
                None
            )
            .shows()
            .replace(ED, "ED"),
            "would: Key ED for user bob is set to be added\ndid: The authorized host key ED for user bob was added\nchanges: {\"ED\":\"New\"}\n\
             sh making the folder\n  mkdir -m 0700 -p /home/bob/.ssh && chown bob:bob /home/bob/.ssh\n\
             put /home/bob/.ssh/authorized_keys user=bob group=bob mode=0600 keep\n  from=\"10.0.0.*\",no-pty ssh-ed25519 ED laptop\n"
        );
    }

    #[test]
    fn keys_from_a_file() {
        let source = format!("# keys\nssh-ed25519 {ED} a\n\nssh-ed25519 {OTHER} b\n");
        let now = format!("ssh-ed25519 {ED} a\n");
        let case = case(
            "ssh_auth.present",
            "{name: keys, user: bob, source: 'salt://keys.pub'}",
            Some(&now),
        )
        .source(&source);
        let change = case.change();
        assert_eq!(change.diffs[0].new, format!("ssh-ed25519 {ED} a\nssh-ed25519 {OTHER} b\n"));
        assert_eq!(change.changes.keys().collect::<Vec<_>>(), [OTHER]);
    }

    #[test]
    fn nobody_and_damaged_keys() {
        let nobody = state("ssh_auth.present", &format!("{{name: {ED}, user: al}}")).answers("id -gn", 3, "");
        assert_eq!(nobody.shows(), "fails: user al does not exist on this minion");
        let nobody = state("ssh_auth.absent", &format!("{{name: {ED}, user: al}}")).answers("id -gn", 3, "");
        assert_eq!(nobody.shows(), "holds: Key is already absent");
        for (arguments, expected) in [
            (
                "{name: ssh-rsa ED, user: al}",
                "the key ED... is damaged: it is of type ssh-ed25519, not ssh-rsa",
            ),
            ("{name: ssh-rsa abc, user: al}", "the key abc... is damaged: it is cut short"),
            ("{name: x}", "the argument `user` is missing"),
            ("{name: x, user: 'a b'}", "`a b` cannot be a user's name"),
        ] {
            let said = refusal("ssh_auth.present", &arguments.replace("ED", ED));
            assert_eq!(said.replace(&ED[..40], "ED"), expected);
        }
    }
}
