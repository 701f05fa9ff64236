//! Opening a redb file so that whatever lies under its real name was complete once.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Builder, Database, Durability, StorageBackend, WriteTransaction};

use super::{Disk, StoreError};

/// Memory for caching a small database, such as the node's facts.
pub const CACHE_BYTES_SMALL: usize = 1 << 20;

/// Opens the database `name` of `disk`, or makes it, with at most `cache_bytes` of cache.
///
/// It is made under a temporary name, committed once and renamed: power loss during redb's first
/// creation leaves a file that never opens again. So a file under the real name that does not open
/// is always corruption, and is never taken for a new one. Write with [`begin_write`].
///
/// # Errors
/// [`StoreError::CorruptFile`], or [`StoreError::Failed`] if the disk does not work.
pub fn open_database(
    disk: &dyn Disk,
    name: &str,
    cache_bytes: usize,
) -> Result<Database, StoreError> {
    open_database_with_room(disk, name, cache_bytes, 0)
}

/// [`open_database`], with `room` bytes of the disk set aside for it ([`Disk::open_with_room`]).
///
/// # Errors
/// As with [`open_database`].
pub fn open_database_with_room(
    disk: &dyn Disk,
    name: &str,
    cache_bytes: usize,
    room: u64,
) -> Result<Database, StoreError> {
    if !disk.exists(name)? {
        let fresh = format!("{name}.new");
        if disk.exists(&fresh)? {
            disk.remove(&fresh)?;
        }
        let made = Builder::new()
            .set_cache_size(CACHE_BYTES_SMALL)
            .create_with_backend(Opened(disk.open(&fresh)?))
            .map_err(StoreError::failed)?;
        begin_write(&made)?.commit()?;
        drop(made);
        disk.rename(&fresh, name)?;
    }
    let corrupt = |why: String| StoreError::CorruptFile { file: name.into(), why };
    let backend = disk.open_with_room(name, room)?;
    if backend.len()? == 0 {
        return Err(corrupt("it is empty".into()));
    }
    let open = || Builder::new().set_cache_size(cache_bytes).create_with_backend(Opened(backend));
    match reading(open) {
        Some(Ok(database)) => Ok(database),
        Some(Err(error)) => Err(corrupt(error.to_string())),
        None => Err(corrupt(UNREADABLE.into())),
    }
}

/// Of a file that redb could not make sense of.
pub(crate) const UNREADABLE: &str = "what is in it is not what was written";

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`: redb may panic on a file that was damaged since it wrote it. `None`: it did.
pub(crate) fn reading<T>(read: impl FnOnce() -> T) -> Option<T> {
    READS.set(true);
    let done = catch_unwind(AssertUnwindSafe(read));
    READS.set(false);
    done.ok()
}

/// Whether this thread reads a file that may be damaged: a panic is caught then and told as an
/// error, so that a hook for panics need not say it too.
#[must_use]
pub fn reads_what_may_be_damaged() -> bool {
    READS.get()
}

/// Begins a write that is on the disk when its commit returns, and after which the file opens at
/// once, however the process ends.
///
/// # Errors
/// [`StoreError::Failed`].
pub fn begin_write(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate).map_err(StoreError::failed)?;
    write.set_quick_repair(true);
    Ok(write)
}

/// redb asks for a type of its own, not for a box.
#[derive(Debug)]
struct Opened(Box<dyn StorageBackend>);

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
