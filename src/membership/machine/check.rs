//! Checks: probes of one node that this node has a reason to ask.
//!
//! They use SWIM's own messages, so every node answers them: a ping, then, through others, pings by
//! request. Any arrival of the node's, whatever it is, is an answer.

use foca::Message;

use super::alarms::Alarm;
use super::swim::{HELPERS, send};
use super::{Gossip, Output};
use crate::base::{Instant, NodeId};
use crate::membership::packet::Packet;
use crate::membership::{GossipId, Reachability};

/// Checks at the same time; each period begins at most three by itself.
pub(super) const CHECKS_MAX: usize = 16;

/// One check that is going on.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: GossipId,
    pub(super) number: u8,
    pub(super) at: Instant,
    pub(super) answered: bool,
    /// Its alarms.
    alarms: [u64; 2],
    pub(super) helpers: Vec<NodeId>,
}

/// A probe without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'a> {
    /// Whom it asked, under which incarnation, and when.
    pub(super) id: &'a GossipId,
    pub(super) incarnation: u16,
    pub(super) at: Instant,
    /// Who else was asked to probe.
    pub(super) helpers: &'a [NodeId],
}

impl Gossip {
    /// Asks `node`, unless that is being done.
    pub(super) fn check(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(seen) = self.members.get(node) else { return };
        let going_on = self.checks.get(node).map(|check| (check.number, check.alarms));
        if going_on.is_some_and(|(number, _)| self.open_check(node, number).is_some()) {
            return;
        }
        if let Some((_, alarms)) = going_on {
            // It was answered, and this is a new question.
            self.alarms.cancel(&alarms);
        } else if self.checks.len() >= CHECKS_MAX {
            self.counts.checks_dropped += 1;
            return;
        }
        let id = seen.id.clone();
        let number = self.number().to_le_bytes()[0];
        let packet = Packet::new(self.me(), self.incarnation, &id, Message::Ping(number));
        send(&packet, out);
        let ask_others = self.health.scaled(self.answer_within(now, node));
        let end = self.health.scaled(self.config.period);
        let alarms = [
            self.alarms.set(now + ask_others, Alarm::AskOthers(node.clone(), number)),
            self.alarms.set(now + end, Alarm::CheckEnds(node.clone(), number)),
        ];
        let check = Check { id, number, at: now, answered: false, alarms, helpers: Vec::new() };
        self.checks.insert(node.clone(), check);
    }

    /// The check of `node` under this number, if it goes on and had no answer yet.
    fn open_check(&self, node: &NodeId, number: u8) -> Option<&Check> {
        let check = self.checks.get(node).filter(|check| check.number == number)?;
        let heard = self.members.get(node).is_some_and(|seen| seen.heard_since(check.at));
        (!check.answered && !heard).then_some(check)
    }

    /// `node` did not answer at once.
    pub(super) fn ask_others(&mut self, node: &NodeId, number: u8, out: &mut Vec<Output>) {
        let Some(check) = self.open_check(node, number) else { return };
        let id = check.id.clone();
        let me = &self.me().node;
        // One that this node doubts already is asked again and again, so that its return is
        // noticed; others need not be troubled each time.
        let spoke = |seen: &super::Seen| {
            seen.doubt.as_ref().is_some_and(|doubt| doubt.observers.contains(me))
        };
        if self.members.get(node).is_some_and(spoke) {
            return;
        }
        let able = self
            .members
            .iter()
            .filter(|(other, seen)| *other != node && seen.reachability == Reachability::Reachable);
        let mut able: Vec<GossipId> = able.map(|(_, seen)| seen.id.clone()).collect();
        let mut helpers = Vec::new();
        while helpers.len() < HELPERS && !able.is_empty() {
            let at = self.draw_index(able.len());
            helpers.push(able.swap_remove(at));
        }
        for helper in &helpers {
            let ask = Message::PingReq { target: id.clone(), probe_number: number };
            send(&Packet::new(self.me(), self.incarnation, helper, ask), out);
        }
        if let Some(check) = self.checks.get_mut(node) {
            check.helpers = helpers.into_iter().map(|helper| helper.node).collect();
        }
    }

