//! Which children of a supervisor stop and start, and when it gives up. PURE.
//!
//! [`Restarts`] is the decision of OTP's `supervisor` as a machine: it takes what happened to a
//! child and says what the supervisor must do next, in order. No clock, no actor, no task.
//!
//! The rules, in OTP's words:
//! - a [`Permanent`](Restart::Permanent) child is always restarted, a
//!   [`Transient`](Restart::Transient) one only after an abnormal exit, a
//!   [`Temporary`](Restart::Temporary) one never;
//! - the [`Strategy`] says who goes with it. A group stops right to left and starts left to right,
//!   each child when the one before it is done;
//! - more than [`Intensity::restarts`] restarts within [`Intensity::period`] and the supervisor
//!   stops all its children, right to left, and gives up. A group counts once; a start that fails
//!   counts again.
//!
//! Source: OTP stdlib, `supervisor:restart/2`, `terminate_children/2`, `add_restart/3`.
#![deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic)]

mod intensity;
mod machine;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use intensity::{Intensity, IntensityError, RESTARTS_MAX};
pub use machine::{Config, End, Input, Output, Restarts, Rule, STUCK_AFTER, Status};

/// Which siblings are restarted with a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// All.
    OneForAll,
    /// Those after it in the list.
    RestForOne,
}

/// When a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// After an abnormal exit: anything but `Normal` and `Shutdown`.
    Transient,
    /// Never, not even with its group; it leaves the list when it ends.
    Temporary,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shutdown {
    /// Asked to stop, and killed if it has not ended within this time.
    Within(Duration),
    /// Killed at once: OTP's `brutal_kill`.
    Kill,
    /// Asked to stop, and waited for as long as it takes: OTP's `infinity`.
    Patient,
}

impl Shutdown {
    /// What a worker gets when nothing is said, as in OTP: 5 s.
    pub const WORKER: Self = Self::Within(Duration::from_secs(5));
    /// What a supervisor gets when nothing is said, as in OTP: time to stop its own children.
    pub const SUPERVISOR: Self = Self::Patient;
}

impl From<Duration> for Shutdown {
    fn from(time: Duration) -> Self {
        Self::Within(time)
    }
}
