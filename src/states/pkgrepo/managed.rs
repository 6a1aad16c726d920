//! `pkgrepo.managed`.

use super::apt::{self, Source};
use super::files::{self, Files};
use super::key::{self, Origin};
use super::{conclude, is_true, ppa, words};
use crate::error::{Error, Result};
use crate::probe::{Entry, Fact, Observed, PathSeen, Probe, Resource};
use crate::shell::{Answer, Content, quote};
use crate::states::pkg::sources_check;
use crate::states::{
    Change, Conclusion, Context, Decision, Need, PackageManager, Platform, PutFile, SourceFile, SourceSpec, StateFunction, Step,
};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// Ensures that a repository of packages is configured.
///
/// On apt the new source is tried before it takes its place: its indexes are fetched, alone, and must be signed by a key that is
/// trusted for it. The key is put into the file that `signed-by` names (by default one below `/etc/apt/trusted.gpg.d`), in the form that
/// the file's ending calls for; the minion needs neither gpg nor apt-key for that.
///
/// On dnf the settings go into `/etc/yum.repos.d/NAME.repo`, on pacman into a section of `/etc/pacman.conf`, on apk the name is a line
/// of `/etc/apk/repositories`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Managed {
    /// apt: the whole line, `deb [signed-by=...] URL SUITE COMPONENTS`. dnf and pacman: the repository's short name. apk: its URL, with
    /// `@tag` before it if wanted.
    pub(super) name: String,
    /// A name for people (dnf).
    pub(super) humanname: Option<String>,
    /// apt: the file, `/etc/apt/sources.list.d/docker.list`; a name that ends in `.sources` is written in stanzas. By default the file
    /// that has the source already, else `/etc/apt/sources.list`.
    pub(super) file: Option<String>,
    /// apt: the suite, in place of the one in `name`.
    pub(super) dist: Option<String>,
    /// apt: the components, in place of those in `name`; a list, or text with commas.
    #[schemars(with = "Option<Json>")]
    pub(super) comps: Option<Value>,
    /// apt: only for these architectures.
    #[schemars(with = "Option<Json>")]
    pub(super) architectures: Option<Value>,
    /// apt: the file with the key that signs this repository, as `signed-by` in `name`.
    #[serde(alias = "signed_by")]
    pub(super) signedby: Option<String>,
    /// apt: where the key is fetched from: `https://`, `salt://`, or a path on the minion.
    pub(super) key_url: Option<String>,
    /// apt: the key itself.
    pub(super) key_text: Option<String>,
    /// apt: the id of the key, or several.
    #[schemars(with = "Option<Json>")]
    pub(super) keyid: Option<Value>,
    /// apt: the server that has the key of this id; by default keyserver.ubuntu.com.
    pub(super) keyserver: Option<String>,
    /// Accepted, without effect: picloud never uses apt-key.
    pub(super) aptkey: Option<bool>,
    /// apt: the file has this source and nothing else.
    pub(super) clean_file: bool,
    /// Accepted, without effect: other lines are left as they are.
    pub(super) consolidate: Option<bool>,
    /// Ubuntu: a PPA of Launchpad's, `owner/name`.
    pub(super) ppa: Option<String>,
    /// Ubuntu: `user:password` for a private PPA.
    pub(super) ppa_auth: Option<String>,
    /// `False`: do not fetch the indexes of the new source. On the other package managers `True` has all indexes fetched.
    pub(super) refresh: Option<bool>,
    /// The same as `refresh`.
    pub(super) refresh_db: Option<bool>,
    /// Whether the repository is used.
    #[schemars(with = "Option<bool>")]
    pub(super) enabled: Option<Value>,
    /// Whether the repository is not used.
    #[schemars(with = "Option<bool>")]
    pub(super) disabled: Option<Value>,
    /// Comments that stand with it.
    pub(super) comments: Option<OneOrMany<String>>,
    /// dnf: the repository's URL; pacman: `Server`.
    #[schemars(with = "Option<Json>")]
    pub(super) baseurl: Option<Value>,
    /// dnf: a URL with a list of mirrors; pacman: `Include`.
    #[schemars(with = "Option<Json>")]
    pub(super) mirrorlist: Option<Value>,
    /// dnf: a URL with a list of mirrors and digests.
    #[schemars(with = "Option<Json>")]
    pub(super) metalink: Option<Value>,
    /// dnf: the URLs of the keys.
    #[schemars(with = "Option<Json>")]
    pub(super) gpgkey: Option<Value>,
    /// dnf: whether packages must be signed; pacman: `SigLevel` Required or Never.
    #[schemars(with = "Option<Json>")]
    pub(super) gpgcheck: Option<Value>,
    /// pacman: `SigLevel`, in pacman's words.
    pub(super) siglevel: Option<String>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) repo_gpgcheck: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) priority: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) cost: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) exclude: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) excludepkgs: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) includepkgs: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) failovermethod: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) sslverify: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) sslcacert: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) sslclientcert: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) sslclientkey: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) proxy: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) username: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) password: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) module_hotfixes: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) skip_if_unavailable: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) metadata_expire: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) timeout: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) retries: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) keepcache: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) countme: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) enablegroups: Option<Value>,
    /// dnf: a setting of this name.
    #[schemars(with = "Option<Json>")]
    pub(super) r#type: Option<Value>,
    /// Accepted for zypper's sake, without effect.
    pub(super) gpgautoimport: Option<bool>,
}

