//! The world: machines, links, faults, and one event after another.

use std::collections::BTreeMap;
use std::time::Duration;

use super::events::{Event, Events};
use super::faults::Fault;
use super::host::{Host, Tally};
use super::lanes::Lane;
use super::laws::{self, Broken};
use super::machine::{Happened, Machine, Seen, Wanted};
use super::setup::Setup;
use crate::base::{Boot, Instant, Rng as _, SeededRng};
use crate::sim::{Trace, mix};
use crate::transport::{Limits, Timing};

/// Within this a change of the committed members reaches a node that is in touch with a majority.
pub const COMMIT_MAX: Duration = Duration::from_millis(200);
/// From the start of a process to its wish to be a member.
const START: Duration = Duration::from_millis(300);
/// So many steps at one instant are a machine that asks for the same deadline for ever.
const SPINS_MAX: u32 = 10_000;
/// Up to this size the machine's invariants are checked after each of its steps.
const CHECKED_MAX: usize = 10;
const MILLION: u64 = 1_000_000;

/// One node observes another otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, by the world's clock.
    pub at: Instant,
    /// Who observes.
    pub by: usize,
    /// Whom.
    pub of: usize,
    /// As what.
    pub seen: Seen,
}

/// Machines on a queue of events. Time passes only by [`Swarm::run_until`].
#[derive(Debug)]
pub struct Swarm {
    pub(super) setup: Setup,
    pub(super) now: Instant,
    pub(super) events: Events,
    pub(super) hosts: Vec<Host>,
    /// What each node has dialled, by the other end.
    pub(super) lanes: Vec<BTreeMap<usize, Lane>>,
    pub(super) links_made: u64,
    /// Faults that are going on, in the order they began.
    pub(super) faults: Vec<Fault>,
    pub(super) limits: Limits,
    pub(super) timing: Timing,
    pub(super) rng: SeededRng,
    /// Of the committed members.
    pub(super) version: u64,
    pub(super) committed: BTreeMap<usize, Boot>,
    changes: Vec<Change>,
    wanted: Vec<Wanted>,
    steps: u64,
    trace: Trace,
}

