//! A process of the cluster: its parts put together, started in order, supervised, and stopped in
//! reverse.
//!
//! ```no_run
//! # use evertree::{entity::{Cx, Durable, Entity, Failure, Kind, Reply}, node::{Node, NodeConfig}};
//! # #[derive(Default, serde::Serialize, serde::Deserialize)] struct Cart;
//! # #[derive(serde::Serialize, serde::Deserialize)] enum CartMsg { Count(Reply<u64>) }
//! # impl Entity for Cart {
//! #     const KIND: &'static str = "cart";
//! #     type Msg = CartMsg;
//! #     type Env = ();
//! #     async fn handle(&mut self, m: CartMsg, _: &mut Cx<'_, Self>) -> Result<(), Failure> {
//! #         let CartMsg::Count(reply) = m;
//! #         reply.send(0);
//! #         Ok(())
//! #     }
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = NodeConfig::insecure("n1".parse()?);
//! let carts = Kind::<Cart>::new(()).durable(Durable::Snapshots);
//! let node = Node::build(config).host(carts).start().await?;
//! let count = node.entities::<Cart>().get("alice").ask(CartMsg::Count).await?;
//! node.stop().await;
//! # Ok(())
//! # }
//! ```

mod answers;
mod build;
mod config;
mod health;
mod life;
mod operator;
mod recover;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;

pub use build::{NodeBuilder, StartError};
pub use config::{ConfigError, NodeConfig, Security};
pub use health::{DiskConfig, HealthConfig, HealthError, HealthProbe, PROBES_MAX, ProbeConfig};
pub use operator::OperatorError;
pub use recover::{RecoverError, RecoverReport, Recovery, follow_quorum};

use crate::admin::Server;
use crate::authority::{Lease, QuorumAuthority, Standing, ViewAuthority as _};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::{ControlRuntime, NodeId, Publisher, Seams, ShardId, Watched};
use crate::entity::{Entities, Entity, EntityCounts, Hosts};
use crate::membership::{
    Hints, MemberEvents, MemberHub, MemberState, Membership, Observations, Own,
};
use crate::observe::{
    Desk, EventLog, NodesReport, RingAsk, RingAskError, RingReport, VotersReport,
};
use crate::placement::View;
use crate::replica::{Copies, Replicas};
use crate::storage::Store;
use crate::supervisor::{Snapshot, Tree};
use crate::transport::{Counts, Links};

use self::health::Health;

/// How long turns in hand may take when the node stops.
const STOP_TURNS: Duration = Duration::from_secs(5);

/// What a node consists of, and the tree that its own tasks run under.
struct Parts {
    name: NodeId,
    seams: Seams,
    links: Links,
    authority: QuorumAuthority,
    store: Store,
    replicas: Replicas,
    hosts: Hosts,
    /// Of the present life.
    membership: Publisher<Option<Membership>>,
    desk: Desk,
    /// What this node says of itself.
    said: Said,
    hub: MemberHub,
    hints: Hints,
    health: Health,
    /// What changed in the views, and why.
    events: EventLog,
    /// It has left the cluster for good.
    left: Publisher<bool>,
    /// Why the node ended, once it did.
    ended: Publisher<Option<String>>,
}

/// What a node says of itself in the gossip; several parts of it know something to say.
struct Said {
    own: Publisher<Own>,
    changing: Mutex<()>,
}

impl Said {
    fn new(zone: &str) -> Self {
        let own = Own { zone: zone.to_owned(), ..Own::default() };
        Self { own: Publisher::new(own), changing: Mutex::new(()) }
    }

    fn change(&self, change: impl FnOnce(&mut Own)) {
        let _one_at_a_time = self.changing.lock();
        let mut own = Own::clone(&self.own.get());
        change(&mut own);
        if *self.own.get() != own {
            self.own.publish(Arc::new(own));
        }
    }
}

struct Inner {
    parts: Arc<Parts>,
    tree: Tree,
    /// The socket in the data directory, if there is to be one.
    admin: Option<Server>,
    /// The control runtime, unless the seams were given.
    control: Mutex<Option<ControlRuntime>>,
}

/// A running node. Cheap to clone; lives until [`Node::stop`], or until it ends by itself
/// ([`Node::ended`]).
#[derive(Clone)]
pub struct Node(Arc<Inner>);

impl Node {
    /// A node that is not started yet.
    #[must_use]
    pub fn build(config: NodeConfig) -> NodeBuilder {
        NodeBuilder::new(config)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeId {
        &self.0.parts.name
    }

    /// The entities of one kind, wherever they are.
    #[must_use]
    pub fn entities<E: Entity>(&self) -> Entities<E> {
        self.0.parts.hosts.entities()
    }

    /// The newest view applied here.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.0.parts.authority.view()
    }

    /// The views as they are applied here. The lease knows of each before it is shown.
    #[must_use]
    pub fn views(&self) -> Watched<View> {
        self.0.parts.authority.watched()
    }

    /// The shard that `kind/id` is in.
    #[must_use]
    pub fn shard_of(&self, kind: &str, id: &str) -> ShardId {
        // A node that has started has a formed view.
        self.0.parts.hosts.shard_of(kind, id).unwrap_or_default()
    }

