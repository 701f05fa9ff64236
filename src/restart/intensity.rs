//! How many restarts are too many.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Instant;

/// The largest number of restarts within a period that can be asked for; each costs 8 bytes.
pub const RESTARTS_MAX: u32 = 1_000_000;

/// At most `restarts` within `period` are survived; one more and the supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intensity {
    /// Restarts survived; 0 gives up at the first.
    pub restarts: u32,
    /// The sliding window; both its ends are part of it.
    pub period: Duration,
}

/// 3 within 5 s, as in Elixir. Differs: OTP's own default is 1 within 5 s.
impl Default for Intensity {
    fn default() -> Self {
        Self { restarts: 3, period: Duration::from_secs(5) }
    }
}

/// Why an intensity is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntensityError {
    /// In a window of no length nothing is ever too much.
    #[error("the period must not be zero")]
    PeriodZero,
    /// The window would need too much memory.
    #[error("{0} restarts are more than {RESTARTS_MAX}")]
    TooMany(u32),
}

impl Intensity {
    /// Whether it can be kept to.
    ///
    /// # Errors
    /// [`IntensityError`].
    pub fn validate(&self) -> Result<(), IntensityError> {
        if self.period.is_zero() {
            return Err(IntensityError::PeriodZero);
        }
        if self.restarts > RESTARTS_MAX {
            return Err(IntensityError::TooMany(self.restarts));
        }
        Ok(())
    }
}

/// The restarts of the last period.
#[derive(Debug, Clone, Default)]
pub(super) struct Window(VecDeque<Instant>);

impl Window {
    /// Counts a restart at `now`: how many there are within the period with it, or `None` if that
    /// is one too many.
    ///
    /// Source: OTP stdlib, `supervisor:add_restart/3` and `in_period/3`: a restart exactly one
    /// period ago still counts.
    pub(super) fn admit(&mut self, now: Instant, intensity: Intensity) -> Option<u32> {
        while self.0.front().is_some_and(|then| now.since(*then) > intensity.period) {
            self.0.pop_front();
        }
        let count = u32::try_from(self.0.len()).ok()?.checked_add(1)?;
        if count > intensity.restarts {
            return None;
        }
        self.0.push_back(now);
        Some(count)
    }

    /// Restarts that are left at `now`.
    pub(super) fn left(&self, now: Instant, intensity: Intensity) -> u32 {
        let old = self.0.partition_point(|then| now.since(*then) > intensity.period);
        let recent = self.0.len() - old;
        intensity.restarts.saturating_sub(u32::try_from(recent).unwrap_or(u32::MAX))
    }

    /// Entries kept.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
