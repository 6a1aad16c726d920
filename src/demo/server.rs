//! SSH servers inside this process: each minion of the demo is reached by the same client code as a real one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::root::{Kind, Root};
use crate::error::{Error, Result};
use crate::ssh::{Defaults, Dial, Endpoint, NoPrompt, Shared, Stream};

/// How much is on its way between client and server at most.
const PIPE: usize = 256 << 10;

/// A minion of this process, with a host key, a key that it lets in, and a root of its own. Everything that was started for
/// it ends when it is dropped.
pub struct Minion {
    name: String,
    server: Arc<Server>,
    /// Holds the key that is let in.
    folder: tempfile::TempDir,
    /// The server on TCP, if there is one.
    listening: JoinSet<()>,
}

struct Server {
    config: Arc<server::Config>,
    client_key: PublicKey,
    root: Arc<Root>,
}

impl Minion {
    /// Starts a minion with the most private root that can be had.
    ///
    /// # Errors
    /// No root, or no keys, can be made.
    pub async fn start(name: &str) -> Result<Minion> {
        Minion::with_root(name, Root::make(name).await?)
    }

    /// Starts a minion in `root`.
    ///
    /// # Errors
    /// No keys can be made.
    pub fn with_root(name: &str, root: Root) -> Result<Minion> {
        let failed = |e: &dyn std::fmt::Display| Error::usage(format!("failed to start the minion {name}: {e}"));
        let new_key = || PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
        let (host_key, client_key) = (new_key().map_err(|e| failed(&e))?, new_key().map_err(|e| failed(&e))?);
        let folder = tempfile::tempdir().map_err(|e| failed(&e))?;
        client_key
            .write_openssh_file(folder.path().join("key"), LineEnding::LF)
            .map_err(|e| failed(&e))?;
        let config = server::Config {
            keys: vec![host_key],
            // There is nobody to guess keys.
            auth_rejection_time: std::time::Duration::ZERO,
            inactivity_timeout: None,
            nodelay: true,
            ..server::Config::default()
        };
        Ok(Minion {
            name: name.to_owned(),
            server: Arc::new(Server {
                config: Arc::new(config),
                client_key: client_key.public_key().clone(),
                root: Arc::new(root),
            }),
            folder,
            listening: JoinSet::new(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> Kind {
        self.server.root.kind()
    }

    pub fn root(&self) -> &Root {
        &self.server.root
    }

    /// The private key that is let in, in OpenSSH's format.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    pub fn host_key(&self) -> &PublicKey {
        self.server.config.keys[0].public_key()
    }

    /// The line of known_hosts that makes the minion known by its name.
    pub fn known_host(&self) -> String {
        // A key that was just made can be written.
        format!("{} {}\n", self.name, self.host_key().to_openssh().unwrap_or_default())
    }

    /// How to reach it, in memory.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            minion: true,
            user: Some("root".into()),
            keys: vec![self.client_key().display().to_string()],
            aes: Some(true),
            dial: Some(self.dial()),
            ..Endpoint::new(&self.name, &self.name)
        }
    }

    /// What an endpoint is dialled by, to be put into one that was made of the inventory.
    pub fn dial(&self) -> Arc<dyn Dial> {
        Arc::new(InMemory(self.server.clone()))
    }

    /// Listens on a free port of 127.0.0.1 too, for other SSH clients. Returns the port.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn listen(&mut self) -> Result<u16> {
        let failed = |e: io::Error| Error::usage(format!("failed to listen: {e}"));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let server = self.server.clone();
        self.listening.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Only slower without it.
                let _ = stream.set_nodelay(true);
                serve(server.clone(), stream);
            }
        });
        Ok(port)
    }
}

