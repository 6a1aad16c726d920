//! `file.recurse`: a folder of the state tree, on the minion.

use super::directory::{remove, unwanted};
use super::owner::Owner;
use super::place::{Parents, absolute, base, folder_fact, followed, is_folder, make_folders, parent, present, touched};
use super::put::{Comments, Put};
use super::source;
use super::symlink::Symlink;
use super::text::{DIFF_LIMIT, backup_suffix};
use crate::error::{Error, Result};
use crate::pattern::Sieve;
use crate::probe::{Fact, FileKind, Observed, Probe, Resource};
use crate::states::{Change, Context, Decision, Need, SourceFile, SourceTree, SourceTreeSpec, StateFunction, Step};
use crate::yaml::{Map, Mode, ModeOrKeep, OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Ensures that a folder has the files of a folder of the state tree.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recurse {
    /// The folder's absolute path on the minion.
    name: String,
    /// The folder of the state tree: `salt://path`. Of a list, the first that exists.
    source: OneOrMany<String>,
    /// Remove what lies in the folder and is not in the source, unless a state that this one requires manages it.
    #[serde(default)]
    clean: bool,
    /// The owner of files and folders, by name or number.
    user: Option<String>,
    /// Their group, by name or number.
    group: Option<String>,
    /// The mode of the folders, as octal digits.
    dir_mode: Option<Mode>,
    /// The mode of the files, as octal digits, or `keep` for that which each has on the master.
    file_mode: Option<ModeOrKeep>,
    /// Accepted as Salt has it: symlinks have no mode.
    #[expect(dead_code, reason = "symlinks have no mode")]
    sym_mode: Option<Mode>,
    /// Render every file as a template of this kind: `jinja`.
    template: Option<String>,
    /// Variables for the templates; they win over `defaults`.
    context: Option<Value>,
    /// Variables for the templates.
    defaults: Option<Value>,
    /// With `False`, files that exist keep their contents.
    #[serde(default = "yes")]
    replace: bool,
    /// Make the folders without files too.
    #[serde(default)]
    include_empty: bool,
    /// A suffix such as `.bak`: a file that is replaced is also copied to its own path with this at the end.
    backup: Option<Value>,
    /// Only these paths, relative to the source: globs, or regular expressions written `E@...`.
    include_pat: Option<OneOrMany<String>>,
    /// All but these paths; `clean` leaves them too.
    exclude_pat: Option<OneOrMany<String>>,
    /// How deep below the source: 0 is its own files alone.
    maxdepth: Option<usize>,
    /// Make a symlink of the source a symlink too; else it is the file that it leads to.
    #[serde(default)]
    keep_symlinks: bool,
    /// Replace a file or folder that stands where such a symlink is to be.
    #[serde(default)]
    force_symlinks: bool,
    /// With `False`, no difference is shown.
    #[serde(default = "yes")]
    show_changes: bool,
    /// With `False`, a symlink on the minion is replaced by the file; else the file that it leads to is written.
    #[serde(default = "yes")]
    follow_symlinks: bool,
    /// Accepted as Salt has it; nothing is cached on minions.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "Salt's cache on the minion has no counterpart")]
    keep_source: bool,
    /// Accepted as Salt has it: folders are always made.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "folders are always made")]
    makedirs: bool,
    /// Accepted as Salt has it, without an effect.
    #[expect(dead_code, reason = "Salt hands it on to where it has no effect")]
    force: Option<Value>,
    /// Accepted as Salt has it, without an effect.
    #[expect(dead_code, reason = "Salt hands it on to where it has no effect")]
    recurse: Option<Value>,
    /// Refused, as by Salt: say `file_mode` and `dir_mode`.
    mode: Option<Value>,
}

fn yes() -> bool {
    true
}

/// The source as it is wanted below the folder.
struct Plan<'a> {
    /// Every path is absolute.
    files: Vec<(String, &'a SourceFile)>,
    symlinks: Vec<(String, &'a str)>,
    /// The folders whose owner and mode are ensured, outermost first.
    folders: BTreeSet<String>,
    /// Whether the files are few and small enough for their old texts to be looked at.
    compare: bool,
}

impl Recurse {
    fn spec(&self) -> SourceTreeSpec {
        let mut context = Map::new();
        for given in [&self.defaults, &self.context]
            .into_iter()
            .flatten()
            .filter_map(Value::as_map)
        {
            context.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        SourceTreeSpec {
            sources: self
                .source
                .iter()
                .map(|source| source.trim_end_matches('/').to_owned())
                .collect(),
            template: self.template.clone(),
            context,
        }
    }

    fn owner(&self) -> Owner {
        Owner::new(&self.user, &self.group)
    }

    fn sieve(&self) -> Result<Sieve> {
        let patterns = |given: &Option<OneOrMany<String>>| given.as_ref().map(|given| given.to_vec()).unwrap_or_default();
        Sieve::new(&patterns(&self.include_pat), &patterns(&self.exclude_pat))
    }

    fn plan<'a>(&self, path: &str, tree: &'a SourceTree) -> Result<Plan<'a>> {
        let sieve = self.sieve()?;
        let wanted = |relative: &str| -> Result<bool> {
            let shallow = self.maxdepth.is_none_or(|depth| relative.matches('/').count() <= depth);
            Ok(shallow && sieve.passes(relative)?)
        };
        let mut plan = Plan {
            files: Vec::new(),
            symlinks: Vec::new(),
            folders: BTreeSet::from([path.to_owned()]),
            compare: true,
        };
        let links: &[(String, String)] = if self.keep_symlinks { &tree.symlinks } else { &[] };
        for (relative, target) in links {
            if wanted(relative)? {
                plan.symlinks.push((format!("{path}/{relative}"), target));
            }
        }
        // What lies at or behind a symlink that is kept is not a file of its own.
        let behind = |relative: &str| {
            links.iter().any(|(link, _)| {
                relative
                    .strip_prefix(link.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let mut total = 0;
        for (relative, file) in &tree.files {
            if behind(relative) || !wanted(relative)? {
                continue;
            }
            let whole = format!("{path}/{relative}");
            plan.folders.insert(parent(&whole).to_owned());
            plan.files.push((whole, file));
            if let SourceFile::Here { size, .. } = file {
                total += size;
            }
        }
        for relative in tree.folders.iter().filter(|_| self.include_empty) {
            if !behind(relative) && wanted(relative)? {
                plan.folders.insert(format!("{path}/{relative}"));
            }
        }
        plan.compare = total <= DIFF_LIMIT as u64;
        Ok(plan)
    }

    fn mode(&self, file: &SourceFile) -> Option<u32> {
        match (&self.file_mode, file) {
            (Some(ModeOrKeep::Mode(mode)), _) => Some(mode.0),
            (Some(ModeOrKeep::Keep), SourceFile::Here { mode, .. }) => *mode,
            _ => None,
        }
    }

    fn put<'a>(
        &self,
        path: &'a str,
        file: &SourceFile,
        owner: &'a Owner,
        compare: bool,
        seen: Option<&Observed>,
    ) -> Result<Put<'a>> {
        Ok(Put {
            path,
            wanted: source::wanted(file, path, seen)?,
            owner,
            mode: self.mode(file),
            parents: Parents {
                path,
                make: true,
                owner,
                mode: self.dir_mode.map(|mode| mode.0),
            },
            follow: self.follow_symlinks,
            check: None,
            tmp_dir: None,
            tmp_ext: None,
            show: self.show_changes,
            compare,
            suffix: backup_suffix(self.backup.as_ref()),
            comments: Comments::managed(path),
        })
    }

    fn symlink(&self, path: &str, target: &str) -> Symlink {
        Symlink::managed(path, target, self.force_symlinks || self.clean, &self.user, &self.group)
    }

    fn tree<'a>(&self, context: &'a Context) -> Result<&'a SourceTree> {
        context.resolved.tree(&self.spec())
    }

    /// The folders: those to be made, and those with another owner or mode. What stands in the way goes, where `clean` allows it.
    fn folders(&self, plan: &Plan, owner: &Owner, seen: &Observed, change: &mut Change) -> Result<Result<(), String>> {
        let mode = self.dir_mode.map(|mode| mode.0);
        let mut made: BTreeSet<String> = BTreeSet::new();
        for folder in &plan.folders {
            let there = seen.entry(folder)?;
            if let Some(entry) = there.filter(|entry| is_folder(Some(entry))) {
                let entry = followed(entry).unwrap_or(entry);
                let mut differs = owner.differs(entry);
                if let Some(mode) = mode.filter(|mode| *mode != entry.mode) {
                    differs.push(("mode", format!("{mode:04o}").into()));
                }
                if !differs.is_empty() {
                    let mut script = String::new();
                    let word = crate::shell::quote(folder);
                    if let Some(owner) = owner.word() {
                        script += &format!("chown {} {word} || exit 1\n", crate::shell::quote(&owner));
                    }
                    if let Some(mode) = mode {
                        script += &format!("chmod {mode:05o} {word} || exit 1\n");
                    }
                    change.steps.push(Step::shell(format!("owner and mode of {folder}"), script));
                    let told: serde_json::Map<_, _> = differs.into_iter().map(|(what, value)| (what.to_owned(), value)).collect();
                    change.changes.insert(folder.clone(), told.into());
                    let mut after = owner.applied(entry.clone(), false, seen)?;
                    after.mode = mode.unwrap_or(after.mode);
                    if there.is_some_and(|there| there.kind == FileKind::Directory) {
                        change.predicts.push(present(folder, after));
                    }
                }
                continue;
            }
            if there.is_some() {
                if !self.clean {
                    return Ok(Err(format!("The path {folder} exists and is not a directory")));
                }
                change.steps.push(remove(std::slice::from_ref(folder)));
                change
                    .changes
                    .insert(folder.clone(), serde_json::json!({"diff": "Replaced file with a directory"}));
            }
            let missing = Parents {
                path: folder,
                make: true,
                owner,
                mode,
            }
            .missing(seen)?;
            match missing {
                Ok(missing) => made.extend(missing),
                Err(_) if self.clean => {}
                Err(why) => return Ok(Err(why)),
            }
            made.insert(folder.clone());
        }
        let made: Vec<String> = made.into_iter().collect();
        if !made.is_empty() {
            change.steps.push(Step::shell(
                format!("mkdir of {} folders", made.len()),
                make_folders(&made, owner, mode),
            ));
        }
        for folder in made {
            change.predicts.push(folder_fact(&folder, owner, mode, seen)?);
            change
                .changes
                .entry(folder)
                .or_insert_with(|| serde_json::json!({"directory": "new"}));
        }
        Ok(Ok(()))
    }
}

/// Takes one path's change into that of the whole.
fn merge(whole: &mut Change, path: &str, part: Change) {
    whole.steps.extend(part.steps);
    whole.predicts.extend(part.predicts);
    whole.diffs.extend(part.diffs);
    whole.changes.insert(path.to_owned(), part.changes.into());
    whole.writes.get_or_insert_default().extend(part.writes.unwrap_or_default());
}

impl StateFunction for Recurse {
    fn check(&self) -> Result<()> {
        if self.mode.is_some() {
            return Err(Error::usage("`mode` is not allowed in `file.recurse`").hint("use `file_mode` and `dir_mode`"));
        }
        if self.source.is_empty() {
            return Err(Error::usage("`source` is empty"));
        }
        if let Some(source) = self.source.iter().find(|source| !source.starts_with("salt://")) {
            let error = Error::usage(format!("invalid source {source:?}"));
            return Err(error.hint("it must be a folder of the state tree: `salt://...`"));
        }
        super::edit::mapping("defaults", &self.defaults)?;
        super::edit::mapping("context", &self.context)?;
        self.sieve().map(drop)
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        vec![Need::Tree(self.spec())]
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = self.owner();
        let plan = self.plan(path, self.tree(context)?)?;
        let mut probes = owner.probes();
        for (path, file) in &plan.files {
            let mut of_file = self.put(path, file, &owner, plan.compare, None)?.probes();
            if !self.replace {
                of_file[0] = Probe::meta(path);
            }
            probes.extend(of_file);
        }
        for (path, target) in &plan.symlinks {
            probes.extend(self.symlink(path, target).probes(context)?);
        }
        for folder in &plan.folders {
            probes.push(Probe::meta(folder));
            let parents = Parents {
                path: folder,
                make: true,
                owner: &owner,
                mode: None,
            };
            probes.extend(parents.probes());
        }
        if self.clean {
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
        let plan = self.plan(path, self.tree(context)?)?;
        let mut change = Change::new(
            format!("The following files will be changed below {path}"),
            format!("Recursively updated {path}"),
        );
        change.writes = Some(Vec::new());
        if let Err(why) = self.folders(&plan, &owner, seen, &mut change)? {
            return Ok(Decision::Fails(why));
        }
        // The files are judged in a world that has their folders.
        let with_folders = (!change.predicts.is_empty()).then(|| seen.clone().with(change.predicts.clone()));
        let world = with_folders.as_ref().unwrap_or(seen);
        let folders: Vec<Resource> = change.changes.keys().flat_map(|folder| touched(folder)).collect();
        change.writes.get_or_insert_default().extend(folders);

        for (path, target) in &plan.symlinks {
            match self.symlink(path, target).decide(world, context)? {
                Decision::Holds(_) => {}
                Decision::Change(part) => merge(&mut change, path, part),
                Decision::Fails(why) => return Ok(Decision::Fails(why)),
            }
        }
        for (path, file) in &plan.files {
            let there = world.entry(path)?;
            let in_the_way = self.clean && self.replace && there.is_some_and(|entry| entry.kind == FileKind::Directory);
            let cleared = in_the_way.then(|| world.clone().with([super::place::gone(path)]));
            let world = cleared.as_ref().unwrap_or(world);
            let mut put = self.put(path, file, &owner, plan.compare, Some(world))?;
            if !self.replace && there.is_some() {
                put.wanted = super::put::Wanted::Any;
            }
            match put.decide(world)? {
                Decision::Holds(_) => {}
                Decision::Change(mut part) => {
                    if in_the_way {
                        part.steps.insert(0, remove(std::slice::from_ref(path)));
                        part.changes
                            .insert("diff".to_owned(), "Replaced directory with a new file".into());
                    }
                    merge(&mut change, path, part);
                }
                Decision::Fails(why) => return Ok(Decision::Fails(format!("{}: {why}", base(path)))),
            }
        }
        if self.clean {
            self.clean(path, &plan, seen, context, &mut change)?;
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("The directory {path} is in the correct state")));
        }
        change.would += &change.changes.keys().map(|path| format!("\n{path}")).collect::<String>();
        change.secret = !self.show_changes;
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }

    fn keeps(&self, context: &Context) -> Vec<Resource> {
        let (Ok(path), Ok(tree)) = (absolute(&self.name), self.tree(context)) else {
            return Vec::new();
        };
        self.plan(path, tree).map(|plan| plan.keeps()).unwrap_or_default()
    }
}

