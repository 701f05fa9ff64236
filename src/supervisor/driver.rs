//! The supervisor actor: asks [`Restarts`] and does what it says.

mod asks;
mod ends;
mod seat;
mod telling;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use ractor::{ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::asks::Waiting;
pub(super) use self::ends::start_reason;
use self::seat::Seat;
use super::api::Ask;
use super::bell::{Fate, outlive};
use super::board::{Door, LastWord};
use super::exit::{self, Word};
use super::keeper::{Desk, Hand, Report, Watch, keep};
use super::launch::{Fault, Post};
use super::plan::{Blueprint, ChildPlan};
use crate::base::{ExitReason, Instant, Keyed};
use crate::event::{EventId, EventKind};
use crate::restart::{End, Input, Output, Restarts};

/// What a supervisor is told.
#[derive(Debug)]
pub(super) enum Note {
    /// Start the children, and answer when they have started.
    Begin(oneshot::Sender<Result<(), Fault>>),
    /// Stop the children and end, because of the event.
    Shutdown(Option<EventId>),
    /// From the keeper of a child.
    Report(Report),
    /// Of a worker: it hangs, or its task has ended.
    Fate { child: usize, incarnation: u64, fate: Fate },
    /// From a user.
    Ask(Ask),
    /// A deadline may have passed.
    Tick,
}

/// One incarnation of a supervisor.
pub(super) struct SupervisorActor;

/// What a supervisor is made from.
pub(super) type Arguments = (Arc<Blueprint>, Post, mpsc::Sender<Infallible>);

#[ractor::actor(message = Note, state = Driver, arguments = Arguments)]
impl SupervisorActor {
    async fn pre_start(
        &self,
        myself: ActorRef<Note>,
        (blueprint, post, alive): Arguments,
    ) -> Result<Driver, ActorProcessingErr> {
        Ok(Driver::new(myself, blueprint, post, alive))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Note>,
        note: Note,
        driver: &mut Driver,
    ) -> Result<(), ActorProcessingErr> {
        match note {
            Note::Begin(up) => {
                driver.up = Some(up);
                driver.feed(Input::Begin, driver.post.cause);
            }
            Note::Shutdown(cause) => driver.shut_down(cause),
            Note::Report(report) => driver.hear(report),
            Note::Fate { child, incarnation, fate } => driver.meet(child, incarnation, fate),
            Note::Ask(ask) => driver.asked(ask),
            Note::Tick => {
                driver.timer = None;
                driver.feed(Input::Tick, None);
            }
        }
        Ok(())
    }

    /// Ractor's mailbox gives these precedence, and a child's task ends after it sent the last: by
    /// the time its exit is reported, its word is here and its state is dropped.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Note>,
        event: SupervisionEvent,
        driver: &mut Driver,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((actor, word)) = exit::word(event) {
            driver.words.insert(actor, word);
        }
        Ok(())
    }
}

/// A timer that ends with its owner.
struct Timer {
    at: Instant,
    task: AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state of a supervisor.
pub(super) struct Driver {
    me: ActorRef<Note>,
    blueprint: Arc<Blueprint>,
    post: Post,
    machine: Restarts,
    seats: Keyed<Seat>,
    /// What ractor said of actors whose end was not reported yet. Only looked up.
    words: HashMap<ActorId, Word>,
    /// Who waits for what becomes of a child.
    waiting: BTreeMap<usize, Vec<Waiting>>,
    up: Option<oneshot::Sender<Result<(), Fault>>>,
    alive: Option<mpsc::Sender<Infallible>>,
    timer: Option<Timer>,
}

/// Cut off, it leaves no orphan.
impl Drop for Driver {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Driver {
    /// What those hold that outlive the supervisor.
    fn held(&self) -> super::bell::Held {
        (self.alive.clone(), self.post.setting.clone())
    }

    /// Kills what is left; its supervisor's supervisor waits for that.
    fn leave(&mut self) {
        let tasks = self.seats.iter_mut().filter_map(Seat::orphan).collect();
        outlive(tasks, self.held());
        self.alive = None;
    }

