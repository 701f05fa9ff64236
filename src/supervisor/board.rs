//! What a supervisor shows of its children: a board that can be read at any time, also while the
//! supervisor is busy or gone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use serde::{Deserialize, Serialize};

use super::driver::Note;
use super::exit;
use super::plan::ChildPlan;
use crate::base::{Clock, ExitReason, Instant, Keyed};
use crate::event::{EventId, Path};
use crate::restart::{Intensity, Restart, Shutdown, Strategy};

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// An actor or a task.
    Worker,
    /// A supervisor.
    Supervisor,
}

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChildStatus {
    /// Down; its supervisor will start it when its turn comes, or has not begun.
    Waiting,
    /// Down; its supervisor starts it when its backoff is over.
    BackingOff,
    /// Its start is under way.
    Starting,
    /// It has started.
    Running,
    /// It was asked to stop, or killed, and is not gone yet.
    Stopping,
    /// It was killed and its task still runs.
    Stuck,
    /// It ended and is not restarted, was terminated, or declined to start.
    Resting,
}

/// One child at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSnapshot {
    /// Its name in its supervisor.
    pub name: String,
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub kind: Kind,
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Where it stands.
    pub status: ChildStatus,
    /// Its present or last incarnation, counted from 1; 0 before the first.
    pub incarnation: u64,
    /// Restarts its supervisor decided for it.
    pub restarts: u64,
    /// Its end may end its supervisor.
    pub significant: bool,
    /// Of a supervisor: its children.
    pub below: Option<Snapshot>,
}

/// A supervisor and its children at a moment. Supervisors are read one after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where it is.
    pub path: Path,
    /// Who is restarted with whom.
    pub strategy: Strategy,
    /// Restarts that it would survive now.
    pub restarts_left: u32,
    /// The listed children in the order of the list.
    pub children: Vec<ChildSnapshot>,
}

/// OTP's `count_children`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Listed children.
    pub specs: usize,
    /// Those that run.
    pub active: usize,
    /// Listed supervisors.
    pub supervisors: usize,
    /// Listed workers.
    pub workers: usize,
}

impl Snapshot {
    /// The direct children, counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |kind| self.children.iter().filter(|child| child.kind == kind).count();
        let running = |child: &&ChildSnapshot| child.status == ChildStatus::Running;
        Counts {
            specs: self.children.len(),
            active: self.children.iter().filter(running).count(),
            supervisors: of(Kind::Supervisor),
            workers: of(Kind::Worker),
        }
    }

    /// The child at `path`, however deep.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&ChildSnapshot> {
        self.children.iter().find_map(|child| {
            if child.path.as_str() == path { Some(child) } else { child.below.as_ref()?.find(path) }
        })
    }

    /// The stuck children that have no stuck child themselves.
    #[must_use]
    pub fn stuck(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for child in &self.children {
            let below = child.below.as_ref().map(Self::stuck).unwrap_or_default();
            if below.is_empty() && child.status == ChildStatus::Stuck {
                paths.push(child.path.clone());
            }
            paths.extend(below);
        }
        paths
    }

    fn lines(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for child in &self.children {
            let ChildSnapshot { name, status, incarnation, restarts, .. } = child;
            let indent = depth * 2;
            write!(f, "\n{:indent$}{name}: {status:?}, incarnation {incarnation}", "")?;
            write!(f, ", restarts {restarts}")?;
            if let Some(below) = &child.below {
                write!(f, ", {:?}, {} restarts left", below.strategy, below.restarts_left)?;
                below.lines(depth + 1, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, strategy, restarts_left, .. } = self;
        write!(f, "{path}: {strategy:?}, {restarts_left} restarts left")?;
        self.lines(1, f)
    }
}

/// A child on the board.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) plan: Arc<ChildPlan>,
    pub(super) status: ChildStatus,
    pub(super) incarnation: u64,
    pub(super) restarts: u64,
}

/// How a supervisor said that it ended.
#[derive(Debug, Clone)]
pub(super) struct LastWord {
    pub(super) reason: ExitReason,
    pub(super) cause: Option<EventId>,
}

/// Where a supervisor takes requests.
#[derive(Default)]
pub(super) enum Door {
    /// Its tree was not started.
    #[default]
    Unbound,
    /// It is down and may come back.
    Vacant,
    Open(ActorRef<Note>, Arc<dyn Clock>),
    /// It has ended and does not come back.
    Closed,
}

#[derive(Default)]
struct Inner {
    /// By key, which is the order of the list.
    rows: Keyed<Row>,
    /// Incarnations and restarts of the declared children, also while they are not listed.
    lives: Vec<(u64, u64)>,
    last_word: Option<LastWord>,
    /// The restarts that may still count.
    recent: VecDeque<Instant>,
}

