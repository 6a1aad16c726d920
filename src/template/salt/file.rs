//! `file.*` on the minion.

use super::cmd::asked_of;
use super::{Call, Function};
use crate::inventory::Glob;
use crate::pattern::{Flags, Pattern};
use crate::probe::{Entry, FileKind, Probe, Resource};
use crate::shell::quote;
use crate::template::failures::from_error;
use crate::template::filters::hash::text_or_bytes;
use crate::template::questions::Risk;
use crate::template::value::{dict, fail, is_list, items, list, text};
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("file.file_exists", |call| {
        end(call, |entry| entry.is_some_and(|entry| entry.kind == FileKind::File).into())
    }),
    ("file.directory_exists", |call| {
        end(call, |entry| {
            entry.is_some_and(|entry| entry.kind == FileKind::Directory).into()
        })
    }),
    ("file.is_blkdev", |call| {
        end(call, |entry| {
            entry.is_some_and(|entry| entry.kind == FileKind::BlockDevice).into()
        })
    }),
    ("file.is_chrdev", |call| {
        end(call, |entry| {
            entry.is_some_and(|entry| entry.kind == FileKind::CharDevice).into()
        })
    }),
    ("file.is_fifo", |call| {
        end(call, |entry| entry.is_some_and(|entry| entry.kind == FileKind::Fifo).into())
    }),
    ("file.is_link", |call| {
        here(call, |entry| {
            Ok(entry.is_some_and(|entry| entry.kind == FileKind::Symlink).into())
        })
    }),
    ("file.readlink", |call| {
        let path = call.args.text("path")?;
        let canonical = call.args.flag("canonicalize", false)?;
        seen(call, &path, Probe::meta(&path), |entry| match entry {
            Some(entry) if entry.kind == FileKind::Symlink => {
                let end = entry.leads_to.as_ref().filter(|_| canonical).map(|end| end.path.clone());
                Ok(end.or_else(|| entry.target.clone()).unwrap_or_default().into())
            }
            _ => Err(fail(format!("{path} is no symlink"))),
        })
    }),
    ("file.stats", |call| {
        let path = call.args.text("path")?;
        call.args.text_or_none("hash_type")?;
        let follow = call.args.flag("follow_symlinks", true)?;
        seen(call, &path, Probe::meta(&path), |entry| {
            let target = entry.map(|entry| if follow { followed(entry) } else { Some(entry) });
            match target.flatten() {
                Some(entry) => Ok(stats(&path, entry)),
                None => Err(fail(format!("{path} does not exist on the minion"))),
            }
        })
    }),
    ("file.get_mode", |call| {
        let path = call.args.text("path")?;
        let follow = call.args.flag("follow_symlinks", true)?;
        seen(call, &path, Probe::meta(&path), |entry| {
            let entry = entry.and_then(|entry| if follow { followed(entry) } else { Some(entry) });
            Ok(entry.map_or(Value::from(()), |entry| format!("{:04o}", entry.mode).into()))
        })
    }),
    ("file.get_user", |call| owner(call, |entry| entry.user.as_str().into())),
    ("file.get_group", |call| owner(call, |entry| entry.group.as_str().into())),
    ("file.get_uid", |call| owner(call, |entry| entry.uid.into())),
    ("file.get_gid", |call| owner(call, |entry| entry.gid.into())),
    ("file.read", |call| {
        let path = call.args.text("path")?;
        let binary = call.args.flag("binary", false)?;
        seen(call, &path, Probe::text(&path), |entry| {
            let contents = entry.and_then(followed).and_then(|entry| entry.contents.clone());
            match contents {
                Some(contents) if binary => Ok(Value::from_bytes(contents.to_vec())),
                Some(contents) => Ok(text_or_bytes(contents.to_vec())),
                None => Err(fail(format!(
                    "{path} cannot be read on the minion: it is not there, no file, or too large"
                ))),
            }
        })
    }),
    ("file.contains", |call| {
        let path = call.args.text("path")?;
        let wanted = call.args.text("text")?;
        seen(call, &path, Probe::text(&path), |entry| {
            let contents = entry
                .and_then(followed)
                .and_then(|entry| entry.contents.clone())
                .unwrap_or_default();
            Ok(String::from_utf8_lossy(&contents).contains(wanted.trim()).into())
        })
    }),
    ("file.contains_regex", |call| searched(call)),
    ("file.search", |call| searched(call)),
    ("file.get_hash", |call| hashed(call)),
    ("file.get_sum", |call| hashed(call)),
    ("file.access", |call| {
        let path = call.args.text("path")?;
        let flag = match call.args.text("mode")?.as_str() {
            "f" => 'e',
            "r" => 'r',
            "w" => 'w',
            "x" => 'x',
            other => return Err(fail(format!("`file.access`: the mode is f, r, w or x, not `{other}`"))),
        };
        let script = format!("[ -{flag} {} ]", quote(&path));
        asked_of(call, &script, vec![Resource::Path(path)], |seen| seen.ok().into())
    }),
    ("file.path_exists_glob", |call| {
        let path = call.args.text("path")?;
        let script = format!("for f in {}; do [ -e \"$f\" ] && exit 0; done; exit 1", glob_word(&path));
        asked_of(call, &script, vec![Resource::Tree(fixed_part(&path))], |seen| {
            seen.ok().into()
        })
    }),
    ("file.readdir", |call| {
        let path = call.args.text("path")?;
        let script = format!("ls -a {}/", quote(path.trim_end_matches('/')));
        asked_of(call, &script, vec![Resource::Tree(path)], |seen| {
            list(seen.text().lines().map(Value::from).collect())
        })
    }),
    ("file.grep", |call| {
        let path = call.args.text("path")?;
        let pattern = call.args.text("pattern")?;
        let options: Vec<String> = call
            .args
            .rest()
            .iter()
            .map(|option| quote(&text(option)).into_owned())
            .collect();
        let script = format!("grep {} -e {} {}", options.join(" "), quote(&pattern), glob_word(&path));
        asked_of(call, &script, vec![Resource::Tree(fixed_part(&path))], |seen| {
            dict([
                ("retcode".into(), seen.status.into()),
                ("stdout".into(), seen.text().trim_end().into()),
                ("stderr".into(), String::from_utf8_lossy(&seen.stderr).trim_end().into()),
            ])
        })
    }),
    ("file.find", find),
    ("hashutil.digest_file", |call| {
        let path = call.args.text("infile")?;
        let algorithm = call.args.text_or("checksum", "md5")?;
        sum(call, &path, &algorithm)
    }),
    ("hashutil.base64_encodefile", |call| {
        let path = call.args.text("fname")?;
        seen(call, &path, Probe::text(&path), |entry| {
            use base64::Engine;
            let contents = entry.and_then(followed).and_then(|entry| entry.contents.clone());
            let contents = contents.ok_or_else(|| fail(format!("{path} cannot be read on the minion")))?;
            let encoded = base64::engine::general_purpose::STANDARD.encode(&*contents);
            let lines = encoded
                .as_bytes()
                .chunks(76)
                .map(|line| format!("{}\n", String::from_utf8_lossy(line)));
            Ok(lines.collect::<String>().into())
        })
    }),
];

