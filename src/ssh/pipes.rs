//! A running command's input and outputs, whatever it runs on: a channel of an SSH connection, a process of this machine, or
//! streams in memory. It knows neither batches nor privileges.

use std::time::Duration;

use futures::future::BoxFuture;
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::shell::Content;

/// How long nothing may come from the outputs of a command that has ended: something that it left behind can hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Bytes written at once; below 64 KiB uploads get slower.
pub(crate) const CHUNK: usize = 256 << 10;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// What was heard from a running command.
#[derive(Debug)]
pub(crate) enum Heard {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// It has ended, and nothing more comes. Its status (128 + n for signal n), or `None` where the connection broke first.
    End(Option<i32>),
}

/// A running command.
pub struct Pipes {
    stdin: Option<Writer>,
    ears: Ears,
    status: Option<i32>,
    deadline: Option<Instant>,
    _permit: Option<OwnedSemaphorePermit>,
}

enum Ears {
    Streams {
        stdout: Option<Reader>,
        stderr: Option<Reader>,
        /// Two buffers, as a read that was given up for the other must have lost nothing.
        buffers: Box<[Vec<u8>; 2]>,
        child: Option<Box<Child>>,
    },
    Channel(russh::ChannelReadHalf),
}

impl Pipes {
    /// A command behind three streams; it has ended when both outputs have.
    pub fn streams(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stderr: impl AsyncRead + Send + Unpin + 'static,
    ) -> Pipes {
        Pipes::new(Box::new(stdin), Ears::over(Box::new(stdout), Box::new(stderr), None))
    }

