//! The elevated writer: opens one disk that was confirmed, writes and reads what it is asked within it, and can do nothing else.
//!
//! Its input is not trusted. It looks at the rules itself, keeps to the disk's bounds, and ends at the first thing that does not fit.
//! Requests are read while the device works on earlier ones, so that it never waits for the pipe.

use super::buffer::{Lent, Pool};
use super::protocol::{Answer, Facts, LARGEST, Request};
use super::target::{Fault, Target};
use crate::error::{Error, Result};
use crate::flash::device::open::Confirmed;
use std::io::{self, Read, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Requests that are read ahead, besides the one that the device works on.
const AHEAD: usize = 2;

/// A request with its bytes.
type Work = io::Result<(Request, Option<Lent>)>;

/// Serves one client until it closes or ends. `open` opens what was confirmed.
///
/// # Errors
/// The client asks for what it must not have, or the pipe breaks. A client that was refused has been told.
pub fn serve(
    mut input: impl Read + Send,
    mut output: impl Write + Send,
    open: impl FnOnce(&Confirmed) -> Result<Box<dyn Target>>,
) -> Result<()> {
    let broken = |e: io::Error| Error::usage(format!("the flash writer was given nonsense: {e}"));
    let Some(Request::Open(confirmed)) = Request::receive(&mut input).map_err(broken)? else {
        let error = Error::usage("the flash writer is started by picloud itself, which tells it what to open");
        let _ = Answer::Refused(error.clone()).send(&mut output);
        return Err(error);
    };
    let opened = open(&confirmed).and_then(|target| {
        let capacity = target
            .capacity()
            .ok_or_else(|| Error::usage("only devices are written with privileges"))?;
        Ok((target, capacity))
    });
    let (mut target, capacity) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // The client tells the user.
            Answer::Refused(error).send(&mut output).map_err(broken)?;
            return Ok(());
        }
    };
    let facts = Facts {
        capacity,
        direct: target.is_direct(),
    };
    Answer::Opened(facts).send(&mut output).map_err(broken)?;
    thread::scope(|scope| {
        let (to_device, works) = sync_channel(AHEAD);
        scope.spawn(move || read_ahead(input, capacity, &to_device));
        // Answers with bytes take their time; the device goes on meanwhile.
        let (to_client, answers) = sync_channel::<(Answer, Option<Data>)>(1);
        let answering = scope.spawn(move || {
            for (answer, data) in answers {
                answer.send(&mut output)?;
                if let Some(data) = data {
                    output.write_all(&data)?;
                    output.flush()?;
                }
            }
            Ok(())
        });
        let mut result = Ok(());
        for work in works {
            let (request, bytes) = match work {
                Ok(work) => work,
                Err(e) => {
                    let error = broken(e);
                    let _ = to_client.send((Answer::Refused(error.clone()), None));
                    result = Err(error);
                    break;
                }
            };
            // Nobody listens any more; why not is told by the thread that answers.
            if to_client.send(perform(&mut *target, &request, bytes)).is_err() || request == Request::Close {
                break;
            }
        }
        drop(to_client);
        let answered: io::Result<()> = answering.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        result.and(answered.map_err(broken))
    })?;
    target.close()
}

/// Reads requests and their bytes, and checks that they keep within the disk.
fn read_ahead(mut input: impl Read, capacity: u64, to: &SyncSender<Work>) {
    // Read ahead, at the device, waiting and being answered.
    let mut pool = Pool::new(AHEAD + 4, LARGEST as usize);
    loop {
        let work = next(&mut input, capacity, &mut pool);
        let last = !matches!(&work, Ok(Some((request, _))) if *request != Request::Close);
        let Some(work) = work.transpose() else { return };
        if to.send(work).is_err() || last {
            return;
        }
    }
}

fn next(input: &mut impl Read, capacity: u64, pool: &mut Pool) -> io::Result<Option<(Request, Option<Lent>)>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(request) = Request::receive(input)? else {
        return Ok(None);
    };
    match &request {
        Request::Open(_) => Err(invalid("a second disk")),
        Request::Write { offset, length } | Request::Read { offset, length } | Request::Wipe { offset, length } => {
            if offset.checked_add(u64::from(*length)).is_none_or(|end| end > capacity) {
                return Err(invalid("a range beyond the end of the disk"));
            }
            let mut bytes = pool.take();
            if let Request::Write { .. } = request {
                input.read_exact(&mut bytes[..*length as usize])?;
            }
            Ok(Some((request, Some(bytes))))
        }
        _ => Ok(Some((request, None))),
    }
}

/// Bytes of an answer, without what the buffer holds behind them.
struct Data(Lent, usize);

impl std::ops::Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

