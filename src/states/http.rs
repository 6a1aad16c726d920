//! `http.*`: that a URL answers, asked by the minion itself with curl or wget.

use super::{Change, Conclusion, Context, Decision, Function, Functions, StateFunction, Step, fetch};
use crate::error::{Error, Result};
use crate::pattern::{Flags, Pattern};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::{Answer, quote};
use crate::yaml::{Data, OneOrMany, Pairs, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;

pub static FUNCTIONS: Functions = &[
    Function::of::<Query>("http.query", false),
    Function::of::<WaitForSuccessfulQuery>("http.wait_for_successful_query", false),
];

/// Checks that a URL answers as it should; asked by the minion, on every run.
///
/// Without `match` and `status`, any status below 400 will do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The URL.
    name: String,
    /// What the answer's text must contain.
    r#match: Option<String>,
    /// `string`, or `pcre`: `match` is a regular expression in Python's syntax.
    #[serde(default)]
    match_type: Type,
    /// The status that the answer must have; of a list, any of them.
    status: Option<Value>,
    /// `string`, `list`, or `pcre`: `status` is a regular expression in Python's syntax.
    #[serde(default)]
    status_type: Type,
    /// Asks again until the answer is as it should be, for so many seconds.
    wait_for: Option<u64>,
    /// Seconds between two requests.
    #[serde(default = "second")]
    request_interval: f64,
    /// Seconds that one request may take.
    #[serde(default = "ten")]
    timeout: u64,
    /// The request's method.
    #[serde(default = "get")]
    method: String,
    /// The query, behind a `?` in the URL: names and values.
    params: Option<Pairs<String>>,
    /// What is sent: text, or names and values as a form has them.
    data: Option<Value>,
    /// The request's headers, by name.
    header_dict: Option<Pairs<String>>,
    /// The request's headers, each written `Name: value`.
    header_list: Option<OneOrMany<String>>,
    /// The user's name, where the server wants one.
    username: Option<String>,
    /// Their password. It stands on no command line.
    password: Option<String>,
    /// With `False`, the server's certificate is not verified.
    #[serde(default = "yes")]
    verify_ssl: bool,
    /// A file on the minion with the certificates that are trusted.
    ca_bundle: Option<String>,
    /// A file on the minion with the client's certificate, or a list of it and its key.
    cert: Option<OneOrMany<String>>,
    /// Accepted as Salt has it: curl asks where there is one, else wget.
    #[expect(dead_code, reason = "there is one way only")]
    backend: Option<String>,
    /// Accepted as Salt has it: the answer is text.
    #[expect(dead_code, reason = "the answer is always text")]
    decode: Option<bool>,
    /// Accepted as Salt has it: the answer is text.
    #[expect(dead_code, reason = "the answer is always text")]
    decode_type: Option<String>,
    /// Accepted as Salt has it: an answer that is not as it should be is a failure, not an error.
    #[expect(dead_code, reason = "a failure is reported in one way only")]
    raise_error: Option<bool>,
}

/// Waits until a URL answers as it should: `http.query` with `wait_for: 300`.
///
/// The arguments are those of `http.query`.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WaitForSuccessfulQuery(Query);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Type {
    #[default]
    String,
    List,
    Pcre,
}

fn second() -> f64 {
    1.0
}

fn ten() -> u64 {
    10
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

/// `text` as a part of a URL's query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect::<Vec<_>>()
        .join("&")
}

