//! Real nodes over loopback: what they advertise, and second processes under a living name.

mod recovered;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::*;
use crate::authority::{StartError as AuthorityError, ViewAuthority};
use crate::entity::{Cx, Durable, Failure, Kind, Reply};
use crate::placement::{DiskMark, Limits, Planner, Profile, Shard, Underway, View};
use crate::storage::{Directory, Disk, DiskError};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Longer than a failover of the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Three nodes with certificates on free ports.
struct Trio {
    place: tempfile::TempDir,
    authority: Authority,
    profile: Profile,
    listens: Vec<SocketAddr>,
    nodes: Vec<Node>,
}

fn free_ports() -> Vec<SocketAddr> {
    let held: Vec<TcpListener> =
        NAMES.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|one| one.local_addr().expect("it listens")).collect()
}

impl Trio {
    async fn start(profile: Profile) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("test").expect("a plain name");
        let (listens, nodes) = (free_ports(), Vec::new());
        let mut trio = Self { place, authority, profile, listens, nodes };
        let starting = (0..3).map(|at| trio.build(at, trio.listens[at], &trio.data(at)).start());
        trio.nodes = futures::future::try_join_all(starting).await.expect("they form a cluster");
        trio
    }

    fn data(&self, at: usize) -> PathBuf {
        self.place.path().join(NAMES[at])
    }

    /// A process named as the node `at`, with a certificate of its own.
    fn build(&self, at: usize, listen: SocketAddr, data: &Path) -> NodeBuilder {
        let counters = Kind::<Counter>::new(()).durable(Durable::Snapshots);
        Node::build(self.config(at, listen, data)).host(counters).start_within(PATIENCE)
    }

    fn config(&self, at: usize, listen: SocketAddr, data: &Path) -> NodeConfig {
        let security = tls(&self.authority, NAMES[at]);
        NodeConfig {
            cluster: "test".into(),
            listen,
            seeds: self.listens.iter().map(ToString::to_string).collect(),
            expect: 3,
            shards: 16,
            profile: self.profile.clone(),
            data: data.into(),
            ..NodeConfig::new(NAMES[at].parse().expect("a plain name"), security)
        }
    }

    /// Stops a node, and starts it again from its directory.
    async fn restart(&mut self, at: usize) -> Node {
        self.nodes.remove(at).stop().await;
        loop {
            match self.build(at, self.listens[at], &self.data(at)).start().await {
                Ok(node) => return node,
                // Its last task may be about to let go of the directory.
                Err(StartError::Disk(DiskError::InUse { .. })) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// What must not change while nobody is disturbed.
    fn undisturbed(&self) -> Vec<(Standing, u64, u64)> {
        let of = |node: &Node| {
            let Counts { broken, .. } = node.link_counts();
            (node.standing(), broken, node.view().version.0)
        };
        self.nodes.iter().map(of).collect()
    }

    /// Waits until nothing is to be moved or copied, so that the view has no reason to change.
    async fn settled(&self) {
        let limits =
            Limits { moves_max: 64, node_moves_max: 64, copies_max: 64, node_copies_max: 64 };
        let is_settled = |view: &View| {
            let underway = Underway { moves: view.moves(), ..Underway::default() };
            let all = self.nodes.len();
            let whole = |shard: &Shard| !shard.has_records || shard.in_sync.len() == all;
            underway.moves.is_empty()
                && view.shards.iter().all(|shard| whole(shard))
                && Planner::default().steps(view, &underway, &limits).steps.is_empty()
        };
        for node in &self.nodes {
            let mut views = ViewAuthority::watched(&node.0.parts.authority).follow();
            let settled = views.until(is_settled);
            let settled = timeout(PATIENCE, settled).await;
            let view = node.view();
            let underway = Underway { moves: view.moves(), ..Underway::default() };
            let left = Planner::default().steps(&view, &underway, &limits).steps;
            settled.unwrap_or_else(|_| panic!("left: {left:?}")).expect("the node runs");
        }
    }

    /// An entity that the first node owns.
    fn owned_by_first(&self) -> String {
        let view = self.nodes[0].view();
        let is_owned = |id: &String| {
            let shard = view.shard(self.nodes[0].shard_of("counter", id));
            let owner = shard.and_then(|shard| shard.owner.as_ref());
            owner.is_some_and(|owner| owner.node.as_str() == "n1")
        };
        let mut ids = (0..1_000).map(|number| format!("c{number}"));
        ids.find(is_owned).expect("it owns some")
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// Asks an entity again and again until told to stop; how often it was answered, each answer being
/// the next number.
fn keep_asking(
    node: &Node,
    (id, mut last): (&str, u64),
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Result<u64, String>>) {
    let (stop, entity) = (Arc::new(AtomicBool::new(false)), node.entities::<Counter>().get(id));
    let stopped = stop.clone();
    let asking = tokio::spawn(async move {
        while !stopped.load(Ordering::Acquire) {
            let answer = entity.ask(CounterMsg::Add).await.map_err(|error| error.to_string())?;
            if answer != last + 1 {
                return Err(format!("{answer} after {last}"));
            }
            last = answer;
            tokio::task::yield_now().await;
        }
        Ok(last)
    });
    (stop, asking)
}

fn copy_of(from: &Path, to: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&to).expect("it is made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("it is read");
        if entry.file_type().expect("it has one").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it is copied");
        }
    }
    to
}

/// A copy of a disk, block by block, on another host: nothing on it tells that it is one.
#[derive(Debug)]
struct Cloned {
    disk: Directory,
    of: DiskMark,
}

impl Cloned {
    fn open(copy: &Path, of: &DiskMark) -> Arc<dyn Disk> {
        let disk = Directory::open(copy).expect("a directory");
        Arc::new(Self { disk, of: DiskMark { host_boot: "another host".into(), ..of.clone() } })
    }
}

impl Disk for Cloned {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.disk.open(name)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn mark(&self) -> DiskMark {
        self.of.clone()
    }
}

fn refused(started: Result<Node, StartError>) -> String {
    match started {
        Err(StartError::Authority(AuthorityError::Refused(why))) => why,
        other => panic!("{other:?}"),
    }
}

/// Goal: whatever a second process under a living node's name brings, the first serves on and none
/// of its links ends. Method: an empty directory, a copy, and a clone that counts its boots past
/// those of the first; meanwhile an entity of the first is asked from another node.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_under_a_living_name_is_refused_and_the_first_serves_on() {
    let mut trio = Trio::start(Profile::dev()).await;
    let backup = copy_of(&trio.data(0), trio.place.path().join("backup"));
    // The second life of n1: the backup is of the first one.
    // Its shards went to the others, and come back.
    let again = trio.restart(0).await;
    trio.nodes.insert(0, again);
    trio.settled().await;
    let until_settled = trio.nodes[1].entities::<Counter>().get("settled");
    until_settled.ask_within(PATIENCE, CounterMsg::Add).await.expect("answered");
    let mark = trio.nodes[1].view().members["n1"].disk.clone();
    let owned = trio.owned_by_first();
    let first = trio.nodes[1].entities::<Counter>().get(&owned);
    assert_eq!(first.ask_within(PATIENCE, CounterMsg::Add).await, Ok(1));
    let other = trio.nodes[2].entities::<Counter>().get(&owned);
    assert_eq!(other.ask_within(PATIENCE, CounterMsg::Add).await, Ok(2));
    trio.settled().await;
    let before = trio.undisturbed();
    let (stop, asking) = keep_asking(&trio.nodes[1], (&owned, 2));
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));

    let empty = trio.place.path().join("empty");
    for _ in 0..3 {
        let why = refused(trio.build(0, anywhere, &empty).start().await);
        assert!(why.contains("n1"), "{why}");
    }
    let copy = copy_of(&trio.data(0), trio.place.path().join("copy"));
    let copied = trio.build(0, anywhere, &copy).start().await;
    assert!(matches!(copied, Err(StartError::Copy { .. })), "{copied:?}");
    // Boots 2, 3 and 4, where the first is in its second.
    for clone in [backup, copy] {
        for _ in 0..3 {
            let builder = trio.build(0, anywhere, &clone).disk(Cloned::open(&clone, &mark));
            let why = refused(builder.start().await);
            // Both are true; it is told what was found first.
            let lives = why.starts_with("another process runs as n1 (boot");
            assert!(lives || why.contains("looks like a copy or an old backup"), "{why}");
        }
    }

    assert_eq!(trio.undisturbed(), before);
    stop.store(true, Ordering::Release);
    let answers = asking.await.expect("no panic").expect("each ask was answered");
    assert!(answers > 2, "nothing was asked");
    trio.stop().await;
}

