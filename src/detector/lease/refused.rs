//! Which boot is refused though its Renews arrive: one that the cluster can do nothing with. PURE.
//!
//! **The intuition.** A lease says that a node reaches the leader. It does not say that the leader,
//! or anybody else, reaches the node. Two things tell: a node to which no grant gets through never
//! names the last one, and a node that most of the others cannot reach is named in their Renews.
//!
//! Each cut, thought through. Voters relay Renews, and gossip has others probe, too, so that a node
//! is found unreachable only where no way leads round the cut:
//! - *Leader and node, both ways or one*: Renews and grants go over another voter, as probes do. At
//!   most each reports the other, which is one report. Nothing follows.
//! - *Two nodes that do not lead*: one report each way at most. Nothing follows.
//! - *Bridge*, two halves that both reach the leader: probes go over it. In a cluster so large that
//!   they seldom find it, each half names the other; the reports of the larger half count if they
//!   are half of all, and then the smaller half goes, one after the other, and nobody else.
//! - *The node hears nobody*: all others name it, it names them all, and its Renews show no grant.
//!   It alone is refused, after 1 s of reports or 2 D of grants.
//! - *Nobody hears the node*: silence. Its lease runs out; it is not refused.
//! - *Only the leader reaches the node*: as with the bridge.
//!
//! Who is named more often than the accused does not count against it: of a node that is cut off
//! from all, and so names all, nothing is believed.
//!
//! Differs from Rapid (Suresh et al., USENIX ATC 2018), whose observers are few and fixed: here
//! every member's observation counts once, as the lease brings it anyway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Span;
use super::table::{LeaseTable, Renewal};
use crate::base::{Boot, Instant, NodeId};

/// Reports against a boot count when they have lasted so long.
pub const REPORTED_FOR: Duration = Duration::from_secs(1);
/// A refused boot's shards are moved away from it for so long, until it is evicted at the latest.
pub const DRAIN_MAX: Duration = Duration::from_millis(500);
/// Fewer reports never count.
const REPORTS_MIN: usize = 2;
/// In leases D: a boot that shows no grant for so long is deaf.
const DEAF_AFTER: u32 = 2;
/// Longest time that a node which was refused must be heard again before it may join.
const HOLD_MAX: Duration = Duration::from_mins(5);
/// In leases D: within so long who asks to join has asked every voter.
const ROUND_OF_VOTERS: u32 = 5;
/// Nodes held back; with more, the one heard longest ago is forgotten.
const HELD_MAX: usize = 1_024;

/// What is held against one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// How many members find it unreachable; 0: it is deaf.
    pub reports: usize,
}

/// What is for and against one boot.
#[derive(Debug, Clone, Default)]
pub(super) struct Hearing {
    /// When its last Renew arrived, if one did.
    heard: Option<Instant>,
    /// The last grant that its Renews named.
    shown: Option<u64>,
    /// The first and the last grant since then, by the receipts of the Renews.
    unshown: Option<(Instant, Instant)>,
    /// Whom it finds unreachable, by its last Renew.
    unreachable: BTreeSet<NodeId>,
    /// Since when enough members report it.
    reported: Option<Instant>,
}

impl Hearing {
    /// Takes in a Renew, unless a later one came before.
    pub(super) fn take(&mut self, renewal: &Renewal<'_>) {
        if self.heard.is_some_and(|heard| renewal.receipt < heard) {
            return;
        }
        self.heard = Some(renewal.receipt);
        if self.shown != renewal.last_grant {
            self.shown = renewal.last_grant;
            self.unshown = None;
        }
        if !self.unreachable.iter().eq(renewal.unreachable) {
            self.unreachable = renewal.unreachable.iter().cloned().collect();
        }
    }

    /// A Renew was granted. Counts anew after a time in which none was: then the leader was the one
    /// that could not.
    pub(super) fn granted(&mut self, receipt: Instant, span: Span) {
        let (first, last) = self.unshown.unwrap_or((receipt, receipt));
        let first = if receipt.since(last) < span.lease { first } else { receipt };
        self.unshown = Some((first, last.max(receipt)));
    }

    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Nothing that is known was observed while the leader's loop ran as it should.
    pub(super) fn begin_anew(&mut self) {
        (self.unshown, self.reported) = (None, None);
    }

    /// Whether it is there to be asked: one that is silent runs out by itself.
    fn is_heard(&self, now: Instant, span: Span) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < span.lease)
    }

    fn is_deaf(&self, now: Instant, span: Span) -> bool {
        let patience = span.lease * DEAF_AFTER;
        self.unshown.is_some_and(|(first, _)| now.since(first) >= patience)
    }
}

impl<K: Copy + Ord> LeaseTable<K> {
    /// What is held against the boots whose Renews arrive: they are *deaf*, for their Renews have
    /// shown no grant for 2 D, or *reported*, for at least 2 and at least half of the members not
    /// named more often themselves have found them unreachable for 1 s. The most reported first,
    /// then the longest deaf.
    ///
    /// To be asked in every round, after [`Self::applied`]: reports count from the first round
    /// that sees them.
    #[must_use]
    pub fn charges(&mut self, now: Instant, span: Span) -> Vec<Charge> {
        let reports = self.reports(now, span);
        let mut charges = Vec::new();
        for ((node, boot), seat) in &mut self.seats {
            let against = reports.get(node).copied();
            let since = against.map(|_| seat.hearing.reported.unwrap_or(now));
            seat.hearing.reported = since;
            if seat.is_ending() || !seat.hearing.is_heard(now, span) {
                continue;
            }
            let lasted = since.is_some_and(|since| now.since(since) >= REPORTED_FOR);
            let reports = against.filter(|_| lasted).unwrap_or(0);
            if reports > 0 || seat.hearing.is_deaf(now, span) {
                let order = (Reverse(reports), seat.hearing.unshown.map(|(first, _)| first));
                charges.push((order, Charge { node: node.clone(), boot: *boot, reports }));
            }
        }
        // Stable: of equals the first by name.
        charges.sort_by_key(|(order, _)| *order);
        charges.into_iter().map(|(_, charge)| charge).collect()
    }

