//! What the elevated writer is asked, and what it answers: frames of known kinds and limited lengths.
//!
//! ```text
//! request:  kind (1)  offset (8)  length (4)  [length bytes, of open and write]     numbers are little-endian
//! answer:   kind (1)  length (4)  [length bytes]
//! ```
//! Both sides are the same program, but the writer runs as root and does not rely on that: whatever does not fit ends it.

use super::target::Fault;
use crate::error::Error;
use crate::flash::device::open::Confirmed;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The most bytes that one request reads or writes.
pub const LARGEST: u32 = 16 << 20;

/// The most bytes of a description or an error.
const TEXT: u32 = 64 << 10;

/// The smallest unit of disks: offsets and lengths are multiples of it.
pub const SECTOR: u64 = 512;

/// What the writer can be asked: nothing else.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// The first one, and only once.
    Open(Confirmed),
    /// The bytes follow.
    Write {
        offset: u64,
        length: u32,
    },
    Read {
        offset: u64,
        length: u32,
    },
    /// Zeros.
    Wipe {
        offset: u64,
        length: u32,
    },
    Sync,
    RereadTable,
    Eject,
    Close,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Request {
    /// Writes the frame, but for the bytes of [`Request::Write`].
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&self, out: &mut impl Write) -> io::Result<()> {
        let text = match self {
            Request::Open(confirmed) => serde_json::to_vec(confirmed)?,
            _ => Vec::new(),
        };
        let (kind, offset, length) = match self {
            Request::Open(_) => (1, 0, text.len() as u32),
            Request::Write { offset, length } => (2, *offset, *length),
            Request::Read { offset, length } => (3, *offset, *length),
            Request::Wipe { offset, length } => (4, *offset, *length),
            Request::Sync => (5, 0, 0),
            Request::RereadTable => (6, 0, 0),
            Request::Eject => (7, 0, 0),
            Request::Close => (8, 0, 0),
        };
        let mut frame = vec![kind];
        frame.extend_from_slice(&u64::to_le_bytes(offset));
        frame.extend_from_slice(&u32::to_le_bytes(length));
        frame.extend_from_slice(&text);
        out.write_all(&frame)?;
        out.flush()
    }

    /// Reads a frame, but for the bytes of [`Request::Write`]; `None` where the other side has ended.
    ///
    /// # Errors
    /// It is no frame, or ends within.
    pub fn receive(input: &mut impl Read) -> io::Result<Option<Request>> {
        let mut kind = [0];
        loop {
            match input.read(&mut kind) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        input.read_exact(&mut offset)?;
        input.read_exact(&mut length)?;
        let (offset, length) = (u64::from_le_bytes(offset), u32::from_le_bytes(length));
        let range = |request: Request| {
            let whole = offset.is_multiple_of(SECTOR) && u64::from(length).is_multiple_of(SECTOR);
            let fits = (1..=LARGEST).contains(&length) && offset.checked_add(u64::from(length)).is_some();
            if whole && fits {
                Ok(request)
            } else {
                Err(invalid("a range that no disk has"))
            }
        };
        let plain = |request: Request| {
            let empty = (offset, length) == (0, 0);
            if empty {
                Ok(request)
            } else {
                Err(invalid("a range where none belongs"))
            }
        };
        match kind[0] {
            1 if length <= TEXT && offset == 0 => {
                let mut text = vec![0; length as usize];
                input.read_exact(&mut text)?;
                let confirmed = serde_json::from_slice(&text).map_err(|e| invalid(e.to_string()))?;
                Ok(Some(Request::Open(confirmed)))
            }
            2 => range(Request::Write { offset, length }).map(Some),
            3 => range(Request::Read { offset, length }).map(Some),
            4 => range(Request::Wipe { offset, length }).map(Some),
            5 => plain(Request::Sync).map(Some),
            6 => plain(Request::RereadTable).map(Some),
            7 => plain(Request::Eject).map(Some),
            8 => plain(Request::Close).map(Some),
            kind => Err(invalid(format!("no request of kind {kind}"))),
        }
    }
}

/// What was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub capacity: u64,
    pub direct: bool,
}

/// Each request has one answer, in the same order.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Opened(Facts),
    /// With what the user should be told.
    Done(Vec<String>),
    /// The bytes follow.
    Data(u32),
    Fault(Fault),
    /// It will not do that, or cannot go on; it ends.
    Refused(Error),
}

