//! How long a peer may stay silent, learnt from how regularly it was heard.
//!
//! The phi-accrual detector asks how unlikely a silence is: `phi = -log10(1 - CDF)` of the intervals
//! seen, as a normal distribution in its logistic form. *Phi over threshold* is the same as *elapsed
//! over mean + k sigma*, where k depends on the threshold alone. So the answer is one deadline, in
//! integers, which nobody has to poll, and which is the same on every machine.
//!
//! Source: Hayashibara et al., SRDS 2004; logistic form, window and first guess: Pekko,
//! `PhiAccrualFailureDetector`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Instant;

/// Limits of a [`Heartbeats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Standard deviations past the mean that are still believed, in thousandths.
    pub sigmas_permille: u32,
    /// Intervals that are remembered.
    pub window: usize,
    /// Least standard deviation: a very regular peer is not condemned for a hiccup.
    pub deviation_min: Duration,
    /// Allowed on top of the mean.
    pub pause: Duration,
    /// The interval expected before any was seen.
    pub first_interval: Duration,
}

impl HeartbeatConfig {
    /// k of phi 8: one false alarm in a hundred million beats. The root of
    /// `y (1.5976 + 0.070566 y^2) = ln(10^8 - 1)`.
    pub const PHI_8: u32 = 5_226;
    /// k of phi 3: one in a thousand.
    pub const PHI_3: u32 = 3_059;
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self {
            sigmas_permille: Self::PHI_8,
            window: 1_000,
            deviation_min: Duration::from_millis(100),
            pause: Duration::ZERO,
            first_interval: Duration::from_secs(1),
        }
    }
}

/// When one peer was heard, and until when its silence is believed.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    config: HeartbeatConfig,
    last: Option<Instant>,
    /// Nanoseconds between arrivals, oldest first, with their sum and the sum of their squares.
    intervals: VecDeque<u64>,
    sum: u128,
    squares: u128,
}

impl Heartbeats {
    /// A peer that was never heard.
    #[must_use]
    pub fn new(config: HeartbeatConfig) -> Self {
        let mut beats = Self { config, last: None, intervals: VecDeque::new(), sum: 0, squares: 0 };
        // Two samples around the guess give a mean and a deviation to start with.
        let guess = nanos(beats.config.first_interval);
        beats.push(guess - guess / 4);
        beats.push(guess.saturating_add(guess / 4));
        beats
    }

    /// The peer was heard at `now`. A clock reading before the last one counts as that one.
    ///
    /// The interval of a silence that was not believed is not learnt: a peer that was away does not
    /// teach that being away is normal.
    pub fn heard(&mut self, now: Instant) {
        if let Some(last) = self.last
            && self.is_available(now)
        {
            self.push(nanos(now.since(last)));
        }
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
    }

    /// Whether it was heard at all.
    #[must_use]
    pub fn is_monitored(&self) -> bool {
        self.last.is_some()
    }

    /// The first instant at which its silence is too long; never, if it was not heard yet.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let Some(last) = self.last else { return Instant::NEVER };
        let count = u128::try_from(self.intervals.len()).unwrap_or(1).max(1);
        let mean = self.sum / count;
        let variance = (self.squares / count).saturating_sub(mean * mean);
        let deviation = variance.isqrt().max(self.config.deviation_min.as_nanos());
        let sigmas = u128::from(self.config.sigmas_permille);
        let span = mean + self.config.pause.as_nanos() + deviation * sigmas / 1_000;
        last + Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// Whether its silence is still believed at `now`.
    #[must_use]
    pub fn is_available(&self, now: Instant) -> bool {
        now < self.deadline()
    }

    fn push(&mut self, interval: u64) {
        while self.intervals.len() >= self.config.window.max(1) {
            let Some(old) = self.intervals.pop_front() else { break };
            self.sum -= u128::from(old);
            self.squares -= square(old);
        }
        self.intervals.push_back(interval);
        self.sum += u128::from(interval);
        self.squares += square(interval);
    }
}

/// Fits, and a thousand and more of them: no interval is longer than 52 days.
fn square(interval: u64) -> u128 {
    let interval = u128::from(interval);
    interval * interval
}

