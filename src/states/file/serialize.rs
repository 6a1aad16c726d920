//! `file.serialize`: data written as JSON, YAML, TOML or INI.

use super::dump::{Format, Options, dump, load, merged};
use super::owner::Owner;
use super::place::{Parents, absolute};
use super::put::{Comments, Put, Wanted, regular};
use super::text::{Found, backup_suffix, found};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::states::{Context, Decision, StateFunction};
use crate::yaml::{Mode, Pairs, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a file contains data, written as JSON, YAML, TOML or an INI file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serialize {
    /// The file's absolute path.
    name: String,
    /// The data.
    dataset: Option<Value>,
    /// The pillar key whose value is the data.
    dataset_pillar: Option<String>,
    /// The format: `yaml` (where nothing is said), `json`, `toml`, `configparser`.
    serializer: Option<String>,
    /// The same as `serializer`.
    formatter: Option<String>,
    /// How it is written. For `json`: `indent`, `sort_keys`, `ensure_ascii`, `separators`; for `yaml`: `indent`, `sort_keys`,
    /// `default_flow_style`, `width`.
    serializer_opts: Option<Pairs<Value>>,
    /// Accepted as Salt has it; nothing about reading is left open.
    #[expect(dead_code, reason = "files are read in one way only")]
    deserializer_opts: Option<Value>,
    /// Lay the data over what the file contains, mappings recursively, instead of replacing it.
    #[serde(default)]
    merge_if_exists: bool,
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
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// With `False`, a file that does not exist is not made.
    #[serde(default = "yes")]
    create: bool,
    /// With any value, `json` writes characters beyond ASCII as themselves; the file is always UTF-8.
    encoding: Option<String>,
    /// Accepted as Salt has it; nothing is left to be decided in UTF-8.
    #[expect(dead_code, reason = "UTF-8 has every character")]
    encoding_errors: Option<String>,
}

fn yes() -> bool {
    true
}

impl Serialize {
    fn format(&self) -> Result<Format> {
        let name = self.serializer.as_deref().or(self.formatter.as_deref()).unwrap_or("yaml");
        Format::named(name)
    }

    fn options(&self) -> Result<Options> {
        let format = self.format()?;
        let mut options = Options::new(format, self.encoding.is_some());
        for (name, value) in self.serializer_opts.iter().flat_map(|pairs| pairs.iter()) {
            options.set(format, name, value)?;
        }
        Ok(options)
    }

    fn put<'a>(&'a self, path: &'a str, owner: &'a Owner, bytes: Vec<u8>) -> Put<'a> {
        let mode = self.mode.map(|mode| mode.0);
        let mut comments = Comments::managed(path);
        comments.would = format!("Dataset will be serialized and stored into {path}");
        Put {
            path,
            wanted: Wanted::Bytes(bytes.into()),
            owner,
            mode,
            parents: Parents {
                path,
                make: self.makedirs,
                owner,
                mode: self.dir_mode.map(|mode| mode.0).or(mode.map(super::managed::searchable)),
            },
            follow: true,
            check: None,
            tmp_dir: None,
            tmp_ext: None,
            show: self.show_changes,
            compare: true,
            suffix: backup_suffix(self.backup.as_ref()),
            comments,
        }
    }
}

