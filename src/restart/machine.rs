//! The pure half of a supervisor: what is done about a child that ended.

use super::backoff::Jitter;
use super::intensity::Window;
use super::list::{Doom, List, Trial};
use super::{
    AutoShutdown, Config, End, Input, Intensity, Output, Restart, STUCK_AFTER, Status, Strategy,
};
use crate::base::{ExitReason, Instant};

/// A walk over a group of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Stopping all from `from` on, right to left.
    Stopping { from: usize },
    /// Starting all that are due, left to right.
    Starting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Running(Option<Walk>),
    Ending(End),
    Ended,
}

/// The decisions of one incarnation of a supervisor.
///
/// A step costs the logarithm of the number of children. A group restart and an end cost that for
/// each child that stops, rests or starts, most of it in the step that hears of that child.
#[derive(Debug, Clone)]
pub struct Restarts {
    pub(super) strategy: Strategy,
    intensity: Intensity,
    auto_shutdown: AutoShutdown,
    window: Window,
    jitter: Jitter,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    pub(super) list: List,
}

impl Restarts {
    /// A supervisor that has not begun.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { strategy, intensity, auto_shutdown, seed, children } = config;
        Self {
            strategy,
            intensity,
            auto_shutdown,
            window: Window::default(),
            jitter: Jitter::new(seed),
            phase: Phase::New,
            ready: false,
            list: List::new(children, strategy != Strategy::OneForOne),
        }
    }

    /// Takes one input at `now` and appends what the supervisor must do, in order.
    ///
    /// An input that does not fit the status of the child, or names no listed child, is late or
    /// repeated, and changes nothing.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Begin => self.begin(),
            Input::Add(rule) => self.add(rule, out),
            Input::Terminate(child) => self.terminate(now, child, out),
            Input::Restart(child) => self.start_again(child, out),
            Input::Delete(child) => self.delete(child, out),
            Input::Started(child) => self.started(now, child),
            Input::Declined(child) => self.declined(now, child, out),
            Input::Exited(child, reason) => self.exited(now, child, &reason, out),
            Input::Fell(child) => self.fell(now, child),
            Input::Hung(child) => self.hung(now, child, out),
            Input::Shutdown => self.shut_down(),
            Input::Tick => {}
        }
        self.overdue(now, out);
        self.advance(now, out);
    }

    /// When to call [`step`](Self::step) with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.first_deadline().map(|(at, _)| at)
    }

    /// Where the child stands; `None` if no such child is listed.
    #[must_use]
    pub fn status(&self, child: usize) -> Option<Status> {
        let status = self.list.status(child)?;
        let starts_nobody = matches!(self.phase, Phase::Ending(_) | Phase::Ended);
        match status {
            Status::Due | Status::BackingOff(_) if starts_nobody => Some(Status::Resting),
            Status::Due
            | Status::BackingOff(_)
            | Status::Starting
            | Status::Up
            | Status::Stopping(_)
            | Status::Killed { .. }
            | Status::Stuck
            | Status::Resting => Some(status),
        }
    }

    /// The key that the next [`Input::Add`] gives.
    #[must_use]
    pub fn next_key(&self) -> usize {
        self.list.next_key()
    }

    /// How many children are listed.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.list.len()
    }

    /// Restarts that would be survived at `now`.
    #[must_use]
    pub fn restarts_left(&self, now: Instant) -> u32 {
        self.window.left(now, self.intensity)
    }

    /// Restarts of this child that its own budget would survive at `now`; `None` if it has none.
    #[must_use]
    pub fn budget_left(&self, child: usize, now: Instant) -> Option<u32> {
        let extra = self.list.extra(child)?;
        extra.budget.map(|budget| extra.window.left(now, budget))
    }

    /// Panics if a rule of this machine is broken. Costs a walk over all children.
    ///
    /// # Panics
    /// See above; for tests and simulation.
    pub fn check(&self) {
        self.list.check();
        assert!(self.window.len() <= self.intensity.restarts as usize, "too many restarts");
        let alive = self.list.last_live(0);
        let waiting = self.list.first_due();
        match self.phase {
            Phase::New | Phase::Ended => assert_eq!(alive, None, "alive outside its life"),
            // Outside a walk nobody waits for a turn.
            Phase::Running(None) => assert_eq!(waiting, None, "due and forgotten"),
            Phase::Running(Some(Walk::Stopping { from })) => {
                assert!(self.list.last_live(from).is_some(), "nothing to stop from {from} on");
            }
            Phase::Running(Some(Walk::Starting)) => {
                assert!(self.list.busy() || waiting.is_some(), "nothing to start");
            }
            Phase::Ending(_) => assert!(alive.is_some(), "at the end, and not ended"),
        }
    }

    fn begin(&mut self) {
        if self.phase == Phase::New {
            self.phase = Phase::Running(Some(Walk::Starting));
        }
    }

    fn shut_down(&mut self) {
        match self.phase {
            Phase::New | Phase::Running(_) => self.phase = Phase::Ending(End::Shutdown),
            Phase::Ending(_) | Phase::Ended => {}
        }
    }

    fn started(&mut self, now: Instant, child: usize) {
        // If it was asked to stop or killed meanwhile, that stands.
        if self.list.status(child) == Some(Status::Starting) {
            self.list.set_trial(child, None);
            self.list.set(child, Status::Up);
            if let Some(extra) = self.list.extra_mut(child) {
                extra.row.up(now);
            }
        }
    }

    /// Source: OTP stdlib, `supervisor:start_children/2` and `handle_start_child/2`: a temporary
    /// child leaves the list, another stays without a process. It ended nothing, so it does not
    /// count for an automatic shutdown.
    fn declined(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        let ends = match self.list.status(child) {
            Some(Status::Starting | Status::Killed { asked: false, .. }) => {
                !matches!(self.phase, Phase::Running(_)) || self.goes_with_group(child)
            }
            Some(Status::Stopping(_) | Status::Killed { .. } | Status::Stuck) => true,
            Some(Status::Due | Status::BackingOff(_) | Status::Up | Status::Resting) | None => {
                return;
            }
        };
        if ends {
            self.exited(now, child, &ExitReason::Normal, out);
        } else {
            self.dismiss(child, out);
        }
    }

    fn fell(&mut self, now: Instant, child: usize) {
        let asked = match self.list.status(child) {
            Some(Status::Starting | Status::Up) => false,
            Some(Status::Stopping(_)) => true,
            Some(
                Status::Killed { .. }
                | Status::Stuck
                | Status::Due
                | Status::BackingOff(_)
                | Status::Resting,
            )
            | None => return,
        };
        self.list.set(child, Status::Killed { stuck_at: now + STUCK_AFTER, asked });
    }

    /// It is killed like one that crashed: what follows is decided when it is gone.
    fn hung(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        match self.list.status(child) {
            Some(Status::Starting | Status::Up) => self.kill(now, child, false, out),
            Some(
                Status::Stopping(_)
                | Status::Killed { .. }
                | Status::Stuck
                | Status::Due
                | Status::BackingOff(_)
                | Status::Resting,
            )
            | None => {}
        }
    }

    /// An incarnation is gone.
    pub(super) fn exited(
        &mut self,
        now: Instant,
        child: usize,
        reason: &ExitReason,
        out: &mut Vec<Output>,
    ) {
        let asked = match self.list.status(child) {
            Some(Status::Starting | Status::Up) => false,
            Some(Status::Killed { asked, .. }) => asked,
            Some(Status::Stopping(_) | Status::Stuck) => true,
            Some(Status::Due | Status::BackingOff(_) | Status::Resting) | None => return,
        };
        match self.phase {
            Phase::New | Phase::Ended => {}
            // A supervisor that ends starts nobody.
            Phase::Ending(_) => self.list.settle(child, Status::Resting),
            Phase::Running(_) => {
                self.end_row(now, child);
                let Some(this) = self.list.get(child) else { return };
                let with_group = asked || self.goes_with_group(child);
                match (this.doom, this.trial) {
                    (Doom::Rests | Doom::Returns, _) => self.terminated(child, out),
                    (Doom::None, _) if with_group => self.park(child, out),
                    (Doom::None, Some(Trial::Declared)) => {
                        // Source: OTP stdlib, supervisor:init_children/2: the first start of each
                        // declared child must succeed, or the supervisor does not start.
                        self.list.settle(child, Status::Resting);
                        self.phase = Phase::Ending(End::StartFailed(child));
                    }
                    // Source: OTP stdlib, supervisor:handle_start_child/2: the spec is discarded.
                    (Doom::None, Some(Trial::Added)) => self.forget(child, out),
                    // Source: OTP stdlib, supervisor:handle_call/3 on `restart_child`: nothing has
                    // changed.
                    (Doom::None, Some(Trial::Asked)) => self.dismiss(child, out),
                    (Doom::None, None) => self.decide(now, child, reason, out),
                }
            }
        }
    }

    /// Whether the child is a member of a group that is being stopped: one that dies meanwhile
    /// would have been stopped too.
    pub(super) fn goes_with_group(&self, child: usize) -> bool {
        matches!(self.phase, Phase::Running(Some(Walk::Stopping { from })) if child >= from)
    }

    /// A child that went down with its group comes back with it, unless it is temporary.
    fn park(&mut self, child: usize, out: &mut Vec<Output>) {
        match self.list.get(child).map(|child| child.restart) {
            Some(Restart::Permanent | Restart::Transient) => self.list.set(child, Status::Due),
            Some(Restart::Temporary) => self.forget(child, out),
            None => {}
        }
    }

    pub(super) fn forget(&mut self, child: usize, out: &mut Vec<Output>) {
        self.list.remove(child);
        out.push(Output::Forget(child));
    }

    /// A child that is down stays down, and in the list unless it is temporary.
    ///
    /// Source: OTP stdlib, `supervisor:del_child/2`.
    pub(super) fn dismiss(&mut self, child: usize, out: &mut Vec<Output>) {
        match self.list.get(child).map(|child| child.restart) {
            Some(Restart::Permanent | Restart::Transient) => {
                self.list.settle(child, Status::Resting);
                out.push(Output::Rest(child));
            }
            Some(Restart::Temporary) => self.forget(child, out),
            None => {}
        }
    }

    /// Source: OTP stdlib, `supervisor:do_restart/3`.
    fn decide(&mut self, now: Instant, child: usize, reason: &ExitReason, out: &mut Vec<Output>) {
        use ExitReason::{Crashed, GaveUp, Hung, Killed, Normal, Shutdown, StartFailed};
        let Some(this) = self.list.get(child) else { return };
        let significant = this.significant;
        // No `_` arm: a new restart type or exit reason does not compile until it is decided here.
        match (this.restart, reason) {
            (
                Restart::Permanent,
                Normal | Shutdown | Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp,
            )
            | (Restart::Transient, Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp) => {
                self.restart(now, child, out);
            }
            (Restart::Transient, Normal | Shutdown)
            | (
                Restart::Temporary,
                Normal | Shutdown | Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp,
            ) => {
                self.dismiss(child, out);
                self.after_end(child, significant, out);
            }
        }
    }

    /// A child ended by itself, and is not restarted.
    ///
    /// Source: OTP stdlib, `supervisor:do_auto_shutdown/2`.
    fn after_end(&mut self, child: usize, significant: bool, out: &mut Vec<Output>) {
        let ends = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => significant,
            AutoShutdown::AllSignificant => significant && !self.list.any_significant(),
        };
        if ends {
            out.push(Output::AutoShutdown(child));
            self.phase = Phase::Ending(End::AutoShutdown);
        }
    }

    /// Whether the budgets survive one more restart of the child: how many there are within the
    /// supervisor's period with it.
    ///
    /// Source: OTP stdlib, `supervisor:add_restart/1`; budgets of children are ours.
    fn admit(&mut self, now: Instant, child: usize) -> Option<u32> {
        if self.budget_left(child, now) == Some(0) {
            return None;
        }
        let count = self.window.admit(now, self.intensity)?;
        if let Some(extra) = self.list.extra_mut(child)
            && let Some(budget) = extra.budget
        {
            // There is one left, so this is never one too many.
            extra.window.admit(now, budget)?;
        }
        Some(count)
    }

    fn end_row(&mut self, now: Instant, child: usize) {
        if let Some(extra) = self.list.extra_mut(child)
            && let Some(backoff) = &extra.backoff
        {
            extra.row.down(now, backoff);
        }
    }

    fn restart(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        let Some(count) = self.admit(now, child) else {
            self.list.settle(child, Status::Resting);
            self.give_up(out);
            return;
        };
        out.push(Output::Restarting(child, count));
        let mut status = Status::Due;
        if let Some(extra) = self.list.extra_mut(child)
            && let Some(backoff) = &extra.backoff
        {
            let delay = extra.row.next(backoff, &mut self.jitter);
            out.push(Output::BackingOff(child, delay));
            status = Status::BackingOff(now + delay);
        }
        self.list.set(child, status);
        self.restart_group(child, out);
    }

    pub(super) fn give_up(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Escalate);
        self.phase = Phase::Ending(End::GaveUp);
    }
}
