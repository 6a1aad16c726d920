//! `file.copy` and `file.rename`: files and folders of the minion itself.

use super::directory::remove;
use super::owner::Owner;
use super::place::{Parents, absolute, base, followed, gone, is_folder, parent, present, touched};
use super::put::{Comments, Put, Wanted};
use crate::error::Result;
use crate::probe::{Entry, Fact, FileKind, Observed, Probe, Resource, TreeSeen};
use crate::shell::quote;
use crate::states::{Change, Context, Decision, StateFunction, Step};
use crate::yaml::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a file or folder of the minion has been copied to another place.
///
/// An existing target is left alone unless `force`; then it is made like the source wherever it differs from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// The absolute path of the copy.
    name: String,
    /// The absolute path, on the minion, of what is copied.
    source: String,
    /// Copy again over a target that exists.
    #[serde(default)]
    force: bool,
    /// Make the folders that lead to the copy.
    #[serde(default)]
    makedirs: bool,
    /// Give the copy the source's owner, group and mode.
    #[serde(default)]
    preserve: bool,
    /// The copy's owner, by name or number.
    user: Option<String>,
    /// The copy's group, by name or number.
    group: Option<String>,
    /// The copy's mode, as octal digits; by default the source's.
    mode: Option<Mode>,
    /// The mode of folders made by `makedirs`; by default the file's, with `x` wherever it has anything.
    dir_mode: Option<Mode>,
    /// Where the target is a folder: copy into it, under the source's own name.
    #[serde(default)]
    subdir: bool,
}

/// Ensures that a file or folder of the minion has been moved to another place.
///
/// A source that is not there is taken as moved already. An existing target is left alone unless `force`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The absolute path that it has afterwards.
    name: String,
    /// The absolute path that it has now.
    source: String,
    /// Replace a target that exists.
    #[serde(default)]
    force: bool,
    /// Make the folders that lead to the target.
    #[serde(default)]
    makedirs: bool,
}

impl Copy {
    fn owner(&self) -> Owner {
        Owner::new(&self.user, &self.group)
    }

    fn parents<'a>(&self, path: &'a str, owner: &'a Owner, mode: Option<u32>) -> Parents<'a> {
        Parents {
            path,
            make: self.makedirs,
            owner,
            mode: self.dir_mode.map(|mode| mode.0).or(mode.map(super::managed::searchable)),
        }
    }

    /// The places where the copy may be: at the name, or in the folder of that name.
    fn places(&self, path: &str) -> Vec<String> {
        let mut places = vec![path.to_owned()];
        if self.subdir {
            places.push(format!(
                "{}/{}",
                path.trim_end_matches('/'),
                base(self.source.trim_end_matches('/'))
            ));
        }
        places
    }

    fn file(&self, path: &str, from: &str, source: &Entry, would: &str, seen: &Observed) -> Result<Decision> {
        let owner = if self.preserve {
            Owner {
                user: Some(source.uid.to_string()),
                group: Some(source.gid.to_string()),
            }
        } else {
            self.owner()
        };
        let mode = if self.preserve {
            Some(source.mode)
        } else {
            Some(self.mode.map_or(source.mode, |mode| mode.0))
        };
        let put = Put {
            path,
            wanted: Wanted::Fetch {
                script: format!("cat {} >\"$tmp\"", quote(from)),
                same: false,
                sha256: source.sha256.clone(),
            },
            owner: &owner,
            mode,
            parents: self.parents(path, &owner, mode),
            follow: true,
            check: None,
            tmp_dir: None,
            tmp_ext: None,
            show: true,
            compare: false,
            suffix: None,
            comments: Comments {
                would: would.to_owned(),
                did: format!("Copied \"{from}\" to \"{path}\""),
                holds: format!("The target file \"{path}\" is the same as \"{from}\""),
            },
        };
        Ok(match put.decide(seen)? {
            Decision::Change(mut change) => {
                change.changes = serde_json::Map::new();
                change.diffs.clear();
                change.change(path, from).into()
            }
            decision => decision,
        })
    }

