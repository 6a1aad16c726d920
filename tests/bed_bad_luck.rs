//! What can go wrong on real minions: each mishap has its own clear message and exit code, and loses nothing.

mod bed_support;

use bed_support::{Lab, bed, with_result};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

// --- connecting -----------------------------------------------------------------------------------------------------

#[test]
fn every_minion_has_a_line_and_the_dead_delay_nobody() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    let host = &bed.minion("spare").host;
    // A neighbour that does not exist, a port at which nobody listens, a name that nobody knows.
    let nobody = format!("{}.250", host.rsplit_once('.').unwrap().0);
    lab.minions(&[
        &format!("nobody: {{address: {nobody}, timeout: 2}}"),
        &format!("closed: {{address: {host}, port: 9}}"),
        "nameless: {address: no-such-host.invalid}",
        &lab.entry("spare"),
    ]);
    lab.sls("probe", "/srv/every:\n  file.managed: [{contents: here}]\n");
    lab.on("spare", "rm -f /srv/every");
    for _ in 0..2 {
        let said = lab.run(&["apply", "*", "probe"]);
        said.exits(3).says(&[
            "1 changed",
            "3 unreachable",
            "connection refused",
            "is the port right?",
            "no-such-host.invalid",
        ]);
        assert!(said.row("spare").starts_with("spare 0 1 0 0"), "{said}");
        for dead in ["nobody", "closed", "nameless"] {
            assert!(said.row(dead).starts_with(&format!("{dead} not reached: ")), "{said}");
        }
        assert!(said.elapsed < Duration::from_secs(8), "{said}");
        assert_eq!(lab.on("spare", "cat /srv/every; rm /srv/every"), "here");
    }
    // Nobody is called five times in a row here.
    lab.minions(&[
        &format!("nobody: {{address: {nobody}, timeout: 1}}"),
        "nameless: {address: no-such-host.invalid}",
        &lab.entry("spare"),
    ]);
    let said = lab.run(&["ping"]);
    said.exits(3);
    for minion in ["nobody", "nameless", "spare"] {
        said.row(minion);
    }
    let (code, json) = lab.json(&["apply", "*", "probe", "--test"]);
    assert_eq!(code, 3);
    assert_eq!(json["nobody"]["__error__"]["kind"], "unreachable");
    assert_eq!(json.as_object().unwrap().len(), 3);
    let said = lab.run(&["run", "*", "--", "echo it is here"]);
    said.exits(3).says(&["it is here", "nobody", "nameless"]);
}

#[test]
fn keys_and_passwords_that_are_refused() {
    let Some(bed) = bed(&["deb12"]) else { return };
    let lab = bed.looking(&["deb12"]);
    let host = &bed.minion("deb12").host;
    let key = |name: &str| bed.key(name).display().to_string();
    let minion = |rest: &str| lab.minions(&[&format!("m: {{address: {host}, {rest}}}")]);

    minion(&format!("user: root, key: {}", key("id_stranger")));
    lab.run(&["ping"]).exits(3).says(&["`root` was not let in", "id_stranger"]);
    minion("user: pw, password: strawberry");
    lab.run(&["ping"])
        .exits(3)
        .says(&["`pw` was not let in", "password"])
        .does_not_say(&["strawberry"]);
    minion("user: pw, password: raspberry");
    lab.run(&["ping"]).exits(0).says(&["pw"]).does_not_say(&["raspberry"]);
    minion(&format!("user: root, key: {}", key("none")));
    lab.run(&["ping"]).exits(3).says(&["keys/none"]);
    minion(&format!("user: root, key: {}", key("id_cert")));
    lab.run(&["ping"]).exits(0);
}

