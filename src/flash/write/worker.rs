//! One card's side: from the marker at its start to the partition table in its place.

use super::buffer::{Buffer, PAGE};
use super::cached::{Cached, differs};
use super::delta::Delta;
use super::source::{Feed, Piece, Shared, padded};
use super::target::{Fault, Target};
use super::watch::Watched;
use super::{Done, RESUME, Then, capacity, marker, stopped};
use crate::error::{Error, Result};
use crate::flash::blocks::CHUNK;
use crate::flash::device::human;
use crate::flash::event::{Bottleneck, Event, Phase};
use blake3::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a range that does not read back right is read again.
const REREADS: usize = 2;

/// Less than this was written too fast to tell the card's speed, in bytes.
const TELLING: u64 = 64 << 20;

/// A range that was written, and what it holds.
#[derive(Clone, Copy)]
struct Written {
    offset: u64,
    length: usize,
    hash: Hash,
}

/// How long the card waits for the image and the other way round, of late.
#[derive(Default)]
struct Pace {
    waiting: f64,
    working: f64,
}

impl Pace {
    fn note(&mut self, waited: Duration, worked: Duration) {
        self.waiting = self.waiting * 0.9 + waited.as_secs_f64();
        self.working = self.working * 0.9 + worked.as_secs_f64();
    }
}

pub(super) struct Worker<'a> {
    name: String,
    disk: Watched<'a>,
    shared: &'a Shared<'a>,
    block_size: usize,
    capacity: Option<u64>,
    /// The chunk that is written last.
    first: Option<(Buffer, usize)>,
    written: Vec<Written>,
    group: Vec<Arc<Piece>>,
    delta: Delta,
    /// What the card holds, to compare.
    held: Option<Buffer>,
    pace: Pace,
    done: Done,
}

