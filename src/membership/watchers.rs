//! Who watches whom: every node is watched by the few that come after it on a ring of hashed names.
//!
//! Each node sends heartbeats to a fixed number of others, however large the cluster is, and every
//! node has as many that will miss it. Source: Pekko, `HeartbeatNodeRing`.

use std::collections::BTreeSet;

use crate::base::NodeId;
use crate::ring;

/// The ring of all nodes that are members.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchRing {
    /// By hash of the name, then by name.
    places: BTreeSet<(u64, NodeId)>,
}

fn place(node: &NodeId) -> (u64, NodeId) {
    (ring::token(node, 0), node.clone())
}

impl WatchRing {
    pub(super) fn insert(&mut self, node: &NodeId) {
        self.places.insert(place(node));
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.places.remove(&place(node));
    }

    /// The other nodes in the order in which they lie before `node`, nearest first.
    pub(super) fn before<'r>(&'r self, node: &'r NodeId) -> impl Iterator<Item = &'r NodeId> {
        let from = place(node);
        let earlier = self.places.range(..&from).rev();
        let later = self.places.range(&from..).rev();
        earlier.chain(later).map(|(_, name)| name).filter(move |name| *name != node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: usize) -> NodeId {
        format!("n{index}").parse().expect("a name")
    }

    fn ring(count: usize) -> WatchRing {
        let mut ring = WatchRing::default();
        (0..count).for_each(|index| ring.insert(&name(index)));
        ring
    }

    fn receivers(ring: &WatchRing, node: &NodeId, count: usize) -> Vec<NodeId> {
        ring.before(node).take(count).cloned().collect()
    }

    #[test]
    fn f10_each_node_has_three_receivers_of_its_heartbeats_and_never_itself() {
        let six = ring(6);
        for node in (0..6).map(name) {
            let three = receivers(&six, &node, 3);
            assert!(three.len() == 3 && !three.contains(&node), "{three:?}");
            for count in [5, 6, 7] {
                let mut all = receivers(&six, &node, count);
                all.sort();
                let others: Vec<_> = (0..6).map(name).filter(|other| *other != node).collect();
                assert_eq!(all, others, "{count} receivers");
            }
        }
        assert_eq!(receivers(&ring(1), &name(0), 3), []);
    }

    #[test]
    fn each_node_is_watched_by_three() {
        let mut many = ring(50);
        many.remove(&name(7));
        let mut watchers = std::collections::BTreeMap::new();
        for watcher in (0..50).filter(|index| *index != 7).map(name) {
            for node in receivers(&many, &watcher, 3) {
                *watchers.entry(node).or_insert(0) += 1;
            }
        }
        assert_eq!(watchers.len(), 49);
        assert!(watchers.values().all(|count| *count == 3), "{watchers:?}");
    }
}
