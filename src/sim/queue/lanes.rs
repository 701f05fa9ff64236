//! Links between the nodes of a swarm, as a control link looks from above.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::events::{Conn, Event};
use super::laws::Broken;
use super::machine::Happened;
use super::swarm::Swarm;
use crate::base::{Instant, Rng as _};
use crate::sim::net::{RETRANSMISSIONS_MAX, delay};
use crate::wire::HEADER_BYTES;

/// Of a TLS 1.3 record: header 5, content type 1, tag 16 (RFC 8446, 5.2).
const RECORD_BYTES: usize = 22;
/// Bytes on the wire beside each packet: the frame's header and a TLS record of its own.
pub const WIRE_EXTRA_BYTES: usize = HEADER_BYTES + RECORD_BYTES;
/// TCP, TLS 1.3 and our own handshake.
const HANDSHAKE_ROUND_TRIPS: u32 = 3;
/// When a first segment that nobody answered is sent again, counted from the dial (RFC 6298, 2.1;
/// Linux waits 1 s, then 2).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// What stands between two nodes in one direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) link: Option<Link>,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialling {
        deadline: Instant,
    },
    Standing,
    /// Nothing gets through: what is sent waits for a retransmission that does.
    Parked {
        since: Instant,
    },
}

/// A dialled connection.
#[derive(Debug)]
pub(super) struct Link {
    id: u64,
    phase: Phase,
    /// What was sent and has not arrived, in order.
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    /// Arrivals planned at another generation are void.
    launch: u32,
    /// When the last of the queue arrives.
    due: Instant,
    used: Instant,
    pinged: Instant,
    stands_since: Option<Instant>,
    /// The start of the other end that it is a link with.
    start: u64,
    /// Since when one of the two ends hears nothing of the other.
    stalled: Option<Instant>,
}

impl Link {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.stands_since.is_some()
    }
}

impl Swarm {
    /// The link of an event, if it is still there.
    fn link(&mut self, conn: Conn) -> Option<&mut Link> {
        let link = self.lanes[conn.from].get_mut(&conn.to)?.link.as_mut()?;
        (link.id == conn.id).then_some(link)
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.faults.iter().any(|fault| fault.blocks(from, to))
    }

    /// Whether both hear the other's transport.
    fn is_open(&self, one: usize, other: usize) -> bool {
        let is_still = |node: usize| self.hosts[node].asleep.paused;
        let is_blocked = self.is_blocked(one, other) || self.is_blocked(other, one);
        !is_blocked && !is_still(one) && !is_still(other)
    }

    fn latency(&self) -> Duration {
        let [least, most] = self.setup.latency;
        least + self.rng.up_to(most.saturating_sub(least))
    }

    /// How many times the next segment is lost.
    fn losses(&self) -> u32 {
        let permille = u64::from(self.setup.loss_permille);
        let mut lost = 0;
        while lost <= RETRANSMISSIONS_MAX && self.rng.next_u64() % 1000 < permille {
            lost += 1;
        }
        lost
    }

    /// By how much that makes it late.
    fn loss(&self) -> Duration {
        delay(self.losses())
    }

    pub(super) fn send(&mut self, from: usize, to: usize, bytes: Bytes) {
        self.hosts[from].tally.packets += 1;
        self.hosts[from].tally.bytes += (bytes.len() + WIRE_EXTRA_BYTES) as u64;
        if to >= self.hosts.len() || !self.has_link(from, to) {
            self.hosts[from].tally.dropped += 1;
            return;
        }
        let (now, bytes_max) = (self.now, self.limits.gossip_bytes_max);
        let Some(link) = self.lanes[from].get_mut(&to).and_then(|lane| lane.link.as_mut()) else {
            return;
        };
        link.used = now;
        if link.queue_bytes + bytes.len() > bytes_max {
            self.hosts[from].tally.dropped += 1;
            return;
        }
        link.queue_bytes += bytes.len();
        link.queue.push_back(bytes);
        if link.phase == Phase::Standing {
            let conn = Conn { from, to, id: link.id };
            self.launch(conn, 1, now);
        }
    }

    /// Whether there is a link, after one was dialled if that is allowed.
    fn has_link(&mut self, from: usize, to: usize) -> bool {
        let now = self.now;
        let lane = self.lanes[from].entry(to).or_default();
        if lane.link.is_some() {
            return true;
        }
        if now < lane.not_before || !self.make_room(from) {
            return false;
        }
        self.links_made += 1;
        let id = self.links_made;
        let link = Link {
            id,
            phase: Phase::Dialling { deadline: now + self.timing.dial },
            queue: VecDeque::new(),
            queue_bytes: 0,
            launch: 0,
            due: now,
            used: now,
            pinged: now,
            stands_since: None,
            start: 0,
            stalled: None,
        };
        self.lanes[from].entry(to).or_default().link = Some(link);
        self.hosts[from].tally.dials += 1;
        self.events.push(now, Event::Dial(Conn { from, to, id }, 0));
        true
    }

