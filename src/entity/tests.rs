//! Entities on one node and on two, over loopback links, with views and records in memory.

mod codecs;
mod moves;
mod one_node;
mod two_nodes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::*;
use crate::authority::{
    Grant, Lease, ProposeError, Proposed, Renew, RenewError, Tenure, ViewAuthority, Wish,
};
use crate::base::{
    Boot, ClusterId, Epoch, Instant, NodeId, Publisher, Seams, SeededRng, ShardId, Spawner,
    TokioClock, TokioNet, Version, Watched,
};
use crate::membership::Hints;
use crate::placement::{Constants, Owner, Profile, Proposal, Shard, View};
use crate::replica::{ReplicaError, SaveError, Write};
use crate::storage::{Number, Record};
use crate::transport::{Identity, Links, LinksConfig, Security};

/// More than any test needs on a busy machine.
const GENEROUS: Duration = Duration::from_secs(30);

/// What the entities of a test share.
struct Deps {
    node: String,
    /// `Hold` takes one of these before it answers.
    go: Semaphore,
    /// `Hold` adds one when it is in hand.
    held: Semaphore,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

/// Panics where it is decoded.
#[derive(Debug, Serialize)]
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a bomb was decoded");
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum CounterMsg {
    Add(i64, Reply<i64>),
    /// Adds, saves, answers the revision.
    Save(i64, Reply<u64>),
    Get(Reply<i64>),
    Node(Reply<String>),
    Bump,
    Fail(Reply<()>),
    Panic(Reply<()>),
    Silent(Reply<()>),
    Explode(Reply<()>, Bomb),
    Hold(Reply<()>),
    /// Begins a save and drops it.
    DropSave(i64, Reply<()>),
    /// Whether a ref from elsewhere speaks for the entity in hand.
    Via(EntityRef<Counter>, Reply<bool>),
    /// Asks the named entity for its value.
    AskOther(String, Reply<Result<i64, AskError>>),
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Msg = CounterMsg;
    type Env = Deps;

    async fn handle(&mut self, msg: CounterMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            CounterMsg::Add(more, reply) => {
                self.value += more;
                reply.send(self.value);
            }
            CounterMsg::Save(more, reply) => {
                self.value += more;
                reply.send(cx.save(self).await?);
            }
            CounterMsg::Get(reply) => reply.send(self.value),
            CounterMsg::Node(reply) => reply.send(cx.env().node.clone()),
            CounterMsg::Bump => self.value += 1,
            CounterMsg::Fail(_reply) => {
                self.value = 1_000;
                return Err(Failure::new("asked to"));
            }
            CounterMsg::Panic(_reply) => {
                self.value = 1_000;
                panic!("asked to");
            }
            CounterMsg::Silent(_reply) | CounterMsg::Explode(_reply, _) => {}
            CounterMsg::Hold(reply) => {
                cx.env().held.add_permits(1);
                cx.env().go.acquire().await?.forget();
                reply.send(());
            }
            CounterMsg::DropSave(more, reply) => {
                self.value += more;
                assert!(cx.save(self).now_or_never().is_none(), "the table takes its time");
                reply.send(());
            }
            CounterMsg::Via(other, reply) => {
                let bound = other.speaks_for();
                reply.send(bound.is_some_and(|bound| bound.deadline == cx.deadline()));
            }
            CounterMsg::AskOther(id, reply) => {
                let other = cx.entities::<Self>().get(&id);
                reply.send(other.ask(CounterMsg::Get).await);
            }
        }
        Ok(())
    }
}

/// Views as a test says.
#[derive(Debug)]
struct Views(Publisher<View>, Mutex<Vec<(ShardId, Epoch)>>);

impl ViewAuthority for Views {
    fn view(&self) -> Arc<View> {
        self.0.get()
    }

    fn watched(&self) -> Watched<View> {
        self.0.watched()
    }

    fn propose(
        &self,
        _: Vec<Proposal>,
        _: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        std::future::ready(Err(ProposeError::NotExecuted("a test".into()))).boxed()
    }

    fn renew(&self, request: Renew, _: Instant) -> BoxFuture<'_, Result<Grant, RenewError>> {
        let none = RenewError::NotMember(request.node, request.boot);
        std::future::ready(Err(none)).boxed()
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        self.1.lock().push((shard, epoch));
    }

    fn wishes(&self) -> Watched<Vec<Wish>> {
        Publisher::new(Vec::new()).watched()
    }
}

/// Records in memory, shared by the nodes of a test. Writes of an older epoch are refused.
#[derive(Debug, Default)]
struct Table(Mutex<(Epoch, BTreeMap<Bytes, Record>)>);

