//! The engine for one minion: goes through the low state in Salt's order, decides, and has done what must be.
//!
//! States are gathered into *waves*: as long as nothing that a state needs is still under way (a requisite without a result, an
//! observation that a change of this wave makes stale), it joins, and the wave's steps, their verification and the renewed
//! observations that the next states need go to the minion in one round trip.

use super::event::StateOutcome;
use super::gate::Gate;
use super::item::Item;
use super::plan::{Done, Plan, Ready, ready, targets};
use super::wave::{Kind, Pending};
use super::world::{Trust, World};
use crate::error::{Error, Result};
use crate::inventory::Nodegroups;
use crate::probe::{Probe, Resource, fuse};
use crate::sls::{Chunk, LowState, RequisiteKind};
use crate::ssh::{Batch, Session};
use crate::states::{Change, Context, Decision, Resolved};
use crate::tree::Tree;
use crate::yaml::Value;
use serde_json::Value as Json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::SemaphorePermit;

/// At most this many states change something in one round trip: Ctrl-C waits for no more than that. (See `is_broad` for what takes
/// its time.)
const WAVE: usize = 16;

/// What a minion is, as far as its states may know.
pub struct Subject {
    pub id: String,
    pub grains: Arc<Value>,
    pub pillar: Arc<Value>,
    pub resolved: Resolved,
    /// The run, as the minion keeps replaced files under.
    pub run: String,
    /// The groups that targets name, and the state tree: for conditions that ask by a function.
    pub groups: Arc<Nodegroups>,
    pub tree: Arc<Tree>,
}

impl Subject {
    /// What a state may know; `kept` is what the states that it requires manage.
    pub fn context<'a>(&'a self, kept: &'a [Resource]) -> Context<'a> {
        Context {
            minion: &self.id,
            grains: &self.grains,
            pillar: &self.pillar,
            resolved: &self.resolved,
            kept,
            run: &self.run,
        }
    }
}

/// How a run goes about it.
#[derive(Clone, Default)]
pub struct Manner {
    pub test: bool,
    /// Stop at the first state that fails.
    pub failhard: bool,
    /// Set by Ctrl-C: what is under way is finished, nothing further is begun.
    pub stop: Arc<AtomicBool>,
}

/// Hears each state's outcome as it comes, and what is under way.
pub trait Progress: Send {
    fn state_done(&mut self, outcome: &StateOutcome);
    fn under_way(&mut self, done: usize, total: usize, current: &str);
}

/// A run of one minion's low state.
pub struct Engine<'a> {
    pub(super) subject: &'a Subject,
    pub(super) low: &'a LowState,
    pub(super) items: &'a [Item],
    pub(super) manner: &'a Manner,
    pub(super) world: World,
    pub(super) outcomes: Vec<Option<StateOutcome>>,
    pub(super) progress: &'a mut dyn Progress,
    plan: Plan,
    /// For each chunk its place in the order of the run: `__run_num__`.
    places: Vec<usize>,
    /// How many of them have been told to `progress`.
    told: usize,
    /// What must be passed before anything is changed, and the place that it gave.
    pub(super) gate: Option<&'a Gate>,
    pub(super) place: Option<SemaphorePermit<'a>>,
    /// Steps so far: their numbers name what is kept for undo.
    pub(super) steps: usize,
}

/// How a run of a low state ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// In the order of the run.
    pub outcomes: Vec<StateOutcome>,
    /// Why not all states had their turn.
    pub stopped: Option<String>,
    /// The minion was lost on the way.
    pub lost: Option<Error>,
}

/// What becomes of a chunk when its turn comes.
enum Turn {
    Settled(StateOutcome),
    Changes(Pending),
    /// Something that it needs is not known yet, or still under way.
    Blocked,
}

