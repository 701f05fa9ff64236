use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::*;
use crate::observe::golden::golden;
use crate::placement::tests::{Cluster, claim, constants, id};
use crate::placement::{Change, Noted, Transfer, View, plan_ownerless};

/// Three nodes, and every shard with records.
fn written() -> Cluster {
    let mut cluster = Cluster::formed(3, &constants(2, 2));
    for shard in 0..16 {
        cluster.write(ShardId(shard));
    }
    cluster
}

/// What `change` changes.
fn step(cluster: &mut Cluster, change: Change) -> Vec<ViewChange> {
    let before = cluster.view.clone();
    cluster.accept(change);
    changes(&before, &cluster.view)
}

fn join(node: u16, boot: u64) -> Change {
    Change::Join { claim: claim(node, boot, node.into()), assign: Vec::new() }
}

/// The first shards of some node, on their way to another that holds them.
fn moves(cluster: &Cluster) -> Change {
    let view = &cluster.view;
    let transfer = |(shard, now): (ShardId, &crate::placement::Shard)| {
        let owner = now.owner.clone()?;
        let mut others = now.in_sync.iter().filter_map(|store| view.member_of_store(*store));
        let (node, member) = others.find(|(node, _)| **node != owner.node)?;
        Some(Transfer {
            shard,
            expected_epoch: now.epoch,
            expected_generation: now.in_sync_generation,
            to: Owner { node: node.clone(), boot: member.boot },
        })
    };
    let moves = view.numbered().filter_map(transfer).take(2).collect();
    Change::Move { cause: "n1 has too many".into(), moves }
}

/// One entry after another, as a cluster lives.
fn story() -> Vec<(&'static str, Vec<ViewChange>)> {
    let mut told = Vec::new();
    let mut cluster = Cluster::formed(3, &constants(2, 2));
    told.push(("formed", changes(&View::default(), &cluster.view)));
    let shard = ShardId(3);
    let (in_sync, when) = (cluster.shard(shard).in_sync.clone(), cluster.when(shard));
    told.push(("a first record", step(&mut cluster, Change::HasRecords { shard, in_sync, when })));
    for shard in (0..16).filter(|shard| *shard != 3) {
        cluster.write(ShardId(shard));
    }
    told.push(("a join", step(&mut cluster, join(4, 1))));
    let change = moves(&cluster);
    told.push(("a move", step(&mut cluster, change)));
    let moving = cluster.view.moves().into_keys();
    let shards = moving.map(|shard| (shard, cluster.shard(shard).epoch)).collect();
    let change = Change::MoveAborted { cause: "n2 does not answer".into(), shards };
    told.push(("no move after all", step(&mut cluster, change)));
    let (node, boot) = (id(3), Boot(1));
    told.push(("a drain", step(&mut cluster, Change::Drain { node, boot, on: true })));
    let change = cluster.eviction(2);
    told.push(("an eviction", step(&mut cluster, change)));
    told.push(("it is back", step(&mut cluster, join(2, 2))));
    let claim = claim(1, 2, 1);
    let change = Change::Rejoin { replaces: Boot(1), claim, assign: Vec::new() };
    told.push(("a restart", step(&mut cluster, change)));
    let seen = cluster.view.constants.clone().expect("formed");
    let lease = Duration::from_secs(3);
    let change = Change::Set { seen, copies: 3, write_min: 2, lease };
    told.push(("other constants", step(&mut cluster, change)));
    told
}

#[test]
fn golden_text_of_events() {
    let mut text = String::new();
    for (what, changes) in story() {
        text = format!("{text}== {what}\n");
        for change in changes {
            let event = ViewEvent { number: 7, at_ms: 45_296_204, change };
            text = format!("{text}{event}\n");
            let json = serde_json::to_string(&event).expect("it is written");
            assert_eq!(serde_json::from_str::<ViewEvent>(&json).expect("it is read"), event);
            if matches!(what, "a move" | "a drain") {
                let json = serde_json::to_string_pretty(&event).expect("it is written");
                text = format!("{text}{json}\n");
            }
        }
    }
    golden("events.txt", &text);
}

#[test]
fn every_version_has_its_cause_and_an_owner_change_names_both() {
    for (what, changes) in story() {
        let [change] = &changes[..] else { panic!("{what}: {changes:?}") };
        assert_eq!(change.version.0, change.since.0 + 1, "{what}");
        assert!(change.epoch > Epoch::NONE && !change.cause.is_empty(), "{what}");
    }
    let mut cluster = written();
    let before = cluster.view.clone();
    let change = cluster.eviction(2);
    let [change] = &step(&mut cluster, change)[..] else { panic!("one version") };
    let gone: Vec<_> = before
        .numbered()
        .filter(|(_, shard)| shard.owner.as_ref().is_some_and(|one| one.node == id(2)))
        .collect();
    assert!(!gone.is_empty());
    for (number, _) in gone {
        let row = change.shards.iter().find(|row| row.shard == number).expect("listed");
        assert_eq!(row.before, Some(Owner { node: id(2), boot: Boot(1) }));
        assert_eq!((&row.after, row.epoch), (&cluster.shard(number).owner, change.epoch));
    }
    let passed: u32 = change.owners.iter().map(|one| one.shards).sum();
    let owned_anew = change.shards.iter().filter(|row| row.epoch == change.epoch).count();
    assert_eq!(passed as usize, owned_anew);
    assert_eq!(change.members[0].departure, Some(Departure::Evicted));
}

