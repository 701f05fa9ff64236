//! The replication of one node, as the rest of it sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::backup::Backup;
use super::driver::Driver;
use super::{Copies, KEY_BYTES_MAX, ReplicaError, SaveError, VALUE_BYTES_MAX, Write};
use crate::authority::{Lapsed, Lease, Tenure, ViewAuthority};
use crate::base::{Elapsed, Instant, NodeId, Seams, ShardId, within};
use crate::storage::{Record, Store};
use crate::transport::{Links, Service};

/// Callers that may wait for the driver's attention.
const COMMANDS_MAX: usize = 16_384;
/// Bytes of writes under way in one node; further ones are refused.
const SAVE_BYTES_MAX: usize = 64 << 20;

/// What replication is made of.
#[derive(Debug, Clone)]
pub struct ReplicaParts {
    /// Time, chance and tasks.
    pub seams: Seams,
    /// Ways to the other nodes.
    pub links: Links,
    /// This node's records.
    pub store: Store,
    /// Who agrees on views.
    pub authority: Arc<dyn ViewAuthority>,
    /// This node's lease; it also says which boot is this node's present life.
    pub lease: Lease,
    /// This node.
    pub node: NodeId,
}

pub(super) enum Command {
    Save { tenure: Tenure, write: Write, reply: oneshot::Sender<Result<(), SaveError>> },
    Serve { tenure: Tenure, reply: oneshot::Sender<Result<(), ReplicaError>> },
    Stop,
}

/// What the handle and the driver share.
pub(super) struct Shared {
    pub(super) parts: ReplicaParts,
    /// By shard with records, written by the driver.
    pub(super) copies: Mutex<BTreeMap<ShardId, Copies>>,
    /// The error the store failed with.
    pub(super) failed: Mutex<Option<String>>,
    save_bytes: AtomicUsize,
}

/// Replication of one node: serves other owners as a backup, and takes over, writes and copies the
/// shards that this node owns. Cheap to clone.
#[derive(Clone)]
pub struct Replicas {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replicas of {}", self.shared.parts.node)
    }
}

/// Bytes of a write under way, given back when dropped.
struct Room<'a>(&'a AtomicUsize, usize);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Replicas {
    /// Serves [`Service::Replica`], and takes over every owned shard that has records, now and with
    /// every view to come.
    #[must_use]
    pub fn start(parts: ReplicaParts) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let backup = Backup::start(&parts);
        parts.links.serve(Service::Replica, backup);
        let spawner = parts.seams.work.clone();
        let shared = Arc::new(Shared {
            parts,
            copies: Mutex::default(),
            failed: Mutex::default(),
            save_bytes: AtomicUsize::new(0),
        });
        spawner.spawn(Driver::new(shared.clone()).run(inbox));
        Self { shared, commands }
    }

    /// Waits until the shard may be read and written under `tenure`: until its takeover is
    /// finished. At once for a shard without records.
    ///
    /// # Errors
    /// [`ReplicaError::NotServing`] at the deadline, [`ReplicaError::Lapsed`].
    pub async fn serving(&self, tenure: Tenure, deadline: Instant) -> Result<(), ReplicaError> {
        self.gate(&tenure)?;
        let shard = tenure.shard;
        let view = self.shared.parts.authority.view();
        let now = view.shard(shard).filter(|now| now.epoch == tenure.epoch);
        if now.is_some_and(|now| !now.has_records) {
            return Ok(());
        }
        let served = |copies: &Copies| copies.epoch == tenure.epoch && copies.serving;
        if self.shared.copies.lock().get(&shard).is_some_and(served) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Serve { tenure, reply };
        let asked = async {
            if self.commands.send(command).await.is_err() {
                return Err(self.store_error());
            }
            answer.await.unwrap_or(Err(ReplicaError::Lapsed))
        };
        let clock = &*self.shared.parts.seams.clock;
        match within(clock, deadline, asked).await {
            Ok(answer) => answer?,
            Err(Elapsed) => return Err(self.not_serving(shard)),
        }
        self.gate(&tenure)
    }

    /// Reads a record, deleted or not, from the owner's store.
    ///
    /// # Errors
    /// As [`Replicas::serving`], and [`ReplicaError::Store`].
    pub async fn load(
        &self,
        tenure: Tenure,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Option<Record>, ReplicaError> {
        self.serving(tenure, deadline).await?;
        let record = self.shared.parts.store.get(tenure.shard, key);
        // What was read is only this owner's to show if it still is the owner now.
        self.gate(&tenure)?;
        record.map_err(|error| ReplicaError::Store(error.to_string()))
    }

    /// Writes a record, and returns when every store of `in_sync` has it. Once it has a number it
    /// is never given up: it is sent again until acknowledged, or the epoch ends. Dropping the
    /// future cancels nothing.
    ///
    /// # Errors
    /// [`SaveError`] says whether the write may have been executed.
    pub async fn save(&self, tenure: Tenure, write: Write) -> Result<(), SaveError> {
        let too_long = [(write.key.len(), KEY_BYTES_MAX), (write.value.len(), VALUE_BYTES_MAX)];
        if let Some(&(bytes, bytes_max)) = too_long.iter().find(|(is, max)| is > max) {
            return Err(SaveError::TooLong { bytes, bytes_max });
        }
        self.gate(&tenure).map_err(|_| SaveError::Lapsed)?;
        let bytes = write.key.len() + write.value.len();
        let under_way = &self.shared.save_bytes;
        let before = under_way.fetch_add(bytes, Ordering::Relaxed);
        let _room = Room(under_way, bytes);
        if before + bytes > SAVE_BYTES_MAX {
            return Err(SaveError::Overloaded);
        }
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(Command::Save { tenure, write, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SaveError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(SaveError::Lapsed),
        }
        answer.await.unwrap_or(Err(SaveError::Lapsed))?;
        self.gate(&tenure).map_err(|_| SaveError::Lapsed)
    }

    /// How far each owned shard with records is, by number.
    #[must_use]
    pub fn status(&self) -> Vec<Copies> {
        self.shared.copies.lock().values().cloned().collect()
    }

    /// Why the store failed, if it did: the node must stop.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        let own = self.shared.failed.lock().clone();
        // Also where only another owner's writes have met the failure so far.
        own.or_else(|| self.shared.parts.store.failed().map(|error| error.to_string()))
    }

    /// Ends the owner's side: what is under way is unknown to its callers.
    pub async fn stop(&self) {
        // Closed already: nothing is left to stop.
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
    }

    fn gate(&self, tenure: &Tenure) -> Result<(), ReplicaError> {
        match self.shared.parts.lease.check(tenure) {
            Ok(()) => Ok(()),
            Err(Lapsed::Expired | Lapsed::Moved) => Err(ReplicaError::Lapsed),
        }
    }

    fn not_serving(&self, shard: ShardId) -> ReplicaError {
        let copies = self.shared.copies.lock();
        let why = copies.get(&shard).map_or("its owner has not begun", |one| one.waits_for);
        ReplicaError::NotServing { shard, why }
    }

    fn store_error(&self) -> ReplicaError {
        match self.failed() {
            Some(why) => ReplicaError::Store(why),
            None => ReplicaError::Lapsed,
        }
    }
}
