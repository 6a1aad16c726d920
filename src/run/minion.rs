//! One minion's part of a run: reach it, observe it, compile its states, go through them.
//!
//! Its states are compiled with the grains of its last run while the connection is being made; its own grains ride along in the first
//! batch, and only where they differ is it all done again.

use super::compile::{Compiled, Land, Prepared};
use super::engine::{Engine, Manner, Progress, now_ms};
use super::event::{Event, MinionDone, Phase, StateOutcome};
use super::gate::{Gate, Standing};
use super::mask::Mask;
use super::reach::Reach;
use super::world::World;
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::probe::{Observed, Probe, fuse, grains_section, parse_grains, same_grains};
use crate::ssh::{BUSY, Batch, Holder, Session, lock_section};
use crate::yaml::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

/// How often templates may ask the minion further questions before that is taken for a loop.
const ASKS: usize = 16;

/// What all minions of a run share.
pub struct Shared {
    pub land: Land,
    pub reach: Box<dyn Reach>,
    pub manner: Manner,
    pub gate: Gate,
    /// `17-9f86d081`.
    pub run: String,
    /// Who runs it, for the lock: `ana@laptop`.
    pub who: String,
    pub events: UnboundedSender<Event>,
}

/// One minion's part.
pub struct Part<'a> {
    pub shared: &'a Shared,
    pub minion: &'a Minion,
    /// Its place among the run's minions.
    pub place: usize,
    /// Who may compile ahead of its connection.
    pub ahead: &'a Semaphore,
}

/// How many minions' states are compiled while their connections are being made. The others are compiled when they are connected,
/// so that what hundreds of minions wait with does not fill the memory.
pub const AHEAD: usize = 32;

