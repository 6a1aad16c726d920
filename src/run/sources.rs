//! Files of the master that states refer to: found in the state tree, rendered, fetched, and their digests reckoned once for all minions.

use super::digests::{Digests, Sums};
use crate::error::{Error, FileId, Result, nearest};
use crate::project::{Cache, write_whole};
use crate::shell::Content;
use crate::sls::Rendered;
use crate::states::{Need, Resolved, SourceFile, SourceSpec, SourceTree, SourceTreeSpec};
use crate::tree::{Place, Tree, TreeFile};
use crate::yaml::Map;
use sha2::{Digest, Sha256, Sha512};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Files up to this size are held in memory, in bytes; larger ones are streamed from disk.
const HELD: u64 = 256 << 10;

/// The largest checksum file that is read, in bytes.
const CHECKSUMS: usize = 4 << 20;

/// Renders a file of the state tree, or a text of a state, for one minion.
pub trait RenderFile {
    /// # Errors
    /// What is wrong with the template, at its place in it.
    fn render_file(&self, file: &TreeFile, text: &str, context: &Map, source: &str) -> Result<Rendered>;
}

/// The sources of one run, shared by its minions.
pub struct Sources {
    tree: Tree,
    cache: Cache,
    /// The master fetches what the minions would otherwise fetch themselves.
    through_master: bool,
    /// Nothing is fetched: what the network has is taken to be as declared.
    offline: bool,
    known: Mutex<HashMap<PathBuf, (SystemTime, SourceFile)>>,
    digests: Digests,
    /// What was fetched in this run, by URL.
    fetched: tokio::sync::Mutex<HashMap<String, Result<PathBuf>>>,
    checksums: Mutex<HashMap<String, Result<String>>>,
}

impl Sources {
    pub fn new(tree: Tree, cache: Cache, through_master: bool) -> Sources {
        Sources {
            tree,
            digests: Digests::new(cache.clone()),
            cache,
            through_master,
            offline: false,
            known: Mutex::default(),
            fetched: tokio::sync::Mutex::default(),
            checksums: Mutex::default(),
        }
    }

    /// The same, without ever using the network: for a look at what is declared, not for a run.
    pub fn offline(self) -> Sources {
        Sources { offline: true, ..self }
    }

    /// Fetches what `needs` want from the network: checksum files, and with `--through-master` the sources themselves. What went
    /// wrong is told by [`Sources::resolve`], to the states that it concerns.
    pub async fn fetch(&self, needs: &[Need]) {
        if self.offline {
            return;
        }
        for need in needs {
            let Need::File(spec) = need else { continue };
            if let Some(url) = spec.source_hash.as_deref().filter(|hash| is_url(hash)) {
                let known = self.checksums.lock().unwrap_or_else(|e| e.into_inner()).contains_key(url);
                if !known {
                    let text = self.download(url).await.and_then(|path| read_text(&path));
                    self.checksums
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .insert(url.to_owned(), text);
                }
            }
            for url in spec.sources.iter().filter(|source| self.through_master && is_url(source)) {
                // Recorded whether it worked or not.
                let _ = self.download(url).await;
            }
        }
    }

    /// `url` as a file of the cache, fetched at most once a run.
    async fn download(&self, url: &str) -> Result<PathBuf> {
        let mut fetched = self.fetched.lock().await;
        if let Some(known) = fetched.get(url) {
            return known.clone();
        }
        let got = self.get(url).await;
        fetched.insert(url.to_owned(), got.clone());
        got
    }

