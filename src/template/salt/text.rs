//! `log.*`, `hashutil.*`, `random.*`, `test.*` and what of `file.*` is about paths alone: computed here.

use super::{Call, Function};
use crate::template::filters::hash::{base64_decode, bytes, digest, hmac_sha256, text_or_bytes};
use crate::template::random::{Random, number_of};
use crate::template::value::{fail, items, list, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Error, Value};
use std::sync::Arc;

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("log.trace", |call| note(call, "trace")),
    ("log.debug", |call| note(call, "debug")),
    ("log.info", |call| note(call, "info")),
    ("log.warning", |call| note(call, "warning")),
    ("log.warn", |call| note(call, "warning")),
    ("log.error", |call| note(call, "error")),
    ("log.critical", |call| note(call, "critical")),
    ("log.exception", |call| note(call, "error")),
    ("test.ping", |_| Ok(true.into())),
    ("test.true", |_| Ok(true.into())),
    ("test.false", |_| Ok(false.into())),
    ("test.echo", |call| call.args.need("text")),
    ("hashutil.base64_b64encode", |call| {
        Ok(STANDARD.encode(bytes(&call.args.need("instr")?)).into())
    }),
    ("hashutil.base64_b64decode", |call| base64_decode(&call.args.need("instr")?)),
    ("hashutil.base64_encodestring", |call| {
        // In lines of 76 characters, each with its end, as MIME has it.
        let encoded = STANDARD.encode(bytes(&call.args.need("instr")?));
        let lines = encoded
            .as_bytes()
            .chunks(76)
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)));
        Ok(lines.collect::<String>().into())
    }),
    ("hashutil.base64_decodestring", |call| {
        base64_decode(&call.args.need("instr")?)
    }),
    ("hashutil.md5_digest", |call| digested(call, "md5")),
    ("hashutil.sha1_digest", |call| digested(call, "sha1")),
    ("hashutil.sha256_digest", |call| digested(call, "sha256")),
    ("hashutil.sha512_digest", |call| digested(call, "sha512")),
    ("hashutil.digest", |call| {
        let data = bytes(&call.args.need("instr")?);
        let algorithm = call.args.text_or("checksum", "md5")?;
        Ok(digest(&algorithm, &data)?.into())
    }),
    ("hashutil.hmac_signature", |call| {
        let (data, key) = (call.args.need("string")?, call.args.need("shared_secret")?);
        let challenge = call.args.text("challenge_hmac")?;
        Ok((STANDARD.encode(hmac_sha256(&bytes(&key), &bytes(&data))) == challenge).into())
    }),
    ("hashutil.hmac_compute", |call| {
        let (data, key) = (call.args.need("string")?, call.args.need("shared_secret")?);
        Ok(STANDARD.encode(hmac_sha256(&bytes(&key), &bytes(&data))).into())
    }),
    ("random.get_str", get_str),
    ("random.hash", |call| {
        let data = bytes(&call.args.need("value")?);
        let algorithm = call.args.text_or("algorithm", "sha512")?;
        Ok(digest(&algorithm, &data)?.into())
    }),
    ("random.str_encode", |call| {
        let data = bytes(&call.args.need("value")?);
        match call.args.text_or("encoder", "base64")?.as_str() {
            "base64" => Ok(STANDARD.encode(data).into()),
            "utf-8" | "utf8" | "ascii" => Ok(text_or_bytes(data)),
            other => Err(fail(format!("there is no encoder `{other}` here; `base64` is one"))),
        }
    }),
    ("random.seed", |call| {
        let range = call.args.int("range", 10)?;
        let seed = call.args.text_or_none("hash")?.unwrap_or_else(|| call.shared.minion.clone());
        Ok((number_of(&seed, range.unsigned_abs()) as i64).into())
    }),
    ("random.rand_int", |call| {
        let (start, end) = (call.args.int("start", 1)?, call.args.int("end", 10)?);
        let random = lots(call)?;
        Ok((start + random.below(end.saturating_sub(start).unsigned_abs().saturating_add(1)) as i64).into())
    }),
    ("random.sample", |call| {
        let all = items(&call.args.need("value")?)?;
        let size = usize::try_from(call.args.int("size", 1)?).unwrap_or(0);
        let mut all = shuffled(all, &*lots(call)?);
        all.truncate(size);
        Ok(list(all))
    }),
    ("random.shuffle", |call| {
        let all = items(&call.args.need("value")?)?;
        Ok(list(shuffled(all, &*lots(call)?)))
    }),
    ("file.join", |call| {
        let parts: Vec<String> = call.args.rest().iter().map(text).collect();
        Ok(os_join(&parts).into())
    }),
    ("file.basename", |call| Ok(basename(&call.args.text("path")?).into())),
    ("file.dirname", |call| Ok(dirname(&call.args.text("path")?).into())),
    ("file.normpath", |call| Ok(normalized(&call.args.text("path")?).into())),
    ("file.pardir", |_| Ok("..".into())),
    ("environ.items", |_| {
        Err(fail("`environ.items` is not supported; ask for one with `environ.get`"))
    }),
];

