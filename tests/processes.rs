//! The examples and the command as a user runs them: real processes, real files, real signals.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

mod processes {
    mod bad_input;
    mod group;
    mod namespaces;
    mod net;
    mod nodes;
    mod ownership;
    #[path = "../soak/power.rs"]
    mod power;
    #[path = "../soak/sigstop.rs"]
    mod sigstop;
    mod strangers;
    mod three_nodes;
    mod tickers;
}

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An example's executable; `cargo test` builds it beside this test.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().expect("a path");
    let target = own.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is missing: run the whole of `cargo test`", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[expect(clippy::disallowed_methods, reason = "another process has no event to wait for")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A running process. Killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes of a group that still run: one that nobody has waited for yet does not.
fn running_in(group: Pid) -> Vec<String> {
    let group = group.as_raw_nonzero().to_string();
    let entries = fs::read_dir("/proc").expect("/proc");
    let stats =
        entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    // pid (command) state parent group ..., and the command may hold anything.
    let runs = |stat: &String| {
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split(' ').take(3).collect();
        fields.get(2) == Some(&group.as_str()) && !matches!(fields.first(), Some(&("Z" | "X")))
    };
    stats.filter(runs).collect()
}
