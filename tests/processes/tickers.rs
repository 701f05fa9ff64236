//! Three processes that append under every tenure they have and add to each other's counters, and
//! their event logs.
//!
//! | module | is |
//! |---|---|
//! | [`node`] | one of the processes |
//! | [`entry`] | a line of an event log |
//! | [`ledger`] | the rules over all of them |

#[path = "tickers/entry.rs"]
mod entry;
#[path = "tickers/ledger.rs"]
mod ledger;
#[path = "tickers/node.rs"]
mod node;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use evertree::base::{BootClock, Clock as _, Instant};
use evertree::transport::certs::Authority;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

pub(crate) use entry::{Entry, Fact};
pub(crate) use ledger::{Life, Verdict, judge};

use super::nodes::{NAMES, Seat};

const CLUSTER: &str = "tickers";
/// Few, so that logs stay small.
const SHARDS: u16 = 64;
/// Counters that every process asks: some in shards of each.
pub(crate) const COUNTERS: u16 = 12;
/// In the environment of a process: its name, which of its lives it is, the directory of all, and
/// the [`Setting`].
const NODE: &str = "TICKERS_NODE";
const LIFE: &str = "TICKERS_LIFE";
const PLACE: &str = "TICKERS_PLACE";
const SETTING: &str = "TICKERS_SETTING";
/// Of a process's own log, which a failure names.
const LOG: &str = "warn,openraft=error,evertree=info";
/// Longest wait for anything that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How often the logs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What all processes are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Setting {
    profile: String,
    seats: Vec<SocketAddr>,
    tick: Duration,
    log: String,
}

impl Setting {
    fn seat(&self, name: &str) -> SocketAddr {
        self.seats[index(name)]
    }
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|other| *other == name).expect("one of the three")
}

fn log_name(name: &str, life: &str) -> String {
    format!("{name}-{life}.events")
}

/// Is a process of a [`Trio`], if this one was started as one; whether it was.
pub(crate) fn was_node() -> bool {
    std::env::var(NODE).inspect(|name| node::be(name)).is_ok()
}

/// How a [`Trio`] is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Arguments with which this program comes to [`was_node`].
    pub(crate) entry: &'static [&'static str],
    pub(crate) profile: &'static str,
    pub(crate) seats: [Seat; 3],
    /// How often each tenure appends.
    pub(crate) tick: Duration,
}

/// A process that runs, and how much of its log was read. Killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    log: PathBuf,
    read: u64,
    /// Of this process, in [`Trio::lives`].
    life: usize,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where in all logs something began.
#[derive(Debug, Clone)]
pub(crate) struct Mark(Vec<usize>);

/// The three, each of which may be killed and started again.
#[derive(Debug)]
pub(crate) struct Trio {
    folder: tempfile::TempDir,
    plan: Plan,
    running: BTreeMap<&'static str, Process>,
    pub(crate) lives: Vec<Life>,
}

impl Trio {
    /// Three that have become a cluster and serve.
    pub(crate) fn form(plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificates(folder.path());
        let mut trio = Self { folder, plan, running: BTreeMap::new(), lives: Vec::new() };
        let mark = trio.mark();
        for name in NAMES {
            trio.start(name);
        }
        trio.until("all serve", |trio| trio.serve_since(&mark));
        trio
    }

    /// Starts the process of `name`, for the first time or again.
    pub(crate) fn start(&mut self, name: &'static str) {
        let number = self.lives.iter().filter(|life| life.name == name).count() + 1;
        let number = u32::try_from(number).expect("few");
        let setting = Setting {
            profile: self.plan.profile.into(),
            seats: self.plan.seats.iter().map(|seat| seat.addr).collect(),
            tick: self.plan.tick,
            log: LOG.into(),
        };
        let setting = serde_json::to_string(&setting).expect("it encodes");
        let program = std::env::current_exe().expect("the path of this program");
        let before = self.plan.seats[index(name)].before.iter().map(Into::into);
        let words: Vec<std::ffi::OsString> = before.chain([program.into()]).collect();
        let place = self.folder.path();
        let said = File::create(place.join(format!("{name}-{number}.log"))).expect("a file");
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(self.plan.entry)
            .arg("--nocapture")
            .env(NODE, name)
            .env(LIFE, number.to_string())
            .env(PLACE, place)
            .env(SETTING, setting)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("it was asked for");
        let log = place.join(log_name(name, &number.to_string()));
        let life = self.lives.len();
        self.lives.push(Life { name: name.into(), number, ..Life::default() });
        let before = self.running.insert(name, Process { child, input, log, read: 0, life });
        assert!(before.is_none(), "{name} runs already");
    }

