//! Faults that are neither here nor there: a node that answers and is not well, links that work one
//! way, a link that comes and goes. Each goes on; the cluster must come to rest all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evertree::base::{Boot, NodeId, Version};
use evertree::node::Node;
use evertree::placement::{Profile, View};
use evertree::sim::{Fault, Repeat, Setup, World};
use futures::FutureExt as _;

use crate::repeat::repeat;

/// Within this all nodes are members, and all shards have their owners.
const FORMED_WITHIN: Duration = Duration::from_secs(15);
/// The view is at rest this long after a fault began (`lan`).
const REST_AFTER: Duration = Duration::from_secs(5);
/// How long it is then watched: nothing may change any more.
const WATCHED_FOR: Duration = Duration::from_secs(6);
/// Memberships that may begin or end for one fault.
const CHANGES_MAX: usize = 2;

/// A cluster at rest.
pub(crate) struct Rig {
    world: World,
    /// What each node's probe says, by its number.
    well: Vec<Arc<AtomicBool>>,
    who: String,
    _repeat: Repeat,
}

/// The lives that a view has.
fn lives(view: &View) -> BTreeSet<(NodeId, Boot)> {
    view.members.iter().map(|(node, member)| (node.clone(), member.boot)).collect()
}

fn owned(view: &View) -> BTreeMap<NodeId, usize> {
    let mut owned = BTreeMap::new();
    for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
        *owned.entry(owner.node.clone()).or_default() += 1;
    }
    owned
}

impl Rig {
    /// One of `nodes`; `test` is what runs it.
    pub(crate) fn formed(seed: u64, nodes: usize, test: &str) -> Self {
        let well: Vec<_> = (0..nodes).map(|_| Arc::new(AtomicBool::new(true))).collect();
        let probes = well.clone();
        let load = move |node: Node, host: usize| {
            let well = probes[host].clone();
            async move {
                let (every, deadline) = (Duration::from_millis(200), Duration::from_millis(100));
                let probe = node.health("test", every, deadline, move || {
                    let is_well = well.load(Ordering::SeqCst);
                    async move { if is_well { Ok(()) } else { Err("a test says so".into()) } }
                });
                let _registered = probe.expect("a good probe");
                std::future::pending::<()>().await;
            }
            .boxed_local()
        };
        let world = World::new(Setup {
            seed,
            nodes,
            shards: 64,
            profile: Profile::lan(),
            replace_voters_after: Duration::from_secs(30),
            tick: Duration::from_millis(1),
            loss_permille: 0,
            prepare: Arc::new(|builder| builder),
            load: Arc::new(load),
        });
        let who = format!("{nodes} nodes");
        let mut rig = Self { world, well, who, _repeat: repeat(seed, test) };
        rig.until(FORMED_WITHIN, |rig| {
            let all = (0..nodes).all(|host| rig.world.node(host).is_some());
            all && rig.world.view().is_some_and(|view| {
                view.members.len() == nodes && view.shards.iter().all(|s| s.owner.is_some())
            })
        });
        rig
    }

    fn until(&mut self, within: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.world.elapsed() + within;
        while !done(self) {
            assert!(self.world.elapsed() < end, "{}: not within {within:?}", self.who);
            self.step();
        }
    }

    fn step(&mut self) {
        self.world.step().unwrap_or_else(|broken| panic!("{}, {broken}", self.who));
    }

    fn view(&self) -> Arc<View> {
        self.world.view().expect("a node runs")
    }

    fn leader(&mut self) -> usize {
        self.until(Duration::from_secs(5), |rig| rig.world.leader().is_some());
        self.world.leader().expect("one leads")
    }

    fn name(&self, host: usize) -> NodeId {
        self.world.node(host).expect("it runs").name().clone()
    }

