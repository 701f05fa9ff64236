//! Real nodes of the command `evertree`, with certificates, and what each says of the others.
//!
//! What a node observes is read from its log, which names member, boot, change and observers.

#[path = "nodes/book.rs"]
mod book;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use evertree::base::{BootClock, Clock as _, Instant, Worker};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) use book::{Book, Said, Sight};

pub(crate) const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const EVERTREE: &str = env!("CARGO_BIN_EXE_evertree");
const CLUSTER: &str = "processes";
/// What changes about members, and which links broke; raft says of each heartbeat that it failed.
const LOG: &str = "warn,openraft=error,evertree=info,evertree::transport::links=debug";
/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a process is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Lines of the logs that a failure shows.
const LINES_SHOWN: usize = 60;

/// Where one of [`NAMES`] runs.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) addr: SocketAddr,
    /// What stands before the command, such as `ip netns exec NAME`.
    pub(crate) before: Vec<String>,
}

/// Addresses of this call alone, on loopback.
pub(crate) fn loopback() -> [Seat; 3] {
    static CALLS: AtomicU8 = AtomicU8::new(0);
    let before = CALLS.fetch_add(1, Ordering::Relaxed).checked_mul(3).expect("at most 80 calls");
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [1, 2, 3].map(|last| Seat {
        // Never 127.0.0.x, where others listen.
        addr: SocketAddr::from(([127, high | 1, low, before + last], 7001)),
        before: Vec::new(),
    })
}

/// The book, and a bell for whoever waits for what will stand in it.
#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    written: Condvar,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no reader panics")
    }

    fn write(&self, write: impl FnOnce(&mut Book)) {
        write(&mut self.book());
        self.written.notify_all();
    }

    fn read(self: Arc<Self>, by: &'static str, log: impl Read) {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let at = (BootClock.now(), BootClock.unix());
            self.write(|book| book.log(at, by, &line));
        }
        self.write(|book| book.ends(by));
    }
}

