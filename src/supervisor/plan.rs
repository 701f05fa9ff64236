//! A spec that was checked: what all incarnations of a supervisor are made from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, ChildSnapshot, Kind, Row, Snapshot};
use super::checkpoint::Recovery;
use super::launch::Launch;
use crate::event::Path;
use crate::restart::{AutoShutdown, Backoff, Config, Intensity, Restart, Rule, Shutdown, Strategy};

/// A child, checked.
pub(super) struct ChildPlan {
    /// Its last part is the child's name.
    pub(super) path: Path,
    pub(super) launch: Arc<dyn Launch>,
    rare: Option<Box<Rare>>,
    shutdown: Shutdown,
    restart: Restart,
    significant: bool,
    abandon_stuck: bool,
}

/// What few children have.
#[derive(Default)]
pub(super) struct Rare {
    /// Of a supervisor.
    pub(super) below: Option<Arc<Blueprint>>,
    pub(super) backoff: Option<Backoff>,
    pub(super) budget: Option<Intensity>,
    /// How long a start may take.
    pub(super) start_within: Option<Duration>,
    /// What its saved states have to do with its crashes.
    pub(super) recovery: Option<Arc<dyn Recovery>>,
}

impl ChildPlan {
    pub(super) fn new(path: Path, rule: Rule, launch: Arc<dyn Launch>) -> Self {
        let Rule { restart, shutdown, significant, backoff, budget, abandon_stuck } = rule;
        let rare = (backoff.is_some() || budget.is_some())
            .then(|| Box::new(Rare { backoff, budget, ..Rare::default() }));
        Self { path, launch, rare, shutdown, restart, significant, abandon_stuck }
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn below(&self) -> Option<&Arc<Blueprint>> {
        self.rare.as_ref()?.below.as_ref()
    }

    pub(super) fn name(&self) -> &str {
        self.path.name()
    }

    pub(super) fn start_within(&self) -> Option<Duration> {
        self.rare.as_ref()?.start_within
    }

    pub(super) fn recovery(&self) -> Option<&Arc<dyn Recovery>> {
        self.rare.as_ref()?.recovery.as_ref()
    }

    pub(super) fn rule(&self) -> Rule {
        Rule {
            restart: self.restart,
            shutdown: self.shutdown,
            significant: self.significant,
            backoff: self.rare.as_ref().and_then(|rare| rare.backoff),
            budget: self.rare.as_ref().and_then(|rare| rare.budget),
            abandon_stuck: self.abandon_stuck,
        }
    }
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
            children: self.children.iter().map(|child| child.rule()).collect(),
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
            name: plan.name().to_owned(),
            path: plan.path.clone(),
            kind: if plan.below().is_some() { Kind::Supervisor } else { Kind::Worker },
            restart: plan.restart,
            shutdown: plan.shutdown,
            significant: plan.significant,
            status: self.status,
            incarnation: self.incarnation,
            restarts: self.restarts,
            below: plan.below().map(|below| below.snapshot()),
        }
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blueprint({})", self.path)
    }
}
