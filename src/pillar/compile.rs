//! The pillar of one minion, compiled from its tree.

use super::merge::merge;
use crate::error::{Error, Pos, Result};
use crate::sls::{Found, Locals, Render, Sources, absolute, assigned, trail};
use crate::tree::Tree;
use crate::yaml::{Data, Key, Map, Value};
use std::collections::HashMap;

/// Everything that decides one minion's pillar. The template engine already knows the minion's grains.
pub struct Input<'a> {
    /// The pillar tree.
    pub tree: &'a Tree,
    pub render: &'a dyn Render,
    /// The minion's id, for messages.
    pub id: &'a str,
    /// `base`, unless the user says otherwise.
    pub saltenv: &'a str,
    /// Whether the minion matches an expression of the top file, as for [`crate::sls::Input::matches`].
    pub matches: &'a dyn Fn(&str, &str) -> Result<bool>,
    /// What the inventory and the command line add; it wins.
    pub overlay: &'a Value,
}

/// The outcome of a compile.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// A template asks what only the minion can tell; the renderer has the questions. Compile again with the answers.
    Asks,
    /// A mapping.
    Ready(Value),
}

/// The longest chain of includes.
const MAX_CHAIN: usize = 200;

/// One minion's pillar. A tree without a top file gives none.
///
/// # Errors
/// Everything that is wrong with the files, as far as it can be told at once.
pub fn compile(input: &Input) -> Result<Compiled> {
    let sources = Sources::new(input.tree, input.render, input.saltenv);
    let mut compiler = Compiler {
        sources: &sources,
        parts: HashMap::new(),
        errors: Vec::new(),
        chain: 0,
    };
    let pillar = compiler.pillar(input);
    let errors = compiler.errors;
    match (pillar, Error::all(errors)) {
        (Err(error), _) | (Ok(_), Some(error)) => Err(sources.explain(error)),
        (Ok(_), None) if sources.asked() => Ok(Compiled::Asks),
        (Ok(pillar), None) => Ok(Compiled::Ready(pillar)),
    }
}

struct Compiler<'a> {
    sources: &'a Sources<'a>,
    /// What each SLS says by itself; nothing for those that are still being read, so that includes may go in circles.
    parts: HashMap<String, Option<Value>>,
    errors: Vec<Error>,
    chain: usize,
}

impl Compiler<'_> {
    fn pillar(&mut self, input: &Input) -> Result<Value> {
        let mut pillar = Value::map();
        if self.sources.find("top").is_some()
            && let Some(assigned) = assigned(self.sources, input.matches, &mut Vec::new())?
        {
            for assigned in assigned {
                for sls in self.sources.expand(&assigned.sls) {
                    if assigned.may_be_missing && self.sources.find(&sls).is_none() {
                        continue;
                    }
                    if let Some(part) = self.sls(&sls, assigned.at, &Map::new()) {
                        pillar = merge(pillar, part);
                    }
                }
            }
        }
        if !input.overlay.is_null() {
            pillar = merge(pillar, input.overlay.clone());
        }
        Ok(pillar)
    }

    /// What `sls` says, laid over what it includes.
    fn sls(&mut self, sls: &str, at: Pos, defaults: &Map) -> Option<Value> {
        self.parts.insert(sls.to_owned(), None);
        let found = match self.sources.get(sls) {
            Ok(found) => found,
            Err(error) => {
                self.errors.push(error.at(at));
                return None;
            }
        };
        let mut locals = Locals::of(sls, self.sources.saltenv(), &found.file);
        locals.extra = defaults.clone();
        let mut own = match self.sources.read(&found.file, &locals) {
            Ok(value) => value?,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        let kind = own.kind();
        let include = match &mut own.data {
            Data::Null => return None,
            Data::Map(map) => map.shift_remove("include"),
            _ => {
                let error = Error::usage(format!("the pillar SLS `{sls}` is {kind}, not a mapping"));
                self.errors.push(error.at(own.at));
                return None;
            }
        };
        self.parts.insert(sls.to_owned(), Some(own.clone()));
        let Some(include) = include else { return Some(own) };
        let Data::List(items) = &include.data else {
            self.errors.push(
                Error::usage(format!("`include` is {}, not a list", include.kind()))
                    .at(include.at)
                    .hint("write `- name` for each SLS"),
            );
            return Some(own);
        };
        let mut whole = Value::map();
        for item in items {
            for part in self.include(item, &found) {
                whole = merge(whole, part);
            }
        }
        Some(merge(whole, own))
    }

    /// What one entry of an `include` adds.
    fn include(&mut self, item: &Value, from: &Found) -> Vec<Value> {
        let (name, options) = match item.as_map().and_then(Map::first) {
            Some((name, options)) => (Some(name.text()), Some(options)),
            None => (item.scalar_text().filter(|_| !item.is_null()), None),
        };
        if let Some(unknown) = options.and_then(Value::as_map).and_then(|options| {
            let known = |key: &&Key| !matches!(key.as_str(), Some("defaults" | "key"));
            options.keys().find(known)
        }) {
            let error = Error::usage(format!("an include of pillar has no option `{}`", unknown.text()));
            self.errors
                .push(error.at(unknown.at).did_you_mean(&unknown.text(), ["defaults", "key"]));
        }
        let option = |name| options.and_then(|options: &Value| options.get(name));
        let name = match name {
            Some(name) => absolute(&name.replace('/', "."), from),
            None => Err(Error::usage(format!("expected the name of an SLS, found {}", item.kind()))),
        };
        let name = match name {
            Ok(name) if self.chain < MAX_CHAIN => name,
            Ok(_) => {
                let error = Error::usage(format!("a chain of more than {MAX_CHAIN} includes"));
                self.errors.push(error.at(item.at));
                return Vec::new();
            }
            Err(error) => {
                self.errors.push(error.at(item.at));
                return Vec::new();
            }
        };
        let defaults = option("defaults").and_then(Value::as_map).cloned().unwrap_or_default();
        let key = option("key").and_then(Value::scalar_text);
        self.chain += 1;
        let since = self.errors.len();
        let mut parts = Vec::new();
        for sls in self.sources.expand(&name) {
            let part = match self.parts.get(&sls) {
                Some(known) => known.clone(),
                None => self.sls(&sls, item.at, &defaults),
            };
            parts.extend(part.map(|part| below(part, key.as_deref())));
        }
        self.chain -= 1;
        trail(&mut self.errors, since, &from.sls, item.at);
        parts
    }
}

