//! How children go down and come up: alone, with their group, and with their supervisor.

use super::list::Doom;
use super::machine::{Phase, Restarts, Walk};
use super::{End, Output, STUCK_AFTER, Shutdown, Status, Strategy};
use crate::base::{ExitReason, Instant};

impl Restarts {
    /// Starts the child again, which is due or backs off, with those who go with it.
    ///
    /// Source: OTP stdlib, `supervisor:restart/3`.
    pub(super) fn restart_group(&mut self, child: usize, out: &mut Vec<Output>) {
        let from = match self.strategy {
            Strategy::OneForOne => {
                // Its own group: it waits for nobody.
                if self.list.status(child) == Some(Status::Due) {
                    self.start(child, out);
                }
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => child,
        };
        self.list.wake(from);
        let from = match self.phase {
            Phase::Running(Some(Walk::Stopping { from: other })) => from.min(other),
            Phase::Running(Some(Walk::Starting) | None)
            | Phase::New
            | Phase::Ending(_)
            | Phase::Ended => from,
        };
        self.phase = Phase::Running(Some(Walk::Stopping { from }));
    }

    /// The next thing that time alone does, and to whom.
    pub(super) fn first_deadline(&self) -> Option<(Instant, usize)> {
        let wake = match self.phase {
            Phase::Running(_) => self.list.first_wake(),
            // A supervisor that ends starts nobody.
            Phase::New | Phase::Ending(_) | Phase::Ended => None,
        };
        self.list.first_timer().into_iter().chain(wake).min()
    }

    /// Kills what did not stop in time, gives up what outlived its kill, ends backoffs.
    pub(super) fn overdue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((at, child)) = self.first_deadline() {
            if at > now {
                break;
            }
            match self.list.status(child) {
                Some(Status::Stopping(_)) => self.kill(now, child, true, out),
                Some(Status::BackingOff(_)) => {
                    self.list.set(child, Status::Due);
                    if self.strategy == Strategy::OneForOne {
                        self.start(child, out);
                    }
                }
                Some(
                    Status::Killed { .. }
                    | Status::Due
                    | Status::Starting
                    | Status::Up
                    | Status::Stuck
                    | Status::Resting,
                )
                | None => self.outlived(now, child, out),
            }
        }
    }

    /// The child's task outlived its kill.
    fn outlived(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        if self.list.get(child).is_some_and(|child| child.abandon_stuck) {
            out.push(Output::Abandon(child));
            self.exited(now, child, &ExitReason::Killed, out);
            return;
        }
        self.list.settle(child, Status::Stuck);
        out.push(Output::Stuck(child));
        match self.phase {
            Phase::Running(_) => self.give_up(out),
            Phase::New | Phase::Ending(_) | Phase::Ended => {}
        }
    }

    pub(super) fn start(&mut self, child: usize, out: &mut Vec<Output>) {
        debug_assert_eq!(self.list.status(child), Some(Status::Due), "started while alive");
        self.list.set(child, Status::Starting);
        out.push(Output::Start(child));
    }

    pub(super) fn kill(&mut self, now: Instant, child: usize, asked: bool, out: &mut Vec<Output>) {
        self.list.set(child, Status::Killed { stuck_at: now + STUCK_AFTER, asked });
        out.push(Output::Kill(child));
    }

    /// Asks the child to stop, unless it is asked already.
    ///
    /// Source: OTP stdlib, `supervisor:shutdown/1`.
    pub(super) fn stop(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        match self.list.status(child) {
            Some(Status::Starting | Status::Up) => {
                let kill_at = match self.list.get(child).map(|child| child.shutdown) {
                    Some(Shutdown::Within(time)) => now + time,
                    Some(Shutdown::Patient) | None => Instant::NEVER,
                    Some(Shutdown::Kill) => {
                        self.kill(now, child, true, out);
                        return;
                    }
                };
                self.list.set(child, Status::Stopping(kill_at));
                out.push(Output::Stop(child));
            }
            Some(
                Status::Stopping(_)
                | Status::Killed { .. }
                | Status::Due
                | Status::BackingOff(_)
                | Status::Stuck
                | Status::Resting,
            )
            | None => {}
        }
    }

    /// Asks the rightmost live child from `from` on to stop. False if none lives.
    ///
    /// Source: OTP stdlib, `supervisor:terminate_children/2`.
    fn stop_rightmost(&mut self, now: Instant, from: usize, out: &mut Vec<Output>) -> bool {
        let Some(child) = self.list.last_live(from) else {
            return false;
        };
        self.stop(now, child, out);
        true
    }

    /// A child that was to be terminated is down.
    pub(super) fn terminated(&mut self, child: usize, out: &mut Vec<Output>) {
        let returns = self.list.get(child).is_some_and(|child| child.doom == Doom::Returns);
        self.dismiss(child, out);
        if returns {
            self.list.set(child, Status::Due);
        }
    }

    /// Takes the next steps of a walk, or of the end.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Phase::Running(Some(Walk::Stopping { from })) = self.phase {
            if self.stop_rightmost(now, from, out) {
                return;
            }
            self.phase = Phase::Running(Some(Walk::Starting));
        }
        match self.phase {
            Phase::Running(Some(Walk::Starting)) => {
                if self.list.busy() {
                    return;
                }
                if let Some(child) = self.list.first_due() {
                    // Those after one that backs off wait with it.
                    if self.list.status(child) == Some(Status::Due) {
                        self.start(child, out);
                    }
                    return;
                }
                self.phase = Phase::Running(None);
                if !self.ready {
                    self.ready = true;
                    out.push(Output::Ready);
                }
            }
            Phase::Ending(end) => {
                if self.stop_rightmost(now, 0, out) {
                    return;
                }
                self.phase = Phase::Ended;
                let end = if self.list.any_stuck() { End::Stuck } else { end };
                out.push(Output::End(end));
            }
            Phase::New | Phase::Running(None | Some(Walk::Stopping { .. })) | Phase::Ended => {}
        }
    }
}