#[test]
fn an_encrypted_key_is_asked_for_once() {
    let Some(bed) = bed(&["deb11", "deb12"]) else { return };
    let lab = bed.looking(&["deb11", "deb12"]);
    let key = bed.key("id_encrypted").display().to_string();
    let entry = |name: &str| format!("{name}: {{address: {}, user: root, key: {key}}}", bed.minion(name).host);
    lab.minions(&[&entry("deb11"), &entry("deb12")]);
    // Without a terminal it hangs on nothing. (`setsid`: the tests themselves may have been started at one.)
    lab.run(&["ping"]).exits(3).says(&["id_encrypted", "passphrase"]);
    let said = lab.at_terminal(&["ping"], &["raspberry"]);
    said.exits(0).does_not_say(&["raspberry"]);
    assert_eq!(said.out.matches("passphrase").count(), 1, "{said}");
    lab.at_terminal(&["ping"], &["strawberry", "blueberry", "cranberry"])
        .exits(3)
        .says(&["passphrase"])
        .does_not_say(&["strawberry"]);
}

#[test]
fn sudo_that_wants_a_password() {
    let Some(bed) = bed(&["deb12"]) else { return };
    let lab = bed.looking(&["deb12"]);
    let host = &bed.minion("deb12").host;
    let minion = |sudo: &str| {
        lab.minions(&[&format!(
            "m: {{address: {host}, user: pw, password: raspberry, sudo: {sudo}}}"
        )])
    };
    minion("true");
    lab.run(&["ping"]).exits(3).says(&["sudo wants a password", "sudo: password"]);
    minion("password");
    lab.run(&["ping"]).exits(3).says(&["a sudo password is needed"]);
    lab.at_terminal(&["run", "m", "--", "id -un"], &["raspberry"])
        .exits(0)
        .says(&["root"])
        .does_not_say(&["raspberry"]);
    lab.at_terminal(&["run", "m", "--", "id -un"], &["strawberry"])
        .exits(3)
        .says(&["sudo refused the password"])
        .does_not_say(&["strawberry"]);
    lab.minions(&[&format!(
        "m: {{address: {host}, user: pi, sudo: true, key: {}}}",
        bed.minion("deb12").key.display()
    )]);
    lab.run(&["run", "m", "--", "id -un"]).exits(0).says(&["root"]);
}

#[test]
fn host_keys_unknown_and_changed() {
    let Some(bed) = bed(&["deb11", "deb12"]) else { return };
    let lab = bed.looking(&["deb12"]);
    let host = bed.minion("deb12").host.clone();
    let known = std::fs::read_to_string(lab.path("known_hosts")).unwrap();
    lab.sls("x", "never:\n  cmd.run: [{name: 'touch /tmp/never'}]\n");

    std::fs::remove_file(lab.path("known_hosts")).unwrap();
    for arguments in [&["ping"][..], &["apply", "*", "x"]] {
        lab.run(arguments)
            .exits(3)
            .says(&["the host key of", "is not known", "SHA256:", "picloud trust deb12"]);
    }
    lab.run(&["trust", "deb12"]).exits(1).says(&["SHA256:", "--yes"]);
    lab.run(&["ping"]).exits(3);
    lab.at_terminal(&["trust", "deb12"], &["n"]).exits(0).says(&["not trusted"]);
    lab.run(&["ping"]).exits(3);
    lab.at_terminal(&["trust", "deb12"], &["y"]).exits(0).says(&["is known now"]);
    lab.run(&["ping"]).exits(0);
    lab.run(&["trust", "deb12", "--yes"]).exits(0).says(&["is known already"]);

    // Another machine's keys under this one's name.
    let other = &bed.minion("deb11").host;
    let swapped: String = known
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{other} ")).map(|rest| format!("{host} {rest}\n")))
        .collect();
    assert!(!swapped.is_empty());
    lab.file("known_hosts", &swapped);
    for arguments in [&["ping"][..], &["apply", "*", "x"], &["trust", "deb12", "--yes"]] {
        lab.run(arguments).exits(3).says(&["has changed", "known_hosts:", "SHA256:"]);
    }
    assert_eq!(std::fs::read_to_string(lab.path("known_hosts")).unwrap(), swapped);
    assert_eq!(lab.try_on("deb12", "test -e /tmp/never").0, 1);
}

