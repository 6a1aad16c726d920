//! A finished card as [`Blocks`], for those who put files on it: any alignment, few bytes at a time, the partition table in memory.
//!
//! What was written is kept until it is flushed, and then read back from the device and compared.

use super::buffer::{Buffer, PAGE};
use super::target::Target;
use crate::error::{Error, Result};
use crate::flash::blocks::Blocks;
use std::collections::BTreeMap;
use std::io;

/// The unit that is read, kept and written, in bytes: small writes within it become one.
const UNIT: usize = 64 << 10;

/// So many units are kept: 8 MiB.
const KEPT: usize = 128;

struct Unit {
    bytes: Buffer,
    dirty: bool,
    used: u64,
}

/// The card's bytes. Its first bytes are `first`, which is in memory only; writes there change it.
pub struct Cached<'a> {
    target: &'a mut dyn Target,
    size: u64,
    first: &'a mut [u8],
    units: BTreeMap<u64, Unit>,
    /// What each unit that was written should hold.
    written: BTreeMap<u64, blake3::Hash>,
    clock: u64,
}

impl<'a> Cached<'a> {
    /// `size`: what can be read and written, in bytes.
    pub fn new(target: &'a mut dyn Target, size: u64, first: &'a mut [u8]) -> Cached<'a> {
        Cached {
            target,
            size,
            first,
            units: BTreeMap::new(),
            written: BTreeMap::new(),
            clock: 0,
        }
    }

    /// How long the unit at `start` is: the last one may be short.
    fn length(&self, start: u64) -> usize {
        (self
            .size
            .next_multiple_of(PAGE as u64)
            .min(self.target.capacity().unwrap_or(u64::MAX))
            - start)
            .min(UNIT as u64) as usize
    }

    fn unit(&mut self, start: u64) -> io::Result<&mut Unit> {
        self.clock += 1;
        if !self.units.contains_key(&start) {
            if self.units.len() >= KEPT {
                self.make_room()?;
            }
            let length = self.length(start);
            let mut bytes = Buffer::new(UNIT);
            self.target.read(start, &mut bytes[..length])?;
            self.units.insert(
                start,
                Unit {
                    bytes,
                    dirty: false,
                    used: 0,
                },
            );
        }
        let clock = self.clock;
        match self.units.get_mut(&start) {
            Some(unit) => {
                unit.used = clock;
                Ok(unit)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        let oldest = |dirty: bool| {
            let fitting = self.units.iter().filter(|(_, unit)| unit.dirty == dirty);
            fitting.min_by_key(|(_, unit)| unit.used).map(|(start, _)| *start)
        };
        match oldest(false) {
            Some(start) => self.units.remove(&start),
            // All of them in one ascending run, which cards like better than one now and then.
            None => {
                self.write_dirty()?;
                self.units.clear();
                None
            }
        };
        Ok(())
    }

    fn write_dirty(&mut self) -> io::Result<()> {
        let dirty: Vec<u64> = self
            .units
            .iter()
            .filter(|(_, unit)| unit.dirty)
            .map(|(start, _)| *start)
            .collect();
        for start in dirty {
            let length = self.length(start);
            if let Some(unit) = self.units.get_mut(&start) {
                self.target.write(start, &[&unit.bytes[..length]])?;
                unit.dirty = false;
                self.written.insert(start, blake3::hash(&unit.bytes[..length]));
            }
        }
        Ok(())
    }

    /// Flushes what was written and reads it back.
    ///
    /// # Errors
    /// It cannot be written, or is not what was written.
    pub fn settle(&mut self) -> Result<()> {
        let failed = |e: io::Error| Error::state(e.to_string());
        self.write_dirty().map_err(failed)?;
        self.target.sync().map_err(|fault| fault.error())?;
        self.units.clear();
        let mut read = Buffer::new(UNIT);
        for (start, hash) in std::mem::take(&mut self.written) {
            let length = self.length(start);
            self.target.read(start, &mut read[..length]).map_err(|fault| fault.error())?;
            if blake3::hash(&read[..length]) != hash {
                return Err(differs(&[(start, length as u64)]));
            }
        }
        Ok(())
    }

    fn each(
        &mut self,
        offset: u64,
        length: usize,
        mut with: impl FnMut(&mut [u8], std::ops::Range<usize>) -> bool,
    ) -> io::Result<()> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| {
            let what = format!(
                "{length} bytes at {offset} are beyond the end of the card ({} bytes)",
                self.size
            );
            io::Error::new(io::ErrorKind::UnexpectedEof, what)
        })?;
        let mut at = offset;
        while at < end {
            let done = (at - offset) as usize;
            if at < self.first.len() as u64 {
                let until = end.min(self.first.len() as u64);
                with(
                    &mut self.first[at as usize..until as usize],
                    done..done + (until - at) as usize,
                );
                at = until;
                continue;
            }
            let start = at / UNIT as u64 * UNIT as u64;
            let until = end.min(start + UNIT as u64);
            let unit = self.unit(start)?;
            let within = (at - start) as usize..(until - start) as usize;
            unit.dirty |= with(&mut unit.bytes[within], done..done + (until - at) as usize);
            at = until;
        }
        Ok(())
    }
}

