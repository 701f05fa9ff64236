//! Ours: the same as [`by_hand`](crate::by_hand) under evertree's supervisors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evertree::event::{EventKind, Subscription};
use evertree::restart::Restart;
use evertree::supervisor::{
    ChildRef, RefError, SupervisorRef, SupervisorSpec, Tree, Worker, worker,
};
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::by_hand::{at_once, in_bursts};
use crate::echo::{Echo, Msg, last_crash_ns, now_ns};
use crate::figures::{Stopwatch, Took};

fn echo(name: impl Into<String>) -> Worker<Echo> {
    worker(name, || (Echo, ()))
}

async fn dynamic() -> Tree {
    SupervisorSpec::dynamic("crowd").start().await.expect("a supervisor without children starts")
}

/// A spec of `n` children. The paths are as long as those of numbered ones.
#[must_use]
pub fn declared(n: usize) -> SupervisorSpec {
    let spec = SupervisorSpec::one_for_one("crowd");
    (0..n).fold(spec, |spec, number| spec.child(echo(format!("echo-{number}"))))
}

/// `n` children one after another by request.
///
/// # Panics
/// If one does not start.
pub async fn spawn_one_by_one(n: u64) -> Took {
    let tree = dynamic().await;
    let root = tree.root();
    let began = Stopwatch::start();
    for _ in 0..n {
        start_child(&root).await;
    }
    let took = began.took();
    tree.stop().await;
    took
}

/// `n` children by request from [`STARTERS`](crate::STARTERS) tasks.
///
/// # Panics
/// If one does not start.
pub async fn spawn_many(n: u64) -> Took {
    let tree = dynamic().await;
    let root = tree.root();
    let took = at_once(n, move || {
        let root = root.clone();
        async move { start_child(&root).await }
    });
    let took = took.await;
    tree.stop().await;
    took
}

async fn start_child(root: &SupervisorRef) {
    root.start_child(echo("echo").restart(Restart::Temporary)).await.expect("a child starts");
}

/// The start of a tree with `n` declared children; the spec is made before.
///
/// # Panics
/// If one does not start.
pub async fn spawn_declared(n: u64) -> Took {
    let spec = declared(usize::try_from(n).expect("a count of children"));
    let began = Stopwatch::start();
    let tree = spec.start().await.expect("all start");
    let took = began.took();
    tree.stop().await;
    took
}

/// One child, its ref, and a budget of restarts that is not used up.
async fn one(hold: usize) -> (Tree, ChildRef<Msg>) {
    let child = ChildRef::unbound();
    let spec = SupervisorSpec::one_for_one("bench").intensity(1_000_000, Duration::from_secs(1));
    let spec = spec.child(echo("echo").hold(hold).bind(&child));
    (spec.start().await.expect("it starts"), child)
}

/// `n` casts through a ref, until all are handled, and the senders' part of that.
///
/// # Panics
/// If one is refused.
pub async fn cast(n: u64) -> (Took, Took) {
    let (tree, child) = one(0).await;
    let sender = child.clone();
    let figures = in_bursts(
        n,
        move |add| sender.cast(Msg::Add(add)).expect("it lives"),
        move || {
            let child = child.clone();
            async move { child.call(Msg::Sum).await.expect("it lives") }
        },
    );
    let figures = figures.await;
    tree.stop().await;
    figures
}

/// `n` calls through a ref one after another; each has a time limit.
///
/// # Panics
/// If one is not answered.
pub async fn call(n: u64) -> Took {
    let (tree, child) = one(0).await;
    let began = Stopwatch::start();
    for _ in 0..n {
        child.call(Msg::Sum).await.expect("it lives");
    }
    let took = began.took();
    tree.stop().await;
    took
}

