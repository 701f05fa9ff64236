//! Constants that an operator sets while owners run.

use super::*;
use crate::authority::{Wish, Wished};
use crate::replica::ReplicaError;

fn under_replicated(error: &SaveError) -> bool {
    matches!(error, SaveError::UnderReplicated { live: 1, needed: 2, .. })
}

/// Goal: a survivor of two goes on once one store is enough. Method: kill the other, which is a
/// member still; a write has a number by then, others get none.
#[tokio::test(start_paused = true)]
async fn a_lowered_write_min_lets_the_survivor_of_two_go_on() {
    let mut world = World::started(2).await;
    world.form_with(2, 2);
    world.write_all().await;
    world.copied(2).await;
    world.kill(1).await;
    let shard = ShardId(0);
    let (owner, tenure) = world.owner(shard).await;
    let (key, value) = (Bytes::from("key 0"), Bytes::from("alone"));
    let write = Write { key: key.clone(), revision: 2, value: value.clone(), deleted: false };
    let replicas = owner.replicas.clone();
    let saved = tokio::spawn(async move { replicas.save(tenure, write).await });
    // Longer than any timeout of replication.
    world.seams.clock.sleep(Duration::from_secs(30)).await;
    assert!(!saved.is_finished(), "it has a number, and the other store was not heard again");
    for ((shard, key), _, result) in world.try_all().await {
        let error = result.expect_err("nobody else is there");
        // The first key is being written for the second time already.
        let taken = key == "key 0" && matches!(error, SaveError::Conflict { .. });
        assert!(taken || under_replicated(&error), "{key:?} of {shard}: {error}");
    }

    world.set(2, 1);
    let saved = within(&*world.seams.clock, world.soon(), saved).await;
    saved.expect("it is decided").expect("no panic").expect("one store is enough");
    world.acked.insert((shard, key), (2, value));
    world.write_all().await;
    world.read_all().await;
    world.copied(1).await;
}

/// Goal: a takeover that waits for a dead store ends once one store is enough. Method: kill and
/// evict the owner of all; the other node holds everything, but not alone.
#[tokio::test(start_paused = true)]
async fn a_lowered_write_min_ends_a_takeover_that_waits_for_a_dead_store() {
    let mut world = World::started(2).await;
    world.form_with(2, 2);
    world.write_all().await;
    world.copied(2).await;
    let boot = world.kill(0).await;
    world.evict(0, boot);
    for number in 0..world::SHARDS {
        let (owner, tenure) = world.owner(ShardId(number)).await;
        let deadline = world.seams.clock.now() + Duration::from_secs(5);
        let served = owner.replicas.serving(tenure, deadline).await;
        assert!(matches!(served, Err(ReplicaError::NotServing { .. })), "{served:?}");
    }

    world.set(2, 1);
    world.read_all().await;
    world.write_all().await;
    world.copied(1).await;
}

/// Goal: once two stores must hold a write, one acknowledges nothing, until there is a second one.
/// Method: one of two is dead and has left `in_sync`; it comes back.
#[tokio::test(start_paused = true)]
async fn a_raised_write_min_stops_a_store_that_is_alone() {
    let mut world = World::started(2).await;
    world.form_with(2, 1);
    world.write_all().await;
    world.copied(2).await;
    let replaces = world.kill(1).await;
    world.write_all().await;
    world.copied(1).await;

    world.set(2, 2);
    for ((shard, key), _, result) in world.try_all().await {
        let error = result.expect_err("it is on one store");
        assert!(under_replicated(&error), "{key:?} of {shard}: {error}");
    }
    world.read_all().await;

    world.start(1).await;
    let claim = world.claim(1);
    world.agree(Change::Rejoin { replaces, claim, assign: Vec::new() });
    world.copied(2).await;
    world.stores_agree();
    world.write_all().await;
    world.stores_agree();
}

/// Goal: as above, where the second store is there at once. Method: write while the copies begin;
/// what is acknowledged meanwhile is on both.
#[tokio::test(start_paused = true)]
async fn a_raised_write_min_brings_a_second_store_in_before_anything_is_acknowledged() {
    let mut world = World::started(2).await;
    world.form_with(1, 1);
    world.write_all().await;
    world.set(2, 2);
    for (place, written, result) in world.try_all().await {
        match result {
            Ok(()) => {
                world.acked.insert(place.clone(), written.clone());
                for node in 0..2 {
                    let held = world.life(node).store.get(place.0, &place.1).expect("readable");
                    let held = held.map(|record| (record.revision, record.value));
                    assert_eq!(held.as_ref(), Some(&written), "{place:?} at n{node}");
                }
            }
            Err(error) => assert!(under_replicated(&error), "{place:?}: {error}"),
        }
    }
    world.copied(2).await;
    world.write_all().await;
    world.stores_agree();
}

/// Goal: what is one copy too many now is dropped, and made again when three are wanted again.
/// Method: wish it, as a leader does.
#[tokio::test(start_paused = true)]
async fn with_fewer_replicas_the_surplus_copies_are_dropped() {
    let mut world = World::new().await;
    world.write_all().await;
    world.complete().await;

    world.set(2, 2);
    let (view, store) = (world.authority.view(), world.life(2).store.id());
    let wish = |(shard, now): (ShardId, &crate::placement::Shard)| {
        let (epoch, what) = (now.epoch, Wished::Drop);
        Wish { shard, epoch, store, what }
    };
    world.authority.wish(view.numbered().map(wish).collect());
    world.copied(2).await;
    let view = world.authority.view();
    assert!(view.shards.iter().all(|shard| !shard.in_sync.contains(&store)));
    world.write_all().await;

    world.set(3, 2);
    world.complete().await;
    world.write_all().await;
    world.stores_agree();
}
