//! `pkgrepo.managed` where packages do not come by apt: sections of dnf's and pacman's files, lines of apk's.

use super::files::Files;
use super::managed::Managed;
use super::{ini, is_true, setting};
use crate::error::Result;
use crate::probe::Observed;
use crate::shell::quote;
use crate::states::pkg::renewal;
use crate::states::{Context, Decision, PackageManager, Step, fetch};

impl Managed {
    /// dnf's settings.
    fn settings(&self) -> Vec<(String, String)> {
        let human = self.humanname.clone().unwrap_or_else(|| self.name.clone());
        let enabled = u8::from(self.is_enabled()).to_string();
        let mut settings = vec![("name".to_owned(), human), ("enabled".to_owned(), enabled)];
        let said = [
            ("baseurl", &self.baseurl),
            ("mirrorlist", &self.mirrorlist),
            ("metalink", &self.metalink),
            ("gpgcheck", &self.gpgcheck),
            ("gpgkey", &self.gpgkey),
            ("repo_gpgcheck", &self.repo_gpgcheck),
            ("priority", &self.priority),
            ("cost", &self.cost),
            ("exclude", &self.exclude),
            ("excludepkgs", &self.excludepkgs),
            ("includepkgs", &self.includepkgs),
            ("failovermethod", &self.failovermethod),
            ("sslverify", &self.sslverify),
            ("sslcacert", &self.sslcacert),
            ("sslclientcert", &self.sslclientcert),
            ("sslclientkey", &self.sslclientkey),
            ("proxy", &self.proxy),
            ("username", &self.username),
            ("password", &self.password),
            ("module_hotfixes", &self.module_hotfixes),
            ("skip_if_unavailable", &self.skip_if_unavailable),
            ("metadata_expire", &self.metadata_expire),
            ("timeout", &self.timeout),
            ("retries", &self.retries),
            ("keepcache", &self.keepcache),
            ("countme", &self.countme),
            ("enablegroups", &self.enablegroups),
            ("type", &self.r#type),
        ];
        for (key, value) in said {
            if let Some(value) = value.as_ref().and_then(setting) {
                settings.push((key.to_owned(), value));
            }
        }
        settings
    }

    /// pacman's settings.
    fn pacman_settings(&self) -> Vec<(String, String)> {
        let level = self.siglevel.clone().or_else(|| {
            let check = self.gpgcheck.as_ref()?;
            Some(if is_true(check) { "Required" } else { "Never" }.to_owned())
        });
        let settings = [
            ("SigLevel", level),
            ("Server", self.baseurl.as_ref().and_then(setting)),
            ("Include", self.mirrorlist.as_ref().and_then(setting)),
        ];
        settings
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// A section of dnf's or pacman's.
    pub(super) fn sections(&self, manager: PackageManager, seen: &Observed, context: &Context) -> Result<Decision> {
        let (path, wanted, between) = match manager {
            PackageManager::Pacman => ("/etc/pacman.conf".to_owned(), self.pacman_settings(), " = "),
            _ => (format!("/etc/yum.repos.d/{}.repo", self.name), self.settings(), "="),
        };
        let now = Files::read(manager, seen)?;
        // dnf: the file that has the section already.
        let path = now
            .0
            .iter()
            .find(|(_, lines)| ini::settings(lines, &self.name).is_some())
            .map_or(path, |(path, _)| path.clone());
        let lines = now.lines(&path);
        let old = ini::settings(lines, &self.name);
        if manager == PackageManager::Pacman && !self.is_enabled() {
            return Ok(Decision::Fails(
                "pacman knows no disabled repositories: pkgrepo.absent removes one".to_owned(),
            ));
        }
        let has = |key: &str, value: &str| {
            let same = |old: &str| match (key, old.to_ascii_lowercase().as_str()) {
                ("enabled" | "gpgcheck" | "repo_gpgcheck" | "sslverify", "true" | "yes") => value == "1",
                ("enabled" | "gpgcheck" | "repo_gpgcheck" | "sslverify", "false" | "no") => value == "0",
                _ => old == value,
            };
            old.as_ref()
                .is_some_and(|old| old.iter().any(|(known, now)| known == key && same(now)))
        };
        let missing: Vec<&(String, String)> = wanted.iter().filter(|(key, value)| !has(key, value)).collect();
        if old.is_some() && missing.is_empty() {
            return Ok(self.holds());
        }
        let mut change = self.change();
        match &old {
            None => change = change.change("repo", self.shown()),
            Some(old) => {
                for (key, value) in missing {
                    let before = old.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
                    let hide = |value: String| if key == "password" { "***".to_owned() } else { value };
                    change = change.from_to(key.as_str(), before.map(hide), hide(value.clone()));
                }
            }
        }
        let comments = self.comments.as_ref().map_or(&[][..], |comments| comments.as_slice());
        let mut new = now.clone();
        new.set(&path, ini::set(lines, &self.name, comments, &wanted, between));
        change = now.write(change, &new, manager, None);
        change.secret = self.password.is_some();
        if self.refreshes() == Some(true) {
            change = change.step(Step::shell("refreshing the indexes", renewal(manager, context.run)));
        }
        Ok(change.into())
    }

    /// A line of apk's.
    pub(super) fn apk(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let manager = PackageManager::Apk;
        let path = "/etc/apk/repositories";
        let now = Files::read(manager, seen)?;
        let wanted = self.name.trim();
        let disabled = format!("#{wanted}");
        let written = if self.is_enabled() { wanted } else { &disabled };
        let mut lines = now.lines(path).to_vec();
        if lines.iter().any(|line| line.trim() == written) {
            return Ok(self.holds());
        }
        let same = |line: &&mut String| line.trim().trim_start_matches(['#', ' ']) == wanted;
        match lines.iter_mut().find(same) {
            Some(line) => written.clone_into(line),
            None => lines.push(written.to_owned()),
        }
        let mut change = self.change().change("repo", self.shown());
        if let Some(url) = &self.key_url {
            let name = url.rsplit('/').next().unwrap_or(url);
            let place = format!("/etc/apk/keys/{name}");
            let script = format!("tmp={}\n{}", quote(&place), fetch::download(url));
            change = change.step(Step::shell("fetching the key", script));
        }
        let mut new = now.clone();
        new.set(path, lines);
        change = now.write(change, &new, manager, None);
        if self.refreshes() != Some(false) && self.is_enabled() {
            change = change.step(Step::shell("refreshing the indexes", renewal(manager, context.run)));
        }
        Ok(change.into())
    }
}