impl<'a> Engine<'a> {
    /// `world` holds what has been observed so far. `items` stand beside `low.chunks`.
    pub fn new(
        subject: &'a Subject,
        low: &'a LowState,
        items: &'a [Item],
        manner: &'a Manner,
        world: World,
        progress: &'a mut dyn Progress,
    ) -> Engine<'a> {
        let outcomes = low.chunks.iter().map(|_| None).collect();
        let plan = Plan::of(low);
        let mut places = vec![0; low.chunks.len()];
        plan.order.iter().enumerate().for_each(|(place, n)| places[*n] = place);
        Engine {
            subject,
            low,
            items,
            manner,
            world,
            outcomes,
            progress,
            plan,
            places,
            told: 0,
            gate: None,
            place: None,
            steps: 0,
        }
    }

    /// The same, but nothing is changed before `gate` has been passed.
    pub fn behind(self, gate: &'a Gate) -> Engine<'a> {
        Engine {
            gate: Some(gate),
            ..self
        }
    }

    /// Goes through the low state.
    pub async fn run(mut self, session: &mut Session) -> Ended {
        let mut ended = Ended::default();
        match self.go(session).await {
            Ok(stopped) => ended.stopped = stopped,
            Err(lost) => ended.lost = Some(lost),
        }
        let order = std::mem::take(&mut self.plan.order);
        self.announce(&order);
        ended.outcomes = self.outcomes.into_iter().flatten().collect();
        ended.outcomes.sort_by_key(|outcome| outcome.run_num);
        ended
    }

    async fn go(&mut self, session: &mut Session) -> Result<Option<String>> {
        let order = self.plan.order.clone();
        let mut at = 0;
        let mut probed_for = usize::MAX;
        while at < order.len() {
            if self.manner.stop.load(Ordering::Relaxed) {
                return Ok(Some(format!("stopped by Ctrl-C before {}", self.title(order[at]))));
            }
            let mut wave: Vec<Pending> = Vec::new();
            let mut wants_place = false;
            while at < order.len() && wave.len() < WAVE {
                let n = order[at];
                // What may take its time ends the wave: Ctrl-C begins nothing behind it.
                if wave
                    .last()
                    .is_some_and(|last| is_broad(&last.writes) && !self.low.chunks[n].parallel)
                {
                    break;
                }
                match self.turn(n, &wave) {
                    Turn::Blocked => break,
                    Turn::Settled(_) | Turn::Changes(_) if self.is_alone(n) && !wave.is_empty() => break,
                    Turn::Settled(outcome) => self.outcomes[n] = Some(outcome),
                    Turn::Changes(pending) if self.manner.test => self.outcomes[n] = Some(self.pretend(pending)),
                    Turn::Changes(_) if self.place.is_none() && self.gate.is_some() => {
                        wants_place = true;
                        break;
                    }
                    Turn::Changes(pending) => wave.push(pending),
                }
                at += 1;
                if self.is_alone(n) {
                    break;
                }
            }
            let ran = wave.len();
            if ran > 0 {
                self.carry_out(session, wave, &order[at..]).await?;
            }
            if let Some(n) = at.checked_sub(1).map(|last| order[last]) {
                self.retry(session, n).await?;
                if let Some(stopped) = self.announce(&order[..at]) {
                    return Ok(Some(stopped));
                }
            }
            if wants_place && ran == 0 {
                match self.pass().await {
                    Ok(true) => probed_for = usize::MAX,
                    Ok(false) => {}
                    Err(closed) => return Ok(Some(closed.to_string())),
                }
            } else if ran == 0 && at < order.len() && !self.is_settled(order[at]) {
                // Blocked for want of observations; a second time for the same chunk would never end.
                if probed_for == at {
                    let comment = "internal: what this state needs to see was not answered".to_owned();
                    self.outcomes[order[at]] = Some(self.outcome(order[at], Some(false), comment));
                    continue;
                }
                probed_for = at;
                let probes = self.ahead(&order[at..], &[]);
                if !probes.is_empty() {
                    self.probe(session, probes).await?;
                }
            }
        }
        self.listeners(session, &order).await?;
        Ok(None)
    }

    /// Passes the gate. True: there was a wait, and everything has to be looked at again.
    async fn pass(&mut self) -> Result<bool> {
        let Some(gate) = self.gate else { return Ok(false) };
        let (place, waited) = gate.pass().await?;
        self.place = Some(place);
        if waited {
            self.world.wrote(&[Resource::Everything]);
        }
        Ok(waited)
    }

    fn is_settled(&self, n: usize) -> bool {
        self.outcomes[n].is_some()
    }

    /// Tells the outcomes that are new, in the order of the run. A reason to stop where one of them fails hard.
    fn announce(&mut self, order: &[usize]) -> Option<String> {
        let mut stopped = None;
        for n in &order[self.told..] {
            let Some(outcome) = &self.outcomes[*n] else { break };
            self.progress.state_done(outcome);
            self.told += 1;
            let hard = (self.manner.failhard || self.low.chunks[*n].failhard) && !self.manner.test;
            if hard && outcome.result == Some(false) {
                stopped.get_or_insert_with(|| format!("stopped as {} failed (failhard)", self.title(*n)));
            }
        }
        stopped
    }

    pub(super) fn context(&self, n: usize) -> Context<'a> {
        self.subject.context(&self.items[n].kept)
    }

    fn title(&self, n: usize) -> String {
        let chunk = &self.low.chunks[n];
        format!("{} {}", chunk.function(), chunk.name)
    }

    /// An outcome of chunk `n`.
    pub(super) fn outcome(&self, n: usize, result: Option<bool>, comment: String) -> StateOutcome {
        describe(&self.low.chunks[n], self.places[n], result, comment)
    }

    fn done(&self, n: usize) -> Option<Done> {
        self.outcomes[n].as_ref().map(|outcome| Done {
            result: outcome.result,
            changed: !outcome.changes.is_empty(),
        })
    }

    /// States that must not share a wave: what follows depends on how they end.
    fn is_alone(&self, n: usize) -> bool {
        let chunk = &self.low.chunks[n];
        self.manner.failhard || chunk.failhard || chunk.retry.is_some()
    }

    /// What is needed to go on with `rest`, as far as the next state that will probably change much: the observations behind that
    /// would be stale again before they are used. `pending` are probes that are wanted anyway.
    pub(super) fn ahead(&self, rest: &[usize], pending: &[Probe]) -> Vec<Probe> {
        let mut probes = pending.to_vec();
        for n in rest {
            let (item, context) = (&self.items[*n], self.context(*n));
            probes.extend(item.probes.iter().filter(|probe| !self.world.is_fresh(probe)).cloned());
            let broad = is_broad(&item.state.writes(&context));
            let skipped = || matches!(item.skipped(&self.world.observed), Ok(Some(_)));
            let holds = || matches!(item.decide(&self.world.observed, &context), Ok(Decision::Holds(_)));
            if broad && !skipped() && !holds() {
                break;
            }
        }
        probes
    }

    /// Asks `probes` in one batch.
    pub(super) async fn probe(&mut self, session: &mut Session, probes: Vec<Probe>) -> Result<()> {
        let fused = fuse(probes);
        let answers = session
            .run(
                &Batch {
                    sections: fused.sections.clone(),
                },
                &mut |_, _| {},
            )
            .await?;
        self.world.answer(fused.parse(&answers)?);
        Ok(())
    }

    /// Whether what a chunk needs is known, and no state of `wave` is about to change it.
    fn is_known(&self, probes: &[Probe], wave: &[Pending]) -> bool {
        probes.iter().all(|probe| {
            self.world.is_fresh(probe)
                && !probe.reads().iter().any(|read| {
                    wave.iter()
                        .flat_map(|pending| &pending.writes)
                        .any(|written| written.meets(read))
                })
        })
    }

    fn turn(&mut self, n: usize, wave: &[Pending]) -> Turn {
        // The targets of a `prereq` are tried first.
        let chunk = &self.low.chunks[n];
        let mut trials = Vec::new();
        for target in targets(chunk, RequisiteKind::Prereq) {
            if !self.is_known(&self.items[target].probes, wave) {
                return Turn::Blocked;
            }
            trials.push((target, self.trial(target)));
        }
        let tested = |target: usize| trials.iter().find(|(n, _)| *n == target).map(|(_, done)| *done);
        let watched = match ready(self.low, &self.plan, n, &|other| self.done(other), &tested) {
            Ready::Waits if wave.is_empty() => {
                return Turn::Settled(self.outcome(
                    n,
                    Some(false),
                    "a state that this one refers to never had its turn".to_owned(),
                ));
            }
            Ready::Waits => return Turn::Blocked,
            Ready::Fail(comment) => {
                return Turn::Settled(StateOutcome {
                    ran: false,
                    ..self.outcome(n, Some(false), comment)
                });
            }
            Ready::Skip(comment) => return Turn::Settled(self.not_run(n, comment)),
            Ready::Run { watched } => watched,
        };
        if !self.is_known(&self.items[n].probes, wave) {
            return Turn::Blocked;
        }
        let items = self.items;
        match items[n].skipped(&self.world.observed) {
            Ok(None) => {}
            Ok(Some(comment)) => return Turn::Settled(self.not_run(n, comment)),
            Err(error) => return self.fault(n, &error),
        }
        let decision = items[n].decide(&self.world.observed, &self.context(n));
        self.weigh(n, decision, watched)
    }

    /// What a decision means for chunk `n`.
    fn weigh(&mut self, n: usize, decision: Result<Decision>, watched: bool) -> Turn {
        let item = &self.items[n];
        let context = self.context(n);
        match decision {
            Err(error) => self.fault(n, &error),
            Ok(Decision::Fails(why)) => self.fails(n, why),
            Ok(Decision::Change(change)) => Turn::Changes(self.pending(n, change, Kind::Own)),
            Ok(Decision::Holds(comment)) => {
                if watched {
                    match item.state.watched(&self.world.observed, &context) {
                        Ok(None | Some(Decision::Holds(_))) => {}
                        Ok(Some(Decision::Change(change))) => return Turn::Changes(self.pending(n, change, Kind::Watch)),
                        Ok(Some(Decision::Fails(why))) => return self.fails(n, why),
                        Err(error) => return self.fault(n, &error),
                    }
                }
                match item.failed_check(&self.world.observed) {
                    Ok(None) => {}
                    Ok(Some(why)) if !self.manner.test => return self.fails(n, why),
                    Ok(Some(_)) => {}
                    Err(error) => return self.fault(n, &error),
                }
                if self.manner.test && self.world.trust(&item.probes) == Trust::Unknown {
                    return Turn::Settled(self.may_change(n, comment));
                }
                Turn::Settled(self.outcome(n, Some(true), comment))
            }
        }
    }

    fn not_run(&mut self, n: usize, comment: String) -> StateOutcome {
        StateOutcome {
            ran: false,
            ..self.outcome(n, Some(true), comment)
        }
    }

    /// Something that keeps the state from being decided on.
    fn fault(&mut self, n: usize, error: &Error) -> Turn {
        let mut comment = error
            .diagnostics()
            .iter()
            .map(|d| d.message.as_str())
            .collect::<Vec<_>>()
            .join("\n");
        for hint in error.diagnostics().iter().flat_map(|d| &d.hints) {
            comment += &format!("\nhint: {hint}");
        }
        self.fails(n, comment)
    }

    fn fails(&mut self, n: usize, why: String) -> Turn {
        if self.manner.test && self.world.trust(&self.items[n].probes) > Trust::Known {
            return Turn::Settled(self.may_change(
                n,
                format!("cannot be told before the states above have changed what it needs: {why}"),
            ));
        }
        let mut comment = why;
        if let (true, Some(retry)) = (self.manner.test, self.low.chunks[n].retry) {
            comment += &format!(
                "\nThe state would be retried every {} seconds (with a splay of up to {} seconds) a maximum of {} times or until a result of {} is returned",
                retry.interval,
                retry.splay,
                retry.attempts,
                if retry.until { "True" } else { "False" }
            );
        }
        Turn::Settled(self.outcome(n, Some(false), comment))
    }

    fn may_change(&mut self, n: usize, comment: String) -> StateOutcome {
        StateOutcome {
            may_change: true,
            ..self.outcome(n, None, format!("may change: {comment}"))
        }
    }

    fn pending(&self, n: usize, change: Change, kind: Kind) -> Pending {
        let context = self.context(n);
        let writes = change.writes.clone().unwrap_or_else(|| self.items[n].state.writes(&context));
        Pending { n, change, kind, writes }
    }

    /// What a dry run of `n` shows now.
    fn trial(&self, n: usize) -> Done {
        let (item, context) = (&self.items[n], self.context(n));
        if !matches!(item.skipped(&self.world.observed), Ok(None)) {
            return Done {
                result: Some(true),
                changed: false,
            };
        }
        match item.decide(&self.world.observed, &context) {
            Ok(Decision::Holds(_)) => Done {
                result: Some(true),
                changed: false,
            },
            Ok(Decision::Change(change)) => Done {
                result: None,
                changed: !change.changes.is_empty(),
            },
            Ok(Decision::Fails(_)) | Err(_) => Done {
                result: Some(false),
                changed: false,
            },
        }
    }

    /// A change in a dry run: as if it had been made.
    fn pretend(&mut self, pending: Pending) -> StateOutcome {
        let Pending { n, change, writes, .. } = pending;
        if change.only_said
            && let Ok(said) = self.items[n]
                .state
                .conclude(&change, &[], &self.world.observed, &self.context(n))
        {
            let mut outcome = self.outcome(n, Some(said.ok), said.comment);
            outcome.changes = said.changes;
            return outcome;
        }
        self.world.pretend(&writes, &change.predicts);
        let mut outcome = self.outcome(n, None, change.would);
        outcome.changes = change.changes;
        outcome.diffs = change.diffs;
        outcome.secret = change.secret;
        outcome
    }

    fn wants_retry(&self, n: usize, result: Option<bool>) -> bool {
        let retry = self.low.chunks[n].retry;
        !self.manner.test && retry.is_some_and(|retry| retry.attempts > 1 && result != Some(retry.until))
    }

    /// Tries chunk `n` again, as often as its `retry` says.
    async fn retry(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let Some(retry) = self.low.chunks[n].retry else {
            return Ok(());
        };
        let mut comments = Vec::new();
        for attempt in 1..retry.attempts {
            let Some(last) = self.outcomes[n].clone().filter(|last| self.wants_retry(n, last.result)) else {
                break;
            };
            if self.manner.stop.load(Ordering::Relaxed) {
                break;
            }
            comments.push(format!(
                "Attempt {attempt}: Returned a result of \"{}\", with the following comment: \"{}\"",
                if last.result == Some(true) { "True" } else { "False" },
                last.comment
            ));
            let pause = (retry.interval + retry.splay / 2.0).clamp(0.0, 86_400.0);
            tokio::time::sleep(std::time::Duration::from_secs_f64(pause)).await;
            let started = Instant::now();
            self.probe(session, self.items[n].probes.clone()).await?;
            self.outcomes[n] = None;
            match self.turn(n, &[]) {
                Turn::Settled(outcome) => self.outcomes[n] = Some(outcome),
                Turn::Changes(pending) => self.carry_out(session, vec![pending], &[]).await?,
                Turn::Blocked => {}
            }
            let mut outcome = self.outcomes[n].take().unwrap_or_else(|| last.clone());
            outcome.started_ms = last.started_ms;
            outcome.duration_ms = last.duration_ms + started.elapsed().as_secs_f64() * 1e3;
            self.outcomes[n] = Some(outcome);
        }
        if let (Some(outcome), false) = (&mut self.outcomes[n], comments.is_empty()) {
            comments.push(std::mem::take(&mut outcome.comment));
            outcome.comment = comments.join("\n");
        }
        Ok(())
    }

    /// After the run: each listener whose targets changed is told once.
    async fn listeners(&mut self, session: &mut Session, order: &[usize]) -> Result<()> {
        for n in order.iter().copied() {
            let changed = targets(&self.low.chunks[n], RequisiteKind::Listen).any(|target| {
                self.done(target)
                    .is_some_and(|done| done.changed && done.result != Some(false))
            });
            if !changed || self.manner.stop.load(Ordering::Relaxed) {
                continue;
            }
            let stale: Vec<Probe> = self.items[n]
                .probes
                .iter()
                .filter(|probe| !self.world.is_fresh(probe))
                .cloned()
                .collect();
            if !stale.is_empty() && !self.manner.test {
                self.probe(session, stale).await?;
            }
            let watched = self.items[n].state.watched(&self.world.observed, &self.context(n));
            let kept = self.outcomes[n].take();
            let outcome = match watched {
                Ok(Some(Decision::Change(change))) => {
                    let pending = self.pending(n, change, Kind::Watch);
                    if self.manner.test {
                        self.pretend(pending)
                    } else {
                        self.carry_out(session, vec![pending], &[]).await?;
                        self.outcomes[n].take().unwrap_or_default()
                    }
                }
                Ok(Some(Decision::Fails(why))) => self.outcome(n, Some(false), why),
                Ok(Some(Decision::Holds(comment))) => self.outcome(n, Some(true), comment),
                Ok(None) => {
                    let message = format!(
                        "{} cannot listen: its module has no `mod_watch`",
                        self.low.chunks[n].function()
                    );
                    self.outcome(n, Some(false), message)
                }
                Err(error) => self.outcome(n, Some(false), error.to_string()),
            };
            self.outcomes[n] = kept;
            let run_num = self.outcomes.len();
            let outcome = StateOutcome {
                run_num,
                ..as_listener(outcome, &self.low.chunks[n])
            };
            self.progress.state_done(&outcome);
            self.outcomes.push(Some(outcome));
        }
        self.unheard(order);
        Ok(())
    }

    /// A `listen` that names nothing fails by itself, at the end, as Salt has it; the state that has it is not touched by that.
    fn unheard(&mut self, order: &[usize]) {
        for n in order {
            let chunk = &self.low.chunks[*n];
            let listens = chunk
                .requisites
                .iter()
                .filter(|requisite| requisite.kind == RequisiteKind::Listen);
            for reference in listens
                .flat_map(|requisite| &requisite.references)
                .filter(|it| it.targets.is_empty())
            {
                let (id, name) = (
                    format!("listen_{}", reference.pattern),
                    format!("listen_{}", reference.module),
                );
                let comment = format!("Referenced state {}: {} does not exist", reference.module, reference.pattern);
                let outcome = StateOutcome {
                    tag: format!("Listen_Error_|-{id}_|-{name}_|-Listen_Error"),
                    id,
                    name,
                    function: "listen".to_owned(),
                    at: if reference.at.is_known() {
                        reference.at.to_string()
                    } else {
                        String::new()
                    },
                    ..describe(chunk, self.outcomes.len(), Some(false), comment)
                };
                self.progress.state_done(&outcome);
                self.outcomes.push(Some(outcome));
            }
        }
    }
}

