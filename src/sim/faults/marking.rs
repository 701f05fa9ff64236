//! A leader that dies while the entry that evicts somebody is on its disk and not agreed yet.
//!
//! Somebody else is stopped until the leader marks it. In the next step the leader is killed. It is
//! started again before anyone can be elected, and the one that it has marked goes on as soon.

use std::time::Duration;

use super::Faults;
use crate::sim::{Fault, FaultKind, World};

/// How soon the leader is started again.
const RESTARTS: [Duration; 2] = [Duration::from_millis(8), Duration::from_millis(60)];
/// How soon the one that it has marked goes on.
const BACK: [Duration; 2] = [Duration::ZERO, Duration::from_millis(60)];
/// For how long the links of that one are slow then, every second time.
const SLOW_FOR: Duration = Duration::from_secs(1);

impl Faults {
    /// Whether leaders are to be caught marking, and nothing else goes wrong beside it.
    pub(super) fn waits_for_marks(&self) -> bool {
        self.kinds.contains(&FaultKind::LeaderKilledMarking)
    }

    /// Kills a leader while the entry that evicts somebody is on its disk and not agreed yet. It is
    /// started again before anyone is elected, and the one it has marked is back as soon, every
    /// second time on links that are slow.
    pub(super) fn catch_marking(&mut self, world: &mut World) {
        let others = |(leader, marked): &(usize, usize)| leader != marked;
        let Some((leader, marked)) = world.marked().filter(others) else { return };
        let now = world.elapsed();
        let back = now + self.draw(BACK);
        for (until, _) in self.active.iter_mut().filter(|(_, one)| *one == Fault::Stopped(marked)) {
            *until = back;
        }
        let mut begun = vec![(now + self.draw(RESTARTS), Fault::Killed(leader))];
        if self.below(2) == 0 {
            begun.push((now + SLOW_FOR, Fault::Slow(marked)));
        }
        for (until, fault) in begun {
            if !self.active.iter().any(|(_, one)| *one == fault) {
                tracing::info!(?fault, ?until, marked, "it has marked somebody");
                self.active.push((until, fault));
                self.begun += 1;
                world.begin(fault);
            }
        }
    }
}
