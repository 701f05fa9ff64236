//! Lease arithmetic: the leader's table, and the node's own reckoning. PURE.
//!
//! **The intuition.** A node asks at `s` (its clock) and may act while its clock reads less than
//! `s + D - guard`. The leader reads its own clock when the request arrives, and takes nothing from
//! the node before that reading `+ D'`. Nobody compares the two clocks; only their *rates* must be
//! about right.
//!
//! **The proof.** Let a clock advance, over any time, between `1 - r` and `1 + r` seconds per true
//! second, and `D' = D (1 + r) / (1 - r)`, rounded up ([`lease_at_leader`]).
//! 1. The node's clock reaches `s + D` at most `D / (1 - r)` true seconds after it read `s`; with
//!    the guard it has stopped before.
//! 2. The leader's clock needs at least `D' / (1 + r) = D / (1 - r)` true seconds to advance by
//!    `D'`, counted from the receipt, which comes after `s`.
//! 3. So whatever the delays, the node has stopped when the leader may evict it. An expiry only
//!    moves forward, so this holds for every request that was granted, not just the last.
//! 4. Clocks are read in whole nanoseconds: the leader's may show `D'` when up to one is missing,
//!    which is at most three of the node's (r below one half). A guard of three covers it.
//!
//! While D changes, the leader's `D'` is that of the longer one and the node's D the one that its
//! Grant carries, which is not longer ([`Span`]): 1 and 2 hold all the more.
//!
//! A *new leader* knows no receipts. Every request that an older leader granted was confirmed by a
//! majority after its receipt and before that majority followed the new leader, so it was sent
//! before this leadership's first entry was applied: its table evicts nobody for D' from then. An
//! older leader's marks do no harm: what it proposes is bound to its own leadership.
//!
//! Source: Gray and Cheriton, "Leases", SOSP 1989; the rate form is that of Chubby, OSDI 2006, 2.9.

#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{Boot, Bug, Epoch, Instant, NodeId, ShardId, planted};

/// Requests whose grant a node still waits for; with more, the oldest is given up.
const OUTSTANDING_MAX: usize = 32;

/// Shards whose release a table keeps per boot; more are repeated by the node anyway.
const RELEASED_MAX: usize = 32_768;

/// D' = D (1 + r) / (1 - r), rounded up to whole nanoseconds: how long the leader waits for what a
/// node counts as D, whatever both clocks' rates within r, which is in thousandths and at most 500.
///
/// It saturates at 584 years.
#[must_use]
pub fn lease_at_leader(lease: Duration, drift_permille: u32) -> Duration {
    let drift = u128::from(drift_permille.min(500));
    let nanos = (lease.as_nanos() * (1_000 + drift)).div_ceil(1_000 - drift);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The lengths of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// D, as a Grant carries it.
    pub lease: Duration,
    /// D'; while D changes, that of the longer D.
    pub at_leader: Duration,
}

/// One Renew as the table sees it.
#[derive(Debug, Clone)]
pub struct Renewal<'a> {
    /// Who asks.
    pub node: &'a NodeId,
    /// In which life.
    pub boot: Boot,
    /// The leader's clock when the request arrived, before anything else was done with it.
    pub receipt: Instant,
    /// Whether the applied view has this boot. To be read in the same step.
    pub is_member: bool,
    /// The last grant it received.
    pub last_grant: Option<u64>,
    /// It stops for good.
    pub leaving: bool,
    /// What it gave up.
    pub released: &'a [(ShardId, Epoch)],
}

/// Why the table grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The leadership that would grant is older than the table's.
    OldLeader,
    /// The applied view does not have this boot.
    NotMember,
    /// It is marked, refused, or has released itself.
    Ending,
}

/// What the leader knows of one boot.
#[derive(Debug, Clone)]
struct Seat {
    /// Not evicted before.
    expiry: Instant,
    /// Marked: an Evict is proposed or about to be.
    evicting: bool,
    /// It released itself: final, and it need not expire.
    released: bool,
    /// No longer extended; evicted at expiry.
    refused: bool,
    /// The last grant that its Renews named, and when one first did.
    shown: (Option<u64>, Instant),
    /// When its last Renew arrived, if one did.
    heard: Option<Instant>,
    /// Shards it gave up, under which epoch.
    shards: BTreeSet<(ShardId, Epoch)>,
}

/// The leases granted by one leadership `K`; later ones are greater. Behind one mutex.
#[derive(Debug, Clone)]
pub struct LeaseTable<K> {
    key: Option<K>,
    /// No eviction before: the table's first D'.
    first: Instant,
    seats: BTreeMap<(NodeId, Boot), Seat>,
}

