//! Text of files: what was observed of one, its difference to another, and the suffix under which an edit keeps the old one.

use super::place::{followed, kind_name};
use crate::error::{Error, Result};
use crate::probe::{Entry, FileKind, TEXT_LIMIT};
use crate::yaml::{Data, Value};
use similar::TextDiff;

/// Differences of longer texts are not drawn, in bytes.
pub(in crate::states) const DIFF_LIMIT: usize = 256 << 10;

const _: () = assert!(DIFF_LIMIT as u64 <= TEXT_LIMIT, "what is compared must have been brought");

/// A text with the encoding that its bytes were read by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::states) struct Text {
    pub text: String,
    /// Not UTF-8: read byte by byte as Latin-1, and written back so. Nothing of such a file is lost by an edit.
    latin1: bool,
}

impl Text {
    /// `bytes` as text; `None` for binary ones (with a NUL in them).
    pub fn of(bytes: &[u8]) -> Option<Text> {
        if bytes.contains(&0) {
            return None;
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Text {
                text: text.to_owned(),
                latin1: false,
            },
            Err(_) => Text {
                text: bytes.iter().map(|byte| char::from(*byte)).collect(),
                latin1: true,
            },
        })
    }

    /// `text` in the encoding of `self`.
    ///
    /// # Errors
    /// It has a character that the encoding has not.
    pub fn encode(&self, text: &str) -> Result<Vec<u8>> {
        if !self.latin1 {
            return Ok(text.as_bytes().to_vec());
        }
        text.chars()
            .map(|c| {
                u8::try_from(u32::from(c)).map_err(|_| {
                    Error::state(format!(
                        "the file is not UTF-8, so that the character {c:?} cannot be written into it"
                    ))
                    .hint("convert the file with `iconv -f latin1 -t utf-8` first")
                })
            })
            .collect()
    }
}

/// What an edit finds at a path.
pub(in crate::states) enum Found {
    Missing,
    Text(Text),
    /// Why it cannot be edited.
    No(String),
}

/// The text at `path`, of which `entry` was observed with `Want::Text`.
///
/// # Errors
/// Its contents were not observed.
pub(in crate::states) fn found(path: &str, entry: Option<&Entry>) -> Result<Found> {
    let Some(entry) = entry else { return Ok(Found::Missing) };
    let Some(entry) = followed(entry) else {
        let target = entry.target.as_deref().unwrap_or_default();
        return Ok(Found::No(format!("{path} is a symlink to {target}, where there is nothing")));
    };
    if entry.kind != FileKind::File {
        return Ok(Found::No(format!("{path} is a {}, not a file", kind_name(entry.kind))));
    }
    let Some(bytes) = &entry.contents else {
        if entry.size > TEXT_LIMIT {
            return Ok(Found::No(format!(
                "{path} has {} bytes; files of more than {TEXT_LIMIT} bytes are not edited",
                entry.size
            )));
        }
        return Err(Error::state(format!("internal: the contents of {path} were never observed")));
    };
    Ok(match Text::of(bytes) {
        Some(text) => Found::Text(text),
        None => Found::No(format!("Cannot perform string replacements on a binary file: {path}")),
    })
}

/// The unified diff as Salt prints it, without file names.
pub(in crate::states) fn unified(old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header("", "")
        .to_string()
}

/// The lines of `text` with their ends.
pub(in crate::states) fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The lines of `text` without their ends, which may be `\n`, `\r\n` or `\r`.
pub(in crate::states) fn bare_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        rest = &rest[end..];
        rest = rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
    }
    lines
}

/// The suffix under which the old file is kept beside the new one, where the `backup` argument is one (`.bak`).
///
/// Every replaced file is kept for `picloud undo` anyway; so `minion`, `True` and Salt's defaults ask for nothing more.
pub(in crate::states) fn backup_suffix(backup: Option<&Value>) -> Option<String> {
    match backup.map(|value| &value.data) {
        Some(Data::Str(suffix)) if !matches!(&**suffix, "" | "minion" | "master" | "both") => Some(suffix.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let text = Text::of(b"caf\xe9\n").unwrap();
        assert_eq!(text.text, "café\n");
        assert_eq!(text.encode("café!\n").unwrap(), b"caf\xe9!\n");
        assert!(text.encode("€").is_err());
        assert_eq!(Text::of(b"a\0b"), None);
    }

    #[test]
    fn lines_with_any_end() {
        assert_eq!(bare_lines("a\r\nb\rc\n\nd"), ["a", "b", "c", "", "d"]);
        assert_eq!(bare_lines(""), [] as [&str; 0]);
        assert_eq!(lines("a\nb"), ["a\n", "b"]);
    }

    #[test]
    fn a_diff_has_no_names() {
        assert_eq!(unified("a\nb\n", "a\nc\n"), "--- \n+++ \n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    }
}
