//! One node of a swarm: its machine, its clock, what waits for it, what it saw.

use std::collections::VecDeque;
use std::time::Duration;

use super::machine::{Happened, Machine};
use crate::base::{Boot, Instant};
use crate::sim::SimClock;

/// Packets that may wait for the machine, as in its driver; further ones are dropped.
pub(super) const INBOX_MAX: usize = 256;

/// What a node sent and dialled since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets it handed to its links.
    pub packets: u64,
    /// Their bytes on the wire: body, frame header and TLS record, each packet in a record of its
    /// own. Without TCP and IP.
    pub bytes: u64,
    /// Connections it dialled.
    pub dials: u64,
    /// Dialled connections it closed to make room.
    pub closed: u64,
    /// Segments it sent that were lost, each as many times as it was.
    pub lost: u64,
    /// Packets of its own that its links dropped: no way, too much under way, a broken link.
    pub dropped: u64,
    /// Packets to it that were dropped because too many waited for its machine.
    pub overrun: u64,
    /// Inputs its machine took.
    pub steps: u64,
}

/// What keeps the processor from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asleep {
    pub(super) paused: bool,
    /// It is starved, and it is not its turn.
    pub(super) starved: bool,
}

#[derive(Debug)]
pub(super) struct Host {
    /// Of its present or next membership.
    pub(super) boot: Boot,
    /// None: its process is not there, or not yet a member.
    pub(super) machine: Option<Machine>,
    pub(super) clock: SimClock,
    /// How often it was started: what was planned for an earlier start does nothing.
    pub(super) starts: u64,
    pub(super) asleep: Asleep,
    /// The present period of starvation, counted from 1; 0 for none.
    pub(super) starving: u64,
    /// How many there were.
    pub(super) starvings: u64,
    pub(super) inbox: VecDeque<Happened>,
    /// When the earliest [`Event::Wake`](super::events::Event::Wake) for it is due.
    pub(super) wake: Option<Instant>,
    /// When its machine last took an input,
    pub(super) stepped: Instant,
    /// and how many it took at that instant.
    pub(super) spins: u32,
    /// The version of the committed members it has.
    pub(super) committed: u64,
    /// What it says of itself, for the so-many-th time.
    pub(super) own: u64,
    pub(super) tally: Tally,
}

impl Host {
    pub(super) fn new(offset: Duration, rate_ppm: u64) -> Self {
        Self {
            boot: Boot(0),
            machine: None,
            clock: SimClock::new(offset, rate_ppm),
            starts: 0,
            asleep: Asleep::default(),
            starving: 0,
            starvings: 0,
            inbox: VecDeque::new(),
            wake: None,
            stepped: Instant::ZERO,
            spins: 0,
            committed: 0,
            own: 0,
            tally: Tally::default(),
        }
    }

    /// Its clock when the world's shows `now`.
    pub(super) fn local(&self, now: Instant) -> Instant {
        self.clock.at(now.since(Instant::ZERO))
    }

    /// When the world's clock shows that its own has reached `local`.
    pub(super) fn world(&self, now: Instant, local: Instant) -> Instant {
        now + self.clock.to_world(local.since(self.local(now)))
    }

    pub(super) fn is_awake(&self) -> bool {
        self.asleep == Asleep::default()
    }

    /// Its process ends.
    pub(super) fn stop(&mut self) {
        self.machine = None;
        self.starts += 1;
        self.inbox.clear();
        self.wake = None;
        self.committed = 0;
        self.own = 0;
    }

    /// What waits for its machine while it sleeps. Whether there was room.
    pub(super) fn put_by(&mut self, what: Happened) -> bool {
        if matches!(what, Happened::Heard(_)) {
            // Its transport is asleep too; it will be pinged again.
            return false;
        }
        let is_packet = matches!(what, Happened::Packet { .. });
        if is_packet && self.inbox.len() >= INBOX_MAX {
            self.tally.overrun += 1;
            return false;
        }
        self.inbox.push_back(what);
        true
    }
}
