//! `pkg.installed`.

use super::offered::{self, Offered};
use super::outcome;
use super::script::{Action, Options, Plan, Refresh, script};
use super::version::{Constraint, compare};
use super::wanted::{Wanted, listed, wanted};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, PackageSeen, Probe, Resource, ShellProbe};
use crate::shell::{Answer, quote, words};
use crate::states::{
    Change, Conclusion, Context, Decision, Need, PackageManager, Platform, PutFile, SourceFile, SourceSpec, StateFunction, Step,
    fetch,
};
use crate::yaml::{OneOrMany, Pairs, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// After so many minutes indexes count as stale: a day.
pub const STALE: u64 = 24 * 60;

/// Ensures that packages are installed, at a version where one is given.
///
/// On apt the lock is waited for (up to ten minutes), an interrupted installation is finished first, changed configuration files are
/// kept, and nobody is asked anything. The indexes are refreshed when they are older than a day, when the sources changed since, or
/// when a package or version turns out not to be on offer. Afterwards the packages are looked at again: the state fails if one is
/// still missing.
///
/// Arch Linux knows no partial upgrades: there the indexes are refreshed only when a package cannot be had without.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Installed {
    /// The package, unless `pkgs` or `sources` say which. `name:arch` on apt, `name.arch` on dnf.
    name: String,
    /// Several packages, each a name or `name: version`; installed in one go.
    #[schemars(with = "Option<Vec<Json>>")]
    pkgs: Option<Value>,
    /// The version: just this one (`1.22.1-9`), a pattern (`1.22*`), conditions (`>=1.22,<2`), or `latest`. An installed package is
    /// downgraded where that is needed. Except on apt the release may be left out (`1.22` for `1.22-3.el9`).
    version: Option<String>,
    /// Packages from files instead of repositories: `name: place`, the place being `salt://`, `http(s)://` or a path on the minion.
    sources: Option<Pairs<String>>,
    /// `True` holds the packages back from upgrades once they are installed, `False` releases them; else holds are left as they are.
    hold: Option<bool>,
    /// Change packages although they are held; else the state fails on those.
    update_holds: bool,
    /// `True`: refresh the indexes first, once per run and only if anything is to be installed. `False`: never. Else when needed.
    refresh: Option<bool>,
    /// Seconds for which indexes count as fresh, instead of a day.
    cache_valid_time: Option<u64>,
    /// Take packages from this release (apt: `bookworm-backports`) or repository only.
    fromrepo: Option<String>,
    /// `False`: without recommended packages (apt) or weak dependencies (dnf).
    install_recommends: Option<bool>,
    /// Accepted, as in Salt: it concerns only Salt's own suggestions of other names.
    skip_suggestions: Option<bool>,
    /// Install packages whose signatures cannot be checked.
    skip_verify: bool,
    /// With `version`: a newer installed version is good too.
    allow_updates: bool,
    /// Take `name:arch` of the minion's own architecture for `name`.
    normalize: Option<bool>,
    /// Compare versions without their epochs.
    ignore_epoch: bool,
    /// Install again what is installed; every run changes something then.
    reinstall: bool,
    /// Leave packages alone that are not installed yet.
    only_upgrade: bool,
    /// Options for dnf (`--setopt`): one, or a list. Other package managers have no such thing.
    setopt: OneOrMany<String>,
    /// Names may be capabilities that some package provides (dnf); on the others that holds anyway.
    resolve_capabilities: Option<bool>,
    /// Compare the installed files with the package's digests, and install again what was altered (apt, dnf).
    pkg_verify: bool,
    /// Kinds of files that may differ under `pkg_verify`: `config`, `doc`, `ghost`, `license`, `readme`.
    ignore_types: OneOrMany<String>,
    /// Options for the comparison under `pkg_verify`, for `rpm -V`.
    verify_options: OneOrMany<String>,
    /// Accepted, and without effect as in Salt: `pkg.latest` and `pkg.uptodate` upgrade.
    upgrade: Option<bool>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    reload: Option<Value>,
    /// Accepted, and without effect as in Salt; to refer to a repository write `require: [{pkgrepo: ...}]`.
    #[schemars(with = "Option<Json>")]
    pkgrepo: Option<Value>,
    /// Accepted for Windows' sake, without effect.
    report_reboot_exit_codes: Option<bool>,
}

