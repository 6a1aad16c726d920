//! `pkg.latest` and `pkg.uptodate`: what is installed is the newest on offer.

use super::installed::STALE;
use super::outcome;
use super::script::{Action, Options, Plan, Refresh, script};
use super::version::compare;
use super::wanted::{Wanted, listed, wanted};
use crate::error::Result;
use crate::probe::{Fact, Observed, PackageSeen, Probe, Resource, ShellProbe};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, PackageManager, Platform, StateFunction, Step};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// Ensures that packages are installed and the newest that the indexes offer.
///
/// What is newest is only known from fresh indexes: where they are older than a day (or `refresh: True` is given) they are refreshed
/// first. A dry run does not refresh: it says that it would, and what the old indexes offer.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Latest {
    /// The package, unless `pkgs` says which.
    name: String,
    /// Several packages.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// `True`: refresh the indexes first, once per run. `False`: never. Else when they are older than a day.
    refresh: Option<bool>,
    /// Seconds for which indexes count as fresh, instead of a day.
    cache_valid_time: Option<u64>,
    /// Take packages from this release (apt) or repository only.
    fromrepo: Option<String>,
    /// `False`: without recommended packages (apt) or weak dependencies (dnf).
    install_recommends: Option<bool>,
    /// Accepted, as in Salt: it concerns only Salt's own suggestions of other names.
    skip_suggestions: Option<bool>,
    /// Install packages whose signatures cannot be checked.
    skip_verify: bool,
    /// Upgrade only what is installed already.
    only_upgrade: bool,
    /// Upgrade packages although they are held; else held ones are left out.
    update_holds: bool,
    /// Take `name:arch` of the minion's own architecture for `name`.
    normalize: Option<bool>,
    /// Options for dnf (`--setopt`).
    setopt: OneOrMany<String>,
    /// Accepted for Gentoo's sake, without effect.
    watch_flags: Option<bool>,
    /// Accepted, and without effect as in Salt; a requisite is called `require`.
    #[schemars(with = "Option<Json>")]
    requires: Option<Value>,
}

/// When indexes are refreshed by functions that must know what is newest.
fn refresh(asked: Option<bool>, cache_valid_time: Option<u64>) -> Refresh {
    match asked {
        Some(true) => Refresh::OncePerRun,
        Some(false) => Refresh::Never,
        None => Refresh::OlderThan(cache_valid_time.map_or(STALE, |seconds| seconds / 60)),
    }
}

/// Whether they would be refreshed, being `age` seconds old.
fn is_stale(refresh: &Refresh, age: Option<u64>) -> bool {
    match refresh {
        Refresh::Never => false,
        Refresh::OncePerRun => true,
        Refresh::OlderThan(minutes) => age.is_none_or(|age| age / 60 >= *minutes),
    }
}

/// `3 days`, `5 hours`, `10 minutes`.
fn in_words(seconds: u64) -> String {
    let (n, unit) = match seconds / 60 {
        minutes if minutes >= 2 * 24 * 60 => (minutes / 60 / 24, "days"),
        minutes if minutes >= 2 * 60 => (minutes / 60, "hours"),
        minutes => (minutes, "minutes"),
    };
    format!("{n} {unit}")
}

fn age_in_words(age: Option<u64>) -> String {
    age.map_or_else(
        || "were never refreshed".to_owned(),
        |age| format!("are {} old", in_words(age)),
    )
}

/// What `pkg.latest` found.
#[derive(Default)]
struct Behind {
    /// To be installed or upgraded, as far as the indexes know now.
    todo: Vec<Wanted>,
    changes: Map<String, Json>,
    /// Behind, and left out because they are held.
    held: Vec<String>,
}

impl Latest {
    fn wanted(&self, context: &Context) -> Result<Vec<Wanted>> {
        wanted(context, &self.name, self.pkgs.as_ref(), None, self.normalize != Some(false))
    }

