//! Writing: one decoded image goes to any number of cards at once, and what was written is read back.
//!
//! ```text
//! reader ─► hash, map ─┬─► card: compare or write ─► flush ─► read back ─► personalize ─► inspect ─► table last
//!                      └─► card: ...
//! ```
//!
//! The image is decoded once and hashed once. Each card has a thread of its own; one that fails leaves the others alone. Until a card is
//! finished it begins with a [`marker`] instead of its partition table, so that it can be mistaken for nothing, and the same image is
//! not written twice. This module knows nothing of catalogues, minions or terminals.

pub mod buffer;
mod cached;
pub mod capacity;
mod delta;
mod device;
pub mod elevate;
#[cfg(test)]
pub(crate) mod fake;
pub mod known;
#[cfg(test)]
mod loops;
pub mod marker;
pub mod protocol;
pub mod remote;
pub mod serve;
mod source;
pub mod target;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

pub use device::{ImageFile, RawDisk, boxed};
pub use elevate::{Elevate, open};
pub use known::Known;
pub use target::Target;

use crate::error::{Error, Result};
use crate::flash::blocks::{Blocks, CHUNK};
use crate::flash::device::Device;
use crate::flash::event::Listener;
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What of an image must be written.
pub trait Map: Send {
    /// The image, from its start to its end in pieces of [`CHUNK`] bytes.
    ///
    /// # Errors
    /// It is not what it should be: a checksum is wrong.
    fn feed(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Whether a piece, which was just fed, must be written: true unless it is known to be free.
    fn needed(&self, offset: u64, length: u64) -> bool;

    /// How many bytes will have to be written, as far as that is known by now.
    /// `size`: the image's, where it is known.
    fn estimate(&self, size: Option<u64>) -> Option<u64>;

    /// The image has ended.
    ///
    /// # Errors
    /// It is not what it should be.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Map for super::map::Map {
    fn feed(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        super::map::Map::feed(self, offset, bytes)
    }

    fn needed(&self, offset: u64, length: u64) -> bool {
        super::map::Map::needed(self, offset, length)
    }

    fn estimate(&self, size: Option<u64>) -> Option<u64> {
        super::map::Map::estimate(self, size)
    }

    fn finish(&mut self) -> Result<()> {
        super::map::Map::finish(self)
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Map for Everything {
    fn feed(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn needed(&self, _: u64, _: u64) -> bool {
        true
    }

    fn estimate(&self, _: Option<u64>) -> Option<u64> {
        None
    }
}

/// What is written.
pub struct Image<'a> {
    /// The decoded image. An [`Error`] in what its reads give is told as it is.
    pub reader: Box<dyn Read + Send + 'a>,
    /// Bytes, where they are known before.
    pub size: Option<u64>,
    /// What tells this image from others: its checksum. It stands on unfinished cards.
    pub identity: String,
    pub map: Box<dyn Map + 'a>,
    /// Whether decoding waits for the network just now.
    pub starved: Option<Box<dyn Fn() -> bool + Send + Sync + 'a>>,
}

/// What is done with a card whose image is written and verified, before it gets its partition table.
pub type Then<'a> = Box<dyn FnOnce(&mut dyn Blocks) -> Result<()> + Send + 'a>;

/// One card.
pub struct Card<'a> {
    /// What events and results call it.
    pub name: String,
    pub target: Box<dyn Target>,
    /// Bytes in one request; see [`block_size`].
    pub block_size: usize,
    /// Puts the minion's files on it.
    pub personalize: Option<Then<'a>>,
    /// Looks whether it would boot.
    pub inspect: Option<Then<'a>>,
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Writes all, without looking at what is there.
    pub full: bool,
    /// Tests the card's capacity before.
    pub capacity_test: bool,
    /// After how long a request that is under way is told of.
    pub stall: Duration,
    /// Where the hashes of the image's chunks are kept from one time to the next.
    pub known: Option<PathBuf>,
    /// Gives a finished card back, where the drive can do that.
    pub eject: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            full: false,
            capacity_test: true,
            stall: Duration::from_secs(10),
            known: None,
            eject: false,
        }
    }
}

/// How one card went. Bytes and seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Done {
    /// The image's size.
    pub image: u64,
    pub written: u64,
    /// What a file system calls free.
    pub skipped: u64,
    /// What the card held already.
    pub equal: u64,
    pub block_size: u64,
    /// Whether the page cache was passed by.
    pub direct: bool,
    pub seconds: f64,
    pub write_seconds: f64,
    pub verify_seconds: f64,
    /// Bytes a second, of the requests alone; `None` where too little was written to tell.
    pub write_rate: Option<f64>,
    pub read_rate: Option<f64>,
}

