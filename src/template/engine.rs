//! minijinja, set up as Salt's Jinja; one environment for each tree, shared by all minions.

use super::context::{Root, Shared};
use super::failures::{from_error, told};
use super::files::Files;
use super::source_map::Sink;
use super::value::{Pending, forget_misses, pairs, text, undefined};
use super::{checks, files, filters, globals, macros, methods};
use crate::error::Result;
use crate::tree::Tree;
use indexmap::IndexMap;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// The most steps that a rendering may take; a file of a hundred lines takes some thousands.
const STEPS: u64 = 5_000_000;

pub struct Engine {
    environment: Environment<'static>,
    pub files: Arc<Files>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<templates>")
    }
}

/// What all environments have in common.
fn base() -> &'static Environment<'static> {
    static BASE: OnceLock<Environment<'static>> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(print);
        // Undefined values remember where they came from only so.
        environment.set_debug(true);
        environment.set_fuel(Some(STEPS));
        environment.set_unknown_method_callback(methods::unknown);
        environment.remove_global("debug");
        filters::install(&mut environment);
        checks::install(&mut environment);
        globals::install(&mut environment);
        macros::install(&mut environment);
        files::install(&mut environment);
        environment
    })
}

/// `{{ value }}`.
fn print(out: &mut Output, _: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    let printed = match value.as_str() {
        Some(text) if value.kind() == ValueKind::String => out.write_str(text),
        _ if let Some(missing) = undefined_in_a_dict(value, 0) => return Err(undefined(&missing)),
        _ => out.write_str(&text(value)),
    };
    printed.map_err(minijinja::Error::from)
}

/// Salt prints the values of a dictionary one by one, and so finds the undefined ones; in lists it does not.
fn undefined_in_a_dict(value: &Value, depth: usize) -> Option<Value> {
    if value.kind() != ValueKind::Map || depth > 32 {
        return None;
    }
    pairs(value)?.into_iter().find_map(|(_, value)| match value.is_undefined() {
        true => Some(value),
        false => undefined_in_a_dict(&value, depth + 1),
    })
}

impl Engine {
    fn new(tree: Arc<Tree>) -> Engine {
        let files = Arc::new(Files::new(tree));
        let mut environment = base().clone();
        let loader = files.clone();
        environment.set_loader(move |name| match loader.load(name) {
            Ok(source) => Ok(source.map(|source| source.rewritten.clone())),
            Err(error) => Err(from_error(error)),
        });
        let joiner = files.clone();
        environment.set_path_join_callback(move |name, parent| Cow::Owned(joiner.join(name, parent)));
        Engine { environment, files }
    }

    /// The engine of `tree`, the same for as long as anyone has it.
    pub fn of(tree: &Arc<Tree>) -> Arc<Engine> {
        static KNOWN: Mutex<Vec<Weak<Engine>>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|engine| engine.strong_count() > 0);
        let found = known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|engine| Arc::ptr_eq(&engine.files.tree, tree));
        found.unwrap_or_else(|| {
            let engine = Arc::new(Engine::new(tree.clone()));
            known.push(Arc::downgrade(&engine));
            engine
        })
    }

    /// Renders the template called `name` for the minion of `shared`. `read_again`: the text is to be read as data.
    ///
    /// # Errors
    /// What is wrong with the template, at its place.
    pub fn render(
        &self,
        name: &str,
        shared: &Arc<Shared>,
        variables: IndexMap<String, Value>,
        read_again: bool,
    ) -> Result<(Sink, &Environment<'static>)> {
        let root = Value::from_object(Root::new(shared.clone(), variables, read_again));
        let mut sink = Sink::default();
        let rendered = self
            .environment
            .get_template(name)
            .and_then(|template| template.render_captured_to(root, &mut sink).map(drop));
        match rendered {
            Ok(()) => Ok((sink, &self.environment)),
            Err(error) => Err(told(&error, &self.files, STEPS)),
        }
    }
}

/// To be called around each rendering that was asked for from outside.
pub fn begin(shared: &Shared, what: &str) {
    forget_misses();
    Pending::forget();
    shared.questions.begin();
    shared.random.begin(what);
}
