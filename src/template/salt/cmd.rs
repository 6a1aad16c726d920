//! `cmd.*`: what commands on the minion say.

use super::{Call, Function};
use crate::probe::{Probe, Resource, ShellProbe, ShellSeen};
use crate::shell;
use crate::template::args::shown;
use crate::template::questions::Risk;
use crate::template::value::{as_int, dict, fail, is_list, items, pairs, text};
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("cmd.run", |call| {
        said(call, false, Streams::Both, |seen, strip| output(&seen.stdout, strip))
    }),
    ("cmd.shell", |call| {
        said(call, true, Streams::Both, |seen, strip| output(&seen.stdout, strip))
    }),
    ("cmd.run_stdout", |call| {
        said(call, false, Streams::Apart, |seen, strip| output(&seen.stdout, strip))
    }),
    ("cmd.run_stderr", |call| {
        said(call, false, Streams::Apart, |seen, strip| output(&seen.stderr, strip))
    }),
    ("cmd.retcode", |call| {
        said(call, false, Streams::Apart, |seen, _| seen.status.into())
    }),
    ("cmd.run_all", |call| {
        said(call, false, Streams::Apart, |seen, strip| {
            dict([
                ("pid".into(), Value::from(0)),
                ("retcode".into(), seen.status.into()),
                ("stdout".into(), output(&seen.stdout, strip)),
                ("stderr".into(), output(&seen.stderr, strip)),
            ])
        })
    }),
    ("cmd.shell_info", |call| {
        let name = call.args.text("shell")?;
        found(call, &name, |path| {
            dict([
                ("installed".into(), path.is_some().into()),
                ("path".into(), path.unwrap_or_default().into()),
            ])
        })
    }),
    ("cmd.which", |call| {
        let name = call.args.text("cmd")?;
        found(call, &name, |path| path.map_or(Value::from(()), Value::from))
    }),
    ("cmd.has_exec", |call| {
        let name = call.args.text("cmd")?;
        found(call, &name, |path| path.is_some().into())
    }),
    ("cmd.which_bin", |call| {
        let names = items(&call.args.need("cmds")?)?;
        let scripts: Vec<String> = names.iter().map(|name| search(&text(name))).collect();
        first_line(call, &format!("( {} )", scripts.join(" ) || ( ")))
    }),
    ("environ.get", |call| {
        let name = variable(call)?;
        let default = call.args.take("default").unwrap_or_else(|| "".into());
        let script = format!("[ \"${{{name}+x}}\" ] || exit 1; printf %s \"${name}\"");
        asked(call, &script, |seen| {
            if seen.ok() {
                output(&seen.stdout, false)
            } else {
                default.clone()
            }
        })
    }),
    ("environ.has_value", |call| {
        let name = variable(call)?;
        let value = call.args.text_or_none("value")?;
        let script = format!("[ \"${{{name}+x}}\" ] || exit 1; printf %s \"${name}\"");
        asked(call, &script, |seen| {
            let same = value.as_ref().is_none_or(|value| *value == seen.text());
            (seen.ok() && same).into()
        })
    }),
];

fn variable(call: &mut Call) -> Result<String, Error> {
    let name = call.args.text("key")?;
    if name.is_empty()
        || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(fail(format!("{name:?} cannot be the name of an environment variable")));
    }
    Ok(name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// Standard error in standard output.
    Both,
    Apart,
}

fn output(bytes: &[u8], strip: bool) -> Value {
    let text = String::from_utf8_lossy(bytes);
    if strip { text.trim_end().into() } else { text.into() }
}