    async fn get(&self, url: &str) -> Result<PathBuf> {
        let failed = |e: reqwest::Error| Error::state(format!("the master could not fetch {url}: {}", without_url(e)));
        let folder = self.cache.folder("sources")?;
        let path = folder.join(hex(&Sha256::digest(url)));
        let stamp = path.with_extension("etag");
        let client = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(20))
            .build()
            .map_err(failed)?;
        let mut request = client.get(url);
        if let (true, Ok(etag)) = (path.is_file(), std::fs::read_to_string(&stamp)) {
            request = request.header("If-None-Match", etag);
        }
        let mut response = request
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(failed)?;
        if response.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(path);
        }
        let etag = response
            .headers()
            .get("etag")
            .and_then(|etag| etag.to_str().ok())
            .map(str::to_owned);
        let cannot = |e: std::io::Error| Error::state(format!("cannot keep {url} in {}: {e}", folder.display()));
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(cannot)?;
        while let Some(bytes) = response.chunk().await.map_err(failed)? {
            std::io::Write::write_all(&mut file, &bytes).map_err(cannot)?;
        }
        file.persist(&path).map_err(|e| cannot(e.error))?;
        match etag {
            Some(etag) => write_whole(&stamp, etag.as_bytes())?,
            None => drop(std::fs::remove_file(&stamp)),
        }
        Ok(path)
    }

    /// Finds everything in `needs`. True when templates ask what only the minion can tell: to be called again with the answers.
    pub fn resolve(&self, needs: &[Need], render: &dyn RenderFile, into: &mut Resolved) -> bool {
        let mut asks = false;
        for need in needs {
            match need {
                Need::File(spec) => match self.file(spec, render) {
                    Ok(Some(file)) => into.insert_file(spec, Ok(file)),
                    Ok(None) => asks = true,
                    Err(error) => into.insert_file(spec, Err(error)),
                },
                Need::Tree(spec) => match self.folder(spec, render) {
                    Ok(Some(tree)) => into.insert_tree(spec, Ok(tree)),
                    Ok(None) => asks = true,
                    Err(error) => into.insert_tree(spec, Err(error)),
                },
            }
        }
        asks
    }

    fn file(&self, spec: &SourceSpec, render: &dyn RenderFile) -> Result<Option<SourceFile>> {
        if let Some(text) = &spec.text {
            let file = TreeFile {
                path: String::new(),
                id: FileId::of("contents of the state"),
                place: Place::Embedded(b""),
            };
            return rendered(
                spec.template.as_deref(),
                text.clone().into_bytes(),
                &file,
                &spec.context,
                "",
                render,
                None,
            );
        }
        for source in &spec.sources {
            if let Some(path) = source.strip_prefix("salt://") {
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                let Some(file) = self.tree.find(path) else { continue };
                return self.in_tree(&file, spec.template.as_deref(), &spec.context, source, render);
            }
            if is_url(source) {
                return self.at_url(spec, source, render);
            }
            let path = source.strip_prefix("file://").unwrap_or(source);
            return Ok(Some(SourceFile::OnMinion {
                url: path.to_owned(),
                sha256: None,
                hash: self.hash(spec, source)?,
            }));
        }
        Err(self.missing(&spec.sources))
    }

    fn in_tree(
        &self,
        file: &TreeFile,
        template: Option<&str>,
        context: &Map,
        source: &str,
        render: &dyn RenderFile,
    ) -> Result<Option<SourceFile>> {
        let mode = match &file.place {
            Place::Disk(path) => mode(path),
            Place::Embedded(_) => None,
        };
        if template.is_some() {
            return rendered(template, file.read()?.into_owned(), file, context, source, render, mode);
        }
        match &file.place {
            Place::Embedded(bytes) => Ok(Some(held(bytes.to_vec(), None))),
            Place::Disk(path) => self.on_disk(path).map(Some),
        }
    }

    /// A file of this machine with its digest, which is remembered as long as the file does not change.
    fn on_disk(&self, path: &Path) -> Result<SourceFile> {
        let cannot = |e: std::io::Error| Error::usage(format!("cannot read {}: {e}", path.display()));
        let metadata = std::fs::metadata(path).map_err(cannot)?;
        let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let known = |known: &HashMap<PathBuf, (SystemTime, SourceFile)>| {
            known
                .get(path)
                .filter(|(when, _)| *when == changed)
                .map(|(_, file)| file.clone())
        };
        let mut cache = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(file) = known(&cache) {
            return Ok(file);
        }
        let file = if metadata.len() <= HELD {
            held(std::fs::read(path).map_err(cannot)?, mode(path))
        } else {
            let size = metadata.len();
            let sums = self.digests.of(path, || Sums::reckon(path)).map_err(cannot)?;
            let content = Content::File {
                path: path.to_owned(),
                size,
                sha256: sums.sha256.clone(),
                blake2: sums.blake2,
            };
            SourceFile::Here {
                content,
                sha256: sums.sha256,
                size,
                mode: mode(path),
            }
        };
        cache.insert(path.to_owned(), (changed, file.clone()));
        Ok(file)
    }

    fn at_url(&self, spec: &SourceSpec, url: &str, render: &dyn RenderFile) -> Result<Option<SourceFile>> {
        let far = self.through_master || spec.source_hash.as_deref().is_some_and(is_url);
        if self.offline && far {
            return Ok(Some(SourceFile::OnMinion {
                url: url.to_owned(),
                sha256: None,
                hash: None,
            }));
        }
        let hash = self.hash(spec, url)?;
        if hash.is_none() && !spec.skip_verify {
            return Err(Error::state(format!("{url} has no `source_hash` to be checked against"))
                .hint("give `source_hash: sha256=...`, the URL of a checksum file, or `skip_verify: True`"));
        }
        if !self.through_master {
            let sha256 = hash
                .as_ref()
                .filter(|(kind, _)| kind == "sha256")
                .map(|(_, digest)| digest.clone());
            return match spec.template {
                None => Ok(Some(SourceFile::OnMinion {
                    url: url.to_owned(),
                    sha256,
                    hash,
                })),
                Some(_) => Err(Error::state(format!("{url} is a template, which only the master can render"))
                    .hint("run with `--through-master`, or keep the template in the state tree")),
            };
        }
        let fetched = self.fetched.try_lock().ok().and_then(|fetched| fetched.get(url).cloned());
        let path = fetched.unwrap_or_else(|| Err(Error::state(format!("{url} was not fetched"))))?;
        if let Some((kind, wanted)) = &hash {
            check(&path, kind, wanted, url)?;
        }
        match &spec.template {
            None => self.on_disk(&path).map(Some),
            Some(_) => {
                let text = std::fs::read(&path).map_err(|e| Error::state(format!("cannot read {}: {e}", path.display())))?;
                let file = TreeFile {
                    path: String::new(),
                    id: FileId::of(url),
                    place: Place::Disk(path),
                };
                rendered(spec.template.as_deref(), text, &file, &spec.context, url, render, None)
            }
        }
    }

    /// `source_hash` as algorithm and digest.
    fn hash(&self, spec: &SourceSpec, source: &str) -> Result<Option<(String, String)>> {
        let Some(written) = spec.source_hash.as_deref().filter(|written| !written.is_empty()) else {
            return Ok(None);
        };
        if let Some(hash) = parse_hash(written) {
            return Ok(Some(hash));
        }
        let text = if is_url(written) {
            let known = self.checksums.lock().unwrap_or_else(|e| e.into_inner()).get(written).cloned();
            known.unwrap_or_else(|| Err(Error::state(format!("{written} was not fetched"))))?
        } else if let Some(file) = written.strip_prefix("salt://").and_then(|path| self.tree.find(path)) {
            String::from_utf8_lossy(&file.read()?).into_owned()
        } else {
            return Err(
                Error::state(format!("`source_hash: {written}` is neither a digest nor a checksum file"))
                    .hint("a digest is written `sha256=0123...`; a file is named by a URL or by salt://"),
            );
        };
        let name = spec
            .source_hash_name
            .as_deref()
            .unwrap_or_else(|| source.rsplit('/').next().unwrap_or(source));
        find_hash(&text, name).map(Some).ok_or_else(|| {
            Error::state(format!("{written} has no line for {name}")).hint("`source_hash_name` says under which name to look")
        })
    }

    fn folder(&self, spec: &SourceTreeSpec, render: &dyn RenderFile) -> Result<Option<SourceTree>> {
        for source in &spec.sources {
            let path = source.strip_prefix("salt://").unwrap_or(source).trim_matches('/');
            if !self.tree.is_folder(path) {
                continue;
            }
            let mut found = SourceTree::default();
            let mut asks = false;
            for file in self.tree.list(path) {
                let below = file.strip_prefix(path).unwrap_or(&file).trim_start_matches('/').to_owned();
                let Some(file) = self.tree.find(&file) else { continue };
                if let Place::Disk(disk) = &file.place
                    && let Ok(target) = std::fs::read_link(disk)
                {
                    found.symlinks.push((below.clone(), target.to_string_lossy().into_owned()));
                }
                match self.in_tree(&file, spec.template.as_deref(), &spec.context, source, render)? {
                    Some(file) => found.files.push((below, file)),
                    None => asks = true,
                }
            }
            found.folders = self.tree.folders(path);
            return Ok((!asks).then_some(found));
        }
        Err(self.missing(&spec.sources))
    }

    fn missing(&self, sources: &[String]) -> Error {
        let error = Error::usage(match sources {
            [one] => format!("there is no {one} in the state tree"),
            _ => format!("none of {} is in the state tree", sources.join(", ")),
        });
        let all = self.tree.list("");
        let near = sources
            .iter()
            .find_map(|source| nearest(source.strip_prefix("salt://")?, all.iter().map(String::as_str)));
        match near {
            Some(path) => error.hint(format!("did you mean `salt://{path}`?")),
            None => error,
        }
    }
}

