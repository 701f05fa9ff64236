//! One of the processes: this program, started once more. It hosts durable counters and asks those
//! of all nodes, runs a ticker under each tenure it has, and notes what it sees of views and lease.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evertree::authority::Tenure;
use evertree::base::{BootClock, Clock as _, ShardId};
use evertree::entity::{AskError, Cx, Durable, Entity, Failure, Kind, Reply};
use evertree::node::{Node, NodeConfig, Security};
use evertree::placement::{Profile, View};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::entry::{Fact, Fate, Log, Right};
use super::{CLUSTER, COUNTERS, Setting};

/// How often each process asks each counter.
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How often lease and leader are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const START_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
enum CounterMsg {
    Add(Reply<u64>),
    Get(Reply<u64>),
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Msg = CounterMsg;
    type Env = ();

    async fn handle(&mut self, msg: CounterMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            CounterMsg::Add(reply) => {
                self.0 += 1;
                cx.save(self).await?;
                reply.send(self.0);
            }
            CounterMsg::Get(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

fn id(counter: u16) -> String {
    format!("c{counter}")
}

/// What all tasks of the process share.
struct Desk {
    node: Node,
    log: Log,
    tick: Duration,
    is_quiet: AtomicBool,
    asked: AtomicU64,
    under_way: AtomicU64,
}

impl Desk {
    fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::SeqCst)
    }
}

/// Appends under `tenure` until its gate closes for good.
async fn tick(desk: Arc<Desk>, tenure: Tenure) {
    let Tenure { boot, shard, epoch } = tenure;
    let right = Right { boot: boot.0, shard: shard.0, epoch: epoch.0 };
    let lease = desk.node.lease();
    let ticking = async {
        let mut ticks = interval(desk.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut n = 0;
        loop {
            ticks.tick().await;
            // Both before the check: what is noted held then, whatever comes before it is written.
            let (at, until) = (BootClock.now(), lease.valid_until());
            if lease.check(&tenure).is_ok() {
                n += 1;
                desk.log.note_at(at, Fact::Tick { right, n, until });
            }
        }
    };
    let ended: Result<(), _> = lease.through(tenure, ticking).await;
    assert!(ended.is_err(), "it ticks until its gate closes");
    desk.log.note(Fact::End { right });
}

fn seen(view: &View) -> Fact {
    let members = view.members.iter().map(|(node, member)| (node.to_string(), member.boot.0));
    let owner = |shard: &evertree::placement::Shard| {
        let letter = shard.owner.as_ref().and_then(|owner| owner.node.as_str().chars().last());
        letter.unwrap_or('-')
    };
    let owners = view.numbered().map(|(_, shard)| owner(shard)).collect();
    Fact::View { version: view.version.0, members: members.collect(), owners }
}

/// Notes every view that is seen, and starts a ticker under each new tenure.
async fn watch_views(desk: Arc<Desk>) {
    let lease = desk.node.lease();
    let mut running: BTreeMap<ShardId, Tenure> = BTreeMap::new();
    let mut views = desk.node.views().follow();
    let mut view = views.get();
    loop {
        desk.log.note(seen(&view));
        for tenure in view.numbered().filter_map(|(shard, _)| lease.owned(shard)) {
            if running.insert(tenure.shard, tenure) != Some(tenure) {
                tokio::spawn(tick(desk.clone(), tenure));
            }
        }
        match views.changed().await {
            Some(newer) => view = newer,
            None => return,
        }
    }
}

async fn watch_lease(desk: Arc<Desk>) {
    let lease = desk.node.lease();
    let (mut was_valid, mut leader) = (false, None);
    loop {
        let (until, now) = (lease.valid_until(), BootClock.now());
        let is_valid = now < until;
        if is_valid != was_valid {
            desk.log.note_at(now, if is_valid { Fact::Resume } else { Fact::Lapse { until } });
            was_valid = is_valid;
        }
        let leads = desk.node.leader().map(|node| node.to_string());
        if leads != leader {
            leader.clone_from(&leads);
            desk.log.note(Fact::Leader { node: leads });
        }
        let look = now + LOOK_EVERY;
        BootClock.sleep_until(if is_valid { look.min(until) } else { look }).await;
    }
}

/// Adds to one counter, again and again.
async fn add(desk: Arc<Desk>, counter: u16) {
    let entity = desk.node.entities::<Counter>().get(&id(counter));
    loop {
        // Counted before it is looked whether to ask: nothing under way then means nothing more.
        desk.under_way.fetch_add(1, Ordering::SeqCst);
        if desk.is_quiet() {
            desk.under_way.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let number = desk.asked.fetch_add(1, Ordering::SeqCst);
        desk.log.note(Fact::Ask { counter, number });
        let fact = match entity.ask_within(ASK_WITHIN, CounterMsg::Add).await {
            Ok(value) => Fact::Answer { counter, number, value },
            Err(error) => {
                let fate = match &error {
                    AskError::NotExecuted(_) => Fate::NotExecuted,
                    AskError::Unknown(_) => Fate::Unknown,
                };
                Fact::NoAnswer { counter, number, fate, why: error.to_string() }
            }
        };
        desk.log.note(fact);
        desk.under_way.fetch_sub(1, Ordering::SeqCst);
        sleep(ASK_EVERY).await;
    }
}

/// Asks nothing more, waits for what is under way, and notes what each counter is.
async fn finish(desk: &Desk) {
    desk.is_quiet.store(true, Ordering::SeqCst);
    while desk.under_way.load(Ordering::SeqCst) > 0 {
        sleep(LOOK_EVERY).await;
    }
    desk.log.note(Fact::Quiet);
}

async fn total(desk: &Desk) {
    for counter in 0..COUNTERS {
        let entity = desk.node.entities::<Counter>().get(&id(counter));
        let value = entity.ask_within(START_WITHIN, CounterMsg::Get).await;
        desk.log.note(Fact::Final { counter, value: value.expect("an answer") });
    }
}

fn config(name: &str, place: &Path, setting: &Setting) -> NodeConfig {
    let read = |file: String| std::fs::read(place.join(file)).expect("it was written");
    let security = Security::Tls {
        authorities: read("ca.pem".into()),
        certificate: read(format!("{name}.pem")),
        key: read(format!("{name}.key")),
    };
    let profile = match setting.profile.as_str() {
        "lan" => Profile::lan(),
        "dev" => Profile::dev(),
        other => panic!("no profile {other}"),
    };
    let seat = setting.seat(name);
    NodeConfig {
        cluster: CLUSTER.into(),
        listen: seat,
        advertise: Some(seat.to_string()),
        seeds: setting.seats.iter().map(ToString::to_string).collect(),
        expect: setting.seats.len(),
        shards: super::SHARDS,
        data: place.join(name),
        profile,
        admin: false,
        ..NodeConfig::new(name.parse().expect("a plain name"), security)
    }
}

/// Is the node `name` until nobody is there to tell it anything.
pub(super) fn be(name: &str) {
    let place = PathBuf::from(std::env::var(super::PLACE).expect("it is set"));
    let life = std::env::var(super::LIFE).expect("it is set");
    let setting = std::env::var(super::SETTING).expect("it is set");
    let setting: Setting = serde_json::from_str(&setting).expect("a setting");
    tracing_subscriber::fmt()
        .with_env_filter(setting.log.as_str())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let log = Log::create(&place.join(super::log_name(name, &life)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let config = config(name, &place, &setting);
    let desk = runtime.block_on(async {
        let counters = Kind::<Counter>::new(()).durable(Durable::Snapshots);
        let build = Node::build(config).host(counters).start_within(START_WITHIN);
        let node = build.start().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        Arc::new(Desk {
            node,
            log,
            tick: setting.tick,
            is_quiet: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
        })
    });
    for counter in 0..COUNTERS {
        let shard = desk.node.shard_of(Counter::KIND, &id(counter)).0;
        desk.log.note(Fact::Counter { counter, shard });
    }
    for counter in 0..COUNTERS {
        runtime.spawn(add(desk.clone(), counter));
    }
    runtime.spawn(watch_views(desk.clone()));
    runtime.spawn(watch_lease(desk.clone()));
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("quiet") => runtime.block_on(finish(&desk)),
            Ok("total") => runtime.block_on(total(&desk)),
            Ok(_) | Err(_) => break,
        }
    }
    runtime.block_on(desk.node.stop());
}
