//! How long a child waits before it is restarted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Instant;

/// Restarts of a child that wait, each about twice as long as the one before it.
///
/// The k-th restart in a row waits `min * 2^(k-1)`, at most `max`; half of that is fixed, half
/// drawn ("equal jitter"), so that children which crashed together do not come back together. An
/// attempt to start that fails is the next in the row.
///
/// | field         | unit     | range              |
/// |---------------|----------|--------------------|
/// | `min`         | duration | above zero         |
/// | `max`         | duration | at least `min`     |
/// | `reset_after` | duration | at least `min`     |
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. OTP has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    /// What the first restart in a row waits, before the draw.
    pub min: Duration,
    /// What none waits longer than.
    pub max: Duration,
    /// An incarnation that was up this long ends the row.
    pub reset_after: Duration,
}

/// Why a backoff is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// Twice nothing is nothing.
    #[error("min must not be zero")]
    MinZero,
    /// The range is empty.
    #[error("min {min:?} is longer than max {max:?}")]
    MinAboveMax {
        /// The shorter end that is not.
        min: Duration,
        /// The longer end that is not.
        max: Duration,
    },
    /// Every crash would begin a new row.
    #[error("reset_after {reset_after:?} is shorter than min {min:?}")]
    ResetBelowMin {
        /// The time that is too short.
        reset_after: Duration,
        /// The shortest it may be.
        min: Duration,
    },
}

impl Backoff {
    /// From `min` to `max`; a row ends when an incarnation was up for `max`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, reset_after: max }
    }

    /// Whether it can be kept to.
    ///
    /// # Errors
    /// [`BackoffError`].
    pub fn validate(&self) -> Result<(), BackoffError> {
        let Self { min, max, reset_after } = *self;
        if min.is_zero() {
            return Err(BackoffError::MinZero);
        }
        if min > max {
            return Err(BackoffError::MinAboveMax { min, max });
        }
        if reset_after < min {
            return Err(BackoffError::ResetBelowMin { reset_after, min });
        }
        Ok(())
    }

    /// What restart `nth` in a row, counted from 1, waits before the draw. In nanoseconds.
    fn nanos(&self, nth: u32) -> u64 {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let factor = 1_u64.checked_shl(nth.saturating_sub(1));
        let grown = factor.and_then(|factor| nanos(self.min).checked_mul(factor));
        grown.unwrap_or(u64::MAX).min(nanos(self.max))
    }
}

/// The restarts in a row of one child.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    restarts: u32,
    up_since: Option<Instant>,
}

impl Row {
    /// The child is up.
    pub(super) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The incarnation ended.
    pub(super) fn down(&mut self, now: Instant, backoff: &Backoff) {
        let up_for = self.up_since.take().map(|since| now.since(since));
        if up_for.is_some_and(|time| time >= backoff.reset_after) {
            self.restarts = 0;
        }
    }

    /// One more restart: what it waits.
    pub(super) fn next(&mut self, backoff: &Backoff, jitter: &mut Jitter) -> Duration {
        self.restarts = self.restarts.saturating_add(1);
        let whole = backoff.nanos(self.restarts);
        let half = whole / 2;
        Duration::from_nanos(half + jitter.up_to(whole - half))
    }
}

/// Numbers that look random, the same for the same seed. Not for keys.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014
/// (`SplitMix64`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..=most`, each as likely.
    fn up_to(&mut self, most: u64) -> u64 {
        let share = u128::from(self.next()) * (u128::from(most) + 1);
        u64::try_from(share >> 64).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_restart_in_a_row_waits_twice_as_long_up_to_the_longest() {
        let backoff = Backoff::new(SECOND, 10 * SECOND);
        let seconds = |nth| backoff.nanos(nth) / 1_000_000_000;
        assert_eq!([1, 2, 3, 4, 5, u32::MAX].map(seconds), [1, 2, 4, 8, 10, 10]);
        let longest = Backoff::new(Duration::from_nanos(1), Duration::MAX);
        assert_eq!([1, 64, 65].map(|nth| longest.nanos(nth)), [1, 1 << 63, u64::MAX]);
    }

    #[test]
    fn half_is_fixed_and_half_is_drawn_evenly() {
        let backoff = Backoff::new(Duration::from_nanos(7), 10 * SECOND);
        let mut jitter = Jitter::new(1);
        let mut seen = [0_u32; 8];
        for _ in 0..5_000 {
            let wait = Row::default().next(&backoff, &mut jitter).as_nanos();
            seen[usize::try_from(wait).expect("small")] += 1;
        }
        assert_eq!(seen[..3], [0, 0, 0]);
        assert!(seen[3..].iter().all(|times| (900..1_100).contains(times)), "{seen:?}");
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of the reference implementation (Vigna, splitmix64.c) for seed 0.
        let mut jitter = Jitter::new(0);
        assert_eq!(jitter.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(jitter.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_row_ends_when_an_incarnation_was_up_long_enough() {
        let backoff = Backoff { reset_after: 3 * SECOND, ..Backoff::new(SECOND, 8 * SECOND) };
        let (start, mut row) = (Instant::ZERO, Row { restarts: 5, up_since: None });
        row.down(start + 90 * SECOND, &backoff);
        assert_eq!(row.restarts, 5, "it was never up");
        row.up(start);
        row.down(start + 3 * SECOND - Duration::from_nanos(1), &backoff);
        assert_eq!(row.restarts, 5);
        row.up(start);
        row.down(start + 3 * SECOND, &backoff);
        assert_eq!(row.restarts, 0);
    }

    #[test]
    fn a_bad_backoff_is_named() {
        let good = Backoff::new(SECOND, 2 * SECOND);
        assert_eq!((good.reset_after, good.validate()), (2 * SECOND, Ok(())));
        let zero = Backoff { min: Duration::ZERO, ..good };
        assert_eq!(zero.validate(), Err(BackoffError::MinZero));
        let (min, max) = (3 * SECOND, 2 * SECOND);
        let empty = Backoff::new(min, max);
        assert_eq!(empty.validate(), Err(BackoffError::MinAboveMax { min, max }));
        let reset_after = SECOND / 2;
        let short = Backoff { reset_after, ..good };
        let error = BackoffError::ResetBelowMin { reset_after, min: SECOND };
        assert_eq!(short.validate(), Err(error));
    }
}
