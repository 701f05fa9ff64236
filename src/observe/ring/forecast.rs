//! What a join or a loss would move: tried on a copy of the view.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CIRCLE, Joiner, RingAskError, counted, member, ring_of};
use crate::base::{Boot, NodeId, StoreId};
use crate::observe::table::ppm;
use crate::placement::{
    Change, ChangeId, Claim, DiskMark, Limits, Outcome, Planner, Proposal, Shard, Step, Underway,
    View,
};

/// Rounds of planning after one change. Four are usual: copies, moves, copies for other sets of
/// stores, and drops.
const ROUNDS_MAX: usize = 64;
/// Nothing holds the planner back: the end is asked for, not the way.
const LIMITS: Limits = Limits {
    moves_max: usize::MAX,
    node_moves_max: usize::MAX,
    copies_max: usize::MAX,
    node_copies_max: usize::MAX,
};

/// What one change would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Who joins or is lost.
    pub node: NodeId,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Failure zone; empty for none.
    pub zone: String,
    /// Shards that change their owner: of a loss at once, of a join once their copies are there.
    pub shards: u32,
    /// The part of the circle that changes hands, in millionths.
    pub ring_ppm: u32,
    /// Between whom, by name.
    pub handovers: Vec<Handover>,
    /// Shards with records that are copied, and to whom; by name. Of a loss these are the copies
    /// that take the place of the lost ones, with what is to be copied at present anyway.
    pub copies: Vec<Copying>,
    /// Shards that nobody serves afterwards: no store with their records is left.
    pub ownerless: u32,
    /// Shards of which fewer stores than a write needs are left, until copies are made.
    pub unwritable: u32,
    /// Whether planning came to its end. If not, more moves than is said here.
    pub is_complete: bool,
}

/// What goes from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Who has it now; `None`: nobody.
    pub from: Option<NodeId>,
    /// Who has it then; `None`: nobody.
    pub to: Option<NodeId>,
    /// Shards that change their owner.
    pub shards: u32,
    /// Part of the circle, in millionths.
    pub ring_ppm: u32,
}

/// What is copied to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copying {
    /// To whom.
    pub to: NodeId,
    /// Shards with records.
    pub shards: u32,
}

/// If `joiner` joined.
pub(super) fn join(view: &View, joiner: &Joiner) -> Result<Forecast, RingAskError> {
    if view.members.contains_key(&joiner.node) {
        return Err(RingAskError::Known(joiner.node.clone()));
    }
    let mut planner = Planner::default();
    // What moves anyway is not because of the join.
    let mut before = copy_of(view);
    let first = settle(&mut before, &mut planner);
    let mut after = before.clone();
    let claim = claim_of(view, joiner);
    let assign = planner.join(&after, &claim);
    if let Outcome::Refused(why) = apply(&mut after, Change::Join { claim, assign }) {
        return Err(RingAskError::Refused { node: joiner.node.clone(), why: why.to_string() });
    }
    let second = settle(&mut after, &mut planner);
    let base = forecast((&joiner.node, joiner.weight, &joiner.zone), &before, &after);
    let copies = copies(&before, &after);
    Ok(Forecast { copies, is_complete: first && second, ..base })
}

/// If the member `node` were lost.
pub(super) fn lose(view: &View, node: &NodeId) -> Result<Forecast, RingAskError> {
    let member = member(view, node)?;
    let mut planner = Planner::default();
    let alive = view.members.keys().filter(|name| *name != node).cloned().collect();
    let assign = planner.evict(view, node, &alive, &BTreeMap::new());
    let mut after = copy_of(view);
    let evict = Change::Evict {
        node: node.clone(),
        boot: member.boot,
        cause: "what if".into(),
        released: false,
        assign,
    };
    // Of a present boot the end is unconditional.
    let _accepted = apply(&mut after, evict);
    let base = forecast((node, member.weight, &member.zone), view, &after);
    let mut settled = after.clone();
    let is_complete = settle(&mut settled, &mut planner);
    Ok(Forecast { copies: copies(&after, &settled), is_complete, ..base })
}

