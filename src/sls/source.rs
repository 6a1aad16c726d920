//! SLS files by name: found in a tree, rendered, read as YAML. Serves states and pillar alike, and knows neither.

use super::render::{Locals, Render, Rendered};
use crate::error::{Error, Pos, Result, nearest};
use crate::inventory::Glob;
use crate::tree::{Tree, TreeFile};
use crate::yaml::{self, Data, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lines as rendering made them, by the places in the files that they came from: errors that are found later show these.
#[derive(Clone, Debug, Default)]
pub struct RenderedTexts(BTreeMap<Pos, Option<Arc<str>>>);

impl RenderedTexts {
    /// `error` with the rendered lines that it points into, where they are not those of the file on disk.
    pub fn explain(&self, error: Error) -> Error {
        error.excerpts(|at| self.0.get(&at)?.as_deref().map(str::to_owned))
    }

    /// Notes that what was rendered from `at` is `line`. In a loop one place makes many lines: which one is meant cannot be told.
    fn note(&mut self, at: Pos, line: &Arc<str>) {
        self.0
            .entry(at)
            .and_modify(|known| {
                if known.as_deref() != Some(line) {
                    *known = None;
                }
            })
            .or_insert_with(|| Some(line.clone()));
    }
}

/// The SLS files of a tree.
pub(crate) struct Sources<'a> {
    tree: &'a Tree,
    render: &'a dyn Render,
    saltenv: &'a str,
    /// The names of all SLS; looked up when first needed.
    names: OnceCell<Vec<String>>,
    texts: RefCell<RenderedTexts>,
    asked: Cell<bool>,
}

/// An SLS that was found.
pub(crate) struct Found {
    pub sls: String,
    pub file: TreeFile,
}

impl<'a> Sources<'a> {
    pub fn new(tree: &'a Tree, render: &'a dyn Render, saltenv: &'a str) -> Sources<'a> {
        Sources {
            tree,
            render,
            saltenv,
            names: OnceCell::new(),
            texts: RefCell::default(),
            asked: Cell::new(false),
        }
    }

    pub fn saltenv(&self) -> &'a str {
        self.saltenv
    }

    /// Whether a template asked what only the minion can tell.
    pub fn asked(&self) -> bool {
        self.asked.get()
    }

    pub fn texts(self) -> RenderedTexts {
        self.texts.into_inner()
    }

    pub fn explain(&self, error: Error) -> Error {
        self.texts.borrow().explain(error)
    }

    /// `a.b` is `a/b.sls`, else `a/b/init.sls`.
    pub fn find(&self, sls: &str) -> Option<Found> {
        let path = sls.replace('.', "/");
        let file = self
            .tree
            .find(&format!("{path}.sls"))
            .or_else(|| self.tree.find(&format!("{path}/init.sls")))?;
        Some(Found {
            sls: sls.to_owned(),
            file,
        })
    }

    /// The SLS called `sls`.
    ///
    /// # Errors
    /// There is none: names those that are near.
    pub fn get(&self, sls: &str) -> Result<Found> {
        self.find(sls).ok_or_else(|| self.missing(sls))
    }

    fn missing(&self, sls: &str) -> Error {
        let path = sls.replace('.', "/");
        let error = Error::usage(format!("there is no SLS `{sls}`"))
            .hint(format!("looked for {path}.sls and {path}/init.sls in {}", self.roots()));
        let names = self.names();
        let last = sls.rsplit('.').next().unwrap_or(sls);
        let nearest = nearest(sls, names.iter().map(String::as_str));
        let same_end = names
            .iter()
            .map(String::as_str)
            .filter(|name| name.rsplit('.').next() == Some(last));
        let mut near: Vec<&str> = nearest.into_iter().chain(same_end).take(4).collect();
        near.dedup();
        match &near[..] {
            [] => error,
            near => error.hint(format!("did you mean `{}`?", near.join("`, `"))),
        }
    }

    fn roots(&self) -> String {
        use crate::tree::Root;
        let shown: Vec<String> = self
            .tree
            .roots
            .iter()
            .map(|root| match root {
                Root::Folder(folder) => crate::tree::shown(folder).name().to_owned(),
                Root::Embedded { shown, .. } => (*shown).to_owned(),
            })
            .collect();
        shown.join(", ")
    }

    /// The names of all SLS of the tree, sorted.
    pub fn names(&self) -> &[String] {
        self.names.get_or_init(|| {
            let mut names: Vec<String> = self
                .tree
                .list("")
                .iter()
                .filter_map(|path| path.strip_suffix(".sls"))
                .map(|path| path.strip_suffix("/init").unwrap_or(path).replace('/', "."))
                .collect();
            names.sort();
            names.dedup();
            names
        })
    }

