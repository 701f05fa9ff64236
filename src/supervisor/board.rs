//! What a supervisor shows of its children: a board that can be read at any time, also while the
//! supervisor is busy or gone.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::base::ExitReason;
use crate::event::{EventId, Path};
use crate::restart::{Restart, Strategy};

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
    /// Its start is under way.
    Starting,
    /// It has started.
    Running,
    /// It was asked to stop, or killed, and is not gone yet.
    Stopping,
    /// It was killed and its task still runs.
    Stuck,
    /// It ended and is not restarted.
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
    /// Where it stands.
    pub status: ChildStatus,
    /// Its present or last incarnation, counted from 1; 0 before the first.
    pub incarnation: u64,
    /// Restarts its supervisor decided for it.
    pub restarts: u64,
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
                write!(f, ", {:?}", below.strategy)?;
                below.lines(depth + 1, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path, self.strategy)?;
        self.lines(1, f)
    }
}

/// What changes of a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// `None`: no longer listed.
    pub(super) status: Option<ChildStatus>,
    pub(super) incarnation: u64,
    pub(super) restarts: u64,
}

impl Row {
    const FIRST: Self =
        Self { status: Some(ChildStatus::Waiting), incarnation: 0, restarts: 0 };
}

/// How a supervisor said that it ended.
#[derive(Debug, Clone)]
pub(super) struct LastWord {
    pub(super) reason: ExitReason,
    pub(super) cause: Option<EventId>,
}

/// The part of a supervisor that outlives its incarnations.
#[derive(Debug)]
pub(super) struct Board {
    rows: Mutex<Vec<Row>>,
    last_word: Mutex<Option<LastWord>>,
}

impl Board {
    pub(super) fn new(children: usize) -> Arc<Self> {
        let rows = Mutex::new(vec![Row::FIRST; children]);
        Arc::new(Self { rows, last_word: Mutex::new(None) })
    }

    /// A new incarnation of the supervisor: all children are listed again, and counted on.
    pub(super) fn begin(&self) {
        *self.last_word.lock() = None;
        for row in self.rows.lock().iter_mut() {
            row.status = Some(ChildStatus::Waiting);
        }
    }

    pub(super) fn row(&self, child: usize) -> Row {
        self.rows.lock()[child]
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows.lock().clone()
    }

    pub(super) fn change(&self, child: usize, change: impl FnOnce(&mut Row)) {
        change(&mut self.rows.lock()[child]);
    }

    pub(super) fn say(&self, word: LastWord) {
        *self.last_word.lock() = Some(word);
    }

    pub(super) fn last_word(&self) -> Option<LastWord> {
        self.last_word.lock().take()
    }
}
