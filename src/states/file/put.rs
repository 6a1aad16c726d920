//! A file as it is to be: its contents, owner and mode compared with what is there, and the one change that makes up the difference.
//!
//! All states that write a whole file decide by this. It knows neither sources nor edits.

use super::owner::Owner;
use super::place::{Parents, followed, kind_name, present, touched};
use super::text::{DIFF_LIMIT, Text, unified};
use crate::error::Result;
use crate::probe::{Entry, FileKind, Observed, Probe, Target, Want};
use crate::shell::{Content, quote};
use crate::states::{Change, Decision, PutFile, Step, TextDiff};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What a file is to contain.
pub(in crate::states) enum Wanted {
    /// Whatever it contains; nothing when it is new.
    Any,
    Bytes(Arc<[u8]>),
    /// A large file of the master.
    Stream {
        content: Content,
        sha256: String,
        blake2: String,
        size: u64,
    },
    /// What the minion gets for itself.
    Fetch {
        /// Shell that writes it to `$tmp`.
        script: String,
        /// Whether the file is known to contain it already.
        same: bool,
        /// Of what is to be got, where it is known.
        sha256: Option<String>,
    },
}

/// A file as it is to be.
pub(in crate::states) struct Put<'a> {
    /// As [`absolute`](super::place::absolute) gives it.
    pub path: &'a str,
    pub wanted: Wanted,
    pub owner: &'a Owner,
    pub mode: Option<u32>,
    pub parents: Parents<'a>,
    /// Whether a symlink at the path is written through, not replaced.
    pub follow: bool,
    pub check: Option<String>,
    pub tmp_dir: Option<String>,
    pub tmp_ext: Option<String>,
    /// Whether the difference may be shown.
    pub show: bool,
    /// Whether the old text is looked at, for a difference to show.
    pub compare: bool,
    /// The old file is also copied to its path with this at the end.
    pub suffix: Option<String>,
    pub comments: Comments,
}

/// What is said of a file.
pub(in crate::states) struct Comments {
    pub would: String,
    pub did: String,
    pub holds: String,
}

impl Comments {
    /// Those of `file.managed`.
    pub fn managed(path: &str) -> Comments {
        Comments {
            would: format!("The file {path} is set to be changed"),
            did: format!("File {path} updated"),
            holds: format!("The file {path} is in the correct state"),
        }
    }
}

/// How much of the path itself must be seen to decide.
fn want(wanted: &Wanted) -> Want {
    match wanted {
        Wanted::Any => Want::Meta,
        Wanted::Bytes(bytes) if bytes.len() <= DIFF_LIMIT && !bytes.contains(&0) => Want::Text,
        Wanted::Stream { .. } => Want::Digest,
        _ => Want::Sha256,
    }
}

