//! The state functions: what each must see, and what it decides.
//!
//! A state function is a struct of arguments whose documentation is the user's reference. It names its [`Probe`]s and decides
//! purely on what was [`Observed`]: no clock, no network, no file. Steps and results are values; carrying them out is the
//! engine's work (`run/`). This room never talks to `ssh/`.
//!
//! To add one: write the struct in the file of its module, implement [`StateFunction`], and name it in that file's `functions!`.

mod decision;
mod fetch;
mod platform;
mod registry;
mod resolved;
mod step;

pub(crate) use pkg::version::compare as compare_versions;

pub use decision::{Change, Conclusion, Decision, TextDiff};
pub use platform::{Init, PackageManager, Platform};
pub(crate) use registry::arguments;
pub use registry::{Function, Functions, function, functions, takes};
pub use resolved::{Need, Resolved, SourceFile, SourceSpec, SourceTree, SourceTreeSpec};
pub use step::{PutFile, RunShell, Step};

use crate::error::Result;
use crate::probe::{Observed, Probe, Resource};
use crate::shell::Answer;
use crate::yaml::Value;

/// What a state may know beside what was observed.
pub struct Context<'a> {
    pub minion: &'a str,
    pub grains: &'a Value,
    pub pillar: &'a Value,
    /// The files and trees that were asked for by [`StateFunction::needs`].
    pub resolved: &'a Resolved,
    /// What the states that this one requires say they manage ([`StateFunction::keeps`]): a `clean` leaves it alone.
    pub kept: &'a [Resource],
    /// This run's number and random part: the name under which replaced files are kept.
    pub run: &'a str,
}

/// One state, with its arguments. All methods are pure.
pub trait StateFunction: Send + Sync {
    /// What is wrong with the arguments beyond their types: contradictions, patterns that are none. Called once they are read, before
    /// anything is connected to.
    ///
    /// # Errors
    /// The mistake, of kind `Usage`.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Files of the master that must be at hand before `probes` is called (`source: salt://...`). The context has grains and pillar,
    /// and nothing resolved yet.
    fn needs(&self, _context: &Context) -> Vec<Need> {
        Vec::new()
    }

    /// What must be seen to decide.
    fn probes(&self, context: &Context) -> Result<Vec<Probe>>;

    /// Whether the state holds in what was seen, or what would have to change, and by which steps.
    ///
    /// # Errors
    /// What cannot be: a missing source, a user that does not exist, arguments that contradict each other. In a dry run behind a
    /// change that has not happened, an error is reported as "may change".
    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision>;

    /// What a change by this state makes stale: by default what its probes read.
    fn writes(&self, context: &Context) -> Vec<Resource> {
        let mut writes: Vec<Resource> = self
            .probes(context)
            .unwrap_or_default()
            .iter()
            .flat_map(Probe::reads)
            .collect();
        writes.sort();
        writes.dedup();
        writes
    }

    /// The paths that this state manages and that the `clean` of a folder above them must leave, when it requires this state.
    fn keeps(&self, _context: &Context) -> Vec<Resource> {
        Vec::new()
    }

    /// What the steps came to. `after` is what the probes showed after the steps.
    ///
    /// By default: every step must have exited 0, and `decide` must find that the state now holds.
    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        decision::conclude(self, change, acted, after, context)
    }

    /// What to do when a watched state has changed and this one did not change by itself. `None`: nothing special, as for
    /// modules without a `mod_watch`.
    fn watched(&self, _seen: &Observed, _context: &Context) -> Result<Option<Decision>> {
        Ok(None)
    }

    /// Whether a failed attempt may be waited out by the engine's own retry (used by `test` and `http`).
    fn is_check_only(&self) -> bool {
        false
    }
}

/// The modules. A new one is named here, and nowhere else.
static MODULES: &[Functions] = &[
    alternatives::FUNCTIONS,
    archive::FUNCTIONS,
    cmd::FUNCTIONS,
    cron::FUNCTIONS,
    debconf::FUNCTIONS,
    file::FUNCTIONS,
    git::FUNCTIONS,
    group::FUNCTIONS,
    host::FUNCTIONS,
    hostname::FUNCTIONS,
    http::FUNCTIONS,
    ini::FUNCTIONS,
    json::FUNCTIONS,
    kmod::FUNCTIONS,
    locale::FUNCTIONS,
    module::FUNCTIONS,
    mount::FUNCTIONS,
    pkg::FUNCTIONS,
    pkgrepo::FUNCTIONS,
    service::FUNCTIONS,
    ssh_auth::FUNCTIONS,
    swap::FUNCTIONS,
    sysctl::FUNCTIONS,
    test::FUNCTIONS,
    timezone::FUNCTIONS,
    user::FUNCTIONS,
];

mod alternatives;
mod archive;
mod cmd;
mod cron;
mod debconf;
mod etc;
mod file;
mod fstab;
mod git;
mod group;
#[cfg(test)]
pub(crate) mod here;
mod host;
mod hostname;
mod http;
mod ini;
mod json;
mod kmod;
mod locale;
mod module;
mod mount;
mod pkg;
mod pkgrepo;
mod service;
mod ssh_auth;
mod swap;
mod sysctl;
mod test;
#[cfg(test)]
pub(crate) mod testing;
mod timezone;
mod user;
