//! Published maps: the XML files that `bmaptool create` writes beside an image, in their versions 1.2 to 2.0, and their checksums.
//!
//! 1.2 has no checksums; 1.3 has SHA-1 in `BmapFileSHA1` and `sha1=`; 2.0 names the kind in `ChecksumType` and has the sums in
//! `BmapFileChecksum` and `chksum=`; 1.4 is 2.0 under a wrong number.

use crate::error::{Error, Result};
use sha2::Digest;
use std::ops::RangeInclusive;

/// The longest map that is read, in bytes: a range takes about 100, and an image has some thousands of them.
const LONGEST: usize = 8 << 20;

/// The parts of an image that its publisher says are needed.
#[derive(Clone, PartialEq, Debug)]
pub struct Bmap {
    /// Of the image, in bytes.
    pub size: u64,
    /// Bytes.
    block: u64,
    /// Ascending, apart.
    ranges: Vec<Range>,
    hash: Option<Hash>,
}

#[derive(Clone, PartialEq, Debug)]
struct Range {
    blocks: RangeInclusive<u64>,
    /// Lower-case hexadecimal digits.
    checksum: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash under way.
#[derive(Clone)]
enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hash {
    fn start(self) -> Hasher {
        match self {
            Hash::Sha1 => Hasher::Sha1(Digest::new()),
            Hash::Sha256 => Hasher::Sha256(Digest::new()),
            Hash::Sha512 => Hasher::Sha512(Digest::new()),
        }
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Hasher::Sha1(hasher) => hex(hasher.finalize()),
            Hasher::Sha256(hasher) => hex(hasher.finalize()),
            Hasher::Sha512(hasher) => hex(hasher.finalize()),
        }
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::state(format!("the block map (.bmap) cannot be used: {why}"))
        .hint("leave it out: the map is then made from the image itself")
}

impl Bmap {
    /// Reads a map and verifies its own checksum.
    ///
    /// # Errors
    /// It is no map, of a version that is not known, damaged, contradicts itself, or is far too long.
    pub fn parse(text: &str) -> Result<Bmap> {
        if text.len() > LONGEST {
            return Err(wrong(format!("it is longer than {} MiB", LONGEST >> 20)));
        }
        let options = roxmltree::ParsingOptions {
            // No entities, which are what XML bombs are made of.
            allow_dtd: false,
            nodes_limit: (LONGEST / 16) as u32,
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(text, options).map_err(wrong)?;
        let root = document.root_element();
        if root.tag_name().name() != "bmap" {
            return Err(wrong(format!(
                "its first element is <{}>, not <bmap>",
                root.tag_name().name()
            )));
        }
        let version = root.attribute("version").unwrap_or_default().trim();
        let child = |name: &str| root.children().find(|node| node.has_tag_name(name));
        let text_of = |name: &str| {
            let text = child(name).and_then(|node| node.text()).map(str::trim);
            text.filter(|text| !text.is_empty())
                .ok_or_else(|| wrong(format!("<{name}> is missing")))
        };
        let number = |name: &str| {
            let text = text_of(name)?;
            text.parse::<u64>()
                .map_err(|_| wrong(format!("<{name}> is no number: {text}")))
        };
        let (hash, file_checksum, attribute) = match version {
            "1.2" => (None, "", ""),
            "1.3" => (Some(Hash::Sha1), "BmapFileSHA1", "sha1"),
            "1.4" | "2.0" => {
                let hash = match text_of("ChecksumType")? {
                    "sha1" => Hash::Sha1,
                    "sha256" => Hash::Sha256,
                    "sha512" => Hash::Sha512,
                    other => {
                        return Err(wrong(format!(
                            "its checksums are of the kind {other}; sha1, sha256 and sha512 are known"
                        )));
                    }
                };
                (Some(hash), "BmapFileChecksum", "chksum")
            }
            other => return Err(wrong(format!("its version is {other:?}; 1.2, 1.3, 1.4 and 2.0 are known"))),
        };
        if let Some(hash) = hash {
            let node = child(file_checksum).and_then(|node| node.children().find(roxmltree::Node::is_text));
            let sum = text_of(file_checksum)?;
            verify(text, node.map(|node| node.range()), sum, hash)?;
        }
        let (size, block, blocks) = (number("ImageSize")?, number("BlockSize")?, number("BlocksCount")?);
        if block == 0 || size.div_ceil(block) != blocks {
            return Err(wrong(format!(
                "{blocks} blocks of {block} bytes do not make an image of {size} bytes"
            )));
        }
        let map = child("BlockMap").ok_or_else(|| wrong("<BlockMap> is missing"))?;
        let (mut ranges, mut from, mut mapped) = (Vec::new(), 0, 0);
        for node in map.children().filter(|node| node.has_tag_name("Range")) {
            let words = node.text().unwrap_or_default().trim();
            let (first, last) = words.split_once('-').unwrap_or((words, words));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>()) else {
                return Err(wrong(format!("a range is {words:?}, not two numbers")));
            };
            if first < from || last < first || last >= blocks {
                return Err(wrong(format!(
                    "the range {words} does not follow the one before, or is beyond the image's {blocks} blocks"
                )));
            }
            (from, mapped) = (last + 1, mapped + (last - first + 1));
            let checksum = match node.attribute(attribute).map(|sum| sum.trim().to_lowercase()) {
                None if hash.is_some() && child(file_checksum).is_some() => {
                    return Err(wrong(format!("the range {words} has no checksum")));
                }
                checksum => checksum.filter(|_| hash.is_some()),
            };
            ranges.push(Range {
                blocks: first..=last,
                checksum,
            });
        }
        let said = number("MappedBlocksCount")?;
        match mapped == said {
            true => Ok(Bmap {
                size,
                block,
                ranges,
                hash,
            }),
            false => Err(wrong(format!("its ranges have {mapped} blocks, and it says {said}"))),
        }
    }