/// What became of a card.
pub struct Outcome {
    pub card: String,
    pub result: Result<Done>,
}

/// Writes `image` to `cards`. Every card has an outcome, in the order given. When `stop` is set, the requests under way are finished and
/// the cards left recognisably unfinished.
pub fn flash(
    image: Image<'_>,
    cards: Vec<Card<'_>>,
    options: &Options,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Vec<Outcome> {
    source::flash(image, cards, options, listener, stop)
}

/// The error of a run that was stopped.
fn stopped() -> Error {
    Error::state("stopped; the card is unfinished, and begins with a note that says so").hint(RESUME)
}

const RESUME: &str = "start the same `picloud flash` again: what the card holds already is not written again";

/// How large requests to `device` should be, in bytes, and why.
pub fn block_size(device: Option<&Device>, asked: Option<usize>) -> (usize, String) {
    /// Above this, memory would cost more than it brings.
    const LARGEST: u64 = 16 << 20;
    if let Some(asked) = asked {
        return (asked, "as `--block-size` says".to_owned());
    }
    let chunk = CHUNK as u64;
    let usable = |size: u64| size > chunk && size <= LARGEST && size.is_multiple_of(chunk);
    let erase = device.and_then(|device| device.preferred_erase_size);
    let optimal = device.and_then(|device| device.optimal_io_size);
    match (erase, optimal) {
        (Some(erase), _) if usable(erase) => (erase as usize, "the allocation unit that the card tells".to_owned()),
        (_, Some(optimal)) if usable(optimal) => (optimal as usize, "the size that the device calls optimal".to_owned()),
        (Some(erase), _) if chunk.is_multiple_of(erase) => (
            CHUNK,
            format!("4 MiB, which is whole allocation units of this card ({} KiB)", erase >> 10),
        ),
        _ => (CHUNK, "4 MiB, the allocation unit of most cards".to_owned()),
    }
}

/// Reads `--block-size`: a number of bytes, or of k, M (of 1024).
///
/// # Errors
/// It is none, or no size that requests can have.
pub fn parse_block_size(text: &str) -> Result<usize> {
    let wrong = |why: &str| {
        Error::usage(format!("`{text}` is no block size: {why}"))
            .hint("4 KiB to 16 MiB, in whole pages: `--block-size 4M`, `512k`")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return Err(wrong("unknown unit")),
    };
    let size: usize = digits.parse().map_err(|_| wrong("not a number"))?;
    let size = size.checked_mul(unit).ok_or_else(|| wrong("too large"))?;
    match size {
        0..4096 => Err(wrong("too small")),
        16_777_217.. => Err(wrong("too large")),
        _ if size <= CHUNK && CHUNK.is_multiple_of(size) || size.is_multiple_of(CHUNK) => Ok(size),
        _ => Err(wrong("4 MiB must be a multiple of it, or it one of 4 MiB")),
    }
}

#[cfg(test)]
mod sizes {
    use super::*;
    use crate::flash::device::rules::tests::card;

    #[test]
    fn block_sizes_are_chosen() {
        const M: u64 = 1 << 20;
        for (erase, optimal, asked, chosen) in [
            (None, None, None, 4 * M),
            (Some(4 * M), None, None, 4 * M),
            (Some(8 * M), None, None, 8 * M),
            (Some(12 * M), None, None, 12 * M),
            (Some(64 * M), None, None, 4 * M),
            (Some(512), None, None, 4 * M),
            (None, Some(16 * M), None, 16 * M),
            // What USB bridges say that mean "as much as you like".
            (None, Some(33_553_920), None, 4 * M),
            (Some(8 * M), Some(16 * M), Some(65536), 65536),
        ] {
            let device = Device {
                preferred_erase_size: erase,
                optimal_io_size: optimal,
                ..card()
            };
            assert_eq!(block_size(Some(&device), asked).0 as u64, chosen);
        }
    }

    #[test]
    fn block_sizes_are_read() {
        for (text, size) in [
            ("4M", Some(4 << 20)),
            ("512k", Some(512 << 10)),
            ("65536", Some(65536)),
            ("8MiB", Some(8 << 20)),
        ] {
            assert_eq!(parse_block_size(text).ok(), size, "{text}");
        }
        for text in ["", "M", "0", "512", "3M", "5000", "32M", "4G", "-4k", "99999999999999999999"] {
            assert!(parse_block_size(text).is_err(), "{text}");
        }
    }
}
