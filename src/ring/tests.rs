use proptest::prelude::*;

use super::*;

fn id(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

fn node(name: &str) -> (NodeId, u16, String) {
    (id(name), 1, String::new())
}

fn ring(names: &[&str]) -> Ring {
    Ring::build(names.iter().map(|name| node(name))).expect("distinct names")
}

fn key(index: u32) -> u64 {
    leading(sha1(&[index.to_string().as_bytes()]))
}

#[test]
fn r01_sha1_is_the_one_of_the_standard() {
    for (text, want) in [
        ("abc", [0xa999_3e36, 0x4706_816a, 0xba3e_2571, 0x7850_c26c, 0x9cd0_d89d]),
        ("", [0xda39_a3ee, 0x5e6b_4b0d, 0x3255_bfef, 0x9560_1890, 0xafd8_0709]),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            [0x8498_3e44, 0x1c3b_d26e, 0xbaae_4aa1, 0xf951_29e5, 0xe546_70f1],
        ),
    ] {
        let hash = sha1(&[text.as_bytes()]);
        let words = hash.chunks_exact(4).map(|word| word.try_into().map(u32::from_be_bytes));
        assert_eq!(words.collect::<Result<Vec<_>, _>>().expect("of four"), want, "{text:?}");
    }
    assert_eq!(sha1(&[b"a", b"bc"]), sha1(&[b"abc"]), "parts are joined");
}

/// From `printf 'n1#0' | sha1sum` and its like: nothing of this may ever change.
#[test]
fn hashes_are_those_on_disk_and_on_the_wire() {
    assert_eq!(token(&id("n1"), 0), 0x8b93_0e42_6713_b0e1);
    assert_eq!(token(&id("n1"), 127), 0x9df0_afde_d8dc_2d51);
    assert_eq!(shard_point(ShardId(0)), 0xf097_450d_9501_7b98);
    assert_eq!(shard_point(ShardId(4095)), 0x08f0_f4d8_7fdd_475f);
    assert_eq!(shard_of("cart", b"alice", 4096), ShardId(0x7d38 >> 4));
    assert_eq!(shard_of("cart", b"alice", 256), ShardId(0x7d38 >> 8));
    assert_eq!(shard_of("cart", b"alice", 2), ShardId(0x7d38 >> 15));
    assert_eq!(shard_of("cart", b"alice", 1), ShardId(0));
    assert_ne!(shard_of("carta", b"lice", 4096), shard_of("cart", b"alice", 4096));
}

#[test]
fn r03_equal_nodes_in_another_order_have_equal_owners() {
    let names = ["n1", "n2", "n3", "n4", "n5"];
    let forwards = ring(&names);
    let backwards = Ring::build(names.iter().rev().map(|name| node(name))).expect("distinct");
    let mut grown = Ring::default();
    for name in ["n3", "n1", "n5", "n2", "n4"] {
        grown.add([node(name)]).expect("new");
    }
    assert_eq!(forwards, backwards);
    assert_eq!(forwards, grown);
    for index in 0..1_000 {
        assert_eq!(forwards.owner(key(index)), grown.owner(key(index)));
    }
}

#[test]
fn r05_an_empty_ring_has_no_owner_and_a_single_node_owns_everything() {
    let mut ring = Ring::default();
    assert_eq!(ring.owner(7), None);
    assert!(ring.preference_list(7, 3).is_empty());
    ring.add([node("n1")]).expect("new");
    for point in [0, 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(ring.owner(point), Some(&id("n1")));
    }
}

#[test]
fn r06_adding_is_whole_or_not_at_all_and_removing_the_unknown_does_nothing() {
    let per_node = usize::try_from(TOKENS_PER_WEIGHT).expect("small");
    let mut ring = ring(&["n1", "n2"]);
    assert_eq!(ring.tokens().len(), 2 * per_node);
    assert!(ring.tokens().is_sorted());
    assert!(ring.remove(&id("n1")));
    assert_eq!(ring.tokens().len(), per_node);
    assert!(!ring.remove(&id("n9")));
    assert_eq!(ring.tokens().len(), per_node);
    let before = ring.clone();
    let refused = ring.add([node("n3"), node("n2"), node("n4")]);
    assert_eq!(refused, Err(RingError::Known(id("n2"))));
    assert_eq!(ring, before, "no partial addition");
    assert_eq!(ring.add([node("n3"), node("n3")]), Err(RingError::Known(id("n3"))));
    assert_eq!(ring, before);
}

