//! Three real nodes on simulated links, disks and clocks, and worlds of 3 to 10 that only watch
//! each other. The links of every third seed, and of some more, lose segments.
//!
//! `SIM_SEEDS=0..20 cargo test --release --test simulation` runs other seeds than the sample, and
//! `SIM_LOG=info` shows what happens.

#[path = "simulation/grey.rs"]
mod grey;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/membership.rs"]
mod membership;
#[path = "simulation/repeat.rs"]
mod repeat;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/split.rs"]
mod split;

use evertree::placement::Profile;
use evertree::sim::trial::Batch;
use repeat::{repeat, repeat_of};
use run::{run, seeds};
use split::Side;

/// Goal: no acknowledged write is lost, and no shard has two owners at any instant, whatever hosts
/// lose power and links are cut; afterwards all counters answer. Method: random faults while
/// every host adds to durable counters; invariants after every millisecond; an oracle at the end.
#[test]
fn nothing_acknowledged_is_lost_and_no_shard_has_two_owners() {
    log::init();
    let mut batch = Batch::default();
    for seed in seeds(0..12) {
        let _repeat = repeat_of(seed, "nothing_acknowledged");
        let figures = run(seed).unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed}: {figures}");
        batch.add(&figures);
    }
    batch.judge().unwrap_or_else(|why| panic!("{why}"));
}

/// Goal: a seed is a run, with TLS and with loss on the links, whatever else the process does and
/// however slow the machine is. Method: the same seed twice, once beside another one in a second
/// thread; five nodes and three, both with loss. The trace has what every node shows after every
/// millisecond, and how many bytes came and segments were lost by then. Every world has TLS.
#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    log::init();
    let (sample, mut lost) = (98..100, 0);
    let chosen = seeds(sample.clone());
    for seed in chosen.clone() {
        let _repeat = repeat_of(seed, "the_same_seed_twice");
        let alone = run(seed).unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed}: {alone}");
        lost += alone.lost;
        let (beside, _) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| run(seed));
            let other = scope.spawn(|| run(seed + 1_000_000));
            (beside.join().expect("it runs to its end"), other.join().expect("it runs to its end"))
        });
        let beside = beside.unwrap_or_else(|broken| panic!("{broken}"));
        let differ = alone.trace.first_difference(&beside.trace);
        assert_eq!(differ, None, "it went another way the second time, from this step on");
    }
    assert!(lost > 0 || chosen != sample, "no link lost anything: the sample shows too little");
}

/// Seeds that found a fault of the product, in the code of their day: 78, a boot that a late Join
/// brought back and nobody evicted again; 424, voters who were all evicted and restarted, and knew
/// nobody's address; 10645, a leader that lost its vote while it was cut off, and led nobody for
/// ever; 11007, an owner that asked without end how long a store had been silent, once an operator
/// had made D longer.
#[test]
fn seeds_that_once_failed_pass() {
    log::init();
    for seed in [78, 424, 10_227, 10_520, 10_645, 11_007, 11_333, 11_659] {
        let _repeat = repeat(seed, "seeds_that_once_failed");
        run(seed).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

/// Goal: no fault makes anybody miss a node that it does not concern; afterwards all see all; a
/// dead node is missed by everybody, and one that leaves is never said to have failed. Method:
/// worlds of 3 to 10 nodes, links cut both ways and one way, processes stopped, killed and without
/// power, every third world with loss; a look at what all observe every 10 ms.
#[test]
fn membership_misses_those_who_are_gone_and_nobody_else() {
    log::init();
    let (sample, mut looks, mut found) = (0..8, 0, 0);
    let chosen = seeds(sample.clone());
    for seed in chosen.clone() {
        let _repeat = repeat_of(seed, "membership_misses");
        let figures = membership::run(seed).unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed}: {figures}");
        looks += figures.looks;
        found += figures.found;
    }
    let shows = looks > 0 && found > 0;
    assert!(shows || chosen != sample, "{looks} looks, {found} found: the sample shows nothing");
}

/// Goal: processes that are stopped and killed do not make a seed another run. Method: as with
/// [`the_same_seed_twice_gives_the_same_trace`].
#[test]
fn membership_gives_the_same_trace_for_the_same_seed() {
    log::init();
    let _repeat = repeat(0, "membership_gives_the_same");
    let run = |seed| membership::run(seed).unwrap_or_else(|broken| panic!("{broken}"));
    let (first, again) = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(0));
        let again = scope.spawn(|| run(0));
        (first.join().expect("it runs to its end"), again.join().expect("it runs to its end"))
    });
    let differ = first.trace.first_difference(&again.trace);
    assert_eq!(differ, None, "it went another way the second time, from this step on");
}