/// What is to be done to make the state hold.
#[derive(Default)]
struct Todo {
    install: Vec<Wanted>,
    /// In the words of a comment: `nginx is not installed`.
    reasons: Vec<String>,
    changes: Map<String, Json>,
    predicts: Vec<Fact>,
    files: Vec<String>,
    hold: Vec<String>,
    unhold: Vec<String>,
    /// Held, and not to be touched.
    blocked: Vec<String>,
    mend: bool,
}

impl Todo {
    fn is_nothing(&self) -> bool {
        self.install.is_empty() && self.files.is_empty() && self.hold.is_empty() && self.unhold.is_empty() && !self.mend
    }
}

impl Installed {
    fn wanted(&self, context: &Context) -> Result<Vec<Wanted>> {
        let normalize = self.normalize != Some(false);
        if let Some(sources) = &self.sources {
            let mut all = Vec::new();
            for (name, _) in sources.iter() {
                all.extend(wanted(context, name, None, self.version.as_deref(), normalize)?);
            }
            return Ok(all);
        }
        wanted(context, &self.name, self.pkgs.as_ref(), self.version.as_deref(), normalize)
    }

    fn source_spec(place: &str) -> SourceSpec {
        SourceSpec {
            sources: vec![place.to_owned()],
            skip_verify: true,
            ..SourceSpec::default()
        }
    }

    /// The question whether files differ from their package's digests.
    fn verification(&self, manager: PackageManager, wanted: &[Wanted]) -> Option<ShellProbe> {
        if !self.pkg_verify {
            return None;
        }
        let verify = match manager {
            PackageManager::Apt => "dpkg --verify".to_owned(),
            PackageManager::Dnf => format!("rpm -V {}", words(self.verify_options.iter().map(String::as_str))),
            PackageManager::Pacman | PackageManager::Apk => return None,
        };
        let names = words(wanted.iter().map(|package| package.name.as_str()));
        Some(ShellProbe {
            script: format!("for p in {names}; do printf 'package %s\\n' \"$p\"; {verify} \"$p\" 2>/dev/null; done; :"),
            reads: vec![
                Resource::Packages,
                Resource::Tree("/etc".into()),
                Resource::Tree("/usr".into()),
            ],
            ..ShellProbe::default()
        })
    }

