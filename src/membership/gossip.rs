//! SWIM with suspicion, as a machine: packets and instants in, packets and observations out.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Config, Foca, Member, NoCustomBroadcast, OwnedNotification,
    PeriodicParams, PostcardCodec, Timer,
};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use crate::base::{Boot, Instant, NodeId};
use crate::placement::Profile;

/// Largest gossip packet.
pub(super) const PACKET_BYTES_MAX: usize = 1_200;
/// How often members that are down are asked again, so that two halves find each other.
const ASK_DOWN_EVERY: Duration = Duration::from_secs(5);
/// Times an update is passed on.
const TRANSMISSIONS_MAX: u8 = 10;

/// Who gossips: a node, in one life, under a gossip incarnation that it raises to refute a rumour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GossipId {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// Raised each time it was falsely declared down: a false rumour costs a refutation, not a
    /// life.
    pub incarnation: u32,
}

impl GossipId {
    /// How a node in `boot` first presents itself.
    #[must_use]
    pub fn new(node: NodeId, boot: Boot) -> Self {
        Self { node, boot, incarnation: 0 }
    }
}

impl foca::Identity for GossipId {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { incarnation: self.incarnation.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.boot, self.incarnation) > (adversary.boot, adversary.incarnation)
    }
}

/// What this node observes of another; not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reachability {
    /// It answers, directly or through others.
    Reachable,
    /// It was declared down by gossip.
    Unreachable,
}

/// Timing of the gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipConfig {
    /// Time between two probes.
    pub period: Duration,
    /// How long a direct probe may take.
    pub rtt: Duration,
    /// How long a suspect may refute.
    pub suspicion: Duration,
}

impl From<&Profile> for GossipConfig {
    fn from(profile: &Profile) -> Self {
        Self {
            period: profile.gossip_period,
            rtt: profile.gossip_rtt,
            suspicion: profile.gossip_period * u32::from(profile.suspicion),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A packet arrived.
    Packet(Bytes),
    /// These are the committed members.
    Committed(Vec<(NodeId, Boot)>),
    /// A deadline may have passed.
    TimePassed,
}

/// What must be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this packet, or drop it if the link is full.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        packet: Bytes,
    },
    /// The observation of a node changed.
    Observed {
        /// The node.
        node: NodeId,
        /// In which life.
        boot: Boot,
        /// What it is now.
        reachability: Reachability,
    },
}

/// The gossip of one node.
pub struct Gossip {
    foca: Foca<GossipId, PostcardCodec, SmallRng, NoCustomBroadcast>,
    timers: BTreeMap<(Instant, u64), Timer<GossipId>>,
    timers_made: u64,
    refused_packets: u64,
}

impl Gossip {
    /// A node that knows nobody yet. `seed` fixes its choices.
    #[must_use]
    pub fn new(me: GossipId, config: &GossipConfig, seed: u64) -> Self {
        let foca = Foca::new(me, foca_config(config), SmallRng::seed_from_u64(seed), PostcardCodec);
        Self { foca, timers: BTreeMap::new(), timers_made: 0, refused_packets: 0 }
    }

    /// Who this node is in the gossip at present.
    #[must_use]
    pub fn me(&self) -> &GossipId {
        self.foca.identity()
    }

    /// Packets that were malformed or made no sense; each was ignored.
    #[must_use]
    pub fn refused_packets(&self) -> u64 {
        self.refused_packets
    }

