//! A little world: three pure owners over real stores on simulated disks, with messages that are
//! lost, repeated and reordered, views that come late, power losses and failovers. After every
//! step every acknowledged write must be on every store of the agreed `in_sync` (I3), and seals
//! only grow (I2); after the last fault a write must be acknowledged again (I5).

mod mail;
mod operator;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use proptest::prelude::*;

use super::Write;
use super::primary::{Config, Input, Output, Part, Primary, Reading, Want};
use crate::base::{
    Boot, ClusterId, Epoch, Instant, NodeId, Rng as _, SeededRng, ShardId, StoreId, Worker,
};
use crate::placement::{
    Assign, Change, Claim, Constants, DiskMark, Outcome, Owner, Profile, Proposal, View,
    copy_candidates, plan_ownerless,
};
use crate::storage::{Durability, Number, Op, OpResult, SimDisk, Store};
use crate::transport::Peer;
use mail::Mail;

const SHARD: ShardId = ShardId(0);
const KEYS: u64 = 3;

struct Node {
    name: NodeId,
    boot: Boot,
    disk: SimDisk,
    mark: DiskMark,
    store: Store,
    view: Arc<View>,
    machine: Option<(Epoch, Primary)>,
    /// Per token: key and revision.
    saves: BTreeMap<u64, (Bytes, u64)>,
}

struct World {
    rng: SeededRng,
    now: Instant,
    nodes: Vec<Node>,
    view: View,
    index: u64,
    mail: Vec<Mail>,
    /// Per key: the highest acknowledged revision.
    acked: BTreeMap<Bytes, u64>,
    acks: u64,
    tokens: u64,
    sealed: BTreeMap<StoreId, Epoch>,
    /// Somebody sets constants meanwhile.
    operated: bool,
}

fn done<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("an inline worker does not wait")
}

