//! Who has which part of ring and shards, where a key is, and what a change would move.
//!
//! Pure functions of a view. Nothing asked here changes anything: a join or a loss is tried on a
//! copy of the view, by the rules that the authority itself applies, and carried to its end by the
//! planner.

mod ask;
mod forecast;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::ask::{Joiner, Key, NameError, RingAsk};
pub use self::forecast::{Copying, Forecast, Handover};
use super::hex;
use super::table::ppm;
use crate::base::{Boot, Epoch, NodeId, ShardId, StoreId, Version};
use crate::placement::{Constants, Member, Status, View, cap, share};
use crate::ring::{Ring, shard_of, shard_point};

/// Points of the whole circle.
const CIRCLE: u128 = 1 << 64;
/// Members that an error names.
const NAMED_MAX: usize = 10;

/// Why there is no answer about the ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingAskError {
    /// There are no shards yet. Next: wait until the cluster is formed.
    #[error("this node is in no cluster yet: there is no ring")]
    NotFormed,
    /// Only a member can be lost.
    #[error("{node} is no member of the cluster; members are {members}")]
    Unknown {
        /// Who was named.
        node: NodeId,
        /// Some of those that may be.
        members: String,
    },
    /// Only a node that is no member can join.
    #[error("{0} is a member already")]
    Known(NodeId),
    /// The rules of the view forbid it.
    #[error("{node} could not join: {why}")]
    Refused {
        /// Who was named.
        node: NodeId,
        /// Which rule.
        why: String,
    },
}

/// Shares of ring and shards, and what was asked besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingReport {
    /// Of the view it was computed from.
    pub version: Version,
    /// How many shards there are.
    pub shards: u16,
    /// Stores that should hold each shard (R).
    pub copies: u8,
    /// Stores that must hold a write before it is acknowledged.
    pub write_min: u8,
    /// By name.
    pub nodes: Vec<RingNode>,
    /// Shards without an owner at present.
    pub ownerless: u32,
    /// Shards whose every store was destroyed.
    pub lost: u32,
    /// Where a key is.
    #[serde(default)]
    pub key: Option<KeyReport>,
    /// What a join would move.
    #[serde(default)]
    pub join: Option<Forecast>,
    /// What a loss would move.
    #[serde(default)]
    pub lose: Option<Forecast>,
}

/// The part of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingNode {
    /// Its name.
    pub node: NodeId,
    /// Agreed status.
    pub status: Status,
    /// Failure zone; empty for none.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Its part of the circle, in millionths. A node that leaves has none.
    pub ring_ppm: u32,
    /// Shards it owns.
    pub owns: u32,
    /// Shards that its store holds.
    pub holds: u32,
    /// Shards that fall to it by weight, rounded down.
    pub share: u64,
    /// Shards it is planned to own at most.
    pub cap: u64,
}

/// Where one entity is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// The entity.
    pub key: Key,
    /// Its shard.
    pub shard: ShardId,
    /// Who serves the shard; `None` if nobody does at present.
    pub owner: Option<NodeId>,
    /// In which life.
    pub owner_boot: Option<Boot>,
    /// Of the present ownership, in hex digits.
    #[serde(with = "hex")]
    pub epoch: Epoch,
    /// The stores that hold every acknowledged write.
    pub in_sync: Vec<Holder>,
    /// Whether anything was written in the shard.
    pub has_records: bool,
    /// Whether every store that held its records was destroyed.
    pub lost: bool,
    /// The nodes that the ring ranks first for the shard, other zones first: as many as there
    /// should be copies.
    pub preference: Vec<NodeId>,
}

/// A store that holds a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The store, in hex digits.
    #[serde(with = "hex")]
    pub store: StoreId,
    /// The node whose directory it is in.
    pub node: Option<NodeId>,
    /// Whether that node is a member and runs on it.
    pub is_member: bool,
}

impl RingReport {
    /// Reports on `view`.
    ///
    /// Cost: the tokens of all members are hashed. A join or a loss is planned to its end, in
    /// several plans of all shards each: too much for a thread of a runtime in a large cluster.
    ///
    /// # Errors
    /// [`RingAskError`].
    pub fn new(view: &View, ask: &RingAsk) -> Result<Self, RingAskError> {
        let constants = view.constants.as_ref().ok_or(RingAskError::NotFormed)?;
        let ring = ring_of(view);
        let count = |wanted: &dyn Fn(&crate::placement::Shard) -> bool| {
            counted(view.shards.iter().filter(|shard| wanted(shard)))
        };
        let lose = ask.lose.as_ref().map(|node| forecast::lose(view, node)).transpose()?;
        let join = ask.join.as_ref().map(|joiner| forecast::join(view, joiner)).transpose()?;
        Ok(Self {
            version: view.version,
            shards: constants.shards,
            copies: constants.copies,
            write_min: constants.write_min,
            nodes: nodes(view, constants, &ring),
            ownerless: count(&|shard| shard.owner.is_none()),
            lost: count(&|shard| shard.lost),
            key: ask.key.as_ref().map(|key| key_report(view, constants, &ring, key)),
            join,
            lose,
        })
    }
}

