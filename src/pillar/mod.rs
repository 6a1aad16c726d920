//! Pillar: the data that a minion is given, from `pillar/top.sls` and the files that it names, merged as Salt merges them.
//!
//! Reads the tree and renders; knows neither states nor connections.

mod merge;
mod secrets;
mod top;

pub use merge::merge;
pub use secrets::secrets;

use crate::error::{Error, FileId, Pos, Result, nearest};
use crate::sls::{Locals, Render, Rendered};
use crate::tree::{Tree, TreeFile};
use crate::yaml::{Data, Map, Value, parse};
use std::collections::HashSet;

/// Everything that decides one minion's pillar. The template engine already knows the minion's grains.
pub struct Input<'a> {
    /// The pillar tree.
    pub tree: &'a Tree,
    pub render: &'a dyn Render,
    /// The minion's id, for messages.
    pub id: &'a str,
    /// `base`, unless the user says otherwise.
    pub saltenv: &'a str,
    /// Whether the minion matches an expression of the top file, as in [`crate::sls::Input::matches`].
    pub matches: &'a dyn Fn(&str, &str) -> Result<bool>,
    /// What the inventory says of this minion alone; laid over all else.
    pub overlay: &'a Value,
}

/// The outcome of a compile.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// A template asks what only the minion can tell; the renderer has the questions.
    Asks,
    Ready(Value),
}

/// The minion's pillar; empty but for the overlay where there is no `top.sls`.
///
/// # Errors
/// All that is wrong in the files that concern the minion.
pub fn compile(input: &Input) -> Result<Compiled> {
    let mut reader = Reader {
        input,
        seen: HashSet::new(),
        asks: false,
    };
    let Some(names) = top::names(&mut reader)? else {
        return Ok(if reader.asks {
            Compiled::Asks
        } else {
            Compiled::Ready(input.overlay.clone())
        });
    };
    let mut pillar = Value::map();
    let mut errors = Vec::new();
    for name in names {
        match reader.sls(&name.sls, &Map::new(), name.at, name.ignore_missing) {
            Ok(Some(value)) => pillar = merge(pillar, value),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if reader.asks {
        return Ok(Compiled::Asks);
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    Ok(Compiled::Ready(merge(pillar, input.overlay.clone())))
}

/// Reads the files of one pillar, each once.
struct Reader<'a> {
    input: &'a Input<'a>,
    seen: HashSet<String>,
    asks: bool,
}

impl Reader<'_> {
    /// A file as data; `None` when its template asks the minion something.
    fn read(&mut self, file: &TreeFile, locals: &Locals) -> Result<Option<Value>> {
        match self.input.render.render(file, locals)? {
            Rendered::Asks => {
                self.asks = true;
                Ok(None)
            }
            Rendered::Text(text) => parse(file.id, &text).map(Some),
        }
    }

    /// The data of an SLS with what it includes; `None` when it was read before.
    fn sls(&mut self, name: &str, defaults: &Map, at: Pos, ignore_missing: bool) -> Result<Option<Value>> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(None);
        }
        let path = name.replace('.', "/");
        let tree = self.input.tree;
        let file = tree
            .find(&format!("{path}.sls"))
            .or_else(|| tree.find(&format!("{path}/init.sls")));
        let Some(file) = file else {
            return if ignore_missing {
                Ok(None)
            } else {
                Err(self.missing(name, at))
            };
        };
        let mut locals = Locals::of(name, self.input.saltenv, &file);
        locals.extra = defaults.clone();
        let Some(value) = self.read(&file, &locals)? else {
            return Ok(None);
        };
        let mut own = match value.data {
            Data::Null => Map::new(),
            Data::Map(map) => map,
            _ => {
                let found = value.kind();
                return Err(
                    Error::usage(format!("the pillar SLS `{name}` must be a mapping, not {found}")).at(start(file.id, value.at)),
                );
            }
        };
        let includes = own.shift_remove("include");
        let mut merged = Value::map();
        for include in includes
            .iter()
            .flat_map(|value| value.as_list().unwrap_or(std::slice::from_ref(value)))
        {
            let (included, defaults, key) = include_of(include)?;
            let included = relative(&included, name, &file)
                .ok_or_else(|| Error::usage(format!("`{included}` leaves the pillar tree")).at(include.at))?;
            let value = self
                .sls(&included, &defaults, include.at, false)
                .map_err(|e| e.trail("included from", include.at))?;
            if let Some(value) = value {
                merged = merge(merged, under(value, key.as_deref()));
            }
        }
        // What the file says itself counts for more than what it includes.
        Ok(Some(merge(merged, Value::from(own).at(value.at))))
    }

    fn missing(&self, name: &str, at: Pos) -> Error {
        let path = name.replace('.', "/");
        let files = self.input.tree.list("");
        let known: Vec<String> = files
            .iter()
            .filter_map(|file| file.strip_suffix(".sls"))
            .map(|file| file.strip_suffix("/init").unwrap_or(file).replace('/', "."))
            .collect();
        let error = Error::usage(format!(
            "there is no pillar SLS `{name}`: neither {path}.sls nor {path}/init.sls"
        ))
        .at(at);
        match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    }
}

