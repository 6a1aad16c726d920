//! Connections to minions: dialling, the handshake, jump hosts that many share, sessions and files over one connection.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use russh::client::Handle;
use russh::keys::PublicKey;
use tokio::sync::Semaphore;

use super::auth::{Authenticated, authenticate};
use super::client::{Client, Failure, HostCheck, State, explain, has_aes, lock, preferred, settings};
use super::endpoint::{Defaults, Endpoint, Resolved, Route};
use super::keys::{Answers, KeyFiles, Prompt};
use super::known_hosts::edit::append;
use super::known_hosts::{HostName, KnownHosts, Verdict, fingerprint};
use super::pipes::{Opener, Pipes};
use super::session::Session;
use super::sudo::{Privilege, Sudo};
use super::wire::{self, Complaints, Stream};
use crate::error::{Error, Result};
use crate::inventory::{self, Minion};

/// The pauses between attempts. Only a server that is too busy for us (`MaxStartups`) or is just starting is tried again, and
/// nothing has been run by then.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_secs(3),
];

/// How long a jump host that could not be reached is taken for unreachable by the others that go through it.
const STILL_DOWN: Duration = Duration::from_secs(5);

/// Channels at once on one connection; sshd's `MaxSessions` is 10.
const CHANNELS: usize = 8;

/// What all connections of a process share: the user's keys and answers, known hosts, jump hosts, and the limit of handshakes.
pub struct Shared {
    defaults: Defaults,
    handshakes: Semaphore,
    keys: KeyFiles,
    answers: Answers,
    known_hosts: Mutex<HashMap<Files, Stamped>>,
    jumps: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Hop>>>>,
}

/// What tells that a file is still the one that was read: its time and size; `None` where there is none.
type Stamp = Option<(std::time::SystemTime, u64)>;

type Stamped = (Vec<Stamp>, Arc<KnownHosts>);

/// The project's file of known hosts, and all others.
type Files = (Option<PathBuf>, Vec<PathBuf>);

/// A jump host and whether it is up.
#[derive(Default)]
enum Hop {
    #[default]
    New,
    Up(Arc<Connection>),
    Down(Error, Instant),
}

impl Shared {
    /// `forks`: how many handshakes there may be at once. `prompt` is asked for passphrases and passwords, each once.
    pub fn new(defaults: Defaults, forks: usize, prompt: Arc<dyn Prompt>) -> Shared {
        Shared {
            defaults,
            handshakes: Semaphore::new(forks.clamp(1, Semaphore::MAX_PERMITS)),
            keys: KeyFiles::default(),
            answers: Answers::new(prompt),
            known_hosts: Mutex::default(),
            jumps: Mutex::default(),
        }
    }

    /// The rights of `minion`'s sessions. A sudo password is asked for once, whatever the number of minions.
    ///
    /// # Errors
    /// A sudo password is needed, and was not given.
    pub async fn privilege(&self, minion: &Minion) -> Result<Privilege> {
        let sudo = match minion.sudo {
            inventory::Sudo::No => Sudo::No,
            inventory::Sudo::Yes => Sudo::NoPassword,
            inventory::Sudo::Password => {
                let answer = self.answers.to("sudo password: ", false).await;
                Sudo::Password(answer.ok_or_else(|| {
                    Error::unreachable("a sudo password is needed, and was not given").hint(
                        "run picloud at a terminal, or allow the account NOPASSWD in the minion's sudoers and say `sudo: true`",
                    )
                })?)
            }
        };
        Ok(Privilege {
            sudo,
            user: minion.sudo_user.clone(),
            shell: minion.shell.clone(),
        })
    }

