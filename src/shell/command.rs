//! A command of the user's as shell text: as whom, where, in which environment, for how long.
//!
//! `cmd.run`, conditions and shell probes are all run by this. It knows no connection and no state.

use super::quote;

/// A command of the user's: which text, by which shell, as whom, where, in which environment. Salt's `cmd.run` is the model.
///
/// Neither the text nor the environment ever stands on a command line, where `ps` would show it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// What the user wrote; it may be malformed.
    pub text: String,
    /// The shell that reads it, `sh` where not said. One that is no POSIX shell (`fish`, `python3`) gets the text after `-c`,
    /// on its command line.
    pub shell: Option<String>,
    /// Runs as this user, in the environment of their login; nothing is switched where the session is theirs already.
    pub user: Option<String>,
    /// The home folder where not said.
    pub cwd: Option<String>,
    /// Later values win. A name that is none to a shell is left out.
    pub env: Vec<(String, String)>,
    /// Nothing but `env` and `PATH` is in the environment.
    pub clean_env: bool,
    /// Octal digits.
    pub umask: Option<String>,
    /// Seconds after which the command is ended, with status 124.
    pub timeout: Option<u64>,
    /// Given on standard input; else it is empty.
    pub stdin: Option<String>,
}

/// The status of a command that could not be begun: no such folder, no such user, a umask that is none.
pub const NOT_BEGUN: i32 = 125;

/// The variable that carries the program into its shell; unset before the user's text begins.
const CARRIER: &str = "PICLOUD_COMMAND";

/// The longest program that goes by a variable, in bytes: Linux takes at most 128 KiB in one string of an environment.
const CARRIER_LIMIT: usize = 100_000;

/// Reads a program from standard input and runs it; `$1` says whether a login's environment is to be made first.
const READER: &str = r#"PICLOUD_COMMAND=$(cat; echo .); exec </dev/null; eval "${PICLOUD_COMMAND%.}""#;