/// An old backup, in the place of the directory, that is started until its boots pass those of the
/// node: its own boots of those numbers are not the node's.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_that_counts_past_the_boots_of_the_cluster_is_still_one() {
    let mut trio = Trio::start(Profile::wan()).await;
    let (mark, place) = (trio.nodes[1].view().members["n1"].disk.clone(), trio.place.path());
    let backup = copy_of(&trio.data(0), place.join("backup"));
    let id = trio.owned_by_first();
    let entity = trio.nodes[1].entities::<Counter>().get(&id);
    assert_eq!(entity.ask_within(PATIENCE, CounterMsg::Add).await, Ok(1));
    let second = trio.restart(0).await;
    // As a process that was killed: nobody is told, and for seven seconds it may still be alive.
    second.0.parts.links.stop().await;
    let begun = trio.nodes[0].view().members["n1"].boot;
    let mut said = Vec::new();
    for _ in 0..begun.0 {
        let disk = Arc::new(Cloned {
            disk: Directory::open(&backup).expect("a directory"),
            of: mark.clone(),
        });
        let started = trio.build(0, trio.listens[0], &backup).disk(disk).start().await;
        said.push(refused(started));
    }
    let is_known = |why: &String| why.contains("looks like a copy or an old backup");
    assert!(!said.is_empty() && said.iter().all(is_known), "{said:?}");
    second.stop().await;
    trio.stop().await;
}

