//! `ini.*`: options and sections of INI files. Unlike Salt, what is not named is left as it is written.

mod document;

use super::file::edit::{Edit, Target, edits};
use super::file::owner::Owner;
use super::{Context, Decision, Function, Functions, StateFunction};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::yaml::{Data, Map, OneOrMany, Value};
use document::{Changed, Document};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

pub static FUNCTIONS: Functions = &[
    Function::of::<OptionsAbsent>("ini.options_absent", false),
    Function::of::<OptionsPresent>("ini.options_present", false),
    Function::of::<SectionsAbsent>("ini.sections_absent", false),
    Function::of::<SectionsPresent>("ini.sections_present", false),
];

/// Ensures that options of an INI file have values.
///
/// What is not named stays as it is written, comments and order included. An option that is commented out (`#key = ...`) is put to
/// use where it stands; a new one goes behind the last of its section. Values are written as the SLS has them: `yes` stays `yes`.
/// A file that does not exist is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsPresent {
    /// The file's absolute path.
    name: String,
    /// Sections, each a mapping of options to values; an option that stands before the first section is given by itself.
    sections: Value,
    /// What stands between option and value.
    #[serde(default = "equals")]
    separator: String,
    /// Whether the sections named have no other options; nor has the part before the first section.
    #[serde(default)]
    strict: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// The file's encoding; only `utf-8` is known.
    encoding: Option<String>,
}

/// Ensures that an INI file does not have options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsAbsent {
    /// The file's absolute path.
    name: String,
    /// Sections, each a list of options; an option before the first section is a key of its own without a list.
    sections: Value,
    /// What stands between option and value.
    #[serde(default = "equals")]
    separator: String,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// Ensures that an INI file has sections, empty where they are new. A file that does not exist is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SectionsPresent {
    /// The file's absolute path.
    name: String,
    /// The sections' names.
    sections: Value,
    /// Accepted as Salt has it: sections alone have no separator.
    #[serde(default = "equals")]
    separator: String,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// Ensures that an INI file does not have sections, nor what is in them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SectionsAbsent {
    /// The file's absolute path.
    name: String,
    /// The sections' names.
    sections: Value,
    /// Accepted as Salt has it: sections alone have no separator.
    #[serde(default = "equals")]
    separator: String,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// With `False`, the difference is not shown.
    #[serde(default = "yes")]
    show_changes: bool,
}

/// A section's name, and its options with their values.
type Wanted = (String, Vec<(String, String)>);

fn equals() -> String {
    "=".to_owned()
}

fn yes() -> bool {
    true
}

fn target<'a>(name: &'a str, backup: Option<&'a Value>, show: bool, create: bool) -> Target<'a> {
    Target {
        name,
        backup,
        show,
        create: create.then_some(false),
        owner: Owner::default(),
        mode: None,
    }
}

/// The section's name where it is one: `''` stands for the part before the first.
fn named(section: &str) -> Option<&str> {
    Some(section).filter(|section| !section.is_empty())
}

/// The new text, with what was done to it said line by line.
fn edited(document: &Document, old: &str, done: Vec<String>) -> Edit {
    let text = document.text();
    if text == old {
        return Edit::Holds("No anomaly detected".to_owned());
    }
    Edit::New {
        text,
        would: done.join("\n"),
        did: "Changes take effect".to_owned(),
    }
}

/// Adds what Salt's `changes` say of options and sections to those of the edit.
fn telling(decision: Decision, told: serde_json::Map<String, Json>, show: bool) -> Decision {
    match decision {
        Decision::Change(mut change) => {
            if show {
                change.changes.extend(told);
            }
            change.into()
        }
        decision => decision,
    }
}

fn mapping(sections: &Value) -> Result<&Map> {
    sections.as_map().ok_or_else(|| {
        Error::usage(format!("`sections` must be a mapping, not {}", sections.kind()))
            .at(sections.at)
            .hint("write the sections' names as its keys, indented by four spaces")
    })
}

/// A value's text in an INI file.
fn text(value: &Value) -> Result<String> {
    if value.is_null() {
        return Ok(String::new());
    }
    value.scalar_text().ok_or_else(|| {
        Error::usage(format!("an option's value is text or a number, not {}", value.kind()))
            .at(value.at)
            .hint("join a list into one text, as the program that reads the file wants it")
    })
}