#[test]
fn jump_hosts() {
    let Some(bed) = bed(&["deb11", "deb12", "deb13"]) else {
        return;
    };
    let lab = bed.looking(&["deb11", "deb12", "deb13"]);
    let entry = |name: &str, jump: &str| {
        let entry = lab.entry(name);
        entry.trim_end().trim_end_matches('}').to_owned() + &format!(", jump: {jump}}}")
    };
    lab.minions(&[&lab.entry("deb11"), &entry("deb12", "deb11"), &entry("deb13", "deb11")]);
    let said = lab.run(&["run", "deb1[2-3]", "--", "echo from ${SSH_CONNECTION%% *}; uname -n"]);
    said.exits(0)
        .says(&["deb12", "deb13", &format!("from {}", bed.minion("deb11").host)]);

    let dead = format!("dead: {{address: {}, port: 9}}", bed.minion("deb11").host);
    lab.minions(&[&dead, &entry("deb12", "dead"), &entry("deb13", "dead")]);
    let said = lab.run(&["ping"]);
    said.exits(3).says(&["connection refused", "jump host"]);
    for minion in ["dead", "deb12", "deb13"] {
        said.row(minion);
    }
}

// --- during a run ---------------------------------------------------------------------------------------------------

/// A script that succeeds while `what` is in the list of processes.
fn under_way(what: &str) -> String {
    format!(
        "grep -qsx '{what}' /proc/[0-9]*/comm || for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done 2>/dev/null | grep -qx '{what} *'"
    )
}

#[test]
fn two_runs_at_once() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.sls("slow", "slow:\n  cmd.run: [{name: sleep 3.25}]\n");
    lab.sls("quick", "quick:\n  cmd.run: [{name: 'true'}]\n");
    let first = lab.start(&["apply", "*", "slow"]);
    lab.until("spare", &under_way("sleep 3.25"));
    let second = lab.run(&["apply", "*", "quick"]);
    second.exits(3).says(&[
        "the minion is locked",
        "tester@",
        "is at it since 20",
        "wait for that run to end",
    ]);
    assert!(second.elapsed < Duration::from_secs(2), "it does not wait: {second}");
    // To look is allowed.
    lab.run(&["ping"]).exits(0);
    lab.run(&["apply", "*", "quick", "--test"]).exits(0);
    first.end().exits(0);
    lab.run(&["apply", "*", "quick"]).exits(0);
}

#[test]
fn ctrl_c_finishes_the_step_under_way() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on("spare", "rm -rf /srv/stop; mkdir /srv/stop");
    lab.sls(
        "long",
        "\
before:
  cmd.run: [{name: touch /srv/stop/before}]
during:
  cmd.run: [{name: 'sleep 2.25; touch /srv/stop/during'}]
after:
  cmd.run: [{name: touch /srv/stop/after}]
/srv/stop/file:
  file.managed: [{contents: x}]
",
    );
    let run = lab.start(&["apply", "*", "long"]);
    lab.until("spare", &under_way("sleep 2.25"));
    run.interrupt();
    let said = run.end();
    said.exits(2).says(&[
        "finishing what is under way, beginning nothing more",
        "Ctrl-C",
        "stopped after 2 of 4",
    ]);
    assert_eq!(lab.on("spare", "cd /srv/stop; echo *"), "before during");
    // It is recorded as it was, and the minion is free.
    lab.run(&["runs"]).exits(0).says(&["stopped"]);
    lab.run(&["runs", "show"]).says(&["stopped", "Ctrl-C"]);
    lab.run(&["apply", "*", "long"]).exits(0);
    assert_eq!(lab.on("spare", "cd /srv/stop; echo *"), "after before during file");
}

