//! Refs that outlive restarts.

mod error;
mod slot;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::oneshot;

pub use error::{RefError, Undelivered};
use slot::{Slot, Stage, Ticket};

use super::gauge::Gauge;
use crate::base::{Clock, within};

/// How long [`ChildRef::call`] waits for the answer.
pub const CALL_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// A typed ref to a child, made before anything starts so that siblings can hold it, and valid
/// across restarts: it resolves to the present incarnation. Cheap to clone.
///
/// # What becomes of a message
/// - It is put into the mailbox of the present incarnation, unless
///   [`mailbox`](super::Worker::mailbox) messages wait there: [`RefError::Overloaded`].
/// - While there is no incarnation it is an error ([`RefError::Restarting`]), or
///   [held](super::Worker::hold): the next incarnation gets what was held, in order, before
///   anything newer. It makes no difference whether the supervisor has noticed yet that the last
///   one is gone.
/// - What waits in the mailbox of an incarnation that ends is lost with it. A call then ends as
///   [`RefError::Lost`], and each message is counted in [`dead_letters`](Self::dead_letters).
/// - What is held when the child is given up is dropped. A call then ends as
///   [`RefError::Stopped`], and each cast is counted.
///
/// So each message is handled, or given back with an error, or counted. Messages that do not come
/// through the ref, as those through [`actor`](Self::actor) and those the child sends itself, are
/// neither limited nor counted; one that is handled while messages of the ref wait is taken for
/// one of them, so that with such messages the numbers are lower bounds.
///
/// Cost: a cast takes no lock. It reads one pointer and counts one up, beyond what ractor does.
pub struct ChildRef<M>(Arc<Slot<M>>);

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.0.life.load(), self.0.stage()) {
            (Some(life), _) => write!(f, "ChildRef(incarnation {})", life.incarnation),
            (None, Stage::Unbound) => f.write_str("ChildRef(unbound)"),
            // It has just come, or gone.
            (None, Stage::Vacant | Stage::Living) => f.write_str("ChildRef(restarting)"),
            (None, Stage::Stopped) => f.write_str("ChildRef(stopped)"),
        }
    }
}

impl<M: Message> ChildRef<M> {
    /// A ref to a child that is not there yet: give it to the child's spec with
    /// [`Worker::bind`](super::Worker::bind).
    #[must_use]
    pub fn unbound() -> Self {
        Self(Arc::new(Slot::new()))
    }

    /// Sends a message and waits for nothing. Done means that it is in the mailbox of the present
    /// incarnation, or held for the next.
    ///
    /// # Errors
    /// [`Undelivered`] with the message; the child did not see it. Its reason is never
    /// [`RefError::Lost`] or [`RefError::TimedOut`].
    pub fn cast(&self, message: M) -> Result<(), Undelivered<M>> {
        self.0.send(message, || None).map(drop)
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

    /// Asks and waits for the answer, at most `limit` on the clock of the tree; the time that the
    /// question is held is part of it.
    ///
    /// # Errors
    /// [`RefError`].
    pub async fn call_within<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, RefError> {
        // A tree that was never started has no clock.
        let clock = self.0.clock().ok_or(RefError::Unbound)?;
        let (port, answer) = oneshot::channel();
        let held = self.0.send(question(port.into()), || Some(Ticket::default()))?;
        match within(clock, clock.now() + limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if held.as_ref().is_some_and(Ticket::kept) => Err(RefError::Stopped),
            Ok(Err(_)) => Err(RefError::Lost),
            Err(_) => Err(RefError::TimedOut),
        }
    }

    /// The present incarnation as ractor knows it. It does not outlive a restart.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<M>> {
        self.0.life.load().as_ref().map(|life| life.actor.clone())
    }

    /// The number of the present incarnation, counted from 1.
    #[must_use]
    pub fn incarnation(&self) -> Option<u64> {
        self.0.life.load().as_ref().map(|life| life.incarnation)
    }

    /// Messages that were sent without an error and reached no handler: lost in the mailboxes of
    /// incarnations that have ended, or held for one that did not come. Counted since the start of
    /// the tree, at the end of an incarnation.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.0.dead_letters()
    }

    /// Takes the ref for a child. False if it is taken.
    pub(super) fn claim(&self) -> bool {
        !self.0.bound.swap(true, Ordering::AcqRel)
    }

    /// An incarnation is about to be started; till then `hold` messages are held.
    pub(super) fn open(&self, hold: usize, clock: &Arc<dyn Clock>) {
        self.0.open(hold, clock);
    }

    /// An incarnation has started: it gets what was held, then everything that comes.
    pub(super) fn settle(&self, actor: ActorRef<M>, incarnation: u64, gauge: Arc<Gauge>) {
        self.0.settle(actor, incarnation, gauge);
    }

    /// Nobody is there for now. Returns how many messages were lost with the last incarnation.
    pub(super) fn vacate(&self) -> u64 {
        self.0.vacate()
    }

    /// Nobody will be there any more. Returns how many messages were dropped for that.
    pub(super) fn close(&self) -> u64 {
        self.0.close()
    }
}
