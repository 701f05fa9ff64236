//! One of the three nodes: this program, started once more. It asks entities of all nodes, watches
//! its lease and what is said of the members, and tells of it when asked.

use std::fmt;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use evertree::entity::{Cx, Durable, Entity, Failure, Kind, Reply};
use evertree::membership::MemberChange;
use evertree::node::{Node, NodeConfig, Security};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval};

use super::{CLUSTER_NAME, NAMES, PLACE, SAID, SEEDS};

const ASK_EVERY: Duration = Duration::from_millis(50);
/// Entities asked in turn: some at every node.
const ENTITIES: u64 = 16;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const EVENTS_MAX: usize = 1_024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
enum CounterMsg {
    Add(Reply<u64>),
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Msg = CounterMsg;
    type Env = ();

    async fn handle(&mut self, msg: CounterMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        let CounterMsg::Add(reply) = msg;
        self.0 += 1;
        cx.save(self).await?;
        reply.send(self.0);
        Ok(())
    }
}

/// What a node tells of itself, all counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Looks at which it did not serve: no member, or its lease had run out.
    not_serving: u64,
    suspected: u64,
    unreachable: u64,
    /// Members that went, for whatever reason.
    gone: u64,
    asked: u64,
    unanswered: u64,
    slowest_ms: u64,
    broken: u64,
    dialled: u64,
    refused: u64,
    version: u64,
}

impl Told {
    pub(crate) fn parse(text: &str) -> Self {
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        postcard::from_bytes(&bytes.expect("hexadecimal")).expect("what a node tells")
    }

    fn show(&self) -> String {
        let bytes = postcard::to_stdvec(self).expect("it encodes");
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// What came since `before`. The slowest answer is that of all time.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            not_serving: self.not_serving - before.not_serving,
            suspected: self.suspected - before.suspected,
            unreachable: self.unreachable - before.unreachable,
            gone: self.gone - before.gone,
            asked: self.asked - before.asked,
            unanswered: self.unanswered - before.unanswered,
            slowest_ms: self.slowest_ms,
            broken: self.broken - before.broken,
            dialled: self.dialled - before.dialled,
            refused: self.refused - before.refused,
            version: self.version - before.version,
        }
    }

    /// What must not be while nothing but a flood happens.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = [
            (self.not_serving, "looks at which it did not serve"),
            (self.unreachable, "members called unreachable"),
            (self.gone, "members that went"),
            (self.unanswered, "asks without an answer"),
            (self.broken, "links that broke"),
        ];
        let real = faults.into_iter().filter(|(count, _)| *count > 0);
        real.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} looks at which it did not serve; {} suspected, {} unreachable, {} gone; \
             {} entities asked, {} unanswered, slowest answer {} ms; {} links broke, {} dialled, \
             {} connections refused",
            self.not_serving,
            self.suspected,
            self.unreachable,
            self.gone,
            self.asked,
            self.unanswered,
            self.slowest_ms,
            self.broken,
            self.dialled,
            self.refused
        )
    }
}

#[derive(Default)]
struct Counted {
    not_serving: AtomicU64,
    suspected: AtomicU64,
    unreachable: AtomicU64,
    gone: AtomicU64,
    asked: AtomicU64,
    unanswered: AtomicU64,
    slowest_ms: AtomicU64,
}

static COUNTED: LazyLock<Arc<Counted>> = LazyLock::new(Arc::default);

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

fn told(node: &Node) -> Told {
    let (counted, links) = (&**COUNTED, node.link_counts());
    Told {
        not_serving: counted.not_serving.load(Relaxed),
        suspected: counted.suspected.load(Relaxed),
        unreachable: counted.unreachable.load(Relaxed),
        gone: counted.gone.load(Relaxed),
        asked: counted.asked.load(Relaxed),
        unanswered: counted.unanswered.load(Relaxed),
        slowest_ms: counted.slowest_ms.load(Relaxed),
        broken: links.broken,
        dialled: links.dialled,
        refused: links.refused,
        version: node.view().version.0,
    }
}

/// Looks at the lease without end.
async fn watch_lease(node: Node) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if !node.is_serving() {
            one(&COUNTED.not_serving);
        }
    }
}

async fn watch_members(node: Node) {
    let mut events = node.member_events(EVENTS_MAX);
    while let Some(event) = events.recv().await {
        match event.change {
            MemberChange::Suspect { .. } => one(&COUNTED.suspected),
            MemberChange::Unreachable { .. } => one(&COUNTED.unreachable),
            MemberChange::Left | MemberChange::Evicted | MemberChange::Restarted => {
                one(&COUNTED.gone);
            }
            _ => {}
        }
    }
}

async fn ask(node: &Node, number: u64) {
    let entity = node.entities::<Counter>().get(&format!("c{}", number % ENTITIES));
    let begun = Instant::now();
    let answer = entity.ask(CounterMsg::Add).await;
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    COUNTED.slowest_ms.fetch_max(took, Relaxed);
    one(if answer.is_ok() { &COUNTED.asked } else { &COUNTED.unanswered });
}

async fn asks(node: Node) {
    let mut ticks = interval(ASK_EVERY);
    for number in 0.. {
        ticks.tick().await;
        ask(&node, number).await;
    }
}

fn config(name: &str) -> NodeConfig {
    let place = PathBuf::from(std::env::var(PLACE).expect("it is set"));
    let read = |file: String| std::fs::read(place.join(file)).expect("it was written");
    let security = Security::Tls {
        authorities: read("ca.pem".into()),
        certificate: read(format!("{name}.pem")),
        key: read(format!("{name}.key")),
    };
    let seeds = std::env::var(SEEDS).expect("it is set");
    let seeds: Vec<String> = seeds.split(',').map(Into::into).collect();
    let at = NAMES.iter().position(|one| *one == name).expect("one of the three");
    NodeConfig {
        cluster: CLUSTER_NAME.into(),
        listen: seeds[at].parse().expect("an address"),
        seeds,
        expect: NAMES.len(),
        shards: 64,
        data: place.join(name),
        ..NodeConfig::new(name.parse().expect("a plain name"), security)
    }
}

fn say(what: &str) {
    // On a line of its own: the test around this has begun one.
    println!("\n{SAID}{what}");
}

/// Is the node `name` until nobody is there to ask it.
pub(super) fn be(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let node = runtime.block_on(async {
        let counters = Kind::<Counter>::new(()).durable(Durable::Snapshots);
        let node = Node::build(config(name)).host(counters).start().await.expect("a cluster");
        // All links stand, and all entities run, before anything is counted.
        for number in 0..ENTITIES {
            let entity = node.entities::<Counter>().get(&format!("c{number}"));
            let asked = entity.ask_within(Duration::from_secs(30), CounterMsg::Add).await;
            asked.expect("an answer");
        }
        node
    });
    runtime.spawn(watch_lease(node.clone()));
    runtime.spawn(watch_members(node.clone()));
    runtime.spawn(asks(node.clone()));
    say("serves");
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("report") => say(&told(&node).show()),
            Ok(_) | Err(_) => break,
        }
    }
    runtime.block_on(node.stop());
}
