//! Who doubts whom, and when that is enough.
//!
//! Source: Lifeguard (Dadgar et al., DSN-W 2018), IV.B: a suspicion ends the sooner the more
//! observers share it. Differs: observers are named, one alone never suffices while others are left
//! to observe, and nobody is declared down: who was found unreachable and is heard is reachable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Member, State};

use super::alarms::Alarm;
use super::{Gossip, OBSERVERS, Output};
use crate::base::{Boot, Instant, NodeId};
use crate::membership::packet::LEAP_MAX;
use crate::membership::record::{Record, Word};
use crate::membership::timing::{suspicion, suspicion_min};
use crate::membership::{GossipId, Reachability};

/// How many times the least suspicion one lasts that nobody confirms.
const UNCONFIRMED: u32 = 2;
/// Confirmations that end a suspicion soonest.
const CONFIRMATIONS: usize = 2;

/// What is held against one member, under its present gossip identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Of the member; a higher one refutes.
    pub(super) incarnation: u16,
    /// When this node first learnt of it.
    pub(super) since: Instant,
    /// Who had no answer since.
    pub(super) observers: BTreeSet<NodeId>,
    /// The life and the number of each observer's last word, so that none counts twice.
    said: BTreeMap<NodeId, (Boot, u32)>,
    /// When this node itself spoke last.
    spoke: Option<Instant>,
}

impl Doubt {
    fn new(incarnation: u16, since: Instant) -> Self {
        let (observers, said) = (BTreeSet::new(), BTreeMap::new());
        Self { incarnation, since, observers, said, spoke: None }
    }

    /// The member was heard since: what is said from now on begins a new suspicion.
    fn begin_anew(&mut self, incarnation: u16, now: Instant) {
        (self.incarnation, self.since) = (incarnation, now);
        self.observers.clear();
    }
}

impl Gossip {
    /// This node probed `id`, known under `incarnation`, and heard nothing.
    pub(super) fn accuse(
        &mut self,
        now: Instant,
        id: &GossipId,
        incarnation: u16,
        out: &mut Vec<Output>,
    ) {
        let again_after = self.suspicion_min();
        let Some(seen) = self.members.get(&id.node) else { return };
        if seen.id != *id {
            return;
        }
        let spoke = seen.doubt.as_ref().filter(|doubt| doubt.incarnation >= incarnation);
        if spoke.and_then(|doubt| doubt.spoke).is_some_and(|spoke| now < spoke + again_after) {
            return;
        }
        let (observer, number) = (self.me().node.clone(), self.number());
        let boot = self.me().boot;
        let word = Word { observer, boot, subject: id.clone(), incarnation, number };
        let record = Record::Word(word.clone()).encode();
        if self.doubts(now, &word, &record, out)
            && let Some(seen) = self.members.get_mut(&id.node)
            && let Some(doubt) = &mut seen.doubt
        {
            doubt.spoke = Some(now);
            self.judge_all(now, out);
        }
    }

    /// Another node's word arrived.
    pub(super) fn word(
        &mut self,
        now: Instant,
        word: &Word,
        record: &Bytes,
        out: &mut Vec<Output>,
    ) {
        let me = self.me().clone();
        if word.observer == me.node {
            return;
        }
        if word.subject.node == me.node {
            self.refute(now, word.subject == me, word.incarnation, out);
            return;
        }
        let is_near = |known: u16| u32::from(word.incarnation) <= u32::from(known) + LEAP_MAX;
        let known = self.known(&word.subject);
        let observer = self.members.get(&word.observer);
        let is_member = observer.is_some_and(|observer| observer.id.boot == word.boot);
        if !is_member || !known.is_some_and(is_near) {
            self.counts.stripped += 1;
            return;
        }
        if self.doubts(now, word, record, out) && self.is_watched(&word.subject.node) {
            self.check(now, &word.subject.node, out);
        }
    }

