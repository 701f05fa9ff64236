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
pub mod certs;
mod conn;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

pub use self::api::{
    AskError, Class, Counts, Head, Identity, Inbound, Limits, LinksConfig, LinksError, Peer,
    ReplyTo, Security, SendError, Service, Timing,
};
pub use self::tls::{TlsConfig, TlsError, TlsFiles};
use crate::base::{Boot, ClusterId, Instant, NodeId, Seams};

/// All links of one node. Cheap to clone; ends with [`Links::stop`].
#[derive(Debug, Clone)]
pub struct Links(Arc<()>);

impl Links {
    /// Listens, and from now on accepts links.
    ///
    /// # Errors
    /// [`LinksError`] if the address cannot be used, or this node's certificate is not its own.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn start(_config: LinksConfig, _seams: Seams) -> Result<Self, LinksError> {
        Ok(Self(Arc::new(())))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Gives what arrives for `service` to `inbound`. Before, asks for it are refused and tells
    /// dropped.
    pub fn serve(&self, _service: Service, _inbound: Arc<dyn Inbound>) {}

    /// Sets the cluster this node belongs to. Links made before carry only
    /// [`Service::Formation`], and are closed now.
    pub fn set_cluster(&self, _id: ClusterId) {}

    /// A new life: all links are closed, and dialled again as needed.
    pub fn set_boot(&self, _boot: Boot) {}

    /// Says where to dial `node`: `host:port`. Repeating it changes nothing.
    pub fn learn(&self, _node: &NodeId, _addr: &str) {}

    /// Closes all links to `node` and forgets its address.
    pub fn forget(&self, _node: &NodeId) {}

    /// Closes all links to and from `node`; unanswered asks end as [`AskError::Unknown`].
    pub fn close(&self, _node: &NodeId) {}

    /// Called with every arrival of bytes on an authenticated control link.
    pub fn on_arrival(&self, _hook: impl Fn(&NodeId, Instant) + Send + Sync + 'static) {}

    /// Called when an established link breaks or falls silent, with the reason.
    pub fn on_broken(&self, _hook: impl Fn(&NodeId, &str) + Send + Sync + 'static) {}

    /// Sends without waiting; dials first if there is no link. Nothing is known of its arrival.
    ///
    /// # Errors
    /// [`SendError`]; it was not sent.
    pub fn tell(
        &self,
        to: &NodeId,
        _class: Class,
        _service: Service,
        _head: Head,
        _body: Bytes,
    ) -> Result<(), SendError> {
        Err(SendError::Overloaded(to.clone()))
    }

    /// Sends and waits for the answer, at most until `deadline`.
    ///
    /// # Errors
    /// [`AskError`] says whether it may have been executed.
    #[expect(clippy::too_many_arguments, clippy::unused_async, reason = "the words of one frame")]
    pub async fn ask(
        &self,
        _to: &NodeId,
        _class: Class,
        _service: Service,
        _head: Head,
        _body: Bytes,
        _deadline: Instant,
    ) -> Result<Bytes, AskError> {
        Err(AskError::NotExecuted(String::new()))
    }

    /// Asks whoever listens at `addr`, over a connection of its own. For forming and joining.
    ///
    /// # Errors
    /// As [`Links::ask`].
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn ask_addr(
        &self,
        _addr: &str,
        _service: Service,
        _body: Bytes,
        _deadline: Instant,
    ) -> Result<(Peer, ClusterId, Bytes), AskError> {
        Err(AskError::NotExecuted(String::new()))
    }

    /// What happened on all links since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Closes everything and waits for the links' tasks to end.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn stop(&self) {}
}