    /// `command`, started on this machine in a process group of its own: Ctrl-C at the terminal is picloud's, and must not cut
    /// off the step under way.
    pub(crate) fn spawn(command: &str) -> Result<Pipes> {
        let failed = |e: std::io::Error| Error::unreachable(format!("failed to start /bin/sh: {e}"));
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                let ears = Ears::over(Box::new(stdout), Box::new(stderr), Some(Box::new(child)));
                Ok(Pipes::new(Box::new(stdin), ears))
            }
            _ => Err(failed(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// A channel on which a command has been requested. `permit` is given back with it.
    pub(crate) fn channel(channel: russh::Channel<russh::client::Msg>, permit: Option<OwnedSemaphorePermit>) -> Pipes {
        let (read, write) = channel.split();
        let mut pipes = Pipes::new(Box::new(Box::pin(write.make_writer())), Ears::Channel(read));
        pipes._permit = permit;
        pipes
    }

    fn new(stdin: Writer, ears: Ears) -> Pipes {
        Pipes {
            stdin: Some(stdin),
            ears,
            status: None,
            deadline: None,
            _permit: None,
        }
    }

    async fn write_to(stdin: &mut Option<Writer>, bytes: &[u8]) -> std::io::Result<usize> {
        match stdin {
            Some(stdin) => match stdin.write(&bytes[..bytes.len().min(CHUNK)]).await {
                Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
                written => written,
            },
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the command's input. Nothing that was written before may still be under way.
    pub(crate) async fn close_input(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            // A reader that is gone has its end of input already.
            let _ = stdin.shutdown().await;
        }
    }

    /// Waits for what comes next. May be given up at any time.
    pub(crate) async fn hear(&mut self) -> Heard {
        Pipes::hear_from(&mut self.ears, &mut self.status, &mut self.deadline).await
    }

    async fn hear_from(ears: &mut Ears, status: &mut Option<i32>, deadline: &mut Option<Instant>) -> Heard {
        loop {
            let last_words = async {
                match *deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                event = ears.next() => match event {
                    Event::Heard(heard) => {
                        *deadline = deadline.map(|_| Instant::now() + LAST_WORDS);
                        return heard;
                    }
                    Event::Status(ended) => Some(ended),
                    Event::Closed => return Heard::End(*status),
                    Event::Nothing => None,
                },
                () = last_words => return Heard::End(*status),
            };
            if let Some(ended) = ended {
                *status = Some(ended);
                deadline.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            }
        }
    }

    /// Writes while it hears: the first of what happens. `Some(n)` bytes of `bytes` were taken, or something was heard.
    /// `bytes` may be empty, and input that nobody reads any more is an error that is not waited upon again.
    pub(crate) async fn exchange(&mut self, bytes: &[u8]) -> Exchange {
        let Pipes {
            stdin,
            ears,
            status,
            deadline,
            ..
        } = self;
        tokio::select! {
            biased;
            heard = Pipes::hear_from(ears, status, deadline) => Exchange::Heard(heard),
            written = Pipes::write_to(stdin, bytes), if !bytes.is_empty() => match written {
                Ok(n) => Exchange::Written(n),
                Err(_) => Exchange::Deaf,
            },
        }
    }

    /// Runs the command to its end: gives it `preface` and `content`, ends its input, and returns its status, standard output and
    /// standard error (at most 64 KiB of each).
    ///
    /// # Errors
    /// `content` cannot be read or is not as large as was said; the connection broke.
    pub(crate) async fn finish(mut self, preface: &[u8], content: &Content) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        const KEEP: usize = 64 << 10;
        let mut source = Source::open(preface, content).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut piece = source.next().await?;
        let mut sent = 0;
        loop {
            if sent == piece.len() && !piece.is_empty() {
                piece = source.next().await?;
                sent = 0;
            }
            if piece.is_empty() && self.stdin.is_some() {
                self.close_input().await;
            }
            match self.exchange(&piece[sent..]).await {
                Exchange::Written(n) => sent += n,
                Exchange::Deaf => {
                    piece = Vec::new();
                    sent = 0;
                    self.stdin = None;
                }
                Exchange::Heard(Heard::Out(bytes)) => {
                    out.extend_from_slice(&bytes[..bytes.len().min(KEEP - out.len().min(KEEP))])
                }
                Exchange::Heard(Heard::Err(bytes)) => {
                    err.extend_from_slice(&bytes[..bytes.len().min(KEEP - err.len().min(KEEP))])
                }
                Exchange::Heard(Heard::End(Some(status))) => return Ok((status, out, err)),
                Exchange::Heard(Heard::End(None)) => {
                    return Err(Error::unreachable("the connection was lost while a file was being sent"));
                }
            }
        }
    }
}

/// What happened first while writing and hearing.
pub(crate) enum Exchange {
    Written(usize),
    /// Nobody reads the input any more; the outputs will say why.
    Deaf,
    Heard(Heard),
}

enum Event {
    Heard(Heard),
    Status(i32),
    Closed,
    Nothing,
}

impl Ears {
    fn over(stdout: Reader, stderr: Reader, child: Option<Box<Child>>) -> Ears {
        Ears::Streams {
            stdout: Some(stdout),
            stderr: Some(stderr),
            buffers: Box::new([vec![0; 32 << 10], vec![0; 8 << 10]]),
            child,
        }
    }

    async fn next(&mut self) -> Event {
        match self {
            Ears::Channel(channel) => match channel.wait().await {
                Some(ChannelMsg::Data { data }) => Event::Heard(Heard::Out(data.to_vec())),
                Some(ChannelMsg::ExtendedData { data, .. }) => Event::Heard(Heard::Err(data.to_vec())),
                Some(ChannelMsg::ExitStatus { exit_status }) => Event::Status(exit_status as i32),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => Event::Status(128 + signal_number(&signal_name)),
                Some(ChannelMsg::Failure) => Event::Status(REFUSED),
                Some(ChannelMsg::Close) | None => Event::Closed,
                // End of output is not the end: the status follows it.
                Some(_) => Event::Nothing,
            },
            Ears::Streams {
                stdout,
                stderr,
                buffers,
                child,
            } => {
                if stdout.is_none() && stderr.is_none() {
                    if child.is_none() {
                        return Event::Closed;
                    }
                    let status = wait(child).await;
                    // Only now: a wait that was given up must find it again.
                    *child = None;
                    return Event::Status(status);
                }
                let [out_buffer, err_buffer] = &mut **buffers;
                tokio::select! {
                    biased;
                    read = read(stdout, out_buffer), if stdout.is_some() => match read {
                        Some(bytes) => Event::Heard(Heard::Out(bytes)),
                        None => { *stdout = None; Event::Nothing }
                    },
                    read = read(stderr, err_buffer), if stderr.is_some() => match read {
                        Some(bytes) => Event::Heard(Heard::Err(bytes)),
                        None => { *stderr = None; Event::Nothing }
                    },
                    status = wait(child), if child.is_some() => { *child = None; Event::Status(status) }
                }
            }
        }
    }
}

/// The status that stands for a request that the server refused: no command ends with it.
pub(crate) const REFUSED: i32 = -1;

async fn read(stream: &mut Option<Reader>, buffer: &mut [u8]) -> Option<Vec<u8>> {
    match stream.as_mut()?.read(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(n) => Some(buffer[..n].to_vec()),
    }
}

async fn wait(child: &mut Option<Box<Child>>) -> i32 {
    match child {
        Some(child) => exit_status(child.wait().await),
        None => std::future::pending().await,
    }
}

fn exit_status(status: std::io::Result<std::process::ExitStatus>) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Ok(status) => status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(REFUSED),
        Err(_) => REFUSED,
    }
}

