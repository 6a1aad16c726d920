//! Small system files as text: what several states read and put back with a line changed.

use super::{Change, PutFile, TextDiff};
use crate::error::Result;
use crate::probe::{Entry, Fact, FileKind, Observed, PathSeen};
use std::sync::Arc;

/// The text of `path` (of what a symlink leads to), empty where there is none. The path must have been probed with its text.
pub fn text(seen: &Observed, path: &str) -> Result<String> {
    let entry = seen
        .entry(path)?
        .map(|entry| entry.leads_to.as_ref().map_or(entry, |target| &target.entry));
    let contents = entry.and_then(|entry| entry.contents.clone()).unwrap_or_default();
    Ok(String::from_utf8_lossy(&contents).into_owned())
}

/// `change` with a step that makes `new` the text of `path`, keeping what was there; its diff, and what will be seen.
pub fn put(mut change: Change, seen: &Observed, path: &str, new: String) -> Result<Change> {
    let old = text(seen, path)?;
    // A symlink stays one: the file that it leads to is written.
    let entry = seen.entry(path)?;
    let place = entry
        .and_then(|entry| entry.leads_to.as_ref())
        .map_or(path, |target| target.path.as_str())
        .to_owned();
    let mut made = entry.cloned().unwrap_or_else(|| Entry {
        kind: FileKind::File,
        mode: 0o644,
        ..Entry::default()
    });
    let bytes: Arc<[u8]> = Arc::from(new.as_bytes());
    let file = made
        .leads_to
        .as_mut()
        .map_or(&mut made.contents, |target| &mut target.entry.contents);
    *file = Some(bytes);
    change.diffs.push(TextDiff {
        name: path.to_owned(),
        old,
        new: new.clone(),
    });
    let step = PutFile {
        path: place,
        content: new.into(),
        keep: true,
        ..PutFile::default()
    };
    Ok(change.step(step).predict(Fact::Path(
        path.to_owned(),
        PathSeen {
            entry: Some(made),
            ..PathSeen::default()
        },
    )))
}

/// `lines` as a file's text.
pub fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
