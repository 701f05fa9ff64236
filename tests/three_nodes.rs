//! Three real processes, one of them killed: the story of `examples/three_nodes`, with the kill at
//! other moments and at other nodes than the example's own.
//!
//! Goal: no acknowledged byte is lost and no process is left behind, whenever and whomever the kill
//! hits. Method: the example is run as a process; it exits with 0 only if every byte is right.

use std::path::PathBuf;
use std::process::Command;

/// The example's executable; `cargo test` builds it beside this test.
fn three_nodes() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let target = own.parent().and_then(std::path::Path::parent).expect("target/PROFILE/deps");
    let path = target.join("examples/three_nodes");
    assert!(path.exists(), "{} is missing: run the whole of `cargo test`", path.display());
    path
}

fn survives(seed: u64, arguments: &[&str]) {
    let dir = format!("target/three_nodes_test/{seed}");
    let output = Command::new(three_nodes())
        .args(["--mib", "6", "--seed", &seed.to_string(), "--dir", &dir])
        .args(arguments)
        .output()
        .expect("it runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("every byte is right"),
        "seed {seed} {arguments:?}: {}\n{out}\n{err}\nrepeat: cargo run --example three_nodes -- \
         --mib 6 --seed {seed} {}",
        output.status,
        arguments.join(" ")
    );
}

#[test]
fn three_nodes_survive_kills_at_random_moments_and_of_the_leader() {
    // Another moment in every run; a failure prints it.
    let seed = u64::from(std::process::id());
    survives(seed, &[]);
    survives(seed + 1, &["--kill-leader"]);
}