/// Goal: nodes with empty directories join a cluster that runs, without a vote or with one, and
/// serve; one that lost its disk joins again under its name. Method: real nodes with certificates,
/// entities asked through whoever joined.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_joins_a_running_cluster_and_so_does_one_that_lost_its_disk() {
    let mut trio = Trio::start(Profile::dev()).await;
    let entity = trio.nodes[0].entities::<Counter>().get("joined");
    assert_eq!(entity.ask_within(PATIENCE, CounterMsg::Add).await, Ok(1));
    let config = NodeConfig {
        cluster: "test".into(),
        seeds: trio.listens.iter().map(ToString::to_string).collect(),
        profile: trio.profile.clone(),
        data: trio.place.path().join("n4"),
        ..NodeConfig::new("n4".parse().expect("a plain name"), tls(&trio.authority, "n4"))
    };
    let counters = || Kind::<Counter>::new(()).durable(Durable::Snapshots);
    let fourth = Node::build(config.clone()).host(counters()).start_within(PATIENCE);
    let fourth = fourth.start().await.expect("it joins");
    assert!(fourth.is_serving() && fourth.view().members.len() == 4);
    assert_eq!(fourth.view().voters.len(), 3, "it does not vote");
    let through = fourth.entities::<Counter>().get("joined");
    assert_eq!(through.ask_within(PATIENCE, CounterMsg::Add).await, Ok(2));
    // The disk of a voter is lost while it is off.
    trio.nodes.remove(0).stop().await;
    let lost = trio.place.path().join("lost");
    let again = trio.build(0, trio.listens[0], &lost).start().await.expect("it joins anew");
    let before = trio.nodes[0].view().voters.clone();
    let raft_id = again.view().members["n1"].voter.expect("it has one");
    assert!(!before.contains_key(&raft_id), "what it voted is lost: it is another voter");
    let through = again.entities::<Counter>().get("joined");
    assert_eq!(through.ask_within(PATIENCE, CounterMsg::Add).await, Ok(3));
    trio.nodes.insert(0, again);
    fourth.stop().await;
    trio.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_dial_what_is_advertised_names_and_ipv6_too() {
    let place = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("test").expect("a plain name");
    let listens = free_ports();
    let bound = TcpListener::bind("[::1]:0").expect("IPv6 on loopback");
    let six = bound.local_addr().expect("it listens");
    drop(bound);
    let all = SocketAddr::from(([0, 0, 0, 0], listens[1].port()));
    let nodes =
        [("n1", six, six.to_string()), ("n2", all, format!("localhost:{}", listens[1].port()))];
    let starting = nodes.clone().map(|(name, listen, advertise)| {
        let config = NodeConfig {
            cluster: "test".into(),
            listen,
            advertise: Some(advertise),
            // The first alone, which does not know of the second before that asks.
            seeds: vec![six.to_string()],
            expect: 2,
            shards: 16,
            data: place.path().join(name),
            ..NodeConfig::new(name.parse().expect("a plain name"), tls(&authority, name))
        };
        Node::build(config).start()
    });
    let started = futures::future::try_join_all(starting).await.expect("they find each other");
    let view = started[0].view();
    for (name, _, advertised) in &nodes {
        assert_eq!(view.members[*name].addr, *advertised);
    }
    for node in started {
        assert!(node.is_serving());
        node.stop().await;
    }
}
