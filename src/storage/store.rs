//! The record store: group commit, and reads.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Disk, Number, Op, OpResult, Record, ShardHead, StoreError};
use crate::base::{Rng, ShardId, StoreId, Worker};

/// Name of the file in the data directory.
pub const DATA_FILE: &str = "data.redb";

/// What survives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// A write is on the disk before it is acknowledged.
    Disk,
    /// Nothing: a new [`StoreId`] at every start.
    Memory,
}

/// The records of every shard that this node holds.
#[derive(Clone)]
pub struct Store(Arc<StoreId>);

impl Store {
    /// Opens the store in `disk`, or makes it, with a random id. All writes run on `worker`.
    ///
    /// # Errors
    /// [`StoreError::CorruptFile`], [`StoreError::Failed`].
    pub fn open(
        _disk: &dyn Disk,
        _worker: Worker,
        _durability: Durability,
        rng: &dyn Rng,
    ) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(StoreId(rng.next_u128()))))
    }

    /// Drops the data in `disk`: the next [`Store::open`] makes a new, empty store with a new id.
    /// For a directory that is a copy.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn discard(_disk: &dyn Disk) -> Result<(), StoreError> {
        Ok(())
    }

    /// Which store it is.
    #[must_use]
    pub fn id(&self) -> StoreId {
        *self.0
    }

    /// Does `ops` in order, in one transaction, and answers when they are on the disk. Each is done
    /// or refused by itself; concurrent calls share a transaction. Dropping the future cancels
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`]: not executed. [`StoreError::Failed`]: unknown; the node stops.
    pub async fn apply(&self, _ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
        Err(StoreError::Overloaded)
    }

    /// The head of a shard; all zero if nothing was ever asked of it.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn head(&self, _shard: ShardId) -> Result<ShardHead, StoreError> {
        Err(StoreError::Overloaded)
    }

    /// The latest record of `key`, deleted or not.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Failed`].
    pub fn get(&self, _shard: ShardId, _key: &[u8]) -> Result<Option<Record>, StoreError> {
        Err(StoreError::Overloaded)
    }

    /// The state of the shard as of `upto`: its records numbered above `after`, in number order,
    /// as many as fit `bytes_max`, but at least one. Nothing means the end.
    ///
    /// `upto` must not be below the shard's `acked`, nor inside an adopted stretch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Failed`].
    pub fn since(
        &self,
        _shard: ShardId,
        _after: Number,
        _upto: Number,
        _bytes_max: usize,
    ) -> Result<Vec<Record>, StoreError> {
        Err(StoreError::Overloaded)
    }

    /// Number and checksum of every record, in number order. A corrupt one is left out, so that a
    /// catch-up brings it again.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn inventory(&self, _shard: ShardId) -> Result<Vec<(Number, u32)>, StoreError> {
        Err(StoreError::Overloaded)
    }

    /// The keys that have a record which is not deleted, ascending. A corrupt one counts.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn keys(&self, _shard: ShardId) -> Result<Vec<Bytes>, StoreError> {
        Err(StoreError::Overloaded)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.id())
    }
}
