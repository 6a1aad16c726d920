//! What is written to: a trait for the engine, the faults it can tell of, and retrying.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::io;

/// How often a request is tried before its range is called bad.
const TRIES: u32 = 3;

/// Without direct access: after how many bytes what was written is flushed, so that progress is true and memory stays clean.
const FLUSH: u64 = 16 << 20;

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Write,
    Read,
    Sync,
}

/// A request that failed for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub request: Request,
    /// Bytes from the start of the disk.
    pub offset: u64,
    pub length: u64,
    /// The disk is not there any more.
    pub gone: bool,
    pub message: String,
}

impl Fault {
    pub fn new(request: Request, offset: u64, length: u64, error: &io::Error) -> Fault {
        Fault {
            request,
            offset,
            length,
            gone: is_gone(error),
            message: error.to_string(),
        }
    }

    /// For the user.
    pub fn error(&self) -> Error {
        if self.gone {
            return Error::state(format!("it was pulled out, or has stopped answering ({})", self.message))
                .hint("put it in again and start once more: what it holds already is not written again");
        }
        let place = format!("{} bytes at {} ({})", self.length, self.offset, self.message);
        let error = match self.request {
            Request::Write => Error::state(format!("bad range: {place} cannot be written, tried {TRIES} times")),
            Request::Read => Error::state(format!("bad range: {place} cannot be read, tried {TRIES} times")),
            Request::Sync => Error::state(format!("it did not confirm that all is written: {}", self.message)),
        };
        error.hint("try another reader and another port; if it fails at the same place again, the card is worn out")
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(fault.error().to_string())
    }
}

/// Errors that mean that there is no disk any more.
fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [
        Errno::NXIO,
        Errno::NODEV,
        #[cfg(target_os = "linux")]
        Errno::NOMEDIUM,
    ];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A card, an image file or what stands for one. Offsets, lengths and addresses are multiples of [`PAGE`](super::buffer::PAGE), but for
/// the end of a disk whose size is none.
pub trait Target: Send {
    /// How many bytes fit; `None`: as many as one likes, in a file.
    fn capacity(&self) -> Option<u64>;

    /// Whether what was never written reads as zeros: a new file. Never true of a card.
    fn is_blank(&self) -> bool {
        false
    }

    /// Whether the page cache is passed by.
    fn is_direct(&self) -> bool;

    /// Writes `pieces` one behind the other from `offset`. A fault may be told by a later call, at the latest by [`Target::sync`].
    ///
    /// # Errors
    /// This range or an earlier one cannot be written.
    fn write(&mut self, offset: u64, pieces: &[&[u8]]) -> Result<(), Fault>;

    /// How many bytes of what was written the device has not acknowledged yet.
    fn pending(&self) -> u64 {
        0
    }

    /// Says that this range will be read soon, in the order of these calls, so that it can be on its way.
    fn expect(&mut self, offset: u64, length: usize) {
        let _ = (offset, length);
    }

    /// Fills `into` from `offset`, from the device itself.
    ///
    /// # Errors
    /// This range cannot be read, or an earlier one could not be written.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// Returns when all that was written is on the device.
    ///
    /// # Errors
    /// It is not.
    fn sync(&mut self) -> Result<(), Fault>;

    /// Makes a file `length` bytes long; a card is as long as it is.
    ///
    /// # Errors
    /// There is no room.
    fn fit(&mut self, length: u64) -> Result<(), Fault> {
        let _ = length;
        Ok(())
    }

    /// Lets the system see the new partition table, if it can just now.
    ///
    /// # Errors
    /// The device does not answer any more; not: something is in the way.
    fn reread_table(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Gives the medium back, where the drive can do that.
    fn eject(&mut self) {}

    /// What the user should be told that is no failure; each is given once.
    fn notes(&mut self) -> Vec<String>;

    /// Lets go of it: all is done.
    ///
    /// # Errors
    /// A file cannot be put in its place.
    fn close(self: Box<Self>) -> crate::error::Result<()>;
}

/// Single attempts at a device or file.
pub trait Raw: Send {
    fn capacity(&self) -> Option<u64>;
    fn is_blank(&self) -> bool {
        false
    }
    /// # Errors
    /// What the system says. Less than all may have been written.
    fn write_at(&mut self, offset: u64, pieces: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// # Errors
    /// What the system says. Less than all may have been read, and 0 bytes at the end.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
    /// # Errors
    /// What the system says.
    fn fit(&mut self, length: u64) -> io::Result<()> {
        let _ = length;
        Ok(())
    }
    /// Whether the device is there no more, though it gave another reason.
    fn is_gone(&self) -> bool {
        false
    }
    /// Goes through the page cache from now on.
    ///
    /// # Errors
    /// It cannot.
    fn buffer(&mut self) -> io::Result<()>;
    /// Forgets what the page cache holds of a range.
    fn forget(&mut self, offset: u64, length: u64);
    fn reread_table(&mut self) {}
    fn eject(&mut self) {}
    /// # Errors
    /// A file cannot be put in its place.
    fn close(self) -> crate::error::Result<()>;
}

/// A [`Raw`] with retries, and with the page cache where nothing else is possible.
pub struct Disk<R> {
    raw: R,
    direct: bool,
    /// Bytes since the last flush, without direct access.
    unflushed: u64,
    /// How many ranges were written in a second or third attempt.
    retried: u32,
    notes: Vec<String>,
}

impl<R: Raw> Disk<R> {
    pub fn new(raw: R, direct: bool) -> Disk<R> {
        let mut disk = Disk {
            raw,
            direct,
            unflushed: 0,
            retried: 0,
            notes: Vec::new(),
        };
        if !direct {
            disk.note_buffered();
        }
        disk
    }

