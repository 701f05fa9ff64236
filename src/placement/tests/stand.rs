//! Drain, leave, voters, and constants.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn drain(cluster: &Cluster, node: u16, on: bool) -> Change {
    Change::Drain { node: id(node), boot: cluster.boot(node), on }
}

fn leave(cluster: &Cluster, node: u16) -> Change {
    Change::Leave { node: id(node), boot: cluster.boot(node) }
}

fn set(cluster: &Cluster, (copies, write_min): (u8, u8), lease: u64) -> Change {
    let seen = cluster.view.constants.clone().expect("formed");
    Change::Set { seen, copies, write_min, lease: Duration::from_millis(lease) }
}

fn why(refusal: &Refusal) -> String {
    refusal.to_string()
}

/// The shards of `from` go to `to`, which holds them.
fn give_all(cluster: &mut Cluster, from: u16, to: u16) {
    for shard in cluster.of(from) {
        let moves = vec![cluster.transfer(shard, id(to), cluster.boot(to))];
        cluster.accept(Change::Move { cause: String::new(), moves });
        let assign = cluster.handing(shard, false).into_iter().collect();
        cluster.accept(Change::HandOver { cause: String::new(), assign });
    }
}

#[test]
fn a_drain_marks_a_member_and_can_be_taken_back() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let status = |cluster: &Cluster| cluster.view.members[&id(3)].status;
    cluster.accept(drain(&cluster, 3, true));
    assert_eq!(status(&cluster), Status::Leaving);
    assert!(why(&cluster.refused(drain(&cluster, 3, true))).contains("already"));
    cluster.accept(drain(&cluster, 3, false));
    assert_eq!(status(&cluster), Status::Up);
    assert!(why(&cluster.refused(drain(&cluster, 3, false))).contains("not draining"));
}

#[test]
fn a_drain_that_would_leave_fewer_than_write_min_is_refused() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.accept(drain(&cluster, 3, true));
    let refusal = cluster.refused(drain(&cluster, 2, true));
    assert!(why(&refusal).contains("write_min is 2: lower it first"), "{refusal}");
}

#[test]
fn nobody_leaves_who_owns_or_votes_or_is_needed_as_a_holder() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    cluster.write_all();
    let refusal = cluster.refused(leave(&cluster, 1));
    assert!(why(&refusal).contains("it owns"), "{refusal}");
    give_all_of_one(&mut cluster);
    let refusal = cluster.refused(leave(&cluster, 1));
    assert!(why(&refusal).contains("fewer than 3 others hold"), "{refusal}");
    for shard in 0..SHARDS {
        let shard = ShardId(shard);
        if let Some(store) = next_copy_beside(&cluster, shard) {
            cluster.accept(Change::Add { shard, store, when: cluster.when(shard) });
        }
    }
    let voters: BTreeMap<_, _> = (1..=3).map(|one| (VoterId(one.into()), id(one))).collect();
    cluster.index += 1;
    assert!(cluster.view.apply_voters(cluster.index, voters.clone()));
    let refusal = cluster.refused(leave(&cluster, 1));
    assert!(why(&refusal).contains("votes"), "{refusal}");
    cluster.index += 1;
    let others = voters.into_keys().map(|voter| (voter, id(4))).take(1).collect();
    assert!(cluster.view.apply_voters(cluster.index, others));
    cluster.accept(leave(&cluster, 1));
    assert_eq!(cluster.view.departure(&id(1), Boot(1)), Some(Departure::Released));
    assert!(cluster.view.shards.iter().all(|shard| !shard.in_sync.contains(&StoreId(1))));
    assert!(cluster.view.shards.iter().all(|shard| shard.in_sync.len() == 3));
}

/// Every shard of `n1` goes to the next member that holds it.
fn give_all_of_one(cluster: &mut Cluster) {
    for shard in cluster.of(1) {
        let to = cluster.shard(shard).in_sync.iter().find(|store| store.0 != 1).expect("another");
        let to = u16::try_from(to.0).expect("a small number");
        let moves = vec![cluster.transfer(shard, id(to), cluster.boot(to))];
        cluster.accept(Change::Move { cause: String::new(), moves });
        let assign = cluster.handing(shard, false).into_iter().collect();
        cluster.accept(Change::HandOver { cause: String::new(), assign });
    }
}

/// The store of a member that does not hold `shard`, where `n1` does.
fn next_copy_beside(cluster: &Cluster, shard: ShardId) -> Option<StoreId> {
    let held = &cluster.shard(shard).in_sync;
    held.contains(&StoreId(1)).then_some(())?;
    (2..=4).map(StoreId).find(|store| !held.contains(store))
}

#[test]
fn the_last_nodes_that_writes_need_do_not_leave() {
    let mut cluster = Cluster::formed(2, &constants(2, 2));
    give_all(&mut cluster, 1, 2);
    let refusal = cluster.refused(leave(&cluster, 1));
    assert!(why(&refusal).contains("lower it first"), "{refusal}");
}

#[test]
fn an_operator_sets_constants_that_are_possible_and_seen() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let stale = set(&cluster, (3, 1), 1_000);
    cluster.accept(set(&cluster, (2, 2), 1_000));
    let refusal = cluster.refused(stale);
    assert!(why(&refusal).contains("others by now"), "{refusal}");
    for (limits, lease, text) in [
        ((2, 2), 1_000, "so already"),
        ((2, 3), 1_000, "write_min <= replicas"),
        ((9, 4), 1_000, "write_min <= replicas"),
        ((2, 0), 1_000, "write_min <= replicas"),
        ((2, 2), 300, "an election takes longer than a lease"),
    ] {
        let refusal = cluster.refused(set(&cluster, limits, lease));
        assert!(why(&refusal).contains(text), "{limits:?} {lease}: {refusal}");
    }
}

#[test]
fn a_lease_that_changes_is_remembered_until_it_has_settled() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.accept(set(&cluster, (3, 2), 2_000));
    let now = cluster.view.constants.clone().expect("formed");
    assert_eq!(now.profile.lease, Duration::from_secs(2));
    assert_eq!(now.lease_before, Some(Duration::from_secs(1)));
    let again = cluster.refused(set(&cluster, (3, 2), 3_000));
    assert!(why(&again).contains("still being changed"), "{again}");
    let settled = |millis| Change::LeaseSettled { lease: Duration::from_millis(millis) };
    assert!(matches!(cluster.refused(settled(1_000)), Refusal::Constants(_)));
    cluster.accept(settled(2_000));
    assert_eq!(cluster.view.constants.as_ref().expect("formed").lease_before, None);
    assert!(matches!(cluster.refused(settled(2_000)), Refusal::Constants(_)));
}

#[test]
fn voters_make_a_version_when_they_change() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let before = cluster.view.version;
    let voters: BTreeMap<_, _> = [(VoterId(7), id(2))].into();
    assert!(cluster.view.apply_voters(9, voters.clone()));
    assert!(!cluster.view.apply_voters(10, voters));
    assert_eq!(cluster.view.version.0, before.0 + 1);
    assert!(cluster.view.votes(&id(2)) && !cluster.view.votes(&id(1)));
    cluster.view.check().expect("the view keeps its rules");
    let mut unformed = View::default();
    assert!(!unformed.apply_voters(1, [(VoterId(1), id(1))].into()), "no version before the first");
}