impl Answer {
    /// Writes the frame, but for the bytes of [`Answer::Data`].
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&self, out: &mut impl Write) -> io::Result<()> {
        let (kind, text) = match self {
            Answer::Opened(facts) => (1, serde_json::to_vec(facts)?),
            Answer::Done(notes) if notes.is_empty() => (2, Vec::new()),
            Answer::Done(notes) => (2, serde_json::to_vec(notes)?),
            Answer::Data(_) => (3, Vec::new()),
            Answer::Fault(fault) => (4, serde_json::to_vec(fault)?),
            Answer::Refused(error) => (5, serde_json::to_vec(error)?),
        };
        let length = match self {
            Answer::Data(length) => *length,
            _ => text.len() as u32,
        };
        let mut frame = vec![kind];
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&text);
        out.write_all(&frame)?;
        out.flush()
    }

    /// Reads a frame, but for the bytes of [`Answer::Data`].
    ///
    /// # Errors
    /// It is no frame, or the other side has ended.
    pub fn receive(input: &mut impl Read) -> io::Result<Answer> {
        let (mut kind, mut length) = ([0], [0; 4]);
        input.read_exact(&mut kind)?;
        input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if kind[0] == 3 {
            return match length <= LARGEST {
                true => Ok(Answer::Data(length)),
                false => Err(invalid("more bytes than were asked for")),
            };
        }
        if length > TEXT {
            return Err(invalid("an answer that is too long"));
        }
        let mut text = vec![0; length as usize];
        input.read_exact(&mut text)?;
        let wrong = |e: serde_json::Error| invalid(e.to_string());
        match kind[0] {
            1 => serde_json::from_slice(&text).map(Answer::Opened).map_err(wrong),
            2 if text.is_empty() => Ok(Answer::Done(Vec::new())),
            2 => serde_json::from_slice(&text).map(Answer::Done).map_err(wrong),
            4 => serde_json::from_slice(&text).map(Answer::Fault).map_err(wrong),
            5 => serde_json::from_slice(&text).map(Answer::Refused).map_err(wrong),
            kind => Err(invalid(format!("no answer of kind {kind}"))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::target;
    use super::*;
    use crate::flash::device::rules::Allow;
    use proptest::prelude::*;

    prop_compose! {
        fn confirmed()(
            path in "/dev/[a-z0-9]{1,12}",
            number in any::<(u32, u32)>(),
            size in any::<u64>(),
            diskseq in any::<Option<u64>>(),
            serial in any::<Option<String>>(),
            image in any::<u64>(),
            flags in any::<(bool, bool, bool, bool)>(),
        ) -> Confirmed {
            let (fixed, large, unmount, named) = flags;
            Confirmed {
                path: path.into(), number, size, diskseq, cid: serial.clone(), serial, image,
                allow: Allow { fixed, large, unmount, named },
            }
        }
    }

    fn request() -> impl Strategy<Value = Request> {
        let range = || (0_u64..1 << 50, 1_u32..=LARGEST / 512).prop_map(|(at, count)| (at * 512, count * 512));
        prop_oneof![
            confirmed().prop_map(Request::Open),
            range().prop_map(|(offset, length)| Request::Write { offset, length }),
            range().prop_map(|(offset, length)| Request::Read { offset, length }),
            range().prop_map(|(offset, length)| Request::Wipe { offset, length }),
            Just(Request::Sync),
            Just(Request::RereadTable),
            Just(Request::Eject),
            Just(Request::Close),
        ]
    }

    fn answer() -> impl Strategy<Value = Answer> {
        let fault = any::<(u64, u64, bool, String)>().prop_map(|(offset, length, gone, message)| {
            Answer::Fault(Fault {
                request: target::Request::Write,
                offset,
                length,
                gone,
                message,
            })
        });
        prop_oneof![
            any::<(u64, bool)>().prop_map(|(capacity, direct)| Answer::Opened(Facts { capacity, direct })),
            any::<Vec<String>>().prop_map(Answer::Done),
            (0..=LARGEST).prop_map(Answer::Data),
            fault,
            any::<(String, String)>().prop_map(|(message, hint)| Answer::Refused(Error::usage(message).hint(hint))),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written(requests in proptest::collection::vec(request(), 0..8), answers in proptest::collection::vec(answer(), 0..8)) {
            let mut stream = Vec::new();
            for request in &requests {
                request.send(&mut stream).unwrap();
            }
            let mut rest = &stream[..];
            for request in &requests {
                prop_assert_eq!(&Request::receive(&mut rest).unwrap().unwrap(), request);
            }
            prop_assert!(Request::receive(&mut rest).unwrap().is_none());
            let mut stream = Vec::new();
            for answer in &answers {
                answer.send(&mut stream).unwrap();
            }
            let mut rest = &stream[..];
            for answer in &answers {
                prop_assert_eq!(&Answer::receive(&mut rest).unwrap(), answer);
            }
            prop_assert!(Answer::receive(&mut rest).is_err());
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0_u8..10) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(Some(Request::Write { offset, length } | Request::Read { offset, length })) = Request::receive(&mut &bytes[..]) {
                prop_assert!(length <= LARGEST && offset.checked_add(u64::from(length)).is_some());
            }
            let _ = Answer::receive(&mut &bytes[..]);
        }
    }
}
