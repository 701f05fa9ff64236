//! The protocol of who owns what, as a model: lease, view, epoch, `in_sync`, seal, takeover,
//! restart, loss of a store, moves, and changes whose outcome nobody was told.
//!
//! Three nodes, one shard, at most three writes. Every order of steps is tried within a budget of
//! faults, breadth first, so that a broken rule is shown by a shortest way to it. With all guards
//! in place no rule may break, in any slice; without any one of them a rule must break. What the
//! model leaves out, and what it taught: `docs/decisions/0011`.

#[path = "model/action.rs"]
mod action;
#[path = "model/fingerprint.rs"]
mod fingerprint;
#[path = "model/guard.rs"]
mod guard;
#[path = "model/lease.rs"]
mod lease;
#[path = "model/members.rs"]
mod members;
#[path = "model/moves.rs"]
mod moves;
#[path = "model/owner.rs"]
mod owner;
#[path = "model/properties.rs"]
mod properties;
#[path = "model/protocol.rs"]
mod protocol;
#[path = "model/state.rs"]
mod state;
#[path = "model/table.rs"]
mod table;

use std::collections::BTreeSet;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use guard::Config;
use properties::RULES;
use protocol::Protocol;
use table::{MISSED, REDUNDANT, SLICES, WIDE};

/// Distinct states that all slices together have at least.
const STATES_MIN: usize = 1_000_000;

/// What a slice showed.
struct Explored {
    distinct: usize,
    /// The rule that broke, and the steps to it in words.
    broken: Option<(&'static str, Vec<String>)>,
    shown: BTreeSet<&'static str>,
}

fn explore(config: Config, threads: usize) -> Explored {
    let mut checker =
        Protocol(config).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = config.depth {
        checker = checker.target_max_depth(depth);
    }
    let checker = checker.spawn_bfs().join();
    let mut found = checker.discoveries();
    let broken = found.remove(RULES).map(|path| {
        let rule = properties::broken(path.last_state()).unwrap_or("none");
        (rule, path.into_actions().iter().map(ToString::to_string).collect())
    });
    Explored { distinct: checker.unique_state_count(), broken, shown: found.into_keys().collect() }
}

fn told(steps: &[String]) -> String {
    format!("    {}", steps.join("\n    "))
}

/// Goal: the protocol as designed breaks no rule, and all that it is for does happen. Method: every
/// state of every slice.
#[test]
fn with_all_guards_no_rule_breaks() {
    let states = all_sound(SLICES);
    assert!(states >= STATES_MIN, "only {states} states");
}

/// Goal and method as above, with more faults.
#[test]
#[ignore = "minutes, and gigabytes of memory"]
fn with_all_guards_no_rule_breaks_in_wide_slices() {
    all_sound(WIDE);
}

/// Explores all of `slices`, which must be sound and show what they are for; says how many states.
fn all_sound(slices: &[Config]) -> usize {
    let mut states = 0;
    for config in slices {
        let all = explore(*config, 2);
        println!("{}: {} states", config.name, all.distinct);
        if let Some((rule, steps)) = all.broken {
            panic!("{}: {rule}, after\n{}", config.name, told(&steps));
        }
        for shows in config.shows {
            assert!(all.shown.contains(shows), "{}: never seen: {shows}", config.name);
        }
        states += all.distinct;
    }
    println!("{states} states in all");
    states
}

/// Goal: every guard is needed, and the model would notice. Method: each is taken away alone, in a
/// slice that is sound with it.
#[test]
fn without_any_one_guard_a_rule_breaks() {
    for (guard, config, rule) in MISSED {
        let known = SLICES.iter().any(|slice| slice.name == config.name);
        assert!(known, "{guard:?}: nothing shows that {} is sound with it", config.name);
        // One thread: the same shortest way in every run.
        let without = explore(Config { without: Some(*guard), shows: &[], ..*config }, 1);
        let Some((broken, steps)) = without.broken else {
            panic!("without {guard:?} nothing breaks in {} states", without.distinct);
        };
        println!("without {guard:?}, {}: {broken}, after\n{}", config.name, told(&steps));
        assert!(broken.starts_with(rule), "without {guard:?}: {broken}, and not {rule}");
    }
}

/// Goal: what the decision says of guards that keep no rule here stays true.
#[test]
fn without_a_redundant_guard_no_rule_breaks() {
    for (guard, config) in REDUNDANT {
        let without = explore(Config { without: Some(*guard), shows: &[], ..*config }, 2);
        if let Some((broken, steps)) = without.broken {
            panic!("{guard:?} is needed: {broken}, after\n{}", told(&steps));
        }
    }
}
