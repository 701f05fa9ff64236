//! The command `evertree` as an operator runs it: real processes, real files, real signals.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

mod cli {
    mod bad_input;
    mod certs;
    mod damaged;
    mod docs;
    mod full_disk;
    mod layers;
    mod node;
    mod operate;
    mod recover;
    mod reports;
}

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[expect(clippy::disallowed_methods, reason = "another process has no event to wait for")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The command, run in `folder`, with no settings from outside.
fn evertree(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evertree"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("EVERTREE_") || text == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Output {
    evertree(folder).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command printed that must succeed.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    text(&output.stdout)
}

fn done_json(folder: &Path, arguments: &[&str]) -> Value {
    let said = done(folder, arguments);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}:\n{said}"))
}

/// Fails with `code` and all of the words on standard error.
fn is_refused(output: &Output, code: i32, what: &str, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}:\n{said}");
    for word in words {
        assert!(said.contains(word), "{what} does not say {word:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{what} panicked:\n{said}");
}

/// A port that was free just now.
fn free_port() -> u16 {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    held.local_addr().expect("an address").port()
}

/// A running `evertree node`. Killed with the test.
struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts it in `folder`, which keeps what it says in `label.out` and `label.err`.
    fn start(folder: &Path, label: &str, arguments: &[&str]) -> Self {
        let [out, err] = ["out", "err"].map(|kind| folder.join(format!("{label}.{kind}")));
        let [to_out, to_err] =
            [&out, &err].map(|path| fs::File::create(path).expect("a file to say it in"));
        let mut command = evertree(folder);
        let child = command.arg("node").args(arguments).stdout(to_out).stderr(to_err).spawn();
        Self { child: child.expect("it runs"), out, err }
    }

    /// What it has printed.
    fn out(&self) -> String {
        fs::read_to_string(&self.out).expect("it is there")
    }

    /// What it has said on standard error.
    fn err(&self) -> String {
        fs::read_to_string(&self.err).expect("it is there")
    }

    /// The line that it prints once it is a member.
    fn member(&mut self) -> String {
        until("the node is a member", || {
            let ended = self.child.try_wait().expect("it has a state");
            assert!(ended.is_none(), "it ended, {ended:?}:\n{}", self.err());
            self.out().ends_with('\n')
        });
        self.out()
    }

    fn says(&mut self, words: &str) {
        until(words, || self.err().contains(words));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is not waited for yet");
    }

    fn ended(&mut self) -> ExitStatus {
        let mut ended = None;
        until("the node ends", || {
            ended = self.child.try_wait().expect("it has a state");
            ended.is_some()
        });
        ended.expect("it ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The nodes of [`three`].
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// The flags of each of three nodes that form a cluster.
fn flags_of_three() -> [Vec<String>; 3] {
    let addresses = NAMES.map(|_| format!("127.0.0.1:{}", free_port()));
    let join = format!("--join={}", addresses.join(","));
    let of = |at: usize| {
        let (name, listen) = (NAMES[at], &addresses[at]);
        let own =
            [format!("--name={name}"), format!("--data={name}"), format!("--listen={listen}")];
        let all = ["--insecure", "--expect=3", "--shards=64", &join].map(str::to_owned);
        all.into_iter().chain(own).collect()
    };
    [of(0), of(1), of(2)]
}

fn words<'a>(first: &[&'a str], flags: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(flags.iter().map(String::as_str)).collect()
}

/// Three nodes in `folder`, members of one cluster.
fn three(folder: &Path) -> [Process; 3] {
    let ports = NAMES.map(|_| free_port());
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let join = format!("--join={}", addresses.join(","));
    let start = |at: usize| {
        let (name, listen) = (NAMES[at], format!("--listen={}", addresses[at]));
        let (named, zone) = (format!("--name={name}"), format!("--zone=zone-{name}"));
        let data = format!("--data={name}");
        let flags = ["--insecure", "--expect=3", "--shards=64"];
        let own = [named.as_str(), &zone, &data, &listen, &join];
        Process::start(folder, name, &[&flags[..], &own].concat())
    };
    let mut nodes = [0, 1, 2].map(start);
    for node in &mut nodes {
        node.member();
    }
    nodes
}
