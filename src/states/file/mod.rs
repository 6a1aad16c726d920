//! `file.*`: files, folders and symlinks, and edits of text files.
//!
//! One file per subject. What several share: [`place`] (paths and their parents), [`owner`], [`text`] (reading what was observed),
//! [`put`] (a file as it is to be), [`pattern`] (Python's regular expressions). Nothing here knows how steps are carried out.

use crate::pattern;
