//! Which stores are in contact, and when one that was silent may be offered a copy again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Driver;
use crate::authority::{Wish, Wished};
use crate::base::{Epoch, Instant, ShardId, StoreId};
use crate::placement::{Change, ChangeId, Copies, Precondition, Proposal, View};
use crate::replica::primary::Input;

/// Shards that catch a store up at the same time.
const COPIES_MAX: usize = 32;
/// Of these, for copies that only the leader wishes: shards that lack copies are not kept waiting.
const WISHED_MAX: usize = COPIES_MAX / 2;
/// The longest contact that is asked of a store that was silent.
const CONTACT_MAX: Duration = Duration::from_mins(5);

/// What is known of one store.
#[derive(Debug, Default)]
struct Contact {
    heard: Option<Instant>,
    /// Since when every question was answered.
    since: Option<Instant>,
    /// Contact needed before it is offered; zero if it never fell silent.
    needed: Duration,
    probing: bool,
    /// When a probe is due, because copies wait for it.
    probe_at: Option<Instant>,
    /// Shards that want to know when it is heard.
    waiting: BTreeSet<ShardId>,
}

/// Contacts, and the catch-ups that run.
#[derive(Debug, Default)]
pub(super) struct Offers {
    contacts: BTreeMap<StoreId, Contact>,
    copying: BTreeSet<ShardId>,
    probes: BTreeSet<StoreId>,
    offer_after: Duration,
    fresh: Duration,
    /// When shards that lack copies are looked at again.
    look_at: Option<Instant>,
}

impl Offers {
    pub(super) fn applied(&mut self, view: &Arc<View>) {
        if let Some(constants) = &view.constants {
            self.offer_after = constants.profile.offer_after;
            self.fresh = constants.profile.ack_timeout() / 2;
        }
        self.contacts.retain(|store, _| view.stores.contains_key(store));
        // Something may lack copies now.
        self.look_at = Some(Instant::ZERO);
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.look_at.unwrap_or(Instant::NEVER)
    }

    /// When the store was heard, if lately; else it is asked, and `shard` told.
    pub(super) fn probe_for(
        &mut self,
        (now, known): (Instant, Option<Instant>),
        store: StoreId,
        shard: ShardId,
    ) -> Option<Instant> {
        let fresh = self.fresh;
        let contact = self.contacts.entry(store).or_default();
        let is_news =
            |at: &Instant| now.since(*at) < fresh && known.is_none_or(|known| *at > known);
        if let Some(at) = contact.heard.filter(is_news) {
            return Some(at);
        }
        contact.waiting.insert(shard);
        self.probe(store);
        None
    }

    fn probe(&mut self, store: StoreId) {
        let contact = self.contacts.entry(store).or_default();
        if !std::mem::replace(&mut contact.probing, true) {
            self.probes.insert(store);
        }
    }

    pub(super) fn take_probes(&mut self) -> BTreeSet<StoreId> {
        std::mem::take(&mut self.probes)
    }

    /// Notes whether a question was answered, and says which shards wait to hear of it.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        store: StoreId,
        yes: bool,
    ) -> BTreeSet<ShardId> {
        let contact = self.contacts.entry(store).or_default();
        contact.probing = false;
        if yes {
            contact.heard = Some(now);
            let since = *contact.since.get_or_insert(now);
            if now.since(since) >= CONTACT_MAX {
                contact.needed = Duration::ZERO;
            }
            return std::mem::take(&mut contact.waiting);
        }
        contact.since = None;
        BTreeSet::new()
    }

    /// A store was unheard for `ack_timeout`: more contact is asked of it than the last time.
    pub(super) fn fell_silent(&mut self, now: Instant, store: StoreId) {
        let contact = self.contacts.entry(store).or_default();
        contact.since = None;
        contact.needed = (contact.needed * 2).clamp(self.offer_after, CONTACT_MAX);
        self.look_at = Some(now);
    }

    pub(super) fn ended(&mut self, now: Instant, shard: ShardId, store: StoreId, joined: bool) {
        tracing::debug!(%shard, %store, joined, "a copy ended");
        self.copying.remove(&shard);
        if !joined {
            self.contacts.entry(store).or_default().since = None;
        }
        self.look_at = Some(now);
    }

    /// Whether `store` may be offered now; if not, it is asked whether it is there.
    fn may_offer(&mut self, now: Instant, store: StoreId, urgent: bool) -> bool {
        let fresh = self.fresh;
        let contact = self.contacts.entry(store).or_default();
        let needed = if urgent { Duration::ZERO } else { contact.needed };
        let heard = contact.heard.is_some_and(|at| now.since(at) < fresh);
        let long = contact.since.is_some_and(|since| now.since(since) >= needed);
        if !heard && contact.probe_at.is_none_or(|at| at <= now) {
            contact.probe_at = Some(now + fresh / 2);
            self.probe(store);
        }
        heard && long
    }
}

