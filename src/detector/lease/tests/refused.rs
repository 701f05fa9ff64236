//! Who is refused, and who never is, under cuts of every shape.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn name(number: usize) -> NodeId {
    format!("n{number}").parse().expect("a name")
}

/// Nodes 1 to `size`, of which 1 leads and all vote; `cut` holds the directions that carry nothing.
struct Cluster {
    size: usize,
    cut: BTreeSet<(usize, usize)>,
    table: LeaseTable<u64>,
    now: Instant,
    /// The last grant that each received.
    shown: BTreeMap<usize, u64>,
    refused: Vec<(usize, Instant)>,
    evicted: Vec<(usize, Instant)>,
    /// What nodes report instead of what they observe.
    says: BTreeMap<usize, Vec<usize>>,
}

impl Cluster {
    /// All is well, and the table's first D' is over.
    fn new(size: usize) -> Self {
        let mut table = LeaseTable::default();
        assert!(table.lead(1, at(0), span()));
        let (cut, says, shown) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let (refused, evicted) = (vec![], vec![]);
        let mut this = Self { size, cut, table, now: at(0), shown, refused, evicted, says };
        this.run(3_000);
        this
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    fn cut_both(&mut self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    fn members(&self) -> Vec<usize> {
        let gone = |node: &usize| self.evicted.iter().any(|(evicted, _)| evicted == node);
        (1..=self.size).filter(|node| !gone(node)).collect()
    }

    fn passes(&self, from: usize, to: usize) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    /// Those over which a word of `from` reaches `to`: itself, or one other that passes it on.
    fn ways(&self, from: usize, to: usize) -> Vec<usize> {
        let passes = |by: &usize| self.passes(from, *by) && self.passes(*by, to);
        self.members().into_iter().filter(passes).collect()
    }

    fn is_round_trip(&self, from: usize, to: usize) -> bool {
        let comes_back = |by: &usize| self.passes(to, *by) && self.passes(*by, from);
        self.ways(from, to).iter().any(comes_back)
    }

    /// As gossip finds it: a probe that others repeat.
    fn unreachable(&self, node: usize) -> Vec<NodeId> {
        let observed = || {
            let others = self.members().into_iter().filter(|other| *other != node);
            others.filter(|other| !self.is_round_trip(node, *other)).collect()
        };
        let said = self.says.get(&node).cloned().unwrap_or_else(observed);
        said.into_iter().map(name).collect()
    }

    fn renew(&mut self, node: usize) {
        if self.ways(node, 1).is_empty() {
            return;
        }
        let (named, unreachable) = (name(node), self.unreachable(node));
        let last_grant = self.shown.get(&node).copied();
        let renewal =
            Renewal { last_grant, unreachable: &unreachable, ..renewal(&named, self.now) };
        let granted = self.table.renew(1, &renewal, span()).is_ok();
        if granted && self.is_round_trip(node, 1) {
            self.shown.insert(node, self.now.as_nanos());
        }
    }

    /// Every node renews each 200 ms; the leader looks each 25 ms.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 25 {
            self.now = self.now + ms(25);
            if self.now.as_nanos().is_multiple_of(200 * MS) {
                self.members().into_iter().for_each(|node| self.renew(node));
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let members = self.members();
        self.table
            .applied(|node, _| members.iter().any(|member| name(*member) == *node), |_, _| true);
        for node in &members {
            self.table.admit(&name(*node), Boot(1), self.now, span());
        }
        let charges = self.table.charges(self.now, span());
        let is_ending = |node: &usize| self.table.is_ending(&name(*node), Boot(1));
        if !members.iter().any(is_ending)
            && let Some(charge) = charges.iter().find(|charge| charge.node != name(1))
        {
            self.table.refuse(&charge.node, charge.boot, self.now);
            let node = members.iter().find(|node| name(**node) == charge.node);
            self.refused.push((*node.expect("a member"), self.now));
        }
        for node in members {
            if self.table.mark(1, &name(node), Boot(1), self.now) {
                self.evicted.push((node, self.now));
            }
        }
    }

    fn gone(&self) -> Vec<usize> {
        self.evicted.iter().map(|(node, _)| *node).collect()
    }

    /// Cuts last: nobody else is refused later, and all is over within the time that is promised
    /// for `lan`.
    fn ends_with(mut self, gone: &[usize]) {
        let cut_at = self.now;
        self.run(20_000);
        assert_eq!(self.gone(), gone, "refused: {:?}", self.refused);
        let last = self.evicted.iter().map(|(_, when)| when.since(cut_at)).max();
        assert!(last.is_none_or(|last| last <= ms(5_000)), "{last:?}");
        // Whoever stays is granted.
        for node in self.members() {
            let shown = Instant::from_nanos(self.shown[&node]);
            assert!(self.now.since(shown) < ms(400), "n{node} stays and is granted nothing");
        }
    }
}

#[test]
fn a_cut_between_leader_and_node_refuses_nobody_either_way() {
    for size in [3, 5] {
        for (there, back) in [(true, false), (false, true), (true, true)] {
            let mut cluster = Cluster::new(size);
            if there {
                cluster.cut(1, 2);
            }
            if back {
                cluster.cut(2, 1);
            }
            cluster.ends_with(&[]);
        }
    }
}

#[test]
fn a_cut_between_two_that_do_not_lead_refuses_nobody() {
    for size in [3, 5] {
        let mut cluster = Cluster::new(size);
        cluster.cut(2, 3);
        cluster.ends_with(&[]);
        let mut cluster = Cluster::new(size);
        cluster.cut_both(2, 3);
        cluster.ends_with(&[]);
    }
}

#[test]
fn a_bridge_refuses_nobody_while_probes_go_over_it() {
    let mut cluster = Cluster::new(5);
    for (one, other) in [(2, 4), (2, 5), (3, 4), (3, 5)] {
        cluster.cut_both(one, other);
    }
    cluster.ends_with(&[]);
    // Only the leader reaches n5.
    let mut cluster = Cluster::new(5);
    for other in 2..5 {
        cluster.cut_both(5, other);
    }
    cluster.ends_with(&[]);
}

#[test]
fn a_node_that_hears_nobody_is_the_only_one_refused() {
    for size in [3, 4, 5, 7] {
        let mut cluster = Cluster::new(size);
        for other in (1..=size).filter(|other| *other != 2) {
            cluster.cut(other, 2);
        }
        cluster.ends_with(&[2]);
    }
}

#[test]
fn a_node_that_nobody_hears_runs_out_without_being_refused() {
    let mut cluster = Cluster::new(5);
    for other in [1, 3, 4, 5] {
        cluster.cut(2, other);
    }
    cluster.run(20_000);
    assert_eq!((cluster.gone(), cluster.refused.len()), (vec![2], 0));
}

/// What a large cluster sees, where probes do not find the one node that reaches both sides.
#[test]
fn a_node_that_most_report_is_refused_after_a_second_and_not_before() {
    let mut cluster = Cluster::new(5);
    for node in 2..5 {
        cluster.says.insert(node, vec![5]);
    }
    cluster.says.insert(5, vec![2, 3, 4]);
    let from = cluster.now;
    cluster.run(20_000);
    assert_eq!(cluster.gone(), [5]);
    let [(5, refused)] = cluster.refused[..] else { panic!("{:?}", cluster.refused) };
    let (_, evicted) = cluster.evicted[0];
    // The first round of Renews that says so is 200 ms away.
    assert_eq!(refused.since(from), ms(1_200));
    let last_grant = span().at_leader + ms(25);
    assert!(evicted.since(refused) <= last_grant, "no grant extends it any more");
    assert!(evicted.since(from) < ms(5_000));
}

#[test]
fn fewer_than_half_of_the_members_refuse_nobody_and_nor_does_one_of_two() {
    let mut cluster = Cluster::new(5);
    cluster.says.extend([(2, vec![5]), (3, vec![5]), (5, vec![2, 3])]);
    cluster.ends_with(&[]);
    for size in [2, 3] {
        let mut cluster = Cluster::new(size);
        cluster.says.extend([(1, vec![2]), (2, vec![1])]);
        cluster.ends_with(&[]);
    }
}

#[test]
fn of_four_nodes_a_bridge_without_probes_costs_the_smaller_half_and_no_more() {
    let mut cluster = Cluster::new(4);
    cluster.says.extend([(2, vec![4]), (3, vec![4]), (4, vec![2, 3])]);
    cluster.ends_with(&[4]);
}

#[test]
fn one_that_finds_all_unreachable_is_not_believed() {
    let mut cluster = Cluster::new(5);
    cluster.says.insert(2, vec![1, 3, 4, 5]);
    cluster.ends_with(&[]);
}

/// Reports of those who are reported more often count for nothing.
#[test]
fn two_that_are_cut_off_from_all_go_one_after_the_other_and_take_nobody_with_them() {
    let mut cluster = Cluster::new(5);
    for sound in 1..4 {
        cluster.says.insert(sound, vec![4, 5]);
    }
    cluster.says.extend([(4, vec![1, 2, 3, 5]), (5, vec![1, 2, 3, 4])]);
    cluster.run(20_000);
    assert_eq!(cluster.gone(), [4, 5], "two changes of the view");
    let [(_, first), (_, second)] = cluster.refused[..] else { panic!("{:?}", cluster.refused) };
    assert!(second >= cluster.evicted[0].1 && second > first, "one at a time");
}

/// Nor may they be next when the cluster cannot do without those.
#[test]
fn of_two_that_are_cut_off_from_all_nobody_is_charged_with_what_they_say() {
    let mut table = LeaseTable::default();
    assert!(table.lead(1, at(0), span()));
    let says = [(1, vec![3, 4]), (2, vec![3, 4]), (3, vec![1, 2, 4]), (4, vec![1, 2, 3])];
    for when in [100, 600, 1_200] {
        for (node, unreachable) in &says {
            let unreachable: Vec<_> = unreachable.iter().map(|other| name(*other)).collect();
            let node = name(*node);
            let renewal = Renewal { unreachable: &unreachable, ..renewal(&node, at(when)) };
            assert_eq!(table.renew(1, &renewal, span()), Ok(()));
        }
        let charged: Vec<_> = table.charges(at(when), span()).into_iter().collect();
        let charged: Vec<_> = charged.into_iter().map(|one| (one.node, one.reports)).collect();
        let late = [(name(3), 3), (name(4), 3)];
        assert_eq!(charged, if when == 1_200 { &late[..] } else { &[] });
    }
}

/// A Renew that took a longer way than the one after it says nothing new.
#[test]
fn a_renew_that_comes_out_of_order_takes_no_report_back() {
    let mut table = LeaseTable::default();
    assert!(table.lead(1, at(0), span()));
    let bad = [name(3)];
    for when in [100, 600, 1_200] {
        for node in 1..=3 {
            let named = name(node);
            let unreachable: &[NodeId] = if node < 3 { &bad } else { &[] };
            let later = Renewal { unreachable, ..renewal(&named, at(when)) };
            assert_eq!(table.renew(1, &later, span()), Ok(()));
            let earlier = renewal(&named, at(when - 50));
            assert_eq!(table.renew(1, &earlier, span()), Ok(()));
        }
        assert_eq!(table.charges(at(when), span()).len(), usize::from(when == 1_200));
    }
}

#[test]
fn the_most_reported_goes_first() {
    let mut cluster = Cluster::new(6);
    for node in [1, 2, 3, 6] {
        cluster.says.insert(node, vec![4, 5]);
    }
    cluster.says.extend([(4, vec![5]), (5, vec![])]);
    cluster.run(1_400);
    assert_eq!(cluster.refused.first().map(|(node, _)| *node), Some(5), "five name it");
}

#[test]
fn reports_that_do_not_last_a_second_count_for_nothing() {
    let mut cluster = Cluster::new(5);
    for _ in 0..10 {
        for node in 1..5 {
            cluster.says.insert(node, vec![5]);
        }
        cluster.run(1_000);
        cluster.says.clear();
        cluster.run(200);
    }
    assert_eq!(cluster.refused, []);
}

#[test]
fn what_the_silent_said_last_counts_only_as_long_as_their_lease() {
    let mut table = LeaseTable::default();
    assert!(table.lead(1, at(0), span()));
    let bad = [name(5)];
    for node in 1..=5 {
        let named = name(node);
        let unreachable: &[NodeId] = if node < 5 { &bad } else { &[] };
        let renewal = Renewal { unreachable, ..renewal(&named, at(100)) };
        assert_eq!(table.renew(1, &renewal, span()), Ok(()));
    }
    assert_eq!(table.charges(at(200), span()), []);
    // n5 alone is heard again.
    let n5 = name(5);
    assert_eq!(table.renew(1, &renewal(&n5, at(1_050)), span()), Ok(()));
    assert_eq!(table.charges(at(1_099), span()), [], "not for a second yet");
    assert_eq!(table.charges(at(1_300), span()), [], "nobody is there who says so");
}

#[test]
fn a_boot_that_never_shows_a_grant_is_refused_and_runs_out() {
    let mut table = granted();
    let n1 = node();
    let mut now = at(5_000);
    while now < at(7_200) {
        now = now + ms(200);
        let deaf = Renewal { last_grant: Some(1), ..renewal(&n1, now) };
        assert_eq!(table.renew(1, &deaf, span()), Ok(()));
        assert_eq!(table.charges(now, span()).is_empty(), now < at(7_200), "{now}");
    }
    table.refuse(&node(), Boot(1), now);
    assert!(table.is_ending(&node(), Boot(1)) && table.is_refused(&node(), Boot(1)));
    assert_eq!(table.charges(now, span()), [], "said once");
    assert_eq!(table.renew(1, &renewal(&node(), now), span()), Err(Denied::Ending));
    assert!(!table.is_due(&node(), Boot(1), now), "not before it ran out");
    assert!(table.is_due(&node(), Boot(1), now + span().at_leader));
    assert_eq!(table.drained(now + ms(499)).count(), 1);
    assert_eq!(table.drained(now + ms(500)).count(), 0, "drained no longer than half a second");
}

#[test]
fn a_silent_boot_is_not_called_deaf() {
    let mut table = granted();
    assert_eq!(table.charges(at(5_000) + ms(2_500), span()), []);
}

/// A leader that could grant nothing for a while, cut off from the other voters, finds nobody deaf
/// who could not hear what was not said.
#[test]
fn a_time_without_grants_makes_nobody_deaf() {
    let mut table = granted();
    let n1 = node();
    let mut same = |when| {
        let silent = Renewal { last_grant: Some(1), ..renewal(&n1, at(when)) };
        assert_eq!(table.renew(1, &silent, span()), Ok(()));
        table.charges(at(when), span())
    };
    assert_eq!(same(5_200), []);
    // Three seconds in which no barrier passed.
    assert_eq!(same(8_200), []);
    let deaf_at = (8_400..12_000).step_by(200).find(|when| !same(*when).is_empty());
    assert_eq!(deaf_at, Some(10_200), "2 D of grants that it does not show");
}

#[test]
fn a_late_loop_begins_anew_what_is_held_against_anyone() {
    let mut cluster = Cluster::new(5);
    for node in 1..5 {
        cluster.says.insert(node, vec![5]);
    }
    cluster.run(1_100);
    assert!(!cluster.table.late_loop(cluster.now, span()));
    cluster.run(1_000);
    assert_eq!(cluster.refused, []);
    cluster.run(100);
    assert_eq!(cluster.refused.len(), 1);
}

/// Asks the only voter, 9, which is no other than the leader.
fn may_join(table: &mut LeaseTable<u64>, node: &NodeId, now: Instant, after: Duration) -> bool {
    let (voter, voters) = (name(9), BTreeSet::from([name(9)]));
    let heard = Heard { node, through: &voter, voters: &voters, votes: false };
    table.may_join(&heard, now, span(), after)
}

#[test]
fn one_that_only_a_minority_of_the_voters_reaches_does_not_join_however_long_it_asks() {
    let (mut table, node, after) = (granted(), name(1), ms(2_000));
    table.admit(&node, Boot(1), at(10_000), span());
    table.refuse(&node, Boot(1), at(10_000));
    table.applied(|_, _| false, |_, _| true);
    // Five voters; it is one of them, though no member any more.
    let voters: BTreeSet<NodeId> = (2..=5).map(name).collect();
    let mut asks = |through: usize, millis: u64| {
        let through = name(through);
        let heard = Heard { node: &node, through: &through, voters: &voters, votes: true };
        table.may_join(&heard, at(millis), span(), after)
    };
    for millis in (10_000..400_000).step_by(500) {
        assert!(!asks(2, millis), "only 2 reaches it");
        assert!(!asks(1, millis), "its own word does not count");
        assert!(!asks(8, millis), "who does not vote does not count");
    }
    assert!(asks(4, 400_000), "two and itself are most of five");
}

#[test]
fn one_that_was_refused_joins_again_after_contact_that_doubles_each_time() {
    let mut table = granted();
    let (n1, after) = (node(), ms(2_000));
    let mut now = at(10_000);
    assert!(may_join(&mut table, &n1, now, after), "it was never refused");
    for times in 0..3_u32 {
        table.admit(&n1, Boot(1), now, span());
        table.refuse(&n1, Boot(1), now);
        table.applied(|_, _| false, |_, _| true);
        let asked = now;
        let hold = after * 2_u32.pow(times);
        while !may_join(&mut table, &n1, now, after) {
            now = now + ms(500);
        }
        assert_eq!(now.since(asked), hold, "refused {times} times before");
    }
    // A gap in the contact begins it anew.
    table.admit(&n1, Boot(1), now, span());
    table.refuse(&n1, Boot(1), now);
    table.applied(|_, _| false, |_, _| true);
    assert!(!may_join(&mut table, &n1, now, after));
    now = now + ms(60_000);
    assert!(!may_join(&mut table, &n1, now, after));
    // The next leadership of this node still knows of it.
    assert!(table.lead(2, now, span()));
    assert!(!may_join(&mut table, &n1, now, after));
    assert!(may_join(&mut table, &name(2), now, after), "others are not concerned");
}

#[test]
fn five_minutes_in_peace_make_up_for_what_was_before() {
    let mut table = granted();
    let (n1, after) = (node(), ms(2_000));
    let mut now = at(10_000);
    let mut hold = |peace: u64| {
        now = now + ms(peace);
        table.admit(&n1, Boot(1), now, span());
        table.refuse(&n1, Boot(1), now);
        table.applied(|_, _| false, |_, _| true);
        let asked = now;
        while !may_join(&mut table, &n1, now, after) {
            now = now + ms(500);
        }
        now.since(asked)
    };
    assert_eq!(hold(0), ms(2_000));
    assert_eq!(hold(299_000), ms(4_000));
    assert_eq!(hold(300_000), ms(2_000));
}

#[test]
fn who_runs_out_or_leaves_may_join_at_once() {
    let mut table = granted();
    assert!(table.mark(1, &node(), Boot(1), at(9_000)));
    table.applied(|_, _| false, |_, _| true);
    assert!(may_join(&mut table, &node(), at(9_100), ms(5_000)));
}
