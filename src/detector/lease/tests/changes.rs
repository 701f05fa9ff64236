//! The lease arithmetic while D and the leader change: the node has stopped, by true time, when any
//! leader may evict it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::rates::{Clock, Exchange, READINGS, exchanges, of_lease};
use super::*;

/// What a run removes, to show that it would be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// D' is that of the new D at once.
    TheLonger,
    /// The change of D is settled at once.
    TheWait,
    /// A new leadership's table evicts at once whom it has not heard.
    FirstWait,
}

/// What happens at one true nanosecond, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(u64),
    Arrive(u64),
    Granted(u64, Duration),
    /// The entry that changes D is applied.
    Change,
    /// The next leader's first entry is applied.
    Lead,
    Look,
}

#[derive(Debug, Clone)]
struct World {
    node: Clock,
    /// One after the other.
    leaders: Vec<Clock>,
    /// When each but the first begins to lead.
    begins: Vec<u64>,
    drift: u32,
    /// D before and after.
    leases: (Duration, Duration),
    change_at: u64,
}

struct Run<'a> {
    world: &'a World,
    without: Without,
    table: LeaseTable<u64>,
    /// Who leads.
    key: usize,
    changed: bool,
    settled: bool,
}

impl Run<'_> {
    fn span(&self) -> Span {
        let (before, after) = self.world.leases;
        let lease = if self.changed { after } else { before };
        let both = self.changed && !self.settled && self.without != Without::TheLonger;
        let longest = if both { before.max(after) } else { lease };
        Span { lease, at_leader: lease_at_leader(longest, self.world.drift) }
    }

    fn read(&self, now: u64) -> Instant {
        self.world.leaders[self.key].read(now)
    }

    fn lead(&mut self, now: u64) {
        let span = match self.without {
            Without::FirstWait if self.key > 0 => Span { at_leader: Duration::ZERO, ..self.span() },
            Without::Nothing | Without::TheLonger | Without::TheWait | Without::FirstWait => {
                self.span()
            }
        };
        assert!(self.table.lead(self.key as u64, self.read(now), span));
    }

    fn look(&mut self, now: u64) {
        let change = (self.changed && !self.settled).then_some(self.world.leases);
        let (read, span) = (self.read(now), self.span());
        let over = self.table.has_settled(change, read, span);
        self.settled |= over || (self.changed && self.without == Without::TheWait);
    }

    /// The first true nanosecond in `from..to` at which the table lets the boot be evicted.
    fn due_between(&self, from: u64, to: u64) -> Option<u64> {
        let due = |now| self.table.is_due(&node(), Boot(1), self.read(now));
        if to <= from || !due(to - 1) {
            return None;
        }
        let (mut low, mut high) = (from, to - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if due(middle) { high = middle } else { low = middle + 1 }
        }
        Some(low)
    }
}

impl World {
    /// Runs the exchanges, and has whoever leads evict as early as its table ever lets it. Gives
    /// for how many nanoseconds of its clock the node still acts then.
    fn overlap(&self, exchanges: &[Exchange], without: Without) -> u64 {
        let table = LeaseTable::default();
        let mut run = Run { world: self, without, table, key: 0, changed: false, settled: false };
        run.lead(0);
        let mut queue: BTreeSet<(u64, Event)> = BTreeSet::new();
        let mut sent = 0;
        for (nonce, one) in (0..).zip(exchanges) {
            sent += one.wait;
            queue.insert((sent, Event::Send(nonce)));
            queue.insert((sent + one.to_leader, Event::Arrive(nonce)));
        }
        queue.insert((self.change_at, Event::Change));
        queue.extend(self.begins.iter().map(|at| (*at, Event::Lead)));
        let longest = self.leases.0.max(self.leases.1).as_nanos();
        let longest = u64::try_from(longest).expect("a short lease");
        let last = queue.last().map_or(0, |(at, _)| *at) + longest * 12;
        let steps = 200;
        queue.extend((0..=steps).map(|step| (last / steps * step, Event::Look)));
        let (mut lease, mut until) = (NodeLease::default(), Instant::ZERO);
        while let Some((now, event)) = queue.pop_first() {
            match event {
                Event::Send(nonce) => lease.request(nonce, self.node.read(now)),
                Event::Arrive(nonce) => {
                    let (receipt, span, key) = (run.read(now), run.span(), run.key as u64);
                    let granted = run.table.renew(key, &renewal(&node(), receipt), span);
                    let to_node = exchanges[usize::try_from(nonce).expect("few")].to_node;
                    if let (Ok(()), Some(delay)) = (granted, to_node) {
                        queue.insert((now + delay, Event::Granted(nonce, span.lease)));
                    }
                }
                Event::Granted(nonce, granted) => {
                    until = until.max(lease.granted(nonce, granted, ms(0)).unwrap_or(until));
                }
                Event::Change => run.changed = true,
                Event::Lead => {
                    run.key += 1;
                    run.lead(now);
                }
                Event::Look => run.look(now),
            }
            let next = queue.first().map_or(u64::MAX / 4_000, |next| next.0);
            if let Some(evicted) = run.due_between(now, next) {
                // Every grant that is still under way counts from a request of before.
                for (_, event) in &queue {
                    if let Event::Granted(nonce, granted) = event {
                        let late = lease.granted(*nonce, *granted, ms(0));
                        until = until.max(late.unwrap_or(until));
                    }
                }
                return until.as_nanos().saturating_sub(self.node.read(evicted).as_nanos());
            }
        }
        panic!("every lease runs out");
    }
}

