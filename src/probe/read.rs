//! Reading what the scripts printed, byte by byte: blocks that end in NUL, lines, expected texts.

use crate::error::{Error, Result};

/// A place in an output, moving forward.
pub(super) struct Reader<'a> {
    /// What is read, in the words of an error.
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { what, rest: bytes }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Says what is being read from here on.
    pub(super) fn now(&mut self, what: &'static str) {
        self.what = what;
    }

    /// Everything up to the next NUL, which is read too.
    pub(super) fn block(&mut self) -> Result<&'a [u8]> {
        self.until(0, "an output ended early")
    }

    /// The next block as text, invalid UTF-8 replaced.
    pub(super) fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(self.block()?).into_owned())
    }

    /// The next line, without its newline.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        self.until(b'\n', "a line is missing")
    }

    fn until(&mut self, end: u8, missing: &str) -> Result<&'a [u8]> {
        let at = self.rest.iter().position(|b| *b == end).ok_or_else(|| self.error(missing))?;
        let (found, rest) = self.rest.split_at(at);
        self.rest = &rest[1..];
        Ok(found)
    }

    /// Moves past `expected` if it comes next.
    pub(super) fn skip(&mut self, expected: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (found, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.error("an output ended early"))?;
        self.rest = rest;
        Ok(found)
    }

    /// An answer that is not in the form that was asked for.
    pub(super) fn error(&self, why: &str) -> Error {
        let next = &self.rest[..self.rest.len().min(60)];
        Error::state(format!(
            "the answer about {} cannot be understood: {why} before {:?}",
            self.what,
            String::from_utf8_lossy(next)
        ))
    }
}

/// Where `needle` begins in `hay`, from `from` on.
pub(super) fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    hay.get(from..)?
        .windows(needle.len())
        .position(|window| window == needle)
        .map(|at| at + from)
}
