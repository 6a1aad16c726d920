//! `pkg.removed` and `pkg.purged`.

use super::outcome;
use super::script::{Action, Plan, script};
use super::wanted::{Wanted, listed, wanted};
use crate::error::Result;
use crate::probe::{Fact, Observed, PackageSeen, Probe, Resource};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, PackageManager, Platform, StateFunction, Step};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Ensures that packages are not installed. Their configuration files stay.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Removed {
    /// The package, unless `pkgs` says which.
    name: String,
    /// Several packages; with `name: version` only if it is that version.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// Remove the package only if it is this version.
    version: Option<String>,
    /// Take `name:arch` of the minion's own architecture for `name`.
    normalize: Option<bool>,
    /// Compare versions without their epochs.
    ignore_epoch: bool,
    /// Remove packages although they are held.
    update_holds: bool,
    /// Accepted, and without effect as in Salt.
    setopt: OneOrMany<String>,
}

/// Ensures that packages are not installed, and that nothing is left of their configuration files.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Purged {
    /// The package, unless `pkgs` says which.
    name: String,
    /// Several packages; with `name: version` only if it is that version.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// Purge the package only if it is this version.
    version: Option<String>,
    /// Take `name:arch` of the minion's own architecture for `name`.
    normalize: Option<bool>,
    /// Compare versions without their epochs.
    ignore_epoch: bool,
    /// Purge packages although they are held.
    update_holds: bool,
}

/// What both have in common.
struct Removal<'a> {
    purge: bool,
    name: &'a str,
    pkgs: Option<&'a Value>,
    version: Option<&'a str>,
    normalize: bool,
    ignore_epoch: bool,
    update_holds: bool,
}

impl Removal<'_> {
    fn wanted(&self, context: &Context) -> Result<Vec<Wanted>> {
        wanted(context, self.name, self.pkgs, self.version, self.normalize)
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let wanted = self.wanted(context)?;
        Ok(wanted
            .into_iter()
            .map(|package| Probe::Package { name: package.name })
            .collect())
    }

    /// The packages that are there and must not be.
    fn judge(&self, seen: &Observed, context: &Context) -> Result<Vec<Wanted>> {
        let manager = Platform::of(context.grains).packages()?;
        let mut there = Vec::new();
        for package in self.wanted(context)? {
            let now = seen.package(&package.name)?;
            let installed = now.version.as_ref().is_some_and(|installed| match &package.version {
                Some(constraint) => constraint.admits(manager, installed, self.ignore_epoch),
                None => true,
            });
            let leftovers = self.purge && now.config_files && package.version.is_none();
            // A package that is half installed has to go as well.
            if installed || leftovers || (now.broken && package.version.is_none()) {
                there.push(package);
            }
        }
        Ok(there)
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let manager = Platform::of(context.grains).packages()?;
        let (done, word) = if self.purge {
            ("purged", "purged")
        } else {
            ("absent", "removed")
        };
        let packages = self.judge(seen, context)?;
        if packages.is_empty() {
            let wanted = self.wanted(context)?;
            return Ok(Decision::Holds(match wanted.as_slice() {
                [package] => format!("Package {} is already {done}", package.name),
                _ => format!("All specified packages are already {done}"),
            }));
        }
        let names = listed(packages.iter().map(|package| package.name.as_str()));
        let mut change = Change::new(
            format!("The following packages will be {word}: {names}"),
            "All targeted packages were removed.".replace("removed", word),
        );
        let (mut mend, mut unhold) = (false, Vec::new());
        for package in &packages {
            let now = seen.package(&package.name)?;
            if now.held && now.version.is_some() {
                if !self.update_holds && manager == PackageManager::Apt {
                    return Ok(Decision::Fails(format!(
                        "package {} is held: `update_holds: True` lets it be {word}",
                        package.name
                    )));
                }
                if manager != PackageManager::Apk {
                    unhold.push(package.name.clone());
                }
            }
            mend |= now.broken;
            let old = now.version.clone().unwrap_or_else(|| "configuration files".to_owned());
            change.changes.insert(package.name.clone(), json!({"old": old, "new": ""}));
            let after = PackageSeen {
                config_files: false,
                ..PackageSeen::default()
            };
            change.predicts.push(Fact::Package(package.name.clone(), after));
        }
        let plan = Plan {
            action: if self.purge { Action::Purge } else { Action::Remove },
            packages,
            unhold,
            mend,
            ..Plan::default()
        };
        Ok(change
            .step(Step::shell("the removal", script(manager, &plan, context.run)))
            .into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let mut changes = outcome::changed(acted);
        if let Some(comment) = outcome::failure(change, acted) {
            return Ok(Conclusion {
                ok: false,
                comment,
                changes,
            });
        }
        let left = self.judge(after, context)?;
        for (name, planned) in &change.changes {
            let leftovers = planned.get("old").is_some_and(|old| old == "configuration files");
            if leftovers && left.iter().all(|package| package.name != *name) {
                changes.insert(name.clone(), planned.clone());
            }
        }
        let ok = left.is_empty();
        let comment = if ok {
            change.did.clone()
        } else {
            format!(
                "the package manager reported success, yet these packages are still there: {}",
                listed(left.iter().map(|package| package.name.as_str()))
            )
        };
        Ok(Conclusion { ok, comment, changes })
    }
}

