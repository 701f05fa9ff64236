//! The log as openraft sees it: in memory for reading, on disk before it is acknowledged.
//!
//! The view's log is a few entries per change of the view and is cut by snapshots, so all of it is
//! kept in memory: a reader never waits for the disk, and sees an entry as soon as it is appended.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use super::file::{Loaded, RaftFile, Write, seal};
use super::types::{Entry, LogId, Tc, Vote};

/// One append to another voter carries about so many bytes at most (one entry at least), so that it
/// fits into a frame of the control link.
const APPEND_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Kept {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// With their sizes on disk.
    entries: BTreeMap<u64, (Entry, usize)>,
}

/// Log and vote of one voter. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Log {
    kept: Arc<Mutex<Kept>>,
    file: RaftFile,
}

impl Log {
    /// The log that was found in `file`.
    pub(super) fn new(file: RaftFile, loaded: Loaded) -> Self {
        let Loaded { vote, committed, purged, entries, snapshot: _, starts: _ } = loaded;
        Self { kept: Arc::new(Mutex::new(Kept { vote, committed, purged, entries })), file }
    }

    /// Whether there has ever been an entry.
    pub(super) fn is_begun(&self) -> bool {
        let kept = self.kept.lock();
        kept.purged.is_some() || !kept.entries.is_empty()
    }
}

impl RaftLogReader<Tc> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let kept = self.kept.lock();
        Ok(kept.entries.range(range).map(|(_, (entry, _))| entry.clone()).collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let kept = self.kept.lock();
        let mut bytes = 0;
        let fits = |(_, (entry, size)): (&u64, &(Entry, usize))| {
            let first = bytes == 0;
            bytes += size;
            (first || bytes <= APPEND_BYTES_MAX).then(|| entry.clone())
        };
        Ok(kept.entries.range(start..end).map_while(fits).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.kept.lock().vote)
    }
}

impl RaftLogStorage<Tc> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Tc>, io::Error> {
        let kept = self.kept.lock();
        let last = kept.entries.last_key_value().map(|(_, (entry, _))| entry.log_id());
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: last.or(kept.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let sealed = seal(vote)?;
        self.file.write_now(Write::Vote(sealed)).await?;
        self.kept.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.file.committed(seal(&committed)?);
        self.kept.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.kept.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Tc>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        {
            let mut kept = self.kept.lock();
            for entry in entries {
                let index = entry.log_id().index;
                let sealed = seal(&entry)?;
                kept.entries.insert(index, (entry, sealed.len()));
                rows.push((index, sealed));
            }
        }
        let done = move |result| flushed.io_completed(result);
        self.file.write(Write::Append(rows), Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        self.kept.lock().entries.split_off(&from);
        self.file.write_now(Write::Truncate(from)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut kept = self.kept.lock();
            kept.entries = kept.entries.split_off(&(upto.index + 1));
            kept.purged = kept.purged.max(Some(upto));
        }
        self.file.write_now(Write::Purge(upto.index, seal(&upto)?)).await
    }
}
