//! Trees: one `find` for all of them, and one more with `sha256sum` for those whose files are wanted with digests.
//!
//! Every entry is found once, whichever root it was found below; the roots are told apart here. A name that is not UTF-8 is
//! replaced: no state can name it.

use super::paths::{is_sha256, record};
use super::read::{Reader, find};
use super::{Entry, Fact, FileKind, Probe, TreeEntry, TreeSeen};
use crate::error::Result;
use crate::shell::words;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Prints three NUL-terminated fields for each entry (record, path, link target), an empty one, the lines of `sha256sum`, and NUL.
/// A root that is a symlink to a folder is followed: `find` is given it with a slash. GNU's `-printf` is quick; where there is
/// none, a shell asks `stat`.
const SCRIPT: &str = r#"trees() {
for p; do shift; [ ! -d "$p" ] || p=${p%/}/; set -- "$@" "$p"; done
if [ "$(find / -prune -printf x 2>/dev/null)" = x ]; then
find "$@" -printf '=%y%m:%U:%G:%s:%T@:%u:%g\0%p\0%l\0' 2>/dev/null
else
find "$@" -exec sh -c 'IFS="
"
F=%f:%u:%g:%s:%Y:%U:%G
one() {
l=
[ ! -L "$2" ] || { l=$(readlink -n -- "$2" 2>/dev/null; echo .); l=${l%.}; }
printf "%s\0%s\0%s\0" "$1" "$2" "$l"
}
r=$(stat -c $F -- "$@" 2>/dev/null)
n=0
for x in $r; do n=$((n + 1)); done
if [ $n = $# ]; then for x in $r; do one "$x" "$1"; shift; done
else for p; do ! x=$(stat -c $F -- "$p" 2>/dev/null) || one "$x" "$p"; done
fi' sh {} + 2>/dev/null
fi
printf '\0'
}
digests() {
for p; do shift; [ ! -d "$p" ] || p=${p%/}/; set -- "$@" "$p"; done
find "$@" -type f -exec sha256sum -- {} + 2>/dev/null
}
"#;

/// A tree's root, and whether its files' digests are wanted.
pub(super) type Root = (String, bool);

/// The script for `roots`; those that cannot be (relative, or with a NUL) are not asked for.
pub(super) fn script(roots: &[Root]) -> String {
    let valid = || roots.iter().filter(|(path, _)| path.starts_with('/') && !path.contains('\0'));
    let all = words(valid().map(|(path, _)| path.as_str()));
    let hashed = words(valid().filter(|(_, hashes)| *hashes).map(|(path, _)| path.as_str()));
    let mut script = SCRIPT.to_owned();
    if all.is_empty() {
        script.push_str("printf '\\0'\n");
    } else {
        script.push_str(&format!("trees {all}\n"));
    }
    if !hashed.is_empty() {
        script.push_str(&format!("digests {hashed}\n"));
    }
    script + "printf '\\0'\n"
}

/// Reads what [`script`] printed.
pub(super) fn parse(roots: &[Root], answer: &mut Reader) -> Result<Vec<(Probe, Fact)>> {
    answer.now("trees");
    let mut entries = BTreeMap::new();
    loop {
        let fields = answer.block()?;
        if fields.is_empty() {
            break;
        }
        let path = answer.text()?;
        let target = answer.text()?;
        let mut entry = match fields.strip_prefix(b"=") {
            Some(fields) => printed(fields),
            None => record(fields),
        }
        .ok_or_else(|| answer.error("no record of an entry"))?;
        if entry.kind == FileKind::Symlink {
            entry.target = Some(target);
        }
        entries.insert(trimmed(&path).to_owned(), entry);
    }
    digests(answer.block()?, &mut entries);
    let facts = roots.iter().map(|(path, hashes)| {
        let probe = Probe::Tree {
            path: path.clone(),
            hashes: *hashes,
        };
        (probe, Fact::Tree(path.clone(), below(path, *hashes, &entries)))
    });
    Ok(facts.collect())
}

/// A path without the slashes at its end.
fn trimmed(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

/// What `entries` has at and below `root`.
fn below(root: &str, hashes: bool, entries: &BTreeMap<String, Entry>) -> TreeSeen {
    let root = trimmed(root);
    let mut seen = TreeSeen::default();
    let Some(top) = entries.get(root) else { return seen };
    let prefix = format!("{}/", root.trim_end_matches('/'));
    let rest = entries
        .range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded))
        .take_while(|(path, _)| path.starts_with(&prefix));
    let all = std::iter::once((String::new(), top)).chain(rest.map(|(path, entry)| (path[prefix.len()..].to_owned(), entry)));
    seen.entries = all
        .map(|(path, entry)| TreeEntry {
            path,
            entry: Entry {
                sha256: entry.sha256.clone().filter(|_| hashes),
                ..entry.clone()
            },
        })
        .collect();
    seen.entries.sort_by(|a, b| a.path.cmp(&b.path));
    seen
}

/// What `find -printf` says of an entry: its kind's letter, the mode in octal, then as `stat`.
fn printed(fields: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(fields).ok()?;
    let letter = text.get(..1)?;
    let (mode, rest) = text.get(1..)?.split_once(':')?;
    let kind = match letter {
        "f" => 0o100_000,
        "d" => 0o040_000,
        "l" => 0o120_000,
        "b" => 0o060_000,
        "c" => 0o020_000,
        "p" => 0o010_000,
        "s" => 0o140_000,
        _ => return None,
    };
    let mode = u32::from_str_radix(mode, 8).ok()?;
    record(format!("{:x}:{rest}", kind | mode).as_bytes())
}

/// Gives the files their digests. coreutils escapes names with a newline or a backslash (and marks the line), busybox does not: there,
/// a name goes on until it is a file's and another digest (or the end) follows.
fn digests(mut lines: &[u8], entries: &mut BTreeMap<String, Entry>) {
    while let Some((escaped, digest, names)) = digest_line(lines) {
        let mut end = 0;
        // Where to go on if the name is nobody's: the file came after the listing.
        let mut unknown: Option<&[u8]> = None;
        loop {
            let Some(newline) = find(names, b"\n", end) else {
                lines = unknown.unwrap_or_default();
                break;
            };
            let rest = &names[newline + 1..];
            let name = String::from_utf8_lossy(&names[..newline]);
            let name = if escaped { unescaped(&name) } else { name.into_owned() };
            let file = entries.get_mut(trimmed(&name)).filter(|entry| entry.kind == FileKind::File);
            let ends = rest.is_empty() || digest_line(rest).is_some();
            if escaped || (ends && file.is_some()) {
                if let Some(file) = file {
                    file.sha256 = Some(digest.to_owned());
                }
                lines = rest;
                break;
            }
            if ends {
                unknown.get_or_insert(rest);
            }
            end = newline + 1;
        }
    }
}

/// Whether the name is escaped, the digest, and what follows, if this is how a line of `sha256sum` begins.
fn digest_line(text: &[u8]) -> Option<(bool, &str, &[u8])> {
    let escaped = text.first() == Some(&b'\\');
    let line = &text[usize::from(escaped)..];
    let digest = std::str::from_utf8(line.get(..64)?).ok().filter(|hex| is_sha256(hex))?;
    Some((escaped, digest, line.get(64..)?.strip_prefix(b"  ")?))
}

/// A name as coreutils escapes it, read back.
fn unescaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => text.push('\\'),
            },
            (c, _) => text.push(c),
        }
    }
    text
}