    /// Whether any of these bytes are in a range.
    pub fn needed(&self, offset: u64, length: u64) -> bool {
        let Some(last) = length.checked_sub(1).and_then(|more| offset.checked_add(more)) else {
            return length > 0;
        };
        if last >= self.size {
            return true;
        }
        let (first, last) = (offset / self.block, last / self.block);
        let at = self.ranges.partition_point(|range| *range.blocks.end() < first);
        self.ranges.get(at).is_some_and(|range| *range.blocks.start() <= last)
    }

    /// How many bytes are needed.
    pub fn mapped(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| self.bytes(range))
            .map(|bytes| bytes.end - bytes.start)
            .sum()
    }

    /// A range in bytes; the image's last block may be a part of one.
    fn bytes(&self, range: &Range) -> std::ops::Range<u64> {
        let end = (range.blocks.end() + 1).saturating_mul(self.block);
        range.blocks.start() * self.block..end.min(self.size)
    }
}

/// Verifies the map's own checksum: that of its text with zeros where the checksum stands.
fn verify(text: &str, place: Option<std::ops::Range<usize>>, sum: &str, hash: Hash) -> Result<()> {
    let start = place.and_then(|place| Some(place.start + text.get(place)?.find(sum)?));
    let Some(start) = start.filter(|_| sum.is_ascii()) else {
        return Err(wrong("its own checksum is not written plainly"));
    };
    let mut hasher = hash.start();
    hasher.update(&text.as_bytes()[..start]);
    hasher.update("0".repeat(sum.len()).as_bytes());
    hasher.update(&text.as_bytes()[start + sum.len()..]);
    let found = hasher.finish();
    match found.eq_ignore_ascii_case(sum) {
        true => Ok(()),
        false => Err(wrong(format!(
            "its own checksum is wrong: it says {sum}, and its text has {found}"
        ))),
    }
}

