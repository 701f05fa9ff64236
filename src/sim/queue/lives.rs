//! How nodes start, become members, sleep and end.

use std::sync::Arc;
use std::time::Duration;

use super::events::Event;
use super::laws::Broken;
use super::machine::Happened;
use super::swarm::{COMMIT_MAX, Swarm};
use crate::base::{Boot, Rng as _};

/// A starved node has the processor for this long,
const SLICE: Duration = Duration::from_millis(20);
/// and then not for this long, drawn.
const STARVED: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

impl Swarm {
    /// `count` further nodes start at once; they ask to become members at once. Their numbers
    /// follow those that were.
    pub fn join(&mut self, count: usize) {
        for _ in 0..count {
            let node = self.add_host();
            self.hosts[node].boot = Boot(1);
            self.events.push(self.now, Event::Join(node, 0));
        }
    }

    pub(super) fn stop(&mut self, node: usize, is_told: bool) {
        self.cut_off(node, is_told);
        self.hosts[node].stop();
    }

    pub(super) fn slice(&mut self, node: usize, period: u64) -> Result<(), Broken> {
        if self.hosts[node].starving != period {
            return Ok(());
        }
        let was_asleep = self.hosts[node].asleep.starved;
        self.hosts[node].asleep.starved = !was_asleep;
        let [least, most] = STARVED;
        let lasts =
            if was_asleep { SLICE } else { least + self.rng.up_to(most.saturating_sub(least)) };
        self.events.push(self.now + lasts, Event::Slice(node, period));
        if was_asleep { self.go_on(node) } else { Ok(()) }
    }

    /// A node that slept does what waited: what came first, as its driver does, then timers.
    pub(super) fn go_on(&mut self, node: usize) -> Result<(), Broken> {
        if !self.hosts[node].is_awake() {
            return Ok(());
        }
        while let Some(what) = self.hosts[node].inbox.pop_front() {
            self.step(node, what)?;
        }
        if self.hosts[node].machine.is_none() {
            return Ok(());
        }
        self.step(node, Happened::TimePassed)
    }

    /// A node that started becomes a member, once a majority of the members hears it.
    pub(super) fn admit(&mut self, node: usize, start: u64) -> Result<(), Broken> {
        if self.hosts[node].starts != start || self.hosts[node].machine.is_some() {
            return Ok(());
        }
        if !self.hosts[node].is_awake() || !self.is_in_touch(node) {
            self.events.push(self.now + COMMIT_MAX, Event::Join(node, start));
            return Ok(());
        }
        self.committed.insert(node, self.hosts[node].boot);
        self.version += 1;
        self.start_machine(node);
        if self.setup.commits_reach_all {
            for other in 0..self.hosts.len() {
                let at = self.now + self.rng.up_to(COMMIT_MAX);
                self.events.push(at, Event::Commit(other));
            }
        }
        self.commit(node)
    }

    pub(super) fn commit(&mut self, node: usize) -> Result<(), Broken> {
        let host = &self.hosts[node];
        if host.machine.is_none() || host.committed == self.version {
            return Ok(());
        }
        if !host.is_awake() || !self.is_in_touch(node) {
            self.events.push(self.now + COMMIT_MAX, Event::Commit(node));
            return Ok(());
        }
        self.hosts[node].committed = self.version;
        let members: Arc<[_]> = self.committed.iter().map(|(node, boot)| (*node, *boot)).collect();
        self.step(node, Happened::Committed(members))
    }

    fn is_in_touch(&self, node: usize) -> bool {
        let hears = |other: &usize| {
            let there = self.hosts[*other].machine.is_some() && !self.hosts[*other].asleep.paused;
            let is_open = !self.is_blocked(node, *other) && !self.is_blocked(*other, node);
            *other == node || there && is_open
        };
        self.committed.keys().filter(|other| hears(other)).count() * 2 > self.committed.len()
    }
}
