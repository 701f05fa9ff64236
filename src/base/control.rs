//! A runtime on an OS thread of its own, for what must go on while user code blocks every worker.

use std::fmt;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs raft, renewals, gossip and control links. Ends, with all its tasks, when it is dropped.
pub struct ControlRuntime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlRuntime {
    /// Starts the runtime on a thread named `name`.
    ///
    /// # Errors
    /// If the operating system refuses the thread or the runtime's files.
    #[expect(clippy::disallowed_methods, reason = "this is the seam to threads")]
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            // A dropped sender stops it as well.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// To start tasks on it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ControlRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        // Dropped on its own thread, it cannot wait for itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
    }
}

impl fmt::Debug for ControlRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlRuntime")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_tasks_run_while_nobody_waits_and_end_with_it() {
        let runtime = ControlRuntime::start("control").expect("a thread");
        let (sent, received) = std::sync::mpsc::channel();
        let task = runtime.handle().spawn(async move {
            sent.send(thread::current().name().map(str::to_owned)).expect("somebody listens");
            std::future::pending::<()>().await;
        });
        assert_eq!(received.recv().expect("it runs").as_deref(), Some("control"));
        drop(runtime);
        assert!(task.is_finished());
    }
}
