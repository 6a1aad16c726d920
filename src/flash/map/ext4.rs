//! Which blocks of an ext2, ext3 or ext4 are free, from its block bitmaps.
//!
//! A group counts only if all agrees: the checksums where there are any, the descriptor's number of free blocks, and that the bitmap
//! has the group's own metadata in use. A group whose bitmap comes behind its data is needed as far as it has gone by.

use super::Budget;
use crate::flash::layout::ext4::{Group, Superblock};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// More groups than this (of 128 MiB with blocks of 4 KiB: 16 TiB) are not looked at.
const GROUPS: u64 = 1 << 17;

pub(super) struct Ext4 {
    superblock: Superblock,
    stage: Stage,
    /// The descriptors, as they come.
    descriptors: Vec<u8>,
    /// What is still to come: the byte at which a bitmap begins, and whose it is.
    wanted: BTreeMap<u64, u64>,
    /// The bitmap that is coming by.
    coming: Vec<u8>,
    /// By group; without those whose number of free blocks is said by no bitmap, or wrongly.
    known: HashMap<u64, Known>,
    groups: Vec<Group>,
    /// All groups' bitmaps and inode tables as ranges of blocks, by their start.
    metadata: Vec<Range<u64>>,
    free: u64,
}

#[derive(PartialEq)]
enum Stage {
    Descriptors,
    Bitmaps,
    Odd,
}

/// A group's bitmap: bits that are set are in use.
type Known = Box<[u8]>;

