//! The rules of placement (`docs/invariants.md`), one by one.

use super::*;
use crate::base::{Epoch, Version};

fn add(cluster: &Cluster, shard: ShardId, store: u128) -> Change {
    Change::Add { shard, store: StoreId(store), when: cluster.when(shard) }
}

fn shrink(cluster: &Cluster, shard: ShardId, store: StoreId) -> Change {
    Change::Shrink { shard, store, when: cluster.when(shard) }
}

/// A store of `shard` that is not its owner's.
fn backup(cluster: &Cluster, shard: ShardId) -> StoreId {
    let now = cluster.shard(shard);
    let owner = &now.owner.as_ref().expect("an owner").node;
    let own = cluster.view.members[owner].store;
    *now.in_sync.iter().find(|&&store| store != own).expect("a backup")
}

#[test]
fn a_formed_cluster_owns_every_shard_under_the_epoch_of_its_entry() {
    let cluster = Cluster::formed(3, &constants(3, 2));
    assert_eq!(cluster.view.version, Version(1));
    for (number, shard) in cluster.view.numbered() {
        assert_eq!(shard.epoch, Epoch::new(0, 1), "{number}");
        assert_eq!(shard.in_sync, [StoreId(1), StoreId(2), StoreId(3)]);
        assert!(!shard.has_records && !shard.lost);
    }
    assert!(cluster.view.members.values().all(|member| member.status == Status::Up));
}

#[test]
fn a_cluster_is_formed_once_whole_and_before_anything_else() {
    let members = vec![claim(1, 1, 1), claim(2, 1, 2)];
    let good = constants(2, 2);
    let assign = plan_formation(&good, &members);
    let form = |constants: &Constants, members: &[Claim], assign: &[Assign]| Change::Form {
        cluster: ClusterId([1; 32]),
        constants: constants.clone(),
        members: members.to_vec(),
        assign: assign.to_vec(),
    };
    let mut cluster = Cluster::default();
    let early = cluster.refused(Change::Join { claim: claim(1, 1, 1), assign: Vec::new() });
    assert_eq!(early, Refusal::Formation("not ".into()));
    for bad in [
        form(&constants(1, 2), &members, &assign),
        form(&Constants { shards: 12, ..good.clone() }, &members, &assign),
        form(&Constants { shards: 32, ..good.clone() }, &members, &assign),
        form(&good, &[], &assign),
        form(&good, &members, &assign[1..]),
        form(&good, &[claim(1, 1, 1), claim(2, 1, 1)], &assign),
        form(&good, &[claim(1, 1, 1), claim(1, 1, 2)], &assign),
        form(&good, &members[..1], &assign),
    ] {
        cluster.refused(bad);
    }
    cluster.accept(form(&good, &members, &assign));
    let again = cluster.refused(form(&good, &members, &assign));
    assert_eq!(again, Refusal::Formation("already ".into()));
}

#[test]
fn a_repeated_change_is_answered_and_not_applied_again() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let shard = ShardId(0);
    let in_sync = cluster.shard(shard).in_sync.clone();
    let change = Change::HasRecords { shard, in_sync, when: cluster.when(shard) };
    let proposal = Proposal { id: ChangeId(99), change };
    assert_eq!(cluster.view.apply(2, &proposal), Outcome::Accepted);
    let once = cluster.view.clone();
    assert_eq!(cluster.view.apply(3, &proposal), Outcome::Accepted);
    assert_eq!(cluster.view, once);
    // Under another id it is what it is: planned from an older view.
    let other = Proposal { id: ChangeId(100), ..proposal };
    assert_eq!(cluster.view.apply(4, &other), Outcome::Refused(Refusal::Stale(shard)));
    assert_eq!(cluster.view.version, once.version, "a refusal is no new version");
    for index in 0..=u64::try_from(RECENT_MAX).expect("small") {
        let id = ChangeId(1_000 + u128::from(index));
        cluster.view.apply(5 + index, &Proposal { id, ..other.clone() });
    }
    assert_eq!(cluster.view.recent.len(), RECENT_MAX, "bounded, the oldest goes first");
    assert!(cluster.view.recent.iter().all(|(id, _)| *id != ChangeId(99)));
}