    pub(super) fn check_ends(
        &mut self,
        now: Instant,
        node: &NodeId,
        number: u8,
        out: &mut Vec<Output>,
    ) {
        if self.checks.get(node).is_none_or(|check| check.number != number) {
            return;
        }
        let failed = self.open_check(node, number).is_some();
        let Some(check) = self.checks.remove(node) else { return };
        if !failed {
            return;
        }
        let Some(incarnation) = self.known(&check.id) else { return };
        let failed = Failed { id: &check.id, incarnation, at: check.at, helpers: &check.helpers };
        self.no_answer(now, &failed, out);
    }

    /// A probe had no answer.
    pub(super) fn no_answer(&mut self, now: Instant, failed: &Failed<'_>, out: &mut Vec<Output>) {
        let Failed { id, incarnation, at: asked_at, helpers } = *failed;
        let Some(seen) = self.members.get(&id.node) else { return };
        // SWIM counts answers alone; anything that was heard is one.
        if seen.heard_since(asked_at) {
            return;
        }
        self.counts.failed += 1;
        // What others see too is not this node's fault; helpers that say nothing are.
        if seen.doubt.is_none() {
            self.health.apply(1);
            let silent = |node: &&NodeId| {
                self.members.get(*node).is_some_and(|seen| !seen.heard_since(asked_at))
            };
            let silent = helpers.iter().filter(silent).count();
            self.health.apply(i32::try_from(silent).unwrap_or(0));
        }
        self.accuse(now, id, incarnation, out);
    }

    /// Whether this node watches `node`.
    pub(super) fn is_watched(&mut self, node: &NodeId) -> bool {
        self.watched_nodes().contains(node)
    }

    /// The nodes before this one on the ring, up to as many as it watches that are not unreachable,
    /// and the unreachable ones between: each node is watched by the first after it that are there.
    fn watched_nodes(&mut self) -> &[NodeId] {
        if self.watched.is_none() {
            let mut present = 0;
            let me = self.me().node.clone();
            let before = self.ring.before(&me);
            let watched = before.take_while(|node| {
                let more = present < self.config.watchers;
                let seen = self.members.get(*node);
                let there = seen.is_some_and(|seen| seen.reachability != Reachability::Unreachable);
                present += usize::from(there);
                more
            });
            self.watched = Some(watched.cloned().collect());
        }
        self.watched.as_deref().unwrap_or_default()
    }

    /// One round of watching.
    pub(super) fn watch(&mut self, now: Instant, out: &mut Vec<Output>) {
        let period = self.config.period;
        self.alarms.set(now + self.health.scaled(period), Alarm::Watch);
        for node in self.watched_nodes().to_vec() {
            let heard = self.members.get(&node).and_then(|seen| seen.heard);
            if heard.is_none_or(|heard| now >= heard + period) {
                self.check(now, &node, out);
            }
        }
        self.greet(out);
    }

    /// Pings one member that is in doubt or late, so that one that is back is heard in a few rounds
    /// by whoever doubts it, not only once SWIM's round comes to it. No answer means nothing new.
    fn greet(&mut self, out: &mut Vec<Output>) {
        let doubted = self.members.iter().filter(|(node, seen)| {
            let is_gone = seen.is_late || seen.reachability != Reachability::Reachable;
            is_gone && !self.checks.contains_key(*node)
        });
        let doubted: Vec<GossipId> = doubted.map(|(_, seen)| seen.id.clone()).collect();
        if doubted.is_empty() {
            return;
        }
        let at = self.draw_index(doubted.len());
        let id = &doubted[at];
        let number = self.number().to_le_bytes()[0];
        send(&Packet::new(self.me(), self.incarnation, id, Message::Ping(number)), out);
    }
}
