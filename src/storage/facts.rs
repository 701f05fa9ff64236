//! What a node keeps about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::starts::{Counted, Older};
use super::{CACHE_BYTES_SMALL, Disk, StoreError, begin_write, open_database, reading};
use crate::base::{Boot, ClusterId, NodeId, Rng, StoreId, VoterId};
use crate::placement::{CLAIM_TOKENS_MAX, DiskMark};

/// Name of the file in the data directory.
pub const FACTS_FILE: &str = "node.redb";

/// Most ranges of boots that [`Facts::boots_before`] gives.
const BOOT_RANGES_MAX: usize = 64;

/// The facts: one record, `MessagePack` after a schema byte.
const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
/// Every boot of this directory.
const BOOTS: TableDefinition<u64, ()> = TableDefinition::new("boots");
/// The token that each of them drew. Boots of before there were tokens have none.
const TOKENS: TableDefinition<u64, u64> = TableDefinition::new("boot_tokens");
/// Of each counted file, the last start that was begun with it. Directories of before have none.
const STARTS: TableDefinition<&str, u64> = TableDefinition::new("starts");
const KEY: &str = "node";
const SCHEMA: u8 = 1;

/// How the facts lie on the disk. A new field needs a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) node: NodeId,
    pub(super) voter: VoterId,
    pub(super) cluster: Option<ClusterId>,
    pub(super) store: Option<StoreId>,
    pub(super) mark: Option<DiskMark>,
    pub(super) nonce: Option<u64>,
    pub(super) answer: Option<Bytes>,
    /// See [`Facts::boot_above`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) above: Option<Boot>,
}

impl Kept {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![SCHEMA];
        rmp_serde::encode::write_named(&mut bytes, self).map_err(StoreError::failed)?;
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt =
            |why: &str| StoreError::CorruptFile { file: FACTS_FILE.into(), why: why.into() };
        match bytes {
            [SCHEMA, bytes @ ..] => {
                rmp_serde::from_slice(bytes).map_err(|error| corrupt(&error.to_string()))
            }
            _ => Err(corrupt("its schema is unknown to this version")),
        }
    }
}

#[derive(Debug)]
struct Inner {
    database: Database,
    kept: Kept,
    /// With the token of each; 0 for one that drew none.
    boots: BTreeMap<Boot, u64>,
    starts: BTreeMap<String, u64>,
}

/// The facts a node keeps about itself, in a small file of their own. Every setter returns when the
/// fact is on the disk. After an error nothing is known of the fact that was to be set, and every
/// later setter fails.
#[derive(Debug, Clone)]
pub struct Facts(Arc<Mutex<Inner>>);

impl Facts {
    /// Reads the facts of node `name` from `disk`; makes them if there are none, with a random
    /// [`VoterId`].
    ///
    /// # Errors
    /// [`StoreError::OtherNode`] if the directory was made by another node,
    /// [`StoreError::CorruptFile`], [`StoreError::Failed`].
    pub fn open(disk: &dyn Disk, name: &NodeId, rng: &dyn Rng) -> Result<Self, StoreError> {
        let database = open_database(disk, FACTS_FILE, CACHE_BYTES_SMALL)?;
        let kept = reading(|| read(&database));
        let kept = kept.unwrap_or_else(|| Err(StoreError::unreadable(FACTS_FILE)))?;
        if let Some((kept, boots, starts)) = kept {
            if kept.node != *name {
                return Err(StoreError::OtherNode { found: kept.node, name: name.clone() });
            }
            return Ok(Self(Arc::new(Mutex::new(Inner { database, kept, boots, starts }))));
        }
        let kept = Kept {
            node: name.clone(),
            voter: VoterId(rng.next_u64()),
            cluster: None,
            store: None,
            mark: None,
            nonce: None,
            answer: None,
            above: None,
        };
        let (boots, starts) = (BTreeMap::new(), BTreeMap::new());
        let inner = Inner { database, kept: kept.clone(), boots, starts };
        let facts = Self(Arc::new(Mutex::new(inner)));
        facts.change(|new| *new = kept)?;
        Ok(facts)
    }

