//! SWIM itself, by the crate `foca`: its packets, its timers, and what they tell about this node.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Config, Header, Member, Message, OwnedNotification, PeriodicParams, State,
    Timer,
};

use super::alarms::Alarm;
use super::check::Failed;
use super::{Gossip, GossipConfig, Output};
use crate::base::{Boot, Instant, NodeId};
use crate::membership::GossipId;
use crate::membership::packet::{Kind, LEAP_MAX, PACKET_BYTES_MAX, Packet};
use crate::membership::record::Record;
use crate::membership::timing::transmissions;

/// Nodes that are asked to probe for this one.
pub(super) const HELPERS: usize = 3;
/// Multiplier of how often news is passed on (memberlist: 4).
const TRANSMISSIONS: u8 = 4;
/// Nodes that hear news in each round.
const LISTENERS: usize = 3;
/// How long SWIM remembers who is a member no more.
const FORGET_AFTER: Duration = Duration::from_mins(1);

/// The probe of SWIM's that is going on.
#[derive(Debug)]
pub(super) struct Probe {
    id: GossipId,
    number: u8,
    at: Instant,
    answered: bool,
    helpers: Vec<NodeId>,
}

fn non_zero(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// How foca is set up in a cluster of `nodes`.
pub(super) fn foca_config(config: &GossipConfig, nodes: usize) -> Config {
    let times = u8::try_from(transmissions(TRANSMISSIONS, nodes)).unwrap_or(u8::MAX);
    Config {
        probe_period: config.period,
        probe_rtt: config.rtt,
        num_indirect_probes: non_zero(HELPERS),
        max_transmissions: NonZeroU8::new(times).unwrap_or(NonZeroU8::MIN),
        // Never used: suspicions are judged here.
        suspect_to_down_after: config.period,
        remove_down_after: Some(FORGET_AFTER),
        // The kind of the packet comes before it.
        max_packet_size: non_zero(PACKET_BYTES_MAX - 1),
        notify_down_members: false,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams {
            frequency: config.period / 2,
            num_members: non_zero(LISTENERS),
        }),
    }
}

impl Gossip {
    /// Takes a packet of `from`, which its link vouches for.
    pub(super) fn packet(
        &mut self,
        now: Instant,
        from: (&NodeId, Boot),
        packet: &Bytes,
        out: &mut Vec<Output>,
    ) {
        let (node, boot) = from;
        if self.members.get(node).is_none_or(|seen| seen.id.boot != boot) {
            self.counts.strangers += 1;
            return;
        }
        self.heard(now, node, out);
        let taken = match Kind::split(packet) {
            Some((Kind::Swim, body)) => self.swim_packet(now, from, body, out),
            Some((Kind::Digest, body)) => self.digest(now, node, &body, out),
            Some((Kind::Cards, body)) => self.cards(now, node, &body, out),
            None => None,
        };
        if taken.is_none() {
            self.counts.refused += 1;
        }
    }

    fn swim_packet(
        &mut self,
        now: Instant,
        (node, boot): (&NodeId, Boot),
        body: Bytes,
        out: &mut Vec<Output>,
    ) -> Option<()> {
        let mut packet = Packet::decode(body)?;
        let header = packet.header.clone();
        let src = &header.src;
        if src.node != *node || src.boot != boot || header.message == Message::TurnUndead {
            return None;
        }
        if let Message::PingReq { target, .. } = &header.message
            && self.members.get(&target.node).is_none_or(|seen| seen.id.boot != target.boot)
        {
            // One that is no member here any more, or not yet.
            self.counts.strangers += 1;
            return Some(());
        }
        self.learn(now, src, header.src_incarnation, out);
        self.tell(now, &header, out);
        if header.dst.node == self.me().node && header.dst != *self.me() {
            // SWIM takes nothing that is for an older name: the sender learns the new one.
            send(&Packet::new(self.me(), self.incarnation, src, Message::Gossip), out);
        }
        let records = std::mem::take(&mut packet.records);
        let (of_me, of_others): (Vec<_>, Vec<_>) = std::mem::take(&mut packet.updates)
            .into_iter()
            .partition(|update| update.id().node == self.me().node);
        let before = of_others.len();
        packet.updates = of_others.into_iter().filter(|update| self.admits(update)).collect();
        self.counts.stripped += (before - packet.updates.len()) as u64;
        for update in of_me {
            self.said_of_me(now, &update, out);
        }
        for update in &packet.updates {
            if update.state() == State::Alive && update.id().node != *node {
                self.learn(now, update.id(), update.incarnation(), out);
            }
        }
        self.answered(now, &header);
        let mut effects = AccumulatingRuntime::new();
        if let Message::PingReq { .. } = header.message {
            // Word that this node will try, so that silence means that it is gone.
            send(&Packet::new(self.me(), self.incarnation, src, Message::Gossip), out);
        }
        let handled = self.swim.handle_data(&packet.encode()?, &mut effects);
        self.carry_out(now, &mut effects, out);
        for bytes in &records {
            match Record::decode(bytes) {
                Some(Record::Card(card)) => self.take_card(now, node, card, out),
                Some(Record::Word(word)) => self.word(now, &word, bytes, out),
                None => self.counts.refused += 1,
            }
        }
        handled.ok()
    }