fn note(call: &mut Call, level: &'static str) -> Result<Value, Error> {
    let message = call.args.take("message").unwrap_or_default();
    call.args.rest();
    call.args.keywords();
    call.shared.note(level, text(&message));
    Ok(true.into())
}

fn digested(call: &mut Call, algorithm: &str) -> Result<Value, Error> {
    Ok(digest(algorithm, &bytes(&call.args.need("instr")?))?.into())
}

fn lots(call: &mut Call) -> Result<Arc<Random>, Error> {
    Ok(match call.args.optional("seed")? {
        Some(seed) => Arc::new(Random::new(&text(&seed))),
        None => call.shared.random.clone(),
    })
}

fn shuffled(mut all: Vec<Value>, random: &Random) -> Vec<Value> {
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
    all
}

/// A random string, the same at every rendering of the same file for the same minion.
fn get_str(call: &mut Call) -> Result<Value, Error> {
    let length = usize::try_from(call.args.int("length", 20)?).unwrap_or(0).min(4096);
    let chars = call.args.text_or_none("chars")?;
    let given = chars.is_some();
    let mut from = chars.unwrap_or_default();
    for (name, default, class) in [
        ("lowercase", true, "abcdefghijklmnopqrstuvwxyz"),
        ("uppercase", true, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("digits", true, "0123456789"),
        ("punctuation", true, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ("whitespace", false, " \t\n\r\u{b}\u{c}"),
        (
            "printable",
            false,
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\n\r\u{b}\u{c}",
        ),
    ] {
        // Characters that are given stand alone.
        if call.args.flag(name, default)? && !given {
            from.push_str(class);
        }
    }
    let alphabet: Vec<char> = from.chars().collect();
    if alphabet.is_empty() {
        return Err(fail("`random.get_str` has no characters to choose from"));
    }
    let drawn = (0..length).map(|_| alphabet[call.shared.random.below(alphabet.len() as u64) as usize]);
    Ok(drawn.collect::<String>().into())
}

/// Python's `os.path.join`: an absolute part begins anew.
fn os_join(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
    }
    path
}

/// Salt's `path_join`: later parts lose their leading slash.
pub fn join(parts: &[String]) -> String {
    let mut parts = parts.iter().map(|part| normalized(part));
    let Some(mut path) = parts.next() else { return String::new() };
    for part in parts {
        let part = part.trim_start_matches('/');
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
    }
    normalized(&path)
}

pub fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub fn dirname(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((folder, _)) => match folder.trim_end_matches('/') {
            "" => &path[..folder.len() + 1],
            folder => folder,
        },
        None => "",
    }
}

/// As Python's `posixpath.normpath`.
pub fn normalized(path: &str) -> String {
    let root = match path {
        path if path.starts_with("//") && !path.starts_with("///") => "//",
        path if path.starts_with('/') => "/",
        _ => "",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_python_does() {
        assert_eq!(normalized("/a//b/../c/."), "/a/c");
        assert_eq!(normalized("../a/.."), "..");
        assert_eq!(normalized(""), ".");
        assert_eq!(join(&["/etc".into(), "/nginx/".into(), "x.conf".into()]), "/etc/nginx/x.conf");
        assert_eq!((dirname("/etc/motd"), basename("/etc/motd")), ("/etc", "motd"));
        assert_eq!((dirname("/motd"), dirname("motd"), basename("a/")), ("/", "", ""));
    }
}
