use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::placement::Profile;

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

/// Goal: whatever goes wrong with a minority, the others accuse none of their own, and once all is
/// healed all agree. Method: see [`Scenario`].
#[test]
fn all_agree_once_faults_have_healed() {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse::<u64>().ok()?..to.parse::<u64>().ok()?)
    });
    let mut failed = Vec::new();
    for seed in seeds.unwrap_or(0..40) {
        match Scenario::of(seed).run() {
            Ok(figures) => println!("seed {seed}: {figures}"),
            Err(broken) => failed.push(format!("seed {seed}, {broken}")),
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for seed in [2, 3, 9] {
        let [one, other] = [(); 2].map(|()| Scenario::of(seed).run().expect("it passes").trace);
        assert_eq!(one.first_difference(&other), None, "seed {seed} went another way");
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
    let setup = Setup { loss_permille: 300, pings: false, ..Setup::new(7, 5, Profile::lan()) };
    let mut swarm = Swarm::new(setup);
    pass(&mut swarm, SECOND * 600);
    let tallies: Vec<_> = (0..5).map(|node| swarm.take_tally(node)).collect();
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (sent, lost) = (sum(|tally| tally.packets - tally.dropped), sum(|tally| tally.lost));
    let expected = sent * 3 / 7;
    assert!(lost.abs_diff(expected) < expected / 10, "{lost} of {sent}, not {expected}");
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
