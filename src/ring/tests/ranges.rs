use super::*;

const NAMES: [&str; 7] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];

/// The circle is cut into these ranges: each begins where another ends.
fn assert_they_cover_the_circle(mut ranges: Vec<Range>) {
    ranges.sort_by_key(|range| range.upto);
    let last = ranges.last().expect("somebody owns something").upto;
    let mut end = last;
    for range in &ranges {
        assert_eq!(range.after, end, "{range} begins where the one before ends");
        end = range.upto;
    }
    assert_eq!(ranges.iter().map(|range| range.points()).sum::<u128>(), 1 << 64);
}

/// What each of `alive` says is its own, in a ring of its own, made in an order of its own.
fn own_ranges(alive: &[&str], make: impl Fn(&[&str]) -> Ring) -> Vec<Range> {
    let views = (0..alive.len()).flat_map(|turn| {
        let mut order = alive.to_vec();
        order.rotate_left(turn);
        let view = make(&order);
        let own = view.ranges_of(&id(order[0]));
        assert!(!own.is_empty(), "{} of {alive:?}", order[0]);
        own
    });
    views.collect()
}

#[test]
fn r23_own_ranges_never_overlap_and_together_cover_the_ring() {
    let one_token = |names: &[&str]| {
        let mut ring = Ring::default();
        let points = |name: &NodeId, _| std::iter::once(token(name, 0));
        ring.add_at(names.iter().map(|name| node(name)), points).expect("distinct names");
        ring
    };
    // In the order of their hashes, as the suite has it.
    let mut order = NAMES;
    order.sort_by_key(|name| token(&id(name), 0));
    let [start, middle, end] = [[0, 1], [2, 3], [5, 6]];
    let absent: Vec<Vec<usize>> = [start, middle, end]
        .iter()
        .flat_map(|pair| [vec![pair[0]], pair.to_vec()])
        .chain([vec![], vec![0, 6], vec![0, 3], vec![3, 6]])
        .collect();
    for absent in absent {
        let keep = |(at, name): (usize, &&'static str)| (!absent.contains(&at)).then_some(*name);
        let alive: Vec<&str> = order.iter().enumerate().filter_map(keep).collect();
        assert_they_cover_the_circle(own_ranges(&alive, one_token));
        assert_they_cover_the_circle(own_ranges(&alive, ring));
        // Who was absent joins, or who was there fails: the survivors' rings agree with new ones.
        let mut grown = ring(&alive);
        grown.add(absent.iter().map(|&at| node(order[at]))).expect("new");
        assert_eq!(grown, ring(&NAMES));
        for &at in &absent {
            assert!(grown.remove(&id(order[at])));
        }
        assert_eq!(grown, ring(&alive));
    }
}

#[test]
fn a_range_may_pass_over_zero_or_be_the_whole_circle() {
    let over_zero = Range { after: u64::MAX - 1, upto: 2 };
    assert_eq!(over_zero.points(), 4);
    for (point, is_in) in
        [(u64::MAX - 1, false), (u64::MAX, true), (0, true), (2, true), (3, false)]
    {
        assert_eq!(over_zero.contains(point), is_in, "{point}");
    }
    let from_zero = Range { after: u64::MAX, upto: 0 };
    assert_eq!((from_zero.points(), from_zero.contains(0)), (1, true));
    assert!(!from_zero.contains(u64::MAX) && !from_zero.contains(1));
    for whole in [Range::WHOLE, Range { after: 5, upto: 5 }] {
        assert_eq!(whole.points(), 1 << 64);
        assert!([0, 4, 5, 6, u64::MAX].into_iter().all(|point| whole.contains(point)));
    }
    assert_eq!(over_zero.to_string(), "(fffffffffffffffe, 0000000000000002]");
}

/// The difference as text.
fn said(old: &Ring, new: &Ring) -> Vec<String> {
    let said = old.difference(new).into_iter().map(|change| {
        let Range { after, upto } = change.range;
        let whole = format!("{change}");
        let (_, owners) = whole.split_once(" from ").expect("it says from whom");
        format!("{after}..={upto}: {owners}")
    });
    said.collect()
}

#[test]
fn what_changes_hands_is_said_in_few_ranges() {
    let old = ring_at(&[("n1", &[10, 30]), ("n2", &[20, 40])]);
    assert_eq!(said(&old, &old), [""; 0]);
    // Two tokens of one node, side by side, are one range.
    let new = ring_at(&[("n1", &[10, 30]), ("n2", &[20, 40]), ("n3", &[13, 16, 45, 50])]);
    assert_eq!(said(&old, &new), ["10..=16: n2 to n3", "40..=50: n1 to n3"]);
    assert_eq!(said(&new, &old), ["10..=16: n3 to n2", "40..=50: n3 to n1"]);
    // The first and the last stretch of the table are neighbours on the circle.
    let fewer = ring_at(&[("n2", &[20, 40])]);
    assert_eq!(said(&old, &fewer), ["40..=10: n1 to n2", "20..=30: n1 to n2"]);
    let max = u64::MAX;
    assert_eq!(said(&Ring::default(), &fewer), [format!("{max}..={max}: nobody to n2")]);
    assert_eq!(said(&fewer, &Ring::default()), [format!("{max}..={max}: n2 to nobody")]);
    assert_eq!(said(&Ring::default(), &Ring::default()), [""; 0]);
    let other = ring_at(&[("n1", &[7])]);
    assert_eq!(said(&fewer, &other), [format!("{max}..={max}: n2 to n1")]);
    // An equal token of a node with a later name changes nothing.
    let tied = ring_at(&[("n1", &[10, 30]), ("n2", &[20, 40]), ("n9", &[10, 40])]);
    assert_eq!(said(&old, &tied), [""; 0]);
}

#[test]
fn a_node_that_goes_gives_up_its_own_ranges_and_no_other() {
    let old = ring(&NAMES);
    let mut new = old.clone();
    assert!(new.remove(&id("n4")));
    let changes = old.difference(&new);
    assert!(changes.iter().all(|change| change.from == Some(id("n4"))));
    let points = |ranges: &[Range]| ranges.iter().map(|range| range.points()).sum::<u128>();
    let given: Vec<Range> = changes.iter().map(|change| change.range).collect();
    assert_eq!(points(&given), points(&old.ranges_of(&id("n4"))));
}

/// Points close together and at the ends of the numbers, so that they often meet.
fn some_point() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, u64::MAX - 20..=u64::MAX, any::<u64>()]
}

