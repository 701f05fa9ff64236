//! What each node says of itself: spread when it changes, and compared with somebody now and then,
//! so that what was missed while a link was down is learnt.
//!
//! Comparing costs one packet of a few bytes while all is the same, however many nodes there are,
//! and all cards in packets of [`PACKET_BYTES_MAX`] where it is not.

use std::time::Duration;

use bytes::Bytes;
use foca::AccumulatingRuntime;
use serde::{Deserialize, Serialize};

use super::alarms::Alarm;
use super::{Gossip, Output, Own};
use crate::base::{Instant, NodeId};
use crate::membership::packet::{Kind, LEAP_MAX, PACKET_BYTES_MAX};
use crate::membership::record::{Card, FAILING_MAX, PROBE_NAME_BYTES_MAX, Record};
use crate::membership::timing::full_sync_every;
use crate::ring;
use crate::wire::{from_data, to_data};

/// How often a node compares its cards with one other's, in periods, in a small cluster.
const SYNC_PERIODS: u32 = 20;

/// Rounds of gossip within which a node says that it has applied a view, if that is all there is to
/// say: views may follow one another fast, and every node applies them.
const VIEW_ROUNDS: u32 = 8;

/// The sum of the hashes of all cards that one node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::membership) struct Digest {
    pub(in crate::membership) sum: u64,
    /// The other side is to send its cards, and its digest after them.
    pub(in crate::membership) asks: bool,
}

/// A number for a card: of two that differ in anything the numbers do, too.
pub(super) fn hash(card: &Card) -> u64 {
    // Plain values encode always.
    ring::point(&[&to_data(card).unwrap_or_default()])
}

impl Gossip {
    /// What this node says of itself from now on.
    pub(super) fn own(&mut self, now: Instant, own: Own, out: &mut Vec<Output>) {
        let Own { leaving, draining, mut failing, zone, view } = own;
        failing.retain(|name| name.len() <= PROBE_NAME_BYTES_MAX);
        failing.truncate(FAILING_MAX);
        let mut card = Card { leaving, draining, failing, zone, view, ..self.card.clone() };
        if card == self.card {
            return;
        }
        card.number = card.number.saturating_add(1);
        let leaves = card.leaving && !self.card.leaving;
        let (view, number) = (self.card.view, self.card.number);
        let is_view_alone = Card { number, view, ..card.clone() } == self.card;
        self.replace_own(card);
        let rounds = if is_view_alone { VIEW_ROUNDS } else { 1 };
        self.say_within(now, self.config.period / 2 * rounds);
        if leaves {
            // It may be gone before the next round.
            self.say();
            let mut effects = AccumulatingRuntime::new();
            if self.swim.gossip(&mut effects).is_err() {
                self.counts.refused += 1;
            }
            self.carry_out(now, &mut effects, out);
        }
    }

    fn replace_own(&mut self, card: Card) {
        self.digest = self.digest.wrapping_sub(hash(&self.card)).wrapping_add(hash(&card));
        self.card = card;
    }

    /// The card is said within half a period.
    pub(super) fn changed(&mut self, now: Instant) {
        self.say_within(now, self.config.period / 2);
    }

    /// What changes until then is said with it.
    fn say_within(&mut self, now: Instant, span: Duration) {
        let at = now + span;
        if self.saying.is_none_or(|saying| at < saying) {
            self.saying = Some(at);
            self.alarms.set(at, Alarm::Say);
        }
    }

    pub(super) fn say(&mut self) {
        self.saying = None;
        self.pass_on(&Record::Card(self.card.clone()).encode());
    }

    fn pass_on(&mut self, record: &Bytes) {
        if self.swim.add_broadcast(record).is_err() {
            self.counts.refused += 1;
        }
    }

    /// A card arrived in the news of `from`.
    pub(super) fn take_card(
        &mut self,
        now: Instant,
        from: &NodeId,
        card: Card,
        out: &mut Vec<Output>,
    ) {
        if let Some(card) = self.merge(now, from, card, out) {
            self.pass_on(&Record::Card(card).encode());
        }
    }

    /// Keeps a card if it is newer than the known one, and returns it then.
    fn merge(
        &mut self,
        now: Instant,
        from: &NodeId,
        card: Card,
        out: &mut Vec<Output>,
    ) -> Option<Card> {
        if card.node == self.me().node {
            self.contradict(now, &card);
            return None;
        }
        let seen = self.members.get_mut(&card.node).filter(|seen| seen.id.boot == card.boot)?;
        let known = seen.card.as_ref().map_or(0, |card| card.number);
        if card.number > known.saturating_add(LEAP_MAX) && card.node != *from {
            self.counts.stripped += 1;
            let owner = card.node.clone();
            self.ask_owner(now, &owner, out);
            return None;
        }
        // Its owner's word for it is the last.
        let is_owners = card.node == *from;
        let replaces = |known: &Card| {
            card.is_newer_than(known) || is_owners && card.number == known.number && card != *known
        };
        if seen.card.as_ref().is_some_and(|known| !replaces(known)) {
            return None;
        }
        let before = seen.card.replace(card.clone());
        let old = before.as_ref().map_or(0, hash);
        self.digest = self.digest.wrapping_sub(old).wrapping_add(hash(&card));
        out.push(Output::Said { before, now: card.clone() });
        Some(card)
    }

