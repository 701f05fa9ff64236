//! Two nodes that talk for ten minutes while what lies between them cuts their links.
//!
//! | module | is |
//! |---|---|
//! | [`node`] | one of the two processes |
//! | [`sender`] | what it sends |
//! | [`account`] | what it keeps count of, and the rules that both counts obey together |
//! | [`proxy`] | what lies between them |

#[path = "links/account.rs"]
mod account;
#[path = "links/node.rs"]
mod node;
#[path = "links/proxy.rs"]
mod proxy;
#[path = "links/sender.rs"]
mod sender;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use evertree::transport::certs::Authority;
use tokio::time::Instant;

use account::{Account, Way, judge};
use proxy::Proxy;

/// In the environment of a node: its name.
const NODE: &str = "LINKS_NODE";
/// Large pieces of memory go back to the operating system at once: what is resident is in use, and
/// not what once was.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];
const NAMES: [&str; 2] = ["a", "b"];
const CLUSTER_NAME: &str = "soak";
/// Ends a text on the standard input of a node.
const END: &str = ".";
/// Begins a line on its standard output that is for us.
const SAID: &str = "said: ";
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is compared: medians of the looks in so long, after two minutes and at the end. What is
/// under way between two cuts makes single looks differ by a megabyte in seventeen.
const WARM_AFTER: Duration = Duration::from_mins(2);
const COMPARED: Duration = Duration::from_mins(1);
/// Memory at the end over that at minute two.
const GROWTH_PERMILLE_MAX: u64 = 50;

/// How long, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) length: Duration,
    /// Messages a second, of both nodes together.
    pub(crate) per_second: u64,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) length: Duration,
    pub(crate) messages: u64,
    pub(crate) cuts: u64,
    /// Rules that did not hold.
    pub(crate) broken: Vec<String>,
}

/// Is a node, if this process was started as one; whether it was.
pub(crate) fn was_node() -> bool {
    std::env::var(NODE).inspect(|name| node::be(name)).is_ok()
}

fn threads(count: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(count)
        .enable_all()
        .build()
        .expect("threads")
}

/// A node, killed when dropped.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    addr: SocketAddr,
    /// KiB, by the time since the start.
    memory: Vec<(Duration, u64)>,
}

impl Process {
    fn start(authority: &Authority, name: &str) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program)
            .args(["--ignored", "--exact", "links", "--nocapture"])
            .env(NODE, name)
            .envs(ALLOCATOR)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("it was asked for");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (cert, key) = authority.issue_node(name).expect("a good name");
        for text in [authority.ca_pem(), cert, key] {
            writeln!(input, "{}\n{END}", text.trim_end()).expect("it reads");
        }
        let addr = SocketAddr::from(([0; 4], 0));
        let mut process = Self { child, input, output, addr, memory: Vec::new() };
        process.addr = process.hear().parse().expect("an address");
        process
    }

    fn tell(&mut self, order: &str) {
        writeln!(self.input, "{order}").expect("it reads");
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

    fn look(&mut self, at: Duration) {
        assert_eq!(self.child.try_wait().expect("it is ours"), None, "a node has ended");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("/proc");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok());
        self.memory.push((at, rss.expect("a number of kB")));
    }

    /// The middle one of what was seen between two times.
    fn memory_in(&self, from: Duration, to: Duration) -> Option<u64> {
        let seen = self.memory.iter().filter(|(at, _)| (from..=to).contains(at));
        let mut seen: Vec<u64> = seen.map(|(_, kib)| *kib).collect();
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied()
    }

    fn account(&mut self) -> Account {
        let hex = self.hear();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        postcard::from_bytes(&bytes.expect("hexadecimal")).expect("an account")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets both nodes talk as long as `plan` says, and judges what they tell of it.
pub(crate) fn run(plan: Plan) -> Report {
    // One thread carries the bytes while this one waits and looks.
    let runtime = threads(1);
    let authority = Authority::new(CLUSTER_NAME).expect("a good name");
    let mut nodes = NAMES.map(|name| Process::start(&authority, name));
    let proxies = [0, 1].map(|from| {
        let (to, seed) = (nodes[1 - from].addr, 2 * plan.seed + from as u64);
        runtime.block_on(Proxy::start(to, seed))
    });
    let begun = Instant::now();
    for (from, node) in nodes.iter_mut().enumerate() {
        let (to, addr, rate) = (NAMES[1 - from], proxies[from].addr, plan.per_second / 2);
        node.tell(&format!("{to} {addr} {rate}"));
    }
    while let Some(left) = plan.length.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        runtime.block_on(async { tokio::time::sleep(left.min(LOOK_EVERY)).await });
        for node in &mut nodes {
            node.look(begun.elapsed());
        }
    }
    let length = begun.elapsed();
    for proxy in &proxies {
        runtime.block_on(proxy.calm());
    }
    for node in &mut nodes {
        node.tell("quiet");
    }
    for node in &mut nodes {
        assert_eq!(node.hear(), "drained");
    }
    // Only now: each has what the other sent.
    for node in &mut nodes {
        node.tell("stop");
    }
    let accounts = nodes.each_mut().map(Process::account);
    report(plan, length, (&nodes, &proxies, &accounts))
}

