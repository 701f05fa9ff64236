//! One history: a cluster, what is under way in it, and the changes that come.

mod changes;
mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::least::{counts, least, usable};
use crate::base::{Boot, Epoch, NodeId, ShardId, StoreId};
use crate::placement::planner::{
    Limits, Move, Plan, Planner, Step, Underway, plan_formation, replica_sets,
};
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{
    Assign, Change, ChangeId, Claim, Constants, Member, Outcome, Proposal, Shard, Status, View,
};

/// Changes in one history.
const STEPS: u64 = 25;

/// Most plans after one change; each carries out what the limits allow.
const ROUNDS_MAX: u32 = 3_000;

/// Figures of many histories.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) changes: u64,
    /// Ownership moves, failovers included.
    pub(super) moves: u64,
    /// The sum of what each change costs at least.
    pub(super) least: u64,
    /// Most moves of one change above 1.1 times its minimum, rounded up.
    pub(super) beyond: u64,
    /// Which change that was.
    pub(super) worst: String,
    rounds: u64,
    rounds_most: u32,
    copies: u64,
    /// Most sets per thousand nodes once nothing was left to do.
    sets_permille: usize,
    /// Most shards of one node that stood above its cap right after a change.
    over_cap: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, moves, least, beyond, rounds, rounds_most, copies, .. } = self;
        write!(
            f,
            "{changes} changes, {moves} moves, minimum {least} ({} permille), one change at most \
             {beyond} beyond 1.1 times its minimum; {copies} copies; {rounds} plans, {rounds_most} \
             after one change; at most {} permille as many sets as nodes; at most {} above a cap \
             right after a change",
            moves * 1000 / least.max(&1),
            self.sets_permille,
            self.over_cap,
        )
    }
}

/// `SplitMix64`. Source: Steele, Lea, Flood, OOPSLA 2014.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % limit
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        let at = self.below(u64::try_from(all.len()).expect("small"));
        all[usize::try_from(at).expect("small")]
    }
}

/// What is on a node's disk, member or not.
#[derive(Debug, Clone)]
struct Disk {
    boot: u64,
    store: u128,
    weight: u16,
    zone: String,
}