impl Managed {
    pub(super) fn is_enabled(&self) -> bool {
        match (&self.enabled, &self.disabled) {
            (Some(enabled), _) => is_true(enabled),
            (None, Some(disabled)) => !is_true(disabled),
            (None, None) => true,
        }
    }

    pub(super) fn refreshes(&self) -> Option<bool> {
        self.refresh.or(self.refresh_db)
    }

    fn ppa(&self) -> Option<(String, String)> {
        let name = Some(self.name.as_str()).filter(|name| name.starts_with("ppa:"));
        self.ppa.as_deref().or(name).and_then(ppa)
    }

    /// The source that apt is to have, and the key's file.
    fn source(&self, platform: &Platform) -> Result<Source> {
        let mut source = match self.ppa() {
            Some((owner, name)) => {
                if platform.os != "Ubuntu" {
                    return Err(Error::state(format!(
                        "PPAs are made for Ubuntu, and this minion runs {}",
                        platform.os
                    )));
                }
                let (host, login) = match &self.ppa_auth {
                    Some(auth) => ("private-ppa.launchpadcontent.net", format!("{auth}@")),
                    None => ("ppa.launchpadcontent.net", String::new()),
                };
                Source {
                    kind: "deb".to_owned(),
                    uri: format!("https://{login}{host}/{owner}/{name}/ubuntu"),
                    suite: platform.codename.clone(),
                    components: vec!["main".to_owned()],
                    ..Source::default()
                }
            }
            None => Source::parse(&self.name).ok_or_else(|| {
                Error::usage(format!("`{}` is not a source of apt's", self.name))
                    .hint("write the whole line: `deb https://download.docker.com/linux/debian bookworm stable`")
            })?,
        };
        source.disabled = !self.is_enabled();
        if let Some(dist) = &self.dist {
            source.suite.clone_from(dist);
        }
        if let Some(components) = &self.comps {
            source.components = words(components);
        }
        if let Some(architectures) = self.architectures.as_ref().map(words).filter(|words| !words.is_empty()) {
            source.set_option("arch", &architectures.join(","));
        }
        if let Some(file) = &self.signedby {
            source.set_option("signed-by", file);
        } else if let (Some((owner, name)), None) = (self.ppa(), source.option("signed-by")) {
            source.set_option("signed-by", &format!("/etc/apt/keyrings/ppa-{owner}-{name}.gpg"));
        }
        if let Some(comments) = &self.comments {
            source.comment = comments.join(" ");
        }
        Ok(source)
    }

    fn key_spec(&self) -> Option<SourceSpec> {
        let url = self
            .key_url
            .as_deref()
            .filter(|url| url.starts_with("salt://") || url.starts_with("file://"))?;
        Some(SourceSpec {
            sources: vec![url.to_owned()],
            skip_verify: true,
            ..SourceSpec::default()
        })
    }

