//! OTP's calls to a running supervisor: start, terminate, restart, delete, which, count.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::board::{ChildSnapshot, Counts, Door, Snapshot};
use super::driver::Note;
use super::plan::Blueprint;
use super::spec::ChildSpec;
use crate::base::{Clock, ExitReason, within};
use crate::event::Path;

/// How long a request to a supervisor may take, the start or stop of the child included.
pub const REQUEST_DEADLINE: Duration = Duration::from_mins(1);
/// Requests that may wait for one supervisor at a time.
pub const REQUESTS_MAX: usize = 65_536;

/// Why a supervisor did not do what it was asked. All but [`RequestError::TimedOut`] and
/// [`RequestError::Ended`] mean that nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not executed: the supervisor's tree was never started, or the ref was bound to no spec.
    #[error("not executed: the supervisor was never started")]
    Unbound,
    /// Not executed: the supervisor is down and about to be started. Next: ask again.
    #[error("not executed: the supervisor is restarting")]
    Restarting,
    /// Not executed: the supervisor has stopped, or is about to.
    #[error("not executed: the supervisor has stopped")]
    Stopped,
    /// Not executed: too many requests wait for it. Next: ask again later.
    #[error("not executed: {REQUESTS_MAX} requests wait for the supervisor")]
    Overloaded,
    /// Not executed: it has no child of this name.
    #[error("not executed: there is no child {0}")]
    NotFound(Path),
    /// Not executed: a child of this name runs already. OTP's `already_started`.
    #[error("not executed: {0} runs already")]
    AlreadyStarted(Path),
    /// Not executed: a child of this name is listed, and does not run: restart it, or delete it
    /// first. OTP's `already_present`.
    #[error("not executed: {0} is listed already: restart it, or delete it first")]
    AlreadyPresent(Path),
    /// Not executed: the child runs. Next: terminate it first.
    #[error("not executed: {0} runs: terminate it first")]
    Running(Path),
    /// Not executed: the child is being restarted, or stopped.
    #[error("not executed: {0} is being restarted or stopped")]
    Busy(Path),
    /// Not executed: the supervisor has as many children as it may. OTP's `max_children`.
    #[error("not executed: {path} has {children_max} children, as many as it may")]
    MaxChildren {
        /// Of the supervisor.
        path: Path,
        /// How many it may have.
        children_max: usize,
    },
    /// Not executed: the spec is not valid.
    #[error("not executed: {path}: {field}: {why}")]
    Invalid {
        /// Whose spec.
        path: Path,
        /// Which part of it.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The child did not start. A child that was to be added is not listed; one that was to be
    /// restarted stays listed and does not run.
    #[error("{path}: {reason}")]
    StartFailed {
        /// Which child, however deep.
        path: Path,
        /// Why.
        reason: ExitReason,
    },
    /// Unknown: the supervisor ended meanwhile.
    #[error("unknown: the supervisor ended before it answered")]
    Ended,
    /// Unknown: no answer within [`REQUEST_DEADLINE`]; the request may still be carried out.
    #[error("unknown: no answer within {REQUEST_DEADLINE:?}")]
    TimedOut,
}

/// What a user asks, and where the answer goes.
pub(super) enum Ask {
    Start(Box<ChildSpec>, Answer),
    Terminate(String, Answer),
    Restart(String, Answer),
    Delete(String, Answer),
    /// Ends the child as if it had ended with this reason.
    #[cfg(feature = "testing")]
    Fail(String, ExitReason, Answer),
}

pub(super) type Answer = oneshot::Sender<Result<Option<ChildSnapshot>, RequestError>>;

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start(..) => "Start",
            Self::Terminate(..) => "Terminate",
            Self::Restart(..) => "Restart",
            Self::Delete(..) => "Delete",
            #[cfg(feature = "testing")]
            Self::Fail(..) => "Fail",
        })
    }
}

#[derive(Default)]
struct Shared {
    blueprint: OnceLock<Arc<Blueprint>>,
    waiting: AtomicUsize,
}

/// A ref to a supervisor, made before anything starts or taken from a running tree, and valid
/// across its restarts. Cheap to clone.
///
/// Children are named by their names in this supervisor. Those of a dynamic supervisor are
/// numbered: `start_child` of `courier` gives `courier-0`, then `courier-1`; the snapshot that it
/// returns has the name.
#[derive(Clone, Default)]
pub struct SupervisorRef(Arc<Shared>);

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.blueprint.get() {
            Some(blueprint) => write!(f, "SupervisorRef({})", blueprint.path),
            None => f.write_str("SupervisorRef(unbound)"),
        }
    }
}