impl<K> Default for LeaseTable<K> {
    fn default() -> Self {
        Self { key: None, first: Instant::NEVER, seats: BTreeMap::new() }
    }
}

/// How long a table waits for those whom it has not heard yet.
fn first_wait(span: Span) -> Duration {
    if planted(Bug::NoFirstWait) { Duration::ZERO } else { span.at_leader }
}

impl<K: Copy + Ord> LeaseTable<K> {
    /// Makes this the table of leadership `key`: a new one if it is another's. To be called when
    /// that leadership's first entry was applied, or later. Says whether `key` may use it.
    pub fn lead(&mut self, key: K, now: Instant, span: Span) -> bool {
        if self.key.is_none_or(|own| own < key) {
            *self = Self { key: Some(key), first: now + first_wait(span), seats: BTreeMap::new() };
        }
        self.key == Some(key)
    }

    /// Whose table it is.
    #[must_use]
    pub fn key(&self) -> Option<K> {
        self.key
    }

    /// Grants or denies one Renew of leadership `key`, in one step, after [`Self::lead`].
    ///
    /// # Errors
    /// [`Denied`]; the expiry is what it was.
    pub fn renew(&mut self, key: K, renewal: &Renewal<'_>, span: Span) -> Result<(), Denied> {
        // `lead` is the caller's: a table must not start at a receipt, which may lie before this
        // leadership's first applied entry.
        if self.key != Some(key) {
            return Err(Denied::OldLeader);
        }
        if !renewal.is_member {
            return Err(Denied::NotMember);
        }
        let first = self.first;
        let seat = self.seats.entry((renewal.node.clone(), renewal.boot));
        let seat = seat.or_insert_with(|| Seat::new(first, renewal.receipt));
        seat.heard = seat.heard.max(Some(renewal.receipt));
        if seat.shown.0 != renewal.last_grant {
            seat.shown = (renewal.last_grant, renewal.receipt);
        }
        let room = RELEASED_MAX.saturating_sub(seat.shards.len());
        seat.shards.extend(renewal.released.iter().copied().take(room));
        seat.released |= renewal.leaving;
        let evicting = seat.evicting && !planted(Bug::RenewWhileEvicting);
        if evicting || seat.released || seat.refused {
            return Err(Denied::Ending);
        }
        seat.expiry = seat.expiry.max(renewal.receipt + span.at_leader);
        Ok(())
    }

    /// Takes in a member that this table has not heard of: from now on it has one D' to renew. A
    /// boot that has just joined cannot have renewed before.
    pub fn admit(&mut self, node: &NodeId, boot: Boot, now: Instant, span: Span) {
        let expiry = self.first.max(now + first_wait(span));
        self.seats.entry((node.clone(), boot)).or_insert_with(|| Seat::new(expiry, now));
    }

    /// Whether `boot` may be evicted at `now`: it released itself, or its lease and the table's
    /// first D' are both over.
    #[must_use]
    pub fn is_due(&self, node: &NodeId, boot: Boot, now: Instant) -> bool {
        match self.seats.get(&(node.clone(), boot)) {
            // A mark or a release is final; a late loop takes neither back.
            Some(seat) => {
                seat.evicting || seat.released || (now >= seat.expiry && now >= self.first)
            }
            None => now >= self.first,
        }
    }

    /// Marks `boot` as being evicted: its renewals are denied from here on. Says whether it was
    /// allowed, or was marked before; only then may the Evict be proposed, as leadership `key`.
    #[must_use]
    pub fn mark(&mut self, key: K, node: &NodeId, boot: Boot, now: Instant) -> bool {
        if self.key != Some(key) || !self.is_due(node, boot, now) {
            return false;
        }
        let first = self.first;
        let seat = self.seats.entry((node.clone(), boot));
        seat.or_insert_with(|| Seat::new(first, now)).evicting = true;
        true
    }

    /// The leader's own loop was late: what it believes of others' silence may be its own. Nobody
    /// is evicted for another D'; what is marked stays marked, for its Evict may be agreed already.
    pub fn late_loop(&mut self, now: Instant, span: Span) {
        if self.key.is_some() {
            self.first = self.first.max(now + span.at_leader);
        }
    }

