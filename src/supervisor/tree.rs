//! A tree that was started.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::Shared;
use parking_lot::Mutex;
#[cfg(test)]
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot};

use super::api::SupervisorRef;
use super::board::{ChildSnapshot, Counts, LastWord, Snapshot};
#[cfg(test)]
use super::driver::Note;
use super::driver::start_reason;
use super::exit;
use super::keeper::{Desk, Exit, Hand, Report, Told, Watch, keep};
use super::launch::{Launch as _, Post};
use super::plan::Blueprint;
use crate::base::{Clock, ExitReason, Instant, Rng as _, SeededRng, TokioClock, within};
use crate::event::{EventKind, Events, Happened, Path};
#[cfg(test)]
use crate::restart::Output;
use crate::restart::STUCK_AFTER;

/// What a tree runs in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setting {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where its events go. Subscribe before the start to see all.
    pub events: Events,
    /// Fixes the jitter of backoffs.
    pub seed: u64,
    /// Told of each step before it is taken: the supervisor's actor, its path, what it is to do.
    #[cfg(test)]
    pub(super) hook: Option<Hook>,
}

/// For tests that interfere at a certain step.
#[cfg(test)]
#[derive(Clone)]
pub(super) struct Hook(pub(super) Arc<HookFn>);

#[cfg(test)]
type HookFn = dyn Fn(&ActorRef<Note>, &Path, &Output) + Send + Sync;

#[cfg(test)]
impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Setting {
    /// A setting with its own events, and seed 0.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            events: Events::new(),
            seed: 0,
            #[cfg(test)]
            hook: None,
        }
    }

    /// The seed of one incarnation of a supervisor.
    pub(super) fn seed_of(&self, path: &Path, incarnation: u64) -> u64 {
        // FNV-1a: different supervisors must not draw the same delays.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let bytes = path.to_string().into_bytes().into_iter().chain(incarnation.to_le_bytes());
        bytes.fold(self.seed ^ 0xcbf2_9ce4_8422_2325, step)
    }

    #[cfg(test)]
    pub(super) fn hook(&self, supervisor: &ActorRef<Note>, path: &Path, output: &Output) {
        if let Some(Hook(hook)) = &self.hook {
            hook(supervisor, path, output);
        }
    }
}

/// Tokio's clock, and a random seed.
impl Default for Setting {
    fn default() -> Self {
        let seed = SeededRng::from_os().next_u64();
        Self { seed, ..Self::new(Arc::new(TokioClock::new())) }
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
        let setting_of_root = setting.clone();
        let post =
            Post { parent: None, path, incarnation: 1, cause: None, setting: setting_of_root };
        let desk = Desk::Tree(desk);
        let (start_within, alive) = (None, None);
        let watch = Watch { desk, child: 0, post, leash, start_within, alive };
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

    /// The root, to be asked for what OTP's supervisors can be asked for.
    #[must_use]
    pub fn root(&self) -> SupervisorRef {
        SupervisorRef::to(self.blueprint.clone())
    }

    /// The supervisor at `path`, as in `shop/couriers`, however deep; `None` if there is none.
    #[must_use]
    pub fn supervisor(&self, path: &str) -> Option<SupervisorRef> {
        let mut names = path.split('/');
        let mut found = Some(self.blueprint.clone());
        found = found.filter(|root| names.next() == Some(root.path.to_string().as_str()));
        for name in names {
            let board = found?.board.clone();
            let row = board.key_of(name).and_then(|child| board.row(child));
            found = row.and_then(|row| row.plan.below().cloned());
        }
        found.map(SupervisorRef::to)
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
        self.blueprint.board.counts()
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
        let lost = || Told::Exited(Exit::default());
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
            Told::Started(_) => return Ok(()),
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
                Ok(Told::Started(_)) => {}
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
        let count = self.blueprint.close();
        if count > 0 {
            self.emit(EventKind::DeadLetters { count }, None);
        }
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
