//! Bytes at offsets: what a card, an image file and a partition of either have in common.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// The unit in which images are mapped, written, hashed and read back, in bytes: the allocation unit of most SD cards.
pub const CHUNK: usize = 4 << 20;

/// A card or an image file, read and written at byte offsets of any alignment; who needs aligned access sees to it itself.
pub trait Blocks: Send {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// It cannot be read, or ends before `into` is full.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `from` at `offset`.
    ///
    /// # Errors
    /// It cannot be written, or ends before all of `from` is.
    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()>;
}

/// A range of `blocks`, such as a partition: itself [`Blocks`], and a stream for what wants one (`fatfs`).
pub struct Part<'a> {
    blocks: &'a mut dyn Blocks,
    /// Bytes.
    start: u64,
    size: u64,
    /// Where the stream is.
    at: u64,
}

impl<'a> Part<'a> {
    /// The `size` bytes of `blocks` from `start`; less where `blocks` end before.
    pub fn new(blocks: &'a mut dyn Blocks, start: u64, size: u64) -> Part<'a> {
        let size = size.min(blocks.size().saturating_sub(start));
        Part {
            blocks,
            start,
            size,
            at: 0,
        }
    }

    fn room(&self, offset: u64, length: usize) -> io::Result<u64> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.size => Ok(self.start + offset),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "{length} bytes at {offset} are beyond the end of the partition ({} bytes)",
                    self.size
                ),
            )),
        }
    }
}

impl Blocks for Part<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let at = self.room(offset, into.len())?;
        self.blocks.read_at(at, into)
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        let at = self.room(offset, from.len())?;
        self.blocks.write_at(at, from)
    }
}

impl Read for Part<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.size.saturating_sub(self.at) as usize);
        let at = self.at;
        self.read_at(at, &mut into[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Part<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let length = from.len().min(self.size.saturating_sub(self.at) as usize);
        let at = self.at;
        self.write_at(at, &from[..length])?;
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Part<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))?;
        Ok(self.at)
    }
}

/// Bytes in memory.
impl Blocks for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let size = self.len() as u64;
        Part::new(self, 0, size).room(offset, into.len())?;
        let at = offset as usize;
        into.copy_from_slice(&self[at..at + into.len()]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        let size = self.len() as u64;
        Part::new(self, 0, size).room(offset, from.len())?;
        let at = offset as usize;
        self[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }
}

/// An image file. Reads and writes go through the page cache.
impl Blocks for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, into, offset)
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, from, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_to_its_range() {
        let mut blocks: Vec<u8> = (0..100).collect();
        let mut part = Part::new(&mut blocks, 10, 20);
        let mut two = [0; 2];
        part.read_at(18, &mut two).unwrap();
        assert_eq!(two, [28, 29]);
        assert!(part.read_at(19, &mut two).is_err());
        assert!(part.write_at(u64::MAX, &two).is_err());
        part.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(part.write(&[1, 2, 3]).unwrap(), 1);
        assert_eq!(part.read(&mut two).unwrap(), 0);
        assert!(part.seek(SeekFrom::Current(-21)).is_err());
        assert_eq!(blocks[28..31], [28, 1, 30]);
    }
}
