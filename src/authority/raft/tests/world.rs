//! Voters in one process on virtual time, with simulated disks and wires that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;

use super::super::serve::Server;
use super::super::*;
use crate::base::{
    Boot, Clock, ClusterId, Epoch, SeededRng, ShardId, Spawner, StoreId, TokioClock, TokioNet,
};
use crate::placement::{Assign, Change, ChangeId, Claim, Constants, DiskMark, Owner, Precondition};
use crate::storage::SimDisk;
use crate::transport::AskError;

/// One way of a frame.
const LATENCY: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Wires {
    servers: Mutex<BTreeMap<NodeId, Arc<Server>>>,
    cut: Mutex<BTreeSet<NodeId>>,
}

/// One voter's way to the others.
struct Line {
    wires: Arc<Wires>,
    clock: Arc<dyn Clock>,
    me: NodeId,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.me)
    }
}

impl Carrier for Line {
    fn ask<'a>(
        &'a self,
        to: &'a Voter,
        service: Service,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, AskError>> {
        async move {
            let silent = |wires: &Wires| {
                let cut = wires.cut.lock();
                cut.contains(&self.me) || cut.contains(&to.node)
            };
            let asked = async {
                self.clock.sleep(LATENCY).await;
                let server = self.wires.servers.lock().get(&to.node).cloned();
                let Some(server) = server.filter(|_| !silent(&self.wires)) else {
                    return std::future::pending().await;
                };
                let answer = server.answer(&self.me, service, &body).await;
                self.clock.sleep(LATENCY).await;
                if silent(&self.wires) { std::future::pending().await } else { answer }
            };
            match within(&*self.clock, deadline, asked).await {
                Ok(answer) => answer.map_err(|why| AskError::Refused(why.into())),
                Err(elapsed) => Err(AskError::Unknown(elapsed.to_string())),
            }
        }
        .boxed()
    }

    fn learn(&self, _: &Voter) {}

    fn recall(&self, _: &Voter) {}
}

/// Three voters.
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    wires: Arc<Wires>,
    pub(super) disks: Vec<SimDisk>,
    pub(super) cores: Vec<Option<RaftCore>>,
    seed: u64,
    next_change: u128,
    shards: u16,
}

pub(super) fn name(place: usize) -> NodeId {
    format!("n{place}").parse().unwrap()
}

fn store(place: usize) -> StoreId {
    StoreId(place as u128 + 1)
}

pub(super) fn mark(place: usize) -> DiskMark {
    DiskMark { filesystem: 1, device: 1, lock_inode: place as u64, host_boot: "host".into() }
}

fn claim(place: usize, voter: VoterId) -> Claim {
    Claim {
        node: name(place),
        boot: Boot(1),
        token: 1,
        earlier_boots: Vec::new(),
        tokens: Vec::new(),
        store: store(place),
        voter: Some(voter),
        addr: format!("{}:1", name(place)),
        zone: String::new(),
        weight: 1,
        disk: mark(place),
    }
}

pub(super) fn voter(place: usize) -> VoterId {
    VoterId(1_000 + place as u64)
}

pub(super) fn voters() -> BTreeMap<VoterId, Voter> {
    let addr = |place| format!("{}:1", name(place));
    (0..3).map(|place| (voter(place), Voter { node: name(place), addr: addr(place) })).collect()
}

pub(super) fn seams(clock: Arc<dyn Clock>, seed: u64) -> Seams {
    Seams {
        clock,
        rng: Arc::new(SeededRng::new(seed)),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: false,
    }
}

/// Forms the cluster of the three, shard `i` owned by node `i % 3` and held by all.
pub(super) fn form(shards: u16) -> Proposal {
    let in_sync: Vec<_> = (0..3).map(store).collect();
    let assign = (0..shards).map(|shard| Assign {
        shard: ShardId(shard),
        expected_epoch: Epoch::NONE,
        expected_generation: 0,
        owner: Some(Owner { node: name(usize::from(shard) % 3), boot: Boot(1) }),
        in_sync: in_sync.clone(),
        lost: false,
    });
    let constants = Constants {
        shards,
        copies: 3,
        write_min: 2,
        profile: Profile::lan(),
        lease_before: None,
        lease_set: false,
    };
    Proposal {
        id: ChangeId(1),
        change: Change::Form {
            cluster: ClusterId([7; 32]),
            constants,
            members: (0..3).map(|place| claim(place, voter(place))).collect(),
            assign: assign.collect(),
        },
    }
}

