//! ext2, ext3 and ext4: superblock, group descriptors and their checksums. After the kernel's `Documentation/filesystems/ext4`.

use super::crc::{crc16, crc32c};
use super::{le16, le32};
use std::ops::Range;

/// Where the superblock is, and how long: bytes.
pub const AT: usize = 1024;
pub const SIZE: usize = 1024;

/// Incompatible features; who does not know one must not touch the file system.
pub mod incompat {
    pub const RECOVER: u32 = 0x4;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BITS_64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const CSUM_SEED: u32 = 0x2000;
    /// filetype, extents, 64bit, mmp, flex_bg, ea_inode, metadata_csum_seed, large_dir, inline_data, encrypt, casefold: none of them
    /// changes what the bitmaps mean. Not: compression, journal_dev, meta_bg, dirdata.
    pub const HARMLESS: u32 = 0x2 | EXTENTS | BITS_64 | MMP | FLEX_BG | 0x400 | CSUM_SEED | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
}

/// Features that one who only reads need not know; here the map depends on some.
pub mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const GDT_CSUM: u32 = 0x10;
    pub const QUOTA: u32 = 0x100;
    pub const METADATA_CSUM: u32 = 0x400;
    /// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, metadata_csum, readonly, project,
    /// verity. Not: snapshots, bigalloc, replica, shared_blocks, orphan_present.
    pub const HARMLESS: u32 =
        SPARSE_SUPER | 0x2 | 0x4 | 0x8 | GDT_CSUM | 0x20 | 0x40 | QUOTA | METADATA_CSUM | 0x1000 | 0x2000 | 0x8000;
}

pub mod compat {
    pub const SPARSE_SUPER2: u32 = 0x200;
}

#[derive(Clone, PartialEq, Debug)]
pub struct Superblock {
    /// Bytes.
    pub block: u64,
    pub blocks: u64,
    pub free_blocks: u64,
    pub inodes: u32,
    /// 1 where blocks are of 1 KiB, else 0.
    pub first_block: u64,
    pub blocks_per_group: u64,
    pub inodes_per_group: u32,
    /// Bytes.
    pub inode_size: u64,
    /// Bytes.
    pub descriptor: u64,
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
    /// 1: unmounted cleanly; 2: errors were seen; 4: orphans are being recovered.
    pub state: u16,
    /// Blocks kept behind the descriptors for more of them.
    pub reserved_descriptors: u64,
    pub uuid: [u8; 16],
    pub label: String,
    /// What all checksums begin with.
    seed: u32,
}

impl Superblock {
    /// Whether the bytes of a partition's start have ext4's magic number.
    pub fn is(head: &[u8]) -> bool {
        head.len() >= AT + SIZE && le16(head, AT + 0x38) == 0xEF53
    }