    /// Whether a rumour of another member may be spread.
    fn admits(&self, update: &Member<GossipId>) -> bool {
        let id = update.id();
        let Some(seen) = self.members.get(&id.node).filter(|seen| seen.id.boot == id.boot) else {
            return false;
        };
        let known = if seen.id == *id { seen.incarnation } else { 0 };
        update.state() != State::Down
            && id.incarnation <= seen.id.incarnation.saturating_add(LEAP_MAX)
            && u32::from(update.incarnation()) <= u32::from(known) + LEAP_MAX
    }

    /// Something is said of this node: it refutes a suspicion, and takes a name above one that it
    /// does not have yet; that at most once a period, whoever says what.
    fn said_of_me(&mut self, now: Instant, update: &Member<GossipId>, out: &mut Vec<Output>) {
        let (id, me) = (update.id(), self.me());
        if id == me {
            if update.state() == State::Suspect {
                self.refute(now, true, update.incarnation(), out);
            }
            return;
        }
        let above = id.boot == me.boot && id.incarnation > me.incarnation;
        let is_near = id.incarnation <= me.incarnation.saturating_add(LEAP_MAX);
        let may = self.outran.is_none_or(|outran| now >= outran + self.config.period);
        if above && is_near && may {
            self.outran = Some(now);
            self.outrun(now, id.incarnation, out);
        } else {
            self.counts.stripped += 1;
        }
    }

    /// Takes a name above `incarnation`, which somebody used for this node.
    fn outrun(&mut self, now: Instant, incarnation: u32, out: &mut Vec<Output>) {
        let above = incarnation.saturating_add(1);
        let id = GossipId { incarnation: above, ..self.me().clone() };
        self.counts.refuted += 1;
        let mut effects = AccumulatingRuntime::new();
        let changed = self.swim.change_identity(id, &mut effects);
        // Without news, only so that it goes on at once.
        let joined = self.swim.apply_many(std::iter::empty(), false, &mut effects);
        if changed.and(joined).is_err() {
            self.counts.refused += 1;
        }
        self.incarnation = 0;
        self.probe = None;
        self.carry_out(now, &mut effects, out);
    }

    /// Tells the sender of a packet what it must refute: a doubt, or a name that it does not use.
    fn tell(&mut self, now: Instant, header: &Header<GossipId>, out: &mut Vec<Output>) {
        let period = self.config.period;
        let Some(seen) = self.members.get_mut(&header.src.node) else { return };
        let update = match &seen.doubt {
            _ if seen.id != header.src => Member::alive(seen.id.clone()),
            Some(doubt) if doubt.incarnation >= header.src_incarnation => {
                Member::new(seen.id.clone(), doubt.incarnation, State::Suspect)
            }
            Some(_) | None => return,
        };
        if seen.told.is_some_and(|told| now < told + period) {
            return;
        }
        seen.told = Some(now);
        let mut packet = Packet::new(self.me(), self.incarnation, &header.src, Message::Gossip);
        packet.updates.push(update);
        send(&packet, out);
    }

    /// Takes note of an answer to a probe or a check of this node's.
    fn answered(&mut self, now: Instant, header: &Header<GossipId>) {
        let (of, number, direct) = match &header.message {
            Message::Ack(number) => (&header.src, *number, true),
            Message::ForwardedAck { origin, probe_number } => (origin, *probe_number, false),
            Message::Ping(_)
            | Message::PingReq { .. }
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::Announce
            | Message::Feed
            | Message::Gossip
            | Message::Broadcast
            | Message::TurnUndead => return,
        };
        let mut asked_at = None;
        let is_asked = |helpers: &[NodeId]| direct || helpers.contains(&header.src.node);
        if let Some(probe) = &mut self.probe
            && probe.id == *of
            && probe.number == number
            && !probe.answered
            && is_asked(&probe.helpers)
        {
            probe.answered = true;
            asked_at = Some(probe.at);
        }
        if let Some(check) = self.checks.get_mut(&of.node)
            && check.id == *of
            && check.number == number
            && !check.answered
            && is_asked(&check.helpers)
        {
            check.answered = true;
            asked_at = Some(check.at);
        }
        let Some(at) = asked_at else { return };
        self.health.apply(-1);
        if direct && let Some(seen) = self.members.get_mut(&of.node) {
            seen.round_trip = Some(now.since(at));
        }
    }

    pub(super) fn swim_timer(
        &mut self,
        now: Instant,
        timer: Timer<GossipId>,
        out: &mut Vec<Output>,
    ) {
        if matches!(timer, Timer::ProbeRandomMember(_)) {
            self.answer_for(now, out);
        }
        let mut effects = AccumulatingRuntime::new();
        if let Err(error) = self.swim.handle_timer(timer, &mut effects) {
            // A loop that was late: foca resumes by itself.
            tracing::debug!(%error, "gossip timer");
        }
        self.carry_out(now, &mut effects, out);
    }

