//! The nodes a plan may use, and what each owns already.

use std::collections::BTreeMap;

use super::memo::{Memo, Tokens};
use super::sets::{Sets, Stand};
use crate::base::{Boot, NodeId, ShardId, StoreId};
use crate::placement::{Claim, Constants, Member, Owner, Status, View};

/// Most shards of `shards` that a node of `weight` among nodes of `total` weight is planned for:
/// `ceil(1.25 x shards x weight / total)`.
#[must_use]
pub fn cap(shards: u16, weight: u16, total: u64) -> u64 {
    (5 * u64::from(shards) * u64::from(weight)).div_ceil(4 * total.max(1))
}

/// Part of `shards` that falls to a node of `weight` among nodes of `total` weight, rounded down:
/// what a joiner takes.
#[must_use]
pub fn share(shards: u16, weight: u16, total: u64) -> u64 {
    u64::from(shards) * u64::from(weight) / total.max(1)
}

/// How full a node may be: whoever is below its share goes before all others, and whoever is not
/// above it after rounding up before those that are within the cap.
pub(super) const LEVELS: usize = 3;

/// The level of the [`cap`].
pub(super) const CAP: usize = LEVELS - 1;

/// A node.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: NodeId,
    pub(super) boot: Boot,
    pub(super) store: StoreId,
    pub(super) weight: u16,
    /// Number of its zone; one of its own if it has none.
    zone: usize,
    /// It has a weight, stays, and is not dead: it counts in shares, and stands on the circles.
    pub(super) usable: bool,
    /// It does not answer at present: nothing is planned for it.
    pub(super) silent: bool,
    /// It answers, but says that it is not well: it holds what it holds, and owns nothing.
    ailing: bool,
    pub(super) owned: u64,
    /// What it may own at each level.
    room: [u64; LEVELS],
}

/// What is known of a node before all of them are.
pub(super) struct Guest<'a> {
    name: &'a NodeId,
    boot: Boot,
    store: StoreId,
    zone: &'a str,
    weight: u16,
    leaving: bool,
    silent: bool,
    ailing: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Roster<'m> {
    pub(super) memo: &'m mut Memo,
    pub(super) copies: usize,
    pub(super) write_min: usize,
    /// By name.
    pub(super) seats: Vec<Seat>,
    by_store: BTreeMap<StoreId, usize>,
    /// How many seats have room at each level.
    open: [usize; LEVELS],
    /// Tokens with their seats, in the order of the ring; made when it is asked.
    ring: Option<Vec<(u64, usize)>>,
}

impl<'a> Guest<'a> {
    pub(super) fn of_claim(claim: &'a Claim, view: Option<&View>) -> Self {
        let before = view.and_then(|view| view.members.get(&claim.node));
        Self {
            name: &claim.node,
            boot: claim.boot,
            store: claim.store,
            zone: &claim.zone,
            weight: claim.weight,
            leaving: before.is_some_and(|member| member.status == Status::Leaving),
            silent: false,
            ailing: false,
        }
    }

    pub(super) fn of_member(name: &'a NodeId, member: &'a Member, silent: bool) -> Self {
        Self {
            name,
            boot: member.boot,
            store: member.store,
            zone: &member.zone,
            weight: member.weight,
            leaving: member.status == Status::Leaving,
            silent,
            ailing: false,
        }
    }

    /// The same, if it is not well.
    pub(super) fn ailing(self, ailing: bool) -> Self {
        Self { ailing, ..self }
    }
}

impl<'m> Roster<'m> {
    /// A roster for shards that need an owner at once: whoever is silent counts for nothing, and if
    /// only those are left that hand their shards over, they are used.
    pub(super) fn urgent(memo: &'m mut Memo, limits: &Constants, guests: Vec<Guest<'_>>) -> Self {
        let stays = |guest: &Guest<'_>| guest.weight > 0 && !guest.silent && !guest.leaving;
        let anybody = guests.iter().any(stays);
        let usable =
            |guest: &Guest<'_>| guest.weight > 0 && !guest.silent && !(guest.leaving && anybody);
        Self::new(memo, (limits, limits.shards), guests, usable)
    }

    /// A roster for planned steps: whoever is silent keeps its place, because it will be back or
    /// evicted in a moment. Shares are parts of the `owned` shards: what is lost falls to nobody.
    pub(super) fn planned(
        memo: &'m mut Memo,
        limits: &Constants,
        guests: Vec<Guest<'_>>,
        owned: u16,
    ) -> Self {
        Self::new(memo, (limits, owned), guests, |guest| guest.weight > 0 && !guest.leaving)
    }

