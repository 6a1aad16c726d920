//! A target that is watched: a request that takes long is told of while it is under way, as a card that stalls says nothing itself.

use super::target::{Fault, Target};
use crate::flash::event::{Event, Listener};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the request under way began, and how often it was told of.
#[derive(Default)]
pub(super) struct Watch(Mutex<Option<(Instant, u32)>>);

impl Watch {
    fn set(&self, now: Option<(Instant, u32)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// For how many seconds the request has been under way, each time that another `stall` is over.
    fn due(&self, stall: Duration) -> Option<u64> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, told) = under_way.as_mut()?;
        let passed = since.elapsed();
        if passed < stall * (*told + 1) {
            return None;
        }
        *told += 1;
        Some(passed.as_secs())
    }
}

/// What ends the watchman.
#[derive(Default)]
pub(super) struct Shift {
    over: Mutex<bool>,
    bell: Condvar,
}

impl Shift {
    pub(super) fn end(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Looks at `watches` until the shift ends.
    pub(super) fn keep(&self, watches: &[(String, Arc<Watch>)], stall: Duration, listener: &dyn Listener) {
        let round = (stall / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            over = self.bell.wait_timeout(over, round).unwrap_or_else(PoisonError::into_inner).0;
            for (card, watch) in watches {
                if let Some(seconds) = watch.due(stall) {
                    listener.hear(&Event::Stalled {
                        card: card.clone(),
                        seconds,
                    });
                }
            }
        }
    }
}

/// Tells the listener what the target notes, and the watchman what is under way.
pub(super) struct Watched<'a> {
    target: Box<dyn Target>,
    watch: Arc<Watch>,
    name: String,
    listener: &'a dyn Listener,
    /// Bytes and time of the requests.
    pub(super) wrote: (u64, Duration),
    pub(super) read: (u64, Duration),
}

impl<'a> Watched<'a> {
    pub(super) fn new(target: Box<dyn Target>, name: &str, watch: Arc<Watch>, listener: &'a dyn Listener) -> Watched<'a> {
        Watched {
            target,
            watch,
            name: name.to_owned(),
            listener,
            wrote: (0, Duration::ZERO),
            read: (0, Duration::ZERO),
        }
    }

    fn around<T>(&mut self, request: impl FnOnce(&mut dyn Target) -> Result<T, Fault>) -> Result<(T, Duration), Fault> {
        let since = Instant::now();
        self.watch.set(Some((since, 0)));
        let done = request(&mut *self.target);
        self.watch.set(None);
        for message in self.target.notes() {
            self.listener.hear(&Event::Warning {
                card: Some(self.name.clone()),
                message,
            });
        }
        Ok((done?, since.elapsed()))
    }

    pub(super) fn finish(self) -> crate::error::Result<()> {
        self.target.close()
    }
}

impl Target for Watched<'_> {
    fn capacity(&self) -> Option<u64> {
        self.target.capacity()
    }

    fn is_blank(&self) -> bool {
        self.target.is_blank()
    }

    fn is_direct(&self) -> bool {
        self.target.is_direct()
    }

    fn write(&mut self, offset: u64, pieces: &[&[u8]]) -> Result<(), Fault> {
        let ((), took) = self.around(|target| target.write(offset, pieces))?;
        self.wrote.0 += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.wrote.1 += took;
        Ok(())
    }

    fn pending(&self) -> u64 {
        self.target.pending()
    }

    fn expect(&mut self, offset: u64, length: usize) {
        self.target.expect(offset, length);
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let length = into.len() as u64;
        let ((), took) = self.around(|target| target.read(offset, into))?;
        self.read.0 += length;
        self.read.1 += took;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let ((), took) = self.around(|target| target.sync())?;
        self.wrote.1 += took;
        Ok(())
    }

    fn fit(&mut self, length: u64) -> Result<(), Fault> {
        self.around(|target| target.fit(length)).map(|_| ())
    }

    fn reread_table(&mut self) -> Result<(), Fault> {
        self.around(|target| target.reread_table()).map(|_| ())
    }

    fn eject(&mut self) {
        self.target.eject();
    }

    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> crate::error::Result<()> {
        self.finish()
    }
}
