//! Which links are open, and how long messages are under way on them.

use std::time::Duration;

use super::{Fault, LATENCY_MAX, World};

/// How long every message is under way from or to a slow host.
const SLOW_LATENCY: Duration = Duration::from_millis(40);

impl World {
    pub(super) fn set_links(&mut self) {
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|to| *to != from) {
                let (hosts, now) = (self.hosts.len(), self.sim.elapsed());
                let closed = self.faults.iter().any(|fault| fault.closes(from, to, hosts, now));
                let (one, other) = (self.hosts[from].name.as_str(), self.hosts[to].name.as_str());
                if closed {
                    self.sim.partition_oneway(one, other);
                } else {
                    self.sim.repair_oneway(one, other);
                }
                if from < to {
                    self.set_latency(from, to);
                }
            }
        }
    }

    fn set_latency(&mut self, one: usize, other: usize) {
        let slow = self.has(Fault::Slow(one)) || self.has(Fault::Slow(other));
        if slow == self.slow.contains(&(one, other)) {
            return;
        }
        let (from, to) = (self.hosts[one].name.as_str(), self.hosts[other].name.as_str());
        if slow {
            self.slow.insert((one, other));
            self.sim.set_link_latency(from, to, SLOW_LATENCY);
        } else {
            self.slow.remove(&(one, other));
            self.sim.set_link_latency(from, to, self.tick.min(LATENCY_MAX));
            self.sim.set_link_max_message_latency(from, to, LATENCY_MAX);
        }
    }

    /// Turns flapping links when it is their time.
    pub(super) fn flap(&mut self) {
        let now = self.sim.elapsed();
        let flapped = self.faults.iter().copied().filter(|fault| fault.is_flapped(now)).collect();
        if std::mem::replace(&mut self.flapped, flapped) != self.flapped {
            self.set_links();
        }
    }
}
