//! `alternatives.*`: which of several programs a name stands for, on Debian (`update-alternatives`) and RedHat (`alternatives`).
//!
//! Both keep a file of the same form for each name, which is read; only their tools write.

use super::{Change, Context, Decision, Function, Functions, Platform, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub static FUNCTIONS: Functions = &[
    Function::of::<Install>("alternatives.install", false),
    Function::of::<Remove>("alternatives.remove", false),
    Function::of::<Set>("alternatives.set", false),
    Function::of::<Auto>("alternatives.auto", false),
];

/// Ensures that a program is among those that a name may stand for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// The name: `editor`.
    name: String,
    /// The path by which it is called: `/usr/bin/editor`.
    link: String,
    /// The program: `/usr/bin/vim.basic`.
    path: String,
    /// The highest is taken where nobody chose.
    priority: i64,
}

/// Ensures that a program is not among those that a name may stand for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The name.
    name: String,
    /// The program.
    path: String,
}

/// Ensures that a name stands for just this program.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The name.
    name: String,
    /// The program; it must be installed as an alternative.
    path: String,
}

/// Ensures that a name stands for the program of the highest priority.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auto {
    /// The name.
    name: String,
}

/// What is known of a name.
#[derive(Debug, Default, PartialEq)]
struct Known {
    auto: bool,
    link: String,
    /// Programs with their priorities.
    choices: Vec<(String, i64)>,
    /// What the name stands for now.
    current: Option<String>,
}

/// `auto` or `manual`, the link; names and links of those that go with it, up to an empty line; then each program, its priority, and
/// a line for each of those that go with it.
fn parse(text: &str) -> Option<Known> {
    let mut lines = text.lines();
    let auto = lines.next()? == "auto";
    let link = lines.next()?.to_owned();
    let mut followers = 0;
    while lines.next().is_some_and(|line| !line.is_empty()) {
        lines.next();
        followers += 1;
    }
    let mut choices = Vec::new();
    while let Some(path) = lines.next().filter(|line| !line.is_empty()) {
        // RedHat has a family and a service beside the number: `@family@10 service`.
        let priority = lines.next().unwrap_or_default();
        let number = priority.rsplit('@').next().and_then(|text| text.split_whitespace().next());
        choices.push((path.to_owned(), number.and_then(|number| number.parse().ok()).unwrap_or(0)));
        lines.by_ref().take(followers).for_each(drop);
    }
    Some(Known {
        auto,
        link,
        choices,
        current: None,
    })
}

fn check(name: &str, paths: &[&str]) -> Result<()> {
    if name.is_empty() || name.starts_with(['-', '.']) || name.contains(['/', '\n']) || name.contains(char::is_whitespace) {
        return Err(Error::usage(format!("`{name}` cannot be the name of alternatives")));
    }
    match paths.iter().find(|path| !path.starts_with('/') || path.contains('\n')) {
        Some(path) => Err(Error::usage(format!("`{path}` must be an absolute path"))),
        None => Ok(()),
    }
}

/// Where the name's file is; `None` where there are no alternatives.
fn file(name: &str, context: &Context) -> Option<String> {
    let platform = Platform::of(context.grains);
    if platform.is_debian() {
        Some(format!("/var/lib/dpkg/alternatives/{name}"))
    } else {
        platform.is_redhat().then(|| format!("/var/lib/alternatives/{name}"))
    }
}

fn current(name: &str) -> String {
    format!("/etc/alternatives/{name}")
}

fn probes(name: &str, context: &Context) -> Vec<Probe> {
    let file = file(name, context).map(Probe::text);
    file.into_iter().chain([Probe::meta(current(name))]).collect()
}

/// What is known of `name`; the outer `None` where the minion has no alternatives at all.
fn known(name: &str, seen: &Observed, context: &Context) -> Result<Option<Option<Known>>> {
    let Some(file) = file(name, context) else {
        return Ok(None);
    };
    let target = seen.entry(&current(name))?.and_then(|entry| entry.target.clone());
    let known = parse(&etc::text(seen, &file)?);
    Ok(Some(known.map(|known| Known {
        current: target,
        ..known
    })))
}

fn nowhere(context: &Context) -> Decision {
    let family = Platform::of(context.grains).family;
    Decision::Fails(format!(
        "there are no alternatives on this minion (os_family: {family}), but on Debian and RedHat"
    ))
}

