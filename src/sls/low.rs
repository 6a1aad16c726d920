//! The low state: what the engine runs.

use crate::error::Pos;
use crate::yaml::{Map, Value};

/// The chunks in the order in which Salt 3006 would sort them (`order`, then state+name+function).
#[derive(Clone, Debug, Default)]
pub struct LowState {
    pub chunks: Vec<Chunk>,
}

/// One state call.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The module: `file`.
    pub state: String,
    /// The function: `managed`.
    pub fun: String,
    /// The ID of the declaration, `__id__`.
    pub id: String,
    pub name: String,
    /// `__sls__`.
    pub sls: String,
    /// `__env__`.
    pub env: String,
    pub order: f64,
    /// The function's own arguments, `name` included, without the global ones below.
    pub arguments: Map,
    /// All arguments as Salt's low data has them (requisites and conditions too), for `show low`.
    pub all: Map,
    /// Where the function was named.
    pub at: Pos,
    pub requisites: Vec<Requisite>,
    pub conditions: Vec<Condition>,
    /// Commands that must succeed after the state (for `file.managed` it is an argument instead).
    pub check_cmd: Vec<String>,
    pub retry: Option<Retry>,
    pub failhard: bool,
    pub parallel: bool,
    pub aggregate: bool,
    /// `runas`, for conditions and for functions that have no such argument of their own.
    pub runas: Option<String>,
    /// `umask`, likewise: as written, in octal.
    pub umask: Option<String>,
    /// `no_log`: what the state shows is not to be shown.
    pub no_log: bool,
}

impl Chunk {
    /// `file.managed`.
    pub fn function(&self) -> String {
        format!("{}.{}", self.state, self.fun)
    }

    /// Salt's tag: `file_|-motd_|-/etc/motd_|-managed`.
    pub fn tag(&self) -> String {
        format!("{}_|-{}_|-{}_|-{}", self.state, self.id, self.name, self.fun)
    }
}

/// One kind of requisite with all that it refers to.
#[derive(Clone, Debug)]
pub struct Requisite {
    pub kind: RequisiteKind,
    pub references: Vec<Reference>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RequisiteKind {
    Require,
    RequireAny,
    Watch,
    WatchAny,
    Prereq,
    Onfail,
    OnfailAny,
    OnfailAll,
    Onchanges,
    OnchangesAny,
    Listen,
}

/// `- file: /etc/motd`, and the chunks that it was found to mean (indexes into [`LowState::chunks`]).
#[derive(Clone, Debug)]
pub struct Reference {
    /// The module, `sls`, or `id` for a bare reference.
    pub module: String,
    pub pattern: String,
    pub at: Pos,
    /// In low-state order; a chunk's own index is never among them. Empty: unresolved, where that is only a warning.
    pub targets: Vec<usize>,
}

/// `unless`, `onlyif`, `creates`.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Runs only if all succeed.
    Onlyif(Vec<Check>),
    /// Skipped if all succeed.
    Unless(Vec<Check>),
    /// Skipped if all paths exist.
    Creates(Vec<String>),
}

/// One condition.
#[derive(Clone, Debug)]
pub enum Check {
    Command(String),
    /// `{fun: file.file_exists, args: [...], ...}`.
    Call {
        fun: String,
        args: Vec<Value>,
        kwargs: Map,
        get_return: Option<String>,
        at: Pos,
    },
}

/// `retry: {attempts, until, interval, splay}`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Retry {
    pub attempts: u32,
    pub until: bool,
    /// Seconds.
    pub interval: f64,
    /// Seconds.
    pub splay: f64,
}
