//! A harness for table tests of state functions: arguments as YAML, the world as facts, the decision as text. Tests only.
//!
//! ```ignore
//! let case = state("file.managed", "{name: /etc/motd, contents: hello}").sees([file("/etc/motd", "bye\n")]);
//! assert_eq!(case.shows(), "...");
//! ```
//! A probe that no fact answers is answered with "nothing there"; a fact that no probe asks for is not seen.

#![allow(dead_code, reason = "a toolbox: each module's tests use what they need of it")]

use super::{
    Change, Conclusion, Context, Decision, Need, Resolved, SourceFile, SourceSpec, SourceTree, StateFunction, Step, function,
};
use crate::error::{FileId, Result};
use crate::probe::{
    Entry, Fact, FileKind, GroupSeen, Observed, PathSeen, Probe, Resource, ShellProbe, ShellSeen, Target, TreeEntry, TreeSeen,
    UserSeen, Want,
};
use crate::shell::{Answer, Content};
use crate::yaml::{Data, Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// One state and the world that it is judged in.
pub struct Case {
    pub state: Box<dyn StateFunction>,
    grains: Value,
    pillar: Value,
    resolved: Resolved,
    kept: Vec<Resource>,
    facts: Vec<Fact>,
    /// Answers to shell probes whose script contains the text.
    answers: Vec<(String, ShellSeen)>,
}

/// The state `function` with `arguments`: a YAML mapping, or Salt's list of mappings.
///
/// # Panics
/// The function does not exist or does not take the arguments: see [`refusal`].
pub fn state(function: &str, arguments: &str) -> Case {
    let state = make(function, arguments).unwrap_or_else(|e| panic!("{e}"));
    Case {
        state,
        grains: Value::map(),
        pillar: Value::map(),
        resolved: Resolved::default(),
        kept: Vec::new(),
        facts: Vec::new(),
        answers: Vec::new(),
    }
}

/// What is said against `arguments`.
pub fn refusal(function: &str, arguments: &str) -> String {
    match make(function, arguments) {
        Ok(_) => "(accepted)".to_owned(),
        Err(error) => {
            let mut text = error.to_string();
            for hint in error.diagnostics().iter().flat_map(|d| &d.hints) {
                write!(text, "\nhint: {hint}").unwrap();
            }
            text
        }
    }
}

fn make(name: &str, arguments: &str) -> Result<Box<dyn StateFunction>> {
    let value = yaml(arguments);
    let arguments = match value.data {
        Data::Map(map) => map,
        Data::List(items) => items
            .iter()
            .filter_map(Value::as_map)
            .flat_map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())))
            .collect(),
        _ => Map::new(),
    };
    (function(name)?.make)(&arguments)
}

fn yaml(text: &str) -> Value {
    crate::yaml::parse(FileId::of("test.sls"), text).unwrap_or_else(|e| panic!("{e}"))
}

impl Case {
    pub fn grains(mut self, text: &str) -> Case {
        self.grains = yaml(text);
        self
    }

    pub fn pillar(mut self, text: &str) -> Case {
        self.pillar = yaml(text);
        self
    }

    /// Every file that the state needs has these contents.
    pub fn source(self, contents: &str) -> Case {
        self.resolves(|_| {
            Ok(SourceFile::Here {
                content: Content::from(contents),
                sha256: sha256(contents.as_bytes()),
                size: contents.len() as u64,
                mode: Some(0o644),
            })
        })
    }

    /// Every file that the state needs is what `found` says.
    pub fn resolves(mut self, found: impl Fn(&SourceSpec) -> Result<SourceFile>) -> Case {
        for need in self.state.needs(&self.context()) {
            if let Need::File(spec) = need {
                self.resolved.insert_file(&spec, found(&spec));
            }
        }
        self
    }

    /// The folder that the state needs has these files.
    pub fn source_tree(mut self, files: &[(&str, &str)]) -> Case {
        let here = |contents: &str| SourceFile::Here {
            content: Content::from(contents),
            sha256: sha256(contents.as_bytes()),
            size: contents.len() as u64,
            mode: Some(0o644),
        };
        let tree = SourceTree {
            files: files
                .iter()
                .map(|(path, contents)| ((*path).to_owned(), here(contents)))
                .collect(),
            ..SourceTree::default()
        };
        for need in self.state.needs(&self.context()) {
            if let Need::Tree(spec) = need {
                self.resolved.insert_tree(&spec, Ok(tree.clone()));
            }
        }
        self
    }

    pub fn sees(mut self, facts: impl IntoIterator<Item = Fact>) -> Case {
        self.facts.extend(facts);
        self
    }