impl Ext4 {
    /// `None` where the bitmaps would not be understood or trusted.
    pub(super) fn new(superblock: Superblock) -> Option<Ext4> {
        (superblock.distrust().is_none() && superblock.groups() <= GROUPS).then(|| Ext4 {
            superblock,
            stage: Stage::Descriptors,
            descriptors: Vec::new(),
            wanted: BTreeMap::new(),
            coming: Vec::new(),
            known: HashMap::new(),
            groups: Vec::new(),
            metadata: Vec::new(),
            free: 0,
        })
    }

    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], budget: &mut Budget) {
        let mut at = at;
        let mut bytes = bytes;
        // Each turn takes something: the descriptors' rest, or one bitmap, of which each is wanted once.
        while !bytes.is_empty() {
            let wanted = match self.stage {
                Stage::Odd => return,
                Stage::Descriptors => {
                    let all = self.superblock.descriptors();
                    all.start + self.descriptors.len() as u64..all.end
                }
                Stage::Bitmaps => match self.wanted.first_key_value() {
                    None => return,
                    Some((start, _)) => start + self.coming.len() as u64..start + self.superblock.block,
                },
            };
            let end = at + bytes.len() as u64;
            if wanted.start >= end {
                return;
            }
            let Some(skip) = wanted.start.checked_sub(at) else {
                // It went by before it was known to be wanted.
                self.wanted.pop_first();
                self.coming.clear();
                continue;
            };
            let length = (wanted.end.min(end) - wanted.start) as usize;
            let (piece, rest) = bytes[skip as usize..].split_at(length);
            at += skip + length as u64;
            bytes = rest;
            let done = at == wanted.end;
            match self.stage {
                Stage::Descriptors => {
                    if !budget.take(length * 2) {
                        return self.give_up();
                    }
                    self.descriptors.extend_from_slice(piece);
                    if done {
                        self.describe(budget);
                    }
                }
                _ => {
                    self.coming.extend_from_slice(piece);
                    if done {
                        let bitmap = std::mem::take(&mut self.coming);
                        if let Some((_, group)) = self.wanted.pop_first() {
                            self.bitmap(group, bitmap, budget);
                        }
                    }
                }
            }
        }
    }

    fn give_up(&mut self) {
        self.stage = Stage::Odd;
        self.known = HashMap::new();
        self.free = 0;
    }

    /// Reads the descriptors: which bitmaps are wanted, and which groups have none.
    fn describe(&mut self, budget: &mut Budget) {
        let superblock = &self.superblock;
        let size = superblock.descriptor as usize;
        let descriptors = std::mem::take(&mut self.descriptors);
        self.groups = (0..)
            .zip(descriptors.chunks_exact(size))
            .map(|(number, bytes)| Group::parse(superblock, number, bytes))
            .collect();
        self.metadata = self.groups.iter().flat_map(|group| group.metadata(superblock)).collect();
        self.metadata.sort_by_key(|range| range.start);
        let apart = self.metadata.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let inside = self
            .metadata
            .iter()
            .all(|range| range.start > superblock.first_block && range.end <= superblock.blocks);
        if !apart || !inside || self.groups.iter().any(|group| !group.sound) {
            return self.give_up();
        }
        self.stage = Stage::Bitmaps;
        let numbers = (0..).zip(&self.groups);
        let (without, with): (Vec<_>, Vec<_>) = numbers.partition(|(_, group)| group.blocks_uninit);
        self.wanted = with
            .into_iter()
            .map(|(number, group)| (group.block_bitmap * superblock.block, number))
            .collect();
        let without: Vec<u64> = without.into_iter().map(|(number, _)| number).collect();
        for group in without {
            let bitmap = self.uninitialised(group);
            self.accept(group, bitmap, budget);
        }
    }

    /// The bitmap of a group that has none on the disk: only the metadata is in use.
    fn uninitialised(&self, group: u64) -> Vec<u8> {
        let mut bitmap = vec![0; (self.superblock.blocks_per_group / 8) as usize];
        for range in self.metadata_in(group) {
            for block in range {
                bitmap[(block / 8) as usize] |= 1 << (block % 8);
            }
        }
        bitmap
    }

    /// What of the file system's metadata is in a group: ranges of blocks, counted from the group's start.
    fn metadata_in(&self, group: u64) -> impl Iterator<Item = Range<u64>> {
        let blocks = self.superblock.group(group);
        let first = self.metadata.partition_point(|range| range.end <= blocks.start);
        let (start, end) = (blocks.start, blocks.end);
        self.metadata[first..]
            .iter()
            .take_while(move |range| range.start < end)
            .cloned()
            .chain(std::iter::once(self.superblock.backup(group)))
            .map(move |range| range.start.clamp(start, end) - start..range.end.clamp(start, end) - start)
    }

    fn bitmap(&mut self, group: u64, bitmap: Vec<u8>, budget: &mut Budget) {
        let mut bitmap = bitmap;
        if self.groups[group as usize].is_bitmap_sound(&self.superblock, &bitmap) {
            bitmap.truncate((self.superblock.blocks_per_group / 8) as usize);
            self.accept(group, bitmap, budget);
        }
    }

    /// Takes a bitmap for true if it fits what else is known.
    fn accept(&mut self, group: u64, bitmap: Vec<u8>, budget: &mut Budget) {
        let blocks = self.superblock.group(group);
        let used = |block: u64| bitmap[(block / 8) as usize] >> (block % 8) & 1 == 1;
        let count = blocks.end - blocks.start;
        let free = (0..count).filter(|block| !used(*block)).count() as u64;
        let fits = free == u64::from(self.groups[group as usize].free_blocks)
            && self.metadata_in(group).all(|mut range| range.all(used));
        if fits && budget.take(bitmap.len() + 64) {
            self.free += free * self.superblock.block;
            self.known.insert(group, bitmap.into());
        }
    }

    /// Bytes that are free: those that the superblock says, before the bitmaps are known.
    pub(super) fn free(&self) -> u64 {
        match self.stage {
            Stage::Descriptors => self.superblock.free_blocks * self.superblock.block,
            _ => {
                let coming: u64 = self
                    .wanted
                    .values()
                    .map(|group| u64::from(self.groups[*group as usize].free_blocks))
                    .sum();
                self.free + coming * self.superblock.block
            }
        }
    }

    pub(super) fn is_free(&self, at: u64, length: u64) -> bool {
        let superblock = &self.superblock;
        if self.stage != Stage::Bitmaps || at < superblock.first_block * superblock.block {
            return false;
        }
        let (first, end) = (at / superblock.block, (at + length).div_ceil(superblock.block));
        end <= superblock.blocks
            && (first..end).all(|block| {
                let block = block - superblock.first_block;
                let (group, bit) = (block / superblock.blocks_per_group, block % superblock.blocks_per_group);
                let known = self.known.get(&group);
                known.is_some_and(|bitmap| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 0)
            })
    }
}