    /// Reads the superblock's 1024 bytes.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong: no magic number, a wrong checksum, or numbers that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Superblock, String> {
        if bytes.len() < SIZE || le16(bytes, 0x38) != 0xEF53 {
            return Err("there is no ext4 superblock (magic number 0xEF53)".into());
        }
        let (compat, incompat, ro_compat) = (le32(bytes, 0x5C), le32(bytes, 0x60), le32(bytes, 0x64));
        if ro_compat & ro_compat::METADATA_CSUM != 0 && crc32c(!0, &bytes[..0x3FC]) != le32(bytes, 0x3FC) {
            return Err("the ext4 superblock's checksum is wrong".into());
        }
        let shift = le32(bytes, 0x18);
        if shift > 6 {
            return Err(format!("the ext4 superblock has blocks of 2^{} bytes", u64::from(shift) + 10));
        }
        let block = 1024 << shift;
        let wide = incompat & incompat::BITS_64 != 0;
        let both =
            |low: usize, high: usize| u64::from(le32(bytes, low)) | if wide { u64::from(le32(bytes, high)) << 32 } else { 0 };
        let uuid: [u8; 16] = bytes[0x68..0x78].try_into().unwrap_or_default();
        let label = bytes[0x78..0x88].split(|byte| *byte == 0).next().unwrap_or_default();
        let superblock = Superblock {
            block,
            blocks: both(0x4, 0x150),
            free_blocks: both(0xC, 0x158),
            inodes: le32(bytes, 0x0),
            first_block: u64::from(le32(bytes, 0x14)),
            blocks_per_group: u64::from(le32(bytes, 0x20)),
            inodes_per_group: le32(bytes, 0x28),
            inode_size: if le32(bytes, 0x4C) == 0 {
                128
            } else {
                u64::from(le16(bytes, 0x58))
            },
            descriptor: if wide { u64::from(le16(bytes, 0xFE)) } else { 32 },
            compat,
            incompat,
            ro_compat,
            state: le16(bytes, 0x3A),
            reserved_descriptors: u64::from(le16(bytes, 0xCE)),
            uuid,
            label: String::from_utf8_lossy(label).into_owned(),
            seed: match incompat & incompat::CSUM_SEED {
                0 => crc32c(!0, &uuid),
                _ => le32(bytes, 0x270),
            },
        };
        let sound = superblock.first_block == u64::from(block == 1024)
            && superblock.blocks > superblock.first_block
            && superblock.blocks <= u64::MAX / block
            && (256..=block * 8).contains(&superblock.blocks_per_group)
            && superblock.blocks_per_group.is_multiple_of(8)
            && superblock.inodes_per_group > 0
            && u64::from(superblock.inodes_per_group) <= block * 8
            && superblock.inode_size.is_power_of_two()
            && (128..=block).contains(&superblock.inode_size)
            && matches!(superblock.descriptor, 32 | 64 | 128 | 256 | 512 | 1024)
            && superblock.free_blocks <= superblock.blocks
            && superblock.groups() * u64::from(superblock.inodes_per_group) == u64::from(superblock.inodes);
        match sound {
            true => Ok(superblock),
            false => Err("the ext4 superblock's numbers do not fit each other".into()),
        }
    }

    pub fn groups(&self) -> u64 {
        (self.blocks - self.first_block).div_ceil(self.blocks_per_group)
    }

    /// The blocks of a group.
    pub fn group(&self, group: u64) -> Range<u64> {
        let start = self.first_block + group * self.blocks_per_group;
        start..(start + self.blocks_per_group).min(self.blocks)
    }

    /// Bytes, from the start of the partition.
    pub fn descriptors(&self) -> Range<u64> {
        let start = (self.first_block + 1) * self.block;
        start..start + self.groups() * self.descriptor
    }

    /// All of the file system in bytes.
    pub fn size(&self) -> u64 {
        self.blocks * self.block
    }

    /// Why the bitmaps cannot be trusted or are not understood; `None` where they can.
    pub fn distrust(&self) -> Option<String> {
        if self.incompat & incompat::RECOVER != 0 {
            return Some("its journal holds what has not been written yet".into());
        }
        if self.state != 1 {
            return Some("it was not unmounted cleanly or has errors".into());
        }
        let unknown = [
            ("incompatible", self.incompat & !incompat::HARMLESS),
            ("read-only compatible", self.ro_compat & !ro_compat::HARMLESS),
            ("compatible", self.compat & compat::SPARSE_SUPER2),
        ];
        unknown
            .iter()
            .find(|(_, bits)| *bits != 0)
            .map(|(class, bits)| format!("it has {class} features that are not known here ({bits:#x})"))
    }

    /// The blocks at the start of a group that hold copies of superblock and descriptors.
    pub fn backup(&self, group: u64) -> Range<u64> {
        let power = |of: u64| {
            let mut power = of;
            while power < group {
                power *= of;
            }
            power == group
        };
        let start = self.group(group).start;
        let has = self.ro_compat & ro_compat::SPARSE_SUPER == 0 || group <= 1 || power(3) || power(5) || power(7);
        let descriptors = (self.groups() * self.descriptor).div_ceil(self.block);
        match has {
            true => start..start + 1 + descriptors + self.reserved_descriptors,
            false => start..start,
        }
    }

    /// How many blocks an inode table has in each group.
    pub fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_size).div_ceil(self.block)
    }

    fn has_checksums(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    /// Whether descriptors have a checksum, without which nothing in them about uninitialised bitmaps counts.
    pub fn checks_descriptors(&self) -> bool {
        self.ro_compat & (ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM) != 0
    }
}

/// A group's descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_blocks: u32,
    /// Inodes at the end of the table that were never used.
    pub unused_inodes: u32,
    /// Its block bitmap is not on the disk: all is free but the metadata.
    pub blocks_uninit: bool,
    pub inodes_uninit: bool,
    /// Whether the descriptor's checksum is right, or there is none.
    pub sound: bool,
    bitmap_checksum: u32,
}

