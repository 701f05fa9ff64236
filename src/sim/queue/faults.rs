//! What goes wrong in a swarm, told or drawn from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::laws::Broken;
use super::swarm::Swarm;
use crate::base::{Instant, Rng as _, SeededRng};
use crate::sim::mix;

/// Shortest and longest time from one fault's start to the next one's.
const GAP: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];
/// How long a fault lasts: shorter and longer than a suspicion, and than a link may be silent.
const LASTS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(8)];
/// Faults at the same time.
const ACTIVE_MAX: usize = 4;

/// One thing that goes wrong. Nodes are named by their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is gone, and everybody with a link to it is told; it is started again, in a new
    /// life, at the end.
    Killed(usize),
    /// The same, and nobody is told.
    PowerLoss(usize),
    /// The process stands still, as after SIGSTOP. At the end it goes on: it then finds at most 256
    /// packets that came meanwhile.
    Paused(usize),
    /// The process gets the processor for 20 ms, then not for 0.5 to 2 s, and so on.
    Starved(usize),
    /// Nothing passes between the two.
    Cut(usize, usize),
    /// Nothing passes from the first to the second; the other way is open.
    OneWay(usize, usize),
    /// Nothing passes between these and all others.
    Apart(BTreeSet<usize>),
}

impl Fault {
    /// The one node whose process it is about.
    #[must_use]
    pub fn of_process(&self) -> Option<usize> {
        match *self {
            Self::Killed(node)
            | Self::PowerLoss(node)
            | Self::Paused(node)
            | Self::Starved(node) => Some(node),
            Self::Cut(..) | Self::OneWay(..) | Self::Apart(_) => None,
        }
    }

    /// Whether nothing passes from `from` to `to`.
    pub(super) fn blocks(&self, from: usize, to: usize) -> bool {
        match self {
            Self::PowerLoss(node) => [from, to].contains(node),
            Self::Cut(one, other) => [(from, to), (to, from)].contains(&(*one, *other)),
            Self::OneWay(one, other) => (from, to) == (*one, *other),
            Self::Apart(group) => group.contains(&from) != group.contains(&to),
            Self::Killed(_) | Self::Paused(_) | Self::Starved(_) => false,
        }
    }
}

/// A sequence of faults, fixed by a seed. They happen to *victims* alone, a minority: a process of
/// theirs, or a link that ends at one of them.
#[derive(Debug)]
pub struct RandomFaults {
    rng: SeededRng,
    nodes: usize,
    victims: Vec<usize>,
    next: Instant,
    active: Vec<(Instant, Fault)>,
    begun: u64,
}

impl RandomFaults {
    /// The sequence of `seed` for a swarm of so many nodes.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Self {
        let rng = SeededRng::new(mix(&[seed, 0xfa17]));
        let most = nodes.saturating_sub(1) / 2;
        let below = |bound: usize| below(&rng, bound);
        let count = 1 + below(most.max(1));
        let mut all: Vec<usize> = (0..nodes).collect();
        let victims = (0..count).map(|_| all.swap_remove(below(all.len()))).collect();
        let next = Instant::ZERO;
        Self { rng, nodes, victims, next, active: Vec::new(), begun: 0 }
    }

    /// To whom they happen.
    #[must_use]
    pub fn victims(&self) -> &[usize] {
        &self.victims
    }

    /// How many faults there were.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Begins and ends what is due, and says when to call it next.
    ///
    /// # Errors
    /// [`Broken`]: a law does not hold in what a node does as it goes on.
    pub fn apply(&mut self, swarm: &mut Swarm) -> Result<Instant, Broken> {
        let now = swarm.now();
        let over: Vec<_> = self.active.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, fault) in over {
            swarm.end(&fault)?;
        }
        if self.next <= now {
            self.next = now + self.draw(GAP);
            self.begin(swarm);
        }
        let ends = self.active.iter().map(|(until, _)| *until);
        Ok(ends.fold(self.next, Instant::min))
    }

    /// Ends all faults, but that of some processes that are gone: those stay gone.
    ///
    /// # Errors
    /// As [`RandomFaults::apply`].
    pub fn heal(&mut self, swarm: &mut Swarm) -> Result<(), Broken> {
        for (_, fault) in std::mem::take(&mut self.active) {
            let is_gone = matches!(fault, Fault::Killed(_) | Fault::PowerLoss(_));
            if !is_gone || self.rng.next_u64().is_multiple_of(2) {
                swarm.end(&fault)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, swarm: &mut Swarm) {
        let fault = self.fault();
        let clashes = |one: &Fault| {
            *one == fault || one.of_process().is_some() && one.of_process() == fault.of_process()
        };
        if self.active.len() < ACTIVE_MAX && !self.active.iter().any(|(_, one)| clashes(one)) {
            let until = swarm.now() + self.draw(LASTS);
            tracing::info!(now = %swarm.now(), ?fault, %until, "fault");
            self.begun += 1;
            swarm.begin(fault.clone());
            self.active.push((until, fault));
        }
    }

    /// Any node.
    pub(super) fn draw_node(&self) -> usize {
        below(&self.rng, self.nodes)
    }

    fn draw(&self, [least, most]: [Duration; 2]) -> Duration {
        least + self.rng.up_to(most.saturating_sub(least))
    }

    fn fault(&self) -> Fault {
        let victim = self.victims[below(&self.rng, self.victims.len())];
        let other = (victim + 1 + below(&self.rng, self.nodes - 1)) % self.nodes;
        match self.rng.next_u64() % 9 {
            0 => Fault::Killed(victim),
            1 => Fault::PowerLoss(victim),
            2 => Fault::Paused(victim),
            3 => Fault::Starved(victim),
            4 => Fault::Cut(victim, other),
            5 => Fault::OneWay(victim, other),
            6 => Fault::OneWay(other, victim),
            7 => Fault::Apart(BTreeSet::from([victim])),
            _ => {
                let among = |_: &&usize| self.rng.next_u64().is_multiple_of(2);
                let mut group: BTreeSet<_> = self.victims.iter().filter(among).copied().collect();
                group.insert(victim);
                Fault::Apart(group)
            }
        }
    }
}

/// A number below `bound`, which is not 0.
pub(super) fn below(rng: &SeededRng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
}
