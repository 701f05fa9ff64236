//! What can be asked of a store, and what it answers.

use super::{Number, Record, ShardHead};
use crate::base::{Epoch, ShardId};

/// One change of one shard. Accepted or refused as a whole; refused means nothing changed.
///
/// All but [`Op::Seal`] need `epoch` to be exactly what the shard is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Raises the seal: from now on only writes under `epoch` are accepted. Repeating it is
    /// harmless; a lower epoch is refused.
    Seal {
        /// Which shard.
        shard: ShardId,
        /// The new seal.
        epoch: Epoch,
    },
    /// The next writes of the shard: *every* write after `prev`, in order, without gaps (within
    /// an epoch `seq` counts by one). What it replaces is kept until `acked` passes it.
    ///
    /// `prev` must be the shard's last write. Records up to the last one are skipped if they are
    /// there already (or were replaced since), so that repeating it is harmless.
    Append {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// The write before the first of `records`.
        prev: Number,
        /// Up to here every in-sync store has everything.
        acked: Number,
        /// The writes.
        records: Vec<Record>,
    },
    /// Takeover: undoes every write above `after`, restoring what it replaced, then takes
    /// `records`, the owner's state above `after` (one record per key at most).
    ///
    /// `after` must be the shard's `acked`, or a later point whose state can still be restored:
    /// the owner sends to each store what lies above *that store's* `acked`. It never undoes a
    /// write numbered in `epoch` itself, so that a late repeat is harmless.
    Adopt {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// The last write both sides have.
        after: Number,
        /// The owner's records above `after`, in number order.
        records: Vec<Record>,
        /// The owner's last write.
        last: Number,
    },
    /// A catch-up begins: drops every record not in `keep`. The shard is *filling* (not complete,
    /// `last` and `acked` zero) until the fill that says `complete`, whatever crashes meanwhile.
    ///
    /// A `run` not above the last one begun in this epoch is refused: a late repeat must not
    /// empty a store that has caught up since. Repeating the run that is filling and has got
    /// nothing yet is harmless.
    Begin {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// Number of the catch-up: chosen by the owner, grows within its epoch, from 1.
        run: u64,
        /// Number and checksum of the records to keep, from [`super::Store::inventory`].
        keep: Vec<(Number, u32)>,
    },
    /// The next part of a catch-up: the owner's state in (`after`, `last`], without what was
    /// kept. Parts already here are skipped; a gap is refused.
    ///
    /// Fill up to the owner's `acked` and send what lies above as [`Op::Append`]: only what was
    /// appended can be undone one by one.
    Fill {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// The catch-up it belongs to.
        run: u64,
        /// End of the part before.
        after: Number,
        /// Records in number order.
        records: Vec<Record>,
        /// End of this part.
        last: Number,
        /// The store now holds everything up to `last`: it is no longer filling.
        complete: bool,
    },
    /// Puts `record` in place of the corrupt record of its key, which must have been this very
    /// write: one fetched from another replica. A record that can be read is never replaced.
    Repair {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// The write, as another store has it.
        record: Record,
    },
    /// Up to `acked` every in-sync store has everything: forgets what was replaced up to there.
    /// Only moves forward, never past the shard's last write, and never into the middle of an
    /// adopted or filled stretch, whose inner states are unknown here.
    Acked {
        /// Which shard.
        shard: ShardId,
        /// The seal.
        epoch: Epoch,
        /// The number.
        acked: Number,
    },
}

impl Op {
    /// Which shard it changes.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Seal { shard, .. }
            | Self::Append { shard, .. }
            | Self::Adopt { shard, .. }
            | Self::Begin { shard, .. }
            | Self::Fill { shard, .. }
            | Self::Repair { shard, .. }
            | Self::Acked { shard, .. } => *shard,
        }
    }

    /// Under which epoch it is asked.
    #[cfg(feature = "sim")]
    pub(super) fn epoch(&self) -> crate::base::Epoch {
        match self {
            Self::Seal { epoch, .. }
            | Self::Append { epoch, .. }
            | Self::Adopt { epoch, .. }
            | Self::Begin { epoch, .. }
            | Self::Fill { epoch, .. }
            | Self::Repair { epoch, .. }
            | Self::Acked { epoch, .. } => *epoch,
        }
    }
}

/// What became of an [`Op`], with the shard's head after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// It is on the disk.
    Done(ShardHead),
    /// Nothing changed.
    Refused {
        /// The head as it is.
        head: ShardHead,
        /// Why, in words.
        why: &'static str,
    },
}

impl OpResult {
    /// The shard's head after the op.
    #[must_use]
    pub fn head(&self) -> &ShardHead {
        match self {
            Self::Done(head) | Self::Refused { head, .. } => head,
        }
    }

    /// Whether it was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}
