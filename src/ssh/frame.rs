//! The form in which a minion's shell is given a batch, and in which its answers come back. Pure: it knows no connection.
//!
//! Each section runs in a subshell, and after it the shell writes one marker line on both of its outputs: a newline, the
//! batch's nonce, the section's number and its status. What stands before a marker is the section's output, byte for byte,
//! whether it ends in a newline or not.
//!
//! A batch that only asks is gathered: everything that it prints comes on the standard output and at once, what belongs on the
//! standard error behind all the rest. An answer in small pieces takes a round trip more, as Nagle's algorithm (which sshd leaves
//! on) holds the second piece back until the first is acknowledged. The nonce (128 random bits) is given over standard input and is in nobody's `ps`, so
//! that no output looks like a marker by chance or by intent.

use memchr::memmem;

use crate::error::{Error, Result};
use crate::shell::{Section, quote};

/// Bytes of one output that are kept: the first half and the last half of a limit, in memory of the order of that limit.
#[derive(Debug)]
struct Kept {
    first: Vec<u8>,
    last: Vec<u8>,
    limit: usize,
    dropped: u64,
}

impl Kept {
    fn new(limit: usize) -> Kept {
        Kept {
            first: Vec::new(),
            last: Vec::new(),
            limit,
            dropped: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = (self.limit / 2).saturating_sub(self.first.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.first.extend_from_slice(first);
        let limit = self.limit - self.limit / 2;
        // The end is cut only when it has grown to twice its limit: moving it for every packet would be quadratic.
        self.last.extend_from_slice(&rest[rest.len().saturating_sub(limit)..]);
        self.dropped += rest.len().saturating_sub(limit) as u64;
        if self.last.len() > 2 * limit {
            self.cut(limit);
        }
    }

    fn cut(&mut self, limit: usize) {
        let surplus = self.last.len().saturating_sub(limit);
        self.last.drain(..surplus);
        self.dropped += surplus as u64;
    }

    fn finish(mut self) -> (Vec<u8>, u64) {
        self.cut(self.limit - self.limit / 2);
        let mut bytes = self.first;
        bytes.append(&mut self.last);
        (bytes, self.dropped)
    }
}

/// The random part of a batch's markers: 128 bits in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nonce(String);

impl Nonce {
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Nonce> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::usage(format!("the system gives no random numbers: {e}")))?;
        Ok(Nonce(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// A nonce of the caller's, for tests and fuzzing.
    pub fn fixed(text: &str) -> Nonce {
        Nonce(text.to_owned())
    }
}

/// What goes to a fresh shell before the first batch.
///
/// dash and busybox ash read their input in blocks and simply go on with it. bash reads a pipe byte by byte, one system call each:
/// it is sent into a loop that fetches each batch by `head` (measured: 100 kB in 13 instead of 24 ms). Both see the same bytes, as
/// the loop's header is a comment to the others.
pub const PREFACE: &str = concat!(
    r##"[ -z "$BASH_VERSION" ] || while IFS= read -r _h; do case $_h in "#picloud "*) eval "$(head -c "${_h##* }")";; esac; done"##,
    "\n"
);

/// The environment variable that carries a first batch: servers commonly take whatever is called `LC_*` (`AcceptEnv`), and only
/// the account itself and root can read it.
pub const VARIABLE: &str = "LC_PICLOUD";

/// A session that begins with the batch in [`VARIABLE`], if there is one, and goes on with those from its input. That comes there
/// too, as the server may have left the variable out, and is skipped where it did not: a round trip is saved, since a server takes
/// input only when the command has been started.
///
/// It is skipped line by line, up to [`end`]: the next batch may be there already, and busybox' `head` reads further than it is told.
pub const BEGUN: &str = concat!(
    r##"[ -z "${LC_PICLOUD+s}" ] || { eval "unset LC_PICLOUD; $LC_PICLOUD"; "##,
    r##"while IFS= read -r _h && [ "$_h" != "#end $_n" ]; do :; done; }; "##,
    r##"while IFS= read -r _h; do case $_h in "#picloud "*) eval "$(head -c "${_h##* }")";; esac; done"##,
);

/// The line that follows a batch which was in [`VARIABLE`] too.
pub fn end(nonce: &Nonce) -> String {
    format!("#end {}\n", nonce.0)
}

/// The largest batch that goes in the environment, in bytes: Linux takes 128 KiB in one string, and a shell that skips it reads byte by byte.
const LARGEST: usize = 64 << 10;

/// What goes into [`VARIABLE`] of the text that [`encode`] made for a fresh shell; nothing where it is too large.
pub fn variable(text: &[u8]) -> Option<&str> {
    let body = text.splitn(3, |byte| *byte == b'\n').nth(2)?;
    (body.len() <= LARGEST).then(|| std::str::from_utf8(body).ok()).flatten()
}

/// What the first batch starts with: the environment of all sections, what frees the minion's lock when the shell ends
/// (see `lock.rs`), and the two functions that write markers.
///
/// The traps are reset in subshells, so that sections see none of them. A trapped signal is acted on when the section under
/// way has ended.
const SETUP: &str = r#"umask 022; LC_ALL=C; export LC_ALL; unset CDPATH
case :$PATH: in *:/usr/sbin:*) ;; *) PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH ;; esac
_x() { for _f in /run/picloud.lock/$$.* /tmp/picloud-*.lock/$$.* "$PICLOUD_STATE"/lock/$$.*; do [ ! -f "$_f" ] || { rm -f "$_f"; rmdir "${_f%/*}"; }; done 2>/dev/null; }
trap _x EXIT; trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 141' PIPE; trap 'exit 143' TERM
_b() { printf '\n%s s\n' "$_n"; printf '\n%s s\n' "$_n" >&2; }
_e() { printf '\n%s %s %s\n' "$_n" "$1" "$2"; printf '\n%s %s %s\n' "$_n" "$1" "$2" >&2; }
"#;

/// What a gathered batch stands between. `dd` collects full blocks until its input ends (POSIX, where `ibs` and `obs` differ).
const GATHER: (&str, &str) = (
    "{ _r=$( { ",
    "} 2>&1 >&3 3>&- ); printf '%s\\n' \"$_r\" >&3; } 3>&1 | dd ibs=32k obs=64k 2>/dev/null\n",
);

/// Whether the answers to `sections` come in one piece, standard error behind standard output.
pub fn is_gathered(sections: &[Section]) -> bool {
    sections.iter().all(|section| section.own)
}

/// `sections` as the text that a shell is sent. `first` says that the shell is fresh.
///
/// A section is a quoted word given to `eval`: one that is not well-formed, or that was cut off by a dying connection, is never
/// run in part and spoils no other. `$picloud_last` is the status of the section before: a section that must not begin when that one
/// failed asks for it.
///
/// # Errors
/// A script holds a NUL, which no shell can be given.
pub fn encode(nonce: &Nonce, sections: &[Section], first: bool) -> Result<Vec<u8>> {
    let gathered = is_gathered(sections);
    let mut body = String::with_capacity(sections.iter().map(|s| s.script.len() + 48).sum::<usize>() + 1024);
    if first {
        body.push_str(SETUP);
    }
    body.push_str(&format!("_n={}\n{}_b\n", nonce.0, if gathered { GATHER.0 } else { "" }));
    for (number, section) in sections.iter().enumerate() {
        if section.script.contains('\0') {
            return Err(Error::usage("a shell script cannot contain a NUL byte").hint("send binary contents as a file"));
        }
        // The space keeps a script that starts with a dash from being taken for an option of `eval`.
        let text = format!(" {}\n", section.script);
        body.push_str(&format!(
            "(eval {}) </dev/null; picloud_last=$?; _e {number} $picloud_last\n",
            quote(&text)
        ));
    }
    if gathered {
        body.push_str(GATHER.1);
    }
    let mut text = format!("{}#picloud {}\n", if first { PREFACE } else { "" }, body.len());
    text.push_str(&body);
    Ok(text.into_bytes())
}

/// One section's part of one output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub section: usize,
    pub status: i32,
    pub bytes: Vec<u8>,
    /// Bytes dropped beyond the section's limit.
    pub dropped: u64,
}

