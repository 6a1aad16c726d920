//! Partition tables: MBR with its logical partitions, and GPT with its checksums. What cannot be is told, not guessed around.
//!
//! After the UEFI specification 2.10, chapter 5, and the tables that `sfdisk` and `sgdisk` write. Sectors of an MBR are taken to be
//! 512 bytes: an image does not say, and cards have no others. A GPT is looked for with sectors of 512 and of 4096 bytes.

use super::blocks::Blocks;
use super::layout::crc::crc32;
use super::layout::fat::Geometry;
use super::layout::{le32, le64};
use crate::error::{Error, Result};
use std::ops::Range;

const SECTOR: u64 = 512;

/// What a partition's type says it is for; not what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Fat,
    /// The EFI system partition; its file system is FAT.
    Efi,
    /// Linux's own data, and Linux's root, home, /usr... by GPT's names.
    Linux,
    Swap,
    Lvm,
    Raid,
    /// GRUB's second stage on a GPT.
    BiosBoot,
    Other,
}

/// A range of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// As the kernel numbers it: from 1; logical ones from 5.
    pub number: u32,
    /// Bytes.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    pub kind: Kind,
    /// MBR's active flag, or GPT's "legacy BIOS bootable".
    pub bootable: bool,
    /// What Linux calls its PARTUUID, in lower case.
    pub uuid: String,
    /// GPT's PARTLABEL.
    pub label: String,
}

impl Partition {
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Mbr,
    Gpt,
}

/// A disk's partitions, by their start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    pub scheme: Scheme,
    /// PTUUID: eight hexadecimal digits (MBR) or a GUID.
    pub disk: String,
    pub partitions: Vec<Partition>,
    /// Where the next table of logical partitions is, where the bytes given did not reach so far.
    pub chain: Option<Chain>,
}

impl Table {
    /// Reads the table of a disk; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or says what cannot be: overlapping partitions, partitions beyond the end, wrong checksums.
    pub fn read(blocks: &mut dyn Blocks) -> Result<Option<Table>> {
        let size = blocks.size();
        let failed = |e: std::io::Error| Error::state(format!("failed to read the partition table: {e}"));
        let mut head = vec![0; size.min(FIRST as u64) as usize];
        blocks.read_at(0, &mut head).map_err(failed)?;
        let Some(mut table) = Table::of(&head, Some(size))? else {
            return Ok(None);
        };
        while let Some(chain) = table.chain.take() {
            let mut sector = [0; SECTOR as usize];
            blocks.read_at(chain.at, &mut sector).map_err(failed)?;
            chain.follow(&sector, &mut table)?;
        }
        table.check(Some(size))?;
        Ok(Some(table))
    }

    /// Reads the table from the first bytes of a disk ([`FIRST`] are enough) of `size` bytes, if that is known. Logical partitions
    /// are left to [`Table::chain`].
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn of(first: &[u8], size: Option<u64>) -> Result<Option<Table>> {
        if first.len() < SECTOR as usize || first[510..512] != [0x55, 0xAA] {
            return Ok(None);
        }
        let entries: Vec<Entry> = (0..4).map(|number| Entry::parse(&first[446 + number * 16..])).collect();
        let filesystem = Geometry::parse(first).is_some();
        if entries.iter().any(|entry| !matches!(entry.status, 0 | 0x80)) {
            return match filesystem {
                // Boot code where a table would be.
                true => Ok(None),
                false => Err(nonsense("its entries have flags that do not exist")),
            };
        }
        if entries.iter().all(Entry::is_empty) {
            return Ok(None);
        }
        if filesystem {
            return Err(nonsense(
                "the first sector is a partition table and a FAT boot sector at once",
            ));
        }
        let table = match entries.iter().any(|entry| entry.kind == 0xEE) {
            true => gpt(first)?,
            false => mbr(first, &entries)?,
        };
        table.check(size)?;
        Ok(Some(table))
    }

    /// The partition with this number.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }

    /// Sorts the partitions by their start and looks for what cannot be.
    fn check(&self, size: Option<u64>) -> Result<()> {
        let mut before: Option<&Partition> = None;
        for partition in &self.partitions {
            let name = format!("partition {} ({} to {})", partition.number, partition.start, partition.end());
            if let Some(size) = size.filter(|size| partition.end() > *size) {
                return Err(
                    nonsense(&format!("{name} is beyond the end of the disk ({size} bytes)")).hint("was the image cut off?")
                );
            }
            if let Some(before) = before.filter(|before| before.end() > partition.start) {
                return Err(nonsense(&format!("{name} overlaps partition {}", before.number)));
            }
            before = Some(partition);
        }
        Ok(())
    }