    /// `fault` goes on. `touched` are the nodes that may lose their membership for it; every other
    /// one keeps its life and goes on to own shards. Returns how many memberships changed.
    fn rests_under(&mut self, fault: Fault, touched: &[usize]) -> usize {
        let spared: BTreeSet<NodeId> = (0..self.world.hosts())
            .filter(|h| !touched.contains(h))
            .map(|h| self.name(h))
            .collect();
        let mut before = lives(&self.view());
        let (begun, mut changes) = (self.world.elapsed(), 0);
        let mut rest: Option<Version> = None;
        self.world.begin(fault);
        while self.world.elapsed() < begun + REST_AFTER + WATCHED_FOR {
            self.step();
            let view = self.view();
            let now = lives(&view);
            changes += before.symmetric_difference(&now).count();
            for gone in before.difference(&now) {
                assert!(!spared.contains(&gone.0), "{}: {fault:?} costs {gone:?}", self.who);
            }
            before = now;
            if self.world.elapsed() >= begun + REST_AFTER {
                let version = *rest.get_or_insert(view.version);
                let why = view.history.back().map(|noted| noted.cause.clone());
                assert_eq!(view.version, version, "{}: {fault:?}: no rest: {why:?}", self.who);
            }
        }
        let owned = owned(&self.view());
        for node in &spared {
            assert!(owned.contains_key(node), "{}: {fault:?} drains {node}: {owned:?}", self.who);
        }
        assert!(changes <= CHANGES_MAX, "{}: {fault:?}: {changes} changes", self.who);
        self.world.heal();
        changes
    }

    /// All is as it was: every node is a member and owns its part.
    fn recovers(&mut self) {
        let nodes = self.world.hosts();
        self.until(Duration::from_secs(10), |rig| {
            let owned = owned(&rig.view());
            owned.len() == nodes && owned.values().all(|count| count * nodes * 2 > 64)
        });
    }
}

/// Each of the faults in a cluster of its own.
pub(crate) fn asymmetric_cuts(nodes: usize) -> Vec<(Fault, usize)> {
    let count = 8;
    (0..count).map(|which| one_cut(nodes, which)).collect()
}

fn one_cut(nodes: usize, which: usize) -> (Fault, usize) {
    let mut rig = Rig::formed(700 + which as u64, nodes, "asymmetric_cuts");
    let leader = rig.leader();
    let other = (leader + 1) % nodes;
    let third = (leader + 2) % nodes;
    let (fault, touched) = match which {
        0 => (Fault::OneWay(leader, other), vec![other]),
        1 => (Fault::OneWay(other, leader), vec![other]),
        2 => (Fault::Cut(leader, other), vec![other]),
        3 => (Fault::OneWay(other, third), vec![]),
        4 => (Fault::Deaf(other), vec![other]),
        5 => (Fault::Mute(other), vec![other]),
        6 => (Fault::Mute(leader), vec![leader]),
        _ => (Fault::Deaf(leader), vec![leader]),
    };
    let changes = rig.rests_under(fault, &touched);
    rig.recovers();
    (fault, changes)
}

/// A node whose health probe fails owns nothing soon, though it answers, and keeps its membership;
/// once it is well it gets its part back.
pub(crate) fn unwell() {
    let mut rig = Rig::formed(750, 3, "one_that_is_not_well");
    let node = rig.name(1);
    let before = lives(&rig.view());
    rig.well[1].store(false, Ordering::SeqCst);
    let name = node.clone();
    rig.until(Duration::from_secs(10), move |rig| !owned(&rig.view()).contains_key(&name));
    assert_eq!(lives(&rig.view()), before, "nobody loses a membership");
    rig.well[1].store(true, Ordering::SeqCst);
    rig.until(Duration::from_secs(10), move |rig| {
        owned(&rig.view()).get(&node).is_some_and(|count| *count >= 64 / 4)
    });
    assert_eq!(lives(&rig.view()), before, "nobody loses a membership");
}

/// A link that comes and goes changes no membership, whoever is at its ends.
pub(crate) fn flapping() {
    for ends in [0, 1] {
        let mut rig = Rig::formed(760 + ends as u64, 3, "one_that_is_not_well");
        let leader = rig.leader();
        let (one, other) = ((leader + ends) % 3, (leader + ends + 1) % 3);
        assert_eq!(
            rig.rests_under(Fault::Flapping(one, other, Duration::from_millis(150)), &[]),
            0
        );
    }
}

/// A bridge: only one node speaks with all. Those it does not help may go; it stays.
pub(crate) fn bridges(nodes: usize) -> Vec<(Fault, usize)> {
    let bridged = |host: usize| {
        let mut rig = Rig::formed(770 + host as u64, nodes, "a_bridge");
        let touched: Vec<usize> = (0..nodes).filter(|one| *one != host).collect();
        let changes = rig.rests_under(Fault::Bridge(host), &touched);
        rig.recovers();
        (Fault::Bridge(host), changes)
    };
    (1..nodes - 1).map(bridged).collect()
}