/// Reads one output of a shell that runs one batch.
#[derive(Debug)]
pub struct Decoder {
    marker: Vec<u8>,
    /// Bytes that may yet turn out to belong to a marker.
    held: Vec<u8>,
    kept: Kept,
    limits: Vec<usize>,
    next: usize,
    started: bool,
    /// What sections have printed since it was last taken, where somebody watches.
    said: Option<Vec<(usize, Vec<u8>)>>,
    /// What came behind the last section, where the other output's part follows there.
    behind: Option<Vec<u8>>,
}

/// The longest rest of a marker line: a number, a space, a status and the newline.
const REST: usize = 32;

/// How much of what comes before a batch starts (a login's greetings, `sudo`'s complaints) is kept for an error message.
const NOISE: usize = 8 << 10;

impl Decoder {
    pub fn new(nonce: &Nonce, sections: &[Section]) -> Decoder {
        Decoder {
            marker: format!("\n{} ", nonce.0).into_bytes(),
            held: Vec::new(),
            kept: Kept::new(NOISE),
            limits: sections.iter().map(|s| s.keep).collect(),
            next: 0,
            started: false,
            said: None,
            behind: None,
        }
    }

    /// From now on keeps what comes behind the last section for [`Decoder::behind`].
    pub fn gather(&mut self) {
        self.behind = Some(Vec::new());
    }

