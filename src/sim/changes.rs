//! What became other in the view, counted: that a run came to it, and did not pass for want of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{NodeId, Version};
use crate::placement::{Status, View};

/// Counts over the views that were seen, each version once. What began and ended between two steps
/// is not counted.
#[derive(Debug, Default, Clone)]
pub struct Changes {
    /// Nodes that ceased to vote, as others do in their place.
    pub voters_replaced: u64,
    /// Nodes that began to drain.
    pub drains: u64,
    /// Changes of D.
    pub leases: u64,
    version: Version,
    voters: BTreeSet<NodeId>,
    draining: BTreeSet<NodeId>,
    lease: Option<Duration>,
}

impl Changes {
    /// Looks at a view that a node shows.
    pub(super) fn look(&mut self, view: &View) {
        if view.version <= self.version || !view.is_formed() {
            return;
        }
        self.version = view.version;
        let before = std::mem::replace(&mut self.voters, view.voters.values().cloned().collect());
        // While one takes the place of another both are there.
        self.voters_replaced += before.difference(&self.voters).count() as u64;
        let drains = view.members.iter().filter(|(_, member)| member.status == Status::Leaving);
        let draining = drains.map(|(node, _)| node.clone()).collect();
        let before = std::mem::replace(&mut self.draining, draining);
        self.drains += self.draining.difference(&before).count() as u64;
        let lease = view.constants.as_ref().map(|all| all.profile.lease);
        let before = std::mem::replace(&mut self.lease, lease);
        self.leases += u64::from(before.is_some() && before != lease);
    }
}
