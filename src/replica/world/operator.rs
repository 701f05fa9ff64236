//! An operator who sets constants, and a leader who then finds stores one too many.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Input, SHARD, World, config};
use crate::placement::{Change, Constants, Outcome, Precondition, next_copy};

impl World {
    fn constants(&self) -> Constants {
        self.view.constants.clone().expect("formed")
    }

    /// How many stores must hold a write, as the newest view says.
    pub(super) fn write_min(&self) -> usize {
        usize::from(self.constants().write_min)
    }

    /// An operator sets any constants, or a store is found one too many.
    pub(super) fn operate(&mut self, node: usize) {
        if self.chance(3) == 0 {
            // A node that has seen no view yet owns nothing.
            let Some(shard) = self.nodes[node].view.shard(SHARD) else { return };
            let all = &shard.in_sync;
            let store = all[usize::try_from(self.chance(all.len() as u64)).expect("small")];
            self.step(node, Input::Surplus(store));
            return;
        }
        self.widen_bare();
        let copies = 2 + self.chance(2);
        let write_min = 1 + self.chance(copies);
        let few = |count: u64| u8::try_from(count).expect("small");
        self.set(few(copies), few(write_min));
    }

    pub(super) fn set(&mut self, copies: u8, write_min: u8) {
        let seen = self.constants();
        if (seen.copies, seen.write_min) != (copies, write_min) {
            let lease = seen.profile.lease;
            let outcome = self.agree(Change::Set { seen, copies, write_min, lease });
            assert_eq!(outcome, Outcome::Accepted);
        }
    }

    /// A leader wishes more holders of a shard without records, and its owner proposes them at
    /// once: there is nothing to copy.
    pub(super) fn widen_bare(&mut self) {
        let now = self.view.shard(SHARD).expect("there is one shard");
        let Some(owner) = now.owner.clone().filter(|_| !now.has_records) else { return };
        let (epoch, in_sync_generation) = (now.epoch, now.in_sync_generation);
        if let Some(store) = next_copy(&self.view, SHARD) {
            let when = Precondition { owner, epoch, in_sync_generation };
            let outcome = self.agree(Change::Add { shard: SHARD, store, when });
            assert_eq!(outcome, Outcome::Accepted);
        }
    }

    /// An owner acknowledges only what is on `write_min` stores, as the view that it has seen says.
    pub(super) fn check_acked(&self, node: usize, key: &Bytes, revision: u64) {
        let owner = &self.nodes[node];
        let current = owner.machine.as_ref().map(|(epoch, _)| *epoch);
        if current != self.view.shard(SHARD).map(|shard| shard.epoch) {
            return; // Deposed, and does not know it yet: its lease has run out.
        }
        let held = |store: &crate::storage::Store| {
            let record = store.get(SHARD, key).expect("readable");
            record.is_some_and(|record| record.revision >= revision)
        };
        let count = self.nodes.iter().filter(|node| held(&node.store)).count();
        let least = owner.view.constants.as_ref().map_or(1, |all| usize::from(all.write_min));
        let view = Arc::clone(&owner.view);
        let name = &owner.name;
        assert!(count >= least, "{name} acknowledges on {count} of {least}: {:?}", view.shards);
    }
}

proptest! {
    #![proptest_config(config())]

    /// Goal: I2, I3, I5 while an operator sets constants, and no acknowledgement on fewer stores
    /// than the owner knows to be needed. Method: as without one.
    #[test]
    fn constants_hold_from_the_view_on_that_has_them(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.operated = true;
        (0..400).for_each(|_| world.random_step());
        world.set(3, 2);
        world.heal();
    }
}
