//! Carries out one probe: its runs where they belong, its timers and its verdict on the control
//! runtime.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use super::Health;
use super::verdict::{Input, Output, Probe};
use crate::base::Spawner;
use crate::supervisor::panic_text;

/// What one run of a probe does.
pub(super) type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A run under way, which is aborted when this is dropped.
struct Running(JoinHandle<Result<(), String>>);

impl Running {
    fn start(on: &Spawner, work: Work) -> Self {
        Self(on.spawn(async move {
            // It is the user's, from the making of the future on.
            let done = AssertUnwindSafe(async move { work().await }).catch_unwind().await;
            done.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(panic))))
        }))
    }
}

impl Future for Running {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx).map(|ended| ended.unwrap_or_else(|error| Err(error.to_string())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One probe and what it is to be carried out with.
pub(super) struct Run {
    pub(super) health: Health,
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) probe: Probe,
    pub(super) on: Spawner,
    pub(super) work: Work,
}

impl Run {
    /// Goes on until it is aborted.
    pub(super) async fn run(mut self) {
        let clock = self.health.clock().clone();
        let mut running: Option<Running> = None;
        let mut out = Vec::new();
        loop {
            let ended = async {
                match &mut running {
                    Some(running) => running.await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                biased;
                outcome = ended => Input::Ended(outcome),
                () = clock.sleep_until(self.probe.next_deadline()) => Input::TimePassed,
            };
            if matches!(input, Input::Ended(_)) {
                running = None;
            }
            self.probe.step(clock.now(), input, &mut out);
            for output in out.drain(..) {
                let why = match output {
                    Output::Start => {
                        running = Some(Running::start(&self.on, self.work.clone()));
                        continue;
                    }
                    Output::Failing(why) | Output::StillFailing(why) => Some(why),
                    Output::Passing => None,
                };
                self.health.tell(&self.name, self.number, why);
            }
        }
    }
}
