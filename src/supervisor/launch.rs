//! Starting one incarnation of each sort of child.

use std::convert::Infallible;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::bell::{Fate, Rare, Worker};
use super::board::{Board, Door};
use super::driver::{Note, SupervisorActor};
use super::exit;
use super::options::Objection;
use super::plan::Blueprint;
use super::task::{Body, Stop, TaskActor};
use super::tree::Setting;
use crate::base::ExitReason;
use crate::event::{EventId, Hang, Path};

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
    /// The event that led to the start.
    pub(super) cause: Option<EventId>,
    pub(super) setting: Arc<Setting>,
}

/// How an incarnation is asked to stop.
#[derive(Debug)]
pub(super) enum StopWay {
    Actor,
    Task(Option<oneshot::Sender<()>>),
    Supervisor(ActorRef<Note>),
}

impl StopWay {
    /// Asks the incarnation that is `cell` to stop, because of the event `cause`.
    pub(super) fn ask(&mut self, cell: &ActorCell, cause: Option<EventId>) {
        match self {
            Self::Actor => cell.stop(Some(exit::SHUTDOWN.to_owned())),
            Self::Task(ask) => {
                cell.stop(Some(exit::SHUTDOWN.to_owned()));
                if let Some(ask) = ask.take() {
                    // A task that has ended need not be asked.
                    let _ = ask.send(());
                }
            }
            Self::Supervisor(supervisor) => {
                // Refused only if it has ended, which its keeper will see.
                let _ = supervisor.send_message(Note::Shutdown(cause));
            }
        }
    }
}

/// What a supervisor's keeper needs beyond a worker's.
pub(super) struct Subtree {
    /// Answered when all its children have started, or one has not.
    pub(super) up: oneshot::Receiver<Result<(), Fault>>,
    /// Closed when nothing of the subtree lives.
    pub(super) gone: mpsc::Receiver<Infallible>,
    pub(super) board: Arc<Board>,
}

/// Why there is no incarnation.
#[derive(Debug)]
pub(super) enum NoStart {
    /// The start failed, or was undone.
    Failed(ExitReason),
    /// It does not want to run: OTP's `ignore`.
    Declined,
}

/// An incarnation that has started; a supervisor still has to start its children. Cut off (by a
/// panic, or the end of the runtime) it leaves no orphan.
pub(super) struct Running {
    pub(super) cell: ActorCell,
    pub(super) task: JoinHandle<()>,
    pub(super) stop: StopWay,
    pub(super) subtree: Option<Subtree>,
    /// Completes when the incarnation counts as hung, and says how that was found out.
    pub(super) hang: Option<BoxFuture<'static, Hang>>,
}

impl Running {
    /// The worker, for its supervisor.
    pub(super) fn part(
        self,
        supervisor: &ActorRef<Note>,
        child: usize,
        incarnation: u64,
    ) -> Worker {
        let Self { cell, task, stop, hang, .. } = self;
        let rare = hang.map(|hang| {
            let supervisor = supervisor.clone();
            let watch = tokio::spawn(async move {
                let fate = Fate::Hung(hang.await);
                // A supervisor that is gone wants to know nothing.
                let _ = supervisor.send_message(Note::Fate { child, incarnation, fate });
            });
            Box::new(Rare { hang: Some(watch.abort_handle()), panic: None })
        });
        Worker { cell, task: Some(task), stop, rare }
    }
}

/// Starts incarnations of one child.
pub(super) trait Launch: Send + Sync {
    /// Starts one. May be dropped at any point, which undoes the start.
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, NoStart>>;

    /// What is wrong with what the spec says of it.
    fn objection(&self) -> Option<Objection> {
        None
    }

    /// Nobody is there for now. Returns how many messages were lost with the last incarnation.
    fn vacate(&self) -> u64 {
        0
    }

    /// Nobody will be there any more. Returns how many messages were held for the next incarnation,
    /// and are dropped.
    fn close(&self) -> u64 {
        0
    }
}

pub(super) async fn spawn<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    parent: Option<ActorCell>,
) -> Result<(ActorRef<A::Msg>, JoinHandle<()>), NoStart> {
    // Never a name: ractor's registry is one per process.
    let spawned = match parent {
        Some(parent) => A::spawn_linked(None, actor, arguments, parent).await,
        None => A::spawn(None, actor, arguments).await,
    };
    spawned.map_err(exit::no_start)
}

pub(super) struct TaskLaunch(pub(super) Body);

impl Launch for TaskLaunch {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, NoStart>> {
        let body = self.0.clone();
        async move {
            let (ask, stop) = Stop::new();
            let (child, task) = spawn(TaskActor, (body, stop), post.parent).await?;
            let stop = StopWay::Task(Some(ask));
            Ok(Running { cell: child.get_cell(), task, stop, subtree: None, hang: None })
        }
        .boxed()
    }
}

impl Launch for Arc<Blueprint> {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, NoStart>> {
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
                hang: None,
            })
        }
        .boxed()
    }

    fn vacate(&self) -> u64 {
        *self.board.door.write() = Door::Vacant;
        0
    }

    fn close(&self) -> u64 {
        *self.board.door.write() = Door::Closed;
        self.board.rest();
        self.board.rows().iter().map(|row| row.plan.launch.close()).sum()
    }
}
