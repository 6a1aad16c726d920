//! Is a file system sound, as far as its own summaries say?

use super::{Problem, Volume};
use crate::flash::blocks::{Blocks, Part};
use crate::flash::ext4;
use crate::flash::fat;
use crate::flash::layout::Found;
use crate::flash::layout::ext4::{Group, Metadata, Superblock, incompat};
use crate::flash::layout::fat::Geometry;
use crate::flash::partition::Kind;
use std::io;

pub(super) fn check(blocks: &mut dyn Blocks, volume: &Volume, problems: &mut Vec<Problem>) {
    let partition = &volume.partition;
    let name = volume.name();
    let mut problem = |why: String| problems.push(Problem(why));
    let mut part = Part::new(blocks, partition.start, partition.size);
    let why = match &volume.found {
        Found::Fat(geometry) if geometry.size > partition.size => Some(format!(
            "its FAT has {} bytes, and there are only {}",
            geometry.size, partition.size
        )),
        Found::Fat(geometry) => check_fat(&mut part, geometry).unwrap_or_else(|e| Some(format!("its FAT cannot be read: {e}"))),
        Found::Ext4(superblock) if superblock.size() > partition.size => Some(format!(
            "its ext4 has {} bytes, and there are only {}",
            superblock.size(),
            partition.size
        )),
        Found::Ext4(superblock) => {
            check_ext4(&mut part, superblock).unwrap_or_else(|e| Some(format!("its ext4 cannot be read: {e}")))
        }
        Found::Broken(why) => Some(why.clone()),
        Found::Nothing => None,
        Found::Other(_) => None,
    };
    if let Some(why) = why {
        return problem(format!("{name} is damaged: {why}"));
    }
    let other = |found: &Found| match found {
        Found::Fat(_) => "FAT",
        Found::Ext4(_) => "ext4",
        Found::Other(name) => name,
        Found::Broken(_) | Found::Nothing => "no file system",
    };
    match (partition.kind, &volume.found) {
        (Kind::Fat | Kind::Efi, Found::Fat(_)) => {}
        // GPT's "basic data" is given to anything.
        (Kind::Fat, Found::Other(_) | Found::Ext4(_)) => {}
        (Kind::Fat | Kind::Efi, found) => {
            return problem(format!(
                "{name} is marked as FAT and holds {}: no FAT boot sector was found",
                other(found)
            ));
        }
        (Kind::Linux, Found::Nothing) => {
            return problem(format!("{name} is marked as Linux and holds no file system that is known"));
        }
        _ => {}
    }
    // The root folder: what is behind the summaries.
    let readable = match &volume.found {
        Found::Fat(_) => fat::list(blocks, partition, "/").map(drop),
        Found::Ext4(_) => ext4::list(blocks, partition, "/").map(drop),
        _ => Ok(()),
    };
    if let Err(e) = readable {
        problem(format!(
            "the root folder of {name} cannot be read: {}",
            e.diagnostics()[0].message
        ));
    }
}

/// How many places of a table are compared.
const SAMPLES: u64 = 32;

fn check_fat(part: &mut Part, geometry: &Geometry) -> io::Result<Option<String>> {
    let mut head = [0; 12];
    part.read_at(geometry.fat, &mut head)?;
    let entries = geometry.entries(&head);
    if entries[0] as u8 != geometry.media {
        return Ok(Some("its FAT's allocation table does not begin as one".into()));
    }
    let length = geometry.fat_size.min(4096);
    let (mut first, mut second) = (vec![0; length as usize], vec![0; length as usize]);
    for sample in 0..SAMPLES {
        let at = geometry.fat + (geometry.fat_size - length) * sample / (SAMPLES - 1);
        part.read_at(at, &mut first)?;
        if geometry.fats == 2 && geometry.mirrored {
            part.read_at(at + geometry.fat_size, &mut second)?;
            if first != second {
                return Ok(Some(format!("its FAT's two allocation tables differ (at {at})")));
            }
        }
    }
    Ok(None)
}

fn check_ext4(part: &mut Part, superblock: &Superblock) -> io::Result<Option<String>> {
    // With its journal to be replayed it boots: the kernel does that.
    if superblock.state & 2 != 0 {
        return Ok(Some("its ext4 is marked as having errors".into()));
    }
    if superblock.state & 1 == 0 && superblock.incompat & incompat::RECOVER == 0 {
        return Ok(Some(
            "its ext4 was not unmounted cleanly, and has no journal to replay".into(),
        ));
    }
    let range = superblock.descriptors();
    // Checked above against the size of the partition; 16 TiB have 8 MiB.
    if superblock.incompat & incompat::META_BG != 0 || range.end - range.start > 8 << 20 {
        return Ok(None);
    }
    let mut bytes = vec![0; (range.end - range.start) as usize];
    part.read_at(range.start, &mut bytes)?;
    let groups: Vec<Group> = (0..)
        .zip(bytes.chunks_exact(superblock.descriptor as usize))
        .map(|(number, bytes)| Group::parse(superblock, number, bytes))
        .collect();
    if let Some(number) = groups.iter().position(|group| !group.sound) {
        return Ok(Some(format!(
            "the checksum of the descriptor of its ext4's group {number} is wrong"
        )));
    }
    if !Metadata::new(superblock, &groups).sound {
        return Ok(Some(
            "its ext4's bitmaps and inode tables overlap or are beyond its end".into(),
        ));
    }
    if superblock.incompat & incompat::RECOVER != 0 {
        return Ok(None);
    }
    let mut bitmap = vec![0; superblock.block as usize];
    for (number, group) in groups.iter().enumerate().step_by(groups.len().div_ceil(SAMPLES as usize)) {
        part.read_at(group.block_bitmap * superblock.block, &mut bitmap)?;
        if !group.blocks_uninit && !group.is_bitmap_sound(superblock, &bitmap) {
            return Ok(Some(format!(
                "the checksum of the block bitmap of its ext4's group {number} is wrong"
            )));
        }
    }
    Ok(None)
}
