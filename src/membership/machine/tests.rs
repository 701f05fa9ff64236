//! The machine alone, and several of them on a small network without loss.

mod conformance;
mod net;
mod poison;

use std::time::Duration;

use self::net::{Net, name};
use super::*;
use crate::membership::record::FAILING_MAX;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn healthy_nodes_accuse_nobody() {
    for size in [2, 3, 5, 12] {
        let mut net = Net::new(size, 7);
        net.run(SECOND * 60);
        assert_eq!(net.seen, [], "{size} nodes");
        for node in net.nodes.values() {
            let counts = GossipCounts { strangers: 0, ..node.counts() };
            assert_eq!(counts, GossipCounts::default(), "{size} nodes");
        }
    }
}

#[test]
fn a_dead_node_is_unreachable_for_all_survivors_and_only_it() {
    for size in [2, 3, 5, 10] {
        for seed in 0..10 {
            let mut net = Net::new(size, seed);
            net.run(SECOND * 5);
            net.dead.push(name(1));
            net.run(SECOND * 5);
            let unreachable = net.unreachable();
            let want: Vec<_> =
                (0..size).filter(|one| *one != 1).map(|one| (name(one), name(1))).collect();
            assert_eq!(unreachable, want, "{size} nodes, seed {seed}");
            let least = if size == 2 { 1 } else { OBSERVERS };
            for (_, by, of, seen, observers) in &net.seen {
                assert_eq!(*of, name(1), "{by} doubts it, seed {seed}");
                let enough = observers.len() >= least || *seen != Reachability::Unreachable;
                assert!(enough && !observers.is_empty(), "{observers:?}");
            }
        }
    }
}

#[test]
fn whoever_loses_all_others_finds_them_unreachable_by_its_own_word() {
    let mut net = Net::new(3, 1);
    net.run(SECOND * 2);
    net.dead.extend([name(1), name(2)]);
    net.run(SECOND * 10);
    assert_eq!(net.unreachable(), [(name(0), name(1)), (name(0), name(2))]);
}

#[test]
fn a_node_that_comes_back_is_reachable_at_once_and_keeps_its_name() {
    let mut net = Net::new(5, 3);
    net.run(SECOND * 2);
    net.dead.push(name(4));
    net.run(SECOND * 10);
    assert_eq!(net.unreachable().len(), 4);
    net.dead.clear();
    net.run(SECOND);
    assert_eq!(net.unreachable(), []);
    net.run(SECOND * 5);
    assert!(net.all_reachable(), "{:?}", net.seen.last());
    assert_eq!(net.nodes[&name(4)].me().incarnation, 0, "its name needs no renewal");
}

#[test]
fn halves_of_a_cluster_find_each_other_again() {
    let mut net = Net::new(6, 3);
    net.run(SECOND * 2);
    net.apart = (0..3).flat_map(|one| (3..6).map(move |other| (name(one), name(other)))).collect();
    net.run(SECOND * 10);
    assert_eq!(net.unreachable().len(), 18);
    net.apart.clear();
    net.run(SECOND * 2);
    assert!(net.all_reachable());
}

#[test]
fn a_loop_that_stood_still_accuses_nobody_and_doubts_itself() {
    for seed in 0..20 {
        let mut net = Net::new(5, seed);
        net.run(SECOND * 2);
        net.pause(&name(0), SECOND * 4);
        net.run(SECOND * 20);
        let by_it = net.seen.iter().filter(|(_, by, ..)| *by == name(0)).count();
        assert_eq!(by_it, 0, "seed {seed}: {:?}", net.seen);
        assert!(net.all_reachable(), "seed {seed}");
        assert!(net.nodes[&name(0)].counts().stalls > 0);
    }
}

#[test]
fn what_a_node_says_of_itself_reaches_all_and_also_who_was_away() {
    let mut net = Net::new(8, 5);
    net.run(SECOND * 3);
    net.dead.push(name(7));
    let failing = vec!["db".to_owned()];
    let own = Own { draining: true, failing, view: Version(7), ..Own::default() };
    net.step(&name(2), Input::Own(own));
    net.run(SECOND * 3);
    let said = |net: &Net, at: &NodeId| {
        let sight = net.nodes[at].sight(net.now, &name(2)).expect("a member");
        sight.card.is_some_and(|card| card.draining && card.failing == ["db"])
    };
    assert!((0..7).filter(|one| *one != 2).all(|one| said(&net, &name(one))));
    assert!(!said(&net, &name(7)));
    net.dead.clear();
    // Two that compare their cards must meet.
    net.run(SECOND * 60);
    assert!(said(&net, &name(7)));
    let many = Own { failing: vec!["x".repeat(99); 20], ..Own::default() };
    net.step(&name(2), Input::Own(many));
    let short = Own { failing: vec!["x".into(); 20], ..Own::default() };
    net.step(&name(2), Input::Own(short));
    assert_eq!(net.nodes[&name(2)].card().failing.len(), FAILING_MAX);
}

