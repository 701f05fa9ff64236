//! The pure half of a supervisor.

use std::collections::BTreeSet;
use std::time::Duration;

use super::intensity::Window;
use super::{Intensity, Restart, Shutdown, Strategy};
use crate::base::{ExitReason, Instant};

/// A child whose task is alive this long after it was killed is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What the machine needs to know of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
}

/// What is declared.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who is restarted with whom.
    pub strategy: Strategy,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// The children in the order of the list, which is the order of start.
    pub children: Vec<Rule>,
}

/// What happened. Children are named by their place in [`Config::children`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The supervisor is there: start the children.
    Begin,
    /// The start that was asked for is done.
    Started(usize),
    /// The child's incarnation ended, or its start failed: its task is gone, its state dropped.
    Exited(usize, ExitReason),
    /// The child is a supervisor that was killed or gave up, and parts of its tree still live.
    Fell(usize),
    /// The supervisor is asked to stop.
    Shutdown,
    /// Time passed. May come early, late or twice.
    Tick,
}

/// What the supervisor must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Start a new incarnation, then tell [`Input::Started`] or [`Input::Exited`].
    Start(usize),
    /// Ask it to stop, then tell [`Input::Exited`].
    Stop(usize),
    /// Kill it, then tell [`Input::Exited`].
    Kill(usize),
    /// The child is to be restarted, as the given count of restarts within the period.
    Restarting(usize, u32),
    /// The child ended and is not restarted; it stays in the list.
    Rest(usize),
    /// The child ended and leaves the list.
    Forget(usize),
    /// The child's task outlived its kill.
    Stuck(usize),
    /// All children have started for the first time.
    Ready,
    /// The supervisor gives up and stops its children.
    Escalate,
    /// The supervisor is done: exit.
    End(End),
}

/// Why a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Shutdown,
    /// Too many restarts, or a stuck child that has ended since.
    GaveUp,
    /// This child did not start when the supervisor did.
    StartFailed(usize),
    /// Children are stuck.
    Stuck,
}

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Down, to be started when its turn comes.
    Due,
    /// Asked to start.
    Starting,
    /// Started.
    Up,
    /// Asked to stop; killed at this instant.
    Stopping(Instant),
    /// Killed; stuck at the instant `stuck_at`.
    Killed {
        /// When it is given up.
        stuck_at: Instant,
        /// Whether the supervisor wanted it to end.
        asked: bool,
    },
    /// Killed and still alive.
    Stuck,
    /// Ended and not restarted; still listed.
    Resting,
    /// Ended and no longer listed.
    Forgotten,
}

impl Status {
    /// Whether it may still run.
    const fn live(self) -> bool {
        match self {
            Self::Starting | Self::Up | Self::Stopping(_) | Self::Killed { .. } => true,
            // A stuck child is alive too, but nobody waits for it any longer.
            Self::Due | Self::Stuck | Self::Resting | Self::Forgotten => false,
        }
    }

    /// When something must be done about it.
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Stopping(at) | Self::Killed { stuck_at: at, .. } => {
                (at != Instant::NEVER).then_some(at)
            }
            Self::Due
            | Self::Starting
            | Self::Up
            | Self::Stuck
            | Self::Resting
            | Self::Forgotten => None,
        }
    }
}

/// A walk over a group of children: all from `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// Stopping the group, right to left.
    Stopping { from: usize },
    /// Starting all that are due, left to right.
    Starting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Running(Option<Walk>),
    Ending(End),
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Child {
    rule: Rule,
    status: Status,
    /// It has been up since the supervisor began.
    proven: bool,
}

/// The decisions of one incarnation of a supervisor.
#[derive(Debug, Clone)]
pub struct Restarts {
    strategy: Strategy,
    intensity: Intensity,
    window: Window,
    phase: Phase,
    ready: bool,
    children: Vec<Child>,
    // What `children` says, by status, so that no step walks the whole list.
    live: BTreeSet<usize>,
    due: BTreeSet<usize>,
    starting: BTreeSet<usize>,
    deadlines: BTreeSet<(Instant, usize)>,
}