impl Put<'_> {
    /// What must be seen to decide.
    pub fn probes(&self) -> Vec<Probe> {
        // Contents that must not be shown need not be seen: their digest tells whether they are the same.
        let want = want(&self.wanted);
        let mut probes = vec![Probe::Path {
            path: self.path.to_owned(),
            want: if self.show && self.compare {
                want
            } else {
                want.min(Want::Sha256)
            },
        }];
        probes.extend(self.parents.probes());
        probes.extend(self.owner.probes());
        probes
    }

    /// What would have to change.
    pub fn decide(self, seen: &Observed) -> Result<Decision> {
        if let Some(unknown) = self.owner.unknown(seen)? {
            return Ok(Decision::Fails(unknown));
        }
        let there = seen.entry(self.path)?;
        let link = there.is_some_and(|entry| entry.kind == FileKind::Symlink);
        let (real, old) = match there {
            Some(entry) if link && self.follow => match &entry.leads_to {
                Some(target) => (target.path.as_str(), Some(&target.entry)),
                None => {
                    let target = entry.target.as_deref().unwrap_or_default();
                    return Ok(Decision::Fails(format!(
                        "{} is a symlink to {target}, where there is nothing\nhint: remove the symlink, or say `follow_symlinks: False` to replace it",
                        self.path
                    )));
                }
            },
            Some(_) if link => (self.path, None),
            there => (self.path, there),
        };
        match old.map(|entry| entry.kind) {
            None | Some(FileKind::File) => {}
            Some(FileKind::Directory) => return Ok(Decision::Fails(format!("Specified target {} is a directory", self.path))),
            Some(kind) => return Ok(Decision::Fails(format!("{} is a {}, not a file", self.path, kind_name(kind)))),
        }
        // Where there is something, there is a folder that it lies in.
        let missing = match if there.is_some() {
            Ok(Vec::new())
        } else {
            self.parents.missing(seen)?
        } {
            Ok(missing) => missing,
            Err(why) => return Ok(Decision::Fails(why)),
        };

        let mut change = Change::new(self.comments.would.clone(), self.comments.did.clone());
        let (make, folders) = self.parents.make(&missing, seen)?;
        change.steps.extend(make);
        change.predicts.extend(folders);
        let mut writes: Vec<_> = missing.iter().flat_map(|folder| touched(folder)).collect();

        let rewrites = old.is_none_or(|entry| !self.same(entry));
        let mut after = match old {
            Some(entry) => entry.clone(),
            None => Entry {
                mode: 0o644,
                ..Entry::default()
            },
        };
        if rewrites {
            self.contents(old, link, &mut change, &mut after);
            if let (Some(suffix), Some(old)) = (&self.suffix, old) {
                let kept = format!("{real}{suffix}");
                change.steps.push(Step::shell(
                    format!("cp {real} {kept}"),
                    format!("cp -p {} {}", quote(real), quote(&kept)),
                ));
                change.predicts.push(present(&kept, old.clone()));
                writes.extend(touched(&kept));
            }
        }
        let mut differs = match old {
            Some(entry) => self.owner.differs(entry),
            None => Vec::new(),
        };
        if let (Some(mode), Some(entry)) = (self.mode, old)
            && entry.mode != mode
        {
            differs.push(("mode", format!("{mode:04o}").into()));
        }
        if !rewrites && differs.is_empty() {
            return Ok(Decision::Holds(self.comments.holds));
        }
        after = self.owner.applied(after, old.is_none(), seen)?;
        after.mode = self.mode.unwrap_or(after.mode);
        if rewrites {
            change.steps.push(self.put(real).into());
        } else {
            change.steps.push(self.modes(real, &differs));
        }
        for (what, value) in differs {
            change = change.change(what, value);
        }
        writes.extend(touched(self.path));
        if link && self.follow {
            writes.extend(touched(real));
            change.predicts.push(present(real, after.clone()));
            let link = Entry {
                leads_to: Some(Box::new(Target {
                    path: real.to_owned(),
                    entry: after,
                })),
                ..there.cloned().unwrap_or_default()
            };
            change.predicts.push(present(self.path, link));
        } else {
            change.predicts.push(present(self.path, after));
        }
        change.secret = !self.show;
        change.writes = Some(writes);
        Ok(change.into())
    }

    /// Whether `entry` contains what is wanted.
    fn same(&self, entry: &Entry) -> bool {
        match &self.wanted {
            Wanted::Any => true,
            Wanted::Bytes(bytes) => match (&entry.contents, &entry.sha256) {
                (Some(contents), _) => contents == bytes,
                (None, Some(sha256)) => entry.size == bytes.len() as u64 && *sha256 == hex(bytes),
                (None, None) => false,
            },
            Wanted::Stream { sha256, blake2, .. } => {
                entry.blake2.as_ref() == Some(blake2) || entry.sha256.as_ref() == Some(sha256)
            }
            Wanted::Fetch { same, sha256, .. } => *same || (sha256.is_some() && entry.sha256 == *sha256),
        }
    }

    /// What is told of the new contents, and what is seen of them afterwards.
    fn contents(&self, old: Option<&Entry>, link: bool, change: &mut Change, after: &mut Entry) {
        let new = match &self.wanted {
            Wanted::Any => {
                let what = format!("file {} created", self.path);
                change.changes.insert("new".to_owned(), what.into());
                change.did = "Empty file".to_owned();
                after.sha256 = Some(hex(&[]));
                after.contents = Some(Arc::from([]));
                return;
            }
            Wanted::Bytes(bytes) => {
                after.size = bytes.len() as u64;
                after.sha256 = Some(hex(bytes));
                after.contents = (bytes.len() as u64 <= crate::probe::TEXT_LIMIT).then(|| bytes.clone());
                Some(bytes)
            }
            Wanted::Stream {
                sha256, blake2, size, ..
            } => {
                after.size = *size;
                after.sha256 = Some(sha256.clone());
                after.blake2 = Some(blake2.clone());
                after.contents = None;
                None
            }
            Wanted::Fetch { sha256, .. } => {
                after.sha256.clone_from(sha256);
                after.contents = None;
                None
            }
        };
        let text = |bytes: &[u8]| (bytes.len() <= DIFF_LIMIT).then(|| Text::of(bytes)).flatten();
        let told = match (old, new) {
            _ if !self.show => "<show_changes=False>".to_owned(),
            (None, _) if link => "Replace symbolic link with regular file".to_owned(),
            (None, new) => {
                if let Some(new) = new.and_then(|new| text(new)) {
                    change.diffs.push(TextDiff {
                        name: self.path.to_owned(),
                        old: String::new(),
                        new: new.text,
                    });
                }
                "New file".to_owned()
            }
            (Some(Entry { contents: Some(old), .. }), Some(new)) => match (Text::of(old), Text::of(new)) {
                (Some(old), Some(new)) if old.text.len().max(new.text.len()) <= DIFF_LIMIT => {
                    let diff = unified(&old.text, &new.text);
                    change.diffs.push(TextDiff {
                        name: self.path.to_owned(),
                        old: old.text,
                        new: new.text,
                    });
                    diff
                }
                (Some(_), Some(_)) => "Replace text file (too long to be compared here)".to_owned(),
                (Some(_), None) => "Replace text file with binary file".to_owned(),
                (None, Some(_)) => "Replace binary file with text file".to_owned(),
                (None, None) => "Replace binary file".to_owned(),
            },
            (Some(old), _) => {
                let (kind, old, new) = match &old.sha256 {
                    None => ("blake2b", &old.blake2, &after.blake2),
                    sha256 => ("sha256", sha256, &after.sha256),
                };
                let sums = serde_json::json!({"old": old, "new": new});
                change.changes.insert(kind.to_owned(), sums);
                return;
            }
        };
        change.changes.insert("diff".to_owned(), told.into());
    }

    fn put(&self, real: &str) -> PutFile {
        let (content, fetch) = match &self.wanted {
            Wanted::Any => (Content::default(), None),
            Wanted::Bytes(bytes) => (Content::Bytes(bytes.clone()), None),
            Wanted::Stream { content, .. } => (content.clone(), None),
            Wanted::Fetch { script, .. } => (Content::default(), Some(script.clone())),
        };
        PutFile {
            path: real.to_owned(),
            content,
            fetch,
            user: self.owner.user.clone(),
            group: self.owner.group.clone(),
            mode: self.mode.map(|mode| format!("{mode:04o}")),
            check: self.check.clone(),
            tmp_dir: self.tmp_dir.clone(),
            tmp_ext: self.tmp_ext.clone(),
            keep: true,
            secret: !self.show,
        }
    }

    /// Owner and mode alone. A new owner takes the set-user-ID bit away, so the mode comes after it.
    fn modes(&self, real: &str, differs: &[(&str, serde_json::Value)]) -> Step {
        let word = quote(real);
        let mut commands = Vec::new();
        let owner = differs.iter().any(|(what, _)| *what != "mode");
        if let Some(owner) = self.owner.word().filter(|_| owner) {
            commands.push(format!("chown {} {word}", quote(&owner)));
        }
        if let Some(mode) = self.mode {
            commands.push(format!("chmod {mode:05o} {word}"));
        }
        Step::shell(format!("owner and mode of {real}"), commands.join(" && "))
    }
}

/// The SHA-256 of `bytes`, hexadecimal.
pub(in crate::states) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry that a state decides on: what a symlink leads to where it is followed.
pub(in crate::states) fn regular<'a>(seen: &'a Observed, path: &str) -> Result<Option<&'a Entry>> {
    Ok(seen
        .entry(path)?
        .and_then(followed)
        .filter(|entry| entry.kind == FileKind::File))
}
