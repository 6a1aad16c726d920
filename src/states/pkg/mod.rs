//! `pkg.*`: packages, by apt, pacman, apk or dnf.
//!
//! Each function decides on what the probes saw of packages; [`script`] makes the shell text of what is to be done, with a file for
//! each package manager; [`outcome`] reads what it came to.

mod apk;
mod apt;
mod dnf;
mod held;
mod installed;
mod latest;
mod offered;
mod outcome;
mod pacman;
mod removed;
mod script;
pub mod version;
mod wanted;

pub use outcome::failure;
#[cfg(test)]
pub use script::tests::shells;
pub use script::{renewal, sources_check};

use super::{Function, Functions};

pub static FUNCTIONS: Functions = &[
    Function::of::<installed::Installed>("pkg.installed", false),
    Function::of::<latest::Latest>("pkg.latest", false),
    Function::of::<removed::Removed>("pkg.removed", false),
    Function::of::<removed::Purged>("pkg.purged", false),
    Function::of::<held::Held>("pkg.held", false),
    Function::of::<held::Unheld>("pkg.unheld", false),
    Function::of::<latest::UpToDate>("pkg.uptodate", false),
];