    fn known_hosts(&self, resolved: &Resolved) -> Result<Arc<KnownHosts>> {
        let files: Files = (resolved.pinned.clone(), resolved.known_hosts.clone());
        // A daemon lives longer than what it has read.
        let stamp = |path: &PathBuf| {
            std::fs::metadata(path)
                .and_then(|meta| Ok((meta.modified()?, meta.len())))
                .ok()
        };
        let stamps: Vec<Stamp> = files.0.iter().chain(&files.1).map(stamp).collect();
        let mut all = self.known_hosts.lock().unwrap_or_else(|e| e.into_inner());
        match all.get(&files) {
            Some((read, known)) if *read == stamps => return Ok(known.clone()),
            _ => {}
        }
        let known = Arc::new(KnownHosts::read(files.0.as_deref(), files.1.iter().map(PathBuf::as_path))?);
        all.insert(files, (stamps, known.clone()));
        Ok(known)
    }
}

/// A connection that is authenticated.
pub struct Connection {
    channels: Arc<Channels>,
    peer: Peer,
    /// Its bytes go through this one.
    _jump: Option<Arc<Connection>>,
}

/// What is known of the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    pub user: String,
    pub host: String,
    pub port: u16,
    pub authenticated: Authenticated,
    pub host_key: Option<PublicKey>,
    /// The algorithms that were agreed on: "aes128-gcm", "curve25519".
    pub cipher: &'static str,
    pub kex: &'static str,
    /// How long it took to connect, and to authenticate.
    pub connected_in: Duration,
    pub authenticated_in: Duration,
}

impl Connection {
    /// Starts the shell of a session with these rights. Costs two round trips, the second of which goes with the first batch.
    ///
    /// # Errors
    /// The server opens no channel, or the connection is gone.
    pub async fn session(&self, privilege: Privilege) -> Result<Session> {
        let mut privilege = privilege;
        if self.peer.user == "root" && privilege.user.as_deref().is_none_or(|user| user == "root") {
            privilege.sudo = Sudo::No;
        }
        Session::open(self.channels.clone(), privilege).await
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.channels.handle.is_closed()
    }

    /// Takes leave of the server. Sessions should have been closed.
    pub async fn close(&self) {
        let _ = self
            .channels
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await;
    }
}

struct Channels {
    handle: Handle<Client>,
    state: State,
    far: bool,
    at_once: Arc<Semaphore>,
}

impl Channels {
    fn lost(&self, error: &russh::Error) -> Error {
        let end = lock(&self.state).end.clone();
        match error {
            russh::Error::ChannelOpenFailure(why) => {
                Error::unreachable(format!("the server opened no channel: {}", why.description()))
                    .hint("look at `MaxSessions` in its sshd_config")
            }
            error => Error::unreachable(format!("the connection was lost: {}", end.unwrap_or_else(|| explain(error)))),
        }
    }
}

impl Opener for Channels {
    fn open<'a>(&'a self, command: &'a str, variable: Option<(&'a str, &'a str)>) -> BoxFuture<'a, Result<Pipes>> {
        Box::pin(async move {
            let permit = self.at_once.clone().acquire_owned().await.ok();
            let channel = self.handle.channel_open_session().await.map_err(|e| self.lost(&e))?;
            if let Some((name, value)) = variable {
                channel.set_env(false, name, value).await.map_err(|e| self.lost(&e))?;
            }
            channel.exec(true, command).await.map_err(|e| self.lost(&e))?;
            Ok(Pipes::channel(channel, permit))
        })
    }

    fn is_far(&self) -> bool {
        self.far
    }
}