    /// Who is reported by enough members, and by how many that count.
    fn reports(&self, now: Instant, span: Span) -> BTreeMap<NodeId, usize> {
        let heard = self.seats.iter().filter(|(_, seat)| seat.hearing.is_heard(now, span));
        let reporters: Vec<_> =
            heard.map(|((node, _), seat)| (node, &seat.hearing.unreachable)).collect();
        let mut named: BTreeMap<&NodeId, Vec<&NodeId>> = BTreeMap::new();
        for (reporter, unreachable) in reporters {
            for node in unreachable.iter().filter(|node| *node != reporter) {
                named.entry(node).or_default().push(reporter);
            }
        }
        let times = |node: &NodeId| named.get(node).map_or(0, Vec::len);
        let members: BTreeSet<&NodeId> = self.seats.keys().map(|(node, _)| node).collect();
        let enough = |(node, by): (&&NodeId, &Vec<&NodeId>)| {
            let counts = |member: &NodeId| times(member) <= by.len();
            let able = members.iter().filter(|member| counts(member)).count();
            let reports = by.iter().filter(|reporter| counts(reporter)).count();
            let is_enough = reports >= REPORTS_MIN && reports * 2 >= able;
            is_enough.then(|| ((*node).clone(), reports))
        };
        named.iter().filter_map(enough).collect()
    }

    /// Refuses `boot` from `now` on: its expiry is no longer extended.
    pub fn refuse(&mut self, node: &NodeId, boot: Boot, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&(node.clone(), boot)) {
            seat.refused.get_or_insert(now);
        }
    }

    /// The refused boots that shards are moved away from at `now`: at most [`DRAIN_MAX`] long.
    pub fn drained(&self, now: Instant) -> impl Iterator<Item = (&NodeId, Boot)> {
        let refused = self.seats.iter().filter(move |(_, seat)| {
            seat.refused.is_some_and(|since| now.since(since) < DRAIN_MAX)
        });
        refused.map(|((node, boot), _)| (node, *boot))
    }

    /// Whether `boot` is refused.
    #[must_use]
    pub fn is_refused(&self, node: &NodeId, boot: Boot) -> bool {
        self.seats.get(&(node.clone(), boot)).is_some_and(|seat| seat.refused.is_some())
    }

    /// A boot that was refused at `when` is no member any more.
    pub(super) fn hold(&mut self, node: NodeId, when: Instant) {
        if self.held.len() >= HELD_MAX && !self.held.contains_key(&node) {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.contact);
            if let Some(oldest) = oldest.map(|(node, _)| node.clone()) {
                self.held.remove(&oldest);
            }
        }
        let held = self.held.entry(node).or_default();
        // After so long in peace, what was before counts no more.
        if held.contact.is_some_and(|(last, _)| when.since(last) >= HOLD_MAX) {
            held.times = 0;
        }
        (held.times, held.contact) = (held.times.saturating_add(1), None);
        held.through.clear();
    }

    /// Whether a node that is no member and asks at `now` to be one may join: one that was refused
    /// must be heard for `after` first, without a gap of D, and for twice as long with each further
    /// time, at most 300 s; and lately by a majority of the voters, not just by the one that
    /// reaches it. Else a cut that lasts would have it join and be refused without end.
    #[must_use]
    pub fn may_join(
        &mut self,
        heard: &Heard<'_>,
        now: Instant,
        span: Span,
        after: Duration,
    ) -> bool {
        let Some(held) = self.held.get_mut(heard.node) else { return true };
        let (last, first) = held.contact.unwrap_or((now, now));
        let first = if now.since(last) < span.lease { first } else { now };
        held.contact = Some((now, first));
        held.through.insert(heard.through.clone(), now);
        // It asks one voter after another, and those that do not answer take their time.
        let lately = after.max(span.lease * ROUND_OF_VOTERS);
        held.through.retain(|voter, at| heard.voters.contains(voter) && now.since(*at) < lately);
        let own = usize::from(heard.votes);
        let others = heard.voters.iter().filter(|voter| *voter != heard.node).count();
        let reached = held.through.keys().filter(|voter| *voter != heard.node).count();
        let by_most = (reached + own) * 2 > others + own || heard.voters.is_empty();
        let doubled = after.saturating_mul(1 << held.times.saturating_sub(1).min(16));
        by_most && now.since(first) >= doubled.min(HOLD_MAX)
    }
}

/// Who asks to join, and who received it.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// Who asks.
    pub node: &'a NodeId,
    /// The voter that received it: the leader, or the one that passed it on.
    pub through: &'a NodeId,
    /// The voters that are members; none where the view does not say yet who votes.
    pub voters: &'a BTreeSet<NodeId>,
    /// Whether it votes itself, though it is no member.
    pub votes: bool,
}

/// A node that was refused, and may not join at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// How often it was refused.
    times: u32,
    /// When it asked last, and since when it asks without a gap.
    contact: Option<(Instant, Instant)>,
    /// When each voter received it last.
    through: BTreeMap<NodeId, Instant>,
}
