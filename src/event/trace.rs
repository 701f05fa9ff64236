//! Events for `tracing`.

use super::{EventId, EventKind, Happened};
use crate::base::ExitReason;

/// Writes what happened to `tracing`, without the event being built: what needs a human as errors,
/// failures as warnings, changes of plan as information, the rest for debugging.
pub(super) fn trace(id: EventId, happened: Happened<'_>) {
    let Happened { cause, at: _, path, incarnation, kind } = happened;
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(
                target: "evertree",
                id = id.0,
                cause = cause.map(|cause| cause.0),
                path = path.as_str(),
                incarnation,
                event = kind.name(),
                "{kind}"
            )
        };
    }
    match &kind {
        EventKind::Stuck | EventKind::Escalated | EventKind::Abandoned => at!(error),
        EventKind::Exited(
            ExitReason::Killed
            | ExitReason::Crashed(_)
            | ExitReason::StartFailed(_)
            | ExitReason::Hung
            | ExitReason::GaveUp,
        )
        | EventKind::Restarting { .. }
        | EventKind::Killing
        | EventKind::Hung { .. }
        | EventKind::RolledBack { .. }
        | EventKind::DeadLetters { .. } => at!(warn),
        EventKind::BackingOff { .. } | EventKind::AutoShutdown => at!(info),
        EventKind::Exited(ExitReason::Normal | ExitReason::Shutdown)
        | EventKind::Started
        | EventKind::Declined
        | EventKind::Stopping
        | EventKind::ShuttingDown
        | EventKind::Added
        | EventKind::Removed => at!(debug),
    }
}
