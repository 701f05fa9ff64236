//! A worker whose calls wait before they run, as on a slow disk. For simulation.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Job, QUEUE_CALLS_MAX, WorkerGone};

/// What the next call waits for; `None`: it runs at once.
pub type Pace = Box<dyn Fn() -> Option<BoxFuture<'static, ()>> + Send + Sync>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// A task runs them.
    is_busy: bool,
}

pub(super) struct Paced {
    pace: Pace,
    queue: Mutex<Queue>,
}

impl Paced {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, queue: Mutex::default() }
    }

    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<(), WorkerGone> {
        let wait = {
            let mut queue = self.queue.lock();
            if queue.jobs.len() >= QUEUE_CALLS_MAX {
                return Err(WorkerGone::Overloaded);
            }
            if queue.is_busy {
                queue.jobs.push_back(job);
                return Ok(());
            }
            let Some(wait) = (self.pace)() else {
                drop(queue);
                job();
                return Ok(());
            };
            queue.is_busy = true;
            queue.jobs.push_back(job);
            wait
        };
        tokio::spawn(self.clone().run(wait));
        Ok(())
    }

    /// Runs what waits until nothing does.
    async fn run(self: Arc<Self>, first: BoxFuture<'static, ()>) {
        let mut wait = Some(first);
        loop {
            if let Some(wait) = wait.take() {
                wait.await;
            }
            let Some(job) = self.next() else { return };
            job();
            wait = (self.pace)();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        let job = queue.jobs.pop_front();
        queue.is_busy = job.is_some();
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::super::Worker;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_while_it_is_slow_and_none_overtakes_another() {
        let (slow, done) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let is_slow = slow.clone();
        let worker = Worker::paced(Box::new(move || {
            let slow = is_slow.load(Ordering::SeqCst);
            slow.then(|| tokio::time::sleep(Duration::from_secs(1)).boxed())
        }));
        let submit = |number: u32| {
            let done = done.clone();
            worker.submit(move || done.lock().push(number)).expect("it has room");
        };
        submit(1);
        submit(2);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(*done.lock(), [1], "one call a second");
        slow.store(false, Ordering::SeqCst);
        submit(3);
        assert_eq!(*done.lock(), [1], "the third overtook the second");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*done.lock(), [1, 2, 3]);
        submit(4);
        assert_eq!(*done.lock(), [1, 2, 3, 4], "at once");
    }
}
