use std::collections::BTreeSet;

use super::*;
use crate::observe::golden::golden;
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{Change, Claim, plan_formation};

/// Nodes with these weights and zones, `n1` the first.
fn formed(nodes: &[(u16, &str)], shards: u16, (copies, write_min): (u8, u8)) -> Cluster {
    let numbered = (1..).zip(nodes);
    let members = numbered.map(|(number, (weight, zone))| Claim {
        weight: *weight,
        zone: (*zone).into(),
        ..claim(number, 1, number.into())
    });
    let members: Vec<Claim> = members.collect();
    let constants = Constants { shards, ..constants(copies, write_min) };
    let assign = plan_formation(&constants, &members);
    let mut cluster = Cluster::default();
    let id = crate::base::ClusterId([1; 32]);
    cluster.accept(Change::Form { cluster: id, constants, members, assign });
    cluster
}

fn write_all(cluster: &mut Cluster) {
    let shards = u16::try_from(cluster.view.shards.len()).expect("few");
    for shard in 0..shards {
        cluster.write(ShardId(shard));
    }
}

fn ask(key: Option<&str>, join: Option<&str>, lose: Option<&str>) -> RingAsk {
    RingAsk {
        key: key.map(|key| key.parse().expect("a key")),
        join: join.map(|joiner| joiner.parse().expect("a joiner")),
        lose: lose.map(|node| node.parse().expect("a name")),
    }
}

fn report(cluster: &Cluster, ask: &RingAsk) -> RingReport {
    RingReport::new(&cluster.view, ask).expect("it may be asked")
}

#[test]
fn golden_text_of_the_ring() {
    let mut cluster = formed(&[(1, "east"), (1, "west"), (2, "")], 256, (2, 2));
    write_all(&mut cluster);
    let asks = [
        ("shares", ask(None, None, None)),
        ("a key", ask(Some("cart/alice"), None, None)),
        ("a join", ask(None, Some("n4:1:west"), None)),
        ("a loss", ask(None, None, Some("n3"))),
        ("all", ask(Some("cart/bob"), Some("n4"), Some("n1"))),
    ];
    let mut text = String::new();
    for (what, ask) in asks {
        let report = report(&cluster, &ask);
        text = format!("{text}== {what}\n{report}\n");
        let json = serde_json::to_string(&report).expect("it is written");
        let read: RingReport = serde_json::from_str(&json).expect("it is read");
        assert_eq!(read, report, "{what}");
    }
    let report = report(&cluster, &ask(Some("cart/alice"), Some("n4"), Some("n1")));
    let json = serde_json::to_string_pretty(&report).expect("it is written");
    golden("ring.txt", &format!("{text}== as JSON\n{json}\n"));
}

#[test]
fn parts_add_up_and_shares_follow_weights() {
    let cluster = formed(&[(1, ""), (2, ""), (5, ""), (0, "")], 1024, (3, 2));
    let report = report(&cluster, &RingAsk::default());
    let sum = |of: fn(&RingNode) -> u32| report.nodes.iter().map(of).sum::<u32>();
    assert!((999_998..=1_000_002).contains(&sum(|node| node.ring_ppm)), "rounded");
    assert_eq!((sum(|node| node.owns), sum(|node| node.holds)), (1024, 3 * 1024));
    let shares: Vec<(u64, u64)> = report.nodes.iter().map(|node| (node.share, node.cap)).collect();
    assert_eq!(shares, [(128, 160), (256, 320), (640, 800), (0, 0)]);
    let ring: Vec<u32> = report.nodes.iter().map(|node| node.ring_ppm).collect();
    assert!(ring[0] < ring[1] && ring[1] < ring[2] && ring[3] == 0, "{ring:?}");
    assert_eq!((report.ownerless, report.lost), (0, 0));
}

#[test]
fn a_key_is_where_the_view_has_its_shard() {
    let mut cluster = formed(&[(1, ""); 5], 64, (3, 2));
    for number in 0..200 {
        let key = format!("cart/{number}");
        let found = report(&cluster, &ask(Some(&key), None, None)).key.expect("asked");
        let shard = cluster.shard(found.shard);
        assert_eq!(found.shard, shard_of("cart", number.to_string().as_bytes(), 64));
        let owner = shard.owner.as_ref().expect("owned");
        assert_eq!((found.owner, found.owner_boot), (Some(owner.node.clone()), Some(owner.boot)));
        assert_eq!(found.epoch, shard.epoch);
        let stores: Vec<StoreId> = found.in_sync.iter().map(|holder| holder.store).collect();
        assert_eq!(stores, shard.in_sync);
        assert_eq!(found.preference.iter().collect::<BTreeSet<_>>().len(), 3, "distinct nodes");
    }
    // A member that is gone, and its store still needed.
    write_all(&mut cluster);
    let mut two = formed(&[(1, ""); 2], 16, (2, 2));
    write_all(&mut two);
    two.accept(two.eviction(2));
    let found = report(&two, &ask(Some("cart/a"), None, None)).key.expect("asked");
    let gone: Vec<_> = found.in_sync.iter().map(|one| (one.node.clone(), one.is_member)).collect();
    assert_eq!(gone, [(Some(id(1)), true), (Some(id(2)), false)]);
    assert!(found.has_records && found.to_string().contains("n2 (no member at present)"));
}

