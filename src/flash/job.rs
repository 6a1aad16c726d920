//! One image for some minions: opened, written to their cards, and each made its minion's own.

use super::blocks::Blocks;
use super::catalogue::Image;
use super::change::Change;
use super::decode::{self, Decoded, Format};
use super::device::open::Confirmed;
use super::event::{Event, Listener};
use super::fetch::{Expected, Fetched, Fetcher, Location, Wanted, make_cache_folder};
use super::identity::detect::{Named, choose, detect};
use super::identity::files::{Files, Nothing, Volumes};
use super::identity::{Edits, Identity};
use super::inspect::{self, Board, Expectations};
use super::map::Map;
use super::map::bmap::Bmap;
use super::partition::{Kind, Partition, Table};
use super::write::{self, Card, Done, Elevate, ImageFile, Target};
use super::{ext4, fat, rootfs};
use crate::error::{Error, Result};
use crate::inventory::{FirstBoot, Minion};
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The largest published map that is read, in bytes.
const BMAP: u64 = 16 << 20;

/// Where an image goes.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    Device { confirmed: Confirmed, block_size: usize },
    File { path: PathBuf, force: bool },
}

/// A card for a minion.
pub struct Order {
    pub minion: Minion,
    pub identity: Identity,
    pub place: Place,
    /// What events call it.
    pub name: String,
}

/// What all cards have in common.
pub struct Manner {
    /// How the systems are told who they are, where somebody says so; else told from the image.
    pub first_boot: Option<Named>,
    /// Write all, whatever the card holds.
    pub full: bool,
    pub elevate: Elevate,
    /// Lets go of each card that is done, for it to be taken out.
    pub eject: bool,
    /// The boards and the processors that the image is for, by their names in the catalogue.
    pub boards: Vec<String>,
    pub architectures: Vec<String>,
}

/// An image whose file is being fetched, and that can be read.
pub struct Source {
    decoded: Decoded,
    /// Of the image as it will be on the card, in bytes, as far as the file says.
    pub size: Option<u64>,
    /// The SHA-256 of its file, else something else that names it.
    pub identity: String,
    map: Map,
    chunks: Option<PathBuf>,
    local: bool,
}