    /// The SLS that a name or a pattern means; the name itself where nothing matches, so that looking for it tells what is wrong.
    pub fn expand(&self, pattern: &str) -> Vec<String> {
        if !is_pattern(pattern) {
            return vec![pattern.to_owned()];
        }
        let glob = Glob::fnmatch(pattern);
        let matched: Vec<String> = self.names().iter().filter(|name| glob.matches(name)).cloned().collect();
        if matched.is_empty() {
            vec![pattern.to_owned()]
        } else {
            matched
        }
    }

    /// What the file says, rendered; `None` while the template waits for answers.
    ///
    /// # Errors
    /// The template's, the YAML's, or a renderer that is not supported.
    pub fn read(&self, file: &TreeFile, locals: &Locals) -> Result<Option<Value>> {
        let bytes = file.read()?;
        let source = yaml::utf8(file.id, &bytes)?;
        let pipe = pipe(source).map_err(|e| e.at(Pos::new(file.id, 1, 1)))?;
        let text: Arc<str> = if pipe.jinja {
            match self.render.render(file, locals)? {
                Rendered::Text(text) => text.into(),
                Rendered::Asks => {
                    self.asked.set(true);
                    return Ok(None);
                }
            }
        } else {
            source.into()
        };
        let back = Back {
            written: source.lines().collect(),
            rendered: text.lines().map(Arc::from).collect(),
        };
        let mut value = yaml::parse(file.id, &text).map_err(|e| {
            e.excerpts(|at| back.differing(at, self.render.origin(at)).map(|line| line.to_string()))
                .moved(|at| self.render.origin(at))
        })?;
        if *text != *source {
            let mut texts = self.texts.borrow_mut();
            value.move_places(&mut |at| {
                let origin = self.render.origin(at);
                if let Some(line) = back.differing(at, origin) {
                    texts.note(origin, line);
                }
                origin
            });
        }
        if pipe.gpg {
            refuse_encrypted(&value)?;
        }
        Ok(Some(value))
    }
}

/// The way back from a rendered text to the file.
struct Back<'a> {
    written: Vec<&'a str>,
    rendered: Vec<Arc<str>>,
}

impl Back<'_> {
    /// The rendered line at `at`, if the file has another one at `origin`.
    fn differing(&self, at: Pos, origin: Pos) -> Option<&Arc<str>> {
        let number = |at: Pos| at.line.checked_sub(1).map(|line| line as usize);
        let rendered = self.rendered.get(number(at)?)?;
        let written = number(origin)
            .and_then(|line| self.written.get(line))
            .filter(|_| origin.file == at.file);
        written.is_none_or(|written| *written != &**rendered).then_some(rendered)
    }
}

/// Whether a name has signs of a pattern in it.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// The SLS that a relative name (`.x`, `..x`) means inside of another.
///
/// # Errors
/// It leads out of the tree.
pub(crate) fn absolute(name: &str, from: &Found) -> Result<String> {
    let levels = name.len() - name.trim_start_matches('.').len();
    if levels == 0 {
        return Ok(name.to_owned());
    }
    let mut parts: Vec<&str> = from.sls.split('.').collect();
    if from.file.path.ends_with("/init.sls") || from.file.path == "init.sls" {
        parts.push("init");
    }
    if levels > parts.len() {
        return Err(Error::usage(format!(
            "`{name}` leads out of the tree: `{}` has {} level{} above it",
            from.sls,
            parts.len() - 1,
            if parts.len() == 2 { "" } else { "s" }
        )));
    }
    parts.truncate(parts.len() - levels);
    parts.push(&name[levels..]);
    Ok(parts.join("."))
}

/// How a file is to be read.
struct Pipe {
    jinja: bool,
    gpg: bool,
}

/// What the first line asks for: `#!jinja|yaml`; Jinja and YAML where it asks for nothing.
fn pipe(source: &str) -> Result<Pipe> {
    let mut pipe = Pipe { jinja: true, gpg: false };
    let first = source.lines().next().unwrap_or_default();
    let Some(renderers) = first.strip_prefix("#!").filter(|rest| !rest.starts_with('/')) else {
        return Ok(pipe);
    };
    pipe.jinja = false;
    for renderer in renderers.split('|') {
        match renderer.split_whitespace().next().unwrap_or_default() {
            "jinja" => pipe.jinja = true,
            // JSON is YAML.
            "yaml" | "json" | "" => {}
            "gpg" => pipe.gpg = true,
            other => {
                return Err(Error::usage(format!("the {other} renderer is not supported")).hint(
                    "supported are jinja, yaml and json: `#!jinja|yaml`, which is also what a file without this line gets",
                ));
            }
        }
    }
    Ok(pipe)
}

/// The gpg renderer lets pass what is not encrypted; what is, nobody here can read.
fn refuse_encrypted(value: &Value) -> Result<()> {
    match &value.data {
        Data::Str(text) if text.contains("-----BEGIN PGP MESSAGE-----") => {
            Err(Error::usage("this value is encrypted with GPG, which is not supported").at(value.at))
        }
        Data::List(items) => items.iter().try_for_each(refuse_encrypted),
        Data::Map(map) => map.values().try_for_each(refuse_encrypted),
        _ => Ok(()),
    }
}
