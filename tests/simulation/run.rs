//! The seeds of a batch, and one run of the standard trial.

use std::ops::Range;

use evertree::sim::Broken;
use evertree::sim::trial::{Figures, Trial};

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Result<Figures, Broken> {
    Trial::of(seed).run()
}

/// The seeds that `SIM_SEEDS=a..b` asks for, or these.
pub(crate) fn seeds(otherwise: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return otherwise };
    let bounds: Option<Range<u64>> =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let bounds = bounds.unwrap_or_else(|| panic!("SIM_SEEDS={text} is not a range as 0..20"));
    assert!(!bounds.is_empty(), "SIM_SEEDS={text} has no seed: 0..20 has twenty, 20 not included");
    bounds
}
