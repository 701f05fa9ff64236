//! Kits for tests of users' own trees.
//!
//! ```
//! # #[derive(Debug)] struct Db;
//! # #[ractor::actor(message = (), state = (), arguments = ())]
//! # impl Db {
//! #     async fn pre_start(
//! #         &self, _: ractor::ActorRef<()>, (): (),
//! #     ) -> Result<(), ractor::ActorProcessingErr> { Ok(()) }
//! # }
//! use std::time::Duration;
//! use evertree::event::EventKind;
//! use evertree::supervisor::{SupervisorSpec, worker};
//! use evertree::testing::TestTree;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() { // in a test: #[tokio::test(start_paused = true)]
//! let minute = Duration::from_secs(60);
//! let db = worker("db", || (Db, ())).backoff(minute..=10 * minute);
//! let mut tree = TestTree::start(SupervisorSpec::one_for_one("shop").child(db)).await;
//! tree.crash("shop/db").await;
//! tree.expect("shop/db", |kind| matches!(kind, EventKind::BackingOff { .. })).await;
//! tree.expect("shop/db", |kind| *kind == EventKind::Started).await; // a minute later, at once
//! assert_eq!(tree.snapshot().find("shop/db").map(|db| db.incarnation), Some(2));
//! # }
//! ```

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Clock as _, ExitReason, Instant, TokioClock, within};
use crate::event::{Event, EventKind, Subscription};
use crate::supervisor::{Ended, Setting, Snapshot, SupervisorSpec, Tree};

/// Events of a tree that a test may be behind.
const EVENTS_MAX: usize = 65_536;
/// How long an event is waited for, in the test's own time.
const EXPECTED_WITHIN: Duration = Duration::from_hours(24);

/// A tree under test, in virtual time: what waits for a timer waits for nothing. Use it in a test
/// with `#[tokio::test(start_paused = true)]`.
#[derive(Debug)]
pub struct TestTree {
    tree: Tree,
    clock: Arc<TokioClock>,
    events: Subscription,
    seen: Vec<Arc<Event>>,
}

impl TestTree {
    /// Starts the tree, with seed 0 for the jitter of backoffs.
    ///
    /// # Panics
    /// If the tree does not start.
    pub async fn start(spec: SupervisorSpec) -> Self {
        let clock = Arc::new(TokioClock::new());
        let setting = Setting::new(clock.clone());
        let events = setting.events.subscribe(EVENTS_MAX);
        match spec.start_in(setting).await {
            Ok(tree) => Self { tree, clock, events, seen: Vec::new() },
            Err(error) => panic!("the tree does not start: {error}"),
        }
    }

    /// Crashes the child at `path`, as in `shop/db`, as a panic in its handler would.
    ///
    /// # Panics
    /// If there is no such child.
    pub async fn crash(&self, path: &str) {
        self.end(path, ExitReason::Crashed("the test crashed it".into())).await;
    }

    /// Ends the child at `path` as if it had ended with `reason`.
    ///
    /// # Panics
    /// If there is no such child.
    pub async fn end(&self, path: &str, reason: ExitReason) {
        let parts = path.rsplit_once('/');
        let supervisor = parts.and_then(|(above, name)| Some((self.tree.supervisor(above)?, name)));
        let Some((supervisor, name)) = supervisor else { panic!("no child at {path}") };
        if let Err(error) = supervisor.fail_child(name, reason).await {
            panic!("{path}: {error}");
        }
    }

    /// Waits for the next event of `path` that `wanted` accepts, and passes over others.
    ///
    /// # Panics
    /// If it does not come within a day of the test's time; prints what came instead.
    pub async fn expect(&mut self, path: &str, wanted: impl Fn(&EventKind) -> bool) -> Arc<Event> {
        let until = self.clock.now() + EXPECTED_WITHIN;
        let mut passed = Vec::new();
        loop {
            let event = within(&*self.clock, until, self.events.recv()).await;
            let Ok(Some(event)) = event else {
                panic!("no such event of {path}; since the last:{}", lines(&passed));
            };
            self.seen.push(event.clone());
            if event.path.to_string() == path && wanted(&event.kind) {
                return event;
            }
            passed.push(event);
        }
    }

    /// The events that were received so far, in order.
    #[must_use]
    pub fn seen(&self) -> &[Arc<Event>] {
        &self.seen
    }

    /// The test's time since the tree was made.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The tree as it is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.tree.snapshot()
    }

    /// The tree itself.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Stops the tree in order.
    pub async fn stop(self) -> Ended {
        self.tree.stop().await
    }
}

fn lines(events: &[Arc<Event>]) -> String {
    events.iter().fold(String::new(), |mut text, event| {
        // Into a string it cannot fail.
        let _ = write!(text, "\n  {event}");
        text
    })
}
