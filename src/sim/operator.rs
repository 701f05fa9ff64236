//! The operator of a world: drains nodes, and sets the lease D, while faults go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{Clock, NodeId};
use crate::node::Node;
use crate::observe::SetAsk;
use crate::placement::{Status, View};

/// How often each node is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// How the operator wants the cluster to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) drained: BTreeSet<NodeId>,
    pub(super) lease: Duration,
}

impl Wanted {
    /// Whether it is so, and D is settled.
    pub(super) fn is_so(&self, view: &View) -> bool {
        let constants = view.constants.as_ref();
        let is_settled = constants.is_some_and(|all| all.lease_before.is_none());
        is_settled && !self.lease_differs(view) && self.differing(view).is_none()
    }

    fn lease_differs(&self, view: &View) -> bool {
        view.constants.as_ref().is_some_and(|all| all.profile.lease != self.lease)
    }

    /// The first node that drains though it should not, or does not though it should, and whether
    /// it should.
    fn differing(&self, view: &View) -> Option<(NodeId, bool)> {
        view.members.iter().find_map(|(node, member)| {
            let wanted = self.drained.contains(node);
            let drains = member.status == Status::Leaving;
            (wanted != drains).then(|| (node.clone(), wanted))
        })
    }
}

/// An operator who asks every node that he reaches for what he wants and does not see there.
/// Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Operator(Arc<Mutex<Wanted>>);

impl Operator {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self(Arc::new(Mutex::new(wanted)))
    }

    /// He wants this from now on. What he asked for before may still be agreed later: then he asks
    /// again.
    pub(super) fn want(&self, wanted: Wanted) {
        *self.0.lock() = wanted;
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.0.lock().clone()
    }

    /// What he does at `node`, without end.
    pub(super) async fn run(&self, node: &Node, clock: &dyn Clock) {
        loop {
            clock.sleep(EVERY).await;
            let (wanted, view) = (self.wanted(), node.view());
            if let Some((who, on)) = wanted.differing(&view) {
                let drained = node.drain(&who, on).await;
                tracing::debug!(at = %node.name(), %who, on, ?drained, "drain");
            }
            if wanted.lease_differs(&view) {
                let lease = Some(wanted.lease);
                let ask = SetAsk { lease, seen: view.constants.clone(), ..SetAsk::default() };
                let set = node.set(&ask).await;
                tracing::debug!(at = %node.name(), ?lease, ?set, "set");
            }
        }
    }
}
