//! What a user can be told: data with a place and hints. Drawing it is the report's job.
//!
//! Every fallible function of the library returns [`Result`]. An [`Error`] carries one or more [`Diagnostic`]s, so that a
//! compile can say everything that is wrong at once.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{OnceLock, RwLock};

/// A file that positions refer to, interned: positions are copied by the thousand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub struct FileId(u32);

fn files() -> &'static RwLock<Vec<&'static str>> {
    static FILES: OnceLock<RwLock<Vec<&'static str>>> = OnceLock::new();
    FILES.get_or_init(|| RwLock::new(vec![""]))
}

impl FileId {
    /// The id of `name`, the file as it should be shown to the user. The same name always gives the same id.
    pub fn of(name: &str) -> FileId {
        let mut files = files().write().unwrap_or_else(|e| e.into_inner());
        let at = files.iter().position(|known| *known == name).unwrap_or_else(|| {
            files.push(Box::leak(name.to_owned().into_boxed_str()));
            files.len() - 1
        });
        FileId(at as u32)
    }

    /// The name that this id was made of; empty for "no file".
    pub fn name(self) -> &'static str {
        files().read().unwrap_or_else(|e| e.into_inner())[self.0 as usize]
    }
}

impl From<String> for FileId {
    fn from(name: String) -> FileId {
        FileId::of(&name)
    }
}

impl From<FileId> for &'static str {
    fn from(id: FileId) -> &'static str {
        id.name()
    }
}

/// A place in a file; line and column count from 1, and 0 means "not known".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Pos {
    pub file: FileId,
    pub line: u32,
    pub column: u32,
}

impl Pos {
    pub fn new(file: FileId, line: u32, column: u32) -> Pos {
        Pos { file, line, column }
    }

