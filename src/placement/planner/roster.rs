//! The nodes a plan may use, and what each has to do already.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::ORDERS;
use crate::base::{Boot, NodeId, ShardId, StoreId};
use crate::placement::{Assign, Claim, Constants, Owner, Shard, View};
use crate::ring::{Ring, other_zones_first, sha1, shard_point};

/// Most shards of `shards` that a node of `weight` among nodes of `total` weight is planned for:
/// `ceil(1.25 x shards x weight / total)`.
#[must_use]
pub fn cap(shards: u16, weight: u16, total: u64) -> u64 {
    (5 * u64::from(shards) * u64::from(weight)).div_ceil(4 * total.max(1))
}

/// A node that may own or hold shards.
#[derive(Debug)]
struct Seat {
    boot: Boot,
    store: StoreId,
    weight: u16,
    zone: String,
    /// It may be made an owner.
    alive: bool,
    owned: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Roster {
    shards: u16,
    copies: usize,
    write_min: usize,
    seats: BTreeMap<NodeId, Seat>,
    /// Of the nodes that are alive and have a weight, as all below. Made when it is asked: it
    /// costs 128 hashes per node.
    ring: OnceCell<Ring>,
    total: u64,
    orders: Vec<Vec<NodeId>>,
    /// A store that is gone for good.
    pub(super) destroyed: Option<StoreId>,
    /// A node that keeps its shards without records.
    pub(super) sticky: Option<NodeId>,
}

impl Roster {
    /// The nodes that form a cluster.
    pub(super) fn of_claims(constants: &Constants, claims: &[Claim]) -> Self {
        let seats = claims.iter().map(|claim| (claim.node.clone(), Seat::of_claim(claim)));
        Self::new(constants, seats.collect())
    }

    /// The members that `stays` picks; of them those that `alive` picks may become owners.
    pub(super) fn of_view(
        view: &View,
        stays: impl Fn(&NodeId) -> bool,
        alive: impl Fn(&NodeId) -> bool,
    ) -> Self {
        let seats = view.members.iter().filter(|(name, _)| stays(name)).map(|(name, member)| {
            let seat = Seat {
                boot: member.boot,
                store: member.store,
                weight: member.weight,
                zone: member.zone.clone(),
                alive: alive(name),
                owned: 0,
            };
            (name.clone(), seat)
        });
        let seats = seats.collect();
        match &view.constants {
            Some(constants) => Self::new(constants, seats),
            None => Self::with(0, (0, 0), seats),
        }
    }

    /// Counts what each node owns already.
    pub(super) fn counted(mut self, view: &View) -> Self {
        for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
            if let Some(seat) = self.seats.get_mut(&owner.node) {
                seat.owned += 1;
            }
        }
        self
    }

    /// Adds a node that is about to be a member, with the shards it keeps.
    pub(super) fn seat(&mut self, view: &View, claim: &Claim) {
        let mut seat = Seat::of_claim(claim);
        let keeps = view.members.get(&claim.node).is_some_and(|member| member.store == claim.store);
        if keeps {
            let owners = view.shards.iter().filter_map(|shard| shard.owner.as_ref());
            seat.owned = owners.map(|owner| u64::from(owner.node == claim.node)).sum();
        }
        let mut seats = std::mem::take(&mut self.seats);
        seats.insert(claim.node.clone(), seat);
        *self = Self::with(self.shards, (self.copies, self.write_min), seats);
    }

    fn new(constants: &Constants, seats: BTreeMap<NodeId, Seat>) -> Self {
        let limits = (usize::from(constants.copies), usize::from(constants.write_min));
        Self::with(constants.shards, limits, seats)
    }

    fn with(
        shards: u16,
        (copies, write_min): (usize, usize),
        seats: BTreeMap<NodeId, Seat>,
    ) -> Self {
        let used = || seats.iter().filter(|(_, seat)| seat.alive && seat.weight > 0);
        // Each circle is walked both ways: going back, other nodes follow, but the sets are the same.
        let orders = (0..ORDERS).map(|order| {
            let circle = [b'0' + u8::from(order >= 2)];
            let place = |name: &NodeId| sha1(&[name.as_str().as_bytes(), b"/", &circle]);
            let mut names: Vec<NodeId> = used().map(|(name, _)| name.clone()).collect();
            names.sort_by_cached_key(place);
            if order % 2 == 1 {
                names.reverse();
            }
            names
        });
        let orders = orders.collect();
        let total = used().map(|(_, seat)| u64::from(seat.weight)).sum();
        Self {
            shards,
            copies,
            write_min,
            ring: OnceCell::new(),
            total,
            orders,
            seats,
            destroyed: None,
            sticky: None,
        }
    }

