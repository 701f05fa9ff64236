//! Why a message did not arrive.

use std::fmt;

/// Why a message was not delivered, or a call not answered. Each says whether the child may have
/// seen the message, and what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// Not executed: the tree of this child was not started. Next: bind the ref and start it.
    #[error("not executed: the child was never started")]
    Unbound,
    /// Not executed: the child is down and about to be started. Next: send it again a little later,
    /// or let the child [`hold`](crate::supervisor::Worker::hold) messages meanwhile.
    #[error("not executed: the child is restarting")]
    Restarting,
    /// Not executed: as many messages wait for the child as may. Next: send less, or send it again
    /// a little later.
    #[error("not executed: too many messages wait for the child")]
    Overloaded,
    /// Not executed: the child has ended and is not started again. Next: give up, or have its
    /// supervisor restart it.
    #[error("not executed: the child has stopped")]
    Stopped,
    /// Unknown: the child ended, or dropped the question, before it answered. Next: ask again only
    /// if to do it twice does no harm; else look first what was done.
    #[error("unknown: the child ended before it answered, or dropped the question")]
    Lost,
    /// Unknown: no answer came in time, and the message may still be worked off. Next: as for
    /// [`Lost`](Self::Lost).
    #[error("unknown: no answer in time")]
    TimedOut,
}

impl RefError {
    /// Whether the child certainly did not see the message and never will.
    #[must_use]
    pub const fn not_executed(self) -> bool {
        match self {
            Self::Unbound | Self::Restarting | Self::Overloaded | Self::Stopped => true,
            Self::Lost | Self::TimedOut => false,
        }
    }

    /// Whether the same message may be sent again and may then arrive: it was not executed, and
    /// what stands against it passes by itself.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Restarting | Self::Overloaded => true,
            Self::Unbound | Self::Stopped | Self::Lost | Self::TimedOut => false,
        }
    }
}

/// A message that was not delivered, and why.
pub struct Undelivered<M> {
    /// Why.
    pub why: RefError,
    /// The message.
    pub message: M,
}

impl<M> fmt::Debug for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<M> std::error::Error for Undelivered<M> {}

impl<M> From<Undelivered<M>> for RefError {
    fn from(undelivered: Undelivered<M>) -> Self {
        undelivered.why
    }
}
