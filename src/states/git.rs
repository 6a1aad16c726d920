//! `git.*`: working copies of git repositories (git(1) must be on the minion).

use super::{Change, Context, Decision, Function, Functions, StateFunction, Step};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::{Command, quote, words};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Latest>("git.latest", false),
    Function::of::<Cloned>("git.cloned", false),
];

/// Ensures that a repository is cloned and at the newest commit of a branch, or at a tag or commit.
///
/// ```yaml
/// https://github.com/example/site.git:
///   git.latest:
///     - target: /srv/site
///     - rev: main
/// ```
/// The remote is asked at every run, as there is no other way to know what is newest.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latest {
    /// The repository: a URL, or `host:path`.
    name: String,
    /// The folder of the working copy.
    target: String,
    /// A branch, tag or commit; the remote's default branch where not said.
    #[serde(default = "head")]
    rev: String,
    /// The local branch to have `rev` in.
    branch: Option<String>,
    /// Whose working copy it is; also `runas`.
    user: Option<String>,
    /// Move an existing working copy on; `False` only clones where there is none.
    #[serde(default = "yes")]
    update_head: bool,
    /// Check out another branch or commit even if local changes are in the way.
    #[serde(default)]
    force_checkout: bool,
    /// Remove what is in the way of a clone.
    #[serde(default)]
    force_clone: bool,
    /// Fetch even what is not a fast-forward.
    #[serde(default)]
    force_fetch: bool,
    /// Give up local changes and commits where `rev` cannot be reached by a fast-forward: `True`, or `remote-changes`, which does
    /// so only when the remote has something new.
    #[serde(default)]
    force_reset: Option<Value>,
    /// Fetch submodules too.
    #[serde(default)]
    submodules: bool,
    /// Fetch just so many commits.
    depth: Option<u32>,
    /// The remote's name.
    #[serde(default = "origin")]
    remote: String,
    /// Fetch all tags.
    #[serde(default = "yes")]
    fetch_tags: bool,
    /// Private keys on the minion to authenticate with.
    identity: Option<OneOrMany<String>>,
}

/// Ensures that a repository is cloned; whatever is there already is left as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cloned {
    /// The repository: a URL, or `host:path`.
    name: String,
    /// The folder of the working copy.
    target: String,
    /// The branch to check out.
    branch: Option<String>,
    /// Whose working copy it is.
    user: Option<String>,
    /// Private keys on the minion to authenticate with.
    identity: Option<OneOrMany<String>>,
}

fn head() -> String {
    "HEAD".to_owned()
}

fn origin() -> String {
    "origin".to_owned()
}

fn yes() -> bool {
    true
}

