//! What is true of every view, whatever was agreed.

use std::collections::BTreeSet;

use super::{DEPARTED_MAX, Departed, HISTORY_MAX, RECENT_MAX, Shard, View};
use crate::base::{Epoch, ShardId};

/// States a rule: `Err` with its text where it does not hold.
fn rule(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

impl View {
    /// Checks the rules that hold after every [`View::apply`]. Cost: every shard once; for tests
    /// and simulation.
    ///
    /// # Errors
    /// The first rule that is broken, in words.
    pub fn check(&self) -> Result<(), String> {
        rule(self.recent.len() <= RECENT_MAX, || "too many recent changes".into())?;
        let ids: BTreeSet<_> = self.recent.iter().map(|(id, _)| id).collect();
        rule(ids.len() == self.recent.len(), || "a change was applied twice".into())?;
        rule(self.departed.len() <= DEPARTED_MAX, || "too many departures".into())?;
        for Departed { node, boot, .. } in &self.departed {
            rule(!self.has_boot(node, *boot), || {
                format!("{boot} of {node} departed, and is here")
            })?;
        }
        rule(self.history.len() <= HISTORY_MAX, || "too much history".into())?;
        let versions = self.history.iter().map(|one| one.version);
        rule(versions.is_sorted_by(|left, right| left < right), || "history is unordered".into())?;
        let newest = self.history.back().is_none_or(|last| last.version == self.version);
        rule(newest, || "the last change is not in the history".into())?;
        let Some(constants) = &self.constants else {
            let empty = self.members.is_empty() && self.shards.is_empty() && self.stores.is_empty();
            return rule(empty, || "there is no cluster, but something in it".into());
        };
        rule(self.shards.len() == usize::from(constants.shards), || "shards are missing".into())?;
        self.check_stores()?;
        let newest = Epoch(Epoch::new(self.quorum_generation, 0).0 | ((1 << 48) - 1));
        for (number, shard) in self.numbered() {
            rule(shard.epoch > Epoch::NONE && shard.epoch <= newest, || {
                format!("{number} has an epoch that no entry made: {}", shard.epoch)
            })?;
            self.check_shard(number, shard)?;
        }
        Ok(())
    }

    /// One member per store and voter id; a mark for every store that counts, and no other.
    fn check_stores(&self) -> Result<(), String> {
        let mut used = BTreeSet::new();
        let mut voters = BTreeSet::new();
        for (name, member) in &self.members {
            rule(used.insert(member.store), || format!("two members run on {}", member.store))?;
            rule(member.voter.is_none_or(|voter| voters.insert(voter)), || {
                format!("{name} votes under another's id")
            })?;
            let mark = self.stores.get(&member.store);
            let marked =
                mark.is_some_and(|mark| mark.node == *name && mark.last_boot == member.boot);
            rule(marked, || format!("the mark of {name}'s store is wrong: {mark:?}"))?;
        }
        used.extend(self.shards.iter().flat_map(|shard| shard.in_sync.iter().copied()));
        rule(self.stores.keys().eq(used.iter()), || "marks and stores differ".into())
    }

    /// The owner is a live member that holds the shard; what has records has a holder, or is lost.
    fn check_shard(&self, number: ShardId, shard: &Shard) -> Result<(), String> {
        let sorted = shard.in_sync.is_sorted_by(|left, right| left < right);
        rule(sorted, || format!("in_sync of {number} is not sorted and distinct"))?;
        if let Some(owner) = &shard.owner {
            rule(self.has_boot(&owner.node, owner.boot), || {
                format!("{number} is owned by {} of {}, no member", owner.boot, owner.node)
            })?;
            let store = self.members.get(&owner.node).map(|member| member.store);
            rule(store.is_some_and(|store| shard.in_sync.contains(&store)), || {
                format!("{number} is owned by {}, which does not hold it", owner.node)
            })?;
        }
        if let Some(to) = &shard.moving {
            let other = shard.owner.as_ref().is_some_and(|owner| owner.node != to.node);
            rule(other && self.has_boot(&to.node, to.boot), || {
                format!("{number} is on its way to {} of {}", to.boot, to.node)
            })?;
        }
        let gone = shard.has_records && shard.in_sync.is_empty();
        rule(shard.lost == gone, || format!("{number} is lost: {}, but gone: {gone}", shard.lost))?;
        rule(!shard.lost || shard.owner.is_none(), || format!("{number} is lost and owned"))
    }
}
