//! States that outlive the incarnations that saved them.

mod generations;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub(super) use generations::RolledBack;
pub use generations::{CheckpointError, GENERATIONS_MAX};
use generations::{Generations, Outcome};

use crate::base::{ExitReason, Instant};

/// Crashes that a generation is given, if nothing is said.
pub const STRIKES_DEFAULT: u32 = 3;

/// How long after its start a crash is blamed on the generation restored, if nothing is said.
pub const PROBATION_DEFAULT: Duration = Duration::from_secs(10);

/// Good states of one child, in generations. It belongs to the tree and not to the actor, so that
/// what was saved outlives a crash, and lives in memory only. Cheap to clone: one clone goes to the
/// child's factory and one to its spec.
///
/// An incarnation calls [`save`](Self::save) whenever its state is good, and starts from
/// [`newest`](Self::newest). A state can be bad without looking so. So a generation is on
/// *probation* for some time from each start that restores it: when the child has crashed within it
/// *strikes* times, the generation is given up for the one before it, and at last for the initial
/// state, which is none. That is an [event](crate::event::EventKind::RolledBack).
///
/// - A crash is an exit as `Crashed`, `StartFailed`, `Hung` or `GaveUp`.
/// - A generation that outlives a probation has its strikes taken back, however the child ends
///   after that.
/// - A crash after a newer generation was saved counts against neither of the two: that the child
///   came so far speaks for the older one, and nobody has restored the newer one yet. A child that
///   saves a state it was just given, before it has done any good with it, therefore never rolls
///   back.
///
/// A checkpoint has one child. If several share one, they restore each other's states, and a crash
/// counts against what was the newest at the latest start of any.
pub struct Checkpoint<S>(Arc<Mutex<Generations<S>>>);

impl<S> Clone for Checkpoint<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for Checkpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({:?})", self.0.lock())
    }
}

impl<S> Checkpoint<S> {
    /// Nothing saved yet. Keeps the newest `generations`, 1 to [`GENERATIONS_MAX`].
    ///
    /// What is out of range, here and below, is an error when the tree starts.
    #[must_use]
    pub fn new(generations: usize) -> Self {
        let new = Generations::new(generations, STRIKES_DEFAULT, PROBATION_DEFAULT);
        Self(Arc::new(Mutex::new(new)))
    }

    /// Gives up a generation at this many crashes, at least one; [`STRIKES_DEFAULT`] if nothing is
    /// said. Holds for all clones.
    #[must_use]
    pub fn strikes(self, strikes: u32) -> Self {
        self.0.lock().strikes_max = strikes;
        self
    }

    /// Counts crashes up to this long after a start, more than nothing; [`PROBATION_DEFAULT`] if
    /// nothing is said. Holds for all clones.
    #[must_use]
    pub fn probation(self, probation: Duration) -> Self {
        self.0.lock().probation = probation;
        self
    }

    /// Whether it can be kept to.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn validate(&self) -> Result<(), CheckpointError> {
        self.0.lock().validate()
    }

    /// Saves a good state as a new generation and returns its number, counted from 1. The oldest
    /// one goes if there are too many; it is dropped here.
    pub fn save(&self, state: S) -> u64 {
        let state = Arc::new(state);
        // Dropped without the lock: dropping a state may take long, or fail.
        let (number, _gone) = self.0.lock().save(state);
        number
    }

    /// The newest generation that was not given up, none if there is no such; then the child begins
    /// with its initial state. States that were given up meanwhile are dropped here.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<S>> {
        let (newest, _gone) = self.0.lock().newest();
        newest
    }

    /// A copy of the [`newest`](Self::newest) generation.
    #[must_use]
    pub fn restore(&self) -> Option<S>
    where
        S: Clone,
    {
        self.newest().map(|state| S::clone(&state))
    }

    /// The number of the [`newest`](Self::newest) generation.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.0.lock().generation()
    }
}

/// What a supervisor tells the checkpoint of a child, whatever its type. Runs no code of the user.
pub(super) trait Recovery: fmt::Debug + Send + Sync {
    /// Whether it can be kept to.
    ///
    /// # Errors
    /// [`CheckpointError`], which names the field.
    fn validate(&self) -> Result<(), CheckpointError>;

    /// An incarnation is about to be started.
    fn begun(&self, now: Instant);

    /// The incarnation ended, and whether a generation is given up for that.
    fn ended(&self, reason: &ExitReason, now: Instant) -> Option<RolledBack>;
}

impl<S: Send + Sync> Recovery for Checkpoint<S> {
    fn validate(&self) -> Result<(), CheckpointError> {
        Self::validate(self)
    }

    fn begun(&self, now: Instant) {
        self.0.lock().begun(now);
    }

    fn ended(&self, reason: &ExitReason, now: Instant) -> Option<RolledBack> {
        self.0.lock().ended(outcome(reason), now)
    }
}

/// Whether the state may be to blame.
fn outcome(reason: &ExitReason) -> Outcome {
    match reason {
        ExitReason::Crashed(_)
        | ExitReason::StartFailed(_)
        | ExitReason::Hung
        | ExitReason::GaveUp => Outcome::Crashed,
        // Killed is what somebody decided, and says nothing of the state.
        ExitReason::Normal | ExitReason::Shutdown | ExitReason::Killed => Outcome::Left,
    }
}
