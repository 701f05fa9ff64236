//! Long runs, whose figures are kept as evidence.

#[path = "soak/main_job.rs"]
mod main_job;
#[path = "simulation/run.rs"]
mod run;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use run::{run, seeds};

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().expect("git runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes the evidence of a long run: command, commit and what it found.
fn keep(name: &str, found: &str) {
    let command = format!("cargo test --release --test soak -- --ignored {name}");
    let text = format!("command: {command}\ncommit: {}\n{found}", commit());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/evidence/{name}.txt"));
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    std::fs::write(&path, text).expect("it can be written");
}

/// Goal: the main job passes every time, also on a busy machine. Method: twenty runs, ten of them
/// beside two busy loops, each with another moment of the kill.
#[test]
#[ignore = "takes ten minutes: cargo test --release --test soak -- --ignored main_job"]
fn main_job() {
    keep("main_job", &main_job::run());
}

/// Goal and method are those of `tests/simulation.rs`, over 200 seeds.
#[test]
#[ignore = "takes minutes: cargo test --release --test soak -- --ignored turmoil_seeds"]
fn turmoil_seeds() {
    let seeds = seeds(0..200);
    let mut text = format!("seeds: {seeds:?}\n\n");
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
    keep("turmoil_seeds", &text);
    assert!(broken.is_empty(), "broken seeds: {broken:?}; repeat one with SIM_SEEDS=a..b");
}
