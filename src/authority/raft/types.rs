//! What the voter is told, what it tells, and the types openraft is made with.

use std::fmt;

use bytes::Bytes;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::runtime::RaftRt;
use crate::authority::Proposed;
use crate::base::{NodeId, VoterId};
use crate::placement::Proposal;

openraft::declare_raft_types!(
    /// How openraft is used here.
    pub(super) Tc:
        D = Batch,
        R = Outcomes,
        NodeId = u64,
        Node = Voter,
        Term = u64,
        LeaderId = LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = RaftRt,
);

pub(super) type ViewSnapshot = SnapshotOf<Tc, Bytes>;
pub(super) type Raft = openraft::Raft<Tc, Machine>;
pub(super) type Entry = EntryOf<Tc>;
pub(super) type LogId = LogIdOf<Tc>;
pub(super) type Vote = VoteOf<Tc>;
pub(super) type Membership = StoredMembershipOf<Tc>;
pub(super) type SnapshotMeta = SnapshotMetaOf<Tc>;

/// What one entry of the log proposes. Applied in order, each accepted or refused alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch(pub(super) Vec<Proposal>);

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes", self.0.len())
    }
}

/// What became of them; empty for entries that propose nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcomes(pub(super) Proposed);

/// One leadership: unique, and later ones are greater. Raft's committed leader id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderKey {
    /// Raft's term.
    pub term: u64,
    /// Who leads in it.
    pub voter: VoterId,
}

impl LeaderKey {
    pub(super) fn of(leader: LeaderId<u64, u64>) -> Self {
        Self { term: leader.term, voter: VoterId(leader.node_id) }
    }

    pub(super) fn leader_id(self) -> LeaderId<u64, u64> {
        LeaderId { term: self.term, node_id: self.voter.0 }
    }
}

impl fmt::Display for LeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {} of {}", self.term, self.voter)
    }
}

/// A voter as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Its node.
    pub node: NodeId,
    /// Where it is reached, `host:port`.
    pub addr: String,
}

/// This node does not lead, or could not make sure in time. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the leader")]
pub struct NotLeader {
    /// Who leads, as far as it has heard.
    pub leader: Option<NodeId>,
}

/// Why a voter could not start. Nothing was changed. Next: a person looks at the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("the raft log: {0}")]
    Store(#[from] crate::storage::StoreError),
    /// The file is readable but not what was written.
    #[error("the raft log is damaged: {0}")]
    Damaged(String),
    /// The file is an earlier one than the node has voted with.
    #[error(transparent)]
    Older(#[from] crate::storage::Older),
    /// The profile's raft timing is not possible.
    #[error("raft timing: {0}")]
    Timing(String),
    /// No thread for the log.
    #[error("no thread for the raft log: {0}")]
    Thread(#[from] std::io::Error),
    /// Raft itself did not start.
    #[error("raft did not start: {0}")]
    Raft(String),
}

/// Why a quorum was not formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// This voter is not in the list. Nothing was changed.
    #[error("{0} is not among the voters")]
    NotAVoter(VoterId),
    /// The quorum is started, the view is not formed yet. Next: call again.
    #[error("the view is not formed yet")]
    NotYet,
    /// The agreed view refused the proposal. Next: a person reads why.
    #[error("the view cannot be formed so: {0}")]
    Refused(crate::placement::Refusal),
    /// The first entry of the view would be too long. Nothing was changed. Next: fewer shards.
    #[error(
        "to form the cluster takes {bytes} bytes in one entry, and an entry has at most \
         {bytes_max}: form it with fewer shards"
    )]
    TooLong {
        /// What it takes.
        bytes: usize,
        /// What there is.
        bytes_max: usize,
    },
    /// Raft stopped.
    #[error("raft stopped: {0}")]
    Stopped(String),
}