/// The numbers that POSIX and Linux give to the signals that RFC 4254 names.
fn signal_number(signal: &russh::Sig) -> i32 {
    use russh::Sig;
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 0,
    }
}

/// Content in pieces.
struct Source<'a> {
    preface: &'a [u8],
    bytes: &'a [u8],
    file: Option<(tokio::fs::File, &'a Content)>,
    left: u64,
}

impl<'a> Source<'a> {
    async fn open(preface: &'a [u8], content: &'a Content) -> Result<Source<'a>> {
        Ok(match content {
            Content::Bytes(bytes) => Source {
                preface,
                bytes,
                file: None,
                left: bytes.len() as u64,
            },
            Content::File { path, size, .. } => {
                let mut file = tokio::fs::File::open(path)
                    .await
                    .map_err(|e| Error::usage(format!("failed to open {}: {e}", path.display())))?;
                file.set_max_buf_size(CHUNK);
                Source {
                    preface,
                    bytes: &[],
                    file: Some((file, content)),
                    left: *size,
                }
            }
        })
    }

    /// The next piece; empty at the end.
    async fn next(&mut self) -> Result<Vec<u8>> {
        if !self.preface.is_empty() {
            return Ok(std::mem::take(&mut self.preface).to_vec());
        }
        let Some((file, content)) = &mut self.file else {
            let (piece, rest) = self.bytes.split_at(self.bytes.len().min(CHUNK));
            self.bytes = rest;
            return Ok(piece.to_vec());
        };
        let Content::File { path, .. } = content else {
            return Ok(Vec::new());
        };
        let mut piece = vec![0; CHUNK];
        let n = file
            .read(&mut piece)
            .await
            .map_err(|e| Error::usage(format!("failed to read {}: {e}", path.display())))?;
        piece.truncate(n);
        let as_said = if n == 0 { self.left == 0 } else { self.left >= n as u64 };
        if !as_said {
            return Err(Error::usage(format!("{} changed while it was being sent", path.display())));
        }
        self.left -= n as u64;
        Ok(piece)
    }
}

/// Starts commands beside a session's own.
pub trait Opener: Send + Sync {
    /// Starts `command` by the login shell of the account; where the other side takes it, with `variable` in its environment.
    fn open<'a>(&'a self, command: &'a str, variable: Option<(&'a str, &'a str)>) -> BoxFuture<'a, Result<Pipes>>;

    /// Whether a round trip takes long.
    fn is_far(&self) -> bool {
        false
    }
}