impl OptionsPresent {
    /// Section, option and value; the part before the first section is `''`, and comes first.
    fn wanted(&self) -> Result<Vec<Wanted>> {
        let mut top = Vec::new();
        let mut sections = Vec::new();
        for (key, value) in mapping(&self.sections)? {
            match &value.data {
                Data::Map(options) => {
                    let mut pairs = Vec::new();
                    for (option, value) in options {
                        pairs.push((option.text(), text(value)?));
                    }
                    sections.push((key.text(), pairs));
                }
                _ => top.push((key.text(), text(value)?)),
            }
        }
        sections.insert(0, (String::new(), top));
        Ok(sections)
    }

    fn target(&self) -> Target<'_> {
        target(&self.name, self.backup.as_ref(), self.show_changes, true)
    }

    fn edit(&self, old: &str, told: &mut serde_json::Map<String, Json>) -> Result<Edit> {
        let mut document = Document::new(old, &self.separator);
        let mut done = Vec::new();
        for (section, options) in self.wanted()? {
            let within = if section.is_empty() {
                String::new()
            } else {
                format!(" in section {section}")
            };
            let mut changed: Vec<(String, Changed)> = Vec::new();
            if self.strict {
                let there = document.options(named(&section));
                for (key, _) in there
                    .into_iter()
                    .filter(|(key, _)| !options.iter().any(|(wanted, _)| wanted == key))
                {
                    let before = document.remove(named(&section), &key);
                    done.push(format!("Deleted key {key}{within}."));
                    changed.push((key, Changed { before, after: None }));
                }
            }
            if document.add_section(named(&section)) && options.is_empty() {
                done.push(format!("Created new section {section}."));
            }
            for (key, value) in &options {
                if let Some(change) = document.set(named(&section), key, value)? {
                    done.push(format!("Changed key {key}{within}."));
                    changed.push((key.clone(), change));
                }
            }
            let entries = changed
                .into_iter()
                .map(|(key, change)| (key, json!({"before": change.before, "after": change.after})));
            if section.is_empty() {
                told.extend(entries);
            } else {
                let entries: serde_json::Map<String, Json> = entries.collect();
                if !entries.is_empty() {
                    told.insert(section, entries.into());
                }
            }
        }
        Ok(edited(&document, old, done))
    }
}

impl StateFunction for OptionsPresent {
    fn check(&self) -> Result<()> {
        check_separator(&self.separator)?;
        if let Some(encoding) = &self.encoding
            && !matches!(encoding.to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "ascii")
        {
            return Err(Error::usage(format!("unknown encoding {encoding:?}")).hint("files are read and written as `utf-8`"));
        }
        self.wanted().map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let mut told = serde_json::Map::new();
        let decision = self.target().decide(seen, |old| self.edit(old, &mut told))?;
        Ok(telling(decision, told, self.show_changes))
    }

    edits!();
}

fn check_separator(separator: &str) -> Result<()> {
    if separator.is_empty() || separator.contains('\n') {
        return Err(Error::usage("`separator` must be some characters of one line"));
    }
    Ok(())
}

impl OptionsAbsent {
    /// Section and options; `''` is the part before the first section.
    fn unwanted(&self) -> Result<Vec<(String, Vec<String>)>> {
        let mut unwanted = Vec::new();
        for (key, value) in mapping(&self.sections)? {
            let options = match &value.data {
                Data::List(items) => {
                    let mut options = Vec::new();
                    for item in items {
                        options.push(text(item)?);
                    }
                    options
                }
                Data::Map(options) => options.keys().map(|key| key.text()).collect(),
                _ => {
                    unwanted.push((String::new(), vec![key.text()]));
                    continue;
                }
            };
            unwanted.push((key.text(), options));
        }
        Ok(unwanted)
    }

    fn target(&self) -> Target<'_> {
        target(&self.name, self.backup.as_ref(), self.show_changes, false)
    }

    fn edit(&self, old: &str, told: &mut serde_json::Map<String, Json>) -> Result<Edit> {
        let mut document = Document::new(old, &self.separator);
        let mut done = Vec::new();
        for (section, options) in self.unwanted()? {
            let within = if section.is_empty() {
                String::new()
            } else {
                format!(" in section {section}")
            };
            for option in options {
                let Some(value) = document.remove(named(&section), &option) else {
                    continue;
                };
                done.push(format!("Deleted key {option}{within}."));
                if section.is_empty() {
                    told.insert(option, value.into());
                } else if let Some(entries) = told.entry(section.clone()).or_insert_with(|| json!({})).as_object_mut() {
                    entries.insert(option, value.into());
                }
            }
        }
        Ok(edited(&document, old, done))
    }
}

