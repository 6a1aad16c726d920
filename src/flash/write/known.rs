//! The chunks of an image that was written before: their hashes, kept in the user's cache.
//!
//! With them a card can be sampled before the image is even fetched: does it hold this image already, and how much of it?

use super::buffer::Buffer;
use super::target::{Fault, Target};
use crate::error::Result;
use crate::flash::blocks::CHUNK;
use blake3::Hash;
use std::io;
use std::path::Path;

const TITLE: &str = "picloud chunks 1";

/// An image's size in bytes, and the hash of each [`CHUNK`] that must be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    pub size: u64,
    pub chunks: Vec<Option<Hash>>,
}

/// What came of reading some chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    pub equal: usize,
    pub of: usize,
}

impl Known {
    /// Bytes that must be written.
    pub fn needed(&self) -> u64 {
        let needed = self.chunks.iter().enumerate().filter(|(_, hash)| hash.is_some());
        needed.map(|(n, _)| self.length(n) as u64).sum()
    }

    fn length(&self, n: usize) -> usize {
        let start = n as u64 * CHUNK as u64;
        self.size.saturating_sub(start).min(CHUNK as u64) as usize
    }

    /// `None` where it is not what [`Known::text`] writes: then nothing is known.
    pub fn parse(text: &str) -> Option<Known> {
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let size: u64 = lines.next()?.parse().ok()?;
        let chunk = |line: &str| match line {
            "-" => Some(None),
            hex => Hash::from_hex(hex).ok().map(Some),
        };
        let chunks: Vec<Option<Hash>> = lines.map(chunk).collect::<Option<_>>()?;
        (chunks.len() as u64 == size.div_ceil(CHUNK as u64)).then_some(Known { size, chunks })
    }

    pub fn text(&self) -> String {
        let mut text = format!("{TITLE}\n{}\n", self.size);
        for chunk in &self.chunks {
            match chunk {
                Some(hash) => text += hash.to_hex().as_str(),
                None => text.push('-'),
            }
            text.push('\n');
        }
        text
    }

    /// What is kept at `path`; `None` where nothing is, or nothing that can be understood.
    pub fn load(path: &Path) -> Option<Known> {
        Known::parse(&std::fs::read_to_string(path).ok()?)
    }

    /// Keeps it at `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, self.text().as_bytes())?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    /// Reads up to `count` chunks of `target`, evenly spread over those that must be written, and gives up early where none of the first
    /// ones is equal. The first chunk is left out: the partition table changes at a card's first boot.
    ///
    /// # Errors
    /// The card is gone.
    pub fn sample(&self, target: &mut dyn Target, count: usize) -> Result<Sample, Fault> {
        let needed: Vec<usize> = (1..self.chunks.len()).filter(|n| self.chunks[*n].is_some()).collect();
        let mut sample = Sample::default();
        let mut buffer = Buffer::new(CHUNK);
        // Of the middle of each part first every fourth, then the others: the early ones are spread as well.
        let step = needed.len().div_ceil(count.max(1)).max(1);
        let spread: Vec<usize> = needed.iter().skip(step / 2).step_by(step).copied().collect();
        let order = (0..4).flat_map(|from| spread.iter().skip(from).step_by(4));
        for &n in order {
            let offset = n as u64 * CHUNK as u64;
            let length = self.length(n);
            let padded = length.next_multiple_of(super::buffer::PAGE);
            if target.capacity().is_some_and(|capacity| offset + padded as u64 > capacity) {
                continue;
            }
            // What cannot be read is not equal: it can often be written all the same.
            let read = match target.read(offset, &mut buffer[..padded]) {
                Err(fault) if fault.gone => return Err(fault),
                read => read.is_ok(),
            };
            sample.of += 1;
            sample.equal += usize::from(read && Some(blake3::hash(&buffer[..length])) == self.chunks[n]);
            if sample.of == 6 && sample.equal == 0 {
                break;
            }
        }
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let known = Known {
            size: 2 * CHUNK as u64 + 5,
            chunks: vec![Some(blake3::hash(b"a")), None, Some(blake3::hash(b"b"))],
        };
        assert_eq!(Known::parse(&known.text()), Some(known.clone()));
        assert_eq!(known.needed(), CHUNK as u64 + 5);
        for text in [
            "",
            "picloud chunks 1\n",
            "picloud chunks 1\n5\n-\n-\n",
            "picloud chunks 1\n5\nzz\n",
            "other\n5\n-\n",
        ] {
            assert_eq!(Known::parse(text), None, "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chunks");
        known.save(&path).unwrap();
        assert_eq!(Known::load(&path), Some(known));
        assert_eq!(Known::load(&folder.path().join("none")), None);
    }

    #[test]
    fn a_card_is_sampled() {
        let chunks = 20;
        let image: Vec<u8> = (0..chunks).flat_map(|n| vec![n as u8 + 1; CHUNK]).collect();
        let known = Known {
            size: image.len() as u64,
            chunks: image.chunks(CHUNK).map(|chunk| Some(blake3::hash(chunk))).collect(),
        };
        let fake = Fake::new(image.len());
        let sampled = |fake: &Fake| known.sample(&mut *fake.target(), 8).unwrap();
        assert_eq!(sampled(&fake), Sample { equal: 0, of: 6 });
        fake.fill(&image);
        let all = sampled(&fake);
        assert!(all.equal == all.of && all.of >= 6, "{all:?}");
    }
}
