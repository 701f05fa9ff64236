//! Declaring a tree.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use ractor::Actor;

use super::board::{Board, ChildSnapshot, ChildStatus, Kind, Snapshot};
use super::launch::{Launch, TaskLaunch};
use super::task::{Outcome, Stop};
use super::tree::{Setting, StartError, Tree};
use super::worker::{ActorLaunch, Worker};
use crate::event::Path;
use crate::restart::{Config, Intensity, Restart, Rule, Shutdown, Strategy};

/// Longest name of a child, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A child that is a ractor actor. `make` gives the actor and its arguments for each incarnation;
/// it runs outside the supervisor, and a panic in it is a failed start.
///
/// ```text
/// worker("db", || (Db, DbArgs::default())).restart(Restart::Transient).bind(&db)
/// ```
pub fn worker<A: Actor>(
    name: impl Into<String>,
    make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static,
) -> Worker<A> {
    Worker {
        name: name.into(),
        restart: Restart::default(),
        shutdown: Shutdown::WORKER,
        launch: ActorLaunch { make: Arc::new(make), bind: None },
        bound_twice: false,
    }
}

/// A child that is an async task. `body` is called once for each incarnation; the task should end
/// soon after [`Stop`] asks it to. A return is a normal exit, an `Err` or a panic an abnormal one.
pub fn task<F>(
    name: impl Into<String>,
    body: impl Fn(Stop) -> F + Send + Sync + 'static,
) -> ChildSpec
where
    F: Future + Send + 'static,
    F::Output: Outcome,
{
    let run = move |stop: Stop| body(stop).map(Outcome::outcome).boxed();
    ChildSpec {
        name: name.into(),
        restart: Restart::default(),
        shutdown: Shutdown::WORKER,
        body: Body::Worker(Arc::new(TaskLaunch(Arc::new(run)))),
        bound_twice: false,
    }
}

enum Body {
    Worker(Arc<dyn Launch>),
    Supervisor(SupervisorSpec),
}

/// The spec of one child.
pub struct ChildSpec {
    name: String,
    restart: Restart,
    shutdown: Shutdown,
    body: Body,
    bound_twice: bool,
}

impl ChildSpec {
    /// When it is restarted; `Permanent` if nothing is said.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is stopped: a time after which it is killed, or a [`Shutdown`]. If nothing is said, a
    /// worker has 5 s and a supervisor as long as it needs.
    #[must_use]
    pub fn shutdown(mut self, shutdown: impl Into<Shutdown>) -> Self {
        self.shutdown = shutdown.into();
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ChildSpec");
        shown.field("name", &self.name).field("restart", &self.restart);
        shown.field("shutdown", &self.shutdown);
        match &self.body {
            Body::Worker(_) => shown.finish_non_exhaustive(),
            Body::Supervisor(spec) => shown.field("supervisor", spec).finish(),
        }
    }
}

impl<A: Actor> From<Worker<A>> for ChildSpec {
    fn from(worker: Worker<A>) -> Self {
        let Worker { name, restart, shutdown, launch, bound_twice } = worker;
        Self { name, restart, shutdown, body: Body::Worker(Arc::new(launch)), bound_twice }
    }
}

impl From<SupervisorSpec> for ChildSpec {
    fn from(spec: SupervisorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            restart: Restart::default(),
            shutdown: Shutdown::SUPERVISOR,
            body: Body::Supervisor(spec),
            bound_twice: false,
        }
    }
}

/// A supervisor and its children, declared. The order of the children is the order of start, and
/// the reverse of the order of stop.
#[derive(Debug)]
pub struct SupervisorSpec {
    name: String,
    strategy: Strategy,
    intensity: Intensity,
    children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A child that ends is restarted alone.
    #[must_use]
    pub fn one_for_one(name: impl Into<String>) -> Self {
        Self::new(name, Strategy::OneForOne)
    }

    /// All children are restarted with one that ends.
    #[must_use]
    pub fn one_for_all(name: impl Into<String>) -> Self {
        Self::new(name, Strategy::OneForAll)
    }

    /// The children after one that ends are restarted with it.
    #[must_use]
    pub fn rest_for_one(name: impl Into<String>) -> Self {
        Self::new(name, Strategy::RestForOne)
    }

    /// A supervisor with this strategy and no children.
    #[must_use]
    pub fn new(name: impl Into<String>, strategy: Strategy) -> Self {
        let (name, intensity) = (name.into(), Intensity::default());
        Self { name, strategy, intensity, children: Vec::new() }
    }

