//! `raft.redb`: log, vote and snapshot of one voter on its disk.
//!
//! Writes are done in the order they were handed in. Those that gather while one is synced are
//! committed together, with one sync. Each value carries a schema byte and a checksum, and the
//! number of the last entry is written with every change of the log, so that a damaged or truncated
//! log is an error at the start and never a shorter log.

mod anew;
mod load;
mod starts;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha1::{Digest as _, Sha1};

use super::types::OpenError;
use crate::base::Worker;
use crate::storage::{CACHE_BYTES_SMALL, Disk, StoreError, begin_write, open_database_with_room};
#[cfg(test)]
pub(super) use anew::FILE_BEFORE;
pub(super) use anew::{begin_anew, whole};
pub(super) use load::Loaded;

/// Name of the file in the data directory.
pub(in crate::authority) const RAFT_FILE: &str = "raft.redb";

/// Set aside on the disk for the file, so that a disk which others fill up does not stop votes and
/// views at once. Log, vote and snapshot of 4,096 shards take a few MiB: what is behind a snapshot
/// is purged.
pub(super) const ROOM_BYTES: u64 = 16 << 20;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Keys of [`META`].
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const LAST: &str = "last";
const SNAPSHOT: &str = "snapshot";
/// The last start that was begun with the file; one of before there were numbers has none.
const STARTS: &str = "starts";

/// Schema of every value in the file.
const SCHEMA: u8 = 1;
const SUM_BYTES: usize = 4;

/// One change of the file. Values are sealed: see [`seal`].
#[derive(Debug)]
pub(super) enum Write {
    Vote(Vec<u8>),
    /// Entries by index, consecutive.
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes this entry and all after it.
    Truncate(u64),
    /// Removes all entries up to and with this one, and keeps the sealed log id.
    Purge(u64, Vec<u8>),
    Committed(Vec<u8>),
    Snapshot(Vec<u8>),
    Starts(Vec<u8>),
}

/// Learns whether a write is on the disk.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Queue {
    waiting: VecDeque<(Write, Option<Done>)>,
    /// The worker was asked to commit what waits, and has not begun to.
    is_asked: bool,
    /// Why nothing is written any more.
    broken: Option<String>,
}

struct Inner {
    /// Locked for the whole of a commit, so that commits keep the order of the queue.
    database: Mutex<Database>,
    queue: Mutex<Queue>,
    worker: Worker,
}

/// The open file. Cheap to clone.
#[derive(Clone)]
pub(super) struct RaftFile(Arc<Inner>);

impl RaftFile {
    /// Opens the file of `disk`, or makes it, and reads all of it.
    pub(super) fn open(disk: &dyn Disk, worker: Worker) -> Result<(Self, Loaded), OpenError> {
        let database = open_database_with_room(disk, RAFT_FILE, CACHE_BYTES_SMALL, ROOM_BYTES)?;
        let loaded = Loaded::from(&database)?;
        let queue = Queue { waiting: VecDeque::new(), is_asked: false, broken: None };
        let inner = Inner { database: Mutex::new(database), queue: Mutex::new(queue), worker };
        Ok((Self(Arc::new(inner)), loaded))
    }

    /// Hands in a write; `done` is told when it is on the disk, or that it will not be.
    pub(super) fn write(&self, write: Write, done: Done) {
        let was_asked = {
            let mut queue = self.0.queue.lock();
            queue.waiting.push_back((write, Some(done)));
            std::mem::replace(&mut queue.is_asked, true)
        };
        if !was_asked {
            self.submit();
        }
    }

    /// Notes how far the log is agreed; it goes to the disk with the next write.
    pub(super) fn committed(&self, sealed: Vec<u8>) {
        let mut queue = self.0.queue.lock();
        if let Some((Write::Committed(newest), _)) = queue.waiting.back_mut() {
            *newest = sealed;
        } else {
            queue.waiting.push_back((Write::Committed(sealed), None));
        }
    }

    /// Hands in a write at once; the future waits until it is on the disk.
    pub(super) fn write_now(
        &self,
        write: Write,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (done, written) = tokio::sync::oneshot::channel();
        self.write(
            write,
            Box::new(move |result| {
                // Whoever no longer waits does not want to know.
                let _ = done.send(result);
            }),
        );
        async { written.await.map_err(|_| io::Error::other("the raft log's worker ended"))? }
    }

    /// Why nothing is written any more.
    pub(super) fn broken(&self) -> Option<String> {
        self.0.queue.lock().broken.clone()
    }

    /// Runs a computation where the disk is written, off raft's own task.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.0.worker.run(call).await.map_err(io::Error::other)
    }

    fn submit(&self) {
        let handed = Handed { inner: self.0.clone(), is_done: false };
        if let Err(gone) = self.0.worker.submit(move || handed.drain()) {
            self.0.fail(gone.to_string());
        }
    }
}