    fn push(&mut self, partition: Partition) {
        let at = self.partitions.partition_point(|other| other.start <= partition.start);
        self.partitions.insert(at, partition);
    }
}

/// How many of a disk's first bytes [`Table::of`] looks at: a GPT of 128 entries in sectors of 4096 bytes ends before.
pub const FIRST: usize = 64 << 10;

fn nonsense(why: &str) -> Error {
    Error::state(format!("the partition table makes no sense: {why}"))
}

/// An entry of an MBR.
struct Entry {
    status: u8,
    kind: u8,
    /// Sectors, in logical partitions relative to something.
    start: u64,
    size: u64,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Entry {
        Entry {
            status: bytes[0],
            kind: bytes[4],
            start: u64::from(le32(bytes, 8)),
            size: u64::from(le32(bytes, 12)),
        }
    }

    fn is_empty(&self) -> bool {
        self.kind == 0 || self.size == 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    /// The partition with this number, where `base` (bytes) is what its start is relative to.
    fn partition(&self, number: u32, base: u64, disk: &str) -> Partition {
        Partition {
            number,
            start: base + self.start * SECTOR,
            size: self.size * SECTOR,
            kind: match self.kind {
                0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E | 0x11 | 0x14 | 0x16 | 0x1B | 0x1C | 0x1E => Kind::Fat,
                0xEF => Kind::Efi,
                0x82 => Kind::Swap,
                0x83 => Kind::Linux,
                0x8E => Kind::Lvm,
                0xFD => Kind::Raid,
                _ => Kind::Other,
            },
            bootable: self.status == 0x80,
            uuid: format!("{disk}-{number:02x}"),
            label: String::new(),
        }
    }
}

fn mbr(first: &[u8], entries: &[Entry]) -> Result<Table> {
    let mut table = Table {
        scheme: Scheme::Mbr,
        disk: format!("{:08x}", le32(first, 440)),
        partitions: Vec::new(),
        chain: None,
    };
    for (number, entry) in (1..).zip(entries) {
        if entry.is_empty() {
            continue;
        }
        if entry.start == 0 {
            return Err(nonsense(&format!("partition {number} begins at the table itself")));
        }
        if !entry.is_extended() {
            let partition = entry.partition(number, 0, &table.disk);
            table.push(partition);
            continue;
        }
        let room = entry.start * SECTOR..(entry.start + entry.size) * SECTOR;
        let chain = Chain {
            at: room.start,
            room,
            number: 5,
        };
        if table.chain.replace(chain).is_some() {
            return Err(nonsense("it has two extended partitions"));
        }
    }
    Ok(table)
}

/// A table of logical partitions that has yet to be read: a list, each element of which holds one partition and the place of the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Bytes.
    pub at: u64,
    /// The extended partition.
    room: Range<u64>,
    /// What its partition is called.
    number: u32,
}

impl Chain {
    /// Reads the sector at [`Chain::at`] into the table: its partition, and where the next is.
    ///
    /// # Errors
    /// It is no table, or leads out of the extended partition or backwards.
    pub fn follow(self, sector: &[u8], table: &mut Table) -> Result<()> {
        if sector.len() < SECTOR as usize || sector[510..512] != [0x55, 0xAA] {
            // An extended partition without any inside.
            return match self.number {
                5 => Ok(()),
                _ => Err(nonsense(&format!("at {} there is no table of logical partitions", self.at))),
            };
        }
        let (own, next) = (Entry::parse(&sector[446..]), Entry::parse(&sector[462..]));
        if !own.is_empty() && !own.is_extended() {
            let partition = own.partition(self.number, self.at, &table.disk);
            if own.start == 0 || partition.end() > self.room.end {
                return Err(nonsense(&format!(
                    "the logical partition {} ({} to {}) is not inside the extended one ({} to {})",
                    self.number,
                    partition.start,
                    partition.end(),
                    self.room.start,
                    self.room.end
                )));
            }
            table.push(partition);
        }
        if !next.is_empty() && next.is_extended() {
            let at = self.room.start + next.start * SECTOR;
            // Ever onwards: so the list ends.
            if at <= self.at || at + SECTOR > self.room.end || self.number >= 127 {
                return Err(nonsense("the list of logical partitions does not end"));
            }
            table.chain = Some(Chain {
                at,
                room: self.room,
                number: self.number + 1,
            });
        }
        Ok(())
    }
}