    /// The boots whose Renews arrive but have shown no grant received for 2 D: the way back to
    /// them is cut. Longest first.
    #[must_use]
    pub fn deaf(&self, now: Instant, span: Span) -> Vec<(NodeId, Boot)> {
        let patience = span.lease * 2;
        let mut deaf: Vec<_> = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.is_ending())
            // It must still be heard; one that is silent runs out by itself.
            .filter(|(_, seat)| seat.heard.is_some_and(|heard| now.since(heard) < span.lease))
            .filter(|(_, seat)| now.since(seat.shown.1) >= patience)
            .map(|(who, seat)| (seat.shown.1, who.clone()))
            .collect();
        deaf.sort();
        deaf.into_iter().map(|(_, who)| who).collect()
    }

    /// Whether `boot` has released itself: it leaves by its own will.
    #[must_use]
    pub fn is_released(&self, node: &NodeId, boot: Boot) -> bool {
        self.seats.get(&(node.clone(), boot)).is_some_and(|seat| seat.released)
    }

    /// Refuses `boot`: its expiry is no longer extended.
    pub fn refuse(&mut self, node: &NodeId, boot: Boot) {
        if let Some(seat) = self.seats.get_mut(&(node.clone(), boot)) {
            seat.refused = true;
        }
    }

    /// Whether `boot` is refused, marked, or has released itself.
    #[must_use]
    pub fn is_ending(&self, node: &NodeId, boot: Boot) -> bool {
        self.seats.get(&(node.clone(), boot)).is_some_and(Seat::is_ending)
    }

    /// When the last Renew of `boot` arrived at this table.
    #[must_use]
    pub fn heard(&self, node: &NodeId, boot: Boot) -> Option<Instant> {
        self.seats.get(&(node.clone(), boot)).and_then(|seat| seat.heard)
    }

    /// The shards that their owners gave up, with the epoch each gave up.
    pub fn released(&self) -> impl Iterator<Item = (&NodeId, Boot, ShardId, Epoch)> {
        self.seats.iter().flat_map(|((node, boot), seat)| {
            seat.shards.iter().map(move |(shard, epoch)| (node, *boot, *shard, *epoch))
        })
    }

    /// Forgets the boots that the applied view no longer has, and releases that it shows.
    pub fn applied(
        &mut self,
        is_member: impl Fn(&NodeId, Boot) -> bool,
        is_current: impl Fn(ShardId, Epoch) -> bool,
    ) {
        self.seats.retain(|(node, boot), _| is_member(node, *boot));
        for seat in self.seats.values_mut() {
            seat.shards.retain(|(shard, epoch)| is_current(*shard, *epoch));
        }
    }
}

impl Seat {
    fn new(expiry: Instant, now: Instant) -> Self {
        Self {
            expiry,
            evicting: false,
            released: false,
            refused: false,
            shown: (None, now),
            heard: None,
            shards: BTreeSet::new(),
        }
    }

    fn is_ending(&self) -> bool {
        self.evicting || self.released || self.refused
    }
}

/// What a node reckons of its own lease.
#[derive(Debug, Clone, Default)]
pub struct NodeLease {
    /// When each request that may still be granted was sent, by nonce.
    outstanding: BTreeMap<u64, Instant>,
    last_grant: Option<u64>,
}

impl NodeLease {
    /// A request is about to be sent; `sent_at` was read before it left.
    pub fn request(&mut self, nonce: u64, sent_at: Instant) {
        self.outstanding.insert(nonce, sent_at);
        if self.outstanding.len() > OUTSTANDING_MAX {
            let oldest = self.outstanding.iter().min_by_key(|(_, sent)| **sent);
            if let Some(oldest) = oldest.map(|(nonce, _)| *nonce) {
                self.outstanding.remove(&oldest);
            }
        }
    }

    /// The request `nonce` was granted for `lease`: gives the instant until which the node may act
    /// by this very grant, once it has applied the view that the grant names. `None`: no such
    /// request is outstanding, and the grant counts for nothing.
    pub fn granted(&mut self, nonce: u64, lease: Duration, guard: Duration) -> Option<Instant> {
        let newest = if planted(Bug::AnyGrant) { self.outstanding.values().max() } else { None };
        let newest = newest.copied();
        let sent_at = self.outstanding.remove(&nonce)?;
        let sent_at = newest.unwrap_or(sent_at);
        self.last_grant = Some(nonce);
        Some(sent_at + lease.saturating_sub(guard))
    }

    /// Nonce of the last grant received.
    #[must_use]
    pub fn last_grant(&self) -> Option<u64> {
        self.last_grant
    }
}

#[cfg(test)]
mod tests;
