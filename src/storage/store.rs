//! The record store: group commit, and reads.

mod starts;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
};
use tokio::sync::oneshot;

use super::apply::perform;
use super::tables::{
    HEADS, KEPT, Kept, NUMBERS, RECORDS, Tables, above, number, place, read_head, read_record,
};
use super::{
    Disk, Number, Op, OpResult, Record, ShardHead, StoreError, begin_write, open_database, reading,
};
#[cfg(feature = "sim")]
use crate::base::{Fill, Seen, saw};
use crate::base::{Rng, ShardId, StoreId, Worker, WorkerGone};

/// Name of the file in the data directory.
pub const DATA_FILE: &str = "data.redb";

/// Memory for caching the data file.
const CACHE_BYTES: usize = 64 << 20;
/// Calls of [`Store::apply`] that may wait; one more is refused.
const QUEUE_CALLS_MAX: usize = 16_384;
/// Bytes of records that may wait; a call that comes when there are more is refused.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// A transaction takes waiting calls until it has this much.
const COMMIT_BYTES_MAX: usize = 16 << 20;

/// What the store says of itself.
const META: TableDefinition<&str, u128> = TableDefinition::new("meta");
const META_ID: &str = "store";

/// What survives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// A write is on the disk before it is acknowledged.
    Disk,
    /// Nothing: a new [`StoreId`] at every start.
    Memory,
}

/// The records of every shard that this node holds. Clones are the same store.
///
/// Reads are of what is committed, verify every record they give out, and run where they are
/// called.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    id: StoreId,
    durability: Durability,
    database: Database,
    worker: Worker,
    queue: Mutex<Queue>,
}

type Answer = Result<Vec<OpResult>, StoreError>;

/// One call of [`Store::apply`] that waits.
struct Call {
    ops: Vec<Op>,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    bytes: usize,
    /// The worker has been asked to empty the queue and has not found it empty yet.
    draining: bool,
    /// The first failure of the disk: it is also the answer to everything after.
    failed: Option<StoreError>,
}

impl Store {
    /// Opens the store in `disk`, or makes it, with a random id. All writes run on `worker`.
    ///
    /// # Errors
    /// [`StoreError::CorruptFile`], [`StoreError::Failed`].
    pub fn open(
        disk: &dyn Disk,
        worker: Worker,
        durability: Durability,
        rng: &dyn Rng,
    ) -> Result<Self, StoreError> {
        let database = match durability {
            Durability::Disk => open_database(disk, DATA_FILE, CACHE_BYTES)?,
            Durability::Memory => Builder::new()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(InMemoryBackend::new())
                .map_err(StoreError::failed)?,
        };
        let id = reading(|| prepare(&database, rng));
        let id = id.unwrap_or_else(|| Err(StoreError::unreadable(DATA_FILE)))?;
        let queue = Mutex::default();
        Ok(Self(Arc::new(Inner { id, durability, database, worker, queue })))
    }

