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
//!   counts again;
//! - children are added, terminated, restarted and deleted on request. None of that is a restart:
//!   it costs no budget, and an added child whose first start fails is discarded;
//! - when a significant child ends by itself and is not restarted, [`AutoShutdown`] says whether
//!   the supervisor ends too.
//!
//! Beyond OTP: a [`Backoff`] and a budget per child; a child that is hung is killed like one that
//! crashed; a child that outlives its kill is stuck, and then its supervisor gives up, or abandons
//! it if it may.
//!
//! Source: OTP stdlib, `supervisor:restart/2`, `terminate_children/2`, `add_restart/3`.
//!
//! Differs: OTP's supervisor hears nothing while it starts or stops a child. This one does, and
//! what it hears has the same outcome as if it had come in the same order to OTP's, but for this:
//! a child that ends while its supervisor starts does not wait for the start to be complete.
#![deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic)]

mod backoff;
mod intensity;
mod list;
mod machine;
mod requests;
#[cfg(test)]
mod tests;
mod walk;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use backoff::{Backoff, BackoffError};
pub use intensity::{Intensity, IntensityError, RESTARTS_MAX};
pub use machine::Restarts;
pub use words::{Config, Denied, End, Input, Output, Rule, RuleError, STUCK_AFTER, Status};

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

/// Whether a supervisor ends when significant children end by themselves and are not restarted.
/// That they were terminated, or stopped with a group, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// It ends with the first of them.
    AnySignificant,
    /// It ends with the last of them.
    AllSignificant,
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
