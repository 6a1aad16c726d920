//! `file.managed`: a file with given contents, from the state tree, the minion itself, the network, the pillar or the state.

use super::edit::mapping;
use super::owner::Owner;
use super::place::{Parents, absolute};
use super::put::{Comments, Put, Wanted};
use super::source;
use super::text::{backup_suffix, bare_lines};
use crate::error::{Error, Result, nearest};
use crate::probe::{Entry, Observed, Probe, Resource, Want};
use crate::states::{Context, Decision, Function, Need, SourceFile, SourceSpec, StateFunction, arguments};
use crate::yaml::{Data, Map, Mode, ModeOrKeep, OneOrMany, Value, from_value};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::LazyLock;

pub(super) const FUNCTION: Function = Function {
    make,
    ..Function::of::<Managed>("file.managed", false)
};

/// Ensures that a file has the given contents, owner and mode.
///
/// The contents come from `source`, `contents`, `contents_pillar` or `contents_grains`; without any of them an existing file keeps
/// its contents and a missing one is made empty. The new file is written beside its place, checked by `check_cmd`, and renamed over
/// the old one, which is kept for `picloud undo`.
///
/// With `template`, an argument that is none of those below is a variable of the template, as in Salt.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    /// The file's absolute path.
    name: String,
    /// Where the contents come from: `salt://path` in the state tree, an absolute path on the minion, `file://` on the master, or an
    /// `http`, `https` or `ftp` URL. Of a list, the first that exists.
    source: Option<OneOrMany<String>>,
    /// The digest of a source that is fetched from the network: `sha256=...`, a bare digest, or the URL of a checksum file.
    source_hash: Option<String>,
    /// The name to look for in the checksum file, where it is not the source's.
    source_hash_name: Option<String>,
    /// Take what a URL gives without a digest. It is then fetched on every run.
    #[serde(default)]
    skip_verify: bool,
    /// Accepted as Salt has it; nothing is cached on minions.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "Salt's cache on the minion has no counterpart")]
    keep_source: bool,
    /// The owner, by name or number.
    user: Option<String>,
    /// The group, by name or number.
    group: Option<String>,
    /// The mode as octal digits (`644`, `'0644'`, `4755`), or `keep` for the mode that the source has on the master.
    mode: Option<ModeOrKeep>,
    /// Render the source (or the contents) as a template of this kind: `jinja`.
    template: Option<String>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Make the folders that lead to the file.
    #[serde(default)]
    makedirs: bool,
    /// The mode of folders made by `makedirs`; by default the file's, with `x` wherever it has anything.
    dir_mode: Option<Mode>,
    /// With `False`, a file that exists keeps its contents.
    #[serde(default = "yes")]
    replace: bool,
    /// With `False`, a file that does not exist is not made.
    #[serde(default = "yes")]
    create: bool,
    /// A suffix such as `.bak`: the old file is also copied to its own path with this at the end. (`minion` is accepted: a replaced
    /// file is always kept for `picloud undo`.)
    backup: Option<Value>,
    /// With `False`, neither the difference nor the contents are shown or logged.
    #[serde(default = "yes")]
    show_changes: bool,
    /// The contents: text, or a list of lines.
    contents: Option<Value>,
    /// The pillar key whose value is the contents (`a:b:c` descends); of several, their values one after the other. Such contents
    /// are secret: they are never shown.
    contents_pillar: Option<OneOrMany<String>>,
    /// The grain whose value is the contents.
    contents_grains: Option<OneOrMany<String>>,
    /// What separates the levels in `contents_pillar` and `contents_grains`.
    #[serde(default = "colon")]
    contents_delimiter: String,
    /// With `False`, contents given in the state do not end with a newline.
    #[serde(default = "yes")]
    contents_newline: bool,
    /// With `False`, contents that turn out empty are an error.
    #[serde(default = "yes")]
    allow_empty: bool,
    /// With `False`, a symlink at the path is replaced by the file; else the file that it leads to is written.
    #[serde(default = "yes")]
    follow_symlinks: bool,
    /// A command that is given the path of the new file as its last word, before that takes its place, and must succeed:
    /// `visudo -c -f`.
    check_cmd: Option<OneOrMany<String>>,
    /// The folder in which the candidate for `check_cmd` is written; the file's own by default.
    tmp_dir: Option<String>,
    /// What the candidate's name ends with, for checkers that look at it: `.conf`.
    tmp_ext: Option<String>,
    /// The contents' encoding; only `utf-8` (and its subset `ascii`) is known.
    encoding: Option<String>,
    /// Accepted as Salt has it; nothing is left to be decided in UTF-8.
    #[expect(dead_code, reason = "UTF-8 has every character")]
    encoding_errors: Option<String>,
    /// With `False`, an `https` source's certificate is not verified by `--through-master`; minions always verify.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "digests are what is trusted")]
    verify_ssl: bool,
    /// What else was given, where there is a template: its variables.
    #[serde(skip)]
    variables: Map,
}