#[test]
fn ctrl_c_before_anything_has_begun() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.looking(&["spare"]);
    let nobody = format!("{}.250", bed.minion("spare").host.rsplit_once('.').unwrap().0);
    lab.minions(&[&format!("nobody: {{address: {nobody}, timeout: 30}}")]);
    lab.sls("x", "never:\n  cmd.run: [{name: 'touch /tmp/never'}]\n");
    let run = lab.start(&["apply", "*", "x"]);
    std::thread::sleep(Duration::from_millis(700));
    run.interrupt();
    let said = run.end();
    assert!(said.elapsed < Duration::from_secs(3), "{said}");
    assert_ne!(said.code, 0, "{said}");
    said.says(&["nobody", "stopped"]);
}

/// The sshd process of the connection that runs `what`, killed.
fn cut(lab: &Lab, what: &str) {
    lab.until("spare", &under_way(what));
    lab.on(
        "spare",
        &format!(
            "for d in /proc/[0-9]*; do [ \"$(tr '\\0' ' ' <$d/cmdline)\" = '{what} ' ] && p=${{d#/proc/}}; done 2>/dev/null
             while [ \"$p\" -gt 1 ]; do
               case $(cat /proc/$p/comm) in sshd*) kill -9 $p; exit 0;; esac
               while read -r k v; do [ \"$k\" = PPid: ] && p=$v; done </proc/$p/status
             done; exit 1"
        ),
    );
}

#[test]
fn a_connection_that_is_killed() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on("spare", "rm -rf /srv/cut; mkdir /srv/cut");
    lab.sls(
        "cut",
        "\
before:
  cmd.run: [{name: touch /srv/cut/before}, {creates: /srv/cut/before}]
during:
  cmd.run: [{name: 'sleep 2.5; touch /srv/cut/during'}, {creates: /srv/cut/during}]
after:
  cmd.run: [{name: touch /srv/cut/after}, {creates: /srv/cut/after}]
",
    );
    let run = lab.start(&["apply", "*", "cut"]);
    cut(&lab, "sleep 2.5");
    let said = run.end();
    said.exits(3).says(&["the connection was lost", "1 unreachable"]);
    assert!(said.elapsed < Duration::from_secs(10), "{said}");
    assert!(said.row("spare").contains("lost"), "{said}");
    assert_eq!(lab.try_on("spare", "test -e /srv/cut/after").0, 1);
    // What was under way may go on to its end over there; until then the minion is locked, and no longer.
    let begun = Instant::now();
    let said = loop {
        let said = lab.run(&["apply", "*", "cut"]);
        if said.code == 0 || begun.elapsed() > Duration::from_secs(10) {
            break said;
        }
        said.exits(3).says(&["locked"]);
    };
    said.exits(0);
    assert_eq!(lab.on("spare", "cd /srv/cut; echo *"), "after before during");
}

/// Passes on one connection to `to`, and cuts it when `most` bytes have gone there. Its port.
fn cutting_relay(to: (String, u16), most: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect((to.0.as_str(), to.1)).unwrap();
        let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let (mut sent, mut buffer) = (0, vec![0; 64 << 10]);
        while let Ok(n @ 1..) = near.read(&mut buffer) {
            sent += n;
            if sent > most || far.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = near.shutdown(std::net::Shutdown::Both);
        let _ = far.shutdown(std::net::Shutdown::Both);
    });
    port
}

#[test]
fn a_connection_that_dies_in_the_middle_of_a_file() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on("spare", "rm -rf /srv/big; mkdir /srv/big; echo old >/srv/big/file");
    lab.sls("big", "/srv/big/file:\n  file.managed: [{source: 'salt://big.bin'}]\n");
    let big: Vec<u8> = (0..30_000_000u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[..1].to_vec())
        .collect();
    lab.file("states/big.bin", &big);
    let at = bed.minion("spare");
    let port = cutting_relay((at.host.clone(), at.port), 10_000_000);
    lab.minions(&[&format!(
        "spare: {{address: 127.0.0.1, port: {port}, host_key_alias: {}, user: root, key: {}}}",
        at.host,
        at.key.display()
    )]);
    lab.run(&["apply", "*", "big"])
        .exits(3)
        .says(&["the connection was lost", "while a file was being sent"]);
    assert_eq!(lab.on("spare", "cat /srv/big/file"), "old");
    lab.minions(&[&lab.entry("spare")]);
    lab.run(&["apply", "*", "big"]).exits(0);
    assert_eq!(
        lab.on("spare", "wc -c </srv/big/file; ls -A /srv/big")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["30000000", "file"]
    );
    lab.run(&["apply", "*", "big"]).exits(0).says(&["1 unchanged"]);
}

