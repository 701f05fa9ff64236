//! Keeps one incarnation of a child from its start until nothing of it is left.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use ractor::{ActorId, ActorRef};
use tokio::sync::{mpsc, oneshot};

use super::board::LastWord;
use super::driver::Note;
use super::exit;
use super::launch::{Fault, Launch, NoStart, Post, Running};
use crate::base::ExitReason;
use crate::event::EventId;

/// The orders of a supervisor to a keeper, each given at most once.
pub(super) struct Leash {
    pub(super) stop: oneshot::Receiver<Option<EventId>>,
    /// Dropped means kill, too: the supervisor is gone.
    pub(super) kill: oneshot::Receiver<()>,
}

/// The supervisor's end of a [`Leash`].
#[derive(Debug)]
pub(super) struct Hand {
    stop: Option<oneshot::Sender<Option<EventId>>>,
    kill: Option<oneshot::Sender<()>>,
}

impl Hand {
    pub(super) fn new() -> (Self, Leash) {
        let (give_stop, stop) = oneshot::channel();
        let (give_kill, kill) = oneshot::channel();
        (Self { stop: Some(give_stop), kill: Some(give_kill) }, Leash { stop, kill })
    }

    /// Asks the incarnation to stop, because of the event `cause`.
    pub(super) fn stop(&mut self, cause: Option<EventId>) {
        if let Some(stop) = self.stop.take() {
            // A keeper that is done has said so.
            let _ = stop.send(cause);
        }
    }

    /// Kills the incarnation.
    pub(super) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // A keeper that is done has said so.
            let _ = kill.send(());
        }
    }
}

/// How an incarnation ended.
#[derive(Debug)]
pub(super) struct Exit {
    /// Who it was, if it started.
    pub(super) actor: Option<ActorId>,
    /// It did not start.
    pub(super) fault: Option<Fault>,
    /// A supervisor's own word.
    pub(super) said: Option<LastWord>,
    /// Its task panicked outside its handlers.
    pub(super) panic: Option<String>,
}

/// What a keeper tells.
#[derive(Debug)]
pub(super) enum Told {
    /// It has started.
    Started,
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
    done: bool,
}

impl Reporter {
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
            self.tell(Told::Exited(Exit { actor: None, fault: None, said: None, panic }));
        }
    }
}

/// What a keeper is given.
pub(super) struct Watch {
    pub(super) desk: Desk,
    pub(super) child: usize,
    pub(super) post: Post,
    pub(super) leash: Leash,
    /// Held until the incarnation is gone, so that the supervisor's supervisor knows.
    pub(super) alive: Option<mpsc::Sender<Infallible>>,
}

/// Starts and keeps one incarnation.
pub(super) async fn keep(launch: std::sync::Arc<dyn Launch>, watch: Watch) {
    let Watch { desk, child, post, mut leash, alive } = watch;
    let (path, incarnation) = (post.path.clone(), post.incarnation);
    // Declared before `reporter`, so dropped after it has reported. Holding the setting keeps the
    // subscriptions to its events open: they end when nothing of the tree is left.
    let _held = (alive, post.setting.clone());
    let mut reporter = Reporter { desk, child, incarnation, done: false };
    let exit = match start(&*launch, post, &mut leash).await {
        Ok(mut running) => {
            let exit = run(&mut running, &mut leash, &mut reporter).await;
            launch.vacate();
            exit
        }
        Err(none) => {
            launch.vacate();
            let reason = match none {
                NoStart::Failed(reason) => reason,
                NoStart::Declined => ExitReason::StartFailed(exit::Decline.to_string()),
            };
            let fault = Some(Fault { path, reason });
            Exit { actor: None, fault, said: None, panic: None }
        }
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

/// Waits for the end of the incarnation, and passes on orders meanwhile.
async fn run(running: &mut Running, leash: &mut Leash, reporter: &mut Reporter) -> Exit {
    let actor = Some(running.cell.get_id());
    let mut subtree = running.subtree.take();
    let mut exit = Exit { actor, fault: None, said: None, panic: None };
    let mut starting = subtree.is_some();
    if !starting {
        reporter.tell(Told::Started);
    }
    let (mut stopped, mut killed) = (false, false);
    loop {
        let up = starting.then_some(subtree.as_mut()).flatten().map(|below| &mut below.up);
        tokio::select! {
            biased;
            ended = &mut running.task => {
                let panic = ended.err().filter(tokio::task::JoinError::is_panic);
                exit.panic = panic.map(|panic| exit::panic_text(panic.into_panic()));
                break;
            }
            Some(up) = OptionFuture::from(up), if starting => {
                starting = false;
                match up {
                    Ok(Ok(())) => reporter.tell(Told::Started),
                    Ok(Err(fault)) => exit.fault = Some(fault),
                    // It has ended, which its task will tell.
                    Err(_) => {}
                }
            }
            _ = &mut leash.kill, if !killed => {
                killed = true;
                running.cell.kill();
            }
            asked = &mut leash.stop, if !stopped => {
                stopped = true;
                if let Ok(cause) = asked {
                    running.stop(cause);
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
