//! The image's side: read, mapped and hashed once, given to all cards.

use super::buffer::{Lent, PAGE, Pool};
use super::known::Known;
use super::watch::{Shift, Watch, Watched};
use super::worker::Worker;
use super::{Card, Image, Options, Outcome};
use crate::error::{Error, Result};
use crate::flash::blocks::CHUNK;
use crate::flash::event::Listener;
use blake3::Hash;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

/// Buffers between decoding and the cards, beyond those that the cards gather into one request: so that a card is not kept waiting when
/// decoding pauses.
const BUFFERS: usize = 10;

/// A chunk of the image that must be written.
pub(super) struct Piece {
    /// Bytes; zeros behind `length` up to a whole page.
    buffer: Lent,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) hash: Hash,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// With zeros up to the end of the page, as far as the card goes.
    pub(super) fn padded(&self, capacity: Option<u64>) -> &[u8] {
        &self.buffer[..padded(self.offset, self.length, capacity)]
    }
}

/// How many bytes to write or read for `length` at `offset`: whole pages, but not beyond the end of the card.
pub(super) fn padded(offset: u64, length: usize, capacity: Option<u64>) -> usize {
    let pages = length.next_multiple_of(PAGE) as u64;
    let room = capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(offset));
    pages.min(room) as usize
}

/// What a card is told.
#[derive(Clone)]
pub(super) enum Feed {
    Piece(Arc<Piece>),
    Skip { length: u64 },
    End { size: u64 },
    Failed(Error),
}

/// What the cards look up.
pub(super) struct Shared<'a> {
    pub(super) identity: String,
    pub(super) size: Option<u64>,
    pub(super) known: Option<Known>,
    /// Bytes to write, as far as is known by now.
    pub(super) expected: AtomicU64,
    pub(super) starved: Option<Box<dyn Fn() -> bool + Send + Sync + 'a>>,
    pub(super) options: &'a Options,
    pub(super) listener: &'a dyn Listener,
    pub(super) stop: &'a AtomicBool,
}

