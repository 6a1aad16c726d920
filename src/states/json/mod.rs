//! `json.keys`, a state function of picloud's own: keys of a JSON file, everything else left as it is.

mod text;

use super::file::managed::{check, searchable};
use super::file::owner::Owner;
use super::file::place::{Parents, absolute, touched};
use super::file::put::{Comments, Put, Wanted};
use super::file::text::{Found, backup_suffix, found};
use super::{Context, Decision, Function, Functions, StateFunction};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::yaml::{Data, Map, Mode, OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use text::Text;

pub static FUNCTIONS: Functions = &[Function::of::<Keys>("json.keys", false)];

/// Ensures that keys of a JSON file have values, or are not there; everything else stays as it is written.
///
/// For files that several have a say in, such as `/etc/docker/daemon.json`. The order of keys and the indentation are kept; a file
/// that is no JSON is refused. A file that does not exist is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The file's absolute path.
    name: String,
    /// Keys and their values. A mapping is merged into the object that is there; everything else, lists too, replaces what is there.
    keys: Option<Value>,
    /// Lists, under their keys, and the values that they must have: what they lack is added at their end. `True` means all lists in
    /// `keys`.
    append: Option<Value>,
    /// Keys that must not be there: names, and `a:b` for `b` inside of `a`. A mapping names what must not be in the object or list
    /// under its key: `{insecure-registries: ["old:5000"]}`.
    absent: Option<Value>,
    /// The owner, by name or number.
    user: Option<String>,
    /// The group, by name or number.
    group: Option<String>,
    /// The mode, as octal digits.
    mode: Option<Mode>,
    /// Make the folders that lead to the file.
    #[serde(default)]
    makedirs: bool,
    /// The mode of folders made by `makedirs`; by default the file's, with `x` wherever it has anything.
    dir_mode: Option<Mode>,
    /// With `False`, a file that does not exist is not made.
    #[serde(default = "yes")]
    create: bool,
    /// A command that is given the path of the new file as its last word, before that takes its place, and must succeed:
    /// `dockerd --validate --config-file`.
    check_cmd: Option<OneOrMany<String>>,
    /// The folder in which the candidate for `check_cmd` is written; the file's own by default.
    tmp_dir: Option<String>,
    /// What the candidate's name ends with, for checkers that look at it: `.json`.
    tmp_ext: Option<String>,
    /// Spaces for each level, where the file does not show how it is indented.
    #[serde(default = "two")]
    indent: usize,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

fn yes() -> bool {
    true
}

fn two() -> usize {
    2
}

/// What was changed: a path of keys, and the values before and after.
type Told = Vec<(Vec<String>, Option<Json>, Option<Json>)>;

impl Keys {
    fn mapping<'a>(name: &str, given: &'a Option<Value>) -> Result<Option<&'a Map>> {
        let Some(value) = given.as_ref().filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match value.as_map() {
            Some(map) => Ok(Some(map)),
            None => Err(Error::usage(format!("`{name}` must be a mapping, not {}", value.kind()))
                .at(value.at)
                .hint(format!("indent its keys by four spaces below `- {name}:`"))),
        }
    }

    /// Whether the lists in `keys` are added to.
    fn appends(&self) -> bool {
        self.append.as_ref().and_then(Value::as_bool) == Some(true)
    }

    /// The lists that are named for themselves.
    fn lists(&self) -> Result<Option<&Map>> {
        match self.append.as_ref().and_then(Value::as_bool) {
            Some(_) => Ok(None),
            None => Keys::mapping("append", &self.append),
        }
    }

    /// The new text.
    fn edited(&self, old: &str, told: &mut Told) -> Result<Result<String, String>> {
        let mut text = match Text::new(old, self.indent.min(16)) {
            Ok(text) => text,
            Err(why) => return Ok(Err(format!("it is no JSON: {why}"))),
        };
        if !text.get(&[]).is_some_and(|root| root.is_object()) {
            return Ok(Err("it is JSON, but no object with keys".to_owned()));
        }
        if let Some(keys) = Keys::mapping("keys", &self.keys)? {
            merge(&mut text, &mut Vec::new(), keys, self.appends(), told);
        }
        if let Some(lists) = self.lists()?
            && let Err(why) = append(&mut text, &mut Vec::new(), lists, told)
        {
            return Ok(Err(why));
        }
        if let Some(absent) = &self.absent {
            remove(&mut text, &mut Vec::new(), absent, told);
        }
        Ok(Ok(text.text))
    }

    fn put<'a>(&self, path: &'a str, owner: &'a Owner, wanted: Wanted) -> Put<'a> {
        let mode = self.mode.map(|mode| mode.0);
        Put {
            path,
            wanted,
            owner,
            mode,
            parents: Parents {
                path,
                make: self.makedirs,
                owner,
                mode: self.dir_mode.map(|mode| mode.0).or(mode.map(searchable)),
            },
            follow: true,
            check: self.check_cmd.as_ref().map(check),
            tmp_dir: self.tmp_dir.clone(),
            tmp_ext: self.tmp_ext.clone(),
            show: self.show_changes,
            compare: true,
            suffix: backup_suffix(self.backup.as_ref()),
            comments: Comments::managed(path),
        }
    }
}

