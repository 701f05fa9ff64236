//! Which stores hold shards, and which should next.

use std::collections::BTreeSet;

use super::memo::Memo;
use super::roster::{Guest, Roster};
use super::sets::Sets;
use crate::base::{NodeId, ShardId, StoreId};
use crate::placement::{Member, View};

/// What is wanted as further copies under one view, for many shards: the sets are cut once.
#[derive(Debug)]
pub struct Copies<'v> {
    view: &'v View,
    /// Members by name, as the roster numbers them.
    members: Vec<(&'v NodeId, &'v Member)>,
    /// Stores that should hold each shard.
    wanted: usize,
    sets: Sets,
}

impl<'v> Copies<'v> {
    /// Of `view`. `None` before formation.
    #[must_use]
    pub fn of(view: &'v View) -> Option<Self> {
        let constants = view.constants.as_ref()?;
        let members: Vec<_> = view.members.iter().collect();
        let guests = members.iter().map(|(name, member)| Guest::of_member(name, member, false));
        let mut memo = Memo::default();
        let sets = Roster::planned(&mut memo, constants, guests.collect(), 0).sets();
        Some(Self { view, members, wanted: usize::from(constants.copies), sets })
    }

    /// All member stores that may join `in_sync` of `shard`, the most wanted first: an owner passes
    /// over those that are silent. Empty if R members' stores hold it, or nobody else is there, or
    /// it has no owner.
    #[must_use]
    pub fn candidates(&self, shard: ShardId) -> Vec<StoreId> {
        let Some(now) = self.view.shard(shard) else { return Vec::new() };
        let Some(owner) = now.owner.as_ref().and_then(|owner| self.seat(&owner.node)) else {
            return Vec::new();
        };
        // A dead store that must stay does not count: its place is filled before it is removed.
        let live = now.in_sync.iter().filter_map(|&store| self.view.member_of_store(store));
        let mut held: Vec<usize> = live.filter_map(|(name, _)| self.seat(name)).collect();
        if held.len() >= self.wanted {
            return Vec::new();
        }
        held.sort_unstable();
        let all = self.sets.candidates(owner, shard.0, &held);
        let others = all.into_iter().filter(|seat| held.binary_search(seat).is_err());
        others.map(|seat| self.members[seat].1.store).collect()
    }

    fn seat(&self, node: &NodeId) -> Option<usize> {
        self.members.binary_search_by(|(name, _)| (*name).cmp(node)).ok()
    }
}

/// The member store that should join `in_sync` of `shard` next; `None` if R members' stores hold
/// it, or nobody else is there, or it has no owner.
#[must_use]
pub fn next_copy(view: &View, shard: ShardId) -> Option<StoreId> {
    copy_candidates(view, shard).into_iter().next()
}

/// [`Copies::candidates`] of one shard. Who asks for many makes [`Copies`] once.
#[must_use]
pub fn copy_candidates(view: &View, shard: ShardId) -> Vec<StoreId> {
    Copies::of(view).map_or_else(Vec::new, |copies| copies.candidates(shard))
}

/// The distinct sets of stores that hold a shard which has an owner. Their number is that of the
/// combinations of R nodes whose loss at once loses something: at most four times the number of
/// nodes at formation, and whenever the planner has no step left.
#[must_use]
pub fn replica_sets(view: &View) -> BTreeSet<&[StoreId]> {
    let owned = view.shards.iter().filter(|shard| shard.owner.is_some());
    owned.map(|shard| shard.in_sync.as_slice()).collect()
}