/// Nothing is lost where a node sees several versions at once: an owner change still has the cause
/// of its entry, and what cannot be told apart says so.
#[test]
fn versions_seen_at_once_are_told_apart_as_far_as_that_goes() {
    let mut cluster = written();
    let before = cluster.view.clone();
    let change = cluster.eviction(2);
    cluster.accept(change);
    let evicted = cluster.view.version;
    cluster.accept(join(4, 1));
    let alive = cluster.view.members.keys().cloned().collect();
    let assign = plan_ownerless(&cluster.view, &alive);
    let ownerless = !assign.is_empty();
    if ownerless {
        cluster.accept(Change::Assign { cause: "without an owner".into(), assign });
    }
    let shard = cluster.view.numbered().find(|(_, shard)| shard.owner.is_some());
    let (shard, _) = shard.expect("n1 and n3 own some");
    let (_, joined) = cluster.view.members.get_key_value(&id(4)).expect("it joined");
    let (store, when) = (joined.store, cluster.when(shard));
    cluster.accept(Change::Add { shard, store, when });
    // What no version in particular has made: nobody has said why it holds less.
    let other =
        cluster.view.numbered().find(|(other, now)| *other != shard && now.in_sync.len() > 1);
    let (other, _) = other.expect("several have copies");
    Arc::make_mut(&mut cluster.view.shards[usize::from(other.0)]).in_sync.pop();
    let told = changes(&before, &cluster.view);
    let versions = cluster.view.version.0 - before.version.0;
    assert_eq!(told.len() as u64, versions + 1, "each, and what they made together");
    let (rest, each) = told.split_last().expect("some");
    assert_eq!(rest.cause, "what these versions made together");
    assert_eq!((rest.since, rest.version), (before.version, cluster.view.version));
    assert!(rest.owners.is_empty() && !rest.shards.is_empty(), "{rest}");
    let eviction = each.iter().find(|one| one.version == evicted).expect("told");
    assert!(!eviction.owners.is_empty(), "{eviction}");
    assert_eq!(eviction.members.len(), 1, "{eviction}");
    assert!(each.iter().any(|one| one.cause == "it joined" && one.members.len() == 1));
    let all: usize = told.iter().map(|one| one.shards.len()).sum();
    let differ = before.shards.iter().zip(&cluster.view.shards).filter(|(old, new)| old != new);
    assert_eq!(all, differ.count(), "each shard once");
}

/// Goal: a hundred copies that one entry brings are one event, with all of its shards. Method: a
/// node joins, and the owner of some shards adds its store to each in one entry.
#[test]
fn like_changes_of_one_entry_are_one_event() {
    let mut cluster = written();
    cluster.accept(join(4, 1));
    let before = cluster.view.clone();
    let store = cluster.view.members.get(&id(4)).expect("it joined").store;
    let owned: Vec<ShardId> = before
        .numbered()
        .filter(|(_, shard)| shard.owner.as_ref().is_some_and(|owner| owner.node == id(1)))
        .map(|(shard, _)| shard)
        .collect();
    assert!(owned.len() > 3, "{owned:?}");
    let entry: u64 = 1_000;
    for shard in &owned {
        let (shard, when) = (*shard, cluster.when(*shard));
        let id = crate::placement::ChangeId(u128::from(entry) << 16 | u128::from(shard.0));
        let change = Change::Add { shard, store, when };
        let done = cluster.view.apply(entry, &crate::placement::Proposal { id, change });
        assert_eq!(done, crate::placement::Outcome::Accepted);
    }
    let told = changes(&before, &cluster.view);
    let [first, rest @ ..] = &told[..] else { panic!("nothing is told") };
    // Its joining is over with the first copy: that is told of it.
    assert!(rest.iter().all(|one| one.shards.is_empty()), "{told:?}");
    assert_eq!(first.version.0 - first.since.0, owned.len() as u64, "{first}");
    assert_eq!(first.shards.iter().map(|row| row.shard).collect::<Vec<_>>(), owned);
    assert!(first.shards.iter().all(|row| row.added == [id(4)]), "{first:?}");
    assert_eq!(first.holders[0].more as usize, owned.len());
    let said = first.to_string();
    assert!(said.contains(", epoch 1000: n1: store ") && said.contains(" holds shards "), "{said}");
}

