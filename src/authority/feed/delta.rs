//! What changed between two views, so that a node need not be sent all of the newer one.
//!
//! `recent` is never sent: it answers repeated proposals where changes are applied, and nobody
//! applies a change to a view that was told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{ClusterId, NodeId, ShardId, StoreId, Version, VoterId};
use crate::placement::{Constants, Departed, Member, Noted, Shard, StoreMark, View};

/// What a map lost and gained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub(super) struct Patch<K, V> {
    gone: Vec<K>,
    put: Vec<(K, V)>,
}

impl<K: Ord + Clone, V: PartialEq + Clone> Patch<K, V> {
    pub(super) fn of(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Self {
        let gone = old.keys().filter(|key| !new.contains_key(key)).cloned().collect();
        let is_new = |(key, value): &(&K, &V)| old.get(key) != Some(value);
        let put = new.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone()));
        Self { gone, put: put.collect() }
    }

    pub(super) fn apply(self, map: &mut BTreeMap<K, V>) {
        for key in &self.gone {
            map.remove(key);
        }
        map.extend(self.put);
    }
}

/// What a queue lost in front and gained behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail<T> {
    dropped: usize,
    added: Vec<T>,
}

impl<T: PartialEq + Clone> Tail<T> {
    pub(super) fn of(old: &VecDeque<T>, new: &VecDeque<T>) -> Self {
        let begins = |dropped: &usize| {
            let kept = old.len() - dropped;
            kept <= new.len() && old.iter().skip(*dropped).eq(new.iter().take(kept))
        };
        // All of it dropped always fits.
        let dropped = (0..=old.len()).find(begins).unwrap_or(old.len());
        let added = new.iter().skip(old.len() - dropped).cloned().collect();
        Self { dropped, added }
    }

    pub(super) fn apply(self, queue: &mut VecDeque<T>) {
        queue.drain(..self.dropped.min(queue.len()));
        queue.extend(self.added);
    }
}

/// The way from one view to a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delta {
    /// Of the view it is made for, and no other.
    pub(super) from: Version,
    /// Of the view it leads to.
    pub(super) to: Version,
    pub(super) quorum_generation: u16,
    pub(super) cluster: ClusterId,
    /// `None`: as before.
    pub(super) constants: Option<Constants>,
    pub(super) members: Patch<NodeId, Member>,
    /// How many shards there are: other numbers than before only at formation.
    pub(super) shard_count: u16,
    pub(super) shards: Vec<(ShardId, Arc<Shard>)>,
    pub(super) stores: Patch<StoreId, StoreMark>,
    pub(super) departed: Tail<Departed>,
    pub(super) voters: BTreeMap<VoterId, NodeId>,
    pub(super) history: Tail<Arc<Noted>>,
}

/// A delta is not for this view, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

impl Delta {
    /// What leads from `old` to `new`.
    pub(super) fn between(old: &View, new: &View) -> Self {
        // Named one by one: a new field of the view does not compile until it is sent, too.
        let View {
            version,
            quorum_generation,
            cluster,
            constants,
            members,
            shards,
            stores,
            recent: _,
            departed,
            voters,
            history,
        } = new;
        let is_new = |(number, shard): &(ShardId, &Arc<Shard>)| {
            let before = old.shards.get(usize::from(number.0));
            before.is_none_or(|before| !Arc::ptr_eq(before, shard) && before != *shard)
        };
        let numbered = (0..).map(ShardId).zip(shards);
        Self {
            from: old.version,
            to: *version,
            quorum_generation: *quorum_generation,
            cluster: *cluster,
            constants: constants.clone().filter(|_| *constants != old.constants),
            members: Patch::of(&old.members, members),
            // At most 32,768: see `Constants::shards`.
            shard_count: u16::try_from(shards.len()).unwrap_or(u16::MAX),
            shards: numbered.filter(is_new).map(|(id, shard)| (id, shard.clone())).collect(),
            stores: Patch::of(&old.stores, stores),
            departed: Tail::of(&old.departed, departed),
            voters: voters.clone(),
            history: Tail::of(&old.history, history),
        }
    }

    /// The newer view, if this leads there from `old`.
    pub(super) fn apply(self, old: &View) -> Result<View, Misfit> {
        if self.from != old.version || self.to <= self.from {
            return Err(Misfit);
        }
        let mut shards = old.shards.clone();
        shards.truncate(usize::from(self.shard_count));
        for (number, shard) in self.shards {
            match (usize::from(number.0), shards.len()) {
                (at, all) if at < all => shards[at] = shard,
                (at, all) if at == all && all < usize::from(self.shard_count) => shards.push(shard),
                _ => return Err(Misfit),
            }
        }
        if shards.len() != usize::from(self.shard_count) {
            return Err(Misfit);
        }
        let (mut members, mut stores) = (old.members.clone(), old.stores.clone());
        self.members.apply(&mut members);
        self.stores.apply(&mut stores);
        let mut departed = old.departed.clone();
        self.departed.apply(&mut departed);
        let mut history = old.history.clone();
        self.history.apply(&mut history);
        Ok(View {
            version: self.to,
            quorum_generation: self.quorum_generation,
            cluster: self.cluster,
            constants: self.constants.or_else(|| old.constants.clone()),
            members,
            shards,
            stores,
            recent: VecDeque::new(),
            departed,
            voters: self.voters,
            history,
        })
    }
}
