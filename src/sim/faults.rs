//! What goes wrong when, drawn from a seed.

mod marking;

use std::time::Duration;

use super::fault::{FLAPS, Fault, FaultKind, KINDS};
use super::{World, mix};
use crate::base::{Rng as _, SeededRng};

/// Shortest and longest time from one fault's start to the next one's.
const GAP: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];
/// How long a fault lasts: shorter and longer than a lease.
const LASTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// Faults at the same time.
const ACTIVE_MAX: usize = 2;

/// A sequence of faults, fixed by a seed.
#[derive(Debug)]
pub struct Faults {
    rng: SeededRng,
    kinds: Vec<FaultKind>,
    /// Every third fault lasts about this long: what runs out then is met while it runs out.
    lease: Duration,
    next: Duration,
    active: Vec<(Duration, Fault)>,
    begun: u64,
}

impl Faults {
    /// The sequence of `seed` among all that may go wrong.
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
        let (next, lease) = (Duration::ZERO, Duration::ZERO);
        Self { rng, kinds, lease, next, active: Vec::new(), begun: 0 }
    }

    /// Lets every third fault last about as long as a lease: from a tenth less to a quarter more.
    #[must_use]
    pub fn around(self, lease: Duration) -> Self {
        Self { lease, ..self }
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
        if self.waits_for_marks() {
            self.catch_marking(world);
        }
        if self.next == Duration::ZERO {
            self.next = now + self.draw(GAP);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.draw(GAP);
        let fault = self.fault(world);
        let active_max = if self.waits_for_marks() { 1 } else { ACTIVE_MAX };
        if self.active.len() < active_max && !self.active.iter().any(|(_, one)| *one == fault) {
            let until = now + self.lasts();
            tracing::info!(?fault, ?until, "fault");
            self.active.push((until, fault));
            self.begun += 1;
            world.begin(fault);
        }
    }

    fn lasts(&self) -> Duration {
        if self.waits_for_marks() {
            return LASTS[1];
        }
        if self.lease > Duration::ZERO && self.below(3) == 0 {
            return self.draw([self.lease * 9 / 10, self.lease * 5 / 4]);
        }
        self.draw(LASTS)
    }

    fn draw(&self, [least, most]: [Duration; 2]) -> Duration {
        let span = least + self.rng.up_to(most.saturating_sub(least));
        // Whole steps read better in a log.
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(0))
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
    }

    fn fault(&self, world: &World) -> Fault {
        let hosts = world.hosts();
        let one = self.below(hosts);
        let other = (one + 1 + self.below(hosts - 1)) % hosts;
        let leader = || world.leader().unwrap_or(one);
        match self.kinds[self.below(self.kinds.len())] {
            // Without a copy elsewhere its records would rightly be lost.
            FaultKind::StoreLoss if world.may_lose(one) => Fault::StoreLoss(one),
            FaultKind::DiskLoss if world.may_lose_disk(one) => Fault::DiskLoss(one),
            FaultKind::PowerLoss | FaultKind::StoreLoss | FaultKind::DiskLoss => {
                Fault::PowerLoss(one)
            }
            FaultKind::Killed => Fault::Killed(one),
            FaultKind::Stopped => Fault::Stopped(one),
            FaultKind::Left => Fault::Left(one),
            FaultKind::Isolated => Fault::Isolated(one),
            FaultKind::Cut => Fault::Cut(one, other),
            FaultKind::OneWay => Fault::OneWay(one, other),
            FaultKind::Mute => Fault::Mute(one),
            FaultKind::Deaf => Fault::Deaf(one),
            FaultKind::Split => self.split(hosts),
            FaultKind::Ring if hosts >= 5 => Fault::Ring(1 + self.below((hosts - 1) / 2)),
            // Not at an end, where one side would be empty.
            FaultKind::Ring | FaultKind::Bridge => Fault::Bridge(1 + one % (hosts - 2).max(1)),
            FaultKind::Flapping => Fault::Flapping(one, other, FLAPS[self.below(FLAPS.len())]),
            FaultKind::Slow => Fault::Slow(one),
            FaultKind::SlowDisk => Fault::SlowDisk(one),
            FaultKind::LeaderSlowDisk => Fault::SlowDisk(leader()),
            FaultKind::Drained => Fault::Drained(one),
            FaultKind::LeaseSet if self.below(2) == 0 => Fault::LeaseSet(world.lease() * 9 / 10),
            FaultKind::LeaseSet => Fault::LeaseSet(world.lease() * 3 / 2),
            FaultKind::LeaderKilled => Fault::Killed(leader()),
            // Who does not lead is stopped first, until it is marked.
            FaultKind::LeaderKilledMarking => {
                Fault::Stopped((leader() + 1 + one % (hosts - 1).max(1)) % hosts)
            }
            FaultKind::LeaderPowerLoss => Fault::PowerLoss(leader()),
            FaultKind::LeaderStopped => Fault::Stopped(leader()),
            FaultKind::LeaderIsolated => Fault::Isolated(leader()),
        }
    }

    /// A minority of as many hosts as can be one, or fewer.
    fn split(&self, hosts: usize) -> Fault {
        let size = 1 + self.below((hosts - 1) / 2);
        let mut hosts_of_one = 0_u64;
        while hosts_of_one.count_ones() as usize != size.max(1) {
            hosts_of_one |= 1_u64 << self.below(hosts);
        }
        Fault::Split(hosts_of_one)
    }
}