impl Swarm {
    /// All nodes are members, and learn it within [`COMMIT_MAX`].
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let nodes = setup.nodes;
        let mut swarm = Self {
            now: Instant::ZERO,
            events: Events::default(),
            hosts: Vec::new(),
            lanes: Vec::new(),
            links_made: 0,
            faults: Vec::new(),
            limits: Limits::default(),
            timing: Timing::default(),
            rng: SeededRng::new(mix(&[setup.seed, 0x5a_0a12])),
            version: 1,
            committed: BTreeMap::new(),
            changes: Vec::new(),
            wanted: Vec::new(),
            steps: 0,
            trace: Trace::default(),
            setup,
        };
        for _ in 0..nodes {
            let node = swarm.add_host();
            swarm.hosts[node].boot = Boot(1);
            swarm.committed.insert(node, Boot(1));
            swarm.start_machine(node);
        }
        for node in 0..nodes {
            let at = swarm.now + swarm.rng.up_to(COMMIT_MAX);
            swarm.events.push(at, Event::Commit(node));
        }
        swarm
    }

    pub(super) fn add_host(&mut self) -> usize {
        let offset = Duration::from_secs(1) + self.rng.up_to(Duration::from_hours(1));
        let drift = u64::from(self.setup.profile.drift_permille) * 1_000;
        let rate = MILLION - drift + self.rng.next_u64() % (2 * drift + 1);
        self.hosts.push(Host::new(offset, rate));
        self.lanes.push(BTreeMap::new());
        self.hosts.len() - 1
    }

    pub(super) fn start_machine(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let seed = mix(&[self.setup.seed, node as u64, host.boot.0]);
        host.machine = Some(Machine::new((node, host.boot), &self.setup.profile, seed));
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many nodes there are, members or not.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.hosts.len()
    }

    /// The committed members and the life each is in.
    #[must_use]
    pub fn committed(&self) -> &BTreeMap<usize, Boot> {
        &self.committed
    }

    /// Whether a node's process runs and is a member.
    #[must_use]
    pub fn is_running(&self, node: usize) -> bool {
        self.hosts[node].machine.is_some()
    }

    /// What `by` observes of `of`; none: it knows nothing of it, or does not run.
    #[must_use]
    pub fn seen(&self, by: usize, of: usize) -> Option<Seen> {
        let host = &self.hosts[by];
        host.machine.as_ref()?.seen(host.local(self.now), of)
    }

    /// How much a node doubts itself, 0 to 7.
    #[must_use]
    pub fn self_doubt(&self, node: usize) -> u32 {
        self.hosts[node].machine.as_ref().map_or(0, Machine::self_doubt)
    }

    /// Whether `by` has the card that `of` gave out last, of its present life.
    #[must_use]
    pub fn has_card(&self, by: usize, of: usize) -> bool {
        self.card_missing(by, of).is_none()
    }

    /// What `by` has in the place of the card that `of` gave out last.
    pub(super) fn card_missing(&self, by: usize, of: usize) -> Option<String> {
        let host = &self.hosts[by];
        let latest = self.hosts[of].machine.as_ref().map(Machine::card);
        let known =
            host.machine.as_ref().and_then(|machine| machine.card_of(host.local(self.now), of));
        let has = latest.is_some() && known.as_ref() == latest;
        (!has).then(|| format!("{by} has {known:?} of {of}, which says {latest:?}"))
    }

    /// A node has something else to say of itself.
    ///
    /// # Errors
    /// [`Broken`]: a law does not hold in what its machine does.
    pub fn say(&mut self, node: usize) -> Result<(), Broken> {
        self.hosts[node].own += 1;
        let number = self.hosts[node].own;
        self.hand(node, Happened::Own(number))
    }

    /// Takes what changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes what a node sent since the last call.
    pub fn take_tally(&mut self, node: usize) -> Tally {
        std::mem::take(&mut self.hosts[node].tally)
    }

    /// What happened so far, one step per input of a machine.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// `fault` begins.
    pub fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Killed(node) => self.stop(node, true),
            Fault::PowerLoss(node) => self.stop(node, false),
            Fault::Paused(node) => self.hosts[node].asleep.paused = true,
            Fault::Starved(node) => {
                let host = &mut self.hosts[node];
                host.starvings += 1;
                host.starving = host.starvings;
                let period = host.starving;
                self.events.push(self.now, Event::Slice(node, period));
            }
            Fault::Cut(..) | Fault::OneWay(..) | Fault::Apart(_) => {}
        }
        self.faults.push(fault);
        self.look_at_links();
    }

    /// `fault` ends; what other faults forbid stays forbidden.
    ///
    /// # Errors
    /// [`Broken`]: a law does not hold in what a node does as it goes on.
    pub fn end(&mut self, fault: &Fault) -> Result<(), Broken> {
        let Some(at) = self.faults.iter().position(|one| one == fault) else { return Ok(()) };
        self.faults.remove(at);
        let woken = match *fault {
            Fault::Killed(node) | Fault::PowerLoss(node) => {
                // Whoever still holds a link to the life before is told when it sends again.
                self.cut_off(node, true);
                let host = &mut self.hosts[node];
                host.boot = Boot(host.boot.0 + 1);
                let event = Event::Join(node, host.starts);
                self.events.push(self.now + START, event);
                None
            }
            Fault::Paused(node) => {
                self.hosts[node].asleep.paused = false;
                Some(node)
            }
            Fault::Starved(node) => {
                self.hosts[node].starving = 0;
                self.hosts[node].asleep.starved = false;
                Some(node)
            }
            Fault::Cut(..) | Fault::OneWay(..) | Fault::Apart(_) => None,
        };
        self.look_at_links();
        woken.map_or(Ok(()), |node| self.go_on(node))
    }

    /// What goes wrong at present.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Passes time until `end`.
    ///
    /// # Errors
    /// [`Broken`]: which law does not hold.
    pub fn run_until(&mut self, end: Instant) -> Result<(), Broken> {
        while let Some((at, event)) = self.events.pop_until(end) {
            self.now = self.now.max(at);
            self.happen(at, event)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, at: Instant, event: Event) -> Result<(), Broken> {
        match event {
            Event::Wake(node) => return self.wake(node, at),
            Event::Dial(conn, tries) => self.dial(conn, tries),
            Event::Dialled(conn) => self.dialled(conn),
            Event::Refused(conn) => self.refused(conn),
            Event::Arrive(conn, launch) => return self.arrive(conn, launch),
            Event::Silent(conn, since) => return self.silent(conn, since),
            Event::Ping(conn) => self.ping(conn),
            Event::Heard { at, of } => return self.hand(at, Happened::Heard(of)),
            Event::Reset { to, of } => return self.hand(to, Happened::Broken(of)),
            Event::Slice(node, period) => return self.slice(node, period),
            Event::Join(node, start) => return self.admit(node, start),
            Event::Commit(node) => return self.commit(node),
        }
        Ok(())
    }

    fn broken(&self, what: String) -> Broken {
        Broken { at: self.now, what }
    }

    fn wake(&mut self, node: usize, at: Instant) -> Result<(), Broken> {
        let now = self.now;
        let host = &mut self.hosts[node];
        if host.wake != Some(at) {
            return Ok(());
        }
        host.wake = None;
        let local = host.local(now);
        let due = host.machine.as_ref().and_then(Machine::next_deadline);
        if !host.is_awake() {
            return Ok(());
        }
        if due.is_some_and(|due| due <= local) {
            return self.step(node, Happened::TimePassed);
        }
        self.arm(node);
        Ok(())
    }

    /// Something happened to a node: its machine takes it, now or when it wakes.
    pub(super) fn hand(&mut self, node: usize, what: Happened) -> Result<(), Broken> {
        let host = &mut self.hosts[node];
        if host.machine.is_none() {
            return Ok(());
        }
        if !host.is_awake() {
            host.put_by(what);
            return Ok(());
        }
        self.step(node, what)
    }

    pub(super) fn step(&mut self, node: usize, what: Happened) -> Result<(), Broken> {
        let mut wanted = std::mem::take(&mut self.wanted);
        let host = &mut self.hosts[node];
        let Some(machine) = &mut host.machine else { return Ok(()) };
        let local = host.clock.at(self.now.since(Instant::ZERO));
        self.trace.note(self.now.as_nanos());
        self.trace.note(node as u64);
        self.trace.note(what.code());
        machine.step(local, what, &mut wanted);
        host.tally.steps += 1;
        self.check(node)?;
        for one in wanted.drain(..) {
            match one {
                Wanted::Send { to, bytes } => {
                    self.trace.note(to as u64 | (bytes.len() as u64) << 32);
                    self.trace.note(digest(&bytes));
                    self.send(node, to, bytes);
                }
                Wanted::Saw { of, seen } => self.saw(node, of, seen)?,
            }
        }
        self.trace.end_step();
        self.wanted = wanted;
        self.spin(node)?;
        self.arm(node);
        Ok(())
    }

    fn saw(&mut self, by: usize, of: usize, seen: Seen) -> Result<(), Broken> {
        let named = laws::named(&self.hosts[by], self.now, (by, of), &seen);
        named.map_err(|what| self.broken(what))?;
        self.trace.note(of as u64 | (seen.reachability as u64) << 32 | seen.boot.0 << 40);
        self.changes.push(Change { at: self.now, by, of, seen });
        Ok(())
    }

    /// Bounds after every step; the machine's own invariants too, where they are few: in a large
    /// swarm they take longer than the step, and every so-many-th is enough.
    fn check(&mut self, node: usize) -> Result<(), Broken> {
        self.steps += 1;
        let (nodes, host) = (self.hosts.len(), &self.hosts[node]);
        let is_due = nodes <= CHECKED_MAX || self.steps.is_multiple_of(nodes as u64);
        let machine = host.machine.as_ref().filter(|_| is_due);
        let checked =
            laws::bounds(host, nodes).and_then(|()| machine.map_or(Ok(()), Machine::check));
        checked.map_err(|what| self.broken(format!("node {node}: {what}")))
    }

    fn spin(&mut self, node: usize) -> Result<(), Broken> {
        let host = &mut self.hosts[node];
        host.spins = if host.stepped == self.now { host.spins + 1 } else { 0 };
        host.stepped = self.now;
        if host.spins > SPINS_MAX {
            return Err(self.broken(format!("node {node} steps at one instant for ever")));
        }
        Ok(())
    }

    /// Plans the next wake of a node, if none is planned that early.
    fn arm(&mut self, node: usize) {
        let now = self.now;
        let host = &mut self.hosts[node];
        let Some(due) = host.machine.as_ref().and_then(Machine::next_deadline) else { return };
        let at = host.world(now, due);
        if host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.events.push(at, Event::Wake(node));
        }
    }

    /// Events that are planned, void ones included.
    #[must_use]
    pub fn planned(&self) -> usize {
        self.events.len()
    }
}

/// A number that differs where bytes differ.
fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |digest: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        digest.rotate_left(5).wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from_le_bytes(word)
    })
}