impl<'a> Worker<'a> {
    pub(super) fn new(disk: Watched<'a>, name: String, block_size: usize, shared: &'a Shared<'a>) -> Worker<'a> {
        Worker {
            capacity: disk.capacity(),
            name,
            disk,
            shared,
            block_size,
            first: None,
            written: Vec::new(),
            group: Vec::new(),
            delta: Delta::off(),
            held: None,
            pace: Pace::default(),
            done: Done::default(),
        }
    }

    pub(super) fn run(mut self, fed: Receiver<Feed>, personalize: Option<Then<'_>>, inspect: Option<Then<'_>>) -> Result<Done> {
        let began = Instant::now();
        self.prepare()?;
        self.phase(Phase::Writing);
        let since = Instant::now();
        let size = self.stream(&fed)?;
        drop(fed);
        self.disk.fit(size).map_err(lost)?;
        self.disk.sync().map_err(lost)?;
        self.progress();
        self.done.write_seconds = since.elapsed().as_secs_f64();
        self.held = None;
        let (mut first, length) = self.first.take().ok_or_else(|| Error::state("the image is empty"))?;

        self.phase(Phase::Verifying);
        let since = Instant::now();
        self.verify()?;
        self.done.verify_seconds = since.elapsed().as_secs_f64();

        self.go_on()?;
        // What follows the image on the card is not the image's.
        let mut blocks = Cached::new(&mut self.disk, size, &mut first[..length]);
        if let Some(personalize) = personalize {
            phase(&self.name, self.shared, Phase::Personalizing);
            personalize(&mut blocks).and_then(|()| blocks.settle()).map_err(unfinished)?;
        }
        if let Some(inspect) = inspect {
            phase(&self.name, self.shared, Phase::Inspecting);
            inspect(&mut blocks).and_then(|()| blocks.settle()).map_err(unfinished)?;
        }
        self.go_on()?;
        self.commit(&first, length)?;
        let rate = |(bytes, time): (u64, Duration)| (bytes >= TELLING).then(|| bytes as f64 / time.as_secs_f64().max(1e-3));
        self.done.write_rate = rate(self.disk.wrote);
        self.done.read_rate = rate(self.disk.read);
        self.done.direct = self.disk.is_direct();
        self.done.image = size;
        self.done.block_size = self.block_size as u64;
        if self.shared.options.eject {
            self.disk.eject();
        }
        self.disk.finish()?;
        self.done.seconds = began.elapsed().as_secs_f64();
        Ok(self.done)
    }

    fn phase(&self, to: Phase) {
        phase(&self.name, self.shared, to);
    }

    fn warn(&self, message: String) {
        self.shared.listener.hear(&Event::Warning {
            card: Some(self.name.clone()),
            message,
        });
    }

    fn go_on(&self) -> Result<()> {
        match self.shared.stop.load(Ordering::Relaxed) {
            true => Err(stopped()),
            false => Ok(()),
        }
    }

    /// What comes before the image: a look at what is there, the capacity, the marker.
    fn prepare(&mut self) -> Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        if let Some(size) = self.shared.size.filter(|size| *size > capacity) {
            return Err(too_large(size, capacity));
        }
        if capacity < marker::AREA as u64 + marker::TAIL {
            return Err(Error::usage(format!("it has {} only", human(capacity))));
        }
        self.go_on()?;
        if !self.shared.options.full {
            let mut head = Buffer::new(PAGE);
            match self.disk.read(0, &mut head) {
                Err(fault) if fault.gone => return Err(untouched(fault)),
                // It may be written all the same.
                Err(_) => head.fill(0),
                Ok(()) => {}
            }
            let mut likely = marker::is_of(&head, &self.shared.identity);
            if let Some(known) = self.shared.known.as_ref().filter(|_| !likely) {
                let sample = known.sample(&mut self.disk, 8).map_err(untouched)?;
                likely = sample.equal * 4 >= sample.of && sample.equal > 0;
            }
            self.delta = Delta::new(likely);
        }
        if self.shared.options.capacity_test {
            self.phase(Phase::Testing);
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).map_err(|e| Error::state(format!("the system has no random numbers: {e}")))?;
            let found = capacity::test(&mut self.disk, &nonce).map_err(|fault| fault.error())?;
            if !found.is_honest() {
                return Err(counterfeit(found));
            }
        }
        self.go_on()?;
        // The end first: what is there now is still whole.
        let tail = (capacity - marker::TAIL) / PAGE as u64 * PAGE as u64;
        let zeros = Buffer::new((capacity - tail) as usize);
        let area = marker::area(&self.shared.identity);
        self.disk.write(tail, &[&zeros[..(capacity - tail) as usize]]).map_err(lost)?;
        self.disk.write(0, &[&area]).map_err(lost)?;
        self.disk.sync().map_err(lost)
    }

    /// Writes what comes, until the end; gives the image's size.
    fn stream(&mut self, fed: &Receiver<Feed>) -> Result<u64> {
        loop {
            let since = Instant::now();
            let feed = fed.recv().map_err(|_| Error::state("internal: the image's side has ended"))?;
            let waited = since.elapsed();
            self.go_on()?;
            let since = Instant::now();
            match feed {
                Feed::Piece(piece) => self.piece(piece)?,
                Feed::Skip { length } => {
                    self.flush()?;
                    self.done.skipped += length;
                }
                Feed::End { size } => {
                    self.flush()?;
                    return Ok(size);
                }
                Feed::Failed(error) => return Err(unfinished(error)),
            }
            self.pace.note(waited, since.elapsed());
        }
    }

    fn piece(&mut self, piece: Arc<Piece>) -> Result<()> {
        if let Some(capacity) = self
            .capacity
            .filter(|capacity| piece.offset + piece.length as u64 > *capacity)
        {
            return Err(too_large(piece.offset + piece.length as u64, capacity));
        }
        if piece.offset == 0 {
            self.first = Some((Buffer::of(piece.bytes()), piece.length));
            return Ok(());
        }
        if self.holds(&piece)? {
            self.flush()?;
            self.done.equal += piece.length as u64;
            self.progress();
            return Ok(());
        }
        // Requests begin at multiples of the block size.
        let block = |piece: &Piece| piece.offset / self.block_size as u64;
        if self.group.first().is_some_and(|first| block(first) != block(&piece)) {
            self.flush()?;
        }
        self.group.push(piece);
        match self.group.len() * CHUNK >= self.block_size {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Whether the card holds `piece` already.
    fn holds(&mut self, piece: &Piece) -> Result<bool> {
        if self.disk.is_blank() {
            return Ok(is_zero(piece.bytes()));
        }
        if !self.delta.reads() {
            return Ok(false);
        }
        let length = padded(piece.offset, piece.length, self.capacity);
        let mut held = self.held.take().unwrap_or_else(|| Buffer::new(CHUNK));
        // What cannot be read may be written all the same: flash memory moves worn blocks away then.
        let equal = match self.disk.read(piece.offset, &mut held[..length]) {
            Ok(()) => held[..piece.length] == *piece.bytes(),
            Err(fault) if fault.gone => return Err(lost(fault)),
            Err(_) => false,
        };
        self.held = Some(held);
        self.delta.found(equal, !is_zero(piece.bytes()));
        Ok(equal)
    }

    /// Writes the chunks that were gathered, which lie one behind the other.
    fn flush(&mut self) -> Result<()> {
        let Some(offset) = self.group.first().map(|piece| piece.offset) else {
            return Ok(());
        };
        let group = std::mem::take(&mut self.group);
        let capacity = self.capacity;
        match self.block_size < CHUNK {
            true => {
                for piece in &group {
                    for (n, block) in piece.padded(capacity).chunks(self.block_size).enumerate() {
                        let at = piece.offset + (n * self.block_size) as u64;
                        self.disk.write(at, &[block]).map_err(lost)?;
                    }
                }
            }
            false => {
                let pieces: Vec<&[u8]> = group.iter().map(|piece| piece.padded(capacity)).collect();
                self.disk.write(offset, &pieces).map_err(lost)?;
            }
        }
        for piece in &group {
            self.done.written += piece.length as u64;
            self.written.push(Written {
                offset: piece.offset,
                length: piece.length,
                hash: piece.hash,
            });
        }
        self.progress();
        Ok(())
    }

    fn progress(&self) {
        let bytes = (self.done.written + self.done.equal).saturating_sub(self.disk.pending());
        let bottleneck = match self.pace.waiting > self.pace.working {
            false => Bottleneck::Card,
            true if self.shared.starved.as_ref().is_some_and(|starved| starved()) => Bottleneck::Network,
            true => Bottleneck::Decoding,
        };
        self.shared.listener.hear(&Event::Progress {
            card: self.name.clone(),
            bytes,
            of: self.shared.expected.load(Ordering::Relaxed).max(bytes),
            bottleneck: Some(bottleneck),
        });
    }

    /// Reads back all that was written. Reading and hashing overlap.
    fn verify(&mut self) -> Result<()> {
        let written = std::mem::take(&mut self.written);
        let mut bad: Vec<usize> = (0..written.len()).collect();
        for round in 0..=REREADS {
            bad = self.read_back(&written, &bad)?;
            if bad.is_empty() {
                return Ok(());
            }
            if round == 0 {
                self.warn(format!(
                    "{} ranges do not read back as they were written; they are read again",
                    bad.len()
                ));
            }
        }
        // Neighbours are one range.
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for part in bad.iter().map(|n| &written[*n]) {
            match ranges.last_mut() {
                Some((offset, length)) if *offset + *length == part.offset => *length += part.length as u64,
                _ => ranges.push((part.offset, part.length as u64)),
            }
        }
        Err(differs(&ranges))
    }

    /// Those of `which` that differ.
    fn read_back(&mut self, written: &[Written], which: &[usize]) -> Result<Vec<usize>> {
        let of: u64 = which.iter().map(|n| written[*n].length as u64).sum();
        let capacity = self.capacity;
        thread::scope(|scope| {
            let (to_hash, read) = sync_channel::<(Buffer, usize)>(1);
            let (back, free) = channel();
            for _ in 0..2 {
                let _ = back.send(Buffer::new(CHUNK));
            }
            let hasher = scope.spawn(move || {
                let mut bad = Vec::new();
                for (buffer, n) in read {
                    if blake3::hash(&buffer[..written[n].length]) != written[n].hash {
                        bad.push(n);
                    }
                    let _ = back.send(buffer);
                }
                bad
            });
            let mut bytes = 0;
            let mut coming = which.iter().map(|n| {
                let range = &written[*n];
                (range.offset, padded(range.offset, range.length, capacity))
            });
            let mut expect = |disk: &mut Watched<'_>| {
                if let Some((offset, length)) = coming.next() {
                    disk.expect(offset, length);
                }
            };
            expect(&mut self.disk);
            for &n in which {
                if self.shared.stop.load(Ordering::Relaxed) {
                    return Err(stopped());
                }
                let range = &written[n];
                let Ok(mut buffer) = free.recv() else { break };
                let length = padded(range.offset, range.length, capacity);
                expect(&mut self.disk);
                self.disk.read(range.offset, &mut buffer[..length]).map_err(lost)?;
                bytes += range.length as u64;
                let _ = to_hash.send((buffer, n));
                self.shared.listener.hear(&Event::Progress {
                    card: self.name.clone(),
                    bytes,
                    of,
                    bottleneck: Some(Bottleneck::Card),
                });
            }
            drop(to_hash);
            hasher
                .join()
                .map_err(|_| Error::state("internal: the verifying thread crashed; the card is unfinished"))
        })
    }

    /// Gives the card its first chunk: what makes it bootable, last of all.
    fn commit(&mut self, first: &Buffer, length: usize) -> Result<()> {
        let length = padded(0, length, self.capacity);
        let head = PAGE.min(length);
        let put = |disk: &mut Watched<'_>| -> Result<(), Fault> {
            // The page with the table and the GPT's header behind all the rest, so that it points to nothing that is not there.
            if length > head {
                disk.write(head as u64, &[&first[head..length]])?;
                disk.sync()?;
            }
            disk.write(0, &[&first[..head]])?;
            disk.sync()
        };
        put(&mut self.disk).map_err(lost)?;
        let mut read = Buffer::new(CHUNK);
        let same = self
            .disk
            .read(0, &mut read[..length])
            .map(|()| read[..length] == first[..length]);
        if same != Ok(true) {
            // It must not look like a good one.
            let _ = self.disk.write(0, &[&marker::area(&self.shared.identity)]);
            let _ = self.disk.sync();
            return Err(same.map_or_else(lost, |_| differs(&[(0, length as u64)])));
        }
        self.disk.reread_table().map_err(lost)
    }
}