/// Fetches `image` as far as is needed to know what it is. A root file system is made into an image here, of `room` bytes, those of the
/// card; without it is as small as it can well be.
///
/// # Errors
/// It cannot be had, is no image, or its published map is none.
pub fn open(
    image: &Image,
    fetcher: &Fetcher,
    folder: &std::path::Path,
    room: Option<u64>,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Source> {
    // A file that is here already needs it too: for what is known of its chunks, and for the image of a root file system.
    make_cache_folder(folder)?;
    let fetched = fetcher.fetch(&image.wanted())?;
    let name = |fetched: &Fetched| match &fetched.sha256 {
        Some(sum) => sum.clone(),
        None => format!("{}:{}", image.location, fetched.size.unwrap_or(0)),
    };
    let identity = name(&fetched);
    let local = fetched.local;
    let mut decoded = decode::open(
        fetched.reader,
        decode::Options {
            whole: fetched.whole,
            ..decode::Options::default()
        },
    )?;
    let mut identity = identity;
    let mut size = decoded.size;
    if decoded.format == Format::RootTar {
        let options = rootfs::Options {
            size: room,
            ..rootfs::Options::default()
        };
        let made = match rootfs::cached(folder, &identity, &options) {
            Some(made) => made,
            None => rootfs::build(folder, &mut decoded.reader, &identity, &options, listener, stop)?,
        };
        let file = File::open(&made).map_err(|e| Error::state(format!("cannot read {}: {e}", made.display())))?;
        size = file.metadata().ok().map(|metadata| metadata.len());
        identity = made.file_name().map_or(identity, |name| name.to_string_lossy().into_owned());
        decoded = decode::open(Box::new(file), decode::Options::default())?;
    }
    let map = match &image.bmap {
        Some(location) => Map::published(published(image, location, fetcher)?),
        None => Map::file_systems(size),
    };
    let plain = identity.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    Ok(Source {
        decoded,
        size,
        chunks: plain.then(|| folder.join(format!("{identity}.chunks"))),
        identity,
        map,
        local,
    })
}

fn published(image: &Image, location: &Location, fetcher: &Fetcher) -> Result<Bmap> {
    let fetched = fetcher.fetch(&Wanted {
        name: format!("{} (block map)", image.name),
        location: location.clone(),
        expected: Expected::Nothing,
    })?;
    let mut text = String::new();
    let read = fetched.reader.take(BMAP).read_to_string(&mut text);
    read.map_err(|e| decode::told(e, &format!("cannot read {location}")))?;
    Bmap::parse(&text).map_err(|e| e.hint(format!("the map is {location}")))
}

/// Writes `source` to the places of `orders`, at once. Results are in their order.
pub fn run(source: Source, orders: &[Order], manner: &Manner, listener: &dyn Listener, stop: &AtomicBool) -> Vec<Result<Done>> {
    let mut results: Vec<Option<Result<Done>>> = Vec::new();
    let mut cards = Vec::new();
    let board = common(&manner.boards, &manner.architectures);
    for order in orders {
        match target(&order.place, &manner.elevate) {
            Ok(target) => {
                let (identity, name) = (&order.identity, &order.name);
                cards.push(Card {
                    name: order.name.clone(),
                    target,
                    block_size: match order.place {
                        Place::Device { block_size, .. } => block_size,
                        Place::File { .. } => write::block_size(None, None).0,
                    },
                    personalize: Some(Box::new(move |blocks| {
                        personalize(blocks, identity, manner.first_boot, &|note| tell(listener, name, note))
                    })),
                    inspect: Some(Box::new(move |blocks| bootable(blocks, board))),
                });
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error))),
        }
    }
    let options = write::Options {
        full: manner.full,
        eject: manner.eject,
        known: source.chunks,
        ..write::Options::default()
    };
    let image = write::Image {
        reader: source.decoded.reader,
        size: source.size,
        identity: source.identity,
        map: Box::new(source.map),
        starved: (!source.local).then(|| starved(&source.decoded.consumed)),
    };
    let mut outcomes = match cards.is_empty() {
        true => Vec::new(),
        false => write::flash(image, cards, &options, listener, stop),
    }
    .into_iter();
    let mut next = || match outcomes.next() {
        Some(outcome) => outcome.result,
        None => Err(Error::state("internal: a card without an outcome")),
    };
    results.into_iter().map(|result| result.unwrap_or_else(&mut next)).collect()
}

fn target(place: &Place, elevate: &Elevate) -> Result<Box<dyn Target>> {
    match place {
        Place::Device { confirmed, .. } => write::open(confirmed, elevate),
        Place::File { path, force } => Ok(Box::new(ImageFile::create(path, *force)?)),
    }
}

/// Whether nothing of the file was read since the last time that this was asked: the network is what everything waits for.
fn starved(consumed: &Arc<std::sync::atomic::AtomicU64>) -> Box<dyn Fn() -> bool + Send + Sync> {
    let (consumed, last) = (consumed.clone(), std::sync::atomic::AtomicU64::new(u64::MAX));
    Box::new(move || {
        let now = consumed.load(Ordering::Relaxed);
        last.swap(now, Ordering::Relaxed) == now
    })
}

/// DietPi's images for boards whose only other partition is their root: its settings are on a last, small FAT of this name. At the first
/// boot they are copied to `/boot` and the partition is deleted (`fs_partition_resize.sh`).
const DIETPI_SETUP: &str = "DIETPISETUP";

/// The partitions that first-boot files are in.
struct Parts {
    /// The FAT that is booted from, or that is there for settings alone.
    boot: Option<Partition>,
    root: Option<Partition>,
}

