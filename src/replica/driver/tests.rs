//! Real drivers, links over pipes and stores on simulated disks, under virtual time; one authority
//! in memory stands in for the quorum.

mod constants;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::authority::ViewAuthority as _;
use crate::base::{Clock, Instant, NodeId, ShardId, Worker, within};
use crate::placement::{Change, View};
use crate::replica::{SaveError, Write};
use crate::storage::StoreError;
use crate::transport::Links;
use world::World;

/// Goal: what is acknowledged survives its owner, and a store that comes back becomes a copy again.
/// Method: write, kill the owner, read at the next one, write, let the first come back and own a
/// part, and kill the others' share in turn.
#[tokio::test(start_paused = true)]
async fn shards_outlive_their_owner_and_its_store_comes_back() {
    let mut world = World::new().await;
    world.write_all().await;
    world.write_all().await;
    world.complete().await;
    world.stores_agree();

    let boot = world.kill(0).await;
    world.evict(0, boot);
    world.read_all().await;
    world.write_all().await;

    world.start(0).await;
    world.join(0);
    world.complete().await;
    world.stores_agree();
    world.write_all().await;
    world.stores_agree();

    let boot = world.kill(1).await;
    world.evict(1, boot);
    world.read_all().await;
    world.write_all().await;
    world.start(1).await;
    world.join(1);
    world.complete().await;
    world.read_all().await;
    world.stores_agree();
}

/// Goal: a backup that dies stops no write for long, and is a copy again when it is back.
/// Method: kill one without telling the authority; it comes back in place.
#[tokio::test(start_paused = true)]
async fn a_dead_backup_is_removed_and_taken_in_again() {
    let mut world = World::new().await;
    world.write_all().await;
    world.complete().await;

    let replaces = world.kill(2).await;
    world.write_all().await;
    let two = |view: &View| view.shards.iter().all(|shard| shard.in_sync.len() == 2);
    world.viewed("two copies of each shard", two).await;

    world.start(2).await;
    let claim = world.claim(2);
    world.agree(Change::Rejoin { replaces, claim, assign: Vec::new() });
    world.complete().await;
    world.read_all().await;
    world.stores_agree();
}

/// Goal: with one store of three nothing is acknowledged, and nothing is lost by waiting.
/// Method: kill both backups during a write; bring one back.
#[tokio::test(start_paused = true)]
async fn one_store_alone_acknowledges_nothing() {
    let mut world = World::new().await;
    world.write_all().await;
    let mut lost = Vec::new();
    for node in [1, 2] {
        lost.push(world.kill(node).await);
    }
    let shard = ShardId(0);
    let (owner, tenure) = world.owner(shard).await;
    let (key, value) = (Bytes::from("key 0"), Bytes::from("alone"));
    let write = Write { key: key.clone(), revision: 2, value: value.clone(), deleted: false };
    let replicas = owner.replicas.clone();
    let saved = tokio::spawn(async move { replicas.save(tenure, write).await });
    // Longer than any timeout of replication.
    world.seams.clock.sleep(Duration::from_secs(30)).await;
    // The backups were heard just before: it has a number, and is never given up.
    assert!(!saved.is_finished());
    let other =
        Write { key: Bytes::from("other"), revision: 1, value: value.clone(), deleted: false };
    let refused = owner.replicas.save(tenure, other).await.expect_err("nobody else is there");
    assert!(refused.is_not_executed(), "{refused}");

    world.start(1).await;
    let (replaces, claim) = (lost[0], world.claim(1));
    world.agree(Change::Rejoin { replaces, claim, assign: Vec::new() });
    saved.await.expect("no panic").expect("two stores hold it");
    world.acked.insert((shard, key), (2, value));
    world.read_all().await;
}

