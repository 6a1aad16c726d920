//! The files that say where packages come from: all of them, read at once and for all states.

use crate::error::Result;
use crate::probe::{Fact, Observed, Resource, ShellProbe, ShellSeen};
use crate::states::{Change, PackageManager, PutFile, Step, TextDiff};

/// Files by path, with their lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files(pub Vec<(String, Vec<String>)>);

/// What is asked: every line of every file, each behind its path.
pub fn probe(manager: PackageManager) -> ShellProbe {
    let (patterns, reads) = match manager {
        PackageManager::Apt => (
            "/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources",
            vec![
                Resource::Path("/etc/apt/sources.list".into()),
                Resource::Tree("/etc/apt/sources.list.d".into()),
            ],
        ),
        PackageManager::Dnf => ("/etc/yum.repos.d/*.repo", vec![Resource::Tree("/etc/yum.repos.d".into())]),
        PackageManager::Apk => ("/etc/apk/repositories", vec![Resource::Path("/etc/apk/repositories".into())]),
        PackageManager::Pacman => ("/etc/pacman.conf", vec![Resource::Path("/etc/pacman.conf".into())]),
    };
    ShellProbe {
        script: format!("grep -s -H '' {patterns}; :"),
        reads,
        ..ShellProbe::default()
    }
}

impl Files {
    pub fn read(manager: PackageManager, seen: &Observed) -> Result<Files> {
        let text = seen.shell(&probe(manager))?.text();
        let mut files = Files::default();
        for (path, line) in text.lines().filter_map(|line| line.split_once(':')) {
            match files.0.last_mut() {
                Some((last, lines)) if last == path => lines.push(line.to_owned()),
                _ => files.0.push((path.to_owned(), vec![line.to_owned()])),
            }
        }
        Ok(files)
    }

    pub fn lines(&self, path: &str) -> &[String] {
        let found = self.0.iter().find(|(known, _)| known == path);
        found.map_or(&[], |(_, lines)| lines.as_slice())
    }

    pub fn set(&mut self, path: &str, lines: Vec<String>) {
        match self.0.iter_mut().find(|(known, _)| known == path) {
            Some((_, old)) => *old = lines,
            None => self.0.push((path.to_owned(), lines)),
        }
    }

    /// `change` with the steps that make the files of `self` those of `new`, and what will be seen. A file that has nothing left to
    /// say is removed. `check` is asked about each candidate before it takes its place.
    pub fn write(&self, mut change: Change, new: &Files, manager: PackageManager, check: Option<&str>) -> Change {
        let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for (path, lines) in &new.0 {
            let old = self.lines(path);
            if old == lines.as_slice() {
                continue;
            }
            change.diffs.push(TextDiff {
                name: path.clone(),
                old: text(old),
                new: text(lines),
            });
            if lines.is_empty() {
                let script = format!("rm -f {}", crate::shell::quote(path));
                change = change.step(Step::shell("removing the file", script));
            } else {
                let extension = path.rsplit_once('.').map(|(_, extension)| format!(".{extension}"));
                change = change.step(PutFile {
                    path: path.clone(),
                    content: text(lines).into(),
                    check: check.map(str::to_owned),
                    tmp_ext: extension,
                    keep: true,
                    ..PutFile::default()
                });
            }
        }
        let stdout: String = new
            .0
            .iter()
            .flat_map(|(path, lines)| lines.iter().map(move |line| format!("{path}:{line}\n")))
            .collect();
        let seen = ShellSeen {
            stdout: stdout.into_bytes(),
            ..ShellSeen::default()
        };
        change.predict(Fact::Shell(probe(manager), seen))
    }
}
