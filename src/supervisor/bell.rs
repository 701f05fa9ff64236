//! Waits for the ends of workers without a task of its own.
//!
//! A worker that runs costs its supervisor a waker at the worker's task: when that ends, the waker
//! tells the supervisor. A supervisor that is cut off kills the workers it holds; only then a task
//! waits until they are gone.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ractor::{ActorCell, ActorRef};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use super::driver::Note;
use super::exit;
use super::launch::StopWay;
use super::tree::Setting;
use crate::event::Hang;

/// What is held until nothing of a supervisor's children is left.
pub(super) type Held = (Option<mpsc::Sender<Infallible>>, Arc<Setting>);

/// Holds on until the tasks have ended.
pub(super) fn outlive(tasks: Vec<JoinHandle<()>>, held: Held) {
    if tasks.is_empty() {
        return;
    }
    // Without a runtime nothing of them is left.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            for task in tasks {
                // However it ended.
                let _ = task.await;
            }
            drop(held);
        });
    }
}

/// What few workers have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Waits until it hangs.
    pub(super) hang: Option<AbortHandle>,
    /// What its task said when it panicked outside its handlers.
    pub(super) panic: Option<String>,
}

impl Drop for Rare {
    fn drop(&mut self) {
        if let Some(hang) = &self.hang {
            hang.abort();
        }
    }
}

/// A worker that has started.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) cell: ActorCell,
    /// None when it has ended.
    pub(super) task: Option<JoinHandle<()>>,
    pub(super) stop: StopWay,
    pub(super) rare: Option<Box<Rare>>,
}

impl Worker {
    /// Whether the task has ended; if not, `bell` is rung when it has. May be asked again.
    pub(super) fn has_ended(&mut self, bell: Arc<Bell>) -> bool {
        let Some(task) = &mut self.task else { return true };
        let waker = Waker::from(bell);
        match Pin::new(task).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => false,
            Poll::Ready(ended) => {
                self.task = None;
                if let Some(panic) = ended.err().filter(JoinError::is_panic) {
                    let said = exit::panic_text(panic.into_panic());
                    self.rare.get_or_insert_default().panic = Some(said);
                }
                true
            }
        }
    }

    pub(super) fn panic(&mut self) -> Option<String> {
        self.rare.as_mut()?.panic.take()
    }
}

/// Tells a supervisor that the task of a worker has ended.
pub(super) struct Bell {
    pub(super) supervisor: ActorRef<Note>,
    pub(super) child: usize,
    pub(super) incarnation: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let Self { supervisor, child, incarnation } = &*self;
        let (child, incarnation, fate) = (*child, *incarnation, Fate::Ended);
        // A supervisor that is gone wants to know nothing.
        let _ = supervisor.send_message(Note::Fate { child, incarnation, fate });
    }
}

/// A worker on its way from its keeper to its supervisor. Cut off, it leaves no orphan.
pub(super) struct Arrival {
    pub(super) worker: Option<Worker>,
    pub(super) held: Held,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.cell.kill();
            outlive(worker.task.take().into_iter().collect(), self.held.clone());
        }
    }
}

/// What became of a worker.
#[derive(Debug)]
pub(super) enum Fate {
    /// Its task has ended.
    Ended,
    /// It counts as hung, and still runs.
    Hung(Hang),
}