/// What connections to `minions` share: only they are known, and nothing of the user's is used.
///
/// # Errors
/// The file of their host keys cannot be written to `folder`.
pub fn shared<'a>(minions: impl IntoIterator<Item = &'a Minion>, folder: &Path, forks: usize) -> Result<Shared> {
    let file = folder.join("known_hosts");
    let lines: String = minions.into_iter().map(Minion::known_host).collect();
    std::fs::write(&file, lines).map_err(|e| Error::usage(format!("failed to write {}: {e}", file.display())))?;
    let mut defaults = Defaults::bare(folder);
    defaults.known_hosts = Some(file);
    Ok(Shared::new(defaults, forks, Arc::new(NoPrompt)))
}

struct InMemory(Arc<Server>);

impl Dial for InMemory {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        serve(self.0.clone(), theirs);
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn Stream>)))
    }
}

/// Serves one connection until it ends.
fn serve(server: Arc<Server>, stream: impl Stream + 'static) {
    let handler = Connection {
        server: server.clone(),
        channels: HashMap::new(),
        commands: JoinSet::new(),
    };
    tokio::spawn(async move {
        if let Ok(session) = server::run_stream(server.config.clone(), stream, handler).await {
            // However it ends, the client knows why.
            let _ = session.await;
        }
    });
}

/// One client's connection.
struct Connection {
    server: Arc<Server>,
    /// Those on which no command has been asked for yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
    /// Ended with the connection.
    commands: JoinSet<()>,
}

impl Connection {
    fn judge(&self, key: &PublicKey) -> Auth {
        match key.key_data() == self.server.client_key.key_data() {
            true => Auth::Accept,
            false => Auth::reject(),
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(command);
        match (self.channels.remove(&channel), self.server.root.spawn(&command)) {
            (Some(open), Ok(child)) => {
                session.channel_success(channel)?;
                self.commands.spawn(attend(open, child));
            }
            _ => session.channel_failure(channel)?,
        }
        Ok(())
    }
}

/// Carries a command's input and outputs, and tells how it ended.
async fn attend(channel: Channel<Msg>, mut child: Child) {
    let (from_client, to_client) = channel.split();
    let to_client = Arc::new(to_client);
    let stdin = child.stdin.take();
    let input = tokio::spawn(feed(from_client, stdin));
    let out = child
        .stdout
        .take()
        .map(|stdout| tokio::spawn(carry(stdout, to_client.clone(), None)));
    let err = child
        .stderr
        .take()
        .map(|stderr| tokio::spawn(carry(stderr, to_client.clone(), Some(1))));
    let status = child.wait().await;
    use std::os::unix::process::ExitStatusExt as _;
    let status = status
        .ok()
        .and_then(|s| s.code().or(s.signal().map(|n| 128 + n)))
        .unwrap_or(255);
    // The client may have gone by now.
    let _ = to_client.exit_status(status.unsigned_abs()).await;
    // What the command left behind can hold its outputs open; as with any sshd it is for the client to wait or not.
    for output in [out, err].into_iter().flatten() {
        let _ = output.await;
    }
    let _ = to_client.eof().await;
    let _ = to_client.close().await;
    input.abort();
}

/// The client's data into the command's input, which ends with the channel.
async fn feed(mut channel: ChannelReadHalf, mut stdin: Option<tokio::process::ChildStdin>) {
    while let Some(message) = channel.wait().await {
        let goes_on = match (message, &mut stdin) {
            (ChannelMsg::Data { data }, Some(to)) => to.write_all(&data).await.is_ok(),
            (ChannelMsg::Eof | ChannelMsg::Close, _) => false,
            _ => true,
        };
        if !goes_on {
            stdin = None;
        }
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, to: Arc<ChannelWriteHalf<Msg>>, extended: Option<u32>) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..n];
        let sent = match extended {
            None => to.data(piece).await,
            Some(kind) => to.extended_data(kind, piece).await,
        };
        if sent.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{Content, Section};
    use crate::ssh::{Batch, Privilege, connect, lock_section};

