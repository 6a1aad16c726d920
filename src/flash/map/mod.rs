//! What of an image must be written: all but what a file system calls free.
//!
//! A [`Mapper`] looks at the image while it streams by, once and in order. It learns the partitions from the table in the first
//! bytes, and of each FAT and ext2/3/4 the blocks that are free, from the tables and bitmaps that stand before the data. Two rules keep
//! this safe: nothing is skipped for being zero (a card is not: allocated zeros that are not written leave a broken file
//! system), and whatever is not known, not understood or not consistent is needed.

pub mod bmap;
mod ext4;
mod fat;

use super::layout::{self, Found, HEAD};
use super::partition::{FIRST, Table};
use crate::error::Result;
use bmap::{Bmap, BmapCheck};

/// How many bytes of bitmaps one mapper keeps at most. A file system for which there is no room is needed as a whole. The bitmaps
/// of 1 TiB with blocks of 4 KiB have 32 MiB.
const MEMORY: usize = 48 << 20;

/// The memory that is left to a mapper.
struct Budget(usize);

impl Budget {
    /// Takes `bytes`; false where they are not left.
    fn take(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

/// Which parts of an image are needed.
pub enum Map {
    /// All of it.
    Everything,
    /// What the file systems in it say, found while it streams by.
    FileSystems(Box<Mapper>),
    /// What its publisher says, whose checksums are verified.
    Published(Box<BmapCheck>),
}

impl Map {
    /// The map that the file systems in an image of `size` bytes (if that is known) give.
    pub fn file_systems(size: Option<u64>) -> Map {
        Map::FileSystems(Box::new(Mapper::new(size)))
    }

    pub fn published(bmap: Bmap) -> Map {
        Map::Published(Box::new(BmapCheck::new(bmap)))
    }

    /// Takes note of the image's bytes at `offset`. They are given from the image's start to its end, without gaps.
    ///
    /// # Errors
    /// A published checksum is wrong.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Map::Everything => Ok(()),
            Map::FileSystems(mapper) => {
                mapper.feed(offset, bytes);
                Ok(())
            }
            Map::Published(check) => check.feed(offset, bytes),
        }
    }

    /// Whether any of these bytes must be written; asked of bytes that were fed.
    pub fn needed(&self, offset: u64, length: u64) -> bool {
        match self {
            Map::Everything => true,
            Map::FileSystems(mapper) => mapper.needed(offset, length),
            Map::Published(check) => check.bmap().needed(offset, length),
        }
    }

    /// How many bytes will be needed, as far as is known by now, of an image of `size` bytes.
    pub fn estimate(&self, size: Option<u64>) -> Option<u64> {
        match self {
            Map::Everything => size,
            Map::FileSystems(mapper) => Some(size?.saturating_sub(mapper.free())),
            Map::Published(check) => Some(check.bmap().mapped()),
        }
    }

    /// To be called at the image's end.
    ///
    /// # Errors
    /// The image is not as long as its published map says, or its last checksum is wrong.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Map::Published(check) => check.finish(),
            _ => Ok(()),
        }
    }
}

/// Learns from an image that streams by what its file systems need.
pub struct Mapper {
    size: Option<u64>,
    /// How much was fed.
    fed: u64,
    /// The first bytes, until they are enough to read the table.
    head: Vec<u8>,
    started: bool,
    /// Something is odd with the disk as a whole: all is needed.
    odd: bool,
    /// The table, while there are logical partitions to come.
    table: Option<Table>,
    /// By their start; they do not overlap.
    regions: Vec<Region>,
    budget: Budget,
}

impl Mapper {
    /// A mapper for an image of `size` bytes, if that is known.
    pub fn new(size: Option<u64>) -> Mapper {
        Mapper {
            size,
            fed: 0,
            head: Vec::new(),
            started: false,
            odd: false,
            table: None,
            regions: Vec::new(),
            budget: Budget(MEMORY),
        }
    }