    /// Closes the idle link that was not used for longest, if there are as many as there may be.
    /// Whether there is room.
    fn make_room(&mut self, from: usize) -> bool {
        let links = self.lanes[from].iter_mut();
        let links: Vec<_> =
            links.filter_map(|(to, lane)| Some((*to, lane.link.as_ref()?))).collect();
        if links.len() < self.setup.links_max {
            return true;
        }
        let idle = links.into_iter().filter(|(_, link)| link.is_idle());
        let Some((to, _)) = idle.min_by_key(|(_, link)| (link.used, link.id)) else {
            return false;
        };
        self.lanes[from].remove(&to);
        self.hosts[from].tally.closed += 1;
        true
    }

    /// The last `count` packets of a link's queue are on their way, from `base` on.
    fn launch(&mut self, conn: Conn, count: usize, base: Instant) {
        for _ in 0..count {
            let (lost, latency) = (self.losses(), self.latency());
            self.hosts[conn.from].tally.lost += u64::from(lost);
            let (late, now) = (delay(lost), self.now);
            let Some(link) = self.link(conn) else { return };
            link.due = link.due.max(base + latency + late);
            let (due, launch) = (link.due, link.launch);
            if late >= self.timing.dead_after {
                // The pings wait behind it: nothing comes, and both sides give up.
                let Some(link) = self.link(conn) else { return };
                let since = *link.stalled.get_or_insert(now);
                self.events.push(since + self.timing.dead_after, Event::Silent(conn, since));
            }
            self.events.push(due, Event::Arrive(conn, launch));
        }
    }

    pub(super) fn dial(&mut self, conn: Conn, tries: u32) {
        let Some(link) = self.link(conn) else { return };
        let Phase::Dialling { deadline } = link.phase else { return };
        let now = self.now;
        if !self.is_open(conn.from, conn.to) {
            let again = now + SYN_AGAIN * (1 << tries.min(8));
            let (at, event) = if again < deadline {
                (again, Event::Dial(conn, tries + 1))
            } else {
                (deadline, Event::Refused(conn))
            };
            self.events.push(at, event);
            return;
        }
        let mut at = now;
        if self.hosts[conn.to].machine.is_none() {
            at = at + self.latency() * 2;
            self.events.push(at, Event::Refused(conn));
            return;
        }
        for _ in 0..HANDSHAKE_ROUND_TRIPS * 2 {
            at = at + self.latency() + self.loss();
        }
        let event = if at < deadline { Event::Dialled(conn) } else { Event::Refused(conn) };
        self.events.push(at.min(deadline), event);
    }

    pub(super) fn dialled(&mut self, conn: Conn) {
        let now = self.now;
        let Some(link) = self.link(conn) else { return };
        let Phase::Dialling { deadline } = link.phase else { return };
        let answers = self.hosts[conn.to].machine.is_some();
        if !answers || !self.is_open(conn.from, conn.to) {
            // Cut in the middle of the handshake: nothing more comes.
            self.events.push(deadline, Event::Refused(conn));
            return;
        }
        if self.hosts[conn.to].asleep.starved && now < deadline {
            self.events.push((now + STARVED_LOOK).min(deadline), Event::Dialled(conn));
            return;
        }
        let start = self.hosts[conn.to].starts;
        let Some(link) = self.link(conn) else { return };
        link.phase = Phase::Standing;
        link.start = start;
        link.stands_since = Some(now);
        link.due = now;
        let count = link.queue.len();
        self.launch(conn, count, now);
        if self.setup.pings {
            self.events.push(now + self.timing.ping_interval, Event::Ping(conn));
        }
    }

    /// A link that is idle for an interval carries a ping: an empty packet, that is answered.
    pub(super) fn ping(&mut self, conn: Conn) {
        let (now, interval) = (self.now, self.timing.ping_interval);
        let Some(link) = self.link(conn) else { return };
        let mut next = link.pinged.max(link.used) + interval;
        if next <= now {
            link.pinged = now;
            next = now + interval;
            link.queue.push_back(Bytes::new());
            if link.phase == Phase::Standing {
                self.launch(conn, 1, now);
            }
        }
        self.events.push(next, Event::Ping(conn));
    }

    fn pong(&mut self, conn: Conn) -> Result<(), Broken> {
        let Conn { from, to, .. } = conn;
        if self.hosts[to].is_awake() && self.is_open(from, to) {
            let at = self.now + self.latency() + self.loss();
            self.events.push(at, Event::Heard { at: from, of: to });
        }
        self.hand(to, Happened::Heard(from))
    }

    /// A dial failed: what waited for it is lost, and there is a back-off.
    pub(super) fn refused(&mut self, conn: Conn) {
        if self.link(conn).is_some() {
            self.give_up(conn);
        }
    }

