//! The lease arithmetic over clocks with rate errors: the proof in the module's doc, tried out.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Readings in whole nanoseconds can cost the node's clock this much: point 4 of the proof.
pub(super) const READINGS: u64 = 3;

/// What happens to one Renew, in true nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) wait: u64,
    pub(super) to_leader: u64,
    pub(super) to_node: Option<u64>,
}

/// A clock whose rate changes after every piece of true time, round and round.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) start: u64,
    pub(super) piece: u64,
    /// In thousandths of the right rate.
    pub(super) rates: Vec<u64>,
}

impl Clock {
    pub(super) fn steady(rate: u64) -> Self {
        Self { start: 77 * MS, piece: 1, rates: vec![rate] }
    }

    /// What it shows at true time `now`: whole nanoseconds, rounded down.
    pub(super) fn read(&self, now: u64) -> Instant {
        let rates: Vec<u128> = self.rates.iter().map(|&rate| rate.into()).collect();
        let (piece, now) = (u128::from(self.piece), u128::from(now));
        let round = piece * rates.len() as u128;
        let mut thousandths = now / round * piece * rates.iter().sum::<u128>();
        let mut rest = now % round;
        for rate in rates {
            let part = rest.min(piece);
            thousandths += part * rate;
            rest -= part;
        }
        let shown = u64::try_from(thousandths / 1_000).expect("the tests are short");
        Instant::from_nanos(self.start + shown)
    }
}

/// A node, a leader, and how they reckon.
#[derive(Debug, Clone)]
struct World {
    node: Clock,
    leader: Clock,
    span: Span,
    guard: Duration,
}

impl World {
    /// Runs the exchanges, and has the leader evict as early as its table ever lets it, to the true
    /// nanosecond. Gives for how many nanoseconds of its clock the node still acts then.
    fn overlap(&self, exchanges: &[Exchange]) -> u64 {
        let mut table = LeaseTable::default();
        assert!(table.lead(1, self.leader.read(0), self.span));
        let mut lease = NodeLease::default();
        let mut queue = BTreeSet::new();
        let mut sent = 0;
        for (nonce, one) in (0..).zip(exchanges) {
            sent += one.wait;
            queue.insert((sent, 0, nonce, None));
            queue.insert((sent + one.to_leader, 1, nonce, one.to_node));
        }
        let (mut evicted, mut until) = (None, Instant::ZERO);
        while let Some((now, kind, nonce, to_node)) = queue.pop_first() {
            match kind {
                0 => lease.request(nonce, self.node.read(now)),
                1 => {
                    let receipt = self.leader.read(now);
                    if table.renew(1, &renewal(&node(), receipt), self.span).is_ok()
                        && let Some(delay) = to_node
                    {
                        queue.insert((now + delay, 2, nonce, None));
                    }
                }
                _ => {
                    let granted = lease.granted(nonce, self.span.lease, self.guard);
                    until = until.max(granted.unwrap_or(Instant::ZERO));
                }
            }
            let next = queue.first().map_or(u64::MAX / 4_000, |next| next.0);
            if evicted.is_none() {
                evicted = self.due_between(&table, now, next);
                let marked = |when| table.mark(1, &node(), Boot(1), self.leader.read(when));
                assert!(evicted.is_none_or(marked));
            }
        }
        let evicted = self.node.read(evicted.expect("every lease runs out"));
        until.as_nanos().saturating_sub(evicted.as_nanos())
    }

    /// The first true nanosecond in `from..=to` at which the table lets the boot be evicted.
    fn due_between(&self, table: &LeaseTable<u64>, from: u64, to: u64) -> Option<u64> {
        let due = |now| table.is_due(&node(), Boot(1), self.leader.read(now));
        if !due(to) {
            return None;
        }
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            if due(middle) { high = middle } else { low = middle + 1 }
        }
        Some(low)
    }
}

/// Any r, D and guard; clocks whose rates wander within r.
fn world() -> impl Strategy<Value = World> {
    let lease = 1..10_000 * MS;
    (0..500_u32, lease).prop_flat_map(|(drift, lease)| {
        let rates = 1_000 - u64::from(drift)..=1_000 + u64::from(drift);
        let clock = (0..1_u64 << 50, 1..2 * lease, proptest::collection::vec(rates, 1..8))
            .prop_map(|(start, piece, rates)| Clock { start, piece, rates });
        let guard = prop_oneof![0..=READINGS, 0..=lease];
        (clock.clone(), clock, guard).prop_map(move |(node, leader, guard)| {
            let lease = Duration::from_nanos(lease);
            let span = Span { lease, at_leader: lease_at_leader(lease, drift) };
            World { node, leader, span, guard: Duration::from_nanos(guard) }
        })
    })
}