    /// Survives `restarts` restarts within `period`, and gives up at the next; 3 within 5 s if
    /// nothing is said.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: std::time::Duration) -> Self {
        self.intensity = Intensity { restarts, period };
        self
    }

    /// Adds a child after those there are.
    #[must_use]
    pub fn child(mut self, child: impl Into<ChildSpec>) -> Self {
        self.children.push(child.into());
        self
    }

    /// Starts the tree on tokio's clock; see [`start_in`](Self::start_in).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Tree, StartError> {
        self.start_in(Setting::default()).await
    }

    /// Starts the tree, child by child, and returns when all have started. If one does not, those
    /// before it are stopped in reverse order. Dropping the future undoes the start.
    ///
    /// # Errors
    /// [`StartError`]: nothing of the tree lives then. A spec that is not valid is refused before
    /// anything starts.
    pub async fn start_in(self, setting: Setting) -> Result<Tree, StartError> {
        if cfg!(panic = "abort") {
            return Err(StartError::PanicAbort);
        }
        let blueprint = self.draw(None)?;
        Tree::grow(blueprint, setting).await
    }

    /// Checks the spec and everything below it.
    fn draw(self, parent: Option<&Path>) -> Result<Arc<Blueprint>, StartError> {
        let path = place(parent, &self.name)?;
        self.intensity
            .validate()
            .map_err(|error| invalid(&path, "intensity", error.to_string()))?;
        let mut children: Vec<ChildPlan> = Vec::with_capacity(self.children.len());
        let mut names = std::collections::BTreeSet::new();
        for child in self.children {
            let at = place(Some(&path), &child.name)?;
            if !names.insert(child.name.clone()) {
                return Err(invalid(&at, "name", "another child has this name"));
            }
            if child.bound_twice {
                return Err(invalid(&at, "bind", "a ref has one child, and a child one ref"));
            }
            let (launch, below): (Arc<dyn Launch>, _) = match child.body {
                Body::Worker(launch) => (launch, None),
                Body::Supervisor(spec) => {
                    let below = spec.draw(Some(&path))?;
                    (Arc::new(below.clone()), Some(below))
                }
            };
            let rule = Rule { restart: child.restart, shutdown: child.shutdown };
            children.push(ChildPlan { name: child.name, path: at, rule, launch, below });
        }
        let board = Board::new(children.len());
        let (strategy, intensity) = (self.strategy, self.intensity);
        Ok(Arc::new(Blueprint { path, strategy, intensity, children, board }))
    }
}

fn invalid(path: &Path, field: &'static str, why: impl Into<String>) -> StartError {
    StartError::Invalid { path: path.clone(), field, why: why.into() }
}

/// The path of `name` below `parent`.
fn place(parent: Option<&Path>, name: &str) -> Result<Path, StartError> {
    let path = parent.map_or_else(|| Path::root(name), |parent| parent.join(name));
    let why = if name.is_empty() {
        "it must not be empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("it must have at most {NAME_BYTES_MAX} bytes")
    } else if name.contains('/') || name.contains(char::is_control) {
        "it must not contain `/` or control characters".to_owned()
    } else {
        return Ok(path);
    };
    Err(invalid(&path, "name", why))
}

/// A child, checked.
pub(super) struct ChildPlan {
    pub(super) name: String,
    pub(super) path: Path,
    pub(super) rule: Rule,
    pub(super) launch: Arc<dyn Launch>,
    pub(super) below: Option<Arc<Blueprint>>,
}

/// A supervisor, checked: what all its incarnations are made from.
pub(super) struct Blueprint {
    pub(super) path: Path,
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) children: Vec<ChildPlan>,
    pub(super) board: Arc<Board>,
}

impl Blueprint {
    pub(super) fn config(&self) -> Config {
        Config {
            strategy: self.strategy,
            intensity: self.intensity,
            children: self.children.iter().map(|child| child.rule).collect(),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let rows = self.board.rows();
        let listed = self.children.iter().zip(rows).filter_map(|(child, row)| {
            let status: ChildStatus = row.status?;
            Some(ChildSnapshot {
                name: child.name.clone(),
                path: child.path.clone(),
                kind: if child.below.is_some() { Kind::Supervisor } else { Kind::Worker },
                restart: child.rule.restart,
                status,
                incarnation: row.incarnation,
                restarts: row.restarts,
                below: child.below.as_ref().map(|below| below.snapshot()),
            })
        });
        let children = listed.collect();
        Snapshot { path: self.path.clone(), strategy: self.strategy, children }
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blueprint({})", self.path)
    }
}