    /// Whether this node may run entities at present: it is a member and its lease is valid.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let member = matches!(*self.0.parts.authority.standing().get(), Standing::Member(_));
        member && self.0.parts.seams.clock.now() < self.lease().valid_until()
    }

    /// Who leads the authority, as far as this node has heard.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.0.parts.authority.core().leader_hint()
    }

    /// This node's lease.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.0.parts.authority.lease()
    }

    /// Its records, for a world that looks at them.
    #[cfg(feature = "sim")]
    pub(crate) fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// How this node stands with the cluster.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.0.parts.authority.standing().get()
    }

    /// All members of the cluster as this node sees them, itself included, by name.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        let membership = self.0.parts.membership.get();
        membership.as_ref().as_ref().map(Membership::members).unwrap_or_default()
    }

    /// Follows what changes about the members from now on. At most `events_max` events wait to be
    /// received, at least one; further ones are dropped and counted.
    #[must_use]
    pub fn member_events(&self, events_max: usize) -> MemberEvents {
        self.0.parts.hub.subscribe(events_max)
    }

    /// What this node observes of the others by gossip.
    #[must_use]
    pub fn observed(&self) -> Arc<Observations> {
        let membership = self.0.parts.membership.get();
        let observed = membership.as_ref().as_ref().map(|membership| membership.observed().get());
        observed.unwrap_or_default()
    }

    /// The members as they say they are, and as each observes the others: all are asked, and have
    /// one second to answer.
    pub async fn nodes_report(&self) -> NodesReport {
        self.0.parts.desk.report().await
    }

    /// Shares of ring and shards, the owner of a key, and what a join or a loss would move; from
    /// the newest view applied here. See [`RingReport::new`] for what it costs.
    ///
    /// # Errors
    /// [`RingAskError`].
    pub fn ring_report(&self, ask: &RingAsk) -> Result<RingReport, RingAskError> {
        RingReport::new(&self.view(), ask)
    }

    /// Who agrees on the views, how far each voter is, and how many may fail: all voters are asked,
    /// and have one second to answer.
    pub async fn voters_report(&self) -> VotersReport {
        self.0.parts.desk.voters().await
    }

    /// The copies of the shards with records that this node owns.
    #[must_use]
    pub fn copies(&self) -> Vec<Copies> {
        self.0.parts.replicas.status()
    }

    /// What its entities did since the start.
    #[must_use]
    pub fn entity_counts(&self) -> EntityCounts {
        self.0.parts.hosts.counted()
    }

    /// What its links did since the start.
    #[must_use]
    pub fn link_counts(&self) -> Counts {
        self.0.parts.links.counts()
    }

    /// How full its queues are.
    #[cfg(feature = "sim")]
    pub(crate) fn fills(&self) -> Vec<Fill> {
        let Parts { links, authority, store, hosts, events, .. } = &*self.0.parts;
        let mut fills = links.fills();
        fills.extend(authority.fills());
        fills.extend(store.fills());
        fills.extend(hosts.fills());
        fills.push(events.fill());
        fills
    }

    /// Replaces certificate, key and trusted authorities while it runs. Handshakes from now on use
    /// these, links that stand go on. To change the authority, first give all nodes both, then new
    /// certificates, then the new authority alone.
    ///
    /// # Errors
    /// [`StartError`], as at the start: all is as before then.
    pub fn replace_certificates(&self, security: &Security) -> Result<(), StartError> {
        let parts = &*self.0.parts;
        let security = build::security(&parts.name, security, &parts.seams)?;
        Ok(parts.links.replace_security(security)?)
    }

    /// The tree that the node's own tasks run under.
    #[must_use]
    pub fn tree(&self) -> Snapshot {
        self.0.tree.snapshot()
    }

    /// Completes when the node ends without being asked to, and says why: its disk failed, or its
    /// own tasks crashed more often than they may. Next: stop it, mend what is named, start again.
    pub async fn ended(&self) -> String {
        let mut watch = self.0.parts.ended.watched().follow();
        let why = watch.until(Option::is_some).await;
        why.and_then(|why| (*why).clone()).unwrap_or_default()
    }

    /// Stops in the reverse order of the start: no new messages, turns in hand end, the boot is
    /// released so that its shards go on at once, links close, files close. May be called again.
    pub async fn stop(&self) {
        self.0.parts.stop(self.0.tree.stop().map(drop)).await;
        if let Some(admin) = &self.0.admin {
            admin.stop().await;
        }
        // Joins the thread, which must not be one of the runtime's own.
        drop(self.0.control.lock().take());
    }
}

impl Parts {
    /// See [`Node::stop`]; `tree` stops the node's own tasks, which see to the lease until then.
    async fn stop(&self, tree: impl Future<Output = ()>) {
        self.health.stop();
        let deadline = self.seams.clock.now() + STOP_TURNS;
        self.said.change(|own| own.leaving = true);
        self.hosts.stop(deadline).await;
        self.replicas.stop().await;
        self.authority.leave(self.seams.clock.now() + STOP_TURNS).await;
        tree.await;
        self.authority.stop().await;
        self.links.stop().await;
    }
}

impl Drop for Parts {
    /// The last of the node's own tasks is gone: it was stopped, or its runtime ended under it.
    fn drop(&mut self) {
        self.links.abandon();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}, {:?})", self.name(), self.standing())
    }
}

#[cfg(test)]
mod tests;
