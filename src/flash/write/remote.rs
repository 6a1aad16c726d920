//! The elevated writer, as seen from the process that started it: a [`Target`].
//!
//! A write is acknowledged one behind: while the device works on one, the next is on its way.

use super::protocol::{Answer, Facts, LARGEST, Request};
use super::target::{self, Fault, Target};
use crate::error::{Error, Result};
use crate::flash::device::open::Confirmed;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::process::Child;

/// Writes that may be without an answer when another call begins.
const BEHIND: usize = 1;

pub struct Remote {
    /// `None` once it is closed.
    input: Option<Box<dyn Read + Send>>,
    /// `None` once it is closed.
    output: Option<Box<dyn Write + Send>>,
    /// The process, where it is one.
    child: Option<Child>,
    facts: Facts,
    /// Offset and length of the writes without an answer.
    under_way: VecDeque<(u64, u64)>,
    /// Offset and length of what was asked for before it is wanted.
    ahead: VecDeque<(u64, usize)>,
    notes: Vec<String>,
}

impl Remote {
    /// Asks the writer at the other end to open what was confirmed.
    ///
    /// # Errors
    /// It refuses, or is not there.
    pub fn open(
        mut input: Box<dyn Read + Send>,
        mut output: Box<dyn Write + Send>,
        mut child: Option<Child>,
        confirmed: &Confirmed,
    ) -> Result<Remote> {
        let sent = Request::Open(confirmed.clone()).send(&mut output);
        match sent.and_then(|()| Answer::receive(&mut input)) {
            Ok(Answer::Opened(facts)) => Ok(Remote {
                notes: if facts.direct { Vec::new() } else { vec![BUFFERED.to_owned()] },
                input: Some(input),
                output: Some(output),
                child,
                facts,
                under_way: VecDeque::new(),
                ahead: VecDeque::new(),
            }),
            Ok(Answer::Refused(error)) => {
                drop(output);
                reap(&mut child);
                Err(error)
            }
            Ok(_) => Err(ended("it answers what it was not asked")),
            Err(e) => {
                drop(output);
                let status = reap(&mut child);
                Err(ended(&status.unwrap_or_else(|| e.to_string())))
            }
        }
    }

    fn ask(&mut self, request: &Request, pieces: &[&[u8]]) -> io::Result<()> {
        let output = self.output.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        request.send(output)?;
        for piece in pieces {
            output.write_all(piece)?;
        }
        output.flush()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        Answer::receive(self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?)
    }

    /// Takes the answers to writes until at most `left` are missing.
    fn settle(&mut self, left: usize) -> Result<(), Fault> {
        self.forget()?;
        while self.under_way.len() > left {
            let answer = self.answer();
            let (offset, length) = self.under_way.pop_front().unwrap_or_default();
            self.done(answer, target::Request::Write, offset, length)?;
        }
        Ok(())
    }

