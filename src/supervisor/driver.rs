//! The supervisor actor: asks [`Restarts`] and does what it says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use ractor::{ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::board::{ChildStatus, LastWord};
use super::exit::{self, Word};
use super::keeper::{Desk, Exit, Hand, Report, Told, Watch, keep};
use super::launch::{Fault, Post};
use super::spec::Blueprint;
use crate::base::{ExitReason, Instant};
use crate::event::{EventId, EventKind, Happened, Path};
use crate::restart::{End, Input, Output, Restarts, Status};

/// What a supervisor is told.
#[derive(Debug)]
pub(super) enum Note {
    /// Start the children, and answer when they have started.
    Begin(oneshot::Sender<Result<(), Fault>>),
    /// Stop the children and end, because of the event.
    Shutdown(Option<EventId>),
    /// From the keeper of a child.
    Report(Report),
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
                driver.feed(Input::Begin, None);
            }
            Note::Shutdown(cause) => driver.feed(Input::Shutdown, cause),
            Note::Report(report) => driver.hear(report),
            Note::Tick => {
                driver.timer = None;
                driver.feed(Input::Tick, None);
            }
        }
        Ok(())
    }

    /// Ractor's mailbox gives these precedence, and a child's task ends after it sent the last: by
    /// the time its keeper reports the exit, its word is here and its state is dropped.
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

/// What a supervisor has of a child.
#[derive(Debug, Default)]
struct Seat {
    /// The orders that its incarnation takes, while there is one.
    hand: Option<Hand>,
    /// It was asked to stop, or killed.
    asked: bool,
    /// The event that started it, or asked it to stop.
    cause: Option<EventId>,
    /// Why its last start failed.
    fault: Option<Fault>,
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
    seats: Vec<Seat>,
    /// What ractor said of actors whose keepers have not reported yet. Only looked up.
    words: HashMap<ActorId, Word>,
    up: Option<oneshot::Sender<Result<(), Fault>>>,
    alive: Option<mpsc::Sender<Infallible>>,
    timer: Option<Timer>,
}

impl Driver {
    fn new(
        me: ActorRef<Note>,
        blueprint: Arc<Blueprint>,
        post: Post,
        alive: mpsc::Sender<Infallible>,
    ) -> Self {
        blueprint.board.begin();
        let machine = Restarts::new(blueprint.config());
        let seats = blueprint.children.iter().map(|_| Seat::default()).collect();
        let words = HashMap::new();
        let alive = Some(alive);
        Self { me, blueprint, post, machine, seats, words, up: None, alive, timer: None }
    }

    /// Takes the report of a keeper.
    fn hear(&mut self, report: Report) {
        let Report { child, incarnation, told } = report;
        // There is one incarnation at a time, and its keeper's last report makes room for the next.
        debug_assert_eq!(incarnation, self.blueprint.board.row(child).incarnation);
        match told {
            Told::Started => {
                let cause = self.seats[child].cause;
                let id = self.emit_child(child, EventKind::Started, cause);
                self.feed(Input::Started(child), Some(id));
            }
            Told::Fell(_) => self.feed(Input::Fell(child), None),
            Told::Exited(exit) => {
                let (reason, cause) = self.read(child, exit);
                let id = self.emit_child(child, EventKind::Exited(reason.clone()), cause);
                self.feed(Input::Exited(child, reason), Some(id));
            }
        }
        self.show(child);
    }

    /// Why an incarnation ended, and by which event.
    fn read(&mut self, child: usize, exit: Exit) -> (ExitReason, Option<EventId>) {
        let Exit { actor, fault, said, panic } = exit;
        let word = actor.and_then(|actor| self.words.remove(&actor));
        let seat = &mut self.seats[child];
        seat.hand = None;
        let asked = std::mem::take(&mut seat.asked);
        let asked_by = seat.cause.take().filter(|_| asked);
        seat.fault.clone_from(&fault);
        let said_cause = said.as_ref().and_then(|said| said.cause);
        let reason = match (fault, said) {
            (Some(fault), _) => start_reason(&self.blueprint.children[child].path, fault),
            (None, Some(said)) => said.reason,
            (None, None) => exit::reason(word, panic, asked),
        };
        (reason, said_cause.or(asked_by))
    }

    /// One step of the machine, because of the event `cause`.
    fn feed(&mut self, input: Input, mut cause: Option<EventId>) {
        let mut out = Vec::new();
        self.machine.step(self.post.setting.clock.now(), input, &mut out);
        #[cfg(any(test, feature = "sim"))]
        self.machine.check();
        for output in out {
            self.perform(output, &mut cause);
        }
        self.arm();
    }