    /// Where the key comes from; `None` where nobody speaks of one. A PPA has one of its own.
    fn key_origin(&self, context: &Context) -> Result<Option<Origin>> {
        if let Some(spec) = self.key_spec() {
            return match context.resolved.file(&spec)? {
                SourceFile::Here {
                    content: Content::Bytes(bytes),
                    ..
                } => Ok(Some(Origin::Bytes(bytes.to_vec()))),
                _ => Err(Error::state(format!("{} is too large for a key", spec.sources[0]))),
            };
        }
        if let Some(text) = &self.key_text {
            return Ok(Some(Origin::Bytes(text.clone().into_bytes())));
        }
        if let Some(url) = &self.key_url {
            return Ok(Some(if url.starts_with('/') {
                Origin::Path(url.clone())
            } else {
                Origin::Url(url.clone())
            }));
        }
        if let Some(ids) = self.key_ids() {
            let server = self.keyserver.clone().unwrap_or_else(|| "keyserver.ubuntu.com".to_owned());
            return Ok(Some(Origin::Server { server, ids }));
        }
        Ok(self.ppa().map(|(owner, name)| Origin::Ppa { owner, name }))
    }

    fn key_ids(&self) -> Option<Vec<String>> {
        self.keyid.as_ref().map(words).filter(|ids| !ids.is_empty())
    }

    /// The file for the key; `None` where nobody speaks of one.
    fn key_file(&self, source: &Source) -> Option<String> {
        let what = self
            .key_url
            .clone()
            .or_else(|| self.key_text.clone())
            .or_else(|| self.key_ids().map(|ids| ids.join(",")));
        let what = what.or_else(|| self.ppa().map(|(owner, name)| format!("{owner}/{name}")))?;
        // `signed-by` may name the ids of keys instead of files.
        let file = source
            .option("signed-by")
            .and_then(|files| files.split(',').next())
            .filter(|file| file.starts_with('/'));
        Some(file.map_or_else(|| key::trusted(&source.uri, &what), str::to_owned))
    }

    /// Whether the key is here, to be compared; else it is enough that there is one.
    fn has_key_bytes(&self) -> bool {
        self.key_spec().is_some() || self.key_text.is_some()
    }

    pub(super) fn change(&self) -> Change {
        let name = self.shown();
        Change::new(
            format!(
                "Package repo '{name}' would be configured. This may cause pkg states to behave differently than stated if this action is repeated without test=True, due to the differences in the configured repositories."
            ),
            format!("Configured package repo '{name}'"),
        )
    }

    pub(super) fn shown(&self) -> &str {
        self.ppa.as_deref().unwrap_or(&self.name)
    }

    pub(super) fn holds(&self) -> Decision {
        Decision::Holds(format!("Package repo '{}' already configured", self.shown()))
    }

    fn apt(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let source = self.source(&Platform::of(context.grains))?;
        let mut change = self.change();
        if let (Some(place), Some(origin)) = (self.key_file(&source), self.key_origin(context)?) {
            change = self.with_key(change, &place, &origin, seen)?;
        }
        let now = Files::read(PackageManager::Apt, seen)?;
        let said = self.file.as_deref();
        // The file that was asked for, then any other that speaks of the same place.
        let speaks = |path: &str| apt::speaks_of(path, now.lines(path), &source);
        let found = said.filter(|path| speaks(path)).map(str::to_owned);
        let found = found.or_else(|| now.0.iter().map(|(path, _)| path).find(|path| speaks(path)).cloned());
        let usual = || match self.ppa() {
            Some((owner, name)) => format!("/etc/apt/sources.list.d/{owner}-ubuntu-{name}-{}.list", source.suite),
            None => "/etc/apt/sources.list".to_owned(),
        };
        let path = found.or_else(|| said.map(str::to_owned)).unwrap_or_else(usual);
        let put = apt::put(&path, now.lines(&path), &source);
        if let Some(mut lines) = put {
            let mut path = path;
            if self.clean_file {
                path = said.map_or(path, str::to_owned);
                lines = if path.ends_with(".sources") {
                    source.stanza()
                } else {
                    vec![source.line()]
                };
            }
            let mut new = now.clone();
            new.set(&path, lines);
            change = change.change("repo", self.shown());
            let checks = self.refreshes() != Some(false) && self.is_enabled();
            let check = checks.then(|| format!("sh -c {} sh", quote(&sources_check())));
            change = now.write(change, &new, PackageManager::Apt, check.as_deref());
        }
        if change.steps.is_empty() {
            return Ok(self.holds());
        }
        change.secret = self.ppa_auth.is_some();
        Ok(change.into())
    }