impl Parts {
    fn of(blocks: &mut dyn Blocks) -> Result<Parts> {
        let table = Table::read(blocks)?.ok_or_else(|| {
            Error::state("the image has no partition table").hint("only whole disk images can be made a minion's own")
        })?;
        let fats = || {
            let fat = |part: &&Partition| matches!(part.kind, Kind::Fat | Kind::Efi);
            table.partitions.iter().filter(fat)
        };
        let setup = fats()
            .next_back()
            .filter(|part| fat::label(blocks, part).is_ok_and(|label| label == DIETPI_SETUP));
        let largest = table
            .partitions
            .iter()
            .filter(|part| part.kind == Kind::Linux)
            .max_by_key(|part| part.size);
        Ok(Parts {
            boot: setup.or_else(|| fats().next()).cloned(),
            root: largest.cloned(),
        })
    }
}

/// A partition of a card, looked at. What cannot be read counts as not there, as [`Files`] says.
struct OnCard<'a, 'b> {
    blocks: &'a RefCell<&'b mut dyn Blocks>,
    part: &'a Partition,
}

struct Boot<'a, 'b>(OnCard<'a, 'b>);
struct Root<'a, 'b>(OnCard<'a, 'b>);

impl Files for Boot<'_, '_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fat::read(&mut **self.0.blocks.borrow_mut(), self.0.part, path).ok()?
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = fat::list(&mut **self.0.blocks.borrow_mut(), self.0.part, path);
        entries
            .ok()
            .flatten()
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }
}

impl Files for Root<'_, '_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        ext4::read(&mut **self.0.blocks.borrow_mut(), self.0.part, path).ok()?
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = ext4::list(&mut **self.0.blocks.borrow_mut(), self.0.part, path);
        entries.ok().flatten().unwrap_or_default()
    }
}

/// How an image is told at its first boot who it is.
///
/// # Errors
/// Nothing in it is recognised, or it has no partition table.
pub fn first_boot(blocks: &mut dyn Blocks) -> Result<FirstBoot> {
    let parts = Parts::of(blocks)?;
    looked_at(blocks, &parts, |volumes| {
        detect(volumes).map(|found| found.method.first_boot())
    })
}

/// What `look` makes of the files in `parts`.
fn looked_at<T>(blocks: &mut dyn Blocks, parts: &Parts, look: impl FnOnce(Volumes) -> Result<T>) -> Result<T> {
    let blocks = RefCell::new(blocks);
    let on = |part| OnCard { blocks: &blocks, part };
    let boot = parts.boot.as_ref().map(|part| Boot(on(part)));
    let root = parts.root.as_ref().map(|part| Root(on(part)));
    look(Volumes {
        boot: boot.as_ref().map_or(&Nothing, |files| files as &dyn Files),
        root: root.as_ref().map_or(&Nothing, |files| files as &dyn Files),
    })
}

fn tell(listener: &dyn Listener, card: &str, message: String) {
    listener.hear(&Event::Warning {
        card: Some(card.to_owned()),
        message,
    });
}

/// Puts a minion's files on a card whose image is written.
fn personalize(blocks: &mut dyn Blocks, identity: &Identity, named: Option<Named>, note: &dyn Fn(String)) -> Result<()> {
    if named == Some(Named::User(FirstBoot::None)) {
        return Ok(());
    }
    let parts = Parts::of(blocks)?;
    let Edits { boot, root, notes } = looked_at(blocks, &parts, |volumes| {
        let (found, remark) = choose(named, volumes)?;
        remark.into_iter().for_each(note);
        identity.edits(found.method, volumes)
    })?;
    notes.into_iter().for_each(note);
    apply(blocks, parts.boot.as_ref(), "boot", &boot, fat::apply)?;
    apply(blocks, parts.root.as_ref(), "root", &root, ext4::apply)
}

fn apply(
    blocks: &mut dyn Blocks,
    part: Option<&Partition>,
    which: &str,
    changes: &[Change],
    by: fn(&mut dyn Blocks, &Partition, &[Change]) -> Result<()>,
) -> Result<()> {
    match part {
        _ if changes.is_empty() => Ok(()),
        Some(part) => by(blocks, part, changes),
        None => Err(Error::state(format!(
            "the image has no {which} partition for the minion's files"
        ))),
    }
}

/// Looks whether a card would boot.
fn bootable(blocks: &mut dyn Blocks, board: Board) -> Result<()> {
    let problems = inspect::inspect(blocks, &Expectations { board });
    let told = problems
        .into_iter()
        .map(|problem| Error::state(format!("it would not boot: {problem}")));
    Error::all(told).map_or(Ok(()), Err)
}