    fn new(
        memo: &'m mut Memo,
        (limits, shared): (&Constants, u16),
        mut guests: Vec<Guest<'_>>,
        usable: impl Fn(&Guest<'_>) -> bool,
    ) -> Self {
        guests.sort_by(|left, right| left.name.cmp(right.name));
        memo.keep(guests.iter().map(|guest| guest.name));
        let used = guests.iter().filter(|guest| usable(guest) && !guest.ailing);
        let total = used.map(|guest| u64::from(guest.weight)).sum();
        let mut zones = BTreeMap::new();
        let seats = guests.iter().enumerate().map(|(at, guest)| {
            let met = zones.len();
            // The numbers of zones and of nodes without one do not meet.
            let named = 2 * *zones.entry(guest.zone).or_insert(met);
            let usable = usable(guest);
            let weight = if usable && !guest.ailing { guest.weight } else { 0 };
            let floor = share(shared, weight, total);
            let whole = u64::from(shared) * u64::from(weight);
            Seat {
                name: guest.name.clone(),
                boot: guest.boot,
                store: guest.store,
                weight: guest.weight,
                zone: if guest.zone.is_empty() { 2 * at + 1 } else { named },
                usable,
                silent: guest.silent,
                ailing: guest.ailing,
                owned: 0,
                room: [floor, whole.div_ceil(total.max(1)), cap(limits.shards, weight, total)],
            }
        });
        let seats: Vec<Seat> = seats.collect();
        let open = [0, 1, 2].map(|level| seats.iter().filter(|seat| seat.has_room(level)).count());
        Self {
            memo,
            copies: usize::from(limits.copies),
            write_min: usize::from(limits.write_min).max(1),
            by_store: seats.iter().enumerate().map(|(at, seat)| (seat.store, at)).collect(),
            seats,
            open,
            ring: None,
        }
    }

    /// The number of the node named `name`.
    pub(super) fn seat(&self, name: &NodeId) -> Option<usize> {
        self.seats.binary_search_by(|seat| seat.name.cmp(name)).ok()
    }

    /// The number of the node that runs on `store`.
    pub(super) fn seat_of_store(&self, store: StoreId) -> Option<usize> {
        self.by_store.get(&store).copied()
    }

    /// The node owns one shard more.
    pub(super) fn take(&mut self, seat: usize) {
        self.change(seat, |seat| seat.owned += 1);
    }

    /// The node owns one shard fewer.
    pub(super) fn give(&mut self, seat: usize) {
        self.change(seat, |seat| seat.owned -= 1);
    }

    fn change(&mut self, seat: usize, change: impl Fn(&mut Seat)) {
        let seat = &mut self.seats[seat];
        let before = [0, 1, 2].map(|level| usize::from(seat.has_room(level)));
        change(seat);
        for (level, before) in before.into_iter().enumerate() {
            self.open[level] += usize::from(seat.has_room(level));
            self.open[level] -= before;
        }
    }

    /// Its owner, as the view names it.
    pub(super) fn owner(&self, seat: usize) -> Owner {
        let seat = &self.seats[seat];
        Owner { node: seat.name.clone(), boot: seat.boot }
    }

    /// The tokens of a node.
    pub(super) fn tokens(&mut self, seat: usize) -> Tokens {
        let seat = &self.seats[seat];
        self.memo.tokens(&seat.name, seat.weight)
    }

    /// The first node on the shard's walk that is below its share; if there is none, below the
    /// share rounded up, then below the cap. Past that the first that answers: too many shards are
    /// better than no owner.
    pub(super) fn first_on_ring(&mut self, shard: ShardId) -> Option<usize> {
        self.first_with_room(shard).or_else(|| self.walk(shard, |seat| !seat.silent))
    }

    /// The same, within the cap.
    pub(super) fn first_with_room(&mut self, shard: ShardId) -> Option<usize> {
        // Counted: a walk that finds nobody passes every token.
        let level = (0..LEVELS).find(|&level| self.open[level] > 0)?;
        self.walk(shard, |seat| seat.has_room(level))
    }

    fn walk(&mut self, shard: ShardId, test: impl Fn(&Seat) -> bool) -> Option<usize> {
        let point = self.memo.point(shard);
        let Self { ring, memo, seats, .. } = self;
        let ring = ring.get_or_insert_with(|| {
            let used = seats.iter().enumerate().filter(|(_, seat)| seat.usable);
            let mut ring: Vec<(u64, usize)> = Vec::new();
            for (at, seat) in used {
                ring.extend(memo.tokens(&seat.name, seat.weight).iter().map(|&token| (token, at)));
            }
            // Equal points: by name, which is the order of the seats.
            ring.sort_unstable();
            ring
        });
        let start = ring.partition_point(|(token, _)| *token < point);
        let (before, after) = ring.split_at(start);
        after.iter().chain(before).map(|&(_, seat)| seat).find(|&seat| test(&seats[seat]))
    }

    /// The sets of stores, made anew: whoever needs them keeps them.
    pub(super) fn sets(&mut self) -> Sets {
        let Self { memo, seats, copies, .. } = self;
        let used = seats.iter().enumerate().filter(|(_, seat)| seat.usable);
        let stands: Vec<Stand> = used
            .map(|(at, seat)| Stand { seat: at, zone: seat.zone, places: memo.places(&seat.name) })
            .collect();
        Sets::new(&stands, seats.len(), *copies)
    }

    /// The stores of `seats`, sorted.
    pub(super) fn stores(&self, seats: &[usize]) -> Vec<StoreId> {
        let mut stores: Vec<StoreId> = seats.iter().map(|&seat| self.seats[seat].store).collect();
        stores.sort_unstable();
        stores
    }

    /// Of `among` the node that would have least to do, for its weight, with one shard more.
    pub(super) fn idlest(&self, among: impl Iterator<Item = usize>) -> Option<usize> {
        among.min_by(|&left, &right| {
            let (one, other) = (&self.seats[left], &self.seats[right]);
            let mine = (one.owned + 1) * u64::from(other.weight);
            let its = (other.owned + 1) * u64::from(one.weight);
            // Who hands its shards over, or has no weight, comes last.
            let last = |seat: &Seat| !seat.usable || seat.ailing;
            (last(one), mine, left).cmp(&(last(other), its, right))
        })
    }
}

impl Seat {
    /// Whether it may be given a shard at `level`.
    pub(super) fn has_room(&self, level: usize) -> bool {
        self.usable && !self.silent && !self.ailing && self.owned < self.room[level]
    }

    /// What falls to it, rounded down.
    pub(super) fn share(&self) -> u64 {
        self.room[0]
    }

    /// Most it may own.
    pub(super) fn cap(&self) -> u64 {
        self.room[CAP]
    }

    /// Below this it is filled up to its share, and nobody takes from it for a joiner:
    /// three quarters of the share.
    pub(super) fn low(&self) -> u64 {
        (3 * self.share()).div_ceil(4)
    }
}
