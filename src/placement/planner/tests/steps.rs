//! Planned steps, case by case.

use super::*;
use crate::placement::{Status, View};

const WIDE: Limits = Limits {
    moves_max: 10_000,
    node_moves_max: 10_000,
    copies_max: 10_000,
    node_copies_max: 10_000,
};

/// A view of nodes that own as many shards as `counts` says; the rest of `shards` has no owner.
fn owning(counts: &[u16], shards: u16, copies: u8, has_records: bool) -> View {
    let nodes = u16::try_from(counts.len()).expect("few");
    let mut view = Cluster::formed(nodes, &big(1, copies)).view;
    let first = (*view.shards[0]).clone();
    let owners = counts.iter().zip(1..).flat_map(|(&count, node)| (0..count).map(move |_| node));
    view.constants = Some(big(shards, copies));
    view.shards = owners
        .map(|node: u16| Shard {
            owner: Some(Owner { node: id(node), boot: Boot(1) }),
            in_sync: vec![StoreId(node.into())],
            has_records,
            ..first.clone()
        })
        .map(Into::into)
        .collect();
    let ownerless = Shard { owner: None, has_records: false, ..first };
    view.shards.resize(usize::from(shards), ownerless.into());
    view
}

fn counts(view: &View, nodes: usize) -> Vec<u16> {
    let mut counts = vec![0; nodes];
    for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
        counts[(1..).zip(0..nodes).find(|(node, _)| id(*node) == owner.node).expect("known").1] +=
            1;
    }
    counts
}

/// Carries steps out as they come, until none is left. Returns the moves of each round.
fn carry_out(view: &mut View, limits: &Limits) -> Vec<usize> {
    let mut planner = Planner::default();
    let mut underway = Underway::default();
    let mut moves = Vec::new();
    for _ in 0..100 {
        let Plan { steps, filling } = planner.steps(view, &underway, limits);
        underway.filling = filling;
        if steps.is_empty() {
            return moves;
        }
        moves.push(steps.iter().filter(|step| matches!(step, Step::Move(_))).count());
        for step in steps {
            let (Step::Move(Move { shard, .. })
            | Step::Copy { shard, .. }
            | Step::Drop { shard, .. }) = step;
            let mut next = (*view.shards[usize::from(shard.0)]).clone();
            match step {
                Step::Move(step) => {
                    assert_eq!(next.owner, Some(step.from));
                    next.owner = Some(step.to);
                    next.in_sync = step.in_sync;
                }
                Step::Copy { store, .. } => next.in_sync.push(store),
                Step::Drop { store, .. } => next.in_sync.retain(|other| *other != store),
            }
            next.in_sync.sort_unstable();
            view.shards[usize::from(shard.0)] = next.into();
        }
    }
    panic!("the planner finds no end: {:?}", planner.steps(view, &underway, limits));
}

/// The suite's allocations, with and without records to copy first.
#[test]
fn r25_a_rebalance_gives_the_empty_node_its_share_and_moves_nothing_else() {
    for (before, moves, after) in [
        ([1, 2, 0], 1, [1, 1, 1]),
        ([2, 0, 0], 1, [1, 1, 0]),
        ([1, 1, 0], 0, [1, 1, 0]),
        ([3, 0, 0], 2, [1, 1, 1]),
    ] {
        let shards = before.iter().sum();
        let mut view = owning(&before, shards, 1, false);
        let rounds = carry_out(&mut view, &WIDE);
        // One rebalance, in one plan.
        assert_eq!(rounds, vec![moves; usize::from(moves > 0)], "{before:?}");
        let mut now = counts(&view, 3);
        if before == [2, 0, 0] {
            // Which of two empty nodes it is, the ring says.
            now.sort_unstable_by(|left, right| right.cmp(left));
        }
        assert_eq!(now, after, "{before:?}");

        let mut view = owning(&before, shards, 1, true);
        let rounds = carry_out(&mut view, &WIDE);
        assert_eq!(rounds.iter().sum::<usize>(), moves, "{before:?} with records");
    }
}

/// The suite's other half: a shard that is new goes to the node that owns the fewest.
#[test]
fn r25_a_new_shard_goes_to_the_emptiest_node() {
    for before in [[1, 2, 0], [2, 0, 0], [1, 1, 0], [3, 0, 0]] {
        let view = owning(&before, before.iter().sum::<u16>() + 1, 1, false);
        let alive = view.members.keys().cloned().collect();
        let plan = plan_ownerless(&view, &alive);
        let [Assign { owner: Some(owner), .. }] = plan.as_slice() else { panic!("{plan:?}") };
        let node = (1..=3_u16).find(|node| id(*node) == owner.node).expect("a node");
        assert_eq!(before[usize::from(node) - 1], 0, "{before:?}: {owner:?}");
    }
}

fn written(nodes: u16, shards: u16) -> Cluster {
    let mut cluster = Cluster::formed(nodes, &big(shards, 3));
    for (number, _) in cluster.view.clone().numbered() {
        cluster.write(number);
    }
    cluster
}

#[test]
fn after_a_formation_nothing_is_left_to_do() {
    for nodes in [1, 2, 3, 4, 7, 20] {
        let view = Cluster::formed(nodes, &big(256, 3)).view;
        let plan = Planner::default().steps(&view, &Underway::default(), &WIDE);
        assert_eq!(plan, Plan::default(), "{nodes} nodes");
        assert!(replica_sets(&view).len() <= 4 * usize::from(nodes));
    }
}