fn perform(target: &mut dyn Target, request: &Request, bytes: Option<Lent>) -> (Answer, Option<Data>) {
    let mut data = None;
    let done: Result<(), Fault> = match (request, bytes) {
        (Request::Write { offset, length }, Some(bytes)) => target.write(*offset, &[&bytes[..*length as usize]]),
        (Request::Wipe { offset, length }, Some(mut bytes)) => {
            bytes[..*length as usize].fill(0);
            target.write(*offset, &[&bytes[..*length as usize]])
        }
        (Request::Read { offset, length }, Some(mut bytes)) => {
            let read = target.read(*offset, &mut bytes[..*length as usize]);
            data = read.is_ok().then_some(Data(bytes, *length as usize));
            read
        }
        (Request::Sync, _) => target.sync(),
        (Request::RereadTable, _) => target.reread_table(),
        (Request::Eject, _) => {
            target.eject();
            Ok(())
        }
        // What is closed without `Sync` was not asked to be on the device.
        _ => Ok(()),
    };
    let answer = match (done, &data) {
        (Err(fault), _) => Answer::Fault(fault),
        (Ok(()), Some(data)) => Answer::Data(data.len() as u32),
        (Ok(()), None) => Answer::Done(target.notes()),
    };
    (answer, data)
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::protocol::SECTOR;
    use super::*;
    use crate::flash::device::rules::Allow;
    use crate::flash::device::rules::tests::card;
    use proptest::prelude::*;

    fn open() -> Request {
        Request::Open(Confirmed::of(&card(), 0, Allow::default()))
    }

    /// What is answered to `requests` and `bytes` behind them.
    fn answers(fake: &Fake, requests: &[Request], bytes: &[u8]) -> (Result<()>, Vec<Answer>) {
        let mut input = Vec::new();
        for request in requests {
            request.send(&mut input).unwrap();
        }
        input.extend_from_slice(bytes);
        let mut output = Vec::new();
        let result = serve(&input[..], &mut output, |_| Ok(fake.target()));
        let mut rest = &output[..];
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let answer = Answer::receive(&mut rest).unwrap();
            if let Answer::Data(length) = answer {
                rest = &rest[length as usize..];
            }
            answers.push(answer);
        }
        (result, answers)
    }

    #[test]
    fn what_does_not_fit_ends_it() {
        const SIZE: u64 = 1 << 20;
        let read = |offset, length| Request::Read { offset, length };
        let table: &[(&[Request], &[u8], bool)] = &[
            (&[open(), read(0, 4096), Request::Sync, Request::Close], b"", true),
            (&[open()], b"", true),
            (
                &[
                    open(),
                    Request::Wipe {
                        offset: SIZE - SECTOR,
                        length: 512,
                    },
                ],
                b"",
                true,
            ),
            (&[read(0, 4096)], b"", false),
            (&[], b"", false),
            (&[open(), open()], b"", false),
            (&[open(), read(SIZE - 4096, 8192)], b"", false),
            (&[open(), read(u64::MAX - 511, 512)], b"", false),
            (&[open(), read(0, 0)], b"", false),
            (&[open(), read(1, 512)], b"", false),
            (&[open(), read(0, LARGEST + 512)], b"", false),
            (&[open(), Request::Write { offset: 0, length: 512 }], b"short", false),
            (&[open()], b"\x09nonsense......", false),
            (&[open()], b"\x05", false),
        ];
        for (requests, bytes, fine) in table {
            let fake = Fake::new(SIZE as usize);
            let (result, answers) = answers(&fake, requests, bytes);
            assert_eq!(result.is_ok(), *fine, "{requests:?} {answers:?}");
            assert!(fake.with(|state| state.written) <= 512);
        }
    }

    #[test]
    fn who_is_refused_is_told_why() {
        let mut input = Vec::new();
        open().send(&mut input).unwrap();
        let mut output = Vec::new();
        serve(&input[..], &mut output, |_| Err(Error::usage("it holds /"))).unwrap();
        assert_eq!(
            Answer::receive(&mut &output[..]).unwrap(),
            Answer::Refused(Error::usage("it holds /"))
        );
    }

    proptest! {
        #[test]
        fn any_input_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), kinds in proptest::collection::vec(0_u8..10, 0..8)) {
            let fake = Fake::new(1 << 16);
            let mut input = Vec::new();
            open().send(&mut input).unwrap();
            for kind in kinds {
                input.push(kind);
                input.extend_from_slice(&(u64::from(kind) * 512).to_le_bytes());
                input.extend_from_slice(&512_u32.to_le_bytes());
                input.extend_from_slice(&[kind; 512]);
            }
            input.extend_from_slice(&bytes);
            let _ = serve(&input[..], io::sink(), |_| Ok(fake.target()));
        }
    }
}
