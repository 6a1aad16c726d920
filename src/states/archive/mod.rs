//! `archive.*`.

mod script;

use super::fetch;
use super::file::owner::Owner;
use super::file::place::{absolute, followed, present};
use super::file::put::hex;
use super::{
    Change, Conclusion, Context, Decision, Function, Functions, Need, RunShell, SourceFile, SourceSpec, StateFunction, decision,
};
use crate::error::{Error, Result};
use crate::probe::{Entry, Fact, FileKind, Observed, Probe, Resource, ShellProbe, ShellSeen};
use crate::shell::Answer;
use crate::yaml::{Data, OneOrMany, Value};
use schemars::JsonSchema;
use script::{Extraction, Format, From, Options, Owned};
use serde::Deserialize;
use serde_json::json;

pub static FUNCTIONS: Functions = &[Function::of::<Extracted>("archive.extracted", false)];

/// Ensures that an archive has been extracted into a folder.
///
/// The minion remembers which archive it was and what was in it. As long as the archive is the same (by its digest, or by its URL
/// where no digest is known) and everything that was in it is there, nothing is fetched and nothing is done. Of an archive that
/// was extracted by other means, it is enough that everything in it is there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extracted {
    /// The folder's absolute path.
    name: String,
    /// The archive: `salt://path` in the state tree, an absolute path on the minion, `file://` on the master, or an `http`, `https` or
    /// `ftp` URL. Of a list, the first that exists.
    source: OneOrMany<String>,
    /// The digest of an archive that is fetched from the network: `sha256=...`, a bare digest, or the URL of a checksum file.
    source_hash: Option<String>,
    /// The name to look for in the checksum file, where it is not the source's.
    source_hash_name: Option<String>,
    /// With `False`, an archive whose digest has changed is not extracted again while everything in it is there.
    source_hash_update: Option<bool>,
    /// Take what a URL gives without a digest.
    #[serde(default)]
    skip_verify: bool,
    /// Accepted as Salt has it: what was in the archive is always looked for, which costs next to nothing here.
    #[serde(default)]
    #[expect(dead_code, reason = "it is cheap to look")]
    skip_files_list_verify: bool,
    /// `tar` (whatever it is compressed by), `zip` or `rar`; by default what the source's name ends with.
    archive_format: Option<String>,
    /// The same as `archive_format`, by a former name.
    format: Option<String>,
    /// More options for tar or unzip: `--strip-components=1`, or letters such as `J` for tar.
    options: Option<String>,
    /// The same as `options`, by a former name.
    tar_options: Option<String>,
    /// More options for listing what is in a tar archive.
    list_options: Option<String>,
    /// The owner of what is extracted, by name or number.
    user: Option<String>,
    /// Its group, by name or number.
    group: Option<String>,
    /// Ensure the owner of this path (inside of the folder) alone, instead of all that is extracted.
    enforce_ownership_on: Option<String>,
    /// Do nothing while this path exists.
    if_missing: Option<String>,
    /// With `False`, the archive need not have a single folder that everything is in.
    #[serde(default = "yes")]
    enforce_toplevel: bool,
    /// Extract it even if everything in it is there already; by archives that the minion remembers, once.
    #[serde(default)]
    overwrite: bool,
    /// Replace files that stand where folders are to be, and folders that stand where files are.
    #[serde(default)]
    force: bool,
    /// Before extracting, remove what the archive's own top-level folders and files are in the way of.
    #[serde(default)]
    clean: bool,
    /// Before extracting, remove the whole folder.
    #[serde(default)]
    clean_parent: bool,
    /// How many of the extracted files are named in the changes: `True` means 100.
    trim_output: Option<Value>,
    /// Accepted as Salt has it; nothing is cached on minions.
    #[expect(dead_code, reason = "nothing is cached on minions")]
    keep_source: Option<bool>,
    /// Accepted as Salt has it; nothing is cached on minions.
    #[expect(dead_code, reason = "nothing is cached on minions")]
    keep: Option<bool>,
    /// Accepted as Salt has it; nothing is cached on minions.
    #[expect(dead_code, reason = "nothing is cached on minions")]
    use_etag: Option<bool>,
    /// Accepted as Salt has it: unzip is always used for `zip`.
    #[expect(dead_code, reason = "there is nothing else")]
    use_cmd_unzip: Option<bool>,
    /// Accepted as Salt has it: modes are always taken from the archive.
    #[expect(dead_code, reason = "they always are")]
    extract_perms: Option<bool>,
}

fn yes() -> bool {
    true
}