#[test]
fn causes_that_the_view_has_forgotten_are_said_to_be_forgotten() {
    let mut cluster = written();
    let before = cluster.view.clone();
    let change = cluster.eviction(2);
    cluster.accept(change);
    cluster.view.history.clear();
    let [change] = &changes(&before, &cluster.view)[..] else { panic!("one for all") };
    assert_eq!(change.cause, "why is not known any more");
    assert!(change.members.len() == 1 && !change.shards.is_empty(), "{change}");
    assert!(changes(&cluster.view, &before).is_empty(), "nothing goes back");
    assert!(changes(&before, &before).is_empty());
}

/// A view of version `version` that differs in nothing but that, and why.
fn bare(version: u64) -> Arc<View> {
    let cause = format!("cause {version}");
    let version = Version(version);
    let note = Noted { version, epoch: Epoch(version.0), cause, node: None };
    Arc::new(View { version, history: [Arc::new(note)].into(), ..View::default() })
}

#[test]
fn the_oldest_events_go_first_and_are_counted() {
    let log = EventLog::new(id(1));
    let kept = u64::try_from(EVENTS_MAX).expect("few");
    assert!(log.see(&bare(10), Duration::ZERO).is_empty(), "the first changes nothing");
    for version in 11..=10 + kept + 5 {
        let events = log.see(&bare(version), Duration::from_millis(version));
        assert_eq!((events.len(), events[0].number, events[0].at_ms), (1, version - 10, version));
    }
    let mut after = 0;
    let mut read = Vec::new();
    loop {
        let page = log.page(after);
        assert_eq!(page.missed, if after == 0 { 5 } else { 0 });
        after = page.events.last().expect("there are more").number;
        read.extend(page.events.iter().map(|event| event.number));
        if !page.more {
            break;
        }
    }
    assert_eq!(read, (6..=kept + 5).collect::<Vec<u64>>());
    let begin = |after, last| log.begin(&EventsAsk { after, last, ..EventsAsk::default() });
    assert_eq!((begin(None, None), begin(None, Some(3))), (5, kept + 2));
    assert_eq!((begin(None, Some(9_999)), begin(Some(1), None)), (5, 1));
    assert_eq!(begin(Some(99_999), None), kept + 5, "that was another life of the node");
}

#[test]
fn what_all_events_list_has_a_limit_and_counts_stay() {
    let log = EventLog::new(id(1));
    let constants = Constants { shards: 32_768, ..constants(1, 1) };
    let mut view = Cluster::formed(1, &constants).view;
    log.see(&Arc::new(view.clone()), Duration::ZERO);
    for round in 1..=6 {
        view.version.0 += 1;
        for shard in &mut view.shards {
            Arc::make_mut(shard).epoch = Epoch(1_000 + round);
        }
        let events = log.see(&Arc::new(view.clone()), Duration::ZERO);
        assert_eq!(events.len(), 1);
        let change = &events[0].change;
        assert_eq!((change.shards.len(), change.unlisted), (LISTED_MAX, 32_768 - 16_384));
    }
    let mut after = 0;
    let mut listed = Vec::new();
    loop {
        let page = log.page(after);
        let event = page.events.last().expect("there are more");
        after = event.number;
        for event in &page.events {
            let change = &event.change;
            assert_eq!(change.owners[0].shards, 32_768, "the count stays");
            assert_eq!(change.shards.len() + change.unlisted as usize, 32_768);
            listed.push(change.shards.len());
        }
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, [0, 0, LISTED_MAX, LISTED_MAX, LISTED_MAX, LISTED_MAX]);
}

#[tokio::test]
async fn a_follower_reads_what_comes_and_is_told_what_it_missed() {
    let log = EventLog::new(id(1));
    log.see(&bare(1), Duration::ZERO);
    let mut pages = std::pin::pin!(log.pages(&EventsAsk::default()));
    assert!(pages.next().await.expect("the first").events.is_empty());
    let page = {
        let (log, view) = (log.clone(), bare(2));
        let sees = async move { log.see(&view, Duration::ZERO) };
        futures::future::join(pages.next(), sees).await.0.expect("no end")
    };
    assert_eq!((page.events.len(), page.events[0].number, page.missed), (1, 1, 0));
    let total = 2 * u64::try_from(EVENTS_MAX).expect("few");
    for version in 3..3 + total {
        log.see(&bare(version), Duration::ZERO);
    }
    let (mut read, mut missed) = (0, 0);
    while read + missed < total {
        let page = pages.next().await.expect("no end");
        read += page.events.len() as u64;
        missed += page.missed;
    }
    assert_eq!((read, missed), (total / 2, total / 2));
}
