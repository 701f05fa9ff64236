//! A leader that dies while the entry that evicts somebody is on its disk and not agreed yet.
//!
//! Somebody is stopped until the leader marks it. In the next step the leader and all others are
//! killed. The leader is started again at once and the others a little later: while nobody answers,
//! openraft waits between two tries to send its log, and what confirms it as the leader passes
//! before. The one that is marked goes on meanwhile, and speaks with all but the leader.

use std::time::Duration;

use super::Faults;
use crate::sim::{Fault, FaultKind, World};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How soon the leader is started again.
const LEADER_AFTER: [Duration; 2] = [ms(8), ms(60)];
/// How soon the others are.
const OTHERS_AFTER: [Duration; 2] = [ms(250), ms(550)];
/// How soon the one that it has marked goes on.
const MARKED_AFTER: [Duration; 2] = [ms(0), ms(300)];
/// How long the leader and the one that it has marked do not hear each other; and how long the
/// links of that one are slow, every second time.
const APART_FOR: Duration = ms(1_500);

impl Faults {
    /// Whether leaders are to be caught marking, and nothing else goes wrong beside it.
    pub(super) fn waits_for_marks(&self) -> bool {
        self.kinds.contains(&FaultKind::LeaderKilledMarking)
    }

    /// Begins all of that, if a leader has just marked somebody else.
    pub(super) fn catch_marking(&mut self, world: &mut World) {
        let others = |(leader, marked): &(usize, usize)| leader != marked;
        let Some((leader, marked)) = world.marked().filter(others) else { return };
        let now = world.elapsed();
        let goes_on = now + self.draw(MARKED_AFTER);
        for (until, _) in self.active.iter_mut().filter(|(_, one)| *one == Fault::Stopped(marked)) {
            *until = goes_on;
        }
        let mut begun = vec![
            (now + self.draw(LEADER_AFTER), Fault::Killed(leader)),
            (now + APART_FOR, Fault::Cut(leader, marked)),
        ];
        for other in (0..world.hosts()).filter(|host| ![leader, marked].contains(host)) {
            begun.push((now + self.draw(OTHERS_AFTER), Fault::Killed(other)));
        }
        if self.below(2) == 0 {
            begun.push((now + APART_FOR, Fault::Slow(marked)));
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
