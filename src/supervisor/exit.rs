//! The one place where ractor's words become an [`ExitReason`].

use std::any::Any;

use ractor::{ActorId, SpawnErr, SupervisionEvent};

use super::launch::NoStart;
use crate::base::ExitReason;

/// The reason that a supervisor gives ractor when it stops an actor.
pub(super) const SHUTDOWN: &str = "shutdown";

/// What ractor gives as reason when an actor has worked off its mailbox and ends.
const DRAINED: &str = "Drained";

/// What ractor gives as reason when an actor was killed. A stop for which someone gave this very
/// text as reason cannot be told apart, and counts as a kill.
const KILLED: &str = "killed";

/// What ractor said when an actor ended.
#[derive(Debug)]
pub(super) enum Word {
    /// It ended by itself or was asked to, with what was given as reason.
    Stopped(Option<String>),
    /// Killed, or its task was cancelled.
    Killed,
    /// Its handler failed or panicked.
    Failed(String),
}

/// Reads a supervision event: which actor ended and what was said. `None` for any other event.
///
/// The actor's last state travels in the event. It is dropped here, and a panic in that is kept
/// from the supervisor.
pub(super) fn word(event: SupervisionEvent) -> Option<(ActorId, Word)> {
    match event {
        SupervisionEvent::ActorTerminated(cell, state, said) => {
            // A cancelled task has no state to give; one killed between messages has.
            let killed = state.is_none() || said.as_deref() == Some(KILLED);
            let word = match quietly(move || drop(state)) {
                Err(panic) => Word::Failed(format!("its state panicked in drop: {panic}")),
                Ok(()) if killed => Word::Killed,
                Ok(()) => Word::Stopped(said),
            };
            Some((cell.get_id(), word))
        }
        SupervisionEvent::ActorFailed(cell, error) => {
            let text = quietly(|| error.to_string());
            let text = text.unwrap_or_else(|panic| format!("its error panicked: {panic}"));
            // The error may be the user's, and panic when dropped.
            let _ = quietly(move || drop(error));
            Some((cell.get_id(), Word::Failed(text)))
        }
        // ractor's feature `cluster` has an event more.
        _ => None,
    }
}

/// The reason of an exit, from what ractor said, from the end of the child's task (`panic`: that
/// panicked with this text), and from whether the supervisor had asked the child to stop.
pub(super) fn reason(word: Option<Word>, panic: Option<String>, asked: bool) -> ExitReason {
    match (word, panic) {
        (Some(Word::Failed(why)), _) | (_, Some(why)) => ExitReason::Crashed(why),
        (Some(Word::Stopped(said)), None) => match said.as_deref() {
            _ if asked => ExitReason::Shutdown,
            None | Some(DRAINED) => ExitReason::Normal,
            // A reason that is given is OTP's `{shutdown, Term}`: on purpose, not a fault.
            Some(_) => ExitReason::Shutdown,
        },
        // No word: unlinked by its own code, or a root. Ractor told nobody.
        (None, None) if asked => ExitReason::Shutdown,
        (Some(Word::Killed) | None, None) => ExitReason::Killed,
    }
}

/// What an actor gives in `pre_start` to say that it does not want to run: its start is no failure,
/// and its supervisor goes on without it. OTP's `ignore`.
///
/// ```text
/// async fn pre_start(..) -> Result<State, ActorProcessingErr> {
///     if !configured { return Err(Decline.into()); }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it declines to start")]
pub struct Decline;

/// Why an actor was not spawned.
pub(super) fn no_start(error: SpawnErr) -> NoStart {
    let why = match error {
        SpawnErr::StartupFailed(error) if error.is::<Decline>() => return NoStart::Declined,
        SpawnErr::StartupFailed(error) => {
            let text = quietly(|| error.to_string()).unwrap_or_else(|panic| panic);
            // The error may be the user's, and panic when dropped.
            let _ = quietly(move || drop(error));
            text
        }
        SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_) => error.to_string(),
    };
    NoStart::Failed(ExitReason::StartFailed(why))
}

/// Runs foreign code, and turns a panic into its text.
pub(super) fn quietly<T>(foreign: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(foreign)).map_err(panic_text)
}

/// What a panic said.
pub(crate) fn panic_text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(other) => {
                // A payload that panics when dropped must not reach the supervisor: it is leaked.
                std::mem::forget(other);
                "a panic that is not text".to_owned()
            }
        },
    }
}
