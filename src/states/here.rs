//! Runs states on this machine, in a folder of the test's own, under every shell that is here: what is sent to minions is sent to
//! them too. Tests only.

use super::testing::{Case, show};
use super::{Decision, PutFile, Step};
use crate::probe::real::{Minion, answers, minions, observe};
use crate::shell::{Answer, Content, Section, quote};
use std::path::Path;

/// Calls `test` with a fresh folder for each kind of minion that there is here.
pub fn everywhere(test: impl Fn(&Here)) {
    for minion in minions() {
        let folder = tempfile::tempdir().unwrap();
        test(&Here {
            minion,
            root: folder.path().canonicalize().unwrap().to_string_lossy().into_owned(),
        });
    }
}

/// A minion, and a folder on it.
pub struct Here {
    minion: Minion,
    pub root: String,
}

impl Here {
    /// Applies a state as the engine would: observe, decide, act, observe again, conclude. The comment, after `ok: ` or `failed: `
    /// where something was done.
    pub fn apply(&self, case: &Case) -> String {
        let before = observe(&self.minion, case.probes());
        let change = match case.state.decide(&before, &case.context()) {
            Ok(Decision::Change(change)) => change,
            other => return show(other),
        };
        let mut acted = Vec::new();
        for step in &change.steps {
            let answer = self.act(step);
            let ok = answer.ok();
            acted.push(answer);
            if !ok {
                break;
            }
        }
        let after = observe(&self.minion, case.probes());
        let conclusion = case.state.conclude(&change, &acted, &after, &case.context()).unwrap();
        let said = if conclusion.ok { "ok" } else { "failed" };
        format!("{said}: {}", conclusion.comment)
    }

    /// Applies it, and then again: the second time it must hold.
    pub fn converges(&self, case: &Case) -> String {
        let first = self.apply(case);
        let second = self.apply(case);
        assert!(
            second.starts_with("holds: "),
            "{:?}: first {first}, then {second}",
            self.minion
        );
        first
    }

    pub fn run(&self, script: impl Into<String>) -> Answer {
        answers(&self.minion, &[Section::new(script)]).remove(0)
    }

    fn act(&self, step: &Step) -> Answer {
        match step {
            Step::Put(put) => self.put(put),
            Step::Remove(path) => self.run(format!("rm -f -- {}", quote(path))),
            Step::Shell(shell) => match &shell.stdin {
                None => self.run(&shell.script),
                Some(content) => {
                    let place = format!("{}/.stdin", self.root);
                    std::fs::write(&place, bytes(content)).unwrap();
                    let answer = self.run(format!("(\n{}\n) <{}", shell.script, quote(&place)));
                    std::fs::remove_file(place).unwrap();
                    answer
                }
            },
        }
    }

    /// As the engine does it, in outline.
    fn put(&self, put: &PutFile) -> Answer {
        let beside = format!("{}.new", put.path);
        let mut script = format!("tmp={}\ndst={}\n", quote(&beside), quote(&put.path));
        script += "[ ! -f \"$dst\" ] || cp -p \"$dst\" \"$tmp\" || exit 1\n";
        match &put.fetch {
            Some(fetch) => script += &format!("(\n{fetch}\n) || exit 1\n"),
            None => {
                std::fs::write(format!("{beside}.content"), bytes(&put.content)).unwrap();
                script += "cat \"$tmp.content\" >\"$tmp\" && rm \"$tmp.content\" || exit 1\n";
            }
        }
        if put.user.is_some() || put.group.is_some() {
            let owner = format!("{}:{}", put.user.as_deref().unwrap_or(""), put.group.as_deref().unwrap_or(""));
            let owner = owner.trim_end_matches(':');
            script += &format!("chown {} \"$tmp\" || exit 1\n", quote(owner));
        }
        if let Some(mode) = &put.mode {
            script += &format!("chmod {mode} \"$tmp\" || exit 1\n");
        } else if !Path::new(&put.path).exists() {
            script += "chmod 0644 \"$tmp\" || exit 1\n";
        }
        if let Some(check) = &put.check {
            script += &format!(
                "sh -c {} \"$tmp\" || {{ rm \"$tmp\"; exit 1; }}\n",
                quote(&format!("{check} \"$0\""))
            );
        }
        self.run(script + "mv -f \"$tmp\" \"$dst\"")
    }
}

fn bytes(content: &Content) -> Vec<u8> {
    match content {
        Content::Bytes(bytes) => bytes.to_vec(),
        Content::File { path, .. } => std::fs::read(path).unwrap(),
    }
}
