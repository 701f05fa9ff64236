//! What a caller of the replication hands in and gets back.

use bytes::Bytes;

use crate::base::{Epoch, ShardId};

/// Longest key of a record, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Longest value of a record, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A write of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What is written, within its shard: at most [`KEY_BYTES_MAX`] bytes.
    pub key: Bytes,
    /// The new revision: one more than the record's, 1 for a key that was never written.
    pub revision: u64,
    /// The bytes: at most [`VALUE_BYTES_MAX`].
    pub value: Bytes,
    /// The key is deleted; it keeps its revision.
    pub deleted: bool,
}

/// Why a write was not acknowledged. Each variant says whether it may have been executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Fewer than `write_min` stores that hold the shard could be heard. The write got no number
    /// and was not executed. Next: save again later.
    #[error("not executed: only {live} of the {needed} stores {shard} needs can be heard")]
    UnderReplicated {
        /// Which shard.
        shard: ShardId,
        /// Stores heard, the owner's own included.
        live: usize,
        /// `write_min`.
        needed: usize,
    },
    /// The tenure ended. The write may or may not have been executed. Next: drop the state.
    #[error("unknown: this node's tenure of the shard ended")]
    Lapsed,
    /// The revision is not the record's next one. Not executed. Next: load again.
    #[error("not executed: revision {given} does not follow {current}")]
    Conflict {
        /// What was handed in.
        given: u64,
        /// The record's revision; 0 if the key was never written.
        current: u64,
    },
    /// Too many writes wait in this shard. Not executed.
    #[error("not executed: too many writes wait")]
    Overloaded,
    /// Key or value is too long. Not executed.
    #[error("not executed: key or value is too long ({bytes} bytes, at most {bytes_max})")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The store failed; the node stops. Unknown.
    #[error("unknown: the store failed: {0}")]
    Store(String),
}

impl SaveError {
    /// Whether the write is known not to have been executed.
    #[must_use]
    pub fn is_not_executed(&self) -> bool {
        match self {
            Self::UnderReplicated { .. }
            | Self::Conflict { .. }
            | Self::Overloaded
            | Self::TooLong { .. } => true,
            Self::Lapsed | Self::Store(_) => false,
        }
    }
}

/// Why a shard cannot be read or served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The takeover was not finished by the deadline. Next: ask again.
    #[error("{shard} is not served yet: {why}")]
    NotServing {
        /// Which shard.
        shard: ShardId,
        /// What it waits for.
        why: &'static str,
    },
    /// The tenure ended. Next: drop what ran under it.
    #[error("this node's tenure of the shard ended")]
    Lapsed,
    /// The local record is corrupt, or the store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

/// How far one owned shard's copies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Which shard.
    pub shard: ShardId,
    /// Under which epoch this node owns it.
    pub epoch: Epoch,
    /// The takeover is finished.
    pub serving: bool,
    /// What it waits for until then.
    pub waits_for: &'static str,
    /// Stores in `in_sync`.
    pub in_sync: usize,
    /// As many stores as the view wants hold it.
    pub complete: bool,
}
