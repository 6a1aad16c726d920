//! Which clusters of a FAT are free, from its first table; a second one must be the same.

use super::Budget;
use crate::flash::layout::fat::Geometry;

pub(super) struct Fat {
    geometry: Geometry,
    /// A bit for each entry that was seen: set where it is free. The first two entries are no clusters.
    free: Vec<u8>,
    /// How many entries were seen.
    seen: u64,
    free_clusters: u64,
    /// Bytes of the table that are not a whole number of entries yet.
    carry: Vec<u8>,
    hashes: [blake3::Hasher; 2],
    state: State,
}

#[derive(PartialEq)]
enum State {
    Reading,
    Known,
    /// All is needed.
    Odd,
}

/// What twelve bytes are in each width: a whole number of entries.
const UNIT: usize = 12;

impl Fat {
    pub(super) fn new(geometry: Geometry) -> Fat {
        Fat {
            free: Vec::new(),
            seen: 0,
            free_clusters: 0,
            carry: Vec::new(),
            hashes: [blake3::Hasher::new(), blake3::Hasher::new()],
            state: match geometry.mirrored && !geometry.dirty {
                true => State::Reading,
                false => State::Odd,
            },
            geometry,
        }
    }

    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], budget: &mut Budget) {
        if self.state != State::Reading {
            return;
        }
        let end = at + bytes.len() as u64;
        for copy in 0..u64::from(self.geometry.fats) {
            let start = self.geometry.fat + copy * self.geometry.fat_size;
            let (from, to) = (start.max(at), (start + self.geometry.fat_size).min(end));
            if from >= to {
                continue;
            }
            let piece = &bytes[(from - at) as usize..(to - at) as usize];
            self.hashes[copy as usize].update(piece);
            if copy == 0 && !self.table(piece, budget) {
                return self.give_up();
            }
        }
        if end >= self.geometry.fat + u64::from(self.geometry.fats) * self.geometry.fat_size {
            let equal = self.geometry.fats == 1 || self.hashes[0].finalize() == self.hashes[1].finalize();
            match equal && self.seen == self.entries() {
                true => self.state = State::Known,
                false => self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        self.state = State::Odd;
        self.free = Vec::new();
        self.free_clusters = 0;
    }

    /// How many entries a table has that count.
    fn entries(&self) -> u64 {
        u64::from(self.geometry.clusters) + 2
    }

    /// The next piece of the table; false where it is not sound, or too large.
    fn table(&mut self, piece: &[u8], budget: &mut Budget) -> bool {
        let mut now = piece;
        if !self.carry.is_empty() {
            let (missing, later) = piece.split_at(piece.len().min(UNIT - self.carry.len()));
            self.carry.extend_from_slice(missing);
            now = later;
            if self.carry.len() == UNIT {
                let unit = std::mem::take(&mut self.carry);
                if !self.whole(&unit, budget) {
                    return false;
                }
            }
        }
        let whole = now.len() / UNIT * UNIT;
        // In small pieces: the entries take more room than their bytes.
        for part in now[..whole].chunks(UNIT * 1024) {
            if !self.whole(part, budget) {
                return false;
            }
        }
        self.carry.extend_from_slice(&now[whole..]);
        // What is left at the end of the table is not a whole unit (a power of two is not divisible by three).
        let left = self.geometry.entries(&self.carry).len() as u64;
        if self.seen + left >= self.entries() && self.seen < self.entries() {
            let rest = std::mem::take(&mut self.carry);
            return self.whole(&rest, budget);
        }
        true
    }

    fn whole(&mut self, bytes: &[u8], budget: &mut Budget) -> bool {
        let entries = self.geometry.entries(bytes);
        if self.seen == 0 && !matches!(entries[..], [first, second, ..] if self.geometry.is_sound_table(first, second)) {
            return false;
        }
        if !budget.take(entries.len().div_ceil(8)) {
            return false;
        }
        for entry in entries {
            if self.seen >= self.entries() {
                break;
            }
            let (byte, bit) = ((self.seen / 8) as usize, self.seen % 8);
            if byte == self.free.len() {
                self.free.push(0);
            }
            if entry == 0 && self.seen >= 2 {
                self.free[byte] |= 1 << bit;
                self.free_clusters += 1;
            }
            self.seen += 1;
        }
        true
    }

    /// Bytes that are free, as far as the table was seen.
    pub(super) fn free(&self) -> u64 {
        self.free_clusters * u64::from(self.geometry.cluster)
    }

    pub(super) fn is_free(&self, at: u64, length: u64) -> bool {
        let (data, cluster) = (self.geometry.data, u64::from(self.geometry.cluster));
        if self.state != State::Known || at < data {
            return false;
        }
        let (first, end) = ((at - data) / cluster + 2, (at + length - data).div_ceil(cluster) + 2);
        end <= self.entries() && (first..end).all(|entry| self.free[(entry / 8) as usize] >> (entry % 8) & 1 == 1)
    }
}
