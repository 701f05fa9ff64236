//! How full the queues of a node are, for the simulated world to see (I8).
//!
//! Only with feature `sim`. What a queue refuses because it is full, its owner counts.

/// One queue, or what else has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Which one.
    pub(crate) queue: &'static str,
    /// How much is in it now, in the unit of its limit.
    pub(crate) has: usize,
    /// The most that may be.
    pub(crate) max: usize,
}

impl Fill {
    pub(crate) fn of(queue: &'static str, has: usize, max: usize) -> Self {
        Self { queue, has, max }
    }
}
