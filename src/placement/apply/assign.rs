//! Planned owners and holders, shard by shard: each assign is accepted or refused alone.

use std::collections::BTreeMap;

use super::{in_sync, is_fresh, is_sorted_set, no_such, without};
use crate::base::{Bug, Epoch, ShardId, StoreId, planted};
use crate::placement::{Assign, Owner, Refusal, Shard, View};

/// A life that ends in an entry, and what becomes of its store.
pub(super) struct Ended<'a> {
    /// The life.
    pub(super) owner: &'a Owner,
    /// Its store.
    pub(super) store: StoreId,
    /// The store is gone for good; otherwise its directory may come back.
    pub(super) destroyed: bool,
}

impl View {
    /// Gives ownerless shards an owner. Accepted if any of `assigns` was.
    pub(super) fn assign(&mut self, epoch: Epoch, assigns: &[Assign]) -> Result<(), Refusal> {
        let assigned =
            self.any_of(assigns, "it changes nothing", |view, one| view.assign_one(epoch, one));
        self.forget_stores();
        assigned
    }

    /// Gives one ownerless shard an owner. Says whether that changed anything.
    pub(super) fn assign_one(&mut self, epoch: Epoch, assign: &Assign) -> Result<bool, Refusal> {
        let now = self.shard(assign.shard).ok_or_else(|| no_such(assign.shard))?;
        // A live owner loses a shard only by its own release, or by the end of its boot.
        if now.owner.is_some() || !is_fresh(now, assign) {
            return Err(Refusal::Stale(assign.shard));
        }
        let next = self.planned(epoch, assign, now, &now.in_sync)?;
        Ok(self.put(assign.shard, next))
    }

    /// Ends a boot in every shard. The caller has changed the members already. What `assigns` plans
    /// for the boot's shards and for ownerless ones is copied where it was planned from the shard
    /// as it is; all other shards of the boot become ownerless. That is unconditional.
    pub(super) fn end(&mut self, epoch: Epoch, ended: &Ended<'_>, assigns: &[Assign]) {
        // Of two plans for one shard the first counts.
        let plans: BTreeMap<ShardId, &Assign> =
            assigns.iter().rev().map(|assign| (assign.shard, assign)).collect();
        for shard in (0..).map(ShardId).take(self.shards.len()) {
            let Some(now) = self.shard(shard) else { continue };
            let held = now.in_sync.contains(&ended.store);
            let owned = now.owner.as_ref() == Some(ended.owner);
            let plan = plans.get(&shard).filter(|plan| is_fresh(now, plan));
            if !(held || owned || now.owner.is_none() && plan.is_some()) {
                continue;
            }
            let left = self.left_behind(now, ended, owned);
            // A plan says explicitly whether an evicted store stays; a destroyed one cannot.
            let holders = if ended.destroyed {
                without(&now.in_sync, ended.store)
            } else {
                now.in_sync.clone()
            };
            let next = match plan {
                Some(plan) if owned || now.owner.is_none() => {
                    self.planned(epoch, plan, now, &holders).unwrap_or(left)
                }
                Some(_) | None => left,
            };
            self.put(shard, next);
        }
        self.abort_moves_to(epoch, ended.owner);
        self.forget_stores();
    }

    /// The shard after the end of a boot, if nothing was planned for it.
    fn left_behind(&self, now: &Shard, ended: &Ended<'_>, owned: bool) -> Shard {
        let mut next = now.clone();
        if owned {
            (next.owner, next.moving) = (None, None);
        }
        if !now.in_sync.contains(&ended.store) {
            return next;
        }
        let others = without(&now.in_sync, ended.store);
        // Only live others count: the directory of an evicted node may be needed again as long as
        // fewer than write_min stores can serve.
        let serving = others.iter().filter(|&&store| self.is_live(store)).count();
        if ended.destroyed || serving >= self.write_min() {
            next.in_sync = others;
        }
        if next.in_sync.is_empty() {
            // Only a destroyed store leaves nothing behind.
            (next.owner, next.moving) = (None, None);
            next.lost = next.has_records;
        }
        next
    }

    /// What `assign` makes of the shard `now`, whose records are on `holders`.
    pub(super) fn planned(
        &self,
        epoch: Epoch,
        assign: &Assign,
        now: &Shard,
        holders: &[StoreId],
    ) -> Result<Shard, Refusal> {
        let shard = assign.shard;
        if now.lost {
            return Err(in_sync(shard, "it is lost: only an operator gives its records up"));
        }
        if assign.lost {
            let is_lost = now.has_records && holders.is_empty();
            if !is_lost || assign.owner.is_some() || !assign.in_sync.is_empty() {
                return Err(in_sync(shard, "it is not lost"));
            }
            let lost = Shard { owner: None, in_sync: Vec::new(), lost: true, ..now.clone() };
            return Ok(Shard { moving: None, ..lost });
        }
        if assign.in_sync.is_empty() || !is_sorted_set(&assign.in_sync) {
            return Err(in_sync(shard, "in_sync is empty, or not sorted and distinct"));
        }
        if now.has_records {
            self.keeps_records(assign, holders)?;
        } else if let Some(store) = assign.in_sync.iter().find(|&&store| !self.is_live(store)) {
            return Err(in_sync(shard, format!("{store} is no member's")));
        }
        let in_sync = assign.in_sync.clone();
        let mut next = Shard { owner: None, moving: None, in_sync, ..now.clone() };
        if let Some(owner) = &assign.owner {
            self.can_own(assign, owner)?;
            // A second assignment in one entry would repeat an epoch.
            if epoch <= now.epoch {
                return Err(Refusal::Stale(shard));
            }
            next.epoch = epoch;
            if planted(Bug::EpochReused) && now.epoch != Epoch::NONE {
                next.epoch = now.epoch;
            }
            next.owner = Some(owner.clone());
        }
        Ok(next)
    }

    /// No store without the records comes in, no live one goes, and a dead one goes only where
    /// `write_min` live ones stay.
    fn keeps_records(&self, assign: &Assign, holders: &[StoreId]) -> Result<(), Refusal> {
        let shard = assign.shard;
        if let Some(store) = assign.in_sync.iter().find(|&store| !holders.contains(store)) {
            return Err(in_sync(shard, format!("{store} does not hold its records")));
        }
        let mut gone = holders.iter().filter(|&store| !assign.in_sync.contains(store)).peekable();
        if gone.peek().is_none() {
            return Ok(());
        }
        if let Some(store) = gone.find(|&&store| self.is_live(store)) {
            return Err(in_sync(shard, format!("{store} is live and holds its records")));
        }
        let serving = assign.in_sync.iter().filter(|&&store| self.is_live(store)).count();
        if serving < self.write_min() {
            return Err(in_sync(shard, "fewer than write_min live stores would stay"));
        }
        Ok(())
    }

    /// An owner is a member in its present boot whose store is in `in_sync`.
    fn can_own(&self, assign: &Assign, owner: &Owner) -> Result<(), Refusal> {
        let member = self.members.get(&owner.node).filter(|member| member.boot == owner.boot);
        let Some(member) = member else {
            return Err(Refusal::Boot { node: owner.node.clone(), boot: owner.boot });
        };
        if !assign.in_sync.contains(&member.store) {
            return Err(in_sync(assign.shard, "the owner's store is not in in_sync"));
        }
        Ok(())
    }
}
