//! What keeps a run from changing anything too early: nothing is changed on any minion before the states of all that answered have
//! compiled, and with `--batch` no more than so many minions at a time, none after one has failed.

use crate::error::{Error, Result};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// How long minions of which nothing is known at all are waited for, when nothing else is heard of any: one that is switched off
/// must not hold up the others until its connection times out.
const GRACE: Duration = Duration::from_secs(3);

/// Where a minion stands before anything is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing is known of it yet.
    Unknown,
    /// Its states compiled with the grains of its last run; it has not answered yet, and delays nobody.
    Foretold,
    /// It has answered; its states are being compiled with its own grains.
    Answered,
    /// Its states have compiled, or it is out of the run.
    Settled,
    /// Its states did not compile.
    Broken,
}

/// The gate of one run.
pub struct Gate {
    standings: Mutex<Vec<Standing>>,
    changed: Notify,
    /// Places for minions that change something at the same time.
    places: Semaphore,
    /// The first minion that failed, where that halts the others.
    halted: Mutex<Option<String>>,
    /// `--batch` was given: a failure halts the run.
    batched: bool,
    grace: Duration,
}

impl Gate {
    /// A gate for `minions` minions, of which at most `batch` change something at a time.
    pub fn new(minions: usize, batch: Option<usize>) -> Gate {
        Gate {
            standings: Mutex::new(vec![Standing::Unknown; minions]),
            changed: Notify::new(),
            places: Semaphore::new(batch.unwrap_or(minions).clamp(1, Semaphore::MAX_PERMITS)),
            halted: Mutex::default(),
            batched: batch.is_some_and(|batch| batch < minions),
            grace: GRACE,
        }
    }

    pub fn stands(&self, minion: usize, standing: Standing) {
        self.standings.lock().unwrap_or_else(|e| e.into_inner())[minion] = standing;
        self.changed.notify_waiters();
    }

    /// A minion has failed: with `--batch`, those that have not begun never will.
    pub fn failed(&self, minion: &str) {
        if self.batched {
            self.halted
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .get_or_insert_with(|| minion.to_owned());
        }
    }

    /// Waits until changes may be made. The place is given back when what is returned is dropped. True: there was a wait, and what
    /// was observed before it may be stale.
    ///
    /// # Errors
    /// Changes will never be allowed: some minion's states did not compile, or one failed in an earlier batch.
    pub async fn pass(&self) -> Result<(SemaphorePermit<'_>, bool)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change is missed in between.
            changed.as_mut().enable();
            match self.door() {
                Door::Open => break,
                Door::Closed => {
                    return Err(Error::usage(
                        "nothing was changed here, as the states of another minion did not compile",
                    ));
                }
                Door::Shut => changed.await,
                Door::Silent => {
                    if tokio::time::timeout(self.grace, changed).await.is_err() {
                        break;
                    }
                }
            }
        }
        let at_once = self.places.try_acquire().ok();
        let waited = at_once.is_none();
        let place = match at_once {
            Some(place) => place,
            None => self
                .places
                .acquire()
                .await
                .map_err(|_| Error::usage("the run was given up"))?,
        };
        match self.halted.lock().unwrap_or_else(|e| e.into_inner()).as_deref() {
            Some(minion) => Err(Error::usage(format!(
                "not begun, as {minion} failed before its turn came (--batch)"
            ))),
            None => Ok((place, waited)),
        }
    }

    fn door(&self) -> Door {
        let standings = self.standings.lock().unwrap_or_else(|e| e.into_inner());
        let any = |which: Standing| standings.contains(&which);
        match () {
            () if any(Standing::Broken) => Door::Closed,
            () if any(Standing::Answered) => Door::Shut,
            () if any(Standing::Unknown) => Door::Silent,
            () => Door::Open,
        }
    }
}

/// Whether changes may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    /// All have settled.
    Open,
    /// Some minion's states did not compile.
    Closed,
    /// Some have answered, and their states are being compiled.
    Shut,
    /// Some have not answered yet.
    Silent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_when_all_that_answered_have_compiled() {
        let gate = Gate::new(3, None);
        gate.stands(0, Standing::Settled);
        gate.stands(1, Standing::Foretold);
        assert_eq!(gate.door(), Door::Silent);
        gate.stands(2, Standing::Answered);
        assert_eq!(gate.door(), Door::Shut);
        gate.stands(2, Standing::Settled);
        assert_eq!(gate.door(), Door::Open);
        gate.stands(1, Standing::Broken);
        assert_eq!(gate.door(), Door::Closed);
    }

    #[tokio::test]
    async fn the_dead_are_not_waited_for_as_long_as_they_take() {
        let grace = Duration::from_millis(200);
        let gate = Gate {
            grace,
            ..Gate::new(3, None)
        };
        gate.stands(0, Standing::Settled);
        let began = std::time::Instant::now();
        let later = async {
            tokio::time::sleep(grace / 2).await;
            gate.stands(1, Standing::Settled);
        };
        let (passed, ()) = tokio::join!(gate.pass(), later);
        assert!(passed.is_ok());
        // As long after the last news.
        assert!(
            (grace * 3 / 2..grace * 10).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn a_failure_halts_the_batches_behind_it() {
        let gate = Gate::new(2, Some(1));
        (0..2).for_each(|n| gate.stands(n, Standing::Settled));
        let (first, waited) = gate.pass().await.unwrap();
        assert!(!waited);
        let second = gate.pass();
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        gate.failed("pi0");
        drop(first);
        assert_eq!(
            second.await.unwrap_err().to_string(),
            "not begun, as pi0 failed before its turn came (--batch)"
        );
    }
}
