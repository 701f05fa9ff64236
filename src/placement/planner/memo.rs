//! Hashes of names and shards, kept from one plan to the next: they never change, and making them
//! is most of the cost of a plan that walks the ring.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{NodeId, ShardId};
use crate::ring::{TOKENS_PER_WEIGHT, sha1, shard_point, token};

/// Circles of nodes from which sets of stores are cut.
pub(super) const CIRCLES: usize = 2;

/// Where a node stands on each circle.
pub(super) type Places = [[u8; 20]; CIRCLES];

/// A node's tokens, sorted.
pub(super) type Tokens = Arc<[u64]>;

/// What was hashed already. Holds at most twice as many nodes as the last plan had, and a few.
#[derive(Debug, Clone, Default)]
pub(super) struct Memo {
    nodes: BTreeMap<NodeId, Known>,
    points: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Known {
    places: Places,
    weight: u16,
    tokens: Option<Tokens>,
}

impl Memo {
    fn known(&mut self, node: &NodeId) -> &mut Known {
        self.nodes.entry(node.clone()).or_insert_with(|| {
            let place = |circle: u8| sha1(&[node.as_str().as_bytes(), b"/", &[b'0' + circle]]);
            Known { places: [place(0), place(1)], weight: 0, tokens: None }
        })
    }

    /// Where `node` stands on each circle.
    pub(super) fn places(&mut self, node: &NodeId) -> Places {
        self.known(node).places
    }

    /// The tokens of `node` under `weight`.
    pub(super) fn tokens(&mut self, node: &NodeId, weight: u16) -> Tokens {
        let known = self.known(node);
        if let Some(tokens) = known.tokens.as_ref().filter(|_| known.weight == weight) {
            return tokens.clone();
        }
        let count = u32::from(weight) * TOKENS_PER_WEIGHT;
        let mut tokens: Vec<u64> = (0..count).map(|index| token(node, index)).collect();
        tokens.sort_unstable();
        let tokens: Tokens = tokens.into();
        known.weight = weight;
        known.tokens = Some(tokens.clone());
        tokens
    }

    /// The point of `shard` on the ring.
    pub(super) fn point(&mut self, shard: ShardId) -> u64 {
        let from = u16::try_from(self.points.len()).unwrap_or(u16::MAX);
        self.points.extend((from..=shard.0).map(|number| shard_point(ShardId(number))));
        self.points[usize::from(shard.0)]
    }

    /// Forgets nodes that `names` does not hold, once there are many of them.
    pub(super) fn keep<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a NodeId>) {
        if self.nodes.len() > 2 * names.len() + 16 {
            let mut kept = BTreeMap::new();
            for name in names {
                if let Some(entry) = self.nodes.remove_entry(name) {
                    kept.insert(entry.0, entry.1);
                }
            }
            self.nodes = kept;
        }
    }
}

/// How far the first of `tokens` lies clockwise from `point`: of two nodes the one with the smaller
/// gap comes first on the ring walk, and of equal gaps the one with the smaller name. The largest
/// gap where there is no token.
pub(super) fn gap(tokens: &[u64], point: u64) -> u64 {
    let next = tokens.partition_point(|token| *token < point);
    // Past the last token the walk goes on at the first one.
    let token = tokens.get(next).or_else(|| tokens.first());
    token.map_or(u64::MAX, |token| token.wrapping_sub(point))
}
