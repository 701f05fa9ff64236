//! Who votes, who leads and who may speak raft, as far as this node knows: from raft itself, or
//! from what other nodes told it where raft does not reach.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use parking_lot::Mutex;

use super::types::Membership;
use super::{RaftCore, Voter};
use crate::base::{NodeId, Publisher, Version, VoterId, Watched};
use crate::placement::View;

/// What a node without a part in raft was told by others.
pub(super) struct Outside {
    /// The newest view told.
    told: Publisher<View>,
    hints: Mutex<Hints>,
    /// Why what was told cannot be.
    refuted: Mutex<Option<String>>,
}

#[derive(Default)]
struct Hints {
    leader: Option<NodeId>,
    /// Voters to begin with, while no view is known.
    first: BTreeMap<VoterId, Voter>,
}

impl Outside {
    pub(super) fn new() -> Self {
        let (hints, refuted) = Default::default();
        Self { told: Publisher::new(View::default()), hints, refuted }
    }
}

impl RaftCore {
    /// The newest view known here: applied by raft, or told by another node.
    #[must_use]
    pub fn known(&self) -> Arc<View> {
        let (applied, told) = (self.view(), self.0.outside.told.get());
        if told.version > applied.version { told } else { applied }
    }

    /// Takes a view that another node told, if it is newer than what was told before.
    pub(in crate::authority) fn tell(&self, view: Arc<View>) {
        let told = &self.0.outside.told;
        if view.version > told.get().version {
            told.publish(view);
        }
    }

    /// The version of the view that another node told and raft has not brought; 0 if there is none.
    pub(in crate::authority) fn told_beyond_raft(&self) -> Version {
        let told = self.0.outside.told.get().version;
        if told > self.view().version { told } else { Version::default() }
    }

    /// The leader has granted a lease in the view `granted`, asked after `told` was told here. A
    /// view never goes back: this node ends, and asks others when it is started again.
    pub(in crate::authority) fn refute(&self, told: Version, granted: Version) {
        let why = format!(
            "{} was told view {told}, and the leader had agreed on no more than view {granted} \
             afterwards: a member tells views that nobody agreed on; start the node again",
            self.0.me
        );
        self.0.outside.refuted.lock().get_or_insert(why);
    }

    pub(super) fn refuted(&self) -> Option<String> {
        self.0.outside.refuted.lock().clone()
    }

    /// Follows the views that other nodes told.
    pub(in crate::authority) fn told(&self) -> Watched<View> {
        self.0.outside.told.watched()
    }

    /// Takes who leads, as another node says.
    pub(in crate::authority) fn hint(&self, leader: Option<NodeId>) {
        self.0.outside.hints.lock().leader = leader;
    }

    /// Takes who votes, for as long as no view is known.
    pub(in crate::authority) fn begin_with(&self, voters: BTreeMap<VoterId, Voter>) {
        self.0.outside.hints.lock().first = voters;
    }

    /// Whether another node told a view that raft has not brought: then raft does not reach this
    /// node, and its membership is of the past.
    fn is_told(&self) -> bool {
        self.0.outside.told.get().version > self.view().version
    }

    /// Whether raft brings the views: this node leads, or heard the leader within two elections.
    pub(in crate::authority) async fn hears_leader(&self) -> bool {
        let (me, patience) = (self.0.voter.0, self.0.profile.election_max * 2);
        let asked = self.0.raft.with_raft_state(move |state| {
            let part = state.membership_state.effective().get_node(&me).is_some();
            let heard = state.vote_last_modified().is_some_and(|then| then.elapsed() < patience);
            let leads = state.server_state == ServerState::Leader;
            part && state.vote_ref().committed && (leads || heard)
        });
        asked.await.unwrap_or(false)
    }

    /// Who leads, as far as this node has heard. A hint: where to ask first.
    #[must_use]
    pub fn leader_hint(&self) -> Option<NodeId> {
        let membership = self.membership();
        if self.is_told() || membership.get_node(&self.0.voter.0).is_none() {
            return self.0.outside.hints.lock().leader.clone();
        }
        let leader = self.0.raft.metrics().borrow_watched().current_leader?;
        membership.get_node(&leader).map(|voter| voter.node.clone())
    }

    /// The voters, agreed or not yet. Empty before formation, unless others told of some.
    #[must_use]
    pub fn voters(&self) -> BTreeMap<VoterId, Voter> {
        let membership = self.membership();
        let named = |id: u64| Some((VoterId(id), membership.get_node(&id)?.clone()));
        let own: BTreeMap<VoterId, Voter> = membership.voter_ids().filter_map(named).collect();
        let view = self.known();
        let mut voters = if own.is_empty() || self.is_told() {
            let voter = |(id, node): (&VoterId, &NodeId)| {
                let addr = own.get(id).map(|voter| voter.addr.clone()).unwrap_or_default();
                (*id, Voter { node: node.clone(), addr })
            };
            view.voters.iter().map(voter).collect()
        } else {
            own
        };
        // Raft keeps where a voter was when it came to vote.
        for voter in voters.values_mut() {
            if let Some(member) = view.members.get(&voter.node) {
                voter.addr.clone_from(&member.addr);
            }
        }
        if voters.is_empty() { self.0.outside.hints.lock().first.clone() } else { voters }
    }

    pub(super) fn membership(&self) -> Arc<Membership> {
        self.0.raft.metrics().borrow_watched().membership_config.clone()
    }

    /// Whether raft takes messages of `from`: of a voter or learner, as far as raft knows or the
    /// newest view says, for the leader may have come to vote after this node had a part in raft;
    /// and of anyone before there are voters.
    pub(super) fn may_speak_raft(&self, from: &NodeId) -> bool {
        let (membership, view) = (self.membership(), self.known());
        let mut nodes = membership.nodes().peekable();
        let nobody = nodes.peek().is_none() && view.voters.is_empty();
        nobody || view.votes(from) || nodes.any(|(_, voter)| voter.node == *from)
    }
}
