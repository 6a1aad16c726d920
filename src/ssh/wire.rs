//! The bytes under a connection: TCP to one of a host's addresses, a proxy's process, or anything else that reads and writes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream that a connection can run over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes streams to one minion: for minions inside this process.
pub trait Dial: Send + Sync {
    /// # Errors
    /// There is nobody at the other end.
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;
}

/// How long one address is tried alone before the next is tried beside it (RFC 8305 recommends this much).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// How long what was sent may go unacknowledged before the connection is taken for dead.
const UNHEARD_OF: Duration = Duration::from_secs(60);

/// TCP to `host`: its addresses are tried in turn, each a little after the one before, and the first to answer is taken. Tells the
/// round-trip time as well.
pub(super) async fn tcp(host: &str, port: u16, family: Option<Family>) -> io::Result<(Box<dyn Stream>, Duration)> {
    let wanted = |address: &SocketAddr| match family {
        Some(Family::V4) => address.is_ipv4(),
        Some(Family::V6) => address.is_ipv6(),
        None => true,
    };
    let all: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.filter(wanted).collect();
    let mut left = interleaved(all).into_iter();
    let mut trying = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = left.next();
    loop {
        if let Some(address) = next.take() {
            let begun = Instant::now();
            trying.push(async move { (begun, TcpStream::connect(address).await) });
        }
        tokio::select! {
            tried = trying.next() => match tried {
                Some((begun, Ok(stream))) => {
                    let round_trip = round_trip(&stream).unwrap_or_else(|| begun.elapsed());
                    stream.set_nodelay(true)?;
                    // Best effort: keep-alives notice it too, once the login is through.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNHEARD_OF.as_millis() as u32);
                    return Ok((Box::new(Prompted { stream }), round_trip));
                }
                Some((_, Err(e))) => {
                    last = e;
                    next = left.next();
                }
                None => return Err(last),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if left.len() > 0 => next = left.next(),
        }
    }
}

/// What the kernel measured at the handshake (`tcpi_rtt`, tcp(7)). This process may have had other things to do when the answer came,
/// with a hundred connections at once for many times as long as the answer took.
#[cfg(target_os = "linux")]
fn round_trip(stream: &TcpStream) -> Option<Duration> {
    use std::os::fd::AsRawFd;
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = std::mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream`, and the kernel writes at most `length` bytes to `info`, which has as many.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // SAFETY: all of it is integers, for which the zeros that it was filled with are values, too.
    let info = unsafe { info.assume_init() };
    (status == 0 && info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into()))
}

#[cfg(not(target_os = "linux"))]
fn round_trip(_: &TcpStream) -> Option<Duration> {
    None
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

/// The addresses as the resolver orders them, but of both families in turn.
fn interleaved(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.drain(..), second.drain(..));
    loop {
        match (first.next(), second.next()) {
            (None, None) => return mixed,
            (a, b) => mixed.extend(a.into_iter().chain(b)),
        }
    }
}

/// TCP whose every packet is acknowledged at once. A server that has Nagle's algorithm on (sshd before a session starts)
/// holds its next small packet back until then, and a delayed acknowledgement costs 40 ms each time.
struct Prompted {
    stream: TcpStream,
}

impl AsyncRead for Prompted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        // The kernel forgets it with time, so it is said again before every wait.
        #[cfg(target_os = "linux")]
        if read.is_pending() {
            // Best effort: without it things only are slower.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
        }
        read
    }
}

impl AsyncWrite for Prompted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a proxy's process has said on its standard error, for the message of a connection that failed.
pub(super) type Complaints = Arc<Mutex<String>>;

/// A `ProxyCommand`'s process; it is killed when the stream is dropped.
pub(super) fn proxy(command: &str) -> io::Result<(Box<dyn Stream>, Complaints)> {
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (Some(stdin), Some(stdout), Some(mut stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let complaints = Complaints::default();
    let said = complaints.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
            let mut said = said.lock().unwrap_or_else(|e| e.into_inner());
            if said.len() < 4096 {
                said.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        }
    });
    let wire = Proxy {
        io: tokio::io::join(stdout, stdin),
        _child: child,
    };
    Ok((Box::new(wire), complaints))
}

struct Proxy {
    io: tokio::io::Join<tokio::process::ChildStdout, tokio::process::ChildStdin>,
    /// Killed with the stream.
    _child: tokio::process::Child,
}

impl AsyncRead for Proxy {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Proxy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_has_measured_the_round_trip() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let measured = round_trip(&stream).unwrap();
        assert!(measured > Duration::ZERO, "{measured:?}");
    }

    #[test]
    fn both_families_are_tried_in_turn() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed = interleaved(
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]
                .map(address)
                .into(),
        );
        assert_eq!(
            mixed,
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address)
        );
    }
}
