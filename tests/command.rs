//! `picloud run` against a real sshd: what minions print is shown as they print it.

mod program;
#[allow(dead_code, reason = "each file of tests uses what it needs")]
mod sshd;

use program::Program;
use sshd::{Sshd, user};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

/// A project whose minions `ids` are all the one server.
fn project(server: &Sshd, ids: &[&str]) -> Program {
    let program = Program::new();
    server.defaults();
    let minions: String = ids.iter().map(|id| format!("  {id}:\n")).collect();
    program
        .file(
            "picloud.yaml",
            &format!("known_hosts: {}\n", server.path("known_hosts").display()),
        )
        .file(
            "inventory/lab.yaml",
            &format!(
                "defaults: {{address: 127.0.0.1, port: {}, user: {}, key: {}}}\nminions:\n{minions}",
                server.port,
                user(),
                server.path("id").display()
            ),
        );
    program
}

#[test]
fn lines_come_before_the_command_has_ended_and_stay_whole() {
    let Some(server) = Sshd::start("") else { return };
    let program = project(&server, &["pi0", "pi10"]);
    let flag = program.folder().join("flag");
    // The commands go on when the first line of both has been seen.
    let script = format!(
        "echo first; n=0; while [ ! -e {0} ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done; [ -e {0} ] || exit 9; seq 1 3000; printf last",
        flag.display()
    );
    let mut child = program
        .command(&["run", "*", "--", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut first: Vec<String> = lines.by_ref().take(2).collect();
    first.sort();
    assert_eq!(first, ["pi0  | first", "pi10 | first"]);
    std::fs::write(&flag, "").unwrap();
    let rest: Vec<String> = lines.collect();
    for minion in ["pi0  | ", "pi10 | "] {
        let said: Vec<&str> = rest.iter().filter_map(|line| line.strip_prefix(minion)).collect();
        let expected: Vec<String> = (1..=3000).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
        assert_eq!(said, expected);
    }
    assert_eq!(rest.len(), 2 * 3001, "no line but theirs");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), "")
    );
}

#[test]
fn what_one_minion_prints_goes_into_a_pipe_byte_for_byte() {
    let Some(server) = Sshd::start("") else { return };
    let program = project(&server, &["pi0"]);
    let script = "printf 'a\\0\\377\\033[31m\\n\\n'; head -c 3000000 /dev/zero; printf '\\nend'; printf 'oops' >&2; exit 4";
    let output = program.command(&["run", "pi0", "--", script]).output().unwrap();
    let expected = [&b"a\0\xff\x1b[31m\n\n"[..], &vec![0; 3_000_000], b"\nend"].concat();
    assert!(output.stdout == expected, "{} bytes", output.stdout.len());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "oops\nexited with status 4\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn who_printed_nothing_has_a_line() {
    let Some(server) = Sshd::start("") else { return };
    let program = project(&server, &["pi0", "pi1"]);
    let said = program.run(&["run", "pi*", "--", "true"]);
    let mut lines: Vec<&str> = said.text.lines().collect();
    lines.sort_unstable();
    assert_eq!((said.code, lines), (0, vec!["pi0 | (no output)", "pi1 | (no output)"]));
}

#[test]
fn json_holds_the_whole_output() {
    let Some(server) = Sshd::start("") else { return };
    let program = project(&server, &["pi0"]);
    program
        .run(&["run", "pi0", "--out", "json", "--", "echo out; echo err >&2; exit 3"])
        .fails_with(
            2,
            "\
{
  \"pi0\": {
    \"stdout\": \"out\\n\",
    \"stderr\": \"err\\n\",
    \"retcode\": 3
  }
}
",
        );
}

#[test]
fn a_reader_that_goes_away_stops_nobody() {
    let Some(server) = Sshd::start("") else { return };
    let program = project(&server, &["pi0"]);
    let done = program.folder().join("done");
    let script = format!("seq 1 300000; echo >{}", done.display());
    let mut child = program
        .command(&["run", "pi0", "--", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(&start, b"1\n2\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(done.exists());
}