/// Goal: an owner that was evicted and lives on acknowledges nothing any more, and what it had
/// acknowledged is kept. Method: evict it in the middle of its writes, at a later moment each time.
#[tokio::test(start_paused = true)]
async fn an_evicted_owner_that_lives_on_acknowledges_nothing() {
    let mut world = World::new().await;
    world.write_all().await;
    let mut undecided = 0;
    for round in 0..12 {
        let view = world.authority.view();
        let owner = view.shard(ShardId(0)).and_then(|shard| shard.owner.clone()).expect("owned");
        let node = world.nodes.iter().position(|node| node.name == owner.node).expect("a node");
        let evict = async {
            for _ in 0..round * 8 {
                tokio::task::yield_now().await;
            }
            world.evict(node, owner.boot);
        };
        let (tried, ()) = tokio::join!(world.try_all(), evict);
        world.begin(node);
        for (place, written, result) in tried {
            let (shard, key) = &place;
            if let Err(error) = result {
                assert_eq!(error, SaveError::Lapsed, "{key:?} of {shard}");
                let (owner, tenure) = world.owner(*shard).await;
                let record = owner.replicas.load(tenure, key, world.soon()).await;
                let record = record.expect("it serves").expect("it was written before");
                undecided += 1;
                let found = (record.revision, record.value);
                let before = &world.acked[&place];
                assert!(found == written || found == *before, "{found:?}: {before:?}, {written:?}");
                world.acked.insert(place, found);
            } else {
                world.acked.insert(place, written);
            }
        }
        world.read_all().await;
        world.complete().await;
        world.stores_agree();
    }
    assert!(undecided > 0, "it was never evicted in the middle");
}

/// Goal: links that break lose and stop nothing. Method: close all of them again and again during
/// writes.
#[tokio::test(start_paused = true)]
async fn broken_links_lose_nothing() {
    let mut world = World::new().await;
    let links: Vec<Links> = (0..3).map(|node| world.life(node).links.clone()).collect();
    let names: Vec<NodeId> = world.nodes.iter().map(|node| node.name.clone()).collect();
    let clock = world.seams.clock.clone();
    for _ in 0..5 {
        let cut = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                for (from, name) in
                    links.iter().flat_map(|from| names.iter().map(move |n| (from, n)))
                {
                    from.close(name);
                }
                clock.sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::join!(world.write_all(), cut);
        world.read_all().await;
    }
    world.complete().await;
    world.stores_agree();
}

/// A clock that gives a permit for each pause that is made on it. A node without peers makes one
/// only where its own store has refused it for want of room: all else waits until an instant.
#[derive(Debug)]
struct PauseClock {
    clock: Arc<dyn Clock>,
    refusals: Arc<Semaphore>,
}

impl Clock for PauseClock {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(at)
    }

    fn unix(&self) -> Duration {
        self.clock.unix()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.refusals.add_permits(1);
        self.clock.sleep(span)
    }
}

/// Goal: a store that has no room for a while ends nothing. Method: its worker waits, and its queue
/// is full, when the first records are to be written; there is room after it refused twice.
#[tokio::test]
async fn a_store_without_room_is_asked_again() {
    let mut world = World::of(1);
    let refusals = Arc::new(Semaphore::new(0));
    let clock = world.seams.clock.clone();
    world.seams.clock = Arc::new(PauseClock { clock, refusals: refusals.clone() });
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let worker = Worker::thread("store").expect("a thread");
    // Ends when it is told to, or when the test is over.
    let waits = move || {
        let _ = gate.recv();
    };
    worker.submit(waits).expect("it is the first call");
    world.start_on(0, worker).await;
    let store = world.life(0).store.clone();
    while store.apply(Vec::new()).now_or_never().is_none() {}
    let full = store.apply(Vec::new()).now_or_never();
    assert_eq!(full, Some(Err(StoreError::Overloaded)));
    assert_eq!(refusals.available_permits(), 0, "somebody else pauses");
    world.form();

    let shard = ShardId(0);
    let (owner, tenure) = world.owner(shard).await;
    let (key, value) = (Bytes::from("key"), Bytes::from("value"));
    let write = Write { key: key.clone(), revision: 1, value: value.clone(), deleted: false };
    let replicas = owner.replicas.clone();
    let saved = tokio::spawn(async move { replicas.save(tenure, write).await });
    let has_records = |view: &View| view.shard(shard).is_some_and(|shard| shard.has_records);
    world.viewed("the first records", has_records).await;
    // The second refusal shows that it was asked again after the first one.
    let twice = within(&*world.seams.clock, world.soon(), refusals.acquire_many(2)).await;
    twice.expect("it is asked again").expect("the semaphore is open").forget();
    assert_eq!((owner.replicas.failed(), saved.is_finished()), (None, false));
    open.send(()).expect("the worker waits");
    let saved = within(&*world.seams.clock, world.soon(), saved).await.expect("it has room again");
    saved.expect("no panic").expect("it is acknowledged");
    world.acked.insert((shard, key), (1, value));
    world.read_all().await;
}