    /// The packages with files that differ and may not.
    fn altered(&self, manager: PackageManager, wanted: &[Wanted], seen: &Observed) -> Result<Vec<String>> {
        let Some(probe) = self.verification(manager, wanted) else {
            return Ok(Vec::new());
        };
        let kinds = [
            ('c', "config"),
            ('d', "doc"),
            ('g', "ghost"),
            ('l', "license"),
            ('r', "readme"),
        ];
        let text = seen.shell(&probe)?.text();
        let (mut package, mut altered) = ("", Vec::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
                continue;
            }
            // `??5??????  c /etc/x`: what differs, the kind of file where it has one, the path.
            let kind = line.split_whitespace().nth(1).filter(|word| word.len() == 1);
            let kind = kinds
                .iter()
                .find(|(letter, _)| kind.is_some_and(|word| word.starts_with(*letter)));
            let ignored = kind.is_some_and(|(_, name)| self.ignore_types.iter().any(|ignored| ignored == name));
            if !ignored && line.contains('/') && altered.last().is_none_or(|last| last != package) {
                altered.push(package.to_owned());
            }
        }
        Ok(altered)
    }

    /// What is left to do. `again`: count a reinstallation that was asked for.
    fn judge(&self, seen: &Observed, context: &Context, again: bool) -> Result<(Todo, Offered)> {
        let manager = Platform::of(context.grains).packages()?;
        let wanted = self.wanted(context)?;
        let offered = Offered::read(manager, &wanted, seen)?;
        let altered = self.altered(manager, &wanted, seen)?;
        let mut todo = Todo::default();
        for (n, package) in wanted.iter().enumerate() {
            let name = &package.name;
            let now = seen.package(name)?;
            let newest = match &package.version {
                Some(Constraint::Latest) => seen.candidate(name)?.version.clone(),
                _ => None,
            };
            let reason = self.reason(manager, package, now, newest.as_deref());
            let reason = reason.or_else(|| altered.contains(name).then(|| format!("files of {name} were altered")));
            let reason = reason.or_else(|| (again && self.reinstall).then(|| format!("{name} is to be installed again")));
            let skipped = self.only_upgrade && now.version.is_none();
            if let Some(reason) = reason.filter(|_| !skipped) {
                if now.held && now.version.is_some() && !self.update_holds {
                    todo.blocked.push(name.clone());
                    continue;
                }
                let coming = self.coming(manager, package, &offered, newest.as_deref());
                todo.reasons.push(reason);
                let told = coming.clone().or_else(|| package.version.as_ref().map(Constraint::text));
                todo.changes.insert(
                    name.clone(),
                    json!({"old": now.version.clone().unwrap_or_default(), "new": told.unwrap_or_else(|| "installed".to_owned())}),
                );
                let version = coming.or_else(|| package.version.is_none().then(|| "newest".to_owned()));
                if version.is_some() {
                    let held = self.hold.unwrap_or(now.held);
                    let after = PackageSeen {
                        version,
                        held,
                        ..PackageSeen::default()
                    };
                    todo.predicts.push(Fact::Package(name.clone(), after));
                }
                match &self.sources {
                    Some(sources) => todo.files.extend(sources.get(n).map(|(_, place)| place.clone())),
                    None => todo.install.push(package.clone()),
                }
            }
            todo.mend |= now.broken;
            let there = now.version.is_some() || !skipped;
            match self.hold {
                Some(true) if !now.held && there => todo.hold.push(name.clone()),
                Some(false) if now.held => todo.unhold.push(name.clone()),
                _ => {}
            }
        }
        for (names, old, new) in [(&todo.hold, "install", "hold"), (&todo.unhold, "hold", "install")] {
            for name in names {
                let already = todo.changes.get_mut(name).and_then(Json::as_object_mut);
                match already {
                    Some(change) => drop(change.insert("hold".to_owned(), json!({"old": old, "new": new}))),
                    None => drop(todo.changes.insert(name.clone(), json!({"old": old, "new": new}))),
                }
            }
        }
        Ok((todo, offered))
    }

    /// Why `package` is not as wanted.
    fn reason(&self, manager: PackageManager, package: &Wanted, now: &PackageSeen, newest: Option<&str>) -> Option<String> {
        let name = &package.name;
        if now.broken {
            return Some(format!("{name} is half installed"));
        }
        let Some(installed) = &now.version else {
            // A virtual package is there when something provides it.
            let provided = now.provided_by.is_some() && package.version.is_none();
            return (!provided).then(|| format!("{name} is not installed"));
        };
        match package.version.as_ref()? {
            Constraint::Latest => {
                let newest = newest.filter(|newest| compare(manager, newest, installed).is_gt())?;
                Some(format!("{name} is {installed}, and {newest} is on offer"))
            }
            constraint => {
                let newer = match constraint {
                    Constraint::Exact(wanted) if self.allow_updates => compare(manager, installed, wanted).is_gt(),
                    _ => false,
                };
                let good = newer || constraint.admits(manager, installed, self.ignore_epoch);
                (!good).then(|| format!("{name} is {installed}, not {}", constraint.text()))
            }
        }
    }

    /// The version that will be there, as far as it is known.
    fn coming(&self, manager: PackageManager, package: &Wanted, offered: &Offered, newest: Option<&str>) -> Option<String> {
        let candidate = offered.candidate(&package.name);
        match &package.version {
            None => candidate.map(str::to_owned),
            Some(Constraint::Latest) => newest.or(candidate).map(str::to_owned),
            Some(Constraint::Exact(version)) => Some(version.clone()),
            Some(constraint) => candidate
                .filter(|candidate| constraint.admits(manager, candidate, self.ignore_epoch))
                .map(str::to_owned),
        }
    }

    fn options(&self) -> Options {
        Options {
            fromrepo: self.fromrepo.clone(),
            recommends: self.install_recommends,
            unverified: self.skip_verify,
            only_upgrade: self.only_upgrade,
            reinstall: self.reinstall || self.pkg_verify,
            update_holds: self.update_holds,
            setopt: self.setopt.0.clone(),
        }
    }

    fn refresh(&self) -> Refresh {
        match self.refresh {
            Some(true) => Refresh::OncePerRun,
            Some(false) => Refresh::Never,
            None => Refresh::OlderThan(self.cache_valid_time.map_or(STALE, |seconds| seconds / 60)),
        }
    }

    /// Brings the files of `sources` to the minion: by steps, by what it fetches itself.
    fn bring(&self, places: &[String], plan: &mut Plan, context: &Context) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for place in places {
            let path = |place: &str| format!("/var/tmp/picloud-{}-{}", context.run, file_name(place));
            let path = match context.resolved.file(&Self::source_spec(place))? {
                SourceFile::OnMinion { url, .. } if url.starts_with('/') => {
                    plan.files.push(quote(url).into_owned());
                    continue;
                }
                SourceFile::OnMinion { url, .. } => {
                    let path = path(url);
                    plan.fetch += &format!("tmp={}\n({}) || exit 1\n", quote(&path), fetch::download(url));
                    path
                }
                SourceFile::Here { content, .. } => {
                    let path = path(place);
                    steps.push(Step::from(PutFile {
                        path: path.clone(),
                        content: content.clone(),
                        mode: Some("0644".to_owned()),
                        ..PutFile::default()
                    }));
                    path
                }
            };
            plan.files.push(quote(&path).into_owned());
            plan.junk.push(path);
        }
        Ok(steps)
    }
}

