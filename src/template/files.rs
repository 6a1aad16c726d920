//! The templates of one tree: found, rewritten once for all minions, and known by the names that minijinja has for them.

use super::args::shown;
use super::syntax::{Lines, Offsets, SyntaxError, Whitespace, normalize, rewrite};
use super::value::{Pending, fail, is_sequence_like, is_string, items, undefined};
use crate::error::{Error, FileId, Pos, Result, nearest};
use crate::tree::{Place, Tree, TreeFile};
use crate::yaml;
use minijinja::{Environment, State, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

/// Ends the name of a template that is imported without its importer's context.
pub const WITHOUT_CONTEXT: char = '\u{1}';
/// Begins the name of a template that is not a file of the tree.
const TEXT: char = '\u{2}';

/// One template, as it was written and as minijinja has it.
#[derive(Debug)]
pub struct Source {
    pub file: FileId,
    /// Below the tree's root, for relative imports; where the text is no file, that of the file that gave it.
    pub path: String,
    pub text: String,
    pub lines: Lines,
    offsets: Offsets,
    pub rewritten: String,
    pub assigned: Vec<String>,
    /// Jinja2 drops a last line end, and Salt puts it back for the template that it was asked to render.
    pub ends_with_newline: bool,
}

impl Source {
    /// Where what stands at `at` in the rewritten text was written.
    pub fn place(&self, at: usize) -> Pos {
        let (line, column) = self.lines.place(&self.text, self.offsets.original(at));
        Pos::new(self.file, line, column)
    }

    /// The first place of a line, from 1.
    pub fn line(&self, line: usize) -> Pos {
        Pos::new(self.file, line as u32, 0)
    }

    pub fn excerpt(&self, at: Pos) -> Option<&str> {
        self.lines.text(&self.text, at.line)
    }
}

/// The templates that were read so far.
#[derive(Debug)]
pub struct Files {
    pub tree: Arc<Tree>,
    known: RwLock<HashMap<String, Arc<Source>>>,
}

impl Files {
    pub fn new(tree: Arc<Tree>) -> Files {
        Files {
            tree,
            known: RwLock::default(),
        }
    }

    /// The template that minijinja calls `name`, if it has been read.
    pub fn get(&self, name: &str) -> Option<Arc<Source>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The variable that `name` was most likely meant to be, of all that templates of the tree have set so far, and by which.
    pub fn nearest_assigned(&self, name: &str) -> Option<(String, FileId)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let assigned = || {
            known
                .values()
                .flat_map(|source| source.assigned.iter().map(|name| (name.as_str(), source.file)))
        };
        let near = nearest(name, assigned().map(|(name, _)| name))?;
        assigned()
            .find(|(name, _)| *name == near)
            .map(|(name, file)| (name.to_owned(), file))
    }

    fn keep(&self, name: &str, source: Source) -> Arc<Source> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.to_owned()).or_insert_with(|| Arc::new(source)).clone()
    }

    /// The template called `name`, read from the tree if it is not known. `None`: there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no template.
    pub fn load(&self, name: &str) -> Result<Option<Arc<Source>>> {
        if let Some(known) = self.get(name) {
            return Ok(Some(known));
        }
        let path = name.trim_end_matches(WITHOUT_CONTEXT);
        let Some(file) = self.tree.find(path) else { return Ok(None) };
        let text = read(&file)?;
        let prologue = if name.ends_with(WITHOUT_CONTEXT) {
            own_place(path)
        } else {
            String::new()
        };
        Ok(Some(self.keep(name, source(&file, &text, &prologue)?)))
    }

    /// The name under which `file` is known, after it has been read.
    ///
    /// # Errors
    /// A file that cannot be read, or is no template.
    pub fn add_file(&self, file: &TreeFile) -> Result<(String, Arc<Source>)> {
        if let Some(known) = self.get(&file.path)
            && known.file == file.id
        {
            return Ok((file.path.clone(), known));
        }
        let text = read(file)?;
        let of_the_tree = self.tree.find(&file.path).is_some_and(|found| found.id == file.id);
        if of_the_tree {
            let source = source(file, &text, "")?;
            return Ok((file.path.clone(), self.keep(&file.path, source)));
        }
        self.add_text(file, &text)
    }

    /// The name under which `text`, given by or standing in for `file`, is known.
    ///
    /// # Errors
    /// What is no template.
    pub fn add_text(&self, file: &TreeFile, text: &str) -> Result<(String, Arc<Source>)> {
        let mut hasher = DefaultHasher::new();
        (file.id.name(), &file.path, text).hash(&mut hasher);
        let name = format!("{TEXT}{:016x}{}", hasher.finish(), text.len());
        if let Some(known) = self.get(&name) {
            return Ok((name, known));
        }
        let source = source(file, text, "")?;
        let kept = self.keep(&name, source);
        Ok((name, kept))
    }

    /// The full name of what the template called `parent` names `name`; relative names begin with a dot.
    pub fn join(&self, name: &str, parent: &str) -> String {
        if name.starts_with(TEXT) {
            return name.to_owned();
        }
        let bare = name.trim_end_matches(WITHOUT_CONTEXT);
        let mark = &name[bare.len()..];
        let bare = bare.strip_prefix("salt://").unwrap_or(bare);
        let bare = bare.split('?').next().unwrap_or(bare);
        let first = bare.split('/').next().unwrap_or_default();
        if first != "." && first != ".." {
            return bare.trim_start_matches('/').to_owned() + mark;
        }
        let parent = match self.get(parent) {
            Some(source) => source.path.clone(),
            None => parent.trim_end_matches(WITHOUT_CONTEXT).to_owned(),
        };
        let mut parts: Vec<&str> = parent.split('/').collect();
        parts.pop();
        for part in bare.split('/') {
            match part {
                "." | "" => {}
                // Above the root there is nothing: the name is left as it is, and is not found.
                ".." => match parts.pop() {
                    Some(_) => {}
                    None => return name.to_owned(),
                },
                part => parts.push(part),
            }
        }
        // Salt's loader leaves the importer's place as it is where the name is relative.
        parts.join("/")
    }

    /// The error for a template that is not there.
    pub fn missing(&self, name: &str) -> Error {
        let path = name.trim_end_matches(WITHOUT_CONTEXT);
        let error = Error::usage(format!("there is no file `{path}` to be imported"));
        if self.tree.is_folder(path) {
            return error.hint(format!("`{path}` is a folder"));
        }
        let all = self.tree.list("");
        match nearest(path, all.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("names of templates are paths below the root of the tree, or begin with `./`"),
        }
    }
}

