//! Does what [`next_step`] decides, while this node leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Quorum, Step, dead_voters, next_step};
use crate::authority::office::{Office, span_of};
use crate::authority::raft::Seen;
use crate::authority::{LeaderKey, RaftCore, Voter};
use crate::base::{Instant, NodeId, VoterId};
use crate::placement::View;

/// Shortest time between two rounds.
const TICK_MIN: Duration = Duration::from_millis(50);
/// A learner that lacks the log after so many times the wait for a dead voter, or so many leases if
/// that is more, is given up.
const LEARNT_WITHIN: (u32, u32) = (2, 5);
/// And is not chosen for so many times as long.
const GIVEN_UP_FOR: u32 = 5;

/// The loop of one node that keeps enough voters alive.
#[derive(Debug)]
pub(in crate::authority) struct Replacer {
    office: Arc<Office>,
    core: RaftCore,
    /// How long a dead voter is waited for, from when this leadership first found it dead.
    patience: Duration,
    /// Under this leadership.
    found_dead: BTreeMap<VoterId, Instant>,
    /// Since when those that learn have lacked the log, under this leadership.
    learning: BTreeMap<VoterId, Instant>,
    /// Until when those that did not get it in time are not to vote.
    given_up: BTreeMap<VoterId, Instant>,
    key: Option<LeaderKey>,
}

impl Replacer {
    pub(in crate::authority) fn new(
        office: Arc<Office>,
        core: RaftCore,
        patience: Duration,
    ) -> Self {
        let (found_dead, learning, given_up) = Default::default();
        Self { office, core, patience, found_dead, learning, given_up, key: None }
    }

    /// Rounds without end.
    pub(in crate::authority) async fn run(mut self) {
        let clock = self.office.seams.clock.clone();
        loop {
            let lease = span_of(&self.core.view()).lease;
            self.round(lease).await;
            clock.sleep((lease / 4).max(TICK_MIN)).await;
        }
    }

    async fn round(&mut self, lease: Duration) {
        let key = self.core.leader_key().await;
        if self.key != key {
            // Another leader's waiting is not known here.
            self.found_dead.clear();
            self.learning.clear();
            self.key = key;
        }
        let Some(key) = key else { return };
        let Some((quorum, seen)) = self.core.quorum(key).await else { return };
        let view = self.core.view();
        let Some(alive) = self.alive(key, &view).filter(|_| view.is_formed()) else { return };
        let ripe = self.ripe(&view, &quorum);
        let hopeless = self.hopeless(&quorum, lease);
        let step = next_step(&view, &quorum, &alive, (&ripe, &hopeless));
        let deadline = self.office.seams.clock.now() + lease * 2;
        if let Err(why) = self.take(&step, (&view, seen), deadline).await {
            // It is decided anew in the next round, from what came of it.
            tracing::warn!(?step, why, "a change of the voters is not done, as far as is known");
        }
    }

    /// The members whose lease runs; `None` while the table is not this leadership's.
    fn alive(&self, key: LeaderKey, view: &View) -> Option<BTreeSet<NodeId>> {
        let (now, table) = (self.office.seams.clock.now(), self.office.table.lock());
        let runs =
            |node: &NodeId, boot| !table.is_due(node, boot, now) && !table.is_ending(node, boot);
        let members = view.members.iter().filter(|(node, member)| runs(node, member.boot));
        (table.key() == Some(key)).then(|| members.map(|(node, _)| node.clone()).collect())
    }

    /// The dead voters that were waited for long enough.
    fn ripe(&mut self, view: &View, quorum: &Quorum) -> BTreeSet<VoterId> {
        let (now, dead) = (self.office.seams.clock.now(), dead_voters(view, quorum));
        self.found_dead.retain(|voter, _| dead.contains(voter));
        for voter in dead {
            self.found_dead.entry(voter).or_insert(now);
        }
        let ripe = |since: &Instant| now.since(*since) >= self.patience;
        self.found_dead.iter().filter(|(_, since)| ripe(since)).map(|(voter, _)| *voter).collect()
    }

    /// The learners that did not get the log in time, now or a while ago.
    fn hopeless(&mut self, quorum: &Quorum, lease: Duration) -> BTreeSet<VoterId> {
        let now = self.office.seams.clock.now();
        let votes = |id: &VoterId| quorum.halves.iter().any(|half| half.contains(id));
        let lacks = |id: &VoterId| !votes(id) && !quorum.caught_up.contains(id);
        self.learning.retain(|id, _| quorum.nodes.contains_key(id) && lacks(id));
        for id in quorum.nodes.keys().filter(|id| lacks(id)) {
            self.learning.entry(*id).or_insert(now);
        }
        let within = (self.patience * LEARNT_WITHIN.0).max(lease * LEARNT_WITHIN.1);
        let late = |since: &Instant| now.since(*since) >= within;
        for (id, since) in self.learning.iter().filter(|(_, since)| late(since)) {
            if !self.given_up.contains_key(id) {
                let node = quorum.nodes.get(id);
                tracing::warn!(%id, ?node, took = ?now.since(*since), "it does not get the log");
            }
            self.given_up.insert(*id, now + within * GIVEN_UP_FOR);
        }
        self.given_up.retain(|_, until| now < *until);
        self.given_up.keys().copied().collect()
    }

    async fn take(
        &self,
        step: &Step,
        (view, seen): (&View, Seen),
        deadline: Instant,
    ) -> Result<(), String> {
        match step {
            Step::Rest => Ok(()),
            Step::Finish(voters) => {
                tracing::warn!(?voters, "a change of the voters is finished");
                self.core.change_voters(seen, voters, deadline).await
            }
            Step::Teach(id, node) => {
                tracing::warn!(%id, %node, "it is to vote: it gets the log");
                let addr = view.members.get(node).map(|member| member.addr.clone());
                let voter = Voter { node: node.clone(), addr: addr.unwrap_or_default() };
                self.core.teach(seen, (*id, voter), deadline).await
            }
            Step::Forget(id) => {
                tracing::warn!(%id, "it is not to vote: it gets the log no more");
                self.core.forget(seen, *id, deadline).await
            }
            Step::Change(voters) => {
                tracing::warn!(?voters, "these are to be the voters");
                self.core.change_voters(seen, voters, deadline).await
            }
            Step::HandOver => {
                let to = self.core.transfer_leadership().await;
                to.map(drop).ok_or_else(|| "nobody else is heard".into())
            }
        }
    }
}