/// `n` times: nanoseconds from just before a crash to the first answer of the replacement. The
/// caller tries again until it is answered; with `hold`, a question that finds nobody is held.
///
/// # Panics
/// If the tree gives up.
pub async fn crash(n: u64, panics: bool, hold: usize) -> Vec<u64> {
    let (tree, child) = one(hold).await;
    let mut took = Vec::new();
    for _ in 0..n {
        let before = last_crash_ns();
        child.cast(if panics { Msg::Crash } else { Msg::Fail }).expect("it was just answered");
        loop {
            match child.call(Msg::Sum).await {
                Ok(_) => break,
                Err(RefError::Stopped) => panic!("the tree gave up"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert!(last_crash_ns() > before, "it has crashed");
        took.push(now_ns() - last_crash_ns());
    }
    tree.stop().await;
    took
}

/// A tree of `n` declared children, flat or as supervisors of `width` each.
///
/// # Panics
/// If one does not start.
pub async fn crowd(n: usize, width: Option<usize>) -> Tree {
    let spec = match width {
        None => declared(n),
        Some(width) => {
            let spec = SupervisorSpec::one_for_one("crowd");
            let group = |number: usize| {
                let group = SupervisorSpec::one_for_one(format!("group-{number}"));
                (0..width).fold(group, |group, number| group.child(echo(format!("echo-{number}"))))
            };
            (0..n / width).fold(spec, |spec, number| spec.child(group(number)))
        }
    };
    spec.start().await.expect("all start")
}

/// A dynamic supervisor with `n` temporary children.
///
/// # Panics
/// If one does not start.
pub async fn numbered(n: usize) -> Tree {
    let tree = dynamic().await;
    let root = tree.root();
    let one = move || {
        let root = root.clone();
        async move { start_child(&root).await }
    };
    at_once(n as u64, one).await;
    tree
}

/// A dynamic supervisor with `n` temporary children, and a ref to each.
///
/// # Panics
/// If one does not start.
pub async fn referred(n: usize) -> (Tree, Vec<ChildRef<Msg>>) {
    let tree = dynamic().await;
    let root = tree.root();
    let mut refs = Vec::with_capacity(n);
    for _ in 0..n {
        let child = ChildRef::unbound();
        let spec = echo("echo").restart(Restart::Temporary).bind(&child);
        root.start_child(spec).await.expect("a child starts");
        refs.push(child);
    }
    (tree, refs)
}

/// Where the actors of a storm say who they are.
type Desk = Arc<Mutex<Vec<ActorRef<Msg>>>>;

/// An [`Echo`] that says who it is when it starts.
struct Signed;

impl Actor for Signed {
    type Msg = Msg;
    type State = u64;
    type Arguments = Desk;

    async fn pre_start(&self, me: ActorRef<Msg>, desk: Desk) -> Result<u64, ActorProcessingErr> {
        desk.lock().push(me);
        Ok(0)
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        sum: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        Echo.handle(me, msg, sum).await
    }
}

/// Temporary children that are to crash at once.
pub struct Storm {
    pub tree: Tree,
    actors: Vec<ActorRef<Msg>>,
    events: Option<Subscription>,
}

/// What became of a storm.
#[derive(Debug)]
pub struct Calm {
    /// From the first order to crash until the last child had crashed.
    pub crashing: Duration,
    /// From the last crash until an answer of `count_children` that was asked for at once.
    pub count_answered: Duration,
    /// From the last crash until `count_children` said that there is none.
    pub all_counted: Duration,
    /// Children whose crash was told once, and more than once; and events that did not fit.
    pub once: usize,
    pub more: usize,
    pub dropped: u64,
}

impl Storm {
    /// Starts `n` children.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn gather(n: usize) -> Self {
        let tree = dynamic().await;
        let (root, desk) = (tree.root(), Desk::default());
        let signing = desk.clone();
        let one = move || {
            let (root, desk) = (root.clone(), signing.clone());
            let spec = worker("echo", move || (Signed, desk.clone())).restart(Restart::Temporary);
            async move { drop(root.start_child(spec).await.expect("a child starts")) }
        };
        at_once(n as u64, one).await;
        let actors = std::mem::take(&mut *desk.lock());
        assert_eq!(actors.len(), n);
        Self { tree, actors, events: None }
    }

    /// Follows the events, of which there are a few for each child.
    pub fn watch(&mut self) {
        self.events = Some(self.tree.events().subscribe(self.actors.len() * 4));
    }

    /// Crashes all, and waits until all are counted.
    ///
    /// # Panics
    /// If they are not within a minute.
    pub async fn break_loose(&mut self) -> Calm {
        let n = self.actors.len();
        let (began, root) = (now_ns(), self.tree.root());
        for actor in std::mem::take(&mut self.actors) {
            // Refused by none: all live.
            let _ = actor.cast(Msg::Crash);
        }
        // Of each answer: when it was asked for, and when it was there.
        let mut answers = Vec::new();
        loop {
            let asked = now_ns();
            let counts = root.count_children();
            answers.push((asked, now_ns()));
            if counts.specs == 0 {
                break;
            }
            assert!(asked - began < 60_000_000_000, "{counts:?} after a minute");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let last = last_crash_ns();
        let since_last = |at: u64| Duration::from_nanos(at.saturating_sub(last));
        let after = answers.iter().find(|(asked, _)| *asked >= last);
        let count_answered = after.map_or(Duration::ZERO, |(_, answered)| since_last(*answered));
        let all_counted = answers.last().map_or(Duration::ZERO, |(_, now)| since_last(*now));
        let crashing = Duration::from_nanos(last - began);
        let (once, more, dropped) = self.events.take().map_or((0, 0, 0), |events| tally(events, n));
        Calm { crashing, count_answered, all_counted, once, more, dropped }
    }
}

/// How many children's crashes were told once, and more than once.
fn tally(mut events: Subscription, n: usize) -> (usize, usize, u64) {
    let mut crashes = BTreeMap::new();
    while let Some(event) = events.try_recv() {
        if matches!(event.kind, EventKind::Exited(_)) {
            *crashes.entry(event.path.clone()).or_insert(0_usize) += 1;
        }
    }
    let once = crashes.values().filter(|times| **times == 1).count();
    assert!(crashes.len() <= n, "a crash of nobody");
    (once, crashes.len() - once, events.dropped())
}
