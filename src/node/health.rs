//! Whether a node is well: probes of its user's, and two of its own, whose failures all members
//! see.
//!
//! A probe is a question that the node asks itself again and again: is the database there, is the
//! queue short enough. Where it ends badly, panics, or does not end in time, twice in a row, the
//! node is *unhealthy* until it has passed twice: its gossip carries the names of the probes that
//! fail. That is a word about the node and no verdict on its membership: it keeps its lease.
//!
//! Runs of a user's probe take place on the runtime that entities run on; timers and verdicts on
//! the control runtime, so that a probe that blocks its thread, or all of them, is found by its
//! deadline.

mod config;
mod disk;
mod run;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;

pub use config::{DiskConfig, HealthConfig};
pub use verdict::ProbeConfig;

pub(super) use disk::WatchedDisk;

use self::run::{Run, Work};
use self::verdict::Probe;
use super::Node;
use crate::base::{Clock, NodeId, Publisher, Seams, Spawner, Watched};
use crate::membership::{FAILING_MAX, PROBE_NAME_BYTES_MAX};
use crate::storage::Store;

/// Probes that a node may have, those built in among them: their names travel in gossip.
pub const PROBES_MAX: usize = FAILING_MAX;
/// Shortest time between two starts of a probe.
const EVERY_MIN: Duration = Duration::from_millis(10);
/// What is kept of a reason; the rest is cut off.
const WHY_BYTES_MAX: usize = 256;

/// The built-in probe that finds all workers blocked.
const EXECUTOR: &str = "executor";
/// The built-in probe that finds the disk hung.
const DISK: &str = "disk";

/// Why a probe was not taken. Nothing of it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// It cannot be called that.
    #[error("{0:?} is not a name of a probe: it must match [a-z0-9][a-z0-9_.-]{{0,31}}")]
    Name(String),
    /// There is one of this name. Next: drop its handle first, or choose another name.
    #[error("there is a probe {0:?} already")]
    Taken(String),
    /// There are as many as there may be.
    #[error("a node has at most {PROBES_MAX} probes, the built-in ones among them")]
    TooMany,
    /// A number is out of range.
    #[error(
        "{what} = {value} is out of range: every >= 10 ms, deadline >= 1 ms, failures and passes \
         >= 1"
    )]
    Range {
        /// Which.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// A probe that is carried out until this is dropped, or the node stops.
///
/// A run in hand is then dropped at its next await; the name is free at once. When a failing probe
/// ends, the node is well as far as that probe goes.
#[must_use = "the probe ends when this is dropped; `forever()` lets it go on"]
pub struct HealthProbe {
    health: Health,
    name: String,
    number: u64,
    ends: bool,
}

impl HealthProbe {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the probe go on until the node stops.
    pub fn forever(mut self) {
        self.ends = false;
    }
}

impl Drop for HealthProbe {
    fn drop(&mut self) {
        if self.ends {
            self.health.remove(&self.name, self.number);
        }
    }
}

impl fmt::Debug for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HealthProbe({})", self.name)
    }
}

/// A probe that is carried out.
struct Slot {
    /// Tells it from one that had the name before.
    number: u64,
    /// Why it fails, if it does.
    why: Option<String>,
    task: AbortHandle,
}

#[derive(Default)]
struct Slots {
    by_name: BTreeMap<String, Slot>,
    made: u64,
    stopped: bool,
}

impl Slots {
    fn failing(&self) -> Vec<String> {
        let failing = self.by_name.iter().filter(|(_, slot)| slot.why.is_some());
        failing.map(|(name, _)| name.clone()).collect()
    }
}

struct Inner {
    node: NodeId,
    seams: Seams,
    slots: Mutex<Slots>,
    /// Names of the failing ones, sorted. Changed while `slots` is locked, so that the last value
    /// is the latest.
    failing: Publisher<Vec<String>>,
}

/// All probes of a node. Clones are the same.
#[derive(Clone)]
pub(super) struct Health(Arc<Inner>);

