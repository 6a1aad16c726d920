//! The record of runs: each run's events, one JSON object a line, in the project's cache; read back by `picloud runs`.

use super::event::{Event, Listener, RunDone, RunStarted};
use crate::error::{Error, Result};
use crate::project::Cache;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// How many runs are kept.
const KEPT: usize = 200;

/// Writes a run's events as they come.
pub struct Recorder {
    file: BufWriter<File>,
}

/// A run as `picloud runs` lists it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// From 1; the newest has the highest.
    pub number: u64,
    pub started: RunStarted,
    /// `None`: it was cut off.
    pub done: Option<RunDone>,
    /// Minions that had an error, or a state that failed.
    pub failed: usize,
    /// States that changed something (or would have), over all minions.
    pub changed: usize,
}

/// The name of a new run: its number, and a random part that nobody can foretell. `17-9f86d081`.
///
/// # Errors
/// The cache cannot be used.
pub fn new_run(cache: &Cache) -> Result<String> {
    let number = numbers(cache)?.last().map_or(1, |(number, _)| number + 1);
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Error::usage(format!("the system gives no random numbers: {e}")))?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{number}-{random}"))
}

impl Recorder {
    /// Begins the record of `run`, and drops those that are too old.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn new(cache: &Cache, run: &str) -> Result<Recorder> {
        let mut old = numbers(cache)?;
        old.truncate(old.len().saturating_sub(KEPT - 1));
        for (_, path) in old {
            let _ = std::fs::remove_file(path);
        }
        let path = cache.folder("runs")?.join(format!("{run}.jsonl"));
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| Error::usage(format!("cannot record the run in {}: {e}", path.display())))?;
        Ok(Recorder {
            file: BufWriter::new(file),
        })
    }
}

impl Listener for Recorder {
    fn hear(&mut self, event: &Event) {
        // Phases are for who watches; a record is of what came of it. A full disk here must not stop a run.
        if matches!(event, Event::Phase { .. }) {
            return;
        }
        if let Ok(line) = serde_json::to_string(event) {
            let _ = writeln!(self.file, "{line}");
        }
        if matches!(event, Event::RunStarted(_) | Event::RunDone(_)) {
            let _ = self.file.flush();
        }
    }
}

/// The recorded runs, oldest first.
///
/// # Errors
/// The cache cannot be read.
pub fn runs(cache: &Cache) -> Result<Vec<Recorded>> {
    let mut runs = Vec::new();
    for (number, path) in numbers(cache)? {
        let mut recorded: Option<Recorded> = None;
        let mut failed = std::collections::BTreeSet::new();
        for event in events_of(&path)? {
            match (event, &mut recorded) {
                (Event::RunStarted(started), none) => {
                    *none = Some(Recorded {
                        number,
                        started,
                        done: None,
                        failed: 0,
                        changed: 0,
                    })
                }
                (Event::StateDone { minion, outcome }, Some(run)) => {
                    run.changed += usize::from(outcome.changed());
                    if outcome.result == Some(false) {
                        failed.insert(minion);
                    }
                }
                (Event::MinionDone(done), Some(_)) if done.error.is_some() => drop(failed.insert(done.minion)),
                (Event::RunDone(done), Some(run)) => run.done = Some(done),
                _ => {}
            }
        }
        if let Some(mut run) = recorded {
            run.failed = failed.len();
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The events of run `number`.
///
/// # Errors
/// There is no such run.
pub fn events(cache: &Cache, number: u64) -> Result<Vec<Event>> {
    let all = numbers(cache)?;
    match all.iter().find(|(known, _)| *known == number) {
        Some((_, path)) => events_of(path),
        None => Err(
            Error::usage(format!("there is no record of run {number}")).hint(match all.last() {
                Some((newest, _)) => format!("the newest is run {newest}; `picloud runs` lists them"),
                None => "no run has been recorded yet".to_owned(),
            }),
        ),
    }
}

fn events_of(path: &PathBuf) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
    // A run that was cut off ends in half a line.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The numbers and files of the recorded runs, oldest first.
fn numbers(cache: &Cache) -> Result<Vec<(u64, PathBuf)>> {
    let folder = cache.path("runs");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = name
            .strip_suffix(".jsonl")
            .and_then(|run| run.split('-').next()?.parse().ok())
        {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_recorded_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let run = new_run(&cache).unwrap();
        assert!(run.starts_with("1-") && run.len() == 18, "{run}");
        let mut recorder = Recorder::new(&cache, &run).unwrap();
        let started = RunStarted {
            run: run.clone(),
            what: "apply".into(),
            minions: vec!["pi0".into()],
            ..RunStarted::default()
        };
        recorder.hear(&Event::RunStarted(started.clone()));
        recorder.hear(&Event::RunDone(RunDone::default()));
        assert_eq!(
            events(&cache, 1).unwrap(),
            [Event::RunStarted(started), Event::RunDone(RunDone::default())]
        );
        assert_eq!(runs(&cache).unwrap().len(), 1);
        assert!(new_run(&cache).unwrap().starts_with("2-"));
        assert_eq!(events(&cache, 7).unwrap_err().to_string(), "there is no record of run 7");
    }
}