    /// What has come behind the last section since this was last asked.
    pub fn behind(&mut self) -> Vec<u8> {
        self.behind.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on keeps what sections print for [`Decoder::said`] as well.
    pub fn watch(&mut self) {
        self.said = Some(Vec::new());
    }

    /// What sections have printed since this was last asked: all of it, whatever their limits.
    pub fn said(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.said.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A line feed has come of which the next byte will tell whether the section printed it or a marker begins with it. What the
    /// section has printed is a whole line in either case.
    pub fn at_line_end(&self) -> bool {
        self.started && !self.held.is_empty()
    }

    /// Takes bytes that belong to no marker.
    fn took(&mut self, bytes: &[u8]) {
        self.kept.push(bytes);
        if let (true, Some(said), false) = (self.started, &mut self.said, bytes.is_empty()) {
            match said.last_mut() {
                Some((section, text)) if *section == self.next => text.extend_from_slice(bytes),
                _ => said.push((self.next, bytes.to_vec())),
            }
        }
    }

    /// Takes the next bytes of the output and returns the parts that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        if let (true, Some(behind)) = (self.done(), &mut self.behind) {
            behind.extend_from_slice(bytes);
            return parts;
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        // Everything before `at` has been dealt with; `from` is where the next marker is searched.
        let mut from = 0;
        while let Some(found) = memmem::find(&held[from..], &self.marker) {
            let start = from + found;
            let rest = &held[start + self.marker.len()..];
            let line = &rest[..rest.len().min(REST)];
            let Some(end) = line.iter().position(|b| *b == b'\n') else {
                if line.len() < REST {
                    self.took(&held[at..start]);
                    self.held = held[start..].to_vec();
                    return parts;
                }
                from = start + 1;
                continue;
            };
            let Some(status) = self.marks(&line[..end]) else {
                from = start + 1;
                continue;
            };
            self.took(&held[at..start]);
            at = start + self.marker.len() + end + 1;
            from = at;
            let limit = self.limits.get(self.next + usize::from(self.started)).copied();
            let done = std::mem::replace(&mut self.kept, Kept::new(limit.unwrap_or(NOISE)));
            if self.started {
                let (bytes, dropped) = done.finish();
                parts.push(Part {
                    section: self.next,
                    status,
                    bytes,
                    dropped,
                });
                self.next += 1;
            }
            self.started = true;
            if let (true, Some(behind)) = (self.done(), &mut self.behind) {
                behind.extend_from_slice(&held[at..]);
                return parts;
            }
        }
        // A marker has one line feed, at its start: what may yet become one begins at the last.
        let newest = held.len().saturating_sub(self.marker.len() - 1).max(at);
        let begins = held[newest..].iter().rposition(|byte| *byte == b'\n').map(|n| newest + n);
        let safe = begins.filter(|n| self.marker.starts_with(&held[*n..])).unwrap_or(held.len());
        self.took(&held[at..safe]);
        self.held = held[safe..].to_vec();
        parts
    }

    /// The status in the rest of a marker line, where it is the marker that is due: the start, or the end of the next section.
    fn marks(&self, line: &[u8]) -> Option<i32> {
        let line = std::str::from_utf8(line).ok()?;
        if !self.started {
            return (line == "s").then_some(0);
        }
        let (number, status) = line.split_once(' ')?;
        (self.next < self.limits.len() && number.parse() == Ok(self.next)).then_some(())?;
        status.parse().ok()
    }

    /// The batch has started: what came before was not a section's.
    pub fn started(&self) -> bool {
        self.started
    }

    /// All sections have ended.
    pub fn done(&self) -> bool {
        self.started && self.next == self.limits.len()
    }

    /// The number of the section that has not ended yet.
    pub fn at(&self) -> usize {
        self.next
    }

    /// What has come since the last marker: the output that a shell was at when it died, or what came before the batch started.
    pub fn rest(&self) -> Vec<u8> {
        let mut rest = self.kept.first.clone();
        rest.extend_from_slice(&self.kept.last);
        rest.extend_from_slice(&self.held);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sections(n: usize, keep: usize) -> Vec<Section> {
        (0..n)
            .map(|_| Section {
                keep,
                ..Section::new("")
            })
            .collect()
    }

    fn decode(stream: &[u8], n: usize, keep: usize, chunk: usize) -> (Vec<Part>, Decoder) {
        let mut decoder = Decoder::new(&Nonce::fixed("NN"), &sections(n, keep));
        let parts = stream.chunks(chunk).flat_map(|bytes| decoder.feed(bytes)).collect();
        (parts, decoder)
    }

    #[test]
    fn answers_are_read_whatever_they_hold() {
        for (stream, expected) in [
            (&b"\nNN s\n\nNN 0 0\n"[..], vec![(0, &b""[..])]),
            (b"Welcome!\n\nNN s\nhello\n\nNN 0 3\n", vec![(3, b"hello\n")]),
            (
                b"\nNN s\nno newline\nNN 0 0\n\0\xff\n\nNN 1 137\n",
                vec![(0, b"no newline"), (137, b"\0\xff\n")],
            ),
            // Look-alikes: another number, no number, the start again, a line that is too long.
            (
                b"\nNN s\n\nNN 1 0\n\nNN x\n\nNN s\n\nNN 0 0\n",
                vec![(0, b"\nNN 1 0\n\nNN x\n\nNN s\n")],
            ),
            (
                b"\nNN s\n\nNN 0000000000000000000000000000000000000000000\n\nNN 0 1\n",
                vec![(1, b"\nNN 0000000000000000000000000000000000000000000\n")],
            ),
            (b"\nNN s\n\nNN \nNN 0 0\n", vec![(0, b"\nNN ")]),
        ] {
            for chunk in [1, 2, 3, 7, 1000] {
                let (parts, decoder) = decode(stream, expected.len(), 1000, chunk);
                let read: Vec<_> = parts.iter().map(|p| (p.status, p.bytes.as_slice())).collect();
                assert_eq!(read, expected, "in pieces of {chunk}: {:?}", String::from_utf8_lossy(stream));
                assert!(decoder.done());
            }
        }
    }

    #[test]
    fn the_first_and_the_last_half_are_kept() {
        let stream = b"\nNN s\nabcdefghijklmnopqrstuvwxyz\nNN 0 0\n";
        for (keep, expected, dropped) in [
            (100, &b"abcdefghijklmnopqrstuvwxyz"[..], 0),
            (26, b"abcdefghijklmnopqrstuvwxyz", 0),
            (6, b"abcxyz", 20),
            (5, b"abxyz", 21),
            (1, b"z", 25),
            (0, b"", 26),
        ] {
            for chunk in [1, 5, 100] {
                let (parts, _) = decode(stream, 1, keep, chunk);
                assert_eq!(
                    (parts[0].bytes.as_slice(), parts[0].dropped),
                    (expected, dropped),
                    "{keep} {chunk}"
                );
            }
        }
    }

    #[test]
    fn what_is_printed_is_said_as_it_comes() {
        let mut decoder = Decoder::new(&Nonce::fixed("NN"), &sections(2, 0));
        decoder.watch();
        for (bytes, said, line_ends) in [
            (&b"Welcome!\n"[..], vec![], false),
            (b"\nNN s\nhel", vec![(0, &b"hel"[..])], false),
            (b"lo", vec![(0, b"lo")], false),
            // Whether the section printed it the next byte will tell; the line is whole.
            (b"\n", vec![], true),
            (b"\n", vec![(0, b"\n")], true),
            (b"NN", vec![], true),
            (b" is not 0\n", vec![(0, b"\nNN is not 0")], true),
            (b"x\nNN 0 0\ny", vec![(0, b"\nx"), (1, b"y")], false),
            (b"\nNN 1 0\n", vec![], false),
        ] {
            assert!(decoder.feed(bytes).iter().all(|part| part.bytes.is_empty()));
            let read = decoder.said();
            let read: Vec<_> = read.iter().map(|(section, text)| (*section, text.as_slice())).collect();
            assert_eq!(
                (read, decoder.at_line_end()),
                (said, line_ends),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert!(decoder.done());
    }

    #[test]
    fn a_nul_is_refused() {
        assert!(encode(&Nonce::fixed("N"), &[Section::new("echo \0")], true).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_outputs_are_read_back(outputs in prop::collection::vec((prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'N'), Just(b' '), Just(b'0')], 0..40), 0..256i32), 1..6), chunk in 1..50usize) {
            let mut stream = b"\nNN s\n".to_vec();
            for (n, (bytes, status)) in outputs.iter().enumerate() {
                stream.extend_from_slice(bytes);
                stream.extend_from_slice(format!("\nNN {n} {status}\n").as_bytes());
            }
            // With the nonce "NN" an output can hold a true marker, as it never can with a random one.
            prop_assume!(!outputs.iter().any(|(bytes, _)| memmem::find(bytes, b"\nNN ").is_some()));
            let mut decoder = Decoder::new(&Nonce::fixed("NN"), &sections(outputs.len(), 1000));
            decoder.watch();
            let (mut read, mut said) = (Vec::new(), vec![Vec::new(); outputs.len()]);
            for bytes in stream.chunks(chunk) {
                read.extend(decoder.feed(bytes).into_iter().map(|p| (p.bytes, p.status)));
                decoder.said().into_iter().for_each(|(section, text)| said[section].extend(text));
            }
            prop_assert_eq!(said, outputs.iter().map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>());
            prop_assert_eq!(read, outputs);
        }

        #[test]
        fn the_pieces_do_not_matter(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'N'), Just(b' '), Just(b's'), Just(b'0'), Just(b'1')], 0..200), start in any::<bool>(), chunk in 1..9usize) {
            let mut stream = if start { b"\nNN s\n".to_vec() } else { Vec::new() };
            stream.extend_from_slice(&bytes);
            let (whole, in_pieces) = (decode(&stream, 3, 16, 1000), decode(&stream, 3, 16, chunk));
            prop_assert_eq!((whole.0, whole.1.at(), whole.1.done()), (in_pieces.0, in_pieces.1.at(), in_pieces.1.done()));
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'N'), Just(b' '), Just(b's'), Just(b'0')], 0..200), keep in 0..20usize) {
            let (parts, _) = decode(&bytes, 3, keep, 7);
            for part in parts {
                prop_assert!(part.bytes.len() <= keep);
            }
        }
    }
}