#[test]
fn a_full_disk() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on("spare", "umount /srv/full 2>/dev/null; mkdir -p /srv/full && mount -t tmpfs -o size=16k tmpfs /srv/full && echo old >/srv/full/file");
    // Small contents travel in the batch, large ones through a channel of their own.
    for size in [20_000, 200_000] {
        lab.file("states/text", "x".repeat(size));
        lab.sls(
            "full",
            "/srv/full/file:\n  file.managed: [{source: 'salt://text'}]\n/srv/other:\n  file.managed: [{contents: x}]\n",
        );
        lab.run(&["apply", "*", "full"])
            .exits(2)
            .says(&["file.managed /srv/full/file", "No space left on device"]);
        assert_eq!(lab.on("spare", "cat /srv/full/file; ls -A /srv/full"), "old\nfile");
        assert_eq!(
            lab.on("spare", "cat /srv/other; rm /srv/other"),
            "x",
            "other states have their turn"
        );
    }
    lab.on("spare", "umount /srv/full");
}

#[test]
fn what_cannot_be_written_to() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on(
        "spare",
        "umount /srv/ro 2>/dev/null; mkdir -p /srv/ro && mount -t tmpfs tmpfs /srv/ro && echo old >/srv/ro/file && mount -o remount,ro /srv/ro",
    );
    lab.file("states/large", "x".repeat(100_000));
    lab.sls(
        "ro",
        "\
/srv/ro/file:
  file.managed: [{contents: new}]
/srv/ro/large:
  file.managed: [{source: 'salt://large'}]
/srv/ro/folder:
  file.directory: []
/srv/ro/link:
  file.symlink: [{target: file}]
behind:
  cmd.run: [{name: touch /srv/behind}, {require: [file: /srv/ro/file]}]
",
    );
    let said = lab.run(&["apply", "*", "ro"]);
    said.exits(2).says(&[
        "file.managed /srv/ro/file",
        "file.managed /srv/ro/large",
        "file.directory /srv/ro/folder",
        "file.symlink /srv/ro/link",
        "ead-only file system",
        "not run, as something that they require failed: cmd.run touch /srv/behind",
    ]);
    assert_eq!(
        lab.on("spare", "cat /srv/ro/file; test ! -e /srv/behind; umount /srv/ro"),
        "old"
    );
}

#[test]
fn a_root_that_is_read_only() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.sls("x", "/etc/picloud-test:\n  file.managed: [{contents: x}]\n");
    let (status, said) = lab.try_on("spare", "mount -o remount,ro / 2>&1");
    if status != 0 {
        println!("skipped: the bed's root cannot be made read-only: {said}");
        return;
    }
    lab.run(&["apply", "*", "x", "--test"]).exits(0).says(&["would change"]);
    lab.run(&["apply", "*", "x"]).exits(2).says(&["ead-only file system"]);
    lab.on("spare", "mount -o remount,rw /");
    lab.run(&["apply", "*", "x"]).exits(0);
    lab.on("spare", "rm /etc/picloud-test");
}

// --- nothing too early, nothing lost, nothing told ------------------------------------------------------------------

