//! Probes in virtual time, workers that are really blocked, and a disk that hangs.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;

use parking_lot::Condvar;
use redb::StorageBackend;

use super::*;
use crate::base::{BootClock, ControlRuntime, SeededRng, TokioClock, TokioNet, within};
use crate::membership::{MemberChange, MemberEvents};
use crate::node::NodeConfig;
use crate::placement::DiskMark;
use crate::storage::{Directory, Disk};

const EVERY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_millis(300);
/// For what must come, on a machine however busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn name() -> NodeId {
    "n1".parse().expect("a plain name")
}

/// The probes of a node in virtual time, all on the test's own runtime.
fn health() -> Health {
    let seams = Seams {
        clock: Arc::new(TokioClock::new()),
        rng: Arc::new(SeededRng::new(1)),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: false,
    };
    Health::new(name(), seams)
}

fn work<F, T>(probe: F) -> Work
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), String>> + Send + 'static,
{
    Arc::new(move || probe().boxed())
}

fn add(health: &Health, name: &str, work: Work) -> Result<HealthProbe, HealthError> {
    health.add(name, ProbeConfig::new(EVERY, DEADLINE), Spawner::Current, work)
}

fn good() -> Work {
    work(|| async { Ok(()) })
}

/// What fails, and after how many milliseconds of virtual time it was first said.
async fn next(health: &Health, watch: &mut crate::base::Watch<Vec<String>>) -> (Vec<String>, u64) {
    let failing = watch.changed().await.expect("its publisher lives");
    let since = health.clock().now().since(crate::base::Instant::ZERO + EVERY);
    ((*failing).clone(), u64::try_from(since.as_millis()).expect("a short test"))
}

#[tokio::test(start_paused = true)]
async fn the_node_is_unhealthy_from_the_second_failure_to_the_second_pass() {
    let health = health();
    let mut watch = health.watched().follow();
    // Good in its second 0, bad in 1 to 3, good again.
    let asked = Arc::new(AtomicU64::new(0));
    let runs = asked.clone();
    let probe = work(move || {
        let run = runs.fetch_add(1, SeqCst);
        async move { if (1..=3).contains(&run) { Err(format!("no. {run}")) } else { Ok(()) } }
    });
    let probe = add(&health, "db", probe).expect("a good name");
    assert_eq!(next(&health, &mut watch).await, (vec!["db".into()], 2000));
    assert_eq!(health.unhealthy(), [("db".into(), "no. 2".into())]);
    assert_eq!(next(&health, &mut watch).await, (vec![], 5000));
    assert_eq!(health.unhealthy(), []);
    assert_eq!((asked.load(SeqCst), probe.name()), (6, "db"));
}

