//! Counters of everything that happened on the links.

use std::sync::atomic::{AtomicU64, Ordering};

use super::api::Counts;

/// One counter per field of [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) dialled: AtomicU64,
    pub(super) dials_failed: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) tells_dropped: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) gossip_dropped: AtomicU64,
    pub(super) answers_dropped: AtomicU64,
    pub(super) tells_unsent: AtomicU64,
    pub(super) tells_unknown: AtomicU64,
    pub(super) made_room: AtomicU64,
    pub(super) resumed: AtomicU64,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            dialled: of(&self.dialled),
            dials_failed: of(&self.dials_failed),
            accepted: of(&self.accepted),
            refused: of(&self.refused),
            broken: of(&self.broken),
            tells_dropped: of(&self.tells_dropped),
            overloaded: of(&self.overloaded),
            gossip_dropped: of(&self.gossip_dropped),
            answers_dropped: of(&self.answers_dropped),
            tells_unsent: of(&self.tells_unsent),
            tells_unknown: of(&self.tells_unknown),
            made_room: of(&self.made_room),
            resumed: of(&self.resumed),
        }
    }
}
