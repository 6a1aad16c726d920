//! The `salt` object: Salt's execution modules, as far as templates use them.
//!
//! One file per subject, each with a table of its functions. What is known here (pillar, grains, the tree) is answered at once; what
//! only the minion knows is asked through [`Call::seen`], and a [`Pending`] value stands in for the answer.

mod cmd;
mod data;
mod file;
mod grains;
pub mod merge;
mod network;
mod package;
mod pillar;
mod system;
mod text;

pub use text::join;

use super::args::Args;
use super::context::{Shared, shared};
use super::failures::from_error;
use super::questions::Risk;
use super::value::Pending;
use crate::error::{Error as Told, Pos, nearest};
use crate::inventory::{MinionFacts, TargetKind, match_minion};
use crate::probe::{Observed, Probe};
use crate::yaml::{Map, Value as Yaml};
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One call of a function.
pub struct Call<'c, 't, 'e> {
    pub shared: &'c Arc<Shared>,
    pub state: &'c mut State<'t, 'e>,
    pub args: Args,
}

pub type Function = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

/// Functions that Salt has and that cannot be had here, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    (
        "http.query",
        "rendering does not reach for the network; let a state fetch it (`file.managed` with a URL), or put the data into pillar",
    ),
    (
        "cp.get_url",
        "rendering fetches nothing; let a state fetch it (`file.managed` with a URL)",
    ),
    (
        "cp.get_file",
        "use `file.managed`; its text can be read with `cp.get_file_str`",
    ),
    (
        "cp.cache_file",
        "use `file.managed`; the text of a file of the tree can be read with `cp.get_file_str`",
    ),
    (
        "saltutil.runner",
        "there are no runners; put the data into pillar, or use an orchestration",
    ),
    ("sdb.get", "put the secret into pillar"),
    ("vault.read_secret", "put the secret into pillar"),
    ("publish.publish", "minions do not command each other; use an orchestration"),
    ("grains.setval", "rendering changes nothing; use a state"),
    ("grains.set", "rendering changes nothing; use a state"),
    ("grains.append", "rendering changes nothing; use a state"),
    (
        "grains.get_or_set_hash",
        "rendering changes nothing; `random.get_str` gives each minion its own",
    ),
    (
        "cmd.script",
        "use the state `cmd.script`; `cmd.run` can be asked while rendering",
    ),
    (
        "dnsutil.A",
        "rendering does not reach for the network; put the address into pillar",
    ),
];

fn tables() -> impl Iterator<Item = &'static (&'static str, Function)> {
    [
        cmd::FUNCTIONS,
        data::FUNCTIONS,
        file::FUNCTIONS,
        grains::FUNCTIONS,
        network::FUNCTIONS,
        package::FUNCTIONS,
        pillar::FUNCTIONS,
        system::FUNCTIONS,
        text::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

fn find(name: &str) -> Option<&'static (&'static str, Function)> {
    static KNOWN: OnceLock<HashMap<&'static str, &'static (&'static str, Function)>> = OnceLock::new();
    KNOWN
        .get_or_init(|| tables().map(|entry| (entry.0, entry)).collect())
        .get(name)
        .copied()
}

/// Whether there is a function `name`.
///
/// # Errors
/// There is none: what to take instead.
pub fn known(name: &str) -> Result<(), Told> {
    find(name).map(drop).ok_or_else(|| unknown(name))
}

/// The error for a function that is not there.
pub fn unknown(name: &str) -> Told {
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Told::usage(format!("`{name}` is not supported while rendering")).hint(*instead);
    }
    let error = Told::usage(format!("there is no function `{name}`"));
    let names = || tables().map(|(name, _)| *name);
    if let Some(near) = nearest(name, names()) {
        return error.hint(format!("did you mean `{near}`?"));
    }
    let module = name.split('.').next().unwrap_or_default();
    let siblings: Vec<&str> = names().filter(|known| known.split('.').next() == Some(module)).collect();
    match siblings.is_empty() {
        true => error.hint(format!("nothing of the module `{module}` can be asked while rendering")),
        false => error.hint(format!("of `{module}` there are: {}", siblings.join(", "))),
    }
}

impl Call<'_, '_, '_> {
    /// What was observed, if all of `probes` have been answered; else the questions are noted.
    pub fn seen<'o>(shared: &'o Shared, probes: &[Probe], risk: Risk) -> Option<&'o Observed> {
        shared.questions.ask(probes, risk)
    }

    pub fn pending(&self) -> Value {
        Pending::value(self.shared.questions.clone())
    }
}

