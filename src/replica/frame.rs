//! What owners and backups say to each other.
//!
//! A frame carries many items, each of one shard, so that the takeover of a thousand shards is one
//! frame per store and one transaction there. Schema byte, then postcard.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::{Epoch, ShardId, StoreId};
use crate::storage::{Number, Op, Record, ShardHead};
use crate::wire::from_data;

/// Schema of these frames.
const SCHEMA: u8 = 1;

/// What an owner asks of one store. An empty one asks only whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// The store that is meant; any other refuses.
    pub to: StoreId,
    /// In order.
    pub items: Vec<Item>,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// Which shard.
    pub shard: ShardId,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What.
    pub body: Body,
}

/// What is asked of one shard at one store. The fields are those of [`Op`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Takeover, first half.
    Seal,
    /// The next writes.
    Append { prev: Number, acked: Number, records: Vec<Record> },
    /// Takeover, second half.
    Adopt { after: Number, records: Vec<Record>, last: Number },
    /// Catch-up: seal, and say what is there.
    List,
    /// Catch-up: keep only this.
    Begin { run: u64, keep: Vec<(Number, u32)> },
    /// Catch-up: the next part.
    Fill { run: u64, after: Number, records: Vec<Record>, last: Number, complete: bool },
    /// Up to here all is acknowledged.
    Acked { acked: Number },
}

/// What a store answers to one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It is on the disk.
    Done(ShardHead),
    /// The answer to [`Body::List`].
    Listed(ShardHead, Vec<(Number, u32)>),
    /// Nothing changed.
    Refused(ShardHead),
    /// The view known there is past the item's epoch, or the sender is not its owner.
    Outdated,
}

impl Body {
    /// The change it makes to a store.
    pub(crate) fn into_op(self, shard: ShardId, epoch: Epoch) -> Op {
        match self {
            Self::Seal | Self::List => Op::Seal { shard, epoch },
            Self::Append { prev, acked, records } => {
                Op::Append { shard, epoch, prev, acked, records }
            }
            Self::Adopt { after, records, last } => {
                Op::Adopt { shard, epoch, after, records, last }
            }
            Self::Begin { run, keep } => Op::Begin { shard, epoch, run, keep },
            Self::Fill { run, after, records, last, complete } => {
                Op::Fill { shard, epoch, run, after, records, last, complete }
            }
            Self::Acked { acked } => Op::Acked { shard, epoch, acked },
        }
    }

    /// Whether it belongs on the bulk connection: a catch-up must not delay writes.
    pub(crate) fn is_bulk(&self) -> bool {
        match self {
            Self::List | Self::Begin { .. } | Self::Fill { .. } => true,
            Self::Seal | Self::Append { .. } | Self::Adopt { .. } | Self::Acked { .. } => false,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append { records, .. }
            | Self::Adopt { records, .. }
            | Self::Fill { records, .. } => {
                ITEM_BYTES + records.iter().map(record_bytes).sum::<usize>()
            }
            Self::Begin { keep, .. } => ITEM_BYTES + keep.len() * LISTED_BYTES,
            Self::Seal | Self::List | Self::Acked { .. } => ITEM_BYTES,
        }
    }
}

/// Room for an item's numbers.
const ITEM_BYTES: usize = 64;
/// Room for one entry of an inventory.
const LISTED_BYTES: usize = 25;

/// About how many bytes a record takes in a frame.
pub(crate) fn record_bytes(record: &Record) -> usize {
    record.key.len() + record.value.len() + ITEM_BYTES
}

/// Encodes a frame or its answer.
pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    let start = vec![SCHEMA];
    let bytes = postcard::to_extend(message, start).expect("plain values always encode");
    Bytes::from(bytes)
}

/// Decodes a frame or its answer; `None` if it is malformed.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (&SCHEMA, rest) = bytes.split_first()? else { return None };
    from_data(rest).ok()
}

/// For the fuzz target `replica`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_replica(bytes: &[u8]) -> bool {
    fn fuzz<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
        crate::wire::fuzz::stable(bytes, decode::<T>, |value| Some(encode(value).into()))
    }
    fuzz::<Frame>(bytes) | fuzz::<Vec<Verdict>>(bytes)
}