/// The error for ranges (offset, length) whose contents are not what was written.
pub fn differs(ranges: &[(u64, u64)]) -> Error {
    let mut shown: Vec<String> = ranges
        .iter()
        .take(8)
        .map(|(offset, length)| format!("{length} bytes at {offset}"))
        .collect();
    if ranges.len() > shown.len() {
        shown.push(format!("and {} more", ranges.len() - shown.len()));
    }
    Error::state(format!("bad range: what is read back is not what was written: {}", shown.join(", ")))
        .hint("do not use this card: it loses data. Another reader may tell whether the reader is to blame; `picloud card test` whether the card lies about its size")
}

impl Blocks for Cached<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.each(offset, into.len(), |bytes, range| {
            into[range].copy_from_slice(bytes);
            false
        })
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.each(offset, from.len(), |bytes, range| {
            bytes.copy_from_slice(&from[range]);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever is written and read, in whatever order, is as in memory; and the first bytes never reach the card.
        #[test]
        fn it_is_as_memory(
            seed in any::<u8>(),
            accesses in proptest::collection::vec((0_u64..900_000, 1_usize..150_000, any::<bool>()), 1..30),
        ) {
            let size = 1_000_448_usize;
            let first = 100_000;
            let mut model: Vec<u8> = (0..size).map(|n| (n * 31 / 7) as u8 ^ seed).collect();
            let fake = Fake::new(size);
            fake.fill(&model);
            let before = fake.contents();
            let mut head = model[..first].to_vec();
            let mut target = fake.target();
            let mut cached = Cached::new(&mut *target, size as u64, &mut head);
            for (offset, length, write) in accesses {
                let length = length.min(size - offset as usize);
                let range = offset as usize..offset as usize + length;
                if write {
                    let bytes: Vec<u8> = (0..length).map(|n| (n as u8).wrapping_mul(seed)).collect();
                    cached.write_at(offset, &bytes).unwrap();
                    model[range].copy_from_slice(&bytes);
                } else {
                    let mut bytes = vec![0; length];
                    cached.read_at(offset, &mut bytes).unwrap();
                    prop_assert!(bytes == model[range]);
                }
            }
            cached.settle().unwrap();
            prop_assert!(head == model[..first]);
            // Units at the border hold the card's own bytes there.
            prop_assert!(fake.contents()[first..] == model[first..]);
            prop_assert!(fake.contents()[..first] == before[..first]);
        }
    }

    #[test]
    fn what_does_not_read_back_is_an_error() {
        let fake = Fake::new(1 << 20);
        fake.with(|state| state.flips.push(300_000));
        let mut target = fake.target();
        let mut cached = Cached::new(&mut *target, 1 << 20, &mut []);
        cached.write_at(299_990, &[5; 20]).unwrap();
        let error = cached.settle().unwrap_err();
        assert!(error.to_string().contains("not what was written"), "{error}");
        assert!(cached.write_at((1 << 20) - 1, &[0; 2]).is_err());
        assert!(cached.read_at(u64::MAX, &mut [0; 2]).is_err());
    }
}