impl Group {
    /// Reads the descriptor of the group with the number `group`; `bytes` are the superblock's `descriptor` many.
    pub fn parse(superblock: &Superblock, group: u64, bytes: &[u8]) -> Group {
        let wide = bytes.len() >= 64;
        let high16 = |at: usize| if wide { u32::from(le16(bytes, at)) << 16 } else { 0 };
        let high32 = |at: usize| if wide { u64::from(le32(bytes, at)) << 32 } else { 0 };
        let number = (group as u32).to_le_bytes();
        let checksum = le16(bytes, 0x1E);
        let sound = if superblock.has_checksums() {
            let crc = crc32c(superblock.seed, &number);
            let crc = crc32c(crc32c(crc32c(crc, &bytes[..0x1E]), &[0, 0]), &bytes[0x20..]);
            crc as u16 == checksum
        } else if superblock.ro_compat & ro_compat::GDT_CSUM != 0 {
            let crc = crc16(crc16(crc16(!0, &superblock.uuid), &number), &bytes[..0x1E]);
            crc16(crc, &bytes[0x20..]) == checksum
        } else {
            true
        };
        let flags = match superblock.checks_descriptors() {
            true => le16(bytes, 0x12),
            false => 0,
        };
        Group {
            block_bitmap: u64::from(le32(bytes, 0x0)) | high32(0x20),
            inode_bitmap: u64::from(le32(bytes, 0x4)) | high32(0x24),
            inode_table: u64::from(le32(bytes, 0x8)) | high32(0x28),
            free_blocks: u32::from(le16(bytes, 0xC)) | high16(0x2C),
            unused_inodes: match superblock.checks_descriptors() {
                true => u32::from(le16(bytes, 0x1C)) | high16(0x32),
                false => 0,
            },
            blocks_uninit: flags & 2 != 0,
            inodes_uninit: flags & 1 != 0,
            sound,
            bitmap_checksum: u32::from(le16(bytes, 0x18)) | high16(0x38),
        }
    }

    /// Whether `bitmap`, a block, has the checksum that the descriptor says; true where there are none.
    pub fn is_bitmap_sound(&self, superblock: &Superblock, bitmap: &[u8]) -> bool {
        if !superblock.has_checksums() {
            return true;
        }
        let crc = crc32c(superblock.seed, &bitmap[..(superblock.blocks_per_group / 8) as usize]);
        let mask = if superblock.descriptor >= 64 { u32::MAX } else { 0xFFFF };
        crc & mask == self.bitmap_checksum & mask
    }

    /// Its bitmaps and inode table, as ranges of blocks.
    pub fn metadata(&self, superblock: &Superblock) -> [Range<u64>; 3] {
        let range = |start: u64, blocks: u64| start..start.saturating_add(blocks);
        [
            range(self.block_bitmap, 1),
            range(self.inode_bitmap, 1),
            range(self.inode_table, superblock.inode_table_blocks()),
        ]
    }
}

/// All groups' bitmaps and inode tables as ranges of blocks, by their start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metadata {
    ranges: Vec<Range<u64>>,
    /// They do not overlap and are inside the file system.
    pub sound: bool,
}

impl Metadata {
    pub fn new(superblock: &Superblock, groups: &[Group]) -> Metadata {
        let mut ranges: Vec<Range<u64>> = groups.iter().flat_map(|group| group.metadata(superblock)).collect();
        ranges.sort_by_key(|range| range.start);
        let apart = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let inside = |range: &Range<u64>| range.start > superblock.first_block && range.end <= superblock.blocks;
        Metadata {
            sound: apart && ranges.iter().all(inside),
            ranges,
        }
    }

    /// What of the file system's metadata is in a group: ranges of blocks, counted from the group's start.
    pub fn within(&self, superblock: &Superblock, group: u64) -> impl Iterator<Item = Range<u64>> {
        let blocks = superblock.group(group);
        let first = self.ranges.partition_point(|range| range.end <= blocks.start);
        let (start, end) = (blocks.start, blocks.end);
        self.ranges[first..]
            .iter()
            .take_while(move |range| range.start < end)
            .cloned()
            .chain(std::iter::once(superblock.backup(group)))
            .map(move |range| range.start.clamp(start, end) - start..range.end.clamp(start, end) - start)
    }

    /// The bitmap of a group that has none on the disk: only the metadata is in use.
    pub fn implied(&self, superblock: &Superblock, group: u64) -> Vec<u8> {
        let mut bitmap = vec![0; (superblock.blocks_per_group / 8) as usize];
        for block in self.within(superblock, group).flatten() {
            bitmap[(block / 8) as usize] |= 1 << (block % 8);
        }
        bitmap
    }
}
