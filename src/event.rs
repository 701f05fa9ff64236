//! What happens in a supervision tree, as events.
//!
//! Each event says where ([`Path`]), to which incarnation, what, and *why*: [`Event::cause`] is the
//! event that led to it, so that a chain can be followed back to the first crash. Events go to
//! bounded subscriptions, where what does not fit is counted, and to `tracing` under the target
//! `evertree`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::base::{ExitReason, Instant};

/// Where a child lives: the names from the root of its tree down, as in `shop/orders/db`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path(Arc<str>);

impl Path {
    /// The path of a tree's root.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self(name.into())
    }

    /// The path of the child `name` of this.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0).into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The number of an event, unique and growing within one [`Events`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
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
    /// The supervisor decided to restart the child.
    Restarting {
        /// Restarts of the supervisor within its period, this one included.
        within_period: u32,
    },
    /// The incarnation was asked to stop.
    Stopping,
    /// The incarnation is killed: at once, or because it did not stop in time.
    Killing,
    /// The incarnation's task outlived its kill; no replacement is started.
    Stuck,
    /// The supervisor gives up: it stops its children and exits, and its own supervisor decides.
    Escalated,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Exited(reason) => write!(f, "exited: {reason}"),
            Self::Restarting { within_period } => {
                write!(f, "restarting, {within_period} within the period")
            }
            Self::Stopping => f.write_str("stopping"),
            Self::Killing => f.write_str("killing"),
            Self::Stuck => f.write_str("stuck"),
            Self::Escalated => f.write_str("escalated"),
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// The event that led to it; none for what came from outside, a crash or a call.
    pub cause: Option<EventId>,
    /// When, on the tree's clock.
    pub at: Instant,
    /// To whom.
    pub path: Path,
    /// To which incarnation of it, counted from 1.
    pub incarnation: u64,
    /// What.
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{} {}", self.id, self.path, self.incarnation, self.kind)?;
        if let Some(cause) = self.cause {
            write!(f, " (by {cause})")?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Sink {
    to: mpsc::Sender<Arc<Event>>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Hub {
    last: u64,
    sinks: Vec<Sink>,
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

    /// Makes an event of `happened`, hands it to all subscriptions, and returns its number.
    pub fn emit(&self, happened: Happened<'_>) -> EventId {
        let Happened { cause, at, path, incarnation, kind } = happened;
        let event = {
            let mut hub = self.0.lock();
            hub.last += 1;
            let id = EventId(hub.last);
            let event = Event { id, cause, at, path: path.clone(), incarnation, kind };
            let event = Arc::new(event);
            // Under the lock, so that all subscriptions see one order.
            hub.sinks.retain(|sink| match sink.to.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    sink.dropped.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
            event
        };
        trace(&event);
        event.id
    }
}

/// An event without its number.
#[derive(Debug)]
pub struct Happened<'a> {
    /// The event that led to it.
    pub cause: Option<EventId>,
    /// When.
    pub at: Instant,
    /// To whom.
    pub path: &'a Path,
    /// To which incarnation.
    pub incarnation: u64,
    /// What.
    pub kind: EventKind,
}

/// Writes the event to `tracing`: failures as warnings, giving up as errors.
fn trace(event: &Event) {
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(
                target: "evertree",
                id = event.id.0,
                cause = event.cause.map(|cause| cause.0),
                path = event.path.as_str(),
                incarnation = event.incarnation,
                "{}",
                event.kind
            )
        };
    }
    match &event.kind {
        EventKind::Stuck | EventKind::Escalated => at!(error),
        EventKind::Exited(ExitReason::Normal | ExitReason::Shutdown)
        | EventKind::Started
        | EventKind::Stopping => at!(debug),
        EventKind::Exited(
            ExitReason::Killed
            | ExitReason::Crashed(_)
            | ExitReason::StartFailed(_)
            | ExitReason::Hung
            | ExitReason::GaveUp,
        )
        | EventKind::Restarting { .. }
        | EventKind::Killing => at!(warn),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(events: &Events, path: &Path) -> EventId {
        let kind = EventKind::Stopping;
        events.emit(Happened { cause: None, at: Instant::ZERO, path, incarnation: 1, kind })
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_rest_keeps_its_order() {
        let (events, path) = (Events::new(), Path::root("shop").join("db"));
        let mut small = events.subscribe(2);
        let mut large = events.subscribe(10);
        let ids: Vec<_> = (0..5).map(|_| stopping(&events, &path)).collect();
        let seen = |from: &mut Subscription| {
            std::iter::from_fn(|| from.try_recv()).map(|event| event.id).collect::<Vec<_>>()
        };
        assert_eq!(seen(&mut small), ids[..2]);
        assert_eq!(seen(&mut large), ids);
        assert_eq!((small.dropped(), large.dropped()), (3, 0));
        assert_eq!(path.as_str(), "shop/db");
    }

    #[tokio::test]
    async fn a_subscription_ends_with_its_events_and_is_forgotten_when_dropped() {
        let (events, path) = (Events::new(), Path::root("shop"));
        let mut kept = events.subscribe(1);
        drop(events.subscribe(1));
        stopping(&events, &path);
        assert_eq!(events.0.lock().sinks.len(), 1);
        drop(events);
        assert!(kept.recv().await.is_some());
        assert!(kept.recv().await.is_none());
    }
}
