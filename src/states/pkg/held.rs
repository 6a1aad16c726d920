//! `pkg.held` and `pkg.unheld`.

use super::outcome;
use super::script::{Action, Plan, script};
use super::wanted::{Wanted, listed, wanted};
use crate::error::Result;
use crate::probe::{Fact, Observed, PackageSeen, Probe, Resource};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, Platform, StateFunction, Step};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Ensures that installed packages are held back from upgrades: `apt-mark hold`, `IgnorePkg` in pacman.conf, a version in
/// `/etc/apk/world`, dnf's versionlock (its plugin must be installed).
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Held {
    /// The package, unless `pkgs` says which.
    name: String,
    /// Several packages; with `name: version` the state fails if another version is installed.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// The version that is to be held; the state fails if another is installed.
    version: Option<String>,
}

/// Ensures that packages are not held back from upgrades.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Unheld {
    /// The package, unless `pkgs` says which.
    name: String,
    /// Several packages.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// Accepted, without effect: a hold has no version.
    version: Option<String>,
}

fn probes(packages: Vec<Wanted>) -> Vec<Probe> {
    packages
        .into_iter()
        .map(|package| Probe::Package { name: package.name })
        .collect()
}

/// The change that holds (or releases) `names`.
fn change(names: &[String], hold: bool, seen: &Observed, context: &Context) -> Result<Decision> {
    let manager = Platform::of(context.grains).packages()?;
    let (old, new) = if hold { ("install", "hold") } else { ("hold", "install") };
    let word = if hold { "held" } else { "unheld" };
    let all = listed(names.iter().map(String::as_str));
    let mut change = Change::new(
        format!("The following packages would be {word}: {all}"),
        format!("The following packages were {word}: {all}"),
    );
    for name in names {
        change.changes.insert(name.clone(), json!({"old": old, "new": new}));
        let now = seen.package(name)?.clone();
        change
            .predicts
            .push(Fact::Package(name.clone(), PackageSeen { held: hold, ..now }));
    }
    let plan = Plan {
        action: Action::Nothing,
        hold: if hold { names.to_vec() } else { Vec::new() },
        unhold: if hold { Vec::new() } else { names.to_vec() },
        ..Plan::default()
    };
    let step = Step::shell("the change of holds", script(manager, &plan, context.run));
    Ok(change.step(step).into())
}

/// Judged by the state itself; the package manager's complaints are explained.
fn conclude<S: StateFunction>(
    state: &S,
    change: &Change,
    acted: &[Answer],
    after: &Observed,
    context: &Context,
) -> Result<Conclusion> {
    if let Some(comment) = outcome::failure(change, acted) {
        return Ok(Conclusion {
            ok: false,
            comment,
            changes: outcome::changed(acted),
        });
    }
    crate::states::decision::conclude(state, change, acted, after, context)
}

impl StateFunction for Held {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(wanted(
            context,
            &self.name,
            self.pkgs.as_ref(),
            self.version.as_deref(),
            true,
        )?))
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Packages]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let manager = Platform::of(context.grains).packages()?;
        let mut names = Vec::new();
        for Wanted { name, version } in wanted(context, &self.name, self.pkgs.as_ref(), self.version.as_deref(), true)? {
            let now = seen.package(&name)?;
            let Some(installed) = &now.version else {
                return Ok(Decision::Fails(format!(
                    "package {name} is not installed, so it cannot be held"
                )));
            };
            if let Some(version) = version.filter(|version| !version.admits(manager, installed, false)) {
                return Ok(Decision::Fails(format!(
                    "package {name} is {installed}, not {} (pkg.installed with `hold: True` installs a version and holds it)",
                    version.text()
                )));
            }
            if !now.held {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Ok(Decision::Holds("All specified packages are already held".to_owned()));
        }
        change(&names, true, seen, context)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        conclude(self, change, acted, after, context)
    }
}

impl StateFunction for Unheld {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(wanted(context, &self.name, self.pkgs.as_ref(), None, true)?))
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Packages]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let mut names = Vec::new();
        for package in wanted(context, &self.name, self.pkgs.as_ref(), None, true)? {
            if seen.package(&package.name)?.held {
                names.push(package.name);
            }
        }
        if names.is_empty() {
            return Ok(Decision::Holds("No specified package is held".to_owned()));
        }
        change(&names, false, seen, context)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        conclude(self, change, acted, after, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::state;

    fn nginx(version: Option<&str>, held: bool) -> Fact {
        let seen = PackageSeen {
            version: version.map(str::to_owned),
            held,
            ..PackageSeen::default()
        };
        Fact::Package("nginx".into(), seen)
    }

    #[test]
    fn holds_come_and_go() {
        for (function, arguments, seen, expected) in [
            (
                "pkg.held",
                "{name: nginx}",
                nginx(Some("1"), true),
                "holds: All specified packages are already held",
            ),
            (
                "pkg.held",
                "{name: nginx}",
                nginx(None, false),
                "fails: package nginx is not installed, so it cannot be held",
            ),
            (
                "pkg.held",
                "{pkgs: [{nginx: 2}]}",
                nginx(Some("1"), false),
                "fails: package nginx is 1, not 2 (pkg.installed with `hold: True` installs a version and holds it)",
            ),
            (
                "pkg.unheld",
                "{name: nginx}",
                nginx(Some("1"), false),
                "holds: No specified package is held",
            ),
        ] {
            let shown = state(function, arguments).grains("{os_family: Debian}").sees([seen]).shows();
            assert_eq!(shown, expected, "{function} {arguments}");
        }
        for (function, held, expected) in [
            ("pkg.held", false, "patient apt-mark hold nginx"),
            ("pkg.unheld", true, "patient apt-mark unhold nginx"),
        ] {
            let shown = state(function, "{name: nginx}")
                .grains("{os_family: Debian}")
                .sees([nginx(Some("1"), held)])
                .shows();
            assert!(shown.contains(&format!("  act() {{\n    {expected}\n  }}\n")), "{shown}");
        }
    }
}
