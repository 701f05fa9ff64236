use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::placement::Profile;
use crate::sim::Repeat;

const SECOND: Duration = Duration::from_secs(1);

fn swarm(nodes: usize, loss_permille: u16) -> Swarm {
    Swarm::new(Setup { loss_permille, ..Setup::new(7, nodes, Profile::lan()) })
}

fn pass(swarm: &mut Swarm, span: Duration) -> Vec<Change> {
    swarm.run_until(swarm.now() + span).expect("no law is broken");
    swarm.take_changes()
}

fn alarms(changes: &[Change]) -> BTreeSet<(usize, usize)> {
    let lost =
        changes.iter().filter(|change| change.seen.reachability == Reachability::Unreachable);
    lost.map(|change| (change.by, change.of)).collect()
}

/// The seeds that `SIM_SEEDS=a..b` asks for; else 27 small swarms and one of 50 nodes.
fn seeds() -> Vec<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else {
        let small = (0..30).filter(|seed| Scenario::of(*seed).nodes <= 10);
        return small.chain([9]).collect();
    };
    let bounds = text.split_once("..").expect("SIM_SEEDS is a range as 0..20");
    let number = |text: &str| text.parse::<u64>().expect("SIM_SEEDS is a range as 0..20");
    (number(bounds.0)..number(bounds.1)).collect()
}

/// Goal: whatever goes wrong with a minority, the others accuse none of their own, and once all is
/// healed all agree. Method: see [`Scenario`].
#[test]
fn all_agree_once_faults_have_healed() {
    let (mut failed, mut faults, mut alarms) = (Vec::new(), 0, 0);
    for seed in seeds() {
        match Scenario::of(seed).run() {
            Ok(figures) => {
                println!("seed {seed}: {figures}");
                faults += figures.faults;
                alarms += figures.alarms;
            }
            Err(broken) => failed.push(format!(
                "seed {seed}, {broken}\n  repeat: SIM_SEEDS={seed}..{} cargo test --lib \
                 sim::queue::tests::all_agree -- --nocapture",
                seed + 1,
            )),
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    assert!(faults > 0 && alarms > 0, "{faults} faults, {alarms} alarms: nothing is shown");
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for seed in [2, 3, 9] {
        let _repeat = Repeat::new(seed, "cargo test --lib sim::queue::tests::the_same_seed");
        let [one, other] = [(); 2].map(|()| Scenario::of(seed).run().expect("it passes").trace);
        assert_eq!(one.first_difference(&other), None, "it went another way");
    }
}

#[test]
fn a_node_without_power_is_found_by_all_and_one_that_is_cut_off_by_nobody_too_early() {
    let mut swarm = swarm(5, 0);
    assert_eq!(alarms(&pass(&mut swarm, SECOND * 5)), BTreeSet::new());
    swarm.begin(Fault::PowerLoss(3));
    let found = alarms(&pass(&mut swarm, SECOND * 8));
    assert_eq!(found, [0, 1, 2, 4].map(|by| (by, 3)).into());
    swarm.end(&Fault::PowerLoss(3)).expect("no law is broken");
    pass(&mut swarm, SECOND * 8);
    assert_eq!(scenario::disagreement(&swarm), None);
    assert_eq!(swarm.seen(0, 3).map(|seen| seen.boot.0), Some(2));
}

/// Of n segments, n p / (1 - p) are lost, each as many times as it is; a tenth off is too much.
#[test]
fn what_is_lost_is_sent_again() {
    let setup = Setup { loss_permille: 100, pings: false, ..Setup::new(7, 5, Profile::lan()) };
    let mut swarm = Swarm::new(setup);
    pass(&mut swarm, SECOND * 600);
    let tallies: Vec<_> = (0..5).map(|node| swarm.take_tally(node)).collect();
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (sent, lost) = (sum(|tally| tally.packets), sum(|tally| tally.lost));
    let expected = sent / 9;
    assert!(lost.abs_diff(expected) < expected / 10, "{lost} of {sent}, not {expected}");
}

#[test]
fn a_short_cut_only_delays_and_a_long_one_breaks_the_links() {
    for fault in [Fault::Cut(0, 1), Fault::OneWay(0, 1)] {
        for (lasts, dials) in [(SECOND, 0), (SECOND * 5, 2)] {
            let mut swarm = swarm(3, 0);
            pass(&mut swarm, SECOND * 5);
            (0..3).for_each(|node| assert_eq!(swarm.take_tally(node).dials, 2));
            swarm.begin(fault.clone());
            pass(&mut swarm, lasts);
            swarm.end(&fault).expect("no law is broken");
            pass(&mut swarm, SECOND * 10);
            let [one, other, third] = [0, 1, 2].map(|node| swarm.take_tally(node));
            let made = usize::from(swarm.links(0) == 2) + usize::from(swarm.links(1) == 2);
            assert_eq!(made, 2, "{fault:?} for {lasts:?}");
            assert_eq!((one.dials + other.dials).min(2), dials, "{fault:?} for {lasts:?}");
            assert_eq!(one.dropped + other.dropped > 0, dials > 0, "{fault:?} for {lasts:?}");
            assert_eq!((third.dials, third.dropped), (0, 0));
        }
    }
}

#[test]
fn a_paused_node_keeps_no_more_than_its_inbox_holds() {
    let mut swarm = swarm(50, 0);
    pass(&mut swarm, SECOND * 5);
    swarm.begin(Fault::Paused(0));
    pass(&mut swarm, SECOND * 2);
    let steps = swarm.take_tally(0).steps;
    assert!(steps > 0);
    pass(&mut swarm, SECOND * 28);
    assert_eq!(swarm.take_tally(0).steps, 0, "a paused node does nothing");
    swarm.end(&Fault::Paused(0)).expect("no law is broken");
    pass(&mut swarm, SECOND * 10);
    assert!(swarm.take_tally(0).steps > 0);
    assert_eq!(scenario::disagreement(&swarm), None);
}

#[test]
fn a_node_dials_no_more_than_its_room() {
    let mut swarm = Swarm::new(Setup { links_max: 5, ..Setup::new(7, 20, Profile::lan()) });
    pass(&mut swarm, SECOND * 30);
    let links: Vec<_> = (0..20).map(|node| swarm.links(node)).collect();
    assert!(links.iter().all(|links| *links <= 5), "{links:?}");
    let closed: u64 = (0..20).map(|node| swarm.take_tally(node).closed).sum();
    assert!(closed > 0, "nobody had to make room");
}
