//! Who seems alive, as a machine: packets and instants in, packets and observations out.
//!
//! SWIM (the crate `foca`) probes members at random and spreads news. Around it lie:
//!
//! - **watching**: every node checks each period the few nodes before it on a ring of hashed names,
//!   unless they were heard anyway, so that a death is noticed in a period and by several;
//! - **doubt**: whoever hears nothing says so by name; a member is unreachable once two observers
//!   said so and it had time to refute. Nobody is ever declared down but by the agreed view, so a
//!   false rumour costs a refutation, and a node that comes back is simply heard;
//! - **self-doubt**: a node whose own probes fail, or whose loop is late, stretches its timers, and
//!   time in which its loop did not run is not held against others (Lifeguard);
//! - **cards**: what each node says of itself, spread on change, compared now and then.

mod alarms;
mod cards;
mod check;
mod doubt;
mod members;
mod swim;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, PostcardCodec};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use self::alarms::{Alarm, Alarms};
#[cfg(test)]
pub(super) use self::cards::Digest;
use self::check::Check;
use self::members::Seen;
pub use self::members::Sight;
use self::swim::Probe;
use super::record::{Card, Records};
use super::watchers::WatchRing;
use super::{GossipId, Reachability};
use crate::base::{Boot, Instant, NodeId, Version};
use crate::detector::LocalHealth;
use crate::placement::Profile;

/// How many nodes watch each node.
pub const WATCHERS: usize = 3;
/// Observers whose word makes a member unreachable; one where only one is left to observe.
pub const OBSERVERS: usize = 2;

/// Timing of the gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipConfig {
    /// Time between two probes.
    pub period: Duration,
    /// How long a direct probe may take before others are asked to probe too.
    pub rtt: Duration,
    /// Multiplier of the time a suspect has to refute.
    pub suspicion: u8,
    /// How many nodes watch each node.
    pub watchers: usize,
}

impl From<&Profile> for GossipConfig {
    fn from(profile: &Profile) -> Self {
        Self {
            period: profile.gossip_period,
            rtt: profile.gossip_rtt,
            suspicion: profile.suspicion,
            watchers: WATCHERS,
        }
    }
}

/// What a node says of itself, but for its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// It leaves of its own will.
    pub leaving: bool,
    /// It hands its shards over.
    pub draining: bool,
    /// Its failing health probes, sorted; more than [`FAILING_MAX`](super::FAILING_MAX) and longer
    /// names than [`PROBE_NAME_BYTES_MAX`](super::PROBE_NAME_BYTES_MAX) are left out.
    pub failing: Vec<String>,
    /// Its failure zone.
    pub zone: String,
    /// The view it has applied.
    pub view: Version,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A packet arrived, over a link that proves who sent it.
    Packet {
        /// The sender.
        from: NodeId,
        /// Its life.
        boot: Boot,
        /// What it sent.
        bytes: Bytes,
    },
    /// Anything else arrived on an authenticated control link.
    Heard(NodeId),
    /// An established control link to or from this node broke.
    Broken(NodeId),
    /// These are the committed members.
    Committed(Vec<(NodeId, Boot)>),
    /// What this node says of itself from now on.
    Own(Own),
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
    /// The observation of a member changed.
    Observed {
        /// The node.
        node: NodeId,
        /// In which life.
        boot: Boot,
        /// What it is now.
        reachability: Reachability,
        /// Who says so, sorted; empty if it is reachable.
        observers: Vec<NodeId>,
    },
    /// A member is more silent than its habits explain, or a link to it broke: route around it
    /// until something of it arrives.
    Late {
        /// The node.
        node: NodeId,
        /// Whether it is so now.
        is_late: bool,
    },
    /// What a member says of itself changed.
    Said {
        /// Before, if anything was known.
        before: Option<Card>,
        /// Now.
        now: Card,
    },
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GossipCounts {
    /// Packets that were malformed, or not from whom they said.
    pub refused: u64,
    /// Packets of nodes that are no members here.
    pub strangers: u64,
    /// Rumours that nobody may spread, taken out of packets.
    pub stripped: u64,
    /// Times this node had to refute that it is suspect.
    pub refuted: u64,
    /// Times its loop was so late that it gave others the time back.
    pub stalls: u64,
    /// Probes and checks that had no answer.
    pub failed: u64,
    /// Checks that did not begin because too many were going on.
    pub checks_dropped: u64,
}

