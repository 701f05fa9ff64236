use super::*;
use crate::observe::golden::golden;
use crate::placement::tests::{Cluster, constants, id};

fn ask(all: bool, node: Option<u16>, state: Option<ShardState>) -> ShardsAsk {
    ShardsAsk { all, node: node.map(id), state }
}

fn report(view: &View, ask: &ShardsAsk) -> ShardsReport {
    ShardsReport::new(view, &id(1), ask).expect("it may be asked")
}

/// Four nodes, all shards with records; `n4` is gone, one shard is lost and one is on its way.
fn troubled() -> Cluster {
    let mut cluster = Cluster::formed(4, &constants(2, 2));
    for shard in 0..16 {
        cluster.write(ShardId(shard));
    }
    cluster.accept(cluster.eviction(4));
    let own = |shard: &Shard| shard.owner.clone();
    let first = cluster.view.numbered().find_map(|(at, shard)| Some((at, own(shard)?)));
    let (moving, from) = first.expect("one is owned");
    let to = cluster.view.members.iter().find(|(name, _)| **name != from.node);
    let (node, boot) = to.map(|(name, member)| (name.clone(), member.boot)).expect("another");
    let shard = Arc::make_mut(&mut cluster.view.shards[usize::from(moving.0)]);
    shard.moving = Some(crate::placement::Owner { node, boot });
    let lost = Arc::make_mut(cluster.view.shards.last_mut().expect("there are shards"));
    (lost.owner, lost.lost) = (None, true);
    lost.in_sync.clear();
    cluster
}

#[test]
fn golden_text_of_the_shards() {
    let good = Cluster::formed(3, &constants(3, 2));
    let bad = troubled();
    let reports = [
        ("as they should be", report(&good.view, &ask(false, None, None))),
        ("in trouble", report(&bad.view, &ask(true, None, None))),
        ("lost ones", report(&bad.view, &ask(false, None, Some(ShardState::Lost)))),
        ("of one node", report(&bad.view, &ask(false, Some(2), Some(ShardState::Owned)))),
    ];
    let mut text = String::new();
    for (what, report) in &reports {
        text = format!("{text}== {what}\n{report}\n");
        let json = serde_json::to_string(report).expect("it is written");
        let read: ShardsReport = serde_json::from_str(&json).expect("it is read");
        assert_eq!(read, *report, "{what}");
    }
    let json = serde_json::to_string_pretty(&reports[2].1).expect("it is written");
    golden("shards.txt", &format!("{text}== as JSON\n{json}\n"));
}

#[test]
fn what_is_listed_is_what_is_counted() {
    let view = troubled().view;
    let all = report(&view, &ask(true, None, None));
    assert_eq!(all.listed.len(), 16);
    for state in ShardState::ALL {
        let listed = report(&view, &ask(false, None, Some(state))).listed;
        assert_eq!(listed.len(), all.count(state) as usize, "{state}");
        assert!(listed.iter().all(|row| row.states.contains(&state)), "{state}");
        assert_eq!(state.name().parse(), Ok(state));
    }
    assert_eq!((all.count(ShardState::Lost), all.count(ShardState::Moving)), (1, 1));
    let away: u32 = all.nodes.iter().map(|node| node.moving_away).sum();
    let here: u32 = all.nodes.iter().map(|node| node.moving_here).sum();
    assert_eq!((away, here), (1, 1));
    // With n4 went one of two copies of some: they stand in `away` until others are made.
    let gone = all.listed.iter().filter(|row| row.away == [id(4)]).count();
    assert!(gone > 0 && all.count(ShardState::Unwritable) as usize == gone + 1, "{all}");
    let of_two = report(&view, &ask(false, Some(2), None)).listed;
    let has = |row: &&ShardRow| {
        row.in_sync.contains(&id(2)) || row.moving_to == Some(id(2)) || row.owner == Some(id(2))
    };
    assert_eq!(of_two.len(), all.listed.iter().filter(has).count());
}

#[test]
fn who_is_no_member_and_what_is_no_state_are_told() {
    let cluster = Cluster::formed(3, &constants(3, 2));
    let unknown = ShardsReport::new(&cluster.view, &id(1), &ask(false, Some(9), None));
    let said = unknown.expect_err("no member").to_string();
    assert!(said.contains("n9 is no member") && said.contains("n1, n2, n3"), "{said}");
    let nothing = ShardsReport::new(&View::default(), &id(1), &ShardsAsk::default());
    assert_eq!(nothing, Err(RingAskError::NotFormed));
    let error = "LOST".parse::<ShardState>().expect_err("capital letters").to_string();
    assert!(error.contains("\"LOST\"") && error.contains("owned, ownerless, lost"), "{error}");
}