fn phase(card: &str, shared: &Shared<'_>, phase: Phase) {
    shared.listener.hear(&Event::Phase {
        card: card.to_owned(),
        phase,
    });
}

/// An error of others that leaves the card unfinished.
fn unfinished(error: Error) -> Error {
    error.hint("the card is unfinished, and begins with a note that says so")
}

/// A fault that leaves the card unfinished.
fn lost(fault: Fault) -> Error {
    fault.error().hint(format!(
        "the card is unfinished, and begins with a note that says so; to go on, {RESUME}"
    ))
}

/// A fault before anything was written.
fn untouched(fault: Fault) -> Error {
    fault.error().hint("nothing was written")
}

fn too_large(size: u64, capacity: u64) -> Error {
    Error::usage(format!(
        "the image is larger than the card: at least {size} of {capacity} bytes"
    ))
    .hint(format!("a card of more than {} is needed", human(capacity)))
}

/// The error for a card that has less than it says.
pub(super) fn counterfeit(found: capacity::Capacity) -> Error {
    Error::state(format!(
        "it says that it has {}, but what is written at {} and above is lost: a counterfeit card",
        human(found.claimed),
        human(found.real)
    ))
    .hint("nothing was changed on it; give it back. `picloud card test --full` finds out how much it really holds")
}

fn is_zero(bytes: &[u8]) -> bool {
    // In words of 16 bytes, which the compiler turns into wide instructions.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
