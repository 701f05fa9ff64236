//! The start that the file has seen last: of the process, not of a boot.

use super::{Loaded, RaftFile, Write, commit, seal};
use crate::authority::raft::types::OpenError;
use crate::storage::{Counted, Facts, StoreError, next_start};

impl RaftFile {
    /// Refuses the file, of which `loaded` was read, if `facts` of the same directory have seen
    /// more starts with it; else counts one more: first in the file, then in the facts. Before the
    /// voter takes part in anything.
    pub(in crate::authority::raft) fn begin_start(
        &self,
        loaded: &Loaded,
        facts: &Facts,
    ) -> Result<(), OpenError> {
        facts.check(Counted::Raft, loaded.starts)?;
        let next = next_start(loaded.starts, facts.starts(Counted::Raft));
        let sealed = seal(&next).map_err(StoreError::failed)?;
        commit(&self.0.database.lock(), &[Write::Starts(sealed)])?;
        Ok(facts.set_starts(Counted::Raft, next)?)
    }
}
