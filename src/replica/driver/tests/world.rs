//! The nodes of these tests, and what is done to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::authority::{Lease, SingleNode, Tenure, ViewAuthority as _};
use crate::base::{
    Boot, ClusterId, Epoch, Instant, NodeId, Seams, SeededRng, ShardId, Spawner, StoreId,
    TokioClock, Worker, within,
};
use crate::placement::{
    Assign, Change, Claim, Constants, DiskMark, Outcome, Owner, Profile, View, plan_evict,
    plan_join,
};
use crate::replica::{Copies, ReplicaError, ReplicaParts, Replicas, SaveError, Write};
use crate::storage::{Durability, Record, SimDisk, Store};
use crate::transport::pipe_net::PipeNet;
use crate::transport::{Identity, Links, LinksConfig, Security};

pub(super) const SHARDS: u16 = 8;
pub(super) const KEYS: u32 = 100;
pub(super) const CLUSTER: ClusterId = ClusterId([7; 32]);
/// Virtual, and more than any step needs.
pub(super) const GENEROUS: Duration = Duration::from_mins(2);

/// A shard, and a key in it.
pub(super) type Place = (ShardId, Bytes);

/// One life of a node.
pub(super) struct Life {
    pub(super) boot: Boot,
    pub(super) links: Links,
    pub(super) store: Store,
    pub(super) lease: Lease,
    pub(super) replicas: Replicas,
}

pub(super) struct Node {
    pub(super) name: NodeId,
    pub(super) mark: DiskMark,
    pub(super) disk: SimDisk,
    pub(super) boots: Vec<Boot>,
    pub(super) life: Option<Life>,
}

pub(super) struct World {
    pub(super) seams: Seams,
    pub(super) authority: Arc<SingleNode>,
    pub(super) nodes: Vec<Node>,
    /// What was acknowledged last, by shard and key.
    pub(super) acked: BTreeMap<Place, (u64, Bytes)>,
}

impl World {
    /// Three nodes; the first owns all shards, and all three stores are to hold them.
    pub(super) async fn new() -> Self {
        let world = Self::started(3).await;
        world.form();
        world
    }

    /// Nodes that run, and have not formed a cluster yet.
    pub(super) async fn started(nodes: usize) -> Self {
        let mut world = Self::of(u64::try_from(nodes).expect("few"));
        for node in 0..nodes {
            world.start(node).await;
        }
        world
    }

