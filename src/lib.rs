//! picloud: from blank SD cards to a verified, running cluster.
//!
//! The rooms, in the order in which data flows, are described in `ARCHITECTURE.md`.

pub mod cli;
pub mod demo;
pub mod error;
pub mod flash;
pub mod inventory;
pub mod pattern;
pub mod pillar;
pub mod probe;
pub mod project;
pub mod report;
pub mod run;
pub mod shell;
pub mod sls;
pub mod ssh;
pub mod states;
pub mod template;
pub mod tree;
pub mod yaml;