/// Sets what `keys` say below `path`.
fn merge(text: &mut Text, path: &mut Vec<String>, keys: &Map, appends: bool, told: &mut Told) {
    for (key, value) in keys {
        path.push(key.text());
        let there = text.get(path);
        match &value.data {
            Data::Map(inner) if !inner.is_empty() && there.as_ref().is_some_and(Json::is_object) => {
                merge(text, path, inner, appends, told)
            }
            Data::Map(inner) if inner.is_empty() && there.as_ref().is_some_and(Json::is_object) => {}
            Data::List(items) if appends && there.as_ref().is_some_and(Json::is_array) => extend(text, path, items, told),
            _ => {
                let new = Json::from(value);
                if there.as_ref() != Some(&new) {
                    text.set(path, &new);
                    told.push((path.clone(), there, Some(new)));
                }
            }
        }
        path.pop();
    }
}

/// Adds what the list at `path` lacks of `items`.
fn extend(text: &mut Text, path: &[String], items: &[Value], told: &mut Told) {
    let there = text.get(path);
    for item in items {
        let new = Json::from(item);
        if !text
            .get(path)
            .is_some_and(|list| list.as_array().is_some_and(|list| list.contains(&new)))
        {
            text.append(path, &new);
        }
    }
    let now = text.get(path);
    if now != there {
        told.push((path.to_vec(), there, now));
    }
}

/// Adds what the lists below `path` lack.
fn append(text: &mut Text, path: &mut Vec<String>, lists: &Map, told: &mut Told) -> Result<(), String> {
    for (key, value) in lists {
        path.push(key.text());
        if let Data::Map(inner) = &value.data {
            append(text, path, inner, told)?;
            path.pop();
            continue;
        }
        let there = text.get(path);
        if let Some(there) = there.as_ref().filter(|there| !there.is_array() && !there.is_null()) {
            return Err(format!("{} is {there}, not a list to append to", path.join(":")));
        }
        extend(text, path, value.as_list().unwrap_or(std::slice::from_ref(value)), told);
        path.pop();
    }
    Ok(())
}

/// Takes away what `absent` names below `path`.
fn remove(text: &mut Text, path: &mut Vec<String>, absent: &Value, told: &mut Told) {
    match &absent.data {
        Data::List(items) => items.iter().for_each(|item| remove(text, path, item, told)),
        Data::Map(inner) => {
            for (key, value) in inner {
                path.push(key.text());
                remove(text, path, value, told);
                path.pop();
            }
        }
        _ => match text.get(path) {
            Some(Json::Array(items)) => {
                let unwanted = Json::from(absent);
                let same =
                    |item: &Json| *item == unwanted || (item.is_string() && item.as_str() == absent.scalar_text().as_deref());
                let Some(n) = items.iter().position(same) else { return };
                text.remove_item(path, n);
                told.push((path.clone(), Some(Json::from(items)), text.get(path)));
                // There may be another one like it.
                remove(text, path, absent, told);
            }
            Some(Json::Object(map)) => {
                let name = absent.scalar_text().unwrap_or_default();
                let below: Vec<String> = if map.contains_key(&name) {
                    vec![name]
                } else {
                    name.split(':').map(str::to_owned).collect()
                };
                let whole: Vec<String> = path.iter().cloned().chain(below).collect();
                if let Some(old) = text.get(&whole) {
                    text.remove(&whole);
                    told.push((whole, Some(old), None));
                }
            }
            _ => {}
        },
    }
}

