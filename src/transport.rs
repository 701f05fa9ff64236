//! Links between nodes: authenticated connections that carry tells and asks.
//!
//! Every node dials its own connections, one per peer and [`Class`]; an answer comes back on the
//! connection of its ask. Order holds per peer, class and [lane](Head::lane); only on a control
//! link does a small message overtake a large one, which travels in parts. There is no actor and no
//! channel on the data path: a sender encodes into the connection's output under a short lock and
//! rings the connection's task, which writes whatever has gathered at once.
//!
//! What an asker learns is exact: [`AskError::NotExecuted`] if the frame never left,
//! [`AskError::Refused`] if the other side said that it did nothing, and [`AskError::Unknown`] for
//! all else.

mod accept;
mod api;
mod blocks;
mod buffered;
mod calls;
pub mod certs;
mod conn;
mod crowd;
mod deadlines;
mod dial;
mod handshake;
mod hooks;
mod io;
mod lanes;
mod link;
mod links;
mod output;
mod pace;
mod reader;
mod rivals;
mod table;
mod tally;
mod tasks;
mod tls;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::api::{
    AskError, Class, Counts, Head, Identity, Inbound, LANE_BYTES_MIN, Life, Limits, LinksConfig,
    LinksError, Lost, Peer, ReplyTo, Security, SendError, Service, Timing,
};
use self::conn::Conn;
pub use self::lanes::LANES;
pub use self::link::Link;
use self::link::{Ended, ask_on, check_size, header};
use self::links::Shared;
pub use self::tls::{TlsConfig, TlsError, TlsFiles, TlsTexts};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::{ClusterId, Instant, NodeId, Seams, within};
use crate::wire::Kind;
use crate::wire::negotiate::Schemas;

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
        let lane_bytes_max = config.limits.lane_bytes_max;
        if lane_bytes_max < LANE_BYTES_MIN {
            return Err(LinksError::LaneBytes(lane_bytes_max));
        }
        match &config.security {
            Security::Insecure if !config.listen.ip().is_loopback() => {
                return Err(LinksError::InsecureAddress(config.listen));
            }
            security @ (Security::Insecure | Security::Tls(_)) => {
                security.check_own(&config.identity)?;
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
    pub fn set_life(&self, life: Life) {
        self.0.set_life(life);
    }

    /// The life of each member of the newest view: it goes before any other process under that
    /// name, and links of earlier ones end. Replaces what was said before.
    pub fn set_members(&self, members: BTreeMap<NodeId, Life>) {
        self.0.set_members(members);
    }

    /// The life of `node` that is a member, by the newest view that was told.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<Life> {
        self.0.table.lock().members.get(node).copied()
    }

    /// Another life of `node` than `life` that has links here and is alive, as far as this node
    /// knows; and for how long it has said nothing.
    #[must_use]
    pub fn rival(&self, node: &NodeId, life: Life) -> Option<(Life, Duration)> {
        self.0.rival(node, life)
    }

    /// How long a life that is alive is silent at most, as far as [`Links::rival`] believes.
    #[must_use]
    pub fn contested(&self) -> Duration {
        self.0.timing.contested()
    }

    /// Says where to dial `node`: `host:port`. Repeating it changes nothing, and an empty address
    /// says nothing.
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

    /// The nodes whose control connections make room for nobody: voters, and those that hold
    /// copies of this node's shards. Replaces what was said before.
    pub fn keep(&self, nodes: BTreeSet<NodeId>) {
        self.0.table.lock().kept = nodes;
    }

    /// A way to one service of `node`, for those who send much.
    #[must_use]
    pub fn link(&self, node: &NodeId, class: Class, service: Service) -> Link {
        Link::new(self.0.clone(), node.clone(), class, service)
    }

    /// Replaces certificate, key and trust: handshakes from now on use these, and no session of
    /// before is resumed. Connections that stand go on.
    ///
    /// # Errors
    /// [`LinksError`] if it is not this node's own certificate, or one of the two is no TLS; all
    /// is as before then.
    pub fn replace_security(&self, security: Security) -> Result<(), LinksError> {
        self.0.replace_security(security)
    }

    /// Called with every arrival of bytes on an authenticated control link. Must be quick.
    pub fn on_arrival(&self, hook: impl Fn(&Peer, Instant) + Send + Sync + 'static) {
        *self.0.hooks.arrival.write() = Some(Arc::new(hook));
    }

    /// Called when an established link breaks or falls silent, with the reason.
    pub fn on_broken(&self, hook: impl Fn(&Peer, &str) + Send + Sync + 'static) {
        *self.0.hooks.broken.write() = Some(Arc::new(hook));
    }

    /// Called with the kinds another node knows: for those met already, and whenever a connection
    /// with one comes to stand. Must be quick.
    pub fn on_met(&self, hook: impl Fn(&NodeId, &Schemas) + Send + Sync + 'static) {
        let hook = Arc::new(hook);
        *self.0.hooks.met.write() = Some(hook.clone());
        let table = self.0.table.lock();
        let met =
            table.ways.iter().filter_map(|(node, way)| Some((node.clone(), way.schemas.clone()?)));
        let met: Vec<_> = met.collect();
        drop(table);
        for (node, schemas) in &met {
            hook(node, schemas);
        }
    }

    /// Called when a connection has ended with tells that are lost, or may be. Must be quick.
    pub fn on_lost(&self, hook: impl Fn(&Lost) + Send + Sync + 'static) {
        *self.0.hooks.lost.write() = Some(Arc::new(hook));
    }

    /// Called when a connection from elsewhere is refused, with the reason.
    pub fn on_refused(&self, hook: impl Fn(SocketAddr, &str) + Send + Sync + 'static) {
        *self.0.hooks.refused.write() = Some(Arc::new(hook));
    }

    /// Sends without waiting; dials first if there is no link. Nothing is known of its arrival.
    ///
    /// # Errors
    /// [`SendError`]; it was not sent.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one frame")]
    pub fn tell(
        &self,
        to: &NodeId,
        class: Class,
        service: Service,
        head: Head,
        body: Bytes,
    ) -> Result<(), SendError> {
        self.link(to, class, service).tell(head, body)
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
        self.link(to, class, service).ask(head, body, deadline).await
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
        let asked = ask_on(&self.0, &conn.0, (&header, &body), deadline).await;
        let answer = asked.unwrap_or_else(|Ended::Before(error)| Err(error))?;
        Ok((peer, cluster, answer))
    }

    /// How full the queues of each connection are.
    #[cfg(feature = "sim")]
    pub(crate) fn fills(&self) -> Vec<Fill> {
        self.0.table.lock().conns().flat_map(|conn| conn.fills()).collect()
    }

    /// What happened on all links since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    /// Closes everything, and waits for nothing. For a node whose runtime is gone: what serves a
    /// link holds the link too, and would never be dropped.
    pub fn abandon(&self) {
        self.0.stop();
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

#[cfg(test)]
pub(crate) mod net_contract;
#[cfg(test)]
pub(crate) mod pipe_net;
#[cfg(test)]
mod tests;