    /// Owner and fresh holders of a shard that holds nothing yet; `None` if no node is there.
    pub(super) fn place_without_records(
        &mut self,
        number: ShardId,
        shard: &Shard,
    ) -> Option<Assign> {
        let before = shard.owner.as_ref().map(|owner| &owner.node);
        let keeps = before.filter(|node| self.sticky.as_ref() == Some(*node));
        let below_cap = |name: &&NodeId| {
            let seat = self.seats.get(*name);
            seat.is_some_and(|seat| seat.owned < cap(self.shards, seat.weight, self.total))
        };
        let point = shard_point(number);
        let node = keeps
            .filter(below_cap)
            .or_else(|| self.ring().clockwise(point).find(below_cap))
            .or_else(|| self.ring().owner(point))?
            .clone();
        let mut in_sync = self.stores_in_order(&node, number.0 % ORDERS, self.copies);
        in_sync.sort_unstable();
        Some(self.assign(number, shard, &node, in_sync))
    }

    /// An owner among those that hold the shard's records; lost, if the last of them is destroyed;
    /// `None` if it must wait for one of them to come back.
    pub(super) fn place_with_records(&mut self, number: ShardId, shard: &Shard) -> Option<Assign> {
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
        let seats = || self.seats.iter().filter(|(_, seat)| holders.contains(&seat.store));
        let (node, _) = seats()
            .filter(|(_, seat)| seat.alive)
            .min_by(|(_, left), (_, right)| left.burden(right))?;
        let node = node.clone();
        let live: BTreeSet<StoreId> = seats().map(|(_, seat)| seat.store).collect();
        // Who is gone leaves only where write_min members' stores stay, as `View::apply` demands.
        let in_sync =
            if live.len() >= self.write_min { live.into_iter().collect() } else { holders };
        Some(self.assign(number, shard, &node, in_sync))
    }

    /// Stores that may join those of a shard owned by `node`, the most wanted first: of the sets
    /// that this owner may have, the one that is nearest to complete goes first.
    pub(super) fn candidates(
        &self,
        node: &NodeId,
        number: ShardId,
        in_sync: &[StoreId],
    ) -> Vec<StoreId> {
        let mut sets: Vec<Vec<StoreId>> = (0..ORDERS)
            .map(|turn| self.stores_in_order(node, (number.0 + turn) % ORDERS, self.copies))
            .collect();
        let missing = |set: &Vec<StoreId>| set.iter().filter(|&x| !in_sync.contains(x)).count();
        // Stable: among equals the shard's own order goes first.
        sets.sort_by_key(missing);
        // Past those sets anybody is better than too few.
        sets.push(self.stores_in_order(node, number.0 % ORDERS, usize::MAX));
        let mut met = BTreeSet::new();
        let all = sets.into_iter().flatten();
        all.filter(|store| !in_sync.contains(store) && met.insert(*store)).collect()
    }

    /// `count` stores from one of the orders: that of `node` and the next ones, other zones first.
    fn stores_in_order(&self, node: &NodeId, order: u16, count: usize) -> Vec<StoreId> {
        let Some(names) = self.orders.get(usize::from(order)) else { return Vec::new() };
        let start = names.iter().position(|name| name == node).unwrap_or(0);
        let (before, after) = names.split_at(start);
        let seats = after.iter().chain(before).filter_map(|name| self.seats.get(name));
        let set = other_zones_first(seats, |seat| seat.zone.as_str(), count);
        set.into_iter().map(|seat| seat.store).collect()
    }

    fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| {
            let used = self.seats.iter().filter(|(_, seat)| seat.alive && seat.weight > 0);
            let placed = used.map(|(name, seat)| (name.clone(), seat.weight, seat.zone.clone()));
            Ring::build(placed).expect("the names of a map are distinct")
        })
    }

    /// Counts the shard as the node's.
    fn assign(
        &mut self,
        number: ShardId,
        shard: &Shard,
        node: &NodeId,
        in_sync: Vec<StoreId>,
    ) -> Assign {
        let owner = self.seats.get_mut(node).map(|seat| {
            seat.owned += 1;
            Owner { node: node.clone(), boot: seat.boot }
        });
        Assign {
            shard: number,
            expected_epoch: shard.epoch,
            expected_generation: shard.in_sync_generation,
            owner,
            in_sync,
            lost: false,
        }
    }
}

impl Seat {
    fn of_claim(claim: &Claim) -> Self {
        Self {
            boot: claim.boot,
            store: claim.store,
            weight: claim.weight,
            zone: claim.zone.clone(),
            alive: true,
            owned: 0,
        }
    }

    /// Which of two would have more to do, for its weight, with one shard more.
    fn burden(&self, other: &Self) -> Ordering {
        let mine = (self.owned + 1) * u64::from(other.weight);
        mine.cmp(&((other.owned + 1) * u64::from(self.weight)))
    }
}
