//! Keeps one incarnation of a child through its start; a supervisor until nothing of it is left.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::{mpsc, oneshot};

use super::bell::{Arrival, Worker};
use super::board::LastWord;
use super::driver::Note;
use super::exit;
use super::launch::{Fault, Launch, NoStart, Post, Running};
use crate::base::{ExitReason, Instant, within};
use crate::event::EventId;

/// The orders of a supervisor to a keeper, each given at most once.
pub(super) struct Leash {
    pub(super) stop: oneshot::Receiver<Option<EventId>>,
    /// Dropped means kill, too: the supervisor is gone.
    pub(super) kill: oneshot::Receiver<()>,
}

/// A supervisor's end of a [`Leash`].
#[derive(Debug)]
pub(super) struct Orders {
    stop: Option<oneshot::Sender<Option<EventId>>>,
    kill: Option<oneshot::Sender<()>>,
}

/// A supervisor's hold on an incarnation.
#[derive(Debug)]
pub(super) enum Hand {
    /// By way of its keeper: while it starts, and of a supervisor as long as it lives.
    Keeper(Box<Orders>),
    /// A worker that has started.
    Worker(Worker),
}

impl Hand {
    pub(super) fn new() -> (Self, Leash) {
        let (give_stop, stop) = oneshot::channel();
        let (give_kill, kill) = oneshot::channel();
        let orders = Orders { stop: Some(give_stop), kill: Some(give_kill) };
        (Self::Keeper(Box::new(orders)), Leash { stop, kill })
    }

    /// Asks the incarnation to stop, because of the event `cause`.
    pub(super) fn stop(&mut self, cause: Option<EventId>) {
        match self {
            Self::Keeper(orders) => {
                if let Some(stop) = orders.stop.take() {
                    // A keeper that is done has said so.
                    let _ = stop.send(cause);
                }
            }
            Self::Worker(worker) => worker.stop.ask(&worker.cell, cause),
        }
    }

    /// Kills the incarnation.
    pub(super) fn kill(&mut self) {
        match self {
            Self::Keeper(orders) => {
                if let Some(kill) = orders.kill.take() {
                    // A keeper that is done has said so.
                    let _ = kill.send(());
                }
            }
            Self::Worker(worker) => worker.cell.kill(),
        }
    }
}

/// How an incarnation ended.
#[derive(Debug, Default)]
pub(super) struct Exit {
    /// Who it was, if it started.
    pub(super) actor: Option<ActorId>,
    /// It did not start.
    pub(super) fault: Option<Fault>,
    /// It did not want to.
    pub(super) declined: bool,
    /// A supervisor whose children did not start in time.
    pub(super) late: bool,
    /// A supervisor's own word.
    pub(super) said: Option<LastWord>,
    /// Its task panicked outside its handlers.
    pub(super) panic: Option<String>,
}

/// What a keeper tells.
#[derive(Debug)]
pub(super) enum Told {
    /// It has started. A worker comes with it, and is its supervisor's from here on.
    Started(Option<Arrival>),
    /// The supervisor it was has ended, with this last word, but parts of its subtree live.
    Fell(Option<LastWord>),
    /// Nothing of it is left.
    Exited(Exit),
}

/// What a keeper tells, of which incarnation of which child.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) child: usize,
    pub(super) incarnation: u64,
    pub(super) told: Told,
}

/// To whom a keeper reports.
pub(super) enum Desk {
    Supervisor(ActorRef<Note>),
    /// A root's: three reports at most, and room for them.
    Tree(mpsc::Sender<Report>),
}

/// Reports, and says that the incarnation ended even if its keeper panics.
struct Reporter {
    desk: Desk,
    child: usize,
    incarnation: u64,
    /// The keeper has nothing more to say.
    done: bool,
}

impl Reporter {
    fn supervisor(&self) -> Option<ActorRef<Note>> {
        match &self.desk {
            Desk::Supervisor(supervisor) => Some(supervisor.clone()),
            Desk::Tree(_) => None,
        }
    }

