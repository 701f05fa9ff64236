//! The next steps towards owners and holders as they should be, within limits.
//!
//! Steps are planned again and again from the newest view, and nothing but [`Plan::filling`] is
//! kept from one plan to the next. So that a copy is not made in vain, a plan prefers what holds
//! the shard already: once the copy for a move is there, the move comes next.

use std::collections::{BTreeMap, BTreeSet};

use super::memo::Memo;
use super::roster::{Guest, Roster};
use super::sets::Sets;
use super::targets::{Held, Targets};
use crate::base::{Epoch, NodeId, ShardId, StoreId};
use crate::placement::{Owner, Shard, View};

/// How much may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Moves in the cluster.
    pub moves_max: usize,
    /// Moves from or to one node.
    pub node_moves_max: usize,
    /// Copies in the cluster.
    pub copies_max: usize,
    /// Copies from or to one node.
    pub node_copies_max: usize,
}

/// What the proposer knows besides the view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underway {
    /// Moves that were begun and neither ended nor aborted, with the node they go to.
    pub moves: BTreeMap<ShardId, NodeId>,
    /// Copies that were begun and are not in `in_sync` yet.
    pub copies: BTreeSet<(ShardId, StoreId)>,
    /// [`Plan::filling`] of the plan before. A proposer that knows none starts with an empty set:
    /// a joiner that has three quarters of its share then keeps what it has.
    pub filling: BTreeSet<NodeId>,
    /// Members that do not answer at present. Nothing is planned from or to them.
    pub silent: BTreeSet<NodeId>,
    /// Members that say they are not well. They hand over what they own and keep what they hold.
    pub ailing: BTreeSet<NodeId>,
}

/// One shard changes its owner while both are alive: the source hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which shard.
    pub shard: ShardId,
    /// Who hands it over.
    pub from: Owner,
    /// Who takes it: its store is in `in_sync`, or the shard has no records.
    pub to: Owner,
    /// The epoch the move was planned under.
    pub expected_epoch: Epoch,
    /// The `in_sync` generation it was planned under.
    pub expected_generation: u64,
    /// `in_sync` under the new owner, sorted: as it is, or fresh holders if there are no records.
    pub in_sync: Vec<StoreId>,
}

/// What should happen next to one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It changes its owner.
    Move(Move),
    /// Its owner copies it to a store, which then joins `in_sync`.
    Copy {
        /// Which shard.
        shard: ShardId,
        /// To which store.
        store: StoreId,
    },
    /// A store that is one too many leaves `in_sync`.
    Drop {
        /// Which shard.
        shard: ShardId,
        /// Which store.
        store: StoreId,
    },
}

/// What [`Planner::steps`](super::Planner::steps) decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps that may be taken now, the most urgent first. Empty, with nothing under way: all
    /// is as it should be.
    pub steps: Vec<Step>,
    /// For [`Underway::filling`] of the next plan.
    pub filling: BTreeSet<NodeId>,
}

/// Counts what is under way against the limits.
#[derive(Debug)]
struct Budget {
    left: usize,
    node_max: usize,
    of_node: Vec<usize>,
}

impl Budget {
    fn new(all_max: usize, node_max: usize, nodes: usize) -> Self {
        Self { left: all_max, node_max, of_node: vec![0; nodes] }
    }

    /// Counts what is under way already, whether or not it is within the limits.
    fn count(&mut self, nodes: [usize; 2]) {
        self.left = self.left.saturating_sub(1);
        for node in nodes {
            self.of_node[node] += 1;
        }
    }

    /// Counts one more, if the limits allow it.
    fn admits(&mut self, nodes: [usize; 2]) -> bool {
        let fits = self.left > 0 && nodes.iter().all(|&node| self.of_node[node] < self.node_max);
        if fits {
            self.count(nodes);
        }
        fits
    }
}

/// The next steps from `view`. See [`Planner::steps`](super::Planner::steps).
pub(super) fn plan(memo: &mut Memo, view: &View, underway: &Underway, limits: &Limits) -> Plan {
    let Some(constants) = &view.constants else { return Plan::default() };
    let members = view.members.iter();
    let guests = members.map(|(name, member)| {
        let silent = underway.silent.contains(name);
        Guest::of_member(name, member, silent).ailing(underway.ailing.contains(name))
    });
    let owned = view.shards.iter().map(|shard| u16::from(shard.owner.is_some())).sum();
    let roster = Roster::planned(memo, constants, guests.collect(), owned);
    let mut targets = targets(roster, view, underway);
    let filling = targets.fill(&underway.filling);
    targets.relieve();
    let sets = targets.roster.sets();
    let mut steps = moves(&targets, &sets, limits);
    steps.extend(copies(&targets, &sets, limits));
    let free = targets.held.iter().filter(|held| !held.moving && held.wanted.is_none());
    steps.extend(free.flat_map(|held| drops(&targets.roster, &sets, held)));
    Plan { steps, filling }
}

