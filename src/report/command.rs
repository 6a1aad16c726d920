//! The output of a command on many minions, as it comes.

use super::paint::{CYAN, paint, safe, width};
use crate::run::Said;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};

/// The longest line that is waited for, in bytes; of a longer one each piece is a line.
const LONGEST: usize = 64 << 10;

/// Prints what each minion says, line by line: standard output to ours, and so standard error. Lines bear their minion's name, unless
/// there is only one. What a single minion says to a file or a pipe is passed on as it is.
pub struct CommandText {
    /// The widest name; 0 where lines bear none.
    column: usize,
    /// Whether standard output and standard error get bytes as they are.
    raw: [bool; 2],
    /// Minions that have said something.
    heard: HashMap<String, [Lines; 2]>,
    /// Between the lines and the bars, which must not write into each other.
    bars: Option<indicatif::MultiProgress>,
}

impl CommandText {
    pub fn new<'a>(minions: impl IntoIterator<Item = &'a str>, bars: Option<indicatif::MultiProgress>) -> CommandText {
        let widths: Vec<usize> = minions.into_iter().map(width).collect();
        let one = widths.len() == 1;
        CommandText {
            column: if one { 0 } else { widths.into_iter().max().unwrap_or(0) },
            raw: [
                one && !std::io::stdout().is_terminal(),
                one && !std::io::stderr().is_terminal(),
            ],
            heard: HashMap::new(),
            bars,
        }
    }

    /// `minion` has said something.
    pub fn said(&mut self, minion: &str, said: &Said) {
        let stream = usize::from(said.stderr);
        let lines = &mut self.heard.entry(minion.to_owned()).or_default()[stream];
        if self.raw[stream] {
            lines.pass(&said.bytes);
            return self.write(said.stderr, &said.bytes);
        }
        let lines = lines.take(&said.bytes, said.line_ends);
        self.print(minion, said.stderr, &lines);
    }

    /// `minion` will say no more: its command has ended with `status`, or there was no answer.
    pub fn done(&mut self, minion: &str, status: Option<i32>) {
        let heard = self.heard.remove(minion);
        let silent = heard.is_none();
        for (stream, mut lines) in heard.into_iter().flatten().enumerate() {
            if !self.raw[stream] {
                let rest = lines.take(b"", true);
                self.print(minion, stream == 1, &rest);
            } else if stream == 1 && status != Some(0) && !lines.rest.is_empty() {
                // What we say ourselves begins on a line of its own.
                self.write(true, b"\n");
            }
        }
        match status {
            None => self.print(minion, true, &["(no answer)".to_owned()]),
            Some(0) if silent && self.column > 0 => self.print(minion, false, &["(no output)".to_owned()]),
            Some(0) => {}
            Some(status) => self.print(minion, true, &[format!("exited with status {status}")]),
        }
    }

    fn print(&self, minion: &str, stderr: bool, lines: &[String]) {
        let mut text = String::new();
        for line in lines {
            if self.column > 0 {
                let fill = " ".repeat(self.column.saturating_sub(width(minion)));
                text += &format!("{}{fill} | ", paint(CYAN, minion));
            }
            text += &safe(line);
            text.push('\n');
        }
        if !text.is_empty() {
            self.write(stderr, text.as_bytes());
        }
    }

    fn write(&self, stderr: bool, bytes: &[u8]) {
        // Where nobody reads any more (`| head`) the run goes on, as it is not to be cut off in the middle.
        let whole = |mut out: Box<dyn Write>| drop(out.write_all(bytes).and_then(|()| out.flush()));
        let write = || match (stderr, self.raw[usize::from(stderr)]) {
            (false, false) => whole(Box::new(anstream::stdout())),
            (false, true) => whole(Box::new(std::io::stdout())),
            (true, false) => whole(Box::new(anstream::stderr())),
            (true, true) => whole(Box::new(std::io::stderr())),
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Makes lines of what comes in pieces, in bounded memory.
#[derive(Debug, Default)]
struct Lines {
    /// The start of a line whose end has not come.
    rest: Vec<u8>,
    /// The last line was handed out before its line feed came, if one comes at all.
    early: bool,
}

impl Lines {
    /// The lines that `bytes` complete; where `line_ends`, what is left over is one as well.
    fn take(&mut self, bytes: &[u8], line_ends: bool) -> Vec<String> {
        let mut bytes = bytes;
        if self.early && !bytes.is_empty() {
            self.early = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.rest.extend_from_slice(end);
                    self.hand_out(self.rest.len(), &mut lines);
                }
                None => self.rest.extend_from_slice(piece),
            }
            while self.rest.len() > LONGEST {
                // Not within a character.
                let end = (LONGEST - 3..=LONGEST).rev().find(|n| self.rest[*n] & 0xc0 != 0x80);
                self.hand_out(end.unwrap_or(LONGEST), &mut lines);
            }
        }
        // An empty line is handed out when its line feed is certain.
        if line_ends && !self.rest.is_empty() {
            self.hand_out(self.rest.len(), &mut lines);
            self.early = true;
        }
        lines
    }

    /// Takes note of bytes that are passed on as they are: whether the last line has ended.
    fn pass(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.rest = if *last == b'\n' { Vec::new() } else { vec![*last] };
        }
    }

    fn hand_out(&mut self, end: usize, lines: &mut Vec<String>) {
        lines.push(String::from_utf8_lossy(&self.rest[..end]).into_owned());
        self.rest.drain(..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_in_whatever_pieces_they_come() {
        let long = "é".repeat(LONGEST);
        for (pieces, expected) in [
            (&[(&b"one\ntw"[..], false), (b"o\n", false)][..], &["one", "two"][..]),
            (&[(b"\n\na", false), (b"", true)], &["", "", "a"]),
            // A line that was handed out before its line feed came.
            (
                &[(b"one", true), (b"\ntwo", true), (b"\n", true), (b"\n", false)],
                &["one", "two", ""],
            ),
            (&[(b"", true), (b"\n", true)], &[""]),
            (&[(b"one", true), (b"", true), (b"\n", false)], &["one"]),
            (&[(b"\xc3", false), (b"\xa9\xff\n", false)], &["é\u{fffd}"]),
            (
                &[(long.as_bytes(), false), (b"\n", false)],
                &[&long[..LONGEST], &long[LONGEST..]],
            ),
        ] {
            let mut lines = Lines::default();
            let read: Vec<String> = pieces.iter().flat_map(|(bytes, ends)| lines.take(bytes, *ends)).collect();
            assert_eq!(read, expected, "{pieces:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let mut lines = Lines::default();
        let mut length = 0;
        for _ in 0..1000 {
            length += lines.take(&[0; 10_000], false).iter().map(String::len).sum::<usize>();
            assert!(lines.rest.len() <= LONGEST && lines.rest.capacity() < 4 * LONGEST);
        }
        assert_eq!(length + lines.rest.len(), 10_000_000);
    }
}
