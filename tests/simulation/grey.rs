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
/// The view is at rest this long after a fault began, in `lan` and in `dev`.
const REST_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(8)];
/// How long it is then watched: nothing may change any more.
const WATCHED_FOR: Duration = Duration::from_secs(6);
/// Memberships that may begin or end for one fault.
const CHANGES_MAX: usize = 2;

/// How long a flapping link stays as it is: half a gossip period of `lan`, a whole one, a lease.
const FLAPS_MS: [u64; 3] = [150, 300, 1_000];

/// A cluster at rest.
pub(crate) struct Rig {
    world: World,
    rest_after: Duration,
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
    pub(crate) fn formed(seed: u64, nodes: usize, profile: Profile, test: &str) -> Self {
        let who = format!("{nodes} nodes, {}", profile.name);
        let rest_after = if profile.name == "lan" { REST_AFTER[0] } else { REST_AFTER[1] };
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
            profile,
            replace_voters_after: Duration::from_secs(30),
            tick: Duration::from_millis(1),
            loss_permille: 0,
            prepare: Arc::new(|builder| builder),
            load: Arc::new(load),
        });
        let mut rig = Self { world, rest_after, well, who, _repeat: repeat(seed, test) };
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
    /// one keeps its life, and never has less than half of the shards it had. Returns how many
    /// memberships changed.
    fn rests_under(&mut self, fault: Fault, touched: &[usize]) -> usize {
        let spared: BTreeSet<NodeId> = (0..self.world.hosts())
            .filter(|h| !touched.contains(h))
            .map(|h| self.name(h))
            .collect();
        let first = self.view();
        let (mut before, had, mut seen) = (lives(&first), owned(&first), first.version);
        let (begun, mut changes) = (self.world.elapsed(), 0);
        let mut rest: Option<Version> = None;
        self.world.begin(fault);
        while self.world.elapsed() < begun + self.rest_after + WATCHED_FOR {
            self.step();
            let view = self.view();
            if self.world.elapsed() >= begun + self.rest_after {
                let version = *rest.get_or_insert(view.version);
                let why = view.history.back().map(|noted| noted.cause.clone());
                assert_eq!(view.version, version, "{}: {fault:?}: no rest: {why:?}", self.who);
            }
            if view.version == seen {
                continue;
            }
            seen = view.version;
            let (now, owned) = (lives(&view), owned(&view));
            changes += before.symmetric_difference(&now).count();
            for gone in before.difference(&now) {
                assert!(!spared.contains(&gone.0), "{}: {fault:?} costs {gone:?}", self.who);
            }
            before = now;
            for node in &spared {
                let has = owned.get(node).copied().unwrap_or(0);
                let half = had.get(node).copied().unwrap_or(0) / 2;
                assert!(has > half, "{}: {fault:?} drains {node}: {owned:?}", self.who);
            }
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

/// Each of the faults in a cluster of its own; the first three are at the link of the leader with
/// one other. `test` is what runs it.
pub(crate) fn asymmetric_cuts(
    profile: &Profile,
    which: std::ops::Range<usize>,
    test: &str,
) -> Vec<(Fault, usize)> {
    which.map(|which| one_cut(profile, which, test)).collect()
}

fn one_cut(profile: &Profile, which: usize, test: &str) -> (Fault, usize) {
    let nodes = 3;
    let mut rig = Rig::formed(700 + which as u64, nodes, profile.clone(), test);
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
    let mut rig = Rig::formed(750, 3, Profile::lan(), "one_that_is_not_well");
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
    let turns = FLAPS_MS.into_iter().flat_map(|each| [(each, 0), (each, 1)]);
    for (number, (each, ends)) in turns.enumerate() {
        let mut rig = Rig::formed(760 + number as u64, 3, Profile::lan(), "a_link_that_comes");
        let leader = rig.leader();
        let (one, other) = ((leader + ends) % 3, (leader + ends + 1) % 3);
        let fault = Fault::Flapping(one, other, Duration::from_millis(each));
        assert_eq!(rig.rests_under(fault, &[]), 0);
    }
}

/// A bridge: only one node speaks with all. Those it does not help may go; it stays.
pub(crate) fn bridges(profile: &Profile, nodes: usize) -> Vec<(Fault, usize)> {
    let bridged = |host: usize| {
        let mut rig = Rig::formed(770 + host as u64, nodes, profile.clone(), "a_bridge");
        // Of two sides the smaller one may go.
        let (below, above) = (host, nodes - 1 - host);
        let touched: Vec<usize> = match below.cmp(&above) {
            std::cmp::Ordering::Less => (0..host).collect(),
            std::cmp::Ordering::Equal => Vec::new(),
            std::cmp::Ordering::Greater => (host + 1..nodes).collect(),
        };
        let changes = rig.rests_under(Fault::Bridge(host), &touched);
        rig.recovers();
        (Fault::Bridge(host), changes)
    };
    (1..nodes - 1).map(bridged).collect()
}