impl Health {
    /// Begins with the probes that come built in. `disk` is what all files of the node, and those
    /// of `store`, were opened through.
    pub(super) fn start(
        node: NodeId,
        seams: &Seams,
        config: &HealthConfig,
        disk: Arc<WatchedDisk>,
        store: &Store,
    ) -> Self {
        let health = Self::new(node, seams.clone());
        if let Some(config) = config.executor {
            // That it is polled at all is what is asked.
            let tick: Work = Arc::new(|| std::future::ready(Ok(())).boxed());
            let slots = health.0.slots.lock();
            health.insert(slots, EXECUTOR, config, (seams.work.clone(), tick)).forever();
        }
        if let Some(config) = config.disk {
            let look = disk.probe(store.clone(), config);
            let slots = health.0.slots.lock();
            health.insert(slots, DISK, config.probe, (seams.control.clone(), look)).forever();
        }
        health
    }

    fn new(node: NodeId, seams: Seams) -> Self {
        let (slots, failing) = (Mutex::default(), Publisher::new(Vec::new()));
        Self(Arc::new(Inner { node, seams, slots, failing }))
    }

    /// Carries out a probe from now on, its runs `on` this runtime.
    fn add(
        &self,
        name: &str,
        config: ProbeConfig,
        on: Spawner,
        work: Work,
    ) -> Result<HealthProbe, HealthError> {
        if !is_name(name) {
            return Err(HealthError::Name(name.chars().take(80).collect()));
        }
        config.validate()?;
        let slots = self.0.slots.lock();
        if slots.stopped {
            return Err(HealthError::Stopped);
        }
        if slots.by_name.contains_key(name) {
            return Err(HealthError::Taken(name.into()));
        }
        if slots.by_name.len() >= PROBES_MAX {
            return Err(HealthError::TooMany);
        }
        Ok(self.insert(slots, name, config, (on, work)))
    }

    /// As [`Health::add`], of what was found good.
    fn insert(
        &self,
        mut slots: MutexGuard<'_, Slots>,
        name: &str,
        config: ProbeConfig,
        (on, work): (Spawner, Work),
    ) -> HealthProbe {
        slots.made += 1;
        let (health, number) = (self.clone(), slots.made);
        let probe = Probe::new(config, self.clock().now());
        let run = Run { health, name: name.into(), number, probe, on, work };
        let task = self.0.seams.control.spawn(run.run()).abort_handle();
        slots.by_name.insert(name.into(), Slot { number, why: None, task });
        HealthProbe { health: self.clone(), name: name.into(), number, ends: true }
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.seams.clock
    }

    /// Probe `number` fails for this reason, or passes.
    fn tell(&self, name: &str, number: u64, why: Option<String>) {
        let why = why.map(shortened);
        {
            let mut slots = self.0.slots.lock();
            let Some(slot) = slots.by_name.get_mut(name) else { return };
            if slot.number != number {
                return;
            }
            let was_failing = std::mem::replace(&mut slot.why, why.clone()).is_some();
            if was_failing == why.is_some() {
                return;
            }
            self.0.failing.publish(Arc::new(slots.failing()));
        }
        let node = &self.0.node;
        if let Some(why) = why {
            tracing::warn!(%node, probe = name, why, "unhealthy");
        } else {
            tracing::info!(%node, probe = name, "healthy again");
        }
    }

    fn remove(&self, name: &str, number: u64) {
        let removed = {
            let mut slots = self.0.slots.lock();
            if slots.by_name.get(name).is_none_or(|slot| slot.number != number) {
                return;
            }
            let removed = slots.by_name.remove(name);
            if removed.as_ref().is_some_and(|slot| slot.why.is_some()) {
                self.0.failing.publish(Arc::new(slots.failing()));
            }
            removed
        };
        // Outside of the lock: it may drop what is the user's.
        if let Some(slot) = removed {
            slot.task.abort();
            if slot.why.is_some() {
                tracing::info!(node = %self.0.node, probe = name, "a failing probe is gone");
            }
        }
    }

