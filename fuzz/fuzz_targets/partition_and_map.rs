//! Partition tables and maps of arbitrary disks: nothing panics, and what is needed does not depend on how the disk streams by.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud::flash::inspect::{Expectations, inspect};
use picloud::flash::map::Mapper;
use picloud::flash::map::bmap::Bmap;
use picloud::flash::partition::Table;

const SECTOR: usize = 512;

fn needed(disk: &[u8], piece: usize) -> Vec<bool> {
    let mut mapper = Mapper::new(Some(disk.len() as u64));
    for (number, bytes) in disk.chunks(piece).enumerate() {
        mapper.feed((number * piece) as u64, bytes);
    }
    let sectors = (0..disk.len() as u64).step_by(SECTOR);
    sectors.map(|at| mapper.needed(at, SECTOR as u64)).collect()
}

fuzz_target!(|input: (u8, Vec<(u16, Vec<u8>)>)| {
    let (piece, parts) = input;
    // A fuzzer's input is short, and a disk long: pieces of it are put at sectors.
    let mut disk = vec![0; 1 << 20];
    for (sector, bytes) in &parts {
        let at = usize::from(*sector) % (disk.len() / SECTOR) * SECTOR;
        let length = bytes.len().min(disk.len() - at);
        disk[at..at + length].copy_from_slice(&bytes[..length]);
    }
    assert_eq!(needed(&disk, disk.len()), needed(&disk, (usize::from(piece) + 1) * SECTOR));
    if let Ok(Some(table)) = Table::read(&mut disk) {
        let ends: Vec<u64> = table.partitions.iter().map(|partition| partition.end()).collect();
        assert!(ends.is_sorted() && ends.iter().all(|end| *end <= disk.len() as u64));
    }
    let _ = inspect(&mut disk, &Expectations::default());
    for (_, bytes) in &parts {
        let _ = Bmap::parse(&String::from_utf8_lossy(bytes));
    }
});
