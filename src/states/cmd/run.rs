//! `cmd.run` and `cmd.wait`.

use super::outcome::{Judge, environment, script};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::{Answer, Command, Content};
use crate::states::{Change, Conclusion, Context, Decision, Need, SourceFile, SourceSpec, StateFunction, Step};
use crate::yaml::{Data, Mode, OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// Runs a command, on every run unless a condition says otherwise: give it `unless`, `onlyif`, `creates`, or `onchanges`.
///
/// The command is read by a shell on the minion. It is done when it exits with 0; its status and output are its changes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command.
    name: String,
    /// The folder in which it runs; the home folder of its user where nothing is said.
    cwd: Option<String>,
    /// The user as whom it runs, in the environment of their login.
    runas: Option<String>,
    /// The same as `runas`, by its former name.
    user: Option<String>,
    /// The group as which it runs.
    group: Option<String>,
    /// The shell that reads it: `/bin/bash`; `sh` where nothing is said.
    shell: Option<String>,
    /// Variables of its environment: `{NAME: value}`, or a list of them.
    env: Option<Value>,
    /// Whether nothing else is in its environment.
    #[serde(default)]
    clean_env: bool,
    /// Folders put before those of `PATH`.
    prepend_path: Option<String>,
    /// The umask under which it runs, as octal digits.
    umask: Option<Mode>,
    /// Given on its standard input; else that is empty.
    stdin: Option<String>,
    /// Seconds after which it is ended, and fails.
    timeout: Option<u64>,
    /// With `True`, being ended by `timeout` is no failure.
    #[serde(default)]
    ignore_timeout: bool,
    /// Whether it says itself what it did: its output is a JSON object, or its last line is `changed=yes comment='...'`. As a list
    /// `[{test_name: COMMAND}]` it names a command that changes nothing and says the same of what would be done; where that
    /// says `changed=no`, this one is not run.
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
    /// Render the command as a template of this kind (`jinja`) once more.
    template: Option<String>,
    /// Variables for the template.
    defaults: Option<Value>,
    /// Variables for the template; they win over `defaults`.
    context: Option<Value>,
    /// Accepted as Salt has it: there is never a terminal.
    #[serde(default)]
    #[expect(dead_code, reason = "there is never a terminal")]
    use_vt: bool,
    /// Accepted as Salt has it: a shell always reads the command.
    #[expect(dead_code, reason = "a shell always reads the command")]
    python_shell: Option<bool>,
    /// Accepted as Salt has it: output is taken as UTF-8.
    #[expect(dead_code, reason = "output is taken as UTF-8")]
    output_encoding: Option<String>,
}

/// Runs a command only when a state that this one watches (`watch`, `listen`) has changed.
///
/// The arguments are those of `cmd.run`. `cmd.run` with `onchanges` does the same.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Wait(Run);

impl Run {
    fn spec(&self) -> Option<SourceSpec> {
        let spec = SourceSpec {
            template: Some(self.template.clone()?),
            text: Some(self.name.clone()),
            ..SourceSpec::default()
        };
        Some(spec.with_context(self.defaults.as_ref(), self.context.as_ref()))
    }

    /// The command as it is run.
    fn text(&self, context: &Context) -> Result<String> {
        let Some(spec) = self.spec() else {
            return Ok(self.name.clone());
        };
        match context.resolved.file(&spec)? {
            SourceFile::Here {
                content: Content::Bytes(bytes),
                ..
            } => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(Error::state("internal: a rendered command that is no text")),
        }
    }

    fn command(&self, text: String) -> Result<Command> {
        Ok(Command {
            text,
            shell: self.shell.clone(),
            user: self.runas.clone().or_else(|| self.user.clone()),
            cwd: self.cwd.clone(),
            env: environment(&self.env)?,
            clean_env: self.clean_env,
            umask: self.umask.map(|umask| umask.to_string()),
            timeout: self.timeout,
            stdin: self.stdin.clone(),
        })
    }

    /// The command that says what would be done.
    fn test(&self) -> Option<String> {
        let first = self.stateful.as_ref()?.as_list()?.first()?;
        first.get("test_name")?.as_str().map(str::to_owned)
    }

    fn is_stateful(&self) -> bool {
        match self.stateful.as_ref().map(|stateful| &stateful.data) {
            Some(Data::Bool(stateful)) => *stateful,
            Some(Data::List(items)) => !items.is_empty(),
            _ => false,
        }
    }

