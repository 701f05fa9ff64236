//! What can be agreed about the view.

use serde::{Deserialize, Serialize};

use super::{Constants, DiskMark, Owner};
use crate::base::{Boot, ClusterId, Epoch, NodeId, ShardId, StoreId, VoterId};

/// Names one proposed change, so that repeating it is harmless. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeId(pub u128);

/// Why a change was proposed, in words, for the log and for people.
pub type Cause = String;

/// One shard's next owner and holders, planned by the proposer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch the plan was made under: if the shard has another by now, it is left alone.
    pub expected_epoch: Epoch,
    /// The `in_sync` generation the plan was made under; likewise.
    pub expected_generation: u64,
    /// The new owner, which gets a new epoch; `None` leaves the shard ownerless.
    pub owner: Option<Owner>,
    /// The new `in_sync`, sorted.
    pub in_sync: Vec<StoreId>,
    /// No store that held its acknowledged writes is left.
    pub lost: bool,
}

/// One shard is to go to another node while its owner is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch the move was planned under.
    pub expected_epoch: Epoch,
    /// The `in_sync` generation it was planned under.
    pub expected_generation: u64,
    /// Who takes it: its store is in `in_sync`, or the shard has no records.
    pub to: Owner,
}

/// What must still be so when an owner's change of one shard is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// The owner that proposes.
    pub owner: Owner,
    /// Its epoch of the shard.
    pub epoch: Epoch,
    /// The `in_sync` generation it saw.
    pub in_sync_generation: u64,
}

/// A node as it presents itself when it forms, joins or rejoins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name.
    pub node: NodeId,
    /// The life it begins; fsynced in its directory.
    pub boot: Boot,
    /// Drawn when the life began: tells it from the life of the same number of a copy.
    pub token: u64,
    /// The boots recorded in its directory, this one excluded, as closed ranges, newest last.
    pub earlier_boots: Vec<(Boot, Boot)>,
    /// The tokens that the newest of them drew, as far as the directory knows.
    #[serde(default)]
    pub tokens: Vec<(Boot, u64)>,
    /// Its store.
    pub store: StoreId,
    /// Its raft id, if it votes.
    pub voter: Option<VoterId>,
    /// Where others reach it.
    pub addr: String,
    /// Failure zone, or empty.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Marks of its data directory.
    pub disk: DiskMark,
}

/// Most tokens of earlier boots in a claim, the newest. A directory that has begun more lives than
/// that since it was last a member is not known by them, and counts as a copy.
pub const CLAIM_TOKENS_MAX: usize = 1_024;

impl Claim {
    /// Whether its directory has seen `boot`, the one that drew `token`. A directory that counted
    /// to the same number by itself, as an old backup does that is started again and again, has
    /// not.
    #[must_use]
    pub fn has_seen(&self, boot: Boot, token: u64) -> bool {
        let known = self.tokens.iter().find(|(one, _)| *one == boot);
        // A boot of before there were tokens has none; where the list is full, one may be missing.
        let unknown = self.tokens.len() < CLAIM_TOKENS_MAX;
        known.map_or(unknown, |(_, own)| *own == token)
            && self.earlier_boots.iter().any(|(first, last)| (*first..=*last).contains(&boot))
    }
}