fn yes() -> bool {
    true
}

fn colon() -> String {
    ":".to_owned()
}

/// Sets the template's own variables apart from the arguments.
fn make(arguments: &Map) -> Result<Box<dyn StateFunction>> {
    let known = &*KNOWN;
    let is_known = |key: &str| known.iter().any(|name| name == key);
    let template = arguments.get("template").is_some_and(|template| !template.is_null());
    let (mut own, mut variables) = (Map::new(), Map::new());
    for (key, value) in arguments {
        let variable = key
            .as_str()
            .is_some_and(|key| template && !is_known(key) && nearest(key, known.iter().map(String::as_str)).is_none());
        if variable { &mut variables } else { &mut own }.insert(key.clone(), value.clone());
    }
    let mut state: Managed = from_value(&Value::from(own))?;
    state.variables = variables;
    state.check()?;
    Ok(Box::new(state))
}

/// The names of the arguments.
static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| arguments(&schemars::schema_for!(Managed)));

/// What the file is to contain, as far as it is known before anything was seen.
enum Source<'a> {
    None,
    Text(String),
    File(&'a SourceFile),
    /// Why there is none.
    Fails(String),
}

impl Managed {
    fn spec(&self, context: &Context) -> Option<SourceSpec> {
        let mut spec = SourceSpec {
            template: self.template.clone(),
            source_hash: self.source_hash.clone().filter(|hash| !hash.is_empty()),
            source_hash_name: self.source_hash_name.clone(),
            skip_verify: self.skip_verify,
            ..SourceSpec::default()
        };
        match &self.source {
            Some(sources) => spec.sources = sources.iter().cloned().collect(),
            None => {
                self.template.as_ref()?;
                spec.text = Some(self.given(context)?.ok()?);
            }
        }
        if self.template.is_some() {
            spec.context = self.variables();
        }
        Some(spec)
    }