/// What is known of an extraction.
#[derive(Default)]
struct Known {
    /// The archive that was extracted last, as the stamp names it.
    id: Option<String>,
    /// The archive that is there now, where it is the minion's own.
    now: Option<String>,
    missing: Option<String>,
    foreign: Option<String>,
}

impl Extracted {
    fn spec(&self) -> SourceSpec {
        SourceSpec {
            sources: self.source.to_vec(),
            source_hash: self.source_hash.clone().filter(|hash| !hash.is_empty()),
            source_hash_name: self.source_hash_name.clone(),
            skip_verify: self.skip_verify,
            ..SourceSpec::default()
        }
    }

    fn format(&self) -> Result<Format> {
        let said = self.archive_format.as_ref().or(self.format.as_ref());
        let source = self.source.first().map_or("", String::as_str);
        match said {
            Some(name) => Format::named(name)
                .or_else(|| Format::guess(&format!(".{name}")))
                .ok_or_else(|| {
                    Error::usage(format!("invalid archive_format {name:?}")).hint("it is `tar`, `zip` or `rar`, or left out")
                }),
            None => Format::guess(source).ok_or_else(|| {
                Error::usage(format!(
                    "the archive's format cannot be told from the name of its source, {source:?}"
                ))
                .hint("say `archive_format: tar`, `zip` or `rar`")
            }),
        }
    }

    fn options(&self) -> Result<Options> {
        let text = self.options.as_deref().or(self.tar_options.as_deref()).unwrap_or_default();
        Options::parse(text, self.format()?).ok_or_else(|| Error::usage(format!("a quote in the options {text:?} is not closed")))
    }

    /// The name of its stamp: what is extracted, and where to.
    fn key(&self, path: &str) -> String {
        let options = self.options.as_ref().or(self.tar_options.as_ref());
        hex(format!("{path}\0{:?}\0{options:?}", self.source.to_vec()).as_bytes())[..24].to_owned()
    }

    fn owned(&self) -> Owned<'_> {
        let said = |name: &'_ Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
        Owned {
            user: self.user.as_deref().filter(|_| said(&self.user)),
            group: self.group.as_deref().filter(|_| said(&self.group)),
            only: self.enforce_ownership_on.as_deref(),
        }
    }

    fn probe(&self, path: &str, context: &Context) -> Result<ShellProbe> {
        let local = match context.resolved.file(&self.spec())? {
            SourceFile::OnMinion { url, .. } if url.starts_with('/') => Some(url.as_str()),
            _ => None,
        };
        Ok(ShellProbe {
            script: script::probe(&self.key(path), path, local, self.owned()),
            reads: vec![Resource::Tree(path.to_owned())],
            ..ShellProbe::default()
        })
    }

    /// The archive as the stamp will name it, where that is known before it is fetched.
    fn id(file: &SourceFile) -> Option<String> {
        match file {
            SourceFile::Here { sha256, .. } => Some(format!("sha256:{sha256}")),
            SourceFile::OnMinion { url, .. } if url.starts_with('/') => None,
            SourceFile::OnMinion {
                sha256: Some(sha256), ..
            } => Some(format!("sha256:{}", sha256.to_ascii_lowercase())),
            SourceFile::OnMinion {
                hash: Some((kind, digest)),
                ..
            } => Some(format!("{kind}:{}", digest.to_ascii_lowercase())),
            SourceFile::OnMinion { url, .. } => Some(format!("url:{}", hex(url.as_bytes()))),
        }
    }

    fn step(&self, path: &str, file: &SourceFile, again: bool) -> Result<RunShell> {
        let options = self.options()?;
        let mut stdin = None;
        let from = match file {
            SourceFile::Here { content, .. } => {
                stdin = Some(content.clone());
                From::Input
            }
            SourceFile::OnMinion { url, .. } if url.starts_with('/') => From::Path(url),
            SourceFile::OnMinion { url, sha256, hash } => {
                let mut fetch = fetch::download(url);
                let sha256 = sha256.clone().map(|digest| ("sha256".to_owned(), digest));
                if let Some((kind, digest)) = sha256.as_ref().or(hash.as_ref()) {
                    fetch += &fetch::verify(kind, digest, url)?;
                }
                From::Fetch(fetch)
            }
        };
        let extraction = Extraction {
            key: &self.key(path),
            name: path,
            from,
            id: &Extracted::id(file).unwrap_or_default(),
            format: self.format()?,
            options: &options,
            list_options: self.list_options.as_deref().unwrap_or_default(),
            owned: self.owned(),
            enforce_toplevel: self.enforce_toplevel,
            always: self.overwrite || again,
            force: self.force,
            clean: self.clean,
            clean_parent: self.clean_parent,
        };
        Ok(RunShell {
            label: format!("extraction into {path}"),
            script: script::extract(&extraction),
            stdin,
        })
    }

    /// How many files the changes name.
    fn shown(&self) -> usize {
        match self.trim_output.as_ref().map(|trim| &trim.data) {
            Some(Data::Bool(true)) => 100,
            Some(Data::Int(n)) => usize::try_from(*n).unwrap_or(100),
            _ => 1000,
        }
    }

    fn source(&self) -> String {
        fetch::redacted(self.source.first().map_or("", String::as_str))
    }
}

