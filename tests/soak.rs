//! Long runs, whose figures are kept as evidence.

#[path = "simulation/run.rs"]
mod run;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use run::{run, seeds};

const COMMAND: &str = "cargo test --release --test soak -- --ignored turmoil_seeds";

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().expect("git runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Goal and method are those of `tests/simulation.rs`, over 200 seeds.
#[test]
#[ignore = "takes minutes: cargo test --release --test soak -- --ignored turmoil_seeds"]
fn turmoil_seeds() {
    let seeds = seeds(0..200);
    let mut text = format!("command: {COMMAND}\nseeds: {seeds:?}\ncommit: {}\n\n", commit());
    let mut broken = Vec::new();
    for seed in seeds {
        let line = match run(seed) {
            Ok(figures) => format!("seed {seed}: {figures}"),
            Err(error) => {
                broken.push(seed);
                format!("seed {seed} BROKEN: {error}")
            }
        };
        println!("{line}");
        writeln!(text, "{line}").expect("a string takes it");
    }
    writeln!(text, "\nbroken: {broken:?}").expect("a string takes it");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/evidence/turmoil_seeds.txt");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    std::fs::write(&path, text).expect("it can be written");
    assert!(broken.is_empty(), "broken seeds: {broken:?}; repeat one with SIM_SEEDS=a..b");
}