    /// The incarnation under which SWIM knows `id`, if it knows just that identity.
    pub(super) fn known(&self, id: &GossipId) -> Option<u16> {
        self.members.get(&id.node).filter(|seen| seen.id == *id).map(|seen| seen.incarnation)
    }

    /// Somebody suspects this node.
    pub(super) fn refute(
        &mut self,
        now: Instant,
        is_me: bool,
        incarnation: u16,
        out: &mut Vec<Output>,
    ) {
        if !is_me || incarnation < self.incarnation {
            return;
        }
        self.counts.refuted += 1;
        self.health.apply(1);
        let suspect = Member::new(self.me().clone(), incarnation, State::Suspect);
        self.apply(now, suspect, out);
    }

    /// Hands one update to SWIM, which passes it on.
    pub(super) fn apply(&mut self, now: Instant, update: Member<GossipId>, out: &mut Vec<Output>) {
        let mut effects = AccumulatingRuntime::new();
        if self.swim.apply_many(std::iter::once(update), true, &mut effects).is_err() {
            self.counts.refused += 1;
        }
        self.carry_out(now, &mut effects, out);
    }

    /// Takes a word into account and passes it on; whether it was new.
    fn doubts(&mut self, now: Instant, word: &Word, record: &Bytes, out: &mut Vec<Output>) -> bool {
        let incarnation = self.known(&word.subject);
        let Some(seen) = self.members.get_mut(&word.subject.node) else { return false };
        if seen.id != word.subject || incarnation.is_none_or(|known| known > word.incarnation) {
            return false;
        }
        let doubt = seen.doubt.get_or_insert_with(|| Doubt::new(word.incarnation, now));
        if doubt.incarnation > word.incarnation {
            return false;
        }
        let said = (word.boot, word.number);
        if doubt.said.get(&word.observer).is_some_and(|before| *before >= said) {
            return false;
        }
        let heard_since = seen.heard.is_some_and(|heard| heard >= doubt.since);
        if doubt.incarnation < word.incarnation || heard_since {
            doubt.begin_anew(word.incarnation, now);
        }
        doubt.said.insert(word.observer.clone(), said);
        doubt.observers.insert(word.observer.clone());
        seen.incarnation = seen.incarnation.max(word.incarnation);
        // Its item is decoded again, and keyed, as all that is passed on.
        if self.swim.add_broadcast(record).is_err() {
            self.counts.refused += 1;
        }
        let suspect = Member::new(word.subject.clone(), word.incarnation, State::Suspect);
        self.apply(now, suspect, out);
        self.judge(now, &word.subject.node, out);
        true
    }

    pub(super) fn suspicion_min(&self) -> Duration {
        suspicion_min(self.config.period, self.config.suspicion, self.size())
    }

    /// Nodes that are left to observe `node`, this one included: members this node does not doubt
    /// itself.
    fn left_to_observe(&self, node: &NodeId) -> usize {
        let me = &self.me().node;
        let doubted = |doubt: &Doubt| doubt.observers.contains(me);
        let others = self.members.iter().filter(|(other, seen)| {
            let is_out = match seen.reachability {
                Reachability::Reachable => false,
                Reachability::Suspect => seen.doubt.as_ref().is_some_and(doubted),
                Reachability::Unreachable => true,
            };
            *other != node && !is_out
        });
        others.take(OBSERVERS.max(CONFIRMATIONS + 1)).count() + 1
    }

    /// Who doubts `node` and is there to be believed: this node, and members that are not
    /// unreachable themselves.
    pub(super) fn believed(&self, node: &NodeId) -> Vec<NodeId> {
        let doubt = self.members.get(node).and_then(|seen| seen.doubt.as_ref());
        let me = &self.me().node;
        let is_there = |observer: &&NodeId| {
            let seen = self.members.get(*observer);
            *observer == me
                || seen.is_some_and(|seen| seen.reachability != Reachability::Unreachable)
        };
        let observers = doubt.into_iter().flat_map(|doubt| &doubt.observers);
        observers.filter(is_there).cloned().collect()
    }

