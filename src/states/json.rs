//! `json.*`, ours and not Salt's: some keys of a JSON file that others write too, such as `/etc/docker/daemon.json`.

use super::{Change, Context, Decision, Function, Functions, PutFile, StateFunction, Step, TextDiff};
use crate::error::{Error, Result};
use crate::probe::{Entry, Fact, FileKind, Observed, PathSeen, Probe, Resource};
use crate::shell::quote;
use crate::yaml::{Mode, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

pub static FUNCTIONS: Functions = &[Function::of::<Keys>("json.keys", false)];

/// Ensures that a JSON file has some keys with some values; all others stay as they are, and so does the order of the keys.
///
/// ```yaml
/// /etc/docker/daemon.json:
///   json.keys:
///     - keys:
///         log-driver: json-file
///         log-opts: {max-size: 10m}
///     - absent: [debug, 'log-opts:max-file']
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The file.
    name: String,
    /// What it must have. Mappings are merged key by key; all else replaces what was there.
    #[serde(default = "Value::map")]
    keys: Value,
    /// Keys that it must not have; `a:b` is the key `b` in `a`.
    #[serde(default)]
    absent: Vec<String>,
    /// Add the items of lists to those that are there, instead of replacing them.
    #[serde(default)]
    append: bool,
    /// Make the folders above the file.
    #[serde(default)]
    makedirs: bool,
    /// The file's mode; a new one gets 0644.
    mode: Option<Mode>,
    user: Option<String>,
    group: Option<String>,
    /// A command that is given the new file's path as its last word, and must succeed before that takes its place.
    check_cmd: Option<String>,
}

/// `over` laid over `base`. True when that changed something.
fn lay(base: &mut Json, over: &Json, append: bool) -> bool {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            let mut changed = false;
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(old) => changed |= lay(old, value, append),
                    None => {
                        base.insert(key.clone(), value.clone());
                        changed = true;
                    }
                }
            }
            changed
        }
        (Json::Array(base), Json::Array(over)) if append => {
            let missing: Vec<Json> = over.iter().filter(|item| !base.contains(item)).cloned().collect();
            let changed = !missing.is_empty();
            base.extend(missing);
            changed
        }
        (base, over) if *base == *over => false,
        (base, over) => {
            *base = over.clone();
            true
        }
    }
}

/// Takes the key at `path` (`a:b`) out. True when it was there.
fn remove(json: &mut Json, path: &str) -> bool {
    let (last, above) = match path.rsplit_once(':') {
        Some((above, last)) => (last, Some(above)),
        None => (path, None),
    };
    let parent = above
        .into_iter()
        .flat_map(|above| above.split(':'))
        .try_fold(json, |json, key| json.get_mut(key));
    parent
        .and_then(Json::as_object_mut)
        .is_some_and(|map| map.shift_remove(last).is_some())
}

/// `json` in the way that `like` is indented: as its first indented line; by two blanks where there is none.
fn text(json: &Json, like: &str) -> String {
    let first = like
        .lines()
        .find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
    let indent = first.map_or("  ", |line| &line[..line.len() - line.trim_start().len()]);
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // A value that was parsed can always be written.
    let _ = json.serialize(&mut serializer);
    String::from_utf8_lossy(&bytes).into_owned() + "\n"
}

impl Keys {
    /// The file's entry, that of what a symlink leads to, and the path that is written.
    fn entry<'a>(&'a self, seen: &'a Observed) -> Result<(Option<&'a Entry>, &'a str)> {
        let entry = seen.entry(&self.name)?;
        Ok(match entry.and_then(|entry| entry.leads_to.as_ref()) {
            Some(target) => (Some(&target.entry), &target.path),
            None => (entry, &self.name),
        })
    }
}

