//! Who should own each shard: which shards change hands, and to whom.
//!
//! Only three things make a shard change its owner: a node far below its share (a joiner) is filled
//! up, a node above its cap is relieved, and a node that leaves or has no weight is drained. What
//! must leave its owner anyway goes to a joiner first, so that nothing moves twice.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::memo::{Tokens, gap};
use super::roster::{CAP, Roster};
use crate::base::{NodeId, ShardId};
use crate::placement::Shard;

/// A shard that has an owner.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) number: ShardId,
    pub(super) shard: &'a Shard,
    pub(super) owner: usize,
    /// Members whose stores hold it, sorted.
    pub(super) holders: Vec<usize>,
    /// The same with those to which a copy is under way, sorted.
    pub(super) expected: Vec<usize>,
    /// A move of it is in flight.
    pub(super) moving: bool,
    /// Who should own it instead.
    pub(super) wanted: Option<usize>,
}

/// A shard that is to change hands: its place among all held shards, and who should own it.
pub(super) type Change = (usize, usize);

/// What is decided about owners, from one view.
#[derive(Debug)]
pub(super) struct Targets<'a, 'm> {
    pub(super) roster: Roster<'m>,
    pub(super) held: Vec<Held<'a>>,
    /// In the order in which they were decided.
    pub(super) changes: Vec<Change>,
    /// Per seat: whether it is being filled, or begins to be.
    pub(super) filling: Vec<bool>,
}

/// Why a joiner may take a shard; each reason is tried for all shards before the next.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// Its owner has to hand it over anyway.
    Forced,
    /// It prefers the joiner, and its owner can spare it.
    Preferred,
    /// Its owner is above its own share.
    Spare,
}

impl Targets<'_, '_> {
    /// Fills joiners up to their share. Those in `filling` are filled already; others begin to be
    /// when they are below three quarters of it. That gap is what makes the planner sticky: after a
    /// failover those that got nothing are a little below their share, and nothing moves to them.
    ///
    /// Returns the nodes of which the planner must know next time that they are being filled.
    pub(super) fn fill(&mut self, filling: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut coming = vec![false; self.roster.seats.len()];
        for held in self.held.iter().filter(|held| held.moving) {
            coming[held.wanted.unwrap_or(held.owner)] = true;
        }
        let seats = self.roster.seats.iter();
        let known = seats.map(|seat| seat.owned < seat.low() || filling.contains(&seat.name));
        self.filling = known.collect();
        let mut still = BTreeSet::new();
        for (joiner, coming) in coming.into_iter().enumerate() {
            let seat = &self.roster.seats[joiner];
            let name = seat.name.clone();
            // What is on its way may still be aborted.
            let waits = coming && filling.contains(&name);
            let lacks = seat.usable && !seat.silent && seat.owned < seat.share();
            if lacks && self.filling[joiner] && self.fill_one(joiner) || waits {
                still.insert(name);
            }
        }
        still
    }

    /// Fills one joiner up. Says whether anything is to be moved to it.
    fn fill_one(&mut self, joiner: usize) -> bool {
        let seat = &self.roster.seats[joiner];
        let mut lacks = seat.share() - seat.owned;
        let (order, preferring) = self.by_preference(joiner);
        let mut found = false;
        for reason in [Reason::Forced, Reason::Preferred, Reason::Spare] {
            // Only the first ones of the order prefer the joiner to their owner.
            let until = match reason {
                Reason::Preferred => preferring,
                Reason::Forced | Reason::Spare => order.len(),
            };
            for &at in &order[..until] {
                if lacks == 0 {
                    return found;
                }
                if self.is_free(at) && self.spares(self.held[at].owner, reason) {
                    self.want(at, joiner);
                    lacks -= 1;
                    found = true;
                }
            }
        }
        found
    }