    /// Takes note of the image's bytes at `offset`: from its start to its end without gaps, in pieces of any size.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) {
        if offset != self.fed {
            self.give_up();
        }
        self.fed = offset.saturating_add(bytes.len() as u64);
        if self.odd {
            return;
        }
        if self.started {
            return self.spread(offset, bytes);
        }
        self.head.extend_from_slice(bytes);
        if self.head.len() >= HEAD {
            self.started = true;
            let head = std::mem::take(&mut self.head);
            self.start(&head);
            self.spread(0, &head);
        }
    }

    /// Whether any of these bytes may be needed: false only if a file system calls all of them free.
    pub fn needed(&self, offset: u64, length: u64) -> bool {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.fed) else {
            return true;
        };
        let mut at = offset;
        while at < end {
            let after = self.regions.partition_point(|region| region.start <= at);
            let Some(region) = after.checked_sub(1).map(|index| &self.regions[index]) else {
                return true;
            };
            let piece = end.min(region.end);
            if self.odd || at >= piece || !region.is_free(at - region.start, piece - at) {
                return true;
            }
            at = piece;
        }
        false
    }

    /// How many bytes are free, as far as is known by now.
    pub fn free(&self) -> u64 {
        self.regions
            .iter()
            .map(|region| match &region.state {
                State::Fat(fat) => fat.free(),
                State::Ext4(ext4) => ext4.free(),
                _ => 0,
            })
            .sum()
    }

    fn give_up(&mut self) {
        self.odd = true;
        self.regions.clear();
        self.table = None;
    }

    /// Reads the table.
    fn start(&mut self, head: &[u8]) {
        let direct = layout::recognise(head);
        match (Table::of(&head[..FIRST], self.size), direct) {
            // No table: the disk itself may be a file system.
            (Ok(None), Found::Fat(_) | Found::Ext4(_)) => self.region(0, self.size.unwrap_or(u64::MAX)),
            // Nothing that is known, or a table and what is left of a file system on the disk itself, or the other way round.
            (Ok(None) | Err(_), _) | (Ok(Some(_)), Found::Fat(_) | Found::Ext4(_)) => self.give_up(),
            (Ok(Some(table)), _) => {
                for partition in &table.partitions {
                    self.region(partition.start, partition.end());
                }
                self.table = table.chain.is_some().then_some(table);
            }
        }
    }

    fn region(&mut self, start: u64, end: u64) {
        let at = self.regions.partition_point(|region| region.start <= start);
        let overlaps = at.checked_sub(1).is_some_and(|before| self.regions[before].end > start)
            || self.regions.get(at).is_some_and(|after| after.start < end);
        let region = Region {
            start,
            end,
            state: State::Head(Vec::new()),
        };
        match overlaps || end < start {
            true => self.give_up(),
            false => self.regions.insert(at, region),
        }
    }

    /// Gives each region its part of the bytes.
    fn spread(&mut self, offset: u64, bytes: &[u8]) {
        self.follow(offset, bytes);
        let end = offset + bytes.len() as u64;
        for region in &mut self.regions {
            let (from, to) = (region.start.max(offset), region.end.min(end));
            if from < to {
                let piece = &bytes[(from - offset) as usize..(to - offset) as usize];
                region.feed(from - region.start, piece, &mut self.budget);
            }
        }
    }

    /// Reads the tables of logical partitions that are among the bytes.
    fn follow(&mut self, offset: u64, bytes: &[u8]) {
        while let Some(mut table) = self.table.take() {
            let Some(chain) = table.chain.take() else { return };
            // A list that leads into what is past is not followed: what it would tell of is needed.
            let Some(at) = chain.at.checked_sub(offset).map(|at| at as usize) else {
                return;
            };
            if at >= bytes.len() {
                table.chain = Some(chain);
                self.table = Some(table);
                return;
            }
            let (Some(sector), before) = (bytes.get(at..at + 512), table.partitions.clone()) else {
                return;
            };
            if chain.follow(sector, &mut table).is_err() {
                return self.give_up();
            }
            for partition in table.partitions.iter().filter(|partition| !before.contains(partition)) {
                self.region(partition.start, partition.end());
            }
            self.table = (!self.odd).then_some(table);
        }
    }
}

/// A partition.
struct Region {
    /// Bytes in the image.
    start: u64,
    end: u64,
    state: State,
}

enum State {
    /// The first bytes, until they are enough to recognise what they are.
    Head(Vec<u8>),
    Fat(Box<fat::Fat>),
    Ext4(Box<ext4::Ext4>),
    Unknown,
}

impl Region {
    /// Bytes at `at`, counted from the region's start.
    fn feed(&mut self, at: u64, bytes: &[u8], budget: &mut Budget) {
        match &mut self.state {
            State::Unknown => {}
            State::Fat(fat) => fat.feed(at, bytes, budget),
            State::Ext4(ext4) => ext4.feed(at, bytes, budget),
            State::Head(head) => {
                // A region is met at its start, or where a list of partitions named it late.
                if at != head.len() as u64 {
                    self.state = State::Unknown;
                    return;
                }
                let (now, later) = bytes.split_at(bytes.len().min(HEAD - head.len()));
                head.extend_from_slice(now);
                if head.len() < HEAD {
                    return;
                }
                let head = std::mem::take(head);
                let size = self.end - self.start;
                self.state = match layout::recognise(&head) {
                    Found::Fat(geometry) if geometry.size <= size => State::Fat(Box::new(fat::Fat::new(geometry))),
                    Found::Ext4(superblock) if superblock.size() <= size => {
                        ext4::Ext4::new(*superblock).map_or(State::Unknown, |ext4| State::Ext4(Box::new(ext4)))
                    }
                    _ => State::Unknown,
                };
                if !matches!(self.state, State::Head(_)) {
                    self.feed(0, &head, budget);
                    self.feed(HEAD as u64, later, budget);
                }
            }
        }
    }

    fn is_free(&self, at: u64, length: u64) -> bool {
        match &self.state {
            State::Fat(fat) => fat.is_free(at, length),
            State::Ext4(ext4) => ext4.is_free(at, length),
            State::Head(_) | State::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests;
