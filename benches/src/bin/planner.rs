//! What planning costs at a thousand nodes and 16,384 shards.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin planner [nodes] [shards]` prints
//! the best and the median time of [`ROUNDS`] runs of each plan. *New* is a planner that knows no hash
//! yet, *again* one that has planned before.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use evertree::base::{Boot, ClusterId, NodeId, StoreId};
use evertree::placement::{
    Change, ChangeId, Claim, Constants, DiskMark, Limits, Outcome, Plan, Planner, Profile,
    Proposal, Step, Underway, View, cap, replica_sets,
};

/// Runs of each plan.
const ROUNDS: usize = 9;

const WIDE: Limits = Limits {
    moves_max: usize::MAX,
    node_moves_max: usize::MAX,
    copies_max: usize::MAX,
    node_copies_max: usize::MAX,
};

fn claim(node: u16) -> Claim {
    Claim {
        node: format!("node-{node:04}").parse().expect("a node name"),
        boot: Boot(1),
        token: 1,
        earlier_boots: Vec::new(),
        tokens: Vec::new(),
        store: StoreId(u128::from(node) + 1),
        voter: None,
        addr: "127.0.0.1:4000".into(),
        zone: ["a", "b", "c"][usize::from(node % 3)].into(),
        weight: 1,
        disk: DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "h".into() },
    }
}

/// Runs `plan` again and again, says what it cost, and returns what it planned.
fn time<T>(what: &str, mut plan: impl FnMut() -> T) -> T {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        last = Some(black_box(plan()));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:<58} {:9.2} {:9.2}", millis(times[0]), millis(times[ROUNDS / 2]));
    last.expect("at least one round")
}

fn apply(view: &mut View, change: Change) {
    let index = view.version.0 + 1;
    let outcome = view.apply(index, &Proposal { id: ChangeId(index.into()), change });
    assert_eq!(outcome, Outcome::Accepted);
}

/// Every shard gets records, as if each had been written once.
fn write_all(view: &mut View) {
    for shard in &mut view.shards {
        let mut next = (**shard).clone();
        next.has_records = true;
        *shard = next.into();
    }
}

/// Takes all steps of all plans until none is left: how many plans, moves and copies it took.
fn carry_out(view: &mut View) -> (usize, usize, usize) {
    let mut planner = Planner::default();
    let mut underway = Underway::default();
    let (mut plans, mut moves, mut copies) = (0, 0, 0);
    loop {
        let Plan { steps, filling } = planner.steps(view, &underway, &WIDE);
        plans += 1;
        if steps.is_empty() {
            return (plans, moves, copies);
        }
        underway.filling = filling;
        for step in steps {
            let shard = match &step {
                Step::Move(step) => step.shard,
                Step::Copy { shard, .. } | Step::Drop { shard, .. } => *shard,
            };
            let place = &mut view.shards[usize::from(shard.0)];
            let mut next = (**place).clone();
            match step {
                Step::Move(step) => {
                    next.owner = Some(step.to);
                    next.in_sync = step.in_sync;
                    moves += 1;
                }
                Step::Copy { store, .. } => {
                    next.in_sync.push(store);
                    copies += 1;
                }
                Step::Drop { store, .. } => next.in_sync.retain(|other| *other != store),
            }
            next.in_sync.sort_unstable();
            *place = next.into();
        }
    }
}

/// The state of a cluster, in one line.
fn show(what: &str, view: &View, nodes: u16) {
    let mut counts: BTreeMap<&NodeId, u64> = BTreeMap::new();
    for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
        *counts.entry(&owner.node).or_default() += 1;
    }
    let shards = u16::try_from(view.shards.len()).expect("at most 32,768");
    println!(
        "{what}: {} to {} shards a node, cap {}; {} sets of stores",
        counts.values().min().expect("nodes"),
        counts.values().max().expect("nodes"),
        cap(shards, 1, nodes.into()),
        replica_sets(view).len(),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|one| one.parse().expect("a number"));
    let nodes: u16 = arguments.next().unwrap_or(1000);
    let shards: u16 = arguments.next().unwrap_or(16_384);
    let claims: Vec<Claim> = (0..nodes).map(claim).collect();
    let profile = Profile::lan();
    let constants = Constants {
        shards,
        copies: 3,
        write_min: 2,
        profile,
        lease_before: None,
        lease_set: false,
    };
    println!("{nodes} nodes in 3 zones, {shards} shards, R = 3 {:>29} {:>9}", "best ms", "median");

    let assign = time("formation, new", || Planner::default().formation(&constants, &claims));
    let mut empty = View::default();
    let cluster = ClusterId([1; 32]);
    apply(&mut empty, Change::Form { cluster, constants, members: claims.clone(), assign });
    let mut written = empty.clone();
    write_all(&mut written);

    let gone = &claims[usize::from(nodes / 2)].node;
    let alive: BTreeSet<NodeId> = empty.members.keys().cloned().collect();
    let none = BTreeMap::new();
    let mut planner = Planner::default();
    for (what, view) in [("with records", &written), ("without records", &empty)] {
        let evict = |planner: &mut Planner| planner.evict(view, gone, &alive, &none);
        time(&format!("eviction of one node {what}, new"), || evict(&mut Planner::default()));
        time(&format!("eviction of one node {what}, again"), || evict(&mut planner));
    }
    time("nobody is without an owner", || planner.ownerless(&written, &alive));
    let still = Underway::default();
    time("steps, nothing to do, again", || planner.steps(&written, &still, &WIDE));

    let mut evicted = written.clone();
    let assign = planner.evict(&written, gone, &alive, &none);
    let (node, cause) = (gone.clone(), String::new());
    apply(&mut evicted, Change::Evict { node, boot: Boot(1), cause, assign, released: false });
    time("steps after the eviction (restore copies and sets), again", || {
        planner.steps(&evicted, &still, &WIDE)
    });
    for joiners in [1, nodes / 10] {
        let mut view = written.clone();
        for node in nodes..nodes + joiners {
            apply(&mut view, Change::Join { claim: claim(node), assign: Vec::new() });
        }
        let text = format!("steps after {joiners} joined (the whole rebalance)");
        time(&format!("{text}, new"), || Planner::default().steps(&view, &still, &WIDE));
        time(&format!("{text}, again"), || planner.steps(&view, &still, &WIDE));
        let start = Instant::now();
        let (plans, moves, copies) = carry_out(&mut view);
        let took = start.elapsed();
        println!("  {plans} plans carried out in {took:?}: {moves} moves, {copies} copies");
        show("  then", &view, nodes + joiners);
    }
    carry_out(&mut evicted);
    show("after the formation", &written, nodes);
    show("after the eviction and its steps", &evicted, nodes - 1);
}
