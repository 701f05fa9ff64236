//! Links between nodes: authenticated connections that carry tells and asks.
//!
//! Every node dials its own connections, one per peer and [`Class`]; an answer comes back on the
//! connection of its ask. Order holds per peer and class. There is no actor and no channel on the
//! data path: a sender encodes into the connection's output under a short lock and rings the
//! writing task, which writes whatever has gathered at once.
//!
//! What an asker learns is exact: [`AskError::NotExecuted`] if the frame never left,
//! [`AskError::Refused`] if the other side said that it did nothing, and [`AskError::Unknown`] for
//! all else.

mod api;
mod calls;
pub mod certs;
mod conn;
mod handshake;
mod hooks;
mod io;
mod links;
mod tally;
mod tasks;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::api::{
    AskError, Class, Counts, Head, Identity, Inbound, Limits, LinksConfig, LinksError, Peer,
    ReplyTo, Security, SendError, Service, Timing,
};
use self::conn::{Conn, Rejected, Waiting};
use self::links::Shared;
pub use self::tls::{TlsConfig, TlsError, TlsFiles};
use crate::base::{Boot, ClusterId, Instant, NodeId, Seams, within};
use crate::wire::{Header, Kind};

/// How long [`Links::stop`] waits for the links' tasks.
const STOP_MAX: Duration = Duration::from_secs(5);

/// All links of one node. Cheap to clone; ends with [`Links::stop`].
#[derive(Debug, Clone)]
pub struct Links(Arc<Shared>);

impl Links {
    /// Listens, and from now on accepts links.
    ///
    /// # Errors
    /// [`LinksError`] if the address cannot be used, or this node's certificate is not its own.
    pub async fn start(config: LinksConfig, seams: Seams) -> Result<Self, LinksError> {
        let Timing { ping_interval, dead_after, .. } = config.timing;
        if dead_after <= ping_interval * 2 {
            return Err(LinksError::Times { ping_interval, dead_after });
        }
        match &config.security {
            Security::Insecure if !config.listen.ip().is_loopback() => {
                return Err(LinksError::InsecureAddress(config.listen));
            }
            Security::Insecure => {}
            Security::Tls(tls) => {
                let Identity { cluster_name, node, .. } = &config.identity;
                let found = tls.own();
                if found.cluster_name != *cluster_name || found.node != *node {
                    return Err(LinksError::WrongCertificate {
                        expected: format!("spiffe://{cluster_name}/node/{node}"),
                        found: found.to_string(),
                    });
                }
            }
        }
        let failed = |error| LinksError::Listen { addr: config.listen, error };
        let listener = seams.net.listen(config.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let shared = Shared::new(config, seams, addr);
        let (accepting, task) = (shared.clone(), shared.tasks.guard());
        shared.seams.control.spawn(async move {
            accepting.accept_all(listener).await;
            drop(task);
        });
        Ok(Self(shared))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Gives what arrives for `service` to `inbound`. Before, asks for it are refused and tells
    /// dropped.
    pub fn serve(&self, service: Service, inbound: Arc<dyn Inbound>) {
        self.0.serve(service, inbound);
    }

    /// Sets the cluster this node belongs to. Links made before carry only
    /// [`Service::Formation`], and are closed now.
    pub fn set_cluster(&self, id: ClusterId) {
        self.0.change_me(|me| me.cluster = id);
    }

    /// A new life: all links are closed, and dialled again as needed.
    pub fn set_boot(&self, boot: Boot) {
        self.0.set_boot(boot);
    }

    /// Says where to dial `node`: `host:port`. Repeating it changes nothing.
    pub fn learn(&self, node: &NodeId, addr: &str) {
        self.0.learn(node, addr);
    }

    /// Says where `node` was once, which counts only while nothing newer was learnt.
    pub fn recall(&self, node: &NodeId, addr: &str) {
        self.0.recall(node, addr);
    }

    /// Closes all links to and from `node` and forgets its address.
    pub fn forget(&self, node: &NodeId) {
        self.0.close(node, true);
    }

    /// Closes all links to and from `node`; asks that left end as [`AskError::Unknown`].
    pub fn close(&self, node: &NodeId) {
        self.0.close(node, false);
    }

    /// Called with every arrival of bytes on an authenticated control link. Must be quick.
    pub fn on_arrival(&self, hook: impl Fn(&NodeId, Instant) + Send + Sync + 'static) {
        *self.0.hooks.arrival.write() = Some(Arc::new(hook));
    }

    /// Called when an established link breaks or falls silent, with the reason.
    pub fn on_broken(&self, hook: impl Fn(&NodeId, &str) + Send + Sync + 'static) {
        *self.0.hooks.broken.write() = Some(Arc::new(hook));
    }

    /// Called when a connection from elsewhere is refused, with the reason.
    pub fn on_refused(&self, hook: impl Fn(SocketAddr, &str) + Send + Sync + 'static) {
        *self.0.hooks.refused.write() = Some(Arc::new(hook));
    }

    /// Sends without waiting; dials first if there is no link. Nothing is known of its arrival.
    ///
    /// # Errors
    /// [`SendError`]; it was not sent.
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "they are the fields of one frame, and bodies are handed over"
    )]
    pub fn tell(
        &self,
        to: &NodeId,
        class: Class,
        service: Service,
        head: Head,
        body: Bytes,
    ) -> Result<(), SendError> {
        check_size(class, &body)?;
        let conn = self.0.link_to(to, class, service)?;
        conn.tell(&header(Kind::Tell, service, head), &body).map_err(|why| rejected(&conn, why))
    }

