//! A disk in memory, on which everything can go wrong. For tests.

use super::buffer::PAGE;
use super::target::{Disk, Raw, Target};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};

/// What it holds, and how it will fail.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) bytes: Vec<u8>,
    /// Bytes that it really has.
    pub(crate) real: usize,
    /// What is above wraps around; else it is forgotten.
    pub(crate) wraps: bool,
    /// Ranges that cannot be written, so many times.
    pub(crate) bad_writes: Vec<(Range<u64>, u32)>,
    /// Ranges that cannot be read, so many times.
    pub(crate) bad_reads: Vec<(Range<u64>, u32)>,
    /// Bytes that are read as others, whatever is written.
    pub(crate) flips: Vec<u64>,
    /// It is pulled out after so many bytes.
    pub(crate) pulled_after: Option<u64>,
    /// Direct requests are refused.
    pub(crate) no_direct: bool,
    pub(crate) buffered: bool,
    /// A flush fails.
    pub(crate) bad_sync: bool,
    /// The next write waits for this.
    pub(crate) stall: Option<Receiver<()>>,
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) syncs: u32,
    /// Offset and length of each write.
    pub(crate) writes: Vec<(u64, usize)>,
    /// Called with the bytes written so far.
    pub(crate) on_write: Option<Box<dyn FnMut(u64) + Send>>,
}

/// Bytes among which none repeat.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut noise = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// A handle; clones are the same disk.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    claimed: usize,
}

impl Fake {
    pub(crate) fn new(size: usize) -> Fake {
        let state = State {
            bytes: vec![0; size],
            real: size,
            ..State::default()
        };
        Fake {
            state: Arc::new(Mutex::new(state)),
            claimed: size,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.lock())
    }

    pub(crate) fn fill(&self, bytes: &[u8]) {
        self.lock().bytes[..bytes.len()].copy_from_slice(bytes);
    }

    /// What it really holds.
    pub(crate) fn contents(&self) -> Vec<u8> {
        let state = self.lock();
        state.bytes[..state.real].to_vec()
    }

    pub(crate) fn target(&self) -> Box<dyn Target> {
        Box::new(Disk::new(self.clone(), true))
    }
}

impl State {
    fn check(&mut self, offset: u64, addresses: &[(usize, usize)]) -> io::Result<()> {
        if self.pulled_after.is_some_and(|after| self.written >= after) {
            return Err(rustix::io::Errno::NXIO.into());
        }
        if !self.buffered {
            let aligned = offset.is_multiple_of(512)
                && addresses
                    .iter()
                    .all(|(address, length)| address.is_multiple_of(PAGE) && length.is_multiple_of(512));
            if self.no_direct || !aligned {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(())
    }

    /// Where the byte at `offset` really is.
    fn place(&self, offset: u64) -> Option<usize> {
        let at = offset as usize;
        match self.wraps {
            true => Some(at % self.real),
            false => (at < self.real).then_some(at),
        }
    }
}

fn hit(bad: &mut [(Range<u64>, u32)], offset: u64, length: usize) -> io::Result<()> {
    for (range, times) in bad {
        if *times > 0 && offset < range.end && range.start < offset + length as u64 {
            *times -= 1;
            return Err(rustix::io::Errno::IO.into());
        }
    }
    Ok(())
}

impl Raw for Fake {
    fn capacity(&self) -> Option<u64> {
        Some(self.claimed as u64)
    }

    fn write_at(&mut self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let stall = self.lock().stall.take();
        if let Some(stall) = stall {
            let _ = stall.recv();
        }
        let mut state = self.lock();
        let addresses: Vec<_> = pieces.iter().map(|piece| (piece.as_ptr() as usize, piece.len())).collect();
        state.check(offset, &addresses)?;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if offset + length as u64 > self.claimed as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        hit(&mut state.bad_writes, offset, length)?;
        let mut at = offset;
        for piece in pieces {
            for page in piece.chunks(512) {
                if let Some(place) = state.place(at) {
                    state.bytes[place..place + page.len()].copy_from_slice(page);
                }
                at += page.len() as u64;
            }
        }
        state.written += length as u64;
        state.writes.push((offset, length));
        let written = state.written;
        if let Some(tell) = &mut state.on_write {
            tell(written);
        }
        Ok(length)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        state.check(offset, &[(into.as_ptr() as usize, into.len())])?;
        if offset + into.len() as u64 > self.claimed as u64 {
            return Ok(0);
        }
        hit(&mut state.bad_reads, offset, into.len())?;
        for (n, page) in into.chunks_mut(512).enumerate() {
            match state.place(offset + n as u64 * 512) {
                Some(place) => page.copy_from_slice(&state.bytes[place..place + page.len()]),
                None => page.fill(0),
            }
        }
        for at in &state.flips {
            if let Some(byte) = at.checked_sub(offset).and_then(|at| into.get_mut(at as usize)) {
                *byte ^= 1;
            }
        }
        state.read += into.len() as u64;
        Ok(into.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.lock();
        state.syncs += 1;
        match state.bad_sync {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    fn buffer(&mut self) -> io::Result<()> {
        self.lock().buffered = true;
        Ok(())
    }

    fn forget(&mut self, _: u64, _: u64) {}

    fn close(self) -> crate::error::Result<()> {
        Ok(())
    }
}
