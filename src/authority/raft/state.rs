//! What a voter knows of its quorum, for people. Nothing is decided by it: it is read off the
//! metrics, which coalesce.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};

use super::RaftCore;
use super::types::Voter;
use crate::base::VoterId;

/// What one voter knows of its quorum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumState {
    /// Raft's term.
    pub term: u64,
    /// Who leads in it, as far as it has heard.
    pub leader: Option<VoterId>,
    /// Index of the last entry of its log; 0 if there is none.
    pub last_log: u64,
    /// Index of the last entry that it knows to be agreed.
    pub committed: u64,
    /// Index of the last entry that is part of its view.
    pub applied: u64,
    /// Who votes, by the membership in force here; two sets while one takes the other's place.
    pub voters: Vec<BTreeSet<VoterId>>,
    /// Where all of them are, and those that only learn.
    pub nodes: BTreeMap<VoterId, Voter>,
    /// How far the others are, as the leader knows; empty at all others.
    pub progress: BTreeMap<VoterId, Progress>,
}

/// How far another is, as the leader knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Index of the last entry that it is known to hold.
    pub matched: Option<u64>,
    /// Since its last answer.
    pub silent: Option<Duration>,
}

impl RaftCore {
    /// What this voter knows of its quorum.
    #[must_use]
    pub fn quorum_state(&self) -> QuorumState {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let set = |ids: &BTreeSet<u64>| ids.iter().copied().map(VoterId).collect();
        let mut progress: BTreeMap<VoterId, Progress> = BTreeMap::new();
        for (voter, matched) in metrics.replication.iter().flatten() {
            let matched = matched.as_ref().map(|id| id.index);
            progress.entry(VoterId(*voter)).or_default().matched = matched;
        }
        for (voter, heard) in metrics.heartbeat.iter().flatten() {
            let silent = heard.as_ref().map(|heard| heard.elapsed());
            progress.entry(VoterId(*voter)).or_default().silent = silent;
        }
        let index = |id: &Option<super::types::LogId>| id.as_ref().map_or(0, |id| id.index);
        QuorumState {
            term: metrics.current_term,
            leader: metrics.current_leader.map(VoterId),
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: index(&metrics.cluster_committed).max(index(&metrics.local_committed)),
            applied: index(&metrics.last_applied),
            voters: membership.get_joint_config().iter().map(set).collect(),
            nodes: membership.nodes().map(|(id, one)| (VoterId(*id), one.clone())).collect(),
            progress,
        }
    }
}