    fn folder(&self, path: &str, from: &str, there: Option<&Entry>, would: &str, seen: &Observed) -> Result<Decision> {
        // Without `force` there is nothing to be compared with, and the trees were not looked at.
        let source_tree = if self.force { Some(seen.tree(from)?) } else { None };
        if let Some(source_tree) = source_tree
            && there.is_some()
            && alike(source_tree, seen.tree(path)?)
        {
            return Ok(Decision::Holds(format!(
                "The target file \"{path}\" is the same as \"{from}\""
            )));
        }
        let owner = self.owner();
        let parents = self.parents(path, &owner, None);
        let missing = match parents.missing(seen)? {
            Ok(missing) => missing,
            Err(why) => {
                return Ok(Decision::Fails(format!(
                    "The target directory {} is not present\n{why}",
                    parent(path)
                )));
            }
        };
        let mut change = Change::new(would, format!("Copied \"{from}\" to \"{path}\"")).change(path, from);
        let (make, folders) = parents.make(&missing, seen)?;
        change.steps.extend(make);
        change.predicts.extend(folders);
        if there.is_some() {
            change.steps.push(remove(&[path.to_owned()]));
        }
        let flags = if self.preserve { "-a" } else { "-R" };
        let mut script = format!("umask 022\ncp {flags} -- {} {} || exit 1\n", quote(from), quote(path));
        if let Some(owner) = owner.word() {
            script += &format!("chown -hR {} {} || exit 1\n", quote(&owner), quote(path));
        }
        if let Some(mode) = self.mode {
            script += &format!("chmod {mode} {} || exit 1\n", quote(path));
        }
        change.steps.push(Step::shell(format!("cp {from} {path}"), script));
        let top = Entry {
            kind: FileKind::Directory,
            mode: self.mode.map_or(0o755, |mode| mode.0),
            ..Entry::default()
        };
        change.predicts.push(present(path, owner.applied(top, true, seen)?));
        change
            .predicts
            .extend(source_tree.map(|tree| Fact::Tree(path.to_owned(), tree.clone())));
        let mut writes: Vec<Resource> = missing.iter().flat_map(|folder| touched(folder)).collect();
        writes.extend(touched(path));
        writes.push(Resource::Tree(path.to_owned()));
        change.writes = Some(writes);
        Ok(change.into())
    }
}

/// Whether two trees have the same contents, whoever owns them.
fn alike(a: &TreeSeen, b: &TreeSeen) -> bool {
    let contents = |tree: &TreeSeen| -> Vec<_> {
        let entries = tree.entries.iter();
        entries
            .map(|below| {
                (
                    below.path.clone(),
                    below.entry.kind,
                    below.entry.sha256.clone(),
                    below.entry.target.clone(),
                )
            })
            .collect()
    };
    contents(a) == contents(b)
}

impl StateFunction for Copy {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let (Ok(path), Ok(from)) = (absolute(&self.name), absolute(&self.source)) else {
            return Ok(Vec::new());
        };
        let owner = self.owner();
        let mut probes = Vec::new();
        for path in self.places(path).into_iter().chain([from.to_owned()]) {
            if path != from {
                probes.extend(self.parents(&path, &owner, None).probes());
            }
            if self.force {
                probes.push(Probe::sha256(&path));
                probes.push(Probe::Tree { path, hashes: true });
            } else {
                probes.push(Probe::meta(path));
            }
        }
        probes.extend(owner.probes());
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (path, from) = match (absolute(&self.name), absolute(&self.source)) {
            (Ok(path), Ok(from)) => (path, from),
            (Err(why), _) | (_, Err(why)) => return Ok(Decision::Fails(why)),
        };
        let Some(source) = seen.entry(from)?.and_then(followed) else {
            return Ok(Decision::Fails(format!("Source file \"{from}\" is not present")));
        };
        if let Some(unknown) = self.owner().unknown(seen)? {
            return Ok(Decision::Fails(unknown));
        }
        let places = self.places(path);
        let place = match places.get(1) {
            Some(inside) if is_folder(seen.entry(path)?) => inside.as_str(),
            _ => path,
        };
        let there = seen.entry(place)?;
        if there.is_some() && !self.force {
            return Ok(Decision::Holds(format!(
                "The target file \"{place}\" exists and will not be overwritten"
            )));
        }
        let would = format!("File \"{from}\" is set to be copied to \"{place}\"");
        match source.kind {
            FileKind::Directory => self.folder(place, from, there, &would, seen),
            _ => self.file(place, from, source, &would, seen),
        }
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        let Ok(path) = absolute(&self.name) else { return Vec::new() };
        let mut writes = touched(path);
        writes.push(Resource::Tree(path.to_owned()));
        writes
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }
}

impl StateFunction for Rename {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let (Ok(path), Ok(from)) = (absolute(&self.name), absolute(&self.source)) else {
            return Ok(Vec::new());
        };
        let owner = Owner::default();
        let mut probes = vec![Probe::meta(path), Probe::meta(from)];
        probes.extend(self.parents(path, &owner).probes());
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (path, from) = match (absolute(&self.name), absolute(&self.source)) {
            (Ok(path), Ok(from)) => (path, from),
            (Err(why), _) | (_, Err(why)) => return Ok(Decision::Fails(why)),
        };
        let Some(source) = seen.entry(from)? else {
            return Ok(Decision::Holds(format!(
                "Source file \"{from}\" has already been moved out of place"
            )));
        };
        let there = seen.entry(path)?.is_some();
        if there && !self.force {
            return Ok(Decision::Holds(format!(
                "The target file \"{path}\" exists and will not be overwritten"
            )));
        }
        let owner = Owner::default();
        let missing = match self.parents(path, &owner).missing(seen)? {
            Ok(missing) => missing,
            Err(why) => {
                return Ok(Decision::Fails(format!(
                    "The target directory {} is not present\n{why}",
                    parent(path)
                )));
            }
        };
        let mut change = Change::new(
            format!("File \"{from}\" is set to be moved to \"{path}\""),
            format!("Moved \"{from}\" to \"{path}\""),
        )
        .change(path, from);
        let (make, folders) = self.parents(path, &owner).make(&missing, seen)?;
        change.steps.extend(make);
        change.predicts.extend(folders);
        if there {
            change.steps.push(remove(&[path.to_owned()]));
        }
        change.steps.push(Step::shell(
            format!("mv {from} {path}"),
            format!("mv -- {} {}", quote(from), quote(path)),
        ));
        change.predicts.push(gone(from));
        change.predicts.push(present(path, source.clone()));
        let mut writes: Vec<Resource> = missing.iter().flat_map(|folder| touched(folder)).collect();
        for moved in [path, from] {
            writes.extend(touched(moved));
            writes.push(Resource::Tree(moved.to_owned()));
        }
        change.writes = Some(writes);
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        [&self.name, &self.source]
            .into_iter()
            .filter_map(|path| absolute(path).ok())
            .flat_map(|path| touched(path).into_iter().chain([Resource::Tree(path.to_owned())]))
            .collect()
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }
}