pub(super) fn flash(
    image: Image<'_>,
    cards: Vec<Card<'_>>,
    options: &Options,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Vec<Outcome> {
    let Image {
        reader,
        size,
        identity,
        mut map,
        starved,
    } = image;
    let known = options.known.as_deref().filter(|_| !options.full).and_then(Known::load);
    let expected = match (&known, size) {
        (Some(known), _) => known.needed(),
        (None, size) => size.unwrap_or_default(),
    };
    let shared = Shared {
        identity,
        size,
        known,
        expected: AtomicU64::new(expected),
        starved,
        options,
        listener,
        stop,
    };
    let gathered = cards.iter().map(|card| card.block_size.div_ceil(CHUNK)).max().unwrap_or(1);
    let names: Vec<String> = cards.iter().map(|card| card.name.clone()).collect();
    let watches: Vec<_> = names.iter().map(|name| (name.clone(), Arc::new(Watch::default()))).collect();
    let shift = Shift::default();
    let results: Vec<Result<super::Done>> = thread::scope(|scope| {
        scope.spawn(|| shift.keep(&watches, options.stall, listener));
        let (shared, watches) = (&shared, &watches);
        let mut feeds = Vec::new();
        let mut running = Vec::new();
        for (card, (name, watch)) in cards.into_iter().zip(watches) {
            let (feed, fed) = channel();
            feeds.push(feed);
            running.push(scope.spawn(move || {
                let disk = Watched::new(card.target, name, watch.clone(), listener);
                Worker::new(disk, name.clone(), card.block_size, shared).run(fed, card.personalize, card.inspect)
            }));
        }
        // Chunks wait in the pool's buffers, so that the channel needs no bound of its own.
        let (to_hash, pieces) = sync_channel(BUFFERS + gathered);
        let pool = Pool::new(BUFFERS + gathered, CHUNK);
        let reading = scope.spawn(move || read(reader, pool, &to_hash, stop));
        let whole = feed_all(&pieces, &mut *map, &mut feeds, shared);
        // Reading ends when nobody listens.
        drop(pieces);
        drop(map);
        let last = match &whole {
            Ok(known) => Feed::End { size: known.size },
            Err(error) => Feed::Failed(error.clone()),
        };
        feeds.into_iter().for_each(|feed| drop(feed.send(last.clone())));
        let results = running
            .into_iter()
            .map(|card| card.join().unwrap_or_else(|_| Err(crashed())))
            .collect();
        if let (Ok(known), Some(path)) = (whole, &options.known) {
            // A cache: what cannot be kept is found out anew.
            let _ = known.save(path);
        }
        shift.end();
        // A decoder that crashed has given no end, which the cards were told of; it must not take all the rest with it.
        let _ = reading.join();
        results
    });
    names
        .into_iter()
        .zip(results)
        .map(|(card, result)| Outcome { card, result })
        .collect()
}

fn crashed() -> Error {
    Error::state("internal: the writing thread crashed; the card is unfinished")
}

type Read1 = io::Result<(Lent, usize)>;

/// Fills buffers from `reader` until it ends; the last one may be empty.
fn read(mut reader: impl Read, mut pool: Pool, to: &std::sync::mpsc::SyncSender<Read1>, stop: &AtomicBool) {
    loop {
        let mut buffer = pool.take();
        let mut filled = 0;
        let failed = loop {
            if stop.load(Ordering::Relaxed) || filled == CHUNK {
                break None;
            }
            match reader.read(&mut buffer[filled..CHUNK]) {
                Ok(0) => break None,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(e),
            }
        };
        if let Some(e) = failed {
            let _ = to.send(Err(e));
            return;
        }
        let end = filled.next_multiple_of(PAGE);
        buffer[filled..end].fill(0);
        if to.send(Ok((buffer, filled))).is_err() || filled < CHUNK || stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// An error that was put into a read as it is, else one of reading.
fn reading(e: &io::Error) -> Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => error.clone(),
        None => Error::state(format!("the image cannot be read: {e}")),
    }
}

/// Maps, hashes and hands out all that is read; gives what is known of the image then.
fn feed_all(
    pieces: &Receiver<Read1>,
    map: &mut dyn super::Map,
    feeds: &mut Vec<Sender<Feed>>,
    shared: &Shared<'_>,
) -> Result<Known> {
    let mut known = Known::default();
    let mut needed = 0_u64;
    let mut ended = false;
    for read in pieces {
        if shared.stop.load(Ordering::Relaxed) {
            return Err(super::stopped());
        }
        let (buffer, length) = read.map_err(|e| reading(&e))?;
        ended = length < CHUNK;
        if length == 0 {
            break;
        }
        let offset = known.size;
        known.size += length as u64;
        if let Some(size) = shared.size.filter(|size| known.size > *size) {
            return Err(Error::state(format!(
                "the image is longer than the {size} bytes that it should have"
            )));
        }
        map.feed(offset, &buffer[..length])?;
        // The first chunk has the partition table; it is held back, not left out.
        let is_needed = offset == 0 || map.needed(offset, length as u64);
        let feed = match is_needed {
            true => {
                needed += length as u64;
                let hash = blake3::hash(&buffer[..length]);
                known.chunks.push(Some(hash));
                Feed::Piece(Arc::new(Piece {
                    buffer,
                    offset,
                    length,
                    hash,
                }))
            }
            false => {
                known.chunks.push(None);
                Feed::Skip { length: length as u64 }
            }
        };
        if shared.known.is_none() {
            let guess = map.estimate(shared.size).or(shared.size).unwrap_or_default();
            shared.expected.store(guess.max(needed), Ordering::Relaxed);
        }
        feeds.retain(|card| card.send(feed.clone()).is_ok());
        if feeds.is_empty() {
            return Err(Error::state("no card is left"));
        }
    }
    // The reading thread stops without a word.
    if shared.stop.load(Ordering::Relaxed) {
        return Err(super::stopped());
    }
    if !ended {
        return Err(Error::state("internal: decoding the image crashed"));
    }
    if let Some(size) = shared.size.filter(|size| known.size < *size) {
        return Err(Error::state(format!("the image ends after {} of {size} bytes", known.size)));
    }
    if known.size < 512 {
        return Err(Error::state("the image is empty"));
    }
    map.finish()?;
    shared.expected.store(needed, Ordering::Relaxed);
    Ok(known)
}
