//! Plain async tasks as children.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

/// Tells a task that it is asked to stop. Cheap to clone.
#[derive(Clone)]
pub struct Stop(Shared<oneshot::Receiver<()>>);

impl Stop {
    pub(super) fn new() -> (oneshot::Sender<()>, Self) {
        let (ask, asked) = oneshot::channel();
        (ask, Self(asked.shared()))
    }

    /// Completes when the task is asked to stop.
    pub async fn requested(&self) {
        // A sender that is gone asks as well.
        let _ = self.0.clone().await;
    }

    /// Whether the task is asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.clone().now_or_never().is_some()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stop(requested: {})", self.is_requested())
    }
}

/// What a task may return: nothing, or a result whose error is an abnormal exit.
#[diagnostic::on_unimplemented(
    message = "a task returns nothing or a `Result<(), E>`, not `{Self}`",
    note = "a body that never ends has no type of its own: end its loop when `Stop` asks for it, \
            or write `#[allow(unreachable_code)] ()` after it"
)]
pub trait Outcome {
    /// As ractor wants it.
    ///
    /// # Errors
    /// If the task failed.
    fn outcome(self) -> Result<(), ActorProcessingErr>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl<E: Into<ActorProcessingErr>> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), ActorProcessingErr> {
        self.map_err(Into::into)
    }
}

/// Makes the future of one incarnation.
pub(super) type Body =
    Arc<dyn Fn(Stop) -> BoxFuture<'static, Result<(), ActorProcessingErr>> + Send + Sync>;

/// The one message of a task's actor.
#[derive(Debug)]
pub(super) struct Run;

/// Runs a task as the handler of one message, so that a kill drops it, a panic is caught, and its
/// exit is told as that of any actor.
pub(super) struct TaskActor;

#[ractor::actor(message = Run, state = (Body, Mutex<Option<Stop>>), arguments = (Body, Stop))]
impl TaskActor {
    async fn pre_start(
        &self,
        myself: ActorRef<Run>,
        (body, stop): (Body, Stop),
    ) -> Result<(Body, Mutex<Option<Stop>>), ActorProcessingErr> {
        myself.send_message(Run)?;
        Ok((body, Mutex::new(Some(stop))))
    }

    async fn handle(
        &self,
        myself: ActorRef<Run>,
        Run: Run,
        state: &mut (Body, Mutex<Option<Stop>>),
    ) -> Result<(), ActorProcessingErr> {
        // As the shell of an actor does, and for the same reason.
        tokio::task::yield_now().await;
        let stop = state.1.get_mut().take();
        if let Some(stop) = stop {
            (state.0)(stop).await?;
        }
        myself.stop(None);
        Ok(())
    }
}
