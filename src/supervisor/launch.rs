//! Starting one incarnation of each sort of child.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::board::Board;
use super::driver::{Note, SupervisorActor};
use super::exit;
use super::reference::ChildRef;
use super::spec::Blueprint;
use super::task::{Body, Stop, TaskActor};
use super::tree::Setting;
use crate::base::ExitReason;
use crate::event::{EventId, Path};
use crate::restart::{Restart, Shutdown};

/// Who did not start, and why.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) path: Path,
    pub(super) reason: ExitReason,
}

/// Where and as what an incarnation starts.
#[derive(Clone)]
pub(super) struct Post {
    /// Its supervisor; none for a root.
    pub(super) parent: Option<ActorCell>,
    pub(super) path: Path,
    pub(super) incarnation: u64,
    pub(super) setting: Arc<Setting>,
}

/// How an incarnation is asked to stop.
pub(super) enum StopWay {
    Actor,
    Task(Option<oneshot::Sender<()>>),
    Supervisor(ActorRef<Note>),
}

/// What a supervisor's keeper needs beyond a worker's.
pub(super) struct Subtree {
    /// Answered when all its children have started, or one has not.
    pub(super) up: oneshot::Receiver<Result<(), Fault>>,
    /// Closed when nothing of the subtree lives.
    pub(super) gone: mpsc::Receiver<Infallible>,
    pub(super) board: Arc<Board>,
}

/// An incarnation that has started; a supervisor still has to start its children.
pub(super) struct Running {
    pub(super) cell: ActorCell,
    pub(super) task: JoinHandle<()>,
    pub(super) stop: StopWay,
    pub(super) subtree: Option<Subtree>,
}

impl Running {
    /// Asks it to stop, because of the event `cause`.
    pub(super) fn stop(&mut self, cause: Option<EventId>) {
        match &mut self.stop {
            StopWay::Actor => self.cell.stop(Some(exit::SHUTDOWN.to_owned())),
            StopWay::Task(ask) => {
                self.cell.stop(Some(exit::SHUTDOWN.to_owned()));
                if let Some(ask) = ask.take() {
                    // A task that has ended need not be asked.
                    let _ = ask.send(());
                }
            }
            StopWay::Supervisor(supervisor) => {
                // Refused only if it has ended, which its keeper will see.
                let _ = supervisor.send_message(Note::Shutdown(cause));
            }
        }
    }
}

/// A keeper that is cut off (by a panic, or the end of the runtime) leaves no orphan.
impl Drop for Running {
    fn drop(&mut self) {
        self.cell.kill();
    }
}

/// Starts incarnations of one child.
pub(super) trait Launch: Send + Sync {
    /// Starts one. May be dropped at any point, which undoes the start.
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, ExitReason>>;

    /// Nobody is there for now.
    fn vacate(&self) {}

    /// Nobody will be there any more.
    fn close(&self) {}
}

async fn spawn<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    parent: Option<ActorCell>,
) -> Result<(ActorRef<A::Msg>, JoinHandle<()>), ExitReason> {
    // Never a name: ractor's registry is one per process.
    let spawned = match parent {
        Some(parent) => A::spawn_linked(None, actor, arguments, parent).await,
        None => A::spawn(None, actor, arguments).await,
    };
    spawned.map_err(|error| exit::start_failed(&error))
}

/// The spec of a child that is a ractor actor. Made by [`worker`](super::worker).
pub struct Worker<A: Actor> {
    pub(super) name: String,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) launch: ActorLaunch<A>,
    /// The ref given last was another child's already, or the child had one.
    pub(super) bound_twice: bool,
}

type Make<A> = Arc<dyn Fn() -> (A, <A as Actor>::Arguments) + Send + Sync>;

pub(super) struct ActorLaunch<A: Actor> {
    pub(super) make: Make<A>,
    pub(super) bind: Option<ChildRef<A::Msg>>,
}

impl<A: Actor> Worker<A> {
    /// When it is restarted; `Permanent` if nothing is said.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is stopped: a time after which it is killed, or a [`Shutdown`]; 5 s if nothing is
    /// said.
    #[must_use]
    pub fn shutdown(mut self, shutdown: impl Into<Shutdown>) -> Self {
        self.shutdown = shutdown.into();
        self
    }

    /// Lets `child` refer to this child's present incarnation. A ref has one child and a child one
    /// ref, cloned as often as needed; a second `bind` is an error at start.
    #[must_use]
    pub fn bind(mut self, child: &ChildRef<A::Msg>) -> Self {
        if child.claim() && self.launch.bind.is_none() {
            self.launch.bind = Some(child.clone());
        } else {
            self.bound_twice = true;
        }
        self
    }
}

impl<A: Actor> fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}

impl<A: Actor> Launch for ActorLaunch<A> {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, ExitReason>> {
        let (make, bind) = (self.make.clone(), self.bind.clone());
        async move {
            let (actor, arguments) = make();
            let (child, task) = spawn(actor, arguments, post.parent).await?;
            if let Some(bind) = bind {
                bind.settle(child.clone(), post.incarnation, post.setting.clock.clone());
            }
            Ok(Running { cell: child.get_cell(), task, stop: StopWay::Actor, subtree: None })
        }
        .boxed()
    }

    fn vacate(&self) {
        if let Some(bind) = &self.bind {
            bind.vacate();
        }
    }

    fn close(&self) {
        if let Some(bind) = &self.bind {
            bind.close();
        }
    }
}

pub(super) struct TaskLaunch(pub(super) Body);

impl Launch for TaskLaunch {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, ExitReason>> {
        let body = self.0.clone();
        async move {
            let (ask, stop) = Stop::new();
            let (child, task) = spawn(TaskActor, (body, stop), post.parent).await?;
            let stop = StopWay::Task(Some(ask));
            Ok(Running { cell: child.get_cell(), task, stop, subtree: None })
        }
        .boxed()
    }
}

impl Launch for Arc<Blueprint> {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, ExitReason>> {
        let blueprint = self.clone();
        async move {
            let board = blueprint.board.clone();
            let (alive, gone) = mpsc::channel(1);
            let (tell_up, up) = oneshot::channel();
            let parent = post.parent.clone();
            let arguments = (blueprint, post, alive);
            let (supervisor, task) = spawn(SupervisorActor, arguments, parent).await?;
            // Refused only if it has ended, which its keeper will see.
            let _ = supervisor.send_message(Note::Begin(tell_up));
            Ok(Running {
                cell: supervisor.get_cell(),
                task,
                stop: StopWay::Supervisor(supervisor),
                subtree: Some(Subtree { up, gone, board }),
            })
        }
        .boxed()
    }

    fn close(&self) {
        for child in &self.children {
            child.launch.close();
        }
    }
}
