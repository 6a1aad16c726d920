//! What a command came to, as Salt's `changes` have it: its status and output, or what a stateful command says of itself.

use crate::error::{Error, Result};
use crate::shell::{Answer, Command, NOT_BEGUN, quote};
use crate::states::Conclusion;
use crate::yaml::{Data, OneOrMany, Value};
use serde_json::{Map, Value as Json, json};

/// The status by which a command that took too long is known.
const TIMED_OUT: i32 = 124;

/// Which outcomes are good, and how they are told.
pub(super) struct Judge<'a> {
    /// Salt's comment: `Command "x" run`.
    pub comment: String,
    pub success_retcodes: &'a Option<OneOrMany<i32>>,
    pub success_stdout: &'a Option<OneOrMany<String>>,
    pub success_stderr: &'a Option<OneOrMany<String>>,
    pub stateful: bool,
    pub hide_output: bool,
    pub timeout: Option<u64>,
    pub ignore_timeout: bool,
    pub cwd: &'a Option<String>,
    /// Only begun: what was printed is the process's number.
    pub background: bool,
}

impl Judge<'_> {
    /// What `answer` means.
    pub fn conclude(&self, answer: &Answer) -> Conclusion {
        let (stdout, stderr) = (answer.text().trim_end().to_owned(), answer.error_text().trim_end().to_owned());
        let mut comment = self.comment.clone();
        if self.background {
            let mut changes = Map::new();
            changes.insert("pid".to_owned(), stdout.parse::<u32>().map_or(Json::Null, Json::from));
            return Conclusion {
                ok: answer.ok(),
                comment,
                changes,
            };
        }
        if let (Some(cwd), NOT_BEGUN) = (self.cwd, answer.status)
            && stderr.contains(cwd.as_str())
        {
            return Conclusion {
                ok: false,
                comment: format!("Desired working directory \"{cwd}\" is not available"),
                changes: Map::new(),
            };
        }
        let listed = |given: &Option<OneOrMany<String>>, text: &str| {
            given.as_ref().is_some_and(|given| given.iter().any(|one| one == text))
        };
        let mut status = answer.status;
        if self.success_retcodes.as_ref().is_some_and(|good| good.contains(&status))
            || listed(self.success_stdout, &stdout)
            || listed(self.success_stderr, &stderr)
        {
            status = 0;
        }
        if let (Some(seconds), TIMED_OUT) = (self.timeout, answer.status) {
            comment += &format!("\nTimed out after {seconds} seconds");
            if self.ignore_timeout {
                status = 0;
            }
        }
        if answer.dropped > 0 {
            comment += &format!("\n{} bytes of its output were dropped", answer.dropped);
        }
        let mut changes = Map::new();
        changes.insert("retcode".to_owned(), status.into());
        changes.insert("stdout".to_owned(), stdout.into());
        changes.insert("stderr".to_owned(), stderr.into());
        let mut conclusion = Conclusion {
            ok: status == 0,
            comment,
            changes,
        };
        if self.stateful {
            conclusion = stateful(conclusion);
        }
        if self.hide_output {
            for key in ["stdout", "stderr"] {
                if let Some(text) = conclusion.changes.get_mut(key) {
                    *text = "".into();
                }
            }
        }
        conclusion
    }
}

/// What a stateful command says: its output is a JSON object, or its last line `changed=yes comment='...'`.
fn stateful(run: Conclusion) -> Conclusion {
    let text = |key: &str| run.changes.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let (stdout, stderr) = (text("stdout"), text("stderr"));
    let said = |ok, comment: String, changes| Conclusion { ok, comment, changes };
    if stdout.is_empty() {
        return said(run.ok, stderr, Map::new());
    }
    let (mut data, rest) = match serde_json::from_str::<Json>(&stdout) {
        Ok(Json::Object(data)) => (data, String::new()),
        Ok(_) => {
            return said(
                false,
                "script JSON output must be a JSON object (e.g., {})!".to_owned(),
                Map::new(),
            );
        }
        Err(_) => {
            let (rest, last) = stdout.rsplit_once('\n').unwrap_or(("", &stdout));
            match pairs(last) {
                Some(data) => (data, rest.to_owned()),
                None => {
                    let comment = "Failed parsing script output! Stdout must be JSON or a line of name=value pairs.";
                    return said(false, comment.to_owned(), run.changes);
                }
            }
        }
    };
    let comment = data
        .shift_remove("comment")
        .map(|comment| comment.as_str().map_or_else(|| comment.to_string(), str::to_owned));
    let comment = comment.unwrap_or_default();
    let changed = match data.get("changed") {
        None => false,
        Some(changed) => match changed
            .as_str()
            .map_or_else(|| changed.to_string(), str::to_owned)
            .to_lowercase()
            .as_str()
        {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            other => return said(false, format!("Failed parsing boolean value: {other}"), run.changes),
        },
    };
    if !changed {
        return said(run.ok, comment, Map::new());
    }
    for (key, value) in &run.changes {
        data.entry(key.clone()).or_insert_with(|| value.clone());
    }
    data.insert("stdout".to_owned(), rest.into());
    said(run.ok, comment, data)
}