#[test]
fn a_joiner_takes_shards_that_prefer_it_until_it_has_its_share() {
    let mut cluster = written(4, 1024);
    cluster.accept(cluster.join(claim(5, 1, 5)));
    let before = cluster.view.clone();
    let moves: usize = carry_out(&mut cluster.view, &WIDE).iter().sum();
    assert_eq!(moves, 1024 / 5, "its share and nothing else");
    let ring = (1..=5).map(|node| (id(node), 1, String::new()));
    let ring = crate::ring::Ring::build(ring).expect("distinct names");
    let (mut preferring, mut preferring_moved) = (0, 0);
    for ((number, old), (_, new)) in before.numbered().zip(cluster.view.numbered()) {
        let owner = |shard: &Shard| shard.owner.as_ref().expect("an owner").node.clone();
        let walk = ring.preference_list(crate::ring::shard_point(number), 5);
        let place = |node: &NodeId| walk.iter().position(|other| *other == node);
        let prefers = place(&id(5)) < place(&owner(old));
        preferring += usize::from(prefers);
        if old.owner != new.owner {
            assert_eq!(owner(new), id(5), "{number}");
            preferring_moved += usize::from(prefers);
        }
    }
    assert_eq!(preferring_moved, preferring.min(moves), "those that prefer it come first");
    assert!(preferring * 10 >= 9 * moves, "{preferring} of 1024 shards prefer it");
}

#[test]
fn a_move_waits_for_its_copy_and_is_not_planned_twice() {
    let mut cluster = written(3, 64);
    cluster.accept(cluster.join(claim(4, 1, 4)));
    let mut planner = Planner::default();
    let mut underway = Underway::default();
    let limits = Limits { moves_max: 3, node_moves_max: 2, copies_max: 5, node_copies_max: 5 };
    let plan = planner.steps(&cluster.view, &underway, &limits);
    assert_eq!(plan.filling, [id(4)].into());
    assert_eq!(plan.steps.len(), 5, "as many copies as may run: {plan:?}");
    for step in &plan.steps {
        let Step::Copy { shard, store: StoreId(4) } = step else { panic!("{step:?}") };
        underway.copies.insert((*shard, StoreId(4)));
    }
    underway.filling = plan.filling;
    assert_eq!(planner.steps(&cluster.view, &underway, &limits).steps, [], "all are under way");
    for (shard, store) in std::mem::take(&mut underway.copies) {
        cluster.accept(Change::Add { shard, store, when: cluster.when(shard) });
    }
    let plan = planner.steps(&cluster.view, &underway, &limits);
    let moves: Vec<&Move> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::Move(step) = step { Some(step) } else { None })
        .collect();
    assert_eq!(moves.len(), 2, "the joiner may take part in two: {plan:?}");
    for step in &moves {
        let now = cluster.shard(step.shard);
        assert_eq!(Some(&step.from), now.owner.as_ref());
        assert_eq!((step.expected_epoch, &step.in_sync), (now.epoch, &now.in_sync));
        assert!(now.in_sync.contains(&StoreId(4)), "it holds the shard already");
        underway.moves.insert(step.shard, step.to.node.clone());
    }
    let again = planner.steps(&cluster.view, &underway, &limits);
    assert!(!again.steps.iter().any(|step| matches!(step, Step::Move(_))), "{again:?}");
    let moving = moves[0].shard;
    let evicted = planner.evict(
        &cluster.view,
        &moves[0].from.node,
        &cluster.view.members.keys().cloned().collect(),
        &underway.moves,
    );
    let to = evicted.iter().find(|assign| assign.shard == moving).expect("planned");
    assert_eq!(to.owner, Some(moves[0].to.clone()), "a failover goes where the move went");
}

#[test]
fn silent_members_are_given_nothing_and_asked_for_nothing() {
    let mut cluster = written(4, 256);
    cluster.accept(cluster.join(claim(5, 1, 5)));
    let silent: BTreeSet<NodeId> = [id(5), id(2)].into();
    let underway = Underway { silent, ..Underway::default() };
    let plan = Planner::default().steps(&cluster.view, &underway, &WIDE);
    for step in &plan.steps {
        match step {
            Step::Move(step) => assert!(step.from.node != id(2) && step.to.node != id(5)),
            Step::Copy { shard, store } => {
                assert_ne!(*store, StoreId(5));
                let owner = cluster.shard(*shard).owner.clone().expect("an owner");
                assert_ne!(owner.node, id(2));
            }
            Step::Drop { .. } => {}
        }
    }
    assert!(plan.filling.is_empty());
}

#[test]
fn who_leaves_or_has_no_weight_is_drained_of_shards_and_copies() {
    for leaves in [true, false] {
        let mut cluster = written(5, 256);
        let member = cluster.view.members.get_mut(&id(3)).expect("a member");
        if leaves {
            member.status = Status::Leaving;
        } else {
            member.weight = 0;
        }
        let before = cluster.of(3).len();
        let moves: usize = carry_out(&mut cluster.view, &WIDE).iter().sum();
        assert_eq!(moves, before, "its shards and no others");
        for (number, shard) in cluster.view.numbered() {
            assert!(!shard.in_sync.contains(&StoreId(3)), "{number}: {shard:?}");
            assert_eq!(shard.in_sync.len(), 3);
        }
    }
}

#[test]
fn a_failover_leaves_no_scattered_sets_behind() {
    let mut cluster = written(12, 1024);
    cluster.accept(cluster.eviction(4));
    cluster.accept(cluster.eviction(9));
    cluster.accept(cluster.join(claim(4, 2, 44)));
    let scattered = replica_sets(&cluster.view).len();
    carry_out(&mut cluster.view, &WIDE);
    let sets = replica_sets(&cluster.view).len();
    assert!(sets <= 4 * 11, "{sets} sets, {scattered} before");
}
