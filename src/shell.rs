//! Quoting for POSIX shells, and the batches that a minion's shell is given and answers.
//!
//! Part of the kernel that every room may use; it knows no connection.

mod command;

pub use command::{Command, NOT_BEGUN};

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

/// `text` as one word of a POSIX shell (dash, bash, busybox ash), whatever it contains but NUL.
pub fn quote(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"%+,-./:@_".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// `words` quoted and joined by spaces.
pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// One part of a batch: runs in a subshell of its own, with standard input from `/dev/null`, and is answered by one [`Answer`].
///
/// The text must be well-formed shell; text of a user's own goes in as a quoted word (`sh -c WORD`), so that an unbalanced
/// quote of theirs breaks nothing but their own command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub script: String,
    /// At most this many bytes of each output are kept: the first half and the last half of them.
    pub keep: usize,
    /// It is a question of picloud's own: it runs nothing of a user's, says little on standard error, and leaves nothing behind
    /// that would hold its outputs open. A batch of only such sections is answered in one piece.
    pub own: bool,
}

impl Section {
    /// A section whose output is expected to be small (kept up to 4 MiB).
    pub fn new(script: impl Into<String>) -> Section {
        Section {
            script: script.into(),
            keep: 4 << 20,
            own: false,
        }
    }

    /// A question of picloud's own.
    pub fn own(script: impl Into<String>) -> Section {
        Section {
            own: true,
            ..Section::new(script)
        }
    }
}

/// What a section answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The exit status; 128 + n where signal n ended it.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes of output that were dropped beyond `keep`.
    pub dropped: u64,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Standard output as text, invalid UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text, invalid UTF-8 replaced.
    pub fn error_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

/// Contents to be sent.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Arc<[u8]>),
    /// A file of the master, streamed: too large to hold. Its size in bytes, its SHA-256 and its 512-bit BLAKE2b (hexadecimal).
    File {
        path: PathBuf,
        size: u64,
        sha256: String,
        blake2: String,
    },
}

impl Default for Content {
    fn default() -> Content {
        Content::Bytes(Arc::from([]))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Content {
        Content::Bytes(text.into_bytes().into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Content {
        Content::Bytes(text.as_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_quoted_only_where_needed() {
        for (text, expected) in [
            ("", "''"),
            ("/etc/motd", "/etc/motd"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
            ("a=b", "'a=b'"),
        ] {
            assert_eq!(quote(text), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\\x00]{0,60}") {
            let out = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(&text))).output().unwrap();
            prop_assert_eq!(String::from_utf8(out.stdout).unwrap(), text);
        }
    }
}
