//! The persistent shell of one minion: batches of sections over its standard input, framed answers from its outputs.
//!
//! How a batch is written and its answers are read is `frame.rs`'s; what carries the bytes is `pipes.rs`'s.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{Decoder, Nonce, Part, VARIABLE, encode, end, is_gathered, variable};
use super::pipes::{Exchange, Heard, Opener, Pipes};
use super::sudo::{Privilege, Sudo};
use crate::error::{Error, Result};
use crate::shell::{Answer, Content, Section, quote};

/// Sections that go in one round trip.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub sections: Vec<Section>,
}

/// What a section has printed since the last time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub section: usize,
    pub stderr: bool,
    pub bytes: Vec<u8>,
    /// What has been printed by now can be shown as a whole line: a line feed follows, or the section's end.
    pub line_ends: bool,
}

/// Is told what sections print as they print it. While it is busy nothing more is read, so that a minion that prints faster than
/// somebody reads has to wait.
pub type Watch = Arc<dyn Fn(Said) -> BoxFuture<'static, ()> + Send + Sync>;

/// A running `sh` on a minion, whatever it is reached by: an SSH channel, or a process of this machine.
pub struct Session {
    /// `None`: it starts with the first batch.
    pipes: Option<Pipes>,
    opener: Option<Arc<dyn Opener>>,
    privilege: Privilege,
    /// What has still to be written, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// The batch whose answers are due; it outlives a [`Session::run`] that was given up.
    under_way: Option<UnderWay>,
    /// Why there can be no further batch.
    ended: Option<Error>,
    /// The shell has answered.
    alive: bool,
    execs: u32,
    batches: u32,
}

struct UnderWay {
    stdout: Decoder,
    stderr: Decoder,
    /// The parts that one output has given and the other has not.
    waiting: Vec<[Option<Part>; 2]>,
    answers: Vec<Answer>,
    watch: Option<Watch>,
}

impl Session {
    /// A session with a shell behind three streams, which nothing has been written to yet. Files go through `opener`.
    pub fn over(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stderr: impl AsyncRead + Send + Unpin + 'static,
        opener: Option<Arc<dyn Opener>>,
    ) -> Session {
        Session::new(Pipes::streams(stdin, stdout, stderr), opener, Privilege::default())
    }

    /// A session with a shell of this machine.
    ///
    /// # Errors
    /// `/bin/sh` cannot be started; a password cannot be used.
    pub fn local(mut privilege: Privilege) -> Result<Session> {
        if privilege.user.is_none() && rustix::process::geteuid().is_root() {
            privilege.sudo = Sudo::No;
        }
        let preface = privilege.sudo.preface()?;
        let pipes = Pipes::spawn(&privilege.session())?;
        let mut session = Session::new(pipes, Some(Arc::new(Local)), privilege);
        session.unsent = preface;
        Ok(session)
    }

    /// A session with a shell that `opener` starts.
    pub(crate) async fn open(opener: Arc<dyn Opener>, privilege: Privilege) -> Result<Session> {
        let preface = privilege.sudo.preface()?;
        let pipes = match opener.is_far() && privilege.begun_session().is_some() {
            true => None,
            false => Some(opener.open(&privilege.session(), None).await?),
        };
        let mut session = Session::new(pipes, Some(opener), privilege);
        session.unsent = preface;
        Ok(session)
    }

    fn new(pipes: impl Into<Option<Pipes>>, opener: Option<Arc<dyn Opener>>, privilege: Privilege) -> Session {
        Session {
            pipes: pipes.into(),
            opener,
            privilege,
            unsent: Vec::new(),
            sent: 0,
            under_way: None,
            ended: None,
            alive: false,
            execs: 1,
            batches: 0,
        }
    }

    /// Runs `batch` and waits for all of its answers, one for each section. `heard` is told of every answer as it comes.
    ///
    /// May be given up (dropped): the batch then still runs to its end on the minion, and the next `run` waits for that first.
    ///
    /// # Errors
    /// The connection died or the shell ended: kind `Unreachable`, saying which section it was at. A script with a NUL: kind
    /// `Usage`, and nothing was run.
    pub async fn run(&mut self, batch: &Batch, heard: &mut (dyn FnMut(usize, &Answer) + Send)) -> Result<Vec<Answer>> {
        self.run_watched(batch, None, heard).await
    }