    /// Whoever was heard since SWIM probed it has answered, whatever it was that arrived: SWIM,
    /// which counts acknowledgements alone, is given one.
    fn answer_for(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(probe) = self.probe.as_ref().filter(|probe| !probe.answered) else { return };
        let Some(seen) = self.members.get(&probe.id.node) else { return };
        if seen.id != probe.id || !seen.heard_since(probe.at) {
            return;
        }
        let ack = Message::Ack(probe.number);
        let packet = Packet::new(&probe.id, seen.incarnation, self.me(), ack);
        let mut effects = AccumulatingRuntime::new();
        let handled = packet.encode().map(|bytes| self.swim.handle_data(&bytes, &mut effects));
        if !matches!(handled, Some(Ok(()))) {
            self.counts.refused += 1;
        }
        self.carry_out(now, &mut effects, out);
    }

    pub(super) fn carry_out(
        &mut self,
        now: Instant,
        effects: &mut AccumulatingRuntime<GossipId>,
        out: &mut Vec<Output>,
    ) {
        // One call of SWIM's ends a probe and begins the next: the old one is judged by what is
        // known of it, so it is taken before the new one is heard of.
        let mut failed = Vec::new();
        let mut timers = Vec::new();
        while let Some((after, timer)) = effects.to_schedule() {
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer {
                failed.push((member_id, incarnation));
            } else {
                timers.push((after, timer));
            }
        }
        let ended = if failed.is_empty() { None } else { self.probe.take() };
        while let Some(notification) = effects.to_notify() {
            self.notified(now, notification, out);
        }
        while let Some((to, packet)) = effects.to_send() {
            out.push(Output::Send { to: to.node, packet: Kind::Swim.framed(&packet) });
        }
        for (after, timer) in timers {
            let after = match &timer {
                Timer::ProbeRandomMember(_) => self.health.scaled(after),
                Timer::SendIndirectProbe { probed_id, .. } => {
                    let span = self.answer_within(now, &probed_id.node);
                    self.health.scaled(span)
                }
                Timer::ChangeSuspectToDown { .. }
                | Timer::PeriodicAnnounce(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::PeriodicGossip(_)
                | Timer::RemoveDown(_) => after,
            };
            self.alarms.set(now + after, Alarm::Swim(timer));
        }
        for (id, incarnation) in failed {
            if let Some(probe) = ended.as_ref().filter(|probe| probe.id == id) {
                let (at, helpers) = (probe.at, &probe.helpers[..]);
                self.no_answer(now, &Failed { id: &id, incarnation, at, helpers }, out);
            }
        }
    }

    fn notified(
        &mut self,
        now: Instant,
        notification: OwnedNotification<GossipId>,
        out: &mut Vec<Output>,
    ) {
        let header = match notification {
            OwnedNotification::DataSent(header) => header,
            OwnedNotification::Rename(_, id) | OwnedNotification::MemberUp(id) => {
                if let Some(seen) = self.members.get_mut(&id.node)
                    && seen.id.boot == id.boot
                    && seen.id.incarnation < id.incarnation
                {
                    let node = id.node.clone();
                    (seen.id, seen.incarnation, seen.doubt) = (id, 0, None);
                    self.judge(now, &node, out);
                }
                return;
            }
            OwnedNotification::MemberDown(_)
            | OwnedNotification::Active
            | OwnedNotification::Idle
            | OwnedNotification::Defunct
            | OwnedNotification::Rejoin(_)
            | OwnedNotification::DataReceived(_)
            | OwnedNotification::ProbeFailed(..) => return,
        };
        self.incarnation = header.src_incarnation;
        match header.message {
            Message::Ping(number) => {
                let (id, at) = (header.dst, now);
                self.probe = Some(Probe { id, number, at, answered: false, helpers: Vec::new() });
            }
            Message::PingReq { .. } => {
                if let Some(probe) = &mut self.probe {
                    probe.helpers.push(header.dst.node);
                }
            }
            Message::Ack(_)
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::ForwardedAck { .. }
            | Message::Announce
            | Message::Feed
            | Message::Gossip
            | Message::Broadcast
            | Message::TurnUndead => {}
        }
    }

    /// How long `node` has to answer before others are asked: as long as its habits still explain
    /// its silence, at least the round trip of the profile and at most two thirds of a period.
    pub(super) fn answer_within(&self, now: Instant, node: &NodeId) -> Duration {
        let most = (self.config.period * 2 / 3).max(self.config.rtt);
        let beats = self.members.get(node).and_then(|seen| seen.beats.as_ref());
        let habit = beats.map_or(Duration::ZERO, |beats| beats.deadline().since(now));
        habit.clamp(self.config.rtt, most)
    }

    /// Timers that SWIM may have set at once: its rounds, those of a name before, and one for each
    /// node that is a member no more.
    pub(super) fn swim_timers_max(&self) -> usize {
        16 + self.swim.iter_membership_state().len()
    }
}

/// Sends a packet of this node's own making.
pub(super) fn send(packet: &Packet, out: &mut Vec<Output>) {
    let to = packet.header.dst.node.clone();
    // What this node names encodes always.
    if let Some(body) = packet.encode() {
        out.push(Output::Send { to, packet: Kind::Swim.framed(&body) });
    }
}
