//! The search for planted bugs. They can be planted by this crate's own unit tests only, so this
//! runs the one that searches.

use std::process::Command;

/// What it printed, and whether every bug was found.
pub(crate) fn search(root: &str) -> (String, bool) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--release", "--lib", "--", "--ignored", "--nocapture", "planted_search"]);
    let output = cargo.current_dir(root).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(": seed ") || line.contains("not found"))
        .collect();
    let ok = output.status.success() && !lines.is_empty();
    let errors = String::from_utf8_lossy(&output.stderr);
    (if ok { lines.join("\n") } else { format!("{said}\n{errors}") }, ok)
}