    /// Ends all probes. What they said last stays.
    pub(super) fn stop(&self) {
        let tasks: Vec<_> = {
            let mut slots = self.0.slots.lock();
            slots.stopped = true;
            slots.by_name.values().map(|slot| slot.task.clone()).collect()
        };
        for task in tasks {
            task.abort();
        }
    }

    /// The names of the probes that fail, sorted: at most [`PROBES_MAX`], each at most
    /// [`PROBE_NAME_BYTES_MAX`] long.
    pub(super) fn watched(&self) -> Watched<Vec<String>> {
        self.0.failing.watched()
    }

    fn unhealthy(&self) -> Vec<(String, String)> {
        let slots = self.0.slots.lock();
        let failing = slots.by_name.iter().filter_map(|(name, slot)| {
            let why = slot.why.clone()?;
            Some((name.clone(), why))
        });
        failing.collect()
    }
}

/// `[a-z0-9][a-z0-9_.-]{0,31}`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(plain);
    first && name.len() <= PROBE_NAME_BYTES_MAX && bytes.all(|b| plain(b) || b"_.-".contains(&b))
}

/// Cut off where it becomes too long.
fn shortened(mut why: String) -> String {
    if why.len() > WHY_BYTES_MAX {
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        why.push_str(" ...");
    }
    why
}

impl Node {
    /// Asks itself `probe` every `every` from now on. Where that returns an error, panics, or is
    /// not done within `deadline`, two times in a row, the node is unhealthy for all to see, until
    /// it has passed two times in a row; [`Node::health_as`] takes other numbers than two.
    ///
    /// Two runs of a probe never go on at once. A run that hangs fails again every `every`, and no
    /// other starts before it has ended. It runs where entities do, and may block its thread as
    /// long as others are left to them.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn ask_the_database() -> Result<(), String> { Ok(()) }
    /// # fn run(node: &evertree::node::Node) -> Result<(), evertree::node::HealthError> {
    /// let (every, deadline) = (Duration::from_secs(5), Duration::from_secs(1));
    /// let probe = node.health("db", every, deadline, || async { ask_the_database().await })?;
    /// # drop(probe);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`HealthError`]: the name is no name or taken, there are [`PROBES_MAX`] already, or a number
    /// is out of range.
    ///
    /// # Panics
    /// If the node runs in a world of its own ([`super::NodeBuilder::seams`]) with
    /// [`Spawner::Current`], and this is called from outside of a runtime.
    pub fn health<F, T>(
        &self,
        name: &str,
        every: Duration,
        deadline: Duration,
        probe: F,
    ) -> Result<HealthProbe, HealthError>
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.health_as(name, ProbeConfig::new(every, deadline), probe)
    }

    /// As [`Node::health`], with a number of outcomes in a row for either verdict.
    ///
    /// # Errors
    /// As [`Node::health`].
    ///
    /// # Panics
    /// As [`Node::health`].
    pub fn health_as<F, T>(
        &self,
        name: &str,
        config: ProbeConfig,
        probe: F,
    ) -> Result<HealthProbe, HealthError>
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), String>> + Send + 'static,
    {
        let parts = &self.0.parts;
        let work: Work = Arc::new(move || probe().boxed());
        parts.health.add(name, config, parts.seams.work.clone(), work)
    }

    /// Which probes of this node fail, and why: sorted by name, a reason of at most 260 bytes each.
    /// Empty: the node is well.
    #[must_use]
    pub fn unhealthy(&self) -> Vec<(String, String)> {
        self.0.parts.health.unhealthy()
    }

    /// The names of the probes of this node that fail, sorted, to follow.
    #[must_use]
    pub fn failing_probes(&self) -> Watched<Vec<String>> {
        self.0.parts.health.watched()
    }
}

#[cfg(test)]
mod tests;
