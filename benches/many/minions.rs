//! Many minions in one process, beside the picloud that is measured: `benches/run --what many` starts it.
//!
//! Each minion is an SSH server of its own on 127.0.0.1, with a host key, a port and a folder. What picloud asks in a session's
//! first batch goes to a real `sh` in that folder. A session that asked nothing further (it found that everything holds) is
//! remembered, and the same questions are answered from memory the next time: so a measured run has the master to itself, and not
//! the thousands of processes that so many shells would start on the same machine.
//!
//!     minions FOLDER COUNT
//!
//! writes `key`, `known_hosts` and `inventory/minions.yaml` to FOLDER, says `ready`, and serves until its input ends.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::bytes::Regex;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelWriteHalf};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

/// Real shells at once.
const SHELLS: usize = 8;

/// Below a minion's folder: what picloud keeps there.
const OWN: &str = ".picloud";

/// All minions.
struct Server {
    client_key: PublicKey,
    shells: Semaphore,
    memory: Mutex<HashMap<Asked, Arc<Answered>>>,
}

/// A minion, and the text of its first batch.
type Asked = (usize, Vec<u8>);

struct Minion {
    number: usize,
    folder: PathBuf,
    server: Arc<Server>,
}

/// Both outputs, with the nonce that they were made for.
struct Answered {
    nonce: Vec<u8>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(folder), Some(count)) = (arguments.next(), arguments.next()) else {
        println!("benches/run --what many starts this");
        return Ok(());
    };
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?;
    tokio::runtime::Runtime::new()?.block_on(serve(Path::new(&folder), count.parse()?))
}

fn new_key() -> Outcome<PrivateKey> {
    Ok(PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?)
}

async fn serve(folder: &Path, count: usize) -> Outcome<()> {
    let client_key = new_key()?;
    let key = folder.join("key");
    client_key.write_openssh_file(&key, LineEnding::LF)?;
    let server = Arc::new(Server {
        client_key: client_key.public_key().clone(),
        shells: Semaphore::new(SHELLS),
        memory: Mutex::default(),
    });
    let (mut known_hosts, mut inventory) = (String::new(), "minions:\n".to_owned());
    for number in 0..count {
        let id = format!("m{number:03}");
        let host_key = new_key()?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        writeln!(known_hosts, "[127.0.0.1]:{port} {}", host_key.public_key().to_openssh()?)?;
        writeln!(
            inventory,
            "  {id}: {{address: 127.0.0.1, port: {port}, user: root, key: {}}}",
            key.display()
        )?;
        let minion = Arc::new(Minion {
            number,
            folder: folder.join("minions").join(&id),
            server: server.clone(),
        });
        std::fs::create_dir_all(minion.folder.join(OWN))?;
        let config = Arc::new(server::Config {
            keys: vec![host_key],
            auth_rejection_time: std::time::Duration::ZERO,
            inactivity_timeout: None,
            nodelay: true,
            ..server::Config::default()
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection {
                    minion: minion.clone(),
                    channels: HashMap::new(),
                };
                let config = config.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    if let Ok(session) = server::run_stream(config, stream, connection).await {
                        let _ = session.await;
                    }
                });
            }
        });
    }
    std::fs::write(folder.join("known_hosts"), known_hosts)?;
    std::fs::create_dir_all(folder.join("inventory"))?;
    std::fs::write(folder.join("inventory/minions.yaml"), inventory)?;
    println!("ready");
    std::io::stdout().flush()?;
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

