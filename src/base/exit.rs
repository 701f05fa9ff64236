//! Why a child ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an incarnation of a child ended.
///
/// Built from ractor's events in one place only, the `supervisor` module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitReason {
    /// It stopped by itself, without a reason.
    Normal,
    /// It was asked to stop by its supervisor, or stopped with a shutdown reason.
    Shutdown,
    /// It was killed.
    Killed,
    /// Its handler failed or panicked; the text is what it said.
    Crashed(String),
    /// Its start function failed or ran out of time; the text is what it said.
    StartFailed(String),
    /// It did not answer within its limit and was killed for it.
    Hung,
    /// It was a supervisor whose restart intensity was exceeded.
    GaveUp,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Killed => f.write_str("killed"),
            Self::Crashed(why) => write!(f, "crashed: {why}"),
            Self::StartFailed(why) => write!(f, "start failed: {why}"),
            Self::Hung => f.write_str("hung"),
            Self::GaveUp => f.write_str("gave up"),
        }
    }
}
