//! How fast a bulk connection writes, so that it leaves the network to others. PURE.
//!
//! Source: the generic cell rate algorithm (ITU-T I.371), which needs one instant and no counters.

use std::time::Duration;

use crate::base::Instant;

/// How far it may run ahead of its rate.
const AHEAD: Duration = Duration::from_millis(10);
/// Bytes written at a time, so that one write does not run far ahead.
pub(super) const WRITE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// When all that was written is paid for.
    paid: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid: Instant::ZERO }
    }

    /// When the next write is allowed, if that is after `now`.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let next = self.paid - AHEAD;
        (next > now).then_some(next)
    }

    pub(super) fn wrote(&mut self, now: Instant, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_s);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.paid = self.paid.max(now) + Duration::from_nanos(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_it_writes_at_its_rate_and_a_pause_is_no_credit() {
        let mut pace = Pace::new(10_000_000);
        let mut now = Instant::ZERO + Duration::from_secs(100);
        let began = now;
        for _ in 0..1_000 {
            now = pace.next(now).unwrap_or(now);
            pace.wrote(now, 10_000);
        }
        let took = now.since(began);
        assert!(took > Duration::from_millis(980) && took <= Duration::from_secs(1), "{took:?}");
        now = now + Duration::from_mins(10);
        pace.wrote(now, 200_000);
        assert_eq!(pace.next(now), Some(now + Duration::from_millis(10)));
    }
}