/// The environment of git: nobody is there to be asked, and the keys that were given are the ones to use.
fn environment(identity: &Option<OneOrMany<String>>) -> Vec<(String, String)> {
    let mut environment = vec![("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())];
    let keys: Vec<&str> = identity.iter().flat_map(|keys| keys.iter().map(String::as_str)).collect();
    let options: String = keys.iter().map(|key| format!(" -i {}", quote(key))).collect();
    let only = if keys.is_empty() { "" } else { " -o IdentitiesOnly=yes" };
    environment.push(("GIT_SSH_COMMAND".to_owned(), format!("ssh -o BatchMode=yes{only}{options}")));
    environment
}

/// What is at the target, as lines of key and value.
fn look(target: &str, user: &Option<String>, more: &str, identity: &Option<OneOrMany<String>>) -> ShellProbe {
    let script = format!(
        "command -v git >/dev/null || {{ echo 'nogit 1'; exit; }}\nt={}\n\
         if [ ! -e \"$t\" ]; then echo 'there no'; elif [ -d \"$t/.git\" ]; then echo 'there git'; \
         elif [ -d \"$t\" ] && [ -z \"$(ls -A \"$t\")\" ]; then echo 'there no'; else echo 'there other'; fi\n{more}",
        quote(target)
    );
    ShellProbe {
        script,
        user: user.clone(),
        env: environment(identity),
        reads: vec![Resource::Tree(target.to_owned()), Resource::Packages],
        ..ShellProbe::default()
    }
}

fn field<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .unwrap_or("")
        .trim()
}

/// A step that runs `text` as the working copy's user.
fn step(label: &str, text: String, user: &Option<String>, identity: &Option<OneOrMany<String>>) -> Step {
    let command = Command {
        text,
        user: user.clone(),
        cwd: Some("/".to_owned()),
        env: environment(identity),
        ..Command::default()
    };
    Step::shell(label, command.script())
}

fn no_git() -> Error {
    Error::state("this minion has no git").hint("install it with `pkg.installed: git`, and require that here")
}

impl Latest {
    fn probe(&self) -> ShellProbe {
        let (remote, rev) = (quote(&self.remote), quote(&self.rev));
        let mut more = format!(
            "cd / && [ -d \"$t/.git\" ] && cd \"$t\" && {{\n\
             echo \"url $(git config --get remote.{remote}.url)\"\necho \"head $(git rev-parse HEAD 2>/dev/null)\"\n\
             echo \"branch $(git symbolic-ref --short -q HEAD)\"\n\
             echo \"local $(git rev-parse -q --verify {rev}^0 2>/dev/null)\"\n\
             [ -z \"$(git status --porcelain --untracked-files=no 2>/dev/null | head -n 1)\" ] || echo 'dirty yes'\n}}\n"
        );
        if self.update_head || self.rev == "HEAD" {
            // A tag that is an object of its own has its commit on the line that ends in ^{{}}.
            more += &format!(
                "r=$(git ls-remote {} {rev} {rev}'^{{}}' 2>&1) || {{ echo \"failed $r\" | tr '\\n' ' '; exit; }}\n",
                quote(&self.name)
            );
            more += "echo \"wanted $(printf '%s\\n' \"$r\" | awk '/\\^\\{\\}$/ { c = $1 } $2 ~ /^refs\\/heads\\// && !h { h = $1 } !f { f = $1 } END { print c ? c : (h ? h : f) }')\"";
        }
        look(&self.target, &self.user, &more, &self.identity)
    }

    fn resets(&self) -> bool {
        match &self.force_reset {
            None => false,
            Some(value) => value.as_bool().unwrap_or_else(|| value.as_str() == Some("remote-changes")),
        }
    }

    /// Clones, or fetches and moves to `wanted`.
    fn script(&self, fresh: bool, wanted: &str) -> String {
        let (target, url, remote) = (quote(&self.target), quote(&self.name), quote(&self.remote));
        let depth = self.depth.map(|depth| format!(" --depth {depth}")).unwrap_or_default();
        let mut script = String::from("set -e\n");
        if fresh {
            if self.force_clone {
                script += &format!("rm -rf {target}\n");
            }
            let at = if self.rev == "HEAD" {
                String::new()
            } else {
                format!(" -b {}", quote(&self.rev))
            };
            // A commit is no branch: it is cloned whole, and checked out below.
            script += &format!(
                "git clone -q -o {remote}{depth}{at} -- {url} {target} 2>/dev/null || {{ rm -rf {target}/.git; git clone -q -o {remote} -- {url} {target}; }}\ncd {target}\n"
            );
        } else {
            let (tags, force) = (
                if self.fetch_tags { " --tags" } else { "" },
                if self.force_fetch { " --force" } else { "" },
            );
            script += &format!("cd {target}\ngit remote set-url {remote} {url} 2>/dev/null || git remote add {remote} {url}\n");
            script += &format!(
                "git fetch -q{depth}{tags}{force} {remote}\ngit cat-file -e {wanted}^0 2>/dev/null || git fetch -q{depth} {remote} {wanted}\n"
            );
        }
        let force = if self.force_checkout || self.resets() {
            " --force"
        } else {
            ""
        };
        if let Some(branch) = &self.branch {
            let branch = quote(branch);
            script += &format!("git checkout -q{force} {branch} 2>/dev/null || git checkout -q{force} -b {branch} {wanted}\n");
        }
        let advance = if self.resets() {
            format!("git reset -q --hard {wanted}")
        } else if self.branch.is_some() {
            format!("git merge -q --ff-only {wanted}")
        } else {
            // A branch is moved on; a working copy that is on none is checked out.
            format!(
                "if git symbolic-ref -q HEAD >/dev/null; then git merge -q --ff-only {wanted}; else git checkout -q{force} {wanted}; fi"
            )
        };
        script += &format!(
            "[ \"$(git rev-parse HEAD)\" = {wanted} ] || {{ {advance}; }} || {{ echo 'not a fast-forward: force_reset gives the local commits up' >&2; exit 1; }}\n"
        );
        if self.submodules {
            script += "git submodule -q update --init --recursive\n";
        }
        script
    }
}

impl StateFunction for Latest {
    fn check(&self) -> Result<()> {
        if !self.target.starts_with('/') {
            return Err(Error::usage(format!("`target` must be a whole path, not {:?}", self.target)));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(self.probe())])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let seen = seen.shell(&self.probe())?.text();
        let get = |key| field(&seen, key);
        if !get("nogit").is_empty() {
            return Err(no_git());
        }
        let (there, head) = (get("there"), get("head"));
        if !get("failed").is_empty() {
            return Ok(Decision::Fails(format!("git ls-remote {}: {}", self.name, get("failed"))));
        }
        // A commit is on no list of the remote's: it is wanted as it is written.
        let is_commit = self.rev.len() >= 7 && self.rev.bytes().all(|b| b.is_ascii_hexdigit());
        let wanted = match get("wanted") {
            "" if !get("local").is_empty() => get("local"),
            "" if is_commit => self.rev.as_str(),
            "" if there == "git" && !self.update_head => head,
            "" => {
                return Ok(Decision::Fails(format!(
                    "{} has no branch, tag or commit {}",
                    self.name, self.rev
                )));
            }
            wanted => wanted,
        };
        let would = |what: &str| format!("Repository {} would be {what}", self.target);
        match there {
            "other" if !self.force_clone => Ok(Decision::Fails(format!(
                "{} is there and is no git repository; `force_clone: True` removes it",
                self.target
            ))),
            "no" | "other" => {
                let change = Change::new(would("cloned"), format!("{} cloned to {}", self.name, self.target))
                    .from_to("revision", serde_json::Value::Null, wanted)
                    .change("new", self.target.clone());
                Ok(change
                    .step(step("git clone", self.script(true, wanted), &self.user, &self.identity))
                    .into())
            }
            _ => {
                let moved = self.update_head && !(head == wanted || is_commit && head.starts_with(wanted));
                let branch_ok = self.branch.as_deref().is_none_or(|branch| branch == get("branch"));
                if get("url") == self.name && !moved && branch_ok {
                    return Ok(Decision::Holds(format!("Repository {} is up-to-date", self.target)));
                }
                if !self.update_head && get("url") == self.name {
                    return Ok(Decision::Holds(format!(
                        "Repository {} is there (update_head: False)",
                        self.target
                    )));
                }
                if get("dirty") == "yes" && moved && !self.resets() && !self.force_checkout {
                    return Ok(Decision::Fails(format!(
                        "{} has uncommitted changes; `force_reset: True` gives them up",
                        self.target
                    )));
                }
                let mut change = Change::new(would("updated"), format!("Repository {} updated", self.target));
                if moved {
                    change = change.from_to("revision", head, wanted);
                }
                if get("url") != self.name {
                    change = change.from_to("remote", get("url"), self.name.clone());
                }
                if !branch_ok {
                    change = change.from_to("branch", get("branch"), self.branch.clone().unwrap_or_default());
                }
                Ok(change
                    .step(step("git fetch", self.script(false, wanted), &self.user, &self.identity))
                    .into())
            }
        }
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Tree(self.target.clone())]
    }
}