/// Nodes n1 to n5 with few tokens, some with none.
fn some_ring() -> impl Strategy<Value = Ring> {
    let tokens = proptest::collection::vec(some_point(), 0..6);
    proptest::collection::vec(tokens, 0..6).prop_map(|tokens| {
        let named: Vec<_> = NAMES.into_iter().zip(tokens.iter().map(Vec::as_slice)).collect();
        ring_at(&named)
    })
}

/// The owner by the definition: of the token that is met first, walking up from `point`.
fn owner_by_hand(ring: &Ring, point: u64) -> Option<NodeId> {
    let met = |(token, node): (u64, &NodeId)| (token.wrapping_sub(point), node.clone());
    ring.tokens().map(met).min().map(|(_, node)| node)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Goal: a difference is exactly what changes hands. Method: at every token, beside it, and at
    /// points at random, ask both rings, and look for the ranges that hold the point.
    #[test]
    fn a_point_changes_hands_if_and_only_if_it_lies_in_one_range(
        old in some_ring(),
        new in some_ring(),
        others in proptest::collection::vec(some_point(), 20),
    ) {
        let changes = old.difference(&new);
        let tokens = old.tokens().chain(new.tokens()).map(|(token, _)| token);
        let beside = tokens.flat_map(|token| [token.wrapping_sub(1), token, token.wrapping_add(1)]);
        for point in beside.chain(others) {
            let owners = (owner_by_hand(&old, point), owner_by_hand(&new, point));
            prop_assert_eq!(old.owner(point), owners.0.as_ref());
            let within: Vec<_> = changes.iter().filter(|c| c.range.contains(point)).collect();
            match within[..] {
                [] => prop_assert_eq!(&owners.0, &owners.1),
                [one] => {
                    prop_assert_eq!((&one.from, &one.to), (&owners.0, &owners.1));
                    prop_assert_ne!(&one.from, &one.to);
                }
                _ => prop_assert!(false, "{} lies in {:?}", point, within),
            }
        }
    }

    #[test]
    fn a_difference_is_sorted_as_short_as_can_be_and_reads_backwards(
        old in some_ring(),
        new in some_ring(),
    ) {
        let changes = old.difference(&new);
        let ends: Vec<u64> = changes.iter().map(|change| change.range.upto).collect();
        prop_assert!(ends.is_sorted_by(|left, right| left < right), "{:?}", changes);
        let later = changes.iter().skip(1);
        prop_assert!(later.clone().all(|change| change.range.after < change.range.upto));
        for (change, next) in changes.iter().zip(later.chain(changes.first())) {
            let meet = changes.len() > 1 && change.range.upto == next.range.after;
            let alike = (&change.from, &change.to) == (&next.from, &next.to);
            prop_assert!(!(meet && alike), "{change} and {next} are one");
        }
        let back = new.difference(&old).into_iter();
        let back: Vec<_> =
            back.map(|c| Change { range: c.range, from: c.to, to: c.from }).collect();
        prop_assert_eq!(changes, back);
    }

    #[test]
    fn ranges_cover_the_circle_and_belong_to_their_owners(
        ring in some_ring(),
        points in proptest::collection::vec(some_point(), 20),
    ) {
        let ranges = ring.ranges();
        if ring.tokens().len() > 0 {
            assert_they_cover_the_circle(ranges.iter().map(|(range, _)| *range).collect());
        }
        for point in points {
            let owners = ranges.iter().filter(|(range, _)| range.contains(point));
            let owners: Vec<_> = owners.map(|(_, owner)| *owner).collect();
            prop_assert_eq!(owners, ring.owner(point).into_iter().collect::<Vec<_>>());
        }
        let nodes: BTreeSet<_> = ring.tokens().map(|(_, node)| node.clone()).collect();
        let each: usize = nodes.iter().map(|node| ring.ranges_of(node).len()).sum();
        prop_assert_eq!(each, ranges.len());
    }
}
