//! Three nodes that go on undisturbed while one of them is flooded with connections.
//!
//! | module | is |
//! |---|---|
//! | [`node`] | one of the three processes |
//! | [`crowd`] | those who connect and mean nothing |

#[path = "flood/crowd.rs"]
mod crowd;
#[path = "flood/node.rs"]
mod node;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use evertree::transport::certs::Authority;
use tokio::time::Instant;

use crowd::Crowd;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const CLUSTER_NAME: &str = "flood";
/// In the environment of a node: its name, the directory of all, and the addresses of all.
const NODE: &str = "FLOOD_NODE";
const PLACE: &str = "FLOOD_PLACE";
const SEEDS: &str = "FLOOD_SEEDS";
/// Begins a line on a node's standard output that is for us.
const SAID: &str = "said: ";
/// As in the soak of links: what is resident is in use, and not what once was.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];
/// How often the flooded process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of the sockets that a flooded node may have more than before: its 512 handshakes, and as many as
/// it accepts in one turn, tokio's 128, before the tasks of those that made way have theirs.
const SOCKETS_MORE_MAX: u64 = 512 + 128;
/// Memory after the flood over that before it: what the allocator keeps of 512 handshakes.
const MEMORY_MORE_KIB_MAX: u64 = 24 << 10;
/// Memory in the last third of a flood over that in the second.
const GROWTH_PERMILLE_MAX: u64 = 50;
/// How long the flooded node may take to be as it was.
const CALM_WITHIN: Duration = Duration::from_secs(20);

/// How long, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) per_second: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) length: Duration,
    /// Connections a second that were achieved.
    pub(crate) rate: u128,
    /// Rules that did not hold.
    pub(crate) broken: Vec<String>,
}

/// Is a node, if this process was started as one; whether it was.
pub(crate) fn was_node() -> bool {
    std::env::var(NODE).inspect(|name| node::be(name)).is_ok()
}

/// A node, killed when dropped.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What the operating system says of a process.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    resident_kib: u64,
    files: u64,
}

impl Process {
    fn start(name: &str, place: &Path, seeds: &str) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program)
            .args(["--ignored", "--exact", "flood", "--nocapture"])
            .env(NODE, name)
            .env(PLACE, place)
            .env(SEEDS, seeds)
            .envs(ALLOCATOR)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("it was asked for");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { child, input, output }
    }

    /// What it says next.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = self.output.read_line(&mut line).expect("text");
            assert!(bytes > 0, "a node has ended: {:?}", self.child.wait());
            if let Some(said) = line.strip_prefix(SAID) {
                return said.trim_end().to_owned();
            }
        }
    }

    fn report(&mut self) -> node::Told {
        writeln!(self.input, "report").expect("it reads");
        node::Told::parse(&self.hear())
    }

    fn look(&mut self) -> Look {
        assert_eq!(self.child.try_wait().expect("it is ours"), None, "a node has ended");
        let id = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("/proc");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok());
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("/proc").count();
        Look { resident_kib: rss.expect("a number of kB"), files: files as u64 }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Certificates of all nodes in `place`; their addresses.
fn prepare(place: &Path) -> Vec<SocketAddr> {
    let authority = Authority::new(CLUSTER_NAME).expect("a good name");
    let write = |file: String, text: String| {
        std::fs::write(place.join(file), text).expect("it is written");
    };
    write("ca.pem".into(), authority.ca_pem());
    for name in NAMES {
        let (certificate, key) = authority.issue_node(name).expect("a good name");
        write(format!("{name}.pem"), certificate);
        write(format!("{name}.key"), key);
    }
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let held: Vec<TcpListener> = NAMES.iter().map(bind).collect();
    held.iter().map(|one| one.local_addr().expect("it listens")).collect()
}

/// Floods one of three nodes as `plan` says, and judges what they tell of it.
pub(crate) fn run(plan: Plan) -> Report {
    let place = tempfile::tempdir().expect("a directory");
    let addrs = prepare(place.path());
    let seeds: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let seeds = seeds.join(",");
    let mut nodes = NAMES.map(|name| Process::start(name, place.path(), &seeds));
    for node in &mut nodes {
        assert_eq!(node.hear(), "serves");
    }
    let before = nodes.each_mut().map(|node| (node.report(), node.look()));
    let (crowd, looks) = flood(plan, addrs[0], &mut nodes[0]);
    let calm = calm_down(&mut nodes[0], before[0].1);
    let after = nodes.each_mut().map(|node| (node.report(), node.look()));
    judge(plan, &crowd, (&before, &looks, &after), calm)
}