/// Connects to `endpoint`, through its jump hosts, and authenticates.
///
/// # Errors
/// Kind `Unreachable`, saying at which point it failed and what can be done: the name, the address, the host key, the login.
/// `Usage` where `~/.ssh/config` or a `known_hosts` file cannot be read.
pub fn connect<'a>(endpoint: &'a Endpoint, shared: &'a Shared) -> BoxFuture<'a, Result<Connection>> {
    // Boxed, as a connection may need another one first.
    Box::pin(async move {
        let resolved = shared.defaults.resolve(endpoint).await?;
        let known = shared.known_hosts(&resolved)?;
        let begun = Instant::now();
        let (mut handle, state, jump, permit, far) = reach(endpoint, &resolved, &known, shared, false).await?;
        let connected_in = begun.elapsed();
        let authenticated = authenticate(&mut handle, &resolved.login, &shared.keys, &shared.answers).await;
        drop(permit);
        let authenticated = authenticated.map_err(|error| with_end(error, &state))?;
        let learnt = std::mem::take(&mut *lock(&state));
        if let (true, Some(key), Some(file)) = (learnt.is_new, &learnt.host_key, resolved.known_hosts.first()) {
            append(file, &resolved.host_name, key, resolved.hash_known_hosts)?;
        }
        Ok(Connection {
            peer: Peer {
                user: resolved.login.user,
                host: resolved.host,
                port: resolved.port,
                authenticated,
                host_key: learnt.host_key,
                cipher: learnt.cipher,
                kex: learnt.kex,
                connected_in,
                authenticated_in: begun.elapsed() - connected_in,
            },
            channels: Arc::new(Channels {
                handle,
                state,
                far,
                at_once: Arc::new(Semaphore::new(CHANNELS)),
            }),
            _jump: jump,
        })
    })
}

/// A login failed: what the server said when it hung up is part of why.
fn with_end(error: Error, state: &State) -> Error {
    let learnt = lock(state);
    let error = match &learnt.end {
        Some(end) if end.starts_with("the server ended it") => error.hint(end.clone()),
        _ => error,
    };
    match &learnt.banner {
        Some(banner) => error.hint(format!("the server said: {}", banner.trim())),
        None => error,
    }
}

/// The host key that a minion shows.
#[derive(Clone, Debug)]
pub struct ShownKey {
    pub key: PublicKey,
    /// `SHA256:...` and the kind of key.
    pub fingerprint: String,
    /// What the key will be known by.
    pub name: HostName,
    /// What is known of it now.
    pub verdict: Verdict,
    /// Where [`trust`] will write it.
    pub file: PathBuf,
    hashed: bool,
}

/// Asks a minion for its host key, and goes no further: for `picloud trust`.
///
/// # Errors
/// It cannot be reached, or there is no file for known hosts.
pub async fn host_key(endpoint: &Endpoint, shared: &Shared) -> Result<ShownKey> {
    let resolved = shared.defaults.resolve(endpoint).await?;
    let known = shared.known_hosts(&resolved)?;
    let (handle, state, ..) = reach(endpoint, &resolved, &known, shared, true).await?;
    let _ = handle.disconnect(russh::Disconnect::ByApplication, "", "").await;
    let key = lock(&state)
        .host_key
        .clone()
        .ok_or_else(|| Error::unreachable("it showed no host key"))?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(ShownKey {
        fingerprint: fingerprint(&key),
        verdict: known.check(&resolved.host_name, &key.clone().into(), now.as_secs()),
        name: resolved.host_name,
        file: resolved
            .known_hosts
            .into_iter()
            .next()
            .ok_or_else(|| Error::usage("there is no known_hosts file to write to"))?,
        hashed: resolved.hash_known_hosts,
        key,
    })
}

/// Makes a host key known.
///
/// # Errors
/// The file cannot be written.
pub fn trust(shown: &ShownKey) -> Result<()> {
    append(&shown.file, &shown.name, &shown.key, shown.hashed)
}

type Reached<'a> = (
    Handle<Client>,
    State,
    Option<Arc<Connection>>,
    Option<tokio::sync::SemaphorePermit<'a>>,
    bool,
);

