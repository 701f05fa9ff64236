use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;

use super::meters;
use super::*;
use crate::base::ExitReason;

fn emit(events: &Events, path: &Path, kind: EventKind) -> EventId {
    events.emit(Happened { cause: None, at: Instant::ZERO, path, incarnation: 1, kind })
}

/// One of each kind.
fn all_kinds() -> Vec<EventKind> {
    let second = Duration::from_secs(1);
    let mut kinds: Vec<_> = all_reasons().into_iter().map(EventKind::Exited).collect();
    kinds.extend([
        EventKind::Started,
        EventKind::Declined,
        EventKind::Restarting { within_period: 2 },
        EventKind::BackingOff { delay: second },
        EventKind::Stopping,
        EventKind::Killing,
        EventKind::Hung { why: Hang::Handler { limit: second } },
        EventKind::Hung { why: Hang::Probe { deadline: second } },
        EventKind::Stuck,
        EventKind::Abandoned,
        EventKind::RolledBack { from: 3, to: Some(2) },
        EventKind::RolledBack { from: 3, to: None },
        EventKind::DeadLetters { count: 4 },
        EventKind::Escalated,
        EventKind::AutoShutdown,
        EventKind::ShuttingDown,
        EventKind::Added,
        EventKind::Removed,
    ]);
    kinds
}

fn all_reasons() -> Vec<ExitReason> {
    vec![
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::Killed,
        ExitReason::Crashed("boom".into()),
        ExitReason::StartFailed("no".into()),
        ExitReason::Hung,
        ExitReason::GaveUp,
    ]
}

#[test]
fn what_does_not_fit_is_counted_and_the_rest_keeps_its_order() {
    let (events, path) = (Events::new(), Path::root("shop").join("db"));
    let mut small = events.subscribe(2);
    let mut large = events.subscribe(10);
    let ids: Vec<_> = (0..5).map(|_| emit(&events, &path, EventKind::Stopping)).collect();
    let seen = |from: &mut Subscription| {
        std::iter::from_fn(|| from.try_recv()).map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut small), ids[..2]);
    assert_eq!(seen(&mut large), ids);
    assert_eq!((small.dropped(), large.dropped()), (3, 0));
}

#[tokio::test]
async fn a_subscription_ends_with_its_events_and_is_forgotten_when_dropped() {
    let (events, path) = (Events::new(), Path::root("shop"));
    let mut kept = events.subscribe(1);
    drop(events.subscribe(1));
    emit(&events, &path, EventKind::Stopping);
    assert_eq!(events.sinks(), 1);
    drop(events);
    assert!(kept.recv().await.is_some());
    assert!(kept.recv().await.is_none());
}

#[test]
fn a_path_knows_its_name_and_its_supervisor() {
    let (root, db) = (Path::root("shop"), Path::root("shop").join("orders").join("db"));
    assert_eq!((root.as_str(), root.name(), root.parent()), ("shop", "shop", None));
    assert_eq!((db.as_str(), db.name()), ("shop/orders/db", "db"));
    assert_eq!(db.parent(), Some("shop/orders"));
}

/// Goal: what an event says to a reader changes only on purpose. Method: all of them, printed.
#[test]
fn every_kind_says_what_happened_and_has_its_own_name() {
    let lines: Vec<_> = all_kinds().iter().map(|kind| format!("{}: {kind}", kind.name())).collect();
    assert_eq!(
        lines,
        [
            "exited: exited: normal",
            "exited: exited: shutdown",
            "exited: exited: killed",
            "exited: exited: crashed: boom",
            "exited: exited: start failed: no",
            "exited: exited: hung",
            "exited: exited: gave up",
            "started: started",
            "declined: declined to start",
            "restarting: restarting, 2 within the period",
            "backing_off: backing off for 1s",
            "stopping: stopping",
            "killing: killing",
            "hung: hung: a message in hand for more than 1s",
            "hung: hung: no answer to the probe within 1s",
            "stuck: stuck",
            "abandoned: abandoned",
            "rolled_back: rolled back from generation 3 to 2",
            "rolled_back: rolled back from generation 3 to the initial state",
            "dead_letters: dead letters: 4",
            "escalated: escalated",
            "auto_shutdown: shutting down with a significant child",
            "shutting_down: shutting down",
            "added: added",
            "removed: removed",
        ]
    );
}

#[test]
fn events_print_with_their_cause() {
    let (events, path) = (Events::new(), Path::root("shop").join("db"));
    let mut seen = events.subscribe(1);
    let cause = Some(EventId(7));
    let kind = EventKind::BackingOff { delay: Duration::from_millis(50) };
    events.emit(Happened { cause, at: Instant::ZERO, path: &path, incarnation: 2, kind });
    let line = seen.try_recv().map(|event| event.to_string());
    assert_eq!(line.as_deref(), Some("#1 shop/db.2 backing off for 50ms (by #7)"));
}

