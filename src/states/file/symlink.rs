//! `file.symlink`.

use super::directory::remove;
use super::owner::Owner;
use super::place::{Parents, absolute, base, kind_name, parent, present, touched};
use crate::error::Result;
use crate::probe::{Entry, FileKind, Observed, Probe, Resource};
use crate::shell::quote;
use crate::states::{Change, Context, Decision, StateFunction, Step};
use crate::yaml::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a symlink leads to a target.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// The symlink's absolute path.
    name: String,
    /// What is written into it; it need not exist.
    target: String,
    /// Replace a file or folder that stands in its place.
    #[serde(default)]
    force: bool,
    /// Move what stands in its place to this path (or name in the same folder) instead.
    backupname: Option<String>,
    /// Make the folders that lead to it.
    #[serde(default)]
    makedirs: bool,
    /// The symlink's own owner, by name or number.
    user: Option<String>,
    /// The symlink's own group, by name or number.
    group: Option<String>,
    /// The mode of folders made by `makedirs`; symlinks have none.
    mode: Option<Mode>,
    /// The same as `mode`.
    dir_mode: Option<Mode>,
    /// Accepted as Salt has it: a symlink that changes is always replaced in one step.
    #[serde(default)]
    #[expect(dead_code, reason = "it is always done so")]
    atomic: bool,
    /// Accepted as Salt has it: an owner that is not said is always left as it is.
    #[serde(default)]
    #[expect(dead_code, reason = "it is always done so")]
    inherit_user_and_group: bool,
}

impl Symlink {
    /// A symlink as `file.recurse` wants it.
    pub(super) fn managed(path: &str, target: &str, force: bool, user: &Option<String>, group: &Option<String>) -> Symlink {
        Symlink {
            name: path.to_owned(),
            target: target.to_owned(),
            force,
            backupname: None,
            makedirs: true,
            user: user.clone(),
            group: group.clone(),
            mode: None,
            dir_mode: None,
            atomic: true,
            inherit_user_and_group: true,
        }
    }

    fn owner(&self) -> Owner {
        Owner::new(&self.user, &self.group)
    }

    fn parents<'a>(&'a self, path: &'a str, owner: &'a Owner) -> Parents<'a> {
        Parents {
            path,
            make: self.makedirs,
            owner,
            mode: self.dir_mode.or(self.mode).map(|mode| mode.0),
        }
    }

    /// Where what stands in the way is moved.
    fn backup(&self, path: &str) -> Option<Result<String, String>> {
        let name = self.backupname.as_ref()?;
        Some(if name.starts_with('/') {
            Ok(name.clone())
        } else if base(name) == name {
            Ok(format!("{}/{name}", parent(path).trim_end_matches('/')))
        } else {
            Err(format!("Backupname must be an absolute path or a file name: {name}"))
        })
    }
}

impl StateFunction for Symlink {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = self.owner();
        let mut probes = vec![Probe::meta(path)];
        probes.extend(self.parents(path, &owner).probes());
        probes.extend(owner.probes());
        probes.extend(self.backup(path).and_then(Result::ok).map(Probe::meta));
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let owner = self.owner();
        if let Some(unknown) = owner.unknown(seen)? {
            return Ok(Decision::Fails(unknown));
        }
        let target = &self.target;
        let there = seen.entry(path)?;
        let word = quote(path);
        let owned = owner.word().map(|owner| format!("chown -h {} ", quote(&owner)));
        let normal = |path: &str| path.trim_end_matches('/').replace("//", "/");

        if let Some(entry) = there.filter(|entry| entry.kind == FileKind::Symlink)
            && entry.target.as_deref().is_some_and(|is| normal(is) == normal(target))
        {
            let differs = owner.differs(entry);
            let is = format!("{}:{}", entry.user, entry.group);
            if differs.is_empty() {
                return Ok(Decision::Holds(format!("Symlink {path} is present and owned by {is}")));
            }
            let after = owner.applied(entry.clone(), false, seen)?;
            let wanted = format!("{}:{}", after.user, after.group);
            return Ok(Change::new(
                format!("The symlink {path} is present, but the ownership of the symlink would be changed from {is} to {wanted}"),
                format!("Set ownership of symlink {path} to {wanted}"),
            )
            .change("ownership", wanted)
            .step(Step::shell(
                format!("owner of {path}"),
                format!("{}{word}", owned.unwrap_or_default()),
            ))
            .predict(present(path, after))
            .into());
        }

