//! Shards that change hands while their owners are alive.
//!
//! A move begins with [`Change::Move`](crate::placement::Change::Move) and ends in one of four
//! ways: the owner released the shard and the leader gives it to another
//! ([`Change::HandOver`](crate::placement::Change::HandOver)); the leader takes it back
//! ([`Change::MoveAborted`](crate::placement::Change::MoveAborted)); the life that should take it
//! ends, which takes it back in the same entry; or the owner's life ends. Each of them begins an
//! ownership under a new epoch, so that what was released is never served again.

use super::{in_sync, is_fresh, no_such};
use crate::base::{Epoch, ShardId};
use crate::placement::{Assign, Owner, Refusal, Shard, Transfer, View};

impl View {
    /// Begins moves. Accepted if any of `moves` was.
    pub(super) fn begin_moves(&mut self, moves: &[Transfer]) -> Result<(), Refusal> {
        self.any_of(moves, "it moves nothing", Self::begin_move)
    }

    fn begin_move(&mut self, one: &Transfer) -> Result<bool, Refusal> {
        let shard = one.shard;
        let now = self.shard(shard).ok_or_else(|| no_such(shard))?;
        let same = now.epoch == one.expected_epoch
            && now.in_sync_generation == one.expected_generation
            && now.moving.is_none();
        let moves = now.owner.as_ref().is_some_and(|owner| owner.node != one.to.node);
        if !(same && moves) {
            return Err(Refusal::Stale(shard));
        }
        let to = self.members.get(&one.to.node).filter(|member| member.boot == one.to.boot);
        let Some(to) = to else {
            return Err(Refusal::Boot { node: one.to.node.clone(), boot: one.to.boot });
        };
        if now.has_records && !now.in_sync.contains(&to.store) {
            return Err(in_sync(shard, format!("{} does not hold its records", one.to.node)));
        }
        let next = Shard { moving: Some(one.to.clone()), ..now.clone() };
        Ok(self.put(shard, next))
    }

    /// Gives shards that their owners have released to the next ones. Accepted if any was.
    pub(super) fn hand_over(&mut self, epoch: Epoch, assigns: &[Assign]) -> Result<(), Refusal> {
        let handed = self.any_of(assigns, "it hands nothing over", |view, assign| {
            let now = view.shard(assign.shard).ok_or_else(|| no_such(assign.shard))?;
            if now.owner.is_none() || !is_fresh(now, assign) {
                return Err(Refusal::Stale(assign.shard));
            }
            let next = view.planned(epoch, assign, now, &now.in_sync)?;
            Ok(view.put(assign.shard, next))
        });
        self.forget_stores();
        handed
    }

    /// Takes moves back. Accepted if any was.
    pub(super) fn abort_moves(
        &mut self,
        epoch: Epoch,
        shards: &[(ShardId, Epoch)],
    ) -> Result<(), Refusal> {
        self.any_of(shards, "it takes nothing back", |view, &(shard, expected)| {
            let now = view.shard(shard).ok_or_else(|| no_such(shard))?;
            if now.epoch != expected || now.moving.is_none() || epoch <= now.epoch {
                return Err(Refusal::Stale(shard));
            }
            let next = Shard { epoch, moving: None, ..now.clone() };
            Ok(view.put(shard, next))
        })
    }

    /// Takes back what was on its way to `gone`, a life that ends in this entry.
    pub(super) fn abort_moves_to(&mut self, epoch: Epoch, gone: &Owner) {
        let on_their_way = |shard: &Shard| shard.moving.as_ref() == Some(gone);
        let aborted: Vec<_> = self
            .numbered()
            .filter(|(_, shard)| on_their_way(shard))
            .map(|(number, shard)| (number, Shard { epoch, moving: None, ..shard.clone() }))
            .collect();
        for (number, next) in aborted {
            self.put(number, next);
        }
    }

    /// Changes each of `parts` alone. Accepted if any was, else the first refusal, or `nothing`.
    pub(super) fn any_of<T>(
        &mut self,
        parts: &[T],
        nothing: &str,
        mut change: impl FnMut(&mut Self, &T) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let (mut first, mut changed) = (None, false);
        for part in parts {
            match change(self, part) {
                Ok(one) => changed |= one,
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        let refusal = || first.unwrap_or_else(|| Refusal::Malformed(nothing.into()));
        if changed { Ok(()) } else { Err(refusal()) }
    }
}