#[test]
fn an_owner_changes_its_shard_only_as_it_saw_it() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    let shard = ShardId(3);
    let old = cluster.when(shard);
    let in_sync = cluster.shard(shard).in_sync.clone();
    cluster.write(shard);
    assert!(cluster.shard(shard).has_records);
    assert_eq!(cluster.when(shard).in_sync_generation, old.in_sync_generation + 1);
    let wrong_boot = Owner { boot: Boot(9), ..old.owner.clone() };
    let now = cluster.when(shard);
    for when in [
        old,
        Precondition { owner: wrong_boot, ..now.clone() },
        Precondition { epoch: Epoch(7), ..now.clone() },
        Precondition { in_sync_generation: 77, ..now.clone() },
    ] {
        let shrink = Change::Shrink { shard, store: backup(&cluster, shard), when: when.clone() };
        assert_eq!(cluster.refused(shrink), Refusal::Stale(shard));
        let records = Change::HasRecords { shard, in_sync: in_sync.clone(), when };
        assert_eq!(cluster.refused(records), Refusal::Stale(shard));
    }
    let nowhere = Change::Shrink { shard: ShardId(99), store: StoreId(1), when: now };
    assert!(matches!(cluster.refused(nowhere), Refusal::Malformed(_)));
}

#[test]
fn first_records_need_write_min_live_stores_and_the_owners_own() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    let shard = ShardId(1);
    let backup = backup(&cluster, shard);
    let own = cluster.view.members[&cluster.when(shard).owner.node].store;
    let others: Vec<StoreId> = (1..=4).map(StoreId).filter(|&store| store != own).collect();
    let sorted = |mut stores: Vec<StoreId>| {
        stores.sort_unstable();
        stores
    };
    let twice = vec![own, own];
    let stranger = sorted(vec![own, StoreId(77)]);
    for in_sync in [vec![], vec![own], others, twice, stranger] {
        let change = Change::HasRecords { shard, in_sync, when: cluster.when(shard) };
        assert!(matches!(cluster.refused(change), Refusal::InSync { .. }));
    }
    let in_sync = sorted(vec![own, backup]);
    cluster.accept(Change::HasRecords {
        shard,
        in_sync: in_sync.clone(),
        when: cluster.when(shard),
    });
    assert_eq!(cluster.shard(shard).in_sync, in_sync);
}

#[test]
fn holders_come_by_add_and_go_by_shrink_never_below_write_min() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    let shard = ShardId(2);
    cluster.write(shard);
    let out = (1..=4).find(|&s| !cluster.shard(shard).in_sync.contains(&StoreId(s)));
    let out = out.expect("four nodes, three copies");
    assert!(matches!(cluster.refused(add(&cluster.clone(), shard, 77)), Refusal::InSync { .. }));
    let generation = cluster.shard(shard).in_sync_generation;
    cluster.accept(add(&cluster.clone(), shard, out));
    assert!(matches!(cluster.refused(add(&cluster.clone(), shard, out)), Refusal::InSync { .. }));
    assert_eq!(cluster.shard(shard).in_sync.len(), 4);
    assert_eq!(cluster.shard(shard).in_sync_generation, generation + 1);
    let own = cluster.view.members[&cluster.when(shard).owner.node].store;
    let refused = cluster.refused(shrink(&cluster.clone(), shard, own));
    assert!(matches!(refused, Refusal::InSync { .. }), "an owner does not remove itself");
    for left in [3, 2] {
        cluster.accept(shrink(&cluster.clone(), shard, backup(&cluster, shard)));
        assert_eq!(cluster.shard(shard).in_sync.len(), left);
    }
    let last = backup(&cluster, shard);
    let refused = cluster.refused(shrink(&cluster.clone(), shard, last));
    assert!(matches!(refused, Refusal::InSync { .. }), "{refused}");
}