/// A group of nodes. Killed with the test.
pub(crate) struct Group {
    folder: tempfile::TempDir,
    profile: &'static str,
    seats: [Seat; 3],
    running: BTreeMap<&'static str, Child>,
    shared: Arc<Shared>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Group {
    /// Three nodes that have become a cluster and see each other.
    pub(crate) fn form(profile: &'static str, seats: [Seat; 3]) -> Self {
        let mut group = Self::new(profile, seats);
        for name in NAMES {
            group.start(name);
        }
        group.until("all see each other", |book| book.is_well(&NAMES));
        group
    }

    /// Three nodes with certificates, none of which was started.
    pub(crate) fn new(profile: &'static str, seats: [Seat; 3]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let running = BTreeMap::new();
        let group = Self { folder, profile, seats, running, shared: Arc::default() };
        group.certs(&["init", "--cluster", CLUSTER]);
        for name in NAMES {
            group.certs(&["issue", name]);
        }
        group
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn certs(&self, arguments: &[&str]) {
        let mut command = Command::new(EVERTREE);
        command.env_clear().arg("certs").args(arguments).args(["--dir", &self.path("certs")]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "certs {arguments:?}: {said}");
    }

    /// Starts the process of `name`, for the first time or again.
    pub(crate) fn start(&mut self, name: &'static str) {
        self.start_with(name, &[]);
    }

    /// Starts it with other values of some flags, or without those that are given none.
    pub(crate) fn start_with(&mut self, name: &'static str, changed: &[(&str, &str)]) {
        let mut command = self.command(name, changed);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.shared.write(|book| book.begins(name));
        let mut child = command.spawn().expect("it runs");
        let log = child.stderr.take().expect("a pipe");
        let shared = self.shared.clone();
        let reader = Worker::thread("log").expect("a thread");
        reader.submit(move || shared.read(name, log)).expect("it is idle");
        self.running.insert(name, child);
    }

    /// The command of a node named `name`, with `changed` as in [`Self::start_with`].
    pub(crate) fn command(&self, name: &str, changed: &[(&str, &str)]) -> Command {
        let index = NAMES.iter().position(|other| *other == name).expect("one of them");
        let join: Vec<_> = self.seats.iter().map(|seat| seat.addr.to_string()).collect();
        let Seat { addr, before } = &self.seats[index];
        let words: Vec<&str> = before.iter().map(String::as_str).chain([EVERTREE]).collect();
        let mut command = Command::new(words[0]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).args(&words[1..]).arg("node");
        let (addr, join, data) = (addr.to_string(), join.join(","), self.path(name));
        let [ca, cert, key] =
            [String::from("ca.pem"), format!("{name}.pem"), format!("{name}.key")]
                .map(|file| self.path(&format!("certs/{file}")));
        let usual = [
            ("name", name),
            ("cluster", CLUSTER),
            ("profile", self.profile),
            ("shards", "64"),
            ("listen", &addr),
            ("advertise", &addr),
            ("join", &join),
            ("expect", "3"),
            ("data", &data),
            ("ca", &ca),
            ("cert", &cert),
            ("key", &key),
            ("log", LOG),
        ];
        let replaces = |flag: &str| changed.iter().any(|(other, _)| *other == flag);
        let kept = usual.iter().filter(|(flag, _)| !replaces(flag));
        for (flag, value) in kept.chain(changed).filter(|(_, value)| !value.is_empty()) {
            command.arg(format!("--{flag}={value}"));
        }
        command
    }

    /// Sends `signal`, and says when.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Instant {
        let at = BootClock.now();
        kill_process(Pid::from_child(&self.running[name]), signal).expect("it runs");
        at
    }

    /// Waits for the end of the process of `name`.
    pub(crate) fn ended(&mut self, name: &str) -> ExitStatus {
        self.until(&format!("{name} ends"), |book| book.has_ended(name));
        let mut child = self.running.remove(name).expect("it ran");
        child.wait().expect("it has ended")
    }

    /// Waits until every node reaches every other over its own links, as `evertree nodes` finds.
    pub(crate) fn until_linked(&self, what: &str) {
        let end = BootClock.now() + PATIENCE;
        let missing = || NAMES.into_iter().find_map(|name| self.unanswered(name));
        while let Some(why) = missing() {
            assert!(BootClock.now() < end, "{what}: {why}, still after {PATIENCE:?}");
            // Another process has no event to wait for.
            self.within(ASK_EVERY, |_| false);
        }
    }

    /// Whom `name`, when it is asked for its members, has no answer of.
    fn unanswered(&self, name: &str) -> Option<String> {
        let mut command = Command::new(EVERTREE);
        command.env_clear().args(["nodes", "--json", "--data", &self.path(name)]);
        let output = command.output().expect("it runs");
        if !output.status.success() {
            return Some(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = report["nodes"].as_array().expect("an array");
        let silent = rows.iter().find(|row| !row["no_answer"].is_null());
        let few =
            (rows.len() < NAMES.len()).then(|| format!("{name} knows {} members", rows.len()));
        few.or_else(|| Some(format!("{name}: {}", silent?["no_answer"])))
    }

    /// The longest time from a log line's own time until it was read.
    pub(crate) fn lag_max(&self) -> Duration {
        self.shared.book().lag_max
    }

    /// How much has been said so far.
    pub(crate) fn mark(&self) -> usize {
        self.shared.book().said.len()
    }

    /// All that was said since `mark`.
    pub(crate) fn since(&self, mark: usize) -> Vec<Said> {
        self.shared.book().said[mark..].to_vec()
    }

    /// The boot in which `name` last found itself a member.
    pub(crate) fn boot(&self, name: &str) -> u64 {
        self.shared.book().boot(name).unwrap_or_else(|| panic!("{name} is no member"))
    }

    /// Waits until `holds`, which is asked whenever anything was said.
    pub(crate) fn until(&self, what: &str, holds: impl FnMut(&Book) -> bool) {
        if !self.within(PATIENCE, holds) {
            let book = self.shared.book();
            let shown = book.lines.len().saturating_sub(LINES_SHOWN);
            panic!("{what}: not within {PATIENCE:?}\n{}", book.lines[shown..].join("\n"));
        }
    }

    /// Whether it comes to hold `within` a time.
    pub(crate) fn within(&self, within: Duration, mut holds: impl FnMut(&Book) -> bool) -> bool {
        let book = self.shared.book();
        let waited = self.shared.written.wait_timeout_while(book, within, |book| !holds(book));
        !waited.expect("no reader panics").1.timed_out()
    }
}