    /// What the states that it requires manage.
    pub fn kept(mut self, kept: impl IntoIterator<Item = Resource>) -> Case {
        self.kept.extend(kept);
        self
    }

    /// A shell probe whose script contains `part` is answered so.
    pub fn answers(mut self, part: &str, status: i32, stdout: &str) -> Case {
        let seen = ShellSeen {
            status,
            stdout: stdout.into(),
            stderr: Vec::new(),
        };
        self.answers.push((part.to_owned(), seen));
        self
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            minion: "pi0",
            grains: &self.grains,
            pillar: &self.pillar,
            resolved: &self.resolved,
            kept: &self.kept,
            run: "7-test",
        }
    }

    pub fn probes(&self) -> Vec<Probe> {
        self.state.probes(&self.context()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What the state's probes show in this world, and no more.
    pub fn seen(&self) -> Observed {
        let mut seen = Observed::default();
        let mut probes = self.probes();
        probes.sort();
        for probe in probes {
            let fact = self.facts.iter().rev().find_map(|fact| told(&probe, fact));
            let fact = fact.unwrap_or_else(|| self.nothing(&probe));
            seen.answer(&probe, fact);
        }
        seen
    }

    fn nothing(&self, probe: &Probe) -> Fact {
        match probe {
            Probe::Path { path, .. } => Fact::Path(path.clone(), PathSeen::default()),
            Probe::Tree { path, .. } => Fact::Tree(path.clone(), TreeSeen::default()),
            Probe::Package { name } => Fact::Package(name.clone(), Default::default()),
            Probe::Candidate { name } => Fact::Candidate(name.clone(), Default::default()),
            Probe::Unit { name } => Fact::Unit(name.clone(), Default::default()),
            Probe::User { name } if name == "root" => user("root", 0),
            Probe::User { name } => Fact::User(name.clone(), UserSeen::default()),
            Probe::Group { name } if name == "root" => group("root", 0),
            Probe::Group { name } => Fact::Group(name.clone(), GroupSeen::default()),
            Probe::Sysctl { key } => Fact::Sysctl(key.clone(), None),
            Probe::Module { name } => Fact::Module(name.clone(), Default::default()),
            Probe::Mounts => Fact::Mounts(Default::default()),
            Probe::Crontab { user } => Fact::Crontab(user.clone(), None),
            Probe::Listeners => Fact::Listeners(Vec::new()),
            Probe::Shell(probe) => {
                let known = self.answers.iter().rev().find(|(part, _)| probe.script.contains(part));
                let seen = known.map(|(_, seen)| seen.clone());
                Fact::Shell(probe.clone(), seen.unwrap_or_else(|| failed("nothing was said of it")))
            }
        }
    }

    pub fn decide(&self) -> Result<Decision> {
        self.state.decide(&self.seen(), &self.context())
    }

    /// The change that was decided on.
    ///
    /// # Panics
    /// It was no change.
    pub fn change(&self) -> Change {
        match self.decide() {
            Ok(Decision::Change(change)) => change,
            other => panic!("no change: {}", show(other)),
        }
    }

    /// The decision as text: see [`show`]. A change must hold in the world that it predicts.
    pub fn shows(&self) -> String {
        let decision = self.decide();
        if let Ok(Decision::Change(change)) = &decision
            && !change.predicts.is_empty()
        {
            let after = self.seen().with(change.predicts.clone());
            let again = self.state.decide(&after, &self.context());
            if !matches!(again, Ok(Decision::Holds(_))) {
                panic!(
                    "does not hold in the world that it predicts: {}\nbefore: {}",
                    show(again),
                    show(decision)
                );
            }
        }
        show(decision)
    }

    /// What is concluded when the steps were answered by `acted` and the world is now `after`.
    pub fn concludes(&self, acted: &[Answer], after: impl IntoIterator<Item = Fact>) -> Conclusion {
        let after = self.seen().with(after);
        let conclusion = self.state.conclude(&self.change(), acted, &after, &self.context());
        conclusion.unwrap_or_else(|e| panic!("{e}"))
    }

    /// What is decided when a watched state has changed, as text; `-` for nothing.
    pub fn watched(&self) -> String {
        match self.state.watched(&self.seen(), &self.context()) {
            Ok(None) => "-".to_owned(),
            Ok(Some(decision)) => show(Ok(decision)),
            Err(error) => show(Err(error)),
        }
    }
}

/// What an edit of `/x` (the name is added to the arguments) makes of `text`: the new text; or the comment in parentheses where
/// nothing changes; or `refused`.
pub fn edited(function: &str, arguments: &str, text: &str) -> String {
    let arguments = format!("{{name: /x, {}", arguments.trim_start_matches('{'));
    if make(function, &arguments).is_err() {
        return "refused".to_owned();
    }
    match state(function, &arguments).sees([file("/x", text)]).decide() {
        Ok(Decision::Holds(comment) | Decision::Fails(comment)) => format!("({})", comment.lines().next().unwrap_or_default()),
        Err(error) => format!("({error})"),
        Ok(Decision::Change(change)) => {
            let put = change.steps.iter().find_map(|step| match step {
                Step::Put(put) => Some(&put.content),
                Step::Shell(_) | Step::Remove(_) => None,
            });
            match put {
                Some(Content::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                _ => "(no contents)".to_owned(),
            }
        }
    }
}

/// `fact` as far as `probe` asks for it.
fn told(probe: &Probe, fact: &Fact) -> Option<Fact> {
    let matches = match (probe, fact) {
        (Probe::Path { path: a, .. }, Fact::Path(b, _))
        | (Probe::Tree { path: a, .. }, Fact::Tree(b, _))
        | (Probe::Package { name: a }, Fact::Package(b, _))
        | (Probe::Candidate { name: a }, Fact::Candidate(b, _))
        | (Probe::Unit { name: a }, Fact::Unit(b, _))
        | (Probe::User { name: a }, Fact::User(b, _))
        | (Probe::Group { name: a }, Fact::Group(b, _))
        | (Probe::Sysctl { key: a }, Fact::Sysctl(b, _))
        | (Probe::Module { name: a }, Fact::Module(b, _))
        | (Probe::Crontab { user: a }, Fact::Crontab(b, _)) => a == b,
        (Probe::Mounts, Fact::Mounts(_)) | (Probe::Listeners, Fact::Listeners(_)) => true,
        (Probe::Shell(a), Fact::Shell(b, _)) => a == b,
        _ => false,
    };
    if !matches {
        return None;
    }
    let mut fact = fact.clone();
    if let (Probe::Path { want, .. }, Fact::Path(_, PathSeen { entry: Some(entry), .. })) = (probe, &mut fact) {
        less(entry, *want);
    }
    Some(fact)
}

fn less(entry: &mut Entry, want: Want) {
    if want < Want::Digest {
        entry.blake2 = None;
    }
    if want < Want::Sha256 && (want < Want::Digest || entry.blake2.is_some()) {
        entry.sha256 = None;
    }
    if want < Want::Text {
        entry.contents = None;
    }
    if let Some(target) = &mut entry.leads_to {
        less(&mut target.entry, want);
    }
}

/// A decision as text: its kind and comments, `changes` as JSON, one line for each step (its script or contents indented below).
pub fn show(decision: Result<Decision>) -> String {
    let change = match decision {
        Err(error) => return format!("error: {error}"),
        Ok(Decision::Holds(comment)) => return format!("holds: {comment}"),
        Ok(Decision::Fails(comment)) => return format!("fails: {comment}"),
        Ok(Decision::Change(change)) => change,
    };
    let mut text = format!("would: {}\ndid: {}\n", change.would, change.did);
    let mut changes = change.changes;
    let diff = changes.get("diff").and_then(|diff| diff.as_str()).map(str::to_owned);
    if let Some(diff) = diff.filter(|diff| diff.starts_with("--- ")) {
        changes.shift_remove("diff");
        text += &indented(diff.trim_start_matches("--- \n+++ \n"));
    }
    if !changes.is_empty() {
        writeln!(text, "changes: {}", serde_json::Value::from(changes)).unwrap();
    }
    if change.secret {
        text += "secret\n";
    }
    for step in &change.steps {
        match step {
            Step::Shell(shell) => {
                writeln!(text, "sh {}", shell.label).unwrap();
                text += &indented(&shell.script);
                if let Some(Content::Bytes(stdin)) = &shell.stdin {
                    writeln!(text, "  <<< {:?}", String::from_utf8_lossy(stdin)).unwrap();
                }
            }
            Step::Remove(path) => writeln!(text, "remove {path}").unwrap(),
            Step::Put(put) => {
                write!(text, "put {}", put.path).unwrap();
                for (name, value) in [
                    ("user", &put.user),
                    ("group", &put.group),
                    ("mode", &put.mode),
                    ("check", &put.check),
                    ("tmp_dir", &put.tmp_dir),
                    ("tmp_ext", &put.tmp_ext),
                ] {
                    if let Some(value) = value {
                        write!(text, " {name}={value}").unwrap();
                    }
                }
                for (name, value) in [("keep", put.keep), ("secret", put.secret)] {
                    if value {
                        write!(text, " {name}").unwrap();
                    }
                }
                text += "\n";
                if let Some(fetch) = &put.fetch {
                    text += &indented(fetch);
                    continue;
                }
                match &put.content {
                    Content::Bytes(bytes) => text += &indented(&String::from_utf8_lossy(bytes)),
                    Content::File { path, size, .. } => writeln!(text, "  ({} of {size} bytes)", path.display()).unwrap(),
                }
            }
        }
    }
    text
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {}\n", line.replace('\0', "\\0")))
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(kind: FileKind, mode: u32, owner: &str) -> Entry {
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let id = |name: &str| if name == "root" { 0 } else { 1000 };
    Entry {
        kind,
        mode,
        uid: id(user),
        gid: id(group),
        user: user.to_owned(),
        group: group.to_owned(),
        size: 0,
        mtime: 1_700_000_000,
        target: None,
        leads_to: None,
        sha256: None,
        blake2: None,
        contents: None,
    }
}

fn at(path: &str, entry: Entry) -> Fact {
    Fact::Path(
        path.to_owned(),
        PathSeen {
            entry: Some(entry),
            ..PathSeen::default()
        },
    )
}

/// A regular file of root's, mode 0644.
pub fn file(path: &str, contents: &str) -> Fact {
    file_of(path, contents, 0o644, "root")
}

/// A regular file; `owner` is `user:group`, or one name for both.
pub fn file_of(path: &str, contents: &str, mode: u32, owner: &str) -> Fact {
    at(path, regular(contents, mode, owner))
}

fn regular(contents: &str, mode: u32, owner: &str) -> Entry {
    Entry {
        size: contents.len() as u64,
        sha256: Some(sha256(contents.as_bytes())),
        contents: Some(contents.as_bytes().into()),
        ..entry(FileKind::File, mode, owner)
    }
}

/// A folder of root's, mode 0755.
pub fn dir(path: &str) -> Fact {
    dir_of(path, 0o755, "root")
}

pub fn dir_of(path: &str, mode: u32, owner: &str) -> Fact {
    at(path, entry(FileKind::Directory, mode, owner))
}

/// Something that is neither a file nor a folder.
pub fn special(path: &str, kind: FileKind) -> Fact {
    at(path, entry(kind, 0o660, "root"))
}

/// A symlink; `leads_to` is what it leads to in the end, as a fact about that path. `None`: it dangles.
pub fn link(path: &str, target: &str, leads_to: Option<Fact>) -> Fact {
    let leads_to = leads_to.and_then(|fact| match fact {
        Fact::Path(path, PathSeen { entry: Some(entry), .. }) => Some(Box::new(Target { path, entry })),
        _ => None,
    });
    at(
        path,
        Entry {
            target: Some(target.to_owned()),
            leads_to,
            ..entry(FileKind::Symlink, 0o777, "root")
        },
    )
}

/// A folder with what is below it, each given as a fact about its whole path.
pub fn tree(root: &str, below: impl IntoIterator<Item = Fact>) -> Fact {
    let relative = |path: String| path.strip_prefix(root).unwrap_or(&path).trim_start_matches('/').to_owned();
    let mut entries: Vec<TreeEntry> = below
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::Path(path, PathSeen { entry: Some(entry), .. }) => Some(TreeEntry {
                path: relative(path),
                entry,
            }),
            _ => None,
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Fact::Tree(root.to_owned(), TreeSeen { entries })
}

/// An account whose group has its name and number.
pub fn user(name: &str, uid: u32) -> Fact {
    let account = crate::probe::Account {
        uid,
        gid: uid,
        group: name.to_owned(),
        home: format!("/home/{name}"),
        shell: "/bin/sh".to_owned(),
        ..Default::default()
    };
    Fact::User(name.to_owned(), UserSeen { account: Some(account) })
}

pub fn group(name: &str, gid: u32) -> Fact {
    let seen = GroupSeen {
        gid: Some(gid),
        members: Vec::new(),
    };
    Fact::Group(name.to_owned(), seen)
}

/// The answer to a shell probe.
pub fn shell(probe: &ShellProbe, status: i32, stdout: &str) -> Fact {
    let seen = ShellSeen {
        status,
        stdout: stdout.into(),
        stderr: Vec::new(),
    };
    Fact::Shell(probe.clone(), seen)
}

fn failed(why: &str) -> ShellSeen {
    ShellSeen {
        status: 1,
        stdout: Vec::new(),
        stderr: why.into(),
    }
}

/// A step's answer.
pub fn answer(status: i32, stdout: &str, stderr: &str) -> Answer {
    Answer {
        status,
        stdout: stdout.into(),
        stderr: stderr.into(),
        dropped: 0,
    }
}