/// `name=value` words, quoted as for a shell.
fn pairs(line: &str) -> Option<Map<String, Json>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\\' if c == '"' => into.push(chars.next()?),
                        inside => into.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !value.contains('=') => Some((key.to_owned(), json!(value))),
            _ => None,
        })
        .collect()
}

/// `env` in any of its forms: a mapping, a list of mappings, a list of `NAME=value`, one such string.
///
/// # Errors
/// Another form.
pub(in crate::states) fn environment(env: &Option<Value>) -> Result<Vec<(String, String)>> {
    let Some(env) = env.as_ref().filter(|env| !env.is_null()) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        Error::usage(format!("`env` must be a mapping of names to values, not {}", env.kind()))
            .at(env.at)
            .hint("write `- env: {NAME: value}`, or a list of `- NAME: value`")
    };
    match &env.data {
        Data::Map(map) => {
            let mut pairs = Vec::new();
            for (key, value) in map {
                let value = if value.is_null() {
                    Some(String::new())
                } else {
                    value.scalar_text()
                };
                pairs.push((key.text(), value.ok_or_else(wrong)?));
            }
            Ok(pairs)
        }
        Data::List(items) => {
            let mut pairs = Vec::new();
            for item in items {
                pairs.extend(environment(&Some(item.clone()))?);
            }
            Ok(pairs)
        }
        Data::Str(text) => match text.split_once('=') {
            Some((name, value)) => Ok(vec![(name.to_owned(), value.to_owned())]),
            None => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// `command` under another group, begun in the background (and followed by that text there), or as it is: shell text.
pub(super) fn script(mut command: Command, prepend_path: Option<&str>, group: Option<&str>, background: Option<&str>) -> String {
    if let Some(first) = prepend_path {
        command.text = format!("PATH={}:$PATH; export PATH\n{}", quote(first), command.text);
    }
    if let Some(group) = group {
        let group = quote(group);
        command.text = format!(
            "if [ \"$(id -gn)\" = {group} ]; then eval {text}
elif command -v sg >/dev/null; then sg {group} -c {text}
elif command -v sudo >/dev/null; then sudo -n -g {group} -- sh -c {text}
else echo 'neither sg nor sudo is on this minion, to run a command as a group' >&2; exit {NOT_BEGUN}; fi",
            text = quote(&command.text),
        );
    }
    let script = command.script();
    if let Some(after) = background {
        // Nothing holds the session's outputs open, and the end of the session does not end it.
        return format!("(\ntrap '' HUP\n{script}\n{after}\n) </dev/null >/dev/null 2>&1 &\necho $!");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge<'a>() -> Judge<'a> {
        Judge {
            comment: "Command \"x\" run".to_owned(),
            success_retcodes: &None,
            success_stdout: &None,
            success_stderr: &None,
            stateful: false,
            hide_output: false,
            timeout: None,
            ignore_timeout: false,
            cwd: &None,
            background: false,
        }
    }

    fn told(conclusion: &Conclusion) -> String {
        let changes = Json::from(conclusion.changes.clone());
        format!("{} {:?} {changes}", conclusion.ok, conclusion.comment)
    }

    #[test]
    fn stateful_commands_speak_for_themselves() {
        let stateful = Judge {
            stateful: true,
            ..judge()
        };
        let table = [
            (
                "a\nchanged=yes comment='it is' x=1",
                r#"true "it is" {"changed":"yes","x":"1","retcode":0,"stdout":"a","stderr":""}"#,
            ),
            ("changed=no comment=\"all \\\"well\\\"\"", r#"true "all \"well\"" {}"#),
            (
                r#"{"changed": true, "comment": "c", "n": [1]}"#,
                r#"true "c" {"changed":true,"n":[1],"retcode":0,"stdout":"","stderr":""}"#,
            ),
            ("{}", r#"true "" {}"#),
            ("[1]", r#"false "script JSON output must be a JSON object (e.g., {})!" {}"#),
            (
                "just text",
                r#"false "Failed parsing script output! Stdout must be JSON or a line of name=value pairs." {"retcode":0,"stdout":"just text","stderr":""}"#,
            ),
            (
                "changed=maybe",
                r#"false "Failed parsing boolean value: maybe" {"retcode":0,"stdout":"changed=maybe","stderr":""}"#,
            ),
            ("", r#"true "" {}"#),
        ];
        for (stdout, expected) in table {
            let answer = Answer {
                stdout: stdout.into(),
                ..Answer::default()
            };
            assert_eq!(told(&stateful.conclude(&answer)), expected, "{stdout}");
        }
    }

    #[test]
    fn what_counts_as_success() {
        let answer = |status| Answer {
            status,
            stdout: "out\n".into(),
            stderr: "err\n".into(),
            dropped: 0,
        };
        let good = Some(OneOrMany(vec![3]));
        let text = Some(OneOrMany(vec!["err".to_owned()]));
        let cwd = Some("/no".to_owned());
        let three = Judge {
            success_retcodes: &good,
            ..judge()
        };
        let stderr = Judge {
            success_stderr: &text,
            ..judge()
        };
        let slow = |ignore_timeout| Judge {
            timeout: Some(5),
            ignore_timeout,
            ..judge()
        };
        let elsewhere = Judge { cwd: &cwd, ..judge() };
        let hidden = Judge {
            hide_output: true,
            ..judge()
        };
        let background = Judge {
            background: true,
            ..judge()
        };
        let no_folder = Answer {
            status: NOT_BEGUN,
            stderr: "sh: 3: cd: can't cd to /no".into(),
            ..Answer::default()
        };
        let begun = Answer {
            stdout: "42\n".into(),
            ..Answer::default()
        };
        let table = [
            (
                judge(),
                answer(3),
                r#"false "Command \"x\" run" {"retcode":3,"stdout":"out","stderr":"err"}"#,
            ),
            (
                three,
                answer(3),
                r#"true "Command \"x\" run" {"retcode":0,"stdout":"out","stderr":"err"}"#,
            ),
            (
                stderr,
                answer(1),
                r#"true "Command \"x\" run" {"retcode":0,"stdout":"out","stderr":"err"}"#,
            ),
            (
                slow(false),
                answer(124),
                r#"false "Command \"x\" run\nTimed out after 5 seconds" {"retcode":124,"stdout":"out","stderr":"err"}"#,
            ),
            (
                slow(true),
                answer(124),
                r#"true "Command \"x\" run\nTimed out after 5 seconds" {"retcode":0,"stdout":"out","stderr":"err"}"#,
            ),
            (
                elsewhere,
                no_folder,
                r#"false "Desired working directory \"/no\" is not available" {}"#,
            ),
            (
                hidden,
                answer(0),
                r#"true "Command \"x\" run" {"retcode":0,"stdout":"","stderr":""}"#,
            ),
            (background, begun, r#"true "Command \"x\" run" {"pid":42}"#),
        ];
        for (judge, answer, expected) in table {
            assert_eq!(told(&judge.conclude(&answer)), expected);
        }
    }

    #[test]
    fn environments_have_many_forms() {
        let parsed = |text: &str| {
            let value = crate::yaml::parse(crate::error::FileId::of("x"), text).unwrap();
            environment(&Some(value)).map(|pairs| pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
        };
        for text in ["{A: 1, B: yes}", "[{A: 1}, {B: yes}]", "[A=1, B=yes]", "[{A: 1, B: yes}]"] {
            assert_eq!(parsed(text).unwrap(), "A=1 B=yes", "{text}");
        }
        assert!(parsed("A").is_err() && parsed("{A: [1]}").is_err());
    }
}