    /// A template sees the state's own arguments too, then `defaults`, and `context` over all.
    fn variables(&self) -> Map {
        let mut variables = Map::new();
        let text = |text: &Option<String>| text.clone().map_or_else(Value::default, Value::from);
        variables.insert("name".into(), self.name.clone().into());
        variables.insert("user".into(), text(&self.user));
        variables.insert("group".into(), text(&self.group));
        variables.insert(
            "mode".into(),
            self.mode().map_or_else(Value::default, |mode| format!("{mode:04o}").into()),
        );
        let given = [&self.defaults, &self.context]
            .into_iter()
            .flatten()
            .filter_map(Value::as_map);
        for given in std::iter::once(&self.variables).chain(given) {
            variables.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        variables
    }

    fn mode(&self) -> Option<u32> {
        match &self.mode {
            Some(ModeOrKeep::Mode(mode)) => Some(mode.0),
            _ => None,
        }
    }

    /// The text given in the state, in the pillar or in the grains; `None` where nothing is.
    fn given(&self, context: &Context) -> Option<Result<String, String>> {
        let looked_up = |keys: &OneOrMany<String>, data: &Value, what: &str| -> Result<Vec<Value>, String> {
            keys.iter()
                .map(|key| {
                    let found = data.traverse(key, &self.contents_delimiter);
                    found.cloned().ok_or_else(|| format!("{what} {key} does not exist"))
                })
                .collect()
        };
        let (values, what) = match (&self.contents, &self.contents_pillar, &self.contents_grains) {
            (Some(contents), _, _) => (Ok(vec![contents.clone()]), "'contents'".to_owned()),
            (_, Some(keys), _) => {
                let what = format!("contents_pillar {}", keys.iter().cloned().collect::<Vec<_>>().join(", "));
                (looked_up(keys, context.pillar, "Pillar"), what)
            }
            (_, _, Some(keys)) => {
                let what = format!("contents_grains {}", keys.iter().cloned().collect::<Vec<_>>().join(", "));
                (looked_up(keys, context.grains, "Grain"), what)
            }
            _ => return None,
        };
        Some(values.and_then(|values| self.joined(&values, &what)))
    }

    fn joined(&self, values: &[Value], what: &str) -> Result<String, String> {
        let malformed = || format!("{what} is not a string or a list of strings. SLS is likely malformed.");
        let mut parts = Vec::new();
        for value in values {
            match &value.data {
                Data::List(items) => {
                    for item in items {
                        parts.push(item.scalar_text().ok_or_else(malformed)?);
                    }
                }
                _ => parts.push(value.scalar_text().ok_or_else(malformed)?),
            }
        }
        let mut text = String::new();
        for line in parts.iter().flat_map(|part| bare_lines(part)) {
            text.push_str(line);
            text.push('\n');
        }
        if !self.contents_newline {
            text.truncate(text.trim_end_matches('\n').len());
        }
        if text.is_empty() && !self.allow_empty {
            return Err(format!(
                "{what} value would result in empty contents. Set allow_empty to True to allow the managed file to be empty."
            ));
        }
        Ok(text)
    }

    fn source<'a>(&self, context: &'a Context) -> Result<Source<'a>> {
        if let Some(spec) = self.spec(context) {
            return context.resolved.file(&spec).map(Source::File);
        }
        Ok(match self.given(context) {
            None => Source::None,
            Some(Ok(text)) => Source::Text(text),
            Some(Err(why)) => Source::Fails(why),
        })
    }

    fn secret(&self) -> bool {
        !self.show_changes || self.contents_pillar.is_some()
    }

    /// Whether the contents may be touched at all; not where an existing file is to be left alone.
    fn wanted(&self, source: &Source, seen: Option<(&Observed, Option<&Entry>)>) -> Result<Wanted, String> {
        if seen.is_some_and(|(_, entry)| entry.is_some()) && !self.replace {
            return Ok(Wanted::Any);
        }
        Ok(match source {
            Source::None => Wanted::Any,
            Source::Fails(why) => return Err(why.clone()),
            Source::Text(text) => Wanted::Bytes(text.as_bytes().into()),
            Source::File(file) => source::wanted(file, &self.name, seen.map(|(seen, _)| seen)).map_err(|e| e.to_string())?,
        })
    }

    fn put<'a>(&'a self, path: &'a str, owner: &'a Owner, wanted: Wanted, mode: Option<u32>) -> Put<'a> {
        Put {
            path,
            wanted,
            owner,
            mode,
            parents: Parents {
                path,
                make: self.makedirs,
                owner,
                mode: self.dir_mode.as_ref().map(|mode| mode.0).or_else(|| mode.map(searchable)),
            },
            follow: self.follow_symlinks,
            check: self.check_cmd.as_ref().map(check),
            tmp_dir: self.tmp_dir.clone().filter(|dir| !dir.is_empty()),
            tmp_ext: self.tmp_ext.clone().filter(|ext| !ext.is_empty()),
            show: !self.secret(),
            compare: true,
            suffix: backup_suffix(self.backup.as_ref()),
            comments: Comments::managed(path),
        }
    }
}

/// Several checks as one, each given the candidate's path, which the engine puts behind the last.
pub(in crate::states) fn check(commands: &OneOrMany<String>) -> String {
    commands.iter().map(String::as_str).collect::<Vec<_>>().join(" \"$0\" && ")
}

/// `mode` with `x` wherever it has anything: a folder for files of that mode.
pub(in crate::states) fn searchable(mode: u32) -> u32 {
    [0o700, 0o070, 0o007].into_iter().fold(
        mode & 0o777,
        |mode, class| if mode & class == 0 { mode } else { mode | (0o111 & class) },
    )
}

