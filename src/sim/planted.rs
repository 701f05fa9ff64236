//! Planted bugs: the invariants as they stand find each of them, and nothing without them.
//!
//! [`Bug`] names the guards that are left out, each at the one place in the product where it is.
//! `cargo test --release --lib -- --ignored planted_search --nocapture` looks for seeds that show
//! them, `PLANTED=NoBarrier` for one of them alone; the tests below repeat one seed each.

mod replay;

use std::time::Duration;

use super::FaultKind;
use super::trial::{Figures, Trial};
use crate::base::{Bug, with_planted};
use crate::sim::Broken;

/// Within so many seeds each bug is to be found.
const SEEDS: u64 = 50;
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(12);

/// All of them.
const BUGS: [Bug; 12] = [
    Bug::LeaseByFlag,
    Bug::NoBarrier,
    Bug::NoFirstWait,
    Bug::RenewWhileEvicting,
    Bug::TermRestored,
    Bug::AnyGrant,
    Bug::OldBoot,
    Bug::EpochReused,
    Bug::PlannerInApply,
    Bug::AckEarly,
    Bug::ServeEarly,
    Bug::OldEpochStored,
];

/// What may go wrong while a bug is looked for, where everything at once would take too long.
fn kinds(bug: Bug) -> Vec<FaultKind> {
    match bug {
        Bug::OldBoot => {
            use FaultKind::{Killed, LeaderSlowDisk, SlowDisk};
            vec![Killed, Killed, SlowDisk, LeaderSlowDisk]
        }
        Bug::AnyGrant => {
            use FaultKind::{Mute, OneWay, Slow};
            vec![Mute, OneWay, Mute, OneWay, Slow]
        }
        Bug::TermRestored => vec![FaultKind::LeaderKilledMarking],
        Bug::OldEpochStored => {
            vec![FaultKind::Stopped, FaultKind::Isolated, FaultKind::OneWay, FaultKind::Slow]
        }
        Bug::LeaseByFlag
        | Bug::NoBarrier
        | Bug::NoFirstWait
        | Bug::RenewWhileEvicting
        | Bug::EpochReused
        | Bug::PlannerInApply
        | Bug::AckEarly
        | Bug::ServeEarly => Vec::new(),
    }
}

/// The run of `seed` in which `bug` is looked for.
fn trial(bug: Bug, seed: u64) -> Trial {
    let trial = Trial { kinds: kinds(bug), faults_for: FAULTS_FOR, ..Trial::of(seed) };
    match bug {
        // Of three, the one that is marked and the leader are a majority: nobody else is elected.
        Bug::TermRestored => Trial { nodes: 3, loss_permille: 0, ..trial },
        // A grant must be late while later requests do not arrive.
        Bug::AnyGrant => Trial { loss_permille: 50, ..trial },
        Bug::LeaseByFlag
        | Bug::NoBarrier
        | Bug::NoFirstWait
        | Bug::RenewWhileEvicting
        | Bug::OldBoot
        | Bug::EpochReused
        | Bug::PlannerInApply
        | Bug::AckEarly
        | Bug::ServeEarly
        | Bug::OldEpochStored => trial,
    }
}

/// The run of `seed` with `bug` in it, or without.
fn run(bug: Bug, seed: u64, is_planted: bool) -> Result<Figures, Broken> {
    with_planted(is_planted.then_some(bug), || trial(bug, seed).run())
}

/// Whether an invariant found it, and not a panic or a refusal of the product itself.
fn is_by_a_law(broken: &Broken) -> bool {
    let laws = ["I1: ", "I2: ", "I3: ", "I4: ", "I5: ", "I6: ", "I8: "];
    laws.iter().any(|law| broken.what.contains(law))
}

/// Goal: each bug is found within 50 seeds. Method: the standard run with the bug in it, until an
/// invariant breaks.
#[test]
#[ignore = "takes minutes: cargo test --release --test soak -- --ignored planted"]
fn planted_search() {
    let wanted = std::env::var("PLANTED").ok();
    let first = std::env::var("PLANTED_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    let is_wanted = |bug: &Bug| wanted.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let mut missed = Vec::new();
    for bug in BUGS.into_iter().filter(is_wanted) {
        let found = (first..first + SEEDS).find_map(|seed| {
            let broken = run(bug, seed, true).err()?;
            if !is_by_a_law(&broken) {
                println!("{bug:?}: seed {seed} breaks no law: {broken}");
            }
            is_by_a_law(&broken).then_some((seed, broken))
        });
        if let Some((seed, broken)) = found {
            println!("{bug:?}: seed {seed}, {broken}");
        } else {
            println!("{bug:?}: not found in {SEEDS} seeds");
            missed.push(bug);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