/// `part` under `a:b`, where the include says so.
fn below(part: Value, key: Option<&str>) -> Value {
    key.into_iter()
        .flat_map(|key| key.rsplit(':'))
        .fold(part, |part, key| Map::from_iter([(Key::from(key), part)]).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sls::Rendered;
    use crate::tree::TreeFile;
    use crate::yaml::{emit_flow, utf8};

    /// Fills in `{{ x }}` from an include's defaults.
    struct Defaults;

    impl Render for Defaults {
        fn render(&self, file: &TreeFile, locals: &Locals) -> Result<Rendered> {
            let bytes = file.read()?;
            let text = utf8(file.id, &bytes)?;
            if text.contains("ASK") {
                return Ok(Rendered::Asks);
            }
            let x = locals.extra.get("x").and_then(Value::scalar_text).unwrap_or_default();
            Ok(Rendered::Text(text.replace("{{ x }}", &x)))
        }
    }

    fn compiled(files: &[(&str, &str)], overlay: &str) -> Result<Compiled> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::folder(folder.path());
        let input = Input {
            tree: &tree,
            render: &Defaults,
            id: "pi0",
            saltenv: "base",
            matches: &|target, _| Ok(target != "other"),
            overlay: &crate::yaml::parse(Default::default(), overlay)?,
        };
        let prefix = format!("{}/", folder.path().display());
        compile(&input).map_err(|e| Error::usage(e.to_string().replace(&prefix, "")))
    }

    #[test]
    fn parts_are_laid_over_one_another() {
        type Files = [(&'static str, &'static str)];
        let cases: [(&Files, &str, &str); 7] = [
            (&[], "", "{}"),
            (&[], "a: 1", "{a: 1}"),
            (
                &[
                    ("top.sls", "base:\n  '*': [a, b]\n  other: [c]\n"),
                    ("a.sls", "x: {y: 1, z: [1]}\n"),
                    ("b/init.sls", "x: {y: 2, z: [2], w: 3}\n"),
                ],
                "x: {w: 4}",
                "{x: {y: 2, z: [2], w: 4}}",
            ),
            // What an SLS says itself wins over what it includes, whatever the order.
            (
                &[
                    ("top.sls", "base:\n  '*': [a.b]\n"),
                    (
                        "a/b.sls",
                        "v: own\ninclude: [.c, {a.d: {key: 'under:here', defaults: {x: 5}}}]\n",
                    ),
                    ("a/c.sls", "v: c\nw: c\ninclude: [a.b]\n"),
                    ("a/d.sls", "v: {{ x }}\n"),
                ],
                "",
                "{v: own, w: c, under: {here: {v: 5}}}",
            ),
            (
                &[
                    ("top.sls", "base:\n  '*': [{order: 2}, a]\n  'x*': [{order: 1}, b]\n"),
                    ("a.sls", "v: a\n"),
                    ("b.sls", "v: b\n"),
                ],
                "",
                "{v: a}",
            ),
            (
                &[
                    ("top.sls", "base:\n  '*': [{ignore_missing: true}, a, b]\n"),
                    ("b.sls", "v: b\n"),
                ],
                "",
                "{v: b}",
            ),
            (
                &[
                    ("top.sls", "base:\n  '*': ['a*']\n"),
                    ("a1.sls", "v: 1\n"),
                    ("a2.sls", "w: 2\n"),
                ],
                "",
                "{v: 1, w: 2}",
            ),
        ];
        for (files, overlay, expected) in cases {
            match compiled(files, overlay) {
                Ok(Compiled::Ready(pillar)) => assert_eq!(emit_flow(&pillar), expected, "{files:?}"),
                other => panic!("{other:?}\n{files:?}"),
            }
        }
    }

    #[test]
    fn questions_and_mistakes_of_all_files_are_collected() {
        let top = ("top.sls", "base:\n  '*': [a, b, c]\n");
        let asks = compiled(&[top, ("a.sls", "ASK\n"), ("b.sls", "ASK\n"), ("c.sls", "d: 1\n")], "");
        assert!(matches!(asks, Ok(Compiled::Asks)));
        let wrong = compiled(&[top, ("a.sls", "- x\n"), ("b.sls", "include: x\n")], "");
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "a.sls:1:1: the pillar SLS `a` is a list, not a mapping\n\
             b.sls:1:10: `include` is a string, not a list\n\
             top.sls:2:15: there is no SLS `c`"
        );
    }
}