/// A command of the template's author.
fn said(call: &mut Call, through_shell: bool, streams: Streams, answer: fn(&ShellSeen, bool) -> Value) -> Result<Value, Error> {
    let command = call.args.need("cmd")?;
    let cwd = call.args.text_or_none("cwd")?;
    let stdin = call.args.text_or_none("stdin")?;
    let runas = call.args.text_or_none("runas")?;
    let mut keyword = |name| call.args.keyword(name).filter(|value| !value.is_none());
    let user = runas.or_else(|| keyword("user").map(|user| text(&user)));
    let shell_path = keyword("shell").map(|shell| text(&shell));
    let through_shell = keyword("python_shell").map_or(through_shell, |on| on.is_true());
    let env = keyword("env");
    let umask = keyword("umask").map(|umask| text(&umask));
    let timeout = keyword("timeout")
        .as_ref()
        .and_then(as_int)
        .and_then(|seconds| u64::try_from(seconds).ok());
    let strip = keyword("rstrip").is_none_or(|on| on.is_true());
    let prepend = keyword("prepend_path").map(|path| text(&path));
    // What changes nothing of the answer, or is about the minion's own log.
    for name in [
        "ignore_retcode",
        "output_loglevel",
        "log_callback",
        "hide_output",
        "reset_system_locale",
        "use_vt",
        "clean_env",
        "output_encoding",
        "saltenv",
        "raise_err",
        "success_retcodes",
        "success_stdout",
        "success_stderr",
        "redirect_stderr",
    ] {
        keyword(name);
    }
    if let Some(template) = keyword("template") {
        return Err(fail(format!(
            "`template={}` is not supported for commands asked while rendering",
            shown(&template)
        )));
    }
    let words = match is_list(&command) {
        true => Some(items(&command)?.iter().map(text).collect::<Vec<_>>()),
        false if through_shell => None,
        false => {
            Some(split_words(&text(&command)).ok_or_else(|| fail(format!("the quotes in {} are not closed", shown(&command))))?)
        }
    };
    // Without a shell of its own, Salt hands the words to the program as they are.
    let mut script = words.map_or_else(|| text(&command), |words| shell::words(words.iter().map(String::as_str)));
    if let Some(stdin) = stdin {
        script = format!("printf %s {} | {{ {script}\n}}", shell::quote(&stdin));
    }
    if streams == Streams::Both {
        script = format!("exec 2>&1\n{script}");
    }
    if let Some(prepend) = prepend {
        script = format!("PATH={}:$PATH\n{script}", shell::quote(&prepend));
    }
    let env = match &env {
        None => Vec::new(),
        Some(env) => {
            let mut all = Vec::new();
            for part in if is_list(env) { items(env)? } else { vec![env.clone()] } {
                let pairs = pairs(&part).ok_or_else(|| fail(format!("`env` must be a dictionary, not {}", shown(&part))))?;
                all.extend(pairs.iter().map(|(name, value)| (text(name), text(value))));
            }
            all
        }
    };
    let probe = ShellProbe {
        script,
        user,
        cwd,
        env,
        shell: shell_path.filter(|_| through_shell),
        umask,
        timeout,
        reads: Vec::new(),
    };
    let shared = call.shared.clone();
    let Some(seen) = Call::seen(&shared, &[Probe::Shell(probe.clone())], Risk::Command) else {
        return Ok(call.pending());
    };
    let seen = seen.shell(&probe).map_err(crate::template::failures::from_error)?;
    Ok(answer(seen, strip))
}

/// Words as a POSIX shell would split them, without expanding anything; `None`: a quote is not closed.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// A script of our own that changes nothing; what it reads is not known, so it is read again after every change.
pub fn asked(call: &mut Call, script: &str, answer: impl Fn(&ShellSeen) -> Value) -> Result<Value, Error> {
    asked_of(call, script, vec![Resource::Everything], answer)
}

/// A script of our own that looks at nothing but `reads`.
pub fn asked_of(
    call: &mut Call,
    script: &str,
    reads: Vec<Resource>,
    answer: impl Fn(&ShellSeen) -> Value,
) -> Result<Value, Error> {
    let probe = Probe::script(script, reads);
    let shared = call.shared.clone();
    let Some(seen) = Call::seen(&shared, std::slice::from_ref(&probe), Risk::None) else {
        return Ok(call.pending());
    };
    let Probe::Shell(shell) = &probe else {
        return Ok(Value::from(()));
    };
    Ok(answer(seen.shell(shell).map_err(crate::template::failures::from_error)?))
}

fn first_line(call: &mut Call, script: &str) -> Result<Value, Error> {
    asked_of(call, script, vec![Resource::Packages], |seen| {
        match seen.text().lines().next() {
            Some(line) if seen.ok() => line.into(),
            _ => Value::from(()),
        }
    })
}

/// A script that prints where an executable lies. Not `command -v`, which also finds what is built into the shell.
fn search(name: &str) -> String {
    let name = shell::quote(name);
    if name.contains('/') {
        return format!("[ -f {name} ] && [ -x {name} ] && printf '%s\\n' {name}");
    }
    format!(
        "IFS=:; for d in $PATH; do [ -f \"$d\"/{name} ] && [ -x \"$d\"/{name} ] && printf '%s\\n' \"$d\"/{name} && exit 0; done; exit 1"
    )
}

fn found(call: &mut Call, name: &str, answer: impl Fn(Option<String>) -> Value) -> Result<Value, Error> {
    asked_of(call, &search(name), vec![Resource::Packages], |seen| {
        let path = seen.text().lines().next().filter(|_| seen.ok()).map(str::to_owned);
        answer(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("a  b", Some(&["a", "b"])),
            ("a 'b c' \"d \\\" e\" f\\ g ''", Some(&["a", "b c", "d \" e", "f g", ""])),
            ("a | b", Some(&["a", "|", "b"])),
            ("a 'b", None),
        ];
        for (text, expected) in table {
            let words = split_words(text);
            assert_eq!(
                words
                    .as_deref()
                    .map(|words| words.iter().map(String::as_str).collect::<Vec<_>>()),
                expected.map(<[&str]>::to_vec)
            );
        }
    }
}