    fn judge(&self, seen: &Observed, context: &Context) -> Result<Behind> {
        let manager = Platform::of(context.grains).packages()?;
        let Behind {
            mut todo,
            mut changes,
            mut held,
        } = Behind::default();
        for package in self.wanted(context)? {
            let now = seen.package(&package.name)?;
            let newest = seen.candidate(&package.name)?.version.as_deref();
            let behind = match (&now.version, newest) {
                (None, _) => !self.only_upgrade,
                (Some(installed), Some(newest)) => compare(manager, newest, installed).is_gt(),
                (Some(_), None) => false,
            };
            if !behind {
                continue;
            }
            if now.held && now.version.is_some() && !self.update_holds {
                held.push(package.name);
                continue;
            }
            changes.insert(
                package.name.clone(),
                json!({"old": now.version.clone().unwrap_or_default(), "new": newest.unwrap_or("installed")}),
            );
            todo.push(package);
        }
        Ok(Behind { todo, changes, held })
    }

    fn comment(&self, wanted: &[Wanted], held: &[String]) -> String {
        let names = listed(wanted.iter().map(|package| package.name.as_str()));
        let mut comment = match wanted {
            [_] => format!("Package {names} is already up-to-date"),
            _ => "All packages are up-to-date".to_owned(),
        };
        if !held.is_empty() {
            comment += &format!("; held back: {}", listed(held.iter().map(String::as_str)));
        }
        comment
    }
}

impl StateFunction for Latest {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let probes = self.wanted(context)?.into_iter().flat_map(|package| {
            let name = package.name;
            [Probe::Package { name: name.clone() }, Probe::Candidate { name }]
        });
        Ok(probes.collect())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Packages]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let platform = Platform::of(context.grains);
        let wanted = self.wanted(context)?;
        let Behind { todo, changes, held } = self.judge(seen, context)?;
        let refresh = refresh(self.refresh, self.cache_valid_time);
        let age = match wanted.first() {
            Some(first) => seen.candidate(&first.name)?.index_age,
            None => Some(0),
        };
        let stale = is_stale(&refresh, age);
        if todo.is_empty() && !stale {
            return Ok(Decision::Holds(self.comment(&wanted, &held)));
        }
        let names = listed(changes.keys().map(String::as_str));
        let mut would = if todo.is_empty() {
            format!("{}, as far as the indexes know", self.comment(&wanted, &held))
        } else {
            format!("The following packages would be installed/upgraded: {names}")
        };
        if stale {
            would += &format!("\nthe indexes {}: they would be refreshed first", age_in_words(age));
        }
        // With fresh indexes any of them may turn out to be behind; held ones are left alone.
        let packages: Vec<Wanted> = wanted.into_iter().filter(|package| !held.contains(&package.name)).collect();
        let plan = Plan {
            action: Action::Latest,
            refresh,
            options: Options {
                fromrepo: self.fromrepo.clone(),
                recommends: self.install_recommends,
                unverified: self.skip_verify,
                only_upgrade: self.only_upgrade,
                update_holds: self.update_holds,
                setopt: self.setopt.0.clone(),
                reinstall: false,
            },
            packages: if stale { packages } else { todo },
            ..Plan::default()
        };
        let manager = platform.packages()?;
        let mut change = Change::new(would, "").step(Step::shell("the upgrade", script(manager, &plan, context.run)));
        for (name, planned) in &changes {
            let version = planned.get("new").and_then(Json::as_str).map(str::to_owned);
            let after = PackageSeen {
                version,
                ..PackageSeen::default()
            };
            // Stale indexes predict nothing.
            if !stale {
                change.predicts.push(Fact::Package(name.clone(), after));
            }
        }
        change.changes = changes;
        Ok(change.into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let changes = outcome::changed(acted);
        if let Some(comment) = outcome::failure(change, acted) {
            return Ok(Conclusion {
                ok: false,
                comment,
                changes,
            });
        }
        let Behind { todo: left, held, .. } = self.judge(after, context)?;
        let ok = left.is_empty();
        let comment = if !ok {
            format!(
                "the package manager reported success, yet these packages are not the newest: {}",
                listed(left.iter().map(|package| package.name.as_str()))
            )
        } else if changes.is_empty() {
            self.comment(&self.wanted(context)?, &held)
        } else {
            format!(
                "The following packages were successfully installed/upgraded: {}",
                listed(changes.keys().map(String::as_str))
            )
        };
        Ok(Conclusion { ok, comment, changes })
    }
}

