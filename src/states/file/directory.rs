//! `file.directory`: a folder, and what lies below it.

use super::owner::Owner;
use super::pattern::Sieve;
use super::place::{Parents, absolute, folder_fact, followed, gone, kind_name, present, touched};
use crate::error::{Error, Result};
use crate::probe::{Entry, Fact, FileKind, Observed, Probe, Resource, TreeEntry};
use crate::shell::quote;
use crate::states::{Change, Context, Decision, StateFunction, Step};
use crate::yaml::{Mode, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

/// Ensures that a folder exists, with its owner and mode; on demand those of everything below it; and that nothing unmanaged lies
/// in it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The folder's absolute path.
    name: String,
    /// The owner, by name or number.
    user: Option<String>,
    /// The group, by name or number.
    group: Option<String>,
    /// The folder's mode, as octal digits; the same as `dir_mode`.
    mode: Option<Mode>,
    /// The folder's mode, and with `recurse: [mode]` that of the folders below it.
    dir_mode: Option<Mode>,
    /// With `recurse: [mode]`, the mode of the files below it; by default the folders'.
    file_mode: Option<Mode>,
    /// What is also ensured of everything below the folder: `user`, `group`, `mode`. `ignore_files` and `ignore_dirs` leave one of
    /// the two kinds out, `silent` reports no details.
    recurse: Option<OneOrMany<Recursion>>,
    /// How deep `recurse` goes: 0 is what lies in the folder itself.
    max_depth: Option<usize>,
    /// Make the folders that lead to it, with the same owner and mode.
    #[serde(default)]
    makedirs: bool,
    /// Remove what lies in the folder, unless a state that this one requires manages it.
    #[serde(default)]
    clean: bool,
    /// What `clean` leaves all the same: globs, or regular expressions written `E@...`, of paths relative to the folder.
    exclude_pat: Option<OneOrMany<String>>,
    /// Whether a symlink is looked through, and its target's owner and mode ensured.
    #[serde(default)]
    follow_symlinks: bool,
    /// Replace a file or symlink that stands in the folder's place.
    #[serde(default)]
    force: bool,
    /// Move what stands in the folder's place to this path instead.
    backupname: Option<String>,
    /// With `False`, a symlink to a folder is no folder.
    #[serde(default = "yes")]
    allow_symlink: bool,
    /// Leave the folder itself alone, and ensure only what lies below it.
    #[serde(default)]
    children_only: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Recursion {
    User,
    Group,
    Mode,
    IgnoreFiles,
    IgnoreDirs,
    Silent,
}

impl Directory {
    fn owner(&self) -> Owner {
        Owner::new(&self.user, &self.group)
    }

    fn dir_mode(&self) -> Option<u32> {
        self.dir_mode.or(self.mode).map(|mode| mode.0)
    }

    fn file_mode(&self) -> Option<u32> {
        self.file_mode.map(|mode| mode.0).or(self.dir_mode())
    }

    fn recurses(&self, what: Recursion) -> bool {
        self.recurse.as_ref().is_some_and(|given| given.contains(&what))
    }

    fn looks_below(&self) -> bool {
        self.clean || self.recurse.as_ref().is_some_and(|given| !given.is_empty())
    }

    fn parents<'a>(&'a self, path: &'a str, owner: &'a Owner) -> Parents<'a> {
        Parents {
            path,
            make: self.makedirs,
            owner,
            mode: self.dir_mode(),
        }
    }

    /// What of an entry is not as it should be.
    fn differs(&self, entry: &Entry, owner: &Owner, mode: Option<u32>) -> Vec<(&'static str, serde_json::Value)> {
        let entry = if self.follow_symlinks {
            followed(entry).unwrap_or(entry)
        } else {
            entry
        };
        let mut differs = owner.differs(entry);
        if let Some(mode) = mode
            && entry.mode != mode
            && entry.kind != FileKind::Symlink
        {
            differs.push(("mode", format!("{mode:04o}").into()));
        }
        differs
    }

    /// What below the folder has another owner or mode.
    fn below(&self, path: &str, seen: &Observed, found: &mut BTreeMap<String, Found>) -> Result<()> {
        let whole = self.owner();
        let owner = Owner {
            user: whole.user.filter(|_| self.recurses(Recursion::User)),
            group: whole.group.filter(|_| self.recurses(Recursion::Group)),
        };
        let (dir_mode, file_mode) = if self.recurses(Recursion::Mode) {
            (self.dir_mode(), self.file_mode())
        } else {
            (None, None)
        };
        for TreeEntry { path: relative, entry } in &seen.tree(path)?.entries {
            let too_deep = self.max_depth.is_some_and(|depth| relative.matches('/').count() > depth);
            if relative.is_empty() || too_deep {
                continue;
            }
            let folder = entry.kind == FileKind::Directory;
            if self.recurses(if folder {
                Recursion::IgnoreDirs
            } else {
                Recursion::IgnoreFiles
            }) {
                continue;
            }
            let mode = if folder { dir_mode } else { file_mode };
            let differs = self.differs(entry, &owner, mode);
            if !differs.is_empty() {
                let found_there = Found {
                    differs,
                    owner: owner.word(),
                    mode,
                    link: entry.kind == FileKind::Symlink && !self.follow_symlinks,
                };
                found.insert(format!("{path}/{relative}"), found_there);
            }
        }
        Ok(())
    }

    /// What `clean` removes, the outermost paths only.
    fn unwanted(&self, path: &str, seen: &Observed, context: &Context) -> Result<Vec<String>> {
        let sieve = Sieve::new(&[], self.exclude_pat.as_ref().map_or(&[], |patterns| patterns.as_slice()))?;
        unwanted(path, &seen.tree(path)?.entries, context.kept, &sieve)
    }

    /// What stands in the folder's place, and how it goes out of the way: steps, facts, and the word for `changes`.
    fn in_the_way(&self, path: &str, entry: &Entry, seen: &Observed) -> Result<Result<Option<Change>, String>> {
        let folder = followed(entry).is_some_and(|entry| entry.kind == FileKind::Directory);
        let link = entry.kind == FileKind::Symlink;
        if folder && !(link && (!self.allow_symlink || self.force)) {
            return Ok(Ok(None));
        }
        let mut change = Change::default();
        if let Some(backup) = &self.backupname {
            if seen.entry(backup)?.is_some() {
                if !self.force {
                    return Ok(Err(format!("File exists where the backup target {backup} should go")));
                }
                let what = format!("Existing file at backup path {backup} was removed");
                change = change.change("forced", what).step(remove(std::slice::from_ref(backup)));
            }
            change = change
                .change("backup", format!("{path} was renamed to {backup}"))
                .step(Step::shell(
                    format!("mv {path} {backup}"),
                    format!("mv {} {}", quote(path), quote(backup)),
                ))
                .predict(present(backup, entry.clone()));
        } else if self.force {
            let kind = match entry.kind {
                FileKind::Symlink => "Symlink",
                FileKind::Directory => "Directory",
                _ => "File",
            };
            change = change
                .change("forced", format!("{kind} was forcibly replaced"))
                .step(remove(&[path.to_owned()]));
        } else {
            let hint = "\nhint: `force: True` replaces it, `backupname` moves it away";
            let kind = kind_name(entry.kind);
            return Ok(Err(format!("Specified location {path} exists and is a {kind}{hint}")));
        }
        Ok(Ok(Some(change)))
    }
}