/// What lies at the end of symlinks; `None` for one that leads nowhere.
fn followed(entry: &Entry) -> Option<&Entry> {
    match entry.kind {
        FileKind::Symlink => entry.leads_to.as_ref().map(|end| &end.entry),
        _ => Some(entry),
    }
}

/// Asks for one path.
fn seen(
    call: &mut Call,
    path: &str,
    probe: Probe,
    answer: impl FnOnce(Option<&Entry>) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let shared = call.shared.clone();
    match Call::seen(&shared, &[probe], Risk::None) {
        Some(seen) => answer(seen.entry(path).map_err(from_error)?),
        None => Ok(call.pending()),
    }
}

fn here(call: &mut Call, answer: impl FnOnce(Option<&Entry>) -> Result<Value, Error>) -> Result<Value, Error> {
    let path = call.args.text("path")?;
    seen(call, &path, Probe::meta(&path), answer)
}

fn end(call: &mut Call, answer: impl FnOnce(Option<&Entry>) -> Value) -> Result<Value, Error> {
    here(call, |entry| Ok(answer(entry.and_then(followed))))
}

fn owner(call: &mut Call, answer: impl FnOnce(&Entry) -> Value) -> Result<Value, Error> {
    let path = call.args.text("path")?;
    let follow = call.args.flag("follow_symlinks", true)?;
    seen(call, &path, Probe::meta(&path), |entry| {
        let entry = entry.and_then(|entry| if follow { followed(entry) } else { Some(entry) });
        Ok(entry.map_or(false.into(), answer))
    })
}

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        FileKind::File => "file",
        FileKind::Directory => "dir",
        FileKind::Symlink => "link",
        FileKind::BlockDevice => "block",
        FileKind::CharDevice => "char",
        FileKind::Fifo => "pipe",
        FileKind::Socket => "socket",
    }
}

