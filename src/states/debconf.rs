//! `debconf.set`: answers to the questions that Debian's packages ask when they are installed.

use super::{Change, Context, Decision, Function, Functions, Platform, RunShell, StateFunction, Step};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, Probe, Resource, ShellProbe, ShellSeen};
use crate::shell::quote;
use crate::yaml::{Data, Pairs, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

pub static FUNCTIONS: Functions = &[Function::of::<Set>("debconf.set", false)];

/// Ensures that debconf knows the answers to questions of a package, before it is installed or after.
///
/// Answers of type `password` are shown nowhere. The package of an installed one may have to be told: `dpkg-reconfigure`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// The package.
    name: String,
    /// The questions, each with its answer: `mail/name: {type: string, value: x.example}`. The types are debconf's: `string`, `boolean`,
    /// `select`, `multiselect`, `note`, `text`, `password`.
    #[schemars(with = "std::collections::BTreeMap<String, Json>")]
    data: Pairs<Value>,
}

/// A question with its answer.
#[derive(Clone, PartialEq, Debug)]
struct Answer {
    question: String,
    kind: String,
    value: String,
}

impl Answer {
    fn shown(&self) -> &str {
        if self.kind == "password" {
            "(password hidden)"
        } else {
            &self.value
        }
    }
}

const KINDS: [&str; 8] = [
    "string",
    "boolean",
    "select",
    "multiselect",
    "note",
    "text",
    "password",
    "title",
];

impl Set {
    fn answers(&self) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for (question, said) in self.data.iter() {
            let wrong = |what: String| Err(Error::usage(format!("`{question}`: {what}")).at(said.at));
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_.+-".contains(&b);
            if question.is_empty() || !question.bytes().all(plain) {
                return wrong("this cannot be the name of a question".to_owned());
            }
            let Some(map) = said.as_map() else {
                return wrong(format!("expected `{{type: ..., value: ...}}`, found {}", said.kind()));
            };
            if let Some((key, _)) = map.iter().find(|(key, _)| !matches!(key.as_str(), Some("type" | "value"))) {
                return wrong(format!("unknown key `{}`; known are `type` and `value`", key.text()));
            }
            let Some(kind) = said.get("type").and_then(Value::scalar_text) else {
                return wrong("the `type` is missing".to_owned());
            };
            if !KINDS.contains(&kind.as_str()) {
                let error = Error::usage(format!("`{question}`: debconf has no type `{kind}`")).at(said.at);
                return Err(error.did_you_mean(&kind, KINDS).hint(format!("it has {}", KINDS.join(", "))));
            }
            let value = match said.get("value") {
                None => return wrong("the `value` is missing".to_owned()),
                Some(value) if value.is_null() => String::new(),
                Some(value) if kind == "boolean" => match &value.data {
                    Data::Bool(yes) => yes.to_string(),
                    _ => match value.scalar_text().map(|text| text.to_lowercase()).as_deref() {
                        Some("true" | "yes" | "on" | "1") => "true".to_owned(),
                        Some("false" | "no" | "off" | "0") => "false".to_owned(),
                        _ => return wrong("the `value` of a boolean must be true or false".to_owned()),
                    },
                },
                Some(value) => match value.scalar_text() {
                    Some(text) if !text.contains('\n') => text,
                    _ => return wrong("the `value` must be one line".to_owned()),
                },
            };
            answers.push(Answer {
                question: question.clone(),
                kind,
                value,
            });
        }
        Ok(answers)
    }

    /// Asks debconf for each answer: `0 VALUE`, or `10 ...` for a question that it does not know.
    fn probe(&self, answers: &[Answer]) -> ShellProbe {
        let asked: String = answers.iter().map(|answer| format!("GET {}\n", answer.question)).collect();
        ShellProbe {
            script: format!(
                "command -v debconf-communicate >/dev/null || exit 9\ndebconf-communicate {} <<'END'\n{asked}END",
                quote(&self.name)
            ),
            reads: vec![Resource::Packages, Resource::Tree("/var/cache/debconf".to_owned())],
            ..ShellProbe::default()
        }
    }
}

