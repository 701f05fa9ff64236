//! What happened to messages and entities, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Handlers that failed or panicked.
    pub crashed: u64,
    /// Messages from other nodes refused because a lane was full.
    pub overloaded: u64,
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

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) activated: Count,
    pub(super) passivated: Count,
    pub(super) crashed: Count,
    pub(super) overloaded: Count,
    pub(super) tells_lost: Count,
}

impl Tally {
    pub(super) fn read(&self, in_memory: usize) -> EntityCounts {
        let read = |count: &Count| count.0.load(Ordering::Relaxed);
        EntityCounts {
            in_memory,
            activated: read(&self.activated),
            passivated: read(&self.passivated),
            crashed: read(&self.crashed),
            overloaded: read(&self.overloaded),
            tells_lost: read(&self.tells_lost),
        }
    }
}
