//! `file.*`: files, folders and symlinks, and edits of text files.
//!
//! One file per subject. What several share: [`place`] (paths and their parents), [`owner`], [`text`] (reading what was observed),
//! [`put`] (a file as it is to be), [`edit`] (from the old text to the new). Nothing here
//! knows how steps are carried out.

mod absent;
mod append;
mod block;
mod comment;
mod copy;
mod directory;
mod dump;
pub(in crate::states) mod edit;
mod keyvalue;
mod line;
pub(in crate::states) mod managed;
pub(in crate::states) mod owner;

pub(in crate::states) mod place;
pub(in crate::states) mod put;
mod recurse;
mod replace;
mod serialize;
mod source;
mod symlink;
pub(in crate::states) mod text;
mod touch;

use super::{Function, Functions};
use crate::pattern;

pub static FUNCTIONS: Functions = &[
    managed::FUNCTION,
    Function::of::<absent::Absent>("file.absent", false),
    Function::of::<append::Append>("file.append", false),
    Function::of::<block::BlockReplace>("file.blockreplace", false),
    Function::of::<comment::Comment>("file.comment", false),
    Function::of::<copy::Copy>("file.copy", false),
    Function::of::<directory::Directory>("file.directory", false),
    Function::of::<absent::Exists>("file.exists", false),
    Function::of::<keyvalue::KeyValue>("file.keyvalue", false),
    Function::of::<line::Line>("file.line", false),
    Function::of::<absent::Missing>("file.missing", false),
    Function::of::<append::Prepend>("file.prepend", false),
    Function::of::<recurse::Recurse>("file.recurse", false),
    Function::of::<copy::Rename>("file.rename", false),
    Function::of::<replace::Replace>("file.replace", false),
    Function::of::<serialize::Serialize>("file.serialize", false),
    Function::of::<symlink::Symlink>("file.symlink", false),
    Function::of::<touch::Touch>("file.touch", false),
    Function::of::<comment::Uncomment>("file.uncomment", false),
];

#[cfg(test)]
mod real;