/// The step that has the tool do `what`. `alternatives` is its name on old systems of RedHat's.
fn step(what: &str) -> Step {
    Step::shell(
        "update-alternatives",
        format!("t=update-alternatives\ncommand -v \"$t\" >/dev/null || t=alternatives\n\"$t\" {what} </dev/null"),
    )
}

impl StateFunction for Install {
    fn check(&self) -> Result<()> {
        check(&self.name, &[&self.link, &self.path])
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&self.name, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let Install {
            name,
            link,
            path,
            priority,
        } = self;
        let Some(known) = known(name, seen, context)? else {
            return Ok(nowhere(context));
        };
        if let Some(known) = known
            && known.link == *link
            && known.choices.contains(&(path.clone(), *priority))
        {
            return Ok(Decision::Holds(format!(
                "Alternative {path} for {name} is already registered"
            )));
        }
        let mut change = Change::new(
            format!("Alternative will be set for {name} to {path} with priority {priority}"),
            format!("Setting alternative for {name} to {path} with priority {priority}"),
        )
        .step(step(&format!(
            "--install {} {} {} {priority}",
            quote(link),
            quote(name),
            quote(path)
        )));
        for (key, value) in [
            ("name", json!(name)),
            ("link", json!(link)),
            ("path", json!(path)),
            ("priority", json!(priority)),
        ] {
            change = change.change(key, value);
        }
        let mut writes = self.writes(context);
        writes.push(Resource::Path(link.clone()));
        change.writes = Some(writes);
        Ok(change.into())
    }
}

impl StateFunction for Remove {
    fn check(&self) -> Result<()> {
        check(&self.name, &[&self.path])
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&self.name, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let (name, path) = (&self.name, &self.path);
        let Some(known) = known(name, seen, context)? else {
            return Ok(nowhere(context));
        };
        let known = known.unwrap_or_default();
        if known.choices.iter().all(|(choice, _)| choice != path) {
            return Ok(Decision::Holds(match &known.current {
                Some(current) => format!("Alternative for {name} is set to its default path {current}"),
                None => format!("Alternative for {name} does not exist"),
            }));
        }
        let mut change = Change::new(
            format!("Alternative for {name} will be removed"),
            format!("Alternative for {name} removed"),
        )
        .change("path", path.as_str())
        .step(step(&format!("--remove {} {}", quote(name), quote(path))));
        let mut writes = self.writes(context);
        writes.push(Resource::Path(known.link));
        change.writes = Some(writes);
        Ok(change.into())
    }
}

impl StateFunction for Set {
    fn check(&self) -> Result<()> {
        check(&self.name, &[&self.path])
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&self.name, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let (name, path) = (&self.name, &self.path);
        let Some(known) = known(name, seen, context)? else {
            return Ok(nowhere(context));
        };
        let known = known.unwrap_or_default();
        if known.current.as_ref() == Some(path) {
            return Ok(Decision::Holds(format!("Alternative for {name} already set to {path}")));
        }
        if known.choices.iter().all(|(choice, _)| choice != path) {
            let choices: Vec<&str> = known.choices.iter().map(|(choice, _)| choice.as_str()).collect();
            let hint = match choices.as_slice() {
                [] => format!("no alternatives are installed for {name}"),
                choices => format!("there are {}", choices.join(", ")),
            };
            return Ok(Decision::Fails(format!(
                "Alternative {path} for {name} doesn't exist\nhint: {hint}"
            )));
        }
        Ok(Change::new(
            format!("Alternative for {name} will be set to path {path}"),
            format!("Alternative for {name} set to path {path}"),
        )
        .change("path", path.as_str())
        .step(step(&format!("--set {} {}", quote(name), quote(path))))
        .into())
    }
}

