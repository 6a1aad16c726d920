//! xz, streamed: its blocks are decoded side by side where there are several, which `xz -T0` makes and single-threaded `xz` does not.

use liblzma::stream::{Action, Error as Lzma, MtStreamBuilder, Status, Stream};
use std::io::{self, BufRead, Read};

/// What all threads together may use, in bytes. `xz -6` has blocks of 24 MiB: two of them are decoded in about 75 MiB. Where more
/// threads would need more, liblzma takes fewer.
const MEMORY: u64 = 128 << 20;

/// The most that one stream may need at all, in bytes: `xz -9` has a dictionary of 64 MiB; larger ones are made by hand.
const MEMORY_AT_MOST: u64 = 128 << 20;

/// Beyond this many threads, [`MEMORY`] is the limit anyway.
const THREADS: usize = 16;

/// The bytes of one or several xz streams, with padding between them or without.
pub(super) struct Xz<R> {
    input: R,
    threads: usize,
    /// The stream that is being decoded.
    stream: Option<Stream>,
    /// Whether a stream has been decoded to its end.
    any: bool,
}

impl<R: BufRead> Xz<R> {
    /// `threads` 0: as many as there are processors.
    pub(super) fn new(input: R, threads: usize) -> Xz<R> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Xz {
            input,
            threads: threads.min(THREADS),
            stream: None,
            any: false,
        }
    }

    /// Begins with the next stream; whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            let input = self.input.fill_buf()?;
            let zeros = input.iter().take_while(|b| **b == 0).count();
            if zeros < input.len() {
                // Only behind a stream can there be padding.
                let padding = if self.any { zeros } else { 0 };
                self.input.consume(padding);
                break;
            }
            if zeros == 0 {
                return Ok(false);
            }
            self.input.consume(zeros);
        }
        let decoder = MtStreamBuilder::new()
            .threads(self.threads as u32)
            .memlimit_threading(MEMORY)
            .memlimit_stop(MEMORY_AT_MOST)
            .decoder()
            .map_err(explained)?;
        self.stream = Some(decoder);
        Ok(true)
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut idle = 0;
        loop {
            if self.stream.is_none() && !self.next()? {
                return Ok(0);
            }
            let Some(stream) = &mut self.stream else {
                return Ok(0);
            };
            let input = self.input.fill_buf()?;
            let end = input.is_empty();
            let (taken, given) = (stream.total_in(), stream.total_out());
            let status = stream.process(input, into, if end { Action::Finish } else { Action::Run });
            let taken = (stream.total_in() - taken) as usize;
            let given = (stream.total_out() - given) as usize;
            self.input.consume(taken);
            let status = match status {
                Ok(status) => status,
                Err(Lzma::Format) if self.any => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "something else follows behind its end",
                    ));
                }
                Err(error) => return Err(explained(error)),
            };
            if status == Status::StreamEnd {
                self.stream = None;
                self.any = true;
            }
            if given > 0 {
                return Ok(given);
            }
            match status {
                Status::StreamEnd => idle = 0,
                _ if end => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ if taken > 0 => idle = 0,
                _ if idle > 3 => return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not go on")),
                _ => idle += 1,
            }
        }
    }
}

fn explained(error: Lzma) -> io::Error {
    let (kind, text) = match error {
        Lzma::MemLimit => (
            io::ErrorKind::OutOfMemory,
            format!(
                "its dictionary needs more than {} MiB; `xz -dc FILE | xz -T0 >NEW` makes one that does not",
                MEMORY_AT_MOST >> 20
            ),
        ),
        Lzma::Mem => (io::ErrorKind::OutOfMemory, "there is not enough memory".to_owned()),
        Lzma::Options => (
            io::ErrorKind::InvalidData,
            "it uses a filter that is not understood".to_owned(),
        ),
        Lzma::Format => (io::ErrorKind::InvalidData, "it does not begin as xz does".to_owned()),
        Lzma::Data => (io::ErrorKind::InvalidData, "its checksums do not match".to_owned()),
        other => (io::ErrorKind::InvalidData, other.to_string()),
    };
    io::Error::new(kind, text)
}