impl StateFunction for Serialize {
    fn check(&self) -> Result<()> {
        if self.serializer.is_some() && self.formatter.is_some() {
            return Err(Error::usage("only one of `serializer` and `formatter` is allowed"));
        }
        match (&self.dataset, &self.dataset_pillar) {
            (Some(_), Some(_)) => return Err(Error::usage("only one of `dataset` and `dataset_pillar` is permitted")),
            (None, None) => return Err(Error::usage("`dataset` or `dataset_pillar` is needed: the data")),
            _ => {}
        }
        let options = self.options()?;
        if let Some(data) = &self.dataset {
            dump(self.format()?, data, &options).map_err(|e| Error::usage(e.to_string()).at(data.at))?;
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = Owner::new(&self.user, &self.group);
        let mut probes = self.put(path, &owner, Vec::new()).probes();
        if self.merge_if_exists {
            probes.push(Probe::text(path));
        }
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let (format, options) = (self.format()?, self.options()?);
        if !self.create && regular(seen, path)?.is_none() {
            return Ok(Decision::Holds(format!(
                "File {path} is not present and is not set for creation"
            )));
        }
        let mut data = match (&self.dataset, &self.dataset_pillar) {
            (Some(data), _) => data.clone(),
            (_, Some(key)) => match context.pillar.traverse(key, ":") {
                Some(data) => data.clone(),
                None => return Ok(Decision::Fails(format!("Pillar {key} does not exist"))),
            },
            _ => Value::default(),
        };
        let mut unchanged = None;
        if self.merge_if_exists {
            match found(path, seen.entry(path)?)? {
                Found::Missing => {}
                Found::No(why) => return Ok(Decision::Fails(why)),
                Found::Text(there) => {
                    let old = match load(format, path, &there.text) {
                        Ok(old) => old,
                        Err(why) => return Ok(Decision::Fails(format!("Failed to deserialize existing data: {why}"))),
                    };
                    let new = if old.is_null() { data.clone() } else { merged(&old, &data) };
                    // Data that is there already is left as it is written.
                    if new == old {
                        unchanged = Some(there.encode(&there.text)?);
                    }
                    data = new;
                }
            }
        }
        let bytes = match unchanged {
            Some(bytes) => bytes,
            None => (dump(format, &data, &options)? + "\n").into_bytes(),
        };
        let owner = Owner::new(&self.user, &self.group);
        self.put(path, &owner, bytes).decide(seen)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name).map(super::place::touched).unwrap_or_default()
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

    #[test]
    fn data_is_written() {
        let case = state(
            "file.serialize",
            "{name: /x.json, dataset: {b: [1, a], a: true}, formatter: json, mode: 640}",
        );
        assert_snapshot!(case.sees([file("/x.json", "{}\n")]).shows(), @r#"
        would: Dataset will be serialized and stored into /x.json
        did: File /x.json updated
          @@ -1 +1,7 @@
          -{}
          +{
          +  "a": true,
          +  "b": [
          +    1,
          +    "a"
          +  ]
          +}
        changes: {"mode":"0640"}
        put /x.json mode=0640 keep
          {
            "a": true,
            "b": [
              1,
              "a"
            ]
          }
        "#);
        let case = state("file.serialize", "{name: /x, dataset_pillar: 'my:data'}").pillar("{my: {data: {b: [1, a], a: 'yes'}}}");
        assert_snapshot!(case.shows(), @r#"
        would: Dataset will be serialized and stored into /x
        did: File /x updated
        changes: {"diff":"New file"}
        put /x keep
          a: 'yes'
          b:
          - 1
          - a
        "#);
        let case = state("file.serialize", "{name: /x, dataset: {a: 1}, create: false}");
        assert_snapshot!(case.shows(), @"holds: File /x is not present and is not set for creation");
    }

    #[test]
    fn data_is_laid_over_what_is_there() {
        let arguments = "{name: /x, dataset: {a: {b: 1}}, formatter: json, merge_if_exists: true}";
        let case = state("file.serialize", arguments).sees([file("/x", "{\"a\": {\"c\": 2}}")]);
        assert_snapshot!(case.shows(), @r#"
        would: Dataset will be serialized and stored into /x
        did: File /x updated
          @@ -1 +1,6 @@
          -{"a": {"c": 2}}
          \ No newline at end of file
          +{
          +  "a": {
          +    "b": 1,
          +    "c": 2
          +  }
          +}
        put /x keep
          {
            "a": {
              "b": 1,
              "c": 2
            }
          }
        "#);
        let case = state("file.serialize", arguments).sees([file("/x", "{\"a\": {\"b\": 1,   \"c\": 2}}")]);
        assert_snapshot!(case.shows(), @"holds: The file /x is in the correct state");
        let case = state("file.serialize", arguments).sees([file("/x", "{\"a\": ")]);
        assert_snapshot!(case.shows(), @"fails: Failed to deserialize existing data: EOF while parsing a value at line 1 column 6");
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("file.serialize", "{name: /x}"), @"`dataset` or `dataset_pillar` is needed: the data");
        assert_snapshot!(refusal("file.serialize", "{name: /x, dataset: 1, formatter: jsn}"), @r"
        the jsn serializer is not known
        hint: did you mean `json`?
        hint: known are configparser, json, toml, yaml
        ");
        assert_snapshot!(refusal("file.serialize", "{name: /x, dataset: [1], formatter: toml}"), @"test.sls:1:21: the data cannot be written as TOML: unsupported array type");
        assert_snapshot!(refusal("file.serialize", "{name: /x, dataset: {}, formatter: json, serializer_opts: [{indnt: 1}]}"), @r"
        unknown serializer option `indnt`
        hint: did you mean `indent`?
        hint: known are indent, sort_keys, ensure_ascii, separators
        ");
        assert_snapshot!(state("file.serialize", "{name: /x, dataset_pillar: a}").shows(), @"fails: Pillar a does not exist");
    }
}
