//! What the owner proposes: the first records, one store more, one store less.
//!
//! One change at a time, because each names the `in_sync` generation it saw. It is repeated under
//! its id until the view shows what became of it: an answer alone proves nothing that the next
//! takeover would not have to undo.

use super::{Config, Holders, Output, Phase, Primary};
use crate::base::{Instant, StoreId};
use crate::placement::{Change, ChangeId, Outcome, Precondition, Proposal, Refusal};

/// A change that was proposed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    /// The generation it saw.
    pub(super) generation: u64,
    /// The authority has not answered yet.
    asked: bool,
    /// Accepted or overtaken: the view will tell.
    settled: bool,
    retry_at: Instant,
}

impl Pending {
    /// The store that may be a member from now on.
    pub(super) fn adds(&self) -> Option<StoreId> {
        match self.proposal.change {
            Change::Add { store, .. } => Some(store),
            Change::Form { .. }
            | Change::Join { .. }
            | Change::Rejoin { .. }
            | Change::Evict { .. }
            | Change::Assign { .. }
            | Change::Move { .. }
            | Change::HandOver { .. }
            | Change::MoveAborted { .. }
            | Change::Drain { .. }
            | Change::Leave { .. }
            | Change::Set { .. }
            | Change::LeaseSettled { .. }
            | Change::HasRecords { .. }
            | Change::Shrink { .. } => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        if self.asked || self.settled { Instant::NEVER } else { self.retry_at }
    }
}

impl Primary {
    /// Proposes what is due.
    pub(super) fn decide_change(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now < self.changes_pause {
            return;
        }
        self.changes_pause = Instant::ZERO;
        if let Some(change) = &mut self.change {
            if !change.asked && !change.settled && now >= change.retry_at {
                change.asked = true;
                out.push(Output::Propose(change.proposal.clone()));
            }
            return;
        }
        let (shard, when) = (self.config.shard, self.precondition());
        let change = match self.phase {
            Phase::Bare => {
                self.first_holders(now).map(|in_sync| Change::HasRecords { shard, in_sync, when })
            }
            Phase::TakingOver | Phase::Serving if self.holds() => self
                .to_remove()
                .or_else(|| self.to_drop())
                .map(|store| Change::Shrink { shard, store, when: when.clone() })
                .or_else(|| self.ready_to_join().map(|store| Change::Add { shard, store, when })),
            Phase::TakingOver | Phase::Serving | Phase::Sealing | Phase::Deposed => None,
        };
        let Some(change) = change else { return };
        self.changes += 1;
        let id = ChangeId(self.config.ids.wrapping_add(u128::from(self.changes)));
        let proposal = Proposal { id, change };
        out.push(Output::Propose(proposal.clone()));
        self.change = Some(Pending {
            proposal,
            generation: self.holders.generation,
            asked: true,
            settled: false,
            retry_at: now,
        });
    }

    fn precondition(&self) -> Precondition {
        let Config { owner, epoch, .. } = &self.config;
        let in_sync_generation = self.holders.generation;
        Precondition { owner: owner.clone(), epoch: *epoch, in_sync_generation }
    }

    /// Before the first number: the live stores planned for the shard, once all were heard or half
    /// of `ack_timeout` has passed.
    fn first_holders(&self, now: Instant) -> Option<Vec<StoreId>> {
        let since = self.log.waiting_since()?;
        let planned = &self.holders.in_sync;
        let live: Vec<StoreId> =
            planned.iter().copied().filter(|&store| self.is_live(now, store)).collect();
        let waited = now >= since + self.terms.ack_timeout / 2;
        let enough = live.len() >= self.terms.write_min && live.contains(&self.config.own);
        (enough && (waited || live.len() == planned.len())).then_some(live)
    }

    /// A silent store, where `write_min` others stay.
    fn to_remove(&self) -> Option<StoreId> {
        let enough = self.holders.in_sync.len() > self.terms.write_min;
        let silent = self.peers.iter().find(|(_, peer)| peer.silent && !peer.joining);
        silent.filter(|_| enough).map(|(&store, _)| store)
    }

    /// A store that the leader found one too many, if that is so still: R others stay.
    fn to_drop(&self) -> Option<StoreId> {
        let Holders { in_sync, generation, .. } = &self.holders;
        let (store, seen) = self.surplus?;
        let fits = self.phase == Phase::Serving && seen == *generation && in_sync.contains(&store);
        (fits && store != self.config.own && in_sync.len() > self.terms.copies).then_some(store)
    }

    pub(super) fn proposed(
        &mut self,
        now: Instant,
        id: ChangeId,
        outcome: Option<&Outcome>,
        out: &mut Vec<Output>,
    ) {
        let pause = self.terms.ack_timeout / 4;
        let Some(change) = self.change.as_mut().filter(|change| change.proposal.id == id) else {
            return;
        };
        change.asked = false;
        match outcome {
            Some(Outcome::Accepted | Outcome::Refused(Refusal::Stale(_))) => change.settled = true,
            Some(Outcome::Refused(_)) => {
                // Refused for good under this id: nothing of it is or will be in the view.
                let added = change.adds();
                self.change = None;
                self.changes_pause = now + pause;
                if let Some(store) = added {
                    self.give_up(store, out);
                }
            }
            None => change.retry_at = now + pause,
        }
    }
}