#[test]
fn eviction_moves_shards_to_in_sync_stores_under_new_epochs() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.write_all();
    let owned = cluster.of(2);
    assert!(!owned.is_empty());
    cluster.accept(cluster.eviction(2));
    let epoch = Epoch::new(0, cluster.index);
    for (number, shard) in cluster.view.numbered() {
        assert!(shard.owner.is_some(), "{number}");
        assert_eq!(shard.in_sync, [StoreId(1), StoreId(3)], "write_min others stay");
        assert_eq!(shard.epoch == epoch, owned.contains(&number), "only its own shards move");
    }
    assert!(!cluster.view.stores.contains_key(&StoreId(2)), "it stands in no in_sync");
    let again = cluster.refused(Change::Evict {
        node: id(2),
        boot: Boot(1),
        cause: String::new(),
        assign: Vec::new(),
        released: false,
    });
    assert_eq!(again, Refusal::Boot { node: id(2), boot: Boot(1) });
}

#[test]
fn an_evicted_store_stays_in_in_sync_where_too_few_others_serve_and_may_come_back() {
    let mut cluster = Cluster::formed(2, &constants(2, 2));
    cluster.write_all();
    cluster.accept(cluster.eviction(2));
    for (_, shard) in cluster.view.numbered() {
        assert_eq!(shard.owner.as_ref().map(|owner| &owner.node), Some(&id(1)));
        assert_eq!(shard.in_sync, [StoreId(1), StoreId(2)]);
    }
    assert_eq!(cluster.view.stores[&StoreId(2)].last_boot, Boot(1));
    cluster.accept(cluster.eviction(1));
    assert!(cluster.view.numbered().all(|(_, shard)| shard.owner.is_none() && !shard.lost));
    // A backup from before boot 1 is no proof, nor is boot 1 itself, nor another node's name.
    let old = Claim { earlier_boots: Vec::new(), ..claim(2, 2, 2) };
    assert_eq!(cluster.refused(cluster.join(old)), Refusal::Copy(StoreId(2)));
    let other = Claim { token: 7, ..claim(2, 1, 2) };
    assert_eq!(cluster.refused(cluster.join(other)), Refusal::Copy(StoreId(2)));
    // What a claim that was sent twice meets when the life it began has ended already.
    let over = Refusal::Over { node: id(2), boot: Boot(1) };
    assert_eq!(cluster.refused(cluster.join(claim(2, 1, 2))), over);
    let same = Claim { earlier_boots: vec![(Boot(1), Boot(1))], token: 7, ..claim(2, 1, 2) };
    assert!(matches!(cluster.refused(cluster.join(same)), Refusal::Boot { .. }));
    assert_eq!(cluster.refused(cluster.join(claim(7, 2, 2))), Refusal::Copy(StoreId(2)));
    // A new store under the name holds nothing: the records wait.
    let mut other = cluster.clone();
    other.accept(other.join(claim(2, 2, 22)));
    assert!(other.view.numbered().all(|(_, shard)| shard.owner.is_none() && !shard.lost));
    assert_eq!(other.view.members[&id(2)].status, Status::Joining);
    // The directory itself brings them back.
    cluster.accept(cluster.join(claim(2, 2, 2)));
    assert_eq!(cluster.of(2).len(), usize::from(SHARDS));
    assert_eq!(cluster.view.members[&id(2)].status, Status::Up);
}

#[test]
fn the_end_of_a_boot_is_unconditional_and_each_assign_stands_alone() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let eviction = cluster.eviction(1);
    let owned = cluster.of(1);
    assert!(owned.len() > 1);
    // The owner numbers a first write after the plan was made.
    cluster.write(owned[0]);
    cluster.accept(eviction);
    assert!(!cluster.view.members.contains_key(&id(1)));
    assert_eq!(cluster.shard(owned[0]).owner, None, "planned from an older view: ownerless");
    assert!(owned[1..].iter().all(|&shard| cluster.shard(shard).owner.is_some()));
    let alive = [id(2), id(3)].into();
    let assign = plan_ownerless(&cluster.view, &alive);
    assert_eq!(assign.len(), 1);
    let change = Change::Assign { cause: "ownerless".into(), assign };
    cluster.accept(change.clone());
    assert_eq!(cluster.refused(change), Refusal::Stale(owned[0]));
}

