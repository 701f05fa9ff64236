//! Owners for shards that have none, or lose theirs in this very entry.

use std::collections::BTreeMap;

use super::roster::{CAP, Roster};
use super::sets::Sets;
use crate::base::{NodeId, ShardId, StoreId};
use crate::placement::{Assign, Shard, View};

/// Where shards go that need an owner at once.
#[derive(Debug)]
pub(super) struct Placing<'m> {
    pub(super) roster: Roster<'m>,
    /// Made when a shard needs fresh holders.
    sets: Option<Sets>,
    /// A store that is gone for good.
    pub(super) destroyed: Option<StoreId>,
    /// A node that keeps its shards without records.
    pub(super) sticky: Option<NodeId>,
    /// Where shards were on the way when their owner went.
    pub(super) moves: BTreeMap<ShardId, NodeId>,
}

impl<'m> Placing<'m> {
    pub(super) fn new(roster: Roster<'m>) -> Self {
        Self { roster, sets: None, destroyed: None, sticky: None, moves: BTreeMap::new() }
    }

    /// Plans ownerless shards and those that `goes` picks.
    pub(super) fn plan(
        &mut self,
        view: &View,
        goes: &dyn Fn(ShardId, &Shard) -> bool,
    ) -> Vec<Assign> {
        let wanted = |number: ShardId, shard: &Shard| {
            !shard.lost && (shard.owner.is_none() || goes(number, shard))
        };
        self.count(view, goes);
        view.numbered()
            .filter(|&(number, shard)| wanted(number, shard))
            .filter_map(|(number, shard)| {
                if shard.has_records {
                    self.with_records(number, shard)
                } else {
                    self.without_records(number, shard)
                }
            })
            .collect()
    }

    /// Counts what each node will own of what stays where it is or is on the way already.
    fn count(&mut self, view: &View, goes: &dyn Fn(ShardId, &Shard) -> bool) {
        for (number, shard) in view.numbered().filter(|&(number, shard)| !goes(number, shard)) {
            let Some(owner) = &shard.owner else { continue };
            let node = self.moves.get(&number).unwrap_or(&owner.node);
            if let Some(seat) = self.roster.seat(node) {
                self.roster.take(seat);
            }
        }
    }

    /// Owner and fresh holders of a shard that holds nothing yet; `None` if no node is there.
    pub(super) fn without_records(&mut self, number: ShardId, shard: &Shard) -> Option<Assign> {
        let before = shard.owner.as_ref().map(|owner| &owner.node);
        let keeps = before.filter(|node| self.sticky.as_ref() == Some(*node));
        let bound = keeps.or_else(|| self.moves.get(&number));
        let bound = bound.and_then(|node| self.roster.seat(node));
        let seat = bound
            .filter(|&seat| self.roster.seats[seat].has_room(CAP))
            .or_else(|| self.roster.first_on_ring(number))?;
        let sets = self.sets.get_or_insert_with(|| self.roster.sets());
        let in_sync = self.roster.stores(sets.fresh(seat, number.0));
        Some(self.assign(number, shard, seat, in_sync))
    }

    /// An owner among those that hold the shard's records; lost, if the last of them is destroyed;
    /// `None` if it must wait for one of them to come back.
    fn with_records(&mut self, number: ShardId, shard: &Shard) -> Option<Assign> {
        let roster = &self.roster;
        let holders: Vec<StoreId> =
            shard.in_sync.iter().copied().filter(|&store| Some(store) != self.destroyed).collect();
        if holders.is_empty() {
            return Some(Assign {
                shard: number,
                expected_epoch: shard.epoch,
                expected_generation: shard.in_sync_generation,
                owner: None,
                in_sync: Vec::new(),
                lost: true,
            });
        }
        let seats = || holders.iter().filter_map(|&store| roster.seat_of_store(store));
        let answers = |&seat: &usize| !roster.seats[seat].silent;
        let bound = self.moves.get(&number).and_then(|node| roster.seat(node));
        let seat = seats()
            .filter(answers)
            .find(|&seat| Some(seat) == bound)
            .or_else(|| roster.idlest(seats().filter(answers)))?;
        let live: Vec<usize> = seats().collect();
        // Who is gone leaves only where write_min members' stores stay, as `View::apply` demands.
        let in_sync = if live.len() >= roster.write_min { roster.stores(&live) } else { holders };
        Some(self.assign(number, shard, seat, in_sync))
    }

    /// Counts the shard as the node's.
    fn assign(
        &mut self,
        number: ShardId,
        shard: &Shard,
        seat: usize,
        in_sync: Vec<StoreId>,
    ) -> Assign {
        self.roster.take(seat);
        Assign {
            shard: number,
            expected_epoch: shard.epoch,
            expected_generation: shard.in_sync_generation,
            owner: Some(self.roster.owner(seat)),
            in_sync,
            lost: false,
        }
    }
}