pub(super) struct Run {
    seed: u64,
    rng: Rng,
    cluster: Cluster,
    planner: Planner,
    underway: Underway,
    moving: BTreeMap<ShardId, Move>,
    limits: Limits,
    disks: BTreeMap<u16, Disk>,
    nodes_max: u16,
    zones: u64,
    minted: u128,
    moved: u64,
    copies: u64,
    /// The last change.
    kind: &'static str,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        // Most are small, because a history of a thousand shards takes as long as many of those.
        let (shards, nodes_max) = match rng.below(32) {
            0 => (512, 20),
            1..=3 => (256, 16),
            4..=10 => (128, 12),
            _ => (64, 8),
        };
        let (copies, write_min) =
            rng.among(&[(1, 1), (2, 1), (2, 2), (3, 2), (3, 2), (3, 1), (5, 3)]);
        let nodes = 3 + rng.below(u64::from(nodes_max) - 2);
        let zones = rng.among(&[0, 0, 2, 3, 4]);
        let node_moves_max = rng.among(&[2, 4, 16]);
        let limits = Limits {
            moves_max: rng.among(&[8, 16, 64]),
            node_moves_max,
            copies_max: rng.among(&[16, 64, 256]),
            node_copies_max: 4 * node_moves_max,
        };
        let mut run = Self {
            seed,
            rng,
            cluster: Cluster::default(),
            planner: Planner::default(),
            underway: Underway::default(),
            moving: BTreeMap::new(),
            limits,
            disks: BTreeMap::new(),
            nodes_max,
            zones,
            minted: 1_000,
            moved: 0,
            copies: 0,
            kind: "formation",
        };
        let nodes = u16::try_from(nodes).expect("small");
        let claims: Vec<Claim> = (1..=nodes).map(|node| run.claim(node, false)).collect();
        run.form(&Constants { shards, ..constants(copies, write_min) }, claims);
        run
    }

    fn form(&mut self, constants: &Constants, mut members: Vec<Claim>) {
        let assign = self.planner.formation(constants, &members);
        members.reverse();
        assert_eq!(assign, plan_formation(constants, &members), "in any order of members");
        let cluster = crate::base::ClusterId([1; 32]);
        let constants = constants.clone();
        self.accept(Change::Form { cluster, constants, members, assign });
        self.underway.filling.clear();
        self.moved = 0;
        assert_eq!(self.planner.steps(&self.cluster.view, &self.underway, &self.limits).steps, []);
        self.check();
    }

    /// The next life of `node`, on its store or on a new one.
    fn claim(&mut self, node: u16, keeps: bool) -> Claim {
        let rng = &mut self.rng;
        let weight = rng.among(&[1, 1, 1, 1, 2, 3]);
        let zone =
            if self.zones == 0 { String::new() } else { format!("z{}", rng.below(self.zones)) };
        self.minted += 1;
        let fresh = Disk { boot: 0, store: self.minted, weight, zone };
        let disk = self.disks.entry(node).or_insert_with(|| fresh.clone());
        disk.boot += 1;
        if !keeps {
            disk.store = fresh.store;
        }
        let Disk { boot, store, weight, zone } = disk.clone();
        Claim { zone, weight, ..claim(node, boot, store) }
    }

    pub(super) fn history(&mut self, tally: &mut Tally) {
        for _ in 0..STEPS {
            let before = self.cluster.view.clone();
            let filling = self.underway.filling.clone();
            self.moved = 0;
            let leaver = self.change();
            self.forget_ended();
            let view = &self.cluster.view;
            let lost_owner = lost_owner(&before, view);
            let mut least = least(&before, view, &lost_owner, &filling);
            let limits = usable(view);
            for (node, owned) in counts(view) {
                let cap = limits.get(&node).map_or(0, |one| one.cap);
                tally.over_cap = tally.over_cap.max(owned.saturating_sub(cap));
            }
            // Some changes come while the one before is still being carried out. Of that one no
            // more counts than was carried out.
            let overtaken = leaver.is_none() && self.rng.below(8) == 0;
            let rounds = if overtaken {
                u32::try_from(self.rng.below(4)).expect("small")
            } else {
                ROUNDS_MAX
            };
            let at_first = self.cluster.view.clone();
            let done = self.carry_out(rounds, tally);
            if done {
                self.check();
                // Where fewer nodes are left than every write must reach, dead stores stay.
                let nodes = usable(&self.cluster.view).len();
                let constants = self.cluster.view.constants.as_ref().expect("formed");
                if nodes >= usize::from(constants.write_min) {
                    let sets = replica_sets(&self.cluster.view).len();
                    tally.sets_permille = tally.sets_permille.max(1000 * sets / nodes);
                }
            } else {
                let left = self.plan();
                assert!(overtaken, "seed {}: no end: {left:?}", self.seed);
                least = least.min(self.moved);
            }
            tally.changes += 1;
            tally.moves += self.moved;
            tally.least += least;
            let beyond = self.moved.saturating_sub((11 * least).div_ceil(10));
            if beyond > tally.beyond {
                tally.beyond = beyond;
                tally.worst = self.tell(least, (&before, &at_first));
            }
            if let Some(node) = leaver {
                self.gone(node);
            }
        }
        tally.copies += self.copies;
    }

    /// A change that moved more than it should, in words.
    fn tell(&self, least: u64, (before, at_first): (&View, &View)) -> String {
        let now = &self.cluster.view;
        let members = |view: &View| {
            let weights = view.members.iter().map(|(name, one)| (name.clone(), one.weight));
            weights.collect::<Vec<_>>()
        };
        format!(
            "seed {}, {}: {} moves, minimum {least}, {:?} to {:?}, owned {:?} then {:?} then {:?}",
            self.seed,
            self.kind,
            self.moved,
            members(before),
            members(now),
            counts(before),
            counts(at_first),
            counts(now),
        )
    }

    fn plan(&mut self) -> Plan {
        let plan = self.planner.steps(&self.cluster.view, &self.underway, &self.limits);
        if self.rng.below(16) == 0 {
            // A planner that knows nothing plans the same.
            let again = Planner::default().steps(&self.cluster.view, &self.underway, &self.limits);
            assert_eq!(plan, again);
        }
        plan
    }

    /// Plans and carries out, until nothing is left. Says whether that was so within `rounds`.
    fn carry_out(&mut self, rounds: u32, tally: &mut Tally) -> bool {
        for round in 1..=rounds {
            tally.rounds += 1;
            tally.rounds_most = tally.rounds_most.max(round);
            let alive = self.cluster.view.members.keys().cloned().collect();
            let assign = self.planner.ownerless(&self.cluster.view, &alive);
            if !assign.is_empty() {
                self.accept(Change::Assign { cause: String::new(), assign });
            }
            let plan = self.plan();
            self.check_plan(&plan);
            self.underway.filling.clone_from(&plan.filling);
            if plan.steps.is_empty() && self.moving.is_empty() && self.underway.copies.is_empty() {
                return true;
            }
            for step in plan.steps {
                self.begin(step);
            }
            self.end_some();
        }
        false
    }

    fn begin(&mut self, step: Step) {
        match step {
            Step::Move(step) => {
                self.underway.moves.insert(step.shard, step.to.node.clone());
                self.moving.insert(step.shard, step);
            }
            Step::Copy { shard, store } => {
                self.underway.copies.insert((shard, store));
            }
            Step::Drop { shard, store } => {
                self.accept(Change::Shrink { shard, store, when: self.cluster.when(shard) });
            }
        }
    }

    /// Each thing under way comes to its end, or is given up, or goes on.
    fn end_some(&mut self) {
        for (shard, store) in self.underway.copies.clone() {
            match self.rng.below(16) {
                0 => continue,
                1 => {}
                _ => {
                    self.copies += 1;
                    self.accept(Change::Add { shard, store, when: self.cluster.when(shard) });
                }
            }
            self.underway.copies.remove(&(shard, store));
        }
        for (shard, step) in self.moving.clone() {
            match self.rng.below(16) {
                0 => continue,
                1 => {}
                _ => self.hand_over(step),
            }
            self.moving.remove(&shard);
            self.underway.moves.remove(&shard);
        }
    }

    /// What the authority will do at the end of a move: the new owner under a new epoch.
    fn hand_over(&mut self, step: Move) {
        let now = self.cluster.shard(step.shard);
        assert_eq!((now.owner.as_ref(), now.epoch), (Some(&step.from), step.expected_epoch));
        let store = self.cluster.view.members[&step.to.node].store;
        let mut next = now.clone();
        if now.has_records {
            if now.in_sync_generation != step.expected_generation && !now.in_sync.contains(&store) {
                return; // It got its first records meanwhile: the move is refused.
            }
            assert!(now.in_sync.contains(&store), "moved to a store without the records");
        } else if now.in_sync != step.in_sync {
            next.in_sync = step.in_sync;
            next.in_sync_generation += 1;
        }
        self.cluster.index += 1;
        next.epoch = Epoch::new(0, self.cluster.index);
        next.owner = Some(step.to);
        self.cluster.view.shards[usize::from(step.shard.0)] = next.into();
        self.moved += 1;
        // A copy that the fresh holders make needless is over.
        let in_sync = &self.cluster.shard(step.shard).in_sync;
        let copies = &mut self.underway.copies;
        copies.retain(|(shard, store)| *shard != step.shard || !in_sync.contains(store));
        // As `apply` does: a store that no shard and no member has is forgotten.
        let view = &mut self.cluster.view;
        let mut known: BTreeSet<StoreId> = view.members.values().map(|one| one.store).collect();
        if view.stores.len() > known.len() {
            known.extend(view.shards.iter().flat_map(|shard| shard.in_sync.iter().copied()));
            view.stores.retain(|store, _| known.contains(store));
        }
    }

    /// Applies a change that must be accepted, and counts what it moves.
    fn accept(&mut self, change: Change) {
        let owned_by_itself = matches!(change, Change::Add { .. } | Change::Shrink { .. });
        let before = if owned_by_itself { vec![] } else { self.cluster.view.shards.clone() };
        self.cluster.index += 1;
        let proposal = Proposal { id: ChangeId(self.cluster.index.into()), change };
        let outcome = self.cluster.view.apply(self.cluster.index, &proposal);
        assert_eq!(outcome, Outcome::Accepted, "seed {}: {:?}", self.seed, proposal.change);
        // Nothing is repeated here, and looking for repeats takes long.
        self.cluster.view.recent.clear();
        for (old, new) in before.iter().zip(&self.cluster.view.shards) {
            let Some(owner) = new.owner.as_ref().filter(|_| new.owner != old.owner) else {
                continue;
            };
            self.moved += u64::from(old.owner.as_ref().is_none_or(|old| old.node != owner.node));
            let store = self.cluster.view.members[&owner.node].store;
            assert!(!old.has_records || old.in_sync.contains(&store), "a failover lost records");
        }
        let (Change::Evict { assign, .. }
        | Change::Join { assign, .. }
        | Change::Rejoin { assign, .. }
        | Change::Assign { assign, .. }) = proposal.change
        else {
            return;
        };
        for assign in assign {
            let now = self.cluster.shard(assign.shard);
            let Assign { owner, in_sync, lost, .. } = assign;
            assert_eq!(
                (&now.owner, &now.in_sync, now.lost),
                (&owner, &in_sync, lost),
                "as planned"
            );
        }
    }

    /// What was under way from or to a life that has ended is over.
    fn forget_ended(&mut self) {
        let view = &self.cluster.view;
        let lives = |step: &Move| {
            let now = view.shard(step.shard).expect("a shard");
            now.owner.as_ref() == Some(&step.from)
                && now.epoch == step.expected_epoch
                && view.has_boot(&step.to.node, step.to.boot)
        };
        self.moving.retain(|_, step| lives(step));
        let moving = &self.moving;
        self.underway.moves.retain(|shard, _| moving.contains_key(shard));
        self.underway.copies.retain(|(shard, store)| {
            let now = view.shard(*shard).expect("a shard");
            now.owner.is_some()
                && view.member_of_store(*store).is_some()
                && !now.in_sync.contains(store)
        });
    }
}

/// The places of shards that have lost their owner, or had none.
fn lost_owner(before: &View, after: &View) -> Vec<usize> {
    let node = |shard: &Shard| shard.owner.as_ref().map(|owner| owner.node.clone());
    let pairs = before.shards.iter().zip(&after.shards).enumerate();
    pairs.filter(|(_, (old, new))| node(old) != node(new)).map(|(at, _)| at).collect()
}
