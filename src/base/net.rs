//! The seam to sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Both halves of a byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection.
pub type Stream = Box<dyn Io>;

/// Accepts connections.
pub trait Listener: Send + Sync + fmt::Debug + 'static {
    /// The next connection, and where it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;

    /// The address it listens on.
    ///
    /// # Errors
    /// If the socket is gone.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A network: real sockets, or simulated ones.
pub trait Net: Send + Sync + fmt::Debug + 'static {
    /// Listens on `addr`; port 0 picks one.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Connects to `addr`. Has no deadline of its own.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>>;

    /// The addresses of `host:port`.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// Tokio's TCP sockets, with `TCP_NODELAY`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioNet;

#[derive(Debug)]
struct TcpListener(tokio::net::TcpListener);

impl Net for TokioNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = tokio::net::TcpListener::bind(addr).await?;
            Ok(Box::new(TcpListener(listener)) as Box<dyn Listener>)
        }
        .boxed()
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host(host).await?.collect()) }.boxed()
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, from) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Stream, from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