#[test]
fn nothing_is_changed_anywhere_before_all_have_compiled() {
    let Some(bed) = bed(&["ash", "spare"]) else { return };
    let lab = bed.lab(&["ash", "spare"]);
    let wrong = "\
first:
  cmd.run: [{name: touch /srv/first}]
{% if grains['id'] == 'ash' %}
second:
  file.manged: [{name: /srv/second}]
{% endif %}
";
    lab.sls("wrong", wrong);
    lab.sls("right", "third:\n  test.nop: []\n");
    for (sls, expected) in [
        (
            wrong.to_owned(),
            [
                "unknown state function",
                "file.manged",
                "did you mean `file.managed`?",
                "states/wrong.sls",
            ],
        ),
        (
            wrong
                .replace("file.manged", "file.managed")
                .replace("[{name: /srv/second}]", "[{name: /srv/second}, {contens: x}]"),
            ["contens", "did you mean `contents`?", "file.managed", "states/wrong.sls"],
        ),
        (
            wrong.replace("file.manged: [{", "file.managed: [{source: 'salt://none', "),
            ["salt://none", "file.managed", "states/wrong.sls", "ash"],
        ),
        (
            wrong.replace("file.manged", "{{ grains['no_such_grain'] }}.managed"),
            ["no_such_grain", "ash", "states/wrong.sls", "is not defined"],
        ),
    ] {
        lab.sls("wrong", &sls);
        // Never seen before, and with the grains of an earlier run.
        for seen in [false, true] {
            if !seen {
                let _ = std::fs::remove_dir_all(lab.path(".picloud"));
            } else {
                lab.run(&["apply", "*", "right"]).exits(0);
            }
            let said = lab.run(&["apply", "*", "wrong"]);
            said.exits(1)
                .says(&expected)
                .says(&["states of another minion did not compile"]);
            assert!(
                said.row("ash").contains("not compiled") && said.row("spare").contains("stopped after 0 of 1"),
                "{said}"
            );
            assert_eq!(lab.try_on("spare", "test -e /srv/first").0, 1, "seen: {seen}: {said}");
            assert_eq!(lab.try_on("ash", "test -e /srv/first").0, 1, "seen: {seen}: {said}");
        }
    }
}

#[test]
fn undo_brings_back_what_a_run_replaced() {
    let Some(bed) = bed(&["ash", "spare"]) else { return };
    let lab = bed.lab(&["ash", "spare"]);
    let minions = ["ash", "spare"];
    let look = "cd /srv/undo; for f in *; do stat -c '%n %a %U' $f; cat $f; done";
    let before = minions.map(|minion| {
        lab.on(minion, "rm -rf /srv/undo; mkdir /srv/undo; cd /srv/undo; echo old >kept; chmod 640 kept; chown pi kept; echo gone >absent; printf 'a\\nb\\n' >lines");
        lab.on(minion, look)
    });
    lab.sls(
        "change",
        "\
/srv/undo/kept:
  file.managed: [{contents: new}, {mode: '0600'}, {user: root}]
/srv/undo/made:
  file.managed: [{contents: made}]
/srv/undo/absent:
  file.absent: []
/srv/undo/lines:
  file.replace: [{pattern: b, repl: c}]
",
    );
    lab.run(&["apply", "*", "change"]).exits(0);
    for minion in minions {
        assert_eq!(
            lab.on(minion, "cd /srv/undo; cat kept lines made; ls"),
            "new\na\nc\nmade\nkept\nlines\nmade"
        );
    }
    lab.run(&["runs"]).exits(0).says(&["1", "apply '*' change"]);
    let said = lab.run(&["undo", "1", "--test"]);
    said.exits(0).says(&[
        "restored /srv/undo/kept",
        "removed /srv/undo/made",
        "restored /srv/undo/absent",
    ]);
    assert_eq!(lab.on("spare", "cat /srv/undo/kept"), "new");
    lab.run(&["undo", "1"]).exits(0);
    for (minion, before) in minions.iter().zip(before) {
        assert_eq!(lab.on(minion, look), before);
    }
    lab.run(&["undo", "1"]).exits(0).says(&["nothing of this run is kept here"]);
    lab.run(&["undo", "7"]).exits(1).says(&["there is no record of run 7"]);
}

