//! Something that is done with every minion outside its states, side by side, with bars meanwhile.

use super::app::App;
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::report::Bars;
use crate::run::{self, Event, Listener, MinionDone, News, Phase, Reach, RunDone, RunStarted, Watch};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Instant;

/// Does `work` with each of `minions`; `heard` is told of each result as it comes, before the bars are gone.
///
/// # Errors
/// The runtime cannot be started: what goes wrong with a minion is its result.
pub fn each<T: Send + 'static>(
    app: &App,
    minions: &[Minion],
    reach: Arc<dyn Reach>,
    work: impl Fn(Minion, Arc<dyn Reach>) -> BoxFuture<'static, Result<T>>,
    mut heard: impl FnMut(&Minion, &Result<T>),
) -> Result<Vec<Result<T>>> {
    let work = move |minion: Minion, reach: Arc<dyn Reach>, _: Watch| work(minion, reach);
    each_watched(app, minions, reach, work, |minion, news| match news {
        News::Said(_) => {}
        News::Done(result) => heard(minion, result),
    })
}

/// As [`each`]; `heard` is also told what is printed meanwhile, by those that `work` lets watch.
///
/// # Errors
/// As [`each`].
pub fn each_watched<T: Send + 'static>(
    app: &App,
    minions: &[Minion],
    reach: Arc<dyn Reach>,
    work: impl Fn(Minion, Arc<dyn Reach>, Watch) -> BoxFuture<'static, Result<T>>,
    mut heard: impl FnMut(&Minion, &News<T>),
) -> Result<Vec<Result<T>>> {
    let mut bars: Option<Bars> = app.bars();
    let mut tell = |event: Event| bars.iter_mut().for_each(|bars| bars.hear(&event));
    let started = Instant::now();
    let ids = minions.iter().map(|minion| minion.id.to_string());
    tell(Event::RunStarted(RunStarted {
        minions: ids.clone().collect(),
        ..RunStarted::default()
    }));
    ids.for_each(|minion| {
        tell(Event::Phase {
            minion,
            phase: Phase::Connecting,
        })
    });
    let mut results: Vec<Option<Result<T>>> = minions.iter().map(|_| None).collect();
    app.block_on(run::each(minions, reach, work, |place, news| {
        let minion = minions[place].id.to_string();
        heard(&minions[place], &news);
        let News::Done(result) = news else { return };
        tell(Event::MinionDone(Box::new(MinionDone {
            minion,
            error: result.as_ref().err().cloned(),
            ..MinionDone::default()
        })));
        results[place] = Some(result);
    }))?;
    tell(Event::RunDone(RunDone {
        elapsed_ms: started.elapsed().as_millis() as u64,
        stopped: None,
    }));
    let lost = || Err(Error::state("internal: a minion was forgotten"));
    Ok(results.into_iter().map(|result| result.unwrap_or_else(lost)).collect())
}

/// The errors among `results`, joined.
pub fn errors<T>(results: &[Result<T>]) -> Option<Error> {
    Error::all(results.iter().filter_map(|result| result.as_ref().err().cloned()))
}