fn report(
    plan: Plan,
    length: Duration,
    (nodes, proxies, accounts): (&[Process; 2], &[Proxy; 2], &[Account; 2]),
) -> Report {
    let mut broken = Vec::new();
    let mut lines = String::new();
    let (mut messages, mut cuts) = (0, 0);
    for from in [0, 1] {
        let name = format!("{} to {}", NAMES[from], NAMES[1 - from]);
        let way = judge(&name, &accounts[from], &accounts[1 - from], &mut broken);
        lines += &way_lines(&name, &way, &accounts[from]);
        writeln!(lines, "  cut: {}", proxies[from].counts()).expect("a string takes it");
        messages += way.messages();
        cuts += proxies[from].cuts();
    }
    for (name, node) in NAMES.iter().zip(nodes) {
        lines += &memory_lines(name, node, length, &mut broken);
    }
    let per_second = u128::from(messages) * 1_000 / length.as_millis().max(1);
    let mut text = format!(
        "seed {} of the cuts; {:.1} s, TLS, 16 lanes each way\n\
         {messages} messages of 8 to 64 B received, {per_second} a second; \
         {cuts} connections cut\n",
        plan.seed,
        length.as_secs_f64()
    );
    text += &lines;
    writeln!(text, "rules that did not hold: {}", broken.len()).expect("a string takes it");
    for rule in &broken {
        writeln!(text, "  {rule}").expect("a string takes it");
    }
    Report { text, length, messages, cuts, broken }
}

fn way_lines(name: &str, way: &Way, from: &Account) -> String {
    let Way { accepted, received, unsent, unknown, asks, .. } = way;
    let (missing, connections) = (accepted.saturating_sub(*received), &from.connections);
    let mut text = format!(
        "{name}\n  tells: {accepted} accepted, {received} received; {missing} missing, of which \
         {unsent} reported unsent and up to {unknown} unknown, in {} reports; {} received twice, \
         {} after later ones; {} not accepted\n",
        connections.losses, way.twice, way.late, way.refused
    );
    for (what, asks) in [("asks", asks), ("control asks of 100 KiB", &from.control)] {
        let account::Asks { begun, answered, refused, unknown, not_executed, abandoned, .. } = asks;
        writeln!(
            text,
            "  {what}: {begun} begun, {answered} answered, {refused} refused, {unknown} unknown, \
             {not_executed} not executed, {abandoned} abandoned"
        )
        .expect("a string takes it");
    }
    writeln!(
        text,
        "  connections: {} dialled; {} dials failed; {} broke either way, {} resumed TLS",
        connections.dialled, connections.dials_failed, connections.broken, connections.resumed
    )
    .expect("a string takes it");
    text
}

fn memory_lines(name: &str, node: &Process, length: Duration, broken: &mut Vec<String>) -> String {
    let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
    let minutes = node.memory.chunks(12).filter_map(|minute| minute.last());
    let curve: Vec<String> = minutes.map(|(_, kib)| mib(*kib)).collect();
    let mut text = format!("memory of {name}, MiB, every minute: {}\n", curve.join(" "));
    let warm = node.memory_in(WARM_AFTER, WARM_AFTER + COMPARED);
    let last = node.memory_in(length.saturating_sub(COMPARED), length);
    let (Some(warm), Some(last)) = (warm, last) else { return text };
    let most = node.memory.iter().map(|(_, kib)| *kib).max().unwrap_or(0);
    writeln!(text, "  {} at minute 2, {} at the end, {} at most", mib(warm), mib(last), mib(most))
        .expect("a string takes it");
    if length > WARM_AFTER + 2 * COMPARED && last * 1000 > warm * (1000 + GROWTH_PERMILLE_MAX) {
        broken.push(format!("memory of {name} grew from {warm} to {last} KiB"));
    }
    text
}
