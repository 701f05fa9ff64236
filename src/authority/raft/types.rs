//! What the voter is told and what it tells.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{NodeId, VoterId};

/// One leadership: unique, and later ones are greater. Raft's committed leader id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderKey {
    /// Raft's term.
    pub term: u64,
    /// Who leads in it.
    pub voter: VoterId,
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
    /// Raft stopped.
    #[error("raft stopped: {0}")]
    Stopped(String),
}
