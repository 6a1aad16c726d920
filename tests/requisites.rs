//! What Salt makes of its own requisite tests, and what picloud makes of them: order, results and comments, in a dry run and in a
//! real one on this machine.
//!
//! The cases stand in `shared/conformance/requisites.jsonl` beside the repository, or where PICLOUD_CONFORMANCE says.

use picloud::inventory::{Inventory, Minion, MinionId};
use picloud::project::Project;
use picloud::run::{Event, Gate, Here, Land, Listener, Manner, Shared, StateOutcome, apply};
use picloud::sls::Which;
use picloud::tree::Tree;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keeps what a run came to.
#[derive(Default)]
struct Kept {
    outcomes: Vec<StateOutcome>,
    errors: Vec<String>,
}

impl Listener for Kept {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::StateDone { outcome, .. } => self.outcomes.push((**outcome).clone()),
            Event::MinionDone(done) => self.errors.extend(done.error.as_ref().map(ToString::to_string)),
            _ => {}
        }
    }
}

fn cases() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = std::env::var_os("PICLOUD_CONFORMANCE").map_or(beside, PathBuf::from);
    Some(folder.join("requisites.jsonl")).filter(|file| file.is_file())
}

fn run(files: &Json, main: &str, test: bool) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files.as_object().unwrap() {
        let path = folder.path().join("states").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().unwrap()).unwrap();
    }
    let mut project = Project::without(Tree::folder(folder.path().join("states")));
    project.cache = picloud::project::Cache::at(folder.path().join("cache"));
    let minion = Minion::new(MinionId::new("minion").unwrap(), "localhost");
    let inventory = Arc::new(Inventory::of([minion.clone()]));
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let shared = Shared {
        land: Land::new(project, inventory, Which::Sls(vec![main.to_owned()]), false),
        reach: Box::new(Here),
        manner: Manner {
            test,
            ..Manner::default()
        },
        gate: Gate::new(1, None),
        run: "1-test".to_owned(),
        who: "tests".to_owned(),
        events,
    };
    let mut kept = Kept::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(apply(shared, "test".to_owned(), vec![minion], heard, &mut kept));
    kept
}

/// What differs between Salt's account of a run and ours, line by line.
fn differences(expected: &Json, kept: &Kept) -> Vec<String> {
    let Some(expected) = expected.as_array().filter(|all| all.first().is_some_and(Json::is_object)) else {
        // Salt's own words for a compile error are not ours; that there is one is what counts.
        return if kept.errors.is_empty() {
            vec!["an error was expected".to_owned()]
        } else {
            Vec::new()
        };
    };
    let mut differences: Vec<String> = kept.errors.clone();
    if expected.len() != kept.outcomes.len() {
        differences.push(format!(
            "{} states were expected, {} ran",
            expected.len(),
            kept.outcomes.len()
        ));
    }
    for (salt, ours) in expected.iter().zip(&kept.outcomes) {
        let result = ours.result.map_or(Json::Null, Json::from);
        for (what, salt, ours) in [
            ("tag", &salt["tag"], Json::from(ours.tag.clone())),
            ("result", &salt["result"], result),
            ("changes", &salt["changes"], Json::from(!ours.changes.is_empty())),
        ] {
            if *salt != ours {
                differences.push(format!("{what}: Salt has {salt}, we have {ours}"));
            }
        }
    }
    differences
}

#[test]
fn requisites_as_salt_has_them() {
    let Some(file) = cases() else {
        println!("skipped: there is no shared/conformance/requisites.jsonl beside the repository");
        return;
    };
    let text = std::fs::read_to_string(file).unwrap();
    let (mut agreed, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let main = case["main"].as_str().unwrap();
        let mut all = Vec::new();
        for (mode, test) in [("test_true", true), ("apply", false)] {
            let kept = run(&case["files"], main, test);
            all.extend(
                differences(&case[mode], &kept)
                    .into_iter()
                    .map(|difference| format!("{mode}: {difference}")),
            );
        }
        match all.is_empty() {
            true => agreed += 1,
            false => wrong.push(format!(
                "{}\n  {}",
                case["test"].as_str().unwrap_or_default(),
                all.join("\n  ")
            )),
        }
    }
    println!("{agreed} of {} cases agree", agreed + wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        agreed + wrong.len(),
        wrong.join("\n")
    );
}
