//! What can go wrong with a disk, in words that say what to do.

use std::path::PathBuf;

use bytes::Bytes;

use crate::base::{NodeId, ShardId};

/// Why a data directory cannot be used. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by another process: stop that process, or choose another \
         directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("{} is not a directory: choose another path for the data directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// This user may not use it.
    #[error(
        "data directory {} may not be {verb} by this user: change its owner or permissions, or \
         choose another directory ({source})",
        path.display()
    )]
    Denied {
        /// The directory.
        path: PathBuf,
        /// `created`, `read` or `written`.
        verb: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system refused for another reason.
    #[error("data directory {} cannot be used: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Why the store did not do what was asked. Each variant says what is still true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record's checksum does not match. Still true: every other record can be read. Next: the
    /// record is fetched from another replica; it never wins over one that can be read.
    #[error("the record of key {key:?} in {shard} is corrupt: its checksum does not match")]
    Corrupt {
        /// Shard of the record.
        shard: ShardId,
        /// Key of the record.
        key: Bytes,
    },
    /// A file under its real name does not open. Next: restore it, or start with an empty directory
    /// and let the cluster fill it.
    #[error(
        "{file} is corrupt ({why}): move the data directory away and let this node join with an \
         empty one"
    )]
    CorruptFile {
        /// Name in the data directory.
        file: String,
        /// What was wrong with it.
        why: String,
    },
    /// The directory was made by another node.
    #[error(
        "this data directory belongs to node {found}, not to {name}: start it as {found}, or \
         choose another directory"
    )]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        name: NodeId,
    },
    /// Too many batches wait. Still true: this one was not executed.
    #[error("not executed: too many writes wait for the disk")]
    Overloaded,
    /// The disk failed now or before. Still true: what was acknowledged. Whether this call was
    /// executed is unknown. Next: the node stops.
    #[error("unknown: the disk failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the node must stop: the store will not answer again in this process.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Corrupt { .. } | Self::Overloaded)
    }

    /// Of a file that redb could not make sense of.
    pub(crate) fn unreadable(file: &str) -> Self {
        Self::CorruptFile { file: file.into(), why: super::UNREADABLE.into() }
    }

    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

macro_rules! fatal {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        }
    )*};
}

fatal!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    std::io::Error
);