    /// Drops the data in `disk`: the next [`Store::open`] makes a new, empty store with a new id.
    /// For a directory that is a copy.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn discard(disk: &dyn Disk) -> Result<(), StoreError> {
        if disk.exists(DATA_FILE)? {
            disk.remove(DATA_FILE)?;
        }
        Ok(())
    }

    /// Which store it is.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.0.id
    }

    /// How full its queue is. One call alone may be above the limit of bytes.
    #[cfg(feature = "sim")]
    pub(crate) fn fills(&self) -> [Fill; 2] {
        let queue = self.0.queue.lock();
        let largest = queue.calls.iter().map(|call| call.bytes).max().unwrap_or(0);
        [
            Fill::of("calls of the store", queue.calls.len(), QUEUE_CALLS_MAX),
            Fill::of("bytes for the store", queue.bytes, QUEUE_BYTES_MAX + largest),
        ]
    }

    /// Does `ops` in order, in one transaction, and answers when they are on the disk. Each is done
    /// or refused by itself; concurrent calls share a transaction. Dropping the future cancels
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`]: not executed. [`StoreError::Failed`]: unknown; the node stops.
    pub async fn apply(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
        let (answer, result) = oneshot::channel();
        let bytes = ops.iter().map(bytes_of).sum();
        if self.0.enqueue(Call { ops, bytes, answer })? {
            let duty = Duty(Some(Arc::clone(&self.0)));
            // One that is refused is dropped, which fails the store.
            let _ = self.0.worker.submit(move || duty.fulfil());
        }
        let gone = |_| StoreError::Failed("the worker has ended".into());
        result.await.map_err(gone)?
    }

    /// Runs a blocking call on the thread that writes, after all that waits for it.
    ///
    /// # Errors
    /// [`WorkerGone`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        self.0.worker.run(call).await
    }

    /// The head of a shard; all zero if nothing was ever asked of it.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn head(&self, shard: ShardId) -> Result<ShardHead, StoreError> {
        Ok(read_head(&self.read()?.open_table(HEADS)?, shard)?.shown)
    }

    /// The latest record of `key`, deleted or not.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Failed`].
    pub fn get(&self, shard: ShardId, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let found = read_record(&self.read()?.open_table(RECORDS)?, shard, key)?;
        Ok(found.map(|(record, _)| record))
    }

    /// The state of the shard as of `upto`: its records numbered above `after`, in number order,
    /// as many as fit `bytes_max`, but at least one. Nothing means the end.
    ///
    /// A record replaced by an acknowledged write above `upto` is not there any more: whoever is
    /// sent this state needs what lies above `upto` as well before it holds the shard.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Failed`].
    pub fn since(
        &self,
        shard: ShardId,
        after: Number,
        upto: Number,
        bytes_max: usize,
    ) -> Result<Vec<Record>, StoreError> {
        if after >= upto {
            return Ok(Vec::new());
        }
        let read = self.read()?;
        let (records, numbers) = (read.open_table(RECORDS)?, read.open_table(NUMBERS)?);
        // What writes above `upto` have replaced belongs to the state as of `upto`. They are
        // unacknowledged: few.
        let mut replaced = BTreeMap::new();
        for entry in read.open_table(KEPT)?.range(above(shard, upto))? {
            let (at, bytes) = entry?;
            let kept = Kept::decode(shard, number(at.value()), bytes.value())?;
            let Some(record) = kept.record(shard)? else { continue };
            if after < record.number && record.number <= upto {
                replaced.insert(record.number, record);
            }
        }
        let mut page = Page { records: Vec::new(), bytes: 0, bytes_max };
        let stretch = (above(shard, after).0, Bound::Included(place(shard, upto)));
        for entry in numbers.range(stretch)? {
            let (at, key) = entry?;
            while let Some(first) = replaced.first_entry() {
                if *first.key() > number(at.value()) {
                    break;
                }
                if !page.add(first.remove()) {
                    return Ok(page.records);
                }
            }
            let (record, _) = read_record(&records, shard, key.value())?
                .ok_or_else(|| corrupt(shard, key.value()))?;
            if !page.add(record) {
                return Ok(page.records);
            }
        }
        for record in replaced.into_values() {
            if !page.add(record) {
                break;
            }
        }
        Ok(page.records)
    }

    /// Number and checksum of every record, in number order. A corrupt one is left out, so that a
    /// catch-up brings it again.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn inventory(&self, shard: ShardId) -> Result<Vec<(Number, u32)>, StoreError> {
        let read = self.read()?;
        let (records, numbers) = (read.open_table(RECORDS)?, read.open_table(NUMBERS)?);
        let mut found = Vec::new();
        for entry in numbers.range(above(shard, Number::ZERO))? {
            let (at, key) = entry?;
            match read_record(&records, shard, key.value()) {
                Ok(Some((record, sum))) if record.number == number(at.value()) => {
                    found.push((record.number, sum));
                }
                Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The keys that have a record which is not deleted, ascending. A corrupt one counts.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn keys(&self, shard: ShardId) -> Result<Vec<Bytes>, StoreError> {
        let read = self.read()?;
        let mut keys = Vec::new();
        for entry in read.open_table(RECORDS)?.range((shard.0, [].as_slice())..)? {
            let (at, bytes) = entry?;
            let (of, key) = at.value();
            if of != shard.0 {
                break;
            }
            match Record::decode(shard, key, bytes.value()) {
                Ok((record, _)) if record.deleted => {}
                Ok(_) | Err(_) => keys.push(Bytes::copy_from_slice(key)),
            }
        }
        Ok(keys)
    }

    /// Why the disk failed, if it did: what it holds since then is unknown, and nothing is done any
    /// more.
    #[must_use]
    pub fn failed(&self) -> Option<StoreError> {
        self.0.queue.lock().failed.clone()
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        if let Some(failed) = self.failed() {
            return Err(failed);
        }
        Ok(self.0.database.begin_read()?)
    }
}

/// The worker's duty to empty the queue. If the worker ends first, nobody would answer those who
/// wait, and writes would be missing out of the middle: then the store fails.
struct Duty(Option<Arc<Inner>>);

impl Duty {
    fn fulfil(mut self) {
        if let Some(inner) = self.0.take() {
            inner.drain();
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.fail(&StoreError::Failed("its worker has ended".into()), VecDeque::new());
        }
    }
}

impl Inner {
    /// Lets `call` wait; says whether the worker must be asked.
    fn enqueue(&self, call: Call) -> Result<bool, StoreError> {
        let mut queue = self.queue.lock();
        if let Some(failed) = &queue.failed {
            return Err(failed.clone());
        }
        if queue.calls.len() >= QUEUE_CALLS_MAX || queue.bytes > QUEUE_BYTES_MAX {
            return Err(StoreError::Overloaded);
        }
        queue.bytes += call.bytes;
        queue.calls.push_back(call);
        Ok(!std::mem::replace(&mut queue.draining, true))
    }

    /// Commits what waits until nothing does. What comes during a commit shares the next one.
    fn drain(&self) {
        loop {
            let mut calls = self.next();
            if calls.is_empty() {
                return;
            }
            let ops = calls.iter_mut().map(|call| std::mem::take(&mut call.ops)).collect();
            // A panic within redb must not leave callers waiting for ever.
            let done = catch_unwind(AssertUnwindSafe(|| self.commit(ops)))
                .unwrap_or_else(|_| Err(StoreError::Failed("a panic in the store".into())));
            match done {
                Ok(results) => {
                    for (call, results) in calls.into_iter().zip(results) {
                        // A caller that no longer waits does not want the answer.
                        let _ = call.answer.send(Ok(results));
                    }
                }
                Err(error) => return self.fail(&error, calls),
            }
        }
    }

    fn next(&self) -> VecDeque<Call> {
        let mut queue = self.queue.lock();
        let mut taken = VecDeque::new();
        let mut bytes = 0;
        while bytes < COMMIT_BYTES_MAX
            && let Some(call) = queue.calls.pop_front()
        {
            bytes += call.bytes;
            taken.push_back(call);
        }
        queue.bytes -= bytes;
        queue.draining = !taken.is_empty();
        taken
    }

    fn commit(&self, calls: Vec<Vec<Op>>) -> Result<Vec<Vec<OpResult>>, StoreError> {
        let write = match self.durability {
            Durability::Disk => begin_write(&self.database)?,
            Durability::Memory => self.database.begin_write()?,
        };
        let mut tables = Tables::open(&write)?;
        let mut results = Vec::with_capacity(calls.len());
        #[cfg(feature = "sim")]
        let mut accepted = Vec::new();
        for ops in calls {
            let done = ops.into_iter().map(|op| {
                #[cfg(feature = "sim")]
                let under = (op.shard(), op.epoch());
                let result = perform(&mut tables, op)?;
                #[cfg(feature = "sim")]
                accepted.extend(result.is_done().then_some(under));
                Ok(result)
            });
            let done: Result<_, StoreError> = done.collect();
            results.push(done?);
        }
        drop(tables);
        write.commit()?;
        #[cfg(feature = "sim")]
        for (shard, epoch) in accepted {
            saw(Seen::Stored { store: self.id, shard, epoch });
        }
        Ok(results)
    }

    /// Answers `calls` and everything that waits with `error`, and everything after.
    fn fail(&self, error: &StoreError, calls: VecDeque<Call>) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.failed.get_or_insert_with(|| error.clone());
            queue.draining = false;
            queue.bytes = 0;
            std::mem::take(&mut queue.calls)
        };
        for call in calls.into_iter().chain(waiting) {
            let _ = call.answer.send(Err(error.clone()));
        }
    }
}

