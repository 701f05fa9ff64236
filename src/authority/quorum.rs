//! [`ViewAuthority`](super::ViewAuthority) among several nodes: raft, leases and formation put
//! together.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Grant, Lease, ProposeError, Proposed, RaftCore, Renew, RenewError, ViewAuthority};
use crate::base::{Boot, Epoch, Instant, NodeId, Seams, ShardId, StoreId, Watched};
use crate::placement::{Profile, Proposal, View};
use crate::storage::{Disk, Facts};

/// How a node finds its cluster when its directory is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formation {
    /// It forms a cluster of one.
    Bootstrap,
    /// It waits until `expect` nodes, itself included, agree on who they are.
    Expect {
        /// How many nodes form the cluster.
        expect: usize,
        /// Where others may be reached, `host:port`; its own address may be among them.
        seeds: Vec<String>,
    },
}

/// What the authority of one node is made of.
#[derive(Debug)]
pub struct QuorumParts {
    /// Its way to the world.
    pub seams: Seams,
    /// Its data directory.
    pub disk: Arc<dyn Disk>,
    /// What it knows about itself.
    pub facts: Facts,
    /// Its name.
    pub me: NodeId,
    /// The life it begins; fsynced in its directory.
    pub boot: Boot,
    /// Its store.
    pub store: StoreId,
    /// Where others reach it.
    pub addr: String,
    /// Failure zone, or empty.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// How many shards a cluster formed by this node has.
    pub shards: u16,
    /// Its timing; must be the cluster's.
    pub profile: Profile,
    /// How it finds its cluster.
    pub formation: Formation,
}

/// How this node stands with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It is not a member yet.
    #[default]
    Outside,
    /// The view has its boot.
    Member(Boot),
    /// Its boot was evicted, or another life of its name replaced it. Next: stop what runs, begin
    /// a new boot ([`QuorumAuthority::begin`]).
    Evicted(Boot),
    /// It left for good.
    Left,
}

/// Why a node did not become a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No answer before the deadline. Next: check that the others run, and start again.
    #[error("no cluster yet: {0}")]
    NoCluster(String),
    /// The cluster refuses this node.
    #[error("refused: {0}")]
    Refused(String),
    /// The directory, or raft's log in it.
    #[error("{0}")]
    Storage(String),
    /// Its timing is not the cluster's.
    #[error("this node's profile {mine} is not the cluster's {theirs}")]
    Profile {
        /// Its own.
        mine: String,
        /// The cluster's.
        theirs: String,
    },
}

#[derive(Debug)]
struct Inner {
    core: RaftCore,
    lease: Lease,
    standing: crate::base::Publisher<Standing>,
}

/// The authority of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QuorumAuthority(Arc<Inner>);

impl QuorumAuthority {
    /// Opens raft, forms or joins the cluster, and becomes a member under the boot of `parts`.
    /// Returns once the view applied here has it and a lease was granted.
    ///
    /// # Errors
    /// [`StartError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn start(_parts: QuorumParts, _deadline: Instant) -> Result<Self, StartError> {
        Err(StartError::NoCluster("the signature comes first".into()))
    }

    /// This node's lease.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.0.lease.clone()
    }

    /// The voter.
    #[must_use]
    pub fn core(&self) -> &RaftCore {
        &self.0.core
    }

    /// Follows how this node stands.
    #[must_use]
    pub fn standing(&self) -> Watched<Standing> {
        self.0.standing.watched()
    }

    /// Begins the life `boot` (fsynced in the directory) after an eviction, and becomes a member
    /// again.
    ///
    /// # Errors
    /// [`StartError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn begin(
        &self,
        _boot: Boot,
        _store: StoreId,
        _deadline: Instant,
    ) -> Result<(), StartError> {
        Err(StartError::NoCluster("the signature comes first".into()))
    }

    /// Gives up `shard` for good under `epoch`: it is never served again. Sent at once, and
    /// repeated until the view shows it.
    pub fn release(&self, _shard: ShardId, _epoch: Epoch) {}

    /// Tells which nodes this one finds unreachable.
    pub fn unreachable(&self, _nodes: Vec<NodeId>) {}

    /// Releases the whole boot: this node serves nothing from here on, and its shards go on at
    /// once. Waits until the view shows it.
    pub async fn leave(&self, _deadline: Instant) {}

    /// Stops the renewals, the leader's part and the voter.
    pub async fn stop(&self) {
        self.0.core.shutdown().await;
    }
}

impl ViewAuthority for QuorumAuthority {
    fn view(&self) -> Arc<View> {
        self.0.core.view()
    }

    fn watched(&self) -> Watched<View> {
        self.0.core.watched()
    }

    fn propose(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        self.0.core.propose(proposals, deadline).boxed()
    }

    fn renew(
        &self,
        _request: Renew,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<Grant, RenewError>> {
        async { Err(RenewError::NotLeader { leader: None }) }.boxed()
    }
}