    /// Every member in doubt: whom this node doubts counts as an observer no more.
    fn judge_all(&mut self, now: Instant, out: &mut Vec<Output>) {
        let doubted = self.members.iter().filter(|(_, seen)| seen.doubt.is_some());
        let nodes: Vec<_> = doubted.map(|(node, _)| node.clone()).collect();
        for node in nodes {
            self.judge(now, &node, out);
        }
    }

    /// The alarm of a suspicion went off.
    pub(super) fn judge_in_time(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        if let Some(seen) = self.members.get_mut(node) {
            seen.judged = None;
            self.judge(now, node, out);
        }
    }

    /// Decides what this node makes of `node`, and when to decide again.
    pub(super) fn judge(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let left = self.left_to_observe(node);
        let needed = OBSERVERS.min(left);
        let expected = u32::try_from(CONFIRMATIONS.min(left - 1)).unwrap_or(0);
        let min = self.suspicion_min();
        let me = self.me().node.clone();
        let self_doubt = self.health.score().max(1);
        let mut observers = self.believed(node);
        let Some(seen) = self.members.get_mut(node) else { return };
        let mut reachability = Reachability::Reachable;
        let mut undecided = false;
        if let Some(doubt) = &mut seen.doubt
            && !observers.is_empty()
            && seen.heard.is_none_or(|heard| heard < doubt.since)
        {
            let confirmations = u32::try_from(observers.len() - 1).unwrap_or(0);
            // Lifeguard stretches probes alone. Where its own word is needed, a node that has
            // reason to doubt itself waits longer; the one probe that failed here is none yet.
            let others = observers.iter().filter(|observer| **observer != me).count();
            let min = if others >= needed { min } else { min * self_doubt };
            let end = doubt.since + suspicion([min, min * UNCONFIRMED], expected, confirmations);
            let enough = observers.len() >= needed;
            let is_over = now >= end || seen.reachability == Reachability::Unreachable;
            let verdict = enough && is_over;
            reachability = if verdict { Reachability::Unreachable } else { Reachability::Suspect };
            undecided = now >= end && !enough;
            // One alarm a member: one that comes earlier looks again.
            if now < end && !verdict && seen.judged.is_none_or(|(at, _)| at > end) {
                if let Some((_, later)) = seen.judged {
                    self.alarms.cancel(&[later]);
                }
                let alarm = self.alarms.set(end, Alarm::Judge(node.clone()));
                seen.judged = Some((end, alarm));
            }
        }
        if reachability == Reachability::Reachable {
            observers.clear();
        }
        let before = std::mem::replace(&mut seen.reachability, reachability);
        if reachability != before {
            if [reachability, before].contains(&Reachability::Unreachable) {
                self.watched = None;
            }
            let (node, boot) = (node.clone(), seen.id.boot);
            out.push(Output::Observed { node, boot, reachability, observers });
        }
        if undecided {
            // One observer is not believed, and it is not known why no other spoke.
            self.check(now, node, out);
        }
        if reachability == Reachability::Reachable && before != reachability {
            // It is there to observe others again: the word of one may not suffice any more.
            self.judge_all(now, out);
        }
    }

    /// The member `id` shows itself under this name and incarnation: higher ones than before refute
    /// what was held against it.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        id: &GossipId,
        incarnation: u16,
        out: &mut Vec<Output>,
    ) {
        let Some(seen) = self.members.get_mut(&id.node) else { return };
        let newer_name = id.boot == seen.id.boot && id.incarnation > seen.id.incarnation;
        if newer_name {
            (seen.id, seen.incarnation) = (id.clone(), 0);
        }
        if seen.id != *id {
            return;
        }
        seen.incarnation = seen.incarnation.max(incarnation);
        if seen.doubt.as_ref().is_some_and(|doubt| newer_name || doubt.incarnation < incarnation) {
            seen.doubt = None;
            self.judge(now, &id.node, out);
        }
    }
}
