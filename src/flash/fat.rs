//! Files in a FAT partition of a card or an image: no mount, no root.
//!
//! `fatfs` works on a copy of the touched pages in memory. Only when a change has succeeded is it written out, in an order in which the
//! file system is sound at each moment but for lost clusters: a new file's data, then the tables, then the folder that names it;
//! and what a removal frees is freed last. A file is replaced by writing its successor under another name first.

mod check;

use super::blocks::{Blocks, Part};
use super::change::{Change, names};
use super::layout::fat::Geometry;
use super::partition::Partition;
use crate::error::{Error, Result};
use fatfs::{Date, DateTime, Dir, FileSystem, FsOptions, Time, TimeProvider};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

/// The name under which a file waits until it takes its place.
const WAITING: &str = "PICLOUD.NEW";

/// The largest file that is read: 64 MiB. What is read here are settings.
const LARGEST: u64 = 64 << 20;

/// What stands in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: String,
    pub folder: bool,
    /// Bytes.
    pub size: u64,
}

/// Reads a file; `None` where there is none. Names count whatever their case.
///
/// # Errors
/// The file system cannot be read, the path is a folder, or the file is larger than 64 MiB.
pub fn read(blocks: &mut dyn Blocks, part: &Partition, path: &str) -> Result<Option<Vec<u8>>> {
    let names = names(path)?;
    let (_, fs) = open(blocks, part)?;
    contents(&fs, &names).map_err(|e| failed("read", path, &e))
}

/// What is in a folder, by name; `None` where there is none.
///
/// # Errors
/// The file system cannot be read.
pub fn list(blocks: &mut dyn Blocks, part: &Partition, path: &str) -> Result<Option<Vec<Entry>>> {
    let names = names(path)?;
    let (_, fs) = open(blocks, part)?;
    entries(&fs, &names).map_err(|e| failed("list", path, &e))
}

/// What the file system is called: the entry in its root folder counts, else its boot sector, as for Linux's `blkid`.
///
/// # Errors
/// The file system cannot be read.
pub fn label(blocks: &mut dyn Blocks, part: &Partition) -> Result<String> {
    let (_, fs) = open(blocks, part)?;
    let entry = fs.read_volume_label_from_root_dir().map_err(|e| failed("list", "/", &e))?;
    Ok(entry.unwrap_or_else(|| fs.volume_label()).trim_end().to_owned())
}

/// Makes the changes, one after the other. Modes and owners are left out: FAT has none.
///
/// # Errors
/// The file system cannot be read or written, is full, or a path's folder is a file. The changes before are made then, and nothing of the
/// one that failed.
pub fn apply(blocks: &mut dyn Blocks, part: &Partition, changes: &[Change]) -> Result<()> {
    for change in changes {
        let path = change.path();
        let names = names(path)?;
        let Some((name, above)) = names.split_last() else {
            return Err(Error::usage("the root folder of a card cannot be changed as a whole"));
        };
        let forbidden = |letter: char| "\\:*?<>|".contains(letter) || letter > '\u{FFFF}';
        if names
            .iter()
            .any(|name| name.ends_with(['.', ' ']) || name.contains(forbidden))
        {
            return Err(Error::usage(format!(
                "{path:?}: names on FAT cannot end with a dot or a space, or have any of \\ : * ? < > | in them"
            )));
        }
        let told = |e: io::Error| failed("change", path, &e);
        match change {
            Change::Write { bytes, .. } => replace(blocks, part, above, name, bytes).map_err(told)?,
            Change::Append { bytes, .. } => {
                let mut all = read(blocks, part, path)?.unwrap_or_default();
                all.extend_from_slice(bytes);
                replace(blocks, part, above, name, &all).map_err(told)?;
            }
            Change::Mkdir { .. } => step(blocks, part, Order::Growing, |fs, handle| make(fs, handle, &names)).map_err(told)?,
            Change::Remove { .. } => step(blocks, part, Order::Shrinking, |fs, _| remove(fs, above, name)).map_err(told)?,
            Change::Symlink { .. } => {
                return Err(Error::usage(format!("{path:?}: there are no symbolic links on FAT")));
            }
        }
    }
    Ok(())
}

fn failed(what: &str, path: &str, e: &io::Error) -> Error {
    let error = Error::state(format!("failed to {what} {path} on the FAT partition: {e}"));
    match e.kind() {
        io::ErrorKind::WriteZero | io::ErrorKind::StorageFull => error.hint("the partition, or its root folder, is full"),
        _ => error,
    }
}