/// Dials and shakes hands, again if the server was too busy.
async fn reach<'a>(
    endpoint: &Endpoint,
    resolved: &Resolved,
    known: &Arc<KnownHosts>,
    shared: &'a Shared,
    only_look: bool,
) -> Result<Reached<'a>> {
    let aes = endpoint.aes == Some(true) && has_aes();
    let mut attempt = 0;
    loop {
        // A jump host takes a permit of its own, so it comes first: one that waits for another must hold none.
        let jump = match &resolved.route {
            Route::Jump(hops) => Some(hop(hops, shared).await?),
            _ => None,
        };
        let permit = shared.handshakes.acquire().await.ok();
        let state = State::default();
        let client = Client {
            check: HostCheck {
                known: known.clone(),
                host: resolved.host_name.clone(),
                name: endpoint.name.clone(),
                minion: endpoint.minion,
                accept_new: resolved.accept_new,
                only_look,
            },
            state: state.clone(),
        };
        let (mut complaints, mut far) = (None, false);
        let handshake = async {
            let dialed = dial(resolved, jump.as_deref()).await?;
            complaints = dialed.complaints;
            far = endpoint.far.unwrap_or(dialed.far);
            let config = settings(preferred(known, &resolved.host_name, aes, far));
            russh::client::connect_stream(config, dialed.stream, client)
                .await
                .map_err(Trouble::Handshake)
        };
        let trouble = match tokio::time::timeout(resolved.timeout, handshake).await {
            Ok(Ok(handle)) => return Ok((handle, state, jump, permit, far)),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Late,
        };
        drop(permit);
        match PAUSES.get(attempt).filter(|_| trouble.may_pass()) {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => {
                if complaints.is_some() {
                    // What the proxy says may arrive a little after its end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                return Err(trouble.tell(resolved, complaints.as_ref(), attempt));
            }
        }
        attempt += 1;
    }
}

/// The connection to the last of `hops`: made by the first who needs it, and shared.
async fn hop(hops: &[Endpoint], shared: &Shared) -> Result<Arc<Connection>> {
    let Some((last, before)) = hops.split_last() else {
        return Err(Error::usage("the list of jump hosts is empty"));
    };
    let mut endpoint = last.clone();
    if !before.is_empty() {
        endpoint.jump = before.to_vec();
    }
    let called = |hop: &Endpoint| {
        format!(
            "{:?}@{}:{:?} {:?} {:?}",
            hop.user, hop.address, hop.port, hop.keys, hop.host_key_alias
        )
    };
    let key = hops.iter().map(called).collect::<Vec<_>>().join(", ");
    let hop = shared
        .jumps
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(key)
        .or_default()
        .clone();
    let mut hop = hop.lock().await;
    match &*hop {
        Hop::Up(connection) if !connection.is_closed() => return Ok(connection.clone()),
        Hop::Down(error, since) if since.elapsed() < STILL_DOWN => return Err(error.clone()),
        _ => {}
    }
    match connect(&endpoint, shared).await {
        Ok(connection) => {
            let connection = Arc::new(connection);
            *hop = Hop::Up(connection.clone());
            Ok(connection)
        }
        Err(error) => {
            let error = error.hint(format!("`{}` is the jump host on the way", last.name));
            *hop = Hop::Down(error.clone(), Instant::now());
            Err(error)
        }
    }
}

/// A way to a minion.
struct Dialed {
    stream: Box<dyn Stream>,
    /// What a proxy says.
    complaints: Option<Complaints>,
    /// It is known to be far away.
    far: bool,
}

impl Dialed {
    fn over(stream: Box<dyn Stream>) -> Dialed {
        Dialed {
            stream,
            complaints: None,
            far: false,
        }
    }
}

/// From this round-trip time on, a minion is far away: what goes to and fro is compressed. A batch of some thirty states and its
/// answer are larger than the ten segments that TCP may send at first (RFC 6928), and what does not fit takes a round trip more.
const FAR: Duration = Duration::from_millis(10);

