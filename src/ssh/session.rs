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
pub(super) mod tests;
