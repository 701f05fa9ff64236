//! Goal: whatever happened between two views, what is told leads from one to the other. Method:
//! random changes of a small cluster, and every pair of the views they made.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::delta::{Misfit, Patch, Tail};
use super::*;
use crate::base::{ShardId, VoterId};
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{Change, plan_join};

/// What happens next; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Act {
    Write(u16),
    Evict(u16),
    Join(u16),
    Voters(Vec<u16>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<u16>().prop_map(Act::Write),
        any::<u16>().prop_map(Act::Evict),
        any::<u16>().prop_map(Act::Join),
        vec(1..6_u16, 1..4).prop_map(Act::Voters),
    ]
}

/// Every view on the way, the empty one first.
fn walk(acts: &[Act]) -> Vec<View> {
    let mut views = vec![View::default()];
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    views.push(cluster.view.clone());
    let mut boots = [1; 8];
    for (act, index) in acts.iter().zip(1_000..) {
        match act {
            Act::Write(shard) => {
                let shard = ShardId(shard % 16);
                let now = cluster.shard(shard);
                let live = |store| cluster.view.member_of_store(store).is_some();
                let enough = now.in_sync.len() > 1 && now.in_sync.iter().all(|one| live(*one));
                if now.owner.is_some() && !now.has_records && enough {
                    cluster.write(shard);
                }
            }
            Act::Evict(node) => {
                let node = node % 6 + 1;
                if cluster.view.members.contains_key(&id(node)) {
                    let eviction = cluster.eviction(node);
                    cluster.accept(eviction);
                }
            }
            Act::Join(node) => {
                let node = node % 6 + 1;
                if !cluster.view.members.contains_key(&id(node)) {
                    let boot = &mut boots[usize::from(node)];
                    *boot += 1;
                    let claim = claim(node, *boot, u128::from(*boot) * 100 + u128::from(node));
                    let assign = plan_join(&cluster.view, &claim);
                    cluster.accept(Change::Join { claim, assign });
                }
            }
            Act::Voters(nodes) => {
                let voters = nodes.iter().map(|node| (VoterId((*node).into()), id(*node)));
                cluster.view.apply_voters(index, voters.collect());
            }
        }
        if views.last().is_some_and(|last| last.version < cluster.view.version) {
            views.push(cluster.view.clone());
        }
    }
    views
}

fn read(news: &Bytes) -> News {
    decode(news).expect("it is read back")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_changed_leads_from_any_view_to_any_later_one(acts in vec(act(), 0..24)) {
        let views = walk(&acts);
        for (at, old) in views.iter().enumerate() {
            for new in &views[at + 1..] {
                let bytes = encode(&News::Delta(Box::new(Delta::between(old, new))));
                prop_assert_eq!(read(&bytes).apply(old), Some(bare(new)));
                // It is for that view alone.
                for other in views.iter().filter(|other| other.version != old.version) {
                    prop_assert_eq!(read(&bytes).apply(other), None);
                }
            }
        }
    }

    #[test]
    fn a_queue_and_a_map_are_followed(
        queues in (vec(0..3_u8, 0..8), vec(0..3_u8, 0..8)),
        maps in (btree_map(0..6_u8, 0..3_u8, 0..6), btree_map(0..6_u8, 0..3_u8, 0..6)),
    ) {
        let (old, new): (VecDeque<_>, VecDeque<_>) = (queues.0.into(), queues.1.into());
        let mut queue = old.clone();
        Tail::of(&old, &new).apply(&mut queue);
        prop_assert_eq!(queue, new);
        let mut map = maps.0.clone();
        Patch::of(&maps.0, &maps.1).apply(&mut map);
        prop_assert_eq!(map, maps.1);
    }
}

#[test]
fn an_asker_gets_what_changed_or_all_of_it() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let first = cluster.view.clone();
    let mut kept = Kept::default();
    kept.push(&first);
    assert!(kept.since(first.version).is_empty(), "nothing is newer");
    let whole = kept.since(Version(0));
    assert!(matches!(read(&whole), News::Whole(_)));
    assert_eq!(read(&whole).apply(&View::default()), Some(bare(&first)));
    assert_eq!(read(&whole).apply(&first), None, "it is not newer");
    let mut all = vec![first];
    for shard in 0..16 {
        cluster.write(ShardId(shard));
        kept.push(&cluster.view);
        all.push(cluster.view.clone());
    }
    let newest = bare(&cluster.view);
    let (one, all_of_it) = (kept.since(all[15].version), encode(&newest));
    assert!(one.len() * 5 < all_of_it.len(), "{} of {}", one.len(), all_of_it.len());
    for old in &all[..all.len() - 1] {
        let news = kept.since(old.version);
        assert!(matches!(read(&news), News::Delta(_)), "{} is kept", old.version);
        assert_eq!(read(&news).apply(old), Some(newest.clone()));
        // The next one that asks so gets the very bytes.
        assert_eq!(kept.since(old.version).as_ptr(), news.as_ptr());
    }
    for index in 0..u64::try_from(KEPT_VIEWS).unwrap() {
        let voter = VoterId(index);
        cluster.view.apply_voters(1_000 + index, [(voter, id(1))].into());
        kept.push(&cluster.view);
    }
    assert_eq!((kept.views.len(), kept.answers.len()), (KEPT_VIEWS, KEPT_ANSWERS));
    let news = kept.since(all[1].version);
    assert!(matches!(read(&news), News::Whole(_)), "that old a view is kept no more");
    assert_eq!(read(&news).apply(&all[1]), Some(bare(&cluster.view)));
    // An older one than the newest is not kept again.
    kept.push(&all[0]);
    assert_eq!(kept.views.back().map(|view| view.version), Some(cluster.view.version));
}

