//! What can happen.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::ExitReason;

/// How it was found out that a child hangs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Hang {
    /// The handling of one message took longer than the limit.
    Handler {
        /// The limit.
        limit: Duration,
    },
    /// The probe was not answered in time.
    Probe {
        /// The time it had.
        deadline: Duration,
    },
    /// The probe was dropped without an answer.
    ProbeDropped,
    /// The probe could not be made.
    ProbePanicked {
        /// What the panic said.
        why: String,
    },
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler { limit } => write!(f, "a message in hand for more than {limit:?}"),
            Self::Probe { deadline } => write!(f, "no answer to the probe within {deadline:?}"),
            Self::ProbeDropped => f.write_str("the probe was dropped without an answer"),
            Self::ProbePanicked { why } => write!(f, "the probe could not be made: {why}"),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// The incarnation has started; of a supervisor: all its children have.
    Started,
    /// The incarnation has ended: its task is gone and its state dropped.
    Exited(ExitReason),
    /// The incarnation's start function chose not to start. The child is at rest.
    Declined,
    /// The supervisor decided to restart the child.
    Restarting {
        /// Restarts of the supervisor within its period, this one included.
        within_period: u32,
    },
    /// The restart waits.
    BackingOff {
        /// For how long.
        delay: Duration,
    },
    /// The incarnation was asked to stop.
    Stopping,
    /// The incarnation is killed: at once, or because it did not stop in time, or because it hangs.
    Killing,
    /// The incarnation does not get on; it is killed for it.
    Hung {
        /// How that was found out.
        why: Hang,
    },
    /// The incarnation's task outlived its kill; no replacement is started.
    Stuck,
    /// The incarnation's task outlived its kill and is left to itself, as its spec says: a
    /// replacement may run beside it.
    Abandoned,
    /// The checkpoint of the child gave up a generation that kept crashing it.
    RolledBack {
        /// The generation given up.
        from: u64,
        /// The one that the child restores next; none: it begins anew.
        to: Option<u64>,
    },
    /// Messages that nobody will handle: their incarnation ended with them in its mailbox, and
    /// nobody waits for an answer.
    DeadLetters {
        /// How many since the last such event.
        count: u64,
    },
    /// The supervisor gives up: it stops its children and exits, and its own supervisor decides.
    Escalated,
    /// The supervisor ends because a significant child has, whose exit is the cause.
    AutoShutdown,
    /// The supervisor begins to stop its children, last first, in order to end.
    ShuttingDown,
    /// The child was added to a running supervisor.
    Added,
    /// The child was taken off the list of a running supervisor.
    Removed,
}

impl EventKind {
    /// What happened in one word, without the circumstances.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Exited(_) => "exited",
            Self::Declined => "declined",
            Self::Restarting { .. } => "restarting",
            Self::BackingOff { .. } => "backing_off",
            Self::Stopping => "stopping",
            Self::Killing => "killing",
            Self::Hung { .. } => "hung",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
            Self::RolledBack { .. } => "rolled_back",
            Self::DeadLetters { .. } => "dead_letters",
            Self::Escalated => "escalated",
            Self::AutoShutdown => "auto_shutdown",
            Self::ShuttingDown => "shutting_down",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }

    /// Whether it happens to a supervisor as such, and not to a child of one.
    pub(super) const fn is_of_supervisor(&self) -> bool {
        match self {
            Self::Escalated | Self::AutoShutdown | Self::ShuttingDown => true,
            Self::Started
            | Self::Exited(_)
            | Self::Declined
            | Self::Restarting { .. }
            | Self::BackingOff { .. }
            | Self::Stopping
            | Self::Killing
            | Self::Hung { .. }
            | Self::Stuck
            | Self::Abandoned
            | Self::RolledBack { .. }
            | Self::DeadLetters { .. }
            | Self::Added
            | Self::Removed => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Exited(reason) => write!(f, "exited: {reason}"),
            Self::Declined => f.write_str("declined to start"),
            Self::Restarting { within_period } => {
                write!(f, "restarting, {within_period} within the period")
            }
            Self::BackingOff { delay } => write!(f, "backing off for {delay:?}"),
            Self::Stopping => f.write_str("stopping"),
            Self::Killing => f.write_str("killing"),
            Self::Hung { why } => write!(f, "hung: {why}"),
            Self::Stuck => f.write_str("stuck"),
            Self::Abandoned => f.write_str("abandoned"),
            Self::RolledBack { from, to: Some(to) } => {
                write!(f, "rolled back from generation {from} to {to}")
            }
            Self::RolledBack { from, to: None } => {
                write!(f, "rolled back from generation {from} to the initial state")
            }
            Self::DeadLetters { count } => write!(f, "dead letters: {count}"),
            Self::Escalated => f.write_str("escalated"),
            Self::AutoShutdown => f.write_str("shutting down with a significant child"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
        }
    }
}
