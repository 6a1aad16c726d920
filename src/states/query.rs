//! Salt's execution functions that only look: what `unless` and `onlyif` may ask in their dictionary form.

use super::Context;
use crate::error::{Error, Result};
use crate::probe::{FileKind, Observed, Probe, ShellProbe};
use crate::yaml::{Data, Map, Value};

/// A question in the words of an execution function.
pub struct Query {
    pub probes: Vec<Probe>,
    /// Whether the answer counts as true, in Python's sense.
    pub holds: Holds,
}

/// Reads the answer to a question.
pub type Holds = Box<dyn Fn(&Observed, &Context) -> Result<bool> + Send + Sync>;

/// The functions that [`query`] knows.
const KNOWN: [&str; 19] = [
    "cmd.has_exec",
    "cmd.retcode",
    "cmd.run",
    "cmd.shell",
    "cmd.which",
    "file.access",
    "file.contains",
    "file.directory_exists",
    "file.file_exists",
    "file.is_link",
    "file.path_exists_glob",
    "grains.equals",
    "grains.get",
    "pillar.get",
    "pkg.version",
    "service.available",
    "service.enabled",
    "service.status",
    "user.info",
];

/// `fun` with its arguments as a question. `get_return` picks a key of the result, as Salt's does.
///
/// # Errors
/// A function that is not known here (with the nearest name), a missing argument.
pub fn query(fun: &str, args: &[Value], kwargs: &Map, get_return: Option<&str>) -> Result<Query> {
    let argument = |n: usize, name: &str| -> Result<String> {
        let value = args.get(n).or_else(|| kwargs.get(name));
        value
            .and_then(Value::scalar_text)
            .ok_or_else(|| Error::usage(format!("`{fun}` wants an argument `{name}`")))
    };
    let path_is = |test: fn(FileKind) -> bool| -> Result<Query> {
        let path = argument(0, "path")?;
        Ok(Query {
            probes: vec![Probe::meta(&path)],
            holds: Box::new(move |seen, _| {
                let entry = seen.entry(&path)?;
                let followed = entry.map(|entry| entry.leads_to.as_ref().map_or(entry.kind, |target| target.entry.kind));
                Ok(followed.is_some_and(test))
            }),
        })
    };
    let command = |script: String, holds: fn(i32, &str) -> bool| -> Query {
        let text = |key: &str| kwargs.get(key).and_then(Value::scalar_text);
        let probe = ShellProbe {
            script,
            user: text("runas"),
            cwd: text("cwd"),
            shell: text("shell"),
            ..ShellProbe::default()
        };
        Query {
            probes: vec![Probe::Shell(probe.clone())],
            holds: Box::new(move |seen, _| seen.shell(&probe).map(|answer| holds(answer.status, answer.text().trim()))),
        }
    };
    let get_return = get_return.map(str::to_owned);
    Ok(match fun {
        "file.file_exists" => path_is(|kind| kind == FileKind::File)?,
        "file.directory_exists" => path_is(|kind| kind == FileKind::Directory)?,
        "file.is_link" => {
            let path = argument(0, "path")?;
            Query {
                probes: vec![Probe::meta(&path)],
                holds: Box::new(move |seen, _| Ok(seen.entry(&path)?.is_some_and(|entry| entry.kind == FileKind::Symlink))),
            }
        }
        "file.path_exists_glob" => {
            let pattern = argument(0, "path")?;
            // Unquoted on purpose, so that the shell expands it; what could end the word is taken out first.
            let safe: String = pattern
                .chars()
                .map(|c| {
                    if c.is_alphanumeric() || "/._-*?[]{},+@%".contains(c) {
                        c
                    } else {
                        '?'
                    }
                })
                .collect();
            command(format!("set -- {safe}; [ -e \"$1\" ]"), |status, _| status == 0)
        }
        "file.access" => {
            let (path, mode) = (argument(0, "path")?, argument(1, "mode")?);
            let flag = match mode.as_str() {
                "f" => "-e",
                "r" => "-r",
                "w" => "-w",
                "x" => "-x",
                other => {
                    return Err(Error::usage(format!(
                        "`file.access` knows the modes f, r, w and x, not {other:?}"
                    )));
                }
            };
            command(format!("[ {flag} {} ]", crate::shell::quote(&path)), |status, _| status == 0)
        }
        "file.contains" => {
            let (path, text) = (argument(0, "path")?, argument(1, "text")?);
            Query {
                probes: vec![Probe::text(&path)],
                holds: Box::new(move |seen, _| {
                    let entry = seen.entry(&path)?;
                    let entry = entry.map(|entry| entry.leads_to.as_ref().map_or(entry, |target| &target.entry));
                    let contents = entry.and_then(|entry| entry.contents.as_deref());
                    Ok(contents.is_some_and(|bytes| String::from_utf8_lossy(bytes).contains(&text)))
                }),
            }
        }
        "service.status" | "service.enabled" | "service.available" => {
            let (name, fun) = (argument(0, "name")?, fun.to_owned());
            Query {
                probes: vec![Probe::Unit { name: name.clone() }],
                holds: Box::new(move |seen, _| {
                    let unit = seen.unit(&name)?;
                    Ok(match fun.as_str() {
                        "service.status" => unit.is_active(),
                        "service.enabled" => unit.enabled == Some(true),
                        _ => unit.exists,
                    })
                }),
            }
        }
        "pkg.version" => {
            let name = argument(0, "name")?;
            Query {
                probes: vec![Probe::Package { name: name.clone() }],
                holds: Box::new(move |seen, _| Ok(seen.package(&name)?.version.is_some())),
            }
        }
        "user.info" => {
            let name = argument(0, "name")?;
            Query {
                probes: vec![Probe::User { name: name.clone() }],
                holds: Box::new(move |seen, _| Ok(seen.user(&name)?.account.is_some())),
            }
        }
        // Its value is the exit status: true, as Salt has it, is any status but 0.
        "cmd.retcode" => command(argument(0, "cmd")?, |status, _| status != 0),
        "cmd.run" | "cmd.shell" => command(argument(0, "cmd")?, |_, text| !text.is_empty()),
        "cmd.has_exec" | "cmd.which" => command(
            format!("command -v {}", crate::shell::quote(&argument(0, "cmd")?)),
            |status, _| status == 0,
        ),
        "grains.get" | "pillar.get" | "grains.equals" => {
            let key = argument(0, "key")?;
            let (in_pillar, wanted) = (
                fun == "pillar.get",
                (fun == "grains.equals").then(|| argument(1, "value")).transpose()?,
            );
            Query {
                probes: Vec::new(),
                holds: Box::new(move |_, context| {
                    let data = if in_pillar { context.pillar } else { context.grains };
                    let found = data.traverse(&key, ":");
                    let found = match &get_return {
                        Some(path) => found.and_then(|value| value.traverse(path, ":")),
                        None => found,
                    };
                    Ok(match &wanted {
                        Some(wanted) => found.and_then(Value::scalar_text).as_ref() == Some(wanted),
                        None => found.is_some_and(is_true),
                    })
                }),
            }
        }
        "test.true" | "test.true_" | "test.ping" => Query {
            probes: Vec::new(),
            holds: Box::new(|_, _| Ok(true)),
        },
        "test.false" | "test.false_" => Query {
            probes: Vec::new(),
            holds: Box::new(|_, _| Ok(false)),
        },
        other => {
            return Err(Error::usage(format!("`{other}` cannot be asked in a condition"))
                .did_you_mean(other, KNOWN)
                .hint(format!("what can be asked: {}", KNOWN.join(", "))));
        }
    })
}

/// Python's truth of a value.
fn is_true(value: &Value) -> bool {
    match &value.data {
        Data::Null => false,
        Data::Bool(b) => *b,
        Data::Int(n) => *n != 0,
        Data::Float(f) => *f != 0.0,
        Data::Str(s) => !s.is_empty(),
        Data::List(items) => !items.is_empty(),
        Data::Map(map) => !map.is_empty(),
    }
}