/// Goal: no lie makes a view of other shards than there are. Method: numbers that do not fit.
#[test]
fn what_fits_no_view_is_refused() {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    let old = cluster.view.clone();
    cluster.write(ShardId(3));
    let good = Delta::between(&old, &cluster.view);
    assert_eq!(good.shards.len(), 1);
    let shard = Arc::clone(&good.shards[0].1);
    let lies = [
        Delta { from: Version(7), ..good.clone() },
        Delta { to: good.from, ..good.clone() },
        Delta { shards: vec![(ShardId(16), shard.clone())], ..good.clone() },
        Delta { shards: vec![(ShardId(u16::MAX), shard)], ..good.clone() },
        Delta { shard_count: 17, ..good.clone() },
    ];
    for lie in lies {
        assert_eq!(lie.clone().apply(&old), Err(Misfit), "{lie:?}");
    }
    assert_eq!(good.apply(&old), Ok(bare(&cluster.view)));
    // Of another cluster, or of a quorum before: whole or not.
    let new = bare(&cluster.view);
    let other = View { cluster: crate::base::ClusterId([9; 32]), ..new.clone() };
    for lie in [Delta::between(&old, &other), Delta::between(&old, &new)] {
        let good = lie.cluster == new.cluster;
        assert_eq!(News::Delta(Box::new(lie)).apply(&old).is_some(), good);
    }
    assert_eq!(News::Whole(Box::new(other)).apply(&old), None);
    let recovered = View { quorum_generation: 1, ..old.clone() };
    assert_eq!(News::Whole(Box::new(new)).apply(&recovered), None);
    // A whole view that keeps none of the rules is none.
    let broken = View { stores: BTreeMap::new(), ..bare(&cluster.view) };
    assert_eq!(News::Whole(Box::new(broken)).apply(&old), None);
}

#[test]
fn golden_bytes_of_the_feed() {
    use crate::authority::golden::node;
    use crate::authority::raft::golden::view;
    use crate::wire::golden::Golden;

    let mut golden = Golden::new("authority/golden/feed.txt");
    let poll = Poll { have: Version(40), patience_ms: 500 };
    golden.add(("feed", "poll"), &poll, &encode(&poll), decode::<Poll>);
    let quiet = Told { leader: None, first_hand: false, news: Bytes::new() };
    let leader = Some(node("n2"));
    let told = Told { leader, first_hand: true, news: Bytes::from_static(b"encoded news") };
    for (name, told) in [("told nothing", quiet), ("told", told)] {
        golden.add(("feed", name), &told, &encode(&told), decode::<Told>);
    }
    let new = bare(&view());
    let old = View {
        version: Version(39),
        shards: vec![new.shards[1].clone(), new.shards[1].clone()],
        members: new
            .members
            .iter()
            .skip(1)
            .map(|(name, one)| (name.clone(), one.clone()))
            .collect(),
        ..new.clone()
    };
    let delta = News::Delta(Box::new(Delta::between(&old, &new)));
    for (name, news) in [("whole", News::Whole(Box::new(new))), ("delta", delta)] {
        golden.add(("feed", name), &news, &encode(&news), decode::<News>);
    }
    golden.compare();
}

#[test]
fn askers_that_wait_are_bounded() {
    let mut waiting = Waiting::default();
    let first = id(0);
    for _ in 0..POLLS_OF_ONE_MAX {
        assert!(waiting.admit(&first));
    }
    assert!(!waiting.admit(&first), "one node takes no more");
    let mut node = 0;
    while waiting.all < POLLS_MAX {
        node += 1;
        assert!(waiting.admit(&id(node)));
    }
    assert!(!waiting.admit(&id(node + 1)), "nor do all");
    waiting.done(&first);
    assert!(waiting.admit(&id(node + 1)));
    waiting.done(&id(node + 1));
    for _ in 1..POLLS_OF_ONE_MAX {
        waiting.done(&first);
    }
    for node in 1..=node {
        waiting.done(&id(node));
    }
    assert_eq!((waiting.all, waiting.by_node.len()), (0, 0));
}
