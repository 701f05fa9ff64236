//! Reading the whole file at the start, and finding out whether it is whole.

use std::collections::BTreeMap;

use openraft::entry::RaftEntry as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableError};
use serde::de::DeserializeOwned;

use super::{COMMITTED, LAST, LOG, META, PURGED, SNAPSHOT, STARTS, VOTE, unseal};
use crate::authority::raft::machine::StoredSnapshot;
use crate::authority::raft::types::{Entry, LogId, OpenError, Vote};
use crate::storage::{StoreError, UNREADABLE, reading};

/// What lay in the file.
#[derive(Debug, Default)]
pub(in crate::authority::raft) struct Loaded {
    pub(in crate::authority::raft) vote: Option<Vote>,
    pub(in crate::authority::raft) committed: Option<LogId>,
    pub(in crate::authority::raft) purged: Option<LogId>,
    /// With its size in the file.
    pub(in crate::authority::raft) entries: BTreeMap<u64, (Entry, usize)>,
    pub(in crate::authority::raft) snapshot: Option<StoredSnapshot>,
    /// The last start that was begun with the file; 0: none was counted.
    pub(in crate::authority::raft) starts: u64,
}

impl Loaded {
    pub(super) fn from(database: &Database) -> Result<Self, OpenError> {
        let read = reading(|| read(database));
        read.unwrap_or_else(|| Err(OpenError::Damaged(UNREADABLE.into())))
    }

    /// The index of the last entry, of those that are gone included.
    fn last(&self) -> Option<u64> {
        let kept = self.entries.last_key_value().map(|(index, _)| *index);
        kept.max(self.purged.map(|id| id.index))
    }

    fn check(&self, recorded_last: Option<u64>) -> Result<(), String> {
        let kept = self.entries.last_key_value().map(|(index, _)| *index);
        if kept != recorded_last {
            return Err(format!("it ends at entry {kept:?}, but {recorded_last:?} was written"));
        }
        let first = self.purged.map_or(0, |id| id.index + 1);
        for (expected, (index, (entry, _))) in (first..).zip(&self.entries) {
            if *index != expected || entry.log_id().index != *index {
                return Err(format!("entry {expected} is missing before entry {index}"));
            }
        }
        let snapshot = self.snapshot.as_ref().and_then(|snapshot| snapshot.meta.last_log_id);
        if self.purged > snapshot {
            return Err("entries are gone that no snapshot holds".into());
        }
        if self.committed.map(|id| id.index) > self.last().max(snapshot.map(|id| id.index)) {
            return Err("entries are missing that were agreed on".into());
        }
        Ok(())
    }
}

fn read(database: &Database) -> Result<Loaded, OpenError> {
    let damaged = |error: String| OpenError::Damaged(error);
    let transaction = database.begin_read().map_err(StoreError::from)?;
    let mut loaded = Loaded::default();
    let mut last = None;
    match transaction.open_table(META) {
        Ok(meta) => {
            loaded.vote = get(&meta, VOTE)?;
            loaded.committed = get(&meta, COMMITTED)?.flatten();
            loaded.purged = get(&meta, PURGED)?;
            loaded.snapshot = get(&meta, SNAPSHOT)?;
            loaded.starts = get(&meta, STARTS)?.unwrap_or_default();
            last = get(&meta, LAST)?.flatten();
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(StoreError::from(error).into()),
    }
    match transaction.open_table(LOG) {
        Ok(log) => {
            for row in log.iter().map_err(StoreError::from)? {
                let (index, sealed) = row.map_err(StoreError::from)?;
                let what = format!("entry {}", index.value());
                let entry = unseal(&what, sealed.value()).map_err(damaged)?;
                loaded.entries.insert(index.value(), (entry, sealed.value().len()));
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(StoreError::from(error).into()),
    }
    loaded.check(last).map_err(damaged)?;
    Ok(loaded)
}

fn get<T: DeserializeOwned>(
    meta: &redb::ReadOnlyTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, OpenError> {
    let Some(sealed) = meta.get(key).map_err(StoreError::from)? else { return Ok(None) };
    unseal(key, sealed.value()).map(Some).map_err(OpenError::Damaged)
}
