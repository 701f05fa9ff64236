//! Another process under this node's name: whether it is alive, by what peers hear of it.
//!
//! That one of them heard it after this process came is no proof: what a dead process has said may
//! still be on its way, or wait unread at a peer that was stopped. All of that comes at once, and
//! then nothing. Who lives is heard again, and again: every link says something with each ping.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::State;
use crate::base::{Boot, NodeId};
use crate::placement::{Claim, DiskMark};

/// Another process of a node, which has links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::authority) struct Rival {
    /// The boot it says it is in.
    pub(in crate::authority) boot: Boot,
    /// For how long it has said nothing.
    pub(in crate::authority) silent_ms: u64,
}

impl Rival {
    /// In words for the one that is second.
    pub(super) fn words(&self, name: &NodeId, told_by: &NodeId) -> String {
        let Self { boot, silent_ms } = self;
        format!(
            "another process runs as {name} ({boot}): {told_by} heard it {silent_ms} ms ago; stop \
             it, or give this one a name of its own"
        )
    }

    /// Whether it is over whatever is heard of it, because `claim` is of the directory that it ran
    /// on, in the same run of the host, and holds the lock of it. `told` is what a peer knows.
    pub(super) fn is_replaced_by(&self, claim: &Claim, told: &State) -> bool {
        let on_this_disk = |(boot, disk): (Boot, &DiskMark)| {
            self.boot <= boot && boot < claim.boot && *disk == claim.disk
        };
        let member = told.member.map(|(boot, _)| boot);
        member.zip(told.disk.as_ref()).is_some_and(on_this_disk)
    }
}

/// When this process looks, in milliseconds since it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// When it asked.
    pub(super) asked: u64,
    /// When all had answered.
    pub(super) done: u64,
    /// How much later a life must be heard again.
    pub(super) again: u64,
}

/// What peers have said of other processes under the name of this one.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// When each was first known to have heard one after this process came, in milliseconds since
    /// then.
    first: BTreeMap<NodeId, u64>,
}

impl Signs {
    /// Whether the process that `peer` told of in this round is known to live.
    pub(super) fn lives(&mut self, peer: &NodeId, rival: &Rival, round: Round) -> bool {
        // It was heard then, or later.
        let heard_ms = round.asked.saturating_sub(rival.silent_ms);
        if heard_ms == 0 {
            return false;
        }
        let first = *self.first.entry(peer.clone()).or_insert(round.done);
        heard_ms > first.saturating_add(round.again)
    }
}

/// What is known of another process under this node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// There is none.
    Nobody,
    /// One may be alive; in words.
    MayLive(String),
    /// One is; in words.
    Lives(String),
}

impl Signs {
    /// The same of all that answered in this round.
    pub(super) fn of_all(&mut self, name: &NodeId, answers: &[State], round: Round) -> Sight {
        let mut sight = Sight::Nobody;
        for answer in answers {
            let Some(rival) = &answer.rival else { continue };
            let peer = &answer.me.claim.node;
            let words = rival.words(name, peer);
            if self.lives(peer, rival, round) {
                return Sight::Lives(words);
            }
            sight = Sight::MayLive(words);
        }
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> NodeId {
        name.parse().expect("a name")
    }

    /// What `of` said it heard last, in rounds that were asked at these times.
    fn judged(signs: &mut Signs, of: &str, rounds: &[(u64, u64)]) -> Vec<bool> {
        let judge = |&(asked_ms, heard_ms): &(u64, u64)| {
            let rival = Rival { boot: Boot(3), silent_ms: asked_ms - heard_ms };
            let round = Round { asked: asked_ms, done: asked_ms + 10, again: 1_500 };
            signs.lives(&peer(of), &rival, round)
        };
        rounds.iter().map(judge).collect()
    }

    #[test]
    fn what_was_on_its_way_is_no_life_and_what_goes_on_is() {
        let mut signs = Signs::default();
        // Of a process that is dead: its last words come late, at one peer later than at another.
        assert_eq!(judged(&mut signs, "n2", &[(100, 90), (1_500, 90)]), [false, false]);
        let late = [(4_000, 3_990), (5_000, 3_990), (5_400, 3_990)];
        assert_eq!(judged(&mut signs, "n3", &late), [false, false, false]);
        // Of one that lives.
        let rounds = [(100, 90), (600, 590), (1_600, 1_590), (1_700, 1_650)];
        assert_eq!(judged(&mut Signs::default(), "n2", &rounds), [false, false, false, true]);
    }

    #[test]
    fn what_was_heard_before_is_no_sign() {
        let mut signs = Signs::default();
        let rival = Rival { boot: Boot(3), silent_ms: 100 };
        let round = Round { asked: 100, done: 110, again: 0 };
        assert!(!signs.lives(&peer("n2"), &rival, round));
        assert_eq!(signs.first.len(), 0);
    }
}