#[derive(Debug, Default)]
struct Sum(AtomicU64);

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        let millis = Duration::from_secs_f64(seconds).as_millis();
        self.increment(u64::try_from(millis).expect("a short time"));
    }
}

/// Keeps all metrics by name and labels; of histograms the sum in milliseconds.
#[derive(Debug, Default)]
struct Kept {
    sums: Mutex<BTreeMap<String, Arc<Sum>>>,
    described: Mutex<BTreeMap<String, Option<Unit>>>,
}

impl Kept {
    fn sum(&self, key: &Key) -> Arc<Sum> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        self.sums.lock().entry(name).or_default().clone()
    }

    /// The series that are not zero.
    fn lines(&self) -> Vec<String> {
        let sums = self.sums.lock();
        let read = sums.iter().map(|(name, sum)| (name, sum.0.load(Ordering::Relaxed)));
        read.filter(|(_, sum)| *sum > 0).map(|(name, sum)| format!("{name} {sum}")).collect()
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.described.lock().insert(name.as_str().to_owned(), unit);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.sum(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.sum(key))
    }
}

#[test]
fn metrics_count_events_under_the_path_of_the_supervisor() {
    let (kept, events, db) = (Kept::default(), Events::new(), Path::root("shop").join("db"));
    metrics::with_local_recorder(&kept, || {
        for kind in all_kinds() {
            emit(&events, &db, kind);
        }
        // A root has no supervisor.
        emit(&events, &Path::root("shop"), EventKind::Started);
    });
    assert_eq!(
        kept.lines(),
        [
            "evertree_abandoned_total{supervisor=shop} 1",
            "evertree_auto_shutdowns_total{supervisor=shop/db} 1",
            "evertree_backoff_seconds{supervisor=shop} 1000",
            "evertree_child_exits_total{supervisor=shop,reason=crashed} 1",
            "evertree_child_exits_total{supervisor=shop,reason=gave_up} 1",
            "evertree_child_exits_total{supervisor=shop,reason=hung} 1",
            "evertree_child_exits_total{supervisor=shop,reason=killed} 1",
            "evertree_child_exits_total{supervisor=shop,reason=normal} 1",
            "evertree_child_exits_total{supervisor=shop,reason=shutdown} 1",
            "evertree_child_exits_total{supervisor=shop,reason=start_failed} 1",
            "evertree_child_starts_total{supervisor=shop} 2",
            "evertree_dead_letters_total{supervisor=shop} 4",
            "evertree_declines_total{supervisor=shop} 1",
            "evertree_escalations_total{supervisor=shop/db} 1",
            "evertree_hung_total{supervisor=shop} 2",
            "evertree_kills_total{supervisor=shop} 1",
            "evertree_restarts_total{supervisor=shop} 1",
            "evertree_rollbacks_total{supervisor=shop} 2",
            "evertree_stuck_total{supervisor=shop} 1",
        ]
    );
}

#[test]
fn the_table_of_metrics_in_the_documentation_is_what_is_counted() {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        emit(&Events::new(), &Path::root("shop"), EventKind::Started);
    });
    let described = kept.described.lock();
    let registered = kept.sums.lock();
    let rows: BTreeMap<_, _> = include_str!("../event.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .filter_map(|row| row.split_once('`'))
        .collect();
    assert!(rows.keys().eq(described.keys()), "{rows:?} against {described:?}");
    for (name, row) in rows {
        let labels = if name == meters::EXITS { "`supervisor`, `reason`" } else { "`supervisor`" };
        assert_eq!(row.split(" | ").nth(3), Some(labels), "{name}");
        let seconds = described[name] == Some(Unit::Seconds);
        assert_eq!(row.contains("| seconds |"), seconds, "{name}");
        assert_eq!(row.starts_with(" | histogram"), seconds, "{name}");
        assert!(registered.keys().any(|key| key.split('{').next() == Some(name)), "{name}");
    }
}

#[test]
fn metrics_name_a_bounded_number_of_supervisors() {
    let (kept, events, root) = (Kept::default(), Events::new(), Path::root("shop"));
    metrics::with_local_recorder(&kept, || {
        for supervisor in 0..SUPERVISORS_MAX + 5 {
            let child = root.join(&supervisor.to_string()).join("db");
            emit(&events, &child, EventKind::Stuck);
            emit(&events, &child, EventKind::Stuck);
        }
    });
    let lines = kept.lines();
    assert_eq!(lines.len(), SUPERVISORS_MAX + 1);
    let other = format!("{}{{supervisor={OTHER_SUPERVISORS}}} 10", meters::STUCK);
    assert_eq!(lines.iter().filter(|line| **line == other).count(), 1);
}
