//! The four tables of the store, and the small steps every op is made of.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::{Buf as _, BufMut as _, Bytes};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::record::checksum;
use super::store::DATA_FILE;
use super::{Number, Record, ShardHead, StoreError};
use crate::base::{Epoch, ShardId};

type RecordKey = (u16, &'static [u8]);
type NumberKey = (u16, u64, u64);
type Raw = &'static [u8];

/// Shard to head.
pub(super) const HEADS: TableDefinition<u16, Raw> = TableDefinition::new("heads");
/// Shard and key to the latest record.
pub(super) const RECORDS: TableDefinition<RecordKey, Raw> = TableDefinition::new("records");
/// Shard and number to the key whose latest record has that number.
pub(super) const NUMBERS: TableDefinition<NumberKey, Raw> = TableDefinition::new("numbers");
/// Shard and number of a write to what that write replaced.
pub(super) const KEPT: TableDefinition<NumberKey, Raw> = TableDefinition::new("kept");

/// A head with what only the store itself needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// What everyone may see.
    pub(super) shown: ShardHead,
    /// End of the last adopted or filled stretch: states between `acked` and here are unknown, as
    /// such a stretch has only the last write of each key.
    pub(super) solid: Number,
    /// The last catch-up that began: epoch and run.
    pub(super) run: (Epoch, u64),
}

const HEAD_SCHEMA: u8 = 1;

impl Head {
    pub(super) fn encode(&self, shard: ShardId) -> Result<Vec<u8>, StoreError> {
        let bytes = rmp_serde::to_vec(self).map_err(StoreError::failed)?;
        let mut out = Vec::with_capacity(5 + bytes.len());
        out.put_u8(HEAD_SCHEMA);
        out.put_u32(checksum(shard, &[], &[HEAD_SCHEMA], &bytes));
        out.put_slice(&bytes);
        Ok(out)
    }

    /// Reads and verifies.
    pub(super) fn decode(shard: ShardId, bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::CorruptFile {
            file: DATA_FILE.into(),
            why: format!("the head of {shard} does not match its checksum"),
        };
        let (&[schema, a, b, c, d], bytes) = bytes.split_first_chunk().ok_or_else(corrupt)?;
        let sum = u32::from_be_bytes([a, b, c, d]);
        if schema != HEAD_SCHEMA || sum != checksum(shard, &[], &[schema], bytes) {
            return Err(corrupt());
        }
        rmp_serde::from_slice(bytes).map_err(|_| corrupt())
    }
}

pub(super) struct Tables<'t> {
    heads: Table<'t, u16, Raw>,
    records: Table<'t, RecordKey, Raw>,
    numbers: Table<'t, NumberKey, Raw>,
    kept: Table<'t, NumberKey, Raw>,
}

/// What a write replaced.
pub(super) struct Kept {
    pub(super) key: Bytes,
    /// The record as it lay on the disk; none if the key was new.
    pub(super) replaced: Option<Bytes>,
}

pub(super) fn place(shard: ShardId, number: Number) -> (u16, u64, u64) {
    (shard.0, number.epoch.0, number.seq)
}

/// Places from one to another.
type Stretch = (Bound<(u16, u64, u64)>, Bound<(u16, u64, u64)>);

/// Numbers of `shard` above `after`.
pub(super) fn above(shard: ShardId, after: Number) -> Stretch {
    (Bound::Excluded(place(shard, after)), Bound::Included((shard.0, u64::MAX, u64::MAX)))
}

pub(super) fn number(place: (u16, u64, u64)) -> Number {
    Number { epoch: Epoch(place.1), seq: place.2 }
}

pub(super) fn read_head(
    heads: &impl ReadableTable<u16, Raw>,
    shard: ShardId,
) -> Result<Head, StoreError> {
    let Some(found) = heads.get(shard.0)? else { return Ok(Head::default()) };
    Head::decode(shard, found.value())
}

