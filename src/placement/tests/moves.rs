//! Moves: how each begins, and the ways in which it ends.

use super::*;
use crate::base::Epoch;

/// Three nodes with records everywhere, and a shard of `n1` on its way to `n2`.
fn moving() -> (Cluster, ShardId) {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.write_all();
    let shard = cluster.of(1)[0];
    cluster.accept(begin(&cluster, shard, 2));
    (cluster, shard)
}

fn begin(cluster: &Cluster, shard: ShardId, to: u16) -> Change {
    let moves = vec![cluster.transfer(shard, id(to), cluster.boot(to))];
    Change::Move { cause: "test".into(), moves }
}

fn hand_over(cluster: &Cluster, shard: ShardId) -> Change {
    let assign = cluster.handing(shard, false).into_iter().collect();
    Change::HandOver { cause: "released".into(), assign }
}

fn owner(cluster: &Cluster, shard: ShardId) -> u16 {
    (1..=9).find(|node| cluster.of(*node).contains(&shard)).expect("an owner")
}

#[test]
fn a_move_that_begins_changes_neither_owner_nor_epoch() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let shard = cluster.of(1)[0];
    let before = cluster.shard(shard).clone();
    cluster.accept(begin(&cluster, shard, 2));
    let now = cluster.shard(shard);
    assert_eq!((&now.owner, now.epoch), (&before.owner, before.epoch));
    let to = Owner { node: id(2), boot: Boot(1) };
    assert_eq!(now.moving, Some(to));
    assert_eq!(cluster.view.moves(), [(shard, id(2))].into());
}

#[test]
fn a_released_shard_goes_to_its_next_owner_under_a_new_epoch() {
    let (mut cluster, shard) = moving();
    let epoch = cluster.shard(shard).epoch;
    cluster.accept(hand_over(&cluster, shard));
    let now = cluster.shard(shard);
    assert!(now.epoch > epoch && now.moving.is_none());
    assert_eq!(owner(&cluster, shard), 2);
}

#[test]
fn a_move_that_is_taken_back_leaves_the_owner_with_a_new_epoch() {
    let (mut cluster, shard) = moving();
    let epoch = cluster.shard(shard).epoch;
    let abort = |epoch| Change::MoveAborted { cause: "late".into(), shards: vec![(shard, epoch)] };
    assert_eq!(cluster.refused(abort(Epoch(epoch.0 - 1))), Refusal::Stale(shard));
    cluster.accept(abort(epoch));
    let now = cluster.shard(shard);
    assert!(now.epoch > epoch && now.moving.is_none());
    assert_eq!(owner(&cluster, shard), 1);
    // What was planned before does not apply any more.
    let late = abort(epoch);
    assert_eq!(cluster.refused(late), Refusal::Stale(shard));
}

#[test]
fn a_move_is_refused_to_who_does_not_hold_the_records_or_is_no_member() {
    let mut cluster = Cluster::formed(4, &constants(2, 1));
    cluster.write_all();
    let shard = cluster.of(1)[0];
    let held = cluster.shard(shard).in_sync.clone();
    let other = (2..=4).find(|node| !held.contains(&StoreId(u128::from(*node)))).expect("one");
    let refusal = cluster.refused(begin(&cluster, shard, other));
    assert!(matches!(refusal, Refusal::InSync { .. }), "{refusal}");
    let gone = vec![cluster.transfer(shard, id(2), Boot(7))];
    let refusal = cluster.refused(Change::Move { cause: String::new(), moves: gone });
    assert_eq!(refusal, Refusal::Boot { node: id(2), boot: Boot(7) });
    let own = begin(&cluster, shard, 1);
    assert_eq!(cluster.refused(own), Refusal::Stale(shard), "to its owner");
    assert!(matches!(
        cluster.refused(Change::Move { cause: String::new(), moves: Vec::new() }),
        Refusal::Malformed(_)
    ));
}

#[test]
fn a_shard_on_its_way_does_not_begin_another_move() {
    let (mut cluster, shard) = moving();
    assert_eq!(cluster.refused(begin(&cluster, shard, 3)), Refusal::Stale(shard));
}

#[test]
fn when_the_taker_is_evicted_the_move_is_taken_back_in_the_same_entry() {
    let (mut cluster, shard) = moving();
    let epoch = cluster.shard(shard).epoch;
    cluster.accept(cluster.eviction(2));
    let now = cluster.shard(shard);
    assert!(now.epoch > epoch, "n1 may have released the old one");
    assert_eq!((owner(&cluster, shard), &now.moving), (1, &None));
}

#[test]
fn when_the_giver_is_evicted_the_taker_gets_the_shard() {
    let (mut cluster, shard) = moving();
    cluster.accept(cluster.eviction(1));
    assert_eq!((owner(&cluster, shard), &cluster.shard(shard).moving), (2, &None));
}

#[test]
fn a_restart_of_either_takes_the_move_back() {
    for restarted in [1, 2] {
        let (mut cluster, shard) = moving();
        let epoch = cluster.shard(shard).epoch;
        cluster.accept(cluster.rejoin(claim(restarted, 2, restarted.into())));
        let now = cluster.shard(shard);
        assert!(now.epoch > epoch && now.moving.is_none(), "n{restarted}");
        assert_eq!(owner(&cluster, shard), 1, "n{restarted}");
    }
}

#[test]
fn a_taker_that_lost_its_store_takes_nothing() {
    let (mut cluster, shard) = moving();
    let epoch = cluster.shard(shard).epoch;
    cluster.accept(cluster.rejoin(claim(2, 2, 20)));
    let now = cluster.shard(shard);
    assert!(now.epoch > epoch && now.moving.is_none());
    assert!(!now.in_sync.contains(&StoreId(2)));
    assert_eq!(owner(&cluster, shard), 1);
}

#[test]
fn a_plan_from_before_the_taker_left_in_sync_does_not_apply() {
    let (mut cluster, shard) = moving();
    let late = hand_over(&cluster, shard);
    let when = cluster.when(shard);
    cluster.accept(Change::Shrink { shard, store: StoreId(2), when });
    assert_eq!(cluster.refused(late), Refusal::Stale(shard));
    // Planned anew it is refused as well: n2 may lack the last write.
    let refusal = cluster.refused(hand_over(&cluster, shard));
    assert!(matches!(refusal, Refusal::InSync { .. }), "{refusal}");
}