/// All shards that have an owner, with what each node owns once the moves in flight have ended.
fn targets<'a, 'm>(mut roster: Roster<'m>, view: &'a View, underway: &Underway) -> Targets<'a, 'm> {
    let mut held = Vec::with_capacity(view.shards.len());
    for (number, shard) in view.numbered() {
        let owner = shard.owner.as_ref().and_then(|owner| roster.seat(&owner.node));
        let Some(owner) = owner else { continue };
        let to = underway.moves.get(&number).and_then(|node| roster.seat(node));
        let wanted = to.filter(|&to| to != owner);
        roster.take(wanted.unwrap_or(owner));
        let holders = seats_of(&roster, shard);
        let coming = (number, StoreId(0))..=(number, StoreId(u128::MAX));
        let coming = underway.copies.range(coming);
        let mut expected = holders.clone();
        expected.extend(coming.filter_map(|(_, store)| roster.seat_of_store(*store)));
        expected.sort_unstable();
        expected.dedup();
        // A move whose target is no member any more is over, but not yet ended by the authority.
        let moving = underway.moves.contains_key(&number);
        held.push(Held { number, shard, owner, holders, expected, moving, wanted });
    }
    Targets { roster, held, changes: Vec::new(), filling: Vec::new() }
}

fn seats_of(roster: &Roster<'_>, shard: &Shard) -> Vec<usize> {
    let seats = shard.in_sync.iter().filter_map(|&store| roster.seat_of_store(store));
    let mut seats: Vec<usize> = seats.collect();
    seats.sort_unstable();
    seats
}

/// The moves that can begin now.
fn moves(targets: &Targets<'_, '_>, sets: &Sets, limits: &Limits) -> Vec<Step> {
    let roster = &targets.roster;
    let mut budget = Budget::new(limits.moves_max, limits.node_moves_max, roster.seats.len());
    for held in targets.held.iter().filter(|held| held.moving) {
        budget.count([held.owner, held.wanted.unwrap_or(held.owner)]);
    }
    let changes = targets.changes.iter().map(|&(at, to)| (&targets.held[at], to));
    let ready = changes.filter(|(held, to)| !held.shard.has_records || held.holders.contains(to));
    ready
        .filter(|(held, to)| budget.admits([held.owner, *to]))
        .map(|(held, to)| {
            Step::Move(Move {
                shard: held.number,
                from: roster.owner(held.owner),
                to: roster.owner(to),
                expected_epoch: held.shard.epoch,
                expected_generation: held.shard.in_sync_generation,
                in_sync: if held.shard.has_records {
                    held.shard.in_sync.clone()
                } else {
                    roster.stores(sets.fresh(to, held.number.0))
                },
            })
        })
        .collect()
}

/// The copies that can begin now: first to shards that have the fewest holders, then for moves,
/// then for those that are held by other stores than they should be.
fn copies(targets: &Targets<'_, '_>, sets: &Sets, limits: &Limits) -> Vec<Step> {
    let roster = &targets.roster;
    let mut wishes: Vec<(usize, bool, usize, usize)> = Vec::new();
    for (at, held) in targets.held.iter().enumerate().filter(|(_, held)| !held.moving) {
        let few = held.holders.len().min(roster.copies);
        match held.wanted {
            // Without records the move itself names the holders.
            Some(to) if held.shard.has_records => wishes.push((few, false, at, to)),
            Some(_) => {}
            None => {
                let set = sets.nearest(held.owner, held.number.0, &held.expected).unwrap_or(&[]);
                let lacks = set.iter().filter(|&seat| !held.expected.contains(seat));
                wishes.extend(lacks.map(|&seat| (few, true, at, seat)));
            }
        }
    }
    wishes.sort_unstable();
    let mut budget = Budget::new(limits.copies_max, limits.node_copies_max, roster.seats.len());
    for held in &targets.held {
        for &seat in held.expected.iter().filter(|seat| !held.holders.contains(seat)) {
            budget.count([held.owner, seat]);
        }
    }
    let wishes = wishes.into_iter().map(|(_, _, at, seat)| (&targets.held[at], seat));
    wishes
        .filter(|(held, seat)| !held.expected.contains(seat))
        .filter(|(held, seat)| [held.owner, *seat].iter().all(|&node| !roster.seats[node].silent))
        .filter(|(held, seat)| budget.admits([held.owner, *seat]))
        .map(|(held, seat)| Step::Copy { shard: held.number, store: roster.seats[seat].store })
        .collect()
}

/// The stores that are too many, once all that should hold the shard do; those that are gone first.
/// As many stay as every write must reach.
fn drops(roster: &Roster<'_>, sets: &Sets, held: &Held<'_>) -> Vec<Step> {
    let Some(set) = sets.nearest(held.owner, held.number.0, &held.expected) else {
        return Vec::new();
    };
    // As many as there should be: either none is too many, or copies are wanted first.
    if held.shard.in_sync.len() <= set.len() {
        return Vec::new();
    }
    if roster.seats[held.owner].silent || !set.iter().all(|seat| held.holders.contains(seat)) {
        return Vec::new();
    }
    let seat_of = |store: &StoreId| roster.seat_of_store(*store);
    let stays = |store: &StoreId| seat_of(store).is_some_and(|seat| set.contains(&seat));
    let surplus = held.shard.in_sync.iter().filter(|store| !stays(store));
    let (live, gone): (Vec<StoreId>, Vec<StoreId>) =
        surplus.partition(|store| seat_of(store).is_some());
    let most = held.shard.in_sync.len().saturating_sub(roster.write_min);
    let all = gone.into_iter().chain(live).take(most);
    all.map(|store| Step::Drop { shard: held.number, store }).collect()
}
