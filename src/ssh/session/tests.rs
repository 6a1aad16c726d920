//! A session with the shells of this machine, as if each were a minion's.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// The shells of this machine that minions have; the test says which it did not find.
pub(in super::super) fn shells() -> Vec<&'static str> {
    let (found, missing): (Vec<&str>, Vec<&str>) =
        ["sh", "dash", "bash --posix", "bash", "busybox ash"]
            .into_iter()
            .partition(|shell| {
                let word = shell.split(' ').next().unwrap();
                let command = format!("command -v {word} >/dev/null");
                std::process::Command::new("sh")
                    .args(["-c", &command])
                    .status()
                    .unwrap()
                    .success()
            });
    if !missing.is_empty() {
        println!("not found, so not tested: {missing:?}");
    }
    found
}

pub(in super::super) fn session(shell: &str) -> Session {
    Session::new(
        Pipes::spawn(&format!("exec {shell}")).unwrap(),
        Some(Arc::new(Local)),
        Privilege::default(),
    )
}

pub(in super::super) fn batch<'a>(scripts: impl IntoIterator<Item = &'a str>) -> Batch {
    Batch {
        sections: scripts.into_iter().map(Section::new).collect(),
    }
}

pub(in super::super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs") })
}

#[test]
fn sections_answer_for_themselves() {
    let cases: &[(&str, i32, &str, &str)] = &[
        ("echo hello", 0, "hello\n", ""),
        ("printf 'no newline'; printf oops >&2; exit 3", 3, "no newline", "oops"),
        ("", 0, "", ""),
        ("-e", 127, "", "*"),
        (
            "echo 'it'\\''s'; cat <<'END'\n$HOME `x` \\\nEND",
            0,
            "it's\n$HOME `x` \\\n",
            "",
        ),
        ("cat; read -r x || echo none", 0, "none\n", ""),
        ("x=1; cd /; exec printf %s done", 0, "done", ""),
        ("echo ${x-unset}", 0, "unset\n", ""),
        ("echo 'unbalanced", 2, "", "*"),
        ("kill -9 $(sh -c 'echo $PPID')", 137, "", "*"),
        ("(sleep 30 &) ; echo left behind", 0, "left behind\n", ""),
        ("sleep 30 & echo $((1 + 1))", 0, "2\n", ""),
        ("umask; echo $LC_ALL", 0, "0022\nC\n", ""),
        ("set -eu; false; echo unreached", 1, "", ""),
        ("exec 1>&2 2>/dev/null; echo moved", 0, "", "moved\n"),
        ("printf '\\nabc 0 0\\n\\n'", 0, "\nabc 0 0\n\n", ""),
    ];
    for shell in shells() {
        wait(async {
            let mut session = session(shell);
            let begun = Instant::now();
            for _ in 0..2 {
                let mut order = Vec::new();
                let answers = session
                    .run(&batch(cases.iter().map(|case| case.0)), &mut |n, answer| {
                        order.push((n, answer.clone()))
                    })
                    .await
                    .unwrap();
                for ((n, (script, status, stdout, stderr)), answer) in cases.iter().enumerate().zip(&answers) {
                    // The status of unbalanced text is 1, 2 or 127, by shell.
                    let same = answer.status == *status || *status == 2 && answer.status != 0;
                    assert!(same, "{shell}: {script}: {answer:?}");
                    assert_eq!(answer.text(), *stdout, "{shell}: {script}");
                    if *stderr != "*" {
                        assert_eq!(answer.error_text(), *stderr, "{shell}: {script}");
                    }
                    assert_eq!((n, answer.clone()), order[n]);
                }
                assert_eq!(answers.len(), cases.len());
            }
            assert_eq!(session.counts(), (1, 2));
            session.close().await;
            // The sleepers still hold the outputs.
            assert!(begun.elapsed() < Duration::from_secs(20));
        });
    }
}

#[test]
fn large_output_is_cut_and_large_scripts_are_taken() {
    for shell in shells() {
        wait(async {
            let mut session = session(shell);
            let long = format!("printf %s {} | wc -c", "x".repeat(300_000));
            let mut sections = batch(["head -c 20000000 /dev/zero; echo end", &long, "echo err >&2; echo out"]);
            sections.sections[0].keep = 1000;
            let answers = session.run(&sections, &mut |_, _| ()).await.unwrap();
            assert_eq!(answers[0].stdout.len(), 1000, "{shell}");
            assert!(answers[0].stdout.ends_with(b"\0end\n"));
            assert_eq!(answers[0].dropped, 20_000_004 - 1000);
            assert_eq!(answers[1].text().trim(), "300000", "{shell}");
            assert_eq!((answers[2].text(), answers[2].error_text()), ("out\n".into(), "err\n".into()));
        });
    }
}

