//! Public formulas compiled by Salt and by picloud: whether the low states agree.
//!
//! PICLOUD_FORMULAS is a folder of fetched repositories, bare and called `owner+name`; what Salt made of them stands in
//! `shared/conformance/formulas.jsonl` beside the repository, or where PICLOUD_CONFORMANCE says. Without them nothing is compared.
//! PICLOUD_FORMULA restricts it to formulas whose name holds that text, and tells all differences instead of the first.

use picloud::error::Result;
use picloud::sls::{Compiled, Input, LowState, RequisiteKind, Unresolved, Which, compile};
use picloud::template::{Renderer, Setup};
use picloud::tree::Tree;
use picloud::yaml::Value;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What a run came to.
enum Outcome {
    /// Whether the order in which the states would be called agrees too.
    Agrees(bool),
    Differs(Vec<String>),
    /// The commit was not fetched.
    Absent,
}

fn conformance(file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = std::env::var_os("PICLOUD_CONFORMANCE").map_or(beside, PathBuf::from);
    Some(folder.join(file)).filter(|file| file.is_file())
}

/// The files of a commit in a folder of their own.
fn check_out(repositories: &Path, name: &str, commit: &str) -> Option<tempfile::TempDir> {
    let repository = repositories.join(name.replace('/', "+"));
    let bare = [repository.join("repo"), repository]
        .into_iter()
        .find(|folder| folder.join("HEAD").is_file())?;
    let folder = tempfile::tempdir().ok()?;
    let mut archive = Command::new("git")
        .arg("--git-dir")
        .arg(bare)
        .args(["archive", commit])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let unpacked = Command::new("tar")
        .arg("-x")
        .arg("-C")
        .arg(folder.path())
        .stdin(archive.stdout.take()?)
        .stderr(Stdio::null())
        .status();
    let archived = archive.wait().is_ok_and(|status| status.success());
    (archived && unpacked.is_ok_and(|status| status.success())).then_some(folder)
}

fn low(tree: Tree, sls: &str, grains: &Value, pillar: &Value) -> Result<Result<LowState, Vec<String>>> {
    let tree = Arc::new(tree);
    let id = grains.get("id").and_then(Value::as_str).unwrap_or_default();
    let renderer = Renderer::new(Setup {
        tree: tree.clone(),
        id: id.to_owned(),
        saltenv: "base".to_owned(),
        grains: grains.clone(),
        pillar: pillar.clone(),
        ..Setup::default()
    });
    let compiled = compile(&Input {
        tree: &tree,
        render: &renderer,
        id,
        saltenv: "base",
        which: Which::Sls(vec![sls.to_owned()]),
        matches: &|_, _| Ok(false),
        watches: &|module| matches!(module, "cmd" | "service" | "module" | "pkg" | "mount" | "test"),
        takes: &|_, _| false,
        unresolved: Unresolved::Warn,
    })?;
    Ok(match compiled {
        Compiled::Ready(ready) => Ok(ready.low),
        Compiled::Asks => Err(renderer.asks().iter().map(|probe| format!("{probe:?}")).collect()),
    })
}

/// The tags in the order in which Salt 3006 calls the states: what a state's requisites name is called before it.
fn called(low: &LowState) -> Vec<String> {
    fn call(low: &LowState, n: usize, done: &mut Vec<bool>, called: &mut Vec<String>) {
        if std::mem::replace(&mut done[n], true) {
            return;
        }
        for requisite in &low.chunks[n].requisites {
            if !matches!(requisite.kind, RequisiteKind::Listen | RequisiteKind::Prereq) {
                for target in requisite.references.iter().flat_map(|reference| &reference.targets) {
                    call(low, *target, done, called);
                }
            }
        }
        called.push(low.chunks[n].tag());
    }
    let mut called = Vec::new();
    let mut done = vec![false; low.chunks.len()];
    (0..low.chunks.len()).for_each(|n| call(low, n, &mut done, &mut called));
    called
}

