//! What a compile is given and what it gives.

use super::{HighState, LowState, Render, RenderedTexts};
use crate::error::{Error, Result};
use crate::tree::Tree;
use crate::yaml::Value;

/// Everything that decides one minion's states. The template engine already knows the minion's grains and pillar.
pub struct Input<'a> {
    /// The state tree.
    pub tree: &'a Tree,
    pub render: &'a dyn Render,
    /// The minion's id, for messages.
    pub id: &'a str,
    /// `base`, unless the user says otherwise.
    pub saltenv: &'a str,
    pub which: Which,
    /// Whether the minion matches an expression of a top file: the expression, and the matcher's name as Salt spells it
    /// (`compound`, `glob`, `pcre`, `grain`, `grain_pcre`, `list`, `pillar`, `pillar_pcre`, `pillar_exact`, `ipcidr`, `data`,
    /// `range`, `nodegroup`).
    pub matches: &'a dyn Fn(&str, &str) -> Result<bool>,
    /// Whether a module has a `mod_watch`: elsewhere `watch` means `require`.
    pub watches: &'a dyn Fn(&str) -> bool,
    /// Whether a state function (`cmd.run`) has an argument of its own by this name (`runas`). It is asked of the names that mean
    /// something for every state: a function that has the argument too is given it, and `check_cmd` is then only its own.
    pub takes: &'a dyn Fn(&str, &str) -> bool,
    pub unresolved: Unresolved,
}

/// Which states are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// What `top.sls` assigns to the minion.
    Top,
    /// These SLS, by name.
    Sls(Vec<String>),
}

/// What to make of a requisite that refers to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unresolved {
    /// The compile fails (Salt 3008).
    #[default]
    Error,
    /// Only the state that has it fails, when it is its turn (Salt 3006): its [`Reference`](super::Reference) has no targets, and
    /// [`Ready::warnings`] tells of it.
    Warn,
}

/// The outcome of a compile.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// A template asks what only the minion can tell; the renderer has the questions. Compile again with the answers.
    Asks,
    Ready(Box<Ready>),
}

/// A minion's states.
#[derive(Clone, Debug)]
pub struct Ready {
    /// SLS by environment, as `show top` prints it: `{base: [web, db]}`; with [`Which::Sls`] the names that were asked for.
    pub top: Value,
    /// The high state, for `show high`.
    pub high: HighState,
    pub low: LowState,
    /// What is odd but does not stop a run.
    pub warnings: Vec<Error>,
    /// What rendering made of the files: for errors that are found later, such as an unknown argument.
    pub rendered: RenderedTexts,
}
