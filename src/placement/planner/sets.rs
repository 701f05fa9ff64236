//! The few sets of stores that may hold shards together.
//!
//! The nodes stand on two circles. A set is a node and those that follow it, clockwise or counter-
//! clockwise, other zones first: with N nodes that makes at most 4 N sets, so that losing any R
//! nodes at once seldom loses the whole of one. A node stands in about 2 R of them, and any of
//! these may hold a shard that it owns: whichever holder takes a shard over, one copy makes the
//! rest a set again.
//!
//! Source: Cidon et al. (Copysets), USENIX ATC 2013.

use std::collections::BTreeMap;

use super::ORDERS;
use super::memo::{CIRCLES, Places};

/// A node as the circles see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    /// Its number in the roster.
    pub(super) seat: usize,
    /// Number of its zone.
    pub(super) zone: usize,
    /// Where it stands.
    pub(super) places: Places,
}

/// All sets of a roster. Seats are numbers in the roster, sets are numbers in `all`.
#[derive(Debug)]
pub(super) struct Sets {
    /// Each set, sorted, distinct.
    all: Vec<Vec<usize>>,
    by_seats: BTreeMap<Vec<usize>, usize>,
    /// Per seat: the sets that begin with it, one per circle and direction. Empty for a seat that
    /// stands on no circle.
    own: Vec<Vec<usize>>,
    /// Per seat: the sets it stands in.
    with: Vec<Vec<usize>>,
    /// The nodes in the order of each circle.
    circles: [Vec<Stand>; CIRCLES],
}

impl Sets {
    /// The sets of `copies` nodes each (or all there are) among `stands`, in a roster of `seats`.
    pub(super) fn new(stands: &[Stand], seats: usize, copies: usize) -> Self {
        let circles = [0, 1].map(|circle| {
            let mut order = stands.to_vec();
            order.sort_by_key(|stand| (stand.places[circle], stand.seat));
            order
        });
        let mut zones: Vec<usize> = stands.iter().map(|stand| stand.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        let mut made = Self {
            all: Vec::new(),
            by_seats: BTreeMap::new(),
            own: vec![Vec::new(); seats],
            with: vec![Vec::new(); seats],
            circles,
        };
        for order in 0..usize::from(ORDERS) {
            for start in 0..stands.len() {
                let first = made.circles[order / 2][start].seat;
                let mut set = cut(made.walk(order, start), copies, zones.len());
                set.sort_unstable();
                let number = made.number_of(set);
                made.own[first].push(number);
            }
        }
        made
    }

    /// The nodes of one order from `start`, once around.
    fn walk(&self, order: usize, start: usize) -> impl Iterator<Item = Stand> {
        let circle = &self.circles[order / 2];
        let count = circle.len();
        (0..count).map(move |step| {
            let at = if order.is_multiple_of(2) { start + step } else { start + count - step };
            circle[at % count]
        })
    }

    fn number_of(&mut self, set: Vec<usize>) -> usize {
        if let Some(&number) = self.by_seats.get(&set) {
            return number;
        }
        let number = self.all.len();
        for &seat in &set {
            self.with[seat].push(number);
        }
        self.by_seats.insert(set.clone(), number);
        self.all.push(set);
        number
    }

    /// The set of a shard that holds nothing yet. Empty if `owner` stands on no circle.
    pub(super) fn fresh(&self, owner: usize, shard: u16) -> &[usize] {
        let own = &self.own[owner];
        own.get(usize::from(shard % ORDERS)).map_or(&[], |&set| &self.all[set])
    }

    /// Of the sets in which `owner` stands the one that lacks the fewest of those that hold the
    /// shard, which are `held` (sorted). `None` if `owner` stands on no circle.
    pub(super) fn nearest(&self, owner: usize, shard: u16, held: &[usize]) -> Option<&[usize]> {
        // The common case: nothing is to be done.
        if let Some(&number) = self.by_seats.get(held)
            && held.binary_search(&owner).is_ok()
        {
            return Some(&self.all[number]);
        }
        let choice = self.rotated(owner, shard);
        choice.min_by_key(|set| missing(set, held))
    }

    /// All seats on the circles, the most wanted as a further holder first: those of the sets that
    /// lack the fewest come first, and past the sets anybody is better than too few.
    pub(super) fn candidates(&self, owner: usize, shard: u16, held: &[usize]) -> Vec<usize> {
        let mut choice: Vec<&[usize]> = self.rotated(owner, shard).collect();
        // Stable: among equals the order of the shard counts.
        choice.sort_by_key(|set| missing(set, held));
        let start = self.circles[0].iter().position(|stand| stand.seat == owner).unwrap_or(0);
        let rest = self.walk(0, start).map(|stand| stand.seat);
        let mut met = vec![false; self.own.len()];
        let all = choice.into_iter().flatten().copied().chain(rest);
        all.filter(|&seat| !std::mem::replace(&mut met[seat], true)).collect()
    }

    /// The sets in which `owner` stands. Each shard begins at another one, so that the sets are
    /// used alike.
    fn rotated(&self, owner: usize, shard: u16) -> impl Iterator<Item = &[usize]> {
        let with = &self.with[owner];
        let start = usize::from(shard).checked_rem(with.len()).unwrap_or(0);
        let (before, after) = with.split_at(start);
        after.iter().chain(before).map(|&set| self.all[set].as_slice())
    }
}

/// How many of `set` are not in `held` (sorted).
fn missing(set: &[usize], held: &[usize]) -> usize {
    set.iter().filter(|seat| held.binary_search(seat).is_err()).count()
}

/// The first `copies` of a walk, where each of a zone not met yet goes before all that stand in a
/// zone met already. Ends as soon as the rest of the walk cannot matter: `zones` says how many
/// there are.
fn cut(walk: impl Iterator<Item = Stand>, copies: usize, zones: usize) -> Vec<usize> {
    let (mut first, mut later, mut met) = (Vec::new(), Vec::new(), Vec::new());
    for stand in walk {
        if first.len() == copies || met.len() == zones && first.len() + later.len() >= copies {
            break;
        }
        if met.contains(&stand.zone) {
            later.push(stand.seat);
        } else {
            met.push(stand.zone);
            first.push(stand.seat);
        }
    }
    first.extend(later);
    first.truncate(copies);
    first
}