    /// Sends and waits for the answer, at most until `deadline`. Dropped, it is taken back if it
    /// has not left yet.
    ///
    /// # Errors
    /// [`AskError`] says whether it may have been executed.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one frame")]
    pub async fn ask(
        &self,
        to: &NodeId,
        class: Class,
        service: Service,
        head: Head,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, AskError> {
        check_size(class, &body)?;
        if self.0.seams.clock.now() >= deadline {
            return Err(AskError::NotExecuted("its deadline had passed already".into()));
        }
        let conn = self.0.link_to(to, class, service)?;
        self.ask_on(&conn, &header(Kind::Ask, service, head), body, deadline).await
    }

    async fn ask_on(
        &self,
        conn: &Conn,
        header: &Header,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, AskError> {
        let mut waiting: Waiting<'_> =
            conn.ask(header, &body).map_err(|why| rejected(conn, why))?;
        drop(body);
        match within(&*self.0.seams.clock, deadline, &mut waiting.answer).await {
            Ok(Ok(answer)) => answer,
            // Not reached: the table answers every ask it held.
            Ok(Err(_)) => Err(AskError::Unknown(format!("the link to {} is gone", conn.label))),
            Err(_) if waiting.take_back() => Err(AskError::NotExecuted(format!(
                "the deadline passed before it could be sent to {}",
                conn.label
            ))),
            Err(_) => Err(AskError::Unknown(format!("no answer from {} in time", conn.label))),
        }
    }

    /// Asks whoever listens at `addr`, over a connection of its own. For forming and joining.
    ///
    /// # Errors
    /// As [`Links::ask`].
    pub async fn ask_addr(
        &self,
        addr: &str,
        service: Service,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(Peer, ClusterId, Bytes), AskError> {
        check_size(Class::Control, &body)?;
        let not_executed = |why: &str| AskError::NotExecuted(format!("{addr}: {why}"));
        let (conn, cluster) =
            self.0.dial_loose(addr, deadline).await.map_err(|why| not_executed(&why))?;
        // Ended however this future ends.
        let conn = OneCall(conn);
        let peer = conn.0.peer.get().cloned().ok_or_else(|| not_executed("it has no name"))?;
        if conn.0.is_formation_only() && service != Service::Formation {
            return Err(not_executed("one side is in no cluster yet"));
        }
        let header = header(Kind::Ask, service, Head::default());
        let answer = self.ask_on(&conn.0, &header, body, deadline).await?;
        Ok((peer, cluster, answer))
    }

    /// What happened on all links since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    /// Closes everything and waits for the links' tasks to end, at most five seconds.
    pub async fn stop(&self) {
        self.0.stop();
        let clock = &*self.0.seams.clock;
        if within(clock, clock.now() + STOP_MAX, self.0.tasks.none()).await.is_err() {
            tracing::warn!("some tasks of the links did not end in time");
        }
    }
}

/// A connection for one call.
struct OneCall(Arc<Conn>);

impl Drop for OneCall {
    fn drop(&mut self) {
        self.0.end("its one call is over", false);
    }
}

fn check_size(class: Class, body: &Bytes) -> Result<(), SendError> {
    let (bytes, bytes_max) = (body.len(), class.body_bytes_max());
    if bytes > bytes_max { Err(SendError::TooBig { bytes, bytes_max }) } else { Ok(()) }
}

fn header(kind: Kind, service: Service, head: Head) -> Header {
    let Head { version, shard, epoch } = head;
    Header { service: service as u8, version, shard, epoch, ..Header::of(kind, 0) }
}

fn rejected(conn: &Conn, why: Rejected) -> SendError {
    match why {
        Rejected::Overloaded => SendError::Overloaded(conn.label.clone()),
        Rejected::Closed(why) => SendError::Unreachable(format!("{}: {why}", conn.label)),
    }
}

#[cfg(test)]
pub(crate) mod net_contract;
#[cfg(test)]
pub(crate) mod pipe_net;
#[cfg(test)]
mod tests;
