//! Changes that a shard's owner proposes for its own (boot, epoch).

use super::{in_sync, is_sorted_set, without};
use crate::base::{ShardId, StoreId};
use crate::placement::{Precondition, Refusal, Shard, View};

impl View {
    /// The owner is about to number its first write: from now on only stores of `in_sync` may take
    /// the shard over. Raises the `in_sync` generation, so that no plan made before it applies.
    pub(super) fn has_records(
        &mut self,
        shard: ShardId,
        stores: &[StoreId],
        when: &Precondition,
    ) -> Result<(), Refusal> {
        let now = self.seen(shard, when)?;
        if now.has_records {
            return Err(Refusal::Stale(shard));
        }
        if !is_sorted_set(stores) {
            return Err(in_sync(shard, "in_sync is not sorted and distinct"));
        }
        if stores.len() < self.write_min() {
            return Err(in_sync(shard, "in_sync would be smaller than write_min"));
        }
        if let Some(store) = stores.iter().find(|&&store| !self.is_live(store)) {
            return Err(in_sync(shard, format!("{store} is no member's")));
        }
        if !self.is_store_of_owner(&now, |own| stores.contains(&own)) {
            return Err(in_sync(shard, "the owner's own store is missing"));
        }
        self.put(shard, Shard { has_records: true, in_sync: stores.to_vec(), ..now });
        self.forget_stores();
        Ok(())
    }

    /// A store that holds everything joins.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        store: StoreId,
        when: &Precondition,
    ) -> Result<(), Refusal> {
        let mut next = self.seen(shard, when)?;
        if !self.is_live(store) {
            return Err(in_sync(shard, format!("{store} is no member's")));
        }
        let Err(place) = next.in_sync.binary_search(&store) else {
            return Err(in_sync(shard, format!("{store} is in in_sync already")));
        };
        next.in_sync.insert(place, store);
        self.put(shard, next);
        Ok(())
    }

    /// A silent store leaves; at least `write_min` others stay, and the owner's own is one of them.
    pub(super) fn shrink(
        &mut self,
        shard: ShardId,
        store: StoreId,
        when: &Precondition,
    ) -> Result<(), Refusal> {
        let now = self.seen(shard, when)?;
        if !now.in_sync.contains(&store) {
            return Err(in_sync(shard, format!("{store} is not in in_sync")));
        }
        if self.is_store_of_owner(&now, |own| own == store) {
            return Err(in_sync(shard, "an owner cannot remove its own store"));
        }
        let stay = without(&now.in_sync, store);
        if stay.len() < self.write_min() {
            return Err(in_sync(shard, "fewer than write_min others would stay"));
        }
        self.put(shard, Shard { in_sync: stay, ..now });
        if !self.is_live(store) {
            self.forget_stores();
        }
        Ok(())
    }

    /// Whether `shard` has an owner whose store is as `test` wants it.
    fn is_store_of_owner(&self, shard: &Shard, test: impl Fn(StoreId) -> bool) -> bool {
        let owner = shard.owner.as_ref().and_then(|owner| self.members.get(&owner.node));
        owner.is_some_and(|member| test(member.store))
    }
}
