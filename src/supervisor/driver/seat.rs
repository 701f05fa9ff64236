//! A child's seat in its supervisor.

use std::sync::Arc;

use tokio::task::JoinHandle;

#[cfg(feature = "testing")]
use crate::base::ExitReason;
use crate::event::EventId;
use crate::supervisor::bell::Worker;
use crate::supervisor::keeper::Hand;
use crate::supervisor::launch::Fault;
use crate::supervisor::plan::ChildPlan;

/// What a supervisor has of a child.
pub(super) struct Seat {
    pub(super) plan: Arc<ChildPlan>,
    pub(super) incarnation: u64,
    /// What holds its incarnation, while there is one.
    pub(super) hand: Option<Hand>,
    /// It was asked to stop, or killed.
    pub(super) asked: bool,
    pub(super) killed: bool,
    pub(super) hung: bool,
    /// The event that started it, or asked it to stop.
    pub(super) cause: Option<EventId>,
    /// Why its last start failed.
    pub(super) fault: Option<Box<Fault>>,
    /// Why its present incarnation is to have ended.
    #[cfg(feature = "testing")]
    pub(super) forced: Option<Box<ExitReason>>,
}

impl Seat {
    pub(super) fn new(plan: Arc<ChildPlan>, incarnation: u64) -> Self {
        Self {
            plan,
            incarnation,
            hand: None,
            asked: false,
            killed: false,
            hung: false,
            cause: None,
            fault: None,
            #[cfg(feature = "testing")]
            forced: None,
        }
    }

    /// Ends the incarnation as if it had ended with `reason`.
    #[cfg(feature = "testing")]
    pub(super) fn fail(&mut self, reason: ExitReason) {
        self.forced = Some(Box::new(reason));
        if let Some(hand) = &mut self.hand {
            hand.kill();
        }
    }

    /// The worker has started and is held directly; orders that came meanwhile are passed on.
    pub(super) fn settle(&mut self, mut hand: Hand) {
        if self.killed {
            hand.kill();
        } else if self.asked {
            hand.stop(self.cause);
        }
        self.hand = Some(hand);
    }

    pub(super) fn stop(&mut self, by: EventId) {
        self.asked = true;
        self.cause = Some(by);
        if let Some(hand) = &mut self.hand {
            hand.stop(Some(by));
        }
    }

    pub(super) fn kill(&mut self, by: EventId) {
        // A hung child is killed by its own fault, not by an order.
        self.asked |= !self.hung;
        self.killed = true;
        self.cause = Some(by);
        if let Some(hand) = &mut self.hand {
            hand.kill();
        }
    }

    /// The task of its worker, which is left to itself.
    pub(super) fn task(mut self) -> Option<JoinHandle<()>> {
        self.worker()?.task.take()
    }

    /// The task of its worker, which is killed.
    pub(super) fn orphan(&mut self) -> Option<JoinHandle<()>> {
        let worker = self.worker()?;
        let task = worker.task.take()?;
        worker.cell.kill();
        Some(task)
    }

    pub(super) fn worker(&mut self) -> Option<&mut Worker> {
        match &mut self.hand {
            Some(Hand::Worker(worker)) => Some(worker),
            Some(Hand::Keeper(_)) | None => None,
        }
    }
}
