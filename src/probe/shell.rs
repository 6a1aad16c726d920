//! Free-form shell: a section of its own for each.

use super::{Fact, Probe, ShellProbe, ShellSeen};
use crate::shell::{Answer, Command, Section, quote};

/// The status that a command gets that no shell could be given: it has a NUL in it.
const UNUSABLE: i32 = 126;

pub(super) fn section(probe: &ShellProbe) -> Section {
    let texts = [&probe.user, &probe.cwd, &probe.shell, &probe.umask];
    let values = probe.env.iter().map(|(_, value)| value);
    let mut all = texts.into_iter().flatten().chain(values).chain([&probe.script]);
    if all.any(|text| text.contains('\0')) {
        return Section::new(format!("echo 'the command has a NUL in it' >&2; exit {UNUSABLE}"));
    }
    let plain = ShellProbe {
        script: probe.script.clone(),
        reads: probe.reads.clone(),
        ..ShellProbe::default()
    };
    // A script of our own needs no shell of its own; quoted all the same, so that the section is well-formed whatever it is.
    if !probe.reads.is_empty() && *probe == plain {
        return Section::own(format!("eval {}", quote(&probe.script)));
    }
    let command = Command {
        text: probe.script.clone(),
        shell: probe.shell.clone(),
        user: probe.user.clone(),
        cwd: probe.cwd.clone(),
        env: probe.env.clone(),
        umask: probe.umask.clone(),
        timeout: probe.timeout,
        ..Command::default()
    };
    Section::new(command.script())
}

pub(super) fn fact(probe: &ShellProbe, answer: &Answer) -> (Probe, Fact) {
    let seen = ShellSeen {
        status: answer.status,
        stdout: answer.stdout.clone(),
        stderr: answer.stderr.clone(),
    };
    (Probe::Shell(probe.clone()), Fact::Shell(probe.clone(), seen))
}
