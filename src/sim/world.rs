//! The world: hosts, links, faults, and one step of time.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::faults::Fault;
use super::host::{Host, Load, Order, Plan, Prepare};
use super::laws::Laws;
use super::net::Loss;
use super::{SimClock, Trace, mix};
use crate::authority::Standing;
use crate::base::{NodeId, Rng as _, SeededRng, Version};
use crate::node::{Node, Security};
use crate::placement::Profile;
use crate::transport::certs::Authority;

/// One step.
const TICK: Duration = Duration::from_millis(1);
/// Longest a message is under way; the shortest is a tick.
const LATENCY_MAX: Duration = Duration::from_millis(5);
/// Longest that a world may be stepped.
const DURATION_MAX: Duration = Duration::from_hours(1);
const MILLION: u64 = 1_000_000;

/// What a world consists of.
#[derive(Clone)]
pub struct Setup {
    /// Fixes everything that happens.
    pub seed: u64,
    /// How many nodes; they are named `n1`, `n2` and so on.
    pub nodes: usize,
    /// How many shards.
    pub shards: u16,
    /// Timing.
    pub profile: Profile,
    /// Of 1000 segments on their way from node to node, how many are lost; as many of those that
    /// are sent again. It shows as delay: 200 ms, 600 ms if lost twice, 1.4 s, 3 s and so on, with
    /// all that comes later on the connection waiting. It is no fault: [`World::heal`] leaves it.
    pub loss_permille: u16,
    /// What the nodes host.
    pub prepare: Prepare,
    /// What runs beside each node.
    pub load: Load,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, shards, loss_permille, .. } = self;
        write!(f, "Setup(seed {seed}, {nodes} nodes, {shards} shards, {loss_permille} permille)")
    }
}

/// An invariant does not hold, or the world came to an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct Broken {
    /// In which step.
    pub step: u64,
    /// What is wrong.
    pub what: String,
}

/// Simulated nodes. Time passes only by [`World::step`].
pub struct World {
    sim: turmoil::Sim<'static>,
    hosts: Vec<Arc<Host>>,
    up: Vec<bool>,
    /// Processes that die in this step.
    dying: Vec<bool>,
    /// Faults that are going on, in the order they began.
    faults: Vec<Fault>,
    loss: Arc<Loss>,
    rng: SeededRng,
    laws: Laws,
    trace: Trace,
    steps: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(step {}, {:?}, {:?})", self.steps, self.hosts, self.faults)
    }
}

