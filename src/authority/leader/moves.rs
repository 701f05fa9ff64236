//! What the leader moves while all are alive: it plans, and sees each move to its end.
//!
//! The planner's steps are carried out by whom they concern. A move is begun by the leader
//! ([`Change::Move`]); the owner stops, finishes what runs and releases the shard in a Renew; then
//! the leader gives it to the next owner ([`Change::HandOver`]), or after [`PATIENCE`] takes the
//! move back ([`Change::MoveAborted`]). A copy, and a drop of what too many hold, is wished of the
//! owner with its next grant.
//!
//! Nothing here is kept from one leadership to the next: what is under way stands in the view.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::authority::{WISHES_MAX, Wish, Wished};
use crate::base::{Epoch, Instant, NodeId, ShardId, Version};
use crate::placement::{Change, Limits, Planner, Shard, Step, Transfer, Underway, View};

/// How long an owner may take to release a shard.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a shard stays where it is after a move of it was taken back.
const REST: Duration = Duration::from_mins(1);
/// A plan that has steps is made anew after this time, if nothing has changed before.
const PLAN_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two plans.
const PLAN_GAP: Duration = Duration::from_millis(100);

/// How much may be under way at once. A move takes a round of renewals, a copy as long as the
/// records need.
const LIMITS: Limits =
    Limits { moves_max: 64, node_moves_max: 32, copies_max: 64, node_copies_max: 32 };

/// What the leader knows at present besides the view.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) now: Instant,
    /// Shards that were released, with the epoch that their owner gave up.
    pub(super) released: &'a BTreeSet<(ShardId, Epoch)>,
    /// Members that renew.
    pub(super) alive: &'a BTreeSet<NodeId>,
    /// Members that say they are not well.
    pub(super) ailing: &'a BTreeSet<NodeId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Moves {
    planner: Planner,
    filling: BTreeSet<NodeId>,
    /// Since when each move is under way, as far as this leadership has seen.
    since: BTreeMap<(ShardId, Epoch), Instant>,
    /// Until when a shard is not moved again.
    rests: BTreeMap<ShardId, Instant>,
    planned: Option<Planned>,
}

/// From what the last plan was made.
#[derive(Debug)]
struct Planned {
    at: Instant,
    version: Version,
    ailing: BTreeSet<NodeId>,
    silent: BTreeSet<NodeId>,
    /// It had no steps: it stays so until something changes.
    is_empty: bool,
}

impl Moves {
    /// What is to be proposed now.
    pub(super) fn decide(
        &mut self,
        view: &View,
        known: &Known<'_>,
        wishes: &mut BTreeMap<NodeId, Vec<Wish>>,
    ) -> Vec<Change> {
        let mut changes = self.end_moves(view, known);
        let silent = view.members.keys().filter(|node| !known.alive.contains(*node));
        let planned = Planned {
            at: known.now,
            version: view.version,
            ailing: well_enough(view, known),
            silent: silent.cloned().collect(),
            is_empty: false,
        };
        if self.is_time(&planned) {
            changes.extend(self.plan(view, planned, wishes));
        }
        changes
    }