        let missing = match self.parents(path, &owner).missing(seen)? {
            Ok(missing) => missing,
            Err(why) => {
                return Ok(Decision::Fails(format!(
                    "Directory {} for symlink is not present\n{why}",
                    parent(path)
                )));
            }
        };
        let mut change = Change::new(
            match there {
                None => format!("Symlink {path} to {target} is set for creation"),
                Some(entry) if entry.kind == FileKind::Symlink => format!("Link {path} target is set to be changed to {target}"),
                Some(_) => {
                    format!("The file or directory {path} is set for removal to make way for a new symlink targeting {target}")
                }
            },
            format!("Created new symlink {path} -> {target}"),
        );
        let mut writes: Vec<Resource> = missing.iter().flat_map(|folder| touched(folder)).collect();
        let (make, folders) = self.parents(path, &owner).make(&missing, seen)?;
        change.steps.extend(make);
        change.predicts.extend(folders);
        writes.extend(touched(path));

        match there {
            None => change.changes.insert("new".to_owned(), path.into()),
            Some(entry) if entry.kind == FileKind::Symlink => {
                let old = entry.target.clone().unwrap_or_default();
                change
                    .changes
                    .insert("target".to_owned(), serde_json::json!({"old": old, "new": target}));
                change.changes.insert("new".to_owned(), path.into())
            }
            Some(entry) => {
                let kind = kind_name(entry.kind);
                match self.backup(path) {
                    Some(Err(why)) => return Ok(Decision::Fails(why)),
                    Some(Ok(backup)) => {
                        if seen.entry(&backup)?.is_some() {
                            if !self.force {
                                return Ok(Decision::Fails(format!(
                                    "Symlink & backup dest exists and Force not set. {path} -> {target} - backup: {backup}"
                                )));
                            }
                            change.steps.push(remove(std::slice::from_ref(&backup)));
                        }
                        change.steps.push(Step::shell(
                            format!("mv {path} {backup}"),
                            format!("mv {word} {}", quote(&backup)),
                        ));
                        change.predicts.push(present(&backup, entry.clone()));
                        change.changes.insert("backup".to_owned(), backup.clone().into());
                        writes.push(Resource::Tree(backup));
                    }
                    None if self.force => {
                        change.steps.push(remove(&[path.to_owned()]));
                        change.changes.insert("forced".to_owned(), format!("{kind} removed").into());
                    }
                    None => {
                        return Ok(Decision::Fails(format!(
                            "A {kind} exists where the symlink {path} should be. Did you mean to use force?"
                        )));
                    }
                }
                writes.push(Resource::Tree(path.to_owned()));
                change.changes.insert("new".to_owned(), path.into())
            }
        };
        // Beside its place and renamed into it, so that there is always one: programs follow it at any time. A name that begins with
        // a dash cannot occur: the path is absolute.
        let beside = quote(&format!("{}/.{}.picloud-new", parent(path).trim_end_matches('/'), base(path))).into_owned();
        let owned = owned.map_or(String::new(), |chown| format!("{chown}{beside} && "));
        change.steps.push(Step::shell(
            format!("ln -s {target} {path}"),
            // Without -T, which not every busybox has, mv would go into the folder that the old symlink leads to.
            format!(
                "rm -f {beside}\nln -s -- {} {beside} && {owned}{{ mv -fT {beside} {word} 2>/dev/null || {{ rm -f {word} && mv -f {beside} {word}; }}; }} || {{ rm -f {beside}; exit 1; }}",
                quote(target)
            ),
        ));
        let after = owner.applied(
            Entry {
                kind: FileKind::Symlink,
                mode: 0o777,
                target: Some(target.clone()),
                ..Entry::default()
            },
            true,
            seen,
        )?;
        change.predicts.push(present(path, after));
        change.writes = Some(writes);
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
    fn symlinks() {
        let case = state(
            "file.symlink",
            "{name: /a/l, target: /t, makedirs: true, user: pi, group: pi}",
        );
        assert_snapshot!(case.sees([user("pi", 1000), group("pi", 1000)]).shows(), @r#"
        would: Symlink /a/l to /t is set for creation
        did: Created new symlink /a/l -> /t
        changes: {"new":"/a/l"}
        sh mkdir /a
          umask 022
          [ -d /a ] || { mkdir /a && chown pi:pi /a; } || exit 1
        sh ln -s /t /a/l
          rm -f /a/.l.picloud-new
          ln -s -- /t /a/.l.picloud-new && chown -h pi:pi /a/.l.picloud-new && { mv -fT /a/.l.picloud-new /a/l 2>/dev/null || { rm -f /a/l && mv -f /a/.l.picloud-new /a/l; }; } || { rm -f /a/.l.picloud-new; exit 1; }
        "#);
        let case = state("file.symlink", "{name: /l, target: /t}").sees([link("/l", "/old", None)]);
        assert_snapshot!(case.shows(), @r#"
        would: Link /l target is set to be changed to /t
        did: Created new symlink /l -> /t
        changes: {"target":{"old":"/old","new":"/t"},"new":"/l"}
        sh ln -s /t /l
          rm -f /.l.picloud-new
          ln -s -- /t /.l.picloud-new && { mv -fT /.l.picloud-new /l 2>/dev/null || { rm -f /l && mv -f /.l.picloud-new /l; }; } || { rm -f /.l.picloud-new; exit 1; }
        "#);
        let case = state("file.symlink", "{name: /l, target: /t/}").sees([link("/l", "/t", Some(dir("/t")))]);
        assert_snapshot!(case.shows(), @"holds: Symlink /l is present and owned by root:root");
        let case = state("file.symlink", "{name: /l, target: /t, user: pi}").sees([link("/l", "/t", None), user("pi", 1000)]);
        assert_snapshot!(case.shows(), @r#"
        would: The symlink /l is present, but the ownership of the symlink would be changed from root:root to pi:root
        did: Set ownership of symlink /l to pi:root
        changes: {"ownership":"pi:root"}
        sh owner of /l
          chown -h pi /l
        "#);
    }

    #[test]
    fn what_stands_in_the_way() {
        assert_snapshot!(state("file.symlink", "{name: /l, target: /t}").sees([file("/l", "")]).shows(), @"fails: A file exists where the symlink /l should be. Did you mean to use force?");
        assert_snapshot!(state("file.symlink", "{name: /l, target: /t, force: true}").sees([dir("/l")]).shows(), @r#"
        would: The file or directory /l is set for removal to make way for a new symlink targeting /t
        did: Created new symlink /l -> /t
        changes: {"forced":"directory removed","new":"/l"}
        sh rm /l
          rm -rf -- /l || exit 1
        sh ln -s /t /l
          rm -f /.l.picloud-new
          ln -s -- /t /.l.picloud-new && { mv -fT /.l.picloud-new /l 2>/dev/null || { rm -f /l && mv -f /.l.picloud-new /l; }; } || { rm -f /.l.picloud-new; exit 1; }
        "#);
        let case = state("file.symlink", "{name: /l, target: /t, backupname: l.old}").sees([file("/l", "")]);
        assert_snapshot!(case.shows(), @r#"
        would: The file or directory /l is set for removal to make way for a new symlink targeting /t
        did: Created new symlink /l -> /t
        changes: {"backup":"/l.old","new":"/l"}
        sh mv /l /l.old
          mv /l /l.old
        sh ln -s /t /l
          rm -f /.l.picloud-new
          ln -s -- /t /.l.picloud-new && { mv -fT /.l.picloud-new /l 2>/dev/null || { rm -f /l && mv -f /.l.picloud-new /l; }; } || { rm -f /.l.picloud-new; exit 1; }
        "#);
        assert_snapshot!(state("file.symlink", "{name: /a/l, target: /t}").shows(), @r"
        fails: Directory /a for symlink is not present
        Parent directory not present: /a
        hint: add `makedirs: True`, or require the state that makes it
        ");
    }
}