struct Connection {
    minion: Arc<Minion>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Connection {
    fn judge(&self, key: &PublicKey) -> Auth {
        match key.key_data() == self.minion.server.client_key.key_data() {
            true => Auth::Accept,
            false => Auth::reject(),
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        match self.channels.remove(&channel) {
            Some(open) => {
                session.channel_success(channel)?;
                let minion = self.minion.clone();
                // Not ended with the connection: what was answered is kept when the shell has ended.
                tokio::spawn(async move { attend(open, &command, &minion).await });
            }
            None => session.channel_failure(channel)?,
        }
        Ok(())
    }
}

/// A batch as `src/ssh/frame.rs` writes it.
struct Batch {
    nonce: Vec<u8>,
    /// Its text without all that differs from run to run: the nonce, and in the lock's section the time and the run.
    text: Vec<u8>,
}

impl Batch {
    /// The first batch of `input`, if it has all of it.
    fn first(input: &[u8]) -> Option<Batch> {
        static HEADER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)(?:^|\n)#picloud ([0-9]+)\n").unwrap());
        static RUN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)\t[^\t\n]*\t[0-9]+-[0-9a-f]{16}").unwrap());
        let header = HEADER.captures(input)?;
        let length: usize = std::str::from_utf8(&header[1]).ok()?.parse().ok()?;
        let start = header.get(0)?.end();
        let body = input.get(start..start + length)?;
        let at = memchr::memmem::find(body, b"_n=")? + 3;
        let nonce = body.get(at..at + 32)?.to_vec();
        let text = RUN.replace_all(&body[at + 32..], &b""[..]);
        Some(Batch {
            nonce,
            text: [&body[..at], &text].concat(),
        })
    }
}

impl Answered {
    /// `output`, as if it had been made for `nonce`.
    fn to<'a>(&self, output: &'a [u8], nonce: &[u8]) -> Cow<'a, [u8]> {
        let mut text = output.to_vec();
        let places: Vec<usize> = memchr::memmem::find_iter(output, &self.nonce).collect();
        for at in places {
            text[at..at + nonce.len()].copy_from_slice(nonce);
        }
        text.into()
    }
}

/// Carries on one session.
async fn attend(channel: Channel<Msg>, command: &str, minion: &Minion) {
    let (mut from, to) = channel.split();
    let mut input = Vec::new();
    let batch = loop {
        match from.wait().await {
            Some(ChannelMsg::Data { data }) => input.extend_from_slice(&data),
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
        if let Some(batch) = Batch::first(&input) {
            break batch;
        }
    };
    let key = (minion.number, batch.text);
    let memory = || minion.server.memory.lock().unwrap_or_else(PoisonError::into_inner);
    let known = memory().get(&key).cloned();
    if let Some(known) = known {
        let _ = to.data(&*known.to(&known.stdout, &batch.nonce)).await;
        let _ = to.extended_data(1, &*known.to(&known.stderr, &batch.nonce)).await;
        while let Some(message) = from.wait().await {
            match message {
                ChannelMsg::Data { .. } => {
                    eprintln!("minions: m{:03}: a session from memory was asked for more", minion.number);
                    break;
                }
                ChannelMsg::Eof | ChannelMsg::Close => break,
                _ => {}
            }
        }
        end(&to).await;
        return;
    }
    let permit = minion.server.shells.acquire().await;
    let to = Arc::new(to);
    let Ok(mut child) = shell(command, &minion.folder) else {
        return;
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return;
    };
    let out = tokio::spawn(carry(stdout, to.clone(), None));
    let err = tokio::spawn(carry(stderr, to.clone(), Some(1)));
    let mut written = stdin.write_all(&input).await.is_ok();
    let mut batches = 1;
    while let Some(message) = from.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                batches += 1;
                written &= stdin.write_all(&data).await.is_ok();
            }
            ChannelMsg::Eof | ChannelMsg::Close => break,
            _ => {}
        }
    }
    drop(stdin);
    let (stdout, stderr) = (out.await.unwrap_or_default(), err.await.unwrap_or_default());
    let _ = child.wait().await;
    drop(permit);
    if batches == 1 && written {
        let nonce = batch.nonce;
        memory().insert(key, Arc::new(Answered { nonce, stdout, stderr }));
    }
    end(&to).await;
}

async fn end(to: &ChannelWriteHalf<Msg>) {
    // The client may have gone by now.
    let _ = to.exit_status(0).await;
    let _ = to.eof().await;
    let _ = to.close().await;
}

fn shell(command: &str, folder: &Path) -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder)
        .env("SHELL", "/bin/sh")
        // What picloud keeps on a minion, the lock too: they share one machine.
        .env("PICLOUD_STATE", folder.join(OWN))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Passes on an output; returns all of it.
async fn carry(mut from: impl AsyncRead + Unpin, to: Arc<ChannelWriteHalf<Msg>>, extended: Option<u32>) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..n]);
        // A client that has gone has heard enough; the output is read to its end all the same.
        let _ = match extended {
            None => to.data(&buffer[..n]).await,
            Some(kind) => to.extended_data(kind, &buffer[..n]).await,
        };
    }
    all
}