    fn test_probe(&self) -> Result<Option<ShellProbe>> {
        let Some(test) = self.test() else { return Ok(None) };
        let command = self.command(test)?;
        Ok(Some(ShellProbe {
            script: command.text,
            user: command.user,
            cwd: command.cwd,
            env: command.env,
            shell: command.shell,
            umask: command.umask,
            timeout: command.timeout,
            reads: Vec::new(),
        }))
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            comment: format!("Command \"{}\" run", self.name),
            success_retcodes: &self.success_retcodes,
            success_stdout: &self.success_stdout,
            success_stderr: &self.success_stderr,
            stateful: self.is_stateful(),
            hide_output: self.hide_output,
            timeout: self.timeout,
            ignore_timeout: self.ignore_timeout,
            cwd: &self.cwd,
            background: self.bg,
        }
    }

    /// The command, to be run.
    fn run(&self, context: &Context) -> Result<Decision> {
        let command = self.command(self.text(context)?)?;
        let mut change = Change::new(
            format!("Command \"{}\" would have been executed", self.name),
            format!("Command \"{}\" run", self.name),
        )
        .change("cmd", self.name.as_str())
        .step(Step::shell(
            format!("command {:?}", self.name),
            script(
                command,
                self.prepend_path.as_deref(),
                self.group.as_deref(),
                self.bg.then_some(":"),
            ),
        ));
        change.secret = self.hide_output || self.output_loglevel.as_deref() == Some("quiet");
        Ok(change.into())
    }
}

impl StateFunction for Run {
    fn check(&self) -> Result<()> {
        environment(&self.env)?;
        crate::states::file::edit::mapping("defaults", &self.defaults)?;
        crate::states::file::edit::mapping("context", &self.context)
    }

    fn needs(&self, _: &Context) -> Vec<Need> {
        self.spec().map(Need::File).into_iter().collect()
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(self.test_probe()?.map(Probe::Shell).into_iter().collect())
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        if let Some(probe) = self.test_probe()? {
            let answer = seen.shell(&probe)?;
            let answer = Answer {
                status: answer.status,
                stdout: answer.stdout.clone(),
                stderr: answer.stderr.clone(),
                dropped: 0,
            };
            let said = self.judge().conclude(&answer);
            if said.ok && said.changes.is_empty() {
                return Ok(Decision::Holds(said.comment));
            }
        }
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

/// What the one step came to.
pub(super) fn conclude(judge: &Judge, acted: &[Answer]) -> Result<Conclusion> {
    match acted.first() {
        Some(answer) => Ok(judge.conclude(answer)),
        None => Err(Error::state("internal: a command without an answer")),
    }
}

impl StateFunction for Wait {
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
    use crate::states::testing::*;
    use insta::assert_snapshot;

    /// Without the script, which [`crate::shell::Command`] writes.
    fn head(shown: String) -> String {
        shown
            .lines()
            .take_while(|line| !line.starts_with("sh "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_command_is_run() {
        let case = state("cmd.run", "{name: echo it's, cwd: /srv, env: [{A: 1}], timeout: 5}");
        assert_snapshot!(head(case.shows()), @r#"
        would: Command "echo it's" would have been executed
        did: Command "echo it's" run
        changes: {"cmd":"echo it's"}
        "#);
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(1, "a\n", "b\n")], [])), @r#"Conclusion { ok: false, comment: "Command \"echo it's\" run", changes: {"retcode": Number(1), "stdout": String("a"), "stderr": String("b")} }"#);
        assert_eq!(case.watched(), case.shows());
    }

    #[test]
    fn waits_are_only_watched() {
        let case = state("cmd.wait", "{name: echo, hide_output: true}");
        assert_snapshot!(case.shows(), @"holds:");
        assert_snapshot!(head(case.watched()), @r#"
        would: Command "echo" would have been executed
        did: Command "echo" run
        changes: {"cmd":"echo"}
        secret
        "#);
    }

    #[test]
    fn a_command_that_says_what_it_would_do() {
        let arguments = "{name: do it, stateful: [{test_name: would it}]}";
        let case = state("cmd.run", arguments).answers("would it", 0, "changed=no comment='all well'\n");
        assert_snapshot!(case.shows(), @"holds: all well");
        let case = state("cmd.run", arguments).answers("would it", 0, "changed=yes\n");
        assert!(case.shows().starts_with("would: Command \"do it\" would have been executed"));
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(0, "changed=yes comment=done", "")], [])), @r#"Conclusion { ok: true, comment: "done", changes: {"changed": String("yes"), "retcode": Number(0), "stdout": String(""), "stderr": String("")} }"#);
    }

    #[test]
    fn a_command_may_be_a_template() {
        let case = state("cmd.run", "{name: 'echo {{ x }}', template: jinja, context: {x: 1}}").source("echo 1");
        assert!(case.shows().contains("\n  echo 1"), "{}", case.shows());
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("cmd.run", "{name: x, env: A}"), @r"
        test.sls:1:16: `env` must be a mapping of names to values, not a string
        hint: write `- env: {NAME: value}`, or a list of `- NAME: value`
        ");
        assert_snapshot!(refusal("cmd.run", "{name: x, tgt: '*'}"), @"test.sls:1:11: unknown argument `tgt`");
        assert_snapshot!(refusal("cmd.wait", "{name: x, cwdd: /}"), @r"
        test.sls:1:11: unknown argument `cwdd`
        hint: did you mean `cwd`?
        ");
    }
}