/// Ensures that all installed packages are the newest that the indexes offer.
///
/// The indexes are refreshed as for `pkg.latest`. Held packages are left alone.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct UpToDate {
    /// Any text.
    name: String,
    /// `True`: refresh the indexes first, once per run. `False`: never. Else when they are older than a day.
    refresh: Option<bool>,
    /// Seconds for which indexes count as fresh, instead of a day.
    cache_valid_time: Option<u64>,
    /// Upgrades may install and remove other packages (`apt-get dist-upgrade`, `dnf distro-sync`).
    dist_upgrade: bool,
    /// Only these packages.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// Take packages from this release (apt) or repository only.
    fromrepo: Option<String>,
    /// Upgrade packages whose signatures cannot be checked.
    skip_verify: bool,
    /// Options for dnf (`--setopt`).
    setopt: OneOrMany<String>,
}

impl UpToDate {
    fn minutes(&self) -> u64 {
        self.cache_valid_time.map_or(STALE, |seconds| seconds / 60)
    }

    /// Prints `fresh` or `stale`, then a line `NAME OLD NEW` for each package that would be upgraded.
    fn question(&self, manager: PackageManager) -> ShellProbe {
        let minutes = self.minutes();
        let script = match manager {
            PackageManager::Apt => format!(
                "stamp=/var/lib/apt/lists
for f in /var/lib/apt/lists/partial /var/lib/apt/periodic/update-success-stamp /run/picloud.refreshed; do
  [ \"$f\" -nt \"$stamp\" ] && stamp=$f
done
if [ -n \"$(find \"$stamp\" -prune -mmin -{minutes})\" ]; then echo fresh; else echo stale; fi
apt-get -s -q -o Debug::NoLocking=1 {} 2>/dev/null | sed -n 's/^Inst \\([^ ]*\\) \\[\\([^ ]*\\)\\] (\\([^ ]*\\).*/\\1 \\2 \\3/p;s/^Inst \\([^ ]*\\) (\\([^ ]*\\).*/\\1 - \\2/p'",
                if self.dist_upgrade { "dist-upgrade" } else { "upgrade" }
            ),
            PackageManager::Pacman => format!(
                "if [ -n \"$(find /var/lib/pacman/sync /run/picloud.refreshed -prune -mmin -{minutes} 2>/dev/null)\" ]; then echo fresh; else echo stale; fi
pacman -Qu 2>/dev/null | sed -n '/\\[ignored\\]/d;s/ -> / /p'"
            ),
            PackageManager::Apk => format!(
                "if [ -n \"$(find /var/cache/apk/APKINDEX.* /etc/apk/cache/APKINDEX.* /run/picloud.refreshed -prune -mmin -{minutes} 2>/dev/null)\" ]; then echo fresh; else echo stale; fi
apk version -l '<' 2>/dev/null | sed -n 's/^\\(.*\\)-\\([^- ]*-r[0-9]*\\)  *< *\\([^ ]*\\).*/\\1 \\2 \\3/p'"
            ),
            PackageManager::Dnf => "echo fresh
dnf=dnf
command -v dnf >/dev/null 2>&1 || dnf=yum
\"$dnf\" -q check-update 2>/dev/null | awk '/^Obsoleting/ { exit } NF == 3 { sub(/\\.[^.]*$/, \"\", $1); print $1, \"-\", $2 }'"
                .to_owned(),
        };
        ShellProbe {
            script,
            reads: vec![Resource::Packages],
            ..ShellProbe::default()
        }
    }

    /// Whether the indexes would be refreshed, and what is behind.
    fn judge(&self, seen: &Observed, context: &Context) -> Result<(bool, Map<String, Json>)> {
        let manager = Platform::of(context.grains).packages()?;
        let text = seen.shell(&self.question(manager))?.text();
        let mut lines = text.lines();
        let stale = match self.refresh {
            Some(asked) => asked,
            None => lines.next() != Some("fresh"),
        };
        let only = match &self.pkgs {
            Some(_) => Some(wanted(context, "", self.pkgs.as_ref(), None, true)?),
            None => None,
        };
        let mut changes = Map::new();
        for line in text.lines() {
            if let [name, old, new] = line.split(' ').collect::<Vec<_>>()[..]
                && only
                    .as_ref()
                    .is_none_or(|only| only.iter().any(|package| package.name == name))
            {
                let old = if old == "-" { "" } else { old };
                changes.insert(name.to_owned(), json!({"old": old, "new": new}));
            }
        }
        Ok((stale, changes))
    }
}

impl StateFunction for UpToDate {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let manager = Platform::of(context.grains).packages()?;
        Ok(vec![Probe::Shell(self.question(manager))])
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Packages]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let manager = Platform::of(context.grains).packages()?;
        let (stale, changes) = self.judge(seen, context)?;
        if !stale && changes.is_empty() {
            return Ok(Decision::Holds("System is already up-to-date".to_owned()));
        }
        let mut would = if changes.is_empty() {
            "System is up-to-date, as far as the indexes know".to_owned()
        } else {
            format!(
                "These packages would be upgraded: {}",
                listed(changes.keys().map(String::as_str))
            )
        };
        if stale {
            would += "\nthe indexes would be refreshed first";
        }
        let plan = Plan {
            action: match &self.pkgs {
                Some(_) => Action::Latest,
                None => Action::UpgradeAll { dist: self.dist_upgrade },
            },
            packages: match &self.pkgs {
                Some(_) => wanted(context, "", self.pkgs.as_ref(), None, true)?,
                None => Vec::new(),
            },
            refresh: refresh(self.refresh, self.cache_valid_time),
            options: Options {
                fromrepo: self.fromrepo.clone(),
                unverified: self.skip_verify,
                only_upgrade: self.pkgs.is_some(),
                setopt: self.setopt.0.clone(),
                ..Options::default()
            },
            ..Plan::default()
        };
        let mut change = Change::new(would, "").step(Step::shell("the upgrade", script(manager, &plan, context.run)));
        change.changes = changes;
        Ok(change.into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let changes = outcome::changed(acted);
        if let Some(comment) = outcome::failure(change, acted) {
            return Ok(Conclusion {
                ok: false,
                comment,
                changes,
            });
        }
        // What a plain upgrade holds back for want of new packages is not listed by the simulation either.
        let (_, left) = self.judge(after, context)?;
        let ok = left.is_empty();
        let comment = if ok {
            "Upgrade ran successfully".to_owned()
        } else {
            format!(
                "the package manager reported success, yet these packages could still be upgraded: {}",
                listed(left.keys().map(String::as_str))
            )
        };
        Ok(Conclusion { ok, comment, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::tests::brief;
    use super::*;
    use crate::probe::CandidateSeen;
    use crate::states::testing::{Case, answer, state};

    fn case(arguments: &str, installed: Option<&str>, candidate: Option<&str>, age: Option<u64>) -> Case {
        let package = PackageSeen {
            version: installed.map(str::to_owned),
            ..PackageSeen::default()
        };
        let offered = CandidateSeen {
            version: candidate.map(str::to_owned),
            versions: Vec::new(),
            index_age: age,
        };
        state("pkg.latest", arguments).grains("{os_family: Debian}").sees([
            Fact::Package("nginx".into(), package),
            Fact::Candidate("nginx".into(), offered),
        ])
    }

    #[test]
    fn what_is_behind_is_upgraded() {
        let hour = Some(3600);
        for (arguments, installed, candidate, age, expected) in [
            (
                "{name: nginx}",
                Some("1.22"),
                Some("1.22"),
                hour,
                "holds: Package nginx is already up-to-date",
            ),
            (
                "{name: nginx}",
                Some("1.22"),
                None,
                hour,
                "holds: Package nginx is already up-to-date",
            ),
            (
                "{name: nginx, refresh: False}",
                Some("1.22"),
                Some("1.22"),
                None,
                "holds: Package nginx is already up-to-date",
            ),
            (
                "{name: nginx}",
                Some("1.22"),
                Some("1.23"),
                hour,
                r#"would: The following packages would be installed/upgraded: nginx
did: 
changes: {"nginx":{"old":"1.22","new":"1.23"}}
sh the upgrade
  run=7-test junk=''
  versioned=''
  act() {
    get install nginx
  }
  if stale 1440; then renew || { fails; exit 1; }; fi
"#,
            ),
            (
                "{name: nginx, refresh: True}",
                Some("1.22"),
                Some("1.22"),
                hour,
                r#"would: Package nginx is already up-to-date, as far as the indexes know
the indexes are 60 minutes old: they would be refreshed first
did: 
sh the upgrade
  run=7-test junk=''
  versioned=''
  act() {
    get install nginx
  }
  once || renew || { fails; exit 1; }
"#,
            ),
        ] {
            let shown = case(arguments, installed, candidate, age).shows();
            let shown = if shown.starts_with("would") { brief(&shown) } else { shown };
            assert_eq!(shown, expected, "{arguments}");
        }
        let stale = case("{name: nginx}", Some("1.22"), Some("1.22"), Some(260_000));
        assert!(
            stale
                .shows()
                .contains("the indexes are 3 days old: they would be refreshed first")
        );
    }

    #[test]
    fn a_refresh_that_brings_nothing_new_changes_nothing() {
        let stale = case("{name: nginx, refresh: True}", Some("1.22"), Some("1.22"), None);
        let done = stale.concludes(&[answer(0, "", "")], []);
        assert_eq!(
            (done.ok, done.comment.as_str(), done.changes.len()),
            (true, "Package nginx is already up-to-date", 0)
        );
        let done = case("{name: nginx}", Some("1.22"), Some("1.23"), None).concludes(&[answer(0, "", "")], []);
        assert_eq!(
            (done.ok, done.comment.as_str()),
            (
                false,
                "the package manager reported success, yet these packages are not the newest: nginx"
            )
        );
    }

    #[test]
    fn everything_is_upgraded() {
        let case = |text: &str| {
            state("pkg.uptodate", "{name: x}")
                .grains("{os_family: Debian}")
                .answers("apt-get -s", 0, text)
        };
        assert_eq!(case("fresh\n").shows(), "holds: System is already up-to-date");
        let change = case("fresh\nnginx 1.22 1.23\nlibx - 2\n").change();
        assert_eq!(change.would, "These packages would be upgraded: nginx, libx");
        assert_eq!(
            Json::from(change.changes.clone()).to_string(),
            r#"{"nginx":{"old":"1.22","new":"1.23"},"libx":{"old":"","new":"2"}}"#
        );
        assert!(
            case("stale\n")
                .change()
                .would
                .ends_with("the indexes would be refreshed first")
        );
        let done = case("stale\n").concludes(&[answer(0, "picloud:changed\tnginx\t1.22\t1.23\n", "")], []);
        assert_eq!((done.ok, done.comment.as_str()), (true, "Upgrade ran successfully"));
    }
}