/// Verifies the checksums of a map's ranges while the image streams by.
pub struct BmapCheck {
    bmap: Bmap,
    /// The range that comes next or is under way.
    next: usize,
    hasher: Option<Hasher>,
    fed: u64,
}

impl BmapCheck {
    pub fn new(bmap: Bmap) -> BmapCheck {
        BmapCheck {
            bmap,
            next: 0,
            hasher: None,
            fed: 0,
        }
    }

    pub fn bmap(&self) -> &Bmap {
        &self.bmap
    }

    /// The image's bytes at `offset`, from its start to its end without gaps.
    ///
    /// # Errors
    /// A range that ends here has another checksum, or the image is longer than the map says.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        if offset != self.fed || end > self.bmap.size {
            return Err(wrong(format!(
                "the image has bytes at {}, and it is for an image of {} bytes",
                end.saturating_sub(1),
                self.bmap.size
            )));
        }
        self.fed = end;
        while let Some(range) = self.bmap.ranges.get(self.next) {
            let whole = self.bmap.bytes(range);
            let (from, to) = (whole.start.max(offset), whole.end.min(end));
            if from >= to {
                return Ok(());
            }
            if let (Some(hash), Some(_)) = (self.bmap.hash, &range.checksum) {
                let hasher = self.hasher.get_or_insert_with(|| hash.start());
                hasher.update(&bytes[(from - offset) as usize..(to - offset) as usize]);
            }
            if to < whole.end {
                return Ok(());
            }
            let found = self.hasher.take().map(Hasher::finish);
            if found != range.checksum {
                return Err(Error::state(format!(
                    "the image is not what its block map says: the bytes {} to {} have the checksum {}, not {}",
                    whole.start,
                    whole.end,
                    found.unwrap_or_default(),
                    range.checksum.as_deref().unwrap_or_default()
                ))
                .hint("the image or its .bmap is damaged, or they do not belong together: fetch both again"));
            }
            self.next += 1;
        }
        Ok(())
    }

    /// To be called at the image's end.
    ///
    /// # Errors
    /// The image is shorter than the map says.
    pub fn finish(&mut self) -> Result<()> {
        match self.fed == self.bmap.size {
            true => Ok(()),
            false => Err(wrong(format!(
                "the image ends after {} bytes, and it is for an image of {} bytes",
                self.fed, self.bmap.size
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An image of three and a half blocks, and a map of the first two and the last.
    fn example(version: &str) -> (Vec<u8>, String) {
        let image: Vec<u8> = (0..3 * 1024 + 512).map(|i| (i / 100) as u8).collect();
        let (kind, file, attribute) = match version {
            "1.2" => ("", "", ""),
            "1.3" => ("sha1", "BmapFileSHA1", "sha1"),
            _ => ("sha256", "BmapFileChecksum", "chksum"),
        };
        let sum = |bytes: &[u8]| match kind {
            "sha1" => hex(sha1::Sha1::digest(bytes)),
            _ => hex(sha2::Sha256::digest(bytes)),
        };
        let attribute = |bytes: &[u8]| match kind {
            "" => String::new(),
            _ => format!(" {attribute}=\"{}\"", sum(bytes)),
        };
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<!-- a comment -->\n<bmap version=\"{version}\">\n<ImageSize> {} </ImageSize>\n\
            <BlockSize> 1024 </BlockSize>\n<BlocksCount> 4 </BlocksCount>\n<MappedBlocksCount> 3     </MappedBlocksCount>\n",
            image.len()
        );
        if kind == "sha256" {
            text += "<ChecksumType> sha256 </ChecksumType>\n";
        }
        let zeros = "0".repeat(sum(b"").len());
        if !file.is_empty() {
            text += &format!("<{file}> {zeros} </{file}>\n");
        }
        text += &format!(
            "<BlockMap>\n<Range{}> 0-1 </Range>\n<Range{}> 3 </Range>\n</BlockMap>\n</bmap>\n",
            attribute(&image[..2048]),
            attribute(&image[3072..])
        );
        if !file.is_empty() {
            text = text.replacen(&zeros, &sum(text.as_bytes()), 1);
        }
        (image, text)
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().diagnostics()[0].message.clone()
    }

    #[test]
    fn all_versions_are_read_and_verified() {
        for version in ["1.2", "1.3", "1.4", "2.0"] {
            let (image, text) = example(version);
            let bmap = Bmap::parse(&text).unwrap();
            assert_eq!((bmap.size, bmap.mapped()), (3584, 2560), "{version}");
            for (offset, length, needed) in [
                (0, 1, true),
                (2047, 1, true),
                (2048, 1024, false),
                (2047, 2, true),
                (3071, 1, false),
                (3071, 2, true),
                (3583, 1, true),
                (3583, 2, true),
                (2100, 0, false),
                (u64::MAX, 7, true),
            ] {
                assert_eq!(bmap.needed(offset, length), needed, "{offset}+{length}");
            }
            for piece in [1, 700, 1024, 4000] {
                let feed = |image: &[u8]| {
                    let mut check = BmapCheck::new(bmap.clone());
                    for (number, bytes) in image.chunks(piece).enumerate() {
                        check.feed((number * piece) as u64, bytes)?;
                    }
                    check.finish()
                };
                feed(&image).unwrap();
                let (mut outside, mut inside) = (image.clone(), image.clone());
                outside[2500] ^= 1;
                inside[3500] ^= 1;
                feed(&outside).unwrap();
                assert_eq!(feed(&inside).is_err(), version != "1.2");
                assert!(
                    message(feed(&image[..3000]))
                        .ends_with("the image ends after 3000 bytes, and it is for an image of 3584 bytes")
                );
                assert!(message(feed(&[&image[..], b"x"].concat())).contains("it is for an image of 3584 bytes"));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let plain = example("1.2").1;
        let signed = example("2.0").1;
        let entities = "<!DOCTYPE a [<!ENTITY b \"c\">]><bmap version=\"1.2\">&b;</bmap>".to_owned();
        for (text, expected) in [
            (
                plain.replace("1.2", "3.0"),
                "its version is \"3.0\"; 1.2, 1.3, 1.4 and 2.0 are known",
            ),
            (
                plain.replace(" 4 ", " 5 "),
                "5 blocks of 1024 bytes do not make an image of 3584 bytes",
            ),
            (
                plain.replace("1024", "0"),
                "4 blocks of 0 bytes do not make an image of 3584 bytes",
            ),
            (
                plain.replace("> 3 <", "> 1-3 <"),
                "the range 1-3 does not follow the one before, or is beyond the image's 4 blocks",
            ),
            (
                plain.replace("> 3 <", "> 3-4 <"),
                "the range 3-4 does not follow the one before, or is beyond the image's 4 blocks",
            ),
            (plain.replace("> 3 <", "> x <"), "a range is \"x\", not two numbers"),
            (plain.replace("> 3     <", "> 4 <"), "its ranges have 3 blocks, and it says 4"),
            (plain.replace("BlockSize", "Size"), "<BlockSize> is missing"),
            (plain.replace("bmap", "map"), "its first element is <map>, not <bmap>"),
            (signed.replace("a comment", "another"), "its own checksum is wrong: it says"),
            (
                signed.replace("sha256", "md5"),
                "its checksums are of the kind md5; sha1, sha256 and sha512 are known",
            ),
            (entities, "XML with DTD detected"),
        ] {
            let message = message(Bmap::parse(&text));
            let message = message.strip_prefix("the block map (.bmap) cannot be used: ").unwrap();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(place in 0usize..500, text in "[<>a-zA-Z0-9/ =\"-]{0,8}") {
            let mut map = example("2.0").1;
            let place = (0..=place.min(map.len())).rev().find(|at| map.is_char_boundary(*at)).unwrap();
            map.insert_str(place, &text);
            let _ = Bmap::parse(&map);
        }
    }
}
