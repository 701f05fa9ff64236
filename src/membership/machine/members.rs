//! The committed members, and what is known of each.

use std::collections::BTreeSet;
use std::time::Duration;

use foca::{AccumulatingRuntime, Member, State};

use super::alarms::Alarm;
use super::doubt::Doubt;
use super::{Gossip, Output, swim};
use crate::base::{Boot, Instant, NodeId};
use crate::detector::{HeartbeatConfig, Heartbeats};
use crate::membership::record::Card;
use crate::membership::{GossipId, Reachability};

/// Intervals between arrivals that are remembered of each member.
const WINDOW: usize = 100;
/// Intervals after which a member has habits: before, its silence means nothing. Most members are
/// probed now and then only, and their silence is the rule.
const HABIT: usize = 10;
/// After how many periods a node repeats its first card.
const SAID_AGAIN: [u32; 2] = [2, 6];
/// Least deviation of these intervals, in thousandths of a period: a retransmission of TCP must
/// not look like a death.
const DEVIATION_PERMILLE: u32 = 400;

/// What is known of one member.
#[derive(Debug)]
pub(super) struct Seen {
    /// Its name in the gossip; grows.
    pub(super) id: GossipId,
    /// Its incarnation under that name, as SWIM knows it; grows.
    pub(super) incarnation: u16,
    /// What this node makes of it.
    pub(super) reachability: Reachability,
    pub(super) doubt: Option<Doubt>,
    /// When it is judged next, and the alarm for it.
    pub(super) judged: Option<(Instant, u64)>,
    pub(super) card: Option<Card>,
    /// When anything of it arrived last.
    pub(super) heard: Option<Instant>,
    /// How regularly; from its first arrival on.
    pub(super) beats: Option<Box<Heartbeats>>,
    /// An alarm for its silence is set.
    listening: bool,
    /// It is more silent than its habits explain, or a link to it broke, and nothing came since.
    pub(super) is_late: bool,
    /// How long its last probe took.
    pub(super) round_trip: Option<Duration>,
    /// When it was last told that it is in doubt.
    pub(super) told: Option<Instant>,
    /// When this node last sent it its cards, or asked for its own.
    pub(super) compared: Option<Instant>,
}

impl Seen {
    fn new(id: GossipId) -> Self {
        Self {
            id,
            incarnation: 0,
            reachability: Reachability::Reachable,
            doubt: None,
            judged: None,
            card: None,
            heard: None,
            beats: None,
            listening: false,
            is_late: false,
            round_trip: None,
            told: None,
            compared: None,
        }
    }

    /// Whether anything of it arrived at `since` or later.
    pub(super) fn heard_since(&self, since: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= since)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let observers = self.doubt.as_ref().map_or(0, |doubt| doubt.observers.len());
        match self.reachability {
            Reachability::Reachable => Ok(()),
            Reachability::Suspect | Reachability::Unreachable if observers > 0 => Ok(()),
            Reachability::Suspect | Reachability::Unreachable => {
                Err(format!("{:?} by nobody's word", self.reachability))
            }
        }
    }
}

/// One member as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Its life.
    pub boot: Boot,
    /// What this node makes of it.
    pub reachability: Reachability,
    /// Who doubts it, sorted.
    pub observers: Vec<NodeId>,
    /// What it says of itself, if that came.
    pub card: Option<Card>,
    /// How long its last probe took.
    pub round_trip: Option<Duration>,
    /// How long nothing of it arrived; `None` if nothing ever did.
    pub silent: Option<Duration>,
    /// It is more silent than its habits explain, or a link to it broke, and nothing came since.
    pub is_late: bool,
}

impl Gossip {
    /// What this node knows of a member at `now`; `None` if it is none, or this node itself.
    #[must_use]
    pub fn sight(&self, now: Instant, node: &NodeId) -> Option<Sight> {
        let seen = self.members.get(node)?;
        let doubted = seen.reachability != Reachability::Reachable;
        let doubt = seen.doubt.as_ref().filter(|_| doubted);
        Some(Sight {
            boot: seen.id.boot,
            reachability: seen.reachability,
            observers: doubt.map(|_| self.believed(node)).unwrap_or_default(),
            card: seen.card.clone(),
            round_trip: seen.round_trip,
            silent: seen.heard.map(|heard| now.since(heard)),
            is_late: seen.is_late,
        })
    }

    /// The members that this node observes, by name.
    pub fn observed(&self) -> impl Iterator<Item = (&NodeId, Boot, Reachability)> {
        self.members.iter().map(|(node, seen)| (node, seen.id.boot, seen.reachability))
    }

    /// The members to route around: see [`Hints`](crate::membership::Hints).
    #[must_use]
    pub fn gone(&self) -> BTreeSet<NodeId> {
        let gone = self
            .members
            .iter()
            .filter(|(_, seen)| seen.is_late || seen.reachability == Reachability::Unreachable);
        gone.map(|(node, _)| node.clone()).collect()
    }

