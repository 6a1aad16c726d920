//! The one image in a zip: found through the zip's own list where the file is here, else streamed from header to header.

use super::{Compression, PIECE, Whole, carried, damaged, head, sniff, told};
use crate::error::{Error, Result};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// More files than any zip with an image has.
const FILES: usize = 10_000;

/// What else is read through in a stream on the way to the image, in decoded bytes.
const OTHERS: u64 = 1 << 30;

/// Names of files that are images whatever their first sector says.
const EXTENSIONS: [&str; 6] = ["img", "raw", "wic", "iso", "sdcard", "tar"];

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

type Opened = (Box<dyn Read + Send>, Option<u64>);

/// The image in `stream`, and how large it says that it is.
pub(super) fn open(stream: impl Read + Send + 'static, whole: Whole, consumed: &Arc<AtomicU64>) -> Result<Opened> {
    let file = match (whole.verified, whole.here) {
        // That there is a second image stands at the end: better to wait for it than to have written half a card.
        (Some(wait), _) => wait().map_err(|e| told(e, "cannot read the zip file"))?,
        (None, Some(file)) => file,
        (None, None) => return streamed(stream, consumed.clone()),
    };
    listed(file, consumed)
}

fn is_image(name: &str, head: &[u8]) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    sniff::is_image(head) || EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn two(one: &str, other: &str) -> Error {
    Error::state(format!("the zip has two images in it: `{one}` and `{other}`")).hint("unzip it, and name one of them")
}

/// Through the list at the zip's end.
fn listed(file: File, consumed: &Arc<AtomicU64>) -> Result<Opened> {
    let broken = |e: zip::result::ZipError| {
        Error::state(format!("the zip file is damaged: {e}")).hint("the file was not copied or downloaded to its end?")
    };
    let again = file
        .try_clone()
        .map_err(|e| Error::state(format!("cannot read the zip file: {e}")))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(again)).map_err(broken)?;
    if archive.len() > FILES {
        return Err(Error::state(format!("the zip has {} files in it", archive.len())).hint("unzip it, and name the image"));
    }
    let mut images: Vec<Entry> = Vec::new();
    let mut others: Vec<Entry> = Vec::new();
    for n in 0..archive.len() {
        let raw = archive.by_index_raw(n).map_err(broken)?;
        if raw.is_dir() || raw.size() == 0 {
            continue;
        }
        let mut entry = Entry::new(
            String::from_utf8_lossy(raw.name_raw()).into_owned(),
            match raw.compression() {
                zip::CompressionMethod::Stored => STORED,
                zip::CompressionMethod::Deflated => DEFLATED,
                // Said when it is read, if it is.
                _ => u16::MAX,
            },
        );
        entry.encrypted = raw.encrypted();
        entry.checks = Some((raw.crc32(), raw.size()));
        entry.left = raw.compressed_size();
        entry.starts_at = raw.data_start().unwrap_or(u64::MAX);
        let image = match entry.clone_fresh().supported() {
            Ok(()) => {
                let mut reader = At::reader(&file, entry.clone_fresh(), Arc::default())?;
                is_image(
                    &entry.name,
                    &head(&mut reader).map_err(|e| told(e, "cannot read the zip file"))?,
                )
            }
            Err(_) => is_image(&entry.name, &[]),
        };
        if image { &mut images } else { &mut others }.push(entry);
    }
    let entry = match (images.as_slice(), others.as_slice()) {
        ([one, other, ..], _) => return Err(two(&one.name, &other.name)),
        ([one], _) | ([], [one]) => one.clone_fresh(),
        ([], []) => return Err(Error::state("there is no file in the zip")),
        ([], [one, other, ..]) => {
            return Err(Error::state(format!(
                "none of the zip's files is an image: `{}`, `{}`, ...",
                one.name, other.name
            )));
        }
    };
    entry.supported()?;
    let size = entry.checks.map(|(_, size)| size);
    Ok((Box::new(At::reader(&file, entry, consumed.clone())?), size))
}

/// A part of a file as a stream.
struct At {
    file: File,
    at: u64,
    consumed: Arc<AtomicU64>,
}

