//! Turmoil's sockets behind the [`Net`] seam.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::base::{Listener, Net, Stream};

/// The simulated network, as the host that uses it sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimNet;

struct SimListener(turmoil::net::TcpListener);

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimListener")
    }
}

impl Net for SimNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = turmoil::net::TcpListener::bind(addr).await?;
            Ok(Box::new(SimListener(listener)) as Box<dyn Listener>)
        }
        .boxed()
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let stream = turmoil::net::TcpStream::connect(addr).await?;
            Ok(Box::new(stream) as Stream)
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move {
            if let Ok(addr) = host.parse() {
                return Ok(vec![addr]);
            }
            let parts = host.rsplit_once(':').and_then(|(name, port)| {
                let port: u16 = port.parse().ok()?;
                Some((name, port))
            });
            let Some((name, port)) = parts else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "host:port was expected"));
            };
            Ok(vec![SocketAddr::new(turmoil::lookup(name), port)])
        }
        .boxed()
    }
}

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(stream) as Stream, from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
