//! Which blocks of an ext2, ext3 or ext4 are free, from its block bitmaps.
//!
//! A group counts only if all agrees: the checksums where there are any, the descriptor's number of free blocks, and that the bitmap
//! has the group's own metadata in use. A group whose bitmap comes behind its data is needed as far as it has gone by.

use super::Budget;
use crate::flash::layout::ext4::{Group, Metadata, Superblock};
use std::collections::{BTreeMap, HashMap};

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
    metadata: Metadata,
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
            metadata: Metadata::default(),
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
        self.metadata = Metadata::new(superblock, &self.groups);
        if !self.metadata.sound || self.groups.iter().any(|group| !group.sound) {
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
            let bitmap = self.metadata.implied(&self.superblock, group);
            self.accept(group, bitmap, budget);
        }
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
            && self.metadata.within(&self.superblock, group).all(|mut range| range.all(used));
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
