//! What is done with a minion outside its states: a ping, a command, its grains, an undo.

use super::act::undo as undo_script;
use super::reach::Reach;
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::probe::{grains_section, parse_grains};
use crate::shell::{Answer, Section};
use crate::ssh::{Batch, Said, Session, Watch, lock_section};
use crate::yaml::Value;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A minion that answered.
#[derive(Clone, Debug)]
pub struct Pinged {
    /// Who the session is, after sudo.
    pub user: String,
    /// The minion's own name for itself.
    pub hostname: String,
    /// `PRETTY_NAME` of its os-release; empty where it has none.
    pub os: String,
    /// Milliseconds until the session stood and had answered once.
    pub connect_ms: f64,
    /// Milliseconds of one further round trip.
    pub round_trip_ms: f64,
}

async fn session(reach: &dyn Reach, minion: &Minion) -> Result<Session> {
    reach.session(minion, &mut |_| {}).await
}

async fn one(session: &mut Session, section: Section) -> Result<Answer> {
    watched(session, section, None).await
}

async fn watched(session: &mut Session, section: Section, watch: Option<Watch>) -> Result<Answer> {
    let batch = Batch { sections: vec![section] };
    let mut answers = session.run_watched(&batch, watch, &mut |_, _| {}).await?;
    answers.pop().ok_or_else(|| Error::unreachable("the minion gave no answer"))
}

/// Whether `minion` can be reached, as whom, and how fast.
pub async fn ping(reach: &dyn Reach, minion: &Minion) -> Result<Pinged> {
    let started = Instant::now();
    let mut session = session(reach, minion).await?;
    let who = "id -un; uname -n; PRETTY_NAME=; [ ! -r /etc/os-release ] || . /etc/os-release; printf '%s\\n' \"$PRETTY_NAME\"";
    let answer = one(&mut session, Section::new(who)).await?;
    let connect_ms = started.elapsed().as_secs_f64() * 1e3;
    let again = Instant::now();
    one(&mut session, Section::new(":")).await?;
    let round_trip_ms = again.elapsed().as_secs_f64() * 1e3;
    let text = answer.text();
    let mut lines = text.lines().map(str::to_owned);
    let mut line = || lines.next().unwrap_or_default();
    Ok(Pinged {
        user: line(),
        hostname: line(),
        os: line(),
        connect_ms,
        round_trip_ms,
    })
}

/// What a command of `picloud run` came to; `watch` is told what it prints as it prints it.
pub async fn command(reach: &dyn Reach, minion: &Minion, section: Section, watch: Option<Watch>) -> Result<Answer> {
    let mut session = session(reach, minion).await?;
    watched(&mut session, section, watch).await
}

/// The minion's grains, fresh from it.
pub async fn grains(reach: &dyn Reach, minion: &Minion) -> Result<Value> {
    let mut session = session(reach, minion).await?;
    let answer = one(&mut session, grains_section()).await?;
    parse_grains(&answer, minion.id.as_str())
}

/// What an undo did on a minion: its lines, and whether all of it worked. `None`: nothing of that run is kept there.
pub async fn undo(reach: &dyn Reach, minion: &Minion, run: &str, who: &str, test: bool) -> Result<Option<Answer>> {
    let mut session = session(reach, minion).await?;
    let mut batch = Batch {
        sections: vec![lock_section(who, "undo"), Section::new(undo_script(run, test))],
    };
    if test {
        batch.sections.remove(0);
    } else {
        batch.sections[1]
            .script
            .insert_str(0, "[ \"$picloud_last\" = 0 ] || exit 75\n");
    }
    let mut answers = session.run(&batch, &mut |_, _| {}).await?;
    let undone = answers.pop().unwrap_or_default();
    match undone.status {
        75 => Err(Error::unreachable(
            "the minion is locked by another run; try again when that has ended",
        )),
        3 => Ok(None),
        _ => Ok(Some(undone)),
    }
}

/// What is heard of a minion that something is done with.
pub enum News<T> {
    /// Something that it printed.
    Said(Said),
    /// The last news of it.
    Done(Result<T>),
}

/// How many pieces of output may wait for somebody to hear them; a minion that prints more has to wait.
const WAITING: usize = 64;

/// Does `work` with each of `minions`, all at once, and hands over all news as they come, with the minion's place. `work` may give
/// its [`Watch`] to the session.
pub async fn each<T: Send + 'static>(
    minions: &[Minion],
    reach: Arc<dyn Reach>,
    work: impl Fn(Minion, Arc<dyn Reach>, Watch) -> BoxFuture<'static, Result<T>>,
    mut heard: impl FnMut(usize, News<T>),
) {
    let (tell, mut news) = mpsc::channel(WAITING);
    // They end with this function.
    let mut tasks = JoinSet::new();
    for (place, minion) in minions.iter().enumerate() {
        let (tell, says) = (tell.clone(), tell.clone());
        let watch: Watch = Arc::new(move |said| {
            let says = says.clone();
            // Nobody hears it any more: then there is nobody to wait for either.
            Box::pin(async move { drop(says.send((place, News::Said(said))).await) })
        });
        let task = work(minion.clone(), reach.clone(), watch);
        tasks.spawn(async move { drop(tell.send((place, News::Done(task.await))).await) });
    }
    drop(tell);
    let mut waiting: BTreeSet<usize> = (0..minions.len()).collect();
    while let Some((place, news)) = news.recv().await {
        heard(
            place,
            match news {
                News::Done(result) => {
                    waiting.remove(&place);
                    News::Done(result.map_err(|error| error.minion(minions[place].id.as_str())))
                }
                said => said,
            },
        );
    }
    for place in waiting {
        let broke_off = Error::state("internal: the work on this minion broke off").minion(minions[place].id.as_str());
        heard(place, News::Done(Err(broke_off)));
    }
}