impl StateFunction for Managed {
    fn check(&self) -> Result<()> {
        mapping("context", &self.context)?;
        mapping("defaults", &self.defaults)?;
        let given = [
            self.contents.is_some(),
            self.contents_pillar.is_some(),
            self.contents_grains.is_some(),
        ];
        let given = given.iter().filter(|given| **given).count();
        if given > 0 && self.source.is_some() {
            return Err(Error::usage(
                "`source` cannot be used in combination with `contents`, `contents_pillar` or `contents_grains`",
            ));
        }
        if given > 1 {
            return Err(Error::usage(
                "only one of `contents`, `contents_pillar` and `contents_grains` is permitted",
            ));
        }
        if given > 0 && matches!(self.mode, Some(ModeOrKeep::Keep)) {
            return Err(Error::usage(
                "`mode: keep` takes the mode of a `source`; contents given in the state have none",
            ));
        }
        if let Some(encoding) = &self.encoding
            && !matches!(
                encoding.to_ascii_lowercase().replace('_', "-").as_str(),
                "utf-8" | "utf8" | "ascii"
            )
        {
            return Err(Error::usage(format!("unknown encoding {encoding:?}")).hint("files are written as `utf-8`"));
        }
        Ok(())
    }

    fn needs(&self, context: &Context) -> Vec<Need> {
        self.spec(context).map(Need::File).into_iter().collect()
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else {
            return Ok(Vec::new());
        };
        let owner = Owner::new(&self.user, &self.group);
        let source = self.source(context)?;
        let mut probes = Vec::new();
        if let Source::File(file) = &source {
            probes.extend(source::probes(file, path));
        }
        // A source on the minion is compared by its text, if it has any; that is known only once it was seen.
        let wanted = self.wanted(&source, None).unwrap_or(Wanted::Any);
        probes.extend(self.put(path, &owner, wanted, None).probes());
        if !self.replace {
            probes.iter_mut().for_each(|probe| match probe {
                Probe::Path { path: of, want } if of == path => *want = Want::Meta,
                _ => {}
            });
        }
        Ok(probes)
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let path = match absolute(&self.name) {
            Ok(path) => path,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let owner = Owner::new(&self.user, &self.group);
        let source = self.source(context)?;
        let entry = super::put::regular(seen, path)?;
        if !self.create && entry.is_none() {
            return Ok(Decision::Holds(format!(
                "File {path} is not present and is not set for creation"
            )));
        }
        let wanted = match self.wanted(&source, Some((seen, entry))) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Decision::Fails(why)),
        };
        let mode = match (&self.mode, &source) {
            (Some(ModeOrKeep::Keep), Source::File(SourceFile::Here { mode, .. })) => *mode,
            (Some(ModeOrKeep::Keep), Source::File(SourceFile::OnMinion { url, .. })) if url.starts_with('/') => {
                super::put::regular(seen, url)?.map(|entry| entry.mode)
            }
            _ => self.mode(),
        };
        let mut put = self.put(path, &owner, wanted, mode);
        if matches!(put.wanted, Wanted::Any) && entry.is_some() {
            put.comments.holds = format!("File {path} exists with proper permissions. No changes made.");
        }
        put.decide(seen)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name).map(super::place::touched).unwrap_or_default()
    }

    fn keeps(&self, _: &Context) -> Vec<Resource> {
        absolute(&self.name)
            .map(|path| vec![Resource::Path(path.to_owned())])
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::states::SourceFile;
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn a_new_file() {
        let case = state(
            "file.managed",
            "{name: /etc/motd, contents: 'hello', user: pi, group: '100', mode: 0640}",
        )
        .sees([dir("/etc"), user("pi", 1000)]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/motd is set to be changed
        did: File /etc/motd updated
        changes: {"diff":"New file"}
        put /etc/motd user=pi group=100 mode=0640 keep
          hello
        "#);
    }

    #[test]
    fn a_changed_file() {
        let case = state(
            "file.managed",
            "{name: /etc/motd, source: 'salt://motd', mode: '0644', backup: .bak, check_cmd: [grep -q a, test -s]}",
        )
        .source("a\nc\n")
        .sees([dir("/etc"), file_of("/etc/motd", "a\nb\n", 0o600, "root")]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/motd is set to be changed
        did: File /etc/motd updated
          @@ -1,2 +1,2 @@
           a
          -b
          +c
        changes: {"mode":"0644"}
        sh cp /etc/motd /etc/motd.bak
          cp -p /etc/motd /etc/motd.bak
        put /etc/motd mode=0644 check=grep -q a "$0" && test -s keep
          a
          c
        "#);
    }

    #[test]
    fn a_file_that_holds() {
        let case = state("file.managed", "{name: /etc/motd, contents: [a, b], mode: 644, user: root}");
        assert_snapshot!(case.sees([dir("/etc"), file("/etc/motd", "a\nb\n")]).shows(), @"holds: The file /etc/motd is in the correct state");
    }

    #[test]
    fn owner_and_mode_alone() {
        let case = state(
            "file.managed",
            "{name: /usr/bin/x, replace: false, contents: y, mode: 4755, user: root}",
        );
        assert_snapshot!(case.sees([dir("/usr/bin"), file_of("/usr/bin/x", "z", 0o755, "pi")]).shows(), @r#"
        would: The file /usr/bin/x is set to be changed
        did: File /usr/bin/x updated
        changes: {"user":"root","mode":"4755"}
        sh owner and mode of /usr/bin/x
          chown root /usr/bin/x && chmod 04755 /usr/bin/x
        "#);
    }

    #[test]
    fn folders_are_made_on_demand() {
        let arguments = "{name: /srv/a/b/c, contents: '', user: pi, mode: 640, makedirs: true}";
        assert_snapshot!(state("file.managed", arguments).sees([dir("/srv"), user("pi", 1000)]).shows(), @r#"
        would: The file /srv/a/b/c is set to be changed
        did: File /srv/a/b/c updated
        changes: {"diff":"New file"}
        sh mkdir /srv/a/b
          umask 022
          [ -d /srv/a ] || { mkdir /srv/a && chown pi /srv/a && chmod 00750 /srv/a; } || exit 1
          [ -d /srv/a/b ] || { mkdir /srv/a/b && chown pi /srv/a/b && chmod 00750 /srv/a/b; } || exit 1
        put /srv/a/b/c user=pi mode=0640 keep
        "#);
        let case = state("file.managed", "{name: /srv/a/b, contents: x}").sees([dir("/srv")]);
        assert_snapshot!(case.shows(), @r"
        fails: Parent directory not present: /srv/a
        hint: add `makedirs: True`, or require the state that makes it
        ");
        let case = state("file.managed", "{name: /srv/a/b, contents: x, makedirs: true}");
        assert_snapshot!(case.sees([file("/srv", "")]).shows(), @"fails: The path '/srv' already exists and is a file, not a directory");
    }

    #[test]
    fn symlinks_are_written_through_or_replaced() {
        let leads = || link("/etc/x", "../run/x", Some(file("/run/x", "old\n")));
        let case = state("file.managed", "{name: /etc/x, contents: new}").sees([dir("/etc"), leads()]);
        assert_snapshot!(case.shows(), @r"
        would: The file /etc/x is set to be changed
        did: File /etc/x updated
          @@ -1 +1 @@
          -old
          +new
        put /run/x keep
          new
        ");
        let case = state("file.managed", "{name: /etc/x, contents: new, follow_symlinks: false}").sees([dir("/etc"), leads()]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/x is set to be changed
        did: File /etc/x updated
        changes: {"diff":"Replace symbolic link with regular file"}
        put /etc/x keep
          new
        "#);
        let case = state("file.managed", "{name: /etc/x, contents: new}").sees([dir("/etc"), link("/etc/x", "/no", None)]);
        assert_snapshot!(case.shows(), @r"
        fails: /etc/x is a symlink to /no, where there is nothing
        hint: remove the symlink, or say `follow_symlinks: False` to replace it
        ");
    }

    #[test]
    fn secrets_are_not_shown() {
        let case = state("file.managed", "{name: /etc/key, contents_pillar: 'tls:key', mode: 600}")
            .pillar("{tls: {key: abc}}")
            .sees([dir("/etc"), file_of("/etc/key", "old\n", 0o600, "root")]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/key is set to be changed
        did: File /etc/key updated
        changes: {"diff":"<show_changes=False>"}
        secret
        put /etc/key mode=0600 keep secret
          abc
        "#);
        assert!(case.change().diffs.is_empty());
        let case = state("file.managed", "{name: /etc/key, contents_pillar: 'tls:crt'}").pillar("{tls: {key: abc}}");
        assert_snapshot!(case.shows(), @"fails: Pillar tls:crt does not exist");
    }

    #[test]
    fn a_source_that_the_minion_fetches() {
        let arguments = "{name: /opt/x, source: 'https://u:p@h/x', source_hash: 'md5=5d41402abc4b2a76b9719d911017c592'}";
        let fetched = |hash: Option<(&str, &str)>, sha256: Option<&str>| SourceFile::OnMinion {
            url: "https://u:p@h/x".to_owned(),
            sha256: sha256.map(str::to_owned),
            hash: hash.map(|(kind, digest)| (kind.to_owned(), digest.to_owned())),
        };
        let md5 = Some(("md5", "5d41402abc4b2a76b9719d911017c592"));
        let case = state("file.managed", arguments).resolves(|_| Ok(fetched(md5, None)));
        let case = case.answers("md5sum", 0, "").sees([dir("/opt")]);
        assert_snapshot!(show(case.decide()), @r#"
        would: The file /opt/x is set to be changed
        did: File /opt/x updated
        changes: {"diff":"New file"}
        put /opt/x keep
          if command -v curl >/dev/null; then
          curl -fsSL --connect-timeout 20 --retry 2 -o "$tmp" -K - <<'PICLOUD_URL'
          url = "https://u:p@h/x"
          PICLOUD_URL
          elif wget --version >/dev/null 2>&1; then
          printf '%s\n' https://u:p@h/x | wget -q -T 20 -t 3 -O "$tmp" -i -
          elif command -v wget >/dev/null; then
          wget -q -T 20 -O "$tmp" https://u:p@h/x
          else
          echo 'neither curl nor wget is on this minion; run with --through-master' >&2; exit 1
          fi || { printf 'could not fetch %s\n' 'https://<redacted>@h/x' >&2; exit 1; }
          sum=$(if command -v md5sum >/dev/null; then md5sum <"$tmp"; else openssl dgst -md5 -r <"$tmp"; fi)
          sum=${sum%% *}
          [ "$sum" = 5d41402abc4b2a76b9719d911017c592 ] || { printf 'the md5 of %s is %s, not the 5d41402abc4b2a76b9719d911017c592 that was specified\n' 'https://<redacted>@h/x' "$sum" >&2; exit 1; }
        "#);
        let case = state("file.managed", arguments).resolves(|_| Ok(fetched(md5, None)));
        let case = case
            .answers("md5sum", 0, "5d41402abc4b2a76b9719d911017c592  -\n")
            .sees([dir("/opt"), file("/opt/x", "hello")]);
        assert_snapshot!(case.shows(), @"holds: The file /opt/x is in the correct state");
        let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let case = state("file.managed", arguments).resolves(|_| Ok(fetched(None, Some(sha))));
        assert_snapshot!(case.sees([dir("/opt"), file("/opt/x", "hello")]).shows(), @"holds: The file /opt/x is in the correct state");
        let case = state("file.managed", "{name: /opt/x, source: 'https://h/x', skip_verify: true}")
            .resolves(|_| Ok(fetched(None, None)))
            .answers("curl", 0, &format!("{sha}  -\n"));
        assert_snapshot!(case.sees([dir("/opt"), file("/opt/x", "hello")]).shows(), @"holds: The file /opt/x is in the correct state");
    }

    #[test]
    fn a_source_on_the_minion() {
        let on_minion = SourceFile::OnMinion {
            url: "/etc/x.orig".to_owned(),
            sha256: None,
            hash: None,
        };
        let case = state("file.managed", "{name: /etc/x, source: /etc/x.orig, mode: keep}")
            .resolves(|_| Ok(on_minion.clone()))
            .sees([
                dir("/etc"),
                file_of("/etc/x.orig", "a\n", 0o600, "root"),
                file("/etc/x", "b\n"),
            ]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/x is set to be changed
        did: File /etc/x updated
          @@ -1 +1 @@
          -b
          +a
        changes: {"mode":"0600"}
        put /etc/x mode=0600 keep
          a
        "#);
        let case = state("file.managed", "{name: /etc/x, source: /etc/x.orig}").resolves(|_| Ok(on_minion.clone()));
        assert_snapshot!(case.sees([dir("/etc")]).shows(), @"fails: Source file /etc/x.orig not found on the minion");
    }

    #[test]
    fn what_cannot_be() {
        let case = state("file.managed", "{name: etc/motd, contents: x}");
        assert_snapshot!(case.shows(), @"fails: Specified file etc/motd is not an absolute path");
        let case = state(
            "file.managed",
            "{name: /etc/motd, contents: x, user: nobody2, group: nogroup2}",
        );
        assert_snapshot!(case.sees([dir("/etc")]).shows(), @"fails: User nobody2 is not available Group nogroup2 is not available");
        assert_snapshot!(state("file.managed", "{name: /etc, contents: x}").sees([dir("/etc")]).shows(), @"fails: Specified target /etc is a directory");
        assert_snapshot!(state("file.managed", "{name: /etc/x, contents: {a: b}}").sees([dir("/etc")]).shows(), @"fails: 'contents' is not a string or a list of strings. SLS is likely malformed.");
        assert_snapshot!(state("file.managed", "{name: /etc/x, contents: '', allow_empty: false}").shows(), @"fails: 'contents' value would result in empty contents. Set allow_empty to True to allow the managed file to be empty.");
        assert_snapshot!(state("file.managed", "{name: /etc/x, contents: x, create: false}").shows(), @"holds: File /etc/x is not present and is not set for creation");
        assert_snapshot!(refusal("file.managed", "{name: /x, contents: x, source: 'salt://x'}"), @"`source` cannot be used in combination with `contents`, `contents_pillar` or `contents_grains`");
        assert_snapshot!(refusal("file.managed", "{name: /x, contents: x, mode: keep}"), @"`mode: keep` takes the mode of a `source`; contents given in the state have none");
        assert_snapshot!(refusal("file.managed", "{name: /x, mkdirs: true}"), @r"
        test.sls:1:12: unknown argument `mkdirs`
        hint: did you mean `makedirs`?
        ");
        assert_snapshot!(refusal("file.managed", "{name: /x, source: 'salt://x', template: jinja, mkdirs: true}"), @r"
        test.sls:1:49: unknown argument `mkdirs`
        hint: did you mean `makedirs`?
        ");
    }

    #[test]
    fn unknown_arguments_of_a_template_are_its_variables() {
        let case = state(
            "file.managed",
            "{name: /x, source: 'salt://x', template: jinja, homes: [a], defaults: {b: 1, c: 2}, context: {c: 3}, mode: 600}",
        );
        let crate::states::Need::File(spec) = case.state.needs(&case.context()).remove(0) else {
            unreachable!()
        };
        assert_snapshot!(format!("{:?}", spec.context), @r#"{"name": "/x", "user": null, "group": null, "mode": "0600", "homes": ["a"], "b": 1, "c": 3}"#);
    }

    #[test]
    fn an_empty_file_is_made_without_contents() {
        let case = state("file.managed", "{name: /etc/x}").sees([dir("/etc")]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /etc/x is set to be changed
        did: Empty file
        changes: {"new":"file /etc/x created"}
        put /etc/x keep
        "#);
    }

    #[test]
    fn binary_contents_have_no_diff() {
        let case = state("file.managed", "{name: /x, source: 'salt://x'}")
            .source("a\0b")
            .sees([file("/x", "text\n")]);
        assert_snapshot!(case.shows(), @r#"
        would: The file /x is set to be changed
        did: File /x updated
        changes: {"sha256":{"old":"b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733","new":"59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138"}}
        put /x keep
          a\0b
        "#);
    }

    #[test]
    fn folders_for_files_can_be_entered() {
        for (mode, folder) in [(0o644, 0o755), (0o600, 0o700), (0o440, 0o550), (0o4755, 0o755)] {
            assert_eq!(super::searchable(mode), folder, "{mode:o}");
        }
    }
}
