//! The circle that ranks nodes for a shard. PURE.
//!
//! Every node puts 128 tokens per unit of weight on a circle of 64-bit points, each hashed from its
//! name; a shard is a point on the same circle. Walking clockwise from it and passing over nodes
//! already met gives the order in which nodes are wanted for it. A node that comes or goes changes
//! that order only where its own tokens lie, so little moves.
//!
//! Nothing here depends on the order in which nodes were added: two nodes that know the same
//! members rank alike, whatever their platform and build.
//!
//! Source: Karger et al., STOC 1997; preference list: `DeCandia` et al. (Dynamo), SOSP 2007, 4.3;
//! fixed shards on the ring: the same, 6.2, strategy 3.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic))]

mod hash;
mod points;
mod range;

use std::collections::BTreeSet;

pub use hash::{point, sha1, shard_of, shard_point, token};
pub use range::{Change, Range};

use crate::base::NodeId;
use points::Points;

/// Virtual nodes per unit of weight.
pub const TOKENS_PER_WEIGHT: u32 = 128;

/// Most nodes on a ring: each token holds its node's number in two bytes.
pub const NODES_MAX: usize = 1 << 16;

/// The first `count` of a walk, where each of a zone not met yet goes before all that stand in a
/// zone met already. Who has no zone is a zone of its own.
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
    name: NodeId,
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

    /// One node too many. Next: nothing; no cluster is that large.
    #[error("{0} does not fit: a ring has at most {NODES_MAX} nodes")]
    Full(NodeId),
}

/// Nodes and their tokens.
///
/// | what    | shape                         | order                                        |
/// |---------|-------------------------------|----------------------------------------------|
/// | nodes   | at most [`NODES_MAX`]         | by name: equal whatever was added first      |
/// | tokens  | nodes × 128 × weight, `u64`   | by point, then name: equal points are no tie |
///
/// A token takes at most 26 bytes. A look-up reads a few words, however many tokens there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    nodes: Vec<Placed>,
    points: Points,
    /// The node of each point, as its place in `nodes`.
    holders: Vec<u16>,
    /// How many nodes have a token.
    ranked: usize,
}

impl Ring {
    /// A ring of `members`: name, weight and zone (empty if none is set), in any order. A node of
    /// weight 0 has no tokens.
    ///
    /// # Errors
    /// [`RingError`]: a name comes twice, or there are too many.
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
    /// [`RingError`]: a name is on the ring or comes twice, or there are too many.
    pub fn add(
        &mut self,
        members: impl IntoIterator<Item = (NodeId, u16, String)>,
    ) -> Result<(), RingError> {
        self.add_at(members, |node, weight| {
            let node = node.clone();
            (0..u32::from(weight) * TOKENS_PER_WEIGHT).map(move |index| token(&node, index))
        })
    }

    /// Adds nodes whose tokens lie where `points` says for a name and its weight.
    fn add_at<P: Iterator<Item = u64>>(
        &mut self,
        members: impl IntoIterator<Item = (NodeId, u16, String)>,
        points: impl Fn(&NodeId, u16) -> P,
    ) -> Result<(), RingError> {
        let mut nodes = self.nodes.clone();
        let mut tokens: Vec<(u64, u16)> = self.held().collect();
        let mut names: BTreeSet<NodeId> = nodes.iter().map(|node| node.name.clone()).collect();
        for (name, weight, zone) in members {
            if !names.insert(name.clone()) {
                return Err(RingError::Known(name));
            }
            let Ok(holder) = u16::try_from(nodes.len()) else { return Err(RingError::Full(name)) };
            tokens.extend(points(&name, weight).map(|point| (point, holder)));
            nodes.push(Placed { name, weight, zone });
        }
        *self = Self::sorted(nodes, tokens);
        Ok(())
    }

    /// A ring of nodes in any order and tokens in any order, whose holders are places in `nodes`.
    fn sorted(nodes: Vec<Placed>, mut tokens: Vec<(u64, u16)>) -> Self {
        let mut by_name: Vec<(Placed, u16)> = nodes.into_iter().zip(0..=u16::MAX).collect();
        by_name.sort_unstable_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        let mut places = vec![0; by_name.len()];
        for ((_, before), place) in by_name.iter().zip(0..=u16::MAX) {
            places[usize::from(*before)] = place;
        }
        for (_, holder) in &mut tokens {
            *holder = places[usize::from(*holder)];
        }
        tokens.sort_unstable();
        Self::of_sorted(by_name.into_iter().map(|(node, _)| node).collect(), tokens)
    }