impl Rename {
    fn parents<'a>(&self, path: &'a str, owner: &'a Owner) -> Parents<'a> {
        Parents {
            path,
            make: self.makedirs,
            owner,
            mode: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn files_are_copied() {
        let case = state("file.copy", "{name: /b, source: /a}").sees([file_of("/a", "x", 0o640, "pi")]);
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be copied to "/b"
        did: Copied "/a" to "/b"
        changes: {"/b":"/a"}
        put /b mode=0640 keep
          cat /a >"$tmp"
        "#);
        let case = state("file.copy", "{name: /b, source: /a}").sees([file("/a", "x"), file("/b", "y")]);
        assert_snapshot!(case.shows(), @r#"holds: The target file "/b" exists and will not be overwritten"#);
        let case = state("file.copy", "{name: /b, source: /a, force: true, preserve: true}");
        assert_snapshot!(case.sees([file_of("/a", "x", 0o640, "pi"), file("/b", "y")]).shows(), @r#"
        would: File "/a" is set to be copied to "/b"
        did: Copied "/a" to "/b"
        changes: {"/b":"/a"}
        put /b user=1000 group=1000 mode=0640 keep
          cat /a >"$tmp"
        "#);
        let case = state("file.copy", "{name: /b, source: /a, force: true}").sees([file("/a", "x"), file("/b", "x")]);
        assert_snapshot!(case.shows(), @r#"holds: The target file "/b" is the same as "/a""#);
        let case = state("file.copy", "{name: /d, source: /a, subdir: true}").sees([file("/a", "x"), dir("/d")]);
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be copied to "/d/a"
        did: Copied "/a" to "/d/a"
        changes: {"/d/a":"/a"}
        put /d/a mode=0644 keep
          cat /a >"$tmp"
        "#);
        assert_snapshot!(state("file.copy", "{name: /b, source: /a}").shows(), @r#"fails: Source file "/a" is not present"#);
    }

    #[test]
    fn folders_are_copied() {
        let case = state("file.copy", "{name: /b, source: /a, user: root}").sees([dir("/a")]);
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be copied to "/b"
        did: Copied "/a" to "/b"
        changes: {"/b":"/a"}
        sh cp /a /b
          umask 022
          cp -R -- /a /b || exit 1
          chown -hR root /b || exit 1
        "#);
        let trees = || {
            [
                dir("/a"),
                dir("/b"),
                tree("/a", [dir("/a"), file("/a/x", "1")]),
                tree("/b", [dir("/b"), file("/b/x", "2")]),
            ]
        };
        let case = state("file.copy", "{name: /b, source: /a, force: true, preserve: true}").sees(trees());
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be copied to "/b"
        did: Copied "/a" to "/b"
        changes: {"/b":"/a"}
        sh rm /b
          rm -rf -- /b || exit 1
        sh cp /a /b
          umask 022
          cp -a -- /a /b || exit 1
        "#);
    }

    #[test]
    fn renamed() {
        let case = state("file.rename", "{name: /d/b, source: /a, makedirs: true}").sees([file("/a", "x")]);
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be moved to "/d/b"
        did: Moved "/a" to "/d/b"
        changes: {"/d/b":"/a"}
        sh mkdir /d
          umask 022
          [ -d /d ] || { mkdir /d; } || exit 1
        sh mv /a /d/b
          mv -- /a /d/b
        "#);
        assert_snapshot!(state("file.rename", "{name: /b, source: /a}").shows(), @r#"holds: Source file "/a" has already been moved out of place"#);
        let case = state("file.rename", "{name: /b, source: /a}").sees([file("/a", "x"), file("/b", "")]);
        assert_snapshot!(case.shows(), @r#"holds: The target file "/b" exists and will not be overwritten"#);
        let case = state("file.rename", "{name: /b, source: /a, force: true}").sees([file("/a", "x"), dir("/b")]);
        assert_snapshot!(case.shows(), @r#"
        would: File "/a" is set to be moved to "/b"
        did: Moved "/a" to "/b"
        changes: {"/b":"/a"}
        sh rm /b
          rm -rf -- /b || exit 1
        sh mv /a /b
          mv -- /a /b
        "#);
    }
}
