//! How a node stands with its cluster, and why it does not become a member.

use crate::base::Boot;
use crate::storage::StoreError;

/// How this node stands with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It is not a member yet.
    #[default]
    Outside,
    /// The view has its boot.
    Member(Boot),
    /// Its boot was evicted, or another life of its name replaced it. Next: stop what runs, begin
    /// a new boot ([`QuorumAuthority::begin`](super::QuorumAuthority::begin)).
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

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}