impl StateFunction for Cloned {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(look(&self.target, &self.user, "", &self.identity))])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let seen = seen.shell(&look(&self.target, &self.user, "", &self.identity))?.text();
        if !field(&seen, "nogit").is_empty() {
            return Err(no_git());
        }
        match field(&seen, "there") {
            "git" => Ok(Decision::Holds(format!("Repository already exists at {}", self.target))),
            "other" => Ok(Decision::Fails(format!("{} is there and is no git repository", self.target))),
            _ => {
                let mut arguments = vec!["git", "clone", "-q"];
                arguments.extend(self.branch.iter().flat_map(|branch| ["-b", branch]));
                arguments.extend(["--", &self.name, &self.target]);
                let change = Change::new(
                    format!("{} would be cloned to {}", self.name, self.target),
                    format!("{} cloned to {}", self.name, self.target),
                );
                let change = change.from_to("new", self.name.clone(), self.target.clone());
                Ok(change
                    .step(step("git clone", words(arguments), &self.user, &self.identity))
                    .into())
            }
        }
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Tree(self.target.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn what_is_there_decides() {
        let at = |answer: &str| state("git.latest", "{name: /r.git, target: /srv/x, rev: main}").answers("ls-remote", 0, answer);
        let cases = [
            (format!("there no\nwanted {A}\n"), "change"),
            (format!("there git\nurl /r.git\nhead {A}\nwanted {A}\n"), "holds"),
            (format!("there git\nurl /r.git\nhead {A}\nwanted {B}\n"), "change"),
            (
                format!("there git\nurl /r.git\nhead {A}\ndirty yes\nwanted {B}\n"),
                "/srv/x has uncommitted changes; `force_reset: True` gives them up",
            ),
            (
                "there other\nwanted 1\n".to_owned(),
                "/srv/x is there and is no git repository; `force_clone: True` removes it",
            ),
            ("there no\nwanted \n".to_owned(), "/r.git has no branch, tag or commit main"),
        ];
        for (answer, expected) in cases {
            let decided = match at(&answer).decide().unwrap() {
                Decision::Holds(_) => "holds".to_owned(),
                Decision::Change(_) => "change".to_owned(),
                Decision::Fails(why) => why,
            };
            assert_eq!(decided, expected, "{answer}");
        }
    }
}
