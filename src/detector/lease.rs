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

mod refused;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Bug, Instant, planted};

pub use self::refused::{Charge, DRAIN_MAX, Heard, REPORTED_FOR};
pub use self::table::{Denied, LeaseTable, Renewal};

/// Requests whose grant a node still waits for; with more, the oldest is given up.
const OUTSTANDING_MAX: usize = 32;

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
