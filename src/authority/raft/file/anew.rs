//! Files of the log that are written whole, while no voter runs on them.

use super::{RAFT_FILE, Write, commit};
use crate::storage::{CACHE_BYTES_SMALL, Disk, StoreError, open_database};

/// What a file is called until it is whole.
const UNFINISHED: &str = "raft.redb.recovering";
/// The name under which the one before is kept.
pub(in crate::authority::raft) const FILE_BEFORE: &str = "raft.redb.before-recovery";

/// Puts a file with nothing but `writes` in the place of the log, and keeps the one before. At any
/// moment there is a whole file under the real name.
pub(in crate::authority::raft) fn begin_anew(
    disk: &dyn Disk,
    writes: &[Write],
) -> Result<(), StoreError> {
    copy(disk, RAFT_FILE, FILE_BEFORE)?;
    if disk.exists(UNFINISHED)? {
        disk.remove(UNFINISHED)?;
    }
    let database = open_database(disk, UNFINISHED, CACHE_BYTES_SMALL)?;
    commit(&database, writes)?;
    drop(database);
    disk.rename(UNFINISHED, RAFT_FILE)?;
    Ok(())
}

/// A copy that is whole before it has its name.
fn copy(disk: &dyn Disk, from: &str, to: &str) -> Result<(), StoreError> {
    let partly = format!("{to}.partly");
    if disk.exists(&partly)? {
        disk.remove(&partly)?;
    }
    let (bytes, target) = (whole(disk, from)?, disk.open(&partly)?);
    target.set_len(bytes.len() as u64)?;
    target.write(0, &bytes)?;
    target.sync_data()?;
    target.close()?;
    disk.rename(&partly, to)?;
    Ok(())
}

/// What is in a file that exists.
pub(in crate::authority::raft) fn whole(
    disk: &dyn Disk,
    name: &str,
) -> Result<Vec<u8>, StoreError> {
    let source = disk.open(name)?;
    let mut bytes = vec![0; usize::try_from(source.len()?).map_err(StoreError::failed)?];
    source.read(0, &mut bytes)?;
    source.close()?;
    Ok(bytes)
}
