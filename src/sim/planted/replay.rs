//! One recorded seed for each planted bug: with it an invariant breaks, without it none does.
//!
//! The seeds are in `recorded.txt`: bug, seed, and what the failure says. A change of the product
//! or of the faults makes every seed another run. Where a test says that a bug is not found any
//! more, `planted_search` prints new seeds for that file.

use std::path::Path;

use super::{BUGS, is_by_a_law, run};
use crate::base::Bug;
use crate::sim::Repeat;

/// The recorded seed of `bug`, and what breaks.
fn recorded(bug: Bug) -> (u64, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim/planted/recorded.txt");
    let text = std::fs::read_to_string(path).expect("the recorded seeds");
    let of = format!("{bug:?} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&of)).expect("it is recorded");
    let (seed, says) = line.split_once(' ').expect("a seed, and what breaks");
    (seed.parse().expect("a number"), says.to_owned())
}

fn replay(bug: Bug, test: &str) {
    let (seed, says) = recorded(bug);
    let _repeat = Repeat::new(seed, format!("cargo test --lib planted::replay::{test}"));
    match run(bug, seed, true) {
        Ok(figures) => panic!("{bug:?} is not found: {figures}"),
        Err(broken) => {
            assert!(is_by_a_law(&broken), "{bug:?} breaks no law: {broken}");
            assert!(broken.what.contains(&says), "{bug:?} breaks another law: {broken}");
        }
    }
    if let Err(broken) = run(bug, seed, false) {
        panic!("it breaks without {bug:?}: {broken}");
    }
}

macro_rules! replayed {
    ($($name:ident: $bug:ident;)*) => {
        /// Those that are replayed.
        const REPLAYED: &[Bug] = &[$(Bug::$bug),*];

        $(
            #[test]
            fn $name() {
                replay(Bug::$bug, stringify!($name));
            }
        )*
    };
}

replayed! {
    a_lease_checked_by_a_flag_only: LeaseByFlag;
    no_barrier: NoBarrier;
    a_new_leader_that_does_not_wait: NoFirstWait;
    a_renewal_not_ordered_with_eviction: RenewWhileEvicting;
    a_term_restored_without_election: TermRestored;
    an_old_boot_accepted: OldBoot;
    a_grant_matched_to_another_request: AnyGrant;
    an_epoch_reused: EpochReused;
    a_planner_inside_apply: PlannerInApply;
    acknowledged_before_all_of_in_sync: AckEarly;
    served_before_all_of_in_sync_agree: ServeEarly;
    a_store_accepts_an_old_epoch: OldEpochStored;
}

#[test]
fn every_bug_is_replayed() {
    assert!(BUGS.iter().all(|bug| REPLAYED.contains(bug)), "{REPLAYED:?}");
}