#[test]
fn secrets_are_seen_nowhere() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    let secret = "Tr0ub4dor-and-3";
    lab.file("pillar/top.sls", "base:\n  '*': [db]\n");
    lab.file("pillar/db.sls", format!("db: {{password: {secret}, user: ana}}\n"));
    lab.sls(
        "secret",
        "\
/srv/secret.conf:
  file.managed:
    - contents: |
        user = {{ pillar.db.user }}
        password = {{ pillar.db.password }}
    - mode: '0600'
/srv/secret-large.conf:
  file.managed:
    - contents: '{{ pillar.db.password * 3000 }}'
    - mode: '0600'
by-environment:
  cmd.run:
    - name: 'echo the password is $PASSWORD; sleep 2.75'
    - env: [PASSWORD: '{{ pillar.db.password }}']
by-input:
  cmd.run:
    - name: 'read -r word; echo $word; sleep 2.85'
    - stdin: '{{ pillar.db.password }}'
in-the-command:
  cmd.run:
    - name: 'echo {{ pillar.db.password }}; exit 3'
",
    );
    lab.on("spare", "rm -f /srv/secret*");
    lab.run(&["apply", "*", "secret", "--test", "--state-output", "full"])
        .exits(0)
        .does_not_say(&[secret]);
    let run = lab.start(&["apply", "*", "secret", "-v", "--state-output", "full"]);
    // All that is in the list of processes, all the time.
    let watch = "n=0; while [ $n -lt 60 ]; do cat /proc/[0-9]*/cmdline 2>/dev/null; sleep 0.1; n=$((n + 1)); done | tr '\\0' '\\n' | grep -c '[T]r0ub4dor' || :";
    let seen = lab.on("spare", watch);
    let said = run.end();
    said.exits(2)
        .does_not_say(&[secret])
        .says(&["the password is ***", "user = ana"]);
    assert_eq!(seen, "0", "the secret was in a command line");
    assert_eq!(
        lab.on("spare", "cat /srv/secret.conf; wc -c </srv/secret-large.conf"),
        format!("user = ana\npassword = {secret}\n{}", 3000 * secret.len() + 1)
    );
    lab.run(&["runs", "show"]).does_not_say(&[secret]);
    let (_, json) = lab.json(&["apply", "*", "secret", "--test"]);
    assert!(!json.to_string().contains(secret), "{json:#}");
    let found = std::process::Command::new("grep")
        .args(["-r", secret, ".picloud"])
        .current_dir(lab.path(""))
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    // Nor is anything of it left on the minion.
    assert_eq!(
        lab.on(
            "spare",
            &format!("grep -rl '{secret}' /tmp /var/tmp /run 2>/dev/null || :; rm -f /srv/secret*")
        ),
        ""
    );
}