impl At {
    fn reader(file: &File, entry: Entry, consumed: Arc<AtomicU64>) -> Result<One<BufReader<At>>> {
        let at = At {
            file: file
                .try_clone()
                .map_err(|e| Error::state(format!("cannot read the zip file: {e}")))?,
            at: entry.starts_at,
            consumed,
        };
        Ok(One {
            consumed: at.consumed.clone(),
            input: BufReader::with_capacity(PIECE, at),
            entry,
        })
    }
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        self.consumed.store(self.at, Ordering::Relaxed);
        Ok(read)
    }
}

/// One entry of a file that is here.
struct One<R> {
    input: R,
    entry: Entry,
    consumed: Arc<AtomicU64>,
}

impl<R: BufRead> Read for One<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(&mut self.input, into);
        read.map_err(|e| damaged(e, Compression::Zip.name(), self.consumed.load(Ordering::Relaxed)))
    }
}

/// A file in a zip, and how far it has been decoded.
struct Entry {
    name: String,
    method: u16,
    encrypted: bool,
    /// Where its data begins, in a file that is here.
    starts_at: u64,
    /// Compressed bytes that are left, of one that is stored.
    left: u64,
    /// CRC-32 and size; where the zip was itself streamed they follow the data.
    checks: Option<(u32, u64)>,
    /// Sizes behind the data have eight bytes.
    large: bool,
    inflate: Decompress,
    crc: Crc,
    given: u64,
    done: bool,
}

impl Entry {
    fn new(name: String, method: u16) -> Entry {
        Entry {
            name,
            method,
            encrypted: false,
            starts_at: 0,
            left: 0,
            checks: None,
            large: false,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            given: 0,
            done: false,
        }
    }

    /// The same entry with nothing decoded of it.
    fn clone_fresh(&self) -> Entry {
        Entry {
            encrypted: self.encrypted,
            starts_at: self.starts_at,
            left: self.left,
            checks: self.checks,
            large: self.large,
            ..Entry::new(self.name.clone(), self.method)
        }
    }

    fn supported(&self) -> Result<()> {
        let why = match self.method {
            _ if self.encrypted => "is encrypted",
            DEFLATED => return Ok(()),
            STORED if self.checks.is_some() => return Ok(()),
            STORED => "does not say how long it is",
            _ => "is compressed in another way than by deflate",
        };
        Err(Error::state(format!("`{}` in the zip {why}", self.name)).hint("unzip it, and name the image itself"))
    }