impl SupervisorRef {
    /// A ref to a supervisor that is not there yet: give it to its spec with
    /// [`SupervisorSpec::bind`](super::SupervisorSpec::bind).
    #[must_use]
    pub fn unbound() -> Self {
        Self::default()
    }

    pub(super) fn to(blueprint: Arc<Blueprint>) -> Self {
        let made = Self::default();
        // It is new, so nothing is in it yet.
        let _ = made.0.blueprint.set(blueprint);
        made
    }

    /// Binds the ref; false if it is bound already.
    pub(super) fn settle(&self, blueprint: Arc<Blueprint>) -> bool {
        self.0.blueprint.set(blueprint).is_ok()
    }

    /// Starts a child after those there are, and waits until it has started; of a supervisor: until
    /// all its children have. A child that declines is listed and does not run, unless it is
    /// temporary: then there is none.
    ///
    /// A child added in this way is gone when its supervisor is restarted, as in OTP.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn start_child(
        &self,
        child: impl Into<ChildSpec>,
    ) -> Result<Option<ChildSnapshot>, RequestError> {
        let child = Box::new(child.into());
        self.ask(|answer| Ask::Start(child, answer)).await
    }

    /// Stops a child as its spec says, and waits for its end. It stays listed and is not restarted;
    /// a temporary child is listed no longer. OK if it does not run.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn terminate_child(&self, name: &str) -> Result<(), RequestError> {
        self.ask(|answer| Ask::Terminate(name.into(), answer)).await.map(drop)
    }

    /// Starts a listed child that does not run, and waits until it has started.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn restart_child(&self, name: &str) -> Result<Option<ChildSnapshot>, RequestError> {
        self.ask(|answer| Ask::Restart(name.into(), answer)).await
    }

    /// Lists a child that does not run no longer.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn delete_child(&self, name: &str) -> Result<(), RequestError> {
        self.ask(|answer| Ask::Delete(name.into(), answer)).await.map(drop)
    }

    /// Ends the child as if it had ended with `reason`; does not wait for that. For tests.
    #[cfg(feature = "testing")]
    pub(crate) async fn fail_child(
        &self,
        name: &str,
        reason: ExitReason,
    ) -> Result<(), RequestError> {
        self.ask(|answer| Ask::Fail(name.into(), reason, answer)).await.map(drop)
    }

    /// The supervisor as it is, with all below it; `None` before its tree was started. Reads what
    /// supervisors have written down, and so waits for nobody.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.0.blueprint.get().map(|blueprint| blueprint.snapshot())
    }

    /// The children, in the order of the list.
    #[must_use]
    pub fn which_children(&self) -> Vec<ChildSnapshot> {
        self.snapshot().map(|snapshot| snapshot.children).unwrap_or_default()
    }

    /// The children, counted.
    #[must_use]
    pub fn count_children(&self) -> Counts {
        self.0.blueprint.get().map(|blueprint| blueprint.board.counts()).unwrap_or_default()
    }

    fn door(&self) -> Result<(ActorRef<Note>, Arc<dyn Clock>), RequestError> {
        let blueprint = self.0.blueprint.get().ok_or(RequestError::Unbound)?;
        match &*blueprint.board.door.read() {
            Door::Unbound => Err(RequestError::Unbound),
            Door::Vacant => Err(RequestError::Restarting),
            Door::Closed => Err(RequestError::Stopped),
            Door::Open(supervisor, clock) => Ok((supervisor.clone(), clock.clone())),
        }
    }

    async fn ask(
        &self,
        ask: impl FnOnce(Answer) -> Ask,
    ) -> Result<Option<ChildSnapshot>, RequestError> {
        let (supervisor, clock) = self.door()?;
        let _place = Place::take(&self.0.waiting).ok_or(RequestError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        if supervisor.send_message(Note::Ask(ask(answer))).is_err() {
            return Err(RequestError::Restarting);
        }
        match within(&*clock, clock.now() + REQUEST_DEADLINE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RequestError::Ended),
            Err(_) => Err(RequestError::TimedOut),
        }
    }
}

/// One of the places for requests that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < REQUESTS_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
