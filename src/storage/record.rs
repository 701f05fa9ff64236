//! Records and heads, and how they lie on the disk.

use bytes::{BufMut as _, Bytes};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use super::StoreError;
use crate::base::{Epoch, ShardId};

/// Number of a write in its shard's log, in order of epoch, then `seq`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Number {
    /// Epoch of the owner that gave it.
    pub epoch: Epoch,
    /// Counts within the epoch, from 1.
    pub seq: u64,
}

impl Number {
    /// Before every write.
    pub const ZERO: Self = Self { epoch: Epoch::NONE, seq: 0 };

    /// Whether a write numbered `next` may follow this one: the next in the same epoch, or any in
    /// a later one.
    #[must_use]
    pub fn precedes(self, next: Self) -> bool {
        next.epoch > self.epoch
            || next.epoch == self.epoch && next.seq.checked_sub(1) == Some(self.seq)
    }
}

/// The latest write of a key. A deleted record stays, so that its revision is not given twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the record is of, within its shard.
    pub key: Bytes,
    /// Number of the write.
    pub number: Number,
    /// Counts the writes of this key.
    pub revision: u64,
    /// The key is deleted.
    pub deleted: bool,
    /// The bytes.
    pub value: Bytes,
}

/// What a store knows of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardHead {
    /// Only writes under this epoch are accepted.
    pub sealed: Epoch,
    /// The last write.
    pub last: Number,
    /// Every store that was in sync has everything up to here.
    pub acked: Number,
    /// A catch-up has begun and is not complete: the records say nothing.
    pub filling: bool,
}

impl Record {
    /// First 32 bits of the SHA-1 of everything the record is: shard, key, number, revision,
    /// whether it is deleted, value.
    #[must_use]
    pub fn checksum(&self, shard: ShardId) -> u32 {
        checksum(shard, &self.key, &self.header(), &self.value)
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[0] = SCHEMA;
        header[1] = u8::from(self.deleted);
        header[2..10].copy_from_slice(&self.number.epoch.0.to_be_bytes());
        header[10..18].copy_from_slice(&self.number.seq.to_be_bytes());
        header[18..26].copy_from_slice(&self.revision.to_be_bytes());
        header
    }

    /// How it lies on the disk beside its key.
    pub(super) fn encode(&self, shard: ShardId) -> Vec<u8> {
        let header = self.header();
        let mut out = Vec::with_capacity(HEADER_BYTES + SUM_BYTES + self.value.len());
        out.put_slice(&header);
        out.put_u32(checksum(shard, &self.key, &header, &self.value));
        out.put_slice(&self.value);
        out
    }

    /// The number in an encoded record whose checksum was verified before.
    pub(super) fn number_in(bytes: &[u8]) -> Option<Number> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Number { epoch: Epoch(long(header, 2)), seq: long(header, 10) })
    }

    /// The record that lies under `key`, with its checksum, both verified.
    pub(super) fn decode(
        shard: ShardId,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<(Self, u32), StoreError> {
        let corrupt = || StoreError::Corrupt { shard, key: Bytes::copy_from_slice(key) };
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(corrupt)?;
        let (sum, value) = rest.split_first_chunk::<SUM_BYTES>().ok_or_else(corrupt)?;
        let sum = u32::from_be_bytes(*sum);
        if header[0] != SCHEMA || sum != checksum(shard, key, header, value) {
            return Err(corrupt());
        }
        let record = Self {
            key: Bytes::copy_from_slice(key),
            number: Number { epoch: Epoch(long(header, 2)), seq: long(header, 10) },
            revision: long(header, 18),
            deleted: header[1] == 1,
            value: Bytes::copy_from_slice(value),
        };
        Ok((record, sum))
    }
}

/// Schema of records on the disk.
const SCHEMA: u8 = 1;
/// Schema, flags, epoch, seq, revision.
const HEADER_BYTES: usize = 26;
const SUM_BYTES: usize = 4;

/// The big-endian number at `at`.
fn long(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    header[at..at + 8].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

pub(super) fn checksum(shard: ShardId, key: &[u8], header: &[u8], value: &[u8]) -> u32 {
    let mut hash = Sha1::new();
    hash.update(shard.0.to_be_bytes());
    // With its length, so that no byte can move between key and value unseen.
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(header);
    hash.update(value);
    let digest = hash.finalize();
    digest.iter().take(SUM_BYTES).fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}