    /// Begins a new boot: one more than the last of this directory. Draws its token, which tells it
    /// from the boot of the same number of a copy.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn begin_boot(&self, rng: &dyn Rng) -> Result<Boot, StoreError> {
        self.boot_after(Boot(0), rng)
    }

    /// Begins a new boot above `seen`, too: the last one of this node that the view knows.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn boot_after(&self, seen: Boot, rng: &dyn Rng) -> Result<Boot, StoreError> {
        let mut inner = self.0.lock();
        let last = inner.boots.last_key_value().map(|(boot, _)| *boot).unwrap_or_default();
        let boot = Boot(last.max(seen).0 + 1);
        // 0 says that there is none.
        let token = rng.next_u64().max(1);
        let write = begin_write(&inner.database)?;
        write.open_table(BOOTS)?.insert(boot.0, ())?;
        write.open_table(TOKENS)?.insert(boot.0, token)?;
        write.commit()?;
        inner.boots.insert(boot, token);
        Ok(boot)
    }

    /// Begins a new boot in a directory that was empty, above `seen`: the last one of its node that
    /// the view knows, which ran elsewhere. That lives up to it were not here is kept first.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn boot_above(&self, seen: Boot, rng: &dyn Rng) -> Result<Boot, StoreError> {
        self.change(|kept| kept.above = kept.above.max(Some(seen)))?;
        self.boot_after(seen, rng)
    }

    /// Whether `boot` was a life of this directory's node elsewhere, before the directory's first
    /// one as a member.
    #[must_use]
    pub fn is_from_elsewhere(&self, boot: Boot) -> bool {
        self.0.lock().kept.above.is_some_and(|above| boot <= above)
    }

    /// The token of `boot`; 0 if it is none of this directory, or drew none.
    #[must_use]
    pub fn token(&self, boot: Boot) -> u64 {
        self.0.lock().boots.get(&boot).copied().unwrap_or_default()
    }

    /// The boots of this directory before `boot` that drew a token, with it, ascending; the newest
    /// [`CLAIM_TOKENS_MAX`] of them.
    #[must_use]
    pub fn tokens_before(&self, boot: Boot) -> Vec<(Boot, u64)> {
        let inner = self.0.lock();
        let newest = inner.boots.range(..boot).rev().filter(|(_, token)| **token != 0);
        let mut newest: Vec<_> =
            newest.take(CLAIM_TOKENS_MAX).map(|(boot, token)| (*boot, *token)).collect();
        newest.reverse();
        newest
    }

    /// Every boot of this directory, ascending.
    #[must_use]
    pub fn boots(&self) -> Vec<Boot> {
        self.0.lock().boots.keys().copied().collect()
    }

    /// The boots of this directory before `boot` as closed ranges, ascending; the newest
    /// [`CLAIM_TOKENS_MAX`] of them. There is a gap only where the directory learnt of boots of
    /// another one.
    #[must_use]
    pub fn boots_before(&self, boot: Boot) -> Vec<(Boot, Boot)> {
        let mut ranges: Vec<(Boot, Boot)> = Vec::new();
        for earlier in self.0.lock().boots.range(..boot).map(|(boot, _)| *boot) {
            match ranges.last_mut() {
                Some((_, last)) if last.0 + 1 == earlier.0 => *last = earlier,
                Some(_) | None => ranges.push((earlier, earlier)),
            }
        }
        ranges.split_off(ranges.len().saturating_sub(BOOT_RANGES_MAX))
    }

    /// Whether this directory has seen `boot`.
    #[must_use]
    pub fn has_boot(&self, boot: Boot) -> bool {
        self.0.lock().boots.contains_key(&boot)
    }

    /// Whose directory it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.lock().kept.node.clone()
    }

    /// This node's raft id.
    #[must_use]
    pub fn voter(&self) -> VoterId {
        self.0.lock().kept.voter
    }

    /// Which cluster the node belongs to, once it does.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.0.lock().kept.cluster
    }

    /// Keeps which cluster the node belongs to.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn set_cluster(&self, cluster: ClusterId) -> Result<(), StoreError> {
        self.change(|kept| kept.cluster = Some(cluster))
    }

    /// The store that this directory held last.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.0.lock().kept.store
    }

    /// Keeps which store this directory holds.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn set_store(&self, store: StoreId) -> Result<(), StoreError> {
        self.change(|kept| kept.store = Some(store))
    }

    /// The last start that was begun with `file`, as far as these facts know; 0: none.
    #[must_use]
    pub(crate) fn starts(&self, file: Counted) -> u64 {
        self.0.lock().starts.get(&file.key()).copied().unwrap_or_default()
    }

    /// Refuses `file`, which says that it has `seen` so many starts, if these facts know of more. A
    /// node that was never of a cluster has promised nothing, and refuses none.
    ///
    /// # Errors
    /// [`Older`].
    pub(crate) fn check(&self, file: Counted, seen: u64) -> Result<(), Older> {
        let is_of_a_cluster = self.cluster().is_some();
        Older::check(file, seen, if is_of_a_cluster { self.starts(file) } else { 0 })
    }

    /// Keeps the start that was begun with `file`; it must be on the disk in the file by now.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(crate) fn set_starts(&self, file: Counted, start: u64) -> Result<(), StoreError> {
        let mut inner = self.0.lock();
        let write = begin_write(&inner.database)?;
        write.open_table(STARTS)?.insert(file.key().as_str(), start)?;
        write.commit()?;
        inner.starts.insert(file.key(), start);
        Ok(())
    }

    /// The mark of the directory as it was when last kept.
    #[must_use]
    pub fn mark(&self) -> Option<DiskMark> {
        self.0.lock().kept.mark.clone()
    }

    /// Keeps the mark of the directory.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn set_mark(&self, mark: DiskMark) -> Result<(), StoreError> {
        self.change(|kept| kept.mark = Some(mark))
    }

    /// Whether a directory marked `now` is a copy of the one these facts were written in: another
    /// file system, or another lock file. A copy written over the directory itself is known only by
    /// its boots, and only to the view.
    #[must_use]
    pub fn is_copy(&self, now: &DiskMark) -> bool {
        self.0.lock().kept.mark.as_ref().is_some_and(|then| !then.is_same_place(now))
    }

    /// The number this node drew for the formation it takes part in.
    #[must_use]
    pub fn nonce(&self) -> Option<u64> {
        self.0.lock().kept.nonce
    }

    /// Keeps the number drawn for a formation.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn set_nonce(&self, nonce: u64) -> Result<(), StoreError> {
        self.change(|kept| kept.nonce = Some(nonce))
    }

    /// What this node answered in the formation it takes part in.
    #[must_use]
    pub fn answer(&self) -> Option<Bytes> {
        self.0.lock().kept.answer.clone()
    }

    /// Keeps what this node answers in a formation.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn set_answer(&self, answer: Bytes) -> Result<(), StoreError> {
        self.change(|kept| kept.answer = Some(answer))
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), StoreError> {
        let mut inner = self.0.lock();
        let mut kept = inner.kept.clone();
        change(&mut kept);
        let bytes = kept.encode()?;
        let write = begin_write(&inner.database)?;
        write.open_table(FACTS)?.insert(KEY, bytes.as_slice())?;
        write.commit()?;
        inner.kept = kept;
        Ok(())
    }
}

/// What a directory keeps, the token of each life of it, and the last start with each file.
type Read = (Kept, BTreeMap<Boot, u64>, BTreeMap<String, u64>);

/// The facts in the file; none if its maker died before it wrote them.
fn read(database: &Database) -> Result<Option<Read>, StoreError> {
    let read = database.begin_read()?;
    let found = match read.open_table(FACTS) {
        Ok(table) => table.get(KEY)?,
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(found) = found else { return Ok(None) };
    let kept = Kept::decode(found.value())?;
    let mut boots = BTreeMap::new();
    match read.open_table(BOOTS) {
        Ok(table) => {
            for entry in table.iter()? {
                boots.insert(Boot(entry?.0.value()), 0);
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match read.open_table(TOKENS) {
        Ok(table) => {
            for entry in table.iter()? {
                let (boot, token) = entry?;
                boots.insert(Boot(boot.value()), token.value());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut starts = BTreeMap::new();
    match read.open_table(STARTS) {
        Ok(table) => {
            for entry in table.iter()? {
                let (file, start) = entry?;
                starts.insert(file.value().into(), start.value());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Some((kept, boots, starts)))
}
