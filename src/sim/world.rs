//! The world: hosts, links, faults, and one step of time.

mod links;
mod processes;

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::changes::Changes;
use super::fault::Fault;
use super::host::{Host, Load, Plan, Prepare};
use super::laws::Laws;
use super::net::Loss;
use super::operator::{Operator, Wanted};
use super::{SimClock, Trace, mix, panics};
use crate::authority::Standing;
use crate::base::{NodeId, Rng as _, SeededRng, Seen, ShardId, StoreId, Version, while_listening};
use crate::node::{Node, Security};
use crate::placement::{Profile, View};
use crate::storage::Record;
use crate::transport::certs::Authority;

/// Longest a message is under way; the shortest is a tick.
const LATENCY_MAX: Duration = Duration::from_millis(5);
/// Longest time that a slow disk takes for one call: more than a heartbeat of `dev`, less than an
/// election.
const SLOW_DISK: Duration = Duration::from_millis(200);
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
    /// How long after its eviction a voter is replaced.
    pub replace_voters_after: Duration,
    /// One step: 1 ms, or up to 5 ms where there are many nodes.
    pub tick: Duration,
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
    /// Those of them that are flapping links which are cut now.
    flapped: Vec<Fault>,
    operator: Operator,
    /// D, as it was set up.
    lease: Duration,
    changes: Changes,
    /// Links that are slow now.
    slow: BTreeSet<(usize, usize)>,
    destroyed: BTreeSet<StoreId>,
    /// Whether a [`Fault::DiskLoss`] was.
    lost_disk: bool,
    /// Shards that lost a store, and have fewer than they must have until copies are made.
    thin: BTreeSet<ShardId>,
    tick: Duration,
    loss: Arc<Loss>,
    rng: SeededRng,
    laws: Laws,
    /// See [`World::marked`].
    marked: Option<(NodeId, NodeId)>,
    trace: Trace,
    steps: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(step {}, {:?}, {:?})", self.steps, self.hosts, self.faults)
    }
}

/// The hosts of a world, with a certificate and a clock each.
fn make_hosts(nodes: usize, seed: u64, drift_permille: u32, rng: &SeededRng) -> Vec<Arc<Host>> {
    let drift = u64::from(drift_permille) * 1_000;
    let authority = Authority::new("sim").expect("a plain name");
    (1..=nodes)
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
            let clock = SimClock::new(offset, rate);
            Arc::new(Host::new(number - 1, name, clock, security, seed))
        })
        .collect()
}

