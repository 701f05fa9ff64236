//! What a supervisor shows and tells of its children.

use super::Driver;
use crate::event::{EventId, EventKind, Happened, Path};
use crate::restart::Status;
use crate::supervisor::board::ChildStatus;

impl Driver {
    /// Shows on the board where the child stands, before an event says so: whoever has seen the
    /// event sees it there, too.
    pub(super) fn show(&self, child: usize) {
        let Some(status) = self.machine.status(child) else { return };
        self.put(child, shown(status));
    }

    pub(super) fn show_started(&self, child: usize) {
        self.put(child, ChildStatus::Running);
    }

    pub(super) fn show_waiting(&self, child: usize) {
        self.put(child, ChildStatus::Waiting);
    }

    fn put(&self, child: usize, status: ChildStatus) {
        self.blueprint.board.change(child, |row| row.status = status);
    }

    /// An event of the child's present incarnation.
    pub(super) fn emit_child(
        &self,
        child: usize,
        kind: EventKind,
        cause: Option<EventId>,
    ) -> EventId {
        match self.seats.get(child) {
            Some(seat) => self.emit(&seat.plan.path, seat.incarnation, kind, cause),
            None => self.emit_own(kind, cause),
        }
    }

    /// An event of the supervisor itself.
    pub(super) fn emit_own(&self, kind: EventKind, cause: Option<EventId>) -> EventId {
        self.emit(&self.post.path, self.post.incarnation, kind, cause)
    }

    pub(super) fn emit(
        &self,
        path: &Path,
        incarnation: u64,
        kind: EventKind,
        cause: Option<EventId>,
    ) -> EventId {
        let at = self.post.setting.clock.now();
        self.post.setting.events.emit(Happened { cause, at, path, incarnation, kind })
    }
}

fn shown(status: Status) -> ChildStatus {
    match status {
        Status::Due => ChildStatus::Waiting,
        Status::BackingOff(_) => ChildStatus::BackingOff,
        Status::Starting => ChildStatus::Starting,
        Status::Up => ChildStatus::Running,
        Status::Stopping(_) | Status::Killed { .. } => ChildStatus::Stopping,
        Status::Stuck => ChildStatus::Stuck,
        Status::Resting => ChildStatus::Resting,
    }
}
