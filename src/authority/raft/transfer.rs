//! The hand-over of leadership.

use std::collections::BTreeMap;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;

use super::RaftCore;
use crate::base::{NodeId, VoterId};

impl RaftCore {
    /// Hands the leadership to the other voter that is heard and has most of the log, and says to
    /// whom; `None` if this node does not lead, or nobody else is heard. It proposes nothing from
    /// then on, until it is elected again: where the other one dies at that moment, an election
    /// decides as after the death of a leader.
    pub async fn transfer_leadership(&self) -> Option<NodeId> {
        let to = self.successor()?;
        let voter = self.voters().remove(&to)?;
        tracing::warn!(to = %voter.node, "the leadership is handed over");
        let handed = self.0.raft.trigger().transfer_leader(to.0).await;
        handed.ok().map(|()| voter.node)
    }

    /// Who would lead best after this node.
    fn successor(&self) -> Option<VoterId> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (heard, matched) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let voting: BTreeMap<u64, _> = metrics
            .membership_config
            .membership()
            .voter_ids()
            .filter(|id| *id != self.0.voter.0)
            .filter_map(|id| heard.get(&id).copied().flatten().map(|when| (id, *when)))
            .collect();
        // Whoever was heard a whole election earlier than another one may be dead.
        let newest = voting.values().max()?;
        let is_heard = |when| newest.saturating_duration_since(when) < self.0.profile.election_min;
        let sound = voting.iter().filter(|(_, when)| is_heard(**when)).map(|(id, _)| *id);
        let best = sound.max_by_key(|id| (matched.get(id).copied().flatten(), u64::MAX - *id));
        best.map(VoterId)
    }
}