    /// Does one thing the machine said. What is decided becomes the cause of what follows.
    fn perform(&mut self, output: Output, cause: &mut Option<EventId>) {
        match output {
            Output::Start(child) => self.start(child, *cause),
            Output::Stop(child) => {
                let id = self.emit_child(child, EventKind::Stopping, *cause);
                self.ask(child, id).stop(Some(id));
                self.show(child);
            }
            Output::Kill(child) => {
                // One that did not stop in time is killed for what it was asked to stop for.
                let seat = &self.seats[child];
                let cause = if seat.asked { seat.cause } else { *cause };
                let id = self.emit_child(child, EventKind::Killing, cause);
                self.ask(child, id).kill();
                self.show(child);
            }
            Output::Restarting(child, within_period) => {
                let kind = EventKind::Restarting { within_period };
                *cause = Some(self.emit_child(child, kind, *cause));
                self.blueprint.board.change(child, |row| row.restarts += 1);
            }
            Output::Rest(child) | Output::Forget(child) => {
                self.blueprint.children[child].launch.close();
                self.show(child);
            }
            Output::Stuck(child) => {
                let by = self.seats[child].cause;
                *cause = Some(self.emit_child(child, EventKind::Stuck, by));
                self.show(child);
            }
            Output::Ready => self.answer(Ok(())),
            Output::Escalate => {
                let path = self.blueprint.path.clone();
                let incarnation = self.post.incarnation;
                *cause = Some(self.emit(&path, incarnation, EventKind::Escalated, *cause));
            }
            Output::End(end) => self.end(end, *cause),
        }
    }

    fn start(&mut self, child: usize, cause: Option<EventId>) {
        let plan = &self.blueprint.children[child];
        self.blueprint.board.change(child, |row| row.incarnation += 1);
        let (hand, leash) = Hand::new();
        let post = Post {
            parent: Some(self.me.get_cell()),
            path: plan.path.clone(),
            incarnation: self.blueprint.board.row(child).incarnation,
            setting: self.post.setting.clone(),
        };
        let desk = Desk::Supervisor(self.me.clone());
        let watch = Watch { desk, child, post, leash, alive: self.alive.clone() };
        tokio::spawn(keep(plan.launch.clone(), watch));
        self.seats[child] = Seat { hand: Some(hand), asked: false, cause, fault: None };
        self.show(child);
    }

    /// Notes that the child was asked to end by the event `by`, and gives its orders.
    fn ask(&mut self, child: usize, by: EventId) -> &mut Hand {
        let seat = &mut self.seats[child];
        seat.asked = true;
        seat.cause = Some(by);
        seat.hand.get_or_insert_with(|| Hand::new().0)
    }

    /// Ends the supervisor: no child lives but stuck ones.
    fn end(&mut self, end: End, cause: Option<EventId>) {
        let path = self.blueprint.path.clone();
        let (reason, fault) = match end {
            End::Shutdown => (ExitReason::Shutdown, Fault { path, reason: ExitReason::Shutdown }),
            End::GaveUp | End::Stuck => {
                (ExitReason::GaveUp, Fault { path, reason: ExitReason::GaveUp })
            }
            End::StartFailed(child) => {
                let fault = self.seats[child].fault.take();
                let reason = ExitReason::Crashed("it ended while its siblings started".into());
                let child = self.blueprint.children[child].path.clone();
                let fault = fault.unwrap_or(Fault { path: child, reason });
                (start_reason(&path, fault.clone()), fault)
            }
        };
        self.answer(Err(fault));
        self.blueprint.board.say(LastWord { reason, cause });
        self.alive = None;
        self.me.stop(None);
    }

    /// Tells whoever started the supervisor, the first time.
    fn answer(&mut self, up: Result<(), Fault>) {
        if let Some(waiting) = self.up.take() {
            // Its keeper may be gone, and with it the wish to know.
            let _ = waiting.send(up);
        }
    }

    /// Shows on the board where the child stands.
    fn show(&self, child: usize) {
        let status = match self.machine.status(child) {
            Status::Due => Some(ChildStatus::Waiting),
            Status::Starting => Some(ChildStatus::Starting),
            Status::Up => Some(ChildStatus::Running),
            Status::Stopping(_) | Status::Killed { .. } => Some(ChildStatus::Stopping),
            Status::Stuck => Some(ChildStatus::Stuck),
            Status::Resting => Some(ChildStatus::Resting),
            Status::Forgotten => None,
        };
        self.blueprint.board.change(child, |row| row.status = status);
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

    fn emit_child(&self, child: usize, kind: EventKind, cause: Option<EventId>) -> EventId {
        let incarnation = self.blueprint.board.row(child).incarnation;
        self.emit(&self.blueprint.children[child].path, incarnation, kind, cause)
    }

    fn emit(
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

/// The exit reason of the child at `path` that did not start because of `fault`, which may be one
/// of its descendants'.
pub(super) fn start_reason(path: &Path, fault: Fault) -> ExitReason {
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