    /// A ring of nodes in the order of their names and tokens in theirs.
    fn of_sorted(nodes: Vec<Placed>, tokens: Vec<(u64, u16)>) -> Self {
        let (points, holders): (Vec<u64>, Vec<u16>) = tokens.into_iter().unzip();
        let mut has_token = vec![false; nodes.len()];
        for holder in &holders {
            has_token[usize::from(*holder)] = true;
        }
        let ranked = has_token.into_iter().filter(|has| *has).count();
        Self { nodes, points: Points::new(points), holders, ranked }
    }

    /// Takes a node off. Says whether it was on.
    pub fn remove(&mut self, node: &NodeId) -> bool {
        let Ok(place) = self.nodes.binary_search_by(|placed| placed.name.cmp(node)) else {
            return false;
        };
        let stay = self.held().filter(|(_, holder)| usize::from(*holder) != place);
        // Who comes after it by name moves up by one place.
        let moved = |holder: u16| holder - u16::from(usize::from(holder) > place);
        let tokens = stay.map(|(point, holder)| (point, moved(holder))).collect();
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.remove(place);
        *self = Self::of_sorted(nodes, tokens);
        true
    }

    /// The tokens with their nodes, sorted by point, then by name.
    #[must_use]
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = (u64, &NodeId)> {
        self.held().map(|(point, holder)| (point, self.name(holder)))
    }

    /// The node of the first token at or after `point`; `None` if there is no token. A point equal
    /// to a token belongs to that token.
    ///
    /// Cost: a constant few reads; nothing is allocated.
    #[must_use]
    pub fn owner(&self, point: u64) -> Option<&NodeId> {
        let holder = self.holders.get(self.points.first_from(point)).or(self.holders.first())?;
        Some(self.name(*holder))
    }

    /// All nodes with a token, each once, in the order in which the walk from `point` meets them.
    pub fn clockwise(&self, point: u64) -> impl Iterator<Item = &NodeId> {
        self.walk(point).map(|placed| &placed.name)
    }

    /// The nodes for `point`, best first: distinct, the owner first, then nodes of zones not met
    /// yet, then the others; each group in ring order. A node without a zone is a zone of its own.
    ///
    /// Returns `min(copies, nodes with tokens)` entries. Cost: a look-up, then a walk that passes
    /// each token at most once.
    #[must_use]
    pub fn preference_list(&self, point: u64, copies: usize) -> Vec<&NodeId> {
        let list = other_zones_first(self.walk(point), |placed| &placed.zone, copies);
        list.into_iter().map(|placed| &placed.name).collect()
    }

    /// All nodes with a token, each once, as the walk from `point` meets them.
    fn walk(&self, point: u64) -> impl Iterator<Item = &Placed> {
        let (before, after) = self.holders.split_at(self.points.first_from(point));
        let mut met = vec![false; self.nodes.len()];
        let holders = after.iter().chain(before).map(|holder| usize::from(*holder));
        let fresh = holders.filter(move |&holder| !std::mem::replace(&mut met[holder], true));
        // When all are met, the rest of the circle has nothing new.
        fresh.take(self.ranked).map(|holder| &self.nodes[holder])
    }

    fn name(&self, holder: u16) -> &NodeId {
        &self.nodes[usize::from(holder)].name
    }

    /// The tokens with the places of their nodes.
    fn held(&self) -> impl ExactSizeIterator<Item = (u64, u16)> {
        self.points.as_slice().iter().copied().zip(self.holders.iter().copied())
    }

    /// Says who owns each of the points that it is asked for in rising order.
    fn owners<'a>(&'a self) -> impl FnMut(u64) -> Option<&'a NodeId> {
        let mut at = 0;
        move |point| {
            while self.points.as_slice().get(at).is_some_and(|&token| token < point) {
                at += 1;
            }
            let holder = self.holders.get(at).or(self.holders.first())?;
            Some(self.name(*holder))
        }
    }
}

impl Default for Ring {
    /// A ring without nodes.
    fn default() -> Self {
        Self::of_sorted(Vec::new(), Vec::new())
    }
}

#[cfg(test)]
mod tests;