/// The last part of a path or URL, of plain characters.
fn file_name(place: &str) -> String {
    let place = place.split(['?', '#']).next().unwrap_or(place);
    let name = place.rsplit('/').next().unwrap_or(place);
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "+-._~".contains(*c))
        .collect()
}

impl StateFunction for Installed {
    fn check(&self) -> Result<()> {
        if self.pkgs.as_ref().is_some_and(|pkgs| !pkgs.is_null()) && self.sources.is_some() {
            return Err(Error::usage("`pkgs` and `sources` cannot be given together"));
        }
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        let places = self.sources.iter().flat_map(|sources| sources.iter());
        places.map(|(_, place)| Need::File(Self::source_spec(place))).collect()
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let manager = Platform::of(context.grains).packages()?;
        let wanted = self.wanted(context)?;
        let mut probes: Vec<Probe> = wanted
            .iter()
            .map(|package| Probe::Package {
                name: package.name.clone(),
            })
            .collect();
        let latest = wanted.iter().filter(|package| package.version == Some(Constraint::Latest));
        probes.extend(latest.map(|package| Probe::Candidate {
            name: package.name.clone(),
        }));
        probes.extend(offered::probes(manager, &wanted));
        probes.extend(self.verification(manager, &wanted).map(Probe::Shell));
        Ok(probes)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Packages]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let manager = Platform::of(context.grains).packages()?;
        let (todo, offered) = self.judge(seen, context, true)?;
        if !todo.blocked.is_empty() {
            return Ok(Decision::Fails(format!(
                "these packages would have to change, and are held: {} (`update_holds: True` allows it)",
                listed(todo.blocked.iter().map(String::as_str))
            )));
        }
        if todo.is_nothing() {
            let versions = self.wanted(context)?.iter().any(|package| package.version.is_some());
            let mut comment = "All specified packages are already installed".to_owned();
            if versions {
                comment += " and are at the desired version";
            }
            return Ok(Decision::Holds(comment));
        }
        let latest = todo.install.iter().any(|package| package.version == Some(Constraint::Latest));
        let something = !todo.install.is_empty() || !todo.files.is_empty();
        let mut plan = Plan {
            action: match (something, latest) {
                (false, _) => Action::Nothing,
                (true, true) => Action::Latest,
                (true, false) => Action::Install,
            },
            hold: todo.hold.clone(),
            unhold: todo.unhold.clone(),
            refresh: if something { self.refresh() } else { Refresh::Never },
            options: self.options(),
            mend: todo.mend,
            packages: todo.install.clone(),
            ..Plan::default()
        };
        let mut steps = self.bring(&todo.files, &mut plan, context)?;
        let label = if something {
            "the installation"
        } else {
            "the change of holds"
        };
        steps.push(Step::shell(label, script(manager, &plan, context.run)));
        let names = listed(todo.changes.keys().map(String::as_str));
        let (mut would, did) = if something || todo.mend {
            (
                format!("The following packages would be installed/updated: {names}"),
                format!("The following packages were installed/updated: {names}"),
            )
        } else {
            (
                format!("The holds of these packages would be changed: {names}"),
                format!("The holds of these packages were changed: {names}"),
            )
        };
        if !offered.unknown.is_empty() {
            would += &format!(
                "\nno index of the minion knows {} yet: the indexes would be refreshed first",
                listed(offered.unknown.iter().map(String::as_str))
            );
        }
        let mut change = Change::new(would, did);
        change.changes = todo.changes;
        change.steps = steps;
        if !todo.mend {
            change.predicts = todo.predicts;
            for (names, held) in [(&todo.hold, true), (&todo.unhold, false)] {
                for name in names {
                    let known = change
                        .predicts
                        .iter()
                        .any(|fact| matches!(fact, Fact::Package(known, _) if known == name));
                    if !known && seen.package(name)?.version.is_some() {
                        let now = seen.package(name)?.clone();
                        change.predicts.push(Fact::Package(name.clone(), PackageSeen { held, ..now }));
                    }
                }
            }
        }
        Ok(change.into())
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
        let (left, _) = self.judge(after, context, false)?;
        for (name, planned) in &change.changes {
            let holds = planned.get("new").is_some_and(|new| new == "hold" || new == "install");
            if let Some(hold) = planned.get("hold").filter(|_| changes.contains_key(name)) {
                if let Some(change) = changes.get_mut(name).and_then(Json::as_object_mut) {
                    change.insert("hold".to_owned(), hold.clone());
                }
            } else if holds {
                changes.insert(name.clone(), planned.clone());
            } else if self.reinstall && !changes.contains_key(name) {
                let version = planned.get("old").cloned().unwrap_or_default();
                changes.insert(name.clone(), json!({"old": version, "new": version}));
            }
        }
        let problems: Vec<String> = left
            .reasons
            .into_iter()
            .chain(left.hold.iter().map(|name| format!("{name} is not held")))
            .chain(left.unhold.iter().map(|name| format!("{name} is still held")))
            .chain(left.blocked.iter().map(|name| format!("{name} is held at another version")))
            .collect();
        let ok = problems.is_empty();
        let comment = if ok {
            change.did.clone()
        } else {
            format!("the package manager reported success, yet {}", problems.join("; "))
        };
        Ok(Conclusion { ok, comment, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::tests::brief;
    use super::*;
    use crate::states::testing::{Case, answer, refusal, state};

    const GRAINS: &str = "{os_family: Debian, osarch: amd64}";

    fn case(arguments: &str) -> Case {
        state("pkg.installed", arguments).grains(GRAINS)
    }

    fn package(name: &str, version: &str) -> Fact {
        let seen = PackageSeen {
            version: Some(version.to_owned()),
            ..PackageSeen::default()
        };
        Fact::Package(name.to_owned(), seen)
    }

    fn held(name: &str, version: &str) -> Fact {
        let seen = PackageSeen {
            version: Some(version.to_owned()),
            held: true,
            ..PackageSeen::default()
        };
        Fact::Package(name.to_owned(), seen)
    }

    #[test]
    fn what_is_there_holds() {
        let provided = PackageSeen {
            provided_by: Some("exim4".into()),
            ..PackageSeen::default()
        };
        for (arguments, seen, expected) in [
            (
                "{name: nginx}",
                package("nginx", "1.22-1"),
                "holds: All specified packages are already installed",
            ),
            (
                "{name: nginx:amd64}",
                package("nginx", "1.22-1"),
                "holds: All specified packages are already installed",
            ),
            (
                "{name: nginx, version: 1.22-1}",
                package("nginx", "1.22-1"),
                "holds: All specified packages are already installed and are at the desired version",
            ),
            (
                "{pkgs: [{nginx: '>=1.20,<2'}]}",
                package("nginx", "1.22-1"),
                "holds: All specified packages are already installed and are at the desired version",
            ),
            (
                "{name: nginx, version: 1.20-1, allow_updates: True}",
                package("nginx", "1.22-1"),
                "holds: All specified packages are already installed and are at the desired version",
            ),
            (
                "{name: mail-transport-agent}",
                Fact::Package("mail-transport-agent".into(), provided),
                "holds: All specified packages are already installed",
            ),
            (
                "{name: nginx, hold: True}",
                held("nginx", "1"),
                "holds: All specified packages are already installed",
            ),
            (
                "{name: absent, only_upgrade: True}",
                package("x", "1"),
                "holds: All specified packages are already installed",
            ),
            (
                "{name: nginx, version: 1.20-1}",
                held("nginx", "1.22-1"),
                "fails: these packages would have to change, and are held: nginx (`update_holds: True` allows it)",
            ),
        ] {
            assert_eq!(case(arguments).sees([seen]).shows(), expected, "{arguments}");
        }
    }

    #[test]
    fn what_is_missing_is_installed_in_one_go() {
        let shown = case("{pkgs: [nginx, curl, {redis: 5.7}], hold: True, install_recommends: False}")
            .sees([package("curl", "7"), held("redis", "5.7")])
            .answers(
                "apt-cache policy",
                0,
                "asked nginx\nnginx:\n  Installed: (none)\n  Candidate: 1.22-1\n",
            )
            .shows();
        assert_eq!(
            brief(&shown),
            r#"would: The following packages would be installed/updated: nginx, curl
did: The following packages were installed/updated: nginx, curl
changes: {"nginx":{"old":"","new":"1.22-1","hold":{"old":"install","new":"hold"}},"curl":{"old":"install","new":"hold"}}
sh the installation
  run=7-test junk=''
  versioned=''
  act() {
    get --no-install-recommends install nginx &&
    patient apt-mark hold nginx curl
  }
  if stale 1440; then renew; fi
"#
        );
    }

    #[test]
    fn versions_and_refreshes() {
        let shown = case("{name: nginx, version: '<1.22', refresh: True, update_holds: True}")
            .sees([held("nginx", "1.22-1")])
            .shows();
        assert_eq!(
            brief(&shown),
            r#"would: The following packages would be installed/updated: nginx
did: The following packages were installed/updated: nginx
changes: {"nginx":{"old":"1.22-1","new":"<1.22"}}
sh the installation
  run=7-test junk=''
  versioned=nginx
  act() {
    pick nginx '<1.22' lt 1.22 && v0=$picked &&
    get --allow-downgrades --allow-change-held-packages install nginx="$v0"
  }
  once || renew
"#
        );
        let shown = case("{name: ngnix, refresh: False}")
            .answers("apt-cache policy", 0, "asked ngnix\n")
            .shows();
        assert_eq!(
            brief(&shown),
            r#"would: The following packages would be installed/updated: ngnix
no index of the minion knows ngnix yet: the indexes would be refreshed first
did: The following packages were installed/updated: ngnix
changes: {"ngnix":{"old":"","new":"installed"}}
sh the installation
  run=7-test junk=''
  versioned=''
  act() {
    get install ngnix
  }
  refreshed=never
"#
        );
    }

    #[test]
    fn packages_from_files() {
        let shown =
            case("{sources: [{tool: 'salt://tool_1.deb'}, {other: 'https://x.example/other_2.deb?a=b'}]}").resolves(|spec| {
                let place = spec.sources[0].clone();
                Ok(if place.starts_with("salt:") {
                    SourceFile::Here {
                        content: "deb".into(),
                        sha256: String::new(),
                        size: 3,
                        mode: None,
                    }
                } else {
                    SourceFile::OnMinion {
                        url: place,
                        sha256: None,
                        hash: None,
                    }
                })
            });
        let text = brief(&shown.shows());
        assert!(
            text.starts_with(
                r#"would: The following packages would be installed/updated: tool, other
did: The following packages were installed/updated: tool, other
changes: {"tool":{"old":"","new":"installed"},"other":{"old":"","new":"installed"}}
put /var/tmp/picloud-7-test-tool_1.deb mode=0644
  deb
sh the installation
  run=7-test junk='/var/tmp/picloud-7-test-tool_1.deb /var/tmp/picloud-7-test-other_2.deb'
  versioned=''
  act() {
    get --allow-downgrades install /var/tmp/picloud-7-test-tool_1.deb /var/tmp/picloud-7-test-other_2.deb
"#
            ),
            "{text}"
        );
        assert!(text.contains("tmp=/var/tmp/picloud-7-test-other_2.deb\n"), "{text}");
    }

    #[test]
    fn the_conclusion_is_what_is_seen_afterwards() {
        let nginx = case("{name: nginx}");
        let done = nginx.concludes(
            &[answer(
                0,
                "picloud:changed\tnginx\t\t1.22-1\npicloud:changed\tlibx\t\t2\n",
                "",
            )],
            [package("nginx", "1.22-1")],
        );
        assert_eq!(
            (done.ok, done.comment.as_str(), Json::from(done.changes).to_string().as_str()),
            (
                true,
                "The following packages were installed/updated: nginx",
                r#"{"libx":{"old":"","new":"2"},"nginx":{"old":"","new":"1.22-1"}}"#
            )
        );
        let lie = nginx.concludes(&[answer(0, "", "")], []);
        assert_eq!(
            (lie.ok, lie.comment.as_str()),
            (false, "the package manager reported success, yet nginx is not installed")
        );
        let again = case("{name: nginx, reinstall: True}").sees([package("nginx", "1")]);
        let done = again.concludes(&[answer(0, "", "")], []);
        assert_eq!(
            (done.ok, Json::from(done.changes).to_string().as_str()),
            (true, r#"{"nginx":{"old":"1","new":"1"}}"#)
        );
    }

    #[test]
    fn altered_files_lead_to_a_new_installation() {
        let verified = "package nginx\n??5??????   /usr/sbin/nginx\npackage curl\n??5?????? c /etc/curlrc\n";
        let case = |ignored: &str| {
            case(&format!("{{pkgs: [nginx, curl], pkg_verify: True, ignore_types: {ignored}}}"))
                .sees([package("nginx", "1"), package("curl", "7")])
                .answers("dpkg --verify", 0, verified)
        };
        let names = |case: Case| case.change().changes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(case("[config]")), ["nginx"]);
        assert_eq!(names(case("[]")), ["nginx", "curl"]);
    }

    #[test]
    fn other_package_managers_are_asked_in_their_words() {
        for (grains, expected) in [
            ("{os_family: Arch}", "get -S --needed tmux"),
            ("{os_family: Alpine}", "get add tmux"),
            ("{os_family: RedHat, osmajorrelease: 9}", "get install tmux"),
        ] {
            let shown = state("pkg.installed", "{name: tmux}").grains(grains).shows();
            assert!(shown.contains(&format!("  act() {{\n    {expected}\n  }}\n")), "{shown}");
        }
        let gentoo = state("pkg.installed", "{name: tmux}").grains("{os_family: Gentoo}");
        assert_eq!(
            gentoo.state.probes(&gentoo.context()).unwrap_err().to_string(),
            "picloud does not know the package manager of this minion (os_family: Gentoo)"
        );
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for (arguments, expected) in [
            (
                "{name: 'nginx curl'}",
                "`nginx curl` is not the name of a package: it contains ' '",
            ),
            (
                "{pkgs: [nginx-]}",
                "test.sls:1:9: `nginx-` is not the name of a package: apt would take the `-` at its end for a removal",
            ),
            (
                "{pkgs: ['nginx=1.2']}",
                "test.sls:1:9: `nginx=1.2` is not the name of a package: the version stands beside it",
            ),
            (
                "{pkgs: ['-y']}",
                "test.sls:1:9: `-y` is not the name of a package: it begins with `-`",
            ),
            (
                "{pkgs: [[a]]}",
                "test.sls:1:9: `pkgs` lists names or `name: version`, not a list",
            ),
            (
                "{pkgs: [{a: '>='}]}",
                "test.sls:1:9: package a: `` is not a version (in `>=`)",
            ),
        ] {
            let case = case(arguments);
            assert_eq!(case.state.probes(&case.context()).unwrap_err().to_string(), expected);
        }
        assert!(refusal("pkg.installed", "{name: x, verison: 1}").contains("did you mean `version`?"));
    }
}
