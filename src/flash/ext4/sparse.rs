//! The sparse file that debugfs works on: what it needs of a file system, at its place, and holes elsewhere.

use super::Trouble;
use crate::flash::blocks::{Blocks, Part};
use crate::flash::layout::ext4::{AT, Group, Metadata, Superblock};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(super) struct Sparse {
    pub(super) path: PathBuf,
    file: File,
    superblock: Superblock,
    /// The blocks that were copied as a whole.
    copied: BTreeSet<u64>,
    /// Blocks of which a part was seen, to be copied.
    touched: BTreeSet<u64>,
    groups: Vec<Group>,
    /// The groups' block bitmaps as they were, or as they are implied to be.
    bitmaps: Vec<Vec<u8>>,
}

impl Sparse {
    pub(super) fn new(superblock: &Superblock, folder: &Path) -> Result<Sparse, Trouble> {
        let path = folder.join("filesystem");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.set_len(superblock.size())?;
        Ok(Sparse {
            path,
            file,
            superblock: superblock.clone(),
            copied: BTreeSet::new(),
            touched: BTreeSet::new(),
            groups: Vec::new(),
            bitmaps: Vec::new(),
        })
    }

    /// Notes that a range was read.
    pub(super) fn keep(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let block = self.superblock.block;
        self.touched
            .extend(offset / block..(offset + bytes.len() as u64).div_ceil(block));
        Ok(())
    }

    fn copy(&mut self, part: &mut Part, block: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.superblock.block as usize];
        if !self.copied.contains(&block) {
            part.read_at(block * self.superblock.block, &mut bytes)?;
            self.file.write_at(block * self.superblock.block, &bytes)?;
            self.copied.insert(block);
        } else {
            self.file.read_at(block * self.superblock.block, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Copies what was read, superblocks, descriptors, bitmaps, and the parts of inode tables where up to `inodes` new ones would be.
    pub(super) fn copy_metadata(&mut self, part: &mut Part, inodes: usize) -> Result<(), Trouble> {
        let superblock = self.superblock.clone();
        for block in std::mem::take(&mut self.touched) {
            self.copy(part, block)?;
        }
        self.copy(part, AT as u64 / superblock.block)?;
        for group in 0..superblock.groups() {
            let backup = superblock.backup(group);
            // Without what is reserved for more descriptors.
            let length = (backup.end - backup.start).saturating_sub(superblock.reserved_descriptors);
            for block in backup.start..backup.start + length {
                self.copy(part, block)?;
            }
        }
        self.groups = self.descriptors()?;
        let metadata = Metadata::new(&superblock, &self.groups);
        if !metadata.sound || self.groups.iter().any(|group| !group.sound) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the group descriptors are damaged: run `e2fsck -f` on it",
            )
            .into());
        }
        for (number, group) in (0..).zip(self.groups.clone()) {
            let bitmap = self.copy(part, group.block_bitmap)?;
            self.bitmaps.push(match group.blocks_uninit {
                true => metadata.implied(&superblock, number),
                false => bitmap,
            });
            let used = self.copy(part, group.inode_bitmap)?;
            let is_free = |inode: &u32| group.inodes_uninit || used[(inode / 8) as usize] >> (inode % 8) & 1 == 0;
            for inode in (0..superblock.inodes_per_group).filter(is_free).take(inodes) {
                self.copy(
                    part,
                    group.inode_table + u64::from(inode) * superblock.inode_size / superblock.block,
                )?;
            }
        }
        Ok(())
    }

    fn descriptors(&mut self) -> io::Result<Vec<Group>> {
        let range = self.superblock.descriptors();
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_at(range.start, &mut bytes)?;
        let descriptors = bytes.chunks_exact(self.superblock.descriptor as usize);
        Ok((0..)
            .zip(descriptors)
            .map(|(number, bytes)| Group::parse(&self.superblock, number, bytes))
            .collect())
    }

    /// The blocks that are in use now and were not before.
    fn allocated(&mut self) -> io::Result<BTreeSet<u64>> {
        let mut allocated = BTreeSet::new();
        for (number, group) in (0..).zip(self.descriptors()?) {
            if group.blocks_uninit {
                continue;
            }
            let mut bitmap = vec![0; self.superblock.block as usize];
            self.file.read_at(group.block_bitmap * self.superblock.block, &mut bitmap)?;
            let blocks = self.superblock.group(number);
            let before = &self.bitmaps[number as usize];
            for (at, block) in blocks.enumerate() {
                let bit = 1 << (at % 8);
                if bitmap[at / 8] & bit != 0 && before[at / 8] & bit == 0 {
                    allocated.insert(block);
                }
            }
        }
        Ok(allocated)
    }

    /// Copies back what was newly allocated and what differs: first what nothing leads to yet, the superblock last.
    pub(super) fn copy_back(&mut self, part: &mut Part) -> Result<(), Trouble> {
        let allocated = self.allocated()?;
        self.look_for_strays(&allocated)?;
        let size = self.superblock.block;
        let first = AT as u64 / size;
        let rest = self
            .copied
            .iter()
            .copied()
            .filter(|block| !allocated.contains(block) && *block != first);
        let order: Vec<u64> = allocated.iter().copied().chain(rest).chain([first]).collect();
        let (mut new, mut old) = (vec![0; size as usize], vec![0; size as usize]);
        for block in order {
            self.file.read_at(block * size, &mut new)?;
            // What is newly allocated holds whatever the card held: it is written as a whole.
            if !allocated.contains(&block) {
                part.read_at(block * size, &mut old)?;
                if new == old {
                    continue;
                }
            }
            part.write_at(block * size, &new)?;
            part.read_at(block * size, &mut old)?;
            if new != old {
                return Err(io::Error::other(format!("at {} what is read back is not what was written", block * size)).into());
            }
        }
        Ok(())
    }

    /// Whether a block was in use before.
    fn was_used(&self, block: u64) -> bool {
        let Some(at) = block.checked_sub(self.superblock.first_block) else {
            return true;
        };
        let (group, bit) = (at / self.superblock.blocks_per_group, at % self.superblock.blocks_per_group);
        let bitmap = self.bitmaps.get(group as usize);
        bitmap.is_none_or(|bitmap| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1)
    }

    /// debugfs must not have written into a block that was in use and not copied: that would be a mistake of what it was given. What it
    /// wrote into a free one and freed again (a file that is written and removed) does no harm.
    fn look_for_strays(&mut self, allocated: &BTreeSet<u64>) -> io::Result<()> {
        use rustix::fs::{SeekFrom, seek};
        let size = self.superblock.block;
        let mut bytes = vec![0; size as usize];
        let mut at = 0;
        while let Ok(start) = seek(&self.file, SeekFrom::Data(at)) {
            let end = seek(&self.file, SeekFrom::Hole(start))?;
            for block in start / size..end.div_ceil(size).min(self.superblock.blocks) {
                if self.copied.contains(&block) || allocated.contains(&block) || !self.was_used(block) {
                    continue;
                }
                self.file.read_at(block * size, &mut bytes)?;
                if bytes.iter().any(|byte| *byte != 0) {
                    return Err(io::Error::other(format!(
                        "debugfs changed the block {block}, which it was not given"
                    )));
                }
            }
            at = end;
        }
        Ok(())
    }
}