pub(super) fn read_record(
    records: &impl ReadableTable<RecordKey, Raw>,
    shard: ShardId,
    key: &[u8],
) -> Result<Option<(Record, u32)>, StoreError> {
    let found = records.get((shard.0, key))?;
    found.map(|bytes| Record::decode(shard, key, bytes.value())).transpose()
}

impl Kept {
    pub(super) fn encode(
        shard: ShardId,
        at: Number,
        key: &[u8],
        replaced: Option<&[u8]>,
    ) -> Vec<u8> {
        let replaced = replaced.unwrap_or_default();
        let mut out = Vec::with_capacity(8 + key.len() + replaced.len());
        out.put_u32(Self::sum(shard, at, key, replaced.len()));
        out.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
        out.put_slice(key);
        out.put_slice(replaced);
        out
    }

    /// Covers that there is a replaced record; what is in it, its own checksum covers.
    fn sum(shard: ShardId, at: Number, key: &[u8], replaced: usize) -> u32 {
        let mut header = Vec::with_capacity(24);
        header.put_u64(at.epoch.0);
        header.put_u64(at.seq);
        header.put_u64(replaced as u64);
        checksum(shard, key, &header, &[])
    }

    /// Reads and verifies.
    pub(super) fn decode(shard: ShardId, at: Number, mut bytes: &[u8]) -> Result<Self, StoreError> {
        let all = bytes;
        let corrupt = || StoreError::Corrupt { shard, key: Bytes::copy_from_slice(all) };
        if bytes.len() < 8 {
            return Err(corrupt());
        }
        let sum = bytes.get_u32();
        let length = bytes.get_u32() as usize;
        let (key, replaced) = bytes.split_at_checked(length).ok_or_else(corrupt)?;
        if sum != Self::sum(shard, at, key, replaced.len()) {
            return Err(StoreError::Corrupt { shard, key: Bytes::copy_from_slice(key) });
        }
        let replaced = (!replaced.is_empty()).then(|| Bytes::copy_from_slice(replaced));
        Ok(Self { key: Bytes::copy_from_slice(key), replaced })
    }

    /// The replaced record, verified.
    pub(super) fn record(&self, shard: ShardId) -> Result<Option<Record>, StoreError> {
        let record = |bytes: &Bytes| Record::decode(shard, &self.key, bytes);
        Ok(self.replaced.as_ref().map(record).transpose()?.map(|(record, _)| record))
    }
}