    pub fn is_known(self) -> bool {
        self != Pos::default()
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.name(), self.line, self.column) {
            (file, 0, _) => f.write_str(file),
            (file, line, 0) => write!(f, "{file}:{line}"),
            (file, line, column) => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// What kind of mistake or mishap it is; it decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line, the project, an SLS, a pillar or a template is wrong: exit code 1.
    Usage,
    /// A state failed on a minion: exit code 2.
    State,
    /// A minion could not be reached or was lost: exit code 3.
    Unreachable,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 1,
            Kind::State => 2,
            Kind::Unreachable => 3,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    pub kind: Kind,
    /// A lower-case fragment that reads well after "error: ".
    pub message: String,
    pub at: Pos,
    /// The line that `at` points into, where the file that was read differs from the file on disk (a rendered template).
    pub excerpt: Option<String>,
    /// How the place was reached, innermost first: `("included from", pos)`.
    pub trail: Vec<(String, Pos)>,
    pub minion: Option<String>,
    /// The state as the user knows it: `file.managed /etc/motd`.
    pub state: Option<String>,
    /// What to do about it; each reads well after "hint: ".
    pub hints: Vec<String>,
}

/// One or more diagnostics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Diagnostic>")]
pub struct Error(Vec<Diagnostic>);

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(vec![Diagnostic {
            kind,
            message: message.into(),
            at: Pos::default(),
            excerpt: None,
            trail: Vec::new(),
            minion: None,
            state: None,
            hints: Vec::new(),
        }])
    }

    /// A mistake in what the user wrote.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// A state that failed.
    pub fn state(message: impl Into<String>) -> Error {
        Error::new(Kind::State, message)
    }

    /// A minion that was not reached.
    pub fn unreachable(message: impl Into<String>) -> Error {
        Error::new(Kind::Unreachable, message)
    }

    /// Joins what went wrong in several places; `None` when nothing did.
    pub fn all(errors: impl IntoIterator<Item = Error>) -> Option<Error> {
        let all: Vec<Diagnostic> = errors.into_iter().flat_map(|e| e.0).collect();
        (!all.is_empty()).then_some(Error(all))
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }

    /// The kind of the first diagnostic.
    pub fn kind(&self) -> Kind {
        self.0[0].kind
    }

    fn each(mut self, change: impl Fn(&mut Diagnostic)) -> Error {
        self.0.iter_mut().for_each(change);
        self
    }

    /// Gives every text that the user would see to `change`, to mask secrets in it.
    pub fn for_each_text(&mut self, mut change: impl FnMut(&mut String)) {
        for d in &mut self.0 {
            change(&mut d.message);
            d.excerpt
                .iter_mut()
                .chain(&mut d.state)
                .chain(&mut d.hints)
                .for_each(&mut change);
        }
    }

    /// Sets the place of those diagnostics that have none yet.
    pub fn at(self, at: Pos) -> Error {
        self.each(|d| {
            if !d.at.is_known() {
                d.at = at;
            }
        })
    }

    pub fn excerpt(self, text: impl Into<String>) -> Error {
        let text = text.into();
        self.each(|d| d.excerpt = Some(text.clone()))
    }

    /// Gives those diagnostics an excerpt that have none, where `line` knows the text at their place.
    pub fn excerpts(self, line: impl Fn(Pos) -> Option<String>) -> Error {
        self.each(|d| d.excerpt = d.excerpt.take().or_else(|| line(d.at)))
    }

    /// Moves every place, of diagnostics and of their trails.
    pub fn moved(self, to: impl Fn(Pos) -> Pos) -> Error {
        self.each(|d| {
            d.at = to(d.at);
            d.trail.iter_mut().for_each(|(_, at)| *at = to(*at));
        })
    }

    /// What was read is a text that stands at `at`: places in it, which nobody has as a file, become that place.
    pub fn within(self, at: Pos) -> Error {
        self.each(|d| {
            d.at = at;
            d.excerpt = None;
        })
    }

    pub fn trail(self, how: &str, at: Pos) -> Error {
        self.each(|d| d.trail.push((how.to_owned(), at)))
    }

    pub fn minion(self, id: &str) -> Error {
        self.each(|d| d.minion = Some(id.to_owned()))
    }

    pub fn in_state(self, state: &str) -> Error {
        self.each(|d| {
            d.state.get_or_insert_with(|| state.to_owned());
        })
    }

    pub fn hint(self, hint: impl Into<String>) -> Error {
        let hint = hint.into();
        self.each(|d| d.hints.push(hint.clone()))
    }

    /// Adds "did you mean `x`?" where one of `known` is near to `written`.
    pub fn did_you_mean<'a>(self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
        match nearest(written, known) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Error {
    /// One line for each diagnostic, without hints: for logs and tests. `report/` draws the full form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, d) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            if let Some(minion) = &d.minion {
                write!(f, "{minion}: ")?;
            }
            if d.at.is_known() {
                write!(f, "{}: ", d.at)?;
            }
            if let Some(state) = &d.state {
                write!(f, "{state}: ")?;
            }
            f.write_str(&d.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Error {
        Error(vec![diagnostic])
    }
}

impl TryFrom<Vec<Diagnostic>> for Error {
    type Error = &'static str;

    fn try_from(diagnostics: Vec<Diagnostic>) -> Result<Error, &'static str> {
        if diagnostics.is_empty() {
            return Err("an error without a diagnostic");
        }
        Ok(Error(diagnostics))
    }
}

/// The candidate that `written` was most likely meant to be: the nearest by Damerau-Levenshtein distance, if it is near. Never
/// `written` itself, which is wrong for another reason then.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    let limit = (length / 3).clamp(1, 4);
    known
        .into_iter()
        // Cheap, and enough for most: a compile can have thousands of mistakes.
        .filter(|name| name.chars().count().abs_diff(length) <= limit && *name != written)
        .map(|name| {
            (
                strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["file.managed", "file.directory", "pkg.installed"];
        assert_eq!(nearest("file.manged", known), Some("file.managed"));
        assert_eq!(nearest("File.Managed", known), Some("file.managed"));
        assert_eq!(nearest("cron.present", known), None);
        assert_eq!(nearest("file.managed", ["file.managed", "file.manage"]), Some("file.manage"));
    }

    #[test]
    fn an_error_shows_minion_place_and_state() {
        let at = Pos::new(FileId::of("states/web.sls"), 3, 5);
        let error = Error::state("no such user")
            .at(at)
            .minion("pi0")
            .in_state("file.managed /etc/motd");
        assert_eq!(
            error.to_string(),
            "pi0: states/web.sls:3:5: file.managed /etc/motd: no such user"
        );
    }
}