#[test]
fn only_a_live_holder_takes_over_a_shard_with_records() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    cluster.write_all();
    let mut eviction = cluster.eviction(1);
    let owned = cluster.of(1);
    let Change::Evict { assign, .. } = &mut eviction else { panic!("an eviction") };
    assert_eq!(assign.len(), owned.len());
    assert!(owned.len() >= 3, "each gets a wrong plan of its own: {owned:?}");
    let shard = |at: usize| cluster.shard(owned[at]);
    let outside = |shard: &Shard| {
        (1..=4).find(|&s| !shard.in_sync.contains(&StoreId(s.into()))).expect("one is outside")
    };
    // A node that does not hold it; a store added without the records; a live holder left out.
    let first = outside(shard(0));
    assign[0].owner = Some(Owner { node: id(first), boot: Boot(1) });
    let second = outside(shard(1));
    assign[1].in_sync.push(StoreId(second.into()));
    assign[1].in_sync.sort_unstable();
    let heir = assign[2].owner.clone().expect("planned");
    assign[2].in_sync = vec![cluster.view.members[&heir.node].store];
    cluster.accept(eviction);
    for &number in &owned[..3] {
        assert_eq!(cluster.shard(number).owner, None, "{number}");
        assert_eq!(cluster.shard(number).in_sync.len(), 2);
    }
    assert!(owned[3..].iter().all(|&number| cluster.shard(number).owner.is_some()));
}

#[test]
fn a_live_owner_is_never_replaced_by_a_plan() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let shard = cluster.of(1)[0];
    let now = cluster.shard(shard).clone();
    let assign = vec![Assign {
        shard,
        expected_epoch: now.epoch,
        expected_generation: now.in_sync_generation,
        owner: Some(Owner { node: id(2), boot: Boot(1) }),
        in_sync: now.in_sync.clone(),
        lost: false,
    }];
    let change = Change::Assign { cause: String::new(), assign: assign.clone() };
    assert_eq!(cluster.refused(change), Refusal::Stale(shard));
    cluster.accept(Change::Join { claim: claim(4, 1, 4), assign: assign.clone() });
    assert_eq!(*cluster.shard(shard), now);
    let (node, boot) = (id(3), Boot(1));
    cluster.accept(Change::Evict { node, boot, cause: String::new(), assign, released: false });
    assert_eq!(cluster.shard(shard).owner, now.owner);
    assert_eq!(cluster.shard(shard).epoch, now.epoch);
}

#[test]
fn a_restart_with_its_store_keeps_shards_under_new_epochs() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.write_all();
    let owned = cluster.of(3);
    let before = cluster.view.clone();
    cluster.accept(cluster.rejoin(claim(3, 2, 3)));
    assert_eq!(cluster.of(3), owned);
    for (number, shard) in cluster.view.numbered() {
        let old = before.shard(number).expect("it was there");
        assert_eq!(shard.in_sync, old.in_sync, "nothing moves, nothing is copied");
        assert_eq!(shard.in_sync_generation, old.in_sync_generation);
        assert_eq!(shard.epoch > old.epoch, owned.contains(&number));
    }
    assert_eq!(cluster.view.stores[&StoreId(3)].last_boot, Boot(2));
}

