//! Finds out that an incarnation hangs.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending, select};
use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::oneshot;

use super::exit::quietly;
use super::gauge::Gauge;
use super::options::{Objection, span_objection};
use crate::base::{Clock, within};
use crate::event::Hang;

/// Makes a question, and what completes with it: whether there was an answer.
type Ask<M> = Arc<dyn Fn() -> (M, BoxFuture<'static, bool>) + Send + Sync>;

/// A question that is asked again and again.
pub(super) struct Probe<M> {
    every: Duration,
    deadline: Duration,
    ask: Ask<M>,
}

impl<M> Clone for Probe<M> {
    fn clone(&self) -> Self {
        Self { ask: self.ask.clone(), ..*self }
    }
}

impl<M: 'static> Probe<M> {
    pub(super) fn new<T: Send + 'static>(
        every: Duration,
        deadline: Duration,
        question: impl Fn(RpcReplyPort<T>) -> M + Send + Sync + 'static,
    ) -> Self {
        let ask = move || {
            let (port, answer) = oneshot::channel();
            let answered = answer.map(|answer: Result<T, _>| {
                let answered = answer.is_ok();
                // The answer is the user's, and may panic when dropped.
                let _ = quietly(move || drop(answer));
                answered
            });
            (question(port.into()), answered.boxed())
        };
        Self { every, deadline, ask: Arc::new(ask) }
    }

    pub(super) fn objection(&self) -> Option<Objection> {
        let spans = [self.every, self.deadline];
        spans.into_iter().find_map(|span| span_objection("probe", span))
    }
}

/// What an incarnation is watched for.
pub(super) struct Watch<M> {
    pub(super) handler_limit: Option<Duration>,
    pub(super) probe: Option<Probe<M>>,
}

impl<M> Default for Watch<M> {
    fn default() -> Self {
        Self { handler_limit: None, probe: None }
    }
}

impl<M> Clone for Watch<M> {
    fn clone(&self) -> Self {
        Self { handler_limit: self.handler_limit, probe: self.probe.clone() }
    }
}

impl<M: Message> Watch<M> {
    /// Completes when `actor` hangs, with how that was found out; never if it ends. None if
    /// there is nothing to watch for.
    pub(super) fn over(
        self,
        actor: ActorRef<M>,
        gauge: Option<Arc<Gauge>>,
        clock: Arc<dyn Clock>,
    ) -> Option<BoxFuture<'static, Hang>> {
        let limit = self.handler_limit.zip(gauge.clone());
        let limit = limit.map(|(limit, gauge)| overlong(limit, gauge, clock.clone()).boxed());
        let probe = self.probe.map(|probe| unanswered(probe, actor, gauge, clock).boxed());
        match (limit, probe) {
            (Some(limit), Some(probe)) => {
                Some(select(limit, probe).map(|first| first.factor_first().0).boxed())
            }
            (one, other) => one.or(other),
        }
    }
}

/// Waits for a call that runs longer than `limit`. Wakes once per call that is long, and once per
/// `limit` else.
async fn overlong(limit: Duration, gauge: Arc<Gauge>, clock: Arc<dyn Clock>) -> Hang {
    loop {
        // A call that begins after this look is not over its limit before the next.
        let began = gauge.began().unwrap_or_else(|| clock.now());
        clock.sleep_until(began + limit).await;
        if let Some(began) = gauge.began()
            && clock.now().since(began) >= limit
        {
            return Hang::Handler { limit };
        }
    }
}

/// Asks, and waits for a question that is not answered in time.
async fn unanswered<M: Message>(
    probe: Probe<M>,
    actor: ActorRef<M>,
    gauge: Option<Arc<Gauge>>,
    clock: Arc<dyn Clock>,
) -> Hang {
    let Probe { every, deadline, ask } = probe;
    let mut next = clock.now() + every;
    loop {
        clock.sleep_until(next).await;
        let asked = clock.now();
        next = asked + every;
        let (question, answered) = match quietly(|| ask()) {
            Ok(asked) => asked,
            Err(why) => return Hang::ProbePanicked { why },
        };
        // It waits in the mailbox like any message, however full that is.
        if let Some(gauge) = &gauge {
            gauge.force();
        }
        if let Err(refused) = actor.send_message(question) {
            if let Some(gauge) = &gauge {
                gauge.give_back();
            }
            // It ends, and whoever waits for its task will see that. The message is the user's,
            // and may panic when dropped.
            let _ = quietly(move || drop(refused));
            return pending().await;
        }
        match within(&*clock, asked + deadline, answered).await {
            Ok(true) => {}
            Ok(false) => {
                // It may have crashed, which is seen by then.
                clock.sleep_until(asked + deadline).await;
                return Hang::ProbeDropped;
            }
            Err(_) => return Hang::Probe { deadline },
        }
    }
}
