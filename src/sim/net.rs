//! Turmoil's sockets behind the [`Net`] seam, with loss.

mod loss;
mod lossy;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use turmoil::net::{TcpListener, TcpStream};

pub use self::loss::RETRANSMISSIONS_MAX;
pub(super) use self::loss::{Loss, delay};
use self::loss::{Retransmissions, Side};
use self::lossy::LossyStream;
use super::process::{GatedListener, Process};
use crate::base::{Listener, Net, NodeId, Stream};

/// The simulated network, as the host that uses it sees it.
#[derive(Debug, Clone, Default)]
pub struct SimNet {
    /// What is lost on the ways to this host, if anything, and what this host is called.
    lossy: Option<(NodeId, Arc<Loss>)>,
    process: Arc<Process>,
}

impl SimNet {
    /// The network of `loss`, as `process` on the host `name` sees it.
    pub(super) fn new(name: NodeId, loss: Arc<Loss>, process: Arc<Process>) -> Self {
        Self { lossy: (loss.permille() > 0).then_some((name, loss)), process }
    }

    /// What the next connection with `addr` loses; nothing on a way that leaves no host.
    fn losses(&self, addr: SocketAddr, side: Side) -> Option<Retransmissions> {
        let (me, loss) = self.lossy.as_ref()?;
        let peer = turmoil::reverse_lookup(addr.ip())?;
        (peer != me.as_str()).then(|| loss.connection(me.as_str(), &peer, side))
    }
}

fn stream(tcp: TcpStream, losses: Option<Retransmissions>) -> Stream {
    match losses {
        Some(losses) => Box::new(LossyStream::new(tcp, losses)),
        None => Box::new(tcp),
    }
}

struct SimListener {
    tcp: TcpListener,
    net: SimNet,
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimListener")
    }
}

impl Net for SimNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = SimListener { tcp: TcpListener::bind(addr).await?, net: self.clone() };
            let (process, listener) = (self.process.clone(), Box::new(listener));
            Ok(Box::new(GatedListener { process, listener }) as Box<dyn Listener>)
        }
        .boxed()
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let mut losses = self.losses(addr, Side::Dialler);
            if let Some(losses) = &mut losses {
                let lost = losses.draw();
                if lost > 0 {
                    tokio::time::sleep(delay(lost)).await;
                }
                if lost > RETRANSMISSIONS_MAX {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            self.process.gate.opened().await;
            let stream = stream(TcpStream::connect(addr).await?, losses);
            self.process.gate.opened().await;
            Ok(self.process.socket(stream))
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
            let (tcp, from) = self.tcp.accept().await?;
            Ok((stream(tcp, self.net.losses(from, Side::Listener)), from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[cfg(test)]
mod tests;