/// A listener's outcome under the tag that Salt gives it.
fn as_listener(outcome: StateOutcome, chunk: &Chunk) -> StateOutcome {
    let id = format!("listener_{}", chunk.id);
    let tag = format!("{}_|-{id}_|-{}_|-mod_watch", chunk.state, chunk.name);
    StateOutcome {
        tag,
        id,
        function: format!("{}.mod_watch", chunk.state),
        ..outcome
    }
}

/// Commands and packages: they may take their time, and little of what was observed before them can be trusted after them.
fn is_broad(writes: &[Resource]) -> bool {
    let broad = |written: &Resource| matches!(written, Resource::Everything | Resource::Packages);
    writes.iter().any(broad)
}

/// An outcome of `chunk`, begun and ended now.
pub(super) fn describe(chunk: &Chunk, run_num: usize, result: Option<bool>, comment: String) -> StateOutcome {
    StateOutcome {
        tag: chunk.tag(),
        id: chunk.id.clone(),
        name: chunk.name.clone(),
        function: chunk.function(),
        sls: chunk.sls.clone(),
        at: if chunk.at.is_known() {
            chunk.at.to_string()
        } else {
            String::new()
        },
        run_num,
        result,
        ran: true,
        comment,
        started_ms: now_ms(),
        ..StateOutcome::default()
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Changes that must not be shown.
pub(super) fn hidden() -> serde_json::Map<String, Json> {
    let mut map = serde_json::Map::new();
    map.insert("changes".to_owned(), Json::String(super::mask::STARS.to_owned()));
    map
}
