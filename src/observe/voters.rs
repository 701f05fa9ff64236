//! Who agrees on the views: voters, learners and lease clients, how far each is, and how many may
//! fail.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hex;
use crate::authority::{QuorumState, Voter};
use crate::base::{Boot, NodeId, Version, VoterId};
use crate::placement::View;

/// The voters of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotersReport {
    /// The cluster, in hex digits.
    pub cluster: String,
    /// Who was asked, and asked the others.
    pub asked: NodeId,
    /// Of the view that it has applied.
    pub version: Version,
    /// Who leads, in the newest term that was heard of; `None` while there is an election.
    pub leader: Option<NodeId>,
    /// That term.
    pub term: u64,
    /// Index of the leader's last entry; without a leader, of the furthest voter's.
    pub last_log: u64,
    /// Index of the last entry that is agreed.
    pub committed: u64,
    /// How many voters must agree; while one set of voters takes the other's place, of the set
    /// that needs more.
    pub quorum: u32,
    /// How many voters may fail, if all work.
    pub may_fail: u32,
    /// How many more may fail, of those that answered; `None`: they are too few to agree.
    pub may_fail_now: Option<u32>,
    /// One set of voters takes the other's place; both must agree.
    pub is_changing: bool,
    /// Voters and learners, by name.
    pub voters: Vec<VoterRow>,
    /// Members that do neither: they hold leases, and are told the views.
    pub clients: Vec<NodeId>,
}

/// What a node is to the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VoterRole {
    /// Votes.
    Voter,
    /// Is told the log, and does not vote yet, or not any more.
    Learner,
    /// Votes once the set that is to come is in force.
    Coming,
    /// Votes until then.
    Going,
}

/// One voter or learner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterRow {
    /// Its node.
    pub node: NodeId,
    /// Its raft id, in hex digits.
    #[serde(with = "hex")]
    pub voter: VoterId,
    /// What it is to the quorum.
    pub role: VoterRole,
    /// Whether it leads.
    pub leads: bool,
    /// Where it is reached, `host:port`.
    pub addr: String,
    /// Failure zone; empty for none.
    pub zone: String,
    /// Whether its node is a member at present.
    pub is_member: bool,
    /// What it says of itself; `None` if it gave no answer.
    pub said: Option<VoterSaid>,
    /// Why it gave no answer.
    pub no_answer: Option<String>,
    /// Entries it lacks, as the leader knows.
    pub behind: Option<u64>,
    /// Since its last answer to the leader, in milliseconds.
    pub silent_ms: Option<u64>,
}

/// What a voter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSaid {
    /// Its life.
    pub boot: Boot,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it has heard.
    pub leader: Option<NodeId>,
    /// Index of its last entry.
    pub last_log: u64,
    /// Index of the last entry that is part of its view.
    pub applied: u64,
}

/// What a node says of its voter, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoterStatus {
    /// The node.
    pub(super) node: NodeId,
    /// Its life.
    pub(super) boot: Boot,
    /// What it knows.
    pub(super) state: QuorumState,
}

/// What each of those that were asked answered, or why it did not.
pub(super) type VoterAnswers = BTreeMap<NodeId, Result<VoterStatus, String>>;

