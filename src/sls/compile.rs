//! The whole way from the names of SLS to a low state.

use super::chunks::Compiler;
use super::cycles::cycles;
use super::high::{High, HighState};
use super::input::{Compiled, Input, Ready, Which};
use super::load::{Loader, names};
use super::low::{Chunk, LowState, Reference, Requisite, RequisiteKind};
use super::requisites::{Problems, Resolver};
use super::reverse::apply_reverse;
use super::source::Sources;
use super::top;
use crate::error::{Error, Pos, Result};
use crate::yaml::{Map, Value};

/// One minion's states.
///
/// # Errors
/// Everything that is wrong with them, as far as it can be told at once: each stage is gone through to its end.
pub fn compile(input: &Input) -> Result<Compiled> {
    let sources = Sources::new(input.tree, input.render, input.saltenv);
    match states(input, &sources) {
        Ok(None) => Ok(Compiled::Asks),
        Ok(Some(mut ready)) => {
            ready.rendered = sources.texts();
            let explained = std::mem::take(&mut ready.warnings)
                .into_iter()
                .map(|e| ready.rendered.explain(e));
            ready.warnings = explained.collect();
            Ok(Compiled::Ready(Box::new(ready)))
        }
        Err(error) => Err(sources.explain(error)),
    }
}

/// `None` while templates wait for answers.
fn states(input: &Input, sources: &Sources) -> Result<Option<Ready>> {
    let mut warnings = Vec::new();
    let wanted: Vec<(String, Pos)> = match &input.which {
        Which::Sls(given) => names(given).map(|name| (name.replace('/', "."), Pos::default())).collect(),
        Which::Top => {
            let Some(assigned) = top::assigned(sources, input.matches, &mut warnings)? else {
                return Ok(None);
            };
            assigned.into_iter().map(|assigned| (assigned.sls, assigned.at)).collect()
        }
    };
    if wanted.is_empty() {
        warnings.push(Error::usage(format!("no SLS is meant for `{}`", input.id)));
    }
    let mut loader = Loader::new(sources, input.takes);
    let mut high = High::default();
    for (name, at) in &wanted {
        loader.add(&mut high, name, *at);
    }
    let mut errors = loader.errors;
    warnings.extend(loader.warnings);
    stage(&mut errors)?;
    if sources.asked() {
        return Ok(None);
    }

    high.extend(&mut errors);
    high.check_functions(&mut errors);
    stage(&mut errors)?;
    apply_reverse(&mut high, input.unresolved, &mut errors, &mut warnings);
    stage(&mut errors)?;
    high.exclude(&mut warnings);

    let mut compiler = Compiler {
        saltenv: input.saltenv,
        takes: input.takes,
        errors: &mut errors,
        warnings: &mut warnings,
    };
    let mut chunks = compiler.chunks(&high);
    let mut problems = Problems {
        unresolved: input.unresolved,
        errors: &mut errors,
        warnings: &mut warnings,
    };
    let requisites = requisites(&chunks, input.watches, &mut problems);
    for (chunk, requisites) in chunks.iter_mut().zip(requisites) {
        chunk.requisites = requisites;
    }
    stage(&mut errors)?;
    errors.extend(cycles(&chunks));
    stage(&mut errors)?;

    let top = wanted.into_iter().map(|(name, _)| Value::from(name)).collect::<Vec<_>>();
    Ok(Some(Ready {
        top: Map::from_iter([(input.saltenv.into(), top.into())]).into(),
        high: HighState::new(high, input.saltenv),
        low: LowState { chunks },
        warnings,
        rendered: Default::default(),
    }))
}

/// The end of a stage: what went wrong in it is told before the next one stumbles over it.
fn stage(errors: &mut Vec<Error>) -> Result<()> {
    Error::all(std::mem::take(errors)).map_or(Ok(()), Err)
}

/// The requisites of all chunks, `listen_in` turned into the `listen` of its target.
fn requisites(chunks: &[Chunk], watches: &dyn Fn(&str) -> bool, problems: &mut Problems) -> Vec<Vec<Requisite>> {
    let mut resolver = Resolver::new(chunks);
    let mut all: Vec<Vec<Requisite>> = chunks
        .iter()
        .enumerate()
        .map(|(n, chunk)| resolver.requisites(n, watches(&chunk.state), problems))
        .collect();
    for (n, chunk) in chunks.iter().enumerate() {
        for (listener, at) in resolver.listeners(n, problems) {
            let reference = Reference {
                module: chunk.state.clone(),
                pattern: chunk.id.clone(),
                at,
                targets: vec![n],
            };
            let of_listener = &mut all[listener];
            match of_listener.iter_mut().find(|r| r.kind == RequisiteKind::Listen) {
                Some(listen) => listen.references.push(reference),
                None => of_listener.push(Requisite {
                    kind: RequisiteKind::Listen,
                    references: vec![reference],
                }),
            }
        }
    }
    all
}
