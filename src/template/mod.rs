//! Salt's Jinja over minijinja: SLS, pillar and managed files with everything filled in.
//!
//! The way of a template: [`syntax`] rewrites it to what minijinja understands; [`engine`] runs it with [`value`]s that behave as
//! Python's, the [`filters`], [`checks`] (tests), [`methods`], [`ops`] and [`globals`] of Jinja2 and Salt, and the functions of
//! [`salt`]; [`failures`] tells what went wrong in the words and at the places of the template as it was written. Questions to the
//! minion are noted in [`questions`], and rendering is tried again when they are answered. This room knows trees and what was
//! observed, but no states and no connections.

mod args;
mod checks;
mod context;
mod engine;
mod failures;
mod files;
mod filters;
mod globals;
mod macros;
mod methods;
mod ops;
mod questions;
mod random;
mod salt;
mod source_map;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

pub use salt::known;
pub use value::{from_template, to_template};

use crate::error::{Error, FileId, Pos, Result};
use crate::inventory::Nodegroups;
use crate::probe::{Observed, Probe};
use crate::sls::{Locals, Render, Rendered};
use crate::tree::{Place, Tree, TreeFile};
use crate::yaml::{Map, Value};
use context::{Lazy, Shared};
use engine::Engine;
use files::Source;
use indexmap::IndexMap;
use questions::Questions;
use source_map::SourceMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the parsed templates of a tree: without it they are forgotten when no renderer of the tree is left.
pub struct Kept(#[expect(dead_code, reason = "held, not looked at")] Arc<Engine>);

impl Kept {
    pub fn of(tree: &Arc<Tree>) -> Kept {
        Kept(Engine::of(tree))
    }
}

/// What a minion's templates are rendered with.
#[derive(Clone, Default)]
pub struct Setup {
    /// The tree that imports are looked for in. Parsed templates are shared by all renderers of the same tree.
    pub tree: Arc<Tree>,
    /// The minion's id.
    pub id: String,
    pub saltenv: String,
    pub grains: Arc<Value>,
    pub pillar: Arc<Value>,
    /// The answers to what templates have asked so far.
    pub observed: Arc<Observed>,
    /// The groups that targets name (`salt['match.compound']`).
    pub groups: Arc<Nodegroups>,
}

/// Renders the templates of one minion.
#[derive(Debug)]
pub struct Renderer {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    /// For each file, the way back from what it was last rendered to.
    maps: Mutex<HashMap<FileId, SourceMap>>,
}

impl Renderer {
    pub fn new(setup: Setup) -> Renderer {
        let engine = Engine::of(&setup.tree);
        let mut shared = Shared::new(
            engine.clone(),
            setup.tree,
            setup.id,
            setup.saltenv,
            setup.grains,
            setup.pillar,
            Arc::new(Questions::new(setup.observed)),
        );
        shared.groups = setup.groups;
        shared.opts = Lazy::new(salt::default_opts(&shared));
        Renderer {
            engine,
            shared: Arc::new(shared),
            maps: Mutex::default(),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Shared)) -> Renderer {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            change(shared);
        }
        self
    }

    /// With further minion options, which `opts` and `config.get` show.
    pub fn with_opts(self, opts: &Map) -> Renderer {
        self.change(|shared| {
            let mut all = shared.opts.data().clone();
            if let Some(map) = all.as_map_mut() {
                map.extend(opts.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            shared.opts = Lazy::new(all);
        })
    }

    /// With what other minions have published, for `mine.get`: `{function: {minion: value}}`.
    pub fn with_mine(self, mine: Value) -> Renderer {
        self.change(|shared| shared.mine = Lazy::new(mine))
    }

    /// Hands over the questions that have no answer yet; each is told once.
    pub fn asks(&self) -> Vec<Probe> {
        self.shared.questions.take()
    }

    /// Hands over what templates had to say through `salt['log.warning']` and its like: level and message.
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        self.shared.take_notes()
    }

    /// Calls an execution function as a template would, `salt[fun](*args, **kwargs)`, and tells whether its value is true in
    /// Python's sense, or a key of it is. `None`: it depends on answers that are not there, see [`Renderer::asks`].
    ///
    /// # Errors
    /// A function that is not known, arguments that it does not take, an observation that it cannot use.
    pub fn holds(&self, fun: &str, args: &[Value], kwargs: &Map, get_return: Option<&str>) -> Result<Option<bool>> {
        salt::known(fun)?;
        let file = TreeFile {
            path: String::new(),
            id: FileId::default(),
            place: Place::Embedded(b""),
        };
        let text = match get_return {
            None => "{{ 'yes' if salt[fun](*args, **kwargs) }}",
            Some(_) => "{{ 'yes' if salt[fun](*args, **kwargs) | traverse(key, none) }}",
        };
        let mut context = Map::new();
        context.insert("fun".into(), fun.into());
        context.insert("args".into(), Value::from(args.to_vec()));
        context.insert("kwargs".into(), Value::from(kwargs.clone()));
        context.insert("key".into(), get_return.unwrap_or_default().into());
        let said = self.render_text(&file, text, &context).map_err(|error| {
            // The place is one in the line above, which nobody has written.
            let told = error
                .diagnostics()
                .iter()
                .map(|d| d.hints.iter().fold(Error::new(d.kind, &d.message), Error::hint));
            Error::all(told).unwrap_or(error)
        })?;
        Ok(match said {
            Rendered::Text(text) => Some(!text.is_empty()),
            Rendered::Asks => None,
        })
    }

    /// Renders a managed file: `text`, which is `file`'s or was given in a state of `file`, with `context`'s variables. `source` is
    /// what the state called it.
    ///
    /// # Errors
    /// What is wrong with the template, at its place in it.
    pub fn render_file(&self, file: &TreeFile, text: &str, context: &Map, source: &str) -> Result<Rendered> {
        let (name, template) = self.engine.files.add_text(file, text)?;
        let mut variables = IndexMap::new();
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (name, value) in [
            ("source", source),
            ("tplpath", file.id.name()),
            ("tplfile", &file.path),
            ("tpldir", if folder.is_empty() { "." } else { folder }),
            ("tpldot", &folder.replace('/', ".")),
        ] {
            variables.insert(name.to_owned(), minijinja::Value::from(value));
        }
        variables.extend(context.iter().map(|(key, value)| (key.text(), to_template(value))));
        self.rendered(&name, &template, variables, false)
    }

    /// Renders `text`, which stands in `file`, with the variables `context`.
    ///
    /// # Errors
    /// What is wrong with the template, at its place in it.
    pub fn render_text(&self, file: &TreeFile, text: &str, context: &Map) -> Result<Rendered> {
        let (name, template) = self.engine.files.add_text(file, text)?;
        let variables = context.iter().map(|(key, value)| (key.text(), to_template(value)));
        self.rendered(&name, &template, variables.collect(), true)
    }

    fn rendered(
        &self,
        name: &str,
        template: &Source,
        variables: IndexMap<String, minijinja::Value>,
        with_map: bool,
    ) -> Result<Rendered> {
        engine::begin(&self.shared, &template.path);
        let outcome = self.engine.render(name, &self.shared, variables, with_map);
        value::forget_misses();
        // What went wrong behind an open question may go right with the answer.
        if self.shared.questions.met() {
            return Ok(Rendered::Asks);
        }
        let (mut sink, environment) = outcome.map_err(|error| error.at(Pos::new(template.file, 0, 0)))?;
        if template.ends_with_newline {
            sink.text.push(b'\n');
        }
        if with_map {
            let map = sink.map(environment, |name| self.engine.files.get(name));
            self.maps().insert(template.file, map);
        }
        String::from_utf8(sink.text)
            .map(Rendered::Text)
            .map_err(|_| Error::usage("the template's text is not UTF-8").at(Pos::new(template.file, 0, 0)))
    }

    fn maps(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, SourceMap>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Render for Renderer {
    fn render(&self, file: &TreeFile, locals: &Locals) -> Result<Rendered> {
        let (name, template) = self.engine.files.add_file(file)?;
        let mut variables: IndexMap<String, minijinja::Value> = IndexMap::new();
        for (name, value) in locals.variables() {
            variables.insert(name.to_owned(), value.into());
        }
        variables.extend(locals.extra.iter().map(|(key, value)| (key.text(), to_template(value))));
        self.rendered(&name, &template, variables, true)
    }

    fn origin(&self, at: Pos) -> Pos {
        if at.line == 0 {
            return at;
        }
        self.maps()
            .get(&at.file)
            .and_then(|map| map.origin(at.line, at.column))
            .unwrap_or(at)
    }
}