    /// `change` with the step that puts the key to `place`, if it is not there.
    fn with_key(&self, change: Change, place: &str, origin: &Origin, seen: &Observed) -> Result<Change> {
        let entry = seen.entry(place)?;
        let there = |sha256: Option<String>| {
            let entry = Entry {
                mode: 0o644,
                size: 1,
                sha256,
                ..Entry::default()
            };
            let seen = PathSeen {
                entry: Some(entry),
                ..PathSeen::default()
            };
            Fact::Path(place.to_owned(), seen)
        };
        if let Origin::Bytes(bytes) = origin {
            let bytes = key::for_file(bytes, place)?;
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            if entry.and_then(|entry| entry.sha256.as_ref()) == Some(&digest) {
                return Ok(change);
            }
            let folder = place.rsplit_once('/').map_or("/", |(folder, _)| folder);
            return Ok(change
                .change("key", place)
                .step(Step::shell(
                    "making the folder of keys",
                    format!("mkdir -p {}", quote(folder)),
                ))
                .step(PutFile {
                    path: place.to_owned(),
                    content: Content::Bytes(bytes.into()),
                    mode: Some("0644".to_owned()),
                    keep: true,
                    ..PutFile::default()
                }));
        }
        if entry.is_some_and(|entry| entry.size > 0) {
            return Ok(change);
        }
        match key::script(origin, place) {
            Some(script) => {
                let step = Step::shell("fetching the key", script);
                Ok(change.change("key", place).predict(there(None)).step(step))
            }
            None => Ok(change),
        }
    }
}