    fn new(
        me: ActorRef<Note>,
        blueprint: Arc<Blueprint>,
        post: Post,
        alive: mpsc::Sender<Infallible>,
    ) -> Self {
        let setting = &post.setting;
        blueprint.board.begin(&blueprint.children);
        *blueprint.board.door.write() = Door::Open(me.clone(), setting.clock.clone());
        let seat = |(child, plan): (usize, &Arc<ChildPlan>)| {
            let lived = blueprint.board.row(child).map_or(0, |row| row.incarnation);
            (child, Seat::new(plan.clone(), lived))
        };
        Self {
            machine: Restarts::new(blueprint.config(setting.seed_of(&post.path, post.incarnation))),
            seats: blueprint.children.iter().enumerate().map(seat).collect(),
            words: HashMap::new(),
            waiting: BTreeMap::new(),
            up: None,
            alive: Some(alive),
            timer: None,
            me,
            blueprint,
            post,
        }
    }

    fn shut_down(&mut self, cause: Option<EventId>) {
        let (path, incarnation) = (self.post.path.clone(), self.post.incarnation);
        let id = self.emit(&path, incarnation, EventKind::ShuttingDown, cause);
        self.feed(Input::Shutdown, Some(id));
    }

    /// One step of the machine, because of the event `cause`.
    fn feed(&mut self, input: Input, mut cause: Option<EventId>) {
        let mut out = Vec::new();
        self.machine.step(self.post.setting.clock.now(), input, &mut out);
        #[cfg(any(test, feature = "sim"))]
        if self.seats.len() < 100 {
            self.machine.check();
        }
        for output in out {
            #[cfg(test)]
            self.post.setting.hook(&self.me, &self.post.path, &output);
            self.perform(output, &mut cause);
        }
        self.arm();
    }

    /// Does one thing the machine said. What is decided becomes the cause of what follows.
    fn perform(&mut self, output: Output, cause: &mut Option<EventId>) {
        match output {
            Output::Start(child) => self.start(child, *cause),
            Output::Stop(child) => {
                self.show(child);
                let id = self.emit_child(child, EventKind::Stopping, *cause);
                if let Some(seat) = self.seats.get_mut(child) {
                    seat.stop(id);
                }
            }
            Output::Kill(child) => self.kill(child, *cause),
            Output::Restarting(child, within_period) => {
                let kind = EventKind::Restarting { within_period };
                *cause = Some(self.emit_child(child, kind, *cause));
                let board = &self.blueprint.board;
                board.change(child, |row| row.restarts += 1);
                board.restarted(self.post.setting.clock.now(), self.blueprint.intensity);
            }
            Output::BackingOff(child, delay) => {
                self.show(child);
                *cause = Some(self.emit_child(child, EventKind::BackingOff { delay }, *cause));
                if let Some(seat) = self.seats.get_mut(child) {
                    seat.cause = *cause;
                }
            }
            Output::Rest(child) => self.rest(child, *cause),
            Output::Forget(child) => self.forget(child, *cause),
            Output::Stuck(child) => {
                self.show(child);
                let by = self.seats.get(child).and_then(|seat| seat.cause);
                *cause = Some(self.emit_child(child, EventKind::Stuck, by));
            }
            Output::Abandon(child) => self.abandon(child, cause),
            Output::Ready => self.answer(Ok(())),
            Output::Escalate => *cause = Some(self.emit_own(EventKind::Escalated, *cause)),
            Output::AutoShutdown(_) => {
                *cause = Some(self.emit_own(EventKind::AutoShutdown, *cause));
            }
            Output::End(end) => self.end(end, *cause),
        }
    }

    fn start(&mut self, child: usize, cause: Option<EventId>) {
        let Some(seat) = self.seats.get_mut(child) else { return };
        let (hand, leash) = Hand::new();
        seat.incarnation += 1;
        // A start that time alone brings is due to the restart that waited.
        let cause = cause.or(seat.cause);
        let plan = seat.plan.clone();
        *seat = Seat { hand: Some(hand), cause, ..Seat::new(plan.clone(), seat.incarnation) };
        let incarnation = seat.incarnation;
        self.blueprint.board.change(child, |row| row.incarnation = incarnation);
        // What another supervisor's incarnation left unsaid.
        let count = plan.launch.vacate();
        if count > 0 {
            self.emit_child(child, EventKind::DeadLetters { count }, cause);
        }
        let post = Post {
            parent: Some(self.me.get_cell()),
            path: plan.path.clone(),
            incarnation,
            cause,
            setting: self.post.setting.clone(),
        };
        if let Some(recovery) = plan.recovery() {
            recovery.begun(self.post.setting.clock.now());
        }
        let watch = Watch {
            desk: Desk::Supervisor(self.me.clone()),
            child,
            post,
            leash,
            start_within: plan.start_within(),
            alive: self.alive.clone(),
        };
        tokio::spawn(keep(plan.launch.clone(), watch));
        self.show(child);
    }