impl Plan<'_> {
    fn keeps(&self) -> Vec<Resource> {
        let files = self.files.iter().map(|(path, _)| path);
        let symlinks = self.symlinks.iter().map(|(path, _)| path);
        files
            .chain(symlinks)
            .chain(&self.folders)
            .cloned()
            .map(Resource::Path)
            .collect()
    }
}

impl Recurse {
    fn clean(&self, path: &str, plan: &Plan, seen: &Observed, context: &Context, change: &mut Change) -> Result<()> {
        let mut kept = plan.keeps();
        kept.extend(context.kept.iter().cloned());
        let excluded = self.exclude_pat.as_ref().map(|given| given.to_vec()).unwrap_or_default();
        let tree = seen.tree(path)?;
        let removed = unwanted(path, &tree.entries, &kept, &Sieve::new(&[], &excluded)?)?;
        // What stood in the way of a file or folder went already.
        let removed: Vec<String> = removed
            .into_iter()
            .filter(|path| !change.changes.contains_key(path))
            .collect();
        if removed.is_empty() {
            return Ok(());
        }
        change.steps.push(remove(&removed));
        change
            .writes
            .get_or_insert_default()
            .extend(removed.iter().cloned().map(Resource::Tree));
        change.predicts.extend(removed.iter().map(|path| super::place::gone(path)));
        let mut after = tree.clone();
        after.entries.retain(|entry| {
            let whole = format!("{path}/{}", entry.path);
            !removed.iter().any(|removed| {
                whole
                    .strip_prefix(removed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        });
        change.predicts.push(Fact::Tree(path.to_owned(), after));
        change.changes.insert("removed".to_owned(), serde_json::json!(removed));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::*;
    use insta::assert_snapshot;

    const FILES: &[(&str, &str)] = &[("a.conf", "a\n"), ("sub/b.conf", "b\n"), ("sub/.git/x", "")];

    #[test]
    fn a_new_folder() {
        let case = state(
            "file.recurse",
            "{name: /etc/x, source: 'salt://x/', user: pi, dir_mode: 750, file_mode: 640, exclude_pat: '*.git*'}",
        );
        assert_snapshot!(case.source_tree(FILES).sees([dir("/etc"), user("pi", 1000)]).shows(), @r#"
        would: The following files will be changed below /etc/x
        /etc/x
        /etc/x/sub
        /etc/x/a.conf
        /etc/x/sub/b.conf
        did: Recursively updated /etc/x
        changes: {"/etc/x":{"directory":"new"},"/etc/x/sub":{"directory":"new"},"/etc/x/a.conf":{"diff":"New file"},"/etc/x/sub/b.conf":{"diff":"New file"}}
        sh mkdir of 2 folders
          umask 022
          [ -d /etc/x ] || { mkdir /etc/x && chown pi /etc/x && chmod 00750 /etc/x; } || exit 1
          [ -d /etc/x/sub ] || { mkdir /etc/x/sub && chown pi /etc/x/sub && chmod 00750 /etc/x/sub; } || exit 1
        put /etc/x/a.conf user=pi mode=0640 keep
          a
        put /etc/x/sub/b.conf user=pi mode=0640 keep
          b
        "#);
    }

    #[test]
    fn a_folder_that_differs() {
        let case = state(
            "file.recurse",
            "{name: /etc/x, source: 'salt://x', exclude_pat: '*.git*', clean: true, maxdepth: 1}",
        )
        .source_tree(FILES);
        let below = [
            dir("/etc/x"),
            file("/etc/x/a.conf", "old\n"),
            file("/etc/x/gone", ""),
            dir("/etc/x/sub"),
            file("/etc/x/sub/b.conf", "b\n"),
            dir("/etc/x/d"),
            file("/etc/x/d/e", ""),
        ];
        let case = case.sees([dir("/etc"), tree("/etc/x", below.clone())]).sees(below);
        assert_snapshot!(case.shows(), @r#"
        would: The following files will be changed below /etc/x
        /etc/x/a.conf
        removed
        did: Recursively updated /etc/x
        changes: {"/etc/x/a.conf":{"diff":"--- \n+++ \n@@ -1 +1 @@\n-old\n+a\n"},"removed":["/etc/x/d","/etc/x/gone"]}
        put /etc/x/a.conf keep
          a
        sh rm of 2 paths
          rm -rf -- /etc/x/d /etc/x/gone || exit 1
        "#);
    }

    #[test]
    fn a_folder_that_holds() {
        let case = state(
            "file.recurse",
            "{name: /x, source: 'salt://x', include_pat: 'a*', replace: false}",
        )
        .source_tree(FILES);
        assert_snapshot!(case.sees([dir("/x"), file("/x/a.conf", "other")]).shows(), @"holds: The directory /x is in the correct state");
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("file.recurse", "{name: /x, source: 'salt://x', mode: 644}"), @r"
        `mode` is not allowed in `file.recurse`
        hint: use `file_mode` and `dir_mode`
        ");
        assert_snapshot!(refusal("file.recurse", "{name: /x, source: /x}"), @r#"
        invalid source "/x"
        hint: it must be a folder of the state tree: `salt://...`
        "#);
        let case = state("file.recurse", "{name: /x, source: 'salt://x'}").source_tree(FILES);
        assert_snapshot!(case.sees([file("/x", "")]).shows(), @"fails: The path /x exists and is not a directory");
    }
}