impl StateFunction for Managed {
    fn check(&self) -> Result<()> {
        if self.enabled.is_some() && self.disabled.is_some() {
            return Err(Error::usage("only one of `enabled` and `disabled` can be given"));
        }
        if self.key_url.is_some() && (self.keyid.is_some() || self.keyserver.is_some()) {
            return Err(Error::usage(
                "`key_url` and `keyid` with `keyserver` cannot be given together",
            ));
        }
        if let Some(ids) = self.key_ids() {
            key::check_server(self.keyserver.as_deref().unwrap_or("keyserver.ubuntu.com"), &ids)?;
        }
        if let Some(text) = self.ppa.as_deref().filter(|text| ppa(text).is_none()) {
            return Err(Error::usage(format!("`{text}` is not a PPA: write `owner/name`")));
        }
        if let Some(file) = self.file.as_deref().filter(|file| !file.starts_with('/')) {
            return Err(Error::usage(format!("`file` must be an absolute path, not `{file}`")));
        }
        Ok(())
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        self.key_spec().map(Need::File).into_iter().collect()
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let platform = Platform::of(context.grains);
        let manager = platform.packages()?;
        let mut probes = vec![Probe::Shell(files::probe(manager))];
        if manager == PackageManager::Apt {
            let source = self.source(&platform)?;
            probes.extend(self.key_file(&source).map(|file| {
                if self.has_key_bytes() {
                    Probe::sha256(file)
                } else {
                    Probe::meta(file)
                }
            }));
        } else if self.name.contains(['/', ']', '\n']) && manager != PackageManager::Apk {
            return Err(Error::usage(format!("`{}` cannot be the name of a repository", self.name)));
        }
        Ok(probes)
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        let mut writes: Vec<Resource> = self
            .probes(context)
            .unwrap_or_default()
            .iter()
            .flat_map(Probe::reads)
            .collect();
        // What is on offer, and what is known of it.
        writes.push(Resource::Packages);
        writes
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        match Platform::of(context.grains).packages()? {
            PackageManager::Apt => self.apt(seen, context),
            manager @ (PackageManager::Dnf | PackageManager::Pacman) => self.sections(manager, seen, context),
            PackageManager::Apk => self.apk(seen, context),
        }
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        conclude(self, change, acted, after, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::{Case, file, refusal, state};

    const DEBIAN: &str = "{os: Debian, os_family: Debian, oscodename: bookworm}";
    const LINE: &str = "deb [signed-by=/etc/apt/keyrings/d.gpg] https://d/debian bookworm stable";

    fn case(grains: &str, arguments: &str, files: &str) -> Case {
        state("pkgrepo.managed", &arguments.replace("LINE", LINE))
            .grains(grains)
            .answers("grep -s -H", 0, files)
    }

    fn new_text(case: &Case) -> (String, String) {
        case.shows();
        let change = case.change();
        (change.diffs[0].name.clone(), change.diffs[0].new.clone())
    }

    #[test]
    fn what_is_configured_holds() {
        let there = format!("/etc/apt/sources.list.d/other.list:{LINE}\n");
        for arguments in [
            "{name: 'LINE', file: /etc/apt/sources.list.d/d.list}",
            "{name: 'LINE', clean_file: True, refresh: True, humanname: D, aptkey: False, consolidate: True}",
            "{name: deb https://d/debian stretch main, dist: bookworm, comps: stable, signedby: /etc/apt/keyrings/d.gpg}",
            "{name: 'LINE', key_url: 'https://d/gpg'}",
        ] {
            let case = case(DEBIAN, arguments, &there).sees([file("/etc/apt/keyrings/d.gpg", "key")]);
            assert!(
                case.shows().starts_with("holds: Package repo '"),
                "{arguments}: {}",
                case.shows()
            );
        }
    }

    #[test]
    fn a_new_source_is_tried_before_it_counts() {
        let new = case(DEBIAN, "{name: 'LINE', file: /etc/apt/sources.list.d/d.list}", "");
        let change = new.change();
        let Step::Put(put) = &change.steps[0] else {
            panic!("{:?}", change.steps)
        };
        assert!(put.check.as_ref().unwrap().contains("Dir::Etc::sourcelist=\"$1\""));
        assert_eq!(
            (put.path.as_str(), put.tmp_ext.as_deref()),
            ("/etc/apt/sources.list.d/d.list", Some(".list"))
        );
        assert_eq!(new_text(&new).1, format!("{LINE}\n"));
        for arguments in ["{name: 'LINE', refresh: False}", "{name: 'LINE', disabled: True}"] {
            let change = case(DEBIAN, arguments, "").change();
            let Step::Put(put) = &change.steps[0] else {
                panic!("{:?}", change.steps)
            };
            assert_eq!((put.path.as_str(), &put.check), ("/etc/apt/sources.list", &None));
        }
    }

    #[test]
    fn sources_go_where_they_belong() {
        let other =
            "/etc/apt/sources.list.d/a.list:deb https://d/debian bookworm edge\n/etc/apt/sources.list.d/b.list:deb http://b c\n";
        assert_eq!(
            new_text(&case(DEBIAN, "{name: 'LINE', file: /etc/apt/sources.list.d/b.list}", other)),
            ("/etc/apt/sources.list.d/a.list".to_owned(), format!("{LINE}\n"))
        );
        assert_eq!(
            new_text(&case(
                DEBIAN,
                "{name: deb http://x y, file: /etc/apt/sources.list.d/b.list, comments: [mine]}",
                other
            )),
            (
                "/etc/apt/sources.list.d/b.list".to_owned(),
                "deb http://b c\ndeb http://x y # mine\n".to_owned()
            )
        );
        assert_eq!(
            new_text(&case(
                DEBIAN,
                "{name: deb http://x y, file: /etc/apt/sources.list.d/b.list, clean_file: True}",
                other
            )),
            ("/etc/apt/sources.list.d/b.list".to_owned(), "deb http://x y\n".to_owned())
        );
        assert_eq!(
            new_text(&case(
                DEBIAN,
                "{name: deb http://x y main, file: /etc/apt/sources.list.d/x.sources, architectures: 'arm64,armhf'}",
                ""
            )),
            (
                "/etc/apt/sources.list.d/x.sources".to_owned(),
                "Types: deb\nURIs: http://x\nSuites: y\nComponents: main\nArchitectures: arm64 armhf\n".to_owned()
            )
        );
        let ubuntu = "{os: Ubuntu, os_family: Debian, oscodename: noble}";
        assert_eq!(
            new_text(&case(ubuntu, "{name: x, ppa: o/n}", "")),
            (
                "/etc/apt/sources.list.d/o-ubuntu-n-noble.list".to_owned(),
                "deb [signed-by=/etc/apt/keyrings/ppa-o-n.gpg] https://ppa.launchpadcontent.net/o/n/ubuntu noble main\n"
                    .to_owned()
            )
        );
    }

    #[test]
    fn keys_come_from_many_places() {
        let labels = |arguments: &str| {
            let mut case = case(DEBIAN, arguments, "");
            if arguments.contains("salt:") {
                case = case.source("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENAQ==\n-----END PGP PUBLIC KEY BLOCK-----\n");
            }
            let change = case.change();
            let key = change.changes["key"].as_str().unwrap_or_default().to_owned();
            let labels: Vec<String> = change.steps.iter().map(|step| step.label().to_owned()).collect();
            (key, labels[0].clone())
        };
        let fetching = || "fetching the key".to_owned();
        assert_eq!(
            labels("{name: 'LINE', key_url: 'https://d/gpg'}"),
            ("/etc/apt/keyrings/d.gpg".to_owned(), fetching())
        );
        assert_eq!(
            labels("{name: 'LINE', key_url: 'salt://d.asc'}"),
            ("/etc/apt/keyrings/d.gpg".to_owned(), "making the folder of keys".to_owned())
        );
        let (place, label) = labels("{name: deb https://d:8/x y, keyid: ABCDEF01, keyserver: keyserver.ubuntu.com}");
        assert!(
            place.starts_with("/etc/apt/trusted.gpg.d/d-") && label == fetching(),
            "{place}"
        );
    }

    #[test]
    fn sections_and_lines_of_the_others() {
        let repo = "{name: docker, humanname: Docker, baseurl: 'https://d/$basearch', gpgcheck: True, gpgkey: 'https://d/gpg', priority: 5}";
        let text =
            "[docker]\nname=Docker\nenabled=1\nbaseurl=https://d/$basearch\ngpgcheck=1\ngpgkey=https://d/gpg\npriority=5\n";
        let new = case("{os_family: RedHat}", repo, "");
        assert_eq!(new_text(&new), ("/etc/yum.repos.d/docker.repo".to_owned(), text.to_owned()));
        let files = |text: &str| {
            text.lines()
                .map(|line| format!("/etc/yum.repos.d/docker.repo:{line}\n"))
                .collect::<String>()
        };
        assert_eq!(
            case("{os_family: RedHat}", repo, &files(text)).shows(),
            "holds: Package repo 'docker' already configured"
        );
        let change = case(
            "{os_family: RedHat}",
            repo,
            &files(&text.replace("gpgcheck=1", "gpgcheck=0").replace("enabled=1", "enabled=True")),
        )
        .change();
        assert_eq!(
            Json::from(change.changes).to_string(),
            r#"{"gpgcheck":{"old":"0","new":"1"}}"#
        );

        let arch = case(
            "{os_family: Arch}",
            "{name: mine, baseurl: 'https://m/$arch', gpgcheck: False}",
            "/etc/pacman.conf:[options]\n",
        );
        assert_eq!(
            new_text(&arch),
            (
                "/etc/pacman.conf".to_owned(),
                "[options]\n\n[mine]\nSigLevel = Never\nServer = https://m/$arch\n".to_owned()
            )
        );

        let apk = "/etc/apk/repositories:https://a/main\n/etc/apk/repositories:#https://a/community\n";
        let enabled = case("{os_family: Alpine}", "{name: 'https://a/community'}", apk);
        assert_eq!(new_text(&enabled).1, "https://a/main\nhttps://a/community\n");
        assert_eq!(enabled.change().steps.last().map(Step::label), Some("refreshing the indexes"));
    }

    #[test]
    fn contradictions_are_refused() {
        for (arguments, expected) in [
            (
                "{name: x, enabled: True, disabled: True}",
                "only one of `enabled` and `disabled` can be given",
            ),
            (
                "{name: x, key_url: u, keyid: ABCDEF01}",
                "`key_url` and `keyid` with `keyserver` cannot be given together",
            ),
            (
                "{name: x, keyid: xyz}",
                "`xyz` is not the id of a key: 8 to 40 hexadecimal digits",
            ),
            ("{name: x, ppa: 'a b'}", "`a b` is not a PPA: write `owner/name`"),
            ("{name: x, file: d.list}", "`file` must be an absolute path, not `d.list`"),
        ] {
            assert_eq!(refusal("pkgrepo.managed", arguments), expected);
        }
        let ppa = case(DEBIAN, "{name: x, ppa: o/n}", "");
        assert_eq!(
            ppa.state.probes(&ppa.context()).unwrap_err().to_string(),
            "PPAs are made for Ubuntu, and this minion runs Debian"
        );
    }
}