#[test]
fn questions_are_answered_in_one_piece() {
    let scripts = [
        "printf 'a\\0b'; echo one >&2; printf 'two' >&2; exit 3",
        "",
        "head -c 300000 /dev/zero; echo >&2",
        "echo ${picloud_last-unset}; cat; echo \"$$\" >&2",
    ];
    for shell in shells() {
        wait(async {
            let mut session = session(shell);
            let own = Batch {
                sections: scripts.map(Section::own).into(),
            };
            let pid = session.run(&batch(["echo $$"]), &mut |_, _| ()).await.unwrap()[0]
                .text()
                .into_owned();
            for _ in 0..2 {
                let answers = session.run(&own, &mut |_, _| ()).await.unwrap();
                let seen = answers.iter().map(|a| (a.status, a.stdout.len(), a.error_text()));
                assert_eq!(
                    seen.collect::<Vec<_>>(),
                    [
                        (3, 3, "one\ntwo".into()),
                        (0, 0, "".into()),
                        (0, 300_000, "\n".into()),
                        (0, 2, pid.as_str().into()),
                    ],
                    "{shell}"
                );
                assert_eq!(answers[0].stdout, b"a\0b", "{shell}");
                assert_eq!(answers[3].stdout, b"0\n", "{shell}");
            }
            let answers = session.run(&batch(["echo after"]), &mut |_, _| ()).await.unwrap();
            assert_eq!(answers[0].text(), "after\n", "{shell}");
        });
    }
}

/// Commands of this machine, as if they were far away; `takes`: the environment is passed on.
struct Far {
    takes: bool,
}

impl Opener for Far {
    fn open<'a>(&'a self, command: &'a str, variable: Option<(&'a str, &'a str)>) -> BoxFuture<'a, Result<Pipes>> {
        let set = variable.filter(|_| self.takes);
        let set = set.map(|(name, value)| format!("export {name}={}; ", quote(value)));
        Box::pin(std::future::ready(Pipes::spawn(&(set.unwrap_or_default() + command))))
    }

    fn is_far(&self) -> bool {
        true
    }
}

#[test]
fn far_away_the_first_batch_goes_with_the_command() {
    for (shell, takes) in shells().into_iter().flat_map(|shell| [(shell, true), (shell, false)]) {
        wait(async {
            let folder = tempfile::tempdir().unwrap();
            let ran = folder.path().join("ran").display().to_string();
            let privilege = |shell: &str| Privilege {
                shell: Some(shell.to_owned()),
                ..Privilege::default()
            };
            // A shell is one word.
            let wrapper = folder.path().join("shell");
            // busybox' `head` reads further than it is told.
            let tools = folder.path().join("tools");
            std::fs::create_dir(&tools).unwrap();
            let places = std::env::var_os("PATH").unwrap_or_default();
            let busybox = std::env::split_paths(&places)
                .map(|place| place.join("busybox"))
                .find(|path| path.exists());
            if let Some(busybox) = busybox {
                std::os::unix::fs::symlink(busybox, tools.join("head")).unwrap();
            }
            let text = format!(
                "#!/bin/sh\nPATH={}:$PATH\nexport PATH\nexec {shell} \"$@\"\n",
                tools.display()
            );
            std::fs::write(&wrapper, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&wrapper, mode).unwrap();
            let mut session = Session::open(Arc::new(Far { takes }), privilege(wrapper.to_str().unwrap()))
                .await
                .unwrap();
            let count = format!("echo x >>{ran}; echo \"${{LC_PICLOUD-unset}}\"; umask; cat");
            let large = format!("echo {} | wc -c", "x".repeat(50_000));
            for _ in 0..3 {
                let answers = session.run(&batch([count.as_str(), &large]), &mut |_, _| ()).await.unwrap();
                assert_eq!(answers[0].text(), "unset\n0022\n", "{shell} {takes}");
                assert_eq!(answers[1].text().trim(), "50001", "{shell} {takes}");
            }
            session.close().await;
            assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\nx\nx\n", "{shell} {takes}");

            // Too large for the environment.
            let mut session = Session::open(Arc::new(Far { takes }), Privilege::default()).await.unwrap();
            let larger = format!("echo {} | wc -c", "x".repeat(200_000));
            let answers = session.run(&batch([larger.as_str()]), &mut |_, _| ()).await.unwrap();
            assert_eq!(answers[0].text().trim(), "200001");
            session.close().await;
        });
    }
}