    fn note_buffered(&mut self) {
        self.notes
            .push("it cannot be written past the page cache; what is written is flushed every 16 MiB instead".to_owned());
    }

    /// Runs one request up to [`TRIES`] times.
    fn tried<T>(
        &mut self,
        request: Request,
        offset: u64,
        length: u64,
        mut run: impl FnMut(&mut R) -> io::Result<T>,
    ) -> Result<T, Fault> {
        let mut attempt = 1;
        loop {
            let error = match run(&mut self.raw) {
                Ok(done) if attempt == 1 => return Ok(done),
                Ok(done) => {
                    self.retried += 1;
                    let verb = if request == Request::Write { "written" } else { "read" };
                    let at = format!("{length} bytes at {offset} were {verb} only in attempt {attempt}");
                    self.notes.push(format!("{at}: it may be failing"));
                    return Ok(done);
                }
                // A signal has come; this counts for nothing.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Some file systems and drivers open for direct access and refuse it then.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput && self.direct && self.raw.buffer().is_ok() => {
                    self.direct = false;
                    self.note_buffered();
                    continue;
                }
                Err(e) => e,
            };
            let mut fault = Fault::new(request, offset, length, &error);
            fault.gone |= self.raw.is_gone();
            let hopeless = fault.gone || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::UnexpectedEof);
            if hopeless || attempt == TRIES {
                return Err(fault);
            }
            attempt += 1;
        }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.unflushed = 0;
        // A failed flush has lost what it should have written: trying again would succeed and mean nothing.
        self.raw.sync().map_err(|e| {
            let mut fault = Fault::new(Request::Sync, 0, 0, &e);
            fault.gone |= self.raw.is_gone();
            fault
        })
    }
}

/// All of `pieces`, however little the system takes at a time.
fn write_all(raw: &mut impl Raw, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<io::IoSlice<'_>> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    let mut at = offset;
    while rest.iter().any(|slice| !slice.is_empty()) {
        match raw.write_at(at, rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => {
                at += n as u64;
                io::IoSlice::advance_slices(&mut rest, n);
            }
        }
    }
    Ok(())
}

fn read_all(raw: &mut impl Raw, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match raw.read_at(offset + done as u64, &mut into[done..])? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends here")),
            n => done += n,
        }
    }
    Ok(())
}

impl<R: Raw> Target for Disk<R> {
    fn capacity(&self) -> Option<u64> {
        self.raw.capacity()
    }

    fn is_blank(&self) -> bool {
        self.raw.is_blank()
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn write(&mut self, offset: u64, pieces: &[&[u8]]) -> Result<(), Fault> {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.tried(Request::Write, offset, length, |raw| write_all(raw, offset, pieces))?;
        if !self.direct {
            self.unflushed += length;
            if self.unflushed >= FLUSH {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let length = into.len() as u64;
        if !self.direct {
            if self.unflushed > 0 {
                self.flush()?;
            }
            self.raw.forget(offset, length);
        }
        self.tried(Request::Read, offset, length, |raw| read_all(raw, offset, into))
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.flush()
    }

    fn fit(&mut self, length: u64) -> Result<(), Fault> {
        self.tried(Request::Write, length, 0, |raw| raw.fit(length))
    }

    fn reread_table(&mut self) -> Result<(), Fault> {
        self.raw.reread_table();
        Ok(())
    }

    fn eject(&mut self) {
        self.raw.eject();
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn close(self: Box<Self>) -> crate::error::Result<()> {
        self.raw.close()
    }
}
