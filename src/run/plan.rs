//! The order in which the chunks of a low state are called, and what their requisites say when their turn comes. Pure.
//!
//! The rules are Salt 3006's: chunks in sorted order, and before each, depth first, those that its requisites name.

use crate::sls::{Chunk, LowState, Reference, RequisiteKind};

/// What requisites ask of a chunk that has had its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// `None`: a dry run found that it would change.
    pub result: Option<bool>,
    pub changed: bool,
}

/// What a chunk's requisites say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ready {
    /// It runs; `watched`: and a watched one has changed.
    Run { watched: bool },
    /// Result False, not run.
    Fail(String),
    /// Result True, not run.
    Skip(String),
    /// Something that it refers to has not had its turn: it is still under way.
    Waits,
}

/// The kinds in the order in which they pull chunks in.
const PULLING: [RequisiteKind; 10] = [
    RequisiteKind::Require,
    RequisiteKind::RequireAny,
    RequisiteKind::Watch,
    RequisiteKind::WatchAny,
    RequisiteKind::Prereq,
    RequisiteKind::Onfail,
    RequisiteKind::OnfailAny,
    RequisiteKind::OnfailAll,
    RequisiteKind::Onchanges,
    RequisiteKind::OnchangesAny,
];

/// How a low state is gone through.
pub struct Plan {
    /// The chunks' indexes in the order in which they are called.
    pub order: Vec<usize>,
    /// For each chunk, those that name it in a `prereq`: they go before it, and take it down with them when they fail.
    pub prerequired: Vec<Vec<usize>>,
}

impl Plan {
    pub fn of(low: &LowState) -> Plan {
        let prerequired = prerequired(low);
        Plan {
            order: order(low, &prerequired),
            prerequired,
        }
    }
}

fn order(low: &LowState, prerequired: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(low.chunks.len());
    let mut entered = vec![false; low.chunks.len()];
    for start in 0..low.chunks.len() {
        // Its own stack instead of recursion: chains of thousands of requisites exist.
        let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
        enter(low, prerequired, start, &mut entered, &mut stack);
        while let Some((chunk, pending)) = stack.last_mut() {
            match pending.pop() {
                Some(next) => enter(low, prerequired, next, &mut entered, &mut stack),
                None => {
                    order.push(*chunk);
                    stack.pop();
                }
            }
        }
    }
    order
}

fn enter(low: &LowState, prerequired: &[Vec<usize>], chunk: usize, entered: &mut [bool], stack: &mut Vec<(usize, Vec<usize>)>) {
    if !std::mem::replace(&mut entered[chunk], true) {
        let mut first = pulled(low, chunk);
        first.extend(&prerequired[chunk]);
        first.reverse();
        stack.push((chunk, first));
    }
}

/// What has to be called before `chunk`. The target of a `prereq` comes after it; what the target itself needs comes before.
fn pulled(low: &LowState, chunk: usize) -> Vec<usize> {
    let mut first = Vec::new();
    for kind in PULLING {
        for target in targets(&low.chunks[chunk], kind) {
            if kind != RequisiteKind::Prereq {
                first.push(target);
                continue;
            }
            for kind in PULLING.into_iter().filter(|kind| *kind != RequisiteKind::Prereq) {
                first.extend(targets(&low.chunks[target], kind).filter(|needed| *needed != chunk));
            }
        }
    }
    first
}

fn prerequired(low: &LowState) -> Vec<Vec<usize>> {
    let mut before = vec![Vec::new(); low.chunks.len()];
    for (n, chunk) in low.chunks.iter().enumerate() {
        targets(chunk, RequisiteKind::Prereq).for_each(|target| before[target].push(n));
    }
    before
}

/// All targets of `chunk`'s requisites of one kind.
pub fn targets(chunk: &Chunk, kind: RequisiteKind) -> impl Iterator<Item = usize> {
    references(chunk, kind).flat_map(|reference| reference.targets.iter().copied())
}