#[tokio::test(start_paused = true)]
async fn one_failure_among_passes_is_seen_by_nobody() {
    let health = health();
    let mut watch = health.watched().follow();
    let asked = Arc::new(AtomicU64::new(0));
    let runs = asked.clone();
    let probe = work(move || {
        let run = runs.fetch_add(1, SeqCst);
        async move { if run.is_multiple_of(2) { Err("every other".into()) } else { Ok(()) } }
    });
    let _probe = add(&health, "db", probe).expect("a good name");
    let told = within(&**health.clock(), health.clock().now() + EVERY * 20, watch.changed());
    assert!(told.await.is_err(), "somebody was told");
    assert!(asked.load(SeqCst) >= 20);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_takes_nothing_down() {
    let health = health();
    let mut watch = health.watched().follow();
    let _made = add(&health, "making", work(|| -> std::future::Ready<_> { panic!("made badly") }));
    let running = work(|| async { std::panic::panic_any(7_u8) });
    let _run = add(&health, "running", running).expect("a good name");
    let mut failing = watch.until(|failing| failing.len() == 2).await;
    let expected: Vec<String> = vec!["making".into(), "running".into()];
    assert_eq!(failing.take().as_deref(), Some(&expected), "sorted");
    let expected = [
        ("making".into(), "panicked: made badly".into()),
        ("running".into(), "panicked: a panic that is not text".into()),
    ];
    // The first of the two handles was dropped with its `Result`: it holds on as `_made`.
    assert_eq!(health.unhealthy(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_found_by_its_deadline_and_no_other_starts_beside_it() {
    let health = health();
    let mut watch = health.watched().follow();
    let (begun, release) = (Arc::new(AtomicU64::new(0)), Arc::new(tokio::sync::Notify::new()));
    let (runs, gate) = (begun.clone(), release.clone());
    let probe = work(move || {
        let (first, gate) = (runs.fetch_add(1, SeqCst) == 0, gate.clone());
        async move {
            if first {
                gate.notified().await;
            }
            Ok(())
        }
    });
    let _probe = add(&health, "db", probe).expect("a good name");
    assert_eq!(next(&health, &mut watch).await, (vec!["db".into()], 1300));
    assert_eq!(health.unhealthy(), [("db".into(), "not done within 300ms".into())]);
    health.clock().sleep(EVERY * 10).await;
    assert_eq!(begun.load(SeqCst), 1, "one ran beside one that hung");
    release.notify_one();
    // It starts anew at once, and once more a second later.
    assert_eq!(next(&health, &mut watch).await, (vec![], 12_300));
    assert_eq!(begun.load(SeqCst), 3);
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_handle_unless_it_was_let_go_on() {
    let health = health();
    let mut watch = health.watched().follow();
    let dropped = Arc::new(AtomicU64::new(0));
    let hangs = |dropped: &Arc<AtomicU64>| {
        let dropped = dropped.clone();
        work(move || {
            let run = Dropped(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(run);
                Ok(())
            }
        })
    };
    let probe = add(&health, "db", hangs(&dropped)).expect("a good name");
    assert_eq!(next(&health, &mut watch).await.0, ["db"]);
    drop(probe);
    assert_eq!(next(&health, &mut watch).await.0, Vec::<String>::new(), "it is no word of today");
    health.clock().sleep(EVERY).await;
    assert_eq!(dropped.load(SeqCst), 1, "the run in hand is dropped");
    // The name is free, and the old handle has nothing to say about the new probe.
    add(&health, "db", hangs(&dropped)).expect("the name is free").forever();
    assert_eq!(next(&health, &mut watch).await.0, ["db"]);
    assert_eq!(add(&health, "db", good()).err(), Some(HealthError::Taken("db".into())));
    health.stop();
    health.clock().sleep(EVERY).await;
    assert_eq!(dropped.load(SeqCst), 2, "all end with the node");
    assert_eq!(add(&health, "more", good()).err(), Some(HealthError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn names_numbers_and_the_count_of_probes_are_bounded() {
    let health = health();
    for bad in ["", "-a", "_a", "A", "a b", "a/b", "é", "a\n", &"x".repeat(33)] {
        let error = add(&health, bad, good()).err();
        assert!(matches!(error, Some(HealthError::Name(_))), "{bad:?}: {error:?}");
    }
    let fits = ProbeConfig::new(EVERY, DEADLINE);
    let table = [
        ("every", ProbeConfig { every: Duration::from_millis(9), ..fits }),
        ("deadline", ProbeConfig { deadline: Duration::ZERO, ..fits }),
        ("failures", ProbeConfig { failures: 0, ..fits }),
        ("passes", ProbeConfig { passes: 0, ..fits }),
    ];
    for (says, config) in table {
        let error = health.add("db", config, Spawner::Current, good()).err();
        assert!(matches!(&error, Some(HealthError::Range { what, .. }) if *what == says), "{says}");
    }
    let longest = "x".repeat(PROBE_NAME_BYTES_MAX);
    let names = (1..PROBES_MAX).map(|number| format!("0.a_b-{number}")).chain([longest]);
    let held: Vec<_> =
        names.map(|name| add(&health, &name, good()).expect("a good name")).collect();
    assert_eq!(add(&health, "more", good()).err(), Some(HealthError::TooMany));
    drop(held);
    add(&health, "more", good()).expect("there is room again").forever();
}

#[tokio::test(start_paused = true)]
async fn a_long_reason_is_cut_off() {
    let health = health();
    let mut watch = health.watched().follow();
    let _probe = add(&health, "db", work(|| async { Err("é".repeat(1000)) })).expect("a name");
    assert_eq!(next(&health, &mut watch).await.0, ["db"]);
    let (_, why) = health.unhealthy().remove(0);
    assert_eq!(why, format!("{} ...", "é".repeat(128)));
}

/// Seams of a machine, with a work runtime of two workers.
fn machine() -> (Seams, ControlRuntime, tokio::runtime::Runtime) {
    let control = ControlRuntime::start("control").expect("a thread");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let workers = builder.worker_threads(2).enable_all().build().expect("threads");
    let seams = Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::new(1)),
        net: Arc::new(TokioNet),
        control: Spawner::On(control.handle().clone()),
        work: Spawner::On(workers.handle().clone()),
        threads: true,
    };
    (seams, control, workers)
}

/// Waits until exactly these probes fail.
async fn until(failing: &Watched<Vec<String>>, wanted: &[&str]) {
    let mut watch = failing.follow();
    let until = watch.until(|failing| failing == wanted);
    let found = within(&BootClock, BootClock.now() + PATIENCE, until).await;
    assert!(found.is_ok(), "{:?} fail, not {wanted:?}", failing.get());
}

#[test]
fn workers_that_are_all_blocked_are_found_and_so_is_their_end() {
    let (seams, control, workers) = machine();
    let dir = tempfile::tempdir().expect("a directory");
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(dir.path()).expect("a directory"));
    let disk = Arc::new(WatchedDisk::new(disk, seams.clock.clone()));
    let worker = seams.worker("store").expect("a thread");
    let store = Store::open(&*disk, worker, crate::storage::Durability::Memory, &*seams.rng);
    let often = ProbeConfig::new(Duration::from_millis(20), Duration::from_millis(200));
    let config = HealthConfig { executor: Some(often), disk: None };
    let health = Health::start(name(), &seams, &config, disk, &store.expect("memory"));
    let releases: Vec<_> = (0..2)
        .map(|_| {
            let (release, released) = mpsc::sync_channel::<()>(0);
            // Blocks a worker until it is released.
            workers.spawn(async move { released.recv().is_err() });
            release
        })
        .collect();
    let failing = health.watched();
    control.handle().block_on(until(&failing, &["executor"]));
    let why = vec![("executor".to_owned(), "not done within 200ms".to_owned())];
    assert_eq!(health.unhealthy(), why);
    drop(releases);
    control.handle().block_on(until(&failing, &[]));
}

#[test]
fn a_probe_that_blocks_its_thread_is_found_and_other_probes_go_on() {
    let (seams, control, _workers) = machine();
    let (on, health) = (seams.work.clone(), Health::new(name(), seams));
    let often = ProbeConfig::new(Duration::from_millis(20), Duration::from_millis(200));
    let (release, released) = mpsc::sync_channel::<()>(0);
    let released = Arc::new(Mutex::new(released));
    let blocks = work(move || {
        let released = released.clone();
        async move {
            let _ = released.lock().recv();
            Ok(())
        }
    });
    let _blocks = health.add("blocks", often, on.clone(), blocks).expect("a good name");
    let is_back = Arc::new(AtomicBool::new(false));
    let asked = is_back.clone();
    let other = work(move || {
        let is_back = asked.load(SeqCst);
        async move { if is_back { Ok(()) } else { Err("not yet".into()) } }
    });
    let _other = health.add("other", often, on, other).expect("a good name");
    let failing = health.watched();
    control.handle().block_on(async {
        until(&failing, &["blocks", "other"]).await;
        is_back.store(true, SeqCst);
        until(&failing, &["blocks"]).await;
        drop(release);
        until(&failing, &[]).await;
    });
}

/// The next change of what a node says of its own probes.
async fn said(events: &mut MemberEvents) -> MemberChange {
    let health = async {
        loop {
            let change = events.recv().await.expect("the node is there").change;
            if matches!(change, MemberChange::Unhealthy { .. } | MemberChange::Healthy) {
                return change;
            }
        }
    };
    within(&BootClock, BootClock.now() + PATIENCE, health.boxed()).await.expect("a change")
}

#[test]
fn a_node_whose_workers_are_all_blocked_still_says_so() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let workers = builder.worker_threads(2).enable_all().build().expect("threads");
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let here = here.expect("a runtime");
    let data = tempfile::tempdir().expect("a directory");
    let often = ProbeConfig::new(Duration::from_millis(20), Duration::from_millis(200));
    let health = HealthConfig { executor: Some(often), disk: None };
    let data = data.path().join("n1");
    let config = NodeConfig { data, shards: 16, health, ..NodeConfig::insecure(name()) };
    let node = workers.block_on(Node::build(config).start()).expect("a cluster of one");
    let mut events = node.member_events(100);
    let releases = [(); 2].map(|()| {
        let (release, released) = mpsc::sync_channel::<()>(0);
        workers.spawn(async move { released.recv().is_err() });
        release
    });
    let unhealthy = MemberChange::Unhealthy { failing: vec!["executor".into()] };
    assert_eq!(here.block_on(said(&mut events)), unhealthy);
    drop(releases);
    assert_eq!(here.block_on(said(&mut events)), MemberChange::Healthy);
    workers.block_on(node.stop());
}

/// Whether syncs hang.
#[derive(Debug, Default)]
struct Hung {
    hang: Mutex<bool>,
    released: Condvar,
}

impl Hung {
    fn hang(&self) {
        *self.hang.lock() = true;
    }

    fn release(&self) {
        *self.hang.lock() = false;
        self.released.notify_all();
    }
}

/// A directory whose syncs hang until they are released.
#[derive(Debug)]
struct HangingDisk {
    disk: Directory,
    hung: Arc<Hung>,
}

#[derive(Debug)]
struct HangingFile {
    file: Box<dyn StorageBackend>,
    hung: Arc<Hung>,
}

impl Disk for HangingDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = self.disk.open(name)?;
        Ok(Box::new(HangingFile { file, hung: self.hung.clone() }))
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
        self.disk.mark()
    }
}

impl StorageBackend for HangingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.hung.released.wait_while(&mut self.hung.hang.lock(), |hang| *hang);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// A node of its own on such a disk, looked at every 20 ms.
async fn node(data: &std::path::Path, hung: &Arc<Hung>, idle: Duration) -> Node {
    let probe = ProbeConfig::new(Duration::from_millis(20), Duration::from_millis(200));
    let health = HealthConfig { executor: None, disk: Some(DiskConfig { probe, idle }) };
    let config = NodeConfig { shards: 16, health, ..NodeConfig::insecure(name()) };
    let disk = Directory::open(data).expect("a directory");
    let disk = Arc::new(HangingDisk { disk, hung: hung.clone() });
    Node::build(config).disk(disk).start().await.expect("it forms a cluster of one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_while_the_node_writes_is_found_by_what_it_writes() {
    let (data, hung) = (tempfile::tempdir().expect("a directory"), Arc::<Hung>::default());
    let node = node(&data.path().join("n1"), &hung, Duration::from_hours(1)).await;
    assert_eq!(node.unhealthy(), []);
    hung.hang();
    let writes = tokio::spawn({
        let store = node.0.parts.store.clone();
        async move { store.apply(Vec::new()).await }
    });
    until(&node.failing_probes(), &["disk"]).await;
    let why = ("disk".to_owned(), "syncing data.redb takes longer than 200ms".to_owned());
    assert_eq!(node.unhealthy(), [why]);
    hung.release();
    until(&node.failing_probes(), &[]).await;
    assert_eq!(writes.await.expect("no panic"), Ok(vec![]));
    assert!(!data.path().join("n1/alive").exists(), "it never was idle");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_while_nobody_writes_is_found_too() {
    let (data, hung) = (tempfile::tempdir().expect("a directory"), Arc::<Hung>::default());
    let node = node(&data.path().join("n1"), &hung, Duration::from_millis(50)).await;
    hung.hang();
    until(&node.failing_probes(), &["disk"]).await;
    hung.release();
    until(&node.failing_probes(), &[]).await;
    let taken = node.health("disk", EVERY, DEADLINE, || async { Ok(()) });
    assert_eq!(taken.err(), Some(HealthError::Taken("disk".into())));
    node.health("db", EVERY, DEADLINE, || async { Err("gone".into()) }).expect("free").forever();
    assert!(data.path().join("n1/alive").exists(), "something was written for the purpose");
    node.stop().await;
    let stopped = node.health("more", EVERY, DEADLINE, || async { Ok(()) });
    assert_eq!(stopped.err(), Some(HealthError::Stopped));
}
