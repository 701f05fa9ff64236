//! What a voter shows of the quorum, and the hand-over of leadership.

use std::collections::BTreeMap;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;

use super::{RaftCore, Voter};
use crate::base::{NodeId, VoterId};

/// How a node takes part in raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoterRole {
    /// It votes.
    Voter,
    /// It gets the log, and is about to vote.
    Learner,
    /// It has no part in raft: it is told views and holds a lease.
    Client,
}

/// One node's part in raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterState {
    /// The node.
    pub node: NodeId,
    /// Its raft id; a node that was never a member may have none.
    pub id: Option<VoterId>,
    /// How it takes part.
    pub role: VoterRole,
    /// The last entry that it has as the leader has it. Only the leader knows, and of voters and
    /// learners only.
    pub matched: Option<u64>,
}

/// The quorum as one node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReport {
    /// Who leads, as far as this node has heard.
    pub leader: Option<NodeId>,
    /// Whether that is this node.
    pub leads: bool,
    /// Raft's term here. A client's is that of when it voted last, or 0.
    pub term: u64,
    /// The last entry of the log here.
    pub last_log: Option<u64>,
    /// The last entry applied here.
    pub applied: Option<u64>,
    /// A change of the voters is under way: two sets of voters decide together.
    pub is_joint: bool,
    /// Voters and learners, then the other members, each by name.
    pub nodes: Vec<VoterState>,
}

impl RaftCore {
    /// The quorum as this node knows it.
    #[must_use]
    pub fn report(&self) -> QuorumReport {
        let (leader, view) = (self.leader_hint(), self.view());
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voting: Vec<u64> = membership.voter_ids().collect();
        let matched = |id: u64| -> Option<u64> {
            if id == self.0.voter.0 && metrics.replication.is_some() {
                return metrics.last_log_index;
            }
            metrics.replication.as_ref()?.get(&id)?.map(|log| log.index)
        };
        let state = |(&id, voter): (&u64, &Voter)| VoterState {
            node: voter.node.clone(),
            id: Some(VoterId(id)),
            role: if voting.contains(&id) { VoterRole::Voter } else { VoterRole::Learner },
            matched: matched(id),
        };
        let mut nodes: Vec<_> = membership.nodes().map(state).collect();
        nodes.sort_by(|one, other| (one.role, &one.node).cmp(&(other.role, &other.node)));
        let clients = view.members.iter().filter(|(_, member)| {
            !member.voter.is_some_and(|id| membership.get_node(&id.0).is_some())
        });
        let client = |(node, id): (&NodeId, Option<VoterId>)| VoterState {
            node: node.clone(),
            id,
            role: VoterRole::Client,
            matched: None,
        };
        nodes.extend(clients.map(|(node, member)| client((node, member.voter))));
        QuorumReport {
            leads: leader.as_ref() == Some(&self.0.me),
            leader,
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|log| log.index),
            is_joint: membership.get_joint_config().len() > 1,
            nodes,
        }
    }

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
