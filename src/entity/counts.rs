//! What happened to messages and entities, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Hosts;
use crate::base::ShardId;

/// What happened on one node since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EntityCounts {
    /// Entities in memory now.
    pub in_memory: usize,
    /// Entities that came to memory.
    pub activated: u64,
    /// Entities dropped from memory because nobody used them.
    pub passivated: u64,
    /// Messages handled.
    pub turns: u64,
    /// Handlers that failed or panicked.
    pub crashed: u64,
    /// Messages from other nodes refused because a lane was full.
    pub overloaded: u64,
    /// Messages sent back because this node does not own their shard.
    pub not_owner: u64,
    /// Messages that had to wait for a view this node had not seen.
    pub held: u64,
    /// Tells that came here and were not handled.
    pub tells_lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Places of a [`Spread`].
const PLACES: usize = 16;

/// A counter in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place(AtomicU64);

/// Counts what many threads do at once, each mostly in a place of its own.
#[derive(Debug, Default)]
pub(super) struct Spread([Place; PLACES]);

impl Spread {
    pub(super) fn add(&self, shard: ShardId, more: u64) {
        let place = &self.0[usize::from(shard.0) % PLACES];
        place.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.iter().map(|place| place.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) turns: Spread,
    pub(super) activated: Count,
    pub(super) passivated: Count,
    pub(super) crashed: Count,
    pub(super) overloaded: Count,
    pub(super) not_owner: Count,
    pub(super) held: Count,
    pub(super) tells_lost: Count,
}

impl Tally {
    pub(super) fn read(&self, in_memory: usize) -> EntityCounts {
        let read = |count: &Count| count.0.load(Ordering::Relaxed);
        EntityCounts {
            in_memory,
            activated: read(&self.activated),
            passivated: read(&self.passivated),
            turns: self.turns.read(),
            crashed: read(&self.crashed),
            overloaded: read(&self.overloaded),
            not_owner: read(&self.not_owner),
            held: read(&self.held),
            tells_lost: read(&self.tells_lost),
        }
    }
}

impl Hosts {
    /// Messages handled since the start. Takes no lock: it may be asked while user code blocks
    /// every thread of the runtime.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.counts().turns.read()
    }
}
