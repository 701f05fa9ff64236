//! Waits for the end of all workers of one incarnation of a supervisor, in one task.
//!
//! A worker that runs costs its supervisor no task of its own, only an entry here. The reaper
//! outlives a supervisor that was killed: it kills what that one left, and ends when nothing of it
//! is left.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::driver::Note;
use super::exit;
use super::tree::Setting;
use crate::event::Hang;

/// Workers that have started and are not in the reaper's care yet; further keepers wait.
pub(super) const ARRIVALS_MAX: usize = 1_024;

/// A worker that has started. Cut off, it leaves no orphan.
pub(super) struct Arrival {
    pub(super) child: usize,
    pub(super) incarnation: u64,
    pub(super) cell: ActorCell,
    pub(super) task: JoinHandle<()>,
    pub(super) hang: Option<BoxFuture<'static, Hang>>,
}

impl Arrival {
    /// Stops watching for hangs. What it waits for may hold a user's answer, which may panic.
    fn watch_no_more(&mut self) {
        let hang = self.hang.take();
        if let Err(panic) = exit::quietly(move || drop(hang)) {
            tracing::error!(panic, "the answer to a probe panicked in drop");
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.watch_no_more();
        self.cell.kill();
    }
}

/// What became of a worker.
#[derive(Debug)]
pub(super) enum Fate {
    /// Nothing of it is left; its task panicked outside its handlers, if there is a text.
    Ended { actor: ActorId, panic: Option<String> },
    /// It counts as hung, and still runs.
    Hung(Hang),
}

/// Waits for the fate of one worker.
struct Watch(Option<Arrival>);

impl Future for Watch {
    type Output = (Option<Arrival>, usize, u64, Fate);

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(worker) = &mut self.0 else { return Poll::Pending };
        let (child, incarnation) = (worker.child, worker.incarnation);
        if let Poll::Ready(ended) = worker.task.poll_unpin(task) {
            let panic = ended.err().filter(JoinError::is_panic);
            let panic = panic.map(|panic| exit::panic_text(panic.into_panic()));
            let actor = worker.cell.get_id();
            return Poll::Ready((self.0.take(), child, incarnation, Fate::Ended { actor, panic }));
        }
        if let Some(hang) = &mut worker.hang
            && let Poll::Ready(why) = hang.poll_unpin(task)
        {
            worker.watch_no_more();
            return Poll::Ready((self.0.take(), child, incarnation, Fate::Hung(why)));
        }
        Poll::Pending
    }
}

/// Runs until the supervisor and all its starts are gone, and every worker has ended. `_held` is
/// dropped then.
pub(super) async fn reap(
    mut arrivals: mpsc::Receiver<Arrival>,
    mut leash: oneshot::Receiver<Infallible>,
    supervisor: ActorRef<Note>,
    _held: (Option<mpsc::Sender<Infallible>>, Arc<Setting>),
) {
    let mut watched: FuturesUnordered<Watch> = FuturesUnordered::new();
    let (mut orphaned, mut open) = (false, true);
    loop {
        tokio::select! {
            biased;
            _ = &mut leash, if !orphaned => {
                orphaned = true;
                for worker in watched.iter().filter_map(|watch| watch.0.as_ref()) {
                    worker.cell.kill();
                }
            }
            Some((worker, child, incarnation, fate)) = watched.next(), if !watched.is_empty() => {
                if matches!(fate, Fate::Hung(_)) {
                    watched.push(Watch(worker));
                }
                // A supervisor that is gone wants to know nothing.
                let _ = supervisor.send_message(Note::Fate { child, incarnation, fate });
            }
            arrival = arrivals.recv(), if open => match arrival {
                Some(worker) => {
                    if orphaned {
                        worker.cell.kill();
                    }
                    watched.push(Watch(Some(worker)));
                }
                None => open = false,
            },
            else => break,
        }
    }
}
