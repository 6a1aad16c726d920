//! `cmd.script` and `cmd.wait_script`: a script of the master, run on the minion.

use super::outcome::{Judge, environment, script};
use super::run::conclude;
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::{Answer, Command, quote};
use crate::states::file::put::hex;
use crate::states::{Change, Conclusion, Context, Decision, Need, RunShell, SourceFile, SourceSpec, StateFunction, fetch};
use crate::yaml::{Data, Mode, OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Runs a script of the state tree on the minion, on every run unless a condition says otherwise.
///
/// It is written to a temporary file, run by what its first line names (`#!/bin/sh`), and removed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The script (`salt://...`), with its arguments behind it; with `source`, just what it is called.
    name: String,
    /// The script: `salt://path`, an absolute path on the minion, or a URL.
    source: Option<String>,
    /// The digest of a `source` that is fetched from the network.
    source_hash: Option<String>,
    /// Its arguments, as a shell reads them.
    args: Option<OneOrMany<String>>,
    /// Render it as a template of this kind: `jinja`.
    template: Option<String>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// The folder in which it runs; the home folder of its user where nothing is said.
    cwd: Option<String>,
    /// The user as whom it runs, in the environment of their login.
    runas: Option<String>,
    /// The same as `runas`, by its former name.
    user: Option<String>,
    /// The group as which it runs.
    group: Option<String>,
    /// The shell that begins it; `sh` where nothing is said.
    shell: Option<String>,
    /// Variables of its environment: `{NAME: value}`, or a list of them.
    env: Option<Value>,
    /// Folders put before those of `PATH`.
    prepend_path: Option<String>,
    /// The umask under which it runs, as octal digits.
    umask: Option<Mode>,
    /// Given on its standard input; else that is empty.
    stdin: Option<String>,
    /// Seconds after which it is ended, and fails.
    timeout: Option<u64>,
    /// Whether it says itself what it did: its output is a JSON object, or its last line is `changed=yes comment='...'`.
    stateful: Option<Value>,
    /// Exit statuses other than 0 that are no failure.
    success_retcodes: Option<OneOrMany<i32>>,
    /// Outputs that are no failure, whatever the exit status.
    success_stdout: Option<OneOrMany<String>>,
    /// Error outputs that are no failure, whatever the exit status.
    success_stderr: Option<OneOrMany<String>>,
    /// With `True`, its output is not shown.
    #[serde(default)]
    hide_output: bool,
    /// With `quiet`, its output is not shown. Every other level is accepted as Salt has it.
    output_loglevel: Option<String>,
    /// With `True`, it is begun and not waited for.
    #[serde(default)]
    bg: bool,
    /// Accepted as Salt has it: there is never a terminal.
    #[serde(default)]
    #[expect(dead_code, reason = "there is never a terminal")]
    use_vt: bool,
}

/// Runs a script only when a state that this one watches (`watch`, `listen`) has changed.
///
/// The arguments are those of `cmd.script`.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WaitScript(Script);

impl Script {
    fn spec(&self) -> SourceSpec {
        let source = match &self.source {
            Some(source) => source.clone(),
            None => self.name.split_whitespace().next().unwrap_or_default().to_owned(),
        };
        SourceSpec {
            sources: vec![source],
            source_hash: self.source_hash.clone(),
            skip_verify: self.source_hash.is_none(),
            template: self.template.clone(),
            ..SourceSpec::default()
        }
        .with_context(self.defaults.as_ref(), self.context.as_ref())
    }

    fn args(&self) -> String {
        match &self.args {
            Some(args) if !args.is_empty() => args.join(" "),
            _ => self
                .name
                .split_once(char::is_whitespace)
                .map(|(_, args)| args.trim())
                .unwrap_or_default()
                .to_owned(),
        }
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            comment: format!("Command '{}' run", self.name),
            success_retcodes: &self.success_retcodes,
            success_stdout: &self.success_stdout,
            success_stderr: &self.success_stderr,
            stateful: match self.stateful.as_ref().map(|stateful| &stateful.data) {
                Some(Data::Bool(stateful)) => *stateful,
                Some(Data::List(items)) => !items.is_empty(),
                _ => false,
            },
            hide_output: self.hide_output,
            timeout: self.timeout,
            ignore_timeout: false,
            cwd: &self.cwd,
            background: self.bg,
        }
    }

    fn run(&self, context: &Context) -> Result<Decision> {
        let spec = self.spec();
        let file = context.resolved.file(&spec)?;
        // The run's name and the script's own: no two that run at once share a file, and it can be found if the minion dies.
        let own = hex(format!("{}\0{}\0{:?}", self.name, self.args(), spec).as_bytes());
        let place = format!("/tmp/.picloud-{}-{}", context.run, &own[..12]);
        let user = self.runas.clone().or_else(|| self.user.clone());
        let command = Command {
            text: format!("{} {}", quote(&place), self.args()),
            shell: self.shell.clone(),
            user: user.clone(),
            cwd: self.cwd.clone(),
            env: environment(&self.env)?,
            clean_env: false,
            umask: self.umask.map(|umask| umask.to_string()),
            timeout: self.timeout,
            stdin: self.stdin.clone(),
        };
        // `set -C` makes the shell create the file anew, so that nothing planted under its name is followed.
        let mut text = format!("tmp={}\n(umask 077; set -C; : >\"$tmp\") || exit 1\n", quote(&place));
        // Begun in the background, it is removed by the one that runs it.
        if !self.bg {
            text += "trap 'rm -f \"$tmp\"' EXIT\n";
        }
        let stdin = match file {
            SourceFile::Here { content, .. } => {
                text += "cat >\"$tmp\" || exit 1\n";
                Some(content.clone())
            }
            SourceFile::OnMinion { url, .. } if url.starts_with('/') => {
                text += &format!("cat {} >\"$tmp\" || exit 1\n", quote(url));
                None
            }
            SourceFile::OnMinion { url, sha256, hash } => {
                text += &fetch::download(url);
                let sha256 = sha256.clone().map(|digest| ("sha256".to_owned(), digest));
                if let Some((kind, digest)) = sha256.as_ref().or(hash.as_ref()) {
                    text += &fetch::verify(kind, digest, url)?;
                }
                None
            }
        };
        text += "chmod 0500 \"$tmp\" || exit 1\n";
        if let Some(user) = &user {
            let user = quote(user);
            text += &format!("[ \"$(id -un)\" = {user} ] || chown {user} \"$tmp\" || exit 1\n");
        }
        let after = self.bg.then_some("rm -f \"$tmp\"");
        let run = script(command, self.prepend_path.as_deref(), self.group.as_deref(), after);
        let mut change = Change::new(
            format!("Command '{}' would have been executed", self.name),
            format!("Command '{}' run", self.name),
        )
        .change("cmd", self.name.as_str())
        .step(RunShell {
            label: format!("script {:?}", self.name),
            script: text + &run,
            stdin,
        });
        change.secret = self.hide_output || self.output_loglevel.as_deref() == Some("quiet");
        Ok(change.into())
    }
}