impl StateFunction for Keys {
    fn check(&self) -> Result<()> {
        if self.keys.as_map().is_none() {
            return Err(Error::usage(format!("`keys` must be a mapping, not {}", self.keys.kind())).at(self.keys.at));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::text(&self.name)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (entry, path) = self.entry(seen)?;
        if let Some(other) = entry.filter(|entry| entry.kind != FileKind::File) {
            return Ok(Decision::Fails(format!("{} is not a file ({:?})", self.name, other.kind)));
        }
        if entry.is_some_and(|entry| entry.contents.is_none()) {
            return Ok(Decision::Fails(format!("{} is too large to be edited", self.name)));
        }
        let old = entry
            .and_then(|entry| entry.contents.as_deref())
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        let mut json = match old.trim() {
            "" => Json::Object(Map::new()),
            _ => serde_json::from_str(&old).map_err(|e| {
                Error::state(format!("{} is not valid JSON: {e}", self.name)).hint("it was left as it is; mend it, or remove it")
            })?,
        };
        if !json.is_object() {
            return Ok(Decision::Fails(format!(
                "{} holds no JSON object, so it has no keys",
                self.name
            )));
        }
        let before = json.clone();
        let mut changed = lay(&mut json, &Json::from(&self.keys), self.append);
        for path in &self.absent {
            changed |= remove(&mut json, path);
        }
        let new = text(&json, &old);
        let mode = self.mode.as_ref().map(|mode| mode.0);
        let wrong_mode = entry.is_some_and(|entry| mode.is_some_and(|mode| mode != entry.mode));
        let wrong_owner = entry.is_some_and(|entry| {
            self.user.as_ref().is_some_and(|user| *user != entry.user)
                || self.group.as_ref().is_some_and(|group| *group != entry.group)
        });
        if entry.is_some() && !changed && !wrong_mode && !wrong_owner {
            return Ok(Decision::Holds(format!("File {} has the keys", self.name)));
        }
        let mut change = Change::new(
            format!("The file {} is set to be changed", self.name),
            format!("File {} updated", self.name),
        );
        for (key, value) in json.as_object().into_iter().flatten() {
            let was = before.get(key).cloned().unwrap_or(Json::Null);
            if was != *value {
                change = change.from_to(key.clone(), was, value.clone());
            }
        }
        for key in before
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| json.get(*key).is_none())
        {
            change = change.from_to(key.clone(), before[key].clone(), Json::Null);
        }
        if let (Some(entry), Some(mode), true) = (entry, mode, wrong_mode) {
            change = change.from_to("mode", format!("{:04o}", entry.mode), format!("{mode:04o}"));
        }
        if wrong_owner {
            change = change.change(
                "owner",
                format!(
                    "{}:{}",
                    self.user.as_deref().unwrap_or(""),
                    self.group.as_deref().unwrap_or("")
                ),
            );
        }
        if entry.is_none() && change.changes.is_empty() {
            change = change.change("new", self.name.clone());
        }
        let content = if changed || entry.is_none() {
            new
        } else {
            old.clone().into_owned()
        };
        if let (true, Some((folder, _))) = (self.makedirs, self.name.rsplit_once('/')) {
            change = change.step(Step::shell("mkdir", format!("[ -d {0} ] || mkdir -p {0}", quote(folder))));
        }
        change.diffs.push(TextDiff {
            name: self.name.clone(),
            old: old.into_owned(),
            new: content.clone(),
        });
        let mut made = entry.cloned().unwrap_or_else(|| Entry {
            mode: 0o644,
            ..Entry::default()
        });
        made.contents = Some(Arc::from(content.as_bytes()));
        made.mode = mode.unwrap_or(made.mode);
        let step = PutFile {
            path: path.to_owned(),
            content: content.into(),
            user: self.user.clone(),
            group: self.group.clone(),
            mode: mode.map(|mode| format!("{mode:04o}")),
            check: self.check_cmd.clone(),
            keep: true,
            ..PutFile::default()
        };
        let predicted = PathSeen {
            entry: Some(made),
            ..PathSeen::default()
        };
        Ok(change.step(step).predict(Fact::Path(path.to_owned(), predicted)).into())
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Path(self.name.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const FILE: &str = "/etc/docker/daemon.json";

    #[test]
    fn keys_are_laid_over_what_is_there() {
        let cases = [
            ("", "{keys: {a: 1}}", "{\n  \"a\": 1\n}\n"),
            (
                "{\n    \"z\": 1,\n    \"a\": {\"x\": 1}\n}\n",
                "{keys: {a: {y: true}}}",
                "{\n    \"z\": 1,\n    \"a\": {\n        \"x\": 1,\n        \"y\": true\n    }\n}\n",
            ),
            ("{\"l\": [1]}", "{keys: {l: [2]}}", "{\n  \"l\": [\n    2\n  ]\n}\n"),
            (
                "{\"l\": [1]}",
                "{keys: {l: [2]}, append: true}",
                "{\n  \"l\": [\n    1,\n    2\n  ]\n}\n",
            ),
            (
                "{\"a\": {\"b\": 1, \"c\": 2}}",
                "{absent: ['a:b']}",
                "{\n  \"a\": {\n    \"c\": 2\n  }\n}\n",
            ),
        ];
        for (old, arguments, new) in cases {
            let arguments = format!("{{name: {FILE}, {}", &arguments[1..]);
            let world = if old.is_empty() { Vec::new() } else { vec![file(FILE, old)] };
            let change = state("json.keys", &arguments).sees(world).change();
            assert_eq!(change.diffs[0].new, new, "{arguments}");
            let again = state("json.keys", &arguments).sees([file(FILE, new)]);
            assert!(matches!(again.decide(), Ok(Decision::Holds(_))), "{arguments}");
        }
    }

    #[test]
    fn a_broken_file_is_left_alone() {
        let case = state("json.keys", &format!("{{name: {FILE}, keys: {{a: 1}}}}")).sees([file(FILE, "{\n  \"a\": 1,\n}\n")]);
        assert_eq!(
            case.decide().unwrap_err().to_string(),
            format!("{FILE} is not valid JSON: trailing comma at line 3 column 1")
        );
    }
}