impl StateFunction for Keys {
    fn check(&self) -> Result<()> {
        Keys::mapping("keys", &self.keys)?;
        self.lists()?;
        if self.keys.is_none() && self.append.is_none() && self.absent.is_none() {
            return Err(Error::usage("nothing is asked for").hint("name keys under `keys`, `append` or `absent`"));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = Owner::new(&self.user, &self.group);
        let mut probes = self.put(path, &owner, Wanted::Any).probes();
        probes.push(Probe::text(path));
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let old = match found(path, seen.entry(path)?)? {
            Found::Text(text) => Some(text),
            Found::Missing if self.create => None,
            Found::Missing => {
                return Ok(Decision::Holds(format!(
                    "File {path} is not present and is not set for creation"
                )));
            }
            Found::No(why) => return Ok(Decision::Fails(why)),
        };
        let mut told = Told::new();
        let text = match self.edited(old.as_ref().map_or("", |old| &old.text), &mut told)? {
            Ok(text) => text,
            Err(why) => return Ok(Decision::Fails(format!("{path} was left as it is: {why}"))),
        };
        let bytes = match &old {
            Some(old) if told.is_empty() => old.encode(&old.text)?,
            Some(old) => old.encode(&text)?,
            None => text.into_bytes(),
        };
        let owner = Owner::new(&self.user, &self.group);
        Ok(match self.put(path, &owner, Wanted::Bytes(bytes.into())).decide(seen)? {
            Decision::Change(mut change) => {
                if self.show_changes {
                    for (path, old, new) in told {
                        let entry = change.changes.entry(path.join(":")).or_insert_with(|| json!({"old": old}));
                        entry["new"] = new.into();
                    }
                }
                change.into()
            }
            decision => decision,
        })
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name).map(touched).unwrap_or_default()
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Path(path.to_owned())])
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    const DAEMON: &str = "{\n    \"log-driver\": \"json-file\",\n    \"log-opts\": { \"max-size\": \"1m\", \"max-file\": \"3\" },\n    \"insecure-registries\": [\"old:5000\"],\n    \"debug\": true\n}\n";

    #[test]
    fn keys_are_merged() {
        let case = state(
            "json.keys",
            "{name: /etc/docker/daemon.json, keys: {log-opts: {max-size: 10m}, live-restore: true}, append: {insecure-registries: ['reg:5000', 'old:5000']}, absent: [debug, 'log-opts:max-file'], mode: 644, check_cmd: dockerd --validate --config-file}",
        );
        let case = case.sees([dir("/etc/docker"), file("/etc/docker/daemon.json", DAEMON)]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/docker/daemon.json is set to be changed
        did: File /etc/docker/daemon.json updated
          @@ -1,6 +1,6 @@
           {
               "log-driver": "json-file",
          -    "log-opts": { "max-size": "1m", "max-file": "3" },
          -    "insecure-registries": ["old:5000"],
          -    "debug": true
          +    "log-opts": { "max-size": "10m" },
          +    "insecure-registries": ["old:5000", "reg:5000"],
          +    "live-restore": true
           }
        changes: {"log-opts:max-size":{"old":"1m","new":"10m"},"live-restore":{"old":null,"new":true},"insecure-registries":{"old":["old:5000"],"new":["old:5000","reg:5000"]},"debug":{"old":true,"new":null},"log-opts:max-file":{"old":"3","new":null}}
        put /etc/docker/daemon.json mode=0644 check=dockerd --validate --config-file keep
          {
              "log-driver": "json-file",
              "log-opts": { "max-size": "10m" },
              "insecure-registries": ["old:5000", "reg:5000"],
              "live-restore": true
          }
        "#);
    }

    #[test]
    fn what_holds_is_left_as_it_is_written() {
        let case = state(
            "json.keys",
            "{name: /x, keys: {log-opts: {max-size: 1m}, debug: true, n: {}}, append: {insecure-registries: 'old:5000'}, absent: {log-opts: [labels], insecure-registries: [a]}}",
        );
        assert_snapshot!(case.sees([file("/x", "{\"debug\" :true,\"n\":{\"x\":1}, \"log-opts\":{\"max-size\":\"1m\"},\n\"insecure-registries\":[\"old:5000\"]}")]).shows(), @"holds: The file /x is in the correct state");
    }

    #[test]
    fn a_new_file() {
        let case = state(
            "json.keys",
            "{name: /etc/docker/daemon.json, keys: {a: {b: [1, 2]}}, makedirs: true, indent: 4}",
        );
        assert_snapshot!(case.sees([dir("/etc")]).shows(), @r#"
        would: The file /etc/docker/daemon.json is set to be changed
        did: File /etc/docker/daemon.json updated
        changes: {"diff":"New file","a":{"old":null,"new":{"b":[1,2]}}}
        sh mkdir /etc/docker
          umask 022
          [ -d /etc/docker ] || { mkdir /etc/docker; } || exit 1
        put /etc/docker/daemon.json keep
          {
              "a": {
                  "b": [
                      1,
                      2
                  ]
              }
          }
        "#);
        assert_snapshot!(state("json.keys", "{name: /x, keys: {a: 1}, create: false}").shows(), @"holds: File /x is not present and is not set for creation");
    }

    #[test]
    fn lists_in_keys_may_be_added_to() {
        let case = state("json.keys", "{name: /x, keys: {l: [2, 1], o: {m: [3]}}, append: true}");
        assert_snapshot!(case.sees([file("/x", "{\"l\": [1]}")]).shows(), @r#"
        would: The file /x is set to be changed
        did: File /x updated
          @@ -1 +1 @@
          -{"l": [1]}
          \ No newline at end of file
          +{"l": [1, 2], "o": {"m": [3]}}
          \ No newline at end of file
        changes: {"l":{"old":[1],"new":[1,2]},"o":{"old":null,"new":{"m":[3]}}}
        put /x keep
          {"l": [1, 2], "o": {"m": [3]}}
        "#);
    }

    #[test]
    fn values_go() {
        let case = state("json.keys", "{name: /x, absent: [{r: ['a:1', 2]}, {o: [k]}]}");
        assert_snapshot!(case.sees([file("/x", "{\"r\": [\"a:1\", 2, 3, 2], \"o\": {\"k\": 1}}")]).shows(), @r#"
        would: The file /x is set to be changed
        did: File /x updated
          @@ -1 +1 @@
          -{"r": ["a:1", 2, 3, 2], "o": {"k": 1}}
          \ No newline at end of file
          +{"r": [3], "o": {}}
          \ No newline at end of file
        changes: {"r":{"old":["a:1",2,3,2],"new":[3]},"o:k":{"old":1,"new":null}}
        put /x keep
          {"r": [3], "o": {}}
        "#);
    }

    #[test]
    fn what_cannot_be() {
        let case = state("json.keys", "{name: /x, keys: {a: 1}}").sees([file("/x", "{\n  \"a\": 1,\n}\n")]);
        assert_snapshot!(case.shows(), @"fails: /x was left as it is: it is no JSON: trailing comma at line 3 column 1");
        assert_snapshot!(state("json.keys", "{name: /x, keys: {a: 1}}").sees([file("/x", "[]")]).shows(), @"fails: /x was left as it is: it is JSON, but no object with keys");
        assert_snapshot!(state("json.keys", "{name: /x, append: {a: 1}}").sees([file("/x", "{\"a\": {}}")]).shows(), @"fails: /x was left as it is: a is {}, not a list to append to");
        assert_snapshot!(refusal("json.keys", "{name: /x}"), @r"
        nothing is asked for
        hint: name keys under `keys`, `append` or `absent`
        ");
        assert_snapshot!(refusal("json.keys", "{name: /x, keys: [a]}"), @r"
        test.sls:1:18: `keys` must be a mapping, not a list
        hint: indent its keys by four spaces below `- keys:`
        ");
    }
}
