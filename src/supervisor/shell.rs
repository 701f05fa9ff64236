//! The shell around a user's actor, which measures it. The actor itself stays as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::gauge::Gauge;

/// An actor that passes everything on to the one in it. Message, state and arguments are that
/// one's own, so that its panics, its errors and the drop of its state are what they were.
///
/// A message counts as handled before its handler runs: one that crashes it was handled. The
/// calls that a [`handler_limit`](super::Worker::handler_limit) limits are `post_start`, `handle`
/// and `handle_supervisor_evt`; `pre_start` and `post_stop` have limits of their own.
///
/// Before its first message it gives way once. Its start has woken its supervisor, which tokio runs
/// next on this very thread, where no other thread can take it over: a first handler that blocks
/// its thread for ever would block the supervisor, too.
pub(super) struct Shell<A> {
    actor: A,
    /// None: nobody wants to know.
    gauge: Option<Arc<Gauge>>,
    has_given_way: AtomicBool,
}

/// Closes the mailbox to further messages when a handler fails, panics or is dropped: what is sent
/// from then on is for the next incarnation.
struct Failing<'a>(Option<&'a Gauge>);

impl Failing<'_> {
    fn has_not(mut self) {
        self.0 = None;
    }
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.close();
        }
    }
}

impl<A> Shell<A> {
    pub(super) fn new(actor: A, gauge: Option<Arc<Gauge>>) -> Self {
        Self { actor, gauge, has_given_way: AtomicBool::new(false) }
    }

    fn begin(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.begin();
        }
    }

    fn rest(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.rest();
        }
    }
}

#[ractor::actor(message = A::Msg, state = A::State, arguments = A::Arguments)]
impl<A: Actor> Shell<A> {
    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        arguments: A::Arguments,
    ) -> Result<A::State, ActorProcessingErr> {
        self.actor.pre_start(myself, arguments).await
    }

    async fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.begin();
        let done = self.actor.post_start(myself, state).await;
        self.rest();
        done
    }

    async fn post_stop(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.actor.post_stop(myself, state).await
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        if !self.has_given_way.load(Ordering::Relaxed) {
            self.has_given_way.store(true, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        if let Some(gauge) = &self.gauge {
            gauge.settle();
        }
        self.begin();
        let failing = Failing(self.gauge.as_deref());
        let done = self.actor.handle(myself, message, state).await;
        if done.is_ok() {
            failing.has_not();
        }
        self.rest();
        done
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.begin();
        let done = self.actor.handle_supervisor_evt(myself, event, state).await;
        self.rest();
        done
    }
}