impl World {
    pub(super) async fn new(seed: u64, shards: u16) -> Self {
        let mut world = Self {
            clock: Arc::new(TokioClock::new()),
            wires: Arc::default(),
            disks: (0..3).map(|place| SimDisk::new(mark(place))).collect(),
            cores: vec![None, None, None],
            seed,
            next_change: 100,
            shards,
        };
        for place in 0..3 {
            world.start(place).await;
        }
        world
    }

    /// Three voters that have formed the view.
    pub(super) async fn formed(seed: u64) -> Self {
        let world = Self::new(seed, 16).await;
        world.form().await;
        world
    }

    /// All three initialise at the same time.
    pub(super) async fn form(&self) {
        let deadline = self.in_secs(10);
        let all = (0..3).map(|place| async move {
            self.core(place).initialize(voters(), form(self.shards), deadline).await.unwrap();
        });
        join_all(all).await;
    }

    /// What a voter is made of that starts on its disk.
    pub(super) fn setup(&self, place: usize) -> Setup {
        let (wires, clock, me) = (self.wires.clone(), self.clock.clone(), name(place));
        Setup {
            seams: seams(self.clock.clone(), self.seed * 10 + place as u64),
            carrier: Arc::new(Line { wires, clock, me: me.clone() }),
            disk: Arc::new(self.disks[place].mount()),
            me,
            voter: voter(place),
            profile: Profile::lan(),
        }
    }

    pub(super) async fn start(&mut self, place: usize) {
        let setup = self.setup(place);
        let seams = setup.seams.clone();
        let core = RaftCore::start(setup).await.unwrap();
        self.wires.servers.lock().insert(name(place), Server::new(&core, seams));
        self.wires.cut.lock().remove(&name(place));
        self.cores[place] = Some(core);
    }

    /// The process dies in the middle of whatever it does.
    pub(super) async fn kill(&mut self, place: usize) {
        self.cut(place);
        self.wires.servers.lock().remove(&name(place));
        self.disks[place].kill();
        if let Some(core) = self.cores[place].take() {
            core.shutdown().await;
        }
    }

    pub(super) fn cut(&self, place: usize) {
        self.wires.cut.lock().insert(name(place));
    }

    pub(super) fn heal(&self) {
        self.wires.cut.lock().clear();
    }

    pub(super) fn core(&self, place: usize) -> &RaftCore {
        self.cores[place].as_ref().unwrap()
    }

    pub(super) fn in_secs(&self, secs: u64) -> Instant {
        self.clock.now() + Duration::from_secs(secs)
    }

    /// The one of `places` that makes sure it leads, looked for until it is found.
    pub(super) async fn leader(&self, places: &[usize]) -> (usize, LeaderKey) {
        let until = self.in_secs(10);
        loop {
            for &place in places {
                let soon = self.clock.now() + Duration::from_millis(200);
                if let Ok(key) = self.core(place).barrier(soon).await {
                    return (place, key);
                }
            }
            assert!(self.clock.now() < until, "nobody of {places:?} leads");
            self.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `place` has applied what `other` has.
    pub(super) async fn caught_up(&self, place: usize, other: usize) {
        let wanted = self.core(other).view();
        let mut views = self.core(place).watched().follow();
        let reached = views.until(|view| view.version >= wanted.version);
        let view = within(&*self.clock, self.in_secs(10), reached).await.unwrap().unwrap();
        assert_eq!(view.version, wanted.version);
        assert_eq!(*view, *wanted);
    }

    /// The owner's proposal that `shard` has records now, as seen in the view of `place`.
    pub(super) fn has_records(&mut self, place: usize, shard: u16) -> Proposal {
        self.next_change += 1;
        has_records(self.core(place), shard, self.next_change)
    }
}

/// The owner's proposal that `shard` has records now, as `core` sees the shard.
pub(super) fn has_records(core: &RaftCore, shard: u16, id: u128) -> Proposal {
    let view = core.view();
    let now = view.shard(ShardId(shard)).unwrap();
    Proposal {
        id: ChangeId(id),
        change: Change::HasRecords {
            shard: ShardId(shard),
            in_sync: now.in_sync.clone(),
            when: Precondition {
                owner: now.owner.clone().unwrap(),
                epoch: now.epoch,
                in_sync_generation: now.in_sync_generation,
            },
        },
    }
}
