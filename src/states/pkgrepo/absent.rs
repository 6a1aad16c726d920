//! `pkgrepo.absent`.

use super::apt::{self, Source};
use super::files::{self, Files};
use super::{conclude, ini, ppa};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::Answer;
use crate::states::pkg::renewal;
use crate::states::{Change, Conclusion, Context, Decision, PackageManager, Platform, StateFunction, Step};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// Ensures that a repository of packages is not configured, in whichever file. Its key stays, as it may be another's too.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Absent {
    /// apt: the line, `deb URL SUITE`; with components only those are taken out. dnf and pacman: the repository's short name. apk: its URL.
    name: String,
    /// Ubuntu: a PPA of Launchpad's, `owner/name`.
    ppa: Option<String>,
    /// Ubuntu: `user:password` of a private PPA.
    ppa_auth: Option<String>,
    /// apt: look only at this file.
    file: Option<String>,
    /// Accepted, without effect: keys stay.
    #[schemars(with = "Option<Json>")]
    keyid: Option<Value>,
    /// Accepted, without effect: keys stay.
    #[schemars(with = "Option<Json>")]
    keyid_ppa: Option<Value>,
    /// Accepted, without effect: keys stay.
    keyserver: Option<String>,
    /// Accepted, without effect: keys stay.
    aptkey: Option<bool>,
    /// `True`: fetch the indexes anew afterwards.
    refresh: Option<bool>,
}

impl Absent {
    fn shown(&self) -> &str {
        self.ppa.as_deref().unwrap_or(&self.name)
    }

    /// The sources that must not be.
    fn sources(&self, platform: &Platform) -> Result<Vec<Source>> {
        let name = Some(self.name.as_str()).filter(|name| name.starts_with("ppa:"));
        if let Some((owner, name)) = self.ppa.as_deref().or(name).and_then(ppa) {
            let login = self
                .ppa_auth
                .as_ref()
                .map(|auth| format!("https://{auth}@private-ppa.launchpadcontent.net"));
            let archives = [
                "https://ppa.launchpadcontent.net",
                "http://ppa.launchpadcontent.net",
                "http://ppa.launchpad.net",
            ];
            let archives = archives.into_iter().map(str::to_owned).chain(login);
            return Ok(archives
                .map(|archive| Source {
                    kind: "deb".to_owned(),
                    uri: format!("{archive}/{owner}/{name}/ubuntu"),
                    suite: platform.codename.clone(),
                    ..Source::default()
                })
                .collect());
        }
        let source = Source::parse(&self.name).ok_or_else(|| {
            Error::usage(format!("`{}` is not a source of apt's", self.name))
                .hint("write `deb URL SUITE`, with components if only those are to go")
        })?;
        Ok(vec![source])
    }
}

impl StateFunction for Absent {
    fn check(&self) -> Result<()> {
        match self.ppa.as_deref().filter(|text| ppa(text).is_none()) {
            Some(text) => Err(Error::usage(format!("`{text}` is not a PPA: write `owner/name`"))),
            None => Ok(()),
        }
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let platform = Platform::of(context.grains);
        let manager = platform.packages()?;
        if manager == PackageManager::Apt {
            self.sources(&platform)?;
        }
        Ok(vec![Probe::Shell(files::probe(manager))])
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        let mut writes: Vec<Resource> = self
            .probes(context)
            .unwrap_or_default()
            .iter()
            .flat_map(Probe::reads)
            .collect();
        writes.push(Resource::Packages);
        writes
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let platform = Platform::of(context.grains);
        let manager = platform.packages()?;
        let sources = match manager {
            PackageManager::Apt => self.sources(&platform)?,
            _ => Vec::new(),
        };
        let now = Files::read(manager, seen)?;
        let mut new = now.clone();
        for (path, lines) in &now.0 {
            if self.file.as_ref().is_some_and(|file| file != path) {
                continue;
            }
            let left = match manager {
                PackageManager::Apt => {
                    let mut left: Option<Vec<String>> = None;
                    for source in &sources {
                        left = apt::take(path, left.as_ref().unwrap_or(lines), source).or(left);
                    }
                    left
                }
                PackageManager::Dnf | PackageManager::Pacman => ini::take(lines, &self.name),
                PackageManager::Apk => {
                    let mut left = lines.clone();
                    left.retain(|line| line.trim() != self.name.trim());
                    (left.len() < lines.len()).then_some(left)
                }
            };
            if let Some(left) = left {
                new.set(path, left);
            }
        }
        let name = self.shown();
        if new == now {
            return Ok(Decision::Holds(format!("Package repo {name} is absent")));
        }
        let change = Change::new(
            format!("Package repo '{name}' will be removed"),
            format!("Removed repo {name}"),
        )
        .change("repo", name);
        let mut change = now.write(change, &new, manager, None);
        change.secret = self.ppa_auth.is_some();
        if self.refresh == Some(true) {
            change = change.step(Step::shell("refreshing the indexes", renewal(manager, context.run)));
        }
        Ok(change.into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        conclude(self, change, acted, after, context)
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::{Case, state};

    fn case(os: &str, arguments: &str, files: &str) -> Case {
        state("pkgrepo.absent", arguments).grains(os).answers("grep -s -H", 0, files)
    }

    #[test]
    fn repositories_go_from_whichever_file_they_are_in() {
        let debian = "{os: Debian, os_family: Debian, oscodename: bookworm}";
        let docker = "/etc/apt/sources.list:deb http://deb.debian.org/debian bookworm main\n/etc/apt/sources.list.d/d.list:deb [arch=amd64] https://d/debian bookworm stable test\n";
        assert_eq!(
            case(debian, "{name: deb https://d/debian trixie}", docker).shows(),
            "holds: Package repo deb https://d/debian trixie is absent"
        );
        assert_eq!(
            case(debian, "{name: deb https://d/debian bookworm}", docker).shows(),
            "would: Package repo 'deb https://d/debian bookworm' will be removed\ndid: Removed repo deb https://d/debian bookworm\n\
             changes: {\"repo\":\"deb https://d/debian bookworm\"}\nsh removing the file\n  rm -f /etc/apt/sources.list.d/d.list\n"
        );
        let ubuntu = "{os: Ubuntu, os_family: Debian, oscodename: noble}";
        let ppas = "/etc/apt/sources.list.d/p.list:# mine\n/etc/apt/sources.list.d/p.list:deb http://ppa.launchpad.net/o/n/ubuntu noble main\n";
        assert!(
            case(ubuntu, "{name: x, ppa: o/n}", ppas)
                .shows()
                .contains("rm -f /etc/apt/sources.list.d/p.list")
        );
        let repo = "/etc/yum.repos.d/all.repo:[a]\n/etc/yum.repos.d/all.repo:name=A\n/etc/yum.repos.d/all.repo:[b]\n/etc/yum.repos.d/all.repo:name=B\n";
        let change = case("{os_family: RedHat}", "{name: a}", repo).change();
        assert_eq!(
            (change.diffs[0].name.as_str(), change.diffs[0].new.as_str()),
            ("/etc/yum.repos.d/all.repo", "[b]\nname=B\n")
        );
        let apk = "/etc/apk/repositories:https://a/main\n/etc/apk/repositories:https://a/community\n";
        let change = case("{os_family: Alpine}", "{name: 'https://a/community'}", apk).change();
        assert_eq!(change.diffs[0].new, "https://a/main\n");
        assert_eq!(
            case(debian, "{name: x}", "")
                .state
                .probes(&case(debian, "{name: x}", "").context())
                .unwrap_err()
                .to_string(),
            "`x` is not a source of apt's"
        );
    }
}