impl StateFunction for Script {
    fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() && self.source.is_none() {
            return Err(Error::usage("no script is named").hint("say `source: salt://...`"));
        }
        environment(&self.env)?;
        crate::states::file::edit::mapping("defaults", &self.defaults)?;
        crate::states::file::edit::mapping("context", &self.context)
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        vec![Need::File(self.spec())]
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, context: &Context) -> Result<Decision> {
        self.run(context)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Everything]
    }

    fn conclude(&self, _: &Change, acted: &[Answer], _: &Observed, _: &Context) -> Result<Conclusion> {
        conclude(&self.judge(), acted)
    }

    fn watched(&self, _: &Observed, context: &Context) -> Result<Option<Decision>> {
        self.run(context).map(Some)
    }
}

impl StateFunction for WaitScript {
    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn needs(&self, context: &Context) -> Vec<Need> {
        self.0.needs(context)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds(String::new()))
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        self.0.writes(context)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        self.0.conclude(change, acted, after, context)
    }

    fn watched(&self, seen: &Observed, context: &Context) -> Result<Option<Decision>> {
        self.0.watched(seen, context)
    }
}

#[cfg(test)]
mod tests {
    use crate::states::here::everywhere;
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn a_script_is_run() {
        let case = state("cmd.script", "{name: 'salt://x.sh a \"b c\"', cwd: /srv, runas: pi}").source("#!/bin/sh\necho $2\n");
        let shown = case.shows();
        let head: Vec<&str> = shown.lines().take_while(|line| !line.starts_with("  set --")).collect();
        assert_snapshot!(head.join("\n"), @r#"
        would: Command 'salt://x.sh a "b c"' would have been executed
        did: Command 'salt://x.sh a "b c"' run
        changes: {"cmd":"salt://x.sh a \"b c\""}
        sh script "salt://x.sh a \"b c\""
          tmp=/tmp/.picloud-7-test-f4258c9b4aaa
          (umask 077; set -C; : >"$tmp") || exit 1
          trap 'rm -f "$tmp"' EXIT
          cat >"$tmp" || exit 1
          chmod 0500 "$tmp" || exit 1
          [ "$(id -un)" = pi ] || chown pi "$tmp" || exit 1
        "#);
    }

    #[test]
    fn commands_and_scripts_run_here() {
        everywhere(|here| {
            let script = "#!/bin/sh\nprintf '%s|' \"$0\" \"$@\" \"$A\"; pwd; exit 3\n";
            let arguments = format!(
                "{{name: x, source: 'salt://x', args: [a, '\"b  c\"'], env: {{A: \"it's\"}}, cwd: {}, success_retcodes: 3}}",
                here.root
            );
            let case = state("cmd.script", &arguments).source(script);
            assert_eq!(here.apply(&case), "ok: Command 'x' run");
            let leftover = here.run("ls /tmp/.picloud-7-test-* 2>/dev/null | wc -l");
            assert_eq!(leftover.text().trim(), "0");
            let arguments = format!(
                "{{name: 'echo \"$A\" >out; cat >>out', env: {{A: \"it's\"}}, stdin: \"in\\n\", cwd: '{}', umask: 077, prepend_path: /x y}}",
                here.root
            );
            assert!(here.apply(&state("cmd.run", &arguments)).starts_with("ok: "));
            assert_eq!(std::fs::read_to_string(format!("{}/out", here.root)).unwrap(), "it's\nin\n");
            let gone = here.apply(&state("cmd.run", "{name: echo, cwd: /no/such}"));
            assert_eq!(gone, "failed: Desired working directory \"/no/such\" is not available");
            let arguments = format!("{{name: 'sleep 0.2; echo done >{}/bg', bg: true}}", here.root);
            assert!(here.apply(&state("cmd.run", &arguments)).starts_with("ok: "));
            for _ in 0..50 {
                if std::fs::read_to_string(format!("{}/bg", here.root)).is_ok_and(|text| text == "done\n") {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            panic!("the command in the background did nothing");
        });
    }
}
