//! What may never change: computed by another program, from the design alone.

use super::*;
use crate::base::ShardId;

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

/// Short texts take another way than long ones.
#[test]
fn any_parts_of_any_length_have_the_hash_of_the_whole() {
    let bytes: Vec<u8> = (0..=255).collect();
    for length in 0..200 {
        let whole = &bytes[..length];
        let want: [u8; 20] = <sha1::Sha1 as sha1::Digest>::digest(whole).into();
        let leading = want[..8].try_into().map(u64::from_be_bytes).ok();
        for cut in [0, 1, length / 3, length.saturating_sub(1), length] {
            let (before, after) = whole.split_at(cut.min(length));
            for parts in [&[before, after][..], &[before, &[], after], &[whole]] {
                assert_eq!(sha1(parts), want, "{length} bytes, cut at {cut}");
                assert_eq!(Some(point(parts)), leading);
            }
        }
    }
}

/// From `printf 'n1#0' | sha1sum` and its like.
#[test]
fn tokens_points_and_shards_are_those_on_disk_and_on_the_wire() {
    for (name, index, want) in [
        ("n1", 0, 0x8b93_0e42_6713_b0e1),
        ("n1", 127, 0x9df0_afde_d8dc_2d51),
        ("n3", 255, 0x654e_1b11_6a04_1eb8),
        ("db-7.eu.example", 64, 0xc314_c297_16b2_52fd),
        ("0", 0, 0xb7fa_1bba_4846_fd5e),
    ] {
        assert_eq!(token(&id(name), index), want, "{name}#{index}");
    }
    assert_eq!(shard_point(ShardId(0)), 0xf097_450d_9501_7b98);
    assert_eq!(shard_point(ShardId(4095)), 0x08f0_f4d8_7fdd_475f);
    assert_eq!(shard_of("cart", b"alice", 4096), ShardId(2003));
    assert_eq!(shard_of("cart", b"alice", 256), ShardId(125));
    assert_eq!(shard_of("cart", b"alice", 2), ShardId(0));
    assert_eq!(shard_of("cart", b"alice", 1), ShardId(0));
    assert_ne!(shard_of("carta", b"lice", 4096), shard_of("cart", b"alice", 4096));
}

/// Weights 1, 1, 2, 1 and 0; three zones and a node without one.
fn five() -> Ring {
    let members =
        [("n1", 1, "a"), ("n2", 1, "b"), ("n3", 2, "a"), ("db-7.eu.example", 1, ""), ("0", 0, "c")];
    Ring::build(members.map(|(name, weight, zone)| (id(name), weight, zone.to_owned())))
        .expect("distinct names")
}

#[test]
fn all_tokens_of_five_nodes() {
    let ring = five();
    let some: Vec<_> = ring.tokens().map(|(token, node)| (token, node.as_str())).collect();
    assert_eq!(some.len(), 640);
    assert_eq!(
        [some[0], some[1], some[2], some[638], some[639]],
        [
            (0x0097_7af2_f1a2_fdb8, "n3"),
            (0x00a1_48ae_1c01_e0f2, "n1"),
            (0x0166_6b88_d685_13b5, "n3"),
            (0xffdd_8501_c0e4_f8f5, "n3"),
            (0xffe5_c0db_da74_8f24, "n2"),
        ]
    );
    let lines = some.iter().map(|(token, node)| format!("{token:016x} {node}\n"));
    let hash = sha1(&[lines.collect::<String>().as_bytes()]);
    let hash = hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(hash, "e8af01114bae30e3228691d8333567382159c7d9", "of one line per token");
}

#[test]
fn owners_and_preference_lists_of_keys_and_shards() {
    let ring = five();
    let table: &[(&str, u64, &str, &str)] = &[
        // what is hashed, its point, the walk, three nodes of which other zones go first
        ("key1", 0x1073_ab6c_da4b_991c, "n2 n1 db n3", "n2 n1 db"),
        ("key2", 0x87ba_78e0_f03a_fcef, "n2 n1 n3 db", "n2 n1 db"),
        ("alice", 0x522b_276a_356b_df39, "n3 n1 db n2", "n3 db n2"),
        ("", 0xda39_a3ee_5e6b_4b0d, "n2 n3 db n1", "n2 n3 db"),
        ("0", 0xb658_9fc6_ab0d_c82c, "n2 db n3 n1", "n2 db n3"),
        ("ключ", 0xb36a_f61a_5d76_b466, "db n2 n1 n3", "db n2 n1"),
        ("cart\0alice", 0x7d38_d67d_820b_9f41, "n3 db n2 n1", "n3 db n2"),
        ("shard#0", 0xf097_450d_9501_7b98, "n3 db n2 n1", "n3 db n2"),
        ("shard#1", 0x5337_724a_0c38_57b1, "n1 db n2 n3", "n1 db n2"),
        ("shard#2047", 0x6717_598c_fb04_ac64, "db n3 n2 n1", "db n3 n2"),
        ("shard#4095", 0x08f0_f4d8_7fdd_475f, "n1 n2 n3 db", "n1 n2 db"),
    ];
    let short = |nodes: Vec<&NodeId>| {
        let names = nodes.iter().map(|node| node.as_str().split('-').next().unwrap_or(""));
        names.collect::<Vec<_>>().join(" ")
    };
    for (hashed, at, walk, list) in table {
        assert_eq!(point(&[hashed.as_bytes()]), *at, "{hashed:?}");
        assert_eq!(short(ring.clockwise(*at).collect()), *walk, "{hashed:?}");
        assert_eq!(short(ring.preference_list(*at, 3)), *list, "{hashed:?}");
        assert_eq!(ring.owner(*at), ring.clockwise(*at).next());
    }
}

/// `"member" + "10"` and `"member1" + "0"` are one text; with `#` between they are two.
#[test]
fn labels_that_collide_without_a_mark_are_distinct_points() {
    let labels = |name: &str| (0..11).map(|index| format!("{name}{index}")).collect();
    let (few, more): (BTreeSet<String>, BTreeSet<String>) = (labels("member"), labels("member1"));
    assert!(few.contains("member10") && more.contains("member10"), "the case itself");
    let mut ring = Ring::default();
    let points = |name: &NodeId, _| {
        let name = name.clone();
        (0..11).map(move |index| token(&name, index))
    };
    ring.add_at([node("member"), node("member1")], points).expect("distinct names");
    let distinct: BTreeSet<u64> = ring.tokens().map(|(token, _)| token).collect();
    assert_eq!((ring.tokens().len(), distinct.len()), (22, 22));
    for name in ["member", "member1"] {
        assert_eq!(ring.tokens().filter(|(_, node)| **node == id(name)).count(), 11);
    }
}