    fn tell(&mut self, told: Told) {
        self.done |= matches!(told, Told::Exited(_));
        let report = Report { child: self.child, incarnation: self.incarnation, told };
        match &self.desk {
            // A supervisor that is gone wants to know nothing.
            Desk::Supervisor(supervisor) => {
                let _ = supervisor.send_message(Note::Report(report));
            }
            Desk::Tree(tree) => {
                let _ = tree.try_send(report);
            }
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if !self.done {
            let panic = Some("its start was dropped and panicked".to_owned());
            self.tell(Told::Exited(Exit { panic, ..Exit::default() }));
        }
    }
}

struct KillOnDrop(ActorCell);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// What a keeper is given.
pub(super) struct Watch {
    pub(super) desk: Desk,
    pub(super) child: usize,
    pub(super) post: Post,
    pub(super) leash: Leash,
    /// How long the start may take.
    pub(super) start_within: Option<Duration>,
    /// Held until the incarnation is gone, so that the supervisor's supervisor knows.
    pub(super) alive: Option<mpsc::Sender<Infallible>>,
}

/// Starts one incarnation. A worker is then handed to its supervisor; a supervisor is kept to its
/// end.
pub(super) async fn keep(launch: Arc<dyn Launch>, watch: Watch) {
    let Watch { desk, child, post, mut leash, start_within, alive } = watch;
    let (path, incarnation, setting) = (post.path.clone(), post.incarnation, post.setting.clone());
    // Declared before `reporter`, so dropped after it has reported. Holding the setting keeps the
    // subscriptions to its events open: they end when nothing of the tree is left.
    let held = (alive, setting.clone());
    let mut reporter = Reporter { desk, child, incarnation, done: false };
    let until = start_within.map_or(Instant::NEVER, |limit| setting.clock.now() + limit);
    let late = || {
        let limit = start_within.unwrap_or_default();
        ExitReason::StartFailed(format!("it did not start within {limit:?}"))
    };
    let launched = start(&*launch, post, &mut leash);
    let started = within(&*setting.clock, until, launched).await;
    let started = started.unwrap_or_else(|_| Err(NoStart::Failed(late())));
    let exit = match (started, reporter.supervisor()) {
        (Ok(running), Some(supervisor)) if running.subtree.is_none() => {
            let worker = Some(running.part(&supervisor, child, incarnation));
            reporter.tell(Told::Started(Some(Arrival { worker, held })));
            reporter.done = true;
            return;
        }
        (Ok(running), _) => {
            let up = setting.clock.sleep_until(until);
            let mut exit = run(running, &mut leash, &mut reporter, up).await;
            if exit.late {
                exit.fault = Some(Fault { path, reason: late() });
            }
            exit
        }
        (Err(NoStart::Failed(reason)), _) => {
            Exit { fault: Some(Fault { path, reason }), ..Exit::default() }
        }
        (Err(NoStart::Declined), _) => Exit { declined: true, ..Exit::default() },
    };
    reporter.tell(Told::Exited(exit));
}

/// Starts the incarnation; an order to stop or to kill undoes that.
async fn start(launch: &dyn Launch, post: Post, leash: &mut Leash) -> Result<Running, NoStart> {
    let start = AssertUnwindSafe(launch.launch(post)).catch_unwind();
    tokio::select! {
        biased;
        _ = &mut leash.kill => Err(NoStart::Failed(ExitReason::Killed)),
        Ok(_) = &mut leash.stop => Err(NoStart::Failed(ExitReason::Shutdown)),
        started = start => started.unwrap_or_else(|panic| {
            Err(NoStart::Failed(ExitReason::StartFailed(exit::panic_text(panic))))
        }),
    }
}

/// Waits for the end of a supervisor, and passes on orders meanwhile.
async fn run(
    running: Running,
    leash: &mut Leash,
    reporter: &mut Reporter,
    mut late: BoxFuture<'_, ()>,
) -> Exit {
    let Running { cell, mut task, mut stop, mut subtree, .. } = running;
    // Cut off, by a panic or the end of the runtime, it leaves no orphan.
    let cell = KillOnDrop(cell);
    let actor = Some(cell.0.get_id());
    let mut exit = Exit { actor, ..Exit::default() };
    let mut starting = subtree.is_some();
    let (mut stopped, mut killed) = (false, false);
    loop {
        let up = starting.then_some(subtree.as_mut()).flatten().map(|below| &mut below.up);
        tokio::select! {
            biased;
            ended = &mut task => {
                let panic = ended.err().filter(tokio::task::JoinError::is_panic);
                exit.panic = panic.map(|panic| exit::panic_text(panic.into_panic()));
                break;
            }
            Some(up) = OptionFuture::from(up), if starting => {
                starting = false;
                match up {
                    Ok(Ok(())) => reporter.tell(Told::Started(None)),
                    Ok(Err(fault)) => exit.fault = Some(fault),
                    // It has ended, which its task will tell.
                    Err(_) => {}
                }
            }
            () = &mut late, if starting && !exit.late => {
                exit.late = true;
                cell.0.kill();
            }
            _ = &mut leash.kill, if !killed => {
                killed = true;
                cell.0.kill();
            }
            asked = &mut leash.stop, if !stopped => {
                stopped = true;
                if let Ok(cause) = asked {
                    stop.ask(&cell.0, cause);
                }
            }
        }
    }
    if let Some(mut below) = subtree {
        exit.said = below.board.last_word();
        if starting && let Ok(Err(fault)) = below.up.try_recv() {
            exit.fault = Some(fault);
        }
        if below.gone.recv().now_or_never().is_none() {
            reporter.tell(Told::Fell(exit.said.clone()));
            below.gone.recv().await;
        }
    }
    exit
}
