//! Declaring a tree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use ractor::Actor;

use super::api::SupervisorRef;
use super::check::{Flaw, Place, rule_of};
use super::launch::{Launch, TaskLaunch};
use super::options::{ChildOptions, SPAN_MAX, say_options};
use super::plan::{Blueprint, ChildPlan};
use super::task::{Outcome, Stop};
use super::tree::{Setting, StartError, Tree};
use super::worker::Worker;
use crate::restart::{AutoShutdown, Intensity, Shutdown, Strategy};

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
    Worker::new(name.into(), make)
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
    let body = Body::Worker(Arc::new(TaskLaunch(Arc::new(run))));
    let options = ChildOptions::new(Shutdown::WORKER);
    ChildSpec { name: name.into(), options, body, bound_twice: false }
}

pub(super) enum Body {
    Worker(Arc<dyn Launch>),
    Supervisor(Box<SupervisorSpec>),
}

/// The spec of one child: an actor ([`worker`]), a task ([`task`]) or a [`SupervisorSpec`].
pub struct ChildSpec {
    pub(super) name: String,
    pub(super) options: ChildOptions,
    pub(super) body: Body,
    /// A ref was another child's already, or the child had one.
    pub(super) bound_twice: bool,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ChildSpec");
        shown.field("name", &self.name).field("options", &self.options);
        match &self.body {
            Body::Worker(_) => shown.finish_non_exhaustive(),
            Body::Supervisor(spec) => shown.field("supervisor", spec).finish(),
        }
    }
}

impl<A: Actor> From<Worker<A>> for ChildSpec {
    fn from(worker: Worker<A>) -> Self {
        let Worker { name, options, launch, bound_twice } = worker;
        Self { name, options, body: Body::Worker(Arc::new(launch)), bound_twice }
    }
}

impl From<SupervisorSpec> for ChildSpec {
    fn from(spec: SupervisorSpec) -> Self {
        let options = ChildOptions::new(Shutdown::SUPERVISOR);
        let (name, body) = (spec.name.clone(), Body::Supervisor(Box::new(spec)));
        Self { name, options, body, bound_twice: false }
    }
}

impl ChildSpec {
    say_options!();

    /// Checks the spec as that of the child `key` of a running supervisor.
    pub(super) fn draw_as(mut self, supervisor: &Blueprint, key: usize) -> Result<ChildPlan, Flaw> {
        if supervisor.is_dynamic {
            Place::below(&supervisor.path).of(&self.name)?;
            self.name = format!("{}-{key}", self.name);
        }
        self.draw(&Place::below(&supervisor.path), supervisor.auto_shutdown)
    }

    fn draw(self, place: &Place<'_>, auto_shutdown: AutoShutdown) -> Result<ChildPlan, Flaw> {
        let path = place.of(&self.name)?;
        if self.bound_twice {
            return Err(Flaw::new(&path, "bind", "a ref has one child, and a child one ref"));
        }
        let rule = rule_of(&self.options, &path, auto_shutdown)?;
        let (launch, below): (Arc<dyn Launch>, _) = match self.body {
            Body::Worker(launch) => match launch.objection() {
                Some((field, why)) => return Err(Flaw::new(&path, field, why)),
                None => (launch, None),
            },
            Body::Supervisor(mut spec) => {
                spec.name.clone_from(&self.name);
                let below = spec.draw(place)?;
                (Arc::new(below.clone()), Some(below))
            }
        };
        let mut plan = ChildPlan::new(path, rule, launch);
        if below.is_some() {
            plan.rare_mut().below = below;
        }
        if let Some(limit) = self.options.start_within {
            plan.rare_mut().start_within = Some(limit);
        }
        if let Some(recovery) = self.options.recovery {
            plan.rare_mut().recovery = Some(recovery);
        }
        Ok(plan)
    }
}

