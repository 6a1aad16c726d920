//! `file.touch`.

use super::owner::Owner;
use super::place::{Parents, absolute, followed, present, touched};
use crate::error::{Error, Result};
use crate::probe::{Entry, FileKind, Observed, Probe, Resource};
use crate::shell::quote;
use crate::states::{Change, Context, Decision, StateFunction, Step};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a file exists, made empty where it does not, and on demand that it has a given time.
///
/// Unlike Salt's, it leaves an existing file alone unless `atime` or `mtime` asks for another time: a second run changes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Touch {
    /// The absolute path of a file or folder.
    name: String,
    /// The time of the last access, in seconds since 1970. It is set together with `mtime`: reading the file changes it.
    atime: Option<i64>,
    /// The time of the last change, in seconds since 1970.
    mtime: Option<i64>,
    /// Make the folders that lead to it.
    #[serde(default)]
    makedirs: bool,
}

impl Touch {
    fn parents<'a>(&self, path: &'a str, owner: &'a Owner) -> Parents<'a> {
        Parents {
            path,
            make: self.makedirs,
            owner,
            mode: None,
        }
    }

    /// `touch` with a time; `-d @N` is known to GNU and busybox, `-t` to all, but in local time: hence `TZ`.
    fn command(flag: &str, seconds: i64, word: &str) -> Result<String> {
        let time = jiff::Timestamp::from_second(seconds).map_err(|_| Error::usage(format!("{seconds} is no time")))?;
        let text = time.strftime("%Y%m%d%H%M.%S");
        Ok(format!("TZ=UTC touch {flag} -t {text} {word} || exit 1\n"))
    }
}

impl StateFunction for Touch {
    fn check(&self) -> Result<()> {
        for seconds in [self.atime, self.mtime].into_iter().flatten() {
            Touch::command("-m", seconds, "x")?;
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let mut probes = vec![Probe::meta(path)];
        probes.extend(self.parents(path, &Owner::default()).probes());
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let there = seen.entry(path)?;
        let entry = there.and_then(followed);
        let word = quote(path);
        let mut times = String::new();
        if let Some(atime) = self.atime {
            times += &Touch::command("-a", atime, &word)?;
        }
        if let Some(mtime) = self.mtime {
            times += &Touch::command("-m", mtime, &word)?;
        }
        if let Some(entry) = entry {
            if self.mtime.is_none_or(|mtime| mtime == entry.mtime) {
                return Ok(Decision::Holds(format!("File {path} exists and has the correct times")));
            }
            let kind = if entry.kind == FileKind::Directory {
                "directory"
            } else {
                "file"
            };
            let mut change = Change::new(
                format!("Times set to be updated on {kind} {path}"),
                format!("Updated times on {kind} {path}"),
            )
            .change("touched", path)
            .step(Step::shell(format!("touch {path}"), times));
            if there.is_some_and(|there| there.target.is_none()) {
                let after = Entry {
                    mtime: self.mtime.unwrap_or(entry.mtime),
                    ..entry.clone()
                };
                change = change.predict(present(path, after));
            }
            return Ok(change.into());
        }
        let owner = Owner::default();
        let missing = match self.parents(path, &owner).missing(seen)? {
            Ok(missing) => missing,
            Err(why) => return Ok(Decision::Fails(format!("Directory not present to touch file {path}\n{why}"))),
        };
        let (make, folders) = self.parents(path, &owner).make(&missing, seen)?;
        let mut change = Change::new(
            format!("File {path} is set to be created"),
            format!("Created empty file {path}"),
        )
        .change("new", path);
        change.steps.extend(make);
        change.predicts.extend(folders);
        change.steps.push(Step::shell(
            format!("touch {path}"),
            format!("umask 022\n: >>{word} || exit 1\n{times}"),
        ));
        let empty = Entry {
            mode: 0o644,
            mtime: self.mtime.unwrap_or_default(),
            sha256: Some(super::put::hex(&[])),
            contents: Some([].into()),
            ..Entry::default()
        };
        change.predicts.push(present(path, owner.applied(empty, true, seen)?));
        change.writes = Some(
            missing
                .iter()
                .chain([&path.to_owned()])
                .flat_map(|path| touched(path))
                .collect(),
        );
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name).map(touched).unwrap_or_default()
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Path(path.to_owned())])
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn touched() {
        assert_snapshot!(state("file.touch", "{name: /x}").shows(), @r#"
        would: File /x is set to be created
        did: Created empty file /x
        changes: {"new":"/x"}
        sh touch /x
          umask 022
          : >>/x || exit 1
        "#);
        assert_snapshot!(state("file.touch", "{name: /x}").sees([file("/x", "")]).shows(), @"holds: File /x exists and has the correct times");
        assert_snapshot!(state("file.touch", "{name: /x, mtime: 0, atime: 1}").sees([file("/x", "")]).shows(), @r#"
        would: Times set to be updated on file /x
        did: Updated times on file /x
        changes: {"touched":"/x"}
        sh touch /x
          TZ=UTC touch -a -t 197001010000.01 /x || exit 1
          TZ=UTC touch -m -t 197001010000.00 /x || exit 1
        "#);
        assert_snapshot!(state("file.touch", "{name: /a/x}").shows(), @r"
        fails: Directory not present to touch file /a/x
        Parent directory not present: /a
        hint: add `makedirs: True`, or require the state that makes it
        ");
    }
}
