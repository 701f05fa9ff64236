//! Who owns and holds how many shards, which of them are not as they should be, and each by itself.

mod ask;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::ask::{ShardState, ShardsAsk, StateError};
use super::hex;
use super::ring::{RingAskError, member, share_counts};
use crate::base::{Boot, Epoch, NodeId, ShardId, StoreId, Version};
use crate::placement::{Constants, Shard, Status, View};

/// The shards of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsReport {
    /// Who was asked.
    pub asked: NodeId,
    /// Of the view it was computed from.
    pub version: Version,
    /// How many shards there are.
    pub shards: u16,
    /// Stores that should hold each shard (R).
    pub copies: u8,
    /// Stores that must hold a write before it is acknowledged.
    pub write_min: u8,
    /// By name.
    pub nodes: Vec<ShardsNode>,
    /// How many shards are in each state; a shard may be in several.
    pub states: BTreeMap<ShardState, u32>,
    /// The shards that were asked for, by number; empty if none were.
    pub listed: Vec<ShardRow>,
}

/// The part of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsNode {
    /// Its name.
    pub node: NodeId,
    /// Agreed status.
    pub status: Status,
    /// Shards it owns.
    pub owns: u32,
    /// Shards that its store holds.
    pub holds: u32,
    /// Shards that it owns, and that are on their way to another.
    pub moving_away: u32,
    /// Shards that are on their way to it.
    pub moving_here: u32,
    /// Shards that it owns, and of which there are fewer live copies than there should be.
    pub under_replicated: u32,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// Its number.
    pub shard: ShardId,
    /// Of the present ownership, in hex digits.
    #[serde(with = "hex")]
    pub epoch: Epoch,
    /// Who serves it; `None` if nobody does at present.
    pub owner: Option<NodeId>,
    /// In which life.
    pub boot: Option<Boot>,
    /// Nodes whose stores hold every acknowledged write.
    pub in_sync: Vec<NodeId>,
    /// Nodes whose stores do, and which do not run on them at present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<NodeId>,
    /// Grows with each change of `in_sync`.
    pub generation: u64,
    /// To whom it is on its way; the owner is still `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<NodeId>,
    /// Whether anything was written in it.
    pub has_records: bool,
    /// What is to be said of it.
    pub states: Vec<ShardState>,
}

/// Judges shards of one view.
struct Judge<'a> {
    view: &'a View,
    /// Stores that should hold a shard, as far as there are members to do it.
    wanted: usize,
    write_min: usize,
}

impl<'a> Judge<'a> {
    fn new(view: &'a View, constants: &Constants) -> Self {
        let staying = view.members.values().filter(|one| super::ring::stays(one)).count();
        let wanted = usize::from(constants.copies).min(staying);
        Self { view, wanted, write_min: usize::from(constants.write_min.max(1)) }
    }

    fn live(&self, shard: &Shard) -> usize {
        let is_live = |store: &&StoreId| self.view.member_of_store(**store).is_some();
        shard.in_sync.iter().filter(is_live).count()
    }

    /// All that is to be said of `shard`.
    fn states(&self, shard: &Shard) -> Vec<ShardState> {
        let live = self.live(shard);
        let all = [
            (shard.owner.is_some(), ShardState::Owned),
            (shard.owner.is_none(), ShardState::Ownerless),
            (shard.lost, ShardState::Lost),
            (shard.moving.is_some(), ShardState::Moving),
            (live < self.wanted, ShardState::UnderReplicated),
            (live < self.write_min, ShardState::Unwritable),
            (shard.has_records, ShardState::Records),
        ];
        all.into_iter().filter_map(|(is_so, state)| is_so.then_some(state)).collect()
    }

