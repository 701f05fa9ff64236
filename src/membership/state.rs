//! The members of the cluster as one node sees them, and what changed about them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Reachability;
use crate::base::{Boot, Instant, NodeId, Version};
use crate::placement::{Departure, Status, View};

/// One member as one node sees it, itself included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Its name.
    pub node: NodeId,
    /// Its present life.
    pub boot: Boot,
    /// Where others reach it.
    pub addr: String,
    /// Its failure zone; empty for none.
    pub zone: String,
    /// What is agreed about it.
    pub status: Status,
    /// What this node observes.
    pub reachability: Reachability,
    /// Who doubts it, as far as this node has heard, sorted; empty if it is reachable.
    pub observers: Vec<NodeId>,
    /// Names of the health probes that fail there, sorted; empty: it is healthy, or said nothing.
    pub failing: Vec<String>,
    /// It hands its shards over.
    pub draining: bool,
    /// It leaves of its own will.
    pub leaving: bool,
    /// The view that it last said it had applied.
    pub view: Option<Version>,
    /// How long its last probe took.
    pub round_trip: Option<Duration>,
    /// How long nothing of it arrived; `None` if nothing did yet, or for this node itself.
    pub silent: Option<Duration>,
}

/// Something changed about a member, for the node that observes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    /// When, by this node's clock.
    pub at: Instant,
    /// Which member.
    pub node: NodeId,
    /// In which life.
    pub boot: Boot,
    /// What.
    pub change: MemberChange,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberChange {
    /// It is a member from now on, in this life.
    Joined,
    /// It left of its own will, which is no failure.
    Left,
    /// The cluster took it out.
    Evicted,
    /// Its process started again: this life is over, and the next one has joined.
    Restarted,
    /// Another status is agreed.
    Status(Status),
    /// Somebody heard nothing from it. It may refute that.
    Suspect {
        /// Who.
        observers: Vec<NodeId>,
    },
    /// Enough observers heard nothing from it, and it did not refute.
    Unreachable {
        /// Who.
        observers: Vec<NodeId>,
    },
    /// It was doubted, and is heard again.
    Reachable,
    /// Health probes fail there.
    Unhealthy {
        /// Which.
        failing: Vec<String>,
    },
    /// No health probe fails there any more.
    Healthy,
    /// Whether it hands its shards over.
    Draining(bool),
}

/// What is remembered of a member to see what changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    boot: Boot,
    status: Status,
    reachability: Reachability,
    failing: Vec<String>,
    draining: bool,
}

#[derive(Debug, Default)]
struct Hub {
    rows: BTreeMap<NodeId, Row>,
    sinks: Vec<(mpsc::Sender<MemberEvent>, Arc<AtomicU64>)>,
}

/// Turns what is seen of the members into events. Lives as long as the node, in all its lives.
#[derive(Debug, Clone, Default)]
pub struct MemberHub(Arc<Mutex<Hub>>);

