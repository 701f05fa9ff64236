//! The leader's table: one seat per boot, and when each may be evicted. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Span;
use super::refused::{Hearing, Held};
use crate::base::{Boot, Bug, Epoch, Instant, NodeId, ShardId, planted};

/// Shards whose release a table keeps per boot: all there can be. What the view shows is forgotten
/// ([`LeaseTable::applied`]); what finds no room is repeated by the node.
const RELEASED_MAX: usize = 32_768;
/// A loop that is late so often within [`LATE_WITHIN`] leads no more.
const LATE_MAX: usize = 3;
/// In leases D.
const LATE_WITHIN: u32 = 10;

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
    /// The nodes that it finds unreachable.
    pub unreachable: &'a [NodeId],
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
pub(super) struct Seat {
    /// Not evicted before.
    expiry: Instant,
    /// Nor before this, unless it is refused: a Renew has arrived that is not answered yet.
    arrived: Instant,
    /// Marked: an Evict is proposed or about to be.
    evicting: bool,
    /// It released itself: final, and it need not expire.
    released: bool,
    /// No longer extended since then; evicted at expiry.
    pub(super) refused: Option<Instant>,
    /// What is for and against it.
    pub(super) hearing: Hearing,
    /// Shards it gave up, under which epoch.
    shards: BTreeSet<(ShardId, Epoch)>,
}

/// The leases granted by one leadership `K`; later ones are greater. Behind one mutex.
#[derive(Debug, Clone)]
pub struct LeaseTable<K> {
    key: Option<K>,
    /// No eviction before: the table's first D'.
    first: Instant,
    pub(super) seats: BTreeMap<(NodeId, Boot), Seat>,
    /// When the leader's loop was late, oldest first.
    late: Vec<Instant>,
    /// The D' that its expiries have in them.
    at_leader: Duration,
    /// The change of D under way, and since when this table knows of it.
    changing: Option<((Duration, Duration), Instant)>,
    /// Nodes that were refused, and may not join again at once. Outlives the table: it is no
    /// matter of safety.
    pub(super) held: BTreeMap<NodeId, Held>,
}