#[test]
fn a_restart_names_the_boot_it_replaces_and_a_higher_one() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    cluster.accept(cluster.rejoin(claim(1, 5, 1)));
    let rejoin = |replaces: u64, claim: Claim| Change::Rejoin {
        replaces: Boot(replaces),
        claim,
        assign: Vec::new(),
    };
    for (replaces, next) in [(1, 6), (5, 5), (5, 4)] {
        let refused = cluster.refused(rejoin(replaces, claim(1, next, 1)));
        assert!(matches!(refused, Refusal::Boot { .. }), "{replaces} -> {next}: {refused}");
    }
    assert!(matches!(cluster.refused(rejoin(1, claim(9, 2, 9))), Refusal::Boot { .. }));
    let join = cluster.join(claim(1, 9, 1));
    assert_eq!(cluster.refused(join), Refusal::NameTaken(id(1)));
    // A copy made before boot 5; a directory copied elsewhere; a store that another node runs on.
    let copies = [
        Claim { earlier_boots: vec![(Boot(4), Boot(4))], ..claim(1, 6, 1) },
        // An old backup that was started again and again: it had a boot 5 of its own.
        Claim { tokens: vec![(Boot(4), 4), (Boot(5), 55)], ..claim(1, 6, 1) },
        Claim {
            disk: DiskMark { filesystem: 1, device: 1, lock_inode: 2, host_boot: "h".into() },
            ..claim(1, 6, 1)
        },
        claim(1, 6, 2),
    ];
    for copy in copies {
        let store = copy.store;
        assert_eq!(cluster.refused(rejoin(5, copy)), Refusal::Copy(store));
    }
    let voter = Claim { voter: Some(VoterId(2)), ..claim(1, 6, 1) };
    assert!(matches!(cluster.refused(rejoin(5, voter)), Refusal::Malformed(_)));
}

#[test]
fn a_restart_with_another_store_destroys_the_old_one() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let owned = cluster.of(1);
    let (with, bare) = owned.split_at(owned.len() / 2);
    assert!(!with.is_empty() && !bare.is_empty());
    for &shard in with {
        cluster.write(shard);
    }
    cluster.accept(cluster.rejoin(claim(1, 2, 11)));
    for &shard in with {
        let now = cluster.shard(shard);
        assert_ne!(now.owner.as_ref().expect("a holder").node, id(1));
        assert_eq!(now.in_sync, [StoreId(2), StoreId(3)]);
    }
    for &shard in bare {
        let now = cluster.shard(shard);
        assert_eq!(now.owner, Some(Owner { node: id(1), boot: Boot(2) }), "sticky");
        assert!(now.in_sync.contains(&StoreId(11)));
    }
    assert!(!cluster.view.stores.contains_key(&StoreId(1)));
    assert!(cluster.view.numbered().all(|(_, s)| !s.in_sync.contains(&StoreId(1))));
}

#[test]
fn a_shard_is_lost_when_every_store_that_held_it_is_destroyed_and_not_before() {
    let mut cluster = Cluster::formed(2, &constants(2, 2));
    cluster.write_all();
    cluster.accept(cluster.eviction(2));
    // n1 starts empty: what is left is the directory of n2, which is no member.
    cluster.accept(cluster.rejoin(claim(1, 2, 11)));
    for (_, shard) in cluster.view.numbered() {
        assert_eq!(shard.in_sync, [StoreId(2)]);
        assert!(shard.owner.is_none() && !shard.lost, "it may come back");
    }
    cluster.accept(cluster.join(claim(2, 2, 2)));
    assert_eq!(cluster.of(2).len(), usize::from(SHARDS));
    cluster.accept(cluster.rejoin(claim(2, 3, 22)));
    for (number, shard) in cluster.view.numbered() {
        assert!(shard.lost && shard.owner.is_none() && shard.has_records, "{number}");
    }
    assert!(plan_ownerless(&cluster.view, &[id(1), id(2)].into()).is_empty());
    // Nobody can take it over as if it were empty.
    let now = cluster.shard(ShardId(0));
    let assign = vec![Assign {
        shard: ShardId(0),
        expected_epoch: now.epoch,
        expected_generation: now.in_sync_generation,
        owner: Some(Owner { node: id(1), boot: Boot(2) }),
        in_sync: vec![StoreId(11)],
        lost: false,
    }];
    let change = Change::Assign { cause: String::new(), assign };
    assert!(matches!(cluster.refused(change), Refusal::InSync { .. }));
}

