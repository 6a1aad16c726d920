//! The `.` and `..` of folders that `fatfs` made, as they should be.
//!
//! Its version 0.3.6 gives them long names, which must not be (Microsoft's FAT specification, "Directory Creation": they are the first
//! two entries of every folder), and the root's cluster for a `..` that leads to the root, which must be 0 there. Linux reads such a
//! folder all the same; `fsck.fat` calls it damaged.

use crate::flash::blocks::{Blocks, Part};
use std::io;

/// The bytes of an entry, and of those of a long name the attributes.
const ENTRY: usize = 32;
const LONG: u8 = 0x0f;
const FOLDER: u8 = 0x10;
const LABEL: u8 = 0x08;
const DELETED: u8 = 0xe5;

/// How deep folders may be.
const DEPTH: usize = 64;

struct Fat<'a, 'b> {
    part: &'a mut Part<'b>,
    /// Bytes, all of them.
    table: u64,
    data: u64,
    cluster: u64,
    clusters: u64,
}

/// Corrects all folders of the FAT32 in `part`.
pub(super) fn correct(part: &mut Part) -> io::Result<()> {
    let mut sector = [0; 512];
    part.read_at(0, &mut sector)?;
    let two = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let four = |at: usize| {
        u64::from(u32::from_le_bytes([
            sector[at],
            sector[at + 1],
            sector[at + 2],
            sector[at + 3],
        ]))
    };
    let (bytes, reserved, fats, fat, root) = (two(11), two(14), u64::from(sector[16]), four(36), four(44));
    let cluster = (u64::from(sector[13]) * bytes).max(512);
    let clusters = part.size() / cluster;
    let mut fat = Fat {
        part,
        table: reserved * bytes,
        data: (reserved + fats * fat) * bytes,
        cluster,
        clusters,
    };
    fat.folder(root, root, 0)
}

/// The first cluster that an entry names.
fn first(entry: &[u8; ENTRY]) -> u64 {
    u64::from(u16::from_le_bytes([entry[20], entry[21]])) << 16 | u64::from(u16::from_le_bytes([entry[26], entry[27]]))
}

fn set_first(entry: &mut [u8; ENTRY], cluster: u64) {
    let [a, b, c, d, ..] = cluster.to_le_bytes();
    entry[26..28].copy_from_slice(&[a, b]);
    entry[20..22].copy_from_slice(&[c, d]);
}

impl Fat<'_, '_> {
    fn place(&self, cluster: u64) -> u64 {
        self.data + cluster.saturating_sub(2) * self.cluster
    }

    /// Goes through the folder that begins at `start`.
    fn folder(&mut self, start: u64, root: u64, depth: usize) -> io::Result<()> {
        let mut cluster = start;
        // Every cluster at most once: a chain that is a circle ends.
        for _ in 0..self.clusters {
            if depth > DEPTH || !(2..0x0fff_fff8).contains(&cluster) {
                break;
            }
            let mut entries = vec![0; self.cluster as usize];
            self.part.read_at(self.place(cluster), &mut entries)?;
            for entry in entries.as_chunks::<ENTRY>().0 {
                if entry[11] & (FOLDER | LABEL) == FOLDER && !matches!(entry[0], 0 | DELETED | b'.') {
                    let below = first(entry);
                    self.dots(below, if start == root { 0 } else { start })?;
                    self.folder(below, root, depth + 1)?;
                }
            }
            let mut next = [0; 4];
            self.part.read_at(self.table + cluster * 4, &mut next)?;
            cluster = u64::from(u32::from_le_bytes(next) & 0x0fff_ffff);
        }
        Ok(())
    }

    /// Corrects the first entries of the folder at `start`, which is in the one at `above`.
    fn dots(&mut self, start: u64, above: u64) -> io::Result<()> {
        let at = self.place(start);
        let mut bytes = [0; 4 * ENTRY];
        self.part.read_at(at, &mut bytes)?;
        let mut entries: [[u8; ENTRY]; 4] = std::array::from_fn(|n| std::array::from_fn(|m| bytes[n * ENTRY + m]));
        if [0, 2].iter().all(|n| entries[*n][11] == LONG && entries[n + 1][0] == b'.') {
            entries = [entries[1], entries[3], entries[0], entries[2]];
            // Only what follows an entry that never was is not looked at.
            (entries[2][0], entries[3][0]) = (DELETED, DELETED);
        }
        if entries[1].starts_with(b"..  ") {
            set_first(&mut entries[1], above);
        }
        self.part.write_at(at, entries.as_flattened())
    }
}
