//! FAT's boot sector: where its tables and clusters lie. After Microsoft's "FAT: General Overview of On-Disk Format" 1.03.

use super::{le16, le32};

/// The width of a table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where things are in a FAT file system; all offsets and sizes in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    pub width: Width,
    pub sector: u32,
    /// The first table.
    pub fat: u64,
    /// The size of one table.
    pub fat_size: u64,
    pub fats: u8,
    /// Where cluster 2 is.
    pub data: u64,
    pub cluster: u32,
    /// How many clusters there are; the last one's number is one more.
    pub clusters: u32,
    /// All of the file system.
    pub size: u64,
    pub media: u8,
    /// It was not unmounted cleanly (Linux's and Windows' mark in the boot sector).
    pub dirty: bool,
    /// Whether all tables are kept equal; a FAT32 can use just one.
    pub mirrored: bool,
    pub serial: u32,
    /// The root folder's first cluster; 0 where it stands before the clusters (FAT12, FAT16).
    pub root: u32,
}

impl Geometry {
    /// Reads a boot sector; `None` where it is none, or says what cannot be.
    pub fn parse(bytes: &[u8]) -> Option<Geometry> {
        if bytes.len() < 512 || bytes[510..512] != [0x55, 0xAA] || !matches!(bytes[0], 0xEB | 0xE9) {
            return None;
        }
        let sector = u32::from(le16(bytes, 11));
        let per_cluster = u32::from(bytes[13]);
        let reserved = u32::from(le16(bytes, 14));
        let fats = bytes[16];
        let root_entries = u32::from(le16(bytes, 17));
        let media = bytes[21];
        let sectors = match le16(bytes, 19) {
            0 => le32(bytes, 32),
            few => u32::from(few),
        };
        let narrow = u32::from(le16(bytes, 22));
        let fat_sectors = if narrow == 0 { le32(bytes, 36) } else { narrow };
        let sound = matches!(sector, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && matches!(fats, 1 | 2)
            && (media == 0xF0 || media >= 0xF8)
            && fat_sectors > 0
            && (narrow == 0) == (root_entries == 0);
        if !sound {
            return None;
        }
        let root_sectors = (root_entries * 32).div_ceil(sector);
        let before = u64::from(reserved) + u64::from(fats) * u64::from(fat_sectors) + u64::from(root_sectors);
        let clusters = u64::from(sectors).checked_sub(before)? / u64::from(per_cluster);
        // As Linux does it: a FAT32 is told by its boot sector, whatever the number of clusters.
        let width = match narrow {
            0 => Width::Fat32,
            _ if clusters < 4085 => Width::Fat12,
            _ if clusters < 65525 => Width::Fat16,
            _ => return None,
        };
        let bits = match width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        let fat_size = u64::from(fat_sectors) * u64::from(sector);
        if clusters == 0 || clusters >= 0x0FFF_FFF5 || fat_size * 8 < (clusters + 2) * bits {
            return None;
        }
        let (state, serial) = if narrow == 0 { (0x41, 0x43) } else { (0x25, 0x27) };
        Some(Geometry {
            width,
            sector,
            fat: u64::from(reserved) * u64::from(sector),
            fat_size,
            fats,
            data: before * u64::from(sector),
            cluster: per_cluster * sector,
            clusters: clusters as u32,
            size: u64::from(sectors) * u64::from(sector),
            media,
            dirty: bytes[state] & 3 != 0,
            mirrored: narrow != 0 || le16(bytes, 40) & 0x80 == 0,
            serial: le32(bytes, serial),
            root: if narrow == 0 { le32(bytes, 44) } else { 0 },
        })
    }

    /// What the first two entries of a table say: it is a table of this file system, and it was unmounted cleanly without errors.
    pub fn is_sound_table(&self, first: u32, second: u32) -> bool {
        let clean = match self.width {
            Width::Fat12 => true,
            Width::Fat16 => second & 0xC000 == 0xC000,
            Width::Fat32 => second & 0x0C00_0000 == 0x0C00_0000,
        };
        clean && first as u8 == self.media
    }

    /// `bytes` of a table as entries. Twelve bytes are a whole number of entries in every width; what is beyond is left out.
    pub fn entries(&self, bytes: &[u8]) -> Vec<u32> {
        match self.width {
            Width::Fat12 => bytes
                .chunks(3)
                .flat_map(|three| {
                    let low = three
                        .get(1)
                        .map(|middle| u32::from(three[0]) | u32::from(*middle) << 8 & 0xF00);
                    let high = three.get(2).map(|last| u32::from(three[1]) >> 4 | u32::from(*last) << 4);
                    [low, high]
                })
                .flatten()
                .collect(),
            Width::Fat16 => bytes.chunks_exact(2).map(|two| u32::from(le16(two, 0))).collect(),
            Width::Fat32 => bytes.chunks_exact(4).map(|four| le32(four, 0) & 0x0FFF_FFFF).collect(),
        }
    }
}