fn clock(drift: u32, lease: u64) -> impl Strategy<Value = Clock> {
    let rates = 1_000 - u64::from(drift)..=1_000 + u64::from(drift);
    (0..1_u64 << 50, 1..2 * lease, proptest::collection::vec(rates, 1..8))
        .prop_map(|(start, piece, rates)| Clock { start, piece, rates })
}

fn world() -> impl Strategy<Value = World> {
    let lease = || 1_000..10_000 * MS;
    (0..500_u32, lease(), lease(), 1..4_usize).prop_flat_map(|(drift, before, after, leaders)| {
        let leases = (Duration::from_nanos(before), Duration::from_nanos(after));
        let begins = proptest::collection::btree_set(1..8 * before, leaders - 1);
        (
            clock(drift, before),
            proptest::collection::vec(clock(drift, before), leaders),
            begins,
            0..6 * before,
        )
            .prop_map(move |(node, leaders, begins, change_at)| {
                let begins = begins.into_iter().collect();
                World { node, leaders, begins, drift, leases, change_at }
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_node_has_stopped_before_any_leader_may_evict_while_d_changes(
        world in world(),
        exchanges in exchanges(),
    ) {
        let overlap = world.overlap(&of_lease(world.leases.0, &exchanges), Without::Nothing);
        prop_assert!(overlap <= READINGS, "acts for {} ns more", overlap);
    }
}

/// A node that was granted 3 s, a change to 1 s just after, and a leader that comes later.
fn shortened(leads_at: u64) -> World {
    World {
        node: Clock::steady(980),
        leaders: vec![Clock::steady(1_020), Clock::steady(1_020)],
        begins: vec![leads_at * MS],
        drift: 20,
        leases: (ms(3_000), ms(1_000)),
        change_at: 150 * MS,
    }
}

/// Each rule is needed: without it the same run shows an overlap of most of a lease.
#[test]
fn without_any_of_its_rules_a_change_of_d_overlaps() {
    let granted = [Exchange { wait: 100 * MS, to_leader: MS, to_node: Some(MS) }];
    for (without, leads_at) in
        [(Without::TheLonger, 200), (Without::TheWait, 200), (Without::FirstWait, 200)]
    {
        let world = shortened(leads_at);
        assert!(world.overlap(&granted, Without::Nothing) <= READINGS);
        let overlap = world.overlap(&granted, without);
        assert!(overlap > 1_500 * MS, "{overlap} ns without {without:?}");
    }
}

/// A leader that begins just before the time is over must begin it anew: what its predecessor
/// granted under the longer D may be as young as its own first entry.
#[test]
fn a_grant_of_the_longer_d_is_over_before_any_leader_settles_the_change() {
    for leads_at in (200..3_300).step_by(50) {
        let world = shortened(leads_at);
        let granted: Vec<_> = (0..leads_at / 100)
            .map(|_| Exchange { wait: 99 * MS, to_leader: MS, to_node: Some(MS) })
            .collect();
        assert!(world.overlap(&granted, Without::Nothing) <= READINGS, "leads at {leads_at} ms");
    }
}

#[test]
fn once_d_grows_whoever_renewed_before_has_the_longer_one_too() {
    let (mut table, longer) = (granted(), Duration::from_millis(1_500));
    let grown = Span { lease: longer, at_leader: lease_at_leader(longer, DRIFT_PERMILLE) };
    let expiry = at(5_000) + span().at_leader;
    table.stretch(grown);
    assert!(!table.is_due(&node(), Boot(1), expiry), "its Renew came within the D of the view");
    assert!(table.is_due(&node(), Boot(1), at(5_000) + grown.at_leader));
    // Nor twice, and a shorter one takes nothing back.
    table.stretch(grown);
    table.stretch(span());
    assert!(!table.is_due(&node(), Boot(1), expiry));
    assert!(table.is_due(&node(), Boot(1), at(5_000) + grown.at_leader));
}