fn open(disk: &SimDisk, rng: &SeededRng) -> Store {
    Store::open(&disk.mount(), Worker::inline(), Durability::Disk, rng).expect("the store opens")
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = SeededRng::new(seed);
        let nodes: Vec<Node> = (0..3_u64)
            .map(|number| {
                let mark = DiskMark {
                    filesystem: number,
                    device: number,
                    lock_inode: number,
                    host_boot: "h".into(),
                };
                let disk = SimDisk::new(mark.clone());
                let store = open(&disk, &rng);
                let name = format!("n{number}").parse().expect("a name");
                let view = Arc::new(View::default());
                let saves = BTreeMap::new();
                Node { name, boot: Boot(1), disk, mark, store, view, machine: None, saves }
            })
            .collect();
        let mut world = Self {
            rng,
            now: Instant::ZERO + Duration::from_secs(10),
            nodes,
            view: View::default(),
            index: 0,
            mail: Vec::new(),
            acked: BTreeMap::new(),
            acks: 0,
            tokens: 0,
            sealed: BTreeMap::new(),
            operated: false,
        };
        world.form();
        world
    }

    fn claim(node: &Node, earlier: Vec<Boot>) -> Claim {
        Claim {
            node: node.name.clone(),
            boot: node.boot,
            token: node.boot.0,
            earlier_boots: earlier.into_iter().map(|boot| (boot, boot)).collect(),
            tokens: Vec::new(),
            store: node.store.id(),
            voter: None,
            addr: "h:1".into(),
            zone: String::new(),
            weight: 1,
            disk: node.mark.clone(),
        }
    }

    fn form(&mut self) {
        let constants = Constants {
            shards: 1,
            copies: 3,
            write_min: 2,
            profile: Profile::dev(),
            lease_before: None,
            lease_set: false,
        };
        let mut in_sync: Vec<StoreId> = self.nodes.iter().map(|node| node.store.id()).collect();
        in_sync.sort();
        let first = &self.nodes[0];
        let owner = Owner { node: first.name.clone(), boot: first.boot };
        let assign = vec![Assign {
            shard: SHARD,
            expected_epoch: Epoch::NONE,
            expected_generation: 0,
            owner: Some(owner),
            in_sync,
            lost: false,
        }];
        let members = self.nodes.iter().map(|node| Self::claim(node, Vec::new())).collect();
        let cluster = ClusterId([7; 32]);
        let outcome = self.agree(Change::Form { cluster, constants, members, assign });
        assert_eq!(outcome, Outcome::Accepted);
    }

    fn agree(&mut self, change: Change) -> Outcome {
        let id = crate::placement::ChangeId(self.rng.next_u128());
        self.agree_on(&Proposal { id, change })
    }

    fn agree_on(&mut self, proposal: &Proposal) -> Outcome {
        self.index += 1;
        let outcome = self.view.apply(self.index, proposal);
        self.view.check().expect("the view is sound");
        outcome
    }

    fn chance(&self, of: u64) -> u64 {
        self.rng.next_u64() % of
    }

    fn peer(&self, node: usize) -> Peer {
        Peer { node: self.nodes[node].name.clone(), boot: self.nodes[node].boot }
    }

    fn at(&self, peer: &Peer) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == peer.node && node.boot == peer.boot)
    }

    /// Shows the agreed view to a node.
    fn show(&mut self, node: usize) {
        let view = Arc::new(self.view.clone());
        self.nodes[node].view = view.clone();
        let peer = self.peer(node);
        let shard = view.shard(SHARD).expect("there is one shard").clone();
        let owner = Owner { node: peer.node, boot: peer.boot };
        let mine = shard.owner.as_ref() == Some(&owner);
        let epoch = self.nodes[node].machine.as_ref().map(|(epoch, _)| *epoch);
        if epoch.is_some_and(|epoch| !mine || epoch != shard.epoch) {
            let (epoch, mut machine) = self.nodes[node].machine.take().expect("it has one");
            let mut out = Vec::new();
            machine.end(&mut out);
            self.perform(node, epoch, out);
        }
        if !mine {
            return;
        }
        let terms = view.constants.as_ref().expect("formed").into();
        if self.nodes[node].machine.is_some() {
            self.step(node, Input::Viewed((&shard).into(), terms));
            return;
        }
        let config = Config {
            shard: SHARD,
            epoch: shard.epoch,
            owner,
            own: self.nodes[node].store.id(),
            ids: self.rng.next_u128(),
        };
        let mut out = Vec::new();
        let machine = Primary::new(config, (&shard).into(), terms, self.now, &mut out);
        self.nodes[node].machine = Some((shard.epoch, machine));
        self.perform(node, shard.epoch, out);
    }

    fn step(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some((epoch, machine)) = &mut self.nodes[node].machine else { return };
        let (epoch, mut out) = (*epoch, Vec::new());
        machine.step(now, input, &mut out);
        machine.check().expect("the machine is sound");
        self.perform(node, epoch, out);
    }

    fn perform(&mut self, node: usize, epoch: Epoch, out: Vec<Output>) {
        let from = self.peer(node);
        let mut then = Vec::new();
        for output in out {
            match output {
                Output::Store(op) => then.push(Input::Stored(self.apply(node, op))),
                Output::Send { store: to, order, body } => {
                    self.mail.push(Mail::Ask { from: from.clone(), to, epoch, order, body });
                }
                Output::Read(want) => then.push(Input::Read(self.read(node, want))),
                Output::Probe(store) => {
                    if self.chance(4) > 0 {
                        then.push(Input::Heard { store, at: self.now });
                    }
                }
                Output::Silence(_) | Output::CopyEnded { .. } => {}
                Output::Serving => self.check_serving(node),
                Output::Propose(proposal) => {
                    self.mail.push(Mail::Propose { from: from.clone(), proposal });
                }
                Output::Resolve { token, result } => {
                    let saved = self.nodes[node].saves.remove(&token);
                    if let (Some((key, revision)), Ok(())) = (saved, result) {
                        self.acks += 1;
                        self.check_acked(node, &key, revision);
                        let acked = self.acked.entry(key).or_default();
                        *acked = revision.max(*acked);
                    }
                }
            }
        }
        for input in then {
            self.step(node, input);
        }
    }

    fn apply(&mut self, node: usize, op: Op) -> OpResult {
        let results = done(self.nodes[node].store.apply(vec![op])).expect("the store works");
        results.into_iter().next().expect("one result per op")
    }

    fn read(&self, node: usize, want: Want) -> Reading {
        let store = &self.nodes[node].store;
        let since = |after, upto, most| store.since(SHARD, after, upto, most).expect("readable");
        match want {
            Want::Tail { store, after, upto } => {
                Reading::Tail { store, records: Some(since(after, upto, usize::MAX)) }
            }
            Want::Inventory { store: to } => {
                Reading::Inventory { store: to, list: store.inventory(SHARD).expect("readable") }
            }
            Want::Part { store: to, after, upto } => {
                let records = since(after, upto, 1);
                let last = records.last().map_or(after, |record| record.number);
                let end = since(last, upto, 1).is_empty();
                Reading::Part { store: to, part: Some(Part { records, upto, end }) }
            }
        }
    }

    /// A takeover ends only when every store of `in_sync` holds exactly the owner's log.
    fn check_serving(&self, node: usize) {
        let last = |node: &Node| node.store.head(SHARD).expect("readable").last;
        let owner = &self.nodes[node];
        let current = owner.machine.as_ref().map(|(epoch, _)| *epoch);
        let agreed = self.view.shard(SHARD).expect("there is one shard");
        if current != Some(agreed.epoch) {
            return; // Deposed, and does not know it yet: its lease has run out.
        }
        for other in self.nodes.iter().filter(|node| agreed.in_sync.contains(&node.store.id())) {
            assert_eq!(last(other), last(owner), "{} serves, {} differs", owner.name, other.name);
        }
    }

    /// The node loses its power and comes back with its disk, under a new boot.
    fn restart(&mut self, node: usize) {
        self.nodes[node].machine = None;
        self.nodes[node].saves.clear();
        let replaces = self.nodes[node].boot;
        self.nodes[node].disk.power_loss(&self.rng);
        let store = open(&self.nodes[node].disk, &self.rng);
        self.nodes[node].store = store;
        self.nodes[node].boot = Boot(replaces.0 + 1);
        let earlier = (1..=replaces.0).map(Boot).collect();
        let claim = Self::claim(&self.nodes[node], earlier);
        let outcome = self.agree(Change::Rejoin { replaces, claim, assign: Vec::new() });
        assert_eq!(outcome, Outcome::Accepted);
    }

    /// The owner is evicted, another in-sync store's node takes over, and the evicted joins again.
    fn fail_over(&mut self) {
        let shard = self.view.shard(SHARD).expect("there is one shard").clone();
        let Some(old) = shard.owner.clone() else { return };
        let Some(node) = self.at(&Peer { node: old.node.clone(), boot: old.boot }) else { return };
        let gone = self.nodes[node].store.id();
        let stays: Vec<StoreId> =
            shard.in_sync.iter().copied().filter(|&store| store != gone).collect();
        if stays.is_empty() {
            return;
        }
        let enough = stays.len() >= self.write_min();
        let in_sync = if enough { stays.clone() } else { shard.in_sync.clone() };
        let next = stays[usize::try_from(self.chance(stays.len() as u64)).expect("small")];
        let Some((name, member)) = self.view.member_of_store(next) else { return };
        let owner = Some(Owner { node: name.clone(), boot: member.boot });
        let assign = vec![Assign {
            shard: SHARD,
            expected_epoch: shard.epoch,
            expected_generation: shard.in_sync_generation,
            owner,
            in_sync,
            lost: false,
        }];
        let cause = "test".into();
        let outcome = self.agree(Change::Evict {
            node: old.node,
            boot: old.boot,
            cause,
            assign,
            released: false,
        });
        assert_eq!(outcome, Outcome::Accepted);
        let earlier = (1..=old.boot.0).map(Boot).collect();
        self.nodes[node].boot = Boot(old.boot.0 + 1);
        let claim = Self::claim(&self.nodes[node], earlier);
        let outcome = self.agree(Change::Join { claim, assign: Vec::new() });
        assert_eq!(outcome, Outcome::Accepted, "the evicted node joins again");
    }

    /// As the leader does at once: a shard without an owner gets one.
    fn plan(&mut self) {
        let alive = self.nodes.iter().map(|node| node.name.clone()).collect();
        let assign = plan_ownerless(&self.view, &alive);
        if !assign.is_empty() {
            self.agree(Change::Assign { cause: "test".into(), assign });
        }
    }

    fn save(&mut self, node: usize) {
        let key = Bytes::from(vec![u8::try_from(self.chance(KEYS)).expect("small")]);
        if self.nodes[node].saves.values().any(|(saved, _)| *saved == key) {
            return; // As an entity: one at a time.
        }
        let record = self.nodes[node].store.get(SHARD, &key).expect("readable");
        let current = record.map_or(0, |record| record.revision);
        self.tokens += 1;
        let token = self.tokens;
        let revision = current + 1;
        let value = Bytes::from(format!("{}:{revision}:{token}", self.nodes[node].name));
        if self.nodes[node].machine.is_some() {
            self.nodes[node].saves.insert(token, (key.clone(), revision));
            let write = Write { key, revision, value, deleted: false };
            self.step(node, Input::Save { token, write, current });
        }
    }

    fn offer(&mut self, node: usize) {
        let wants = self.nodes[node].machine.as_ref().and_then(|(_, one)| one.wants_copy());
        let candidates = copy_candidates(&self.nodes[node].view, SHARD);
        if let (Some(_), Some(&store)) = (wants, candidates.first()) {
            self.step(node, Input::Offered(store));
        }
    }

    fn random_step(&mut self) {
        let node = usize::try_from(self.chance(3)).expect("small");
        let mail = (!self.mail.is_empty()).then(|| self.chance(self.mail.len() as u64));
        let mail = mail.map(|index| usize::try_from(index).expect("small"));
        match (self.chance(100), mail) {
            (0..50, Some(index)) => self.deliver(index, self.chance(20) == 0),
            (50..54, Some(index)) => self.lose(index),
            (54..66, _) => self.show(node),
            (66..80, _) => self.save(node),
            (80..88, _) => {
                self.now = self.now + Duration::from_millis(20 + self.chance(150));
                (0..3).for_each(|node| self.step(node, Input::TimePassed));
            }
            (88..94, _) => self.offer(node),
            (94..96, _) => self.restart(node),
            (96, _) => self.fail_over(),
            (97..99, _) if self.operated => self.operate(node),
            _ => {}
        }
        self.check();
    }

    fn check(&mut self) {
        let agreed = self.view.shard(SHARD).expect("there is one shard").clone();
        for node in &self.nodes {
            let id = node.store.id();
            let head = node.store.head(SHARD).expect("readable");
            let sealed = self.sealed.entry(id).or_default();
            assert!(head.sealed >= *sealed, "I2: the seal of {} fell", node.name);
            assert!(head.last.epoch <= head.sealed, "I2: a write of an epoch not sealed");
            *sealed = head.sealed;
            if !agreed.in_sync.contains(&id) {
                continue;
            }
            for (key, &revision) in &self.acked {
                let record = node.store.get(SHARD, key).expect("readable");
                let found = record.map_or(0, |record| record.revision);
                let name = &node.name;
                assert!(found >= revision, "I3: {name} has {found} of {key:?}, not {revision}");
            }
        }
    }

    /// No more faults: everything arrives, in order, and time passes.
    fn heal(&mut self) {
        let before = self.acks;
        for round in 0..2_000 {
            self.plan();
            self.widen_bare();
            (0..3).for_each(|node| self.show(node));
            for _ in 0..200 {
                if self.mail.is_empty() {
                    break;
                }
                self.deliver(0, false);
                self.check();
            }
            (0..3).for_each(|node| self.offer(node));
            self.now = self.now + Duration::from_millis(20);
            (0..3).for_each(|node| self.step(node, Input::TimePassed));
            let all = self.view.shard(SHARD).is_some_and(|shard| shard.in_sync.len() == 3);
            if self.acks > before && all {
                return;
            }
            if round % 5 == 0 {
                (0..3).for_each(|node| self.save(node));
            }
        }
        let machine = self.nodes.iter().find_map(|node| node.machine.as_ref());
        panic!("I5: nothing is acknowledged, or a copy is missing: {machine:#?}");
    }
}

/// Few cases, unless `PROPTEST_CASES` says how many.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(48);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Goal: I2, I3, I5. Method: 400 random steps with faults, checked after each; then no faults.
    #[test]
    fn nothing_acknowledged_is_lost_and_writing_goes_on(seed in any::<u64>()) {
        live_through(seed);
    }
}

fn live_through(seed: u64) {
    let mut world = World::new(seed);
    (0..400).for_each(|_| world.random_step());
    world.heal();
}

#[test]
fn seeds_that_once_failed_pass() {
    [12_435_323_419_007_502_029].into_iter().for_each(live_through);
}

#[test]
fn the_world_acknowledges_writes_at_all() {
    let mut world = World::new(1);
    world.heal();
    assert!(world.acks > 0);
    let heads = world.nodes.iter().map(|node| node.store.head(SHARD).expect("readable").last);
    assert!(heads.min().is_some_and(|least| least > Number::ZERO));
}