impl<K> Default for LeaseTable<K> {
    fn default() -> Self {
        Self {
            key: None,
            first: Instant::NEVER,
            seats: BTreeMap::new(),
            late: Vec::new(),
            at_leader: Duration::ZERO,
            changing: None,
            held: BTreeMap::new(),
        }
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
            let held = std::mem::take(&mut self.held);
            let first = now + first_wait(span);
            let at_leader = span.at_leader;
            *self = Self { key: Some(key), first, held, at_leader, ..Self::default() };
        }
        self.stretch(span);
        self.key == Some(key)
    }

    /// Once D grows, whoever renewed before has the longer D' as well: nobody is evicted whose
    /// Renew came within the D that the view shows. To be called before [`Self::mark`].
    pub fn stretch(&mut self, span: Span) {
        let more = span.at_leader.saturating_sub(self.at_leader);
        self.at_leader = span.at_leader;
        if more.is_zero() || self.key.is_none() {
            return;
        }
        self.first = self.first + more;
        for seat in self.seats.values_mut().filter(|seat| seat.refused.is_none()) {
            (seat.expiry, seat.arrived) = (seat.expiry + more, seat.arrived + more);
        }
    }

    /// Whose table it is.
    #[must_use]
    pub fn key(&self) -> Option<K> {
        self.key
    }

    /// A Renew arrived, and the barrier it needs is still to come: what reached the leader in time
    /// is not evicted meanwhile (I6). It extends nothing, and helps nobody who is refused.
    pub fn arrived(&mut self, node: &NodeId, boot: Boot, receipt: Instant, span: Span) {
        if let Some(seat) = self.seats.get_mut(&(node.clone(), boot)) {
            seat.arrived = seat.arrived.max(receipt + span.at_leader);
        }
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
        let seat = seat.or_insert_with(|| Seat::new(first));
        seat.hearing.take(renewal);
        let room = RELEASED_MAX.saturating_sub(seat.shards.len());
        seat.shards.extend(renewal.released.iter().copied().take(room));
        seat.released |= renewal.leaving;
        let evicting = seat.evicting && !planted(Bug::RenewWhileEvicting);
        if evicting || seat.released || seat.refused.is_some() {
            return Err(Denied::Ending);
        }
        seat.expiry = seat.expiry.max(renewal.receipt + span.at_leader);
        seat.hearing.granted(renewal.receipt, span);
        Ok(())
    }

    /// Takes in a member that this table has not heard of: from now on it has one D' to renew. A
    /// boot that has just joined cannot have renewed before.
    pub fn admit(&mut self, node: &NodeId, boot: Boot, now: Instant, span: Span) {
        let expiry = self.first.max(now + first_wait(span));
        self.seats.entry((node.clone(), boot)).or_insert_with(|| Seat::new(expiry));
    }

    /// Whether `boot` may be evicted at `now`: it released itself, or its lease and the table's
    /// first D' are both over.
    #[must_use]
    pub fn is_due(&self, node: &NodeId, boot: Boot, now: Instant) -> bool {
        match self.seats.get(&(node.clone(), boot)) {
            // A mark or a release is final; a late loop takes neither back.
            Some(seat) => {
                let is_over = now >= seat.expiry && now >= self.first;
                let is_silent = now >= seat.arrived || seat.refused.is_some();
                seat.evicting || seat.released || (is_over && is_silent)
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
        seat.or_insert_with(|| Seat::new(first)).evicting = true;
        true
    }

    /// The leader's own loop was late: what it believes of others' silence may be its own. Nobody
    /// is evicted for another D', and what is held against anyone begins anew; what is marked stays
    /// marked, for its Evict may be agreed already.
    ///
    /// True when that happened three times within 10 D: this node should hand its leadership over.
    #[must_use]
    pub fn late_loop(&mut self, now: Instant, span: Span) -> bool {
        if self.key.is_none() {
            return false;
        }
        self.first = self.first.max(now + span.at_leader);
        self.seats.values_mut().for_each(|seat| seat.hearing.begin_anew());
        self.late.retain(|late| now.since(*late) < span.lease * LATE_WITHIN);
        self.late.push(now);
        let too_often = self.late.len() >= LATE_MAX;
        if too_often {
            self.late.clear();
        }
        too_often
    }

    /// Whether the change of D from the first to the second of `change` is over, as far as leases
    /// go: the longer D', which `span` holds, has passed since this table learnt of the change, so
    /// that no grant of before is in force. To be asked in every round; a new leadership counts
    /// anew.
    #[must_use]
    pub fn has_settled(
        &mut self,
        change: Option<(Duration, Duration)>,
        now: Instant,
        span: Span,
    ) -> bool {
        let Some(change) = change else {
            self.changing = None;
            return false;
        };
        let since = match self.changing {
            Some((same, since)) if same == change => since,
            Some(_) | None => now,
        };
        self.changing = Some((change, since));
        now >= since + span.at_leader
    }

    /// Whether `boot` has released itself: it leaves by its own will.
    #[must_use]
    pub fn is_released(&self, node: &NodeId, boot: Boot) -> bool {
        self.seats.get(&(node.clone(), boot)).is_some_and(|seat| seat.released)
    }

    /// Whether `boot` is refused, marked, or has released itself.
    #[must_use]
    pub fn is_ending(&self, node: &NodeId, boot: Boot) -> bool {
        self.seats.get(&(node.clone(), boot)).is_some_and(Seat::is_ending)
    }

    /// When the last Renew of `boot` arrived at this table.
    #[must_use]
    pub fn heard(&self, node: &NodeId, boot: Boot) -> Option<Instant> {
        self.seats.get(&(node.clone(), boot)).and_then(|seat| seat.hearing.heard())
    }

    /// The shards that their owners gave up, with the epoch each gave up.
    pub fn released(&self) -> impl Iterator<Item = (&NodeId, Boot, ShardId, Epoch)> {
        self.seats.iter().flat_map(|((node, boot), seat)| {
            seat.shards.iter().map(move |(shard, epoch)| (node, *boot, *shard, *epoch))
        })
    }

    /// Forgets the boots that the applied view no longer has, and releases that it shows: those of
    /// an epoch that is no longer the shard's.
    pub fn applied(
        &mut self,
        is_member: impl Fn(&NodeId, Boot) -> bool,
        is_current: impl Fn(ShardId, Epoch) -> bool,
    ) {
        let gone = self.seats.extract_if(.., |(node, boot), _| !is_member(node, *boot));
        let refused = |((node, _), seat): ((NodeId, Boot), Seat)| Some((node, seat.refused?));
        for (node, when) in gone.filter_map(refused).collect::<Vec<_>>() {
            self.hold(node, when);
        }
        for seat in self.seats.values_mut() {
            seat.shards.retain(|(shard, epoch)| is_current(*shard, *epoch));
        }
    }
}

impl Seat {
    fn new(expiry: Instant) -> Self {
        Self {
            expiry,
            arrived: Instant::ZERO,
            evicting: false,
            released: false,
            refused: None,
            hearing: Hearing::default(),
            shards: BTreeSet::new(),
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.evicting || self.released || self.refused.is_some()
    }
}