/// What was found below the folder and is to be changed.
struct Found {
    differs: Vec<(&'static str, serde_json::Value)>,
    owner: Option<String>,
    mode: Option<u32>,
    link: bool,
}

/// The paths below `root` that nobody keeps, the outermost only, in order.
pub(super) fn unwanted(root: &str, entries: &[TreeEntry], kept: &[Resource], sieve: &Sieve) -> Result<Vec<String>> {
    let keeps = |path: &str| {
        kept.iter().any(|resource| match resource {
            // What leads to a kept path is kept with it.
            Resource::Path(kept) => kept == path || below(kept, path),
            Resource::Tree(kept) => kept == path || below(path, kept) || below(kept, path),
            _ => false,
        })
    };
    // Folders whose contents are kept in part cannot go as a whole.
    let mut spared: HashSet<&str> = HashSet::new();
    let mut unwanted: HashSet<&str> = HashSet::new();
    for TreeEntry { path: relative, .. } in entries.iter().filter(|entry| !entry.path.is_empty()) {
        if keeps(&format!("{root}/{relative}")) || !sieve.passes(relative)? {
            spared.extend(upwards(relative));
        } else {
            unwanted.insert(relative);
        }
    }
    unwanted.retain(|path| !spared.contains(path));
    let outermost = unwanted
        .iter()
        .filter(|path| upwards(path).skip(1).all(|above| !unwanted.contains(above)));
    let mut outermost: Vec<String> = outermost.map(|path| format!("{root}/{path}")).collect();
    outermost.sort();
    Ok(outermost)
}

/// `path` and the folders above it, as far as it names them.
fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(folder, _)| folder))
}

