//! A spec that was checked: what all incarnations of a supervisor are made from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, ChildSnapshot, Kind, Row, Snapshot};
use super::checkpoint::Recovery;
use super::launch::Launch;
use crate::event::Path;
use crate::restart::{AutoShutdown, Config, Intensity, Rule, Strategy};

/// A child, checked.
pub(super) struct ChildPlan {
    pub(super) name: Box<str>,
    pub(super) path: Path,
    pub(super) rule: Rule,
    /// How long a start may take.
    pub(super) start_within: Option<Duration>,
    pub(super) launch: Arc<dyn Launch>,
    /// What its saved states have to do with its crashes.
    pub(super) recovery: Option<Arc<dyn Recovery>>,
    /// Of a supervisor.
    pub(super) below: Option<Arc<Blueprint>>,
}

/// A supervisor, checked.
pub(super) struct Blueprint {
    pub(super) path: Path,
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) auto_shutdown: AutoShutdown,
    /// Its children are started by request alone, and numbered.
    pub(super) is_dynamic: bool,
    /// Most children it may have at a time.
    pub(super) children_max: usize,
    /// The declared ones.
    pub(super) children: Vec<Arc<ChildPlan>>,
    pub(super) board: Arc<Board>,
}

impl Blueprint {
    /// What the machine needs to know; `seed` fixes its jitter.
    pub(super) fn config(&self, seed: u64) -> Config {
        Config {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            seed,
            children: self.children.iter().map(|child| child.rule).collect(),
        }
    }

    /// The children as they are now.
    pub(super) fn snapshot(&self) -> Snapshot {
        // Children are read after the board is let go: a tree of any depth holds one lock.
        let rows = self.board.rows();
        Snapshot {
            path: self.path.clone(),
            strategy: self.strategy,
            restarts_left: self.board.restarts_left(self.intensity),
            children: rows.iter().map(Row::snapshot).collect(),
        }
    }
}

impl Row {
    /// The child as it is now, with all below it.
    pub(super) fn snapshot(&self) -> ChildSnapshot {
        let plan = &self.plan;
        ChildSnapshot {
            name: plan.name.to_string(),
            path: plan.path.clone(),
            kind: if plan.below.is_some() { Kind::Supervisor } else { Kind::Worker },
            restart: plan.rule.restart,
            shutdown: plan.rule.shutdown,
            significant: plan.rule.significant,
            status: self.status,
            incarnation: self.incarnation,
            restarts: self.restarts,
            below: plan.below.as_ref().map(|below| below.snapshot()),
        }
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blueprint({})", self.path)
    }
}
