mod changes;
mod rates;
mod refused;

use super::*;
use crate::base::{Boot, Epoch, NodeId, ShardId};

const MS: u64 = 1_000_000;
const DRIFT_PERMILLE: u32 = 20;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * MS)
}

fn span() -> Span {
    Span { lease: ms(1_000), at_leader: lease_at_leader(ms(1_000), DRIFT_PERMILLE) }
}

fn node() -> NodeId {
    "n1".parse().expect("a name")
}

fn renewal(node: &NodeId, receipt: Instant) -> Renewal<'_> {
    Renewal {
        node,
        boot: Boot(1),
        receipt,
        is_member: true,
        last_grant: Some(receipt.as_nanos()),
        unreachable: &[],
        leaving: false,
        released: &[],
    }
}

/// A table of leadership 1 that started at 0, its first D' over, with one grant at 5 s.
fn granted() -> LeaseTable<u64> {
    let mut table = LeaseTable::default();
    assert!(table.lead(1, at(0), span()));
    assert_eq!(table.renew(1, &renewal(&node(), at(5_000)), span()), Ok(()));
    table
}

#[test]
fn a_boot_is_marked_only_when_its_lease_is_over_and_then_not_renewed() {
    let mut table = granted();
    let expiry = at(5_000) + span().at_leader;
    assert!(!table.mark(1, &node(), Boot(1), expiry - Duration::from_nanos(1)));
    assert!(table.mark(1, &node(), Boot(1), expiry));
    assert_eq!(table.renew(1, &renewal(&node(), expiry), span()), Err(Denied::Ending));
    // The entry is applied: the seat falls, and the boot is no member.
    table.applied(|_, _| false, |_, _| true);
    let n1 = node();
    let gone = Renewal { is_member: false, ..renewal(&n1, expiry) };
    assert_eq!(table.renew(1, &gone, span()), Err(Denied::NotMember));
}

#[test]
fn nobody_is_evicted_in_a_tables_first_d_prime_heard_or_not() {
    let mut table = LeaseTable::default();
    assert!(!table.mark(1, &node(), Boot(1), at(9_000)), "no table, no eviction");
    assert!(table.lead(1, at(9_000), span()));
    let first = at(9_000) + span().at_leader;
    assert!(!table.mark(1, &node(), Boot(1), first - Duration::from_nanos(1)));
    assert!(table.mark(1, &node(), Boot(1), first));
}

#[test]
fn a_boot_that_was_just_admitted_has_d_prime_for_its_first_renew() {
    let mut table = LeaseTable::default();
    assert!(table.lead(1, at(0), span()));
    table.admit(&node(), Boot(2), at(10_000), span());
    // Seen again in every round: the time is not extended.
    table.admit(&node(), Boot(2), at(10_100), span());
    let until = at(10_000) + span().at_leader;
    assert!(!table.is_due(&node(), Boot(2), until - ms(1)));
    assert!(table.is_due(&node(), Boot(2), until));
}

#[test]
fn another_leadership_begins_another_table_and_an_older_one_may_not_use_it() {
    let mut table = granted();
    assert!(table.mark(1, &node(), Boot(1), at(9_000)));
    assert!(table.lead(2, at(9_100), span()));
    assert!(!table.mark(1, &node(), Boot(1), at(99_000)), "the old leadership marks nothing");
    assert!(!table.lead(1, at(9_150), span()), "nor does it take the table back");
    assert_eq!(table.renew(1, &renewal(&node(), at(9_050)), span()), Err(Denied::OldLeader));
    assert_eq!(table.key(), Some(2));
    // Marks fell with the old table; the first D' protects instead.
    assert!(!table.is_due(&node(), Boot(1), at(9_100) + ms(1_000)));
    assert_eq!(table.renew(2, &renewal(&node(), at(9_200)), span()), Ok(()));
}

#[test]
fn a_late_loop_moves_the_first_d_prime_and_keeps_every_mark() {
    let mut table = granted();
    let other: NodeId = "n2".parse().expect("a name");
    assert!(table.mark(1, &node(), Boot(1), at(9_000)));
    assert!(!table.late_loop(at(9_000), span()));
    assert!(!table.mark(1, &other, Boot(1), at(9_500)), "nobody new is marked");
    assert!(table.mark(1, &node(), Boot(1), at(9_500)), "the mark stands");
    assert_eq!(table.renew(1, &renewal(&node(), at(9_500)), span()), Err(Denied::Ending));
}

#[test]
fn a_loop_late_three_times_within_ten_leases_should_lead_no_more() {
    let mut table = LeaseTable::default();
    assert!(!table.late_loop(at(0), span()), "it does not lead");
    assert!(table.lead(1, at(0), span()));
    assert!(!table.late_loop(at(1_000), span()));
    assert!(!table.late_loop(at(9_000), span()));
    assert!(!table.late_loop(at(11_000), span()), "the first was ten leases ago");
    assert!(table.late_loop(at(18_900), span()));
    assert!(!table.late_loop(at(18_950), span()), "said once; it counts anew");
    assert!(table.lead(2, at(19_000), span()));
    assert!(!table.late_loop(at(19_100), span()), "of another leadership, which is new");
}

/// I6: what reached the leader in time, but waits for its barrier, is not evicted.
#[test]
fn a_renew_that_has_arrived_holds_the_eviction_up_and_grants_nothing() {
    let mut table = granted();
    let expiry = at(5_000) + span().at_leader;
    table.arrived(&node(), Boot(1), at(5_990), span());
    assert!(!table.mark(1, &node(), Boot(1), expiry));
    let until = at(5_990) + span().at_leader;
    assert!(!table.mark(1, &node(), Boot(1), until - Duration::from_nanos(1)));
    assert!(table.clone().mark(1, &node(), Boot(1), until), "its barrier never came");
    // A refused one has no more time than its last grant gave it.
    table.refuse(&node(), Boot(1), at(5_995));
    assert!(table.mark(1, &node(), Boot(1), expiry));
}

