//! Three nodes with real drivers, links over pipes and stores on simulated disks, under virtual
//! time; one authority in memory stands in for the quorum.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::authority::{Lease, SingleNode, Tenure, ViewAuthority as _};
use crate::base::{
    Boot, ClusterId, Epoch, Instant, NodeId, Seams, SeededRng, ShardId, Spawner, StoreId,
    TokioClock, within,
};
use crate::placement::{
    Assign, Change, Claim, Constants, DiskMark, Outcome, Owner, Profile, View, plan_evict,
    plan_join,
};
use crate::replica::{Copies, ReplicaError, ReplicaParts, Replicas, SaveError, Write};
use crate::storage::{Durability, Record, SimDisk, Store};
use crate::transport::pipe_net::PipeNet;
use crate::transport::{Identity, Links, LinksConfig, Security};

const SHARDS: u16 = 8;
const KEYS: u32 = 100;
const CLUSTER: ClusterId = ClusterId([7; 32]);
/// Virtual, and more than any step needs.
const GENEROUS: Duration = Duration::from_mins(2);

/// A shard, and a key in it.
type Place = (ShardId, Bytes);

/// One life of a node.
struct Life {
    boot: Boot,
    links: Links,
    store: Store,
    lease: Lease,
    replicas: Replicas,
}

struct Node {
    name: NodeId,
    mark: DiskMark,
    disk: SimDisk,
    boots: Vec<Boot>,
    life: Option<Life>,
}

struct World {
    seams: Seams,
    authority: Arc<SingleNode>,
    nodes: Vec<Node>,
    /// What was acknowledged last, by shard and key.
    acked: BTreeMap<Place, (u64, Bytes)>,
}

