//! Would it boot? What can be seen of that from a card that was written: partition table, file systems, and the files that a board needs.
//!
//! It says only what is surely wrong. What a board's firmware looks for is from the Raspberry Pi documentation ("Boot folder contents",
//! `config.txt`), the UEFI specification (3.5.1.1, the default file names) and U-Boot's distro boot.

mod boot;
mod systems;

use super::blocks::{Blocks, Part};
use super::layout::{self, Found, HEAD};
use super::partition::{Kind, Partition, Table};
use serde::Serialize;
use std::fmt;

/// Why a card would not boot: a sentence without a full stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a card is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Board {
    /// Only what holds for every board is looked at.
    #[default]
    Unknown,
    /// A Raspberry Pi; its generation, where that is known: 1 (also for Zero), 2, 3 (also for Zero 2), 4, 5.
    RaspberryPi(Option<u8>),
    /// A PC or a virtual machine: UEFI or BIOS.
    Pc,
    /// An arm64 machine with UEFI.
    ArmUefi,
    /// A board with an Allwinner processor, such as the Pine64.
    Allwinner,
}

impl Board {
    /// The board of a name as catalogues and people write it: `pi3`, `Raspberry Pi 4`, `rpi-zero-2`, `pine64`, `pc`, `vm-arm64`.
    pub fn named(name: &str) -> Board {
        let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        if ["pine", "sopine", "allwinner", "orangepi", "bananapi", "nanopi"]
            .iter()
            .any(|word| name.contains(word))
        {
            return match name.contains("64") || name.contains("allwinner") || name.starts_with("orangepizero") {
                true => Board::Allwinner,
                false => Board::Unknown,
            };
        }
        let pi = ["raspberrypi", "rpi", "pi"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        if let Some(rest) = pi {
            let rest = rest.strip_prefix("cm").unwrap_or(rest);
            let generation = match rest {
                _ if rest.starts_with("zero2") || rest.starts_with("02") => Some(3),
                _ if rest.starts_with("zero") || rest.starts_with('0') => Some(1),
                _ => rest
                    .chars()
                    .next()
                    .and_then(|digit| digit.to_digit(10))
                    .map(|digit| digit as u8),
            };
            return Board::RaspberryPi(generation.filter(|generation| (1..=5).contains(generation)));
        }
        match name.as_str() {
            _ if name.contains("arm") || name.contains("aarch64") => Board::ArmUefi,
            "pc" | "vm" | "qemu" | "kvm" | "x8664" | "amd64" | "vmamd64" | "vmx8664" | "qemux8664" | "pcx8664" => Board::Pc,
            _ => Board::Unknown,
        }
    }
}

/// What the card should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectations {
    pub board: Board,
}

/// A file system on the card.
struct Volume {
    /// For a file system without a table: 0.
    partition: Partition,
    found: Found,
}

impl Volume {
    fn name(&self) -> String {
        match self.partition.number {
            0 => "the file system".into(),
            number => format!("partition {number}"),
        }
    }

    fn is_fat(&self) -> bool {
        matches!(self.found, Found::Fat(_))
    }
}

/// Looks at a card or image and says what would keep it from booting; nothing, as far as can be seen, if this is empty.
pub fn inspect(blocks: &mut dyn Blocks, expectations: &Expectations) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(volumes) = volumes(blocks, &mut problems) else {
        return problems;
    };
    for volume in &volumes {
        systems::check(blocks, volume, &mut problems);
    }
    // What stands in a broken file system is not worth a second complaint.
    if problems.is_empty() {
        boot::check(blocks, &volumes, expectations.board, &mut problems);
    }
    problems
}

/// Finds the file systems; `None` if there is no way to.
fn volumes(blocks: &mut dyn Blocks, problems: &mut Vec<Problem>) -> Option<Vec<Volume>> {
    let mut problem = |why: String| problems.push(Problem(why));
    let table = match Table::read(blocks) {
        Ok(table) => table,
        Err(e) => {
            e.diagnostics()
                .iter()
                .for_each(|diagnostic| problem(diagnostic.message.clone()));
            return None;
        }
    };
    let without = table.is_none();
    let partitions = table.map_or_else(
        || {
            vec![Partition {
                number: 0,
                start: 0,
                size: blocks.size(),
                kind: Kind::Other,
                bootable: false,
                uuid: String::new(),
                label: String::new(),
            }]
        },
        |table| table.partitions,
    );
    if partitions.is_empty() {
        problem("the partition table has no partitions".into());
    }
    let mut volumes = Vec::new();
    for partition in partitions {
        let mut head = vec![0; HEAD.min(partition.size as usize)];
        if let Err(e) = Part::new(blocks, partition.start, partition.size).read_at(0, &mut head) {
            problem(format!("partition {} cannot be read: {e}", partition.number));
            continue;
        }
        let found = layout::recognise(&head);
        if without && !matches!(found, Found::Fat(_) | Found::Ext4(_)) {
            problem("there is neither a partition table nor a file system that is known".into());
            return None;
        }
        volumes.push(Volume { partition, found });
    }
    Some(volumes)
}

#[cfg(test)]
mod tests;
