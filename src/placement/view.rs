//! The view itself: plain values, ordered maps, no behaviour but look-ups.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cause, ChangeId, Claim, Outcome, Profile};
use crate::base::{Boot, ClusterId, Epoch, NodeId, ShardId, StoreId, Version, VoterId};

/// Set at formation, changed only by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constants {
    /// How many shards there are: a power of two, 1 to 32,768.
    pub shards: u16,
    /// Stores that hold each shard (R).
    pub copies: u8,
    /// Stores that must hold a write before it is acknowledged.
    pub write_min: u8,
    /// Lease D, drift r, guard, and the timing of raft and gossip.
    pub profile: Profile,
    /// While D changes: the D that was in force before, until the leader commits that it settled.
    pub lease_before: Option<std::time::Duration>,
    /// An operator has set D: it is no longer what the nodes' own profiles say.
    #[serde(default)]
    pub lease_set: bool,
}

/// Agreed state of a member. An evicted node is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Known, holds nothing yet.
    Joining,
    /// Owns and holds shards.
    Up,
    /// Hands its shards over.
    Leaving,
}

/// What tells a directory from a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMark {
    /// The id that the file system keeps itself; 0 if it keeps none.
    pub filesystem: u64,
    /// Number of the device; another one may be given when the host restarts.
    #[serde(default)]
    pub device: u64,
    /// Inode of the lock file.
    pub lock_inode: u64,
    /// The host's boot id.
    pub host_boot: String,
}

impl DiskMark {
    /// Whether `other` may be the same directory, in this run of the host or another. File systems
    /// without an id of their own (XFS, NFS) are told apart by the inode alone.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        let unknown = self.filesystem == 0 || other.filesystem == 0;
        (unknown || self.filesystem == other.filesystem) && self.lock_inode == other.lock_inode
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its present life.
    pub boot: Boot,
    /// The store it runs on.
    pub store: StoreId,
    /// Where others reach it, `host:port`.
    pub addr: String,
    /// Failure zone; empty if none was set.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Agreed status.
    pub status: Status,
    /// The raft id under which it votes if it is chosen to; see [`View::voters`].
    pub voter: Option<VoterId>,
    /// Marks of its data directory.
    pub disk: DiskMark,
}

/// The one node life that serves a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
}

/// Who owns and holds one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Of the present ownership; new whenever `owner` is assigned.
    pub epoch: Epoch,
    /// `None`: ownerless; the leader plans it at once.
    pub owner: Option<Owner>,
    /// The stores that hold every acknowledged write. Sorted, distinct.
    pub in_sync: Vec<StoreId>,
    /// Grows with each change of `in_sync` and with `has_records`.
    pub in_sync_generation: u64,
    /// A first write may have been numbered; never goes back.
    pub has_records: bool,
    /// Every store that held acknowledged writes was destroyed.
    pub lost: bool,
    /// To whom it is on its way. `owner` still has it, under `epoch`, and hands it over.
    #[serde(default)]
    pub moving: Option<Owner>,
}

/// What the view knows of a store: of every member's, and of every one in some `in_sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMark {
    /// The node that owns the directory.
    pub node: NodeId,
    /// The last boot that ran on it.
    pub last_boot: Boot,
    /// The token that this boot drew.
    pub token: u64,
}

/// Why the membership of a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Departure {
    /// It left by itself, and had said so.
    Released,
    /// Its lease ran out, or it was refused: it may have failed.
    Evicted,
    /// A later life of the same node took its place.
    Replaced,
}

/// A boot that was a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// The node.
    pub node: NodeId,
    /// Its life that ended.
    pub boot: Boot,
    /// What this life drew when it began, by which its directory is known from an older one. 0:
    /// not known; a view of before there was this has none.
    #[serde(default)]
    pub token: u64,
    /// Why it ended.
    pub why: Departure,
}

/// Why a version of the view came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The version that the change made.
    pub version: Version,
    /// Of the entry: every ownership that it began has this epoch.
    pub epoch: Epoch,
    /// Why, in words.
    pub cause: Cause,
    /// The node it is about, if it is about one.
    pub node: Option<NodeId>,
}

/// A numbered picture of the cluster, the same at every node that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Grows with every entry that changed something.
    pub version: Version,
    /// Upper bits of new epochs; raised only by quorum recovery.
    pub quorum_generation: u16,
    /// All zero before formation.
    pub cluster: ClusterId,
    /// `None` before formation.
    pub constants: Option<Constants>,
    /// By name.
    pub members: BTreeMap<NodeId, Member>,
    /// By number. Behind pointers: a new view shares the shards that did not change.
    pub shards: Vec<Arc<Shard>>,
    /// By id.
    pub stores: BTreeMap<StoreId, StoreMark>,
    /// The last changes with what became of them, oldest first, so that a repeat is harmless.
    pub recent: VecDeque<(ChangeId, Outcome)>,
    /// The last [`DEPARTED_MAX`](super::DEPARTED_MAX) memberships that ended, oldest first. A view
    /// of before there was this has none.
    #[serde(default)]
    pub departed: VecDeque<Departed>,
    /// Who votes on views, by raft id: raft's voters as of its last applied membership; while they
    /// change, those of both sides.
    #[serde(default)]
    pub voters: BTreeMap<VoterId, NodeId>,
    /// Why the last [`HISTORY_MAX`](super::HISTORY_MAX) versions came about, oldest first.
    #[serde(default)]
    pub history: VecDeque<Arc<Noted>>,
}