type Fs<'a> = FileSystem<Handle<'a>>;

fn open<'a>(blocks: &'a mut dyn Blocks, part: &Partition) -> Result<(Handle<'a>, Fs<'a>)> {
    mount(blocks, part).map_err(|e| Error::state(format!("partition {} is no FAT that can be used: {e}", part.number)))
}

fn mount<'a>(blocks: &'a mut dyn Blocks, part: &Partition) -> io::Result<(Handle<'a>, Fs<'a>)> {
    let mut part = Part::new(blocks, part.start, part.size);
    let mut sector = [0; 512];
    part.read_at(0, &mut sector)?;
    let odd = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let geometry = Geometry::parse(&sector).ok_or_else(|| odd("there is no FAT boot sector"))?;
    if geometry.size > part.size() {
        return Err(odd("its file system is larger than the partition"));
    }
    check::check(&mut part, &geometry)?;
    let handle = Handle {
        pages: Rc::new(RefCell::new(Pages {
            part,
            geometry,
            changed: BTreeMap::new(),
            clean: BTreeMap::new(),
            patience: PATIENCE + geometry.clusters * 2,
        })),
        at: 0,
    };
    let fs = FileSystem::new(handle.clone(), FsOptions::new().time_provider(&Clock))?;
    Ok((handle, fs))
}

/// Makes one change in memory and, if it succeeds, writes it out.
fn step(
    blocks: &mut dyn Blocks,
    part: &Partition,
    order: Order,
    change: impl for<'a> FnOnce(&Fs<'a>, &Handle<'a>) -> io::Result<()>,
) -> io::Result<()> {
    let (handle, fs) = mount(blocks, part)?;
    // Where FSInfo does not say how many clusters are free they are counted now: what fatfs does not know it does not keep.
    fs.stats()?;
    change(&fs, &handle)?;
    fs.unmount()?;
    handle.pages.borrow_mut().write_out(order)
}

fn folder<'a, 'b>(fs: &'b Fs<'a>, above: &[&str]) -> io::Result<Dir<'b, Handle<'a>>> {
    match above.is_empty() {
        true => Ok(fs.root_dir()),
        false => fs.root_dir().open_dir(&above.join("/")),
    }
}

fn is_missing(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound
}

fn contents(fs: &Fs, names: &[&str]) -> io::Result<Option<Vec<u8>>> {
    let mut file = match fs.root_dir().open_file(&names.join("/")) {
        Err(e) if is_missing(&e) => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    Read::take(&mut file, LARGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB")),
        false => Ok(Some(bytes)),
    }
}

fn entries(fs: &Fs, names: &[&str]) -> io::Result<Option<Vec<Entry>>> {
    let folder = match folder(fs, names) {
        Err(e) if is_missing(&e) => return Ok(None),
        folder => folder?,
    };
    let mut entries = Vec::new();
    // A folder of FAT has at most 65,536 entries.
    for entry in folder.iter().take(1 << 16) {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.as_str(), "." | "..") {
            entries.push(Entry {
                name,
                folder: entry.is_dir(),
                size: entry.len(),
            });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(entries))
}

/// Makes the folder with these names and those above it.
fn make<'a>(fs: &Fs<'a>, handle: &Handle<'a>, names: &[&str]) -> io::Result<()> {
    for count in 1..=names.len() {
        let (name, above) = (names[count - 1], &names[..count - 1]);
        let parent = folder(fs, above)?;
        if parent.open_dir(name).is_err_and(|e| is_missing(&e)) {
            parent.create_dir(name)?;
            handle.pages.borrow_mut().tidy_new_folder(above.is_empty());
        } else {
            parent.open_dir(name)?;
        }
    }
    Ok(())
}

fn remove(fs: &Fs, above: &[&str], name: &str) -> io::Result<()> {
    match folder(fs, above).and_then(|folder| folder.remove(name)) {
        Err(e) if is_missing(&e) => Ok(()),
        result => result,
    }
}

