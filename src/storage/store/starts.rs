//! The start that the data file has seen last; see [`crate::storage::starts`].

use redb::{Database, ReadableDatabase as _, TableError};

use super::{Durability, META, Store};
use crate::storage::{Counted, Facts, Older, StoreError, begin_write, next_start, reading};

/// Key of [`META`]; a file of before there were numbers has none.
const META_STARTS: &str = "starts";

impl Store {
    /// Whether the data file is older than `facts` of the same directory. What is kept in memory
    /// is never.
    ///
    /// # Errors
    /// [`StoreError::CorruptFile`], [`StoreError::Failed`].
    pub(crate) fn older(&self, facts: &Facts) -> Result<Option<Older>, StoreError> {
        match self.0.durability {
            Durability::Disk => Ok(facts.check(self.counted(), self.seen()?).err()),
            Durability::Memory => Ok(None),
        }
    }

    /// Counts a start: first in the data file, then in `facts`. Before anything is written.
    ///
    /// # Errors
    /// [`StoreError::CorruptFile`], [`StoreError::Failed`].
    pub(crate) fn begin_start(&self, facts: &Facts) -> Result<(), StoreError> {
        match self.0.durability {
            Durability::Disk => {
                let next = next_start(self.seen()?, facts.starts(self.counted()));
                let write = begin_write(&self.0.database)?;
                write.open_table(META)?.insert(META_STARTS, u128::from(next))?;
                write.commit()?;
                facts.set_starts(self.counted(), next)
            }
            // A new store at every start.
            Durability::Memory => Ok(()),
        }
    }

    pub(super) fn counted(&self) -> Counted {
        Counted::Store(self.id())
    }

    pub(super) fn seen(&self) -> Result<u64, StoreError> {
        let seen = reading(|| read(&self.0.database));
        seen.unwrap_or_else(|| Err(StoreError::unreadable(super::DATA_FILE)))
    }
}

fn read(database: &Database) -> Result<u64, StoreError> {
    let read = database.begin_read()?;
    let found = match read.open_table(META) {
        Ok(meta) => meta.get(META_STARTS)?.map(|seen| seen.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    // Only ever written from 64 bits.
    Ok(u64::try_from(found.unwrap_or_default()).unwrap_or(u64::MAX))
}
