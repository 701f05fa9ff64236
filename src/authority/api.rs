//! What the rest of a node asks of the authority.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::base::{Boot, Epoch, Instant, NodeId, ShardId, StoreId, Version, Watched};
use crate::placement::{ChangeId, Outcome, Proposal, View};

/// What became of each proposed change.
pub type Proposed = Vec<(ChangeId, Outcome)>;

/// Agrees on views and grants leases.
pub trait ViewAuthority: fmt::Debug + Send + Sync + 'static {
    /// The newest view applied at this node.
    fn view(&self) -> Arc<View>;

    /// Follows the views applied at this node. Versions only grow; some may be skipped.
    fn watched(&self) -> Watched<View>;

    /// Proposes changes, each accepted or refused alone. Repeating a proposal under its id is
    /// harmless.
    ///
    /// # Errors
    /// [`ProposeError`] says whether the changes may have been made.
    fn propose(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>>;

    /// Asks for this node's lease to be renewed. One request, one answer; repeating is the
    /// caller's.
    ///
    /// # Errors
    /// [`RenewError`].
    fn renew(&self, request: Renew, deadline: Instant) -> BoxFuture<'_, Result<Grant, RenewError>>;

    /// Gives up `shard` under `epoch` for good: it is never served again under it. To be called
    /// once nothing of it runs any more.
    fn release(&self, shard: ShardId, epoch: Epoch);

    /// What the leader wishes of this node as an owner, from its last grant.
    fn wishes(&self) -> Watched<Vec<Wish>>;
}

/// Why proposals were not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Nothing was changed. Next: propose again.
    #[error("not executed: {0}")]
    NotExecuted(String),
    /// The changes may or may not be made. Next: read the view, or repeat under the same ids.
    #[error("unknown: {0}")]
    Unknown(String),
    /// The sender may not propose this. Nothing was changed.
    #[error("not executed: {0} may not propose this")]
    Forbidden(NodeId),
}

/// A node asks for its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Names this very request; a grant for another one counts for nothing.
    pub nonce: u64,
    /// Who asks.
    pub node: NodeId,
    /// In which life.
    pub boot: Boot,
    /// Nonce of the last grant it received.
    pub last_grant: Option<u64>,
    /// Its load, in turns per second.
    pub load: u32,
    /// Nodes it finds unreachable.
    pub unreachable: Vec<NodeId>,
    /// Shards it gave up; repeated until the view shows it.
    pub released: Vec<(ShardId, Epoch)>,
    /// It stops for good: its whole boot is released.
    pub leaving: bool,
}

/// What the leader would like the owner of a shard to do. Nothing is agreed on by it: the owner
/// proposes, if it still owns the shard under `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wish {
    /// Which shard.
    pub shard: ShardId,
    /// Under which ownership.
    pub epoch: Epoch,
    /// About which store.
    pub store: StoreId,
    /// What about it.
    pub what: Wished,
}

/// See [`Wish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wished {
    /// It should hold the shard too.
    Copy,
    /// It need not hold the shard any longer: enough others do.
    Drop,
}

/// Most wishes in one grant; the others come with later ones.
pub const WISHES_MAX: usize = 128;

/// A lease: the node may run entity code until `its send time of that request + lease - guard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Of the request it answers.
    pub nonce: u64,
    /// D.
    pub lease: Duration,
    /// The leader's applied view: the node must have applied it before it uses the grant.
    pub version: Version,
    /// What it should do for the shards it owns: all that is wished at present, at most
    /// [`WISHES_MAX`].
    #[serde(default)]
    pub wishes: Vec<Wish>,
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The asked node does not lead. Next: ask `leader`, or the next voter.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as it knows.
        leader: Option<NodeId>,
    },
    /// The boot is no member's: evicted, or not joined yet. Next: join again under a new boot.
    #[error("{1} of {0} is not a member")]
    NotMember(NodeId, Boot),
    /// The boot is being evicted or is refused. Next: finish what runs; do not ask again.
    #[error("{1} of {0} is being evicted")]
    Evicting(NodeId, Boot),
    /// No answer in time. Next: ask the next voter.
    #[error("no answer: {0}")]
    NoAnswer(String),
}
