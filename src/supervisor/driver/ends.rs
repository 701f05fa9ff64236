//! What a supervisor hears of its children: that they have started, hang, or have ended.

use super::Driver;
use crate::base::ExitReason;
use crate::event::{EventId, EventKind, Path};
use crate::restart::Input;
use crate::supervisor::exit;
use crate::supervisor::keeper::{Exit, Report, Told};
use crate::supervisor::launch::Fault;
use crate::supervisor::reaper::Fate;

impl Driver {
    /// Takes the report of a keeper.
    pub(super) fn hear(&mut self, report: Report) {
        let Report { child, incarnation, told } = report;
        let Some(seat) = self.seats.get_mut(&child) else { return };
        if seat.incarnation != incarnation {
            // Of an incarnation that was abandoned.
            return;
        }
        match told {
            Told::Started(hand) => {
                if let Some(hand) = hand {
                    seat.settle(hand);
                }
                let (cause, asked) = (seat.cause, seat.asked);
                if !asked {
                    self.show_started(child);
                }
                let id = self.emit_child(child, EventKind::Started, cause);
                self.feed(Input::Started(child), Some(id));
                self.settle_waiting(child, false);
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

    /// Takes what the reaper says of a worker.
    pub(super) fn meet(&mut self, child: usize, incarnation: u64, fate: Fate) {
        let Some(seat) = self.seats.get_mut(&child) else { return };
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
            Fate::Ended { actor, panic } => {
                self.exited(child, Exit { actor: Some(actor), panic, ..Exit::default() });
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
        let Some(seat) = self.seats.get(&child) else { return };
        let plan = seat.plan.clone();
        let count = plan.launch.vacate();
        if count > 0 {
            self.emit_child(child, EventKind::DeadLetters { count }, Some(cause));
        }
        let now = self.post.setting.clock.now();
        let fallen = plan.recovery.as_ref().and_then(|recovery| recovery.ended(reason, now));
        if let Some(fallen) = fallen {
            let kind = EventKind::RolledBack { from: fallen.from, to: fallen.to };
            self.emit_child(child, kind, Some(cause));
        }
    }

    /// Why an incarnation ended, and by which event.
    fn read(&mut self, child: usize, exit: Exit) -> Option<(ExitReason, Option<EventId>)> {
        let Exit { actor, fault, said, panic, .. } = exit;
        let word = actor.and_then(|actor| self.words.remove(&actor));
        let seat = self.seats.get_mut(&child)?;
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
