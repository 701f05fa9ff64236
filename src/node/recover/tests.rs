use std::collections::BTreeMap;

use super::*;
use crate::base::VoterId;
use crate::placement::View;
use crate::placement::tests::{Cluster, constants, id};

/// Three voters, and every other shard with records.
fn remains(epoch: Epoch) -> Remains {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    for shard in (0..16).step_by(2) {
        cluster.write(ShardId(shard));
    }
    let mut view: View = cluster.view;
    Arc::make_mut(&mut view.shards[3]).epoch = epoch;
    let voter = |node: u16| {
        let voter = Voter { node: id(node), addr: format!("127.0.0.1:{}", 4000 + node) };
        (VoterId(node.into()), voter)
    };
    let voters: BTreeMap<VoterId, Voter> = (1..=3).map(voter).collect();
    Remains { view, last: 70, doubtful: 2, term: 4, starts: 3, voters }
}

#[test]
fn the_generation_is_above_every_epoch_in_view_and_store() {
    let mut found = remains(Epoch::new(0, 9));
    let generation_of = |found: &Remains, sealed| generation(found, sealed).expect("there is one");
    assert_eq!(generation_of(&found, Epoch::NONE), 1);
    assert_eq!(generation_of(&found, Epoch::new(3, 1)), 4);
    assert_eq!(generation_of(&remains(Epoch::new(6, 0)), Epoch::new(3, 1)), 7);
    found.view.quorum_generation = 9;
    assert_eq!(generation_of(&found, Epoch::new(3, 1)), 10);
    found.view.quorum_generation = u16::MAX;
    let none = generation(&found, Epoch::NONE).expect_err("there is none above");
    assert!(matches!(none, RecoverError::UsedUp(u16::MAX)), "{none}");
}

#[test]
fn the_new_cluster_is_another_and_the_same_whenever_it_is_begun_again() {
    let (old, store) = (ClusterId([7; 32]), StoreId(3));
    let new = cluster_after(old, 1, store);
    assert_eq!(new, cluster_after(old, 1, store));
    let others = [
        old,
        cluster_after(old, 2, store),
        cluster_after(old, 1, StoreId(4)),
        cluster_after(new, 1, store),
    ];
    assert!(others.iter().all(|other| *other != new));
}

#[test]
fn whoever_is_given_up_is_named_and_nobody_else() {
    let found = remains(Epoch::new(0, 9));
    let lost = |nodes: &[u16]| nodes.iter().map(|node| id(*node)).collect::<BTreeSet<_>>();
    named(&found, &id(3), &lost(&[1, 2])).expect("these are the others");
    for wrong in [&[][..], &[1], &[1, 2, 3], &[1, 2, 9]] {
        let why = named(&found, &id(3), &lost(wrong)).expect_err("not these").to_string();
        assert!(why.ends_with("all of them and no other: n1,n2"), "{why}");
    }
}

#[test]
fn it_says_what_is_given_up_and_what_is_held() {
    let found = remains(Epoch::new(0, 9));
    let store = found.view.members[&id(3)].store;
    let clusters = (found.view.cluster, ClusterId([9; 32]));
    let terms = (1, Duration::from_millis(1_040));
    let shown = report(&found, (&id(3), store), clusters, terms);
    assert_eq!((shown.with_records, shown.held), (8, 8));
    assert_eq!((&shown.voters_lost, &shown.others), (&vec![id(1), id(2)], &vec![id(1), id(2)]));
    let text = shown.to_string();
    for words in [
        "n3 knows view 9, with 2 entries of which it does not know",
        "voters given up    n1, n2\n",
        "quorum generation  0 -> 1\n",
        "shards held        8 of 8 with records\n",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("--follow"), "{text}");
    let begun = RecoverReport { is_begun: true, ..shown };
    assert!(begun.to_string().contains(&format!("--follow {}", "09".repeat(32))), "{begun}");
    let other = report(&found, (&id(3), StoreId(99)), clusters, terms);
    assert_eq!(other.held, 0, "another store holds nothing");
}