impl StateFunction for Auto {
    fn check(&self) -> Result<()> {
        check(&self.name, &[])
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&self.name, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let name = &self.name;
        let Some(known) = known(name, seen, context)? else {
            return Ok(nowhere(context));
        };
        let Some(known) = known else {
            return Ok(Decision::Fails(format!("no alternatives are installed for {name}")));
        };
        if known.auto {
            return Ok(Decision::Holds(format!("{name} already in auto mode")));
        }
        Ok(Change::new(
            format!("{name} will be put in auto mode"),
            format!("{name} was put in auto mode"),
        )
        .from_to("mode", "manual", "auto")
        .step(step(&format!("--auto {}", quote(name))))
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::{Case, file, link, refusal, state};

    const EDITOR: &str = "manual\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n/bin/ed\n-100\n/usr/share/man/man1/ed.1.gz\n/usr/bin/vim.basic\n30\n\n\n";

    fn case(function: &str, arguments: &str) -> Case {
        state(function, arguments).grains("{os_family: Debian}").sees([
            file("/var/lib/dpkg/alternatives/editor", EDITOR),
            link("/etc/alternatives/editor", "/bin/ed", None),
        ])
    }

    #[test]
    fn files_of_both_families_are_read() {
        let editor = parse(EDITOR).unwrap();
        assert_eq!((editor.auto, editor.link.as_str()), (false, "/usr/bin/editor"));
        assert_eq!(
            editor.choices,
            [("/bin/ed".to_owned(), -100), ("/usr/bin/vim.basic".to_owned(), 30)]
        );
        let python = "auto\n/usr/bin/python\n\n/usr/bin/python3\n@python@10 \n/usr/bin/python2\n5\n";
        assert_eq!(
            parse(python).unwrap().choices,
            [("/usr/bin/python3".to_owned(), 10), ("/usr/bin/python2".to_owned(), 5)]
        );
        assert_eq!(parse(""), None);
    }

    #[test]
    fn names_stand_for_programs() {
        let run = |what: &str| {
            format!(
                "sh update-alternatives\n  t=update-alternatives\n  command -v \"$t\" >/dev/null || t=alternatives\n  \"$t\" {what} </dev/null\n"
            )
        };
        for (function, arguments, expected) in [
            (
                "alternatives.install",
                "{name: editor, link: /usr/bin/editor, path: /bin/ed, priority: -100}",
                "holds: Alternative /bin/ed for editor is already registered".to_owned(),
            ),
            (
                "alternatives.install",
                "{name: editor, link: /usr/bin/editor, path: /bin/ed, priority: 5}",
                "would: Alternative will be set for editor to /bin/ed with priority 5\ndid: Setting alternative for editor to /bin/ed with priority 5\n\
                 changes: {\"name\":\"editor\",\"link\":\"/usr/bin/editor\",\"path\":\"/bin/ed\",\"priority\":5}\n"
                    .to_owned()
                    + &run("--install /usr/bin/editor editor /bin/ed 5"),
            ),
            ("alternatives.set", "{name: editor, path: /bin/ed}", "holds: Alternative for editor already set to /bin/ed".to_owned()),
            (
                "alternatives.set",
                "{name: editor, path: /usr/bin/vim.basic}",
                "would: Alternative for editor will be set to path /usr/bin/vim.basic\ndid: Alternative for editor set to path /usr/bin/vim.basic\n\
                 changes: {\"path\":\"/usr/bin/vim.basic\"}\n"
                    .to_owned()
                    + &run("--set editor /usr/bin/vim.basic"),
            ),
            (
                "alternatives.set",
                "{name: editor, path: /bin/nano}",
                "fails: Alternative /bin/nano for editor doesn't exist\nhint: there are /bin/ed, /usr/bin/vim.basic".to_owned(),
            ),
            (
                "alternatives.remove",
                "{name: editor, path: /bin/nano}",
                "holds: Alternative for editor is set to its default path /bin/ed".to_owned(),
            ),
            (
                "alternatives.remove",
                "{name: editor, path: /bin/ed}",
                "would: Alternative for editor will be removed\ndid: Alternative for editor removed\nchanges: {\"path\":\"/bin/ed\"}\n".to_owned()
                    + &run("--remove editor /bin/ed"),
            ),
            (
                "alternatives.auto",
                "{name: editor}",
                "would: editor will be put in auto mode\ndid: editor was put in auto mode\nchanges: {\"mode\":{\"old\":\"manual\",\"new\":\"auto\"}}\n".to_owned()
                    + &run("--auto editor"),
            ),
            ("alternatives.auto", "{name: pager}", "fails: no alternatives are installed for pager".to_owned()),
        ] {
            assert_eq!(case(function, arguments).shows(), expected, "{function} {arguments}");
        }
        assert_eq!(
            case("alternatives.auto", "{name: editor}")
                .grains("{os_family: Alpine}")
                .shows(),
            "fails: there are no alternatives on this minion (os_family: Alpine), but on Debian and RedHat"
        );
        assert_eq!(
            refusal("alternatives.set", "{name: editor, path: vim}"),
            "`vim` must be an absolute path"
        );
    }
}
