//! The seam to sockets.

mod address;
mod homing;
mod local;
mod tcp;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::address::{FORM as ADDRESS_FORM, ip_of, is_host_port, is_nowhere};
pub use self::local::{LOCAL_PATH_BYTES_MAX, LocalError, LocalListener, connect_local};
pub use self::tcp::TokioNet;

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
