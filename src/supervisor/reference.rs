//! Refs that outlive restarts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use ractor::{ActorRef, Message, MessagingErr, RpcReplyPort};
use tokio::sync::oneshot;

use crate::base::{Clock, within};

/// How long [`ChildRef::call`] waits for the answer.
pub const CALL_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// Why a message was not delivered, or a call not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// Not executed: the tree of this child was never started.
    #[error("not executed: the child was never started")]
    Unbound,
    /// Not executed: the child is down and about to be started.
    #[error("not executed: the child is restarting")]
    Restarting,
    /// Not executed: the child has ended and will not be started again.
    #[error("not executed: the child has stopped")]
    Stopped,
    /// Perhaps executed: the child ended, or dropped the question, before it answered.
    #[error("unknown: the child ended before it answered, or dropped the question")]
    Lost,
    /// Perhaps executed: no answer came in time.
    #[error("unknown: no answer in time")]
    TimedOut,
}

impl RefError {
    /// Whether the child certainly did not see the message, so that it can be sent again.
    #[must_use]
    pub const fn not_executed(self) -> bool {
        match self {
            Self::Unbound | Self::Restarting | Self::Stopped => true,
            Self::Lost | Self::TimedOut => false,
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

enum Home<M> {
    Unbound,
    Vacant,
    Living { actor: ActorRef<M>, incarnation: u64, clock: Arc<dyn Clock> },
    Stopped,
}

struct Slot<M> {
    home: RwLock<Home<M>>,
    bound: AtomicBool,
}

/// A typed ref to a child, made before anything starts so that siblings can hold it, and valid
/// across restarts: it resolves to the present incarnation. Cheap to clone.
///
/// A message sent while there is no incarnation is an error, never lost in silence. One that waits
/// in the mailbox of an incarnation that ends is lost with it: a call then ends as
/// [`RefError::Lost`].
pub struct ChildRef<M>(Arc<Slot<M>>);

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.home.read() {
            Home::Unbound => f.write_str("ChildRef(unbound)"),
            Home::Vacant => f.write_str("ChildRef(restarting)"),
            Home::Living { incarnation, .. } => write!(f, "ChildRef(incarnation {incarnation})"),
            Home::Stopped => f.write_str("ChildRef(stopped)"),
        }
    }
}

impl<M: Message> ChildRef<M> {
    /// A ref to a child that is not there yet: give it to the child's spec with
    /// [`Worker::bind`](super::Worker::bind).
    #[must_use]
    pub fn unbound() -> Self {
        let home = RwLock::new(Home::Unbound);
        Self(Arc::new(Slot { home, bound: AtomicBool::new(false) }))
    }

    /// Sends a message and waits for nothing. Delivered means put into the mailbox of the present
    /// incarnation.
    ///
    /// # Errors
    /// [`Undelivered`] with the message; the child did not see it.
    pub fn cast(&self, message: M) -> Result<(), Undelivered<M>> {
        let why = match &*self.0.home.read() {
            Home::Living { actor, .. } => match actor.send_message(message) {
                Ok(()) => return Ok(()),
                // It has ended, and its supervisor is about to learn it.
                Err(MessagingErr::SendErr(message)) => {
                    return Err(Undelivered { why: RefError::Restarting, message });
                }
                Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => {
                    unreachable!("ractor gives the message back, and its type is the actor's")
                }
            },
            Home::Unbound => RefError::Unbound,
            Home::Vacant => RefError::Restarting,
            Home::Stopped => RefError::Stopped,
        };
        Err(Undelivered { why, message })
    }

    /// Asks and waits for the answer, at most [`CALL_DEADLINE_DEFAULT`]. `question` makes the
    /// message from the port that takes the answer: `db.call(DbMsg::Ping)`.
    ///
    /// # Errors
    /// [`RefError`].
    pub async fn call<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, RefError> {
        self.call_within(CALL_DEADLINE_DEFAULT, question).await
    }

    /// Asks and waits for the answer, at most `limit`.
    ///
    /// # Errors
    /// [`RefError`].
    pub async fn call_within<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, RefError> {
        let clock = match &*self.0.home.read() {
            Home::Living { clock, .. } => clock.clone(),
            Home::Unbound => return Err(RefError::Unbound),
            Home::Vacant => return Err(RefError::Restarting),
            Home::Stopped => return Err(RefError::Stopped),
        };
        let (port, answer) = oneshot::channel();
        self.cast(question(port.into()))?;
        match within(&*clock, clock.now() + limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(RefError::Lost),
            Err(_) => Err(RefError::TimedOut),
        }
    }

    /// The present incarnation as ractor knows it. It does not outlive a restart.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<M>> {
        match &*self.0.home.read() {
            Home::Living { actor, .. } => Some(actor.clone()),
            Home::Unbound | Home::Vacant | Home::Stopped => None,
        }
    }

    /// The number of the present incarnation, counted from 1.
    #[must_use]
    pub fn incarnation(&self) -> Option<u64> {
        match &*self.0.home.read() {
            Home::Living { incarnation, .. } => Some(*incarnation),
            Home::Unbound | Home::Vacant | Home::Stopped => None,
        }
    }

    /// Takes the ref for a child. False if it is taken.
    pub(super) fn claim(&self) -> bool {
        !self.0.bound.swap(true, Ordering::AcqRel)
    }

    pub(super) fn settle(&self, actor: ActorRef<M>, incarnation: u64, clock: Arc<dyn Clock>) {
        *self.0.home.write() = Home::Living { actor, incarnation, clock };
    }

    pub(super) fn vacate(&self) {
        *self.0.home.write() = Home::Vacant;
    }

    pub(super) fn close(&self) {
        *self.0.home.write() = Home::Stopped;
    }
}