#[test]
fn a_change_of_d_settles_when_the_longer_d_prime_has_passed_at_this_leadership() {
    let mut table = granted();
    let longer = Span { lease: ms(500), at_leader: ms(3_000) };
    assert!(!table.has_settled(None, at(99_000), span()));
    let change = Some((ms(2_900), ms(500)));
    assert!(!table.has_settled(change, at(10_000), longer));
    assert!(!table.has_settled(change, at(12_999), longer));
    assert!(table.clone().has_settled(change, at(13_000), longer));
    assert!(table.has_settled(change, at(13_500), longer), "asked again until it is agreed");
    // Changed once more before it settled: the time begins again.
    let again = Some((ms(2_900), ms(700)));
    assert!(!table.has_settled(again, at(13_600), longer));
    assert!(!table.has_settled(again, at(16_599), longer));
    // Another leadership knows nothing of when this one learnt of it.
    assert!(table.lead(2, at(16_000), longer));
    assert!(!table.has_settled(again, at(16_600), longer));
    assert!(table.has_settled(again, at(19_600), longer));
}

#[test]
fn a_new_tables_first_d_prime_is_the_longer_one_while_d_changes() {
    let mut table = granted();
    let longer = Span { lease: ms(500), at_leader: ms(3_000) };
    assert!(table.lead(2, at(5_100), longer));
    assert!(!table.mark(2, &node(), Boot(1), at(8_099)));
    assert!(table.mark(2, &node(), Boot(1), at(8_100)));
}

/// As many shards as there can be, given up at once.
#[test]
fn all_shards_can_be_released_at_once() {
    let mut table = granted();
    let n1 = node();
    let all: Vec<_> = (0..32_768).map(|shard| (ShardId(shard), Epoch(7))).collect();
    for some in all.chunks(1_000) {
        let giving = Renewal { released: some, ..renewal(&n1, at(5_100)) };
        assert_eq!(table.renew(1, &giving, span()), Ok(()));
    }
    assert_eq!(table.released().count(), all.len());
}

#[test]
fn a_receipt_out_of_order_never_shortens_a_lease() {
    let mut table = granted();
    assert_eq!(table.renew(1, &renewal(&node(), at(4_000)), span()), Ok(()));
    assert!(!table.is_due(&node(), Boot(1), at(5_000) + ms(1_000)));
}

#[test]
fn while_d_changes_the_longer_one_counts_at_the_leader() {
    let mut table = granted();
    let changing = Span { lease: ms(500), at_leader: ms(3_000) };
    assert_eq!(table.renew(1, &renewal(&node(), at(6_000)), changing), Ok(()));
    assert!(!table.is_due(&node(), Boot(1), at(8_999)));
    assert!(table.is_due(&node(), Boot(1), at(9_000)));
}

#[test]
fn a_boot_that_leaves_is_due_at_once_and_for_good() {
    let mut table = granted();
    let n1 = node();
    let leaving = Renewal { leaving: true, ..renewal(&n1, at(5_100)) };
    assert_eq!(table.renew(1, &leaving, span()), Err(Denied::Ending));
    assert!(table.mark(1, &node(), Boot(1), at(5_101)));
    assert_eq!(table.renew(1, &renewal(&node(), at(5_200)), span()), Err(Denied::Ending));
}

#[test]
fn a_release_stands_until_the_view_shows_it() {
    let mut table = granted();
    let released = [(ShardId(3), Epoch(7))];
    let n1 = node();
    let giving = Renewal { released: &released, ..renewal(&n1, at(5_100)) };
    assert_eq!(table.renew(1, &giving, span()), Ok(()));
    // A Renew sent before the release, arriving after it, takes nothing back.
    assert_eq!(table.renew(1, &renewal(&node(), at(5_200)), span()), Ok(()));
    let now: Vec<_> = table.released().map(|(_, _, shard, epoch)| (shard, epoch)).collect();
    assert_eq!(now, released);
    table.applied(|_, _| true, |_, epoch| epoch != Epoch(7));
    assert_eq!(table.released().count(), 0);
}

#[test]
fn a_grant_for_no_outstanding_request_counts_for_nothing() {
    let mut lease = NodeLease::default();
    lease.request(7, at(100));
    assert_eq!(lease.granted(8, ms(1_000), ms(50)), None);
    assert_eq!(lease.granted(7, ms(1_000), ms(50)), Some(at(1_050)));
    assert_eq!(lease.granted(7, ms(9_000), ms(50)), None, "once only");
    assert_eq!(lease.last_grant(), Some(7));
}

#[test]
fn each_grant_counts_from_its_own_request_and_the_oldest_is_given_up() {
    let mut lease = NodeLease::default();
    lease.request(1, at(100));
    lease.request(2, at(200));
    assert_eq!(lease.granted(2, ms(1_000), ms(50)), Some(at(1_150)));
    assert_eq!(lease.granted(1, ms(1_000), ms(50)), Some(at(1_050)), "by that grant alone");
    for nonce in 10..=10 + OUTSTANDING_MAX as u64 {
        lease.request(nonce, at(nonce * 100));
    }
    assert_eq!(lease.granted(10, ms(1_000), ms(50)), None);
    assert!(lease.granted(11, ms(1_000), ms(50)).is_some());
}