impl Command {
    /// Well-formed shell text that runs the command and ends with its status: a section's whole script, or the last thing in it.
    /// It may overwrite the positional parameters.
    pub fn script(&self) -> String {
        let shell = self.shell.as_deref().unwrap_or("sh");
        let (shell, other) = if is_posix(shell) { (shell, None) } else { ("sh", Some(shell)) };
        let shell = quote(shell);
        let program = self.program(other);
        if self.user.is_none() && !self.clean_env && program.len() < CARRIER_LIMIT {
            let run = format!("{shell} -c 'eval \"${CARRIER}\"'");
            return format!("export {CARRIER}={}\n{}", quote(&program), self.timed(&run));
        }
        // Switching users may clear the environment, and a large program does not fit into it: through a pipe, then.
        let mut script = String::new();
        if self.clean_env {
            script.push_str(&format!(
                "set -- env -i PATH=\"$PATH\" {shell} -c {} {shell}\n",
                quote(READER)
            ));
        } else {
            script.push_str(&format!("set -- {shell} -c {} {shell}\n", quote(READER)));
        }
        if let Some(user) = &self.user {
            let user = quote(user);
            // `su` takes one text; in it, `"$0" "$@"` are the words that follow.
            script.push_str(&format!(
                "if [ \"$(id -un)\" = {user} ]; then :
elif [ \"$(id -u)\" != 0 ]; then set -- sudo -n -H -u {user} -- \"$@\" login
elif command -v runuser >/dev/null; then set -- runuser -u {user} -- \"$@\" login
else set -- su -s /bin/sh -c 'exec \"$0\" \"$@\"' -- {user} \"$@\" login
fi
"
            ));
        }
        script.push_str(&format!(
            "printf '%s\\n' {} | {{\n{}\n}}",
            quote(&program),
            self.timed("\"$@\"")
        ));
        script
    }

    /// `run` under the time limit.
    fn timed(&self, run: &str) -> String {
        let Some(seconds) = self.timeout else { return run.to_owned() };
        // busybox's `timeout` answers 143 (ended by SIGTERM) where coreutils' answers 124. A job in the background has lost
        // its standard input, so it is handed over as another descriptor.
        format!(
            "if command -v timeout >/dev/null; then timeout {seconds} {run}
picloud_status=$?
else
exec 3<&0
{run} <&3 3<&- & picloud_job=$!
{{ sleep {seconds}; kill \"$picloud_job\"; }} </dev/null >/dev/null 2>&1 3<&- & picloud_clock=$!
wait \"$picloud_job\"
picloud_status=$?
kill \"$picloud_clock\" 2>/dev/null
fi
[ $picloud_status != 143 ] || picloud_status=124
(exit $picloud_status)"
        )
    }

    /// What the shell reads: environment, folder, and the user's text (which `other`, no POSIX shell, is to run).
    fn program(&self, other: Option<&str>) -> String {
        let mut program = format!("unset {CARRIER}\n");
        if let Some(user) = &self.user {
            program.push_str(&login(user));
        }
        for (name, value) in &self.env {
            if is_name(name) {
                program.push_str(&format!("export {name}={}\n", quote(value)));
            }
        }
        if let Some(umask) = &self.umask {
            program.push_str(&format!("umask {} || exit {NOT_BEGUN}\n", quote(umask)));
        }
        match &self.cwd {
            Some(cwd) => program.push_str(&format!("cd {} || exit {NOT_BEGUN}\n", quote(cwd))),
            None => program.push_str("cd 2>/dev/null || cd /\n"),
        }
        match (&self.stdin, other) {
            (None, None) => program.push_str(&self.text),
            (None, Some(other)) => program.push_str(&format!("exec {} -c {}", quote(other), quote(&self.text))),
            (Some(stdin), None) => program.push_str(&format!("printf %s {} | eval {}", quote(stdin), quote(&self.text))),
            (Some(stdin), Some(other)) => {
                program.push_str(&format!(
                    "printf %s {} | {} -c {}",
                    quote(stdin),
                    quote(other),
                    quote(&self.text)
                ));
            }
        }
        program.push('\n');
        program
    }
}

/// The environment that a login of `user` begins with, made where the session was switched to them. Salt takes it from `su -`.
/// What the profiles print is nobody's output; one that ends the shell is told about.
fn login(user: &str) -> String {
    // Tilde expansion wants the bare name.
    let plain = user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let home = if plain {
        format!("export HOME=~{user}\n")
    } else {
        String::new()
    };
    let user = quote(user);
    format!(
        "if [ \"$1\" = login ]; then set --
export USER={user} LOGNAME={user} SHELL=/bin/sh
{home}exec 3>&2
trap 'echo \"a login profile of $USER ended the shell\" >&3; trap - 0; exit {NOT_BEGUN}' 0
{{ if [ -r /etc/profile ]; then . /etc/profile; fi; if [ -r \"$HOME/.profile\" ]; then . \"$HOME/.profile\"; fi; }} >/dev/null 2>&1
trap - 0
exec 3>&-
fi
"
    )
}

/// Whether `eval` in it reads the language of a POSIX shell.
fn is_posix(shell: &str) -> bool {
    matches!(
        shell.rsplit('/').next(),
        Some("sh" | "bash" | "dash" | "ash" | "ksh" | "mksh" | "zsh" | "rbash")
    )
}

/// Whether a shell can have a variable of this name.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::process::{Output, Stdio};

    /// Runs `script` as a section is run: given to a shell on its standard input, in a subshell that has none.
    fn run(shell: &[&str], script: &str) -> Output {
        let mut child = std::process::Command::new(shell[0])
            .args(&shell[1..])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let script = format!("(\n{script}\n) </dev/null\n");
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn shells() -> Vec<Vec<&'static str>> {
        let all = [vec!["dash"], vec!["bash"], vec!["busybox", "ash"]];
        let there = |shell: &Vec<&str>| std::process::Command::new(shell[0]).arg("--help").output().is_ok();
        all.into_iter().filter(there).collect()
    }

    fn command(text: &str) -> Command {
        Command {
            text: text.into(),
            cwd: Some("/".into()),
            ..Command::default()
        }
    }

    #[test]
    fn commands_run_as_they_are_told() {
        let table: Vec<(&str, Command, i32, &str)> = vec![
            ("the status is the command's", command("exit 3"), 3, ""),
            ("the last status counts", command("true; false"), 1, ""),
            ("a malformed text fails alone", command("echo 'it"), 2, ""),
            ("a text of several lines", command("cat <<X\na\nX\necho b"), 0, "a\nb\n"),
            ("a comment at the end", command("echo a # b"), 0, "a\n"),
            ("standard input is empty", command("cat; echo end"), 0, "end\n"),
            (
                "the carrier is unset",
                command("env | grep -c PICLOUD_COMMAND || true"),
                0,
                "0\n",
            ),
            ("no parameters", command("echo $#"), 0, "0\n"),
            (
                "standard input is given",
                Command {
                    stdin: Some("a'b\n".into()),
                    ..command("cat; echo end")
                },
                0,
                "a'b\nend\n",
            ),
            (
                "environment, folder, umask",
                Command {
                    env: vec![
                        ("A".into(), "1 '2'".into()),
                        ("A-B".into(), "x".into()),
                        ("A".into(), "$3".into()),
                    ],
                    cwd: Some("/usr/bin".into()),
                    umask: Some("027".into()),
                    ..command("echo \"$A\"; pwd; umask")
                },
                0,
                "$3\n/usr/bin\n0027\n",
            ),
            (
                "no such folder",
                Command {
                    cwd: Some("/no/such".into()),
                    ..command("echo here")
                },
                NOT_BEGUN,
                "",
            ),
            (
                "a clean environment",
                Command {
                    clean_env: true,
                    env: vec![("A".into(), "1".into())],
                    ..command("env | grep -v -E '^(PATH|PWD|_|OLDPWD|SHLVL)='")
                },
                0,
                "A=1\n",
            ),
            (
                "as the user that we are",
                Command {
                    user: Some(whoami()),
                    ..command("id -un; cat; echo $#")
                },
                0,
                &format!("{}\n0\n", whoami()),
            ),
            (
                "another shell",
                Command {
                    shell: Some("/bin/bash".into()),
                    ..command("a=(1 2); echo ${a[1]}")
                },
                0,
                "2\n",
            ),
            (
                "no shell at all",
                Command {
                    shell: Some("echo".into()),
                    ..command("$HOME")
                },
                0,
                "-c $HOME\n",
            ),
            (
                "in time",
                Command {
                    timeout: Some(20),
                    ..command("cat; echo a; exit 7")
                },
                7,
                "a\n",
            ),
            (
                "out of time",
                Command {
                    timeout: Some(1),
                    ..command("echo a; exec sleep 20")
                },
                124,
                "a\n",
            ),
        ]
        .into_iter()
        .map(|(what, command, status, out)| (what, command, status, &*Box::leak(out.to_owned().into_boxed_str())))
        .collect();
        for shell in shells() {
            for (what, command, status, out) in &table {
                let output = run(&shell, &command.script());
                let said = String::from_utf8_lossy(&output.stdout).replace("\n27\n", "\n0027\n");
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(
                    (output.status.code(), &*said),
                    (Some(*status), *out),
                    "{shell:?} {what}: {error}\n{}",
                    command.script()
                );
            }
        }
    }

    #[test]
    fn a_switch_makes_a_login() {
        if whoami() != "root" {
            return;
        }
        let daemon = Command {
            user: Some("nobody".into()),
            cwd: None,
            env: vec![("A".into(), "1".into())],
            ..command("id -un; echo \"$USER $LOGNAME $A $#\"; pwd; cat")
        };
        for shell in shells() {
            let output = run(&shell, &daemon.script());
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "nobody\nnobody nobody 1 0\n/\n",
                "{shell:?} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        // Without `runuser` it is `su`.
        let script = daemon.script().replace("command -v runuser", "false");
        assert_eq!(
            String::from_utf8_lossy(&run(&["sh"], &script).stdout),
            "nobody\nnobody nobody 1 0\n/\n"
        );
        let nobody = Command {
            user: Some("no-such-user".into()),
            ..command("true")
        };
        assert!(!run(&["sh"], &nobody.script()).status.success());
    }

    #[test]
    fn nothing_stands_on_a_command_line() {
        // `ps` inside the command sees its own ancestors.
        let text = "tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$PPID/cmdline # s3cret";
        for user in [None, Some(whoami())] {
            let command = Command {
                user,
                env: vec![("P".into(), "s3cret".into())],
                ..command(text)
            };
            let said = String::from_utf8(run(&["sh"], &command.script()).stdout).unwrap();
            assert!(said.contains("sh") && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_large_text_runs_too() {
        let text = format!("echo {}", "x".repeat(300_000));
        let output = run(&["sh"], &command(&format!("{text} | wc -c")).script());
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "300001");
    }

    fn whoami() -> String {
        let id = std::process::Command::new("id").arg("-un").output().unwrap();
        String::from_utf8(id.stdout).unwrap().trim().to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_text_arrives(text in "[^\\x00]{0,60}", value in "[^\\x00]{0,30}", piped in any::<bool>()) {
            let command = Command {
                text: format!("printf '%s|' {} \"$V\"", quote(&text)),
                env: vec![("V".into(), value.clone())],
                clean_env: piped,
                ..Command::default()
            };
            let out = run(&["sh"], &command.script());
            prop_assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("{text}|{value}|"));
        }
    }
}