    /// Somebody has another card of this very life of this node: it takes a number above.
    fn contradict(&mut self, now: Instant, card: &Card) {
        let is_mine = *card == self.card || card.number < self.card.number;
        let is_leap = card.number > self.card.number.saturating_add(LEAP_MAX);
        if card.boot == self.card.boot && !is_mine && !is_leap {
            self.replace_own(Card { number: card.number.saturating_add(1), ..self.card.clone() });
            self.changed(now);
        }
    }

    pub(super) fn sync_every(&self) -> Duration {
        full_sync_every(self.config.period * SYNC_PERIODS, self.size())
    }

    /// A time from zero to `span`, so that nodes do not act in step.
    pub(super) fn within(&mut self, span: Duration) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.draw(nanos.saturating_add(1)))
    }

    /// Compares all cards with one other member's.
    pub(super) fn sync(&mut self, now: Instant, out: &mut Vec<Output>) {
        // Who has just begun knows no card, and does not wait for its turn.
        let every = if self.synced { self.sync_every() } else { self.config.period };
        self.alarms.set(now + every, Alarm::Sync);
        self.compare(out);
    }

    /// Somebody joined. The news of its card passes by who does not know yet that it is a member,
    /// and of many at once some miss some: soon everybody compares.
    pub(super) fn compare_soon(&mut self, now: Instant) {
        if !self.comparing {
            self.comparing = true;
            let within = self.within(self.config.period * 4);
            self.alarms.set(now + self.config.period * 2 + within, Alarm::Compare);
        }
    }

    pub(super) fn compare(&mut self, out: &mut Vec<Output>) {
        self.comparing = false;
        if self.members.is_empty() {
            return;
        }
        let at = self.draw_index(self.members.len());
        if let Some(to) = self.members.keys().nth(at).cloned() {
            self.send_digest(&to, true, out);
        }
    }

    /// A card that others have of `owner` cannot be believed: it is asked for its own.
    fn ask_owner(&mut self, now: Instant, owner: &NodeId, out: &mut Vec<Output>) {
        if self.may_compare(now, owner) {
            self.send_digest(owner, true, out);
        }
    }

    /// At most once a period with each, whatever it sends.
    fn may_compare(&mut self, now: Instant, node: &NodeId) -> bool {
        let period = self.config.period;
        let Some(seen) = self.members.get_mut(node) else { return false };
        let may = seen.compared.is_none_or(|compared| now >= compared + period);
        if may {
            seen.compared = Some(now);
        }
        may
    }

    fn send_digest(&self, to: &NodeId, asks: bool, out: &mut Vec<Output>) {
        // A number and a flag encode always.
        let body = to_data(&Digest { sum: self.digest, asks }).unwrap_or_default();
        out.push(Output::Send { to: to.clone(), packet: Kind::Digest.framed(&body) });
    }

    pub(super) fn digest(
        &mut self,
        now: Instant,
        from: &NodeId,
        body: &Bytes,
        out: &mut Vec<Output>,
    ) -> Option<()> {
        let theirs: Digest = from_data(body).ok()?;
        if theirs.sum == self.digest {
            self.synced = true;
            return Some(());
        }
        if !self.may_compare(now, from) {
            return Some(());
        }
        let known = self.members.values().filter_map(|seen| seen.card.as_ref());
        let mut packet = Vec::new();
        // A list is a number of cards and then the cards; the number takes two bytes at most.
        let mut lists: Vec<(u16, Vec<u8>)> = Vec::new();
        for card in known.chain([&self.card]) {
            let card = to_data(card).ok()?;
            match lists.last_mut() {
                Some((count, list)) if list.len() + card.len() + 3 <= PACKET_BYTES_MAX => {
                    *count += 1;
                    list.extend_from_slice(&card);
                }
                Some(_) | None => lists.push((1, card.to_vec())),
            }
        }
        for (count, list) in lists {
            packet.clear();
            packet.extend_from_slice(&to_data(&count).ok()?);
            packet.extend_from_slice(&list);
            out.push(Output::Send { to: from.clone(), packet: Kind::Cards.framed(&packet) });
        }
        if theirs.asks {
            self.send_digest(from, false, out);
        }
        Some(())
    }

    pub(super) fn cards(
        &mut self,
        now: Instant,
        from: &NodeId,
        body: &Bytes,
        out: &mut Vec<Output>,
    ) -> Option<()> {
        let cards: Vec<Card> = from_data(body).ok()?;
        self.synced = true;
        for card in cards {
            let is_own = card.node == *from;
            // Who sends its own may be new: others will not have it.
            if let Some(card) = self.merge(now, from, card, out)
                && is_own
            {
                self.pass_on(&Record::Card(card).encode());
            }
        }
        Some(())
    }
}