#[test]
fn results_for_programs() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.on("spare", "rm -f /srv/json");
    lab.sls(
        "shape",
        "\
motd:
  file.managed:
    - name: /srv/json
    - contents: hello
fails:
  cmd.run: [{name: 'echo out; echo err >&2; exit 4'}]
behind:
  test.nop: [{require: [cmd: fails]}]
",
    );
    let (code, dry) = lab.json(&["apply", "*", "shape", "--test"]);
    assert_eq!(code, 0);
    let (code, report) = lab.json(&["apply", "*", "shape"]);
    assert_eq!(code, 2);
    let keys = [
        "file_|-motd_|-/srv/json_|-managed",
        "cmd_|-fails_|-echo out; echo err >&2; exit 4_|-run",
        "test_|-behind_|-behind_|-nop",
    ];
    assert_eq!(
        report["spare"].as_object().unwrap().keys().collect::<Vec<_>>(),
        keys,
        "{report:#}"
    );
    let of = |key: &str| &report["spare"][key];
    let (file, fails, behind) = (of(keys[0]), of(keys[1]), of(keys[2]));
    assert_eq!(dry["spare"][keys[0]]["result"], json!(null));
    for (state, result, n) in [(file, true, 0), (fails, false, 1), (behind, false, 2)] {
        assert_eq!(
            (&state["result"], &state["__run_num__"], &state["__sls__"]),
            (&json!(result), &json!(n), &json!("shape")),
            "{state:#}"
        );
        assert!(
            state["duration"].is_number() && state["comment"].is_string() && state["start_time"].is_string(),
            "{state:#}"
        );
    }
    assert_eq!((&file["name"], &file["__id__"]), (&json!("/srv/json"), &json!("motd")));
    assert_eq!(
        (
            &fails["changes"]["retcode"],
            &fails["changes"]["stdout"],
            &fails["changes"]["stderr"]
        ),
        (&json!(4), &json!("out"), &json!("err")),
        "{fails:#}"
    );
    assert_eq!(behind["__state_ran__"], json!(false));
    assert_eq!(with_result(&report, "spare", json!(false)).len(), 2);
    let yaml = lab.run(&["apply", "*", "shape", "--out", "yaml"]);
    yaml.exits(2).says(&["spare:", "__run_num__: 2"]);
}

#[test]
fn exit_codes() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.sls("good", "x:\n  test.nop: []\n")
        .sls("bad", "x:\n  test.fail_without_changes: []\n");
    for (arguments, code) in [
        (&["apply", "*", "good"][..], 0),
        (&["apply", "*", "good", "--test"], 0),
        (&["apply", "*", "bad"], 2),
        (&["apply", "*", "none"], 1),
        (&["apply", "nobody", "good"], 1),
        (&["apply", "--no-such-option"], 1),
        (&["run", "*", "--", "exit 7"], 2),
        (&["run", "*", "--", "true"], 0),
        (&["ping"], 0),
        (&["check", "*", "good"], 0),
        (&["check", "*", "none"], 1),
    ] {
        let said = lab.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}\n{said}");
    }
}

// --- the promise ----------------------------------------------------------------------------------------------------

#[test]
fn a_run_without_changes_is_one_exec_and_one_batch() {
    let Some(bed) = bed(&["deb12", "spare"]) else { return };
    let lab = bed.lab(&["deb12", "spare"]);
    let w30 = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/w30/states/w30");
    for entry in std::fs::read_dir(w30).unwrap().flatten() {
        lab.file(
            &format!("states/w30/{}", entry.file_name().to_string_lossy()),
            std::fs::read(entry.path()).unwrap(),
        );
    }
    lab.sls(
        "three",
        "/srv/three:\n  file.directory: []\ncron:\n  service.running: []\n/srv/three/x:\n  file.managed: [{contents: x}]\n",
    );
    for sls in ["three", "w30"] {
        lab.run(&["apply", "*", sls]).exits(0);
        for arguments in [&["apply", "*", sls][..], &["apply", "*", sls, "--test"]] {
            lab.run(arguments).exits(0).says(&["2 unchanged"]);
            let counts = lab.counts();
            assert_eq!(
                counts.values().collect::<Vec<_>>(),
                [&(1, 1), &(1, 1)],
                "{arguments:?}: {counts:?}"
            );
        }
    }
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.sls(
        "dry",
        "/srv/dry:\n  file.managed: [{contents: x}]\ndry:\n  cmd.run: [{name: touch /srv/dry-ran}]\n",
    );
    let look = "find / -xdev -newer /tmp/dry-mark ! -path '/proc/*' ! -path '/sys/*' ! -path '/var/log/*' ! -path /tmp/dry-mark -type f; ls -d /run/picloud* 2>/dev/null || :";
    lab.on("spare", "touch /tmp/dry-mark; sleep 1.1");
    lab.run(&["apply", "*", "dry", "--test"]).exits(0).says(&["would change"]);
    assert_eq!(lab.on("spare", look), "");
}