impl Shard {
    /// A shard before its first owner.
    pub(super) fn unassigned() -> Self {
        Self {
            epoch: Epoch::NONE,
            owner: None,
            in_sync: Vec::new(),
            in_sync_generation: 0,
            has_records: false,
            lost: false,
            moving: None,
        }
    }
}

impl View {
    /// Whether a cluster was formed.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.constants.is_some()
    }

    /// The shard numbered `shard`, if there is one.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(usize::from(shard.0)).map(|shard| &**shard)
    }

    /// Whether `boot` is the present life of `node`.
    #[must_use]
    pub fn has_boot(&self, node: &NodeId, boot: Boot) -> bool {
        self.members.get(node).is_some_and(|member| member.boot == boot)
    }

    /// Why `boot` of `node` is no member any more. `None` if it is one, never was, or went so long
    /// ago that the view has forgotten it.
    #[must_use]
    pub fn departure(&self, node: &NodeId, boot: Boot) -> Option<Departure> {
        let is_it = |one: &&Departed| (&one.node, one.boot) == (node, boot);
        self.departed.iter().rev().find(is_it).map(|one| one.why)
    }

    /// The last life of `node` that is known, with what it drew when it began: as a member, else
    /// as one that departed or ran on a store that still counts. No life joins below one of these
    /// ([`View::is_behind`]).
    #[must_use]
    pub fn last_life(&self, node: &NodeId) -> Option<(Boot, u64)> {
        let token = |member: &Member| self.stores.get(&member.store).map_or(0, |mark| mark.token);
        let member = self.members.get(node).map(|member| (member.boot, token(member)));
        member.or_else(|| {
            let departed = self.departed.iter().filter(|one| one.node == *node);
            let departed = departed.map(|one| (one.boot, one.token));
            let stores = self.stores.values().filter(|mark| mark.node == *node);
            departed.chain(stores.map(|mark| (mark.last_boot, mark.token))).max()
        })
    }

    /// Whether `claim`, of a node that is no member, is of a life no later than one that is known:
    /// a process that went on meanwhile, while its name lived and ended elsewhere. As a member it
    /// would be taken for an older life of itself, by whoever counts lives.
    #[must_use]
    pub fn is_behind(&self, claim: &Claim) -> bool {
        let last = self.last_life(&claim.node).filter(|_| !self.members.contains_key(&claim.node));
        last.is_some_and(|(boot, _)| boot >= claim.boot)
    }

    /// Whether the very life that `claim` presents is a member: its boot, begun by that process.
    #[must_use]
    pub fn is_life(&self, claim: &Claim) -> bool {
        self.has_boot(&claim.node, claim.boot)
            && self.stores.get(&claim.store).is_some_and(|mark| {
                (&mark.node, mark.last_boot, mark.token) == (&claim.node, claim.boot, claim.token)
            })
    }

    /// The member that runs on `store` at present.
    #[must_use]
    pub fn member_of_store(&self, store: StoreId) -> Option<(&NodeId, &Member)> {
        let mark = self.stores.get(&store)?;
        let (name, member) = self.members.get_key_value(&mark.node)?;
        (member.store == store).then_some((name, member))
    }

    /// Whether `node` votes, under whatever raft id.
    #[must_use]
    pub fn votes(&self, node: &NodeId) -> bool {
        self.voters.values().any(|voter| voter == node)
    }

    /// Moves under way, with the node that each shard goes to.
    #[must_use]
    pub fn moves(&self) -> BTreeMap<ShardId, NodeId> {
        let moving = self.numbered().filter_map(|(id, shard)| Some((id, shard.moving.as_ref()?)));
        moving.map(|(id, to)| (id, to.node.clone())).collect()
    }

    /// The members that hold copies of the same shards as `node`, itself left out.
    #[must_use]
    pub fn sharing_with(&self, node: &NodeId) -> BTreeSet<NodeId> {
        let Some(own) = self.members.get(node) else { return BTreeSet::new() };
        let shared = self.shards.iter().filter(|shard| shard.in_sync.contains(&own.store));
        let stores: BTreeSet<StoreId> = shared.flat_map(|shard| shard.in_sync.clone()).collect();
        let holders = stores.into_iter().filter_map(|store| self.member_of_store(store));
        holders.map(|(name, _)| name.clone()).filter(|name| name != node).collect()
    }

    /// The numbers of all shards with their state.
    pub fn numbered(&self) -> impl Iterator<Item = (ShardId, &Shard)> {
        // The shard count is at most 32,768: the numbers do not run out.
        (0..).map(ShardId).zip(self.shards.iter().map(|shard| &**shard))
    }
}