/// Nanoseconds of a duration, at most 52 days, which no heartbeat lasts.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(1 << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn beats(config: HeartbeatConfig, millis: &[u64]) -> Heartbeats {
        let mut beats = Heartbeats::new(config);
        for &millis in millis {
            beats.heard(at(millis));
        }
        beats
    }

    /// Phi as it is defined, in floating point: the oracle of this test only.
    fn phi(elapsed: f64, mean: f64, deviation: f64) -> f64 {
        let y = (elapsed - mean) / deviation;
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        if elapsed > mean { -(e / (1.0 + e)).log10() } else { -(1.0 - 1.0 / (1.0 + e)).log10() }
    }

    #[test]
    fn f01_the_deadline_is_where_phi_passes_its_threshold() {
        for (elapsed, want) in
            [(0., 0.0), (500., 0.1), (1000., 0.3), (1200., 1.6), (1400., 4.7), (1600., 10.8)]
        {
            let got = phi(elapsed, 1000., 100.);
            assert!((got - want).abs() < 0.1, "the oracle itself: {elapsed} ms is {got}");
        }
        for (sigmas, threshold) in [(HeartbeatConfig::PHI_8, 8.), (HeartbeatConfig::PHI_3, 3.)] {
            let k = f64::from(sigmas) / 1000.;
            assert!((phi(k, 0., 1.) - threshold).abs() < 0.005, "k = {k}");
        }
    }

    #[test]
    fn f03_who_was_never_heard_is_available_and_not_monitored() {
        let mut fresh = Heartbeats::new(HeartbeatConfig::default());
        assert!(!fresh.is_monitored());
        assert!(fresh.is_available(at(1_000_000)));
        for millis in [0, 1_000, 2_000] {
            fresh.heard(at(millis));
        }
        assert!(fresh.is_monitored());
        assert!(fresh.is_available(at(2_100)));
    }

    #[test]
    fn f05_missed_heartbeats_mark_a_node() {
        let config =
            HeartbeatConfig { sigmas_permille: HeartbeatConfig::PHI_3, ..Default::default() };
        let beats = beats(config, &[0, 1_000, 1_100]);
        assert!(beats.is_available(at(1_200)));
        assert!(!beats.is_available(at(8_200)));
    }

    #[test]
    fn f07_a_pause_that_is_allowed_is_believed_and_a_longer_one_is_not() {
        let config = HeartbeatConfig { pause: Duration::from_secs(3), ..Default::default() };
        let seconds: Vec<u64> = (0..=20).map(|beat| beat * 1_000).collect();
        let beats = beats(config, &seconds);
        assert!(beats.is_available(at(24_000)), "a gap of 4 s");
        assert!(!beats.is_available(at(25_000)), "a gap of 5 s");
    }

    #[test]
    fn a_long_absence_is_not_learnt_and_old_intervals_are_forgotten() {
        let config = HeartbeatConfig { window: 10, ..HeartbeatConfig::default() };
        let mut beats = beats(config, &(0..20).map(|beat| beat * 100).collect::<Vec<_>>());
        // Ten intervals of exactly 100 ms: mean 100, deviation at its least, 100 ms.
        assert_eq!(beats.deadline().since(at(1_900)), Duration::from_micros(622_600));
        beats.heard(at(60_000));
        assert_eq!(beats.deadline().since(at(60_000)), Duration::from_micros(622_600));
        beats.heard(at(59_000));
        assert!(beats.deadline() > at(60_000), "a clock that steps back does no harm");
    }

    proptest! {
        #[test]
        fn the_deadline_is_after_the_last_beat_and_sums_do_not_drift(
            gaps in prop::collection::vec(any::<u64>(), 1..200),
            window in 1..20_usize,
        ) {
            let config = HeartbeatConfig { window, ..HeartbeatConfig::default() };
            let mut beats = Heartbeats::new(config);
            let mut now = Instant::ZERO;
            for gap in gaps {
                now = now + Duration::from_nanos(gap >> (gap % 64));
                beats.heard(now);
                prop_assert!(beats.deadline() > now || now == Instant::NEVER);
                prop_assert!(beats.intervals.len() <= window);
                let sum: u128 = beats.intervals.iter().map(|&i| u128::from(i)).sum();
                prop_assert_eq!(sum, beats.sum);
            }
        }
    }
}
