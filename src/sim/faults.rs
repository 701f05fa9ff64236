//! What goes wrong, drawn from a seed.

use std::time::Duration;

use super::World;
use super::mix;
use crate::base::{Rng as _, SeededRng};

/// Shortest and longest time from one fault's start to the next one's.
const GAP: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];
/// How long a fault lasts: shorter and longer than a lease.
const LASTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// Faults at the same time.
const ACTIVE_MAX: usize = 2;

/// One thing that goes wrong. Hosts are named by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host is gone at once; it is started again at the end.
    PowerLoss(usize),
    /// The process is killed, its host lives; it is started again at the end.
    Killed(usize),
    /// The process is stopped; it goes on at the end.
    Stopped(usize),
    /// The process is asked to leave; once it has ended, it is started again at the end.
    Left(usize),
    /// Nothing reaches the host and nothing leaves it.
    Isolated(usize),
    /// Nothing passes between the two.
    Cut(usize, usize),
    /// Nothing passes from the first to the second; the other way is open.
    OneWay(usize, usize),
    /// Nothing leaves the host; it still hears.
    Mute(usize),
    /// Nothing reaches the host; it still speaks.
    Deaf(usize),
}

/// What may go wrong, without saying where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// [`Fault::PowerLoss`].
    PowerLoss,
    /// [`Fault::Killed`].
    Killed,
    /// [`Fault::Stopped`].
    Stopped,
    /// [`Fault::Left`].
    Left,
    /// [`Fault::Isolated`].
    Isolated,
    /// [`Fault::Cut`].
    Cut,
    /// [`Fault::OneWay`].
    OneWay,
    /// [`Fault::Mute`].
    Mute,
    /// [`Fault::Deaf`].
    Deaf,
}

/// What goes wrong if nothing else is said. Each is as likely as it stands here often.
const KINDS: [FaultKind; 8] = [
    FaultKind::PowerLoss,
    FaultKind::PowerLoss,
    FaultKind::PowerLoss,
    FaultKind::Isolated,
    FaultKind::Cut,
    FaultKind::OneWay,
    FaultKind::Mute,
    FaultKind::Deaf,
];

impl Fault {
    /// The hosts it names.
    #[must_use]
    pub fn hosts(self) -> (usize, Option<usize>) {
        match self {
            Self::PowerLoss(one)
            | Self::Killed(one)
            | Self::Stopped(one)
            | Self::Left(one)
            | Self::Isolated(one)
            | Self::Mute(one)
            | Self::Deaf(one) => (one, None),
            Self::Cut(one, other) | Self::OneWay(one, other) => (one, Some(other)),
        }
    }
}

/// A sequence of faults, fixed by a seed.
#[derive(Debug)]
pub struct Faults {
    rng: SeededRng,
    kinds: Vec<FaultKind>,
    next: Duration,
    active: Vec<(Duration, Fault)>,
    begun: u64,
}

impl Faults {
    /// The sequence of `seed`: losses of power, and links that are cut.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::among(seed, KINDS.into())
    }

    /// The sequence of `seed` among these kinds, each as likely as it stands there often.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn among(seed: u64, kinds: Vec<FaultKind>) -> Self {
        assert!(!kinds.is_empty(), "nothing may go wrong");
        let rng = SeededRng::new(mix(&[seed, 0xfa17]));
        Self { rng, kinds, next: Duration::ZERO, active: Vec::new(), begun: 0 }
    }

    /// Those that go on.
    pub fn active(&self) -> impl Iterator<Item = Fault> {
        self.active.iter().map(|(_, fault)| *fault)
    }

    /// How many faults there were.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Begins and ends what is due. To be called before each step.
    pub fn apply(&mut self, world: &mut World) {
        let now = world.elapsed();
        let over: Vec<_> = self.active.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, fault) in over {
            world.end(fault);
        }
        if self.next == Duration::ZERO {
            self.next = now + self.draw(GAP);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.draw(GAP);
        let fault = self.fault(world.hosts());
        if self.active.len() < ACTIVE_MAX && !self.active.iter().any(|(_, one)| *one == fault) {
            let until = now + self.draw(LASTS);
            tracing::info!(?fault, ?until, "fault");
            self.active.push((until, fault));
            self.begun += 1;
            world.begin(fault);
        }
    }

    fn draw(&self, [least, most]: [Duration; 2]) -> Duration {
        let span = least + self.rng.up_to(most.saturating_sub(least));
        // Whole steps read better in a log.
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(0))
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
    }

    fn fault(&self, hosts: usize) -> Fault {
        let one = self.below(hosts);
        let other = (one + 1 + self.below(hosts - 1)) % hosts;
        match self.kinds[self.below(self.kinds.len())] {
            FaultKind::PowerLoss => Fault::PowerLoss(one),
            FaultKind::Killed => Fault::Killed(one),
            FaultKind::Stopped => Fault::Stopped(one),
            FaultKind::Left => Fault::Left(one),
            FaultKind::Isolated => Fault::Isolated(one),
            FaultKind::Cut => Fault::Cut(one, other),
            FaultKind::OneWay => Fault::OneWay(one, other),
            FaultKind::Mute => Fault::Mute(one),
            FaultKind::Deaf => Fault::Deaf(one),
        }
    }
}
