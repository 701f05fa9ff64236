//! Changes of the voters, made by the leader.

use std::collections::{BTreeMap, BTreeSet};

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::Precondition;
use openraft::{ChangeMembers, ServerState};

use super::message::ProposeReply;
use super::types::{LeaderKey, LogId, Tc};
use super::{RaftCore, Voter};
use crate::authority::voters::{Quorum, fewer_voters};
use crate::base::{Instant, NodeId, VoterId, within};

/// A learner that lacks at most so many entries has the log: it gets the rest while it votes.
const LAG_MAX: u64 = 16;

/// The membership that a change is decided from, and under whose leadership.
#[derive(Debug, Clone, Copy)]
pub(in crate::authority) struct Seen {
    key: LeaderKey,
    membership: Option<LogId>,
}

impl RaftCore {
    /// Raft's membership, if this node leads under `key`.
    pub(in crate::authority) async fn quorum(&self, key: LeaderKey) -> Option<(Quorum, Seen)> {
        let asked = self.0.raft.with_raft_state(|state| {
            let leads = state.server_state == ServerState::Leader && state.vote_ref().committed;
            let membership = &state.membership_state;
            leads.then(|| {
                let (effective, committed) = (membership.effective(), membership.committed());
                let key = LeaderKey::of(state.vote_ref().leader_id);
                (key, effective.clone(), effective.log_id() == committed.log_id())
            })
        });
        let (now, membership, is_settled) = asked.await.ok().flatten()?;
        if now != key || key.voter != self.0.voter {
            return None;
        }
        let ids = |set: &BTreeSet<u64>| set.iter().copied().map(VoterId).collect();
        let nodes = membership.nodes().map(|(id, voter)| (VoterId(*id), voter.node.clone()));
        let quorum = Quorum {
            me: self.0.voter,
            halves: membership.get_joint_config().iter().map(ids).collect(),
            nodes: nodes.collect(),
            caught_up: self.caught_up(),
            heard: self.heard(),
            is_settled,
        };
        Some((quorum, Seen { key, membership: *membership.log_id() }))
    }

    /// Who has the log, but for the last few entries.
    fn caught_up(&self) -> BTreeSet<VoterId> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or_default();
        let matched = metrics.replication.iter().flatten();
        let has_it = |log: &Option<LogId>| log.is_some_and(|log| log.index + LAG_MAX >= last);
        matched.filter(|(_, log)| has_it(log)).map(|(id, _)| VoterId(*id)).collect()
    }

    /// Who has answered within two elections, this node included.
    fn heard(&self) -> BTreeSet<VoterId> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let patience = self.0.profile.election_max * 2;
        let lately =
            metrics.heartbeat.iter().flatten().filter(|(_, heard)| {
                heard.as_ref().is_some_and(|heard| heard.elapsed() < patience)
            });
        lately.map(|(id, _)| VoterId(*id)).chain([self.0.voter]).collect()
    }

    /// Begins to send the log to `voter`, which does not vote yet. Does not wait for it.
    ///
    /// # Errors
    /// In words; whether it was done is unknown.
    pub(in crate::authority) async fn teach(
        &self,
        seen: Seen,
        (id, voter): (VoterId, Voter),
        deadline: Instant,
    ) -> Result<(), String> {
        self.0.carrier.learn(&voter);
        let nodes = BTreeMap::from([(id.0, voter)]);
        self.change_members(seen, ChangeMembers::AddNodes(nodes), deadline).await
    }

    /// Ends the part in raft of a learner.
    ///
    /// # Errors
    /// In words; whether it was done is unknown.
    pub(in crate::authority) async fn forget(
        &self,
        seen: Seen,
        id: VoterId,
        deadline: Instant,
    ) -> Result<(), String> {
        let nodes = BTreeSet::from([id.0]);
        self.change_members(seen, ChangeMembers::RemoveNodes(nodes), deadline).await
    }

    /// Makes `voters`, all of them voters or learners, the voters: first both sets decide together,
    /// then the new one alone. A change that was begun is finished by calling it with its newer
    /// set. Who is left out has no part in raft any more.
    ///
    /// # Errors
    /// In words; none, the first or both steps may have been done.
    pub(in crate::authority) async fn change_voters(
        &self,
        seen: Seen,
        voters: &BTreeSet<VoterId>,
        deadline: Instant,
    ) -> Result<(), String> {
        let voters = voters.iter().map(|id| id.0).collect();
        self.change_members(seen, ChangeMembers::ReplaceAllVoters(voters), deadline).await
    }

    /// [`RaftCore::without_voter`] at the leader, if this is it. One that leads itself and is to go
    /// hands over first.
    pub(super) async fn without_voter_here(
        &self,
        node: &NodeId,
        deadline: Instant,
    ) -> ProposeReply {
        let Some(key) = self.leader_key().await else {
            return ProposeReply::NotLeader(self.leader_hint());
        };
        let Some((quorum, seen)) = self.quorum(key).await else {
            return ProposeReply::NotExecuted("the leadership has just ended".into());
        };
        if *node == self.0.me && quorum.nodes.len() > 1 {
            return ProposeReply::NotLeader(self.transfer_leadership().await);
        }
        let voters = match fewer_voters(&self.view(), &quorum, node) {
            Ok(voters) => voters,
            Err(why) => return ProposeReply::NotExecuted(why),
        };
        tracing::warn!(?voters, %node, "the voters become fewer, as an operator wants");
        match self.change_voters(seen, &voters, deadline).await {
            Ok(()) => ProposeReply::Done(Vec::new()),
            Err(why) => ProposeReply::Unknown(why),
        }
    }

    async fn change_members(
        &self,
        Seen { key, membership }: Seen,
        change: ChangeMembers<u64, Voter>,
        deadline: Instant,
    ) -> Result<(), String> {
        // Decided from this membership, by this leadership: nothing is changed under another.
        let conditions = [
            Precondition::<Tc>::CommittedLeaderId { committed_leader_id: key.leader_id() },
            Precondition::LastMembershipLogId { last_membership_log_id: membership },
        ];
        let changing = self.0.raft.change_membership_if(change, false, conditions);
        match within(&*self.0.seams.clock, deadline, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(elapsed) => Err(elapsed.to_string()),
        }
    }
}
