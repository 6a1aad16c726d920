//! Paths: one `stat` for all, one `sha256sum`, one `head`, one `b2sum` where large files are among them, and three more processes where
//! symlinks are.
//!
//! No name is ever read back from `stat`: the shell itself finds out which paths are there, asks for exactly those, and the records
//! come in the same order. If there are fewer (something vanished in between) it looks again.

use super::read::{Reader, find};
use super::{Entry, Fact, FileKind, PathSeen, Probe, TEXT_LIMIT, Target, Want};
use crate::error::{Error, Result};
use crate::shell::words;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Names of at most so many bytes go into one call; Linux takes 2 MiB of arguments in all.
const CHUNK: usize = 100_000;

/// `$1` paths are wanted without contents, those up to `$2` with a digest, those up to `$3` with a SHA-256, the rest with contents.
/// Prints
/// - a letter for each path: `e` is there, `l` a dangling symlink, `L` a symlink that leads somewhere, `-` nothing, `d` denied
///   (`!` alone: things come and go too fast);
/// - a line for each that is there;
/// - where there are symlinks: their targets, each ended by NUL; an empty one; `+`, or `-` and all again one by one;
/// - where some lead somewhere: where to, in the same form, and a line for each (`-`: gone);
/// - the digests, those of any kind first, and an empty line;
/// - the contents, as `head -v` frames them.
const SCRIPT: &str = r#"IFS='
'
set -f
F=%f:%u:%g:%s:%Y:%U:%G
each() { for p; do x=$(readlink $o -- "$p" 2>/dev/null; echo .); printf '%s\0' "${x%.}"; done; }
late() { for p; do stat -L -c $F -- "$p" 2>/dev/null || echo -; done; }
pick() {
[ $1 -gt $m ] || return 0
case $2 in 8???:*) ;; *) return 0;; esac
y=${2#*:*:*:} y=${y%%:*}
if [ $1 -gt $s ] && [ $y -le 1048576 ]; then c="$c \"\${$1}\""; elif [ $1 -gt $b ]; then h="$h \"\${$1}\""; else g="$g \"\${$1}\""; fi
}
paths() {
m=$1 b=$2 s=$3 a=0
shift 3
while :; do
i=0 n=0 k= e= l= t= q= u=
for p; do
i=$((i + 1))
if [ -L "$p" ]; then
n=$((n + 1)) q="$q $i" e="$e \"\${$i}\"" l="$l \"\${$i}\""
if [ -e "$p" ]; then k=${k}L u="$u $i" t="$t \"\${$i}\""; else k=${k}l; fi
elif [ -e "$p" ]; then
n=$((n + 1)) q="$q $i" e="$e \"\${$i}\"" k=${k}e
else
d=${p%/*}
while [ -n "$d" ] && ! [ -e "$d" ]; do d=${d%/*}; done
if [ -d "${d:-/}" ] && ! [ -x "${d:-/}" ]; then k=${k}d; else k=${k}-; fi
fi
done
r=
[ $n = 0 ] || r=$(eval "stat -c $F -- $e" 2>/dev/null)
j=0
for x in $r; do j=$((j + 1)); done
[ $j != $n ] || break
a=$((a + 1))
if [ $a = 20 ]; then stat -c $F / >/dev/null; echo !; return; fi
done
printf '%s\n' "$k"
[ -z "$r" ] || printf '%s\n' "$r"
g= h= c=
for x in $r; do q=${q# }; pick "${q%% *}" "$x"; q=${q#* }; done
if [ -n "$l" ]; then
if eval "readlink -z -- $l" 2>/dev/null; then printf '\0+'; else printf '\0-'; o=-n; eval "each $l"; fi
fi
if [ -n "$t" ]; then
if eval "readlink -ez -- $t" 2>/dev/null; then printf '\0+'; else printf '\0-'; o=-nf; eval "each $t"; fi
r=$(eval "stat -L -c $F -- $t" 2>/dev/null) || r=$(eval "late $t")
printf '%s\n' "$r"
for x in $r; do u=${u# }; pick "${u%% *}" "$x"; u=${u#* }; done
fi
[ -z "$g" ] || if command -v b2sum >/dev/null; then eval "b2sum -- $g"; else eval "sha256sum -- $g"; fi 2>/dev/null
[ -z "$h" ] || eval "sha256sum -- $h" 2>/dev/null
echo
[ -z "$c" ] || eval "head -v -c 1048577 -- $c" 2>/dev/null
}
"#;

/// Paths in the order in which one call of the script is given them: by what is wanted of them.
pub(super) type Chunk = Vec<(String, Want)>;

/// `wanted` in chunks that fit onto command lines. Paths that cannot be (relative, or with a NUL) are left out.
pub(super) fn chunks(wanted: impl IntoIterator<Item = (String, Want)>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut length = CHUNK;
    for (path, want) in wanted {
        if !path.starts_with('/') || path.contains('\0') {
            continue;
        }
        if length + path.len() > CHUNK {
            chunks.push(Chunk::new());
            length = 0;
        }
        length += path.len() + 8;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push((path, want));
        }
    }
    for chunk in &mut chunks {
        chunk.sort_by_key(|(_, want)| *want);
    }
    chunks
}

pub(super) fn script(chunk: &Chunk) -> String {
    let below = |limit: Want| chunk.iter().filter(|(_, want)| *want < limit).count();
    let names = words(chunk.iter().map(|(path, _)| path.as_str()));
    let [none, any, sha256] = [Want::Digest, Want::Sha256, Want::Text].map(below);
    format!("{SCRIPT}paths {none} {any} {sha256} {names}\n")
}

/// How many bytes the answer may have.
pub(super) fn keep(chunk: &Chunk) -> usize {
    let texts = chunk.iter().filter(|(_, want)| *want == Want::Text).count();
    (4 << 20) + texts * (TEXT_LIMIT as usize + 4096)
}

/// A path's place in the making.
struct Found<'a> {
    path: &'a str,
    want: Want,
    seen: PathSeen,
    /// Whose contents are read: the entry's own, or the target's.
    leads: bool,
}

/// Reads what [`script`] printed, to the end.
pub(super) fn parse(chunk: &Chunk, answer: &mut Reader) -> Result<Vec<(Probe, Fact)>> {
    answer.now("paths");
    let letters = answer.line()?;
    if letters == b"!" {
        return Err(
            Error::state("paths come and go faster than they can be looked at").hint("is `stat` there, and knows it `-c`?")
        );
    }
    if letters.len() != chunk.len() {
        return Err(answer.error("not as many paths as were asked for"));
    }
    let mut found = Vec::with_capacity(chunk.len());
    for ((path, want), letter) in chunk.iter().zip(letters) {
        let mut seen = PathSeen::default();
        match letter {
            b'e' | b'l' | b'L' => {
                let line = answer.line()?;
                seen.entry = Some(record(line).ok_or_else(|| answer.error("no record of a path"))?);
            }
            b'd' => seen.denied = true,
            _ => {}
        }
        found.push(Found {
            path,
            want: *want,
            seen,
            leads: *letter == b'L',
        });
    }
    let links: Vec<usize> = numbers(letters, |letter| matches!(letter, b'l' | b'L'));
    for (n, target) in links.iter().zip(texts(answer, links.len())?) {
        if let Some(entry) = &mut found[*n].seen.entry {
            entry.target = Some(target);
        }
    }
    let leading = numbers(letters, |letter| letter == b'L');
    let ends = texts(answer, leading.len())?;
    for (n, path) in leading.iter().zip(ends) {
        let line = answer.line()?;
        if let (Some(end), Some(entry)) = (record(line), &mut found[*n].seen.entry) {
            entry.leads_to = Some(Box::new(Target { path, entry: end }));
        }
    }
    read(&mut found, answer)?;
    let seen = found.into_iter().zip(chunk);
    Ok(seen
        .map(|(found, (path, want))| {
            let probe = Probe::Path {
                path: path.clone(),
                want: *want,
            };
            (probe, Fact::Path(path.clone(), found.seen))
        })
        .collect())
}

fn numbers(letters: &[u8], which: impl Fn(u8) -> bool) -> Vec<usize> {
    (0..letters.len()).filter(|n| which(letters[*n])).collect()
}

/// `count` texts, from all at once or, where that failed, from one by one.
fn texts(answer: &mut Reader, count: usize) -> Result<Vec<String>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut texts = Vec::new();
    loop {
        let text = answer.text()?;
        if text.is_empty() {
            break;
        }
        texts.push(text);
    }
    if answer.take(1)? == b"-" {
        texts = (0..count).map(|_| answer.text()).collect::<Result<_>>()?;
    }
    if texts.len() != count {
        return Err(answer.error("not as many symlinks as were asked for"));
    }
    Ok(texts)
}

/// A line as `stat -c %f:%u:%g:%s:%Y:%U:%G` prints it, coreutils' as well as busybox's: the mode in hexadecimal, owner, size, time, names.
pub(super) fn record(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.splitn(7, ':');
    let mode = u32::from_str_radix(fields.next()?, 16).ok()?;
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let size = fields.next()?.parse().ok()?;
    // Some print fractions.
    let mtime = fields.next()?.split('.').next()?.parse().ok()?;
    let named = |name: &str, id: u32| {
        if name == "UNKNOWN" || name == "?" {
            id.to_string()
        } else {
            name.to_owned()
        }
    };
    Some(Entry {
        kind: kind(mode)?,
        mode: mode & 0o7777,
        uid,
        gid,
        user: named(fields.next()?, uid),
        group: named(fields.next()?, gid),
        size,
        mtime,
        ..Entry::default()
    })
}

fn kind(mode: u32) -> Option<FileKind> {
    Some(match mode & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        0o060_000 => FileKind::BlockDevice,
        0o020_000 => FileKind::CharDevice,
        0o010_000 => FileKind::Fifo,
        0o140_000 => FileKind::Socket,
        _ => return None,
    })
}

/// Digests and contents, in the order in which the script asked for them: paths first, then what symlinks lead to.
fn read(found: &mut [Found], answer: &mut Reader) -> Result<()> {
    let (mut any, mut digests, mut contents) = (Vec::new(), Vec::new(), Vec::new());
    for leads in [false, true] {
        for (n, path) in found.iter_mut().enumerate().filter(|(_, path)| path.leads == leads) {
            let want = path.want;
            match regular(path) {
                Some(entry) if want == Want::Text && entry.size <= TEXT_LIMIT => contents.push(n),
                Some(_) if want > Want::Digest => digests.push(n),
                Some(_) if want > Want::Meta => any.push(n),
                _ => {}
            }
        }
    }
    for n in any.into_iter().chain(digests) {
        let digest = digest(answer, found[n].path);
        match (regular(&mut found[n]), digest) {
            (Some(entry), Some(digest)) if digest.len() == SHA256 => entry.sha256 = Some(digest),
            (Some(entry), Some(digest)) => entry.blake2 = Some(digest),
            _ => found[n].seen.denied = true,
        }
    }
    if !answer.skip(b"\n") {
        return Err(answer.error("a digest that was not asked for"));
    }
    let headers: Vec<Vec<u8>> = contents
        .iter()
        .map(|n| format!("==> {} <==\n", found[*n].path).into_bytes())
        .collect();
    for (at, n) in contents.into_iter().enumerate() {
        if !answer.skip(&headers[at]) {
            found[n].seen.denied = true;
            continue;
        }
        let size = regular(&mut found[n]).map_or(0, |entry| entry.size as usize);
        let length = content_length(answer.rest(), size, &headers[at + 1..]);
        let bytes = answer.take(length)?;
        answer.skip(b"\n");
        if let Some(entry) = regular(&mut found[n])
            && bytes.len() as u64 <= TEXT_LIMIT
        {
            entry.sha256 = Some(hex(&Sha256::digest(bytes)));
            entry.contents = Some(Arc::from(bytes));
        }
    }
    Ok(())
}

/// The regular file that is read for a path.
fn regular<'a>(path: &'a mut Found) -> Option<&'a mut Entry> {
    let entry = path.seen.entry.as_mut()?;
    let entry = match entry.kind {
        FileKind::Symlink => &mut entry.leads_to.as_mut()?.entry,
        _ => entry,
    };
    (entry.kind == FileKind::File).then_some(entry)
}

/// How long the contents at the beginning of `rest` are: `size` bytes if a header or the end follows there, else (the file has
/// changed since, or is one of those in `/proc` whose size is 0) up to the first header, else all.
fn content_length(rest: &[u8], size: usize, headers: &[Vec<u8>]) -> usize {
    let next = |at: usize| {
        rest.get(at..)
            .is_some_and(|rest| rest.first() == Some(&b'\n') && headers.iter().any(|h| rest[1..].starts_with(h)))
    };
    if size == rest.len() || next(size) {
        return size;
    }
    let first = headers
        .iter()
        .find_map(|header| find(rest, &[b"\n", header.as_slice()].concat(), 0));
    first.unwrap_or(rest.len())
}

/// The digest of `path` if it comes next. coreutils escapes a name with a newline or backslash in it, busybox does not.
fn digest(answer: &mut Reader, path: &str) -> Option<String> {
    let escaped = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let older = path.replace('\\', "\\\\").replace('\n', "\\n");
    for (mark, name) in [("", path), ("\\", &escaped), ("\\", &older)] {
        let Some(rest) = answer.rest().strip_prefix(mark.as_bytes()) else {
            continue;
        };
        let length = rest.iter().take_while(|byte| is_hex(byte)).count();
        let Some(hex) = rest.get(..length).and_then(|hex| std::str::from_utf8(hex).ok()) else {
            continue;
        };
        if ![SHA256, BLAKE2B].contains(&length) {
            continue;
        }
        let line = format!("{mark}{hex}  {name}\n");
        if answer.skip(line.as_bytes()) {
            return Some(hex.to_owned());
        }
    }
    None
}

/// Whether `text` is a SHA-256 in lower-case hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == SHA256 && text.as_bytes().iter().all(is_hex)
}

/// Digits of a SHA-256, and of a BLAKE2b as `b2sum` makes it.
const SHA256: usize = 64;
const BLAKE2B: usize = 128;

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