    /// Shards that were released go on; what takes too long is taken back.
    fn end_moves(&mut self, view: &View, known: &Known<'_>) -> Vec<Change> {
        let moving: BTreeSet<(ShardId, Epoch)> = view
            .numbered()
            .filter(|(_, shard)| shard.moving.is_some())
            .map(|(number, shard)| (number, shard.epoch))
            .collect();
        self.since.retain(|one, _| moving.contains(one));
        for &one in &moving {
            self.since.entry(one).or_insert(known.now);
        }
        self.rests.retain(|_, until| *until > known.now);
        let released = known.released.iter().filter(|(number, epoch)| {
            let owned = |shard: &Shard| shard.owner.is_some() && shard.epoch == *epoch;
            view.shard(*number).is_some_and(owned)
        });
        let released: BTreeSet<ShardId> = released.map(|(number, _)| *number).collect();
        let mut changes = Vec::new();
        let assign = if released.is_empty() {
            Vec::new()
        } else {
            self.planner.handed_over(view, &released, known.alive, known.ailing)
        };
        if !assign.is_empty() {
            changes.push(Change::HandOver { cause: "released by its owner".into(), assign });
        }
        let late = |(number, _): &(ShardId, Epoch), since: Instant| {
            !released.contains(number) && known.now.since(since) >= PATIENCE
        };
        let late = self.since.iter().filter(|(one, since)| late(one, **since));
        let shards: Vec<(ShardId, Epoch)> = late.map(|(one, _)| *one).collect();
        if !shards.is_empty() {
            for &(shard, _) in &shards {
                tracing::warn!(%shard, "its owner did not release it in time: the move is over");
                self.rests.insert(shard, known.now + REST);
            }
            let cause = "its owner did not release it in time".into();
            changes.push(Change::MoveAborted { cause, shards });
        }
        changes
    }

    fn is_time(&self, now: &Planned) -> bool {
        self.planned.as_ref().is_none_or(|before| {
            let age = now.at.since(before.at);
            let same = (before.version, &before.ailing, &before.silent)
                == (now.version, &now.ailing, &now.silent);
            if same { !before.is_empty && age >= PLAN_EVERY } else { age >= PLAN_GAP }
        })
    }

    fn plan(
        &mut self,
        view: &View,
        mut planned: Planned,
        wishes: &mut BTreeMap<NodeId, Vec<Wish>>,
    ) -> Option<Change> {
        let underway = Underway {
            moves: view.moves(),
            copies: BTreeSet::new(),
            filling: std::mem::take(&mut self.filling),
            silent: planned.silent.clone(),
            ailing: planned.ailing.clone(),
        };
        let plan = self.planner.steps(view, &underway, &LIMITS);
        self.filling = plan.filling;
        planned.is_empty = plan.steps.is_empty();
        self.planned = Some(planned);
        wishes.clear();
        let mut moves = Vec::new();
        for step in plan.steps {
            match step {
                Step::Move(one) if !self.rests.contains_key(&one.shard) => moves.push(Transfer {
                    shard: one.shard,
                    expected_epoch: one.expected_epoch,
                    expected_generation: one.expected_generation,
                    to: one.to,
                }),
                Step::Move(_) => {}
                Step::Copy { shard, store } => wish(view, wishes, (shard, store), Wished::Copy),
                Step::Drop { shard, store } => wish(view, wishes, (shard, store), Wished::Drop),
            }
        }
        let cause = "shards are spread over the members".into();
        (!moves.is_empty()).then_some(Change::Move { cause, moves })
    }
}

/// Those that are not well, as long as the others are a majority and enough for a write: where most
/// say so, the cause is a common one, and moving helps nobody.
fn well_enough(view: &View, known: &Known<'_>) -> BTreeSet<NodeId> {
    let is_well = |node: &&NodeId| known.alive.contains(*node) && !known.ailing.contains(*node);
    let well = view.members.keys().filter(is_well).count();
    let write_min = view.constants.as_ref().map_or(1, |all| usize::from(all.write_min));
    let enough = well * 2 > view.members.len() && well >= write_min;
    if enough { known.ailing.clone() } else { BTreeSet::new() }
}

/// Wishes something of the owner of a shard.
fn wish(
    view: &View,
    wishes: &mut BTreeMap<NodeId, Vec<Wish>>,
    (shard, store): (ShardId, crate::base::StoreId),
    what: Wished,
) {
    let Some(now) = view.shard(shard) else { return };
    let Some(owner) = &now.owner else { return };
    let of_owner = wishes.entry(owner.node.clone()).or_default();
    if of_owner.len() < WISHES_MAX {
        of_owner.push(Wish { shard, epoch: now.epoch, store, what });
    }
}

#[cfg(test)]
mod tests;