    /// What this node says of itself.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Follows the committed members: who is no member any more is forgotten, and who is new counts
    /// as alive until shown otherwise.
    pub(super) fn committed(
        &mut self,
        now: Instant,
        members: Vec<(NodeId, Boot)>,
        out: &mut Vec<Output>,
    ) {
        let me = self.me().node.clone();
        let present: BTreeSet<&NodeId> = members.iter().map(|(node, _)| node).collect();
        let gone: Vec<NodeId> =
            self.members.keys().filter(|node| !present.contains(node)).cloned().collect();
        let mut updates = Vec::new();
        for node in gone {
            let Some(seen) = self.members.remove(&node) else { continue };
            self.forget(&node, &seen);
            self.ring.remove(&node);
            updates.push(Member::new(seen.id, 0, State::Down));
        }
        for (node, boot) in members {
            if node == me {
                continue;
            }
            let known = self.members.get(&node).map(|seen| seen.id.boot);
            // An older life than the known one is in a view that is older.
            if known.is_some_and(|known| known >= boot) {
                continue;
            }
            let id = GossipId::new(node.clone(), boot);
            updates.push(Member::alive(id.clone()));
            if let Some(before) = self.members.insert(node.clone(), Seen::new(id)) {
                self.forget(&node, &before);
            }
            self.ring.insert(&node);
        }
        if updates.is_empty() {
            return;
        }
        self.watched = None;
        let config = swim::foca_config(&self.config, self.size());
        let mut effects = AccumulatingRuntime::new();
        // Both fail only where an encoding or a period is at fault, and these are the same as ever.
        let applied = self.swim.apply_many(updates.into_iter(), false, &mut effects);
        if applied.and_then(|()| self.swim.set_config(config)).is_err() {
            self.counts.refused += 1;
        }
        self.carry_out(now, &mut effects, out);
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(now);
        }
        self.compare_soon(now);
    }

    /// The node's own rounds begin with its first company.
    fn begin(&mut self, now: Instant) {
        let watch = self.within(self.config.period);
        self.alarms.set(now + watch, Alarm::Watch);
        let sync = self.within(self.config.period);
        self.alarms.set(now + sync, Alarm::Sync);
        // More than once: others may learn a little later that it is a member.
        for periods in SAID_AGAIN {
            self.alarms.set(now + self.config.period * periods, Alarm::Say);
        }
        self.changed(now);
    }

    fn forget(&mut self, node: &NodeId, seen: &Seen) {
        self.checks.remove(node);
        if let Some(card) = &seen.card {
            self.digest = self.digest.wrapping_sub(super::cards::hash(card));
        }
    }

    /// Something of `node` arrived, whatever it is: it is alive, for this node at least.
    pub(super) fn heard(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let config = self.heartbeat_config();
        let Some(seen) = self.members.get_mut(node) else { return };
        seen.heard = Some(now);
        let beats = seen.beats.get_or_insert_with(|| Box::new(Heartbeats::new(config)));
        beats.heard(now);
        if !seen.listening && beats.intervals() >= HABIT {
            seen.listening = true;
            let silent = Alarm::Silent(node.clone(), seen.id.boot);
            self.alarms.set(beats.deadline(), silent);
        }
        if std::mem::take(&mut seen.is_late) {
            out.push(Output::Late { node: node.clone(), is_late: false });
        }
        let in_doubt =
            |seen: &Seen| seen.doubt.is_some() || seen.reachability != Reachability::Reachable;
        if self.members.get(node).is_some_and(in_doubt) {
            self.judge(now, node, out);
        }
    }

    fn heartbeat_config(&self) -> HeartbeatConfig {
        HeartbeatConfig {
            window: WINDOW,
            deviation_min: self.config.period * DEVIATION_PERMILLE / 1_000,
            pause: Duration::ZERO,
            first_interval: self.config.period,
            ..HeartbeatConfig::default()
        }
    }

    /// The silence of `node` may be longer than its habits explain: then it is asked.
    pub(super) fn silent(
        &mut self,
        now: Instant,
        (node, boot): (&NodeId, Boot),
        out: &mut Vec<Output>,
    ) {
        let seen = self.members.get_mut(node).filter(|seen| seen.listening);
        let Some(seen) = seen.filter(|seen| seen.id.boot == boot) else { return };
        let Some(beats) = &seen.beats else { return };
        let deadline = beats.deadline();
        if now < deadline {
            self.alarms.set(deadline, Alarm::Silent(node.clone(), boot));
            return;
        }
        // It must show habits again: who spoke often, as a leader does, may have become quiet.
        (seen.beats, seen.listening) = (None, false);
        self.late(now, node, out);
    }

    /// There is reason to think that `node` is gone.
    pub(super) fn late(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(seen) = self.members.get_mut(node) else { return };
        if !std::mem::replace(&mut seen.is_late, true) {
            out.push(Output::Late { node: node.clone(), is_late: true });
        }
        self.check(now, node, out);
    }
}
