//! Goal: whatever is proposed, in whatever order and however late, the rules hold. Method: random
//! nodes come, go and restart; owners change their shards; proposals wait and repeat.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NODES: u16 = 5;
/// Replicas and `write_min`.
const LIMITS: [(u8, u8); 3] = [(1, 1), (2, 2), (3, 2)];

/// What the next proposal is about; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Act {
    Evict {
        node: u16,
        planned: bool,
    },
    Restart {
        node: u16,
        keeps: bool,
    },
    Records {
        shard: u16,
        stores: u8,
    },
    Add {
        shard: u16,
    },
    Shrink {
        shard: u16,
        which: usize,
    },
    Ownerless {
        alive: u8,
    },
    Move {
        shard: u16,
        to: u16,
    },
    /// Of all shards that move; `kept` gives each back to its owner instead.
    HandOver {
        kept: bool,
    },
    Abort,
    Drain {
        node: u16,
        on: bool,
    },
    Leave {
        node: u16,
    },
    Set {
        limits: usize,
        lease: u64,
    },
    Settle,
}

#[derive(Debug, Clone)]
struct Step {
    act: Act,
    /// The proposal is applied only after the next step's.
    late: bool,
    /// It is applied once more at the end.
    repeated: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let (node, shard) = (1..=NODES, 0..SHARDS);
    prop_oneof![
        1 => (node.clone(), any::<bool>()).prop_map(|(node, planned)| Act::Evict { node, planned }),
        3 => (node, prop::bool::weighted(0.8))
            .prop_map(|(node, keeps)| Act::Restart { node, keeps }),
        4 => (shard.clone(), any::<u8>())
            .prop_map(|(shard, stores)| Act::Records { shard, stores }),
        3 => shard.clone().prop_map(|shard| Act::Add { shard }),
        3 => (shard, any::<usize>()).prop_map(|(shard, which)| Act::Shrink { shard, which }),
        2 => any::<u8>().prop_map(|alive| Act::Ownerless { alive }),
        3 => (0..SHARDS, 1..=NODES).prop_map(|(shard, to)| Act::Move { shard, to }),
        2 => prop::bool::weighted(0.2).prop_map(|kept| Act::HandOver { kept }),
        1 => Just(Act::Abort),
        1 => (1..=NODES, any::<bool>()).prop_map(|(node, on)| Act::Drain { node, on }),
        1 => (1..=NODES).prop_map(|node| Act::Leave { node }),
        1 => (0..LIMITS.len(), 1..3_u64).prop_map(|(limits, lease)| Act::Set { limits, lease }),
        1 => Just(Act::Settle),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (act(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(act, late, repeated)| Step { act, late, repeated })
}

/// Directories of the nodes: the last boot written and the store.
#[derive(Debug)]
struct Directories {
    boots: [u64; NODES as usize + 1],
    stores: [u128; NODES as usize + 1],
    minted: u128,
}

impl Directories {
    fn next(&mut self, node: u16, keeps: bool) -> Claim {
        let at = usize::from(node);
        self.boots[at] += 1;
        if !keeps {
            self.minted += 1;
            self.stores[at] = self.minted;
        }
        claim(node, self.boots[at], self.stores[at])
    }
}

fn change(cluster: &Cluster, disks: &mut Directories, act: &Act) -> Option<Change> {
    let view = &cluster.view;
    let owned = |shard: &u16| {
        let shard = ShardId(*shard);
        cluster.shard(shard).owner.is_some().then_some(shard)
    };
    Some(match act {
        Act::Evict { node, planned } => {
            let member = view.members.get(&id(*node))?;
            let assign = if *planned { plan_evict(view, &id(*node)) } else { Vec::new() };
            Change::Evict {
                node: id(*node),
                boot: member.boot,
                cause: String::new(),
                assign,
                released: false,
            }
        }
        Act::Restart { node, keeps } => {
            let claim = disks.next(*node, *keeps);
            let is_member = view.members.contains_key(&id(*node));
            if is_member { cluster.rejoin(claim) } else { cluster.join(claim) }
        }
        Act::Records { shard, stores } => {
            let shard = owned(shard)?;
            let member = |at: &usize| stores >> at & 1 == 1;
            let all = view.members.values().enumerate().filter(|(at, _)| member(at));
            let mut in_sync: Vec<StoreId> = all.map(|(_, member)| member.store).collect();
            in_sync.sort_unstable();
            Change::HasRecords { shard, in_sync, when: cluster.when(shard) }
        }
        Act::Add { shard } => {
            let shard = owned(shard)?;
            let store = next_copy(view, shard)?;
            Change::Add { shard, store, when: cluster.when(shard) }
        }
        Act::Shrink { shard, which } => {
            let shard = owned(shard)?;
            let in_sync = &cluster.shard(shard).in_sync;
            let store = in_sync[which % in_sync.len()];
            Change::Shrink { shard, store, when: cluster.when(shard) }
        }
        Act::Ownerless { alive } => {
            let alive = (1..=NODES).filter(|node| alive >> node & 1 == 1).map(id).collect();
            Change::Assign { cause: String::new(), assign: plan_ownerless(view, &alive) }
        }
        Act::Move { .. }
        | Act::HandOver { .. }
        | Act::Abort
        | Act::Drain { .. }
        | Act::Leave { .. }
        | Act::Set { .. }
        | Act::Settle => return planned(cluster, act),
    })
}

/// What the leader and operators do while all are alive.
fn planned(cluster: &Cluster, act: &Act) -> Option<Change> {
    let (view, cause) = (&cluster.view, String::new);
    let moving = || view.numbered().filter(|(_, shard)| shard.moving.is_some());
    Some(match act {
        Act::Move { shard, to } => {
            let (to, boot) = (id(*to), view.members.get(&id(*to))?.boot);
            Change::Move {
                cause: cause(),
                moves: vec![cluster.transfer(ShardId(*shard), to, boot)],
            }
        }
        Act::HandOver { kept } => {
            let assign = moving().filter_map(|(number, _)| cluster.handing(number, *kept));
            Change::HandOver { cause: cause(), assign: assign.collect() }
        }
        Act::Abort => {
            let shards = moving().map(|(number, shard)| (number, shard.epoch)).collect();
            Change::MoveAborted { cause: cause(), shards }
        }
        Act::Drain { node, on } => {
            let boot = view.members.get(&id(*node))?.boot;
            Change::Drain { node: id(*node), boot, on: *on }
        }
        Act::Leave { node } => {
            Change::Leave { node: id(*node), boot: view.members.get(&id(*node))?.boot }
        }
        Act::Set { limits, lease } => {
            let (seen, lease) = (view.constants.clone()?, Duration::from_secs(*lease));
            let (copies, write_min) = LIMITS[*limits];
            Change::Set { seen, copies, write_min, lease }
        }
        Act::Settle => Change::LeaseSettled { lease: view.constants.as_ref()?.profile.lease },
        _ => return None,
    })
}

/// The store that a change destroys, if it is accepted.
fn destroyed_by(view: &View, change: &Change) -> Option<StoreId> {
    let Change::Rejoin { claim, .. } = change else { return None };
    let old = view.members.get(&claim.node)?.store;
    (old != claim.store).then_some(old)
}

/// What must be so of a view and the one before it.
fn follows(before: &View, after: &View, change: &Change, outcome: &Outcome) {
    let grown = after.version.0 - before.version.0;
    assert_eq!(grown, u64::from(*outcome == Outcome::Accepted), "versions grow with changes");
    let same = View { recent: before.recent.clone(), ..after.clone() } == *before;
    assert_eq!(same, *outcome != Outcome::Accepted, "{change:?}: {outcome:?}");
    let destroyed = destroyed_by(before, change);
    let write_min = usize::from(before.constants.as_ref().expect("formed").write_min);
    for ((number, old), (_, new)) in before.numbered().zip(after.numbered()) {
        assert!(new.epoch >= old.epoch, "{number}: epochs only grow");
        if new.owner.is_some() && new.owner != old.owner {
            assert!(new.epoch > old.epoch, "{number}: an ownership has an epoch of its own");
        }
        if old.moving.is_some() && new.moving.is_none() && new.owner.is_some() {
            assert!(new.epoch > old.epoch, "{number}: a move ends with a new epoch");
        }
        let begins = matches!(change, Change::Move { .. });
        assert!(begins || new.moving.is_none() || new.moving == old.moving, "only Move moves");
        assert!(new.has_records || !old.has_records, "{number}: records never become none");
        let changed = new.in_sync != old.in_sync || new.has_records != old.has_records;
        assert!(new.in_sync_generation >= old.in_sync_generation);
        assert_eq!(changed, new.in_sync_generation > old.in_sync_generation, "{number}");
        if !old.has_records {
            continue;
        }
        let gone: Vec<_> = old.in_sync.iter().filter(|&s| !new.in_sync.contains(s)).collect();
        if gone.iter().any(|&&store| Some(store) != destroyed) {
            assert!(new.in_sync.len() >= write_min, "{number}: {gone:?} left too few");
        }
        let come = new.in_sync.iter().any(|store| !old.in_sync.contains(store));
        assert!(!come || matches!(change, Change::Add { .. }), "{number}: only Add adds");
        if let Some(owner) = new.owner.as_ref().filter(|_| new.owner != old.owner) {
            let store = after.members[&owner.node].store;
            assert!(old.in_sync.contains(&store), "{number}: {owner:?} lacks its records");
        }
    }
}

/// Applies one entry and compares the views before and after it.
fn apply(cluster: &mut Cluster, change: &Change) {
    let before = cluster.view.clone();
    let outcome = cluster.apply(change.clone());
    follows(&before, &cluster.view, change, &outcome);
}

fn run(nodes: u16, (copies, write_min): (u8, u8), steps: &[Step]) {
    let mut cluster = Cluster::formed(nodes, &constants(copies, write_min));
    let mut disks = Directories {
        boots: [1; NODES as usize + 1],
        stores: std::array::from_fn(|node| node as u128),
        minted: 100,
    };
    // A node outside the first members has no boot behind it.
    for node in nodes + 1..=NODES {
        disks.boots[usize::from(node)] = 0;
    }
    let mut waiting: Vec<Change> = Vec::new();
    let mut again: Vec<Proposal> = Vec::new();
    for Step { act, late, repeated } in steps {
        let Some(change) = change(&cluster, &mut disks, act) else { continue };
        let due = std::mem::take(&mut waiting);
        if *late {
            waiting.push(change);
        } else {
            apply(&mut cluster, &change);
            if *repeated {
                again.push(Proposal { id: ChangeId(cluster.index.into()), change });
            }
        }
        for change in due {
            apply(&mut cluster, &change);
        }
    }
    let before = cluster.view.clone();
    for proposal in again {
        cluster.index += 1;
        let outcome = cluster.view.apply(cluster.index, &proposal);
        assert!(before.recent.contains(&(proposal.id, outcome)), "the first answer again");
    }
    assert_eq!(cluster.view, before, "repeats change nothing");
    heal(&mut cluster, &mut disks);
}

/// All nodes come back with their directories: every shard is owned again or lost.
fn heal(cluster: &mut Cluster, disks: &mut Directories) {
    for node in 1..=NODES {
        let act = Act::Restart { node, keeps: true };
        let change = change(cluster, disks, &act).expect("a restart");
        apply(cluster, &change);
        assert!(cluster.view.members.contains_key(&id(node)));
    }
    let alive = cluster.view.members.keys().cloned().collect();
    let assign = plan_ownerless(&cluster.view, &alive);
    if !assign.is_empty() {
        apply(cluster, &Change::Assign { cause: String::new(), assign });
    }
    for (number, shard) in cluster.view.numbered() {
        let waits = shard.in_sync.iter().all(|&s| cluster.view.member_of_store(s).is_none());
        assert!(shard.owner.is_some() || shard.lost || waits, "{number}: {shard:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_changes_keeps_the_rules(
        nodes in 1..=NODES,
        limits in 0..3_usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let limits = LIMITS[limits];
        let limits = if u16::from(limits.1) > nodes { (1, 1) } else { limits };
        run(nodes, limits, &steps);
    }
}