    /// Throws away what was asked for and is not wanted any more.
    fn forget(&mut self) -> Result<(), Fault> {
        while let Some((offset, length)) = self.ahead.pop_front() {
            let mut lost = vec![0; length];
            match self.given(offset, &mut lost) {
                // Whether it can be read will be told when it is wanted.
                Err(fault) if fault.gone => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    }

    /// The answer to a read.
    fn given(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let size = into.len();
        let failed = |e: io::Error| Fault {
            gone: true,
            ..Fault::new(target::Request::Read, offset, size as u64, &e)
        };
        match self.answer().map_err(failed)? {
            Answer::Data(given) if given as usize == size => match &mut self.input {
                Some(input) => input.read_exact(into).map_err(failed),
                None => Err(failed(io::ErrorKind::BrokenPipe.into())),
            },
            Answer::Data(_) => Err(failed(io::ErrorKind::InvalidData.into())),
            answer => match self.done(Ok(answer), target::Request::Read, offset, size as u64) {
                Ok(()) => Err(failed(io::ErrorKind::InvalidData.into())),
                Err(fault) => Err(fault),
            },
        }
    }

    fn done(&mut self, answer: io::Result<Answer>, request: target::Request, offset: u64, length: u64) -> Result<(), Fault> {
        let lost = |message: String| Fault {
            request,
            offset,
            length,
            gone: true,
            message,
        };
        match answer {
            Ok(Answer::Done(notes)) => {
                if notes.iter().any(|note| note.contains("page cache")) {
                    self.facts.direct = false;
                }
                self.notes.extend(notes);
                Ok(())
            }
            Ok(Answer::Fault(fault)) => Err(fault),
            Ok(Answer::Refused(error)) => Err(lost(error.to_string())),
            Ok(_) => Err(lost("the elevated writer answers what it was not asked".to_owned())),
            Err(e) => Err(lost(format!("the elevated writer has ended: {e}"))),
        }
    }

    /// One request after all earlier ones.
    fn round(&mut self, request: &Request, kind: target::Request) -> Result<(), Fault> {
        self.settle(0)?;
        let answer = self.ask(request, &[]).and_then(|()| self.answer());
        self.done(answer, kind, 0, 0)
    }
}

const BUFFERED: &str = "it cannot be written past the page cache; what is written is flushed every 16 MiB instead";

fn ended(why: &str) -> Error {
    Error::usage(format!("the elevated writer did not start: {why}"))
        .hint("`--elevate sudo` (doas, run0, pkexec) chooses how; or run picloud as a user who may write to the device")
}

/// Waits for the process, whose input is closed; how it ended.
fn reap(child: &mut Option<Child>) -> Option<String> {
    let status = child.as_mut()?.wait().ok()?;
    Some(format!("it ended with {status}"))
}

impl Target for Remote {
    fn capacity(&self) -> Option<u64> {
        Some(self.facts.capacity)
    }

    fn is_direct(&self) -> bool {
        self.facts.direct
    }

    fn write(&mut self, offset: u64, pieces: &[&[u8]]) -> Result<(), Fault> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let failed = |e: io::Error| Fault {
            gone: true,
            ..Fault::new(target::Request::Write, offset, length, &e)
        };
        let length = match u32::try_from(length) {
            Ok(length) if length <= LARGEST => length,
            _ => return Err(failed(io::ErrorKind::InvalidInput.into())),
        };
        self.forget()?;
        let asked = self.ask(&Request::Write { offset, length }, pieces);
        if let Err(e) = asked {
            // Why it ended says more than that it did.
            self.settle(0)?;
            return Err(failed(e));
        }
        self.under_way.push_back((offset, u64::from(length)));
        self.settle(BEHIND)
    }

    fn pending(&self) -> u64 {
        self.under_way.iter().map(|(_, length)| length).sum()
    }

    fn expect(&mut self, offset: u64, length: usize) {
        // Behind writes, it would have to wait for their answers.
        let fits = self.under_way.is_empty() && self.ahead.len() < 2 && length > 0;
        let Some(asked) = u32::try_from(length).ok().filter(|asked| fits && *asked <= LARGEST) else {
            return;
        };
        if self.ask(&Request::Read { offset, length: asked }, &[]).is_ok() {
            self.ahead.push_back((offset, length));
        }
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        if self.ahead.front() == Some(&(offset, into.len())) {
            self.ahead.pop_front();
            return self.given(offset, into);
        }
        self.settle(0)?;
        let size = into.len();
        let failed = |e: io::Error| Fault {
            gone: true,
            ..Fault::new(target::Request::Read, offset, size as u64, &e)
        };
        let length = match u32::try_from(size) {
            Ok(length) if length <= LARGEST => length,
            _ => return Err(failed(io::ErrorKind::InvalidInput.into())),
        };
        self.ask(&Request::Read { offset, length }, &[]).map_err(failed)?;
        self.given(offset, into)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.round(&Request::Sync, target::Request::Sync)
    }

    fn reread_table(&mut self) -> Result<(), Fault> {
        self.round(&Request::RereadTable, target::Request::Sync)
    }

    fn eject(&mut self) {
        let _ = self.round(&Request::Eject, target::Request::Sync);
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        let closed = self.round(&Request::Close, target::Request::Sync);
        self.output = None;
        reap(&mut self.child);
        closed.map_err(|fault| fault.error())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // At the end of its input the writer ends, when the request that it is at is done; and it must not wait for somebody to take
        // what was read ahead.
        self.output = None;
        self.input = None;
        reap(&mut self.child);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::buffer::Buffer;
    use super::super::fake::Fake;
    use super::super::serve::serve;
    use super::*;
    use crate::flash::device::rules::Allow;
    use crate::flash::device::rules::tests::card;

    /// A writer at the other end of two pipes.
    pub(in super::super) fn pair(fake: &Fake) -> Result<Remote> {
        let (there, output) = io::pipe().unwrap();
        let (input, back) = io::pipe().unwrap();
        let fake = fake.clone();
        std::thread::spawn(move || serve(there, back, |_| Ok(fake.target())));
        let confirmed = Confirmed::of(&card(), 0, Allow::default());
        Remote::open(Box::new(input), Box::new(output), None, &confirmed)
    }

    #[test]
    fn it_writes_and_reads_at_the_other_end() {
        let fake = Fake::new(32 << 20);
        let mut remote: Box<dyn Target> = Box::new(pair(&fake).unwrap());
        assert_eq!(remote.capacity(), Some(32 << 20));
        let (one, two) = (Buffer::of(&[1; 4 << 20]), Buffer::of(&[2; 4 << 20]));
        remote.write(0, &[&one, &two]).unwrap();
        assert_eq!(remote.pending(), 8 << 20);
        remote.write(16 << 20, &[&two]).unwrap();
        let mut read = Buffer::new(8192);
        remote.read((4 << 20) - 4096, &mut read).unwrap();
        assert_eq!((read[4095], read[4096], remote.pending()), (1, 2, 0));
        // Asked for ahead, in order, out of order, and not wanted at all.
        for wanted in [[0, 4 << 20], [4 << 20, 0]] {
            remote.expect(wanted[0], 4096);
            remote.expect(4 << 20, 4096);
            for at in wanted {
                remote.read(at, &mut read[..4096]).unwrap();
                assert_eq!(u64::from(read[7]), 1 + at / (4 << 20));
            }
        }
        remote.expect(0, 4096);
        remote.write(20 << 20, &[&two]).unwrap();
        remote.sync().unwrap();
        assert_eq!(fake.with(|state| state.syncs), 1);
        remote.close().unwrap();
    }

    #[test]
    fn a_fault_comes_one_behind_with_its_place() {
        let fake = Fake::new(32 << 20);
        fake.with(|state| state.bad_writes.push((4096..8192, u32::MAX)));
        let mut remote = pair(&fake).unwrap();
        let page = Buffer::new(4096);
        remote.write(4096, &[&page]).unwrap();
        let fault = remote.write(8192, &[&page]).unwrap_err();
        assert_eq!((fault.offset, fault.length, fault.gone), (4096, 4096, false));
    }

    #[test]
    fn an_end_that_is_gone_is_a_fault() {
        let fake = Fake::new(1 << 20);
        let mut remote = pair(&fake).unwrap();
        // A range beyond the end makes the writer end.
        let _ = remote.read(1 << 20, &mut Buffer::new(4096)).unwrap_err();
        assert!(remote.sync().unwrap_err().gone);
        let (there, output) = io::pipe().unwrap();
        let (input, back) = io::pipe().unwrap();
        drop((there, back));
        let confirmed = Confirmed::of(&card(), 0, Allow::default());
        assert!(Remote::open(Box::new(input), Box::new(output), None, &confirmed).is_err());
    }
}
