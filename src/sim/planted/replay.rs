//! One recorded seed for each planted bug: with it an invariant breaks, without it none does.
//!
//! A change of the product or of the faults makes every seed another run. Where a test says that a
//! bug is not found any more, `planted_search` finds another seed for it.

use super::run;
use crate::base::Bug;

fn replay(bug: Bug, seed: u64, law: &str) {
    let repeat =
        format!("PLANTED={bug:?} cargo test --lib -- --ignored --nocapture planted_search");
    match run(bug, seed, true) {
        Ok(figures) => panic!("{bug:?} is not found with seed {seed}: {figures}\nsearch: {repeat}"),
        Err(broken) => assert!(broken.what.contains(law), "{bug:?} breaks another law: {broken}"),
    }
    if let Err(broken) = run(bug, seed, false) {
        panic!("seed {seed} breaks without {bug:?}: {broken}");
    }
}

macro_rules! recorded {
    ($($name:ident: $bug:ident, $seed:literal, $law:literal;)*) => {
        $(
            #[test]
            fn $name() {
                replay(Bug::$bug, $seed, $law);
            }
        )*
    };
}

recorded! {
    a_lease_checked_by_a_flag_only: LeaseByFlag, 0, "I2: ";
    no_barrier: NoBarrier, 6, "I1: ";
    a_new_leader_that_does_not_wait: NoFirstWait, 1, "I6: ";
    a_renewal_not_ordered_with_eviction: RenewWhileEvicting, 16, "I1: ";
    an_epoch_reused: EpochReused, 0, "I2: ";
    a_planner_inside_apply: PlannerInApply, 0, "I4: ";
    acknowledged_before_all_of_in_sync: AckEarly, 0, "lacks what is acknowledged";
    served_before_all_of_in_sync_agree: ServeEarly, 0, "lacks what is acknowledged";
}
