//! A chunk made ready to be run: its state function, its conditions, and all that they must see.

use super::engine::Subject;
use super::plan::targets;
use super::query::Query;
use crate::error::{Error, Pos, Result};
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::quote;
use crate::sls::{Check, Chunk, Condition, DIRECT, GLOBAL, LowState, REVERSE, RequisiteKind};
use crate::states::{Context, Decision, Function, StateFunction, function};
use crate::yaml::{Key, Map, Value};

/// A chunk with its state function.
pub struct Item {
    pub state: Box<dyn StateFunction>,
    pub function: &'static Function,
    conditions: Vec<Prepared>,
    /// `check_cmd` of a state that does not check by itself.
    pub checks: Vec<ShellProbe>,
    /// All that must be seen before the state is decided on. Filled by [`look`].
    pub probes: Vec<Probe>,
    /// What the states that this one requires manage: the `clean` of a folder leaves it alone. Filled by [`look`].
    pub kept: Vec<Resource>,
}

/// A condition whose questions are known.
enum Prepared {
    Onlyif(Vec<Asked>),
    Unless(Vec<Asked>),
    Creates(Vec<String>),
}

enum Asked {
    Command(ShellProbe),
    Call(Box<Query>),
}

impl Item {
    /// The state that `chunk` declares.
    ///
    /// # Errors
    /// An unknown function or argument, a value of the wrong kind: with its place.
    pub fn new(chunk: &Chunk) -> Result<Item> {
        let function = function(&chunk.function()).map_err(|e| e.at(chunk.at))?;
        let state = (function.make)(&chunk.arguments)
            .map_err(|e| meant_for_all(e, &chunk.arguments))
            .map_err(|e| e.at(chunk.at).in_state(&format!("{} {}", chunk.function(), chunk.name)))?;
        let command = |script: &str| command(chunk, script);
        let asked = |checks: &[Check]| -> Result<Vec<Asked>> {
            checks
                .iter()
                .map(|check| match check {
                    Check::Command(script) => Ok(Asked::Command(command(script))),
                    Check::Call {
                        fun,
                        args,
                        kwargs,
                        get_return,
                        at,
                    } => Query::new(fun, args, kwargs, get_return.as_deref(), *at).map(|query| Asked::Call(Box::new(query))),
                })
                .collect()
        };
        let mut conditions = Vec::new();
        for condition in &chunk.conditions {
            conditions.push(match condition {
                Condition::Onlyif(checks) => Prepared::Onlyif(asked(checks)?),
                Condition::Unless(checks) => Prepared::Unless(asked(checks)?),
                Condition::Creates(paths) => Prepared::Creates(paths.clone()),
            });
        }
        let checks = chunk.check_cmd.iter().map(|script| command(script)).collect();
        Ok(Item {
            state,
            function,
            conditions,
            checks,
            probes: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// Settles what must be seen; after the state's needs were resolved.
    ///
    /// # Errors
    /// A source that was not found, or whatever else keeps the state from knowing what to look at.
    fn look(&mut self, subject: &Subject) -> Result<()> {
        let mut probes: Vec<Probe> = Vec::new();
        for condition in &mut self.conditions {
            match condition {
                Prepared::Creates(paths) => probes.extend(paths.iter().map(Probe::meta)),
                Prepared::Onlyif(asked) | Prepared::Unless(asked) => {
                    for asked in asked {
                        match asked {
                            Asked::Command(probe) => probes.push(Probe::Shell(probe.clone())),
                            Asked::Call(query) => {
                                query.look(subject)?;
                                probes.extend(query.probes.iter().cloned());
                            }
                        }
                    }
                }
            }
        }
        probes.extend(self.state.probes(&subject.context(&self.kept))?);
        probes.extend(self.checks.iter().cloned().map(Probe::Shell));
        probes.sort();
        probes.dedup();
        self.probes = probes;
        Ok(())
    }

    /// Why the state is skipped, if its conditions say so.
    pub fn skipped(&self, seen: &Observed) -> Result<Option<String>> {
        for condition in &self.conditions {
            match condition {
                Prepared::Onlyif(asked) => {
                    if !all(asked, seen)? {
                        return Ok(Some("onlyif condition is false".to_owned()));
                    }
                }
                Prepared::Unless(asked) => {
                    if all(asked, seen)? {
                        return Ok(Some("unless condition is true".to_owned()));
                    }
                }
                Prepared::Creates(paths) => {
                    let mut there = true;
                    for path in paths {
                        there &= seen.entry(path)?.is_some();
                    }
                    if there {
                        return Ok(Some(match paths.as_slice() {
                            [one] => format!("{one} exists"),
                            _ => "All files in creates exist".to_owned(),
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The first `check_cmd` that did not pass in what was seen.
    pub fn failed_check(&self, seen: &Observed) -> Result<Option<String>> {
        for check in &self.checks {
            let answer = seen.shell(check)?;
            if !answer.ok() {
                return Ok(Some(format!(
                    "check_cmd determined the state failed: `{}` exited with {}",
                    check.script, answer.status
                )));
            }
        }
        Ok(None)
    }

    /// What the state decides on what was seen.
    pub fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        self.state.decide(seen, context)
    }
}

/// An argument that no function has may be a requisite or its like, misspelt.
fn meant_for_all(error: Error, arguments: &Map) -> Error {
    let written = |at: Pos| arguments.keys().find(|key| key.at == at).and_then(Key::as_str);
    Error::all(error.diagnostics().iter().map(|d| {
        let one = Error::from(d.clone());
        match written(d.at).filter(|name| d.message == format!("unknown argument `{name}`")) {
            Some(name) if !d.hints.iter().any(|hint| hint.starts_with("did you mean")) => {
                one.did_you_mean(name, DIRECT.into_iter().chain(REVERSE).chain(GLOBAL))
            }
            _ => one,
        }
    }))
    .unwrap_or(error)
}

fn all(asked: &[Asked], seen: &Observed) -> Result<bool> {
    for asked in asked {
        let holds = match asked {
            Asked::Command(probe) => seen.shell(probe)?.ok(),
            Asked::Call(query) => query.holds(seen)?,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A condition's command, with what it inherits from its state: user, folder, environment, shell, umask.
fn command(chunk: &Chunk, script: &str) -> ShellProbe {
    let text = |key: &str| {
        chunk
            .arguments
            .get(key)
            .and_then(Value::scalar_text)
            .filter(|text| text != "None")
    };
    let excluded: Vec<&str> = chunk
        .all
        .get("cmd_opts_exclude")
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let inherited = |key: &str| if excluded.contains(&key) { None } else { text(key) };
    let mut script = script.to_owned();
    if let Some(first) = inherited("prepend_path") {
        script = format!("PATH={}:$PATH; export PATH\n{script}", quote(&first));
    }
    ShellProbe {
        script,
        user: chunk.runas.clone().filter(|_| !excluded.contains(&"runas")),
        cwd: inherited("cwd"),
        env: if excluded.contains(&"env") {
            Vec::new()
        } else {
            environment(chunk.arguments.get("env"))
        },
        shell: inherited("shell"),
        umask: inherited("umask"),
        timeout: inherited("timeout").and_then(|seconds| seconds.parse().ok()),
        reads: Vec::new(),
    }
}

/// `env` in any of its forms: a mapping, a list of mappings, a list of `NAME=value`, one such string.
fn environment(env: Option<&Value>) -> Vec<(String, String)> {
    let Some(env) = env else { return Vec::new() };
    if let Some(map) = env.as_map() {
        return map
            .iter()
            .filter_map(|(key, value)| Some((key.text(), value.scalar_text()?)))
            .collect();
    }
    if let Some(items) = env.as_list() {
        return items.iter().flat_map(|item| environment(Some(item))).collect();
    }
    env.as_str()
        .and_then(|text| text.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

/// The errors of all chunks, joined, or all items.
pub fn items(chunks: &[Chunk]) -> Result<Vec<Item>> {
    let mut errors = Vec::new();
    let mut items = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match Item::new(chunk) {
            Ok(item) => items.push(item),
            Err(error) => errors.push(error),
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(items),
    }
}

/// Settles what every item must see; after the needs of all were resolved.
///
/// # Errors
/// What keeps states from knowing what to look at, for all of them.
pub fn look(items: &mut [Item], low: &LowState, subject: &Subject) -> Result<()> {
    let keeps: Vec<Vec<Resource>> = items.iter().map(|item| item.state.keeps(&subject.context(&[]))).collect();
    let mut errors = Vec::new();
    for (n, (item, chunk)) in items.iter_mut().zip(&low.chunks).enumerate() {
        let required = targets(&low.chunks[n], RequisiteKind::Require);
        item.kept = required.flat_map(|target| keeps[target].iter().cloned()).collect();
        if let Err(error) = item.look(subject) {
            errors.push(error.at(chunk.at).in_state(&format!("{} {}", chunk.function(), chunk.name)));
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}
