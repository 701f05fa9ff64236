//! What is asked of a supervisor about its children: OTP's API.

use super::list::{Doom, Trial};
use super::machine::{Phase, Restarts, Walk};
use super::{Denied, Output, Rule, Status, Strategy};
use crate::base::Instant;

impl Restarts {
    /// Whether a child can be added.
    ///
    /// # Errors
    /// [`Denied::Ending`].
    pub fn may_add(&self) -> Result<(), Denied> {
        match self.phase {
            Phase::Running(_) => Ok(()),
            Phase::New | Phase::Ending(_) | Phase::Ended => Err(Denied::Ending),
        }
    }

    /// Whether the child can be terminated: it is listed. Nothing happens to one that rests.
    ///
    /// # Errors
    /// [`Denied::Ending`], [`Denied::NotFound`].
    pub fn may_terminate(&self, child: usize) -> Result<(), Denied> {
        self.may_add()?;
        self.list.get(child).map(|_| ()).ok_or(Denied::NotFound)
    }

    /// Whether the child can be started: it rests.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may_restart(&self, child: usize) -> Result<(), Denied> {
        self.may_add()?;
        match self.list.status(child).ok_or(Denied::NotFound)? {
            Status::Resting => Ok(()),
            Status::Due | Status::BackingOff(_) | Status::Starting => Err(Denied::Restarting),
            Status::Up | Status::Stopping(_) | Status::Killed { .. } | Status::Stuck => {
                Err(Denied::Running)
            }
        }
    }

    /// Whether the child can leave the list: it rests.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may_delete(&self, child: usize) -> Result<(), Denied> {
        self.may_restart(child)
    }

    /// Source: OTP stdlib, `supervisor:handle_start_child/2`.
    pub(super) fn add(&mut self, rule: Rule, out: &mut Vec<Output>) {
        if self.may_add().is_ok() {
            let child = self.list.add(rule);
            self.start_in_turn(child, out);
        }
    }

    /// Source: OTP stdlib, `supervisor:handle_call/3` on `restart_child`.
    pub(super) fn start_again(&mut self, child: usize, out: &mut Vec<Output>) {
        if self.may_restart(child).is_ok() {
            self.list.set_trial(child, Some(Trial::Asked));
            self.list.set(child, Status::Due);
            self.start_in_turn(child, out);
        }
    }

    /// Source: OTP stdlib, `supervisor:handle_call/3` on `delete_child`.
    pub(super) fn delete(&mut self, child: usize, out: &mut Vec<Output>) {
        if self.may_delete(child).is_ok() {
            self.forget(child, out);
        }
    }

    /// Source: OTP stdlib, `supervisor:handle_call/3` on `terminate_child`. Differs: OTP's
    /// supervisor is deaf until the child is down.
    pub(super) fn terminate(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        if self.may_terminate(child).is_err() {
            return;
        }
        match self.list.status(child) {
            Some(Status::Starting | Status::Up) => {
                self.list.doom(child, Doom::Rests);
                // The walk stops it in its turn.
                if !self.goes_with_group(child) {
                    self.stop(now, child, out);
                }
            }
            Some(Status::Stopping(_)) => self.list.doom(child, Doom::Rests),
            Some(Status::Killed { stuck_at, .. }) => {
                self.list.doom(child, Doom::Rests);
                self.list.set(child, Status::Killed { stuck_at, asked: true });
            }
            Some(Status::Due | Status::BackingOff(_)) => self.dismiss(child, out),
            Some(Status::Stuck | Status::Resting) | None => {}
        }
    }

    /// Starts a child that is due at once if it waits for nobody, else when its turn comes.
    fn start_in_turn(&mut self, child: usize, out: &mut Vec<Output>) {
        if self.strategy == Strategy::OneForOne && self.ready {
            self.start(child, out);
        } else if self.phase == Phase::Running(None) {
            self.phase = Phase::Running(Some(Walk::Starting));
        }
    }
}