fn known(answer: &ShellSeen) -> Known {
    let mut known = Known::default();
    for line in answer.text().lines() {
        let Some((what, value)) = line.split_once(' ') else { continue };
        let value = Some(value.to_owned());
        match what {
            "id" => known.id = value,
            "now" => known.now = value,
            "missing" => known.missing = value,
            "owner" => known.foreign = value,
            _ => {}
        }
    }
    known
}

impl StateFunction for Extracted {
    fn check(&self) -> Result<()> {
        if self.source.is_empty() {
            return Err(Error::usage("`source` is empty"));
        }
        if self.clean && self.clean_parent {
            return Err(Error::usage("only one of `clean` and `clean_parent` can be True"));
        }
        if let Some(only) = &self.enforce_ownership_on
            && !only.starts_with(&format!("{}/", self.name.trim_end_matches('/')))
        {
            return Err(Error::usage(format!("`enforce_ownership_on` must be within {}", self.name)));
        }
        self.options().map(drop)
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        vec![Need::File(self.spec())]
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let mut probes = vec![Probe::meta(path), Probe::Shell(self.probe(path, context)?)];
        probes.extend(self.if_missing.iter().map(Probe::meta));
        probes.extend(Owner::new(&self.user, &self.group).probes());
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        if let Some(if_missing) = &self.if_missing
            && seen.entry(if_missing)?.is_some()
        {
            return Ok(Decision::Holds(format!("Path {if_missing} exists")));
        }
        let there = seen.entry(path)?;
        if there.is_some_and(|entry| followed(entry).is_none_or(|entry| entry.kind != FileKind::Directory)) {
            return Ok(Decision::Fails(format!("{path} exists and is not a directory")));
        }
        let owner = Owner::new(&self.user, &self.group);
        if let Some(unknown) = owner.unknown(seen)? {
            return Ok(Decision::Fails(unknown));
        }
        let file = context.resolved.file(&self.spec())?;
        let probe = self.probe(path, context)?;
        let known = known(seen.shell(&probe)?);
        let is = Extracted::id(file).or(known.now);
        let Some(is) = is else {
            return Ok(Decision::Fails(format!("Source file '{}' does not exist", self.source())));
        };
        let other = known.id.as_ref().is_some_and(|was| *was != is) && self.source_hash_update != Some(false);
        let would = if known.id.is_none() {
            format!(
                "Archive {} would be extracted to {path}, unless everything in it is there already",
                self.source()
            )
        } else if other {
            format!("Archive {} has changed and would be extracted to {path}", self.source())
        } else if let Some(missing) = &known.missing {
            format!("Archive {} would be extracted to {path}: {missing} is missing", self.source())
        } else if let Some(foreign) = &known.foreign {
            format!("The owner of {foreign} and what else is another's would be changed in {path}")
        } else {
            return Ok(Decision::Holds("All files in archive are already present".to_owned()));
        };
        let mut change = Change::new(would, format!("{} extracted to {path}", self.source()));
        change.steps.push(self.step(path, file, other)?.into());
        if known.id.is_none() || other || known.missing.is_some() {
            change
                .changes
                .insert("extracted_files".to_owned(), json!(format!("those of {}", self.source())));
        } else {
            change.changes.insert("updated ownership".to_owned(), json!(path));
        }
        let seen_then = ShellSeen {
            stdout: format!("id {is}\n").into_bytes(),
            ..ShellSeen::default()
        };
        change.predicts.push(Fact::Shell(probe, seen_then));
        if there.is_none() {
            let folder = Entry {
                kind: FileKind::Directory,
                mode: 0o755,
                ..Entry::default()
            };
            change.predicts.push(present(path, owner.applied(folder, true, seen)?));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        self.writes_below()
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let mut conclusion = decision::conclude(self, change, acted, after, context)?;
        let Some(answer) = acted.first().filter(|answer| answer.ok()) else {
            return Ok(conclusion);
        };
        let text = answer.text();
        let (head, members) = text.split_once("\n\n").unwrap_or((&text, ""));
        let said = |word: &str| head.lines().any(|line| line == word);
        let owners = change.changes.contains_key("updated ownership");
        conclusion.changes = serde_json::Map::new();
        if said("extracted") {
            let files: Vec<&str> = members.lines().take(self.shown()).collect();
            conclusion.changes.insert("extracted_files".to_owned(), json!(files));
            if said("created") {
                conclusion
                    .changes
                    .insert("directories_created".to_owned(), json!([self.name]));
            }
        } else if owners {
            conclusion.changes.clone_from(&change.changes);
        }
        if conclusion.ok && !said("extracted") {
            conclusion.comment = if owners {
                format!("Owners in {} updated", self.name)
            } else {
                "All files in archive are already present".to_owned()
            };
        }
        Ok(conclusion)
    }
}

impl Extracted {
    fn writes_below(&self) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Tree(path.to_owned())])
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::states::SourceFile;
    use crate::states::here::{Here, everywhere};
    use crate::states::testing::*;
    use insta::assert_snapshot;
    use std::cell::RefCell;
    use std::path::Path;

    #[test]
    fn what_is_decided() {
        let arguments =
            "{name: /opt/x, source: 'salt://x.tar.gz', options: --strip-components=1, user: root, if_missing: /opt/x/ok}";
        let case = || state("archive.extracted", arguments).source("x");
        let id = "id sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n";
        let head = |shown: String| {
            shown
                .lines()
                .take_while(|line| !line.starts_with("sh "))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_snapshot!(head(case().answers("stamp", 0, "none\n").shows()), @r#"
        would: Archive salt://x.tar.gz would be extracted to /opt/x, unless everything in it is there already
        did: salt://x.tar.gz extracted to /opt/x
        changes: {"extracted_files":"those of salt://x.tar.gz"}
        "#);
        assert_snapshot!(case().answers("stamp", 0, id).shows(), @"holds: All files in archive are already present");
        assert_snapshot!(head(case().answers("stamp", 0, &format!("{id}missing a/b\n")).shows()), @r#"
        would: Archive salt://x.tar.gz would be extracted to /opt/x: a/b is missing
        did: salt://x.tar.gz extracted to /opt/x
        changes: {"extracted_files":"those of salt://x.tar.gz"}
        "#);
        assert_snapshot!(head(case().answers("stamp", 0, &format!("{id}owner /opt/x/a\n")).shows()), @r#"
        would: The owner of /opt/x/a and what else is another's would be changed in /opt/x
        did: salt://x.tar.gz extracted to /opt/x
        changes: {"updated ownership":"/opt/x"}
        "#);
        assert_snapshot!(head(case().answers("stamp", 0, "id sha256:0\n").shows()), @r#"
        would: Archive salt://x.tar.gz has changed and would be extracted to /opt/x
        did: salt://x.tar.gz extracted to /opt/x
        changes: {"extracted_files":"those of salt://x.tar.gz"}
        "#);
        assert_snapshot!(case().answers("stamp", 0, "none\n").sees([file("/opt/x/ok", "")]).shows(), @"holds: Path /opt/x/ok exists");
        assert_snapshot!(case().sees([file("/opt/x", "")]).shows(), @"fails: /opt/x exists and is not a directory");
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("archive.extracted", "{name: /x, source: 'salt://x.gz'}"), @r#"
        the archive's format cannot be told from the name of its source, "salt://x.gz"
        hint: say `archive_format: tar`, `zip` or `rar`
        "#);
        assert_snapshot!(refusal("archive.extracted", "{name: /x, source: 'salt://x', archive_format: 7z}"), @r#"
        invalid archive_format "7z"
        hint: it is `tar`, `zip` or `rar`, or left out
        "#);
        assert_snapshot!(refusal("archive.extracted", "{name: /x, source: 'salt://x.zip', recurse: true}"), @"test.sls:1:36: unknown argument `recurse`");
        assert_snapshot!(refusal("archive.extracted", "{name: /x, source: 'salt://x.tar', options: \"'\"}"), @r#"a quote in the options "'" is not closed"#);
    }

    fn pack(here: &Here, command: &str) {
        let made = here.run(format!(
            "cd {} && rm -rf pack && mkdir -p 'pack/top/sub dir' && cd pack && echo 1 >'top/sub dir/it'\\''s' && echo 2 >top/café && ln -s nowhere top/l && {command}",
            here.root
        ));
        assert!(made.ok(), "{made:?}");
    }

    /// Takes the stamp away that extracting leaves.
    struct Stamp(String);

    impl Drop for Stamp {
        fn drop(&mut self) {
            let folder = Path::new("/var/lib/picloud/archives");
            let _ = std::fs::remove_file(folder.join(&self.0));
            let _ = std::fs::remove_dir(folder);
            let _ = std::fs::remove_dir("/var/lib/picloud");
        }
    }

    fn stamp(arguments: &str) -> Stamp {
        let value = crate::yaml::parse(crate::error::FileId::of("x"), arguments).unwrap();
        let state: super::Extracted = crate::yaml::from_value(&value).unwrap();
        Stamp(state.key(&state.name))
    }

    /// The archive in the folder, as a file of the minion's own.
    fn local(here: &Here, stamps: &RefCell<Vec<Stamp>>, archive: &str, more: &str) -> Case {
        let url = format!("{}/{archive}", here.root);
        let arguments = format!("{{name: '{}/out', source: '{url}'{more}}}", here.root);
        stamps.borrow_mut().push(stamp(&arguments));
        let case = state("archive.extracted", &arguments);
        case.resolves(move |_| {
            Ok(SourceFile::OnMinion {
                url: url.clone(),
                sha256: None,
                hash: None,
            })
        })
    }

    #[test]
    fn archives_are_extracted_here() {
        everywhere(|here| {
            let at = |path: &str| Path::new(&here.root).join(path);
            let read = |path: &str| std::fs::read_to_string(at(path)).unwrap();
            let stamps = RefCell::new(Vec::new());
            let local = |archive: &str, more: &str| local(here, &stamps, archive, more);
            pack(here, "tar czf ../x.tar.gz top");
            let case = local("x.tar.gz", ", user: 65534, trim_output: 2");
            assert_eq!(
                here.converges(&case),
                format!("ok: {0}/x.tar.gz extracted to {0}/out", here.root)
            );
            assert_eq!(
                (read("out/top/sub dir/it's").as_str(), read("out/top/café").as_str()),
                ("1\n", "2\n")
            );
            assert_eq!(
                std::os::unix::fs::MetadataExt::uid(&std::fs::symlink_metadata(at("out/top/l")).unwrap()),
                65534
            );
            // Something is gone, something is another's.
            std::fs::remove_file(at("out/top/café")).unwrap();
            assert!(here.converges(&case).starts_with("ok: "));
            assert_eq!(read("out/top/café"), "2\n");
            std::os::unix::fs::chown(at("out/top/café"), Some(0), None).unwrap();
            assert_eq!(here.converges(&case), format!("ok: Owners in {}/out updated", here.root));
            // Another archive of the same name.
            pack(here, "echo new >top/café && tar cf ../x.tar.gz top");
            here.converges(&local("x.tar.gz", ", user: 65534, trim_output: 2, archive_format: tar"));
            assert_eq!(read("out/top/café"), "new\n");
            // What was extracted by other means is found to be there.
            std::fs::copy(at("x.tar.gz"), at("y.tar")).unwrap();
            assert_eq!(
                here.converges(&local("y.tar", "")),
                "ok: All files in archive are already present"
            );
            let refused = here.apply(&local("y.tar", ", options: --strip-components=1"));
            assert!(refused.contains("does not have a single top-level directory"), "{refused}");
            here.converges(&local("y.tar", ", options: '--strip-components=1', enforce_toplevel: false"));
            assert_eq!(read("out/sub dir/it's"), "1\n");
            let arguments = format!(
                "{{name: '{}/in', source: 'salt://x.tar', clean: true, force: true}}",
                here.root
            );
            stamps.borrow_mut().push(stamp(&arguments));
            let here_too = state("archive.extracted", &arguments);
            let bytes = std::fs::read(at("y.tar")).unwrap();
            let here_too = here_too.resolves(|_| {
                Ok(SourceFile::Here {
                    content: crate::shell::Content::Bytes(bytes.clone().into()),
                    sha256: crate::states::file::put::hex(&bytes),
                    size: bytes.len() as u64,
                    mode: None,
                })
            });
            here.converges(&here_too);
            assert_eq!(read("in/top/café"), "new\n");
            if here.run("command -v python3 && command -v unzip").ok() {
                pack(here, "rm top/l && python3 -m zipfile -c ../x.zip top");
                std::fs::remove_dir_all(at("out")).unwrap();
                here.converges(&local("x.zip", ""));
                assert_eq!(read("out/top/sub dir/it's"), "1\n");
            }
        });
    }
}