impl Driver {
    /// Does what the leader wishes, as far as it is possible now; what is not comes again.
    pub(super) fn wished(&mut self, wishes: &[Wish]) {
        self.catch_up_with_view();
        let now = self.now();
        for &Wish { shard, epoch, store, what } in wishes {
            let active = self.shards.get(&shard);
            let Some(active) = active.filter(|active| active.machine.has_records()) else {
                self.wished_bare(shard, epoch, (store, what));
                continue;
            };
            if active.epoch != epoch {
                continue;
            }
            let may_copy = active.machine.may_copy(store);
            match what {
                Wished::Drop => self.step(now, shard, Input::Surplus(store)),
                Wished::Copy => {
                    let room = self.offers.copying.len() < WISHED_MAX;
                    if may_copy && room && self.offers.copying.insert(shard) {
                        tracing::debug!(%shard, %store, "a copy begins as the leader wishes");
                        self.step(now, shard, Input::Wished(store));
                    }
                }
            }
        }
    }

    /// Of a shard without records nothing is to be copied: who will hold it is only to be agreed
    /// on. What is repeated before the view shows it is refused, as the generation has moved on.
    fn wished_bare(&mut self, shard: ShardId, epoch: Epoch, wish: (StoreId, Wished)) {
        let view = self.view.clone();
        let Some(now) = view.shard(shard).filter(|now| now.epoch == epoch && !now.has_records)
        else {
            return;
        };
        let Some(owner) = self.ownership(now) else { return };
        let in_sync_generation = now.in_sync_generation;
        let when = Precondition { owner: owner.clone(), epoch, in_sync_generation };
        let change = match wish {
            (store, Wished::Copy) => Change::Add { shard, store, when },
            (store, Wished::Drop) => Change::Shrink { shard, store, when },
        };
        let id = ChangeId(self.shared.parts.seams.rng.next_u128());
        self.gathered.proposals.push((shard, epoch, Proposal { id, change }));
    }

    /// Offers stores to shards that lack copies, if it is time.
    pub(super) fn offer(&mut self, now: Instant) {
        if self.offers.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.offers.look_at = None;
        let lacking: Vec<(ShardId, bool)> = self
            .shards
            .iter()
            .filter_map(|(&shard, active)| Some((shard, active.machine.wants_copy()?)))
            .collect();
        let view = self.view.clone();
        // Made once: for one shard it costs as much as for all.
        let copies = if lacking.is_empty() { None } else { Copies::of(&view) };
        let mut offered = Vec::new();
        // Shards that cannot acknowledge anything come first.
        for urgent in [true, false] {
            for &(shard, _) in lacking.iter().filter(|&&(_, is_urgent)| is_urgent == urgent) {
                if self.offers.copying.len() >= COPIES_MAX {
                    break;
                }
                let candidates = copies.as_ref().map(|copies| copies.candidates(shard));
                let mut candidates = candidates.into_iter().flatten();
                if let Some(store) = candidates.find(|&s| self.offers.may_offer(now, s, urgent)) {
                    self.offers.copying.insert(shard);
                    offered.push((shard, store));
                }
            }
        }
        if !lacking.is_empty() {
            // Contacts ripen, and silent stores come back.
            let again = now + self.offers.fresh.max(Duration::from_millis(1)) / 2;
            self.offers.look_at = Some(again);
        }
        for (shard, store) in offered {
            tracing::debug!(%shard, %store, "a copy begins");
            self.step(now, shard, Input::Offered(store));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were something fresh here and stale to a shard's machine, it would be told the same without
    /// end.
    #[test]
    fn what_a_shard_knows_already_is_asked_for_and_not_told_again() {
        let (store, shard) = (StoreId(7), ShardId(1));
        let at = Instant::ZERO + Duration::from_secs(9);
        let now = at + Duration::from_millis(300);
        let contact = Contact { heard: Some(at), ..Contact::default() };
        let contacts = BTreeMap::from([(store, contact)]);
        let fresh = Duration::from_millis(375);
        let mut offers = Offers { contacts, fresh, ..Offers::default() };
        let earlier = at - Duration::from_secs(1);
        for known in [None, Some(earlier)] {
            assert_eq!(offers.probe_for((now, known), store, shard), Some(at));
            assert!(offers.probes.is_empty(), "it is news: nobody is asked");
        }
        assert_eq!(offers.probe_for((now, Some(at)), store, shard), None);
        assert!(offers.probes.contains(&store) && offers.contacts[&store].waiting.contains(&shard));
    }
}