impl Part<'_> {
    /// Goes through it all; whatever happens, the minion has one last event.
    pub async fn run(&self) {
        let started = now_ms();
        let mut done = match self.go().await {
            Ok(done) => done,
            Err(error) => MinionDone {
                error: Some(error.minion(self.minion.id.as_str())),
                ..MinionDone::default()
            },
        };
        if done.error.is_some() {
            self.shared.gate.failed(self.minion.id.as_str());
        }
        done.minion = self.minion.id.to_string();
        done.elapsed_ms = now_ms().saturating_sub(started);
        self.tell(Event::MinionDone(Box::new(done)));
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the run is being given up.
        let _ = self.shared.events.send(event);
    }

    fn phase(&self, phase: Phase) {
        self.tell(Event::Phase {
            minion: self.minion.id.to_string(),
            phase,
        });
    }

    fn stands(&self, standing: Standing) {
        self.shared.gate.stands(self.place, standing);
    }

    async fn go(&self) -> Result<MinionDone> {
        let shared = self.shared;
        self.phase(Phase::Connecting);
        let mut retrying = |phase| self.phase(phase);
        let connecting = shared.reach.session(self.minion, &mut retrying);
        let permit = self.ahead.try_acquire().ok();
        let foretelling = async {
            permit.as_ref()?;
            let (cached, compiled) = self.foretold().await?;
            if let Ok(Prepared::Ready(_)) = &compiled {
                self.stands(Standing::Foretold);
            }
            Some((cached, compiled))
        };
        let (session, foretold) = tokio::join!(unless(&shared.manner.stop, connecting), foretelling);
        let mut session = match session {
            Some(Ok(session)) => session,
            Some(Err(error)) => {
                self.stands(Standing::Settled);
                return Err(error);
            }
            None => {
                self.stands(Standing::Settled);
                return Ok(MinionDone {
                    stopped: Some("stopped by Ctrl-C before it was reached".to_owned()),
                    ..MinionDone::default()
                });
            }
        };
        self.stands(Standing::Answered);
        let foretold = match (foretold, &permit) {
            (None, None) => self.foretold().await,
            (foretold, _) => foretold,
        };
        let prepared = self.observe(&mut session, foretold).await;
        drop(permit);
        let (compiled, world) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let broken = error.kind() == crate::error::Kind::Usage;
                self.stands(if broken { Standing::Broken } else { Standing::Settled });
                return Err(error);
            }
        };
        self.stands(Standing::Settled);
        for warning in &compiled.warnings {
            self.tell(Event::Warning {
                minion: Some(self.minion.id.to_string()),
                text: warning.to_string(),
            });
        }

        let mut teller = Teller {
            part: self,
            mask: Mask::new(&compiled.secrets),
            failed: false,
        };
        let engine = Engine::new(
            &compiled.subject,
            &compiled.low,
            &compiled.items,
            &shared.manner,
            world,
            &mut teller,
        );
        let ended = engine.behind(&shared.gate).run(&mut session).await;
        if teller.failed {
            shared.gate.failed(self.minion.id.as_str());
        }
        let (execs, batches) = session.counts();
        Ok(MinionDone {
            error: ended.lost.map(|lost| lost.minion(self.minion.id.as_str())),
            states: compiled.low.chunks.len(),
            stopped: ended.stopped,
            execs,
            batches,
            ..MinionDone::default()
        })
    }

    /// The grains that it had when it was last seen, and what its states are with them.
    async fn foretold(&self) -> Option<(Value, Result<Prepared>)> {
        let cached = self.shared.land.cached_grains(self.minion)?;
        let compiled = self.compiled(&cached, &Observed::default()).await;
        Some((cached, compiled))
    }

    /// The first batch, and those that it makes necessary: grains, the lock, and all that the states must see.
    async fn observe(
        &self,
        session: &mut Session,
        foretold: Option<(Value, Result<Prepared>)>,
    ) -> Result<(Box<Compiled>, World)> {
        let shared = self.shared;
        self.phase(Phase::Probing);
        let mut observed = Observed::default();
        let mut world = World::default();
        let (mut cached, mut prepared) = match foretold {
            Some((cached, Ok(prepared))) => (Some(cached), Some(prepared)),
            _ => (None, None),
        };
        let mut locked = shared.manner.test;
        for round in 0.. {
            let probes = match &prepared {
                None => Vec::new(),
                Some(Prepared::Asks(probes)) => probes.clone(),
                Some(Prepared::Ready(compiled)) => open_probes(compiled, &world),
            };
            if round > 0 && probes.is_empty() {
                break;
            }
            if round > ASKS {
                return Err(
                    Error::usage("the templates ask the minion new questions each time they are rendered")
                        .hint("a `salt['cmd.run'](...)` whose command is different each time cannot be settled"),
                );
            }
            let mut batch = Batch::default();
            if round == 0 {
                batch.sections.push(grains_section());
            }
            if !locked {
                batch.sections.push(lock_section(&shared.who, &shared.run));
            }
            let own = batch.sections.len();
            let fused = fuse(probes);
            batch.sections.extend(fused.sections.iter().cloned());
            let answers = session.run(&batch, &mut |_, _| {}).await?;
            if !locked {
                self.check_lock(&answers[own - 1])?;
                locked = true;
            }
            let facts = fused.parse(&answers[own..])?;
            let ready = matches!(prepared, Some(Prepared::Ready(_)));
            if !ready {
                facts.iter().for_each(|(probe, fact)| observed.answer(probe, fact.clone()));
            }
            world.answer(facts);
            if round == 0 {
                let grains = parse_grains(&answers[0], self.minion.id.as_str())?;
                let same = cached.as_ref().is_some_and(|cached| same_grains(cached, &grains));
                if !same {
                    shared.land.keep_grains(self.minion, &grains)?;
                    prepared = None;
                }
                cached = Some(grains);
            }
            if !matches!(prepared, Some(Prepared::Ready(_))) {
                self.phase(Phase::Compiling);
                let grains = cached.clone().unwrap_or_else(Value::map);
                prepared = Some(self.compiled(&grains, &observed).await?);
            }
        }
        match prepared {
            Some(Prepared::Ready(compiled)) => Ok((compiled, world)),
            _ => Err(Error::usage("internal: the states were never compiled")),
        }
    }

    async fn compiled(&self, grains: &Value, observed: &Observed) -> Result<Prepared> {
        self.shared
            .land
            .compile(self.minion, grains, observed, &self.shared.run)
            .await
    }

    fn check_lock(&self, answer: &crate::shell::Answer) -> Result<()> {
        if answer.status == BUSY {
            let told = match Holder::of(answer) {
                Some(holder) => format!("{} is at it since {} ({})", holder.who, holder.since, holder.run),
                None => "another run is at it".to_owned(),
            };
            return Err(Error::unreachable(format!("the minion is locked: {told}"))
                .hint("wait for that run to end; the minion frees the lock by itself when its connection dies"));
        }
        if !answer.ok() {
            return Err(Error::unreachable(format!(
                "the minion's lock could not be taken: {}",
                answer.error_text().trim()
            ))
            .hint("is the minion's disk full, or mounted read-only?"));
        }
        Ok(())
    }
}

/// What `work` comes to; nothing where `stop` is set before that.
async fn unless<T>(stop: &AtomicBool, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(Duration::from_millis(100), &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if stop.load(Ordering::Relaxed) => return None,
            Err(_) => {}
        }
    }
}

/// What a compiled minion must see and has not yet.
fn open_probes(compiled: &Compiled, world: &World) -> Vec<Probe> {
    let all = compiled.items.iter().flat_map(|item| &item.probes);
    all.filter(|probe| !world.is_fresh(probe)).cloned().collect()
}

/// Passes on what the engine tells, without secrets.
struct Teller<'a> {
    part: &'a Part<'a>,
    mask: Mask,
    failed: bool,
}

impl Progress for Teller<'_> {
    fn state_done(&mut self, outcome: &StateOutcome) {
        self.failed |= outcome.result == Some(false);
        let mut event = Event::StateDone {
            minion: self.part.minion.id.to_string(),
            outcome: Box::new(outcome.clone()),
        };
        self.mask.event(&mut event);
        self.part.tell(event);
    }

    fn under_way(&mut self, done: usize, total: usize, current: &str) {
        self.part.phase(Phase::Running {
            done,
            total,
            current: self.mask.text(current).into_owned(),
        });
    }
}