/// Gives `environment` the filter that the rewritten template puts around the names of imported templates.
pub fn install(environment: &mut Environment<'static>) {
    environment.add_filter("_template", |_: &mut State, name: Value, context: bool| {
        if let Some(pending) = name.downcast_object_ref::<Pending>() {
            // Which file it is decides all that follows.
            pending.decided();
            return Err(fail("the name of the template is not known yet"));
        }
        let marked = |name: &Value| match name.as_str() {
            Some(text) if is_string(name) && context => Ok(Value::from(text)),
            Some(text) if is_string(name) => Ok(Value::from(format!("{text}{WITHOUT_CONTEXT}"))),
            _ if name.is_undefined() => Err(undefined(name)),
            _ => Err(fail(format!("the name of a template must be a string, not {}", shown(name)))),
        };
        if is_sequence_like(&name) {
            let names = items(&name)?.iter().map(marked).collect::<Result<Vec<_>, _>>()?;
            return Ok(Value::from(names));
        }
        marked(&name)
    });
}

fn read(file: &TreeFile) -> Result<String> {
    let bytes = match &file.place {
        Place::Embedded(bytes) => Cow::Borrowed(*bytes),
        Place::Disk(path) => Cow::Owned(yaml::read(file.id, path)?),
    };
    Ok(yaml::utf8(file.id, &bytes)?.to_owned())
}