/// The part of a supervisor that outlives its incarnations.
#[derive(Default)]
pub(super) struct Board {
    inner: Mutex<Inner>,
    pub(super) door: RwLock<Door>,
}

impl Board {
    pub(super) fn new(children: &[Arc<ChildPlan>]) -> Arc<Self> {
        let board = Self::default();
        board.begin(children);
        Arc::new(board)
    }

    /// A new incarnation of the supervisor: all declared children are listed again, and counted on.
    /// Those that were added are not, as in OTP.
    pub(super) fn begin(&self, children: &[Arc<ChildPlan>]) {
        let old = {
            let mut inner = self.inner.lock();
            let Inner { rows, lives, last_word, recent } = &mut *inner;
            lives.resize(children.len(), (0, 0));
            note_lives(rows, lives);
            *last_word = None;
            recent.clear();
            let listed = children.iter().zip(&*lives).map(|(plan, (incarnation, restarts))| Row {
                plan: plan.clone(),
                status: ChildStatus::Waiting,
                incarnation: *incarnation,
                restarts: *restarts,
            });
            std::mem::replace(rows, listed.enumerate().collect())
        };
        for (_, added) in old.iter().filter(|(key, _)| *key >= children.len()) {
            added.plan.launch.close();
        }
        drop_quietly(old);
    }

    /// Lists a child that was added.
    pub(super) fn add(&self, child: usize, plan: Arc<ChildPlan>) {
        let row = Row { plan, status: ChildStatus::Waiting, incarnation: 0, restarts: 0 };
        self.inner.lock().rows.push(child, row);
    }

    /// Lists a child no longer.
    pub(super) fn remove(&self, child: usize) {
        let row = {
            let mut inner = self.inner.lock();
            let row = inner.rows.remove(child);
            if let Some(row) = &row
                && let Some(life) = inner.lives.get_mut(child)
            {
                *life = (row.incarnation, row.restarts);
            }
            row
        };
        drop_quietly(row);
    }

    pub(super) fn row(&self, child: usize) -> Option<Row> {
        self.inner.lock().rows.get(child).cloned()
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.inner.lock().rows.values().cloned().collect()
    }

    /// The key of the listed child of this name. Walks the list.
    pub(super) fn key_of(&self, name: &str) -> Option<usize> {
        let inner = self.inner.lock();
        inner.rows.iter().find(|(_, row)| row.plan.name() == name).map(|(key, _)| key)
    }

    /// Counts without a copy of the list.
    pub(super) fn counts(&self) -> Counts {
        let inner = self.inner.lock();
        let mut counts = Counts { specs: inner.rows.len(), ..Counts::default() };
        for row in inner.rows.values() {
            counts.active += usize::from(row.status == ChildStatus::Running);
            counts.supervisors += usize::from(row.plan.below().is_some());
        }
        counts.workers = counts.specs - counts.supervisors;
        counts
    }

    pub(super) fn change(&self, child: usize, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.inner.lock().rows.get_mut(child) {
            change(row);
        }
    }

    /// The supervisor has ended for good: no child that is down will be started.
    pub(super) fn rest(&self) {
        for row in self.inner.lock().rows.values_mut() {
            if row.status != ChildStatus::Stuck {
                row.status = ChildStatus::Resting;
            }
        }
    }

    /// Notes a restart, which counts for `period`.
    pub(super) fn restarted(&self, now: Instant, intensity: Intensity) {
        let recent = &mut self.inner.lock().recent;
        while recent.front().is_some_and(|then| now.since(*then) > intensity.period) {
            recent.pop_front();
        }
        recent.push_back(now);
    }

    /// Restarts that the supervisor would survive now; all of them while it is down.
    pub(super) fn restarts_left(&self, intensity: Intensity) -> u32 {
        let Door::Open(_, clock) = &*self.door.read() else { return intensity.restarts };
        let now = clock.now();
        let inner = self.inner.lock();
        let counting = inner.recent.iter().filter(|then| now.since(**then) <= intensity.period);
        intensity.restarts.saturating_sub(u32::try_from(counting.count()).unwrap_or(u32::MAX))
    }

    pub(super) fn say(&self, word: LastWord) {
        self.inner.lock().last_word = Some(word);
    }

    pub(super) fn last_word(&self) -> Option<LastWord> {
        self.inner.lock().last_word.take()
    }
}

/// Drops plans, and with them what users' factories hold, outside of the lock and of the
/// supervisor's way.
fn drop_quietly<T>(plans: T) {
    if let Err(panic) = exit::quietly(move || drop(plans)) {
        tracing::error!(panic, "a child's factory panicked in drop");
    }
}

fn note_lives(rows: &Keyed<Row>, lives: &mut [(u64, u64)]) {
    for (child, life) in lives.iter_mut().enumerate() {
        if let Some(row) = rows.get(child) {
            *life = (row.incarnation, row.restarts);
        }
    }
}
