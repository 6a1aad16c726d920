//! An image's bytes out of its file: xz, gzip, zstd, bzip2, zip or plain, told by content and streamed.
//!
//! Knows neither where the file comes from nor where the bytes go. Memory is bounded whatever a file claims; how many bytes may come
//! out is for the one who reads them to limit, who knows the card's size.

mod size;
mod sniff;
mod xz;
mod zip;

pub use sniff::{Compression, Format};

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The piece in which compressed input is read, in bytes.
const PIECE: usize = 256 << 10;

/// The largest window of a zstd file, as a power of two: 128 MiB, which is also what its own tool takes without being told.
const ZSTD_WINDOW: u32 = 27;

/// The file behind a stream. Where all of it is here, its end can be read before its beginning: that is where zip files list what they
/// hold and xz files how much.
#[derive(Default)]
pub struct Whole {
    /// The file, if all of it is here. It may not have been compared with its checksum yet.
    pub here: Option<File>,
    /// Waits until all of it is here and was compared.
    pub verified: Option<Box<dyn FnOnce() -> io::Result<File> + Send>>,
}

/// How to decode.
#[derive(Default)]
pub struct Options {
    /// Threads for xz; 0: as many as there are processors.
    pub threads: usize,
    pub whole: Whole,
}

/// An image that can be read.
pub struct Decoded {
    pub compression: Compression,
    pub format: Format,
    /// How many bytes `reader` gives, as far as the file says so. Only its word.
    pub size: Option<u64>,
    /// The bytes. At its end everything was checked that the file has checksums for; an error may carry an [`Error`], see [`told`].
    pub reader: Box<dyn Read + Send>,
    /// How many bytes of the file were read so far.
    pub consumed: Arc<AtomicU64>,
}

/// The [`Error`] that `error` carries, or one that says what failed: `doing` reads well before ": ".
pub fn told(error: io::Error, doing: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::state(format!("{doing}: {error}")),
    }
}

/// `error` on its way through [`Read`].
pub(super) fn carried(error: Error) -> io::Error {
    io::Error::other(error)
}

/// Opens the image in `file`, a stream of a file from its first byte on.
///
/// # Errors
/// It cannot be read; it is no image, or one that is compressed twice; of a zip's files, none or several are images.
pub fn open(file: Box<dyn Read + Send>, options: Options) -> Result<Decoded> {
    let consumed = Arc::new(AtomicU64::new(0));
    let mut file = Counted {
        inner: file,
        count: consumed.clone(),
    };
    let head = head(&mut file).map_err(|e| told(e, "cannot read the image"))?;
    if head.is_empty() {
        return Err(Error::state("the image's file is empty"));
    }
    refuse_foreign(&head, "the file")?;
    let compression = sniff::compression(&head);
    let size = options.whole.here.as_ref().and_then(|file| size::of(compression, file));
    let format = sniff::content(&head);
    let file = Joined::new(head, file);
    let (mut reader, size): (Box<dyn Read + Send>, Option<u64>) = match compression {
        // As it is: what its readers read is what the file is asked for.
        Compression::None => {
            return Ok(Decoded {
                compression,
                format,
                size,
                reader: Box::new(file),
                consumed,
            });
        }
        Compression::Zip => zip::open(file, options.whole, &consumed)?,
        _ => (decoder(compression, file, options.threads)?, size),
    };
    if compression != Compression::Zip {
        reader = Box::new(Watched {
            inner: reader,
            compression,
            consumed: consumed.clone(),
        });
    }
    let head = self::head(&mut reader).map_err(|e| told(e, "cannot decode the image"))?;
    let what = compression.name();
    if head.is_empty() {
        return Err(Error::state(format!("the image is {what} with nothing in it")));
    }
    refuse_foreign(&head, &format!("in {what}, there"))?;
    let nested = sniff::compression(&head);
    if nested != Compression::None {
        return Err(
            Error::state(format!("the image is compressed twice: {} in {what}", nested.name()))
                .hint("take the outer compression off, and name the inner file"),
        );
    }
    Ok(Decoded {
        compression,
        format: sniff::content(&head),
        size,
        reader: Box::new(Joined::new(head, reader)),
        consumed,
    })
}

fn refuse_foreign(head: &[u8], there: &str) -> Result<()> {
    match sniff::foreign(head) {
        Some((what, hint)) => Err(Error::state(format!("{there} is {what}, not the image of a disk")).hint(hint)),
        None => Ok(()),
    }
}

fn decoder(compression: Compression, file: impl Read + Send + 'static, threads: usize) -> Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(PIECE, file);
    Ok(match compression {
        Compression::Xz => Box::new(xz::Xz::new(input, threads)),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Zstd => {
            let failed = |e| told(e, "cannot begin to decode zstd");
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(failed)?;
            Box::new(decoder)
        }
        Compression::None | Compression::Zip => Box::new(input),
    })
}

/// The first [`sniff::HEAD`] bytes of `reader`; less where it ends before.
fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(sniff::HEAD);
    reader.take(sniff::HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What was read of `rest` already, and `rest`.
struct Joined<R> {
    head: Vec<u8>,
    at: usize,
    rest: R,
}

impl<R> Joined<R> {
    fn new(head: Vec<u8>, rest: R) -> Joined<R> {
        Joined { head, at: 0, rest }
    }
}

impl<R: Read> Read for Joined<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = &self.head[self.at..];
        if left.is_empty() {
            return self.rest.read(into);
        }
        let length = left.len().min(into.len());
        into[..length].copy_from_slice(&left[..length]);
        self.at += length;
        Ok(length)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Makes of a decoder's errors what a user can be told. Those of its input go through as they are.
struct Watched<R> {
    inner: R,
    compression: Compression,
    consumed: Arc<AtomicU64>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let consumed = &self.consumed;
        self.inner
            .read(into)
            .map_err(|e| damaged(e, self.compression.name(), consumed.load(Ordering::Relaxed)))
    }
}

/// What is wrong with `what`, of which `consumed` bytes were read when its decoder said `error`.
fn damaged(error: io::Error, what: &str, consumed: u64) -> io::Error {
    let own = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    if own || error.raw_os_error().is_some() {
        return error;
    }
    let told = match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::state(format!(
            "the image is {what} that ends too early: {consumed} bytes are there, and more must follow"
        ))
        .hint("the file was not copied or downloaded to its end"),
        io::ErrorKind::OutOfMemory => Error::state(format!("cannot decode {what} near byte {consumed}: {error}")),
        _ => Error::state(format!("the image is {what} that is damaged near byte {consumed}: {error}"))
            .hint("download it again, or compare its checksum with the vendor's"),
    };
    carried(told)
}

#[cfg(test)]
mod tests;