    /// The shards that the joiner may take, those first that prefer it to their owner (the number
    /// of these is returned too); of each part first those whose records it holds or will hold in a
    /// moment, then by how near before its tokens they lie.
    fn by_preference(&mut self, joiner: usize) -> (Vec<usize>, usize) {
        let tokens = self.roster.tokens(joiner);
        let mut of_owners: Vec<Option<Tokens>> = vec![None; self.roster.seats.len()];
        let mut order = Vec::new();
        let mut preferring = 0;
        for at in 0..self.held.len() {
            let owner = self.held[at].owner;
            if !self.is_free(at) || owner == joiner {
                continue;
            }
            let held = &self.held[at];
            let point = self.roster.memo.point(held.number);
            let to_joiner = gap(&tokens, point);
            let its = of_owners[owner].get_or_insert_with(|| self.roster.tokens(owner));
            let prefers = (to_joiner, joiner) < (gap(its, point), owner);
            preferring += usize::from(prefers);
            let holds = held.expected.binary_search(&joiner).is_ok();
            order.push((!prefers, !holds, to_joiner, at));
        }
        order.sort_unstable();
        (order.into_iter().map(|(_, _, _, at)| at).collect(), preferring)
    }

    /// Whether nothing is decided about the shard yet, and its owner can hand it over.
    fn is_free(&self, at: usize) -> bool {
        let held = &self.held[at];
        held.wanted.is_none() && !held.moving && !self.roster.seats[held.owner].silent
    }

    fn spares(&self, owner: usize, reason: Reason) -> bool {
        let seat = &self.roster.seats[owner];
        match reason {
            // The cap of those that own nothing, for whatever reason, is zero.
            Reason::Forced => seat.owned > seat.cap(),
            // One joiner does not take from another what that would have to take again.
            Reason::Preferred => seat.owned > seat.low() && !self.filling[owner],
            Reason::Spare => seat.owned > seat.share(),
        }
    }

    fn want(&mut self, at: usize, seat: usize) {
        self.roster.give(self.held[at].owner);
        self.roster.take(seat);
        self.held[at].wanted = Some(seat);
        self.changes.push((at, seat));
    }

    /// Relieves nodes above their cap, and drains those that leave or have no weight: to those that
    /// hold the shard where one of them has room, else to the first on the ring that has.
    pub(super) fn relieve(&mut self) {
        let mut of: Vec<Vec<usize>> = vec![Vec::new(); self.roster.seats.len()];
        for at in 0..self.held.len() {
            let owner = self.held[at].owner;
            let seat = &self.roster.seats[owner];
            if self.is_free(at) && seat.owned > seat.cap() {
                of[owner].push(at);
            }
        }
        for (owner, mut shards) in of.into_iter().enumerate().filter(|(_, of)| !of.is_empty()) {
            let seat = &self.roster.seats[owner];
            let excess = usize::try_from(seat.owned - seat.cap()).unwrap_or(usize::MAX);
            if excess < shards.len() {
                // What prefers its owner the least goes first.
                let tokens = self.roster.tokens(owner);
                let memo = &mut *self.roster.memo;
                let numbers = &self.held;
                shards.sort_by_cached_key(|&at| {
                    Reverse(gap(&tokens, memo.point(numbers[at].number)))
                });
            }
            self.relieve_one(&shards, excess);
        }
    }

    fn relieve_one(&mut self, shards: &[usize], mut excess: usize) {
        for may_copy in [false, true] {
            for &at in shards {
                if excess == 0 {
                    return;
                }
                if !self.is_free(at) {
                    continue;
                }
                let seat = if may_copy || !self.held[at].shard.has_records {
                    self.roster.first_with_room(self.held[at].number)
                } else {
                    let roster = &self.roster;
                    let room = |&seat: &usize| roster.seats[seat].has_room(CAP);
                    roster.idlest(self.held[at].expected.iter().copied().filter(room))
                };
                if let Some(seat) = seat {
                    self.want(at, seat);
                    excess -= 1;
                }
            }
        }
    }
}
