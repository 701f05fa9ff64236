//! Plans one by one; steps in `steps`; the property over random changes in `random`.

mod random;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::base::{Boot, StoreId};
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{Change, Outcome, Owner};

fn big(shards: u16, copies: u8) -> Constants {
    Constants { shards, ..constants(copies, 1) }
}

fn claims(nodes: u16) -> Vec<Claim> {
    (1..=nodes).map(|node| claim(node, 1, node.into())).collect()
}

fn owned(plan: &[Assign]) -> BTreeMap<NodeId, u64> {
    let mut counts = BTreeMap::new();
    for owner in plan.iter().filter_map(|assign| assign.owner.as_ref()) {
        *counts.entry(owner.node.clone()).or_default() += 1;
    }
    counts
}

fn sets(plan: &[Assign]) -> BTreeSet<Vec<StoreId>> {
    plan.iter().map(|assign| assign.in_sync.clone()).collect()
}

/// The suite's cases, and every partition has an owner although there are fewer than nodes.
#[test]
fn r14_the_cap_is_a_quarter_above_the_mean_rounded_up() {
    for (shards, nodes, want) in [(3, 8, 1), (5, 10, 1), (9, 10, 2), (23, 8, 4), (4096, 3, 1707)] {
        assert_eq!(cap(shards, 1, nodes), want, "{shards} shards on {nodes} nodes");
        let nodes = u16::try_from(nodes).expect("few");
        let plan = plan_formation(&big(shards, 3), &claims(nodes));
        let planned: Vec<u16> = plan.iter().map(|assign| assign.shard.0).collect();
        assert_eq!(planned, (0..shards).collect::<Vec<_>>(), "every partition is planned");
        assert!(plan.iter().all(|assign| assign.owner.is_some()), "and has an owner");
        assert!(owned(&plan).values().all(|&count| count <= want), "{:?}", owned(&plan));
    }
    assert_eq!(cap(100, 3, 4), 94, "by weight");
    assert_eq!(cap(100, 0, 4), 0);
    assert_eq!(cap(1, 1, 0), 2, "no panic without nodes");
}

/// The walk of the planner is that of the ring: a shard's first choice owns it while all have room.
#[test]
fn the_first_choice_is_the_owner_on_the_ring() {
    let claims = claims(9);
    let placed = claims.iter().map(|claim| (claim.node.clone(), 1, String::new()));
    let ring = crate::ring::Ring::build(placed).expect("distinct names");
    let plan = plan_formation(&big(1024, 3), &claims);
    let first = |assign: &&Assign| {
        let point = crate::ring::shard_point(assign.shard);
        assign.owner.as_ref().map(|owner| &owner.node) == ring.owner(point)
    };
    // Nobody has its share yet after a few shards.
    assert!(plan.iter().take(100).all(|assign| first(&assign)), "the ring ranks");
    let all = plan.iter().filter(first).count();
    assert!(all * 10 >= 9 * plan.len(), "{all} of {} are where the ring wants them", plan.len());
}

#[test]
fn a_formation_owns_every_shard_within_the_cap_on_few_sets() {
    for nodes in 1..=20 {
        let plan = plan_formation(&big(1024, 3), &claims(nodes));
        assert_eq!(plan.len(), 1024, "{nodes} nodes: every shard");
        let cap = cap(1024, 1, nodes.into());
        let counts = owned(&plan);
        assert!(counts.values().all(|&count| count <= cap), "{nodes} nodes: {counts:?}");
        assert_eq!(counts.values().sum::<u64>(), 1024, "every shard has an owner");
        assert_eq!(counts.len(), usize::from(nodes), "no node idles");
        let sets = sets(&plan);
        assert!(sets.len() <= 4 * usize::from(nodes), "{nodes} nodes: {} sets", sets.len());
        for assign in &plan {
            assert_eq!(assign.in_sync.len(), usize::from(nodes.min(3)), "{assign:?}");
            assert!(assign.in_sync.is_sorted_by(|left, right| left < right));
        }
    }
}

#[test]
fn a_plan_does_not_depend_on_the_order_of_claims() {
    let mut turned = claims(7);
    turned.reverse();
    turned.swap(1, 4);
    let constants = big(256, 3);
    assert_eq!(plan_formation(&constants, &claims(7)), plan_formation(&constants, &turned));
}

#[test]
fn weights_share_and_weight_zero_gets_nothing() {
    let mut nodes = claims(4);
    nodes[0].weight = 3;
    nodes[3].weight = 0;
    let plan = plan_formation(&big(1024, 3), &nodes);
    let counts = owned(&plan);
    assert!(counts[&id(1)] > counts[&id(2)] && counts[&id(1)] > counts[&id(3)], "{counts:?}");
    assert!(counts[&id(1)] <= cap(1024, 3, 5));
    assert!(plan.iter().all(|assign| !assign.in_sync.contains(&StoreId(4))));
    nodes.truncate(1);
    nodes[0].weight = 0;
    assert!(plan_formation(&big(16, 1), &nodes).is_empty(), "nobody is there");
}

#[test]
fn sets_span_zones_where_there_are_several() {
    let mut nodes = claims(6);
    for (at, node) in nodes.iter_mut().enumerate() {
        node.zone = ["a", "b", "c"][at % 3].into();
    }
    for assign in plan_formation(&big(512, 3), &nodes) {
        let zones: BTreeSet<u128> = assign.in_sync.iter().map(|store| store.0 % 3).collect();
        assert_eq!(zones.len(), 3, "{assign:?}");
    }
}

