//! Carrying out a wave: its steps, their verification and what the next states need to see, in one round trip.

use super::act::{NOT_BEGUN, Staged, stage};
use super::engine::{Engine, hidden, now_ms};
use super::event::StateOutcome;
use crate::error::{self, Result};
use crate::probe::{Probe, Resource, fuse};
use crate::shell::{Answer, Section, quote};
use crate::ssh::{Batch, Session};
use crate::states::{Change, Conclusion};
use std::time::Instant;

/// A state that is to change something.
pub struct Pending {
    /// The chunk.
    pub n: usize,
    pub change: Change,
    pub kind: Kind,
    pub writes: Vec<Resource>,
}

/// Whose change it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The state's own.
    Own,
    /// Salt's `mod_watch`: something that it watches has changed.
    Watch,
}

/// The sections of a batch that carry out a wave, and whose they are.
#[derive(Default)]
struct Laid {
    sections: Vec<Section>,
    /// For each section, the place in the wave of the state that it belongs to; `None`: the engine's own.
    owner: Vec<Option<usize>>,
}

impl Laid {
    fn push(&mut self, owner: Option<usize>, section: Section) {
        self.sections.push(section);
        self.owner.push(owner);
    }
}

impl Engine<'_> {
    /// Carries out `wave` and records its outcomes; looks ahead for what `rest`, the chunks behind it, will need.
    ///
    /// # Errors
    /// The minion was lost. What was under way then is recorded as failed, since nobody knows how it ended.
    pub(super) async fn carry_out(&mut self, session: &mut Session, wave: Vec<Pending>, rest: &[usize]) -> Result<()> {
        let done = self.outcomes.iter().flatten().count();
        let first = &self.low.chunks[wave[0].n];
        self.progress
            .under_way(done, self.low.chunks.len(), &format!("{} {}", first.function(), first.name));

        let mut staged: Vec<Vec<Staged>> = Vec::new();
        for pending in &wave {
            let mut steps = Vec::new();
            for (place, step) in pending.change.steps.iter().enumerate() {
                self.steps += 1;
                steps.push(stage(step, &self.subject.run, self.steps, place > 0));
            }
            staged.push(steps);
        }
        let started_ms = now_ms();
        let started = Instant::now();
        let upload_errors = match upload(session, &staged).await {
            Ok(errors) => errors,
            Err(lost) => {
                self.lost(&wave, &format!("the minion was lost before this was begun: {lost}"));
                return Err(lost);
            }
        };
        let laid = self.lay(&wave, &staged);

        let writes: Vec<Resource> = wave.iter().flat_map(|pending| pending.writes.iter().cloned()).collect();
        self.world.wrote(&writes);
        let mut verify: Vec<Probe> = Vec::new();
        for pending in &wave {
            verify.extend(self.items[pending.n].probes.iter().cloned());
        }
        let fused = fuse(self.ahead(rest, &verify));
        let steps = laid.sections.len();
        let sections = laid.sections.iter().chain(&fused.sections).cloned().collect();

        let mut ended: Vec<Option<Instant>> = vec![None; wave.len()];
        let mut heard = |n: usize, _: &Answer| {
            if let Some(Some(place)) = laid.owner.get(n) {
                ended[*place] = Some(Instant::now());
            }
        };
        let answers = match session.run(&Batch { sections }, &mut heard).await {
            Ok(answers) => answers,
            Err(lost) => {
                let comment = format!("the minion was lost while this was under way, so how it ended is not known: {lost}");
                self.lost(&wave, &comment);
                return Err(lost);
            }
        };
        self.world.answer(fused.parse(&answers[steps..])?);

        let mut begun = started;
        for (place, pending) in wave.into_iter().enumerate() {
            let mut acted: Vec<Answer> = laid
                .owner
                .iter()
                .zip(&answers)
                .filter(|(owner, _)| **owner == Some(place))
                .map(|(_, answer)| answer.clone())
                .collect();
            if let Some(error) = &upload_errors[place] {
                acted.insert(
                    0,
                    Answer {
                        status: 1,
                        stderr: error.clone().into_bytes(),
                        ..Answer::default()
                    },
                );
            }
            let mut outcome = self.concluded(&pending, &acted);
            outcome.started_ms = started_ms + begun.duration_since(started).as_millis() as u64;
            let end = ended[place].unwrap_or_else(Instant::now);
            outcome.duration_ms = end.saturating_duration_since(begun).as_secs_f64() * 1e3;
            begun = end.max(begun);
            self.outcomes[pending.n] = Some(outcome);
        }
        Ok(())
    }

    fn lost(&mut self, wave: &[Pending], comment: &str) {
        for pending in wave {
            self.outcomes[pending.n] = Some(self.outcome(pending.n, Some(false), comment.to_owned()));
        }
    }

    /// The batch for a wave. States marked `parallel` that stand side by side run at the same time.
    fn lay(&self, wave: &[Pending], staged: &[Vec<Staged>]) -> Laid {
        let mut laid = Laid::default();
        let mut place = 0;
        while place < wave.len() {
            let together = wave[place..]
                .iter()
                .take_while(|pending| self.low.chunks[pending.n].parallel)
                .count();
            if together < 2 {
                staged[place]
                    .iter()
                    .for_each(|step| laid.push(Some(place), step.section.clone()));
                place += 1;
                continue;
            }
            side_by_side(&mut laid, place, &staged[place..place + together], &self.subject.run);
            place += together;
        }
        laid
    }

    /// The outcome of a state whose steps were `acted`, judged on the world as it is now.
    fn concluded(&mut self, pending: &Pending, acted: &[Answer]) -> StateOutcome {
        let (item, change) = (&self.items[pending.n], &pending.change);
        let context = self.context(pending.n);
        let conclusion = item.state.conclude(change, acted, &self.world.observed, &context);
        let mut conclusion = conclusion.unwrap_or_else(|error| Conclusion {
            ok: false,
            comment: error.to_string(),
            changes: change.changes.clone(),
        });
        if conclusion.ok && pending.kind == Kind::Own {
            match item.failed_check(&self.world.observed) {
                Ok(None) => {}
                Ok(Some(why)) => (conclusion.ok, conclusion.comment) = (false, why),
                Err(error) => (conclusion.ok, conclusion.comment) = (false, error.to_string()),
            }
        }
        let mut outcome = self.outcome(pending.n, Some(conclusion.ok), conclusion.comment);
        outcome.secret = change.secret;
        if change.secret && !conclusion.changes.is_empty() {
            outcome.changes = hidden();
        } else {
            outcome.changes = conclusion.changes;
            outcome.diffs = if change.secret { Vec::new() } else { change.diffs.clone() };
        }
        outcome
    }
}

