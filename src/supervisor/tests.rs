//! A plain actor that can misbehave anywhere, and the tests that use it.

mod accounts;
mod beyond;
mod conformance;
mod hangs;
mod holding;
mod refs;
mod requests;
mod run;
mod safety;
mod steps;
mod tasks;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

use super::{ChildRef, ChildStatus, Ended, Setting, StartError, SupervisorSpec, Tree, Worker};
use super::{task, worker};
use crate::base::{Clock, ExitReason, Instant, TokioClock, within};
use crate::event::{Event, EventKind, Subscription};
use crate::restart::{Restart, Shutdown, Strategy};

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

const HOUR: Duration = Duration::from_hours(1);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a callback does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Go,
    Panic,
    Fail,
    Hang,
}

async fn act(act: Act) -> Result<(), ActorProcessingErr> {
    match act {
        Act::Go => Ok(()),
        Act::Panic => panic!("boom"),
        Act::Fail => Err("failed".into()),
        Act::Hang => pending().await,
    }
}

/// Asked at each callback of each incarnation, counted from 1.
type Script = Arc<dyn Fn(&'static str, u64) -> Act + Send + Sync>;

/// Where probes play: what they wrote down, and what they are to do.
#[derive(Clone)]
struct Scene {
    log: Arc<Mutex<Vec<String>>>,
    script: Script,
}

impl Scene {
    fn new() -> Self {
        Self::scripted(|_, _| Act::Go)
    }

    fn scripted(script: impl Fn(&'static str, u64) -> Act + Send + Sync + 'static) -> Self {
        Self { log: Arc::default(), script: Arc::new(script) }
    }

    fn probe(&self, name: &'static str) -> Worker<Probe> {
        let (scene, incarnations) = (self.clone(), AtomicU64::new(0));
        worker(name, move || {
            let incarnation = incarnations.fetch_add(1, Ordering::SeqCst) + 1;
            assert!((scene.script)("make", incarnation) != Act::Panic, "boom");
            (Probe, Play { name, incarnation, scene: scene.clone(), up: false })
        })
    }

    /// What was written down since the last look.
    fn look(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }
}

/// One incarnation of a probe; its state.
struct Play {
    name: &'static str,
    incarnation: u64,
    scene: Scene,
    up: bool,
}

impl Play {
    fn at(&self, callback: &'static str) -> Act {
        (self.scene.script)(callback, self.incarnation)
    }

    fn note(&self, what: &str) {
        self.scene.log.lock().push(format!("{what}{}", self.name));
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if self.up {
            self.note("-");
            assert!(self.at("drop") == Act::Go, "boom");
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

enum Do {
    Act(Act),
    Stop(Option<String>),
    Ping(RpcReplyPort<u64>),
    Hold(RpcReplyPort<()>),
    Block(RpcReplyPort<()>, std::sync::mpsc::Receiver<()>),
    Bomb(Bomb),
}

struct Probe;

#[ractor::actor(message = Do, state = Play, arguments = Play)]
impl Probe {
    async fn pre_start(
        &self,
        _myself: ActorRef<Do>,
        mut play: Play,
    ) -> Result<Play, ActorProcessingErr> {
        act(play.at("pre_start")).await?;
        play.up = true;
        play.note("+");
        Ok(play)
    }

    async fn post_start(
        &self,
        _myself: ActorRef<Do>,
        play: &mut Play,
    ) -> Result<(), ActorProcessingErr> {
        act(play.at("post_start")).await
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Do>,
        play: &mut Play,
    ) -> Result<(), ActorProcessingErr> {
        act(play.at("post_stop")).await
    }

    async fn handle(
        &self,
        myself: ActorRef<Do>,
        message: Do,
        play: &mut Play,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Do::Act(what) => act(what).await?,
            Do::Stop(reason) => myself.stop(reason),
            Do::Ping(port) => drop(port.send(play.incarnation)),
            Do::Hold(port) => {
                act(Act::Hang).await?;
                drop(port);
            }
            Do::Block(entered, release) => {
                entered.send(())?;
                let _ = release.recv();
            }
            Do::Bomb(bomb) => drop(bomb),
        }
        Ok(())
    }
}

/// Starts a tree whose events are followed from the first on.
async fn start(spec: SupervisorSpec) -> (Result<Tree, StartError>, Seen) {
    let setting = Setting::new(Arc::new(TokioClock::new()));
    let events = setting.events.subscribe(100_000);
    let tree = spec.start_in(setting).await;
    (tree, Seen { events, all: Vec::new() })
}

async fn started(spec: SupervisorSpec) -> (Tree, Seen) {
    let (tree, seen) = start(spec).await;
    (tree.expect("it starts"), seen)
}

/// The events of a tree.
struct Seen {
    events: Subscription,
    all: Vec<Arc<Event>>,
}

impl Seen {
    /// Waits for the event, at most an hour of virtual time.
    async fn until(&mut self, path: &str, wanted: impl Fn(&EventKind) -> bool) -> Arc<Event> {
        let clock = TokioClock::new();
        loop {
            let event = within(&clock, clock.now() + HOUR, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("no event of {path}: {:#?}", self.all));
            let event = event.unwrap_or_else(|| panic!("the end before {path}: {:#?}", self.all));
            self.all.push(event.clone());
            if event.path.as_str() == path && wanted(&event.kind) {
                return event;
            }
        }
    }

    async fn up(&mut self, path: &str) -> u64 {
        self.until(path, |kind| *kind == EventKind::Started).await.incarnation
    }

    async fn exited(&mut self, path: &str) -> ExitReason {
        match &self.until(path, |kind| matches!(kind, EventKind::Exited(_))).await.kind {
            EventKind::Exited(reason) => reason.clone(),
            other => panic!("{other}"),
        }
    }

    /// Waits until nothing of the tree is left; everything that still runs holds its events.
    async fn drained(&mut self) {
        while let Some(event) = self.events.recv().await {
            self.all.push(event);
        }
    }
}

/// `[specs, active, supervisors, workers]`.
fn counts(tree: &Tree) -> [usize; 4] {
    let counts = tree.count_children();
    [counts.specs, counts.active, counts.supervisors, counts.workers]
}

fn incarnations(tree: &Tree) -> Vec<u64> {
    tree.which_children().iter().map(|child| child.incarnation).collect()
}

fn ended(reason: ExitReason) -> Ended {
    Ended { reason, stuck: Vec::new() }
}
