//! Who is refused, when D has settled, and what a late or cold leader leaves alone.

use super::*;

/// A boot that most find unreachable goes, if the cluster can do without it.
#[tokio::test]
async fn a_boot_that_most_report_is_refused_and_one_whose_records_would_be_too_few_is_not() {
    for has_enough in [true, false] {
        let mut world = World::new(1);
        if !has_enough {
            // One shard's records are on n2 and n1 alone.
            let mut view = (**world.core.view.lock()).clone();
            let stores: Vec<_> = ["n1", "n2"].map(|node| view.members[&name(node)].store).into();
            let shard = Arc::make_mut(&mut view.shards[0]);
            (shard.has_records, shard.in_sync) = (true, stores);
            shard.in_sync.sort_unstable();
            *world.core.view.lock() = Arc::new(view);
        }
        world.round().await;
        world.live(3_000, &["n1", "n2", "n3"]).await;
        let mut drained = false;
        for _ in 0..30 {
            world.pass(200);
            for node in ["n1", "n2", "n3"] {
                let unreachable = if node == "n2" { vec![] } else { vec![name("n2")] };
                let _ = world.ask(Renew { unreachable, ..world.request(node, 1) }).await;
            }
            world.round().await;
            let view = world.core.view();
            let leaves = |shard: &crate::placement::Shard| {
                shard.moving.is_some()
                    && shard.owner.as_ref().is_some_and(|owner| owner.node == name("n2"))
            };
            drained |= view.has_boot(&name("n2"), Boot(1))
                && view.numbered().any(|(_, shard)| leaves(shard));
        }
        assert_eq!(drained, has_enough, "its shards are moved away while it still runs");
        assert_eq!(world.has("n2", 1), !has_enough, "enough stores: {has_enough}");
        assert!(world.has("n1", 1) && world.has("n3", 1));
        if has_enough {
            let again = Claim { boot: Boot(2), ..restarted() };
            assert_eq!(world.claim(again).await, Err(ClaimError::Wait), "not at once");
        }
    }
}

#[tokio::test]
async fn a_leader_that_is_late_three_times_hands_over() {
    let mut world = World::new(1);
    world.round().await;
    for late in 1..=3 {
        assert_eq!(world.core.transfers.load(Ordering::SeqCst), 0, "{late}");
        world.leader.expected = world.clock.now();
        world.pass(1_000);
        world.round().await;
    }
    assert_eq!(world.core.transfers.load(Ordering::SeqCst), 1);
    world.round().await;
    assert_eq!(world.core.transfers.load(Ordering::SeqCst), 1, "said once");
}

#[tokio::test]
async fn owners_shrink_nothing_under_a_cold_leader() {
    let mut world = World::new(2);
    world.round().await;
    assert_eq!(*world.core.shrinks.lock(), None);
    world.live(400, &["n2"]).await;
    assert_eq!(*world.core.shrinks.lock(), Some(key(1)), "n2 never went");
    let mut world = World::new(1);
    world.round().await;
    assert_eq!(*world.core.shrinks.lock(), Some(key(1)), "this node never went");
    let mut world = World::new(2);
    world.round().await;
    world.live(29_800, &[]).await;
    assert_eq!(*world.core.shrinks.lock(), None);
    world.live(400, &[]).await;
    assert_eq!(*world.core.shrinks.lock(), Some(key(1)), "the grace is over");
}

/// Every voter was restarted, and a member that does not vote was not.
#[tokio::test]
async fn a_lease_client_that_never_went_does_not_end_the_cold() {
    let mut world = World::new(2);
    let mut view = (**world.core.view.lock()).clone();
    view.voters = [(VoterId(1), name("n1")), (VoterId(2), name("n2"))].into();
    *world.core.view.lock() = Arc::new(view);
    world.round().await;
    world.live(4_000, &["n3"]).await;
    assert!(world.has("n2", 1), "it may be about to come back");
    assert_eq!(*world.core.shrinks.lock(), None);
    world.live(3_000, &["n3", "n2"]).await;
    assert_eq!(*world.core.shrinks.lock(), Some(key(1)), "n2 votes and never went");
}

/// I6: the Renew reached the leader within D', and its barrier takes longer than that.
#[tokio::test]
async fn a_renew_that_waits_for_its_barrier_is_not_too_late() {
    let mut world = World::new(1);
    world.round().await;
    world.live(3_000, &["n1", "n2", "n3"]).await;
    world.live(2_000, &["n1", "n3"]).await;
    let renew = world.request("n2", 1);
    world.office.note_arrival(world.clock.now(), &renew);
    world.live(400, &["n1", "n3"]).await;
    assert!(world.has("n2", 1));
    world.live(2_000, &["n1", "n3"]).await;
    assert!(!world.has("n2", 1), "it never came");
}

/// A change of D is over when the longer D' has passed at this leadership, and not before.
#[tokio::test]
async fn a_leader_commits_that_d_has_settled_after_the_longer_d_prime() {
    for (before, after) in [(2_000, 3_000), (3_000, 2_000)] {
        let mut world = World::new(1);
        let mut view = (**world.core.view.lock()).clone();
        let constants = view.constants.as_mut().expect("it is formed");
        constants.profile.lease = Duration::from_millis(after);
        constants.lease_before = Some(Duration::from_millis(before));
        *world.core.view.lock() = Arc::new(view);
        let is_changing = |world: &World| {
            let view = world.core.view();
            view.constants.as_ref().is_some_and(|all| all.lease_before.is_some())
        };
        world.round().await;
        assert_eq!(
            world.renew("n2", 1).await.map(|grant| grant.lease),
            Ok(Duration::from_millis(after)),
            "the grant carries the new one"
        );
        world.live(3_000, &["n1", "n2", "n3"]).await;
        assert!(is_changing(&world), "D' of 3 s is 3.1 s");
        // A new leader knows nothing of that time.
        *world.core.key.lock() = Some(key(2));
        world.live(3_000, &["n1", "n2", "n3"]).await;
        assert!(is_changing(&world));
        world.live(600, &["n1", "n2", "n3"]).await;
        assert!(!is_changing(&world));
        assert!(world.has("n2", 1) && world.has("n3", 1));
    }
}

/// Whoever was granted the longer D before is not evicted by the shorter one.
#[tokio::test]
async fn while_d_changes_nobody_is_evicted_before_the_longer_d_prime() {
    let mut world = World::new(1);
    world.round().await;
    world.live(3_000, &["n1", "n2", "n3"]).await;
    let mut view = (**world.core.view.lock()).clone();
    let constants = view.constants.as_mut().expect("it is formed");
    constants.lease_before =
        Some(std::mem::replace(&mut constants.profile.lease, Duration::from_secs(1)));
    *world.core.view.lock() = Arc::new(view);
    // A new table, too, starts with the longer one.
    *world.core.key.lock() = Some(key(2));
    world.round().await;
    world.live(2_000, &["n1", "n3"]).await;
    assert!(world.has("n2", 1));
    world.live(200, &["n1", "n3"]).await;
    assert!(!world.has("n2", 1));
}
