//! Where events are made and subscribed to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::meters::Registry;
use super::trace::trace;
use super::{Event, EventId, EventKind, Path};
use crate::base::Instant;

#[derive(Debug)]
struct Sink {
    to: mpsc::Sender<Arc<Event>>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Hub {
    last: u64,
    sinks: Vec<Sink>,
    meters: Registry,
}

impl Hub {
    /// Hands an event to all subscriptions and forgets those that are dropped.
    fn publish(&mut self, event: &Arc<Event>) {
        self.sinks.retain(|sink| match sink.to.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                sink.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }
}

/// Where events are made and subscribed to; cheap to clone. Each tree has one, never the process.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Hub>>);

impl Events {
    /// Nobody subscribes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows the events from now on. At most `events_max` wait to be received, at least one;
    /// further ones are dropped and counted, and never slow the tree.
    #[must_use]
    pub fn subscribe(&self, events_max: usize) -> Subscription {
        let (to, events) = mpsc::channel(events_max.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        self.0.lock().sinks.push(Sink { to, dropped: dropped.clone() });
        Subscription { events, dropped }
    }

    /// Gives `happened` its number, hands it to all subscriptions, to `tracing` and to the
    /// metrics, and returns the number. An event that nobody follows is not built.
    pub(crate) fn emit(&self, happened: Happened<'_>) -> EventId {
        let (id, meters) = {
            let mut hub = self.0.lock();
            hub.last += 1;
            let id = EventId(hub.last);
            // Under the lock, so that all subscriptions see one order.
            if !hub.sinks.is_empty() {
                hub.publish(&Arc::new(happened.event(id)));
            }
            (id, hub.meters.of(&happened))
        };
        meters.count(&happened.kind);
        trace(id, happened);
        id
    }

    /// Subscriptions that are not known to be dropped.
    #[cfg(test)]
    pub(super) fn sinks(&self) -> usize {
        self.0.lock().sinks.len()
    }
}

/// An event without its number.
#[derive(Debug)]
pub(crate) struct Happened<'a> {
    /// The event that led to it.
    pub(crate) cause: Option<EventId>,
    /// When.
    pub(crate) at: Instant,
    /// To whom.
    pub(crate) path: &'a Path,
    /// To which incarnation.
    pub(crate) incarnation: u64,
    /// What.
    pub(crate) kind: EventKind,
}

impl Happened<'_> {
    fn event(&self, id: EventId) -> Event {
        let Self { cause, at, path, incarnation, ref kind } = *self;
        Event { id, cause, at, path: path.clone(), incarnation, kind: kind.clone() }
    }
}

/// One follower of the events.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Arc<Event>>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// The next event; `None` when the tree and every handle to its [`Events`] are gone.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        self.events.recv().await
    }

    /// The next event if one waits already.
    pub fn try_recv(&mut self) -> Option<Arc<Event>> {
        self.events.try_recv().ok()
    }

    /// How many events did not fit so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