/// The gossip of one life of one node.
pub struct Gossip {
    config: GossipConfig,
    swim: Foca<GossipId, PostcardCodec, SmallRng, Records>,
    rng: SmallRng,
    alarms: Alarms,
    members: BTreeMap<NodeId, Seen>,
    ring: WatchRing,
    /// The nodes this one watches; `None` if that must be found anew.
    watched: Option<Vec<NodeId>>,
    health: LocalHealth,
    /// SWIM's own probe.
    probe: Option<Probe>,
    checks: BTreeMap<NodeId, Check>,
    numbers: u32,
    /// The incarnation that SWIM last sent.
    incarnation: u16,
    card: Card,
    /// When this node says what changed, if anything did.
    saying: Option<Instant>,
    /// Its own rounds have begun.
    begun: bool,
    /// It has compared its cards with somebody's since it began.
    synced: bool,
    /// When it last took a name above one that somebody used for it.
    outran: Option<Instant>,
    /// An alarm to compare cards because somebody joined is set.
    comparing: bool,
    /// Sum of the hashes of all cards, this node's included.
    digest: u64,
    counts: GossipCounts,
}

impl Gossip {
    /// A node that knows nobody yet. `seed` fixes its choices.
    #[must_use]
    pub fn new(me: GossipId, config: &GossipConfig, seed: u64) -> Self {
        let card = Card::new(me.node.clone(), me.boot);
        let mut ring = WatchRing::default();
        ring.insert(&me.node);
        let swim = Foca::with_custom_broadcast(
            me,
            swim::foca_config(config, 1),
            SmallRng::seed_from_u64(seed),
            PostcardCodec,
            Records,
        );
        Self {
            config: config.clone(),
            swim,
            // Other choices than SWIM's.
            rng: SmallRng::seed_from_u64(!seed),
            alarms: Alarms::default(),
            members: BTreeMap::new(),
            ring,
            watched: None,
            health: LocalHealth::default(),
            probe: None,
            checks: BTreeMap::new(),
            numbers: 0,
            incarnation: 0,
            digest: cards::hash(&card),
            card,
            saying: None,
            begun: false,
            synced: false,
            outran: None,
            comparing: false,
            counts: GossipCounts::default(),
        }
    }

    /// Who this node is in the gossip at present.
    #[must_use]
    pub fn me(&self) -> &GossipId {
        self.swim.identity()
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> GossipCounts {
        self.counts
    }

    /// From 0, all is well, to 7: how much this node doubts itself.
    #[must_use]
    pub fn self_doubt(&self) -> u32 {
        self.health.score()
    }

    /// When [`Input::TimePassed`] is next of use.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.alarms.next()
    }

