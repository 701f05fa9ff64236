//! Changes of the voters, step by step.

use std::collections::BTreeSet;

use super::world::{World, form, name, voter, voters};
use super::*;

fn ids(places: &[usize]) -> BTreeSet<VoterId> {
    places.iter().map(|place| voter(*place)).collect()
}

/// What the leader `place` knows of the voters.
async fn quorum(world: &World, place: usize) -> (crate::authority::voters::Quorum, Seen) {
    let key = world.core(place).leader_key().await.unwrap();
    world.core(place).quorum(key).await.unwrap()
}

/// A quorum of the first place alone, which sends its log to the other two.
async fn taught(seed: u64) -> World {
    let world = World::new(seed, 16).await;
    let alone = voters().into_iter().take(1).collect();
    world.core(0).initialize(alone, form(16), world.in_secs(5)).await.unwrap();
    for place in [1, 2] {
        let (_, membership) = quorum(&world, 0).await;
        let learner = (voter(place), voters()[&voter(place)].clone());
        world.core(0).teach(membership, learner, world.in_secs(1)).await.unwrap();
    }
    for place in [1, 2] {
        world.caught_up(place, 0).await;
    }
    world
}

/// Goal: a node without a part in raft gets the log, then votes, and the view says so at each step.
#[tokio::test(start_paused = true)]
async fn learners_get_the_log_and_then_vote() {
    let mut world = taught(21).await;
    assert_eq!(world.core(0).view().voters.keys().copied().collect::<BTreeSet<_>>(), ids(&[0]));
    assert_eq!(world.core(1).voters().len(), 1, "a learner does not vote");
    let (known, seen) = quorum(&world, 0).await;
    assert_eq!((known.halves, known.is_settled), (vec![ids(&[0])], true));
    assert_eq!(known.nodes.keys().copied().collect::<BTreeSet<_>>(), ids(&[0, 1, 2]));
    let deadline = world.in_secs(1);
    while !quorum(&world, 0).await.0.caught_up.is_superset(&ids(&[1, 2])) {
        assert!(world.clock.now() < deadline, "the leader does not learn of it");
        world.clock.sleep(Duration::from_millis(5)).await;
    }
    let version = world.core(0).view().version;
    world.core(0).change_voters(seen, &ids(&[0, 1, 2]), world.in_secs(1)).await.unwrap();
    let view = world.core(0).view();
    assert_eq!(view.voters, voters().into_iter().map(|(id, one)| (id, one.node)).collect());
    // While both sets decide, the view has the voters of both: here the same.
    assert_eq!(view.version.0, version.0 + 1);
    world.kill(0).await;
    let (leader, _) = world.leader(&[1, 2]).await;
    assert_eq!(world.core(leader).view().voters.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_decided_from_another_membership_is_not_made() {
    let world = taught(22).await;
    let (_, old) = quorum(&world, 0).await;
    world.core(0).forget(old, voter(2), world.in_secs(1)).await.unwrap();
    let late = world.core(0).change_voters(old, &ids(&[0, 1]), world.in_secs(1)).await;
    assert!(late.is_err());
    let (known, _) = quorum(&world, 0).await;
    assert_eq!((known.halves, known.nodes.len()), (vec![ids(&[0])], 2));
    // Who has no log is not made a voter.
    let (_, seen) = quorum(&world, 0).await;
    let unknown = world.core(0).change_voters(seen, &ids(&[0, 2]), world.in_secs(1)).await;
    assert!(unknown.is_err());
}

/// Goal: a leader that dies between the two steps of a change leaves it to the next one. Method: it
/// gives up after the first step, and is killed.
#[tokio::test(start_paused = true)]
async fn a_change_that_was_begun_is_finished_by_the_next_leader() {
    let mut world = World::formed(23).await;
    let (old, key) = world.leader(&[0, 1, 2]).await;
    let stay: Vec<_> = (0..3).filter(|place| *place != old).collect();
    let mut joint = false;
    for millis in 1..20 {
        let (known, seen) = quorum(&world, old).await;
        if known.halves.len() == 2 {
            joint = true;
            break;
        }
        assert_eq!(known.halves[0].len(), 3, "it went through at once");
        let soon = world.clock.now() + Duration::from_millis(millis);
        let _ = world.core(old).change_voters(seen, &ids(&stay), soon).await;
    }
    assert!(joint, "both steps or none");
    world.kill(old).await;
    let (new, new_key) = world.leader(&stay).await;
    assert!(new_key > key);
    let (known, seen) = quorum(&world, new).await;
    assert_eq!(known.halves, [ids(&[0, 1, 2]), ids(&stay)]);
    world.core(new).change_voters(seen, &ids(&stay), world.in_secs(1)).await.unwrap();
    let (known, _) = quorum(&world, new).await;
    assert_eq!((known.halves, known.nodes.len()), (vec![ids(&stay)], 2));
    // Whoever votes no more comes back and disturbs nobody.
    let term = world.core(new).leader_key().await.unwrap().term;
    world.start(old).await;
    world.clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(world.core(new).leader_key().await.map(|key| key.term), Some(term));
    assert!(!world.core(new).may_speak_raft(&name(old)));
}
