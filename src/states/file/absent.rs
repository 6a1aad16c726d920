//! `file.absent`, `file.exists`, `file.missing`: that nothing, or something, is at a path.

use super::directory::remove;
use super::place::{absolute, followed, gone, is_folder};
use crate::error::Result;
use crate::probe::{Fact, Observed, Probe, Resource};
use crate::states::{Change, Context, Decision, StateFunction, Step};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that nothing is at a path: a file, a symlink (not what it leads to), or a folder with all that is in it.
///
/// Files and symlinks, but not folders, can be brought back by `picloud undo`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "arguments that Salt accepts without an effect")]
pub struct Absent {
    /// The absolute path.
    name: String,
    /// Accepted as Salt has it, without an effect: what is there is removed whatever it is.
    force: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    recurse: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    user: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    group: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    mode: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    makedirs: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    template: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    contents: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    source: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    context: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    show_changes: Option<Value>,
}

/// Checks that something is at a path, and fails where there is nothing. A symlink counts if it leads somewhere.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exists {
    /// The path.
    name: String,
}

/// Checks that nothing is at a path, and fails where there is something. A symlink that leads nowhere counts as nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The path.
    name: String,
}

impl StateFunction for Absent {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(absolute(&self.name).map(|path| vec![Probe::meta(path)]).unwrap_or_default())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok("/") => return Ok(Decision::Fails("Refusing to make \"/\" absent".to_owned())),
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let Some(entry) = seen.entry(path)? else {
            return Ok(Decision::Holds(format!("File {path} is not present")));
        };
        let folder = is_folder(Some(entry)) && entry.target.is_none();
        let (what, did) = if folder {
            ("Directory", "directory")
        } else {
            ("File", "file")
        };
        let mut change = Change::new(format!("{what} {path} is set for removal"), format!("Removed {did} {path}"))
            .change("removed", path)
            .step(match folder {
                true => remove(&[path.to_owned()]),
                false => Step::Remove(path.to_owned()),
            })
            .predict(gone(path));
        if folder {
            change = change.predict(Fact::Tree(path.to_owned(), Default::default()));
            let mut writes = super::place::touched(path);
            writes.push(Resource::Tree(path.to_owned()));
            change.writes = Some(writes);
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        let Ok(path) = absolute(&self.name) else { return Vec::new() };
        let mut writes = super::place::touched(path);
        writes.push(Resource::Tree(path.to_owned()));
        writes
    }
}

impl StateFunction for Exists {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::meta(self.name.trim_end_matches('/'))])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let there = seen.entry(self.name.trim_end_matches('/'))?.and_then(followed);
        Ok(match there {
            Some(_) => Decision::Holds(format!("Path {} exists", self.name)),
            None => Decision::Fails(format!("Specified path {} does not exist", self.name)),
        })
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        Vec::new()
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

impl StateFunction for Missing {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::meta(self.name.trim_end_matches('/'))])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let there = seen.entry(self.name.trim_end_matches('/'))?.and_then(followed);
        Ok(match there {
            None => Decision::Holds(format!("Path {} is missing", self.name)),
            Some(_) => Decision::Fails(format!("Specified path {} exists", self.name)),
        })
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        Vec::new()
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn what_is_there_goes() {
        assert_snapshot!(state("file.absent", "{name: /srv/x, force: true}").sees([file("/srv/x", "")]).shows(), @r#"
        would: File /srv/x is set for removal
        did: Removed file /srv/x
        changes: {"removed":"/srv/x"}
        remove /srv/x
        "#);
        assert_snapshot!(state("file.absent", "{name: /srv/}").sees([dir("/srv")]).shows(), @r#"
        would: Directory /srv is set for removal
        did: Removed directory /srv
        changes: {"removed":"/srv"}
        sh rm /srv
          rm -rf -- /srv || exit 1
        "#);
        let case = state("file.absent", "{name: /srv}").sees([link("/srv", "/mnt", Some(dir("/mnt")))]);
        assert_snapshot!(case.shows(), @r#"
        would: File /srv is set for removal
        did: Removed file /srv
        changes: {"removed":"/srv"}
        remove /srv
        "#);
        assert_snapshot!(state("file.absent", "{name: /srv}").shows(), @"holds: File /srv is not present");
        assert_snapshot!(state("file.absent", "{name: //}").shows(), @r#"fails: Refusing to make "/" absent"#);
    }

    #[test]
    fn checks() {
        assert_snapshot!(state("file.exists", "{name: /x}").shows(), @"fails: Specified path /x does not exist");
        assert_snapshot!(state("file.exists", "{name: /x}").sees([file("/x", "")]).shows(), @"holds: Path /x exists");
        assert_snapshot!(state("file.missing", "{name: /x}").sees([file("/x", "")]).shows(), @"fails: Specified path /x exists");
        assert_snapshot!(state("file.missing", "{name: /x}").sees([link("/x", "/no", None)]).shows(), @"holds: Path /x is missing");
    }
}
