//! A tree that was started.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::Shared;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::board::{ChildSnapshot, Counts, LastWord, Snapshot};
use super::driver::start_reason;
use super::exit;
use super::keeper::{Desk, Exit, Hand, Report, Told, Watch, keep};
use super::launch::{Launch as _, Post};
use super::spec::Blueprint;
use crate::base::{Clock, ExitReason, Instant, TokioClock, within};
use crate::event::{EventKind, Events, Happened, Path};
use crate::restart::STUCK_AFTER;

/// What a tree runs in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setting {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where its events go. Subscribe before the start to see all.
    pub events: Events,
}

impl Setting {
    /// A setting with its own events.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, events: Events::new() }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self::new(Arc::new(TokioClock::new()))
    }
}

/// Why a tree did not start. Nothing of it lives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The spec is not valid; nothing was started. Next: correct it.
    #[error("{path}: {field}: {why}")]
    Invalid {
        /// Whose spec.
        path: Path,
        /// Which part of it.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The program is built with `panic = "abort"`: a crash of one child would end the process,
    /// and nothing could be supervised. Next: take that out of the Cargo profile.
    #[error("supervision needs `panic = \"unwind\"`: with \"abort\" a crash ends the process")]
    PanicAbort,
    /// A child did not start; those before it were stopped again.
    #[error("{path}: {reason}")]
    Failed {
        /// Which child, however deep.
        path: Path,
        /// Why.
        reason: ExitReason,
    },
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why its root ended: `Shutdown` when asked to, `GaveUp` when restarts were too many or a
    /// child is stuck.
    pub reason: ExitReason,
    /// Children whose tasks outlived their kill and still run; the deepest that are known.
    pub stuck: Vec<Path>,
}

/// A running tree. Dropping it begins an ordered stop, and does not wait for it.
pub struct Tree {
    blueprint: Arc<Blueprint>,
    setting: Arc<Setting>,
    ask: Mutex<Option<oneshot::Sender<()>>>,
    ended: Shared<oneshot::Receiver<Ended>>,
}

impl Tree {
    pub(super) async fn grow(
        blueprint: Arc<Blueprint>,
        setting: Setting,
    ) -> Result<Self, StartError> {
        let setting = Arc::new(setting);
        let (desk, reports) = mpsc::channel(REPORTS_MAX);
        let (hand, leash) = Hand::new();
        let path = blueprint.path.clone();
        let post = Post { parent: None, path, incarnation: 1, setting: setting.clone() };
        let desk = Desk::Tree(desk);
        let watch = Watch { desk, child: 0, post, leash, alive: None };
        tokio::spawn(keep(Arc::new(blueprint.clone()), watch));
        let mut root = Root { blueprint, setting, reports, hand };
        root.started().await?;
        root.emit(EventKind::Started, None);
        let (ask, asked) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let (blueprint, setting) = (root.blueprint.clone(), root.setting.clone());
        tokio::spawn(async move {
            // Nobody may be waiting for it.
            let _ = tell.send(root.ended(asked).await);
        });
        Ok(Self { blueprint, setting, ask: Mutex::new(Some(ask)), ended: ended.shared() })
    }

    /// Stops the tree, the children of each supervisor in reverse order, and waits for its end.
    /// May be called again.
    pub async fn stop(&self) -> Ended {
        self.ask_to_stop();
        self.wait().await
    }

    /// Waits for the end of the tree: stopped, or given up.
    pub async fn wait(&self) -> Ended {
        // It is lost only with the runtime.
        let lost = Ended { reason: ExitReason::Killed, stuck: Vec::new() };
        self.ended.clone().await.unwrap_or(lost)
    }

    /// The whole tree as it is. Reads what supervisors have written down, and so waits for nobody.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.blueprint.snapshot()
    }

    /// The root's children, in the order of the list.
    #[must_use]
    pub fn which_children(&self) -> Vec<ChildSnapshot> {
        self.snapshot().children
    }

    /// The root's children, counted.
    #[must_use]
    pub fn count_children(&self) -> Counts {
        self.snapshot().counts()
    }

    /// The events of the tree.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.setting.events
    }

    fn ask_to_stop(&self) {
        if let Some(ask) = self.ask.lock().take() {
            // A tree that has ended need not be asked.
            let _ = ask.send(());
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({})", self.blueprint.path)
    }
}

/// A root's keeper tells at most that it started, fell and exited.
const REPORTS_MAX: usize = 4;

/// What a tree has of its root.
struct Root {
    blueprint: Arc<Blueprint>,
    setting: Arc<Setting>,
    reports: mpsc::Receiver<Report>,
    hand: Hand,
}

impl Root {
    async fn report(&mut self) -> Told {
        let lost = || Told::Exited(Exit { actor: None, fault: None, said: None, panic: None });
        self.reports.recv().await.map_or_else(lost, |report| report.told)
    }

    /// Waits until all has started.
    async fn started(&mut self) -> Result<(), StartError> {
        let (path, clock) = (self.blueprint.path.clone(), self.setting.clock.clone());
        let mut told = self.report().await;
        if let Told::Fell(said) = told {
            let until = clock.now() + STUCK_AFTER;
            told = within(&*clock, until, self.report()).await.unwrap_or(Told::Fell(said));
        }
        let (path, reason) = match told {
            Told::Started => return Ok(()),
            Told::Fell(said) => (path, said.map_or(ExitReason::Killed, |said| said.reason)),
            Told::Exited(Exit { fault: Some(fault), .. }) => {
                let reason = start_reason(&fault.path.clone(), fault.clone());
                (fault.path, reason)
            }
            Told::Exited(Exit { said: Some(said), .. }) => (path, said.reason),
            Told::Exited(exit) => (path, exit::reason(None, exit.panic, false)),
        };
        self.blueprint.close();
        Err(StartError::Failed { path, reason })
    }

    /// Waits for the end, and passes on the wish to stop.
    async fn ended(mut self, mut asked: oneshot::Receiver<()>) -> Ended {
        let mut stopping = false;
        let mut fallen: Option<(Instant, Option<LastWord>)> = None;
        let clock = self.setting.clock.clone();
        let (word, panic, stuck) = loop {
            let until = fallen.as_ref().map_or(Instant::NEVER, |(until, _)| *until);
            let told = tokio::select! {
                biased;
                told = within(&*clock, until, self.report()) => told,
                // Dropping the tree asks, too.
                _ = &mut asked, if !stopping => {
                    stopping = true;
                    self.hand.stop(None);
                    continue;
                }
            };
            match told {
                Ok(Told::Started) => {}
                Ok(Told::Fell(said)) => fallen = Some((clock.now() + STUCK_AFTER, said)),
                Ok(Told::Exited(exit)) => break (exit.said, exit.panic, Vec::new()),
                Err(_) => {
                    let mut stuck = self.blueprint.snapshot().stuck();
                    if stuck.is_empty() {
                        stuck.push(self.blueprint.path.clone());
                    }
                    break (fallen.and_then(|(_, said)| said), None, stuck);
                }
            }
        };
        self.blueprint.close();
        let cause = word.as_ref().and_then(|word| word.cause);
        let unsaid = || exit::reason(None, panic, stopping);
        let reason = word.map_or_else(unsaid, |word| word.reason);
        self.emit(EventKind::Exited(reason.clone()), cause);
        Ended { reason, stuck }
    }

    fn emit(&self, kind: EventKind, cause: Option<crate::event::EventId>) {
        let at = self.setting.clock.now();
        let path = &self.blueprint.path;
        self.setting.events.emit(Happened { cause, at, path, incarnation: 1, kind });
    }
}
