//! What a failing test says of how to repeat it.

use evertree::sim::Repeat;

/// Says how to repeat `seed`, if it fails, where `test` runs the seeds that it is told.
pub(crate) fn repeat_of(seed: u64, test: &str) -> Repeat {
    let seeds = format!("SIM_SEEDS={seed}..{}", seed + 1);
    Repeat::new(seed, format!("{seeds} cargo test --test simulation {test} -- --nocapture"))
}

/// Says how to repeat `seed`, if it fails, where `test` runs seeds of its own.
pub(crate) fn repeat(seed: u64, test: &str) -> Repeat {
    Repeat::new(seed, format!("cargo test --test simulation {test} -- --nocapture"))
}