#[test]
fn what_is_printed_is_told_before_the_command_ends() {
    for shell in shells() {
        wait(async {
            let folder = tempfile::tempdir().unwrap();
            let flag = folder.path().join("flag");
            // It goes on when its first line has been seen.
            let script = format!(
                "printf 'one\\n'; n=0; while [ ! -e {0} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; [ -e {0} ] || exit 9\n\
                     printf 'err\\n' >&2; head -c 3000000 /dev/zero; printf '\\ntwo'",
                flag.display()
            );
            let heard: Arc<std::sync::Mutex<[Vec<u8>; 2]>> = Arc::default();
            let (hears, sees) = (heard.clone(), flag.clone());
            let watch: Watch = Arc::new(move |said: Said| {
                let mut heard = hears.lock().unwrap();
                heard[usize::from(said.stderr)].extend(&said.bytes);
                if heard[0] == b"one" && said.line_ends {
                    std::fs::write(&sees, "").unwrap();
                }
                Box::pin(std::future::ready(()))
            });
            let sections = [Section {
                keep: 0,
                ..Section::new(script)
            }];
            let batch = Batch {
                sections: sections.into(),
            };
            let answers = session(shell).run_watched(&batch, Some(watch), &mut |_, _| ()).await.unwrap();
            assert_eq!((answers[0].status, answers[0].stdout.len()), (0, 0), "{shell}");
            let heard = heard.lock().unwrap();
            assert_eq!(heard[0].len(), 3_000_000 + b"one\n\ntwo".len(), "{shell}");
            assert!(heard[0].ends_with(b"\0\ntwo"), "{shell}");
            assert_eq!(heard[1], b"err\n", "{shell}");
        });
    }
}

#[test]
fn a_shell_that_dies_says_where() {
    for shell in shells() {
        wait(async {
            let mut session = session(shell);
            let deadly = batch(["true", "echo last words >&2; kill -9 $$; sleep 5", "true"]);
            let mut heard = 0;
            let error = session.run(&deadly, &mut |_, _| heard += 1).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "the minion's shell ended with status 137 at section 2 of 3; it last said: last words",
                "{shell}"
            );
            assert_eq!(heard, 1);
            assert_eq!(session.run(&batch(["true"]), &mut |_, _| ()).await.unwrap_err(), error);
        });
    }
    let closed = async {
        session("sh -c 'echo This account is closed.; exit 1'")
            .run(&batch(["true"]), &mut |_, _| ())
            .await
    };
    let error = wait(closed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no shell started: the command ended with status 1; it said: This account is closed."
    );
}

#[test]
fn a_run_that_was_given_up_is_finished_first() {
    for shell in shells() {
        wait(async {
            let folder = tempfile::tempdir().unwrap();
            let mark = folder.path().join("mark");
            let mut session = session(shell);
            let slow = batch(["sleep 0.4", &format!("echo step >{}", mark.display())]);
            let mut heard = |_, _: &Answer| ();
            tokio::select! {
                _ = session.run(&slow, &mut heard) => panic!("it should have been slow"),
                () = tokio::time::sleep(Duration::from_millis(150)) => {}
            }
            let answers = session.run(&batch(["echo next"]), &mut |_, _| ()).await.unwrap();
            assert_eq!(answers[0].text(), "next\n", "{shell}");
            assert!(mark.exists());
        });
    }
}

#[test]
fn what_a_connection_cut_off_is_not_run() {
    for shell in shells() {
        let folder = tempfile::tempdir().unwrap();
        let mark = |name: &str| folder.path().join(name);
        let scripts = [
            format!("echo >{}", mark("whole").display()),
            format!("echo >{}", mark("cut").display()),
        ];
        let text = encode(
            &Nonce::fixed("N"),
            &scripts.each_ref().map(|script| Section::new(script.as_str())),
            true,
        )
        .unwrap();
        let end = text.windows(3).rposition(|bytes| bytes == b"cut").unwrap();
        wait(async {
            let pipes = Pipes::spawn(&format!("exec {shell}")).unwrap();
            pipes.finish(b"", &Content::Bytes(text[..end + 2].into())).await.unwrap();
        });
        assert!(!mark("cut").exists() && !mark("cu").exists(), "{shell}");
    }
}

/// Commands of this machine with a `sudo` (or `doas`) of the test's own, and nothing else in their path.
struct Pretended(tempfile::TempDir);

impl Pretended {
    fn new(name: &str, behaviour: &str) -> Arc<Pretended> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\nfor word; do case $1 in -n|-H) ;; -S) s=1;; -p|-u) shift;; --) shift; break;; *) break;; esac; shift; done\n{behaviour}\n"
        );
        let path = folder.path().join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        for tool in ["/bin/rm", "/bin/cat", "/usr/bin/wc"] {
            std::os::unix::fs::symlink(tool, folder.path().join(tool.rsplit('/').next().unwrap())).unwrap();
        }
        Arc::new(Pretended(folder))
    }
}

