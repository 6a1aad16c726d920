//! The fan-out: all minions of a run side by side, their events in one stream.

use super::engine::now_ms;
use super::event::{Event, Listener, MinionDone, RunDone, RunStarted};
use super::minion::{AHEAD, Part, Shared};
use crate::error::Error;
use crate::inventory::Minion;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

/// Brings `minions` to their states. `events` is the other end of `shared.events`; `listener` hears them all, `RunStarted` first and
/// `RunDone` last, and of each minion one `MinionDone`.
pub async fn apply(
    shared: Shared,
    what: String,
    minions: Vec<Minion>,
    mut events: UnboundedReceiver<Event>,
    listener: &mut dyn Listener,
) {
    let started_ms = now_ms();
    let stop = shared.manner.stop.clone();
    let mut waiting: BTreeSet<String> = minions.iter().map(|minion| minion.id.to_string()).collect();
    listener.hear(&Event::RunStarted(RunStarted {
        run: shared.run.clone(),
        what,
        test: shared.manner.test,
        minions: minions.iter().map(|minion| minion.id.to_string()).collect(),
        at_ms: started_ms,
    }));
    let shared = Arc::new(shared);
    let ahead = Arc::new(Semaphore::new(AHEAD));
    let mut tasks = JoinSet::new();
    for (place, minion) in minions.into_iter().enumerate() {
        let (shared, ahead) = (shared.clone(), ahead.clone());
        tasks.spawn(async move {
            Part {
                shared: &shared,
                minion: &minion,
                place,
                ahead: &ahead,
            }
            .run()
            .await
        });
    }
    // The last task's end closes the stream.
    drop(shared);
    while let Some(event) = events.recv().await {
        if let Event::MinionDone(done) = &event {
            waiting.remove(&done.minion);
        }
        listener.hear(&event);
    }
    for minion in waiting {
        let error = Error::state("internal: the work on this minion broke off; please report what is said above").minion(&minion);
        listener.hear(&Event::MinionDone(Box::new(MinionDone {
            minion,
            error: Some(error),
            ..MinionDone::default()
        })));
    }
    let stopped = stop.load(Ordering::Relaxed).then(|| "stopped by Ctrl-C".to_owned());
    listener.hear(&Event::RunDone(RunDone {
        elapsed_ms: now_ms().saturating_sub(started_ms),
        stopped,
    }));
}