    /// When [`Input::TimePassed`] is next of use.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// Takes one input at `now` and appends what must be done, in order.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        let mut effects = AccumulatingRuntime::new();
        match input {
            Input::Packet(packet) => {
                if self.foca.handle_data(&packet, &mut effects).is_err() {
                    self.refused_packets += 1;
                }
            }
            Input::Committed(members) => {
                let alive = members
                    .into_iter()
                    .map(|(node, boot)| Member::alive(GossipId::new(node, boot)));
                // Fails only where an encoding fails, and these identities encode.
                if self.foca.apply_many(alive, true, &mut effects).is_err() {
                    self.refused_packets += 1;
                }
            }
            Input::TimePassed => {}
        }
        self.carry_out(now, &mut effects, out);
        self.fire(now, out);
    }

    /// Hands in every timer that is due. Those that fire together go in foca's own order, which
    /// mends what a late loop would confuse.
    fn fire(&mut self, now: Instant, out: &mut Vec<Output>) {
        let later = self.timers.split_off(&(now, u64::MAX));
        let mut due: Vec<_> = std::mem::replace(&mut self.timers, later).into_values().collect();
        due.sort();
        for timer in due {
            let mut effects = AccumulatingRuntime::new();
            if let Err(error) = self.foca.handle_timer(timer, &mut effects) {
                // A loop that was late: foca resumes by itself.
                tracing::debug!(%error, "gossip timer");
            }
            self.carry_out(now, &mut effects, out);
        }
    }

    fn carry_out(
        &mut self,
        now: Instant,
        effects: &mut AccumulatingRuntime<GossipId>,
        out: &mut Vec<Output>,
    ) {
        while let Some((after, timer)) = effects.to_schedule() {
            self.timers_made += 1;
            self.timers.insert((now + after, self.timers_made), timer);
        }
        while let Some((to, packet)) = effects.to_send() {
            out.push(Output::Send { to: to.node, packet });
        }
        while let Some(notification) = effects.to_notify() {
            let (id, reachability) = match notification {
                OwnedNotification::MemberUp(id) => (id, Reachability::Reachable),
                OwnedNotification::MemberDown(id) => (id, Reachability::Unreachable),
                OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle
                | OwnedNotification::Defunct
                | OwnedNotification::Rejoin(_)
                | OwnedNotification::DataReceived(_)
                | OwnedNotification::DataSent(_)
                | OwnedNotification::ProbeFailed(..) => continue,
            };
            out.push(Output::Observed { node: id.node, boot: id.boot, reachability });
        }
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("me", self.me())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}

fn foca_config(config: &GossipConfig) -> Config {
    let one = NonZeroUsize::MIN;
    Config {
        probe_period: config.period,
        probe_rtt: config.rtt,
        num_indirect_probes: one.saturating_add(2),
        max_transmissions: NonZeroU8::MIN.saturating_add(TRANSMISSIONS_MAX - 1),
        suspect_to_down_after: config.suspicion,
        max_packet_size: one.saturating_add(PACKET_BYTES_MAX - 1),
        notify_down_members: true,
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: ASK_DOWN_EVERY,
            num_members: one,
        }),
        periodic_gossip: Some(PeriodicParams {
            frequency: config.period / 2,
            num_members: one.saturating_add(1),
        }),
        ..Config::simple()
    }
}

