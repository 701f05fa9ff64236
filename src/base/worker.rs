//! A place for blocking calls: a thread of its own, or in line where a simulation must stay
//! repeatable.

#[cfg(feature = "sim")]
mod paced;

use std::fmt;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

#[cfg(feature = "sim")]
pub use self::paced::Pace;
use tokio::sync::oneshot;

/// Calls that may wait for the thread before a further one is refused.
const QUEUE_CALLS_MAX: usize = 16_384;

type Job = Box<dyn FnOnce() + Send>;

/// The worker has ended, or too many calls wait: the call was not executed, or its result is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkerGone {
    /// Too many calls wait. The call was not executed.
    #[error("not executed: {QUEUE_CALLS_MAX} calls wait for the worker already")]
    Overloaded,
    /// The worker ended: a call panicked. Whether this call was executed is unknown.
    #[error("unknown: the worker thread has ended")]
    Ended,
}

/// Runs blocking calls one after another, in the order they were handed in.
pub struct Worker(Way);

enum Way {
    Thread(SyncSender<Job>),
    Inline,
    #[cfg(feature = "sim")]
    Paced(std::sync::Arc<paced::Paced>),
}

impl Worker {
    /// A worker on an OS thread of its own.
    ///
    /// # Errors
    /// If the operating system refuses the thread.
    #[expect(clippy::disallowed_methods, reason = "this is the seam to threads")]
    pub fn thread(name: &str) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_CALLS_MAX);
        thread::Builder::new().name(name.into()).spawn(move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Self(Way::Thread(jobs)))
    }

    /// A worker that runs each call where it is made.
    #[must_use]
    pub fn inline() -> Self {
        Self(Way::Inline)
    }

    /// A worker that runs each call where it is made, or, where `pace` says so, after a while in a
    /// task of the runtime it is made on; all in order.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn paced(pace: Pace) -> Self {
        Self(Way::Paced(std::sync::Arc::new(paced::Paced::new(pace))))
    }

    /// Hands in `call` without waiting for it.
    ///
    /// # Errors
    /// [`WorkerGone`]; the call was not executed.
    pub fn submit(&self, call: impl FnOnce() + Send + 'static) -> Result<(), WorkerGone> {
        let jobs = match &self.0 {
            Way::Thread(jobs) => jobs,
            Way::Inline => {
                call();
                return Ok(());
            }
            #[cfg(feature = "sim")]
            Way::Paced(paced) => return paced.submit(Box::new(call)),
        };
        jobs.try_send(Box::new(call)).map_err(|error| match error {
            TrySendError::Full(_) => WorkerGone::Overloaded,
            TrySendError::Disconnected(_) => WorkerGone::Ended,
        })
    }

    /// Runs `call` and gives back what it returned.
    ///
    /// # Errors
    /// [`WorkerGone`].
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (answer, result) = oneshot::channel();
        self.submit(move || {
            // A caller that no longer waits does not want the result.
            let _ = answer.send(call());
        })?;
        result.await.map_err(|_| WorkerGone::Ended)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::Thread(_) => "Worker(thread)",
            Way::Inline => "Worker(inline)",
            #[cfg(feature = "sim")]
            Way::Paced(_) => "Worker(paced)",
        })
    }
}
