//! Cycles of requisites, found before anything runs.

use super::low::{Chunk, RequisiteKind};
use crate::error::{Error, Pos};

/// An edge: what has to go before, why, and where that is written.
struct Before {
    chunk: usize,
    kind: RequisiteKind,
    at: Pos,
}

/// The most cycles that are told.
const TOLD: usize = 5;

/// One error for each cycle, with the way around it.
pub(super) fn cycles(chunks: &[Chunk]) -> Vec<Error> {
    let before = edges(chunks);
    let mut errors = Vec::new();
    let mut seen = vec![false; chunks.len()];
    // The place of each chunk on the path under way.
    let mut place: Vec<Option<usize>> = vec![None; chunks.len()];
    for start in 0..chunks.len() {
        if seen[start] {
            continue;
        }
        // A path and how far each of its chunks' edges have been followed; no recursion, as chains of thousands exist.
        let mut path = vec![(start, 0)];
        seen[start] = true;
        place[start] = Some(0);
        while let Some((chunk, next)) = path.last_mut() {
            let chunk = *chunk;
            let Some(edge) = before[chunk].get(*next) else {
                place[chunk] = None;
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(first) = place[edge.chunk] {
                errors.push(describe(chunks, &before, &path[first..]));
                if errors.len() == TOLD {
                    return errors;
                }
            } else if !seen[edge.chunk] {
                seen[edge.chunk] = true;
                place[edge.chunk] = Some(path.len());
                path.push((edge.chunk, 0));
            }
        }
    }
    errors
}

fn edges(chunks: &[Chunk]) -> Vec<Vec<Before>> {
    let mut before: Vec<Vec<Before>> = chunks.iter().map(|_| Vec::new()).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        for requisite in &chunk.requisites {
            let kind = requisite.kind;
            for reference in &requisite.references {
                let at = reference.at;
                for &target in &reference.targets {
                    match kind {
                        // Looked at when all else is done.
                        RequisiteKind::Listen => {}
                        // The state with the `prereq` goes first.
                        RequisiteKind::Prereq => before[target].push(Before { chunk: n, kind, at }),
                        _ => before[n].push(Before { chunk: target, kind, at }),
                    }
                }
            }
        }
    }
    before
}

/// `path`: the chunks around the cycle, each with the number of the edge behind the one that was taken.
fn describe(chunks: &[Chunk], before: &[Vec<Before>], path: &[(usize, usize)]) -> Error {
    let shown = |n: usize| format!("{}: {}", chunks[n].state, chunks[n].id);
    let taken: Vec<(usize, &Before)> = path
        .iter()
        .filter_map(|(chunk, next)| Some((*chunk, before[*chunk].get(next.checked_sub(1)?)?)))
        .collect();
    let mut way: Vec<String> = taken.iter().map(|(chunk, _)| format!("`{}`", shown(*chunk))).collect();
    way.extend(way.first().cloned());
    let mut error = Error::usage(format!("recursive requisites: {}", way.join(" after ")));
    if let Some((_, first)) = taken.first() {
        error = error.at(first.at);
    }
    for (chunk, edge) in taken {
        let (has, what) = match edge.kind {
            RequisiteKind::Prereq => (edge.chunk, chunk),
            _ => (chunk, edge.chunk),
        };
        let how = format!("`{}` has `{}` in its {}", shown(has), shown(what), word(edge.kind));
        error = error.trail(&how, edge.at);
    }
    error.hint("take one of these requisites away")
}

/// The kind as SLS files spell it.
fn word(kind: RequisiteKind) -> &'static str {
    match kind {
        RequisiteKind::Require => "require",
        RequisiteKind::RequireAny => "require_any",
        RequisiteKind::Watch => "watch",
        RequisiteKind::WatchAny => "watch_any",
        RequisiteKind::Prereq => "prereq",
        RequisiteKind::Onfail => "onfail",
        RequisiteKind::OnfailAny => "onfail_any",
        RequisiteKind::OnfailAll => "onfail_all",
        RequisiteKind::Onchanges => "onchanges",
        RequisiteKind::OnchangesAny => "onchanges_any",
        RequisiteKind::Listen => "listen",
    }
}