fn replace(blocks: &mut dyn Blocks, part: &Partition, above: &[&str], name: &str, bytes: &[u8]) -> io::Result<()> {
    step(blocks, part, Order::Growing, |fs, handle| {
        make(fs, handle, above)?;
        let folder = folder(fs, above)?;
        if folder.open_dir(name).is_ok() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "there is a folder of that name"));
        }
        // What an earlier try left.
        remove(fs, above, WAITING)?;
        let mut file = folder.create_file(WAITING)?;
        file.write_all(bytes)?;
        file.flush()
    })?;
    step(blocks, part, Order::Shrinking, |fs, _| {
        remove(fs, above, name)?;
        let folder = folder(fs, above)?;
        folder.rename(WAITING, &folder, name)
    })
    .inspect_err(|_| {
        // As far as possible nothing is left behind.
        let _ = step(blocks, part, Order::Shrinking, |fs, _| remove(fs, above, WAITING));
    })?;
    // fatfs keeps no word of what it wrote: look.
    let (_, fs) = mount(blocks, part)?;
    let path: Vec<&str> = above.iter().copied().chain([name]).collect();
    match contents(&fs, &path)?.as_deref() == Some(bytes) {
        true => Ok(()),
        false => Err(io::Error::other("what is read back is not what was written")),
    }
}

/// In which order pages are written out.
#[derive(Clone, Copy)]
enum Order {
    /// Something is added: data, tables, folders.
    Growing,
    /// Something is taken away: folders, tables.
    Shrinking,
}

/// Pages of the partition: those that were changed, until they are written out, and some that were read.
struct Pages<'a> {
    part: Part<'a>,
    geometry: Geometry,
    changed: BTreeMap<u64, Page>,
    clean: BTreeMap<u64, Vec<u8>>,
    /// How many reads are left.
    patience: u32,
}

struct Page {
    before: Vec<u8>,
    now: Vec<u8>,
}

/// Bytes; divides all that the file system's parts are aligned to or not: a page may hold a table's end and a folder's beginning,
/// and is then written with the later of the two.
const PAGE: u64 = 512;

/// How many reads there are at most, besides two for each cluster: a damaged chain of clusters could go round for ever. fatfs reads a
/// table entry by entry, and a folder field by field.
const PATIENCE: u32 = 4 << 20;

/// How many pages are kept that were only read.
const KEPT: usize = 16 << 10;

impl Pages<'_> {
    fn load(&mut self, page: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.clean.get(&page) {
            return Ok(bytes.clone());
        }
        // Eight at once: tables and folders are read through.
        let start = page / 8 * 8;
        let length = (8 * PAGE).min(self.part.size().saturating_sub(start * PAGE)) / PAGE * PAGE;
        let mut bytes = vec![0; length as usize];
        self.part.read_at(start * PAGE, &mut bytes)?;
        if self.clean.len() >= KEPT {
            self.clean.clear();
        }
        for (number, bytes) in (start..).zip(bytes.chunks_exact(PAGE as usize)) {
            self.clean.insert(number, bytes.to_vec());
        }
        let beyond = || io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the partition");
        self.clean.get(&page).cloned().ok_or_else(beyond)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let (page, from) = (at / PAGE, (at % PAGE) as usize);
        let length = into.len().min(PAGE as usize - from);
        if at >= self.part.size() {
            return Ok(0);
        }
        let loops = || io::Error::new(io::ErrorKind::InvalidData, "the tables of the file system go in circles");
        self.patience = self.patience.checked_sub(1).ok_or_else(loops)?;
        match self.changed.get(&page) {
            Some(changed) => into[..length].copy_from_slice(&changed.now[from..from + length]),
            None => into[..length].copy_from_slice(&self.load(page)?[from..from + length]),
        }
        Ok(length)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let (page, from) = (at / PAGE, (at % PAGE) as usize);
        let length = bytes.len().min(PAGE as usize - from);
        if !self.changed.contains_key(&page) {
            let before = self.load(page)?;
            self.clean.remove(&page);
            let now = before.clone();
            self.changed.insert(page, Page { before, now });
        }
        if let Some(changed) = self.changed.get_mut(&page) {
            changed.now[from..from + length].copy_from_slice(&bytes[..length]);
        }
        Ok(length)
    }

    /// Rewrites the first entries of a folder that `fatfs` 0.3.6 has just made: it gives `.` and `..` long names, which must not be, and
    /// a `..` that leads to FAT32's root the root's cluster instead of 0.
    fn tidy_new_folder(&mut self, in_root: bool) {
        let is = |entry: &[u8], name: &[u8; 11]| entry.starts_with(name) && entry[11] == 0x10;
        let is_long = |entry: &[u8]| entry[0] == 0x41 && entry[1] == b'.' && entry[11] == 0x0F;
        for page in self.changed.values_mut().map(|page| &mut page.now) {
            let (dot, up) = (&page[32..64], &page[96..128]);
            if is_long(page) && is(dot, b".          ") && is_long(&page[64..]) && is(up, b"..         ") {
                page.copy_within(32..64, 0);
                page.copy_within(96..128, 32);
                page[64..128].fill(0);
                if in_root {
                    page[32 + 20..32 + 22].fill(0);
                    page[32 + 26..32 + 28].fill(0);
                }
            }
        }
    }

    /// Writes the pages that differ from what was there, and reads them back.
    fn write_out(&mut self, order: Order) -> io::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        let changed: Vec<(u64, Page)> = changed.into_iter().filter(|(_, page)| page.before != page.now).collect();
        let geometry = self.geometry;
        let tables = geometry.fat..geometry.fat + u64::from(geometry.fats) * geometry.fat_size;
        // Which clusters were in use, by the table as it was.
        let was: BTreeMap<u64, &[u8]> = changed.iter().map(|(number, page)| (*number, &page.before[..])).collect();
        let mut ranks = Vec::new();
        for (number, _) in &changed {
            let at = number * PAGE;
            let rank = if at < geometry.fat {
                // The count of free clusters.
                3
            } else if tables.contains(&at) {
                1
            } else if at >= geometry.data
                && is_free(
                    &mut self.part,
                    &geometry,
                    &was,
                    (at - geometry.data) / u64::from(geometry.cluster),
                )?
            {
                0
            } else {
                2
            };
            ranks.push(match order {
                Order::Shrinking if rank == 1 => 2,
                Order::Shrinking if rank == 2 => 1,
                _ => rank,
            });
        }
        let mut sorted: Vec<(u8, &(u64, Page))> = ranks.into_iter().zip(&changed).collect();
        sorted.sort_by_key(|(rank, (number, _))| (*rank, *number));
        for (_, (number, page)) in &sorted {
            self.part.write_at(number * PAGE, &page.now)?;
        }
        let mut found = vec![0; PAGE as usize];
        for (number, page) in &changed {
            self.part.read_at(number * PAGE, &mut found)?;
            if found != page.now {
                return Err(io::Error::other(format!(
                    "at {} what is read back is not what was written",
                    number * PAGE
                )));
            }
        }
        Ok(())
    }
}

