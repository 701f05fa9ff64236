//! A node's load: turns per second, over the last second.

use std::time::Duration;

use crate::base::Instant;

/// Nanoseconds of a second.
const SECOND: u128 = Duration::from_secs(1).as_nanos();

/// The rate of a count that only grows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    at: Instant,
    count: u64,
}

impl Rate {
    /// From `count` at `now` on.
    pub(super) fn new(now: Instant, count: u64) -> Self {
        Self { at: now, count }
    }

    /// Per second since it was asked last, rounded; the span counts from now again. 0 if no time
    /// has passed.
    pub(super) fn next(&mut self, now: Instant, count: u64) -> u32 {
        let (span, more) = (now.since(self.at).as_nanos(), count.wrapping_sub(self.count));
        *self = Self::new(now, count);
        let per_second = (u128::from(more) * SECOND + span / 2).checked_div(span).unwrap_or(0);
        u32::try_from(per_second).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_span_since_the_last_question() {
        let start = Instant::from_nanos(5);
        let mut rate = Rate::new(start, 1_000);
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(rate.next(after(1_000), 1_500), 500);
        assert_eq!(rate.next(after(3_000), 1_503), 2, "1.5 a second, rounded");
        assert_eq!(rate.next(after(3_000), 9_999), 0, "no time has passed");
        assert_eq!(rate.next(after(3_001), u64::MAX), u32::MAX);
    }
}