/// For the fuzz target `gossip`: one packet into a node of three, and what follows of it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_gossip(bytes: &[u8]) -> bool {
    let name = |name: &str| name.parse::<NodeId>().expect("a name");
    let members = ["n1", "n2", "n3"].map(|node| (name(node), Boot(1)));
    let config = GossipConfig::from(&Profile::lan());
    let mut gossip = Gossip::new(GossipId::new(name("n1"), Boot(1)), &config, 1);
    let mut out = Vec::new();
    gossip.step(Instant::ZERO, Input::Committed(members.to_vec()), &mut out);
    gossip.step(Instant::ZERO, Input::Packet(Bytes::copy_from_slice(bytes)), &mut out);
    for _ in 0..20 {
        let Some(next) = gossip.next_deadline() else { break };
        gossip.step(next, Input::TimePassed, &mut out);
    }
    for output in out {
        if let Output::Send { packet, .. } = output {
            assert!(packet.len() <= PACKET_BYTES_MAX, "{} bytes", packet.len());
        }
    }
    gossip.refused_packets() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes that gossip over a network without loss, one millisecond a packet.
    struct Net {
        now: Instant,
        nodes: BTreeMap<NodeId, Gossip>,
        flying: BTreeMap<(Instant, u64), (NodeId, Bytes)>,
        sent: u64,
        dead: Vec<NodeId>,
        seen: Vec<(Instant, NodeId, NodeId, Reachability)>,
    }

    fn name(index: u64) -> NodeId {
        format!("n{index}").parse().expect("a name")
    }

    impl Net {
        fn new(count: u64, seed: u64) -> Self {
            let members: Vec<_> = (0..count).map(|index| (name(index), Boot(1))).collect();
            let config = GossipConfig::from(&Profile::lan());
            let mut net = Self {
                now: Instant::ZERO,
                nodes: BTreeMap::new(),
                flying: BTreeMap::new(),
                sent: 0,
                dead: Vec::new(),
                seen: Vec::new(),
            };
            for (index, (node, boot)) in members.iter().enumerate() {
                let id = GossipId::new(node.clone(), *boot);
                let gossip = Gossip::new(id, &config, seed * 100 + index as u64);
                net.nodes.insert(node.clone(), gossip);
            }
            for (node, _) in &members {
                net.step(node, Input::Committed(members.clone()));
            }
            net
        }

        fn step(&mut self, node: &NodeId, input: Input) {
            let mut out = Vec::new();
            let gossip = self.nodes.get_mut(node).expect("a node");
            gossip.step(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Send { to, packet } => {
                        self.sent += 1;
                        let at = self.now + Duration::from_millis(1);
                        self.flying.insert((at, self.sent), (to, packet));
                    }
                    Output::Observed { node: of, reachability, .. } => {
                        self.seen.push((self.now, node.clone(), of, reachability));
                    }
                }
            }
        }

        fn run(&mut self, span: Duration) {
            let end = self.now + span;
            loop {
                let timer = self
                    .nodes
                    .iter()
                    .filter(|(node, _)| !self.dead.contains(node))
                    .filter_map(|(node, gossip)| Some((gossip.next_deadline()?, node.clone())))
                    .min();
                let packet = self.flying.keys().next().copied();
                let at = timer.iter().map(|(at, _)| *at).chain(packet.map(|(at, _)| at)).min();
                let Some(at) = at.filter(|at| *at <= end) else { break };
                self.now = self.now.max(at);
                if let Some(key) = packet.filter(|(sent, _)| *sent == at) {
                    let (to, packet) = self.flying.remove(&key).expect("it flies");
                    if !self.dead.contains(&to) && self.nodes.contains_key(&to) {
                        self.step(&to, Input::Packet(packet));
                    }
                } else if let Some((_, node)) = timer {
                    self.step(&node, Input::TimePassed);
                }
            }
            self.now = end;
        }
    }

    #[test]
    fn healthy_nodes_accuse_nobody() {
        let mut net = Net::new(5, 7);
        net.run(Duration::from_mins(1));
        assert!(net.seen.iter().all(|(.., seen)| *seen == Reachability::Reachable));
    }

    #[test]
    fn a_dead_node_is_seen_by_all_survivors_and_only_it() {
        for seed in 0..10 {
            let mut net = Net::new(5, seed);
            net.run(Duration::from_secs(5));
            net.seen.clear();
            net.dead.push(name(2));
            net.run(Duration::from_secs(5));
            let mut accusers: Vec<_> = net
                .seen
                .iter()
                .map(|(_, by, of, seen)| {
                    assert_eq!((of, *seen), (&name(2), Reachability::Unreachable), "seed {seed}");
                    by.clone()
                })
                .collect();
            accusers.sort();
            assert_eq!(accusers, [name(0), name(1), name(3), name(4)], "seed {seed}");
        }
    }

    #[test]
    fn a_false_rumour_costs_a_refutation() {
        let mut net = Net::new(3, 1);
        net.run(Duration::from_secs(2));
        let before = net.nodes[&name(0)].me().clone();
        // A member spreads that n0 is down: a packet from n1 with that update.
        let config = GossipConfig::from(&Profile::lan());
        let mut liar = Gossip::new(GossipId::new(name(1), Boot(1)), &config, 99);
        let mut out = Vec::new();
        let rumour = [Member::down(before.clone()), Member::alive(GossipId::new(name(2), Boot(1)))];
        let mut effects = AccumulatingRuntime::new();
        liar.foca.apply_many(rumour.into_iter(), true, &mut effects).expect("applies");
        liar.foca.gossip(&mut effects).expect("gossips");
        liar.carry_out(net.now, &mut effects, &mut out);
        for output in out {
            if let Output::Send { to, packet } = output {
                net.step(&to, Input::Packet(packet));
            }
        }
        net.run(Duration::from_secs(5));
        let after = net.nodes[&name(0)].me();
        assert_eq!((&after.node, after.boot), (&before.node, before.boot));
        assert!(after.incarnation > before.incarnation, "it refuted");
        let last = net.seen.iter().rfind(|(_, by, of, _)| (by, of) == (&name(2), &name(0)));
        assert!(last.is_none_or(|(.., seen)| *seen == Reachability::Reachable));
    }

    #[test]
    fn garbage_is_counted_and_changes_nothing() {
        let mut net = Net::new(3, 1);
        net.run(Duration::from_secs(1));
        net.seen.clear();
        for garbage in [&b""[..], b"\xff\xff\xff\xff", &[0; 1_000], &[7; 2_000]] {
            net.step(&name(0), Input::Packet(Bytes::copy_from_slice(garbage)));
        }
        net.run(Duration::from_secs(5));
        assert!(net.nodes[&name(0)].refused_packets() >= 3);
        assert_eq!(net.seen, []);
    }
}