fn references(chunk: &Chunk, kind: RequisiteKind) -> impl Iterator<Item = &Reference> {
    chunk
        .requisites
        .iter()
        .filter(move |requisite| requisite.kind == kind)
        .flat_map(|requisite| &requisite.references)
}

/// What the requisites of chunk `n` say, given what has been done (`None`: not yet). The targets of `prereq` stand in `tested`: what a
/// trial of them showed.
pub fn ready(
    low: &LowState,
    plan: &Plan,
    n: usize,
    done: &dyn Fn(usize) -> Option<Done>,
    tested: &dyn Fn(usize) -> Option<Done>,
) -> Ready {
    use RequisiteKind::*;
    let chunk = &low.chunks[n];
    let missing: Vec<String> = chunk
        .requisites
        .iter()
        .filter(|requisite| requisite.kind != Listen)
        .flat_map(|requisite| &requisite.references)
        .filter(|reference| reference.targets.is_empty())
        .map(|reference| format!("{}: {}", reference.module, reference.pattern))
        .collect();
    if !missing.is_empty() {
        return Ready::Fail(format!("The following requisites were not found: {}", missing.join(", ")));
    }
    let before = |kind| targets(chunk, kind).map(move |target| (target, done(target)));
    if PULLING
        .into_iter()
        .filter(|kind| *kind != Prereq)
        .any(|kind| before(kind).any(|(_, done)| done.is_none()))
    {
        return Ready::Waits;
    }
    if plan.prerequired[n].iter().any(|other| done(*other).is_none()) {
        return Ready::Waits;
    }
    let known = |kind| before(kind).filter_map(|(target, done)| Some((target, done?)));
    let failed = |target: usize| format!("{}.{}", low.chunks[target].sls, low.chunks[target].id);

    let mut failures: Vec<String> = Vec::new();
    for kind in [Require, Watch, Onchanges] {
        failures.extend(
            known(kind)
                .filter(|(_, done)| done.result == Some(false))
                .map(|(target, _)| failed(target)),
        );
    }
    for kind in [RequireAny, WatchAny, OnchangesAny] {
        if known(kind).count() > 0 && known(kind).all(|(_, done)| done.result == Some(false)) {
            failures.extend(known(kind).map(|(target, _)| failed(target)));
        }
    }
    let trials: Vec<(usize, Done)> = targets(chunk, Prereq)
        .filter_map(|target| Some((target, tested(target)?)))
        .collect();
    failures.extend(
        trials
            .iter()
            .filter(|(_, done)| done.result == Some(false))
            .map(|(target, _)| failed(*target)),
    );
    let prerequired = plan.prerequired[n]
        .iter()
        .filter(|other| done(**other).is_some_and(|done| done.result == Some(false)));
    failures.extend(prerequired.map(|other| failed(*other)));
    if !failures.is_empty() {
        let mut once: Vec<String> = Vec::new();
        failures.into_iter().for_each(|failure| {
            if !once.contains(&failure) {
                once.push(failure);
            }
        });
        return Ready::Fail(format!("One or more requisite failed: {}", once.join(", ")));
    }

    let ok = |done: Done| done.result == Some(true);
    let onfail = [Onfail, OnfailAny].into_iter().flat_map(known).collect::<Vec<_>>();
    if (!onfail.is_empty() && onfail.iter().all(|(_, done)| ok(*done))) || known(OnfailAll).any(|(_, done)| ok(done)) {
        return Ready::Skip("State was not run because onfail req did not change".to_owned());
    }
    for kind in [Onchanges, OnchangesAny] {
        if known(kind).count() > 0 && known(kind).all(|(_, done)| !done.changed) {
            return Ready::Skip("State was not run because none of the onchanges reqs changed".to_owned());
        }
    }
    if !trials.is_empty() && trials.iter().all(|(_, done)| !done.changed) {
        return Ready::Skip("No changes detected".to_owned());
    }
    Ready::Run {
        watched: [Watch, WatchAny].into_iter().flat_map(known).any(|(_, done)| done.changed),
    }
}
