//! What happens in a supervision tree, as events.
//!
//! Each event says where ([`Path`]), to which incarnation, what, and *why*: [`Event::cause`] is the
//! event that led to it, so that a chain can be followed back to the first crash. Events go to
//! bounded subscriptions, where what does not fit is counted, to `tracing` under the target
//! `evertree`, and into the metrics below. An event that nobody follows is not built: it costs a
//! number, a look at `tracing`'s filter and an addition to a counter, and no memory.
//!
//! # Metrics
//! They go to the recorder of the crate `metrics` that is installed, for the process or for the
//! thread, when a tree meets a supervisor's path for the first time: install it before the tree
//! starts. None is installed by this crate. The names are fixed.
//!
//! | name | type | unit | labels | one for each [`EventKind`] |
//! |---|---|---|---|---|
//! | `evertree_child_starts_total` | counter | incarnations | `supervisor` | `Started` |
//! | `evertree_child_exits_total` | counter | incarnations | `supervisor`, `reason` | `Exited` |
//! | `evertree_declines_total` | counter | incarnations | `supervisor` | `Declined` |
//! | `evertree_restarts_total` | counter | restarts | `supervisor` | `Restarting` |
//! | `evertree_backoff_seconds` | histogram | seconds | `supervisor` | `BackingOff` |
//! | `evertree_kills_total` | counter | incarnations | `supervisor` | `Killing` |
//! | `evertree_hung_total` | counter | incarnations | `supervisor` | `Hung` |
//! | `evertree_stuck_total` | counter | incarnations | `supervisor` | `Stuck` |
//! | `evertree_abandoned_total` | counter | incarnations | `supervisor` | `Abandoned` |
//! | `evertree_rollbacks_total` | counter | rollbacks | `supervisor` | `RolledBack` |
//! | `evertree_dead_letters_total` | counter | messages | `supervisor` | message of `DeadLetters` |
//! | `evertree_escalations_total` | counter | supervisors | `supervisor` | `Escalated` |
//! | `evertree_auto_shutdowns_total` | counter | supervisors | `supervisor` | `AutoShutdown` |
//!
//! `supervisor` is the path of the supervisor, never that of the child, of which there may be
//! many; what happens to a tree's root counts under its own path. A tree names the first
//! [`SUPERVISORS_MAX`] of them and counts the rest under [`OTHER_SUPERVISORS`]. `reason` is one of
//! `normal`, `shutdown`, `killed`, `crashed`, `start_failed`, `hung`, `gave_up`.
#![deny(clippy::wildcard_enum_match_arm)]

mod hub;
mod kinds;
mod meters;
mod path;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Instant;

pub(crate) use hub::Happened;
pub use hub::{Events, Subscription};
pub use kinds::{EventKind, Hang};
pub use meters::{OTHER_SUPERVISORS, SUPERVISORS_MAX};
pub use path::Path;

/// The number of an event, unique and growing within one [`Events`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// The event that led to it; none for what came from outside, a crash or a call.
    pub cause: Option<EventId>,
    /// When, on the tree's clock.
    pub at: Instant,
    /// To whom.
    pub path: Path,
    /// To which incarnation of it, counted from 1; 0 if it had none yet.
    pub incarnation: u64,
    /// What.
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{} {}", self.id, self.path, self.incarnation, self.kind)?;
        if let Some(cause) = self.cause {
            write!(f, " (by {cause})")?;
        }
        Ok(())
    }
}
