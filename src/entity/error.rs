//! Why an entity did not answer: always one of two things, *not executed* or *unknown*.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::ShardId;
use crate::retry;

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AskError {
    /// The message was not handled and never will be. Next: it is safe to ask again.
    #[error("not executed: {0}")]
    NotExecuted(NotExecuted),
    /// The message may have been handled, in whole, in part, or not at all. Next: repeat it only
    /// if handling it twice does no harm.
    #[error("unknown: {0}")]
    Unknown(Unknown),
}

impl AskError {
    /// Whether the message is known not to have been handled.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotExecuted(_))
    }
}

impl retry::NotExecuted for AskError {
    fn not_executed(&self) -> bool {
        self.is_retryable()
    }

    fn is_final(&self) -> bool {
        match self {
            Self::NotExecuted(why) => why.is_final(),
            Self::Unknown(_) => false,
        }
    }
}

impl From<NotExecuted> for AskError {
    fn from(why: NotExecuted) -> Self {
        Self::NotExecuted(why)
    }
}

impl From<Unknown> for AskError {
    fn from(why: Unknown) -> Self {
        Self::Unknown(why)
    }
}

/// Why a message was not handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum NotExecuted {
    /// As many messages wait for the entity as its lane holds. Next: slow down.
    #[error("overloaded: {lane_messages_max} messages wait for {entity}")]
    Overloaded {
        /// `kind/id`.
        entity: String,
        /// Length of its lane.
        lane_messages_max: usize,
    },
    /// Nobody owns the shard: its owner failed and no other is named yet, or there is no cluster.
    #[error("nobody owns {0}")]
    NoOwner(ShardId),
    /// The node that should own the shard says that it does not, and no newer view told better.
    #[error("the owner of {0} is changing")]
    NotOwner(ShardId),
    /// The deadline passed before the entity took the message.
    #[error("the deadline passed before the message was taken")]
    Deadline,
    /// The owner does not host this kind.
    #[error("the owner does not host the kind {0}")]
    NotHosted(String),
    /// There was no way to the owner.
    #[error("the owner cannot be reached: {0}")]
    Unreachable(String),
    /// The shard's copies, or the entity's record, could not be read in time.
    #[error("the state cannot be read: {0}")]
    NotServing(String),
    /// The entity crashed so often that it takes no messages for a while.
    #[error("{0} crashed too often and rests")]
    Quarantined(String),
    /// The message could not be encoded or decoded.
    #[error("the message cannot be sent: {0}")]
    BadMessage(String),
    /// The entity that asks has no right to speak any more: its shard moved, or the lease ran out.
    #[error("the asking entity's shard moved")]
    Lapsed,
    /// This node stops.
    #[error("this node stops")]
    Stopping,
}

impl NotExecuted {
    /// Whether this asker would be told the same again.
    fn is_final(&self) -> bool {
        match self {
            Self::BadMessage(_) | Self::Lapsed | Self::Stopping => true,
            Self::Overloaded { .. }
            | Self::NoOwner(_)
            | Self::NotOwner(_)
            | Self::Deadline
            | Self::NotHosted(_)
            | Self::Unreachable(_)
            | Self::NotServing(_)
            | Self::Quarantined(_) => false,
        }
    }
}

/// Why it is not known whether a message was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// The deadline passed; the entity may have the message in hand.
    #[error("the deadline passed")]
    Deadline,
    /// The handler failed or panicked. What it did before stays done.
    #[error("the entity crashed: {0}")]
    Crashed(String),
    /// The handler ended without an answer.
    #[error("the entity gave no answer")]
    NoAnswer,
    /// The entity's shard moved, or its node's lease ran out, while it had the message in hand.
    #[error("the entity's node lost the shard")]
    Lapsed,
    /// The link to the entity's node broke.
    #[error("{0}")]
    Link(String),
    /// The answer could not be decoded.
    #[error("the answer cannot be read: {0}")]
    BadAnswer(String),
}

/// Why a handler failed: a crash, which the kind's restart policy counts.
///
/// Made from any error by `?`, so that it cannot be an error itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure with these words.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// What a panic said.
    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(format!("panicked: {}", said.unwrap_or("without words")))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({:?})", self.0)
    }
}