/// A supervisor and its children, declared. The order of the children is the order of start, and
/// the reverse of the order of stop.
#[derive(Debug)]
pub struct SupervisorSpec {
    name: String,
    strategy: Strategy,
    intensity: Intensity,
    auto_shutdown: AutoShutdown,
    is_dynamic: bool,
    children_max: usize,
    children: Vec<ChildSpec>,
    bound: Vec<SupervisorRef>,
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

    /// A supervisor of many children that are alike, all started by
    /// [`start_child`](SupervisorRef::start_child) and numbered by it: OTP's `simple_one_for_one`,
    /// Elixir's `DynamicSupervisor`. A child that ends is restarted alone.
    ///
    /// Differs: the children are stopped one by one, the last first, where OTP stops all at once.
    #[must_use]
    pub fn dynamic(name: impl Into<String>) -> Self {
        Self { is_dynamic: true, ..Self::new(name, Strategy::OneForOne) }
    }

    /// A supervisor with this strategy and no children.
    #[must_use]
    pub fn new(name: impl Into<String>, strategy: Strategy) -> Self {
        Self {
            name: name.into(),
            strategy,
            intensity: Intensity::default(),
            auto_shutdown: AutoShutdown::Never,
            is_dynamic: false,
            children_max: usize::MAX,
            children: Vec::new(),
            bound: Vec::new(),
        }
    }

    /// Survives `restarts` restarts within `period`, and gives up at the next; 3 within 5 s if
    /// nothing is said.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = Intensity { restarts, period };
        self
    }

    /// Whether the supervisor stops by itself when significant children have ended; never if
    /// nothing is said.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Most children that it may have at a time, those that do not run included; any number if
    /// nothing is said.
    #[must_use]
    pub fn max_children(mut self, children: usize) -> Self {
        self.children_max = children;
        self
    }

    /// Adds a child after those there are.
    #[must_use]
    pub fn child(mut self, child: impl Into<ChildSpec>) -> Self {
        self.children.push(child.into());
        self
    }

    /// Lets `supervisor` refer to this supervisor, so that its children and others can ask it. A
    /// ref has one supervisor; binding it to a second is an error at start.
    #[must_use]
    pub fn bind(mut self, supervisor: &SupervisorRef) -> Self {
        self.bound.push(supervisor.clone());
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
        let blueprint = self.draw(&Place::root())?;
        Tree::grow(blueprint, setting).await
    }

    /// Checks the spec and everything below it.
    fn draw(self, place: &Place<'_>) -> Result<Arc<Blueprint>, Flaw> {
        let path = place.of(&self.name)?;
        if let Err(error) = self.intensity.validate() {
            return Err(Flaw::new(&path, "intensity", error.to_string()));
        }
        if self.intensity.period > SPAN_MAX {
            return Err(Flaw::new(
                &path,
                "intensity",
                format!("a period has at most {SPAN_MAX:?}"),
            ));
        }
        if self.is_dynamic && !self.children.is_empty() {
            let why = "a dynamic supervisor starts its children by request alone";
            return Err(Flaw::new(&path, "child", why));
        }
        if self.children.len() > self.children_max {
            let why = format!("{} are declared", self.children.len());
            return Err(Flaw::new(&path, "max_children", why));
        }
        let below = Place::below(&path);
        let mut names = std::collections::BTreeSet::new();
        let mut children = Vec::with_capacity(self.children.len());
        for child in self.children {
            let plan = child.draw(&below, self.auto_shutdown)?;
            if !names.insert(plan.path.clone()) {
                return Err(Flaw::new(&plan.path, "name", "another child has this name"));
            }
            children.push(Arc::new(plan));
        }
        let blueprint = Arc::new(Blueprint {
            path,
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            is_dynamic: self.is_dynamic,
            children_max: self.children_max,
            board: super::board::Board::new(&children),
            children,
        });
        for bound in self.bound {
            if !bound.settle(blueprint.clone()) {
                let why = "the ref is another supervisor's already";
                return Err(Flaw::new(&blueprint.path, "bind", why));
            }
        }
        Ok(blueprint)
    }
}
