//! The one place where ractor's words become an [`ExitReason`].

use std::any::Any;

use ractor::{ActorId, SpawnErr, SupervisionEvent};

use crate::base::ExitReason;

/// The reason that a supervisor gives ractor when it stops an actor.
pub(super) const SHUTDOWN: &str = "shutdown";

/// What ractor gives as reason when an actor has worked off its mailbox and ends.
const DRAINED: &str = "Drained";

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
            // A stop keeps the state, a kill loses it: that tells them apart. The text does not,
            // since anyone may stop an actor with the reason "killed".
            let kept = state.is_some();
            let dropped = quietly(move || drop(state));
            let word = match (kept, dropped) {
                (_, Err(panic)) => Word::Failed(format!("its state panicked in drop: {panic}")),
                (true, Ok(())) => Word::Stopped(said),
                (false, Ok(())) => Word::Killed,
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
        (Some(Word::Killed), None) => ExitReason::Killed,
        (Some(Word::Stopped(said)), None) => match said.as_deref() {
            _ if asked => ExitReason::Shutdown,
            None | Some(DRAINED) => ExitReason::Normal,
            // A reason that is given is OTP's `{shutdown, Term}`: on purpose, not a fault.
            Some(_) => ExitReason::Shutdown,
        },
        // Unlinked by its own code, or a root: ractor told nobody.
        (None, None) if asked => ExitReason::Shutdown,
        (None, None) => ExitReason::Killed,
    }
}

/// The reason of a start that failed.
pub(super) fn start_failed(error: &SpawnErr) -> ExitReason {
    let why = match error {
        SpawnErr::StartupFailed(error) => {
            quietly(|| error.to_string()).unwrap_or_else(|panic| panic)
        }
        SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_) => error.to_string(),
    };
    ExitReason::StartFailed(why)
}

/// Runs foreign code, and turns a panic into its text.
pub(super) fn quietly<T>(foreign: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(foreign)).map_err(panic_text)
}

/// What a panic said.
pub(super) fn panic_text(panic: Box<dyn Any + Send>) -> String {
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