/// Uploads what is too large for a batch; for each state of the wave, what went wrong with it.
///
/// # Errors
/// The connection broke.
async fn upload(session: &mut Session, staged: &[Vec<Staged>]) -> Result<Vec<Option<String>>> {
    let mut errors = Vec::new();
    for steps in staged {
        let mut error = None;
        for upload in steps.iter().filter_map(|step| step.upload.as_ref()) {
            // The folder may be made only by an earlier step of the same batch.
            let sent = match session.upload(&upload.content, &upload.beside).await {
                Err(e) if e.kind() == error::Kind::State => session.upload(&upload.content, &upload.fallback).await,
                sent => sent,
            };
            match sent {
                Ok(()) => {}
                Err(lost) if lost.kind() == error::Kind::Unreachable => return Err(lost),
                Err(e) => {
                    error = Some(e.to_string());
                    break;
                }
            }
        }
        errors.push(error);
    }
    Ok(errors)
}

/// Lays states that run at the same time: one section starts them all and waits, then one for each step hands out how it went.
fn side_by_side(laid: &mut Laid, first: usize, states: &[Vec<Staged>], run: &str) {
    let folder = format!("/tmp/.picloud-{run}-{first}");
    let quoted = quote(&folder);
    let mut script = format!("umask 077; mkdir {quoted} && cd {quoted} || exit 1\n");
    for (n, steps) in states.iter().enumerate() {
        script += "(\npicloud_last=0\n";
        for (m, step) in steps.iter().enumerate() {
            script += &format!(
                "(\n{}\n) >{n}.{m}.out 2>{n}.{m}.err </dev/null; picloud_last=$?; echo $picloud_last >{n}.{m}.status\n",
                step.section.script
            );
        }
        script += ") &\n";
    }
    script += "wait";
    laid.push(None, Section::new(script));
    for (n, steps) in states.iter().enumerate() {
        for m in 0..steps.len() {
            let hand_out = format!(
                "cd {quoted} || exit {NOT_BEGUN}\ncat {n}.{m}.out; cat {n}.{m}.err >&2; read -r s <{n}.{m}.status; exit \"$s\""
            );
            laid.push(Some(first + n), Section::new(hand_out));
        }
    }
    laid.push(None, Section::new(format!("rm -rf {quoted}")));
}