/// A file that is not there has nothing in it that would have to go.
fn nothing_there(target: &Target, seen: &Observed) -> Result<Option<Decision>> {
    let Ok(path) = super::file::place::absolute(target.name) else {
        return Ok(None);
    };
    Ok(match seen.entry(path)? {
        None => Some(Decision::Holds("No anomaly detected".to_owned())),
        Some(_) => None,
    })
}

impl StateFunction for OptionsAbsent {
    fn check(&self) -> Result<()> {
        check_separator(&self.separator)?;
        self.unwanted().map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        if let Some(nothing) = nothing_there(&self.target(), seen)? {
            return Ok(nothing);
        }
        let mut told = serde_json::Map::new();
        let decision = self.target().decide(seen, |old| self.edit(old, &mut told))?;
        Ok(telling(decision, told, self.show_changes))
    }

    edits!();
}

/// The names of sections, from a list, a mapping or one name.
fn names(sections: &Value) -> Result<Vec<String>> {
    match &sections.data {
        Data::Map(map) => Ok(map.keys().map(|key| key.text()).collect()),
        Data::List(items) => {
            let items: OneOrMany<Value> = OneOrMany(items.clone());
            let mut names = Vec::new();
            for item in items {
                match item.as_map() {
                    Some(map) => names.extend(map.keys().map(|key| key.text())),
                    None => names.push(text(&item)?),
                }
            }
            Ok(names)
        }
        Data::Str(name) => Ok(vec![name.to_string()]),
        _ => Err(Error::usage(format!("`sections` must be a list of names, not {}", sections.kind())).at(sections.at)),
    }
}

impl SectionsPresent {
    fn target(&self) -> Target<'_> {
        target(&self.name, self.backup.as_ref(), self.show_changes, true)
    }
}

impl StateFunction for SectionsPresent {
    fn check(&self) -> Result<()> {
        check_separator(&self.separator)?;
        names(&self.sections).map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let mut told = serde_json::Map::new();
        let decision = self.target().decide(seen, |old| {
            let mut document = Document::new(old, &self.separator);
            let mut done = Vec::new();
            for section in names(&self.sections)? {
                if document.add_section(Some(&section)) {
                    done.push(format!("Created new section {section}."));
                    told.insert(section, json!({"before": null, "after": {}}));
                }
            }
            Ok(edited(&document, old, done))
        })?;
        Ok(telling(decision, told, self.show_changes))
    }

    edits!();
}

impl SectionsAbsent {
    fn target(&self) -> Target<'_> {
        target(&self.name, self.backup.as_ref(), self.show_changes, false)
    }
}

impl StateFunction for SectionsAbsent {
    fn check(&self) -> Result<()> {
        check_separator(&self.separator)?;
        names(&self.sections).map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.target().probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        if let Some(nothing) = nothing_there(&self.target(), seen)? {
            return Ok(nothing);
        }
        let mut told = serde_json::Map::new();
        let decision = self.target().decide(seen, |old| {
            let mut document = Document::new(old, &self.separator);
            let mut done = Vec::new();
            for section in names(&self.sections)? {
                let options: serde_json::Map<String, Json> = document
                    .options(Some(&section))
                    .into_iter()
                    .map(|(key, value)| (key, value.into()))
                    .collect();
                if document.remove_section(&section) {
                    done.push(format!("Deleted section {section}."));
                    told.insert(section, options.into());
                }
            }
            Ok(edited(&document, old, done))
        })?;
        Ok(telling(decision, told, self.show_changes))
    }

