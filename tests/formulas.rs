//! Public formulas compiled by Salt and by picloud: whether the low states agree.
//!
//! PICLOUD_FORMULAS is a folder of fetched repositories, bare and called `owner+name`; what Salt made of them stands in
//! `shared/conformance/formulas.jsonl` beside the repository, or where PICLOUD_CONFORMANCE says. Without them nothing is compared.
//! PICLOUD_FORMULA restricts it to formulas whose name holds that text, and tells all differences instead of the first.

use picloud::error::Result;
use picloud::probe::{Fact, Observed, PathSeen, Probe};
use picloud::sls::{Compiled, Input, Locals, LowState, Reference, Render, Rendered, RequisiteKind, Unresolved, Which, compile};
use picloud::template::{Renderer, Setup};
use picloud::tree::Tree;
use picloud::yaml::{Value, parse};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What a run came to.
enum Outcome {
    Agrees,
    /// But not the order in which the states would be called: the first difference.
    AgreesUnordered(String),
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
    let bare = ["", ".git", "repo", "repo/.git"]
        .into_iter()
        .map(|below| repository.join(below))
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

/// The pillar with its keys in the order of the formula's own example: Salt's account of it has them sorted, and states that a loop
/// makes of a mapping stand in its order.
fn in_order(folder: &Path, grains: &Value, pillar: &Json) -> Value {
    let tree = Arc::new(Tree::folder(folder));
    let renderer = Renderer::new(Setup {
        tree: tree.clone(),
        grains: grains.clone().into(),
        ..Setup::default()
    });
    let same = |path: String| {
        let file = tree.find(&path)?;
        let Ok(Rendered::Text(text)) = renderer.render(&file, &Locals::of("pillar", "base", &file)) else {
            return None;
        };
        let value = parse(file.id, &text).ok()?;
        (Json::from(&value) == *pillar).then_some(value)
    };
    let mut examples = tree.list("").into_iter().filter(|path| path.contains("pillar"));
    examples.find_map(same).unwrap_or_else(|| Value::from(pillar))
}

/// The low state of `sls` on a minion where no path exists that templates ask for; what else they ask for, if they do.
fn low(tree: Tree, sls: &str, grains: &Value, pillar: &Value) -> Result<Result<LowState, Vec<String>>> {
    let tree = Arc::new(tree);
    let mut observed = Observed::default();
    loop {
        let asks = match low_observing(&tree, sls, grains, pillar, &observed)? {
            Ok(low) => return Ok(Ok(low)),
            Err(asks) => asks,
        };
        for ask in &asks {
            match ask {
                Probe::Path { path, .. } if !observed.has(ask) => {
                    observed.answer(ask, Fact::Path(path.clone(), PathSeen::default()));
                }
                _ => return Ok(Err(asks.iter().map(|ask| format!("{ask:?}")).collect())),
            }
        }
    }
}

fn low_observing(
    tree: &Arc<Tree>,
    sls: &str,
    grains: &Value,
    pillar: &Value,
    observed: &Observed,
) -> Result<Result<LowState, Vec<Probe>>> {
    let id = grains.get("id").and_then(Value::as_str).unwrap_or_default();
    let renderer = Renderer::new(Setup {
        tree: tree.clone(),
        id: id.to_owned(),
        saltenv: "base".to_owned(),
        grains: grains.clone().into(),
        pillar: pillar.clone().into(),
        observed: Arc::new(observed.clone()),
    });
    let compiled = compile(&Input {
        tree,
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
        Compiled::Asks => Err(renderer.asks()),
    })
}

/// The tags in the order in which Salt 3006 calls the states: what a state's requisites name is called before it.
fn called(low: &LowState) -> Vec<String> {
    fn call(low: &LowState, n: usize, done: &mut Vec<bool>, called: &mut Vec<String>) {
        if std::mem::replace(&mut done[n], true) {
            return;
        }
        let first: Vec<&Reference> = low.chunks[n]
            .requisites
            .iter()
            .filter(|requisite| !matches!(requisite.kind, RequisiteKind::Listen | RequisiteKind::Prereq))
            .flat_map(|requisite| &requisite.references)
            .collect();
        // A state that refers to what is not there fails at once.
        if first.iter().all(|reference| !reference.targets.is_empty()) {
            for target in first.iter().flat_map(|reference| &reference.targets) {
                call(low, *target, done, called);
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
    let pillar = in_order(folder.path(), grains, &case["pillar"]);
    let low = match low(Tree::folder(folder.path()), text("sls"), grains, &pillar) {
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
    let salt = case["order"].as_array().into_iter().flatten().filter_map(Json::as_str);
    match salt.zip(&called(&low)).find(|(salt, ours)| salt != ours) {
        None => Outcome::Agrees,
        Some((salt, ours)) => Outcome::AgreesUnordered(format!("Salt calls {salt} where we call {ours}")),
    }
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
            Outcome::Agrees => (agree, in_order) = (agree + 1, in_order + 1),
            Outcome::AgreesUnordered(difference) => {
                agree += 1;
                println!("{name}: {difference}");
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