impl Opener for Pretended {
    fn open<'a>(&'a self, command: &'a str, _: Option<(&'a str, &'a str)>) -> futures::future::BoxFuture<'a, Result<Pipes>> {
        let command = format!("PATH={}; export PATH; {command}", self.0.path().display());
        Box::pin(async move { Pipes::spawn(&command) })
    }
}

const NO_PASSWORD: &str = "exec \"$@\"";
const PASSWORD: &str = "if [ \"$s\" ]; then for n in 1 2 3; do IFS= read -r p; [ \"$p\" = 'open sesame' ] && exec \"$@\"; echo 'Sorry, try again.' >&2; done; fi
        echo 'sudo: a password is required' >&2; exit 1";

#[test]
fn sudo_is_given_what_it_wants_and_nothing_else() {
    let password = |text: &str| Sudo::Password(crate::inventory::Secret::new(text));
    for (name, behaviour, sudo, expected) in [
        ("sudo", NO_PASSWORD, Sudo::NoPassword, "done\n"),
        // A password that is not wanted is neither run nor written to a file.
        ("sudo", NO_PASSWORD, password("echo leaked; rm"), "done\n"),
        ("sudo", PASSWORD, password("open sesame"), "done\n"),
        ("sudo", PASSWORD, password("open barley"), "sudo refused the password"),
        ("sudo", PASSWORD, Sudo::NoPassword, "sudo wants a password"),
        (
            "sudo",
            "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1",
            Sudo::NoPassword,
            "sudo on the minion insists on a terminal",
        ),
        ("doas", NO_PASSWORD, Sudo::NoPassword, "done\n"),
        ("doas", NO_PASSWORD, password("x"), "neither sudo nor doas is installed"),
        ("nothing", NO_PASSWORD, Sudo::NoPassword, "neither sudo nor doas is installed"),
        (
            "sudo",
            NO_PASSWORD,
            password("two\nlines"),
            "the sudo password contains a line break",
        ),
    ] {
        let told = wait(async {
            let opener = Pretended::new(name, behaviour);
            let result = async {
                let mut session = Session::open(opener.clone(), sudo.clone().into()).await?;
                let answers = session.run(&batch(["echo done"]), &mut |_, _| ()).await?;
                let file = opener.0.path().join("it's a file");
                let content = Content::from("contents");
                session.upload(&content, file.to_str().unwrap()).await?;
                assert_eq!(std::fs::read_to_string(file).unwrap(), "contents");
                Ok::<_, Error>(answers[0].text().into_owned())
            };
            result.await.unwrap_or_else(|error| error.to_string())
        });
        assert_eq!(told, expected, "{name} {behaviour} {sudo:?}");
    }
}

#[test]
fn files_arrive_whole_and_closed_to_others() {
    wait(async {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::local(Privilege::default()).unwrap();
        let bytes: Vec<u8> = (0..700_000u32).map(|n| (n * 7) as u8).collect();
        let source = folder.path().join("source");
        std::fs::write(&source, &bytes).unwrap();
        let file = |size| Content::File {
            path: source.clone(),
            size,
            sha256: String::new(),
            blake2: String::new(),
        };
        let path = folder.path().join("it's here");
        let to = path.to_str().unwrap();
        for content in [Content::Bytes(bytes.clone().into()), file(700_000), Content::Bytes([].into())] {
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            session.upload(&content, to).await.unwrap();
            let expected = if matches!(&content, Content::Bytes(b) if b.is_empty()) {
                &[][..]
            } else {
                &bytes
            };
            assert!(std::fs::read(&path).unwrap() == expected);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let error = session.upload(&file(5), to).await.unwrap_err();
        assert!(error.to_string().ends_with("changed while it was being sent"), "{error}");
        let error = session.upload(&file(700_000), "/no/such/folder").await.unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::State);
        assert_eq!(session.counts(), (6, 0));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_output_of_any_shell_is_read_back(
        answers in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), prop::collection::vec(any::<u8>(), 0..80), 0..256i32), 1..8)
    ) {
        let octal = |bytes: &[u8]| bytes.iter().map(|b| format!("\\{b:03o}")).collect::<String>();
        let scripts: Vec<String> = answers
            .iter()
            .map(|(out, err, status)| format!("printf '{}'; printf '{}' >&2; exit {status}", octal(out), octal(err)))
            .collect();
        for shell in shells() {
            let read = wait(async { session(shell).run(&batch(scripts.iter().map(String::as_str)), &mut |_, _| ()).await }).unwrap();
            let read: Vec<_> = read.into_iter().map(|a| (a.stdout, a.stderr, a.status)).collect();
            prop_assert_eq!(&read, &answers);
        }
    }
}