/// Whether `path` lies below `folder`.
fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The step that removes `paths` and all below them.
pub(super) fn remove(paths: &[String]) -> Step {
    let label = match paths {
        [one] => format!("rm {one}"),
        many => format!("rm of {} paths", many.len()),
    };
    Step::shell(label, for_each(paths, |word| format!("rm -rf -- {word}")))
}

/// A command for many words at a time, as many as a command line takes with ease.
pub(super) fn for_each(paths: &[String], command: impl Fn(&str) -> String) -> String {
    let mut script = String::new();
    for some in paths.chunks(200) {
        let words: Vec<_> = some.iter().map(|path| quote(path)).collect();
        script += &command(&words.join(" "));
        script += " || exit 1\n";
    }
    script
}

/// The steps that give owner and mode to what was found, like with like.
fn modes(found: &BTreeMap<String, Found>) -> Vec<Step> {
    let mut owners: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
    let mut modes: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (path, found) in found {
        let owned = found.differs.iter().any(|(what, _)| *what != "mode");
        if let Some(owner) = found.owner.as_deref().filter(|_| owned) {
            owners.entry((owner, found.link)).or_default().push(path.clone());
        }
        // A new owner takes the set-user-ID bit away: the mode is said again.
        if let Some(mode) = found.mode.filter(|_| !found.link) {
            modes.entry(mode).or_default().push(path.clone());
        }
    }
    let mut script = String::new();
    for ((owner, link), paths) in owners {
        let flag = if link { "-h " } else { "" };
        script += &for_each(&paths, |words| format!("chown {flag}{} {words}", quote(owner)));
    }
    for (mode, paths) in modes {
        script += &for_each(&paths, |words| format!("chmod {mode:05o} {words}"));
    }
    if script.is_empty() {
        Vec::new()
    } else {
        vec![Step::shell("owners and modes", script)]
    }
}

