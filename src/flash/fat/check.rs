//! Is a FAT's tree of folders and files sound? `fatfs` 0.3.6 trusts what it reads: a cluster that does not exist makes it compute nonsense.

use crate::flash::blocks::{Blocks, Part};
use crate::flash::layout::fat::{Geometry, Width};
use crate::flash::layout::{le16, le32};
use std::io;

/// The largest table that is looked at, in bytes: that of a FAT32 with four million clusters.
const TABLE: u64 = 16 << 20;

/// The largest folder that FAT allows, in bytes.
const FOLDER: usize = 65_536 * 32;

struct Check<'a, 'b> {
    part: &'a mut Part<'b>,
    geometry: &'a Geometry,
    table: Vec<u8>,
    /// A bit for each cluster that belongs to something.
    seen: Vec<u8>,
}

/// Follows all chains of clusters from the root folder; says what is wrong with the first that is.
pub(super) fn check(part: &mut Part, geometry: &Geometry) -> io::Result<()> {
    let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    if geometry.fat_size > TABLE {
        return wrong("its allocation table is larger than 16 MiB");
    }
    if !geometry.mirrored {
        return wrong("it uses only one of its allocation tables");
    }
    let mut table = vec![0; geometry.fat_size as usize];
    part.read_at(geometry.fat, &mut table)?;
    let mut check = Check {
        part,
        geometry,
        table,
        seen: vec![0; (geometry.clusters as usize + 2) / 8 + 1],
    };
    let mut folders = vec![check.root()?];
    // Ends: each folder has a cluster that no other has.
    while let Some(folder) = folders.pop() {
        for entry in folder.chunks_exact(32) {
            match (entry[0], entry[11]) {
                (0, _) => break,
                // Deleted; `.` and `..`, which nothing here goes through; parts of long names and volume labels.
                (0xE5, _) => continue,
                _ if entry.starts_with(b".          ") || entry.starts_with(b"..         ") => continue,
                (_, kind) if kind & 8 != 0 => continue,
                (_, kind) => {
                    let bytes = check.chain(entry)?;
                    if kind & 0x10 != 0 {
                        folders.push(check.folder(&bytes, &name(entry))?);
                    } else if (bytes.len() as u64 * u64::from(geometry.cluster)) < u64::from(le32(entry, 28)) {
                        return wrong(&format!("{} has fewer clusters than its size says", name(entry)));
                    }
                }
            }
        }
    }
    Ok(())
}

/// An entry's short name, as it is stored.
fn name(entry: &[u8]) -> String {
    String::from_utf8_lossy(&entry[..11]).trim_end().to_owned()
}

impl Check<'_, '_> {
    fn root(&mut self) -> io::Result<Vec<u8>> {
        if self.geometry.width == Width::Fat32 {
            let chain = self.clusters(self.geometry.root, "the root folder")?;
            return self.folder(&chain, "the root folder");
        }
        let tables = self.geometry.fat + u64::from(self.geometry.fats) * self.geometry.fat_size;
        let mut bytes = vec![0; (self.geometry.data - tables) as usize];
        self.part.read_at(tables, &mut bytes)?;
        Ok(bytes)
    }

    /// The clusters of what an entry names.
    fn chain(&mut self, entry: &[u8]) -> io::Result<Vec<u32>> {
        let high = match self.geometry.width {
            Width::Fat32 => u32::from(le16(entry, 20)) << 16,
            _ => 0,
        };
        match u32::from(le16(entry, 26)) | high {
            0 => Ok(Vec::new()),
            first => self.clusters(first, &name(entry)),
        }
    }

    fn clusters(&mut self, first: u32, name: &str) -> io::Result<Vec<u32>> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{name} {why}"));
        let (mut clusters, mut cluster) = (Vec::new(), first);
        let end = match self.geometry.width {
            Width::Fat12 => 0xFF8,
            Width::Fat16 => 0xFFF8,
            Width::Fat32 => 0x0FFF_FFF8,
        };
        // Ends: no cluster is seen twice.
        while cluster < end {
            if cluster < 2 || cluster - 2 >= self.geometry.clusters {
                return Err(wrong("leads to a cluster that does not exist"));
            }
            let (byte, bit) = ((cluster / 8) as usize, 1 << (cluster % 8));
            let Some(seen) = self.seen.get_mut(byte).filter(|seen| **seen & bit == 0) else {
                return Err(wrong("has a cluster that something else has"));
            };
            *seen |= bit;
            clusters.push(cluster);
            cluster = self.entry(cluster);
        }
        Ok(clusters)
    }

    fn entry(&self, cluster: u32) -> u32 {
        let cluster = cluster as usize;
        let (at, length) = match self.geometry.width {
            Width::Fat12 => (cluster / 2 * 3, 3),
            Width::Fat16 => (cluster * 2, 2),
            Width::Fat32 => (cluster * 4, 4),
        };
        let bytes = &self.table[at..(at + length).min(self.table.len())];
        let index = if self.geometry.width == Width::Fat12 { cluster % 2 } else { 0 };
        self.geometry.entries(bytes).get(index).copied().unwrap_or_default()
    }

    fn folder(&mut self, clusters: &[u32], name: &str) -> io::Result<Vec<u8>> {
        let size = self.geometry.cluster as usize;
        if clusters.is_empty() || clusters.len() > FOLDER.div_ceil(size) {
            let why = format!("the folder {name} has {} clusters", clusters.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut bytes = vec![0; clusters.len() * size];
        for (cluster, bytes) in clusters.iter().zip(bytes.chunks_exact_mut(size)) {
            let at = self.geometry.data + u64::from(cluster - 2) * size as u64;
            self.part.read_at(at, bytes)?;
        }
        Ok(bytes)
    }
}
