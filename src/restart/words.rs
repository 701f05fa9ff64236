//! What the machine is told, and what it says.

use std::time::Duration;

use super::{Intensity, Restart, Shutdown, Strategy};
use crate::base::{ExitReason, Instant};

/// A child whose task is alive this long after it was killed is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What the machine needs to know of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
}

/// What is declared.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who is restarted with whom.
    pub strategy: Strategy,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// The children in the order of the list, which is the order of start.
    pub children: Vec<Rule>,
}

/// What happened. Children are named by their place in [`Config::children`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The supervisor is there: start the children.
    Begin,
    /// The start that was asked for is done.
    Started(usize),
    /// The child's incarnation ended, or its start failed: its task is gone, its state dropped.
    Exited(usize, ExitReason),
    /// The child is a supervisor that was killed or gave up, and parts of its tree still live.
    Fell(usize),
    /// The supervisor is asked to stop.
    Shutdown,
    /// Time passed. May come early, late or twice.
    Tick,
}

/// What the supervisor must do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Start a new incarnation, then tell [`Input::Started`] or [`Input::Exited`].
    Start(usize),
    /// Ask it to stop, then tell [`Input::Exited`].
    Stop(usize),
    /// Kill it, then tell [`Input::Exited`].
    Kill(usize),
    /// The child is to be restarted, as the given count of restarts within the period.
    Restarting(usize, u32),
    /// The child ended and is not restarted; it stays in the list.
    Rest(usize),
    /// The child ended and leaves the list.
    Forget(usize),
    /// The child's task outlived its kill.
    Stuck(usize),
    /// All children have started for the first time.
    Ready,
    /// The supervisor gives up and stops its children.
    Escalate,
    /// The supervisor is done: exit.
    End(End),
}

/// Why a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Shutdown,
    /// Too many restarts, or a stuck child that has ended since.
    GaveUp,
    /// This child did not start when the supervisor did.
    StartFailed(usize),
    /// Children are stuck.
    Stuck,
}

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Down, to be started when its turn comes.
    Due,
    /// Asked to start.
    Starting,
    /// Started.
    Up,
    /// Asked to stop; killed at this instant.
    Stopping(Instant),
    /// Killed; stuck at the instant `stuck_at`.
    Killed {
        /// When it is given up.
        stuck_at: Instant,
        /// Whether the supervisor wanted it to end.
        asked: bool,
    },
    /// Killed and still alive.
    Stuck,
    /// Ended and not restarted; still listed.
    Resting,
    /// Ended and no longer listed.
    Forgotten,
}

impl Status {
    /// Whether it may still run.
    pub(super) const fn live(self) -> bool {
        match self {
            Self::Starting | Self::Up | Self::Stopping(_) | Self::Killed { .. } => true,
            // A stuck child is alive too, but nobody waits for it any longer.
            Self::Due | Self::Stuck | Self::Resting | Self::Forgotten => false,
        }
    }

    /// When something must be done about it.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Stopping(at) | Self::Killed { stuck_at: at, .. } => {
                (at != Instant::NEVER).then_some(at)
            }
            Self::Due
            | Self::Starting
            | Self::Up
            | Self::Stuck
            | Self::Resting
            | Self::Forgotten => None,
        }
    }
}