/// An include's name, its `defaults` and its `key`.
fn include_of(include: &Value) -> Result<(String, Map, Option<String>)> {
    if let Some(name) = include.as_str() {
        return Ok((name.to_owned(), Map::new(), None));
    }
    let entry = include.as_map().filter(|map| map.len() == 1).and_then(|map| map.first());
    let Some((name, options)) = entry else {
        return Err(Error::usage(format!("an include is the name of an SLS, not {}", include.kind())).at(include.at));
    };
    let unknown = options
        .as_map()
        .and_then(|map| map.keys().find(|key| !matches!(key.text().as_str(), "defaults" | "key")));
    if let Some(unknown) = unknown {
        return Err(
            Error::usage(format!("an include of pillar has no option `{}`", unknown.text()))
                .at(unknown.at)
                .did_you_mean(&unknown.text(), ["defaults", "key"]),
        );
    }
    let defaults = options.get("defaults").and_then(Value::as_map).cloned().unwrap_or_default();
    Ok((name.text(), defaults, options.get("key").and_then(Value::scalar_text)))
}

/// The name that `.x` and `..x` mean in the SLS `name`, read from `file`; `None` where they lead out of the tree.
fn relative(included: &str, name: &str, file: &TreeFile) -> Option<String> {
    let dots = included.chars().take_while(|c| *c == '.').count();
    if dots == 0 {
        return Some(included.to_owned());
    }
    let mut package: Vec<&str> = name.split('.').collect();
    if !file.path.ends_with("/init.sls") {
        package.pop();
    }
    for _ in 1..dots {
        package.pop()?;
    }
    let rest = &included[dots..];
    package.extend((!rest.is_empty()).then_some(rest));
    Some(package.join("."))
}

/// `value` below the keys of `key` (`a:b`).
fn under(value: Value, key: Option<&str>) -> Value {
    let Some(key) = key else { return value };
    key.rsplit(':')
        .fold(value, |value, key| Value::from(Map::from_iter([(key.into(), value)])))
}

/// The place of a value, or the start of its file.
fn start(file: FileId, at: Pos) -> Pos {
    if at.is_known() { at } else { Pos::new(file, 1, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::emit;

    /// Renders nothing: the text as it is.
    struct Plain;

    impl Render for Plain {
        fn render(&self, file: &TreeFile, _: &Locals) -> Result<Rendered> {
            Ok(Rendered::Text(String::from_utf8_lossy(&file.read()?).into_owned()))
        }
    }

    fn pillar(files: &[(&str, &str)], overlay: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let overlay = parse(FileId::of("inventory"), overlay).unwrap();
        let input = Input {
            tree: &Tree::folder(folder.path()),
            render: &Plain,
            id: "pi0",
            saltenv: "base",
            matches: &|expr, _| Ok(expr == "*" || expr == "pi0"),
            overlay: if overlay.is_null() { &Value::map() } else { &overlay },
        };
        match compile(&input)? {
            Compiled::Ready(value) => Ok(emit(&value)),
            Compiled::Asks => panic!("plain text asks nothing"),
        }
    }

    #[test]
    fn files_are_merged_in_the_order_of_the_top_file() {
        let files = [
            ("top.sls", "base:\n  '*': [all]\n  pi0:\n    - one\n  pi1:\n    - other\n"),
            ("all.sls", "a: {x: 1, y: [1, 2]}\nb: all\n"),
            ("one/init.sls", "include:\n  - .more\n  - deep: {key: 'p:q'}\na: {y: [3]}\n"),
            ("one/more.sls", "a: {y: [9], z: 4}\nc: more\n"),
            ("deep.sls", "d: 1\n"),
        ];
        assert_eq!(
            pillar(&files, "b: mine").unwrap(),
            "a:\n  x: 1\n  y:\n  - 3\n  z: 4\nb: mine\nc: more\np:\n  q:\n    d: 1\n"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_near() {
        let files = [("top.sls", "base:\n  '*': [databse]\n"), ("database.sls", "x: 1\n")];
        let error = pillar(&files, "").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("there is no pillar SLS `databse`: neither databse.sls nor databse/init.sls"),
            "{error}"
        );
        assert_eq!(error.diagnostics()[0].hints, ["did you mean `database`?"]);
        assert_eq!(error.diagnostics()[0].at.line, 2);
    }

    #[test]
    fn without_a_top_file_there_is_the_overlay() {
        assert_eq!(pillar(&[], "a: 1").unwrap(), "a: 1\n");
    }
}
