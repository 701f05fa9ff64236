//! Barriers shared by all who wait for one.
//!
//! A barrier makes sure that this node leads *after* a request arrived. One that began before the
//! request proves nothing about it, so whoever comes while a round runs waits for the next: at most
//! two rounds, and as many requests share one as arrive within its time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Core, span_of};
use crate::authority::{LeaderKey, NotLeader};
use crate::base::{Instant, Seams, within};

type Answer = Result<LeaderKey, NotLeader>;

/// A round that takes longer than D divided by this holds up those that come after it no more: the
/// next one begins beside it.
const BESIDE: u32 = 20;
/// The least such time.
const BESIDE_MIN: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Queue {
    /// Who arrived after the last round began.
    waiting: Vec<oneshot::Sender<Answer>>,
    /// Somebody starts rounds as long as anyone waits.
    running: bool,
}

/// The barriers of one office.
#[derive(Debug)]
pub(super) struct Rounds {
    core: Arc<dyn Core>,
    seams: Seams,
    queue: Mutex<Queue>,
}

impl Rounds {
    pub(super) fn new(core: Arc<dyn Core>, seams: Seams) -> Arc<Self> {
        Arc::new(Self { core, seams, queue: Mutex::default() })
    }

    /// As `RaftCore::barrier`, in a round that begins after this call.
    pub(super) async fn barrier(self: &Arc<Self>, deadline: Instant) -> Answer {
        let (tell, told) = oneshot::channel();
        let starts = {
            let mut queue = self.queue.lock();
            queue.waiting.push(tell);
            !std::mem::replace(&mut queue.running, true)
        };
        if starts {
            self.seams.control.spawn(self.clone().run());
        }
        match within(&*self.seams.clock, deadline, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(NotLeader { leader: self.core.leader_hint() }),
        }
    }

    async fn run(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut queue = self.queue.lock();
                // Asked for after the call of each of these, and before that of any other.
                let waiting = std::mem::take(&mut queue.waiting);
                queue.running = !waiting.is_empty();
                waiting
            };
            if waiting.is_empty() {
                return;
            }
            let lease = span_of(&self.core.view()).lease;
            let now = self.seams.clock.now();
            let (core, deadline) = (self.core.clone(), now + lease.max(BESIDE_MIN));
            let round = self.seams.control.spawn(async move {
                let answer = core.barrier(deadline).await;
                for told in waiting {
                    // Who waits no longer does not mind.
                    let _ = told.send(answer.clone());
                }
            });
            let beside = now + (lease / BESIDE).max(BESIDE_MIN);
            let _ = within(&*self.seams.clock, beside, round).await;
        }
    }
}

#[cfg(test)]
mod tests;
