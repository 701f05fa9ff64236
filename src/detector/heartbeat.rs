//! How long a peer may stay silent, learnt from how regularly it was heard.
//!
//! The phi-accrual detector asks how unlikely a silence is: `phi = -log10(1 - CDF)` of the
//! intervals seen, as a normal distribution in its logistic form. *Phi over threshold* is the same
//! as *elapsed over mean + k sigma*, where k depends on the threshold alone. So the answer is one
//! deadline, in integers, which nobody has to poll, and which is the same on every machine. Phi
//! itself is there to be shown.
//!
//! Source: Hayashibara et al., SRDS 2004; logistic form, window and first guess: Pekko,
//! `PhiAccrualFailureDetector`.

#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use std::collections::VecDeque;
use std::time::Duration;

use super::phi::phi;
use super::sigmas::sigmas_permille;
use crate::base::Instant;

/// Limits of a [`Heartbeats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Standard deviations past the mean that are still believed, in thousandths: k of a phi
    /// threshold, from [`Self::sigmas_of`].
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
    /// k of phi 8, 5.226: one false alarm in a hundred million beats.
    pub const PHI_8: u32 = Self::sigmas_of(8_000);
    /// k of phi 3, 3.059: one in a thousand.
    pub const PHI_3: u32 = Self::sigmas_of(3_000);

    /// k of a phi threshold, both in thousandths: the root, rounded up, of
    /// `k (1.5976 + 0.070566 k^2) = ln(10^phi - 1)`. It is 0 up to 0.301, which phi is at the mean.
    #[must_use]
    pub const fn sigmas_of(phi_permille: u32) -> u32 {
        sigmas_permille(phi_permille)
    }
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

    /// How many intervals are remembered, the first guess's two included.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.intervals.len()
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
        let (mean, deviation) = self.expected();
        let sigmas = u128::from(self.config.sigmas_permille);
        last + duration(mean + deviation * sigmas / 1_000)
    }

    /// Phi at `now`, for display: it decides nothing. 0 if the peer was not heard yet; where
    /// [`Self::is_available`] ends it has reached its threshold.
    #[must_use]
    pub fn phi(&self, now: Instant) -> f64 {
        let Some(last) = self.last else { return 0. };
        let (mean, deviation) = self.expected();
        phi(now.since(last), duration(mean), duration(deviation.max(1)))
    }

    /// Mean, with the pause that is allowed, and standard deviation, in nanoseconds.
    fn expected(&self) -> (u128, u128) {
        let count = u128::try_from(self.intervals.len()).unwrap_or(1).max(1);
        let mean = self.sum / count;
        let variance = (self.squares / count).saturating_sub(mean * mean);
        let deviation = variance.isqrt().max(self.config.deviation_min.as_nanos());
        (mean + self.config.pause.as_nanos(), deviation)
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

/// A duration of nanoseconds, saturating at 584 years.
fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Nanoseconds of a duration, at most 52 days, which no heartbeat lasts.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(1 << 52)
}

#[cfg(test)]
mod tests;