impl World {
    /// Three nodes; the first owns all shards, and all three stores are to hold them.
    async fn new() -> Self {
        let seams = Seams {
            clock: Arc::new(TokioClock::new()),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(PipeNet::default()),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let nodes = (0..3_u64).map(|number| {
            let host_boot = "h".into();
            let mark = DiskMark { filesystem: number, lock_inode: number, host_boot };
            let disk = SimDisk::new(mark.clone());
            let name = format!("n{number}").parse().expect("a name");
            Node { name, mark, disk, boots: Vec::new(), life: None }
        });
        let authority = Arc::new(SingleNode::new(View::default()));
        let mut world = Self { seams, authority, nodes: nodes.collect(), acked: BTreeMap::new() };
        for node in 0..3 {
            world.start(node).await;
        }
        let constants = Constants {
            shards: SHARDS,
            copies: 3,
            write_min: 2,
            profile: Profile::dev(),
            lease_before: None,
        };
        let members: Vec<Claim> = (0..3).map(|node| world.claim(node)).collect();
        let mut in_sync: Vec<StoreId> = members.iter().map(|claim| claim.store).collect();
        in_sync.sort();
        let owner = Owner { node: members[0].node.clone(), boot: members[0].boot };
        let assign = (0..SHARDS).map(|shard| Assign {
            shard: ShardId(shard),
            expected_epoch: Epoch::NONE,
            expected_generation: 0,
            owner: Some(owner.clone()),
            in_sync: in_sync.clone(),
            lost: false,
        });
        let assign = assign.collect();
        world.agree(Change::Form { cluster: CLUSTER, constants, members, assign });
        world
    }

    fn agree(&self, change: Change) {
        assert_eq!(self.authority.change(change), Outcome::Accepted);
        self.authority.view().check().expect("the view is sound");
    }

    /// Begins a life of the node, on its disk as it is.
    async fn start(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let boot = Boot(one.boots.last().map_or(1, |last| last.0 + 1));
        let identity = Identity { cluster_name: "test".into(), node: one.name.clone(), boot };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = LinksConfig::new(identity, listen, Security::Insecure);
        let links = Links::start(config, self.seams.clone()).await.expect("a port is free");
        links.set_cluster(CLUSTER);
        let worker = self.seams.worker("store").expect("no thread is needed");
        let store = Store::open(&one.disk.mount(), worker, Durability::Disk, &*self.seams.rng)
            .expect("the store opens");
        let lease = Lease::new(self.seams.clock.clone(), one.name.clone());
        lease.begin(boot);
        lease.extend(boot, Instant::NEVER);
        let mut watch = self.authority.watched().follow();
        lease.applied(&watch.get());
        let followed = lease.clone();
        tokio::spawn(async move {
            while let Some(view) = watch.changed().await {
                followed.applied(&view);
            }
        });
        let replicas = Replicas::start(ReplicaParts {
            seams: self.seams.clone(),
            links: links.clone(),
            store: store.clone(),
            authority: self.authority.clone(),
            lease: lease.clone(),
            node: one.name.clone(),
        });
        one.boots.push(boot);
        one.life = Some(Life { boot, links, store, lease, replicas });
    }

    fn claim(&self, node: usize) -> Claim {
        let one = &self.nodes[node];
        let life = self.life(node);
        let earlier = one.boots.iter().copied().filter(|&boot| boot != life.boot).collect();
        Claim {
            node: one.name.clone(),
            boot: life.boot,
            token: life.boot.0,
            earlier_boots: earlier,
            store: life.store.id(),
            voter: None,
            addr: life.links.local_addr().to_string(),
            zone: String::new(),
            weight: 1,
            disk: one.mark.clone(),
        }
    }

    fn life(&self, node: usize) -> &Life {
        self.nodes[node].life.as_ref().expect("it runs")
    }

    /// The power of a node fails: nothing of it does anything any more.
    async fn kill(&mut self, node: usize) -> Boot {
        let one = &mut self.nodes[node];
        let life = one.life.take().expect("it runs");
        one.disk.power_loss(&*self.seams.rng);
        life.lease.begin(Boot(u64::MAX));
        life.links.stop().await;
        life.replicas.stop().await;
        life.boot
    }

    fn evict(&self, node: usize, boot: Boot) {
        let name = self.nodes[node].name.clone();
        let assign = plan_evict(&self.authority.view(), &name);
        self.agree(Change::Evict { node: name, boot, cause: "test".into(), assign });
    }

    /// A node that was evicted while it ran begins another life in place.
    fn begin(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let life = one.life.as_mut().expect("it runs");
        life.boot = Boot(life.boot.0 + 1);
        one.boots.push(life.boot);
        life.lease.begin(life.boot);
        life.lease.extend(life.boot, Instant::NEVER);
        life.links.set_boot(life.boot);
        self.join(node);
    }

    fn join(&self, node: usize) {
        let claim = self.claim(node);
        let assign = plan_join(&self.authority.view(), &claim);
        self.agree(Change::Join { claim, assign });
    }

    fn soon(&self) -> Instant {
        self.seams.clock.now() + GENEROUS
    }

    /// Waits for a view.
    async fn viewed(&self, what: &str, wanted: impl Fn(&View) -> bool) {
        let mut watch = self.authority.watched().follow();
        let seen = async {
            let mut view = watch.get();
            while !wanted(&view) {
                view = watch.changed().await.expect("the authority lives");
            }
        };
        let seen = within(&*self.seams.clock, self.soon(), seen).await;
        assert!(seen.is_ok(), "{what}: {:#?}", self.authority.view());
    }

    /// The owner of a shard, and its right to it.
    async fn owner(&self, shard: ShardId) -> (&Life, Tenure) {
        loop {
            let view = self.authority.view();
            let agreed = view.shard(shard).expect("a shard");
            let owner = agreed.owner.as_ref().expect("an owner");
            let node = self.nodes.iter().find(|node| node.name == owner.node).expect("a node");
            let life = node.life.as_ref().expect("a dead node owns nothing");
            match life.lease.owned(shard) {
                Some(tenure) if tenure.epoch == agreed.epoch => return (life, tenure),
                // Its follower has been woken.
                Some(_) | None => tokio::task::yield_now().await,
            }
        }
    }

    /// Writes every key once more, all at the same time, and says what came of each.
    async fn try_all(&self) -> Vec<(Place, (u64, Bytes), Result<(), SaveError>)> {
        let writes = (0..KEYS).map(async |number| {
            let shard = ShardId(u16::try_from(number % u32::from(SHARDS)).expect("small"));
            let key = Bytes::from(format!("key {number}"));
            let place = (shard, key.clone());
            let revision = self.acked.get(&place).map_or(0, |(revision, _)| *revision) + 1;
            let value = Bytes::from(format!("{number} for the {revision}. time"));
            let (owner, tenure) = self.owner(shard).await;
            let write = Write { key, revision, value: value.clone(), deleted: false };
            let result = match owner.replicas.serving(tenure, self.soon()).await {
                Ok(()) => owner.replicas.save(tenure, write).await,
                Err(error) => {
                    assert_eq!(error, ReplicaError::Lapsed);
                    Err(SaveError::Lapsed)
                }
            };
            (place, (revision, value), result)
        });
        let tried = within(&*self.seams.clock, self.soon(), join_all(writes)).await;
        tried.expect("every write is decided")
    }

    /// Writes every key once more; nothing may fail.
    async fn write_all(&mut self) {
        for (place, written, result) in self.try_all().await {
            result.expect("it is acknowledged");
            self.acked.insert(place, written);
        }
    }

    /// Every acknowledged write is read at its shard's owner.
    async fn read_all(&self) {
        for ((shard, key), (revision, value)) in &self.acked {
            let (owner, tenure) = self.owner(*shard).await;
            let record = owner.replicas.load(tenure, key, self.soon()).await.expect("it serves");
            let Some(Record { revision: found, value: held, .. }) = record else {
                panic!("{key:?} of {shard} is lost");
            };
            assert_eq!((found, &held), (*revision, value), "{key:?} of {shard}");
        }
    }

    /// All shards have three copies, and their owners say so.
    async fn complete(&self) {
        let whole = |view: &View| view.shards.iter().all(|shard| shard.in_sync.len() == 3);
        self.viewed("three copies of each shard", whole).await;
        for number in 0..SHARDS {
            let shard = ShardId(number);
            let (owner, tenure) = self.owner(shard).await;
            let complete = |one: &Copies| one.shard == shard && one.complete;
            let deadline = self.soon();
            while !owner.replicas.status().iter().any(complete) {
                assert!(self.seams.clock.now() < deadline, "{:#?}", owner.replicas.status());
                self.seams.clock.sleep(Duration::from_millis(10)).await;
            }
            assert!(owner.replicas.serving(tenure, deadline).await.is_ok());
        }
    }

    /// Every running node's store holds every acknowledged write, under the same number.
    fn stores_agree(&self) {
        for ((shard, key), (revision, value)) in &self.acked {
            let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
            let held: Vec<Record> = lives
                .map(|life| life.store.get(*shard, key).expect("readable").expect("it is there"))
                .collect();
            assert_eq!((held[0].revision, &held[0].value), (*revision, value));
            assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "{held:?}");
        }
    }
}

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
