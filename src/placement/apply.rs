//! How an agreed change becomes part of the view: validate and copy, never plan.
//!
//! Every node applies the same entries in the same order and must come to the same view, so nothing
//! here reads a clock, a random number or the order of a hash map. What was planned from an older
//! view is caught by preconditions, shard by shard.
//!
//! Rules: `docs/invariants.md`. Source: preconditions on a replica set's number: `PacificA`, 3.2.

mod admit;
mod assign;
mod history;
mod moves;
mod owner;
mod recover;
mod stand;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::history::HISTORY_MAX;
use self::history::cause_of;
use super::{
    Assign, Change, Departed, Departure, Outcome, Owner, Precondition, Proposal, Refusal, Shard,
    Status, View,
};
use crate::base::{Epoch, ShardId, StoreId, is_sound};

/// How many changes a view remembers, so that a repeat is answered instead of applied.
pub const RECENT_MAX: usize = 4_096;

/// How many ended memberships a view remembers: one whole cluster of the largest size meant.
pub const DEPARTED_MAX: usize = 1_024;

impl View {
    /// Applies one agreed change, that of entry `index` of the log.
    ///
    /// A change whose id is among the last [`RECENT_MAX`] is not applied again: what became of it
    /// the first time is the answer. A refused change leaves the view as it was, but for that
    /// memory. [`View::version`] grows exactly when something else changed.
    ///
    /// One entry may hold several proposals: a shard is assigned by at most one of them, because an
    /// [`Epoch`] is the number of the entry and must stay unique.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        // Newest first: what is repeated was proposed a moment ago.
        if let Some((_, past)) = self.recent.iter().rev().find(|(id, _)| *id == proposal.id) {
            return past.clone();
        }
        let epoch = Epoch::new(self.quorum_generation, index);
        let outcome = match self.change(epoch, &proposal.change) {
            Ok(()) => {
                self.version.0 += 1;
                let (cause, node) = cause_of(&proposal.change);
                self.note(epoch, cause, node);
                Outcome::Accepted
            }
            Err(refusal) => Outcome::Refused(refusal),
        };
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((proposal.id, outcome.clone()));
        outcome
    }

    /// Makes one change under `epoch`, or refuses it and leaves everything as it was.
    fn change(&mut self, epoch: Epoch, change: &Change) -> Result<(), Refusal> {
        if let Change::Form { cluster, constants, members, assign } = change {
            return self.form(epoch, *cluster, constants, (members, assign));
        }
        if !self.is_formed() {
            return Err(Refusal::Formation("not ".into()));
        }
        match change {
            Change::Form { .. } => Err(Refusal::Formation("already ".into())),
            Change::Join { claim, assign } => self.join(epoch, claim, assign),
            Change::Rejoin { replaces, claim, assign } => {
                self.rejoin(epoch, *replaces, claim, assign)
            }
            Change::Evict { node, boot, cause: _, assign, released } => {
                let why = if *released { Departure::Released } else { Departure::Evicted };
                self.evict(epoch, &Owner { node: node.clone(), boot: *boot }, (assign, why))
            }
            Change::Assign { cause: _, assign } => self.assign(epoch, assign),
            Change::Move { cause: _, moves } => self.begin_moves(moves),
            Change::HandOver { cause: _, assign } => self.hand_over(epoch, assign),
            Change::MoveAborted { cause: _, shards } => self.abort_moves(epoch, shards),
            Change::Drain { node, boot, on } => self.drain(node, *boot, *on),
            Change::Leave { node, boot } => self.leave(epoch, node, *boot),
            Change::Set { seen, copies, write_min, lease } => {
                self.set(seen, (*copies, *write_min), *lease)
            }
            Change::LeaseSettled { lease } => self.lease_settled(*lease),
            Change::HasRecords { shard, in_sync, when } => self.has_records(*shard, in_sync, when),
            Change::Add { shard, store, when } => self.add(*shard, *store, when),
            Change::Shrink { shard, store, when } => self.shrink(*shard, *store, when),
        }
    }

    /// Stores that must hold a write before it is acknowledged; at least one.
    fn write_min(&self) -> usize {
        self.constants.as_ref().map_or(1, |constants| usize::from(constants.write_min).max(1))
    }

    /// Whether a member runs on `store` at present.
    fn is_live(&self, store: StoreId) -> bool {
        self.member_of_store(store).is_some()
    }

    /// Puts `next` in the place of `shard`, numbers a change of its holders, and marks members that
    /// hold something now as [`Status::Up`]. Says whether anything changed.
    fn put(&mut self, shard: ShardId, mut next: Shard) -> bool {
        let Some(slot) = self.shards.get_mut(usize::from(shard.0)) else { return false };
        if **slot == next {
            return false;
        }
        debug_assert!(next.epoch >= slot.epoch || !is_sound(), "an epoch only grows");
        debug_assert!(next.has_records || !slot.has_records, "records never become none");
        if slot.in_sync != next.in_sync || slot.has_records != next.has_records {
            next.in_sync_generation = slot.in_sync_generation + 1;
        }
        for store in next.in_sync.iter().filter(|store| !slot.in_sync.contains(store)) {
            let Some(mark) = self.stores.get(store) else { continue };
            let Some(member) = self.members.get_mut(&mark.node) else { continue };
            if member.store == *store && member.status == Status::Joining {
                member.status = Status::Up;
            }
        }
        *slot = Arc::new(next);
        true
    }

    /// What the life of a member drew when it began; 0 if that is not known.
    fn token_of(&self, life: &Owner) -> u64 {
        let member = self.members.get(&life.node).filter(|member| member.boot == life.boot);
        let mark = member.and_then(|member| self.stores.get(&member.store));
        mark.filter(|mark| mark.last_boot == life.boot).map_or(0, |mark| mark.token)
    }

    /// Notes why the membership of `life`, which drew `token`, ended.
    fn depart(&mut self, life: &Owner, token: u64, why: Departure) {
        if self.departed.len() >= DEPARTED_MAX {
            self.departed.pop_front();
        }
        let (node, boot) = (life.node.clone(), life.boot);
        self.departed.push_back(Departed { node, boot, token, why });
    }

    /// Forgets stores that are no member's and stand in no `in_sync`.
    fn forget_stores(&mut self) {
        let mut known: BTreeSet<StoreId> =
            self.members.values().map(|member| member.store).collect();
        known.extend(self.shards.iter().flat_map(|shard| shard.in_sync.iter().copied()));
        self.stores.retain(|store, _| known.contains(store));
    }

    /// The shard, if it still is what its owner saw.
    fn seen(&self, shard: ShardId, when: &Precondition) -> Result<Shard, Refusal> {
        let now = self.shard(shard).ok_or_else(|| no_such(shard))?;
        let same = now.owner.as_ref() == Some(&when.owner)
            && self.has_boot(&when.owner.node, when.owner.boot)
            && now.epoch == when.epoch
            && now.in_sync_generation == when.in_sync_generation;
        if same { Ok(now.clone()) } else { Err(Refusal::Stale(shard)) }
    }
}

/// Refuses a shard that the cluster does not have.
fn no_such(shard: ShardId) -> Refusal {
    Refusal::Malformed(format!("there is no {shard}"))
}

/// Refuses an `in_sync`.
fn in_sync(shard: ShardId, why: impl Into<String>) -> Refusal {
    Refusal::InSync { shard, why: why.into() }
}

/// Sorted and distinct, as every `in_sync` is.
fn is_sorted_set(stores: &[StoreId]) -> bool {
    stores.is_sorted_by(|left, right| left < right)
}

/// `stores` without `store`.
fn without(stores: &[StoreId], store: StoreId) -> Vec<StoreId> {
    stores.iter().copied().filter(|&other| other != store).collect()
}

/// Whether `assign` was planned from `shard` as it is now.
fn is_fresh(shard: &Shard, assign: &Assign) -> bool {
    shard.epoch == assign.expected_epoch && shard.in_sync_generation == assign.expected_generation
}