/// Records for one answer.
struct Page {
    records: Vec<Record>,
    bytes: usize,
    bytes_max: usize,
}

impl Page {
    /// Takes `record` if it fits.
    fn add(&mut self, record: Record) -> bool {
        self.bytes += record.key.len() + record.value.len();
        let fits = self.records.is_empty() || self.bytes <= self.bytes_max;
        if fits {
            self.records.push(record);
        }
        fits
    }
}

/// Makes the tables and the id if they are not there.
fn prepare(database: &Database, rng: &dyn Rng) -> Result<StoreId, StoreError> {
    let write = begin_write(database)?;
    let mut meta = write.open_table(META)?;
    let found = meta.get(META_ID)?.map(|id| id.value());
    if let Some(id) = found {
        drop(meta);
        write.abort()?;
        return Ok(StoreId(id));
    }
    let id = rng.next_u128();
    meta.insert(META_ID, id)?;
    drop(meta);
    drop(Tables::open(&write)?);
    write.commit()?;
    Ok(StoreId(id))
}

fn corrupt(shard: ShardId, key: &[u8]) -> StoreError {
    StoreError::Corrupt { shard, key: Bytes::copy_from_slice(key) }
}

fn bytes_of(op: &Op) -> usize {
    match op {
        Op::Append { records, .. } | Op::Adopt { records, .. } | Op::Fill { records, .. } => {
            records.iter().map(|record| record.key.len() + record.value.len()).sum()
        }
        Op::Repair { record, .. } => record.key.len() + record.value.len(),
        Op::Begin { keep, .. } => keep.len() * size_of::<(Number, u32)>(),
        Op::Seal { .. } | Op::Acked { .. } => 0,
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.id())
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests;
