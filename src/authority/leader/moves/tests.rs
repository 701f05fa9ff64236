use super::*;
use crate::base::Boot;
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{Assign, ChangeId, Outcome, Proposal, plan_join};

/// A cluster whose leader is told what a test says.
struct World {
    view: View,
    index: u64,
    moves: Moves,
    now: Instant,
    released: BTreeSet<(ShardId, Epoch)>,
    ailing: BTreeSet<NodeId>,
    wishes: BTreeMap<NodeId, Vec<Wish>>,
}

impl World {
    fn formed(nodes: u16) -> Self {
        Self {
            view: Cluster::formed(nodes, &constants(3, 2)).view,
            index: 100,
            moves: Moves::default(),
            now: Instant::ZERO + Duration::from_secs(10),
            released: BTreeSet::new(),
            ailing: BTreeSet::new(),
            wishes: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: Change) {
        self.index += 1;
        let proposal = Proposal { id: ChangeId(self.index.into()), change };
        let outcome = self.view.apply(self.index, &proposal);
        assert_eq!(outcome, Outcome::Accepted, "{proposal:?}");
        self.view.check().expect("the view keeps its rules");
    }

    /// One look of the leader, `millis` later.
    fn look(&mut self, millis: u64) -> Vec<Change> {
        self.now = self.now + Duration::from_millis(millis);
        let alive = self.view.members.keys().cloned().collect();
        let (released, ailing) = (&self.released, &self.ailing);
        let known = Known { now: self.now, released, alive: &alive, ailing };
        self.moves.decide(&self.view, &known, &mut self.wishes)
    }

    /// Carries out what the leader says until it says nothing more; owners release at once and do
    /// what is wished of them.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let changes = self.look(1_000);
            let wishes = std::mem::take(&mut self.wishes);
            if changes.is_empty() && wishes.values().all(Vec::is_empty) {
                return;
            }
            for change in changes {
                self.apply(change);
            }
            for wish in wishes.into_values().flatten() {
                self.grant(wish);
            }
            let moving = self.view.numbered().filter(|(_, shard)| shard.moving.is_some());
            self.released = moving.map(|(number, shard)| (number, shard.epoch)).collect();
        }
        panic!("it does not come to an end");
    }

    fn grant(&mut self, wish: Wish) {
        let Some(shard) = self.view.shard(wish.shard).filter(|one| one.epoch == wish.epoch) else {
            return;
        };
        let when = crate::placement::Precondition {
            owner: shard.owner.clone().expect("an owner"),
            epoch: shard.epoch,
            in_sync_generation: shard.in_sync_generation,
        };
        let (shard, store) = (wish.shard, wish.store);
        self.apply(match wish.what {
            Wished::Copy => Change::Add { shard, store, when },
            Wished::Drop => Change::Shrink { shard, store, when },
        });
    }

    fn owned(&self, node: u16) -> usize {
        let owns = |shard: &&std::sync::Arc<Shard>| {
            shard.owner.as_ref().is_some_and(|owner| owner.node == id(node))
        };
        self.view.shards.iter().filter(owns).count()
    }

    fn write_all(&mut self) {
        for number in (0..16).map(ShardId) {
            let shard = self.view.shard(number).expect("a shard");
            let when = crate::placement::Precondition {
                owner: shard.owner.clone().expect("an owner"),
                epoch: shard.epoch,
                in_sync_generation: shard.in_sync_generation,
            };
            let in_sync = shard.in_sync.clone();
            self.apply(Change::HasRecords { shard: number, in_sync, when });
        }
    }

    fn join(&mut self, node: u16) {
        let claim = claim(node, 1, node.into());
        let assign = plan_join(&self.view, &claim);
        self.apply(Change::Join { claim, assign });
    }

    fn drain(&mut self, node: u16) {
        self.apply(Change::Drain { node: id(node), boot: Boot(1), on: true });
    }
}

#[test]
fn where_nothing_is_to_be_moved_nothing_is_said() {
    let mut world = World::formed(3);
    assert_eq!(world.look(1_000), []);
    world.write_all();
    assert_eq!(world.look(1_000), []);
    assert!(world.wishes.is_empty());
}

#[test]
fn a_joiner_gets_its_share_with_and_without_records() {
    for records in [false, true] {
        let mut world = World::formed(3);
        if records {
            world.write_all();
        }
        world.join(4);
        world.settle();
        assert_eq!(world.owned(4), 4, "of 16 shards among 4, records: {records}");
        assert!(world.view.shards.iter().all(|shard| shard.in_sync.len() == 3));
    }
}

#[test]
fn a_node_that_is_drained_ends_up_with_nothing_and_may_leave() {
    let mut world = World::formed(4);
    world.write_all();
    world.drain(2);
    world.settle();
    assert_eq!(world.owned(2), 0);
    world.apply(Change::Leave { node: id(2), boot: Boot(1) });
}

#[test]
fn one_that_is_not_well_owns_nothing_and_keeps_what_it_holds() {
    let mut world = World::formed(3);
    world.write_all();
    world.ailing.insert(id(2));
    world.settle();
    assert_eq!(world.owned(2), 0);
    assert!(world.view.shards.iter().all(|shard| shard.in_sync.len() == 3));
    world.ailing.clear();
    world.settle();
    assert!(world.owned(2) >= 4, "once it is well it gets its part back");
}

#[test]
fn where_most_are_not_well_nothing_is_moved() {
    let mut world = World::formed(3);
    world.write_all();
    world.ailing.extend([id(2), id(3)]);
    assert_eq!(world.look(1_000), []);
}

#[test]
fn a_move_that_is_not_released_is_taken_back_and_the_shard_rests() {
    let mut world = World::formed(3);
    world.write_all();
    world.ailing.insert(id(2));
    let begun = world.look(1_000);
    assert!(matches!(&begun[..], [Change::Move { .. }]), "{begun:?}");
    for change in begun {
        world.apply(change);
    }
    let moving = world.view.moves().len();
    assert!(moving > 0);
    world.look(100);
    assert!(!world.look(1_800).iter().any(|one| matches!(one, Change::MoveAborted { .. })));
    let late = world.look(200);
    let [Change::MoveAborted { shards, .. }] = &late[..] else { panic!("{late:?}") };
    assert_eq!(shards.len(), moving);
    for change in late {
        world.apply(change);
    }
    assert_eq!(world.look(58_000), [], "they rest");
    let again = world.look(4_000);
    assert!(matches!(&again[..], [Change::Move { .. }]), "{again:?}");
}

#[test]
fn a_release_of_another_epoch_hands_nothing_over() {
    let mut world = World::formed(3);
    world.write_all();
    let epoch = world.view.shards[0].epoch;
    world.released.insert((ShardId(0), Epoch(epoch.0 - 1)));
    assert_eq!(world.look(1_000), []);
    world.released = [(ShardId(0), epoch)].into();
    let handed = world.look(10);
    let [Change::HandOver { assign, .. }] = &handed[..] else { panic!("{handed:?}") };
    let [Assign { shard, owner: Some(_), .. }] = &assign[..] else { panic!("{assign:?}") };
    assert_eq!(*shard, ShardId(0));
}