impl<'t> Tables<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            heads: write.open_table(HEADS)?,
            records: write.open_table(RECORDS)?,
            numbers: write.open_table(NUMBERS)?,
            kept: write.open_table(KEPT)?,
        })
    }

    pub(super) fn head(&self, shard: ShardId) -> Result<Head, StoreError> {
        read_head(&self.heads, shard)
    }

    pub(super) fn set_head(&mut self, shard: ShardId, head: &Head) -> Result<(), StoreError> {
        self.heads.insert(shard.0, head.encode(shard)?.as_slice())?;
        Ok(())
    }

    /// The latest record of `key`, verified.
    pub(super) fn record(&self, shard: ShardId, key: &[u8]) -> Result<Option<Record>, StoreError> {
        Ok(read_record(&self.records, shard, key)?.map(|(record, _)| record))
    }

    /// The key whose latest record is numbered `at`.
    pub(super) fn key_of(&self, shard: ShardId, at: Number) -> Result<Option<Bytes>, StoreError> {
        let found = self.numbers.get(place(shard, at))?;
        Ok(found.map(|key| Bytes::copy_from_slice(key.value())))
    }

    /// Puts a record in place of the one of its key, if there is one, which must have been
    /// verified. With `keep` that one can be restored.
    pub(super) fn put(
        &mut self,
        shard: ShardId,
        record: &Record,
        keep: bool,
    ) -> Result<(), StoreError> {
        let key = record.key.as_ref();
        let bytes = record.encode(shard);
        let at = place(shard, record.number);
        let replaced = self.records.insert((shard.0, key), bytes.as_slice())?;
        let replaced = replaced.as_ref().map(redb::AccessGuard::value);
        if let Some(old) = replaced.and_then(Record::number_in) {
            self.numbers.remove(place(shard, old))?;
        }
        self.numbers.insert(at, key)?;
        if keep {
            let kept = Kept::encode(shard, record.number, key, replaced);
            self.kept.insert(at, kept.as_slice())?;
        }
        Ok(())
    }

    /// Puts a record in place of the one of its key, which has the same number.
    pub(super) fn overwrite(&mut self, shard: ShardId, record: &Record) -> Result<(), StoreError> {
        let bytes = record.encode(shard);
        self.records.insert((shard.0, record.key.as_ref()), bytes.as_slice())?;
        Ok(())
    }

    /// Whether all that [`Tables::undo`] would restore can be read.
    pub(super) fn verify_kept(&self, shard: ShardId, after: Number) -> Result<(), StoreError> {
        for entry in self.kept.range(above(shard, after))? {
            let (at, bytes) = entry?;
            Kept::decode(shard, number(at.value()), bytes.value())?.record(shard)?;
        }
        Ok(())
    }

    /// Undoes every write above `after`, the last one first: restores what it replaced, or removes
    /// the record if it replaced nothing (or came in a catch-up).
    pub(super) fn undo(&mut self, shard: ShardId, after: Number) -> Result<(), StoreError> {
        let mut writes = BTreeSet::new();
        for entry in self.numbers.range(above(shard, after))? {
            writes.insert(number(entry?.0.value()));
        }
        for entry in self.kept.range(above(shard, after))? {
            writes.insert(number(entry?.0.value()));
        }
        while let Some(write) = writes.pop_last() {
            let at = place(shard, write);
            let kept = self.kept.remove(at)?;
            let kept = kept.map(|kept| Kept::decode(shard, write, kept.value())).transpose()?;
            let present = self.numbers.remove(at)?.map(|key| Bytes::copy_from_slice(key.value()));
            // A write without either was replaced by one in the same stretch: nothing is left.
            let Some(key) = present else { continue };
            let Some(bytes) = kept.and_then(|kept| kept.replaced) else {
                self.records.remove((shard.0, key.as_ref()))?;
                continue;
            };
            self.records.insert((shard.0, key.as_ref()), bytes.as_ref())?;
            if let Some(old) = Record::number_in(&bytes) {
                self.numbers.insert(place(shard, old), key.as_ref())?;
                if old > after {
                    writes.insert(old);
                }
            }
        }
        Ok(())
    }

    /// Forgets what the writes up to `upto` replaced.
    pub(super) fn purge(&mut self, shard: ShardId, upto: Number) -> Result<(), StoreError> {
        self.kept.retain_in(place(shard, Number::ZERO)..=place(shard, upto), |_, _| false)?;
        Ok(())
    }

    /// Removes every record that is not in `keep` or is corrupt, and all that was kept.
    pub(super) fn drop_others(
        &mut self,
        shard: ShardId,
        keep: &BTreeSet<(Number, u32)>,
    ) -> Result<(), StoreError> {
        let last = Number { epoch: Epoch(u64::MAX), seq: u64::MAX };
        self.purge(shard, last)?;
        let mut drop = Vec::new();
        for entry in self.numbers.range(place(shard, Number::ZERO)..=place(shard, last))? {
            let (at, key) = entry?;
            let (at, key) = (number(at.value()), key.value());
            let found = match read_record(&self.records, shard, key) {
                Ok(found) => found,
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            let stays =
                found.is_some_and(|(record, sum)| record.number == at && keep.contains(&(at, sum)));
            if !stays {
                drop.push((at, key.to_vec()));
            }
        }
        for (at, key) in drop {
            self.numbers.remove(place(shard, at))?;
            self.records.remove((shard.0, key.as_slice()))?;
        }
        Ok(())
    }
}