fn gpt(first: &[u8]) -> Result<Table> {
    let header_at = [512, 4096]
        .into_iter()
        .find(|at| first.get(*at..*at + 92).is_some_and(|header| header.starts_with(b"EFI PART")));
    let Some(sector) = header_at else {
        return Err(nonsense("its first sector announces a GPT, and there is none"));
    };
    let header = &first[sector..];
    let length = le32(header, 12) as usize;
    if !(92..=512).contains(&length) || header.len() < length {
        return Err(nonsense("the GPT's header has a length that cannot be"));
    }
    let mut zeroed = header[..length].to_vec();
    zeroed[16..20].fill(0);
    if crc32(&zeroed) != le32(header, 16) {
        return Err(nonsense("the checksum of the GPT's header is wrong"));
    }
    let sector = sector as u64;
    let usable = (le64(header, 40), le64(header, 48));
    let (at, count, size) = (le64(header, 72), u64::from(le32(header, 80)), u64::from(le32(header, 84)));
    let bytes = at
        .checked_mul(sector)
        .filter(|_| size >= 128 && size % 8 == 0 && count <= 4096);
    let entries = bytes
        .and_then(|start| Some(start as usize..start.checked_add(count * size)? as usize))
        .and_then(|range| first.get(range));
    let Some(entries) = entries else {
        return Err(nonsense("the GPT's entries are not behind its header"));
    };
    if crc32(entries) != le32(header, 88) {
        return Err(nonsense("the checksum of the GPT's entries is wrong"));
    }
    let mut table = Table {
        scheme: Scheme::Gpt,
        disk: guid(&header[56..72]),
        partitions: Vec::new(),
        chain: None,
    };
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        let kind = guid(&entry[..16]);
        if kind == UNUSED {
            continue;
        }
        let (start, last) = (le64(entry, 32), le64(entry, 40));
        if start < usable.0 || last > usable.1 || last < start || last >= u64::MAX / sector {
            return Err(nonsense(&format!(
                "partition {number} (sectors {start} to {last}) is outside of what the GPT says is usable ({} to {})",
                usable.0, usable.1
            )));
        }
        let letters: Vec<u16> = entry[56..128]
            .chunks_exact(2)
            .map(|two| u16::from_le_bytes([two[0], two[1]]))
            .take_while(|letter| *letter != 0)
            .collect();
        table.push(Partition {
            number,
            start: start * sector,
            size: (last - start + 1) * sector,
            kind: KINDS
                .iter()
                .find(|(known, _)| *known == kind)
                .map_or(Kind::Other, |(_, kind)| *kind),
            bootable: entry[48] & 4 != 0,
            uuid: guid(&entry[16..32]),
            label: String::from_utf16_lossy(&letters),
        });
    }
    Ok(table)
}

const UNUSED: &str = "00000000-0000-0000-0000-000000000000";

/// Partition types: those of the UEFI specification, of Linux and of the Discoverable Partitions Specification.
const KINDS: &[(&str, Kind)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Kind::Efi),
    // Microsoft's basic data: what Pi images with a GPT give their FAT.
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", Kind::Fat),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", Kind::Linux),
    // Linux's root on x86-64, arm64 and arm, and its extended boot loader partition.
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", Kind::Linux),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", Kind::Linux),
    ("69dad710-2ce4-4e3c-b16c-21a1d49abed3", Kind::Linux),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", Kind::Linux),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", Kind::Swap),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", Kind::Lvm),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", Kind::Raid),
    ("21686148-6449-6e6f-744e-656564454649", Kind::BiosBoot),
];