/// What changes hands between the two views.
fn forecast((node, weight, zone): (&NodeId, u16, &str), before: &View, after: &View) -> Forecast {
    let owner = |shard: &Shard| shard.owner.as_ref().map(|owner| owner.node.clone());
    let mut pairs: BTreeMap<(Option<NodeId>, Option<NodeId>), (u32, u128)> = BTreeMap::new();
    for (old, new) in before.shards.iter().zip(&after.shards) {
        let (from, to) = (owner(old), owner(new));
        if from != to {
            pairs.entry((from, to)).or_default().0 += 1;
        }
    }
    for change in ring_of(before).difference(&ring_of(after)) {
        pairs.entry((change.from, change.to)).or_default().1 += change.range.points();
    }
    let needed = after.constants.as_ref().map_or(1, |constants| constants.write_min.max(1));
    let unwritable = |shard: &&Arc<Shard>| {
        let live = shard.in_sync.iter().filter(|store| after.member_of_store(**store).is_some());
        live.count() < usize::from(needed)
    };
    Forecast {
        node: node.clone(),
        weight,
        zone: zone.into(),
        shards: pairs.values().map(|(shards, _)| shards).sum(),
        ring_ppm: ppm(pairs.values().map(|(_, points)| points).sum(), CIRCLE),
        handovers: pairs
            .into_iter()
            .map(|((from, to), (shards, points))| Handover {
                from,
                to,
                shards,
                ring_ppm: ppm(points, CIRCLE),
            })
            .collect(),
        copies: Vec::new(),
        ownerless: counted(after.shards.iter().filter(|shard| shard.owner.is_none())),
        unwritable: counted(after.shards.iter().filter(unwritable)),
        is_complete: true,
    }
}

/// The shards with records that a store holds in `after` and not in `before`.
fn copies(before: &View, after: &View) -> Vec<Copying> {
    let mut copied: BTreeMap<NodeId, u32> = BTreeMap::new();
    for (old, new) in before.shards.iter().zip(&after.shards).filter(|(old, _)| old.has_records) {
        let fresh = new.in_sync.iter().filter(|store| !old.in_sync.contains(store));
        for (node, _) in fresh.filter_map(|store| after.member_of_store(*store)) {
            *copied.entry(node.clone()).or_default() += 1;
        }
    }
    copied.into_iter().map(|(to, shards)| Copying { to, shards }).collect()
}

/// The view to try a change on. It knows no change of the past, and so takes each for a new one.
fn copy_of(view: &View) -> View {
    let mut copy = view.clone();
    copy.recent.clear();
    copy
}

/// How `joiner` would present itself: with a store that nobody has.
fn claim_of(view: &View, joiner: &Joiner) -> Claim {
    let taken = |store: &u128| view.stores.contains_key(&StoreId(*store));
    let store = (0..=u128::MAX).rev().find(|store| !taken(store)).unwrap_or_default();
    Claim {
        node: joiner.node.clone(),
        boot: Boot(1),
        token: 0,
        earlier_boots: Vec::new(),
        tokens: Vec::new(),
        store: StoreId(store),
        voter: None,
        addr: "nowhere:0".into(),
        zone: joiner.zone.clone(),
        weight: joiner.weight,
        disk: DiskMark { filesystem: 0, device: 0, lock_inode: 0, host_boot: String::new() },
    }
}

/// Applies `change` as the next entry of the log would be.
fn apply(view: &mut View, change: Change) -> Outcome {
    let index = |shard: &Arc<Shard>| shard.epoch.0 & ((1 << 48) - 1);
    let last = view.shards.iter().map(index).max().unwrap_or(0);
    // The last index there is would be one of a log that is full.
    let index = (last + 1).min((1 << 48) - 1);
    view.apply(index, &Proposal { id: ChangeId(0), change })
}

/// Plans and carries out until nothing is left to do. Says whether that came.
fn settle(view: &mut View, planner: &mut Planner) -> bool {
    let mut underway = Underway::default();
    for _ in 0..ROUNDS_MAX {
        let plan = planner.steps(view, &underway, &LIMITS);
        if plan.steps.is_empty() {
            return true;
        }
        underway.filling = plan.filling;
        for step in plan.steps {
            carry_out(view, step);
        }
    }
    false
}

/// What becomes of the shard once the step is done.
fn carry_out(view: &mut View, step: Step) {
    let number = match &step {
        Step::Move(step) => step.shard,
        Step::Copy { shard, .. } | Step::Drop { shard, .. } => *shard,
    };
    let Some(shard) = view.shards.get_mut(usize::from(number.0)) else { return };
    let shard = Arc::make_mut(shard);
    match step {
        Step::Move(step) => {
            shard.owner = Some(step.to);
            shard.in_sync = step.in_sync;
        }
        Step::Copy { store, .. } => {
            shard.in_sync.push(store);
            shard.in_sync.sort_unstable();
            shard.in_sync.dedup();
        }
        Step::Drop { store, .. } => shard.in_sync.retain(|held| *held != store),
    }
}
