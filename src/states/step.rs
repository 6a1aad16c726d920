//! What is done to a minion: shell text or file contents. Carried out by `run/`, sent over standard input.

use crate::shell::Content;

/// One thing to do. Each is answered by one [`Answer`](crate::shell::Answer).
#[derive(Clone, Debug)]
pub enum Step {
    Shell(RunShell),
    Put(PutFile),
    /// Removes a file or a symlink, which is kept for `picloud undo`.
    Remove(String),
}

/// Shell text to run.
#[derive(Clone, Debug, Default)]
pub struct RunShell {
    /// What it is for, in the words of an error: "apt-get install".
    pub label: String,
    /// Well-formed shell of our own; a user's own text only as a quoted word.
    pub script: String,
    /// Given on standard input; else it is empty.
    pub stdin: Option<Content>,
}

/// A file to be written beside its place and renamed into it.
#[derive(Clone, Debug, Default)]
pub struct PutFile {
    pub path: String,
    pub content: Content,
    /// Shell that writes the contents to the file named by `$tmp`, in place of `content`: a download by the minion, a copy of a file of
    /// its own. It must exit other than 0 when it could not.
    pub fetch: Option<String>,
    /// Names or numbers; `None` keeps what a replaced file had, else the session's own.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Octal digits; `None` keeps what a replaced file had, else 0644 less nothing.
    pub mode: Option<String>,
    /// A command that is given the candidate's path as its last word, and must exit 0 before the candidate takes its place.
    pub check: Option<String>,
    /// Salt's `tmp_dir` / `tmp_ext` for the candidate, which some checks want.
    pub tmp_dir: Option<String>,
    pub tmp_ext: Option<String>,
    /// Keep what is replaced, for `picloud undo`.
    pub keep: bool,
    /// The contents are secret: nothing of them is logged, and the candidate is made with mode 0600 from the start.
    pub secret: bool,
}

impl From<RunShell> for Step {
    fn from(step: RunShell) -> Step {
        Step::Shell(step)
    }
}

impl From<PutFile> for Step {
    fn from(step: PutFile) -> Step {
        Step::Put(step)
    }
}

impl Step {
    /// `script` under a label that an error can name.
    pub fn shell(label: impl Into<String>, script: impl Into<String>) -> Step {
        Step::Shell(RunShell {
            label: label.into(),
            script: script.into(),
            stdin: None,
        })
    }

    pub fn label(&self) -> &str {
        match self {
            Step::Shell(step) => &step.label,
            Step::Put(step) => &step.path,
            Step::Remove(path) => path,
        }
    }
}
