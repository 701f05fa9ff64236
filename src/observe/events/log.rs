//! The last events of one node: bounded, filled as it follows the views, read by any number.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{ViewEvent, changes};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::{NodeId, Publisher, Version};
use crate::placement::View;

/// Events that a node keeps; the oldest go first, and are counted.
pub const EVENTS_MAX: usize = 1_024;
/// Shards that all kept events together list; the oldest give up their lists first.
const ALL_LISTED_MAX: usize = 65_536;
/// Shards that the events of one answer list, unless one event alone lists more.
const PAGE_LISTED_MAX: usize = 16_384;
/// Events of one answer.
const PAGE_EVENTS_MAX: usize = 256;

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsAsk {
    /// Answers go on as events come, until either side ends the connection.
    pub follow: bool,
    /// Only those after the event of this number. Over `last`.
    pub after: Option<u64>,
    /// Only so many, the newest.
    pub last: Option<u32>,
}

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPage {
    /// Who was asked.
    pub asked: NodeId,
    /// Of the view that it has applied.
    pub version: Version,
    /// The events.
    pub events: Vec<Arc<ViewEvent>>,
    /// Events between those asked for and the first of these that are kept no longer.
    pub missed: u64,
    /// Whether there are more: ask again after the last of these.
    pub more: bool,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<ViewEvent>>,
    /// Number of the newest event; 0 before the first.
    newest: u64,
    /// Shards that all of them list.
    listed: usize,
    /// What the next view is compared with.
    view: Option<Arc<View>>,
}

struct Inner {
    node: NodeId,
    kept: Mutex<Kept>,
    /// The number of the newest event.
    newest: Publisher<u64>,
}

/// The events of one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct EventLog(Arc<Inner>);

impl EventLog {
    /// Without any event.
    pub(crate) fn new(node: NodeId) -> Self {
        let (kept, newest) = (Mutex::default(), Publisher::new(0));
        Self(Arc::new(Inner { node, kept, newest }))
    }

    /// Takes note of what changed since the view before; the first view changes nothing. Returns
    /// the new events.
    pub(crate) fn see(&self, view: &Arc<View>, unix: Duration) -> Vec<Arc<ViewEvent>> {
        let at_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let (fresh, newest) = {
            let mut kept = self.0.kept.lock();
            let before = kept.view.replace(view.clone());
            let changes = before.map(|before| changes(&before, view)).unwrap_or_default();
            let fresh: Vec<_> = changes
                .into_iter()
                .map(|change| kept.keep(ViewEvent { number: 0, at_ms, change }))
                .collect();
            kept.shorten();
            (fresh, kept.newest)
        };
        if !fresh.is_empty() {
            self.0.newest.publish(Arc::new(newest));
        }
        fresh
    }

    /// How many are kept.
    #[cfg(feature = "sim")]
    pub(crate) fn fill(&self) -> Fill {
        Fill::of("events of views", self.0.kept.lock().events.len(), EVENTS_MAX)
    }

    /// The events after that of number `after`, as many as fit into an answer.
    pub(crate) fn page(&self, after: u64) -> EventsPage {
        let kept = self.0.kept.lock();
        // Events are numbered without gaps: as many went as the first is above what was asked.
        let first = kept.events.front().map_or(kept.newest + 1, |event| event.number);
        let after = after.min(kept.newest);
        let missed = first.saturating_sub(after + 1);
        let mut listed = 0;
        let wanted = kept.events.iter().filter(|event| event.number > after);
        let events: Vec<Arc<ViewEvent>> = wanted
            .take(PAGE_EVENTS_MAX)
            .take_while(|event| {
                let is_first = listed == 0;
                listed += event.change.shards.len();
                is_first || listed <= PAGE_LISTED_MAX
            })
            .cloned()
            .collect();
        let last = events.last().map_or(after, |event| event.number);
        let version = kept.view.as_ref().map_or(Version(0), |view| view.version);
        let asked = self.0.node.clone();
        EventsPage { asked, version, events, missed, more: last < kept.newest }
    }

    /// After which event `ask` begins.
    pub(crate) fn begin(&self, ask: &EventsAsk) -> u64 {
        let kept = self.0.kept.lock();
        let oldest = kept.events.front().map_or(kept.newest, |event| event.number - 1);
        match (ask.after, ask.last) {
            // Another life of the node may have counted further.
            (Some(after), _) => after.min(kept.newest),
            (None, Some(last)) => kept.newest.saturating_sub(last.into()).max(oldest),
            (None, None) => oldest,
        }
    }

    /// What `ask` asks for at once, even if that is nothing, and then what comes, without end.
    pub(crate) fn pages(&self, ask: &EventsAsk) -> impl Stream<Item = EventsPage> + use<> {
        let begin = self.begin(ask);
        let first = self.page(begin);
        let after = first.events.last().map_or(begin, |event| event.number);
        let further = stream::unfold((self.clone(), after), |(log, after)| async move {
            let page = log.next(after).await;
            let after = page.events.last().map_or(after, |event| event.number);
            Some((page, (log, after)))
        });
        stream::iter([first]).chain(further)
    }

    /// The events after that of number `after`, at least one. Waits while there is none.
    async fn next(&self, after: u64) -> EventsPage {
        let mut newest = self.0.newest.watched().follow();
        loop {
            let page = self.page(after);
            if !page.events.is_empty() {
                return page;
            }
            // This log has the publisher: there is no end to see.
            let _ = newest.until(|newest| *newest > after).await;
        }
    }
}

impl Kept {
    fn keep(&mut self, event: ViewEvent) -> Arc<ViewEvent> {
        self.newest += 1;
        let event = Arc::new(ViewEvent { number: self.newest, ..event });
        if self.events.len() >= EVENTS_MAX
            && let Some(oldest) = self.events.pop_front()
        {
            self.listed -= oldest.change.shards.len();
        }
        self.listed += event.change.shards.len();
        self.events.push_back(event.clone());
        event
    }

    /// Takes their lists from the oldest, until not too much is listed.
    fn shorten(&mut self) {
        for event in &mut self.events {
            if self.listed <= ALL_LISTED_MAX {
                return;
            }
            self.listed -= event.change.shards.len();
            Arc::make_mut(event).change.strip();
        }
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventLog of {}", self.0.node)
    }
}
