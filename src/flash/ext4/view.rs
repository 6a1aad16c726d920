//! `ext4-view` on [`Blocks`], with an eye on what it reads.

use super::Trouble;
use crate::flash::blocks::{Blocks, Part};
use ext4_view::{Ext4, Ext4Error, Ext4Read};
use std::error::Error;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A range that is wanted: where, and how long; in bytes.
type Request = (u64, usize);
type Answer = io::Result<Vec<u8>>;

/// What `ext4-view` reads from: it wants to own its reader for ever, and the blocks are only lent. So it asks another thread.
struct Reader {
    requests: SyncSender<Request>,
    answers: Receiver<Answer>,
}

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.requests.send((start, into.len()))?;
        into.copy_from_slice(&self.answers.recv()??);
        Ok(())
    }
}

/// Does `work` with the file system in `part`; `seen` is given each range that it reads.
pub(super) fn view<T: Send>(
    part: &mut Part,
    mut seen: impl FnMut(u64, &[u8]) -> io::Result<()>,
    work: impl FnOnce(&Ext4) -> Result<T, Ext4Error> + Send,
) -> Result<T, Trouble> {
    let (requests, wanted) = sync_channel(0);
    let (give, answers) = sync_channel(1);
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let fs = Ext4::load(Box::new(Reader { requests, answers }))?;
            work(&fs)
        });
        // Ends when the worker has dropped its reader.
        for (start, length) in wanted {
            let mut bytes = vec![0; length];
            let answer = part
                .read_at(start, &mut bytes)
                .and_then(|()| seen(start, &bytes))
                .map(|()| bytes);
            if give.send(answer).is_err() {
                break;
            }
        }
        match worker.join() {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