    fn give_up(&mut self, conn: Conn) {
        let [least, longest] = [self.timing.backoff_min, self.timing.backoff_max];
        let drawn = self.rng.next_u64();
        let now = self.now;
        let Some(lane) = self.lanes[conn.from].get_mut(&conn.to) else { return };
        let Some(link) = lane.link.take() else { return };
        if link.stands_since.is_some_and(|since| now.since(since) >= longest) {
            lane.failures = 0;
        }
        let most = least.saturating_mul(1 << lane.failures.min(16)).min(longest);
        lane.failures = lane.failures.saturating_add(1);
        let half = u64::try_from(most.as_nanos() / 2).unwrap_or(u64::MAX).max(1);
        lane.not_before = now + most / 2 + Duration::from_nanos(drawn % half);
        self.hosts[conn.from].tally.dropped += link.queue.len() as u64;
    }

    pub(super) fn arrive(&mut self, conn: Conn, launch: u32) -> Result<(), Broken> {
        let (now, is_blocked) = (self.now, self.is_blocked(conn.from, conn.to));
        let start = self.hosts[conn.to].starts;
        let Some(link) = self.link(conn) else { return Ok(()) };
        if link.launch != launch || link.phase != Phase::Standing {
            return Ok(());
        }
        if is_blocked {
            link.phase = Phase::Parked { since: now };
            return Ok(());
        }
        if link.start != start {
            // Its process ended while nothing got through: this is the first it hears of it.
            self.give_up(conn);
            let at = now + self.latency();
            self.events.push(at, Event::Reset { to: conn.from, of: conn.to });
            return Ok(());
        }
        let Some(bytes) = link.queue.pop_front() else { return Ok(()) };
        link.queue_bytes -= bytes.len();
        if bytes.is_empty() {
            return self.pong(conn);
        }
        let boot = self.hosts[conn.from].boot;
        self.hand(conn.to, Happened::Packet { from: conn.from, boot, bytes })
    }

    /// Nothing came over a link for too long: both its ends close it.
    pub(super) fn silent(&mut self, conn: Conn, since: Instant) -> Result<(), Broken> {
        if self.link(conn).is_none_or(|link| link.stalled != Some(since)) {
            return Ok(());
        }
        self.give_up(conn);
        self.hand(conn.from, Happened::Broken(conn.to))?;
        self.hand(conn.to, Happened::Broken(conn.from))
    }

    /// Looks at all links again after faults have changed.
    pub(super) fn look_at_links(&mut self) {
        let now = self.now;
        let conns = self.conns();
        for conn in conns {
            let is_open = self.is_open(conn.from, conn.to);
            let is_blocked = self.is_blocked(conn.from, conn.to);
            let Some(link) = self.link(conn) else { continue };
            match link.phase {
                Phase::Dialling { .. } => continue,
                Phase::Parked { since } if !is_blocked => {
                    link.phase = Phase::Standing;
                    link.launch += 1;
                    let again = (0..=RETRANSMISSIONS_MAX).map(|lost| since + delay(lost));
                    let again = again.into_iter().find(|at| *at >= now).unwrap_or(now);
                    let count = link.queue.len();
                    link.due = again;
                    self.launch(conn, count, again);
                }
                Phase::Parked { .. } | Phase::Standing => {}
            }
            let Some(link) = self.link(conn) else { continue };
            if is_open {
                link.stalled = None;
            } else if link.stalled.is_none() {
                link.stalled = Some(now);
                self.events.push(now + self.timing.dead_after, Event::Silent(conn, now));
            }
        }
    }

    fn conns(&self) -> Vec<Conn> {
        let lanes = self.lanes.iter().enumerate();
        let conns = lanes.flat_map(|(from, lanes)| {
            lanes.iter().filter_map(move |(to, lane)| {
                Some(Conn { from, to: *to, id: lane.link.as_ref()?.id })
            })
        });
        conns.collect()
    }

    /// A process ended. With `is_told`, its peers hear of it where there is a way.
    pub(super) fn cut_off(&mut self, node: usize, is_told: bool) {
        let mut told = BTreeSet::new();
        for conn in self.conns() {
            let Conn { from, to, .. } = conn;
            if from != node && to != node {
                continue;
            }
            let peer = if from == node { to } else { from };
            let stood = self.link(conn).is_some_and(|link| link.stands_since.is_some());
            if is_told && stood && !self.is_blocked(node, peer) {
                told.insert(peer);
                if from == peer {
                    self.give_up(conn);
                }
            }
        }
        self.lanes[node] = BTreeMap::new();
        for peer in told {
            let at = self.now + self.latency();
            self.events.push(at, Event::Reset { to: peer, of: node });
        }
    }

    /// How many connections a node has dialled that stand.
    #[must_use]
    pub fn links(&self, node: usize) -> usize {
        let links = self.lanes[node].values().filter_map(|lane| lane.link.as_ref());
        links.filter(|link| link.stands_since.is_some()).count()
    }
}

/// How soon a handshake looks again whether a starved node has the processor.
const STARVED_LOOK: Duration = Duration::from_millis(5);
