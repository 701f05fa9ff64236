//! Who votes on views: one, three or five nodes, spread over the failure zones.
//!
//! Pure: the choice at formation, and the next step from the voters there are to those there should
//! be. Voters are replaced one at a time, and the set grows by two, so that it is never even: an
//! even set survives no more failures than the odd one below it.

mod driver;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::base::{NodeId, VoterId};

pub(super) use self::driver::Replacer;
pub(super) use self::step::{Quorum, fewer_voters};
use self::step::{Step, dead_voters, next_step};

/// A node that may vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elector {
    /// Its name.
    pub(super) node: NodeId,
    /// The raft id under which it would vote.
    pub(super) voter: VoterId,
    /// Its failure zone, or empty.
    pub(super) zone: String,
}

/// How many vote in a cluster of `nodes`: 1 of one or two, 3 of three or four, 5 of more.
///
/// Of two nodes one votes, so that the cluster stops when that one does and goes on when the other
/// does: with two voters it would stop with either.
pub(super) const fn voters_among(nodes: usize) -> usize {
    match nodes {
        0 => 0,
        1 | 2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}

/// Chooses `count` of `candidates`, or all if there are fewer: each from the zone that has the
/// fewest of those in `kept` and of those chosen so far, the first by name where several do. The
/// order of `candidates` makes no difference.
pub(super) fn spread(kept: &[&str], candidates: &[Elector], count: usize) -> Vec<Elector> {
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    for &zone in kept {
        *used.entry(zone).or_default() += 1;
    }
    let mut left: Vec<&Elector> = candidates.iter().collect();
    left.sort_by(|one, other| (&one.node, one.voter).cmp(&(&other.node, other.voter)));
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let fewest = |at: &usize| used.get(&*left[*at].zone).copied().unwrap_or_default();
        // The first of those with the fewest.
        let Some(at) = (0..left.len()).min_by_key(fewest) else { break };
        let next = left.remove(at);
        *used.entry(&next.zone).or_default() += 1;
        chosen.push(next.clone());
    }
    chosen
}

/// Chooses who votes when these nodes form a cluster; see [`voters_among`] and [`spread`]. Of two
/// nodes it is the first by name.
pub(super) fn choose(candidates: &[Elector]) -> Vec<Elector> {
    spread(&[], candidates, voters_among(candidates.len()))
}