    /// As [`Session::run`]; `watch` is told what the sections print as they print it, all of it, whatever their limits are.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_watched(
        &mut self,
        batch: &Batch,
        watch: Option<Watch>,
        heard: &mut (dyn FnMut(usize, &Answer) + Send),
    ) -> Result<Vec<Answer>> {
        self.drain(&mut |_, _| ()).await?;
        if batch.sections.is_empty() {
            return Ok(Vec::new());
        }
        let nonce = Nonce::random()?;
        let mut text = encode(&nonce, &batch.sections, self.batches == 0)?;
        if let (None, Some(opener)) = (&self.pipes, &self.opener) {
            let begun = variable(&text).and_then(|value| Some((self.privilege.begun_session()?, value)));
            let pipes = match &begun {
                Some((command, value)) => opener.open(command, Some((VARIABLE, value))).await?,
                None => opener.open(&self.privilege.session(), None).await?,
            };
            if begun.is_some() {
                text.extend_from_slice(end(&nonce).as_bytes());
            }
            self.pipes = Some(pipes);
        }
        self.unsent.extend_from_slice(&text);
        self.batches += 1;
        let mut decoders = [(); 2].map(|()| Decoder::new(&nonce, &batch.sections));
        if watch.is_some() {
            decoders.iter_mut().for_each(Decoder::watch);
        }
        let [mut stdout, stderr] = decoders;
        if is_gathered(&batch.sections) {
            stdout.gather();
        }
        self.under_way = Some(UnderWay {
            stdout,
            stderr,
            watch,
            waiting: batch.sections.iter().map(|_| [None, None]).collect(),
            answers: Vec::with_capacity(batch.sections.len()),
        });
        self.drain(heard).await
    }

    /// Brings the batch under way, if any, to its end.
    async fn drain(&mut self, heard: &mut (dyn FnMut(usize, &Answer) + Send)) -> Result<Vec<Answer>> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        while let (Some(batch), Some(pipes)) = (&mut self.under_way, &mut self.pipes) {
            if batch.stdout.done() && batch.stderr.done() {
                break;
            }
            match pipes.exchange(&self.unsent[self.sent..]).await {
                Exchange::Written(n) => {
                    self.sent += n;
                    if self.sent == self.unsent.len() {
                        self.unsent.clear();
                        self.sent = 0;
                    }
                }
                // Why, the outputs and the status will say.
                Exchange::Deaf => {
                    self.unsent.clear();
                    self.sent = 0;
                }
                Exchange::Heard(Heard::Out(bytes)) => {
                    let parts = batch.stdout.feed(&bytes);
                    for part in parts {
                        batch.took(0, part, heard);
                    }
                    let behind = batch.stdout.behind();
                    for part in batch.stderr.feed(&behind) {
                        batch.took(1, part, heard);
                    }
                    self.alive |= batch.stdout.started();
                    // Last: this may be given up here.
                    batch.tell(false).await;
                }
                Exchange::Heard(Heard::Err(bytes)) => {
                    let parts = batch.stderr.feed(&bytes);
                    for part in parts {
                        batch.took(1, part, heard);
                    }
                    if !self.alive && !batch.stderr.started() && self.privilege.sudo.refused(&batch.stderr.rest()) {
                        return Err(self.end(None));
                    }
                    batch.tell(true).await;
                }
                Exchange::Heard(Heard::End(status)) => return Err(self.end(status)),
            }
        }
        Ok(self.under_way.take().map(|batch| batch.answers).unwrap_or_default())
    }

    /// The shell is gone: the error that says so, now and at every later use.
    fn end(&mut self, status: Option<i32>) -> Error {
        let error = match self.under_way.take() {
            Some(batch) if !self.alive => {
                let mut heard = batch.stdout.rest();
                heard.extend_from_slice(&batch.stderr.rest());
                self.privilege.sudo.explain(&heard, status)
            }
            Some(batch) => {
                let (at, of) = (batch.answers.len() + 1, batch.waiting.len());
                let how = match status {
                    Some(status) => format!("the minion's shell ended with status {status}"),
                    None => "the connection was lost".to_owned(),
                };
                let rest = batch.stderr.rest();
                let rest = String::from_utf8_lossy(&rest);
                let said = match rest.lines().rfind(|line| !line.trim().is_empty()) {
                    Some(line) => format!("; it last said: {}", line.trim()),
                    None => String::new(),
                };
                Error::unreachable(format!("{how} at section {at} of {of}{said}"))
            }
            None => Error::unreachable("the minion's shell has ended"),
        };
        self.ended = Some(error.clone());
        error
    }

    /// Writes `content` to `path` (created with mode 0600, replaced when it is there) through a channel of its own, with the
    /// session's privileges; returns when the minion has all of it.
    ///
    /// # Errors
    /// The minion cannot write it (kind `State`, with its own words), the connection broke (`Unreachable`), or `content` cannot be
    /// read (`Usage`). What was written by then is removed.
    pub async fn upload(&mut self, content: &Content, path: &str) -> Result<()> {
        let Some(opener) = self.opener.clone() else {
            return Err(Error::unreachable("this session has no channel for files"));
        };
        let size = match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        };
        let to = quote(path);
        // A name that starts with a dash is an operand all the same; noclobber refuses what someone puts there in between.
        let script = format!(
            "umask 077; rm -f -- {to} || exit; set -C; cat >{to} || {{ s=$?; rm -f -- {to}; exit $s; }}; n=$(wc -c <{to}); \
             [ $n -eq {size} ] || {{ rm -f -- {to}; echo \"$n of {size} bytes arrived\" >&2; exit 1; }}"
        );
        let preface = self.privilege.sudo.preface()?;
        self.execs += 1;
        let pipes = opener.open(&self.privilege.command(&script), None).await?;
        match pipes.finish(&preface, content).await? {
            (0, ..) => Ok(()),
            (status, _, said) => {
                let said = String::from_utf8_lossy(&said);
                let said = said.trim();
                let said = if said.is_empty() {
                    format!("status {status}")
                } else {
                    said.replace('\n', " / ")
                };
                Err(Error::state(format!("failed to write {path}: {said}")))
            }
        }
    }

    /// How many `exec`s and batches there were: asserted by tests.
    pub fn counts(&self) -> (u32, u32) {
        (self.execs, self.batches)
    }

    /// Ends the shell when it has finished what it is at, and waits for that: the minion's lock is free then.
    pub async fn close(mut self) {
        let _ = self.drain(&mut |_, _| ()).await;
        if let Some(pipes) = &mut self.pipes {
            pipes.close_input().await;
            while !matches!(pipes.hear().await, Heard::End(_)) {}
        }
    }
}

