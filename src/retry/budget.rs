//! How many retries all callers together may make.

use serde::{Deserialize, Serialize};

use crate::base::Instant;

/// Most retries that can be saved up, and most in a second.
pub const TOKENS_MAX: u32 = 1_000_000;

/// Parts of one retry in which the account is kept. A rate per second is then one part per
/// nanosecond, and nothing is rounded.
const PARTS: u64 = 1_000_000_000;

/// How the right to retry is earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shares {
    /// Retries earned by 1,000 successful calls; at most 1,000.
    pub success_permille: u32,
    /// Retries earned in each second, so that callers who seldom call may retry, too; at most
    /// [`TOKENS_MAX`].
    pub second_min: u32,
    /// Retries that can be saved up, and that there are at first; 1 to [`TOKENS_MAX`].
    pub saved_max: u32,
}

/// As Finagle's: a fifth of the successes, and 10 each second. Differs: 100 are saved at most,
/// where Finagle keeps each for 10 s.
impl Default for Shares {
    fn default() -> Self {
        Self { success_permille: 200, second_min: 10, saved_max: 100 }
    }
}

/// Why shares are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharesError {
    /// More retries than successes would multiply the load.
    #[error("success_permille is {0}, more than 1000")]
    MoreThanSuccesses(u32),
    /// The account is not that large.
    #[error("second_min is {0}, more than {TOKENS_MAX}")]
    TooFast(u32),
    /// Nothing could be saved, so nothing could be spent.
    #[error("saved_max must not be zero")]
    NothingSaved,
    /// The account is not that large.
    #[error("saved_max is {0}, more than {TOKENS_MAX}")]
    TooMuchSaved(u32),
}

impl Shares {
    /// Whether they can be kept to.
    ///
    /// # Errors
    /// [`SharesError`].
    pub fn validate(&self) -> Result<(), SharesError> {
        let Self { success_permille, second_min, saved_max } = *self;
        if success_permille > 1_000 {
            return Err(SharesError::MoreThanSuccesses(success_permille));
        }
        if second_min > TOKENS_MAX {
            return Err(SharesError::TooFast(second_min));
        }
        if saved_max == 0 {
            return Err(SharesError::NothingSaved);
        }
        if saved_max > TOKENS_MAX {
            return Err(SharesError::TooMuchSaved(saved_max));
        }
        Ok(())
    }
}

/// A token bucket: successes and time fill it, a retry takes one token out.
///
/// In any span of time, `retries <= saved_max + successes * success_permille / 1000 + seconds *
/// second_min`. When every call fails, `offered` calls a second therefore become at most `offered +
/// second_min`, but for `saved_max` retries once.
///
/// Source: Finagle, `com.twitter.finagle.service.RetryBudget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    shares: Shares,
    parts: u64,
    at: Instant,
}

impl Budget {
    /// A full budget at `now`.
    #[must_use]
    pub fn new(shares: Shares, now: Instant) -> Self {
        let parts = u64::from(shares.saved_max) * PARTS;
        Self { shares, parts, at: now }
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        self.earn(u64::from(self.shares.success_permille) * (PARTS / 1_000));
    }

    /// Takes one retry out at `now`. False if there is none.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        self.pass(now);
        match self.parts.checked_sub(PARTS) {
            Some(rest) => {
                self.parts = rest;
                true
            }
            None => false,
        }
    }

    /// Whole retries that are left at `now`.
    #[must_use]
    pub fn left(&self, now: Instant) -> u32 {
        let mut then = self.clone();
        then.pass(now);
        u32::try_from(then.parts / PARTS).unwrap_or(u32::MAX)
    }

    /// Lets time pass. A clock that falls back earns nothing twice.
    fn pass(&mut self, now: Instant) {
        let nanos = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.at = self.at.max(now);
        self.earn(nanos.saturating_mul(u64::from(self.shares.second_min)));
    }

    fn earn(&mut self, parts: u64) {
        let full = u64::from(self.shares.saved_max) * PARTS;
        self.parts = self.parts.saturating_add(parts).min(full);
    }
}
