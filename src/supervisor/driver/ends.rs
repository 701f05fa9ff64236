//! What a supervisor hears of its children: that they have started, hang, or have ended.

use std::sync::Arc;
use std::task::Wake as _;

use super::Driver;
use super::seat::Seat;
use crate::base::ExitReason;
use crate::event::{EventId, EventKind, Path};
use crate::restart::Input;
use crate::supervisor::bell::{Bell, Fate};
use crate::supervisor::exit;
use crate::supervisor::keeper::{Exit, Hand, Report, Told};
use crate::supervisor::launch::Fault;

impl Driver {
    /// Takes the report of a keeper.
    pub(super) fn hear(&mut self, report: Report) {
        let Report { child, incarnation, told } = report;
        let Some(seat) = self.seats.get_mut(child) else { return };
        if seat.incarnation != incarnation {
            // Of an incarnation that was abandoned.
            return;
        }
        match told {
            Told::Started(arrival) => {
                if let Some(worker) = arrival.and_then(|mut arrival| arrival.worker.take()) {
                    seat.settle(Hand::Worker(worker));
                }
                let (cause, asked) = (seat.cause, seat.asked);
                if !asked {
                    self.show_started(child);
                }
                let id = self.emit_child(child, EventKind::Started, cause);
                self.feed(Input::Started(child), Some(id));
                self.settle_waiting(child, false);
                self.listen(child);
            }
            Told::Fell(_) => self.feed(Input::Fell(child), None),
            Told::Exited(Exit { declined: true, .. }) => {
                let cause = seat.cause.take();
                seat.hand = None;
                let id = self.emit_child(child, EventKind::Declined, cause);
                self.feed(Input::Declined(child), Some(id));
            }
            Told::Exited(exit) => self.exited(child, exit),
        }
    }

    fn bell(&self, child: usize, incarnation: u64) -> Arc<Bell> {
        Arc::new(Bell { supervisor: self.me.clone(), child, incarnation })
    }

    /// Asks to be told of the end of a worker.
    fn listen(&mut self, child: usize) {
        let Some(seat) = self.seats.get(child) else { return };
        let bell = self.bell(child, seat.incarnation);
        let Some(worker) = self.seats.get_mut(child).and_then(Seat::worker) else { return };
        if worker.has_ended(bell.clone()) {
            // What ractor said of it is taken from the mailbox before this.
            bell.wake();
        }
    }

    /// Takes what is said of a worker.
    pub(super) fn meet(&mut self, child: usize, incarnation: u64, fate: Fate) {
        let Some(seat) = self.seats.get_mut(child) else { return };
        if seat.incarnation != incarnation {
            return;
        }
        match fate {
            Fate::Hung(_) if seat.asked || seat.killed => {}
            Fate::Hung(why) => {
                seat.hung = true;
                let id = self.emit_child(child, EventKind::Hung { why }, None);
                self.feed(Input::Hung(child), Some(id));
            }
            Fate::Ended => {
                let bell = self.bell(child, incarnation);
                let seat = self.seats.get_mut(child);
                let Some(worker) = seat.and_then(Seat::worker) else { return };
                if worker.has_ended(bell) {
                    let (actor, panic) = (Some(worker.cell.get_id()), worker.panic());
                    self.exited(child, Exit { actor, panic, ..Exit::default() });
                }
            }
        }
    }

    /// Nothing of the child's incarnation is left.
    fn exited(&mut self, child: usize, exit: Exit) {
        let Some((reason, cause)) = self.read(child, exit) else { return };
        self.show_waiting(child);
        let id = self.emit_child(child, EventKind::Exited(reason.clone()), cause);
        self.clear_up(child, &reason, id);
        self.feed(Input::Exited(child, reason), Some(id));
    }

    /// What the last incarnation left: messages that nobody will handle, and a state that may be to
    /// blame.
    pub(super) fn clear_up(&mut self, child: usize, reason: &ExitReason, cause: EventId) {
        let Some(seat) = self.seats.get(child) else { return };
        let plan = seat.plan.clone();
        let count = plan.launch.vacate();
        if count > 0 {
            self.emit_child(child, EventKind::DeadLetters { count }, Some(cause));
        }
        let now = self.post.setting.clock.now();
        let fallen = plan.recovery().and_then(|recovery| recovery.ended(reason, now));
        if let Some(fallen) = fallen {
            let kind = EventKind::RolledBack { from: fallen.from, to: fallen.to };
            self.emit_child(child, kind, Some(cause));
        }
    }

    /// Why an incarnation ended, and by which event.
    fn read(&mut self, child: usize, exit: Exit) -> Option<(ExitReason, Option<EventId>)> {
        let Exit { actor, fault, said, panic, .. } = exit;
        let word = actor.and_then(|actor| self.words.remove(&actor));
        let seat = self.seats.get_mut(child)?;
        seat.hand = None;
        let asked = std::mem::take(&mut seat.asked);
        let hung = std::mem::take(&mut seat.hung);
        seat.killed = false;
        let asked_by = seat.cause.take().filter(|_| asked || hung);
        seat.fault = fault.clone().map(Box::new);
        let said_cause = said.as_ref().and_then(|said| said.cause);
        #[cfg(feature = "testing")]
        if let Some(reason) = seat.forced.take() {
            return Some((*reason, None));
        }
        let reason = match (fault, said) {
            (Some(fault), _) => start_reason(&seat.plan.path, fault),
            (None, Some(said)) => said.reason,
            (None, None) if hung => ExitReason::Hung,
            (None, None) => exit::reason(word, panic, asked),
        };
        Some((reason, said_cause.or(asked_by)))
    }
}

/// The exit reason of the child at `path` that did not start because of `fault`, which may be one
/// of its descendants'.
pub(in crate::supervisor) fn start_reason(path: &Path, fault: Fault) -> ExitReason {
    let Fault { path: at, reason } = fault;
    match reason {
        // The start was undone by an order.
        ExitReason::Killed | ExitReason::Shutdown if at == *path => reason,
        ExitReason::StartFailed(why) if at == *path => ExitReason::StartFailed(why),
        ExitReason::StartFailed(why) => ExitReason::StartFailed(format!("{at}: {why}")),
        ExitReason::Normal
        | ExitReason::Shutdown
        | ExitReason::Killed
        | ExitReason::Crashed(_)
        | ExitReason::Hung
        | ExitReason::GaveUp => ExitReason::StartFailed(format!("{at}: {reason}")),
    }
}