async fn dial(resolved: &Resolved, jump: Option<&Connection>) -> Result<Dialed, Trouble> {
    match (&resolved.route, jump) {
        (Route::Dial(dial), _) => Ok(Dialed::over(dial.dial().await.map_err(Trouble::Dial)?)),
        (Route::Proxy(command), _) => {
            let (stream, complaints) = wire::proxy(command).map_err(Trouble::Dial)?;
            Ok(Dialed {
                complaints: Some(complaints),
                ..Dialed::over(stream)
            })
        }
        (_, Some(jump)) => {
            let channel =
                jump.channels
                    .handle
                    .channel_open_direct_tcpip(resolved.host.as_str(), resolved.port.into(), "127.0.0.1", 0);
            let channel = channel.await.map_err(|error| match error {
                russh::Error::ChannelOpenFailure(why) => Trouble::Jump(format!("the jump host says: {}", why.description())),
                error => Trouble::Jump(jump.channels.lost(&error).to_string()),
            })?;
            Ok(Dialed::over(Box::new(channel.into_stream())))
        }
        _ => match wire::tcp(&resolved.host, resolved.port, resolved.family).await {
            Ok((stream, round_trip)) => Ok(Dialed {
                far: round_trip >= FAR,
                ..Dialed::over(stream)
            }),
            Err(e) => Err(Trouble::Dial(e)),
        },
    }
}

/// Why a minion was not reached.
enum Trouble {
    Dial(std::io::Error),
    Jump(String),
    Handshake(Failure),
    Late,
}

impl Trouble {
    /// Whether it may be different in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Trouble::Dial(e) => matches!(
                e.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset
            ),
            Trouble::Handshake(Failure::Ssh(error)) => match error {
                russh::Error::HUP | russh::Error::Disconnect => true,
                russh::Error::IO(e) => matches!(
                    e.kind(),
                    std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::UnexpectedEof
                ),
                _ => false,
            },
            Trouble::Jump(_) | Trouble::Handshake(Failure::Key(_)) | Trouble::Late => false,
        }
    }

    fn tell(self, resolved: &Resolved, complaints: Option<&Complaints>, attempts: usize) -> Error {
        let at = match (&resolved.route, resolved.host.contains(':')) {
            (Route::Dial(_), _) => resolved.host.clone(),
            (_, true) => format!("[{}]:{}", resolved.host, resolved.port),
            (_, false) => format!("{}:{}", resolved.host, resolved.port),
        };
        let tried = if attempts > 0 {
            format!(" ({} attempts)", attempts + 1)
        } else {
            String::new()
        };
        let error = match self {
            Trouble::Handshake(Failure::Key(error)) => error,
            Trouble::Handshake(Failure::Ssh(error)) => {
                Error::unreachable(format!("{at}: the SSH handshake failed: {}{tried}", explain(&error)))
            }
            Trouble::Jump(why) => Error::unreachable(format!("{at}: {why}")),
            Trouble::Late => Error::unreachable(format!("{at}: no answer within {} s", resolved.timeout.as_secs_f32()))
                .hint("is it on, and is this its address? `timeout:` in the inventory gives it longer"),
            Trouble::Dial(e) => {
                let error = Error::unreachable(format!("{at}: {}{tried}", dial_words(&e)));
                match e.kind() {
                    std::io::ErrorKind::ConnectionRefused => {
                        error.hint("the machine is up, but no sshd listens there: is the port right?")
                    }
                    _ => error,
                }
            }
        };
        let said = complaints.map(|said| said.lock().unwrap_or_else(|e| e.into_inner()).trim().to_owned());
        match said.filter(|said| !said.is_empty()) {
            Some(said) => error.hint(format!("the proxy command said: {said}")),
            None => error,
        }
    }
}

fn dial_words(e: &std::io::Error) -> String {
    let text = e.to_string();
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "no route to the host".into(),
        std::io::ErrorKind::NetworkUnreachable => "the network is unreachable".into(),
        // What getaddrinfo says comes with a preamble.
        _ => match text.strip_prefix("failed to lookup address information: ") {
            Some(why) => format!("the name cannot be resolved: {why}"),
            None => text,
        },
    }
}