    edits!();
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn options_are_set_where_they_stand() {
        let present = "ini.options_present";
        let table = [
            (
                "{sections: {a: {k: 2}}}",
                "# c\n[a]\nk = 1 \n; d\n[b]\nk=1\n",
                "# c\n[a]\nk = 2\n; d\n[b]\nk=1\n",
            ),
            ("{sections: {a: {k: 1}}}", "[a]\nk=1\n", "(No anomaly detected)"),
            (
                "{sections: {a: {k: 2}}}",
                "[a]\n  k =1\n    2\nl = 3\n",
                "[a]\n  k =2\nl = 3\n",
            ),
            ("{sections: {a: {k: 2}}}", "[a]\n#k = 1\nl=1\n", "[a]\nk=2\nl=1\n"),
            ("{sections: {a: {k: 2}}}", "[a]\nl = 1\n\n[b]\n", "[a]\nl = 1\nk = 2\n\n[b]\n"),
            ("{sections: {c: {k: yes}}}", "[a]\nl = 1", "[a]\nl = 1\n\n[c]\nk = yes\n"),
            ("{sections: {k: 2, a: {}}}", "j=1\n[b]\n", "j=1\nk=2\n[b]\n\n[a]\n"),
            ("{sections: {k: 2}, separator: ':'}", "k: 1\n", "k: 2\n"),
            ("{sections: {k: 2}, separator: ' '}", "k 1\n", "k 2\n"),
            ("{sections: {k: 2}, separator: '=='}", "", "k == 2\n"),
            (
                "{sections: {a: {k: 2}}, strict: true}",
                "x = 1\n[a]\nj = 1\nk = 2\n[b]\nj = 1\n",
                "[a]\nk = 2\n[b]\nj = 1\n",
            ),
            ("{sections: {a: {k: 2}}}", "[a]\r\nk = 1\r\n", "[a]\r\nk = 2\r\n"),
            ("{sections: {a: {k: 'a=b'}}}", "[a]\nk = a=c\n", "[a]\nk = a=b\n"),
        ];
        for (arguments, text, expected) in table {
            assert_eq!(edited(present, arguments, text), expected, "{arguments} {text:?}");
        }
    }

    #[test]
    fn options_and_sections_go() {
        let table = [
            (
                "ini.options_absent",
                "{sections: {a: [k, q], j: null}}",
                "j=1\n[a]\nk=1\n 2\nl=1\n",
                "[a]\nl=1\n",
            ),
            (
                "ini.options_absent",
                "{sections: {z: [k]}}",
                "[a]\nk=1\n",
                "(No anomaly detected)",
            ),
            (
                "ini.sections_absent",
                "{sections: [a, q]}",
                "x=1\n[a]\nk=1\n[b]\n",
                "x=1\n[b]\n",
            ),
            (
                "ini.sections_present",
                "{sections: [a, b]}",
                "[a]\nk=1\n",
                "[a]\nk=1\n\n[b]\n",
            ),
        ];
        for (function, arguments, text, expected) in table {
            assert_eq!(edited(function, arguments, text), expected, "{function} {arguments} {text:?}");
        }
        assert_snapshot!(state("ini.options_absent", "{name: /x, sections: {a: [k]}}").shows(), @"holds: No anomaly detected");
    }

    #[test]
    fn changes_name_the_options() {
        let case = state("ini.options_present", "{name: /x, sections: {t: 1, a: {k: 2}}, strict: true}");
        assert_snapshot!(case.sees([file("/x", "t = 1\n[a]\nj = 1\n")]).shows(), @r#"
        would: Deleted key j in section a.
        Changed key k in section a.
        did: Changes take effect
          @@ -1,3 +1,3 @@
           t = 1
           [a]
          -j = 1
          +k = 2
        changes: {"a":{"j":{"before":"1","after":null},"k":{"before":null,"after":"2"}}}
        put /x keep
          t = 1
          [a]
          k = 2
        "#);
        let case = state("ini.options_present", "{name: /x, sections: {a: {k: 2}}}");
        assert_snapshot!(case.shows(), @r#"
        would: Changed key k in section a.
        did: Changes take effect
        changes: {"diff":"New file","a":{"k":{"before":null,"after":"2"}}}
        put /x keep
          [a]
          k = 2
        "#);
        let case = state("ini.sections_absent", "{name: /x, sections: [a]}").sees([file("/x", "[a]\nk=1\n")]);
        assert_snapshot!(case.shows(), @r#"
        would: Deleted section a.
        did: Changes take effect
          @@ -1,2 +0,0 @@
          -[a]
          -k=1
        changes: {"a":{"k":"1"}}
        put /x keep
        "#);
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("ini.options_present", "{name: /x, sections: [a]}"), @r"
        test.sls:1:22: `sections` must be a mapping, not a list
        hint: write the sections' names as its keys, indented by four spaces
        ");
        assert_snapshot!(refusal("ini.options_present", "{name: /x, sections: {a: {k: [1]}}}"), @r"
        test.sls:1:30: an option's value is text or a number, not a list
        hint: join a list into one text, as the program that reads the file wants it
        ");
        assert_snapshot!(refusal("ini.options_present", "{name: /x}"), @"the argument `sections` is missing");
    }
}