impl StateFunction for Set {
    fn check(&self) -> Result<()> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"+.-:".contains(&b);
        if self.name.is_empty() || !self.name.bytes().all(plain) || self.name.starts_with('-') {
            return Err(Error::usage(format!("`{}` is not the name of a package", self.name)));
        }
        if self.data.is_empty() {
            return Err(Error::usage("the argument `data` is missing"));
        }
        self.answers().map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(self.probe(&self.answers()?))])
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Tree("/var/cache/debconf".to_owned())]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let answers = self.answers()?;
        let probe = self.probe(&answers);
        let said = seen.shell(&probe)?;
        let text = said.text();
        let lines: Vec<&str> = text.lines().collect();
        if said.status == 9 || !Platform::of(context.grains).is_debian() {
            return Ok(Decision::Fails("there is no debconf on this minion".to_owned()));
        }
        if lines.len() < answers.len() {
            let error = Error::state(format!(
                "debconf does not answer: {}",
                String::from_utf8_lossy(&said.stderr).trim()
            ));
            return Err(
                error.hint("it is locked while packages are installed, and answers only root: `sudo: true` in the inventory")
            );
        }
        let differs = |line: &str, answer: &Answer| match line.split_once(' ') {
            Some(("0", value)) => value != answer.value,
            _ => line != "0" || !answer.value.is_empty(),
        };
        let wrong: Vec<&Answer> = answers
            .iter()
            .zip(&lines)
            .filter(|(answer, line)| differs(line, answer))
            .map(|(answer, _)| answer)
            .collect();
        if wrong.is_empty() {
            return Ok(Decision::Holds("All specified answers are already set".to_owned()));
        }
        let unchanged: Vec<&str> = answers
            .iter()
            .filter(|answer| !wrong.contains(answer))
            .map(|answer| answer.question.as_str())
            .collect();
        let did = match unchanged.as_slice() {
            [] => "All specified answers were set".to_owned(),
            unchanged => format!("Unchanged answers: {}", unchanged.join(" ")),
        };
        let mut change = Change::new(did.replace("were set", "would be set"), did);
        let mut selections = String::new();
        for answer in &wrong {
            change.changes.insert(answer.question.clone(), answer.shown().into());
            selections += &format!("{} {} {} {}\n", self.name, answer.question, answer.kind, answer.value);
        }
        change = change.step(Step::Shell(RunShell {
            label: "debconf-set-selections".to_owned(),
            script: "debconf-set-selections".to_owned(),
            stdin: Some(selections.into()),
        }));
        let after: String = answers.iter().map(|answer| format!("0 {}\n", answer.value)).collect();
        let after = ShellSeen {
            stdout: after.into_bytes(),
            ..ShellSeen::default()
        };
        Ok(change.predict(Fact::Shell(probe, after)).into())
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::{refusal, state};

    const DATA: &str = "{name: tz, data: {tz/area: {type: select, value: Europe}, tz/ask: {type: boolean, value: True}, tz/key: {type: password, value: s3cret}}}";

    #[test]
    fn answers_are_set() {
        let case = |said: &str| {
            state("debconf.set", DATA)
                .grains("{os_family: Debian}")
                .answers("debconf-communicate", 0, said)
        };
        assert_eq!(
            case("0 Europe\n0 true\n0 s3cret\n").shows(),
            "holds: All specified answers are already set"
        );
        assert_eq!(
            case("0 Europe\n0 false\n10 tz/key doesn't exist\n").shows(),
            "would: Unchanged answers: tz/area\ndid: Unchanged answers: tz/area\nchanges: {\"tz/ask\":\"true\",\"tz/key\":\"(password hidden)\"}\n\
             sh debconf-set-selections\n  debconf-set-selections\n  <<< \"tz tz/ask boolean true\\ntz tz/key password s3cret\\n\"\n"
        );
        assert_eq!(case("").shows(), "error: debconf does not answer: ");
        let elsewhere = state("debconf.set", DATA).answers("debconf-communicate", 9, "");
        assert_eq!(elsewhere.shows(), "fails: there is no debconf on this minion");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (arguments, expected) in [
            (
                "{name: tz, data: {a/b: {type: bolean, value: 1}}}",
                "test.sls:1:24: `a/b`: debconf has no type `bolean`\nhint: did you mean `boolean`?\nhint: it has string, boolean, select, multiselect, note, text, password, title",
            ),
            (
                "{name: tz, data: {a/b: x}}",
                "test.sls:1:24: `a/b`: expected `{type: ..., value: ...}`, found a string",
            ),
            (
                "{name: tz, data: {a/b: {type: string}}}",
                "test.sls:1:24: `a/b`: the `value` is missing",
            ),
            ("{name: tz}", "the argument `data` is missing"),
        ] {
            assert_eq!(refusal("debconf.set", arguments), expected);
        }
    }
}