    /// Takes one input at `now` and appends what must be done, in order.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.give_time_back(now);
        match input {
            Input::Packet { from, boot, bytes } => self.packet(now, (&from, boot), &bytes, out),
            Input::Heard(node) => self.heard(now, &node, out),
            Input::Broken(node) => self.late(now, &node, out),
            Input::Committed(members) => self.committed(now, members, out),
            Input::Own(own) => self.own(now, own, out),
            Input::TimePassed => {}
        }
        for alarm in self.alarms.due(now) {
            self.fire(now, alarm, out);
        }
    }

    /// After a stall, all that judges others comes later by the time the loop did not run, and by a
    /// round trip more: what arrived meanwhile is read first. What only speaks goes on. A node that
    /// was stalled doubts itself.
    fn give_time_back(&mut self, now: Instant) {
        let late = self.alarms.next().map_or(Duration::ZERO, |due| now.since(due));
        if late <= self.config.rtt {
            return;
        }
        self.counts.stalls += 1;
        let periods = late.as_nanos() / self.config.period.as_nanos().max(1);
        self.health.apply(1 + i32::try_from(periods.min(7)).unwrap_or(7));
        let span = late + self.config.rtt;
        self.alarms.postpone(span);
        for seen in self.members.values_mut() {
            let heard = seen.heard;
            if let Some(doubt) = &mut seen.doubt
                && heard.is_none_or(|heard| heard < doubt.since)
            {
                doubt.since = (doubt.since + span).min(now);
            }
        }
    }

    fn fire(&mut self, now: Instant, alarm: Alarm, out: &mut Vec<Output>) {
        match alarm {
            Alarm::Swim(timer) => self.swim_timer(now, timer, out),
            Alarm::Watch => self.watch(now, out),
            Alarm::Say => self.say(),
            Alarm::Sync => self.sync(now, out),
            Alarm::Compare => self.compare(out),
            Alarm::AskOthers(node, number) => self.ask_others(&node, number, out),
            Alarm::CheckEnds(node, number) => self.check_ends(now, &node, number, out),
            Alarm::Judge(node) => self.judge_in_time(now, &node, out),
            Alarm::Silent(node, boot) => self.silent(now, (&node, boot), out),
        }
    }

    /// A number below `most`, by this node's own chance; 0 if that is 0.
    fn draw(&mut self, most: u64) -> u64 {
        self.rng.random_range(0..most.max(1))
    }

    /// As [`Self::draw`], a place in a list.
    fn draw_index(&mut self, len: usize) -> usize {
        usize::try_from(self.draw(len as u64)).unwrap_or(0)
    }

    /// A new number for something this node says.
    fn number(&mut self) -> u32 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// Nodes of the cluster, this one included.
    fn size(&self) -> usize {
        self.members.len() + 1
    }

    /// What must always hold, for tests and simulation.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        let me = &self.me().node;
        if self.members.contains_key(me) {
            return Err(format!("{me} observes itself"));
        }
        for (node, seen) in &self.members {
            seen.check().map_err(|why| format!("{node} at {me}: {why}"))?;
        }
        let cards = self.members.values().filter_map(|seen| seen.card.as_ref());
        let sum = cards.chain([&self.card]).map(cards::hash).fold(0, u64::wrapping_add);
        if sum != self.digest {
            return Err(format!("the digest at {me} is not that of its cards"));
        }
        // Each member has at most a timer of SWIM's, one to judge and one for silence; each check
        // two, and the node a handful.
        let most = 8 + 4 * self.members.len() + 2 * check::CHECKS_MAX + self.swim_timers_max();
        if self.alarms.len() > most {
            return Err(format!("{} alarms at {me}, {most} at most", self.alarms.len()));
        }
        Ok(())
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("me", self.me())
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

/// For the fuzz target `gossip`: one packet into a node of three, and what follows of it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_gossip(bytes: &[u8]) -> bool {
    use super::packet::PACKET_BYTES_MAX;

    let name = |name: &str| name.parse::<NodeId>().expect("a name");
    let boot = Boot(300);
    let members = ["n1", "n2", "n3"].map(|node| (name(node), boot));
    let config = GossipConfig::from(&Profile::lan());
    let mut gossip = Gossip::new(GossipId::new(name("n1"), boot), &config, 1);
    let mut out = Vec::new();
    gossip.step(Instant::ZERO, Input::Committed(members.to_vec()), &mut out);
    let (from, bytes) = (name("n2"), Bytes::copy_from_slice(bytes));
    gossip.step(Instant::ZERO, Input::Packet { from, boot, bytes }, &mut out);
    for _ in 0..20 {
        let Some(next) = gossip.next_deadline() else { break };
        gossip.step(next, Input::TimePassed, &mut out);
        gossip.check_invariants().expect("holds");
    }
    for output in out {
        if let Output::Send { packet, .. } = output {
            assert!(packet.len() <= PACKET_BYTES_MAX, "{} bytes", packet.len());
        }
    }
    gossip.counts().refused == 0
}