/// A change of the view. Who may propose it:
///
/// - the leader alone: [`Change::Evict`], [`Change::Assign`], [`Change::Move`],
///   [`Change::HandOver`], [`Change::MoveAborted`], [`Change::LeaseSettled`];
/// - an owner for its own (boot, epoch): [`Change::HasRecords`], [`Change::Add`],
///   [`Change::Shrink`];
/// - a node for itself: [`Change::Join`], [`Change::Rejoin`], [`Change::Leave`];
/// - an operator, through any member: [`Change::Drain`], [`Change::Set`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The first view.
    Form {
        /// The agreed id.
        cluster: ClusterId,
        /// The constants.
        constants: Constants,
        /// The first members, with how each presented itself.
        members: Vec<Claim>,
        /// Owner and holders of every shard.
        assign: Vec<Assign>,
    },
    /// A node that is no member becomes one.
    Join {
        /// How it presents itself.
        claim: Claim,
        /// Shards planned for it at once (ownerless ones only).
        assign: Vec<Assign>,
    },
    /// A member's process was restarted: one entry replaces its boot and gives its shards new
    /// epochs.
    Rejoin {
        /// The boot it replaces.
        replaces: Boot,
        /// How it presents itself.
        claim: Claim,
        /// Under another store: where its shards go.
        assign: Vec<Assign>,
    },
    /// A boot's membership ends, and its shards go on. The boot's end is unconditional.
    Evict {
        /// Which node.
        node: NodeId,
        /// Which life.
        boot: Boot,
        /// Why.
        cause: Cause,
        /// Where its shards go; what is left out becomes ownerless.
        assign: Vec<Assign>,
        /// It left by itself: it has released this boot. An older entry does not say.
        #[serde(default)]
        released: bool,
    },
    /// The leader plans ownerless shards.
    Assign {
        /// Why.
        cause: Cause,
        /// The plan.
        assign: Vec<Assign>,
    },
    /// Shards are to go to other nodes while their owners are alive. Nothing changes hands yet: an
    /// owner that sees it stops, finishes what runs, and releases the shard.
    Move {
        /// Why.
        cause: Cause,
        /// Which shards, and to whom.
        moves: Vec<Transfer>,
    },
    /// Shards that their live owners have released get new ones. The proposer holds the releases.
    HandOver {
        /// Why.
        cause: Cause,
        /// The plan.
        assign: Vec<Assign>,
    },
    /// Moves that did not come to an end: the owner stays, under a new epoch, because it may have
    /// released the old one.
    MoveAborted {
        /// Why.
        cause: Cause,
        /// Which shards, and under which epoch each was moving.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// A member hands its shards over from now on, or no longer.
    Drain {
        /// Which node.
        node: NodeId,
        /// Which life.
        boot: Boot,
        /// False takes an earlier drain back.
        on: bool,
    },
    /// A member that owns nothing, is not needed as a holder, and does not vote, goes for good.
    Leave {
        /// Which node.
        node: NodeId,
        /// Which life.
        boot: Boot,
    },
    /// An operator changes constants.
    Set {
        /// What they were when it was decided; refused if they are something else by now.
        seen: Constants,
        /// Stores that hold each shard (R).
        copies: u8,
        /// Stores that must hold a write before it is acknowledged.
        write_min: u8,
        /// D.
        lease: std::time::Duration,
    },
    /// Nobody acts on the D of before any more.
    LeaseSettled {
        /// The D that is in force.
        lease: std::time::Duration,
    },
    /// A shard's owner is about to number its first write.
    HasRecords {
        /// Which shard.
        shard: ShardId,
        /// The stores that will hold it, at least `write_min`.
        in_sync: Vec<StoreId>,
        /// What the owner saw.
        when: Precondition,
    },
    /// A store that holds everything joins `in_sync`.
    Add {
        /// Which shard.
        shard: ShardId,
        /// Which store.
        store: StoreId,
        /// What the owner saw.
        when: Precondition,
    },
    /// A silent store leaves `in_sync`, never below `write_min`.
    Shrink {
        /// Which shard.
        shard: ShardId,
        /// Which store.
        store: StoreId,
        /// What the owner saw.
        when: Precondition,
    },
}

/// A change with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its id.
    pub id: ChangeId,
    /// What is to change.
    pub change: Change,
}

/// What became of a change, decided when it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is part of the view.
    Accepted,
    /// It changed nothing.
    Refused(Refusal),
}

/// Why a change was refused. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The cluster is not formed yet, or formed already.
    #[error("the cluster is {0}formed")]
    Formation(String),
    /// The boot is not the node's present one, or does not go past it.
    #[error("{node}: {boot} is not the life the view knows")]
    Boot {
        /// The node.
        node: NodeId,
        /// The boot that was named.
        boot: Boot,
    },
    /// This very life was a member, and its membership ended. Next: it begins another.
    #[error("{node}: {boot} was a member, and its membership has ended")]
    Over {
        /// The node.
        node: NodeId,
        /// The life that is over.
        boot: Boot,
    },
    /// The name is taken by a live member.
    #[error("{0} is a member already")]
    NameTaken(NodeId),
    /// The directory is a copy or an old backup; it must join empty under a new store id.
    #[error("{0} looks like a copy or an old backup: it must join with a new, empty store")]
    Copy(StoreId),
    /// Owner, epoch or `in_sync` generation are not what the proposer saw.
    #[error("{0} has moved on")]
    Stale(ShardId),
    /// The node may not go yet, or may not be drained. Next: what the text says.
    #[error("{node} is needed: {why}")]
    Needed {
        /// The node.
        node: NodeId,
        /// Why, naming shards.
        why: String,
    },
    /// A constant is impossible, or another than the operator saw.
    #[error("the constants cannot be set: {0}")]
    Constants(String),
    /// `in_sync` would become smaller than `write_min`, or hold a store that is no member's.
    #[error("{shard}: {why}")]
    InSync {
        /// The shard.
        shard: ShardId,
        /// What is wrong.
        why: String,
    },
    /// The change is malformed.
    #[error("malformed: {0}")]
    Malformed(String),
}
