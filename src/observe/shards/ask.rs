//! Which shards are asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::NodeId;

/// What may be said of a shard; several may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShardState {
    /// A node serves it.
    Owned,
    /// Nobody serves it.
    Ownerless,
    /// Every store that held its records was destroyed.
    Lost,
    /// It is on its way to another owner.
    Moving,
    /// Fewer live stores hold it than there should be copies.
    UnderReplicated,
    /// Fewer live stores hold it than a write needs.
    Unwritable,
    /// Something was written in it.
    Records,
}

/// A text names no state of a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no state of a shard: expected one of {expected}")]
pub struct StateError {
    /// What was given; its beginning if it is long.
    pub text: String,
    /// What was expected instead.
    pub expected: String,
}

impl ShardState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Owned,
        Self::Ownerless,
        Self::Lost,
        Self::Moving,
        Self::UnderReplicated,
        Self::Unwritable,
        Self::Records,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Ownerless => "ownerless",
            Self::Lost => "lost",
            Self::Moving => "moving",
            Self::UnderReplicated => "under-replicated",
            Self::Unwritable => "unwritable",
            Self::Records => "records",
        }
    }
}

impl fmt::Display for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ShardState {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| StateError {
            text: text.chars().take(80).collect(),
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// What is asked of the shards besides the counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardsAsk {
    /// Each shard is to be listed.
    pub all: bool,
    /// Only those that this member owns, holds or is about to get.
    pub node: Option<NodeId>,
    /// Only those in this state.
    pub state: Option<ShardState>,
}

impl ShardsAsk {
    /// Whether shards are to be listed.
    pub(super) fn lists(&self) -> bool {
        self.all || self.node.is_some() || self.state.is_some()
    }

    /// Whether a shard in `states` is wanted.
    pub(super) fn wants(&self, states: &[ShardState], touches: impl FnOnce() -> bool) -> bool {
        self.state.is_none_or(|state| states.contains(&state)) && touches()
    }
}
