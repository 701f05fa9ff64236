//! Names and numbers of the cluster half.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: it must match [a-z0-9][a-z0-9.-]{{0,62}}")]
pub struct NameError(pub String);

/// The name of a node, unique in its cluster: `[a-z0-9][a-z0-9.-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(plain);
        let rest = bytes.all(|byte| plain(byte) || byte == b'.' || byte == b'-');
        if first && rest && name.len() <= NAME_BYTES_MAX {
            Ok(Self(name.into()))
        } else {
            Err(NameError(name.chars().take(80).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize,
            Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }
    };
}

number! {
    /// One life of a membership: a counter kept in the data directory, fsynced before it is
    /// proposed. New at process start and after an eviction.
    Boot(u64), "boot {}"
}
number! {
    /// What holds data: random, made with the store, new at every process start for a store in
    /// memory. `in_sync` names stores, never nodes.
    StoreId(u128), "store {:032x}"
}
number! {
    /// The raft id of a voter, kept with its raft file.
    VoterId(u64), "voter {:016x}"
}
number! {
    /// The unit of ownership, fencing, replication and transfer: 0 to the shard count less one.
    ShardId(u16), "shard {}"
}
number! {
    /// The number of a view; only grows.
    Version(u64), "view {}"
}
number! {
    /// The number of one ownership of one shard: quorum generation in the upper 16 bits, index of
    /// the agreed entry in the lower 48. Unique per ownership, only grows: the fencing token.
    Epoch(u64), "epoch {:x}"
}

/// Bits of an epoch that hold the index of the entry.
const INDEX_BITS: u32 = 48;

impl Epoch {
    /// Before any ownership.
    pub const NONE: Self = Self(0);

    /// The epoch made by entry `index` under quorum generation `generation`.
    ///
    /// # Panics
    /// If the index needs more than 48 bits: 8,900 years at a thousand entries a second.
    #[must_use]
    pub fn new(generation: u16, index: u64) -> Self {
        assert!(index < 1 << INDEX_BITS, "entry index {index} needs more than 48 bits");
        Self(u64::from(generation) << INDEX_BITS | index)
    }
}

/// Names a cluster: SHA-256 of what its first members agreed on. All zero before formation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 32]);

impl ClusterId {
    /// A node that has not formed or joined a cluster yet.
    pub const UNFORMED: Self = Self([0; 32]);
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_checked_when_parsed_and_when_decoded() {
        for good in ["a", "n1", "0.rack-2", &"x".repeat(63)] {
            assert_eq!(good.parse::<NodeId>().expect("good name").as_str(), good);
        }
        for bad in ["", "-a", ".a", "A", "a_b", "a/b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
            let bytes = rmp_serde::to_vec(bad).expect("text encodes");
            assert!(rmp_serde::from_slice::<NodeId>(&bytes).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_higher_generation_beats_any_index() {
        assert!(Epoch::new(1, 0) > Epoch::new(0, (1 << 48) - 1));
        assert!(Epoch::new(0, 2) > Epoch::new(0, 1));
    }
}