/// Sets the variables that tell a template where it lies, as Salt's loader does.
fn own_place(path: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!(
        "{{% set tplfile, tpldir, tpldot = ({}, {}, {}) %}}",
        quoted(path),
        quoted(if folder.is_empty() { "." } else { folder }),
        quoted(&folder.replace('/', "."))
    )
}

/// The options of a `#jinja2: {...}` header in the first two lines.
///
/// # Errors
/// A header that is not understood.
fn header(file: FileId, text: &str) -> Result<Whitespace> {
    let mut whitespace = Whitespace::default();
    for (n, line) in text.lines().take(2).enumerate() {
        let Some(options) = line.strip_prefix("#jinja2:") else {
            continue;
        };
        let at = Pos::new(file, n as u32 + 1, 1);
        let options = yaml::parse(file, options.trim()).map_err(|why| {
            Error::usage(format!("the `#jinja2:` header is no mapping: {why}"))
                .at(at)
                .hint("write it as `#jinja2: {\"trim_blocks\": true}`")
        })?;
        for (key, value) in options.as_map().into_iter().flatten() {
            let on = value.as_bool().unwrap_or_default();
            match key.text().as_str() {
                "trim_blocks" => whitespace.trim_blocks = on,
                "lstrip_blocks" => whitespace.lstrip_blocks = on,
                "keep_trailing_newline" => {}
                other => {
                    return Err(Error::usage(format!(
                        "the `#jinja2:` header has the option `{other}`, which is not supported"
                    ))
                    .at(at)
                    .did_you_mean(other, ["trim_blocks", "lstrip_blocks", "keep_trailing_newline"]));
                }
            }
        }
    }
    Ok(whitespace)
}

fn source(file: &TreeFile, text: &str, prologue: &str) -> Result<Source> {
    let text = normalize(text).into_owned();
    let lines = Lines::of(&text);
    let told = |error: SyntaxError| {
        let (line, column) = lines.place(&text, error.at);
        let mut told = Error::usage(error.message).at(Pos::new(file.id, line, column));
        if let Some(excerpt) = lines.text(&text, line) {
            told = told.excerpt(excerpt);
        }
        error.hint.into_iter().fold(told, Error::hint)
    };
    let rewritten = rewrite(&text, &lines, header(file.id, &text)?, prologue).map_err(told)?;
    for (is_filter, name, at) in &rewritten.used {
        let (what, is_known): (&str, fn(&str) -> bool) = match is_filter {
            true => ("filter", super::filters::is_known),
            false => ("test", super::checks::is_known),
        };
        if !is_known(name) {
            let error = told(SyntaxError::new(*at, format!("there is no {what} `{name}`")));
            return Err(match is_filter {
                true => error.did_you_mean(name, super::filters::names()),
                false => error.did_you_mean(name, super::checks::names()),
            });
        }
    }
    Ok(Source {
        file: file.id,
        path: file.path.clone(),
        ends_with_newline: text.ends_with('\n'),
        lines,
        offsets: rewritten.offsets,
        rewritten: rewritten.text,
        assigned: rewritten.assigned,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_as_salt_joins_them() {
        let files = Files::new(Arc::new(Tree::default()));
        let table = [
            ("map.jinja", "web/init.sls", "map.jinja"),
            ("./map.jinja", "web/init.sls", "web/map.jinja"),
            ("../lib/map.jinja", "web/files/init.sls", "web/lib/map.jinja"),
            ("../map.jinja", "init.sls", "../map.jinja"),
            ("salt://web/map.jinja", "a/b.sls", "web/map.jinja"),
            ("/web/map.jinja", "a/b.sls", "web/map.jinja"),
            ("./map.jinja\u{1}", "web/init.sls", "web/map.jinja"),
            ("lib/map.jinja\u{1}", "web/init.sls", "lib/map.jinja\u{1}"),
        ];
        for (name, parent, expected) in table {
            assert_eq!(files.join(name, parent), expected, "{name} in {parent}");
        }
    }
}
