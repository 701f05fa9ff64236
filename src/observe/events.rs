//! What changed from one view to the next, and why: the change of every version with its cause.
//!
//! [`changes`] is a pure function of two views. Why each version came about is kept in the view
//! itself ([`View::history`]), so a node that skips versions says nearly as much as one that does
//! not: an ownership names its entry by its epoch, a member its own note. What cannot be told
//! apart then stands in one change of its own.

mod diff;
mod like;
mod log;
mod text;

use serde::{Deserialize, Serialize};

pub use self::diff::changes;
pub(crate) use self::log::EventLog;
pub use self::log::{EVENTS_MAX, EventsAsk, EventsPage};
use super::hex;
use crate::base::{Boot, Epoch, NodeId, ShardId, Version};
use crate::placement::{Constants, Departure, Owner, Status};

/// Shards of one change that are listed; further ones are counted.
pub const LISTED_MAX: usize = 16_384;

/// A change as a node saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEvent {
    /// Counted by the node that saw it, from 1.
    pub number: u64,
    /// When it saw it, by its wall clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What changed.
    #[serde(flatten)]
    pub change: ViewChange,
}

/// What one version changed; several versions, where they are alike and of one entry, or cannot be
/// told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// The version before it.
    pub since: Version,
    /// The version that it made, or the last of them.
    pub version: Version,
    /// Of the entry that made it, in hex digits; 0 for several entries.
    #[serde(with = "hex")]
    pub epoch: Epoch,
    /// Why, in words.
    pub cause: String,
    /// The node it is about, if it is about one.
    pub node: Option<NodeId>,
    /// Members that came, went, or stand otherwise now, by name.
    pub members: Vec<MemberChange>,
    /// Who votes now, by name, if that changed.
    pub voters: Option<Vec<NodeId>>,
    /// The constants, if they changed.
    pub constants: Option<ConstantsChange>,
    /// Ownerships that ended, and to whom the shards went; by name.
    pub owners: Vec<Passed>,
    /// Shards that are on their way since; by name.
    pub moves: Vec<Passed>,
    /// Shards that were on their way and are not any more, and stayed where they were; by name.
    pub stays: Vec<Passed>,
    /// Nodes whose stores hold more shards or fewer, by name.
    pub holders: Vec<Held>,
    /// Shards that have their first record.
    pub recorded: u32,
    /// Shards whose every store was destroyed.
    pub lost: u32,
    /// Each shard that changed, by number; at most [`LISTED_MAX`].
    pub shards: Vec<ShardChange>,
    /// Shards that changed and are not listed.
    pub unlisted: u32,
}

/// What became of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    /// The node.
    pub node: NodeId,
    /// Before; `None`: it was no member.
    pub before: Option<Life>,
    /// After; `None`: it is no member any more.
    pub after: Option<Life>,
    /// Why it is no member any more.
    pub departure: Option<Departure>,
}

/// A member's life, and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The life.
    pub boot: Boot,
    /// Agreed status.
    pub status: Status,
}

/// What became of the constants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstantsChange {
    /// Before; `None`: there was no cluster.
    pub before: Option<Constants>,
    /// After.
    pub after: Constants,
}

/// Shards that went, or are to go, from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Who had them; `None`: nobody.
    pub from: Option<NodeId>,
    /// Who gets them; `None`: nobody. The same node: it keeps them under a new epoch.
    pub to: Option<NodeId>,
    /// How many.
    pub shards: u32,
}

/// A node whose store holds more shards or fewer than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The node.
    pub node: NodeId,
    /// Shards that it holds and did not hold.
    pub more: u32,
    /// Shards that it held and does not hold.
    pub fewer: u32,
}

/// What became of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardChange {
    /// Its number.
    pub shard: ShardId,
    /// Of the present ownership, in hex digits.
    #[serde(with = "hex")]
    pub epoch: Epoch,
    /// Who owned it, in which life.
    pub before: Option<Owner>,
    /// Who owns it, in which life.
    pub after: Option<Owner>,
    /// To whom it is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<NodeId>,
    /// Nodes whose stores hold it and did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<NodeId>,
    /// Nodes whose stores held it and do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<NodeId>,
}

impl ViewChange {
    /// Whether it is only about who holds copies and where first records are: there are many such
    /// while a cluster fills.
    #[must_use]
    pub fn is_minor(&self) -> bool {
        let says_more = self.lost > 0 || self.voters.is_some() || self.constants.is_some();
        let passes = [&self.owners, &self.moves, &self.stays];
        let is_quiet = self.members.is_empty() && passes.iter().all(|passed| passed.is_empty());
        let holds = self.recorded > 0 || !self.holders.is_empty();
        is_quiet && !says_more && holds
    }

    /// Says it in the log of `node`: at level debug if it is only about copies.
    pub(crate) fn log(&self, node: &NodeId) {
        let (version, epoch, cause) = (self.version.0, self.epoch.0, &*self.cause);
        let about = self.node.as_ref().map(tracing::field::display);
        let facts = self.facts().join("; ");
        if self.is_minor() {
            tracing::debug!(%node, version, epoch, cause, about, facts, "the view changed");
        } else {
            tracing::info!(%node, version, epoch, cause, about, facts, "the view changed");
        }
    }

    /// Without the list of shards: they are counted then.
    fn strip(&mut self) {
        let listed = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        self.unlisted = self.unlisted.saturating_add(listed);
        self.shards = Vec::new();
    }
}

#[cfg(test)]
mod tests;
