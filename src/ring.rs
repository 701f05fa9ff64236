//! The circle that ranks nodes for a shard. PURE.
//!
//! Every node puts 128 tokens per unit of weight on a circle of 64-bit points, each hashed from its
//! name; a shard is a point on the same circle. Walking clockwise from it and passing over nodes
//! already met gives the order in which nodes are wanted for it. A node that comes or goes changes
//! that order only where its own tokens lie, so little moves.
//!
//! Nothing here depends on the order in which nodes were added: two nodes that know the same members
//! rank alike. The hashes are part of what is on disk and on the wire: they never change.
//!
//! Source: Karger et al., STOC 1997; preference list: `DeCandia` et al. (Dynamo), SOSP 2007, 4.3;
//! fixed shards on the ring: the same, 6.2, strategy 3.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest as _, Sha1};

use crate::base::{NodeId, ShardId};

/// Virtual nodes per unit of weight.
pub const TOKENS_PER_WEIGHT: u32 = 128;

/// SHA-1 of the parts, one after the other.
#[must_use]
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The first eight bytes of a hash, big-endian.
fn leading(hash: [u8; 20]) -> u64 {
    hash.iter().take(8).fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Token `index` of a node: SHA-1 of its name, `#`, and the index in decimal.
#[must_use]
pub fn token(node: &NodeId, index: u32) -> u64 {
    leading(sha1(&[node.as_str().as_bytes(), b"#", index.to_string().as_bytes()]))
}

/// Where a shard lies on the circle: SHA-1 of `shard#` and its number in decimal.
#[must_use]
pub fn shard_point(shard: ShardId) -> u64 {
    leading(sha1(&[b"shard#", shard.0.to_string().as_bytes()]))
}

/// The shard of the entity `kind/id`: the top bits of SHA-1 of kind, a zero byte, and id. `shards`
/// is the cluster's shard count, a power of two.
#[must_use]
pub fn shard_of(kind: &str, id: &[u8], shards: u16) -> ShardId {
    let bits = u32::from(shards.max(1)).ilog2();
    let hash = leading(sha1(&[kind.as_bytes(), &[0], id]));
    // Shifting by 64 is not defined: one shard needs no bits.
    let top = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
    ShardId(u16::try_from(top).unwrap_or(u16::MAX))
}

/// The first `count` of a walk, where each of a zone not met yet goes before all that stand in a zone
/// met already. Who has no zone is a zone of its own.
pub(crate) fn other_zones_first<'a, T>(
    walk: impl Iterator<Item = T>,
    zone_of: impl Fn(&T) -> &'a str,
    count: usize,
) -> Vec<T> {
    let mut zones = BTreeSet::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for item in walk {
        if first.len() == count {
            break;
        }
        let zone = zone_of(&item);
        let elsewhere = zone.is_empty() || zones.insert(zone);
        if elsewhere { first.push(item) } else { later.push(item) }
    }
    first.extend(later);
    first.truncate(count);
    first
}

/// A node on the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    weight: u16,
    zone: String,
}

/// Why a ring was not changed. It is as it was: there is no partial addition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// Two nodes of one name. Next: the caller decides which of them it means.
    #[error("{0} is on the ring already")]
    Known(NodeId),
}

/// Nodes and their tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    nodes: BTreeMap<NodeId, Placed>,
    /// Sorted by point, then by name: equal points of two nodes are no tie.
    tokens: Vec<(u64, NodeId)>,
}

impl Ring {
    /// A ring of `members`: name, weight and zone (empty if none is set), in any order.
    ///
    /// # Errors
    /// [`RingError::Known`] if a name comes twice.
    pub fn build(
        members: impl IntoIterator<Item = (NodeId, u16, String)>,
    ) -> Result<Self, RingError> {
        let mut ring = Self::default();
        ring.add(members)?;
        Ok(ring)
    }

    /// Adds nodes, all or none.
    ///
    /// # Errors
    /// [`RingError::Known`] if a name is on the ring, or comes twice.
    pub fn add(
        &mut self,
        members: impl IntoIterator<Item = (NodeId, u16, String)>,
    ) -> Result<(), RingError> {
        let mut nodes = self.nodes.clone();
        let mut tokens = self.tokens.clone();
        for (node, weight, zone) in members {
            let count = u32::from(weight) * TOKENS_PER_WEIGHT;
            tokens.extend((0..count).map(|index| (token(&node, index), node.clone())));
            if nodes.insert(node.clone(), Placed { weight, zone }).is_some() {
                return Err(RingError::Known(node));
            }
        }
        tokens.sort_unstable();
        *self = Self { nodes, tokens };
        Ok(())
    }

    /// Takes a node off. Says whether it was on.
    pub fn remove(&mut self, node: &NodeId) -> bool {
        self.tokens.retain(|(_, holder)| holder != node);
        self.nodes.remove(node).is_some()
    }

    /// The tokens with their nodes, sorted.
    #[must_use]
    pub fn tokens(&self) -> &[(u64, NodeId)] {
        &self.tokens
    }

    /// The node of the first token at or after `point`; `None` on an empty ring.
    #[must_use]
    pub fn owner(&self, point: u64) -> Option<&NodeId> {
        self.from(point).next()
    }

    /// All nodes with a token, each once, in the order in which the walk from `point` meets them.
    pub fn clockwise(&self, point: u64) -> impl Iterator<Item = &NodeId> {
        let mut met = BTreeSet::new();
        self.from(point).filter(move |node| met.insert(*node))
    }

    /// The nodes for `point`, best first: distinct, the owner first, then nodes of zones not met
    /// yet, then the others; each group in ring order. A node without a zone is a zone of its own.
    ///
    /// Returns `min(copies, nodes)` entries. Cost: one binary search, then a walk that passes each
    /// token at most once.
    #[must_use]
    pub fn preference_list(&self, point: u64, copies: usize) -> Vec<&NodeId> {
        let zone = |node: &&NodeId| self.nodes.get(*node).map_or("", |placed| &placed.zone);
        other_zones_first(self.clockwise(point), zone, copies)
    }

    /// The nodes of all tokens, once around from `point`.
    fn from(&self, point: u64) -> impl Iterator<Item = &NodeId> {
        // A point equal to a token belongs to that token.
        let start = self.tokens.partition_point(|(token, _)| *token < point);
        let (before, after) = self.tokens.split_at(start);
        after.iter().chain(before).map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests;