fn stats(path: &str, entry: &Entry) -> Value {
    dict([
        ("uid".into(), entry.uid.into()),
        ("gid".into(), entry.gid.into()),
        ("user".into(), entry.user.as_str().into()),
        ("group".into(), entry.group.as_str().into()),
        ("mtime".into(), entry.mtime.into()),
        ("size".into(), entry.size.into()),
        ("mode".into(), format!("{:04o}", entry.mode).into()),
        ("type".into(), kind(entry).into()),
        ("target".into(), entry.target.as_deref().unwrap_or(path).into()),
    ])
}

fn searched(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.text("path")?;
    let pattern = call.args.text("pattern")?;
    let flags = Flags {
        multiline: true,
        ..Flags::default()
    };
    for name in ["flags", "bufsize", "ignore_if_missing", "multiline", "lchar"] {
        call.args.keyword(name);
    }
    let pattern = Pattern::new(&pattern, flags).map_err(from_error)?;
    seen(call, &path, Probe::text(&path), |entry| {
        let contents = entry
            .and_then(followed)
            .and_then(|entry| entry.contents.clone())
            .unwrap_or_default();
        Ok(pattern.found(&String::from_utf8_lossy(&contents)).map_err(from_error)?.into())
    })
}

fn hashed(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.text("path")?;
    let algorithm = call.args.text_or("form", "sha256")?;
    call.args.int_or_none("chunk_size")?;
    sum(call, &path, &algorithm)
}

fn sum(call: &mut Call, path: &str, algorithm: &str) -> Result<Value, Error> {
    if algorithm == "sha256" {
        return seen(call, path, Probe::sha256(path), |entry| {
            let sum = entry.and_then(followed).and_then(|entry| entry.sha256.clone());
            Ok(sum.unwrap_or_default().into())
        });
    }
    if !["md5", "sha1", "sha224", "sha384", "sha512"].contains(&algorithm) {
        return Err(fail(format!(
            "unknown hash algorithm `{algorithm}`; there are md5, sha1, sha224, sha256, sha384 and sha512"
        )));
    }
    let script = format!("{algorithm}sum < {}", quote(path));
    asked_of(call, &script, vec![Resource::Path(path.to_owned())], |seen| {
        seen.text()
            .split_whitespace()
            .next()
            .filter(|_| seen.ok())
            .unwrap_or_default()
            .into()
    })
}

/// A word of a shell in which `*`, `?` and brackets keep their meaning.
fn glob_word(path: &str) -> String {
    let mut word = String::new();
    let mut plain = String::new();
    for c in path.chars() {
        if "*?[]".contains(c) {
            if !plain.is_empty() {
                word.push_str(&quote(&std::mem::take(&mut plain)));
            }
            word.push(c);
        } else {
            plain.push(c);
        }
    }
    if !plain.is_empty() || word.is_empty() {
        word.push_str(&quote(&plain));
    }
    word
}

