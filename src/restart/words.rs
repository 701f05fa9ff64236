//! What the machine is told, and what it says.

use std::time::Duration;

use super::{
    AutoShutdown, Backoff, BackoffError, Intensity, IntensityError, Restart, Shutdown, Strategy,
};
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
    /// Whether its end counts for [`AutoShutdown`].
    pub significant: bool,
    /// How long its restarts wait; not at all if nothing is said.
    pub backoff: Option<Backoff>,
    /// How many restarts of this child alone are too many, besides the supervisor's own limit.
    pub budget: Option<Intensity>,
    /// Whether it is replaced when its task outlives its kill; else its supervisor gives up.
    pub abandon_stuck: bool,
}

impl Rule {
    /// These two, and nothing else.
    #[must_use]
    pub const fn new(restart: Restart, shutdown: Shutdown) -> Self {
        Self {
            restart,
            shutdown,
            significant: false,
            backoff: None,
            budget: None,
            abandon_stuck: false,
        }
    }

    /// Whether it can be kept to by a supervisor that shuts down like `auto_shutdown`.
    ///
    /// Source: OTP stdlib, `supervisor:validSignificant/3`.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn validate(&self, auto_shutdown: AutoShutdown) -> Result<(), RuleError> {
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return Err(RuleError::SignificantNever);
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(RuleError::SignificantPermanent);
        }
        self.backoff.as_ref().map_or(Ok(()), Backoff::validate)?;
        Ok(self.budget.as_ref().map_or(Ok(()), Intensity::validate)?)
    }
}

/// Why the rule of a child is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Nobody would take note of its end.
    #[error("a significant child needs a supervisor that shuts down automatically")]
    SignificantNever,
    /// It never ends for good.
    #[error("a permanent child cannot be significant")]
    SignificantPermanent,
    /// Its backoff.
    #[error(transparent)]
    Backoff(#[from] BackoffError),
    /// Its budget.
    #[error(transparent)]
    Budget(#[from] IntensityError),
}

/// What is declared.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who is restarted with whom.
    pub strategy: Strategy,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// Whether the supervisor ends with its significant children.
    pub auto_shutdown: AutoShutdown,
    /// What the draws of [`Backoff`] come from: the same for the same seed.
    pub seed: u64,
    /// The children in the order of the list, which is the order of start.
    pub children: Vec<Rule>,
}

/// What happened. Children are named by their key: their place in [`Config::children`], and for
/// those added later the next number each; a key is not used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The supervisor is there: start the children.
    Begin,
    /// A child is added at the end of the list, to be started: OTP's `start_child`. Its key is what
    /// [`next_key`](super::Restarts::next_key) said before.
    Add(Rule),
    /// The child is to be stopped, and not restarted: OTP's `terminate_child`.
    Terminate(usize),
    /// The resting child is to be started: OTP's `restart_child`.
    Restart(usize),
    /// The resting child is to leave the list: OTP's `delete_child`.
    Delete(usize),
    /// The start that was asked for is done.
    Started(usize),
    /// The child did not want to start: OTP's `ignore`. Nothing of it runs.
    Declined(usize),
    /// The child's incarnation ended, or its start failed: its task is gone, its state dropped.
    Exited(usize, ExitReason),
    /// The child is a supervisor that was killed or gave up, and parts of its tree still live.
    Fell(usize),
    /// The child does not answer within its limit.
    Hung(usize),
    /// The supervisor is asked to stop.
    Shutdown,
    /// Time passed. May come early, late or twice.
    Tick,
}

/// What the supervisor must do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Start a new incarnation, then tell [`Input::Started`], [`Input::Declined`] or
    /// [`Input::Exited`].
    Start(usize),
    /// Ask it to stop, then tell [`Input::Exited`].
    Stop(usize),
    /// Kill it, then tell [`Input::Exited`].
    Kill(usize),
    /// The child is to be restarted, as the given count of restarts within the period.
    Restarting(usize, u32),
    /// That restart waits this long.
    BackingOff(usize, Duration),
    /// The child is down and not to be restarted; it stays in the list.
    Rest(usize),
    /// The child is down and leaves the list.
    Forget(usize),
    /// The child's task outlived its kill.
    Stuck(usize),
    /// The child's task outlived its kill, and the supervisor goes on as if it had not: say nothing
    /// more of this incarnation.
    Abandon(usize),
    /// All children have started for the first time.
    Ready,
    /// The supervisor gives up and stops its children.
    Escalate,
    /// The supervisor stops its children and ends, because this significant child ended.
    AutoShutdown(usize),
    /// The supervisor is done: exit.
    End(End),
}

/// Why a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Shutdown,
    /// Its significant children ended.
    AutoShutdown,
    /// Too many restarts, or a stuck child that has ended since.
    GaveUp,
    /// This child did not start when the supervisor did.
    StartFailed(usize),
    /// Children are stuck.
    Stuck,
}

/// Where a listed child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Down, to be started when its turn comes.
    Due,
    /// Down, to be started after this instant, when its turn comes.
    BackingOff(Instant),
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
    /// Down and not to be restarted.
    Resting,
}

impl Status {
    /// Whether it may still run.
    pub(super) const fn live(self) -> bool {
        match self {
            Self::Starting | Self::Up | Self::Stopping(_) | Self::Killed { .. } => true,
            // A stuck child is alive too, but nobody waits for it any longer.
            Self::Due | Self::BackingOff(_) | Self::Stuck | Self::Resting => false,
        }
    }
}

/// Why a request about a child is refused. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No such child is listed: OTP's `not_found`.
    #[error("there is no such child")]
    NotFound,
    /// It has not ended: OTP's `running`.
    #[error("the child is running")]
    Running,
    /// It is being started, or waits for that: OTP's `restarting`.
    #[error("the child is being restarted")]
    Restarting,
    /// The supervisor has not begun, or is ending, or has ended: OTP's `noproc`.
    #[error("the supervisor is not there, or ends")]
    Ending,
}
