//! `file.managed`: a file with given contents, from the state tree, the minion itself, the network, the pillar or the state.

use super::edit::mapping;
use super::owner::Owner;
use super::place::{Parents, absolute};
use super::put::{Comments, Put, Wanted};
use super::text::{DIFF_LIMIT, backup_suffix, bare_lines};
use crate::error::{Error, Result, nearest};
use crate::probe::{Entry, Observed, Probe, Resource, Want};
use crate::shell::{Content, quote};
use crate::states::{Context, Decision, Function, Need, SourceFile, SourceSpec, StateFunction, fetch};
use crate::yaml::{Data, Map, Mode, ModeOrKeep, OneOrMany, Value, from_value};
use schemars::JsonSchema;
use serde::Deserialize;

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
    let known: Vec<String> = known();
    let is_known = |key: &str| known.iter().any(|name| name == key);
    let template = arguments.get("template").is_some_and(|template| !template.is_null());
    let (mut own, mut variables) = (Map::new(), Map::new());
    for (key, value) in arguments {
        let variable = key.as_str().is_some_and(|key| template && !is_known(key) && nearest(key, known.iter().map(String::as_str)).is_none());
        if variable { &mut variables } else { &mut own }.insert(key.clone(), value.clone());
    }
    let mut state: Managed = from_value(&Value::from(own))?;
    state.variables = variables;
    state.check()?;
    Ok(Box::new(state))
}

/// The names of the arguments, from the schema that their documentation is in.
fn known() -> Vec<String> {
    let schema = schemars::schema_for!(Managed);
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    properties.map(|known| known.keys().cloned().collect()).unwrap_or_default()
}

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
        variables.insert("mode".into(), self.mode().map_or_else(Value::default, |mode| format!("{mode:04o}").into()));
        let given = [&self.defaults, &self.context].into_iter().flatten().filter_map(Value::as_map);
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
            Source::File(SourceFile::Here { content, sha256, size, .. }) => match content {
                Content::Bytes(bytes) => Wanted::Bytes(bytes.clone()),
                file => Wanted::Stream {
                    content: file.clone(),
                    sha256: sha256.clone(),
                    size: *size,
                },
            },
            Source::File(SourceFile::OnMinion { url, sha256, hash }) => {
                on_minion(url, sha256.as_deref(), hash.as_ref(), &self.name, seen).map_err(|e| e.to_string())?
            }
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
            suffix: backup_suffix(self.backup.as_ref()),
            comments: Comments::managed(path),
        }
    }
}

/// Several checks as one, each given the candidate's path, which the engine puts behind the last.
pub(super) fn check(commands: &OneOrMany<String>) -> String {
    commands.iter().map(String::as_str).collect::<Vec<_>>().join(" \"$0\" && ")
}

/// `mode` with `x` wherever it has anything: a folder for files of that mode.
pub(super) fn searchable(mode: u32) -> u32 {
    [0o700, 0o070, 0o007]
        .into_iter()
        .fold(mode & 0o777, |mode, class| if mode & class == 0 { mode } else { mode | (0o111 & class) })
}

/// What must be seen of a source that the minion gets for itself.
fn source_probes(url: &str, sha256: Option<&str>, hash: Option<&(String, String)>, path: &str) -> Vec<Probe> {
    let reads = vec![Resource::Path(path.to_owned())];
    match (sha256, hash) {
        _ if url.starts_with('/') => vec![Probe::text(url)],
        (Some(_), _) => Vec::new(),
        (None, Some((kind, _))) => vec![Probe::script(fetch::digest_of(kind, path), reads)],
        (None, None) => vec![Probe::script(fetched_digest(url, path), reads)],
    }
}

/// A script that fetches `url` and prints its SHA-256, where there is a file to compare it with.
fn fetched_digest(url: &str, path: &str) -> String {
    format!(
        "[ -e {} ] || exit 0\ntmp=$(mktemp) || exit 1\ntrap 'rm -f \"$tmp\"' EXIT\n{}sha256sum <\"$tmp\"",
        quote(path),
        fetch::download(url)
    )
}