/// Goal: a link that works one way only, or not at all between two nodes, ends in one stable view
/// within 5 s, with two changes of membership at most, and costs nobody whom it does not concern.
/// Method: eight such faults, most of them at the leader, in clusters of 3; each goes on for 11 s.
#[test]
fn asymmetric_cuts_end_in_one_stable_view_and_never_drain_the_healthy() {
    log::init();
    for (fault, changes) in grey::asymmetric_cuts(&Profile::lan(), 0..8, "asymmetric_cuts") {
        println!("{fault:?}: {changes} changes of membership");
    }
}

/// Goal: the same in `dev`, within 8 s. Method: the link of the leader with one other, cut each
/// way and both ways.
#[test]
fn the_leaders_link_may_be_cut_in_dev_too() {
    log::init();
    for (fault, changes) in grey::asymmetric_cuts(&Profile::dev(), 0..3, "the_leaders_link") {
        println!("{fault:?}: {changes} changes of membership");
    }
}

/// Goal: the same where one node alone speaks with all others: the side that is larger goes on with
/// it, and who is alone on the other stays away while most do not hear it. Method: clusters of 3
/// and 5, each inner node as the bridge; of 3 in `dev` as well.
#[test]
fn a_bridge_ends_in_one_stable_view() {
    log::init();
    for (profile, nodes) in [(Profile::lan(), 3), (Profile::lan(), 5), (Profile::dev(), 3)] {
        for (fault, changes) in grey::bridges(&profile, nodes) {
            let name = &profile.name;
            println!("{name}, {nodes} nodes, {fault:?}: {changes} changes of membership");
        }
    }
}

/// Goal: grey failure. Method: a health probe that fails.
#[test]
fn one_that_is_not_well_hands_over() {
    log::init();
    grey::unwell();
}

/// Goal: a flapping link does not flap the view. Method: at the leader's link and at another, cut
/// and whole in turns of 150 ms, of a gossip period, and of a lease.
#[test]
fn a_link_that_comes_and_goes_changes_nothing() {
    log::init();
    grey::flapping();
}

/// C40, rows 1 and 2, of Pekko's `SplitBrainResolverSpec` (`StaticQuorum` and `KeepMajority`): of a
/// divided cluster the side with a majority goes on, and the other stops before it does.
#[test]
fn c40_of_five_the_side_with_three_goes_on_and_the_other_stops() {
    log::init();
    // A C E | B D, and A B | C D E.
    let [three, two] = split::divide(1, 5, &[0, 2, 4]);
    assert_eq!([three.1, two.1], [Side::GoesOn, Side::Stops]);
    let [two, three] = split::divide(2, 5, &[0, 1]);
    assert_eq!([two.1, three.1], [Side::Stops, Side::GoesOn]);
}

/// C40, row 2: two equal halves, of which both stop in Pekko (a quorum of 3 of 4; 6 nodes, more
/// than twice the quorum less one). Differs: what counts here is the voters, 3 or 5 of them, and
/// one half has more of them; it goes on. No half goes on without a majority of them.
#[test]
fn c40_of_two_halves_the_one_with_most_voters_goes_on_and_never_both() {
    log::init();
    for (nodes, half) in [(4, vec![0, 1]), (6, vec![0, 1, 2])] {
        let sides = split::divide(3, nodes, &half);
        let voters: usize = sides.iter().map(|(votes, _)| votes).sum();
        println!("{nodes} nodes: {sides:?}");
        for (votes, became) in sides {
            let expected = if votes * 2 > voters { Side::GoesOn } else { Side::Stops };
            assert_eq!(became, expected, "{nodes} nodes, {votes} of {voters} voters");
        }
    }
}
