//! Counts tasks, so that a stop can wait for the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The tasks under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: AtomicUsize,
    ended: Notify,
}

/// One task under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Task(Arc<Inner>);

impl Tasks {
    pub(super) fn guard(&self) -> Task {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Task(self.0.clone())
    }

    /// Waits until none runs.
    pub(super) async fn none(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.0.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
