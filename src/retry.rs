//! Whether and when a failed call is tried again. PURE.
//!
//! A retry helps one caller and harms all of them when the callee fails because it has too much to
//! do. So a call is tried again only
//! - if its error says that it was *not executed* ([`NotExecuted`]), unless told otherwise
//!   ([`Policy::repeat_unknown`]): trying again cannot do a thing twice;
//! - if another attempt can end otherwise;
//! - at most [`Policy::attempts_max`] times in all, and within [`Policy::deadline`] from the first;
//! - after a pause that grows with the number of attempts and is drawn anew for each, so that those
//!   who failed together do not come back together;
//! - if the [`Budget`], which many callers share, has a retry left: however many fail, retries add
//!   a fixed share to the load.
//!
//! [`Attempts`] decides for one call and [`Budget`] for all of them. Time and chance are arguments;
//! [`Retry`](crate::supervisor::Retry) carries it out.
//!
//! Source: full jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
//! Budget: Finagle's `RetryBudget`, and Google's "Site Reliability Engineering", chapter 21.
#![deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic)]

mod budget;
mod policy;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Instant;

pub use budget::{Budget, Shares, SharesError, TOKENS_MAX};
pub use policy::{ATTEMPTS_MAX, Policy, PolicyError};

/// An error that says whether what failed may have been done all the same.
pub trait NotExecuted {
    /// Whether what was asked for certainly was not done and will not be, so that asking again
    /// cannot do it twice.
    fn not_executed(&self) -> bool;

    /// Whether every further attempt would end the same way.
    fn is_final(&self) -> bool {
        false
    }
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// All attempts are made.
    #[error("no attempts left")]
    Attempts,
    /// The time is over.
    #[error("no time left")]
    Deadline,
    /// What was asked for may have been done.
    #[error("it may have been executed")]
    Unknown,
    /// Another attempt would end the same way.
    #[error("another attempt would fail, too")]
    Final,
    /// The budget has no retry left: too many calls fail.
    #[error("no retries left in the budget")]
    Budget,
}

/// What a failed attempt was like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    /// [`NotExecuted::not_executed`].
    pub not_executed: bool,
    /// [`NotExecuted::is_final`].
    pub is_final: bool,
}

impl Failure {
    /// What `error` says.
    pub fn of(error: &impl NotExecuted) -> Self {
        Self { not_executed: error.not_executed(), is_final: error.is_final() }
    }
}

/// The attempts of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    policy: Policy,
    deadline: Instant,
    made: u32,
    certain: bool,
}

impl Attempts {
    /// A call that begins at `now`, with its first attempt in hand.
    #[must_use]
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self { policy, deadline: now + policy.deadline, made: 1, certain: true }
    }

    /// Attempts begun, the one in hand included; from 1.
    #[must_use]
    pub const fn made(&self) -> u32 {
        self.made
    }

    /// When the call ends at the latest.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether no attempt that has ended was executed.
    #[must_use]
    pub const fn not_executed(&self) -> bool {
        self.certain
    }

    /// Takes the end of the attempt in hand at `now`. `draw` is 64 uniformly random bits. Says
    /// when the next attempt begins, before the deadline; `budget` is asked only if nothing else
    /// stands against it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn failed(
        &mut self,
        now: Instant,
        failure: Failure,
        draw: u64,
        budget: impl FnOnce() -> bool,
    ) -> Result<Instant, GaveUp> {
        self.certain &= failure.not_executed;
        if failure.is_final {
            return Err(GaveUp::Final);
        }
        if !failure.not_executed && !self.policy.repeat_unknown {
            return Err(GaveUp::Unknown);
        }
        if self.made >= self.policy.attempts_max {
            return Err(GaveUp::Attempts);
        }
        let left = self.deadline.since(now);
        if left.is_zero() {
            return Err(GaveUp::Deadline);
        }
        if !budget() {
            return Err(GaveUp::Budget);
        }
        // Differs: AWS' jitter knows no deadline. Here a pause never ends past it.
        let next = now + below(self.policy.ceiling(self.made).min(left), draw);
        debug_assert!(next < self.deadline, "no time for the attempt");
        self.made += 1;
        Ok(next)
    }
}

/// The share `draw / 2^64` of `span`: from zero, and less than `span`, which is not zero.
fn below(span: Duration, draw: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let share = (u128::from(draw) * u128::from(nanos)) >> 64;
    Duration::from_nanos(u64::try_from(share).unwrap_or(nanos))
}