impl StateFunction for Directory {
    fn check(&self) -> Result<()> {
        if self.max_depth.is_some() && self.clean {
            return Err(Error::usage("`max_depth` and `clean` cannot both be given"));
        }
        if self.recurses(Recursion::IgnoreFiles) && self.recurses(Recursion::IgnoreDirs) {
            return Err(Error::usage(
                "`recurse` must not leave out files and folders at the same time",
            ));
        }
        for (what, name, given) in [
            (Recursion::User, "user", self.user.is_some()),
            (Recursion::Group, "group", self.group.is_some()),
        ] {
            if self.recurses(what) && !given {
                return Err(Error::usage(format!("`recurse` names `{name}`, but no `{name}` is given")));
            }
        }
        Sieve::new(&[], self.exclude_pat.as_ref().map_or(&[], |patterns| patterns.as_slice())).map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = self.owner();
        let mut probes = vec![Probe::meta(path)];
        probes.extend(self.parents(path, &owner).probes());
        probes.extend(owner.probes());
        probes.extend(self.backupname.iter().map(Probe::meta));
        if self.looks_below() {
            probes.push(Probe::Tree {
                path: path.to_owned(),
                hashes: false,
            });
        }
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let owner = self.owner();
        if let Some(unknown) = owner.unknown(seen)? {
            return Ok(Decision::Fails(unknown));
        }
        let mut change = Change::default();
        let mut entry = seen.entry(path)?;
        if let Some(there) = entry {
            match self.in_the_way(path, there, seen)? {
                Ok(None) => {}
                Ok(Some(moved)) => {
                    change = moved;
                    entry = None;
                }
                Err(why) => return Ok(Decision::Fails(why)),
            }
        }
        let Some(entry) = entry else {
            let missing = match self.parents(path, &owner).missing(seen)? {
                Ok(missing) => missing,
                Err(_) if !self.makedirs => {
                    let hint = "hint: add `makedirs: True`, or require the state that makes it";
                    let parent = super::place::parent(path);
                    return Ok(Decision::Fails(format!(
                        "No directory to create {path} in: there is no {parent}\n{hint}"
                    )));
                }
                Err(why) => return Ok(Decision::Fails(why)),
            };
            let mut folders = missing.clone();
            folders.push(path.to_owned());
            for folder in &folders {
                change = change.predict(folder_fact(folder, &owner, self.dir_mode(), seen)?);
            }
            if self.looks_below() {
                change = change.predict(Fact::Tree(path.to_owned(), Default::default()));
            }
            change.would = format!("The following files will be changed:\n{path}: directory - new");
            change.did = format!("Directory {path} updated");
            change.steps.push(Step::shell(
                format!("mkdir {path}"),
                super::place::make_folders(&folders, &owner, self.dir_mode()),
            ));
            change.writes = Some(
                missing
                    .iter()
                    .chain([&path.to_owned()])
                    .flat_map(|path| touched(path))
                    .collect(),
            );
            return Ok(change.change(path, json!({"directory": "new"})).into());
        };

        let mut found = BTreeMap::new();
        if !self.children_only {
            let differs = self.differs(followed(entry).unwrap_or(entry), &owner, self.dir_mode());
            if !differs.is_empty() {
                let found_there = Found {
                    differs,
                    owner: owner.word(),
                    mode: self.dir_mode(),
                    link: false,
                };
                found.insert(path.to_owned(), found_there);
            }
        }
        if self.recurse.as_ref().is_some_and(|given| !given.is_empty()) {
            self.below(path, seen, &mut found)?;
        }
        let unwanted = if self.clean {
            self.unwanted(path, seen, context)?
        } else {
            Vec::new()
        };
        found.retain(|path, _| !unwanted.iter().any(|outer| path == outer || below(path, outer)));
        if found.is_empty() && unwanted.is_empty() {
            return Ok(Decision::Holds(format!("The directory {path} is in the correct state")));
        }

        let mut lines = String::from("The following files will be changed:\n");
        let silent = self.recurses(Recursion::Silent);
        for (path, found) in &found {
            let mut told = serde_json::Map::new();
            for (what, value) in &found.differs {
                lines += &format!("{path}: {what} - {}\n", value.as_str().unwrap_or_default());
                told.insert((*what).to_owned(), value.clone());
            }
            if !silent {
                change.changes.insert(path.clone(), told.into());
            }
        }
        for path in &unwanted {
            lines += &format!("{path}: removed - Removed due to clean\n");
        }
        if silent {
            change.changes.insert("recursion".to_owned(), "Changes silenced".into());
        }
        if !unwanted.is_empty() {
            change.changes.insert("removed".to_owned(), json!(unwanted));
            change.steps.push(remove(&unwanted));
        }
        change.steps.extend(modes(&found));
        change.would = lines.trim_end().to_owned();
        change.did = match (self.children_only, unwanted.is_empty()) {
            (_, false) => format!("Files cleaned from directory {path}"),
            (true, true) => format!("Directory {path}/* updated"),
            (false, true) => format!("Directory {path} updated"),
        };
        let mut writes: Vec<Resource> = unwanted.iter().cloned().map(Resource::Tree).collect();
        writes.extend(found.keys().flat_map(|path| touched(path)));
        change.writes = Some(writes);
        change.predicts.extend(unwanted.iter().map(|path| gone(path)));
        self.predict(path, entry, &found, &unwanted, seen, &mut change)?;
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        let Ok(path) = absolute(&self.name) else { return Vec::new() };
        let mut writes = touched(path);
        if self.looks_below() {
            writes.push(Resource::Tree(path.to_owned()));
        }
        writes
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }
}