/// A function by its full name, ready to be called.
#[derive(Debug)]
struct Callable {
    shared: Arc<Shared>,
    name: String,
}

impl Callable {
    fn invoke(&self, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        let Some((name, function)) = find(&self.name) else {
            return Err(from_error(unknown(&self.name)));
        };
        let args = Args::new(*name, args);
        if !name.starts_with("log.")
            && let Some(pending) = Pending::among(args.values())
        {
            return Ok(pending);
        }
        let mut call = Call {
            shared: &self.shared,
            state,
            args,
        };
        let result = function(&mut call)?;
        call.args.done()?;
        Ok(result)
    }
}

impl Object for Callable {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        self.invoke(state, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<function {}>", self.name)
    }
}

/// `salt` itself, and a module of it (`salt.pillar`).
#[derive(Debug)]
struct Accessor {
    shared: Arc<Shared>,
    /// Empty for `salt`.
    module: &'static str,
}

impl Accessor {
    fn function(&self, name: &str) -> Option<Value> {
        let full = if self.module.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.module)
        };
        find(&full)?;
        Some(Value::from_object(Callable {
            shared: self.shared.clone(),
            name: full,
        }))
    }

    fn module(&self, name: &str) -> Option<Value> {
        let (known, _) = tables().find(|(known, _)| known.split_once('.').is_some_and(|(module, _)| module == name))?;
        Some(Value::from_object(Accessor {
            shared: self.shared.clone(),
            module: known.split_once('.').map_or("", |(module, _)| module),
        }))
    }
}

impl Object for Accessor {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let module = if self.module.is_empty() { self.module(key) } else { None };
        self.function(key).or(module)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        if self.module.is_empty() {
            return match method {
                "get" => {
                    let mut args = Args::new("salt.get", args);
                    let name = args.text("name")?;
                    let default = args.take("default").unwrap_or(Value::from(()));
                    Ok(self.function(&name).unwrap_or(default))
                }
                "keys" => Ok(super::value::list(tables().map(|(name, _)| Value::from(*name)).collect())),
                _ => Err(from_error(unknown(method))),
            };
        }
        let callable = Callable {
            shared: self.shared.clone(),
            name: format!("{}.{method}", self.module),
        };
        callable.invoke(state, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<salt {}>", self.module)
    }
}

/// The `salt` object of a minion.
pub fn object(shared: &Arc<Shared>) -> Value {
    Value::from_object(Accessor {
        shared: shared.clone(),
        module: "",
    })
}

/// Whether the minion matches `target` under one of Salt's matchers.
///
/// # Errors
/// An expression that is none.
pub fn matches(state: &State, target: &str, matcher: &str) -> Result<bool, Error> {
    let shared = shared(state)?;
    let facts = MinionFacts {
        id: &shared.minion,
        grains: shared.grains.data(),
        pillar: shared.pillar.data(),
        addresses: &[],
        groups: &shared.groups,
    };
    let kind = TargetKind::from_salt(matcher).map_err(from_error)?;
    match_minion(target, kind, &facts).map_err(|error| from_error(error.within(Pos::default())))
}

/// The minion options that Salt's users look at, as a minion without a configuration of its own has them.
pub fn default_opts(shared: &Shared) -> Yaml {
    let mut opts = Map::new();
    for (name, value) in [
        ("id", shared.minion.as_str()),
        ("__role", "minion"),
        ("__cli", "salt-call"),
        ("file_client", "local"),
        ("renderer", "jinja|yaml"),
        ("hash_type", "sha256"),
        ("state_top", "top.sls"),
        ("master", "salt"),
        ("user", "root"),
        ("root_dir", "/"),
        ("conf_file", "/etc/salt/minion"),
        ("config_dir", "/etc/salt"),
        ("cachedir", "/var/cache/salt/minion"),
        ("pki_dir", "/etc/salt/pki/minion"),
        ("log_level", "warning"),
    ] {
        opts.insert(name.into(), value.into());
    }
    for (name, value) in [("test", false), ("ipv6", false), ("pillar_merge_lists", false)] {
        opts.insert(name.into(), value.into());
    }
    for name in ["saltenv", "pillarenv", "environment"] {
        opts.insert(name.into(), Yaml::default());
    }
    opts.into()
}