impl World {
    /// Hosts with empty disks, each about to start its node for the first time. Every clock has an
    /// offset and a rate of its own, within what the profile allows.
    ///
    /// # Panics
    /// If certificates cannot be made, which only a broken build explains.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { seed, nodes, shards, profile, tick, loss_permille, prepare, load, .. } = setup;
        let replace_voters_after = setup.replace_voters_after;
        let rng = SeededRng::new(mix(&[seed, 0x0770_1d00]));
        let hosts = make_hosts(nodes, seed, profile.drift_permille, &rng);
        let names = hosts.iter().map(|host| host.name.clone()).collect();
        let loss = Arc::new(Loss::new(mix(&[seed, 0x1055]), loss_permille));
        let lease = profile.lease;
        let operator = Operator::new(Wanted { drained: BTreeSet::new(), lease });
        let plan = Rc::new(Plan {
            seed,
            shards,
            profile,
            operator: operator.clone(),
            replace_voters_after,
            names,
            loss: loss.clone(),
            prepare,
            load,
        });
        let mut sim = turmoil::Builder::new()
            .rng_seed(mix(&[seed]))
            .tick_duration(tick)
            .simulation_duration(DURATION_MAX)
            .min_message_latency(tick.min(LATENCY_MAX))
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
            flapped: Vec::new(),
            operator,
            lease,
            changes: Changes::default(),
            slow: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            lost_disk: false,
            thin: BTreeSet::new(),
            tick,
            loss,
            rng,
            laws: Laws::default(),
            marked: None,
            trace: Trace::default(),
            steps: 0,
        }
    }

    /// Passes one tick and checks the invariants.
    ///
    /// # Errors
    /// [`Broken`]: which one does not hold.
    pub fn step(&mut self) -> Result<(), Broken> {
        self.steps += 1;
        self.flap();
        let (stepped, seen) = while_listening(|| {
            let stepped = panics::caught(|| self.sim.step());
            self.bury();
            stepped
        });
        self.marked = seen.iter().rev().find_map(|one| match one {
            Seen::Evicting { office, node, .. } => Some((office.clone(), node.clone())),
            Seen::Stored { .. } | Seen::Renewing { .. } => None,
        });
        let stepped = stepped.and_then(|step| step.map(drop).map_err(|error| error.to_string()));
        let checked = stepped
            .and_then(|()| self.laws.witnessed(seen))
            .and_then(|()| self.laws.check(&self.hosts, self.sim.elapsed()));
        if let Some(view) = self.view() {
            self.changes.look(&view);
        }
        self.find_thin();
        self.note_all();
        checked.map_err(|what| Broken { step: self.steps, what })
    }

    fn note_all(&mut self) {
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

    /// The newest view that any node has shown. What was agreed stays so when all who know it are
    /// down.
    #[must_use]
    pub fn agreed(&self) -> Option<Arc<View>> {
        self.laws.newest().cloned()
    }

    /// The newest view that any node shows now.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        let nodes = self.hosts.iter().filter_map(|host| host.node());
        nodes.map(|node| node.view()).max_by_key(|view| view.version)
    }

    /// The host whose node says that it leads itself; of several the one whose view is newest.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |host: &&Arc<Host>| {
            host.node().is_some_and(|node| node.leader().as_ref() == Some(&host.name))
        };
        let version = |host: &&Arc<Host>| host.node().map(|node| node.view().version);
        self.hosts.iter().filter(leads).max_by_key(version).map(|host| host.index)
    }

    /// The host whose node has marked a life for its eviction in the last step, and the host of
    /// that life; of several the last.
    #[must_use]
    pub fn marked(&self) -> Option<(usize, usize)> {
        let index = |name: &NodeId| self.hosts.iter().position(|host| host.name == *name);
        let (leader, marked) = self.marked.as_ref()?;
        Some((index(leader)?, index(marked)?))
    }

    /// Whether the records of a host may be lost: of every shard with records a copy remains, and
    /// at most `write_min - 1` of those that the view counts are lost in all. What is lost counts
    /// as a copy until the view knows, and an eviction leaves `write_min` copies that count: with
    /// more of them lost, it might leave none that is there.
    #[must_use]
    pub fn may_lose(&self, index: usize) -> bool {
        let Some(view) = self.agreed() else { return false };
        let own = self.stores_of(&view, index);
        let is_lost = |store: &&StoreId| own.contains(store) || self.is_destroyed(**store);
        let spare = view.constants.as_ref().map_or(0, |it| usize::from(it.write_min) - 1);
        view.numbered().filter(|(_, shard)| shard.has_records).all(|(_, shard)| {
            let lost = shard.in_sync.iter().filter(is_lost).count();
            lost <= spare && lost < shard.in_sync.len()
        })
    }

    /// Whether all that a host has may be lost: as its records, and its vote is the only one of a
    /// world to be lost, of three or more.
    #[must_use]
    pub fn may_lose_disk(&self, index: usize) -> bool {
        let votes = self.agreed().map_or(0, |view| view.voters.len());
        !self.lost_disk && votes >= 3 && self.may_lose(index)
    }

    /// Whether a store was lost by [`Fault::StoreLoss`] or [`Fault::DiskLoss`].
    #[must_use]
    pub fn is_destroyed(&self, store: StoreId) -> bool {
        self.destroyed.contains(&store)
    }

    /// Whether `shard` lost a store by that, and its copies are not all made anew yet.
    #[must_use]
    pub fn is_thin(&self, shard: ShardId) -> bool {
        self.thin.contains(&shard)
    }

    fn find_thin(&mut self) {
        let Some(view) = self.agreed().filter(|_| !self.destroyed.is_empty()) else { return };
        let write_min = view.constants.as_ref().map_or(1, |constants| constants.write_min);
        for (number, shard) in view.numbered() {
            if shard.in_sync.iter().any(|store| self.is_destroyed(*store)) {
                self.thin.insert(number);
            } else if shard.in_sync.len() >= usize::from(write_min) {
                self.thin.remove(&number);
            }
        }
    }

    fn stores_of(&self, view: &View, index: usize) -> BTreeSet<StoreId> {
        let name = &self.hosts[index].name;
        let own = view.stores.iter().filter(|(_, mark)| mark.node == *name);
        own.map(|(store, _)| *store).collect()
    }

    /// What `store`, which `view` knows, holds under `key`, whether its host is up or not. What a
    /// destroyed store holds is not to be asked.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn record(
        &self,
        view: &View,
        store: StoreId,
        (shard, key): (ShardId, &[u8]),
    ) -> Result<Option<Record>, String> {
        let mark = view.stores.get(&store).ok_or_else(|| format!("{store} is not in the view"))?;
        let host = self.hosts.iter().find(|host| host.name == mark.node);
        let host = host.ok_or_else(|| format!("{} is no host", mark.node))?;
        let open = host.node().map(|node| node.store().clone()).filter(|open| open.id() == store);
        let found = match open {
            Some(open) => open.get(shard, key),
            None => host
                .disk
                .look()
                .and_then(|copy| if copy.id() == store { copy.get(shard, key) } else { Ok(None) }),
        };
        found.map_err(|error| format!("{store} of {}: {error}", mark.node))
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

    /// What became other in the view so far.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// The lease D that the world was set up with.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether the newest view is as its operator wants it: who drains, and D, which is settled.
    #[must_use]
    pub fn is_as_wanted(&self) -> bool {
        self.view().is_some_and(|view| self.operator.wanted().is_so(&view))
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
        for host in &self.hosts {
            let is_slow = self.has(Fault::SlowDisk(host.index));
            host.disk.set_latency(is_slow.then_some(SLOW_DISK));
        }
        self.operator.want(self.wanted());
    }

    /// What an operator wants while these faults go on; of two wishes for D the later counts.
    fn wanted(&self) -> Wanted {
        let drained = self.hosts.iter().filter(|host| self.has(Fault::Drained(host.index)));
        let lease = self.faults.iter().rev().find_map(|fault| match fault {
            Fault::LeaseSet(lease) => Some(*lease),
            _ => None,
        });
        let drained = drained.map(|host| host.name.clone()).collect();
        Wanted { drained, lease: lease.unwrap_or(self.lease) }
    }
}

#[cfg(test)]
mod tests;