impl World {
    /// Hosts with empty disks, each about to start its node for the first time. Every clock has an
    /// offset and a rate of its own, within what the profile allows.
    ///
    /// # Panics
    /// If certificates cannot be made, which only a broken build explains.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { seed, nodes, shards, profile, loss_permille, prepare, load } = setup;
        let rng = SeededRng::new(mix(&[seed, 0x0770_1d00]));
        let drift = u64::from(profile.drift_permille) * 1_000;
        let authority = Authority::new("sim").expect("a plain name");
        let hosts: Vec<_> = (1..=nodes)
            .map(|number| {
                let name: NodeId = format!("n{number}").parse().expect("a plain name");
                let offset = Duration::from_secs(1) + rng.up_to(Duration::from_hours(1));
                let rate = MILLION - drift + rng.next_u64() % (2 * drift + 1);
                let (certificate, key) = authority.issue_node(name.as_str()).expect("a plain name");
                let security = Security::Tls {
                    authorities: authority.ca_pem().into(),
                    certificate: certificate.into(),
                    key: key.into(),
                };
                Arc::new(Host::new(number - 1, name, SimClock::new(offset, rate), security))
            })
            .collect();
        let names = hosts.iter().map(|host| host.name.clone()).collect();
        let loss = Arc::new(Loss::new(mix(&[seed, 0x1055]), loss_permille));
        let plan = Plan { seed, shards, profile, names, loss: loss.clone(), prepare, load };
        let plan = Rc::new(plan);
        let mut sim = turmoil::Builder::new()
            .rng_seed(mix(&[seed]))
            .tick_duration(TICK)
            .simulation_duration(DURATION_MAX)
            .min_message_latency(TICK)
            .max_message_latency(LATENCY_MAX)
            .tcp_capacity(65_536)
            .enable_random_order()
            .build();
        for host in &hosts {
            let (name, host, plan) = (host.name.to_string(), host.clone(), plan.clone());
            sim.host(name, move || {
                let running = host.clone().run(plan.clone());
                async move {
                    running.await;
                    Ok(())
                }
            });
        }
        Self {
            sim,
            up: vec![true; hosts.len()],
            dying: vec![false; hosts.len()],
            hosts,
            faults: Vec::new(),
            loss,
            rng,
            laws: Laws::default(),
            trace: Trace::default(),
            steps: 0,
        }
    }

    /// Passes one millisecond and checks the invariants.
    ///
    /// # Errors
    /// [`Broken`]: which one does not hold.
    pub fn step(&mut self) -> Result<(), Broken> {
        self.steps += 1;
        let stepped = self.sim.step().map(drop).map_err(|error| error.to_string());
        self.bury();
        let checked = stepped.and_then(|()| self.laws.check(&self.hosts, self.sim.elapsed()));
        self.record();
        checked.map_err(|what| Broken { step: self.steps, what })
    }

    fn record(&mut self) {
        // Bytes too, so that what TLS makes of them is in the trace.
        self.trace.note(self.loss.lost());
        self.trace.note(self.loss.bytes());
        for host in &self.hosts {
            self.trace.note(host.life());
            let Some(node) = host.node() else { continue };
            let standing = match node.standing() {
                Standing::Outside => 1,
                Standing::Member(boot) => boot.0 << 3 | 2,
                Standing::Evicted(boot) => boot.0 << 3 | 3,
                Standing::Left => 4,
            };
            self.trace.note(standing);
            self.trace.note(node.view().version.0);
            self.trace.note(node.lease().valid_until().as_nanos());
        }
        self.trace.end_step();
    }

    /// The world's time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The node on a host, if its host is up and it has started.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<Node> {
        self.hosts.get(index).and_then(|host| host.node())
    }

    /// The highest version of a view that was seen.
    #[must_use]
    pub fn version(&self) -> Version {
        self.laws.version()
    }

    /// How many changes of a shard's ownership were seen, each at every node that saw it.
    #[must_use]
    pub fn ownerships(&self) -> u64 {
        self.laws.ownerships()
    }

    /// How many segments were lost, each as many times as it was.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.loss.lost()
    }

    /// What happened so far.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Takes a number of the caller's into the trace.
    pub fn note(&mut self, number: u64) {
        self.trace.note(number);
    }

    /// `fault` begins.
    pub fn begin(&mut self, fault: Fault) {
        if let Fault::Killed(one) = fault {
            self.dying[one] |= self.up[one] && !self.has(fault);
        }
        self.faults.push(fault);
        self.set_faults();
    }

    /// `fault` ends; what other faults forbid stays forbidden.
    pub fn end(&mut self, fault: Fault) {
        if let Some(at) = self.faults.iter().position(|one| *one == fault) {
            self.faults.remove(at);
        }
        self.set_faults();
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.set_faults();
    }

    /// Whether `fault` goes on.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn set_faults(&mut self) {
        // Links first: peers see silence, and what the dying host sends reaches nobody.
        self.set_links();
        self.set_power();
        self.set_processes();
    }

    fn set_links(&self) {
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|to| *to != from) {
                let closed = self.faults.iter().any(|fault| match *fault {
                    Fault::PowerLoss(one) | Fault::Isolated(one) => one == from || one == to,
                    Fault::Cut(one, other) => [(from, to), (to, from)].contains(&(one, other)),
                    Fault::OneWay(one, other) => (one, other) == (from, to),
                    Fault::Mute(one) => one == from,
                    Fault::Deaf(one) => one == to,
                    Fault::Killed(_) | Fault::Stopped(_) | Fault::Left(_) => false,
                });
                let (from, to) = (self.hosts[from].name.as_str(), self.hosts[to].name.as_str());
                if closed {
                    self.sim.partition_oneway(from, to);
                } else {
                    self.sim.repair_oneway(from, to);
                }
            }
        }
    }

    fn set_power(&mut self) {
        for index in 0..self.hosts.len() {
            let is_up = !self.has(Fault::PowerLoss(index));
            let host = self.hosts[index].clone();
            if is_up == self.up[index] {
                continue;
            }
            self.up[index] = is_up;
            if is_up {
                self.sim.bounce(host.name.as_str());
            } else {
                // The disk first, so that what closes on drop writes nothing.
                host.disk.power_loss(&self.rng);
                host.disk.set_host_boot(&format!("{}-{}", host.name, host.life()));
                host.forget();
                self.sim.crash(host.name.as_str());
                self.dying[index] = false;
            }
        }
    }

    fn set_processes(&mut self) {
        for (index, host) in self.hosts.iter().enumerate() {
            if self.has(Fault::Killed(index)) {
                host.order(Order::Die);
            } else if !self.dying[index] {
                let leaves = self.has(Fault::Left(index));
                host.order(if leaves { Order::Leave } else { Order::Run });
            }
            host.process.gate.set(self.dying[index] || self.has(Fault::Stopped(index)));
        }
    }

    /// Takes away what is left of the processes that were killed in this step; their hosts go on.
    fn bury(&mut self) {
        for index in 0..self.hosts.len() {
            if !std::mem::take(&mut self.dying[index]) {
                continue;
            }
            let host = self.hosts[index].clone();
            // The disk first, so that what closes on drop writes nothing.
            host.disk.kill();
            host.forget();
            self.sim.crash(host.name.as_str());
            self.set_processes();
            self.sim.bounce(host.name.as_str());
        }
    }
}

#[cfg(test)]
mod tests;
