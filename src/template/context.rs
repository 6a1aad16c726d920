//! What every template of one minion can see.

use super::engine::Engine;
use super::questions::Questions;
use super::random::Random;
use super::value::{dict, fail, to_template};
use crate::inventory::Nodegroups;
use crate::tree::Tree;
use crate::yaml::Value as Yaml;
use indexmap::IndexMap;
use jiff::Timestamp;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Data that is made a template value when a template first looks at it.
#[derive(Default)]
pub struct Lazy {
    data: Arc<Yaml>,
    value: OnceLock<Value>,
}

impl Lazy {
    pub fn new(data: impl Into<Arc<Yaml>>) -> Lazy {
        Lazy {
            data: data.into(),
            value: OnceLock::new(),
        }
    }

    pub fn data(&self) -> &Yaml {
        &self.data
    }

    /// The same value each time: a change that one template makes is seen by the next, as in Salt.
    pub fn value(&self) -> Value {
        self.value
            .get_or_init(|| {
                if self.data.is_null() {
                    dict([])
                } else {
                    to_template(&self.data)
                }
            })
            .clone()
    }
}

/// One minion, as its templates see it.
pub struct Shared {
    pub engine: Arc<Engine>,
    pub tree: Arc<Tree>,
    pub minion: String,
    pub saltenv: String,
    pub grains: Lazy,
    pub pillar: Lazy,
    pub opts: Lazy,
    /// What other minions have published: `{function: {minion: value}}`.
    pub mine: Lazy,
    pub questions: Arc<Questions>,
    pub random: Arc<Random>,
    pub now: Timestamp,
    /// The groups that targets name.
    pub groups: Arc<Nodegroups>,
    /// What templates had to say: `salt['log.warning'](...)`.
    log: Mutex<Vec<(&'static str, String)>>,
}

impl Shared {
    pub fn new(
        engine: Arc<Engine>,
        tree: Arc<Tree>,
        minion: String,
        saltenv: String,
        grains: Arc<Yaml>,
        pillar: Arc<Yaml>,
        questions: Arc<Questions>,
    ) -> Shared {
        Shared {
            engine,
            tree,
            random: Arc::new(Random::new(&minion)),
            minion,
            saltenv,
            grains: Lazy::new(grains),
            pillar: Lazy::new(pillar),
            opts: Lazy::default(),
            mine: Lazy::default(),
            questions,
            now: Timestamp::now(),
            groups: Arc::default(),
            log: Mutex::default(),
        }
    }

    pub fn note(&self, level: &'static str, message: String) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push((level, message));
    }

    pub fn take_notes(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A grain at a path such as `dns:nameservers`.
    pub fn grain(&self, path: &str) -> Option<&Yaml> {
        self.grains.data().traverse(path, ":")
    }

    /// The text of a grain; empty where there is none.
    pub fn grain_text(&self, path: &str) -> &str {
        self.grain(path).and_then(Yaml::as_str).unwrap_or_default()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<minion {}>", self.minion)
    }
}

/// The name under which [`Root`] hands out the minion itself; no template can write it.
const SHARED: &str = "\u{1}minion";

/// The name under which [`Root`] tells whether the text is read as data again.
const READ_AGAIN: &str = "\u{1}again";

/// Whether what is rendered is an SLS or its like, which is read as YAML, and not the contents of a file.
pub fn is_read_again(state: &State) -> bool {
    state.lookup(READ_AGAIN).is_some_and(|again| again.is_true())
}

/// The minion that `state` renders for.
///
/// # Errors
/// A state that was not made by this room.
pub fn shared(state: &State) -> Result<Arc<Shared>, Error> {
    state
        .lookup(SHARED)
        .and_then(|value| value.downcast_object::<Handle>())
        .map(|handle| handle.0.clone())
        .ok_or_else(|| fail("internal: this template has no minion"))
}

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Object for Handle {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// The outermost variables of one rendering.
#[derive(Debug)]
pub struct Root {
    shared: Arc<Shared>,
    variables: IndexMap<String, Value>,
    read_again: bool,
}

impl Root {
    pub fn new(shared: Arc<Shared>, variables: IndexMap<String, Value>, read_again: bool) -> Root {
        Root {
            shared,
            variables,
            read_again,
        }
    }

    /// The variables that every template has.
    pub const COMMON: &'static [&'static str] = &["salt", "grains", "pillar", "opts", "saltenv", "env"];

    fn common(&self, name: &str) -> Option<Value> {
        Some(match name {
            "salt" => super::salt::object(&self.shared),
            "grains" => self.shared.grains.value(),
            "pillar" => self.shared.pillar.value(),
            "opts" => self.shared.opts.value(),
            "saltenv" | "env" => Value::from(self.shared.saltenv.as_str()),
            READ_AGAIN => self.read_again.into(),
            SHARED => Value::from_object(Handle(self.shared.clone())),
            _ => return None,
        })
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.variables.get(key).cloned().or_else(|| self.common(key))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let common = Root::COMMON.iter().filter(|name| !self.variables.contains_key(**name));
        let own = self.variables.keys().map(|name| Value::from(name.as_str()));
        Enumerator::Values(own.chain(common.map(|name| Value::from(*name))).collect())
    }
}