/// How many there are: never more than there are shards.
fn counted<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}

/// Whether a member counts in shares: it has weight, and stays.
pub(super) fn stays(member: &Member) -> bool {
    match member.status {
        Status::Joining | Status::Up => member.weight > 0,
        Status::Leaving => false,
    }
}

/// The member called `node`, or an error that names some of those there are.
pub(super) fn member<'a>(view: &'a View, node: &NodeId) -> Result<&'a Member, RingAskError> {
    view.members.get(node).ok_or_else(|| {
        let named: Vec<&str> = view.members.keys().take(NAMED_MAX).map(NodeId::as_str).collect();
        let more = view.members.len().saturating_sub(NAMED_MAX);
        let mut members = named.join(", ");
        if more > 0 {
            members = format!("{members} and {more} others");
        }
        RingAskError::Unknown { node: node.clone(), members }
    })
}

/// The ring of the members that stay.
pub(super) fn ring_of(view: &View) -> Ring {
    let members = view.members.iter().filter(|(_, member)| stays(member));
    let placed = members.map(|(name, member)| (name.clone(), member.weight, member.zone.clone()));
    // A view has each name once, and fewer members than a ring has room for.
    Ring::build(placed).unwrap_or_default()
}

/// How many shards each node owns, and each store holds.
pub(super) fn share_counts(view: &View) -> (BTreeMap<&NodeId, u32>, BTreeMap<StoreId, u32>) {
    let (mut owns, mut holds) = (BTreeMap::new(), BTreeMap::new());
    for shard in &view.shards {
        if let Some(owner) = &shard.owner {
            *owns.entry(&owner.node).or_default() += 1;
        }
        for store in &shard.in_sync {
            *holds.entry(*store).or_default() += 1;
        }
    }
    (owns, holds)
}

fn nodes(view: &View, constants: &Constants, ring: &Ring) -> Vec<RingNode> {
    let mut points: BTreeMap<&NodeId, u128> = BTreeMap::new();
    for (range, node) in ring.ranges() {
        *points.entry(node).or_default() += range.points();
    }
    let (owns, holds) = share_counts(view);
    let staying = view.members.values().filter(|member| stays(member));
    let total: u64 = staying.map(|member| u64::from(member.weight)).sum();
    let row = |(node, member): (&NodeId, &Member)| {
        let weight = if stays(member) { member.weight } else { 0 };
        RingNode {
            node: node.clone(),
            status: member.status,
            zone: member.zone.clone(),
            weight: member.weight,
            ring_ppm: ppm(points.get(node).copied().unwrap_or(0), CIRCLE),
            owns: owns.get(node).copied().unwrap_or(0),
            holds: holds.get(&member.store).copied().unwrap_or(0),
            share: share(constants.shards, weight, total),
            cap: cap(constants.shards, weight, total),
        }
    };
    view.members.iter().map(row).collect()
}

pub(super) fn key_report(view: &View, constants: &Constants, ring: &Ring, key: &Key) -> KeyReport {
    let number = shard_of(&key.kind, key.id.as_bytes(), constants.shards);
    let shard = view.shard(number);
    let owner = shard.and_then(|shard| shard.owner.clone());
    let holder = |store: &StoreId| Holder {
        store: *store,
        node: view.stores.get(store).map(|mark| mark.node.clone()),
        is_member: view.member_of_store(*store).is_some(),
    };
    let preference = ring.preference_list(shard_point(number), constants.copies.into());
    KeyReport {
        key: key.clone(),
        shard: number,
        owner: owner.as_ref().map(|owner| owner.node.clone()),
        owner_boot: owner.map(|owner| owner.boot),
        epoch: shard.map_or(Epoch::NONE, |shard| shard.epoch),
        in_sync: shard.map_or_else(Vec::new, |shard| shard.in_sync.iter().map(holder).collect()),
        has_records: shard.is_some_and(|shard| shard.has_records),
        lost: shard.is_some_and(|shard| shard.lost),
        preference: preference.into_iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