/// What boards with these names have in common. `vm` is a machine of either processor.
fn common(names: &[String], architectures: &[String]) -> Board {
    let arm = !architectures.is_empty() && architectures.iter().all(|name| matches!(name.as_str(), "arm64" | "aarch64"));
    let boards = names.iter().map(|name| match Board::named(name) {
        Board::Pc if arm => Board::ArmUefi,
        board => board,
    });
    let common = boards.reduce(|one, other| match (one, other) {
        (one, other) if one == other => one,
        (Board::RaspberryPi(_), Board::RaspberryPi(_)) => Board::RaspberryPi(None),
        _ => Board::Unknown,
    });
    common.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_have_something_in_common() {
        for (names, architectures, board) in [
            (&[][..], &["arm64"][..], Board::Unknown),
            (&["pi3"], &["arm64"], Board::RaspberryPi(Some(3))),
            (&["pi3", "pc"], &[], Board::Unknown),
            (&["pi3", "pi4", "pi5"], &["armhf", "arm64"], Board::RaspberryPi(None)),
            (&["pi4", "pine64"], &["arm64"], Board::Unknown),
            (&["pc", "vm"], &["amd64"], Board::Pc),
            (&["vm"], &[], Board::Pc),
            (&["vm"], &["arm64"], Board::ArmUefi),
        ] {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            assert_eq!(common(&owned(names), &owned(architectures)), board, "{names:?}");
        }
    }

    /// A disk with FATs of these names, one of 2 MiB at each 4 MiB; each with a dietpi.txt that says which it is.
    fn disk(names: &[&str]) -> File {
        let mut disk = tempfile::tempfile().unwrap();
        disk.set_len((names.len() as u64 + 1) << 22).unwrap();
        let mut mbr = [0; 512];
        for (n, name) in names.iter().enumerate() {
            let start = (n as u64 + 1) << 22;
            mbr[450 + 16 * n] = 0x0c;
            mbr[454 + 16 * n..458 + 16 * n].copy_from_slice(&(start as u32 / 512).to_le_bytes());
            mbr[458 + 16 * n..462 + 16 * n].copy_from_slice(&4096_u32.to_le_bytes());
            let mut part = super::super::blocks::Part::new(&mut disk, start, 2 << 20);
            let mut label = [b' '; 11];
            label[..name.len()].copy_from_slice(name.as_bytes());
            fatfs::format_volume(&mut part, fatfs::FormatVolumeOptions::new().volume_label(label)).unwrap();
        }
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_at(0, &mbr).unwrap();
        let table = Table::read(&mut disk).unwrap().unwrap();
        for (part, name) in table.partitions.iter().zip(names) {
            let change = Change::write("/dietpi.txt", format!("AUTO_SETUP_NET_HOSTNAME={name}\n"), 0o644);
            fat::apply(&mut disk, part, &[change]).unwrap();
        }
        disk
    }

    #[test]
    fn dietpi_keeps_its_settings_on_a_partition_of_their_own() {
        let identity = crate::flash::identity::tests::plain();
        for (names, told) in [
            (&["BOOT"][..], 0),
            (&["BOOT", "DATA"], 0),
            (&["DIETPISETUP"], 0),
            (&["EFI", "DIETPISETUP"], 1),
            // It is the last one, or none.
            (&["DIETPISETUP", "EFI"], 0),
        ] {
            let mut disk = disk(names);
            assert_eq!(first_boot(&mut disk).unwrap(), FirstBoot::Dietpi);
            personalize(&mut disk, &identity, None, &|note| panic!("{note}")).unwrap();
            let table = Table::read(&mut disk).unwrap().unwrap();
            for (n, part) in table.partitions.iter().enumerate() {
                let text = fat::read(&mut disk, part, "/dietpi.txt").unwrap().unwrap();
                let text = String::from_utf8(text).unwrap();
                let own = text.contains("AUTO_SETUP_NET_HOSTNAME=pi3\n");
                assert_eq!(own, n == told, "{names:?}: {text}");
            }
        }
    }
}
