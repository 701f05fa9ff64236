//! Events as metrics. The table of names is in the documentation of the module `event`.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Histogram, Unit, counter, histogram};

use super::{EventKind, Happened};
use crate::base::ExitReason;

/// Supervisors of one tree that metrics name; each costs about 500 bytes and as many series as
/// the table has rows, and those of `evertree_child_exits_total` seven times.
pub const SUPERVISORS_MAX: usize = 1_000;

/// The label of all supervisors after the first [`SUPERVISORS_MAX`]. No path looks like it.
pub const OTHER_SUPERVISORS: &str = "/other";

pub(super) const STARTS: &str = "evertree_child_starts_total";
pub(super) const EXITS: &str = "evertree_child_exits_total";
pub(super) const DECLINES: &str = "evertree_declines_total";
pub(super) const RESTARTS: &str = "evertree_restarts_total";
pub(super) const BACKOFF: &str = "evertree_backoff_seconds";
pub(super) const KILLS: &str = "evertree_kills_total";
pub(super) const HUNG: &str = "evertree_hung_total";
pub(super) const STUCK: &str = "evertree_stuck_total";
pub(super) const ABANDONED: &str = "evertree_abandoned_total";
pub(super) const ROLLBACKS: &str = "evertree_rollbacks_total";
pub(super) const DEAD_LETTERS: &str = "evertree_dead_letters_total";
pub(super) const ESCALATIONS: &str = "evertree_escalations_total";
pub(super) const AUTO_SHUTDOWNS: &str = "evertree_auto_shutdowns_total";

/// Tells the recorder units and meanings.
fn describe() {
    let counters = [
        (STARTS, "incarnations of children that started"),
        (EXITS, "incarnations of children that ended"),
        (DECLINES, "incarnations of children that chose not to start"),
        (RESTARTS, "restarts decided"),
        (KILLS, "incarnations of children that were killed by their supervisor"),
        (HUNG, "incarnations of children that did not get on"),
        (STUCK, "incarnations of children that outlived their kill"),
        (ABANDONED, "incarnations of children that outlived their kill and were left alone"),
        (ROLLBACKS, "generations of checkpoints that were given up"),
        (DEAD_LETTERS, "messages that nobody will handle"),
        (ESCALATIONS, "supervisors that gave up"),
        (AUTO_SHUTDOWNS, "supervisors that ended with a significant child"),
    ];
    for (name, meaning) in counters {
        metrics::describe_counter!(name, Unit::Count, meaning);
    }
    metrics::describe_histogram!(BACKOFF, Unit::Seconds, "how long restarts waited");
}

/// The metrics of one supervisor.
#[derive(Debug)]
pub(super) struct Meters {
    starts: Counter,
    exits: Exits,
    declines: Counter,
    restarts: Counter,
    backoff: Histogram,
    kills: Counter,
    hung: Counter,
    stuck: Counter,
    abandoned: Counter,
    rollbacks: Counter,
    dead_letters: Counter,
    escalations: Counter,
    auto_shutdowns: Counter,
}

#[derive(Debug)]
struct Exits {
    normal: Counter,
    shutdown: Counter,
    killed: Counter,
    crashed: Counter,
    start_failed: Counter,
    hung: Counter,
    gave_up: Counter,
}

impl Exits {
    fn new(supervisor: &Arc<str>) -> Self {
        let of = |reason| counter!(EXITS, "supervisor" => supervisor.clone(), "reason" => reason);
        Self {
            normal: of("normal"),
            shutdown: of("shutdown"),
            killed: of("killed"),
            crashed: of("crashed"),
            start_failed: of("start_failed"),
            hung: of("hung"),
            gave_up: of("gave_up"),
        }
    }

    fn of(&self, reason: &ExitReason) -> &Counter {
        match reason {
            ExitReason::Normal => &self.normal,
            ExitReason::Shutdown => &self.shutdown,
            ExitReason::Killed => &self.killed,
            ExitReason::Crashed(_) => &self.crashed,
            ExitReason::StartFailed(_) => &self.start_failed,
            ExitReason::Hung => &self.hung,
            ExitReason::GaveUp => &self.gave_up,
        }
    }
}

impl Meters {
    fn new(supervisor: &str) -> Self {
        let supervisor: Arc<str> = supervisor.into();
        let of = |name: &'static str| counter!(name, "supervisor" => supervisor.clone());
        Self {
            starts: of(STARTS),
            exits: Exits::new(&supervisor),
            declines: of(DECLINES),
            restarts: of(RESTARTS),
            backoff: histogram!(BACKOFF, "supervisor" => supervisor.clone()),
            kills: of(KILLS),
            hung: of(HUNG),
            stuck: of(STUCK),
            abandoned: of(ABANDONED),
            rollbacks: of(ROLLBACKS),
            dead_letters: of(DEAD_LETTERS),
            escalations: of(ESCALATIONS),
            auto_shutdowns: of(AUTO_SHUTDOWNS),
        }
    }

    /// Counts what happened.
    pub(super) fn count(&self, kind: &EventKind) {
        let one = match kind {
            EventKind::Started => &self.starts,
            EventKind::Exited(reason) => self.exits.of(reason),
            EventKind::Declined => &self.declines,
            EventKind::Restarting { .. } => &self.restarts,
            EventKind::Killing => &self.kills,
            EventKind::Hung { .. } => &self.hung,
            EventKind::Stuck => &self.stuck,
            EventKind::Abandoned => &self.abandoned,
            EventKind::RolledBack { .. } => &self.rollbacks,
            EventKind::Escalated => &self.escalations,
            EventKind::AutoShutdown => &self.auto_shutdowns,
            EventKind::BackingOff { delay } => return self.backoff.record(delay.as_secs_f64()),
            EventKind::DeadLetters { count } => return self.dead_letters.increment(*count),
            EventKind::Stopping
            | EventKind::ShuttingDown
            | EventKind::Added
            | EventKind::Removed => return,
        };
        one.increment(1);
    }
}

/// The metrics of a tree, by the path of the supervisor. Only looked up.
#[derive(Debug, Default)]
pub(super) struct Registry {
    named: HashMap<Box<str>, Arc<Meters>>,
    /// The one that was asked for last: most events come in rows of one supervisor.
    last: Option<(Box<str>, Arc<Meters>)>,
}

impl Registry {
    /// The metrics of the supervisor to which, or to whose child, it happened.
    pub(super) fn of(&mut self, happened: &Happened<'_>) -> Arc<Meters> {
        let path = happened.path;
        let own = happened.kind.is_of_supervisor();
        let supervisor = path.parent().filter(|_| !own).unwrap_or(path.as_str());
        if let Some((last, meters)) = &self.last
            && **last == *supervisor
        {
            return meters.clone();
        }
        let meters = self.look_up(supervisor);
        self.last = Some((supervisor.into(), meters.clone()));
        meters
    }

    fn look_up(&mut self, supervisor: &str) -> Arc<Meters> {
        let is_named = self.named.contains_key(supervisor) || self.named.len() < SUPERVISORS_MAX;
        let named = if is_named { supervisor } else { OTHER_SUPERVISORS };
        if let Some(meters) = self.named.get(named) {
            return meters.clone();
        }
        if self.named.is_empty() {
            describe();
        }
        let meters = Arc::new(Meters::new(named));
        self.named.insert(named.into(), meters.clone());
        meters
    }
}