/// Nothing but the joiner gets a shard, and it gets its share; the view asked is as it was.
#[test]
fn a_join_fills_the_joiner_and_moves_nothing_else() {
    for (nodes, records) in [(1, true), (3, false), (3, true), (9, true)] {
        let mut cluster = formed(&vec![(1, ""); nodes], 256, (2, 1));
        if records {
            write_all(&mut cluster);
        }
        let before = cluster.view.clone();
        let found = report(&cluster, &ask(None, Some("n99:2"), None)).join.expect("asked");
        assert_eq!(before, cluster.view);
        assert!(found.is_complete, "{nodes}");
        let weight = u64::try_from(nodes).expect("few") + 2;
        assert_eq!(u64::from(found.shards), share(256, 2, weight), "{nodes} nodes");
        let to = |pair: &Handover| pair.to == Some(id(99)) && pair.from.is_some();
        assert!(found.handovers.iter().all(to), "{found:?}");
        let moved: u32 = found.handovers.iter().map(|pair| pair.shards).sum();
        assert_eq!(moved, found.shards);
        let copied: u32 = found.copies.iter().map(|copying| copying.shards).sum();
        assert_eq!(copied >= found.shards, records, "{found:?}");
        assert_eq!((found.ownerless, found.unwritable), (0, 0));
    }
}

/// What is said of a loss is what the eviction does that the authority would propose.
#[test]
fn a_loss_is_told_as_the_eviction_does_it() {
    for nodes in [2, 3, 8] {
        let mut cluster = formed(&vec![(1, ""); nodes], 256, (2, 1));
        write_all(&mut cluster);
        let found = report(&cluster, &ask(None, None, Some("n1"))).lose.expect("asked");
        let owned = cluster.of(1);
        let before = cluster.view.clone();
        cluster.accept(cluster.eviction(1));
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (number, shard) in cluster.view.numbered() {
            let old = before.shard(number).expect("a shard");
            let (now, then) = (shard.owner.clone(), old.owner.clone());
            if now != then {
                *counts.entry(now.expect("a holder takes it").node).or_default() += 1;
            }
        }
        let told = found.handovers.iter().map(|pair| {
            assert_eq!(pair.from, Some(id(1)));
            (pair.to.clone().expect("somebody"), pair.shards)
        });
        let told: BTreeMap<NodeId, u32> = told.filter(|(_, shards)| *shards > 0).collect();
        assert_eq!(told, counts, "{nodes} nodes");
        assert_eq!(usize::try_from(found.shards).expect("few"), owned.len());
        let copied: u32 = found.copies.iter().map(|copying| copying.shards).sum();
        assert_eq!(copied > 0, nodes > 2, "copies need a third node: {found:?}");
    }
}

#[test]
fn a_loss_that_stops_shards_says_so() {
    let mut one = formed(&[(1, ""), (1, "")], 16, (1, 1));
    write_all(&mut one);
    let found = report(&one, &ask(None, None, Some("n2"))).lose.expect("asked");
    let owned = u32::try_from(one.of(2).len()).expect("few");
    assert_eq!((found.ownerless, found.shards), (owned, owned), "their only store is gone");
    assert!(found.handovers.iter().any(|pair| pair.to.is_none()));
    let mut two = formed(&[(1, ""), (1, "")], 16, (2, 2));
    write_all(&mut two);
    let report = report(&two, &ask(None, None, Some("n2")));
    let found = report.lose.as_ref().expect("asked");
    assert_eq!((found.ownerless, found.unwritable), (0, 16), "one store is left of two");
    assert!(report.to_string().contains("take no writes until they are copied: 16"), "{report}");
}

#[test]
fn what_cannot_be_asked_is_refused_in_words() {
    let cluster = formed(&[(1, ""); 12], 16, (3, 2));
    let refused = |ask: &RingAsk| RingReport::new(&cluster.view, ask).expect_err("no").to_string();
    let unknown = refused(&ask(None, None, Some("n77")));
    assert!(
        unknown.starts_with("n77 is no member of the cluster; members are n1, n10"),
        "{unknown}"
    );
    assert!(unknown.ends_with("and 2 others"), "{unknown}");
    assert_eq!(refused(&ask(None, Some("n2:3"), None)), "n2 is a member already");
    let none = RingReport::new(&View::default(), &RingAsk::default());
    assert_eq!(none, Err(RingAskError::NotFormed));
}

/// Names that a program chose reach a terminal escaped.
#[test]
fn zones_and_keys_do_not_steer_terminals() {
    let mut cluster = formed(&[(1, "\u{1b}[2J"), (1, "")], 16, (1, 1));
    write_all(&mut cluster);
    let text = report(&cluster, &ask(Some("cart/\u{202e}x"), None, Some("n1"))).to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    assert!(text.contains(r"\u{1b}[2J") && text.contains(r"\u{202e}x"), "{text}");
}