/// The folder above the first pattern in a path.
fn fixed_part(path: &str) -> String {
    match path.find(['*', '?', '[']) {
        Some(at) => match path[..at].rsplit_once('/') {
            Some(("", _)) => "/".to_owned(),
            Some((folder, _)) => folder.to_owned(),
            None => "/".to_owned(),
        },
        None => path.to_owned(),
    }
}

/// Paths below a folder that meet Salt's options: asked by `find`, the names sifted here.
fn find(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.text("path")?;
    let mut options = call.args.keywords();
    let mut take = |name: &str| {
        let at = options.iter().position(|(option, _)| option == name)?;
        Some(options.remove(at).1)
    };
    let mut script = format!("find {}", glob_word(&path));
    for (name, option) in [("mindepth", "mindepth"), ("maxdepth", "maxdepth")] {
        if let Some(depth) = take(name) {
            script += &format!(" -{option} {}", quote(&text(&depth)));
        }
    }
    if let Some(kinds) = take("type") {
        let kinds: Vec<String> = match is_list(&kinds) {
            true => items(&kinds)?.iter().map(text).collect(),
            false => text(&kinds).chars().map(String::from).collect(),
        };
        let tests: Vec<String> = kinds.iter().map(|kind| format!("-type {}", quote(kind))).collect();
        script += &format!(" \\( {} \\)", tests.join(" -o "));
    }
    for name in ["user", "group"] {
        if let Some(owner) = take(name) {
            script += &format!(" -{name} {}", quote(&text(&owner)));
        }
    }
    let name = take("name").map(|glob| Glob::fnmatch(&text(&glob)));
    let iname = take("iname").map(|glob| Glob::fnmatch(&text(&glob).to_lowercase()));
    let regex = |pattern: Option<Value>, ignore_case: bool| -> Result<Option<Pattern>, Error> {
        let flags = Flags {
            ignore_case,
            ..Flags::default()
        };
        pattern
            .map(|pattern| Pattern::new(&text(&pattern), flags).map_err(from_error))
            .transpose()
    };
    let pattern = regex(take("regex"), false)?;
    let ipattern = regex(take("iregex"), true)?;
    let shows_name = take("print").map(|print| text(&print)).is_some_and(|print| print == "name");
    if let Some((option, _)) = options.first() {
        return Err(fail(format!(
            "`file.find` cannot be asked for `{option}` while rendering; there are name, iname, regex, iregex, type, mindepth, maxdepth, user, group and print"
        )));
    }
    let script = format!("{script} 2>/dev/null; true");
    let shared = call.shared.clone();
    let probe = Probe::script(script, vec![Resource::Tree(fixed_part(&path))]);
    let Some(observed) = Call::seen(&shared, std::slice::from_ref(&probe), Risk::None) else {
        return Ok(call.pending());
    };
    let Probe::Shell(shell) = &probe else {
        return Ok(Value::from(()));
    };
    let answer = observed.shell(shell).map_err(from_error)?.text();
    let mut found = Vec::new();
    for path in answer.lines() {
        let base = super::text::basename(path);
        let named = name.as_ref().is_none_or(|glob| glob.matches(base))
            && iname.as_ref().is_none_or(|glob| glob.matches(&base.to_lowercase()));
        let mut matched = true;
        for pattern in [&pattern, &ipattern].into_iter().flatten() {
            matched &= pattern.starts(base).map_err(from_error)?;
        }
        if named && matched {
            found.push(if shows_name { base } else { path });
        }
    }
    found.sort_unstable();
    Ok(list(found.into_iter().map(Value::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_patterns_and_the_rest_is_quoted() {
        assert_eq!(glob_word("/etc/a b/*.conf"), "'/etc/a b/'*.conf");
        assert_eq!(glob_word("/etc/motd"), "/etc/motd");
        assert_eq!(fixed_part("/etc/a/*.conf"), "/etc/a");
        assert_eq!(fixed_part("/*"), "/");
    }
}