#[test]
fn r08_a_preference_list_is_distinct_in_ring_order_and_starts_with_the_owner() {
    let ring = ring(&["n1", "n2", "n3"]);
    for index in 0..500 {
        let all: Vec<_> = ring.clockwise(key(index)).collect();
        for (copies, want) in [(0, 0), (1, 1), (2, 2), (3, 3), (5, 3)] {
            let list = ring.preference_list(key(index), copies);
            assert_eq!(list, all[..want], "ring order");
        }
        assert_eq!(ring.owner(key(index)), Some(all[0]));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3, "distinct");
    }
}

#[test]
fn r10_a_node_that_goes_or_comes_moves_only_its_own_keys() {
    let names = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    let before = ring(&names);
    let mut fewer = before.clone();
    assert!(fewer.remove(&id("n4")));
    let mut more = before.clone();
    more.add([node("n9")]).expect("new");
    let (mut gone, mut come) = (0, 0);
    for index in 0..1_000_000 {
        let point = key(index);
        let old = before.owner(point);
        if fewer.owner(point) != old {
            assert_eq!(old, Some(&id("n4")), "key {index} moved though its node stayed");
            gone += 1;
        }
        let new = more.owner(point);
        if new != old {
            assert_eq!(new, Some(&id("n9")), "key {index} moved between old nodes");
            come += 1;
        }
    }
    assert!(gone > 0 && come > 0, "something moved: {gone}, {come}");
}

#[test]
fn a_point_equal_to_a_token_belongs_to_it_and_past_the_last_the_circle_closes() {
    let ring = ring(&["n1", "n2", "n3"]);
    for (point, node) in ring.tokens() {
        assert_eq!(ring.owner(*point), Some(node));
    }
    let (last, _) = ring.tokens()[ring.tokens().len() - 1];
    assert_eq!(ring.owner(last + 1), Some(&ring.tokens()[0].1));
}

#[test]
fn other_zones_come_first() {
    let zoned = |name: &str, zone: &str| (id(name), 1, zone.to_owned());
    let nodes = [zoned("n1", "a"), zoned("n2", "a"), zoned("n3", "a"), zoned("n4", "b")];
    let ring = Ring::build(nodes).expect("distinct");
    let mut late = 0;
    for index in 0..500 {
        let list = ring.preference_list(key(index), 2);
        assert!(list.contains(&&id("n4")), "the only node of zone b is always among two");
        assert_eq!(Some(list[0]), ring.owner(key(index)));
        late += usize::from(!ring.clockwise(key(index)).take(2).any(|node| *node == id("n4")));
        assert_eq!(ring.preference_list(key(index), 4).len(), 4);
    }
    assert!(late > 0, "without zones some lists would lack it");
}

#[test]
fn weight_is_a_number_of_tokens() {
    let mut ring = Ring::build([(id("n1"), 3, String::new()), node("n2")]).expect("distinct");
    assert_eq!(ring.tokens().len(), 4 * 128);
    ring.add([(id("n3"), 0, String::new())]).expect("new");
    assert!((0..500).all(|index| ring.owner(key(index)) != Some(&id("n3"))), "weight 0 owns none");
}

proptest! {
    #[test]
    fn every_order_of_the_same_nodes_ranks_alike(
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,5}", 1..8),
        turn in 0..8_usize,
        point in any::<u64>(),
    ) {
        let mut order: Vec<&str> = names.iter().map(String::as_str).collect();
        let sorted = ring(&order);
        let turn = turn % order.len();
        order.rotate_left(turn);
        order.reverse();
        let turned = ring(&order);
        prop_assert_eq!(sorted.preference_list(point, 3), turned.preference_list(point, 3));
    }
}