fn short(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// What differs between two low states; chunks are told apart by their tags.
fn differences(salt: &[Json], ours: &[Json]) -> Vec<String> {
    let tag = |chunk: &Json| {
        let part = |name: &str| chunk[name].as_str().unwrap_or_default().to_owned();
        format!("{}.{} {} {}", part("state"), part("fun"), part("__id__"), part("name"))
    };
    let tags = |chunks: &[Json]| chunks.iter().map(tag).collect::<Vec<_>>();
    let (salts, own) = (tags(salt), tags(ours));
    let mut found = Vec::new();
    found.extend(
        salts
            .iter()
            .filter(|tag| !own.contains(tag))
            .map(|tag| format!("missing: {tag}")),
    );
    found.extend(
        own.iter()
            .filter(|tag| !salts.contains(tag))
            .map(|tag| format!("too much: {tag}")),
    );
    if found.is_empty() && salts != own {
        let at = salts.iter().zip(&own).position(|(a, b)| a != b).unwrap_or(0);
        found.push(format!("order: Salt has {} where we have {}", salts[at], own[at]));
    }
    for chunk in salt {
        let Some(own) = ours.iter().find(|own| tag(own) == tag(chunk)) else {
            continue;
        };
        let (Some(theirs), Some(own)) = (chunk.as_object(), own.as_object()) else {
            continue;
        };
        let names: std::collections::BTreeSet<&String> = theirs.keys().chain(own.keys()).collect();
        for name in names {
            let (salt, ours) = (theirs.get(name).unwrap_or(&Json::Null), own.get(name).unwrap_or(&Json::Null));
            if salt != ours {
                found.push(format!(
                    "{}: {name}: Salt has {}, we have {}",
                    tag(chunk),
                    short(salt),
                    short(ours)
                ));
            }
        }
    }
    found
}

fn run(case: &Json, repositories: &Path, grains: &Value) -> Outcome {
    let text = |name: &str| case[name].as_str().unwrap_or_default();
    let Some(folder) = check_out(repositories, text("repo"), text("commit")) else {
        return Outcome::Absent;
    };
    let low = match low(
        Tree::folder(folder.path()),
        text("sls"),
        grains,
        &Value::from(&case["pillar"]),
    ) {
        Ok(Ok(low)) => low,
        Ok(Err(asks)) => return Outcome::Differs(vec![format!("it asks the minion: {}", asks.join("; "))]),
        Err(error) => {
            let prefix = format!("{}/", folder.path().display());
            let told = error.diagnostics().iter().flat_map(|d| {
                let place = d.trail.iter().map(|(how, at)| format!(" ({how} {at})")).collect::<String>();
                [format!("{}: {}{place}", d.at, d.message).replace(&prefix, "")]
            });
            return Outcome::Differs(told.collect());
        }
    };
    let ours: Vec<Json> = low
        .chunks
        .iter()
        .map(|chunk| Json::from(&Value::from(chunk.all.clone())))
        .collect();
    let salt = case["low"].as_array().cloned().unwrap_or_default();
    let found = differences(&salt, &ours);
    if !found.is_empty() {
        return Outcome::Differs(found);
    }
    let order: Option<Vec<&str>> = case["order"]
        .as_array()
        .map(|order| order.iter().filter_map(Json::as_str).collect());
    let called = called(&low);
    Outcome::Agrees(order.is_none_or(|order| order.iter().eq(called.iter())))
}

#[test]
fn formulas_have_the_low_state_that_salt_gives_them() {
    let (Some(repositories), Some(cases), Some(grains)) = (
        std::env::var_os("PICLOUD_FORMULAS").map(PathBuf::from),
        conformance("formulas.jsonl"),
        conformance("formula-grains.json"),
    ) else {
        println!("skipped: PICLOUD_FORMULAS is not set, or shared/conformance is not there");
        return;
    };
    let grains: Json = serde_json::from_str(&std::fs::read_to_string(grains).unwrap()).unwrap();
    let grains = Value::from(&grains);
    let only = std::env::var("PICLOUD_FORMULA").ok();
    let (mut agree, mut in_order, mut absent, mut differ) = (0, 0, 0, Vec::new());
    for line in std::fs::read_to_string(cases).unwrap().lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let name = format!(
            "{} {}",
            case["repo"].as_str().unwrap_or_default(),
            case["sls"].as_str().unwrap_or_default()
        );
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        match run(&case, &repositories, &grains) {
            Outcome::Agrees(order) => {
                agree += 1;
                in_order += usize::from(order);
            }
            Outcome::Absent => absent += 1,
            Outcome::Differs(found) => {
                let shown = if only.is_some() { found.len() } else { 1 };
                let more = found.len() - shown;
                let more = if more > 0 {
                    format!(" (and {more} more)")
                } else {
                    String::new()
                };
                differ.push(format!("{name}: {}{more}", found[..shown].join("\n    ")));
            }
        }
    }
    println!("{}", differ.join("\n"));
    println!(
        "{agree} of {} low states agree, {in_order} of them with the order of the calls; {absent} were not fetched",
        agree + differ.len()
    );
}