    /// The next bytes; 0 when all were given and are what the zip says.
    fn read(&mut self, input: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.done {
            return Ok(0);
        }
        let given = self.decode(input, into)?;
        self.crc.update(&into[..given]);
        self.given += given as u64;
        if given == 0 {
            self.done = true;
            if self.checks.is_none() {
                self.checks = Some(descriptor(input, self.large)?);
            }
            if self.checks != Some((self.crc.sum(), self.given)) {
                let text = format!("the checksum of `{}` does not match", self.name);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
        Ok(given)
    }

    fn decode(&mut self, input: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
        if self.method == STORED {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
            let read = input.read(&mut into[..most])?;
            if read == 0 && self.left > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= read as u64;
            return Ok(read);
        }
        loop {
            let data = input.fill_buf()?;
            let end = data.is_empty();
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(data, into, FlushDecompress::None)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            input.consume((self.inflate.total_in() - taken) as usize);
            let given = (self.inflate.total_out() - given) as usize;
            if given > 0 || status == Status::StreamEnd {
                return Ok(given);
            }
            if end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn number<const N: usize>(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes[..N])?;
    Ok(u64::from_le_bytes(bytes))
}

/// What stands behind data whose length was not known before (APPNOTE 4.3.9): CRC-32 and size.
fn descriptor(input: &mut impl Read, large: bool) -> io::Result<(u32, u64)> {
    let mut crc = number::<4>(input)? as u32;
    if crc == 0x0807_4b50 {
        crc = number::<4>(input)? as u32;
    }
    let size = match large {
        true => number::<8>(input).and_then(|_| number::<8>(input))?,
        false => number::<4>(input).and_then(|_| number::<4>(input))?,
    };
    Ok((crc, size))
}

/// A zip as a stream: the image, and then a look at all that follows.
struct Streamed<R> {
    input: R,
    entry: Entry,
    consumed: Arc<AtomicU64>,
    finished: bool,
}

fn streamed(stream: impl Read + Send + 'static, consumed: Arc<AtomicU64>) -> Result<Opened> {
    let mut input = BufReader::with_capacity(PIECE, stream);
    let mut others = 0;
    let found = loop {
        let failed = |e| {
            told(
                damaged(e, Compression::Zip.name(), consumed.load(Ordering::Relaxed)),
                "cannot read the zip file",
            )
        };
        let Some(mut entry) = header(&mut input).map_err(failed)? else {
            return Err(Error::state("there is no image in the zip"));
        };
        entry.supported()?;
        let mut first = Vec::new();
        let mut reader = Of(&mut entry, &mut input);
        (&mut reader)
            .take(sniff::HEAD as u64)
            .read_to_end(&mut first)
            .map_err(failed)?;
        if is_image(&reader.0.name, &first) {
            break (first, entry);
        }
        others += io::copy(&mut reader.take(OTHERS), &mut io::sink()).map_err(failed)?;
        if others >= OTHERS {
            return Err(Error::state(format!(
                "`{}` comes first in the zip and is no image",
                entry.name
            )));
        }
    };
    let (first, entry) = found;
    let size = entry.checks.map(|(_, size)| size);
    let rest = Streamed {
        input,
        entry,
        consumed,
        finished: false,
    };
    Ok((Box::new(super::Joined::new(first, rest)), size))
}

/// An entry with its input.
struct Of<'a, R>(&'a mut Entry, &'a mut R);

impl<R: BufRead> Read for Of<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(self.1, into)
    }
}

impl<R: BufRead> Streamed<R> {
    /// Looks at what follows the image, and reads to the end, where the one who gives the bytes says whether they are right.
    fn finish(&mut self) -> io::Result<()> {
        for _ in 0..FILES {
            let Some(mut entry) = header(&mut self.input)? else {
                io::copy(&mut self.input, &mut io::sink())?;
                return Ok(());
            };
            entry.supported().map_err(carried)?;
            let mut first = Vec::new();
            let mut reader = Of(&mut entry, &mut self.input);
            (&mut reader).take(sniff::HEAD as u64).read_to_end(&mut first)?;
            if is_image(&reader.0.name, &first) {
                return Err(carried(two(&self.entry.name, &entry.name)));
            }
            io::copy(&mut reader, &mut io::sink())?;
        }
        Err(carried(Error::state("the zip has too many files in it")))
    }
}

impl<R: BufRead> Read for Streamed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.finished {
            return Ok(0);
        }
        let read = match self.entry.read(&mut self.input, into) {
            Ok(0) => self.finish().map(|()| {
                self.finished = true;
                0
            }),
            other => other,
        };
        read.map_err(|e| damaged(e, Compression::Zip.name(), self.consumed.load(Ordering::Relaxed)))
    }
}

/// The next file's header (APPNOTE 4.3.7); `None` where the list at the end begins.
fn header(input: &mut impl Read) -> io::Result<Option<Entry>> {
    match number::<4>(input)? {
        0x0403_4b50 => {}
        0x0201_4b50 | 0x0605_4b50 | 0x0606_4b50 | 0x0806_4b50 => return Ok(None),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there is no file where one must begin",
            ));
        }
    }
    number::<2>(input)?;
    let flags = number::<2>(input)?;
    let method = number::<2>(input)? as u16;
    number::<4>(input)?;
    let crc = number::<4>(input)? as u32;
    let mut packed = number::<4>(input)?;
    let mut size = number::<4>(input)?;
    let name_length = number::<2>(input)?;
    let extra_length = number::<2>(input)?;
    let mut name = vec![0; name_length as usize];
    input.read_exact(&mut name)?;
    let mut extra = vec![0; extra_length as usize];
    input.read_exact(&mut extra)?;
    let mut entry = Entry::new(String::from_utf8_lossy(&name).into_owned(), method);
    let mut rest = &extra[..];
    while let [a, b, c, d, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*c, *d])).min(more.len());
        let (field, next) = more.split_at(length);
        if u16::from_le_bytes([*a, *b]) == 1 {
            entry.large = true;
            let (mut sizes, _) = field.as_chunks::<8>().0.split_at(field.len().min(16) / 8);
            for number in [&mut size, &mut packed] {
                if *number == u64::from(u32::MAX)
                    && let [first, more @ ..] = sizes
                {
                    *number = u64::from_le_bytes(*first);
                    sizes = more;
                }
            }
        }
        rest = next;
    }
    entry.encrypted = flags & 1 == 1;
    entry.left = packed;
    if flags & 8 == 0 {
        entry.checks = Some((crc, size));
    }
    Ok(Some(entry))
}