impl VotersReport {
    /// Reports what `answers` say; what is agreed of the members is in `view`.
    pub(super) fn new(view: &View, asked: &NodeId, answers: &VoterAnswers) -> Self {
        let heard: BTreeMap<&NodeId, &VoterStatus> = answers
            .iter()
            .filter_map(|(node, answer)| Some((node, answer.as_ref().ok()?)))
            .collect();
        let best = best(&heard);
        let nothing = QuorumState::default();
        let state = best.map_or(&nothing, |status| &status.state);
        let leads = |status: &&&VoterStatus| is_leader(status) && status.state.term == state.term;
        let leader = heard.values().find(leads).map(|status| &status.node);
        // One that leads and does not answer is still known by the others.
        let told = || state.leader.and_then(|voter| state.nodes.get(&voter));
        let leader = leader.or_else(|| told().map(|voter| &voter.node)).cloned();
        let rows: Vec<VoterRow> =
            state.nodes.iter().map(|known| row(view, state, known, answers)).collect();
        let answered: BTreeSet<VoterId> =
            rows.iter().filter(|row| row.said.is_some()).map(|row| row.voter).collect();
        let mut voters: Vec<VoterRow> = rows
            .into_iter()
            .map(|row| {
                let leads = leader.as_ref() == Some(&row.node);
                // It does not wait for an answer of its own.
                let silent_ms = row.silent_ms.filter(|_| !leads);
                VoterRow { leads, silent_ms, ..row }
            })
            .collect();
        voters.sort_by(|one, other| one.node.cmp(&other.node));
        let named: BTreeSet<&NodeId> = voters.iter().map(|row| &row.node).collect();
        let clients = view.members.keys().filter(|node| !named.contains(node)).cloned().collect();
        let spare = |of: &dyn Fn(&BTreeSet<VoterId>) -> usize| {
            let halves = state.voters.iter();
            halves.map(|half| of(half).checked_sub(majority(half.len()))).min().flatten()
        };
        let furthest = heard.values().map(|status| status.state.last_log).max();
        Self {
            cluster: view.cluster.to_string(),
            asked: asked.clone(),
            version: view.version,
            term: state.term,
            last_log: if best.is_some_and(is_leader) {
                state.last_log
            } else {
                furthest.unwrap_or(0)
            },
            committed: heard.values().map(|status| status.state.committed).max().unwrap_or(0),
            quorum: few(state.voters.iter().map(|half| majority(half.len())).max().unwrap_or(0)),
            may_fail: few(spare(&BTreeSet::len).unwrap_or(0)),
            may_fail_now: spare(&|half| half.intersection(&answered).count()).map(few),
            is_changing: state.voters.len() > 1,
            leader,
            voters,
            clients,
        }
    }
}

/// How many of so many must agree.
fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// A count of voters.
fn few(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether it says that it leads itself.
fn is_leader(status: &VoterStatus) -> bool {
    let own = status.state.leader.and_then(|voter| status.state.nodes.get(&voter));
    own.is_some_and(|voter| voter.node == status.node)
}

/// Whose word counts: the leader's of the newest term, else that of the one furthest on.
fn best<'a>(heard: &BTreeMap<&NodeId, &'a VoterStatus>) -> Option<&'a VoterStatus> {
    let order = |status: &&VoterStatus| {
        let state = &status.state;
        (!state.voters.is_empty(), state.term, is_leader(status), state.last_log)
    };
    heard.values().copied().max_by_key(order)
}

fn row(
    view: &View,
    state: &QuorumState,
    (voter, known): (&VoterId, &Voter),
    answers: &VoterAnswers,
) -> VoterRow {
    let (voter, node, addr) = (*voter, known.node.clone(), known.addr.clone());
    let member = view.members.get(&node).filter(|one| one.voter.is_none_or(|own| own == voter));
    let progress = state.progress.get(&voter);
    let (said, no_answer) = match answers.get(&node) {
        Some(Ok(status)) => (Some(VoterSaid::of(status)), None),
        Some(Err(why)) => (None, Some(why.clone())),
        None => (None, Some("it was not asked: the asked node has not heard of it".into())),
    };
    VoterRow {
        role: role(&state.voters, voter),
        leads: false,
        zone: member.map(|one| one.zone.clone()).unwrap_or_default(),
        is_member: member.is_some(),
        behind: progress.map(|one| state.last_log.saturating_sub(one.matched.unwrap_or(0))),
        silent_ms: progress.and_then(|one| one.silent).map(millis),
        node,
        voter,
        addr,
        said,
        no_answer,
    }
}

fn role(halves: &[BTreeSet<VoterId>], voter: VoterId) -> VoterRole {
    let within = |half: Option<&BTreeSet<VoterId>>| half.is_some_and(|half| half.contains(&voter));
    match (within(halves.first()), within(halves.last())) {
        (true, true) => VoterRole::Voter,
        (true, false) => VoterRole::Going,
        (false, true) => VoterRole::Coming,
        (false, false) => VoterRole::Learner,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl VoterSaid {
    fn of(status: &VoterStatus) -> Self {
        let VoterStatus { boot, state, .. } = status;
        let leader = state.leader.and_then(|voter| state.nodes.get(&voter));
        Self {
            boot: *boot,
            term: state.term,
            leader: leader.map(|voter| voter.node.clone()),
            last_log: state.last_log,
            applied: state.applied,
        }
    }
}

#[cfg(test)]
mod tests;
