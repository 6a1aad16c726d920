//! A source that was found, as contents: those that are at hand, and those that the minion gets for itself.

use super::put::{Wanted, regular};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::{Content, quote};
use crate::states::{SourceFile, fetch};

/// What must be seen to compare the file at `path` with `file`.
pub(super) fn probes(file: &SourceFile, path: &str) -> Vec<Probe> {
    match file {
        SourceFile::Here { .. } => Vec::new(),
        SourceFile::OnMinion { url, sha256, hash } => url_probes(url, sha256.as_deref(), hash.as_ref(), path),
    }
}

/// `file` as the contents of `path`; without `seen`, just what they are compared by.
///
/// # Errors
/// The minion's own source is not there, or a URL gave nothing.
pub(super) fn wanted(file: &SourceFile, path: &str, seen: Option<&Observed>) -> Result<Wanted> {
    match file {
        SourceFile::Here { content, .. } => Ok(match content {
            Content::Bytes(bytes) => Wanted::Bytes(bytes.clone()),
            Content::File {
                size, sha256, blake2, ..
            } => Wanted::Stream {
                content: content.clone(),
                sha256: sha256.clone(),
                blake2: blake2.clone(),
                size: *size,
            },
        }),
        SourceFile::OnMinion { url, sha256, hash } => on_minion(url, sha256.as_deref(), hash.as_ref(), path, seen),
    }
}

fn url_probes(url: &str, sha256: Option<&str>, hash: Option<&(String, String)>, path: &str) -> Vec<Probe> {
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
    seen: Option<&Observed>,
) -> Result<Wanted> {
    if url.starts_with('/') {
        let Some(seen) = seen else {
            return Ok(Wanted::Bytes([].into()));
        };
        let Some(entry) = regular(seen, url)? else {
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
        let (Some(seen), Probe::Shell(shell)) = (seen, probe) else {
            return Ok(None);
        };
        let answer = seen.shell(shell)?;
        if !answer.ok() {
            return Err(Error::state(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
        }
        Ok(answer.text().split_whitespace().next().map(str::to_owned))
    };
    let probes = url_probes(url, sha256, hash, path);
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