    /// Nodes that do not run yet.
    pub(super) fn of(nodes: u64) -> Self {
        let seams = Seams {
            clock: Arc::new(TokioClock::new()),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(PipeNet::default()),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let nodes = (0..nodes).map(|number| {
            let host_boot = "h".into();
            let mark =
                DiskMark { filesystem: number, device: number, lock_inode: number, host_boot };
            let disk = SimDisk::new(mark.clone());
            let name = format!("n{number}").parse().expect("a name");
            Node { name, mark, disk, boots: Vec::new(), life: None }
        });
        let authority = Arc::new(SingleNode::new(View::default()));
        Self { seams, authority, nodes: nodes.collect(), acked: BTreeMap::new() }
    }

    pub(super) fn form(&self) {
        let copies = u8::try_from(self.nodes.len()).expect("few");
        self.form_with(copies, copies.min(2));
    }

    /// The first node owns all shards, and as many of the first stores hold them.
    pub(super) fn form_with(&self, copies: u8, write_min: u8) {
        let constants = Constants {
            shards: SHARDS,
            copies,
            write_min,
            profile: Profile::dev(),
            lease_before: None,
            lease_set: false,
        };
        let members: Vec<Claim> = (0..self.nodes.len()).map(|node| self.claim(node)).collect();
        let holders = members.iter().take(usize::from(copies));
        let mut in_sync: Vec<StoreId> = holders.map(|claim| claim.store).collect();
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
        self.agree(Change::Form { cluster: CLUSTER, constants, members, assign });
    }

    pub(super) fn agree(&self, change: Change) {
        assert_eq!(self.authority.change(change), Outcome::Accepted);
        self.authority.view().check().expect("the view is sound");
    }

    /// An operator sets constants; the lease stays.
    pub(super) fn set(&self, copies: u8, write_min: u8) {
        let seen = self.authority.view().constants.clone().expect("formed");
        let lease = seen.profile.lease;
        self.agree(Change::Set { seen, copies, write_min, lease });
    }

    /// Begins a life of the node, on its disk as it is.
    pub(super) async fn start(&mut self, node: usize) {
        self.start_on(node, Worker::inline()).await;
    }

    pub(super) async fn start_on(&mut self, node: usize, worker: Worker) {
        let one = &mut self.nodes[node];
        let boot = Boot(one.boots.last().map_or(1, |last| last.0 + 1));
        let identity = Identity { cluster_name: "test".into(), node: one.name.clone(), boot };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = LinksConfig::new(identity, listen, Security::Insecure);
        let links = Links::start(config, self.seams.clone()).await.expect("a port is free");
        links.set_cluster(CLUSTER);
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

    pub(super) fn claim(&self, node: usize) -> Claim {
        let one = &self.nodes[node];
        let life = self.life(node);
        let earlier = one.boots.iter().filter(|&&boot| boot != life.boot);
        let earlier = earlier.map(|&boot| (boot, boot)).collect();
        Claim {
            node: one.name.clone(),
            boot: life.boot,
            token: life.boot.0,
            earlier_boots: earlier,
            tokens: Vec::new(),
            store: life.store.id(),
            voter: None,
            addr: life.links.local_addr().to_string(),
            zone: String::new(),
            weight: 1,
            disk: one.mark.clone(),
        }
    }

    pub(super) fn life(&self, node: usize) -> &Life {
        self.nodes[node].life.as_ref().expect("it runs")
    }

    /// The power of a node fails: nothing of it does anything any more.
    pub(super) async fn kill(&mut self, node: usize) -> Boot {
        let one = &mut self.nodes[node];
        let life = one.life.take().expect("it runs");
        one.disk.power_loss(&*self.seams.rng);
        life.lease.begin(Boot(u64::MAX));
        life.links.stop().await;
        life.replicas.stop().await;
        life.boot
    }

    pub(super) fn evict(&self, node: usize, boot: Boot) {
        let name = self.nodes[node].name.clone();
        let assign = plan_evict(&self.authority.view(), &name);
        self.agree(Change::Evict {
            node: name,
            boot,
            cause: "test".into(),
            assign,
            released: false,
        });
    }

    /// A node that was evicted while it ran begins another life in place.
    pub(super) fn begin(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let life = one.life.as_mut().expect("it runs");
        life.boot = Boot(life.boot.0 + 1);
        one.boots.push(life.boot);
        life.lease.begin(life.boot);
        life.lease.extend(life.boot, Instant::NEVER);
        life.links.set_life(crate::transport::Life { boot: life.boot, token: 0 });
        self.join(node);
    }

    pub(super) fn join(&self, node: usize) {
        let claim = self.claim(node);
        let assign = plan_join(&self.authority.view(), &claim);
        self.agree(Change::Join { claim, assign });
    }

    pub(super) fn soon(&self) -> Instant {
        self.seams.clock.now() + GENEROUS
    }

    /// Waits for a view.
    pub(super) async fn viewed(&self, what: &str, wanted: impl Fn(&View) -> bool) {
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
    pub(super) async fn owner(&self, shard: ShardId) -> (&Life, Tenure) {
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
    pub(super) async fn try_all(&self) -> Vec<(Place, (u64, Bytes), Result<(), SaveError>)> {
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
    pub(super) async fn write_all(&mut self) {
        for (place, written, result) in self.try_all().await {
            result.expect("it is acknowledged");
            self.acked.insert(place, written);
        }
    }

    /// Every acknowledged write is read at its shard's owner.
    pub(super) async fn read_all(&self) {
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
    pub(super) async fn complete(&self) {
        self.copied(3).await;
    }

    /// All shards have so many copies, and their owners say so, and whether these are enough.
    pub(super) async fn copied(&self, count: usize) {
        let whole = |view: &View| view.shards.iter().all(|shard| shard.in_sync.len() == count);
        self.viewed("so many copies of each shard", whole).await;
        let view = self.authority.view();
        let enough = usize::from(view.constants.as_ref().expect("formed").copies) <= count;
        for number in 0..SHARDS {
            let shard = ShardId(number);
            let (owner, tenure) = self.owner(shard).await;
            let so_far = |one: &Copies| (one.shard, one.in_sync, one.complete);
            let complete = |one: &Copies| so_far(one) == (shard, count, enough);
            let deadline = self.soon();
            while !owner.replicas.status().iter().any(complete) {
                assert!(self.seams.clock.now() < deadline, "{:#?}", owner.replicas.status());
                self.seams.clock.sleep(Duration::from_millis(10)).await;
            }
            assert!(owner.replicas.serving(tenure, deadline).await.is_ok());
        }
    }

    /// Every running node's store holds every acknowledged write, under the same number.
    pub(super) fn stores_agree(&self) {
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