/// Contents that the minion gets for itself, compared with what was seen; without `seen`, what they are compared by.
fn on_minion(
    url: &str,
    sha256: Option<&str>,
    hash: Option<&(String, String)>,
    path: &str,
    seen: Option<(&Observed, Option<&Entry>)>,
) -> Result<Wanted> {
    if url.starts_with('/') {
        let Some((seen, _)) = seen else {
            return Ok(Wanted::Bytes([].into()));
        };
        let Some(entry) = super::put::regular(seen, url)? else {
            return Err(Error::state(format!("Source file {url} not found on the minion")));
        };
        return Ok(match &entry.contents {
            Some(bytes) => Wanted::Bytes(bytes.clone()),
            None => Wanted::Fetch {
                script: format!("cat {} >\"$tmp\"", quote(url)),
                same: false,
                sha256: entry.sha256.clone(),
            },
        });
    }
    let mut script = fetch::download(url);
    let printed = |probe: &Probe| -> Result<Option<String>> {
        let (Some((seen, _)), Probe::Shell(shell)) = (seen, probe) else { return Ok(None) };
        let answer = seen.shell(shell)?;
        if !answer.ok() {
            return Err(Error::state(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
        }
        Ok(answer.text().split_whitespace().next().map(str::to_owned))
    };
    let probes = source_probes(url, sha256, hash, path);
    let printed = match probes.first() {
        Some(probe) => printed(probe)?,
        None => None,
    };
    let (same, sha256) = match (sha256, hash) {
        (Some(sha256), _) => {
            script += &fetch::verify("sha256", sha256, url)?;
            (false, Some(sha256.to_ascii_lowercase()))
        }
        (None, Some((kind, digest))) => {
            script += &fetch::verify(kind, digest, url)?;
            (printed.is_some_and(|printed| printed.eq_ignore_ascii_case(digest)), None)
        }
        // What the URL gave just now is what the file is compared with.
        (None, None) => (false, printed),
    };
    Ok(Wanted::Fetch { script, same, sha256 })
}

impl StateFunction for Managed {
    fn check(&self) -> Result<()> {
        mapping("context", &self.context)?;
        mapping("defaults", &self.defaults)?;
        let given = [self.contents.is_some(), self.contents_pillar.is_some(), self.contents_grains.is_some()];
        let given = given.iter().filter(|given| **given).count();
        if given > 0 && self.source.is_some() {
            return Err(Error::usage(
                "`source` cannot be used in combination with `contents`, `contents_pillar` or `contents_grains`",
            ));
        }
        if given > 1 {
            return Err(Error::usage("only one of `contents`, `contents_pillar` and `contents_grains` is permitted"));
        }
        if given > 0 && matches!(self.mode, Some(ModeOrKeep::Keep)) {
            return Err(Error::usage("`mode: keep` takes the mode of a `source`; contents given in the state have none"));
        }
        if let Some(encoding) = &self.encoding
            && !matches!(encoding.to_ascii_lowercase().replace('_', "-").as_str(), "utf-8" | "utf8" | "ascii")
        {
            return Err(Error::usage(format!("unknown encoding {encoding:?}")).hint("files are written as `utf-8`"));
        }
        Ok(())
    }

    fn needs(&self, context: &Context) -> Vec<Need> {
        self.spec(context).map(Need::File).into_iter().collect()
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let Ok(path) = absolute(&self.name) else { return Ok(Vec::new()) };
        let owner = Owner::new(&self.user, &self.group);
        let source = self.source(context)?;
        let mut probes = Vec::new();
        if let Source::File(SourceFile::OnMinion { url, sha256, hash }) = &source {
            probes.extend(source_probes(url, sha256.as_deref(), hash.as_ref(), path));
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
            return Ok(Decision::Holds(format!("File {path} is not present and is not set for creation")));
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
        absolute(&self.name).map(|path| vec![Resource::Path(path.to_owned())]).unwrap_or_default()
    }
}

/// The largest contents of which the old ones are fetched too, for a diff.
const _: () = assert!(DIFF_LIMIT as u64 <= crate::probe::TEXT_LIMIT);