#[test]
fn a_member_that_is_none_any_more_is_forgotten_and_a_new_life_is_known_at_once() {
    let mut net = Net::new(4, 2);
    net.run(SECOND * 3);
    let members: Vec<_> = (0..3).map(|index| (name(index), Boot(1))).collect();
    net.dead.push(name(3));
    for index in 0..3 {
        net.step(&name(index), Input::Committed(members.clone()));
    }
    net.run(SECOND * 10);
    assert_eq!(net.seen, []);
    assert!(net.nodes[&name(0)].sight(net.now, &name(3)).is_none());
    let again: Vec<_> = [members, vec![(name(3), Boot(2))]].concat();
    net.dead.clear();
    net.start(&name(3), Boot(2), 77);
    for index in 0..4 {
        net.step(&name(index), Input::Committed(again.clone()));
    }
    net.run(SECOND * 10);
    assert!(net.all_reachable());
    let sight = net.nodes[&name(0)].sight(net.now, &name(3)).expect("a member");
    assert_eq!((sight.boot, sight.card.map(|card| card.boot)), (Boot(2), Some(Boot(2))));
}

#[test]
fn swims_own_probes_alone_find_a_dead_node_too() {
    for size in [2, 3, 5] {
        for seed in 0..5 {
            let config = GossipConfig { watchers: 0, ..GossipConfig::from(&Profile::lan()) };
            let mut net = Net::with(size, seed, &config);
            net.run(SECOND * 5);
            assert_eq!(net.seen, [], "{size} nodes, seed {seed}");
            net.dead.push(name(1));
            net.run(SECOND * 10);
            assert_eq!(net.unreachable().len(), size - 1, "{size} nodes, seed {seed}");
        }
    }
}

#[test]
fn who_was_alone_at_first_watches_its_first_company() {
    let mut net = Net::new(1, 1);
    let alone = vec![(name(0), Boot(1))];
    net.step(&name(0), Input::Committed(alone));
    net.step(&name(0), Input::Own(Own { view: Version(1), ..Own::default() }));
    net.start(&name(1), Boot(1), 2);
    let both = vec![(name(0), Boot(1)), (name(1), Boot(1))];
    for index in 0..2 {
        net.step(&name(index), Input::Committed(both.clone()));
    }
    net.run(SECOND * 10);
    let gossip = &net.nodes[&name(0)];
    assert!(gossip.sight(net.now, &name(1)).expect("a member").card.is_some());
    // Once a period it is asked, by whoever did not hear it anyway.
    let asked = net.packets[&(name(0), name(1))];
    assert!(asked > 30, "{asked} packets in 33 periods");
}

#[test]
fn who_takes_another_name_while_it_is_unreachable_is_found_again() {
    let mut net = Net::new(3, 1);
    net.run(SECOND * 2);
    net.dead.push(name(2));
    net.run(SECOND * 5);
    assert_eq!(net.unreachable().len(), 2);
    let renamed = GossipId { incarnation: 3, ..GossipId::new(name(2), Boot(1)) };
    for state in [foca::State::Suspect, foca::State::Alive] {
        let update = foca::Member::new(renamed.clone(), 0, state);
        net.spread(1, 0, update);
    }
    let sight = net.nodes[&name(0)].sight(net.now, &name(2)).expect("a member");
    assert_eq!(sight.reachability, Reachability::Reachable, "its new name is not doubted yet");
    net.dead.clear();
    net.run(SECOND * 5);
    assert!(net.all_reachable());
}

#[test]
fn a_loop_that_is_always_late_speaks_and_accuses_nobody() {
    let mut net = Net::new(5, 3);
    net.run(SECOND * 2);
    let before = net.packets.clone();
    for _ in 0..60 {
        // Longer than a round trip: every alarm is late.
        net.pause(&name(0), Duration::from_millis(300));
        net.run(Duration::from_millis(320));
    }
    let said = |to| net.packets[&(name(0), name(to))] - before[&(name(0), name(to))];
    assert!((1..5).map(said).sum::<u64>() > 50);
    let by_it = net.seen.iter().filter(|(_, by, ..)| *by == name(0));
    assert_eq!(by_it.count(), 0, "{:?}", net.seen);
}

#[test]
fn who_is_silent_or_whose_link_broke_is_routed_around_until_it_is_heard() {
    let mut net = Net::new(4, 2);
    net.run(SECOND * 10);
    let gone = |net: &Net| net.nodes[&name(0)].gone().into_iter().collect::<Vec<_>>();
    assert_eq!(gone(&net), []);
    net.step(&name(0), Input::Broken(name(1)));
    assert_eq!(gone(&net), [name(1)]);
    // It is asked at once, and answers.
    net.run(Duration::from_millis(10));
    assert_eq!(gone(&net), []);
    net.dead.push(name(2));
    let mut first = Duration::ZERO;
    while gone(&net).is_empty() {
        net.run(Duration::from_millis(10));
        first += Duration::from_millis(10);
    }
    assert!(first < SECOND, "long before a verdict, after {first:?}");
    net.run(SECOND * 5);
    assert_eq!(gone(&net), [name(2)]);
    net.dead.clear();
    net.run(SECOND * 2);
    assert_eq!(gone(&net), []);
}
