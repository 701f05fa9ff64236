//! How well this node itself does: a node that is slow should doubt itself before others.

#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use std::num::NonZeroU32;
use std::time::Duration;

/// A score from 0, healthy, to `max - 1`, by which a node stretches its own timeouts.
///
/// What Lifeguard counts:
///
/// | what happened                                    | delta |
/// |--------------------------------------------------|-------|
/// | a probe of this node's was answered              | -1    |
/// | a probe of this node's failed                    | +1    |
/// | this node had to refute that it is suspect       | +1    |
/// | a node asked to probe for it sent no word at all | +1    |
///
/// Source: Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate Failure
/// Detection", DSN-W 2018, IV.A; memberlist, `awareness.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalHealth {
    score: u32,
    max: NonZeroU32,
}

impl LocalHealth {
    /// As many scores as Lifeguard and memberlist have: timeouts are at most eight times as long.
    pub const MAX: NonZeroU32 = NonZeroU32::new(8).expect("it is not zero");

    /// A healthy node. Timeouts are stretched at most `max` times; with 1 they never are.
    #[must_use]
    pub const fn new(max: NonZeroU32) -> Self {
        Self { score: 0, max }
    }

    /// Something happened: the score moves by `delta`, as far as it can.
    pub fn apply(&mut self, delta: i32) {
        self.score = self.score.saturating_add_signed(delta).min(self.max.get() - 1);
    }

    /// 0 if all is well, at most `max - 1`.
    #[must_use]
    pub const fn score(self) -> u32 {
        self.score
    }

    /// The timeout to use in place of `base`: `(score + 1) x base`.
    #[must_use]
    pub const fn scaled(self, base: Duration) -> Duration {
        // The score is less than a u32, so one more is one.
        base.saturating_mul(self.score + 1)
    }
}

impl Default for LocalHealth {
    fn default() -> Self {
        Self::new(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f17_the_score_moves_by_deltas_within_its_limits_and_stretches_timeouts() {
        let mut health = LocalHealth::default();
        let base = Duration::from_secs(1);
        let deltas = [0, -1, -10, 1, -1, 10, -1, -1, -1, -1, -1, -1, -1, -1];
        let scores = [0, 0, 0, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0, 0];
        assert_eq!((health.score(), health.scaled(base)), (0, base));
        for (delta, want) in deltas.into_iter().zip(scores) {
            health.apply(delta);
            assert_eq!(health.score(), want, "after {delta}");
            assert_eq!(health.scaled(base), Duration::from_secs(u64::from(want) + 1));
        }
    }

    proptest! {
        #[test]
        fn no_delta_leaves_the_limits_and_no_timeout_overflows(
            max in 1..=u32::MAX,
            deltas in proptest::collection::vec(any::<i32>(), 0..50),
        ) {
            let mut health = LocalHealth::new(NonZeroU32::new(max).expect("from 1"));
            for delta in deltas {
                let before = i64::from(health.score());
                health.apply(delta);
                let want = (before + i64::from(delta)).clamp(0, i64::from(max) - 1);
                prop_assert_eq!(i64::from(health.score()), want);
                prop_assert!(health.scaled(Duration::MAX) == Duration::MAX);
            }
        }
    }
}