impl Query {
    fn url(&self) -> String {
        let Some(params) = self.params.as_ref().filter(|params| !params.is_empty()) else {
            return self.name.clone();
        };
        let query = form(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let join = if self.name.contains('?') { '&' } else { '?' };
        format!("{}{join}{query}", self.name)
    }

    fn data(&self) -> Result<Option<String>> {
        let Some(data) = self.data.as_ref().filter(|data| !data.is_null()) else {
            return Ok(None);
        };
        Ok(Some(match &data.data {
            Data::Map(map) => {
                let pairs: Vec<(String, String)> = map
                    .iter()
                    .map(|(key, value)| (key.text(), value.scalar_text().unwrap_or_default()))
                    .collect();
                form(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            }
            Data::List(_) => {
                let message = format!("`data` is text or a mapping, not {}", data.kind());
                return Err(Error::usage(message).at(data.at));
            }
            _ => data.scalar_text().unwrap_or_default(),
        }))
    }

    fn headers(&self) -> Vec<String> {
        let pairs = self
            .header_dict
            .iter()
            .flat_map(|pairs| pairs.iter())
            .map(|(name, value)| format!("{name}: {value}"));
        pairs
            .chain(self.header_list.iter().flat_map(|list| list.iter()).cloned())
            .collect()
    }

    /// The statuses that will do, as they were given; `None` where any below 400 will.
    fn statuses(&self) -> Option<Vec<String>> {
        let status = self.status.as_ref().filter(|status| !status.is_null())?;
        Some(match &status.data {
            Data::List(items) => items.iter().filter_map(Value::scalar_text).collect(),
            _ => status.scalar_text().into_iter().collect(),
        })
    }

    /// Shell text that is true when `$code` and the text in `$body` are as they should be.
    fn good(&self) -> String {
        let mut tests = Vec::new();
        match (self.statuses(), self.status_type) {
            (Some(statuses), Type::Pcre) => {
                let pattern = quote(statuses.first().map_or("", String::as_str)).into_owned();
                tests.push(format!("printf '%s\\n' \"$code\" | {}", grep(&pattern)));
            }
            (Some(statuses), _) => {
                let each: Vec<String> = statuses
                    .iter()
                    .map(|status| format!("[ \"$code\" = {} ]", quote(status)))
                    .collect();
                tests.push(format!("{{ {}; }}", each.join(" || ")));
            }
            (None, _) if self.r#match.is_none() => tests.push("[ \"$code\" -ge 100 ] && [ \"$code\" -lt 400 ]".to_owned()),
            (None, _) => {}
        }
        match (&self.r#match, self.match_type) {
            (Some(text), Type::Pcre) => tests.push(format!("{} <\"$body\"", grep(&quote(text)))),
            (Some(text), _) => tests.push(format!("grep -qF -e {} <\"$body\"", quote(text))),
            (None, _) => {}
        }
        tests.join(" && ")
    }

    /// The whole of it: asks, and asks again for `wait` seconds; prints the status and the text of the last answer.
    fn script(&self, wait: u64) -> Result<String> {
        let url = self.url();
        let method = self.method.to_uppercase();
        let data = self.data()?;
        let text = |text: &str| {
            text.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
                .replace('\r', "\\r")
        };
        let mut config = format!("url = \"{}\"\n", text(&url));
        if method != "GET" || data.is_some() {
            config += &format!("request = \"{}\"\n", text(&method));
        }
        if let Some(data) = &data {
            config += &format!("data-raw = \"{}\"\n", text(data));
        }
        for header in self.headers() {
            config += &format!("header = \"{}\"\n", text(&header));
        }
        if let Some(user) = &self.username {
            let password = self.password.as_deref().unwrap_or_default();
            config += &format!("user = \"{}\"\n", text(&format!("{user}:{password}")));
        }
        if !self.verify_ssl {
            config += "insecure\n";
        }
        if let Some(bundle) = &self.ca_bundle {
            config += &format!("cacert = \"{}\"\n", text(bundle));
        }
        for (option, file) in ["cert", "key"]
            .into_iter()
            .zip(self.cert.iter().flat_map(|files| files.iter()))
        {
            config += &format!("{option} = \"{}\"\n", text(file));
        }
        let plain = config.lines().all(|line| line.starts_with("url = ") || line == "insecure");
        let wget = if plain {
            let insecure = if self.verify_ssl { "" } else { "--no-check-certificate " };
            format!(
                "wget -S {insecure}-T {} -O \"$body\" {} 2>\"$err\"; s=$?
code=$(sed -n 's/.*HTTP\\/[0-9.]* \\([0-9][0-9][0-9]\\).*/\\1/p' \"$err\" | tail -n 1)
[ -n \"$code\" ] || {{ [ $s = 0 ] && code=200 || code=000; }}",
                self.timeout,
                quote(&url)
            )
        } else {
            "echo 'this query needs curl, which is not on this minion' >\"$err\"; code=000".to_owned()
        };
        Ok(format!(
            "body=$(mktemp) && err=$(mktemp) || exit 1
trap 'rm -f \"$body\" \"$err\"' EXIT
config={config}
if command -v curl >/dev/null; then
ask() {{ code=$(printf '%s\\n' \"$config\" | curl -sS -L --max-time {timeout} -o \"$body\" -w '%{{http_code}}' -K - 2>\"$err\"); }}
elif command -v wget >/dev/null; then
ask() {{
{wget}
}}
else echo 'neither curl nor wget is on this minion' >&2; exit 1; fi
end=$(($(date +%s) + {wait}))
while :; do
: >\"$body\"
ask
{good} && break
[ \"$(date +%s)\" -lt $end ] || break
sleep {interval}
done
printf '%s\\n' \"$code\"
head -c 1000000 \"$body\"
[ \"$code\" != 000 ] || cat \"$err\" >&2",
            config = quote(&config),
            timeout = self.timeout,
            good = self.good(),
            interval = interval(self.request_interval),
        ))
    }

    fn ask(&self, wait: u64) -> Result<Decision> {
        let shown = fetch::redacted(&self.name);
        let mut change = Change::new(format!("{shown} would be asked (TEST MODE)"), String::new())
            .step(Step::shell(format!("query of {shown}"), self.script(wait)?));
        change.secret = self.password.is_some();
        change.writes = Some(Vec::new());
        Ok(change.into())
    }

    /// What the last answer means, in Salt's words.
    fn judge(&self, answer: &Answer) -> Result<Conclusion> {
        let all = answer.text();
        let (code, body) = all.split_once('\n').unwrap_or((&all, ""));
        let (mut ok, mut comment) = (true, Vec::new());
        let error = answer.error_text();
        if !answer.ok() || code == "000" {
            let shown = fetch::redacted(&self.name);
            return Ok(Conclusion {
                ok: false,
                comment: format!("{shown} gave no answer: {}", error.trim()),
                changes: Map::new(),
            });
        }
        if let Some(text) = &self.r#match {
            let (found, what) = match self.match_type {
                Type::Pcre => (Pattern::new(text, Flags::default())?.found(body)?, "pattern"),
                _ => (body.contains(text.as_str()), "text"),
            };
            ok &= found;
            comment.push(format!(
                "Match {what} \"{text}\" was {}found.",
                if found { "" } else { "not " }
            ));
        }
        match (self.statuses(), self.status_type) {
            (Some(statuses), Type::Pcre) => {
                let pattern = statuses.first().map_or("", String::as_str);
                let found = Pattern::new(pattern, Flags::default())?.found(code)?;
                ok &= found;
                comment.push(match found {
                    true => format!("Status pattern \"{pattern}\" was found."),
                    false => format!("Status pattern \"{pattern}\" was not found; the status is {code}."),
                });
            }
            (Some(statuses), _) => {
                let found = statuses.iter().any(|status| status == code);
                ok &= found;
                comment.push(match found {
                    true => format!("Status {code} was found."),
                    false => format!("Status {} was not found; the status is {code}.", statuses.join(", ")),
                });
            }
            (None, _) => {
                if self.r#match.is_none() {
                    ok = code.parse::<u32>().is_ok_and(|code| (100..400).contains(&code));
                }
                comment.push(format!("The status is {code}."));
            }
        }
        Ok(Conclusion {
            ok,
            comment: comment.join(" "),
            changes: Map::new(),
        })
    }
}

/// `grep` for a quoted pattern: Perl's where the minion's grep knows it, else an extended one. What comes back is judged again.
fn grep(pattern: &str) -> String {
    format!("{{ if printf a | grep -qP a 2>/dev/null; then grep -qP -e {pattern}; else grep -qE -e {pattern}; fi; }}")
}

/// Seconds for `sleep`, which knows fractions nearly everywhere.
fn interval(seconds: f64) -> String {
    format!("{:.3}", seconds.clamp(0.1, 3600.0))
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

impl StateFunction for Query {
    fn check(&self) -> Result<()> {
        if !["http://", "https://"].iter().any(|scheme| self.name.starts_with(scheme)) || self.name.contains(['\n', ' ']) {
            return Err(Error::usage(format!("{:?} is no URL", self.name)).hint("it begins with `http://` or `https://`"));
        }
        if self.method.is_empty() || !self.method.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Error::usage(format!("{:?} is no method of HTTP", self.method)));
        }
        if let (Some(text), Type::Pcre) = (&self.r#match, self.match_type) {
            Pattern::new(text, Flags::default())?;
        }
        if let (Some(statuses), Type::Pcre) = (self.statuses(), self.status_type) {
            Pattern::new(statuses.first().map_or("", String::as_str), Flags::default())?;
        }
        self.data().map(drop)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        self.ask(self.wait_for.unwrap_or(0))
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        Vec::new()
    }

    fn conclude(&self, _: &Change, acted: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        match acted.first() {
            Some(answer) => self.judge(answer),
            None => Err(Error::state("internal: a query without an answer")),
        }
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

impl StateFunction for WaitForSuccessfulQuery {
    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        self.0.ask(self.0.wait_for.unwrap_or(300))
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        Vec::new()
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        self.0.conclude(change, acted, after, context)
    }

    fn is_check_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::states::here::everywhere;
    use crate::states::testing::*;
    use insta::assert_snapshot;
    use std::io::{Read, Write};

    /// A server that answers a request with what it was asked, and anything below `/missing` with 404.
    fn server() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 4096];
                let n = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                let status = if request.contains("/missing") {
                    "404 Not Found"
                } else {
                    "200 OK"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{request}",
                    request.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    fn script_of(arguments: &str, port: u16) -> String {
        let case = state("http.query", &arguments.replace("PORT", &port.to_string()));
        match &case.change().steps[0] {
            crate::states::Step::Shell(shell) => shell.script.clone(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn urls_answer_here() {
        let port = server();
        everywhere(|here| {
            if !here.run("command -v curl").ok() {
                // Debian's static busybox cannot resolve names: its wget crashes.
                return;
            }
            let ask = |path: &str, rest: &str| {
                here.apply(&state(
                    "http.query",
                    &format!("{{name: 'http://127.0.0.1:{port}{path}'{rest}}}"),
                ))
            };
            assert_eq!(ask("/", ""), "ok: The status is 200.");
            assert_eq!(ask("/missing", ""), "failed: The status is 404.");
            assert_eq!(ask("/missing", ", status: 404"), "ok: Status 404 was found.");
            assert_eq!(
                ask("/", ", status: [201, 200], status_type: list, match: 'GET /'"),
                "ok: Match text \"GET /\" was found. Status 200 was found."
            );
            assert_eq!(
                ask("/a", ", match: 'GET\\s/[ab]', match_type: pcre"),
                "ok: Match pattern \"GET\\s/[ab]\" was found. The status is 200."
            );
            assert_eq!(
                ask("/", ", match: nothing, wait_for: 1, request_interval: 0.3"),
                "failed: Match text \"nothing\" was not found. The status is 200."
            );
            let gone = here.apply(&state(
                "http.wait_for_successful_query",
                "{name: 'http://127.0.0.1:1/', wait_for: 0}",
            ));
            assert!(gone.starts_with("failed: http://127.0.0.1:1/ gave no answer: "), "{gone}");
        });
        if std::process::Command::new("curl").arg("--version").output().is_ok() {
            everywhere(|here| {
                if !here.run("command -v curl").ok() {
                    return;
                }
                let arguments = format!(
                    "{{name: 'http://127.0.0.1:{port}/p', method: post, params: {{q: 'a b'}}, data: {{x: '1&2'}}, header_dict: {{X-A: 'it''s \"b\"'}}, username: u, password: p, match: \"POST /p?q=a%20b\", status: 200}}"
                );
                let case = state("http.query", &arguments);
                assert_eq!(
                    here.apply(&case),
                    "ok: Match text \"POST /p?q=a%20b\" was found. Status 200 was found."
                );
                let said = here.run(script_of(&arguments, port)).text().into_owned();
                assert!(
                    said.contains("X-A: it's \"b\"") && said.contains("Authorization: Basic dTpw") && said.ends_with("x=1%262"),
                    "{said}"
                );
            });
        }
    }

    #[test]
    fn a_dry_run_does_not_ask() {
        let case = state("http.wait_for_successful_query", "{name: 'https://u:p@h/', status: 200}");
        let shown = case.shows();
        let head: Vec<&str> = shown.lines().take_while(|line| !line.starts_with("  body=")).collect();
        assert_snapshot!(head.join("\n"), @r"
        would: https://<redacted>@h/ would be asked (TEST MODE)
        did: 
        sh query of https://<redacted>@h/
        ");
        assert!(shown.contains("+ 300))"));
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("http.query", "{name: 'ftp://x'}"), @r#"
        "ftp://x" is no URL
        hint: it begins with `http://` or `https://`
        "#);
        assert_snapshot!(refusal("http.query", "{name: 'http://x', match: '(', match_type: pcre}"), @r#"
        "(" is no regular expression: Parsing error at position 1: Opening parenthesis without closing parenthesis
        hint: patterns are Python's; a `\`, `.`, `*`, `[` or `(` that means itself is written with a `\` before it
        "#);
        assert_snapshot!(refusal("http.query", "{name: 'http://x', match_type: glob}"), @r"
        test.sls:1:32: `match_type`: `glob` is not possible here
        hint: possible are `string`, `list` and `pcre`
        ");
    }
}