impl Directory {
    /// What is seen of the folder and below it after the change.
    fn predict(
        &self,
        path: &str,
        entry: &Entry,
        found: &BTreeMap<String, Found>,
        unwanted: &[String],
        seen: &Observed,
        change: &mut Change,
    ) -> Result<()> {
        let after = |entry: &Entry, found: &Found| -> Result<Entry> {
            let whole = self.owner();
            let names = |what| found.differs.iter().any(|(key, _)| *key == what);
            let owner = Owner {
                user: whole.user.filter(|_| names("user")),
                group: whole.group.filter(|_| names("group")),
            };
            let mut entry = owner.applied(entry.clone(), false, seen)?;
            if let Some(mode) = found.mode.filter(|_| entry.kind != FileKind::Symlink) {
                entry.mode = mode;
            }
            Ok(entry)
        };
        if let Some(found) = found.get(path)
            && entry.kind == FileKind::Directory
        {
            change.predicts.push(present(path, after(entry, found)?));
        }
        if !self.looks_below() {
            return Ok(());
        }
        let mut tree = seen.tree(path)?.clone();
        tree.entries.retain(|below_it| {
            let whole = format!("{path}/{}", below_it.path);
            !unwanted.iter().any(|outer| whole == *outer || below(&whole, outer))
        });
        for below_it in &mut tree.entries {
            let whole = if below_it.path.is_empty() {
                path.to_owned()
            } else {
                format!("{path}/{}", below_it.path)
            };
            if let Some(found) = found.get(&whole) {
                below_it.entry = after(&below_it.entry, found)?;
                if !below_it.path.is_empty() {
                    change.predicts.push(present(&whole, below_it.entry.clone()));
                }
            }
        }
        change.predicts.push(Fact::Tree(path.to_owned(), tree));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::probe::Resource;
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn a_new_folder() {
        let case = state("file.directory", "{name: /srv/a/b/, user: pi, mode: 2775, makedirs: true}")
            .sees([dir("/srv"), user("pi", 1000)]);
        assert_snapshot!(case.shows(), @r#"
        would: The following files will be changed:
        /srv/a/b: directory - new
        did: Directory /srv/a/b updated
        changes: {"/srv/a/b":{"directory":"new"}}
        sh mkdir /srv/a/b
          umask 022
          [ -d /srv/a ] || { mkdir /srv/a && chown pi /srv/a && chmod 02775 /srv/a; } || exit 1
          [ -d /srv/a/b ] || { mkdir /srv/a/b && chown pi /srv/a/b && chmod 02775 /srv/a/b; } || exit 1
        "#);
        assert_snapshot!(state("file.directory", "{name: /srv/a/b}").sees([dir("/srv")]).shows(), @r"
        fails: No directory to create /srv/a/b in: there is no /srv/a
        hint: add `makedirs: True`, or require the state that makes it
        ");
    }

    #[test]
    fn owner_and_mode_of_the_folder() {
        let case = state("file.directory", "{name: /srv, user: pi, group: root, dir_mode: 755}");
        assert_snapshot!(case.sees([dir_of("/srv", 0o700, "root"), user("pi", 1000)]).shows(), @r#"
        would: The following files will be changed:
        /srv: user - pi
        /srv: mode - 0755
        did: Directory /srv updated
        changes: {"/srv":{"user":"pi","mode":"0755"}}
        sh owners and modes
          chown pi:root /srv || exit 1
          chmod 00755 /srv || exit 1
        "#);
        let case = state("file.directory", "{name: /srv, mode: '0755'}").sees([dir("/srv")]);
        assert_snapshot!(case.shows(), @"holds: The directory /srv is in the correct state");
        let case = state("file.directory", "{name: /srv, mode: '0700'}").sees([link("/srv", "/mnt", Some(dir("/mnt")))]);
        assert_snapshot!(show(case.decide()), @r#"
        would: The following files will be changed:
        /srv: mode - 0700
        did: Directory /srv updated
        changes: {"/srv":{"mode":"0700"}}
        sh owners and modes
          chmod 00700 /srv || exit 1
        "#);
    }

    fn below() -> [crate::probe::Fact; 2] {
        let tree = tree(
            "/srv",
            [
                dir("/srv"),
                dir("/srv/a"),
                file("/srv/a/x", ""),
                file_of("/srv/a/it's", "", 0o600, "pi"),
                link("/srv/l", "a", None),
            ],
        );
        [dir("/srv"), tree]
    }

    #[test]
    fn owners_and_modes_below() {
        let case = state(
            "file.directory",
            "{name: /srv, user: pi, file_mode: 600, dir_mode: 755, recurse: [user, mode]}",
        );
        assert_snapshot!(case.sees(below()).sees([user("pi", 1000)]).shows(), @r#"
        would: The following files will be changed:
        /srv: user - pi
        /srv/a: user - pi
        /srv/a/x: user - pi
        /srv/a/x: mode - 0600
        /srv/l: user - pi
        did: Directory /srv updated
        changes: {"/srv":{"user":"pi"},"/srv/a":{"user":"pi"},"/srv/a/x":{"user":"pi","mode":"0600"},"/srv/l":{"user":"pi"}}
        sh owners and modes
          chown pi /srv /srv/a /srv/a/x || exit 1
          chown -h pi /srv/l || exit 1
          chmod 00600 /srv/a/x || exit 1
          chmod 00755 /srv /srv/a || exit 1
        "#);
        let case = state(
            "file.directory",
            "{name: /srv, user: pi, recurse: [user, ignore_files], max_depth: 0}",
        );
        assert_snapshot!(case.sees(below()).sees([user("pi", 1000)]).shows(), @r#"
        would: The following files will be changed:
        /srv: user - pi
        /srv/a: user - pi
        did: Directory /srv updated
        changes: {"/srv":{"user":"pi"},"/srv/a":{"user":"pi"}}
        sh owners and modes
          chown pi /srv /srv/a || exit 1
        "#);
    }

    #[test]
    fn clean_leaves_what_is_kept() {
        let case = state("file.directory", "{name: /srv, clean: true}").sees(below());
        assert_snapshot!(case.shows(), @r#"
        would: The following files will be changed:
        /srv/a: removed - Removed due to clean
        /srv/l: removed - Removed due to clean
        did: Files cleaned from directory /srv
        changes: {"removed":["/srv/a","/srv/l"]}
        sh rm of 2 paths
          rm -rf -- /srv/a /srv/l || exit 1
        "#);
        let case = state("file.directory", "{name: /srv, clean: true, exclude_pat: [l]}").sees(below());
        assert_snapshot!(case.kept([Resource::Path("/srv/a/x".into())]).shows(), @r#"
        would: The following files will be changed:
        /srv/a/it's: removed - Removed due to clean
        did: Files cleaned from directory /srv
        changes: {"removed":["/srv/a/it's"]}
        sh rm /srv/a/it's
          rm -rf -- '/srv/a/it'\''s' || exit 1
        "#);
        let case = state("file.directory", "{name: /srv, clean: true, exclude_pat: 'E@^l$'}").sees(below());
        assert_snapshot!(case.kept([Resource::Tree("/srv/a".into())]).shows(), @"holds: The directory /srv is in the correct state");
    }

    #[test]
    fn what_stands_in_the_way() {
        assert_snapshot!(state("file.directory", "{name: /srv}").sees([file("/srv", "")]).shows(), @r"
        fails: Specified location /srv exists and is a file
        hint: `force: True` replaces it, `backupname` moves it away
        ");
        assert_snapshot!(state("file.directory", "{name: /srv, force: true}").sees([file("/srv", "")]).shows(), @r#"
        would: The following files will be changed:
        /srv: directory - new
        did: Directory /srv updated
        changes: {"forced":"File was forcibly replaced","/srv":{"directory":"new"}}
        sh rm /srv
          rm -rf -- /srv || exit 1
        sh mkdir /srv
          umask 022
          [ -d /srv ] || { mkdir /srv; } || exit 1
        "#);
        assert_snapshot!(state("file.directory", "{name: /srv, backupname: /old}").sees([file("/srv", "")]).shows(), @r#"
        would: The following files will be changed:
        /srv: directory - new
        did: Directory /srv updated
        changes: {"backup":"/srv was renamed to /old","/srv":{"directory":"new"}}
        sh mv /srv /old
          mv /srv /old
        sh mkdir /srv
          umask 022
          [ -d /srv ] || { mkdir /srv; } || exit 1
        "#);
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("file.directory", "{name: /srv, dirmode: 755}"), @r"
        test.sls:1:14: unknown argument `dirmode`
        hint: did you mean `dir_mode`?
        ");
        assert_snapshot!(refusal("file.directory", "{name: /srv, recurse: [user]}"), @"`recurse` names `user`, but no `user` is given");
        assert_snapshot!(refusal("file.directory", "{name: /srv, clean: true, max_depth: 1}"), @"`max_depth` and `clean` cannot both be given");
        assert_snapshot!(state("file.directory", "{name: /srv, user: nobody2}").sees([dir("/srv")]).shows(), @"fails: User nobody2 is not available");
    }
}