/// A GUID's sixteen bytes as text: its first three parts are stored least byte first.
fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (place, from) in order.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[from]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::testing::{Tool, tool};
    use proptest::prelude::*;

    fn disk(mib: usize, script: &str) -> Option<Vec<u8>> {
        let Tool::There = tool("sfdisk", "fdisk") else { return None };
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len((mib << 20) as u64).unwrap();
        crate::flash::testing::run("sfdisk", &["--quiet", file.path().to_str().unwrap()], script);
        Some(std::fs::read(file.path()).unwrap())
    }

    fn shown(blocks: &mut Vec<u8>) -> String {
        match Table::read(blocks) {
            Ok(None) => "none".into(),
            Ok(Some(table)) => {
                let rows = table.partitions.iter().map(|p| {
                    let (start, size) = (p.start / SECTOR, p.size / SECTOR);
                    let boot = if p.bootable { "*" } else { "" };
                    format!("\n{}{boot} {start}+{size} {:?} {} {}", p.number, p.kind, p.uuid, p.label)
                        .trim_end()
                        .to_owned()
                });
                format!("{:?} {}", table.scheme, table.disk) + &rows.collect::<String>().replace(" \n", "\n")
            }
            Err(e) => e.diagnostics()[0].message.clone(),
        }
    }

    #[test]
    fn tables_that_sfdisk_wrote_are_read() {
        let mbr = "label: dos\nlabel-id: 0x5452574f\nunit: sectors\n\
            start=8192, size=16384, type=c, bootable\nstart=24576, size=8192, type=83\nstart=40960, size=40960, type=5\n\
            start=43008, size=4096, type=82\nstart=49152, size=8192, type=83\n";
        let Some(mut mbr) = disk(64, mbr) else { return };
        let expected = "Mbr 5452574f\n1* 8192+16384 Fat 5452574f-01\n2 24576+8192 Linux 5452574f-02\n\
            5 43008+4096 Swap 5452574f-05\n6 49152+8192 Linux 5452574f-06";
        assert_eq!(shown(&mut mbr), expected);
        let first = Table::of(&mbr[..FIRST], None).unwrap().unwrap();
        assert_eq!(
            (first.partitions.len(), first.chain.map(|chain| chain.at)),
            (2, Some(40960 * 512))
        );

        let gpt = "label: gpt\nlabel-id: 6F3D2A3C-1A70-4B5B-9C6F-0D8B4E1F2A77\n\
            start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=11111111-2222-3333-4444-555555555555, name=\"EFI, Größe\"\n\
            start=8192, size=8192, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAAAAAA-2222-3333-4444-555555555555, attrs=LegacyBIOSBootable\n";
        let Some(mut gpt) = disk(16, gpt) else { return };
        let expected = "Gpt 6f3d2a3c-1a70-4b5b-9c6f-0d8b4e1f2a77\n\
            1 2048+4096 Efi 11111111-2222-3333-4444-555555555555 EFI, Größe\n\
            2* 8192+8192 Linux aaaaaaaa-2222-3333-4444-555555555555";
        assert_eq!(shown(&mut gpt), expected);
        gpt[512 + 60] ^= 1;
        assert_eq!(
            shown(&mut gpt),
            "the partition table makes no sense: the checksum of the GPT's header is wrong"
        );
        gpt[512 + 60] ^= 1;
        gpt[1024 + 60] ^= 1;
        assert_eq!(
            shown(&mut gpt),
            "the partition table makes no sense: the checksum of the GPT's entries is wrong"
        );
        gpt[512..1024].fill(0);
        assert_eq!(
            shown(&mut gpt),
            "the partition table makes no sense: its first sector announces a GPT, and there is none"
        );
    }

    /// A disk of 64 sectors with the entries (status, type, start, size).
    fn made(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
        let mut disk = vec![0; 64 * 512];
        for (number, (status, kind, start, size)) in entries.iter().enumerate() {
            let entry = &mut disk[446 + number * 16..];
            entry[0] = *status;
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&size.to_le_bytes());
        }
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk
    }

    #[test]
    fn nonsense_is_told() {
        for (entries, expected) in [
            (&[][..], "none"),
            (
                &[(0, 0x83, 8, 8), (0x80, 0x0C, 1, 4)],
                "Mbr 00000000\n2* 1+4 Fat 00000000-02\n1 8+8 Linux 00000000-01",
            ),
            (
                &[(0, 0x83, 8, 8), (0, 0x83, 15, 4)],
                "partition 2 (7680 to 9728) overlaps partition 1",
            ),
            (
                &[(0, 0x83, 8, 57)],
                "partition 1 (4096 to 33280) is beyond the end of the disk (32768 bytes)",
            ),
            (
                &[(0, 0x83, 8, u32::MAX)],
                "partition 1 (4096 to 2199023259136) is beyond the end of the disk (32768 bytes)",
            ),
            (&[(0x12, 0x83, 8, 8)], "its entries have flags that do not exist"),
            (&[(0, 0x83, 0, 8)], "partition 1 begins at the table itself"),
            (&[(0, 5, 1, 8), (0, 0xF, 10, 8)], "it has two extended partitions"),
            (&[(0, 5, 1, 8)], "Mbr 00000000"),
            (&[(0, 0xEE, 1, 63)], "its first sector announces a GPT, and there is none"),
        ] {
            let expected = match expected.contains("Mbr") || expected == "none" {
                true => expected.to_owned(),
                false => format!("the partition table makes no sense: {expected}"),
            };
            assert_eq!(shown(&mut made(entries)), expected, "{entries:x?}");
        }
        let mut endless = made(&[(0, 5, 1, 60)]);
        let table = made(&[(0, 0x83, 1, 1), (0, 5, 0, 60)]);
        endless[512..1024].copy_from_slice(&table[..512]);
        assert!(shown(&mut endless).ends_with("does not end"));
    }

    proptest! {
        #[test]
        fn any_sectors_are_read(entries in prop::collection::vec((prop_oneof![Just(0u8), Just(0x80)], any::<u8>(), 0u32..70, 0u32..70), 1..5),
                                bytes in prop::collection::vec(any::<u8>(), 1536)) {
            let mut disk = made(&entries);
            disk[1024..2560].copy_from_slice(&bytes);
            let _ = Table::read(&mut disk);
        }
    }
}