impl Restarts {
    /// A supervisor that has not begun.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let child = |rule| Child { rule, status: Status::Resting, proven: false };
        Self {
            strategy: config.strategy,
            intensity: config.intensity,
            window: Window::default(),
            phase: Phase::New,
            ready: false,
            children: config.children.into_iter().map(child).collect(),
            live: BTreeSet::new(),
            due: BTreeSet::new(),
            starting: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes one input at `now` and appends what the supervisor must do, in order.
    ///
    /// An input that does not fit a child's status is late or repeated, and changes nothing.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Begin => self.begin(),
            Input::Started(child) => self.started(child),
            Input::Exited(child, reason) => self.exited(now, child, &reason, out),
            Input::Fell(child) => self.fell(now, child),
            Input::Shutdown => self.shut_down(),
            Input::Tick => {}
        }
        self.overdue(now, out);
        self.advance(now, out);
    }

    /// When to call [`step`](Self::step) with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Where the child stands.
    ///
    /// # Panics
    /// If there is no such child.
    #[must_use]
    pub fn status(&self, child: usize) -> Status {
        self.children[child].status
    }

    /// Restarts that would be survived at `now`.
    #[must_use]
    pub fn restarts_left(&self, now: Instant) -> u32 {
        self.window.left(now, self.intensity)
    }

    /// Panics if a rule of this machine is broken.
    ///
    /// # Panics
    /// See above; for tests and simulation.
    pub fn check(&self) {
        for (index, child) in self.children.iter().enumerate() {
            let status = child.status;
            assert_eq!(self.live.contains(&index), status.live(), "{index} {status:?}");
            assert_eq!(self.due.contains(&index), status == Status::Due, "{index} {status:?}");
            let starting = status == Status::Starting;
            assert_eq!(self.starting.contains(&index), starting, "{index} {status:?}");
            let deadline = status.deadline().map(|at| (at, index));
            assert!(deadline.is_none_or(|due| self.deadlines.contains(&due)), "{index}");
        }
        let timed = self.children.iter().filter(|child| child.status.deadline().is_some());
        assert_eq!(self.deadlines.len(), timed.count(), "a deadline of nobody");
        assert!(self.window.len() <= self.intensity.restarts as usize, "too many restarts");
        if self.strategy != Strategy::OneForOne {
            assert!(self.starting.len() <= 1, "a group starts one by one");
        }
        match self.phase {
            Phase::New | Phase::Ended => assert!(self.live.is_empty(), "alive outside its life"),
            // Outside a walk nobody waits for a turn.
            Phase::Running(None) => assert!(self.due.is_empty(), "due and forgotten"),
            Phase::Running(Some(_)) | Phase::Ending(_) => {}
        }
    }

    fn set(&mut self, child: usize, status: Status) {
        let old = std::mem::replace(&mut self.children[child].status, status);
        if let Some(at) = old.deadline() {
            self.deadlines.remove(&(at, child));
        }
        if let Some(at) = status.deadline() {
            self.deadlines.insert((at, child));
        }
        let put = |set: &mut BTreeSet<usize>, is: bool| {
            if is { set.insert(child) } else { set.remove(&child) };
        };
        put(&mut self.live, status.live());
        put(&mut self.due, status == Status::Due);
        put(&mut self.starting, status == Status::Starting);
    }

    fn begin(&mut self) {
        if self.phase == Phase::New {
            self.phase = Phase::Running(Some(Walk::Starting));
            (0..self.children.len()).for_each(|child| self.set(child, Status::Due));
        }
    }

    fn started(&mut self, child: usize) {
        match self.children[child].status {
            Status::Starting => {
                self.children[child].proven = true;
                self.set(child, Status::Up);
            }
            // It was asked to stop meanwhile, which stands.
            Status::Stopping(_) | Status::Killed { .. } | Status::Stuck => {}
            Status::Due | Status::Up | Status::Resting | Status::Forgotten => {}
        }
    }

    fn shut_down(&mut self) {
        match self.phase {
            Phase::New | Phase::Running(_) => self.phase = Phase::Ending(End::Shutdown),
            Phase::Ending(_) | Phase::Ended => {}
        }
    }

    fn fell(&mut self, now: Instant, child: usize) {
        let asked = match self.children[child].status {
            Status::Starting | Status::Up => false,
            Status::Stopping(_) => true,
            Status::Killed { .. }
            | Status::Stuck
            | Status::Due
            | Status::Resting
            | Status::Forgotten => return,
        };
        self.set(child, Status::Killed { stuck_at: now + STUCK_AFTER, asked });
    }

    fn exited(&mut self, now: Instant, child: usize, reason: &ExitReason, out: &mut Vec<Output>) {
        let asked = match self.children[child].status {
            Status::Starting | Status::Up => false,
            Status::Killed { asked, .. } => asked,
            Status::Stopping(_) | Status::Stuck => true,
            Status::Due | Status::Resting | Status::Forgotten => return,
        };
        match self.phase {
            Phase::New | Phase::Ended => {}
            // A supervisor that ends starts nobody.
            Phase::Ending(_) => self.set(child, Status::Resting),
            Phase::Running(walk) => {
                // A member that dies while its group is being stopped would have been stopped too.
                let with_group = matches!(walk, Some(Walk::Stopping { from }) if child >= from);
                if asked || with_group {
                    self.park(child, out);
                } else if !self.ready && !self.children[child].proven {
                    // Source: OTP stdlib, supervisor:init_children/2: the first start of each
                    // child must succeed, or the supervisor does not start.
                    self.set(child, Status::Resting);
                    self.phase = Phase::Ending(End::StartFailed(child));
                } else {
                    self.decide(now, child, reason, out);
                }
            }
        }
    }

    /// A child that went down with its group comes back with it, unless it is temporary.
    fn park(&mut self, child: usize, out: &mut Vec<Output>) {
        match self.children[child].rule.restart {
            Restart::Permanent | Restart::Transient => self.set(child, Status::Due),
            Restart::Temporary => {
                self.set(child, Status::Forgotten);
                out.push(Output::Forget(child));
            }
        }
    }

    fn decide(&mut self, now: Instant, child: usize, reason: &ExitReason, out: &mut Vec<Output>) {
        use ExitReason::{Crashed, GaveUp, Hung, Killed, Normal, Shutdown, StartFailed};
        // No `_` arm: a new restart type or exit reason does not compile until it is decided here.
        match (self.children[child].rule.restart, reason) {
            (
                Restart::Permanent,
                Normal | Shutdown | Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp,
            )
            | (Restart::Transient, Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp) => {
                self.restart(now, child, out);
            }
            (Restart::Transient, Normal | Shutdown) => {
                self.set(child, Status::Resting);
                out.push(Output::Rest(child));
            }
            (
                Restart::Temporary,
                Normal | Shutdown | Killed | Crashed(_) | StartFailed(_) | Hung | GaveUp,
            ) => {
                self.set(child, Status::Forgotten);
                out.push(Output::Forget(child));
            }
        }
    }

    fn restart(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        let Some(count) = self.window.admit(now, self.intensity) else {
            self.set(child, Status::Resting);
            self.give_up(out);
            return;
        };
        out.push(Output::Restarting(child, count));
        self.set(child, Status::Due);
        let from = match self.strategy {
            Strategy::OneForOne => {
                // Its own group: it waits for nobody.
                self.start(child, out);
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => child,
        };
        let from = match self.phase {
            Phase::Running(Some(Walk::Stopping { from: other })) => from.min(other),
            Phase::Running(Some(Walk::Starting) | None)
            | Phase::New
            | Phase::Ending(_)
            | Phase::Ended => from,
        };
        self.phase = Phase::Running(Some(Walk::Stopping { from }));
    }

    fn give_up(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Escalate);
        self.phase = Phase::Ending(End::GaveUp);
    }

    /// Kills what did not stop in time, and gives up what outlived its kill.
    fn overdue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((at, child)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            match self.children[child].status {
                Status::Stopping(_) => self.kill(now, child, out),
                Status::Killed { .. }
                | Status::Due
                | Status::Starting
                | Status::Up
                | Status::Stuck
                | Status::Resting
                | Status::Forgotten => {
                    self.set(child, Status::Stuck);
                    out.push(Output::Stuck(child));
                    match self.phase {
                        Phase::Running(_) => self.give_up(out),
                        Phase::New | Phase::Ending(_) | Phase::Ended => {}
                    }
                }
            }
        }
    }

    fn start(&mut self, child: usize, out: &mut Vec<Output>) {
        debug_assert_eq!(self.children[child].status, Status::Due, "started while alive");
        self.set(child, Status::Starting);
        out.push(Output::Start(child));
    }

    fn kill(&mut self, now: Instant, child: usize, out: &mut Vec<Output>) {
        self.set(child, Status::Killed { stuck_at: now + STUCK_AFTER, asked: true });
        out.push(Output::Kill(child));
    }

    /// Asks the rightmost live child from `from` on to stop, unless it is asked already. False if
    /// none lives.
    fn stop_rightmost(&mut self, now: Instant, from: usize, out: &mut Vec<Output>) -> bool {
        let Some(child) = self.live.range(from..).next_back().copied() else {
            return false;
        };
        match self.children[child].status {
            Status::Starting | Status::Up => {
                let kill_at = match self.children[child].rule.shutdown {
                    Shutdown::Within(time) => now + time,
                    Shutdown::Patient => Instant::NEVER,
                    Shutdown::Kill => {
                        self.kill(now, child, out);
                        return true;
                    }
                };
                self.set(child, Status::Stopping(kill_at));
                out.push(Output::Stop(child));
            }
            Status::Stopping(_)
            | Status::Killed { .. }
            | Status::Due
            | Status::Stuck
            | Status::Resting
            | Status::Forgotten => {}
        }
        true
    }

    /// Takes the next steps of a walk, or of the end.
    fn advance(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Phase::Running(Some(Walk::Stopping { from })) = self.phase {
            if self.stop_rightmost(now, from, out) {
                return;
            }
            self.wake(from);
            self.phase = Phase::Running(Some(Walk::Starting));
        }
        match self.phase {
            Phase::Running(Some(Walk::Starting)) => {
                if !self.starting.is_empty() {
                    return;
                }
                if let Some(child) = self.due.first().copied() {
                    self.start(child, out);
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
                let stuck = self.children.iter().any(|child| child.status == Status::Stuck);
                out.push(Output::End(if stuck { End::Stuck } else { end }));
            }
            Phase::New
            | Phase::Running(None | Some(Walk::Stopping { .. }))
            | Phase::Ended => {}
        }
    }

    /// A group restart starts every listed member, also one that was at rest.
    ///
    /// Source: OTP stdlib, supervisor:start_children/2, which looks at no pid.
    fn wake(&mut self, from: usize) {
        for child in from..self.children.len() {
            if self.children[child].status == Status::Resting {
                self.set(child, Status::Due);
            }
        }
    }
}