    /// Sends `signal`, and says when, at the latest.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Instant {
        let at = BootClock.now();
        kill_process(Pid::from_child(&self.running[name].child), signal).expect("it runs");
        at
    }

    /// Kills all of `names` at once; when.
    pub(crate) fn kill(&mut self, names: &[&'static str]) -> Instant {
        let at = BootClock.now();
        for name in names {
            self.signal(name, Signal::KILL);
        }
        for name in names {
            let mut process = self.running.remove(name).expect("it runs");
            let status = process.child.wait().expect("it ends");
            assert!(!status.success(), "{name} was killed");
            self.read(&mut process);
            self.lives[process.life].killed = Some(at);
        }
        at
    }

    /// Reads what the logs have more.
    fn look(&mut self) {
        for (name, mut process) in std::mem::take(&mut self.running) {
            self.read(&mut process);
            let status = process.child.try_wait().expect("it is ours");
            assert!(status.is_none(), "{name} has ended, {status:?}:\n{}", self.said(name));
            self.running.insert(name, process);
        }
    }

    /// Whole lines only: the last one may still be written, or never was.
    fn read(&mut self, process: &mut Process) {
        // Made when the process has come so far.
        let Ok(mut file) = File::open(&process.log) else { return };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(process.read)).expect("it is a file");
        file.read_to_end(&mut bytes).expect("it is a file");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        process.read += whole as u64;
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry = serde_json::from_slice(line).expect("a line that a process wrote");
            self.lives[process.life].entries.push(entry);
        }
    }

    /// The end of what the present process of `name` said.
    fn said(&self, name: &str) -> String {
        let number = self.lives.iter().filter(|life| life.name == name).count();
        let path = self.folder.path().join(format!("{name}-{number}.log"));
        let said = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits until `holds`; when it was seen.
    pub(crate) fn until(&mut self, what: &str, holds: impl FnMut(&Self) -> bool) -> Instant {
        let seen = self.within(PATIENCE, holds);
        seen.unwrap_or_else(|| {
            let said = NAMES.map(|name| format!("{name}:\n{}", self.said(name))).join("\n");
            panic!("{what}: not within {PATIENCE:?}\n{said}")
        })
    }

    /// Waits until `holds`, at most `within`; when it was seen.
    pub(crate) fn within(
        &mut self,
        within: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Option<Instant> {
        let end = BootClock.now() + within;
        loop {
            self.look();
            let now = BootClock.now();
            if holds(self) {
                return Some(now);
            }
            if now >= end {
                return None;
            }
            // Another process has no event to wait for.
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// How much stands in the logs so far.
    pub(crate) fn mark(&mut self) -> Mark {
        self.look();
        Mark(self.lives.iter().map(|life| life.entries.len()).collect())
    }

    /// The present life of `name`, or its last.
    fn life(&self, name: &str) -> (usize, &Life) {
        let mut lives = self.lives.iter().enumerate().rev();
        lives.find(|(_, life)| life.name == name).expect("it was started")
    }

    /// What the present process of `name` noted since `mark`.
    pub(crate) fn since(&self, name: &str, mark: &Mark) -> &[Entry] {
        let (index, life) = self.life(name);
        &life.entries[mark.0.get(index).copied().unwrap_or(0)..]
    }

    /// The newest of what `name` noted that `pick` takes.
    fn newest<'t, T>(&'t self, name: &str, pick: impl Fn(&'t Fact) -> Option<T>) -> Option<T> {
        self.life(name).1.entries.iter().rev().find_map(|entry| pick(&entry.fact))
    }

    /// Version, members and owners, as `name` saw them last.
    pub(crate) fn view(&self, name: &str) -> Option<(u64, &BTreeMap<String, u64>, &str)> {
        self.newest(name, |fact| match fact {
            Fact::View { version, members, owners } => Some((*version, members, &**owners)),
            _ => None,
        })
    }

    /// Whether the lease of `name` holds, as far as it noted.
    pub(crate) fn has_lease(&self, name: &str) -> bool {
        let holds = self.newest(name, |fact| match fact {
            Fact::Resume => Some(true),
            Fact::Lapse { .. } => Some(false),
            _ => None,
        });
        holds == Some(true)
    }

    /// Whom `name` takes for the leader.
    fn leader_of(&self, name: &str) -> Option<&str> {
        self.newest(name, |fact| match fact {
            Fact::Leader { node } => Some(node.as_deref()),
            _ => None,
        })?
    }

    /// Who leads, if all say the same.
    pub(crate) fn leader(&self) -> Option<&'static str> {
        let leads = |one: &&str| NAMES.iter().all(|name| self.leader_of(name) == Some(*one));
        NAMES.into_iter().find(leads)
    }

    /// Whether `name` is well again since `mark`: all see it as a member in its own boot, its lease
    /// holds, it had an answer to what it asked since, and it appended, if it owns anything.
    pub(crate) fn is_back(&self, name: &str, mark: &Mark) -> bool {
        let Some((_, members, owners)) = self.view(name) else { return false };
        let boot = members.get(name);
        let is_member = boot.is_some()
            && NAMES
                .iter()
                .all(|by| self.view(by).is_some_and(|(_, all, _)| all.get(name) == boot));
        let letter = name.chars().last().expect("a name");
        let (mut asked, mut answered, mut ticked) = (None, false, !owners.contains(letter));
        for Entry { fact, .. } in self.since(name, mark) {
            match fact {
                Fact::Ask { number, .. } => asked = asked.or(Some(*number)),
                Fact::Answer { number, .. } => {
                    answered |= asked.is_some_and(|from| *number >= from);
                }
                Fact::Tick { right, .. } => ticked |= Some(&right.boot) == boot,
                _ => {}
            }
        }
        is_member && self.has_lease(name) && answered && ticked
    }

    /// Whether all are back since `mark`, every shard is owned and appended to, and every counter
    /// answers.
    pub(crate) fn serve_since(&self, mark: &Mark) -> bool {
        if !NAMES.iter().all(|name| self.view(name).is_some() && self.is_back(name, mark)) {
            return false;
        }
        let mut shards = vec![false; usize::from(SHARDS)];
        let mut counters = vec![false; usize::from(COUNTERS)];
        for entry in NAMES.iter().flat_map(|name| self.since(name, mark)) {
            match &entry.fact {
                Fact::Tick { right, .. } => shards[usize::from(right.shard)] = true,
                Fact::Answer { counter, .. } => counters[usize::from(*counter)] = true,
                _ => {}
            }
        }
        shards.iter().chain(&counters).all(|one| *one)
    }

    fn tell(&mut self, name: &str, what: &str) {
        let process = self.running.get_mut(name).expect("it runs");
        writeln!(process.input, "{what}").expect("it reads");
    }

    /// Ends the load of those that run, has one of them note every counter, and judges all logs.
    pub(crate) fn finish(mut self) -> Verdict {
        let names: Vec<_> = self.running.keys().copied().collect();
        for name in &names {
            self.tell(name, "quiet");
        }
        let is_quiet = |trio: &Self, name| {
            trio.newest(name, |fact| (*fact == Fact::Quiet).then_some(())).is_some()
        };
        self.until("nothing is under way", |trio| names.iter().all(|name| is_quiet(trio, name)));
        let reader = names.first().expect("one of them runs");
        self.tell(reader, "total");
        let last = COUNTERS - 1;
        let is_last = |fact: &Fact| matches!(fact, Fact::Final { counter, .. } if *counter == last);
        self.until("every counter is read", |trio| {
            trio.newest(reader, |fact| is_last(fact).then_some(())).is_some()
        });
        judge(&self.lives)
    }
}

/// Certificates of all three.
fn certificates(place: &Path) {
    let authority = Authority::new(CLUSTER).expect("a good name");
    let write = |file: String, text: String| {
        std::fs::write(place.join(file), text).expect("it is written");
    };
    write("ca.pem".into(), authority.ca_pem());
    for name in NAMES {
        let (certificate, key) = authority.issue_node(name).expect("a good name");
        write(format!("{name}.pem"), certificate);
        write(format!("{name}.key"), key);
    }
}