impl UnderWay {
    /// Tells the watch what has come of one output.
    async fn tell(&mut self, stderr: bool) {
        let Some(watch) = &self.watch else { return };
        let decoder = if stderr { &mut self.stderr } else { &mut self.stdout };
        let (at, line_ends) = (decoder.at(), decoder.at_line_end());
        let mut said = decoder.said();
        if said.is_empty() && line_ends && !decoder.done() {
            said.push((at, Vec::new()));
        }
        for (section, bytes) in said {
            let said = Said {
                section,
                stderr,
                bytes,
                line_ends: line_ends || section < at,
            };
            watch(said).await;
        }
    }

    /// Takes a part of the output `which`; where the other is there too, the section is answered.
    fn took(&mut self, which: usize, part: Part, heard: &mut (dyn FnMut(usize, &Answer) + Send)) {
        let section = part.section;
        self.waiting[section][which] = Some(part);
        if let [Some(stdout), Some(stderr)] = &mut self.waiting[section] {
            let answer = Answer {
                status: stdout.status,
                stdout: std::mem::take(&mut stdout.bytes),
                stderr: std::mem::take(&mut stderr.bytes),
                dropped: stdout.dropped + stderr.dropped,
            };
            heard(section, &answer);
            self.answers.push(answer);
        }
    }
}

/// Commands of this machine.
struct Local;

impl Opener for Local {
    fn open<'a>(&'a self, command: &'a str, _: Option<(&'a str, &'a str)>) -> BoxFuture<'a, Result<Pipes>> {
        Box::pin(std::future::ready(Pipes::spawn(command)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// The shells of this machine that minions have; the test says which it did not find.
    pub(in super::super) fn shells() -> Vec<&'static str> {
        let (found, missing): (Vec<&str>, Vec<&str>) = ["sh", "dash", "bash --posix", "bash", "busybox ash"]
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
}