#[test]
fn one_entry_assigns_a_shard_once() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let eviction = cluster.eviction(1);
    cluster.accept(eviction);
    let shard = cluster.of(2).into_iter().find(|&s| cluster.shard(s).epoch.0 == cluster.index);
    assert!(shard.is_some(), "n2 took a shard over in that entry");
    // The same entry holds the restart of n2 too: its shards would repeat the epoch.
    let before = cluster.view.clone();
    let proposal = Proposal { id: ChangeId(500), change: cluster.rejoin(claim(2, 2, 2)) };
    let outcome = cluster.view.apply(cluster.index, &proposal);
    assert!(matches!(outcome, Outcome::Refused(Refusal::Stale(_))), "{outcome:?}");
    assert_eq!(cluster.view.shards, before.shards);
}

#[test]
fn a_shard_that_one_entry_took_and_gave_is_not_given_again_in_it() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    cluster.write_all();
    cluster.accept(cluster.eviction(1));
    // The same entry evicts the heir of one of its shards too, with a plan made in between.
    let moved = |n: u16| {
        let of = cluster.of(n).into_iter();
        of.filter(|&s| cluster.shard(s).epoch.0 == cluster.index).collect::<Vec<_>>()
    };
    let (heir, moved) = (2..=4).map(|n| (n, moved(n))).find(|(_, m)| !m.is_empty()).expect("one");
    let proposal = Proposal { id: ChangeId(500), change: cluster.eviction(heir) };
    assert_eq!(cluster.view.apply(cluster.index, &proposal), Outcome::Accepted);
    cluster.view.check().expect("the view keeps its rules");
    for shard in moved {
        assert_eq!(cluster.shard(shard).owner, None, "{shard}: its epoch would come twice");
    }
    let alive = cluster.view.members.keys().cloned().collect();
    let assign = plan_ownerless(&cluster.view, &alive);
    cluster.accept(Change::Assign { cause: "ownerless".into(), assign });
    assert!(cluster.view.shards.iter().all(|shard| shard.owner.is_some()));
}

#[test]
fn a_plan_cannot_drop_a_dead_holder_that_must_stay() {
    let mut cluster = Cluster::formed(2, &constants(2, 2));
    cluster.write_all();
    let shard = cluster.of(2)[0];
    let mut eviction = cluster.eviction(2);
    let Change::Evict { assign, .. } = &mut eviction else { panic!("an eviction") };
    let plan = assign.iter_mut().find(|plan| plan.shard == shard).expect("planned");
    assert_eq!(plan.in_sync, [StoreId(1), StoreId(2)]);
    plan.in_sync = vec![StoreId(1)];
    cluster.accept(eviction);
    assert_eq!(cluster.shard(shard).owner, None, "the plan was refused");
    assert_eq!(cluster.shard(shard).in_sync, [StoreId(1), StoreId(2)]);
}

#[test]
fn nodes_share_shards_with_those_that_hold_copies_of_the_same() {
    let cluster = Cluster::formed(9, &constants(2, 1));
    let view = &cluster.view;
    let mut pairs = 0;
    for node in (1..=9).map(id) {
        let sharing = view.sharing_with(&node);
        assert!(!sharing.contains(&node));
        for other in (1..=9).map(id).filter(|other| *other != node) {
            let both = [view.members[&node].store, view.members[&other].store];
            let share = view
                .shards
                .iter()
                .any(|shard| both.iter().all(|store| shard.in_sync.contains(store)));
            assert_eq!(sharing.contains(&other), share, "{node} and {other}");
            assert_eq!(view.sharing_with(&other).contains(&node), share);
            pairs += usize::from(share);
        }
    }
    assert!(pairs > 0 && pairs < 72, "some share and some do not: {pairs}");
    assert!(view.sharing_with(&id(99)).is_empty());
}