impl Removed {
    fn removal(&self) -> Removal<'_> {
        Removal {
            purge: false,
            name: &self.name,
            pkgs: self.pkgs.as_ref(),
            version: self.version.as_deref(),
            normalize: self.normalize != Some(false),
            ignore_epoch: self.ignore_epoch,
            update_holds: self.update_holds,
        }
    }
}

impl Purged {
    fn removal(&self) -> Removal<'_> {
        Removal {
            purge: true,
            name: &self.name,
            pkgs: self.pkgs.as_ref(),
            version: self.version.as_deref(),
            normalize: self.normalize != Some(false),
            ignore_epoch: self.ignore_epoch,
            update_holds: self.update_holds,
        }
    }
}

macro_rules! by_removal {
    ($($state:ty),*) => {$(
        impl StateFunction for $state {
            fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
                self.removal().probes(context)
            }

            fn writes(&self, _: &Context) -> Vec<Resource> {
                vec![Resource::Packages]
            }

            fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
                self.removal().decide(seen, context)
            }

            fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
                self.removal().conclude(change, acted, after, context)
            }
        }
    )*};
}

by_removal!(Removed, Purged);

#[cfg(test)]
mod tests {
    use super::super::script::tests::brief;
    use super::*;
    use crate::states::testing::{answer, state};

    fn nginx(version: Option<&str>, config_files: bool, held: bool) -> Fact {
        let seen = PackageSeen {
            version: version.map(str::to_owned),
            config_files,
            held,
            ..PackageSeen::default()
        };
        Fact::Package("nginx".into(), seen)
    }

    #[test]
    fn what_is_there_goes() {
        for (function, arguments, seen, expected) in [
            (
                "pkg.removed",
                "{name: nginx}",
                nginx(None, true, false),
                "holds: Package nginx is already absent",
            ),
            (
                "pkg.removed",
                "{pkgs: [nginx, curl]}",
                nginx(None, false, false),
                "holds: All specified packages are already absent",
            ),
            (
                "pkg.removed",
                "{name: nginx, version: '<1.20'}",
                nginx(Some("1.22"), false, false),
                "holds: Package nginx is already absent",
            ),
            (
                "pkg.purged",
                "{name: nginx}",
                nginx(None, false, false),
                "holds: Package nginx is already purged",
            ),
            (
                "pkg.removed",
                "{name: nginx}",
                nginx(Some("1.22"), false, true),
                "fails: package nginx is held: `update_holds: True` lets it be removed",
            ),
            (
                "pkg.purged",
                "{name: nginx}",
                nginx(None, true, false),
                r#"would: The following packages will be purged: nginx
did: All targeted packages were purged.
changes: {"nginx":{"old":"configuration files","new":""}}
sh the removal
  run=7-test junk=''
  versioned=''
  act() {
    get purge nginx
  }
  refreshed=never
"#,
            ),
            (
                "pkg.removed",
                "{name: nginx, update_holds: True}",
                nginx(Some("1.22"), false, true),
                r#"would: The following packages will be removed: nginx
did: All targeted packages were removed.
changes: {"nginx":{"old":"1.22","new":""}}
sh the removal
  run=7-test junk=''
  versioned=''
  act() {
    patient apt-mark unhold nginx &&
    get remove nginx
  }
  refreshed=never
"#,
            ),
        ] {
            let shown = state(function, arguments).grains("{os_family: Debian}").sees([seen]).shows();
            let shown = if shown.starts_with("would") { brief(&shown) } else { shown };
            assert_eq!(shown, expected, "{function} {arguments}");
        }
    }

    #[test]
    fn leftovers_that_are_gone_are_a_change() {
        let case = state("pkg.purged", "{name: nginx}")
            .grains("{os_family: Debian}")
            .sees([nginx(None, true, false)]);
        let done = case.concludes(&[answer(0, "", "")], [nginx(None, false, false)]);
        assert_eq!(
            (done.ok, Json::from(done.changes).to_string().as_str()),
            (true, r#"{"nginx":{"old":"configuration files","new":""}}"#)
        );
        let done = case.concludes(&[answer(0, "", "")], []);
        assert!(!done.ok && done.comment.ends_with("these packages are still there: nginx"));
    }
}
