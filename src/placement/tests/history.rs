//! Why each version came about.

use super::*;

#[test]
fn each_version_says_why_and_whom_it_is_about() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.accept(cluster.eviction(3));
    cluster.accept(cluster.join(claim(3, 2, 3)));
    let told: Vec<_> = cluster
        .view
        .history
        .iter()
        .map(|one| (one.version.0, one.cause.as_str(), one.node.clone()))
        .collect();
    assert_eq!(
        told,
        [(1, "formed by 3 nodes", None), (2, "test", Some(id(3))), (3, "it joined", Some(id(3))),]
    );
    let epoch = cluster.view.history[1].epoch;
    let taken = cluster.view.shards.iter().filter(|shard| shard.epoch == epoch).count();
    assert!(taken > 0, "the epoch is that of what changed hands");
}

#[test]
fn a_refused_change_has_no_history() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let repeated = cluster.join(claim(3, 2, 3));
    cluster.refused(repeated);
    assert_eq!(cluster.view.history.len(), 1);
}

#[test]
fn the_last_causes_are_kept_and_long_ones_are_cut() {
    let mut cluster = Cluster::formed(2, &constants(1, 1));
    let rounds = u16::try_from(HISTORY_MAX).expect("few");
    for _ in 0..rounds {
        let on = cluster.view.members[&id(2)].status != Status::Leaving;
        cluster.accept(Change::Drain { node: id(2), boot: Boot(1), on });
    }
    assert_eq!(cluster.view.history.len(), HISTORY_MAX);
    let Change::Evict { node, boot, assign, .. } = cluster.eviction(2) else { panic!("an Evict") };
    let cause = "ü".repeat(200);
    cluster.accept(Change::Evict { node, boot, cause, assign, released: false });
    let kept = &cluster.view.history.back().expect("the last").cause;
    assert_eq!(kept.as_str(), "ü".repeat(80));
}
