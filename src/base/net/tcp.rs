//! Tokio's TCP sockets, set so that the kernel gives up a dead peer too.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::homing::HomingStream;
use super::{Listener, Net, Stream};

/// Connections that may wait to be accepted, as with tokio's own `TcpListener::bind`. The kernel
/// lowers it to `net.core.somaxconn`, which is 4096 unless somebody changed it.
const BACKLOG: u32 = 1024;

/// How long the kernel keeps a connection whose peer says nothing.
///
/// It is the belt to the braces of the links, whose own pings give a peer up after 3 s of silence;
/// so every path here takes longer than that. It closes what no ping watches: a link whose task is
/// stuck, a handshake, a socket that was shut and has not drained.
#[derive(Debug, Clone, Copy)]
struct TcpTimes {
    /// Silence before the first probe.
    keepalive_idle: Duration,
    /// From probe to probe; whole seconds, as all of keepalive.
    keepalive_interval: Duration,
    /// Unanswered probes after which the connection is closed.
    keepalive_probes: u32,
    /// How long written bytes may stay unacknowledged, or unsent because the peer takes none.
    /// Linux only.
    user_timeout: Duration,
}

const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 3;

/// For every connection: 8 s, with bytes under way and without.
const TIMES: TcpTimes = TcpTimes {
    keepalive_idle: KEEPALIVE_IDLE,
    keepalive_interval: KEEPALIVE_INTERVAL,
    keepalive_probes: KEEPALIVE_PROBES,
    // Linux takes the user timeout for keepalive as well: it closes at the first unanswered probe
    // past it, whatever the number of probes is (net/ipv4/tcp_timer.c, tcp_keepalive_timer). A
    // shorter one would cut the probes short, a longer one would add to them.
    user_timeout: KEEPALIVE_IDLE
        .saturating_add(KEEPALIVE_INTERVAL.saturating_mul(KEEPALIVE_PROBES)),
};

impl TcpTimes {
    /// Sets `stream` to them, and to send at once what is written.
    fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new().with_time(self.keepalive_idle);
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
        let keepalive =
            keepalive.with_interval(self.keepalive_interval).with_retries(self.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        Ok(())
    }
}

async fn dial(addr: SocketAddr, times: TcpTimes) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    times.apply(&stream)?;
    Ok(stream)
}

/// Tokio's TCP sockets: `TCP_NODELAY`, keepalive, and on Linux `TCP_USER_TIMEOUT`, dialled and
/// accepted alike.
///
/// A peer that is silent for 8 s, or leaves written bytes unacknowledged or takes none for as long,
/// breaks the connection with [`io::ErrorKind::TimedOut`]. Listeners use `SO_REUSEADDR`, so that a
/// node restarts on its port while old connections linger, and a backlog of 1024.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioNet;

#[derive(Debug)]
struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Elsewhere it means that another process may take the port over.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(Self(socket.listen(BACKLOG)?))
    }

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let (stream, from) = self.0.accept().await?;
            // One that is gone already, or takes no settings, is nobody's loss but its own.
            if TIMES.apply(&stream).is_ok() {
                return Ok((stream, from));
            }
        }
    }
}

impl Net for TokioNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move { Ok(Box::new(TcpListener::bind(addr)?) as Box<dyn Listener>) }.boxed()
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        async move { Ok(Box::new(HomingStream::new(dial(addr, TIMES).await?)) as Stream) }.boxed()
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host(host).await?.collect()) }.boxed()
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, from) = self.next().await?;
            Ok((Box::new(HomingStream::new(stream)) as Stream, from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
