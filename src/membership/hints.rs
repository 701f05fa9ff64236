//! Whom to route around at present.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::NodeId;

/// The nodes that seem gone: unreachable, more silent than their habits explain, or with a broken
/// link since which nothing arrived. What is sent to one of them would most likely be lost, and is
/// better held until it is heard or the cluster has placed its shards elsewhere. Cheap to clone and
/// to ask.
#[derive(Debug, Clone, Default)]
pub struct Hints(Arc<ArcSwap<BTreeSet<NodeId>>>);

impl Hints {
    /// Whether `node` seems gone.
    #[must_use]
    pub fn avoids(&self, node: &NodeId) -> bool {
        let gone = self.0.load();
        // The rule, and no look-up for it.
        !gone.is_empty() && gone.contains(node)
    }

    /// Nobody seems gone any more: the life that saw it is over.
    pub(crate) fn clear(&self) {
        self.set(BTreeSet::new());
    }

    /// These seem gone now, and no others.
    pub(crate) fn set(&self, gone: BTreeSet<NodeId>) {
        if **self.0.load() != gone {
            self.0.store(Arc::new(gone));
        }
    }
}
