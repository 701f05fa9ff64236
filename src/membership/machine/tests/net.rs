//! Nodes that gossip over a network without loss, one millisecond a packet.

use std::collections::BTreeMap;

use foca::{Member, Message};

use super::*;
use crate::membership::packet::{Kind, Packet};
use crate::membership::record::{Record, Word};

pub(super) struct Net {
    config: GossipConfig,
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<NodeId, Gossip>,
    boots: BTreeMap<NodeId, Boot>,
    flying: BTreeMap<(Instant, u64), (NodeId, Input)>,
    sent: u64,
    /// Nobody hears them, and they do nothing.
    pub(super) dead: Vec<NodeId>,
    /// They do not hear each other.
    pub(super) apart: Vec<(NodeId, NodeId)>,
    /// Their loops stand still until then; what arrives waits.
    paused: BTreeMap<NodeId, Instant>,
    /// When, who, of whom, what, by whose word.
    pub(super) seen: Vec<(Instant, NodeId, NodeId, Reachability, Vec<NodeId>)>,
    /// How many packets went from one to another.
    pub(super) packets: BTreeMap<(NodeId, NodeId), u64>,
}

pub(super) fn name(index: usize) -> NodeId {
    format!("n{index}").parse().expect("a name")
}

impl Net {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        Self::with(count, seed, &GossipConfig::from(&Profile::lan()))
    }

    pub(super) fn with(count: usize, seed: u64, config: &GossipConfig) -> Self {
        let mut net = Self {
            config: config.clone(),
            now: Instant::ZERO,
            nodes: BTreeMap::new(),
            boots: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            dead: Vec::new(),
            apart: Vec::new(),
            paused: BTreeMap::new(),
            seen: Vec::new(),
            packets: BTreeMap::new(),
        };
        let members: Vec<_> = (0..count).map(|index| (name(index), Boot(1))).collect();
        for (index, (node, boot)) in members.iter().enumerate() {
            net.start(node, *boot, seed * 100 + index as u64);
        }
        for (node, _) in &members {
            net.step(node, Input::Committed(members.clone()));
        }
        net
    }

    pub(super) fn start(&mut self, node: &NodeId, boot: Boot, seed: u64) {
        let id = GossipId::new(node.clone(), boot);
        self.boots.insert(node.clone(), boot);
        self.nodes.insert(node.clone(), Gossip::new(id, &self.config, seed));
    }

    /// The loop of `node` stands still for `span`.
    pub(super) fn pause(&mut self, node: &NodeId, span: Duration) {
        self.paused.insert(node.clone(), self.now + span);
    }

    fn is_apart(&self, from: &NodeId, to: &NodeId) -> bool {
        let pair =
            |one: &NodeId, other: &NodeId| self.apart.iter().any(|(a, b)| (a, b) == (one, other));
        self.dead.contains(from) || self.dead.contains(to) || pair(from, to) || pair(to, from)
    }

    /// Sends `update` to `to` as one node would that learnt of it.
    pub(super) fn spread(&mut self, from: usize, to: usize, update: Member<GossipId>) {
        let id = |index| GossipId::new(name(index), Boot(1));
        let mut packet = Packet::new(&id(from), 0, &id(to), Message::Gossip);
        packet.updates.push(update);
        let bytes = Kind::Swim.framed(&packet.encode().expect("encodes"));
        let packet = Input::Packet { from: name(from), boot: Boot(1), bytes };
        self.step(&name(to), packet);
    }

    /// `word` arrives at `node`.
    pub(super) fn word(&mut self, node: &NodeId, word: &Word) {
        let record = Record::Word(word.clone()).encode();
        let mut out = Vec::new();
        self.nodes.get_mut(node).expect("a node").word(self.now, word, &record, &mut out);
        self.carry_out(node, out);
    }

    pub(super) fn step(&mut self, node: &NodeId, input: Input) {
        let mut out = Vec::new();
        let gossip = self.nodes.get_mut(node).expect("a node");
        gossip.step(self.now, input, &mut out);
        gossip.check_invariants().expect("holds");
        self.carry_out(node, out);
    }

    fn carry_out(&mut self, node: &NodeId, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, packet } => {
                    assert!(packet.len() <= crate::membership::packet::PACKET_BYTES_MAX);
                    *self.packets.entry((node.clone(), to.clone())).or_default() += 1;
                    if self.is_apart(node, &to) {
                        continue;
                    }
                    self.sent += 1;
                    let at = self.now + Duration::from_millis(1);
                    let (from, boot) = (node.clone(), self.boots[node]);
                    let packet = Input::Packet { from, boot, bytes: packet };
                    self.flying.insert((at, self.sent), (to, packet));
                }
                Output::Observed { node: of, reachability, observers, .. } => {
                    self.seen.push((self.now, node.clone(), of, reachability, observers));
                }
                Output::Said { .. } | Output::Late { .. } => {}
            }
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wakes = |node: &NodeId| self.paused.get(node).copied().unwrap_or(Instant::ZERO);
            let alive = self.nodes.iter().filter(|(node, _)| !self.dead.contains(node));
            let timer = alive
                .filter_map(|(node, gossip)| {
                    Some((gossip.next_deadline()?.max(wakes(node)), node.clone()))
                })
                .min();
            let packet =
                self.flying.iter().map(|(key, (to, _))| (key.0.max(wakes(to)), key.1, *key));
            let packet = packet.min();
            let at = timer.iter().map(|(at, _)| *at).chain(packet.map(|(at, ..)| at)).min();
            let Some(at) = at.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if let Some((_, _, key)) = packet.filter(|(sent, ..)| *sent == at) {
                let (to, packet) = self.flying.remove(&key).expect("it flies");
                if !self.dead.contains(&to) && self.nodes.contains_key(&to) {
                    self.step(&to, packet);
                }
            } else if let Some((_, node)) = timer {
                self.step(&node, Input::TimePassed);
            }
        }
        self.now = end;
    }

    /// Who finds whom unreachable at present, of those that live.
    pub(super) fn unreachable(&self) -> Vec<(NodeId, NodeId)> {
        let alive = self.nodes.iter().filter(|(node, _)| !self.dead.contains(node));
        let pairs = alive.flat_map(|(by, gossip)| {
            let lost = |seen: &(&NodeId, Boot, Reachability)| seen.2 == Reachability::Unreachable;
            gossip.observed().filter(lost).map(|(of, ..)| (by.clone(), of.clone()))
        });
        pairs.collect()
    }

    pub(super) fn all_reachable(&self) -> bool {
        let mut all = self.nodes.values().flat_map(Gossip::observed);
        all.all(|(_, _, seen)| seen == Reachability::Reachable)
    }
}