    fn row(&self, number: ShardId, shard: &Shard) -> ShardRow {
        let node_of = |store: &StoreId| self.view.stores.get(store).map(|mark| mark.node.clone());
        let (in_sync, away): (Vec<&StoreId>, Vec<&StoreId>) =
            shard.in_sync.iter().partition(|store| self.view.member_of_store(**store).is_some());
        let mut in_sync: Vec<NodeId> = in_sync.into_iter().filter_map(node_of).collect();
        in_sync.sort_unstable();
        ShardRow {
            shard: number,
            epoch: shard.epoch,
            owner: shard.owner.as_ref().map(|owner| owner.node.clone()),
            boot: shard.owner.as_ref().map(|owner| owner.boot),
            in_sync,
            away: away.into_iter().filter_map(node_of).collect(),
            generation: shard.in_sync_generation,
            moving_to: shard.moving.as_ref().map(|to| to.node.clone()),
            has_records: shard.has_records,
            states: self.states(shard),
        }
    }
}

impl ShardsReport {
    /// Reports on `view`, as `asked` has it. Cost: all shards once.
    ///
    /// # Errors
    /// [`RingAskError`]: there is no cluster yet, or no such member.
    pub fn new(view: &View, asked: &NodeId, ask: &ShardsAsk) -> Result<Self, RingAskError> {
        let constants = view.constants.as_ref().ok_or(RingAskError::NotFormed)?;
        if let Some(node) = &ask.node {
            member(view, node)?;
        }
        let judge = Judge::new(view, constants);
        let mut states = ShardState::ALL.map(|state| (state, 0)).into_iter().collect();
        let mut listed = Vec::new();
        for (number, shard) in view.numbered() {
            let own = judge.states(shard);
            count(&mut states, &own);
            if ask.lists() && ask.wants(&own, || touches(view, shard, ask.node.as_ref())) {
                listed.push(judge.row(number, shard));
            }
        }
        Ok(Self {
            asked: asked.clone(),
            version: view.version,
            shards: constants.shards,
            copies: constants.copies,
            write_min: constants.write_min,
            nodes: nodes(&judge),
            states,
            listed,
        })
    }

    /// How many shards are in `state`.
    #[must_use]
    pub fn count(&self, state: ShardState) -> u32 {
        self.states.get(&state).copied().unwrap_or(0)
    }
}

fn count(states: &mut BTreeMap<ShardState, u32>, own: &[ShardState]) {
    for state in own {
        *states.entry(*state).or_default() += 1;
    }
}

/// Whether `node` owns or holds the shard, or gets it; of no node in particular: always.
fn touches(view: &View, shard: &Shard, node: Option<&NodeId>) -> bool {
    let Some(node) = node else { return true };
    let is_it = |owner: &crate::placement::Owner| owner.node == *node;
    let holds = |store: &StoreId| view.stores.get(store).is_some_and(|mark| mark.node == *node);
    shard.owner.as_ref().is_some_and(is_it)
        || shard.moving.as_ref().is_some_and(is_it)
        || shard.in_sync.iter().any(holds)
}

fn nodes(judge: &Judge<'_>) -> Vec<ShardsNode> {
    let view = judge.view;
    let (owns, holds) = share_counts(view);
    let mut away: BTreeMap<&NodeId, u32> = BTreeMap::new();
    let mut here: BTreeMap<&NodeId, u32> = BTreeMap::new();
    let mut few: BTreeMap<&NodeId, u32> = BTreeMap::new();
    for shard in view.shards.iter().map(Arc::as_ref) {
        let owner = shard.owner.as_ref().map(|owner| &owner.node);
        if let Some(to) = &shard.moving {
            *here.entry(&to.node).or_default() += 1;
            if let Some(owner) = owner {
                *away.entry(owner).or_default() += 1;
            }
        }
        if let Some(owner) = owner.filter(|_| judge.live(shard) < judge.wanted) {
            *few.entry(owner).or_default() += 1;
        }
    }
    let row = |(node, member): (&NodeId, &crate::placement::Member)| ShardsNode {
        node: node.clone(),
        status: member.status,
        owns: of(&owns, node),
        holds: holds.get(&member.store).copied().unwrap_or(0),
        moving_away: of(&away, node),
        moving_here: of(&here, node),
        under_replicated: of(&few, node),
    };
    view.members.iter().map(row).collect()
}

fn of(counts: &BTreeMap<&NodeId, u32>, node: &NodeId) -> u32 {
    counts.get(node).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
