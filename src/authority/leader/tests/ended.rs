//! Lives that have ended do not come back.

use super::*;

/// Seed 78 of the simulation, once: a Join that was proposed before the eviction and agreed on
/// after it brought the ended boot back, if the view had forgotten the store meanwhile.
#[tokio::test]
async fn a_boot_that_was_evicted_does_not_come_back_by_a_late_join() {
    let mut world = World::new(1);
    world.round().await;
    let (store, voter) = (crate::base::StoreId(99), Some(VoterId(99)));
    let node = name("n4");
    let late = Claim { node, store, voter, earlier_boots: vec![], ..trio().0[1].claim.clone() };
    let join = async |world: &World| {
        let change = Change::Join { claim: late.clone(), assign: vec![] };
        let proposals = vec![world.office.proposal(change)];
        let outcomes = world.core.propose_as(key(1), proposals, Instant::NEVER).await;
        outcomes.expect("it is agreed on").remove(0).1
    };
    assert_eq!(join(&world).await, Outcome::Accepted);
    while world.has("n4", 1) {
        world.live(200, &["n1", "n2", "n3"]).await;
    }
    let over = Refusal::Over { node: name("n4"), boot: Boot(1) };
    assert_eq!(join(&world).await, Outcome::Refused(over));
    assert!(!world.has("n4", 1));
}

/// A process that was stopped, evicted and goes on begins its next boot by counting; meanwhile its
/// name may have lived in another directory, in a later boot that has ended too.
#[tokio::test]
async fn nobody_joins_below_a_life_of_its_name_that_has_ended() {
    let mut world = World::new(1);
    world.round().await;
    let elsewhere = Claim {
        boot: Boot(8),
        token: 8,
        store: crate::base::StoreId(99),
        voter: Some(VoterId(99)),
        ..restarted()
    };
    while world.has("n2", 1) {
        world.live(200, &["n1", "n3"]).await;
    }
    assert_eq!(world.claim(elsewhere.clone()).await, Ok(()));
    while world.has("n2", 8) {
        world.live(200, &["n1", "n3"]).await;
    }
    for boot in [2, 7, 8] {
        let claim = Claim { boot: Boot(boot), ..restarted() };
        assert_eq!(world.claim(claim).await, Err(ClaimError::Over), "boot {boot}");
    }
    assert_eq!(world.claim(Claim { boot: Boot(9), ..restarted() }).await, Ok(()));
    assert_eq!(world.core.view().last_life(&name("n2")).map(|(boot, _)| boot), Some(Boot(9)));
}

/// A new directory may have been told of a last life that is not the last one any more; one that
/// votes, or whose store counts, is an older one of its node.
#[tokio::test]
async fn a_new_directory_begins_another_boot_where_an_old_one_is_refused() {
    let mut world = World::new(1);
    world.round().await;
    let old = Claim { boot: Boot(1), token: 8, ..restarted() };
    let (store, voter) = (crate::base::StoreId(99), Some(VoterId(99)));
    let of_a_voter = Claim { store, ..old.clone() };
    let mut view = (*world.core.view()).clone();
    view.voters.insert(old.voter.expect("it may vote"), name("n2"));
    *world.core.view.lock() = Arc::new(view);
    for claim in [old.clone(), of_a_voter] {
        let refused = world.claim(claim).await;
        assert!(matches!(refused, Err(ClaimError::Refused(_))), "{refused:?}");
    }
    assert_eq!(world.claim(Claim { store, voter, ..old }).await, Err(ClaimError::Over));
}