/// Whether a cluster (counted from 0) was free before the change; `was` are pages as they were where they were changed.
fn is_free(part: &mut Part, geometry: &Geometry, was: &BTreeMap<u64, &[u8]>, cluster: u64) -> io::Result<bool> {
    use super::layout::fat::Width;
    let entry = cluster + 2;
    let (at, length) = match geometry.width {
        Width::Fat12 => (entry / 2 * 3, 3),
        Width::Fat16 => (entry * 2, 2),
        Width::Fat32 => (entry * 4, 4),
    };
    let mut bytes = vec![0; length];
    for (number, byte) in bytes.iter_mut().enumerate() {
        let at = geometry.fat + at + number as u64;
        *byte = match was.get(&(at / PAGE)) {
            Some(page) => page[(at % PAGE) as usize],
            None => {
                let mut one = [0];
                part.read_at(at, &mut one)?;
                one[0]
            }
        };
    }
    let entries = geometry.entries(&bytes);
    let index = if geometry.width == Width::Fat12 {
        (entry % 2) as usize
    } else {
        0
    };
    Ok(entries.get(index) == Some(&0))
}

/// The stream that `fatfs` works on.
#[derive(Clone)]
struct Handle<'a> {
    pages: Rc<RefCell<Pages<'a>>>,
    at: u64,
}

impl Read for Handle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.pages.borrow_mut().read(self.at, into)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Handle<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.pages.borrow_mut().write(self.at, bytes)?;
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Handle<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.pages.borrow().part.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))?;
        Ok(self.at)
    }
}

/// Now, in UTC: FAT's times have no zone.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        self.get_current_date_time().date
    }

    fn get_current_date_time(&self) -> DateTime {
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        DateTime {
            date: Date {
                // FAT's years go from 1980 to 2107.
                year: now.year().clamp(1980, 2107) as u16,
                month: now.month() as u16,
                day: now.day() as u16,
            },
            time: Time {
                hour: now.hour() as u16,
                min: now.minute() as u16,
                sec: now.second() as u16,
                millis: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests;