impl MemberHub {
    /// Follows the events from now on. At most `events_max` wait to be received, at least one;
    /// further ones are dropped and counted.
    #[must_use]
    pub fn subscribe(&self, events_max: usize) -> MemberEvents {
        let (to, events) = mpsc::channel(events_max.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let mut hub = self.0.lock();
        hub.sinks.retain(|(sink, _)| !sink.is_closed());
        hub.sinks.push((to, dropped.clone()));
        MemberEvents { events, dropped }
    }

    /// Compares `states` with what was seen last, and says what changed. `view` knows why a member
    /// is none any more.
    pub(super) fn see(&self, at: Instant, states: &[MemberState], view: &View) {
        let mut hub = self.0.lock();
        let rows = states.iter().map(|state| {
            let before = hub.rows.get(&state.node).filter(|row| row.boot == state.boot);
            (state.node.clone(), row(state, before))
        });
        let rows = rows.collect();
        let before = std::mem::replace(&mut hub.rows, rows);
        for (node, boot, change) in changes(before, states, view) {
            tracing::info!(%node, %boot, ?change, "member");
            let event = MemberEvent { at, node, boot, change };
            hub.sinks.retain(|(sink, dropped)| match sink.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    dropped.fetch_add(1, Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
        }
    }
}

/// What is told of a member. That one who leaves falls silent is no failure.
fn row(state: &MemberState, before: Option<&Row>) -> Row {
    let told = before.map_or(Reachability::Reachable, |row| row.reachability);
    Row {
        boot: state.boot,
        status: state.status,
        reachability: if state.leaving { told } else { state.reachability },
        failing: state.failing.clone(),
        draining: state.draining,
    }
}

/// One follower of the events.
#[derive(Debug)]
pub struct MemberEvents {
    events: mpsc::Receiver<MemberEvent>,
    dropped: Arc<AtomicU64>,
}

impl MemberEvents {
    /// The next event; `None` when the node is gone.
    pub async fn recv(&mut self) -> Option<MemberEvent> {
        self.events.recv().await
    }

    /// The next event if one waits already.
    pub fn try_recv(&mut self) -> Option<MemberEvent> {
        self.events.try_recv().ok()
    }

    /// How many events did not fit so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

type Change = (NodeId, Boot, MemberChange);

/// What changed between two looks, departures first.
fn changes(before: BTreeMap<NodeId, Row>, now: &[MemberState], view: &View) -> Vec<Change> {
    let mut all = VecDeque::new();
    let mut kept = BTreeMap::new();
    for (node, row) in before {
        // The states are those of a view, by name.
        let at = now.binary_search_by(|state| state.node.cmp(&node));
        if at.is_ok_and(|at| now[at].boot == row.boot) {
            kept.insert(node, row);
            continue;
        }
        let change = match view.departure(&node, row.boot) {
            Some(Departure::Released) => MemberChange::Left,
            Some(Departure::Replaced) => MemberChange::Restarted,
            // What is forgotten was long ago.
            Some(Departure::Evicted) | None => MemberChange::Evicted,
        };
        all.push_back((node, row.boot, change));
    }
    for state in now {
        let mut say = |change| all.push_back((state.node.clone(), state.boot, change));
        let before = kept.remove(&state.node).unwrap_or_else(|| {
            say(MemberChange::Joined);
            Row {
                boot: state.boot,
                status: state.status,
                reachability: Reachability::Reachable,
                failing: Vec::new(),
                draining: false,
            }
        });
        if before.status != state.status {
            say(MemberChange::Status(state.status));
        }
        if before.reachability != state.reachability && !state.leaving {
            let observers = state.observers.clone();
            say(match state.reachability {
                Reachability::Reachable => MemberChange::Reachable,
                Reachability::Suspect => MemberChange::Suspect { observers },
                Reachability::Unreachable => MemberChange::Unreachable { observers },
            });
        }
        if before.failing != state.failing {
            let failing = state.failing.clone();
            let healthy = failing.is_empty();
            say(if healthy { MemberChange::Healthy } else { MemberChange::Unhealthy { failing } });
        }
        if before.draining != state.draining {
            say(MemberChange::Draining(state.draining));
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(node: &str, boot: u64) -> MemberState {
        MemberState {
            node: node.parse().expect("a name"),
            boot: Boot(boot),
            addr: String::new(),
            zone: String::new(),
            status: Status::Up,
            reachability: Reachability::Reachable,
            observers: Vec::new(),
            failing: Vec::new(),
            draining: false,
            leaving: false,
            view: None,
            round_trip: None,
            silent: None,
        }
    }

    fn drain(events: &mut MemberEvents) -> Vec<(String, u64, MemberChange)> {
        std::iter::from_fn(|| events.try_recv())
            .map(|event| (event.node.to_string(), event.boot.0, event.change))
            .collect()
    }

    #[test]
    fn every_change_is_one_event_and_no_change_is_none() {
        let (hub, view) = (MemberHub::default(), View::default());
        let mut events = hub.subscribe(100);
        let mut see = |states: &[MemberState]| {
            hub.see(Instant::ZERO, states, &view);
            drain(&mut events)
        };
        let joined = |node: &str, boot| (node.to_owned(), boot, MemberChange::Joined);
        let both = [state("n1", 1), state("n2", 4)];
        assert_eq!(see(&both), [joined("n1", 1), joined("n2", 4)]);
        assert_eq!(see(&both), []);
        let observers: Vec<NodeId> = vec!["n1".parse().expect("a name")];
        let suspect = MemberState {
            reachability: Reachability::Suspect,
            observers: observers.clone(),
            failing: vec!["db".into()],
            draining: true,
            ..state("n2", 4)
        };
        let n2 = |change| ("n2".to_owned(), 4, change);
        let want = [
            n2(MemberChange::Suspect { observers: observers.clone() }),
            n2(MemberChange::Unhealthy { failing: vec!["db".into()] }),
            n2(MemberChange::Draining(true)),
        ];
        assert_eq!(see(&[state("n1", 1), suspect]), want);
        let want = [
            n2(MemberChange::Reachable),
            n2(MemberChange::Healthy),
            n2(MemberChange::Draining(false)),
        ];
        assert_eq!(see(&both), want);
        assert_eq!(
            see(&[state("n1", 1), state("n2", 5)]),
            [n2(MemberChange::Evicted), joined("n2", 5)]
        );
    }

    #[test]
    fn who_leaves_may_fall_silent() {
        let (hub, view) = (MemberHub::default(), View::default());
        let mut events = hub.subscribe(9);
        let leaving = MemberState { leaving: true, ..state("n2", 1) };
        let silent = MemberState { reachability: Reachability::Unreachable, ..leaving.clone() };
        hub.see(Instant::ZERO, &[leaving], &view);
        hub.see(Instant::ZERO, &[silent], &view);
        assert_eq!(drain(&mut events), [("n2".into(), 1, MemberChange::Joined)]);
    }

    #[test]
    fn a_slow_follower_loses_events_and_knows_how_many() {
        let (hub, view) = (MemberHub::default(), View::default());
        let mut slow = hub.subscribe(1);
        hub.see(Instant::ZERO, &[state("n1", 1), state("n2", 1), state("n3", 1)], &view);
        assert_eq!((drain(&mut slow).len(), slow.dropped()), (1, 2));
    }
}