#[test]
fn failover_spreads_over_holders_and_touches_nothing_else() {
    let mut cluster = Cluster::formed(5, &big(1024, 3));
    for (number, _) in cluster.view.clone().numbered() {
        cluster.write(number);
    }
    let before = cluster.of(4);
    let plan = plan_evict(&cluster.view, &id(4));
    let planned: Vec<ShardId> = plan.iter().map(|assign| assign.shard).collect();
    assert_eq!(planned, before, "its shards and no others");
    cluster.accept(cluster.eviction(4));
    for node in [1, 2, 3, 5] {
        let gained = cluster.of(node).iter().filter(|s| before.contains(s)).count();
        assert!(gained * 8 >= before.len(), "n{node} takes its part: {gained} of {}", before.len());
        let count = u64::try_from(cluster.of(node).len()).expect("small");
        assert!(count <= cap(1024, 1, 4), "n{node} owns {count}");
    }
}

#[test]
fn without_records_any_live_node_takes_over_with_fresh_stores() {
    let mut cluster = Cluster::formed(5, &big(256, 3));
    cluster.accept(cluster.eviction(2));
    for (number, shard) in cluster.view.numbered() {
        assert!(shard.owner.is_some(), "{number}");
        if shard.epoch.0 == cluster.index {
            assert_eq!(shard.in_sync.len(), 3, "R live stores again");
        }
    }
    for node in [1, 3, 4, 5] {
        let count = u64::try_from(cluster.of(node).len()).expect("small");
        assert!(count <= cap(256, 1, 4), "n{node} owns {count}");
    }
}

#[test]
fn silent_nodes_are_no_candidates() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.write_all();
    let alive: BTreeSet<NodeId> = [id(3)].into();
    let plan = plan_evict_among(&cluster.view, &id(1), &alive);
    assert!(!plan.is_empty());
    for assign in &plan {
        assert_eq!(assign.owner, Some(Owner { node: id(3), boot: Boot(1) }));
        assert!(assign.in_sync.contains(&StoreId(2)), "a silent member's store stays: {assign:?}");
    }
    assert!(plan_evict_among(&cluster.view, &id(1), &BTreeSet::new()).is_empty());
}

#[test]
fn copies_are_filled_up_to_r_and_no_further() {
    let mut cluster = Cluster::formed(6, &big(256, 3));
    for (number, _) in cluster.view.clone().numbered() {
        cluster.write(number);
    }
    let shard = cluster.of(1)[0];
    assert_eq!(next_copy(&cluster.view, shard), None, "R stores hold it");
    let all: BTreeSet<_> = cluster.view.numbered().map(|(_, s)| s.in_sync.clone()).collect();
    cluster.accept(cluster.eviction(6));
    cluster.accept(cluster.join(claim(6, 2, 66)));
    let mut added = 0;
    for (number, _) in cluster.view.clone().numbered() {
        while let Some(store) = next_copy(&cluster.view, number) {
            assert!(copy_candidates(&cluster.view, number).len() >= 3, "others, if it is silent");
            cluster.accept(Change::Add { shard: number, store, when: cluster.when(number) });
            added += 1;
        }
        assert_eq!(cluster.shard(number).in_sync.len(), 3, "{number}");
    }
    assert!(added > 0);
    let now: BTreeSet<_> = cluster.view.numbered().map(|(_, s)| s.in_sync.clone()).collect();
    assert!(now.len() <= 4 * 6 * 2, "few sets still: {} after {}", now.len(), all.len());
}

#[test]
fn a_dead_store_that_must_stay_is_replaced_first() {
    let mut cluster = Cluster::formed(2, &constants(2, 2));
    cluster.write_all();
    cluster.accept(cluster.eviction(2));
    let shard = ShardId(0);
    assert_eq!(next_copy(&cluster.view, shard), None, "nobody is there");
    cluster.accept(cluster.join(claim(3, 1, 3)));
    assert_eq!(next_copy(&cluster.view, shard), Some(StoreId(3)));
    let when = cluster.when(shard);
    cluster.accept(Change::Add { shard, store: StoreId(3), when });
    assert_eq!(next_copy(&cluster.view, shard), None);
    let when = cluster.when(shard);
    cluster.accept(Change::Shrink { shard, store: StoreId(2), when });
    assert_eq!(cluster.shard(shard).in_sync, [StoreId(1), StoreId(3)]);
}

proptest! {
    /// What is planned from a view is accepted by it, whole.
    #[test]
    fn every_plan_is_accepted_as_planned(
        nodes in 1..8_u16,
        written in any::<u16>(),
        gone in prop::collection::vec((1..8_u16, any::<bool>()), 0..6),
    ) {
        let mut cluster = Cluster::formed(nodes, &constants(3, 1));
        for shard in (0..16).filter(|shard| written >> shard & 1 == 1) {
            cluster.write(ShardId(shard));
        }
        for (boot, (node, keeps)) in gone.into_iter().enumerate() {
            let boot = u64::try_from(boot).expect("small") + 2;
            let old = cluster.view.members.get(&id(node)).map(|member| member.store);
            let change = match old {
                Some(old) if keeps => cluster.rejoin(claim(node, boot, old.0)),
                Some(_) if boot % 2 == 0 => {
                    cluster.rejoin(claim(node, boot, 100 * u128::from(boot) + u128::from(node)))
                }
                Some(_) => cluster.eviction(node),
                None => cluster.join(claim(node, boot, 100 * u128::from(boot) + u128::from(node))),
            };
            let (Change::Rejoin { assign, .. }
            | Change::Evict { assign, .. }
            | Change::Join { assign, .. }) = change.clone() else { panic!("{change:?}") };
            prop_assert_eq!(cluster.apply(change), Outcome::Accepted);
            for planned in assign {
                let now = cluster.shard(planned.shard);
                prop_assert_eq!(&now.owner, &planned.owner);
                prop_assert_eq!(&now.in_sync, &planned.in_sync);
                prop_assert_eq!(now.lost, planned.lost);
            }
        }
    }
}