    async fn minion(name: &str) -> Minion {
        Minion::with_root(name, Root::of_kind(name, Kind::Folder).await.unwrap()).unwrap()
    }

    fn batch<'a>(scripts: impl IntoIterator<Item = &'a str>) -> Batch {
        Batch {
            sections: scripts.into_iter().map(Section::new).collect(),
        }
    }

    #[tokio::test]
    async fn a_minion_answers_like_any_other() {
        let minion = minion("pi0").await;
        let folder = tempfile::tempdir().unwrap();
        let shared = shared([&minion], folder.path(), 10).unwrap();
        let connection = connect(&minion.endpoint(), &shared).await.unwrap();
        assert_eq!(
            connection.peer().host_key.as_ref().unwrap().key_data(),
            minion.host_key().key_data()
        );
        let mut session = connection.session(Privilege::default()).await.unwrap();
        for _ in 0..2 {
            let answers = session
                .run(
                    &batch([
                        "pwd",
                        "head -c 300000 /dev/zero",
                        "echo oops >&2; exit 3",
                        "sleep 100 & echo left",
                    ]),
                    &mut |_, _| (),
                )
                .await
                .unwrap();
            assert_eq!(answers[0].text(), format!("{}\n", minion.root().base()));
            assert_eq!(answers[1].stdout.len(), 300_000);
            assert_eq!((answers[2].status, answers[2].error_text()), (3, "oops\n".into()));
            assert_eq!(answers[3].text(), "left\n");
        }
        assert_eq!(session.counts(), (1, 2));
        let path = format!("{}/file", minion.root().base());
        let bytes: Vec<u8> = (0..5_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
        session.upload(&Content::Bytes(bytes.clone().into()), &path).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
        session.close().await;
        connection.close().await;
    }

    #[tokio::test]
    async fn a_stranger_is_not_let_in() {
        let (minion, other) = (minion("pi0").await, minion("pi1").await);
        let folder = tempfile::tempdir().unwrap();
        let shared = shared([&minion], folder.path(), 10).unwrap();
        let mut endpoint = minion.endpoint();
        endpoint.keys = other.endpoint().keys;
        assert!(
            connect(&endpoint, &shared)
                .await
                .err()
                .unwrap()
                .to_string()
                .starts_with("`root` was not let in")
        );
        // Nor does a stranger's host key pass.
        let error = connect(&other.endpoint(), &shared).await.err().unwrap();
        assert!(error.to_string().starts_with("the host key of pi1 is not known"), "{error}");
    }

    #[tokio::test]
    async fn a_connection_that_is_dropped_frees_the_lock() {
        let minion = minion("pi0").await;
        let folder = tempfile::tempdir().unwrap();
        let shared = shared([&minion], folder.path(), 10).unwrap();
        let lock = |who: &str| batch([lock_section(who, "x").script.as_str()]);
        let connection = connect(&minion.endpoint(), &shared).await.unwrap();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        assert_eq!(session.run(&lock("ana"), &mut |_, _| ()).await.unwrap()[0].status, 0);
        drop((session, connection));
        let connection = connect(&minion.endpoint(), &shared).await.unwrap();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        let mut status = 75;
        for _ in 0..50 {
            status = session.run(&lock("bob"), &mut |_, _| ()).await.unwrap()[0].status;
            if status == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(status, 0);
    }

    #[tokio::test]
    async fn openssh_comes_in_too() {
        let mut minion = minion("pi0").await;
        let port = minion.listen().await.unwrap();
        let output = tokio::process::Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "-i",
            ])
            .arg(minion.client_key())
            .args(["-p", &port.to_string(), "root@127.0.0.1", "cat; exit 4"])
            .stdin(std::process::Stdio::null())
            .output()
            .await;
        match output {
            Ok(output) => assert_eq!(
                (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
                (Some(4), "")
            ),
            Err(e) => println!("skipped: ssh: {e}"),
        }
    }
}