fn rendered(
    template: Option<&str>,
    bytes: Vec<u8>,
    file: &TreeFile,
    context: &Map,
    source: &str,
    render: &dyn RenderFile,
    mode: Option<u32>,
) -> Result<Option<SourceFile>> {
    match template {
        None => Ok(Some(held(bytes, mode))),
        Some("jinja") => {
            let text = String::from_utf8(bytes)
                .map_err(|_| Error::usage(format!("{} is not UTF-8, and so no template", file.id.name())))?;
            Ok(match render.render_file(file, &text, context, source)? {
                Rendered::Text(text) => Some(held(text.into_bytes(), mode)),
                Rendered::Asks => None,
            })
        }
        Some(other) => Err(Error::usage(format!("the template engine `{other}` is not supported"))
            .hint("`template: jinja` is what picloud renders")),
    }
}

fn held(bytes: Vec<u8>, mode: Option<u32>) -> SourceFile {
    SourceFile::Here {
        sha256: hex(&Sha256::digest(&bytes)),
        size: bytes.len() as u64,
        content: Content::Bytes(Arc::from(bytes)),
        mode,
    }
}

fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .ok()
        .map(|metadata| metadata.permissions().mode() & 0o7777)
}

fn check(path: &Path, kind: &str, wanted: &str, url: &str) -> Result<()> {
    let cannot = |e: std::io::Error| Error::state(format!("cannot read {}: {e}", path.display()));
    let got = match kind {
        "sha256" => Sums::reckon(path).map_err(cannot)?.sha256,
        "sha512" => hex(&Sha512::digest(std::fs::read(path).map_err(cannot)?)),
        other => {
            return Err(Error::state(format!("the master cannot check {other} digests"))
                .hint("give a sha256 or sha512, or let the minion fetch it (without `--through-master`)"));
        }
    };
    if got == wanted {
        return Ok(());
    }
    Err(Error::state(format!(
        "{url} has the {kind} {got}, but {wanted} was expected; it was not used"
    )))
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// A digest as it is written in a state: `sha256=HEX`, `sha256:HEX`, or its hexadecimal digits alone.
fn parse_hash(written: &str) -> Option<(String, String)> {
    let (kind, digits) = match written.split_once(['=', ':']) {
        Some((kind, digits)) => (Some(kind.trim().to_lowercase()), digits.trim()),
        None => (None, written.trim()),
    };
    let by_length = match digits.len() {
        32 => "md5",
        40 => "sha1",
        56 => "sha224",
        64 => "sha256",
        96 => "sha384",
        128 => "sha512",
        _ => return None,
    };
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let kind = kind.unwrap_or_else(|| by_length.to_owned());
    (hexadecimal && kind == by_length).then(|| (kind, digits.to_lowercase()))
}

/// The digest of `name` in a checksum file: `HEX  name`, `HEX *name`, `name HEX`, `SHA256 (name) = HEX`, or a lone digest.
fn find_hash(text: &str, name: &str) -> Option<(String, String)> {
    let mut lone = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hash = words
            .iter()
            .find_map(|word| parse_hash(word).or_else(|| parse_hash(word.trim_start_matches("sha256:"))));
        let Some(hash) = hash else { continue };
        let is_name = |word: &str| {
            let word = word.trim_start_matches('*').trim_matches(|c| "()".contains(c));
            word == name || word.rsplit('/').next() == Some(name)
        };
        if words.iter().any(|word| is_name(word)) {
            return Some(hash);
        }
        if words.len() == 1 && lone.is_none() {
            lone = Some(hash);
        }
    }
    lone
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::state(format!("cannot read {}: {e}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes[..bytes.len().min(CHECKSUMS)]).into_owned())
}

/// What went wrong, without the URL, which the message names already and which may hold a password.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
