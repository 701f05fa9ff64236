//! What a supervisor is asked by users.

use std::sync::Arc;

use super::{Driver, Seat};
use crate::event::EventKind;
use crate::restart::{Input, Status};
use crate::supervisor::api::{Answer, Ask, RequestError};
use crate::supervisor::board::ChildSnapshot;
use crate::supervisor::plan::ChildPlan;
use crate::supervisor::spec::ChildSpec;

/// Somebody who waits for a child.
pub(super) enum Waiting {
    /// Until it has started, or not.
    Up(Answer),
    /// Until it has ended.
    Down(Answer),
}

impl Driver {
    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Start(spec, answer) => match self.add(*spec) {
                Ok((child, plan)) => {
                    self.wait_for(child, Waiting::Up(answer));
                    let cause = self.emit(&plan.path, 0, EventKind::Added, None);
                    self.feed(Input::Add(plan.rule()), Some(cause));
                }
                Err(error) => reply(answer, Err(error)),
            },
            Ask::Terminate(name, answer) => match self.named(&name) {
                Ok(child) => {
                    self.wait_for(child, Waiting::Down(answer));
                    self.feed(Input::Terminate(child), None);
                    self.settle_waiting(child, false);
                }
                Err(error) => reply(answer, Err(error)),
            },
            Ask::Restart(name, answer) => match self.resting(&name) {
                Ok(child) => {
                    self.wait_for(child, Waiting::Up(answer));
                    self.feed(Input::Restart(child), None);
                }
                Err(error) => reply(answer, Err(error)),
            },
            Ask::Delete(name, answer) => match self.resting(&name) {
                Ok(child) => {
                    self.emit_child(child, EventKind::Removed, None);
                    self.feed(Input::Delete(child), None);
                    reply(answer, Ok(None));
                }
                Err(error) => reply(answer, Err(error)),
            },
            #[cfg(feature = "testing")]
            Ask::Fail(name, reason, answer) => match self.named(&name) {
                Ok(child) => {
                    if let Some(seat) = self.seats.get_mut(child) {
                        seat.fail(reason);
                    }
                    reply(answer, Ok(None));
                }
                Err(error) => reply(answer, Err(error)),
            },
        }
    }

    /// Lists the child that is to be added; the machine's next key is its key.
    fn add(&mut self, spec: ChildSpec) -> Result<(usize, Arc<ChildPlan>), RequestError> {
        let blueprint = &self.blueprint;
        self.machine.may_add().map_err(|_| RequestError::Stopped)?;
        let children_max = blueprint.children_max;
        if self.seats.len() >= children_max {
            return Err(RequestError::MaxChildren { path: blueprint.path.clone(), children_max });
        }
        let child = self.machine.next_key();
        let plan = spec.draw_as(blueprint, child)?;
        if !blueprint.is_dynamic
            && let Some(listed) = blueprint.board.key_of(plan.name())
        {
            let runs = !matches!(self.machine.status(listed), Some(Status::Resting));
            let path = plan.path.clone();
            return Err(if runs {
                RequestError::AlreadyStarted(path)
            } else {
                RequestError::AlreadyPresent(path)
            });
        }
        let plan = Arc::new(plan);
        blueprint.board.add(child, plan.clone());
        self.seats.push(child, Seat::new(plan.clone(), 0));
        Ok((child, plan))
    }

    fn named(&self, name: &str) -> Result<usize, RequestError> {
        let number = || name.rsplit_once('-')?.1.parse().ok();
        let key =
            if self.blueprint.is_dynamic { number() } else { self.blueprint.board.key_of(name) };
        key.filter(|key| self.seats.get(*key).is_some_and(|seat| seat.plan.name() == name))
            .ok_or_else(|| RequestError::NotFound(self.blueprint.path.join(name)))
    }

    /// The child of this name, which must be listed and not run.
    fn resting(&self, name: &str) -> Result<usize, RequestError> {
        let child = self.named(name)?;
        let path = || self.blueprint.path.join(name);
        match self.machine.status(child) {
            Some(Status::Resting) => match self.machine.may_add() {
                Ok(()) => Ok(child),
                Err(_) => Err(RequestError::Stopped),
            },
            Some(Status::Up | Status::Starting) => Err(RequestError::Running(path())),
            Some(_) => Err(RequestError::Busy(path())),
            None => Err(RequestError::NotFound(path())),
        }
    }

    fn wait_for(&mut self, child: usize, waiting: Waiting) {
        self.waiting.entry(child).or_default().push(waiting);
    }

    /// Answers whoever waits for what the child has become; `is_down`: its incarnation has ended,
    /// whatever comes next.
    pub(super) fn settle_waiting(&mut self, child: usize, is_down: bool) {
        let Some(waiting) = self.waiting.remove(&child) else { return };
        let status = self.machine.status(child);
        let over = |one: &Waiting| match (one, status) {
            (_, Some(Status::Resting) | None) | (Waiting::Up(_), Some(Status::Up)) => true,
            (Waiting::Down(_), Some(_)) => is_down,
            (Waiting::Up(_), Some(_)) => false,
        };
        let (done, stay) = if waiting.iter().all(over) {
            (waiting, Vec::new())
        } else {
            waiting.into_iter().partition(over)
        };
        if !stay.is_empty() {
            self.waiting.insert(child, stay);
        }
        if done.is_empty() {
            return;
        }
        let up = self.outcome(child, status);
        for one in done {
            match one {
                Waiting::Up(answer) => reply(answer, up.clone()),
                Waiting::Down(answer) => reply(answer, Ok(None)),
            }
        }
    }

    /// What became of a start.
    fn outcome(
        &mut self,
        child: usize,
        status: Option<Status>,
    ) -> Result<Option<ChildSnapshot>, RequestError> {
        let fault = self.seats.get_mut(child).and_then(|seat| seat.fault.take());
        if let (Some(fault), Some(Status::Resting) | None) = (fault, status) {
            return Err(RequestError::StartFailed { path: fault.path, reason: fault.reason });
        }
        let row = self.blueprint.board.row(child).filter(|_| status.is_some());
        Ok(row.map(|row| row.snapshot()))
    }
}

fn reply(answer: Answer, result: Result<Option<ChildSnapshot>, RequestError>) {
    // Whoever asked may be gone.
    let _ = answer.send(result);
}