/// Waits and delays in thousandths of D.
pub(super) fn exchanges() -> impl Strategy<Value = Vec<[u64; 3]>> {
    let one = (0..900_u64, 0..1_500_u64, prop_oneof![3 => 0..1_500_u64, 1 => Just(u64::MAX)]);
    proptest::collection::vec(one.prop_map(|(wait, there, back)| [wait, there, back]), 1..12)
}

pub(super) fn of_lease(lease: Duration, thousandths: &[[u64; 3]]) -> Vec<Exchange> {
    let lease = u64::try_from(lease.as_nanos()).expect("a short lease");
    let share = |part: u64| lease * part / 1_000;
    let exchange = |&[wait, there, back]: &[u64; 3]| Exchange {
        wait: share(wait),
        to_leader: share(there),
        to_node: (back != u64::MAX).then(|| share(back)),
    };
    thousandths.iter().map(exchange).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Goal: the node has stopped, by true time, when the leader may evict it. Method: any r,
    /// lease, guard, delays and losses, clocks whose rates change within r, and the earliest
    /// eviction that the table allows.
    #[test]
    fn the_node_has_stopped_before_the_leader_may_evict(
        world in world(),
        exchanges in exchanges(),
    ) {
        let overlap = world.overlap(&of_lease(world.span.lease, &exchanges));
        let covered = u64::try_from(world.guard.as_nanos()).unwrap_or(u64::MAX);
        prop_assert!(overlap <= READINGS.saturating_sub(covered), "acts for {} ns more", overlap);
    }

    #[test]
    fn d_prime_is_rounded_up_and_by_less_than_a_nanosecond(
        lease in 0..u64::MAX / 4,
        drift in 0..500_u32,
    ) {
        let got = lease_at_leader(Duration::from_nanos(lease), drift).as_nanos();
        let (fast, slow) = (1_000 + u128::from(drift), 1_000 - u128::from(drift));
        let exact = u128::from(lease) * fast; // of a nanosecond, in parts of which `slow` are one
        prop_assert!((exact..exact + slow).contains(&(got * slow)));
    }
}

/// Six prompt renewals, half a lease apart.
fn prompt() -> Vec<Exchange> {
    vec![Exchange { wait: 500 * MS, to_leader: 1, to_node: Some(1) }; 6]
}

/// A slow node and a fast leader.
fn apart(drift_permille: u32, beyond: u64, guard: Duration) -> World {
    let off = u64::from(drift_permille) + beyond;
    World {
        node: Clock::steady(1_000 - off),
        leader: Clock::steady(1_000 + off),
        span: Span { lease: ms(1_000), at_leader: lease_at_leader(ms(1_000), drift_permille) },
        guard,
    }
}

/// The property above can fail: with rates beyond r the same run shows an overlap.
#[test]
fn rates_beyond_r_do_overlap_past_any_guard_that_is_less_than_the_excess() {
    for drift in [0, 1, 20, 100, 400] {
        let within = apart(drift, 0, Duration::from_nanos(READINGS));
        assert_eq!(within.overlap(&prompt()), 0, "r = {drift} permille");
        let beyond = apart(drift, 1, ms(1));
        assert!(beyond.overlap(&prompt()) > MS / 2, "r = {drift} permille, and one more");
    }
}

/// Nor is D' more than it must be: with a little less, clocks within r show an overlap.
#[test]
fn a_leader_that_waits_less_than_d_prime_overlaps() {
    for drift in [1, 20, 100, 400] {
        let mut world = apart(drift, 0, Duration::ZERO);
        world.span.at_leader = world.span.at_leader.saturating_sub(Duration::from_micros(10));
        let overlap = world.overlap(&prompt());
        assert!((1_000..10_001).contains(&overlap), "{overlap} ns at r = {drift} permille");
    }
}

/// A grant that counted from its arrival instead of its request would not be safe: what the node
/// reckons from is its own reading before the request left.
#[test]
fn a_slow_way_to_the_leader_costs_the_node_and_not_the_leader() {
    let exchange = Exchange { wait: MS, to_leader: 1_400 * MS, to_node: Some(1) };
    let world = apart(0, 0, Duration::ZERO);
    assert_eq!(world.overlap(&[exchange]), 0);
    let mut lease = NodeLease::default();
    lease.request(1, world.node.read(MS));
    let until = lease.granted(1, world.span.lease, world.guard);
    assert!(until.expect("it was asked for") < world.node.read(1_401 * MS), "over on arrival");
}