    fn kill(&mut self, child: usize, cause: Option<EventId>) {
        self.show(child);
        let Some(seat) = self.seats.get(child) else { return };
        // One that did not stop in time is killed for what it was asked to stop for.
        let cause = if seat.asked { seat.cause } else { cause };
        let id = self.emit_child(child, EventKind::Killing, cause);
        if let Some(seat) = self.seats.get_mut(child) {
            seat.kill(id);
        }
    }

    /// A stuck incarnation is left to itself: what it still says is of no interest.
    fn abandon(&mut self, child: usize, cause: &mut Option<EventId>) {
        let Some(seat) = self.seats.get_mut(child) else { return };
        let by = seat.cause.take();
        let plan = seat.plan.clone();
        let left = std::mem::replace(seat, Seat::new(plan, seat.incarnation));
        outlive(left.task().into_iter().collect(), self.held());
        let id = self.emit_child(child, EventKind::Abandoned, by);
        self.clear_up(child, &ExitReason::Killed, id);
        *cause = Some(id);
    }

    fn rest(&mut self, child: usize, cause: Option<EventId>) {
        if self.blueprint.is_dynamic {
            // Source: OTP stdlib, `supervisor:del_child/2`: a dynamic supervisor lists nobody who
            // does not run. Refused if it ends, and then it does not matter.
            self.feed(Input::Delete(child), cause);
            if self.machine.status(child).is_none() {
                return;
            }
        }
        self.close(child, cause);
        self.show(child);
        self.settle_waiting(child, true);
    }

    fn forget(&mut self, child: usize, cause: Option<EventId>) {
        self.close(child, cause);
        self.blueprint.board.remove(child);
        self.settle_waiting(child, true);
        if let Some(seat) = self.seats.remove(child) {
            let dropped = exit::quietly(move || drop(seat));
            if let Err(panic) = dropped {
                tracing::error!(panic, "a child's factory panicked in drop");
            }
        }
    }

    /// The child's refs lead nowhere from now on.
    fn close(&mut self, child: usize, cause: Option<EventId>) {
        let Some(seat) = self.seats.get(child) else { return };
        let count = seat.plan.launch.close();
        if count > 0 {
            self.emit_child(child, EventKind::DeadLetters { count }, cause);
        }
    }

    /// Ends the supervisor: no child lives but stuck ones.
    fn end(&mut self, end: End, cause: Option<EventId>) {
        let path = self.blueprint.path.clone();
        let (reason, fault) = match end {
            End::Shutdown | End::AutoShutdown => {
                (ExitReason::Shutdown, Fault { path, reason: ExitReason::Shutdown })
            }
            End::GaveUp | End::Stuck => {
                (ExitReason::GaveUp, Fault { path, reason: ExitReason::GaveUp })
            }
            End::StartFailed(child) => self.start_failed(child),
        };
        *self.blueprint.board.door.write() = Door::Vacant;
        self.answer(Err(fault));
        self.blueprint.board.say(LastWord { reason, cause });
        self.waiting.clear();
        self.leave();
        self.me.stop(None);
    }

    fn start_failed(&mut self, child: usize) -> (ExitReason, Fault) {
        let path = self.blueprint.path.clone();
        let seat = self.seats.get_mut(child);
        let at = seat.as_ref().map_or_else(|| path.clone(), |seat| seat.plan.path.clone());
        let fault = seat.and_then(|seat| seat.fault.take()).map_or_else(
            || {
                let why = "it ended while its siblings started";
                Fault { path: at, reason: ExitReason::Crashed(why.into()) }
            },
            |fault| *fault,
        );
        (start_reason(&path, fault.clone()), fault)
    }

    /// Tells whoever started the supervisor, the first time.
    fn answer(&mut self, up: Result<(), Fault>) {
        if let Some(waiting) = self.up.take() {
            // Its keeper may be gone, and with it the wish to know.
            let _ = waiting.send(up);
        }
    }

    /// Sets the timer to the machine's next deadline.
    fn arm(&mut self) {
        let next = self.machine.next_deadline();
        if self.timer.as_ref().map(|timer| timer.at) == next {
            return;
        }
        self.timer = next.map(|at| {
            let (clock, me) = (self.post.setting.clock.clone(), self.me.clone());
            let task = tokio::spawn(async move {
                clock.sleep_until(at).await;
                // A supervisor that has ended has no deadlines.
                let _ = me.send_message(Note::Tick);
            });
            Timer { at, task: task.abort_handle() }
        });
    }
}
