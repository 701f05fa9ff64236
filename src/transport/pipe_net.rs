//! A network in memory, for tests under virtual time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::base::{Listener, Net, Stream};

type Arriving = (Stream, SocketAddr);

/// Bytes a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// Pipes between listeners of one process.
#[derive(Debug, Clone, Default)]
pub(crate) struct PipeNet(Arc<Mutex<Ports>>);

#[derive(Debug, Default)]
struct Ports {
    last: u16,
    listening: BTreeMap<u16, mpsc::UnboundedSender<Arriving>>,
}

impl Ports {
    fn next(&mut self) -> SocketAddr {
        self.last += 1;
        SocketAddr::from(([127, 0, 0, 1], self.last))
    }
}

struct PipeListener(SocketAddr, tokio::sync::Mutex<mpsc::UnboundedReceiver<Arriving>>);

impl std::fmt::Debug for PipeListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PipeListener({})", self.0)
    }
}

impl Net for PipeNet {
    fn listen(&self, wanted: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, arriving) = mpsc::unbounded_channel();
        let mut ports = self.0.lock();
        // As on a machine, but for one port that is taken: then it is another one.
        let taken = ports.listening.get(&wanted.port()).is_some_and(|one| !one.is_closed());
        let addr = if wanted.port() == 0 || taken { ports.next() } else { wanted };
        ports.listening.insert(addr.port(), sender);
        let listener = PipeListener(addr, tokio::sync::Mutex::new(arriving));
        async { Ok(Box::new(listener) as Box<dyn Listener>) }.boxed()
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let mut ports = self.0.lock();
        let from = ports.next();
        let refused = io::ErrorKind::ConnectionRefused;
        let listener = ports.listening.get(&addr.port());
        let sent = listener.is_some_and(|listener| listener.send((Box::new(far), from)).is_ok());
        let stream = if sent { Ok(Box::new(near) as Stream) } else { Err(refused.into()) };
        async { stream }.boxed()
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async { host.parse().map(|addr| vec![addr]).map_err(io::Error::other) }.boxed()
    }
}

impl Listener for PipeListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Arriving>> {
        async { self.1.lock().await.recv().await.ok_or(io::ErrorKind::BrokenPipe.into()) }.boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}
