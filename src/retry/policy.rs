//! How often, how soon and how long a call is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most attempts that a policy can ask for.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// How often, how soon and how long a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Attempts in all, the first included; 1 tries nothing again. At most [`ATTEMPTS_MAX`].
    pub attempts_max: u32,
    /// The longest pause after the first attempt. It doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause there is.
    pub backoff_max: Duration,
    /// When the call ends at the latest, counted from its beginning; an attempt that is in hand
    /// then is given up.
    pub deadline: Duration,
    /// Also tries again what may have been executed. Only for calls that do no harm when they are
    /// done twice.
    pub repeat_unknown: bool,
}

/// For calls inside a data centre: 5 attempts, pauses from 20 ms to 1 s, 5 s in all.
impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            deadline: Duration::from_secs(5),
            repeat_unknown: false,
        }
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There is no call without an attempt.
    #[error("attempts_max must not be zero")]
    NoAttempts,
    /// So many are a loop.
    #[error("attempts_max is {0}, more than {ATTEMPTS_MAX}")]
    TooManyAttempts(u32),
    /// Attempts would follow each other without a pause.
    #[error("backoff_min must not be zero")]
    NoPause,
    /// The pause cannot shrink.
    #[error("backoff_min is {min:?}, more than backoff_max, {max:?}")]
    PausesCrossed {
        /// `backoff_min`.
        min: Duration,
        /// `backoff_max`.
        max: Duration,
    },
    /// No attempt could be made.
    #[error("deadline must not be zero")]
    NoTime,
}

impl Policy {
    /// Whether it can be kept to.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        let Self { attempts_max, backoff_min: min, backoff_max: max, deadline, .. } = *self;
        if attempts_max == 0 {
            return Err(PolicyError::NoAttempts);
        }
        if attempts_max > ATTEMPTS_MAX {
            return Err(PolicyError::TooManyAttempts(attempts_max));
        }
        if min.is_zero() {
            return Err(PolicyError::NoPause);
        }
        if min > max {
            return Err(PolicyError::PausesCrossed { min, max });
        }
        if deadline.is_zero() {
            return Err(PolicyError::NoTime);
        }
        Ok(())
    }

    /// The longest pause after `attempts` of them: `backoff_min * 2^(attempts - 1)`, at most
    /// `backoff_max`.
    pub(super) fn ceiling(&self, attempts: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.backoff_min.saturating_mul(doubled).min(self.backoff_max)
    }
}