/// The flood itself, on a thread of its own; this one looks at the node meanwhile.
fn flood(plan: Plan, to: SocketAddr, node: &mut Process) -> (Crowd, Vec<(Duration, Look)>) {
    let begun = Instant::now();
    let mut looks = Vec::new();
    let waits = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let waits = waits.expect("a runtime");
    let crowd = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let runtime = crowd::runtime();
            runtime.block_on(crowd::flood(to, plan.per_second, plan.length))
        });
        while !flooding.is_finished() {
            looks.push((begun.elapsed(), node.look()));
            waits.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
        }
        flooding.join().expect("no panic")
    });
    (crowd, looks)
}

/// Waits until the sockets of the flood are gone; for how long, if they went.
fn calm_down(node: &mut Process, before: Look) -> Option<Duration> {
    let begun = Instant::now();
    let waits = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let waits = waits.expect("a runtime");
    while begun.elapsed() < CALM_WITHIN {
        // A link or two of another class may have come meanwhile.
        if node.look().files <= before.files + 8 {
            return Some(begun.elapsed());
        }
        waits.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
    None
}

type Seen = [(node::Told, Look); 3];

fn mib(kib: u64) -> String {
    format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn judge(
    plan: Plan,
    crowd: &Crowd,
    (before, looks, after): (&Seen, &[(Duration, Look)], &Seen),
    calm: Option<Duration>,
) -> Report {
    let mut broken = Vec::new();
    let Plan { length, per_second } = plan;
    let rate = u128::from(crowd.connected) * 1_000 / length.as_millis().max(1);
    let mut text = format!(
        "{} s of {per_second} connections a second wanted, to the port of n1, from {} addresses; \
         TLS\n{crowd}\nachieved: {rate} connections a second\n",
        length.as_secs(),
        crowd::ADDRESSES
    );
    for ((name, (was, _)), (is, _)) in NAMES.iter().zip(before).zip(after) {
        let told = is.since(was);
        writeln!(text, "{name}: {told}").expect("a string takes it");
        broken.extend(told.faults().into_iter().map(|fault| format!("{name}: {fault}")));
    }
    let (was, is) = (before[0].1, after[0].1);
    let most = looks.iter().map(|(_, look)| *look).fold(was, |most, look| Look {
        resident_kib: most.resident_kib.max(look.resident_kib),
        files: most.files.max(look.files),
    });
    let third = |at: u32| {
        let within = length * (at - 1) / 3..length * at / 3;
        let of_it = looks.iter().filter(|(at, _)| within.contains(at));
        median(of_it.map(|(_, look)| look.resident_kib).collect())
    };
    let (second, last) = (third(2), third(3));
    writeln!(
        text,
        "memory of n1, MiB: {} before, {} in the second third, {} in the last, {} at most, {} \
         after\nfiles open in n1: {} before, {} at most, {} after",
        mib(was.resident_kib),
        mib(second),
        mib(last),
        mib(most.resident_kib),
        mib(is.resident_kib),
        was.files,
        most.files,
        is.files
    )
    .expect("a string takes it");
    match calm {
        Some(after) => writeln!(text, "its sockets were gone {} ms after", after.as_millis()),
        None => writeln!(text, "its sockets were not gone after {CALM_WITHIN:?}"),
    }
    .expect("a string takes it");
    let mut rule = |holds: bool, what: &str| {
        if !holds {
            broken.push(what.to_owned());
        }
    };
    rule(calm.is_some(), "sockets stay after the flood");
    rule(most.files <= was.files + SOCKETS_MORE_MAX, "more sockets than there may be");
    rule(is.resident_kib <= was.resident_kib + MEMORY_MORE_KIB_MAX, "memory grew over the flood");
    rule(last * 1000 <= second * (1000 + GROWTH_PERMILLE_MAX), "memory grows with the flood");
    rule(crowd.connected > 0, "nothing was flooded");
    writeln!(text, "rules that did not hold: {}", broken.len()).expect("a string takes it");
    for rule in &broken {
        writeln!(text, "  {rule}").expect("a string takes it");
    }
    Report { text, length, rate, broken }
}