#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Table>);

impl Records for Shelf {
    fn load(
        &self,
        tenure: Tenure,
        key: Bytes,
        _: Instant,
    ) -> BoxFuture<'_, Result<Option<Record>, ReplicaError>> {
        let mut table = self.0.0.lock();
        table.0 = table.0.max(tenure.epoch);
        std::future::ready(Ok(table.1.get(&key).cloned())).boxed()
    }

    fn save(&self, tenure: Tenure, write: Write) -> BoxFuture<'static, Result<(), SaveError>> {
        let table = self.0.clone();
        async move {
            tokio::task::yield_now().await;
            let mut table = table.0.lock();
            if tenure.epoch < table.0 {
                return Err(SaveError::Lapsed);
            }
            let current = table.1.get(&write.key).map_or(0, |record| record.revision);
            if write.revision != current + 1 {
                return Err(SaveError::Conflict { given: write.revision, current });
            }
            let Write { key, revision, value, deleted } = write;
            let number = Number { epoch: tenure.epoch, seq: revision };
            table.1.insert(key.clone(), Record { key, number, revision, deleted, value });
            Ok(())
        }
        .boxed()
    }
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

/// View `version`: `owner` owns all shards, in the epoch of that number.
fn view(version: u64, owner: &str) -> View {
    let shard = Shard {
        epoch: Epoch(version),
        owner: Some(Owner { node: node(owner), boot: Boot(1) }),
        in_sync: Vec::new(),
        in_sync_generation: 0,
        has_records: false,
        lost: false,
        moving: None,
    };
    let constants = Constants {
        shards: 4,
        copies: 1,
        write_min: 1,
        profile: Profile::dev(),
        lease_before: None,
        lease_set: false,
    };
    View {
        version: Version(version),
        constants: Some(constants),
        shards: std::iter::repeat_n(Arc::new(shard), 4).collect(),
        ..View::default()
    }
}

/// One node of a test.
struct Station {
    hosts: Hosts,
    lease: Lease,
    links: Links,
    views: Arc<Views>,
    deps: Arc<Deps>,
}

impl Station {
    async fn start(name: &str, shelf: &Shelf, kind: fn(Kind<Counter>) -> Kind<Counter>) -> Self {
        let seams = Seams {
            clock: Arc::new(TokioClock::new()),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(TokioNet),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: true,
        };
        let identity = Identity { cluster_name: "t".into(), node: node(name), boot: Boot(1) };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (go, held) = (Semaphore::new(0), Semaphore::new(0));
        let deps = Arc::new(Deps { node: name.into(), go, held });
        let kinds = vec![kind(Kind::shared(deps.clone())).into()];
        let kinds = Kinds::new(kinds).expect("good kinds");
        let config = LinksConfig {
            schemas: kinds.schemas(),
            ..LinksConfig::new(identity, listen, Security::Insecure)
        };
        let links = Links::start(config, seams.clone()).await.expect("a free port");
        links.set_cluster(ClusterId([7; 32]));
        let lease = Lease::new(seams.clock.clone(), node(name));
        lease.begin(Boot(1));
        lease.extend(Boot(1), Instant::NEVER);
        let views = Arc::new(Views(Publisher::new(View::default()), Mutex::default()));
        let hosts = Hosts::start(HostParts {
            seams,
            links: links.clone(),
            authority: views.clone(),
            lease: lease.clone(),
            records: Some(Arc::new(shelf.clone())),
            me: node(name),
            kinds,
            hints: Hints::default(),
        });
        Self { hosts, lease, links, views, deps }
    }

    /// As the driver of a node does: the gate first.
    fn apply(&self, view: View) {
        self.lease.applied(&view);
        self.views.0.publish(Arc::new(view));
    }

    fn get(&self, id: &str) -> EntityRef<Counter> {
        self.hosts.entities().get(id)
    }

    /// Waits until `count` handlers more stand in `Hold`.
    async fn held(&self, count: u32) {
        let held = self.deps.held.acquire_many(count);
        let held = tokio::time::timeout(GENEROUS, held).await.expect("it comes to hold");
        held.expect("open").forget();
    }

    fn go(&self, count: usize) {
        self.deps.go.add_permits(count);
    }

    /// Waits until what was counted satisfies `wanted`.
    async fn counted(&self, wanted: impl Fn(EntityCounts) -> bool) {
        let come = async {
            while !wanted(self.hosts.counted()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(GENEROUS, come).await.expect("it is counted");
    }
}