/// A commit that the worker was asked for. If the worker ends first, nobody would ask again.
struct Handed {
    inner: Arc<Inner>,
    is_done: bool,
}

impl Handed {
    fn drain(mut self) {
        self.inner.drain();
        self.is_done = true;
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if !self.is_done {
            self.inner.fail("the worker of the raft log has ended".into());
        }
    }
}

impl fmt::Debug for RaftFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaftFile")
    }
}

impl Inner {
    /// Commits what waits, all in one transaction.
    fn drain(&self) {
        let database = self.database.lock();
        let (writes, dones): (Vec<_>, Vec<_>) = {
            let mut queue = self.queue.lock();
            queue.is_asked = false;
            if queue.waiting.is_empty() || queue.broken.is_some() {
                drop(queue);
                return self.answer_broken();
            }
            queue.waiting.drain(..).unzip()
        };
        let result = commit(&database, &writes);
        drop(database);
        if let Err(error) = &result {
            // Whether it is on the disk is unknown: nothing may be written after it.
            tracing::error!(%error, "the raft log cannot be written");
            self.queue.lock().broken = Some(error.to_string());
        }
        for done in dones.into_iter().flatten() {
            done(result.as_ref().map_err(|error| io::Error::other(error.clone())).copied());
        }
    }

    /// Answers what waits with the reason for which nothing is written any more, if there is one.
    fn answer_broken(&self) {
        let (broken, waiting) = {
            let mut queue = self.queue.lock();
            let Some(broken) = queue.broken.clone() else { return };
            (broken, std::mem::take(&mut queue.waiting))
        };
        for done in waiting.into_iter().filter_map(|(_, done)| done) {
            done(Err(io::Error::other(broken.clone())));
        }
    }

    fn fail(&self, why: String) {
        self.queue.lock().broken.get_or_insert(why);
        self.answer_broken();
    }
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), StoreError> {
    let transaction = begin_write(database)?;
    for write in writes {
        change(&transaction, write)?;
    }
    transaction.commit()?;
    Ok(())
}

fn change(transaction: &WriteTransaction, write: &Write) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META)?;
    let mut put = |key, value: &[u8]| meta.insert(key, value).map(|_| ());
    match write {
        Write::Vote(value) => put(VOTE, value)?,
        Write::Committed(value) => put(COMMITTED, value)?,
        Write::Snapshot(value) => put(SNAPSHOT, value)?,
        Write::Starts(value) => put(STARTS, value)?,
        Write::Append(entries) => {
            let mut log = transaction.open_table(LOG)?;
            for (index, entry) in entries {
                log.insert(index, entry.as_slice())?;
            }
            put(LAST, &sealed_last(&log)?)?;
        }
        Write::Truncate(from) => {
            let mut log = transaction.open_table(LOG)?;
            log.retain_in(*from.., |_, _| false)?;
            put(LAST, &sealed_last(&log)?)?;
        }
        Write::Purge(upto, log_id) => {
            let mut log = transaction.open_table(LOG)?;
            log.retain_in(..=*upto, |_, _| false)?;
            put(LAST, &sealed_last(&log)?)?;
            put(PURGED, log_id)?;
        }
    }
    Ok(())
}

/// The number of the last entry in the table, sealed.
fn sealed_last(log: &redb::Table<'_, u64, &'static [u8]>) -> Result<Vec<u8>, StoreError> {
    let last = log.last()?.map(|(index, _)| index.value());
    seal(&last).map_err(StoreError::failed)
}

/// Schema, checksum, value: how every value lies in the file.
pub(super) fn seal(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
    let mut sealed = Vec::with_capacity(1 + SUM_BYTES + body.len());
    sealed.push(SCHEMA);
    sealed.extend_from_slice(&checksum(&body));
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// The value of a sealed one, or what is wrong with it.
pub(super) fn unseal<T: DeserializeOwned>(what: &str, sealed: &[u8]) -> Result<T, String> {
    let (&schema, rest) = sealed.split_first().ok_or_else(|| format!("{what} is empty"))?;
    if schema != SCHEMA {
        return Err(format!("{what} has schema {schema}, this program reads {SCHEMA}"));
    }
    let body = match rest.split_first_chunk::<SUM_BYTES>() {
        Some((sum, body)) if *sum == checksum(body) => body,
        _ => return Err(format!("the checksum of {what} does not match")),
    };
    rmp_serde::from_slice(body).map_err(|error| format!("{what} cannot be read: {error}"))
}

/// First 32 bits of the SHA-1.
fn checksum(body: &[u8]) -> [u8; SUM_BYTES] {
    let hash = Sha1::digest(body);
    std::array::from_fn(|place| hash[place])
}
